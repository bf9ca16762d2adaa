//! The proof of the order and the holds, against models that say the same slowly.

use std::collections::BTreeMap;

use proptest::prelude::{Strategy, prop, proptest};

use crate::diagnostic::{Problems, Span};
use crate::id::{Fact, SystemName};
use crate::runbook::holds::{Hold, HoldStart, holds};
use crate::runbook::lower::{Places, StepPlaces};
use crate::runbook::model::{
    Action, Applies, IfEnsured, InDoubt, OnFailure, OverrideRule, Runbook, Step, WayBack, When,
};
use crate::runbook::order::prove;

/// The facts of one step: what it requires and what it ensures.
pub(super) type Facts = (Vec<Fact>, Vec<Fact>);

pub(super) fn runbook(requires: &[Fact], steps: &[Facts]) -> (Runbook, Places) {
    let mut next = 0;
    let mut places = |facts: &[Fact]| -> Vec<Span> {
        facts
            .iter()
            .map(|_| {
                next += 1;
                Span::new(next, next)
            })
            .collect()
    };
    let run_places = places(requires);
    let step_places = steps
        .iter()
        .map(|(r, e)| StepPlaces { requires: places(r), ensures: places(e), ..StepPlaces::default() })
        .collect();
    let steps = steps.iter().enumerate().map(|(index, (requires, ensures))| Step {
        id: format!("s{index}").parse().unwrap(),
        title: None,
        note: None,
        action: Action::Wait,
        requires: requires.clone(),
        ensures: ensures.clone(),
        replaces: Vec::new(),
        within: std::time::Duration::ZERO,
        timeout: std::time::Duration::ZERO,
        if_ensured: IfEnsured::Run,
        confirm: None,
        way_back: WayBack::None,
        retry: None,
        when: None,
        in_doubt: InDoubt::Ask,
        overrides: OverrideRule::Unsaid,
    });
    let runbook = Runbook {
        name: "r".to_owned(),
        title: None,
        labels: BTreeMap::new(),
        systems: BTreeMap::new(),
        requires: requires.to_vec(),
        locks: Vec::new(),
        on_failure: OnFailure::Halt,
        overrides: OverrideRule::Unsaid,
        steps: steps.collect(),
    };
    (runbook, Places { requires: run_places, steps: step_places })
}

pub(super) fn facts(most: usize) -> impl Strategy<Value = Vec<Fact>> {
    let fact = (prop::sample::select(vec!["a", "b"]), prop::sample::select(vec!["x", "y", "z"]));
    prop::collection::vec(fact, 0..=most).prop_map(|facts| {
        let mut facts: Vec<Fact> =
            facts.into_iter().map(|(system, state)| format!("{system} {state}").parse().unwrap()).collect();
        facts.sort();
        facts.dedup();
        facts
    })
}

fn steps() -> impl Strategy<Value = Vec<Facts>> {
    prop::collection::vec((facts(1), facts(1)), 0..8)
}

fn proved(runbook: &Runbook, places: &Places) -> bool {
    let mut problems = Problems::new();
    prove(runbook, places, &mut problems);
    !problems.has_errors()
}

/// Whether two facts are different states of one system.
pub(super) fn exclude(left: &Fact, right: &Fact) -> bool {
    left.system == right.system && left.state != right.state
}

fn speaks_of(step: &Step, system: &SystemName) -> bool {
    step.ensures.iter().any(|fact| fact.system == *system)
}

/// The rules of the proof, one after the other, without any cleverness.
fn sound(runbook: &Runbook) -> bool {
    let steps = &runbook.steps;
    let all = |step: &Step| step.requires.iter().chain(&step.ensures).cloned().collect::<Vec<Fact>>();
    for left in &runbook.requires {
        if runbook
            .requires
            .iter()
            .chain(steps.iter().flat_map(all).collect::<Vec<_>>().iter())
            .any(|f| exclude(left, f))
        {
            return false;
        }
    }
    if steps.iter().any(|step| all(step).iter().any(|left| all(step).iter().any(|right| exclude(left, right)))) {
        return false;
    }
    for (at, step) in steps.iter().enumerate() {
        for fact in &step.requires {
            let ensured = steps[..at].iter().rev().flat_map(|step| &step.ensures).find(|f| f.system == fact.system);
            if ensured.is_some_and(|ensured| exclude(ensured, fact)) {
                return false;
            }
            // Another state, required before and after without anybody having ensured anything in between.
            for (from, earlier) in steps[..at].iter().enumerate() {
                for other in earlier.requires.iter().filter(|other| exclude(other, fact)) {
                    let untouched = steps[from..].iter().take_while(|step| !speaks_of(step, &fact.system)).count();
                    let later = steps[at + 1..].iter().take((from + untouched).saturating_sub(at));
                    if later.into_iter().any(|step| step.requires.contains(other)) {
                        return false;
                    }
                }
            }
        }
    }
    true
}

/// The holds, fact by fact and requirer by requirer.
fn naive_holds(runbook: &Runbook) -> Vec<Hold> {
    let steps = &runbook.steps;
    let mut found = Vec::new();
    let Some(last) = steps.len().checked_sub(1) else { return found };
    let mut every: Vec<&Fact> = steps.iter().flat_map(|step| &step.requires).collect();
    every.sort();
    every.dedup();
    for fact in &runbook.requires {
        found.push(Hold { fact: fact.clone(), from: HoldStart::Opening, until: last });
    }
    for fact in every.into_iter().filter(|fact| !runbook.requires.contains(fact)) {
        let mut current: Option<Hold> = None;
        for at in (0..steps.len()).filter(|at| steps[*at].requires.contains(fact)) {
            if let Some(hold) = &mut current
                && !steps[hold.until..at]
                    .iter()
                    .flat_map(|step| step.ensures.iter().chain(&step.requires))
                    .any(|other| exclude(other, fact))
            {
                hold.until = at;
                continue;
            }
            found.extend(current.take());
            let ensured = steps[..at].iter().rposition(|step| speaks_of(step, &fact.system));
            let from = ensured.map_or(HoldStart::Before(at), HoldStart::After);
            current = Some(Hold { fact: fact.clone(), from, until: at });
        }
        found.extend(current);
    }
    found
}

fn sorted(mut holds: Vec<Hold>) -> Vec<Hold> {
    holds.sort_by(|left, right| (&left.fact, left.until).cmp(&(&right.fact, right.until)));
    holds
}

/// When a hold begins and ends, on a clock on which step `n` runs at `2n + 1` and has ended at `2n + 2`.
fn clock(hold: &Hold) -> (usize, usize) {
    let from = match hold.from {
        HoldStart::Opening => 0,
        HoldStart::Before(step) => 2 * step + 1,
        HoldStart::After(step) => 2 * step + 2,
    };
    (from, 2 * hold.until + 1)
}

/// The runbook without the steps whose condition is not met.
fn without(runbook: &Runbook, places: &Places, left_out: &[bool]) -> (Runbook, Places) {
    let mut kept = left_out.iter().map(|left_out| !left_out);
    let mut kept_places = kept.clone();
    let (mut runbook, mut places) = (runbook.clone(), places.clone());
    runbook.steps.retain(|_| kept.next().unwrap_or(true));
    places.steps.retain(|_| kept_places.next().unwrap_or(true));
    (runbook, places)
}

proptest! {
    #[test]
    fn a_step_whose_condition_is_not_met_counts_for_nothing(
        steps in steps(),
        left_out in prop::collection::vec(proptest::prelude::any::<bool>(), 8),
    ) {
        let (mut whole, places) = runbook(&[], &steps);
        if whole.steps.iter().any(|step| step.requires.iter().any(|r| step.ensures.iter().any(|e| exclude(r, e)))) {
            return Ok(());
        }
        let (reduced, reduced_places) = without(&whole, &places, &left_out);
        for (step, left_out) in whole.steps.iter_mut().zip(&left_out) {
            let applies = if *left_out { Applies::No } else { Applies::Unknown };
            step.when = Some(When { expression: "x".to_owned(), values: BTreeMap::new(), applies });
        }
        assert_eq!(proved(&whole, &places), proved(&reduced, &reduced_places));
        let name = |runbook: &Runbook, hold: &Hold| {
            let id = |step: usize| runbook.steps[step].id.clone();
            let from = match hold.from {
                HoldStart::Opening => "opening".to_owned(),
                HoldStart::Before(step) => format!("before {}", id(step)),
                HoldStart::After(step) => format!("after {}", id(step)),
            };
            format!("{} from {from} to {}", hold.fact, id(hold.until))
        };
        let named = |runbook: &Runbook| holds(runbook).iter().map(|hold| name(runbook, hold)).collect::<Vec<_>>();
        assert_eq!(named(&whole), named(&reduced));
    }

    #[test]
    fn the_proof_agrees_with_its_rules(requires in facts(2), steps in steps()) {
        let (runbook, places) = runbook(&requires, &steps);
        assert_eq!(proved(&runbook, &places), sound(&runbook));
    }

    #[test]
    fn long_lists_of_facts_are_proved_alike(steps in prop::collection::vec((facts(3), facts(3)), 0..5)) {
        let (runbook, places) = runbook(&[], &steps);
        assert_eq!(proved(&runbook, &places), sound(&runbook));
    }

    #[test]
    fn the_holds_of_a_proved_runbook_are_those_of_the_model(requires in facts(1), steps in steps()) {
        let (runbook, places) = runbook(&requires, &steps);
        if proved(&runbook, &places) {
            assert_eq!(sorted(holds(&runbook)), sorted(naive_holds(&runbook)));
        }
    }

    #[test]
    fn nothing_in_a_proved_runbook_excludes_what_is_held(requires in facts(1), steps in steps()) {
        let (runbook, places) = runbook(&requires, &steps);
        if proved(&runbook, &places) {
            let holds = holds(&runbook);
            for hold in &holds {
                let (from, until) = clock(hold);
                for other in holds.iter().filter(|other| exclude(&hold.fact, &other.fact)) {
                    let (other_from, other_until) = clock(other);
                    assert!(until < other_from || other_until < from, "{hold:?} and {other:?}");
                }
                for (at, step) in runbook.steps.iter().enumerate() {
                    let ended = step.ensures.iter().any(|fact| exclude(&hold.fact, fact));
                    assert!(!ended || 2 * at + 2 <= from || until < 2 * at + 2, "{hold:?} and step {at}");
                }
            }
        }
    }

    #[test]
    fn every_requirement_of_a_proved_runbook_lies_in_a_hold(requires in facts(1), steps in steps()) {
        let (runbook, places) = runbook(&requires, &steps);
        if proved(&runbook, &places) {
            let holds = holds(&runbook);
            for (at, step) in runbook.steps.iter().enumerate() {
                for fact in &step.requires {
                    let held = holds.iter().any(|hold| {
                        let (from, until) = clock(hold);
                        hold.fact == *fact && from < 2 * at + 2 && 2 * at < until
                    });
                    assert!(held, "{fact} in step {at}");
                }
            }
        }
    }
}
