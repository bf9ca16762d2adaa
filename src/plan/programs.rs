//! The programs that a plan's steps execute: which files, and the digest of each. Who signs the plan signs these bytes with it, and a
//! file that is another one later is not executed. Taken at the door, since finding a file is not for a pure room.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{Fingerprint, StepId};
use crate::plan::Plan;
use crate::runbook::model::{Action, Step};

/// A file that a step executes, or that the kernel executes for it: a program, a script, a script's interpreter, the shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramFile {
    /// Its absolute path, as the step's `PATH` leads to it; links are not resolved. A name that no folder of the `PATH` has stands as it
    /// is.
    pub path: String,
    /// What it was when the plan was made.
    pub digest: Fingerprint,
    /// The path of the interpreter that its first line names, if it is a script. It is one of the files too; that one's own
    /// interpreter is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
}

/// What a step executes; a path of one of the [`ProgramFile`]s.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Executes {
    /// By its action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// By its undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
}

/// The programs of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Programs {
    /// The files, by their paths, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ProgramFile>,
    /// Which of them each step executes. A step that executes nothing, or is not applicable, is not there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub steps: BTreeMap<StepId, Executes>,
}

impl Programs {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.steps.is_empty()
    }

    /// The file with this path.
    pub fn file(&self, path: &str) -> Option<&ProgramFile> {
        self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok().map(|at| &self.files[at])
    }
}

impl Plan {
    /// The program files that were no programs when the plan was made, each with the first step that executes it and, if there is
    /// one, the step in front of that one which says that it makes the file.
    pub fn not_there_yet(&self) -> Vec<(&ProgramFile, &StepId, Option<&StepId>)> {
        let mut found = Vec::new();
        for file in &self.programs.files {
            if let Fingerprint::Bytes(_) = file.digest {
                continue;
            }
            let steps = &self.runbook.steps;
            let Some(at) = steps.iter().position(|step| self.executes(step, &file.path)) else { continue };
            let made_by = steps[..at].iter().find(|step| step.replaces.iter().any(|path| names(path, &file.path)));
            found.push((file, &steps[at].id, made_by.map(|step| &step.id)));
        }
        found
    }

    /// Whether a step or its undo executes this file, itself or as an interpreter.
    fn executes(&self, step: &Step, path: &str) -> bool {
        let Some(executes) = self.programs.steps.get(&step.id) else { return false };
        let is_it = |executed: &String| {
            executed == path
                || self.programs.file(executed).is_some_and(|file| file.interpreter.as_deref() == Some(path))
        };
        executes.action.iter().chain(&executes.undo).any(is_it)
    }
}

/// Whether a path that a step replaces is the file that a plan speaks of; one that was not found stands there by its name alone.
fn names(replaced: &std::path::Path, planned: &str) -> bool {
    if planned.contains('/') {
        replaced == std::path::Path::new(planned)
    } else {
        replaced.file_name().is_some_and(|name| name == planned)
    }
}

/// Whether an action starts a process.
pub fn starts_a_process(action: &Action) -> bool {
    match action {
        Action::Run(_) | Action::Script(_) => true,
        Action::Wait | Action::Manual(_) => false,
    }
}
