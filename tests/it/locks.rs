//! Locks between runs that are processes of their own: at once, after a halt, and after a kill.

use std::process::Child;

use crate::support::{Ran, Scratch, alive, finish, until};

/// How many are started at once.
const STARTS: usize = 100;

/// A runbook whose step cannot run beside another of its kind, and lasts until it is told to end.
fn runbook(scratch: &Scratch) -> String {
    "interlock: 1\nname: test\nlocks: [\"other DIR\", \"lock DIR\"]\nsteps:\n  - id: alone\n    script: |\n      mkdir DIR/inside\n      echo ran >> DIR/book\n      sh -c 'while ! test -e DIR/go; do sleep 0.01; done' DIR-mark\n      rmdir DIR/inside\n    undo: {script: rmdir DIR/inside}\n"
        .replace("DIR", scratch.path().to_str().unwrap())
}

fn start(scratch: &Scratch) -> Child {
    let path = scratch.write("runbook.yaml", &runbook(scratch));
    scratch.command(&["run", path.to_str().unwrap()]).spawn().unwrap()
}

/// Starts another run and sees it refused in favour of this one.
fn is_refused(scratch: &Scratch, holder: &str) -> Ran {
    let ran = finish(start(scratch));
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains(holder), "{}", ran.stderr);
    assert_eq!(scratch.last("run_refused")["cause"], "locked");
    ran
}

/// A run inside its step, killed; gives its id when nothing of it is left.
fn killed(scratch: &Scratch) -> String {
    let mut child = start(scratch);
    let mark = format!("{}-mark", scratch.path().display());
    until("the step runs", || alive(&mark));
    child.kill().unwrap();
    child.wait().unwrap();
    until("what the dead run left running is gone", || !alive(&mark));
    let open = scratch.open_runs();
    assert_eq!((open.len(), &open[0]["state"]), (1, &"died".into()), "{open:?}");
    open[0]["run"].as_str().unwrap().to_owned()
}

#[test]
fn p11_a_hundred_starts_at_once_leave_exactly_one_winner() {
    let scratch = Scratch::new();
    scratch.write("runbook.yaml", &runbook(&scratch));
    let path = scratch.path().join("runbook.yaml");
    let command = || scratch.command(&["run", path.to_str().unwrap()]).spawn().unwrap();
    let mut running: Vec<Child> = (0..STARTS).map(|_| command()).collect();
    let mut refused = Vec::new();
    until("all but one have ended", || {
        while let Some(at) = running.iter_mut().position(|child| child.try_wait().unwrap().is_some()) {
            refused.push(finish(running.remove(at)));
        }
        running.len() <= 1
    });
    assert_eq!(running.len(), 1, "one of them runs: {refused:?}");
    until("the winner is in its step", || scratch.path().join("inside").exists());
    let winner = scratch.the_open_run();
    for ran in &refused {
        assert_eq!(ran.code, 5, "{}", ran.stderr);
        assert!(ran.stderr.contains(&winner), "the holder is named: {}", ran.stderr);
    }
    scratch.write("go", "");
    let won = finish(running.remove(0));
    assert_eq!(won.code, 0, "{}", won.stderr);
    assert_eq!(scratch.lines("book"), ["ran"]);
    let count = |name: &str| scratch.events().iter().filter(|event| *event == name).count();
    assert_eq!((count("run_opened"), count("run_refused"), count("step_intended")), (1, STARTS - 1, 1));
    assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
    assert_eq!(finish(start(&scratch)).code, 0, "the lock is free");
}

#[test]
fn p11_another_home_does_not_get_past_a_lock() {
    let scratch = Scratch::new();
    let running = start(&scratch);
    until("the step runs", || scratch.path().join("inside").exists());
    let holder = scratch.the_open_run();
    let path = scratch.path().join("runbook.yaml");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_interlock"));
    let elsewhere = scratch.path().join("elsewhere");
    command.args(["run", path.to_str().unwrap(), "--home", elsewhere.to_str().unwrap()]);
    command.env_remove("INTERLOCK_HOME").env_remove("INTERLOCK_POLICY").stdin(std::process::Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&holder));
    scratch.write("go", "");
    assert_eq!(finish(running).code, 0);
}

#[test]
fn p11_a_halted_run_keeps_its_locks_until_it_is_over() {
    let scratch = Scratch::new();
    // Somebody stands inside, so the step fails.
    scratch.write("inside", "");
    let ran = finish(start(&scratch));
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let run = scratch.the_open_run();
    let refused = is_refused(&scratch, &run);
    for way in ["interlock resume", "interlock undo", "interlock abandon"] {
        assert!(refused.stderr.contains(way), "{}", refused.stderr);
    }
    std::fs::remove_file(scratch.path().join("inside")).unwrap();
    scratch.write("go", "");
    is_refused(&scratch, &run);
    let ran = scratch.interlock(&["resume", &run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(finish(start(&scratch)).code, 0, "the lock is free");
}

#[test]
fn p11_a_killed_run_keeps_its_locks_until_it_is_abandoned() {
    let scratch = Scratch::new();
    let run = killed(&scratch);
    is_refused(&scratch, &run);
    let ran = scratch.interlock(&["abandon", &run, "--reason", "the machine was lost"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(scratch.last("run_abandoned")["in_doubt"], "alone");
    std::fs::remove_dir(scratch.path().join("inside")).unwrap();
    scratch.write("go", "");
    assert_eq!(finish(start(&scratch)).code, 0, "the lock is free");
}

#[test]
fn p11_a_killed_run_keeps_its_locks_until_it_is_undone() {
    let scratch = Scratch::new();
    let run = killed(&scratch);
    is_refused(&scratch, &run);
    let ran = scratch.interlock(&["undo", &run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!scratch.path().join("inside").exists(), "the step in doubt was taken back");
    scratch.write("go", "");
    assert_eq!(finish(start(&scratch)).code, 0, "the lock is free");
}

#[test]
fn p11_a_killed_run_keeps_its_locks_until_it_is_resumed_to_its_end() {
    let scratch = Scratch::new();
    let run = killed(&scratch);
    let ran = scratch.interlock(&["resume", &run]);
    assert_eq!(ran.code, 6, "a person decides: {}", ran.stderr);
    assert!(ran.stderr.contains("--decide alone=retry"), "{}", ran.stderr);
    is_refused(&scratch, &run);
    std::fs::remove_dir(scratch.path().join("inside")).unwrap();
    scratch.write("go", "");
    is_refused(&scratch, &run);
    let ran = scratch.interlock(&["resume", &run, "--decide", "alone=retry"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(finish(start(&scratch)).code, 0, "the lock is free");
}
