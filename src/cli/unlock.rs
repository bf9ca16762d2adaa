//! `interlock unlock`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::audit::{Draft, Log};
use crate::cli::failure::{Failure, say};
use crate::cli::in_force::InForce;
use crate::cli::open_runs::AT_ONCE;
use crate::cli::own_word::{Asked, OwnWord, own_word};
use crate::cli::stale_lock::{PermittedBy, Stale, Wanted};
use crate::cli::{Global, place};
use crate::consent::recorded::MOST_OF_CLAIM;
use crate::driver::claim::Claim;
use crate::history::clip::clip;
use crate::history::deviation::Deviation;
use crate::history::event::{AnsweredBy, Cause, Event};
use crate::report::story::by_whom;

/// Removes the lock of a run that is gone: its home was removed, or its log does not verify; or what is written in the lock is no claim.
///
/// A lock whose run can be resumed, undone or abandoned is not removed: end that run. It is a deviation: it is recorded in your own audit
/// log, with the claim as it stood and your reason, before the lock is removed; a refusal is recorded too. Under a policy it is permitted by
/// those whom its rules for `stale_lock` name: `interlock override --stale-lock NAME` asks for it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock unlock 'postgres /srv/pg' --reason 'the home was on the disk that died; the cluster was looked at with amy'
  interlock unlock 'postgres /srv/pg' --override request.yaml --reason 'looked at with amy'

Exit codes: 0 it was removed, 2 nobody claims it, 4 not allowed, 5 its run is going on or can be ended, 6 a person must permit it.")]
pub struct Unlock {
    /// The lock's name, as the runbook and `interlock status` say it
    name: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Use this request, once, which those whom the policy names have signed
    #[arg(long = "override", value_name = "FILE")]
    request: Option<PathBuf>,
    /// Permits it on your own word, where there is no terminal and no policy: the lock's name again
    #[arg(long, value_name = "NAME")]
    self_approve: Vec<String>,
}

/// On whose word it is removed.
enum Word {
    /// The operator's alone.
    Own(AnsweredBy),
    /// That of those who signed.
    Signed(PermittedBy),
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
        let wanted = Wanted { lock: &self.name, reason: &self.reason, home: &home, who: &who, in_force: &in_force };
        let operator = wanted.operator()?;
        let stale = wanted.stale()?;
        let word = if in_force.is_empty() {
            Word::Own(self.own_word(global, &wanted, &stale)?)
        } else {
            Word::Signed(wanted.permitted(&stale, &operator, self.request.as_deref())?)
        };
        record(&wanted, &stale, word)?;
        stale.claimed.remove().map_err(|error| {
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

    fn own_word(&self, global: &Global, wanted: &Wanted<'_>, stale: &Stale) -> Result<AnsweredBy, Failure> {
        if self.request.is_some() {
            return Err(Failure::Wrong(
                "--override: no policy is in force, so nobody's signature is asked for; leave it out".to_owned(),
            ));
        }
        say(&format!("interlock: {} holds it: {}", stale.holder(), stale.gone));
        let user = by_whom(wanted.who);
        let deviation = Deviation::StaleLock { lock: self.name.clone() };
        let asked = Asked { deviation: &deviation, by: &user, reason: &self.reason };
        let claim = stale.claimed.claim.as_ref();
        own_word(global, &self.self_approve, asked).map_err(|word| match word {
            OwnWord::Declined(why) => wanted.refused(claim, Cause::NotAllowed, &why),
            OwnWord::NobodyThere(why) => wanted.refused(claim, Cause::PersonNeeded, &why),
        })
    }
}

/// Records the removal, with the signatures by which it is permitted, and what those are over before them.
fn record(wanted: &Wanted<'_>, stale: &Stale, word: Word) -> Result<(), Failure> {
    let unusable = |error: String| {
        Failure::Internal(format!(
            "{error}; nothing was removed: the removal is recorded first, in a log of your own (--home)"
        ))
    };
    let mut log = Log::open(wanted.home, wanted.who.clone()).map_err(|error| unusable(error.to_string()))?;
    let (mut events, mut request, mut self_approved, mut approved_by) = (Vec::new(), None, None, Vec::new());
    match word {
        Word::Own(by) => self_approved = Some(by),
        Word::Signed(by) => {
            by.keep(wanted).map_err(unusable)?;
            request = Some(by.request);
            approved_by = by.signed.persons;
            events.extend(by.signed.approvals.into_iter().map(Event::ApprovalAccepted));
        }
    }
    events.push(wanted.in_force.recordable(Event::LockRemoved {
        lock: clip(wanted.lock, MOST_OF_CLAIM),
        claimed_by: stale.claimed.claim.as_ref().map(Claim::recorded),
        gone: clip(&stale.gone, 4096),
        reason: clip(wanted.reason, 4096),
        request,
        self_approved,
        approved_by,
        policies: wanted.in_force.recorded(),
    }));
    // As many at a time as fit one write, however many have signed; the removal after all of them.
    for some in events.chunks(AT_ONCE) {
        let drafts: Vec<Draft<'_>> = some.iter().map(|event| Draft { run: None, event }).collect();
        log.append(&drafts).map_err(|error| unusable(error.to_string()))?;
    }
    Ok(())
}
