//! The writer. It promises: an entry is durable when [`Log::append`] returns `Ok`; what was acknowledged is never
//! written over; after an error of the disk the log is not used again by this process.
//!
//! # One append
//! Under the lock that all writers of a home share: look whether others have written (one `pread` at the known end, one
//! `fstatat` for a newer segment) and if so follow their entries and sync them; make the lines; `pwrite` them, in one
//! piece, into room that is there already; `fdatasync`. The sync of what others wrote matters: a write must never begin
//! while an earlier one is not on disk, or a crash could keep the later and lose the earlier.
//!
//! # Room
//! A segment is made whole, of newlines, under another name, and gets its own name when it is on disk. So an append
//! changes no file's length and needs no new block of the disk, and what a crash leaves behind is always in one place.
//! The last [`RESERVE`] bytes of a segment are for entries that close a run: a full disk cannot keep them from being
//! written.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::Utc;
use uuid::Uuid;

use super::error::{LogError, io_error};
use super::glide::glide;
use super::key::{Birth, birth};
use super::line::MAX_LINE;
use super::lines::Lines;
use super::policies::Seen;
use super::read::list_names;
use super::segment::{Geometry, Head, Past, begin, head_at, make_segment, make_whole, open_head, read_all, write_all};
use super::storage::{Directory, HomeProblem, Storage};
use super::tail::{Position, Tail, judge};
use super::{Home, names};
use crate::history::approval::PolicyInForce;
use crate::history::entry::{Entry, VERSION, Who};
use crate::history::event::Event;
use crate::history::numbers::Numbers;
use crate::id::{BootId, Digest, IdError, RunId, Timestamp};

/// How long a segment is, in bytes, from the moment it has its name: 512 KiB. Opening reads the last one, so its length
/// bounds how long that takes.
pub const SEGMENT: u64 = 512 * 1024;

/// The room in each segment that only closing entries may use, in bytes: 64 KiB.
pub const RESERVE: u64 = 64 * 1024;

/// The most bytes that one append may write, newlines counted: 256 KiB. Four entries always fit.
pub const MAX_APPEND: usize = 256 * 1024;

/// An entry to be written.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// The run it belongs to; none for what concerns the log itself.
    pub run: Option<&'a RunId>,
    /// What happened.
    pub event: &'a Event,
}

/// An entry as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The exact bytes of the line, without its newline.
    pub line: String,
    /// What the line says.
    pub entry: Entry,
}

/// The audit log of a home, open for writing. Several processes may have the same one open; each append is whole.
#[derive(Debug)]
pub struct Log(Writer<Directory>);

impl Log {
    /// Opens the log of this home. If there is none, makes the folders (mode 0700) and files (mode 0600) and writes the
    /// first entry, `log_created`. If a crash left an unfinished write, sets its bytes aside and writes `log_repaired`.
    ///
    /// `who` is written into every entry.
    ///
    /// # Errors
    /// The home cannot be used, the disk is full or failing, or the end of the log is damaged or was changed. Only the
    /// last segment is read, and the link to the one before it; [`verify()`](super::verify()) reads everything.
    pub fn open(home: &Home, who: Who) -> Result<Self, LogError> {
        let storage = Directory::open(home).map_err(|problem| match problem {
            HomeProblem::Rule { path, problem } => LogError::Home { path, problem },
            HomeProblem::Io { path, source } => LogError::Io { doing: "use", path, source: Arc::new(source) },
        })?;
        let boot_file = "/proc/sys/kernel/random/boot_id";
        let boot = std::fs::read_to_string(boot_file).map_err(|source| LogError::Io {
            doing: "read",
            path: boot_file.into(),
            source: Arc::new(source),
        })?;
        if home.audit().join(names::ARCHIVE).symlink_metadata().is_ok() {
            let problem = "it is an archive of a log that goes on elsewhere, so nothing is written into it; name another home with --home";
            return Err(LogError::Home { path: home.path().to_owned(), problem: problem.to_owned() });
        }
        let boot = boot.trim_end().parse().map_err(|error: IdError| LogError::Io {
            doing: "use",
            path: boot_file.into(),
            source: Arc::new(io::Error::other(error)),
        })?;
        let mut author = Author::new(who, boot)?;
        let mut past = Past::None;
        if !list_names(&home.audit()).is_ok_and(|all| all.iter().any(|name| names::first_of(name).is_some())) {
            author.birth = Some(birth(home));
            past = past_of(home)?;
        }
        Writer::open(storage, home.audit(), Geometry::SHIPPED, author, &past).map(Self)
    }

    /// Writes these entries, in this order, under one lock, with one write and one sync. They are durable when it
    /// returns `Ok`. A crash before that may keep the first few of them. No entries: nothing is done.
    ///
    /// # Errors
    /// [`LogError::TooLong`] and [`LogError::NoRoom`]: nothing was written, and the log can be used. Any other is
    /// final: this and every later append of this `Log` gives the same error.
    pub fn append(&mut self, drafts: &[Draft<'_>]) -> Result<Vec<Recorded>, LogError> {
        self.0.append(drafts, Purpose::GoingOn)
    }

    /// As [`Log::append`], for entries after which nothing is started: how a step ended, why a run halts, that it is
    /// complete. They may use the room that is kept for them, so a full disk does not stop them.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_closing(&mut self, drafts: &[Draft<'_>]) -> Result<Vec<Recorded>, LogError> {
        self.0.append(drafts, Purpose::Closing)
    }

    /// The last entry of which this log knows that it is on disk, with all before it: it has written it itself, or after it.
    pub fn durable(&self) -> u64 {
        self.0.head.at.seq - 1
    }

    /// See [`numbers_beside`](super::numbers_beside); none where what this log has read does not say it, or others have written since.
    pub(super) fn numbers_beside(&self, policies: &[PolicyInForce]) -> Option<Numbers> {
        let known = self.0.past.beside(policies)?;
        matches!(self.0.has_moved(), Ok(false)).then_some(known)
    }
}

/// Whether a home in which there is no log has had one.
fn past_of(home: &Home) -> Result<Past, LogError> {
    match std::fs::read_dir(home.runs()).map(|mut runs| runs.next().is_some()) {
        Ok(true) => Ok(Past::Known { evidence: home.runs() }),
        Ok(false) => Ok(Past::None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Past::None),
        Err(error) => Err(LogError::Io { doing: "read", path: home.runs(), source: Arc::new(error) }),
    }
}

/// What entries are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Something may be started after them.
    GoingOn,
    /// Nothing is started after them.
    Closing,
}

/// What is the same in every entry of a process.
#[derive(Debug)]
pub(super) struct Author {
    who: Arc<Who>,
    who_json: String,
    boot: BootId,
    /// For a log that is still to be made.
    birth: Option<Birth>,
}

impl Author {
    pub fn new(who: Who, boot: BootId) -> Result<Self, LogError> {
        let who_json = json(&who)?;
        Ok(Self { who: Arc::new(who), who_json, boot, birth: None })
    }
}

/// The log over any storage.
#[derive(Debug)]
pub(super) struct Writer<S: Storage> {
    storage: S,
    folder: PathBuf,
    geometry: Geometry,
    author: Author,
    head: Head<S::File>,
    /// The policies of the entries that were followed or written since the log was opened.
    past: Seen,
    failed: Option<LogError>,
}

/// When to read on from the known end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadOn {
    /// Always, and from the disk: memory may hold what never got there.
    FromDisk,
    /// If the end has moved.
    IfMoved,
}

/// What stood after the known end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CaughtUp {
    /// Whole entries, or nothing.
    Whole,
    /// An unfinished write, which was set aside; that is still to be recorded.
    Unfinished,
}

impl<S: Storage> Writer<S> {
    /// See [`Log::open`].
    pub fn open(
        storage: S,
        folder: PathBuf,
        geometry: Geometry,
        author: Author,
        past: &Past,
    ) -> Result<Self, LogError> {
        storage.lock().map_err(io_error("lock", &folder.join(names::LOCK)))?;
        let head = open_head(&storage, &folder, geometry, past)?;
        let mut writer = Self { storage, folder, geometry, author, head, past: Seen::default(), failed: None };
        writer.start()?;
        writer.storage.unlock().map_err(io_error("unlock", &writer.folder.join(names::LOCK)))?;
        Ok(writer)
    }

    /// Finds the end of the log, and writes what opening it calls for. Under the lock.
    fn start(&mut self) -> Result<(), LogError> {
        self.catch_up(ReadOn::FromDisk)?;
        if self.head.at.seq == 1 {
            let (log, key) = match self.author.birth.take() {
                Some(Birth { log, key }) => (log, key),
                None => (Uuid::now_v7().to_string(), None),
            };
            let event = Event::LogCreated { log, program: env!("CARGO_PKG_VERSION").to_owned(), key };
            self.write(&[Draft { run: None, event: &event }], Purpose::Closing)?;
        }
        self.record_repairs()
    }

    /// See [`Log::append`].
    pub fn append(&mut self, drafts: &[Draft<'_>], purpose: Purpose) -> Result<Vec<Recorded>, LogError> {
        if let Some(first) = &self.failed {
            return Err(first.clone());
        }
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        let result = self.append_locked(drafts, purpose);
        if let Err(error) = &result
            && error.is_final()
        {
            self.failed = Some(error.clone());
        }
        result
    }

    fn append_locked(&mut self, drafts: &[Draft<'_>], purpose: Purpose) -> Result<Vec<Recorded>, LogError> {
        let lock = self.folder.join(names::LOCK);
        self.storage.lock().map_err(io_error("lock", &lock))?;
        let result = self.catch_up(ReadOn::IfMoved).and_then(|found| {
            match found {
                CaughtUp::Whole => {}
                CaughtUp::Unfinished => self.record_repairs()?,
            }
            self.write(drafts, purpose)
        });
        self.storage.unlock().map_err(io_error("unlock", &lock))?;
        result
    }

    /// Follows what others have written since, syncs it, and sets aside what a crash of theirs left unfinished.
    fn catch_up(&mut self, read_on: ReadOn) -> Result<CaughtUp, LogError> {
        let mut read_on = read_on;
        let mut found = CaughtUp::Whole;
        loop {
            let path = self.folder.join(&self.head.segment);
            if !self.storage.leads_to(&self.head.segment, &self.head.file).map_err(io_error("look at", &path))? {
                if !self.is_archived()? {
                    return Err(self.damaged("the file was moved, removed or replaced while the log was in use"));
                }
                // Others have written more segments since, and moved this one into an archive.
                let past = Past::Known { evidence: path };
                self.head = open_head(&self.storage, &self.folder, self.geometry, &past)?;
                read_on = ReadOn::FromDisk;
                continue;
            }
            if read_on == ReadOn::IfMoved && !self.has_moved()? {
                return Ok(found);
            }
            let tail = match read_on {
                ReadOn::FromDisk => self.follow_from_disk()?,
                ReadOn::IfMoved => {
                    self.storage.sync(&self.head.file).map_err(io_error("sync", &path))?;
                    self.glide()?;
                    self.follow()?
                }
            };
            match tail {
                Tail::Clean => {}
                Tail::Torn { length } => {
                    self.set_aside(length)?;
                    found = CaughtUp::Unfinished;
                }
                Tail::Damaged { problem } => return Err(self.damaged(&problem)),
                Tail::Written => return Err(self.damaged("the file changed while it was locked")),
            }
            if self.head.at.offset == 0 {
                // Before the first entry is written into a segment, its name is on disk.
                self.storage.sync_names().map_err(io_error("sync", &self.folder))?;
            }
            if !self.is_newer_segment()? {
                return Ok(found);
            }
            let start = Position::start_of_segment(self.head.at.seq, self.head.at.prev.clone());
            self.head = head_at(&self.storage, &self.folder, start)?;
            read_on = ReadOn::FromDisk;
        }
    }

    /// Whether the segment of the head was moved into an archive.
    fn is_archived(&self) -> Result<bool, LogError> {
        let begin = begin(&self.storage, &self.folder)?;
        let is_there = self.storage.exists(&self.head.segment);
        let is_there = is_there.map_err(io_error("look at", &self.folder.join(&self.head.segment)))?;
        Ok(!is_there && names::first_of(&self.head.segment).is_some_and(|first| first < begin.seq))
    }

    fn has_moved(&self) -> Result<bool, LogError> {
        let path = self.folder.join(&self.head.segment);
        if self.head.at.offset < self.head.size {
            let mut next = [0];
            let got = self.storage.read_at(&self.head.file, &mut next, self.head.at.offset);
            match got.map_err(io_error("read", &path))? {
                0 => return Err(self.damaged("the file became shorter while the log was in use")),
                _ if next != *b"\n" => return Ok(true),
                _ => {}
            }
        }
        self.is_newer_segment()
    }

    /// Whether the next entry has a segment of its own already.
    fn is_newer_segment(&self) -> Result<bool, LogError> {
        let name = names::segment(self.head.at.seq);
        if name == self.head.segment {
            return Ok(false);
        }
        self.storage.exists(&name).map_err(io_error("look at", &self.folder.join(name)))
    }

    /// Follows the chain to its end, of which nothing is taken from memory that may not be on disk. Up to the last write all is there:
    /// otherwise that write had not begun. And so is that write, if the newest checkpoint speaks of all entries up to its end, and nothing
    /// stands after it. One that speaks of more is of a log that was not cut, and says nothing of what was written here since.
    fn follow_from_disk(&mut self) -> Result<Tail, LogError> {
        self.glide()?;
        let certain = self.head.at.clone();
        let spoken_of = self.spoken_of()?;
        if certain.seq <= spoken_of
            && let Tail::Clean = self.follow()?
            && self.head.at.seq == spoken_of + 1
        {
            return Ok(Tail::Clean);
        }
        self.head.at = certain;
        let path = self.folder.join(&self.head.segment);
        self.storage.sync(&self.head.file).map_err(io_error("sync", &path))?;
        self.storage.forget_cached(&self.head.file).map_err(io_error("read", &path))?;
        self.follow()
    }

    /// How many entries the newest checkpoint beside the log speaks of, by its name. It was made of whole writes that were on disk.
    fn spoken_of(&self) -> Result<u64, LogError> {
        let all = self.storage.names().map_err(io_error("list", &self.folder))?;
        Ok(all.iter().filter_map(|name| names::size_of_checkpoint(name)).max().unwrap_or(0))
    }

    /// Follows the links in the segment of the head to the last write.
    fn glide(&mut self) -> Result<(), LogError> {
        let Self { storage, head, folder, past, .. } = self;
        let begun = |event: Option<&Event>| match event {
            Some(event) => past.note(event),
            None => past.note_none(),
        };
        head.at = glide(|buffer, offset| storage.read_at(&head.file, buffer, offset), &head.at, begun)
            .map_err(io_error("read", &folder.join(&head.segment)))?;
        Ok(())
    }

    /// Follows the chain in the segment of the head for as long as it is good, and judges what stands after it.
    fn follow(&mut self) -> Result<Tail, LogError> {
        let Self { storage, head, folder, past, .. } = self;
        let path = folder.join(&head.segment);
        let mut lines =
            Lines::new(|buffer, offset| storage.read_at(&head.file, buffer, offset), head.at.offset, head.at.line);
        while let Some(raw) = lines.next().map_err(io_error("read", &path))? {
            let mismatch = match head.at.follow(&raw) {
                Ok(decoded) => {
                    past.note(&decoded.entry.event);
                    continue;
                }
                Err(mismatch) => mismatch,
            };
            let read_at = |buffer: &mut [u8], offset| storage.read_at(&head.file, buffer, offset);
            let tail = judge(read_at, &head.at).map_err(io_error("read", &path))?;
            if !matches!(tail, Tail::Torn { .. }) {
                return Ok(tail);
            }
            let all = storage.names().map_err(io_error("list", folder))?;
            let is_last = names::segments(&all).last().is_some_and(|first| names::segment(*first) == head.segment);
            return Ok(if is_last { tail } else { Tail::Damaged { problem: mismatch.to_string() } });
        }
        Ok(Tail::Clean)
    }

    /// Keeps the bytes of an unfinished write in a file of their own, then makes their place room again. Only then is
    /// the entry about it written; until it is, the file's name says so, and the next to open the log writes it.
    fn set_aside(&mut self, length: u64) -> Result<(), LogError> {
        let path = self.folder.join(&self.head.segment);
        let offset = self.head.at.offset;
        let length = usize::try_from(length).expect("judge() bounds it by MAX_APPEND");
        let mut torn = vec![0; length];
        let mut got = 0;
        while got < length {
            let count = self.storage.read_at(&self.head.file, &mut torn[got..], offset + got as u64);
            match count.map_err(io_error("read", &path))? {
                0 => return Err(self.damaged("the file became shorter while it was locked")),
                count => got += count,
            }
        }
        let kept = names::torn(&self.head.segment, offset, Digest::of(&torn).as_str());
        let unrecorded = format!("{kept}{}", names::UNRECORDED);
        if !self.storage.exists(&unrecorded).map_err(io_error("look at", &self.folder.join(&unrecorded)))? {
            make_whole(&self.storage, &self.folder, &unrecorded, &torn)?;
        }
        write_all(&self.storage, &self.head.file, &vec![b'\n'; length], offset).map_err(io_error("write", &path))?;
        self.storage.sync(&self.head.file).map_err(io_error("sync", &path))
    }

    /// Writes an entry for each file that a repair has set aside, where there is none yet.
    fn record_repairs(&mut self) -> Result<(), LogError> {
        let mut all = self.storage.names().map_err(io_error("list", &self.folder))?;
        all.sort();
        for unrecorded in all.iter().filter(|name| name.ends_with(names::UNRECORDED)) {
            let kept = unrecorded.trim_end_matches(names::UNRECORDED);
            let Some((segment, offset)) = names::place_of_torn(kept) else { continue };
            let path = self.folder.join(unrecorded);
            let file = self.storage.open(unrecorded).map_err(io_error("open", &path))?;
            let torn = read_all(&self.storage, &file).map_err(io_error("read", &path))?;
            let event = Event::LogRepaired {
                segment,
                offset,
                length: torn.len() as u64,
                digest: Digest::of(&torn),
                kept_in: kept.to_owned(),
            };
            self.write(&[Draft { run: None, event: &event }], Purpose::Closing)?;
            self.storage.rename(unrecorded, kept).map_err(io_error("rename", &path))?;
            self.storage.sync_names().map_err(io_error("sync", &self.folder))?;
        }
        Ok(())
    }

    /// Writes entries at the head. Under the lock, and caught up.
    fn write(&mut self, drafts: &[Draft<'_>], purpose: Purpose) -> Result<Vec<Recorded>, LogError> {
        let time = Timestamp::of(Utc::now());
        let mono = boot_time();
        let first = self.head.at.seq;
        let mut bytes = Vec::new();
        let mut recorded = Vec::with_capacity(drafts.len());
        let mut prev = self.head.at.prev.clone();
        for (seq, draft) in (first..).zip(drafts) {
            if let Some(problem) = self.past.speaks_against(draft.event) {
                return Err(LogError::Weaker { problem });
            }
            let entry = Entry {
                seq,
                time: time.clone(),
                mono,
                boot: self.author.boot.clone(),
                run: draft.run.cloned(),
                who: self.author.who.clone(),
                event: draft.event.clone(),
                prev: prev.clone(),
            };
            let line = encode(&entry, first, &self.author.who_json)?;
            prev = Digest::of(line.as_bytes());
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
            recorded.push(Recorded { line, entry });
        }
        if bytes.len() > MAX_APPEND {
            let what = format!("{} entries at once", drafts.len());
            return Err(LogError::TooLong { what, length: bytes.len(), limit: MAX_APPEND });
        }
        let begins = drafts.iter().any(|draft| matches!(draft.event, Event::RunOpened { .. }));
        self.make_room(bytes.len() as u64, purpose, begins)?;
        let path = self.folder.join(&self.head.segment);
        let at = &mut self.head.at;
        write_all(&self.storage, &self.head.file, &bytes, at.offset).map_err(io_error("write", &path))?;
        self.storage.sync(&self.head.file).map_err(io_error("sync", &path))?;
        let count = recorded.len() as u64;
        at.offset += bytes.len() as u64;
        at.line += count;
        at.seq += count;
        at.prev = prev;
        at.batch = Some(first);
        drafts.iter().for_each(|draft| self.past.note(draft.event));
        Ok(recorded)
    }

    /// Goes on in a new segment, if this one has no room left for what is to be written. Where a run begins, also if there is little: most
    /// runs lie in one segment then, and what no run reaches out of can be archived. If the disk has no room for a new one, that waits.
    fn make_room(&mut self, length: u64, purpose: Purpose, begins: bool) -> Result<(), LogError> {
        let left = self.head.size - self.head.at.offset;
        let needed = match purpose {
            Purpose::GoingOn => length + self.geometry.reserve,
            Purpose::Closing => length,
        };
        if left >= needed && !(begins && left < self.head.size / 4) {
            return Ok(());
        }
        let start = Position::start_of_segment(self.head.at.seq, self.head.at.prev.clone());
        match make_segment(&self.storage, &self.folder, self.geometry, start.seq) {
            Err(LogError::NoRoom { .. }) if left >= needed => return Ok(()),
            made => made?,
        }
        self.head = head_at(&self.storage, &self.folder, start)?;
        Ok(())
    }

    fn damaged(&self, problem: &str) -> LogError {
        let at = &self.head.at;
        LogError::Damaged {
            path: self.folder.join(&self.head.segment),
            line: at.line,
            offset: at.offset,
            entry: at.seq,
            problem: problem.to_owned(),
        }
    }
}

/// The line of an entry. The keys stand in one fixed order; the event's own JSON is spliced in.
fn encode(entry: &Entry, batch: u64, who: &str) -> Result<String, LogError> {
    let event = json(&entry.event)?;
    let spliced = event.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let Some(spliced) = spliced.filter(|text| text.starts_with("\"event\":") && text.ends_with('}')) else {
        return Err(LogError::Unwritable { problem: format!("it has no data: {event}") });
    };
    let mut line = format!("{{\"v\":{VERSION},\"seq\":{}", entry.seq);
    if batch < entry.seq {
        line.push_str(&format!(",\"batch\":{batch}"));
    }
    line.push_str(&format!(",\"time\":\"{}\",\"mono\":{},\"boot\":\"{}\"", entry.time, entry.mono, entry.boot));
    if let Some(run) = &entry.run {
        line.push_str(&format!(",\"run\":\"{run}\""));
    }
    line.push_str(&format!(",{spliced},\"who\":{who},\"prev\":\"{}\"}}", entry.prev));
    if line.len() > MAX_LINE {
        let name = event.split('"').nth(3).unwrap_or("an event");
        return Err(LogError::TooLong { what: format!("an entry `{name}`"), length: line.len(), limit: MAX_LINE });
    }
    Ok(line)
}

fn json(value: &impl serde::Serialize) -> Result<String, LogError> {
    serde_json::to_string(value).map_err(|error| LogError::Unwritable { problem: error.to_string() })
}

/// Nanoseconds since the machine started, sleep included.
fn boot_time() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).expect("the time since boot is not negative");
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).expect("nanoseconds are not negative")
}
