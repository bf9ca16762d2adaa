//! What follows when somebody wants the run to stop: by a signal, or by what they answer when they are asked what they want.

use std::time::Duration;

use crate::history::clip::clip;
use crate::history::event::{AnsweredBy, Cause, Ending, Event, Heed, StopDecision};
use crate::history::state::{Phase, Stopping};
use crate::machine::answer::stop_decision;
use crate::machine::{Decision, Effect, GRACE, Machine, People, StopSignal};
use crate::runbook::duration;
use crate::runbook::model::{Action, Step};

impl Machine<'_> {
    pub(super) fn signal(&self, signal: StopSignal) -> Decision {
        let Some(at) = self.state.current() else { return Decision::default() };
        let step = &self.procedure.steps()[at];
        let acting = matches!(self.state.phase, Phase::Acting { .. });
        let running = acting && matches!(step.action, Action::Run(_) | Action::Script(_));
        let asked = self.state.stopping == Some(Stopping::Asked);
        let (name, heed) = match signal {
            StopSignal::Keyboard(name)
                if running && self.state.stopping.is_none() && self.settings.people == People::Terminal =>
            {
                (name, Heed::Asks)
            }
            StopSignal::Keyboard(name) | StopSignal::Now(name) | StopSignal::AfterStep(name) => (name, Heed::AtOnce),
        };
        let mut decision = match signal {
            StopSignal::Keyboard(_) if heed == Heed::Asks => {
                Decision { events: Vec::new(), effects: vec![Effect::AskToStop { ask: self.whether_to_stop(step) }] }
            }
            StopSignal::AfterStep(_) if running || matches!(self.state.phase, Phase::Verifying { .. }) => {
                Decision::default()
            }
            // Who interrupts again instead of answering wants the end of it.
            StopSignal::Keyboard(_) if running && asked => end(Effect::Kill(Ending::Interrupted)),
            StopSignal::Keyboard(_) | StopSignal::Now(_) if running && self.being_ended() => {
                end(Effect::Kill(Ending::Interrupted))
            }
            StopSignal::Keyboard(_) | StopSignal::Now(_) if running => end(Effect::Terminate(Ending::Interrupted)),
            StopSignal::Keyboard(_) | StopSignal::Now(_) | StopSignal::AfterStep(_) if acting => {
                let mut decision = self.action_over(at, Ending::Interrupted, Duration::ZERO, None, Vec::new());
                decision.effects.insert(0, Effect::Withdraw);
                decision
            }
            StopSignal::Keyboard(_) | StopSignal::Now(_) | StopSignal::AfterStep(_) => {
                let reason = format!("{name} came {} step `{}`", self.where_it_stands(), step.id);
                let halted = self.halt_event(Cause::Interrupted, reason, Some(at), Vec::new());
                Decision { events: vec![halted], effects: vec![Effect::Withdraw, Effect::Finish] }
            }
        };
        if running {
            self.withdraw_question(&mut decision);
        }
        let step = acting.then(|| step.id.clone());
        decision.events.insert(0, Event::SignalReceived { signal: name.to_owned(), step, heed });
        decision
    }

    /// Others had to be told, and were not, so nothing more begins. Nothing runs: the driver asks before each step.
    pub(super) fn not_told(&self, why: &str) -> Decision {
        let (Phase::Ready { .. } | Phase::Failed { .. }, Some(at)) = (self.state.phase, self.state.current()) else {
            return Decision::default();
        };
        let reason =
            format!("the policy requires that others are told, before step `{}`: {why}", self.procedure.steps()[at].id);
        let halted = self.halt_event(Cause::NotAllowed, reason, Some(at), Vec::new());
        Decision { events: vec![halted], effects: vec![Effect::Withdraw, Effect::Finish] }
    }

    /// The person who interrupted the running step said what they want. Silence is not a word to go on: the step may finish, and
    /// nothing more starts.
    pub(super) fn stop_answered(&self, words: &str, by: AnsweredBy) -> Decision {
        let (Phase::Acting { step: at }, Some(Stopping::Asked)) = (self.state.phase, self.state.stopping) else {
            return Decision::default();
        };
        let step = &self.procedure.steps()[at];
        let decision = stop_decision(words).unwrap_or(StopDecision::Finish);
        let decided = Event::StopDecided {
            step: step.id.clone(),
            ask: clip(&self.whether_to_stop(step), 8192),
            answer: clip(words, 4096),
            decision,
            by,
        };
        let effects = match decision {
            StopDecision::Stop => vec![Effect::Terminate(Ending::Interrupted)],
            StopDecision::Finish | StopDecision::Continue => Vec::new(),
        };
        Decision { events: vec![decided], effects }
    }

    /// What the person is asked about is over, or decided otherwise: nobody waits for the answer any more.
    pub(super) fn withdraw_question(&self, decision: &mut Decision) {
        if self.state.stopping == Some(Stopping::Asked) {
            decision.effects.insert(0, Effect::Withdraw);
        }
    }

    /// Whether the running step was told to end already.
    pub(super) fn being_ended(&self) -> bool {
        match self.state.stopping {
            Some(Stopping::HoldBroken | Stopping::Signal) => true,
            Some(Stopping::AfterStep | Stopping::Asked | Stopping::Declined) | None => false,
        }
    }

    fn whether_to_stop(&self, step: &Step) -> String {
        let what = if self.back.is_some() { "the undo of step" } else { "step" };
        format!(
            "Stop {what} `{}` now? It goes on meanwhile, under its guards. `stop` ends it (SIGTERM, then SIGKILL after {}) and leaves \
             it in doubt, `finish` lets it end and halts before the next, `continue` goes on. Ctrl-C again kills it at once",
            step.id,
            duration::show(GRACE)
        )
    }

    fn where_it_stands(&self) -> &'static str {
        if matches!(self.state.phase, Phase::Verifying { .. }) { "while verifying" } else { "before" }
    }
}

fn end(effect: Effect) -> Decision {
    Decision { events: Vec::new(), effects: vec![effect] }
}
