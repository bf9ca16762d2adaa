//! `interlock audit show`: the story of one run.

use std::process::ExitCode;
use std::sync::Arc;

use super::unreadable;
use crate::audit::{self, Home};
use crate::cli::failure::{Failure, put};
use crate::cli::{Format, Global};
use crate::diagnostic::escape::escape_line;
use crate::history::event::Event;
use crate::id::{Digest, RunId};
use crate::plan::{Plan, Procedure};
use crate::report::story::Teller;

/// Tells the story of a run: each step with its evidence, as it was recorded.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit show 019a8f6e-…                   the whole id, or as much of it as is unique
  interlock audit show 019a8f6e --format json       the entries as they are logged")]
pub struct Show {
    /// The run's id, or the beginning of it
    run: String,
}

impl Show {
    pub(super) fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        let run = self.find(home)?;
        let procedure = match plan_digest(home, &run)? {
            Some(digest) if global.format == Format::Human => plan_of(home, &run, &digest)?,
            Some(_) | None => None,
        };
        let mut teller = Teller::new(procedure.map(Arc::new));
        let mut first = true;
        for found in audit::read(home).map_err(unreadable)? {
            let recorded = found.map_err(unreadable)?.recorded;
            if recorded.entry.run.as_ref() != Some(&run) {
                continue;
            }
            if global.format == Format::Json {
                put(&format!("{}\n", recorded.line))?;
                continue;
            }
            if first {
                put(&format!("run {run}, {}\n", escape_line(recorded.entry.time.get(..10).unwrap_or_default())))?;
                first = false;
            }
            let time = recorded.entry.time.get(11..23).unwrap_or(&recorded.entry.time);
            for (at, line) in teller.tell(&recorded.entry).iter().enumerate() {
                let margin = if at == 0 { escape_line(time).into_owned() } else { " ".repeat(12) };
                put(&format!("{margin}  {line}\n"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The run that is meant: the whole id, or a beginning that only one run has.
    fn find(&self, home: &Home) -> Result<RunId, Failure> {
        let mut matching: Vec<RunId> = Vec::new();
        for found in audit::read(home).map_err(unreadable)? {
            if let Some(run) = found.map_err(unreadable)?.recorded.entry.run
                && run.as_str().starts_with(&self.run)
                && matching.last() != Some(&run)
                && !matching.contains(&run)
            {
                matching.push(run);
            }
        }
        match matching.as_slice() {
            [run] => Ok(run.clone()),
            [] => Err(Failure::Wrong(format!("there is no run `{}`; `interlock audit log` lists them", self.run))),
            several => Err(Failure::Wrong(format!(
                "`{}` fits {} runs; give more of the id: {}",
                self.run,
                several.len(),
                several.iter().take(5).map(RunId::to_string).collect::<Vec<_>>().join(", ")
            ))),
        }
    }
}

/// The digest of the plan that a run was opened with.
fn plan_digest(home: &Home, run: &RunId) -> Result<Option<Digest>, Failure> {
    for found in audit::read(home).map_err(unreadable)? {
        let entry = found.map_err(unreadable)?.recorded.entry;
        if let (Some(of), Event::RunOpened { plan, .. }) = (&entry.run, &entry.event)
            && of == run
        {
            return Ok(Some(plan.clone()));
        }
    }
    Ok(None)
}

/// The plan of a run, if it still lies beside the log as it was recorded.
fn plan_of(home: &Home, run: &RunId, digest: &Digest) -> Result<Option<Procedure>, Failure> {
    let path = home.run(run).join("plan.yaml");
    let Ok(bytes) = std::fs::read(&path) else {
        put(&format!("      the plan is not in {} any more, so titles are missing\n", path.display()))?;
        return Ok(None);
    };
    if Digest::of(&bytes) != *digest {
        put(&format!("      {} IS NOT THE PLAN THAT WAS RUN: its digest is not the recorded one\n", path.display()))?;
        return Ok(None);
    }
    let plan = String::from_utf8(bytes).ok().and_then(|text| Plan::from_yaml(&text).ok());
    Ok(plan.map(Procedure::new))
}
