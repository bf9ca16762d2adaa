//! One person goes on with another's run: two people who are both root by now. Between users there is no way.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::support::{Ran, Scratch, finish};

const AMY: &str = "1001";
const BEA: &str = "1002";
const NOBODY: u32 = 65534;

/// A runbook with a lock, whose second step fails until there is a file `well`.
fn runbook(folder: &str) -> String {
    "interlock: 1
name: test
locks: [\"take-over DIR\"]
steps:
  - {id: one, script: echo one >> DIR/book, undo: {script: echo undo-one >> DIR/book}}
  - {id: two, script: echo two >> DIR/book; test -e DIR/well, undo: {script: echo undo-two >> DIR/book}}
"
    .replace("DIR", folder)
}

/// The program in the session of somebody who logged in as this user and became root.
fn logged_in(scratch: &Scratch, login: &str, arguments: &[&str]) -> Ran {
    scratch.through(&["sh", "-eu", "-c", "echo $0 > /proc/self/loginuid; exec \"$@\"", login], arguments)
}

/// A run that amy started, and that halted.
fn halted() -> (Scratch, String) {
    let scratch = Scratch::new();
    let path = scratch.write("runbook.yaml", &runbook(scratch.path().to_str().unwrap()));
    let ran = logged_in(&scratch, AMY, &["run", path.to_str().unwrap()]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let run = scratch.the_open_run();
    (scratch, run)
}

#[test]
fn another_person_goes_on_only_by_taking_over_with_a_reason_that_is_kept() {
    for (how, code, book) in
        [("resume", 0, &["one", "two", "two"][..]), ("undo", 0, &["one", "two", "undo-two", "undo-one"])]
    {
        let (scratch, run) = halted();
        scratch.write("well", "");
        for arguments in [&[how, run.as_str()][..], &[how, &run, "--take-over"], &[how, &run, "--reason", "because"]] {
            let ran = logged_in(&scratch, BEA, arguments);
            assert_eq!(ran.code, if arguments.len() == 2 { 4 } else { 2 }, "{arguments:?}: {}", ran.stderr);
        }
        let refused = logged_in(&scratch, BEA, &[how, &run]);
        assert!(
            refused.stderr.contains("logged in as uid 1001") && refused.stderr.contains("--take-over"),
            "{}",
            refused.stderr
        );
        assert_eq!(scratch.lines("book"), ["one", "two"], "nothing was started");
        let ran = logged_in(&scratch, BEA, &[how, &run, "--take-over", "--reason", "amy is ill"]);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert_eq!(scratch.lines("book"), book);
        let resumed = scratch.last_entry("run_resumed");
        assert_eq!(
            (&resumed["data"]["taken_over"], &resumed["who"]["login_uid"]),
            (&"amy is ill".into(), &1002.into())
        );
        assert_eq!(scratch.entries()[1]["who"]["login_uid"], 1001);
        assert!(
            scratch.interlock(&["audit", "show", &run]).stdout.contains("taken over from another person: amy is ill")
        );
        assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
        // The lock went with the run, and is free at its end.
        let path = scratch.path().join("runbook.yaml");
        assert_eq!(logged_in(&scratch, AMY, &["run", path.to_str().unwrap()]).code, 0);
    }
}

#[test]
fn a_run_that_was_taken_over_is_the_other_persons_from_then_on() {
    let (scratch, run) = halted();
    assert_eq!(logged_in(&scratch, BEA, &["resume", &run, "--take-over", "--reason", "amy is ill"]).code, 7);
    // What bea began she goes on with as a matter of course, and amy does not.
    assert_eq!(logged_in(&scratch, BEA, &["resume", &run]).code, 7);
    assert_eq!(logged_in(&scratch, AMY, &["resume", &run]).code, 4);
    assert_eq!(logged_in(&scratch, AMY, &["abandon", &run, "--reason", "enough"]).code, 4);
    // Another run is still kept out.
    let path = scratch.path().join("runbook.yaml");
    assert_eq!(logged_in(&scratch, AMY, &["run", path.to_str().unwrap()]).code, 5);
    let ran = logged_in(&scratch, AMY, &["abandon", &run, "--take-over", "--reason", "repaired by hand"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let abandoned = scratch.last_entry("run_abandoned");
    assert_eq!(
        (&abandoned["data"]["reason"], &abandoned["who"]["login_uid"]),
        (&"repaired by hand".into(), &1001.into())
    );
    scratch.write("well", "");
    assert_eq!(logged_in(&scratch, AMY, &["run", path.to_str().unwrap()]).code, 0);
}

/// The program as an ordinary user, in the folder `open`.
fn as_nobody(scratch: &Scratch, home: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(scratch.path().join("interlock"));
    command.args(arguments).args(["--home", home]).uid(NOBODY).gid(NOBODY).current_dir("/");
    command.env_remove("INTERLOCK_HOME").env_remove("INTERLOCK_POLICY");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap())
}

fn as_root(home: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interlock"));
    command.args(arguments).args(["--home", home]).env_remove("INTERLOCK_HOME").env_remove("INTERLOCK_POLICY");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap())
}

#[test]
fn between_users_there_is_no_taking_over_and_an_attempt_harms_nothing() {
    let scratch = Scratch::new();
    // The built program may lie where the user cannot reach it.
    std::fs::copy(env!("CARGO_BIN_EXE_interlock"), scratch.path().join("interlock")).unwrap();
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let open = scratch.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::os::unix::fs::chown(&open, Some(NOBODY), Some(NOBODY)).unwrap();
    let path = scratch.write("runbook.yaml", &runbook(open.to_str().unwrap()));
    let path = path.to_str().unwrap();
    let theirs = open.join("home").display().to_string();
    let take_over = ["--take-over", "--reason", "the night shift"];

    // Root sees the run, and does not write into a folder that an ordinary user could have prepared.
    assert_eq!(as_nobody(&scratch, &theirs, &["run", path]).code, 7);
    let status: serde_json::Value =
        serde_json::from_str(&as_root(&theirs, &["status", "--format", "json"]).stdout).unwrap();
    let run = status["run"].as_str().unwrap();
    for how in ["resume", "undo"] {
        assert_eq!(as_root(&theirs, &[how, run]).code, 4);
        let refused = as_root(&theirs, &[&[how, run][..], &take_over].concat());
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(refused.stderr.contains("root trusts only folders that are root's"), "{}", refused.stderr);
    }
    assert_eq!(scratch.lines("open/book"), ["one", "two"], "nothing was started");
    // The run and its lock are still the user's.
    std::fs::write(open.join("well"), "").unwrap();
    let ran = as_nobody(&scratch, &theirs, &["resume", run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(as_nobody(&scratch, &theirs, &["audit", "verify"]).code, 0);

    // The other way round root's log is closed to them.
    std::fs::remove_file(open.join("well")).unwrap();
    let roots = scratch.home().display().to_string();
    assert_eq!(as_root(&roots, &["run", path]).code, 7);
    let run = scratch.the_open_run();
    let refused = as_nobody(&scratch, &roots, &[&["resume", &run][..], &take_over].concat());
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("Permission denied"), "{}", refused.stderr);
    assert_eq!(as_root(&roots, &["abandon", &run, "--reason", "over"]).code, 0);
}
