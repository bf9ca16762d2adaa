//! The thread that follows a step: reads its output, sees its end, deals with what is left, and reports.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{WaitId, WaitIdOptions};

use crate::exec::process::{Ended, Exit, Leftover, Leftovers, Shared};
use crate::exec::recorder::{Recorder, Stream};
use crate::exec::spawn;

/// How long processes may outlive the main one without being leftovers: a pipeline's last member is just ending.
const SETTLE: Duration = Duration::from_millis(100);
/// How long SIGKILL may take before a process counts as hanging in the kernel.
const KILL_BOUND: Duration = Duration::from_secs(5);
/// How often a service's output file is looked at while nothing else happens.
const FILE_PERIOD: Duration = Duration::from_millis(20);
/// How many bytes a pipe holds once something came through it: a step that writes in bursts waits less for us. Most steps
/// write nothing, and a large pipe costs them.
const PIPE_BYTES: usize = 1024 * 1024;
/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;
/// How much is read from a pipe after the last process of the step has gone: more than any pipe of ours holds. Somebody
/// outside of the step who has the pipe open and writes must not keep us here.
const LAST_BYTES: usize = 2 * 1024 * 1024;

/// Follows one step.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    pid: u32,
    handle: OwnedFd,
    sources: Vec<Source>,
    recorder: Recorder,
    leftovers: Leftovers,
    begun: Instant,
    /// Made when the thread begins to follow: whoever starts the step does not wait for it.
    buffer: Vec<u8>,
}

/// Where output comes from.
pub(super) enum Source {
    Pipe { end: OwnedFd, size: PipeSize, stream: Stream },
    File { file: File, offset: u64, stream: Stream },
}

/// How much a pipe holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PipeSize {
    /// As much as the kernel gave it.
    Given,
    /// [`PIPE_BYTES`], if the kernel let us have it.
    Grown,
}

/// What is waited for besides output and wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// The end of the main process.
    MainToo,
    /// Nothing: the main process has ended, so its handle would wake us at once.
    OutputOnly,
}

/// What one look at a source gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Got {
    Bytes(usize),
    NothingNow,
    End,
}

impl Source {
    pub(super) fn pipe(end: OwnedFd, stream: Stream) -> Self {
        Self::Pipe { end, size: PipeSize::Given, stream }
    }

    pub(super) fn file(file: File, stream: Stream) -> Self {
        Self::File { file, offset: 0, stream }
    }

    /// Reads once, without waiting.
    fn read(&mut self, buffer: &mut [u8], recorder: &mut Recorder) -> Got {
        match self {
            Self::Pipe { end, size, stream } => match rustix::io::read(&*end, &mut *buffer) {
                Ok(0) => Got::End,
                Ok(count) => {
                    if *size == PipeSize::Given {
                        // Ordinary users may have used up their share of big pipes; then a small one does.
                        let _grown = rustix::pipe::fcntl_setpipe_size(&*end, PIPE_BYTES);
                        *size = PipeSize::Grown;
                    }
                    stream.push(&buffer[..count], recorder);
                    Got::Bytes(count)
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Got::NothingNow,
                Err(_) => Got::End,
            },
            Self::File { file, offset, stream } => match file.read_at(buffer, *offset) {
                Ok(0) | Err(_) => Got::NothingNow,
                Ok(count) => {
                    *offset += count as u64;
                    stream.push(&buffer[..count], recorder);
                    Got::Bytes(count)
                }
            },
        }
    }

    fn patience(&self) -> Option<Duration> {
        match self {
            Self::Pipe { stream, .. } | Self::File { stream, .. } => stream.patience(),
        }
    }

    fn stream(&mut self) -> &mut Stream {
        match self {
            Self::Pipe { stream, .. } | Self::File { stream, .. } => stream,
        }
    }
}

impl Supervisor {
    pub(super) fn new(
        shared: Arc<Shared>,
        pid: u32,
        handle: OwnedFd,
        sources: Vec<Source>,
        recorder: Recorder,
        leftovers: Leftovers,
        begun: Instant,
    ) -> Self {
        Self { shared, pid, handle, sources, recorder, leftovers, begun, buffer: Vec::new() }
    }

    /// Follows the step to its end and reports it.
    pub(super) fn run(mut self, on_end: Box<dyn FnOnce(Ended) + Send>) {
        self.buffer = vec![0; READ_BYTES];
        let ending = self.until_the_main_process_ends();
        let duration = self.begun.elapsed();
        let (leftovers, survivors) = self.settle();
        self.read_the_rest();
        if ending != Exit::StillThere {
            spawn::reap(&self.handle);
            self.shared.tree.main_is_gone(self.pid);
        }
        self.shared.wishes().ended = true;
        let output = self.recorder.finish();
        on_end(Ended { ending, duration, output, leftovers, survivors });
    }

    fn until_the_main_process_ends(&mut self) -> Exit {
        loop {
            if let Some(ending) = self.main_ending() {
                return ending;
            }
            let (killed, kill_at) = self.wishes();
            let mut timeout = None;
            if let Some(since) = killed {
                if since.elapsed() > KILL_BOUND {
                    return Exit::StillThere;
                }
                timeout = Some(Duration::from_millis(20));
            } else if let Some(at) = kill_at {
                timeout = Some(at.saturating_duration_since(Instant::now()));
            }
            if self.sources.iter().any(|source| matches!(source, Source::File { .. })) {
                timeout = Some(timeout.map_or(FILE_PERIOD, |other| other.min(FILE_PERIOD)));
            }
            self.pump(Watch::MainToo, timeout);
        }
    }

    /// After the main process has ended: gives the others a moment, then does with them as the step says. Returns who
    /// was left, and who could not be killed.
    fn settle(&mut self) -> (Vec<Leftover>, Vec<Leftover>) {
        let ended = Instant::now();
        let mut pause = Duration::from_micros(50);
        let mut leftovers = Vec::new();
        loop {
            if self.shared.tree.is_empty().unwrap_or(false) {
                return (leftovers, Vec::new());
            }
            let (killed, kill_at) = self.wishes();
            if let Some(since) = killed {
                if since.elapsed() > KILL_BOUND {
                    return (leftovers, self.shared.processes());
                }
                // Again, for what the first kill may have missed where there is no control group.
                let _killed = self.shared.tree.kill();
            } else if kill_at.is_none() && ended.elapsed() >= SETTLE {
                leftovers = self.shared.processes();
                match self.leftovers {
                    Leftovers::Fail => self.kill(),
                    Leftovers::Service { .. } => return (leftovers, Vec::new()),
                }
            }
            self.pump(Watch::OutputOnly, Some(pause));
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// Reads what is in the pipes and files now. Somebody outside may hold them open; that keeps us no longer.
    fn read_the_rest(&mut self) {
        for source in &mut self.sources {
            let mut left = LAST_BYTES;
            while let Got::Bytes(count) = source.read(&mut self.buffer, &mut self.recorder) {
                left = left.saturating_sub(count);
                // A service's file is read to where it ends now; a pipe holds no more than this.
                if left == 0 && matches!(source, Source::Pipe { .. }) {
                    break;
                }
            }
            source.stream().finish(&mut self.recorder);
        }
        self.sources.clear();
    }

    /// What was asked of the step; kills it if its time for ending on its own is over.
    fn wishes(&self) -> (Option<Instant>, Option<Instant>) {
        let wishes = self.shared.wishes();
        let (killed, kill_at) = (wishes.killed, wishes.kill_at);
        drop(wishes);
        if killed.is_none() && kill_at.is_some_and(|at| at <= Instant::now()) {
            self.kill();
        }
        (killed, kill_at)
    }

    fn kill(&self) {
        self.shared.wishes().killed.get_or_insert_with(Instant::now);
        // Tried again by the loop that called; survivors are named.
        let _killed = self.shared.tree.kill();
    }

    /// How the main process ended, if it has. It stays a zombie, so that its pid is not given to another.
    fn main_ending(&self) -> Option<Exit> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = rustix::process::waitid(WaitId::PidFd(self.handle.as_fd()), options).ok()??;
        status.exit_status().map(Exit::Code).or_else(|| status.terminating_signal().map(Exit::Signal))
    }

    /// Waits until there is output, the main process ends, something is asked of the step, or the time is over; then
    /// reads each source once.
    fn pump(&mut self, watch: Watch, timeout: Option<Duration>) {
        let mut polled = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        match watch {
            Watch::MainToo => polled.push(PollFd::new(&self.handle, PollFlags::IN)),
            Watch::OutputOnly => {}
        }
        for source in &self.sources {
            if let Source::Pipe { end, .. } = source {
                polled.push(PollFd::new(end, PollFlags::IN));
            }
        }
        let patience = self.sources.iter().filter_map(Source::patience).min();
        let timeout = [timeout, patience].into_iter().flatten().min().map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        // An interrupted or failed wait only means that the sources are read now.
        let _waited = rustix::event::poll(&mut polled, timeout.as_ref());
        drop(polled);
        let _woken = rustix::io::read(&self.shared.wake, &mut [0_u8; 8][..]);
        let (buffer, recorder) = (&mut self.buffer, &mut self.recorder);
        self.sources.retain_mut(|source| {
            let ended = source.read(buffer, recorder) == Got::End;
            if ended {
                source.stream().finish(recorder);
            } else {
                source.stream().give_if_silent(recorder);
            }
            !ended
        });
    }
}
