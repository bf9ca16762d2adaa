//! Signatures as the log keeps them: what is recorded of one that counts, and whether a record fits the signature in it, which can be
//! told at any later time from the record alone.

use super::keygen::Keygen;
use super::question::Counted;
use super::signature::{Accepted, Namespace, Roster, verify};
use super::sshsig::{self, Presence};
use super::{key::SigningKey, signature};
use crate::history::approval::{Approval, CertifiedBy, CountsUnder};
use chrono::{DateTime, Utc};

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

/// Whether a recorded signature is good: made over this document, by a key that these files give to the recorded person at this moment.
/// For a reviewer who has the document and the files, as they are kept beside the log.
///
/// # Errors
/// What speaks against it; also if it cannot be checked.
pub fn holds(
    keygen: &Keygen,
    approval: &Approval,
    document: &[u8],
    roster: &Roster<'_>,
    at: DateTime<Utc>,
) -> Result<(), String> {
    fits(approval)?;
    let namespace = [Namespace::Plan, Namespace::Override]
        .into_iter()
        .find(|namespace| namespace.as_str() == approval.namespace)
        .ok_or_else(|| format!("`{}` is no purpose that is known", approval.namespace.escape_debug()))?;
    let accepted = verify(keygen, document, approval.signature.as_bytes(), namespace, roster, at)
        .map_err(|rejected| rejected.to_string())?;
    if accepted.person != approval.person {
        return Err(format!("it is the signature of {}, and {} is recorded", accepted.person, approval.person));
    }
    if accepted.over != approval.document {
        return Err("it is over another document than is recorded".to_owned());
    }
    Ok(())
}
