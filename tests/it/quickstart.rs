//! The README's first command, and what it shows: the incident in miniature, with real processes.

use std::process::{Command, Stdio};

use crate::support::{Ran, Scratch, finish, until};

fn runbook() -> String {
    format!("{}/runbooks/quickstart.yaml", env!("CARGO_MANIFEST_DIR"))
}

/// The arguments for a quickstart in a folder of its own.
fn arguments(scratch: &Scratch, pause: &str) -> Vec<String> {
    let dir = scratch.path().join("stage");
    vec!["run".into(), runbook(), "-p".into(), format!("dir={}", dir.display()), "-p".into(), format!("pause={pause}")]
}

fn verify(scratch: &Scratch) {
    let verified = scratch.interlock(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
}

/// Ends what a halted quickstart has left running, by the pids it wrote down: only those that are still of this stage, since a pid
/// may have gone to another process.
fn end_the_stage(scratch: &Scratch) {
    let stage = scratch.path().join("stage").display().to_string();
    for name in ["supervisor", "server"] {
        let Ok(pid) = scratch.read(&format!("stage/{name}.pid")).trim().parse::<u32>() else { continue };
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&stage) {
            let _ = Command::new("kill").arg("-9").arg(pid.to_string()).stderr(Stdio::null()).status();
        }
    }
}

#[test]
fn p13_quickstart_runs_to_its_end() {
    let scratch = Scratch::new();
    let arguments = arguments(&scratch, "0.01");
    let ran = scratch.interlock(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    end_the_stage(&scratch);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("completed"), "{}", ran.stderr);
    assert_eq!(scratch.events().last().map(String::as_str), Some("run_completed"));
    verify(&scratch);
}

#[test]
fn p03_quickstart_freezes_the_change_when_the_supervisor_comes_back() {
    let scratch = Scratch::new();
    let arguments = arguments(&scratch, "0.05");
    let child = scratch.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).spawn().unwrap();
    until("the change has begun", || scratch.read("stage/data").contains("record 3"));
    let mut supervisor = Command::new("sh")
        .arg(scratch.path().join("stage/supervisor"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ran: Ran = finish(child);
    let _ = supervisor.kill();
    let _ = supervisor.wait();
    end_the_stage(&scratch);
    assert_eq!(ran.code, 8, "{}", ran.stderr);
    let records = scratch.read("stage/data").lines().filter(|line| line.starts_with("record")).count();
    assert!((3..20).contains(&records), "the change was stopped in its middle, at record {records}");
    let broken = scratch.last("hold_broken");
    assert_eq!(broken["step"], "change");
    let fact = broken["sight"]["fact"].as_str().unwrap().to_owned();
    assert!(fact == "supervisor stopped" || fact == "server stopped", "{fact}");
    assert!(broken["freeze_micros"].is_u64(), "{broken}");
    assert_eq!(scratch.last("step_ended")["ending"], "stopped");
    assert_eq!(scratch.last("run_halted")["cause"], "hold_broken");
    verify(&scratch);
}
