//! P6, for programs and scripts: what a step executes is what the plan says, on real files.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Ran, Scratch};

const HEAD: &str = "interlock: 1\nname: test\n";

impl Scratch {
    /// A program below the scratch folder, as a script.
    fn program(&self, name: &str, text: &str) -> String {
        self.script(name, text).display().to_string()
    }

    fn sha256(&self, name: &str) -> String {
        interlock::id::Digest::of(&std::fs::read(self.path().join(name)).unwrap()).to_string()
    }

    /// Runs these steps; `DIR` stands for the scratch folder.
    fn steps(&self, steps: &str, arguments: &[&str]) -> Ran {
        let steps = steps.replace("DIR", &self.path().display().to_string());
        self.run(&format!("{HEAD}{steps}"), arguments)
    }
}

/// Why the last step was not started.
fn not_started(scratch: &Scratch) -> String {
    let ended = scratch.last("step_ended");
    ended["ending"]["not_started"]["reason"].as_str().unwrap_or_else(|| panic!("{ended}")).to_owned()
}

const SWAP: &str = "steps:\n  - id: swap\n    script: printf '#!/bin/sh\\ntouch DIR/evil\\n' > DIR/tool\n  - id: use\n    run: [DIR/tool]\n";

#[test]
fn p06_a_program_that_was_swapped_after_the_plan_was_made_is_not_executed() {
    let scratch = Scratch::new();
    scratch.program("tool", "#!/bin/sh\ntouch good\n");
    let planned = scratch.sha256("tool");
    let ran = scratch.steps(SWAP, &[]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(!scratch.path().join("evil").exists());
    let reason = not_started(&scratch);
    assert!(reason.contains(&format!("in the plan it has SHA-256 {planned}")), "{reason}");
    assert!(reason.contains(&format!("now it has {}", scratch.sha256("tool"))), "{reason}");
    assert!(reason.contains("make a new plan"), "{reason}");
    assert!(ran.stderr.contains("is not what was planned"), "{}", ran.stderr);
}

#[test]
fn p06_the_same_bytes_under_the_name_are_the_same_program() {
    let scratch = Scratch::new();
    scratch.program("tool", "#!/bin/sh\ntouch \"${0%/*}/good\"\n");
    let ran = scratch.steps(
        "steps:\n  - id: copy\n    script: cp -p DIR/tool DIR/new; mv DIR/new DIR/tool\n  - id: use\n    run: [DIR/tool]\n",
        &[],
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(scratch.path().join("good").exists());
}

#[test]
fn p06_a_name_that_leads_to_another_file_than_in_the_plan_is_not_executed() {
    let scratch = Scratch::new();
    for folder in ["first", "second"] {
        std::fs::create_dir(scratch.path().join(folder)).unwrap();
    }
    scratch.program("second/tool", "#!/bin/sh\n");
    let ran = scratch.steps(
        "steps:\n  - id: shadow\n    script: cp -p DIR/second/tool DIR/first/tool\n  - id: use\n    run: [tool]\n    env: {PATH: DIR/first:DIR/second}\n",
        &[],
    );
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let reason = not_started(&scratch);
    assert!(reason.contains("second/tool` is executed, and now it would be"), "{reason}");
}

#[test]
fn p06_an_interpreter_that_was_swapped_is_not_executed() {
    let scratch = Scratch::new();
    let shell = scratch.copy_program("/bin/sh", "shell");
    scratch.program("tool", &format!("#! {} -e\ntouch \"${{0%/*}}/good\"\n", shell.display()));
    let planned = scratch.sha256("shell");
    let fine = scratch.steps("steps:\n  - {id: use, run: [DIR/tool]}\n", &[]);
    assert_eq!(fine.code, 0, "{}", fine.stderr);
    let program = scratch.last("step_intended")["program"].clone();
    assert_eq!(program["interpreter"]["path"], shell.display().to_string());
    assert_eq!(program["interpreter"]["digest"], planned);

    let ran = scratch
        .steps("steps:\n  - id: swap\n    script: printf x >> DIR/shell\n  - id: use\n    run: [DIR/tool]\n", &[]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let reason = not_started(&scratch);
    assert!(reason.contains("/shell` is not what was planned") && reason.contains(&planned), "{reason}");
}

#[test]
fn p06_an_interpreter_that_others_could_exchange_is_not_executed() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path().join("open")).unwrap();
    scratch.copy_program("/bin/sh", "open/shell");
    let open = scratch.path().join("open");
    let set_mode = |mode| std::fs::set_permissions(&open, std::fs::Permissions::from_mode(mode)).unwrap();
    scratch.program("tool", &format!("#!{}/shell\ntouch ran\n", open.display()));
    let steps = format!("steps:\n  - {{id: use, run: [DIR/tool], cwd: {}}}\n", scratch.path().display());
    set_mode(0o777);
    let ran = scratch.steps(&steps, &[]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let reason = not_started(&scratch);
    let words = format!("others could put another in its place: `{}` can be written by others", open.display());
    assert!(reason.contains(&words) && reason.contains(&format!("`chmod go-w {}`", open.display())), "{reason}");
    assert!(ran.stderr.contains(&words), "{}", ran.stderr);
    assert!(!scratch.path().join("ran").exists());

    set_mode(0o755);
    let ran = scratch.steps(&steps, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(scratch.path().join("ran").exists());
}

#[test]
fn p06_a_program_that_was_not_there_is_not_executed_unless_a_step_says_that_it_makes_it() {
    let make =
        "steps:\n  - id: make\n    script: printf '#!/bin/sh\\ntouch DIR/made\\n' > DIR/tool; chmod 755 DIR/tool\n";
    let use_it = "  - id: use\n    run: [DIR/tool]\n";
    let scratch = Scratch::new();
    let ran = scratch.steps(&format!("{make}{use_it}"), &[]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(not_started(&scratch).contains("when the plan was made it was not there"), "{}", ran.stderr);
    assert!(!scratch.path().join("made").exists());

    let scratch = Scratch::new();
    let ran = scratch.steps(&format!("{make}    replaces: [DIR/./tool]\n{use_it}"), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(scratch.path().join("made").exists());
}

#[test]
fn p06_a_replaced_program_is_checked_against_what_it_was_when_its_step_was_done() {
    let replace = "steps:\n  - id: install\n    script: printf '#!/bin/sh\\ntouch DIR/good\\n' > DIR/tool\n    replaces: [DIR/tool]\n";
    let scratch = Scratch::new();
    scratch.program("tool", "#!/bin/sh\n");
    let ran = scratch.steps(&format!("{replace}  - id: use\n    run: [DIR/tool]\n"), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(scratch.path().join("good").exists());
    let entries = scratch.entries();
    let done =
        entries.iter().find(|entry| entry["event"] == "step_done" && entry["data"]["step"] == "install").unwrap();
    let path = scratch.path().join("tool").display().to_string();
    assert_eq!(done["data"]["replaced"][&path], scratch.sha256("tool"));

    let scratch = Scratch::new();
    scratch.program("tool", "#!/bin/sh\n");
    let swap = "  - id: swap\n    script: printf '#!/bin/sh\\ntouch DIR/evil\\n' > DIR/tool\n";
    let ran = scratch.steps(&format!("{replace}{swap}  - id: use\n    run: [DIR/tool]\n"), &[]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(!scratch.path().join("evil").exists());
    let reason = not_started(&scratch);
    assert!(reason.contains("when step `install`, which replaces it, was done it had SHA-256"), "{reason}");
}

#[test]
fn p06_a_resumed_run_knows_from_the_log_what_was_replaced() {
    let scratch = Scratch::new();
    scratch.program("tool", "#!/bin/sh\nexit 1\n");
    let ran = scratch.steps(
        "steps:\n  - id: install\n    script: printf '#!/bin/sh\\ntouch DIR/good\\n' > DIR/tool\n    replaces: [DIR/tool]\n  - id: wait\n    script: test -e DIR/go\n  - id: use\n    run: [DIR/tool]\n",
        &[],
    );
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let run = scratch.the_open_run();
    scratch.write("go", "");
    let ran = scratch.interlock(&["resume", &run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(scratch.path().join("good").exists());
}

#[test]
fn p06_what_a_step_that_is_run_again_replaces_is_what_counts_then() {
    let scratch = Scratch::new();
    scratch.program("tool", "#!/bin/sh\nexit 1\n");
    let ran = scratch.steps(
        "systems: {flag: {states: {up: {file: {path: DIR/flag}}}}}\nsteps:\n  - id: install\n    script: |\n      echo >> DIR/count\n      printf '#!/bin/sh\\necho %s > DIR/used\\n' \"$(wc -l < DIR/count)\" > DIR/tool\n      touch DIR/flag\n    replaces: [DIR/tool]\n    ensures: [flag up]\n  - id: hold\n    requires: [flag up]\n    script: test -e DIR/second || { touch DIR/second; rm DIR/flag; sleep 60; }\n  - id: use\n    run: [DIR/tool]\n",
        &[],
    );
    assert_eq!(ran.code, 8, "{}", ran.stderr);
    let run = scratch.the_open_run();
    let ran = scratch.interlock(&["resume", &run, "--rerun", "install", "--decide", "hold=retry"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(scratch.read("used"), "2\n");
}

#[test]
fn p06_an_undo_that_was_swapped_is_not_executed() {
    let scratch = Scratch::new();
    scratch.program("tool", "#!/bin/sh\n");
    let ran = scratch.steps(
        "on_failure: undo\nsteps:\n  - id: change\n    run: [\"true\"]\n    undo: {run: [DIR/tool]}\n  - id: swap\n    script: printf '#!/bin/sh\\ntouch DIR/evil\\n' > DIR/tool; exit 1\n    undo: {run: [\"true\"]}\n",
        &[],
    );
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    assert!(!scratch.path().join("evil").exists());
    assert!(not_started(&scratch).contains("in the plan it has SHA-256"));
}

#[test]
fn p06_after_the_undo_of_a_step_that_replaces_a_program_the_plan_counts_again() {
    let steps = |undo: &str| {
        format!(
            "on_failure: undo\nsteps:\n  - id: change\n    run: [\"true\"]\n    undo: {{run: [DIR/tool]}}\n  - id: install\n    script: cp DIR/tool DIR/old; printf '#!/bin/sh\\ntouch DIR/evil\\n' > DIR/tool\n    replaces: [DIR/tool]\n    undo: {{run: [{undo}]}}\n  - id: fail\n    run: [\"false\"]\n    undo: {{run: [\"true\"]}}\n"
        )
    };
    let scratch = Scratch::new();
    scratch.program("tool", "#!/bin/sh\ntouch \"${0%/*}/undone\"\n");
    let ran = scratch.steps(&steps("cp, DIR/old, DIR/tool"), &[]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert!(scratch.path().join("undone").exists());

    let scratch = Scratch::new();
    scratch.program("tool", "#!/bin/sh\n");
    let ran = scratch.steps(&steps("\"true\""), &[]);
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    assert!(!scratch.path().join("evil").exists(), "what the undo should have taken back is not executed");
}

#[test]
fn check_warns_of_a_program_that_is_replaced_and_that_nothing_executes() {
    let scratch = Scratch::new();
    let path = scratch.write(
        "runbook.yaml",
        &format!("{HEAD}steps:\n  - {{id: a, run: [\"true\"], replaces: [/opt/b]}}\n  - {{id: b, run: [c]}}\n"),
    );
    let ran = scratch.interlock(&["check", path.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("W0505") && ran.stderr.contains("no later step executes `/opt/b`"), "{}", ran.stderr);
}
