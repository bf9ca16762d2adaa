//! Threads for probes that can take long: each asks one part of one fact, again and again for as long as the fact is held.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::part::any_leaf;
use super::{PERIOD, Shared, boot_time, is_blind};
use crate::history::event::Verdict;
use crate::id::Fact;
use crate::probe::evidence::Look;
use crate::probe::look;
use crate::runbook::duration;
use crate::runbook::model::Probe;

/// The thread of one slow part.
pub(super) struct SlowThread {
    thread: Option<JoinHandle<()>>,
}

/// What the thread is to do next.
enum Next {
    /// Look; this is the fact's hold that it looks for.
    Look(u64),
    /// End.
    End,
}

/// How a part is asked.
struct Rhythm {
    /// How long it waits between two looks.
    every: Duration,
    /// How long a look may take.
    longest: Duration,
}

impl SlowThread {
    /// Starts the thread. Where the system gives none, the fact is blind as soon as it is held.
    pub(super) fn start(shared: &Arc<Shared>, fact: &Fact, arming: u64, probe: Probe) -> Self {
        let (shared, fact) = (Arc::clone(shared), fact.clone());
        let started = Builder::new().name("watcher-slow".to_owned()).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| ask(&shared, &fact, arming, &probe))).is_err() {
                let why = "the watcher itself failed; this is a mistake of the program";
                let notices = shared.lock().all_blind(why, Instant::now());
                shared.tell(notices);
            }
        });
        Self { thread: started.ok() }
    }

    /// Whether there is a thread.
    pub(super) fn is_running(&self) -> bool {
        self.thread.is_some()
    }

    /// Waits for its end, which comes within the time-outs of its probes.
    pub(super) fn join(self) {
        if let Some(thread) = self.thread {
            thread.join().ok();
        }
    }
}

fn ask(shared: &Shared, fact: &Fact, arming: u64, probe: &Probe) {
    let rhythm = rhythm(probe);
    let told_by = format!("a look every {}", duration::show(rhythm.every));
    let mut last: Option<(u64, Duration)> = None;
    loop {
        let hold = match wait(shared, fact, arming, last.map(|(hold, _)| hold), rhythm.every) {
            Next::Look(hold) => hold,
            Next::End => return,
        };
        let woke_at = Instant::now();
        let began = boot_time();
        let gap =
            last.filter(|(before, _)| *before == hold).map_or(Duration::ZERO, |(_, ended)| began.saturating_sub(ended));
        let look = look(probe, &shared.view);
        let ended = boot_time();
        last = Some((hold, ended));
        let took = ended.saturating_sub(began);
        let notices = if look.verdict != Verdict::Holds {
            shared.lock().broke(fact, hold, &look, &told_by, woke_at)
        } else if is_blind(rhythm.every, gap) {
            shared.lock().blind(fact, hold, gap, &told_by, woke_at)
        } else if took > rhythm.longest && is_blind(rhythm.every, took.saturating_sub(rhythm.longest)) {
            shared.lock().blind(fact, hold, took, &told_by, woke_at)
        } else {
            Vec::new()
        };
        shared.tell(notices);
    }
}

/// Waits until a look is due: at once when a new hold began, else when the time has come.
fn wait(shared: &Shared, fact: &Fact, arming: u64, last_hold: Option<u64>, every: Duration) -> Next {
    let due = Instant::now() + every;
    let mut inner = shared.lock();
    loop {
        if shared.is_stopping() || !inner.is_current(fact, arming) {
            return Next::End;
        }
        match inner.hold_of(fact) {
            Some(hold) if last_hold != Some(hold) || Instant::now() >= due => return Next::Look(hold),
            Some(_) => {
                let left = due.saturating_duration_since(Instant::now());
                inner = shared.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            None => inner = shared.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

fn rhythm(probe: &Probe) -> Rhythm {
    let mut rhythm = Rhythm { every: Duration::MAX, longest: Duration::ZERO };
    any_leaf(probe, &mut |leaf| {
        let (every, timeout) = match leaf {
            Probe::Command(probe) => (probe.every.max(PERIOD), probe.timeout),
            Probe::Port(probe) => (PERIOD, probe.timeout),
            Probe::Process(_) | Probe::File(_) | Probe::DataDir(_) | Probe::All(_) | Probe::Any(_) | Probe::Not(_) => {
                (Duration::MAX, Duration::ZERO)
            }
        };
        rhythm.every = rhythm.every.min(every);
        rhythm.longest += timeout;
        false
    });
    rhythm
}

/// What is seen of a slow part for which there is no thread.
pub(super) fn no_thread() -> Look {
    Look::unknown("the system gives no thread to ask for it; see `ulimit -u` and `cat /proc/sys/kernel/threads-max`")
}
