#![expect(unsafe_code, reason = "a child that joins a control group, changes user and executes an open file needs it")]
//! Starts one process: a child that shares our memory until it executes its program, as `vfork` does (a copy of the
//! memory costs 0.7 ms more, measured). Everything it needs is prepared before; between its birth and `execveat` it
//! makes system calls only, allocates nothing and takes no lock.
//!
//! User and group are changed by raw system calls: the C library's functions would change every thread of ours,
//! since the child shares our memory.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

use crate::exec::command::User;
use crate::exec::program::Format;

/// The child's stack until it executes its program; it calls a few small functions.
const STACK_BYTES: usize = 64 * 1024;
/// Descriptors are moved above this one before 0 to 3 are filled.
const ABOVE: c_int = 10;
/// How many signals the kernel has.
const SIGNALS: usize = 64;
/// The descriptor that the program is executed from; it stays open in a script's interpreter.
const PROGRAM_FD: c_int = 3;

/// All that a child needs.
pub(super) struct Launch<'a> {
    pub(super) program: BorrowedFd<'a>,
    pub(super) format: Format,
    pub(super) argv: &'a [CString],
    pub(super) env: &'a [CString],
    pub(super) cwd: &'a CStr,
    pub(super) stdin: BorrowedFd<'a>,
    pub(super) stdout: BorrowedFd<'a>,
    pub(super) stderr: BorrowedFd<'a>,
    /// The `cgroup.procs` it writes itself to first.
    pub(super) door: Option<BorrowedFd<'a>>,
    /// The user to become; none to stay who we are.
    pub(super) user: Option<&'a User>,
    pub(super) killability: Killability,
}

/// Whether the child resets how the kernel ranks it when memory runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Killability {
    /// Leave it: ours is the default.
    Inherited,
    /// Write 0: ours is not the default, and a step is not to inherit it.
    Reset,
}

/// A child that has executed its program. It stays a zombie until it is waited for.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) pid: u32,
    pub(super) handle: OwnedFd,
}

/// What the child was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Stage {
    Clone,
    JoinGroup,
    Session,
    Descriptors,
    Groups,
    Group,
    User,
    ParentDeath,
    Directory,
    Execute,
}

/// Why no program was started.
#[derive(Debug)]
pub(super) struct LaunchFailure {
    pub(super) stage: Stage,
    pub(super) error: io::Error,
}

/// What the child reads, and where it leaves word of a failure. Lives on the parent's stack, which waits.
struct Orders {
    parent: libc::pid_t,
    program: RawFd,
    format: Format,
    argv: *const *const c_char,
    env: *const *const c_char,
    cwd: *const c_char,
    streams: [RawFd; 3],
    door: RawFd,
    reset_killability: bool,
    switch: bool,
    uid: libc::uid_t,
    gid: libc::gid_t,
    groups: *const libc::gid_t,
    group_count: usize,
    failure: Option<(Stage, c_int)>,
}

/// Starts the child and returns when it has executed its program, or could not. The child gets SIGKILL when the
/// calling thread ends.
pub(super) fn launch(launch: &Launch<'_>) -> Result<Launched, LaunchFailure> {
    let argv: Vec<*const c_char> = pointers(launch.argv);
    let env: Vec<*const c_char> = pointers(launch.env);
    let mut stack = vec![0_u128; STACK_BYTES / 16];
    let mut orders = Orders {
        parent: libc::pid_t::try_from(std::process::id()).expect("Linux has no pid above 2^22"),
        program: launch.program.as_raw_fd(),
        format: launch.format,
        argv: argv.as_ptr(),
        env: env.as_ptr(),
        cwd: launch.cwd.as_ptr(),
        streams: [launch.stdin.as_raw_fd(), launch.stdout.as_raw_fd(), launch.stderr.as_raw_fd()],
        door: launch.door.map_or(-1, |door| door.as_raw_fd()),
        reset_killability: launch.killability == Killability::Reset,
        switch: launch.user.is_some(),
        uid: launch.user.map_or(0, |user| user.uid),
        gid: launch.user.map_or(0, |user| user.gid),
        groups: launch.user.map_or(ptr::null(), |user| user.groups.as_ptr()),
        group_count: launch.user.map_or(0, |user| user.groups.len()),
        failure: None,
    };
    let mut handle: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: the stack is large enough, 16-aligned and grows down from its end; `orders` and all it points to outlive
    // the call, since CLONE_VFORK suspends this thread until the child has executed or ended; the child shares memory
    // but is the only one to run on its stack, and this thread's signals are blocked, so that no handler of ours runs
    // in the child. `handle` is where the kernel writes the pid descriptor.
    let cloned = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let top = stack.as_mut_ptr_range().end.cast::<c_void>();
        let cloned = libc::clone(child, top, flags, (&raw mut orders).cast(), &raw mut handle);
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        if cloned < 0 { Err(error) } else { Ok(cloned) }
    };
    let pid = cloned.map_err(|error| LaunchFailure { stage: Stage::Clone, error })?;
    // SAFETY: the kernel has just made this descriptor for us.
    let handle = unsafe { OwnedFd::from_raw_fd(handle) };
    // SAFETY: a plain read of our own variable, which the child may have written behind the compiler's back.
    let failure = unsafe { ptr::read_volatile(&raw const orders.failure) };
    if let Some((stage, errno)) = failure {
        reap(&handle);
        return Err(LaunchFailure { stage, error: io::Error::from_raw_os_error(errno) });
    }
    Ok(Launched { pid: u32::try_from(pid).expect("a pid is positive"), handle })
}

/// Waits for a child that has ended or is about to, and lets its pid go.
pub(super) fn reap(handle: &OwnedFd) {
    use rustix::process::{WaitId, WaitIdOptions};
    use std::os::fd::AsFd as _;
    // It fails only if the child was waited for before, and then there is nothing to do.
    let _waited =
        rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(handle.as_fd()), WaitIdOptions::EXITED));
}

/// A list of strings as the kernel wants it: pointers, ended by a null one.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// The child, from its birth to `execveat`. Returns only if something failed.
extern "C" fn child(orders: *mut c_void) -> c_int {
    // SAFETY: the pointer is the one given to `clone` above; the parent waits and does not touch it meanwhile.
    let orders = unsafe { &mut *orders.cast::<Orders>() };
    let stage = match prepare_and_execute(orders) {
        Ok(()) => Stage::Execute,
        Err(stage) => stage,
    };
    orders.failure = Some((stage, io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)));
    // SAFETY: ends the child alone, without running anything that is registered for the parent's exit.
    unsafe { libc::_exit(127) }
}

/// The child's system calls, in order. On failure `errno` tells why.
fn prepare_and_execute(orders: &Orders) -> Result<(), Stage> {
    let ok = |result: libc::c_long, stage: Stage| if result < 0 { Err(stage) } else { Ok(result) };
    // SAFETY: system calls (and thin wrappers of them that neither allocate nor lock) on descriptors and memory that
    // the parent prepared and keeps.
    unsafe {
        if orders.door >= 0 {
            ok(libc::write(orders.door, c"0".as_ptr().cast(), 1) as libc::c_long, Stage::JoinGroup)?;
        }
        ok(libc::setsid().into(), Stage::Session)?;

        if orders.reset_killability {
            let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if file >= 0 {
                libc::write(file, c"0".as_ptr().cast(), 1);
            }
        }

        let program = ok(libc::fcntl(orders.program, libc::F_DUPFD, ABOVE).into(), Stage::Descriptors)?;
        let mut moved = [0; 3];
        for (to, from) in moved.iter_mut().zip(orders.streams) {
            *to = ok(libc::fcntl(from, libc::F_DUPFD, ABOVE).into(), Stage::Descriptors)?;
        }
        for (number, from) in (0..).zip(moved) {
            ok(libc::dup2(from as c_int, number).into(), Stage::Descriptors)?;
        }
        let on_exec = match orders.format {
            Format::Binary => libc::O_CLOEXEC,
            Format::Script => 0,
        };
        ok(libc::dup3(program as c_int, PROGRAM_FD, on_exec).into(), Stage::Descriptors)?;
        ok(libc::syscall(libc::SYS_close_range, PROGRAM_FD + 1, libc::c_uint::MAX, 0), Stage::Descriptors)?;

        libc::umask(0o022);
        if orders.switch {
            ok(libc::syscall(libc::SYS_setgroups, orders.group_count, orders.groups), Stage::Groups)?;
            ok(libc::syscall(libc::SYS_setresgid, orders.gid, orders.gid, orders.gid), Stage::Group)?;
            ok(libc::syscall(libc::SYS_setresuid, orders.uid, orders.uid, orders.uid), Stage::User)?;
        }

        // After the change of user, which clears it. If the parent is gone already, the signal will never come.
        ok(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL).into(), Stage::ParentDeath)?;
        if libc::getppid() != orders.parent {
            return Err(Stage::ParentDeath);
        }
        ok(libc::chdir(orders.cwd).into(), Stage::Directory)?;

        // The kernel's own structure, all zero: the default action. Asked directly, since the C library refuses to touch
        // two signals that an ancestor of ours may have ignored. It fails for SIGKILL and SIGSTOP, which are never else.
        let default_action = [0_u64; 8];
        for signal in 1..=SIGNALS {
            libc::syscall(libc::SYS_rt_sigaction, signal, default_action.as_ptr(), ptr::null::<c_void>(), SIGNALS / 8);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::syscall(libc::SYS_execveat, PROGRAM_FD, c"".as_ptr(), orders.argv, orders.env, libc::AT_EMPTY_PATH);
    }
    Ok(())
}
