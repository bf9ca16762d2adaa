//! What leaves the audit log for other tools: whole, in order, resumable, and harmless where it ends up.

use std::io::Read as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Ran, Scratch, finish};

const GOOD: &str = "interlock: 1\nname: good\nsteps:\n  - {id: a, run: [echo, hello], undo: {run: ['true']}}\n";
const BAD: &str = "interlock: 1\nname: bad\nsteps:\n  - {id: fails, run: ['false'], undo: {run: ['true']}}\n";

/// A log with a run that completed and one that halted.
fn two_runs() -> Scratch {
    let scratch = Scratch::new();
    assert_eq!(scratch.run(GOOD, &[]).code, 0);
    assert_eq!(scratch.run(BAD, &[]).code, 7);
    scratch
}

fn export(scratch: &Scratch, arguments: &[&str]) -> Ran {
    let mut all = vec!["audit", "export"];
    all.extend(arguments);
    scratch.interlock(&all)
}

/// The lines of the log as they stand in its segment.
fn logged(scratch: &Scratch) -> String {
    let bytes = std::fs::read_to_string(scratch.home().join("audit/0000000000000001.jsonl")).unwrap();
    format!("{}\n", bytes.trim_end_matches('\n'))
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_export_is_the_log_byte_for_byte_and_goes_on_after_any_entry() {
    let scratch = two_runs();
    let whole = logged(&scratch);
    let ran = export(&scratch, &[]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, whole.as_str(), ""));
    let lines: Vec<&str> = whole.lines().collect();
    for after in 0..=lines.len() {
        let rest: String = lines[after..].iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(export(&scratch, &["--after", &after.to_string()]).stdout, rest);
    }
    // The idiom of the manual: keep the last number, ask for what came after it.
    let last = objects(&whole).last().unwrap()["seq"].to_string();
    assert_eq!(scratch.run(GOOD, &[]).code, 0);
    let more = export(&scratch, &["--after", &last]).stdout;
    assert_eq!(whole + &more, logged(&scratch));
}

#[test]
fn an_export_after_an_entry_that_is_not_there_says_that_the_log_was_cut() {
    let scratch = two_runs();
    let ran = export(&scratch, &["--after", "9999"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("its end was cut off, or this is another log"), "{}", ran.stderr);
}

#[test]
fn the_export_of_one_run_has_its_entries_alone() {
    let scratch = two_runs();
    let run = scratch.last_entry("run_halted")["run"].as_str().unwrap().to_owned();
    let ran = export(&scratch, &["--run", &run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let found = objects(&ran.stdout);
    assert_eq!(found[0]["event"], "run_opened");
    assert!(found.iter().all(|entry| entry["run"] == run.as_str()));
    assert_eq!(export(&scratch, &["--run", "ffffffff"]).code, 2);
    assert_eq!(export(&scratch, &["--run", "0"]).code, 2, "it fits both");
}

#[test]
fn where_the_chain_is_broken_the_export_ends_and_what_came_before_is_good() {
    let scratch = two_runs();
    let segment = scratch.home().join("audit/0000000000000001.jsonl");
    let whole = logged(&scratch);
    let changed =
        std::fs::read_to_string(&segment).unwrap().replacen("\"event\":\"step_done\"", "\"event\":\"step_dome\"", 1);
    std::fs::write(&segment, changed).unwrap();
    let until = objects(&whole).iter().position(|entry| entry["event"] == "step_done").unwrap();
    let good: String = whole.lines().take(until).map(|line| format!("{line}\n")).collect();
    let ran = export(&scratch, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, good.as_str()));
    assert!(ran.stderr.contains("is damaged or was changed"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("The export ends with entry {until}")), "{}", ran.stderr);
    // Also into a file.
    assert_eq!(export(&scratch, &["-o", "out.jsonl"]).code, 1);
    assert_eq!(scratch.read("out.jsonl"), good);
}

#[test]
fn an_export_goes_to_a_new_file_that_is_its_users_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = two_runs();
    assert_eq!(export(&scratch, &["-o", "out.jsonl"]).code, 0);
    assert_eq!(scratch.read("out.jsonl"), logged(&scratch));
    let mode = std::fs::metadata(scratch.path().join("out.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(export(&scratch, &["-o", "out.jsonl"]).code, 2);
    assert_eq!(scratch.read("out.jsonl"), logged(&scratch));
}

#[test]
fn a_reader_that_goes_away_ends_the_export_quietly() {
    let scratch = two_runs();
    let mut child = scratch.command(&["audit", "export", "--format", "ocsf"]).spawn().unwrap();
    // Nobody reads at all, so already the first write meets a broken pipe.
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_behind_the_export_is_said() {
    let scratch = two_runs();
    let mut command = scratch.command(&["audit", "export"]);
    command.stdout(Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap()));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the output cannot be written"));
}

#[test]
fn an_export_as_a_table_is_read_back_by_another_program_with_nothing_that_is_executed() {
    let scratch = Scratch::new();
    let mut command = scratch.command(&["run", scratch.write("good.yaml", GOOD).to_str().unwrap()]);
    // Anybody can set these, and both end up in the log.
    command.env("SUDO_USER", "=HYPERLINK(\"http://evil.example\";\"x\")").env("SSH_CONNECTION", "@x, \"y\"\r\n=1");
    assert_eq!(finish(command.spawn().unwrap()).code, 0);
    let table = export(&scratch, &["--format", "csv"]).stdout;
    assert!(table.starts_with("seq,time,run,event,step,uid,user,"), "{table}");
    let read = "import csv, json, sys\nprint(json.dumps(list(csv.DictReader(sys.stdin, strict=True))))";
    let mut python = Command::new("python3")
        .args(["-c", read])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), table.as_bytes()).unwrap();
    let ran = finish(python);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let records: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let entries = scratch.entries();
    assert_eq!(records.len(), entries.len());
    for (record, entry) in records.iter().zip(&entries) {
        assert_eq!(record["seq"].as_str().unwrap(), entry["seq"].to_string());
        assert_eq!((&record["event"], &record["prev"]), (&entry["event"], &entry["prev"]));
        assert_eq!(serde_json::from_str::<Value>(record["data"].as_str().unwrap()).unwrap(), entry["data"]);
        assert_eq!(record["sudo_user"].as_str().unwrap(), format!("'{}", entry["who"]["sudo_user"].as_str().unwrap()));
        for (name, field) in record.as_object().unwrap() {
            let first = field.as_str().unwrap().chars().next().unwrap_or(' ');
            assert!(!['=', '+', '-', '@', '\t', '\r', '\n'].contains(&first), "{name}: {field}");
        }
    }
    assert!(records.iter().any(|record| record["step"] == "a"));
}

#[test]
fn an_export_as_cloudevents_has_what_the_specification_requires_and_the_line_as_it_was_logged() {
    let scratch = two_runs();
    let lines = logged(&scratch);
    let log = scratch.last("log_created")["log"].as_str().unwrap().to_owned();
    let text = export(&scratch, &["--format", "cloudevents"]).stdout;
    assert_eq!(text.lines().count(), lines.lines().count());
    for (written, line) in text.lines().zip(lines.lines()) {
        let (event, entry): (Value, Value) =
            (serde_json::from_str(written).unwrap(), serde_json::from_str(line).unwrap());
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["id"], entry["seq"].to_string());
        assert_eq!(event["source"], format!("urn:uuid:{log}"));
        assert_eq!(event["type"], format!("interlock.{}", entry["event"].as_str().unwrap()));
        assert_eq!(event["time"], entry["time"]);
        assert_eq!(event.get("subject"), entry.get("run"));
        assert_eq!(event["sequence"], format!("{:020}", entry["seq"].as_u64().unwrap()));
        assert!(written.ends_with(&format!("\"data\":{line}}}")), "{written}");
        // Names of attributes are lower-case letters and digits, 20 at most.
        let names: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert!(
            names
                .iter()
                .all(|name| name.len() <= 20 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())),
            "{names:?}"
        );
    }
}

#[test]
fn an_export_as_ocsf_has_what_the_schema_requires_of_its_class() {
    let scratch = two_runs();
    let lines = logged(&scratch);
    let log = scratch.last("log_created")["log"].as_str().unwrap().to_owned();
    let text = export(&scratch, &["--format", "ocsf"]).stdout;
    assert_eq!(text.lines().count(), lines.lines().count());
    let mut weights = Vec::new();
    for (written, line) in objects(&text).iter().zip(lines.lines()) {
        let entry: Value = serde_json::from_str(line).unwrap();
        for (name, value) in [("class_uid", 0), ("category_uid", 0), ("activity_id", 99), ("type_uid", 99)] {
            assert_eq!(written[name], value, "{name}");
        }
        assert_eq!(written["activity_name"], entry["event"]);
        assert_eq!(written["metadata"]["version"], "1.7.0");
        assert_eq!(written["metadata"]["product"]["vendor_name"], "interlock");
        assert_eq!(written["metadata"]["uid"], format!("{log}:{}", entry["seq"]));
        assert_eq!(written["metadata"].get("correlation_uid"), entry.get("run"));
        assert_eq!(written["device"]["hostname"], entry["who"]["host"]);
        assert_eq!(written["actor"]["user"]["uid"], entry["who"]["uid"].to_string());
        assert_eq!(written["raw_data"], line);
        assert_eq!(written["unmapped"]["data"], entry["data"]);
        // Milliseconds since 1970, as another program tells them.
        let output = Command::new("date").args(["-d", entry["time"].as_str().unwrap(), "+%s%3N"]).output().unwrap();
        assert_eq!(written["time"].to_string(), String::from_utf8(output.stdout).unwrap().trim());
        weights.push((
            entry["event"].as_str().unwrap().to_owned(),
            written["severity_id"].clone(),
            written.get("status_id").cloned(),
        ));
    }
    let weight = |event: &str| {
        let found = weights.iter().find(|(name, ..)| name == event).unwrap();
        (found.1.as_u64().unwrap(), found.2.as_ref().and_then(Value::as_u64))
    };
    assert_eq!(weight("step_intended"), (1, None));
    assert_eq!(weight("run_completed"), (1, Some(1)));
    assert_eq!(weight("step_failed"), (3, Some(2)));
    assert_eq!(weight("run_halted"), (4, Some(2)));
}

#[test]
fn the_help_of_an_export_names_its_formats_and_the_other_commands_theirs() {
    let scratch = Scratch::new();
    let help = scratch.interlock(&["audit", "export", "--help"]).stdout;
    for format in ["jsonl", "csv", "ocsf", "cloudevents"] {
        assert!(help.contains(&format!("- {format}:")), "{help}");
    }
    assert!(!help.contains("human"), "{help}");
    let help = scratch.interlock(&["audit", "show", "--help"]).stdout;
    assert!(help.contains("[possible values: human, json]"), "{help}");
    for (arguments, words) in [
        (["audit", "export", "--format", "human"], "jsonl, csv, ocsf, cloudevents"),
        (["audit", "log", "--format", "ocsf"], "human, json, csv"),
    ] {
        let ran = scratch.interlock(&arguments);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains(&format!("[possible values: {words}]")), "{}", ran.stderr);
    }
    // Before the command, the option is the one of all commands.
    let scratch = two_runs();
    let mut command = scratch.command(&["--format", "json", "audit", "export"]);
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), logged(&scratch));
    let ran = scratch.interlock(&["audit", "log", "--format", "json"]);
    assert_eq!(objects(&ran.stdout).len(), 2);
}
