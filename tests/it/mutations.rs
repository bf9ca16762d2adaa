//! Whatever somebody makes of the files of a real home, of a bundle, a checkpoint, a runbook or a policy: the program says what is wrong,
//! within bounded time and memory, and never takes what was changed for what was recorded. The second verifier, which shares no code with
//! the program, is of the same opinion.
//!
//! Each case follows from a number, which a failure names; `INTERLOCK_TEST_SEED` begins with it, and `INTERLOCK_TEST_SECONDS` goes on for so
//! long.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::approvals::{RULE, Site};
use crate::support::{Dice, Ran, budget, finish, first_seed};

/// How long each kind of file is tried in an ordinary run.
const BUDGET: Duration = Duration::from_secs(4);
/// How many cases there are at least, however slow the machine is.
const AT_LEAST: u64 = 12;
/// How much address space the program may take, in KiB: a few times what it takes for an honest home.
const MEMORY: u64 = 1 << 20;
/// How many cases pass between two that the second verifier looks at as well.
const SAMPLE: u64 = 8;

/// What a mutation writes into a file: what is at the edge of something.
const MORSELS: [&str; 22] = [
    "\n",
    "\n\n",
    "\0",
    "\u{1b}[2J",
    "\"",
    "{",
    "}",
    "[[[[[[[[[[[[[[[[",
    "null",
    "-1",
    "0",
    "1e999",
    "18446744073709551615",
    "99999999999999999999999",
    "\\ud800",
    "\u{202e}",
    "../../../../etc/passwd",
    "\u{feff}",
    "&a [*a, *a]",
    "!!binary",
    "- ",
    ": ",
];

/// What was done to some bytes, in words.
fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>, others: &[Vec<u8>]) -> String {
    let times = 1 + dice.below(3);
    let mut done = Vec::new();
    for _ in 0..times {
        done.push(mutate_once(dice, bytes, others));
    }
    done.join(", ")
}

fn mutate_once(dice: &mut Dice, bytes: &mut Vec<u8>, others: &[Vec<u8>]) -> String {
    // Segments are filled up with newlines, which nobody misses: most of what is done is done to what stands before them.
    let used = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | 0)).map_or(0, |at| at + 2).min(bytes.len());
    let within = if dice.percent(5) { bytes.len() } else { used };
    let place = |dice: &mut Dice| usize::try_from(dice.below(within as u64 + 1)).unwrap();
    let span = |dice: &mut Dice| {
        let longest = if dice.percent(70) { 16 } else { 4096 };
        let from = usize::try_from(dice.below(within as u64 + 1)).unwrap();
        let length = 1 + usize::try_from(dice.below(longest)).unwrap();
        (from, (from + length).min(within).max(from))
    };
    match dice.below(10) {
        0 if within > 0 => {
            let (at, bit) = (place(dice).min(within - 1), dice.below(8));
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        1 if within > 0 => {
            let (at, byte) = (place(dice).min(within - 1), dice.next() as u8);
            bytes[at] = byte;
            format!("byte {at} became {byte:#x}")
        }
        2 => {
            let (from, to) = span(dice);
            bytes.drain(from..to);
            format!("bytes {from}..{to} cut out")
        }
        3 => {
            let at = place(dice);
            bytes.truncate(at);
            format!("cut off at {at}")
        }
        4 => {
            let ((from, to), at) = (span(dice), place(dice));
            let piece = bytes[from..to].to_vec();
            bytes.splice(at..at, piece);
            format!("bytes {from}..{to} again at {at}")
        }
        5 => {
            let (other, at) = (&others[usize::try_from(dice.below(others.len() as u64)).unwrap()], place(dice));
            let from = usize::try_from(dice.below(other.len() as u64 + 1)).unwrap();
            let to = (from + usize::try_from(dice.below(600)).unwrap()).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
            format!("{} bytes of another file at {at}", to - from)
        }
        6 => {
            let (at, morsel) = (place(dice), MORSELS[usize::try_from(dice.below(MORSELS.len() as u64)).unwrap()]);
            bytes.splice(at..at, morsel.bytes());
            format!("{morsel:?} at {at}")
        }
        7 => {
            let numbers: Vec<usize> = (0..within).filter(|at| bytes[*at].is_ascii_digit()).collect();
            let Some(at) = numbers.get(usize::try_from(dice.below(numbers.len().max(1) as u64)).unwrap()).copied()
            else {
                return "nothing".to_owned();
            };
            let to = at + bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let morsel =
                ["0", "-1", "1e999", "18446744073709551615", "99999999999999999999", "007"][dice.below(6) as usize];
            bytes.splice(at..to, morsel.bytes());
            format!("number at {at} became {morsel}")
        }
        _ => {
            let mut lines: Vec<Vec<u8>> =
                bytes[..within].split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            if lines.is_empty() {
                return "nothing".to_owned();
            }
            let any = |dice: &mut Dice| usize::try_from(dice.below(lines.len() as u64)).unwrap();
            let (one, other) = (any(dice), any(dice));
            let what = match dice.below(3) {
                0 => {
                    lines.remove(one);
                    format!("line {one} removed")
                }
                1 => {
                    let line = lines[one].clone();
                    lines.insert(other, line);
                    format!("line {one} again before {other}")
                }
                _ => {
                    lines.swap(one, other);
                    format!("lines {one} and {other} changed places")
                }
            };
            bytes.splice(..within, lines.concat());
            what
        }
    }
}

/// The program with its memory bounded. Whatever it is given, it ends by itself, with an exit code that it has a meaning for, and
/// writes nothing that could act on a terminal.
#[track_caller]
fn judged(site: &Site, arguments: &[&str], case: &str) -> Ran {
    let command = site.command(arguments);
    let program = command.get_program().to_owned();
    let all: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let bounded = format!("ulimit -v {MEMORY}; exec \"$@\"");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &bounded, "sh"])
        .arg(program)
        .args(all)
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    for (name, _) in command.get_envs().filter(|(_, value)| value.is_none()) {
        shell.env_remove(name);
    }
    shell.current_dir(site.path());
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(shell.spawn().unwrap());
    assert!(
        (0..=13).contains(&ran.code) && !ran.stderr.contains("panicked at"),
        "{case}: {arguments:?} ended with {}: {}",
        ran.code,
        ran.stderr
    );
    for text in [&ran.stdout, &ran.stderr] {
        // A table has the ends of lines that RFC 4180 gives it.
        let text = text.replace("\r\n", "\n");
        let acts = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        assert_eq!(acts, None, "{case}: {arguments:?}: {text:?}");
    }
    ran
}

/// Whether the second verifier finds nothing wrong.
fn second(arguments: &[&str], case: &str) -> bool {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
    let ran = Command::new("python3").arg(script).args(arguments).output().unwrap();
    match ran.status.code() {
        Some(0) => true,
        Some(11) => false,
        other => panic!("{case}: verify.py ended with {other:?}: {}", String::from_utf8_lossy(&ran.stderr)),
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The entries of a log as they stand, whatever stands there.
fn lines(home: &Path) -> Vec<Vec<u8>> {
    let segments = files_below(&home.join("audit"));
    let segments = segments.iter().filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    let bytes: Vec<u8> = segments.flat_map(|path| std::fs::read(path).unwrap()).collect();
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

/// A site on which everything happened that leaves files: runs that were approved, completed, refused, halted, taken up with a deviation, and taken
/// back; output with something removed; checkpoints.
fn site() -> Site {
    let site = Site::new(&format!("{RULE}redact: [{{name: number, pattern: '\\b\\d{{4}}\\b'}}]\n"));
    let steps =
        "steps:\n  - {id: one, script: \"echo eins; seq 998 1001\"}\n  - {id: fail, run: [test, -e, DIR/let]}\n";
    site.plan(steps);
    site.approve("plan.yaml", "bea");
    assert_eq!(site.interlock(&["run", "plan.yaml"]).code, 4, "cy is missing");
    site.approve("plan.yaml", "cy");
    assert_eq!(site.interlock(&["run", "plan.yaml"]).code, 7);
    let run = site.scratch.the_open_run();
    assert_eq!(site.interlock(&["resume", &run, "--decide", "fail=retry"]).code, 7);
    assert_eq!(site.interlock(&["undo", &run]).code, 0);
    site.scratch.write(
        "plain.yaml",
        "interlock: 1\nname: plain\nsteps:\n  - {id: a, script: seq 999 1003, undo: {run: ['true']}}\n",
    );
    assert_eq!(site.interlock(&["run", "plain.yaml"]).code, 0);
    site
}

/// Tries cases until the time is over; each has a number from which it follows.
fn try_cases(of: &str, mut case: impl FnMut(&mut Dice, u64, &str)) {
    let (begun, first) = (Instant::now(), first_seed());
    let mut cases = 0;
    while cases < AT_LEAST || begun.elapsed() < budget(BUDGET) {
        let seed = first.wrapping_add(cases);
        case(&mut Dice(seed), cases, &format!("INTERLOCK_TEST_SEED={seed} ({of})"));
        cases += 1;
    }
    println!("{of}: {cases} cases from seed {first}");
}

#[test]
fn p08_whatever_is_made_of_the_files_of_a_home_is_told_and_never_taken_for_what_was_recorded() {
    let site = site();
    let home = site.scratch.home();
    let made = site.interlock(&["audit", "checkpoint"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let kept = site.scratch.write("kept.checkpoint", &made.stdout).display().to_string();
    let key = site.interlock(&["audit", "key"]).stdout.trim().to_owned();
    let verify = ["audit", "verify", "--checkpoint", &kept, "--key", &key];
    assert_eq!(judged(&site, &verify, "as it is").code, 0, "what nobody changed verifies");
    let audit = home.join("audit").display().to_string();
    assert!(second(&[&audit, "--key", &key, &kept], "as it is"));
    let honest = lines(&home);
    let files: BTreeMap<PathBuf, Vec<u8>> =
        files_below(&home).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    let paths: Vec<&PathBuf> = files.keys().collect();
    let segment: Vec<&PathBuf> =
        paths.iter().copied().filter(|path| path.to_string_lossy().ends_with(".jsonl")).collect();
    let contents: Vec<Vec<u8>> = files.values().cloned().collect();
    try_cases("a home", |dice, number, case| {
        let chosen = if dice.percent(70) { &segment } else { &paths };
        let path = chosen[usize::try_from(dice.below(chosen.len() as u64)).unwrap()];
        let mut bytes = files[path].clone();
        let done = mutate(dice, &mut bytes, &contents);
        std::fs::write(path, &bytes).unwrap();
        let case = format!("{case}: {}: {done}", path.display());
        let found = lines(&home);
        let changed = found.get(..honest.len()).is_none_or(|lines| *lines != honest[..]);
        let ran = judged(&site, &verify, &case);
        assert!(ran.code != 0 || !changed, "{case}: what was changed verifies: {}", ran.stdout);
        if number.is_multiple_of(SAMPLE) {
            let second = second(&[&audit, "--key", &key, &kept], &case);
            // It does not tell what a crash leaves behind the last entry from what somebody has put there.
            let torn = found.len() > honest.len();
            assert!(second || torn || ran.code != 0, "{case}: the second verifier alone objects");
            assert!(!second || !changed, "{case}: the second verifier takes it");
        }
        let also = [
            &["audit", "log"][..],
            &["audit", "log", "--format", "csv"],
            &["audit", "show", "last", "--output"],
            &["audit", "play", "last", "a"],
            &["audit", "report", "last"],
            &["audit", "report", "--since", "1d"],
            &["audit", "export", "--format", "ocsf"],
            &["audit", "metrics"],
            &["audit", "verify", "--format", "json"],
            &["status"],
            &["status", "--format", "json"],
        ];
        let also = also[usize::try_from(dice.below(also.len() as u64)).unwrap()];
        judged(&site, also, &case);
        for path in files_below(&home) {
            match files.get(&path) {
                Some(bytes) if std::fs::read(&path).unwrap() != *bytes => std::fs::write(&path, bytes).unwrap(),
                Some(_) => {}
                // What a reader may have put beside it.
                None => std::fs::remove_file(&path).unwrap(),
            }
        }
    });
    assert_eq!(judged(&site, &verify, "as it was").code, 0, "everything was put back");
}

#[test]
fn p08_whatever_is_made_of_a_bundle_is_told() {
    let site = site();
    let ran = site.interlock(&["audit", "bundle", "last", "-o", "run.bundle"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let honest = std::fs::read(site.path().join("run.bundle")).unwrap();
    let key = site.interlock(&["audit", "key"]).stdout.trim().to_owned();
    let mutant = site.text_path("mutant.bundle");
    let verify = ["audit", "verify", &mutant, "--key", &key];
    std::fs::write(&mutant, &honest).unwrap();
    assert_eq!(judged(&site, &verify, "as it is").code, 0);
    assert!(second(&[&mutant, "--key", &key], "as it is"));
    let others = [honest.clone(), std::fs::read(site.path().join("plan.yaml")).unwrap()];
    try_cases("a bundle", |dice, number, case| {
        let mut bytes = honest.clone();
        let done = mutate(dice, &mut bytes, &others);
        std::fs::write(&mutant, &bytes).unwrap();
        let case = format!("{case}: {done}");
        let ran = judged(&site, &verify, &case);
        assert_eq!(ran.code == 0, bytes == honest, "{case}: {}", ran.stdout);
        if number.is_multiple_of(SAMPLE) {
            assert_eq!(second(&[&mutant, "--key", &key], &case), bytes == honest, "{case}");
        }
    });
}

#[test]
fn p08_whatever_is_made_of_a_checkpoint_says_what_it_said_or_does_not_count() {
    let site = site();
    let honest = site.interlock(&["audit", "checkpoint"]).stdout;
    let says = |note: &[u8]| String::from_utf8_lossy(note).split("\n\n").next().unwrap().to_owned();
    let mutant = site.text_path("mutant.checkpoint");
    let verify = ["audit", "verify", "--checkpoint", &mutant];
    std::fs::write(&mutant, &honest).unwrap();
    assert_eq!(judged(&site, &verify, "as it is").code, 0);
    let others = [honest.clone().into_bytes(), std::fs::read(site.path().join("allowed_signers")).unwrap()];
    try_cases("a checkpoint", |dice, _, case| {
        let mut bytes = honest.clone().into_bytes();
        let done = mutate(dice, &mut bytes, &others);
        std::fs::write(&mutant, &bytes).unwrap();
        let ran = judged(&site, &verify, &format!("{case}: {done}"));
        assert!(ran.code != 0 || says(&bytes) == says(honest.as_bytes()), "{case}: {done}: {}", ran.stdout);
    });
}

#[test]
fn whatever_is_made_of_a_runbook_or_a_policy_is_taken_or_its_mistakes_are_told() {
    let site = site();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks");
    let shipped: Vec<Vec<u8>> = files_below(&folder)
        .iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert!(shipped.len() > 1);
    let policy = std::fs::read(site.path().join("policy.yaml")).unwrap();
    let signers = std::fs::read(site.path().join("allowed_signers")).unwrap();
    let plan = std::fs::read(site.path().join("plan.yaml")).unwrap();
    let mut others = shipped.clone();
    others.extend([policy.clone(), plan.clone()]);
    try_cases("what people write", |dice, _, case| {
        let (name, honest, arguments, expected): (_, _, &[&str], &[i32]) = match dice.below(4) {
            0 => {
                let honest = &shipped[usize::try_from(dice.below(shipped.len() as u64)).unwrap()];
                ("mutant.yaml", honest, &["check", "mutant.yaml"], &[0, 2])
            }
            1 => ("mutant.yaml", &plan, &["approve", "mutant.yaml", "--key", "bea", "--yes"], &[0, 2, 4]),
            2 => ("policy.yaml", &policy, &["policy", "explain", "plain.yaml"], &[0, 2, 4]),
            _ => ("allowed_signers", &signers, &["policy", "explain", "plain.yaml"], &[0, 2, 4]),
        };
        let mut bytes = honest.clone();
        let done = mutate(dice, &mut bytes, &others);
        std::fs::write(site.path().join(name), &bytes).unwrap();
        let case = format!("{case}: {name}: {done}");
        let ran = judged(&site, arguments, &case);
        assert!(expected.contains(&ran.code), "{case}: {arguments:?} ended with {}: {}", ran.code, ran.stderr);
        std::fs::write(site.path().join("policy.yaml"), &policy).unwrap();
        std::fs::write(site.path().join("allowed_signers"), &signers).unwrap();
    });
}
