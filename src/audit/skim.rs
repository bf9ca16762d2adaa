//! A segment read at the speed at which it comes from the disk. Of each line only what stands at its front is looked at: its number, its
//! run, the name of its event. What follows is text until somebody asks for it; then the line is held against the digest of it that the
//! line after it carries, so that a line which was changed is never taken for what happened.
//!
//! It never passes over a line: one that does not begin as entries are written is understood with all the strictness of [`decode`] or
//! ends the reading, and so does a number that is missing or comes twice.

use std::borrow::Cow;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::line::{FIRST_PREV, decode};
use super::lines::{blank_in, newline_in};
use super::read::{Found, ReadError, open};
use crate::history::entry::Entry;
use crate::history::event::Event;
use crate::id::{Digest, RunId};

/// The longest file that is taken for a segment, in bytes. Segments of this version have 512 KiB.
const LONGEST: u64 = 64 * 1024 * 1024;

/// How many letters the id of a run or a boot has.
const ID: usize = 36;

/// How many letters a time has.
const TIME: usize = 27;

/// A run's id, as its letters.
pub(super) type Key = [u8; ID];

/// What an event decides about the run it belongs to, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// `run_opened`.
    Opened,
    /// `run_refused`.
    Refused,
    /// `run_resumed`.
    Resumed,
    /// `run_halted`.
    Halted,
    /// `run_completed`.
    Completed,
    /// `run_undone`.
    Undone,
    /// `run_abandoned`.
    Abandoned,
    /// `override_accepted`: without one, or the next, there is no deviation.
    Override,
    /// `glass_broken`, which may stand before the opening.
    Glass,
    /// `override_refused`, which may stand before the opening.
    Early,
    /// Any other: it does not begin or end a run, and something of the run stands before it.
    Other,
}

/// When a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// UTC, as in the line.
    pub time: &'a str,
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub mono: u64,
    /// The boot that `mono` belongs to.
    pub boot: &'a str,
}

/// A line of the log whose place in the chain was checked, and whose details were not looked at.
#[derive(Debug, Clone)]
pub struct Skimmed {
    text: Arc<String>,
    range: Range<usize>,
    /// Where in it `"event":` begins, if it is in the form in which entries are written.
    event_at: Option<usize>,
    /// Its number.
    pub seq: u64,
    /// What it decides.
    pub turn: Turn,
    pub(super) run: Option<Key>,
    /// The `prev` of the line after it, for one that stands alone.
    sealed_by: Option<Box<str>>,
}

/// All lines of a segment.
#[derive(Debug)]
pub(super) struct Part {
    pub lines: Vec<Skimmed>,
    /// The number of the first line that it has, or would have.
    pub first: u64,
    /// What its first line has as `prev`; none if it has no line.
    pub first_prev: Option<String>,
    /// The number that follows its last line.
    pub next: u64,
}

/// What stands at the front of a line, in the order and form in which entries are written.
pub(super) struct Front<'a> {
    pub seq: u64,
    pub batch: Option<u64>,
    stamp: Stamp<'a>,
    run: Option<&'a str>,
    pub event: &'a str,
    /// Where `"event":` begins.
    pub event_at: usize,
}

impl Skimmed {
    fn new(text: &Arc<String>, range: Range<usize>) -> Result<Self, String> {
        let line = &text[range.clone()];
        let (seq, turn, run, event_at) = match front(line) {
            Some(front) => (front.seq, turn(front.event), front.run.map(key), Some(front.event_at)),
            None => {
                let entry = decode(line.as_bytes()).map_err(|error| error.to_string())?.entry;
                (entry.seq, turn(name(&entry.event)), entry.run.as_ref().map(|run| key(run.as_str())), None)
            }
        };
        Ok(Self { text: Arc::clone(text), range, event_at, seq, turn, run, sealed_by: None })
    }

    /// The bytes of the line, without its newline.
    pub fn text(&self) -> &str {
        &self.text[self.range.clone()]
    }

    /// All that it says, read as strictly as `audit verify` does.
    ///
    /// # Errors
    /// Why it is not an entry, or that the line after it says that it was another one.
    pub fn entry(&self) -> Result<Entry, String> {
        self.check_link()?;
        decode(self.text().as_bytes()).map(|decoded| decoded.entry).map_err(|error| error.to_string())
    }

    /// What happened. Nothing else of the line is understood.
    ///
    /// # Errors
    /// As [`Skimmed::entry`].
    pub fn event(&self) -> Result<Event, String> {
        self.check_link()?;
        event_of(self.text(), self.event_at)
    }

    /// When it was written; none in a line that only [`Skimmed::entry`] understands.
    pub fn stamp(&self) -> Option<Stamp<'_>> {
        front(self.text()).map(|front| front.stamp)
    }

    /// Where it begins in its segment, in bytes, until it stands alone.
    pub(super) fn offset(&self) -> u64 {
        self.range.start as u64
    }

    /// Holds it against its digest in the line after it. The last line of a segment was held against the next one when that was read,
    /// and the last of a log has none after it.
    fn check_link(&self) -> Result<(), String> {
        let prev = match &self.sealed_by {
            Some(prev) => Cow::Borrowed(&**prev),
            None => match self.following() {
                Some(next) => prev_of(next)?,
                None => return Ok(()),
            },
        };
        if is_hex_of(prev.as_bytes(), &Sha256::digest(self.text().as_bytes()).into()) {
            return Ok(());
        }
        Err(format!("entry {} was not written after it as it stands now: their link is broken", self.seq + 1))
    }

    /// The line after it in the same text.
    fn following(&self) -> Option<&str> {
        let rest = self.text.get(self.range.end + 1..)?;
        let length = newline_in(rest.as_bytes()).filter(|length| *length > 0)?;
        rest.get(..length)
    }

    /// Lets go of the segment that it was read with.
    pub(super) fn stand_alone(&mut self) {
        if self.range.len() != self.text.len() {
            if self.sealed_by.is_none() {
                // What cannot be understood is no seal that fits.
                self.sealed_by = self.following().map(|next| prev_of(next).unwrap_or_default().into());
            }
            let text = self.text().to_owned();
            self.range = 0..text.len();
            self.text = Arc::new(text);
        }
    }
}

impl Part {
    /// Reads a segment into which nobody writes, such as one after which there is another. The buffer is one that is not used any more.
    pub fn read(path: &Path, first: u64, mut bytes: Vec<u8>) -> Result<Self, ReadError> {
        let io_error = |source| ReadError::Io { path: path.to_path_buf(), source };
        let file = open(path)?;
        let length = file.metadata().map_err(io_error)?.len();
        let damaged = |line: u64, offset: usize, entry: u64, problem: String| ReadError::Damaged {
            path: path.to_path_buf(),
            line,
            offset: offset as u64,
            entry,
            problem,
        };
        if length > LONGEST {
            return Err(damaged(1, 0, first, format!("the file has {length} bytes, which no segment has")));
        }
        bytes.clear();
        bytes.reserve(usize::try_from(length).unwrap_or_default() + 1);
        file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(io_error)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let before = &error.as_bytes()[..at];
            let lines = before.iter().filter(|byte| **byte == b'\n').count() as u64;
            let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
            damaged(lines + 1, begin, first + lines, "it is not UTF-8".to_owned())
        })?;
        Self::split(Arc::new(text), first)
            .map_err(|wrong| damaged(wrong.line, wrong.offset, wrong.entry, wrong.problem))
    }

    /// The lines that the strict reader has read from the segment that is being written.
    pub fn of(found: Vec<Found>, first: u64) -> Self {
        let mut text = String::new();
        let mut ranges = Vec::with_capacity(found.len());
        for found in found {
            let from = text.len();
            text.push_str(&found.recorded.line);
            ranges.push((from..text.len(), found.recorded.entry));
            text.push('\n');
        }
        let text = Arc::new(text);
        let first_prev = ranges.first().map(|(_, entry)| entry.prev.as_str().to_owned());
        let lines = ranges.into_iter().map(|(range, entry)| Skimmed {
            text: Arc::clone(&text),
            event_at: front(&text[range.clone()]).map(|front| front.event_at),
            range,
            seq: entry.seq,
            turn: turn(name(&entry.event)),
            run: entry.run.as_ref().map(|run| key(run.as_str())),
            sealed_by: None,
        });
        let lines: Vec<Skimmed> = lines.collect();
        let next = lines.last().map_or(first, |line| line.seq + 1);
        Self { lines, first, first_prev, next }
    }

    fn split(text: Arc<String>, first: u64) -> Result<Self, Wrong> {
        let bytes = text.as_bytes();
        let mut lines: Vec<Skimmed> = Vec::with_capacity(bytes.len() / 512);
        let (mut offset, mut entry) = (0, first);
        while offset < bytes.len() && bytes[offset] != b'\n' {
            let wrong = |problem: String| Wrong { line: entry - first + 1, offset, entry, problem };
            let Some(length) = newline_in(&bytes[offset..]) else {
                return Err(wrong("the file ends right after this line, without a newline: it was cut off".to_owned()));
            };
            let line = Skimmed::new(&text, offset..offset + length).map_err(wrong)?;
            if line.seq != entry {
                return Err(wrong(format!("entry {entry} belongs here, and entry {} stands here", line.seq)));
            }
            lines.push(line);
            offset += length + 1;
            entry += 1;
        }
        let further = offset + blank_in(&bytes[offset..]);
        if further < bytes.len() {
            let problem = format!("nothing is written here, but something is written further on, at byte {further}");
            return Err(Wrong { line: entry - first + 1, offset, entry, problem });
        }
        let at_start = |problem: String| Wrong { line: 1, offset: 0, entry: first, problem };
        let first_prev =
            lines.first().map(|line| prev_of(line.text()).map(Cow::into_owned)).transpose().map_err(at_start)?;
        if first == 1 && first_prev.as_deref().is_some_and(|prev| prev != FIRST_PREV) {
            return Err(at_start("the first entry does not say that there is none before it".to_owned()));
        }
        Ok(Self { lines, first, first_prev, next: entry })
    }

    /// The digest of its last line; none if it has no line.
    pub fn last_digest(&self) -> Option<Digest> {
        self.lines.last().map(|line| Digest::of(line.text().as_bytes()))
    }

    /// The bytes, as they were read.
    pub fn bytes(&self) -> Option<&Arc<String>> {
        self.lines.first().map(|line| &line.text)
    }
}

/// What is wrong in a segment, and where.
struct Wrong {
    line: u64,
    offset: usize,
    entry: u64,
    problem: String,
}

/// Takes the front of a line apart; none if it is not in the form in which entries are written.
pub(super) fn front(line: &str) -> Option<Front<'_>> {
    let (seq, rest) = number(line.strip_prefix("{\"v\":1,\"seq\":")?)?;
    let (batch, rest) = match rest.strip_prefix(",\"batch\":") {
        Some(rest) => number(rest).map(|(batch, rest)| (Some(batch), rest))?,
        None => (None, rest),
    };
    let (time, rest) = text(rest.strip_prefix(",\"time\":\"")?, TIME)?;
    let (mono, rest) = number(rest.strip_prefix(",\"mono\":")?)?;
    let (boot, rest) = text(rest.strip_prefix(",\"boot\":\"")?, ID)?;
    let (run, rest) = match rest.strip_prefix(",\"run\":\"") {
        Some(rest) => text(rest, ID).map(|(run, rest)| (Some(run), rest))?,
        None => (None, rest),
    };
    let rest = rest.strip_prefix(',')?;
    let event_at = line.len() - rest.len();
    let rest = rest.strip_prefix("\"event\":\"")?;
    let (event, rest) = text(rest, rest.bytes().take(64).position(|byte| byte == b'"')?)?;
    let is_plain = event.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let is_whole = seq > 0 && is_plain && rest.starts_with(",\"data\":{") && line.ends_with("\"}");
    is_whole.then_some(Front { seq, batch, stamp: Stamp { time, mono, boot }, run, event, event_at })
}

fn number(rest: &str) -> Option<(u64, &str)> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let is_plain = digits == 1 || !rest.starts_with('0');
    is_plain.then(|| rest[..digits].parse().ok()).flatten().map(|number| (number, &rest[digits..]))
}

/// A text of this length, after its quotation mark.
fn text(rest: &str, length: usize) -> Option<(&str, &str)> {
    let (text, rest) = (rest.get(..length)?, rest.get(length..)?);
    rest.strip_prefix('"').map(|rest| (text, rest))
}

/// What a line has as `prev`; what it is good for is seen when it is compared.
pub(super) fn prev_of(line: &str) -> Result<Cow<'_, str>, String> {
    const KEY: &str = ",\"prev\":\"";
    let at = line.len().checked_sub(KEY.len() + 64 + 2);
    let hex = at.and_then(|at| line.get(at..)?.strip_prefix(KEY)?.strip_suffix("\"}"));
    match hex {
        Some(hex) => Ok(Cow::Borrowed(hex)),
        None => {
            let entry = decode(line.as_bytes()).map_err(|error| error.to_string())?.entry;
            Ok(Cow::Owned(entry.prev.as_str().to_owned()))
        }
    }
}

/// Whether these are the hexadecimal digits of this digest.
pub(super) fn is_hex_of(hex: &[u8], raw: &[u8; 32]) -> bool {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pair = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    hex.len() == 64 && hex.chunks_exact(2).zip(raw).all(|(digits, byte)| digits == pair(byte))
}

fn key(run: &str) -> Key {
    run.as_bytes().try_into().expect("a run's id has 36 letters, which was checked")
}

/// What happened, of a line in which `"event":` begins here, if it is in the form in which entries are written.
pub(super) fn event_of(line: &str, event_at: Option<usize>) -> Result<Event, String> {
    let bounds = event_at.and_then(|from| Some((from, line.rfind(",\"who\":{\"uid\":")?)));
    let quick = bounds.filter(|(from, to)| from < to).and_then(|(from, to)| {
        let mut object = String::with_capacity(to - from + 2);
        object.push('{');
        object.push_str(&line[from..to]);
        object.push('}');
        serde_json::from_str(&object).ok()
    });
    match quick {
        Some(event) => Ok(event),
        None => decode(line.as_bytes()).map(|decoded| decoded.entry.event).map_err(|error| error.to_string()),
    }
}

/// The run that a key is of.
pub(super) fn run_of(key: &Key) -> Result<RunId, String> {
    String::from_utf8_lossy(key).parse().map_err(|error: crate::id::IdError| error.to_string())
}

/// The name of an event that matters here.
fn name(event: &Event) -> &'static str {
    match event {
        Event::RunOpened { .. } => "run_opened",
        Event::RunRefused { .. } => "run_refused",
        Event::RunResumed { .. } => "run_resumed",
        Event::RunHalted { .. } => "run_halted",
        Event::RunCompleted { .. } => "run_completed",
        Event::RunUndone { .. } => "run_undone",
        Event::RunAbandoned { .. } => "run_abandoned",
        Event::OverrideAccepted(_) => "override_accepted",
        Event::GlassBroken(_) => "glass_broken",
        Event::OverrideRefused { .. } => "override_refused",
        _ => "",
    }
}

pub(super) fn turn(name: &str) -> Turn {
    match name {
        "run_opened" => Turn::Opened,
        "run_refused" => Turn::Refused,
        "run_resumed" => Turn::Resumed,
        "run_halted" => Turn::Halted,
        "run_completed" => Turn::Completed,
        "run_undone" => Turn::Undone,
        "run_abandoned" => Turn::Abandoned,
        "override_accepted" => Turn::Override,
        "glass_broken" => Turn::Glass,
        "override_refused" => Turn::Early,
        _ => Turn::Other,
    }
}
