//! `interlock audit log`: the runs, a line each.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::unreadable;
use crate::audit::{self, Home};
use crate::cli::failure::{Failure, put};
use crate::cli::{Format, Global};
use crate::diagnostic::escape::escape_line;
use crate::history::entry::Entry;
use crate::history::event::Event;
use crate::history::state::{Phase, State, Verdict};
use crate::id::RunId;
use crate::report::story::{by_whom, cause_in_words};

/// Lists the runs, a line each, the newest last.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit log
  interlock audit log --last 5
  interlock audit log --format json | jq 'select(.verdict != \"completed\")'")]
pub struct List {
    /// Only this many, the newest
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

/// What `audit log` says of a run.
struct Summary {
    run: RunId,
    began: String,
    runbook: String,
    operator: String,
    state: State,
    /// The event that could not follow, if one was found.
    illegal: Option<String>,
}

impl List {
    pub(super) fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        let mut order = Vec::new();
        let mut runs: BTreeMap<RunId, Summary> = BTreeMap::new();
        for found in audit::read(home).map_err(unreadable)? {
            let entry = found.map_err(unreadable)?.recorded.entry;
            let Some(run) = &entry.run else { continue };
            let summary = runs.entry(run.clone()).or_insert_with(|| {
                order.push(run.clone());
                Summary {
                    run: run.clone(),
                    began: entry.time.clone(),
                    runbook: String::new(),
                    operator: format!("{}@{}", by_whom(&entry.who), entry.who.host),
                    state: State::default(),
                    illegal: None,
                }
            });
            summary.take(&entry);
        }
        let skipped = self.last.map_or(0, |last| order.len().saturating_sub(last));
        for run in order.iter().skip(skipped) {
            if let Some(summary) = runs.get(run) {
                put(&summary.line(global.format))?;
            }
        }
        if order.is_empty() && global.format == Format::Human {
            put("no runs yet\n")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Summary {
    fn take(&mut self, entry: &Entry) {
        if let Event::RunOpened { runbook, .. } | Event::RunRefused { runbook, .. } = &entry.event {
            self.runbook.clone_from(runbook);
        }
        if let Err(illegal) = self.state.apply(&entry.event) {
            self.illegal.get_or_insert(illegal.to_string());
        }
    }

    fn verdict(&self) -> (&'static str, String) {
        if let Some(illegal) = &self.illegal {
            return ("illegal", illegal.clone());
        }
        match self.state.phase {
            Phase::Over(Verdict::Completed) => match self.state.overrides.used.len() {
                0 => ("completed", String::new()),
                1 => ("completed", "with 1 DEVIATION".to_owned()),
                more => ("completed", format!("with {more} DEVIATIONS")),
            },
            Phase::Over(Verdict::Undone) => ("undone", String::new()),
            Phase::Over(Verdict::Abandoned) => ("abandoned", String::new()),
            Phase::Over(Verdict::Halted(cause)) => ("halted", cause_in_words(cause).to_owned()),
            Phase::Over(Verdict::Refused(cause)) => ("refused", cause_in_words(cause).to_owned()),
            Phase::New
            | Phase::Ready { .. }
            | Phase::Acting { .. }
            | Phase::Verifying { .. }
            | Phase::Failed { .. } => {
                let at = self.state.steps.last().map(|step| format!("at step `{}`", step.id)).unwrap_or_default();
                ("open", at)
            }
        }
    }

    fn line(&self, format: Format) -> String {
        let (verdict, why) = self.verdict();
        match format {
            Format::Human => format!(
                "{}  {}  {:<9}  {}  by {}{}\n",
                self.run,
                &self.began.get(..19).unwrap_or(&self.began).replace('T', " "),
                verdict,
                escape_line(&self.runbook),
                escape_line(&self.operator),
                if why.is_empty() { String::new() } else { format!("  ({})", escape_line(&why)) },
            ),
            Format::Json => {
                let line = serde_json::json!({
                    "run": self.run, "began": self.began, "verdict": verdict, "why": why,
                    "runbook": self.runbook, "operator": self.operator,
                });
                format!("{line}\n")
            }
        }
    }
}
