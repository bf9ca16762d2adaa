//! Whether what a step is about to execute is what the plan says: the rule of P6 for programs and scripts.

use crate::history::event::{Program, Way};
use crate::history::state::State;
use crate::id::{Digest, Fingerprint, StepId};
use crate::plan::{Plan, ProgramFile};

/// What a file is expected to be, and who says so.
struct Expected<'a> {
    fingerprint: &'a Fingerprint,
    /// The step that changed it in this run; none where it is as in the plan.
    by: Option<&'a StepId>,
}

/// Says why a step must not start, if what was found for it is not what the plan says, with what earlier steps say that they
/// replace. `whole` is the state of the whole run.
///
/// # Errors
/// What was planned, what is there now, and what to do.
pub fn check_program(plan: &Plan, whole: &State, step: &StepId, way: Way, found: &Program) -> Result<(), String> {
    let executes = plan.programs.steps.get(step).and_then(|executes| match way {
        Way::Forward | Way::Again => executes.action.as_deref(),
        Way::Back => executes.undo.as_deref(),
    });
    let Some(planned) = executes else {
        return Err(format!(
            "the plan does not say which program is executed here, so `{}` is not; make a new plan",
            found.path
        ));
    };
    // A name that nothing had when the plan was made may lead to what a step has made since.
    let made = !planned.contains('/') && whole.replaced(&found.path).is_some();
    if planned != found.path && !made {
        return Err(format!(
            "the plan says that `{planned}` is executed, and now it would be `{}`; find out what changed the way to it, or make a new \
             plan",
            found.path
        ));
    }
    check_file(plan, whole, &found.path, &found.digest)?;
    let Some(interpreter) = &found.interpreter else { return Ok(()) };
    if expected(plan, whole, &found.path).is_some_and(|expected| expected.by.is_some()) {
        // What a step has put there may name an interpreter that the plan could not know. One that it knows is checked.
        return match expected(plan, whole, &interpreter.path) {
            Some(_) => check_file(plan, whole, &interpreter.path, &interpreter.digest),
            None => Ok(()),
        };
    }
    let planned = plan.programs.file(&found.path).and_then(|file| file.interpreter.as_deref());
    if planned != Some(interpreter.path.as_str()) {
        return Err(format!(
            "the plan does not say that `{}` is executed by `{}`; make a new plan",
            found.path, interpreter.path
        ));
    }
    check_file(plan, whole, &interpreter.path, &interpreter.digest)
}

/// What to add to the reason why a program could not be found: what the plan says of it. Empty where the plan says the same.
pub fn planned_in_words(plan: &Plan, step: &StepId, way: Way) -> String {
    let executes = plan.programs.steps.get(step).and_then(|executes| match way {
        Way::Forward | Way::Again => executes.action.as_deref(),
        Way::Back => executes.undo.as_deref(),
    });
    match executes.and_then(|path| plan.programs.file(path)) {
        Some(ProgramFile { path, digest: Fingerprint::Bytes(digest), .. }) => {
            format!("; the plan has `{path}` with SHA-256 {digest}")
        }
        Some(_) | None => String::new(),
    }
}

fn expected<'a>(plan: &'a Plan, whole: &'a State, path: &str) -> Option<Expected<'a>> {
    if let Some((step, fingerprint)) = whole.replaced(path) {
        return Some(Expected { fingerprint, by: Some(step) });
    }
    plan.programs.file(path).map(|file| Expected { fingerprint: &file.digest, by: None })
}

fn check_file(plan: &Plan, whole: &State, path: &str, now: &Digest) -> Result<(), String> {
    let Some(expected) = expected(plan, whole, path) else {
        return Err(format!("the plan does not have the program `{path}`; make a new plan"));
    };
    let (was, what_to_do) = match (expected.by, expected.fingerprint) {
        (_, Fingerprint::Bytes(digest)) if digest == now => return Ok(()),
        (Some(step), Fingerprint::Bytes(digest)) => (
            format!("when step `{step}`, which replaces it, was done it had SHA-256 {digest}"),
            "find out who changed it since, and put that file back",
        ),
        (Some(step), Fingerprint::Absent | Fingerprint::Unreadable | Fingerprint::Unusable) => (
            format!("when step `{step}`, which replaces it, was done it was {}", expected.fingerprint),
            "find out who made it since",
        ),
        (None, Fingerprint::Bytes(digest)) => (
            format!("in the plan it has SHA-256 {digest}"),
            "find out who changed it; put that file back, or make a new plan (a step that changes it on purpose says `replaces`)",
        ),
        (None, Fingerprint::Absent) => (
            "when the plan was made it was not there".to_owned(),
            "find out who made it, and make a new plan (a step that makes it on purpose says `replaces`)",
        ),
        (None, Fingerprint::Unreadable | Fingerprint::Unusable) => (
            format!("when the plan was made it was {}", expected.fingerprint),
            "make a new plan, as a user who may read it",
        ),
    };
    Err(format!("`{path}` is not what was planned: {was}, now it has {now}; {what_to_do}"))
}

#[cfg(test)]
#[path = "programs_tests.rs"]
mod tests;
