//! `interlock check`.

use std::process::ExitCode;

use crate::cli::failure::{Failure, put};
use crate::cli::given::GivenRunbook;
use crate::cli::{Format, Global};
use crate::diagnostic::escape::escape_line;
use crate::report::story::count;
use crate::runbook::Defaults;

/// Checks a runbook without touching the world: every mistake at once, with its place, and the order of its steps proved.
///
/// Parameters need not be given; those that are, are checked too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock check runbooks/quickstart.yaml
  interlock check change.yaml -p data_dir=/srv/pg
  interlock check change.yaml --format json | jq .code

Exit codes: 0 nothing wrong, 2 something is.")]
pub struct Check {
    #[command(flatten)]
    given: GivenRunbook,
}

impl Check {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let read = self.given.read(global, Defaults::default())?;
        if global.format == Format::Human {
            let runbook = &read.checked.runbook;
            let missing = match read.checked.missing.as_slice() {
                [] => String::new(),
                missing => format!("; to run it, give {}", missing.join(", ")),
            };
            put(&format!(
                "{}: nothing wrong: `{}`, {}, {}{missing}\n",
                escape_line(read.source.name()),
                escape_line(&runbook.name),
                count(runbook.steps.len(), "step", "steps"),
                count(runbook.systems.len(), "system", "systems")
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
