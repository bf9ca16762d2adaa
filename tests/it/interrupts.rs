//! Ctrl-C, Ctrl-Z, the background and a new width, at a real terminal (tmux).

use std::time::{Duration, Instant};

use crate::support::{Scratch, until};
use crate::terminal::Terminal;

/// Two steps, with a fact held while the first runs. It says `ready`, writes down that it lives, and ends when there is a file `go`;
/// SIGTERM ends it unless there is a file `deaf`.
fn runbook(scratch: &Scratch) -> String {
    "interlock: 1
name: test
systems:
  flag: {states: {there: {file: {path: DIR/flag, state: present}}}}
steps:
  - id: first
    requires: [flag there]
    script: |
      test ! -e DIR/deaf || trap '' TERM
      echo ready
      while ! test -e DIR/go; do echo x >> DIR/lives; sleep 0.01; done
      echo the-last-word
  - {id: second, script: touch DIR/second}
"
    .replace("DIR", scratch.path().to_str().unwrap())
}

/// A run whose first step is running, in a terminal.
fn running() -> (Scratch, Terminal) {
    let scratch = Scratch::new();
    scratch.write("flag", "");
    let terminal = Terminal::run(&scratch, &runbook(&scratch), "");
    terminal.wait_for("│ ready");
    (scratch, terminal)
}

/// The same, interrupted: the person is asked.
fn interrupted() -> (Scratch, Terminal) {
    let (scratch, terminal) = running();
    ask(&scratch, &terminal);
    (scratch, terminal)
}

fn ask(scratch: &Scratch, terminal: &Terminal) {
    terminal.press("C-c");
    terminal.wait_for("type `stop`, `finish` or `continue`] >");
    let received = scratch.last("signal_received");
    assert_eq!((&received["signal"], &received["heed"]), (&"SIGINT".into(), &"asks".into()));
    lives(scratch);
}

/// The step goes on working.
fn lives(scratch: &Scratch) {
    let length = || scratch.read("lives").len();
    let before = length();
    until("the step goes on", || length() > before + 4);
}

fn is_over(scratch: &Scratch) {
    assert!(!scratch.path().join("second").exists(), "nothing was started after the interrupt");
    assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
}

#[test]
fn an_interrupt_asks_while_the_step_goes_on_and_stop_ends_it() {
    let (scratch, terminal) = interrupted();
    terminal.type_line("y");
    terminal.wait_for("That is not the answer that was asked for");
    lives(&scratch);
    terminal.type_line("stop");
    terminal.wait_for("EXIT=12");
    let decided = scratch.last("stop_decided");
    assert_eq!((&decided["decision"], &decided["answer"]), (&"stop".into(), &"stop".into()));
    assert_eq!(scratch.last("step_ended")["ending"], "interrupted");
    is_over(&scratch);
}

#[test]
fn the_person_who_interrupts_may_let_the_step_finish_and_the_run_halts_before_the_next() {
    let (scratch, terminal) = interrupted();
    terminal.type_line("f");
    terminal.wait_for("it may finish, then the run halts");
    lives(&scratch);
    scratch.write("go", "");
    terminal.wait_for("EXIT=12");
    assert_eq!(scratch.last("stop_decided")["decision"], "finish");
    assert_eq!(scratch.last("step_done")["step"], "first");
    is_over(&scratch);
}

#[test]
fn the_person_who_interrupts_may_let_the_run_go_on_and_what_the_step_wrote_meanwhile_is_shown() {
    let scratch = Scratch::new();
    scratch.write("flag", "");
    let loud = runbook(&scratch).replace("sleep 0.01; done", "sleep 0.01; test -e DIR/quiet || echo tick; done");
    let terminal = Terminal::run(&scratch, &loud.replace("DIR", scratch.path().to_str().unwrap()), "");
    terminal.wait_for("│ tick");
    ask(&scratch, &terminal);
    let asked = terminal.screen();
    lives(&scratch);
    assert_eq!(terminal.screen(), asked, "the step's output does not scroll the question away");
    scratch.write("quiet", "");
    terminal.type_line("c");
    terminal.wait_for("the run goes on");
    // Another time, another question.
    ask(&scratch, &terminal);
    terminal.type_line("continue");
    until("both were decided", || scratch.events().iter().filter(|event| *event == "stop_decided").count() == 2);
    scratch.write("go", "");
    terminal.wait_for("EXIT=0");
    assert!(scratch.path().join("second").exists());
    let history = terminal.tmux(&["capture-pane", "-p", "-S", "-2000"]);
    let ticks = history.lines().filter(|line| *line == "      │ tick").count();
    let written = scratch.read("lives").len() / 2;
    assert!(ticks > 4 && ticks <= written, "{ticks} of at most {written}:\n{history}");
    assert!(history.contains("      │ the-last-word"), "{history}");
}

#[test]
fn a_second_interrupt_while_the_question_stands_ends_the_step_at_once() {
    let scratch = Scratch::new();
    scratch.write("flag", "");
    scratch.write("deaf", "");
    let terminal = Terminal::run(&scratch, &runbook(&scratch), "");
    terminal.wait_for("│ ready");
    ask(&scratch, &terminal);
    let begun = Instant::now();
    terminal.press("C-c");
    terminal.wait_for("EXIT=12");
    assert!(begun.elapsed() < Duration::from_secs(8), "SIGTERM and its grace were left out");
    assert_eq!(scratch.last("step_ended")["ending"], "interrupted");
    assert!(!scratch.events().contains(&"stop_decided".to_owned()));
    is_over(&scratch);
}

#[test]
fn the_question_is_withdrawn_when_the_step_ends_and_the_run_halts_before_the_next() {
    let (scratch, terminal) = interrupted();
    scratch.write("go", "");
    terminal.wait_for("EXIT=12");
    assert_eq!(scratch.last("run_halted")["cause"], "interrupted");
    assert!(!scratch.events().contains(&"stop_decided".to_owned()));
    is_over(&scratch);
}

#[test]
fn p03_a_fact_that_breaks_while_the_question_stands_freezes_and_kills_the_step() {
    let (scratch, terminal) = interrupted();
    std::fs::remove_file(scratch.path().join("flag")).unwrap();
    // This is another question; what is typed now is the answer to it.
    terminal.wait_for("type `retry`, `undo`, `halt` or");
    assert_eq!(scratch.last("step_ended")["ending"], "stopped");
    assert!(scratch.last("hold_broken")["freeze_micros"].is_u64());
    terminal.type_line("halt");
    terminal.wait_for("EXIT=8");
    is_over(&scratch);
}

#[test]
fn sigterm_at_a_terminal_ends_the_step_without_asking() {
    let (scratch, terminal) = running();
    let pid = scratch.last_entry("step_intended")["who"]["pid"].to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    terminal.wait_for("EXIT=12");
    assert_eq!(scratch.last("signal_received")["signal"], "SIGTERM");
    assert_eq!(scratch.last("step_ended")["ending"], "interrupted");
    is_over(&scratch);
}

#[test]
fn ctrl_z_says_why_it_does_nothing_and_the_step_stays_watched() {
    let (scratch, terminal) = running();
    terminal.press("C-z");
    terminal.wait_for("Ctrl-Z does nothing here");
    lives(&scratch);
    // Also while something is asked.
    ask(&scratch, &terminal);
    terminal.press("C-z");
    until("it is said again, and what to type", || {
        let screen = terminal.screen();
        screen.matches("Ctrl-Z does nothing here").count() == 2 && screen.matches("`continue`] >").count() == 2
    });
    terminal.type_line("continue");
    terminal.wait_for("the run goes on");
    std::fs::remove_file(scratch.path().join("flag")).unwrap();
    terminal.wait_for("type `retry`, `undo`, `halt` or");
    assert_eq!(scratch.last("step_ended")["ending"], "stopped", "the watch was awake");
    terminal.type_line("halt");
    terminal.wait_for("EXIT=8");
    is_over(&scratch);
}

#[test]
fn in_the_background_the_run_goes_on_and_a_question_waits_for_the_foreground() {
    let scratch = Scratch::new();
    let dir = scratch.path().display();
    let path = scratch.write("runbook.yaml", &format!("interlock: 1\nname: test\nsteps:\n  - {{id: first, script: touch {dir}/first}}\n  - {{id: tell, manual: Tell them.}}\n"));
    let terminal = Terminal::shell(&scratch);
    let program = env!("CARGO_BIN_EXE_interlock");
    terminal.type_line("stty tostop");
    terminal.type_line(&format!("{program} run {} --home {} & echo $!", path.display(), scratch.home().display()));
    terminal.wait_for("type `done` when it is done");
    assert!(scratch.path().join("first").exists());
    let pid = scratch.last_entry("step_intended")["who"]["pid"].to_string();
    let state =
        || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().rsplit_once(") ").unwrap().1[..1].to_owned();
    // What is typed is for the shell, and neither an answer nor a reason to stop.
    terminal.type_line("echo for-the-$((6 * 7))");
    terminal.wait_for("for-the-42");
    assert_ne!(state(), "T");
    assert!(!scratch.events().iter().any(|event| event == "answered" || event == "declined"));
    terminal.type_line("fg");
    until("it is in the foreground", || {
        terminal.tmux(&["display-message", "-p", "#{pane_current_command}"]).trim() == "interlock"
    });
    terminal.type_line("done");
    until("the run is over", || scratch.events().iter().any(|event| event == "run_completed"));
}

#[test]
fn the_status_line_fits_the_terminal_as_wide_as_it_is_now() {
    let scratch = Scratch::new();
    let dir = scratch.path().display().to_string();
    let long = "a-step-whose-name-is-about-as-long-as-such-names-may-well-be";
    let runbook = format!(
        "interlock: 1\nname: test\nsteps:\n  - id: {long}\n    script: |\n      while ! test -e {dir}/go; do sleep 0.01; done\n"
    );
    let terminal = Terminal::run(&scratch, &runbook, "");
    let status =
        || terminal.screen().lines().filter(|line| line.starts_with("      … ")).map(str::to_owned).collect::<Vec<_>>();
    until("the status line is there", || status().iter().any(|line| line.ends_with(" s")));
    for width in [40_usize, 25, 100, 60] {
        terminal.tmux(&["resize-window", "-x", &width.to_string(), "-y", "45"]);
        let whole = format!("      … {long} is running ");
        until(&format!("the status line fits {width} columns"), || {
            let lines = status();
            let fits = |line: &String| {
                let room = line.chars().count() < width;
                room && (line.starts_with(&whole) || line.chars().count() == width - 1)
            };
            lines.len() == 1 && fits(&lines[0]) && !terminal.screen().lines().any(|line| line.starts_with("is running"))
        });
    }
    scratch.write("go", "");
    terminal.wait_for("EXIT=0");
    assert!(status().is_empty(), "{}", terminal.screen());
}
