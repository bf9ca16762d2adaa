//! `interlock audit key`: the key that signs the log's checkpoints, to be kept elsewhere; and another in its place.

use std::process::ExitCode;

use super::unreadable;
use crate::audit::{self, Home, KeyError, Log, OldKey, Replacement};
use crate::cli::failure::{Failure, put, say};
use crate::cli::in_force::InForce;
use crate::cli::{Format, Global, place};
use crate::history::clip::clip;

/// Shows the public key that signs the log's checkpoints and bundles, for keeping elsewhere; or replaces it.
///
/// Whoever keeps it on another machine can tell later that a checkpoint or a bundle was signed by this log: `interlock audit verify --key`.
/// With --replace a new key is made. The old one signs it, an entry says so, and from there on the new one signs; who was given the old key is
/// led to the new one. Replace it when others could have read the private half (keys/log.key): what they sign with it from then on counts no more.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit key                                   keep this line on another machine
  interlock audit key --replace --reason 'the backup of db1 was stolen'
  interlock audit key --replace --lost --reason 'keys/ was on the disk that died'

Exit codes: 0 shown or replaced, 1 the key or the log cannot be used, 2 the command line is wrong, 4 not allowed.")]
pub struct Key {
    /// Make a new key, and have it sign from now on
    #[arg(long, requires = "reason")]
    replace: bool,
    /// Why it is replaced
    #[arg(long, value_name = "TEXT", requires = "replace")]
    reason: Option<String>,
    /// The old key is lost, so it cannot sign the new one: then only who is given the new one can tell that it is the log's
    #[arg(long, requires = "replace")]
    lost: bool,
}

impl Key {
    pub(super) fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        // Where there is no log there is no key of it, and none is made.
        audit::read(home).map_err(unreadable)?;
        match &self.reason {
            Some(reason) => self.put_another(global, home, reason),
            None => show(global, home),
        }
    }

    /// Replaces the key, and signs the log as it is then with the new one.
    fn put_another(&self, global: &Global, home: &Home, reason: &str) -> Result<ExitCode, Failure> {
        if reason.trim().is_empty() {
            return Err(Failure::Wrong("--reason is empty; say why the key is replaced".to_owned()));
        }
        let who = place::who()?;
        let in_force = InForce::open(global, &who)?;
        if let Err(why) = in_force.may_operate(home, None)? {
            say(&format!("interlock: refused: {why}"));
            return Err(Failure::Said(4));
        }
        let internal = |error: String| Failure::Internal(format!("the key was not replaced: {error}"));
        let old = if self.lost { OldKey::IsLost } else { OldKey::Signs };
        if old == OldKey::Signs {
            // The last word of the old one: everything up to here was so. Nothing is signed over a log that is not what it was.
            audit::checkpoint(home).map_err(|error| internal(error.to_string()))?;
        }
        let mut log = Log::open(home, who).map_err(|error| internal(error.to_string()))?;
        let replaced = audit::replace_key(home, &mut log, &in_force.censor().clean(&clip(reason, 4096)), old);
        let Replacement { old: before, new } = replaced.map_err(|error| match error {
            KeyError::Old(why) => Failure::Wrong(why),
            KeyError::Anchor(_) | KeyError::Log(_) => internal(error.to_string()),
        })?;
        if let Err(why) = audit::checkpoint(home) {
            say(&format!(
                "interlock: warning: the key was replaced, and no checkpoint was made with the new one: {why}"
            ));
        }
        match global.format {
            Format::Human => put(&format!("{new}\n"))?,
            Format::Json => {
                put(&format!("{}\n", serde_json::json!({"key": new.to_string(), "old": before.to_string()})))?
            }
        }
        say(match old {
            OldKey::Signs => {
                "interlock: replaced the key; keep the new one elsewhere too, and give it to those who were given the old one: by the old one \
                 alone they cannot tell what was signed before from what somebody signs who has taken it"
            }
            OldKey::IsLost => {
                "interlock: replaced the key that was lost; from now on the log verifies only for those who are given the new one (--key): tell \
                 them in another way than by this machine"
            }
        });
        Ok(ExitCode::SUCCESS)
    }
}

fn show(global: &Global, home: &Home) -> Result<ExitCode, Failure> {
    let key = audit::public_key(home).ok_or_else(|| {
        Failure::Internal(format!(
            "{} has no public key that can be read; `interlock audit checkpoint` puts it there",
            home.path().join("keys").display()
        ))
    })?;
    match global.format {
        Format::Human => put(&format!("{key}\n"))?,
        Format::Json => put(&format!("{}\n", serde_json::json!({"key": key.to_string(), "log": key.name()})))?,
    }
    Ok(ExitCode::SUCCESS)
}
