//! How the writer gets to the end of a segment quickly. A write begins only when the one before it is on disk, so a line after which a
//! later write stands is there for certain, and that write says which line it was: of such lines only the links are followed. Those of the
//! last write have nothing after them; they are for [`Position::follow`], which understands all that they say, and so is everything else
//! that is not as entries are written.

use std::io;

use super::lines::{LineEnd, Lines, RawLine};
use super::skim::{Front, Turn, event_of, front, prev_of, turn};
use super::tail::Position;
use crate::history::event::Event;
use crate::id::Digest;

/// The start of the last write that the links lead to from here, at most; `begun` is told of each event by which a run begins or goes on.
pub(super) fn glide(
    read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    from: &Position,
    mut begun: impl FnMut(&Event),
) -> io::Result<Position> {
    let mut lines = Lines::new(read_at, from.offset, from.line);
    let mut at = from.clone();
    let mut certain = from.clone();
    while let Some(raw) = lines.adjacent()? {
        let Some((front, line)) = text_of(&raw).filter(|(front, line)| belongs(&at, front, line)) else { break };
        if let Turn::Opened | Turn::Resumed = turn(front.event) {
            let Ok(event) = event_of(line, Some(front.event_at)) else { break };
            begun(&event);
        }
        let batch = front.batch.unwrap_or(front.seq);
        if batch == front.seq {
            certain.clone_from(&at);
        }
        at = Position {
            offset: at.offset + raw.length + 1,
            line: at.line + 1,
            seq: at.seq + 1,
            prev: Digest::of(raw.bytes),
            batch: Some(batch),
        };
    }
    Ok(certain)
}

fn text_of<'a>(raw: &RawLine<'a>) -> Option<(Front<'a>, &'a str)> {
    let line = std::str::from_utf8(raw.bytes).ok().filter(|_| raw.end == LineEnd::Newline)?;
    Some((front(line)?, line))
}

/// Whether this line is the one that belongs here. [`Position::follow`] has the same rules.
fn belongs(at: &Position, front: &Front<'_>, line: &str) -> bool {
    let is_of_its_write = match front.batch {
        None => true,
        Some(batch) => batch < front.seq && at.batch == Some(batch),
    };
    front.seq == at.seq && is_of_its_write && prev_of(line).is_ok_and(|prev| prev == at.prev.as_str())
}
