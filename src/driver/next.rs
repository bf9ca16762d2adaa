//! What can be typed next about a run that is not over: the exact commands, for its last line and for `status`.

use super::{Driver, Run};
use crate::history::state::{State, StepStatus, Verdict};
use crate::id::{RunId, StepId};
use crate::machine::{rerun, way_back};
use crate::plan::Procedure;
use crate::report::story::cause_in_words;
use crate::runbook::holds::HoldStart;
use crate::runbook::model::InDoubt;

/// What can be done about a run.
#[derive(Debug, PartialEq, Eq)]
pub struct Next {
    /// The steps that had ensured what did not hold when it was last looked at, and may be run again.
    pub rerun: Vec<StepId>,
    /// How to go on.
    pub resume: String,
    /// How to take it back.
    pub undo: String,
}

/// Says what can be typed next, as far as the record tells, each command with these options behind it. Nothing is looked at.
pub fn what_next(procedure: &Procedure, state: &State, run: &RunId, options: &str) -> Next {
    let steps = rerun::that_would_do(procedure, state, |fact| state.broken.contains(fact));
    let (mut resume, mut undo) = (format!("interlock resume {run}"), format!("interlock undo {run}"));
    for step in &steps {
        resume.push_str(&format!(" --rerun {step}"));
    }
    if !steps.is_empty() {
        for step in undecided(procedure, state) {
            resume.push_str(&format!(" --decide {step}=retry"));
        }
        for step in needed_to_go_back(procedure, state) {
            undo.push_str(&format!(" --rerun {step}"));
        }
    }
    resume.push_str(options);
    undo.push_str(options);
    Next { rerun: steps, resume, undo }
}

impl Driver {
    /// The last line of a run: how it ended, and what can be typed next.
    pub(super) fn last_line(&self, verdict: Verdict) -> String {
        let Run { id, options, .. } = &self.run;
        let review = format!("review it with: interlock audit show {id}{options}");
        match verdict {
            Verdict::Completed => match self.state.overrides.used.len() {
                0 => format!("interlock: completed; {review}"),
                1 => format!("interlock: completed, with 1 deviation; {review}"),
                more => format!("interlock: completed, with {more} deviations; {review}"),
            },
            Verdict::Undone => format!("interlock: undone: everything that could be taken back was; {review}"),
            Verdict::Abandoned => format!("interlock: abandoned; {review}"),
            Verdict::Refused(cause) => {
                format!("interlock: refused, nothing was started: {}; {review}", cause_in_words(cause))
            }
            Verdict::Halted(cause) => {
                let at = self.halted_at.as_ref().map(|step| format!(" at step `{step}`")).unwrap_or_default();
                let cause = cause_in_words(cause);
                let next = what_next(&self.run.procedure, &self.state, id, options);
                let (resume, undo) = (next.resume, next.undo);
                format!("interlock: halted{at}: {cause}; go on with: {resume}, take it back with: {undo}; {review}")
            }
        }
    }
}

/// The steps in doubt of which a person has to decide.
fn undecided<'a>(procedure: &'a Procedure, state: &'a State) -> impl Iterator<Item = &'a StepId> {
    let forward = if state.back.is_some() { None } else { state.steps.last() };
    let doubtful = forward.filter(|step| matches!(step.status, StepStatus::Open | StepStatus::InDoubt));
    let asks = |id: &StepId| procedure.steps().iter().any(|step| step.id == *id && step.in_doubt == InDoubt::Ask);
    doubtful.map(|step| &step.id).into_iter().filter(move |id| asks(id))
}

/// The steps that had ensured what going back needs and was broken.
fn needed_to_go_back(procedure: &Procedure, state: &State) -> Vec<StepId> {
    let back = way_back(procedure, state).procedure;
    let gone = state.back.as_ref().map_or(0, |back| back.steps.len());
    let needed = |fact: &_| {
        back.holds.iter().any(|hold| {
            let from_outside = match hold.from {
                HoldStart::Opening | HoldStart::Before(_) => true,
                HoldStart::After(at) => at < gone,
            };
            hold.fact == *fact && from_outside && hold.until + 1 >= gone
        })
    };
    rerun::that_would_do(procedure, state, |fact| state.broken.contains(fact) && needed(fact))
}
