//! Locks: what a run claims for itself alone, by name, machine-wide.
//!
//! A lock is a file in one folder for all users and homes, named by the digest of the lock's name and never removed. Two things
//! in it say that it is held: an exclusive `flock`, which lives as long as the process, and the claim written in it, which outlives
//! the process. So of many that start at once exactly one wins, and a run that was killed in the middle, or halted, still holds what
//! it had claimed, also after a reboot, until it is resumed, undone or abandoned.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audit::{self, Home};
use crate::history::state::{Phase, State, Verdict};
use crate::id::{Digest, RunId};

/// Where the locks of the machine are.
pub(super) const FOLDER: &str = "/var/lib/interlock-locks";
/// The longest claim that is read, in bytes.
const LONGEST: u64 = 8 << 10;

/// Who holds a lock, as it is written in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The lock's name.
    pub lock: String,
    /// The run.
    pub run: RunId,
    /// The home that its log is in.
    pub home: PathBuf,
    /// The runbook's name.
    pub runbook: String,
    /// Who started it.
    pub user: String,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it.
    #[error("{0}")]
    Held(String),
    /// The machine failed.
    #[error("the lock `{lock}` cannot be taken: {path}: {error}; {hint}")]
    Machine {
        /// The lock's name.
        lock: String,
        /// The file or folder.
        path: String,
        /// Why.
        error: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
}

/// The locks of a run, held for as long as this lives, and claimed beyond that until they are released.
#[derive(Debug)]
pub struct Locks(Vec<File>);

impl Locks {
    /// Takes all of them, in the order given (sorted, so that two runs cannot wait for each other), or none.
    ///
    /// # Errors
    /// Another run holds one, or the machine failed.
    pub fn take(names: &[String], claim: &Claim) -> Result<Self, LockError> {
        let mut taken = Vec::with_capacity(names.len());
        let mut newly = Vec::new();
        for name in names {
            match take_one(name, claim) {
                Ok((file, Held::Before)) => taken.push(file),
                Ok((file, Held::Newly)) => {
                    newly.push(taken.len());
                    taken.push(file);
                }
                Err(error) => {
                    // What this run did not hold before, it does not hold now; what a halted run holds, it keeps.
                    let mut at = 0;
                    taken.retain(|_| {
                        at += 1;
                        newly.contains(&(at - 1))
                    });
                    Self(taken).release();
                    return Err(error);
                }
            }
        }
        Ok(Self(taken))
    }

    /// Gives them up: the run is over. A claim that cannot be removed is void all the same, since its run is over in its log.
    pub fn release(self) {
        for file in self.0 {
            let _ = file.set_len(0).and_then(|()| file.sync_all());
        }
    }
}

/// Says that a run is being carried out, by a lock that dies with the process.
#[derive(Debug)]
pub struct Alive(#[expect(dead_code, reason = "it is held, not used")] File);

impl Alive {
    /// Takes it for the run whose folder this is; none if another process carries the run out.
    ///
    /// # Errors
    /// The folder is not there or cannot be written.
    pub fn take(folder: &Path) -> std::io::Result<Option<Self>> {
        Ok(locked(&folder.join("alive"))?.map(Self))
    }
}

/// Says that a plan that people signed is being run, by a lock that dies with the process: the log says that a plan was run only
/// from its run's opening on, and two processes must not both find that it was not.
#[derive(Debug)]
pub struct Sole(#[expect(dead_code, reason = "it is held, not used")] File);

impl Sole {
    /// Takes it for the plan with this digest; none if another process has it.
    ///
    /// # Errors
    /// The home cannot be written.
    pub fn take(home: &Home, plan: &Digest) -> std::io::Result<Option<Self>> {
        let folder = home.path().join("plans");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(locked(&folder.join(plan.as_str()))?.map(Self))
    }
}

/// A file with its lock; none if another process has the lock.
fn locked(path: &Path) -> std::io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a lock was this run's already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Before,
    Newly,
}

fn take_one(name: &str, claim: &Claim) -> Result<(File, Held), LockError> {
    let path = Path::new(FOLDER).join(Digest::of(name.as_bytes()).as_str());
    let failed = |error: std::io::Error| LockError::Machine {
        lock: name.to_owned(),
        path: path.display().to_string(),
        error,
        hint: "the folder must exist, on a local disk, with mode 1777 (root makes it by its first run with a lock), and the file must be \
               yours: what another user has locked once is theirs or root's to lock",
    };
    make_folder().map_err(failed)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o644);
    let mut file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is not a regular file")));
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LockError::Held(held_by_a_living_run(name, &mut file))),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    if rustix::process::geteuid().is_root() {
        // Nobody but root may empty what root claims, whoever made the file.
        let owner = rustix::fs::fchown(&file, Some(rustix::fs::Uid::ROOT), Some(rustix::fs::Gid::ROOT));
        owner.map_err(|error| failed(error.into()))?;
        file.set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
    }
    let before = read_claim(&mut file);
    let held = if before.as_ref().is_some_and(|before| before.run == claim.run) { Held::Before } else { Held::Newly };
    if let Some(other) = before
        && other.run != claim.run
        && !is_over(&other)
    {
        return Err(LockError::Held(format!(
            "the lock `{name}` is held by run {0} of `{1}` (by {2}), which is not over; `interlock resume {0}`, `interlock undo \
             {0}` or `interlock abandon {0}` first",
            other.run, other.runbook, other.user
        )));
    }
    let text = serde_json::to_vec(&Claim { lock: name.to_owned(), ..claim.clone() }).expect("a claim is plain text");
    let written = file
        .set_len(0)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .and_then(|_| file.write_all(&text))
        .and_then(|()| file.sync_all());
    written.map_err(failed)?;
    Ok((file, held))
}

fn make_folder() -> std::io::Result<()> {
    let folder = Path::new(FOLDER);
    if folder.is_dir() {
        return Ok(());
    }
    match DirBuilder::new().mode(0o1777).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o1777))
}

pub(super) fn held_by_a_living_run(name: &str, file: &mut File) -> String {
    // Between the lock and the claim lies a moment.
    let mut claim = read_claim(file);
    for _ in 0..50 {
        if claim.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        claim = read_claim(file);
    }
    match claim {
        Some(claim) => format!(
            "the lock `{name}` is held by run {} of `{}` (by {}), which is going on now",
            claim.run, claim.runbook, claim.user
        ),
        None => format!("the lock `{name}` is held by a run that is just starting"),
    }
}

/// What is written in the file, if it is a claim.
pub(super) fn read_claim(file: &mut File) -> Option<Claim> {
    file.seek(SeekFrom::Start(0)).ok()?;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Whether the run of a claim is over, or never began, by its log. Only a log that says so voids a claim: one that cannot be read
/// leaves it standing.
fn is_over(claim: &Claim) -> bool {
    let Ok(home) = Home::new(&claim.home) else { return false };
    let mut state = State::default();
    let Ok(reader) = audit::read(&home) else { return false };
    for found in reader {
        let Ok(found) = found else { return false };
        let entry = found.recorded.entry;
        if entry.run.as_ref() == Some(&claim.run) && state.apply(&entry.event).is_err() {
            return false;
        }
    }
    match state.phase {
        Phase::New | Phase::Over(Verdict::Completed | Verdict::Undone | Verdict::Abandoned | Verdict::Refused(_)) => {
            true
        }
        Phase::Over(Verdict::Halted(_))
        | Phase::Ready { .. }
        | Phase::Acting { .. }
        | Phase::Verifying { .. }
        | Phase::Failed { .. } => false,
    }
}
