//! The runs from the end: the same runs, with the same lines, as the strict reader finds from the beginning, in whatever way they are
//! mixed; and what was changed is not taken for what happened.

use std::collections::BTreeMap;

use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert_eq, prop_oneof, proptest};

use super::common::{Scratch, event, open, scratch};
use crate::audit::{Draft, ReadError, WholeRun, head, read, read_from, runs};
use crate::history::deviation::Deviation;
use crate::history::event::{Cause, Event};
use crate::id::{Digest, RunId};

/// An id that says it was made now, so that no entry is an hour older: whether a refused run was opened before is to be read.
fn recent(number: u64) -> RunId {
    let now = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap();
    format!("{:08x}-{:04x}-7000-8000-{number:012x}", now >> 16, now & 0xffff).parse().unwrap()
}

/// An id that says it was made in two hours, so that every entry is surely older.
fn future(number: u64) -> RunId {
    let later = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap() + 2 * 3_600_000;
    format!("{:08x}-{:04x}-7000-8000-{number:012x}", later >> 16, later & 0xffff).parse().unwrap()
}

fn opened() -> Event {
    Event::RunOpened {
        runbook: "r".to_owned(),
        title: None,
        labels: [].into(),
        source: "r.yaml".to_owned(),
        plan: Digest::of(b"plan"),
        steps: 1,
        locks: Vec::new(),
        policies: Vec::new(),
        containment: String::new(),
        watching: "\"event\":\"run_opened\",\"run\":\"\u{1b}".to_owned(),
        program: String::new(),
    }
}

fn refused() -> Event {
    Event::RunRefused {
        runbook: "r".to_owned(),
        plan: Digest::of(b"plan"),
        cause: Cause::FactDoesNotHold,
        reason: String::new(),
        seen: Vec::new(),
        policies: Vec::new(),
    }
}

fn not_permitted() -> Event {
    Event::OverrideRefused {
        deviation: Deviation::OutsideWindow {},
        reason: "x".repeat(20_000),
        asked_by: String::new(),
        request: None,
        why: String::new(),
    }
}

/// What a run of the test does: it opens unless it is refused at once, goes on for a while, and may be refused at the end.
#[derive(Debug, Clone, Copy)]
enum Life {
    RefusedAtOnce,
    Opened {
        goes_on: usize,
    },
    OpenedAndRefused {
        goes_on: usize,
    },
    /// Something is refused before it opens.
    OpenedLate {
        goes_on: usize,
    },
}

fn events(life: Life, padding: usize) -> Vec<Event> {
    let long = || event(&"x".repeat(padding));
    match life {
        Life::RefusedAtOnce => vec![refused()],
        Life::Opened { goes_on } => [opened()].into_iter().chain((0..goes_on).map(|_| long())).collect(),
        Life::OpenedAndRefused { goes_on } => {
            [opened()].into_iter().chain((0..goes_on).map(|_| long())).chain([refused()]).collect()
        }
        Life::OpenedLate { goes_on } => {
            [not_permitted(), opened()].into_iter().chain((0..goes_on).map(|_| long())).collect()
        }
    }
}

fn lives() -> impl Strategy<Value = Vec<(Life, bool)>> {
    let life = prop_oneof![
        Just(Life::RefusedAtOnce),
        (0_usize..6).prop_map(|goes_on| Life::Opened { goes_on }),
        (0_usize..3).prop_map(|goes_on| Life::OpenedAndRefused { goes_on }),
        (0_usize..3).prop_map(|goes_on| Life::OpenedLate { goes_on }),
    ];
    proptest::collection::vec((life, proptest::bool::ANY), 0..12)
}

/// Writes the runs, one event of this one and one of that one, as the dice say; long ones, so that there are several segments.
fn write(scratch: &Scratch, lives: &[(Life, bool)], dice: &[usize]) {
    let mut log = open(&scratch.home).unwrap();
    let mut left: Vec<(RunId, Vec<Event>)> = lives
        .iter()
        .enumerate()
        .map(|(at, (life, says_future))| {
            let id = if *says_future { future(at as u64) } else { recent(at as u64) };
            let mut events = events(*life, 30_000);
            events.reverse();
            (id, events)
        })
        .collect();
    let mut dice = dice.iter().cycle();
    while !left.is_empty() {
        let at = dice.next().unwrap() % left.len();
        let (run, events) = &mut left[at];
        match events.pop() {
            Some(event) => {
                log.append(&[Draft { run: Some(run), event: &event }]).unwrap();
            }
            None => {
                left.remove(at);
            }
        }
    }
}

/// The runs by the strict reader, the newest first: the lines of each.
fn by_reading(scratch: &Scratch) -> Vec<(RunId, Vec<String>)> {
    let mut order: Vec<RunId> = Vec::new();
    let mut lines: BTreeMap<RunId, Vec<String>> = BTreeMap::new();
    for found in read(&scratch.home).unwrap() {
        let recorded = found.unwrap().recorded;
        let Some(run) = recorded.entry.run else { continue };
        if !order.contains(&run) {
            order.push(run.clone());
        }
        lines.entry(run).or_default().push(recorded.line);
    }
    order.into_iter().rev().map(|run| (run.clone(), lines.remove(&run).unwrap())).collect()
}

fn by_runs(scratch: &Scratch) -> Result<Vec<WholeRun>, ReadError> {
    let mut all = Vec::new();
    let mut runs = runs(&scratch.home)?;
    while let Some(some) = runs.more()? {
        all.extend(some);
    }
    assert!(runs.more()?.is_none(), "there is nothing after the end");
    Ok(all)
}

fn texts(runs: &[WholeRun]) -> Vec<(RunId, Vec<String>)> {
    runs.iter().map(|run| (run.run.clone(), run.lines.iter().map(|line| line.text().to_owned()).collect())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 10, ..ProptestConfig::default() })]

    #[test]
    fn the_runs_from_the_end_are_the_runs_from_the_beginning(
        lives in lives(),
        dice in proptest::collection::vec(0_usize..1000, 1..50),
    ) {
        // With all entries older than its id, a run of one entry is told to be whole at once, and a longer one cannot be.
        let lives: Vec<(Life, bool)> = lives
            .into_iter()
            .map(|(life, future)| (life, future && matches!(life, Life::RefusedAtOnce | Life::Opened { goes_on: 0 })))
            .collect();
        let scratch = scratch();
        write(&scratch, &lives, &dice);
        let found = by_runs(&scratch).unwrap();
        prop_assert_eq!(texts(&found), by_reading(&scratch));
        for line in found.iter().flat_map(|run| &run.lines) {
            let entry = line.entry().unwrap();
            prop_assert_eq!(line.event().unwrap(), entry.event);
            prop_assert_eq!(line.seq, entry.seq);
            let stamp = line.stamp().unwrap();
            prop_assert_eq!((stamp.time, stamp.mono, stamp.boot), (entry.time.as_str(), entry.mono, entry.boot.as_str()));
        }
    }
}

/// A log of some segments, its runs one after the other.
fn long_log() -> Scratch {
    let scratch = scratch();
    write(&scratch, &[(Life::Opened { goes_on: 5 }, false); 20], &[0]);
    scratch
}

fn first_segment(scratch: &Scratch) -> std::path::PathBuf {
    scratch.home.audit().join("0000000000000001.jsonl")
}

#[test]
fn the_last_runs_are_read_without_the_first() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    for number in 0..80 {
        // An hour older than its id, for all that the entries tell.
        log.append(&[Draft { run: Some(&future(number)), event: &not_permitted() }]).unwrap();
    }
    let all = by_reading(&scratch);
    std::fs::write(first_segment(&scratch), "no log at all").unwrap();
    let some = runs(&scratch.home).unwrap().more().unwrap().unwrap();
    assert_eq!(texts(&some)[0], all[0]);
    assert!(matches!(by_runs(&scratch), Err(ReadError::Damaged { line: 1, .. })));
}

#[test]
fn a_line_that_was_changed_is_not_taken_for_what_happened() {
    let scratch = long_log();
    let path = first_segment(&scratch);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"runbook\":\"r\"", "\"runbook\":\"s\"", 1)).unwrap();
    let found = by_runs(&scratch).unwrap();
    let changed = &found.last().unwrap().lines[0];
    let why = changed.event().unwrap_err();
    assert!(why.contains("their link is broken"), "{why}");
    assert_eq!(changed.entry().unwrap_err(), why);
    assert!(found.last().unwrap().lines[1].event().is_ok());
}

#[test]
fn lines_and_segments_that_are_missing_or_too_many_end_the_reading() {
    type Damage = fn(&str) -> String;
    let damages: [(&str, Damage); 5] = [
        ("a line is gone", |text| text.replacen(text.lines().nth(2).unwrap(), "", 1).replacen("\n\n", "\n", 1)),
        ("a line is empty", |text| text.replacen(text.lines().nth(2).unwrap(), "", 1)),
        ("a line is there twice", |text| {
            let line = text.lines().nth(2).unwrap();
            text.replacen(line, &format!("{line}\n{line}"), 1)
        }),
        ("the end is cut off", |text| text.trim_end().to_owned()),
        ("something is not UTF-8", |text| text.replacen("xxx", "\u{7}", 1)),
    ];
    for (what, damage) in damages {
        let scratch = long_log();
        let path = first_segment(&scratch);
        let text = std::fs::read_to_string(&path).unwrap();
        let mut bytes = damage(&text).into_bytes();
        if let Some(at) = bytes.iter().position(|byte| *byte == 7) {
            bytes[at] = 0xff;
        }
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(by_runs(&scratch), Err(ReadError::Damaged { .. })), "{what}");
    }
    let scratch = long_log();
    std::fs::remove_file(first_segment(&scratch)).unwrap();
    let said = by_runs(&scratch).unwrap_err().to_string();
    assert!(said.contains("entries are missing") || said.contains("those before it are missing"), "{said}");
}

#[test]
fn a_line_in_another_form_is_read_with_all_strictness() {
    let scratch = long_log();
    let path = first_segment(&scratch);
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().nth(1).unwrap();
    // The same entry, with a blank: the links say that it was changed, and its fields are what they were.
    let blank = line.replacen("\"seq\":2,", "\"seq\": 2,", 1);
    std::fs::write(&path, text.replacen(line, &blank, 1)).unwrap();
    let found = by_runs(&scratch).unwrap();
    assert_eq!(found.last().unwrap().lines[0].seq, 2);
    assert!(found.last().unwrap().lines[0].entry().unwrap_err().contains("their link is broken"));
    std::fs::write(&path, text.replacen(line, &line.replacen("\"seq\":2,", "\"seq\":2,\"seq\":2,", 1), 1)).unwrap();
    assert!(matches!(by_runs(&scratch), Err(ReadError::Damaged { line: 2, .. })));
}

#[test]
fn a_run_that_is_opened_a_second_time_is_read_with_both_openings() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    let run = recent(1);
    for event in [opened(), event("x"), opened()] {
        log.append(&[Draft { run: Some(&run), event: &event }]).unwrap();
    }
    assert_eq!(texts(&by_runs(&scratch).unwrap()), by_reading(&scratch));
}

#[test]
fn an_entry_that_is_older_than_the_id_of_its_run_ends_the_reading() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    let run = future(1);
    for _ in 0..40 {
        log.append(&[Draft { run: Some(&run), event: &opened() }]).unwrap();
        log.append(&[Draft { run: Some(&recent(2)), event: &event(&"x".repeat(50_000)) }]).unwrap();
    }
    let said = by_runs(&scratch).unwrap_err().to_string();
    assert!(said.contains("the clock was set back, or the entry does not belong here"), "{said}");
}

#[test]
fn no_log_and_a_log_without_runs() {
    let scratch = scratch();
    assert!(matches!(runs(&scratch.home), Err(ReadError::NoLog { .. })));
    open(&scratch.home).unwrap();
    assert!(by_runs(&scratch).unwrap().is_empty());
}

#[test]
fn the_end_is_known_and_read_on_from_as_the_plain_reading_has_it() {
    let scratch = scratch();
    assert_eq!(head(&scratch.home).unwrap(), None);
    assert!(matches!(read_from(&scratch.home, 1), Err(ReadError::NoLog { .. })));
    write(&scratch, &[(Life::Opened { goes_on: 5 }, false); 20], &[0]);
    let all: Vec<_> = read(&scratch.home).unwrap().map(|found| found.unwrap()).collect();
    let last = all.last().unwrap();
    let expected = (last.recorded.entry.seq, Digest::of(last.recorded.line.as_bytes()));
    assert_eq!(head(&scratch.home).unwrap(), Some(expected));
    for seq in [1, 2, 20, 40, last.recorded.entry.seq, last.recorded.entry.seq + 1] {
        let some: Vec<_> = read_from(&scratch.home, seq).unwrap().map(|found| found.unwrap()).collect();
        assert!(some.iter().any(|found| found.recorded.entry.seq <= seq), "entry {seq} is among them, or the last");
        assert_eq!(some, all[all.len() - some.len()..], "from entry {seq} on");
    }
}

#[test]
fn a_segment_that_does_not_go_on_from_the_one_before_is_not_read_on_from() {
    let scratch = long_log();
    let names: Vec<_> = read(&scratch.home).unwrap().map(|found| found.unwrap().segment).collect();
    let last = names.last().unwrap();
    let first_of_last = names.iter().position(|name| name == last).unwrap() as u64 + 1;
    let before = scratch.home.audit().join(&*names[usize::try_from(first_of_last).unwrap() - 2]);
    let text = std::fs::read_to_string(&before).unwrap();
    // Its last line is another one, and every number is as it was.
    let end = text.trim_end().len();
    let (rest, line) = text[..end].rsplit_once('\n').unwrap();
    let changed = format!("{rest}\n{}{}", line.replacen("\"host\":\"db1\"", "\"host\":\"db2\"", 1), &text[end..]);
    assert_ne!(changed, text);
    std::fs::write(&before, changed).unwrap();
    let found: Result<Vec<_>, _> = read_from(&scratch.home, first_of_last + 1).unwrap().collect();
    assert!(matches!(found, Err(ReadError::Damaged { .. })));
    assert!(matches!(head(&scratch.home), Err(ReadError::Damaged { .. })));
    std::fs::remove_file(&before).unwrap();
    assert!(matches!(read_from(&scratch.home, first_of_last + 1), Err(ReadError::Damaged { .. })));
}
