//! What the policies in force remove from the output of steps, and the key by which that is committed to.

use std::path::Path;

use crate::audit::Home;
use crate::driver::launch::transcript_of;
use crate::exec::commit::{Key, ListPlan};
use crate::exec::process::RedactPlan;
use crate::exec::redact::Redactions;
use crate::id::RunId;

/// The key's file, in the home.
const KEY: &str = "redaction.key";

/// What is removed from all output of a run.
#[derive(Debug)]
pub struct Removal {
    redactions: Redactions,
    key: Key,
}

impl Removal {
    /// Gets the key, which is on disk from then on; none where nothing is removed.
    ///
    /// # Errors
    /// In words: there is no key and none can be made.
    pub fn new(home: &Home, redactions: Redactions) -> Result<Option<Self>, String> {
        if redactions.is_empty() {
            return Ok(None);
        }
        let key = Key::of_file(&home.path().join(KEY))?;
        Ok(Some(Self { redactions, key }))
    }

    /// What is removed.
    pub(super) fn redactions(&self) -> Redactions {
        self.redactions.clone()
    }

    /// For an attempt whose transcript lies in this folder.
    pub(super) fn plan(&self, run: &RunId, folder: &Path, attempt: &str) -> RedactPlan {
        let mut path = transcript_of(folder, attempt).into_os_string();
        path.push(".redacted");
        RedactPlan {
            redactions: self.redactions.clone(),
            list: ListPlan {
                path: path.into(),
                key: self.key.clone(),
                run: run.to_string(),
                attempt: attempt.to_owned(),
            },
        }
    }
}
