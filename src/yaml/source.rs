//! The door for files that people write. Reads a regular file of bounded size and nothing else: a directory, a pipe, a
//! device or a file without end is an error at once, never a hang.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::code;
use crate::diagnostic::{Diagnostic, Source};

/// The longest file that is read, in bytes.
pub const LONGEST: u64 = 4 << 20;
/// The longest file that is read where a plan may stand as well, in bytes: a plan repeats in every step what its runbook says once.
pub const LONGEST_PLAN: u64 = super::form::LONGEST;

/// Reads a file that a person wrote (`open` with `O_NONBLOCK`, `fstat`, a bounded read).
///
/// # Errors
/// A diagnostic without a place (but for bad UTF-8, whose message names line and column) when the file is not there,
/// cannot be read, is no regular file, is longer than [`LONGEST`], or is not UTF-8.
pub fn read_source(path: &Path) -> Result<Source, Box<Diagnostic>> {
    read_within(path, LONGEST, |_| LONGEST)
}

/// As [`read_source`], for a file that may also be a plan, as `is_plan` tells of its text: then it may be as long as
/// [`LONGEST_PLAN`].
///
/// # Errors
/// As [`read_source`].
pub fn read_source_or_plan(path: &Path, is_plan: impl Fn(&str) -> bool) -> Result<Source, Box<Diagnostic>> {
    read_within(
        path,
        LONGEST_PLAN,
        |bytes| {
            if is_plan(&String::from_utf8_lossy(bytes)) { LONGEST_PLAN } else { LONGEST }
        },
    )
}

/// Reads a file of at most `most` bytes, of which as many are allowed as `allowed` says of them.
fn read_within(path: &Path, most: u64, allowed: impl Fn(&[u8]) -> u64) -> Result<Source, Box<Diagnostic>> {
    let name = path.display().to_string();
    let unreadable = |why: &str, help: &str| {
        let message = format!("cannot read `{name}`: {why}");
        Box::new(Diagnostic::error(code::UNREADABLE, message).help(help))
    };
    let failed = |error: Errno| {
        let error = std::io::Error::from(error);
        unreadable(&error.to_string(), "check the path, and that you may read the file")
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&handle).map_err(failed)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => {
            return Err(unreadable("it is a directory", "give the path of one file in it"));
        }
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Symlink
        | FileType::Unknown => {
            return Err(unreadable(
                "it is not a regular file",
                "write it to a file first, so that it can be read again",
            ));
        }
    }
    let too_long = |allowed: u64| {
        unreadable(
            &format!("it is longer than {} MiB", allowed >> 20),
            "it is for people to read: split it, and move data into files of its own",
        )
    };
    if u64::try_from(stat.st_size).is_ok_and(|size| size > most) {
        return Err(too_long(most));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or_default());
    let read = File::from(handle).take(most + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(&error.to_string(), "check the disk, and try again"))?;
    let allowed = allowed(&bytes);
    if bytes.len() as u64 > allowed {
        return Err(too_long(allowed));
    }
    decode(&name, bytes)
}

/// Makes a source of bytes.
///
/// # Errors
/// A diagnostic that names line and column when they are not UTF-8.
pub fn decode(name: &str, bytes: Vec<u8>) -> Result<Source, Box<Diagnostic>> {
    String::from_utf8(bytes).map(|text| Source::new(name, text)).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let valid = Source::new(name, String::from_utf8_lossy(&bytes[..at]));
        let (line, column) = valid.position(at);
        let message = format!("`{name}` is not UTF-8: line {line}, column {column} has the byte 0x{:02x}", bytes[at]);
        let help = "save the file as UTF-8; `iconv -f LATIN1 -t UTF-8` turns an old encoding into it";
        Box::new(Diagnostic::error(code::NOT_UTF8, message).help(help))
    })
}
