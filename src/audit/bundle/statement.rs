//! The manifest of a bundle: an in-toto Statement (version 1) whose subjects are the files beside it, and the DSSE envelope in which the
//! log's key has signed it. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::audit::note::{LogKey, PublicKey};
use crate::id::{Digest, RunId};

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// What a bundle says of a run. A name, not an address.
const PREDICATE: &str = "urn:interlock:run:v1";
/// What the envelope holds.
const PAYLOAD: &str = "application/vnd.in-toto+json";

/// What a bundle is and holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    /// Every file but the manifest itself and its signature.
    pub subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    /// Of what.
    pub predicate: Predicate,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Its name in the bundle.
    pub name: String,
    /// Its bytes.
    pub digest: Sha256,
}

/// A SHA-256, as in-toto writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sha256 {
    /// In hexadecimal.
    pub sha256: Digest,
}

/// What the log's key says of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicate {
    /// The log: `interlock/` and its UUID.
    pub log: String,
    /// The key that signs, in full.
    pub key: String,
    /// The run.
    pub run: RunId,
    /// How it stands.
    pub state: String,
    /// How many entries of the log are in the bundle.
    pub entries: u64,
    /// How many entries the log had.
    pub log_entries: u64,
    /// Files that the entries name and that were not there when the bundle was made.
    pub missing: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

impl Statement {
    /// Over these files.
    pub fn new(subject: Vec<Subject>, predicate: Predicate) -> Self {
        Self { kind: STATEMENT.to_owned(), subject, predicate_type: PREDICATE.to_owned(), predicate }
    }

    /// As a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a statement has texts for keys");
        bytes.push(b'\n');
        bytes
    }

    /// Reads [`Self::to_bytes`].
    ///
    /// # Errors
    /// In words.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match (read.kind.as_str(), read.predicate_type.as_str()) {
            (STATEMENT, PREDICATE) => Ok(read),
            (STATEMENT, other) => Err(format!("it is of the type `{other}`, and this program reads `{PREDICATE}`")),
            (other, _) => Err(format!("it is `{other}`, and not `{STATEMENT}`")),
        }
    }
}

/// The envelope around a statement, signed.
pub fn seal(key: &LogKey, statement: &[u8]) -> Vec<u8> {
    let signature = Signature { keyid: key.public().id(), sig: STANDARD.encode(key.sign_as(PAYLOAD, statement)) };
    let envelope =
        Envelope { payload_type: PAYLOAD.to_owned(), payload: STANDARD.encode(statement), signatures: vec![signature] };
    let mut bytes = serde_json::to_vec(&envelope).expect("an envelope has texts for keys");
    bytes.push(b'\n');
    bytes
}

/// Which of these keys has signed the envelope around this statement.
///
/// # Errors
/// In words: none has, or it is around something else.
pub fn opened<'k>(envelope: &[u8], statement: &[u8], keys: &'k [PublicKey]) -> Result<&'k PublicKey, String> {
    let envelope: Envelope = serde_json::from_slice(envelope).map_err(|error| error.to_string())?;
    if envelope.payload_type != PAYLOAD || STANDARD.decode(&envelope.payload).ok().as_deref() != Some(statement) {
        return Err("it is not around the manifest that lies beside it".to_owned());
    }
    let mut signer = None;
    for Signature { keyid, sig } in &envelope.signatures {
        let Some(key) = keys.iter().find(|key| key.id() == *keyid) else { continue };
        if !STANDARD.decode(sig).is_ok_and(|bytes| key.has_signed(PAYLOAD, statement, &bytes)) {
            return Err(format!("the signature by `{}` is not one over the manifest", key.id()));
        }
        signer.get_or_insert(key);
    }
    signer.ok_or_else(|| "none of the keys that are believed has signed it".to_owned())
}
