//! The state of a run, as the fold of its events by one pure function that refuses an event which cannot follow. The live
//! run, `verify` and the reports share this fold, so an illegal history cannot be written by the one or passed by the others.
//!
//! What it never allows: a step that starts before the one in front of it has ended well, a step that starts after a held fact
//! broke or a signal came, and a completion while a step is open.

use crate::history::event::{Cause, Ending, Event, Question};
use crate::id::{Digest, StepId};

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
    /// A step failed; nothing but the halt can follow.
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
    /// Its action failed, or what it ensures did not come true.
    Failed,
    /// It was stopped in the middle: nobody knows how far it came.
    InDoubt,
}

/// Why nothing more may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// A held fact broke.
    HoldBroken,
    /// A signal asked to stop now.
    Signal,
    /// The terminal is gone: what runs may finish.
    HangUp,
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
        match event {
            Event::LogCreated { .. } | Event::LogRepaired { .. } => refuse("an entry about the log inside a run"),
            Event::RunOpened { plan, steps, .. } => self.open(plan, *steps),
            Event::RunRefused { cause, .. } => self.refuse_run(*cause),
            Event::WatchesArmed { .. } => match self.phase {
                Phase::Ready { next: 0 } => Ok(()),
                _ => refuse("watches were armed outside the opening of a run"),
            },
            Event::Answered { step, question, .. } => self.answer(step, *question),
            Event::Declined { step, question, .. } => {
                self.asked(step, *question)?;
                self.stopping.get_or_insert(Stopping::Declined);
                Ok(())
            }
            Event::StepIntended { step, attempt, .. } => self.intend(step, *attempt),
            Event::StepEnded { step, attempt, ending, .. } => self.end_action(step, *attempt, ending),
            Event::StepDone { step, attempt, .. } => {
                let Phase::Verifying { step: at } = self.phase else {
                    return refuse(format!("step `{step}` is done, but its action was not seen to end well"));
                };
                self.same_attempt(at, step, *attempt)?;
                self.settle(at, StepStatus::Done);
                Ok(())
            }
            Event::StepAlready { step, .. } => {
                let at = self.next_is(step)?;
                self.may_go_on(step)?;
                self.steps.push(StepState { id: step.clone(), attempts: 0, status: StepStatus::Already });
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
            Event::HoldBroken { .. } => {
                self.running("a held fact broke")?;
                self.stopping = Some(Stopping::HoldBroken);
                Ok(())
            }
            Event::SecretAsked { .. } => self.running("a secret was asked for"),
            Event::SignalReceived { signal, .. } => {
                self.running("a signal came")?;
                let why = if signal == "SIGHUP" { Stopping::HangUp } else { Stopping::Signal };
                if matches!(self.stopping, None | Some(Stopping::HangUp)) {
                    self.stopping = Some(why);
                }
                Ok(())
            }
            Event::RunHalted { cause, .. } => {
                self.running("a run halted")?;
                match self.phase {
                    Phase::Acting { step } => {
                        return refuse(format!("the run halted while step `{}` was acting", self.steps[step].id));
                    }
                    Phase::Verifying { step } => self.steps[step].status = StepStatus::InDoubt,
                    Phase::New | Phase::Ready { .. } | Phase::Failed { .. } | Phase::Over(_) => {}
                }
                self.phase = Phase::Over(Verdict::Halted(*cause));
                Ok(())
            }
            Event::RunCompleted { .. } => match self.phase {
                Phase::Ready { next } if next == self.total && self.stopping != Some(Stopping::HoldBroken) => {
                    self.phase = Phase::Over(Verdict::Completed);
                    Ok(())
                }
                _ => refuse("a run completed with a step that had not ended well, or with a broken hold"),
            },
        }
    }

    /// The index of the step that is open or comes next; none before the opening and after the end.
    pub fn current(&self) -> Option<usize> {
        match self.phase {
            Phase::Ready { next } if next < self.total => Some(next),
            Phase::Acting { step } | Phase::Verifying { step } | Phase::Failed { step } => Some(step),
            Phase::New | Phase::Ready { .. } | Phase::Over(_) => None,
        }
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

    fn answer(&mut self, step: &StepId, question: Question) -> Result<(), IllegalEvent> {
        self.asked(step, question)?;
        match question {
            Question::Confirm => self.answered.confirm = true,
            Question::GoOn => self.answered.go_on = true,
            Question::Manual => {}
        }
        Ok(())
    }

    /// Whether this question may be answered now: before the start for all but a manual task.
    fn asked(&self, step: &StepId, question: Question) -> Result<(), IllegalEvent> {
        match (question, self.phase) {
            (Question::Confirm | Question::GoOn, Phase::Ready { .. }) => self.next_is(step).map(|_| ()),
            (Question::Manual, Phase::Acting { step: at }) if self.steps[at].id == *step => Ok(()),
            (Question::Confirm | Question::GoOn | Question::Manual, _) => {
                refuse(format!("an answer for step `{step}`, which was not asking"))
            }
        }
    }

    fn intend(&mut self, step: &StepId, attempt: u32) -> Result<(), IllegalEvent> {
        let at = self.next_is(step)?;
        self.may_go_on(step)?;
        if attempt != 1 {
            return refuse(format!("attempt {attempt} of step `{step}`, which was never attempted"));
        }
        self.steps.push(StepState { id: step.clone(), attempts: attempt, status: StepStatus::Open });
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

    fn settle(&mut self, at: usize, status: StepStatus) {
        self.steps[at].status = status;
        self.answered = Answered::default();
        self.phase = Phase::Ready { next: at + 1 };
    }

    fn next_is(&self, step: &StepId) -> Result<usize, IllegalEvent> {
        match self.phase {
            Phase::Ready { next } if next >= self.total => refuse(format!("step `{step}` after the last step")),
            Phase::Ready { next } => match self.order.as_ref().and_then(|order| order.get(next)) {
                Some(expected) if expected != step => {
                    refuse(format!("step `{step}` out of order: `{expected}` comes next"))
                }
                Some(_) => Ok(next),
                None if self.steps.iter().any(|state| state.id == *step) => {
                    refuse(format!("step `{step}` began twice"))
                }
                None => Ok(next),
            },
            _ => refuse(format!("step `{step}` while another step is open or the run is not")),
        }
    }

    fn may_go_on(&self, step: &StepId) -> Result<(), IllegalEvent> {
        match self.stopping {
            None => Ok(()),
            Some(Stopping::HoldBroken) => refuse(format!("step `{step}` began after a held fact had broken")),
            Some(Stopping::Signal | Stopping::HangUp) => {
                refuse(format!("step `{step}` began after a signal had asked to stop"))
            }
            Some(Stopping::Declined) => refuse(format!("step `{step}` began after a person had declined")),
        }
    }

    fn same_attempt(&self, at: usize, step: &StepId, attempt: u32) -> Result<(), IllegalEvent> {
        let state = &self.steps[at];
        if state.id == *step && state.attempts == attempt {
            return Ok(());
        }
        refuse(format!(
            "attempt {attempt} of step `{step}` ended, but attempt {} of step `{}` is open",
            state.attempts, state.id
        ))
    }

    fn running(&self, what: &str) -> Result<(), IllegalEvent> {
        match self.phase {
            Phase::New | Phase::Over(_) => refuse(format!("{what} in a run that is not open")),
            Phase::Ready { .. } | Phase::Acting { .. } | Phase::Verifying { .. } | Phase::Failed { .. } => Ok(()),
        }
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, IllegalEvent> {
    Err(IllegalEvent(why.into()))
}
