//! The review of a run for which the glass was broken: a file that says what was done, which somebody else than the operator reads and
//! signs. It names the last entry of the run, so whoever signs it has signed all of the audit log up to there.

use serde::{Deserialize, Serialize};
use serde_yaml::with::singleton_map_recursive;

use crate::id::{Digest, Moment, Nonce, RunId};
use crate::yaml::write::to_yaml;

/// The version of the format.
pub const VERSION: u32 = 1;

/// A review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// The version of the format, [`VERSION`].
    pub interlock_review: u32,
    /// The run.
    pub run: RunId,
    /// The name of its runbook.
    pub runbook: String,
    /// SHA-256 of its plan.
    pub plan: Digest,
    /// The machine it was on.
    pub host: String,
    /// Who broke the glass.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// What they went on without.
    pub without: Vec<String>,
    /// How the run ended, in words.
    pub ended: String,
    /// How many deviations it had, the broken glass among them.
    pub deviations: usize,
    /// The number of its last entry in the audit log.
    pub entry: u64,
    /// SHA-256 of that entry's line.
    pub digest: Digest,
    /// When this was written.
    pub made: Moment,
    /// Makes it unlike every other.
    pub nonce: Nonce,
}

/// Why a text is not a review.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not YAML of the expected shape.
    #[error("this is not a review that this program wrote: {0}")]
    Shape(String),
    /// Not in the one form in which reviews are written.
    #[error(
        "this is not as this program writes a review, so it was changed by hand or by another version; make a new one"
    )]
    Form,
    /// A later version.
    #[error("this review has version {0}, and this program knows version {VERSION} only; use a newer interlock")]
    Version(u32),
}

impl Review {
    /// Its bytes. Equal reviews have equal bytes.
    ///
    /// # Errors
    /// In words; it does not happen to a review that was made from a run.
    pub fn to_yaml(&self) -> Result<String, ReviewError> {
        to_yaml(self).map_err(ReviewError::Shape)
    }

    /// Reads a review from a file that anybody may have had in hands: only in the form in which it is written.
    ///
    /// # Errors
    /// As said; nothing of it is to be used then.
    pub fn from_file(text: &str) -> Result<Self, ReviewError> {
        let review: Self = singleton_map_recursive::deserialize(serde_yaml::Deserializer::from_str(text))
            .map_err(|error| ReviewError::Shape(error.to_string()))?;
        if review.interlock_review != VERSION {
            return Err(ReviewError::Version(review.interlock_review));
        }
        if review.to_yaml()? == text { Ok(review) } else { Err(ReviewError::Form) }
    }

    /// Whether a text is meant to be a review.
    pub fn is_meant(text: &str) -> bool {
        text.lines().any(|line| line.starts_with("interlock_review:"))
    }
}
