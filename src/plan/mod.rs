//! Runbook and parameters to a plan: exactly what would be done, as bytes that people can read and sign, and reading it back.
//! Pure. The same runbook and parameters always give the same bytes.

mod binding;
mod deviations;
mod programs;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_yaml::with::singleton_map_recursive;

use crate::id::{Digest, Fact};
use crate::runbook::holds::{Hold, holds};
use crate::runbook::model::{Action, Probe, Runbook, SecretSource, Side, State, Step};
use crate::runbook::{Value, check_again};
use crate::yaml::form::{self, Misform};
use crate::yaml::write;
pub use binding::{AskedBy, Binding, Here, LogHead, PolicyMark};
pub use deviations::Planned;
pub use programs::{Executes, ProgramFile, Programs};

/// The version of the plan format.
pub const VERSION: u32 = 1;

/// Exactly what would be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of the plan format, [`VERSION`].
    pub interlock_plan: u32,
    /// What it is for; none in a plan that is only shown, or that is made and run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// Where this run is to leave the procedure; only in a plan that is bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deviations: Vec<Planned>,
    /// The runbook's file, as it was named.
    pub source: String,
    /// SHA-256 of that file's bytes.
    pub source_digest: Digest,
    /// The parameters' values; secrets are never among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Value>,
    /// Where the secrets come from when the run starts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretSource>,
    /// The programs that the steps execute, as they were when the plan was made.
    #[serde(default, skip_serializing_if = "Programs::is_empty")]
    pub programs: Programs,
    /// The runbook with every value filled in.
    pub runbook: Runbook,
}

/// Why the bytes of a plan could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not YAML of the expected shape.
    #[error("this is not a plan that this program wrote: {0}")]
    Shape(String),
    /// Not in the one form in which plans are written: somebody changed it.
    #[error(
        "this is not as this program writes a plan, so it was changed by hand or by another version; make a new plan"
    )]
    Form,
    /// Larger than what is read.
    #[error(
        "this plan is too large: {0}; make runbooks of fewer steps out of its runbook, and move data into files of their own"
    )]
    TooLarge(Misform),
    /// It says what no runbook that was checked could say.
    #[error("this plan was not made from a runbook that passed its check: {0}; make a new plan")]
    Wrong(String),
    /// A later version.
    #[error("this plan has version {0}, and this program knows version {VERSION} only; use a newer interlock")]
    Version(u32),
}

/// A plan with what follows from it. What the machine works on.
#[derive(Debug, Clone)]
pub struct Procedure {
    /// The plan.
    pub plan: Plan,
    /// From where to where each fact is held.
    pub holds: Vec<Hold>,
}

impl Plan {
    /// The plan's bytes. Deterministic: maps are sorted, and equal plans have equal bytes.
    pub fn to_yaml(&self) -> Result<String, PlanError> {
        write::to_yaml(self).map_err(PlanError::Shape)
    }

    /// The systems as they stand in the plan's bytes, further to the left: how each fact is told.
    ///
    /// # Errors
    /// As [`Plan::to_yaml`].
    pub fn systems_to_yaml(&self) -> Result<String, PlanError> {
        write::to_yaml(&self.runbook.systems).map_err(PlanError::Shape)
    }

    /// The bytes of a plan that is to be signed or run: none that [`Self::from_file`] would not read again.
    ///
    /// # Errors
    /// It is too large.
    pub fn to_file(&self) -> Result<String, PlanError> {
        let text = self.to_yaml()?;
        form::check(&text)?;
        Ok(text)
    }

    /// Reads a plan back from its bytes, which this program wrote and nobody else could change.
    pub fn from_yaml(text: &str) -> Result<Self, PlanError> {
        let plan: Self = singleton_map_recursive::deserialize(serde_yaml::Deserializer::from_str(text))
            .map_err(|error| PlanError::Shape(error.to_string()))?;
        if plan.interlock_plan == VERSION { Ok(plan) } else { Err(PlanError::Version(plan.interlock_plan)) }
    }

    /// Reads a plan from a file that anybody may have had in hands: only in the form in which it is written, so that each byte is seen to
    /// be there, and only what a runbook that was checked can say.
    ///
    /// # Errors
    /// As said; nothing of it is to be used then.
    pub fn from_file(text: &str) -> Result<Self, PlanError> {
        form::check(text)?;
        let plan = Self::from_yaml(text)?;
        if plan.to_yaml()? != text {
            return Err(PlanError::Form);
        }
        let mut wrong = check_again(&plan.runbook).err().unwrap_or_default();
        wrong.extend(plan.programs.wrong(&plan.runbook));
        wrong.extend(plan.binding.as_ref().and_then(Binding::wrong));
        wrong.extend(deviations::wrong(&plan));
        if wrong.is_empty() { Ok(plan) } else { Err(PlanError::Wrong(wrong.join("; "))) }
    }

    /// Whether a text is meant to be a plan, and not a runbook.
    pub fn is_meant(text: &str) -> bool {
        text.lines().any(|line| line.starts_with("interlock_plan:"))
    }
}

impl From<Misform> for PlanError {
    fn from(misform: Misform) -> Self {
        match misform {
            Misform::OtherForm => Self::Form,
            Misform::TooLong | Misform::TooMany | Misform::TooDeep => Self::TooLarge(misform),
        }
    }
}

impl Procedure {
    /// Works out the holds of a plan.
    pub fn new(plan: Plan) -> Self {
        let holds = holds(&plan.runbook);
        Self { plan, holds }
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.plan.runbook.steps
    }

    /// What must hold before and while this step runs: the run's own requirements and the step's, each once.
    pub fn required_by(&self, step: usize) -> Vec<Fact> {
        let run_wide = self.plan.runbook.requires.iter();
        let mut facts: Vec<Fact> = Vec::new();
        for fact in run_wide.chain(&self.steps()[step].requires) {
            if !facts.contains(fact) {
                facts.push(fact.clone());
            }
        }
        facts
    }

    /// Every fact that the plan speaks of, each once, in order of appearance.
    pub fn facts(&self) -> Vec<Fact> {
        let mut facts: Vec<Fact> = Vec::new();
        let steps = self.steps().iter().filter(|step| step.is_applicable()).flat_map(|step| {
            let undo = step.way_back.undo().into_iter().flat_map(|undo| undo.requires.iter().chain(&undo.ensures));
            step.requires.iter().chain(&step.ensures).chain(undo)
        });
        for fact in self.plan.runbook.requires.iter().chain(steps) {
            if !facts.contains(fact) {
                facts.push(fact.clone());
            }
        }
        facts
    }

    /// The state that a fact speaks of.
    ///
    /// # Panics
    /// If the fact is not one of the plan's: the checker refuses a runbook that names such a fact.
    pub fn state(&self, fact: &Fact) -> &State {
        let system = self.plan.runbook.systems.get(&fact.system);
        system
            .and_then(|system| system.states.get(&fact.state))
            .expect("the checker refuses a fact whose system or state is not declared")
    }

    /// The probe that tells a fact, on the side that is asked for.
    ///
    /// # Panics
    /// As [`Procedure::state`].
    pub fn probe(&self, fact: &Fact, side: Side) -> &Probe {
        let state = self.state(fact);
        match side {
            Side::Before => &state.before,
            Side::While => &state.held,
        }
    }
}

/// What a step does, as one line for people. A script is named by its digest.
pub fn action_in_words(action: &Action) -> String {
    match action {
        Action::Run(run) => command_line(&run.argv),
        Action::Script(script) => {
            let lines = match script.text.lines().count() {
                1 => "1 line".to_owned(),
                more => format!("{more} lines"),
            };
            format!("script of {lines}, sha256 {}", Digest::of(script.text.as_bytes()))
        }
        Action::Wait => "wait".to_owned(),
        Action::Manual(task) => task.clone(),
    }
}

/// An argument list as one could type it at a shell.
pub fn command_line(argv: &[String]) -> String {
    let mut line = String::new();
    for word in argv {
        if !line.is_empty() {
            line.push(' ');
        }
        let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(&b));
        if plain {
            line.push_str(word);
        } else {
            line.push('\'');
            line.push_str(&word.replace('\'', r"'\''"));
            line.push('\'');
        }
    }
    line
}

#[cfg(test)]
mod tests;
