//! The segments that nobody writes to any more, read ahead by all processors: what can be looked at in a line alone is looked at there,
//! and whoever goes through the log gets the lines in their order. Memory is bounded by what is under way, not by how long a segment is.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::kept::{self, Told};
use super::line::{Decoded, Decoder, LineError, seq_of};
use super::lines::{LineEnd, Lines, RawLine};
use super::read::{open, read_at};
use super::tree::{Hash, leaf};
use super::{Home, names};
use crate::id::Digest;

/// How many bytes of lines a processor gets at a time.
const STRETCH: usize = 64 * 1024;

/// How many stretches are under way for each processor.
const UNDER_WAY: usize = 4;

/// A line and all that can be told of it alone.
#[derive(Debug)]
pub(super) struct Looked {
    /// Its number in the segment; the first is 1.
    pub number: u64,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How many bytes it has, without the newline.
    pub length: u64,
    /// What stands after it.
    pub end: LineEnd,
    /// What it is.
    pub is: Result<Understood, Unreadable>,
}

/// A line that is an entry.
#[derive(Debug)]
pub(super) struct Understood {
    /// What it says.
    pub decoded: Decoded,
    /// The SHA-256 of the line.
    pub digest: Digest,
    /// Its leaf in the tree.
    pub leaf: Hash,
    /// What is to be said of the files that it names, where these are looked at.
    pub files: Vec<Told>,
}

/// A line that is none.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// Why.
    pub error: LineError,
    /// The number that it gives itself.
    pub seq: Option<u64>,
}

impl Looked {
    /// Looks at a line, and at the files of this home that it names, if there is one.
    pub fn at(raw: &RawLine<'_>, decoder: &mut Decoder, home: Option<&Home>) -> Self {
        let is = match decoder.decode(raw.bytes) {
            Ok(decoded) => {
                let entry = &decoded.entry;
                let files = match (home, &entry.run) {
                    (Some(home), Some(run)) => kept::look(home, run, &entry.event),
                    (Some(_) | None, None) | (None, Some(_)) => Vec::new(),
                };
                Ok(Understood { digest: Digest::of(raw.bytes), leaf: leaf(raw.bytes), files, decoded })
            }
            Err(error) => Err(Unreadable { error, seq: seq_of(raw.bytes) }),
        };
        Self { number: raw.number, offset: raw.offset, length: raw.length, end: raw.end, is }
    }
}

/// What comes of reading a segment, in this order.
#[derive(Debug)]
pub(super) enum Step {
    /// The segment of this name begins.
    Begins {
        /// The number of the entry that it begins with, by its name.
        first: u64,
    },
    /// It has these lines next.
    Lines(Arc<Vec<Looked>>),
    /// It has no more.
    Ends {
        /// How many bytes it has.
        size: u64,
    },
    /// It cannot be opened, or read on.
    Fails(String),
}

/// Reads these segments, named by their first entries, and hands out what comes of it in their order.
pub(super) fn read_ahead(folder: &Path, firsts: &[u64], home: Option<&Home>, mut take: impl FnMut(Step)) {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let most = UNDER_WAY * threads;
    thread::scope(|scope| {
        let (give, work) = sync_channel::<Stretch>(most);
        // It is theirs alone: if they all failed, nobody would wait for them.
        let work = Arc::new(Mutex::new(work));
        for _ in 0..threads {
            let work = Arc::clone(&work);
            scope.spawn(move || {
                // Memory is given back where it was taken: from elsewhere that takes longer than looking at the lines.
                let mut given: VecDeque<Arc<Vec<Looked>>> = VecDeque::new();
                loop {
                    let next = work.lock().map(|work| work.recv());
                    let Ok(Ok(stretch)) = next else { return };
                    given.push_back(stretch.look(home));
                    while given.front().is_some_and(|oldest| Arc::strong_count(oldest) == 1) {
                        given.pop_front();
                    }
                }
            });
        }
        drop(work);
        let mut under_way: VecDeque<UnderWay> = VecDeque::with_capacity(most);
        let mut push = |next: UnderWay| {
            if under_way.len() == most
                && let Some(done) = under_way.pop_front()
            {
                take(done.wait());
            }
            under_way.push_back(next);
        };
        for first in firsts {
            push(UnderWay::Here(Step::Begins { first: *first }));
            let end = feed(&folder.join(names::segment(*first)), |stretch, lines| {
                give.send(stretch).expect("who works waits for work until it is told that there is none");
                push(UnderWay::There(lines));
            });
            push(UnderWay::Here(match end {
                Ok(size) => Step::Ends { size },
                Err(problem) => Step::Fails(problem),
            }));
        }
        under_way.into_iter().for_each(|rest| take(rest.wait()));
        drop(give);
    });
}

/// Splits a segment into stretches. Gives its size.
fn feed(path: &Path, mut give: impl FnMut(Stretch, Receiver<Arc<Vec<Looked>>>)) -> Result<u64, String> {
    let file = open(path).map_err(|error| error.to_string())?;
    let mut lines = Lines::new(|buffer: &mut [u8], offset| read_at(&file, buffer, offset), 0, 1);
    let mut more = true;
    while more {
        let mut bytes = Vec::with_capacity(STRETCH + STRETCH / 4);
        let mut marks = Vec::new();
        let mut failed = Ok(());
        while more && bytes.len() < STRETCH {
            match lines.next() {
                Ok(Some(raw)) => {
                    marks.push((bytes.len(), RawLine { bytes: &[], ..raw }));
                    bytes.extend_from_slice(raw.bytes);
                }
                Ok(None) => more = false,
                Err(error) => {
                    failed = Err(format!("the file cannot be read on: {error}"));
                    more = false;
                }
            }
        }
        if !marks.is_empty() {
            let (reply, looked) = sync_channel(1);
            give(Stretch { bytes, marks, reply }, looked);
        }
        failed?;
    }
    Ok(file.metadata().map_or(0, |status| status.len()))
}

/// Lines that are to be looked at.
struct Stretch {
    bytes: Vec<u8>,
    /// Where in these bytes each line begins, and what else is known of it.
    marks: Vec<(usize, RawLine<'static>)>,
    reply: SyncSender<Arc<Vec<Looked>>>,
}

impl Stretch {
    /// Looks at them, hands that on, and gives it back too.
    fn look(self, home: Option<&Home>) -> Arc<Vec<Looked>> {
        let mut decoder = Decoder::default();
        let ends = self.marks.iter().skip(1).map(|(from, _)| *from).chain([self.bytes.len()]);
        let lines = self.marks.iter().zip(ends).map(|((from, mark), end)| {
            let raw = RawLine { bytes: &self.bytes[*from..end], ..*mark };
            Looked::at(&raw, &mut decoder, home)
        });
        let lines = Arc::new(lines.collect());
        // Nobody waits any more if who takes the lines has failed.
        let _ = self.reply.send(Arc::clone(&lines));
        lines
    }
}

/// A step, or the promise of one.
enum UnderWay {
    Here(Step),
    There(Receiver<Arc<Vec<Looked>>>),
}

impl UnderWay {
    fn wait(self) -> Step {
        match self {
            Self::Here(step) => step,
            Self::There(lines) => Step::Lines(lines.recv().expect("looking at a line does not panic")),
        }
    }
}
