//! The segments as the writer handles them: found, opened, and made whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::base::{self, Base};
use super::error::{LogError, io_error};
use super::line::{MAX_LINE, decode};
use super::storage::Storage;
use super::tail::Position;
use super::{RESERVE, SEGMENT, names};
use crate::id::Digest;

/// The sizes of a log's parts, in bytes. The tests use small ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub segment: u64,
    pub reserve: u64,
}

impl Geometry {
    pub const SHIPPED: Self = Self { segment: SEGMENT, reserve: RESERVE };
}

/// Where the next entry goes.
#[derive(Debug)]
pub(super) struct Head<F> {
    pub segment: String,
    pub file: F,
    pub size: u64,
    pub at: Position,
}

/// Whether a home without a log once had one.
#[derive(Debug)]
pub(super) enum Past {
    /// Nothing says so.
    None,
    /// It has runs, which never are without a log.
    Known { evidence: PathBuf },
}

/// What stands for the entries that were archived, if any were.
fn base_of<S: Storage>(storage: &S, folder: &Path) -> Result<Option<Base>, LogError> {
    let path = folder.join(names::ARCHIVED);
    if !storage.exists(names::ARCHIVED).map_err(io_error("look at", &path))? {
        return Ok(None);
    }
    let file = storage.open(names::ARCHIVED).map_err(io_error("open", &path))?;
    let bytes = read_all(storage, &file).map_err(io_error("read", &path))?;
    let damaged = |problem| LogError::Damaged { path, line: 1, offset: 0, entry: 1, problem };
    Base::read(&bytes).map(Some).map_err(damaged)
}

/// Where the log begins: after what was archived.
pub(super) fn begin<S: Storage>(storage: &S, folder: &Path) -> Result<Position, LogError> {
    Ok(base::start(base_of(storage, folder)?.as_ref()))
}

/// Opens the last segment, at its start; makes the first one if there is no log.
pub(super) fn open_head<S: Storage>(
    storage: &S,
    folder: &Path,
    geometry: Geometry,
    past: &Past,
) -> Result<Head<S::File>, LogError> {
    let all = storage.names().map_err(io_error("list", folder))?;
    // Whoever set them aside may have come to its end before their names were on disk.
    if all.iter().any(|name| names::is_set_aside(name)) {
        storage.sync_names().map_err(io_error("sync", folder))?;
    }
    let base = base_of(storage, folder)?;
    let begin = base::start(base.as_ref());
    let segments = base::segments(base.as_ref(), &all);
    let Some(last) = segments.last() else {
        refuse_if_log_vanished(folder, &all, past)?;
        make_segment(storage, folder, geometry, 1)?;
        return head_at(storage, folder, Position::first());
    };
    let first = segments.first().unwrap_or(last);
    if *first != begin.seq {
        let problem = format!("the segments with entries {} to {} are missing", begin.seq, first - 1);
        return Err(LogError::Damaged {
            path: folder.join(names::segment(*first)),
            line: 1,
            offset: 0,
            entry: *first,
            problem,
        });
    }
    if *last == begin.seq {
        return head_at(storage, folder, begin);
    }
    let Some(before) = segments.iter().rev().nth(1) else {
        return Err(LogError::Damaged {
            path: folder.join(names::segment(*last)),
            line: 1,
            offset: 0,
            entry: *last,
            problem: format!("the segments with entries {} to {} are missing", begin.seq, last - 1),
        });
    };
    let end = end_of(storage, folder, &names::segment(*before), *last)?;
    head_at(storage, folder, end)
}

/// A log that has no segment but whose folder or home says that there was one must not begin anew.
fn refuse_if_log_vanished(folder: &Path, all: &[String], past: &Past) -> Result<(), LogError> {
    let other = all.iter().find(|name| *name != names::LOCK && *name != names::UNFINISHED);
    let evidence = match (past, other) {
        (Past::Known { evidence }, _) => evidence.clone(),
        (Past::None, Some(name)) => folder.join(name),
        (Past::None, None) => return Ok(()),
    };
    let problem = format!("there is no segment, and {} says that there was a log: it was removed", evidence.display());
    Err(LogError::Damaged { path: folder.to_path_buf(), line: 1, offset: 0, entry: 1, problem })
}

/// The start of the segment that begins with entry `next`, from the last line of the one before it.
fn end_of<S: Storage>(storage: &S, folder: &Path, segment: &str, next: u64) -> Result<Position, LogError> {
    let path = folder.join(segment);
    let file = storage.open(segment).map_err(io_error("open", &path))?;
    let (offset, bytes) = last_line(storage, &file).map_err(io_error("read", &path))?;
    let problem = match decode(&bytes) {
        Ok(decoded) if decoded.entry.seq + 1 == next => {
            return Ok(Position::start_of_segment(next, Digest::of(&bytes)));
        }
        Ok(decoded) => format!("the segment ends with entry {}, and the next begins with {next}", decoded.entry.seq),
        Err(error) => error.to_string(),
    };
    let line = next - names::first_of(segment).unwrap_or(next);
    Err(LogError::Damaged { path, line, offset, entry: next - 1, problem })
}

/// The last line of a segment, which is read from its end, and where it begins. Of one that no line can be, its end.
fn last_line<S: Storage>(storage: &S, file: &S::File) -> io::Result<(u64, Vec<u8>)> {
    let mut from = storage.size(file)?;
    let mut end = Vec::new();
    while from > 0 {
        let length = from.min(MAX_LINE as u64 + 2);
        from -= length;
        let mut before = vec![0; usize::try_from(length).expect("it is little more than a line")];
        read_exact(storage, file, &mut before, from)?;
        before.append(&mut end);
        end = before;
        let used = end.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 1);
        end.truncate(used);
        let newline = end.iter().rposition(|byte| *byte == b'\n');
        if let Some(newline) = newline {
            let line = end.split_off(newline + 1);
            return Ok((from + newline as u64 + 1, line));
        }
        if end.len() > MAX_LINE {
            break;
        }
    }
    Ok((from, end))
}

/// Fills the buffer from there on.
fn read_exact<S: Storage>(storage: &S, file: &S::File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut got = 0;
    while got < buffer.len() {
        match storage.read_at(file, &mut buffer[got..], offset + got as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => got += count,
        }
    }
    Ok(())
}

pub(super) fn head_at<S: Storage>(storage: &S, folder: &Path, at: Position) -> Result<Head<S::File>, LogError> {
    let segment = names::segment(at.seq);
    let path = folder.join(&segment);
    let file = storage.open(&segment).map_err(io_error("open", &path))?;
    let size = storage.size(&file).map_err(io_error("look at", &path))?;
    if size == 0 {
        let problem = "the file is empty, and a segment is made with all its room: it was cut off".to_owned();
        return Err(LogError::Damaged { path, line: 1, offset: 0, entry: at.seq, problem });
    }
    Ok(Head { segment, file, size, at })
}

pub(super) fn make_segment<S: Storage>(
    storage: &S,
    folder: &Path,
    geometry: Geometry,
    first: u64,
) -> Result<(), LogError> {
    let room = vec![b'\n'; usize::try_from(geometry.segment).expect("a segment fits into memory")];
    make_whole(storage, folder, &names::segment(first), &room)
}

/// Makes a file that is either there with all its bytes, on disk, or not there at all.
pub(super) fn make_whole<S: Storage>(storage: &S, folder: &Path, name: &str, bytes: &[u8]) -> Result<(), LogError> {
    let unfinished = folder.join(names::UNFINISHED);
    if storage.exists(names::UNFINISHED).map_err(io_error("look at", &unfinished))? {
        storage.remove(names::UNFINISHED).map_err(io_error("remove", &unfinished))?;
    }
    let made = storage.create(names::UNFINISHED).and_then(|file| {
        write_all(storage, &file, bytes, 0)?;
        storage.sync(&file)?;
        storage.rename(names::UNFINISHED, name)
    });
    made.map_err(|error| {
        // Gives back what room it took. If that fails too, the next attempt removes it first.
        let _ = storage.remove(names::UNFINISHED);
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                LogError::NoRoom { path: folder.to_path_buf(), source: Arc::new(error) }
            }
            _ => io_error("make", &folder.join(name))(error),
        }
    })?;
    storage.sync_names().map_err(io_error("sync", folder))
}

/// Writes all of it, going on after a short write. An error is final.
pub(super) fn write_all<S: Storage>(storage: &S, file: &S::File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match storage.write_at(file, &bytes[done..], offset + done as u64)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => done += count,
        }
    }
    Ok(())
}

pub(super) fn read_all<S: Storage>(storage: &S, file: &S::File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match storage.read_at(file, &mut buffer, bytes.len() as u64)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
