//! The policies that the runs of a home went under, as its log tells.
//!
//! # Why the last opening is enough
//! In the order of the log the numbers of policies only ever rise: the writer refuses an opening, or a taking up, under less than what the
//! log says of those before it. It does so under the lock that all writers share, with everything in view that was written since it opened
//! the log; what is older, whoever opens a run has looked at after opening the log ([`LogError::Weaker`](super::LogError::Weaker)). So of two
//! runs that open at the same moment under different policies, either the newer one is second, or the second one is refused. Going
//! backwards, the first policy of the newest opening has the highest number there is, none there says that there never was one, and the
//! first that is met of a file has the highest number of that file. Only a file that was never met makes the way long.

use std::collections::{BTreeMap, BTreeSet};

use super::Home;
use super::backwards::Backwards;
use super::read::ReadError;
use super::skim::Turn;
use crate::history::approval::PolicyInForce;
use crate::history::event::Event;

/// The policies that runs went under.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PastPolicies {
    /// The highest number of the first policy of a run, which is the machine's own where it has one, and its file.
    first: Option<(u64, String)>,
    /// The highest number of each file.
    of_file: BTreeMap<String, u64>,
}

impl PastPolicies {
    /// What runs of this home went under before, as far as it can be more than these policies; of files that are not among them nothing
    /// is said. Nothing if there is no log.
    ///
    /// # Errors
    /// What was read of the log is damaged, or cannot be read.
    pub fn beside(home: &Home, policies: &[PolicyInForce]) -> Result<Self, ReadError> {
        let skimmed = Backwards::skimming(home).and_then(|back| Self::by(back, policies));
        match skimmed.or_else(|_| Self::by(Backwards::strictly(home)?.0, policies)) {
            Err(ReadError::NoLog { .. }) => Ok(Self::default()),
            past => past,
        }
    }

    fn by(back: Backwards, policies: &[PolicyInForce]) -> Result<Self, ReadError> {
        let mut back = back;
        let mut past = Self::default();
        let mut met = Met::Nothing;
        let mut left: BTreeSet<&str> = policies.iter().map(|policy| policy.file.as_str()).collect();
        loop {
            let parts = back.next()?;
            if parts.is_empty() {
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

    /// Takes in what happened.
    pub(super) fn take(&mut self, event: &Event) {
        let Some(under) = policies_of(event) else { return };
        if let Some(policy) = under.first()
            && self.first.as_ref().is_none_or(|(number, _)| policy.number >= *number)
        {
            self.first = Some((policy.number, policy.file.clone()));
        }
        for policy in under {
            let highest = self.of_file.entry(policy.file.clone()).or_default();
            *highest = policy.number.max(*highest);
        }
    }

    /// Why a run under these policies would be under less than runs of this home went under before; none if it is not. A home that went
    /// under a policy goes under none or an older one no more.
    pub fn more_than(&self, policies: &[PolicyInForce]) -> Option<String> {
        let (number, file) = self.first.as_ref()?;
        let Some(first) = policies.first() else {
            return Some(format!(
                "no policy is in force, and runs of this home went under {file} (number {number}) before; put it back in its place, \
                 name it with --policy, or say where with INTERLOCK_POLICY"
            ));
        };
        if first.number < *number {
            return Some(format!(
                "{} has the number {}, and runs of this home went under number {number} before ({file}); numbers of policies only ever \
                 rise: put the newer one back, or give this one a number above {number}",
                first.file, first.number
            ));
        }
        policies.iter().find_map(|policy| {
            let before = self.of_file.get(&policy.file).filter(|before| policy.number < **before)?;
            Some(format!(
                "{} has the number {}, and had {before} before; numbers of policies only ever rise",
                policy.file, policy.number
            ))
        })
    }
}

/// Whether an opening was met on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    Nothing,
    AnOpening,
}

/// The policies under which a run is opened or taken up by this event. What was refused went under nothing.
pub(super) fn policies_of(event: &Event) -> Option<&[PolicyInForce]> {
    let (Event::RunOpened { policies, .. } | Event::RunResumed { policies, .. }) = event else { return None };
    Some(policies)
}
