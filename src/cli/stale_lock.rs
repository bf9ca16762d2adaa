//! The lock of a run that is gone, as somebody wants it removed: what is asked for in a request, and whether those whom the policies name
//! have signed it. Whatever is refused is an entry, and nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use crate::audit::{self, Draft, Home, Log};
use crate::cli::approvals::command;
use crate::cli::bound;
use crate::cli::failure::{Failure, say};
use crate::cli::in_force::InForce;
use crate::cli::keep::keep;
use crate::cli::overrides::{About, Signed, read, signed};
use crate::consent::policy::Subject;
use crate::consent::question::{Operator, Permission, Requirement, StepRule};
use crate::consent::recorded::MOST_OF_CLAIM;
use crate::consent::request::{Request, StaleClaim};
use crate::diagnostic::escape::escape_line;
use crate::driver::claim::{Claim, RunOfClaim};
use crate::driver::stale::{Claimed, Found, look};
use crate::history::clip::clip;
use crate::history::deviation::{Deviation, DeviationKind};
use crate::history::entry::Who;
use crate::history::event::{Cause, Event};
use crate::id::Digest;
use crate::plan::Here;

/// A lock that somebody wants removed.
pub(super) struct Wanted<'a> {
    /// Its name.
    pub lock: &'a str,
    /// Why.
    pub reason: &'a str,
    /// The home in whose log it is recorded.
    pub home: &'a Home,
    /// Who wants it.
    pub who: &'a Who,
    /// The policies in force.
    pub in_force: &'a InForce,
}

/// A lock whose run is gone. Nobody else takes it while this lives.
pub(super) struct Stale {
    /// The lock, with its claim.
    pub claimed: Claimed,
    /// How the run was found to be gone.
    pub gone: String,
}

/// Those who permit that a lock is removed.
pub(super) struct PermittedBy {
    /// Their signatures.
    pub signed: Signed,
    /// The request that they have signed.
    pub request: Digest,
    /// Its bytes.
    text: String,
}

impl Stale {
    /// Whose claim it is, in words.
    pub fn holder(&self) -> String {
        holder(self.claimed.claim.as_ref())
    }
}

impl PermittedBy {
    /// Keeps the request beside the log, with the policies that its signatures were looked at with, so that they can be checked for as
    /// long as there is the log.
    ///
    /// # Errors
    /// In words.
    pub fn keep(&self, wanted: &Wanted<'_>) -> Result<(), String> {
        let place = wanted.home.unlocked();
        wanted.in_force.keep_in(&place)?;
        keep(&place, "requests", &[(format!("{}.request.yaml", self.request), self.text.as_bytes())])
    }
}

impl Wanted<'_> {
    /// Who operates. Nobody else is heard.
    pub fn operator(&self) -> Result<Operator, Failure> {
        let operator = self.in_force.may_operate(self.home, None).map_err(|failure| match failure {
            Failure::Internal(error) => Failure::Internal(format!("{error}; nothing was removed")),
            other => other,
        })?;
        operator.map_err(|why| self.refused(None, Cause::NotAllowed, &why))
    }

    /// The lock, if its run is gone: not over, not going on, and nothing that can be brought to its end.
    pub fn stale(&self) -> Result<Stale, Failure> {
        let claimed = match look(self.lock).map_err(|error| Failure::Internal(error.to_string()))? {
            Found::Free => return Err(Failure::Wrong(format!("nobody claims the lock `{}`", self.lock))),
            Found::Alive(why) => return Err(self.refused(None, Cause::Locked, &why)),
            Found::Claimed(claimed) => claimed,
        };
        let claim = claimed.claim.as_ref();
        let holder = holder(claim);
        match claimed.run() {
            // The next run that wants the lock takes it.
            RunOfClaim::Over(how) => Err(Failure::Wrong(format!(
                "nobody holds the lock `{}`: {holder} did, and {how}; there is nothing to remove",
                self.lock
            ))),
            RunOfClaim::Gone(gone) => Ok(Stale { claimed, gone }),
            RunOfClaim::Open => {
                let to_end = claim.map(Claim::how_to_end).unwrap_or_default();
                let why = format!("{holder} holds the lock `{}`, and can be brought to its end: {to_end}", self.lock);
                Err(self.refused(claim, Cause::Locked, &why))
            }
            RunOfClaim::Unknown(why) => {
                let why = format!("it cannot be told whether {holder} is over: {why}; let root do it");
                Err(self.refused(claim, Cause::Locked, &why))
            }
        }
    }

    /// What a request to remove it is about.
    pub fn to_ask(&self) -> Result<About, Failure> {
        let operator = self.operator()?;
        let stale = self.stale()?;
        if self.in_force.is_empty() {
            return Err(Failure::Wrong(format!(
                "no policy is in force, so nobody has to sign that the lock is removed; `{}` does it on your own word",
                command(&["interlock", "unlock", self.lock, "--reason", "WHY"])
            )));
        }
        let claim = self.claim_that_can_be_signed(&stale)?;
        if let Err(why) = self.needed(claim, &operator) {
            return Err(self.refused(Some(claim), Cause::NotAllowed, &why));
        }
        Ok(About {
            run: claim.run.clone(),
            plan: None,
            runbook: claim.runbook.clone(),
            labels: BTreeMap::new(),
            deviation: Deviation::StaleLock { lock: self.lock.to_owned() },
            claim: Some(as_signed(claim, &stale.gone)),
            step_does: None,
            asks: None,
        })
    }

    /// Those who permit it, by the request that they have signed.
    pub fn permitted(
        &self,
        stale: &Stale,
        operator: &Operator,
        request: Option<&Path>,
    ) -> Result<PermittedBy, Failure> {
        let claim = self.claim_that_can_be_signed(stale)?;
        let refused = |why: &str| self.refused(Some(claim), Cause::NotAllowed, why);
        let needed = self.needed(claim, operator);
        let Some(path) = request else {
            let holder = stale.holder();
            let back = format!(
                "put {} back as it was, from a backup, and end its run there: {}",
                escape_line(&claim.home.display().to_string()),
                claim.how_to_end()
            );
            let ask = match &needed {
                Ok(_) => format!(
                    "; where there is none, ask for it: `{}`",
                    command(&[
                        "interlock",
                        "override",
                        "--stale-lock",
                        self.lock,
                        "--reason",
                        "WHY",
                        "-o",
                        "request.yaml"
                    ])
                ),
                Err(why) => format!("; {why}"),
            };
            return Err(refused(&format!(
                "under a policy a lock is removed only with an override of the kind `stale_lock`; {holder} holds it: {}; {back}{ask}",
                stale.gone
            )));
        };
        let needed = needed.map_err(|why| refused(&why))?;
        let text = read(path)?;
        let request =
            Request::from_file(&text).map_err(|error| Failure::Wrong(format!("{}: {error}", path.display())))?;
        let digest = Digest::of(text.as_bytes());
        self.is_for(&request, &digest, claim, &stale.gone)?.map_err(|why| refused(&why))?;
        let signed = signed(self.in_force, path, &text, &request, &needed)?.map_err(|why| refused(&why))?;
        Ok(PermittedBy { signed, request: digest, text })
    }

    /// Whether a request is for this lock with this claim, here and now, and was not used.
    ///
    /// # Errors
    /// Inside: why not. Outside: that cannot be looked at.
    fn is_for(
        &self,
        request: &Request,
        digest: &Digest,
        claim: &Claim,
        gone: &str,
    ) -> Result<Result<(), String>, Failure> {
        if request.deviation != (Deviation::StaleLock { lock: self.lock.to_owned() }) {
            return Ok(Err(format!("the request is for something else: {}", request.deviation)));
        }
        let (machine, now) = (bound::machine_id()?, bound::now());
        if let Err(why) = request.fits(&claim.run, None, Here { host: &self.who.host, machine: &machine, now: &now }) {
            return Ok(Err(why));
        }
        // They have signed what they read of it.
        if request.claim.as_ref() != Some(&as_signed(claim, gone)) || request.runbook != claim.runbook {
            return Ok(Err(
                "what the request says of the lock's claim is not so, or not any more; ask again".to_owned()
            ));
        }
        if request.policies != self.in_force.marks() {
            return Ok(Err("the request was made under other policies than are in force now; ask again".to_owned()));
        }
        let named = audit::entries_with(self.home, &format!("\"request\":\"{digest}\""))
            .map_err(|error| Failure::Internal(error.to_string()))?;
        let archived = audit::archived(self.home).map_err(|error| Failure::Internal(error.to_string()))?;
        if named.iter().any(|entry| matches!(entry.event, Event::LockRemoved { .. }))
            || archived.is_some_and(|base| base.unlocked().was_used(digest))
        {
            return Ok(Err("this request was used already, and each is used once; ask again".to_owned()));
        }
        Ok(Ok(()))
    }

    /// The claim, where there is one that people can read and sign for.
    fn claim_that_can_be_signed<'a>(&self, stale: &'a Stale) -> Result<&'a Claim, Failure> {
        stale.claimed.claim.as_ref().ok_or_else(|| {
            let why = format!(
                "under a policy a lock is removed by a request for the run that claims it, and here nobody can tell which that is: {}; tell \
                 those who keep the policy",
                stale.gone
            );
            self.refused(None, Cause::NotAllowed, &why)
        })
    }

    /// The signatures that the policies in force ask for. The labels of its runbook went with the run, so rules that name labels are not
    /// about it.
    ///
    /// # Errors
    /// Why nobody can permit it.
    fn needed(&self, claim: &Claim, operator: &Operator) -> Result<Vec<Requirement>, String> {
        let subject = Subject { name: &claim.runbook, labels: &BTreeMap::new() };
        let kind = DeviationKind::StaleLock;
        match self.in_force.policies().override_needed(kind, &StepRule::Unsaid, subject, operator) {
            Permission::Allowed(needed) if needed.is_empty() => {
                Err("no rule says whose signatures permit it".to_owned())
            }
            Permission::Allowed(needed) => Ok(needed),
            Permission::Forbidden(why) => Err(why),
        }
    }

    /// Records that the lock stays, and says so.
    pub fn refused(&self, claim: Option<&Claim>, cause: Cause, why: &str) -> Failure {
        let event = self.in_force.recordable(Event::LockKept {
            lock: clip(self.lock, MOST_OF_CLAIM),
            claimed_by: claim.map(Claim::recorded),
            reason: clip(self.reason, 4096),
            cause,
            why: clip(&why.replace("\n  ", "; "), 8192),
            policies: self.in_force.recorded(),
        });
        let recorded = Log::open(self.home, self.who.clone())
            .and_then(|mut log| log.append(&[Draft { run: None, event: &event }]));
        say(&format!("interlock: refused: {why}"));
        match recorded {
            Ok(_) => Failure::Said(cause.exit_code()),
            Err(error) => Failure::Internal(error.to_string()),
        }
    }
}

fn holder(claim: Option<&Claim>) -> String {
    claim.map_or_else(|| "nobody knows who".to_owned(), Claim::in_words)
}

/// What those who sign are told of a claim.
fn as_signed(claim: &Claim, gone: &str) -> StaleClaim {
    StaleClaim {
        home: claim.home.display().to_string(),
        log: claim.log.clone(),
        user: claim.user.clone(),
        gone: gone.to_owned(),
    }
}
