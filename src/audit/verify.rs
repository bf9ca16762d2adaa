//! Verifying: everything is read and recomputed, nothing that the writer has stored is trusted, and nothing is written. Where
//! [`read`](super::read()) stops at the first thing that is wrong, this goes on and names all there is.
//!
//! What splits and decodes lines, judges a tail, hashes the tree and opens checkpoints is the code that the writer uses as well. A mistake in
//! it could be made on both sides, so there is a second verifier, tests/verify.py, which was written from the document and shares none.
//!
//! What a clean report means and does not mean is in docs/audit-format.md: a chain shows that nothing in it was changed
//! without everything after it being made anew. Whether everything was made anew, or cut off at the end, only a head
//! that was kept elsewhere can tell.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;

mod held;

use super::ahead::{Looked, Step, Understood, Unreadable, read_ahead};
use super::anchor::kept;
use super::base::{self, Base, bytes_of};
use super::kept::Told;
use super::key::public_key;
use super::line::{Decoded, Decoder, FIRST_PREV, LineError, plain};
use super::lines::{LineEnd, Lines};
use super::note::PublicKey;
use super::read::{ReadError, list_names, nothing_after, open, read_at};
use super::report::{Finding, Kind, Objection, Report, Severity};
use super::succession::Succession;
use super::tail::{Position, Tail, judge_unlocked};
use super::tree::{Edge, Hash};
use super::{Home, names};
use crate::history::event::Event;
use crate::id::{BootId, Digest, RunId};

/// Verifies the whole log of this home, without the files that its entries name.
///
/// `fold` is given each event of each run, in order, with the time of its entry, to be applied to that run's state, and says what is wrong
/// with one. It is not called again for a run of which an event could not have happened. Events of no run come to it with none.
///
/// # Errors
/// There is no log, or its folder cannot be listed. Everything else is a finding.
pub fn verify(
    home: &Home,
    fold: impl FnMut(Option<&RunId>, &str, &Event) -> Result<(), Objection>,
) -> Result<Report, ReadError> {
    verify_against(home, &Anchors::default(), Files::NotLookedAt, fold)
}

/// Whether the files that entries name are looked at as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// Each has to be there, and to be what the entry says.
    LookedAt,
    /// The entries alone are verified.
    NotLookedAt,
}

/// What was kept elsewhere, for a log to be verified against.
#[derive(Debug, Default)]
pub struct Anchors {
    /// Signed checkpoints, each with the name to call it by.
    pub checkpoints: Vec<(String, Vec<u8>)>,
    /// The keys that are known to be the log's. Those that it names itself are known anyway.
    pub keys: Vec<PublicKey>,
}

/// As [`verify`], also against checkpoints that were kept elsewhere, and with the files that entries name. The checkpoints that lie beside
/// the log always count.
///
/// # Errors
/// As [`verify`].
pub fn verify_against(
    home: &Home,
    anchors: &Anchors,
    files: Files,
    fold: impl FnMut(Option<&RunId>, &str, &Event) -> Result<(), Objection>,
) -> Result<Report, ReadError> {
    let folder = home.audit();
    let all = list_names(&folder)?;
    let (base, problem) = match bytes_of(&folder.join(names::ARCHIVED)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
        Err(error) => (None, Some(format!("it cannot be read: {error}"))),
        Ok(bytes) => match Base::read(&bytes) {
            Ok(base) => (Some(base), None),
            Err(problem) => (None, Some(problem)),
        },
    };
    let segments = base::segments(base.as_ref(), &all);
    let Some((last, finished)) = segments.split_last() else {
        return Err(
            base.map_or_else(|| ReadError::NoLog { path: folder.clone() }, |base| nothing_after(&folder, &base))
        );
    };
    let mut verifier = Verifier::new(folder, fold);
    verifier.given = anchors.keys.clone();
    let mut checkpoints: Vec<(Where, String, Vec<u8>)> = Vec::new();
    if let Some(problem) = problem {
        verifier.segment = names::ARCHIVED.to_owned();
        let text = format!("what stands for archived entries cannot be believed: {problem}");
        verifier.fail(Kind::Checkpoint, None, None, plain(&text));
    }
    if let Some(base) = &base {
        verifier.begin_after(base);
        checkpoints.push((Where::Beside, names::ARCHIVED.to_owned(), base.checkpoint().as_bytes().to_vec()));
    }
    for (name, note) in kept(home)? {
        match note {
            Ok(note) => checkpoints.push((Where::Beside, name, note)),
            Err(error) => {
                verifier.segment = plain(&name);
                verifier.fail(Kind::Checkpoint, None, None, format!("it cannot be read as a checkpoint: {error}"));
            }
        }
    }
    let given = anchors.checkpoints.iter().map(|(name, note)| (Where::Given, name.clone(), note.clone()));
    checkpoints.extend(given);
    verifier.sizes = checkpoints.iter().filter_map(|(_, _, note)| size_of(note)).collect();
    let files = (files == Files::LookedAt).then_some(home);
    let mut first = verifier.at.seq;
    read_ahead(&home.audit(), finished, files, |step| match step {
        Step::Begins { first: begins } => {
            first = begins;
            verifier.begin_segment(first);
        }
        Step::Lines(lines) => lines.iter().for_each(|line| verifier.line(first, line)),
        Step::Ends { size } => verifier.end_of_segment(first, size),
        Step::Fails(problem) => verifier.fails(problem),
    });
    verifier.last_segment(*last, files);
    verifier.others(&all);
    verifier.is_recorded();
    let beside = public_key(home);
    let keys: Vec<PublicKey> = verifier.keys.all().chain(&anchors.keys).chain(&beside).cloned().collect();
    verifier.is_led_to(beside.as_ref());
    for (place, name, note) in checkpoints {
        verifier.checkpoint(place, &name, &note, &keys);
    }
    Ok(verifier.finish())
}

/// How many entries a checkpoint claims to speak of, before anything of it is believed.
fn size_of(note: &[u8]) -> Option<u64> {
    std::str::from_utf8(note).ok()?.lines().nth(1)?.parse().ok()
}

/// Where a checkpoint was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// Beside the log.
    Beside,
    /// Somewhere else.
    Given,
}

struct Verifier<F> {
    folder: PathBuf,
    fold: F,
    report: Report,
    /// The segment being read.
    segment: String,
    /// What is expected next.
    at: Position,
    /// The digest of an entry that stood out of place, right before. What follows may have been written after it.
    stray: Option<Digest>,
    /// How many lines that are not entries stood right before.
    unreadable: u64,
    /// The entry whose link is broken, right before, and where its finding is: whether the entry itself is as it was
    /// written, the next one tells.
    unsettled: Option<(u64, usize)>,
    /// Numbers that were passed over, and where. An entry that stands out of order is taken out of them again.
    passed_over: Vec<(RangeInclusive<u64>, String, u64)>,
    broken_runs: HashSet<RunId>,
    clock: Option<(BootId, u64)>,
    repairs: Vec<(String, Digest, u64)>,
    /// The tree over the entries, as they stand.
    edge: Edge,
    /// The sizes of the tree at which its root is asked for, and what it was there.
    sizes: BTreeSet<u64>,
    roots: BTreeMap<u64, Hash>,
    /// The keys that the log names as its own.
    keys: Succession,
    /// The keys that are known to be the log's from elsewhere.
    given: Vec<PublicKey>,
    /// What stands for the entries that were archived.
    base: Option<Base>,
    /// The entry that says that they were, and the digest in it.
    archived_by: Option<(u64, Digest)>,
}

impl<F: FnMut(Option<&RunId>, &str, &Event) -> Result<(), Objection>> Verifier<F> {
    fn new(folder: PathBuf, fold: F) -> Self {
        Self {
            folder,
            fold,
            report: Report::default(),
            segment: String::new(),
            at: Position::first(),
            stray: None,
            unreadable: 0,
            unsettled: None,
            passed_over: Vec::new(),
            broken_runs: HashSet::new(),
            clock: None,
            repairs: Vec::new(),
            edge: Edge::default(),
            sizes: BTreeSet::new(),
            roots: BTreeMap::new(),
            keys: Succession::default(),
            given: Vec::new(),
            base: None,
            archived_by: None,
        }
    }

    /// Begins with the segment of this first entry.
    fn begin_segment(&mut self, first: u64) {
        self.report.segments += 1;
        self.segment = names::segment(first);
        (self.at.offset, self.at.line, self.at.batch) = (0, 1, None);
    }

    /// The segment that may still be written to. Its lines are looked at one by one, for what stands at its end may be being written.
    fn last_segment(&mut self, first: u64, files: Option<&Home>) {
        self.begin_segment(first);
        let file = match open(&self.folder.join(&self.segment)) {
            Ok(file) => file,
            Err(error) => return self.fails(error.to_string()),
        };
        let read = |buffer: &mut [u8], offset| read_at(&file, buffer, offset);
        let mut lines = Lines::new(read, 0, 1);
        let mut damaged_at = None;
        let mut decoder = Decoder::default();
        loop {
            let raw = match lines.next() {
                Ok(Some(raw)) => raw,
                Ok(None) => return self.end_of_segment(first, file.metadata().map_or(0, |status| status.len())),
                Err(error) => return self.fails(format!("the file cannot be read on: {error}")),
            };
            let line = Looked::at(&raw, &mut decoder, files);
            let is_garbled = matches!(&line.is, Err(Unreadable { error: LineError::Garbled(_), .. }));
            if (line.offset != self.at.offset || is_garbled) && damaged_at != Some(self.at.seq) {
                match judge_unlocked(read, &self.at) {
                    Ok(Tail::Torn { length }) => return self.torn(length),
                    // Somebody writes: look again from here.
                    Ok(Tail::Written | Tail::Clean) => {
                        lines = Lines::new(read, self.at.offset, self.at.line);
                        continue;
                    }
                    // The same holds for what follows, up to the next entry.
                    Ok(Tail::Damaged { .. }) | Err(_) => damaged_at = Some(self.at.seq),
                }
            }
            self.line(first, &line);
        }
    }

    /// The segment cannot be read, or not further.
    fn fails(&mut self, problem: String) {
        let line = (self.at.line > 1).then_some(self.at.line);
        self.fail(Kind::Unreadable, line, None, problem);
    }

    /// Takes a line of the segment that begins with this entry by its name.
    fn line(&mut self, first: u64, line: &Looked) {
        if line.offset != self.at.offset {
            let text = "blank lines stand between entries, and the program leaves none: something was blanked out";
            self.fail(Kind::Blank, Some(self.at.line), Some(self.at.seq), text.to_owned());
        }
        let is_other = |understood: &Understood| understood.decoded.entry.seq != first;
        if self.at.line == 1 && line.is.as_ref().is_ok_and(is_other) {
            let text = format!("the file's name says that its first entry is {first}, and another one stands there");
            self.fail(Kind::SegmentName, Some(line.number), Some(first), text);
        }
        match &line.is {
            Ok(understood) => self.entry(line.number, understood),
            Err(unreadable) => self.unreadable(line.number, unreadable),
        }
        if line.end == LineEnd::EndOfFile {
            let text = "the file ends in this line, without a newline: it was cut off".to_owned();
            self.fail(Kind::CutOff, Some(line.number), None, text);
        }
        self.at.offset = line.offset + line.length + 1;
        self.at.line = line.number + 1;
    }

    /// At the end of a segment: one without any line is honest only if it has room, and its first entry is the very
    /// next.
    fn end_of_segment(&mut self, first: u64, size: u64) {
        if size == 0 {
            let text = "the file is empty, and a segment is made with all its room: it was cut off";
            self.fail(Kind::CutOff, None, None, text.to_owned());
        }
        if self.at.line == 1 && first != self.at.seq {
            let text =
                format!("the segment is empty, and its name says that entries up to {} come before it", first - 1);
            self.fail(Kind::Missing, None, Some(self.at.seq), text);
        }
    }

    fn torn(&mut self, length: u64) {
        let seq = self.at.seq;
        let text = format!(
            "{length} bytes of an unfinished write: a crash left them, or an entry is being written at this moment. \
             They were never acknowledged; the next start of a run sets them aside and records it"
        );
        self.note(Kind::TornTail, Some(self.at.line), Some(seq), text);
    }

    fn unreadable(&mut self, number: u64, line: &Unreadable) {
        let seq = line.seq.unwrap_or(self.at.seq + self.unreadable);
        self.fail(Kind::Unreadable, Some(number), Some(seq), line.error.to_string());
        self.unreadable += 1;
    }

    /// Takes an entry into account: where it stands, then what it says.
    fn entry(&mut self, line: u64, understood: &Understood) {
        let Understood { decoded: Decoded { entry, batch }, digest, leaf, files } = understood;
        let (seq, batch, run) = (entry.seq, *batch, entry.run.as_ref());
        self.report.entries += 1;
        let expected = self.at.seq;
        let mut broken = None;
        if seq < expected {
            self.out_of_place(line, seq, run.cloned());
            self.stray = Some(digest.clone());
            return;
        }
        if seq > expected {
            // Lines that could not be read stand for the entries that are not seen, as far as they go.
            let passed = expected + self.unreadable.min(seq - expected)..=seq - 1;
            if !passed.is_empty() {
                self.passed_over.push((passed, self.segment.clone(), line));
            }
        } else if entry.prev != self.at.prev && self.stray.as_ref() != Some(&entry.prev) {
            let text = match seq {
                1 => format!("the first entry must have `prev` {FIRST_PREV}, and does not"),
                _ => format!(
                    "entry {seq} was written after another entry {} than the one that stands here now: one of the two \
                     was changed, or entries were put in or exchanged",
                    seq - 1
                ),
            };
            broken = Some((seq, self.report.findings.len()));
            self.finding(Severity::Failure, Kind::BrokenLink, Some(line), Some(seq), run.cloned(), text);
        } else if batch < seq && self.at.batch != Some(batch) {
            let text = format!("it claims to be written together with entry {batch}, which it cannot be");
            self.finding(Severity::Failure, Kind::Unreadable, Some(line), Some(seq), run.cloned(), text);
        }
        if broken.is_none() && seq == expected {
            self.settle();
        }
        self.edge.push(*leaf);
        if self.sizes.contains(&self.edge.size()) {
            self.roots.insert(self.edge.size(), self.edge.root());
        }
        self.unsettled = broken;
        self.stray = None;
        self.unreadable = 0;
        self.at.seq = seq + 1;
        self.at.prev = digest.clone();
        self.at.batch = Some(batch);
        self.report.head = Some((seq, digest.clone()));
        self.report.first_time.get_or_insert_with(|| entry.time.clone());
        self.clock(line, seq, &entry.boot, entry.mono);
        for Told { severity, kind, text } in files {
            self.finding(*severity, *kind, Some(line), Some(seq), run.cloned(), text.clone());
        }
        self.event(line, seq, run, entry.time.as_str(), &entry.event);
        self.report.last_time = Some(entry.time.clone());
    }

    /// The entry right before is as it was written, since this one was written after it. So a link that was broken
    /// there tells on the entry before that.
    fn settle(&mut self) {
        let Some((seq, index)) = self.unsettled.take().filter(|(seq, _)| *seq > 1) else { return };
        if let Some(finding) = self.report.findings.get_mut(index) {
            finding.text = format!(
                "entry {} is not the one that was there when entry {seq} was written: it was changed or exchanged, or \
                 entries were put in before it. Entry {seq} itself is as it was written, as entry {} shows",
                seq - 1,
                seq + 1
            );
        }
    }

    fn out_of_place(&mut self, line: u64, seq: u64, run: Option<RunId>) {
        let found = self.passed_over.iter().position(|(passed, ..)| passed.contains(&seq));
        let Some(index) = found else {
            let text = format!(
                "an entry {seq} stands here after there was one: it was put in, or an old one was played again"
            );
            return self.finding(Severity::Failure, Kind::Repeated, Some(line), Some(seq), run, text);
        };
        let (passed, segment, at) = self.passed_over.swap_remove(index);
        for rest in [*passed.start()..=seq - 1, seq + 1..=*passed.end()] {
            if !rest.is_empty() {
                self.passed_over.push((rest, segment.clone(), at));
            }
        }
        let text = format!("entry {seq} stands here, after later ones: the order was changed");
        self.finding(Severity::Failure, Kind::OutOfOrder, Some(line), Some(seq), run, text);
    }

    fn clock(&mut self, line: u64, seq: u64, boot: &BootId, mono: u64) {
        if self.clock.as_ref().is_some_and(|(earlier, last)| earlier == boot && *last > mono) {
            let text = "the monotonic clock is earlier than in the entry before, though the machine did not start \
                        anew: no honest clock does that, but a container with a time of its own may";
            self.note(Kind::Clock, Some(line), Some(seq), text.to_owned());
        }
        match &mut self.clock {
            Some((earlier, last)) if earlier == boot => *last = mono,
            Some(_) | None => self.clock = Some((boot.clone(), mono)),
        }
    }

    /// What an entry says, and whether it can have happened.
    fn event(&mut self, line: u64, seq: u64, run: Option<&RunId>, time: &str, event: &Event) {
        let of_the_log = event.is_of_the_log();
        if (seq == 1) != matches!(event, Event::LogCreated { .. }) {
            let text = "a log begins with `log_created`, and has it nowhere else".to_owned();
            self.finding(Severity::Failure, Kind::Impossible, Some(line), Some(seq), run.cloned(), text);
        }
        // A signature is of a run, or of the removal of a lock, which is of none.
        let of_either = matches!(event, Event::ApprovalAccepted(_));
        if !of_either && of_the_log != run.is_none() {
            let text =
                if of_the_log { "it is about the log, and names a run" } else { "it must name a run, and does not" };
            self.finding(Severity::Failure, Kind::Impossible, Some(line), Some(seq), run.cloned(), text.to_owned());
        }
        if !run.is_some_and(|run| self.broken_runs.contains(run))
            && let Err(objection) = (self.fold)(run, time, event)
        {
            let problem = match objection {
                Objection::NotBorneOut(problem) => problem,
                Objection::Illegal(problem) => {
                    self.broken_runs.extend(run.cloned());
                    problem
                }
            };
            self.finding(Severity::Failure, Kind::Impossible, Some(line), Some(seq), run.cloned(), plain(&problem));
        }
        self.keys_of(Some(line), seq, event);
        match event {
            Event::LogRepaired { kept_in, digest, .. } => self.repairs.push((kept_in.clone(), digest.clone(), seq)),
            Event::EntriesArchived { entries, base, .. }
                if self.base.as_ref().is_some_and(|base| base.entries() == *entries) =>
            {
                self.archived_by.get_or_insert_with(|| (seq, base.clone()));
            }
            _ => {}
        }
    }

    /// What an entry says of the log's keys.
    fn keys_of(&mut self, line: Option<u64>, seq: u64, event: &Event) {
        match event {
            Event::LogCreated { key: Some(key), .. } => {
                if let Err(problem) = self.keys.created(key) {
                    self.finding(Severity::Failure, Kind::Impossible, line, Some(seq), None, plain(&problem));
                }
            }
            Event::LogKeyReplaced { old, new, signature, .. } => {
                let problem = self.keys.replaced(seq, old, new, signature.as_deref());
                if let Some((severity, text)) = problem.err().map(|problem| problem.told(&self.given)) {
                    self.finding(severity, Kind::Impossible, line, Some(seq), None, plain(&text));
                }
            }
            _ => {}
        }
    }

    /// The files beside the segments.
    fn others(&mut self, all: &[String]) {
        for (kept_in, digest, seq) in std::mem::take(&mut self.repairs) {
            self.segment = plain(&kept_in);
            let is_name_of_repair = names::place_of_torn(&kept_in).is_some();
            let text = if !is_name_of_repair {
                "the repair names a file that no repair makes".to_owned()
            } else {
                match std::fs::read(self.folder.join(&kept_in)) {
                    Ok(bytes) if Digest::of(&bytes) == digest => continue,
                    Ok(_) => "the bytes that a repair set aside here were changed".to_owned(),
                    Err(_) if all.iter().any(|name| name.strip_suffix(names::UNRECORDED) == Some(&*kept_in)) => {
                        continue;
                    }
                    Err(error) => format!("the bytes that a repair set aside here cannot be read: {error}"),
                }
            };
            self.fail(Kind::Kept, None, Some(seq), text);
        }
        for name in all {
            if names::first_of(name).is_some_and(|first| first < self.begin()) {
                self.segment = plain(name);
                let text = "this segment was archived, and is left over: `interlock audit archive` removes it";
                self.note(Kind::UnknownFile, None, None, text.to_owned());
                continue;
            }
            let known = names::first_of(name).is_some()
                || [names::LOCK, names::ARCHIVED, names::ARCHIVE].contains(&name.as_str())
                || names::size_of_checkpoint(name).is_some();
            if known || (names::place_of_torn(name).is_some() && !name.ends_with(names::UNRECORDED)) {
                continue;
            }
            self.segment = plain(name);
            if name.ends_with(names::UNRECORDED) {
                let text = "a repair was interrupted: the next start of a run records it";
                self.note(Kind::Kept, None, None, text.to_owned());
            } else if name == names::UNFINISHED {
                let text =
                    "a file that a crash left before it was part of the log, or that is being made at this moment";
                self.note(Kind::UnknownFile, None, None, text.to_owned());
            } else {
                self.note(Kind::UnknownFile, None, None, "this file is no part of the log".to_owned());
            }
        }
    }

    fn finish(mut self) -> Report {
        self.report.tree = Some((self.edge.size(), self.edge.root()));
        for (passed, segment, line) in std::mem::take(&mut self.passed_over) {
            let (first, last) = (*passed.start(), *passed.end());
            self.segment = segment;
            let what =
                if first == last { format!("entry {first} is") } else { format!("entries {first} to {last} are") };
            let at_start = if line == 1 { "; the segment that holds them is not there, or was cut" } else { "" };
            let text = format!("{what} missing before this line: removed, or the numbers were changed{at_start}");
            self.fail(Kind::Missing, Some(line), Some(first), text);
        }
        self.report.sort();
        self.report
    }

    fn fail(&mut self, kind: Kind, line: Option<u64>, entry: Option<u64>, text: String) {
        self.finding(Severity::Failure, kind, line, entry, None, text);
    }

    fn note(&mut self, kind: Kind, line: Option<u64>, entry: Option<u64>, text: String) {
        self.finding(Severity::Note, kind, line, entry, None, text);
    }

    fn finding(
        &mut self,
        severity: Severity,
        kind: Kind,
        line: Option<u64>,
        entry: Option<u64>,
        run: Option<RunId>,
        text: String,
    ) {
        self.report.add(Finding { severity, kind, file: self.segment.clone(), line, entry, run, text });
    }
}
