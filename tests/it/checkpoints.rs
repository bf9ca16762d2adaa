//! P8: what a chain cannot tell, a signed checkpoint does: that the log was cut, rolled back or made anew.

use std::path::PathBuf;

use interlock::id::Digest;

use crate::support::{Ran, Scratch};

const RUNBOOK: &str = "interlock: 1\nname: one\nsteps:\n  - {id: a, run: ['true'], undo: {run: ['true']}}\n";

fn segment(scratch: &Scratch) -> PathBuf {
    scratch.home().join("audit/0000000000000001.jsonl")
}

/// The lines of a log of one segment.
pub fn lines(scratch: &Scratch) -> Vec<String> {
    let text = std::fs::read_to_string(segment(scratch)).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Puts these lines in the place of those that are there, with the room behind them.
pub fn put(scratch: &Scratch, lines: &[String]) {
    let room = std::fs::metadata(segment(scratch)).unwrap().len() as usize;
    let mut bytes = lines.join("\n").into_bytes();
    bytes.resize(room, b'\n');
    std::fs::write(segment(scratch), bytes).unwrap();
}

/// The lines with their chain made anew, as somebody would who has changed one.
pub fn chained(lines: &[String]) -> Vec<String> {
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
pub fn forget(scratch: &Scratch) {
    for entry in std::fs::read_dir(scratch.home().join("audit")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "checkpoint") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let _ = std::fs::remove_file(scratch.home().join("tree.cache"));
}

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

    /// Runs where no checkpoint may be signed: it is said, and the run is not the worse for it.
    #[track_caller]
    fn run_unsigned(&self, words: &str) {
        let ran = self.0.run(RUNBOOK, &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let warning = ran.stderr.lines().find(|line| line.contains("warning: no checkpoint of the audit log was made"));
        let warning = warning.unwrap_or_else(|| panic!("no warning: {}", ran.stderr));
        assert!(warning.contains(words) && warning.contains("`interlock audit verify`"), "{warning}");
    }

    fn audit(&self) -> PathBuf {
        self.0.home().join("audit")
    }

    /// The names of the checkpoints beside the log.
    fn beside(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.audit()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(".checkpoint"));
        names.sort();
        names
    }

    /// Keeps a checkpoint of the log as it is elsewhere.
    fn keep(&self, name: &str) -> String {
        let made = self.0.interlock(&["audit", "checkpoint"]);
        assert_eq!(made.code, 0, "{}", made.stderr);
        self.0.write(name, &made.stdout).display().to_string()
    }

    fn lines(&self) -> Vec<String> {
        lines(&self.0)
    }

    fn put(&self, lines: &[String]) {
        put(&self.0, lines);
    }

    fn forget(&self) {
        forget(&self.0);
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
    case.put(&chained(&changed));
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

#[test]
fn p08_nothing_is_signed_over_a_log_that_was_cut_and_the_cut_is_still_found_after_many_runs() {
    let case = Case::new(3);
    let lines = case.lines();
    let whole = lines.len();
    let last_run = lines.iter().rposition(|line| line.contains("\"run_opened\"")).unwrap();
    case.put(&lines[..last_run]);
    let beside = case.beside();
    case.run_unsigned(&format!("says that entries 1 to {whole} were others than they are now"));
    for _ in 1..9 {
        case.run_unsigned("were others than they are now");
    }
    assert_eq!(case.beside(), beside, "the evidence is still there");
    assert_eq!(case.0.interlock(&["audit", "checkpoint"]).code, 1);
    case.is_found(&[], "are not those that were there when this checkpoint was signed");
}

#[test]
fn p08_nothing_is_signed_over_a_log_that_was_rolled_back_and_that_is_still_found_after_many_runs() {
    let case = Case::new(1);
    let (old, cache) = (case.lines(), case.0.home().join("tree.cache"));
    let old_cache = std::fs::read(&cache).unwrap();
    for _ in 0..3 {
        case.run_again();
    }
    // What is restored is laid over what is there, so the later checkpoints stay.
    case.put(&old);
    std::fs::write(&cache, old_cache).unwrap();
    let (beside, many) = (case.beside(), old.len() + 20);
    while case.lines().len() < many {
        case.run_unsigned("says that");
    }
    for _ in 0..9 {
        case.run_unsigned("were others than they are now");
    }
    assert_eq!(case.beside(), beside, "the evidence is still there");
    case.is_found(&[], "are not those that were there when this checkpoint was signed");
}

#[test]
fn only_what_the_key_signed_is_removed_and_the_newest_eight_stay() {
    let case = Case::new(1);
    let strange = "0000000000000002.checkpoint";
    case.0.write(&format!("home/audit/{strange}"), "not signed\n");
    for _ in 0..9 {
        case.run_again();
    }
    let beside = case.beside();
    assert_eq!((beside.len(), beside[0].as_str()), (9, strange), "{beside:?}");
    case.is_found(&[], "it has no empty line before the signatures");
}

#[test]
fn a_checkpoint_has_its_bytes_on_disk_before_it_has_its_name() {
    let case = Case::new(1);
    let trace = case.0.path().join("trace");
    let before = ["strace", "-f", "-qq", "-y", "-e", "trace=fdatasync,rename", "-o", trace.to_str().unwrap()];
    let made = case.0.through(&before, &["audit", "checkpoint"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let calls = case.0.read("trace");
    let synced = calls.lines().position(|line| line.contains("fdatasync(") && line.contains("/audit/unfinished>"));
    let named = calls.lines().position(|line| line.contains("rename(") && line.contains(".checkpoint\""));
    let (Some(synced), Some(named)) = (synced, named) else { panic!("{calls}") };
    assert!(synced < named, "{calls}");
}

#[test]
fn an_empty_checkpoint_is_what_a_power_cut_leaves_and_no_failure() {
    let case = Case::new(2);
    for name in case.beside() {
        case.0.write(&format!("home/audit/{name}"), "");
    }
    case.verifies(&[]);
    assert!(case.verify(&[]).stdout.contains("the file is empty"));
    // One that is given is none.
    let empty = case.0.write("empty", "").display().to_string();
    case.is_found(&[&empty], "FAILURE");
    case.run_again();
    case.verifies(&[]);
}

#[test]
fn p08_what_is_called_a_checkpoint_and_cannot_be_read_is_a_finding() {
    let case = Case::new(1);
    let kept = case.keep("kept");
    let place = case.audit().join("0000000000000002.checkpoint");
    std::fs::create_dir(&place).unwrap();
    case.is_found(&[], "FAILURE 0000000000000002.checkpoint: it cannot be read as a checkpoint");
    std::fs::remove_dir(&place).unwrap();
    std::os::unix::fs::symlink(&kept, &place).unwrap();
    case.is_found(&[], "FAILURE 0000000000000002.checkpoint: it cannot be read as a checkpoint");
    std::fs::remove_file(&place).unwrap();
    // What has not the name of one is no part of the log.
    std::fs::write(case.audit().join("2.checkpoint"), "not one\n").unwrap();
    case.verifies(&[]);
    assert!(case.verify(&[]).stdout.contains("note    2.checkpoint: this file is no part of the log"));
}

#[test]
fn a_checkpoint_that_is_removed_while_the_log_is_verified_is_passed_over() {
    let case = Case::new(2);
    let beside = case.beside();
    let oldest = case.audit().join(&beside[0]).display().to_string();
    let gone = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", &oldest, "-e", "inject=openat:error=ENOENT"];
    let ran = case.0.through(&gone, &["audit", "verify"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(!ran.stdout.contains(&beside[0]), "{}", ran.stdout);
}

#[test]
fn p08_an_entry_that_is_missing_in_the_middle_is_not_called_a_cut_end() {
    let case = Case::new(1);
    let kept = case.keep("kept");
    let lines = case.lines();
    let mut unreadable = lines.clone();
    unreadable[2] = "x".repeat(unreadable[2].len());
    let removed = [&lines[..2], &lines[3..]].concat();
    let mut last = lines.clone();
    *last.last_mut().unwrap() = "{\"v\":1}".to_owned();
    for changed in [unreadable, removed, last] {
        case.put(&changed);
        case.is_found(&[&kept], &format!("only {} can be read", lines.len() - 1));
        assert!(!case.verify(&[&kept]).stdout.contains("the end was cut off"));
    }
}
