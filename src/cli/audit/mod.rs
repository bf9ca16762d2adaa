//! `interlock audit`: what was done, and whether the record of it was changed.

mod archive;
mod archives;
mod bundle;
mod checkpoint;
mod export;
mod filter;
mod key;
mod list;
mod metrics;
mod play;
mod report;
mod row;
mod show;
mod signatures;
mod transcripts;
mod verify;
mod which;

use std::process::ExitCode;

use clap::Subcommand;

use crate::audit::{self, Home, ReadError};
use crate::cli::failure::Failure;
use crate::cli::{Global, place};

pub(super) use export::ExportFormat;
pub(super) use list::ListFormat;

/// Reads the audit log: what was done, by whom, and whether the record was changed.
// Not put together late, as the other commands are: two of these declare `--format` again, which clap has to see before it hands it on.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  interlock audit log --last 5
  interlock audit show 019a8f6e
  interlock audit report 019a8f6e -o run.html
  interlock audit verify")]
pub enum Audit {
    Log(list::List),
    Show(show::Show),
    Report(report::Report),
    Verify(verify::Verify),
    Export(export::Export),
    Play(play::Play),
    Metrics(metrics::Metrics),
    Checkpoint(checkpoint::MakeCheckpoint),
    Bundle(bundle::MakeBundle),
    Archive(archive::MakeArchive),
    Key(key::Key),
}

impl Audit {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        // A bundle is checked without any home.
        let home = || place::home(global);
        match self {
            Self::Log(list) => list.go(&home()?),
            Self::Show(show) => show.go(global, &home()?),
            Self::Report(report) => report.go(global, &home()?),
            Self::Verify(verify) => verify.go(global),
            Self::Export(export) => export.go(&home()?),
            Self::Play(play) => play.go(global, &home()?),
            Self::Metrics(metrics) => metrics.go(&home()?),
            Self::Checkpoint(checkpoint) => checkpoint.go(global, &home()?),
            Self::Bundle(bundle) => bundle.go(global, &home()?),
            Self::Archive(archive) => archive.go(global, &home()?),
            Self::Key(key) => key.go(global, &home()?),
        }
    }
}

/// Where the runs are that are not in the log any more, in words; none where nothing was archived.
fn archived_in_words(home: &Home) -> Option<String> {
    let base = audit::archived(home).ok().flatten()?;
    let folder = &base.archive().folder;
    Some(format!(
        "entries 1 to {}, up to {}, are archived, the last of them in {folder}; read them there: `interlock --home {folder} audit log`",
        base.entries(),
        base.time()
    ))
}

/// The same after something else that is said.
fn and_archived(home: &Home) -> String {
    archived_in_words(home).map(|words| format!("; {words}")).unwrap_or_default()
}

fn unreadable(error: ReadError) -> Failure {
    Failure::Internal(error.to_string())
}
