//! `interlock unlock`.

use std::process::ExitCode;

use crate::audit::{Draft, Log};
use crate::cli::failure::{Failure, say};
use crate::cli::in_force::InForce;
use crate::cli::overrides::{Asked, OwnWord, own_word};
use crate::cli::{Global, place};
use crate::diagnostic::escape::escape_line;
use crate::driver::claim::{Claim, RunOfClaim};
use crate::driver::stale::{Found, look};
use crate::history::clip::clip;
use crate::history::deviation::Deviation;
use crate::history::event::{Cause, Event};
use crate::report::story::by_whom;

/// Removes the lock of a run that is gone: its home was removed, or its log does not verify; or what is written in the lock is no claim.
///
/// A lock whose run can be resumed, undone or abandoned is not removed: end that run. It is a deviation: it is recorded in your own audit
/// log, with the claim as it stood and your reason, before the lock is removed; a refusal is recorded too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock unlock 'postgres /srv/pg' --reason 'the home was on the disk that died; the cluster was looked at with amy'

Exit codes: 0 it was removed, 2 nobody claims it, 4 not allowed, 5 its run is going on or can be ended, 6 a person must permit it.")]
pub struct Unlock {
    /// The lock's name, as the runbook and `interlock status` say it
    name: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Permits it on your own word, where there is no terminal: the lock's name again
    #[arg(long, value_name = "NAME")]
    self_approve: Vec<String>,
}

impl Unlock {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        if self.reason.trim().is_empty() {
            return Err(Failure::Wrong("--reason is empty; say why the lock is removed".to_owned()));
        }
        let home = place::home(global)?;
        let who = place::who()?;
        let in_force = InForce::open(global, &who)?;
        let refused = |claim: Option<&Claim>, cause: Cause, why: &str| {
            let event = Event::LockKept {
                lock: clip(&self.name, 4096),
                claimed_by: claim.map(Claim::recorded),
                reason: clip(&self.reason, 4096),
                cause,
                why: clip(why, 8192),
                policies: in_force.recorded(),
            };
            let recorded =
                Log::open(&home, who.clone()).and_then(|mut log| log.append(&[Draft { run: None, event: &event }]));
            say(&format!("interlock: refused: {why}"));
            match recorded {
                Ok(_) => Failure::Said(cause.exit_code()),
                Err(error) => Failure::Internal(error.to_string()),
            }
        };
        if let Err(why) = in_force.may_operate(&home)? {
            return Err(refused(None, Cause::NotAllowed, &why));
        }
        let claimed = match look(&self.name).map_err(|error| Failure::Internal(error.to_string()))? {
            Found::Free => return Err(Failure::Wrong(format!("nobody claims the lock `{}`", self.name))),
            Found::Alive(why) => return Err(refused(None, Cause::Locked, &why)),
            Found::Claimed(claimed) => claimed,
        };
        let claim = claimed.claim.as_ref();
        let holder = claim.map_or_else(|| "nobody knows who".to_owned(), Claim::in_words);
        let to_end = claim.map(Claim::how_to_end).unwrap_or_default();
        let gone = match claimed.run() {
            // The next run that wants the lock takes it.
            RunOfClaim::Over(how) => {
                return Err(Failure::Wrong(format!(
                    "nobody holds the lock `{}`: {holder} did, and {how}; there is nothing to remove",
                    self.name
                )));
            }
            RunOfClaim::Gone(how) => how,
            RunOfClaim::Open => {
                let why = format!("{holder} holds the lock `{}`, and can be brought to its end: {to_end}", self.name);
                return Err(refused(claim, Cause::Locked, &why));
            }
            RunOfClaim::Unknown(why) => {
                let why = format!("it cannot be told whether {holder} is over: {why}; let root do it");
                return Err(refused(claim, Cause::Locked, &why));
            }
        };
        if !in_force.is_empty() {
            let next = claim.map_or_else(
                || "tell those who keep the policy".to_owned(),
                |claim| {
                    format!(
                        "put {} back as it was, from a backup, and end its run there: {to_end}",
                        escape_line(&claim.home.display().to_string())
                    )
                },
            );
            let why = format!(
                "under a policy a lock is removed only with an override of the kind `stale_lock`, which this version cannot take yet; \
                 {holder} holds it: {gone}; {next}"
            );
            return Err(refused(claim, Cause::NotAllowed, &why));
        }
        say(&format!("interlock: {holder} holds it: {gone}"));
        let user = by_whom(&who);
        let deviation = Deviation::StaleLock { lock: self.name.clone() };
        let asked = Asked { deviation: &deviation, by: &user, reason: &self.reason };
        let self_approved = own_word(global, &self.self_approve, asked).map_err(|word| match word {
            OwnWord::Declined(why) => refused(claim, Cause::NotAllowed, &why),
            OwnWord::NobodyThere(why) => refused(claim, Cause::PersonNeeded, &why),
        })?;
        let event = Event::LockRemoved {
            lock: clip(&self.name, 4096),
            claimed_by: claim.map(Claim::recorded),
            gone: clip(&gone, 4096),
            reason: clip(&self.reason, 4096),
            self_approved,
        };
        let unusable = |error: String| {
            Failure::Internal(format!(
                "{error}; nothing was removed: the removal is recorded first, in a log of your own (--home)"
            ))
        };
        let mut log = Log::open(&home, who.clone()).map_err(|error| unusable(error.to_string()))?;
        log.append(&[Draft { run: None, event: &event }]).map_err(|error| unusable(error.to_string()))?;
        claimed.remove().map_err(|error| {
            Failure::Internal(format!(
                "the lock `{}` could not be removed, though it is recorded so: {error}",
                self.name
            ))
        })?;
        say(&format!(
            "interlock: removed the lock `{}`; look at what that run had begun before you start another",
            self.name
        ));
        Ok(ExitCode::SUCCESS)
    }
}
