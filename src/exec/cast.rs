//! Reading a transcript back: the pieces of output in order, with their times, and the digest over what is there. Memory is bounded, since
//! a transcript may have been changed by anybody who could write to it; nothing in it is believed that the digest does not cover.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::exec::transcript::decode;

/// The longest line that is read, in bytes. The writer's are a read's worth of output, at most six times as long when escaped.
const LONGEST_LINE: u64 = 4 << 20;
/// The longest time that is believed: 10,000 days. Times are not covered by the digest.
const LATEST: Duration = Duration::from_secs(10_000 * 86_400);
/// How many bytes the salt has.
const SALT: usize = 32;

/// Something in a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Output of the step, so long after its start.
    Output {
        /// When.
        at: Duration,
        /// The bytes as they were read, after masking.
        bytes: Vec<u8>,
    },
    /// Here bytes are left out. What the file says of them is not given: the digest does not cover it.
    Gap {
        /// When.
        at: Duration,
    },
}

/// A transcript being read. What is wrong with its content is [`io::ErrorKind::InvalidData`].
#[derive(Debug)]
pub struct Cast {
    lines: BufReader<File>,
    /// When the recording began, in seconds since 1970.
    timestamp: u64,
    hasher: Sha256,
    bytes: u64,
    number: u64,
}

/// What was read of a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// SHA-256 over the salt and all output that is in it.
    pub digest: [u8; 32],
    /// How many bytes of output that is.
    pub bytes: u64,
}

#[derive(Deserialize)]
struct Header {
    version: u64,
    #[serde(default)]
    timestamp: u64,
    interlock: Ours,
}

#[derive(Deserialize)]
struct Ours {
    salt: String,
}

impl Cast {
    /// Opens a transcript; never a link, a pipe or a device.
    ///
    /// # Errors
    /// It cannot be read, or it does not begin as a transcript does.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let lines = BufReader::with_capacity(64 * 1024, file);
        let mut cast = Self { lines, timestamp: 0, hasher: Sha256::new(), bytes: 0, number: 0 };
        cast.begin()?;
        Ok(cast)
    }

    /// Begins again, with the same file.
    ///
    /// # Errors
    /// As [`Cast::open`].
    pub fn rewind(&mut self) -> io::Result<()> {
        self.lines.seek(SeekFrom::Start(0))?;
        (self.hasher, self.bytes, self.number) = (Sha256::new(), 0, 0);
        self.begin()
    }

    /// When the recording began, in seconds since 1970.
    pub fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// The digest and length of what was read so far.
    pub fn so_far(&self) -> Sum {
        Sum { digest: self.hasher.clone().finalize().into(), bytes: self.bytes }
    }

    fn begin(&mut self) -> io::Result<()> {
        let line = self.line()?.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is empty"))?;
        let header: Header = serde_json::from_str(&line).map_err(|error| self.wrong(&error))?;
        if header.version != 2 {
            return Err(self.wrong(&"it is not an asciicast of version 2"));
        }
        self.timestamp = header.timestamp;
        let salt = unhex(&header.interlock.salt).ok_or_else(|| self.wrong(&"its salt is not 64 hexadecimal digits"))?;
        self.hasher.update(salt);
        Ok(())
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let read = (&mut self.lines).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.pop() != Some(b'\n') {
            return Err(self.wrong(&"it ends there, or goes on for too long"));
        }
        String::from_utf8(line).map(Some).map_err(|error| self.wrong(&error))
    }

    fn wrong(&self, problem: &dyn std::fmt::Display) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {problem}", self.number))
    }

    fn piece(&mut self) -> io::Result<Option<Piece>> {
        let Some(line) = self.line()? else { return Ok(None) };
        let (seconds, kind, text): (f64, String, String) =
            serde_json::from_str(&line).map_err(|error| self.wrong(&error))?;
        let at = Duration::try_from_secs_f64(seconds).map_err(|error| self.wrong(&error))?.min(LATEST);
        match kind.as_str() {
            "o" => {
                let bytes = decode(&text);
                self.hasher.update(&bytes);
                self.bytes += bytes.len() as u64;
                Ok(Some(Piece::Output { at, bytes }))
            }
            "m" => Ok(Some(Piece::Gap { at })),
            _ => Err(self.wrong(&"an event that no transcript has")),
        }
    }
}

impl Iterator for Cast {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        self.piece().transpose()
    }
}

fn unhex(text: &str) -> Option<[u8; SALT]> {
    let mut bytes = [0; SALT];
    if text.len() != SALT * 2 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}
