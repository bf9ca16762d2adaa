//! What is held where.

use crate::id::Fact;
use crate::machine::Machine;
use crate::runbook::holds::HoldStart;

impl Machine<'_> {
    pub(super) fn holds_from(&self, begins: impl Fn(HoldStart) -> bool) -> Vec<Fact> {
        self.procedure.holds.iter().filter(|hold| begins(hold.from)).map(|hold| hold.fact.clone()).collect()
    }

    pub(super) fn holds_after(&self, at: usize) -> Vec<Fact> {
        self.holds_from(|from| from == HoldStart::After(at))
    }

    /// What is held at this step, but for what it will itself establish.
    pub(super) fn holds_at(&self, at: usize) -> Vec<Fact> {
        let mut facts = Vec::new();
        for hold in &self.procedure.holds {
            let begun = match hold.from {
                HoldStart::Opening => true,
                HoldStart::Before(from) => from <= at,
                HoldStart::After(from) => from < at,
            };
            if begun && at <= hold.until && !facts.contains(&hold.fact) {
                facts.push(hold.fact.clone());
            }
        }
        facts
    }

    /// Whether this fact is held at this step, counting a hold that begins with it or that it establishes.
    pub(super) fn is_held(&self, fact: &Fact, at: usize) -> bool {
        self.procedure.holds.iter().any(|hold| {
            let begun = match hold.from {
                HoldStart::Opening => true,
                HoldStart::Before(from) | HoldStart::After(from) => from <= at,
            };
            hold.fact == *fact && begun && at <= hold.until
        })
    }

    /// Whether this fact was held already when this step came up.
    pub(super) fn held_before(&self, fact: &Fact, at: usize) -> bool {
        self.procedure.holds.iter().any(|hold| {
            let begun = match hold.from {
                HoldStart::Opening => at > 0,
                HoldStart::Before(from) | HoldStart::After(from) => from < at,
            };
            hold.fact == *fact && begun && at <= hold.until
        })
    }
}
