//! Whether a signature counts: made over exactly these bytes, for this purpose, by a key that at this moment belongs to one person
//! whom the policy knows. Our own reading refuses first and in words; then the real `ssh-keygen` must agree. Both must say yes.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};

use super::key::{Certificate, Fingerprint, SigningKey};
use super::keygen::{Answer, Keygen, KeygenError, Scratch, Verdict};
use super::revoked::Revoked;
use super::signers::{Role, SignerLine, Signers};
use super::sshsig::{self, Presence, SigError, SshSig};
use crate::id::{Digest, Person};

/// What a signature is made for. A signature for one thing is worth nothing for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// The approval of a plan.
    Plan,
    /// The permission of a deviation.
    Override,
    /// The review of a run that broke the glass.
    Review,
}

/// Whose keys count, and which no longer do.
#[derive(Debug, Clone, Copy)]
pub struct Roster<'a> {
    /// Which key is whose.
    pub signers: &'a Signers,
    /// Keys that count no more.
    pub revoked: Option<&'a Revoked>,
    /// The persons whom the policy knows.
    pub people: &'a BTreeSet<Person>,
}

/// A signature that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Who signed.
    pub person: Person,
    /// With which key.
    pub key: Fingerprint,
    /// By which algorithm, as OpenSSH names it.
    pub algorithm: String,
    /// Whether a hardware key was touched.
    pub presence: Presence,
    /// The certificate that says whose the key is, where one does.
    pub certificate: Option<Certified>,
    /// What it was made for.
    pub namespace: Namespace,
    /// The digest of what was signed.
    pub over: Digest,
}

/// What is kept of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// What its authority calls it.
    pub id: String,
    /// Its number.
    pub serial: u64,
    /// The authority's key.
    pub authority: Fingerprint,
}

/// Why a signature does not count. Each is said so that the person who asked for the signature knows what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The file is not a signature that can be considered.
    #[error("it is not a signature that counts here: {0}")]
    NotASignature(SigError),
    /// It was made for something else.
    #[error("it was made for another purpose, the namespace `{}`: sign again with `-n {wanted}`", found.escape_debug())]
    OtherNamespace {
        /// What it was made for.
        found: String,
        /// What it must be made for.
        wanted: Namespace,
    },
    /// It does not fit the bytes.
    #[error("the signature is over other bytes than these, or was changed (it names the key {key})")]
    OtherBytes {
        /// The key that it names.
        key: Fingerprint,
    },
    /// Nobody has this key.
    #[error("it was made with the unknown key {key}: no line of the signers file has it")]
    UnknownKey {
        /// The key, or the authority of its certificate.
        key: Fingerprint,
    },
    /// The key is that of somebody whom the policy does not name.
    #[error(
        "it was made with the key {key}, which line {line} of the signers file gives to nobody whom the policy names"
    )]
    Stranger {
        /// The key.
        key: Fingerprint,
        /// The line that has it.
        line: usize,
    },
    /// The key could be that of several persons.
    #[error("it was made with the key {key}, which the signers file gives to {persons}: one key is one person's")]
    SeveralPersons {
        /// The key.
        key: Fingerprint,
        /// Their names.
        persons: String,
    },
    /// The key may not sign for this.
    #[error("signed by {person} with a key that line {line} of the signers file does not permit for `{namespace}`")]
    NotPermitted {
        /// Whose key it is.
        person: Person,
        /// What it was made for.
        namespace: Namespace,
        /// The line that says so.
        line: usize,
    },
    /// The key, or its certificate, is no longer valid.
    #[error("signed by {person} with a {what} that expired on {}", show(*on))]
    Expired {
        /// Whose key it is.
        person: Person,
        /// `key` or `certificate`.
        what: &'static str,
        /// When.
        on: DateTime<Utc>,
    },
    /// The key, or its certificate, is not valid yet.
    #[error("signed by {person} with a {what} that is not valid before {}", show(*from))]
    NotYetValid {
        /// Whose key it is.
        person: Person,
        /// `key` or `certificate`.
        what: &'static str,
        /// From when on it is.
        from: DateTime<Utc>,
    },
    /// The certificate names nobody who may sign by it.
    #[error("its certificate `{}` names {}, none of whom line {line} of the signers file and the policy both know", id.escape_debug(), names(principals))]
    CertificateNames {
        /// What its authority calls it.
        id: String,
        /// Whom it names.
        principals: Vec<String>,
        /// The authority's line.
        line: usize,
    },
    /// The certificate has a condition that is not met or cannot be checked.
    #[error("its certificate `{}` has the condition `{}`, which is not met here", id.escape_debug(), condition.escape_debug())]
    Condition {
        /// What its authority calls it.
        id: String,
        /// The condition.
        condition: String,
    },
    /// The key was revoked.
    #[error("signed by {person} with the key {key}, which is revoked")]
    Revoked {
        /// Whose key it was.
        person: Person,
        /// The key.
        key: Fingerprint,
    },
    /// `ssh-keygen` refuses what our own reading would take.
    #[error("signed by {person}, as it says, but ssh-keygen refuses it: {said}{}", hint(said))]
    Refused {
        /// Whose key it is.
        person: Person,
        /// What it said.
        said: String,
    },
    /// It could not be checked, and so does not count.
    #[error("it could not be checked: {0}")]
    NotChecked(String),
}

impl Namespace {
    /// As it stands in signatures.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "interlock-plan@v1",
            Self::Override => "interlock-override@v1",
            Self::Review => "interlock-review@v1",
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<KeygenError> for Rejected {
    fn from(error: KeygenError) -> Self {
        Self::NotChecked(error.to_string())
    }
}

/// A moment, for people.
pub(super) fn show(moment: DateTime<Utc>) -> String {
    moment.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn names(principals: &[String]) -> String {
    match principals {
        [] => "nobody".to_owned(),
        some => some.iter().map(|name| format!("`{}`", name.escape_debug())).collect::<Vec<_>>().join(", "),
    }
}

/// Checks a signature over these bytes, made for this, at this moment.
///
/// # Errors
/// If it does not count, with the reason in words; also if it could not be checked.
pub fn verify(
    keygen: &Keygen,
    bytes: &[u8],
    signature: &[u8],
    namespace: Namespace,
    roster: &Roster<'_>,
    at: DateTime<Utc>,
) -> Result<Accepted, Rejected> {
    let claim = sshsig::read(signature).map_err(Rejected::NotASignature)?;
    if claim.namespace != namespace.as_str() {
        return Err(Rejected::OtherNamespace { found: claim.namespace, wanted: namespace });
    }
    let question = Question::new(keygen, bytes, signature, namespace, roster)?;
    // Before anything is said of a person: the key that the signature names did make it, over these bytes.
    let fits = question.fits()?;
    if fits.verdict == Verdict::NotGood {
        // What it says when it came so far as to look at the signature; anything else is a question that it did not understand.
        if fits.said.contains("Could not verify signature") {
            return Err(Rejected::OtherBytes { key: claim.key.key().fingerprint.clone() });
        }
        return Err(Rejected::NotChecked(format!("ssh-keygen says: {}", one_line(&fits.said))));
    }
    let person = whose(&claim, namespace, roster, at)?;
    let answer = question.counts(&person, at, UseRevoked::Yes)?;
    let key = claim.key.key().fingerprint.clone();
    if answer.verdict == Verdict::NotGood {
        let unrevoked = question.counts(&person, at, UseRevoked::No)?;
        if unrevoked.verdict == Verdict::NotGood || roster.revoked.is_none() {
            return Err(Rejected::Refused { person, said: one_line(&answer.said) });
        }
        return Err(match question.broken_krl(&claim)? {
            Some(why) => Rejected::NotChecked(format!("the file of revoked keys is not right: {why}")),
            None => Rejected::Revoked { person, key },
        });
    }
    // Both readings must have seen the same person and key.
    if !answer.said.contains(&format!(" for {person} with ")) || !answer.said.contains(&key.to_string()) {
        return Err(Rejected::Refused { person, said: one_line(&answer.said) });
    }
    let certificate = match claim.key {
        SigningKey::Plain(_) => None,
        SigningKey::Certified(certificate) => Some(Certified {
            id: certificate.id,
            serial: certificate.serial,
            authority: certificate.authority.fingerprint,
        }),
    };
    Ok(Accepted {
        person,
        key,
        algorithm: claim.algorithm,
        presence: claim.presence,
        certificate,
        namespace,
        over: Digest::of(bytes),
    })
}

/// What to do, where `ssh-keygen` does not know what stands in the signers file. Its words are those of OpenSSH 8.4 to 9.0.
fn hint(said: &str) -> &'static str {
    let words = ["unknown key option", "invalid \"valid-after\" time", "invalid \"valid-before\" time"];
    match words.iter().any(|words| said.contains(words)) {
        true => {
            "; this OpenSSH is too old for the times (valid-after, valid-before) that stand there: install OpenSSH 9.1 or later, or take \
             them out of this person's lines"
        }
        // It looks at a certificate as of now, whatever time it is asked about.
        false if said.contains("Certificate invalid: expired") => {
            "; the certificate was valid at the time that counts, and an OpenSSH before 8.7 looks at no time but now: check it with a later one"
        }
        false => "",
    }
}

fn one_line(said: &str) -> String {
    said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Whose signature it is, by our own reading of the signers file.
fn whose(claim: &SshSig, namespace: Namespace, roster: &Roster<'_>, at: DateTime<Utc>) -> Result<Person, Rejected> {
    let lines: Vec<&SignerLine> = roster.signers.lines.iter().filter(|line| concerns(line, &claim.key)).collect();
    let mut first_refusal = None;
    let mut persons: BTreeSet<Person> = BTreeSet::new();
    for line in lines {
        match judge(line, claim, namespace, roster, at) {
            Ok(person) => {
                persons.insert(person);
            }
            Err(refusal) => {
                first_refusal.get_or_insert(refusal);
            }
        }
    }
    let key = claim.key.key().fingerprint.clone();
    if persons.len() > 1 {
        return Err(several(key, &persons));
    }
    match (persons.pop_first(), first_refusal) {
        (Some(person), _) => Ok(person),
        (None, Some(refusal)) => Err(refusal),
        (None, None) => Err(Rejected::UnknownKey {
            key: match &claim.key {
                SigningKey::Plain(key) => key.fingerprint.clone(),
                SigningKey::Certified(certificate) => certificate.authority.fingerprint.clone(),
            },
        }),
    }
}

fn several(key: Fingerprint, persons: &BTreeSet<Person>) -> Rejected {
    let persons = persons.iter().map(Person::as_str).collect::<Vec<_>>().join(" and ");
    Rejected::SeveralPersons { key, persons }
}

/// Whether a line speaks of this key: of a bare one as somebody's own, of a certified one as its authority's.
fn concerns(line: &SignerLine, key: &SigningKey) -> bool {
    match (line.role, key) {
        (Role::Own, SigningKey::Plain(key)) => line.key.is(key),
        (Role::Authority, SigningKey::Certified(certificate)) => line.key.is(&certificate.authority),
        (Role::Own, SigningKey::Certified(_)) | (Role::Authority, SigningKey::Plain(_)) => false,
    }
}

/// The person, if this line lets the key sign for this at this moment.
fn judge(
    line: &SignerLine,
    claim: &SshSig,
    namespace: Namespace,
    roster: &Roster<'_>,
    at: DateTime<Utc>,
) -> Result<Person, Rejected> {
    let key = claim.key.key();
    let mut named: BTreeSet<Person> =
        roster.people.iter().filter(|person| line.principals.matches(person.as_str())).cloned().collect();
    if let SigningKey::Certified(certificate) = &claim.key {
        named.retain(|person| certificate.principals.iter().any(|name| name == person.as_str()));
        if named.is_empty() {
            return Err(Rejected::CertificateNames {
                id: certificate.id.clone(),
                principals: certificate.principals.clone(),
                line: line.number,
            });
        }
    }
    if named.len() > 1 {
        return Err(several(key.fingerprint.clone(), &named));
    }
    let person =
        named.pop_first().ok_or_else(|| Rejected::Stranger { key: key.fingerprint.clone(), line: line.number })?;
    if line.namespaces.as_ref().is_some_and(|namespaces| !namespaces.matches(namespace.as_str())) {
        return Err(Rejected::NotPermitted { person, namespace, line: line.number });
    }
    if let Some(from) = line.valid_after.filter(|from| at < *from) {
        return Err(Rejected::NotYetValid { person, what: "key", from });
    }
    // As in OpenSSH, the last second still counts.
    if let Some(on) = line.valid_before.filter(|until| at > *until) {
        return Err(Rejected::Expired { person, what: "key", on });
    }
    if let SigningKey::Certified(certificate) = &claim.key {
        certified(certificate, claim.presence, &person, at)?;
    }
    if roster.revoked.is_some_and(|revoked| revoked.listed.contains(&key.fingerprint)) {
        return Err(Rejected::Revoked { person, key: key.fingerprint.clone() });
    }
    Ok(person)
}

/// Whether a certificate is valid now, and its conditions are met.
fn certified(
    certificate: &Certificate,
    presence: Presence,
    person: &Person,
    at: DateTime<Utc>,
) -> Result<(), Rejected> {
    let now = u64::try_from(at.timestamp()).unwrap_or(0);
    let person = person.clone();
    if now < certificate.valid_after {
        let from = certificate.begins().unwrap_or(DateTime::<Utc>::MAX_UTC);
        return Err(Rejected::NotYetValid { person, what: "certificate", from });
    }
    if now >= certificate.valid_before {
        let on = certificate.ends().unwrap_or(DateTime::<Utc>::MAX_UTC);
        return Err(Rejected::Expired { person, what: "certificate", on });
    }
    for condition in &certificate.critical {
        // A condition that is not understood is not met (PROTOCOL.certkeys, "Critical options").
        if condition != "verify-required" || presence != Presence::Verified {
            return Err(Rejected::Condition { id: certificate.id.clone(), condition: condition.clone() });
        }
    }
    Ok(())
}

/// Whether the file of revoked keys is looked at: without it only to say why something was refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UseRevoked {
    Yes,
    No,
}

/// The files of a question to `ssh-keygen`.
struct Question<'a> {
    keygen: &'a Keygen,
    scratch: Scratch,
    bytes: &'a [u8],
    namespace: Namespace,
    signature: String,
    signers: String,
    revoked: Option<String>,
}

impl<'a> Question<'a> {
    fn new(
        keygen: &'a Keygen,
        bytes: &'a [u8],
        signature: &[u8],
        namespace: Namespace,
        roster: &Roster<'_>,
    ) -> Result<Self, KeygenError> {
        let scratch = Scratch::new()?;
        let put = |name: &str, bytes: &[u8]| scratch.write(name, bytes).map(|path| path.display().to_string());
        let signature = put("signature", signature)?;
        let signers = put("signers", roster.signers.source.text().as_bytes())?;
        let revoked = roster.revoked.map(|revoked| put("revoked", &revoked.bytes)).transpose()?;
        Ok(Self { keygen, scratch, bytes, namespace, signature, signers, revoked })
    }

    /// Whether the key in the signature made it over these bytes, whoever's it is.
    fn fits(&self) -> Result<Answer, KeygenError> {
        let arguments = ["-Y", "check-novalidate", "-n", self.namespace.as_str(), "-s", &self.signature];
        self.keygen.ask(&self.scratch, &arguments, self.bytes)
    }

    /// What is wrong with a KRL, which makes `verify` refuse without saying so; none if nothing is.
    fn broken_krl(&self, claim: &SshSig) -> Result<Option<String>, KeygenError> {
        let Some(revoked) = &self.revoked else { return Ok(None) };
        let key = self.scratch.write("key.pub", claim.key.key().line().as_bytes())?;
        let answer = self.keygen.ask(&self.scratch, &["-Q", "-f", revoked, &key.display().to_string()], b"")?;
        Ok(answer.said.contains("Invalid KRL").then(|| one_line(&answer.said)))
    }

    /// Whether it counts as this person's at this moment.
    fn counts(&self, person: &Person, at: DateTime<Utc>, use_revoked: UseRevoked) -> Result<Answer, KeygenError> {
        let verify_time = format!("-Overify-time={}", at.format("%Y%m%d%H%M%S"));
        let namespace = self.namespace.as_str();
        let mut arguments = vec!["-Y", "verify", "-f", &self.signers, "-I", person.as_str(), "-n", namespace];
        arguments.extend(["-s", &self.signature, &verify_time]);
        if let (UseRevoked::Yes, Some(revoked)) = (use_revoked, &self.revoked) {
            arguments.extend(["-r", revoked]);
        }
        self.keygen.ask(&self.scratch, &arguments, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn what_an_older_openssh_does_not_know_is_told_with_what_to_do() {
        // As 8.4 and 8.7 say it.
        for said in [
            "signers:1: bad options: unknown key option; Could not verify signature.",
            "signers:1: bad options: invalid \"valid-before\" time; Could not verify signature.",
        ] {
            assert!(hint(said).contains("install OpenSSH 9.1 or later"), "{said}");
        }
        let said = "signers:1: certificate not authorized: Certificate invalid: expired; Could not verify signature.";
        assert!(hint(said).contains("before 8.7"));
        assert_eq!(hint("Could not verify signature."), "");
    }
}
