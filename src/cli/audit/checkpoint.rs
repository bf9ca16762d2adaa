//! `interlock audit checkpoint`: a signed text for keeping elsewhere.

use std::process::ExitCode;

use super::unreadable;
use crate::audit::{self, Home};
use crate::cli::failure::{Failure, put, say};
use crate::cli::in_force::InForce;
use crate::cli::sinks::{Sinks, hand_on_to_all};
use crate::cli::{Format, Global, place};

/// Signs how long the log is and what is in it, for keeping elsewhere.
///
/// Whoever keeps the text on another machine can show later that up to this entry nothing was changed, cut off or made anew:
/// `interlock audit verify --checkpoint FILE`. One is made after each run, too, and lies beside the log. The text is a C2SP
/// tlog-checkpoint.
///
/// It is handed on to the places that the policy names as well, as at the end of a run. Nobody needs the right to operate for that.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit checkpoint > host.checkpoint
  interlock audit checkpoint | ssh elsewhere 'cat > host.checkpoint'
  interlock audit checkpoint --format json | jq -r .entries

Exit codes: 0 signed, 1 it cannot be signed, or was not handed on to a place that the policy requires,
2 a policy cannot be read.")]
pub struct MakeCheckpoint {}

impl MakeCheckpoint {
    pub(super) fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        // Where there is no log there is nothing to sign, and none is made for it.
        audit::read(home).map_err(unreadable)?;
        let who = place::who()?;
        let in_force = InForce::open(global, &who)?;
        let made = audit::checkpoint(home).map_err(|error| Failure::Internal(error.to_string()))?;
        let sinks = Sinks::of(&in_force);
        let failed = hand_on_to_all(home, &who, &sinks, &made);
        if let Some(why) = in_force.missing(home)? {
            say(&format!("interlock: warning: the checkpoint was handed on to no place: {why}"));
        }
        match global.format {
            Format::Human => put(&made.note)?,
            Format::Json => {
                let line = serde_json::json!({
                    "entries": made.size, "checkpoint": made.note, "path": made.path.display().to_string(),
                });
                put(&format!("{line}\n"))?;
            }
        }
        if failed.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let places: Vec<String> = failed.iter().map(|sink| format!("`{}`", sink.to)).collect();
        let places = places.join(", ");
        say(&format!(
            "interlock: the policy requires that checkpoints are handed on to {places}, and this one was not; mend that and ask for another"
        ));
        Err(Failure::Said(1))
    }
}
