//! The door for files that say who may: a policy, its signers, its revoked keys. They are read only if nobody else could have
//! changed them: each folder from the root down, each symbolic link on the way and the file itself belong to root (or, for an
//! ordinary user, to that user) and are writable by nobody else. The walk holds each folder open while it looks at the next, so what
//! was looked at is what is read.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::code;
use crate::diagnostic::Diagnostic;
use crate::yaml::code::UNREADABLE;
use crate::yaml::source::LONGEST;

/// How many symbolic links may lie on the way.
const MOST_LINKS: usize = 20;

/// Whose files are believed: root's, and those of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trust {
    user: u32,
}

impl Trust {
    /// Of root, who trusts root alone.
    pub const ROOT: Self = Self { user: 0 };

    /// Of a process that acts as this user (its effective user id). Root trusts root alone.
    pub fn of_user(uid: u32) -> Self {
        Self { user: uid }
    }

    fn owner(self, uid: u32) -> bool {
        uid == 0 || uid == self.user
    }

    /// What is wrong with the owner or mode of something on the way; none if all is well.
    fn objection(self, stat: &Stat, shown: &Path) -> Option<(String, String)> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let what = match kind {
            FileType::Directory => "the folder",
            FileType::Symlink => "the symbolic link",
            FileType::RegularFile
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => "the file",
        };
        let shown = shown.display();
        if !self.owner(stat.st_uid) {
            let message = format!("{what} `{shown}` belongs to the user with the number {}", stat.st_uid);
            return Some((message, format!("`chown root {shown}`, after reading what it holds")));
        }
        // The mode of a link says nothing, and nobody but its owner can change it. What lies in a sticky folder, such as /tmp, can be
        // replaced by its owner alone, and that one is looked at next.
        let sticky = kind == FileType::Directory && stat.st_mode & 0o1000 != 0;
        if kind != FileType::Symlink && !sticky && stat.st_mode & 0o022 != 0 {
            let message =
                format!("{what} `{shown}` can be written by others (its mode is {:04o})", stat.st_mode & 0o7777);
            return Some((message, format!("`chmod go-w {shown}`, after reading what it holds")));
        }
        None
    }
}

/// Opens a file that nobody else could have changed.
///
/// # Errors
/// If it is not there, is no regular file, or someone else could have changed it or a folder above it.
pub fn open(path: &Path, trust: Trust) -> Result<OwnedFd, Box<Diagnostic>> {
    let shown = path.display().to_string();
    let unreadable = |why: &str, help: &str| {
        Box::new(Diagnostic::error(UNREADABLE, format!("cannot read `{shown}`: {why}")).help(help))
    };
    let failed = |error: Errno| {
        unreadable(&std::io::Error::from(error).to_string(), "check the path, and that you may read the file")
    };
    let absolute =
        std::path::absolute(path).map_err(|error| unreadable(&error.to_string(), "give an absolute path"))?;
    let mut parts: VecDeque<OsString> = names(&absolute);
    let mut folder =
        rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let mut walked = PathBuf::from("/");
    let mut links = 0;
    let check = |stat: &Stat, at: &Path| match trust.objection(stat, at) {
        None => Ok(()),
        Some((objection, help)) => {
            let message = format!("`{shown}` is not to be trusted: {objection}");
            Err(Box::new(Diagnostic::error(code::UNTRUSTED, message).help(help)))
        }
    };
    check(&rustix::fs::fstat(&folder).map_err(failed)?, &walked)?;
    while let Some(name) = parts.pop_front() {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = rustix::fs::openat(&folder, &name, flags, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&next).map_err(failed)?;
        let at = if name == ".." { walked.parent().unwrap_or(&walked).to_owned() } else { walked.join(&name) };
        check(&stat, &at)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(failed(Errno::LOOP));
                }
                let target = rustix::fs::readlinkat(&next, "", Vec::new()).map_err(failed)?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    folder = rustix::fs::open("/", flags, Mode::empty()).map_err(failed)?;
                    walked = PathBuf::from("/");
                }
                for part in names(&target).into_iter().rev() {
                    parts.push_front(part);
                }
            }
            FileType::Directory if parts.is_empty() => {
                return Err(unreadable("it is a directory", "give the path of one file in it"));
            }
            FileType::RegularFile if parts.is_empty() => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&folder, &name, flags, Mode::empty()).map_err(failed)?;
                let opened = rustix::fs::fstat(&file).map_err(failed)?;
                if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
                    return Err(unreadable("it was replaced while it was being opened", "try again"));
                }
                return Ok(file);
            }
            FileType::Directory => {
                folder = next;
                walked = at;
            }
            FileType::RegularFile => return Err(failed(Errno::NOTDIR)),
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {
                return Err(unreadable("it is not a regular file", "give the path of a file"));
            }
        }
    }
    Err(unreadable("it is a directory", "give the path of one file in it"))
}

/// Reads such a file.
///
/// # Errors
/// As [`open`], and if it is longer than [`LONGEST`] or cannot be read.
pub fn read(path: &Path, trust: Trust) -> Result<Vec<u8>, Box<Diagnostic>> {
    let file = open(path, trust)?;
    let unreadable = |why: &str, help: &str| {
        let message = format!("cannot read `{}`: {why}", path.display());
        Box::new(Diagnostic::error(UNREADABLE, message).help(help))
    };
    let mut bytes = Vec::new();
    let read = File::from(file).take(LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(&error.to_string(), "check the disk, and try again"))?;
    if bytes.len() as u64 > LONGEST {
        return Err(unreadable(
            &format!("it is longer than {} MiB", LONGEST >> 20),
            "it is for people to read: shorten it",
        ));
    }
    Ok(bytes)
}

/// The names on the way, without those that say nothing.
fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
            Component::ParentDir => Some(OsStr::from_bytes(b"..").to_owned()),
            Component::Normal(name) => Some(name.to_owned()),
        })
        .collect()
}
