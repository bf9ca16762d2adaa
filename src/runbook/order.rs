//! The proof that the order of the steps can work. States of one system exclude each other, so a runbook is refused in
//! which a step requires a state that an earlier step has ended, or ends a state that is still held, or asks for two
//! states of one system at once. Only what is written is followed: what a step does without saying so is found when it
//! runs. A step whose condition is not met counts for nothing but that it must not contradict itself. The way back is
//! proved by its neighbour `way_back`.

use std::collections::{BTreeMap, BTreeSet};

use super::code;
use super::lower::Places;
use super::model::Runbook;
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::id::{Fact, StateName, StepId, SystemName};

/// Proves the order, or adds what is wrong with it to `problems`.
pub(super) fn prove(runbook: &Runbook, places: &Places, problems: &mut Problems) {
    let mut timelines: BTreeMap<&SystemName, Timeline<'_>> = BTreeMap::new();
    for (fact, span) in runbook.requires.iter().zip(&places.requires) {
        let timeline = timelines.entry(&fact.system).or_default();
        match &timeline.whole_run {
            None => timeline.whole_run = Some(Mark { fact, step: None, span: *span }),
            Some(first) => problems.push(
                Diagnostic::error(
                    code::CONTRADICTION,
                    format!("the run requires `{}` and `{fact}` at once", first.fact),
                )
                .at(*span, "this and the other exclude each other")
                .related(first.span, "the other"),
            ),
        }
    }
    for (step, places) in runbook.steps.iter().zip(&places.steps) {
        let requires = Mark::of(&step.requires, &places.requires, &step.id);
        let ensures = Mark::of(&step.ensures, &places.ensures, &step.id);
        within(&requires, &ensures, &format!("step `{}`", step.id), problems);
        if let Some(undo) = step.way_back.undo() {
            let requires = Mark::of(&undo.requires, &places.undo_requires, &step.id);
            let ensures = Mark::of(&undo.ensures, &places.undo_ensures, &step.id);
            within(&requires, &ensures, &format!("the undo of step `{}`", step.id), problems);
        }
        if !step.is_applicable() {
            continue;
        }
        for mark in requires {
            timelines.entry(&mark.fact.system).or_default().require(mark, problems);
        }
        for mark in ensures {
            timelines.entry(&mark.fact.system).or_default().ensure(mark, problems);
        }
    }
    for timeline in timelines.into_values() {
        timeline.close(problems);
    }
}

/// A fact where it stands.
#[derive(Clone, Copy)]
struct Mark<'r> {
    fact: &'r Fact,
    /// The step it belongs to; `None` for the run as a whole.
    step: Option<&'r StepId>,
    span: Span,
}

impl<'r> Mark<'r> {
    fn of(facts: &'r [Fact], spans: &[Span], step: &'r StepId) -> Vec<Self> {
        facts.iter().zip(spans).map(|(fact, span)| Self { fact, step: Some(step), span: *span }).collect()
    }

    fn step_name(&self) -> &str {
        self.step.map_or("the run", StepId::as_str)
    }
}

/// Two states of one system in the lists of one step or undo.
fn within(requires: &[Mark<'_>], ensures: &[Mark<'_>], whose: &str, problems: &mut Problems) {
    let mut first: BTreeMap<&SystemName, (&Mark<'_>, &str)> = BTreeMap::new();
    let required = requires.iter().map(|mark| (mark, "requires"));
    let ensured = ensures.iter().map(|mark| (mark, "ensures"));
    for (mark, verb) in required.chain(ensured) {
        let (other, other_verb) = *first.entry(&mark.fact.system).or_insert((mark, verb));
        if other.fact.state == mark.fact.state {
            continue;
        }
        let message = match (other_verb, verb) {
            ("requires", "ensures") => {
                format!("{whose} requires `{}` as long as it runs, and ensures `{}`", other.fact, mark.fact)
            }
            _ => format!("{whose} {verb} `{}` and `{}` at once", other.fact, mark.fact),
        };
        problems.push(
            Diagnostic::error(code::CONTRADICTION, message)
                .at(mark.span, "this and the other exclude each other")
                .related(other.span, "the other")
                .help("if it is meant to change the state, require nothing of this system"),
        );
    }
}

/// One system through the steps.
#[derive(Default)]
struct Timeline<'r> {
    whole_run: Option<Mark<'r>>,
    /// The last fact that a step ensured.
    ensured: Option<Mark<'r>>,
    /// Where the states that were known before that were last established.
    before: BTreeMap<&'r StateName, Mark<'r>>,
    /// Where states were established since.
    since: BTreeMap<&'r StateName, Mark<'r>>,
    /// The states whose absence after `ensured` has been reported.
    reported: BTreeSet<&'r StateName>,
    /// What was required before any step ensured anything.
    unsettled: Vec<Mark<'r>>,
}

impl<'r> Timeline<'r> {
    fn require(&mut self, mark: Mark<'r>, problems: &mut Problems) {
        if let Some(whole_run) = &self.whole_run {
            if whole_run.fact != mark.fact {
                problems.push(against_whole_run(&mark, "requires", whole_run));
            }
            return;
        }
        let Some(ensured) = self.ensured else {
            self.since.entry(&mark.fact.state).or_insert(mark);
            self.unsettled.push(mark);
            return;
        };
        if ensured.fact == mark.fact || !self.reported.insert(&mark.fact.state) {
            return;
        }
        problems.push(match self.before.get(&mark.fact.state) {
            // It was so, and a step in between has ended it.
            Some(established) => Diagnostic::error(
                code::ENDS_HELD,
                format!(
                    "step `{}` ensures `{}` while `{}` is still held",
                    ensured.step_name(),
                    ensured.fact,
                    mark.fact
                ),
            )
            .at(ensured.span, format!("this ends `{}`", mark.fact))
            .related(established.span, format!("held from here, step `{}`", established.step_name()))
            .related(mark.span, format!("and still required here, step `{}`", mark.step_name()))
            .help("change the order, or bring the state about again before the step that requires it"),
            None => Diagnostic::error(
                code::ENDED_BEFORE,
                format!(
                    "step `{}` requires `{}`, but step `{}` has ensured `{}`",
                    mark.step_name(),
                    mark.fact,
                    ensured.step_name(),
                    ensured.fact
                ),
            )
            .at(mark.span, "this cannot hold here")
            .related(ensured.span, format!("from here on it is `{}`", ensured.fact))
            .help("change the order, or add a step between the two that ensures what is required"),
        });
    }

    fn ensure(&mut self, mark: Mark<'r>, problems: &mut Problems) {
        if let Some(whole_run) = &self.whole_run {
            if whole_run.fact != mark.fact {
                problems.push(against_whole_run(&mark, "ensures", whole_run));
            }
            return;
        }
        if self.ensured.is_some_and(|ensured| ensured.fact == mark.fact) {
            return;
        }
        self.before = std::mem::take(&mut self.since);
        self.since.insert(&mark.fact.state, mark);
        self.reported.clear();
        self.ensured = Some(mark);
    }

    /// What is required before anything is ensured cannot be followed, but a fact is held from its first requirement
    /// to its last, and no other state can be required in between.
    fn close(self, problems: &mut Problems) {
        let mut last: BTreeMap<&StateName, usize> = BTreeMap::new();
        for (at, mark) in self.unsettled.iter().enumerate() {
            last.insert(&mark.fact.state, at);
        }
        // The states that are held at this point, by the place of their last requirement.
        let mut held: BTreeMap<&StateName, &Mark<'_>> = BTreeMap::new();
        let mut reported: BTreeSet<(&StateName, &StateName)> = BTreeSet::new();
        for (at, mark) in self.unsettled.iter().enumerate() {
            let other = held.iter().find(|(state, _)| **state != &mark.fact.state);
            if let Some((state, first)) = other
                && first.step != mark.step
                && self.unsettled[last[state]].step != mark.step
                && reported.insert((&mark.fact.state, state))
            {
                let until = &self.unsettled[last[state]];
                problems.push(
                    Diagnostic::error(
                        code::WHILE_OTHER_HELD,
                        format!("step `{}` requires `{}` while `{}` is held", mark.step_name(), mark.fact, first.fact),
                    )
                    .at(mark.span, "this cannot hold here")
                    .related(first.span, format!("held from here, step `{}`", first.step_name()))
                    .related(until.span, format!("to here, step `{}`", until.step_name()))
                    .help("add steps between them that ensure each state before it is required"),
                );
            }
            if last[&mark.fact.state] > at {
                held.entry(&mark.fact.state).or_insert(mark);
            } else {
                held.remove(&mark.fact.state);
            }
        }
    }
}

fn against_whole_run(mark: &Mark<'_>, verb: &str, whole_run: &Mark<'_>) -> Diagnostic {
    let message =
        format!("step `{}` {verb} `{}`, but the whole run requires `{}`", mark.step_name(), mark.fact, whole_run.fact);
    Diagnostic::error(code::ENDS_HELD, message)
        .at(mark.span, "this ends or excludes what the run requires")
        .related(whole_run.span, "held from the opening to the end of the last step")
        .help("take the fact out of the run's `requires`, and into those of the steps that need it")
}
