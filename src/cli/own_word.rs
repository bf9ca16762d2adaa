//! What an operator permits alone: by typing what it is about at the terminal, or by having said so on the command line.

use crate::cli::Global;
use crate::cli::approvals::command;
use crate::diagnostic::escape::escape_line;
use crate::history::deviation::Deviation;
use crate::history::event::AnsweredBy;
use crate::machine::answer::{declines, is_an_answer};
use crate::terminal::prompt;

/// What is asked of the operator.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// What.
    pub deviation: &'a Deviation,
    /// By whom.
    pub by: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// The operator permits it alone: by typing what it is about, or by having said so on the command line.
pub(super) fn own_word(global: &Global, self_approve: &[String], asked: Asked<'_>) -> Result<AnsweredBy, OwnWord> {
    let typed = match (asked.deviation, asked.deviation.step()) {
        (_, Some(step)) => step.to_string(),
        (Deviation::StaleLock { lock }, None) => lock.clone(),
        (deviation, None) => deviation.kind().to_string(),
    };
    if self_approve.contains(&typed) {
        return Ok(AnsweredBy::CommandLine);
    }
    let flag = command(&["--self-approve", &typed]);
    // A word that answers other questions permits nothing, whatever the step or the lock is called.
    let typed = if is_an_answer(&typed) { format!("permit {typed}") } else { typed };
    if global.no_input || !prompt::somebody_is_there() {
        return Err(OwnWord::NobodyThere(format!(
            "a person must permit it ({}), and there is no terminal; say {flag}",
            asked.deviation
        )));
    }
    let shown = prompt::Shown {
        text: escape_line(&format!(
            "DEVIATION: {}. Asked for by {}: {}. {}, and it is recorded so.",
            asked.deviation,
            asked.by,
            asked.reason,
            match asked.deviation {
                Deviation::BreakGlass {} => {
                    "You do it alone: others are told at once, and one of them has to review what was done"
                }
                Deviation::Skip { .. }
                | Deviation::Waive { .. }
                | Deviation::AcceptFailed { .. }
                | Deviation::AcceptInDoubt { .. }
                | Deviation::OutsideWindow {}
                | Deviation::Abandon {}
                | Deviation::StaleLock { .. }
                | Deviation::TakeOver {} => "No policy asks for anybody's signature: you permit it alone",
            }
        ))
        .to_string(),
        hint: escape_line(&format!("to permit it, type: {typed}")).to_string(),
    };
    let Ok((_withdraw, withdrawn)) = prompt::withdrawal() else {
        return Err(OwnWord::NobodyThere("no question can be asked: no file descriptor is left".to_owned()));
    };
    let is_clear = |words: &str| declines(words) || words.trim() == typed;
    match prompt::ask(&shown, is_clear, &withdrawn) {
        prompt::Answer::Words(words) if words.trim() == typed => Ok(AnsweredBy::Terminal),
        prompt::Answer::Words(_) | prompt::Answer::Nobody | prompt::Answer::Withdrawn => {
            Err(OwnWord::Declined("the operator did not permit it".to_owned()))
        }
    }
}

/// Why the operator's own word is missing.
pub(super) enum OwnWord {
    /// They were asked, and did not permit it.
    Declined(String),
    /// Nobody can be asked.
    NobodyThere(String),
}
