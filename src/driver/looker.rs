//! Looks at facts on a thread of its own, so that a slow probe never keeps the one loop from hearing a signal or a break.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::driver::facts::{Facts, Pauses};
use crate::history::event::{Sight, Verdict};
use crate::id::Fact;
use crate::runbook::model::Side;

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
    /// Of [`Job::Await`].
    Awaited {
        /// Of the facts, last.
        ensures: Vec<Sight>,
    },
}

/// The thread that looks.
pub struct Looker {
    jobs: Sender<Job>,
    withdrawn: Arc<AtomicBool>,
}

impl Looker {
    /// Starts it; each result is handed to `tell`.
    pub fn new(facts: Arc<Facts>, tell: impl Fn(Looked) + Send + 'static) -> Self {
        let (jobs, inbox) = channel();
        let withdrawn = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&withdrawn);
        std::thread::spawn(move || work(&facts, &inbox, &flag, tell));
        Self { jobs, withdrawn }
    }

    /// Hands it a job.
    pub fn look(&self, job: Job) {
        // The thread ends only when this sender is dropped.
        let _ = self.jobs.send(job);
    }

    /// Gives up waiting.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Relaxed);
    }
}

fn work(facts: &Facts, inbox: &Receiver<Job>, withdrawn: &AtomicBool, tell: impl Fn(Looked)) {
    while let Ok(job) = inbox.recv() {
        match job {
            Job::Prepare { requires, hold, ensures } => {
                let look = |fact: &Fact| {
                    if hold.contains(fact) { facts.establish(fact) } else { facts.look(fact, Side::Before) }
                };
                let requires = requires.iter().map(look).collect();
                let ensures = ensures.iter().map(|fact| facts.look(fact, Side::Before)).collect();
                tell(Looked::Prepared { requires, ensures });
            }
            Job::Await { facts: awaited, hold, within } => {
                tell(Looked::Awaited { ensures: wait_for(facts, &awaited, &hold, within, withdrawn) });
            }
        }
    }
}

fn wait_for(facts: &Facts, awaited: &[Fact], hold: &[Fact], within: Duration, withdrawn: &AtomicBool) -> Vec<Sight> {
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
        if Instant::now() >= until || withdrawn.load(Ordering::Relaxed) {
            return sights;
        }
        pauses.pause(begun.elapsed(), until);
    }
}
