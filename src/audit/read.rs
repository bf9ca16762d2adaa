//! Reading the log: every entry, in order, with its chain followed. Takes no lock, writes nothing, and ends at the
//! first thing that is wrong: a view that passed over damage would show a history that never was.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backwards::Backwards;
use super::base::{self, Base};
use super::line::Decoder;
use super::lines::Lines;
use super::log::Recorded;
use super::skim::Part;
use super::tail::{Position, Tail, judge_unlocked};
use super::{Home, names};
use crate::history::event::Event;
use crate::id::Digest;

/// An entry and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The file name of the segment.
    pub segment: Arc<str>,
    /// The number of the line in it; the first is 1.
    pub line_number: u64,
    /// Where the line begins, in bytes.
    pub offset: u64,
    /// The line and what it says.
    pub recorded: Recorded,
}

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no log.
    #[error(
        "there is no audit log in {}: nothing has run in this home yet, or another --home is meant",
        path.display()
    )]
    NoLog {
        /// The folder that would hold it.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Entries that were still to be read were archived meanwhile.
    #[error("entries were moved into an archive while they were read, as {} says; run the command again", path.display())]
    ArchivedMeanwhile {
        /// What stands for them.
        path: PathBuf,
    },
    /// The chain is broken here; what follows was not read.
    #[error(
        "the audit log is damaged or was changed: {}, line {line} (byte {offset}), where entry {entry} belongs: \
         {problem}. Run `interlock audit verify` for all there is to find",
        path.display()
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The line in it; the first is 1.
        line: u64,
        /// Where the line begins, in bytes.
        offset: u64,
        /// The number of the entry that belongs there.
        entry: u64,
        /// What is wrong.
        problem: String,
    },
}

/// What stands in this home for the entries of its log that were archived; none where none were, or where there is no log.
///
/// # Errors
/// The file cannot be read, or is not what it must be.
pub fn archived(home: &Home) -> Result<Option<Base>, ReadError> {
    Base::of(&home.audit())
}

/// The entries of the log of this home, from the first, or from the first that was not archived. What a crash has left unfinished at the end, or another process
/// is writing at this moment, is not yielded.
///
/// # Errors
/// There is no log, or its folder cannot be read. The iterator yields at most one error, as its last item.
pub fn read(home: &Home) -> Result<Reader, ReadError> {
    let folder = home.audit();
    let base = Base::of(&folder)?;
    if base::segments(base.as_ref(), &list_names(&folder)?).is_empty() {
        return Err(match base {
            None => ReadError::NoLog { path: folder },
            Some(base) => nothing_after(&folder, &base),
        });
    }
    let begin = base::start(base.as_ref());
    let decoder = Decoder::default();
    Ok(Reader { folder, at: begin.clone(), begin, current: None, decoder, state: State::Reading })
}

/// The head of the log of this home: the number of its last entry, which is how many there are, and the SHA-256 of that entry's
/// line. None if there is no log. Only its end is read.
///
/// # Errors
/// The end of the log cannot be read, or is damaged.
pub fn head(home: &Home) -> Result<Option<(u64, Digest)>, ReadError> {
    let (mut back, _) = match Backwards::strictly(home) {
        Err(ReadError::NoLog { .. }) => return Ok(None),
        back => back?,
    };
    loop {
        let parts = back.next()?;
        if parts.is_empty() {
            return Ok(archived(home)?.map(|base| (base.entries(), base.last().clone())));
        }
        if let Some(last) = parts.iter().find_map(|part| part.lines.last()) {
            return Ok(Some((last.seq, Digest::of(last.text().as_bytes()))));
        }
    }
}

/// The entries of the log of this home from the segment on that has the entry with this number: some before it, and all after it, each
/// followed as strictly as by [`read`]. That segment is held against the end of the one before. Of a number that is not there yet, the last.
///
/// # Errors
/// As [`read`]; also if that link is broken.
pub fn read_from(home: &Home, seq: u64) -> Result<Reader, ReadError> {
    let folder = home.audit();
    let base = Base::of(&folder)?;
    let segments = base::segments(base.as_ref(), &list_names(&folder)?);
    let at = segments.partition_point(|first| *first <= seq);
    let (Some(first), Some(before)) =
        (at.checked_sub(1).and_then(|at| segments.get(at)), at.checked_sub(2).and_then(|at| segments.get(at)))
    else {
        return read(home);
    };
    let part = Part::read(&folder.join(names::segment(*before)), *before, Vec::new())?;
    match part.last_digest() {
        Some(last) if part.next == *first => {
            Reader::from(home, &names::segment(*first), Position::start_of_segment(*first, last))
        }
        Some(_) | None => Err(ReadError::Damaged {
            path: folder.join(names::segment(*first)),
            line: 1,
            offset: 0,
            entry: part.next,
            problem: format!("this segment begins with entry {first}: entries are missing"),
        }),
    }
}

/// The UUID of the log of this home, which its first entry says: a log that was made anew in its place has another.
///
/// # Errors
/// There is no log, or its beginning cannot be read.
pub fn id(home: &Home) -> Result<String, ReadError> {
    if let Some(base) = archived(home)? {
        return Ok(base.log().to_owned());
    }
    match read(home)?.next().transpose()?.map(|found| found.recorded.entry.event) {
        Some(Event::LogCreated { log, .. }) => Ok(log),
        Some(_) | None => Err(ReadError::NoLog { path: home.audit() }),
    }
}

/// See [`read`].
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    /// Where it began.
    begin: Position,
    at: Position,
    current: Option<Segment>,
    decoder: Decoder,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// There was no further entry.
    Ended,
    /// Something is wrong here.
    Failed,
}

type ReadAt = Box<dyn FnMut(&mut [u8], u64) -> io::Result<usize> + Send>;

struct Segment {
    name: Arc<str>,
    file: Arc<File>,
    lines: Lines<ReadAt>,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Segment {
    fn open(folder: &Path, name: &str) -> Result<Self, ReadError> {
        let file = Arc::new(open(&folder.join(name))?);
        Ok(Self { name: name.into(), lines: lines(&file, &Position::first()), file })
    }
}

fn lines(file: &Arc<File>, at: &Position) -> Lines<ReadAt> {
    let file = Arc::clone(file);
    Lines::new(Box::new(move |buffer, offset| read_at(&file, buffer, offset)), at.offset, at.line)
}

/// What was archived is all there is: the segments after it are missing, and there always are some.
pub(super) fn nothing_after(folder: &Path, base: &Base) -> ReadError {
    let entry = base.entries() + 1;
    let problem = format!("entries 1 to {} are archived, and the segments after them are missing", base.entries());
    ReadError::Damaged { path: folder.join(names::segment(entry)), line: 1, offset: 0, entry, problem }
}

/// What the reader does next.
enum Next {
    Entry(Box<Found>),
    Again,
    End,
}

impl Iterator for Reader {
    type Item = Result<Found, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.state == State::Reading {
            match self.step() {
                Ok(Next::Entry(found)) => return Some(Ok(*found)),
                Ok(Next::Again) => {}
                Ok(Next::End) => self.state = State::Ended,
                Err(error) => {
                    self.state = State::Failed;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl Reader {
    /// Reads on from a place in a segment that was reached before.
    ///
    /// # Errors
    /// The segment cannot be opened.
    pub(super) fn from(home: &Home, segment: &str, at: Position) -> Result<Self, ReadError> {
        let folder = home.audit();
        let file = Arc::new(open(&folder.join(segment))?);
        let current = Segment { name: segment.into(), lines: lines(&file, &at), file };
        let decoder = Decoder::default();
        Ok(Self { folder, begin: at.clone(), at, current: Some(current), decoder, state: State::Reading })
    }

    /// Looks again for entries after the last one that was yielded: they may have been written since. After an error there are none.
    pub fn look_again(&mut self) {
        if self.state == State::Ended {
            self.state = State::Reading;
        }
    }

    /// Where it stands: after the last entry that was yielded, in this segment.
    pub(super) fn place(&self) -> (Position, String) {
        let segment = match &self.current {
            Some(segment) => segment.name.to_string(),
            None => names::segment(self.at.seq),
        };
        (self.at.clone(), segment)
    }

    fn step(&mut self) -> Result<Next, ReadError> {
        let Self { folder, begin, at, current, decoder, .. } = self;
        let segment = match current {
            Some(segment) => segment,
            None => match Segment::open(folder, &names::segment(at.seq)) {
                Ok(segment) => current.insert(segment),
                Err(error) => match Base::of(folder)?.filter(|base| base.entries() >= at.seq) {
                    None => return Err(error),
                    // It was archived since this reader was made, which has not yielded anything yet.
                    Some(base) if *at == *begin => {
                        *at = base.start();
                        *begin = base.start();
                        return Ok(Next::Again);
                    }
                    Some(_) => return Err(ReadError::ArchivedMeanwhile { path: folder.join(names::ARCHIVED) }),
                },
            },
        };
        let path = || folder.join(&*segment.name);
        let io_error = |source| ReadError::Io { path: path(), source };
        let (offset, line) = (at.offset, at.line);
        let raw = segment.lines.next().map_err(io_error)?;
        let mismatch = match &raw {
            None => None,
            Some(raw) => match at.follow_by(raw, decoder) {
                Ok(decoded) => {
                    let line = std::str::from_utf8(raw.bytes).expect("decode() has checked it").to_owned();
                    return Ok(Next::Entry(Box::new(Found {
                        segment: Arc::clone(&segment.name),
                        line_number: raw.number,
                        offset: raw.offset,
                        recorded: Recorded { line, entry: decoded.entry },
                    })));
                }
                Err(mismatch) => Some(mismatch),
            },
        };
        // Nothing more, or something else than the next entry. A writer may have been here in between, so look again:
        // first for a newer segment, since its maker was done with this one.
        let newer = newer_segment(folder, at, &segment.name)?;
        let file = Arc::clone(&segment.file);
        let tail = judge_unlocked(|buffer, offset| read_at(&file, buffer, offset), at).map_err(io_error)?;
        let damaged = |problem| ReadError::Damaged { path: path(), line, offset, entry: at.seq, problem };
        match (tail, newer) {
            (Tail::Written, _) => {
                segment.lines = lines(&segment.file, at);
                Ok(Next::Again)
            }
            (Tail::Damaged { problem }, _) => Err(damaged(problem)),
            (Tail::Torn { .. }, Newer::None) | (Tail::Clean, Newer::None) => Ok(Next::End),
            (Tail::Clean, Newer::Next) => {
                *at = Position::start_of_segment(at.seq, at.prev.clone());
                *current = None;
                Ok(Next::Again)
            }
            (Tail::Torn { .. }, Newer::Next | Newer::Later(_)) => {
                let unfinished = || "an unfinished entry, though a later segment follows".to_owned();
                Err(damaged(mismatch.map_or_else(unfinished, |mismatch| mismatch.to_string())))
            }
            (Tail::Clean, Newer::Later(first)) => {
                let problem = format!("the next segment begins with entry {first}: entries are missing");
                Err(damaged(problem))
            }
        }
    }
}

/// Which segment stands after a place in the chain.
enum Newer {
    None,
    Next,
    Later(u64),
}

fn newer_segment(folder: &Path, at: &Position, current: &str) -> Result<Newer, ReadError> {
    let here = names::first_of(current).expect("segments are opened by their number");
    let later = names::segments(&list_names(folder)?).into_iter().find(|first| *first > here);
    Ok(match later {
        None => Newer::None,
        Some(first) if first == at.seq => Newer::Next,
        Some(first) => Newer::Later(first),
    })
}

/// The names of all files in the folder of the log.
pub(super) fn list_names(folder: &Path) -> Result<Vec<String>, ReadError> {
    let io_error = |source| ReadError::Io { path: folder.to_path_buf(), source };
    let mut all = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ReadError::NoLog { path: folder.to_path_buf() });
        }
        Err(error) => return Err(io_error(error)),
    };
    for entry in entries {
        all.push(entry.map_err(io_error)?.file_name().to_string_lossy().into_owned());
    }
    Ok(all)
}

/// Opens a segment for reading; never a link, a pipe or a device.
pub(super) fn open(path: &Path) -> Result<File, ReadError> {
    let io_error = |source| ReadError::Io { path: path.to_path_buf(), source };
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(io_error)?;
    if !file.metadata().map_err(io_error)?.is_file() {
        return Err(io_error(io::Error::other("it is not a regular file")));
    }
    Ok(file)
}

/// The bytes of a small file, so many at most; never of a link, a pipe or a device.
pub(super) fn read_bounded(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let status = file.metadata()?;
    if !status.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    // With room for one more, so that the end is seen with the last bytes.
    let mut bytes = Vec::with_capacity(usize::try_from(status.len().min(longest)).unwrap_or(0) + 1);
    file.take(longest).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
