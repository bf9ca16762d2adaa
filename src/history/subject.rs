//! What an event is about.

use crate::history::event::Event;
use crate::id::StepId;

impl Event {
    /// The step that it is about, if it is about one.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::Answered { step, .. }
            | Self::Declined { step, .. }
            | Self::StepIntended { step, .. }
            | Self::StepEnded { step, .. }
            | Self::StepDone { step, .. }
            | Self::StepAlready { step, .. }
            | Self::StepFailed { step, .. }
            | Self::StepNotApplicable { step, .. }
            | Self::StepSkipped { step }
            | Self::StepAccepted { step, .. }
            | Self::WaivedFactSeen { step, .. }
            | Self::StepRetried { step, .. }
            | Self::RerunBegan { step, .. }
            | Self::RerunNotNeeded { step, .. }
            | Self::StopDecided { step, .. } => Some(step),
            Self::HoldBroken { step, .. } | Self::SignalReceived { step, .. } | Self::RunHalted { step, .. } => {
                step.as_ref()
            }
            Self::RunAbandoned { in_doubt, .. } => in_doubt.as_ref(),
            Self::OverrideAccepted(given) => given.deviation.step(),
            Self::OverrideRefused { deviation, .. } => deviation.step(),
            Self::LogCreated { .. }
            | Self::LogRepaired { .. }
            | Self::LockRemoved { .. }
            | Self::LockKept { .. }
            | Self::GlassBroken(_)
            | Self::GlassTold { .. }
            | Self::NotifyFailed { .. }
            | Self::LogKeyReplaced { .. }
            | Self::CheckpointSinkFailed { .. }
            | Self::EntriesArchived { .. }
            | Self::RunRefused { .. }
            | Self::RunOpened { .. }
            | Self::ApprovalAccepted(_)
            | Self::WatchesArmed { .. }
            | Self::SecretAsked { .. }
            | Self::UndoBegan { .. }
            | Self::RunResumed { .. }
            | Self::TakeUpRefused { .. }
            | Self::RunUndone { .. }
            | Self::RunCompleted { .. } => None,
        }
    }
}
