//! Looks at facts and programs on a thread of its own, so that a slow probe or a large file never keeps the one loop from hearing a signal
//! or a break.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::driver::facts::{Facts, Pauses};
use crate::driver::programs::{Found, Wanted, fingerprint};
use crate::exec::program::{ProgramError, Programs};
use crate::history::event::{Sight, Verdict};
use crate::id::{Fact, Fingerprint};
use crate::runbook::model::Side;

/// How often a rest looks whether it was withdrawn.
const REST_LOOK: Duration = Duration::from_millis(50);

/// What to look at.
pub enum Job {
    /// Once, before a step.
    Prepare {
        /// The program to find first. Reading it takes as long as it is large, so it is not for the loop.
        program: Option<Wanted>,
        /// Facts that must hold.
        requires: Vec<Fact>,
        /// Those of them whose hold begins here.
        hold: Vec<Fact>,
        /// Those of them that are only watched.
        observe: Vec<Fact>,
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
        /// The program files whose digests are taken when all hold.
        replaces: Vec<PathBuf>,
    },
}

/// What was seen.
pub enum Looked {
    /// Of [`Job::Prepare`].
    Prepared {
        /// The program that was to be found.
        program: Option<Result<Box<Found>, ProgramError>>,
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
        /// What the program files are, by their paths.
        replaced: BTreeMap<String, Fingerprint>,
    },
}

/// The thread that looks, from when it is first needed.
pub struct Looker {
    jobs: OnceCell<Sender<(u64, Job)>>,
    begin: Cell<Option<Begin>>,
    /// The number of the newest job that counts; what came of an older one is dropped.
    counts: Newest,
}

/// Does jobs as they come.
type Begin = Box<dyn FnOnce(Receiver<(u64, Job)>) + Send>;

/// The number of the newest job that counts. While it is looked at nobody changes it.
#[derive(Clone, Default)]
struct Newest(Arc<Mutex<u64>>);

impl Newest {
    fn lock(&self) -> MutexGuard<'_, u64> {
        // A thread that panicked while it held the lock left nothing half-done in it: each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a new one, and gives it.
    fn next(&self) -> u64 {
        let mut newest = self.lock();
        *newest += 1;
        *newest
    }
}

impl Looker {
    /// Each result is handed to `tell`.
    pub fn new(facts: Arc<Facts>, programs: Arc<Programs>, tell: impl Fn(u64, Looked) + Send + 'static) -> Self {
        let counts = Newest::default();
        let newest = counts.clone();
        let begin: Begin = Box::new(move |inbox| work(&facts, &programs, &inbox, &newest, tell));
        Self { jobs: OnceCell::new(), begin: Cell::new(Some(begin)), counts }
    }

    /// Hands it a job, and gives the number that its result will have.
    pub fn look(&self, job: Job) -> u64 {
        let number = self.counts.next();
        let jobs = self.jobs.get_or_init(|| {
            let (jobs, inbox) = channel();
            if let Some(begin) = self.begin.take() {
                std::thread::spawn(move || begin(inbox));
            }
            jobs
        });
        // The thread ends only when this sender is dropped.
        let _ = jobs.send((number, job));
        number
    }

    /// Gives up whatever it does: no result of it counts any more, and no hold begins by it when this has returned.
    pub fn withdraw(&self) {
        self.counts.next();
    }

    /// Whether a result with this number still counts.
    pub fn counts(&self, number: u64) -> bool {
        *self.counts.lock() == number
    }
}

fn work(facts: &Facts, programs: &Programs, inbox: &Receiver<(u64, Job)>, newest: &Newest, tell: impl Fn(u64, Looked)) {
    while let Ok((number, job)) = inbox.recv() {
        let withdrawn = || *newest.lock() != number;
        // What was given up meanwhile must not be held by it: it would stop what is done instead.
        let hold_if_counts = |hold: &dyn Fn()| {
            let newest = newest.lock();
            if *newest == number {
                hold();
            }
        };
        if withdrawn() {
            continue;
        }
        match job {
            Job::Prepare { program, requires, hold, observe, ensures } => {
                // Before the facts are looked at, so that what was seen of them is fresh when the step starts.
                let program = program.map(|wanted| wanted.find(programs).map(Box::new));
                let look = |fact: &Fact| {
                    if observe.contains(fact) {
                        facts.observe(fact, hold_if_counts)
                    } else if hold.contains(fact) {
                        facts.establish(fact, hold_if_counts)
                    } else {
                        facts.look(fact, Side::Before)
                    }
                };
                let requires = requires.iter().map(look).collect();
                let ensures = ensures.iter().map(|fact| facts.look(fact, Side::Before)).collect();
                tell(number, Looked::Prepared { program, requires, ensures });
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
            Job::Await { facts: awaited, hold, within, replaces } => {
                let ensures = wait_for(facts, &awaited, &hold, within, &withdrawn, &hold_if_counts);
                let mut replaced = BTreeMap::new();
                if ensures.iter().all(|sight| sight.verdict == Verdict::Holds) {
                    let now = |path: &PathBuf| (path.display().to_string(), fingerprint(path, programs));
                    replaced = replaces.iter().map(now).collect();
                }
                tell(number, Looked::Awaited { ensures, replaced });
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
    hold_if_counts: &impl Fn(&dyn Fn()),
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
                *sight = facts.establish(&sight.fact, hold_if_counts);
            }
            return sights;
        }
        if Instant::now() >= until || withdrawn() {
            return sights;
        }
        pauses.pause(begun.elapsed(), until);
    }
}
