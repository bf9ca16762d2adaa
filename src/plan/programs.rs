//! The programs that a plan's steps execute: which files, and the digest of each. Who signs the plan signs these bytes with it, and a
//! file that is another one later is not executed. Taken at the door, since finding a file is not for a pure room.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{Fingerprint, StepId};
use crate::plan::Plan;
use crate::runbook::model::{Action, Runbook, Step};

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

    /// What is wrong with them: the program of each step and undo is to be there, with its file, and its interpreter's.
    pub(super) fn wrong(&self, runbook: &Runbook) -> Vec<String> {
        let mut wrong = Vec::new();
        if !self.files.is_sorted_by(|one, next| one.path < next.path) {
            wrong.push("the program files are not in order".to_owned());
        }
        let none = Executes::default();
        for step in runbook.steps.iter().filter(|step| step.is_applicable()) {
            let executes = self.steps.get(&step.id).unwrap_or(&none);
            let undo = step.way_back.undo().map(|undo| &undo.action);
            for (action, path) in [(Some(&step.action), &executes.action), (undo, &executes.undo)] {
                if action.is_some_and(starts_a_process) != path.is_some() {
                    wrong.push(format!("it does not say which program step `{}` executes", step.id));
                }
            }
        }
        let executed = self.steps.values().flat_map(|executes| executes.action.iter().chain(&executes.undo));
        for path in executed.chain(self.files.iter().filter_map(|file| file.interpreter.as_ref())) {
            if self.file(path).is_none() {
                wrong.push(format!("it does not have the program file `{path}`"));
            }
        }
        wrong
    }

    /// In what these programs, as they were planned, differ from what is there now.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for (step, planned) in &self.steps {
            let found = now.steps.get(step).cloned().unwrap_or_default();
            for (what, planned, found) in
                [("step", &planned.action, &found.action), ("the undo of step", &planned.undo, &found.undo)]
            {
                if planned != found {
                    let [planned, found] = [planned, found].map(|path| path.as_deref().unwrap_or("nothing"));
                    differences
                        .push(format!("{what} `{step}` was to execute `{planned}`, and would execute `{found}`"));
                }
            }
        }
        for planned in &self.files {
            let path = &planned.path;
            match now.file(path) {
                Some(found) if found.digest != planned.digest => {
                    differences.push(format!("`{path}` was {}, and is {}", planned.digest, found.digest));
                }
                Some(found) if found.interpreter != planned.interpreter => {
                    let [planned, found] =
                        [&planned.interpreter, &found.interpreter].map(|path| path.as_deref().unwrap_or("nothing"));
                    differences.push(format!("`{path}` was executed by `{planned}`, and is by `{found}`"));
                }
                Some(_) => {}
                None => differences.push(format!("`{path}` is not executed any more")),
            }
        }
        for found in now.files.iter().filter(|found| self.file(&found.path).is_none()) {
            differences.push(format!("`{}` would be executed, and is not in the plan", found.path));
        }
        differences
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
fn starts_a_process(action: &Action) -> bool {
    match action {
        Action::Run(_) | Action::Script(_) => true,
        Action::Wait | Action::Manual(_) => false,
    }
}
