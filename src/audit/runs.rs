//! The runs of a log, the newest first, each with all its lines: read from the end, so that the last few of many cost little.
//!
//! A run's id is made before its first entry and begins with the time of that. So whoever reads backwards has all lines of a run when the
//! entries are older than its id and its opening was met; few have anything before it, and some are never opened. There is no index: what
//! is yielded is what stands in the log at this moment.
//!
//! # Promises
//! - No number of what was read is missing, and what is understood of it is held against the links; the end of the log is read as
//!   strictly as everywhere. Damage ends the reading. What is older than what was asked for is not looked at.
//! - A run is yielded whole, and no newer one after it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use super::read::{ReadError, Reader, list_names};
use super::skim::{Key, Part, Skimmed, Turn, run_of};
use super::tail::Position;
use super::{Home, names};
use crate::id::RunId;

/// The most segments that are read at once.
const MOST: usize = 32;

/// How much older than a run's id an entry must be, in milliseconds, to be taken for older than the run: an hour.
const SURELY_BEFORE: u64 = 60 * 60 * 1000;

/// A run, and every line of it, in order.
#[derive(Debug, Clone)]
pub struct WholeRun {
    /// Its id.
    pub run: RunId,
    /// Its lines; at least one.
    pub lines: Vec<Skimmed>,
}

/// See [`runs`].
#[derive(Debug)]
pub struct Runs {
    back: Backwards,
    /// How many segments are read next.
    width: usize,
    /// Runs whose beginning was not reached for certain.
    begun_before: HashMap<Key, Pending>,
    /// Runs that are complete, by the number of their first line, until none that is newer can come.
    ready: BTreeMap<u64, (Key, Vec<Skimmed>)>,
    /// The runs that were reached with their beginning.
    over: HashSet<Key>,
}

/// A run of which the end was read.
#[derive(Debug)]
struct Pending {
    /// The lines that were read, the last first.
    lines: Vec<Skimmed>,
    beginning: Beginning,
}

/// Whether the beginning of a run may have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// What was read last of it may be its first entry.
    MayBeRead,
    /// What was read last of it cannot be its first entry.
    IsBefore,
}

/// The runs of the log of this home, the newest first.
///
/// # Errors
/// There is no log, or its end cannot be read.
pub fn runs(home: &Home) -> Result<Runs, ReadError> {
    Ok(Runs {
        back: Backwards::new(home)?,
        width: 1,
        begun_before: HashMap::new(),
        ready: BTreeMap::new(),
        over: HashSet::new(),
    })
}

impl Runs {
    /// Some more runs; none when there are no more.
    ///
    /// # Errors
    /// A segment cannot be read, or is damaged.
    pub fn more(&mut self) -> Result<Option<Vec<WholeRun>>, ReadError> {
        loop {
            let parts = self.back.next(self.width)?;
            self.width = (self.width * 2).min(MOST);
            let Some(oldest) = parts.last() else {
                for (key, pending) in self.begun_before.drain() {
                    self.ready.insert(pending.first(), (key, pending.lines));
                }
                let rest = self.take_ready()?;
                return Ok((!rest.is_empty()).then_some(rest));
            };
            let reached = oldest.lines.first().and_then(|line| line.stamp()).and_then(|stamp| millis_of(stamp.time));
            for part in parts {
                for line in part.lines.into_iter().rev() {
                    self.take(line)?;
                }
            }
            if let Some(reached) = reached {
                self.settle(reached);
            }
            self.begun_before.values_mut().flat_map(|pending| &mut pending.lines).for_each(Skimmed::stand_alone);
            let ready = self.take_ready()?;
            if !ready.is_empty() {
                return Ok(Some(ready));
            }
        }
    }

    /// The end of the log, to read on from it what comes.
    pub fn into_end(self) -> Reader {
        self.back.end
    }

    fn take(&mut self, line: Skimmed) -> Result<(), ReadError> {
        let Some(key) = line.run else { return Ok(()) };
        if self.over.contains(&key) {
            let problem = format!(
                "it is of run {}, whose id was made more than an hour after the entries around it: the clock was set back, or the entry \
                 does not belong here",
                String::from_utf8_lossy(&key)
            );
            return Err(self.back.damaged(line.seq, line.offset(), problem));
        }
        let new = || Pending { lines: Vec::new(), beginning: Beginning::MayBeRead };
        let pending = self.begun_before.entry(key).or_insert_with(new);
        match line.turn {
            Turn::Opened | Turn::Refused | Turn::Glass => pending.beginning = Beginning::MayBeRead,
            Turn::Early => {}
            Turn::Resumed
            | Turn::Halted
            | Turn::Completed
            | Turn::Undone
            | Turn::Abandoned
            | Turn::Override
            | Turn::Other => pending.beginning = Beginning::IsBefore,
        }
        pending.lines.push(line);
        Ok(())
    }

    /// Where the log is older than a run's id (UUID of version 7, RFC 9562, section 5.7), nothing of the run is left before.
    fn settle(&mut self, reached: u64) {
        let is_whole = |key: &Key, pending: &Pending| {
            pending.beginning == Beginning::MayBeRead
                && made_at(key).is_some_and(|made| reached.saturating_add(SURELY_BEFORE) < made)
        };
        for (key, pending) in self.begun_before.extract_if(|key, pending| is_whole(key, pending)) {
            self.ready.insert(pending.first(), (key, pending.lines));
            self.over.insert(key);
        }
    }

    /// What is complete, and newer than all that is not.
    fn take_ready(&mut self) -> Result<Vec<WholeRun>, ReadError> {
        let unsettled = self.begun_before.values().filter(|pending| pending.beginning == Beginning::MayBeRead);
        let unsettled = unsettled.map(|pending| pending.first() + 1).max().unwrap_or_default();
        let ready = self.ready.split_off(&unsettled);
        ready
            .into_iter()
            .rev()
            .map(|(seq, (key, mut lines))| {
                lines.reverse();
                let run = run_of(&key).map_err(|problem| self.back.damaged(seq, 0, problem))?;
                Ok(WholeRun { run, lines })
            })
            .collect()
    }
}

impl Pending {
    /// The number of the first line that was read.
    fn first(&self) -> u64 {
        self.lines.last().map_or(0, |line| line.seq)
    }
}

/// The segments of a log from its end.
#[derive(Debug)]
struct Backwards {
    folder: PathBuf,
    /// Those that are not read yet, by their first entries, in order.
    left: Vec<u64>,
    /// Read and not given yet, the oldest first.
    waiting: Vec<Part>,
    /// The first entry of the part that was given last, and its `prev`.
    expected: Option<(u64, String)>,
    /// What was given last: when nobody uses it any more, its room is used again.
    given: Vec<Arc<String>>,
    end: Reader,
}

impl Backwards {
    fn new(home: &Home) -> Result<Self, ReadError> {
        let folder = home.audit();
        let mut left = names::segments(&list_names(&folder)?);
        let Some(newest) = left.pop() else { return Err(ReadError::NoLog { path: folder }) };
        let mut waiting = Vec::new();
        let mut start = Position::first();
        if newest != 1 {
            let path = folder.join(names::segment(newest));
            let missing = |from: u64| ReadError::Damaged {
                path: path.clone(),
                line: 1,
                offset: 0,
                entry: from,
                problem: format!("this segment begins with entry {newest}: entries are missing"),
            };
            let before = left.pop().ok_or_else(|| missing(1))?;
            let part = Part::read(&folder.join(names::segment(before)), before, Vec::new())?;
            if part.next != newest {
                return Err(missing(part.next));
            }
            let Some(last) = part.last_digest() else { return Err(missing(before)) };
            start = Position::start_of_segment(newest, last);
            waiting.push(part);
        }
        let mut end = Reader::from(home, &names::segment(newest), start)?;
        let found = end.by_ref().collect::<Result<Vec<_>, _>>()?;
        waiting.push(Part::of(found, newest));
        Ok(Self { folder, left, waiting, expected: None, given: Vec::new(), end })
    }

    /// The next parts, the newest first; none when all were given.
    fn next(&mut self, width: usize) -> Result<Vec<Part>, ReadError> {
        let mut parts: Vec<Part> = self.waiting.drain(..).rev().collect();
        if parts.is_empty() {
            let firsts = self.left.split_off(self.left.len().saturating_sub(width));
            let mut rooms = self.given.drain(..).filter_map(|text| Arc::try_unwrap(text).ok()).map(String::into_bytes);
            let segments: Vec<(u64, Mutex<Vec<u8>>)> =
                firsts.into_iter().rev().map(|first| (first, Mutex::new(rooms.next().unwrap_or_default()))).collect();
            drop(rooms);
            let folder = &self.folder;
            let read = |(first, room): &(u64, Mutex<Vec<u8>>)| {
                let room = room.lock().map(|mut room| std::mem::take(&mut *room)).unwrap_or_default();
                Part::read(&folder.join(names::segment(*first)), *first, room)
            };
            parts = in_parallel(&segments, read).into_iter().collect::<Result<_, _>>()?;
        }
        self.given.extend(parts.iter().filter_map(Part::bytes).map(Arc::clone));
        for part in &parts {
            if let Some((next, prev)) = &self.expected {
                // What is wrong shows where the newer segment begins.
                let newer = self.folder.join(names::segment(*next));
                let damaged = |entry: u64, problem: String| ReadError::Damaged {
                    path: newer,
                    line: 1,
                    offset: 0,
                    entry,
                    problem,
                };
                if part.next != *next {
                    return Err(damaged(part.next, format!("this segment begins with entry {next}")));
                }
                if part.last_digest().is_none_or(|last| last.as_str() != prev) {
                    let problem = "was not written after the entry that stands before it: their link is broken";
                    return Err(damaged(*next, format!("entry {next} {problem}")));
                }
            }
            // A segment that was just made has no line yet.
            if let Some(prev) = &part.first_prev {
                self.expected = Some((part.first, prev.clone()));
            }
        }
        match &self.expected {
            Some((first, _)) if parts.is_empty() && *first != 1 => {
                Err(self.damaged(*first, 0, format!("the log begins with entry {first}: those before it are missing")))
            }
            Some(_) | None => Ok(parts),
        }
    }

    /// Something is wrong with this entry, which begins at this byte of its segment.
    fn damaged(&self, entry: u64, offset: u64, problem: String) -> ReadError {
        let all = list_names(&self.folder).unwrap_or_default();
        let first = names::segments(&all).into_iter().rfind(|first| *first <= entry).unwrap_or(1);
        let path = self.folder.join(names::segment(first));
        ReadError::Damaged { path, line: entry - first.min(entry) + 1, offset, entry, problem }
    }
}

/// Does the same with each, on all processors, and gives what comes of them in their order.
pub fn in_parallel<T: Sync, U: Send>(items: &[T], work: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(8);
    let share = items.len().div_ceil(threads).max(1);
    if items.len() <= 1 || threads == 1 {
        return items.iter().map(work).collect();
    }
    thread::scope(|scope| {
        let work = &work;
        let shares: Vec<_> =
            items.chunks(share).map(|items| scope.spawn(move || items.iter().map(work).collect::<Vec<U>>())).collect();
        shares.into_iter().flat_map(|share| share.join().expect("what each thread does cannot panic")).collect()
    })
}

/// When an id was made, in milliseconds since 1970; none if it does not say.
fn made_at(key: &Key) -> Option<u64> {
    let digits: String = key.iter().take(13).filter(|byte| **byte != b'-').map(|byte| char::from(*byte)).collect();
    (key[14] == b'7').then(|| u64::from_str_radix(&digits, 16).ok()).flatten()
}

/// A time of the log in milliseconds since 1970.
fn millis_of(time: &str) -> Option<u64> {
    chrono::DateTime::parse_from_rfc3339(time).ok().and_then(|time| u64::try_from(time.timestamp_millis()).ok())
}
