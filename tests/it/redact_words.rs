//! P10: what probes see, what commands say and what people type is recorded and shown without secrets and without what a policy removes,
//! also where it is cut.

use crate::approvals::Site;
use crate::redact::{audit_verify, is_nowhere};
use crate::support::Ran;
use crate::terminal::Terminal;

const CARD: &str = "4111222233334444";
const SECRET: &str = "hunter2-Tr0ub4dor&3";
/// The halves, too: a text that was cut must not end in one.
const CANARIES: [&str; 4] = ["41112222", "33334444", "hunter2", "Tr0ub4dor"];

const RUNBOOK: &str = "\
params:
  password: {type: secret, from: {file: DIR/secret}}
systems:
  near: {states: {fine: {command: {run: [DIR/look, near], holds: [0], broken: [1], every: 20ms}}}}
  far: {states: {fine: {command: {run: [DIR/look, far], holds: [0], broken: [1], every: 20ms}}}}
  loud: {states: {fine: {command: {run: [DIR/look, loud], holds: [0], broken: [1]}}}}
  daemon: {states: {gone: {process: {pidfile: DIR/pid, state: absent}}}}
";

/// A site with a command `look NAME` that prints the file NAME, to standard error where it is `loud`, and exits with 1 where there is
/// `NAME.bad`; and a command that is told of all, keeps it, and fails with a card number.
fn site() -> Site {
    let site = Site::new("");
    let dir = site.path().display().to_string();
    let program = |name: &str, text: &str| {
        site.scratch.script(name, &format!("#!/bin/sh\n{}\n", text.replace("DIR", &dir)));
    };
    program("look", "if [ $1 = loud ]; then cat DIR/$1 >&2; else cat DIR/$1; fi; test ! -e DIR/$1.bad");
    program("hook", "cat >> DIR/told; cat DIR/near >&2; exit 1");
    site.scratch.write("secret", &format!("{SECRET}\n"));
    site.scratch.write("near", &format!("card {CARD}, password {SECRET}\n"));
    // The evidence is cut at 200 bytes, in the middle of the one and of the other.
    site.scratch.write("far", &format!("{} {CARD}\n", "x".repeat(190)));
    site.scratch.write("loud", &format!("{} {SECRET}\n", "x".repeat(190)));
    site.scratch.write("pid", &format!("{CARD}\n"));
    let events = "step_intended, step_failed, step_done, hold_broken, run_halted, run_resumed, answered, run_abandoned";
    site.policy(
        "policy.yaml",
        13,
        &format!(
            "redact: [{{name: card-number, pattern: '\\b\\d{{13,16}}\\b'}}]\nnotify: [{{on: [{events}], command: [{dir}/hook]}}]\n"
        ),
    );
    site
}

fn is_clean(site: &Site, ran: &Ran) {
    is_nowhere(site, &[&ran.stdout, &ran.stderr, &site.scratch.read("told")], &CANARIES);
}

fn audit(site: &Site, arguments: &[&str]) -> Ran {
    let mut all = vec!["audit"];
    all.extend(arguments);
    let ran = site.interlock(&all);
    assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
    ran
}

#[test]
fn p10_what_probes_see_is_recorded_shown_and_told_without_secrets_and_what_the_policy_removes() {
    let site = site();
    site.runbook(&format!(
        "{RUNBOOK}steps:\n  - id: use\n    env: {{PASSWORD: \"{{{{ password }}}}\"}}\n    requires: [near fine, far fine, loud fine]\n    \
         script: touch DIR/near.bad; sleep 60\n"
    ));
    let seen = |value: &serde_json::Value| value["evidence"].as_str().unwrap().to_owned();
    for format in ["human", "json"] {
        let _ = std::fs::remove_file(site.path().join("near.bad"));
        let ran = site.interlock(&["run", "change.yaml", "--format", format]);
        assert_eq!(ran.code, 8, "{}", ran.stderr);
        is_clean(&site, &ran);
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        assert!(shown.contains("card [redacted card-number], password [secret]"), "{shown}");
        let intended = site.scratch.last("step_intended");
        assert!(seen(&intended["requires"][0]).ends_with("exited 0: card [redacted card-number], password [secret]"));
        assert!(seen(&intended["requires"][1]).ends_with(" [redac…"), "{intended}");
        assert!(seen(&intended["requires"][2]).ends_with(" [secre…"), "{intended}");
        assert!(seen(&site.scratch.last("hold_broken")["sight"]).contains("exited 1: card [redacted card-number]"));
        let failed = site.scratch.last("notify_failed")["why"].as_str().unwrap().to_owned();
        assert!(failed.ends_with("it exited with 1: card [redacted card-number], password [secret]"), "{failed}");
        for arguments in [&["show", "last"][..], &["report", "last"], &["report", "last", "--as", "html"], &["export"]]
        {
            is_clean(&site, &audit(&site, arguments));
        }
        let run = site.scratch.last_entry("run_halted")["run"].as_str().unwrap().to_owned();
        let ran = site.interlock(&["status", "--format", "json"]);
        assert!(ran.stdout.contains(&run), "{}", ran.stdout);
        is_clean(&site, &ran);
        let ran = site.interlock(&["resume", &run, "--decide", "use=retry"]);
        assert_eq!(ran.code, 3, "{}", ran.stderr);
        is_clean(&site, &ran);
    }
    // Only the rules count here: no secret is read for a look.
    let ran = site.interlock(&["plan", "change.yaml", "--now"]);
    assert!(ran.stdout.contains("card [redacted card-number]") && !ran.stdout.contains("41112222"), "{}", ran.stdout);
    assert_eq!(audit_verify(&site).0, 0);
}

#[test]
fn p10_what_a_file_says_and_what_people_answer_is_recorded_without_what_the_policy_removes() {
    let site = site();
    site.runbook(&format!(
        "{RUNBOOK}steps:\n  - {{id: tell, manual: Tell the bank.}}\n  - {{id: stop, requires: [daemon gone], script: 'true'}}\n"
    ));
    let told = format!("tell=told of {CARD} by phone, {SECRET}");
    let ran = site.interlock(&["run", "change.yaml", "--attest", &told]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    is_clean(&site, &ran);
    assert_eq!(site.scratch.last("answered")["answer"], "told of [redacted card-number] by phone, [secret]");
    let halted = site.scratch.last("run_halted").to_string();
    assert!(halted.contains("holds `[redacted card-number]`, which is no process id"), "{halted}");
    is_clean(&site, &audit(&site, &["report", "last"]));
    assert_eq!(audit_verify(&site).0, 0);
}

#[test]
fn p10_a_question_about_what_was_seen_has_nothing_that_the_policy_removes() {
    let site = site();
    site.scratch.write("near.bad", "");
    site.runbook(&format!("{RUNBOOK}steps:\n  - {{id: mend, script: 'true', ensures: [near fine], within: 100ms}}\n"));
    let arguments = format!("run {} --policy {}", site.text_path("change.yaml"), site.text_path("policy.yaml"));
    let terminal = Terminal::type_in(&site.scratch, &arguments);
    terminal.wait_for("type `retry`");
    let asked = terminal.screen();
    terminal.type_line(&format!("halt {CARD}"));
    terminal.wait_for("type `retry`");
    terminal.type_line("halt");
    terminal.wait_for("EXIT=7");
    assert!(asked.contains("[redacted card-number]") && !asked.contains("41112222"), "{asked}");
    is_nowhere(&site, &[&asked, &site.scratch.read("told")], &CANARIES);
}
