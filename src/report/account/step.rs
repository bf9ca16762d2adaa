//! A step of a run and what happened to it.

use std::collections::BTreeMap;

use super::Tone;
use crate::history::event::{AnsweredBy, DecidedBy, Ending, Output, Program, Question, Sight, StopDecision, Way};
use crate::id::{Fact, Fingerprint, StepId};
use crate::report::waits::Stamp;
use crate::runbook::model::{Action, Step};

/// A step and what happened to it.
#[derive(Debug, Clone)]
pub struct StepAccount {
    /// Its id.
    pub id: StepId,
    /// Its title.
    pub title: Option<String>,
    /// The text of its script, where the plan is at hand and it has one.
    pub script: Option<String>,
    /// What became of it.
    pub fate: Fate,
    /// What became of taking it back, if that was begun.
    pub back: Option<Fate>,
    /// What happened, in order.
    pub acts: Vec<(Stamp, Act)>,
    /// What of its time can be drawn.
    pub spans: Vec<Span>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was never begun.
    NotBegun,
    /// It was begun, and nothing is recorded of its end.
    Open,
    /// Done.
    Done,
    /// Already so.
    Already,
    /// Its own condition was not met.
    NotApplicable,
    /// It failed.
    Failed,
    /// It was stopped in the middle, or nobody saw how it ended.
    InDoubt,
    /// Not done, by an override.
    Skipped,
    /// Counts as done, by an override.
    Accepted,
}

impl Fate {
    /// In a few words.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::NotBegun => "never begun",
            Self::Open => "begun, end not recorded",
            Self::Done => "done",
            Self::Already => "already so",
            Self::NotApplicable => "not applicable",
            Self::Failed => "failed",
            Self::InDoubt => "in doubt",
            Self::Skipped => "skipped",
            Self::Accepted => "accepted as it stood",
        }
    }

    /// How good or bad that is.
    pub fn tone(self) -> Tone {
        match self {
            Self::NotBegun | Self::NotApplicable => Tone::Plain,
            Self::Done | Self::Already => Tone::Good,
            Self::Open | Self::Skipped | Self::Accepted => Tone::Warning,
            Self::Failed | Self::InDoubt => Tone::Bad,
        }
    }
}

/// A time of a step that can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// From when, in microseconds since the first entry of the run.
    pub from: u64,
    /// Until when.
    pub until: u64,
    /// What it is.
    pub kind: SpanKind,
}

/// What a span is. The later is the worse, and covers the one before where both would be drawn in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpanKind {
    /// A pause before an attempt.
    Pause,
    /// It waits for what it ensures.
    Facts,
    /// It works, and ended well.
    Work,
    /// It is taken back, and that ended well.
    Undo,
    /// It waits for a person.
    Person,
    /// It works, and did not end well.
    Bad,
}

/// Something that happened to a step.
#[derive(Debug, Clone)]
pub enum Act {
    /// It was attempted.
    Attempt(Box<Attempt>),
    /// A person answered, or did not.
    Said {
        /// What was asked.
        question: Question,
        /// The question as shown.
        ask: String,
        /// The answer as given.
        answer: String,
        /// How it came.
        by: AnsweredBy,
        /// Whether it went on with that.
        agreed: Agreed,
    },
    /// A person said what is to become of it after a signal.
    Stopping {
        /// The question as shown.
        ask: String,
        /// The answer as given.
        answer: String,
        /// What follows.
        decision: StopDecision,
    },
    /// It was so already.
    Already(Vec<Sight>),
    /// Its own condition was not met.
    NotApplicable {
        /// The condition.
        expression: String,
        /// The values.
        values: BTreeMap<String, String>,
    },
    /// Skipped by an override.
    Skipped,
    /// It counts as done by an override.
    Accepted,
    /// What a waived fact showed.
    Waived(Sight),
    /// A held fact broke.
    Broke {
        /// What was seen.
        sight: Sight,
        /// How it was told, and how fast, in words.
        told: String,
    },
    /// It is attempted again.
    Retried {
        /// On whose word.
        by: DecidedBy,
        /// After how long, in milliseconds.
        pause_millis: u64,
    },
    /// It is run once more, because what it had ensured does not hold.
    RunAgain(Vec<Sight>),
    /// It is not run once more: what it had ensured holds.
    NotRunAgain(Vec<Sight>),
}

/// Whether a person agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreed {
    /// Yes.
    Yes,
    /// No, or there was no answer.
    No,
}

/// An attempt of a step.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// In which direction.
    pub way: Way,
    /// Which one.
    pub number: u32,
    /// What was done, in words.
    pub action: String,
    /// The program that was executed.
    pub program: Option<Program>,
    /// What was seen of each required fact.
    pub requires: Vec<Sight>,
    /// The facts that were waived.
    pub waived: Vec<Fact>,
    /// How its action ended, and after how many microseconds.
    pub ending: Option<(Ending, u64)>,
    /// What it wrote.
    pub output: Option<Output>,
    /// What is shown of it.
    pub excerpt: Option<Excerpt>,
    /// What was left running.
    pub leftovers: Vec<String>,
    /// Whether it was done or failed, when, and in the second case why.
    pub settled: Option<(Stamp, Result<(), String>)>,
    /// What was seen of what it ensures.
    pub ensures: Vec<Sight>,
    /// What it replaced.
    pub replaced: BTreeMap<String, Fingerprint>,
}

/// What is shown of an output: its beginning and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Excerpt {
    /// It was read.
    Read {
        /// The first bytes.
        first: Vec<u8>,
        /// How many bytes between the two are not shown.
        left_out: u64,
        /// The last bytes; empty where the first are all.
        last: Vec<u8>,
        /// Whether it is what the log says.
        proof: Proof,
    },
    /// It cannot be shown.
    Missing(String),
}

/// Whether an output is the one that the log speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Its digest is the recorded one.
    AsRecorded,
    /// It is not.
    Differs,
    /// It cannot be told, because not all of it was kept.
    Incomplete,
}

impl StepAccount {
    /// What became of it, in a few words.
    pub fn fate_in_words(&self) -> String {
        let back = match self.back {
            None => return self.fate.in_words().to_owned(),
            Some(Fate::Done) => "taken back",
            Some(Fate::Open) => "taking it back was begun, end not recorded",
            Some(
                Fate::Failed
                | Fate::InDoubt
                | Fate::NotBegun
                | Fate::Already
                | Fate::NotApplicable
                | Fate::Skipped
                | Fate::Accepted,
            ) => "taking it back failed",
        };
        format!("{}; {back}", self.fate.in_words())
    }

    /// How good or bad that is.
    pub fn tone(&self) -> Tone {
        match self.back {
            None => self.fate.tone(),
            Some(Fate::Done) => Tone::Warning,
            Some(_) => Tone::Bad,
        }
    }

    /// How often it was attempted, forward and back.
    pub fn attempts(&self) -> usize {
        self.acts.iter().filter(|(_, act)| matches!(act, Act::Attempt(_))).count()
    }

    /// When anything of it was recorded first.
    pub fn began(&self) -> Option<Stamp> {
        self.acts.first().map(|(stamp, _)| *stamp)
    }

    /// How long a person was waited for, in microseconds.
    pub fn waited_for_people(&self) -> u64 {
        let waits = self.spans.iter().filter(|span| span.kind == SpanKind::Person);
        waits.map(|span| span.until.saturating_sub(span.from)).sum()
    }

    /// How long it took, in microseconds: its actions or, where there was nothing to do but for people, these.
    pub fn took(&self) -> u64 {
        let worked = self.worked();
        if worked < 1000 { worked.max(self.waited_for_people()) } else { worked }
    }

    /// How long its actions took, in microseconds.
    pub fn worked(&self) -> u64 {
        let endings = self.acts.iter().filter_map(|(_, act)| {
            let Act::Attempt(attempt) = act else { return None };
            attempt.ending.as_ref().map(|(_, micros)| *micros)
        });
        endings.sum()
    }

    pub(super) fn new(id: StepId) -> Self {
        Self { id, title: None, script: None, fate: Fate::NotBegun, back: None, acts: Vec::new(), spans: Vec::new() }
    }

    pub(super) fn of(step: &Step) -> Self {
        let script = match &step.action {
            Action::Script(script) => Some(script.text.clone()),
            Action::Run(_) | Action::Wait | Action::Manual(_) => None,
        };
        Self { title: step.title.clone(), script, ..Self::new(step.id.clone()) }
    }
}

/// What became of these steps: `98 done, 2 failed`.
pub fn fates(steps: &[StepAccount]) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for step in steps {
        let words = step.fate_in_words();
        match counts.iter_mut().find(|(other, _)| *other == words) {
            Some((_, count)) => *count += 1,
            None => counts.push((words, 1)),
        }
    }
    counts.iter().map(|(words, count)| format!("{count} {words}")).collect::<Vec<_>>().join(", ")
}
