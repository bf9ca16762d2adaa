//! The proof that the way back can work. From wherever a run stops, the undos of the steps that were done or begun run
//! backwards, down to a step that is irreversible or to the first. So a runbook is refused in which an undo requires a
//! state of a system that is known to be in another one when the undo's turn comes. What is known of a system is what
//! was last required or ensured: by the steps up to the one where the run stops, and then by the undos that ran before.
//!
//! A step that was begun and not done leaves less known than the same step done, and the same undos to come, so only
//! stops after a done step are followed. A step that ends as already so (`if_ensured: pass`) is followed as if it had been
//! done, though it is not undone: what its undo would have ensured is looked at when an undo that requires it has its turn.

use std::collections::BTreeMap;
use std::fmt;

use super::code;
use super::lower::Places;
use super::model::{Action, OnFailure, Runbook, Step, WayBack};
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::id::{Fact, StepId, SystemName};

/// Proves the way back, or adds what is wrong with it to `problems`.
pub(super) fn prove(runbook: &Runbook, places: &Places, problems: &mut Problems) {
    let mut systems: BTreeMap<&SystemName, Course<'_>> = BTreeMap::new();
    for (fact, span) in runbook.requires.iter().zip(&places.requires) {
        let mark = Mark { fact, span: *span, by: By::Run };
        systems.entry(&fact.system).or_default().known.get_or_insert(mark);
    }
    // Undo does not get past this step, once it was begun.
    let mut barrier: Option<usize> = None;
    for (index, (step, places)) in runbook.steps.iter().zip(&places.steps).enumerate() {
        if !step.is_applicable() {
            continue;
        }
        if step.way_back == WayBack::Irreversible {
            barrier = Some(index);
        }
        let mut mentioned: BTreeMap<&SystemName, Undone<'_>> = BTreeMap::new();
        let required = step.requires.iter().zip(&places.requires).map(|pair| (pair, By::Requires(&step.id)));
        let ensured = step.ensures.iter().zip(&places.ensures).map(|pair| (pair, By::Ensures(&step.id)));
        for ((fact, span), by) in required.chain(ensured) {
            systems.entry(&fact.system).or_default().known = Some(Mark { fact, span: *span, by });
            mentioned.entry(&fact.system).or_default();
        }
        if let Some(undo) = step.way_back.undo() {
            for (fact, span) in undo.requires.iter().zip(&places.undo_requires) {
                let mark = Mark { fact, span: *span, by: By::UndoRequires(&step.id) };
                mentioned.entry(&fact.system).or_default().requires = Some(mark);
            }
            for (fact, span) in undo.ensures.iter().zip(&places.undo_ensures) {
                let mark = Mark { fact, span: *span, by: By::UndoEnsures(&step.id) };
                mentioned.entry(&fact.system).or_default().ensures = Some(mark);
            }
        }
        for (system, undone) in mentioned {
            systems.entry(system).or_default().pass(index, undone, barrier, problems);
        }
    }
}

/// Warns of each step that changes something and says nothing of the way back, in a runbook that has one at all.
pub(super) fn missing(runbook: &Runbook, places: &Places, problems: &mut Problems) {
    let has_undo = |step: &Step| step.way_back.undo().is_some();
    if runbook.on_failure != OnFailure::Undo && !runbook.steps.iter().any(has_undo) {
        return;
    }
    for (step, places) in runbook.steps.iter().zip(&places.steps) {
        let acts = matches!(step.action, Action::Run(_) | Action::Script(_));
        if acts && step.way_back == WayBack::None {
            let message = format!("step `{}` has neither `undo` nor `irreversible: true`", step.id);
            problems.push(
                Diagnostic::warning(code::NO_WAY_BACK, message)
                    .at(places.id, "undo passes over it, and leaves what it did")
                    .help("say how it is taken back, or `irreversible: true`; a step that only looks can have `undo: {run: [\"true\"]}`"),
            );
        }
    }
}

/// A fact where it stands.
#[derive(Clone, Copy)]
struct Mark<'r> {
    fact: &'r Fact,
    span: Span,
    by: By<'r>,
}

/// Who says it.
#[derive(Clone, Copy)]
enum By<'r> {
    Run,
    Requires(&'r StepId),
    Ensures(&'r StepId),
    UndoRequires(&'r StepId),
    UndoEnsures(&'r StepId),
}

/// What one undo says of one system.
#[derive(Clone, Copy, Default)]
struct Undone<'r> {
    requires: Option<Mark<'r>>,
    ensures: Option<Mark<'r>>,
}

/// One system through the steps.
#[derive(Default)]
struct Course<'r> {
    /// What is known of it after the steps so far.
    known: Option<Mark<'r>>,
    /// The nearest undo so far that says something of the system, by the index of its step, if that is a requirement
    /// which was met from wherever the run could have stopped so far.
    awaiting: Option<(usize, Mark<'r>)>,
}

impl<'r> Course<'r> {
    /// Goes past a step that says something of the system, itself or by its undo.
    fn pass(&mut self, index: usize, undone: Undone<'r>, barrier: Option<usize>, problems: &mut Problems) {
        // From a stop after this step, the undo below meets what this step's undo leaves, or else what is known now.
        let left = undone.ensures.or(undone.requires).or(self.known);
        if let Some((below, required)) = self.awaiting
            && barrier.is_none_or(|barrier| below > barrier)
            && let Some(left) = left
            && left.fact != required.fact
        {
            problems.push(broken(&required, &left));
            self.awaiting = None;
        }
        if let (Some(required), Some(known)) = (undone.requires, self.known)
            && known.fact != required.fact
        {
            problems.push(broken(&required, &known));
        }
        if undone.requires.is_some() || undone.ensures.is_some() {
            // Whatever stops later meets this undo first.
            self.awaiting = undone.requires.map(|required| (index, required));
        }
    }
}

fn broken(required: &Mark<'_>, left: &Mark<'_>) -> Diagnostic {
    let message = format!("{} `{}`, but when its turn comes, `{}` holds", required.by, required.fact, left.fact);
    let help = match left.by {
        By::Run => {
            "require nothing of this system in the undo, or take the fact out of the run's `requires`".to_owned()
        }
        By::Ensures(step) => {
            format!("give step `{step}`, or one between the two, an undo that ensures `{}`", required.fact)
        }
        By::Requires(_) | By::UndoRequires(_) => {
            format!(
                "say what changes it: let a step in between ensure its state, with an undo that ensures `{}`",
                required.fact
            )
        }
        By::UndoEnsures(step) => format!("the undo of step `{step}` comes first: change what one of the two says"),
    };
    Diagnostic::error(code::WAY_BACK, message)
        .at(required.span, "this cannot hold when its turn comes")
        .related(left.span, format!("{} `{}`", left.by, left.fact))
        .help(help)
}

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => write!(f, "the run requires"),
            Self::Requires(step) => write!(f, "step `{step}` requires"),
            Self::Ensures(step) => write!(f, "step `{step}` ensures"),
            Self::UndoRequires(step) => write!(f, "the undo of step `{step}` requires"),
            Self::UndoEnsures(step) => write!(f, "the undo of step `{step}` ensures"),
        }
    }
}
