//! Locks: what a run claims for itself alone, by name, machine-wide.
//!
//! A lock is a file in one folder for all users and homes, named by the digest of the lock's name and never removed. Two things
//! in it say that it is held: an exclusive `flock`, which lives as long as the process, and the claim written in it, which outlives
//! the process. So of many that start at once exactly one wins, and a run that was killed in the middle, or halted, still holds what
//! it had claimed, also after a reboot, until it is resumed, undone or abandoned.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::audit::{self, Home, ReadError};
use crate::diagnostic::escape::escape_line;
use crate::driver::claim::{self, Begun, Claim, LONGEST, RunOfClaim, Written, how_to_unlock};
use crate::id::{Digest, RunId};

/// Where the locks of the machine are.
pub(super) const FOLDER: &str = "/var/lib/interlock-locks";
/// How often it is looked whether a run is carried out before that is believed, and how long is waited between.
const LOOKS: u32 = 5;
const LOOK: Duration = Duration::from_millis(20);

/// The run that takes locks.
#[derive(Debug)]
pub struct Holder {
    /// Its id.
    pub run: RunId,
    /// The home that its log is in.
    pub home: Home,
    /// Its runbook's name.
    pub runbook: String,
    /// Who carries it out.
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
    /// The log of the run that wants it cannot be read, so no claim can name it.
    #[error(transparent)]
    Log(#[from] ReadError),
}

/// The locks of a run, held for as long as this lives, and claimed beyond that until they are released.
#[derive(Debug)]
pub struct Locks {
    files: Vec<File>,
    unmarked: Unmarked,
}

/// Claims that do not say yet that their run has begun. They hold their locks too.
#[derive(Debug, Default)]
#[must_use]
pub struct Unmarked(Vec<(File, Claim)>);

impl Unmarked {
    /// Says in each that its run has begun, once that is recorded. Where it cannot be said, the claim stands as it did: it is believed
    /// then that the run never began, should its log be set back to before it.
    pub fn mark(self) {
        for (mut file, claim) in self.0 {
            let _ = write_claim(&mut file, &Claim { begun: Begun::Recorded, ..claim }, Held::Before);
        }
    }
}

impl Locks {
    /// Takes all of them, in the order given (sorted, so that two runs cannot wait for each other), or none.
    ///
    /// # Errors
    /// Another run holds one, the machine failed, or the log cannot be read.
    pub fn take(names: &[String], holder: &Holder) -> Result<Self, LockError> {
        if names.is_empty() {
            return Ok(Self { files: Vec::new(), unmarked: Unmarked::default() });
        }
        let log = audit::id(&holder.home)?;
        let claim = |lock: &String| Claim {
            lock: lock.clone(),
            run: holder.run.clone(),
            home: holder.home.path().to_owned(),
            log: Some(log.clone()),
            begun: Begun::NotYet,
            runbook: holder.runbook.clone(),
            user: holder.user.clone(),
        };
        let mut taken = Self { files: Vec::with_capacity(names.len()), unmarked: Unmarked::default() };
        let mut newly = Vec::new();
        for name in names {
            match take_one(&claim(name)).and_then(|one| taken.add(one, name)) {
                Ok(Held::Before) => {}
                Ok(Held::Newly) => newly.push(taken.files.len() - 1),
                Err(error) => {
                    // What this run did not hold before, it does not hold now; what a halted run holds, it keeps.
                    let mut at = 0;
                    taken.files.retain(|_| {
                        at += 1;
                        newly.contains(&(at - 1))
                    });
                    taken.release();
                    return Err(error);
                }
            }
        }
        Ok(taken)
    }

    fn add(&mut self, one: Taken, name: &str) -> Result<Held, LockError> {
        let Taken { file, held, claim } = one;
        if claim.begun == Begun::NotYet {
            let again = file.try_clone().map_err(|error| failed(name, error))?;
            self.unmarked.0.push((again, claim));
        }
        self.files.push(file);
        Ok(held)
    }

    /// The claims that do not say yet that their run has begun.
    pub fn unmarked(&mut self) -> Unmarked {
        std::mem::take(&mut self.unmarked)
    }

    /// Gives them up: the run is over. A claim that cannot be removed is void all the same, since its run is over in its log.
    pub fn release(self) {
        for file in self.files {
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
        let path = folder.join("alive");
        for _ in 0..LOOKS {
            if let Some(file) = locked(&path)? {
                return Ok(Some(Self(file)));
            }
            // Somebody may only be looking, for a moment.
            std::thread::sleep(LOOK);
        }
        Ok(locked(&path)?.map(Self))
    }

    /// Whether a process carries the run out, as far as can be seen. Changes nothing.
    pub fn is_there(folder: &Path) -> bool {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(folder.join("alive"));
        // Two who look at once do not see each other.
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Whether some process has it for the run whose folder this is, as far as the kernel's list of locks tells (proc_locks(5)); none if
    /// it tells nothing. Takes no lock, so that looking never keeps anybody from carrying the run out.
    pub fn is_taken(folder: &Path) -> Option<bool> {
        use std::os::unix::fs::MetadataExt as _;
        let inode = std::fs::symlink_metadata(folder.join("alive")).ok()?.ino().to_string();
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let is_it = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            words.next() == Some("FLOCK")
                && words.nth(3).and_then(|file| file.rsplit(':').next()) == Some(inode.as_str())
        };
        Some(locks.lines().any(is_it))
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

/// A lock that was taken, with the claim that stands in it now.
struct Taken {
    file: File,
    held: Held,
    claim: Claim,
}

fn file_of(name: &str) -> PathBuf {
    Path::new(FOLDER).join(Digest::of(name.as_bytes()).as_str())
}

fn failed(name: &str, error: std::io::Error) -> LockError {
    LockError::Machine {
        lock: name.to_owned(),
        path: file_of(name).display().to_string(),
        error,
        hint: "the folder must exist, on a local disk, with mode 1777 (root makes it by its first run with a lock), and the file must be \
               yours: what another user has locked once is theirs or root's to lock",
    }
}

fn take_one(wanted: &Claim) -> Result<Taken, LockError> {
    let name = wanted.lock.as_str();
    let path = file_of(name);
    let failed = |error: std::io::Error| failed(name, error);
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
    let mut claim = wanted.clone();
    let held = match claim::read(&mut file).map_err(failed)? {
        Written::Nothing => Held::Newly,
        // The run of another log is another run, whatever its id.
        Written::Claim(before)
            if before.run == claim.run && before.log.as_ref().is_none_or(|log| Some(log) == claim.log.as_ref()) =>
        {
            // What stands there stays, unless the home was moved.
            if before.home == claim.home {
                return Ok(Taken { file, held: Held::Before, claim: before });
            }
            if let Some(why) = why_not_moved(&before, &claim) {
                return Err(LockError::Held(format!("the lock `{name}` is held by {why}")));
            }
            claim.begun = before.begun;
            Held::Before
        }
        Written::Claim(other) => match why_held(&other) {
            None => Held::Newly,
            Some(why) => return Err(LockError::Held(format!("the lock `{name}` is held by {why}"))),
        },
        Written::Garbled => {
            return Err(LockError::Held(format!(
                "what is written in the file of the lock `{name}`, {}, is no claim that can be read, so it cannot be told who holds it; \
                 look for a run that names it (`interlock status`, with each --home that is used on this machine), and where there is none \
                 remove the lock: {}",
                path.display(),
                how_to_unlock(name)
            )));
        }
    };
    write_claim(&mut file, &claim, held).map_err(failed)?;
    Ok(Taken { file, held, claim })
}

/// Why a claim of another run stands, with what to do; none if that run is over.
fn why_held(claim: &Claim) -> Option<String> {
    let run = claim.in_words();
    match claim.run() {
        RunOfClaim::Over(_) => None,
        RunOfClaim::Open => Some(format!("{run}, which is not over; end it first: {}", claim.how_to_end())),
        RunOfClaim::Gone(how) => Some(format!(
            "{run}, which nothing can bring to its end: {how}; put its home back as it was, from a later backup, or look at what it had \
             begun, bring that to its end by hand, and remove the lock: {}",
            how_to_unlock(&claim.lock)
        )),
        RunOfClaim::Unknown(why) => Some(format!(
            "{run}, and it cannot be told whether that is over: {why}; let root look, and end it: {}",
            claim.how_to_end()
        )),
    }
}

/// Why the home of a run, which now has another path than its claim says, was not moved there; none if it was.
fn why_not_moved(before: &Claim, now: &Claim) -> Option<String> {
    let (there, here) = (before.home.display().to_string(), now.home.display().to_string());
    let (there, here) = (escape_line(&there), escape_line(&here));
    let run = before.in_words();
    match before.run() {
        RunOfClaim::Over(_) | RunOfClaim::Gone(_) => None,
        RunOfClaim::Open => Some(format!(
            "{run} in {there}, where it is still open, so {here} is a copy or another name of that home; end it there: {}",
            before.how_to_end()
        )),
        RunOfClaim::Unknown(why) => Some(format!(
            "{run} in {there}, and it cannot be told whether it is still there: {why}; where {here} is that home, let root bring the run \
             to its end: {}",
            now.how_to_end()
        )),
    }
}

/// Writes a claim, durably. An empty file says that the lock is free, so at no moment is there one where the run may be open: a lock that
/// is taken anew belongs to nobody until this is done, and one that was held is written over where it stands, with blanks up to its end.
/// What a power cut leaves of that may be no claim, and is refused.
fn write_claim(file: &mut File, claim: &Claim, held: Held) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(claim)?;
    if text.len() as u64 > LONGEST {
        return Err(std::io::Error::other("the claim would be too long"));
    }
    let mut write = || {
        if held == Held::Newly {
            file.set_len(0)?;
        }
        while (text.len() as u64) < file.metadata()?.len() {
            text.push(b' ');
        }
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&text)?;
        file.sync_all()?;
        // Its name has to be there too after a power cut.
        File::open(FOLDER)?.sync_all()
    };
    let written = write();
    if written.is_err() && held == Held::Newly {
        let _ = file.set_len(0);
    }
    written
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
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o1777))?;
    File::open(folder.parent().unwrap_or(folder))?.sync_all()
}

pub(super) fn held_by_a_living_run(name: &str, file: &mut File) -> String {
    // Between the lock and the claim lies a moment.
    for _ in 0..50 {
        if let Ok(Written::Claim(claim)) = claim::read(file) {
            return format!(
                "the lock `{name}` is held by {}, which is going on now; {} tells of it",
                claim.in_words(),
                claim.how_to_see()
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    format!("the lock `{name}` is held by a run that is just starting; try again")
}
