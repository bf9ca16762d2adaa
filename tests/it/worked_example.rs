//! docs/approvals.md, word for word: every command in it is typed as it stands, in one shell in a folder of its own, and what comes is what
//! is written there, but for what differs from time to time (digests, keys, times, ids, names of the machine).

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::Scratch;

const PAGE: &str = include_str!("../../docs/approvals.md");
const MARK: &str = "@@ next @@";

/// The commands of the page with what is shown below each.
fn commands() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for block in PAGE.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let mut heredoc = false;
        for line in block.lines() {
            if heredoc {
                let (command, _) = found.last_mut().unwrap();
                command.push_str(&format!("\n{line}"));
                heredoc = line != "END";
            } else if let Some(command) = line.strip_prefix("$ ") {
                found.push((command.to_owned(), String::new()));
                heredoc = command.contains("<<END");
            } else {
                let (_, output) = found.last_mut().unwrap();
                output.push_str(&format!("{line}\n"));
            }
        }
    }
    found
}

/// The text without what differs from time to time: a word that is a digest, a key, a time, an id or a duration is named by its kind, and
/// lines that are all about the machine by their first word.
fn steady(text: &str, folder: &Path) -> String {
    let text = text.replace(folder.to_str().unwrap(), "DIR");
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let first = line.trim_start().split(' ').next().unwrap();
        if matches!(first, "asked" | "for:" | "on" | "contained" | "audit") {
            lines.push(first.to_owned());
            continue;
        }
        // The machine's name stands between these.
        let line = match (line.find("one run on `"), line.find("`, from ")) {
            (Some(from), Some(to)) => format!("{}HOST{}", &line[..from + "one run on `".len()], &line[to..]),
            _ => line.to_owned(),
        };
        let words: Vec<&str> = line.split(' ').collect();
        let named = words.iter().enumerate().map(|(at, word)| {
            let bare = word.trim_matches(|c: char| "();,`".contains(c));
            match kind_of(bare, words.get(at + 1)) {
                Some(kind) => word.replace(bare, kind),
                None => (*word).to_owned(),
            }
        });
        lines.push(named.collect::<Vec<_>>().join(" "));
    }
    lines.join("\n")
}

fn kind_of(word: &str, next: Option<&&str>) -> Option<&'static str> {
    let hexadecimal = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    if word.starts_with("20") && word.ends_with('Z') {
        Some("TIME")
    } else if word.starts_with("SHA256:") {
        Some("KEY")
    } else if hexadecimal(word) && matches!(word.len(), 12 | 64) {
        Some("DIGEST")
    } else if word.len() == 36 && word.bytes().filter(|b| *b == b'-').count() == 4 {
        Some("RUN")
    } else if matches!(next, Some(&"ms" | &"s")) {
        Some("NUMBER")
    } else {
        None
    }
}

#[test]
fn p06_the_worked_example_is_as_it_is_written() {
    let scratch = Scratch::new();
    let expected = commands();
    assert!(expected.len() > 15, "the page has its commands");
    // Who operates is told by the kernel; `id -un` tells it only where nobody became somebody else.
    let operator = crate::approvals::operator();
    let script: String = expected
        .iter()
        .map(|(command, _)| {
            let command = command.replace("$(id -un)", &format!("\"{operator}\""));
            format!("{command}\necho '{MARK}'\n")
        })
        .collect();
    let program = Path::new(env!("CARGO_BIN_EXE_interlock")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{script}")])
        .current_dir(scratch.path())
        .env_clear()
        .env("PATH", path)
        .env("HOME", scratch.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let said: Vec<&str> = said.split(&format!("{MARK}\n")).collect();
    assert_eq!(said.len(), expected.len() + 1, "each command ended: {said:#?}");
    let documented = documented_folder();
    for ((command, shown), came) in expected.iter().zip(&said) {
        assert_eq!(steady(came, scratch.path()), steady(shown, Path::new(&documented)), "$ {command}");
    }
}

/// The folder in which the page was written.
fn documented_folder() -> String {
    let at = PAGE.find("/policy.yaml: nothing wrong").unwrap();
    let line = PAGE[..at].rsplit('\n').next().unwrap();
    line.to_owned()
}
