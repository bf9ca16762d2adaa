//! Files that people are to read and sign are there whole or not at all, also where the disk is full or the machine goes down meanwhile. What
//! is unfinished has a name of its own, which is no document's and no signature's, and goes away with an error.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use uuid::Uuid;

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is written.
    Stays,
    /// It is replaced.
    IsReplaced,
}

impl Existing {
    /// As `--force` says.
    pub fn by_force(force: bool) -> Self {
        if force { Self::IsReplaced } else { Self::Stays }
    }
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// All who can reach it: whoever signs it, or runs with it, must be able to read it.
    All,
    /// Nobody but its owner.
    Owner,
}

impl Readers {
    fn mode(self) -> u32 {
        match self {
            Self::All => 0o644,
            Self::Owner => 0o600,
        }
    }
}

/// Writes a file for all to read, whole or not at all; see [`write_for`].
///
/// # Errors
/// As [`write_for`].
pub fn write(path: &Path, bytes: &[u8], existing: Existing) -> io::Result<()> {
    write_for(Readers::All, path, bytes, existing)
}

/// Writes a file, whole or not at all: beside its place, synced, and then put there.
///
/// # Errors
/// Of the system; [`io::ErrorKind::AlreadyExists`] if a file is there that stays. Nothing is left behind, and what was there is there.
pub fn write_for(readers: Readers, path: &Path, bytes: &[u8], existing: Existing) -> io::Result<()> {
    write_by(readers, path, existing, |mut file, _| file.write_all(bytes))
}

/// As [`write_for`], of what `fill` writes into the file that has not got its name yet; it is told where that is until then.
///
/// # Errors
/// As [`write_for`], and those of `fill`.
pub fn write_by<E: From<io::Error>>(
    readers: Readers,
    path: &Path,
    existing: Existing,
    fill: impl FnOnce(&File, &Path) -> Result<(), E>,
) -> Result<(), E> {
    // Not made of the file's own name, to which nothing may fit any more; and nobody else's.
    let unfinished = path.with_file_name(format!(".interlock-{}.new", Uuid::now_v7()));
    let file = OpenOptions::new().write(true).create_new(true).mode(readers.mode()).open(&unfinished)?;
    let filled = || -> Result<(), E> {
        // Whatever the umask is.
        file.set_permissions(Permissions::from_mode(readers.mode()))?;
        fill(&file, &unfinished)?;
        file.sync_all()?;
        Ok(put(&unfinished, path, existing)?)
    };
    filled().inspect_err(|_| {
        // What is left of it would only confuse.
        let _ = std::fs::remove_file(&unfinished);
    })
}

fn put(unfinished: &Path, path: &Path, existing: Existing) -> io::Result<()> {
    match existing {
        Existing::IsReplaced => std::fs::rename(unfinished, path),
        Existing::Stays => match rustix::fs::renameat_with(CWD, unfinished, CWD, path, RenameFlags::NOREPLACE) {
            // NFS and others cannot do it in one step; a second name is never put over another file either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                std::fs::hard_link(unfinished, path)?;
                std::fs::remove_file(unfinished)
            }
            renamed => Ok(renamed?),
        },
    }
}
