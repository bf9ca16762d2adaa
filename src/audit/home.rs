//! The home: the folder that holds the audit log and what belongs to its runs.

use std::io;
use std::path::{Path, PathBuf};

use crate::id::RunId;

/// The folder of one audit log and its runs, as an absolute path. Nothing is looked at or created by making one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// The home at this path. A relative path is taken from the current directory, once, now.
    ///
    /// # Errors
    /// The path is empty, or it is relative and there is no current directory.
    pub fn new(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self { path: std::path::absolute(path)? })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the audit log: its segments, its lock, and what repairs have set aside.
    pub fn audit(&self) -> PathBuf {
        self.path.join("audit")
    }

    /// The folder that holds one folder for each run.
    pub fn runs(&self) -> PathBuf {
        self.path.join("runs")
    }

    /// The folder of what concerns no run of this log: the requests by which locks were removed, with what their signatures were looked
    /// at with.
    pub fn unlocked(&self) -> PathBuf {
        self.path.join("unlocked")
    }

    /// The folder of one run: its plan and its transcripts.
    pub fn run(&self, run: &RunId) -> PathBuf {
        self.runs().join(run.as_str())
    }
}
