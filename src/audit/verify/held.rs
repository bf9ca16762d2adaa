//! What the log is held against besides itself: what stands for archived entries, its keys, and checkpoints.

use super::{Verifier, Where};
use crate::audit::base::Base;
use crate::audit::line::plain;
use crate::audit::names;
use crate::audit::note::{Checkpoint, PublicKey};
use crate::audit::report::{Archived, Kind, Objection};
use crate::history::event::Event;
use crate::id::RunId;

impl<F: FnMut(Option<&RunId>, &str, &Event) -> Result<(), Objection>> Verifier<F> {
    /// Begins after the entries that were archived, with what stands for them.
    pub(super) fn begin_after(&mut self, base: &Base) {
        self.at = base.start();
        self.edge = base.known().edge().clone();
        self.roots.insert(base.entries(), base.root());
        self.segment = names::ARCHIVED.to_owned();
        for (entry, _) in base.lines() {
            self.keys_of(None, entry.seq, &entry.event);
        }
        self.report.archived = Some(Archived { entries: base.entries(), folder: base.archive().folder.clone() });
        self.base = Some(base.clone());
    }

    /// That what stands for the archived entries is what the entry about them says. If there is none, the program died in between.
    pub(super) fn is_recorded(&mut self) {
        let Some(base) = &self.base else { return };
        self.segment = names::ARCHIVED.to_owned();
        match &self.archived_by {
            Some((_, digest)) if digest == base.digest() => {}
            Some((seq, _)) => {
                let (seq, text) =
                    (*seq, "what stands for archived entries was altered: its SHA-256 is another than the entry says");
                self.fail(Kind::Kept, None, Some(seq), text.to_owned());
            }
            None => {
                let text = "that entries were archived is not recorded yet: it was interrupted; `interlock audit archive` goes on with it";
                self.note(Kind::Kept, None, None, text.to_owned());
            }
        }
    }

    /// The number of the first entry that was not archived.
    pub(super) fn begin(&self) -> u64 {
        self.base.as_ref().map_or(1, |base| base.entries() + 1)
    }

    /// That the log's key is one of those that are known from elsewhere, or that one of these leads to it, if any were given.
    pub(super) fn is_led_to(&mut self, beside: Option<&PublicKey>) {
        let Some(last) = self.keys.last().or(beside).cloned() else { return };
        if self.given.is_empty() || self.given.contains(&last) || self.keys.led_to(&self.given).contains(&last) {
            return;
        }
        self.segment = "keys/log.pub".to_owned();
        let text = format!("the log's key is {last}, and none of the keys that were given is it or leads to it");
        self.fail(Kind::Checkpoint, None, None, plain(&text));
    }

    /// Holds a checkpoint against the log.
    pub(super) fn checkpoint(&mut self, place: Where, name: &str, note: &[u8], keys: &[PublicKey]) {
        self.segment = plain(name);
        if place == Where::Beside && note.is_empty() {
            let text = "the file is empty, so it says nothing of the log: a power cut left it so, or somebody emptied it; it can be removed";
            return self.note(Kind::Checkpoint, None, None, text.to_owned());
        }
        let (checkpoint, key) = match Checkpoint::open(note, keys) {
            Ok(opened) => opened,
            Err(error) => return self.fail(Kind::Checkpoint, None, None, plain(&error.to_string())),
        };
        let (size, entries) = (checkpoint.size, self.edge.size());
        if let Some(until) = self.keys.until(key).filter(|until| *until <= size) {
            let text = format!(
                "it speaks of {size} entries and is signed by a key that entry {until} replaced: whoever signed it had that key later than \
                 the log did"
            );
            return self.fail(Kind::Checkpoint, None, Some(until), text);
        }
        match self.roots.get(&size) {
            Some(root) if *root == checkpoint.root => {
                let anchored = match place {
                    Where::Beside => &mut self.report.anchored_beside,
                    Where::Given => &mut self.report.anchored,
                };
                if anchored.as_ref().is_none_or(|(other, _)| *other < size) {
                    *anchored = Some((size, key.to_string()));
                }
            }
            Some(_) => {
                let text = format!(
                    "entries 1 to {size} are not those that were there when this checkpoint was signed: the log was made anew, or \
                     entries were changed, exchanged, put in or taken out"
                );
                self.fail(Kind::Rewritten, None, Some(size), text);
            }
            None if size > 0 && size < self.begin() => {
                let text = format!(
                    "it speaks of {size} entries, which are archived: only together with the archives (--archive) can it be held against them"
                );
                match place {
                    Where::Beside => self.note(Kind::Checkpoint, None, Some(size), text),
                    Where::Given => self.fail(Kind::Checkpoint, None, Some(size), text),
                }
            }
            None if size == 0 => self.fail(Kind::Checkpoint, None, None, "it speaks of no entries".to_owned()),
            None => {
                let head = self.report.head.as_ref().map_or(0, |(seq, _)| *seq);
                // Lines at the end that cannot be read stand for an entry each.
                if head.saturating_add(self.unreadable) < size {
                    let text = format!(
                        "there were {size} entries when this checkpoint was signed, and the last one now is entry {head}: the end was cut \
                         off"
                    );
                    return self.fail(Kind::Cut, None, Some(head + 1), text);
                }
                let text = format!(
                    "there were {size} entries when this checkpoint was signed, and only {entries} can be read: entries were removed, or \
                     made unreadable"
                );
                self.fail(Kind::Rewritten, None, None, text);
            }
        }
    }
}
