//! What follows when something is wrong: a break, a failure, a requirement that does not hold.

use std::time::Duration;

use crate::history::clip::clip;
use crate::history::event::{Cause, DecidedBy, Ending, Event, Sight, Verdict};
use crate::history::overrides::Holds;
use crate::history::state::{Phase, Resumed, Stopping};
use crate::machine::entries::{bounded, micros};
use crate::machine::{Break, Decision, Effect, Machine, People};
use crate::runbook::model::{Action, Leftovers, OnFailure, Setting, Step};

impl Machine<'_> {
    pub(super) fn time_is_up(&self) -> Decision {
        let Phase::Acting { step } = self.state.phase else { return Decision::default() };
        if self.being_ended() {
            return Decision::default();
        }
        match self.procedure.steps()[step].action {
            Action::Run(_) | Action::Script(_) => {
                Decision { events: Vec::new(), effects: vec![Effect::Terminate(Ending::TimedOut)] }
            }
            Action::Manual(_) | Action::Wait => {
                let mut decision = self.action_over(step, Ending::TimedOut, Duration::ZERO, None, Vec::new());
                decision.effects.insert(0, Effect::Withdraw);
                decision
            }
        }
    }

    pub(super) fn broke(&self, broke: Break) -> Decision {
        let Some(at) = self.state.current() else { return Decision::default() };
        // A run that was just taken up holds nothing while it is decided how it goes on.
        let nothing_is_held = self.whole.resumed == Resumed::JustNow
            && self.again.is_none()
            && self.back.is_none()
            && (self.whole.back.is_some() || matches!(self.state.phase, Phase::Failed { .. }));
        if let Some(decision) = self.waived_broke(at, &broke) {
            return decision;
        }
        if nothing_is_held || !self.is_held(&broke.sight.fact, at) {
            return Decision::default();
        }
        let step = &self.procedure.steps()[at];
        let acting = matches!(self.state.phase, Phase::Acting { .. });
        let evidence = broke.sight.clone();
        let event = Event::HoldBroken {
            told_by: broke.told_by,
            step: acting.then(|| step.id.clone()),
            look_micros: micros(broke.look),
            freeze_micros: broke.freeze.map(micros),
            blind_millis: broke.blind.map(|blind| u64::try_from(blind.as_millis()).unwrap_or(u64::MAX)),
            sight: broke.sight,
        };
        let mut decision = match (self.state.phase, &step.action) {
            (Phase::Acting { .. }, Action::Run(_) | Action::Script(_)) => {
                let mut decision = Decision { events: Vec::new(), effects: vec![Effect::Kill(Ending::Stopped)] };
                self.withdraw_question(&mut decision);
                decision
            }
            (Phase::Acting { .. }, Action::Manual(_) | Action::Wait) => {
                let mut decision = self.action_over(at, Ending::Stopped, Duration::ZERO, None, Vec::new());
                decision.effects.insert(0, Effect::Withdraw);
                decision
            }
            (Phase::Failed { .. } | Phase::New | Phase::Over(_), _) => Decision::default(),
            (Phase::Verifying { .. }, _) => {
                let reason = format!(
                    "`{}`, which was held, {} after the action of step `{}`: {}",
                    evidence.fact, evidence.verdict, step.id, evidence.evidence
                );
                let failed = Event::StepFailed {
                    step: step.id.clone(),
                    way: self.way(),
                    attempt: self.state.attempts(at),
                    reason: clip(&reason, 8192),
                    ensures: Vec::new(),
                };
                let mut decision = self.after_failure(step, Cause::HoldBroken, reason);
                decision.events.insert(0, failed);
                decision.effects.insert(0, Effect::Withdraw);
                decision
            }
            (Phase::Ready { .. }, _) => {
                let reason = format!(
                    "`{}`, which was held, {} before step `{}`: {}",
                    evidence.fact, evidence.verdict, step.id, evidence.evidence
                );
                let on_failure = self.procedure.plan.runbook.on_failure;
                let mut decision = match (&self.whole.back, &self.settings.people, on_failure) {
                    (Some(_), _, _) => {
                        self.halt(Cause::UndoFailed, format!("going back cannot go on: {reason}"), Some(at))
                    }
                    (None, People::Nobody(_), OnFailure::Undo) if self.again.is_none() => {
                        self.go_back(DecidedBy::Rule, reason)
                    }
                    (None, _, _) => self.halt(Cause::HoldBroken, reason, Some(at)),
                };
                decision.effects.insert(0, Effect::Withdraw);
                decision
            }
        };
        decision.events.insert(0, event);
        decision
    }

    pub(super) fn requirement_missing(&self, next: usize, requires: Vec<Sight>) -> Decision {
        let step = &self.procedure.steps()[next];
        let missing: Vec<Sight> = requires.into_iter().filter(|sight| sight.verdict != Verdict::Holds).collect();
        let words: Vec<String> =
            missing.iter().map(|sight| format!("`{}` {}: {}", sight.fact, sight.verdict, sight.evidence)).collect();
        let reason = format!("step `{}` requires what does not hold: {}", step.id, words.join("; "));
        let was_held = missing.iter().find(|sight| self.held_before(&sight.fact, next)).cloned();
        if self.whole.back.is_some() {
            let reason = format!("going back cannot go on: {reason}");
            let halted = self.halt_event(Cause::UndoFailed, reason, Some(next), missing);
            return Decision { events: vec![halted], effects: vec![Effect::Finish] };
        }
        if let (Some(sight), Resumed::No, Holds::AsWritten) = (was_held, self.whole.resumed, self.state.overrides.holds)
        {
            let broken = Event::HoldBroken {
                sight,
                step: None,
                told_by: "the look before the step".to_owned(),
                look_micros: 0,
                freeze_micros: None,
                blind_millis: None,
            };
            let mut decision = match (&self.settings.people, self.procedure.plan.runbook.on_failure) {
                (People::Nobody(_), OnFailure::Undo) => self.go_back(DecidedBy::Rule, reason),
                (People::Nobody(_) | People::Terminal, _) => Decision {
                    events: vec![self.halt_event(Cause::HoldBroken, reason, Some(next), missing)],
                    effects: vec![Effect::Finish],
                },
            };
            decision.events.insert(0, broken);
            return decision;
        }
        if self.state.begun() && self.whole.resumed == Resumed::No {
            return self.nothing_started_but(next, reason, missing);
        }
        let event = if self.state.begun() {
            self.halt_event(Cause::FactDoesNotHold, reason, Some(next), missing)
        } else {
            Event::RunRefused {
                runbook: self.procedure.plan.runbook.name.clone(),
                plan: self.state.plan.clone().expect("a run that is ready was opened with its plan"),
                cause: Cause::FactDoesNotHold,
                reason: clip(&reason, 8192),
                seen: bounded(missing),
                policies: Vec::new(),
            }
        };
        Decision { events: vec![event], effects: vec![Effect::Finish] }
    }

    /// A step in the middle cannot start, because what it requires does not hold: the rule says whether to go back.
    pub(super) fn nothing_started_but(&self, next: usize, reason: String, missing: Vec<Sight>) -> Decision {
        match (&self.settings.people, self.procedure.plan.runbook.on_failure) {
            (People::Nobody(_), OnFailure::Undo) => self.go_back(DecidedBy::Rule, reason),
            (People::Nobody(_) | People::Terminal, _) => Decision {
                events: vec![self.halt_event(Cause::FactDoesNotHold, reason, Some(next), missing)],
                effects: vec![Effect::Finish],
            },
        }
    }

    /// A step failed: it is attempted again if its rule says so, else what its failure asks for.
    pub(super) fn fail(&self, step: &Step, attempt: u32, reason: &str, ensures: Vec<Sight>) -> Decision {
        let failed = Event::StepFailed {
            step: step.id.clone(),
            way: self.way(),
            attempt,
            reason: clip(reason, 8192),
            ensures: bounded(ensures),
        };
        let at = self.index_of(step);
        // A step that is run again has its retries anew.
        let tries = attempt - self.again.map_or(0, |again| again.before);
        let mut decision = match step.retry {
            Some(retry) if tries <= retry.times && self.state.stopping.is_none() => {
                self.retry(at, DecidedBy::Rule, retry.pause(tries))
            }
            Some(_) | None => {
                self.after_failure(step, Cause::StepFailed, format!("step `{}` failed: {reason}", step.id))
            }
        };
        decision.events.insert(0, failed);
        decision
    }

    /// What follows when a step did not end well: a person is asked, or the runbook's rule is followed. On the way back the run
    /// halts, and a person is needed.
    pub(super) fn after_failure(&self, step: &Step, cause: Cause, reason: String) -> Decision {
        let at = self.index_of(step);
        if self.whole.back.is_some() {
            let reason = format!("going back failed: {reason}");
            return self.halt(Cause::UndoFailed, reason, Some(at));
        }
        // A signal asked to stop: nobody is asked any more.
        if matches!(self.state.stopping, Some(Stopping::Signal | Stopping::AfterStep | Stopping::Asked)) {
            return self.halt(cause, reason, Some(at));
        }
        match (&self.settings.people, self.procedure.plan.runbook.on_failure) {
            (People::Terminal, _) => self.ask_what_next(step, &reason),
            // A person had this step run again: no rule goes on from there.
            (People::Nobody(_), _) if self.again.is_some() => self.halt(cause, reason, Some(at)),
            (People::Nobody(_), OnFailure::Undo) => self.go_back(DecidedBy::Rule, reason),
            (People::Nobody(_), OnFailure::Halt) => self.halt(cause, reason, Some(at)),
        }
    }

    pub(super) fn index_of(&self, step: &Step) -> usize {
        let found = self.procedure.steps().iter().position(|other| other.id == step.id);
        found.expect("the step is one of the procedure's")
    }

    pub(super) fn halt(&self, cause: Cause, reason: String, step: Option<usize>) -> Decision {
        Decision { events: vec![self.halt_event(cause, reason, step, Vec::new())], effects: vec![Effect::Finish] }
    }

    pub(super) fn halt_event(&self, cause: Cause, reason: String, step: Option<usize>, seen: Vec<Sight>) -> Event {
        let step = step.and_then(|at| self.procedure.steps().get(at)).map(|step| step.id.clone());
        Event::RunHalted { cause, reason: clip(&reason, 8192), step, seen: bounded(seen) }
    }
}

/// Why an ending is not a success; none if it is one.
pub(super) fn trouble_of(step: &Step, ending: &Ending, leftovers: &[String]) -> Option<String> {
    match ending {
        Ending::Exited { code } => step.action.setting().and_then(|setting| trouble_of_exit(setting, *code, leftovers)),
        Ending::Signalled { signal } => Some(format!("it was ended by signal {signal}")),
        Ending::TimedOut => {
            Some(format!("it ran longer than its time-out of {}", crate::runbook::duration::show(step.timeout)))
        }
        Ending::NotStarted { reason } => Some(reason.clone()),
        Ending::Stopped | Ending::Interrupted | Ending::Attested | Ending::NothingToDo => None,
    }
}

fn trouble_of_exit(setting: &Setting, code: i32, leftovers: &[String]) -> Option<String> {
    if !setting.success.contains(&code) {
        return Some(format!("it exited with {code}"));
    }
    match setting.leftovers {
        Leftovers::Fail if !leftovers.is_empty() => Some(format!(
            "it left processes running, which were ended: {}; if it starts a service, say `starts_service: true`",
            leftovers.join(", ")
        )),
        Leftovers::Fail | Leftovers::Service => None,
    }
}
