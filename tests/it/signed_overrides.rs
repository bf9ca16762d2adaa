//! P5 under a policy, with real keys: a deviation is permitted by those whom the policy names, over exactly the request's bytes, once.

use crate::approvals::Site;
use crate::support::Ran;

pub const REQUEST: &str = "interlock-override@v1";
pub const RULES: &str = "overrides:\n  - {deviations: [skip, accept_failed, abandon], need: all, of: core, valid_for: 1h}\nforbid: [waive]\n";
const STEPS: &str = "steps:\n  - {id: up, script: echo up >> DIR/book}\n  - {id: fail, script: test -e DIR/let}\n  \
                     - {id: guarded, script: echo guarded >> DIR/book, override: never}\n  - {id: last, script: echo last >> DIR/book}\n";

pub struct Case {
    pub site: Site,
    pub run: String,
}

impl Case {
    /// A run that halted because its second step failed.
    pub fn halted(rules: &str) -> Self {
        Self::halted_in(STEPS, rules)
    }

    /// The same with these steps.
    fn halted_in(steps: &str, rules: &str) -> Self {
        let site = Site::new(rules);
        site.runbook(steps);
        let ran = site.interlock(&["run", "change.yaml"]);
        assert_eq!(ran.code, 7, "{}", ran.stderr);
        let run = site.scratch.the_open_run();
        Self { site, run }
    }

    pub fn ask(&self, name: &str, what: &[&str]) -> Ran {
        let mut arguments = vec!["override", &self.run, "--reason", "checked by hand", "--force", "-o", name];
        arguments.extend(what);
        self.site.interlock(&arguments)
    }

    pub fn resume(&self, more: &[&str]) -> Ran {
        let mut arguments = vec!["resume", &self.run];
        arguments.extend(more);
        self.site.interlock(&arguments)
    }

    /// Resuming is refused, with an entry that has these words; nothing more was done.
    #[track_caller]
    fn refused(&self, more: &[&str], words: &[&str]) {
        let ran = self.resume(more);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        let refused = self.site.scratch.last("override_refused");
        for word in words {
            assert!(refused["why"].as_str().unwrap().contains(word), "`{word}`: {refused}");
            assert!(ran.stderr.contains(word), "`{word}`: {}", ran.stderr);
        }
        assert_eq!(self.site.scratch.lines("book"), ["up"]);
    }
}

#[test]
fn p05_under_a_policy_a_deviation_is_permitted_by_the_signatures_of_all_whom_it_names_and_none_less() {
    let case = Case::halted(RULES);
    let asked = case.ask("request.yaml", &["--accept", "fail"]);
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    assert!(asked.stderr.contains("interlock approve request.yaml"), "{}", asked.stderr);
    case.refused(&["--override", "request.yaml"], &["nobody has signed", "bea@example.org", "cy@example.org"]);
    case.refused(&["--override", "request.yaml", "--self-approve", "fail"], &["nobody has signed"]);
    case.site.approve("request.yaml", "bea");
    // The operator's own does not count.
    case.site.approve("request.yaml", "amy");
    case.refused(&["--override", "request.yaml"], &["missing: cy@example.org"]);
    // Nor does a signature for another purpose.
    case.site.sign("request.yaml", "interlock-plan@v1", "cy", "request.yaml.cy.sig");
    case.refused(&["--override", "request.yaml"], &["missing: cy@example.org", "is not counted"]);
    case.site.sign("request.yaml", REQUEST, "cy", "request.yaml.cy.sig");
    let ran = case.resume(&["--override", "request.yaml"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert_eq!(case.site.scratch.lines("book"), ["up", "guarded", "last"]);
    let accepted = case.site.scratch.last("override_accepted");
    assert_eq!(accepted["approved_by"], serde_json::json!(["bea@example.org", "cy@example.org"]));
    assert_eq!(accepted["self_approved"], serde_json::Value::Null);
    let signed = case.site.scratch.last("approval_accepted");
    assert_eq!((&signed["document"], &signed["namespace"]), (&accepted["request"], &REQUEST.into()));
    case.site.verifies();
}

#[test]
fn p05_what_the_policy_forbids_or_does_not_name_is_not_even_asked_for() {
    let case = Case::halted(RULES);
    for what in [["--skip", "guarded"].as_slice(), &["--outside-window"]] {
        let asked = case.ask("request.yaml", what);
        assert_eq!(asked.code, 4, "{what:?}: {}", asked.stderr);
        assert!(!case.site.scratch.path().join("request.yaml").exists(), "{what:?}");
    }
    let case = Case::halted("overrides: [{deviations: [skip], need: all, of: core}]\n");
    let asked = case.ask("request.yaml", &["--accept", "fail"]);
    assert_eq!(asked.code, 4, "{}", asked.stderr);
    assert!(asked.stderr.contains("allows `accept_failed`"), "{}", asked.stderr);
    assert!(case.site.scratch.last("override_refused")["why"].as_str().unwrap().contains("accept_failed"));
}

#[test]
fn p05_a_request_that_was_signed_is_used_once_and_in_its_own_run() {
    let case = Case::halted(RULES);
    assert_eq!(case.ask("request.yaml", &["--accept", "fail"]).code, 0);
    for key in ["bea", "cy"] {
        case.site.approve("request.yaml", key);
    }
    let text = case.site.scratch.read("request.yaml");
    // The same signatures over a request of which a byte is another.
    let forged = text.replace("checked by hand", "checked by hanD");
    assert_ne!(forged, text);
    case.site.scratch.write("forged.yaml", &forged);
    for person in ["bea@example.org", "cy@example.org"] {
        let from = case.site.text_path(&format!("request.yaml.{person}.sig"));
        std::fs::copy(from, case.site.text_path(&format!("forged.yaml.{person}.sig"))).unwrap();
    }
    case.refused(&["--override", "forged.yaml"], &["nobody has signed"]);
    let ran = case.resume(&["--override", "request.yaml"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    // Another run of the same runbook.
    let again = case.site.interlock(&["run", "change.yaml"]);
    assert_eq!(again.code, 7, "{}", again.stderr);
    let second = case.site.scratch.the_open_run();
    let ran = case.site.interlock(&["resume", &second, "--override", "request.yaml"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("is for run"), "{}", ran.stderr);
    case.site.verifies();
}

#[test]
fn p05_under_a_policy_a_run_is_given_up_by_a_signed_request() {
    let case = Case::halted(RULES);
    let alone = case.site.interlock(&["abandon", &case.run, "--reason", "tired"]);
    assert_eq!(alone.code, 4, "{}", alone.stderr);
    assert_eq!(case.ask("request.yaml", &["--abandon"]).code, 0);
    let ran = case.resume(&["--override", "request.yaml"]);
    assert_ne!(ran.code, 0, "{}", ran.stderr);
    let unsigned = case.site.interlock(&["abandon", &case.run, "--override", "request.yaml", "--reason", "tired"]);
    assert_eq!(unsigned.code, 4, "{}", unsigned.stderr);
    for key in ["bea", "cy"] {
        case.site.approve("request.yaml", key);
    }
    let ran =
        case.site.interlock(&["abandon", &case.run, "--override", "request.yaml", "--reason", "restored instead"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(case.site.scratch.last("run_abandoned")["reason"], "restored instead");
    assert!(case.site.scratch.open_runs().is_empty());
    case.site.verifies();
}

#[test]
fn p05_in_a_freeze_a_run_goes_on_by_a_signed_request_and_not_without() {
    let rules = "overrides: [{deviations: [outside_window], need: all, of: core}]\n";
    let case = Case::halted(rules);
    let open = case.ask("request.yaml", &["--outside-window"]);
    assert_eq!(open.code, 4, "nothing is closed yet: {}", open.stderr);
    assert!(open.stderr.contains("nothing has to be left"), "{}", open.stderr);
    let frozen =
        format!("{rules}freezes: [{{from: 2020-01-01T00:00:00Z, to: 2099-01-01T00:00:00Z, reason: Holidays}}]\n");
    case.site.policy("policy.yaml", 13, &frozen);
    case.site.scratch.write("let", "");
    let ran = case.resume(&[]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("Holidays"), "{}", ran.stderr);
    assert_eq!(case.ask("request.yaml", &["--outside-window"]).code, 0);
    case.refused(&["--override", "request.yaml"], &["nobody has signed"]);
    for key in ["bea", "cy"] {
        case.site.approve("request.yaml", key);
    }
    let ran = case.resume(&["--override", "request.yaml"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert_eq!(case.site.scratch.lines("book"), ["up", "guarded", "last"]);
    case.site.verifies();
}

#[test]
fn p05_what_a_request_says_of_the_run_to_those_who_sign_it_must_be_so() {
    let case = Case::halted("");
    assert_eq!(case.ask("request.yaml", &["--accept", "fail"]).code, 4, "no rule allows it under this policy");
    let case = Case::halted(RULES);
    assert_eq!(case.ask("request.yaml", &["--accept", "fail"]).code, 0);
    let text = case.site.scratch.read("request.yaml");
    for (from, to) in [("runbook: change\n", "runbook: harmless\n"), ("env: production\n", "env: test\n")] {
        let forged = text.replace(from, to);
        assert_ne!(forged, text);
        case.site.scratch.write("forged.yaml", &forged);
        for key in ["bea", "cy"] {
            case.site.sign("forged.yaml", REQUEST, key, &format!("forged.yaml.{key}.sig"));
        }
        case.refused(&["--override", "forged.yaml"], &["is not so"]);
    }
}

#[test]
fn p06_who_signs_a_request_is_told_whose_signatures_the_step_itself_asks_for() {
    let case = Case::halted("overrides:\n  - {deviations: [accept_failed], need: 1, of: core, valid_for: 1h}\n");
    assert_eq!(case.ask("plain.yaml", &["--accept", "fail"]).code, 0);
    assert!(!case.site.scratch.read("plain.yaml").contains("\nasks:"));
    let steps = STEPS.replace("test -e DIR/let}", "test -e DIR/let, override: {need: all, of: core}}");
    let case =
        Case::halted_in(&steps, "overrides:\n  - {deviations: [accept_failed], need: 1, of: core, valid_for: 1h}\n");
    assert_eq!(case.ask("request.yaml", &["--accept", "fail"]).code, 0);
    let text = case.site.scratch.read("request.yaml");
    assert!(text.contains("\nasks: all of core\n"), "{text}");
    let ran = case.site.interlock(&["approve", "request.yaml", "--key", "bea", "--yes"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.ends_with(&format!("{text}request.yaml.bea@example.org.sig\n")), "{}", ran.stdout);
    for words in ["  1 of `core`, the operator not counted (", "  all of `core`, the operator not counted ("] {
        assert!(ran.stderr.contains(words), "`{words}`: {}", ran.stderr);
    }
    case.refused(&["--override", "request.yaml"], &["missing: cy@example.org"]);
    // A request that does not say so is not for this run, whoever signed it.
    case.site.scratch.write("forged.yaml", &text.replace("asks: all of core\n", ""));
    for key in ["bea", "cy"] {
        case.site.sign("forged.yaml", REQUEST, key, &format!("forged.yaml.{key}.sig"));
    }
    case.refused(&["--override", "forged.yaml"], &["is not so"]);
    case.site.approve("request.yaml", "cy");
    assert_eq!(case.resume(&["--override", "request.yaml"]).code, 13);
}
