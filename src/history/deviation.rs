//! The ways of leaving a procedure. Each is allowed only by an override, and under a policy only if that names it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A way of leaving the procedure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deviation {
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
}

impl Deviation {
    /// All of them, with the names that policies and messages use.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("skip", Self::Skip),
        ("waive", Self::Waive),
        ("accept_failed", Self::AcceptFailed),
        ("accept_in_doubt", Self::AcceptInDoubt),
        ("outside_window", Self::OutsideWindow),
        ("abandon", Self::Abandon),
        ("stale_lock", Self::StaleLock),
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
        }
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Deviation;

    #[test]
    fn a_deviation_has_one_name_in_policies_messages_and_entries() {
        for (name, deviation) in Deviation::NAMES {
            assert_eq!(deviation.as_str(), name);
            assert_eq!(serde_json::to_string(&deviation).unwrap(), format!("\"{name}\""));
        }
    }
}
