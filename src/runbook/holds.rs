//! Which fact is held from where to where. A fact is held from the step that ensured it last before it is required (or
//! else from before the first step that requires it) to the end of the last step that requires it, without a gap. A
//! step that ensures or requires another state of the same system ends it; a step between two requirers that ensures
//! it once more does not interrupt it. A step whose condition is not met counts for nothing. The way back has holds of its
//! own, by the same rules, with the undos for the steps and the last step first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::model::{Runbook, WayBack};
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

/// A fact that is kept while some undos run. The steps are passed from the last to the first: `until` is never above the
/// index in `from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoHold {
    /// The fact.
    pub fact: Fact,
    /// From when.
    pub from: UndoStart,
    /// The index of the last step to be undone that requires it: it is held to the end of that step's undo.
    pub until: usize,
}

/// From when a fact is held on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UndoStart {
    /// From before the undo of the step of this index, which is the first to require it.
    Before(usize),
    /// From the end of the undo of the step of this index, which ensures it.
    After(usize),
}

/// A hold that may still grow.
#[derive(Clone, Copy)]
struct Open<S> {
    from: S,
    until: Option<usize>,
}

/// The facts of which it is not yet known how long they are held.
struct Growing<'r, S> {
    open: BTreeMap<&'r SystemName, BTreeMap<&'r Fact, Open<S>>>,
    found: Vec<(&'r Fact, S, usize)>,
}

/// All holds of a runbook whose order has been proved, by where they begin and then by fact. A fact that nothing
/// requires is not held.
pub fn holds(runbook: &Runbook) -> Vec<Hold> {
    let Some(last) = runbook.steps.len().checked_sub(1) else { return Vec::new() };
    let mut growing = Growing::new();
    for (index, step) in runbook.steps.iter().enumerate().filter(|(_, step)| step.is_applicable()) {
        for fact in step.requires.iter().filter(|fact| !runbook.requires.contains(fact)) {
            growing.require(fact, index, HoldStart::Before(index));
        }
        for fact in step.ensures.iter().filter(|fact| !runbook.requires.contains(fact)) {
            growing.ensure(fact, HoldStart::After(index));
        }
    }
    let whole_run = runbook.requires.iter().map(|fact| (fact, HoldStart::Opening, last));
    let found = whole_run.chain(growing.close());
    let mut found: Vec<Hold> = found.map(|(fact, from, until)| Hold { fact: fact.clone(), from, until }).collect();
    found.sort_by(|left, right| (left.from.order(), &left.fact).cmp(&(right.from.order(), &right.fact)));
    found
}

/// What is held while the steps from this index down to the first are undone, in the order in which it begins and then by
/// fact. Undo stops at a step that is irreversible, so nothing is held past that. What the run as a whole requires is not
/// held by that alone.
pub fn undo_holds(runbook: &Runbook, from: usize) -> Vec<UndoHold> {
    let begun = runbook.steps.len().min(from.saturating_add(1));
    undo_holds_of(runbook, (0..begun).rev())
}

/// The same for these steps and no others, given in the order in which they are undone: those that were already so, or
/// were passed over, have nothing to take back. Stops at a step that is irreversible.
pub fn undo_holds_of(runbook: &Runbook, steps: impl IntoIterator<Item = usize>) -> Vec<UndoHold> {
    let mut growing = Growing::new();
    for (index, step) in steps.into_iter().filter_map(|index| Some((index, runbook.steps.get(index)?))) {
        if !step.is_applicable() {
            continue;
        }
        match &step.way_back {
            WayBack::None => {}
            WayBack::Irreversible => break,
            WayBack::Undo(undo) => {
                undo.requires.iter().for_each(|fact| growing.require(fact, index, UndoStart::Before(index)));
                undo.ensures.iter().for_each(|fact| growing.ensure(fact, UndoStart::After(index)));
            }
        }
    }
    let found = growing.close().into_iter();
    let mut found: Vec<UndoHold> =
        found.map(|(fact, from, until)| UndoHold { fact: fact.clone(), from, until }).collect();
    found.sort_by(|left, right| (left.from.order(), &left.fact).cmp(&(right.from.order(), &right.fact)));
    found
}

impl<'r, S: Copy> Growing<'r, S> {
    fn new() -> Self {
        Self { open: BTreeMap::new(), found: Vec::new() }
    }

    /// The step of this index requires the fact; `before` is the start before it.
    fn require(&mut self, fact: &'r Fact, index: usize, before: S) {
        self.close_others(fact);
        let candidates = self.open.entry(&fact.system).or_default();
        candidates.entry(fact).or_insert(Open { from: before, until: None }).until = Some(index);
    }

    /// A step ensures the fact; `after` is the start after it.
    fn ensure(&mut self, fact: &'r Fact, after: S) {
        self.close_others(fact);
        let afresh = Open { from: after, until: None };
        let hold = self.open.entry(&fact.system).or_default().entry(fact).or_insert(afresh);
        if hold.until.is_none() {
            *hold = afresh;
        }
    }

    /// Ends what is open of other states than this fact's.
    fn close_others(&mut self, fact: &'r Fact) {
        let candidates = self.open.entry(&fact.system).or_default();
        let others: Vec<&'r Fact> = candidates.keys().copied().filter(|other| *other != fact).collect();
        for other in others {
            let closed = candidates.remove(other).and_then(|hold| hold.until.map(|until| (other, hold.from, until)));
            self.found.extend(closed);
        }
    }

    /// All that were held.
    fn close(mut self) -> Vec<(&'r Fact, S, usize)> {
        let open = self.open.into_values().flatten();
        self.found.extend(open.filter_map(|(fact, hold)| Some((fact, hold.from, hold.until?))));
        self.found
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

impl UndoStart {
    /// The index of its step.
    pub fn step(self) -> usize {
        match self {
            Self::Before(step) | Self::After(step) => step,
        }
    }

    /// Going back, what is above comes first.
    fn order(self) -> (Reverse<usize>, u8) {
        match self {
            Self::Before(step) => (Reverse(step), 1),
            Self::After(step) => (Reverse(step), 2),
        }
    }
}
