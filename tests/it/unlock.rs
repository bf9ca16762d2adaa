//! P5, P11: a lock is removed only where its run is gone, on a person's word, and recorded before.

use std::process::Command;

use crate::approvals::Site;
use crate::locks::file_of;
use crate::support::{Ran, Scratch, finish, until};

pub struct Case {
    pub dead: Scratch,
    mine: Scratch,
}

impl Case {
    /// A run that halted with a lock, in a home of its own.
    pub fn halted() -> (Self, String) {
        let case = Self { dead: Scratch::new(), mine: Scratch::new() };
        let ran = case.dead.run(&case.runbook("'false'"), &[]);
        assert_eq!(ran.code, 7, "{}", ran.stderr);
        let run = case.dead.the_open_run();
        (case, run)
    }

    /// The same, where that home was set back to a copy of before the run.
    pub fn begun_after_a_copy_of_its_home() -> (Self, String) {
        let case = Self { dead: Scratch::new(), mine: Scratch::new() };
        assert_eq!(case.dead.run(&case.runbook("'true'"), &[]).code, 0);
        let (home, copy) = (case.dead.home(), case.dead.path().join("copy"));
        assert!(Command::new("cp").arg("-a").args([&home, &copy]).status().unwrap().success());
        assert_eq!(case.dead.run(&case.runbook("'false'"), &[]).code, 7);
        let run = case.dead.the_open_run();
        std::fs::remove_dir_all(&home).unwrap();
        std::fs::rename(&copy, &home).unwrap();
        (case, run)
    }

    pub fn lock(&self) -> String {
        format!("unlock {}", self.dead.path().display())
    }

    fn runbook(&self, does: &str) -> String {
        format!(
            "interlock: 1\nname: test\nlocks: [\"{}\"]\nsteps:\n  - {{id: one, run: [{does}], undo: {{run: ['true']}}}}\n",
            self.lock()
        )
    }

    /// The file of the lock.
    pub fn file(&self) -> std::path::PathBuf {
        file_of(&self.lock())
    }

    /// The words with which a run that wants the lock is refused.
    fn refusal(&self) -> String {
        let ran = self.mine.run(&self.runbook("'true'"), &[]);
        assert_eq!(ran.code, 5, "{}", ran.stderr);
        ran.stderr
    }

    fn unlock(&self, more: &[&str]) -> Ran {
        let lock = self.lock();
        let mut all = vec!["unlock", &lock, "--reason", "its disk died"];
        all.extend(more);
        self.mine.interlock(&all)
    }

    /// Whether a run in another home gets the lock.
    pub fn is_free(&self) -> bool {
        match self.mine.run(&self.runbook("'true'"), &[]).code {
            0 => true,
            5 => false,
            other => panic!("exit {other}"),
        }
    }

    /// The lock is removed on the operator's word, with an entry.
    fn is_removed(&self, run: Option<&str>, gone: &str) {
        let nobody = self.unlock(&[]);
        assert_eq!(nobody.code, 6, "{}", nobody.stderr);
        assert_eq!(self.mine.last("lock_kept")["cause"], "person_needed");
        assert!(!self.is_free());
        let ran = self.unlock(&["--self-approve", &self.lock()]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let removed = self.mine.last_entry("lock_removed");
        assert!(removed["run"].is_null(), "{removed}");
        let data = &removed["data"];
        assert_eq!((data["lock"].as_str(), data["claimed_by"]["run"].as_str()), (Some(self.lock().as_str()), run));
        assert_eq!((&data["reason"], &data["self_approved"]), (&"its disk died".into(), &"command_line".into()));
        assert!(data["gone"].as_str().unwrap().contains(gone), "{data}");
        assert!(self.is_free());
        assert_eq!(self.mine.interlock(&["audit", "verify"]).code, 0);
        assert_eq!(self.unlock(&["--self-approve", &self.lock()]).code, 2, "nobody claims it any more");
    }
}

#[test]
fn p05_the_lock_of_a_run_whose_home_is_gone_is_removed_with_an_entry() {
    let (case, run) = Case::halted();
    std::fs::remove_dir_all(case.dead.home()).unwrap();
    case.is_removed(Some(&run), "there is no audit log");
}

#[test]
fn p05_the_lock_of_a_run_that_a_home_which_was_set_back_does_not_know_is_removed_with_an_entry() {
    let (case, run) = Case::begun_after_a_copy_of_its_home();
    case.is_removed(Some(&run), "was set back to before the run");
}

#[test]
fn p05_the_lock_of_a_run_whose_log_does_not_verify_is_removed_with_an_entry() {
    let (case, run) = Case::halted();
    let segment = case.dead.home().join("audit/0000000000000001.jsonl");
    let text = std::fs::read_to_string(&segment).unwrap().replacen("run_opened", "run_openet", 1);
    std::fs::write(&segment, text).unwrap();
    case.is_removed(Some(&run), "does not verify");
}

#[test]
fn p11_a_lock_whose_run_can_be_brought_to_its_end_is_not_removed() {
    let (case, run) = Case::halted();
    let ran = case.unlock(&["--self-approve", &case.lock()]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    let home = case.dead.home();
    for text in [ran.stderr, case.refusal()] {
        for way in [format!("resume {run}"), format!("undo {run}"), format!("abandon {run} --reason WHY")] {
            let command = format!("`interlock {way} --home {}`", home.display());
            assert!(text.contains(&command), "{command}: {text}");
        }
    }
    assert!(!case.mine.events().contains(&"lock_removed".to_owned()));
    let kept = case.mine.last_entry("lock_kept");
    assert!(kept["run"].is_null(), "{kept}");
    let data = &kept["data"];
    assert_eq!((&data["claimed_by"]["run"], &data["cause"]), (&run.as_str().into(), &"locked".into()));
    assert_eq!(data["reason"], "its disk died");
    assert!(!case.is_free());
    assert_eq!(case.dead.interlock(&["abandon", &run, "--reason", "enough"]).code, 0);
    assert!(case.is_free());
}

#[test]
fn p05_a_lock_is_not_removed_where_the_removal_cannot_be_recorded() {
    let (case, _) = Case::halted();
    std::fs::remove_dir_all(case.dead.home()).unwrap();
    // The operator's own log is no better.
    case.mine.run("interlock: 1\nname: t\nsteps: [{id: a, run: ['true'], undo: {run: ['true']}}]\n", &[]);
    let segment = case.mine.home().join("audit/0000000000000001.jsonl");
    let whole = std::fs::read(&segment).unwrap();
    let torn = String::from_utf8(whole.clone()).unwrap().replacen("run_opened", "run_openet", 1);
    std::fs::write(&segment, torn).unwrap();
    let ran = case.unlock(&["--self-approve", &case.lock()]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing was removed"), "{}", ran.stderr);
    std::fs::write(&segment, whole).unwrap();
    assert!(!case.is_free());
}

#[test]
fn p11_a_home_that_is_made_anew_does_not_free_the_lock_of_a_run_that_was_in_it() {
    let (case, run) = Case::halted();
    std::fs::remove_dir_all(case.dead.home()).unwrap();
    // Other runs go on in it: its log is another one now, and knows nothing of the run.
    let other = "interlock: 1\nname: t\nsteps: [{id: a, run: ['true'], undo: {run: ['true']}}]\n";
    assert_eq!(case.dead.run(other, &[]).code, 0);
    let refusal = case.refusal();
    assert!(refusal.contains(&run) && refusal.contains("was made anew"), "{refusal}");
    assert!(refusal.contains(&format!("`interlock unlock '{}' --reason WHY`", case.lock())), "{refusal}");
    case.is_removed(Some(&run), "was made anew");
}

#[test]
fn p11_a_claim_that_cannot_be_read_is_a_refusal_until_it_is_removed_with_an_entry() {
    for text in ["{\"lock\":\"unl", "\0\0\0\0", " ", "null"] {
        let (case, _) = Case::halted();
        std::fs::write(case.file(), text).unwrap();
        let refusal = case.refusal();
        assert!(refusal.contains(case.file().to_str().unwrap()), "{refusal}");
        assert!(refusal.contains(&format!("`interlock unlock '{}' --reason WHY`", case.lock())), "{refusal}");
        case.is_removed(None, "no claim");
    }
}

#[test]
fn p11_a_claim_of_an_older_version_is_void_when_its_log_says_that_the_run_is_over_and_only_then() {
    let (case, run) = Case::halted();
    let mut claim: serde_json::Value = serde_json::from_slice(&std::fs::read(case.file()).unwrap()).unwrap();
    assert!(claim.as_object_mut().unwrap().remove("log").is_some(), "{claim}");
    std::fs::write(case.file(), claim.to_string()).unwrap();
    assert!(case.refusal().contains(&run));
    let whole = case.dead.home();
    let aside = case.dead.path().join("aside");
    std::fs::rename(&whole, &aside).unwrap();
    let other = "interlock: 1\nname: t\nsteps: [{id: a, run: ['true'], undo: {run: ['true']}}]\n";
    assert_eq!(case.dead.run(other, &[]).code, 0);
    assert!(case.refusal().contains("knows no such run"));
    std::fs::remove_dir_all(&whole).unwrap();
    std::fs::rename(&aside, &whole).unwrap();
    assert_eq!(case.dead.interlock(&["abandon", &run, "--reason", "enough"]).code, 0);
    // Such a claim, as it may still stand there, is nothing to remove.
    std::fs::write(case.file(), claim.to_string()).unwrap();
    let ran = case.unlock(&["--self-approve", &case.lock()]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("it is over; there is nothing to remove"), "{}", ran.stderr);
    assert!(case.is_free());
}

#[test]
fn p11_a_run_whose_folder_is_gone_is_not_given_up_while_a_process_carries_it_out() {
    let scratch = Scratch::new();
    // Without a lock, so that the process alone tells.
    let runbook = "interlock: 1\nname: t\nsteps:\n  - id: one\n    script: |\n      touch DIR/inside\n      until test -e DIR/go; do sleep 0.01; done\n";
    let path = scratch.write("runbook.yaml", &runbook.replace("DIR", scratch.path().to_str().unwrap()));
    let running = scratch.command(&["run", path.to_str().unwrap()]).spawn().unwrap();
    until("the step runs", || scratch.path().join("inside").exists());
    let run = scratch.last_entry("run_opened")["run"].as_str().unwrap().to_owned();
    let folder = scratch.home().join("runs").join(&run);
    let aside = scratch.path().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    let ran = scratch.interlock(&["abandon", &run, "--reason", "its folder is gone"]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("process {} may be carrying it out", running.id())), "{}", ran.stderr);
    assert!(!folder.exists());
    std::fs::rename(&aside, &folder).unwrap();
    scratch.write("go", "");
    assert_eq!(finish(running).code, 0);
    assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
}

#[test]
fn p11_a_run_whose_folder_is_gone_is_given_up_and_its_lock_is_free() {
    let (case, run) = Case::halted();
    std::fs::remove_dir_all(case.dead.home().join("runs").join(&run)).unwrap();
    assert!(!case.is_free());
    let ran = case.dead.interlock(&["resume", &run]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("interlock abandon {run} --reason WHY")), "{}", ran.stderr);
    let ran = case.dead.interlock(&["abandon", &run, "--reason", "its folder is gone"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(case.dead.last("run_abandoned")["reason"], "its folder is gone");
    assert!(case.is_free());
    let verified = case.dead.interlock(&["audit", "verify"]);
    assert!(verified.code == 11 && verified.stdout.contains("plan.yaml, is missing"), "{}", verified.stdout);
    assert_eq!(case.dead.interlock(&["audit", "verify", "--entries-only"]).code, 0);
}

#[test]
fn p05_under_a_policy_a_lock_is_not_removed_on_the_operators_word_and_the_attempt_is_an_entry() {
    let (case, run) = Case::halted();
    std::fs::remove_dir_all(case.dead.home()).unwrap();
    let site = Site::new("");
    let lock = case.lock();
    let attempt = ["unlock", &lock, "--reason", "its disk died", "--self-approve", &lock];
    let ran = site.interlock(&attempt);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let back = format!("put {} back as it was", case.dead.home().display());
    let end = format!("`interlock abandon {run} --reason WHY --home {}`", case.dead.home().display());
    let kept = site.scratch.last("lock_kept");
    for words in ["stale_lock", &back, &end] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
        assert!(kept["why"].as_str().unwrap().contains(words), "{words}: {kept}");
    }
    assert_eq!((&kept["cause"], &kept["claimed_by"]["run"]), (&"not_allowed".into(), &run.into()));
    assert!(!case.is_free());
    // Where a run went under a policy, leaving it out gets nobody past it.
    site.runbook("steps:\n  - {id: touch, script: touch DIR/ran}\n");
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 0);
    let ran = site.scratch.interlock(&attempt);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let why = site.scratch.last("lock_kept")["why"].as_str().unwrap().to_owned();
    assert!(why.contains("no policy is in force, and runs of this home went under"), "{why}");
    assert!(!case.is_free());
    assert_eq!(site.scratch.interlock(&["audit", "verify"]).code, 0);
}
