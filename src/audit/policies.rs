//! The policies that the runs of a home went under, as its log tells.
//!
//! # Why the last opening is enough
//! In the order of the log the numbers of policies only ever rise: the writer refuses an opening, or a taking up, under less than what the
//! log says of those before it. It does so under the lock that all writers share, with everything in view that was written since it opened
//! the log; what is older, whoever opens a run has looked at after opening the log ([`LogError::Weaker`](super::LogError::Weaker)). So of two
//! runs that open at the same moment under different policies, either the newer one is second, or the second one is refused. Going
//! backwards, the first policy of the newest opening has the highest number there is, none there says that there never was one, and the
//! first that is met of a file has the highest number of that file. Only a file that was never met makes the way long.
//! What was archived stands behind all of it, and the file that stands for it says the highest numbers in it.

use std::collections::BTreeSet;

use super::backwards::Backwards;
use super::base::Base;
use super::read::ReadError;
use super::skim::Turn;
use super::{Home, Log};
use crate::history::approval::PolicyInForce;
use crate::history::event::Event;
use crate::history::numbers::{Numbers, policies_of};

/// The highest numbers of what runs of this home went under before, as far as they can be more than those of these policies; of files that
/// are not among them nothing is said. None if there is no log. `log` is that of the home where it is open: it has read the end already.
///
/// # Errors
/// What was read of the log is damaged, or cannot be read.
pub fn numbers_beside(home: &Home, log: Option<&Log>, policies: &[PolicyInForce]) -> Result<Numbers, ReadError> {
    if let Some(known) = log.and_then(|log| log.numbers_beside(policies)) {
        return Ok(known);
    }
    let skimmed = Backwards::skimming(home).and_then(|back| by(home, back, policies));
    match skimmed.or_else(|_| by(home, Backwards::strictly(home)?.0, policies)) {
        Err(ReadError::NoLog { .. }) => Ok(Numbers::default()),
        past => past,
    }
}

fn by(home: &Home, mut back: Backwards, policies: &[PolicyInForce]) -> Result<Numbers, ReadError> {
    let mut past = Numbers::default();
    let mut met = Met::Nothing;
    let mut left: BTreeSet<&str> = policies.iter().map(|policy| policy.file.as_str()).collect();
    loop {
        let parts = back.next()?;
        if parts.is_empty() {
            if let Some(base) = Base::of(&home.audit())? {
                let archived = base.policies();
                if met == Met::Nothing {
                    past.first.clone_from(&archived.first);
                }
                let of_file = archived.of_file.iter().filter(|(file, _)| left.contains(file.as_str()));
                past.of_file.extend(of_file.map(|(file, number)| (file.clone(), *number)));
            }
            return Ok(past);
        }
        for line in parts.iter().flat_map(|part| part.lines.iter().rev()) {
            let (Turn::Opened | Turn::Resumed) = line.turn else { continue };
            let event = line.event().map_err(|problem| back.damaged(line.seq, line.offset(), problem))?;
            let Some(under) = policies_of(&event) else { continue };
            if met == Met::Nothing {
                met = Met::AnOpening;
                past.first = under.first().map(|policy| (policy.number, policy.file.clone()));
            }
            if under.is_empty() {
                // Where none was in force, none was before.
                return Ok(past);
            }
            for policy in under.iter().filter(|policy| left.remove(policy.file.as_str())) {
                past.of_file.insert(policy.file.clone(), policy.number);
            }
            if left.is_empty() {
                return Ok(past);
            }
        }
    }
}

/// Whether an opening was met on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    Nothing,
    AnOpening,
}

/// Whether the line of an event by which a run begins or goes on can say under which policies: without them it has no such key, and no
/// other way to write it than an escape, which the program never uses for letters.
pub(super) fn may_name_policies(line: &str) -> bool {
    line.contains("\"policies\":") || line.contains("\\u00")
}

/// What a writer has met of the past, from the beginning of the segment that was the last one when it opened the log.
#[derive(Debug, Default)]
pub(super) struct Seen {
    numbers: Numbers,
    /// Whether that was an opening, so that nothing further back has a higher number.
    opening: bool,
}

impl Seen {
    /// Takes an event into account.
    pub fn note(&mut self, event: &Event) {
        self.opening |= policies_of(event).is_some();
        self.numbers.note(event);
    }

    /// Takes into account that a run began, or went on, under none.
    pub fn note_none(&mut self) {
        self.opening = true;
    }

    /// Why this event may not be written.
    pub fn speaks_against(&self, event: &Event) -> Option<String> {
        policies_of(event).and_then(|under| self.numbers.more_than(under))
    }

    /// The numbers, if what lies further back cannot change what they say about these policies.
    pub fn beside(&self, policies: &[PolicyInForce]) -> Option<Numbers> {
        let met = |policy: &PolicyInForce| self.numbers.of_file.contains_key(&policy.file);
        let is_all = self.opening && (self.numbers.first.is_none() || policies.iter().all(met));
        is_all.then(|| self.numbers.clone())
    }
}
