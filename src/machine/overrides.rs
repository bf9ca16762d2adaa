//! Leaving the procedure, by an override: a step is passed over, a fact need not hold for one attempt, a step that did not end well
//! counts as done. What makes an override valid is decided before; here is what it changes, and what it can never change.

use crate::history::clip::clip;
use crate::history::deviation::{Deviation, DeviationKind, Override};
use crate::history::event::{AnsweredBy, Cause, Event, Sight};
use crate::history::overrides::Holds;
use crate::history::state::{Phase, Resumed, State, StepStatus};
use crate::id::Fact;
use crate::machine::asked::WHAT_NEXT;
use crate::machine::{Break, Decision, Effect, Establish, Machine, SelfApproval};
use crate::plan::Procedure;
use crate::runbook::holds::HoldStart;
use crate::runbook::model::{OverrideRule, Step};

/// What the runbook says of a deviation: of its step, or else as a whole.
pub fn rule_of<'a>(forward: &'a Procedure, deviation: &Deviation) -> &'a OverrideRule {
    if deviation.kind() == DeviationKind::TakeOver {
        // It leaves nothing of the runbook out, so that is not asked.
        return &OverrideRule::Unsaid;
    }
    let whole = &forward.plan.runbook.overrides;
    let step = deviation.step().and_then(|id| forward.steps().iter().find(|step| step.id == *id));
    match step.map(|step| &step.overrides) {
        Some(rule @ (OverrideRule::Never | OverrideRule::Needs { .. })) => rule,
        Some(OverrideRule::Unsaid) | None => whole,
    }
}

/// Whether a deviation can be made at all where the run stands, whoever permits it.
///
/// # Errors
/// Why not, in words.
pub fn is_possible(forward: &Procedure, state: &State, deviation: &Deviation) -> Result<(), String> {
    if *rule_of(forward, deviation) == OverrideRule::Never && deviation.kind() != DeviationKind::Abandon {
        return Err(match deviation.step() {
            Some(step) => format!("the runbook says `override: never` of step `{step}`: nobody can permit it"),
            None => "the runbook says `override: never`: nobody can permit it".to_owned(),
        });
    }
    match deviation.kind() {
        DeviationKind::StaleLock => {
            return Err("a lock is no part of a run's procedure; see `interlock unlock`".to_owned());
        }
        DeviationKind::BreakGlass => return Err("that is `--break-glass`, and no request".to_owned()),
        DeviationKind::TakeOver if state.back.is_some() => {
            return Err("the run is going back, and for that nobody has to sign".to_owned());
        }
        DeviationKind::TakeOver
        | DeviationKind::Skip
        | DeviationKind::Waive
        | DeviationKind::AcceptFailed
        | DeviationKind::AcceptInDoubt
        | DeviationKind::OutsideWindow
        | DeviationKind::Abandon => {}
    }
    let Some(step) = deviation.step() else { return Ok(()) };
    let Some(at) = forward.steps().iter().position(|other| other.id == *step) else {
        return Err(format!("the run has no step `{step}`"));
    };
    if state.back.is_some() {
        return Err("the run is going back, and an undo is neither skipped nor waived".to_owned());
    }
    let status = state.steps.get(at).map(|step| step.status);
    let ended_well = |status| match status {
        StepStatus::Done
        | StepStatus::Already
        | StepStatus::NotApplicable
        | StepStatus::Skipped
        | StepStatus::Accepted => true,
        StepStatus::Open | StepStatus::Failed | StepStatus::InDoubt => false,
    };
    if status.is_some_and(ended_well) {
        return Err(format!("step `{step}` has ended already"));
    }
    match (deviation, status) {
        (Deviation::Skip { .. }, None) => Ok(()),
        (Deviation::Skip { .. }, Some(_)) => Err(format!(
            "step `{step}` was begun, so it cannot be skipped; ask to have it accepted as it stands (--accept {step})"
        )),
        (Deviation::Waive { fact, .. }, _) => {
            let needed = forward.required_by(at).contains(fact)
                || forward.holds.iter().any(|hold| hold.fact == *fact && begins_by(hold.from, at) && at <= hold.until);
            if needed { Ok(()) } else { Err(format!("step `{step}` does not need `{fact}`")) }
        }
        (Deviation::AcceptFailed { .. }, Some(StepStatus::Failed))
        | (Deviation::AcceptInDoubt { .. }, Some(StepStatus::InDoubt | StepStatus::Open)) => Ok(()),
        (Deviation::AcceptFailed { .. }, _) => Err(format!("step `{step}` did not fail")),
        (Deviation::AcceptInDoubt { .. }, _) => Err(format!("step `{step}` is not in doubt")),
        (
            Deviation::OutsideWindow {}
            | Deviation::Abandon {}
            | Deviation::StaleLock { .. }
            | Deviation::TakeOver {}
            | Deviation::BreakGlass {},
            _,
        ) => Ok(()),
    }
}

fn begins_by(from: HoldStart, at: usize) -> bool {
    match from {
        HoldStart::Opening => true,
        HoldStart::Before(from) => from <= at,
        HoldStart::After(from) => from < at,
    }
}

/// The entries of the overrides that a run is opened or taken up with, from the state right after that. One that cannot be used where
/// the run stands is refused, as is one that was used already or is given twice.
pub(super) fn accepted(forward: &Procedure, state: &State, overrides: Vec<Override>) -> Vec<Event> {
    let mut state = state.clone();
    let judge = |given: Override| {
        let (deviation, reason, asked_by) = (given.deviation.clone(), given.reason.clone(), given.asked_by.clone());
        let request = given.request.clone();
        let event = Event::OverrideAccepted(given);
        let possible = is_possible(forward, &state, &deviation);
        match possible.and_then(|()| state.apply(&event).map_err(|illegal| illegal.0)) {
            Ok(()) => event,
            Err(why) => Event::OverrideRefused { deviation, reason, asked_by, request, why },
        }
    };
    overrides.into_iter().map(judge).collect()
}

impl Machine<'_> {
    /// What is to be established before the next step, as the run stands.
    pub(super) fn what_to_establish(&self) -> Establish {
        match (self.whole.resumed, self.state.overrides.holds) {
            // After a halt nothing is held any more; after a deviation it is not what was written.
            (Resumed::JustNow, _) | (_, Holds::Anew) => Establish::Everything,
            (Resumed::No, Holds::AsWritten) => Establish::WhatBegins,
        }
    }

    /// Whether it is the way there: nothing else can leave the procedure.
    pub(super) fn is_way_there(&self) -> bool {
        self.back.is_none() && self.again.is_none()
    }

    /// Whether this step, which is next, is passed over.
    pub(super) fn is_skipped(&self, step: &Step) -> bool {
        self.is_way_there() && self.state.overrides.permit(&Deviation::Skip { step: step.id.clone() })
    }

    /// The facts that need not hold for the next attempt of this step.
    pub(super) fn waived_for(&self, step: &Step) -> Vec<Fact> {
        if self.is_way_there() { self.state.overrides.waivers_for(&step.id) } else { Vec::new() }
    }

    /// A waived fact broke: it is recorded, and nothing else follows. None if it is not waived.
    pub(super) fn waived_broke(&self, at: usize, broke: &Break) -> Option<Decision> {
        let fact = &broke.sight.fact;
        let step = &self.procedure.steps()[at];
        if !self.is_way_there() {
            return None;
        }
        match self.state.phase {
            Phase::Acting { .. } | Phase::Verifying { .. } if self.state.overrides.waived.contains(fact) => {
                let seen = Event::WaivedFactSeen { step: step.id.clone(), sight: broke.sight.clone() };
                Some(Decision { events: vec![seen], effects: Vec::new() })
            }
            Phase::Ready { .. } if self.waived_for(step).contains(fact) => Some(Decision::default()),
            Phase::New
            | Phase::Ready { .. }
            | Phase::Acting { .. }
            | Phase::Verifying { .. }
            | Phase::Failed { .. }
            | Phase::Over(_) => None,
        }
    }

    /// The deviation by which the step at which the run stands would count as done.
    pub(super) fn acceptance(&self) -> Option<Deviation> {
        let Phase::Failed { step: at } = self.state.phase else { return None };
        if !self.is_way_there() {
            return None;
        }
        let step = self.state.steps[at].id.clone();
        match self.state.steps[at].status {
            StepStatus::Failed => Some(Deviation::AcceptFailed { step }),
            StepStatus::InDoubt => Some(Deviation::AcceptInDoubt { step }),
            StepStatus::Open
            | StepStatus::Done
            | StepStatus::Already
            | StepStatus::NotApplicable
            | StepStatus::Skipped
            | StepStatus::Accepted => None,
        }
    }

    /// Goes on behind the step at which the run stands, if an override says that it counts as done.
    pub(super) fn accept(&self) -> Option<Decision> {
        let deviation = self.acceptance()?;
        if !self.state.overrides.permit(&deviation) {
            return None;
        }
        if self.is_expired(&deviation)
            && let Phase::Failed { step: at } = self.state.phase
        {
            return Some(self.too_late(&deviation, at));
        }
        Some(self.accept_by(Vec::new()))
    }

    /// What was permitted for this step, which is next, and may not be made any more, because its time is over.
    pub(super) fn expired_for(&self, step: &Step) -> Option<Deviation> {
        if !self.is_way_there() || !step.is_applicable() {
            return None;
        }
        let of_it = |deviation: &&Deviation| deviation.step() == Some(&step.id) && self.is_expired(deviation);
        self.state.overrides.open.iter().map(|granted| &granted.deviation).find(of_it).cloned()
    }

    fn is_expired(&self, deviation: &Deviation) -> bool {
        self.settings.until.get(deviation).is_some_and(|until| self.now >= until)
    }

    /// The run comes to a step with a permission whose time is over. Who gave it counted on it, and who signed it did not sign this, so the
    /// step is neither left out nor done: a person says what is to be.
    pub(super) fn too_late(&self, deviation: &Deviation, at: usize) -> Decision {
        let until = self.settings.until.get(deviation).unwrap_or(self.now);
        let reason = format!(
            "the override to {deviation} could be used until {until}, and the run comes to it at {}; ask again, or take the run up without it",
            self.now
        );
        self.halt(Cause::NotAllowed, reason, Some(at))
    }

    /// As above, with what was recorded just before.
    fn accept_by(&self, before: Vec<Event>) -> Decision {
        let Phase::Failed { step: at } = self.state.phase else {
            unreachable!("a step is accepted where the run stands at it");
        };
        let mut events = before;
        events.push(Event::StepAccepted { step: self.state.steps[at].id.clone(), attempt: self.state.attempts(at) });
        // What follows is decided on the state after these events.
        let mut state = self.whole.clone();
        for event in &events {
            state.apply(event).expect("it stands at a step that did not end well, with an override for it");
        }
        // All that was held is looked at afresh, and what broke before is not remembered of it.
        let mut over = self.over_after(at);
        over.extend(self.holds_at(at).into_iter().filter(|fact| !over.contains(fact)).collect::<Vec<_>>());
        let mut decision = self.on(&state, |machine| machine.begin(at + 1));
        events.append(&mut decision.events);
        decision.events = events;
        if !over.is_empty() {
            decision.effects.insert(0, Effect::Release(over));
        }
        decision.effects.insert(0, Effect::Withdraw);
        decision
    }

    /// Whether a person at the terminal may have this step accepted on their own word, should it not end well.
    pub(super) fn offers_acceptance(&self, step: &Step) -> bool {
        let accepted = Deviation::AcceptFailed { step: step.id.clone() };
        self.is_way_there()
            && matches!(self.settings.alone, SelfApproval::Allowed { .. })
            && *rule_of(self.forward, &accepted) == OverrideRule::Unsaid
    }

    /// What may be typed about a step that did not end well.
    pub(super) fn what_next(&self, step: &Step) -> String {
        let accept = if self.offers_acceptance(step) {
            format!(
                "; `accept {} REASON` goes on as if it were done, which is a deviation and is recorded as one",
                step.id
            )
        } else {
            String::new()
        };
        format!("{WHAT_NEXT}{accept}")
    }

    /// What a person at the terminal may type to have the step accepted on their own word; none where that is not theirs to say.
    pub(super) fn may_be_accepted_alone(&self) -> Option<Deviation> {
        match &self.settings.alone {
            SelfApproval::Allowed { .. } => {}
            SelfApproval::NotAllowed => return None,
        }
        let deviation = self.acceptance()?;
        (*rule_of(self.forward, &deviation) == OverrideRule::Unsaid).then_some(deviation)
    }

    /// A person at the terminal had the step accepted on their own word. `answered` is the entry about the answer.
    pub(super) fn accepted_alone(&self, answered: Event, reason: &str) -> Decision {
        let (Some(deviation), SelfApproval::Allowed { user }) = (self.may_be_accepted_alone(), &self.settings.alone)
        else {
            unreachable!("that answer is taken only where it was offered");
        };
        let given = Override {
            deviation,
            reason: clip(reason, 4096),
            asked_by: user.clone(),
            request: None,
            self_approved: Some(AnsweredBy::Terminal),
            approved_by: Vec::new(),
        };
        self.accept_by(vec![answered, Event::OverrideAccepted(given)])
    }

    /// Those of the sights that must show that their fact holds.
    pub(super) fn binding(&self, step: &Step, requires: Vec<Sight>) -> Vec<Sight> {
        let waived = self.waived_for(step);
        requires.into_iter().filter(|sight| !waived.contains(&sight.fact)).collect()
    }
}
