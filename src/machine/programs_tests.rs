//! The rule of P6 for programs, with values.

use std::collections::BTreeMap;

use super::check_program;
use crate::history::event::{Interpreter, Program, Way};
use crate::history::state::{State, StepState, StepStatus};
use crate::id::{Digest, Fingerprint, StepId};
use crate::plan::{Executes, Plan, ProgramFile, Programs, VERSION};
use crate::runbook::model::{OnFailure, OverrideRule, Runbook};

fn digest(of: &str) -> Digest {
    Digest::of(of.as_bytes())
}

fn bytes(of: &str) -> Fingerprint {
    Fingerprint::Bytes(digest(of))
}

fn id(step: &str) -> StepId {
    step.parse().unwrap()
}

/// Step `use` executes a script and undoes it by a binary; step `late` executes a name that nothing has yet.
fn plan() -> Plan {
    let file = |path: &str, digest, interpreter: Option<&str>| ProgramFile {
        path: path.to_owned(),
        digest,
        interpreter: interpreter.map(str::to_owned),
    };
    let executes =
        |action: &str, undo: Option<&str>| Executes { action: Some(action.to_owned()), undo: undo.map(str::to_owned) };
    Plan {
        interlock_plan: VERSION,
        binding: None,
        deviations: Vec::new(),
        source: "test.yaml".to_owned(),
        source_digest: digest(""),
        params: BTreeMap::new(),
        secrets: BTreeMap::new(),
        programs: Programs {
            files: vec![
                file("/bin/sh", bytes("sh"), None),
                file("/opt/gone", Fingerprint::Absent, None),
                file("/opt/hidden", Fingerprint::Unreadable, None),
                file("/opt/tool", bytes("tool"), Some("/bin/sh")),
                file("/opt/undo", bytes("undo"), None),
                file("late", Fingerprint::Absent, None),
            ],
            steps: [
                (id("use"), executes("/opt/tool", Some("/opt/undo"))),
                (id("gone"), executes("/opt/gone", None)),
                (id("hidden"), executes("/opt/hidden", None)),
                (id("late"), executes("late", None)),
            ]
            .into(),
        },
        runbook: Runbook {
            name: "test".to_owned(),
            title: None,
            labels: BTreeMap::new(),
            systems: BTreeMap::new(),
            requires: Vec::new(),
            locks: Vec::new(),
            on_failure: OnFailure::Halt,
            overrides: OverrideRule::Unsaid,
            steps: Vec::new(),
        },
    }
}

fn found(path: &str, of: &str, interpreter: Option<(&str, &str)>) -> Program {
    Program {
        path: path.to_owned(),
        digest: digest(of),
        interpreter: interpreter.map(|(path, of)| Interpreter { path: path.to_owned(), digest: digest(of) }),
    }
}

/// A run in which step `install` was done and left these programs.
fn after(replaced: &[(&str, Fingerprint)]) -> State {
    let replaced = replaced.iter().map(|(path, now)| ((*path).to_owned(), now.clone())).collect();
    let install = StepState { id: id("install"), attempts: 1, status: StepStatus::Done, replaced };
    State { steps: vec![install], ..State::default() }
}

fn check(whole: &State, step: &str, way: Way, found: &Program) -> Result<(), String> {
    check_program(&plan(), whole, &id(step), way, found)
}

#[test]
fn what_the_plan_says_may_start_and_nothing_else() {
    let nothing = State::default();
    let sh = Some(("/bin/sh", "sh"));
    check(&nothing, "use", Way::Forward, &found("/opt/tool", "tool", sh)).unwrap();
    check(&nothing, "use", Way::Back, &found("/opt/undo", "undo", None)).unwrap();
    for (step, way, program, why) in [
        ("use", Way::Forward, found("/opt/tool", "evil", sh), "in the plan it has SHA-256"),
        (
            "use",
            Way::Forward,
            found("/opt/tool", "tool", Some(("/bin/sh", "evil"))),
            "`/bin/sh` is not what was planned",
        ),
        ("use", Way::Forward, found("/opt/tool", "tool", Some(("/bin/csh", "csh"))), "executed by `/bin/csh`"),
        ("use", Way::Forward, found("/opt/undo", "undo", None), "now it would be `/opt/undo`"),
        ("use", Way::Back, found("/opt/tool", "tool", sh), "now it would be `/opt/tool`"),
        ("gone", Way::Forward, found("/opt/gone", "new", None), "was not there"),
        ("hidden", Way::Forward, found("/opt/hidden", "new", None), "was unreadable"),
        ("late", Way::Forward, found("/usr/bin/late", "new", None), "now it would be `/usr/bin/late`"),
        ("other", Way::Forward, found("/opt/tool", "tool", sh), "does not say which program"),
        ("gone", Way::Back, found("/opt/gone", "new", None), "does not say which program"),
    ] {
        let reason = check(&nothing, step, way, &program).unwrap_err();
        assert!(reason.contains(why), "{step}: {reason}");
    }
}

#[test]
fn what_a_step_has_replaced_is_expected_from_then_on() {
    let sh = Some(("/bin/sh", "sh"));
    let whole =
        after(&[("/opt/tool", bytes("new")), ("/usr/bin/late", bytes("late")), ("/opt/gone", Fingerprint::Absent)]);
    check(&whole, "use", Way::Forward, &found("/opt/tool", "new", sh)).unwrap();
    check(&whole, "use", Way::Forward, &found("/opt/tool", "new", None)).unwrap();
    check(&whole, "late", Way::Forward, &found("/usr/bin/late", "late", Some(("/usr/bin/new", "x")))).unwrap();
    for (step, program, why) in [
        ("use", found("/opt/tool", "tool", sh), "when step `install`, which replaces it, was done it had SHA-256"),
        ("use", found("/opt/tool", "new", Some(("/bin/sh", "evil"))), "`/bin/sh` is not what was planned"),
        ("gone", found("/opt/gone", "x", None), "was done it was absent"),
        ("late", found("/opt/bin/late", "late", None), "now it would be `/opt/bin/late`"),
    ] {
        let reason = check(&whole, step, Way::Forward, &program).unwrap_err();
        assert!(reason.contains(why), "{step}: {reason}");
    }
}

#[test]
fn a_step_that_was_undone_or_is_in_doubt_has_replaced_nothing() {
    let mut whole = after(&[("/opt/tool", bytes("new"))]);
    let undone = StepState { id: id("install"), attempts: 1, status: StepStatus::Done, replaced: BTreeMap::new() };
    whole.back = Some(Box::new(State { steps: vec![undone], ..State::default() }));
    let (old, new) = (found("/opt/tool", "tool", Some(("/bin/sh", "sh"))), found("/opt/tool", "new", None));
    check(&whole, "use", Way::Forward, &old).unwrap();
    assert!(check(&whole, "use", Way::Forward, &new).is_err());
    let mut whole = after(&[("/opt/tool", bytes("new"))]);
    whole.steps[0].status = StepStatus::InDoubt;
    check(&whole, "use", Way::Forward, &old).unwrap();
}

#[test]
fn of_several_steps_that_replace_a_program_the_last_that_was_done_counts() {
    let mut whole = after(&[("/opt/tool", bytes("first"))]);
    let replaced = [("/opt/tool".to_owned(), bytes("second"))].into();
    whole.steps.push(StepState { id: id("again"), attempts: 1, status: StepStatus::Done, replaced });
    check(&whole, "use", Way::Forward, &found("/opt/tool", "second", None)).unwrap();
    let undone = StepState { id: id("again"), attempts: 1, status: StepStatus::Done, replaced: BTreeMap::new() };
    whole.back = Some(Box::new(State { steps: vec![undone], ..State::default() }));
    check(&whole, "use", Way::Forward, &found("/opt/tool", "first", None)).unwrap();
}
