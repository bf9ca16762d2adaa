//! Short commands whose output is wanted: probes. The whole tree is killed at the time-out, and what a command leaves
//! behind is killed when it ends, so neither a hanging command nor a grandchild that keeps the pipe can hang us.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{WaitId, WaitIdOptions};
use rustix::rand::GetRandomFlags;

use crate::exec::command::Command;
use crate::exec::containment::Containment;
use crate::exec::process::{self, Exit, StartError};
use crate::exec::spawn::{self, Killability, Launched};
use crate::exec::tree::Tree;
use crate::exec::walk::{Family, Strays, WalkTree};

/// How long SIGKILL may take before a process counts as hanging in the kernel.
const KILL_BOUND: Duration = Duration::from_secs(5);
/// How long the processes that a command leaves are waited for after they were killed.
const LEAVE_BOUND: Duration = Duration::from_millis(500);

/// What came of a short command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// How it ended.
    pub ending: CapturedEnding,
    /// The beginning of its standard output, up to the limit.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error, up to the limit.
    pub stderr: Vec<u8>,
    /// How many bytes of both were over the limit and are lost.
    pub lost: u64,
}

/// How a short command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CapturedEnding {
    /// It exited with this code.
    Exited(i32),
    /// It was ended by this signal, which was not ours.
    Signalled(i32),
    /// It ran longer than it may and was killed with all its tree.
    TimedOut,
    /// It was never started; why, in words.
    NotStarted(String),
}

struct Stream {
    end: Option<OwnedFd>,
    kept: Vec<u8>,
}

/// Runs a command to its end, `timeout` at most, and keeps the first `limit` bytes of each of its streams. With a
/// containment it is contained as a step is, under a name never used before in the run; without, its processes are found
/// by walking `/proc`.
pub fn run_captured(
    command: &Command,
    timeout: Duration,
    limit: usize,
    containment: Option<(&Containment, &str)>,
) -> Captured {
    match try_run(command, timeout, limit, containment) {
        Ok(captured) => captured,
        Err(error) => Captured {
            ending: CapturedEnding::NotStarted(error.to_string()),
            stdout: Vec::new(),
            stderr: Vec::new(),
            lost: 0,
        },
    }
}

fn try_run(
    command: &Command,
    timeout: Duration,
    limit: usize,
    containment: Option<(&Containment, &str)>,
) -> Result<Captured, StartError> {
    let machine = |what: &str, error| StartError::Machine { what: what.to_owned(), error };
    let (tree, mark, killability) = if let Some((containment, name)) = containment {
        let tree = containment
            .plant(name, Strays::Ignored)
            .map_err(|error| machine("a control group cannot be made", error))?;
        (tree, containment.mark(name), containment.killability())
    } else {
        let mut random = [0_u8; 8];
        rustix::rand::getrandom(&mut random[..], GetRandomFlags::empty())
            .map_err(|error| machine("the kernel gives no random bytes", error.into()))?;
        let mark = format!("probe/{:016x}", u64::from_ne_bytes(random));
        (
            Tree::Walk(WalkTree::new(Arc::new(Family::plain()), mark.clone(), Strays::Ignored)),
            mark,
            Killability::Inherited,
        )
    };
    let pipes = process::output_pipe(command).and_then(|first| Ok((first, process::output_pipe(command)?)));
    let ((from_stdout, stdout), (from_stderr, stderr)) =
        pipes.map_err(|error| machine("the command's output cannot be received", error))?;
    let begun = Instant::now();
    let launched = process::launch(command, &mark, killability, &tree, &stdout, &stderr)?;
    drop((stdout, stderr));

    let mut streams = [from_stdout, from_stderr].map(|end| Stream { end: Some(end), kept: Vec::new() });
    let mut lost = 0;
    let mut killed = None;
    let exit = loop {
        if let Some(exit) = exit_of(&launched) {
            break exit;
        }
        let left = if let Some(since) = killed {
            KILL_BOUND.saturating_sub(Instant::now().duration_since(since))
        } else {
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                killed = Some(Instant::now());
                // If it fails the bound below ends the wait, and the tree is killed again when it is dropped.
                let _killed = tree.kill();
                continue;
            }
            left
        };
        if left.is_zero() {
            break Exit::StillThere;
        }
        wait(&launched, &streams, left);
        lost += read(&mut streams, limit);
    };
    if !tree.is_empty().unwrap_or(false) {
        let _killed = tree.kill();
        let since = Instant::now();
        while !tree.is_empty().unwrap_or(false) && since.elapsed() < LEAVE_BOUND {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    lost += read(&mut streams, limit);
    if exit != Exit::StillThere {
        spawn::reap(&launched.handle);
        tree.main_is_gone(launched.pid);
    }
    let ending = match exit {
        Exit::StillThere => CapturedEnding::TimedOut,
        Exit::Code(_) | Exit::Signal(_) if killed.is_some() => CapturedEnding::TimedOut,
        Exit::Code(code) => CapturedEnding::Exited(code),
        Exit::Signal(signal) => CapturedEnding::Signalled(signal),
    };
    let [stdout, stderr] = streams.map(|stream| stream.kept);
    Ok(Captured { ending, stdout, stderr, lost })
}

fn exit_of(launched: &Launched) -> Option<Exit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = rustix::process::waitid(WaitId::PidFd(launched.handle.as_fd()), options).ok()??;
    status.exit_status().map(Exit::Code).or_else(|| status.terminating_signal().map(Exit::Signal))
}

/// Waits until the command ends or writes, or the time is over.
fn wait(launched: &Launched, streams: &[Stream], timeout: Duration) {
    let mut polled = vec![PollFd::new(&launched.handle, PollFlags::IN)];
    polled.extend(streams.iter().filter_map(|stream| stream.end.as_ref()).map(|end| PollFd::new(end, PollFlags::IN)));
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    // An interrupted or failed wait only means that the streams are read now.
    let _waited = rustix::event::poll(&mut polled, Some(&timeout));
}

/// Reads what is there, a mebibyte of each stream at most (as much as the pipe holds), and says how much was lost.
fn read(streams: &mut [Stream], limit: usize) -> u64 {
    let mut lost = 0;
    let mut buffer = [0_u8; 16 * 1024];
    for stream in streams {
        for _ in 0..64 {
            let Some(end) = &stream.end else { break };
            match rustix::io::read(end, &mut buffer[..]) {
                Ok(0) => stream.end = None,
                Ok(count) => {
                    let room = count.min(limit.saturating_sub(stream.kept.len()));
                    stream.kept.extend_from_slice(&buffer[..room]);
                    lost += (count - room) as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(_) => stream.end = None,
            }
        }
    }
    lost
}
