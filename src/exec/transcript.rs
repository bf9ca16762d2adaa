//! The recorded output of a step: an asciicast of version 2 (<https://docs.asciinema.org/manual/asciicast/v2/>), one
//! header line and then `[seconds,"o",text]` for each piece of output, standard output and standard error in the order
//! in which they were read.
//!
//! Output that is longer than what is kept loses its middle: the first and the last bytes are in the file, and between
//! them stands `[seconds,"m","… bytes are left out here"]`. Digest and length are of all of it. Memory is bounded:
//! the end is kept in unnamed files beside the transcript until it is known to be the end.
//!
//! JSON holds no bytes, so a byte that is not part of valid UTF-8 is written as the character U+10F700 plus the byte
//! (U+10F780 to U+10F7FF, private use); such a character in the output itself is written as its four bytes. So
//! [`decode`] gives back exactly the bytes that were hashed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags};
use rustix::rand::GetRandomFlags;
use sha2::{Digest as _, Sha256};

use crate::exec::commit::Removed;

/// How much of a step's output is kept by default, at its beginning and again at its end, in bytes.
pub const KEEP: u64 = 32 * 1024 * 1024;

/// A byte `b` that is not part of valid UTF-8 is written as the character `RAW + b`.
const RAW: u32 = 0x0010_F700;
/// A frame of the end: time in microseconds (8 bytes), length (4 bytes), then the bytes.
const FRAME_HEAD: usize = 12;

/// Where a transcript goes and how much of it is kept.
#[derive(Debug, Clone)]
pub struct TranscriptPlan {
    /// The file; it must not exist. It is made with mode 0600 when there is something to write.
    pub path: PathBuf,
    /// How many bytes of the beginning are kept.
    pub keep_first: u64,
    /// How many bytes of the end are kept.
    pub keep_last: u64,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Where the transcript is.
    pub path: PathBuf,
    /// How many bytes the step wrote, after masking.
    pub bytes: u64,
    /// SHA-256 over the salt (32 bytes, in hexadecimal in the transcript's header) and all these bytes, in order.
    pub digest: [u8; 32],
    /// How many bytes of the middle are not in the transcript.
    pub left_out: u64,
    /// Why the transcript is not complete, in words; none if all is well.
    pub trouble: Option<String>,
    /// What was removed from it by the rules of a policy.
    pub removed: Option<Removed>,
}

/// A transcript being written. Writing never fails to the caller: the first failure is kept as trouble, nothing more is
/// written, and digest and length go on.
#[derive(Debug)]
pub(super) struct Transcript {
    plan: TranscriptPlan,
    hasher: Sha256,
    bytes: u64,
    file: Option<File>,
    head_left: u64,
    tail: Option<Tail>,
    line: Vec<u8>,
    trouble: Option<String>,
}

/// The end of the output, in two unnamed files that take turns.
#[derive(Debug)]
struct Tail {
    limit: u64,
    current: Segment,
    previous: Segment,
    /// All bytes that came here.
    bytes: u64,
    frame: Vec<u8>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    /// How many bytes of output its frames hold.
    bytes: u64,
    /// How many bytes of the file are frames; what lies behind is stale.
    length: u64,
}

impl TranscriptPlan {
    /// A transcript at this path that keeps the default amount ([`KEEP`]).
    pub fn at(path: PathBuf) -> Self {
        Self { path, keep_first: KEEP, keep_last: KEEP }
    }
}

impl Transcript {
    /// Begins a transcript: makes the file and writes its header.
    pub(super) fn begin(plan: TranscriptPlan) -> Self {
        let head_left = plan.keep_first;
        let mut transcript = Self {
            plan,
            hasher: Sha256::new(),
            bytes: 0,
            file: None,
            head_left,
            tail: None,
            line: Vec::new(),
            trouble: None,
        };
        let mut salt = [0_u8; 32];
        let outcome = fill_random(&mut salt).and_then(|()| {
            transcript.hasher.update(salt);
            let file = OpenOptions::new().write(true).read(true).create_new(true).mode(0o600).open(&transcript.plan.path)?;
            transcript.file = Some(file);
            let hex: String = salt.iter().map(|byte| format!("{byte:02x}")).collect();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            transcript.line = format!(
                "{{\"version\":2,\"width\":80,\"height\":24,\"timestamp\":{now},\"interlock\":{{\"salt\":\"{hex}\",\"raw\":\"U+10F700\"}}}}\n"
            )
            .into_bytes();
            Ok(())
        });
        transcript.note(outcome);
        transcript
    }

    /// Records a piece of output that came `at` this time after the start.
    pub(super) fn write(&mut self, at: Duration, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        if self.trouble.is_none() {
            let outcome = self.store(at, bytes);
            self.note(outcome);
        }
    }

    /// Why it is not complete, if it is not.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Ends the transcript.
    pub(super) fn finish(mut self) -> Recorded {
        let mut left_out = 0;
        if self.trouble.is_none() {
            let outcome = self.append_tail();
            match outcome {
                Ok(count) => left_out = count,
                Err(error) => self.note(Err(error)),
            }
        }
        Recorded {
            path: self.plan.path,
            bytes: self.bytes,
            digest: self.hasher.finalize().into(),
            left_out,
            trouble: self.trouble,
            removed: None,
        }
    }

    fn store(&mut self, at: Duration, bytes: &[u8]) -> io::Result<()> {
        let head = usize::try_from(self.head_left).unwrap_or(usize::MAX).min(bytes.len());
        let (first, rest) = bytes.split_at(head);
        if !first.is_empty() {
            self.head_left -= first.len() as u64;
            push_event(&mut self.line, micros(at), first);
            self.flush_line()?;
        }
        if !rest.is_empty() {
            if self.tail.is_none() {
                self.tail = Some(Tail::new(self.plan.keep_last, &self.plan.path)?);
            }
            if let Some(tail) = &mut self.tail {
                tail.push(micros(at), rest)?;
            }
        }
        Ok(())
    }

    /// Writes the kept end behind the beginning; says how many bytes between them are left out.
    fn append_tail(&mut self) -> io::Result<u64> {
        self.flush_line()?;
        let Some(mut tail) = self.tail.take() else { return Ok(0) };
        let held = tail.previous.bytes + tail.current.bytes;
        let mut skip = held.saturating_sub(tail.limit);
        let left_out = tail.bytes - held + skip;
        let mut marked = left_out == 0;
        for segment in [&mut tail.previous, &mut tail.current] {
            segment.file.seek(SeekFrom::Start(0))?;
            let mut frames = io::BufReader::with_capacity(64 * 1024, (&segment.file).take(segment.length));
            while let Some((at, bytes)) = next_frame(&mut frames)? {
                let cut = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
                skip -= cut as u64;
                if cut == bytes.len() {
                    continue;
                }
                if !marked {
                    marked = true;
                    push_time(&mut self.line, at);
                    self.line.extend_from_slice(format!("\"m\",\"{left_out} bytes are left out here\"]\n").as_bytes());
                }
                push_event(&mut self.line, at, &bytes[cut..]);
                if self.line.len() >= 64 * 1024 {
                    self.flush_line()?;
                }
            }
        }
        if !marked {
            let end = format!("[0.000000,\"m\",\"{left_out} bytes are left out here\"]\n");
            self.line.extend_from_slice(end.as_bytes());
        }
        self.flush_line()?;
        Ok(left_out)
    }

    fn flush_line(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(&self.line)?;
        }
        self.line.clear();
        Ok(())
    }

    fn note(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome
            && self.trouble.is_none()
        {
            self.trouble = Some(format!("the transcript {} cannot be written: {error}", self.plan.path.display()));
        }
    }
}

impl Tail {
    fn new(limit: u64, beside: &Path) -> io::Result<Self> {
        let segment = || Ok::<_, io::Error>(Segment { file: unnamed_file(beside)?, bytes: 0, length: 0 });
        Ok(Self { limit, current: segment()?, previous: segment()?, bytes: 0, frame: Vec::new() })
    }

    fn push(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        if self.limit == 0 {
            return Ok(());
        }
        if self.current.bytes >= self.limit {
            std::mem::swap(&mut self.current, &mut self.previous);
            // The old frames are overwritten in place: their pages are in memory already.
            self.current.file.seek(SeekFrom::Start(0))?;
            self.current.bytes = 0;
            self.current.length = 0;
        }
        self.frame.clear();
        self.frame.extend_from_slice(&at.to_le_bytes());
        let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a piece of output over 4 GiB"))?;
        self.frame.extend_from_slice(&length.to_le_bytes());
        self.frame.extend_from_slice(bytes);
        self.current.file.write_all(&self.frame)?;
        self.current.bytes += u64::from(length);
        self.current.length += self.frame.len() as u64;
        Ok(())
    }
}

/// The bytes that an event's text stands for: the inverse of how this module writes them.
pub fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match raw_byte(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// The byte that this character stands for, if it is one of those that stand for bytes.
fn raw_byte(character: char) -> Option<u8> {
    let byte = u32::from(character).checked_sub(RAW)?;
    u8::try_from(byte).ok().filter(|byte| *byte >= 0x80)
}

fn micros(at: Duration) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or(u64::MAX)
}

fn push_time(line: &mut Vec<u8>, at: u64) {
    line.extend_from_slice(format!("[{}.{:06},", at / 1_000_000, at % 1_000_000).as_bytes());
}

fn push_event(line: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    push_time(line, at);
    line.extend_from_slice(b"\"o\",\"");
    push_text(line, bytes);
    line.extend_from_slice(b"\"]\n");
}

/// Appends bytes as the inside of a JSON string.
fn push_text(line: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    line.reserve(bytes.len() + bytes.len() / 8);
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let mut from = 0;
        for (at, &byte) in valid.iter().enumerate() {
            // Bytes from 0xF4 on begin the plane in which the characters that stand for bytes are.
            if byte >= 0x20 && byte != b'"' && byte != b'\\' && byte < 0xF4 {
                continue;
            }
            if byte >= 0xF4 && chunk.valid()[at..].chars().next().and_then(raw_byte).is_none() {
                continue;
            }
            line.extend_from_slice(&valid[from..at]);
            from = at + 1;
            match byte {
                b'"' => line.extend_from_slice(b"\\\""),
                b'\\' => line.extend_from_slice(b"\\\\"),
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\r' => line.extend_from_slice(b"\\r"),
                b'\t' => line.extend_from_slice(b"\\t"),
                0xF4.. => {
                    for &raw in &valid[at..at + 4] {
                        push_raw(line, raw);
                    }
                    from = at + 4;
                }
                control => line.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[usize::from(control >> 4)],
                    HEX[usize::from(control & 15)],
                ]),
            }
        }
        line.extend_from_slice(&valid[from..]);
        for &raw in chunk.invalid() {
            push_raw(line, raw);
        }
    }
}

fn push_raw(line: &mut Vec<u8>, byte: u8) {
    let character = char::from_u32(RAW + u32::from(byte)).expect("U+10F780 to U+10F7FF are characters");
    line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

fn next_frame(frames: &mut impl Read) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut head = [0_u8; FRAME_HEAD];
    match frames.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let (time, length) = head.split_at(8);
    let time = u64::from_le_bytes(time.try_into().expect("8 of the 12 bytes"));
    let length = u32::from_le_bytes(length.try_into().expect("4 of the 12 bytes"));
    let mut bytes = vec![0; length as usize];
    frames.read_exact(&mut bytes)?;
    Ok(Some((time, bytes)))
}

/// A file without a name on the same file system, so that nothing is left if we are killed.
fn unnamed_file(beside: &Path) -> io::Result<File> {
    let folder = match beside.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::from_raw_mode(0o600)) {
        Ok(file) => Ok(File::from(file)),
        // Some file systems have no unnamed files; then it is made and its name removed.
        Err(_) => {
            let mut name = beside.as_os_str().to_owned();
            name.push(".end");
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&name)?;
            std::fs::remove_file(&name)?;
            Ok(file)
        }
    }
}

/// Fills this with bytes that nobody can guess.
pub(super) fn fill_random(buffer: &mut [u8; 32]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::rand::getrandom(&mut buffer[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "transcript_tests.rs"]
mod tests;
