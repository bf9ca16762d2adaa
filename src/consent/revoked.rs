//! The file of keys that count no more: a list of public keys, one a line, or a KRL (PROTOCOL.krl), as `ssh-keygen -r` takes it. A
//! list is read by ourselves too; a KRL is the business of `ssh-keygen`.

use super::code;
use super::key::{Fingerprint, KeyError, SigningKey};
use super::signers::lines_of;
use super::wire::base64;
use crate::diagnostic::{Diagnostic, Problems, Source};
use crate::id::Digest;

/// How a KRL begins.
const KRL: &[u8] = b"SSHKRL\n\0";

/// A file of revoked keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Its bytes, as `ssh-keygen` gets them.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    /// The keys of a list; empty for a KRL.
    pub listed: Vec<Fingerprint>,
}

impl Revoked {
    /// Reads the file; `name` is its path, for messages.
    ///
    /// # Errors
    /// Every line of a list that is not a public key: a key that was meant to be revoked must not be passed over.
    pub fn read(name: &str, bytes: Vec<u8>) -> Result<Self, (Source, Vec<Diagnostic>)> {
        let digest = Digest::of(&bytes);
        if bytes.starts_with(KRL) {
            return Ok(Self { bytes, digest, listed: Vec::new() });
        }
        let source = Source::new(name, String::from_utf8_lossy(&bytes));
        let mut problems = Problems::new();
        let mut listed = Vec::new();
        for (number, span) in lines_of(source.text()) {
            let text = source.slice(span).trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let blob = text.split([' ', '\t']).filter(|word| !word.is_empty()).nth(1).unwrap_or_default();
            let key = base64(blob.as_bytes()).and_then(|blob| match SigningKey::read(&blob) {
                Ok(key) => Ok(Some(key.key().fingerprint.clone())),
                // A key that may not sign anyway is as good as revoked.
                Err(KeyError::MayNotSign(_)) => Ok(None),
                Err(KeyError::Malformed(why)) => Err(why),
            });
            match key {
                Ok(fingerprint) => listed.extend(fingerprint),
                Err(why) => problems.push(
                    Diagnostic::error(code::SIGNERS_LINE, format!("`{name}` line {number} is not a public key: {why}"))
                        .at(span, "")
                        .help("each line is a key as it stands in a .pub file; or give a KRL, made by `ssh-keygen -k`"),
                ),
            }
        }
        if problems.has_errors() {
            return Err((source, problems.into_vec()));
        }
        Ok(Self { bytes, digest, listed })
    }
}
