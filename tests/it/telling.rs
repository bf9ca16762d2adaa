//! The commands that a policy names are told of entries. They keep a run from going on only where the policy says so.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::approvals::Site;
use crate::support::{finish, until};

const STEPS: &str = "steps:\n  - {id: one, script: echo one >> DIR/book, undo: {script: echo back >> DIR/book}}\n  \
                     - {id: two, script: echo two >> DIR/book, undo: {run: ['true']}}\n";

/// A site with these rules of `notify`, in which `DIR` stands for its folder, and a command `DIR/hook` with this text.
fn site(rules: &str, hook: &str) -> Site {
    let site = Site::new("");
    let folder = site.path().display().to_string();
    site.policy("policy.yaml", 13, &format!("notify:\n{}", rules.replace("DIR", &folder)));
    hook_is(&site, hook);
    site.runbook(STEPS);
    site
}

fn hook_is(site: &Site, text: &str) {
    let folder = site.path().display().to_string();
    site.scratch.script("hook", &format!("#!/bin/sh\n{}\n", text.replace("DIR", &folder)));
}

/// The lines of the log whose event is one of these, as they were logged.
fn logged(site: &Site, events: &[&str]) -> Vec<String> {
    let ran = site.interlock(&["audit", "export"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let of = |line: &&str| events.contains(&serde_json::from_str::<Value>(line).unwrap()["event"].as_str().unwrap());
    ran.stdout.lines().filter(of).map(str::to_owned).collect()
}

#[test]
fn a_command_is_told_of_the_entries_that_its_rule_names_as_they_were_logged() {
    let site = site(
        "  - {on: [step_done, run_completed], command: [DIR/hook, word]}",
        "echo \"$1 $PATH\" >> DIR/how; cat >> DIR/told",
    );
    let ran = site.interlock(&["run", "change.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    let told = site.scratch.lines("told");
    assert_eq!(told, logged(&site, &["step_done", "run_completed"]));
    assert_eq!(told.len(), 3);
    // The surroundings are those of a step's program, not the operator's.
    assert!(site.scratch.lines("how")[0].starts_with("word /usr/local/sbin:"));
    site.verifies();
}

#[test]
fn a_command_that_fails_changes_nothing_of_the_run_and_is_an_entry() {
    let site = site("  - {on: [run_opened, run_completed], command: [DIR/hook]}", "echo no such pager >&2; exit 3");
    let ran = site.interlock(&["run", "change.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("interlock: warning: ")
            && ran.stderr.contains("was not told of entry 2 (run_opened): it exited with 3: no such pager"),
        "{}",
        ran.stderr
    );
    assert_eq!(site.scratch.lines("book"), ["one", "two"]);
    let failed = logged(&site, &["notify_failed"]);
    // One for each entry that it was to be told of, and none for what it was not told of that.
    assert_eq!(failed.len(), 2, "{failed:?}");
    let entry: Value = serde_json::from_str(&failed[1]).unwrap();
    assert_eq!(entry["run"], Value::Null);
    assert_eq!(
        (&entry["data"]["of_event"], &entry["data"]["of_run"]),
        (&"run_completed".into(), &site.scratch.last_entry("run_completed")["run"])
    );
    assert_eq!(entry["data"]["of_entry"], site.scratch.last_entry("run_completed")["seq"]);
    assert_eq!(entry["data"]["required"], Value::Null);
    site.verifies();
}

#[test]
fn a_command_that_hangs_does_not_hold_up_the_run() {
    let site = site(
        "  - {on: [run_opened], command: [DIR/hook]}",
        "until test -e DIR/let; do sleep 0.01; done; touch DIR/ended",
    );
    // The second step lets the command end that was told of the opening.
    site.runbook("steps:\n  - {id: one, run: ['true']}\n  - {id: two, script: 'test ! -e DIR/ended; touch DIR/let'}\n");
    let ran = site.interlock(&["run", "change.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(site.path().join("ended").exists(), "it was waited for at the end");
    // One that never ends is ended itself.
    site.policy(
        "policy.yaml",
        14,
        &format!(
            "notify: [{{on: [run_completed], command: [/bin/sleep, '600'], timeout: 100ms}}]\n# {}",
            site.path().display()
        ),
    );
    std::fs::remove_file(site.path().join("ended")).unwrap();
    let ran = site.interlock(&["run", "change.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("it did not end within 100ms"), "{}", ran.stderr);
}

#[test]
fn p09_what_must_be_told_is_told_before_another_step_begins_or_none_does() {
    let site = site(
        "  - {on: [step_done, run_resumed], command: [DIR/hook], required: true}",
        "cat >> DIR/told; test -e DIR/let",
    );
    let ran = site.interlock(&["run", "change.yaml"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert_eq!(site.scratch.lines("book"), ["one"]);
    let halted = site.scratch.last("run_halted");
    assert_eq!((&halted["cause"], &halted["step"]), (&"not_allowed".into(), &"two".into()));
    let reason = halted["reason"].as_str().unwrap();
    assert!(
        reason.contains("hook was not told of entry") && reason.contains("(step_done): it exited with 1"),
        "{reason}"
    );
    assert_eq!(site.scratch.last("notify_failed")["required"], true);
    // As long as nobody can be told, the run does not go on.
    let run = site.scratch.the_open_run();
    let ran = site.interlock(&["resume", &run]);
    assert_eq!((ran.code, site.scratch.lines("book")), (4, vec!["one".to_owned()]), "{}", ran.stderr);
    site.verifies();
    site.scratch.write("let", "");
    let ran = site.interlock(&["resume", &run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(site.scratch.lines("book"), ["one", "two"]);
    site.verifies();
}

#[test]
fn what_must_be_told_is_waited_for_and_a_signal_ends_the_waiting() {
    let site = site(
        "  - {on: [run_opened], command: [DIR/hook], timeout: 50s, required: true}",
        "touch DIR/begun; until test -e DIR/let; do sleep 0.01; done; echo told >> DIR/book",
    );
    let child = site.command(&["run", "change.yaml"]).spawn().unwrap();
    until("the command began", || site.path().join("begun").exists());
    assert!(site.scratch.lines("book").is_empty());
    site.scratch.write("let", "");
    assert_eq!(finish(child).code, 0);
    assert_eq!(site.scratch.lines("book"), ["told", "one", "two"]);

    std::fs::remove_file(site.path().join("let")).unwrap();
    std::fs::remove_file(site.path().join("begun")).unwrap();
    let child = site.command(&["run", "change.yaml"]).spawn().unwrap();
    until("the command began", || site.path().join("begun").exists());
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    until("the run halted", || site.scratch.events().last().unwrap() == "run_halted");
    site.scratch.write("let", "");
    let ran = finish(child);
    assert_eq!(ran.code, 12, "{}", ran.stderr);
    assert_eq!(site.scratch.lines("book")[..3], ["told", "one", "two"]);
    assert!(!site.scratch.lines("book")[3..].contains(&"one".to_owned()));
}

#[test]
fn going_back_waits_for_nobody() {
    let site = site("  - {on: [step_done, undo_began], command: [DIR/hook], required: true}", "exit 1");
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 4);
    let run = site.scratch.the_open_run();
    let ran = site.interlock(&["undo", &run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(site.scratch.lines("book"), ["one", "back"]);
    assert!(ran.stderr.contains("(undo_began): it exited with 1"), "{}", ran.stderr);
    site.verifies();
}

#[test]
fn p09_a_command_that_others_could_have_changed_is_not_executed() {
    let site = site("  - {on: [run_opened], command: [DIR/hook], required: true}", "touch DIR/executed");
    std::fs::set_permissions(site.path().join("hook"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let ran = site.interlock(&["run", "change.yaml"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("can be written by others"), "{}", ran.stderr);
    assert!(!site.path().join("executed").exists() && site.scratch.lines("book").is_empty());
    std::fs::remove_file(site.path().join("hook")).unwrap();
    let run = site.scratch.the_open_run();
    assert_eq!(site.interlock(&["abandon", &run, "--reason", "over"]).code, 4, "no rule of overrides permits it");
    assert_eq!(site.interlock(&["undo", &run]).code, 0);
}

#[test]
fn of_what_was_refused_others_are_told_too() {
    let site =
        site("  - {on: [run_refused, take_up_refused, override_refused], command: [DIR/hook]}", "cat >> DIR/told");
    assert_eq!(site.interlock(&["run", "change.yaml", "--skip", "one"]).code, 4);
    site.runbook("steps:\n  - {id: one, run: ['false'], override: never}\n");
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 7);
    let run = site.scratch.the_open_run();
    let asked = ["override", &run, "--accept", "one", "--reason", "x", "-o", "request.yaml"];
    assert_eq!(site.interlock(&asked).code, 4);
    let told = site.scratch.lines("told");
    assert_eq!(told, logged(&site, &["run_refused", "take_up_refused", "override_refused"]));
    assert_eq!(told.len(), 2);
}
