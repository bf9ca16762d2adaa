//! Checks a bundle alone: no home, no log, nothing but the file and what was kept elsewhere. Everything is worked out anew, and everything
//! that does not fit is named. It only reads.

use std::fmt;
use std::io::{self, BufReader, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::statement::{Statement, opened};
use super::{Bundle, CHECKPOINT, ENTRIES, ENVELOPE, MANIFEST, PROOF, standing};
use crate::audit::contents::{Contents, Expected};
use crate::audit::line::{decode, plain};
use crate::audit::lines::{LineEnd, Lines};
use crate::audit::note::{Checkpoint, PublicKey};
use crate::audit::report::{Finding, Kind, Report, Severity};
use crate::audit::succession::Succession;
use crate::audit::tar::Member;
use crate::audit::transcript::{self, Told};
use crate::audit::tree::{Hash, leaf, root_of};
use crate::audit::{Anchors, FIRST_PREV};
use crate::history::entry::Entry;
use crate::history::event::Event;
use crate::history::state::State;
use crate::id::{Digest, RunId};

/// How the name of a log begins in its checkpoints.
const PREFIX: &str = "interlock/";

/// What checking a bundle found.
#[derive(Debug, Default)]
pub struct BundleReport {
    /// The findings, and what else is to be said.
    pub report: Report,
    /// The run.
    pub run: Option<RunId>,
    /// How it stands, by its entries.
    pub state: String,
    /// The first and the last of its entries.
    pub range: Option<(u64, u64)>,
    /// How many entries between these are not in the bundle.
    pub between: u64,
    /// How many entries the log had when the bundle was made.
    pub log_entries: u64,
    /// Which log, by its checkpoint.
    pub log: String,
    /// The key that signed the checkpoint, and whether it was known beforehand; none if no key that is believed did.
    pub signed: Option<(PublicKey, Known)>,
}

/// How a key is known to be the log's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It was given, or one that was given leads to it.
    FromElsewhere,
    /// The bundle says so.
    FromTheBundle,
}

/// Checks a bundle. `look` is given each event of the run, with the digest of its plan and the time of its entry, and says what is wrong
/// with what it says of people's signatures.
pub fn verify_bundle(
    bundle: &Bundle,
    anchors: &Anchors,
    look: impl FnMut(&RunId, &State, &str, &Event) -> Result<(), String>,
) -> BundleReport {
    let mut verifier = Verifier {
        bundle,
        look,
        found: BundleReport::default(),
        member: String::new(),
        at: 0,
        before: None,
        state: State::default(),
        impossible: false,
        contents: Contents::default(),
        log: None,
        keys: Succession::default(),
        given: &anchors.keys,
    };
    let statement = verifier.manifest();
    verifier.found.run = statement.as_ref().map(|statement| statement.predicate.run.clone());
    let note = verifier.whole(CHECKPOINT);
    // Whatever is wrong with it is told when it is opened.
    if let Some(claimed) = note.as_ref().and_then(|note| Checkpoint::claimed(note).ok()) {
        verifier.entries(&claimed);
    }
    let known = if anchors.keys.is_empty() { Known::FromTheBundle } else { Known::FromElsewhere };
    let mut keys: Vec<PublicKey> = match known {
        Known::FromElsewhere => verifier.keys.led_to(&anchors.keys).into_iter().chain(anchors.keys.clone()).collect(),
        Known::FromTheBundle => verifier.keys.last().cloned().into_iter().collect(),
    };
    // What a key was replaced in does not speak by it any more.
    keys.retain(|key| verifier.keys.until(key).is_none());
    if known == Known::FromTheBundle && verifier.keys.last().is_none() {
        // A log that was made when it had no key.
        keys.extend(statement.as_ref().and_then(|statement| statement.predicate.key.parse().ok()));
    }
    if let Some(note) = &note {
        verifier.signatures(note, &keys, known);
    }
    if let Some(statement) = &statement {
        verifier.says(statement, &keys);
        verifier.kept(statement);
    }
    for (name, other) in &anchors.checkpoints {
        verifier.against(name, other, note.as_deref().unwrap_or_default(), &keys);
    }
    verifier.found.state = standing(&verifier.state).to_owned();
    verifier.found.report.sort();
    verifier.found
}

struct Verifier<'a, F> {
    bundle: &'a Bundle,
    look: F,
    found: BundleReport,
    /// The file that is looked at, and the line in it; 0 before the first.
    member: String,
    at: u64,
    /// The number and digest of the entry before.
    before: Option<(u64, Digest)>,
    state: State,
    /// Whether an event of the run could not have happened, so that what follows says nothing.
    impossible: bool,
    contents: Contents,
    /// The UUID of the log, the keys that it names, and those that are known from elsewhere.
    log: Option<String>,
    keys: Succession,
    given: &'a [PublicKey],
}

impl<F: FnMut(&RunId, &State, &str, &Event) -> Result<(), String>> Verifier<'_, F> {
    /// A file as a whole; that it cannot be read is a finding.
    fn whole(&mut self, name: &str) -> Option<Vec<u8>> {
        let read = self.bundle.read(name);
        read.map_err(|problem| {
            self.member = name.to_owned();
            self.fail(Kind::Unreadable, plain(&problem));
        })
        .ok()
    }

    /// The manifest, with every file held against it.
    fn manifest(&mut self) -> Option<Statement> {
        let bytes = self.whole(MANIFEST)?;
        self.member = MANIFEST.to_owned();
        let statement = match Statement::read(&bytes) {
            Ok(statement) => statement,
            Err(problem) => {
                self.fail(Kind::Unreadable, format!("it cannot be read as a manifest: {}", plain(&problem)));
                return None;
            }
        };
        let mut said = statement.subject.iter();
        let files = self.bundle.members.iter().filter(|member| ![MANIFEST, ENVELOPE].contains(&&*member.name));
        for member in files {
            self.member = member.name.clone();
            match said.next() {
                Some(subject) if subject.name == member.name => match self.bundle.digest(member) {
                    Ok(digest) if digest == subject.digest.sha256 => {}
                    Ok(_) => self.fail(Kind::Kept, "it has another SHA-256 than the manifest says".to_owned()),
                    Err(error) => self.fail(Kind::Unreadable, error.to_string()),
                },
                Some(_) | None => {
                    self.fail(Kind::Kept, "the manifest does not have it in this place".to_owned());
                    break;
                }
            }
        }
        if let Some(subject) = said.next() {
            self.member = MANIFEST.to_owned();
            self.fail(
                Kind::Missing,
                format!("the bundle has no file `{}`, which it says it has", plain(&subject.name)),
            );
        }
        Some(statement)
    }

    /// Every entry, and that together with the proof they lead to the root that the checkpoint claims.
    fn entries(&mut self, claimed: &Checkpoint) {
        let bundle = self.bundle;
        (self.found.log, self.found.log_entries) = (claimed.origin.clone(), claimed.size);
        let (Some(entries), Some(proof)) = (bundle.member(ENTRIES), bundle.member(PROOF)) else { return };
        self.member = CHECKPOINT.to_owned();
        if claimed.size == 0 {
            return self.fail(Kind::Checkpoint, "it speaks of no entries".to_owned());
        }
        self.member = ENTRIES.to_owned();
        let mut proof = Hashes { lines: lines(bundle, proof), size: proof.size, read: 0, problem: None };
        let mut leaves = Leaves { verifier: self, lines: lines(bundle, entries), offset: 0 }.peekable();
        let root = root_of(claimed.size, &mut leaves, &mut proof);
        // Whatever the proof was good for: each entry is looked at.
        leaves.by_ref().for_each(drop);
        drop(leaves);
        self.at = 0;
        if let Some((last, _)) = &self.before
            && *last > claimed.size
        {
            let text = format!("there is an entry {last}, and the checkpoint speaks of {} entries", claimed.size);
            self.fail(Kind::Checkpoint, text);
        }
        self.member = PROOF.to_owned();
        let leftover = proof.next().is_some();
        if let Some(problem) = proof.problem {
            self.fail(Kind::Unreadable, problem);
        } else if root != Some(claimed.root) || leftover {
            let text = "it does not lead from the entries to the root of the checkpoint: an entry or its number was changed, one was taken \
                        out or put in, or the proof or the checkpoint is another";
            self.fail(Kind::Rewritten, text.to_owned());
        }
        self.member = ENTRIES.to_owned();
        if self.log.is_none() {
            self.fail(Kind::Missing, "it does not begin with the first entry of a log, `log_created`".to_owned());
        } else if self.log.as_deref() != claimed.origin.strip_prefix(PREFIX) {
            self.fail(Kind::Checkpoint, "the checkpoint speaks of another log than the entries".to_owned());
        }
        if self.found.range.is_none() {
            self.fail(Kind::Missing, "it has no entry of a run".to_owned());
        }
    }

    /// Takes in an entry: gives its place in the tree and its leaf, if it has one.
    fn entry(&mut self, bytes: &[u8], end: LineEnd) -> Option<(u64, Hash)> {
        if end == LineEnd::EndOfFile {
            self.fail(Kind::CutOff, "the file ends in this line, without a newline: it was cut off".to_owned());
        }
        let entry = match decode(bytes) {
            Ok(decoded) => decoded.entry,
            Err(error) => {
                self.fail(Kind::Unreadable, error.to_string());
                return None;
            }
        };
        let seq = entry.seq;
        let digest = Digest::of(bytes);
        match &self.before {
            Some((before, _)) if *before >= seq => {
                self.fail_at(Kind::OutOfOrder, seq, format!("entry {seq} stands behind entry {before}"));
                return None;
            }
            Some((before, linked)) if before + 1 == seq && *linked != entry.prev => {
                let text = format!("it was not written after the entry {before} that stands before it");
                self.fail_at(Kind::BrokenLink, seq, text);
            }
            None if seq == 1 && entry.prev.as_str() != FIRST_PREV => {
                self.fail_at(Kind::BrokenLink, seq, format!("the first entry must have `prev` {FIRST_PREV}"));
            }
            Some(_) | None => {}
        }
        self.before = Some((seq, digest));
        self.found.report.entries += 1;
        self.event(&entry);
        Some((seq - 1, leaf(bytes)))
    }

    /// What an entry says, and whether it can have happened.
    fn event(&mut self, entry: &Entry) {
        let seq = entry.seq;
        let Some(run) = &entry.run else {
            match &entry.event {
                Event::LogCreated { log, key, .. } if seq == 1 => {
                    self.log = Some(log.clone());
                    if let Some(Err(problem)) = key.as_ref().map(|key| self.keys.created(key)) {
                        self.fail_at(Kind::Impossible, seq, plain(&problem));
                    }
                }
                Event::LogKeyReplaced { old, new, signature, .. } => {
                    let problem = self.keys.replaced(seq, old, new, signature.as_deref()).err();
                    if let Some((severity, text)) = problem.map(|problem| problem.told(self.given)) {
                        self.finding(severity, Kind::Impossible, Some(seq), plain(&text));
                    }
                }
                _ => self.fail_at(Kind::Impossible, seq, "it says nothing of the run nor of the log's key".to_owned()),
            }
            return;
        };
        if self.found.run.get_or_insert_with(|| run.clone()) != run {
            return self.fail_at(Kind::Impossible, seq, format!("it is of another run: {run}"));
        }
        let (first, last) = self.found.range.unwrap_or((seq, seq - 1));
        self.found.between += seq - 1 - last;
        self.found.range = Some((first, seq));
        self.found.report.first_time.get_or_insert_with(|| entry.time.clone());
        self.found.report.last_time = Some(entry.time.clone());
        if self.impossible {
            return;
        }
        if let Err(illegal) = self.state.apply(&entry.event) {
            self.impossible = true;
            return self.fail_at(Kind::Impossible, seq, plain(&illegal.to_string()));
        }
        if let Err(problem) = self.contents.note(run, &entry.event) {
            self.fail_at(Kind::Impossible, seq, plain(&problem));
        }
        if let Err(problem) = (self.look)(run, &self.state, entry.time.as_str(), &entry.event) {
            self.fail_at(Kind::Impossible, seq, plain(&problem));
        }
    }

    /// That the log's key has signed the checkpoint.
    fn signatures(&mut self, note: &[u8], keys: &[PublicKey], known: Known) {
        self.member = CHECKPOINT.to_owned();
        match Checkpoint::open(note, keys) {
            Ok((_, key)) => self.found.signed = Some((key.clone(), known)),
            Err(error) => {
                let whose = match known {
                    Known::FromElsewhere => ", by the keys that were given",
                    Known::FromTheBundle => "",
                };
                self.fail(Kind::Checkpoint, format!("it cannot be believed{whose}: {}", plain(&error.to_string())));
            }
        }
    }

    /// That the log's key has signed the manifest, and that the manifest says what the entries say.
    fn says(&mut self, statement: &Statement, keys: &[PublicKey]) {
        if let (Some(manifest), Some(envelope)) = (self.whole(MANIFEST), self.whole(ENVELOPE)) {
            self.member = ENVELOPE.to_owned();
            match opened(&envelope, &manifest, keys) {
                Ok(_) => {}
                Err(problem) => self.fail(Kind::Checkpoint, format!("it cannot be believed: {}", plain(&problem))),
            }
        }
        self.member = MANIFEST.to_owned();
        let said = &statement.predicate;
        let found = &self.found;
        let same = said.log == found.log
            && said.log_entries == found.log_entries
            && said.entries == found.report.entries
            && found.signed.as_ref().is_none_or(|(key, _)| key.to_string() == said.key);
        if !same {
            let text = "it speaks of another log, of another key, or of more or fewer entries than are here".to_owned();
            self.fail(Kind::Impossible, text);
        }
        let state = standing(&self.state);
        if said.state != state && !self.impossible {
            let text = format!("it says that the run is `{}`, and by its entries it is `{state}`", plain(&said.state));
            self.fail(Kind::Impossible, text);
        }
    }

    /// That each file which the entries name is there, and is what they say; and no other.
    fn kept(&mut self, statement: &Statement) {
        let bundle = self.bundle;
        let contents = std::mem::take(&mut self.contents);
        let missing = &statement.predicate.missing;
        for (name, expected) in contents.files() {
            self.member = name.to_owned();
            let Some(member) = bundle.member(name) else {
                match expected {
                    // Output may have been taken away since; what was written of it in the log stands.
                    Expected::Transcript(_) if missing.iter().any(|other| other == name) => {
                        let text = "this output was not kept any more when the bundle was made, so it is not in it";
                        self.finding(Severity::Note, Kind::Kept, None, text.to_owned());
                    }
                    Expected::Transcript(_) | Expected::Bytes(_) => {
                        let text = "an entry names it, and it is not in the bundle".to_owned();
                        self.fail(Kind::Missing, text);
                    }
                }
                continue;
            };
            match expected {
                Expected::Bytes(digest) => match bundle.digest(member) {
                    Ok(found) if found == *digest => {}
                    Ok(_) => self.fail(Kind::Kept, "it has another SHA-256 than the entries say".to_owned()),
                    Err(error) => self.fail(Kind::Unreadable, error.to_string()),
                },
                Expected::Transcript(output) => {
                    let mut lines = BufReader::with_capacity(64 * 1024, Bytes { bundle, member, at: 0 });
                    match transcript::look(&mut lines, output) {
                        Told::Same => {}
                        Told::NotWhole(why) => {
                            let text = format!("whether it is the recorded output cannot be told: {why}");
                            self.finding(Severity::Note, Kind::Kept, None, text);
                        }
                        Told::Other(problem) => self.fail(Kind::Kept, plain(&problem)),
                    }
                }
            }
        }
        let named = |name: &str| contents.expected(name).is_some();
        let first = [MANIFEST, ENVELOPE, CHECKPOINT, ENTRIES, PROOF];
        for member in bundle.members.iter().filter(|member| !first.contains(&&*member.name) && !named(&member.name)) {
            self.member = member.name.clone();
            self.fail(Kind::UnknownFile, "no entry names it".to_owned());
        }
    }

    /// Holds the bundle against a checkpoint that was kept elsewhere.
    fn against(&mut self, name: &str, other: &[u8], note: &[u8], keys: &[PublicKey]) {
        self.member = plain(name);
        let (other, ours) = match (Checkpoint::open(other, keys), Checkpoint::claimed(note)) {
            (Ok((other, _)), Ok(ours)) => (other, ours),
            (Err(error), _) => return self.fail(Kind::Checkpoint, plain(&error.to_string())),
            (_, Err(_)) => return,
        };
        if other.size != ours.size {
            let text = format!(
                "it speaks of {} entries and the bundle's own checkpoint of {}, so one does not tell of the other; the log itself can be \
                 held against both",
                other.size, ours.size
            );
            self.finding(Severity::Note, Kind::Checkpoint, None, text);
        } else if other.root != ours.root {
            let text = "it speaks of as many entries as the bundle's own checkpoint, and they are others";
            self.fail(Kind::Rewritten, text.to_owned());
        } else {
            self.found.report.anchored = Some((other.size, name.to_owned()));
        }
    }

    fn fail(&mut self, kind: Kind, text: String) {
        self.finding(Severity::Failure, kind, None, text);
    }

    fn fail_at(&mut self, kind: Kind, entry: u64, text: String) {
        self.finding(Severity::Failure, kind, Some(entry), text);
    }

    fn finding(&mut self, severity: Severity, kind: Kind, entry: Option<u64>, text: String) {
        let line = (self.at > 0 && self.member == ENTRIES).then_some(self.at);
        self.found.report.add(Finding { severity, kind, file: self.member.clone(), line, entry, run: None, text });
    }
}

type ReadAt<'a> = Box<dyn FnMut(&mut [u8], u64) -> io::Result<usize> + 'a>;

fn lines<'a>(bundle: &'a Bundle, member: &'a Member) -> Lines<ReadAt<'a>> {
    Lines::new(Box::new(move |buffer: &mut [u8], at| bundle.read_at(member, buffer, at)), 0, 1)
}

/// The leaves of the entries in a bundle, each with its place; what is wrong with one is found on the way.
struct Leaves<'v, 'a, F> {
    verifier: &'v mut Verifier<'a, F>,
    lines: Lines<ReadAt<'a>>,
    offset: u64,
}

impl<F: FnMut(&RunId, &State, &str, &Event) -> Result<(), String>> Iterator for Leaves<'_, '_, F> {
    type Item = (u64, Hash);

    fn next(&mut self) -> Option<(u64, Hash)> {
        loop {
            match self.lines.next() {
                Ok(Some(raw)) => {
                    self.verifier.at = raw.number;
                    if raw.offset != self.offset {
                        self.verifier.fail(Kind::Blank, "blank lines stand before this one".to_owned());
                    }
                    self.offset = raw.offset + raw.length + 1;
                    if let Some(leaf) = self.verifier.entry(raw.bytes, raw.end) {
                        return Some(leaf);
                    }
                }
                Ok(None) => {
                    let size = self.verifier.bundle.member(ENTRIES).map_or(0, |member| member.size);
                    if self.offset < size {
                        self.offset = size;
                        self.verifier.fail(Kind::Blank, "blank lines stand at the end".to_owned());
                    }
                    return None;
                }
                Err(error) => {
                    self.verifier.fail(Kind::Unreadable, error.to_string());
                    return None;
                }
            }
        }
    }
}

/// The hashes of a proof, one in each line.
struct Hashes<'a> {
    lines: Lines<ReadAt<'a>>,
    size: u64,
    read: u64,
    problem: Option<String>,
}

impl Iterator for Hashes<'_> {
    type Item = Hash;

    fn next(&mut self) -> Option<Hash> {
        let raw = match self.lines.next() {
            Ok(Some(raw)) => raw,
            Ok(None) => {
                if self.read != self.size {
                    self.problem.get_or_insert_with(|| "it has blank lines".to_owned());
                }
                return None;
            }
            Err(error) => {
                self.problem = Some(error.to_string());
                return None;
            }
        };
        let hash = STANDARD.decode(raw.bytes).ok().and_then(|bytes| Hash::try_from(bytes).ok());
        if raw.offset != self.read || raw.end == LineEnd::EndOfFile || hash.is_none() {
            self.problem = Some(format!("its line {} is no hash", raw.number));
            return None;
        }
        self.read = raw.offset + raw.length + 1;
        hash
    }
}

/// The bytes of one file.
struct Bytes<'a> {
    bundle: &'a Bundle,
    member: &'a Member,
    at: u64,
}

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.bundle.read_at(self.member, buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl BundleReport {
    /// Of a file that is no bundle.
    pub fn of_no_bundle(problem: &str) -> Self {
        let mut found = Self::default();
        let text = format!("it is no bundle, or not a whole one: {}", plain(problem));
        found.report.add(Finding {
            severity: Severity::Failure,
            kind: Kind::Unreadable,
            file: "bundle".to_owned(),
            line: None,
            entry: None,
            run: None,
            text,
        });
        found
    }
}

/// The findings, a line each, then what it is, then the verdict.
impl fmt::Display for BundleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.report.findings {
            writeln!(f, "{finding}")?;
        }
        if self.report.more_failures > 0 {
            writeln!(f, "and {} more failures", self.report.more_failures)?;
        }
        if let (Some(run), Some((first, last))) = (&self.run, self.range) {
            writeln!(f, "run {run}, {}: entries {first} to {last} of a log of {}", self.state, self.log_entries)?;
            if self.state == "open" || self.state == "halted" {
                writeln!(f, "the run was not over when the bundle was made, and may have gone on since")?;
            }
            if self.between > 0 {
                writeln!(
                    f,
                    "{} entries between these are not in the bundle: that none of them is of this run is the word of the log's key",
                    self.between
                )?;
            }
        }
        if let (Some(first), Some(last)) = (&self.report.first_time, &self.report.last_time) {
            writeln!(f, "from {first} to {last}")?;
        }
        match &self.signed {
            Some((key, Known::FromElsewhere)) => writeln!(f, "signed by {key}, as was given")?,
            Some((key, Known::FromTheBundle)) => writeln!(
                f,
                "signed by {key}; that this is the log's key says only the bundle itself: whoever made all of it could have put a key of \
                 their own there. Give the key that was kept elsewhere (--key)"
            )?,
            None => {}
        }
        if let Some((size, name)) = &self.report.anchored {
            writeln!(f, "{name} speaks of the same {size} entries")?;
        }
        for remark in &self.report.remarks {
            writeln!(f, "{remark}")?;
        }
        match self.report.failures() {
            0 => f.write_str(
                "the bundle verifies: these entries are in the log that was signed, and the files are those that they name",
            ),
            1 => f.write_str("THE BUNDLE DOES NOT VERIFY: 1 failure"),
            failures => write!(f, "THE BUNDLE DOES NOT VERIFY: {failures} failures"),
        }
    }
}
