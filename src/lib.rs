//! Interlock runs standard operating procedures, written as YAML runbooks, step by step on production machines. It
//! enforces the facts a step needs before the step and for as long as it runs, skips nothing silently, and keeps a
//! tamper-evident audit log.
//!
//! # The map
//! A folder is a room. The arrows between rooms go one way and `tests/it/tidy.rs` keeps them so.
//!
//! - [`id`]: checked small types. Uses nothing.
//! - [`diagnostic`]: mistakes of an author, with their place, and how they are shown.
//! - [`yaml`]: files that people write, as trees in which everything knows its place. Pure but for the door.
//! - [`runbook`]: text to checked runbook. Pure: no processes, no clock, no environment, no terminal.
//! - [`plan`]: runbook and parameters to a plan: exactly what would be done. Pure.
//! - [`history`]: the events of a run, and its state as their fold. Pure.
//! - [`machine`]: what comes next: `decide(&state, input)`. Pure.
//! - [`consent`]: who may: the policy, and signatures checked. Pure but for reading files and running `ssh-keygen`.
//! - [`audit`]: the log on disk: append, read, verify.
//! - [`exec`]: processes: start, contain, freeze, end, output. Uses nothing of ours.
//! - [`probe`]: looks at the world, and watches it.
//! - [`report`]: history for people and programs.
//! - [`terminal`]: prompts and live progress.
//! - [`driver`]: the one loop: input, decide, record, perform, report.
//! - [`cli`]: arguments, one file a command, exit codes.
//!
//! # Invariants
//! - Nothing is started before the entry that announces it is on disk; nothing that stops waits for the log.
//! - The state of a run changes only by [`history`]'s fold over recorded events.
//! - Unknown counts as broken, everywhere.

pub mod audit;
pub mod cli;
pub mod consent;
pub mod diagnostic;
pub mod driver;
pub mod exec;
pub mod history;
pub mod id;
pub mod machine;
pub mod plan;
pub mod probe;
pub mod report;
pub mod runbook;
pub mod terminal;
pub mod yaml;

#[cfg(test)]
#[path = "../tests/executable.rs"]
mod executable;
