//! The output of a step is shown again as it came, harmlessly, and only if it is what was recorded.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::support::{Ran, Scratch, finish};
use crate::terminal::Terminal;

/// A step that writes what could do harm, with a pause in it; then one that fails.
const HOSTILE: &str = r"interlock: 1
name: hostile
steps:
  - id: writes
    script: |
      printf 'one\n\033]0;gotcha\007\033[2Jtwo\n'
      sleep 0.3
      printf '\377three \342\202\254\n'
    undo: {run: [echo, taken back]}
  - {id: silent, run: ['true'], undo: {run: ['true']}}
  - {id: fails, run: ['false'], undo: {run: ['true']}}
";
/// What of it reaches a terminal.
const SHOWN: &str = "one\n\\x1b]0;gotcha\\x07\\x1b[2Jtwo\n\\xffthree €\n";

fn halted() -> (Scratch, String) {
    let scratch = Scratch::new();
    let ran = scratch.run(HOSTILE, &[]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let run = scratch.the_open_run();
    (scratch, run)
}

fn play(scratch: &Scratch, run: &str, arguments: &[&str]) -> Ran {
    let mut all = vec!["audit", "play", run];
    all.extend(arguments);
    scratch.interlock(&all)
}

fn transcript(scratch: &Scratch, run: &str, name: &str) -> PathBuf {
    scratch.home().join("runs").join(run).join(name)
}

/// What asciinema's player writes to a terminal of its own.
fn asciinema(cast: &std::path::Path) -> String {
    let mut command = Command::new("script");
    command.args(["-qec", &format!("asciinema play -s 100 {}", cast.display()), "/dev/null"]);
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(command.spawn().unwrap());
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    ran.stdout
}

#[test]
fn what_a_step_wrote_is_played_with_its_control_sequences_as_text() {
    let (scratch, run) = halted();
    let ran = play(&scratch, &run, &["writes"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, SHOWN), "{}", ran.stderr);
    assert!(ran.stderr.contains("attempt 1 of `writes`, which ended at "), "{}", ran.stderr);
    // For programs it is the text itself.
    let ran = play(&scratch, &run, &["writes", "--format", "json"]);
    let text: String = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["output"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(text, "one\n\u{1b}]0;gotcha\u{7}\u{1b}[2Jtwo\n\u{fffd}three €\n");
}

#[test]
fn on_a_terminal_the_pauses_are_kept_made_shorter_or_left_out() {
    let (scratch, run) = halted();
    let play = |arguments: &str, end: &str| {
        let begun = Instant::now();
        let terminal = Terminal::type_in(&scratch, &format!("audit play {run} writes {arguments}"));
        terminal.wait_for(end);
        (begun.elapsed(), terminal.screen())
    };
    // The step paused for 0.3 s; at a hundredth of its speed that is half a minute, unless pauses are made shorter.
    let (took, screen) = play("", "EXIT=0");
    assert!(took.as_millis() >= 300, "{took:?}");
    assert!(screen.contains("\\x1b]0;gotcha\\x07\\x1b[2Jtwo") && screen.contains("\\xffthree €"), "{screen}");
    let (took, _) = play("--speed 0.01 --idle-limit 1ms", "EXIT=0");
    assert!(took.as_secs() < 25, "{took:?}");
    // Ctrl-C ends it, and the terminal is as it was.
    let terminal = Terminal::type_in(&scratch, &format!("audit play {run} writes --speed 0.01"));
    terminal.wait_for("gotcha");
    terminal.press("C-c");
    terminal.wait_for("EXIT=130");
    assert!(!terminal.screen().contains("three"));
}

#[test]
fn p08_a_transcript_that_was_changed_is_refused_unless_it_is_asked_for() {
    let (scratch, run) = halted();
    let path = transcript(&scratch, &run, "writes-1.cast");
    let original = std::fs::read_to_string(&path).unwrap();
    let salt = original.find("\"salt\":\"").unwrap() + 8;
    let other_salt = format!("{}{}{}", &original[..salt], "0".repeat(64), &original[salt + 64..]);
    let first = original.lines().next().unwrap();
    for changed in [
        original.replace("two", "2wo"),
        other_salt,
        // Cut off, at a line and in one; and with a gap that was none.
        format!("{first}\n"),
        original[..original.len() - 3].to_owned(),
        format!("{original}[9.000000,\"m\",\"nothing to see here\"]\n"),
        format!("{original}[9.000000,\"i\",\"x\"]\n"),
        original.replace("\"version\":2", "\"version\":3"),
        "no cast at all\n".to_owned(),
        String::new(),
    ] {
        assert_ne!(changed, original);
        std::fs::write(&path, &changed).unwrap();
        let ran = play(&scratch, &run, &["writes"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (11, ""), "{changed}{}", ran.stderr);
        assert!(ran.stderr.contains("IS NOT WHAT WAS RECORDED"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("nothing to see here"), "{}", ran.stderr);
        assert_eq!(play(&scratch, &run, &["writes", "-o", "out.cast"]).code, 11);
        assert!(!scratch.path().join("out.cast").exists());
    }
    std::fs::write(&path, original.replace("two", "2wo")).unwrap();
    let ran = play(&scratch, &run, &["writes", "--unverified"]);
    assert_eq!((ran.code, ran.stdout), (0, SHOWN.replace("two", "2wo")));
    assert!(ran.stderr.contains("warning") && ran.stderr.contains("IS NOT WHAT WAS RECORDED"), "{}", ran.stderr);
    // What is gone, and what is a link to something else, is not shown either.
    std::fs::remove_file(&path).unwrap();
    let ran = play(&scratch, &run, &["writes", "--unverified"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("IT CANNOT BE READ"), "{}", ran.stderr);
    let elsewhere = scratch.write("elsewhere", &original);
    std::os::unix::fs::symlink(elsewhere, &path).unwrap();
    assert_eq!(play(&scratch, &run, &["writes"]).code, 1);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, original).unwrap();
    assert_eq!(play(&scratch, &run, &["writes"]).code, 0);
}

#[test]
fn each_attempt_and_what_took_a_step_back_can_be_played() {
    let scratch = Scratch::new();
    let runbook = format!(
        "interlock: 1\nname: twice\nsteps:\n  - id: a\n    script: |\n      echo try >> {0}/tries\n      wc -l < {0}/tries\n      test $(wc -l < {0}/tries) = 2\n    retry: {{times: 2, every: 1ms}}\n    undo: {{run: [echo, taken back]}}\n  - {{id: b, run: ['false'], undo: {{run: ['true']}}}}\n",
        scratch.path().display()
    );
    assert_eq!(scratch.run(&runbook, &[]).code, 7);
    let run = scratch.the_open_run();
    assert_eq!(scratch.interlock(&["undo", &run]).code, 0);
    for (arguments, shown) in [
        (&["a"][..], "2\n"),
        (&["a", "--attempt", "1"], "1\n"),
        (&["a", "--attempt", "2"], "2\n"),
        (&["a", "--undo"], "taken back\n"),
        (&["b"], ""),
    ] {
        let ran = play(&scratch, &run[..23], arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, shown), "{arguments:?}: {}", ran.stderr);
    }
    assert!(play(&scratch, &run, &["b"]).stderr.contains("attempt 1 of `b` wrote nothing"));
    for (arguments, words) in [
        (&["a", "--attempt", "3"][..], "has 2 attempts, and not this one"),
        (&["c"], "is called `c`"),
        (&["a", "--speed", "0"], "from 0.01 to 1000"),
    ] {
        let ran = play(&scratch, &run, arguments);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
}

#[test]
fn the_standard_player_plays_a_transcript_and_what_is_written_for_it() {
    let (scratch, run) = halted();
    // As it is kept, it is a valid asciicast, and the player executes what is in it.
    let raw = asciinema(&transcript(&scratch, &run, "writes-1.cast"));
    assert!(raw.contains("\u{1b}]0;gotcha"), "{raw:?}");
    // As it is written for players, lines end as a terminal's and nothing is executed.
    let ran = play(&scratch, &run, &["writes", "-o", "out.cast"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let played = asciinema(&scratch.path().join("out.cast"));
    assert!(played.contains(&SHOWN.replace('\n', "\r\n")), "{played:?}");
    assert!(!played.contains("\u{1b}]0;"), "{played:?}");
    assert_eq!(play(&scratch, &run, &["writes", "-o", "out.cast"]).code, 2, "it is there already");
}
