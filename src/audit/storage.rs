//! The folder of the log as the writer uses it. [`Storage`] is the one seam of this room: the tests put a model disk
//! behind it that forgets, tears and fails. [`Directory`] is the real one.
//!
//! Each operation is one or few system calls, named in its comment, and nothing is retried but a call that a signal
//! interrupted before it did anything.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Home, names};

/// The files of one folder, by name, and the lock that its writers share.
pub(super) trait Storage {
    /// An open file of the log.
    type File;

    /// Waits for the lock, and checks that its file is still the one that others find.
    fn lock(&self) -> io::Result<()>;
    /// Gives the lock back.
    fn unlock(&self) -> io::Result<()>;
    /// The names of all files.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Whether there is a file of this name.
    fn exists(&self, name: &str) -> io::Result<bool>;
    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Makes a file that is not there, empty.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Gives a file another name, in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Takes a file away. Only ever used for one that never got its name.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes names durable.
    fn sync_names(&self) -> io::Result<()>;
    /// Whether this name still leads to this file.
    fn leads_to(&self, name: &str, file: &Self::File) -> io::Result<bool>;
    /// How long the file is, in bytes.
    fn size(&self, file: &Self::File) -> io::Result<u64>;
    /// Reads, and says how many bytes it got; 0 is the end of the file.
    fn read_at(&self, file: &Self::File, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes, and says how many bytes it took; may take fewer than given.
    fn write_at(&self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes the bytes of the file durable.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Forgets what memory holds of the file's synced bytes, so that the next read asks the disk.
    fn forget_cached(&self, file: &Self::File) -> io::Result<()>;
}

/// A real folder: `<home>/audit`, opened once; every file is reached from its descriptor, and no link is followed.
#[derive(Debug)]
pub(super) struct Directory {
    folder: OwnedFd,
    lock: File,
}

/// Why a home cannot be used.
#[derive(Debug)]
pub(super) enum HomeProblem {
    /// A rule is broken; in words, with what to do.
    Rule { path: PathBuf, problem: String },
    /// A system call failed.
    Io { path: PathBuf, source: io::Error },
}

impl Directory {
    /// Opens the folder of the log, and makes it and the home if they are not there: folders of mode 0700, files of
    /// mode
    /// 0600. For root, nobody else may be able to write to the home or to a folder above it.
    pub fn open(home: &Home) -> Result<Self, HomeProblem> {
        make_folder(home.path())?;
        if rustix::process::geteuid().is_root() {
            refuse_if_others_can_write(home.path())?;
        }
        let path = home.audit();
        make_folder(&path)?;
        let io_problem = |error: Errno| HomeProblem::Io { path: path.clone(), source: error.into() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty()).map_err(io_problem)?;
        let status = rustix::fs::fstat(&folder).map_err(io_problem)?;
        only_ours(&path, status.st_uid, status.st_mode)?;
        let lock = open_lock(&folder).map_err(|source| HomeProblem::Io { path: path.join(names::LOCK), source })?;
        Ok(Self { folder, lock })
    }

    /// Opens a regular file of ours in the folder; never a link, a pipe or a device.
    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(rustix::fs::openat(&self.folder, name, flags, mode).map_err(no_link)?);
        check_file(&file)?;
        Ok(file)
    }

    fn is(&self, name: &str, file: &File) -> io::Result<bool> {
        let ours = file.metadata()?;
        match rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(found.st_dev == ours.dev() && found.st_ino == ours.ino()),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Storage for Directory {
    type File = File;

    /// `flock(LOCK_EX)`, `fstat`, `fstatat`.
    fn lock(&self) -> io::Result<()> {
        uninterrupted(|| self.lock.lock())?;
        if self.is(names::LOCK, &self.lock)? {
            return Ok(());
        }
        self.lock.unlock()?;
        Err(io::Error::other("the lock file was replaced or removed while the log was in use"))
    }

    /// `flock(LOCK_UN)`.
    fn unlock(&self) -> io::Result<()> {
        self.lock.unlock()
    }

    /// `openat(".")`, `getdents`.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.folder)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(&name).to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    /// `fstatat`.
    fn exists(&self, name: &str) -> io::Result<bool> {
        match rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// `openat(O_RDWR | O_NOFOLLOW)`, `fstat`.
    fn open(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlags::empty())
    }

    /// `openat(O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW)`, `fstat`.
    fn create(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlags::CREATE | OFlags::EXCL)
    }

    /// `renameat2(RENAME_NOREPLACE)`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        Ok(rustix::fs::renameat_with(&self.folder, from, &self.folder, to, flags)?)
    }

    /// `unlinkat`.
    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())?)
    }

    /// `fsync` of the folder.
    fn sync_names(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.folder)?)
    }

    /// `fstat`, `fstatat`.
    fn leads_to(&self, name: &str, file: &File) -> io::Result<bool> {
        self.is(name, file)
    }

    /// `fstat`.
    fn size(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    /// `pread`.
    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        uninterrupted(|| file.read_at(buffer, offset))
    }

    /// `pwrite`.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        uninterrupted(|| file.write_at(bytes, offset))
    }

    /// `fdatasync`, which also makes a new length durable. Never retried: after an error, the kernel may have dropped
    /// the bytes and would report success.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// `posix_fadvise(POSIX_FADV_DONTNEED)`.
    fn forget_cached(&self, file: &File) -> io::Result<()> {
        Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
    }
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn open_lock(folder: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, names::LOCK, flags, Mode::RUSR | Mode::WUSR).map_err(no_link)?);
    check_file(&file)?;
    Ok(file)
}

fn no_link(error: Errno) -> io::Error {
    match error {
        Errno::LOOP => io::Error::other("it is a symbolic link, and no file of the log may be one"),
        other => other.into(),
    }
}

fn check_file(file: &File) -> io::Result<()> {
    let status = file.metadata()?;
    if !status.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let me = rustix::process::geteuid().as_raw();
    if status.uid() != me {
        return Err(io::Error::other(format!("it belongs to the user {}, not to {me} who runs this", status.uid())));
    }
    if status.mode() & 0o022 != 0 {
        let mode = status.mode() & 0o7777;
        return Err(io::Error::other(format!("others can write to it (mode {mode:04o}): `chmod go-w` it")));
    }
    Ok(())
}

/// Makes a folder and those above it, mode 0700, where they are missing, and makes the new names durable.
fn make_folder(path: &Path) -> Result<(), HomeProblem> {
    let problem = |source: io::Error| HomeProblem::Io { path: path.to_path_buf(), source };
    match std::fs::metadata(path) {
        Ok(status) if status.is_dir() => return Ok(()),
        Ok(_) => {
            return Err(HomeProblem::Rule {
                path: path.to_path_buf(),
                problem: "it is not a folder; name another home with --home, or move it away".to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(problem(error)),
    }
    let Some(above) = path.parent() else { return Err(problem(io::ErrorKind::NotFound.into())) };
    make_folder(above)?;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(problem(error)),
    }
    File::open(above).and_then(|folder| folder.sync_all()).map_err(problem)
}

/// Root trusts only files that no one else can write: each folder on the way must be root's, and only root may rename
/// what is in it (a sticky folder such as /tmp is no danger to what root owns in it).
fn refuse_if_others_can_write(home: &Path) -> Result<(), HomeProblem> {
    let real = home.canonicalize().map_err(|source| HomeProblem::Io { path: home.to_path_buf(), source })?;
    for folder in real.ancestors() {
        let status =
            std::fs::metadata(folder).map_err(|source| HomeProblem::Io { path: folder.to_path_buf(), source })?;
        let sticky = status.mode() & 0o1000 != 0 && folder != real;
        if status.uid() != 0 {
            return Err(HomeProblem::Rule {
                path: folder.to_path_buf(),
                problem: format!(
                    "it belongs to the user {}, and root trusts only folders that are root's: `chown root` it, or \
                     name another home with --home",
                    status.uid()
                ),
            });
        }
        if status.mode() & 0o022 != 0 && !sticky {
            return Err(HomeProblem::Rule {
                path: folder.to_path_buf(),
                problem: format!(
                    "others can write to it (mode {:04o}), and root trusts only files that no one else can write: \
                     `chmod go-w` it, or name another home with --home",
                    status.mode() & 0o7777
                ),
            });
        }
    }
    Ok(())
}

/// The folder of the log belongs to who runs this, and nobody else can write to it.
fn only_ours(path: &Path, owner: u32, mode: u32) -> Result<(), HomeProblem> {
    let me = rustix::process::geteuid().as_raw();
    let problem = if owner != me {
        format!("it belongs to the user {owner}, not to {me} who runs this: name another home with --home")
    } else if mode & 0o022 != 0 {
        format!("others can write to it (mode {:04o}): `chmod go-w` it", mode & 0o7777)
    } else {
        return Ok(());
    };
    Err(HomeProblem::Rule { path: path.to_path_buf(), problem })
}
