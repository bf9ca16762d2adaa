//! Locks whose run is gone: its home was removed, or its log cannot be read through, so that nothing says that the run is over and
//! nothing can bring it to its end. Such a lock is removed on a person's word alone, and never one whose run can still be ended.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::audit::{self, Home};
use crate::driver::claim::{self, Claim, RunOfClaim, Written};
use crate::driver::locks::{FOLDER, LockError, held_by_a_living_run};
use crate::id::{Digest, RunId};

/// A lock, as it was found.
#[derive(Debug)]
#[must_use]
pub enum Found {
    /// Nobody claims it.
    Free,
    /// A process holds it; in words.
    Alive(String),
    /// A claim stands in it, or what is left of one, and no process holds it.
    Claimed(Claimed),
}

/// A lock in which a claim stands. Nobody else takes it while this lives.
#[derive(Debug)]
pub struct Claimed {
    file: File,
    /// The claim; none where what is written there is none that can be read.
    pub claim: Option<Claim>,
}

/// Looks at a lock.
///
/// # Errors
/// The machine failed, or the lock is another user's.
pub fn look(name: &str) -> Result<Found, LockError> {
    let path = Path::new(FOLDER).join(Digest::of(name.as_bytes()).as_str());
    let failed = |error: std::io::Error| LockError::Machine {
        lock: name.to_owned(),
        path: path.display().to_string(),
        error,
        hint: "what another user has locked is theirs or root's to remove",
    };
    let mut options = OpenOptions::new();
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file = match options.read(true).write(true).custom_flags(flags).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Free),
        Err(error) => return Err(failed(error)),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is not a regular file")));
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Found::Alive(held_by_a_living_run(name, &mut file))),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let claim = match claim::read(&mut file).map_err(failed)? {
        Written::Nothing => return Ok(Found::Free),
        Written::Claim(claim) => Some(claim),
        Written::Garbled => None,
    };
    Ok(Found::Claimed(Claimed { file, claim }))
}

/// Frees the locks of a run that is over by the log in this home, where their claims say another home that it was moved from: nobody
/// would find that log from there. What cannot be freed is said by who wants the lock.
pub fn free_moved(names: &[String], run: &RunId, home: &Home) {
    let Ok(log) = audit::id(home) else { return };
    for name in names {
        let Ok(Found::Claimed(claimed)) = look(name) else { continue };
        let own = |claim: &Claim| claim.run == *run && claim.log.as_ref() == Some(&log) && claim.home != home.path();
        if claimed.claim.as_ref().is_some_and(own) && matches!(claimed.run(), RunOfClaim::Gone(_)) {
            let _ = claimed.remove();
        }
    }
}

impl Claimed {
    /// What became of its run.
    pub fn run(&self) -> RunOfClaim {
        let unreadable = || RunOfClaim::Gone("what is written in its file is no claim that can be read".to_owned());
        self.claim.as_ref().map_or_else(unreadable, Claim::run)
    }

    /// Removes the claim.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remove(self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.sync_all()
    }
}
