//! History for people and programs: an entry as lines that a person understands, live and afterwards; a run as a report.

pub mod account;
pub mod export;
pub mod html;
pub mod json;
pub mod markdown;
pub mod metrics;
pub mod page;
pub mod pressure;
pub mod provenance;
pub mod story;
pub mod summary;
pub mod table;
pub mod timeline;
pub mod verdict;
pub mod waits;
