//! Text to checked runbook. Pure: no processes, threads, clock, environment or terminal.

pub mod duration;
pub mod holds;
pub mod model;
