//! How the writer gets to the end of a segment quickly. A write begins only when the one before it is on disk, so a line after which a
//! later write stands is there for certain, and that write says which line it was: of such lines only the links are followed. Those of the
//! last write have nothing after them; they are for [`Position::follow`], which understands all that they say, and so is everything else
//! that is not as entries are written.

use std::io;

use sha2::{Digest as _, Sha256};

use super::lines::{LineEnd, Lines, RawLine};
use super::policies::may_name_policies;
use super::skim::{Front, Turn, event_of, front, is_hex_of, prev_of, turn};
use super::tail::Position;
use crate::history::event::Event;
use crate::id::Digest;

/// The start of the last write that the links lead to from here, at most; `begun` is told of each event by which a run begins or goes on,
/// and of none where it did so under no policy.
pub(super) fn glide(
    read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    from: &Position,
    mut begun: impl FnMut(Option<&Event>),
) -> io::Result<Position> {
    let mut lines = Lines::new(read_at, from.offset, from.line);
    let mut at = Place { offset: from.offset, line: from.line, seq: from.seq, last: None, batch: from.batch };
    let mut certain = at;
    while let Some(raw) = lines.adjacent()? {
        let Some((front, line)) = text_of(&raw).filter(|(front, line)| at.is_of(from, front, line)) else { break };
        if let Turn::Opened | Turn::Resumed = turn(front.event) {
            match may_name_policies(line) {
                true => {
                    let Ok(event) = event_of(line, Some(front.event_at)) else { break };
                    begun(Some(&event));
                }
                false => begun(None),
            }
        }
        let batch = front.batch.unwrap_or(front.seq);
        if batch == front.seq {
            certain = at;
        }
        at = Place {
            offset: at.offset + raw.length + 1,
            line: at.line + 1,
            seq: at.seq + 1,
            last: Some(Sha256::digest(raw.bytes).into()),
            batch: Some(batch),
        };
    }
    let Place { offset, line, seq, last, batch } = certain;
    let prev = last.map_or_else(|| from.prev.clone(), |last| Digest::from_bytes(&last));
    Ok(Position { offset, line, seq, prev, batch })
}

/// A [`Position`] with the digest before it as it is worked out.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    line: u64,
    seq: u64,
    /// Of the line before this place; none at the start.
    last: Option<[u8; 32]>,
    batch: Option<u64>,
}

impl Place {
    /// Whether this line is the one that belongs here. [`Position::follow`] has the same rules.
    fn is_of(&self, from: &Position, front: &Front<'_>, line: &str) -> bool {
        let is_of_its_write = match front.batch {
            None => true,
            Some(batch) => batch < front.seq && self.batch == Some(batch),
        };
        let is_linked = |prev: &str| match &self.last {
            None => prev == from.prev.as_str(),
            Some(last) => is_hex_of(prev.as_bytes(), last),
        };
        front.seq == self.seq && is_of_its_write && prev_of(line).is_ok_and(|prev| is_linked(&prev))
    }
}

fn text_of<'a>(raw: &RawLine<'a>) -> Option<(Front<'a>, &'a str)> {
    let line = std::str::from_utf8(raw.bytes).ok().filter(|_| raw.end == LineEnd::Newline)?;
    Some((front(line)?, line))
}
