//! `interlock audit log`: the runs, a line each, the newest first.

use std::process::ExitCode;

use clap::ValueEnum;
use clap::builder::{EnumValueParser, TypedValueParser as _};

use super::filter::{Filter, begun_or_taken_up};
use super::{archived_in_words, row, unreadable};
use crate::audit::{self, Home, Turn, WholeRun, in_parallel};
use crate::cli::failure::{Audience, Failure, put_to, say};
use crate::cli::{AnyFormat, Format};
use crate::history::entry::Who;
use crate::id::Digest;
use crate::plan::Plan;
use crate::report::summary::{At, Summary};

/// Lists the runs, a line each, the newest first: when, how it ended, how long it took, how often the procedure was left, of which runbook,
/// by whom.
///
/// It checks that what it reads is one chain. That nothing was cut off, and nothing made anew, is what `interlock audit verify` shows.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit log --last 20
  interlock audit log --since 7d --verdict halted --verdict refused
  interlock audit log --runbook postgres-offline-change --label env=production
  interlock audit log --deviation                      every run in which the procedure was left
  interlock audit log --deviation skip --operator amy
  interlock audit log --fact 'database down' --host db1
  interlock audit log --since 2026-11-01 --until 2026-11-30 --format csv > november.csv
  interlock audit log --format json | jq 'select(.verdict != \"completed\")'")]
pub struct List {
    /// How the list is written: lines for people, one JSON object a line, or a table for spreadsheets
    #[arg(long = "format", id = "format", value_name = "FORMAT", default_value = "human")]
    #[arg(value_parser = EnumValueParser::<ListFormat>::new().map(AnyFormat::List))]
    format: AnyFormat,
    #[command(flatten)]
    filter: Filter,
    /// Only this many of those that fit, the newest
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

/// How the list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Lines for people
    Human,
    /// One JSON object a line
    Json,
    /// A table (RFC 4180)
    Csv,
}

impl List {
    pub(super) fn go(&self, home: &Home) -> Result<ExitCode, Failure> {
        let format = match self.format {
            AnyFormat::List(format) => format,
            // `interlock --format json audit log`
            AnyFormat::Usual(Format::Json) => ListFormat::Json,
            AnyFormat::Usual(Format::Human) | AnyFormat::Export(_) => ListFormat::Human,
        };
        let mut left = self.last.unwrap_or(usize::MAX);
        let (mut any, mut listed) = (false, false);
        let mut runs = audit::runs(home).map_err(unreadable)?;
        if format == ListFormat::Csv && put_to(row::CSV_HEAD)? == Audience::Gone {
            return Ok(ExitCode::SUCCESS);
        }
        while left > 0
            && let Some(some) = runs.more().map_err(unreadable)?
        {
            any = true;
            let mut rows = String::new();
            for row in in_parallel(&some, |run| self.row(format, home, run)) {
                let Some(row) = row? else { continue };
                if left == 0 {
                    break;
                }
                left -= 1;
                if !listed && format == ListFormat::Human {
                    rows.push_str(row::HEAD);
                }
                listed = true;
                rows.push_str(&row);
            }
            if put_to(&rows)? == Audience::Gone {
                return Ok(ExitCode::SUCCESS);
            }
        }
        if !listed && format == ListFormat::Human {
            put_to(if any { "no run fits\n" } else { "no runs yet\n" })?;
        }
        if left > 0
            && let Some(words) = archived_in_words(home)
        {
            say(&format!("interlock: {words}"));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The run as a row, if it fits.
    fn row(&self, format: ListFormat, home: &Home, run: &WholeRun) -> Result<Option<String>, Failure> {
        let Some(summary) = self.summary(format, home, run)? else { return Ok(None) };
        Ok(Some(match format {
            ListFormat::Human => row::human(&summary),
            ListFormat::Json => row::json(&summary),
            ListFormat::Csv => row::csv(&summary),
        }))
    }

    fn summary(&self, format: ListFormat, home: &Home, run: &WholeRun) -> Result<Option<Summary>, Failure> {
        if !self.filter.may_fit(run) {
            return Ok(None);
        }
        let strictly = |line: &audit::Skimmed| line.entry().map_err(|problem| damaged(line.seq, &problem));
        let first = strictly(&run.lines[0])?;
        let mut summary = Summary::new(run.run.clone(), &first);
        let mut operators: Vec<Who> = vec![Who::clone(&first.who)];
        for line in begun_or_taken_up(run).skip(1) {
            operators.push(Who::clone(&strictly(line)?.who));
        }
        for (at, line) in run.lines.iter().enumerate() {
            let event = match at {
                0 => first.event.clone(),
                _ => line.event().map_err(|problem| damaged(line.seq, &problem))?,
            };
            summary.take(&event, || moment(line)).map_err(|problem| damaged(line.seq, &problem))?;
            if at == 0 && self.is_out_already(&summary, &operators, run) {
                return Ok(None);
            }
        }
        let shows_labels = match format {
            ListFormat::Human => self.filter.asks_for_labels(),
            ListFormat::Json | ListFormat::Csv => true,
        };
        if shows_labels
            && !run.lines.iter().any(|line| line.turn == Turn::Opened)
            && let Some(plan) = summary.plan.as_ref().and_then(|digest| kept_plan(home, run, digest))
        {
            summary.labels = plan.runbook.labels;
        }
        let fits = self.filter.fits_opening(&summary, &operators) && self.filter.fits_end(&summary);
        Ok(fits.then_some(summary))
    }

    /// Whether the opening rules it out: what comes after can add the persons whom later policies knew, and nothing else.
    fn is_out_already(&self, summary: &Summary, operators: &[Who], run: &WholeRun) -> bool {
        let can_change = run.lines[0].turn != Turn::Opened || operators.len() > 1;
        !can_change && !self.filter.fits_opening(summary, operators)
    }
}

fn moment(line: &audit::Skimmed) -> Result<At, String> {
    if let Some(stamp) = line.stamp() {
        return Ok(At { time: stamp.time.to_owned(), mono: stamp.mono, boot: stamp.boot.to_owned() });
    }
    line.entry().map(|entry| At { time: entry.time.to_string(), mono: entry.mono, boot: entry.boot.to_string() })
}

/// The plan that was kept for a run that was refused, if it is the recorded one: the refusal itself has no labels.
fn kept_plan(home: &Home, run: &WholeRun, digest: &Digest) -> Option<Plan> {
    let bytes = std::fs::read(home.run(&run.run).join("plan.yaml")).ok()?;
    let text = String::from_utf8(bytes).ok().filter(|text| Digest::of(text.as_bytes()) == *digest)?;
    Plan::from_yaml(&text).ok()
}

/// An entry that was read and is none.
pub(super) fn damaged(entry: u64, problem: &str) -> Failure {
    Failure::Internal(format!(
        "the audit log is damaged or was changed: entry {entry}: {problem}. Run `interlock audit verify` for all there is to find"
    ))
}
