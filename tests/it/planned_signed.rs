//! P5 under a policy, with real keys: a deviation that stands in a plan is permitted by those who sign the plan, if they are those whom
//! the policy names for it.

use crate::approvals::Site;
use crate::support::Ran;

const RULES: &str = "approvals: [{need: 1, of: core}]\noverrides: [{deviations: [skip], need: all, of: core}, {deviations: [outside_window], \
                     need: 1, of: core}]\n";
const STEPS: &str = "steps:\n  - {id: up, script: test ! -e DIR/bad && echo up >> DIR/book}\n  - {id: tell, script: echo tell >> \
                     DIR/book}\n  - {id: last, script: echo last >> DIR/book}\n";
const FROZEN: &str = "freezes: [{from: 2020-01-01T00:00:00Z, to: 2099-01-01T00:00:00Z, reason: Holidays}]\n";

/// A plan under these rules.
fn planned(rules: &str, more: &[&str]) -> (Site, Ran) {
    let site = Site::new(rules);
    site.runbook(STEPS);
    let mut arguments = vec!["plan", "change.yaml", "-o", "plan.yaml", "--reason", "told by phone"];
    arguments.extend(more);
    let ran = site.interlock(&arguments);
    (site, ran)
}

#[test]
fn p05_under_a_policy_a_planned_deviation_is_permitted_by_those_who_sign_the_plan_and_none_less() {
    let (site, ran) = planned(RULES, &["--skip", "tell"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let shown = site.interlock(&["approve", "plan.yaml", "--key", "bea", "--yes"]);
    assert!(shown.stderr.contains("to skip step `tell`: all of `core`"), "{}", shown.stderr);
    // One is enough for the plan, and not for the step that it leaves out.
    let ran = site.interlock(&["run", "plan.yaml", "--self-approve", "tell"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("bea@example.org signed; missing: cy@example.org"), "{}", ran.stderr);
    assert_eq!(site.scratch.last("run_refused")["cause"], "not_allowed");
    assert!(site.scratch.lines("book").is_empty());
    site.approve("plan.yaml", "cy");
    let ran = site.interlock(&["run", "plan.yaml"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert_eq!(site.scratch.lines("book"), ["up", "last"]);
    let accepted = site.scratch.last("override_accepted");
    assert_eq!(accepted["approved_by"], serde_json::json!(["bea@example.org", "cy@example.org"]));
    assert!(accepted["self_approved"].is_null() && accepted["request"].is_null(), "{accepted}");
    assert_eq!(site.scratch.last("run_completed")["deviations"], 1);
    site.verifies();
}

#[test]
fn p05_what_a_policy_lets_nobody_permit_is_not_planned() {
    for (rules, why) in [("", "no rule of"), ("forbid: [skip]\n", "forbids every `skip`")] {
        let (site, ran) = planned(rules, &["--skip", "tell"]);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        assert!(ran.stderr.contains("skip step `tell`") && ran.stderr.contains(why), "{}", ran.stderr);
        assert!(!site.path().join("plan.yaml").exists());
    }
}

#[test]
fn p05_in_a_freeze_a_run_begins_with_a_plan_that_says_so_and_is_signed() {
    let rules = format!("{RULES}{FROZEN}");
    let (site, ran) = planned(&rules, &["--outside-window"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let refused = site.interlock(&["run", "change.yaml"]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("Holidays") && refused.stderr.contains("--outside-window"), "{}", refused.stderr);
    let refused = site.interlock(&["run", "plan.yaml"]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    site.approve("plan.yaml", "bea");
    let ran = site.interlock(&["run", "plan.yaml"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert_eq!(site.scratch.lines("book"), ["up", "tell", "last"]);
    site.verifies();
    // Where nothing is closed, nothing is left.
    let (site, ran) = planned(RULES, &["--outside-window"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    site.approve("plan.yaml", "bea");
    let ran = site.interlock(&["run", "plan.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn p05_a_planned_deviation_counts_when_the_run_is_taken_up_for_as_long_as_the_policy_permits_it() {
    for (later, code, book) in [
        (RULES, 13, vec!["up", "last"]),
        ("approvals: [{need: 1, of: core}]\nforbid: [skip]\n", 0, vec!["up", "tell", "last"]),
    ] {
        let (site, ran) = planned(RULES, &["--skip", "tell"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        site.approve("plan.yaml", "bea");
        site.approve("plan.yaml", "cy");
        site.scratch.write("bad", "");
        let ran = site.interlock(&["run", "plan.yaml"]);
        assert_eq!(ran.code, 7, "{}", ran.stderr);
        std::fs::remove_file(site.path().join("bad")).unwrap();
        site.policy("policy.yaml", 13, later);
        let ran = site.interlock(&["resume", &site.scratch.the_open_run()]);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert_eq!(ran.stderr.contains("does not count any more"), code == 0, "{}", ran.stderr);
        assert_eq!(site.scratch.lines("book"), book);
        site.verifies();
    }
}

#[test]
fn policy_explain_says_who_would_have_to_sign_what() {
    let site = Site::new(&format!("{RULES}forbid: [stale_lock]\n"));
    let steps = STEPS.replace("{id: last,", "{id: last, override: never,");
    site.runbook(&steps);
    let ran = site.interlock(&["policy", "explain", "change.yaml"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    for words in [
        "operator: amy@example.org",
        "now: nothing is closed",
        "1 of `core`, the operator not counted",
        "bea@example.org, cy@example.org; counts for 1d",
        "not possible: no rule of",
        "forbids every `stale_lock`",
        "step `last` `override: never`",
    ] {
        assert!(ran.stdout.contains(words), "`{words}`: {}", ran.stdout);
    }
    site.policy("policy.yaml", 13, &format!("{RULES}{FROZEN}"));
    let ran = site.interlock(&["policy", "explain", "change.yaml", "--format", "json"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(said["can_begin"], false);
    assert!(said["closed"].as_str().unwrap().contains("Holidays"));
    assert_eq!(said["approvals"]["rules"][0]["needed"], 1);
    assert_eq!(said["deviations"]["waive"]["possible"], false);
    assert!(!site.scratch.home().join("audit").exists(), "nobody was asked, and nothing recorded");
}

#[test]
fn a_policy_says_how_long_things_may_take_where_the_runbook_does_not() {
    let site = Site::new("limits: {timeout: 10m}\ndefaults: {timeout: 90s, within: 5s}\n");
    site.runbook("steps:\n  - {id: said, run: ['true'], timeout: 2m}\n  - {id: unsaid, run: ['true'], undo: {run: ['true']}}\n  - {id: by-hand, manual: Look.}\n");
    let ran = site.interlock(&["plan", "change.yaml", "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let plan: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    let steps = &plan["runbook"]["steps"];
    let times: Vec<&str> = steps.as_array().unwrap().iter().map(|step| step["timeout"].as_str().unwrap()).collect();
    assert_eq!(times, ["2m", "1m30s", "1d"]);
    assert_eq!((&steps[1]["within"], &steps[1]["way_back"]["undo"]["timeout"]), (&"5s".into(), &"1m30s".into()));
    site.policy("policy.yaml", 13, "limits: {timeout: 10m}\ndefaults: {timeout: 11m}\n");
    let ran = site.interlock(&["policy", "check"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("E0710") && ran.stderr.contains("longer than `limits` allows"), "{}", ran.stderr);
}
