//! What the tests share: a scratch home, events, and a checker of their own.

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::audit::{Draft, Home, Log, LogError, Recorded, read};
use crate::history::entry::Who;
use crate::history::event::{Event, Heed};
use crate::id::RunId;

/// A home in a scratch folder that goes when this is dropped.
pub(super) struct Scratch {
    _folder: TempDir,
    pub home: Home,
}

/// A fresh home, not made yet.
pub(super) fn scratch() -> Scratch {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path().join("home")).unwrap();
    Scratch { _folder: folder, home }
}

pub(super) fn who() -> Who {
    Who { uid: 0, user: Some("root".to_owned()), host: "db1".to_owned(), pid: 7, ..Who::default() }
}

pub(super) fn open(home: &Home) -> Result<Log, LogError> {
    Log::open(home, who())
}

pub(super) fn run_id(number: u64) -> RunId {
    format!("01900000-0000-7000-8000-{number:012x}").parse().unwrap()
}

/// An event that carries this text.
pub(super) fn event(text: &str) -> Event {
    Event::SignalReceived { signal: text.to_owned(), step: None, heed: Heed::AtOnce }
}

/// The text that [`event`] was given.
pub(super) fn text_of(event: &Event) -> Option<&str> {
    match event {
        Event::SignalReceived { signal, .. } => Some(signal),
        _ => None,
    }
}

pub(super) fn append(log: &mut Log, texts: &[&str]) -> Result<Vec<Recorded>, LogError> {
    let run = run_id(1);
    let events: Vec<Event> = texts.iter().map(|text| event(text)).collect();
    let drafts: Vec<Draft<'_>> = events.iter().map(|event| Draft { run: Some(&run), event }).collect();
    log.append(&drafts)
}

/// The texts of all events made by [`event`], by the reader.
pub(super) fn texts(home: &Home) -> Vec<String> {
    read(home).unwrap().filter_map(|found| text_of(&found.unwrap().recorded.entry.event).map(str::to_owned)).collect()
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks a chain with code of its own: the lines of all segments in order, blank ones left out. Gives the lines.
pub(super) fn check_chain(segments: &[Vec<u8>]) -> Result<Vec<String>, String> {
    let mut prev = "0".repeat(64);
    let mut lines = Vec::new();
    for bytes in segments {
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let value: serde_json::Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            let seq = lines.len() as u64 + 1;
            if value["seq"] != seq || value["prev"] != *prev {
                return Err(format!("line {seq}: seq {}, prev {} and not {prev}", value["seq"], value["prev"]));
            }
            prev = sha256(line);
            lines.push(String::from_utf8(line.to_vec()).map_err(|error| error.to_string())?);
        }
    }
    Ok(lines)
}

/// The bytes of all segments of a home, in order.
pub(super) fn segments(home: &Home) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = std::fs::read_dir(home.audit())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}
