//! One control group of version 2: make it, list it, freeze it, kill it, remove it. It is held by a descriptor of its
//! directory, so that a name that was removed and made again is never mistaken for it.
//!
//! A group that was killed once is never used again: a process cloned into it would be killed at once (seen on Linux
//! 6.18). So there is a fresh one for each attempt.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

/// How long a freeze is waited for.
const FREEZE_BOUND: Duration = Duration::from_secs(2);
/// For this long the state is read in a tight loop: the kernel's notification lags by milliseconds (measured).
const TIGHT_LOOP: Duration = Duration::from_millis(20);

/// A control group and the descriptor of its directory.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
    directory: OwnedFd,
}

impl Cgroup {
    /// Opens the group at this path.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(Self { path: path.to_owned(), directory: rustix::fs::open(path, flags, Mode::empty())? })
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
        Ok(Self { path: self.path.join(name), directory })
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
        Ok(self.read("cgroup.events")?.lines().any(|line| line == "populated 1"))
    }

    /// Whether every process in it is frozen.
    pub(super) fn is_frozen(&self) -> io::Result<bool> {
        Ok(self.read("cgroup.events")?.lines().any(|line| line == "frozen 1"))
    }

    /// Freezes it and waits, for two seconds at most, until every process in it is frozen.
    pub(super) fn freeze(&self) -> io::Result<()> {
        let begun = Instant::now();
        self.write("cgroup.freeze", "1")?;
        loop {
            if self.is_frozen()? {
                return Ok(());
            }
            let waited = begun.elapsed();
            if waited > FREEZE_BOUND {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "some of its processes did not freeze in 2 s"));
            }
            sleep(if waited < TIGHT_LOOP { Duration::from_micros(50) } else { Duration::from_millis(1) });
        }
    }

    /// Sends SIGKILL to every process in it and below it, also to frozen ones, which do not run one more instruction.
    /// Does not wait.
    pub(super) fn kill(&self) -> io::Result<()> {
        match self.write("cgroup.kill", "1") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.kill_one_by_one(),
            result => result,
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
        for _ in 0..100 {
            let pids = self.pids()?;
            if pids.is_empty() {
                return Ok(());
            }
            for pid in pids {
                match rustix::io::write(door, pid.to_string().as_bytes()) {
                    Ok(_) | Err(rustix::io::Errno::SRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Err(io::Error::other("processes kept appearing in it while they were moved out"))
    }

    /// Removes the group of this name in this one, with the empty groups below it. One that is not there is no error.
    pub(super) fn remove_child(&self, name: &str) -> io::Result<()> {
        let group = match self.open_child(name) {
            Ok(group) => group,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for child in group.children()? {
            group.remove_child(&child)?;
        }
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a group that an earlier process of ours left as good as new: ends what lives in it, thaws it, and removes
    /// the groups below it.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.kill()?;
        self.write("cgroup.freeze", "0")?;
        let begun = Instant::now();
        while self.is_populated()? {
            if begun.elapsed() > FREEZE_BOUND {
                return Err(io::Error::other("processes that an earlier process of this run left cannot be ended"));
            }
            sleep(Duration::from_micros(200));
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

/// Where cgroup v2 hierarchies are mounted, and the path of this process in one: from `/proc/self/mountinfo` and
/// `/proc/self/cgroup` (cgroups(7), proc(5)).
pub(super) fn mounts(mountinfo: &str) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let place = before.split(' ').nth(4)?;
            (after.split(' ').next() == Some("cgroup2")).then(|| PathBuf::from(unescape(place)))
        })
        .collect()
}

/// The path of a process in the v2 hierarchy, out of its `/proc/<pid>/cgroup`.
pub(super) fn own_path(cgroup_file: &str) -> Option<&str> {
    cgroup_file.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// Whether this error says that the group, or a process, is gone.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
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

    use super::{mounts, own_path};

    #[test]
    fn the_v2_mount_of_a_hybrid_host_is_found() {
        let text = "37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
                    42 31 0:39 / /mnt/a\\040b rw shared:3 master:2 - cgroup2 none rw\n";
        assert_eq!(mounts(text), [PathBuf::from("/sys/fs/cgroup/unified"), PathBuf::from("/mnt/a b")]);
    }

    #[test]
    fn the_own_path_is_the_line_without_controllers() {
        assert_eq!(own_path("9:name=systemd:/x\n0::/user.slice/a\n"), Some("user.slice/a"));
        assert_eq!(own_path("9:name=systemd:/x\n"), None);
    }
}
