//! inotify(7) on folders: told at once when something is created, removed, renamed or changed in them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

use super::connector::Loss;

/// Folders that are watched.
pub(super) struct Folders {
    inotify: OwnedFd,
    /// By which names each watched folder is known.
    names: HashMap<i32, Vec<PathBuf>>,
    buffer: Vec<MaybeUninit<u8>>,
}

/// Something that happened to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The path, as its folder was named when the watch was set.
    pub(super) path: PathBuf,
    /// What happened.
    pub(super) kind: ChangeKind,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeKind {
    /// It came to be: created, or moved here.
    Appeared,
    /// It went: removed, or moved away.
    Vanished,
    /// Something else: written, opened, or its attributes were changed.
    Other,
}

/// What draining gave.
pub(super) struct Drained {
    /// What happened, in order.
    pub(super) changes: Vec<Change>,
    /// Whether events were lost.
    pub(super) loss: Loss,
}

impl Folders {
    /// No folder yet.
    pub(super) fn new() -> Result<Self, Errno> {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, names: HashMap::new(), buffer: vec![MaybeUninit::uninit(); 64 * 1024] })
    }

    /// Watches the folder in which this file is or would be; where that is missing, the nearest one above it that is there.
    pub(super) fn watch_for(&mut self, file: &Path) -> Result<(), Errno> {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        for folder in file.ancestors().skip(1) {
            match self.add(folder, flags) {
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                other => return other,
            }
        }
        Ok(())
    }

    /// Watches this folder for files that are created and opened in it.
    pub(super) fn watch_use_of(&mut self, folder: &Path) -> Result<(), Errno> {
        self.add(folder, WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::OPEN | WatchFlags::ONLYDIR)
    }

    fn add(&mut self, folder: &Path, flags: WatchFlags) -> Result<(), Errno> {
        let watch = add_watch(&self.inotify, folder, flags)?;
        let names = self.names.entry(watch).or_default();
        if !names.iter().any(|known| known == folder) {
            names.push(folder.to_path_buf());
        }
        Ok(())
    }

    /// Reads everything that waits.
    pub(super) fn drain(&mut self) -> Drained {
        let mut drained = Drained { changes: Vec::new(), loss: Loss::None };
        let mut reader = Reader::new(&self.inotify, &mut self.buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let events = event.events();
                    if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                        drained.loss = Loss::Some;
                    }
                    let kind = if events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                        ChangeKind::Appeared
                    } else if events.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
                        ChangeKind::Vanished
                    } else {
                        ChangeKind::Other
                    };
                    for folder in self.names.get(&event.wd()).into_iter().flatten() {
                        let path = match event.file_name() {
                            Some(name) => folder.join(OsStr::from_bytes(name.to_bytes())),
                            None => folder.clone(),
                        };
                        drained.changes.push(Change { path, kind });
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return drained,
                Err(_) => {
                    drained.loss = Loss::Some;
                    return drained;
                }
            }
        }
    }
}

impl AsFd for Folders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
