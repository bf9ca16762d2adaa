//! Locks between runs that are processes of their own: at once, after a halt, and after a kill.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::support::{Ran, Scratch, alive, finish, until};

/// How many are started at once.
const STARTS: usize = 100;

/// A runbook whose step cannot run beside another of its kind, and lasts until it is told to end.
fn runbook(scratch: &Scratch) -> String {
    "interlock: 1\nname: test\nlocks: [\"other DIR\", \"lock DIR\"]\nsteps:\n  - id: alone\n    script: |\n      mkdir DIR/inside\n      echo ran >> DIR/book\n      sh -c 'while ! test -e DIR/go; do sleep 0.01; done' DIR-mark\n      rmdir DIR/inside\n    undo: {script: rmdir DIR/inside}\n"
        .replace("DIR", scratch.path().to_str().unwrap())
}

/// The file of the lock with this name.
pub fn file_of(lock: &str) -> PathBuf {
    let digest: String = Sha256::digest(lock.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new("/var/lib/interlock-locks").join(digest)
}

/// Runs the program, and kills it after the first such system call on this file.
fn killed_at(scratch: &Scratch, call: &str, file: &Path, arguments: &[&str]) -> Ran {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when=1"));
    let path = file.to_str().unwrap();
    scratch.through(&["strace", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", &trace, "-e", &inject], arguments)
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
    let mut command = Command::new(env!("CARGO_BIN_EXE_interlock"));
    let elsewhere = scratch.path().join("elsewhere");
    command.args(["run", path.to_str().unwrap(), "--home", elsewhere.to_str().unwrap()]);
    command.env_remove("INTERLOCK_HOME").env_remove("INTERLOCK_POLICY").stdin(Stdio::null());
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

#[test]
fn p11_a_resumed_run_that_is_killed_while_it_takes_its_locks_still_holds_them() {
    for call in ["ftruncate", "write", "fsync"] {
        let scratch = Scratch::new();
        // Somebody stands inside, so the step fails, also when it is attempted again.
        scratch.write("inside", "");
        assert_eq!(finish(start(&scratch)).code, 7);
        let run = scratch.the_open_run();
        let file = file_of(&format!("lock {}", scratch.path().display()));
        let claim = std::fs::read(&file).unwrap();
        let ran = killed_at(&scratch, call, &file, &["resume", &run]);
        assert_eq!(ran.code, 7, "its claim is not touched, so nothing is killed: {}", ran.stderr);
        assert_eq!(std::fs::read(&file).unwrap(), claim, "{call}");
        is_refused(&scratch, &run);
    }
}

#[test]
fn p11_a_run_whose_home_was_moved_and_that_is_killed_while_it_says_so_in_its_claim_still_holds_its_lock() {
    for call in ["write", "fsync"] {
        let scratch = Scratch::new();
        scratch.write("inside", "");
        assert_eq!(finish(start(&scratch)).code, 7);
        let run = scratch.the_open_run();
        let file = file_of(&format!("lock {}", scratch.path().display()));
        // The claim is shorter then, and longer again.
        let short = scratch.path().join("h");
        for (from, to) in [(scratch.home(), short.clone()), (short, scratch.path().join("a longer name of the home"))] {
            std::fs::rename(&from, &to).unwrap();
            let to = to.to_str().unwrap();
            let ran = killed_at(&scratch, call, &file, &["resume", &run, "--home", to]);
            assert_eq!(ran.code, -1, "it was killed: {}", ran.stderr);
            // The home that this run is refused in is made anew, and gone again.
            is_refused(&scratch, &run);
            std::fs::remove_dir_all(scratch.home()).unwrap();
            assert_eq!(scratch.interlock(&["resume", &run, "--home", to]).code, 7);
            let refused = is_refused(&scratch, &run).stderr;
            let resume = [format!("resume {run} --home {to}`"), format!("resume {run} --home '{to}'`")];
            assert!(resume.iter().any(|words| refused.contains(words)), "{refused}");
            std::fs::remove_dir_all(scratch.home()).unwrap();
        }
    }
}

#[test]
fn p11_a_run_in_a_copy_of_its_home_does_not_take_over_the_locks_of_the_first() {
    let scratch = Scratch::new();
    scratch.write("inside", "");
    assert_eq!(finish(start(&scratch)).code, 7);
    let run = scratch.the_open_run();
    let copy = scratch.path().join("copy");
    assert!(Command::new("cp").arg("-a").arg(scratch.home()).arg(&copy).status().unwrap().success());
    let copy = copy.to_str().unwrap();
    let file = file_of(&format!("lock {}", scratch.path().display()));
    let claim = std::fs::read(&file).unwrap();
    for way in ["resume", "undo"] {
        let ran = scratch.interlock(&[way, &run, "--home", copy]);
        assert_eq!(ran.code, 5, "{}", ran.stderr);
        let there = format!("`interlock resume {run} --home {}`", scratch.home().display());
        assert!(ran.stderr.contains(&there) && ran.stderr.contains("is a copy"), "{}", ran.stderr);
        assert_eq!(std::fs::read(&file).unwrap(), claim);
    }
    // Giving it up in the copy frees nothing of the first.
    assert_eq!(scratch.interlock(&["abandon", &run, "--reason", "enough", "--home", copy]).code, 0);
    assert_eq!(std::fs::read(&file).unwrap(), claim);
    is_refused(&scratch, &run);
}

#[test]
fn p11_a_run_that_is_given_up_in_a_home_that_was_moved_leaves_its_lock_free() {
    let scratch = Scratch::new();
    scratch.write("inside", "");
    assert_eq!(finish(start(&scratch)).code, 7);
    let run = scratch.the_open_run();
    let moved = scratch.path().join("moved");
    std::fs::rename(scratch.home(), &moved).unwrap();
    is_refused(&scratch, &run);
    std::fs::remove_dir_all(scratch.home()).unwrap();
    let abandon = ["abandon", &run, "--reason", "enough", "--home", moved.to_str().unwrap()];
    assert_eq!(scratch.interlock(&abandon).code, 0);
    std::fs::remove_file(scratch.path().join("inside")).unwrap();
    scratch.write("go", "");
    assert_eq!(finish(start(&scratch)).code, 0, "the lock is free");
}

#[test]
fn p11_a_claim_of_another_log_is_not_taken_for_ones_own_whatever_its_run() {
    let scratch = Scratch::new();
    scratch.write("inside", "");
    assert_eq!(finish(start(&scratch)).code, 7);
    let run = scratch.the_open_run();
    let file = file_of(&format!("lock {}", scratch.path().display()));
    let mut claim: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    claim["log"] = "9f4e6f1c-0000-4000-8000-000000000000".into();
    std::fs::write(&file, claim.to_string()).unwrap();
    let ran = scratch.interlock(&["resume", &run]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), claim.to_string());
    // What others have written there does not reach the screen as more than a line.
    claim["home"] = "/nowhere\n\u{1b}[31mall is well".into();
    std::fs::write(&file, claim.to_string()).unwrap();
    let ran = scratch.interlock(&["resume", &run]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (5, 1), "{}", ran.stderr);
    assert!(ran.stderr.contains(r"/nowhere\n"), "{}", ran.stderr);
}

#[test]
fn p11_a_run_that_is_killed_while_it_claims_a_lock_never_began_and_leaves_it_free() {
    for call in ["ftruncate", "write", "fsync"] {
        let scratch = Scratch::new();
        scratch.write("go", "");
        assert_eq!(finish(start(&scratch)).code, 0, "the file of the lock is there");
        let file = file_of(&format!("lock {}", scratch.path().display()));
        let path = scratch.path().join("runbook.yaml");
        let ran = killed_at(&scratch, call, &file, &["run", path.to_str().unwrap()]);
        assert_eq!(ran.code, -1, "it was killed: {}", ran.stderr);
        assert!(scratch.open_runs().is_empty());
        assert_eq!(finish(start(&scratch)).code, 0, "{call}: the lock is free");
    }
}

#[test]
fn p11_a_full_disk_under_a_claim_starts_nothing_and_leaves_the_lock_free() {
    let scratch = Scratch::new();
    scratch.write("go", "");
    assert_eq!(finish(start(&scratch)).code, 0);
    let file = file_of(&format!("lock {}", scratch.path().display()));
    let path = scratch.path().join("runbook.yaml");
    let before = scratch.lines("book").len();
    let ran = scratch.through(
        &[
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-P",
            file.to_str().unwrap(),
            "-e",
            "trace=write",
            "-e",
            "inject=write:error=ENOSPC",
        ],
        &["run", path.to_str().unwrap()],
    );
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("No space left"), "{}", ran.stderr);
    assert_eq!(scratch.lines("book").len(), before, "nothing was started");
    assert_eq!(finish(start(&scratch)).code, 0, "the lock is free");
}

/// Puts a folder with all that is in it in the place of another.
fn put(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn p11_a_home_that_was_set_back_does_not_free_the_lock_of_a_run_that_it_does_not_know() {
    let scratch = Scratch::new();
    scratch.write("go", "");
    assert_eq!(finish(start(&scratch)).code, 0);
    let (backup, later) = (scratch.path().join("backup"), scratch.path().join("later"));
    put(&scratch.home(), &backup);
    // Somebody stands inside, so the step fails.
    scratch.write("inside", "");
    assert_eq!(finish(start(&scratch)).code, 7);
    let run = scratch.the_open_run();
    put(&scratch.home(), &later);
    put(&backup, &scratch.home());
    assert!(scratch.open_runs().is_empty(), "the home knows nothing of the run");
    std::fs::remove_file(scratch.path().join("inside")).unwrap();
    let refused = is_refused(&scratch, &run).stderr;
    let lock = format!("lock {}", scratch.path().display());
    let claim: serde_json::Value = serde_json::from_slice(&std::fs::read(file_of(&lock)).unwrap()).unwrap();
    assert_eq!((&claim["run"], &claim["begun"]), (&run.as_str().into(), &1.into()));
    let way_out = format!("`interlock unlock '{lock}' --reason WHY`");
    for words in ["was set back to before the run", "put its home back as it was", &way_out] {
        assert!(refused.contains(words), "`{words}`: {refused}");
    }
    // The log goes on, and soon has more entries than there were.
    for _ in 0..8 {
        is_refused(&scratch, &run);
    }
    assert_eq!(scratch.lines("book"), ["ran"], "nothing was begun");
    // With the later state, the run goes to its end and its locks are free.
    put(&later, &scratch.home());
    let ran = scratch.interlock(&["resume", &run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(finish(start(&scratch)).code, 0, "the lock is free");
}

#[test]
fn p13_a_home_whose_path_is_not_text_is_refused_and_nothing_is_made() {
    let scratch = Scratch::new();
    let path = scratch.write("runbook.yaml", &runbook(&scratch));
    let home = scratch.path().join(OsStr::from_bytes(b"home-\xff"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_interlock"));
    command.args(["run", path.to_str().unwrap(), "--home"]).arg(&home).env_remove("INTERLOCK_POLICY");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(command.spawn().unwrap());
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains(r"home-\xff: the path is not UTF-8; say another with --home DIR"), "{}", ran.stderr);
    assert!(!home.exists());
}
