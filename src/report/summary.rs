//! A run in one line, for people and programs: how it stands is what the one fold of its events says, and nothing else.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::deviation::Deviation;
use crate::history::entry::{Entry, Who};
use crate::history::event::Event;
use crate::history::state::{Phase, State, Verdict};
use crate::id::{Digest, Person, RunId};
use crate::report::story::{by_whom, cause_in_words};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Every step ended as written, or by an override.
    Completed,
    /// What was done was taken back.
    Undone,
    /// It stopped in the middle and can be taken up again.
    Halted,
    /// Nothing was started.
    Refused,
    /// A person gave it up.
    Abandoned,
    /// Its end is not in the log: it is going on, or its process died.
    Open,
    /// Its events cannot have happened in this order: something else than this program wrote them.
    Illegal,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Completed, Self::Undone, Self::Halted, Self::Refused, Self::Abandoned, Self::Open, Self::Illegal];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Undone => "undone",
            Self::Halted => "halted",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
            Self::Open => "open",
            Self::Illegal => "illegal",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A moment of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct At {
    /// UTC, as in the log.
    pub time: String,
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub mono: u64,
    /// The boot that `mono` belongs to.
    pub boot: String,
}

/// A run in one line.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Its id.
    pub run: RunId,
    /// The runbook's name.
    pub runbook: String,
    /// Its labels, as its opening recorded them; none for a run that was refused before it.
    pub labels: BTreeMap<String, String>,
    /// The digest of its plan.
    pub plan: Option<Digest>,
    /// Who began it.
    pub who: Who,
    /// For whom the policies took those who began it or took it up.
    pub persons: Vec<Person>,
    /// When its first entry was written.
    pub began: At,
    /// When the entry was written by which it is over; none as long as it is not.
    pub ended: Option<At>,
    /// What the fold says.
    pub state: State,
    /// The event that could not follow, if one was found.
    pub illegal: Option<String>,
}

impl Summary {
    /// Of a run with this first entry, which is not applied yet.
    pub fn new(run: RunId, first: &Entry) -> Self {
        Self {
            run,
            runbook: String::new(),
            labels: BTreeMap::new(),
            plan: None,
            who: Who::clone(&first.who),
            persons: Vec::new(),
            began: At { time: first.time.to_string(), mono: first.mono, boot: first.boot.to_string() },
            ended: None,
            state: State::default(),
            illegal: None,
        }
    }

    /// Takes the next event of the run. `at` is asked only where the moment counts.
    ///
    /// # Errors
    /// What `at` says.
    pub fn take<E>(&mut self, event: &Event, at: impl FnOnce() -> Result<At, E>) -> Result<(), E> {
        match event {
            Event::RunOpened { runbook, labels, plan, policies, .. } => {
                self.runbook.clone_from(runbook);
                self.labels.clone_from(labels);
                self.plan = Some(plan.clone());
                self.persons.extend(policies.iter().filter_map(|policy| policy.operator.clone()));
            }
            // Before the opening, and of a run that died then all there is.
            Event::GlassBroken(glass) => {
                self.runbook.clone_from(&glass.runbook);
                self.plan = Some(glass.plan.clone());
                self.persons.extend(glass.rules.iter().map(|rule| rule.operator.clone()));
            }
            Event::RunRefused { runbook, plan, policies, .. } => {
                self.runbook.clone_from(runbook);
                self.plan = Some(plan.clone());
                self.persons.extend(policies.iter().filter_map(|policy| policy.operator.clone()));
            }
            Event::RunResumed { policies, .. } => {
                self.persons.extend(policies.iter().filter_map(|policy| policy.operator.clone()));
            }
            _ => {}
        }
        let was_over = matches!(self.state.phase, Phase::Over(_));
        if let Err(illegal) = self.state.apply(event) {
            self.illegal.get_or_insert(illegal.0);
        }
        match (was_over, self.state.phase) {
            // Given up after it had halted: over once more.
            (_, Phase::Over(_)) if !was_over || matches!(event, Event::RunAbandoned { .. }) => self.ended = Some(at()?),
            (true, Phase::Over(_)) => {}
            (_, _) => self.ended = None,
        }
        Ok(())
    }

    /// How it stands, and why, in a few words.
    pub fn standing(&self) -> (Standing, String) {
        if let Some(illegal) = &self.illegal {
            return (Standing::Illegal, illegal.clone());
        }
        match self.state.phase {
            Phase::Over(Verdict::Completed) => (Standing::Completed, String::new()),
            Phase::Over(Verdict::Undone) => (Standing::Undone, String::new()),
            Phase::Over(Verdict::Abandoned) => (Standing::Abandoned, String::new()),
            Phase::Over(Verdict::Halted(cause)) => (Standing::Halted, cause_in_words(cause).to_owned()),
            Phase::Over(Verdict::Refused(cause)) => (Standing::Refused, cause_in_words(cause).to_owned()),
            Phase::New
            | Phase::Ready { .. }
            | Phase::Acting { .. }
            | Phase::Verifying { .. }
            | Phase::Failed { .. } => {
                let carried_out = self.state.back.as_deref().unwrap_or(&self.state);
                let at = carried_out.steps.last().map(|step| format!("at step `{}`", step.id));
                (Standing::Open, at.unwrap_or_default())
            }
        }
    }

    /// The deviations that were made, in order.
    pub fn deviations(&self) -> &[Deviation] {
        &self.state.overrides.used
    }

    /// From its first entry to the one by which it is over, in microseconds: by the boot clock where it is one boot, else by the times of
    /// the entries, which are the machine's word. None if it is not over, or the clock went back.
    pub fn micros(&self) -> Option<u64> {
        let ended = self.ended.as_ref()?;
        if ended.boot == self.began.boot {
            return ended.mono.checked_sub(self.began.mono).map(|nanos| nanos / 1000);
        }
        micros_of(&ended.time)?.checked_sub(micros_of(&self.began.time)?)
    }

    /// Who began it, in a few words.
    pub fn operator(&self) -> String {
        format!("{}@{}", by_whom(&self.who), self.who.host)
    }
}

/// A time of the log in microseconds since 1970.
fn micros_of(time: &str) -> Option<u64> {
    let time = chrono::DateTime::parse_from_rfc3339(time).ok()?;
    u64::try_from(time.timestamp_micros()).ok()
}
