//! History for people and programs: an entry as lines that a person understands, live and afterwards.

pub mod export;
pub mod metrics;
pub mod page;
pub mod story;
