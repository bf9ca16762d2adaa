//! One run, gathered from its entries for those who were not there: how it went, what was left out and on whose word, what each step did
//! and was seen to do, and where its time went. Pure: the entries go in, one after the other, and the plan if it is at hand.

mod fold;
mod held;
mod step;
mod turns;

use std::collections::BTreeMap;

use crate::history::approval::{Approval, PolicyInForce};
use crate::history::deviation::Override;
use crate::history::entry::Who;
use crate::history::event::{Cause, Sight};
use crate::history::state::{Phase, State, Verdict};
use crate::id::{Digest, Fact, RunId, StepId};
use crate::plan::Procedure;
use crate::report::waits::{Clock, Stamp, Wait, Waits};
pub use fold::{broken_glass, made_by, many, missing, on_whose_word};
pub use step::{Act, Agreed, Attempt, Excerpt, Fate, Proof, Span, SpanKind, StepAccount, fates};

/// How one run went.
#[derive(Debug)]
pub struct Account {
    /// Its id.
    pub run: RunId,
    /// The runbook's name.
    pub runbook: String,
    /// What is said of it when it was opened; none if it was refused before that.
    pub opening: Option<Opening>,
    /// Its steps: those of the plan where that is at hand, else those that something was recorded of.
    pub steps: Vec<StepAccount>,
    /// The facts that were held, with the times in which they were.
    pub holds: Vec<HeldFact>,
    /// The times in which a program carried it out. Between them it stood still.
    pub sittings: Vec<Sitting>,
    /// The signatures that counted.
    pub approvals: Vec<(Stamp, Approval)>,
    /// What was permitted to be done otherwise than it is written.
    pub departures: Vec<Departure>,
    /// What somebody wanted, and was not allowed.
    pub refusals: Vec<Refusal>,
    /// How many steps were left as they are when it was undone, because the runbook does not say how to take them back.
    pub kept: usize,
    /// What turned its course.
    pub turns: Vec<Turn>,
    /// The times of waiting.
    pub waits: Vec<Wait>,
    /// Its first entry, with the digest of its line.
    pub first: Option<(Stamp, Digest)>,
    /// Its last entry, with the digest of its line.
    pub last: Option<(Stamp, Digest)>,
    /// When its last entry was written that is of what was done. Reviews, and what was refused when it was over, come later.
    pub end: Option<Stamp>,
    /// How many entries it has.
    pub entries: u64,
    /// The event that could not have happened then, if one was found.
    pub illegal: Option<String>,
    /// The fold of its events.
    pub state: State,
    /// Why the plan is not at hand, if it is not.
    pub without_plan: Option<String>,
    clock: Clock,
    waiting: Waits,
    holding: held::Holding,
    places: BTreeMap<StepId, usize>,
}

/// What is recorded of the opening.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The runbook's title.
    pub title: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The file it was read from.
    pub source: String,
    /// The digest of the plan.
    pub plan: Digest,
    /// How many steps the plan has.
    pub steps: usize,
    /// What it claims for itself alone.
    pub locks: Vec<String>,
    /// The policies in force.
    pub policies: Vec<PolicyInForce>,
    /// How processes are contained.
    pub containment: String,
    /// How facts are watched.
    pub watching: String,
    /// The version of the program.
    pub program: String,
}

/// A time in which a program carried out the run.
#[derive(Debug, Clone)]
pub struct Sitting {
    /// From when.
    pub from: Stamp,
    /// Until when.
    pub until: Stamp,
    /// Who.
    pub who: Who,
    /// Why it was taken over from another person, if it was.
    pub taken_over: Option<String>,
    /// How it ended.
    pub end: SittingEnd,
}

/// How a sitting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SittingEnd {
    /// It goes on, or nothing was recorded of its end: the program or the machine died.
    Unseen,
    /// The run halted.
    Halted(Cause),
    /// The run was over.
    Over,
}

/// How good or bad something is for who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Neither.
    Plain,
    /// As it should be.
    Good,
    /// To be looked at: something was not done as it is written.
    Warning,
    /// Something went wrong.
    Bad,
}

/// A permission to do otherwise than it is written.
#[derive(Debug, Clone)]
pub struct Departure {
    /// When it was accepted.
    pub at: Stamp,
    /// Who operated.
    pub operator: String,
    /// The permission.
    pub given: Override,
    /// When it was used; none if it was not.
    pub used: Option<Stamp>,
}

/// Something that was wanted and not allowed.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// When.
    pub at: Stamp,
    /// Who.
    pub who: String,
    /// What they wanted, in words.
    pub wanted: String,
    /// The reason that they gave.
    pub reason: Option<String>,
    /// Why not.
    pub why: String,
    /// What was seen.
    pub seen: Vec<Sight>,
}

/// What turned the course of the run.
#[derive(Debug, Clone)]
pub struct Turn {
    /// When.
    pub at: Stamp,
    /// How good or bad it is.
    pub tone: Tone,
    /// In words.
    pub words: String,
}

/// A fact and when it was held.
#[derive(Debug, Clone)]
pub struct HeldFact {
    /// The fact.
    pub fact: Fact,
    /// From when until when, in microseconds since the first entry.
    pub spans: Vec<(u64, u64)>,
    /// When it broke.
    pub breaks: Vec<u64>,
}

/// Where the time of a run went, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// From the first entry to the last.
    pub all: u64,
    /// Steps working, forward and back.
    pub working: u64,
    /// Waiting for what steps ensure.
    pub facts: u64,
    /// Waiting for people.
    pub people: u64,
    /// Pauses before attempts.
    pub pauses: u64,
    /// Nobody carried it out.
    pub still: u64,
}

impl Account {
    /// An account of this run, of which nothing is told yet. With the plan or, where it is not at hand, why.
    pub fn new(run: RunId, procedure: Result<&Procedure, String>) -> Self {
        let holding = held::Holding::new(procedure.as_ref().ok().copied());
        let (steps, without_plan) = match procedure {
            Ok(procedure) => {
                let steps = procedure.steps().iter();
                (steps.map(StepAccount::of).collect(), None)
            }
            Err(why) => (Vec::new(), Some(why)),
        };
        Self {
            run,
            runbook: String::new(),
            opening: None,
            steps,
            holds: Vec::new(),
            sittings: Vec::new(),
            approvals: Vec::new(),
            departures: Vec::new(),
            refusals: Vec::new(),
            kept: 0,
            turns: Vec::new(),
            waits: Vec::new(),
            first: None,
            last: None,
            end: None,
            entries: 0,
            illegal: None,
            state: State::default(),
            without_plan,
            clock: Clock::default(),
            waiting: Waits::default(),
            holding,
            places: BTreeMap::new(),
        }
    }

    /// The attempts whose output was recorded, in order.
    pub fn outputs(&mut self) -> impl Iterator<Item = &mut Attempt> {
        self.steps.iter_mut().flat_map(|step| &mut step.acts).filter_map(|(_, act)| {
            let Act::Attempt(attempt) = act else { return None };
            attempt.output.is_some().then_some(attempt.as_mut())
        })
    }

    /// The deviations that were made.
    pub fn made(&self) -> impl Iterator<Item = &Departure> {
        self.departures.iter().filter(|departure| departure.used.is_some())
    }

    /// How many steps came to this.
    pub fn count(&self, fate: Fate) -> usize {
        self.steps.iter().filter(|step| step.fate == fate).count()
    }

    /// Where its time went.
    pub fn times(&self) -> Times {
        let of = |wanted: fn(SpanKind) -> bool| -> u64 {
            let spans = self.steps.iter().flat_map(|step| &step.spans).filter(|span| wanted(span.kind));
            spans.map(|span| span.until.saturating_sub(span.from)).sum()
        };
        let all = self.end.map_or(0, |stamp| stamp.at);
        let sat: u64 = self.sittings.iter().map(|sitting| sitting.until.at.saturating_sub(sitting.from.at)).sum();
        Times {
            all,
            working: of(|kind| matches!(kind, SpanKind::Work | SpanKind::Undo | SpanKind::Bad)),
            facts: of(|kind| kind == SpanKind::Facts),
            people: of(|kind| kind == SpanKind::Person),
            pauses: of(|kind| kind == SpanKind::Pause),
            still: all.saturating_sub(sat),
        }
    }

    /// Whether it can still go on.
    pub fn is_over(&self) -> bool {
        match self.state.phase {
            Phase::Over(verdict) => match verdict {
                Verdict::Halted(_) => false,
                Verdict::Refused(_) | Verdict::Completed | Verdict::Undone | Verdict::Abandoned => true,
            },
            Phase::New
            | Phase::Ready { .. }
            | Phase::Acting { .. }
            | Phase::Verifying { .. }
            | Phase::Failed { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
