//! Reading the log at the command line: which runs there were, in which order, what fits a filter; the story of a run while it happens;
//! the output of its steps.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::support::{BOUND, Scratch, finish, until};

const HEAD: &str = "interlock: 1\n";

/// The runs of `audit log --format json` with these arguments.
fn rows(scratch: &Scratch, arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["audit", "log", "--format", "json"];
    all.extend(arguments);
    let ran = scratch.interlock(&all);
    assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids<'a>(rows: impl IntoIterator<Item = &'a Value>) -> Vec<&'a str> {
    rows.into_iter().map(|row| row["run"].as_str().unwrap()).collect()
}

/// A run of each kind: completed, refused, halted, undone, completed with a deviation, abandoned, and one whose process was killed.
fn one_of_each() -> Scratch {
    let scratch = Scratch::new();
    let there = format!(
        "systems: {{flag: {{states: {{there: {{file: {{path: {}/flag, state: present}}}}}}}}}}\n",
        scratch.path().display()
    );
    let run = |runbook: String, code: i32| {
        let ran = scratch.run(&format!("{HEAD}{runbook}"), &["--no-input"]);
        assert_eq!(ran.code, code, "{runbook}: {}", ran.stderr);
    };
    run("name: plain\nlabels: {env: production, team: mail}\nsteps:\n  - {id: one, run: [\"true\"]}\n".to_owned(), 0);
    run(
        format!(
            "name: guarded\nlabels: {{env: production}}\n{there}steps:\n  - {{id: one, run: [\"true\"], requires: [flag there]}}\n"
        ),
        3,
    );
    run("name: failing\nlabels: {env: staging}\nsteps:\n  - {id: one, run: [\"true\"]}\n  - {id: two, run: [\"false\"]}\n".to_owned(), 7);
    run(
        "name: back\non_failure: undo\nsteps:\n  - {id: one, run: [\"true\"], undo: {run: [\"true\"]}}\n  - {id: two, run: [\"false\"]}\n"
            .to_owned(),
        9,
    );
    run("name: given-up\nsteps:\n  - {id: two, run: [\"false\"]}\n".to_owned(), 7);
    let given_up = rows(&scratch, &["--last", "1"])[0]["run"].as_str().unwrap().to_owned();
    let ran = scratch.interlock(&["abandon", &given_up, "--reason", "it was a try", "--no-input"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    skipping(&scratch);
    killed(&scratch);
    scratch
}

/// A run that halts, and completes with a step skipped.
fn skipping(scratch: &Scratch) {
    let ran = scratch.run(
        &format!("{HEAD}name: skipping\nsteps:\n  - {{id: one, run: [\"true\"]}}\n  - {{id: two, run: [\"false\"]}}\n  - {{id: three, run: [\"true\"]}}\n"),
        &["--no-input"],
    );
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let run = rows(scratch, &["--last", "1"])[0]["run"].as_str().unwrap().to_owned();
    let request = scratch.path().join("request.yaml");
    let request = request.to_str().unwrap();
    let asked = scratch.interlock(&["override", &run, "--accept", "two", "--reason", "done by hand", "-o", request]);
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    let resumed = scratch.interlock(&["resume", &run, "--override", request, "--self-approve", "two", "--no-input"]);
    assert_eq!(resumed.code, 13, "{}{}", resumed.stdout, resumed.stderr);
}

/// A run that waits in its first step for a file `go`, and its process.
fn waiting(scratch: &Scratch, name: &str) -> Child {
    let go = scratch.path().join("go");
    let runbook = format!(
        "{HEAD}name: {name}\nsteps:\n  - {{id: first, script: \"touch {0}/begun; while ! test -e {1}; do sleep 0.01; done\"}}\n  - {{id: second, run: [echo, the end]}}\n",
        scratch.path().display(),
        go.display()
    );
    let path = scratch.write("waiting.yaml", &runbook);
    let child = scratch.command(&["run", path.to_str().unwrap(), "--no-input"]).spawn().unwrap();
    until("the first step begins", || scratch.path().join("begun").exists());
    std::fs::remove_file(scratch.path().join("begun")).unwrap();
    child
}

/// A run whose program was killed in its first step.
fn killed(scratch: &Scratch) {
    let mut child = waiting(scratch, "killed");
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(scratch.path().join("go"), "").unwrap();
}

#[test]
fn runs_are_listed_with_what_became_of_them_the_newest_first() {
    let scratch = one_of_each();
    let all = rows(&scratch, &[]);
    let told: Vec<(&str, &str, usize)> = all
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap();
            (text("runbook"), text("verdict"), row["deviations"].as_array().unwrap().len())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("killed", "open", 0),
            ("skipping", "completed", 1),
            ("given-up", "abandoned", 1),
            ("back", "undone", 0),
            ("failing", "halted", 0),
            ("guarded", "refused", 0),
            ("plain", "completed", 0),
        ]
    );
    assert_eq!(all[1]["deviations"][0]["accept_failed"]["step"], "two");
    assert_eq!(all[6]["labels"], serde_json::json!({"env": "production", "team": "mail"}));
    let (began, ended) = (all[6]["began"].as_str().unwrap(), all[6]["ended"].as_str().unwrap());
    assert!(began < ended && all[6]["micros"].as_u64().unwrap() > 0, "{}", all[6]);
    assert!(all[0]["ended"].is_null() && all[0]["micros"].is_null(), "{}", all[0]);

    let table = scratch.interlock(&["audit", "log"]);
    assert_eq!(table.code, 0);
    let mut lines = table.stdout.lines();
    let head = lines.next().unwrap();
    let began = |row: &Value| row["began"].as_str().unwrap()[..19].replace('T', " ");
    for (line, row) in lines.clone().zip(&all) {
        let verdict_at = head.find("verdict").unwrap();
        assert!(
            line.starts_with(row["run"].as_str().unwrap())
                && line[verdict_at..].starts_with(row["verdict"].as_str().unwrap()),
            "{line}"
        );
        assert!(line.contains(&began(row)) && line.contains(row["runbook"].as_str().unwrap()), "{line}");
    }
    assert_eq!(lines.count(), all.len());
    assert!(table.stdout.contains("(a required fact does not hold)"), "{}", table.stdout);
    assert!(table.stdout.contains("accept step `two`, which failed, as done"), "{}", table.stdout);
    assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
}

#[test]
fn a_filter_gives_what_fits_and_nothing_else() {
    let scratch = one_of_each();
    let all = rows(&scratch, &[]);
    let began: Vec<&str> = all.iter().map(|row| row["began"].as_str().unwrap()).collect();
    let user = all[0]["user"].as_str().unwrap();
    let uid = all[0]["uid"].to_string();
    let host = all[0]["host"].as_str().unwrap();
    let deviates =
        |row: &Value, kind: &str| row["deviations"].as_array().unwrap().iter().any(|made| made.get(kind).is_some());
    let verdict = |row: &Value, of: &[&str]| of.contains(&row["verdict"].as_str().unwrap());
    type Fits<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let cases: Vec<(Vec<&str>, Fits)> = vec![
        (vec!["--verdict", "completed"], Box::new(|row| verdict(row, &["completed"]))),
        (vec!["--verdict", "halted", "--verdict", "open"], Box::new(|row| verdict(row, &["halted", "open"]))),
        (vec!["--verdict", "refused"], Box::new(|row| verdict(row, &["refused"]))),
        (vec!["--verdict", "undone"], Box::new(|row| verdict(row, &["undone"]))),
        (vec!["--verdict", "abandoned"], Box::new(|row| verdict(row, &["abandoned"]))),
        (vec!["--verdict", "illegal"], Box::new(|_| false)),
        (vec!["--runbook", "failing"], Box::new(|row| row["runbook"] == "failing")),
        (vec!["--label", "env=production"], Box::new(|row| row["labels"]["env"] == "production")),
        (vec!["--label", "env=production", "--label", "team=mail"], Box::new(|row| row["labels"]["team"] == "mail")),
        (vec!["--label", "env="], Box::new(|_| false)),
        (vec!["--operator", user], Box::new(|_| true)),
        (vec!["--operator", &uid], Box::new(|_| true)),
        (vec!["--operator", "nobody-else"], Box::new(|_| false)),
        (vec!["--host", host], Box::new(|_| true)),
        (vec!["--host", "elsewhere"], Box::new(|_| false)),
        (vec!["--deviation"], Box::new(|row| row["deviations"] != serde_json::json!([]))),
        (vec!["--deviation", "accept_failed"], Box::new(|row| deviates(row, "accept_failed"))),
        (vec!["--deviation", "skip"], Box::new(|row| deviates(row, "skip"))),
        (vec!["--fact", "flag there"], Box::new(|row| row["runbook"] == "guarded")),
        (vec!["--fact", "flag gone"], Box::new(|_| false)),
        (vec!["--since", began[2]], Box::new(|row| row["began"].as_str().unwrap() >= began[2])),
        (vec!["--until", began[2]], Box::new(|row| row["began"].as_str().unwrap() <= began[2])),
        (
            vec!["--since", began[5], "--until", began[3]],
            Box::new(|row| began[3..=5].contains(&row["began"].as_str().unwrap())),
        ),
        (vec!["--since", "1h"], Box::new(|_| true)),
        (vec!["--until", "1h"], Box::new(|_| false)),
        (vec!["--until", "2020-01-01"], Box::new(|_| false)),
        (vec!["--verdict", "completed", "--runbook", "plain"], Box::new(|row| row["runbook"] == "plain")),
    ];
    for (arguments, fits) in &cases {
        let expected: Vec<&Value> = all.iter().filter(|row| fits(row)).collect();
        assert_eq!(ids(&rows(&scratch, arguments)), ids(expected.iter().copied()), "{arguments:?}");
        let mut two = arguments.clone();
        two.extend(["--last", "2"]);
        assert_eq!(ids(&rows(&scratch, &two)), ids(expected.iter().copied().take(2)), "{two:?}");
    }
    assert!(cases.iter().any(|(arguments, _)| rows(&scratch, arguments).len() == 1));
    assert_eq!(scratch.interlock(&["audit", "log", "--runbook", "no-such"]).stdout, "no run fits\n");
    for wrong in [
        ["--since", "yesterday"],
        ["--label", "env"],
        ["--verdict", "fine"],
        ["--deviation", "cheat"],
        ["--fact", "database"],
    ] {
        assert_eq!(scratch.interlock(&["audit", "log", wrong[0], wrong[1]]).code, 2, "{wrong:?}");
    }
}

#[test]
fn as_csv_it_is_read_by_others_and_is_no_formula() {
    let scratch = Scratch::new();
    let runbook = format!(
        "{HEAD}name: plain\nlabels: {{\"-1\": \"say \\\"no\\\", and\\nmore\"}}\nsteps:\n  - {{id: one, run: [\"true\"]}}\n"
    );
    let path = scratch.write("runbook.yaml", &runbook);
    let mut command = scratch.command(&["run", path.to_str().unwrap()]);
    command.env("SUDO_USER", "=HYPERLINK(\"http://example.org\")\u{1b}[2J");
    assert_eq!(finish(command.spawn().unwrap()).code, 0);
    let ran = scratch.interlock(&["audit", "log", "--format", "csv"]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stdout.ends_with("\r\n") && !ran.stdout.replace("\r\n", "").contains(['\r', '\n', '\u{1b}']),
        "{:?}",
        ran.stdout
    );
    let table = scratch.write("runs.csv", &ran.stdout);
    let program =
        "import csv, json, sys\nprint(json.dumps(list(csv.DictReader(open(sys.argv[1], newline=''), strict=True))))";
    let read = Command::new("python3").args(["-c", program]).arg(&table).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let records: Value = serde_json::from_slice(&read.stdout).unwrap();
    let records = records.as_array().unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["run"], rows(&scratch, &[])[0]["run"]);
    assert_eq!((&records[0]["verdict"], &records[0]["deviations"]), (&"completed".into(), &"0".into()));
    assert_eq!(records[0]["labels"], "'-1=say \"no\", and\\nmore");
    assert!(records[0]["operator"].as_str().unwrap().contains("sudo says =HYPERLINK(\"http://example.org\")\\x1b[2J"));
    for value in records[0].as_object().unwrap().values() {
        assert!(!value.as_str().unwrap().starts_with(['=', '+', '-', '@', '\t']), "{value}");
    }
    for other in
        [&["status", "--format", "csv"][..], &["audit", "show", "last", "--format", "csv"], &["kinds", "--format=csv"]]
    {
        let ran = scratch.interlock(other);
        assert_eq!(ran.code, 2, "{other:?}");
        assert!(ran.stderr.contains("[possible values: human, json]") && ran.stdout.is_empty(), "{}", ran.stderr);
    }
}

/// What a process says, line by line, read by a thread of its own so that no test waits for ever.
struct Said(Receiver<String>);

impl Said {
    fn of(from: impl Read + Send + 'static) -> Self {
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                if sender.send(line.unwrap() + "\n").is_err() {
                    return;
                }
            }
        });
        Self(said)
    }

    /// All lines until one has these words.
    fn wait_for(&self, words: &str) -> String {
        let mut all = String::new();
        while !all.contains(words) {
            all += &self.0.recv_timeout(BOUND).unwrap_or_else(|error| panic!("no `{words}` ({error}) in {all}"));
        }
        all
    }
}

/// `audit show` that follows.
fn following(scratch: &Scratch, arguments: &[&str]) -> Child {
    let mut all = vec!["audit", "show", "--follow"];
    all.extend(arguments);
    scratch.command(&all).spawn().unwrap()
}

#[test]
fn a_run_is_followed_until_it_is_over() {
    let scratch = Scratch::new();
    let mut run = waiting(&scratch, "followed");
    let mut show = following(&scratch, &["last", "--output"]);
    let said = Said::of(show.stdout.take().unwrap());
    let begun = said.wait_for("> script");
    assert!(begun.contains("[1/2] first") && !begun.contains("second"), "{begun}");
    assert!(show.try_wait().unwrap().is_none(), "the run is not over");
    std::fs::write(scratch.path().join("go"), "").unwrap();
    assert!(run.wait().unwrap().success());
    let rest = said.wait_for("completed: 2 steps done");
    assert!(rest.contains("[2/2] second") && rest.contains("│ the end"), "{rest}");
    assert!(show.wait().unwrap().success());
    assert!(said.0.recv().is_err(), "nothing comes after the end");
    let told = scratch.interlock(&["audit", "show", "last", "--output"]).stdout;
    assert_eq!(format!("{begun}{rest}"), told, "what was followed is what is there");
}

#[test]
fn a_run_is_followed_as_its_entries_too_and_one_that_is_over_ends_at_once() {
    let scratch = Scratch::new();
    let mut run = waiting(&scratch, "followed");
    let mut show = following(&scratch, &["last", "--format", "json"]);
    let said = Said::of(show.stdout.take().unwrap());
    said.wait_for("\"event\":\"step_intended\"");
    std::fs::write(scratch.path().join("go"), "").unwrap();
    assert!(run.wait().unwrap().success());
    said.wait_for("\"event\":\"run_completed\"");
    assert!(show.wait().unwrap().success());
    let whole = scratch.interlock(&["audit", "show", "last", "--format", "json"]).stdout;
    assert_eq!(scratch.interlock(&["audit", "show", "last", "--follow", "--format", "json"]).stdout, whole);
    let logged: Vec<Value> = scratch.entries().into_iter().filter(|entry| !entry["run"].is_null()).collect();
    let shown: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown, logged);
}

#[test]
fn who_follows_ends_when_nobody_reads_it_and_the_run_goes_on() {
    let scratch = Scratch::new();
    let mut run = waiting(&scratch, "followed");
    let mut show = following(&scratch, &["last"]);
    let mut out = BufReader::new(show.stdout.take().unwrap());
    let mut begun = String::new();
    while !begun.contains("> script") {
        assert!(out.read_line(&mut begun).unwrap() > 0, "{begun}");
    }
    // Nothing more is written while the step runs, so it is the closed pipe alone that tells.
    drop(out);
    until("who follows ends", || show.try_wait().unwrap().is_some());
    let mut said = String::new();
    show.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((show.wait().unwrap().code(), said.as_str()), (Some(0), ""));
    assert!(run.try_wait().unwrap().is_none(), "the run goes on");
    std::fs::write(scratch.path().join("go"), "").unwrap();
    assert!(run.wait().unwrap().success());
}

#[test]
fn a_run_that_died_is_followed_on_until_somebody_ends_it() {
    let scratch = Scratch::new();
    killed(&scratch);
    let mut show = following(&scratch, &["last"]);
    let (said, errors) = (Said::of(show.stdout.take().unwrap()), Said::of(show.stderr.take().unwrap()));
    said.wait_for("> script");
    errors.wait_for("nobody carries this run out now");
    let run = scratch.the_open_run();
    assert_eq!(scratch.interlock(&["abandon", &run, "--reason", "it died", "--no-input"]).code, 0);
    said.wait_for("abandoned by");
    assert!(show.wait().unwrap().success());
}

#[test]
fn the_output_of_a_step_is_shown_as_text_whatever_it_is() {
    let scratch = Scratch::new();
    let hostile = r"printf 'first\n\033[2J\033]0;title\007 \302\233 \377 \342\200\256\r\n12:00:00.000  completed: all is well\nrest'";
    let runbook = format!(
        "{HEAD}name: hostile\nsteps:\n  - id: quiet\n    run: [\"true\"]\n  - id: loud\n    script: |\n      {hostile}\n"
    );
    let ran = scratch.run(&runbook, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let shown = scratch.interlock(&["audit", "show", "last", "--step", "loud", "--output"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let output: Vec<&str> =
        shown.stdout.lines().filter_map(|line| line.split_once("│ ").map(|(_, text)| text)).collect();
    assert_eq!(
        output,
        ["first", r"\x1b[2J\x1b]0;title\x07 \u{9b} \xff \u{202e}\r", "12:00:00.000  completed: all is well", "rest",]
    );
    assert!(shown.stdout.contains("[2/2] loud") && !shown.stdout.contains("[1/2] quiet"), "{}", shown.stdout);
    assert!(!shown.stdout.contains(|c: char| c.is_control() && c != '\n'), "{:?}", shown.stdout);
    assert!(!scratch.interlock(&["audit", "show", "last"]).stdout.contains('│'), "only where it is asked for");
    let unknown = scratch.interlock(&["audit", "show", "last", "--step", "lout"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("no step `lout`; its steps are: quiet, loud"), "{}", unknown.stderr);
    assert_eq!(scratch.interlock(&["audit", "show", "last", "--output", "--format", "json"]).code, 2);
}

#[test]
fn a_transcript_that_was_altered_or_is_missing_is_said_loudly() {
    let scratch = Scratch::new();
    let ran =
        scratch.run(&format!("{HEAD}name: said\nsteps:\n  - {{id: say, run: [echo, the database is down]}}\n"), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let name = scratch.last("step_ended")["output"]["transcript"].as_str().unwrap().to_owned();
    let path = scratch.home().join(&name);
    let text = std::fs::read_to_string(&path).unwrap();
    let show = || scratch.interlock(&["audit", "show", "last", "--output"]);
    assert!(show().code == 0 && show().stdout.contains("│ the database is down\n"));

    std::fs::write(&path, text.replace("is down", "is fine")).unwrap();
    let altered = show();
    assert_eq!(altered.code, 11, "{}", altered.stdout);
    assert_eq!(
        altered.stdout.matches("! THE TRANSCRIPT WAS ALTERED: ").count(),
        2,
        "before and after: {}",
        altered.stdout
    );
    assert!(altered.stdout.contains("│ the database is fine"), "{}", altered.stdout);

    for broken in ["", "no transcript\n", text.lines().next().unwrap()] {
        std::fs::write(&path, broken).unwrap();
        let ran = show();
        assert!(ran.code == 11 && ran.stdout.contains("! THE TRANSCRIPT WAS ALTERED: "), "{broken:?}: {}", ran.stdout);
    }
    std::fs::remove_file(&path).unwrap();
    let missing = show();
    assert_eq!(missing.code, 11);
    assert!(
        missing.stdout.contains(&format!("! THE TRANSCRIPT IS MISSING: {name} is not there")),
        "{}",
        missing.stdout
    );
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    let link = show();
    assert!(
        link.code == 11 && link.stdout.contains("THE TRANSCRIPT CANNOT BE READ") && !link.stdout.contains("root:"),
        "{}",
        link.stdout
    );
    assert_eq!(scratch.interlock(&["audit", "show", "last"]).code, 0, "the story itself is whole");
}

#[test]
fn p08_a_transcript_or_plan_that_was_altered_exchanged_or_removed_is_found() {
    let scratch = Scratch::new();
    let steps =
        "steps:\n  - {id: say, run: [echo, the database is down]}\n  - {id: tell, run: [echo, the database is up]}\n";
    assert_eq!(scratch.run(&format!("{HEAD}name: said\n{steps}"), &[]).code, 0);
    let entry = scratch.last_entry("step_ended");
    let folder = scratch.home().join("runs").join(entry["run"].as_str().unwrap());
    let (plan, say, tell) = (folder.join("plan.yaml"), folder.join("say-1.cast"), folder.join("tell-1.cast"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
    let verifies = |finding: Option<&str>| {
        let ran = scratch.interlock(&["audit", "verify"]);
        let code = if finding.is_some() { 11 } else { 0 };
        assert_eq!(ran.code, code, "{finding:?}: {}", ran.stdout);
        assert!(finding.is_none_or(|finding| ran.stdout.contains(finding)), "{finding:?}: {}", ran.stdout);
        assert_eq!(scratch.interlock(&["audit", "verify", "--entries-only"]).code, 0, "the entries are whole");
        let second = Command::new("python3").arg(script).arg(scratch.home().join("audit")).output().unwrap();
        assert_eq!(second.status.code(), Some(code), "{finding:?}: {}", String::from_utf8_lossy(&second.stdout));
    };
    verifies(None);
    for (path, what) in [(&plan, "plan"), (&say, "transcript")] {
        let was = std::fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut altered = was.clone();
        *altered.iter_mut().rfind(|byte| byte.is_ascii_lowercase()).unwrap() ^= 1;
        std::fs::write(path, altered).unwrap();
        verifies(Some(&format!("{name}, was altered")));
        std::fs::write(path, &was[..was.len() / 2]).unwrap();
        verifies(Some(&format!("{name}, was altered")));
        std::fs::remove_file(path).unwrap();
        verifies(Some(&format!("{name}, is missing")));
        std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        verifies(Some(what));
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, was).unwrap();
        verifies(None);
    }
    let (one, other) = (std::fs::read(&say).unwrap(), std::fs::read(&tell).unwrap());
    std::fs::write(&say, other).unwrap();
    std::fs::write(&tell, one).unwrap();
    verifies(Some("tell-1.cast, was altered"));
    let found = scratch.interlock(&["audit", "verify", "--format", "json"]);
    let findings: Vec<Value> = found
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["severity"] == "failure")
        .collect();
    assert_eq!(findings.len(), 2, "{}", found.stdout);
    assert!(
        findings
            .iter()
            .all(|finding| finding["run"] == entry["run"] && finding["entry"].is_u64() && finding["line"].is_u64())
    );
}

#[test]
fn a_run_is_found_by_the_beginning_of_its_id() {
    let scratch = Scratch::new();
    assert_eq!(scratch.interlock(&["audit", "show", "last"]).code, 1, "there is no log");
    for _ in 0..2 {
        assert_eq!(scratch.run(&format!("{HEAD}name: plain\nsteps:\n  - {{id: one, run: [\"true\"]}}\n"), &[]).code, 0);
    }
    let all = rows(&scratch, &[]);
    let (newer, older) = (all[0]["run"].as_str().unwrap(), all[1]["run"].as_str().unwrap());
    let story = |run: &str| scratch.interlock(&["audit", "show", run]);
    assert!(story("last").stdout.starts_with(&format!("run {newer},")));
    assert!(story(older).stdout.starts_with(&format!("run {older},")));
    let both = story("0");
    assert!(both.code == 2 && both.stderr.contains(newer) && both.stderr.contains(older), "{}", both.stderr);
    let none = story("ffff");
    assert!(none.code == 2 && none.stderr.contains("`interlock audit log` lists them"), "{}", none.stderr);
}

#[test]
fn a_changed_entry_is_not_shown_as_what_happened() {
    let scratch = Scratch::new();
    for _ in 0..2 {
        assert_eq!(
            scratch.run(&format!("{HEAD}name: plain\nsteps:\n  - {{id: one, run: [\"false\"]}}\n"), &[]).code,
            7
        );
    }
    let segment = scratch.home().join("audit/0000000000000001.jsonl");
    let text = std::fs::read_to_string(&segment).unwrap();
    assert_eq!(text.matches("\"name\":\"plain\"").count() + text.matches("\"runbook\":\"plain\"").count(), 2);
    std::fs::write(&segment, text.replacen("\"runbook\":\"plain\"", "\"runbook\":\"pluin\"", 1)).unwrap();
    for arguments in [&["audit", "log"][..], &["audit", "show", "last"]] {
        let ran = scratch.interlock(arguments);
        assert_eq!(ran.code, 1, "{arguments:?}: {}", ran.stdout);
        assert!(
            ran.stderr.contains("damaged or was changed") && ran.stderr.contains("interlock audit verify"),
            "{}",
            ran.stderr
        );
        assert!(!ran.stdout.contains("pluin"), "{}", ran.stdout);
    }
}
