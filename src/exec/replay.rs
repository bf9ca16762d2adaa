//! Reads a transcript back, with bounded memory, and tells whether it is the one that was recorded. How one is written is in
//! [`transcript`](crate::exec::transcript).

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::exec::transcript::decode;

/// The longest line that is taken for one of a transcript, in bytes. A piece of output has at most some hundred KiB.
const LONGEST: u64 = 16 * 1024 * 1024;

/// A transcript that is read.
#[derive(Debug)]
pub struct Replay {
    file: BufReader<File>,
    salt: [u8; 32],
    line: Vec<u8>,
}

/// Something of a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes were written.
    Output(Vec<u8>),
    /// Something is noted here, in words.
    Mark(String),
}

/// What the log recorded of a transcript.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// How many bytes the step wrote.
    pub bytes: u64,
    /// How many of them are not in the transcript.
    pub left_out: u64,
    /// SHA-256 over the salt and all bytes, in hexadecimal.
    pub digest: &'a str,
}

/// What became of a transcript since it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fidelity {
    /// It has the recorded digest.
    Same,
    /// It has as many bytes as were kept; since the middle is left out, the digest cannot be worked out.
    SameLength,
    /// It is not what was recorded: why.
    Altered(String),
}

#[derive(Deserialize)]
struct Header {
    version: u32,
    interlock: Own,
}

#[derive(Deserialize)]
struct Own {
    salt: String,
}

impl Replay {
    /// Opens a transcript; never through a link.
    ///
    /// # Errors
    /// It cannot be read. [`io::ErrorKind::InvalidData`]: it does not begin as a transcript.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut replay = Self { file: BufReader::with_capacity(64 * 1024, file), salt: [0; 32], line: Vec::new() };
        replay.begin()?;
        Ok(replay)
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// It cannot be read. [`io::ErrorKind::InvalidData`]: a line is not one of a transcript.
    pub fn piece(&mut self) -> io::Result<Option<Piece>> {
        if !self.next_line()? {
            return Ok(None);
        }
        let (_, kind, text): (f64, String, String) = serde_json::from_slice(&self.line).map_err(not_one)?;
        match kind.as_str() {
            "o" => Ok(Some(Piece::Output(decode(&text)))),
            _ => Ok(Some(Piece::Mark(text))),
        }
    }

    /// Holds all of it against what was recorded, and begins again.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn compare(&mut self, expected: Expected<'_>) -> io::Result<Fidelity> {
        let mut hasher = Sha256::new_with_prefix(self.salt);
        let mut bytes = 0;
        loop {
            match self.piece() {
                Ok(Some(Piece::Output(some))) => {
                    hasher.update(&some);
                    bytes += some.len() as u64;
                }
                Ok(Some(Piece::Mark(_))) => {}
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Ok(Fidelity::Altered(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.file.rewind()?;
        self.begin()?;
        Ok(match expected.left_out {
            0 if digest == expected.digest => Fidelity::Same,
            0 => Fidelity::Altered("its bytes do not have the recorded digest".to_owned()),
            _ if bytes.checked_add(expected.left_out) == Some(expected.bytes) => Fidelity::SameLength,
            left_out => Fidelity::Altered(format!(
                "it has {bytes} bytes, and with the {left_out} that were left out {} were recorded",
                expected.bytes
            )),
        })
    }

    fn begin(&mut self) -> io::Result<()> {
        self.next_line()?;
        let header: Header = serde_json::from_slice(&self.line).map_err(not_one)?;
        let salt = header.interlock.salt;
        let is_hex = salt.len() == 64 && salt.bytes().all(|byte| byte.is_ascii_hexdigit());
        if header.version != 2 || !is_hex {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not begin as a transcript"));
        }
        for (at, byte) in self.salt.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&salt[2 * at..2 * at + 2], 16).map_err(not_one)?;
        }
        Ok(())
    }

    fn next_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        let got = self.file.by_ref().take(LONGEST).read_until(b'\n', &mut self.line)?;
        match self.line.pop() {
            None => Ok(false),
            Some(b'\n') => Ok(true),
            Some(_) if got as u64 == LONGEST => Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long")),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it ends in the middle of a line")),
        }
    }
}

fn not_one(error: impl std::error::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is not a transcript as they are written: {error}"))
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
