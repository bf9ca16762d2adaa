//! One process of a step and all it brings forth: start it, follow its output, freeze it, end it, and say how it ended.
//!
//! Each running step has one thread of ours that reads its output and waits for its end. Whoever holds a [`Control`]
//! can freeze or kill the tree at any moment, without that thread.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::pipe::PipeFlags;
use rustix::process::Signal;

use crate::exec::command::{Command, Stdin};
use crate::exec::commit::{List, ListPlan};
use crate::exec::containment::Containment;
use crate::exec::mask::Secrets;
use crate::exec::program::{Format, ProgramError};
pub use crate::exec::recorder::{OnOutput, OnTrouble};
use crate::exec::recorder::{Recorder, Stream};
use crate::exec::redact::Redactions;
use crate::exec::spawn::{self, Entry, Killability, Launch, LaunchFailure, Launched, Stage};
use crate::exec::supervisor::{Source, Supervisor};
use crate::exec::transcript::{Recorded, TranscriptPlan};
use crate::exec::tree::Tree;
use crate::exec::walk::{MARK, Strays};

/// Where the output of a step goes.
pub struct OutputPlan {
    /// The transcript's file and how much of the output it keeps.
    pub transcript: TranscriptPlan,
    /// What is masked before anything is written or shown.
    pub secrets: Secrets,
    /// What is removed after that, if anything is.
    pub redact: Option<RedactPlan>,
    /// Called with each piece of masked output. The step waits while it runs, so it must not block for long.
    pub on_output: OnOutput,
    /// Called once, in words, when the transcript can no longer be written. The step's output is read on, so that the
    /// step does not hang; whether it may go on is the caller's to decide.
    pub on_trouble: OnTrouble,
    /// What becomes of processes that are left when the main one has ended.
    pub leftovers: Leftovers,
}

/// What is removed from the output of a step, and where that is listed.
pub struct RedactPlan {
    /// The rules.
    pub redactions: Redactions,
    /// The list.
    pub list: ListPlan,
}

/// What becomes of processes that are left when the main one has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftovers {
    /// They are named and killed.
    Fail,
    /// They are named and left where they are, for [`Control::let_go`] or [`Control::kill`] to decide. If nobody has
    /// decided when the last [`Control`] and [`Running`] is dropped, they are killed.
    Service {
        /// Standard output and standard error are this file, which must not exist, instead of a pipe, so that a service
        /// can go on writing when we are gone. What is in it is not masked, and nothing is removed from it; mode 0600.
        output: PathBuf,
    },
}

/// A step that was started.
#[derive(Debug)]
pub struct Running {
    control: Control,
    pid: u32,
}

/// Freezes, ends and tells of the processes of a step, from any thread.
#[derive(Debug, Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

/// How a freeze went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// From the call to when every process was seen frozen, in microseconds.
    pub micros: u64,
    /// How many processes were frozen.
    pub processes: usize,
    /// Why not every process is known to be frozen, in words; none if all are.
    pub trouble: Option<String>,
}

/// A process as it is named to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its pid.
    pub pid: u32,
    /// The name of its program, as the kernel knows it (at most 15 bytes).
    pub name: String,
}

/// How a step's main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// It was ended by this signal, whoever sent it.
    Signal(i32),
    /// It was sent SIGKILL and is still there: it hangs in the kernel.
    StillThere,
}

/// A step's end.
#[derive(Debug)]
pub struct Ended {
    /// How the main process ended.
    pub ending: Exit,
    /// From the start to the end of the main process.
    pub duration: Duration,
    /// What it wrote; none if it wrote nothing.
    pub output: Option<Recorded>,
    /// Processes that were left a tenth of a second after the main one had ended on its own.
    pub leftovers: Vec<Leftover>,
    /// Processes that SIGKILL did not end within five seconds: they hang in the kernel.
    pub survivors: Vec<Leftover>,
}

/// Why nothing was started. Each says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An argument, a variable or the directory has a NUL byte, or a variable's name is not one.
    #[error("{what} cannot be given to a program: {problem}")]
    NotPassable {
        /// What.
        what: String,
        /// Why.
        problem: &'static str,
    },
    /// Only root can run something as another user.
    #[error(
        "this runs as `{current}`, so it cannot run `{program}` as `{wanted}`; run interlock as root, or remove `user`"
    )]
    NotRoot {
        /// The program.
        program: String,
        /// Who we are.
        current: String,
        /// Who was wanted.
        wanted: String,
    },
    /// The program is no longer what was hashed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The working directory is missing, not one, or closed to the user.
    #[error("working directory `{}`: {error}; create it, or correct `cwd`", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The kernel would not execute the program.
    #[error("`{}` cannot be executed{}: {error}; {hint}", path.display(), .user.as_ref().map(|name| format!(" as `{name}`")).unwrap_or_default())]
    Execute {
        /// The program.
        path: PathBuf,
        /// As whom, if not as ourselves.
        user: Option<String>,
        /// Why.
        error: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// The machine refused something else that is needed.
    #[error("{what}: {error}; look at the machine's limits (processes, open files, memory, disk) and try again")]
    Machine {
        /// What was being done.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
}

/// What [`Control`]s and the supervising thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tree: Tree,
    /// Wakes the supervising thread.
    pub(super) wake: OwnedFd,
    pub(super) wishes: Mutex<Wishes>,
    /// A service's output, if it is to be wiped when it is let go.
    wipe: Option<File>,
}

/// What was asked of a step.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Since when it is to be dead.
    pub(super) killed: Option<Instant>,
    /// When what has not ended by SIGTERM is to be killed.
    pub(super) kill_at: Option<Instant>,
    /// Whether the supervising thread is through.
    pub(super) ended: bool,
}

/// Starts a command in a tree of its own and returns when its program runs. `name` is the attempt's, such as
/// `change-1`: letters, digits, `-` and `_`, never used before in this run.
///
/// The calling thread must live as long as the step: the kernel kills the main process when the thread that started it
/// ends (that is how a step dies with us). `on_end` is called once, on a thread of its own, when the step has ended.
///
/// # Errors
/// When nothing was started, in words.
pub fn start(
    containment: &Containment,
    name: &str,
    command: &Command,
    output: OutputPlan,
    on_end: Box<dyn FnOnce(Ended) + Send>,
) -> Result<Running, StartError> {
    let machine = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| StartError::Machine { what, error }
    };
    let tree =
        containment.plant(name, Strays::Claimed).map_err(machine("a control group for the step cannot be made"))?;
    let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|error| machine("the step cannot be followed")(error.into()))?;

    let redact = output.redact.filter(|redact| !redact.redactions.is_empty());
    let redactions = redact.as_ref().map(|redact| &redact.redactions);
    let open_streams = || match &output.leftovers {
        Leftovers::Fail => {
            let (from_stdout, stdout) = output_pipe(command)?;
            let (from_stderr, stderr) = output_pipe(command)?;
            let stream = || Stream::new(&output.secrets, redactions);
            let sources = vec![Source::pipe(from_stdout, stream()), Source::pipe(from_stderr, stream())];
            Ok::<_, io::Error>((stdout, stderr, sources, None))
        }
        Leftovers::Service { output: path } => {
            let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(path)?;
            give_to(file.as_fd(), command)?;
            let stdout = OwnedFd::from(file.try_clone()?);
            let stderr = OwnedFd::from(file.try_clone()?);
            let is_plain = output.secrets.is_empty() && redactions.is_none();
            let wipe = if is_plain { None } else { Some(file.try_clone()?) };
            Ok((stdout, stderr, vec![Source::file(file, Stream::new(&output.secrets, redactions))], wipe))
        }
    };
    let (stdout, stderr, sources, wipe) = open_streams().map_err(machine("the step's output cannot be received"))?;

    let begun = Instant::now();
    let mark = containment.mark(name);
    let launched = launch(command, &mark, containment.killability(), &tree, &stdout, &stderr)?;
    drop((stdout, stderr));
    let pid = launched.pid;
    let shared = Arc::new(Shared { tree, wake, wishes: Mutex::default(), wipe });
    let control = Control { shared: Arc::clone(&shared) };
    let list = redact.map(|redact| List::new(redact.list, redact.redactions.names()));
    let recorder = Recorder::new(output.transcript, list, begun, output.on_output, output.on_trouble);
    let handle = launched.handle.try_clone().map_err(|error| {
        abort(&shared, &launched);
        machine("the step cannot be followed")(error)
    })?;
    let supervisor = Supervisor::new(Arc::clone(&shared), pid, handle, sources, recorder, output.leftovers, begun);
    if let Err(error) = containment.crew().run(Box::new(move || supervisor.run(on_end))) {
        abort(&shared, &launched);
        return Err(machine("a thread to follow the step cannot be started")(error));
    }
    Ok(Running { control, pid })
}

/// Ends a step that was started but cannot be followed.
fn abort(shared: &Shared, launched: &Launched) {
    // If it cannot be killed now, dropping the tree tries on.
    let _killed = shared.tree.kill();
    spawn::reap(&launched.handle);
    shared.tree.main_is_gone(launched.pid);
}

impl Running {
    /// What freezes and ends it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The pid of its main process. It is not given to another process before [`Ended`] was reported.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

impl Control {
    /// Freezes every process of the step and waits, two seconds at most, until all are. May be called again. A frozen
    /// step stays frozen until it is killed.
    pub fn freeze(&self) -> Frozen {
        let begun = Instant::now();
        let outcome = self.shared.tree.freeze();
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        match (outcome, self.shared.tree.pids()) {
            (Ok(()), Ok(pids)) => Frozen { micros, processes: pids.len(), trouble: None },
            (Err(error), pids) => {
                Frozen { micros, processes: pids.map_or(0, |pids| pids.len()), trouble: Some(error.to_string()) }
            }
            (Ok(()), Err(error)) => Frozen { micros, processes: 0, trouble: Some(error.to_string()) },
        }
    }

    /// Sends SIGKILL to every process of the step. Frozen ones do not run one more instruction.
    pub fn kill(&self) {
        self.shared.wishes().killed.get_or_insert_with(Instant::now);
        // The supervising thread tries again, and names survivors.
        let _killed = self.shared.tree.kill();
        self.shared.wake();
    }

    /// Asks every process of the step to end, by SIGTERM, and kills what has not ended after `grace`. Returns at once.
    /// A frozen step cannot hear: it is killed when `grace` is over.
    pub fn terminate(&self, grace: Duration) {
        let mut wishes = self.shared.wishes();
        if wishes.ended {
            drop(wishes);
            self.kill();
            return;
        }
        let kill_at = Instant::now() + grace;
        wishes.kill_at = Some(wishes.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
        drop(wishes);
        // What cannot be asked is killed when the grace is over.
        let _asked = self.shared.tree.signal(Signal::TERM);
        self.shared.wake();
    }

    /// Whether this process is one of the step's right now.
    pub fn contains(&self, pid: u32) -> bool {
        self.shared.tree.pids().is_ok_and(|pids| pids.contains(&pid))
    }

    /// The living processes of the step; empty also when they cannot be listed.
    pub fn processes(&self) -> Vec<Leftover> {
        self.shared.processes()
    }

    /// Waits until no process of the step lives, `bound` at most; says which still do.
    pub fn wait_until_empty(&self, bound: Duration) -> Vec<Leftover> {
        let begun = Instant::now();
        loop {
            if self.shared.tree.is_empty().unwrap_or(false) {
                return Vec::new();
            }
            if begun.elapsed() >= bound {
                return self.processes();
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Lets the processes that are left go, after a step that starts a service: they are moved to the control group that
    /// we are in, and are no longer the step's. If there are secrets, or rules of what is removed, the service's output so far, which is in the
    /// transcript, is wiped from its file. Returns who was let go.
    ///
    /// # Errors
    /// When they could not be moved; they are then still the step's.
    pub fn let_go(&self) -> io::Result<Vec<Leftover>> {
        let leaving = self.processes();
        self.shared.tree.let_go()?;
        if let Some(file) = &self.shared.wipe {
            file.set_len(0)?;
        }
        Ok(leaving)
    }
}

impl Shared {
    pub(super) fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn processes(&self) -> Vec<Leftover> {
        let listed = self.tree.processes().unwrap_or_default();
        listed.into_iter().map(|(pid, name)| Leftover { pid, name }).collect()
    }

    fn wake(&self) {
        // A counter that is full wakes as well.
        let _woken = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

/// Starts the command's program in this tree. `mark` goes into its environment.
pub(super) fn launch(
    command: &Command,
    mark: &str,
    killability: Killability,
    tree: &Tree,
    stdout: &OwnedFd,
    stderr: &OwnedFd,
) -> Result<Launched, StartError> {
    let us = rustix::process::geteuid();
    let user = (command.user.uid != us.as_raw()).then_some(&command.user);
    if let Some(user) = user
        && !us.is_root()
    {
        let program = command.program.path().display().to_string();
        return Err(StartError::NotRoot { program, current: us.as_raw().to_string(), wanted: user.name.clone() });
    }
    command.program.check_unchanged()?;

    let mut argv = Vec::with_capacity(command.argv.len());
    for (number, argument) in command.argv.iter().enumerate() {
        argv.push(c_string(argument.as_bytes(), || format!("argument {number}"))?);
    }
    let mut env = vec![c_string(format!("{MARK}={mark}").as_bytes(), || format!("`{MARK}`"))?];
    for (name, value) in command.environment() {
        if name.is_empty() || name.contains('=') {
            let what = format!("the variable `{}`", name.escape_debug());
            return Err(StartError::NotPassable { what, problem: "a name is not empty and has no `=`" });
        }
        env.push(c_string(format!("{name}={value}").as_bytes(), || format!("the variable `{name}`"))?);
    }
    let cwd = c_string(command.cwd.as_os_str().as_bytes(), || "the working directory".to_owned())?;

    let machine = |what: &str, error: io::Error| StartError::Machine { what: what.to_owned(), error };
    let stdin = stdin(&command.stdin).map_err(|error| machine("standard input cannot be prepared", error))?;
    let start = |entry: Entry<'_>| {
        spawn::launch(&Launch {
            program: command.program.file().as_fd(),
            format: command.program.format(),
            script_path: command.program.script_path(),
            argv: &argv,
            env: &env,
            cwd: &cwd,
            stdin: stdin.as_fd(),
            stdout: stdout.as_fd(),
            stderr: stderr.as_fd(),
            entry,
            user,
            killability,
        })
    };
    let launched = tree
        .enter(start)
        .map_err(|error| machine("the step's control group cannot be entered", error))?
        .map_err(|failure| explain(failure, command, user.map(|user| user.name.clone())))?;
    if let Err(error) = tree.adopt(launched.pid) {
        // It cannot be followed by the walk, so it is ended by its own handle.
        let _killed = rustix::process::pidfd_send_signal(&launched.handle, Signal::KILL);
        spawn::reap(&launched.handle);
        tree.main_is_gone(launched.pid);
        return Err(machine("the step's process cannot be followed", error));
    }
    Ok(launched)
}

/// Both ends of a pipe for output, ours first.
pub(super) fn output_pipe(command: &Command) -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&ours, rustix::fs::OFlags::NONBLOCK)?;
    give_to(theirs.as_fd(), command)?;
    Ok((ours, theirs))
}

/// Makes another user the owner of a pipe or file that it gets as output, so that it can open `/dev/stderr`.
fn give_to(descriptor: rustix::fd::BorrowedFd<'_>, command: &Command) -> io::Result<()> {
    let us = rustix::process::geteuid();
    if us.is_root() && command.user.uid != us.as_raw() {
        let owner = rustix::fs::Uid::from_raw(command.user.uid);
        rustix::fs::fchown(descriptor, Some(owner), None)?;
    }
    Ok(())
}

/// Bytes come in an unnamed file in memory, sealed: a program can read it at its own pace and nobody has to feed it.
fn stdin(stdin: &Stdin) -> io::Result<OwnedFd> {
    match stdin {
        Stdin::Empty => Ok(File::open("/dev/null")?.into()),
        Stdin::Bytes(bytes) => {
            let memory = rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
            let mut written = 0;
            while written < bytes.len() {
                written += rustix::io::pwrite(&memory, &bytes[written..], written as u64)?;
            }
            rustix::fs::fcntl_add_seals(
                &memory,
                SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
            )?;
            Ok(memory)
        }
    }
}

fn c_string(bytes: &[u8], what: impl Fn() -> String) -> Result<CString, StartError> {
    CString::new(bytes).map_err(|_| StartError::NotPassable { what: what(), problem: "it contains a NUL byte" })
}

/// Says in words what stopped the child before its program ran.
fn explain(failure: LaunchFailure, command: &Command, user: Option<String>) -> StartError {
    let LaunchFailure { stage, error } = failure;
    let what = match stage {
        Stage::Directory => return StartError::Directory { path: command.cwd.clone(), error },
        Stage::Execute => {
            let hint = match (error.raw_os_error(), command.program.format()) {
                (Some(libc::ENOEXEC), _) => {
                    "it is not a program for this machine; a script needs `#!` and its interpreter"
                }
                (Some(libc::ENOENT), Format::Script) => "the interpreter in its first line does not exist; install it",
                (Some(libc::ENOENT), Format::Binary) => "the loader or interpreter it needs does not exist; install it",
                (Some(libc::E2BIG), _) => "its arguments and variables are too long; pass them as a file or by stdin",
                (Some(libc::EACCES), _) => "look at its mode and at the mount options of its file system (noexec)",
                (_, _) => "look at the file and try it by hand",
            };
            return StartError::Execute { path: command.program.path().to_owned(), user, error, hint };
        }
        Stage::Clone => "a process cannot be made".to_owned(),
        Stage::JoinGroup => "the step's process cannot enter its control group".to_owned(),
        Stage::Session => "the step's process cannot have a session of its own".to_owned(),
        Stage::Descriptors => "the step's standard input and output cannot be set up".to_owned(),
        Stage::Groups | Stage::Group | Stage::User => format!("user `{}` cannot be become", command.user.name),
        Stage::ParentDeath => "the step's process cannot be tied to ours".to_owned(),
    };
    StartError::Machine { what, error }
}
