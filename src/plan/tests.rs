//! What a plan's file is: each of its bytes counts.

use super::{AskedBy, Binding, Executes, LogHead, Plan, PlanError, ProgramFile, Programs, VERSION, command_line};
use crate::id::{Digest, Fingerprint, Nonce};
use crate::runbook::model::Action;
use crate::runbook::{Given, check};
use crate::yaml::form::Misform;
use crate::yaml::source::decode;

const RUNBOOK: &str = r#"interlock: 1
name: change
title: "Ändern \u202e \u0430b"
labels: {env: production}
params: {port: {type: port, default: 5432}, word: {type: secret, from: {env: WORD}}}
systems: {web: {states: {up: {port: {port: "{{ port }}"}}, down: {not: {port: {port: "{{ port }}"}}}}}}
locks: [web]
steps:
  - {id: stop, run: [stop, -x, ""], ensures: [web down], undo: {run: [start], ensures: [web up]}}
  - id: change
    requires: [web down]
    script: |
      echo "$port"

      exit 0
    env: {WORD: "{{ word }}"}
    replaces: [/opt/late]
    irreversible: true
  - {id: late, run: [late], retry: {times: 2}, confirm: {ask: Which?, expect: "5"}}
  - {id: tell, manual: "Tell them:\n  twice", when: port == 5432}
"#;

fn plan() -> Plan {
    let source = decode("change.yaml", RUNBOOK.as_bytes().to_vec()).unwrap();
    let checked = check(&source, &Given::nothing()).unwrap();
    let file = |path: &str, digest, interpreter: Option<&str>| ProgramFile {
        path: path.to_owned(),
        digest,
        interpreter: interpreter.map(str::to_owned),
    };
    let bytes = |of: &str| Fingerprint::Bytes(Digest::of(of.as_bytes()));
    let executes =
        |action: &str, undo: Option<&str>| Executes { action: Some(action.to_owned()), undo: undo.map(str::to_owned) };
    Plan {
        interlock_plan: VERSION,
        binding: Some(Binding {
            asked_by: AskedBy { user: "amy (sudo)".to_owned(), person: Some("amy@example.org".parse().unwrap()) },
            host: "db1".to_owned(),
            machine: "none".to_owned(),
            made: "2026-11-22T04:00:00Z".parse().unwrap(),
            valid_from: "2026-11-22T04:00:00Z".parse().unwrap(),
            valid_until: "2026-11-23T04:00:00Z".parse().unwrap(),
            nonce: Nonce::from_bytes(&[0xc4; 16]),
            policies: Vec::new(),
            log: Some(LogHead { entries: 7, digest: Digest::of(b"line") }),
        }),
        deviations: Vec::new(),
        source: "change.yaml".to_owned(),
        source_digest: Digest::of(RUNBOOK.as_bytes()),
        params: checked.values,
        secrets: [("word".to_owned(), crate::runbook::model::SecretSource::Env("WORD".to_owned()))].into(),
        programs: Programs {
            files: vec![
                file("/bin/sh", bytes("sh"), None),
                file("/usr/bin/start", bytes("start"), Some("/bin/sh")),
                file("/usr/bin/stop", bytes("stop"), None),
                file("late", Fingerprint::Absent, None),
            ],
            steps: [
                ("stop".parse().unwrap(), executes("/usr/bin/stop", Some("/usr/bin/start"))),
                ("change".parse().unwrap(), executes("/bin/sh", None)),
                ("late".parse().unwrap(), executes("late", None)),
            ]
            .into(),
        },
        runbook: checked.runbook,
    }
}

#[test]
fn p06_any_other_byte_anywhere_in_a_plan_makes_another_plan_or_none() {
    let plan = plan();
    let text = plan.to_yaml().unwrap();
    assert_eq!(Plan::from_file(&text).unwrap(), plan);
    let (mut other_plans, mut refused) = (0, 0);
    let mut is_another = |bytes: Vec<u8>, at: usize| {
        assert_ne!(Digest::of(&bytes), Digest::of(text.as_bytes()));
        match String::from_utf8(bytes).map(|text| Plan::from_file(&text)) {
            Ok(Ok(other)) => {
                assert_ne!(other, plan, "with another byte {at} it says the same:\n{text}");
                other_plans += 1;
            }
            Ok(Err(_)) | Err(_) => refused += 1,
        }
    };
    for (at, was) in text.bytes().enumerate() {
        // Its neighbour, its other case, a blank; and without it, and cut there.
        for byte in [was ^ 1, was ^ 0x20, b' '].into_iter().filter(|byte| *byte != was) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = byte;
            is_another(bytes, at);
        }
        let mut shorter = text.clone().into_bytes();
        shorter.remove(at);
        is_another(shorter, at);
        is_another(text.as_bytes()[..at].to_vec(), at);
    }
    assert!(other_plans > 500 && refused > 500, "both happen: {other_plans} other plans, {refused} refused");
}

#[test]
fn a_plan_is_read_back_in_the_one_form_in_which_it_is_written() {
    let text = plan().to_yaml().unwrap();
    for other in [
        format!("\n{text}"),
        format!("{text}\n"),
        format!("--- \n{text}"),
        text.replacen("name: change", "name: 'change'", 1),
    ] {
        assert!(matches!(Plan::from_file(&other), Err(PlanError::Form)), "{other}");
    }
    assert!(Plan::is_meant(&text) && !Plan::is_meant(RUNBOOK));
}

#[test]
fn a_plan_that_would_not_be_read_again_is_not_written() {
    let mut plan = plan();
    assert_eq!(plan.to_file().unwrap(), plan.to_yaml().unwrap());
    plan.runbook.steps[3].action = Action::Manual("x".repeat(16 << 20));
    let written = plan.to_file().unwrap_err();
    assert!(matches!(written, PlanError::TooLarge(Misform::TooLong)), "{written}");
    let read = Plan::from_file(&plan.to_yaml().unwrap()).unwrap_err();
    assert_eq!(read.to_string(), written.to_string());
    plan.runbook.steps[3].action = Action::Manual("x".to_owned());
    plan.runbook.locks = vec!["a".to_owned(); 1_000_000];
    let written = plan.to_file().unwrap_err();
    assert!(matches!(written, PlanError::TooLarge(Misform::TooMany)), "{written}");
}

#[test]
fn what_no_checked_runbook_says_is_no_plan() {
    let refused = |change: fn(&mut Plan), words: &str| {
        let mut plan = plan();
        change(&mut plan);
        let error = Plan::from_file(&plan.to_yaml().unwrap()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(|plan| plan.runbook.steps.clear(), "there are no steps");
    refused(|plan| plan.runbook.steps[1].id = "stop".parse().unwrap(), "two steps have the id `stop`");
    refused(|plan| plan.runbook.steps[1].requires = vec!["web gone".parse().unwrap()], "no such system or state");
    refused(|plan| plan.runbook.steps[1].requires = vec!["web up".parse().unwrap()], "requires `web up`");
    refused(|plan| plan.runbook.locks = vec!["a  b".to_owned()], "lock");
    refused(|plan| plan.runbook.name = "../x".to_owned(), "is not a name");
    refused(
        |plan| plan.runbook.steps[1].replaces = vec!["/opt/../late".into(), "/opt/late".into(), "late".into()],
        "replaces",
    );
    refused(|plan| plan.programs.files.reverse(), "not in order");
    refused(|plan| drop(plan.programs.files.remove(0)), "does not have the program file `/bin/sh`");
    refused(|plan| drop(plan.programs.steps.remove(&"late".parse().unwrap())), "which program step `late` executes");
    refused(
        |plan| plan.programs.steps.get_mut(&"stop".parse().unwrap()).unwrap().undo = None,
        "which program step `stop` executes",
    );
    refused(|plan| plan.binding.as_mut().unwrap().valid_until = "2026-11-22T04:00:00Z".parse().unwrap(), "over before");
}

#[test]
fn a_command_line_can_be_pasted_into_a_shell() {
    let argv = ["printf", "%s\n", "it's", "", "a b"].map(str::to_owned);
    assert_eq!(command_line(&argv), "printf '%s\n' 'it'\\''s' '' 'a b'");
}
