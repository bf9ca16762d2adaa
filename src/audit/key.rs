//! The key that signs the checkpoints of a log: a file of the home, made with the log. It can be replaced: the old one signs the new one, an
//! entry says so, and from there on the new one signs.
//!
//! # Replacing
//! The new key is on disk under another name (`log.key.next`) before the entry is written, and takes the old one's place after it. If the
//! program dies in between, the next that signs finds the entry, and puts the key into its place. A key that no entry speaks of is never used.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::rand::GetRandomFlags;
use uuid::Uuid;

use super::anchor::{AnchorError, LONGEST, failed, read_small, write_new, write_synced, write_whole};
use super::log::{Draft, Log};
use super::note::{LogKey, NoteError, PublicKey};
use super::scan::entries_with;
use super::succession::vouch;
use super::{Home, LogError};
use crate::history::event::Event;

/// How the name of a log begins; its UUID follows.
const PREFIX: &str = "interlock/";
/// The private half.
const PRIVATE: &str = "log.key";
/// The private half of one that is about to take its place.
const NEXT: &str = "log.key.next";
/// The public half of the key, beside it.
const PUBLIC: &str = "log.pub";
/// The public halves of the keys that were replaced, a line each.
const FORMER: &str = "former.pub";

/// Why a key was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key's files cannot be used.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The old key is there, and was said to be lost; or the other way about.
    #[error("{0}")]
    Old(String),
}

/// What is known of the key that is to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldKey {
    /// It is there, and signs the new one.
    Signs,
    /// It is lost.
    IsLost,
}

/// A key that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The one before.
    pub old: PublicKey,
    /// The one from now on.
    pub new: PublicKey,
}

fn folder(home: &Home) -> PathBuf {
    home.path().join("keys")
}

/// The key that signs now: the home's, or the one that an entry says has taken its place. Made if there is none. Under the log's lock.
pub(super) fn signing_key(home: &Home) -> Result<LogKey, AnchorError> {
    finish(home)?;
    match read_key(home)? {
        Some(key) if former_keys(home).contains(&key.public()) => {
            let problem = "it was replaced, and does not sign any more; put the newer one back from a backup, or say that it is lost, after \
                           this one is out of the way: `interlock audit key --replace --lost --reason …`";
            Err(AnchorError::Key { path: key_path(home), problem: problem.to_owned() })
        }
        Some(key) => Ok(key),
        // A log that was made before there were keys, or where none could be made.
        None if former_keys(home).is_empty() && !folder(home).join(PUBLIC).exists() => make_key(home),
        None => {
            let problem = "there is no key any more, and there was one; put it back, or say that it is lost: \
                           `interlock audit key --replace --lost --reason …`";
            Err(AnchorError::Key { path: key_path(home), problem: problem.to_owned() })
        }
    }
}

/// Replaces the key: a new one is made, which the old one signs, and an entry says so. `log` is the home's, open.
///
/// # Errors
/// As said. If the entry was written, the key is replaced, whatever failed after that.
pub fn replace_key(home: &Home, log: &mut Log, reason: &str, old: OldKey) -> Result<Replacement, KeyError> {
    let folder = folder(home);
    DirBuilder::new().mode(0o700).recursive(true).create(&folder).map_err(failed(&folder))?;
    // One at a time.
    let lock = File::open(&folder).map_err(failed(&folder))?;
    lock.lock().map_err(failed(&folder))?;
    finish(home)?;
    let (before, private) = match (old, read_key(home)) {
        (OldKey::Signs, Ok(Some(key))) => (key.public(), Some(key)),
        (OldKey::Signs, Ok(None)) => {
            return Err(KeyError::Old(format!("{} is not there; if it is lost, say --lost", key_path(home).display())));
        }
        (OldKey::Signs, Err(error)) => return Err(error.into()),
        (OldKey::IsLost, Ok(Some(_))) => {
            let path = key_path(home);
            return Err(KeyError::Old(format!("{} is not lost: without --lost it signs the new one", path.display())));
        }
        (OldKey::IsLost, Ok(None) | Err(_)) => match public_key(home) {
            Some(key) => (key, None),
            None => {
                let text = "which key was lost cannot be told: neither keys/log.key nor keys/log.pub can be read; put keys/log.pub back, \
                            from `log_created` or from where it was kept";
                return Err(KeyError::Old(text.to_owned()));
            }
        },
    };
    let next = folder.join(NEXT);
    let key = random_key(before.name(), &next)?;
    write_synced(&folder.join("log.key.unfinished"), &next, key.to_file().as_bytes()).map_err(failed(&next))?;
    lock.sync_all().map_err(failed(&folder))?;
    let event = Event::LogKeyReplaced {
        old: before.to_string(),
        new: key.public().to_string(),
        signature: private.map(|old| vouch(&old, &key.public())),
        reason: reason.to_owned(),
    };
    log.append(&[Draft { run: None, event: &event }])?;
    finish(home)?;
    Ok(Replacement { old: before, new: key.public() })
}

/// Puts a key into its place that an entry speaks of; one that none speaks of is left where it is, for nothing.
fn finish(home: &Home) -> Result<(), AnchorError> {
    let folder = folder(home);
    let next = folder.join(NEXT);
    let Some(key) = read_key_of(&next)? else { return Ok(()) };
    let named = key.public().to_string();
    let replaced = entries_with(home, "\"event\":\"log_key_replaced\"")?.pop();
    let Some(Event::LogKeyReplaced { old, new, .. }) = replaced.map(|entry| entry.event) else { return Ok(()) };
    if new != named {
        return Ok(());
    }
    let former = folder.join(FORMER);
    let mut keys: Vec<String> = former_keys(home).iter().map(PublicKey::to_string).collect();
    if !keys.contains(&old) {
        keys.push(old);
        write_synced(&folder.join("former.pub.new"), &former, format!("{}\n", keys.join("\n")).as_bytes())
            .map_err(failed(&former))?;
    }
    let path = key_path(home);
    match std::fs::rename(&next, &path) {
        // Another program was quicker.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        renamed => renamed.map_err(failed(&path))?,
    }
    File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed(&folder))?;
    publish(home, &key).map_err(failed(&folder))
}

/// The public halves of the keys that were replaced, as far as they are kept. The log itself says them too.
pub(super) fn former_keys(home: &Home) -> Vec<PublicKey> {
    let text = read_small(&folder(home).join(FORMER)).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(|line| line.parse().ok()).collect()
}

/// The public half of the home's key, as it lies beside it; none if there is none that can be read. Where the log was cut before the
/// entry that names it, this still tells whose the checkpoints are.
pub fn public_key(home: &Home) -> Option<PublicKey> {
    let text = read_small(&home.path().join("keys").join(PUBLIC)).ok()?;
    std::str::from_utf8(&text).ok()?.parse().ok()
}

fn key_path(home: &Home) -> PathBuf {
    folder(home).join(PRIVATE)
}

fn read_key(home: &Home) -> Result<Option<LogKey>, AnchorError> {
    read_key_of(&key_path(home))
}

fn read_key_of(path: &Path) -> Result<Option<LogKey>, AnchorError> {
    let problem = |problem: String| AnchorError::Key { path: path.to_owned(), problem };
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    let status = file.metadata().map_err(failed(path))?;
    let us = rustix::process::geteuid().as_raw();
    if !status.is_file() || status.uid() != us || status.mode() & 0o077 != 0 {
        return Err(problem("the log's key must be a file of yours that nobody else can read (mode 0600)".to_owned()));
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(failed(path))?;
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
    let key = random_key(&format!("{PREFIX}{}", Uuid::now_v7()), &path)?;
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

/// A key that nobody can guess, for the file at this path.
fn random_key(name: &str, path: &Path) -> Result<LogKey, AnchorError> {
    let mut seed = [0_u8; 32];
    rustix::rand::getrandom(&mut seed[..], GetRandomFlags::empty()).map_err(|error| failed(path)(error.into()))?;
    Ok(LogKey::new(name, &seed))
}

/// Puts the public half beside the key, where it is not there.
pub(super) fn publish(home: &Home, key: &LogKey) -> io::Result<()> {
    let path = home.path().join("keys").join(PUBLIC);
    let text = format!("{}\n", key.public());
    if read_small(&path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    write_whole(&home.path().join("keys").join("log.pub.new"), &path, text.as_bytes())
}
