//! What is held where.

use crate::history::state::StepStatus;
use crate::id::Fact;
use crate::machine::Machine;
use crate::runbook::holds::HoldStart;

impl Machine<'_> {
    pub(super) fn holds_from(&self, begins: impl Fn(HoldStart) -> bool) -> Vec<Fact> {
        self.procedure.holds.iter().filter(|hold| begins(hold.from)).map(|hold| hold.fact.clone()).collect()
    }

    /// What this step is the last to need.
    pub(super) fn over_after(&self, at: usize) -> Vec<Fact> {
        self.procedure.holds.iter().filter(|hold| hold.until == at).map(|hold| hold.fact.clone()).collect()
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
                HoldStart::After(from) if self.was_passed_over(from) => {
                    from < at && (self.needs(at, &hold.fact) || self.was_needed_between(from, at, &hold.fact))
                }
                HoldStart::After(from) => from < at,
            };
            if begun && at <= hold.until && !facts.contains(&hold.fact) {
                facts.push(hold.fact.clone());
            }
        }
        facts
    }

    /// What begins to be held at this step because it needs it, and the step that was to ensure it was passed over.
    pub(super) fn holds_found_at(&self, at: usize) -> Vec<Fact> {
        let found = self.procedure.holds.iter().filter(|hold| match hold.from {
            HoldStart::After(from) => from < at && self.was_passed_over(from) && self.needs(at, &hold.fact),
            HoldStart::Opening | HoldStart::Before(_) => false,
        });
        found.map(|hold| hold.fact.clone()).collect()
    }

    fn needs(&self, at: usize, fact: &Fact) -> bool {
        self.procedure.steps()[at].requires.contains(fact)
    }

    fn was_needed_between(&self, from: usize, to: usize, fact: &Fact) -> bool {
        (from + 1..to).any(|step| self.needs(step, fact) && !self.was_passed_over(step))
    }

    /// Whether what this step was to ensure is not taken as true: an override passed it over, or accepted it as it stood. One that is
    /// not reached yet is being passed over right now.
    fn was_passed_over(&self, at: usize) -> bool {
        self.state.steps.get(at).is_none_or(|step| matches!(step.status, StepStatus::Skipped | StepStatus::Accepted))
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
                HoldStart::After(from) if self.was_passed_over(from) => {
                    from < at && self.was_needed_between(from, at, fact)
                }
                HoldStart::Before(from) | HoldStart::After(from) => from < at,
            };
            hold.fact == *fact && begun && at <= hold.until
        })
    }
}
