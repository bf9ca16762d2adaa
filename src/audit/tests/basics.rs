//! An honest log, without faults: what is written can be read, by whom, and how much of it.

use std::os::unix::fs::PermissionsExt as _;

use super::common::{append, check_chain, event, open, run_id, scratch, segments, text_of, texts};
use super::policies::opened;
use crate::audit::{Draft, LogError, MAX_APPEND, MAX_LINE, SEGMENT, read};
use crate::history::event::Event;

#[test]
fn the_first_entry_says_that_the_log_was_made() {
    let scratch = scratch();
    drop(open(&scratch.home).unwrap());
    let all: Vec<_> = read(&scratch.home).unwrap().map(Result::unwrap).collect();
    assert_eq!(all.len(), 1);
    let entry = &all[0].recorded.entry;
    assert!(matches!(&entry.event, Event::LogCreated { program, .. } if program == env!("CARGO_PKG_VERSION")));
    assert_eq!((entry.seq, entry.prev.as_str()), (1, "0".repeat(64).as_str()));
    assert_eq!(entry.run, None);
}

#[test]
fn what_is_appended_is_read_back_byte_for_byte_and_the_chain_holds() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    let mut written = append(&mut log, &["a", "é \u{1b}[2J \u{202e} \" \\ \n \0"]).unwrap();
    drop(log);
    written.extend(append(&mut open(&scratch.home).unwrap(), &["c"]).unwrap());
    let found: Vec<_> = read(&scratch.home).unwrap().map(Result::unwrap).collect();
    let recorded: Vec<_> = found[1..].iter().map(|found| found.recorded.clone()).collect();
    assert_eq!(recorded, written);
    let lines = check_chain(&segments(&scratch.home)).unwrap();
    assert_eq!(lines[1..], written.iter().map(|recorded| recorded.line.clone()).collect::<Vec<_>>());
    assert_eq!((found[3].line_number, &*found[3].segment), (4, "0000000000000001.jsonl"));
}

#[test]
fn a_run_that_would_begin_in_the_last_quarter_of_a_segment_begins_a_new_one() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    for number in 1..=60 {
        let run = run_id(number);
        log.append(&[Draft { run: Some(&run), event: &opened(Vec::new()) }]).unwrap();
        let more = event(&"x".repeat(20_000));
        for _ in 0..3 {
            log.append(&[Draft { run: Some(&run), event: &more }]).unwrap();
        }
    }
    drop(log);
    // Each run has 70 KB, less than a quarter of a segment: none lies in two.
    let mut lies_in = std::collections::HashMap::new();
    for found in read(&scratch.home).unwrap().skip(1) {
        let found = found.unwrap();
        let before = lies_in.insert(found.recorded.entry.run.clone().unwrap(), found.segment.clone());
        assert!(before.is_none_or(|before| before == found.segment), "{}", found.recorded.entry.seq);
    }
    assert_eq!(lies_in.len(), 60);
    assert!(segments(&scratch.home).len() > 5);
    check_chain(&segments(&scratch.home)).unwrap();
    assert!(open(&scratch.home).is_ok());
}

#[test]
fn entries_of_one_append_name_the_first_of_them() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    let written = append(&mut log, &["a", "b", "c"]).unwrap();
    assert!(!written[0].line.contains("\"batch\""));
    assert!(written[1].line.starts_with("{\"v\":1,\"seq\":3,\"batch\":2,\"time\":\""));
    assert!(written[2].line.starts_with("{\"v\":1,\"seq\":4,\"batch\":2,\"time\":\""));
}

#[test]
fn an_entry_of_60_kib_is_written_and_one_byte_more_is_refused_before_anything_is() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    let around = append(&mut log, &["a"]).unwrap()[0].line.len() - 1;
    let before = segments(&scratch.home);
    let error = append(&mut log, &["fits", &"x".repeat(MAX_LINE)]).unwrap_err();
    assert!(matches!(&error, LogError::TooLong { what, .. } if what == "an entry `signal_received`"), "{error}");
    assert_eq!(segments(&scratch.home), before);
    // The clock, the entry's number and the `batch` take the same room in both, as there is one entry.
    let most = "x".repeat(MAX_LINE - around);
    assert_eq!(append(&mut log, &[&most]).unwrap()[0].line.len(), MAX_LINE);
    let error = append(&mut log, &[&format!("{most}x")]).unwrap_err();
    assert!(matches!(&error, LogError::TooLong { length, .. } if *length == MAX_LINE + 1), "{error}");
    let many = "x".repeat(MAX_LINE - 2 * around);
    assert_eq!(append(&mut log, &[&many, &many, &many, &many]).unwrap().len(), 4);
    let error = append(&mut log, &[many.as_str(); 5]).unwrap_err();
    assert!(matches!(&error, LogError::TooLong { limit, .. } if *limit == MAX_APPEND), "{error}");
    assert_eq!(append(&mut log, &["after"]).unwrap().len(), 1);
    check_chain(&segments(&scratch.home)).unwrap();
}

#[test]
fn the_chain_goes_on_across_segments_of_one_fixed_length() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    let text = "x".repeat(50_000);
    for _ in 0..60 {
        append(&mut log, &[&text]).unwrap();
    }
    let all = segments(&scratch.home);
    assert!(all.len() >= 3, "{}", all.len());
    assert!(all.iter().all(|segment| segment.len() as u64 == SEGMENT));
    assert_eq!(check_chain(&all).unwrap().len(), 61);
    assert_eq!(texts(&scratch.home).len(), 60);
    append(&mut open(&scratch.home).unwrap(), &["after"]).unwrap();
    assert_eq!(texts(&scratch.home).last().unwrap(), "after");
}

#[test]
fn nobody_else_can_read_or_write_the_log() {
    let scratch = scratch();
    drop(open(&scratch.home).unwrap());
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(scratch.home.path()), 0o700);
    assert_eq!(mode(&scratch.home.audit()), 0o700);
    for entry in std::fs::read_dir(scratch.home.audit()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn no_drafts_write_nothing() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    let before = segments(&scratch.home);
    assert_eq!(log.append(&[]).unwrap(), []);
    assert_eq!(segments(&scratch.home), before);
}

#[test]
fn hundred_writers_at_once_never_interleave() {
    let scratch = scratch();
    drop(open(&scratch.home).unwrap());
    let logs: Vec<_> = (0..100).map(|_| open(&scratch.home).unwrap()).collect();
    std::thread::scope(|scope| {
        for (number, mut log) in logs.into_iter().enumerate() {
            scope.spawn(move || {
                let run = run_id(number as u64);
                for round in 0..4 {
                    // Entries of very different lengths, so that the log is rotated under all of them.
                    let text = format!("{number}/{round} {}", "x".repeat(number * 20));
                    let events = [event(&text), event(&text)];
                    log.append(&events.each_ref().map(|event| Draft { run: Some(&run), event })).unwrap();
                }
            });
        }
    });
    let all = segments(&scratch.home);
    assert!(all.len() > 1, "{}", all.len());
    assert_eq!(check_chain(&all).unwrap().len(), 1 + 100 * 4 * 2);
    let mut next = vec![0; 100];
    for found in read(&scratch.home).unwrap() {
        let entry = found.unwrap().recorded.entry;
        let Some(text) = text_of(&entry.event) else { continue };
        let (number, rest) = text.split_once('/').unwrap();
        let number: usize = number.parse().unwrap();
        let round: usize = rest.split_once(' ').unwrap().0.parse().unwrap();
        assert_eq!(entry.run, Some(run_id(number as u64)));
        assert_eq!(round, next[number] / 2, "the entries of one writer stay in order");
        next[number] += 1;
    }
    assert_eq!(next, vec![8; 100]);
}
