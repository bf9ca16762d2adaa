//! Programs: found once, opened once, hashed, and executed from the same descriptor, so that what was hashed is what
//! runs, whatever happens to the name meanwhile. A script is executed by its path where nobody else could change it, since
//! many a script asks `$0` where it is.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

/// What a step's `PATH` is, and where a program without a `/` in its name is looked for.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of a file the kernel reads to find a script's interpreter (`BINPRM_BUF_SIZE`, since Linux 5.1).
const FIRST_LINE: usize = 256;
/// The largest file whose bytes are hashed a second time right before it is executed, because something touched it after the
/// first time; a larger one would keep the caller, and is refused.
const HASHED_AGAIN: u64 = 16 << 20;
/// A file that was changed less than this long ago is hashed anew each time: a file system's clock is coarse, and a second change
/// in the same tick would not show.
const SETTLED: Duration = Duration::from_secs(1);

/// Finds programs, and remembers the digests of unchanged files, so that a runbook of a thousand steps of one program
/// reads it once. A file that somebody else could write to is not remembered: who has it mapped into memory can change it and leave its
/// times as they are.
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
    interpreter: Option<PathBuf>,
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
    /// Somebody else could put another file in the place of one that the kernel finds by its path.
    #[error(
        "the interpreter `{}` is not executed, since others could put another in its place: {objection}; {remedy}, or use an \
         interpreter that nobody else can change, such as one in /usr/bin",
        path.display()
    )]
    Exchangeable {
        /// Where it is.
        path: PathBuf,
        /// What is wrong on the way to it.
        objection: String,
        /// What to do about that.
        remedy: String,
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
    /// for in the directories of `path`, separated by `:`, below `cwd` if they are relative), opens it and takes the SHA-256
    /// of its bytes.
    ///
    /// # Errors
    /// When there is none, or it is a directory, not executable or not readable.
    pub fn find(&self, name: &str, path: &str, cwd: &Path) -> Result<Program, ProgramError> {
        self.find_within(u64::MAX, name, path, cwd).map(|found| found.expect("no file is too large"))
    }

    /// As [`Self::find`], but none where that would take long: a file of more bytes than this has to be read.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_within(&self, most: u64, name: &str, path: &str, cwd: &Path) -> Result<Option<Program>, ProgramError> {
        if name.contains('/') {
            return self.open_within(most, &cwd.join(name));
        }
        let mut unusable = None;
        for directory in path.split(':').filter(|directory| !directory.is_empty() && !name.is_empty()) {
            match self.open_within(most, &cwd.join(directory).join(name)) {
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
        self.open_within(u64::MAX, path).map(|opened| opened.expect("no file is too large"))
    }

    /// As [`Self::open`], but none where more bytes than this would have to be read.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn open_within(&self, most: u64, path: &Path) -> Result<Option<Program>, ProgramError> {
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
        let mut start = [0_u8; FIRST_LINE];
        let length = file.read_at(&mut start, 0).map_err(unreadable)?;
        let start = &start[..length];
        let format = if start.starts_with(b"#!") { Format::Script } else { Format::Binary };
        let interpreter = interpreter_named(start);
        let identity = Identity::of(&metadata);
        let Some(digest) = self.digest(most, &file, &metadata).map_err(unreadable)? else { return Ok(None) };
        let script_path = match format {
            Format::Script => path_nobody_else_can_change(path, &metadata),
            Format::Binary => None,
        };
        let file = Arc::new(file);
        Ok(Some(Program { path: path.to_owned(), file, identity, digest, format, script_path, interpreter }))
    }

    /// The interpreter that the first line of a script names, opened and hashed as the script was; none for a binary. (The
    /// kernel looks for one that is named by a relative path below the working directory.) Where the interpreter is a script itself, its
    /// own one is not looked at.
    ///
    /// # Errors
    /// As [`Self::find`]. The kernel could not execute the script either.
    pub fn interpreter(&self, program: &Program, cwd: &Path) -> Option<Result<Program, ProgramError>> {
        program.interpreter.as_ref().map(|path| self.open(&cwd.join(path)))
    }

    /// None if more bytes than this would have to be read.
    fn digest(&self, most: u64, file: &File, metadata: &Metadata) -> io::Result<Option<[u8; 32]>> {
        let identity = Identity::of(metadata);
        let remembers = nobody_else_can_write(metadata);
        if let (true, Some(digest)) =
            (remembers, self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&identity))
        {
            return Ok(Some(*digest));
        }
        if metadata.size() > most {
            return Ok(None);
        }
        if !remembers {
            return hash(file).map(Some);
        }
        let digest = hash(file)?;
        // A file that changed while it was read is not remembered; the check before the start refuses it before the start.
        let settled = changed_at(metadata).and_then(|changed| SystemTime::now().duration_since(changed).ok());
        if Identity::of(&file.metadata()?) == identity && settled.is_some_and(|since| since > SETTLED) {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(identity, digest);
        }
        Ok(Some(digest))
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

    /// The interpreter that a script's first line names, as it is written there.
    pub fn interpreter(&self) -> Option<&Path> {
        self.interpreter.as_deref()
    }

    /// Fails if its path does not lead to the file that was hashed any more, or that file was touched since, or if anybody but root, us
    /// and this user could change that between this look and the start. For what the kernel finds by its path: an interpreter.
    /// `user` is whom the step runs as, who could do what they like with its process anyway.
    ///
    /// # Errors
    /// As said.
    pub fn check_path(&self, user: u32) -> Result<(), ProgramError> {
        let unreadable = |error| ProgramError::Unreadable { path: self.path.clone(), error };
        let way = std::path::absolute(&self.path).map_err(unreadable)?;
        if let Some((objection, remedy)) = changeable(&way, &Trusted::with(user)).map_err(unreadable)? {
            return Err(ProgramError::Exchangeable { path: self.path.clone(), objection, remedy });
        }
        let found = self.path.metadata().map_err(unreadable)?;
        if Identity::of(&found) == self.identity {
            return Ok(());
        }
        Err(ProgramError::Changed { path: self.path.clone() })
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
    /// does not matter, but changes its times, so then the bytes are hashed again, unless they are too many.)
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
        if self.identity.size <= HASHED_AGAIN && hash(&self.file).map_err(unreadable)? == self.digest {
            return Ok(());
        }
        Err(ProgramError::Changed { path: self.path.clone() })
    }
}

/// The interpreter that the beginning of a file names, as Linux reads it (`fs/binfmt_script.c`): what follows `#!` and blanks, up to
/// a blank or the end of the line. None for what is no script, names nothing, or whose line is cut in the middle of the name.
fn interpreter_named(start: &[u8]) -> Option<PathBuf> {
    let line = start.strip_prefix(b"#!")?;
    let line = match line.iter().position(|byte| *byte == b'\n') {
        Some(end) => &line[..end],
        None => line,
    };
    let is_blank = |byte: &u8| matches!(*byte, b' ' | b'\t');
    let name = &line[line.iter().position(|byte| !is_blank(byte))?..];
    let end = name.iter().position(|byte| is_blank(byte) || *byte == 0);
    let name = match end {
        Some(end) => &name[..end],
        // The kernel takes no name that may go on beyond what it has read.
        None if start.len() == FIRST_LINE && !start.contains(&b'\n') => return None,
        None => name,
    };
    (!name.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(name)))
}

/// The most symbolic links on a way, as for the kernel.
const MOST_LINKS: usize = 40;

/// Those who may change a file that is believed.
struct Trusted([u32; 3]);

impl Trusted {
    /// Root and us.
    fn us() -> Self {
        Self::with(0)
    }

    /// Root, us, and a user.
    fn with(user: u32) -> Self {
        Self([0, rustix::process::geteuid().as_raw(), user])
    }

    /// Whether nobody else may write to a file, or to a folder.
    fn alone_may_write(&self, file: &Metadata) -> bool {
        self.0.contains(&file.uid()) && file.mode() & 0o022 == 0
    }
}

/// Whether nobody but root and us may write to a file.
fn nobody_else_can_write(file: &Metadata) -> bool {
    Trusted::us().alone_may_write(file)
}

/// What lets others change what an absolute path leads to, and what to do about it: a folder, a symbolic link or a file on the way, each
/// looked at from the root down, as the kernel walks it. A folder with the sticky bit, such as `/tmp`, may be writable by others: what
/// lies in it can be replaced by its owner alone, who is looked at next.
fn changeable(path: &Path, trusted: &Trusted) -> io::Result<Option<(String, String)>> {
    const STICKY: u32 = 0o1000;
    let parts = |path: &Path| path.components().map(|part| part.as_os_str().to_owned()).rev().collect::<Vec<_>>();
    let mut walked = PathBuf::from("/");
    let mut ahead = parts(path);
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        if part == "." {
            continue;
        }
        if part == ".." {
            walked.pop();
            continue;
        }
        // A path that begins at the root begins anew there.
        let at = walked.join(&part);
        let metadata = at.symlink_metadata()?;
        let (shown, mode) = (at.display(), metadata.mode() & 0o7777);
        if !trusted.0.contains(&metadata.uid()) {
            let objection = format!("`{shown}` belongs to the user with the number {}", metadata.uid());
            return Ok(Some((objection, format!("`chown -h root {shown}`, after a look at what it is"))));
        }
        if metadata.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            ahead.extend(parts(&at.read_link()?));
            continue;
        }
        if mode & 0o022 != 0 && !(metadata.is_dir() && mode & STICKY != 0) {
            let objection = format!("`{shown}` can be written by others (its mode is {mode:04o})");
            return Ok(Some((objection, format!("`chmod go-w {shown}`, after a look at what it is"))));
        }
        walked = at;
    }
    Ok(None)
}

/// When a file, its name or its rights were changed last.
fn changed_at(file: &Metadata) -> Option<SystemTime> {
    let seconds = u64::try_from(file.ctime()).ok()?;
    let nanos = u32::try_from(file.ctime_nsec()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// The path with its links resolved, if root and we are the only ones who can change what it leads to.
fn path_nobody_else_can_change(path: &Path, file: &Metadata) -> Option<CString> {
    let real = path.canonicalize().ok()?;
    let found = real.metadata().ok()?;
    let is_sure = (found.dev(), found.ino()) == (file.dev(), file.ino())
        && nobody_else_can_write(file)
        && changeable(&real, &Trusted::us()).ok()?.is_none();
    if is_sure { CString::new(real.as_os_str().as_bytes()).ok() } else { None }
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
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
