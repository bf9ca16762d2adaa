//! The segments of a log from its end, each held against the one that was written after it, on all processors.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use super::base::{self, Base};
use super::read::{ReadError, Reader, list_names, nothing_after};
use super::skim::Part;
use super::tail::Position;
use super::{Home, names};

/// The most segments that are read at once.
const MOST: usize = 32;

/// The segments of a log from its end.
#[derive(Debug)]
pub(super) struct Backwards {
    folder: PathBuf,
    /// Those that are not read yet, by their first entries, in order.
    left: Vec<u64>,
    /// How many of them are read next.
    width: usize,
    /// Read and not given yet, the oldest first.
    waiting: Vec<Part>,
    /// The first entry of the part that was given last, and its `prev`.
    expected: Option<(u64, String)>,
    /// What was given last: when nobody uses it any more, its room is used again.
    given: Vec<Arc<String>>,
    /// Where the log begins: after what was archived.
    begin: Position,
}

impl Backwards {
    /// Begins with the newest segment as it is skimmed. Where somebody writes at this moment, or a crash has left something unfinished,
    /// that fails, as it does where the log is damaged: [`Backwards::strictly`] tells which.
    ///
    /// # Errors
    /// There is no log, or its folder cannot be read.
    pub fn skimming(home: &Home) -> Result<Self, ReadError> {
        let folder = home.audit();
        let base = Base::of(&folder)?;
        let left = base::segments(base.as_ref(), &list_names(&folder)?);
        if left.is_empty() {
            return Err(no_segments(folder, base));
        }
        let begin = base::start(base.as_ref());
        Ok(Self { folder, left, width: 1, waiting: Vec::new(), expected: None, given: Vec::new(), begin })
    }

    /// Reads the end of the log, as strictly as everywhere, and gives it too, to read on from it what comes.
    ///
    /// # Errors
    /// There is no log, or its end cannot be read.
    pub fn strictly(home: &Home) -> Result<(Self, Reader), ReadError> {
        let folder = home.audit();
        let base = Base::of(&folder)?;
        let mut left = base::segments(base.as_ref(), &list_names(&folder)?);
        let Some(newest) = left.pop() else { return Err(no_segments(folder, base)) };
        let mut waiting = Vec::new();
        let begin = base::start(base.as_ref());
        let mut start = begin.clone();
        if newest != begin.seq {
            let path = folder.join(names::segment(newest));
            let missing = |from: u64| ReadError::Damaged {
                path: path.clone(),
                line: 1,
                offset: 0,
                entry: from,
                problem: format!("this segment begins with entry {newest}: entries are missing"),
            };
            let before = left.pop().ok_or_else(|| missing(begin.seq))?;
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
        Ok((Self { folder, left, width: 1, waiting, expected: None, given: Vec::new(), begin }, end))
    }

    /// The next parts, the newest first; none when all were given. The further back, the more at once.
    ///
    /// # Errors
    /// A segment cannot be read, is damaged, or is not the one that the newer one was written after.
    pub fn next(&mut self) -> Result<Vec<Part>, ReadError> {
        let mut parts: Vec<Part> = self.waiting.drain(..).rev().collect();
        if parts.is_empty() {
            let firsts = self.left.split_off(self.left.len().saturating_sub(self.width));
            self.width = (self.width * 2).min(MOST);
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
            Some((first, _)) if parts.is_empty() && *first != self.begin.seq => {
                Err(self.damaged(*first, 0, format!("the log begins with entry {first}: those before it are missing")))
            }
            Some((first, prev)) if parts.is_empty() && self.begin.prev.as_str() != prev => {
                let problem = "was not written after the last one that was archived: their link is broken";
                Err(self.damaged(*first, 0, format!("entry {first} {problem}")))
            }
            Some(_) | None => Ok(parts),
        }
    }

    /// Something is wrong with this entry, which begins at this byte of its segment.
    pub fn damaged(&self, entry: u64, offset: u64, problem: String) -> ReadError {
        let all = list_names(&self.folder).unwrap_or_default();
        let first = names::segments(&all).into_iter().rfind(|first| *first <= entry).unwrap_or(1);
        let path = self.folder.join(names::segment(first));
        ReadError::Damaged { path, line: entry - first.min(entry) + 1, offset, entry, problem }
    }
}

/// Why there is nothing to read.
fn no_segments(folder: PathBuf, base: Option<Base>) -> ReadError {
    match base {
        None => ReadError::NoLog { path: folder },
        Some(base) => nothing_after(&folder, &base),
    }
}

/// Does the same with each, on all processors, and gives what comes of them in their order.
pub fn in_parallel<T: Sync, U: Send>(items: &[T], work: impl Fn(&T) -> U + Sync) -> Vec<U> {
    // To ask how many processors there are takes as long as a part.
    let threads = if items.len() > 1 { thread::available_parallelism().map_or(1, usize::from).min(8) } else { 1 };
    if threads == 1 {
        return items.iter().map(work).collect();
    }
    let share = items.len().div_ceil(threads);
    thread::scope(|scope| {
        let work = &work;
        let shares: Vec<_> =
            items.chunks(share).map(|items| scope.spawn(move || items.iter().map(work).collect::<Vec<U>>())).collect();
        shares.into_iter().flat_map(|share| share.join().expect("what each thread does cannot panic")).collect()
    })
}
