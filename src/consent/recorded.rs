//! Signatures as the log keeps them: what is recorded of one that counts, and whether a record fits the signature in it, which can be
//! told at any later time from the record, and what is kept beside it, alone.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::key::SigningKey;
use super::keygen::Keygen;
use super::question::Counted;
use super::request::{Request, StaleClaim};
use super::revoked::Revoked;
use super::signature::{self, Accepted, Namespace, Rejected, Roster, verify};
use super::signers::Signers;
use super::sshsig::{self, Presence};
use crate::history::approval::{Approval, CertifiedBy, CountsUnder};
use crate::history::clip::clip;
use crate::history::deviation::{Deviation, Override};
use crate::history::event::ClaimedBy;
use crate::id::{Digest, RunId};

/// How long a reason is that is recorded of a request, in bytes; what is longer is cut.
pub const MOST_REASON: usize = 4096;
/// How long the name of a user is that is recorded of a request, in bytes.
pub const MOST_USER: usize = 1024;
/// How long each part of a claim, and the name of its lock, is recorded, in bytes.
pub const MOST_OF_CLAIM: usize = 4096;
/// The most that lies between the look at a signature or request and its entry: the run is set up then, and what was left of it is ended.
pub const BETWEEN: TimeDelta = TimeDelta::minutes(2);

/// What is recorded of a signature that counts under these policies.
pub fn approval(counted: &Counted, armour: &str, under: Vec<CountsUnder>) -> Approval {
    let Accepted { person, key, algorithm, presence, certificate, namespace, over } = &counted.signature;
    Approval {
        document: over.clone(),
        namespace: namespace.to_string(),
        person: person.clone(),
        key: key.to_string(),
        algorithm: algorithm.clone(),
        presence: presence_in_words(*presence).map(str::to_owned),
        certificate: certificate.as_ref().map(certified),
        under,
        signature: armour.to_owned(),
    }
}

fn certified(by: &signature::Certified) -> CertifiedBy {
    CertifiedBy { id: by.id.clone(), serial: by.serial, authority: by.authority.to_string() }
}

fn presence_in_words(presence: Presence) -> Option<&'static str> {
    match presence {
        Presence::Untold => None,
        Presence::Touched => Some("touched"),
        Presence::Verified => Some("verified"),
    }
}

/// Whether what is recorded of a signature is what the signature itself says. It does not tell whether the signature is good; that,
/// [`holds`] asks.
///
/// # Errors
/// What does not fit.
pub fn fits(approval: &Approval) -> Result<(), String> {
    let refused = |what: &str| {
        let person = &approval.person;
        Err(format!(
            "the recorded signature of {person} {what}: the entry was not written by this program, or was changed"
        ))
    };
    let claim = match sshsig::read(approval.signature.as_bytes()) {
        Ok(claim) => claim,
        Err(error) => return refused(&format!("cannot be read ({error})")),
    };
    if claim.key.key().fingerprint.to_string() != approval.key {
        return refused("was made with another key than is recorded");
    }
    if claim.namespace != approval.namespace {
        return refused("was made for another purpose than is recorded");
    }
    if claim.algorithm != approval.algorithm || presence_in_words(claim.presence) != approval.presence.as_deref() {
        return refused("was made otherwise than is recorded");
    }
    let certificate = match &claim.key {
        SigningKey::Plain(_) => None,
        SigningKey::Certified(by) => {
            Some(CertifiedBy { id: by.id.clone(), serial: by.serial, authority: by.authority.fingerprint.to_string() })
        }
    };
    if certificate != approval.certificate {
        return refused("has another certificate than is recorded");
    }
    Ok(())
}

/// Whether a recorded signature is good: made over this document, by a key that these files give to the recorded person at that moment.
/// For a reviewer who has the document and the files, as they are kept beside the log.
///
/// # Errors
/// What speaks against it; also if it cannot be checked.
pub fn holds(
    keygen: &Keygen,
    approval: &Approval,
    document: &[u8],
    signers: &Signers,
    revoked: Option<&Revoked>,
    at: DateTime<Utc>,
) -> Result<(), String> {
    fits(approval)?;
    let namespace = [Namespace::Plan, Namespace::Override, Namespace::Review]
        .into_iter()
        .find(|namespace| namespace.as_str() == approval.namespace)
        .ok_or_else(|| format!("`{}` is no purpose that is known", approval.namespace.escape_debug()))?;
    if Digest::of(document) != approval.document {
        return Err("it is over another document than is recorded".to_owned());
    }
    let people = BTreeSet::from([approval.person.clone()]);
    let roster = Roster { signers, revoked, people: &people };
    match verify(keygen, document, approval.signature.as_bytes(), namespace, &roster, at) {
        Ok(_) => Ok(()),
        Err(Rejected::Stranger { key, line }) => Err(format!(
            "it was made with the key {key}, which line {line} of the signers file gives to somebody else than {}",
            approval.person
        )),
        Err(rejected) => Err(rejected.to_string()),
    }
}

/// Whether an override is recorded as the request has it that it names: for this run of this plan, this deviation, this reason, this
/// person who asks, and within the request's time.
///
/// # Errors
/// What the request says otherwise.
pub fn is_as_asked(
    request: &Request,
    given: &Override,
    run: &RunId,
    plan: Option<&Digest>,
    at: DateTime<Utc>,
) -> Result<(), String> {
    let otherwise = |what: &str| Err(format!("its request, which is kept, {what}"));
    if request.run != *run {
        return otherwise(&format!("is for run {}", request.run));
    }
    if plan.is_none() || request.plan.as_ref() != plan {
        return otherwise("is for another plan than the run's");
    }
    if request.deviation != given.deviation {
        return otherwise(&format!("asks for something else: {}", request.deviation));
    }
    if clip(&request.reason, MOST_REASON) != given.reason || clip(&request.asked_by.user, MOST_USER) != given.asked_by {
        return otherwise("gives another reason, or was made by another user");
    }
    if !is_in_time(request, at) {
        return otherwise(&format!("could be used from {} until {}", request.made, request.valid_until));
    }
    Ok(())
}

/// Whether the removal of a lock is recorded as the request has it that it names: of this lock, with the claim of this run, within the
/// request's time.
///
/// # Errors
/// What the request says otherwise.
pub fn is_removed_as_asked(
    request: &Request,
    lock: &str,
    claimed_by: Option<&ClaimedBy>,
    at: DateTime<Utc>,
) -> Result<(), String> {
    let otherwise = |what: &str| Err(format!("its request, which is kept, {what}"));
    let (Deviation::StaleLock { lock: asked }, Some(claim)) = (&request.deviation, &request.claim) else {
        return otherwise(&format!("asks for something else: {}", request.deviation));
    };
    if clip(asked, MOST_OF_CLAIM) != lock {
        return otherwise(&format!("asks for something else: {}", request.deviation));
    }
    if claimed_by != Some(&as_recorded(request, claim)) {
        return otherwise(&format!("is for the claim of run {} and of nothing else", request.run));
    }
    if !is_in_time(request, at) {
        return otherwise(&format!("could be used from {} until {}", request.made, request.valid_until));
    }
    Ok(())
}

/// The claim of a request, as an entry has it.
fn as_recorded(request: &Request, claim: &StaleClaim) -> ClaimedBy {
    ClaimedBy {
        run: request.run.clone(),
        home: clip(&claim.home, MOST_OF_CLAIM),
        runbook: clip(&request.runbook, MOST_OF_CLAIM),
        user: clip(&claim.user, MOST_OF_CLAIM),
    }
}

/// Whether what the request asks for could be done at this time, by the clocks of then and [`BETWEEN`] either way.
pub fn is_in_time(request: &Request, at: DateTime<Utc>) -> bool {
    let [made, until] =
        [&request.made, &request.valid_until].map(|moment| DateTime::parse_from_rfc3339(moment.as_str()));
    matches!((made, until), (Ok(made), Ok(until)) if made - BETWEEN <= at && at < until + BETWEEN)
}
