//! `interlock audit bundle`: one run, with the proof of it, in one file for people elsewhere.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use super::verify::checked;
use super::which::find;
use crate::audit::{self, Anchors, Bundle, Bundled, Home};
use crate::cli::failure::{Failure, put, say};
use crate::cli::whole::{Existing, Readers, write_by};
use crate::cli::{Format, Global};

/// Writes one file with everything that is recorded of a run, and the proof that its entries are in the log.
///
/// In it are the run's entries as they were logged, its plan, the requests and the policies by which it went, the recorded output of its
/// steps, a signed checkpoint of the log, and the hashes that lead from the entries to it. `interlock audit verify FILE` checks it on any
/// machine, with nothing else but the log's public key. It is a plain tar archive; docs/audit-format.md says what is in it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit bundle 019a8f6e -o change.bundle     the whole id, or as much of it as is unique
  tar tf change.bundle                                 what is in it
  interlock audit verify change.bundle                 elsewhere: whether it holds

A run that is not over can be bundled too; the bundle says so.
Exit codes: 0 written, 11 written, but it does not verify, 1 the log cannot be used, 2 there is no such run, or the file is there.")]
pub struct MakeBundle {
    /// The run's id, or the beginning of it
    run: String,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

/// Why a bundle was not written.
enum Problem {
    Bundle(audit::BundleError),
    Io(io::Error),
    Failure(Failure),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl MakeBundle {
    pub(super) fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        let run = find(home, &self.run)?;
        let mut made = None;
        let written = write_by(Readers::Owner, &self.output, Existing::by_force(self.force), |file, unfinished| {
            let mut into = BufWriter::with_capacity(64 * 1024, file);
            let bundled = audit::bundle(home, &run, &mut into).map_err(Problem::Bundle)?;
            into.flush()?;
            // It is looked at as whoever gets it will, before it has its name.
            let opened = Bundle::open(unfinished).map_err(|error| Problem::Io(io::Error::other(error)))?;
            let bundle = opened.map_err(|problem| Problem::Io(io::Error::other(problem)))?;
            let (report, _) = checked(global, &bundle, &Anchors::default(), None).map_err(Problem::Failure)?;
            made = Some((bundled, report));
            Ok(())
        });
        let shown = self.output.display();
        written.map_err(|problem| match problem {
            Problem::Failure(failure) => failure,
            Problem::Bundle(error) => Failure::Internal(format!("no bundle was made: {error}")),
            Problem::Io(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Failure::Wrong(format!("{shown} is there already; name another file, or say --force"))
            }
            Problem::Io(error) => Failure::Internal(format!("{shown} cannot be written: {error}")),
        })?;
        let (Bundled { state, entries, log_entries, missing }, report) =
            made.expect("what was written was made before");
        for name in &missing {
            say(&format!("interlock: warning: `{name}` is not there any more, so it is not in the bundle"));
        }
        let failures = report.report.findings.iter().filter(|found| found.severity == audit::Severity::Failure);
        for finding in failures {
            say(&format!("interlock: warning: {finding}"));
        }
        match global.format {
            Format::Human => say(&format!(
                "interlock: wrote {shown}: run {run}, {state}, {entries} of {log_entries} entries; `interlock audit verify {shown}` checks it \
                 on any machine, with the log's key (`--key`, from keys/log.pub)"
            )),
            Format::Json => {
                let line = serde_json::json!({
                    "file": shown.to_string(), "run": run, "state": state, "entries": entries, "log_entries": log_entries,
                    "missing": missing, "verifies": report.report.verifies(),
                });
                put(&format!("{line}\n"))?;
            }
        }
        Ok(if report.report.verifies() { ExitCode::SUCCESS } else { ExitCode::from(11) })
    }
}
