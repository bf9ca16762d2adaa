//! Watches: facts that are looked at for as long as they are held.
//!
//! Promises: once [`Watches::arm`] has returned, a break that comes after the beginning of the last [`Watches::look`] is told by
//! a [`Notice`], at the latest when the fact is held, also when it mended itself, as finely as the watch sees. What a watch could
//! have missed is told too (blind), and counts as broken. A held fact is told of once; [`Watches::hold`] begins anew.
//!
//! How finely it sees: events (the kernel's process events, inotify, the end of a process by pidfd) make a watch look at once; a poll
//! every 50 ms is the ground under them. A probe that can take long (`command`, `port`) is asked in a thread of its own, `command`
//! as often as its `every` says. See docs/probes.md.

mod connector;
mod folders;
mod part;
mod slow;
mod state;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fd::OwnedFd;
use rustix::process::setpriority_process;
use rustix::thread::gettid;

use super::{View, look};
use crate::history::event::{Sight, Verdict};
use crate::id::Fact;
use crate::runbook::model::{Side, State};
use slow::SlowThread;
use state::{Inner, Source};

/// How often the built-in probes are looked at.
const PERIOD: Duration = Duration::from_millis(50);

/// The scheduling priority of the watcher thread.
const NICENESS: i32 = -10;

/// How often a look is taken again because the watch saw a break meanwhile.
const LOOKS: usize = 5;

/// A held fact broke, or could have broken unseen.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The fact.
    pub fact: Fact,
    /// What is the matter.
    pub kind: NoticeKind,
    /// How the watch learned of it, in words.
    pub told_by: String,
    /// When the watch woke to look.
    pub woke_at: Instant,
    /// When the look that told had ended.
    pub seen_at: Instant,
}

/// What is the matter with a held fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeKind {
    /// It was seen broken, or could no longer be told.
    Broke {
        /// What was seen.
        sight: Sight,
    },
    /// The watch did not look for this long, or events were lost since it last looked, this long ago.
    Blind {
        /// How long.
        gap: Duration,
    },
}

/// Watches over facts.
pub struct Watches {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    description: String,
}

/// What the watcher thread, the threads of slow probes and the callers share.
struct Shared {
    inner: Mutex<Inner>,
    /// Told when a fact is held or let go, for the threads of slow probes.
    changed: Condvar,
    view: View,
    on_notice: Arc<dyn Fn(&Notice) + Send + Sync>,
    stopping: AtomicBool,
    epoll: Arc<OwnedFd>,
    wake: OwnedFd,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of what was found. Never called while the lock is held, so that whoever is told may use the watches.
    fn tell(&self, notices: Vec<Notice>) {
        for notice in &notices {
            (self.on_notice)(notice);
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

impl Watches {
    /// Starts the watcher. `on_notice` is called from its threads, or from the thread that calls a method here, as soon as a held
    /// fact is seen broken; it should return quickly. The view's membership test must not use the watches.
    ///
    /// # Errors
    /// The system gives no thread or descriptor, or `/proc` cannot be read.
    pub fn new(view: View, on_notice: Arc<dyn Fn(&Notice) + Send + Sync>) -> io::Result<Self> {
        Self::with_connector(view, on_notice, connector::Connector::open())
    }

    fn with_connector(
        view: View,
        on_notice: Arc<dyn Fn(&Notice) + Send + Sync>,
        connector: Result<connector::Connector, String>,
    ) -> io::Result<Self> {
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&*epoll, &wake, Source::Wake.data(), epoll::EventFlags::IN)?;
        let description = match &connector {
            Ok(_) => "the kernel's process events, inotify, and a poll every 50 ms".to_owned(),
            Err(why) => format!("inotify and a poll every 50 ms; no process events of the kernel: {why}"),
        };
        let inner = Inner::new(view.clone(), Arc::clone(&epoll), connector.ok())?;
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            view,
            on_notice,
            stopping: AtomicBool::new(false),
            epoll,
            wake,
        });
        let for_thread = Arc::clone(&shared);
        let thread = Builder::new().name("watcher".to_owned()).spawn(move || watch(&for_thread))?;
        Ok(Self { shared, thread: Some(thread), description })
    }

    /// What the watches rest on here, in words.
    pub fn describe(&self) -> String {
        self.description.clone()
    }

    /// Arms the watch of a fact: when this returns, nothing that happens from now on is missed. Does nothing for a fact that is
    /// armed already.
    pub fn arm(&self, fact: &Fact, state: &State) {
        let mut inner = self.shared.lock();
        if inner.is_armed(fact, state) {
            return;
        }
        let (arming, slow) = inner.arm(fact, state);
        let threads = slow.into_iter().map(|probe| SlowThread::start(&self.shared, fact, arming, probe)).collect();
        inner.keep_threads(fact, threads);
    }

    /// From now on a break of this fact is a notice, once. A break seen since the beginning of the last look at it is told right
    /// away.
    pub fn hold(&self, fact: &Fact) {
        let notices = self.shared.lock().hold(fact);
        self.shared.changed.notify_all();
        self.shared.tell(notices);
    }

    /// Lets a fact go. No notice of it comes any more once this has returned, but for one that is being told at this moment.
    pub fn disarm(&self, fact: &Fact) {
        self.shared.lock().disarm(fact);
        self.shared.changed.notify_all();
    }

    /// A fresh and thorough look at an armed fact, taken now. Where the watch sees a break while the look is taken, it is taken again,
    /// so that a state that is just coming true is not taken for one that has just broken.
    pub fn look(&self, fact: &Fact, side: Side) -> Sight {
        let sight = |verdict, evidence| Sight { fact: fact.clone(), verdict, evidence };
        let mut seen_meanwhile = String::new();
        for _ in 0..LOOKS {
            let (probe, notices) = self.shared.lock().before_look(fact, side);
            self.shared.tell(notices);
            let Some(probe) = probe else {
                let evidence = "it was not looked at: its watch is not armed; this is a mistake of the program";
                return sight(Verdict::Unknown, evidence.to_owned());
            };
            let seen = look(&probe, &self.shared.view);
            if seen.verdict != Verdict::Holds {
                return sight(seen.verdict, seen.evidence);
            }
            match self.shared.lock().seen_broken(fact) {
                None => return sight(seen.verdict, seen.evidence),
                Some(evidence) => seen_meanwhile = evidence,
            }
        }
        sight(Verdict::Broken, format!("it does not stay so: {seen_meanwhile}"))
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes()).ok();
        let threads = self.shared.lock().take_threads();
        self.shared.changed.notify_all();
        // A thread that panicked has told so by a notice.
        for thread in threads {
            thread.join();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The watcher thread. Should it ever fail, every held fact is told of as blind.
fn watch(shared: &Shared) {
    if catch_unwind(AssertUnwindSafe(|| watch_until_stopped(shared))).is_err() {
        let notices =
            shared.lock().all_blind("the watcher itself failed; this is a mistake of the program", Instant::now());
        shared.tell(notices);
    }
}

fn watch_until_stopped(shared: &Shared) {
    // A step that takes all processors must not make its own watch late. Only root may; without, it is as quick as it can be.
    setpriority_process(Some(gettid()), NICENESS).ok();
    let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
    let mut next_poll = Instant::now() + PERIOD;
    let mut next_wake = next_poll;
    while !shared.is_stopping() {
        events.clear();
        let wait = next_wake.saturating_duration_since(Instant::now());
        let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        // An interrupted wait, or none at all, only means to look earlier.
        let waited = epoll::wait(&*shared.epoll, spare_capacity(&mut events), Some(&wait));
        let woke_at = Instant::now();
        let mut inner = shared.lock();
        let mut notices = inner.react(&events, woke_at);
        if woke_at >= next_poll || waited.is_err() {
            notices.extend(inner.poll(woke_at));
            next_poll = Instant::now() + PERIOD;
        }
        next_wake = inner.next_alert().map_or(next_poll, |alert| alert.min(next_poll));
        drop(inner);
        shared.tell(notices);
    }
}

/// Whether a watch that is to look every `period` and did not for `gap` was blind.
fn is_blind(period: Duration, gap: Duration) -> bool {
    gap > (2 * period).max(Duration::from_secs(1))
}

/// The time since the machine started, which goes on while it sleeps.
fn boot_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests;
