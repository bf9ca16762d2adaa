//! P5: a deviation needs an override of its own, and each is used once. Without a policy: the operator's own word, recorded as that.

use crate::support::{Ran, Scratch, finish, until};
use crate::terminal::Terminal;

/// `up` makes the flag, `fail` fails until it is let, `guarded` has no override, `last` needs the flag.
const STEPS: &str = "
interlock: 1
name: deviating
systems: {flag: {states: {up: {file: {path: DIR/flag, state: present}}, down: {file: {path: DIR/flag, state: absent}}}}}
steps:
  - {id: up, script: touch DIR/flag; echo up >> DIR/book, ensures: [flag up], undo: {run: [rm, -f, DIR/flag]}}
  - {id: fail, script: echo fail >> DIR/book; test -e DIR/let, undo: {run: ['true']}}
  - {id: last, script: echo last >> DIR/book, requires: [flag up], undo: {run: ['true']}}
  - {id: guarded, script: echo guarded >> DIR/book, override: never, undo: {run: ['true']}}
";

struct Case(Scratch);

impl Case {
    /// A run that halted because `fail` failed.
    fn halted() -> (Self, String) {
        let case = Self(Scratch::new());
        let ran = case.0.run(&STEPS.replace("DIR", &case.0.path().display().to_string()), &[]);
        assert_eq!(ran.code, 7, "{}", ran.stderr);
        let run = case.0.the_open_run();
        (case, run)
    }

    fn request(&self, run: &str, name: &str, arguments: &[&str]) -> Ran {
        let file = self.file(name);
        let mut all = vec!["override", run, "--reason", "looked at by hand", "-o", &file];
        all.extend(arguments);
        self.0.interlock(&all)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn resume(&self, run: &str, arguments: &[&str]) -> Ran {
        let mut all = vec!["resume", run];
        all.extend(arguments);
        self.0.interlock(&all)
    }

    fn book(&self) -> Vec<String> {
        self.0.lines("book")
    }

    fn verifies(&self) {
        let ran = self.0.interlock(&["audit", "verify"]);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn p05_a_failed_step_is_accepted_once_and_the_run_ends_with_13() {
    let (case, run) = Case::halted();
    let asked = case.request(&run, "request.yaml", &["--accept", "fail"]);
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    assert!(asked.stderr.contains(&format!("interlock resume {run} --override ")), "{}", asked.stderr);
    let request = case.file("request.yaml");
    let nobody = case.resume(&run, &["--override", &request]);
    assert_eq!(nobody.code, 6, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("--self-approve fail"), "{}", nobody.stderr);
    let ran = case.resume(&run, &["--override", &request, "--self-approve", "fail"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert!(ran.stderr.contains("completed, with 1 deviation"), "{}", ran.stderr);
    assert_eq!(case.book(), ["up", "fail", "last", "guarded"], "nothing was done twice");
    let accepted = case.0.last("override_accepted");
    assert_eq!(accepted["deviation"]["accept_failed"]["step"], "fail");
    assert_eq!(accepted["self_approved"], "command_line");
    assert_eq!(accepted["reason"], "looked at by hand");
    assert_eq!(case.0.last("run_completed")["deviations"], 1);
    case.verifies();
}

#[test]
fn p05_a_step_that_says_never_is_refused_and_the_attempt_is_an_entry() {
    let (case, run) = Case::halted();
    let asked = case.request(&run, "request.yaml", &["--skip", "guarded"]);
    assert_eq!(asked.code, 4, "{}", asked.stderr);
    assert!(!case.0.path().join("request.yaml").exists());
    let refused = case.0.last("override_refused");
    assert_eq!(refused["deviation"]["skip"]["step"], "guarded");
    assert!(refused["why"].as_str().unwrap().contains("override: never"), "{refused}");
    // A request that somebody wrote by hand, from another that was allowed, is refused as well.
    assert_eq!(case.request(&run, "request.yaml", &["--skip", "last"]).code, 0);
    let forged = case.0.read("request.yaml").replace("step: last", "step: guarded");
    case.0.write("forged.yaml", &forged);
    let ran = case.resume(&run, &["--override", &case.file("forged.yaml"), "--self-approve", "guarded"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert_eq!(case.book(), ["up", "fail"], "nothing was started");
    case.verifies();
}

#[test]
fn p05_a_step_that_was_begun_is_not_skipped_and_one_that_was_not_is_not_accepted() {
    let (case, run) = Case::halted();
    for (arguments, why) in [
        (["--skip", "fail"], "was begun"),
        (["--accept", "last"], "did not fail"),
        (["--skip", "up"], "has ended already"),
        (["--skip", "nowhere"], "has no step"),
        (["--waive", "last=flag down"], "does not need"),
    ] {
        let asked = case.request(&run, "request.yaml", &arguments);
        assert_eq!(asked.code, 2, "{}", asked.stderr);
        assert!(asked.stderr.contains(why), "{}", asked.stderr);
    }
}

#[test]
fn p05_a_request_is_for_one_run_and_is_used_once() {
    let (case, first) = Case::halted();
    assert_eq!(case.request(&first, "request.yaml", &["--accept", "fail"]).code, 0);
    let request = case.file("request.yaml");
    // Another run of the same runbook.
    assert_eq!(case.0.interlock(&["abandon", &first, "--reason", "begun anew"]).code, 0);
    let ran = case.0.run(&STEPS.replace("DIR", &case.0.path().display().to_string()), &[]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let second = case.0.the_open_run();
    let ran = case.resume(&second, &["--override", &request, "--self-approve", "fail"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("is for run {first}")), "{}", ran.stderr);
    // The waiver of the last step is used up by an attempt that does not get to its end.
    assert_eq!(case.request(&second, "accept.yaml", &["--accept", "fail"]).code, 0);
    assert_eq!(case.request(&second, "waive.yaml", &["--waive", "last=flag up"]).code, 0);
    std::fs::remove_file(case.0.path().join("flag")).unwrap();
    let (accept, waive) = (case.file("accept.yaml"), case.file("waive.yaml"));
    let both = ["--override", &accept, "--override", &waive, "--self-approve", "fail", "--self-approve", "last"];
    let ran = case.resume(&second, &both);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    let entries = case.0.entries();
    let of_last = |entry: &&serde_json::Value| entry["event"] == "step_intended" && entry["data"]["step"] == "last";
    let intended = &entries.iter().rfind(of_last).expect("it was announced")["data"];
    assert_eq!(intended["waived"][0], "flag up");
    assert_eq!(intended["requires"][0]["verdict"], "broken");
    assert_eq!(case.0.last("run_completed")["deviations"], 2);
    case.verifies();
}

#[test]
fn p05_a_request_that_is_over_is_refused() {
    let (case, run) = Case::halted();
    let past = case.request(&run, "request.yaml", &["--accept", "fail", "--until", "2020-01-01T00:00:00Z"]);
    assert_eq!(past.code, 2, "{}", past.stderr);
    assert!(past.stderr.contains("is over"), "{}", past.stderr);
    let far = case.request(&run, "far.yaml", &["--accept", "fail", "--until", "2099-01-01T00:00:00Z"]);
    assert_eq!(far.code, 0, "{}", far.stderr);
    assert!(case.0.read("far.yaml").contains("valid_until: \"2099-01-01T00:00:00Z\""), "{}", case.0.read("far.yaml"));
    assert_eq!(case.request(&run, "request.yaml", &["--accept", "fail", "--valid-for", "1s"]).code, 0);
    let request = case.0.read("request.yaml");
    let until_when = request.lines().find_map(|line| line.strip_prefix("valid_until: ")).unwrap().trim_matches('"');
    let until_when = until_when.to_owned();
    until("the request is over", || chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string() >= until_when);
    let ran = case.resume(&run, &["--override", &case.file("request.yaml"), "--self-approve", "fail"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(case.0.last("override_refused")["why"].as_str().unwrap().contains("could be used until"));
    assert_eq!(case.book(), ["up", "fail"]);
}

#[test]
fn p05_a_skipped_step_did_not_ensure_anything() {
    let case = Case(Scratch::new());
    let steps =
        STEPS.replace("  - {id: up,", "  - {id: ready, script: test -e DIR/let, undo: {run: ['true']}}\n  - {id: up,");
    let ran = case.0.run(&steps.replace("DIR", &case.0.path().display().to_string()), &[]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let run = case.0.the_open_run();
    case.0.write("let", "");
    assert_eq!(case.request(&run, "request.yaml", &["--skip", "up"]).code, 0);
    let ran = case.resume(&run, &["--override", &case.file("request.yaml"), "--self-approve", "up"]);
    assert_eq!(ran.code, 3, "`last` needs what the skipped step was to ensure: {}", ran.stderr);
    assert_eq!(case.book(), ["fail"]);
    assert_eq!(case.0.last("step_skipped")["step"], "up");
    case.verifies();
}

#[test]
fn p05_a_request_that_is_given_twice_counts_once() {
    let (case, run) = Case::halted();
    assert_eq!(case.request(&run, "request.yaml", &["--waive", "last=flag up"]).code, 0);
    assert_eq!(case.request(&run, "second.yaml", &["--waive", "last=flag up"]).code, 0);
    case.0.write("let", "");
    let (first, second) = (case.file("request.yaml"), case.file("second.yaml"));
    let all = ["--override", &first, "--override", &first, "--override", &second, "--self-approve", "last"];
    let ran = case.resume(&run, &all);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert!(case.0.last("override_refused")["why"].as_str().unwrap().contains("a second time"));
    assert_eq!(case.0.last("run_completed")["deviations"], 1);
    case.verifies();
}

#[test]
fn p05_a_word_that_answers_a_question_permits_nothing_whatever_the_step_is_called() {
    for (word, says) in [("no", "no"), ("halt", "halt"), ("retry", "halt")] {
        let scratch = Scratch::new();
        let runbook =
            "interlock: 1\nname: test\nsteps:\n  - {id: one, run: ['false']}\n  - {id: \"WORD\", run: ['true']}\n";
        assert_eq!(scratch.run(&runbook.replace("WORD", word), &[]).code, 7);
        let run = scratch.the_open_run();
        let asked = ["override", &run, "--accept", "one", "--reason", "seen", "-o", "one.yaml"];
        assert_eq!(scratch.interlock(&asked).code, 0);
        let asked = ["override", &run, "--skip", word, "--reason", "not today", "-o", "skip.yaml"];
        assert_eq!(scratch.interlock(&asked).code, 0);
        let path = |name: &str| scratch.path().join(name).display().to_string();
        let line = format!("resume {run} --override {} --override {}", path("one.yaml"), path("skip.yaml"));
        for (answer, end) in [(says, "EXIT=4"), (&*format!("permit {word}"), "EXIT=13")] {
            let terminal = Terminal::type_in(&scratch, &line);
            terminal.wait_for("to permit it, type: one");
            terminal.type_line("one");
            terminal.wait_for(&format!("to permit it, type: permit {word}"));
            terminal.type_line(answer);
            terminal.wait_for(end);
        }
        assert_eq!(scratch.last("override_refused")["deviation"]["skip"]["step"], word);
        assert_eq!(scratch.last("step_skipped")["step"], word);
    }
}

#[test]
fn p05_an_override_that_ends_before_the_run_comes_to_its_step_is_not_used_and_the_run_halts_before_it() {
    let scratch = Scratch::new();
    let steps = "interlock: 1\nname: late\nsteps:\n  - id: wait\n    script: |\n      echo wait >> DIR/book; test -e DIR/let || exit 1\n      \
                 touch DIR/waits; while ! test -e DIR/go; do sleep 0.01; done\n    undo: {run: ['true']}\n  \
                 - {id: next, script: echo next >> DIR/book, undo: {run: ['true']}}\n";
    assert_eq!(scratch.run(&steps.replace("DIR", &scratch.path().display().to_string()), &[]).code, 7);
    let case = Case(scratch);
    let run = case.0.the_open_run();
    assert_eq!(case.request(&run, "request.yaml", &["--skip", "next", "--valid-for", "10s"]).code, 0);
    let request = case.file("request.yaml");
    let text = case.0.read("request.yaml");
    let ends = text.lines().find_map(|line| line.strip_prefix("valid_until: ")).unwrap().trim_matches('"').to_owned();
    case.0.write("let", "");
    let running = case.0.command(&["resume", &run, "--override", &request, "--self-approve", "next"]).spawn().unwrap();
    until("the step waits", || case.0.path().join("waits").exists());
    until("the time of the request is over", || {
        chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string().as_str() > ends.as_str()
    });
    case.0.write("go", "");
    let ran = finish(running);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("could be used until {ends}")), "{}", ran.stderr);
    assert_eq!(case.book(), ["wait", "wait"], "the next step is neither passed over nor done");
    let halted = case.0.last("run_halted");
    assert_eq!((&halted["cause"], &halted["step"]), (&"not_allowed".into(), &"next".into()));
    // It was not used, and it is over; without it the step is done as it is written.
    assert_eq!(case.resume(&run, &["--override", &request, "--self-approve", "next"]).code, 4);
    let ran = case.resume(&run, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(case.book(), ["wait", "wait", "next"]);
    case.verifies();
}
