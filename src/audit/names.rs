//! The names of the files in `audit/`.

/// The file whose lock is held while entries are written.
pub(super) const LOCK: &str = "lock";
/// What stands for the entries that were moved into an archive.
pub(super) const ARCHIVED: &str = "archived";
/// In the folder of a log that is an archive: nothing is written there any more.
pub(super) const ARCHIVE: &str = "archive";
/// A file that is being made and has not got its name yet; left over only by a crash.
pub(super) const UNFINISHED: &str = "unfinished";
/// The end of the name of a file set aside by a repair whose entry is not written yet.
pub(super) const UNRECORDED: &str = ".unrecorded";
/// How the name of a file set aside by a repair begins.
pub(super) const TORN: &str = "torn-";

const SEGMENT_END: &str = ".jsonl";
const CHECKPOINT_END: &str = ".checkpoint";
const SEGMENT_DIGITS: usize = 16;

/// The name of the segment whose first entry has this number.
pub(super) fn segment(first: u64) -> String {
    format!("{first:016}{SEGMENT_END}")
}

/// The number of the first entry of the segment with this name; none if it is not the name of a segment.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT_END)?;
    if digits.len() < SEGMENT_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let first = digits.parse().ok()?;
    (segment(first) == name).then_some(first)
}

/// The name of the checkpoint of so many entries.
pub(super) fn checkpoint(size: u64) -> String {
    format!("{size:016}{CHECKPOINT_END}")
}

/// How many entries the checkpoint with this name speaks of; none if it is not the name of one.
pub(super) fn size_of_checkpoint(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(CHECKPOINT_END)?;
    let size = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    (checkpoint(size) == name).then_some(size)
}

/// The segments among these names, each with the number of its first entry, in order.
pub(super) fn segments<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<u64> {
    let mut found: Vec<u64> = names.into_iter().filter_map(|name| first_of(name)).collect();
    found.sort_unstable();
    found
}

/// Where the bytes of a torn tail are kept: `torn-<segment's first entry>-<offset>-<16 digits of the digest>`.
pub(super) fn torn(segment: &str, offset: u64, digest: &str) -> String {
    let first = segment.strip_suffix(SEGMENT_END).unwrap_or(segment);
    format!("{TORN}{first}-{offset}-{}", &digest[..16])
}

/// Whether a repair has set this file aside, recorded or not.
pub(super) fn is_set_aside(name: &str) -> bool {
    name.starts_with(TORN)
}

/// The segment and the offset that [`torn`] wrote into a name.
pub(super) fn place_of_torn(name: &str) -> Option<(String, u64)> {
    let mut parts = name.strip_prefix(TORN)?.split('-');
    let name_of_segment = format!("{}{SEGMENT_END}", parts.next()?);
    first_of(&name_of_segment)?;
    let offset = parts.next()?.parse().ok()?;
    Some((name_of_segment, offset))
}
