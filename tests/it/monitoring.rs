//! What monitoring is told: numbers in a form that Prometheus takes, and the open runs as objects.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::{Ran, Scratch, finish, until};

const GOOD: &str = "interlock: 1\nname: good\nsteps:\n  - {id: a, run: ['true'], undo: {run: ['true']}}\n";
const REFUSED: &str = "interlock: 1\nname: refused\nsystems:\n  flag: {states: {up: {file: {path: /nonexistent/flag}}}}\nrequires: [flag up]\nsteps:\n  - {id: a, run: ['true'], undo: {run: ['true']}}\n";

fn metrics(scratch: &Scratch, arguments: &[&str]) -> Ran {
    let mut all = vec!["audit", "metrics"];
    all.extend(arguments);
    scratch.interlock(&all)
}

/// That Prometheus' own tool takes it, and finds nothing to criticise.
#[track_caller]
pub fn is_taken(text: &str) {
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there");
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let ran = finish(tool);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""), "{text}");
}

/// The value of a sample.
#[track_caller]
pub fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{text}")).parse().unwrap()
}

fn halting(scratch: &Scratch) -> String {
    format!(
        "interlock: 1\nname: halting\nlocks: ['say \"x\" \\ {}']\nsteps:\n  - {{id: a, run: ['true'], undo: {{run: ['true']}}}}\n  - {{id: fails, run: ['false'], undo: {{run: ['true']}}}}\n",
        scratch.path().display()
    )
}

#[test]
fn the_metrics_of_a_log_are_what_happened_and_prometheus_takes_them() {
    let scratch = Scratch::new();
    // Where nothing has run there is nothing wrong.
    let ran = metrics(&scratch, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    is_taken(&ran.stdout);
    assert_eq!(value(&ran.stdout, "interlock_audit_log_entries"), 0.0);
    // What is told by its increase is there from the beginning: its first time is one, too.
    for sample in [
        "interlock_deviations_total{kind=\"skip\"}",
        "interlock_deviations_total{kind=\"break_glass\"}",
        "interlock_refused_attempts_total{what=\"run\"}",
        "interlock_undelivered_total{what=\"notify\"}",
        "interlock_glass_broken_total",
    ] {
        assert_eq!(value(&ran.stdout, sample), 0.0, "{sample}");
    }
    assert!(!scratch.home().exists());

    for _ in 0..2 {
        assert_eq!(scratch.run(GOOD, &[]).code, 0);
    }
    assert_eq!(scratch.run(REFUSED, &[]).code, 3);
    let halting = halting(&scratch);
    assert_eq!(scratch.run(&halting, &[]).code, 7);
    let halted = scratch.the_open_run();
    let ran = metrics(&scratch, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let text = ran.stdout;
    is_taken(&text);
    for (sample, expected) in [
        ("interlock_runs_total{runbook=\"good\",verdict=\"completed\"}", 2.0),
        ("interlock_runs_total{runbook=\"refused\",verdict=\"refused\"}", 1.0),
        ("interlock_run_halts_total{runbook=\"halting\",cause=\"step_failed\"}", 1.0),
        ("interlock_step_failures_total{runbook=\"halting\"}", 1.0),
        ("interlock_refused_attempts_total{what=\"run\"}", 1.0),
        ("interlock_open_runs{state=\"halted\"}", 1.0),
        ("interlock_open_runs{state=\"running\"}", 0.0),
        ("interlock_audit_log_verifies", 1.0),
        ("interlock_audit_log_entries", scratch.entries().len() as f64),
        ("interlock_audit_log_anchored_entry", scratch.entries().len() as f64),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
    let lock = format!("say \\\"x\\\" \\\\ {}", scratch.path().display());
    value(&text, &format!("interlock_lock_held{{lock=\"{lock}\",run=\"{halted}\",runbook=\"halting\"}}"));
    let began = value(
        &text,
        &format!("interlock_open_run_start_timestamp_seconds{{run=\"{halted}\",runbook=\"halting\",state=\"halted\"}}"),
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(now - began < 60.0 && now >= began, "{began}");

    // A deviation is counted when it is made, and the run by how it ended.
    let accepted = ["override", &halted, "--accept", "fails", "--reason", "it is right", "-o", "request.yaml"];
    assert_eq!(scratch.interlock(&accepted).code, 0);
    let text = metrics(&scratch, &[]).stdout;
    assert_eq!(value(&text, "interlock_deviations_total{kind=\"accept_failed\"}"), 0.0);
    assert_eq!(
        scratch.interlock(&["resume", &halted, "--override", "request.yaml", "--self-approve", "fails"]).code,
        13
    );
    let text = metrics(&scratch, &[]).stdout;
    is_taken(&text);
    for (sample, expected) in [
        ("interlock_deviations_total{kind=\"accept_failed\"}", 1.0),
        ("interlock_runs_total{runbook=\"halting\",verdict=\"completed_with_deviations\"}", 1.0),
        ("interlock_run_halts_total{runbook=\"halting\",cause=\"step_failed\"}", 1.0),
        ("interlock_open_runs{state=\"halted\"}", 0.0),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
    assert!(!text.contains("interlock_lock_held{"), "{text}");
}

#[test]
fn the_file_of_metrics_is_replaced_whole_and_readable_for_all() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let scratch = Scratch::new();
    assert_eq!(scratch.run(GOOD, &[]).code, 0);
    assert_eq!(metrics(&scratch, &["-o", "i.prom"]).code, 0);
    let path = scratch.path().join("i.prom");
    let first = std::fs::metadata(&path).unwrap();
    assert_eq!(first.permissions().mode() & 0o777, 0o644);
    let held = std::fs::File::open(&path).unwrap();
    assert_eq!(scratch.run(GOOD, &[]).code, 0);
    assert_eq!(metrics(&scratch, &["-o", "i.prom"]).code, 0);
    // Whoever has the old one open reads it to its end: the new one is another file.
    assert_ne!(std::fs::metadata(&path).unwrap().ino(), first.ino());
    let old = std::io::read_to_string(held).unwrap();
    assert_eq!(value(&old, "interlock_runs_total{runbook=\"good\",verdict=\"completed\"}"), 1.0);
    assert_eq!(value(&scratch.read("i.prom"), "interlock_runs_total{runbook=\"good\",verdict=\"completed\"}"), 2.0);
    assert_eq!(metrics(&scratch, &["-o", "no/such/folder/i.prom"]).code, 2);
}

#[test]
fn of_a_log_that_does_not_verify_the_metrics_say_that_and_nothing_of_the_runs() {
    let scratch = Scratch::new();
    assert_eq!(scratch.run(GOOD, &[]).code, 0);
    let segment = scratch.home().join("audit/0000000000000001.jsonl");
    let whole = std::fs::read_to_string(&segment).unwrap();
    for changed in [
        whole.replace("\"done\":1", "\"done\":2"),
        whole.replacen("\"attempt\":1", "\"attempt\":2", 1),
        // Cut off behind its second entry, which the checkpoint beside the log tells.
        format!("{}\n", whole.lines().take(2).collect::<Vec<_>>().join("\n"))
            + &"\n".repeat(whole.len() - whole.lines().take(2).map(|line| line.len() + 1).sum::<usize>()),
    ] {
        assert_ne!(changed, whole);
        std::fs::write(&segment, &changed).unwrap();
        let ran = metrics(&scratch, &["-o", "i.prom"]);
        assert_eq!(ran.code, 11, "{}", ran.stderr);
        assert!(ran.stderr.contains("does not verify"), "{}", ran.stderr);
        let text = scratch.read("i.prom");
        is_taken(&text);
        assert_eq!(value(&text, "interlock_audit_log_verifies"), 0.0);
        assert!(!text.contains("interlock_runs_total"), "{text}");
    }
}

#[test]
fn the_status_of_an_open_run_has_what_monitoring_wants_to_know() {
    let scratch = Scratch::new();
    let runbook = format!(
        "interlock: 1\nname: leaves\nlocks: [{0}]\nsystems:\n  flag: {{states: {{there: {{file: {{path: {0}/flag}}}}}}}}\nsteps:\n  - id: make\n    run: [touch, {0}/flag]\n    ensures: [flag there]\n    undo: {{run: ['true']}}\n  - {{id: fails, run: ['false'], undo: {{run: ['true']}}}}\n",
        scratch.path().display()
    );
    assert_eq!(scratch.run(&runbook, &[]).code, 7);
    let open = scratch.open_runs();
    let status = &open[0];
    let run = status["run"].as_str().unwrap();
    // As it can be typed here, where the home is another than the user's.
    let home = format!(" --home {}", scratch.home().display());
    let expected = serde_json::json!({
        "run": run, "state": "halted", "runbook": "leaves", "began": status["began"], "last": status["last"],
        "operator": status["operator"], "host": scratch.last_entry("run_opened")["who"]["host"],
        "cause": "step_failed", "why": "a step failed: step `fails` failed: it exited with 1", "step": "fails",
        "steps": 2, "doubt": null, "going_back": false, "deviations": 0, "left": ["flag there"], "broken": [],
        "rerun": [], "locks": [scratch.path().display().to_string()],
        "next": {
            "resume": format!("interlock resume {run}{home}"), "undo": format!("interlock undo {run}{home}"),
            "abandon": format!("interlock abandon {run} --reason …{home}"),
        },
    });
    assert_eq!(*status, expected);
    assert_eq!(status["last"], scratch.last_entry("run_halted")["time"]);
    // What cannot be known without the plan is null, not nothing.
    std::fs::remove_file(scratch.home().join("runs").join(run).join("plan.yaml")).unwrap();
    assert_eq!(scratch.open_runs()[0]["left"], serde_json::Value::Null);
}

#[test]
fn a_run_that_goes_on_is_running_for_whoever_looks_and_looking_does_not_disturb_it() {
    let scratch = Scratch::new();
    let runbook = scratch.write(
        "slow.yaml",
        &format!(
            "interlock: 1\nname: slow\nsteps:\n  - id: waits\n    script: |\n      touch {0}/begun\n      until test -e {0}/go; do sleep 0.01; done\n    undo: {{run: ['true']}}\n",
            scratch.path().display()
        ),
    );
    let child = scratch.command(&["run", runbook.to_str().unwrap()]).spawn().unwrap();
    until("the step began", || scratch.path().join("begun").exists());
    let status = scratch.open_runs().remove(0);
    assert_eq!((&status["state"], &status["next"]), (&"running".into(), &serde_json::Value::Null));
    let text = metrics(&scratch, &[]).stdout;
    assert_eq!(value(&text, "interlock_open_runs{state=\"running\"}"), 1.0);
    scratch.write("go", "");
    assert_eq!(finish(child).code, 0);
}
