//! The events of a run, and its state as their fold. One vocabulary: the audit log, the JSON output and the terminal all
//! show these events, and the live run, `verify` and the reports share this fold. Pure.

pub mod again;
pub mod approval;
pub mod clip;
pub mod deviation;
mod each_once;
pub mod entry;
pub mod event;
pub mod glass;
pub mod kind;
pub mod ledger;
pub mod numbers;
pub mod outside;
pub mod overrides;
pub mod state;
pub mod subject;
pub mod unlocked;
