//! The audit log on disk: an append-only chain of entries in JSON Lines, one log for all runs of a home. It is the
//! journal that a run is resumed from, too: there is no second source of truth. docs/audit-format.md is the format.
//!
//! # Promises
//! - When [`Log::append`] returns `Ok`, the entries are on disk. When it fails for any reason but a draft that is too
//!   long or a full disk, the log is not used again by this process.
//! - Bytes that were acknowledged are never written again, and no file of the log ever becomes shorter.
//! - What a crash leaves behind is told apart from damage. The first is set aside, and the repair is an entry; the
//!   second is refused. Neither is passed over in silence.
//! - Readers take no lock, never write, use bounded memory, and stop at the first thing that is wrong.
//!
//! # The parts
//! [`Log`] writes, [`read()`] follows the chain and yields entries, [`verify()`] recomputes everything and names every
//! finding. [`bundle()`] takes one run out of the log with its proof, and [`verify_bundle`] checks
//! that alone. All share the code that splits and decodes lines and judges a tail, and the writer of checkpoints shares tree and note with
//! verifying; the second verifier in tests/verify.py shares no code with any of them.

mod ahead;
mod anchor;
pub mod archive;
mod backwards;
mod base;
mod bundle;
mod contents;
mod error;
mod glide;
mod home;
mod kept;
mod key;
mod line;
mod lines;
mod log;
mod names;
mod note;
mod policies;
mod read;
mod report;
mod runs;
mod scan;
mod segment;
mod skim;
mod storage;
mod succession;
mod tail;
mod tar;
mod transcript;
mod tree;
mod verify;
mod who;

#[cfg(test)]
mod tests;

pub use anchor::{AnchorError, Made, checkpoint, checkpoint_behind};
pub use backwards::in_parallel;
pub use base::{Archive, Base};
pub use bundle::{Bundle, BundleError, BundleReport, Bundled, Known, bundle, verify_bundle};
pub use error::LogError;
pub use home::Home;
pub use key::{KeyError, OldKey, Replacement, public_key, replace_key};
pub use line::{FIRST_PREV, MAX_LINE};
pub use log::{Draft, Log, MAX_APPEND, RESERVE, Recorded, SEGMENT};
pub use note::{Checkpoint, NoteError, PublicKey};
pub use policies::numbers_beside;
pub use read::{Found, ReadError, Reader, archived, head, id, read, read_from};
pub use report::{Archived, Finding, Kind, Objection, Report, Severity};
pub use runs::{Runs, WholeRun, runs, runs_with};
pub use scan::entries_with;
pub use skim::{Skimmed, Stamp, Turn};
pub use verify::{Anchors, Files, verify, verify_against};
