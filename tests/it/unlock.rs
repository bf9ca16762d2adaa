//! P5, P11: a lock is removed only where its run is gone, on a person's word, and recorded before.

use crate::support::{Ran, Scratch};

struct Case {
    dead: Scratch,
    mine: Scratch,
}

impl Case {
    /// A run that halted with a lock, in a home of its own.
    fn halted() -> (Self, String) {
        let case = Self { dead: Scratch::new(), mine: Scratch::new() };
        let ran = case.dead.run(&case.runbook("'false'"), &[]);
        assert_eq!(ran.code, 7, "{}", ran.stderr);
        let run = case.dead.the_open_run();
        (case, run)
    }

    fn lock(&self) -> String {
        format!("unlock {}", self.dead.path().display())
    }

    fn runbook(&self, does: &str) -> String {
        format!(
            "interlock: 1\nname: test\nlocks: [\"{}\"]\nsteps:\n  - {{id: one, run: [{does}], undo: {{run: ['true']}}}}\n",
            self.lock()
        )
    }

    fn unlock(&self, more: &[&str]) -> Ran {
        let lock = self.lock();
        let mut all = vec!["unlock", &lock, "--reason", "its disk died"];
        all.extend(more);
        self.mine.interlock(&all)
    }

    /// Whether a run in another home gets the lock.
    fn is_free(&self) -> bool {
        match self.mine.run(&self.runbook("'true'"), &[]).code {
            0 => true,
            5 => false,
            other => panic!("exit {other}"),
        }
    }

    /// The lock is removed on the operator's word, with an entry.
    fn is_removed(&self, run: &str, gone: &str) {
        let nobody = self.unlock(&[]);
        assert_eq!(nobody.code, 6, "{}", nobody.stderr);
        assert!(!self.is_free());
        let ran = self.unlock(&["--self-approve", &self.lock()]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let removed = self.mine.last_entry("lock_removed");
        assert!(removed["run"].is_null(), "{removed}");
        let data = &removed["data"];
        assert_eq!((data["lock"].as_str(), data["claimed_by"].as_str()), (Some(self.lock().as_str()), Some(run)));
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
    case.is_removed(&run, "there is no audit log");
}

#[test]
fn p05_the_lock_of_a_run_whose_log_does_not_verify_is_removed_with_an_entry() {
    let (case, run) = Case::halted();
    let segment = case.dead.home().join("audit/0000000000000001.jsonl");
    let text = std::fs::read_to_string(&segment).unwrap().replacen("run_opened", "run_openet", 1);
    std::fs::write(&segment, text).unwrap();
    case.is_removed(&run, "does not verify");
}

#[test]
fn p11_a_lock_whose_run_can_be_brought_to_its_end_is_not_removed() {
    let (case, run) = Case::halted();
    let ran = case.unlock(&["--self-approve", &case.lock()]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("interlock resume {run} --home ")), "{}", ran.stderr);
    assert!(!case.mine.home().join("audit").exists() || !case.mine.events().contains(&"lock_removed".to_owned()));
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
