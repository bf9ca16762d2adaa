//! What people answer.

use std::time::Duration;

use crate::history::clip::clip;
use crate::history::event::{AnsweredBy, Cause, DecidedBy, Ending, Event, Question};
use crate::history::state::{Phase, StepStatus, Stopping};
use crate::machine::answer::{Judgement, accepted_because, judge};
use crate::machine::steps::confirmation_of;
use crate::machine::{Decision, Effect, Establish, Machine, Pace, Reply};
use crate::runbook::model::{Action, Step};

/// What is asked about a step that did not end well.
pub(super) const WHAT_NEXT: &str = "`retry` attempts it again from its start, `undo` takes back everything that was done, the last first, \
                         `halt` leaves all as it stands; it can be resumed";

impl Machine<'_> {
    pub(super) fn answered(&self, reply: &Reply) -> Decision {
        if reply.question == Question::RunAgain {
            return self.answered_to_run_again(reply);
        }
        let Some(at) = self.state.current() else { return Decision::default() };
        let step = &self.procedure.steps()[at];
        let go_on_first = self.settings.pace == Pace::StepByStep && !self.state.answered.go_on;
        let confirm = confirmation_of(step);
        let acceptable = self.may_be_accepted_alone().map(|_| step.id.as_str());
        let (question, expect) = match (self.state.phase, &step.action) {
            (Phase::Failed { .. }, _) => (Question::WhatNext, acceptable),
            (Phase::Ready { .. }, _) if go_on_first => (Question::GoOn, None),
            (Phase::Ready { .. }, _) => match &confirm {
                Some(confirm) if !self.state.answered.confirm => (Question::Confirm, Some(confirm.expect.as_str())),
                Some(_) | None => return Decision::default(),
            },
            (Phase::Acting { .. }, Action::Manual(_)) => (Question::Manual, None),
            (_, Action::Run(_) | Action::Script(_) | Action::Wait | Action::Manual(_)) => {
                return Decision::default();
            }
        };
        let accepted = match reply.by {
            // What was typed beforehand for a manual task is its record; what is typed at the terminal is an answer.
            AnsweredBy::CommandLine if question == Question::Manual => !reply.words.is_empty(),
            AnsweredBy::CommandLine | AnsweredBy::Terminal => {
                judge(question, expect, &reply.words) == Judgement::Accepted
            }
        };
        let (step_id, ask) = (step.id.clone(), clip(&reply.ask, 8192));
        let answer = clip(&reply.words, 4096);
        if !accepted {
            return self.declined(at, Event::Declined { step: step_id, question, ask, answer, by: reply.by });
        }
        let event = Event::Answered { step: step_id, question, ask, answer, by: reply.by };
        let mut decision = match (question, reply.words.trim()) {
            (Question::Manual, _) => self.action_over(at, Ending::Attested, Duration::ZERO, None, Vec::new()),
            (Question::WhatNext, words) if words.starts_with("accept") => {
                let reason = accepted_because(expect, words).expect("only so is it an answer");
                return self.accepted_alone(event, reason);
            }
            (Question::WhatNext, "retry") => self.retry(at, DecidedBy::Person, Duration::ZERO),
            (Question::WhatNext, "undo") => {
                self.go_back(DecidedBy::Person, format!("a person chose it after step `{}`", step.id))
            }
            (Question::RunAgain, _) => return Decision::default(),
            (Question::WhatNext, _) => self.halt(
                self.cause_of_failure(at),
                format!("step `{}` did not end well; a person chose to halt", step.id),
                Some(at),
            ),
            // A person may have taken an hour to answer, so everything is looked at again.
            (Question::Confirm | Question::GoOn, _) => self.begin_with(at, &Establish::Nothing),
        };
        decision.events.insert(0, event);
        decision
    }

    pub(super) fn declined(&self, at: usize, event: Event) -> Decision {
        let step = &self.procedure.steps()[at];
        let reason = format!("a person did not agree at step `{}`", step.id);
        let mut events = vec![event];
        if let Phase::Acting { .. } = self.state.phase {
            let attempt = self.state.attempts(at);
            let ended = self.end_event(&step.id, attempt, Ending::Interrupted, Duration::ZERO, None, Vec::new());
            events.push(ended);
        }
        let cause = match (&self.whole.back, self.state.phase) {
            // An undo that nobody attests was not done: going back did not go all the way.
            (Some(_), _) => Cause::UndoFailed,
            (None, Phase::Failed { .. }) => self.cause_of_failure(at),
            (
                None,
                Phase::New | Phase::Ready { .. } | Phase::Acting { .. } | Phase::Verifying { .. } | Phase::Over(_),
            ) => Cause::Interrupted,
        };
        events.push(self.halt_event(cause, reason, Some(at), Vec::new()));
        Decision { events, effects: vec![Effect::Finish] }
    }

    pub(super) fn ask_what_next(&self, step: &Step, reason: &str) -> Decision {
        let expect = self.offers_acceptance(step).then(|| step.id.to_string());
        let mut decision = self.ask(step, Question::WhatNext, format!("{reason}. {}", self.what_next(step)), expect);
        // What waits for the facts of the failed attempt is not waited for any more.
        decision.effects.insert(0, Effect::Withdraw);
        decision
    }

    /// Why a run halts that stands at a step which did not end well.
    pub(super) fn cause_of_failure(&self, at: usize) -> Cause {
        match (self.state.stopping, self.state.steps.get(at).map(|step| step.status)) {
            (Some(Stopping::HoldBroken), _) => Cause::HoldBroken,
            (_, Some(StepStatus::InDoubt)) => Cause::PersonNeeded,
            (_, _) => Cause::StepFailed,
        }
    }
}
