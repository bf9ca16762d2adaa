//! `interlock audit checkpoint`: a signed text for keeping elsewhere.

use std::process::ExitCode;

use super::unreadable;
use crate::audit::{self, Home};
use crate::cli::failure::{Failure, put};
use crate::cli::{Format, Global};

/// Signs how long the log is and what is in it, for keeping elsewhere.
///
/// Whoever keeps the text on another machine can show later that up to this entry nothing was changed, cut off or made anew:
/// `interlock audit verify --checkpoint FILE`. One is made after each run, too, and lies beside the log. The text is a C2SP
/// tlog-checkpoint.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit checkpoint > host.checkpoint
  interlock audit checkpoint | ssh elsewhere 'cat > host.checkpoint'
  interlock audit checkpoint --format json | jq -r .entries")]
pub struct MakeCheckpoint {}

impl MakeCheckpoint {
    pub(super) fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        // Where there is no log there is nothing to sign, and none is made for it.
        audit::read(home).map_err(unreadable)?;
        let made = audit::checkpoint(home).map_err(|error| Failure::Internal(error.to_string()))?;
        match global.format {
            Format::Human => put(&made.note)?,
            Format::Json => {
                let line = serde_json::json!({
                    "entries": made.size, "checkpoint": made.note, "path": made.path.display().to_string(),
                });
                put(&format!("{line}\n"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
