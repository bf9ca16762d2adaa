//! The crash matrix: the program is killed with SIGKILL at one boundary after the other (each write, sync, start and folder that it
//! makes), and after each kill log, state, locks, processes and resume are as promised.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use crate::support::{Ran, Scratch, alive, until};

/// Five steps that write down, durably, what they did; with a held fact, facts that are ensured, and a lock.
const RUNBOOK: &str = "interlock: 1
name: twin
locks: [\"twin DIR\"]
systems:
  flag: {states: {there: {file: {path: DIR/flag, state: present}}}}
  work: {states: {made: {file: {path: DIR/work, state: present}}, gone: {file: {path: DIR/work, state: absent}}}}
steps:
  - {id: one, run: [sh, -c, 'echo one >> DIR/book; sync DIR/book', DIR-mark], undo: {script: echo undo-one >> DIR/book}}
  - id: two
    run: [sh, -c, 'echo two >> DIR/book; touch DIR/work; sync DIR/book', DIR-mark]
    requires: [flag there]
    ensures: [work made]
    undo: {script: echo undo-two >> DIR/book; rm -f DIR/work, ensures: [work gone]}
  - id: three
    run: [sh, -c, 'echo three >> DIR/book; sync DIR/book', DIR-mark]
    requires: [flag there, work made]
    undo: {script: echo undo-three >> DIR/book}
  - {id: four, script: echo four >> DIR/book; sync DIR/book, undo: {script: echo undo-four >> DIR/book}}
  - {id: five, script: echo five >> DIR/book; sync DIR/book, undo: {script: echo undo-five >> DIR/book}}
";
const STEPS: [&str; 5] = ["one", "two", "three", "four", "five"];

/// How the program came out of a run with a kill in wait.
#[derive(PartialEq, Eq)]
pub enum Came {
    /// It was killed.
    Killed,
    /// A step's process was killed in its place: the step failed, and the run halted.
    Halted,
    /// The boundary was never reached.
    Through,
}

/// A scratch folder with a log that exists already, and a run killed at the `nth` of these system calls of one thread.
pub fn killed_at(call: &str, nth: u32, how: &[&str], scratch: &Scratch) -> (Came, Ran) {
    let ran = scratch.with_fault(how, &format!("{call}:signal=SIGKILL:when={nth}"));
    let came = match ran.code {
        0 => Came::Through,
        // The tracer ends as the program did: by a signal.
        -1 => Came::Killed,
        7 => Came::Halted,
        other => panic!("{call} {nth}: exit {other}: {}", ran.stderr),
    };
    (came, ran)
}

fn twin() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("flag", "");
    scratch.write("runbook.yaml", &RUNBOOK.replace("DIR", scratch.path().to_str().unwrap()));
    scratch
}

fn path(scratch: &Scratch) -> String {
    scratch.path().join("runbook.yaml").display().to_string()
}

/// What is promised after a kill, wherever it came; ends with a run that is over, and a free lock.
/// Says whether a step was in doubt (1) or not (0).
fn everything_is_as_promised(scratch: &Scratch, at: &str) -> u32 {
    let mark = format!("{}-mark", scratch.path().display());
    until("no process of the run is left", || !alive(&mark));
    if !scratch.home().join("audit").exists() {
        assert!(scratch.lines("book").is_empty(), "{at}: nothing starts without a log");
    }
    let entries = if scratch.home().join("audit").exists() { scratch.entries() } else { Vec::new() };
    if !entries.is_empty() {
        let verified = scratch.interlock(&["audit", "verify"]);
        assert_eq!(verified.code, 0, "{at}: right after the kill: {}{}", verified.stdout, verified.stderr);
    }
    let open = scratch.open_runs();
    let done: BTreeSet<String> = entries
        .iter()
        .filter(|entry| entry["event"] == "step_done" && entry["data"]["way"] != "back")
        .map(|entry| entry["data"]["step"].as_str().unwrap().to_owned())
        .collect();
    let mut doubts = 0;
    match open.as_slice() {
        [] => assert!(scratch.lines("book").is_empty() || done.len() == STEPS.len(), "{at}: a run is not lost"),
        [open] => {
            let run = open["run"].as_str().unwrap();
            let mut arguments = vec!["resume".to_owned(), run.to_owned()];
            if let Some(step) = open["doubt"].as_str() {
                doubts = 1;
                let refused = scratch.interlock(&["resume", run]);
                assert_eq!(refused.code, 6, "{at}: in doubt means that a person decides: {}", refused.stderr);
                arguments.extend(["--decide".to_owned(), format!("{step}=retry")]);
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let ran = scratch.interlock(&arguments);
            assert_eq!(ran.code, 0, "{at}: {}", ran.stderr);
        }
        several => panic!("{at}: {several:?}"),
    }
    let verified = scratch.interlock(&["audit", "verify"]);
    let book = scratch.lines("book");
    if !book.is_empty() {
        assert_eq!(verified.code, 0, "{at}: {}{}", verified.stdout, verified.stderr);
        for step in STEPS {
            let times = book.iter().filter(|line| *line == step).count();
            assert!(times >= 1, "{at}: `{step}` was passed over: {book:?}");
            assert!(times == 1 || !done.contains(step), "{at}: `{step}` was done, and done again: {book:?}");
        }
        assert!(book.len() <= STEPS.len() + 1, "{at}: only the step in doubt may be repeated: {book:?}");
    }
    assert!(scratch.open_runs().is_empty(), "{at}");
    let again = scratch.interlock(&["run", &path(scratch)]);
    assert_eq!(again.code, 0, "{at}: the lock is free and the log goes on: {}", again.stderr);
    assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0, "{at}");
    doubts
}

/// Kills at the first, second, … of these calls, until none is left to kill at; says how often, and how often a step
/// was in doubt then.
fn matrix(call: &str, step: usize, most: u32) -> (u32, u32) {
    let (mut kills, mut doubts) = (0, 0);
    for nth in (1..=most).step_by(step) {
        let scratch = twin();
        let (came, _) = killed_at(call, nth, &["run", &path(&scratch)], &scratch);
        if came == Came::Through {
            return (kills, doubts);
        }
        doubts += everything_is_as_promised(&scratch, &format!("{call} {nth}"));
        kills += 1;
    }
    (kills, doubts)
}

#[test]
fn p07_killed_at_every_write_of_the_log() {
    assert!(matrix("pwrite64", 1, 25).0 >= 6);
}

#[test]
fn p07_killed_at_every_sync_of_the_log() {
    let (kills, doubts) = matrix("fdatasync", 1, 25);
    assert!(kills >= 6 && doubts >= 2, "{kills} kills, {doubts} doubts");
}

#[test]
fn p07_killed_at_every_sync_of_a_file_or_folder() {
    assert!(matrix("fsync", 1, 25).0 >= 3);
}

#[test]
fn p07_killed_at_every_start_of_a_process_or_thread() {
    assert!(matrix("clone3", 1, 25).0 >= 5);
}

#[test]
fn p07_killed_at_every_folder_that_is_made_or_removed() {
    assert!(matrix("mkdirat", 1, 25).0 >= 2);
    assert!(matrix("unlinkat", 1, 25).0 >= 2);
}

#[test]
fn p07_killed_at_many_opens_of_files() {
    assert!(matrix("openat", 9, 200).0 >= 5);
}

#[test]
fn p07_killed_while_going_back_it_goes_back_all_the_way() {
    for call in ["pwrite64", "fdatasync", "clone3"] {
        let mut kills = 0;
        for nth in 1..=25 {
            let scratch = twin();
            let at = format!("undo, {call} {nth}");
            // The fourth step fails, so that the run halts with four steps to take back.
            let text = std::fs::read_to_string(path(&scratch)).unwrap().replace("echo four >>", "false; echo four >>");
            scratch.write("runbook.yaml", &text);
            assert_eq!(scratch.interlock(&["run", &path(&scratch)]).code, 7);
            let run = scratch.the_open_run();
            let (came, ran) = killed_at(call, nth, &["undo", &run], &scratch);
            if came == Came::Through {
                break;
            }
            assert!(came == Came::Killed, "{at}: {}", ran.stderr);
            kills += 1;
            let verified = scratch.interlock(&["audit", "verify"]);
            assert_eq!(verified.code, 0, "{at}: {}", verified.stdout);
            let done = scratch.lines("book");
            if scratch.open_runs().is_empty() {
                assert_eq!(scratch.last("run_undone")["undone"], 4, "{at}");
            } else {
                let ran = scratch.interlock(&["undo", &run]);
                assert_eq!(ran.code, 0, "{at}: {}", ran.stderr);
            }
            let mut book = scratch.lines("book");
            assert!(book.len() <= 3 + 4 + 1, "{at}: only the undo in doubt may be repeated: {done:?} {book:?}");
            book.dedup();
            let expected = ["one", "two", "three", "undo-four", "undo-three", "undo-two", "undo-one"];
            assert_eq!(book, expected, "{at}");
            assert!(scratch.open_runs().is_empty(), "{at}");
            assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0, "{at}");
        }
        assert!(kills >= 4, "{call}: {kills}");
    }
}

/// Where cgroup v2 is not to be had: everything of it is unmounted, for this program alone.
const WITHOUT_V2: [&str; 4] = ["--mount", "sh", "-c", "umount --all --types cgroup2 && exec \"$@\""];

#[test]
fn p07_what_a_killed_program_left_running_stops_working_with_grandchildren_that_left_the_session() {
    for (unshared, contained) in [(&[][..], "cgroup v2 at "), (&WITHOUT_V2, "cgroup v1 freezer at ")] {
        let scratch = Scratch::new();
        let dir = scratch.path().display().to_string();
        let text = "interlock: 1\nname: test\nsteps:\n  - id: work\n    script: |\n      trap '' TERM HUP\n      for n in 1 2 3; do\n        setsid sh -c 'trap \"\" TERM HUP; while :; do echo x >> DIR/counter; done' DIR-writer &\n      done\n      while :; do echo x >> DIR/counter; done\n";
        scratch.write("runbook.yaml", &text.replace("DIR", &dir));
        let runbook = path(&scratch);
        let program = scratch.command(&["run", &runbook]);
        let mut command =
            if unshared.is_empty() { scratch.command(&["run", &runbook]) } else { Command::new("unshare") };
        if !unshared.is_empty() {
            command.args(unshared).arg("sh").arg(program.get_program()).args(program.get_args());
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut child = command.spawn().unwrap();
        let writer = format!("{dir}-writer");
        until("all writers write", || alive(&writer) && scratch.read("counter").len() > 2000);
        child.kill().unwrap();
        child.wait().unwrap();
        until("the writers are gone", || !alive(&writer));
        let length = || std::fs::metadata(scratch.path().join("counter")).unwrap().len();
        let mut last = length();
        until("nobody writes any more", || std::mem::replace(&mut last, length()) == length());
        let tier = scratch.last("run_opened")["containment"].as_str().unwrap().to_owned();
        assert!(tier.starts_with(contained), "{tier}");
        let open = &scratch.open_runs()[0];
        assert_eq!((&open["state"], &open["doubt"]), (&"died".into(), &"work".into()));
        let words = scratch.interlock(&["status"]).stdout;
        assert!(words.contains("in doubt: step `work`"), "{words}");
    }
}

#[test]
fn p07_a_step_in_doubt_is_retried_or_undone_only_by_its_written_rule_or_on_a_persons_word() {
    for (rule, decide, code, book) in [
        ("retry", &[][..], 0, &["work", "work"][..]),
        ("undo", &[], 9, &["work", "undo-work"]),
        ("ask", &[], 6, &["work"]),
        ("ask", &["--decide", "work=retry"], 0, &["work", "work"]),
        ("ask", &["--decide", "work=undo"], 9, &["work", "undo-work"]),
        // A person's word counts more than the rule.
        ("retry", &["--decide", "work=undo"], 9, &["work", "undo-work"]),
    ] {
        let scratch = Scratch::new();
        let dir = scratch.path().display().to_string();
        let text = "interlock: 1\nname: test\nsteps:\n  - id: work\n    in_doubt: RULE\n    script: |\n      echo work >> DIR/book\n      sh -c 'while ! test -e DIR/go; do sleep 0.01; done' DIR-mark\n    undo: {script: echo undo-work >> DIR/book}\n";
        scratch.write("runbook.yaml", &text.replace("RULE", rule).replace("DIR", &dir));
        let mut child = scratch.command(&["run", &path(&scratch)]).spawn().unwrap();
        until("the step runs", || alive(&format!("{dir}-mark")));
        child.kill().unwrap();
        child.wait().unwrap();
        until("what it left running is gone", || !alive(&format!("{dir}-mark")));
        scratch.write("go", "");
        let run = scratch.the_open_run();
        let ran = scratch.interlock(&[&["resume", run.as_str()], decide].concat());
        assert_eq!(ran.code, code, "{rule} {decide:?}: {}", ran.stderr);
        assert_eq!(scratch.lines("book"), book, "{rule} {decide:?}");
        assert_eq!(scratch.open_runs().len(), usize::from(code == 6), "{rule} {decide:?}");
        assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
    }
}
