//! When each fact was held, as the evidence in the entries shows it: from where it was seen to hold, as long as the plan wants it held and a
//! program was there to watch it, to the last step that requires it or to its break.

use std::collections::BTreeMap;

use super::HeldFact;
use crate::history::event::{Sight, Verdict};
use crate::id::Fact;
use crate::plan::Procedure;
use crate::runbook::holds::HoldStart;

/// What is held, and what the plan wants held.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// For each fact the steps, by their index, from before which to the end of which it is held.
    wanted: BTreeMap<Fact, Vec<(usize, usize)>>,
    /// Since when, of those that are held now.
    open: BTreeMap<Fact, u64>,
    /// The places of the facts in the account.
    places: BTreeMap<Fact, usize>,
}

impl Holding {
    pub(super) fn new(procedure: Option<&Procedure>) -> Self {
        let mut wanted: BTreeMap<Fact, Vec<(usize, usize)>> = BTreeMap::new();
        for hold in procedure.iter().flat_map(|procedure| &procedure.holds) {
            let from = match hold.from {
                HoldStart::Opening => 0,
                HoldStart::Before(step) => step,
                HoldStart::After(step) => step.saturating_add(1),
            };
            wanted.entry(hold.fact.clone()).or_default().push((from, hold.until));
        }
        Self { wanted, ..Self::default() }
    }

    /// These were seen, with the step of this index at hand or next. What holds and is wanted then is held.
    pub(super) fn see(&mut self, at: u64, sights: &[Sight], next: usize) {
        for sight in sights.iter().filter(|sight| sight.verdict == Verdict::Holds) {
            let ranges = self.wanted.get(&sight.fact);
            if ranges.is_some_and(|ranges| ranges.iter().any(|(from, until)| *from <= next && next <= *until)) {
                self.open.entry(sight.fact.clone()).or_insert(at);
            }
        }
    }

    /// A step begins that requires these: they are held while it runs, whatever else is known.
    pub(super) fn require(&mut self, at: u64, sights: &[Sight]) {
        for sight in sights.iter().filter(|sight| sight.verdict == Verdict::Holds) {
            self.open.entry(sight.fact.clone()).or_insert(at);
        }
    }

    /// A step ended well, and the one of this index comes next: what nobody wants held any more is let go.
    pub(super) fn settle(&mut self, at: u64, next: usize, held: &mut Vec<HeldFact>) {
        let wanted = &self.wanted;
        let over: Vec<Fact> = self
            .open
            .keys()
            .filter(|fact| {
                let ranges = wanted.get(*fact);
                !ranges.is_some_and(|ranges| ranges.iter().any(|(from, until)| *from <= next && next <= *until))
            })
            .cloned()
            .collect();
        for fact in over {
            self.let_go(&fact, at, held);
        }
    }

    /// A fact broke.
    pub(super) fn break_it(&mut self, fact: &Fact, at: u64, held: &mut Vec<HeldFact>) {
        self.let_go(fact, at, held);
        let place = self.place(fact, held);
        held[place].breaks.push(at);
    }

    /// Nobody watches any more.
    pub(super) fn end(&mut self, at: u64, held: &mut Vec<HeldFact>) {
        for fact in self.open.keys().cloned().collect::<Vec<_>>() {
            self.let_go(&fact, at, held);
        }
    }

    fn let_go(&mut self, fact: &Fact, at: u64, held: &mut Vec<HeldFact>) {
        if let Some(since) = self.open.remove(fact) {
            let place = self.place(fact, held);
            held[place].spans.push((since, at));
        }
    }

    fn place(&mut self, fact: &Fact, held: &mut Vec<HeldFact>) -> usize {
        *self.places.entry(fact.clone()).or_insert_with(|| {
            held.push(HeldFact { fact: fact.clone(), spans: Vec::new(), breaks: Vec::new() });
            held.len() - 1
        })
    }
}
