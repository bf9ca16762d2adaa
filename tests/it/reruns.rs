//! After a broken fact: the step that had ensured it is run again, on steps that write down what they did. The same with a real monit
//! and a real PostgreSQL is in `incident.rs`.

use serde_json::{Value, json};

use crate::crash::{Came, killed_at};
use crate::support::{Ran, Scratch, alive, finish, until};

/// The site is closed, changed while it is closed, and opened again. `close` fails while there is a file `stuck`, and waits
/// while there is one named `slow`; `change` waits for one named `go`.
const RUNBOOK: &str = "interlock: 1
name: test
systems:
  site: {states: {closed: {file: {path: DIR/closed, state: present}}, open: {file: {path: DIR/closed, state: absent}}}}
steps:
  - id: close
    DOUBT
    script: |
      echo close >> DIR/book
      while test -e DIR/slow; do sh -c 'sleep 0.01' DIR-mark; done
      touch DIR/closed
      ! test -e DIR/stuck
    ensures: [site closed]
    undo: {script: echo undo-close >> DIR/book; rm DIR/closed, ensures: [site open]}
  - {id: tell, script: echo tell >> DIR/book, undo: {script: echo undo-tell >> DIR/book}}
  - id: change
    requires: [site closed]
    script: echo change >> DIR/book; while ! test -e DIR/go; do sh -c 'sleep 0.01' DIR-mark; done
    undo: {script: echo undo-change >> DIR/book, requires: [site closed]}
  - id: open
    script: echo open >> DIR/book; rm -f DIR/closed
    ensures: [site open]
    undo: {script: touch DIR/closed, ensures: [site closed]}
";

struct Case {
    scratch: Scratch,
    run: String,
}

impl Case {
    /// A run whose change was stopped in its middle, because somebody opened the site.
    fn broken(doubt: &str) -> Self {
        let case = Self::changing(doubt, |case, child| {
            std::fs::remove_file(case.scratch.path().join("closed")).unwrap();
            let ran = finish(child);
            assert_eq!(ran.code, 8, "{}", ran.stderr);
            let told = format!(
                "go on with: interlock resume {0} --rerun close --decide change=retry --home {1}, take it back with: interlock undo {0} --rerun close --home {1};",
                case.run,
                case.scratch.home().display()
            );
            assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        });
        case.scratch.write("go", "");
        case
    }

    fn changing(doubt: &str, then: impl FnOnce(&Self, std::process::Child)) -> Self {
        let scratch = Scratch::new();
        let dir = scratch.path().to_str().unwrap().to_owned();
        let path = scratch.write("runbook.yaml", &RUNBOOK.replace("DOUBT", doubt).replace("DIR", &dir));
        let child = scratch.command(&["run", path.to_str().unwrap()]).spawn().unwrap();
        until("the change runs", || scratch.lines("book").ends_with(&["change".to_owned()]));
        let run = scratch.the_open_run();
        let case = Self { scratch, run };
        then(&case, child);
        case
    }

    fn resume(&self, arguments: &[&str]) -> Ran {
        self.take_up("resume", arguments)
    }

    fn take_up(&self, how: &str, arguments: &[&str]) -> Ran {
        self.scratch.interlock(&[&[how, self.run.as_str()], arguments].concat())
    }

    fn book(&self) -> Vec<String> {
        self.scratch.lines("book")
    }

    fn is_over(&self) {
        assert_eq!(self.scratch.open_runs(), Vec::<Value>::new());
        assert_eq!(self.scratch.interlock(&["audit", "verify"]).code, 0);
    }
}

#[test]
fn status_says_what_broke_and_which_step_can_be_run_again() {
    let case = Case::broken("note: x");
    let open = &case.scratch.open_runs()[0];
    assert_eq!((&open["broken"], &open["rerun"]), (&json!(["site closed"]), &json!(["close"])));
    let words = case.scratch.interlock(&["status"]).stdout;
    for line in [
        "    did not hold when last seen: site closed\n".to_owned(),
        "    had ensured that, and can be run again: `close`\n".to_owned(),
        format!(
            "    next: interlock resume {0} --rerun close --decide change=retry --home {1} | interlock undo {0} --rerun close --home {1} | ",
            case.run,
            case.scratch.home().display()
        ),
    ] {
        assert!(words.contains(&line), "{words}");
    }
}

#[test]
fn what_may_not_be_run_again_is_refused_and_what_may_is_named() {
    let case = Case::broken("note: x");
    let entries = case.scratch.entries().len();
    for (step, why) in [
        ("nowhere", "the run has no step `nowhere`"),
        ("open", "step `open` was not done in this run"),
        ("change", "step `change` was not done in this run"),
        ("tell", "step `tell` ensures nothing"),
    ] {
        for how in ["resume", "undo"] {
            let ran = case.take_up(how, &["--rerun", step]);
            assert_eq!(ran.code, 2, "{step}: {}", ran.stderr);
            assert!(ran.stderr.contains(&format!("--rerun {step}: {why}")), "{}", ran.stderr);
            assert!(
                ran.stderr.contains("these may be run again: `close` (`site closed` does not hold: "),
                "{}",
                ran.stderr
            );
        }
    }
    // By hand it was made true meanwhile.
    case.scratch.write("closed", "");
    let ran = case.resume(&["--rerun", "close"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("nothing is broken that step `close` had ensured last (`site closed` holds: "),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("no step of this run may be run again now"), "{}", ran.stderr);
    assert_eq!(case.scratch.entries().len(), entries, "nothing was recorded");
    assert_eq!(case.book(), ["close", "tell", "change"], "nothing was started");
    assert_eq!(case.resume(&["--decide", "change=retry"]).code, 0);
    case.is_over();
}

#[test]
fn p13_going_back_that_meets_a_broken_fact_says_what_to_type_and_goes_all_the_way_then() {
    for fails_first in [true, false] {
        let case = Case::broken("note: x");
        if fails_first {
            let ran = case.take_up("undo", &[]);
            assert_eq!(ran.code, 10, "{}", ran.stderr);
            let told = format!("take it back with: interlock undo {} --rerun close --home ", case.run);
            assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        }
        let ran = case.take_up("undo", &["--rerun", "close"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(case.book()[3..], ["close", "undo-change", "undo-tell", "undo-close"], "taken back once");
        assert_eq!(case.scratch.last("run_undone")["undone"], 3);
        case.is_over();
    }
}

#[test]
fn p13_a_rerun_that_fails_halts_with_its_exit_code_and_is_attempted_again() {
    let case = Case::broken("note: x");
    case.scratch.write("stuck", "");
    let ran = case.resume(&["--rerun", "close", "--decide", "change=retry"]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(ran.stderr.contains("halted at step `close`: a step failed"), "{}", ran.stderr);
    assert_eq!(case.book()[3..], ["close"]);
    assert_eq!(case.resume(&["--decide", "change=retry"]).code, 7, "nothing passes over it");
    std::fs::remove_file(case.scratch.path().join("stuck")).unwrap();
    let ran = case.resume(&["--decide", "change=retry"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(case.book()[3..], ["close", "close", "close", "change", "open"]);
    assert_eq!(case.scratch.last("run_completed")["done"], 4);
    case.is_over();
}

#[test]
fn p07_killed_while_a_step_is_run_again_it_is_in_doubt_and_a_person_or_its_rule_decides() {
    for (rule, decide, code, book) in [
        ("ask", &["--decide", "close=retry", "--decide", "change=retry"][..], 0, &["close", "change", "open"][..]),
        ("ask", &["--rerun", "close", "--decide", "change=retry"], 0, &["close", "change", "open"]),
        ("ask", &["--decide", "close=undo"], 10, &[]),
        ("ask", &[], 6, &[]),
        ("retry", &["--decide", "change=retry"], 0, &["close", "change", "open"]),
        ("undo", &[], 10, &[]),
    ] {
        let at = format!("{rule} {decide:?}");
        let case = Case::broken(&format!("in_doubt: {rule}"));
        case.scratch.write("slow", "");
        let mark = format!("{}-mark", case.scratch.path().display());
        let mut child = case.scratch.command(&["resume", &case.run, "--rerun", "close"]).spawn().unwrap();
        until("the step is run again", || case.book().len() == 4 && alive(&mark));
        child.kill().unwrap();
        child.wait().unwrap();
        until("what it left running is gone", || !alive(&mark));
        let open = &case.scratch.open_runs()[0];
        assert_eq!((&open["state"], &open["doubt"]), (&"died".into(), &"close".into()), "{at}");
        assert_eq!(case.scratch.interlock(&["audit", "verify"]).code, 0, "{at}");
        std::fs::remove_file(case.scratch.path().join("slow")).unwrap();

        let ran = case.resume(decide);
        assert_eq!(ran.code, code, "{at}: {}", ran.stderr);
        assert_eq!(case.book()[4..], *book, "{at}");
        match code {
            0 => case.is_over(),
            6 => assert!(ran.stderr.contains("step `close` is in doubt"), "{}", ran.stderr),
            // The undo of the change needs what the killed attempt did not bring about.
            _ => {
                let ran = case.take_up("undo", &["--rerun", "close"]);
                assert_eq!(ran.code, 0, "{at}: {}", ran.stderr);
                assert_eq!(case.book()[4..], ["close", "undo-change", "undo-tell", "undo-close"], "{at}");
                case.is_over();
            }
        }
    }
}

#[test]
fn p07_what_broke_while_nobody_watched_is_told_with_the_command_that_mends_it() {
    let case = Case::changing("note: x", |case, mut child| {
        child.kill().unwrap();
        child.wait().unwrap();
        let mark = format!("{}-mark", case.scratch.path().display());
        until("what it left running is gone", || !alive(&mark));
        std::fs::remove_file(case.scratch.path().join("closed")).unwrap();
    });
    case.scratch.write("go", "");
    let ran = case.resume(&[]);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert!(ran.stderr.contains("`site closed`, which is needed here, does not hold: "), "{}", ran.stderr);
    let told = format!("go on with: interlock resume {} --rerun close --decide change=retry --home ", case.run);
    assert!(ran.stderr.contains(&told), "{}", ran.stderr);
    let ran = case.resume(&["--rerun", "close", "--decide", "change=retry"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(case.book()[3..], ["close", "change", "open"]);
    case.is_over();
}

#[test]
fn p07_killed_at_any_boundary_while_a_step_is_run_again_nothing_is_repeated_or_passed_over_on_its_own() {
    for call in ["pwrite64", "fdatasync", "clone3"] {
        let (mut kills, mut doubts) = (0, 0);
        for nth in 1..=25 {
            let at = format!("{call} {nth}");
            let case = Case::broken("note: x");
            let resume = ["resume", &case.run, "--rerun", "close", "--decide", "change=retry"];
            let (came, _) = killed_at(call, nth, &resume, &case.scratch);
            if came == Came::Through {
                break;
            }
            kills += 1;
            let mark = format!("{}-mark", case.scratch.path().display());
            until("no process of the run is left", || !alive(&mark));
            let verified = case.scratch.interlock(&["audit", "verify"]);
            assert_eq!(verified.code, 0, "{at}: {}", verified.stdout);
            let open = case.scratch.open_runs();
            if let Some(open) = open.first() {
                let again_is_done = case
                    .scratch
                    .entries()
                    .iter()
                    .any(|entry| entry["event"] == "step_done" && entry["data"]["way"] == "again");
                let mut again = vec!["--decide", "change=retry", "--decide", "open=retry"];
                if open["doubt"] == "close" {
                    doubts += 1;
                    let refused = case.resume(&again);
                    assert_eq!(refused.code, 6, "{at}: {}", refused.stderr);
                    again.extend(["--decide", "close=retry"]);
                } else if !again_is_done && !case.scratch.path().join("closed").exists() && came == Came::Killed {
                    again.extend(["--rerun", "close"]);
                }
                let ran = case.resume(&again);
                assert_eq!(ran.code, 0, "{at}: {}", ran.stderr);
            }
            let mut book = case.book();
            assert!(book.len() <= 3 + 3 + 1, "{at}: only the step in doubt may be repeated: {book:?}");
            book.dedup();
            assert_eq!(book, ["close", "tell", "change", "close", "change", "open"], "{at}");
            case.is_over();
        }
        assert!(kills >= 4 && (call == "clone3" || doubts >= 1), "{call}: {kills} kills, {doubts} doubts");
    }
}
