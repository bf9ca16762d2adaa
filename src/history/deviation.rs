//! The ways of leaving a procedure, and the permission for one: an override. Each permits one deviation, of one step or fact,
//! in one run, once.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::event::AnsweredBy;
use crate::id::{Digest, Fact, StepId};

/// The kinds of deviation, as policies name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviationKind {
    /// Not doing a step.
    Skip,
    /// Doing one attempt of a step while a fact that it requires does not hold.
    Waive,
    /// Going on as if a failed step were done.
    AcceptFailed,
    /// Going on as if a step in doubt were done.
    AcceptInDoubt,
    /// Running outside the change window, or in a freeze.
    OutsideWindow,
    /// Giving up a halted run, as it stands.
    Abandon,
    /// Removing the lock of a run that is gone.
    StaleLock,
    /// Going on with a run of another person. It leaves nothing of the procedure out, and is no deviation that a run counts.
    TakeOver,
    /// Going on without the approvals, in an emergency.
    BreakGlass,
}

impl DeviationKind {
    /// Those that a policy's rules can permit, with the names that policies and messages use. Breaking the glass has rules of its own.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("skip", Self::Skip),
        ("waive", Self::Waive),
        ("accept_failed", Self::AcceptFailed),
        ("accept_in_doubt", Self::AcceptInDoubt),
        ("outside_window", Self::OutsideWindow),
        ("abandon", Self::Abandon),
        ("stale_lock", Self::StaleLock),
        ("take_over", Self::TakeOver),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Waive => "waive",
            Self::AcceptFailed => "accept_failed",
            Self::AcceptInDoubt => "accept_in_doubt",
            Self::OutsideWindow => "outside_window",
            Self::Abandon => "abandon",
            Self::StaleLock => "stale_lock",
            Self::TakeOver => "take_over",
            Self::BreakGlass => "break_glass",
        }
    }
}

impl fmt::Display for DeviationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One way of leaving the procedure: of this step, this fact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Deviation {
    /// This step is not done.
    Skip {
        /// The step.
        step: StepId,
    },
    /// One attempt of this step may begin and run while this fact does not hold.
    Waive {
        /// The step.
        step: StepId,
        /// The fact.
        fact: Fact,
    },
    /// This step failed, and the run goes on as if it were done.
    AcceptFailed {
        /// The step.
        step: StepId,
    },
    /// Nobody saw how this step ended, and the run goes on as if it were done.
    AcceptInDoubt {
        /// The step.
        step: StepId,
    },
    /// The run begins, or goes on, outside the change window or in a freeze.
    OutsideWindow {},
    /// The run is given up, as it stands.
    Abandon {},
    /// This lock is removed, although the run that holds it is gone.
    StaleLock {
        /// Its name.
        lock: String,
    },
    /// Another person goes on with the run.
    TakeOver {},
    /// The run goes on without the approvals that a policy asks for.
    BreakGlass {},
}

impl Deviation {
    /// Its kind.
    pub fn kind(&self) -> DeviationKind {
        match self {
            Self::Skip { .. } => DeviationKind::Skip,
            Self::Waive { .. } => DeviationKind::Waive,
            Self::AcceptFailed { .. } => DeviationKind::AcceptFailed,
            Self::AcceptInDoubt { .. } => DeviationKind::AcceptInDoubt,
            Self::OutsideWindow {} => DeviationKind::OutsideWindow,
            Self::Abandon {} => DeviationKind::Abandon,
            Self::StaleLock { .. } => DeviationKind::StaleLock,
            Self::TakeOver {} => DeviationKind::TakeOver,
            Self::BreakGlass {} => DeviationKind::BreakGlass,
        }
    }

    /// The step that it is about, if it is about one.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::Skip { step }
            | Self::Waive { step, .. }
            | Self::AcceptFailed { step }
            | Self::AcceptInDoubt { step } => Some(step),
            Self::OutsideWindow {}
            | Self::Abandon {}
            | Self::StaleLock { .. }
            | Self::TakeOver {}
            | Self::BreakGlass {} => None,
        }
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip { step } => write!(f, "skip step `{step}`"),
            Self::Waive { step, fact } => write!(f, "waive `{fact}` for one attempt of step `{step}`"),
            Self::AcceptFailed { step } => write!(f, "accept step `{step}`, which failed, as done"),
            Self::AcceptInDoubt { step } => write!(f, "accept step `{step}`, which is in doubt, as done"),
            Self::OutsideWindow {} => write!(f, "run outside the change window or in a freeze"),
            Self::Abandon {} => write!(f, "abandon the run"),
            Self::StaleLock { lock } => write!(f, "remove the lock `{lock}`"),
            Self::TakeOver {} => write!(f, "take the run over from another person"),
            Self::BreakGlass {} => write!(f, "go on without the approvals"),
        }
    }
}

/// Permission for one deviation, as it was accepted: on somebody's word, with a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// What it permits, once.
    pub deviation: Deviation,
    /// Why, in the words of who asked.
    pub reason: String,
    /// Who asked for it: the user, as the log names them.
    pub asked_by: String,
    /// SHA-256 of the request's bytes; none where it stands in the plan, or was asked for at the terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Digest>,
    /// Set where no policy asks for signatures and the operator decided alone: how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_approved: Option<AnsweredBy>,
    /// The persons who signed it, each with an entry `approval_accepted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::{Deviation, DeviationKind};

    #[test]
    fn a_kind_has_one_name_in_policies_messages_and_entries() {
        for (name, kind) in DeviationKind::NAMES {
            assert_eq!(kind.as_str(), name);
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{name}\""));
        }
    }

    #[test]
    fn a_deviation_is_written_by_the_name_of_its_kind() {
        let step = || "change".parse().unwrap();
        let all = [
            Deviation::Skip { step: step() },
            Deviation::Waive { step: step(), fact: "monit stopped".parse().unwrap() },
            Deviation::AcceptFailed { step: step() },
            Deviation::AcceptInDoubt { step: step() },
            Deviation::OutsideWindow {},
            Deviation::Abandon {},
            Deviation::StaleLock { lock: "db".to_owned() },
            Deviation::TakeOver {},
        ];
        for deviation in all {
            let written = serde_json::to_string(&deviation).unwrap();
            assert!(written.starts_with(&format!("{{\"{}\":{{", deviation.kind())), "{written}");
            assert_eq!(serde_json::from_str::<Deviation>(&written).unwrap(), deviation);
        }
    }
}
