//! Locks whose run is gone: its home was removed, or its log cannot be read through, so that nothing says that the run is over and
//! nothing can bring it to its end. Such a lock is removed on a person's word alone, and never one whose run can still be ended.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::audit::{self, Home, ReadError};
use crate::driver::locks::{Claim, FOLDER, LockError, held_by_a_living_run, read_claim};
use crate::history::state::{Phase, State, Verdict};
use crate::id::Digest;

/// A lock, as it was found.
#[derive(Debug)]
#[must_use]
pub enum Found {
    /// Nobody claims it.
    Free,
    /// A process holds it; in words.
    Alive(String),
    /// A claim stands in it, and no process holds it.
    Claimed(Claimed),
}

/// A lock in which a claim stands. Nobody else takes it while this lives.
#[derive(Debug)]
pub struct Claimed {
    file: File,
    /// The claim.
    pub claim: Claim,
}

/// What became of the run of a claim.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum RunOfClaim {
    /// Its log knows it, and it is not over.
    Open,
    /// It cannot be brought to its end, for this reason; or it is over.
    Gone(String),
    /// That cannot be told, for this reason.
    Unknown(String),
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
    match read_claim(&mut file) {
        Some(claim) => Ok(Found::Claimed(Claimed { file, claim })),
        None => Ok(Found::Free),
    }
}

impl Claimed {
    /// What became of its run.
    pub fn run(&self) -> RunOfClaim {
        run_of(&self.claim)
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

fn run_of(claim: &Claim) -> RunOfClaim {
    let place = claim.home.display();
    let home = match Home::new(&claim.home) {
        Ok(home) => home,
        Err(error) => return RunOfClaim::Unknown(format!("{place}: {error}")),
    };
    let cannot = |error: ReadError| match &error {
        ReadError::NoLog { .. } => RunOfClaim::Gone(format!("there is no audit log in {place}")),
        ReadError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            RunOfClaim::Gone(format!("there is no audit log in {place}"))
        }
        ReadError::Io { .. } => RunOfClaim::Unknown(error.to_string()),
        ReadError::Damaged { .. } => RunOfClaim::Gone(format!("the audit log in {place} does not verify: {error}")),
    };
    let reader = match audit::read(&home) {
        Ok(reader) => reader,
        Err(error) => return cannot(error),
    };
    let mut state = State::default();
    for found in reader {
        let entry = match found {
            Ok(found) => found.recorded.entry,
            Err(error) => return cannot(error),
        };
        if entry.run.as_ref() == Some(&claim.run)
            && let Err(illegal) = state.apply(&entry.event)
        {
            return RunOfClaim::Gone(format!("the audit log in {place} does not verify: {illegal}"));
        }
    }
    match state.phase {
        Phase::New => RunOfClaim::Gone(format!("the audit log in {place} knows no such run")),
        Phase::Over(Verdict::Completed | Verdict::Undone | Verdict::Abandoned | Verdict::Refused(_)) => {
            RunOfClaim::Gone(format!("by the audit log in {place} it is over"))
        }
        Phase::Over(Verdict::Halted(_))
        | Phase::Ready { .. }
        | Phase::Acting { .. }
        | Phase::Verifying { .. }
        | Phase::Failed { .. } => RunOfClaim::Open,
    }
}
