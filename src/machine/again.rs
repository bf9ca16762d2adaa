//! Another attempt, another program, the way back: how a run is taken up where it stands.

use std::time::Duration;

use crate::history::clip::clip;
use crate::history::event::{Cause, DecidedBy, Event, Sight};
use crate::history::state::{Phase, StepStatus};
use crate::id::Fact;
use crate::machine::entries::announcements;
use crate::machine::{
    BackProcedure, Choice, Decision, Effect, Establish, Machine, Opening, People, Purpose, Resumption, Turn,
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
        }];
        events.extend(announcements(opening.watched));
        // What follows is decided on the state after that event.
        let mut state = self.whole.clone();
        for event in &events {
            state.apply(event).expect("the command line takes up only a run that can be");
        }
        let machine = Machine { state: &state, whole: &state, ..*self };
        let mut decision = machine.resumed(resumption.purpose);
        events.append(&mut decision.events);
        Decision { events, effects: decision.effects }
    }

    pub(super) fn resumed(&self, purpose: Purpose) -> Decision {
        if self.state.back.is_some() {
            return Decision { events: Vec::new(), effects: vec![Effect::GoBack(None)] };
        }
        if purpose == Purpose::TakeBack {
            return self.go_back(DecidedBy::Person, "a person asked for it".to_owned());
        }
        let Phase::Failed { step: at } = self.state.phase else {
            return self.begin(self.state.current().unwrap_or(self.procedure.steps().len()));
        };
        let step = &self.procedure.steps()[at];
        let in_doubt = self.state.steps[at].status == StepStatus::InDoubt;
        let rule = match (in_doubt, step.in_doubt) {
            (false, _) => Some((Choice::Retry, DecidedBy::Person)),
            (true, InDoubt::Retry) => Some((Choice::Retry, DecidedBy::Rule)),
            (true, InDoubt::Undo) => Some((Choice::Undo, DecidedBy::Rule)),
            (true, InDoubt::Ask) => None,
        };
        let decided = self.settings.decided.get(&step.id).map(|choice| (*choice, DecidedBy::Person));
        match decided.or(rule) {
            Some((Choice::Retry, by)) => self.retry(at, by, Duration::ZERO),
            Some((Choice::Undo, by)) => self.go_back(by, format!("step `{}` was in doubt", step.id)),
            // What the step ensures is looked at before anybody decides.
            None if !step.ensures.is_empty() => {
                Decision { events: Vec::new(), effects: vec![Effect::Examine(step.ensures.clone())] }
            }
            None => self.decide_on_doubt(at, Vec::new()),
        }
    }

    /// What a step in doubt ensures was looked at: a person decides.
    pub(super) fn examined(&self, sights: Vec<Sight>) -> Decision {
        match self.state.phase {
            Phase::Failed { step } => self.decide_on_doubt(step, sights),
            Phase::New | Phase::Ready { .. } | Phase::Acting { .. } | Phase::Verifying { .. } | Phase::Over(_) => {
                Decision::default()
            }
        }
    }

    fn decide_on_doubt(&self, at: usize, sights: Vec<Sight>) -> Decision {
        let step = &self.procedure.steps()[at];
        let mut doubt = "nobody saw how it ended".to_owned();
        for sight in &sights {
            doubt.push_str(&format!("; `{}`, which it ensures, {}: {}", sight.fact, sight.verdict, sight.evidence));
        }
        match self.settings.people {
            People::Terminal => self.ask_what_next(step, &format!("step `{}` is in doubt: {doubt}", step.id)),
            People::Nobody(_) => {
                let reason = format!(
                    "step `{0}` is in doubt: {doubt}; a person decides with --decide {0}=retry or --decide {0}=undo",
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
        let machine = Machine { procedure: &back.procedure, back: Some(back), state, whole: &whole, ..*self };
        let mut decision = machine.begin(0);
        decision.events.insert(0, event);
        decision
    }
}
