//! Archiving: the oldest finished segments of a log are moved out of its home, with the runs that are whole in them, and what stands for
//! them stays ([`Base`](super::Base)). Nothing that the log promises is lost: the chain, the tree, the keys and the proofs go on from there.
//!
//! # In this order
//! 1. [`choose()`] finds what no unsettled run reaches into.
//! 2. [`make()`] copies it into a folder beside its final name, every file and name on disk. The caller verifies it, as any log.
//! 3. [`Archived::keep`] gives it its name.
//! 4. [`Archived::stand`] writes, under the log's lock, what stands for it in the home, and records that in the log.
//! 5. [`remove()`] takes away at home what the archive has, each file held against its copy first.
//!
//! Whatever happens in between, either everything is at home, or it is at home in part and whole in the archive. Called again, [`finish()`]
//! goes on after 4, and all else is begun anew.

mod choose;
mod copy;
mod join;
mod make;

use std::io;
use std::path::{Path, PathBuf};

use super::anchor::AnchorError;
use super::error::LogError;
use super::read::ReadError;

pub use choose::{Chosen, Limits, choose};
pub use join::{Joint, Span, joins};
pub use make::{Archived, Finished, finish, make, remove};

/// Why nothing more was archived.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The log, or a file that is to be copied, cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No checkpoint can be signed.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// In words.
    #[error("{0}")]
    Wrong(String),
    /// A system call failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = path.to_owned();
    move |source| ArchiveError::Io { path, source }
}
