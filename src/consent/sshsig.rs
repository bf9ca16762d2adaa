//! A signature file as `ssh-keygen -Y sign` writes it (PROTOCOL.sshsig), read strictly: one way to write each signature, and nothing
//! in it that is not understood. Reading says what the signature claims; whether it is true, `signature` asks.

use super::key::{KeyError, SigningKey};
use super::wire::{Wire, WireError, base64};

/// The longest signature file that is looked at, in bytes; one with a large certificate has a fifth of it. It is kept whole
/// in an entry of the log, which has 60 KiB at most.
pub const LONGEST: usize = 32 << 10;

const BEGIN: &[u8] = b"-----BEGIN SSH SIGNATURE-----\n";
const END: &[u8] = b"-----END SSH SIGNATURE-----";

/// What a signature file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshSig {
    /// The key it was made with.
    pub key: SigningKey,
    /// What it was made for.
    pub namespace: String,
    /// The algorithm that made it, as OpenSSH names it.
    pub algorithm: String,
    /// What is known of the person's presence.
    pub presence: Presence,
}

/// Whether somebody was there, which only keys in hardware tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The key is a file or in an agent, and cannot tell.
    Untold,
    /// Somebody touched the key.
    Touched,
    /// Somebody touched the key and proved who they are to it, by a PIN or a finger.
    Verified,
}

/// Why a file is not a signature that can be considered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigError {
    /// It is not as the format demands.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// The key that made it is not one that may.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The hardware key says that nobody touched it.
    #[error("the hardware key that made it says that nobody touched it")]
    Untouched,
}

/// Reads a signature file.
///
/// # Errors
/// If a byte of it is not as OpenSSH would write it, if it was made with a key or algorithm that may not sign here, or if a
/// hardware key made it without being touched.
pub fn read(armoured: &[u8]) -> Result<SshSig, SigError> {
    let blob = unarmour(armoured)?;
    let mut wire = Wire::new(&blob);
    if wire.take(6, "the preamble")? != b"SSHSIG" {
        return Err(malformed("it does not begin with SSHSIG"));
    }
    let version = wire.number("the version")?;
    if version != 1 {
        return Err(malformed(format!("it has version {version} of the format, and only 1 is known")));
    }
    let key = SigningKey::read(wire.string("the key")?)?;
    let namespace = wire.text("the namespace")?.to_owned();
    if !wire.string("the reserved field")?.is_empty() {
        return Err(malformed("its reserved field is not empty"));
    }
    let hash = wire.text("the name of the hash")?;
    if !matches!(hash, "sha256" | "sha512") {
        return Err(malformed(format!("it uses the hash `{}`, not sha256 or sha512", hash.escape_debug())));
    }
    let mut inner = Wire::new(wire.string("the signature")?);
    wire.end("the signature")?;
    let algorithm = inner.text("the algorithm")?.to_owned();
    let kind = key.key().kind;
    if !kind.signs_with(&algorithm) {
        let message = format!("a key of the kind {} may not sign with `{}`", kind.name(), algorithm.escape_debug());
        return Err(malformed(message));
    }
    inner.string("the signature's bytes")?;
    let presence = if kind.is_hardware() {
        let flags = inner.byte("the flags")?;
        inner.number("the counter")?;
        // Bit 0 is the presence of a user, bit 2 that the user was verified (PROTOCOL.u2f, WebAuthn section 6.1).
        match (flags & 1 != 0, flags & 4 != 0) {
            (false, _) => return Err(SigError::Untouched),
            (true, false) => Presence::Touched,
            (true, true) => Presence::Verified,
        }
    } else {
        Presence::Untold
    };
    inner.end("the signature's bytes")?;
    Ok(SshSig { key, namespace, algorithm, presence })
}

fn malformed(message: impl Into<String>) -> SigError {
    SigError::Malformed(WireError(message.into()))
}

/// Takes the armour off: a line that begins it, lines of base64 of one length but for the last, a line that ends it.
fn unarmour(armoured: &[u8]) -> Result<Vec<u8>, SigError> {
    if armoured.len() > LONGEST {
        return Err(malformed(format!("it is longer than {} KiB", LONGEST >> 10)));
    }
    let body = armoured.strip_prefix(BEGIN).ok_or_else(|| malformed("it does not begin as an SSH signature"))?;
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    let body = body.strip_suffix(END).ok_or_else(|| malformed("it does not end as an SSH signature"))?;
    let body = body.strip_suffix(b"\n").ok_or_else(|| malformed("its last line is not a line of its own"))?;
    let lines: Vec<&[u8]> = body.split(|b| *b == b'\n').collect();
    let width = lines[0].len();
    let (last, others) = lines.split_last().expect("splitting gives at least one part");
    if others.iter().any(|line| line.len() != width) || last.is_empty() || last.len() > width {
        return Err(malformed("its lines are not of one length"));
    }
    Ok(base64(&lines.concat())?)
}
