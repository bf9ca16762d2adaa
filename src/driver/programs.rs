//! What a step executes: found in one way, whether for the plan, at a run's opening, or right before the step's start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::exec::program::{self, PATH, Program, ProgramError};
use crate::history::event;
use crate::id::{Digest, Fingerprint, StepId};
use crate::plan::{Executes, ProgramFile, Programs};
use crate::runbook::model::{Action, Runbook, Setting, Text};

/// The shell that executes the text of a `script`.
pub const SHELL: &str = "/bin/sh";

/// How many bytes of a program are read where nothing may take long: a millisecond of hashing.
const QUICK: u64 = 1 << 20;

/// What is to be found: a program as a step names it, and where the step would look for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    name: String,
    path: String,
    cwd: PathBuf,
}

/// A program and, if it is a script, its interpreter: open, with their digests.
#[derive(Debug)]
pub struct Found {
    /// What is executed.
    pub program: Program,
    /// What the kernel executes for it.
    pub interpreter: Option<Program>,
}

impl Wanted {
    /// What an action executes; none for one without a process.
    pub fn of(action: &Action) -> Option<Self> {
        let (name, setting) = match action {
            Action::Run(run) => (run.argv.first().map_or("", String::as_str), &run.setting),
            Action::Script(script) => (SHELL, &script.setting),
            Action::Wait | Action::Manual(_) => return None,
        };
        Some(Self { name: name.to_owned(), path: path_of(setting).to_owned(), cwd: setting.cwd.clone() })
    }

    /// Finds it. Reads the whole of the files, which may take long.
    ///
    /// # Errors
    /// There is no such program, or its interpreter is missing, or one of them cannot be read.
    pub fn find(&self, programs: &program::Programs) -> Result<Found, ProgramError> {
        let program = programs.find(&self.name, &self.path, &self.cwd)?;
        let interpreter = programs.interpreter(&program, &self.cwd).transpose()?;
        Ok(Found { program, interpreter })
    }

    /// As [`Self::find`], but none where that would take long.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_quickly(&self, programs: &program::Programs) -> Option<Result<Found, ProgramError>> {
        let program = match programs.find_within(QUICK, &self.name, &self.path, &self.cwd).transpose()? {
            Ok(program) => program,
            Err(error) => return Some(Err(error)),
        };
        let interpreter = match program.interpreter() {
            None => None,
            Some(path) => match programs.open_within(QUICK, &self.cwd.join(path)).transpose()? {
                Ok(interpreter) => Some(interpreter),
                Err(error) => return Some(Err(error)),
            },
        };
        Some(Ok(Found { program, interpreter }))
    }

    /// Takes the digests of it for a plan; whatever is wrong with the files is a word there. Gives the path of the program.
    fn take(&self, programs: &program::Programs, files: &mut BTreeMap<String, ProgramFile>) -> String {
        let found = programs.find(&self.name, &self.path, &self.cwd);
        let (path, digest) = fingerprint_of(&found);
        let mut interpreter = None;
        if let Ok(program) = &found
            && let Some(opened) = programs.interpreter(program, &self.cwd)
        {
            let (path, digest) = fingerprint_of(&opened);
            files.entry(path.clone()).or_insert(ProgramFile { path: path.clone(), digest, interpreter: None });
            interpreter = Some(path);
        }
        let file = ProgramFile { path: path.clone(), digest, interpreter: interpreter.clone() };
        // A file that was met as an interpreter before has no interpreter of its own there.
        files.entry(path.clone()).or_insert(file).interpreter = interpreter;
        path
    }
}

impl Found {
    /// For the record.
    pub fn program(&self) -> event::Program {
        event::Program {
            path: path_in_plan(self.program.path()),
            digest: Digest::from_bytes(self.program.digest()),
            interpreter: self.interpreter.as_ref().map(|interpreter| event::Interpreter {
                path: path_in_plan(interpreter.path()),
                digest: Digest::from_bytes(interpreter.digest()),
            }),
        }
    }
}

/// The `PATH` in which a step's program is looked for: the one that its process gets. (One that holds a secret is known only when the
/// step starts, and does not count.)
fn path_of(setting: &Setting) -> &str {
    match setting.env.get("PATH") {
        Some(Text::Plain(path)) => path,
        Some(Text::Secret(_)) | None => PATH,
    }
}

/// Takes the digests of every program that the steps of a runbook, or their undos, execute.
pub fn of_plan(runbook: &Runbook, programs: &program::Programs) -> Programs {
    let mut files: BTreeMap<String, ProgramFile> = BTreeMap::new();
    let mut known: BTreeMap<Wanted, String> = BTreeMap::new();
    let mut steps: BTreeMap<StepId, Executes> = BTreeMap::new();
    for step in runbook.steps.iter().filter(|step| step.is_applicable()) {
        let mut path_for = |action: &Action| {
            let wanted = Wanted::of(action)?;
            if let Some(path) = known.get(&wanted) {
                return Some(path.clone());
            }
            let path = wanted.take(programs, &mut files);
            known.insert(wanted, path.clone());
            Some(path)
        };
        let action = path_for(&step.action);
        let undo = step.way_back.undo().and_then(|undo| path_for(&undo.action));
        if action.is_some() || undo.is_some() {
            steps.insert(step.id.clone(), Executes { action, undo });
        }
    }
    Programs { files: files.into_values().collect(), steps }
}

/// What the file with this path is now.
pub fn fingerprint(path: &Path, programs: &program::Programs) -> Fingerprint {
    fingerprint_of(&programs.open(path)).1
}

fn fingerprint_of(found: &Result<Program, ProgramError>) -> (String, Fingerprint) {
    match found {
        Ok(program) => (path_in_plan(program.path()), Fingerprint::Bytes(Digest::from_bytes(program.digest()))),
        Err(ProgramError::NotFound { name, .. }) => (path_in_plan(Path::new(name)), Fingerprint::Absent),
        Err(ProgramError::Unusable { path, .. }) => (path_in_plan(path), Fingerprint::Unusable),
        Err(
            ProgramError::Unreadable { path, .. }
            | ProgramError::Exchangeable { path, .. }
            | ProgramError::Changed { path },
        ) => (path_in_plan(path), Fingerprint::Unreadable),
    }
}

/// A path as it stands in a plan: without doubled slashes and `.` parts, so that one file has one name.
fn path_in_plan(path: &Path) -> String {
    path.components().collect::<PathBuf>().display().to_string()
}
