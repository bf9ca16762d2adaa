//! The fast look finds each entry that has the words, in order, over all segments, and nothing else.

use super::common::{open, run_id, scratch};
use crate::audit::{Draft, entries_with, read};
use crate::history::event::Event;

fn signal(name: &str) -> Event {
    Event::SignalReceived { signal: name.to_owned(), step: None, heed: crate::history::event::Heed::default() }
}

#[test]
fn every_entry_with_the_words_is_found_in_its_order_over_all_segments() {
    let scratch = scratch();
    assert!(entries_with(&scratch.home, "SIGUSR").unwrap().is_empty(), "no log is nothing found");
    let mut log = open(&scratch.home).unwrap();
    let run = run_id(1);
    let long = "x".repeat(40_000);
    for number in 0..40 {
        let name = if number % 7 == 0 { format!("SIGUSR{number}") } else { format!("{long}{number}") };
        log.append(&[Draft { run: Some(&run), event: &signal(&name) }]).unwrap();
    }
    let all: Vec<_> = read(&scratch.home).unwrap().map(|found| found.unwrap()).collect();
    assert!(all.iter().any(|found| *found.segment != *all[0].segment), "there are several segments");
    let wanted: Vec<_> = all
        .into_iter()
        .map(|found| found.recorded.entry)
        .filter(|entry| format!("{entry:?}").contains("SIGUSR"))
        .collect();
    assert_eq!(entries_with(&scratch.home, "\"signal\":\"SIGUSR").unwrap(), wanted);
    assert_eq!(wanted.len(), 6);
}
