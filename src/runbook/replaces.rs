//! What a step says it replaces: a program of which no step makes use later is probably written wrong, and then the step that was
//! meant is stopped when its turn comes.

use std::path::Path;

use super::code;
use super::lower::Places;
use super::model::{Action, Runbook, Step};
use crate::diagnostic::{Diagnostic, Problems, quoted};

/// The shell that a `script` is executed by.
const SHELL: &str = "/bin/sh";

/// Warns of each path in `replaces` that no later step, and no undo, executes.
pub(super) fn pointless(runbook: &Runbook, places: &Places, problems: &mut Problems) {
    for (at, (step, places)) in runbook.steps.iter().zip(&places.steps).enumerate() {
        for (path, place) in step.replaces.iter().zip(&places.replaces) {
            let undone = |step: &Step| step.way_back.undo().is_some_and(|undo| may_execute(&undo.action, path));
            let later = runbook.steps[at + 1..].iter().any(|step| may_execute(&step.action, path));
            if !later && !runbook.steps.iter().any(undone) {
                let message = format!("no later step executes {}", quoted(&path.display().to_string()));
                problems.push(
                    Diagnostic::warning(code::NOT_EXECUTED, message)
                        .at(*place, "nothing is checked against what it becomes")
                        .help("write the path as the later step's `run` has it; leave it if it is the interpreter of a later script"),
                );
            }
        }
    }
}

/// Whether an action may execute this file, as far as the runbook tells. A name is looked for in `PATH`, so it may be any file of
/// that name; one that is not known yet may be any.
fn may_execute(action: &Action, path: &Path) -> bool {
    match action {
        Action::Run(run) => run.argv.first().is_none_or(|name| {
            let name = Path::new(name);
            name.as_os_str().is_empty() || name == path || path.file_name().is_some_and(|last| last == name.as_os_str())
        }),
        Action::Script(_) => path == Path::new(SHELL),
        Action::Wait | Action::Manual(_) => false,
    }
}
