//! `--rerun STEP`: which steps a person asks to have run again, and whether they may be. Refused here, before anything is recorded
//! or started, is what the fold and the machine would refuse as well.

use crate::cli::failure::Failure;
use crate::driver::facts::look_at;
use crate::exec::censor::Censor;
use crate::history::event::{Sight, Verdict};
use crate::history::state::State;
use crate::id::{Fact, StepId};
use crate::machine::rerun::{facts_that_tell, may_run_again, that_would_do};
use crate::plan::Procedure;

/// What `--rerun` asks for.
pub struct Reruns {
    /// Steps that were done and are run again first, in the plan's order.
    pub first: Vec<StepId>,
    /// The step that is being run again already, and failed or is in doubt: it is attempted again.
    pub once_more: Option<StepId>,
}

/// Reads `--rerun`. The facts that the steps of the run had ensured are looked at, once, if it was given at all.
///
/// # Errors
/// A step that may not be run again; the message names those that may.
pub fn reruns(procedure: &Procedure, state: &State, asked: &[StepId], censor: &Censor) -> Result<Reruns, Failure> {
    let open = state.again.as_ref().filter(|again| again.begun()).map(|again| &procedure.steps()[again.at].id);
    let once_more = open.filter(|step| asked.contains(step)).cloned();
    let asked: Vec<&StepId> = asked.iter().filter(|step| Some(*step) != once_more.as_ref()).collect();
    if asked.is_empty() {
        return Ok(Reruns { first: Vec::new(), once_more });
    }
    let sights = look_at(procedure, &facts_that_tell(procedure, state), censor);
    let broken = |fact: &Fact| sights.iter().any(|sight| sight.fact == *fact && sight.verdict != Verdict::Holds);
    let would_do = that_would_do(procedure, state, broken);
    for step in &asked {
        let why_not = match may_run_again(procedure, state, step) {
            Err(why) => why,
            Ok(_) if would_do.contains(step) => continue,
            Ok(at) => format!(
                "nothing is broken that step `{step}` had ensured last{}",
                in_words(&sights, &procedure.steps()[at].ensures)
            ),
        };
        return Err(Failure::Wrong(format!(
            "--rerun {step}: {why_not}; {}; nothing was started",
            what_would_do(procedure, &would_do, &sights)
        )));
    }
    let first = would_do.into_iter().filter(|step| asked.contains(&step)).collect();
    Ok(Reruns { first, once_more })
}

fn what_would_do(procedure: &Procedure, steps: &[StepId], sights: &[Sight]) -> String {
    if steps.is_empty() {
        return "no step of this run may be run again now".to_owned();
    }
    let broken: Vec<Sight> = sights.iter().filter(|sight| sight.verdict != Verdict::Holds).cloned().collect();
    let named: Vec<String> = procedure
        .steps()
        .iter()
        .filter(|step| steps.contains(&step.id))
        .map(|step| format!("`{}`{}", step.id, in_words(&broken, &step.ensures)))
        .collect();
    format!("these may be run again: {}", named.join(", "))
}

fn in_words(sights: &[Sight], facts: &[Fact]) -> String {
    let words: Vec<String> = sights
        .iter()
        .filter(|sight| facts.contains(&sight.fact))
        .map(|sight| format!("`{}` {}: {}", sight.fact, sight.verdict, sight.evidence))
        .collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join("; ")) }
}
