#![expect(unsafe_code, reason = "a guardian is a bare fork, which has no safe interface")]
//! The guardian: a tiny process that outlives us. When we are killed, also by SIGKILL, it kills the run's control group,
//! so that nothing of a step goes on working with nobody watching. It holds the reading end of a pipe that only we can
//! write to: a byte says that all is well, the end of the pipe that we are gone.
//!
//! It is a fork of a program with threads, so it makes system calls only: nothing in it allocates, locks or unwinds.

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags};

use crate::exec::cgroup::{Cgroup, Hierarchy};
use crate::exec::spawn;

/// The name it has in `ps`.
const NAME: &CStr = c"interlock-guard";
/// How often it kills what is in a freezer of version 1, until nothing is left: what does not freeze may fork meanwhile.
const ROUNDS: usize = 200;
/// How often it looks, each time, whether everything is frozen.
const LOOKS: usize = 100;
/// How long it waits between two looks, and between two rounds.
const PAUSE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 2_000_000 };
/// How many levels of groups below the run's it looks at.
const LEVELS: usize = 16;

/// The guardian of one control group. Dropping it sends it home and waits until it is gone.
#[derive(Debug)]
pub(super) struct Guardian {
    /// None once it was sent home.
    line: Option<OwnedFd>,
    handle: OwnedFd,
}

impl Guardian {
    /// Posts a guardian for this group.
    pub(super) fn post(group: &Cgroup) -> io::Result<Self> {
        let (end, line) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (end_fd, directory) = (end.as_raw_fd(), group.directory().as_raw_fd());
        // SAFETY: the child calls `stand`, which makes system calls only and never returns.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            stand(end_fd, directory, group.hierarchy());
        }
        let Some(pid) = Pid::from_raw(pid.max(0)) else { return Err(io::Error::last_os_error()) };
        // The child has not been waited for, so the pid is still its own.
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { line: Some(line), handle })
    }

    /// Sends it home, and does not wait for it: what it takes to end, the kernel does meanwhile.
    pub(super) fn send_home(&mut self) {
        if let Some(line) = self.line.take() {
            // If it is gone already there is nobody to tell.
            let _told = rustix::io::write(&line, b".");
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.send_home();
        spawn::reap(&self.handle);
    }
}

/// The guardian's life, after the fork.
fn stand(end: c_int, directory: c_int, hierarchy: Hierarchy) -> ! {
    // SAFETY: system calls on descriptors that the fork copied; nothing allocates, locks or unwinds.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2] {
            libc::signal(signal, libc::SIG_IGN);
        }
        // Holding none of our descriptors, it keeps no pipe, terminal or lock of ours alive.
        let end = libc::fcntl(end, libc::F_DUPFD, 10);
        let directory = libc::fcntl(directory, libc::F_DUPFD, 10);
        libc::dup2(end, 0);
        libc::dup2(directory, 1);
        libc::syscall(libc::SYS_close_range, 2, libc::c_uint::MAX, 0);
        let mut byte = 0_u8;
        loop {
            match libc::read(0, (&raw mut byte).cast(), 1) {
                0 => break,
                1 => libc::_exit(0),
                _ if io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) => {}
                _ => break,
            }
        }
    }
    match hierarchy {
        // Before Linux 5.14 there is no `cgroup.kill`; then what runs is at least frozen.
        Hierarchy::Unified => {
            let _done = put(1, c"cgroup.kill", b"1") || put(1, c"cgroup.freeze", b"1");
        }
        Hierarchy::Freezer => {
            for _ in 0..ROUNDS {
                if kill_in_the_freezer(1) == 0 {
                    break;
                }
                pause();
            }
        }
    }
    // SAFETY: ends this process; nothing of ours is to be dropped in it.
    unsafe { libc::_exit(0) }
}

/// Freezes, kills and thaws a group with all below it, as `Cgroup::kill` does. Says how many processes it found.
fn kill_in_the_freezer(group: c_int) -> usize {
    put(group, c"freezer.state", b"FROZEN");
    for _ in 0..LOOKS {
        let mut state = [0_u8; 16];
        let file = open(group, c"freezer.state", libc::O_RDONLY);
        let length = get(file, &mut state);
        close(file);
        if state[..length].starts_with(b"FROZEN") {
            break;
        }
        pause();
    }
    let mut found = 0;
    each(group, 0, &mut |group| found += kill(group));
    each(group, 0, &mut |group| {
        put(group, c"freezer.state", b"THAWED");
    });
    found
}

/// Sends SIGKILL to every process of one group. Nobody in a frozen group ends, so no pid is another's by now.
fn kill(group: c_int) -> usize {
    let file = open(group, c"cgroup.procs", libc::O_RDONLY);
    let mut found = 0;
    let mut pid: libc::pid_t = 0;
    let mut bytes = [0_u8; 512];
    loop {
        let length = get(file, &mut bytes);
        if length == 0 {
            break;
        }
        for byte in &bytes[..length] {
            if byte.is_ascii_digit() {
                pid = pid.wrapping_mul(10).wrapping_add(libc::pid_t::from(byte - b'0'));
            } else {
                if pid > 1 {
                    found += 1;
                    // SAFETY: a system call.
                    unsafe { libc::kill(pid, libc::SIGKILL) };
                }
                pid = 0;
            }
        }
    }
    close(file);
    found
}

/// Calls `visit` with this group and with those below it.
fn each(group: c_int, level: usize, visit: &mut dyn FnMut(c_int)) {
    visit(group);
    if level == LEVELS {
        return;
    }
    // A descriptor of its own is read from the start.
    let listing = open(group, c".", libc::O_RDONLY | libc::O_DIRECTORY);
    let mut bytes = [0_u8; 1024];
    loop {
        // SAFETY: the kernel writes at most so many bytes into this buffer.
        let length = unsafe { libc::syscall(libc::SYS_getdents64, listing, bytes.as_mut_ptr(), bytes.len()) };
        let mut rest = match usize::try_from(length) {
            Ok(length) if length > 0 => &bytes[..length],
            Ok(_) | Err(_) => break,
        };
        // getdents64(2): inode and offset (8 bytes each), length (2), type (1), name with its NUL.
        while let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, low, high, kind, name @ ..] = rest {
            let length = usize::from(u16::from_ne_bytes([*low, *high]));
            if let Ok(name) = CStr::from_bytes_until_nul(name)
                && *kind == libc::DT_DIR
                && name != c"."
                && name != c".."
            {
                let child = open(group, name, libc::O_RDONLY | libc::O_DIRECTORY);
                if child >= 0 {
                    each(child, level + 1, visit);
                    close(child);
                }
            }
            rest = rest.get(length.max(1)..).unwrap_or_default();
        }
    }
    close(listing);
}

fn open(directory: c_int, file: &CStr, flags: c_int) -> c_int {
    // SAFETY: the name ends with NUL.
    unsafe { libc::openat(directory, file.as_ptr(), flags | libc::O_CLOEXEC | libc::O_NOFOLLOW) }
}

fn close(file: c_int) {
    // SAFETY: every caller closes what it opened itself, once.
    unsafe { libc::close(file) };
}

/// Reads once; how much, and 0 at the end or after an error.
fn get(file: c_int, bytes: &mut [u8]) -> usize {
    // SAFETY: the kernel writes at most so many bytes into this buffer.
    let length = unsafe { libc::read(file, bytes.as_mut_ptr().cast(), bytes.len()) };
    usize::try_from(length).unwrap_or(0)
}

/// Writes a word into a file of a group, and says whether that worked.
fn put(group: c_int, file: &CStr, word: &[u8]) -> bool {
    let file = open(group, file, libc::O_WRONLY);
    // SAFETY: so many bytes are there to read.
    let written = unsafe { libc::write(file, word.as_ptr().cast(), word.len()) };
    close(file);
    usize::try_from(written).is_ok_and(|written| written == word.len())
}

fn pause() {
    // SAFETY: it reads the given time, and is told to keep what is left of it to itself.
    unsafe { libc::nanosleep(&PAUSE, std::ptr::null_mut()) };
}
