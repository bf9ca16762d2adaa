//! P5: deviations that stand in a plan from the start, in plain sight, each made once and on somebody's word.

use crate::support::{Ran, Scratch};

/// `first` may fail; `told` is by hand; `last` needs the flag, which nobody makes.
const STEPS: &str = "
interlock: 1
name: planned
systems: {flag: {states: {up: {file: {path: DIR/flag, state: present}}}}}
steps:
  - {id: first, script: echo first >> DIR/book; test ! -e DIR/bad, undo: {run: ['true']}}
  - {id: told, manual: Tell them., undo: {run: ['true']}}
  - {id: last, script: echo last >> DIR/book, requires: [flag up], undo: {run: ['true']}}
  - {id: guarded, script: echo guarded >> DIR/book, override: never, undo: {run: ['true']}}
";

struct Case(Scratch);

impl Case {
    fn new() -> Self {
        let scratch = Scratch::new();
        scratch.write("runbook.yaml", &STEPS.replace("DIR", &scratch.path().display().to_string()));
        Self(scratch)
    }

    fn plan(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["plan", "runbook.yaml", "-o", "plan.yaml"];
        all.extend(arguments);
        self.0.interlock(&all)
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["run", "plan.yaml"];
        all.extend(arguments);
        self.0.interlock(&all)
    }
}

const BOTH: [&str; 6] = ["--skip", "told", "--waive", "last=flag up", "--reason", "it was done by phone"];
const WORD: [&str; 4] = ["--self-approve", "told", "--self-approve", "last"];

#[test]
fn p05_a_planned_deviation_stands_in_the_plan_and_is_made_once_on_the_operators_word() {
    let case = Case::new();
    let planned = case.plan(&BOTH);
    assert_eq!(planned.code, 0, "{}", planned.stderr);
    assert!(planned.stderr.contains("DEVIATION planned: skip step `told`: it was done by phone"), "{}", planned.stderr);
    let text = case.0.read("plan.yaml");
    let stands = "\ndeviations:\n- deviation:\n    skip:\n      step: told\n  reason: it was done by phone\n";
    assert!(text.contains(stands), "{text}");
    assert!(text.find("\ndeviations:") < text.find("\nrunbook:"), "near the top");
    // Without anybody's word nothing is started, and the plan is as good as before.
    let nobody = case.run(&[]);
    assert_eq!(nobody.code, 6, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("--self-approve told"), "{}", nobody.stderr);
    let half = case.run(&WORD[..2]);
    assert_eq!(half.code, 6, "{}", half.stderr);
    assert!(case.0.lines("book").is_empty());
    let ran = case.run(&WORD);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert_eq!(case.0.lines("book"), ["first", "last", "guarded"]);
    assert_eq!(case.0.last("run_completed")["deviations"], 2);
    let accepted = case.0.last("override_accepted");
    assert_eq!((&accepted["self_approved"], &accepted["request"]), (&"command_line".into(), &serde_json::Value::Null));
    assert_eq!(case.0.interlock(&["audit", "verify"]).code, 0);
}

#[test]
fn p05_a_planned_deviation_that_was_not_made_is_there_still_when_the_run_is_taken_up() {
    let case = Case::new();
    assert_eq!(case.plan(&BOTH).code, 0);
    case.0.write("bad", "");
    assert_eq!(case.run(&WORD).code, 7);
    let run = case.0.the_open_run();
    std::fs::remove_file(case.0.path().join("bad")).unwrap();
    let ran = case.0.interlock(&["resume", &run]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert_eq!(case.0.lines("book"), ["first", "first", "last", "guarded"]);
    assert_eq!(case.0.last("run_completed")["deviations"], 2);
    assert_eq!(case.0.interlock(&["audit", "verify"]).code, 0);
}

#[test]
fn p05_what_cannot_be_permitted_is_not_planned_either() {
    let case = Case::new();
    let because = ["--reason", "because"];
    for (arguments, code, words) in [
        (vec!["--skip", "guarded"], 4, "override: never"),
        (vec!["--skip", "tolt"], 2, "did you mean `told`?"),
        (vec!["--waive", "last=flag upp"], 2, "did you mean `flag up`?"),
        (vec!["--waive", "first=flag up"], 2, "does not need"),
    ] {
        let ran = case.plan(&[arguments, because.to_vec()].concat());
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
        assert!(!case.0.path().join("plan.yaml").exists());
    }
    assert_eq!(case.plan(&["--skip", "told"]).code, 2, "a reason is needed");
    assert_eq!(case.plan(&["--skip", "told", "--reason", " "]).code, 2, "a reason is needed");
    // One that somebody wrote into the plan by hand is none either.
    assert_eq!(case.plan(&["--skip", "last", "--reason", "because"]).code, 0);
    let forged = case.0.read("plan.yaml").replace("      step: last\n", "      step: guarded\n");
    case.0.write("plan.yaml", &forged);
    let ran = case.run(&["--self-approve", "guarded"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("override: never"), "{}", ran.stderr);
    assert!(case.0.lines("book").is_empty());
}
