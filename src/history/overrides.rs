//! The overrides of a run, as its events tell: which were accepted, which were used. Each is used once, by the step it names;
//! what was accepted and not used lapses when the run is taken up again.

use std::collections::BTreeSet;

use crate::history::deviation::{Deviation, DeviationKind, Override};
use crate::history::event::{Event, Sight};
use crate::history::state::{IllegalEvent, Phase, State, StepStatus, Stopping, refuse, seen_to_hold};
use crate::id::{Digest, Fact, StepId};

/// The overrides of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// Accepted and not used yet.
    pub open: Vec<Granted>,
    /// Used, in order.
    pub used: Vec<Deviation>,
    /// Those that stand in the plan and were not used yet, as they were accepted: they are given again when the run is taken up.
    pub planned: Vec<Override>,
    /// The requests that were used up.
    pub requests: BTreeSet<Digest>,
    /// The facts that are waived for the attempt that is open.
    pub waived: Vec<Fact>,
    /// Whether the holds are what the steps before have established.
    pub holds: Holds,
}

/// An override that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// For what.
    pub deviation: Deviation,
    /// By which request.
    pub request: Option<Digest>,
}

/// Whether what is held is what the steps before have established.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Holds {
    /// It is.
    #[default]
    AsWritten,
    /// It is not: a step was passed over, or a fact was let go for it. Before the next step, everything is looked at anew.
    Anew,
}

impl Overrides {
    /// Whether this deviation may be made.
    pub fn permit(&self, deviation: &Deviation) -> bool {
        self.open.iter().any(|granted| granted.deviation == *deviation)
    }

    /// The facts that may be waived for the next attempt of this step, each once, however many waivers there are of it.
    pub fn waivers_for(&self, step: &StepId) -> Vec<Fact> {
        let mut waived = Vec::new();
        for granted in &self.open {
            match &granted.deviation {
                Deviation::Waive { step: of, fact } if of == step && !waived.contains(fact) => {
                    waived.push(fact.clone())
                }
                Deviation::Waive { .. }
                | Deviation::Skip { .. }
                | Deviation::AcceptFailed { .. }
                | Deviation::AcceptInDoubt { .. }
                | Deviation::OutsideWindow {}
                | Deviation::Abandon {}
                | Deviation::StaleLock { .. }
                | Deviation::TakeOver {}
                | Deviation::BreakGlass {} => {}
            }
        }
        waived
    }

    fn accept(&mut self, given: &Override) -> Result<(), IllegalEvent> {
        if given.self_approved.is_some() != given.approved_by.is_empty() {
            return refuse("an override that is either approved by nobody or by the operator as well as by others");
        }
        if given.request.as_ref().is_some_and(|request| self.requests.contains(request)) {
            return refuse("an override was used a second time");
        }
        if given.deviation.kind() == DeviationKind::BreakGlass {
            return refuse("an override for what only a rule of its own allows");
        }
        let granted = Granted { deviation: given.deviation.clone(), request: given.request.clone() };
        let is_there = |open: &Granted| match &granted.request {
            Some(request) => open.request.as_ref() == Some(request),
            None => *open == granted,
        };
        if self.open.iter().any(is_there) {
            return refuse("an override was accepted a second time");
        }
        self.open.push(granted);
        let can_be_planned = matches!(given.deviation.kind(), DeviationKind::Skip | DeviationKind::Waive);
        if given.request.is_none()
            && can_be_planned
            && !self.planned.iter().any(|planned| planned.deviation == given.deviation)
        {
            self.planned.push(given.clone());
        }
        match given.deviation.kind() {
            // These are made by going on.
            DeviationKind::OutsideWindow
            | DeviationKind::Abandon
            | DeviationKind::StaleLock
            | DeviationKind::BreakGlass => self.use_up(&given.deviation),
            // Nothing of the procedure is left out by it, so it is none of the run's deviations.
            DeviationKind::TakeOver => self.spend(&given.deviation).map(drop),
            DeviationKind::Skip | DeviationKind::Waive | DeviationKind::AcceptFailed | DeviationKind::AcceptInDoubt => {
                Ok(())
            }
        }
    }

    fn use_up(&mut self, deviation: &Deviation) -> Result<(), IllegalEvent> {
        let granted = self.spend(deviation)?;
        self.used.push(granted.deviation);
        Ok(())
    }

    /// Takes what was accepted, so that it permits nothing more.
    fn spend(&mut self, deviation: &Deviation) -> Result<Granted, IllegalEvent> {
        let Some(at) = self.open.iter().position(|granted| granted.deviation == *deviation) else {
            return refuse(format!("a deviation without an override: {deviation}"));
        };
        let granted = self.open.remove(at);
        if granted.request.is_none() {
            self.planned.retain(|planned| planned.deviation != granted.deviation);
        }
        self.requests.extend(granted.request.clone());
        Ok(granted)
    }

    /// The run is taken up again: what was accepted and not used does not count any more.
    pub(super) fn lapse(&mut self) {
        self.open.clear();
        self.waived.clear();
    }

    /// A step passes because it is already so: what does not hold of what was seen had to be waived, and the waivers are used.
    pub(super) fn pass(&mut self, step: &StepId, seen: &[Sight]) -> Result<(), IllegalEvent> {
        let missing: Vec<Fact> =
            seen.iter().filter(|sight| !seen_to_hold(sight)).map(|sight| sight.fact.clone()).collect();
        self.may_begin(step, &missing)?;
        // Whatever was waived for it was only watched.
        let anew = !self.waivers_for(step).is_empty();
        for fact in &missing {
            let used = self.use_up(&Deviation::Waive { step: step.clone(), fact: fact.clone() });
            used.expect("it was asked whether it may begin");
        }
        if anew {
            self.holds = Holds::Anew;
        }
        Ok(())
    }

    /// Whether an attempt may begin with these facts waived.
    pub(super) fn may_begin(&self, step: &StepId, waived: &[Fact]) -> Result<(), IllegalEvent> {
        let permitted = self.waivers_for(step);
        let each_once = waived.iter().enumerate().all(|(at, fact)| !waived[..at].contains(fact));
        match waived.iter().find(|fact| !permitted.contains(fact)) {
            None if each_once => Ok(()),
            None => refuse(format!("step `{step}` began with a fact waived twice")),
            Some(fact) => refuse(format!("step `{step}` began with `{fact}` waived, without an override")),
        }
    }

    /// An attempt begins, with these facts waived, which [`Overrides::may_begin`].
    pub(super) fn begin(&mut self, step: &StepId, waived: &[Fact]) {
        for fact in waived {
            let used = self.use_up(&Deviation::Waive { step: step.clone(), fact: fact.clone() });
            used.expect("it was asked whether it may begin");
        }
        self.waived = waived.to_vec();
        self.holds = if waived.is_empty() { Holds::AsWritten } else { Holds::Anew };
    }
}

impl State {
    pub(super) fn apply_override(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        match event {
            Event::OverrideAccepted(given) => {
                if self.phase == Phase::New {
                    return refuse("an override in a run that was not opened");
                }
                // What stands in the plan is signed with it.
                let signed = |person: &String| match &given.request {
                    Some(request) => self.signed_requests.iter().any(|(of, by)| of == request && by.as_str() == person),
                    None => self.approvals.iter().any(|approval| approval.person.as_str() == person),
                };
                if let Some(person) = given.approved_by.iter().find(|person| !signed(person)) {
                    let what = if given.request.is_some() { "request" } else { "plan" };
                    return refuse(format!("an override approved by {person}, who has not signed its {what}"));
                }
                self.overrides.accept(given)
            }
            Event::StepSkipped { step } => {
                let at = self.next_is(step)?;
                self.may_go_on(step)?;
                self.overrides.use_up(&Deviation::Skip { step: step.clone() })?;
                self.reach(at, step);
                self.settle(at, StepStatus::Skipped);
                self.overrides.holds = Holds::Anew;
                Ok(())
            }
            Event::StepAccepted { step, attempt } => {
                let Phase::Failed { step: at } = self.phase else {
                    return refuse(format!("step `{step}` was accepted, but it had not ended badly"));
                };
                self.same_attempt(at, step, *attempt)?;
                let step = step.clone();
                let deviation = match self.steps[at].status {
                    StepStatus::Failed => Deviation::AcceptFailed { step },
                    StepStatus::InDoubt => Deviation::AcceptInDoubt { step },
                    StepStatus::Open
                    | StepStatus::Done
                    | StepStatus::Already
                    | StepStatus::NotApplicable
                    | StepStatus::Skipped
                    | StepStatus::Accepted => {
                        return refuse(format!("step `{step}` was accepted, but it had ended well"));
                    }
                };
                if self.back.is_some() || self.again.is_some() {
                    return refuse("a step was accepted while something else was carried out");
                }
                self.overrides.use_up(&deviation)?;
                self.settle(at, StepStatus::Accepted);
                self.overrides.waived.clear();
                self.overrides.holds = Holds::Anew;
                // What stopped it was looked at by who accepts it; what comes next is looked at afresh.
                if self.stopping == Some(Stopping::HoldBroken) {
                    self.stopping = None;
                }
                Ok(())
            }
            Event::WaivedFactSeen { step, sight } => match self.phase {
                Phase::Acting { step: at } | Phase::Verifying { step: at }
                    if self.steps[at].id == *step && self.overrides.waived.contains(&sight.fact) =>
                {
                    Ok(())
                }
                _ => refuse(format!("`{}` was watched as waived, and it was not", sight.fact)),
            },
            _ => unreachable!("only these events are routed here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Deviation, Override};
    use crate::history::approval::{Approval, CountsUnder, OVERRIDE};
    use crate::history::event::{AnsweredBy, Ending, Event, Way};
    use crate::history::state::{Phase, State, StepStatus};
    use crate::id::{Digest, StepId};

    fn step(name: &str) -> StepId {
        name.parse().unwrap()
    }

    fn opened(steps: usize) -> State {
        let mut state = State::default();
        let opened = Event::RunOpened {
            runbook: "r".to_owned(),
            title: None,
            labels: [].into(),
            source: "r.yaml".to_owned(),
            plan: Digest::of(b"plan"),
            steps,
            locks: Vec::new(),
            policies: Vec::new(),
            containment: String::new(),
            watching: String::new(),
            program: String::new(),
        };
        state.apply(&opened).unwrap();
        state
    }

    fn given(deviation: Deviation) -> Event {
        Event::OverrideAccepted(Override {
            request: Some(Digest::of(format!("{deviation:?}").as_bytes())),
            deviation,
            reason: "because".to_owned(),
            asked_by: "amy".to_owned(),
            self_approved: Some(AnsweredBy::CommandLine),
            approved_by: Vec::new(),
        })
    }

    #[test]
    fn p05_a_step_is_skipped_by_an_override_and_once() {
        let skip = Event::StepSkipped { step: step("a") };
        let mut state = opened(2);
        assert!(state.apply(&skip).is_err(), "without an override");
        state.apply(&given(Deviation::Skip { step: step("b") })).unwrap();
        assert!(state.apply(&skip).is_err(), "by an override of another step");
        state.apply(&given(Deviation::Skip { step: step("a") })).unwrap();
        state.apply(&skip).unwrap();
        assert_eq!(state.phase, Phase::Ready { next: 1 });
        assert_eq!(state.steps[0].status, StepStatus::Skipped);
        assert_eq!(state.overrides.used.len(), 1);
        let again = state.apply(&given(Deviation::Skip { step: step("a") }));
        assert!(again.is_err(), "the same request a second time");
    }

    #[test]
    fn p05_an_override_is_approved_by_others_or_by_the_operator_and_never_by_nobody() {
        let mut state = opened(1);
        let Event::OverrideAccepted(mut given) = given(Deviation::Skip { step: step("a") }) else { unreachable!() };
        given.self_approved = None;
        assert!(state.apply(&Event::OverrideAccepted(given.clone())).is_err());
        given.approved_by = vec!["bea@example.org".to_owned()];
        assert!(state.apply(&Event::OverrideAccepted(given.clone())).is_err(), "she has not signed it");
        let other = Digest::of(b"another request");
        for document in [other, given.request.clone().unwrap()] {
            assert!(state.apply(&Event::OverrideAccepted(given.clone())).is_err(), "she has not signed this one");
            let signed = Approval {
                document,
                namespace: OVERRIDE.to_owned(),
                person: "bea@example.org".parse().unwrap(),
                key: "SHA256:x".to_owned(),
                algorithm: "ssh-ed25519".to_owned(),
                presence: None,
                certificate: None,
                under: vec![CountsUnder {
                    policy: Digest::of(b"policy"),
                    number: 1,
                    signers: Digest::of(b"signers"),
                    revoked: None,
                    until: "2026-11-22T05:00:00Z".parse().unwrap(),
                }],
                signature: "armour".to_owned(),
            };
            state.apply(&Event::ApprovalAccepted(signed)).unwrap();
        }
        state.apply(&Event::OverrideAccepted(given.clone())).unwrap();
        given.self_approved = Some(AnsweredBy::Terminal);
        given.request = None;
        assert!(state.apply(&Event::OverrideAccepted(given)).is_err());
    }

    #[test]
    fn p05_taking_a_run_over_is_permitted_once_by_a_request_and_is_no_deviation_that_the_run_counts() {
        let mut state = opened(1);
        let take_over = given(Deviation::TakeOver {});
        state.apply(&take_over).unwrap();
        assert!(state.overrides.used.is_empty() && state.overrides.open.is_empty(), "{:?}", state.overrides);
        assert!(state.apply(&take_over).unwrap_err().to_string().contains("a second time"));
    }

    #[test]
    fn p05_a_failed_step_is_not_accepted_by_an_override_for_one_in_doubt() {
        let mut state = opened(2);
        let way = Way::Forward;
        let intended = Event::StepIntended {
            step: step("a"),
            way,
            attempt: 1,
            action: "true".to_owned(),
            program: None,
            requires: Vec::new(),
            waived: Vec::new(),
        };
        let ended = Event::StepEnded {
            step: step("a"),
            way,
            attempt: 1,
            ending: Ending::TimedOut,
            micros: 1,
            output: None,
            leftovers: Vec::new(),
        };
        state.apply(&intended).unwrap();
        state.apply(&ended).unwrap();
        let accepted = Event::StepAccepted { step: step("a"), attempt: 1 };
        state.apply(&given(Deviation::AcceptInDoubt { step: step("a") })).unwrap();
        assert!(state.apply(&accepted).is_err());
        state.apply(&given(Deviation::AcceptFailed { step: step("a") })).unwrap();
        state.apply(&accepted).unwrap();
        assert_eq!(state.phase, Phase::Ready { next: 1 });
    }
}
