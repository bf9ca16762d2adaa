//! `interlock plan`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::failure::{Failure, put};
use crate::cli::given::GivenRunbook;
use crate::cli::{Format, Global};
use crate::diagnostic::escape::{escape_line, escape_text};
use crate::driver::facts::look_at_all;
use crate::exec::program::Programs;
use crate::history::event::{Sight, Verdict};
use crate::id::Digest;
use crate::plan::Procedure;

/// Shows exactly what would be done: the runbook with every parameter filled in. Starts nothing.
///
/// With --now, also looks at each fact and says what holds at this moment. That runs the commands of the runbook's probes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock plan runbooks/quickstart.yaml
  interlock plan change.yaml -p data_dir=/srv/pg --now
  interlock plan change.yaml -p data_dir=/srv/pg -o plan.yaml

Exit codes: 0 nothing wrong, 2 a wrong runbook or arguments.")]
pub struct Plan {
    #[command(flatten)]
    given: GivenRunbook,
    /// Also say what holds at this moment
    #[arg(long)]
    now: bool,
    /// Write the plan to this file, which must not exist, instead of showing it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Plan {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let plan = self.given.read(global)?.plan(&Programs::default())?;
        let bytes = plan.to_yaml().map_err(|error| Failure::Internal(error.to_string()))?;
        let procedure = Procedure::new(plan);
        if let Some(path) = &self.output {
            let written = std::fs::File::create_new(path)
                .and_then(|mut file| file.write_all(bytes.as_bytes()).and_then(|()| file.sync_all()));
            written.map_err(|error| {
                Failure::Wrong(format!("the plan cannot be written to {}: {error}", path.display()))
            })?;
            if global.format == Format::Human {
                put(&format!("{}  {}\n", Digest::of(bytes.as_bytes()), escape_line(&path.display().to_string())))?;
            }
        } else if global.format == Format::Human {
            put(&escape_text(&bytes))?;
        } else {
            let plan = serde_json::to_string(&procedure.plan).map_err(|error| Failure::Internal(error.to_string()))?;
            put(&format!("{plan}\n"))?;
        }
        if self.now {
            for sight in &look_at_all(&procedure) {
                put(&now_line(global, sight)?)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A comment, so that what is shown stays YAML; or an object.
fn now_line(global: &Global, sight: &Sight) -> Result<String, Failure> {
    match global.format {
        Format::Json => serde_json::to_string(sight)
            .map(|text| format!("{text}\n"))
            .map_err(|error| Failure::Internal(error.to_string())),
        Format::Human => {
            let mark = match sight.verdict {
                Verdict::Holds => "✓",
                Verdict::Broken => "✗",
                Verdict::Unknown => "?",
            };
            Ok(format!("# now {mark} `{}` {}: {}\n", sight.fact, sight.verdict, escape_line(&sight.evidence)))
        }
    }
}
