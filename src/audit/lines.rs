//! Splits a segment into its lines, with bounded memory. Blank lines are room that is not used yet: they are counted
//! and not yielded.

use std::io;

use super::line::MAX_LINE;

/// How much is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// A line as it stands in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawLine<'a> {
    /// Its number in the segment; the first is 1.
    pub number: u64,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its bytes without the newline; of one that is too long, its beginning, which is longer than [`MAX_LINE`] too.
    pub bytes: &'a [u8],
    /// How many bytes it has, without the newline.
    pub length: u64,
    /// What stands after it.
    pub end: LineEnd,
}

/// What stands after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// A newline.
    Newline,
    /// Nothing: the file ends.
    EndOfFile,
}

/// The lines of a file from some place on. `read_at` reads into the buffer from an offset and says how many bytes it
/// got; 0 is the end of the file.
pub(super) struct Lines<R> {
    read_at: R,
    buffer: Vec<u8>,
    /// The part of the buffer that is not consumed yet.
    from: usize,
    to: usize,
    /// Where in the file `from` is.
    offset: u64,
    number: u64,
}

impl<R: FnMut(&mut [u8], u64) -> io::Result<usize>> Lines<R> {
    /// Begins at this offset, which is the start of the line with this number.
    pub fn new(read_at: R, offset: u64, number: u64) -> Self {
        Self { read_at, buffer: vec![0; CHUNK], from: 0, to: 0, offset, number }
    }

    /// The next line that is not blank; none at the end of the file.
    pub fn next(&mut self) -> io::Result<Option<RawLine<'_>>> {
        if !self.skip_blank()? {
            return Ok(None);
        }
        let (number, offset) = (self.number, self.offset);
        let mut searched = 0;
        loop {
            let found = newline_in(&self.buffer[self.from + searched..self.to]);
            if let Some(at) = found {
                return Ok(Some(self.take(searched + at, LineEnd::Newline)));
            }
            searched = self.to - self.from;
            if searched > MAX_LINE {
                let (length, end) = self.skip_long(searched as u64)?;
                self.number += 1;
                return Ok(Some(RawLine { number, offset, bytes: &self.buffer[..=MAX_LINE], length, end }));
            }
            if !self.fill()? {
                return Ok(Some(self.take(searched, LineEnd::EndOfFile)));
            }
        }
    }

    /// The next line, if it begins right here; none where there is room, or the file ends.
    pub fn adjacent(&mut self) -> io::Result<Option<RawLine<'_>>> {
        if (self.from == self.to && !self.fill()?) || self.buffer[self.from] == b'\n' {
            return Ok(None);
        }
        self.next()
    }

    /// Consumes a line that lies in the buffer, and yields it.
    fn take(&mut self, length: usize, end: LineEnd) -> RawLine<'_> {
        let start = self.from;
        let (number, offset) = (self.number, self.offset);
        let consumed = length + usize::from(end == LineEnd::Newline);
        self.from += consumed;
        self.offset += consumed as u64;
        self.number += 1;
        RawLine { number, offset, bytes: &self.buffer[start..start + length], length: length as u64, end }
    }

    /// Passes over the rest of a line that is too long, but keeps its beginning at the front of the buffer.
    fn skip_long(&mut self, seen: u64) -> io::Result<(u64, LineEnd)> {
        let kept = MAX_LINE + 1;
        self.buffer.copy_within(self.from..self.from + kept, 0);
        let mut length = seen;
        let mut next = self.offset + seen;
        loop {
            let got = (self.read_at)(&mut self.buffer[kept..], next)?;
            let rest = &self.buffer[kept..kept + got];
            let at = newline_in(rest);
            let (passed, end) = match at {
                Some(at) => (at, Some(LineEnd::Newline)),
                None if got == 0 => (0, Some(LineEnd::EndOfFile)),
                None => (got, None),
            };
            length += passed as u64;
            next += passed as u64;
            if let Some(end) = end {
                self.offset = next + u64::from(end == LineEnd::Newline);
                self.from = 0;
                self.to = 0;
                return Ok((length, end));
            }
        }
    }

    /// Passes over newlines; false at the end of the file.
    fn skip_blank(&mut self) -> io::Result<bool> {
        loop {
            let waiting = &self.buffer[self.from..self.to];
            let left = waiting.len();
            let passed = blank_in(waiting);
            self.from += passed;
            self.offset += passed as u64;
            self.number += passed as u64;
            if passed < left {
                return Ok(true);
            }
            if !self.fill()? {
                return Ok(false);
            }
        }
    }

    /// Reads more behind what is there; false at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        let next = self.offset + self.to as u64;
        let got = (self.read_at)(&mut self.buffer[self.to..], next)?;
        self.to += got;
        Ok(got > 0)
    }
}

/// Where the first newline is.
pub(super) fn newline_in(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
}

/// How many newlines the bytes begin with. Compares whole blocks first, since unused room is long.
pub(super) fn blank_in(bytes: &[u8]) -> usize {
    const BLOCK: [u8; 1024] = [b'\n'; 1024];
    let blocks = bytes.chunks_exact(BLOCK.len()).take_while(|block| **block == BLOCK).count() * BLOCK.len();
    blocks + bytes[blocks..].iter().take_while(|b| **b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, LineEnd, Lines, MAX_LINE};

    fn split(bytes: &[u8], step: usize) -> Vec<(u64, u64, Vec<u8>, u64, LineEnd)> {
        let read_at = |buffer: &mut [u8], offset: u64| {
            let rest = &bytes[usize::try_from(offset).unwrap().min(bytes.len())..];
            let count = rest.len().min(buffer.len()).min(step);
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        };
        let mut lines = Lines::new(read_at, 0, 1);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push((line.number, line.offset, line.bytes.to_vec(), line.length, line.end));
        }
        all
    }

    #[test]
    fn lines_have_their_number_offset_and_end() {
        for step in [1, 2, 3, 100] {
            let lines = split(b"\n\nab\ncde\n\n\nf", step);
            let expected = [
                (3, 2, b"ab".to_vec(), 2, LineEnd::Newline),
                (4, 5, b"cde".to_vec(), 3, LineEnd::Newline),
                (7, 11, b"f".to_vec(), 1, LineEnd::EndOfFile),
            ];
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_with_bounded_memory() {
        for length in [MAX_LINE, MAX_LINE + 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK] {
            let mut bytes = b"a\n".to_vec();
            bytes.extend(vec![b'x'; length]);
            bytes.extend(b"\nb\n");
            let lines = split(&bytes, usize::MAX);
            let kept = length.min(MAX_LINE + 1);
            assert_eq!(lines.len(), 3);
            assert_eq!(lines[1], (2, 2, vec![b'x'; lines[1].2.len()], length as u64, LineEnd::Newline));
            assert!(lines[1].2.len() >= kept && lines[1].2.len() <= CHUNK, "{}", lines[1].2.len());
            assert_eq!(lines[2], (3, 3 + length as u64, b"b".to_vec(), 1, LineEnd::Newline));
            let unended = split(&bytes[..2 + length], usize::MAX);
            assert_eq!((unended[1].3, unended[1].4), (length as u64, LineEnd::EndOfFile));
        }
    }
}
