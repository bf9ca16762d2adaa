//! Running again a step that was done, because a fact that it had ensured is broken: which steps that may be, and how it begins
//! and ends. The way back from a broken fact, for a person to ask for; no rule does it.
//!
//! What may be run again: a step that was done, or already so, in this run; that ensures something; of which no later step
//! and no undo has begun to change what it ensures; and of what it ensures something does not hold now. It runs as any step
//! does: what it requires is looked at and held, what it ensures is verified. Nothing else is held meanwhile. When it is done
//! the run stands where it stood, as if it had just been taken up again.

use std::collections::BTreeMap;

use crate::history::clip::clip;
use crate::history::event::{AnsweredBy, Cause, Event, Question, Sight, Verdict};
use crate::history::state::{Phase, Resumed, State, StepState, StepStatus};
use crate::id::{Fact, StepId, SystemName};
use crate::machine::answer::{Judgement, judge};
use crate::machine::entries::bounded;
use crate::machine::{Decision, Effect, Machine, People, Reply};
use crate::plan::{Plan, Procedure, action_in_words};
use crate::runbook::model::{Runbook, Step};

/// The step of this index as a procedure of its own. What the whole run requires is required of it as well, but for what it
/// is to bring about itself.
pub fn once_more(forward: &Procedure, at: usize) -> Procedure {
    let step = forward.steps()[at].clone();
    let runbook = &forward.plan.runbook;
    let requires = runbook.requires.iter().filter(|fact| !step.ensures.contains(fact)).cloned().collect();
    let runbook = Runbook { requires, steps: vec![step], ..runbook.clone() };
    Procedure::new(Plan { runbook, ..forward.plan.clone() })
}

/// Whether this step may be run again where the run stands, should something that it ensures not hold; gives its index.
///
/// # Errors
/// Why not, in words.
pub fn may_run_again(forward: &Procedure, state: &State, step: &StepId) -> Result<usize, String> {
    let Some(at) = forward.steps().iter().position(|other| other.id == *step) else {
        return Err(format!("the run has no step `{step}`"));
    };
    let done = |reached: &&StepState| matches!(reached.status, StepStatus::Done | StepStatus::Already);
    let Some(reached) = state.steps.get(at).filter(done) else {
        return Err(format!("step `{step}` was not done in this run, so there is nothing to run again"));
    };
    if forward.steps()[at].ensures.is_empty() {
        return Err(format!("step `{step}` ensures nothing, so no fact can be broken that it had ensured"));
    }
    if let Some(back) = &state.back {
        if reached.attempts == 0 {
            return Err(format!(
                "step `{step}` was already so, and the run is going back: it is not this run's to take back"
            ));
        }
        if back.steps.iter().any(|undone| undone.id == *step) {
            return Err(format!("step `{step}` was taken back"));
        }
    }
    let latest = latest(forward, state);
    for fact in &forward.steps()[at].ensures {
        if let Some((now, by)) = latest.get(&fact.system).filter(|(now, _)| *now != fact) {
            return Err(format!("step `{step}` ensures `{fact}`, and since then {by} has set out to make it `{now}`"));
        }
    }
    Ok(at)
}

/// The steps that may be run again, in the plan's order, if these are the facts that do not hold.
pub fn that_would_do(forward: &Procedure, state: &State, broken: impl Fn(&Fact) -> bool) -> Vec<StepId> {
    let steps = forward.steps().iter().take(state.steps.len());
    steps
        .filter(|step| {
            may_run_again(forward, state, &step.id)
                .is_ok_and(|at| ensured_last_by(forward, state, at).into_iter().any(&broken))
        })
        .map(|step| step.id.clone())
        .collect()
}

/// The facts that tell which steps may be run again, each once.
pub fn facts_that_tell(forward: &Procedure, state: &State) -> Vec<Fact> {
    let mut facts = Vec::new();
    for step in forward.steps().iter().take(state.steps.len()) {
        let Ok(at) = may_run_again(forward, state, &step.id) else { continue };
        for fact in ensured_last_by(forward, state, at) {
            if !facts.contains(fact) {
                facts.push(fact.clone());
            }
        }
    }
    facts
}

/// What this step ensures and no later step has ensured once more.
fn ensured_last_by<'a>(forward: &'a Procedure, state: &State, at: usize) -> Vec<&'a Fact> {
    let later = |fact: &Fact| {
        state.steps.iter().zip(forward.steps()).skip(at + 1).any(|(reached, step)| {
            matches!(reached.status, StepStatus::Done | StepStatus::Already) && step.ensures.contains(fact)
        })
    };
    forward.steps()[at].ensures.iter().filter(|fact| !later(fact)).collect()
}

/// The state in which the run has left each system, or has begun to bring it, and what did.
fn latest<'a>(forward: &'a Procedure, state: &State) -> BTreeMap<&'a SystemName, (&'a Fact, String)> {
    let mut latest = BTreeMap::new();
    for (reached, step) in state.steps.iter().zip(forward.steps()) {
        if reached.status != StepStatus::NotApplicable {
            let by = format!("step `{}`", step.id);
            latest.extend(step.ensures.iter().map(|fact| (&fact.system, (fact, by.clone()))));
        }
    }
    for undone in state.back.iter().flat_map(|back| &back.steps) {
        let step = forward.steps().iter().find(|step| step.id == undone.id);
        if let Some(undo) = step.and_then(|step| step.way_back.undo()) {
            let by = format!("the undo of step `{}`", undone.id);
            latest.extend(undo.ensures.iter().map(|fact| (&fact.system, (fact, by.clone()))));
        }
    }
    latest
}

/// What is asked.
fn run_again(step: &Step) -> String {
    format!("Run step `{}` again ({}) before the run goes on?", step.id, action_in_words(&step.action))
}

impl Machine<'_> {
    /// The next step that a person asked to have run again, if it is not settled yet.
    pub(super) fn next_rerun(&self) -> Option<&Step> {
        let stands = matches!(self.whole.phase, Phase::Ready { .. } | Phase::Failed { .. });
        if !stands
            || self.whole.again.is_some()
            || self.whole.resumed == Resumed::No
            || self.whole.stopping.is_some()
            || self.whole.back.as_ref().is_some_and(|back| back.stopping.is_some())
        {
            return None;
        }
        self.forward.steps().iter().find(|step| {
            let asked_for = self.settings.rerun.contains(&step.id) || self.whole.wanted.contains(&step.id);
            asked_for
                && !self.whole.settled.contains(&step.id)
                && may_run_again(self.forward, self.whole, &step.id).is_ok()
        })
    }

    /// What is held where the run stands and was ensured by a step that may be run again, of which that is not settled yet.
    pub(super) fn needed_of_others(&self) -> Vec<Fact> {
        let (Some(at), None, None) = (self.state.current(), self.again, &self.whole.back) else { return Vec::new() };
        let held = self.holds_at(at);
        let mut facts = Vec::new();
        for (step, _) in self.whole.steps.iter().zip(self.forward.steps()) {
            let Ok(at) = may_run_again(self.forward, self.whole, &step.id) else { continue };
            if !self.whole.settled.contains(&step.id) {
                let its_own = ensured_last_by(self.forward, self.whole, at);
                facts.extend(its_own.into_iter().filter(|fact| held.contains(fact)).cloned());
            }
        }
        facts
    }

    /// What a step ensures that is to be run again was looked at.
    pub(super) fn begin_rerun(&self, step: &Step, seen: Vec<Sight>) -> Decision {
        let id = &step.id;
        let does_not_hold =
            |fact: &Fact| seen.iter().any(|sight| sight.fact == *fact && sight.verdict != Verdict::Holds);
        let event = if that_would_do(self.forward, self.whole, does_not_hold).contains(id) {
            let by = if self.whole.wanted.contains(id) { AnsweredBy::Terminal } else { AnsweredBy::CommandLine };
            Event::RerunBegan { step: id.clone(), by, seen: bounded(seen) }
        } else {
            let seen = seen.into_iter().filter(|sight| sight.verdict == Verdict::Holds).collect();
            Event::RerunNotNeeded { step: id.clone(), seen: bounded(seen) }
        };
        let mut whole = self.whole.clone();
        whole.apply(&event).expect("a step is run again only where it may be");
        let mut decision = self.on(&whole, |machine| match (machine.again, machine.missing_answers(&[])) {
            (None, _) => machine.resumed(),
            // Without a terminal, a step that asks has its answers beforehand, or is not begun.
            (Some(_), Some(reason)) => machine.halt(Cause::PersonNeeded, reason, Some(0)),
            (Some(_), None) => machine.begin(0),
        });
        decision.events.insert(0, event);
        decision
    }

    /// The step that was run again is done, or is already so: the run stands where it stood.
    pub(super) fn rerun_over(&self, events: Vec<Event>) -> Decision {
        let step = self.procedure.steps()[0].id.clone();
        let over: Vec<Fact> = self.procedure.holds.iter().map(|hold| hold.fact.clone()).collect();
        let mut whole = self.whole.clone();
        for event in &events {
            whole.apply(event).expect("it was seen to end well");
        }
        let mut decision = self.on(&whole, |machine| {
            if whole.stopping.is_some() {
                let reason = format!("asked to stop; step `{step}` was finished first");
                return machine.halt(Cause::Interrupted, reason, machine.state.current());
            }
            machine.resumed()
        });
        decision.events.splice(0..0, events);
        if !over.is_empty() {
            decision.effects.insert(0, Effect::Release(over));
        }
        decision
    }

    /// Asks the person at the terminal whether to run again what had ensured a fact that is broken; none where there is
    /// nothing to ask.
    pub(super) fn offer_rerun(&self, sights: &[Sight]) -> Option<Decision> {
        let (People::Terminal, None) = (&self.settings.people, self.again) else { return None };
        let needed = self.needed_of_others();
        let broken: Vec<&Sight> =
            sights.iter().filter(|sight| sight.verdict != Verdict::Holds && needed.contains(&sight.fact)).collect();
        let is_broken = |fact: &Fact| broken.iter().any(|sight| sight.fact == *fact);
        let step = that_would_do(self.forward, self.whole, is_broken)
            .into_iter()
            .find(|step| !self.whole.settled.contains(step))?;
        let step = self.forward.steps().iter().find(|other| other.id == step)?;
        let seen: Vec<String> = broken
            .iter()
            .filter(|sight| step.ensures.contains(&sight.fact))
            .map(|sight| format!("`{}` {}: {}", sight.fact, sight.verdict, sight.evidence))
            .collect();
        let ask = format!("{}, as step `{}` had ensured. {}", seen.join("; "), step.id, run_again(step));
        Some(self.ask(step, Question::RunAgain, ask, None))
    }

    /// The answer to that.
    pub(super) fn answered_to_run_again(&self, reply: &Reply) -> Decision {
        let stands = matches!(self.whole.phase, Phase::Ready { .. } | Phase::Failed { .. });
        let asked = may_run_again(self.forward, self.whole, &reply.step);
        let (true, Ok(at), None, Resumed::JustNow, None) =
            (stands, asked, &self.whole.again, self.whole.resumed, self.whole.stopping)
        else {
            return Decision::default();
        };
        let step = &self.forward.steps()[at];
        let (step, ask) = (step.id.clone(), clip(&reply.ask, 8192));
        let (question, answer, by) = (Question::RunAgain, clip(&reply.words, 4096), reply.by);
        if judge(question, None, &reply.words) != Judgement::Accepted {
            let reason = format!("a person did not say whether to run step `{step}` again");
            let declined = Event::Declined { step, question, ask, answer, by };
            let cause = match (self.state.phase, self.state.current()) {
                (Phase::Failed { .. }, Some(at)) => self.cause_of_failure(at),
                (
                    Phase::New
                    | Phase::Ready { .. }
                    | Phase::Acting { .. }
                    | Phase::Verifying { .. }
                    | Phase::Failed { .. }
                    | Phase::Over(_),
                    _,
                ) => Cause::Interrupted,
            };
            let halted = self.halt_event(cause, reason, self.state.current(), Vec::new());
            return Decision { events: vec![declined, halted], effects: vec![Effect::Finish] };
        }
        let event = Event::Answered { step, question, ask, answer, by };
        let mut whole = self.whole.clone();
        whole.apply(&event).expect("it was asked");
        let mut decision = self.on(&whole, |machine| machine.resumed());
        decision.events.insert(0, event);
        decision
    }
}
