//! Programs: found once, opened once, hashed, and executed from the same descriptor, so that what was hashed is what
//! runs, whatever happens to the name meanwhile. A script is executed by its path where nobody else could change it, since
//! many a script asks `$0` where it is.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

/// What a step's `PATH` is, and where a program without a `/` in its name is looked for.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds programs, and remembers the digests of unchanged files, so that a runbook of a thousand steps of one program
/// reads it once.
#[derive(Debug, Default)]
pub struct Programs {
    known: Mutex<HashMap<Identity, [u8; 32]>>,
}

/// An executable file, open, with the digest of its bytes.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    file: Arc<File>,
    identity: Identity,
    digest: [u8; 32],
    format: Format,
    script_path: Option<CString>,
}

/// How the kernel runs a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Executed as it is.
    Binary,
    /// Begins with `#!`: its interpreter opens it once more. See [`Program::script_path`].
    Script,
}

/// Why a program cannot be run. Each says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// No file of that name in any directory of [`PATH`].
    #[error("there is no program `{name}` in {path}; install it, or write its full path")]
    NotFound {
        /// The name as given.
        name: String,
        /// Where it was looked for.
        path: String,
    },
    /// Something of that name is there, but cannot be executed.
    #[error("`{}` {problem}", path.display())]
    Unusable {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The file could not be opened or read.
    #[error("`{}` cannot be read, so what would run cannot be recorded: {error}", path.display())]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file was written to after it was hashed.
    #[error("`{}` was changed after it was checked; look at who changes it, then start again", path.display())]
    Changed {
        /// Where it is.
        path: PathBuf,
    },
}

/// Tells whether a file is still the one that was hashed: any write to it changes the change time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Programs {
    /// Finds a program as a shell does (a name with a `/` is a path, below `cwd` if it is relative; any other is looked
    /// for in the directories of `path`, separated by `:`), opens it and takes the SHA-256 of its bytes.
    ///
    /// # Errors
    /// When there is none, or it is a directory, not executable or not readable.
    pub fn find(&self, name: &str, path: &str, cwd: &Path) -> Result<Program, ProgramError> {
        if name.contains('/') {
            return self.open(&cwd.join(name));
        }
        let mut unusable = None;
        for directory in path.split(':').filter(|directory| !directory.is_empty() && !name.is_empty()) {
            match self.open(&Path::new(directory).join(name)) {
                Ok(program) => return Ok(program),
                Err(ProgramError::NotFound { .. }) => {}
                Err(error) => unusable = unusable.or(Some(error)),
            }
        }
        Err(unusable.unwrap_or_else(|| ProgramError::NotFound { name: name.to_owned(), path: path.to_owned() }))
    }

    /// Opens the program at this path and takes the SHA-256 of its bytes.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn open(&self, path: &Path) -> Result<Program, ProgramError> {
        let unusable = |problem: &str| ProgramError::Unusable { path: path.to_owned(), problem: problem.to_owned() };
        let unreadable = |error| ProgramError::Unreadable { path: path.to_owned(), error };
        // Opening a FIFO or a device could hang or act; O_NONBLOCK does neither, and means nothing for plain files.
        let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ProgramError::NotFound {
                name: path.display().to_string(),
                path: path.parent().unwrap_or(path).display().to_string(),
            },
            _ => unreadable(error),
        })?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(unusable("is a directory, not a program; write the path of the program in it"));
        }
        if !metadata.is_file() {
            return Err(unusable("is not a plain file, so it is not run"));
        }
        if metadata.mode() & 0o111 == 0 {
            return Err(unusable("is not executable; `chmod +x` it, or run it through its interpreter"));
        }
        let mut start = [0_u8; 2];
        let format = match file.read_exact_at(&mut start, 0) {
            Ok(()) if &start == b"#!" => Format::Script,
            _ => Format::Binary,
        };
        let identity = Identity::of(&metadata);
        let digest = self.digest(&file, identity).map_err(unreadable)?;
        let script_path = match format {
            Format::Script => path_nobody_else_can_change(path, &metadata),
            Format::Binary => None,
        };
        Ok(Program { path: path.to_owned(), file: Arc::new(file), identity, digest, format, script_path })
    }

    fn digest(&self, file: &File, identity: Identity) -> io::Result<[u8; 32]> {
        if let Some(digest) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&identity) {
            return Ok(*digest);
        }
        let digest = hash(file)?;
        // A file that changed while it was read is not remembered; the check before the start refuses it before the start.
        if Identity::of(&file.metadata()?) == identity {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(identity, digest);
        }
        Ok(digest)
    }
}

impl Program {
    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SHA-256 of its bytes.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// How the kernel runs it.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Where a script's interpreter finds it: its own path, links resolved, where nobody but root and us can change what that
    /// path leads to. Else it is none, and the interpreter reads `/dev/fd/3`, the descriptor whose bytes were hashed; then `$0` is
    /// that, and does not lead to the script's folder.
    pub fn script_path(&self) -> Option<&CStr> {
        self.script_path.as_deref()
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Fails if the bytes of the open file are no longer those that were hashed. (That its name now leads elsewhere
    /// does not matter, but changes its times, so then the bytes are hashed again.)
    pub(super) fn check_unchanged(&self) -> Result<(), ProgramError> {
        let unreadable = |error| ProgramError::Unreadable { path: self.path.clone(), error };
        if let Some(path) = &self.script_path {
            // The interpreter will open the path, so it must still lead to the file that was hashed.
            let found = Path::new(OsStr::from_bytes(path.to_bytes())).metadata().map_err(unreadable)?;
            if (found.dev(), found.ino()) != (self.identity.device, self.identity.inode) {
                return Err(ProgramError::Changed { path: self.path.clone() });
            }
        }
        if Identity::of(&self.file.metadata().map_err(unreadable)?) == self.identity {
            return Ok(());
        }
        if hash(&self.file).map_err(unreadable)? == self.digest {
            return Ok(());
        }
        Err(ProgramError::Changed { path: self.path.clone() })
    }
}

/// The path with its links resolved, if root and we are the only ones who can change what it leads to: the file and every
/// folder above it belong to root or us and nobody else may write there (a folder with the sticky bit lets nobody else replace
/// what is ours).
fn path_nobody_else_can_change(path: &Path, file: &std::fs::Metadata) -> Option<CString> {
    const STICKY: u32 = 0o1000;
    let us = rustix::process::geteuid().as_raw();
    let is_ours = |metadata: &std::fs::Metadata| metadata.uid() == 0 || metadata.uid() == us;
    let real = path.canonicalize().ok()?;
    let found = real.metadata().ok()?;
    if (found.dev(), found.ino()) != (file.dev(), file.ino()) || !is_ours(file) || file.mode() & 0o022 != 0 {
        return None;
    }
    let all_above_are_ours = real.ancestors().skip(1).all(|folder| {
        folder
            .metadata()
            .is_ok_and(|folder| is_ours(&folder) && (folder.mode() & 0o022 == 0 || folder.mode() & STICKY != 0))
    });
    if all_above_are_ours { CString::new(real.as_os_str().as_bytes()).ok() } else { None }
}

impl Identity {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The SHA-256 of a file's bytes, wherever its descriptor stands.
fn hash(file: &File) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
