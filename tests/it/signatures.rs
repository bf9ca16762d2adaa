//! P6 and P8, with real keys: the signatures in the log are checked at any later time, from what is kept beside it alone; and who writes
//! into the log what was not signed is found, even where the whole chain was made anew and every checkpoint is gone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use interlock::id::Digest;
use serde_json::Value;

use crate::approvals::{PLAN, RULE, Site, TOUCH};
use crate::checkpoints::{chained, forget, lines, put};
use crate::signed_overrides::{Case, REQUEST, RULES};
use crate::support::Scratch;

/// A site whose plan was approved by both and run.
fn approved() -> Site {
    let site = Site::new(RULE);
    site.plan(TOUCH);
    site.approve("plan.yaml", "bea");
    site.approve("plan.yaml", "cy");
    site.runs();
    site
}

/// The folder of a run.
fn folder(scratch: &Scratch, run: &str) -> PathBuf {
    scratch.home().join("runs").join(run)
}

fn opened(site: &Site) -> Value {
    site.scratch.last_entry("run_opened")
}

/// The log verifies, and all that it was looked for is said in these words.
#[track_caller]
fn verifies(scratch: &Scratch, arguments: &[&str], words: &str) {
    let ran = scratch.interlock(&[&["audit", "verify"], arguments].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains(words), "`{words}`: {}", ran.stdout);
}

/// The log does not verify, for this reason, once.
#[track_caller]
fn is_found(scratch: &Scratch, arguments: &[&str], words: &str) {
    let ran = scratch.interlock(&[&["audit", "verify"], arguments].concat());
    assert_eq!(ran.code, 11, "{}{}", ran.stdout, ran.stderr);
    let found = ran.stdout.lines().filter(|line| line.starts_with("FAILURE ") && line.contains(words)).count();
    assert_eq!(found, 1, "`{words}`: {}", ran.stdout);
}

/// What somebody does who owns the machine: text of the log is exchanged, the chain made anew, and what was signed of it removed.
#[track_caller]
fn forge(scratch: &Scratch, changes: &[(&str, &str)]) {
    let mut log = lines(scratch).join("\n");
    for (from, to) in changes {
        assert!(log.contains(from), "{from}");
        log = log.replace(from, to);
    }
    let log: Vec<String> = log.split('\n').map(str::to_owned).collect();
    put(scratch, &chained(&log));
    forget(scratch);
}

/// As it stands in a line of the log.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn fingerprint(site: &Site, key: &str) -> String {
    let said = Command::new("ssh-keygen").args(["-l", "-f", &site.text_path(&format!("{key}.pub"))]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
}

/// What ssh-keygen says of a signature that is kept, over what is kept, by the keys that are kept.
#[track_caller]
fn by_hand(site: &Site, folder: &Path, approval: &Value, document: &str) {
    let signers = format!("policies/{}.allowed_signers", approval["under"][0]["signers"].as_str().unwrap());
    let armour = site.scratch.write("from-the-log.sig", approval["signature"].as_str().unwrap());
    let person = approval["person"].as_str().unwrap();
    let verified = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-n", approval["namespace"].as_str().unwrap(), "-I", person, "-f", &signers, "-s"])
        .arg(armour)
        .stdin(std::fs::File::open(folder.join(document)).unwrap())
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && said.contains(approval["key"].as_str().unwrap()), "{said}");
}

#[test]
fn p06_recorded_approvals_are_verified_from_what_is_kept_alone() {
    let site = approved();
    let signers = site.scratch.write("mine", &site.scratch.read("allowed_signers")).display().to_string();
    for name in ["plan.yaml", "allowed_signers", "policy.yaml", "plan.yaml.bea@example.org.sig"] {
        std::fs::remove_file(site.path().join(name)).unwrap();
    }
    let all = "2 signatures over plans, requests and reviews, all good, by";
    verifies(&site.scratch, &[], &format!("{all} the keys that are kept beside the log"));
    verifies(&site.scratch, &["--signers", &signers], &format!("{all} keys that {signers} gives"));
    let ran = site.scratch.interlock(&["audit", "verify", "--format", "json"]);
    let said: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(said["signatures"], serde_json::json!({"recorded": 2, "good": 2, "signers": null}));
    let folder = folder(&site.scratch, opened(&site)["run"].as_str().unwrap());
    for approval in site.approvals() {
        by_hand(&site, &folder, &approval, "plan.yaml");
    }
}

#[test]
fn p08_an_approval_whose_plan_or_keys_are_not_kept_as_they_were_is_a_failure() {
    let site = approved();
    let opened = opened(&site);
    let folder = folder(&site.scratch, opened["run"].as_str().unwrap());
    let signers = format!("policies/{}.allowed_signers", opened["data"]["policies"][0]["signers"].as_str().unwrap());
    for name in ["plan.yaml", &signers] {
        let path = folder.join(name);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&bytes[..], b"#\n"].concat()).unwrap();
        is_found(&site.scratch, &[], "the signature of bea@example.org over the plan cannot be checked: ");
        is_found(&site.scratch, &[], "the signature of cy@example.org over the plan cannot be checked: ");
        std::fs::remove_file(&path).unwrap();
        let ran = site.scratch.interlock(&["audit", "verify"]);
        assert_eq!(ran.code, 11);
        assert!(ran.stdout.contains("cannot be read: No such file"), "{}", ran.stdout);
        assert!(
            ran.stdout.contains("2 signatures over plans, requests and reviews, of which 0 can be shown to be good")
        );
        std::fs::write(&path, bytes).unwrap();
    }
    site.verifies();
}

#[test]
fn p08_an_approval_that_its_person_did_not_give_is_found_though_the_log_was_made_anew() {
    let site = approved();
    let honest = lines(&site.scratch);
    let approval = site.approvals().into_iter().find(|one| one["person"] == "cy@example.org").unwrap();
    let [good, key] = ["signature", "key"].map(|name| approval[name].as_str().unwrap().to_owned());
    let cases = |changes: &[(&str, &str)], words: &str| {
        put(&site.scratch, &honest);
        forge(&site.scratch, changes);
        is_found(&site.scratch, &[], words);
    };
    // Cy has signed something else once.
    let signature = |over: &str, key: &str| {
        site.sign(over, PLAN, key, "forged.sig");
        quoted(&site.scratch.read("forged.sig"))
    };
    site.scratch.write("other", "another plan\n");
    cases(&[(&quoted(&good), &signature("other", "cy"))], "is over other bytes than these");
    // Somebody else signed it, and is written down as Cy; the record fits the signature.
    site.make_key("mallory");
    let mallory = signature("plan.yaml", "mallory");
    let changes = [(&*quoted(&good), &*mallory), (&*key, &*fingerprint(&site, "mallory"))];
    cases(&changes, "the signature of cy@example.org over the plan does not hold by the keys that are kept");
    cases(&changes, "it was made with the unknown key");
    cases(&changes[..1], "was made with another key than is recorded");
    // Bea's counts for Cy.
    let bea = signature("plan.yaml", "bea");
    cases(
        &[(&*quoted(&good), &*bea), (&*key, &*fingerprint(&site, "bea"))],
        "gives to somebody else than cy@example.org",
    );
    put(&site.scratch, &honest);
    site.verifies();
}

#[test]
fn p08_keys_that_were_exchanged_with_the_whole_log_are_found_by_those_that_a_reviewer_trusts() {
    let site = approved();
    let trusted = site.text_path("allowed_signers");
    let approval = site.approvals().into_iter().find(|one| one["person"] == "cy@example.org").unwrap();
    let [good, key] = ["signature", "key"].map(|name| approval[name].as_str().unwrap().to_owned());
    site.make_key("mallory");
    site.sign("plan.yaml", PLAN, "mallory", "forged.sig");
    let policies = folder(&site.scratch, opened(&site)["run"].as_str().unwrap()).join("policies");
    let before = opened(&site)["data"]["policies"][0]["signers"].as_str().unwrap().to_owned();
    let text = std::fs::read_to_string(policies.join(format!("{before}.allowed_signers"))).unwrap();
    let text = text.replace(&site.signer("cy", "cy", ""), &site.signer("cy", "mallory", ""));
    let after = Digest::of(text.as_bytes()).to_string();
    std::fs::write(policies.join(format!("{after}.allowed_signers")), text).unwrap();
    forge(
        &site.scratch,
        &[
            (&before, &after),
            (&quoted(&good), &quoted(&site.scratch.read("forged.sig"))),
            (&key, &fingerprint(&site, "mallory")),
        ],
    );
    // Nothing beside the log tells, and it is said what would.
    verifies(&site.scratch, &[], "Say whose keys you trust (--signers)");
    let words = format!(
        "the signature of cy@example.org over the plan does not hold by the keys of {trusted}: it was made with the unknown key"
    );
    is_found(&site.scratch, &["--signers", &trusted], &words);
}

#[test]
fn what_is_no_signers_file_is_an_error_of_the_command_line() {
    let site = Site::new(RULE);
    site.scratch.write("empty", "");
    for name in ["empty", "missing"] {
        let ran = site.scratch.interlock(&["audit", "verify", "--signers", name]);
        assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
    }
}

#[test]
fn p08_a_permission_is_verified_over_its_request_which_is_kept_to_the_byte() {
    let case = Case::halted(RULES);
    let scratch = &case.site.scratch;
    assert_eq!(case.ask("request.yaml", &["--accept", "fail"]).code, 0);
    for key in ["bea", "cy"] {
        case.site.sign("request.yaml", REQUEST, key, &format!("request.yaml.{key}.sig"));
    }
    let ran = case.resume(&["--override", "request.yaml"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    let text = scratch.read("request.yaml");
    std::fs::remove_file(case.site.path().join("request.yaml")).unwrap();
    let folder = folder(scratch, &case.run);
    let name = format!("requests/{}.request.yaml", scratch.last("override_accepted")["request"].as_str().unwrap());
    let path = folder.join(&name);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
    let trusted = case.site.text_path("allowed_signers");
    verifies(scratch, &["--signers", &trusted], "2 signatures over plans, requests and reviews, all good");
    for approval in case.site.approvals() {
        by_hand(&case.site, &folder, &approval, &name);
    }
    // What is kept was changed, or is not there.
    std::fs::write(&path, text.replace("checked by hand", "checked by hanD")).unwrap();
    is_found(scratch, &[], "the signature of bea@example.org over a request cannot be checked: ");
    is_found(scratch, &[], "which failed, as done: its request cannot be looked at: ");
    std::fs::remove_file(&path).unwrap();
    is_found(scratch, &[], "the signature of cy@example.org over a request cannot be checked: ");
    std::fs::write(&path, &text).unwrap();
    // The log says of it what it does not say.
    forge(scratch, &[("\"reason\":\"checked by hand\"", "\"reason\":\"nobody was hurt\"")]);
    is_found(
        scratch,
        &[],
        "accept step `fail`, which failed, as done: its request, which is kept, gives another reason",
    );
    verifies_no_more_than_that(scratch);
}

#[test]
fn p08_a_permission_that_was_used_after_its_time_is_found() {
    let case = Case::halted(RULES);
    let scratch = &case.site.scratch;
    assert_eq!(case.ask("request.yaml", &["--skip", "last"]).code, 0);
    assert_eq!(case.ask("failed.yaml", &["--accept", "fail"]).code, 0);
    for name in ["request.yaml", "failed.yaml"] {
        for key in ["bea", "cy"] {
            case.site.sign(name, REQUEST, key, &format!("{name}.{key}.sig"));
        }
    }
    let ran = case.resume(&["--override", "request.yaml", "--override", "failed.yaml"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    verifies(scratch, &[], "4 signatures over plans, requests and reviews, all good");
    // It was good for an hour. The run came to the step it is for a day later, as the log has it now.
    let time = scratch.last_entry("step_skipped")["time"].as_str().unwrap().to_owned();
    let day = &time[..10];
    forge(scratch, &[(&format!("\"time\":\"{time}\""), &format!("\"time\":\"{}{}\"", later(day), &time[10..]))]);
    is_found(scratch, &[], "the permission to skip step `last` was used at ");
}

/// The day after.
fn later(day: &str) -> String {
    (day.parse::<chrono::NaiveDate>().unwrap() + chrono::TimeDelta::days(1)).to_string()
}

/// What was changed in the entry of the permission alone leaves the signatures good.
#[track_caller]
fn verifies_no_more_than_that(scratch: &Scratch) {
    let ran = scratch.interlock(&["audit", "verify"]);
    assert!(ran.stdout.contains("THE LOG DOES NOT VERIFY: 1 failure"), "{}", ran.stdout);
    assert!(ran.stdout.contains("2 signatures over plans, requests and reviews, all good"), "{}", ran.stdout);
}

/// The recipe of docs/audit-format.md for the signatures of a run, in the home of this run.
fn recipe(scratch: &Scratch) -> String {
    let page = include_str!("../../docs/audit-format.md");
    let from = page.find("```sh\ncd /var/lib/interlock/runs/$RUN").unwrap() + "```sh\n".len();
    let recipe = &page[from..from + page[from..].find("```").unwrap()];
    recipe.replace("/var/lib/interlock", scratch.home().to_str().unwrap())
}

#[test]
fn p08_the_signatures_of_a_run_are_checked_by_hand_as_the_document_says() {
    let site = Site::new(&format!("{RULE}{RULES}"));
    site.plan("steps:\n  - {id: touch, script: touch DIR/ran}\n  - {id: fail, run: ['false']}\n");
    for key in ["bea", "cy"] {
        site.approve("plan.yaml", key);
    }
    assert_eq!(site.interlock(&["run", "plan.yaml"]).code, 7);
    let run = site.scratch.the_open_run();
    let ask = ["override", &run, "--accept", "fail", "--reason", "checked by hand", "-o", "request.yaml"];
    assert_eq!(site.interlock(&ask).code, 0);
    for key in ["bea", "cy"] {
        site.approve("request.yaml", key);
    }
    let ran = site.interlock(&["resume", &run, "--override", "request.yaml"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    let by_hand = || {
        let ran = Command::new("sh").args(["-c", &recipe(&site.scratch)]).env("RUN", &run).output().unwrap();
        let said = String::from_utf8(ran.stdout).unwrap();
        ["Good \"interlock-plan@v1\"", "Good \"interlock-override@v1\"", ": OK", ": FAILED"]
            .map(|words| said.matches(words).count())
    };
    assert_eq!(by_hand(), [2, 2, 8, 0]);
    verifies(&site.scratch, &[], "4 signatures over plans, requests and reviews, all good");
    // The same when something was changed.
    let plan = folder(&site.scratch, &run).join("plan.yaml");
    let text = std::fs::read_to_string(&plan).unwrap();
    std::fs::write(&plan, text.replace("change", "chance")).unwrap();
    assert_eq!(by_hand(), [0, 2, 6, 2]);
    is_found(&site.scratch, &[], "the signature of cy@example.org over the plan cannot be checked: ");
}

#[test]
fn p08_a_signed_request_to_give_a_run_up_is_kept_and_verified_under_the_policy_of_then() {
    let case = Case::halted(RULES);
    // The policy is another one since the run was opened.
    case.site.policy("policy.yaml", 13, RULES);
    assert_eq!(case.ask("request.yaml", &["--abandon"]).code, 0);
    for key in ["bea", "cy"] {
        case.site.approve("request.yaml", key);
    }
    let arguments = ["abandon", &case.run, "--override", "request.yaml", "--reason", "restored instead"];
    let ran = case.site.interlock(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    verifies(&case.site.scratch, &[], "2 signatures over plans, requests and reviews, all good");
    std::fs::remove_dir_all(folder(&case.site.scratch, &case.run).join("requests")).unwrap();
    is_found(&case.site.scratch, &[], "the permission to abandon the run: its request cannot be looked at: ");
}

#[test]
fn p05_a_request_that_was_used_on_the_operators_own_word_is_kept_too() {
    let scratch = Scratch::new();
    let runbook = "interlock: 1\nname: one\nsteps:\n  - {id: fail, run: ['false']}\n";
    assert_eq!(scratch.run(runbook, &[]).code, 7);
    let run = scratch.the_open_run();
    let asked = ["override", &run, "--accept", "fail", "--reason", "it is fine", "-o", "request.yaml"];
    assert_eq!(scratch.interlock(&asked).code, 0);
    let text = scratch.read("request.yaml");
    let ran = scratch.interlock(&["resume", &run, "--override", "request.yaml", "--self-approve", "fail"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    let digest = scratch.last("override_accepted")["request"].as_str().unwrap().to_owned();
    let path = folder(&scratch, &run).join(format!("requests/{digest}.request.yaml"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    verifies(&scratch, &[], "the log verifies");
    std::fs::write(&path, "").unwrap();
    is_found(&scratch, &[], "was changed: it has another SHA-256 than is recorded");
}
