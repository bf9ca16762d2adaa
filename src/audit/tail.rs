//! The chain as it is followed, and the rule that tells what a crash left behind from damage.
//!
//! Everything up to the last good line is on disk for certain: a write begins only after the one before it was synced.
//! So an honest crash can have left any mixture of old newlines, new bytes and garbage of *one* write, which begins
//! right after some good line, and nothing of a later write. A write carries several entries where that saves a sync;
//! each but the first names the first in `batch`. That is what makes the rule exact: a line that was understood, after
//! one that was not, belongs to the interrupted write only if its `batch` is not later than the entry that is missing.

use std::io;

use super::line::{Decoded, Decoder, FIRST_PREV, LineError, decode};
use super::lines::{LineEnd, Lines, RawLine};
use super::log::MAX_APPEND;
use crate::id::Digest;

/// A place in the chain: right after a good line, or at the start of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// Where in the segment the next line begins, in bytes.
    pub offset: u64,
    /// The number of that line in the segment; the first is 1.
    pub line: u64,
    /// The number of the next entry.
    pub seq: u64,
    /// What the next entry must have as `prev`.
    pub prev: Digest,
    /// The first entry of the write that the last good line of this segment belongs to.
    pub batch: Option<u64>,
}

impl Position {
    /// The start of a log.
    pub fn first() -> Self {
        Self::start_of_segment(1, FIRST_PREV.parse().expect("64 zeros are a digest"))
    }

    /// The start of a segment.
    pub fn start_of_segment(seq: u64, prev: Digest) -> Self {
        Self { offset: 0, line: 1, seq, prev, batch: None }
    }

    /// Goes on to after this line, if it is the one that belongs here.
    pub fn follow(&mut self, raw: &RawLine<'_>) -> Result<Decoded, Mismatch> {
        self.follow_by(raw, &mut Decoder::default())
    }

    /// As [`Position::follow`], where many lines are read.
    pub fn follow_by(&mut self, raw: &RawLine<'_>, decoder: &mut Decoder) -> Result<Decoded, Mismatch> {
        if raw.offset != self.offset {
            return Err(Mismatch::Blank);
        }
        let decoded = decoder.decode(raw.bytes).map_err(Mismatch::Line)?;
        let (seq, batch) = (decoded.entry.seq, decoded.batch);
        if seq != self.seq {
            return Err(Mismatch::Seq { expected: self.seq, found: seq });
        }
        if decoded.entry.prev != self.prev {
            return Err(Mismatch::Prev { seq });
        }
        if batch < seq && self.batch != Some(batch) {
            return Err(Mismatch::Batch { seq });
        }
        if raw.end == LineEnd::EndOfFile {
            return Err(Mismatch::CutOff);
        }
        self.offset += raw.length + 1;
        self.line += 1;
        self.seq += 1;
        self.prev = Digest::of(raw.bytes);
        self.batch = Some(batch);
        Ok(decoded)
    }
}

/// Why a line is not the one that belongs here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mismatch {
    #[error("nothing is written here, but something is written further on")]
    Blank,
    #[error("{0}")]
    Line(LineError),
    #[error("entry {expected} belongs here, and entry {found} stands here")]
    Seq { expected: u64, found: u64 },
    #[error("entry {seq} was not written after the entry that stands before it: their link is broken")]
    Prev { seq: u64 },
    #[error("entry {seq} claims a `batch` that it cannot be part of")]
    Batch { seq: u64 },
    #[error("the file ends right after this line, without a newline: it was cut off")]
    CutOff,
}

/// What stands after the last good line of the last segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing but room.
    Clean,
    /// The entry that belongs here: it was written since the reader looked.
    Written,
    /// What a crash left of an unfinished write: so many bytes, after which there is nothing but room.
    Torn { length: u64 },
    /// Something that no crash leaves.
    Damaged { problem: String },
}

/// Judges what stands after a good line in the last segment.
pub(super) fn judge(read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>, after: &Position) -> io::Result<Tail> {
    let mut lines = Lines::new(read_at, after.offset, after.line);
    let mut end = after.offset;
    let mut latest = after.seq;
    while let Some(raw) = lines.next()? {
        let line = raw.number;
        let damaged = |problem: String| Ok(Tail::Damaged { problem });
        match decode(raw.bytes) {
            Err(LineError::Garbled(_)) => {}
            Err(error @ LineError::Foreign(_)) if line == after.line => return damaged(error.to_string()),
            Err(error @ LineError::Foreign(_)) => return damaged(format!("in line {line}, {error}")),
            Ok(decoded) => {
                let Err(mismatch) = after.clone().follow(&raw) else { return Ok(Tail::Written) };
                if let Some(problem) = not_of_the_unfinished_write(after, latest, &decoded, &mismatch, line) {
                    return damaged(problem);
                }
                latest = decoded.entry.seq;
            }
        }
        if raw.end == LineEnd::EndOfFile {
            return damaged(format!("the file ends in line {line}, without a newline: it was cut off"));
        }
        end = raw.offset + raw.length + 1;
        if end - after.offset > MAX_APPEND as u64 {
            let entry = after.seq;
            return damaged(format!("entry {entry} is not there, and more follows than one write can have left"));
        }
    }
    Ok(if end == after.offset { Tail::Clean } else { Tail::Torn { length: end - after.offset } })
}

/// Judges for a reader that takes no lock. A writer may be at work, so one look may have seen a later line and missed
/// an earlier one; damage is only what is seen twice.
pub(super) fn judge_unlocked(
    mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    after: &Position,
) -> io::Result<Tail> {
    let mut seen = judge(&mut read_at, after)?;
    loop {
        match seen {
            Tail::Clean | Tail::Written | Tail::Torn { .. } => return Ok(seen),
            Tail::Damaged { .. } => {}
        }
        let again = judge(&mut read_at, after)?;
        if again == seen {
            return Ok(seen);
        }
        seen = again;
    }
}

/// Why an understood line cannot be of the write that was to bring the missing entry; none if it can.
fn not_of_the_unfinished_write(
    after: &Position,
    latest: u64,
    found: &Decoded,
    mismatch: &Mismatch,
    line: u64,
) -> Option<String> {
    let (missing, seq) = (after.seq, found.entry.seq);
    if seq <= latest {
        return Some(match mismatch {
            Mismatch::Blank => format!("nothing is written here, and entry {seq} stands further on, in line {line}"),
            Mismatch::Line(_)
            | Mismatch::Seq { .. }
            | Mismatch::Prev { .. }
            | Mismatch::Batch { .. }
            | Mismatch::CutOff => mismatch.to_string(),
        });
    }
    let same_write = found.batch == missing || (found.batch < missing && after.batch == Some(found.batch));
    (!same_write).then(|| {
        format!(
            "entry {missing} is not there, and entry {seq} in line {line} was written after it had been acknowledged"
        )
    })
}
