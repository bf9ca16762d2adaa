//! The checkpoints of a home: the text that says how long the log is and what its tree's root is, signed.
//! They lie beside the log, where they find a log that was cut or rewritten by somebody without the key; kept elsewhere, also one that
//! was made anew by somebody with it.
//!
//! A checkpoint speaks only of entries that are on disk: it is made under the log's lock, after a sync. Before it is signed, the log is
//! held against the checkpoints that the key signed before: where it is not what they speak of, nothing is signed and none of them is
//! removed, since they are what shows it. What was worked out of the tree is kept in a cache, which is believed only where it leads to
//! the root of a checkpoint that the key has signed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Advice;
use serde::{Deserialize, Serialize};

use super::base::Base;
use super::key::{former_keys, publish, signing_key};
use super::line::MAX_LINE;
use super::note::{Checkpoint, LogKey, PublicKey};
use super::read::{ReadError, Reader, list_names, open, read, read_bounded};
use super::tail::Position;
use super::tree::{Edge, Hash, leaf};
use super::{Home, names};
use crate::id::Digest;

/// How many checkpoints are kept beside the log; each speaks of all entries before it.
const KEPT: usize = 8;
/// The longest cache or key file, in bytes.
pub(super) const LONGEST: u64 = 16 * 1024;
/// The cache, in the home.
const CACHE: &str = "tree.cache";

/// A checkpoint that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The signed text.
    pub note: String,
    /// How many entries it speaks of.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// The file that it lies in.
    pub path: PathBuf,
}

/// Why no checkpoint was made. The log itself is as it was.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The key is there and cannot be used.
    #[error("{}: {problem}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The log is not what the key signed before.
    #[error(
        "{}, which this log's key has signed, {problem}. Nothing was signed, and it is kept as it is; run `interlock audit verify` for \
         all there is to find, and look into it before anything else",
        path.display()
    )]
    Contradicted {
        /// The checkpoint that was signed before.
        path: PathBuf,
        /// What it says otherwise.
        problem: String,
    },
    /// A system call failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> AnchorError {
    let path = path.to_owned();
    move |source| AnchorError::Io { path, source }
}

/// Makes a checkpoint of the log as it is now, and keeps it beside the log.
///
/// # Errors
/// As said; nothing was changed then but that a key may have been made. Also if the log is not what a checkpoint beside it, signed by
/// the same key, says of it.
pub fn checkpoint(home: &Home) -> Result<Made, AnchorError> {
    make(home, None)
}

/// As [`checkpoint`], where the caller has seen to it that the entries up to this one are on disk ([`Log::durable`](super::Log::durable)).
///
/// # Errors
/// As [`checkpoint`].
pub fn checkpoint_behind(home: &Home, durable: u64) -> Result<Made, AnchorError> {
    make(home, Some(durable))
}

fn make(home: &Home, durable: Option<u64>) -> Result<Made, AnchorError> {
    let lock_path = home.audit().join(names::LOCK);
    let lock = File::open(&lock_path).map_err(failed(&lock_path))?;
    lock.lock().map_err(failed(&lock_path))?;
    // Under the lock: the entry that replaces a key either stands before what is signed, or is not in it.
    let key = signing_key(home)?;
    publish(home, &key).map_err(failed(&home.path().join("keys")))?;
    let before = Before::beside(home, &key)?;
    let known = durable.map(|durable| edge_of(home, &key, &before, durable)).transpose()?;
    let (edge, at, segment) = match known {
        Some(known) if Some(known.0.size()) <= durable => known,
        Some(_) | None => {
            settle_end(home)?;
            edge_of(home, &key, &before, u64::MAX)?
        }
    };
    let checkpoint = Checkpoint { origin: key.public().name().to_owned(), size: edge.size(), root: edge.root() };
    let note = key.sign(&checkpoint);
    let path = home.audit().join(names::checkpoint(edge.size()));
    write_synced(&home.audit().join(names::UNFINISHED), &path, note.as_bytes()).map_err(failed(&path))?;
    let cache = Cache::of(&edge, &at, &segment);
    // Only a cache: without it the next one takes longer.
    let _ = serde_json::to_vec(&cache).map(|bytes| write_over(&home.path().join(CACHE), bytes));
    before.remove_old(edge.size());
    drop(lock);
    Ok(Made { note, size: edge.size(), root: edge.root(), path })
}

/// A checkpoint beside the log: its name, and its bytes or why they cannot be read.
pub(super) type Beside = (String, io::Result<Vec<u8>>);

/// The checkpoints that lie beside the log. One that is removed meanwhile is passed over: a newer one speaks of all that it spoke of.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn kept(home: &Home) -> Result<Vec<Beside>, ReadError> {
    let mut found = Vec::new();
    for name in list_names(&home.audit())?.into_iter().filter(|name| names::size_of_checkpoint(name).is_some()) {
        match read_small(&home.audit().join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => found.push((name, read)),
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// The checkpoints beside the log, by the sizes in their names. Read are those that could decide, and a signature, which takes longer to
/// check than all the rest, is looked at where it does. What the key, or one that it replaced, has not signed counts for nothing here;
/// [`verify`](super::verify()) says what it is.
struct Before<'a> {
    home: &'a Home,
    keys: Vec<PublicKey>,
    sizes: Vec<u64>,
}

/// A checkpoint beside the log, as it claims to be.
struct Claim {
    name: String,
    note: Vec<u8>,
    claims: Checkpoint,
}

impl<'a> Before<'a> {
    fn beside(home: &'a Home, key: &LogKey) -> Result<Self, ReadError> {
        let keys = former_keys(home).into_iter().chain([key.public()]).collect();
        let names = list_names(&home.audit())?;
        let mut sizes: Vec<u64> = names.iter().filter_map(|name| names::size_of_checkpoint(name)).collect();
        sizes.sort_unstable();
        Ok(Self { home, keys, sizes })
    }

    fn read(&self, size: u64) -> Option<Claim> {
        let name = names::checkpoint(size);
        let note = read_small(&self.home.audit().join(&name)).ok()?;
        let claims = Checkpoint::claimed(&note).ok()?;
        Some(Claim { name, note, claims })
    }

    /// Those of more than so many entries.
    fn after(&self, size: u64) -> Vec<Claim> {
        self.sizes.iter().filter(|one| **one > size).filter_map(|one| self.read(*one)).collect()
    }

    fn is_signed(&self, claim: &Claim) -> bool {
        Checkpoint::open(&claim.note, &self.keys).is_ok()
    }

    /// Removes all but the newest and the one of this size: each speaks of everything before it. What is not signed stays where it is.
    fn remove_old(&self, made: u64) {
        let others = self.sizes.iter().rev().filter(|size| **size != made);
        for claim in others.skip(KEPT - 1).filter_map(|size| self.read(*size)).filter(|claim| self.is_signed(claim)) {
            // One that stays is looked at with the rest.
            let _ = std::fs::remove_file(self.home.audit().join(claim.name));
        }
    }
}

/// Has the last entries on disk, and has memory forget them: what is spoken of is what is read from there.
fn settle_end(home: &Home) -> Result<(), AnchorError> {
    let names = list_names(&home.audit())?;
    let Some(last) = names::segments(&names).last().copied() else { return Ok(()) };
    let path = home.audit().join(names::segment(last));
    File::open(&path).and_then(|file| settle(&file)).map_err(failed(&path))
}

/// Syncs, and has memory forget it: what is read of it from then on comes from the disk.
pub(super) fn settle(file: &File) -> io::Result<()> {
    file.sync_all()?;
    Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
}

/// The tree up to this entry at least, or to the end of the log: from the cache where that is right, else from the first entry. Under
/// the lock.
fn edge_of(home: &Home, key: &LogKey, before: &Before<'_>, upto: u64) -> Result<(Edge, Position, String), AnchorError> {
    if let Some((edge, at, segment)) = cached(home, key) {
        // Whatever is wrong with it, the log itself says more.
        if let Ok(reader) = Reader::from(home, &segment, at)
            && let Ok(done) = grow(edge, reader, before, upto)
        {
            return Ok(done);
        }
    }
    let edge = Base::of(&home.audit())?.map_or_else(Edge::default, |base| base.known().edge().clone());
    grow(edge, read(home)?, before, upto)
}

/// Adds what the reader still finds, up to this entry and to all that a checkpoint claims. What was signed of fewer entries than the tree
/// had is not looked at: it was when the tree was signed.
fn grow(edge: Edge, reader: Reader, before: &Before<'_>, upto: u64) -> Result<(Edge, Position, String), AnchorError> {
    let (mut edge, mut reader) = (edge, reader);
    let all = before.after(edge.size());
    let upto = all.iter().map(|claim| claim.claims.size).fold(upto, u64::max);
    let contradicted = |one: &Claim, problem: String| {
        let path = before.home.audit().join(&one.name);
        Err(AnchorError::Contradicted { path, problem })
    };
    while edge.size() < upto
        && let Some(found) = reader.next()
    {
        edge.push(leaf(found?.recorded.line.as_bytes()));
        let size = edge.size();
        let contradicts = |one: &&Claim| one.claims.size == size && one.claims.root != edge.root();
        if let Some(one) = all.iter().filter(contradicts).find(|one| before.is_signed(one)) {
            return contradicted(one, format!("says that entries 1 to {size} were others than they are now"));
        }
    }
    let now = edge.size();
    if let Some(one) = all.iter().filter(|one| one.claims.size > now).find(|one| before.is_signed(one)) {
        let then = one.claims.size;
        return contradicted(one, format!("says that there were {then} entries, and there are {now} now"));
    }
    let (at, segment) = reader.place();
    Ok((edge, at, segment))
}

/// What was known of the tree, and where it ends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cache {
    segment: String,
    offset: u64,
    line: u64,
    size: u64,
    prev: Digest,
    batch: Option<u64>,
    parts: Vec<Hash>,
}

impl Cache {
    fn of(edge: &Edge, at: &Position, segment: &str) -> Self {
        Self {
            segment: segment.to_owned(),
            offset: at.offset,
            line: at.line,
            size: edge.size(),
            prev: at.prev.clone(),
            batch: at.batch,
            parts: edge.parts().to_vec(),
        }
    }
}

/// The cache, if it leads to what the key has signed, and the entry that it ends with is still where it was.
fn cached(home: &Home, key: &LogKey) -> Option<(Edge, Position, String)> {
    let cache: Cache = serde_json::from_slice(&read_small(&home.path().join(CACHE)).ok()?).ok()?;
    let edge = Edge::of(cache.size, cache.parts)?;
    let note = read_small(&home.audit().join(names::checkpoint(cache.size))).ok()?;
    let keys = [key.public()];
    let (checkpoint, _) = Checkpoint::open(&note, &keys).ok()?;
    names::first_of(&cache.segment)?;
    let seq = cache.size.checked_add(1)?;
    let at = Position { offset: cache.offset, line: cache.line, seq, prev: cache.prev, batch: cache.batch };
    let fits =
        checkpoint.size == edge.size() && checkpoint.root == edge.root() && ends_as_before(home, &cache.segment, &at);
    fits.then_some((edge, at, cache.segment))
}

/// Whether the line right before this place is still the one that was there. Where the end was cut off, it is not.
fn ends_as_before(home: &Home, segment: &str, at: &Position) -> bool {
    let Ok(file) = open(&home.audit().join(segment)) else { return false };
    // Most lines are short; the longest that there can be is looked for where that is not enough.
    [4096, MAX_LINE as u64 + 2].into_iter().any(|most| {
        let from = at.offset.saturating_sub(most);
        let mut bytes = vec![0; usize::try_from(at.offset - from).expect("it is not more than a line and two bytes")];
        if file.read_exact_at(&mut bytes, from).is_err() {
            return false;
        }
        let Some((b'\n', before)) = bytes.split_last() else { return false };
        let line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        Digest::of(line) == at.prev
    })
}

/// The bytes of a key, a checkpoint or the cache.
pub(super) fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    read_bounded(path, LONGEST)
}

/// Writes a file that can be made again, so it is not synced: after a power cut it may be empty.
pub(super) fn write_whole(unfinished: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let _ = std::fs::remove_file(unfinished);
    write_new(unfinished, bytes)?;
    std::fs::rename(unfinished, path)
}

/// Writes a cache in its place, filled up to the length that it had: a new file, or a new length, has the file system write what need not
/// be written now. After a power cut it may be anything.
fn write_over(path: &Path, bytes: Vec<u8>) -> io::Result<()> {
    let mut bytes = bytes;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    let length = usize::try_from(file.metadata()?.len().min(LONGEST)).expect("it is a few thousand");
    bytes.resize(bytes.len().max(length), b' ');
    file.write_all_at(&bytes, 0)
}

/// Writes a file whose bytes are on disk before it has its name. The name itself may be lost in a power cut.
pub(super) fn write_synced(unfinished: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let _ = std::fs::remove_file(unfinished);
    write_new(unfinished, bytes)?.sync_data()?;
    std::fs::rename(unfinished, path)
}

pub(super) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}
