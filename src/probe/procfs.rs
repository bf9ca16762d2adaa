//! Reads `/proc` (proc_pid_stat(5) and its neighbours). Tells apart what is gone, what is there and may not be seen, and what is
//! there; a process that ends while it is read is gone.

use std::ffi::OsStr;
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, Stat, openat, readlinkat_raw, statat};
use rustix::io::Errno;

/// `PF_KTHREAD` in the flags of `/proc/<pid>/stat`: a thread of the kernel (include/linux/sched.h).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// What reading something of a process gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen<T> {
    /// This.
    Is(T),
    /// The process ended, or it has no such thing (a kernel thread has no executable, a zombie nothing at all).
    Gone,
    /// It is there and could not be read.
    Hidden(Errno),
}

impl<T> Seen<T> {
    /// The same with another content.
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Self::Is(content) => Seen::Is(change(content)),
            Self::Gone => Seen::Gone,
            Self::Hidden(errno) => Seen::Hidden(errno),
        }
    }
}

impl<T> From<Result<T, Errno>> for Seen<T> {
    fn from(result: Result<T, Errno>) -> Self {
        match result {
            Ok(content) => Self::Is(content),
            Err(Errno::NOENT | Errno::SRCH) => Self::Gone,
            Err(errno) => Self::Hidden(errno),
        }
    }
}

/// Opens `/proc`.
pub(super) fn open() -> Result<OwnedFd, Errno> {
    openat(rustix::fs::CWD, "/proc", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The numbers that name entries of an open directory (process ids in `/proc`, descriptors in `/proc/<pid>/fd`), each with the
/// entry's inode. Reads from the beginning.
pub(super) fn numbered(dir: &OwnedFd, mut each: impl FnMut(u32, u64)) -> Result<(), Errno> {
    rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 16 * 1024];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if let Some(number) = number(entry.file_name().to_bytes()) {
            each(number, entry.ino());
        }
    }
    Ok(())
}

/// The id that was given last to a process or thread, on the whole machine as this `/proc` shows it: while it stays the same,
/// none was started. None if it cannot be told.
pub(super) fn newest(proc_dir: &OwnedFd) -> Option<u32> {
    let file = openat(proc_dir, "loadavg", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0_u8; 128];
    let count = rustix::io::read(&file, &mut buffer[..]).ok()?;
    let line = buffer[..count].strip_suffix(b"\n")?;
    number(line.rsplit(|byte| *byte == b' ').next()?)
}

/// Every process id that `/proc` shows.
pub(super) fn pids(proc_dir: &OwnedFd) -> Result<Vec<u32>, Errno> {
    let mut pids = Vec::with_capacity(256);
    numbered(proc_dir, |pid, _| pids.push(pid))?;
    Ok(pids)
}

fn number(name: &[u8]) -> Option<u32> {
    if name.is_empty() || name.len() > 9 {
        return None;
    }
    name.iter().try_fold(0_u32, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0')))
}

/// Reads the target of a link without allocating.
pub(super) fn link<'buffer, Dir: AsFd>(
    dir: Dir,
    path: &str,
    buffer: &'buffer mut [MaybeUninit<u8>],
) -> Seen<&'buffer [u8]> {
    Seen::from(readlinkat_raw(dir, path, buffer).map(|(read, _)| &*read))
}

/// Room for the longest link target that the kernel gives (a page).
pub(super) fn link_buffer() -> [MaybeUninit<u8>; 4096] {
    [MaybeUninit::uninit(); 4096]
}

/// The path without the ` (deleted)` that the kernel adds when the file is no longer there by that name.
pub(super) fn without_deleted(path: &[u8]) -> &[u8] {
    path.strip_suffix(b" (deleted)").unwrap_or(path)
}

/// The base name of an executable, as the link in `/proc` gives its path.
pub(super) fn base_name(exe: &[u8]) -> &[u8] {
    let path = without_deleted(exe);
    path.iter().rposition(|&byte| byte == b'/').map_or(path, |at| &path[at + 1..])
}

/// A process that is pinned: all that is read comes from the process that had this id when it was opened.
pub(super) struct Process {
    /// Its id.
    pub(super) pid: u32,
    dir: OwnedFd,
    /// Where its things are: the process itself, or, where the first thread has ended before the others, one of those.
    thread: Option<String>,
}

impl Process {
    /// Opens a process. Gone also for one that has ended and only waits to be reaped, for a kernel thread, and for a thread
    /// that is not the first of its process.
    pub(super) fn open(proc_dir: &OwnedFd, pid: u32) -> Seen<Self> {
        let path = pid.to_string();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Seen::from(openat(proc_dir, path.as_str(), flags, Mode::empty())).map(|dir| Self { pid, dir, thread: None })
    }

    /// The path of its executable as the kernel gives it, with ` (deleted)` where the file is gone.
    pub(super) fn exe(&mut self) -> Seen<Vec<u8>> {
        let mut buffer = link_buffer();
        match link(&self.dir, &self.path("exe"), &mut buffer) {
            Seen::Is(path) => return Seen::Is(path.to_vec()),
            Seen::Hidden(errno) => {
                // A kernel thread has nothing to hide, nor has a process that only waits to be reaped.
                return if self.has_no_program() { Seen::Gone } else { Seen::Hidden(errno) };
            }
            Seen::Gone => {}
        }
        if self.thread.is_some() || !self.first_thread_ended() {
            return Seen::Gone;
        }
        for thread in self.other_threads() {
            let path = format!("task/{thread}/exe");
            if let Seen::Is(exe) = link(&self.dir, &path, &mut buffer) {
                self.thread = Some(format!("task/{thread}/"));
                return Seen::Is(exe.to_vec());
            }
        }
        Seen::Gone
    }

    /// The device and inode of its executable file.
    pub(super) fn exe_file(&self) -> Seen<(u64, u64)> {
        self.file("exe")
    }

    /// The device and inode of its working directory.
    pub(super) fn cwd(&self) -> Seen<(u64, u64)> {
        self.file("cwd")
    }

    /// Its command line, split into arguments.
    pub(super) fn arguments(&self) -> Seen<Vec<Vec<u8>>> {
        self.read("cmdline").map(|text| {
            let text = text.strip_suffix(b"\0").unwrap_or(&text);
            text.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
        })
    }

    /// Its effective user id.
    pub(super) fn user(&self) -> Seen<u32> {
        match self.status_field("Uid:", 1) {
            Seen::Is(Some(uid)) => Seen::Is(uid),
            Seen::Is(None) | Seen::Gone => Seen::Gone,
            Seen::Hidden(errno) => Seen::Hidden(errno),
        }
    }

    /// Whether its id is that of a process, and not of a later thread of one (whose directory can be opened, too).
    pub(super) fn is_first_thread(&self) -> Seen<bool> {
        self.status_field("Tgid:", 0).map(|leader| leader == Some(self.pid))
    }

    /// Whether it is the machine's first process, hidden even from root as some hardened systems have it, and goes by names of
    /// which `sought` says no. The first process runs since the machine does: it is no server that was started later, so here,
    /// and only here, the names that a process could choose are believed.
    pub(super) fn is_init_by_another_name(&self, sought: impl Fn(&[u8]) -> bool) -> bool {
        if self.pid != 1 {
            return false;
        }
        let (Seen::Is(comm), Seen::Is(arguments)) = (self.read("comm"), self.arguments()) else { return false };
        let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
        let Some(program) = arguments.first() else { return false };
        !comm.is_empty() && !program.is_empty() && !sought(comm) && !sought(base_name(program))
    }

    /// What tells its mount namespace from others.
    pub(super) fn mount_namespace(&self) -> Seen<Vec<u8>> {
        let mut buffer = link_buffer();
        link(&self.dir, &self.path("ns/mnt"), &mut buffer).map(<[u8]>::to_vec)
    }

    /// Its table of mounts.
    pub(super) fn mounts(&self) -> Seen<String> {
        self.read("mountinfo").map(|text| String::from_utf8_lossy(&text).into_owned())
    }

    /// Calls `each` with every open descriptor whose link begins with `/`, until it says stop.
    pub(super) fn open_files(&self, mut each: impl FnMut(u32, &[u8]) -> Onward) -> Seen<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match Seen::from(openat(&self.dir, self.path("fd").as_str(), flags, Mode::empty())) {
            Seen::Is(dir) => dir,
            Seen::Gone => return Seen::Gone,
            Seen::Hidden(errno) => return Seen::Hidden(errno),
        };
        let mut numbers = Vec::new();
        match Seen::from(numbered(&dir, |number, _| numbers.push(number))) {
            Seen::Is(()) => {}
            Seen::Gone => return Seen::Gone,
            Seen::Hidden(errno) => return Seen::Hidden(errno),
        }
        let mut buffer = link_buffer();
        for number in numbers {
            match link(&dir, &number.to_string(), &mut buffer) {
                Seen::Is(path) if path.starts_with(b"/") => match each(number, path) {
                    Onward::Go => {}
                    Onward::Stop => return Seen::Is(()),
                },
                Seen::Is(_) | Seen::Gone => {}
                Seen::Hidden(errno) => return Seen::Hidden(errno),
            }
        }
        Seen::Is(())
    }

    /// Whether this descriptor is open for writing.
    pub(super) fn is_open_for_writing(&self, descriptor: u32) -> Seen<bool> {
        self.read(&format!("fdinfo/{descriptor}")).map(|text| {
            let text = String::from_utf8_lossy(&text).into_owned();
            let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = flags.and_then(|octal| u64::from_str_radix(octal.trim(), 8).ok()).unwrap_or(u64::MAX);
            let only_a_path = flags & u64::from(OFlags::PATH.bits()) != 0 && flags != u64::MAX;
            flags & u64::from(OFlags::ACCMODE.bits() & 3) != 0 && !only_a_path
        })
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.thread.as_deref().unwrap_or(""))
    }

    fn file(&self, name: &str) -> Seen<(u64, u64)> {
        Seen::from(statat(&self.dir, self.path(name).as_str(), AtFlags::empty())).map(|facts| identity(&facts))
    }

    fn read(&self, name: &str) -> Seen<Vec<u8>> {
        Seen::from(read_at(&self.dir, &self.path(name)))
    }

    fn status_field(&self, key: &str, column: usize) -> Seen<Option<u32>> {
        self.read("status").map(|text| {
            let text = String::from_utf8_lossy(&text).into_owned();
            let values = text.lines().find_map(|line| line.strip_prefix(key).map(str::to_owned))?;
            values.split_whitespace().nth(column)?.parse().ok()
        })
    }

    fn stat_fields(&self) -> Option<(u8, u64, u64)> {
        let text = read_at(&self.dir, "stat").ok()?;
        let after_name = text.iter().rposition(|&byte| byte == b')')? + 2;
        let fields = String::from_utf8_lossy(text.get(after_name..)?).into_owned();
        let fields: Vec<&str> = fields.split(' ').collect();
        Some((*fields.first()?.as_bytes().first()?, fields.get(6)?.parse().ok()?, fields.get(17)?.parse().ok()?))
    }

    /// Whether it is a thread of the kernel.
    pub(super) fn is_kernel_thread(&self) -> bool {
        self.stat_fields().is_some_and(|(_, flags, _)| flags & KERNEL_THREAD != 0)
    }

    fn has_no_program(&self) -> bool {
        self.stat_fields().is_some_and(|(state, flags, threads)| {
            flags & KERNEL_THREAD != 0 || (matches!(state, b'Z' | b'X') && threads <= 1)
        })
    }

    fn first_thread_ended(&self) -> bool {
        self.stat_fields().is_some_and(|(state, _, threads)| matches!(state, b'Z' | b'X') && threads > 1)
    }

    fn other_threads(&self) -> Vec<u32> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(dir) = openat(&self.dir, "task", flags, Mode::empty()) else { return Vec::new() };
        pids(&dir).unwrap_or_default().into_iter().filter(|&thread| thread != self.pid).collect()
    }
}

/// Whether to go on with the next.
pub(super) enum Onward {
    /// Go on.
    Go,
    /// That was enough.
    Stop,
}

/// The device and inode that tell a file from all others.
pub(super) fn identity(facts: &Stat) -> (u64, u64) {
    (facts.st_dev, facts.st_ino)
}

/// A path out of bytes.
pub(super) fn path_of(bytes: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(bytes)).to_path_buf()
}

/// The effective capabilities of this process as a bit set; none if they cannot be read.
pub(super) fn effective_capabilities() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let set = text.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

fn read_at(dir: &OwnedFd, path: &str) -> Result<Vec<u8>, Errno> {
    let file = openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut content = Vec::new();
    let mut buffer = [0_u8; 8192];
    loop {
        match rustix::io::read(&file, &mut buffer) {
            Ok(0) => return Ok(content),
            Ok(read) => content.extend_from_slice(&buffer[..read]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
