//! A bundle: one file with everything that a run left in the record, and the proof that its entries are in the log, for a person who has
//! neither the machine nor a reason to trust it. docs/audit-format.md says what is in it.
//!
//! What is read of a bundle may come from anybody: nothing of it is put onto disk, no name in it is used as a path, memory is bounded by
//! what is looked at at a time, and whatever is not exactly as this program writes it is refused.

mod make;
mod statement;
mod verify;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::contents::{PLAN, POLICIES, REQUESTS, REVIEWS, TRANSCRIPTS};
use super::read::{ReadError, open};
use super::tar::{Member, index};
use crate::history::state::{Phase, State, Verdict};
use crate::id::Digest;

pub use make::{BundleError, Bundled, bundle};
pub use verify::{BundleReport, Known, verify_bundle};

const MANIFEST: &str = "manifest.json";
const ENVELOPE: &str = "manifest.dsse.json";
const CHECKPOINT: &str = "checkpoint";
const ENTRIES: &str = "entries.jsonl";
const PROOF: &str = "proof";

/// The largest file of a bundle that is taken into memory as a whole: as large as a plan may be.
const LARGEST_WHOLE: u64 = 16 * 1024 * 1024;

/// A bundle that is open for reading.
#[derive(Debug)]
pub struct Bundle {
    file: File,
    members: Vec<Member>,
}

impl Bundle {
    /// Opens a bundle and looks at its files' names and places.
    ///
    /// # Errors
    /// Outside: the file cannot be read. Inside: it is no bundle, or not a whole one.
    pub fn open(path: &Path) -> Result<Result<Self, String>, ReadError> {
        let failed = |source| ReadError::Io { path: path.to_owned(), source };
        let file = open(path)?;
        let length = file.metadata().map_err(failed)?.len();
        let found = index(|buffer, at| file.read_exact_at(buffer, at), length).map_err(failed)?;
        Ok(found.and_then(|members| {
            in_order(&members)?;
            Ok(Self { file, members })
        }))
    }

    /// The bytes of one of its files.
    ///
    /// # Errors
    /// In words: it has none of that name, or it is larger than any of its kind is.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let member = self.member(name).ok_or_else(|| format!("the bundle has no file `{name}`"))?;
        if member.size > LARGEST_WHOLE {
            return Err(format!("`{name}` is longer than {} MiB", LARGEST_WHOLE >> 20));
        }
        let mut bytes = vec![0; usize::try_from(member.size).expect("16 MiB fit into memory")];
        self.file.read_exact_at(&mut bytes, member.offset).map_err(|error| format!("`{name}`: {error}"))?;
        Ok(bytes)
    }

    fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// Reads into the buffer from a place in a file; 0 is its end.
    fn read_at(&self, member: &Member, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let left = usize::try_from(member.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        super::read::read_at(&self.file, &mut buffer[..count], member.offset + at)
    }

    fn digest(&self, member: &Member) -> io::Result<Digest> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut at = 0;
        while at < member.size {
            match self.read_at(member, &mut buffer, at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    hasher.update(&buffer[..count]);
                    at += count as u64;
                }
            }
        }
        Ok(Digest::from_bytes(&hasher.finalize().into()))
    }
}

/// Where a file stands among the others; none for a name that no file of a bundle has.
fn rank(name: &str) -> Option<usize> {
    let fixed = [MANIFEST, ENVELOPE, CHECKPOINT, ENTRIES, PROOF, PLAN];
    if let Some(at) = fixed.iter().position(|other| *other == name) {
        return Some(at);
    }
    let by_digest = |rest: &str, endings: &[&str]| {
        endings.iter().any(|ending| rest.strip_suffix(ending).is_some_and(|digest| digest.parse::<Digest>().is_ok()))
    };
    if let Some(rest) = name.strip_prefix(REQUESTS) {
        return by_digest(rest, &[".request.yaml"]).then_some(fixed.len());
    }
    if let Some(rest) = name.strip_prefix(POLICIES) {
        return by_digest(rest, &[".policy.yaml", ".allowed_signers", ".revoked"]).then_some(fixed.len() + 1);
    }
    if let Some(rest) = name.strip_prefix(REVIEWS) {
        return by_digest(rest, &[".review.yaml"]).then_some(fixed.len() + 2);
    }
    let rest = name.strip_prefix(TRANSCRIPTS)?;
    [".cast", ".cast.redacted"].iter().any(|ending| rest.ends_with(ending)).then_some(fixed.len() + 3)
}

/// Whether the files are those of a bundle, each once, in the order in which they are written.
fn in_order(members: &[Member]) -> Result<(), String> {
    for name in [MANIFEST, ENVELOPE, CHECKPOINT, ENTRIES, PROOF] {
        if !members.iter().take(5).any(|member| member.name == name) {
            return Err(format!("`{name}` is not in its place"));
        }
    }
    let mut before = None;
    for member in members {
        let Some(rank) = rank(&member.name) else {
            return Err(format!("`{}` is no file of a bundle", member.name));
        };
        let here = (rank, member.name.as_str());
        if before.is_some_and(|before| before >= here) {
            return Err(format!("`{}` is there twice, or not in its place", member.name));
        }
        before = Some(here);
    }
    Ok(())
}

/// How a run stands, in a word.
fn standing(state: &State) -> &'static str {
    match state.phase {
        Phase::New | Phase::Ready { .. } | Phase::Acting { .. } | Phase::Verifying { .. } | Phase::Failed { .. } => {
            "open"
        }
        Phase::Over(Verdict::Halted(_)) => "halted",
        Phase::Over(Verdict::Completed) => "completed",
        Phase::Over(Verdict::Undone) => "undone",
        Phase::Over(Verdict::Abandoned) => "abandoned",
        Phase::Over(Verdict::Refused(_)) => "refused",
    }
}
