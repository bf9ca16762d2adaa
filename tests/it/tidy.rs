//! The house is kept: the arrows between the rooms go one way, the pure rooms stay pure, and every promise names tests that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which rooms a room may use; itself always. From the design, and kept here because here it is checked.
const ARROWS: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("diagnostic", &["id"]),
    ("yaml", &["diagnostic", "id"]),
    ("runbook", &["yaml", "diagnostic", "id"]),
    ("plan", &["yaml", "runbook", "history", "id"]),
    ("history", &["id"]),
    ("machine", &["plan", "history", "runbook", "id"]),
    ("audit", &["history", "id"]),
    ("consent", &["yaml", "diagnostic", "plan", "history", "id"]),
    ("exec", &[]),
    ("probe", &["exec", "runbook", "history", "id"]),
    ("report", &["history", "plan", "runbook", "diagnostic", "id"]),
    ("terminal", &["history", "plan", "id"]),
    (
        "driver",
        &[
            "audit",
            "consent",
            "diagnostic",
            "exec",
            "history",
            "id",
            "machine",
            "plan",
            "probe",
            "report",
            "runbook",
            "terminal",
            "yaml",
        ],
    ),
    (
        "cli",
        &[
            "audit",
            "consent",
            "diagnostic",
            "driver",
            "exec",
            "history",
            "id",
            "machine",
            "plan",
            "probe",
            "report",
            "runbook",
            "terminal",
            "yaml",
        ],
    ),
];

/// What the tests of any room may use: `tests/executable.rs`.
const TEST_HELPER: &str = "executable";

/// What the pure rooms never mention.
const IMPURE: &[&str] = &[
    "std::process::Command",
    "std::thread",
    "std::env::",
    "SystemTime",
    "Instant",
    "std::net",
    "rustix::process",
    "rustix::termios",
    "chrono::",
    "Utc::now",
    "Local::now",
    "println!",
    "eprintln!",
];

/// Tests of a pure room may look at the clock and at files.
fn is_test(file: &Path) -> bool {
    file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The room of a file: the first part of its path below `src`.
fn room_of(file: &Path) -> String {
    let below = file.strip_prefix(root().join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Code without comments, so that documentation may speak of other rooms.
fn code_of(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_arrows_between_the_rooms_go_one_way() {
    let mut wrong = Vec::new();
    for file in files_below(&root().join("src"), ".rs") {
        let room = room_of(&file);
        if room == "main" || room == "lib" {
            continue;
        }
        let Some((_, may_use)) = ARROWS.iter().find(|(name, _)| *name == room) else {
            panic!("{} is in a room that the map does not have", file.display());
        };
        let code = code_of(&file);
        for (at, _) in code.match_indices("crate::") {
            let used: String = code[at + 7..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let helps_tests = used == TEST_HELPER && is_test(&file);
            if !used.is_empty() && used != room && !may_use.contains(&used.as_str()) && !helps_tests {
                wrong.push(format!("{}: {room} uses {used}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that the house does not have:\n{}", wrong.join("\n"));
}

#[test]
fn the_pure_rooms_never_touch_the_world() {
    let mut wrong = Vec::new();
    for room in ["yaml", "runbook", "plan", "history", "machine", "consent"] {
        for file in files_below(&root().join("src").join(room), ".rs") {
            // The doors through which files come in are the places that read, and signatures are checked by a program.
            let doors = ["yaml/source.rs", "consent/door.rs", "consent/keygen.rs"];
            if doors.iter().any(|door| file.ends_with(door)) || is_test(&file) {
                continue;
            }
            let code = code_of(&file);
            let code = code.split("#[cfg(test)]").next().unwrap_or_default();
            // Who may depends on the time, which the caller says.
            let code = if room == "consent" { code.replace("chrono::", "") } else { code.to_owned() };
            for word in IMPURE.iter().filter(|word| code.contains(**word)) {
                wrong.push(format!("{}: {word}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "a pure room touches the world:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_stays_in_exec() {
    for file in files_below(&root().join("src"), ".rs") {
        if room_of(&file) != "exec" {
            assert!(!code_of(&file).contains("unsafe {"), "{}", file.display());
        }
    }
}

#[test]
fn every_test_that_the_promises_name_exists() {
    let promises = std::fs::read_to_string(root().join("docs/promises.md")).unwrap();
    let mut code = String::new();
    for folder in ["src", "tests"] {
        for file in files_below(&root().join(folder), ".rs") {
            code.push_str(&std::fs::read_to_string(file).unwrap());
        }
    }
    let named: BTreeSet<&str> = promises.split('`').filter(|word| is_promise_test(word)).collect();
    assert!(!named.is_empty(), "docs/promises.md names no tests");
    for name in named {
        assert!(code.contains(&format!("fn {name}(")), "docs/promises.md names `{name}`, which does not exist");
    }
}

fn is_promise_test(word: &str) -> bool {
    let mut bytes = word.bytes();
    bytes.next() == Some(b'p') && bytes.next().is_some_and(|b| b.is_ascii_digit()) && word.contains('_')
}
