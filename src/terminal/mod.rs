//! Prompts and live progress. What a person sees must never stop a run: a closed pipe, a full disk behind it, a stalled reader or
//! a lost terminal is not an error of the run.

pub mod fold;
pub mod prompt;
pub mod screen;
