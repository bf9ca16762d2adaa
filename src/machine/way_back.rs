//! The way back: the undos of what was begun, the last first, as a procedure of their own.

use crate::history::state::State;
use crate::id::StepId;
use crate::plan::{Plan, Procedure};
use crate::runbook::model::{IfEnsured, InDoubt, OverrideRule, Runbook, Step, WayBack};

/// The steps that are to be taken back now, the last first, as a procedure of their own: its steps are their undos.
#[derive(Debug, Clone)]
pub struct BackProcedure {
    /// The undos, in the order in which they are carried out.
    pub procedure: Procedure,
    /// How many steps were done and are left as they are, because the runbook does not say how to take them back.
    pub kept: usize,
    /// The irreversible step at which the way back ends, if it does not go all the way.
    pub ends_at: Option<StepId>,
}

/// Works out the way back from where a run stands: over every step that was done or begun, and not over what was already so.
pub fn way_back(forward: &Procedure, state: &State) -> BackProcedure {
    let mut steps = Vec::new();
    let mut kept = 0;
    let mut ends_at = None;
    for (at, reached) in state.steps.iter().enumerate().rev() {
        // What was so without an attempt of this run is not this run's to take back.
        if reached.attempts == 0 {
            continue;
        }
        let step = &forward.steps()[at];
        match &step.way_back {
            WayBack::None => kept += 1,
            WayBack::Irreversible => {
                ends_at = Some(step.id.clone());
                break;
            }
            WayBack::Undo(undo) => steps.push(Step {
                id: step.id.clone(),
                title: step.title.clone(),
                note: None,
                action: undo.action.clone(),
                requires: undo.requires.clone(),
                ensures: undo.ensures.clone(),
                replaces: Vec::new(),
                within: undo.within,
                timeout: undo.timeout,
                if_ensured: IfEnsured::Run,
                confirm: None,
                way_back: WayBack::None,
                retry: None,
                when: None,
                in_doubt: InDoubt::Ask,
                overrides: OverrideRule::Unsaid,
            }),
        }
    }
    let runbook = Runbook { requires: Vec::new(), steps, ..forward.plan.runbook.clone() };
    BackProcedure { procedure: Procedure::new(Plan { runbook, ..forward.plan.clone() }), kept, ends_at }
}
