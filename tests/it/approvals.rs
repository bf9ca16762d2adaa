//! P6, with real keys: a run starts under a policy only with the signatures that the policy asks for, over exactly the plan's bytes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::{Ran, Scratch, finish, until};
use crate::terminal::Terminal;

pub const PLAN: &str = "interlock-plan@v1";
pub const RULE: &str = "approvals: [{match: {labels: {env: production}}, need: all, of: core, valid_for: 24h}]\n";
pub const TOUCH: &str = "steps:\n  - {id: touch, script: touch DIR/ran}\n";

/// The number of the user who operates here, as the program finds it: who logged in, else whose process it is.
pub fn operator() -> String {
    let login = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    match login.trim().parse::<u32>() {
        Ok(uid) if uid != u32::MAX => uid.to_string(),
        _ => rustix::process::getuid().as_raw().to_string(),
    }
}

fn run(program: &str, arguments: &[&str]) {
    let ran = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A site: amy operates; bea and cy approve with her. Everybody has a key in a file of their name.
pub struct Site {
    pub scratch: Scratch,
}

impl Site {
    /// With these rules.
    pub fn new(rules: &str) -> Self {
        let site = Self { scratch: Scratch::new() };
        let mut signers = String::new();
        for name in ["amy", "bea", "cy"] {
            site.make_key(name);
            signers.push_str(&site.signer(name, name, ""));
        }
        site.scratch.write("allowed_signers", &signers);
        site.policy("policy.yaml", 12, rules);
        site
    }

    pub fn make_key(&self, name: &str) {
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.text_path(name).as_str()]);
    }

    pub fn signer(&self, person: &str, key: &str, options: &str) -> String {
        format!("{person}@example.org {options} {}", self.scratch.read(&format!("{key}.pub")))
    }

    pub fn policy(&self, name: &str, number: u64, rules: &str) -> PathBuf {
        let text = format!(
            "interlock: 1\nnumber: {number}\nsigners: allowed_signers\npersons:\n  amy@example.org: {{users: [\"{}\"]}}\n  \
             bea@example.org: {{users: [bea]}}\n  cy@example.org: {{users: [cy]}}\ngroups: {{core: [amy@example.org, \
             bea@example.org, cy@example.org]}}\n{rules}",
            operator()
        );
        self.scratch.write(name, &text)
    }

    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    pub fn text_path(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    /// The program with the site's policy.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.scratch.command(arguments);
        command.env("INTERLOCK_POLICY", self.path().join("policy.yaml"));
        command
    }

    pub fn interlock(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments).spawn().unwrap())
    }

    /// A runbook for production with these steps; `DIR` stands for the folder.
    pub fn runbook(&self, steps: &str) {
        let steps = steps.replace("DIR", &self.path().display().to_string());
        self.scratch.write("change.yaml", &format!("interlock: 1\nname: change\nlabels: {{env: production}}\n{steps}"));
    }

    /// Its plan, as `plan.yaml`.
    pub fn plan(&self, steps: &str) {
        self.runbook(steps);
        let ran = self.interlock(&["plan", "change.yaml", "--force", "-o", "plan.yaml"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }

    /// Has somebody approve a plan, as they would without a terminal.
    pub fn approve(&self, plan: &str, key: &str) {
        let ran = self.interlock(&["approve", plan, "--key", key, "--yes"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }

    /// Signs with stock `ssh-keygen`, into a file beside the plan.
    pub fn sign(&self, file: &str, namespace: &str, key: &str, into: &str) {
        let signed = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", namespace, "-f", &self.text_path(key)])
            .stdin(std::fs::File::open(self.path().join(file)).unwrap())
            .output()
            .unwrap();
        assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
        std::fs::write(self.path().join(into), signed.stdout).unwrap();
    }

    /// Runs the plan, which is refused with an entry, for reasons that have all of these words; nothing is started.
    fn refused(&self, arguments: &[&str], words: &[&str]) -> Ran {
        let ran = self.interlock(arguments);
        assert_eq!(ran.code, 4, "{}{}", ran.stderr, ran.stdout);
        let last = self.scratch.entries().pop().unwrap();
        assert_eq!(
            (last["event"].as_str(), last["data"]["cause"].as_str()),
            (Some("run_refused"), Some("not_allowed"))
        );
        let reason = last["data"]["reason"].as_str().unwrap().to_owned();
        for word in words {
            assert!(reason.contains(word), "`{word}` in the entry: {reason}");
            assert!(ran.stderr.contains(word), "`{word}` is said: {}", ran.stderr);
        }
        assert!(!self.path().join("ran").exists());
        ran
    }

    pub fn runs(&self) {
        let ran = self.interlock(&["run", "plan.yaml"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(self.path().join("ran").exists());
        self.verifies();
    }

    pub fn verifies(&self) {
        let ran = self.scratch.interlock(&["audit", "verify"]);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    }

    pub fn approvals(&self) -> Vec<Value> {
        let entries = self.scratch.entries();
        entries.iter().filter(|one| one["event"] == "approval_accepted").map(|one| one["data"].clone()).collect()
    }
}

const RUN: [&str; 2] = ["run", "plan.yaml"];

#[test]
fn p06_a_run_starts_with_the_signatures_of_all_and_with_none_less() {
    let site = Site::new(RULE);
    site.plan(TOUCH);
    site.refused(&RUN, &["nobody has signed; missing: bea@example.org, cy@example.org", "interlock approve plan.yaml"]);
    site.approve("plan.yaml", "bea");
    let ran = site.refused(&RUN, &["bea@example.org signed; missing: cy@example.org"]);
    assert!(ran.stderr.contains("then go on with `interlock run plan.yaml --home"), "{}", ran.stderr);
    let refused = site.scratch.last("run_refused");
    assert_eq!(refused["policies"][0]["number"], 12);
    assert_eq!(refused["policies"][0]["operator"], "amy@example.org");
    site.approve("plan.yaml", "cy");
    site.runs();
    let events = site.scratch.events();
    let from = events.iter().position(|event| event == "run_opened").unwrap();
    assert_eq!(events[from..from + 4], ["run_opened", "approval_accepted", "approval_accepted", "step_intended"]);
}

#[test]
fn p06_recorded_approvals_can_be_checked_with_ssh_keygen_the_log_and_what_is_kept_beside_it_alone() {
    let site = Site::new(RULE);
    site.plan(TOUCH);
    site.approve("plan.yaml", "bea");
    site.approve("plan.yaml", "cy");
    site.runs();
    // All else is gone.
    for name in ["plan.yaml", "allowed_signers", "policy.yaml", "plan.yaml.bea@example.org.sig"] {
        std::fs::remove_file(site.path().join(name)).unwrap();
    }
    let opened = site.scratch.entries().into_iter().find(|entry| entry["event"] == "run_opened").unwrap();
    let folder = site.scratch.home().join("runs").join(opened["run"].as_str().unwrap());
    let policy = &opened["data"]["policies"][0];
    let signers = folder.join(format!("policies/{}.allowed_signers", policy["signers"].as_str().unwrap()));
    assert!(folder.join(format!("policies/{}.policy.yaml", policy["digest"].as_str().unwrap())).exists());
    let approvals = site.approvals();
    assert_eq!(approvals.len(), 2);
    for approval in approvals {
        assert_eq!(approval["document"], opened["data"]["plan"]);
        assert_eq!(approval["under"][0]["policy"], policy["digest"]);
        let armour = site.scratch.write("from-the-log.sig", approval["signature"].as_str().unwrap());
        let verified = Command::new("ssh-keygen")
            .args(["-Y", "verify", "-n", PLAN, "-I", approval["person"].as_str().unwrap(), "-f"])
            .arg(&signers)
            .arg("-s")
            .arg(armour)
            .stdin(std::fs::File::open(folder.join("plan.yaml")).unwrap())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(verified.status.success() && said.contains(approval["key"].as_str().unwrap()), "{said}");
    }
}

#[test]
fn p06_the_operators_own_signature_does_not_count_where_the_policy_says_so() {
    let site = Site::new("approvals: [{need: 2, of: core, operator_counts: false}]\n");
    site.plan(TOUCH);
    site.approve("plan.yaml", "amy");
    site.approve("plan.yaml", "bea");
    site.refused(
        &RUN,
        &[
            "plan.yaml.amy@example.org.sig is not counted: signed by amy@example.org, who operates this run",
            "bea@example.org signed; missing: cy@example.org",
        ],
    );
    let site = Site::new("approvals: [{need: 2, of: core, operator_counts: true}]\n");
    site.plan(TOUCH);
    site.approve("plan.yaml", "amy");
    site.refused(&RUN, &["amy@example.org signed; 1 more needed of bea@example.org, cy@example.org"]);
    site.approve("plan.yaml", "bea");
    site.runs();
}

#[test]
fn p06_two_keys_of_one_person_are_one_person() {
    let site = Site::new(RULE);
    site.make_key("bea2");
    let signers = format!("{}{}", site.scratch.read("allowed_signers"), site.signer("bea", "bea2", ""));
    site.scratch.write("allowed_signers", &signers);
    site.plan(TOUCH);
    site.sign("plan.yaml", PLAN, "bea", "plan.yaml.1.sig");
    site.sign("plan.yaml", PLAN, "bea2", "plan.yaml.2.sig");
    site.refused(
        &RUN,
        &[
            "plan.yaml.2.sig is not counted: signed by bea@example.org, who has signed already, with another key",
            "missing: cy@example.org",
        ],
    );
    site.approve("plan.yaml", "cy");
    site.runs();
    assert_eq!(site.approvals().len(), 2);
}

#[test]
fn p06_what_is_no_valid_signature_over_this_plan_for_this_purpose_counts_for_nothing() {
    let site = Site::new(&format!("revoked: revoked\n{RULE}"));
    for name in ["stranger", "old", "gone"] {
        site.make_key(name);
    }
    let more = format!(
        "{}{}{}",
        site.scratch.read("allowed_signers"),
        site.signer("cy", "old", "valid-before=\"20200101Z\""),
        site.signer("cy", "gone", "")
    );
    site.scratch.write("allowed_signers", &more);
    site.scratch.write("revoked", &site.scratch.read("gone.pub"));
    site.plan("steps: [{id: other, run: [\"true\"]}]\n");
    site.sign("plan.yaml", PLAN, "cy", "other.sig");
    site.plan(TOUCH);
    site.approve("plan.yaml", "bea");
    std::fs::rename(site.path().join("other.sig"), site.path().join("plan.yaml.other.sig")).unwrap();
    site.sign("plan.yaml", "interlock-override@v1", "cy", "plan.yaml.namespace.sig");
    site.sign("plan.yaml", PLAN, "stranger", "plan.yaml.stranger.sig");
    site.sign("plan.yaml", PLAN, "old", "plan.yaml.old.sig");
    site.sign("plan.yaml", PLAN, "gone", "plan.yaml.gone.sig");
    site.scratch.write("plan.yaml.garbage.sig", "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n");
    std::fs::create_dir(site.path().join("plan.yaml.folder.sig")).unwrap();
    site.refused(
        &RUN,
        &[
            "bea@example.org signed; missing: cy@example.org",
            "plan.yaml.other.sig is not counted: the signature is over other bytes",
            "plan.yaml.namespace.sig is not counted: it was made for another purpose, the namespace `interlock-override@v1`",
            "plan.yaml.stranger.sig is not counted: it was made with the unknown key SHA256:",
            "plan.yaml.old.sig is not counted: signed by cy@example.org with a key that expired on 2020-01-01",
            "plan.yaml.gone.sig is not counted: signed by cy@example.org with the key SHA256:",
            "which is revoked",
            "plan.yaml.garbage.sig is not counted: it is not a signature",
            "plan.yaml.folder.sig is not counted: it is not a regular file",
        ],
    );
    // A good one beside all of them is enough.
    site.approve("plan.yaml", "cy");
    site.runs();
}

#[test]
fn p06_an_approval_is_of_these_bytes_and_one_changed_byte_voids_it() {
    let site = Site::new(RULE);
    site.plan(TOUCH);
    site.approve("plan.yaml", "bea");
    site.approve("plan.yaml", "cy");
    let text = site.scratch.read("plan.yaml");
    // Still a plan in its one form: another digit of the nonce.
    let at = text.find("nonce: ").unwrap() + "nonce: ".len() + 5;
    let digit = if text.as_bytes()[at] == b'1' { "2" } else { "1" };
    site.scratch.write("plan.yaml", &format!("{}{digit}{}", &text[..at], &text[at + 1..]));
    site.refused(
        &RUN,
        &["nobody has signed", "plan.yaml.bea@example.org.sig is not counted: the signature is over other bytes"],
    );
    site.scratch.write("plan.yaml", &text);
    site.runs();
}

#[test]
fn p06_a_program_that_was_swapped_after_the_approval_is_not_executed() {
    let site = Site::new(RULE);
    site.scratch.script("tool", &format!("#!/bin/sh\ntouch {}/good\n", site.path().display()));
    site.plan("steps:\n  - {id: wait, script: \"echo > DIR/begun; while ! test -e DIR/go; do sleep 0.01; done\"}\n  - {id: tool, run: [DIR/tool]}\n");
    site.approve("plan.yaml", "bea");
    site.approve("plan.yaml", "cy");
    let evil = format!("#!/bin/sh\ntouch {}/ran\n", site.path().display());
    let good = site.scratch.read("tool");
    site.scratch.write("tool", &evil);
    site.refused(&RUN, &["is not what was planned"]);
    site.scratch.write("tool", &good);
    let child = site.command(&RUN).spawn().unwrap();
    until("the first step runs", || site.path().join("begun").exists());
    site.scratch.write("tool", &evil);
    site.scratch.write("go", "");
    let ran = finish(child);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(!site.path().join("ran").exists() && !site.path().join("good").exists());
}

#[test]
fn p06_an_approved_plan_is_for_one_run() {
    let site = Site::new(RULE);
    site.plan("steps:\n  - {id: touch, script: echo once >> DIR/book}\n");
    site.approve("plan.yaml", "bea");
    site.approve("plan.yaml", "cy");
    assert_eq!(site.interlock(&RUN).code, 0);
    site.refused(&RUN, &["one plan is for one run"]);
    assert_eq!(site.scratch.read("book"), "once\n");
}

/// Waits until the clock shows a later second than a plan's `made` plus one.
fn until_a_second_after_it_was_made(site: &Site) {
    let made = site.scratch.read("plan.yaml");
    let made =
        made.lines().find_map(|line| line.trim().strip_prefix("made: ")).unwrap().trim_matches(['"', '\'']).to_owned();
    let made = made.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp();
    until("the approvals have expired", || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        i64::try_from(now).unwrap() > made + 1
    });
}

#[test]
fn p06_approvals_count_for_as_long_as_the_policy_says_from_when_the_plan_was_made() {
    let site = Site::new("approvals: [{need: all, of: core, valid_for: 1s}]\n");
    site.plan(TOUCH);
    site.approve("plan.yaml", "bea");
    site.approve("plan.yaml", "cy");
    until_a_second_after_it_was_made(&site);
    site.refused(&RUN, &["bea@example.org, cy@example.org signed", "when it was made, until", "make a new plan"]);
}

#[test]
fn p06_a_plan_that_was_made_under_another_policy_is_not_run() {
    let site = Site::new(RULE);
    site.plan(TOUCH);
    site.approve("plan.yaml", "bea");
    site.approve("plan.yaml", "cy");
    site.policy("policy.yaml", 13, &format!("# changed\n{RULE}"));
    site.refused(&RUN, &["the plan was made under the policy number 12", "number 13", "make a new plan"]);
    let ran = site.scratch.interlock(&RUN);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("and no policy is in force now"), "{}", ran.stderr);
    site.policy("policy.yaml", 12, RULE);
    site.runs();
}

#[test]
fn p06_a_home_that_went_under_a_policy_goes_under_none_or_an_older_one_no_more() {
    let site = Site::new("");
    site.runbook(TOUCH);
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 0);
    std::fs::remove_file(site.path().join("ran")).unwrap();
    let ran = site.scratch.interlock(&["run", "change.yaml"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("no policy is in force, and runs of this home went under"), "{}", ran.stderr);
    site.policy("policy.yaml", 11, "");
    site.refused(&["run", "change.yaml"], &["has the number 11", "went under number 12 before"]);
    // Another file with no number does not stand in for it.
    let other = site.policy("other.yaml", 0, "");
    let mut command = site.scratch.command(&["run", "change.yaml", "--policy", other.to_str().unwrap()]);
    assert_eq!(finish(command.spawn().unwrap()).code, 4);
    command = site.scratch.command(&["run", "change.yaml"]);
    assert_eq!(finish(command.spawn().unwrap()).code, 4);
    site.policy("policy.yaml", 13, "");
    let ran = site.interlock(&["run", "change.yaml", "--policy", other.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "another policy adds to it: {}", ran.stderr);
    assert_eq!(site.scratch.last("run_opened")["policies"].as_array().unwrap().len(), 2);
}

#[test]
fn p06_every_policy_in_force_asks_for_its_own() {
    let site = Site::new("approvals: [{need: 1, of: core}]\n");
    let other = site.policy("other.yaml", 0, RULE);
    let run = ["run", "plan.yaml", "--policy", other.to_str().unwrap()];
    site.runbook(TOUCH);
    let ran = site.interlock(&["plan", "change.yaml", "-o", "plan.yaml", "--policy", other.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    site.approve("plan.yaml", "bea");
    site.refused(&run, &["all of `core`", "other.yaml", "missing: cy@example.org"]);
    site.approve("plan.yaml", "cy");
    let ran = site.interlock(&run);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(site.approvals()[0]["under"].as_array().unwrap().len(), 2);
    site.verifies();
}

#[test]
fn p06_who_is_no_operator_of_the_policy_starts_resumes_and_undoes_nothing() {
    let site = Site::new("");
    site.runbook("steps:\n  - {id: touch, script: \"test -e DIR/go && touch DIR/ran\"}\n");
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 7);
    let run = site.scratch.the_open_run();
    site.scratch.write("go", "");
    let unmapped = site.scratch.read("policy.yaml").replace(&format!("\"{}\"", operator()), "amy");
    site.scratch.write("policy.yaml", &unmapped);
    site.refused(&["run", "change.yaml"], &["is not the user of any person"]);
    assert!(site.scratch.last("run_refused")["policies"][0]["operator"].is_null());
    for arguments in [["resume", run.as_str()].as_slice(), &["undo", &run], &["abandon", &run, "--reason", "tired"]] {
        let ran = site.interlock(arguments);
        assert_eq!(ran.code, 4, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("is not the user of any person"), "{}", ran.stderr);
        assert_eq!(*site.scratch.events().last().unwrap(), "take_up_refused");
        assert_eq!(site.scratch.last("take_up_refused")["command"], arguments[0]);
    }
    assert!(!site.path().join("ran").exists());
}

#[test]
fn p09_a_policy_that_others_could_have_changed_or_that_cannot_be_read_is_a_refusal() {
    let site = Site::new("");
    site.runbook(TOUCH);
    for name in ["policy.yaml", "allowed_signers"] {
        let path = site.path().join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        let ran = site.interlock(&["run", "change.yaml"]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("can be written by others"), "{}", ran.stderr);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    for policy in ["", "interlock: 1\nunknown: key\n"] {
        site.scratch.write("policy.yaml", policy);
        assert_eq!(site.interlock(&["run", "change.yaml"]).code, 2);
    }
    std::fs::remove_file(site.path().join("policy.yaml")).unwrap();
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 2);
    assert!(!site.path().join("ran").exists());
}

#[test]
fn p06_outside_the_change_window_and_in_a_freeze_nothing_is_started() {
    let day = (chrono::Utc::now() + chrono::TimeDelta::days(3)).format("%a").to_string().to_lowercase();
    let site = Site::new(&format!("windows: [{{days: [{day}], from: \"00:00\", to: \"01:00\", zone: UTC}}]\n"));
    site.runbook(TOUCH);
    site.refused(&["run", "change.yaml"], &["is outside the change window", "it opens next on 20"]);
    let site = Site::new("freezes: [{from: 2020-01-01T00:00:00Z, to: 2099-01-01T00:00:00Z, reason: Holidays}]\n");
    site.plan(TOUCH);
    site.refused(&RUN, &["Holidays", "runs go on from 2099-01-01"]);
}

#[test]
fn p06_a_run_that_no_rule_asks_about_goes_directly() {
    let site = Site::new(RULE);
    let text = format!(
        "interlock: 1\nname: change\nlabels: {{env: test}}\n{}",
        TOUCH.replace("DIR", site.path().to_str().unwrap())
    );
    site.scratch.write("change.yaml", &text);
    let ran = site.interlock(&["run", "change.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(site.approvals().is_empty());
}

#[test]
fn p06_a_runbook_that_needs_approvals_is_written_down_as_a_plan_where_there_is_no_terminal() {
    let site = Site::new(RULE);
    site.runbook(TOUCH);
    let ran =
        site.refused(&["run", "change.yaml", "--plan-out", "out.yaml"], &["missing: bea@example.org, cy@example.org"]);
    assert!(ran.stderr.contains("its plan was written to out.yaml"), "{}", ran.stderr);
    site.approve("out.yaml", "bea");
    site.approve("out.yaml", "cy");
    let ran = site.interlock(&["run", "out.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // By default in the current folder, under a name of its own.
    site.interlock(&["run", "change.yaml"]);
    let made = std::fs::read_dir(site.path()).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    assert_eq!(made.filter(|name| name.starts_with("change-") && name.ends_with(".plan.yaml")).count(), 1);
}

#[test]
fn p06_signatures_are_taken_from_files_and_folders_that_are_named_and_then_from_nowhere_else() {
    let site = Site::new(RULE);
    site.plan(TOUCH);
    site.approve("plan.yaml", "bea");
    std::fs::create_dir(site.path().join("signatures")).unwrap();
    site.sign("plan.yaml", PLAN, "cy", "signatures/cy.sig");
    site.refused(
        &["run", "plan.yaml", "--approval", "signatures"],
        // What is signed with `approve` now lies beside the plan, so the command that goes on looks there too.
        &["cy@example.org signed; missing: bea@example.org", "run plan.yaml --approval signatures --approval . "],
    );
    let ran = site.interlock(&[
        "run",
        "plan.yaml",
        "--approval",
        "signatures",
        "--approval",
        "plan.yaml.bea@example.org.sig",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = site.interlock(&["run", "plan.yaml", "--approval", "nowhere"]);
    assert!(ran.code == 2 || ran.code == 4, "{}", ran.stderr);
}

#[test]
fn p06_the_approvals_of_a_run_are_looked_at_again_when_it_is_resumed_and_never_keep_it_from_going_back() {
    let site = Site::new(&format!("revoked: revoked\n{RULE}"));
    site.make_key("nobody");
    site.make_key("cy2");
    site.scratch.write("revoked", &site.scratch.read("nobody.pub"));
    site.plan(
        "steps:\n  - {id: touch, script: \"test -e DIR/go && touch DIR/ran\", undo: {run: [touch, DIR/undone]}}\n",
    );
    site.approve("plan.yaml", "bea");
    site.approve("plan.yaml", "cy");
    assert_eq!(site.interlock(&RUN).code, 7);
    let run = site.scratch.the_open_run();
    site.scratch.write("go", "");
    // One of the keys is revoked meanwhile.
    site.scratch.write("revoked", &site.scratch.read("cy.pub"));
    let ran = site.interlock(&["resume", &run]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("the approval of cy@example.org in the log is not counted: signed by cy@example.org"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("missing: cy@example.org") && ran.stderr.contains("interlock undo"), "{}", ran.stderr);
    assert!(!site.path().join("ran").exists());
    // With another key of the same person it goes on, and that is recorded.
    let signers = format!("{}{}", site.scratch.read("allowed_signers"), site.signer("cy", "cy2", ""));
    site.scratch.write("allowed_signers", &signers);
    site.scratch.write("revoked", &site.scratch.read("nobody.pub"));
    let ran = site.interlock(&["resume", &run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    site.verifies();

    let site = Site::new("approvals: [{need: all, of: core, valid_for: 1m}]\n");
    site.plan(
        "steps:\n  - {id: touch, script: \"test -e DIR/go && touch DIR/ran\", undo: {run: [touch, DIR/undone]}}\n",
    );
    site.approve("plan.yaml", "bea");
    site.approve("plan.yaml", "cy");
    assert_eq!(site.interlock(&RUN).code, 7);
    let run = site.scratch.the_open_run();
    // The policy of now says that they count for a second only.
    site.policy("policy.yaml", 13, "approvals: [{need: all, of: core, valid_for: 1s}]\n");
    until_a_second_after_it_was_made(&site);
    let ran = site.interlock(&["resume", &run]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("when it was made, until"), "{}", ran.stderr);
    let ran = site.interlock(&["undo", &run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(site.path().join("undone").exists());
    site.verifies();
}

#[test]
fn p06_a_signature_is_added_when_a_run_is_resumed_if_those_in_the_log_are_not_enough_any_more() {
    let site = Site::new("approvals: [{need: 1, of: core}]\n");
    site.plan("steps:\n  - {id: touch, script: \"test -e DIR/go && touch DIR/ran\"}\n");
    site.approve("plan.yaml", "bea");
    assert_eq!(site.interlock(&RUN).code, 7);
    let run = site.scratch.the_open_run();
    site.scratch.write("go", "");
    site.policy("policy.yaml", 13, RULE);
    let ran = site.interlock(&["resume", &run]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    site.sign("plan.yaml", PLAN, "cy", "late.sig");
    let ran = site.interlock(&["resume", &run, "--approval", "late.sig"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let people: Vec<String> =
        site.approvals().iter().map(|one| format!("{} {}", one["person"], one["under"][0]["number"])).collect();
    assert_eq!(people, ["\"bea@example.org\" 12", "\"bea@example.org\" 13", "\"cy@example.org\" 13"]);
    site.verifies();
}

#[test]
fn p06_hundreds_of_approvals_are_all_recorded() {
    let site = Site::new("");
    let people: Vec<String> = (0..200).map(|number| format!("p{number}")).collect();
    std::thread::scope(|scope| {
        for some in people.chunks(100) {
            let site = &site;
            scope.spawn(move || some.iter().for_each(|name| site.make_key(name)));
        }
    });
    let signers: String = people.iter().map(|name| site.signer(name, name, "")).collect();
    site.scratch.write("allowed_signers", &format!("{}{signers}", site.scratch.read("allowed_signers")));
    let names: Vec<String> = people.iter().map(|name| format!("{name}@example.org")).collect();
    let policy = site.scratch.read("policy.yaml");
    let groups = format!("groups: {{all: [{}], ", names.join(", "));
    site.scratch.write(
        "policy.yaml",
        &format!("{}approvals: [{{need: all, of: all}}]\n", policy.replace("groups: {", &groups)),
    );
    site.plan(TOUCH);
    people.iter().for_each(|name| site.sign("plan.yaml", PLAN, name, &format!("plan.yaml.{name}.sig")));
    site.runs();
    assert_eq!(site.approvals().len(), 200);
}

#[test]
fn p06_a_step_that_asks_for_more_time_than_the_policy_allows_is_not_started() {
    let site = Site::new("limits: {timeout: 5m}\n");
    site.runbook(TOUCH);
    site.refused(&["run", "change.yaml"], &["step `touch` has a `timeout` of 10m", "allows 5m at most"]);
    site.runbook(&TOUCH.replace("id: touch,", "id: touch, timeout: 5m,"));
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 0);
}

#[test]
fn p05_a_group_that_the_policy_does_not_have_is_told_before_anything_starts() {
    let site = Site::new("");
    let rule = |of: &str| format!("override: {{need: all, of: {of}}}");
    for (runbook, place) in [
        (TOUCH.replace("id: touch,", &format!("id: touch, {},", rule("coree"))), "step `touch`"),
        (format!("{}\n{TOUCH}", rule("coree")), "the head"),
    ] {
        site.runbook(&runbook);
        let words = [&format!("{place}: the runbook asks for signatures of the group `coree`"), "did you mean `core`?"];
        site.refused(&["run", "change.yaml"], &words);
        site.runbook(&runbook.replace("coree", "core"));
        assert_eq!(site.interlock(&["run", "change.yaml"]).code, 0);
        std::fs::remove_file(site.path().join("ran")).unwrap();
    }
}

#[test]
fn p05_under_a_policy_nobody_gives_a_run_up_alone() {
    let site = Site::new("");
    site.runbook("steps:\n  - {id: fail, run: [\"false\"]}\n");
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 7);
    let run = site.scratch.the_open_run();
    let ran = site.interlock(&["abandon", &run, "--reason", "tired"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("override of the kind `abandon`"), "{}", ran.stderr);
    // No rule of this policy says whose signatures would permit anything else.
    let request = ["override", &run, "--accept", "fail", "--reason", "tired", "-o", "request.yaml"];
    assert_eq!(site.interlock(&request).code, 4);
    assert!(!site.path().join("request.yaml").exists());
    assert_eq!(site.scratch.the_open_run(), run);
}

#[test]
fn approve_shows_what_is_executed_signs_it_and_never_writes_over_a_signature() {
    let site = Site::new(RULE);
    site.plan("steps:\n  - id: change\n    title: \"evil \\u202e title\"\n    confirm: {ask: Which?, expect: this}\n    script: |\n      touch DIR/ran\n      echo \"and more\"\n    undo: {run: [rm, DIR/ran]}\n  - {id: last, manual: Tell them, irreversible: true}\n");
    let ran = site.interlock(&["approve", "plan.yaml", "--key", "bea"]);
    assert_eq!(ran.code, 6, "without a terminal nobody is asked: {}", ran.stderr);
    let ran = site.interlock(&["approve", "plan.yaml", "--key", "bea", "--yes", "--as", "cy@example.org"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("is that of bea@example.org"), "{}", ran.stderr);
    let ran = site.interlock(&["approve", "plan.yaml", "--key", "bea", "--yes"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let dir = site.path().display().to_string();
    for words in [
        "asked by: amy@example.org",
        "for: one run on `",
        "[1/2] change  evil \\u{202e} title",
        &format!("│ touch {dir}/ran\n    │ echo \"and more\"\n"),
        &format!("executes: rm {dir}/ran"),
        "asks: Which? (the answer: this)",
        "way back: NONE: it is irreversible",
        "a person does:\n    │ Tell them",
        "program: /bin/sh (sha256 ",
        "under the policy: number 12",
        "plan.yaml.bea@example.org.sig",
    ] {
        assert!(ran.stdout.contains(words), "`{words}` in:\n{}", ran.stdout);
    }
    assert!(ran.stderr.contains("all of `core`, the operator not counted"), "{}", ran.stderr);
    assert!(ran.stderr.contains("interlock run plan.yaml"), "{}", ran.stderr);
    let first = site.scratch.read("plan.yaml.bea@example.org.sig");
    let ran = site.interlock(&["approve", "plan.yaml", "--key", "bea", "--yes"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("somebody signed already"), "{}", ran.stderr);
    assert_eq!(site.scratch.read("plan.yaml.bea@example.org.sig"), first);
    // Who is not known to any policy here signs by the key's own name.
    let ran = site.scratch.interlock(&["approve", "plan.yaml", "--key", "bea", "--yes", "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    let print = said["key"].as_str().unwrap().trim_start_matches("SHA256:").to_owned();
    assert_eq!(said["signer"], print[..12]);
    let ran = site.interlock(&["approve", "change.yaml", "--key", "bea", "--yes"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("is nothing that people sign"), "{}", ran.stderr);
}

/// A real agent; it ends with its guard.
struct Agent {
    socket: String,
    child: std::process::Child,
}

impl Agent {
    fn new(site: &Site) -> Self {
        let socket = site.text_path("agent");
        let child = Command::new("ssh-agent").args(["-D", "-a", &socket]).stdout(Stdio::null()).spawn().unwrap();
        until("the agent listens", || Path::new(&socket).exists());
        Self { socket, child }
    }

    fn add(&self, key: &str) {
        let mut command = Command::new("ssh-add");
        let added = command.args(["-q", key]).env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null()).output().unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn approve_signs_with_the_one_key_of_the_agent_that_the_policy_knows() {
    let site = Site::new(RULE);
    site.plan(TOUCH);
    site.make_key("private");
    let agent = Agent::new(&site);
    let approve = |more: &[&str]| {
        let mut arguments = vec!["approve", "plan.yaml", "--yes"];
        arguments.extend(more);
        finish(site.command(&arguments).env("SSH_AUTH_SOCK", &agent.socket).spawn().unwrap())
    };
    let ran = approve(&[]);
    assert!(ran.code == 2 && ran.stderr.contains("the agent has no key"), "{}", ran.stderr);
    agent.add(&site.text_path("private"));
    assert_eq!(approve(&[]).code, 2);
    agent.add(&site.text_path("bea"));
    let ran = approve(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    agent.add(&site.text_path("cy"));
    let ran = approve(&["--agent"]);
    assert!(ran.code == 2 && ran.stderr.contains("2 keys that could sign"), "{}", ran.stderr);
    // The private half is not there: only the agent has it.
    std::fs::remove_file(site.path().join("cy")).unwrap();
    let ran = approve(&["--agent", "--key", "cy.pub"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    site.runs();
}

#[test]
fn a_person_at_a_terminal_reads_the_plan_types_a_word_and_unlocks_the_key() {
    let site = Site::new(RULE);
    site.plan(TOUCH);
    run("ssh-keygen", &["-q", "-p", "-P", "", "-N", "a long phrase", "-f", &site.text_path("bea")]);
    let (plan, key) = (site.text_path("plan.yaml"), site.text_path("bea"));
    let policy = site.text_path("policy.yaml");
    let terminal = Terminal::type_in(&site.scratch, &format!("approve {plan} --key {key} --policy {policy}"));
    terminal.wait_for("Do you approve this plan, to the byte?");
    terminal.type_line("y");
    terminal.wait_for("That is not the answer that was asked for");
    terminal.type_line("approve");
    terminal.wait_for("Enter passphrase");
    terminal.type_line("a long phrase");
    terminal.wait_for("EXIT=0");
    assert!(site.path().join("plan.yaml.bea@example.org.sig").exists());
    let terminal =
        Terminal::type_in(&site.scratch, &format!("approve {plan} --key {} --policy {policy}", site.text_path("cy")));
    terminal.wait_for("Do you approve this plan, to the byte?");
    terminal.type_line("no");
    terminal.wait_for("EXIT=4");
    assert!(!site.path().join("plan.yaml.cy@example.org.sig").exists());
}

#[test]
fn p06_at_a_terminal_a_runbook_waits_for_its_signatures_and_goes_on_with_the_last() {
    let site = Site::new(RULE);
    site.runbook(TOUCH);
    let (runbook, plan) = (site.text_path("change.yaml"), site.text_path("out.yaml"));
    let policy = site.text_path("policy.yaml");
    let command = format!("run {runbook} --policy {policy} --plan-out {plan}");
    let terminal = Terminal::type_in(&site.scratch, &command);
    terminal.wait_for("waiting for signatures");
    terminal.wait_for("bea@example.org missing");
    site.approve("out.yaml", "bea");
    terminal.wait_for("bea@example.org signed");
    terminal.wait_for("cy@example.org missing");
    assert!(!site.path().join("ran").exists());
    site.approve("out.yaml", "cy");
    terminal.wait_for("EXIT=0");
    assert!(site.path().join("ran").exists());
    assert_eq!(site.approvals().len(), 2);
    site.verifies();
    drop(terminal);

    std::fs::remove_file(site.path().join("ran")).unwrap();
    std::fs::remove_file(site.path().join("out.yaml")).unwrap();
    let terminal = Terminal::type_in(&site.scratch, &command);
    terminal.wait_for("waiting for signatures");
    terminal.tmux(&["send-keys", "C-c"]);
    terminal.wait_for("EXIT=4");
    assert!(terminal.screen().replace('\n', "").contains("interlock run"), "{}", terminal.screen());
    assert_eq!(*site.scratch.events().last().unwrap(), "run_refused");
    assert!(!site.path().join("ran").exists());
}

#[test]
fn p06_what_was_revoked_while_the_signatures_were_waited_for_does_not_count() {
    let site = Site::new(&format!("revoked: revoked\n{RULE}"));
    site.make_key("nobody");
    site.scratch.write("revoked", &site.scratch.read("nobody.pub"));
    site.runbook(TOUCH);
    let (runbook, plan) = (site.text_path("change.yaml"), site.text_path("out.yaml"));
    let command = format!("run {runbook} --policy {} --plan-out {plan}", site.text_path("policy.yaml"));
    let terminal = Terminal::type_in(&site.scratch, &command);
    terminal.wait_for("waiting for signatures");
    site.approve("out.yaml", "bea");
    terminal.wait_for("bea@example.org signed");
    site.scratch.write("revoked", &site.scratch.read("bea.pub"));
    site.approve("out.yaml", "cy");
    terminal.wait_for("EXIT=4");
    assert!(site.scratch.last("run_refused")["reason"].as_str().unwrap().contains("which is revoked"));
    assert!(!site.path().join("ran").exists());
}
