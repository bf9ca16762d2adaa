//! Which fact is held from where to where. A fact is held from the step that ensured it last before it is required (or
//! else from before the first step that requires it) to the end of the last step that requires it, without a gap. A
//! step that ensures or requires another state of the same system ends it; a step between two requirers that ensures
//! it once more does not interrupt it.

use std::collections::BTreeMap;

use super::model::Runbook;
use crate::id::{Fact, SystemName};

/// A fact that is kept over some steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The fact.
    pub fact: Fact,
    /// From when.
    pub from: HoldStart,
    /// The index of the last step that requires it: it is held to that step's end.
    pub until: usize,
}

/// From when a fact is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldStart {
    /// From the opening of the run, before its first step.
    Opening,
    /// From before the step of this index, which is the first to require it.
    Before(usize),
    /// From the end of the step of this index, which ensures it.
    After(usize),
}

/// A hold that may still grow.
#[derive(Clone, Copy)]
struct Open {
    from: HoldStart,
    until: Option<usize>,
}

/// All holds of a runbook whose order has been proved, by where they begin and then by fact. A fact that nothing
/// requires is not held.
pub fn holds(runbook: &Runbook) -> Vec<Hold> {
    let mut found: Vec<Hold> = Vec::new();
    let Some(last) = runbook.steps.len().checked_sub(1) else { return found };
    for fact in &runbook.requires {
        found.push(Hold { fact: fact.clone(), from: HoldStart::Opening, until: last });
    }
    let mut open: BTreeMap<&SystemName, BTreeMap<&Fact, Open>> = BTreeMap::new();
    for (index, step) in runbook.steps.iter().enumerate() {
        for fact in step.requires.iter().filter(|fact| !runbook.requires.contains(fact)) {
            let candidates = open.entry(&fact.system).or_default();
            found.extend(close_others(candidates, fact));
            let hold = candidates.entry(fact).or_insert(Open { from: HoldStart::Before(index), until: None });
            hold.until = Some(index);
        }
        for fact in step.ensures.iter().filter(|fact| !runbook.requires.contains(fact)) {
            let candidates = open.entry(&fact.system).or_default();
            found.extend(close_others(candidates, fact));
            let afresh = Open { from: HoldStart::After(index), until: None };
            let hold = candidates.entry(fact).or_insert(afresh);
            if hold.until.is_none() {
                *hold = afresh;
            }
        }
    }
    for (fact, hold) in open.into_values().flatten() {
        found.extend(hold.close(fact));
    }
    found.sort_by(|left, right| (left.from.order(), &left.fact).cmp(&(right.from.order(), &right.fact)));
    found
}

/// Ends what is open of other states than this fact's.
fn close_others(candidates: &mut BTreeMap<&Fact, Open>, fact: &Fact) -> Vec<Hold> {
    let others: Vec<&Fact> = candidates.keys().copied().filter(|other| *other != fact).collect();
    others.into_iter().filter_map(|other| candidates.remove(other)?.close(other)).collect()
}

impl Open {
    fn close(self, fact: &Fact) -> Option<Hold> {
        Some(Hold { fact: fact.clone(), from: self.from, until: self.until? })
    }
}

impl HoldStart {
    fn order(self) -> (usize, u8) {
        match self {
            Self::Opening => (0, 0),
            Self::Before(step) => (step, 1),
            Self::After(step) => (step, 2),
        }
    }
}
