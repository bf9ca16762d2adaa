//! Looks at facts on a thread of its own, so that a slow probe never keeps the one loop from hearing a signal or a break.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::driver::facts::{Facts, Pauses};
use crate::history::event::{Sight, Verdict};
use crate::id::Fact;
use crate::runbook::model::Side;

/// How often a rest looks whether it was withdrawn.
const REST_LOOK: Duration = Duration::from_millis(50);

/// What to look at.
pub enum Job {
    /// Once, before a step.
    Prepare {
        /// Facts that must hold.
        requires: Vec<Fact>,
        /// Those of them whose hold begins here.
        hold: Vec<Fact>,
        /// Facts that let the step pass.
        ensures: Vec<Fact>,
    },
    /// Once, for a person.
    Examine(Vec<Fact>),
    /// Not at all: wait for so long.
    Rest(Duration),
    /// Until all hold, or for as long as this.
    Await {
        /// The facts.
        facts: Vec<Fact>,
        /// Those of them whose hold begins when they are seen to hold.
        hold: Vec<Fact>,
        /// How long.
        within: Duration,
    },
}

/// What was seen.
pub enum Looked {
    /// Of [`Job::Prepare`].
    Prepared {
        /// Of the required facts.
        requires: Vec<Sight>,
        /// Of the ensured facts.
        ensures: Vec<Sight>,
    },
    /// Of [`Job::Examine`].
    Examined(Vec<Sight>),
    /// [`Job::Rest`] is over.
    Rested,
    /// Of [`Job::Await`].
    Awaited {
        /// Of the facts, last.
        ensures: Vec<Sight>,
    },
}

/// The thread that looks.
pub struct Looker {
    jobs: Sender<(u64, Job)>,
    /// The number of the newest job that counts; what came of an older one is dropped.
    counts: Arc<AtomicU64>,
}

impl Looker {
    /// Starts it; each result is handed to `tell`.
    pub fn new(facts: Arc<Facts>, tell: impl Fn(u64, Looked) + Send + 'static) -> Self {
        let (jobs, inbox) = channel();
        let counts = Arc::new(AtomicU64::new(0));
        let newest = Arc::clone(&counts);
        std::thread::spawn(move || work(&facts, &inbox, &newest, tell));
        Self { jobs, counts }
    }

    /// Hands it a job, and gives the number that its result will have.
    pub fn look(&self, job: Job) -> u64 {
        let number = self.counts.fetch_add(1, Ordering::AcqRel) + 1;
        // The thread ends only when this sender is dropped.
        let _ = self.jobs.send((number, job));
        number
    }

    /// Gives up whatever it does: no result of it counts any more.
    pub fn withdraw(&self) {
        self.counts.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a result with this number still counts.
    pub fn counts(&self, number: u64) -> bool {
        self.counts.load(Ordering::Acquire) == number
    }
}

fn work(facts: &Facts, inbox: &Receiver<(u64, Job)>, newest: &AtomicU64, tell: impl Fn(u64, Looked)) {
    while let Ok((number, job)) = inbox.recv() {
        let withdrawn = || newest.load(Ordering::Acquire) != number;
        if withdrawn() {
            continue;
        }
        match job {
            Job::Prepare { requires, hold, ensures } => {
                let look = |fact: &Fact| {
                    if hold.contains(fact) { facts.establish(fact) } else { facts.look(fact, Side::Before) }
                };
                let requires = requires.iter().map(look).collect();
                let ensures = ensures.iter().map(|fact| facts.look(fact, Side::Before)).collect();
                tell(number, Looked::Prepared { requires, ensures });
            }
            Job::Examine(examined) => {
                let sights = examined.iter().map(|fact| facts.look(fact, Side::Before)).collect();
                tell(number, Looked::Examined(sights));
            }
            Job::Rest(pause) => {
                let until = Instant::now() + pause;
                while Instant::now() < until && !withdrawn() {
                    std::thread::sleep(REST_LOOK.min(until.saturating_duration_since(Instant::now())));
                }
                tell(number, Looked::Rested);
            }
            Job::Await { facts: awaited, hold, within } => {
                tell(number, Looked::Awaited { ensures: wait_for(facts, &awaited, &hold, within, &withdrawn) });
            }
        }
    }
}

fn wait_for(
    facts: &Facts,
    awaited: &[Fact],
    hold: &[Fact],
    within: Duration,
    withdrawn: &impl Fn() -> bool,
) -> Vec<Sight> {
    let until = Instant::now() + within;
    let mut pauses = Pauses::new();
    for fact in hold {
        facts.arm(fact);
    }
    loop {
        let begun = Instant::now();
        let mut sights: Vec<Sight> = awaited.iter().map(|fact| facts.look(fact, Side::Before)).collect();
        if sights.iter().all(|sight| sight.verdict == Verdict::Holds) {
            // Only now, when all of them hold, do the holds begin.
            for sight in sights.iter_mut().filter(|sight| hold.contains(&sight.fact)) {
                *sight = facts.establish(&sight.fact);
            }
            return sights;
        }
        if Instant::now() >= until || withdrawn() {
            return sights;
        }
        pauses.pause(begun.elapsed(), until);
    }
}
