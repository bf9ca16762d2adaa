//! Faults in bad moments: the log's disk is full or broken while a run goes back, and a kill while a retry pauses.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Scratch, until};

/// Steps that write down what they do, durably, and how they are taken back; the last one fails.
fn runbook(scratch: &Scratch, head: &str, steps: usize) -> String {
    let dir = scratch.path().display();
    let mut text = format!("interlock: 1\nname: test\n{head}steps:\n");
    for step in 0..steps {
        text.push_str(&format!(
            "  - {{id: s{step}, script: echo s{step} >> {dir}/book, undo: {{script: 'echo undo-s{step} >> {dir}/book', timeout: 20s}}}}\n"
        ));
    }
    text.push_str(&format!("  - {{id: fails, script: 'false', undo: {{script: echo undo-fails >> {dir}/book}}}}\n"));
    text
}

/// What the book says when everything was done and taken back.
fn whole_book(steps: usize) -> Vec<String> {
    let done = (0..steps).map(|step| format!("s{step}"));
    let undone = (0..steps).rev().map(|step| format!("undo-s{step}"));
    done.chain(["undo-fails".to_owned()]).chain(undone).collect()
}

/// Each undo that ran was announced on disk before, and nothing is repeated by itself but what was in flight.
fn nothing_ran_unannounced(scratch: &Scratch) {
    let announced = |step: &str| {
        scratch.entries().iter().any(|entry| {
            entry["event"] == "step_intended" && entry["data"]["way"] == "back" && entry["data"]["step"] == step
        })
    };
    for undone in scratch.lines("book").iter().filter_map(|line| line.strip_prefix("undo-")) {
        assert!(announced(undone), "the undo of `{undone}` ran, and no entry announces it");
    }
}

#[test]
fn p01_a_log_that_breaks_while_going_back_stops_it_and_undo_goes_all_the_way_once_it_is_well() {
    const STEPS: usize = 3;
    // Whether a write or a sync fails, with which error, and from which of them on.
    let mut stopped = 0;
    for (call, error) in [("fdatasync", "EIO"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC")] {
        for nth in [1, 2, 3, 5, 7, 20] {
            let at = format!("{call} {error} from the {nth}th on");
            let scratch = Scratch::new();
            assert_eq!(scratch.run(&runbook(&scratch, "", STEPS), &[]).code, 7, "{at}");
            let run = scratch.the_open_run();
            let begun = Instant::now();
            let ran = scratch.with_fault(&["undo", &run], &format!("{call}:error={error}:when={nth}+"));
            assert!(begun.elapsed() < Duration::from_secs(8), "{at}: it waits for something that has ended");
            nothing_ran_unannounced(&scratch);
            if ran.code == 0 {
                assert_eq!(scratch.lines("book"), whole_book(STEPS), "{at}");
                break;
            }
            stopped += 1;
            assert_eq!(ran.code, 1, "{at}: {}", ran.stderr);
            let verified = scratch.interlock(&["audit", "verify"]);
            assert_eq!(verified.code, 0, "{at}: {}{}", verified.stdout, verified.stderr);
            if scratch.open_runs().is_empty() {
                // Everything was written, and only its acknowledgement is missing.
                assert_eq!(scratch.lines("book"), whole_book(STEPS), "{at}");
                continue;
            }
            let ran = scratch.interlock(&["undo", &run]);
            assert_eq!(ran.code, 0, "{at}: {}", ran.stderr);
            let mut book = scratch.lines("book");
            assert!(book.len() <= whole_book(STEPS).len() + 1, "{at}: only the undo in flight is repeated: {book:?}");
            book.dedup();
            assert_eq!(book, whole_book(STEPS), "{at}");
            assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0, "{at}");
        }
    }
    assert!(stopped >= 9, "{stopped}");
}

/// A file system of its own, as large as it is told to be; gone with its guard.
pub struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    pub fn at(path: &'a Path) -> Self {
        std::fs::create_dir(path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m,mode=700", "none"]).arg(path).status();
        assert!(mounted.unwrap().success(), "a small file system can be mounted (this needs root)");
        Self(path)
    }

    pub fn resize(&self, bytes: u64) {
        let resized = Command::new("mount").args(["-o", &format!("remount,size={bytes}")]).arg(self.0).status();
        assert!(resized.unwrap().success());
    }

    fn used(&self) -> u64 {
        let told = rustix::fs::statvfs(self.0).unwrap();
        (told.f_blocks - told.f_bfree) * told.f_frsize
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn p01_a_disk_that_is_full_while_going_back_loses_nothing_and_undo_goes_on_when_there_is_room() {
    const STEPS: usize = 250;
    let scratch = Scratch::new();
    let home = scratch.home();
    let disk = SmallDisk::at(&home);
    assert_eq!(scratch.run(&runbook(&scratch, "", STEPS), &[]).code, 7);
    let run = scratch.the_open_run();
    // What the log has prepared is all the room there is.
    disk.resize(disk.used());
    let ran = scratch.interlock(&["undo", &run]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("no room"), "{}", ran.stderr);
    let undone = scratch.lines("book").iter().filter(|line| line.starts_with("undo-")).count();
    assert!((1..STEPS).contains(&undone), "the disk was full in the middle of going back, after {undone} undos");
    nothing_ran_unannounced(&scratch);
    let back = |event: &str| {
        let is = |entry: &serde_json::Value| entry["event"] == event && entry["data"]["way"] == "back";
        scratch.entries().iter().filter(|entry| is(entry)).count()
    };
    assert_eq!((back("step_intended"), back("step_done")), (undone, undone), "what was done is recorded as done");
    // Still no room: nothing is started.
    assert_eq!(scratch.interlock(&["undo", &run]).code, 1);
    assert_eq!(scratch.lines("book").len(), STEPS + undone);
    disk.resize(16 << 20);
    let ran = scratch.interlock(&["undo", &run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(scratch.lines("book"), whole_book(STEPS));
    assert!(scratch.open_runs().is_empty());
    assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
}

#[test]
fn p07_killed_while_a_retry_pauses_nothing_is_attempted_until_somebody_takes_the_run_up() {
    for (how, code, book) in
        [("resume", 0, &["one", "try", "try"][..]), ("undo", 0, &["one", "try", "undo-try", "undo-one"])]
    {
        let scratch = Scratch::new();
        let dir = scratch.path().display();
        let path = scratch.write(
            "runbook.yaml",
            &format!(
                "interlock: 1\nname: test\nsteps:\n  - {{id: one, script: echo one >> {dir}/book, undo: {{script: echo undo-one >> {dir}/book}}}}\n  - id: try\n    retry: {{times: 3, every: 1h}}\n    script: echo try >> {dir}/book; test -e {dir}/well\n    undo: {{script: echo undo-try >> {dir}/book}}\n"
            ),
        );
        let mut child = scratch.command(&["run", path.to_str().unwrap()]).spawn().unwrap();
        until("the retry pauses", || {
            scratch.home().join("audit").exists()
                && scratch.events().last().is_some_and(|event| event == "step_retried")
        });
        child.kill().unwrap();
        child.wait().unwrap();
        let open = &scratch.open_runs()[0];
        assert_eq!(
            (&open["state"], &open["doubt"]),
            (&"died".into(), &serde_json::Value::Null),
            "it had ended: {open}"
        );
        assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
        assert_eq!(scratch.lines("book"), ["one", "try"], "nobody attempts it again by himself");
        scratch.write("well", "");
        let run = open["run"].as_str().unwrap();
        let ran = scratch.interlock(&[how, run]);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert_eq!(scratch.lines("book"), book);
        if how == "resume" {
            assert_eq!(scratch.last("step_intended")["attempt"], 2);
        }
        assert!(scratch.open_runs().is_empty());
        assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
    }
}
