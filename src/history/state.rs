//! The state of a run, as the fold of its events by one pure function that refuses an event which cannot follow. The live
//! run, `verify` and the reports share this fold, so an illegal history cannot be written by the one or passed by the others.
//!
//! What it never allows: a step that starts before the one in front of it has ended well, a step that starts after a held fact
//! broke or a signal came, and a completion while a step is open.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::again::Again;
use crate::history::approval::{Approval, Intake};
use crate::history::event::{Cause, Ending, Event, Heed, Question, Sight, StopDecision, Verdict as Seen, Way};
use crate::history::glass::GlassUnder;
use crate::history::overrides::Overrides;
use crate::id::{Digest, Fact, Fingerprint, Person, StepId};

/// The state of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Where the run stands.
    pub phase: Phase,
    /// The digest of its plan; none before it is opened.
    pub plan: Option<Digest>,
    /// How many steps the plan has.
    pub total: usize,
    /// Each step that was begun with its status, in order.
    pub steps: Vec<StepState>,
    /// The ids of all steps in order, where the plan is at hand: then a step is checked against it as well.
    pub order: Option<Vec<StepId>>,
    /// Whether the questions before the start of the step that is next were answered: its `confirm`, and `run --step`.
    pub answered: Answered,
    /// Why nothing more may start, once something said so.
    pub stopping: Option<Stopping>,
    /// The way back, once it was begun: a run of its own over the undos, whose events are those that say `"way":"back"`.
    pub back: Option<Box<State>>,
    /// A step that is run again: a run of its own over that one step, whose events are those that say `"way":"again"`.
    pub again: Option<Box<Again>>,
    /// The steps that a person at the terminal wants run again, since the run was taken up.
    pub wanted: Vec<StepId>,
    /// The steps of which it is settled, since the run was taken up, whether they are run again: they were, or are not.
    pub settled: Vec<StepId>,
    /// The facts that did not hold when they were last looked at.
    pub broken: BTreeSet<Fact>,
    /// The signatures over its plan that were taken when it was opened or, anew, when it was taken up last with any.
    pub approvals: Vec<Approval>,
    /// Who has signed which request for a deviation.
    pub signed_requests: BTreeSet<(Digest, Person)>,
    /// Whether signatures may be taken now.
    pub intake: Intake,
    /// Whether the run was taken up again and nothing of it was done since, but for steps that were run again.
    pub resumed: Resumed,
    /// The permissions to leave the procedure, and what was made of them.
    pub overrides: Overrides,
    /// What a review is due for, because the glass was broken.
    pub to_review: Vec<GlassUnder>,
}

/// Whether a run was just taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resumed {
    /// No.
    #[default]
    No,
    /// Yes: every hold is to be established anew.
    JustNow,
}

/// Which questions were answered for the step that is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answered {
    /// The step's own `confirm`.
    pub confirm: bool,
    /// `run --step`.
    pub go_on: bool,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Nothing is recorded of it yet.
    #[default]
    New,
    /// No step is open; `next` is the index of the one that comes, or the number of steps when all have ended.
    Ready {
        /// Index of the next step.
        next: usize,
    },
    /// A step was announced; its action may be running.
    Acting {
        /// Index of the step.
        step: usize,
    },
    /// The action of a step ended; what it ensures is still to be seen.
    Verifying {
        /// Index of the step.
        step: usize,
    },
    /// A step failed or is in doubt; it is attempted again, taken back, or the run halts.
    Failed {
        /// Index of the step.
        step: usize,
    },
    /// The run is over.
    Over(Verdict),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was started.
    Refused(Cause),
    /// It stopped in the middle.
    Halted(Cause),
    /// Everything was done as written.
    Completed,
    /// Every step that was done or begun was taken back.
    Undone,
    /// A person gave it up.
    Abandoned,
}

/// A step and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepState {
    /// Its id.
    pub id: StepId,
    /// How often it was attempted.
    pub attempts: u32,
    /// What became of it.
    pub status: StepStatus,
    /// What the programs that it replaces were when it was done last, by their paths.
    pub replaced: BTreeMap<String, Fingerprint>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepStatus {
    /// It was announced, and nobody has seen it end. If the run is dead, it is in doubt.
    Open,
    /// Done.
    Done,
    /// It was already so.
    Already,
    /// Its own condition was not met.
    NotApplicable,
    /// Its action failed, or what it ensures did not come true.
    Failed,
    /// It was stopped in the middle: nobody knows how far it came.
    InDoubt,
    /// It was not done, by an override.
    Skipped,
    /// It did not end well and counts as done, by an override.
    Accepted,
}

/// Why nothing more may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// A held fact broke.
    HoldBroken,
    /// A signal asked to stop now.
    Signal,
    /// What runs may finish, and nothing more starts: the terminal is gone, or a person wants it so.
    AfterStep,
    /// A person interrupted the running step and is asked what is to become of it. Until they say, what runs may finish, and
    /// nothing more starts.
    Asked,
    /// A person declined.
    Declined,
}

/// An event that cannot follow the state it met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("illegal history: {0}")]
pub struct IllegalEvent(pub String);

impl State {
    /// Changes the state by one event, or refuses it and leaves the state as it was.
    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        self.route(event)?;
        self.note_what_was_seen(event);
        self.note_intake(event);
        Ok(())
    }

    fn route(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        match self.way_of(event) {
            Some(Way::Again) => {
                self.running("a step was run again")?;
                return self.apply_again(event);
            }
            Some(_) if self.again.is_some() => return refuse("another step while one was being run again"),
            Some(Way::Back) => {
                self.running("a step was taken back")?;
                let Some(back) = &mut self.back else { return refuse("a step was taken back before going back began") };
                self.resumed = Resumed::No;
                return back.apply_here(event);
            }
            Some(Way::Forward) if self.back.is_some() => return refuse("a step was done after going back had begun"),
            Some(Way::Forward) | None => {}
        }
        match (&mut self.again, &mut self.back) {
            (Some(again), _) if belongs_to_what_is_carried_out(event) => again.run.apply_here(event),
            (None, Some(back)) if belongs_to_what_is_carried_out(event) => back.apply_here(event),
            (Some(_) | None, Some(_) | None) => self.apply_here(event),
        }
    }

    pub(super) fn apply_here(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        match event {
            Event::LogCreated { .. }
            | Event::LogRepaired { .. }
            | Event::LogKeyReplaced { .. }
            | Event::CheckpointSinkFailed { .. }
            | Event::EntriesArchived { .. }
            | Event::LockRemoved { .. }
            | Event::LockKept { .. }
            | Event::NotifyFailed { .. } => refuse("an entry about the log inside a run"),
            Event::RunOpened { plan, steps, .. } => self.open(plan, *steps),
            Event::RunRefused { cause, .. } => self.refuse_run(*cause),
            Event::ApprovalAccepted(approval) => self.accept_approval(approval),
            Event::GlassBroken(glass) => self.break_glass(glass),
            // What it says is for people.
            Event::GlassTold { .. } => Ok(()),
            Event::WatchesArmed { .. } => match self.phase {
                Phase::Ready { .. } | Phase::Failed { .. } => Ok(()),
                _ => refuse("watches were armed outside the opening of a run"),
            },
            Event::Answered { step, question, answer, .. } => self.answer(step, *question, answer),
            Event::Declined { step, question, .. } => {
                self.asked(step, *question)?;
                self.stopping.get_or_insert(Stopping::Declined);
                Ok(())
            }
            Event::StepIntended { step, attempt, waived, requires, .. } => {
                let missing = requires.iter().find(|sight| !seen_to_hold(sight) && !waived.contains(&sight.fact));
                if let Some(sight) = missing {
                    return refuse(format!("step `{step}` began though `{}` {}", sight.fact, sight.verdict));
                }
                self.intend(step, *attempt, waived)
            }
            Event::StepEnded { step, attempt, ending, .. } => self.end_action(step, *attempt, ending),
            Event::StepDone { step, attempt, replaced, ensures, .. } => {
                if let Some(sight) = ensures.iter().find(|sight| !seen_to_hold(sight)) {
                    return refuse(format!("step `{step}` is done though `{}` {}", sight.fact, sight.verdict));
                }
                let Phase::Verifying { step: at } = self.phase else {
                    return refuse(format!("step `{step}` is done, but its action was not seen to end well"));
                };
                self.same_attempt(at, step, *attempt)?;
                self.steps[at].replaced.clone_from(replaced);
                self.settle(at, StepStatus::Done);
                Ok(())
            }
            Event::StepAlready { step, seen } => {
                let at = self.next_is(step)?;
                self.may_go_on(step)?;
                self.overrides.pass(step, seen)?;
                self.reach(at, step);
                self.settle(at, StepStatus::Already);
                Ok(())
            }
            Event::StepFailed { step, attempt, .. } => {
                let (Phase::Verifying { step: at } | Phase::Failed { step: at }) = self.phase else {
                    return refuse(format!("step `{step}` failed, but its action was not seen to end"));
                };
                self.same_attempt(at, step, *attempt)?;
                self.steps[at].status = StepStatus::Failed;
                self.phase = Phase::Failed { step: at };
                Ok(())
            }
            Event::StepNotApplicable { step, .. } => {
                let at = self.next_is(step)?;
                self.may_go_on(step)?;
                self.reach(at, step);
                self.settle(at, StepStatus::NotApplicable);
                Ok(())
            }
            Event::StepRetried { step, .. } => match self.phase {
                Phase::Failed { step: at } if self.steps[at].id == *step => {
                    self.answered = Answered::default();
                    self.phase = Phase::Ready { next: at };
                    // What stopped the attempt before is looked at afresh.
                    if self.stopping == Some(Stopping::HoldBroken) {
                        self.stopping = None;
                    }
                    Ok(())
                }
                _ => refuse(format!("step `{step}` is attempted again, but it had not failed")),
            },
            Event::OverrideAccepted(_)
            | Event::StepSkipped { .. }
            | Event::StepAccepted { .. }
            | Event::WaivedFactSeen { .. } => self.apply_override(event),
            Event::OverrideRefused { .. } => Ok(()),
            // Of one that is to be reviewed it is a review that was refused.
            Event::TakeUpRefused { .. } if !self.to_review.is_empty() => Ok(()),
            Event::TakeUpRefused { .. } => match self.phase {
                Phase::New
                | Phase::Over(Verdict::Completed | Verdict::Undone | Verdict::Abandoned | Verdict::Refused(_)) => {
                    refuse("somebody wanted to take up a run that is not open")
                }
                Phase::Over(Verdict::Halted(_))
                | Phase::Ready { .. }
                | Phase::Acting { .. }
                | Phase::Verifying { .. }
                | Phase::Failed { .. } => Ok(()),
            },
            Event::RerunBegan { step, seen, .. } => self.begin_rerun(step, seen),
            Event::RerunNotNeeded { step, seen } => self.pass_over_rerun(step, seen),
            Event::UndoBegan { steps, .. } => match self.phase {
                Phase::Ready { .. } | Phase::Failed { .. } if self.back.is_none() && self.again_is_still() => {
                    // What was run again and did not end well is taken back with the rest.
                    self.again = None;
                    self.stopping = None;
                    self.resumed = Resumed::No;
                    self.back = Some(Box::new(Self {
                        phase: Phase::Ready { next: 0 },
                        plan: self.plan.clone(),
                        total: *steps,
                        ..Self::default()
                    }));
                    Ok(())
                }
                _ => refuse("going back began twice, or while a step was open, or in a run that is not open"),
            },
            Event::RunResumed { .. } => self.resume(),
            Event::RunUndone { .. } => match &self.back {
                Some(back) if back.phase == (Phase::Ready { next: back.total }) && self.again.is_none() => {
                    self.phase = Phase::Over(Verdict::Undone);
                    Ok(())
                }
                Some(_) | None => refuse("a run was undone with a step that had not been taken back"),
            },
            Event::RunAbandoned { .. } => match self.phase {
                Phase::Over(Verdict::Halted(_))
                | Phase::Ready { .. }
                | Phase::Acting { .. }
                | Phase::Verifying { .. }
                | Phase::Failed { .. } => {
                    self.phase = Phase::Over(Verdict::Abandoned);
                    Ok(())
                }
                Phase::New | Phase::Over(_) => refuse("a run was abandoned that is not open"),
            },
            Event::HoldBroken { .. } => {
                self.running("a held fact broke")?;
                self.stopping = Some(Stopping::HoldBroken);
                Ok(())
            }
            Event::SecretAsked { .. } => self.running("a secret was asked for"),
            Event::SignalReceived { heed: Heed::Asks, .. } => match (self.phase, self.stopping) {
                (Phase::Acting { .. }, None) => {
                    self.stopping = Some(Stopping::Asked);
                    Ok(())
                }
                _ => {
                    refuse("a person was asked about stopping, but no step was acting or something had said so already")
                }
            },
            Event::SignalReceived { signal, heed: Heed::AtOnce, .. } => {
                self.running("a signal came")?;
                let why = if signal == "SIGHUP" { Stopping::AfterStep } else { Stopping::Signal };
                if matches!(self.stopping, None | Some(Stopping::AfterStep | Stopping::Asked)) {
                    self.stopping = Some(why);
                }
                Ok(())
            }
            Event::StopDecided { step, decision, .. } => match (self.phase, self.stopping) {
                (Phase::Acting { step: at }, Some(Stopping::Asked)) if self.steps[at].id == *step => {
                    self.stopping = match decision {
                        StopDecision::Stop => Some(Stopping::Signal),
                        StopDecision::Finish => Some(Stopping::AfterStep),
                        StopDecision::Continue => None,
                    };
                    Ok(())
                }
                _ => refuse(format!("a decision about stopping step `{step}`, about which nobody was asked")),
            },
            Event::RunHalted { cause, .. } => {
                self.running("a run halted")?;
                if let Some(again) = &mut self.again {
                    again.run.stand_still()?;
                }
                if let Some(back) = &mut self.back {
                    back.stand_still()?;
                }
                self.stand_still()?;
                self.phase = Phase::Over(Verdict::Halted(*cause));
                Ok(())
            }
            Event::RunCompleted { .. } if self.back.is_some() => refuse("a run completed after going back had begun"),
            Event::RunCompleted { .. } if self.again.is_some() => {
                refuse("a run completed while a step was being run again")
            }
            Event::RunCompleted { deviations, .. } => match self.phase {
                Phase::Ready { next }
                    if next == self.total
                        && self.stopping != Some(Stopping::HoldBroken)
                        && *deviations == self.overrides.used.len() =>
                {
                    self.phase = Phase::Over(Verdict::Completed);
                    Ok(())
                }
                _ => refuse(
                    "a run completed with a step that had not ended well, with a broken hold, or with deviations that it does not tell",
                ),
            },
        }
    }

    /// Nothing is running any more: a step that was being verified is in doubt.
    fn stand_still(&mut self) -> Result<(), IllegalEvent> {
        match self.phase {
            Phase::Acting { step } => {
                return refuse(format!("the run halted while step `{}` was acting", self.steps[step].id));
            }
            Phase::Verifying { step } => {
                self.steps[step].status = StepStatus::InDoubt;
                self.phase = Phase::Failed { step };
            }
            Phase::New | Phase::Ready { .. } | Phase::Failed { .. } | Phase::Over(_) => {}
        }
        Ok(())
    }

    /// Stands again where it stood when it halted or died.
    fn resume(&mut self) -> Result<(), IllegalEvent> {
        match self.phase {
            Phase::New => return refuse("a run was resumed that never began"),
            Phase::Over(Verdict::Halted(_)) => {}
            Phase::Over(_) => return refuse("a run was resumed that is over"),
            // The program died: nobody saw how the open step ended.
            Phase::Ready { .. } | Phase::Acting { .. } | Phase::Verifying { .. } | Phase::Failed { .. } => {}
        }
        if let Some(back) = &mut self.back {
            back.stand_again();
            // What was interrupted on the way back is in doubt too; its undo is attempted again.
            if let Phase::Failed { step } = back.phase {
                back.phase = Phase::Ready { next: step };
            }
        }
        self.resume_again();
        self.stand_again();
        self.wanted.clear();
        self.settled.clear();
        self.overrides.lapse();
        self.resumed = Resumed::JustNow;
        Ok(())
    }

    pub(super) fn stand_again(&mut self) {
        self.stopping = None;
        self.answered = Answered::default();
        self.phase = match self.steps.last_mut() {
            Some(last) => match last.status {
                StepStatus::Done
                | StepStatus::Already
                | StepStatus::NotApplicable
                | StepStatus::Skipped
                | StepStatus::Accepted => Phase::Ready { next: self.steps.len() },
                StepStatus::Failed => Phase::Failed { step: self.steps.len() - 1 },
                StepStatus::Open | StepStatus::InDoubt => {
                    last.status = StepStatus::InDoubt;
                    Phase::Failed { step: self.steps.len() - 1 }
                }
            },
            None => Phase::Ready { next: 0 },
        };
    }

    /// The index of the step that is open or comes next; none before the opening and after the end.
    pub fn current(&self) -> Option<usize> {
        match self.phase {
            Phase::Ready { next } if next < self.total => Some(next),
            Phase::Acting { step } | Phase::Verifying { step } | Phase::Failed { step } => Some(step),
            Phase::New | Phase::Ready { .. } | Phase::Over(_) => None,
        }
    }

    /// What a program file was when the last step that replaces it, and was not undone since, was done; none if there is no
    /// such step.
    pub fn replaced(&self, path: &str) -> Option<(&StepId, &Fingerprint)> {
        let undone = |id: &StepId| {
            let mut back = self.back.iter().flat_map(|back| &back.steps);
            back.any(|step| step.id == *id && step.status == StepStatus::Done)
        };
        let done = self.steps.iter().rev().filter(|step| step.status == StepStatus::Done && !undone(&step.id));
        done.filter_map(|step| step.replaced.get(path).map(|fingerprint| (&step.id, fingerprint))).next()
    }

    /// How often the step with this index was attempted.
    pub fn attempts(&self, step: usize) -> u32 {
        self.steps.get(step).map_or(0, |state| state.attempts)
    }

    /// Whether anything of the run was begun: a step announced, or one found already so.
    pub fn begun(&self) -> bool {
        !self.steps.is_empty()
    }

    fn open(&mut self, plan: &Digest, steps: usize) -> Result<(), IllegalEvent> {
        if self.phase != Phase::New {
            return refuse("a run opened twice");
        }
        self.plan = Some(plan.clone());
        self.total = steps;
        self.phase = Phase::Ready { next: 0 };
        Ok(())
    }

    fn refuse_run(&mut self, cause: Cause) -> Result<(), IllegalEvent> {
        match self.phase {
            Phase::New | Phase::Ready { next: 0 } if !self.begun() => {
                self.phase = Phase::Over(Verdict::Refused(cause));
                Ok(())
            }
            _ => refuse("a run was refused after something of it had begun"),
        }
    }

    fn answer(&mut self, step: &StepId, question: Question, answer: &str) -> Result<(), IllegalEvent> {
        self.asked(step, question)?;
        match question {
            Question::Confirm => self.answered.confirm = true,
            Question::GoOn => self.answered.go_on = true,
            Question::RunAgain if answer.trim() == "again" => self.wanted.push(step.clone()),
            Question::RunAgain => self.settled.push(step.clone()),
            Question::Manual | Question::WhatNext => {}
        }
        Ok(())
    }

    /// Whether this question may be answered now: before the start for all but a manual task.
    fn asked(&self, step: &StepId, question: Question) -> Result<(), IllegalEvent> {
        match (question, self.phase) {
            (Question::Confirm | Question::GoOn, Phase::Ready { .. }) => self.next_is(step).map(|_| ()),
            (Question::Manual, Phase::Acting { step: at }) if self.steps[at].id == *step => Ok(()),
            (Question::WhatNext, Phase::Failed { step: at }) if self.steps[at].id == *step => Ok(()),
            (Question::RunAgain, _) => self.may_be_run_again(step).map(|_| ()),
            (Question::Confirm | Question::GoOn | Question::Manual | Question::WhatNext, _) => {
                refuse(format!("an answer for step `{step}`, which was not asking"))
            }
        }
    }

    fn intend(&mut self, step: &StepId, attempt: u32, waived: &[Fact]) -> Result<(), IllegalEvent> {
        let at = self.next_is(step)?;
        self.may_go_on(step)?;
        if attempt != self.attempts(at) + 1 {
            return refuse(format!("attempt {attempt} of step `{step}` does not follow attempt {}", self.attempts(at)));
        }
        self.overrides.may_begin(step, waived)?;
        match self.steps.get_mut(at) {
            Some(state) if state.id == *step => {
                state.attempts = attempt;
                state.status = StepStatus::Open;
            }
            Some(state) => return refuse(format!("step `{step}` began in the place of `{}`", state.id)),
            None => self.steps.push(StepState {
                id: step.clone(),
                attempts: attempt,
                status: StepStatus::Open,
                replaced: BTreeMap::new(),
            }),
        }
        self.overrides.begin(step, waived);
        self.resumed = Resumed::No;
        self.phase = Phase::Acting { step: at };
        Ok(())
    }

    fn end_action(&mut self, step: &StepId, attempt: u32, ending: &Ending) -> Result<(), IllegalEvent> {
        let Phase::Acting { step: at } = self.phase else {
            return refuse(format!("step `{step}` ended, but it was not acting"));
        };
        self.same_attempt(at, step, attempt)?;
        match ending {
            Ending::Exited { .. } | Ending::Attested | Ending::NothingToDo => {
                self.phase = Phase::Verifying { step: at }
            }
            Ending::Signalled { .. } | Ending::TimedOut | Ending::NotStarted { .. } => {
                self.steps[at].status = StepStatus::Failed;
                self.phase = Phase::Failed { step: at };
            }
            Ending::Stopped | Ending::Interrupted => {
                self.steps[at].status = StepStatus::InDoubt;
                self.phase = Phase::Failed { step: at };
            }
        }
        Ok(())
    }

    /// Makes room for a step that ends without an attempt; one that was attempted before keeps its count.
    pub(super) fn reach(&mut self, at: usize, step: &StepId) {
        if self.steps.len() == at {
            self.steps.push(StepState {
                id: step.clone(),
                attempts: 0,
                status: StepStatus::Open,
                replaced: BTreeMap::new(),
            });
        }
    }

    pub(super) fn settle(&mut self, at: usize, status: StepStatus) {
        self.steps[at].status = status;
        self.answered = Answered::default();
        self.overrides.waived.clear();
        self.phase = Phase::Ready { next: at + 1 };
    }

    pub(super) fn next_is(&self, step: &StepId) -> Result<usize, IllegalEvent> {
        match self.phase {
            Phase::Ready { next } if next >= self.total => refuse(format!("step `{step}` after the last step")),
            Phase::Ready { next } => match self.order.as_ref().and_then(|order| order.get(next)) {
                Some(expected) if expected != step => {
                    refuse(format!("step `{step}` out of order: `{expected}` comes next"))
                }
                Some(_) => Ok(next),
                None if self.steps.iter().enumerate().any(|(at, state)| state.id == *step && at != next) => {
                    refuse(format!("step `{step}` began twice"))
                }
                None => Ok(next),
            },
            _ => refuse(format!("step `{step}` while another step is open or the run is not")),
        }
    }

    pub(super) fn may_go_on(&self, step: &StepId) -> Result<(), IllegalEvent> {
        match self.stopping {
            None => Ok(()),
            Some(Stopping::HoldBroken) => refuse(format!("step `{step}` began after a held fact had broken")),
            Some(Stopping::Signal | Stopping::AfterStep | Stopping::Asked) => {
                refuse(format!("step `{step}` began after a signal had asked to stop"))
            }
            Some(Stopping::Declined) => refuse(format!("step `{step}` began after a person had declined")),
        }
    }

    pub(super) fn same_attempt(&self, at: usize, step: &StepId, attempt: u32) -> Result<(), IllegalEvent> {
        let state = &self.steps[at];
        if state.id == *step && state.attempts == attempt {
            return Ok(());
        }
        refuse(format!(
            "attempt {attempt} of step `{step}` ended, but attempt {} of step `{}` is open",
            state.attempts, state.id
        ))
    }

    pub(super) fn running(&self, what: &str) -> Result<(), IllegalEvent> {
        match self.phase {
            Phase::New | Phase::Over(_) => refuse(format!("{what} in a run that is not open")),
            Phase::Ready { .. } | Phase::Acting { .. } | Phase::Verifying { .. } | Phase::Failed { .. } => Ok(()),
        }
    }
}

/// While a step is run again, and once going back has begun, these speak of it.
fn belongs_to_what_is_carried_out(event: &Event) -> bool {
    matches!(
        event,
        Event::Answered { .. }
            | Event::Declined { .. }
            | Event::HoldBroken { .. }
            | Event::SignalReceived { .. }
            | Event::StopDecided { .. }
            | Event::SecretAsked { .. }
            | Event::WatchesArmed { .. }
    )
}

pub(super) fn seen_to_hold(sight: &Sight) -> bool {
    sight.verdict == Seen::Holds
}

pub(super) fn refuse<T>(why: impl Into<String>) -> Result<T, IllegalEvent> {
    Err(IllegalEvent(why.into()))
}
