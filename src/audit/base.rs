//! What stands in the home for the entries that were moved into an archive: the file `audit/archived`. It says how many they are and what
//! their last one was, so that the chain goes on from there; the right edge of their tree, so that the tree goes on; and what later
//! readers need to know of them. docs/audit-format.md describes it.
//!
//! Nobody has to believe it: its checkpoint is signed by the log's key, the edge leads to the root in that, the proof leads from its lines
//! to the edge, and the entry that was written after it has its digest. [`Base::read`] checks what can be checked without keys, and every
//! reader refuses a log whose base it refuses; the signature and the digest are for [`verify`](super::verify()).

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::line::decode;
use super::names;
use super::note::Checkpoint;
use super::read::{ReadError, read_bounded};
use super::tail::Position;
use super::tree::{Edge, Hash, Known, leaf};
use crate::history::entry::Entry;
use crate::history::event::Event;
use crate::history::numbers::Numbers;
use crate::history::unlocked::Unlocked;
use crate::id::Digest;

/// The longest that is read, in bytes: 16 MiB.
const LONGEST: u64 = 16 << 20;
/// The version of the form.
pub(super) const VERSION: u64 = 1;

/// The file, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub version: u64,
    /// The UUID of the log.
    pub log: String,
    /// How many entries are archived: 1 to this number.
    pub entries: u64,
    /// SHA-256 of the line of the last of them: what the next one has as `prev`.
    pub last: Digest,
    /// When that was written, as it says itself.
    pub time: String,
    /// The roots of the largest whole parts of the tree over them, the leftmost first, in base64.
    pub edge: Vec<String>,
    /// The signed checkpoint of so many entries.
    pub checkpoint: String,
    /// The lines that say which log it is and by which keys it was signed, as they stood.
    pub lines: Vec<String>,
    /// The proof that these are in the tree.
    pub proof: Vec<String>,
    /// The highest numbers of policies that runs went under.
    pub policies: Numbers,
    /// The removals of locks.
    pub unlocked: Unlocked,
    /// The archive that holds the last of them, and which: from the first to the last of its segments.
    pub archive: Archive,
}

/// An archive: where it was put, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Its folder, when it was made. It may have been moved since.
    pub folder: String,
    /// The first entry that it holds.
    pub first: u64,
    /// How many segments it holds.
    pub segments: u64,
    /// How long these are, in bytes.
    pub bytes: u64,
    /// Why it was made, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What stands for the entries that were archived, after it was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Base {
    written: Written,
    known: Known,
    lines: Vec<Entry>,
    digest: Digest,
}

impl Base {
    /// Reads the bytes of the file.
    ///
    /// # Errors
    /// In words: what is wrong in it.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let written: Written =
            serde_json::from_slice(bytes).map_err(|error| format!("it is not of its form: {error}"))?;
        if written.version != VERSION {
            return Err(format!("it is of version {}, and this program knows {VERSION}", written.version));
        }
        if written.entries == 0
            || written.entries > u64::MAX / 2
            || written.archive.first == 0
            || written.archive.first > written.entries
        {
            return Err("it stands for no entries".to_owned());
        }
        let hashes = |all: &[String]| all.iter().map(|one| hash_of(one)).collect::<Option<Vec<Hash>>>();
        let no_hash = "what is to be a hash is none";
        let edge = Edge::of(written.entries, hashes(&written.edge).ok_or(no_hash)?)
            .ok_or_else(|| format!("a tree of {} entries has not so many parts", written.entries))?;
        let checkpoint = Checkpoint::claimed(written.checkpoint.as_bytes()).map_err(|error| error.to_string())?;
        if checkpoint.size != written.entries || checkpoint.root != edge.root() {
            return Err("its checkpoint is of other entries than it says".to_owned());
        }
        let mut lines = Vec::with_capacity(written.lines.len());
        for (at, line) in written.lines.iter().enumerate() {
            let entry = decode(line.as_bytes()).map_err(|error| format!("a line in it cannot be read: {error}"))?.entry;
            match &entry.event {
                Event::LogCreated { log, .. } if at == 0 && entry.seq == 1 && *log == written.log => {}
                Event::LogKeyReplaced { .. } if at > 0 && entry.seq > 1 => {}
                _ => return Err(format!("the line of entry {} says nothing that it needs to say", entry.seq)),
            }
            lines.push(entry);
        }
        if lines.is_empty() {
            return Err("it does not say which log it is of".to_owned());
        }
        let leaves: Vec<(u64, Hash)> =
            lines.iter().zip(&written.lines).map(|(entry, line)| (entry.seq - 1, leaf(line.as_bytes()))).collect();
        let known = Known::of(edge, &leaves, &hashes(&written.proof).ok_or(no_hash)?)
            .ok_or("its lines are not proved to be among the entries that it stands for")?;
        Ok(Self { written, known, lines, digest: Digest::of(bytes) })
    }

    /// The base of the log in this folder; none where nothing was archived.
    ///
    /// # Errors
    /// The file cannot be read, or is not what it must be.
    pub(super) fn of(folder: &Path) -> Result<Option<Self>, ReadError> {
        let path = folder.join(names::ARCHIVED);
        let bytes = match bytes_of(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ReadError::Io { path, source }),
        };
        let damaged = |problem| ReadError::Damaged { path, line: 1, offset: 0, entry: 1, problem };
        Self::read(&bytes).map(Some).map_err(damaged)
    }

    /// How many entries are archived.
    pub fn entries(&self) -> u64 {
        self.written.entries
    }

    /// SHA-256 of the line of the last of them.
    pub fn last(&self) -> &Digest {
        &self.written.last
    }

    /// When the last of them was written, as it says itself.
    pub fn time(&self) -> &str {
        &self.written.time
    }

    /// The UUID of the log.
    pub fn log(&self) -> &str {
        &self.written.log
    }

    /// The highest numbers of policies that runs in them went under.
    pub fn policies(&self) -> &Numbers {
        &self.written.policies
    }

    /// The removals of locks in them.
    pub fn unlocked(&self) -> &Unlocked {
        &self.written.unlocked
    }

    /// The archive that holds the last of them.
    pub fn archive(&self) -> &Archive {
        &self.written.archive
    }

    /// The root of the tree over them.
    pub fn root(&self) -> Hash {
        self.known.edge().root()
    }

    /// SHA-256 of the bytes of the file.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What is known of their tree.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// The entries that say which log it is and by which keys it was signed.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&Entry, &str)> {
        self.lines.iter().zip(self.written.lines.iter().map(String::as_str))
    }

    /// The signed checkpoint of them.
    pub(super) fn checkpoint(&self) -> &str {
        &self.written.checkpoint
    }

    /// Where the first entry after them stands.
    pub(super) fn start(&self) -> Position {
        Position::start_of_segment(self.written.entries + 1, self.written.last.clone())
    }
}

/// Where a log begins to be read: after what was archived.
pub(super) fn start(base: Option<&Base>) -> Position {
    base.map_or_else(Position::first, Base::start)
}

/// The segments among these names that are read: those after what was archived. Each by the number of its first entry, in order.
pub(super) fn segments<'a>(base: Option<&Base>, all: impl IntoIterator<Item = &'a String>) -> Vec<u64> {
    let archived = base.map_or(0, Base::entries);
    names::segments(all).into_iter().filter(|first| *first > archived).collect()
}

/// The bytes of a base.
pub(super) fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    read_bounded(path, LONGEST)
}

/// A hash as it is written.
pub(super) fn written(hash: &Hash) -> String {
    STANDARD.encode(hash)
}

fn hash_of(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{Archive, Base, VERSION, Written, written};
    use crate::audit::note::{Checkpoint, LogKey};
    use crate::audit::tree::{Known, leaf};
    use crate::id::Digest;

    /// A base of seven entries, of which only the first matters.
    fn base() -> Written {
        let created = "{\"v\":1,\"seq\":1,\"time\":\"2026-11-22T02:34:40.932946Z\",\"mono\":1,\"boot\":\"0591e459-65bb-47f6-9a52-c80108a666ba\",\
                       \"event\":\"log_created\",\"data\":{\"log\":\"one\",\"program\":\"0.1.0\"},\"who\":{\"uid\":0,\"host\":\"db1\",\"pid\":1},\
                       \"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\"}";
        let mut leaves = (0..7_u8).map(|at| if at == 0 { leaf(created.as_bytes()) } else { leaf(&[at]) });
        let (edge, proof) = Known::default().proof(7, &[0], &mut || leaves.next().ok_or(())).unwrap();
        let checkpoint = Checkpoint { origin: "interlock/one".to_owned(), size: 7, root: edge.root() };
        Written {
            version: VERSION,
            log: "one".to_owned(),
            entries: 7,
            last: Digest::of(b"last"),
            time: "2026-11-22T02:34:41.000000Z".to_owned(),
            edge: edge.parts().iter().map(written).collect(),
            checkpoint: LogKey::new("interlock/one", &[1; 32]).sign(&checkpoint),
            lines: vec![created.to_owned()],
            proof: proof.iter().map(written).collect(),
            policies: Default::default(),
            unlocked: Default::default(),
            archive: Archive { folder: "/archives/one".to_owned(), first: 1, segments: 1, bytes: 1, reason: None },
        }
    }

    fn read(written: &Written) -> Result<Base, String> {
        Base::read(&serde_json::to_vec(written).unwrap())
    }

    #[test]
    fn p08_what_stands_for_archived_entries_is_believed_only_as_far_as_it_proves_itself() {
        let good = base();
        assert_eq!(read(&good).unwrap().entries(), 7);
        type Change = fn(&mut Written);
        let changes: [(&str, Change); 12] = [
            ("version", |base| base.version = 2),
            ("entries", |base| base.entries = 6),
            ("no entries", |base| base.entries = 0),
            ("edge", |base| base.edge[1] = base.edge[2].clone()),
            ("a shorter edge", |base| drop(base.edge.pop())),
            ("no hash", |base| base.edge[0] = "AAAA".to_owned()),
            ("checkpoint", |base| base.checkpoint = base.checkpoint.replace("\n7\n", "\n8\n")),
            ("log", |base| base.log = "two".to_owned()),
            ("a line", |base| base.lines[0] = base.lines[0].replace("db1", "db2")),
            ("no lines", |base| base.lines.clear()),
            ("proof", |base| base.proof.swap(0, 1)),
            ("a longer proof", |base| base.proof.push(base.proof[0].clone())),
        ];
        for (what, change) in changes {
            let mut other = good.clone();
            change(&mut other);
            assert!(read(&other).is_err(), "{what}");
        }
    }
}
