//! A step that is run again: the part of the fold that lets a step which was done be attempted once more, because a fact that
//! it had ensured is broken.
//!
//! It is a run of its own over that one step, inside the run that stands still meanwhile. It begins only right after the run was
//! taken up again, only for a step that was done or already so and was not taken back, and only where something it ensures was
//! seen not to hold. Once it was begun it has to end well, or everything is taken back: nothing else goes on before.

use crate::history::event::{Event, Sight, Verdict, Way};
use crate::history::state::{IllegalEvent, Phase, Resumed, State, StepState, StepStatus, refuse};
use crate::id::StepId;

/// A step that is run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Its index in the plan.
    pub at: usize,
    /// How often it had been attempted before.
    pub before: u32,
    /// How it stands: a run of one step, whose attempts go on counting.
    pub run: State,
}

impl Again {
    /// Whether an attempt of it was announced.
    pub fn begun(&self) -> bool {
        self.run.attempts(0) > self.before
    }
}

impl State {
    /// The index of a step that may be run again now, as far as the record tells.
    pub(super) fn may_be_run_again(&self, step: &StepId) -> Result<usize, IllegalEvent> {
        match self.phase {
            Phase::Ready { .. } | Phase::Failed { .. } if self.resumed == Resumed::JustNow && self.again.is_none() => {}
            _ => {
                return refuse(format!("step `{step}` is run again, but not right after the run was taken up again"));
            }
        }
        self.may_go_on(step)?;
        let found = self.steps.iter().enumerate().find(|(_, state)| state.id == *step);
        let Some((at, state)) =
            found.filter(|(_, state)| matches!(state.status, StepStatus::Done | StepStatus::Already))
        else {
            return refuse(format!("step `{step}` is run again, but it was not done"));
        };
        let Some(back) = &self.back else { return Ok(at) };
        back.may_go_on(step)?;
        if state.attempts == 0 || back.steps.iter().any(|undone| undone.id == *step) {
            return refuse(format!("step `{step}` is run again, but it is not to be taken back any more"));
        }
        Ok(at)
    }

    pub(super) fn begin_rerun(&mut self, step: &StepId, seen: &[Sight]) -> Result<(), IllegalEvent> {
        let at = self.may_be_run_again(step)?;
        if seen.iter().all(|sight| sight.verdict == Verdict::Holds) {
            return refuse(format!("step `{step}` is run again, but everything it ensures holds"));
        }
        let state = self.steps[at].clone();
        let before = state.attempts;
        let run = Self {
            phase: Phase::Ready { next: 0 },
            plan: self.plan.clone(),
            total: 1,
            steps: vec![StepState { status: StepStatus::Open, ..state }],
            order: Some(vec![step.clone()]),
            ..Self::default()
        };
        self.again = Some(Box::new(Again { at, before, run }));
        Ok(())
    }

    pub(super) fn pass_over_rerun(&mut self, step: &StepId, seen: &[Sight]) -> Result<(), IllegalEvent> {
        self.may_be_run_again(step)?;
        if seen.iter().any(|sight| sight.verdict != Verdict::Holds) {
            return refuse(format!("step `{step}` is not run again, but something it ensures does not hold"));
        }
        self.settled.push(step.clone());
        Ok(())
    }

    /// An event of the step that is run again.
    pub(super) fn apply_again(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        let Some(again) = &mut self.again else { return refuse("a step was run again before that began") };
        if let Event::StepNotApplicable { step, .. } = event {
            return refuse(format!("step `{step}` is run again and not applicable, but it was done before"));
        }
        again.run.apply_here(event)?;
        let step = &mut self.steps[again.at];
        step.attempts = again.run.attempts(0);
        if again.run.phase != (Phase::Ready { next: 1 }) {
            return Ok(());
        }
        if let Event::StepDone { replaced, .. } = event {
            step.status = StepStatus::Done;
            step.replaced.clone_from(replaced);
        }
        self.settled.push(step.id.clone());
        // What it has replaced now counts, and not what later steps had made of the same programs before.
        if let Event::StepDone { replaced, .. } = event {
            for later in self.steps.iter_mut().skip(again.at + 1) {
                later.replaced.retain(|path, _| !replaced.contains_key(path));
            }
        }
        // A signal that let the step finish is still there.
        self.stopping = again.run.stopping;
        self.again = None;
        Ok(())
    }

    /// Whether nothing is in flight of a step that is run again.
    pub(super) fn again_is_still(&self) -> bool {
        self.again.as_ref().is_none_or(|again| matches!(again.run.phase, Phase::Ready { .. } | Phase::Failed { .. }))
    }

    /// What becomes of a step that was to be run again when the run halted or died. If no attempt was announced, nothing
    /// happened. On the way back it is dropped, since its undo is still to come. Else it failed or is in doubt.
    pub(super) fn resume_again(&mut self) {
        if self.back.is_some() {
            self.again = None;
        }
        self.again.take_if(|again| !again.begun());
        if let Some(again) = &mut self.again {
            again.run.stand_again();
        }
    }

    /// The direction of an event of a step; none for what is not of a step.
    pub(super) fn way_of(&self, event: &Event) -> Option<Way> {
        match event {
            Event::StepIntended { way, .. }
            | Event::StepEnded { way, .. }
            | Event::StepDone { way, .. }
            | Event::StepFailed { way, .. } => Some(*way),
            Event::StepSkipped { .. } | Event::StepAccepted { .. } | Event::WaivedFactSeen { .. } => Some(Way::Forward),
            Event::StepAlready { .. } | Event::StepNotApplicable { .. } | Event::StepRetried { .. } => {
                Some(if self.again.is_some() { Way::Again } else { Way::Forward })
            }
            Event::LogCreated { .. }
            | Event::LogRepaired { .. }
            | Event::LogKeyReplaced { .. }
            | Event::CheckpointSinkFailed { .. }
            | Event::EntriesArchived { .. }
            | Event::LockRemoved { .. }
            | Event::LockKept { .. }
            | Event::NotifyFailed { .. }
            | Event::RunRefused { .. }
            | Event::RunOpened { .. }
            | Event::ApprovalAccepted(_)
            | Event::GlassBroken(_)
            | Event::GlassTold { .. }
            | Event::WatchesArmed { .. }
            | Event::Answered { .. }
            | Event::Declined { .. }
            | Event::OverrideAccepted(_)
            | Event::OverrideRefused { .. }
            | Event::TakeUpRefused { .. }
            | Event::RerunBegan { .. }
            | Event::RerunNotNeeded { .. }
            | Event::UndoBegan { .. }
            | Event::HoldBroken { .. }
            | Event::SecretAsked { .. }
            | Event::SignalReceived { .. }
            | Event::StopDecided { .. }
            | Event::RunHalted { .. }
            | Event::RunResumed { .. }
            | Event::RunUndone { .. }
            | Event::RunAbandoned { .. }
            | Event::RunCompleted { .. } => None,
        }
    }

    /// Keeps which facts did not hold when they were last looked at.
    pub(super) fn note_what_was_seen(&mut self, event: &Event) {
        let seen: &[Sight] = match event {
            Event::StepIntended { requires, .. } => requires,
            Event::StepDone { ensures, .. } | Event::StepFailed { ensures, .. } => ensures,
            Event::StepAlready { seen, .. }
            | Event::RerunBegan { seen, .. }
            | Event::RerunNotNeeded { seen, .. }
            | Event::RunHalted { seen, .. } => seen,
            Event::HoldBroken { sight, .. } | Event::WaivedFactSeen { sight, .. } => std::slice::from_ref(sight),
            Event::OverrideAccepted(_)
            | Event::OverrideRefused { .. }
            | Event::TakeUpRefused { .. }
            | Event::StepSkipped { .. }
            | Event::StepAccepted { .. }
            | Event::LogCreated { .. }
            | Event::LogRepaired { .. }
            | Event::LogKeyReplaced { .. }
            | Event::CheckpointSinkFailed { .. }
            | Event::EntriesArchived { .. }
            | Event::LockRemoved { .. }
            | Event::LockKept { .. }
            | Event::NotifyFailed { .. }
            | Event::RunRefused { .. }
            | Event::RunOpened { .. }
            | Event::ApprovalAccepted(_)
            | Event::GlassBroken(_)
            | Event::GlassTold { .. }
            | Event::WatchesArmed { .. }
            | Event::Answered { .. }
            | Event::Declined { .. }
            | Event::StepEnded { .. }
            | Event::StepNotApplicable { .. }
            | Event::StepRetried { .. }
            | Event::UndoBegan { .. }
            | Event::SecretAsked { .. }
            | Event::SignalReceived { .. }
            | Event::StopDecided { .. }
            | Event::RunResumed { .. }
            | Event::RunUndone { .. }
            | Event::RunAbandoned { .. }
            | Event::RunCompleted { .. } => &[],
        };
        for sight in seen {
            if sight.verdict == Verdict::Holds {
                self.broken.remove(&sight.fact);
            } else {
                self.broken.insert(sight.fact.clone());
            }
        }
    }
}
