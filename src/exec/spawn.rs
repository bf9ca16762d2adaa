#![expect(unsafe_code, reason = "a child that joins a control group, changes user and executes an open file needs it")]
//! Starts one process: a child that shares our memory until it executes its program, as `vfork` does (a copy of the
//! memory costs 0.7 ms more, measured). Everything it needs is prepared before; between its birth and `execveat` it
//! makes system calls only, allocates nothing and takes no lock.
//!
//! User and group are changed by raw system calls: the C library's functions would change every thread of ours,
//! since the child shares our memory.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus};

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
    /// The path to execute a script by; else it is executed from its descriptor, as every binary is.
    pub(super) script_path: Option<&'a CStr>,
    pub(super) argv: &'a [CString],
    pub(super) env: &'a [CString],
    pub(super) cwd: &'a CStr,
    pub(super) stdin: BorrowedFd<'a>,
    pub(super) stdout: BorrowedFd<'a>,
    pub(super) stderr: BorrowedFd<'a>,
    /// How it gets into its control group, if it has one.
    pub(super) entry: Entry<'a>,
    /// The user to become; none to stay who we are.
    pub(super) user: Option<&'a User>,
    pub(super) killability: Killability,
}

/// How a child gets into its control group.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    /// It has none.
    None,
    /// It is born in the group of this directory (Linux 5.7; here on x86-64 only).
    Born(BorrowedFd<'a>),
    /// It writes itself to this `cgroup.procs` first. Costs up to 10 ms on a busy machine (measured), since the kernel
    /// waits for every processor.
    Door(BorrowedFd<'a>),
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
    /// The path that a script is executed by; null where it is executed from the descriptor, as every binary is.
    path: *const c_char,
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
    let mut stack = Box::new_uninit_slice(STACK_BYTES / 16);
    let mut orders = Orders {
        parent: libc::pid_t::try_from(std::process::id()).expect("Linux has no pid above 2^22"),
        program: launch.program.as_raw_fd(),
        format: launch.format,
        path: launch.script_path.map_or(ptr::null(), CStr::as_ptr),
        argv: argv.as_ptr(),
        env: env.as_ptr(),
        cwd: launch.cwd.as_ptr(),
        streams: [launch.stdin.as_raw_fd(), launch.stdout.as_raw_fd(), launch.stderr.as_raw_fd()],
        door: match launch.entry {
            Entry::None | Entry::Born(_) => -1,
            Entry::Door(door) => door.as_raw_fd(),
        },
        reset_killability: launch.killability == Killability::Reset,
        switch: launch.user.is_some(),
        uid: launch.user.map_or(0, |user| user.uid),
        gid: launch.user.map_or(0, |user| user.gid),
        groups: launch.user.map_or(ptr::null(), |user| user.groups.as_ptr()),
        group_count: launch.user.map_or(0, |user| user.groups.len()),
        failure: None,
    };
    // SAFETY: `orders` and all it points to outlive the call.
    let born = unsafe { give_birth(&mut stack, child, (&raw mut orders).cast(), launch.entry) };
    let (pid, handle) = born.map_err(|error| LaunchFailure { stage: Stage::Clone, error })?;
    // SAFETY: a plain read of our own variable, which the child may have written behind the compiler's back.
    let failure = unsafe { ptr::read_volatile(&raw const orders.failure) };
    if let Some((stage, errno)) = failure {
        reap(&handle);
        return Err(LaunchFailure { stage, error: io::Error::from_raw_os_error(errno) });
    }
    Ok(Launched { pid: u32::try_from(pid).expect("a pid is positive"), handle })
}

/// Whether a child can be born in this control group: one is, and exits at once. (A group that was killed before, or
/// whose parent's was, can kill its newborn; seen on Linux 6.18.)
pub(super) fn can_be_born_in(group: BorrowedFd<'_>) -> bool {
    extern "C" fn exit_at_once(_: *mut c_void) -> c_int {
        // SAFETY: ends the child alone.
        unsafe { libc::_exit(0) }
    }
    let mut stack = Box::new_uninit_slice(STACK_BYTES / 16);
    // SAFETY: the child uses no argument.
    let born = unsafe { give_birth(&mut stack, exit_at_once, ptr::null_mut(), Entry::Born(group)) };
    let Ok((_, handle)) = born else { return false };
    reap(&handle).is_some_and(|status| status.exit_status() == Some(0))
}

/// Makes a child that shares our memory and runs `life` on `stack`, and waits until it has executed a program or ended.
///
/// # Safety
/// `argument` must be valid for `life`, which must not return to a caller, unwind, or use what this thread has locked.
unsafe fn give_birth(
    stack: &mut [MaybeUninit<u128>],
    life: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
    entry: Entry<'_>,
) -> io::Result<(libc::pid_t, OwnedFd)> {
    let mut handle: c_int = -1;
    // SAFETY: the stack is large enough, 16-aligned and grows down from its end; CLONE_VFORK suspends this thread until
    // the child has executed or ended, so that everything it uses is still there; the child shares memory but is the
    // only one to run on its stack, and this thread's signals are blocked, so that no handler of ours runs in the child.
    // `handle` is where the kernel writes the pid descriptor.
    let born = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let born = match entry {
            Entry::None | Entry::Door(_) => {
                let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
                let top = stack.as_mut_ptr_range().end.cast::<c_void>();
                match libc::clone(life, top, flags, argument, &raw mut handle) {
                    -1 => Err(io::Error::last_os_error()),
                    pid => Ok(pid),
                }
            }
            Entry::Born(group) => birth_in_group(stack, life, argument, group, &raw mut handle),
        };
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        born
    };
    // SAFETY: the kernel has just made this descriptor for us.
    born.map(|pid| (pid, unsafe { OwnedFd::from_raw_fd(handle) }))
}

/// What `clone3` takes (clone(2)), as of Linux 5.7.
#[cfg(target_arch = "x86_64")]
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The C library has no function for a birth in a control group, so the system call is made here.
///
/// # Safety
/// As for `give_birth`, with this thread's signals blocked.
#[cfg(target_arch = "x86_64")]
unsafe fn birth_in_group(
    stack: &mut [MaybeUninit<u128>],
    life: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
    group: BorrowedFd<'_>,
    handle: *mut c_int,
) -> io::Result<libc::pid_t> {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let ours = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    let arguments = CloneArguments {
        flags: u64::try_from(ours).expect("the flags are positive") | INTO_CGROUP,
        pidfd: handle as u64,
        exit_signal: u64::try_from(libc::SIGCHLD).expect("a signal is positive"),
        stack: stack.as_mut_ptr() as u64,
        stack_size: size_of_val(stack) as u64,
        cgroup: u64::try_from(group.as_raw_fd()).expect("a descriptor is not negative"),
        ..CloneArguments::default()
    };
    let result: i64;
    // SAFETY: the parent comes out of the call as out of any system call. The child comes out on its own stack with the
    // parent's registers: it calls `life`, aligned as the ABI asks (the stack's end is 16-aligned and `call` pushes a
    // return address), and `life` never returns, so the child never reaches what the compiler put around this.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const arguments,
            in("rsi") size_of::<CloneArguments>(),
            in("r12") argument,
            in("r13") life,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    match libc::pid_t::try_from(result) {
        Ok(pid) if pid > 0 => Ok(pid),
        Ok(errno) => Err(io::Error::from_raw_os_error(-errno)),
        Err(_) => Err(io::Error::other("clone3 gave no pid")),
    }
}

/// Not written for this processor: [`can_be_born_in`] says no, and children enter by the door.
///
/// # Safety
/// None is needed.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn birth_in_group(
    _stack: &mut [MaybeUninit<u128>],
    _life: extern "C" fn(*mut c_void) -> c_int,
    _argument: *mut c_void,
    _group: BorrowedFd<'_>,
    _handle: *mut c_int,
) -> io::Result<libc::pid_t> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Waits for a child that has ended or is about to, and lets its pid go. None if it was waited for before.
pub(super) fn reap(handle: &OwnedFd) -> Option<WaitIdStatus> {
    let wait = || rustix::process::waitid(WaitId::PidFd(handle.as_fd()), WaitIdOptions::EXITED);
    rustix::io::retry_on_intr(wait).ok().flatten()
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
            Format::Script if orders.path.is_null() => 0,
            Format::Script => libc::O_CLOEXEC,
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
        if !orders.path.is_null() {
            libc::execve(orders.path, orders.argv, orders.env);
            return Ok(());
        }
        libc::syscall(libc::SYS_execveat, PROGRAM_FD, c"".as_ptr(), orders.argv, orders.env, libc::AT_EMPTY_PATH);
    }
    Ok(())
}
