//! P6 in an emergency, with real keys and a real command that tells: who may go on without the approvals, that others are told at once, and
//! that it is not settled until one of them has reviewed it.

use std::os::unix::fs::PermissionsExt as _;

use crate::approvals::Site;
use crate::monitoring::{is_taken, value};
use crate::support::{Ran, finish};

const STEPS: &str = "steps:\n  - {id: up, script: echo up >> DIR/book}\n  - {id: fail, script: test -e DIR/let}\n  - {id: last, script: echo \
                     last >> DIR/book}\n";
const WORD: [&str; 2] = ["--self-approve", "break_glass"];

/// A site whose approvers cannot be reached; `page` keeps what it is told.
fn site(more: &str) -> Site {
    let site = Site::new("");
    rules(&site, 13, more);
    let dir = site.path().display();
    site.scratch.script(
        "page",
        &format!("#!/bin/sh\ncat > {dir}/paged\ntest ! -e {dir}/unreachable || {{ echo no line >&2; exit 3; }}\n"),
    );
    site.runbook(STEPS);
    site.scratch.write("let", "");
    site
}

fn rules(site: &Site, number: u64, more: &str) {
    let page = site.text_path("page");
    let glass = format!("break_glass: [{{who: core, tell: core, by: [{page}, core], review_within: 2d}}]\n");
    site.policy("policy.yaml", number, &format!("approvals: [{{need: all, of: core}}]\n{glass}{more}"));
}

fn run(site: &Site, more: &[&str]) -> Ran {
    let mut arguments = vec!["run", "change.yaml", "--break-glass", "the site is down, nobody answers"];
    arguments.extend(more);
    site.interlock(&arguments)
}

fn status(site: &Site) -> String {
    let ran = site.interlock(&["status"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout
}

#[test]
fn p06_the_glass_is_broken_with_a_word_others_are_told_at_once_and_one_of_them_reviews_the_run() {
    let site = site("");
    let nobody = run(&site, &[]);
    assert_eq!(nobody.code, 6, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("--self-approve break_glass"), "{}", nobody.stderr);
    assert!(site.scratch.lines("book").is_empty() && !site.path().join("paged").exists());
    let ran = run(&site, &WORD);
    assert_eq!(ran.code, 13, "it counts as a deviation: {}", ran.stderr);
    assert!(ran.stderr.contains("THE GLASS IS BROKEN"), "{}", ran.stderr);
    assert_eq!(site.scratch.lines("book"), ["up", "last"]);
    // First the entry, then the others, then the run.
    let events = site.scratch.events();
    let place = |name: &str| events.iter().position(|event| event == name).unwrap();
    assert!(place("glass_broken") < place("glass_told") && place("glass_told") < place("run_opened"), "{events:?}");
    assert!(site.scratch.last("glass_told")["trouble"].is_null());
    let told: serde_json::Value = serde_json::from_str(&site.scratch.read("paged")).unwrap();
    assert_eq!((&told["event"], &told["reason"]), (&"glass_broken".into(), &"the site is down, nobody answers".into()));
    assert!(told["without"][0].as_str().unwrap().contains("all of `core`"), "{told}");
    let broken = site.scratch.last("glass_broken");
    assert_eq!(broken["rules"][0]["reviewers"], serde_json::json!(["bea@example.org", "cy@example.org"]));
    let entry = site.scratch.last_entry("glass_broken");
    let id = entry["run"].as_str().unwrap().to_owned();
    let shown = status(&site);
    for words in ["REVIEW DUE", "bea@example.org, cy@example.org", "nobody answers", "interlock review"] {
        assert!(shown.contains(words), "`{words}`: {shown}");
    }
    assert!(site.interlock(&["audit", "show", &id]).stdout.contains("THE GLASS WAS BROKEN"));
    site.verifies();

    let written = site.interlock(&["review", &id, "-o", "review.yaml"]);
    assert_eq!(written.code, 0, "{}", written.stderr);
    let refused = |words: &str| {
        let ran = site.interlock(&["review", &id, "--signed", "review.yaml"]);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        assert!(ran.stderr.contains(words), "`{words}`: {}", ran.stderr);
        assert!(status(&site).contains("REVIEW DUE"));
    };
    refused("nobody has signed");
    // Nobody reviews what they did themselves, and a signature for something else is none.
    site.approve("review.yaml", "amy");
    refused("amy@example.org");
    site.sign("review.yaml", "interlock-plan@v1", "bea", "review.yaml.bea.sig");
    refused("interlock-plan@v1");
    site.approve("review.yaml", "bea");
    // Nor does a policy of somebody's own say whose keys are whose.
    let mine = site.policy("mine.yaml", 1, "");
    let mut command = site.scratch.command(&["review", &id, "--signed", "review.yaml"]);
    let ran = finish(command.env("INTERLOCK_POLICY", &mine).spawn().unwrap());
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("numbers of policies only ever rise"), "{}", ran.stderr);
    assert!(status(&site).contains("REVIEW DUE"));
    let taken = site.interlock(&["review", &id, "--signed", "review.yaml"]);
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert!(!status(&site).contains("REVIEW DUE"), "it is settled");
    assert!(site.interlock(&["audit", "show", &id]).stdout.contains("reviewed by bea@example.org"));
    site.verifies();
    // What was signed is kept, and every byte of it counts.
    let reviews = site.scratch.home().join("runs").join(&id).join("reviews");
    let kept = std::fs::read_dir(reviews).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&kept).unwrap();
    std::fs::write(&kept, text.replace("nobody answers", "everybody agreed")).unwrap();
    assert_eq!(site.interlock(&["audit", "verify"]).code, 11);
}

#[test]
fn p06_the_glass_is_not_broken_where_there_is_none_or_no_need_or_by_who_may_not() {
    let site = site("");
    site.policy("policy.yaml", 14, "approvals: [{need: all, of: core}]\n");
    let ran = run(&site, &WORD);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("no rule to break the glass"), "{}", ran.stderr);
    let page = site.text_path("page");
    site.policy("policy.yaml", 15, &format!("break_glass: [{{who: core, tell: core, by: [{page}]}}]\n"));
    let ran = run(&site, &WORD);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("no glass to break"), "{}", ran.stderr);
    rules(&site, 16, "");
    let ran = site.interlock(&["run", "change.yaml", "--break-glass", " ", "--self-approve", "break_glass"]);
    assert_eq!(ran.code, 4, "a reason is needed: {}", ran.stderr);
    assert!(site.scratch.lines("book").is_empty() && !site.path().join("paged").exists());
    assert!(site.scratch.events().iter().all(|event| event == "run_refused" || event == "log_created"));
    let ran = site.scratch.interlock(&["run", "change.yaml", "--break-glass", "x", "--self-approve", "break_glass"]);
    assert_eq!(ran.code, 4, "without a policy there is none: {}", ran.stderr);
}

#[test]
fn p06_that_others_could_not_be_told_is_an_entry_and_a_command_that_others_could_change_is_not_run() {
    let site = site("freezes: [{from: 2020-01-01T00:00:00Z, to: 2099-01-01T00:00:00Z, reason: Holidays}]\n");
    site.scratch.write("unreachable", "");
    let ran = run(&site, &WORD);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert!(ran.stderr.contains("COULD NOT BE TOLD") && ran.stderr.contains("no line"), "{}", ran.stderr);
    assert_eq!(site.scratch.last("glass_told")["trouble"], "it exited with 3: no line");
    assert!(site.scratch.last("glass_broken")["without"][1].as_str().unwrap().contains("Holidays"));
    std::fs::remove_file(site.path().join("paged")).unwrap();
    std::fs::set_permissions(site.path().join("page"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let ran = run(&site, &WORD);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert!(ran.stderr.contains("can be written by others"), "{}", ran.stderr);
    assert!(!site.path().join("paged").exists());
    site.verifies();
}

#[test]
fn p06_a_halted_run_goes_on_with_the_glass_broken_once_more_and_not_without() {
    let site = site("");
    std::fs::remove_file(site.path().join("let")).unwrap();
    let ran = run(&site, &WORD);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let id = site.scratch.the_open_run();
    site.scratch.write("let", "");
    let ran = site.interlock(&["resume", &id, "--decide", "fail=retry"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let more =
        ["resume", &id, "--decide", "fail=retry", "--break-glass", "still nobody", "--self-approve", "break_glass"];
    let ran = site.interlock(&more);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert_eq!(site.scratch.lines("book"), ["up", "last"]);
    assert_eq!(site.scratch.last("run_completed")["deviations"], 2);
    assert_eq!(site.scratch.last("glass_broken")["reason"], "still nobody");
    site.verifies();
}

#[test]
fn the_glass_is_not_broken_to_go_back_and_a_word_for_nothing_is_told() {
    let site = site("");
    std::fs::remove_file(site.path().join("let")).unwrap();
    site.runbook("steps:\n  - {id: up, script: echo up >> DIR/book, undo: {script: test -e DIR/let}}\n  - {id: fail, script: test -e DIR/let}\n");
    assert_eq!(run(&site, &WORD).code, 7);
    let id = site.scratch.the_open_run();
    let ran = site.interlock(&["resume", &id, "--self-approve", "fail"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("there is neither"), "{}", ran.stderr);
    assert_eq!(site.interlock(&["undo", &id]).code, 10);
    let broken = || site.scratch.events().iter().filter(|event| *event == "glass_broken").count();
    let ran = site.interlock(&["resume", &id, "--break-glass", "still nobody", "--self-approve", "break_glass"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("going back needs no approvals"), "{}", ran.stderr);
    assert_eq!(broken(), 1);
    site.scratch.write("let", "");
    assert_eq!(site.interlock(&["undo", &id]).code, 0);
    site.verifies();
}

#[test]
fn a_broken_glass_is_counted_and_on_the_metrics_until_it_is_reviewed() {
    let site = site("");
    let metrics = || {
        let ran = site.interlock(&["audit", "metrics"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
        is_taken(&ran.stdout);
        ran.stdout
    };
    let counted = |text: &str, broken: f64, not_told: f64| {
        assert_eq!(value(text, "interlock_glass_broken_total"), broken, "{text}");
        assert_eq!(value(text, "interlock_deviations_total{kind=\"break_glass\"}"), broken, "{text}");
        assert_eq!(value(text, "interlock_undelivered_total{what=\"glass\"}"), not_told, "{text}");
    };
    let before = metrics();
    counted(&before, 0.0, 0.0);
    assert!(!before.contains("interlock_run_to_review{"), "{before}");
    // The run halts, and is to be reviewed while it is open already.
    std::fs::remove_file(site.path().join("let")).unwrap();
    assert_eq!(run(&site, &WORD).code, 7);
    let id = site.scratch.the_open_run();
    let to_review = format!("interlock_run_to_review{{run=\"{id}\",runbook=\"change\"}}");
    let text = metrics();
    counted(&text, 1.0, 0.0);
    assert_eq!((value(&text, &to_review), value(&text, "interlock_open_runs{state=\"halted\"}")), (1.0, 1.0));
    // It goes on with the glass broken once more, which nobody can be told.
    site.scratch.write("let", "");
    site.scratch.write("unreachable", "");
    let again =
        ["resume", &id, "--decide", "fail=retry", "--break-glass", "still nobody", "--self-approve", "break_glass"];
    assert_eq!(site.interlock(&again).code, 13);
    let text = metrics();
    counted(&text, 2.0, 1.0);
    assert_eq!((value(&text, &to_review), value(&text, "interlock_open_runs{state=\"halted\"}")), (1.0, 0.0));
    assert_eq!(value(&text, "interlock_runs_total{runbook=\"change\",verdict=\"completed_with_deviations\"}"), 1.0);
    assert_eq!(site.interlock(&["review", &id, "-o", "review.yaml"]).code, 0);
    site.approve("review.yaml", "bea");
    assert_eq!(value(&metrics(), &to_review), 1.0, "what is signed is not handed back yet");
    assert_eq!(site.interlock(&["review", &id, "--signed", "review.yaml"]).code, 0);
    // What was, stays counted.
    let text = metrics();
    counted(&text, 2.0, 1.0);
    assert!(!text.contains("interlock_run_to_review{"), "{text}");
}
