//! Why the log cannot be opened or written, in words for whoever has to mend it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the log cannot be opened or written. The program ends with exit code 1.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The home breaks a rule.
    #[error("the home cannot be used: {}: {problem}", path.display())]
    Home {
        /// The folder in question.
        path: PathBuf,
        /// Which rule, and what to do.
        problem: String,
    },
    /// A system call failed. Final for this process: it may not be tried again, because the kernel may have dropped
    /// what was to be written.
    #[error(
        "cannot {doing} {}: {source}; the audit log is not written any more, so nothing more is started",
        path.display()
    )]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The log holds something that neither this program nor a crash has put there. Final.
    #[error(
        "the audit log is damaged or was changed: {}, line {line} (byte {offset}), where entry {entry} belongs: \
         {problem}; nothing was written. Run `interlock audit verify`, keep a copy of the folder as it is, and find \
         out who or what did it; until then, only another --home can be used",
        path.display()
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The line in it; the first is 1.
        line: u64,
        /// Where the line begins, in bytes.
        offset: u64,
        /// The number of the entry that belongs there.
        entry: u64,
        /// What is wrong.
        problem: String,
    },
    /// An entry, or the entries of one append together, would be too long. Nothing was written, and the log can be
    /// used.
    #[error(
        "{what} would take {length} bytes in the audit log, and {limit} is the most; nothing was written. Its texts \
         must be cut before they are recorded"
    )]
    TooLong {
        /// The event, or how many entries.
        what: String,
        /// How long it would be, in bytes.
        length: usize,
        /// The most, in bytes.
        limit: usize,
    },
    /// There is no room on the disk for a new segment. Nothing was written, and entries that close a run can still be:
    /// with [`Log::append_closing`](super::Log::append_closing).
    #[error(
        "no room for the audit log in {}: {source}; nothing was written and nothing more is started. Free at least 2 \
         MiB on that file system, then resume",
        path.display()
    )]
    NoRoom {
        /// The folder of the log.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A run would open, or be taken up, under less than runs of this log went under before: since the policies were looked at, somebody
    /// else has opened one under newer ones. Nothing was written, and the log can be used.
    #[error("another run was opened under other policies at this moment: {problem}; nothing was started")]
    Weaker {
        /// What is less.
        problem: String,
    },
    /// An event that this program cannot write: a mistake in this program. Nothing was written.
    #[error("an event cannot be written: {problem}. This is a bug of interlock; please report it")]
    Unwritable {
        /// What is wrong with it.
        problem: String,
    },
}

impl LogError {
    /// Whether the log must not be used again after this error.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Home { .. } | Self::Io { .. } | Self::Damaged { .. } => true,
            Self::TooLong { .. } | Self::NoRoom { .. } | Self::Weaker { .. } | Self::Unwritable { .. } => false,
        }
    }
}

/// An error of the system as a [`LogError`], with what was tried.
pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError + use<> {
    let path = path.to_path_buf();
    move |source| LogError::Io { doing, path, source: Arc::new(source) }
}
