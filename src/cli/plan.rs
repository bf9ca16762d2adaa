//! `interlock plan`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::bound::{Window, bind};
use crate::cli::deviations::ToPlan;
use crate::cli::failure::{Failure, put, say};
use crate::cli::given::GivenRunbook;
use crate::cli::in_force::InForce;
use crate::cli::whole::Existing;
use crate::cli::{Format, Global, place, whole};
use crate::diagnostic::escape::{escape_line, escape_text};
use crate::driver::facts::look_at_all;
use crate::exec::program::Programs;
use crate::history::event::{Sight, Verdict};
use crate::id::Digest;
use crate::plan::{self, PlanError, Procedure};

/// Shows exactly what would be done: the runbook with every parameter filled in. Starts nothing.
///
/// With --now, also looks at each fact and says what holds at this moment. That runs the commands of the runbook's probes. With -o the
/// plan is written to a file, bound to this machine, a window of time and this moment of the audit log: `interlock run FILE` runs exactly
/// that, once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock plan runbooks/quickstart.yaml
  interlock plan change.yaml -p data_dir=/srv/pg --now
  interlock plan change.yaml -p data_dir=/srv/pg -o plan.yaml
  interlock plan change.yaml -o plan.yaml --skip announce --reason 'told by phone'
  interlock plan change.yaml -o plan.yaml --valid-from 2026-11-22T22:00:00Z --valid-for 4h

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
    /// Replace the file if it exists
    #[arg(long, requires = "output")]
    force: bool,
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    deviations: ToPlan,
}

impl Plan {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let who = place::who()?;
        let in_force = InForce::open(global, &who)?;
        let mut plan = self.given.read(global, in_force.defaults())?.plan(&Programs::default())?;
        if self.output.is_some() {
            plan.deviations = self.deviations.of(&Procedure::new(plan.clone()), &in_force)?;
            plan.binding = Some(bind(&place::home(global)?, &who, &in_force, &self.window)?);
        }
        let bytes = bytes_of(&plan)?;
        if let Some(path) = &self.output {
            write_new(path, &bytes, Existing::by_force(self.force), "plan")?;
            say_written(global, path, &plan, &bytes)?;
        } else if global.format == Format::Human {
            put(&escape_text(&bytes))?;
        } else {
            let plan = serde_json::to_string(&plan).map_err(|error| Failure::Internal(error.to_string()))?;
            put(&format!("{plan}\n"))?;
        }
        for (file, step, made_by) in plan.not_there_yet() {
            let (path, what) = (&file.path, &file.digest);
            say(&match made_by {
                Some(made_by) => format!(
                    "interlock: note: `{path}`, which step `{step}` executes, is {what} now; step `{made_by}` says that it replaces it"
                ),
                None => format!(
                    "interlock: warning: `{path}`, which step `{step}` executes, is {what} now, so the step will not be started; install \
                     it and make the plan again, or say `replaces` in the step that makes it"
                ),
            });
        }
        if self.now {
            for sight in &look_at_all(&Procedure::new(plan), in_force.censor()) {
                put(&now_line(global, sight)?)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The bytes of a plan that is shown, signed or run; refused if it is too large to be read again.
pub(super) fn bytes_of(plan: &plan::Plan) -> Result<String, Failure> {
    plan.to_file().map_err(|error| match error {
        PlanError::TooLarge(_) => Failure::Wrong(format!("{}: {error}", plan.source)),
        PlanError::Shape(_) | PlanError::Form | PlanError::Wrong(_) | PlanError::Version(_) => {
            Failure::Internal(error.to_string())
        }
    })
}

/// Writes a file that people are to read and sign, whole or not at all.
pub(super) fn write_new(path: &Path, bytes: &str, existing: Existing, what: &str) -> Result<(), Failure> {
    whole::write(path, bytes.as_bytes(), existing).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "; give another name, or --force to replace it",
            _ => "",
        };
        Failure::Wrong(format!("the {what} cannot be written to {}: {error}{hint}", path.display()))
    })
}

/// Says what was written, and what to do with it.
fn say_written(global: &Global, path: &Path, plan: &plan::Plan, bytes: &str) -> Result<(), Failure> {
    let (digest, path) = (Digest::of(bytes.as_bytes()), path.display().to_string());
    let Some(binding) = &plan.binding else { return Ok(()) };
    if global.format == Format::Json {
        let line = serde_json::json!({
            "plan": path, "sha256": digest, "valid_from": binding.valid_from, "valid_until": binding.valid_until,
        });
        return put(&format!("{line}\n"));
    }
    put(&format!("{digest}  {}\n", escape_line(&path)))?;
    for planned in &plan.deviations {
        say(&format!("interlock: DEVIATION planned: {}: {}", planned.deviation, escape_line(&planned.reason)));
    }
    say(&format!(
        "interlock: the plan is for one run on `{}`, from {} until {}; read it, then: interlock run {path}",
        binding.host, binding.valid_from, binding.valid_until
    ));
    Ok(())
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
