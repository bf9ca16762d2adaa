#![expect(unsafe_code, reason = "a guardian is a bare fork, which has no safe interface")]
//! The guardian: a tiny process that outlives us. When we are killed, also by SIGKILL, it kills the run's control group,
//! so that nothing of a step goes on working with nobody watching. It holds the reading end of a pipe that only we can
//! write to: a byte says that all is well, the end of the pipe that we are gone.

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags};

use crate::exec::cgroup::Cgroup;
use crate::exec::spawn;

/// The name it has in `ps`.
const NAME: &CStr = c"interlock-guard";

/// The guardian of one control group. Dropping it sends it home.
#[derive(Debug)]
pub(super) struct Guardian {
    line: OwnedFd,
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
            stand(end_fd, directory);
        }
        let Some(pid) = Pid::from_raw(pid.max(0)) else { return Err(io::Error::last_os_error()) };
        // The child has not been waited for, so the pid is still its own.
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { line, handle })
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // If it is gone already there is nobody to tell, and waiting for it returns at once.
        let _told = rustix::io::write(&self.line, b".");
        spawn::reap(&self.handle);
    }
}

/// The guardian's life, after the fork.
fn stand(end: c_int, directory: c_int) -> ! {
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
        // Before Linux 5.14 there is no `cgroup.kill`; then what runs is at least frozen.
        for file in [c"cgroup.kill", c"cgroup.freeze"] {
            let opened = libc::openat(1, file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if opened >= 0 && libc::write(opened, c"1".as_ptr().cast(), 1) == 1 {
                break;
            }
        }
        libc::_exit(0)
    }
}
