//! What verifying found, as data and in words.

use std::fmt;

use super::tree::Hash;
use crate::id::{Digest, RunId, Timestamp};

/// The most findings that are kept; further ones are counted. Bounds memory when a whole log is rubbish.
const MOST_FINDINGS: usize = 100_000;

/// What [`verify`](super::verify()) found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Everything found, in the order of the log.
    pub findings: Vec<Finding>,
    /// How many more failures there are than are kept in `findings`.
    pub more_failures: u64,
    /// How many segments there are.
    pub segments: u64,
    /// How many entries could be read.
    pub entries: u64,
    /// How many runs they belong to, as far as whoever followed the events has counted them.
    pub runs: u64,
    /// The time of the first entry.
    pub first_time: Option<Timestamp>,
    /// The time of the last entry.
    pub last_time: Option<Timestamp>,
    /// The number and the digest of the last entry: what the next one's `prev` will be.
    pub head: Option<(u64, Digest)>,
    /// Up to which entry a checkpoint that was kept elsewhere agrees with the log, and the key that signed it.
    pub anchored: Option<(u64, String)>,
    /// The same for a checkpoint that lies beside the log.
    pub anchored_beside: Option<(u64, String)>,
    /// What was archived before the first entry.
    pub archived: Option<Archived>,
    /// How many entries the tree has, and its root.
    pub tree: Option<(u64, Hash)>,
    /// What else was looked at by whoever followed the events, a line each.
    pub remarks: Vec<String>,
}

/// Entries that are in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// How many: from the first to this number.
    pub entries: u64,
    /// The folder of the archive that holds the last of them, when it was made.
    pub folder: String,
}

/// What whoever follows the events of a run has against one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// It cannot have happened at this point, so what follows in this run says nothing any more and is not handed out.
    Illegal(String),
    /// It can, but what it says of signatures, or of what is kept beside the log, is not borne out by that. What follows is looked at all the same.
    NotBorneOut(String),
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether the log verifies in spite of it.
    pub severity: Severity,
    /// What kind of thing it is.
    pub kind: Kind,
    /// The segment or other file, by name.
    pub file: String,
    /// The line in it; the first is 1.
    pub line: Option<u64>,
    /// The number of the entry that stands there or belongs there.
    pub entry: Option<u64>,
    /// The run of that entry.
    pub run: Option<RunId>,
    /// What it is and means, in words. Printable ASCII.
    pub text: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The log does not verify.
    Failure,
    /// Worth knowing; an honest history can have it.
    Note,
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A line or file that cannot be read as what it should be.
    Unreadable,
    /// An entry was not written after the one that stands before it: one of them was changed.
    BrokenLink,
    /// Entries that should be there are not.
    Missing,
    /// An entry stands after later ones.
    OutOfOrder,
    /// There is more than one entry with this number: inserted, or replayed.
    Repeated,
    /// Blank lines between entries.
    Blank,
    /// A file ends without a newline.
    CutOff,
    /// A segment's name and its first entry disagree.
    SegmentName,
    /// An entry that cannot have happened at this point, or a signature in one that is none.
    Impossible,
    /// What a repair set aside is not as it was.
    Kept,
    /// A checkpoint that cannot be believed.
    Checkpoint,
    /// The entries are not those that a checkpoint speaks of.
    Rewritten,
    /// A checkpoint speaks of more entries than there are.
    Cut,
    /// The unfinished write of a crash. Always a note.
    TornTail,
    /// The clock went back. Always a note.
    Clock,
    /// A file that does not belong to the log. Always a note.
    UnknownFile,
}

impl Report {
    /// Whether the log verifies: no finding is a failure.
    pub fn verifies(&self) -> bool {
        self.failures() == 0
    }

    /// How many failures there are.
    pub fn failures(&self) -> u64 {
        let kept = self.findings.iter().filter(|finding| finding.severity == Severity::Failure).count();
        kept as u64 + self.more_failures
    }

    pub(super) fn add(&mut self, finding: Finding) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        } else if finding.severity == Severity::Failure {
            self.more_failures += 1;
        }
    }

    /// Adds what was found by a second look at the same log, and not by this one.
    pub fn look_again(&mut self, other: Self) {
        for finding in other.findings {
            if !self.findings.contains(&finding) {
                self.add(finding);
            }
        }
        self.more_failures = self.more_failures.max(other.more_failures);
        self.sort();
    }

    pub(super) fn sort(&mut self) {
        self.findings.sort_by(|a, b| (&a.file, a.line, a.kind).cmp(&(&b.file, b.line, b.kind)));
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity {
            Severity::Failure => "FAILURE ",
            Severity::Note => "note    ",
        })?;
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        if let Some(entry) = self.entry {
            write!(f, ", entry {entry}")?;
        }
        if let Some(run) = &self.run {
            write!(f, ", run {run}")?;
        }
        write!(f, ": {}", self.text)
    }
}

impl Report {
    /// What is anchored, and what is not.
    fn anchors(&self, f: &mut fmt::Formatter<'_>, last: u64) -> fmt::Result {
        let anchored = self.anchored.as_ref().map_or(0, |(size, _)| *size);
        if let Some((size, key)) = &self.anchored {
            writeln!(f, "entries 1 to {size} are those of a checkpoint that was kept elsewhere, signed by {key}")?;
        }
        if let Some((size, key)) = self.anchored_beside.as_ref().filter(|(size, _)| *size > anchored) {
            writeln!(
                f,
                "entries 1 to {size} are those of a checkpoint beside the log, signed by {key}: whoever has not that key \
                 could not have made them anew"
            )?;
        }
        if anchored < last {
            writeln!(
                f,
                "nothing that was kept elsewhere anchors entries {} to {last}: whoever can write these files and has the \
                 log's key could have made them anew or cut them off, and this command would not see it. Keep \
                 checkpoints elsewhere (`interlock audit checkpoint`), and give them (--checkpoint)",
                anchored + 1
            )?;
        }
        Ok(())
    }
}

/// The findings, a line each, then a summary, then the verdict.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        if self.more_failures > 0 {
            writeln!(f, "and {} more failures", self.more_failures)?;
        }
        let [entries, runs, segments] =
            [(self.entries, "entry", "entries"), (self.runs, "run", "runs"), (self.segments, "segment", "segments")]
                .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }));
        writeln!(f, "{entries} of {runs} in {segments}")?;
        if let Some(Archived { entries, folder }) = &self.archived {
            writeln!(
                f,
                "entries 1 to {entries} are archived; their archive verifies by itself (`interlock --home {folder} audit verify`), or together \
                 with this log (--archive)"
            )?;
        }
        if let (Some(first), Some(last)) = (&self.first_time, &self.last_time) {
            writeln!(f, "from {first} to {last}")?;
        }
        if let Some((seq, digest)) = &self.head {
            writeln!(f, "head: entry {seq}, sha256 {digest}")?;
            self.anchors(f, *seq)?;
        }
        for remark in &self.remarks {
            writeln!(f, "{remark}")?;
        }
        match self.failures() {
            0 if self.entries == 0 => f.write_str("the log is empty"),
            0 if self.archived.is_some() => f.write_str(
                "the log verifies: every entry follows on the one before it, from the first that was not archived to the head",
            ),
            0 => f.write_str("the log verifies: every entry follows on the one before it, from the first to the head"),
            1 => f.write_str("THE LOG DOES NOT VERIFY: 1 failure"),
            failures => write!(f, "THE LOG DOES NOT VERIFY: {failures} failures"),
        }
    }
}
