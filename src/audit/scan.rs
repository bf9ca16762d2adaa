//! A fast look through the whole log for the few entries that have certain words. Most lines are only searched, not understood, so it
//! costs a tenth of reading; it follows no links, and what it finds is no history: for that, read.

use std::fs;
use std::io;

use super::base::{self, Base};
use super::line::decode;
use super::read::{ReadError, list_names};
use super::{Home, names};
use crate::history::entry::Entry;

/// The entries whose line has these bytes as they stand, in order, of those that were not archived; none if there is no log. Lines that are no entries, such as what a
/// crash has left unfinished, are passed over.
///
/// # Errors
/// A segment cannot be read.
pub fn entries_with(home: &Home, words: &str) -> Result<Vec<Entry>, ReadError> {
    let folder = home.audit();
    let all = match list_names(&folder) {
        Err(ReadError::NoLog { .. }) => return Ok(Vec::new()),
        Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        all => all?,
    };
    let base = Base::of(&folder)?;
    let mut found = Vec::new();
    for first in base::segments(base.as_ref(), &all) {
        let path = folder.join(names::segment(first));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // What was archived meanwhile is not looked through.
            Err(_) if Base::of(&folder)? != base => return entries_with(home, words),
            Err(source) => return Err(ReadError::Io { path, source }),
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut rest: &str = &text;
        while let Some(at) = rest.find(words) {
            let start = rest[..at].rfind('\n').map_or(0, |newline| newline + 1);
            let end = rest[at..].find('\n').map_or(rest.len(), |newline| at + newline);
            if let Ok(decoded) = decode(&rest.as_bytes()[start..end]) {
                found.push(decoded.entry);
            }
            rest = &rest[end..];
        }
    }
    Ok(found)
}
