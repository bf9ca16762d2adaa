//! What a report is made from, and what proves it.

use crate::id::Digest;

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
        format!("interlock audit verify --home {}", crate::plan::command_line(std::slice::from_ref(&self.home)))
    }

    /// The command that shows all that was kept of an output, whose transcript has this path in the home.
    pub fn output(&self, transcript: &str) -> String {
        let file = crate::plan::command_line(&[format!("{}/{transcript}", self.home)]);
        format!("jq -j 'select(type == \"array\" and .[1] == \"o\")[2]' {file} | less")
    }

    /// The command that gives the digest of the last entry of a run.
    pub fn last_digest(&self, run: &crate::id::RunId) -> String {
        format!("{} --format json | tail -n 1 | tr -d '\\n' | sha256sum", self.show(run))
    }

    /// The command that tells the whole of a run.
    pub fn show(&self, run: &crate::id::RunId) -> String {
        format!("interlock audit show {run} --home {}", crate::plan::command_line(std::slice::from_ref(&self.home)))
    }
}
