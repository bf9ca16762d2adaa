//! A person at a real terminal (tmux): prompts, answers, and a terminal that goes away.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{Scratch, finish, until};

const HEAD: &str = "interlock: 1\nname: test\n";

/// A terminal in which the program runs. It goes away with its guard.
pub struct Terminal {
    socket: String,
}

impl Terminal {
    /// Runs a runbook in a new terminal; when it is over the terminal shows `EXIT=<code>`.
    pub fn run(scratch: &Scratch, runbook: &str, arguments: &str) -> Self {
        let path = scratch.write("runbook.yaml", runbook);
        Self::type_in(scratch, &format!("run {} {arguments}", path.display()))
    }

    /// The program with these arguments in a new terminal.
    pub fn type_in(scratch: &Scratch, arguments: &str) -> Self {
        // A server that is still going away is not asked.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let socket = format!("{}-{number}", scratch.path().file_name().unwrap().to_str().unwrap());
        let line = format!(
            "trap : INT; {} {arguments} --home {}; echo EXIT=$?; sleep 60",
            env!("CARGO_BIN_EXE_interlock"),
            scratch.home().display()
        );
        let terminal = Self { socket };
        terminal.tmux(&["new-session", "-d", "-x", "150", "-y", "45", "sh", "-c", &line]);
        terminal
    }

    /// A shell with job control in a new terminal.
    pub fn shell(scratch: &Scratch) -> Self {
        let socket = format!("interlock-{}", scratch.path().file_name().unwrap().to_str().unwrap());
        let terminal = Self { socket };
        terminal.tmux(&[
            "new-session",
            "-d",
            "-x",
            "150",
            "-y",
            "45",
            "env",
            "PS1=$ ",
            "bash",
            "--norc",
            "--noprofile",
            "-i",
        ]);
        terminal
    }

    pub fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    pub fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.socket, "-f", "/dev/null"]).args(arguments).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    pub fn wait_for(&self, text: &str) {
        until(&format!("`{text}` on the screen"), || self.screen().contains(text));
    }

    /// Types a line.
    pub fn type_line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.tmux(&["send-keys", "Enter"]);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).stderr(Stdio::null()).status();
    }
}

fn with_confirmation(scratch: &Scratch) -> String {
    format!(
        "{HEAD}steps:\n  - id: change\n    confirm: {{ask: Which folder is changed?, expect: /srv/pg}}\n    script: touch {0}/changed\n  - id: after\n    script: touch {0}/after\n",
        scratch.path().display()
    )
}

#[test]
fn p04_no_at_a_confirmation_halts_and_skips_nothing() {
    let scratch = Scratch::new();
    let terminal = Terminal::run(&scratch, &with_confirmation(&scratch), "");
    terminal.wait_for("Which folder is changed?");
    terminal.type_line("no");
    terminal.wait_for("EXIT=12");
    assert!(!scratch.path().join("changed").exists() && !scratch.path().join("after").exists());
    assert_eq!(scratch.last("declined")["answer"], "no");
    assert_eq!(scratch.last("run_halted")["cause"], "interrupted");
}

#[test]
fn a_reflex_does_not_confirm_and_the_expected_answer_does() {
    let scratch = Scratch::new();
    let terminal = Terminal::run(&scratch, &with_confirmation(&scratch), "");
    terminal.wait_for("Which folder is changed?");
    terminal.type_line("y");
    terminal.wait_for("That is not the answer that was asked for");
    assert!(!scratch.path().join("changed").exists());
    terminal.type_line("/srv/pg");
    terminal.wait_for("EXIT=0");
    assert!(scratch.path().join("changed").exists());
    assert_eq!(scratch.last("answered")["by"], "terminal");
}

#[test]
fn what_was_typed_before_the_question_is_no_answer() {
    let scratch = Scratch::new();
    let dir = scratch.path().display().to_string();
    let runbook = format!(
        "{HEAD}steps:\n  - id: first\n    script: |\n      echo ready\n      while ! test -e {dir}/go; do sleep 0.01; done\n  - id: tell\n    manual: Tell the on-call channel.\n"
    );
    let terminal = Terminal::run(&scratch, &runbook, "");
    terminal.wait_for("│ ready");
    terminal.type_line("done");
    scratch.write("go", "");
    terminal.wait_for("Tell the on-call channel.");
    terminal.wait_for("type `done` when it is done");
    assert!(!scratch.events().iter().any(|event| event == "answered"), "the early word was taken for an answer");
    terminal.type_line("done");
    terminal.wait_for("EXIT=0");
    assert_eq!(scratch.last("answered")["question"], "manual");
}

#[test]
fn an_interrupt_at_a_question_halts() {
    let scratch = Scratch::new();
    let terminal = Terminal::run(&scratch, &with_confirmation(&scratch), "");
    terminal.wait_for("type the answer");
    terminal.tmux(&["send-keys", "C-c"]);
    terminal.wait_for("EXIT=12");
    assert!(!scratch.path().join("changed").exists());
}

#[test]
fn step_by_step_asks_before_each_step() {
    let scratch = Scratch::new();
    let runbook = format!("{HEAD}steps:\n  - {{id: one, run: [\"true\"]}}\n  - {{id: two, run: [\"true\"]}}\n");
    let terminal = Terminal::run(&scratch, &runbook, "--step");
    terminal.wait_for("Start step `one`");
    terminal.type_line("go");
    terminal.wait_for("Start step `two`");
    terminal.type_line("no");
    terminal.wait_for("EXIT=12");
    let done = scratch.events().iter().filter(|event| *event == "step_done").count();
    assert_eq!(done, 1);
}

#[test]
fn a_step_that_failed_is_attempted_again_or_taken_back_as_the_person_says() {
    let scratch = Scratch::new();
    let dir = scratch.path().display().to_string();
    let runbook = format!(
        "{HEAD}steps:\n  - id: first\n    script: echo first >> {dir}/log\n    undo: {{script: \"echo unfirst >> {dir}/log\"}}\n  - id: second\n    script: |\n      echo second >> {dir}/log\n      exit 1\n    undo: {{script: \"echo unsecond >> {dir}/log\"}}\n"
    );
    let terminal = Terminal::run(&scratch, &runbook, "");
    terminal.wait_for("type `retry`, `undo`, `halt` or");
    terminal.type_line("yes");
    terminal.wait_for("That is not the answer that was asked for");
    terminal.type_line("retry");
    until("it was attempted again", || scratch.read("log") == "first\nsecond\nsecond\n");
    until("it asks again", || scratch.events().iter().filter(|event| *event == "step_failed").count() == 2);
    until("the question is there", || terminal.screen().matches("`accept second REASON`] >").count() >= 3);
    terminal.type_line("undo");
    terminal.wait_for("EXIT=9");
    assert_eq!(scratch.read("log"), "first\nsecond\nsecond\nunsecond\nunfirst\n");
    assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
}

#[test]
fn a_terminal_that_goes_away_lets_the_step_finish_and_halts() {
    let scratch = Scratch::new();
    let dir = scratch.path().display().to_string();
    let runbook = format!(
        "{HEAD}steps:\n  - id: first\n    script: |\n      echo ready\n      while ! test -e {dir}/go; do sleep 0.01; done\n      seq 1 1000\n      echo > {dir}/finished\n  - id: second\n    script: touch {dir}/second\n"
    );
    let terminal = Terminal::run(&scratch, &runbook, "");
    terminal.wait_for("│ ready");
    terminal.tmux(&["kill-server"]);
    until("the signal is recorded", || scratch.events().iter().any(|event| event == "signal_received"));
    scratch.write("go", "");
    until("the run is over", || scratch.events().iter().any(|event| event == "run_halted"));
    assert!(scratch.path().join("finished").exists() && !scratch.path().join("second").exists());
    assert_eq!(scratch.last("signal_received")["signal"], "SIGHUP");
}

#[test]
fn recorded_control_sequences_never_act_on_a_terminal() {
    let scratch = Scratch::new();
    let runbook = format!(
        "{HEAD}title: \"evil \\u202e title\"\nsteps:\n  - id: first\n    script: |\n      printf '\\033]0;owned\\007\\033[2J\\033[1;1HCLEARED\\n'\n      printf '\\342\\200\\256rtl\\n'\n"
    );
    let terminal = Terminal::run(&scratch, &runbook, "");
    terminal.wait_for("EXIT=0");
    let screen = terminal.screen();
    assert!(screen.contains("[1/1] first"), "the screen was not cleared:\n{screen}");
    assert!(!screen.contains('\u{202e}'), "{screen}");
    assert!(terminal.tmux(&["display-message", "-p", "#{pane_title}"]).trim() != "owned");
}

#[test]
fn a_person_who_takes_up_a_run_with_a_broken_fact_is_asked_what_to_run_again() {
    let scratch = Scratch::new();
    let dir = scratch.path().display().to_string();
    let runbook = format!(
        "{HEAD}systems: {{site: {{states: {{closed: {{file: {{path: {dir}/closed, state: present}}}}, open: {{file: {{path: {dir}/closed, state: absent}}}}}}}}}}\nsteps:\n  - id: close\n    script: echo close >> {dir}/book; touch {dir}/closed\n    ensures: [site closed]\n  - id: change\n    requires: [site closed]\n    script: echo change >> {dir}/book; while ! test -e {dir}/go; do sleep 0.01; done\n"
    );
    let path = scratch.write("runbook.yaml", &runbook);
    let child = scratch.command(&["run", path.to_str().unwrap()]).spawn().unwrap();
    until("the change runs", || scratch.read("book") == "close\nchange\n");
    std::fs::remove_file(scratch.path().join("closed")).unwrap();
    assert_eq!(finish(child).code, 8);
    scratch.write("go", "");
    let resume = format!("resume {}", scratch.the_open_run());

    let terminal = Terminal::type_in(&scratch, &resume);
    terminal.wait_for("`site closed` does not hold");
    terminal.wait_for("Run step `close` again");
    terminal.wait_for("type `again` to run it again, `leave` to go on without, or `no` to halt");
    terminal.type_line("no");
    terminal.wait_for("EXIT=6");
    drop(terminal);
    assert_eq!(scratch.read("book"), "close\nchange\n");

    let terminal = Terminal::type_in(&scratch, &resume);
    terminal.wait_for("type `again`");
    terminal.type_line("yes");
    terminal.wait_for("That is not the answer that was asked for");
    terminal.type_line("again");
    terminal.wait_for("step `change` is in doubt");
    assert_eq!(scratch.read("book"), "close\nchange\nclose\n");
    terminal.type_line("retry");
    terminal.wait_for("EXIT=0");
    assert_eq!(scratch.read("book"), "close\nchange\nclose\nchange\n");
    assert_eq!(scratch.last("rerun_began")["by"], "terminal");
    assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
}

#[test]
fn p05_at_the_failure_menu_a_step_is_accepted_by_its_id_and_with_a_reason() {
    let scratch = Scratch::new();
    let terminal = Terminal::run(
        &scratch,
        &format!("{HEAD}steps:\n  - {{id: change, run: ['false']}}\n  - {{id: after, script: touch after}}\n"),
        "",
    );
    terminal.wait_for("accept change REASON");
    terminal.type_line("accept change");
    terminal.wait_for("That is not the answer that was asked for");
    terminal.type_line("accept change done by hand");
    terminal.wait_for("EXIT=13");
    let accepted = scratch.last("override_accepted");
    assert_eq!(
        (accepted["self_approved"].as_str(), accepted["reason"].as_str()),
        (Some("terminal"), Some("done by hand"))
    );
}
