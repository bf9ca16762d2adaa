//! P6: a plan's file is run as it stands, once, where and when it says, and executes what it says.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use interlock::id::Digest;

use crate::support::{Ran, Scratch, finish, until};

const HEAD: &str = "interlock: 1\nname: test\n";

impl Scratch {
    /// Writes the plan of a runbook with these steps to `plan.yaml`, bound as it would be for people to sign; `DIR` stands for the
    /// scratch folder.
    fn plan_of(&self, steps: &str, arguments: &[&str]) -> PathBuf {
        let steps = steps.replace("DIR", &self.path().display().to_string());
        let runbook = self.write("runbook.yaml", &format!("{HEAD}{steps}"));
        let mut all = vec!["plan", runbook.to_str().unwrap(), "--force", "-o", "plan.yaml"];
        all.extend(arguments);
        let ran = self.interlock(&all);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        self.path().join("plan.yaml")
    }

    /// Changes the plan's text in one place.
    fn edit(&self, from: &str, to: &str) {
        let text = self.read("plan.yaml");
        assert_eq!(text.matches(from).count(), 1, "`{from}` stands once in:\n{text}");
        self.write("plan.yaml", &text.replace(from, to));
    }

    fn run_plan(&self) -> Ran {
        self.interlock(&["run", "plan.yaml"])
    }

    /// Runs the plan, which is refused with an entry and for a reason that has these words, and starts nothing.
    fn refused(&self, words: &str) {
        let ran = self.run_plan();
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        let refused = self.last("run_refused");
        assert_eq!(refused["cause"], "not_allowed");
        assert!(refused["reason"].as_str().unwrap().contains(words), "{refused}");
        assert!(ran.stderr.contains("nothing was started") && ran.stderr.contains(words), "{}", ran.stderr);
        assert!(!self.path().join("ran").exists());
        assert_eq!(*self.events().last().unwrap(), "run_refused");
    }
}

const TOUCH: &str = "steps:\n  - {id: touch, script: touch DIR/ran}\n";

fn line<'t>(text: &'t str, key: &str) -> &'t str {
    text.lines().find(|line| line.trim_start().starts_with(key)).unwrap_or_else(|| panic!("no {key} in:\n{text}"))
}

#[test]
fn p06_a_plan_is_run_as_it_was_signed_to_the_byte() {
    let scratch = Scratch::new();
    let path = scratch.plan_of(
        "params: {word: {type: string}}\nsteps:\n  - {id: say, script: echo \"$word\" > DIR/ran}\n",
        &["-p", "word=planned"],
    );
    let signed = std::fs::read(&path).unwrap();
    // What became of the runbook since makes no difference: the plan has it all.
    scratch.write("runbook.yaml", "interlock: 1\nname: other\nsteps: [{id: a, run: [\"false\"]}]\n");
    let ran = scratch.run_plan();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(scratch.read("ran"), "planned\n");
    let opened = scratch.entries().into_iter().find(|entry| entry["event"] == "run_opened").unwrap();
    assert_eq!(opened["data"]["plan"], Digest::of(&signed).as_str());
    let kept = scratch.home().join("runs").join(opened["run"].as_str().unwrap()).join("plan.yaml");
    assert_eq!(std::fs::read(kept).unwrap(), signed);
}

#[test]
fn a_plan_is_written_new_for_all_to_read_with_its_digest() {
    let scratch = Scratch::new();
    let runbook = scratch.write("runbook.yaml", &format!("{HEAD}{}", TOUCH.replace("DIR", "/nowhere")));
    let mut command = Command::new("sh");
    let program = scratch.command(&["plan", runbook.to_str().unwrap(), "-o", "plan.yaml"]);
    command.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(program.get_program()).args(program.get_args());
    command.current_dir(scratch.path()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let ran = finish(command.spawn().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let bytes = std::fs::read(scratch.path().join("plan.yaml")).unwrap();
    assert_eq!(ran.stdout, format!("{}  plan.yaml\n", Digest::of(&bytes)));
    assert!(ran.stderr.contains("interlock run plan.yaml"), "{}", ran.stderr);
    let mode = std::fs::metadata(scratch.path().join("plan.yaml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);

    let again = scratch.interlock(&["plan", runbook.to_str().unwrap(), "-o", "plan.yaml"]);
    assert_eq!(again.code, 2, "{}", again.stderr);
    assert!(again.stderr.contains("--force"), "{}", again.stderr);
    assert_eq!(std::fs::read(scratch.path().join("plan.yaml")).unwrap(), bytes);
    let forced =
        scratch.interlock(&["plan", runbook.to_str().unwrap(), "-o", "plan.yaml", "--force", "--format", "json"]);
    assert_eq!(forced.code, 0, "{}", forced.stderr);
    let other = std::fs::read(scratch.path().join("plan.yaml")).unwrap();
    assert_ne!(other, bytes, "each plan has a nonce of its own");
    let said: serde_json::Value = serde_json::from_str(&forced.stdout).unwrap();
    assert_eq!(said["sha256"], Digest::of(&other).as_str());
    let shown = scratch.interlock(&["plan", runbook.to_str().unwrap()]);
    assert!(!shown.stdout.contains("binding"), "what is only shown is bound to nothing");
    assert_eq!(shown.stdout, scratch.interlock(&["plan", runbook.to_str().unwrap()]).stdout);
}

#[test]
fn p06_one_plan_is_for_one_run_but_a_refusal_starts_none() {
    let scratch = Scratch::new();
    scratch.plan_of(
        "systems: {flag: {states: {up: {file: {path: DIR/flag}}}}}\nsteps:\n  - {id: touch, requires: [flag up], script: touch DIR/ran}\n",
        &[],
    );
    assert_eq!(scratch.run_plan().code, 3, "the fact does not hold");
    scratch.write("flag", "");
    assert_eq!(scratch.run_plan().code, 0);
    std::fs::remove_file(scratch.path().join("ran")).unwrap();
    scratch.refused("was made by this plan already");
    // A copy is the same plan.
    std::fs::copy(scratch.path().join("plan.yaml"), scratch.path().join("copy.yaml")).unwrap();
    assert_eq!(scratch.interlock(&["run", "copy.yaml"]).code, 4);
}

#[test]
fn p06_of_many_that_run_one_plan_at_once_one_does() {
    let scratch = Scratch::new();
    scratch.plan_of(
        "steps:\n  - {id: say, script: \"echo >> DIR/ran; until test -e DIR/go; do sleep 0.02; done\"}\n",
        &[],
    );
    let children: Vec<_> = (0..6).map(|_| scratch.command(&["run", "plan.yaml"]).spawn().unwrap()).collect();
    until("all but one were refused", || {
        scratch.home().join("audit").exists()
            && scratch.events().iter().filter(|event| *event == "run_refused").count() == 5
    });
    scratch.write("go", "");
    let mut codes: Vec<i32> = children.into_iter().map(|child| finish(child).code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 4, 4, 4, 4, 4]);
    assert_eq!(scratch.read("ran"), "\n");
}

#[test]
fn p06_a_plan_for_another_machine_is_refused() {
    for key in ["host", "machine"] {
        let scratch = Scratch::new();
        scratch.plan_of(TOUCH, &[]);
        let text = scratch.read("plan.yaml");
        let line = line(&text, &format!("{key}: ")).to_owned();
        scratch.edit(&line, &format!("  {key}: another-one"));
        scratch.refused("is for `");
    }
}

#[test]
fn p06_a_plan_outside_its_window_is_refused() {
    let scratch = Scratch::new();
    scratch.plan_of(TOUCH, &["--valid-from", "2020-02-29T00:00:00Z", "--valid-for", "1d12h"]);
    assert!(scratch.read("plan.yaml").contains("valid_until: \"2020-03-01T12:00:00Z\""));
    scratch.refused("could be run until 2020-03-01T12:00:00Z");
    scratch.plan_of(TOUCH, &["--valid-from", "9000-01-01T00:00:00Z"]);
    scratch.refused("from 9000-01-01T00:00:00Z on");
    scratch.edit("9000-01-01T00:00:00Z", "9000-01-03T00:00:00Z");
    let ran = scratch.run_plan();
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("over before it begins"), "{}", ran.stderr);
}

#[test]
fn p06_a_log_that_was_rolled_back_since_the_plan_was_made_is_refused() {
    let scratch = Scratch::new();
    let copy = |from: &str, to: &str| {
        let ran = Command::new("cp").args(["-a", from, to]).current_dir(scratch.path()).status().unwrap();
        assert!(ran.success());
    };
    let other = "steps: [{id: a, run: [\"true\"]}]\n";
    assert_eq!(scratch.run(&format!("{HEAD}{other}"), &[]).code, 0);
    copy("home", "earlier");
    assert_eq!(scratch.run(&format!("{HEAD}{other}"), &[]).code, 0);
    scratch.plan_of(TOUCH, &[]);
    let log = scratch.read("plan.yaml").split_once("  log:\n").unwrap().1.to_owned();
    let entries = scratch.entries().len();
    assert!(log.starts_with(&format!("    entries: {entries}\n    digest: ")), "{log}");

    copy("home", "honest");
    std::fs::remove_dir_all(scratch.home()).unwrap();
    copy("earlier", "home");
    scratch.refused("the audit log does not go on from where the plan was made");
    // Longer than it was, and another history all the same.
    for _ in 0..2 {
        assert_eq!(scratch.run(&format!("{HEAD}{other}"), &[]).code, 0);
    }
    scratch.refused("another entry in that place");
    std::fs::remove_dir_all(scratch.home()).unwrap();
    scratch.refused("entries");

    std::fs::remove_dir_all(scratch.home()).unwrap();
    copy("honest", "home");
    assert_eq!(scratch.run(&format!("{HEAD}{other}"), &[]).code, 0, "the log goes on");
    let ran = scratch.run_plan();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn p06_what_is_another_program_at_the_opening_already_is_refused() {
    let scratch = Scratch::new();
    scratch.copy_program("/bin/sh", "shell");
    let script = format!("#!{}\nexit 0\n", scratch.path().join("shell").display());
    let steps = "steps:\n  - id: touch\n    script: touch DIR/ran\n    undo: {run: [DIR/undo]}\n  - {id: use, run: [DIR/tool], undo: {run: [\"true\"]}}\n";
    for (name, text) in [("tool", "#!/bin/sh\nexit 1\n"), ("undo", "#!/bin/sh\nexit 1\n"), ("shell", "x")] {
        scratch.script("tool", &script);
        scratch.script("undo", "#!/bin/sh\n");
        scratch.copy_program("/bin/sh", "shell");
        scratch.plan_of(steps, &[]);
        let planned = Digest::of(&std::fs::read(scratch.path().join(name)).unwrap());
        scratch.script(name, text);
        scratch.refused(&format!("/{name}` was {planned}, and is {}", Digest::of(text.as_bytes())));
    }
    scratch.script("undo", "#!/bin/sh\n");
    scratch.copy_program("/bin/sh", "shell");
    scratch.plan_of(steps, &[]);
    std::fs::remove_file(scratch.path().join("tool")).unwrap();
    scratch.refused("and is absent");
}

#[test]
fn p06_a_program_that_is_swapped_after_the_opening_is_not_executed() {
    let scratch = Scratch::new();
    let path = scratch.script("tool", "#!/bin/sh\n");
    scratch.plan_of(
        "steps:\n  - {id: wait, script: \"touch DIR/began; until test -e DIR/go; do sleep 0.02; done\"}\n  - {id: use, run: [DIR/tool]}\n",
        &[],
    );
    let child = scratch.command(&["run", "plan.yaml"]).spawn().unwrap();
    until("the first step runs", || scratch.path().join("began").exists());
    std::fs::write(&path, format!("#!/bin/sh\ntouch {}/ran\n", scratch.path().display())).unwrap();
    scratch.write("go", "");
    let ran = finish(child);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(!scratch.path().join("ran").exists());
    assert!(ran.stderr.contains("is not what was planned: in the plan it has SHA-256"), "{}", ran.stderr);
}

#[test]
fn p06_a_plan_is_taken_only_as_it_was_written() {
    let scratch = Scratch::new();
    let path = scratch.plan_of(
        "systems: {flag: {states: {up: {file: {path: DIR/flag}}, down: {file: {path: DIR/flag, state: absent}}}}}\nsteps:\n  - {id: touch, requires: [flag up], script: touch DIR/ran}\n",
        &[],
    );
    let good = std::fs::read_to_string(&path).unwrap();
    let refused = |text: &str, words: &str| {
        scratch.write("plan.yaml", text);
        let ran = scratch.run_plan();
        assert_eq!(ran.code, 2, "{text}\n{}", ran.stderr);
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    };
    refused(&format!("# reviewed\n{good}"), "not as this program writes a plan");
    refused(&good.replace("  host: ", "  host:   "), "not as this program writes a plan");
    refused(&good.replace("flag up", "flag gone"), "there is no such system or state");
    refused(&good.replace("interlock_plan: 1\n", "interlock_plan: 2\n"), "version 2");
    refused(&format!("{good}extra: 1\n"), "not a plan that this program wrote");
    let programs = good.find("programs:\n").unwrap()..good.find("runbook:\n").unwrap();
    refused(
        &[&good[..programs.start], &good[programs.end..]].concat(),
        "does not say which program step `touch` executes",
    );
    let binding = good.find("binding:\n").unwrap()..good.find("source:").unwrap();
    refused(&[&good[..binding.start], &good[binding.end..]].concat(), "bound to nothing");
    scratch.write("plan.yaml", &good);
    for arguments in [["-p", "a=b"], ["--params", "runbook.yaml"]] {
        let ran = scratch.interlock(&["run", "plan.yaml", arguments[0], arguments[1]]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("is a plan: its parameters have their values"), "{}", ran.stderr);
    }
    assert!(!scratch.home().exists(), "nothing was recorded, since nothing was asked of a run");
}

#[test]
fn p06_what_could_deceive_a_reader_of_a_plan_is_shown_and_never_rendered() {
    let scratch = Scratch::new();
    let trick = r#""a\e[2Jb\u202ec\u200bd\u0001e\x85f\uFEFFg\u2028h\U000E0041i\u0430j""#;
    scratch.plan_of(
        &format!("title: {trick}\nlabels: {{l: {trick}}}\nsteps:\n  - id: say\n    title: {trick}\n    note: {trick}\n    run: [printf, {trick}]\n    env: {{V: {trick}}}\n    cwd: DIR\n"),
        &[],
    );
    let shown = scratch.interlock(&["plan", "runbook.yaml"]);
    let is_trick = |c: char| {
        c != '\n'
            && (c.is_control() || ['\u{202e}', '\u{200b}', '\u{feff}', '\u{2028}', '\u{e0041}', '\u{430}'].contains(&c))
    };
    for text in [scratch.read("plan.yaml"), shown.stdout] {
        assert!(!text.contains(is_trick), "{text:?}");
        let escaped = r"a\x1b[2Jb\u202ec\u200bd\x01e\x85f\ufeffg\u2028h\U000e0041i\u0430j";
        assert_eq!(text.matches(escaped).count(), 6, "{text}");
    }
    // And yet it is the very text that is used.
    let ran = scratch.run_plan();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let raw = "a\u{1b}[2Jb\u{202e}c\u{200b}d\u{1}e\u{85}f\u{feff}g\u{2028}h\u{e0041}i\u{430}j";
    assert_eq!(scratch.last("run_opened")["title"], raw);
    assert_eq!(scratch.last("step_ended")["output"]["bytes"], raw.len());
    assert!(!ran.stderr.contains(|c| c != '\u{430}' && is_trick(c)), "{:?}", ran.stderr);
}

#[test]
fn p06_after_its_window_a_run_is_only_taken_back() {
    let scratch = Scratch::new();
    scratch.plan_of(
        "steps:\n  - {id: touch, run: [\"true\"], undo: {script: touch DIR/undone}}\n  - {id: fail, script: test -e DIR/go, undo: {run: [\"true\"]}}\n",
        &["--valid-for", "2s"],
    );
    assert_eq!(scratch.run_plan().code, 7);
    let run = scratch.the_open_run();
    scratch.write("go", "");
    let over = line(&scratch.read("plan.yaml"), "valid_until").split('"').nth(1).unwrap().to_owned();
    until("the window is over", || chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string() >= over);
    let ran = scratch.interlock(&["resume", &run]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("interlock undo {run}")), "{}", ran.stderr);
    let ran = scratch.interlock(&["undo", &run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(scratch.path().join("undone").exists());
}

#[test]
fn a_plan_that_could_not_be_read_again_is_neither_written_nor_run() {
    let scratch = Scratch::new();
    // Within what the checker allows, but letters that look like others are written as escapes.
    let words = "{{ word }}".repeat(30);
    let steps: String = (0..60).map(|at| format!("  - {{id: s{at}, run: [touch, DIR/ran, \"{words}\"]}}\n")).collect();
    let steps = steps.replace("DIR", &scratch.path().display().to_string());
    scratch.write(
        "runbook.yaml",
        &format!("{HEAD}params: {{word: {{type: string, default: {}}}}}\nsteps:\n{steps}", "\u{430}".repeat(2000)),
    );
    for arguments in [&["plan", "runbook.yaml", "-o", "plan.yaml"][..], &["run", "runbook.yaml"]] {
        let ran = scratch.interlock(arguments);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        let words = "runbook.yaml: this plan is too large: it is longer than 16 MiB; make runbooks of fewer steps";
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
    assert!(!scratch.path().join("plan.yaml").exists() && !scratch.path().join("ran").exists());
}
