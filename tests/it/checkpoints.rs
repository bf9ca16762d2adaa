//! P8: what a chain cannot tell, a signed checkpoint does: that the log was cut, rolled back or made anew.

use std::path::PathBuf;

use interlock::id::Digest;

use crate::support::{Ran, Scratch};

const RUNBOOK: &str = "interlock: 1\nname: one\nsteps:\n  - {id: a, run: ['true'], undo: {run: ['true']}}\n";

struct Case(Scratch);

impl Case {
    /// A log of so many runs.
    fn new(runs: usize) -> Self {
        let case = Self(Scratch::new());
        for _ in 0..runs {
            case.run_again();
        }
        case
    }

    fn run_again(&self) {
        let ran = self.0.run(RUNBOOK, &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(!ran.stderr.contains("warning: no checkpoint"), "{}", ran.stderr);
    }

    /// Keeps a checkpoint of the log as it is elsewhere.
    fn keep(&self, name: &str) -> String {
        let made = self.0.interlock(&["audit", "checkpoint"]);
        assert_eq!(made.code, 0, "{}", made.stderr);
        self.0.write(name, &made.stdout).display().to_string()
    }

    fn segment(&self) -> PathBuf {
        self.0.home().join("audit/0000000000000001.jsonl")
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.segment()).unwrap();
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Puts these lines in the place of those that are there, with the room behind them.
    fn put(&self, lines: &[String]) {
        let room = std::fs::metadata(self.segment()).unwrap().len() as usize;
        let mut bytes = lines.join("\n").into_bytes();
        bytes.resize(room, b'\n');
        std::fs::write(self.segment(), bytes).unwrap();
    }

    /// The lines with their chain made anew, as somebody would who has changed one.
    fn chained(lines: &[String]) -> Vec<String> {
        let mut chained: Vec<String> = Vec::new();
        for line in lines {
            let line = match chained.last() {
                Some(last) => {
                    let start = line.rfind("\"prev\":\"").unwrap() + 8;
                    format!("{}{}{}", &line[..start], Digest::of(last.as_bytes()), &line[start + 64..])
                }
                None => line.clone(),
            };
            chained.push(line);
        }
        chained
    }

    /// Removes the checkpoints beside the log and what is known of its tree.
    fn forget(&self) {
        for entry in std::fs::read_dir(self.0.home().join("audit")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "checkpoint") {
                std::fs::remove_file(path).unwrap();
            }
        }
        let _ = std::fs::remove_file(self.0.home().join("tree.cache"));
    }

    fn verify(&self, checkpoints: &[&str]) -> Ran {
        let mut arguments = vec!["audit", "verify"];
        for checkpoint in checkpoints {
            arguments.extend(["--checkpoint", checkpoint]);
        }
        self.0.interlock(&arguments)
    }

    /// What the second verifier says, which was written from the format's document.
    #[track_caller]
    fn is_seen_alike(&self, checkpoints: &[&str], code: i32) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
        let ran = std::process::Command::new("python3")
            .arg(script)
            .arg(self.0.home().join("audit"))
            .args(checkpoints)
            .output();
        let ran = ran.expect("python3 is there");
        let said = [ran.stdout, ran.stderr].concat();
        assert_eq!(ran.status.code(), Some(code), "{}", String::from_utf8_lossy(&said));
    }

    #[track_caller]
    fn verifies(&self, checkpoints: &[&str]) {
        let ran = self.verify(checkpoints);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        self.is_seen_alike(checkpoints, 0);
    }

    #[track_caller]
    fn is_found(&self, checkpoints: &[&str], words: &str) {
        let ran = self.verify(checkpoints);
        assert_eq!(ran.code, 11, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(words), "{}", ran.stdout);
        self.is_seen_alike(checkpoints, 11);
    }
}

#[test]
fn p08_an_end_that_was_cut_off_is_found_against_a_checkpoint() {
    let case = Case::new(2);
    let kept = case.keep("kept");
    case.verifies(&[&kept]);
    let lines = case.lines();
    for count in 2..lines.len() {
        case.put(&lines[..count]);
        case.is_found(&[&kept], &format!("there were {} entries", lines.len()));
        case.is_found(&[], "the end was cut off");
    }
    case.forget();
    // Without any checkpoint nothing can tell, and the report says that.
    let last_run = lines.iter().rposition(|line| line.contains("\"run_opened\"")).unwrap();
    case.put(&lines[..last_run]);
    let ran = case.verify(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(ran.stdout.contains("nothing that was kept elsewhere anchors entries 1 to"), "{}", ran.stdout);
    case.is_found(&[&kept], "the end was cut off");
}

#[test]
fn p08_a_log_made_anew_is_found_against_a_checkpoint() {
    let case = Case::new(2);
    let kept = case.keep("kept");
    let lines = case.lines();
    let changed: Vec<String> = lines.iter().map(|line| line.replace("\"one\"", "\"two\"")).collect();
    assert_ne!(changed, lines);
    case.put(&Case::chained(&changed));
    // The chain is whole; the checkpoint that lies beside it was not signed for this.
    case.is_found(&[], "are not those that were there when this checkpoint was signed");
    case.forget();
    case.verifies(&[]);
    case.is_found(&[&kept], "are not those that were there when this checkpoint was signed");
    // Whoever has the key signs anew. What was kept elsewhere still tells.
    let anew = case.keep("anew");
    case.verifies(&[&anew]);
    case.is_found(&[&kept], "the log was made anew");
}

#[test]
fn p08_a_home_that_was_rolled_back_is_found_against_a_later_checkpoint() {
    let case = Case::new(1);
    let old = case.0.path().join("old");
    let copied = std::process::Command::new("cp").arg("-a").arg(case.0.home()).arg(&old).status().unwrap();
    assert!(copied.success());
    case.run_again();
    let kept = case.keep("kept");
    std::fs::remove_dir_all(case.0.home()).unwrap();
    std::fs::rename(&old, case.0.home()).unwrap();
    case.verifies(&[]);
    case.is_found(&[&kept], "the end was cut off");
}

#[test]
fn p08_an_older_checkpoint_holds_while_the_log_grows() {
    let case = Case::new(1);
    let old = case.keep("old");
    for _ in 0..3 {
        case.run_again();
    }
    case.verifies(&[&old]);
    let entries = case.lines().len();
    let ran = case.verify(&[&old]);
    assert!(
        ran.stdout.contains(&format!("entries 1 to {entries} are those of a checkpoint beside the log")),
        "{}",
        ran.stdout
    );
}

#[test]
fn p08_a_checkpoint_of_another_log_or_with_a_changed_byte_is_not_believed() {
    let (case, other) = (Case::new(1), Case::new(1));
    let theirs = other.keep("theirs");
    case.is_found(&[&theirs], "no key is known that signed it");
    let kept = case.keep("kept");
    let note = std::fs::read_to_string(&kept).unwrap();
    let size = note.lines().nth(1).unwrap();
    for (from, to) in [(format!("\n{size}\n"), "\n1\n"), ("interlock/".to_owned(), "interlock-/")] {
        let changed = note.replace(&from, to);
        assert_ne!(changed, note, "{note}");
        case.0.write("changed", &changed);
        let changed = case.0.path().join("changed").display().to_string();
        assert_eq!(case.verify(&[&changed]).code, 11);
    }
}

#[test]
fn a_cache_that_lies_is_not_believed() {
    let case = Case::new(2);
    let before = case.keep("before");
    let before = std::fs::read_to_string(before).unwrap();
    let cache = case.0.home().join("tree.cache");
    let text = std::fs::read_to_string(&cache).unwrap();
    for lie in [
        text.replace("\"parts\":[[", "\"parts\":[[0,").replace(",0]", "]"),
        text.replace("\"offset\":", "\"offset\":1"),
        "{}".to_owned(),
        String::new(),
    ] {
        std::fs::write(&cache, lie).unwrap();
        let made = case.0.interlock(&["audit", "checkpoint"]);
        assert_eq!((made.code, made.stdout.as_str()), (0, before.as_str()), "{}", made.stderr);
    }
    case.verifies(&[]);
}

#[test]
fn a_key_that_others_can_read_is_not_used_and_the_run_is_not_the_worse_for_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let case = Case::new(1);
    let key = case.0.home().join("keys/log.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = case.0.run(RUNBOOK, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("warning: no checkpoint of the audit log was made"), "{}", ran.stderr);
    assert!(ran.stderr.trim_end().lines().last().unwrap().starts_with("interlock: completed"), "{}", ran.stderr);
    assert_eq!(case.0.interlock(&["audit", "checkpoint"]).code, 1);
}
