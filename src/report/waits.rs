//! Where the time of a run goes besides its work: waiting for facts, for people, for a pause to pass, for somebody who takes it up. Told
//! from the entries alone, one after the other. Pure.

use chrono::{DateTime, Utc};

use crate::history::entry::Entry;
use crate::history::event::{AnsweredBy, Ending, Event, Question, Sight};
use crate::id::{BootId, Fact, StepId};

/// When an entry was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// The entry's number.
    pub seq: u64,
    /// Microseconds since the first entry of the run. Never goes back.
    pub at: u64,
    /// Microseconds since 1970, by the clock on the wall.
    pub wall: i64,
}

impl Stamp {
    /// `2026-11-22 04:02:11.123 UTC`.
    pub fn exactly(&self) -> String {
        moment(self.wall, "%Y-%m-%d %H:%M:%S%.3f UTC")
    }

    /// For programs: `2026-11-22T04:02:11.123456Z`.
    pub fn rfc3339(&self) -> String {
        moment(self.wall, "%Y-%m-%dT%H:%M:%S%.6fZ")
    }

    /// `2026-11-22 04:02:11 UTC`.
    pub fn to_the_second(&self) -> String {
        moment(self.wall, "%Y-%m-%d %H:%M:%S UTC")
    }

    /// `04:02:11`.
    pub fn time_of_day(&self) -> String {
        moment(self.wall, "%H:%M:%S")
    }
}

/// Microseconds since 1970 as a text of this form.
pub fn moment(wall: i64, form: &str) -> String {
    DateTime::<Utc>::from_timestamp_micros(wall).map_or_else(|| "?".to_owned(), |time| time.format(form).to_string())
}

/// Follows the clocks of a run: the one that cannot be set where it goes on, the one on the wall over a restart of the machine.
#[derive(Debug, Default)]
pub struct Clock {
    last: Option<(BootId, u64, Stamp)>,
}

impl Clock {
    /// When this entry, the next of its run, was written.
    pub fn take(&mut self, entry: &Entry) -> Stamp {
        let wall = DateTime::parse_from_rfc3339(entry.time.as_str()).map(|time| time.timestamp_micros());
        let stamp = match &self.last {
            None => Stamp { seq: entry.seq, at: 0, wall: wall.unwrap_or_default() },
            Some((boot, mono, last)) => {
                let wall = wall.unwrap_or(last.wall);
                let passed = if *boot == entry.boot {
                    entry.mono.saturating_sub(*mono) / 1000
                } else {
                    u64::try_from(wall.saturating_sub(last.wall)).unwrap_or_default()
                };
                Stamp { seq: entry.seq, at: last.at.saturating_add(passed), wall }
            }
        };
        self.last = Some((entry.boot.clone(), entry.mono, stamp));
        stamp
    }
}

/// What was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitedFor {
    /// A person's answer.
    Person(Asked),
    /// What a step ensures, after its action had ended.
    Facts(Vec<Fact>),
    /// The pause before an attempt.
    Pause,
    /// Somebody who takes up the run, which had halted or died, or gives it up.
    TakingUp,
}

/// What a person was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A question of the run.
    Question(Question),
    /// What is to become of a step that a signal interrupted.
    Stopping,
}

impl Asked {
    /// In a few words.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Question(Question::Confirm) => "confirmation",
            Self::Question(Question::Manual) => "manual task",
            Self::Question(Question::GoOn) => "whether to go on",
            Self::Question(Question::WhatNext) => "what to do about a failure",
            Self::Question(Question::RunAgain) => "whether to run a step again",
            Self::Stopping => "what becomes of the interrupted step",
        }
    }
}

/// One time of waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// For what.
    pub waited_for: WaitedFor,
    /// The step at which the run stood, if it stood at one.
    pub step: Option<StepId>,
    /// From when.
    pub from: Stamp,
    /// Until when.
    pub until: Stamp,
}

impl Wait {
    /// How long, in microseconds.
    pub fn micros(&self) -> u64 {
        self.until.at.saturating_sub(self.from.at)
    }
}

/// Tells the waits of one run.
#[derive(Debug, Default)]
pub struct Waits {
    /// Since when nothing has happened but that somebody may have been asked.
    quiet: Stamp,
    intended: Option<(StepId, Stamp)>,
    ended: Option<Stamp>,
    pause: Option<(StepId, Stamp, u64)>,
    halted: Option<Stamp>,
}

impl Waits {
    /// The waits that this event, which happened then, tells the end of.
    pub fn take(&mut self, stamp: Stamp, event: &Event) -> Vec<Wait> {
        let mut told = Vec::new();
        if let Some((step, from, micros)) = self.pause.take() {
            let until = Stamp { at: stamp.at.min(from.at.saturating_add(micros)), ..stamp };
            self.quiet = until;
            told.push(Wait { waited_for: WaitedFor::Pause, step: Some(step), from, until });
        }
        let last = self.quiet;
        if !is_beside(event) {
            self.quiet = stamp;
        }
        match event {
            Event::StepIntended { step, .. } => {
                self.intended = Some((step.clone(), stamp));
                self.ended = None;
            }
            Event::StepEnded { ending, .. } => {
                self.ended = match ending {
                    Ending::Exited { .. } | Ending::Attested | Ending::NothingToDo => Some(stamp),
                    Ending::Signalled { .. }
                    | Ending::TimedOut
                    | Ending::Stopped
                    | Ending::Interrupted
                    | Ending::NotStarted { .. } => None,
                };
            }
            Event::StepDone { step, ensures, .. } | Event::StepFailed { step, ensures, .. } => {
                // What was seen at the first look was not waited for.
                let waited = |from: &Stamp| !ensures.is_empty() && stamp.at > from.at;
                if let Some(from) = self.ended.take().filter(waited) {
                    let facts = ensures.iter().map(|sight: &Sight| sight.fact.clone()).collect();
                    told.push(wait(WaitedFor::Facts(facts), Some(step), from, stamp));
                }
            }
            Event::Answered { step, question, by: AnsweredBy::Terminal, .. }
            | Event::Declined { step, question, by: AnsweredBy::Terminal, .. } => {
                let from = match (question, &self.intended) {
                    (Question::Manual, Some((_, intended))) => *intended,
                    (
                        Question::Manual | Question::Confirm | Question::GoOn | Question::WhatNext | Question::RunAgain,
                        Some(_) | None,
                    ) => last,
                };
                told.push(wait(WaitedFor::Person(Asked::Question(*question)), Some(step), from, stamp));
            }
            Event::StopDecided { step, by: AnsweredBy::Terminal, .. } => {
                told.push(wait(WaitedFor::Person(Asked::Stopping), Some(step), last, stamp));
            }
            Event::StepRetried { step, pause_millis, .. } if *pause_millis > 0 => {
                self.pause = Some((step.clone(), stamp, pause_millis.saturating_mul(1000)));
            }
            Event::RunHalted { .. } => self.halted = Some(stamp),
            Event::RunResumed { .. } | Event::RunAbandoned { .. } => {
                let from = self.halted.take().unwrap_or(last);
                let step = self.intended.as_ref().map(|(step, _)| step);
                told.push(wait(WaitedFor::TakingUp, step, from, stamp));
            }
            Event::LogCreated { .. }
            | Event::LogRepaired { .. }
            | Event::LogKeyReplaced { .. }
            | Event::CheckpointSinkFailed { .. }
            | Event::EntriesArchived { .. }
            | Event::LockRemoved { .. }
            | Event::LockKept { .. }
            | Event::RunRefused { .. }
            | Event::RunOpened { .. }
            | Event::ApprovalAccepted(_)
            | Event::GlassBroken(_)
            | Event::GlassTold { .. }
            | Event::NotifyFailed { .. }
            | Event::WatchesArmed { .. }
            | Event::Answered { .. }
            | Event::Declined { .. }
            | Event::StepAlready { .. }
            | Event::StepNotApplicable { .. }
            | Event::OverrideAccepted(_)
            | Event::OverrideRefused { .. }
            | Event::StepSkipped { .. }
            | Event::StepAccepted { .. }
            | Event::WaivedFactSeen { .. }
            | Event::StepRetried { .. }
            | Event::RerunBegan { .. }
            | Event::RerunNotNeeded { .. }
            | Event::UndoBegan { .. }
            | Event::HoldBroken { .. }
            | Event::SecretAsked { .. }
            | Event::SignalReceived { .. }
            | Event::StopDecided { .. }
            | Event::TakeUpRefused { .. }
            | Event::RunUndone { .. }
            | Event::RunCompleted { .. } => {}
        }
        told
    }
}

fn wait(waited_for: WaitedFor, step: Option<&StepId>, from: Stamp, until: Stamp) -> Wait {
    Wait { waited_for, step: step.cloned(), from, until }
}

/// What may be recorded while a question stands, and answers it not.
fn is_beside(event: &Event) -> bool {
    matches!(
        event,
        Event::OverrideRefused { .. }
            | Event::TakeUpRefused { .. }
            | Event::WaivedFactSeen { .. }
            | Event::HoldBroken { .. }
    )
}
