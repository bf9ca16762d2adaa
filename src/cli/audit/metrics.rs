//! `interlock audit metrics`: the log as numbers, for monitoring.

use std::path::PathBuf;
use std::process::ExitCode;

use super::unreadable;
use crate::audit::{self, Home, ReadError};
use crate::cli::failure::{Failure, put, say};
use crate::cli::status::Standing;
use crate::cli::whole::{self, Existing};
use crate::report::metrics::{Seen, Tally, Verifies};

/// Writes what monitoring wants to know, in Prometheus' text format, for node_exporter's textfile collector.
///
/// Runs by runbook and verdict, deviations by kind, refused attempts, open runs with their times, held locks, whether the log verifies
/// and how far a checkpoint beside it goes. The log is verified each time; where it does not verify, nothing is said of the runs.
/// docs/audit.md lists each metric and alerts that are worth having.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit metrics
  interlock audit metrics -o /var/lib/prometheus/node-exporter/interlock.prom

Exit codes: 0 nothing wrong, 1 the log cannot be read, 2 the file cannot be written, 11 the log does not verify.")]
pub struct Metrics {
    /// Write to this file instead of standard output: whole or not at all, in place of the one that is there, readable for all
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Metrics {
    pub(super) fn go(&self, home: &Home) -> Result<ExitCode, Failure> {
        let (tally, seen) = collect(home)?;
        let text = tally.text(&seen);
        match &self.output {
            Some(path) => whole::write(path, text.as_bytes(), Existing::IsReplaced).map_err(|error| {
                Failure::Wrong(format!("the metrics cannot be written to {}: {error}", path.display()))
            })?,
            None => put(&text)?,
        }
        if seen.verifies == Some(Verifies::No) {
            say("interlock: the audit log does not verify; `interlock audit verify` says what is wrong");
            return Ok(ExitCode::from(11));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn collect(home: &Home) -> Result<(Tally, Seen), Failure> {
    let mut tally = Tally::default();
    let mut seen = Seen { program: env!("CARGO_PKG_VERSION"), ..Seen::default() };
    let entries = match audit::read(home) {
        // A machine on which nothing has run yet.
        Err(ReadError::NoLog { .. }) => return Ok((tally, seen)),
        entries => entries.map_err(unreadable)?,
    };
    let mut illegal = false;
    for found in entries {
        match found {
            Ok(found) if !illegal => illegal = tally.take(&found.recorded.entry).is_err(),
            Ok(_) => {}
            // Verifying, below, finds it as well.
            Err(ReadError::Damaged { .. }) => break,
            Err(error @ (ReadError::Io { .. } | ReadError::NoLog { .. } | ReadError::ArchivedMeanwhile { .. })) => {
                return Err(unreadable(error));
            }
        }
    }
    let report = audit::verify(home, |_, _, _| Ok(())).map_err(unreadable)?;
    seen.verifies = Some(if report.verifies() && !illegal { Verifies::Yes } else { Verifies::No });
    seen.anchored = report.anchored_beside.as_ref().map_or(0, |(entry, _)| *entry);
    seen.standing =
        tally.open().map(|(run, state)| (run.clone(), Standing::of(home, run, state.phase).as_str())).collect();
    Ok((tally, seen))
}
