//! The `data_dir` probe: does a server use this directory?
//!
//! A *server* is a process whose executable has one of the given base names, wherever it was started, in the running step too. It
//! *uses* the directory when it stands in it, has a file of it open, or holds a lock on one of its files. *Free* asks for more than
//! no server: no process outside the running step has a file below the directory open for writing. Directories are told by device
//! and inode, open files also through bind mounts and from other mount namespaces. What neither a client nor a pid file says is
//! asked of them: both are wrong in the states that hurt.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use super::Depth;
use super::evidence::{Look, bounded, either, some_of};
use super::mounts;
use super::procfs::{self, Onward, Process, Seen};
use super::table::Table;
use super::view::View;
use crate::runbook::model::{DataDirProbe, DataDirState};

/// How many files below the directory are compared with the locks that nobody can be named for.
const FILES_COMPARED: usize = 200_000;

/// Looks at who uses the directory. A quick look only tells whether a server stands in it; where none does, it goes on to the thorough
/// one if the directory is to be in use, and is content if it is to be free.
pub(super) fn look(probe: &DataDirProbe, view: &View, depth: Depth<'_>) -> Look {
    if let Depth::Quick(table) = depth {
        let identity = match identity_of(&probe.path) {
            Ok(identity) => identity,
            Err(why) => return Look::unknown(why),
        };
        if let Some(words) = server_standing_in(probe, identity, view, table) {
            return Look::told(probe.state == DataDirState::InUse, words);
        }
        if probe.state == DataDirState::Free {
            return Look::holds(format!("no {} stands in {}", either(&probe.server), shown_path(&probe.path)));
        }
    }
    let place = match Place::open(&probe.path) {
        Ok(place) => place,
        Err(why) => return Look::unknown(why),
    };
    match Survey::of(probe, view, &place) {
        Ok(survey) => survey.look(probe, view, &place),
        Err(errno) => {
            Look::unknown(format!("/proc cannot be read ({errno}), so who uses {} cannot be told", place.shown))
        }
    }
}

/// Whether this executable is one of the server's.
pub(super) fn is_server(probe: &DataDirProbe, exe: &[u8]) -> bool {
    let name = procfs::base_name(exe);
    probe.server.iter().any(|server| server.as_bytes() == name)
}

/// A server process that stands in the directory, for waiting on its end.
pub(super) fn one_standing_in(probe: &DataDirProbe, table: &Table) -> Option<u32> {
    standing_in(probe, identity_of(&probe.path).ok()?, table)
}

fn server_standing_in(probe: &DataDirProbe, identity: (u64, u64), view: &View, table: &Table) -> Option<String> {
    let pid = standing_in(probe, identity, table)?;
    let proc_dir = procfs::open().ok()?;
    let program = match Process::open(&proc_dir, pid) {
        Seen::Is(mut process) => shown_program(&process.exe(), view),
        Seen::Gone | Seen::Hidden(_) => either(&probe.server),
    };
    Some(format!("pid {pid} {program} stands in {}", shown_path(&probe.path)))
}

fn standing_in(probe: &DataDirProbe, identity: (u64, u64), table: &Table) -> Option<u32> {
    let candidates = table.candidates(|exe, _| is_server(probe, exe));
    if candidates.is_empty() {
        return None;
    }
    let proc_dir = procfs::open().ok()?;
    candidates.into_iter().find(|pid| {
        let cwd = statat(&proc_dir, format!("{pid}/cwd"), AtFlags::empty());
        cwd.is_ok_and(|facts| procfs::identity(&facts) == identity)
    })
}

/// The device and inode of the directory.
fn identity_of(path: &Path) -> Result<(u64, u64), String> {
    match statat(CWD, path, AtFlags::empty()) {
        Ok(facts) if FileType::from_raw_mode(facts.st_mode) == FileType::Directory => Ok(procfs::identity(&facts)),
        Ok(_) => Err(no_place(path, Errno::NOTDIR)),
        Err(errno) => Err(no_place(path, errno)),
    }
}

fn no_place(path: &Path, errno: Errno) -> String {
    let shown = shown_path(path);
    match errno {
        Errno::NOENT => format!("the directory {shown} is not there, so who uses it cannot be told"),
        Errno::NOTDIR => format!("{shown} is not a directory, so who uses it cannot be told"),
        errno => format!("the directory {shown} cannot be opened ({errno}), so who uses it cannot be told"),
    }
}

fn shown_path(path: &Path) -> String {
    bounded(&path.display().to_string(), 200)
}

/// The directory, opened: what tells it from others, and where it lies.
struct Place {
    shown: String,
    identity: (u64, u64),
    /// The paths by which this process's mount namespace shows it.
    paths: Vec<PathBuf>,
    inside: Option<mounts::Inside>,
}

impl Place {
    fn open(path: &Path) -> Result<Self, String> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, path, flags, Mode::empty()).and_then(|dir| Ok((fstat(&dir)?, dir)));
        let (facts, dir) = opened.map_err(|errno| no_place(path, errno))?;
        let real = fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        let real = real.map_err(|error| format!("/proc/self cannot be read ({error}), so nothing can be told"))?;
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let inside = mount_id(&dir).and_then(|id| mounts::inside(&mountinfo, id, &real));
        let mut paths = vec![real];
        paths.extend(inside.iter().flat_map(|inside| mounts::paths_to(&mountinfo, inside)));
        paths.sort();
        paths.dedup();
        Ok(Self { shown: shown_path(path), identity: procfs::identity(&facts), paths, inside })
    }
}

impl Place {
    /// Whether one of its paths is below /dev, as that of a RAM disk may be.
    fn is_in_dev(&self) -> bool {
        self.inside.is_none() || self.paths.iter().any(|path| path.starts_with("/dev"))
    }
}

fn mount_id(dir: &OwnedFd) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", dir.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

/// What going through all processes gave.
struct Survey {
    /// Servers that use the directory, in words.
    users: Vec<String>,
    /// Others, outside the step, that have a file of it open for writing, in words.
    writers: Vec<String>,
    /// Others that only stand in it, in words.
    bystanders: Vec<String>,
    /// What could not be told.
    untold: Vec<String>,
    /// How many processes were looked at.
    looked_at: usize,
}

impl Survey {
    fn of(probe: &DataDirProbe, view: &View, place: &Place) -> Result<Self, Errno> {
        let proc_dir = procfs::open()?;
        let mut survey =
            Self { users: Vec::new(), writers: Vec::new(), bystanders: Vec::new(), untold: Vec::new(), looked_at: 0 };
        let mut namespaces = Namespaces::new(place);
        let mut servers = BTreeSet::new();
        for pid in procfs::pids(&proc_dir)? {
            if pid == std::process::id() {
                continue;
            }
            let mut process = match Process::open(&proc_dir, pid) {
                Seen::Is(process) => process,
                Seen::Gone => continue,
                Seen::Hidden(errno) => {
                    survey.untold.push(format!("pid {pid} cannot be looked at ({errno})"));
                    continue;
                }
            };
            let exe = process.exe();
            match &exe {
                Seen::Gone => continue,
                Seen::Is(path) if is_server(probe, path) => {
                    servers.insert(pid);
                    survey.examine_server(&process, &exe, view, place, &mut namespaces);
                }
                Seen::Is(_) => survey.examine_other(&process, &exe, probe, view, place, &mut namespaces),
                Seen::Hidden(_) if process.is_init_by_another_name(|name| is_server(probe, name)) => {}
                Seen::Hidden(errno) => survey.untold.push(format!("the executable of pid {pid} is hidden ({errno})")),
            }
            survey.looked_at += 1;
        }
        if survey.users.is_empty() {
            survey.examine_locks(view, place, &servers);
        }
        Ok(survey)
    }

    fn examine_server(
        &mut self,
        process: &Process,
        exe: &Seen<Vec<u8>>,
        view: &View,
        place: &Place,
        namespaces: &mut Namespaces<'_>,
    ) {
        let pid = process.pid;
        let program = shown_program(exe, view);
        match process.cwd() {
            Seen::Is(cwd) if cwd == place.identity => {
                self.users.push(format!("pid {pid} {program} stands in it"));
                return;
            }
            Seen::Is(_) => {}
            Seen::Gone => return,
            Seen::Hidden(errno) => self.untold.push(format!("the working directory of pid {pid} is hidden ({errno})")),
        }
        let mut used = None;
        let read = process.open_files(|_, path| {
            if namespaces.is_at_or_below(process, path) {
                used = Some(view.quoted(path, 160));
                return Onward::Stop;
            }
            Onward::Go
        });
        match (used, read) {
            (Some(path), _) => self.users.push(format!("pid {pid} {program} has {path} open")),
            (None, Seen::Hidden(errno)) => {
                self.untold.push(format!("the open files of pid {pid} are hidden ({errno})"))
            }
            (None, Seen::Is(()) | Seen::Gone) => {}
        }
    }

    fn examine_other(
        &mut self,
        process: &Process,
        exe: &Seen<Vec<u8>>,
        probe: &DataDirProbe,
        view: &View,
        place: &Place,
        namespaces: &mut Namespaces<'_>,
    ) {
        let pid = process.pid;
        if probe.state == DataDirState::InUse || view.is_own(pid) {
            return;
        }
        if process.cwd() == Seen::Is(place.identity) {
            self.bystanders.push(format!("pid {pid} {}", shown_program(exe, view)));
        }
        let mut written = None;
        let read = process.open_files(|descriptor, path| {
            if !namespaces.is_at_or_below(process, path) {
                return Onward::Go;
            }
            match process.is_open_for_writing(descriptor) {
                Seen::Is(true) => {
                    written = Some(view.quoted(path, 160));
                    Onward::Stop
                }
                Seen::Is(false) | Seen::Gone => Onward::Go,
                Seen::Hidden(errno) => {
                    self.untold.push(format!("how pid {pid} uses an open file is hidden ({errno})"));
                    Onward::Go
                }
            }
        });
        match (written, read) {
            // It may have been taken into the step's tree just now.
            (Some(_), _) if view.is_own(pid) => {}
            (Some(path), _) => {
                self.writers.push(format!("pid {pid} {} has {path} open for writing", shown_program(exe, view)));
            }
            (None, Seen::Hidden(errno)) => {
                self.untold.push(format!("the open files of pid {pid} are hidden ({errno})"))
            }
            (None, Seen::Is(()) | Seen::Gone) => {}
        }
    }

    /// Locks tell of users whose open files did not: those of a server, and those that nobody can be named for.
    fn examine_locks(&mut self, view: &View, place: &Place, servers: &BTreeSet<u32>) {
        let text = match fs::read_to_string("/proc/locks") {
            Ok(text) => text,
            Err(error) => {
                self.untold.push(format!("/proc/locks cannot be read ({error})"));
                return;
            }
        };
        let locks: Vec<Lock> = text.lines().filter_map(Lock::parse).collect();
        let interesting: HashMap<u64, &Lock> = locks
            .iter()
            .filter(|lock| u32::try_from(lock.pid).map_or(true, |pid| pid == 0 || servers.contains(&pid)))
            .map(|lock| (lock.inode, lock))
            .collect();
        if interesting.is_empty() {
            return;
        }
        let Some(root) = place.paths.first() else { return };
        let mut left = FILES_COMPARED;
        for (path, inode) in files_below(root, &mut left) {
            let Some(lock) = interesting.get(&inode) else { continue };
            let path = view.quoted(path.as_os_str().as_bytes(), 160);
            match u32::try_from(lock.pid) {
                Ok(pid) if pid > 0 => self.users.push(format!("pid {pid} holds a lock on {path}")),
                Ok(_) | Err(_) => self.untold.push(format!("a process that cannot be named holds a lock on {path}")),
            }
        }
        if left == 0 {
            self.untold.push(format!("more than {FILES_COMPARED} files to compare with the locks that are held"));
        }
    }

    fn look(self, probe: &DataDirProbe, view: &View, place: &Place) -> Look {
        let path = &place.shown;
        let server = either(&probe.server);
        if !self.users.is_empty() {
            let users = some_of(&self.users, 3);
            return Look::told(probe.state == DataDirState::InUse, format!("{path} is in use: {users}"));
        }
        if !self.writers.is_empty() {
            return Look::broken(format!("{path} is written to: {}", some_of(&self.writers, 3)));
        }
        let mut hindered = self.untold;
        hindered.extend(view.limits().iter().cloned());
        if !hindered.is_empty() {
            return Look::unknown(format!("who uses {path} cannot be told: {}", some_of(&hindered, 3)));
        }
        let mut seen = format!("no {server} uses {path} ({} processes looked at)", self.looked_at);
        if !self.bystanders.is_empty() {
            seen.push_str(&format!("; {} only stands in it", some_of(&self.bystanders, 3)));
        }
        Look::told(probe.state == DataDirState::Free, seen)
    }
}

/// A line of /proc/locks (proc_locks(5)): `1: POSIX  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`.
struct Lock {
    /// The holder: 0 or -1 where it cannot be named from here.
    pid: i64,
    inode: u64,
}

impl Lock {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace().skip(1).filter(|&field| field != "->");
        let pid = fields.nth(3)?.parse().ok()?;
        let inode = fields.next()?.rsplit(':').next()?.parse().ok()?;
        Some(Self { pid, inode })
    }
}

/// The files below a directory with their inodes, as many as are `left`.
fn files_below(root: &Path, left: &mut usize) -> Vec<(PathBuf, u64)> {
    use std::os::unix::fs::DirEntryExt;

    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if *left == 0 {
                return files;
            }
            *left -= 1;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) | Err(_) => files.push((entry.path(), entry.ino())),
            }
        }
    }
    files
}

fn shown_program(exe: &Seen<Vec<u8>>, view: &View) -> String {
    match exe {
        Seen::Is(path) => view.quoted(path, 120),
        Seen::Gone | Seen::Hidden(_) => "(executable hidden)".to_owned(),
    }
}

/// The paths by which the mount namespaces of processes show the directory.
struct Namespaces<'a> {
    place: &'a Place,
    own: Option<PathBuf>,
    known: HashMap<Vec<u8>, Vec<PathBuf>>,
    /// The process that was asked about last, and its namespace; none where that is ours or hidden.
    last: Option<(u32, Option<Vec<u8>>)>,
}

impl<'a> Namespaces<'a> {
    fn new(place: &'a Place) -> Self {
        Self { place, own: fs::read_link("/proc/self/ns/mnt").ok(), known: HashMap::new(), last: None }
    }

    /// Whether a path, as a link of this process gives it, is the directory or lies below it.
    fn is_at_or_below(&mut self, process: &Process, path: &[u8]) -> bool {
        // Most open files are devices, and need no further look.
        if path.starts_with(b"/dev/") && !self.place.is_in_dev() {
            return false;
        }
        if self.last.as_ref().is_none_or(|(pid, _)| *pid != process.pid) {
            self.last = Some((process.pid, self.foreign_namespace(process)));
        }
        let Some((_, Some(namespace))) = &self.last else {
            return mounts::is_at_or_below(path, &self.place.paths);
        };
        self.known.get(namespace).is_some_and(|paths| mounts::is_at_or_below(path, paths))
    }

    /// The mount namespace of a process, made known, if it is not ours.
    fn foreign_namespace(&mut self, process: &Process) -> Option<Vec<u8>> {
        let (Seen::Is(namespace), Some(inside)) = (process.mount_namespace(), &self.place.inside) else { return None };
        if self.own.as_deref() == Some(&procfs::path_of(&namespace)) {
            return None;
        }
        self.known.entry(namespace.clone()).or_insert_with(|| match process.mounts() {
            Seen::Is(mountinfo) => mounts::paths_to(&mountinfo, inside),
            Seen::Gone | Seen::Hidden(_) => Vec::new(),
        });
        Some(namespace)
    }
}
