//! P5, P8, P11 under a policy, with real keys: the lock of a run that is gone is removed by those whom the policy names, over exactly what the
//! lock's claim says, once.

use serde_json::Value;

use crate::approvals::Site;
use crate::signed_overrides::REQUEST;
use crate::support::Ran;
use crate::unlock::Case;

const RULES: &str = "overrides:\n  - {deviations: [stale_lock], need: all, of: core, valid_for: 1h}\n";

/// A lock whose run is gone, and a site with a policy.
struct Locked {
    case: Case,
    site: Site,
    run: String,
}

impl Locked {
    fn new(rules: &str) -> Self {
        let (case, run) = Case::halted();
        std::fs::remove_dir_all(case.dead.home()).unwrap();
        Self { case, site: Site::new(rules), run }
    }

    fn ask(&self) -> Ran {
        let lock = self.case.lock();
        self.site.interlock(&[
            "override",
            "--stale-lock",
            &lock,
            "--reason",
            "disk died",
            "--force",
            "-o",
            "request.yaml",
        ])
    }

    fn is_asked(&self) -> String {
        let asked = self.ask();
        assert_eq!(asked.code, 0, "{}", asked.stderr);
        self.site.scratch.read("request.yaml")
    }

    /// Has a request signed by all who must.
    fn signed(&self, request: &str) {
        for key in ["bea", "cy"] {
            self.site.sign(request, REQUEST, key, &format!("{request}.{key}.sig"));
        }
    }

    fn unlock(&self, request: &str) -> Ran {
        let lock = self.case.lock();
        self.site.interlock(&["unlock", &lock, "--override", request, "--reason", "looked at by hand"])
    }

    /// The lock is not removed, for a reason that has these words, and that is an entry.
    #[track_caller]
    fn is_refused(&self, request: &str, words: &[&str]) {
        let ran = self.unlock(request);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        self.is_kept(&ran, words);
    }

    #[track_caller]
    fn is_kept(&self, ran: &Ran, words: &[&str]) {
        let kept = self.site.scratch.entries().pop().unwrap();
        assert_eq!((kept["event"].as_str(), &kept["run"]), (Some("lock_kept"), &Value::Null));
        for word in words {
            assert!(kept["data"]["why"].as_str().unwrap().contains(word), "`{word}`: {kept}");
            assert!(ran.stderr.contains(word), "`{word}`: {}", ran.stderr);
        }
        assert!(!std::fs::read(self.case.file()).unwrap().is_empty(), "the claim still stands");
    }

    fn verify(&self, more: &[&str]) -> Ran {
        self.site.scratch.interlock(&[&["audit", "verify"][..], more].concat())
    }
}

#[test]
fn p05_under_a_policy_a_lock_is_removed_by_the_signatures_of_all_whom_it_names_and_none_less() {
    let locked = Locked::new(RULES);
    let text = locked.is_asked();
    let home = locked.case.dead.home();
    for line in [
        format!("run: \"{}\"\n", locked.run),
        "runbook: test\n".to_owned(),
        format!("    lock: {}\n", locked.case.lock()),
        format!("  home: {}\n", home.display()),
        format!("  gone: there is no audit log in {}\n", home.display()),
        "reason: disk died\n".to_owned(),
    ] {
        assert!(text.contains(&line), "`{line}`: {text}");
    }
    assert!(!text.contains("plan:"), "{text}");
    locked.is_refused("request.yaml", &["nobody has signed", "bea@example.org", "cy@example.org"]);
    let approved = locked.site.interlock(&["approve", "request.yaml", "--key", "bea", "--yes"]);
    assert_eq!(approved.code, 0, "{}", approved.stderr);
    assert!(approved.stdout.contains(&text), "{}", approved.stdout);
    let next = format!("interlock unlock '{}' --override request.yaml --reason WHY", locked.case.lock());
    assert!(approved.stderr.contains(&next), "{}", approved.stderr);
    // The operator's own does not count, nor one for another purpose, nor anybody's word.
    locked.site.approve("request.yaml", "amy");
    locked.site.sign("request.yaml", "interlock-plan@v1", "cy", "request.yaml.cy.sig");
    locked.is_refused("request.yaml", &["bea@example.org signed; missing: cy@example.org", "another purpose"]);
    assert!(!locked.case.is_free());
    locked.site.sign("request.yaml", REQUEST, "cy", "request.yaml.cy.sig");
    let ran = locked.unlock("request.yaml");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(locked.case.is_free());
    let entries = locked.site.scratch.entries();
    let [first, second, removed] = &entries[entries.len() - 3..] else { unreachable!() };
    for (entry, event) in [(first, "approval_accepted"), (second, "approval_accepted"), (removed, "lock_removed")] {
        assert_eq!((entry["event"].as_str(), &entry["run"]), (Some(event), &Value::Null));
    }
    let data = &removed["data"];
    assert_eq!((&data["reason"], &data["self_approved"]), (&"looked at by hand".into(), &Value::Null));
    assert_eq!(data["approved_by"], serde_json::json!(["bea@example.org", "cy@example.org"]));
    assert_eq!(data["claimed_by"]["run"], locked.run);
    assert_eq!(data["policies"][0]["number"], 12);
    assert_eq!((&first["data"]["document"], &second["data"]["document"]), (&data["request"], &data["request"]));
}

#[test]
fn p08_who_permitted_that_a_lock_was_removed_can_be_checked_with_what_is_kept_beside_the_log_and_not_without() {
    let locked = Locked::new(RULES);
    let text = locked.is_asked();
    locked.signed("request.yaml");
    assert_eq!(locked.unlock("request.yaml").code, 0);
    let removed = locked.site.scratch.last("lock_removed");
    let place = locked.site.scratch.home().join("unlocked");
    let kept = place.join(format!("requests/{}.request.yaml", removed["request"].as_str().unwrap()));
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), text);
    for name in ["request.yaml", "policy.yaml"] {
        std::fs::remove_file(locked.site.path().join(name)).unwrap();
    }
    let good = locked.verify(&["--signers", "allowed_signers"]);
    assert_eq!(good.code, 0, "{}{}", good.stdout, good.stderr);
    assert!(good.stdout.contains("2 signatures over plans, requests and reviews, all good"), "{}", good.stdout);
    let strangers = locked.site.scratch.read("allowed_signers").replace("cy@example.org", "dee@example.org");
    locked.site.scratch.write("strangers", &strangers);
    let strange = locked.verify(&["--signers", "strangers"]);
    assert_eq!(strange.code, 11, "{}", strange.stdout);
    assert!(
        strange.stdout.contains("the signature of cy@example.org over a request does not hold"),
        "{}",
        strange.stdout
    );
    let aside = place.join("aside");
    let signers =
        place.join(format!("policies/{}.allowed_signers", removed["policies"][0]["signers"].as_str().unwrap()));
    for file in [kept, signers] {
        std::fs::rename(&file, &aside).unwrap();
        let gone = locked.verify(&[]);
        assert_eq!(gone.code, 11, "{}", gone.stdout);
        assert!(gone.stdout.contains("cannot be read"), "{}", gone.stdout);
        let changed = std::fs::read_to_string(&aside).unwrap().replacen('a', "b", 1);
        std::fs::write(&file, changed).unwrap();
        let other = locked.verify(&[]);
        assert_eq!(other.code, 11, "{}", other.stdout);
        assert!(other.stdout.contains("was changed"), "{}", other.stdout);
        std::fs::rename(&aside, &file).unwrap();
        assert_eq!(locked.verify(&[]).code, 0);
    }
}

#[test]
fn p05_a_signed_request_removes_a_lock_once_and_with_the_claim_that_it_names() {
    let locked = Locked::new(RULES);
    let text = locked.is_asked();
    locked.signed("request.yaml");
    let claim = std::fs::read(locked.case.file()).unwrap();
    let claimed: Value = serde_json::from_slice(&claim).unwrap();
    let other = "01a20171-54e8-7180-9231-1d65dacb99ea";
    for (key, to, words) in [
        ("run", other, "is for run"),
        ("home", "/nowhere/else", "is not so"),
        ("log", other, "is not so"),
        ("runbook", "harmless", "is not so"),
        ("user", "bea", "is not so"),
    ] {
        let mut changed = claimed.clone();
        changed[key] = to.into();
        std::fs::write(locked.case.file(), changed.to_string()).unwrap();
        locked.is_refused("request.yaml", &[words]);
    }
    std::fs::write(locked.case.file(), &claim).unwrap();
    // What they read of it was not so, whoever signed it.
    for (from, to) in
        [("runbook: test\n", "runbook: harmless\n"), ("gone: there is no", "gone: amy was told there is no")]
    {
        let forged = text.replace(from, to);
        assert_ne!(forged, text);
        locked.site.scratch.write("forged.yaml", &forged);
        locked.signed("forged.yaml");
        locked.is_refused("forged.yaml", &["is not so"]);
    }
    // Not any more: its home is there again, with another log in it.
    let other = "interlock: 1\nname: t\nsteps: [{id: a, run: ['true'], undo: {run: ['true']}}]\n";
    assert_eq!(locked.case.dead.run(other, &[]).code, 0);
    locked.is_refused("request.yaml", &["or not any more"]);
    std::fs::remove_dir_all(locked.case.dead.home()).unwrap();
    assert_eq!(locked.unlock("request.yaml").code, 0);
    assert_eq!(locked.unlock("request.yaml").code, 2, "nobody claims it any more");
    std::fs::write(locked.case.file(), &claim).unwrap();
    locked.is_refused("request.yaml", &["used already"]);
    let verified = locked.verify(&[]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
}

#[test]
fn p05_what_the_policy_forbids_or_has_no_rule_for_is_not_asked_for_a_lock() {
    for (rules, words) in [
        ("", "no rule of"),
        ("overrides: [{deviations: [skip], need: all, of: core}]\n", "allows `stale_lock` for `test`"),
        // The labels of its runbook went with the run.
        (
            "overrides: [{match: {labels: {env: production}}, deviations: [stale_lock], need: 1, of: core}]\n",
            "no rule of",
        ),
        ("overrides: [{match: {name: other}, deviations: [stale_lock], need: 1, of: core}]\n", "no rule of"),
        ("forbid: [stale_lock]\n", "forbids every `stale_lock`"),
    ] {
        let locked = Locked::new(rules);
        let asked = locked.ask();
        assert_eq!(asked.code, 4, "{rules}: {}", asked.stderr);
        locked.is_kept(&asked, &[words]);
        assert!(!locked.site.path().join("request.yaml").exists());
        let lock = locked.case.lock();
        let bare = locked.site.interlock(&["unlock", &lock, "--reason", "now", "--self-approve", &lock]);
        assert_eq!(bare.code, 4, "{}", bare.stderr);
        locked.is_kept(&bare, &[words]);
    }
    let locked = Locked::new("overrides: [{match: {name: te*}, deviations: [stale_lock], need: 1, of: core}]\n");
    locked.is_asked();
    locked.site.approve("request.yaml", "bea");
    assert_eq!(locked.unlock("request.yaml").code, 0);
}

#[test]
fn p11_nobody_is_asked_to_sign_for_a_lock_whose_run_can_be_ended_or_that_nobody_can_tell_of() {
    let (case, run) = Case::halted();
    let locked = Locked { site: Site::new(RULES), case, run };
    let asked = locked.ask();
    assert_eq!(asked.code, 5, "{}", asked.stderr);
    locked.is_kept(&asked, &[&format!("interlock abandon {}", locked.run)]);
    std::fs::remove_dir_all(locked.case.dead.home()).unwrap();
    std::fs::write(locked.case.file(), "no claim").unwrap();
    let asked = locked.ask();
    assert_eq!(asked.code, 4, "{}", asked.stderr);
    locked.is_kept(&asked, &["nobody can tell which that is"]);
    std::fs::write(locked.case.file(), "").unwrap();
    assert_eq!(locked.ask().code, 2);
    for wrong in [&["override", &locked.run, "--stale-lock", "x"][..], &["override", "--abandon"]] {
        let ran = locked.site.interlock(&[wrong, &["--reason", "r", "-o", "r.yaml"]].concat());
        assert_eq!(ran.code, 2, "{wrong:?}: {}", ran.stderr);
    }
}

#[test]
fn p05_a_request_for_a_lock_is_for_nothing_else_and_nothing_else_is_for_a_lock() {
    let locked = Locked::new(&format!("{RULES}  - {{deviations: [abandon], need: all, of: core}}\n"));
    locked.is_asked();
    locked.signed("request.yaml");
    // Under other policies than it was made under.
    let rules = locked.site.scratch.read("policy.yaml");
    locked.site.scratch.write("policy.yaml", &rules.replace("number: 12", "number: 13"));
    locked.is_refused("request.yaml", &["under other policies"]);
    locked.site.scratch.write("policy.yaml", &rules);
    locked.site.runbook("steps: [{id: fail, run: ['false']}]\n");
    assert_eq!(locked.site.interlock(&["run", "change.yaml"]).code, 7);
    let run = locked.site.scratch.the_open_run();
    let ran = locked.site.interlock(&["resume", &run, "--override", "request.yaml"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("is to remove a lock, and is used by `interlock unlock`"), "{}", ran.stderr);
    let asked = locked.site.interlock(&["override", &run, "--abandon", "--reason", "r", "-o", "abandon.yaml"]);
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    locked.signed("abandon.yaml");
    locked.is_refused("abandon.yaml", &["is for something else: abandon the run"]);
    // Where no policy is in force, nobody is asked.
    let (lock, alone) = (locked.case.lock(), crate::support::Scratch::new());
    let request = locked.site.text_path("request.yaml");
    for words in [
        &["override", "--stale-lock", &lock, "--reason", "r", "-o", "r.yaml"][..],
        &["unlock", &lock, "--override", &request, "--reason", "r", "--self-approve", &lock],
    ] {
        let ran = alone.interlock(words);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("no policy is in force"), "{}", ran.stderr);
    }
    assert_eq!(locked.unlock("request.yaml").code, 0);
    let verified = locked.verify(&[]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
}

#[test]
fn p05_the_lock_of_a_run_that_a_home_which_was_set_back_does_not_know_is_removed_by_a_signed_request() {
    let (case, run) = Case::begun_after_a_copy_of_its_home();
    let locked = Locked { case, site: Site::new(RULES), run };
    let text = locked.is_asked();
    assert!(text.contains("so it was set back to before the run\n"), "{text}");
    locked.is_refused("request.yaml", &["nobody has signed"]);
    // What they sign of it stays so while that log goes on.
    assert_eq!(locked.case.dead.run("interlock: 1\nname: other\nsteps: [{id: one, run: ['true']}]\n", &[]).code, 0);
    locked.signed("request.yaml");
    let ran = locked.unlock("request.yaml");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(locked.case.is_free());
    assert_eq!(locked.site.scratch.last("lock_removed")["claimed_by"]["run"], locked.run);
}
