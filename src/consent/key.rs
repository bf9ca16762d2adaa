//! Public keys and certificates as OpenSSH writes them (RFC 4253 section 6.6, RFC 5656, RFC 8709, PROTOCOL.u2f,
//! PROTOCOL.certkeys), read strictly, and which of them may sign here.

use std::fmt;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::wire::{Wire, WireError, unpadded_base64};

/// The fewest bits an RSA key may have.
pub const FEWEST_RSA_BITS: usize = 3072;

/// A public key without any certificate around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// What it is.
    pub kind: KeyKind,
    /// Its name by digest.
    pub fingerprint: Fingerprint,
    blob: Vec<u8>,
}

/// The kinds of keys that may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// `ssh-ed25519`.
    Ed25519,
    /// `sk-ssh-ed25519@openssh.com`: in hardware.
    HardwareEd25519,
    /// `ecdsa-sha2-nistp256`, `-nistp384`, `-nistp521`.
    Ecdsa(Curve),
    /// `sk-ecdsa-sha2-nistp256@openssh.com`: in hardware.
    HardwareEcdsa,
    /// `ssh-rsa`, with so many bits; signs with SHA-256 or SHA-512 only.
    Rsa(usize),
}

/// A curve of NIST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// P-256.
    P256,
    /// P-384.
    P384,
    /// P-521.
    P521,
}

/// The SHA-256 of a key's blob, as `ssh-keygen -l` prints it: `SHA256:` and base64 without padding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(String);

/// The key that a signature names: bare, or certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SigningKey {
    /// A bare key.
    Plain(PublicKey),
    /// A key in a certificate.
    Certified(Box<Certificate>),
}

/// Why a key cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not whole, or not as OpenSSH would write it.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// It is a key, but not one that may sign here.
    #[error("{0}")]
    MayNotSign(String),
}

/// A certificate of a user's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The key that it certifies.
    pub key: PublicKey,
    /// Its number.
    pub serial: u64,
    /// What its authority calls it.
    pub id: String,
    /// Whom it names.
    pub principals: Vec<String>,
    /// The first second at which it is valid, from 1970.
    pub valid_after: u64,
    /// The first second at which it no longer is; `u64::MAX` for never.
    pub valid_before: u64,
    /// The conditions under which alone it may be used.
    pub critical: Vec<String>,
    /// The key that signed it.
    pub authority: PublicKey,
}

impl KeyKind {
    /// The name of the kind of key, as it stands in a key file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::HardwareEd25519 => "sk-ssh-ed25519@openssh.com",
            Self::Ecdsa(Curve::P256) => "ecdsa-sha2-nistp256",
            Self::Ecdsa(Curve::P384) => "ecdsa-sha2-nistp384",
            Self::Ecdsa(Curve::P521) => "ecdsa-sha2-nistp521",
            Self::HardwareEcdsa => "sk-ecdsa-sha2-nistp256@openssh.com",
            Self::Rsa(_) => "ssh-rsa",
        }
    }

    /// Whether such a key may sign with this algorithm.
    pub fn signs_with(self, algorithm: &str) -> bool {
        match self {
            Self::Rsa(_) => matches!(algorithm, "rsa-sha2-256" | "rsa-sha2-512"),
            Self::Ed25519 | Self::HardwareEd25519 | Self::Ecdsa(_) | Self::HardwareEcdsa => algorithm == self.name(),
        }
    }

    /// Whether it lies in a security key, whose signatures say whether somebody touched it.
    pub fn is_hardware(self) -> bool {
        match self {
            Self::HardwareEd25519 | Self::HardwareEcdsa => true,
            Self::Ed25519 | Self::Ecdsa(_) | Self::Rsa(_) => false,
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PublicKey {
    /// Reads the blob of a bare key.
    ///
    /// # Errors
    /// If it is not a whole key of a known kind, or too weak.
    pub fn read(blob: &[u8]) -> Result<Self, KeyError> {
        let mut wire = Wire::new(blob);
        let name = wire.text("the kind of key")?;
        let kind = body(name, &mut wire)?;
        wire.end("the key")?;
        Ok(Self::new(kind, blob.to_vec()))
    }

    fn new(kind: KeyKind, blob: Vec<u8>) -> Self {
        let fingerprint = Fingerprint(format!("SHA256:{}", unpadded_base64(&Sha256::digest(&blob))));
        Self { kind, fingerprint, blob }
    }

    /// The key as it stands in a `.pub` file, without a comment.
    pub fn line(&self) -> String {
        let mut text = unpadded_base64(&self.blob);
        text.extend(std::iter::repeat_n('=', (4 - text.len() % 4) % 4));
        format!("{} {text}\n", self.kind.name())
    }

    /// The same key, whatever is around it.
    pub fn is(&self, other: &Self) -> bool {
        self.blob == other.blob
    }
}

/// The parts of a bare key behind its name.
fn body(name: &str, wire: &mut Wire<'_>) -> Result<KeyKind, KeyError> {
    let kind = match name {
        "ssh-ed25519" => KeyKind::Ed25519,
        "sk-ssh-ed25519@openssh.com" => KeyKind::HardwareEd25519,
        "ecdsa-sha2-nistp256" => KeyKind::Ecdsa(Curve::P256),
        "ecdsa-sha2-nistp384" => KeyKind::Ecdsa(Curve::P384),
        "ecdsa-sha2-nistp521" => KeyKind::Ecdsa(Curve::P521),
        "sk-ecdsa-sha2-nistp256@openssh.com" => KeyKind::HardwareEcdsa,
        "ssh-rsa" => KeyKind::Rsa(0),
        other => {
            return Err(KeyError::MayNotSign(format!("keys of the kind `{}` may not sign here", other.escape_debug())));
        }
    };
    match kind {
        KeyKind::Ed25519 | KeyKind::HardwareEd25519 => {
            if wire.string("the key")?.len() != 32 {
                return Err(malformed("an Ed25519 key has 32 bytes, and this one has not"));
            }
        }
        KeyKind::Ecdsa(curve) => point(curve, wire)?,
        KeyKind::HardwareEcdsa => point(Curve::P256, wire)?,
        KeyKind::Rsa(_) => {
            wire.string("the exponent")?;
            let modulus = wire.string("the modulus")?;
            let bits = match modulus.iter().position(|b| *b != 0) {
                Some(at) => (modulus.len() - at) * 8 - usize::try_from(modulus[at].leading_zeros()).unwrap_or(0),
                None => 0,
            };
            if bits < FEWEST_RSA_BITS {
                let message = format!("an RSA key of {bits} bits is too weak: it needs {FEWEST_RSA_BITS}");
                return Err(KeyError::MayNotSign(message));
            }
            return Ok(KeyKind::Rsa(bits));
        }
    }
    if kind.is_hardware() {
        wire.string("the application of a hardware key")?;
    }
    Ok(kind)
}

fn point(curve: Curve, wire: &mut Wire<'_>) -> Result<(), WireError> {
    let (name, length) = match curve {
        Curve::P256 => ("nistp256", 65),
        Curve::P384 => ("nistp384", 97),
        Curve::P521 => ("nistp521", 133),
    };
    let named = wire.text("the curve")?;
    let point = wire.string("the key")?;
    // 4 says that the point is written uncompressed, which is all that OpenSSH writes.
    if named != name || point.len() != length || point[0] != 4 {
        return Err(WireError(format!("it is not a point on the curve {name}")));
    }
    Ok(())
}

impl SigningKey {
    /// Reads the blob of a key or of a certificate.
    ///
    /// # Errors
    /// If it is not whole, of a kind that may not sign, too weak, or no certificate of a user.
    pub fn read(blob: &[u8]) -> Result<Self, KeyError> {
        let name = Wire::new(blob).text("the kind of key")?;
        if !name.contains("-cert-v01@openssh.com") {
            return PublicKey::read(blob).map(Self::Plain);
        }
        certificate(blob).map(|certificate| Self::Certified(Box::new(certificate)))
    }

    /// The key itself.
    pub fn key(&self) -> &PublicKey {
        match self {
            Self::Plain(key) => key,
            Self::Certified(certificate) => &certificate.key,
        }
    }
}

/// The name of the bare key in a certificate of this name.
fn certified_name(name: &str) -> Option<&'static str> {
    Some(match name {
        "ssh-ed25519-cert-v01@openssh.com" => "ssh-ed25519",
        "sk-ssh-ed25519-cert-v01@openssh.com" => "sk-ssh-ed25519@openssh.com",
        "ecdsa-sha2-nistp256-cert-v01@openssh.com" => "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384-cert-v01@openssh.com" => "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521-cert-v01@openssh.com" => "ecdsa-sha2-nistp521",
        "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com" => "sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-rsa-cert-v01@openssh.com" => "ssh-rsa",
        _ => return None,
    })
}

fn certificate(blob: &[u8]) -> Result<Certificate, KeyError> {
    let mut wire = Wire::new(blob);
    let name = wire.text("the kind of certificate")?;
    let plain = certified_name(name).ok_or_else(|| {
        KeyError::MayNotSign(format!("certificates of the kind `{}` may not sign here", name.escape_debug()))
    })?;
    wire.string("the nonce")?;
    let before = wire;
    let kind = body(plain, &mut wire)?;
    let key_fields = before.until(&wire);
    let mut key_blob = Vec::with_capacity(plain.len() + 4 + key_fields.len());
    key_blob.extend(u32::try_from(plain.len()).expect("the names of kinds are short").to_be_bytes());
    key_blob.extend(plain.as_bytes());
    key_blob.extend(key_fields);
    let serial = wire.long_number("the serial number")?;
    if wire.number("the type of certificate")? != 1 {
        return Err(KeyError::MayNotSign("it is not a user's certificate".to_owned()));
    }
    let id = wire.text("the key id")?.to_owned();
    let principals = texts(wire.string("the principals")?, "a principal")?;
    let valid_after = wire.long_number("the beginning of its validity")?;
    let valid_before = wire.long_number("the end of its validity")?;
    let critical = options(wire.string("the critical options")?)?;
    options(wire.string("the extensions")?)?;
    wire.string("the reserved field")?;
    let authority = PublicKey::read(wire.string("the authority's key")?)
        .map_err(|error| KeyError::MayNotSign(format!("its authority's key: {error}")))?;
    let mut signature = Wire::new(wire.string("the authority's signature")?);
    wire.end("the certificate")?;
    let algorithm = signature.text("the authority's algorithm")?;
    if !authority.kind.signs_with(algorithm) {
        let message = format!("its authority signed it with `{}`, which is not safe enough", algorithm.escape_debug());
        return Err(KeyError::MayNotSign(message));
    }
    let key = PublicKey::new(kind, key_blob);
    Ok(Certificate { key, serial, id, principals, valid_after, valid_before, critical, authority })
}

fn malformed(message: &str) -> KeyError {
    KeyError::Malformed(WireError(message.to_owned()))
}

fn texts(blob: &[u8], what: &str) -> Result<Vec<String>, WireError> {
    let mut wire = Wire::new(blob);
    let mut found = Vec::new();
    while !wire.is_empty() {
        found.push(wire.text(what)?.to_owned());
    }
    Ok(found)
}

/// The names of options, each followed by its data.
fn options(blob: &[u8]) -> Result<Vec<String>, WireError> {
    let mut wire = Wire::new(blob);
    let mut found = Vec::new();
    while !wire.is_empty() {
        found.push(wire.text("the name of an option")?.to_owned());
        wire.string("the data of an option")?;
    }
    Ok(found)
}

impl Certificate {
    /// When it began to be valid; none where the number is beyond any calendar.
    pub fn begins(&self) -> Option<DateTime<Utc>> {
        moment(self.valid_after)
    }

    /// When it ceases to be valid; none for never.
    pub fn ends(&self) -> Option<DateTime<Utc>> {
        moment(self.valid_before)
    }
}

fn moment(seconds: u64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)
}
