//! Interim.
use crate::id::Fact;
use crate::runbook::model::Runbook;
/// Hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Fact.
    pub fact: Fact,
    /// From.
    pub from: HoldStart,
    /// Until.
    pub until: usize,
}
/// Start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldStart {
    /// Opening.
    Opening,
    /// Before.
    Before(usize),
    /// After.
    After(usize),
}
/// Holds.
pub fn holds(_: &Runbook) -> Vec<Hold> {
    Vec::new()
}
