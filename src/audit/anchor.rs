//! The checkpoints of a home: its key, made at first use; the text that says how long the log is and what its tree's root is, signed.
//! They lie beside the log, where they find a log that was cut or rewritten by somebody without the key; kept elsewhere, also one that
//! was made anew by somebody with it.
//!
//! A checkpoint speaks only of entries that are on disk: it is made under the log's lock, after a sync. What was worked out of the
//! tree is kept in a cache, which is believed only where it leads to the root of a checkpoint that the key has signed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::rand::GetRandomFlags;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::note::{Checkpoint, LogKey, NoteError, PublicKey};
use super::read::{ReadError, Reader, list_names, read};
use super::tail::Position;
use super::tree::{Edge, Hash, leaf};
use super::{Home, names};
use crate::id::Digest;

/// How many checkpoints are kept beside the log; each speaks of all entries before it.
const KEPT: usize = 8;
/// The longest cache or key file, in bytes.
const LONGEST: u64 = 16 * 1024;
/// The cache, in the home.
const CACHE: &str = "tree.cache";
/// How the name of a log begins; its UUID follows.
const PREFIX: &str = "interlock/";
/// The public half of the key, beside it.
const PUBLIC: &str = "log.pub";

/// A checkpoint that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The signed text.
    pub note: String,
    /// How many entries it speaks of.
    pub size: u64,
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
    /// A system call failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> AnchorError {
    let path = path.to_owned();
    move |source| AnchorError::Io { path, source }
}

/// Makes a checkpoint of the log as it is now, and keeps it beside the log.
///
/// # Errors
/// As said; nothing was changed then but that a key may have been made.
pub fn checkpoint(home: &Home) -> Result<Made, AnchorError> {
    let key = match read_key(home)? {
        Some(key) => key,
        // A log that was made before there were keys, or where none could be made.
        None => make_key(home)?,
    };
    publish(home, &key).map_err(failed(&home.path().join("keys")))?;
    let lock_path = home.audit().join(names::LOCK);
    let lock = File::open(&lock_path).map_err(failed(&lock_path))?;
    lock.lock().map_err(failed(&lock_path))?;
    let (edge, at, segment) = edge_of(home, &key)?;
    let checkpoint = Checkpoint { origin: key.public().name().to_owned(), size: edge.size(), root: edge.root() };
    let note = key.sign(&checkpoint);
    let path = home.audit().join(names::checkpoint(edge.size()));
    write_whole(&home.audit().join(names::UNFINISHED), &path, note.as_bytes()).map_err(failed(&path))?;
    let cache = Cache::of(&edge, &at, &segment);
    let cached = home.path().join(CACHE);
    // Only a cache: without it the next one takes longer.
    let _ = serde_json::to_vec(&cache).map(|bytes| write_whole(&home.path().join("tree.cache.new"), &cached, &bytes));
    remove_old(home);
    drop(lock);
    Ok(Made { note, size: edge.size(), path })
}

/// The checkpoints that lie beside the log, each with its bytes.
///
/// # Errors
/// The folder cannot be read.
pub fn kept(home: &Home) -> Result<Vec<(String, Vec<u8>)>, ReadError> {
    let mut found = Vec::new();
    for name in list_names(&home.audit())?.into_iter().filter(|name| names::size_of_checkpoint(name).is_some()) {
        let path = home.audit().join(&name);
        let bytes = read_bounded(&path).map_err(|source| ReadError::Io { path, source })?;
        found.push((name, bytes));
    }
    found.sort();
    Ok(found)
}

/// The public half of the home's key, as it lies beside it; none if there is none that can be read. Where the log was cut before the
/// entry that names it, this still tells whose the checkpoints are.
pub(super) fn public_key(home: &Home) -> Option<PublicKey> {
    let text = read_bounded(&home.path().join("keys").join(PUBLIC)).ok()?;
    std::str::from_utf8(&text).ok()?.parse().ok()
}

/// The tree up to the end of the log: from the cache where that is right, else from the first entry. Under the lock.
fn edge_of(home: &Home, key: &LogKey) -> Result<(Edge, Position, String), AnchorError> {
    if let Some((edge, at, segment)) = cached(home, key) {
        // Whatever is wrong with it, the log itself says more.
        if let Ok(reader) = Reader::from(home, &segment, at)
            && let Ok(done) = grow(home, edge, reader)
        {
            return Ok(done);
        }
    }
    grow(home, Edge::default(), read(home)?)
}

fn grow(home: &Home, edge: Edge, reader: Reader) -> Result<(Edge, Position, String), AnchorError> {
    let mut edge = edge;
    let mut reader = reader;
    for found in reader.by_ref() {
        edge.push(leaf(found?.recorded.line.as_bytes()));
    }
    let (at, segment) = reader.place();
    // What others have written is on disk before it is spoken of.
    let path = home.audit().join(&segment);
    File::open(&path).and_then(|file| file.sync_data()).map_err(failed(&path))?;
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

/// The cache, if it leads to what the key has signed.
fn cached(home: &Home, key: &LogKey) -> Option<(Edge, Position, String)> {
    let cache: Cache = serde_json::from_slice(&read_bounded(&home.path().join(CACHE)).ok()?).ok()?;
    let edge = Edge::of(cache.size, cache.parts)?;
    let note = read_bounded(&home.audit().join(names::checkpoint(cache.size))).ok()?;
    let keys = [key.public()];
    let (checkpoint, _) = Checkpoint::open(&note, &keys).ok()?;
    names::first_of(&cache.segment)?;
    let seq = cache.size.checked_add(1)?;
    let at = Position { offset: cache.offset, line: cache.line, seq, prev: cache.prev, batch: cache.batch };
    (checkpoint.size == edge.size() && checkpoint.root == edge.root()).then_some((edge, at, cache.segment))
}

fn key_path(home: &Home) -> PathBuf {
    home.path().join("keys").join("log.key")
}

fn read_key(home: &Home) -> Result<Option<LogKey>, AnchorError> {
    let path = key_path(home);
    let problem = |problem: String| AnchorError::Key { path: path.clone(), problem };
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path)(error)),
    };
    let status = file.metadata().map_err(failed(&path))?;
    let us = rustix::process::geteuid().as_raw();
    if !status.is_file() || status.uid() != us || status.mode() & 0o077 != 0 {
        return Err(problem("the log's key must be a file of yours that nobody else can read (mode 0600)".to_owned()));
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(failed(&path))?;
    let key = LogKey::from_file(&text).map_err(|error: NoteError| problem(error.to_string()))?;
    Ok(Some(key))
}

/// How a log is called that is about to be made, and its key: the home's, which is made if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Birth {
    /// The UUID of the log.
    pub(super) log: String,
    /// The public half of its key; none if none could be made: then there are no checkpoints, and each run says so.
    pub(super) key: Option<String>,
}

/// For a log that is about to be made. Of two programs that make it at once, both get the same.
pub(super) fn birth(home: &Home) -> Birth {
    let key = match read_key(home) {
        Ok(Some(key)) => Some(key),
        Ok(None) => make_key(home).ok(),
        Err(_) => None,
    };
    let named = key.as_ref().and_then(|key| {
        let public = key.public();
        let log = public.name().strip_prefix(PREFIX)?.to_owned();
        Some(Birth { log, key: Some(public.to_string()) })
    });
    named.unwrap_or_else(|| Birth { log: Uuid::now_v7().to_string(), key: None })
}

/// Makes a key: its file is whole and durable, or not there. Another program may have made one meanwhile; then that one is it.
fn make_key(home: &Home) -> Result<LogKey, AnchorError> {
    let path = key_path(home);
    let folder = home.path().join("keys");
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&folder)(error)),
        Ok(()) | Err(_) => {}
    }
    let mut seed = [0_u8; 32];
    rustix::rand::getrandom(&mut seed[..], GetRandomFlags::empty()).map_err(|error| failed(&path)(error.into()))?;
    let key = LogKey::new(&format!("{PREFIX}{}", Uuid::now_v7()), &seed);
    let unfinished = folder.join(format!("log.key.{}", std::process::id()));
    let made = write_new(&unfinished, key.to_file().as_bytes()).and_then(|file| {
        file.sync_all()?;
        rustix::fs::renameat_with(CWD, &unfinished, CWD, &path, RenameFlags::NOREPLACE)?;
        File::open(&folder)?.sync_all()
    });
    if let Err(error) = made {
        let _ = std::fs::remove_file(&unfinished);
        return match read_key(home)? {
            Some(key) => Ok(key),
            None => Err(failed(&path)(error)),
        };
    }
    Ok(key)
}

/// Puts the public half beside the key, where it is not there.
fn publish(home: &Home, key: &LogKey) -> io::Result<()> {
    let path = home.path().join("keys").join(PUBLIC);
    let text = format!("{}\n", key.public());
    if read_bounded(&path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    write_whole(&home.path().join("keys").join("log.pub.new"), &path, text.as_bytes())
}

/// Removes all but the newest checkpoints: each speaks of everything before it.
fn remove_old(home: &Home) {
    let Ok(all) = list_names(&home.audit()) else { return };
    let mut sizes: Vec<u64> = all.iter().filter_map(|name| names::size_of_checkpoint(name)).collect();
    sizes.sort_unstable();
    for size in sizes.iter().rev().skip(KEPT) {
        // One that stays is looked at with the rest.
        let _ = std::fs::remove_file(home.audit().join(names::checkpoint(*size)));
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file whole or not at all. It can be made again, so it is not synced.
fn write_whole(unfinished: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let _ = std::fs::remove_file(unfinished);
    write_new(unfinished, bytes)?;
    std::fs::rename(unfinished, path)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}
