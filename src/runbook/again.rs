//! The check of a runbook that does not come from its text but from a plan's file: everything that the rest of the program relies on,
//! asked of the model itself. A plan that this program wrote passes; one that somebody wrote or changed by hand may not.

use std::collections::BTreeSet;
use std::time::Duration;

use super::lower::{Places, StepPlaces, canonical_lock, program};
use super::model::{Action, Applies, IfEnsured, InDoubt, Probe, Runbook, Setting, Step};
use super::params::is_variable_name;
use super::{order, way_back};
use crate::diagnostic::{Problems, Span};
use crate::id::{Fact, StepId};

/// Checks it.
///
/// # Errors
/// Everything that is wrong with it, in words.
pub fn check_again(runbook: &Runbook) -> Result<(), Vec<String>> {
    let mut wrong = Vec::new();
    if runbook.name.parse::<StepId>().is_err() {
        wrong.push(format!("`{}` is not a name", runbook.name.escape_debug()));
    }
    let mut last: Option<&String> = None;
    for lock in &runbook.locks {
        if canonical_lock(lock).as_ref() != Ok(lock) || last.is_some_and(|last| last >= lock) {
            wrong.push(format!("the lock `{}` is not in its canonical form or order", lock.escape_debug()));
        }
        last = Some(lock);
    }
    for (name, system) in &runbook.systems {
        for (state, sides) in &system.states {
            if !is_sound(&sides.before) || !is_sound(&sides.held) {
                wrong.push(format!("the probe of `{name} {state}` looks at nothing"));
            }
        }
    }
    facts(runbook, &runbook.requires, "the run", &mut wrong);
    if runbook.steps.is_empty() {
        wrong.push("there are no steps".to_owned());
    }
    let mut ids = BTreeSet::new();
    for step in &runbook.steps {
        if !ids.insert(&step.id) {
            wrong.push(format!("two steps have the id `{}`", step.id));
        }
        check_step(runbook, step, &mut wrong);
    }
    if wrong.is_empty() {
        prove(runbook, &mut wrong);
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn check_step(runbook: &Runbook, step: &Step, wrong: &mut Vec<String>) {
    let id = &step.id;
    let of = format!("step `{id}`");
    facts(runbook, &step.requires, &of, wrong);
    facts(runbook, &step.ensures, &of, wrong);
    act(&of, &step.action, &step.ensures, step.timeout, wrong);
    if let Some(undo) = step.way_back.undo() {
        let of = format!("the undo of step `{id}`");
        facts(runbook, &undo.requires, &of, wrong);
        facts(runbook, &undo.ensures, &of, wrong);
        act(&of, &undo.action, &undo.ensures, undo.timeout, wrong);
    }
    let mut say = |what: &str| wrong.push(format!("{of} {what}"));
    if step.if_ensured == IfEnsured::Pass && step.ensures.is_empty() {
        say("passes if it is ensured, and ensures nothing");
    }
    if step.in_doubt == InDoubt::Undo && step.way_back.undo().is_none() {
        say("is undone when it is in doubt, and has no undo");
    }
    if step.when.as_ref().is_some_and(|when| when.applies == Applies::Unknown) {
        say("has a condition that nobody has looked at");
    }
    if step.retry.is_some_and(|retry| {
        let bounds = (1..=100).contains(&retry.times) && (1..=10).contains(&retry.backoff);
        !bounds || matches!(step.action, Action::Wait | Action::Manual(_))
    }) {
        say("is attempted again as no step can be");
    }
    let mut last = None;
    for path in &step.replaces {
        let canonical: std::path::PathBuf = path.components().collect();
        if !path.is_absolute() || canonical.as_os_str() != path.as_os_str() || last.is_some_and(|last| last >= path) {
            say("replaces programs that are not in their canonical form or order");
        }
        last = Some(path);
    }
}

fn act(of: &str, action: &Action, ensures: &[Fact], timeout: Duration, wrong: &mut Vec<String>) {
    let mut say = |what: &str| wrong.push(format!("{of} {what}"));
    if timeout.is_zero() {
        say("has no time at all");
    }
    let setting = match action {
        Action::Run(run) => {
            if run.argv.first().is_none_or(|name| program(name).is_err()) {
                say("names no program");
            }
            Some(&run.setting)
        }
        Action::Script(script) => {
            if script.text.trim().is_empty() {
                say("has an empty script");
            }
            Some(&script.setting)
        }
        Action::Wait => {
            if ensures.is_empty() {
                say("waits for nothing");
            }
            None
        }
        Action::Manual(task) => {
            if task.trim().is_empty() {
                say("asks a person for nothing");
            }
            None
        }
    };
    if let Some(Setting { env, cwd, success, .. }) = setting {
        if env.keys().any(|name| !is_variable_name(name) || name.starts_with("INTERLOCK_")) {
            say("sets a variable that cannot be set");
        }
        if !cwd.is_absolute() {
            say("works in a folder that is not an absolute path");
        }
        if success.is_empty() || success.iter().any(|code| !(0..=255).contains(code)) {
            say("could never succeed");
        }
    }
}

/// Facts that the runbook's systems have, each once.
fn facts(runbook: &Runbook, facts: &[Fact], of: &str, wrong: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for fact in facts {
        let declared = runbook.systems.get(&fact.system).is_some_and(|system| system.states.contains_key(&fact.state));
        if !declared {
            wrong.push(format!("{of} speaks of `{fact}`, and there is no such system or state"));
        }
        if !seen.insert(fact) {
            wrong.push(format!("{of} names `{fact}` twice"));
        }
    }
}

/// Whether a probe looks at something: one of nothing would hold without a look.
fn is_sound(probe: &Probe) -> bool {
    match probe {
        Probe::Process(process) => {
            process.pidfile.is_some()
                || process.exe.is_some()
                || process.name.is_some()
                || process.user.is_some()
                || process.args.as_ref().is_some_and(|args| !args.is_empty())
        }
        Probe::Port(port) => port.port > 0,
        Probe::File(file) => file.path.is_absolute(),
        Probe::DataDir(dir) => dir.path.is_absolute() && !dir.server.is_empty(),
        Probe::Command(command) => {
            !command.run.is_empty()
                && !command.holds.is_empty()
                && !command.every.is_zero()
                && !command.timeout.is_zero()
        }
        Probe::All(probes) | Probe::Any(probes) => !probes.is_empty() && probes.iter().all(is_sound),
        Probe::Not(probe) => is_sound(probe),
    }
}

/// Proves the order and the way back once more. There are no places to name; the messages name the steps.
fn prove(runbook: &Runbook, wrong: &mut Vec<String>) {
    let spans = |facts: &[Fact]| vec![Span::default(); facts.len()];
    let of_step = |step: &Step| {
        let undo = step.way_back.undo();
        StepPlaces {
            requires: spans(&step.requires),
            ensures: spans(&step.ensures),
            undo_requires: undo.map(|undo| spans(&undo.requires)).unwrap_or_default(),
            undo_ensures: undo.map(|undo| spans(&undo.ensures)).unwrap_or_default(),
            ..StepPlaces::default()
        }
    };
    let places = Places { requires: spans(&runbook.requires), steps: runbook.steps.iter().map(of_step).collect() };
    let mut problems = Problems::new();
    order::prove(runbook, &places, &mut problems);
    way_back::prove(runbook, &places, &mut problems);
    wrong.extend(problems.into_vec().into_iter().map(|problem| problem.message));
}
