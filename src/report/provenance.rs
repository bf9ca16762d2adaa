//! What a report is made from, and what proves it.

use crate::history::event::Way;
use crate::id::{Digest, RunId, StepId};
use crate::plan::command_line;
use crate::report::account::Attempt;

/// What a report is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The UUID of the log.
    pub log: String,
    /// The public key that signs its checkpoints.
    pub key: Option<String>,
    /// The number and the digest of the log's last entry when the report was made.
    pub head: (u64, Digest),
    /// The first checkpoint beside the log that speaks of the whole run, if there is one.
    pub checkpoint: Option<Anchor>,
    /// The home.
    pub home: String,
    /// When the report was made: UTC, RFC 3339.
    pub made: String,
    /// The version of the program that made it.
    pub program: &'static str,
}

/// A checkpoint that the log's key has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Its file's name.
    pub file: String,
    /// How many entries it speaks of.
    pub size: u64,
    /// The signed text.
    pub note: String,
}

impl Provenance {
    /// The command that checks the log.
    pub fn verify(&self) -> String {
        format!("interlock audit verify --home {}", self.home())
    }

    /// The command that shows all that was kept of the output of an attempt.
    pub fn output(&self, run: &RunId, step: &StepId, attempt: &Attempt) -> String {
        let undo = if attempt.way == Way::Back { " --undo" } else { "" };
        format!("interlock audit play {run} {step} --attempt {}{undo} --home {} | less", attempt.number, self.home())
    }

    /// The command that gives the digest of the last entry of a run.
    pub fn last_digest(&self, run: &RunId) -> String {
        format!("{} --format json | tail -n 1 | tr -d '\\n' | sha256sum", self.show(run))
    }

    /// The command that tells the whole of a run.
    pub fn show(&self, run: &RunId) -> String {
        format!("interlock audit show {run} --home {}", self.home())
    }

    /// The home as it is typed.
    fn home(&self) -> String {
        command_line(std::slice::from_ref(&self.home))
    }
}
