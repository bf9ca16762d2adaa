//! P8 over more runs than the verifier remembers.

use std::fmt::Write as _;

use interlock::id::Digest;

use crate::checkpoints::{forget, lines};
use crate::support::Scratch;

/// How many runs that are over the verifier remembers (`src/history/ledger.rs`).
const REMEMBERED: u64 = 65_536;
/// The length of a segment, in bytes.
const SEGMENT: usize = 500 * 1024;

/// Writes a log out of the entry by which it began, and of one refused run for each of these numbers, whose ids rise with them.
fn write_log(scratch: &Scratch, created: &str, refused: &str, runs: impl Iterator<Item = u64>) {
    let (before_seq, rest) = refused.split_once("\"seq\":2").unwrap();
    let (between, rest) = rest.split_once("\"run\":\"").unwrap();
    let (id, rest) = rest.split_at(36);
    let (after_run, rest) = rest.split_once(",\"prev\":\"").unwrap();
    let (before_seq, id, end) = (before_seq, &id[..24], &rest[64..]);
    let mut text = format!("{created}\n");
    let (mut first, mut next) = (1, 2);
    let mut last = Digest::of(created.as_bytes());
    let audit = scratch.home().join("audit");
    let put = |first: u64, text: &str| std::fs::write(audit.join(format!("{first:016}.jsonl")), text).unwrap();
    for number in runs {
        let begin = text.len();
        write!(
            text,
            "{before_seq}\"seq\":{next}{between}\"run\":\"{id}{number:012x}{after_run},\"prev\":\"{last}{end}"
        )
        .unwrap();
        last = Digest::of(&text.as_bytes()[begin..]);
        text.push('\n');
        next += 1;
        if text.len() > SEGMENT {
            put(first, &text);
            (first, text) = (next, String::new());
        }
    }
    put(first, &text);
}

#[test]
fn p08_an_entry_of_a_run_that_was_over_years_ago_is_found_and_a_clock_that_was_set_back_is_no_finding() {
    let scratch = Scratch::new();
    let ran = scratch.run(
        "interlock: 1\nname: a\nsteps:\n  - {id: a, run: ['true'], confirm: {ask: 'Which?', expect: this}}\n",
        &[],
    );
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert_eq!(scratch.events(), ["log_created", "run_refused"]);
    let all = lines(&scratch);
    let ids = || (1000..1000 + REMEMBERED).chain([2_000_000, 2_000_001]);
    let verify = || scratch.interlock(&["audit", "verify", "--format", "json"]);
    let head = |stdout: &str| serde_json::from_str::<serde_json::Value>(stdout.lines().last().unwrap()).unwrap();

    // A run that is new, and whose id is older than all that were forgotten.
    forget(&scratch);
    write_log(&scratch, &all[0], &all[1], ids().chain([1]));
    let ran = verify();
    assert_eq!(ran.code, 0, "{} {}", ran.stdout, ran.stderr);
    assert_eq!(head(&ran.stdout)["runs"], REMEMBERED + 3, "{}", ran.stdout);

    // The first run, once more.
    write_log(&scratch, &all[0], &all[1], ids().chain([1000]));
    let ran = verify();
    assert_eq!(ran.code, 11, "{} {}", ran.stdout, ran.stderr);
    let found: serde_json::Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(
        (found["severity"].as_str(), found["entry"].as_u64()),
        (Some("failure"), Some(REMEMBERED + 4)),
        "{found}"
    );
    assert_eq!(head(&ran.stdout)["runs"], REMEMBERED + 2, "{}", ran.stdout);
}
