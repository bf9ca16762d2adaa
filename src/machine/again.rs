//! Another attempt, another program, the way back: how a run is taken up where it stands.

use std::time::Duration;

use crate::history::clip::clip;
use crate::history::event::{Cause, DecidedBy, Event, Sight, Verdict};
use crate::history::state::{Phase, Resumed, StepStatus};
use crate::id::Fact;
use crate::machine::entries::announcements;
use crate::machine::overrides::accepted;
use crate::machine::{
    BackProcedure, Choice, Decision, Effect, Establish, Machine, Opening, People, Purpose, Resumption, Turn, rerun,
};
use crate::runbook::model::InDoubt;

impl Machine<'_> {
    /// Takes up a run that had halted or died: what it stands at decides what comes next.
    pub(super) fn resume(&self, opening: Opening, resumption: Resumption) -> Decision {
        let mut events = vec![Event::RunResumed {
            containment: opening.containment,
            watching: opening.watching,
            program: opening.program,
            taken_over: resumption.taken_over,
            ended: resumption.ended,
            policies: opening.policies,
        }];
        events.extend(opening.approvals.into_iter().map(Event::ApprovalAccepted));
        let mut stands = self.whole.clone();
        for event in &events {
            stands.apply(event).expect("the command line takes up only a run that can be, with signatures that count");
        }
        events.extend(accepted(self.forward, &stands, opening.overrides));
        events.extend(announcements(opening.watched));
        // What follows is decided on the state after that event.
        let mut state = self.whole.clone();
        for event in &events {
            state.apply(event).expect("the command line takes up only a run that can be");
        }
        let mut decision = self.on(&state, |machine| machine.resumed());
        events.append(&mut decision.events);
        Decision { events, effects: decision.effects }
    }

    /// The run was taken up again, or a step that was to be run again was: what has to be looked at or decided first.
    pub(super) fn resumed(&self) -> Decision {
        if let Some(step) = self.next_rerun() {
            return Decision { events: Vec::new(), effects: vec![Effect::Examine(step.ensures.clone())] };
        }
        if self.whole.back.is_some() {
            return Decision { events: Vec::new(), effects: vec![Effect::GoBack(None)] };
        }
        // A step that is run again may be brought to its end before everything is taken back, if a person says so.
        let first_again = self
            .again
            .is_some_and(|_| self.settings.decided.get(&self.procedure.steps()[0].id) == Some(&Choice::Retry));
        if self.settings.purpose == Purpose::TakeBack && !first_again {
            return self.go_back(DecidedBy::Person, "a person asked for it".to_owned());
        }
        if let Some(decision) = self.accept() {
            return decision;
        }
        let facts = self.worth_a_look();
        if facts.is_empty() {
            return self.take_up(Vec::new());
        }
        Decision { events: Vec::new(), effects: vec![Effect::Examine(facts)] }
    }

    /// The step that did not end well, if the run stands at one, and what is decided about it.
    fn decided(&self) -> Option<(usize, Option<(Choice, DecidedBy)>)> {
        let Phase::Failed { step: at } = self.state.phase else { return None };
        let step = &self.procedure.steps()[at];
        let in_doubt = self.state.steps[at].status == StepStatus::InDoubt;
        let rule = match (in_doubt, step.in_doubt) {
            (false, _) => Some((Choice::Retry, DecidedBy::Person)),
            (true, InDoubt::Retry) => Some((Choice::Retry, DecidedBy::Rule)),
            (true, InDoubt::Undo) => Some((Choice::Undo, DecidedBy::Rule)),
            (true, InDoubt::Ask) => None,
        };
        let decided = self.settings.decided.get(&step.id).map(|choice| (*choice, DecidedBy::Person));
        Some((at, decided.or(rule)))
    }

    /// What is looked at before a person decides: what a step in doubt ensures, and what steps before it had ensured and is
    /// needed where the run stands.
    fn worth_a_look(&self) -> Vec<Fact> {
        let doubtful = match self.decided() {
            Some((at, None)) => self.procedure.steps()[at].ensures.clone(),
            Some((_, Some(_))) | None => Vec::new(),
        };
        let needed = match (&self.settings.people, self.decided()) {
            (People::Terminal, _) | (People::Nobody(_), Some((_, None))) => self.needed_of_others(),
            (People::Nobody(_), Some((_, Some(_))) | None) => Vec::new(),
        };
        let mut facts = doubtful;
        for fact in needed {
            if !facts.contains(&fact) {
                facts.push(fact);
            }
        }
        facts
    }

    /// Goes on where the run stands. `sights` is what was seen of what is worth a look.
    fn take_up(&self, sights: Vec<Sight>) -> Decision {
        let Some((at, decided)) = self.decided() else {
            return self.begin(self.state.current().unwrap_or(self.procedure.steps().len()));
        };
        match decided {
            Some((Choice::Retry, by)) => self.retry(at, by, Duration::ZERO),
            Some((Choice::Undo, by)) => {
                let step = &self.procedure.steps()[at].id;
                self.go_back(by, format!("step `{step}` was in doubt"))
            }
            None => self.decide_on_doubt(at, sights),
        }
    }

    /// What was worth a look was looked at.
    pub(super) fn examined(&self, sights: Vec<Sight>) -> Decision {
        match (self.state.phase, self.whole.resumed) {
            (Phase::Ready { .. } | Phase::Failed { .. }, Resumed::JustNow) => {}
            (
                Phase::New
                | Phase::Ready { .. }
                | Phase::Acting { .. }
                | Phase::Verifying { .. }
                | Phase::Failed { .. }
                | Phase::Over(_),
                _,
            ) => {
                return Decision::default();
            }
        }
        if let Some(step) = self.next_rerun() {
            return self.begin_rerun(step, sights);
        }
        self.offer_rerun(&sights).unwrap_or_else(|| self.take_up(sights))
    }

    fn decide_on_doubt(&self, at: usize, sights: Vec<Sight>) -> Decision {
        let step = &self.procedure.steps()[at];
        let mut doubt = "nobody saw how it ended".to_owned();
        let (its_own, others): (Vec<&Sight>, Vec<&Sight>) =
            sights.iter().partition(|sight| step.ensures.contains(&sight.fact));
        for sight in its_own {
            doubt.push_str(&format!("; `{}`, which it ensures, {}: {}", sight.fact, sight.verdict, sight.evidence));
        }
        for sight in others.into_iter().filter(|sight| sight.verdict != Verdict::Holds) {
            doubt.push_str(&format!("; `{}`, which is needed here, {}: {}", sight.fact, sight.verdict, sight.evidence));
        }
        match self.settings.people {
            People::Terminal => self.ask_what_next(step, &format!("step `{}` is in doubt: {doubt}", step.id)),
            People::Nobody(_) => {
                let not_seen =
                    |fact: &Fact| sights.iter().any(|sight| sight.fact == *fact && sight.verdict != Verdict::Holds);
                let again: String = match self.again {
                    Some(_) => String::new(),
                    None => rerun::that_would_do(self.forward, self.whole, not_seen)
                        .iter()
                        .map(|step| format!("; --rerun {step} runs again what had ensured it"))
                        .collect(),
                };
                let reason = format!(
                    "step `{0}` is in doubt: {doubt}{again}; a person decides with --decide {0}=retry or --decide {0}=undo",
                    step.id
                );
                let halted = self.halt_event(Cause::PersonNeeded, reason, Some(at), sights);
                Decision { events: vec![halted], effects: vec![Effect::Finish] }
            }
        }
    }

    /// Attempts a step again, from its start, with its facts looked at afresh.
    pub(super) fn retry(&self, at: usize, by: DecidedBy, pause: Duration) -> Decision {
        let step = self.procedure.steps()[at].id.clone();
        let pause_millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let mut decision = if pause.is_zero() {
            self.begin_again(at)
        } else {
            Decision { events: Vec::new(), effects: vec![Effect::Rest(pause)] }
        };
        decision.events.insert(0, Event::StepRetried { step, by, pause_millis });
        decision
    }

    /// Begins a step anew: what is held here is let go, looked at afresh and held again.
    pub(super) fn begin_again(&self, at: usize) -> Decision {
        let mut decision = self.begin_with(at, &Establish::Everything);
        let held = self.holds_at(at);
        if !held.is_empty() {
            decision.effects.insert(0, Effect::Release(held));
        }
        decision.effects.insert(0, Effect::Withdraw);
        decision
    }

    pub(super) fn rested(&self) -> Decision {
        match self.state.phase {
            Phase::Ready { next } if self.state.stopping.is_none() => self.begin_again(next),
            _ => Decision::default(),
        }
    }

    /// Turns back. The holds of the way there are over.
    pub(super) fn go_back(&self, by: DecidedBy, reason: String) -> Decision {
        let mut held: Vec<Fact> = self.procedure.holds.iter().map(|hold| hold.fact.clone()).collect();
        held.sort();
        held.dedup();
        let turn = Turn { by, reason: clip(&reason, 8192) };
        let effects = vec![Effect::Withdraw, Effect::Release(held), Effect::GoBack(Some(turn))];
        Decision { events: Vec::new(), effects }
    }

    /// The way back is known: take back the last step first.
    pub(super) fn begin_back(&self, back: Option<&BackProcedure>, turn: Option<Turn>) -> Decision {
        let (Some(back), false) = (back, matches!(self.whole.phase, Phase::Over(_))) else {
            return Decision::default();
        };
        let Some(turn) = turn else {
            return match self.state.phase {
                Phase::Ready { next } => self.begin(next),
                Phase::New | Phase::Acting { .. } | Phase::Verifying { .. } | Phase::Failed { .. } | Phase::Over(_) => {
                    Decision::default()
                }
            };
        };
        let steps = back.procedure.steps().len();
        let event = Event::UndoBegan { by: turn.by, reason: turn.reason, steps, kept: back.kept };
        // What follows is decided on the state after that event.
        let mut whole = self.whole.clone();
        whole.apply(&event).expect("a run turns back only where it stands");
        let state = whole.back.as_deref().expect("it has just turned back");
        let machine =
            Machine { procedure: &back.procedure, back: Some(back), again: None, state, whole: &whole, ..*self };
        let mut decision = machine.begin(0);
        decision.events.insert(0, event);
        decision
    }
}
