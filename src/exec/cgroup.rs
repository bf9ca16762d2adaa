//! One control group, of version 2 or of the freezer of version 1: make it, list it, freeze it, kill it, remove it. It is held
//! by a descriptor of its directory, so that a name that was removed and made again is never mistaken for it.
//!
//! In the freezer of version 1 a signal waits until the group is thawed (kernel documentation, cgroup-v1/freezer-subsystem). So
//! killing is: freeze, SIGKILL to all, thaw; what wakes up dies before it runs an instruction of its own.
//!
//! A group that was killed once is never used again: a process cloned into it would be killed at once (seen on Linux
//! 6.18). So there is a fresh one for each attempt.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

/// How long a freeze is waited for.
const FREEZE_BOUND: Duration = Duration::from_secs(2);
/// How long processes are moved out of a group that goes on making new ones.
const MOVE_BOUND: Duration = Duration::from_secs(2);
/// For this long the state is read in a tight loop: the kernel's notification lags by milliseconds (measured).
const TIGHT_LOOP: Duration = Duration::from_millis(20);

/// How long killing waits for the freeze in front of it, in the freezer of version 1. What does not freeze hangs in the kernel.
const FREEZE_TO_KILL: Duration = Duration::from_millis(200);

/// Which kind of hierarchy a group is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hierarchy {
    /// Version 2.
    Unified,
    /// The freezer of version 1.
    Freezer,
}

/// How long a freeze is waited for, short of its bound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Until somebody has killed the group, which thaws it.
    UntilKilled,
    /// Whatever happens.
    ToTheEnd,
}

/// A control group and the descriptor of its directory.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
    directory: OwnedFd,
    hierarchy: Hierarchy,
    /// Whether it was killed: then nothing may stay frozen, or it would never end.
    killed: AtomicBool,
}

impl Cgroup {
    /// Opens the group at this path.
    pub(super) fn open(path: &Path, hierarchy: Hierarchy) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { path: path.to_owned(), directory, hierarchy, killed: AtomicBool::new(false) })
    }

    /// Which kind of hierarchy it is in.
    pub(super) fn hierarchy(&self) -> Hierarchy {
        self.hierarchy
    }

    /// Makes a group of this name in this one. An error if there is one already.
    pub(super) fn create_child(&self, name: &str) -> io::Result<Self> {
        rustix::fs::mkdirat(&self.directory, name, Mode::from_raw_mode(0o755))?;
        self.open_child(name)
    }

    /// Opens the group of this name in this one.
    pub(super) fn open_child(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let directory = rustix::fs::openat(&self.directory, name, flags, Mode::empty())?;
        let path = self.path.join(name);
        Ok(Self { path, directory, hierarchy: self.hierarchy, killed: AtomicBool::new(false) })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor of its directory.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Its `cgroup.procs`, open for writing: a process that writes `0` to it moves itself here.
    pub(super) fn door(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, "cgroup.procs", flags, Mode::empty())?)
    }

    /// How long it has been as it is; none if that cannot be told.
    pub(super) fn age(&self, now: SystemTime) -> Option<Duration> {
        let changed = rustix::fs::fstat(&self.directory).ok()?.st_mtime;
        now.duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(changed).ok()?)).ok()
    }

    /// The processes in it and in the groups below it.
    pub(super) fn pids(&self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        self.each(&mut |group| {
            pids.extend(group.read("cgroup.procs")?.lines().filter_map(|line| line.parse::<u32>().ok()));
            Ok(())
        })?;
        Ok(pids)
    }

    /// Whether any process is in it or below it. Ended processes that nobody has waited for do not count.
    pub(super) fn is_populated(&self) -> io::Result<bool> {
        match self.hierarchy {
            Hierarchy::Unified => Ok(self.read("cgroup.events")?.lines().any(|line| line == "populated 1")),
            Hierarchy::Freezer => Ok(!self.pids()?.is_empty()),
        }
    }

    /// Whether every process in it and below it is frozen.
    pub(super) fn is_frozen(&self) -> io::Result<bool> {
        match self.hierarchy {
            Hierarchy::Unified => Ok(self.read("cgroup.events")?.lines().any(|line| line == "frozen 1")),
            Hierarchy::Freezer => Ok(self.read("freezer.state")?.trim_end() == "FROZEN"),
        }
    }

    /// Freezes it and waits, for two seconds at most, until every process in it is frozen. What was killed already is not
    /// frozen where that would keep it from ending.
    pub(super) fn freeze(&self) -> io::Result<()> {
        match self.hierarchy {
            Hierarchy::Unified => self.write("cgroup.freeze", "1")?,
            Hierarchy::Freezer if self.killed.load(Ordering::SeqCst) => return Ok(()),
            Hierarchy::Freezer => self.write("freezer.state", "FROZEN")?,
        }
        let frozen = self.wait_until_frozen(FREEZE_BOUND, Patience::UntilKilled);
        if self.hierarchy == Hierarchy::Freezer && self.killed.load(Ordering::SeqCst) {
            // It was killed, and thawed for that, while we froze it.
            return self.thaw();
        }
        frozen
    }

    fn wait_until_frozen(&self, bound: Duration, patience: Patience) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            let given_up = patience == Patience::UntilKilled && self.killed.load(Ordering::SeqCst);
            if given_up || self.is_frozen()? {
                return Ok(());
            }
            let waited = begun.elapsed();
            if waited > bound {
                let why = format!("some of its processes did not freeze in {} s", bound.as_secs_f32());
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            sleep(if waited < TIGHT_LOOP { Duration::from_micros(50) } else { Duration::from_millis(1) });
        }
    }

    /// Thaws it and what is below it.
    fn thaw(&self) -> io::Result<()> {
        match self.hierarchy {
            Hierarchy::Unified => self.write("cgroup.freeze", "0"),
            Hierarchy::Freezer => self.each(&mut |group| group.write("freezer.state", "THAWED")),
        }
    }

    /// Sends SIGKILL to every process in it and below it, also to frozen ones, which do not run one more instruction.
    /// Does not wait.
    pub(super) fn kill(&self) -> io::Result<()> {
        match self.hierarchy {
            Hierarchy::Unified => match self.write("cgroup.kill", "1") {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.kill_one_by_one(),
                result => result,
            },
            Hierarchy::Freezer => self.kill_in_the_freezer(),
        }
    }

    /// Sends a signal to every process in it and below it.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let handles: Vec<(u32, OwnedFd)> =
            self.pids()?.into_iter().filter_map(|pid| open_pid(pid).map(|handle| (pid, handle))).collect();
        // A pid that is still listed after its handle was opened is a process of this group, whoever had it before.
        let still = self.pids()?;
        for (_, handle) in handles.iter().filter(|(pid, _)| still.contains(pid)) {
            // A process that has just ended needs no signal.
            let _gone = rustix::process::pidfd_send_signal(handle, signal);
        }
        Ok(())
    }

    /// Moves every process in it and below it to the group behind this door (see [`Self::door`]).
    pub(super) fn move_to(&self, door: &OwnedFd) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            let pids = self.pids()?;
            if pids.is_empty() {
                return Ok(());
            }
            for pid in &pids {
                match rustix::io::write(door, pid.to_string().as_bytes()) {
                    Ok(_) | Err(Errno::SRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if begun.elapsed() > MOVE_BOUND {
                let why =
                    format!("processes kept appearing in it while they were moved out, the last of them {pids:?}");
                return Err(io::Error::other(why));
            }
            // One that is just ending stays listed for a moment, and is not moved.
            sleep(Duration::from_micros(50));
        }
    }

    /// Removes the group of this name in this one, with the empty groups below it. One that is not there is no error.
    pub(super) fn remove_child(&self, name: &str) -> io::Result<()> {
        // Most have none below them, and to look takes longer than to remove one.
        match self.remove_childless(name) {
            Err(Errno::BUSY | Errno::NOTEMPTY) => {}
            removed => return Ok(removed?),
        }
        let group = match self.open_child(name) {
            Ok(group) => group,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for child in group.children()? {
            group.remove_child(&child)?;
        }
        Ok(self.remove_childless(name)?)
    }

    fn remove_childless(&self, name: &str) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a group that an earlier process of ours left as good as new: ends what lives in it, thaws it, and removes
    /// the groups below it.
    pub(super) fn clear(&self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            let again = match self.kill() {
                Ok(()) => FREEZE_BOUND,
                // On a busy machine not all of them freeze at once; those that were listed have their signal.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => FREEZE_TO_KILL,
                Err(error) => return Err(error),
            };
            self.thaw()?;
            let sent = Instant::now();
            while self.is_populated()? && sent.elapsed() < again {
                sleep(Duration::from_micros(200));
            }
            if !self.is_populated()? {
                break;
            }
            if begun.elapsed() > FREEZE_BOUND {
                return Err(io::Error::other("processes that an earlier process of this run left cannot be ended"));
            }
        }
        self.children()?.iter().try_for_each(|name| self.remove_child(name))
    }

    /// The names of the groups in this one.
    pub(super) fn children(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type() == FileType::Directory && name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Before Linux 5.14: nothing in a frozen group can fork, so killing what is listed until nothing is ends it.
    fn kill_one_by_one(&self) -> io::Result<()> {
        self.write("cgroup.freeze", "1")?;
        for _ in 0..100 {
            self.signal(Signal::KILL)?;
            if !self.is_populated()? {
                break;
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Nothing in a frozen group can fork, so whoever is listed is everybody. What does not freeze hangs in the kernel, is sent
    /// the signal all the same, and whoever called tries again.
    fn kill_in_the_freezer(&self) -> io::Result<()> {
        self.write("freezer.state", "FROZEN")?;
        let frozen = self.wait_until_frozen(FREEZE_TO_KILL, Patience::ToTheEnd);
        let signalled = self.signal(Signal::KILL);
        // Said first, so that whoever freezes it after the thaw finds out and thaws it again. And also when something went wrong:
        // what stays frozen never ends.
        self.killed.store(true, Ordering::SeqCst);
        self.thaw()?;
        signalled.and(frozen)
    }

    /// Calls `visit` with this group and with every group below it. One that vanishes meanwhile is passed over.
    fn each(&self, visit: &mut dyn FnMut(&Self) -> io::Result<()>) -> io::Result<()> {
        visit(self)?;
        for name in self.children()? {
            match self.open_child(&name).and_then(|child| child.each(visit)) {
                Err(error) if is_gone(&error) => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn read(&self, file: &str) -> io::Result<String> {
        let opened = rustix::fs::openat(&self.directory, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = String::new();
        // Bounded by nothing; said so that the file is not asked for its size first, which here is always 0.
        File::from(opened).take(u64::MAX).read_to_string(&mut text)?;
        Ok(text)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let opened = rustix::fs::openat(&self.directory, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        File::from(opened).write_all(text.as_bytes())
    }
}

/// A hierarchy that is mounted somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where.
    pub(super) place: PathBuf,
    /// The group that is seen there as the top, from `/`.
    root: String,
}

/// Where hierarchies of this kind are mounted, out of `/proc/self/mountinfo` (proc(5)).
pub(super) fn mounts(mountinfo: &str, hierarchy: Hierarchy) -> Vec<Mount> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut fields = before.split(' ').skip(3);
            let (root, place) = (fields.next()?, fields.next()?);
            let mut fields = after.split(' ');
            let (kind, options) = (fields.next()?, fields.nth(1)?);
            let fits = match hierarchy {
                Hierarchy::Unified => kind == "cgroup2",
                Hierarchy::Freezer => kind == "cgroup" && options.split(',').any(|option| option == "freezer"),
            };
            fits.then(|| Mount { place: PathBuf::from(unescape(place)), root: unescape(root) })
        })
        .collect()
}

impl Mount {
    /// Where the group of a process is below this mount, by its `/proc/<pid>/cgroup` (cgroups(7)); none if it is not.
    pub(super) fn own(&self, cgroup_file: &str, hierarchy: Hierarchy) -> Option<PathBuf> {
        let path = cgroup_file.lines().find_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let fits = match hierarchy {
                Hierarchy::Unified => number == "0" && controllers.is_empty(),
                Hierarchy::Freezer => controllers.split(',').any(|controller| controller == "freezer"),
            };
            fits.then_some(path)
        })?;
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        // A path with `..` is outside of what this mount shows.
        let outside = below.components().any(|part| part == Component::ParentDir);
        (!outside).then(|| if below.as_os_str().is_empty() { self.place.clone() } else { self.place.join(below) })
    }
}

/// Whether this error says that the group, or a process, is gone.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}

/// A handle on the process that has this pid now.
pub(super) fn open_pid(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// `mountinfo` writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escaped, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(escaped, character);
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Hierarchy, Mount, mounts};

    const MOUNTS: &str = "37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
                          38 31 0:35 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                          41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
                          42 31 0:39 /box /mnt/a\\040b rw shared:3 master:2 - cgroup2 none rw\n";

    fn mount(place: &str, root: &str) -> Mount {
        Mount { place: PathBuf::from(place), root: root.to_owned() }
    }

    #[test]
    fn the_mounts_of_a_hybrid_host_are_found() {
        let unified = [mount("/sys/fs/cgroup/unified", "/"), mount("/mnt/a b", "/box")];
        assert_eq!(mounts(MOUNTS, Hierarchy::Unified), unified);
        assert_eq!(mounts(MOUNTS, Hierarchy::Freezer), [mount("/sys/fs/cgroup/freezer", "/")]);
    }

    #[test]
    fn the_own_group_is_found_below_what_a_mount_shows() {
        let own = "9:name=systemd:/x\n6:cpu,freezer:/jobs\n0::/user.slice/a\n";
        let top = mount("/cg", "/");
        assert_eq!(top.own(own, Hierarchy::Unified), Some("/cg/user.slice/a".into()));
        assert_eq!(top.own(own, Hierarchy::Freezer), Some("/cg/jobs".into()));
        assert_eq!(top.own("9:name=systemd:/x\n", Hierarchy::Unified), None);
        assert_eq!(top.own("0::/\n", Hierarchy::Unified), Some("/cg".into()));
        assert_eq!(top.own("0::/../x\n", Hierarchy::Unified), None);
        assert_eq!(mount("/cg", "/user.slice").own(own, Hierarchy::Unified), Some("/cg/a".into()));
        assert_eq!(mount("/cg", "/other").own(own, Hierarchy::Unified), None);
    }
}
