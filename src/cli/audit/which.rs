//! Which run is meant by an id, the beginning of one, or `last`.

use std::collections::BTreeSet;

use super::{and_archived, unreadable};
use crate::audit::{self, Home};
use crate::cli::failure::Failure;
use crate::id::RunId;

/// What stands for the run that began last.
const LAST: &str = "last";
/// How many runs are named where a beginning fits several.
const NAMED: usize = 5;

/// The run whose id this is or begins with; of `last`, the one that began last.
///
/// # Errors
/// No run fits, or more than one does, or the log cannot be read.
pub(super) fn find(home: &Home, given: &str) -> Result<RunId, Failure> {
    let mut fitting: BTreeSet<RunId> = BTreeSet::new();
    let mut newest = None;
    for found in audit::read(home).map_err(unreadable)? {
        let found = match found {
            Ok(found) => found,
            // The command says so when it gets there; up to here the log is whole.
            Err(error) if fitting.is_empty() => return Err(unreadable(error)),
            Err(_) => break,
        };
        if let Some(run) = found.recorded.entry.run
            && (given == LAST || run.as_str().starts_with(given))
            && fitting.insert(run.clone())
        {
            newest = Some(run);
        }
    }
    if given == LAST {
        return newest.ok_or_else(|| Failure::Wrong(format!("there are no runs yet{}", and_archived(home))));
    }
    let mut all = fitting.iter();
    match (all.next(), fitting.len()) {
        (Some(run), 1) => Ok(run.clone()),
        (None, _) => Err(Failure::Wrong(format!(
            "there is no run `{given}`; `interlock audit log` lists them{}",
            and_archived(home)
        ))),
        (Some(_), several) => Err(Failure::Wrong(format!(
            "`{given}` fits {several} runs; give more of the id: {}",
            fitting.iter().take(NAMED).map(RunId::to_string).collect::<Vec<_>>().join(", ")
        ))),
    }
}
