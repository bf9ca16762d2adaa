//! Random overrides, and what the events of a run must show of them. This reads the events for itself and shares no code with the
//! fold that it checks.

use super::*;
use crate::history::deviation::DeviationKind;

/// Which deviation, of which step, which fact, by which request; they are valid or not, as it happens.
pub(super) type RandomOverride = (u8, u8, u8, u8);

/// What a run is opened with and taken up with, in turn.
pub(super) fn random_overrides() -> impl Strategy<Value = Vec<Vec<RandomOverride>>> {
    let one = (0_u8..13, 0_u8..6, 0_u8..4, 0_u8..12);
    proptest::collection::vec(proptest::collection::vec(one, 0..4), 0..12)
}

/// Requests are few, so that some are used again.
pub(super) fn some_overrides(procedure: &Procedure, chosen: &[RandomOverride]) -> Vec<Override> {
    let one = |(kind, step, fact, request): &RandomOverride| {
        let steps = procedure.steps();
        let step = steps.get(usize::from(*step)).map_or_else(|| id("nowhere"), |step| step.id.clone());
        let deviation = match kind {
            0..=2 => Deviation::Skip { step },
            3..=5 => Deviation::Waive { step, fact: super::fact(FACTS[usize::from(*fact)]) },
            6..=8 => Deviation::AcceptFailed { step },
            9..=10 => Deviation::AcceptInDoubt { step },
            11 => Deviation::OutsideWindow {},
            _ => Deviation::TakeOver {},
        };
        let (self_approved, approved_by) = match request % 3 {
            0 => (None, vec!["bea@example.org".to_owned()]),
            _ => (Some(AnsweredBy::CommandLine), Vec::new()),
        };
        Override {
            deviation,
            reason: "because".to_owned(),
            asked_by: "amy".to_owned(),
            request: (*request < 9).then(|| Digest::of(&[*request])),
            self_approved,
            approved_by,
        }
    };
    chosen.iter().map(one).collect()
}

/// A permission that was accepted and not used.
#[derive(Debug)]
struct Permitted {
    deviation: Deviation,
    request: Option<Digest>,
}

/// Reads a run from its first event on; every deviation that it makes must have a permission of its own.
#[derive(Debug, Default)]
struct Reader {
    permitted: Vec<Permitted>,
    used_requests: Vec<Digest>,
    used: usize,
    /// How the last attempt of a step on the way there ended.
    failed: BTreeMap<StepId, bool>,
    began: BTreeSet<StepId>,
    passed_over: BTreeSet<StepId>,
    /// The step whose attempt is open on the way there, and what is waived for it.
    open: Option<(StepId, Vec<Fact>)>,
}

/// Checks what the events say of deviations, and gives how many were made.
pub(super) fn check(procedure: &Procedure, events: &[Event]) -> Result<usize, TestCaseError> {
    let mut reader = Reader::default();
    for event in events {
        reader.read(procedure, event)?;
    }
    Ok(reader.used)
}

impl Reader {
    fn read(&mut self, procedure: &Procedure, event: &Event) -> Result<(), TestCaseError> {
        match event {
            Event::RunResumed { .. } => {
                self.permitted.clear();
                if let Some((step, _)) = self.open.take() {
                    self.failed.insert(step, false);
                }
            }
            Event::OverrideAccepted(given) => self.accept(procedure, given)?,
            Event::StepSkipped { step } => {
                prop_assert!(!self.began.contains(step), "`{}` was begun and then skipped", step);
                prop_assert!(self.passed_over.insert(step.clone()), "`{}` was skipped twice", step);
                self.use_up(&Deviation::Skip { step: step.clone() })?;
            }
            Event::StepAccepted { step, .. } => {
                let step = step.clone();
                match self.failed.remove(&step) {
                    Some(true) => self.use_up(&Deviation::AcceptFailed { step })?,
                    Some(false) => self.use_up(&Deviation::AcceptInDoubt { step })?,
                    None => return Err(TestCaseError::fail(format!("`{step}` was accepted and had not ended badly"))),
                }
            }
            Event::StepIntended { step, way: Way::Forward, waived, requires, .. } => {
                prop_assert!(!self.passed_over.contains(step), "`{}` was skipped and then begun", step);
                for fact in waived {
                    self.use_up(&Deviation::Waive { step: step.clone(), fact: fact.clone() })?;
                }
                let unproved = requires.iter().find(|s| s.verdict != Verdict::Holds && !waived.contains(&s.fact));
                prop_assert!(unproved.is_none(), "`{}` began although {:?}", step, unproved);
                self.began.insert(step.clone());
                self.failed.remove(step);
                self.open = Some((step.clone(), waived.clone()));
            }
            Event::StepIntended { step, way, waived, .. } => {
                prop_assert!(waived.is_empty(), "`{}` has waivers, and is not on the way there", step);
                prop_assert!(!self.passed_over.contains(step), "`{}` was skipped, and is {:?}", step, way);
                match way {
                    // A step that was so already was not begun before.
                    Way::Again => self.began.insert(step.clone()),
                    Way::Back | Way::Forward => self.began.contains(step),
                };
                prop_assert!(self.began.contains(step), "`{}` never began, and is taken back", step);
            }
            Event::StepEnded { step, way: Way::Forward, ending, .. } => {
                let well = matches!(ending, Ending::Exited { code: 0 } | Ending::Attested | Ending::NothingToDo);
                if !well {
                    let in_doubt = matches!(ending, Ending::Stopped | Ending::Interrupted);
                    self.failed.insert(step.clone(), !in_doubt);
                    self.open = None;
                }
            }
            Event::StepFailed { step, way: Way::Forward, .. } => {
                self.failed.insert(step.clone(), true);
                self.open = None;
            }
            Event::StepDone { way: Way::Forward, .. } => self.open = None,
            Event::StepAlready { step, seen } => {
                for sight in seen.iter().filter(|sight| sight.verdict != Verdict::Holds) {
                    self.use_up(&Deviation::Waive { step: step.clone(), fact: sight.fact.clone() })?;
                }
            }
            Event::RunHalted { .. } => {
                if let Some((step, _)) = self.open.take() {
                    self.failed.insert(step, false);
                }
            }
            Event::WaivedFactSeen { step, sight } => {
                let its_own = self.open.as_ref().is_some_and(|(s, waived)| s == step && waived.contains(&sight.fact));
                prop_assert!(its_own, "`{}` was not waived for `{}`", sight.fact, step);
            }
            Event::HoldBroken { sight, .. } => {
                let waived = self.open.as_ref().is_some_and(|(_, waived)| waived.contains(&sight.fact));
                prop_assert!(!waived, "`{}` stopped a step for which it was waived", sight.fact);
            }
            Event::RunCompleted { deviations, skipped, .. } => {
                prop_assert_eq!(*deviations, self.used, "not every deviation is told");
                prop_assert_eq!(*skipped, self.passed_over.len());
            }
            _ => {}
        }
        Ok(())
    }

    fn accept(&mut self, procedure: &Procedure, given: &Override) -> Result<(), TestCaseError> {
        prop_assert!(
            given.self_approved.is_some() == given.approved_by.is_empty(),
            "nobody's word, or two: {:?}",
            given
        );
        let spent = given.request.as_ref().is_some_and(|request| self.used_requests.contains(request));
        prop_assert!(!spent, "a request was accepted that was used: {:?}", given);
        if let Some(id) = given.deviation.step() {
            let step = procedure.steps().iter().find(|step| step.id == *id);
            let says_never = step.is_none_or(|step| step.overrides == OverrideRule::Never);
            prop_assert!(!says_never, "`{}` has no override, whoever asks", id);
        }
        let (deviation, request) = (given.deviation.clone(), given.request.clone());
        self.permitted.push(Permitted { deviation, request });
        match given.deviation.kind() {
            DeviationKind::OutsideWindow => self.use_up(&given.deviation)?,
            // Of a run that another person goes on with, nothing is left out.
            DeviationKind::TakeOver => self.spend(&given.deviation)?,
            _ => {}
        }
        Ok(())
    }

    fn use_up(&mut self, deviation: &Deviation) -> Result<(), TestCaseError> {
        self.spend(deviation)?;
        self.used += 1;
        Ok(())
    }

    fn spend(&mut self, deviation: &Deviation) -> Result<(), TestCaseError> {
        let found = self.permitted.iter().position(|permitted| permitted.deviation == *deviation);
        let Some(found) = found else {
            return Err(TestCaseError::fail(format!("{deviation}: without an override")));
        };
        if let Some(request) = self.permitted.remove(found).request {
            prop_assert!(!self.used_requests.contains(&request), "a request was used twice: {}", deviation);
            self.used_requests.push(request);
        }
        Ok(())
    }
}
