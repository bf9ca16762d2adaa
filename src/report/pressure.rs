//! Many runs at once: how often each runbook ran and how it ended, each deviation with who and why, where time was lost waiting, and where
//! the procedures press: which steps and facts are refused, left out or waited for most, so that what people want to shorten gets mended
//! instead. Pure: the entries of the log go in, one after the other; what is kept are the runs that are not over, and the counts.

mod show;

use std::collections::BTreeMap;

use crate::history::approval::PLAN;
use crate::history::deviation::{Deviation, Override};
use crate::history::entry::Entry;
use crate::history::event::{Cause, Event, Question, Sight, Way};
use crate::id::{Fact, RunId, StepId};
use crate::report::account::{broken_glass, made_by, missing};
use crate::report::story::by_whom;
use crate::report::waits::{Asked, Clock, Stamp, WaitedFor, Waits};

/// The most deviations that are kept; further ones are counted. Bounds memory where there are very many.
const MOST_DEVIATIONS: usize = 10_000;

/// The time that is looked at, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// From this moment on.
    pub since: i64,
    /// Up to this moment, not at it any more.
    pub until: i64,
}

/// What many runs have in common.
#[derive(Debug)]
pub struct Overview {
    /// The time that is looked at.
    pub period: Period,
    /// By runbook, how its runs came out.
    pub runbooks: BTreeMap<String, Outcomes>,
    /// Each deviation that was permitted, in order.
    pub deviations: Vec<DeviationMade>,
    /// How many more there are.
    pub more_deviations: usize,
    /// By runbook and step, where it presses.
    pub steps: BTreeMap<(String, StepId), StepPressure>,
    /// By runbook and fact, where it presses.
    pub facts: BTreeMap<(String, Fact), FactPressure>,
    /// What was waited for, and how long.
    pub lost: BTreeMap<&'static str, Sum>,
    open: BTreeMap<RunId, Running>,
}

/// How often, how long in all, and how long at most, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// How often.
    pub count: u64,
    /// In all.
    pub total: u64,
    /// At most.
    pub longest: u64,
}

impl Sum {
    fn add(&mut self, micros: u64) {
        self.count += 1;
        self.total = self.total.saturating_add(micros);
        self.longest = self.longest.max(micros);
    }
}

/// How the runs of a runbook came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// As it is written.
    pub completed: u64,
    /// With deviations.
    pub deviating: u64,
    /// Undone.
    pub undone: u64,
    /// Abandoned.
    pub abandoned: u64,
    /// Refused: nothing was started.
    pub refused: u64,
    /// Not over: halted.
    pub halted: u64,
    /// Not over: it goes on, or its program died.
    pub open: u64,
    /// How often one halted, also where it went on later.
    pub halts: u64,
}

impl Outcomes {
    /// All runs.
    pub fn runs(&self) -> u64 {
        self.completed + self.deviating + self.undone + self.abandoned + self.refused + self.halted + self.open
    }
}

/// A deviation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviationMade {
    /// When it was permitted.
    pub at: Stamp,
    /// In which run; none for the lock of a run that is gone.
    pub run: Option<RunId>,
    /// Its runbook.
    pub runbook: String,
    /// The permission.
    pub given: Override,
    /// Whether it was made use of.
    pub made: Made,
}

/// Whether a permission was made use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// Yes.
    Yes,
    /// No, or not yet.
    No,
}

/// Where a step presses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepPressure {
    /// How often it was attempted.
    pub attempts: u64,
    /// How often it was skipped.
    pub skipped: u64,
    /// How often a fact was waived for it.
    pub waived: u64,
    /// How often it was accepted as it stood.
    pub accepted: u64,
    /// How often a deviation of it was asked for, and refused.
    pub refused: u64,
    /// How often it failed or was stopped.
    pub failed: u64,
    /// Waiting for people.
    pub people: Sum,
    /// Waiting for what it ensures.
    pub waited: Sum,
}

/// Where a fact presses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FactPressure {
    /// How often a run was refused or halted because it did not hold.
    pub refused: u64,
    /// How often it broke while it was held.
    pub broke: u64,
    /// How often it was waived.
    pub waived: u64,
    /// How often waiving it was asked for, and refused.
    pub asked: u64,
    /// Waiting for it.
    pub waited: Sum,
}

impl StepPressure {
    /// What people did or wanted to do otherwise, first; then what went wrong; then what took time.
    pub fn weight(&self) -> (u64, u64, u64) {
        (
            self.skipped + self.waived + self.accepted + self.refused,
            self.failed,
            self.people.total.saturating_add(self.waited.total),
        )
    }
}

impl FactPressure {
    /// As of steps.
    pub fn weight(&self) -> (u64, u64, u64) {
        (self.waived + self.asked, self.refused + self.broke, self.waited.total)
    }
}

/// A run that is not over.
#[derive(Debug, Default)]
struct Running {
    runbook: String,
    clock: Clock,
    waits: Waits,
    /// Whether anything of it was recorded in the period.
    counts: Counts,
    halted: Option<Cause>,
    /// The places of its permissions that were not made use of, among all deviations.
    permitted: Vec<(Deviation, Option<usize>)>,
    used: u64,
    opened: Option<Stamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Counts {
    #[default]
    No,
    Yes,
}

impl Overview {
    /// Of nothing yet.
    pub fn new(period: Period) -> Self {
        Self {
            period,
            runbooks: BTreeMap::new(),
            deviations: Vec::new(),
            more_deviations: 0,
            steps: BTreeMap::new(),
            facts: BTreeMap::new(),
            lost: BTreeMap::new(),
            open: BTreeMap::new(),
        }
    }

    /// Takes the next entry of the log. `plan_made` gives the moment at which the plan of a run was made, in microseconds since 1970, where
    /// it is known: from then on its approvals were waited for.
    pub fn take(&mut self, entry: &Entry, plan_made: impl FnOnce(&RunId) -> Option<i64>) {
        let Some(run) = &entry.run else {
            self.take_lock(entry);
            return;
        };
        let mut running = match self.open.remove(run) {
            Some(running) => running,
            // Of a run that is over: who has reviewed it, or was refused.
            None if matches!(entry.event, Event::ApprovalAccepted(_) | Event::TakeUpRefused { .. }) => return,
            None => Running::default(),
        };
        let stamp = running.clock.take(entry);
        if stamp.wall >= self.period.until {
            self.open.insert(run.clone(), running);
            return;
        }
        let within = stamp.wall >= self.period.since;
        if within {
            running.counts = Counts::Yes;
        }
        if let Event::RunOpened { runbook, .. } | Event::RunRefused { runbook, .. } = &entry.event {
            running.runbook.clone_from(runbook);
        }
        let waits = running.waits.take(stamp, &entry.event);
        if within {
            for wait in waits {
                self.lose(&running.runbook, wait.step.as_ref(), &wait.waited_for, wait.micros());
            }
            self.press(&running.runbook, &entry.event);
        }
        self.deviate(run, &mut running, stamp, entry);
        match &entry.event {
            Event::RunOpened { .. } => running.opened = Some(stamp),
            Event::ApprovalAccepted(approval) if approval.namespace == PLAN => {
                // Once for each run: when it was opened, they were there.
                if let (Some(opened), true) = (running.opened.take(), within)
                    && let Some(made) = plan_made(run)
                {
                    let micros = u64::try_from(opened.wall.saturating_sub(made)).unwrap_or_default();
                    self.lost.entry("people: approvals, from the plan to its run").or_default().add(micros);
                }
            }
            Event::RunHalted { cause, .. } => {
                running.halted = Some(*cause);
                if within {
                    self.runbooks.entry(running.runbook.clone()).or_default().halts += 1;
                }
            }
            Event::RunResumed { .. } => {
                running.halted = None;
                running.permitted.clear();
            }
            _ => {}
        }
        let over = outcome(&entry.event, running.used);
        match over {
            Some(count) if running.counts == Counts::Yes => {
                *count(self.runbooks.entry(running.runbook).or_default()) += 1;
            }
            Some(_) => {}
            None => {
                self.open.insert(run.clone(), running);
            }
        }
    }

    /// All entries are taken.
    pub fn finish(&mut self) {
        for (_, running) in std::mem::take(&mut self.open) {
            if running.counts == Counts::Yes {
                let outcomes = self.runbooks.entry(running.runbook).or_default();
                match running.halted {
                    Some(_) => outcomes.halted += 1,
                    None => outcomes.open += 1,
                }
            }
        }
    }

    /// The lock of a run that is gone was removed: a deviation of no run.
    fn take_lock(&mut self, entry: &Entry) {
        let Event::LockRemoved { lock, reason, claimed_by, request, self_approved, approved_by, .. } = &entry.event
        else {
            return;
        };
        let at = Clock::default().take(entry);
        if at.wall < self.period.since || at.wall >= self.period.until {
            return;
        }
        let given = Override {
            deviation: Deviation::StaleLock { lock: lock.clone() },
            reason: reason.clone(),
            asked_by: by_whom(&entry.who),
            request: request.clone(),
            self_approved: *self_approved,
            approved_by: approved_by.clone(),
        };
        let runbook = claimed_by.as_ref().map(|claim| claim.runbook.clone()).unwrap_or_default();
        self.note(DeviationMade { at, run: None, runbook, given, made: Made::Yes });
    }

    fn note(&mut self, deviation: DeviationMade) -> Option<usize> {
        if self.deviations.len() >= MOST_DEVIATIONS {
            self.more_deviations += 1;
            return None;
        }
        self.deviations.push(deviation);
        Some(self.deviations.len() - 1)
    }

    fn deviate(&mut self, run: &RunId, running: &mut Running, at: Stamp, entry: &Entry) {
        if let Event::GlassBroken(glass) = &entry.event {
            running.used += 1;
            running.runbook.clone_from(&glass.runbook);
            if at.wall >= self.period.since {
                let given = broken_glass(glass, &by_whom(&entry.who));
                let runbook = glass.runbook.clone();
                self.note(DeviationMade { at, run: Some(run.clone()), runbook, given, made: Made::Yes });
            }
        }
        if let Event::OverrideAccepted(given) = &entry.event
            // Who takes a run over leaves nothing of its procedure out.
            && given.deviation != (Deviation::TakeOver {})
        {
            let place = (at.wall >= self.period.since).then(|| {
                let runbook = running.runbook.clone();
                self.note(DeviationMade { at, run: Some(run.clone()), runbook, given: given.clone(), made: Made::No })
            });
            running.permitted.push((given.deviation.clone(), place.flatten()));
            let at_once = matches!(given.deviation, Deviation::OutsideWindow {} | Deviation::Abandon {});
            if at_once {
                self.make(running, &given.deviation);
            }
        }
        for deviation in made_by(&entry.event) {
            self.make(running, &deviation);
        }
    }

    fn make(&mut self, running: &mut Running, deviation: &Deviation) {
        let Some(at) = running.permitted.iter().rposition(|(open, _)| open == deviation) else { return };
        running.used += 1;
        let (_, place) = running.permitted.remove(at);
        if let Some(made) = place.and_then(|place| self.deviations.get_mut(place)) {
            made.made = Made::Yes;
        }
    }

    fn step(&mut self, runbook: &str, step: &StepId) -> &mut StepPressure {
        self.steps.entry((runbook.to_owned(), step.clone())).or_default()
    }

    fn fact(&mut self, runbook: &str, fact: &Fact) -> &mut FactPressure {
        self.facts.entry((runbook.to_owned(), fact.clone())).or_default()
    }

    fn lose(&mut self, runbook: &str, step: Option<&StepId>, waited_for: &WaitedFor, micros: u64) {
        let kind = match waited_for {
            WaitedFor::Person(asked) => {
                if let Some(step) = step {
                    self.step(runbook, step).people.add(micros);
                }
                match asked {
                    Asked::Question(Question::Manual) => "people: manual tasks",
                    Asked::Question(Question::Confirm) => "people: confirmations",
                    Asked::Question(Question::GoOn) => "people: whether to go on",
                    Asked::Question(Question::WhatNext | Question::RunAgain) | Asked::Stopping => {
                        "people: decisions after something went wrong"
                    }
                }
            }
            WaitedFor::Facts(facts) => {
                if let Some(step) = step {
                    self.step(runbook, step).waited.add(micros);
                }
                for fact in facts {
                    self.fact(runbook, fact).waited.add(micros);
                }
                "facts: what a step ensures"
            }
            WaitedFor::Pause => "pauses before another attempt",
            WaitedFor::TakingUp => "people: until a run that stood still was taken up",
        };
        self.lost.entry(kind).or_default().add(micros);
    }

    fn press(&mut self, runbook: &str, event: &Event) {
        let unheld = |seen: &[Sight]| missing(seen).map(|sight| sight.fact.clone()).collect::<Vec<_>>();
        match event {
            Event::StepIntended { step, way: Way::Forward | Way::Again, waived, .. } => {
                let pressure = self.step(runbook, step);
                pressure.attempts += 1;
                pressure.waived += waived.len() as u64;
                for fact in waived {
                    self.fact(runbook, fact).waived += 1;
                }
            }
            Event::StepAlready { step, seen } => {
                for fact in unheld(seen) {
                    self.step(runbook, step).waived += 1;
                    self.fact(runbook, &fact).waived += 1;
                }
            }
            Event::StepSkipped { step } => self.step(runbook, step).skipped += 1,
            Event::StepAccepted { step, .. } => self.step(runbook, step).accepted += 1,
            Event::OverrideRefused { deviation, .. } => {
                if let Some(step) = deviation.step() {
                    self.step(runbook, step).refused += 1;
                }
                if let Deviation::Waive { fact, .. } = deviation {
                    self.fact(runbook, fact).asked += 1;
                }
            }
            Event::StepFailed { step, .. } => self.step(runbook, step).failed += 1,
            Event::HoldBroken { sight, step, .. } => {
                self.fact(runbook, &sight.fact).broke += 1;
                if let Some(step) = step {
                    self.step(runbook, step).failed += 1;
                }
            }
            Event::RunRefused { cause: Cause::FactDoesNotHold, seen, .. }
            | Event::RunHalted { cause: Cause::FactDoesNotHold, seen, .. } => {
                for fact in unheld(seen) {
                    self.fact(runbook, &fact).refused += 1;
                }
            }
            _ => {}
        }
    }
}

/// Where a run that is over with this event is counted; none if it is not over.
fn outcome(event: &Event, used: u64) -> Option<fn(&mut Outcomes) -> &mut u64> {
    match event {
        Event::RunCompleted { .. } if used > 0 => Some(|outcomes| &mut outcomes.deviating),
        Event::RunCompleted { .. } => Some(|outcomes| &mut outcomes.completed),
        Event::RunUndone { .. } => Some(|outcomes| &mut outcomes.undone),
        Event::RunAbandoned { .. } => Some(|outcomes| &mut outcomes.abandoned),
        Event::RunRefused { .. } => Some(|outcomes| &mut outcomes.refused),
        _ => None,
    }
}
