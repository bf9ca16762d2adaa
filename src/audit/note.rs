//! Checkpoints as text: a C2SP tlog-checkpoint in a C2SP signed note (c2sp.org/tlog-checkpoint, c2sp.org/signed-note), signed with
//! Ed25519. Three lines say which log it is, how many entries it had and the root of their tree; a signature line follows an empty one.
//! Pure.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::tree::Hash;

/// The kind of key in a note: Ed25519.
const ED25519: u8 = 1;
/// How a signature line begins.
const DASH: &str = "\u{2014} ";
/// The longest checkpoint that is read, in bytes.
pub(super) const LONGEST: usize = 8 * 1024;

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: `interlock/` and the UUID in its first entry.
    pub origin: String,
    /// How many entries it had.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// The key that signs the checkpoints of a log. Its `Debug` does not show it.
pub(super) struct LogKey {
    name: String,
    key: SigningKey,
}

/// The public half of a log's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

/// Why a text is no checkpoint, or no key, or is not signed as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoteError(String);

fn wrong<T>(why: impl Into<String>) -> Result<T, NoteError> {
    Err(NoteError(why.into()))
}

impl Checkpoint {
    /// The text that is signed.
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads a checkpoint that one of these keys has signed; gives the key. Signatures by other keys are passed over, as the format
    /// asks; without one by a known key nothing of it is believed.
    ///
    /// # Errors
    /// In words.
    pub fn open<'k>(note: &[u8], keys: &'k [PublicKey]) -> Result<(Self, &'k PublicKey), NoteError> {
        if note.len() > LONGEST {
            return wrong("it is too long to be a checkpoint");
        }
        let Ok(note) = std::str::from_utf8(note) else { return wrong("it is not UTF-8") };
        let Some((body, signatures)) = note.split_once("\n\n") else {
            return wrong("it has no empty line before the signatures");
        };
        let text = format!("{body}\n");
        let checkpoint = Self::read(&text)?;
        if signatures.is_empty() || !signatures.ends_with('\n') {
            return wrong("it does not end with a signature line");
        }
        let mut signer = None;
        for line in signatures.lines() {
            let Some((name, signature)) = line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')) else {
                return wrong("what stands after the empty line is no signature");
            };
            let Ok(bytes) = STANDARD.decode(signature) else { return wrong("a signature is not base64") };
            let Some((hash, bytes)) = bytes.split_at_checked(4) else { return wrong("a signature is too short") };
            let Some(key) = keys.iter().find(|key| key.name == name && key.hash() == hash) else { continue };
            let Ok(signature) = Signature::from_slice(bytes) else { return wrong("a signature has the wrong length") };
            if key.key.verify_strict(text.as_bytes(), &signature).is_err() {
                return wrong(format!(
                    "the signature by `{name}` is not one over this text: the checkpoint was changed"
                ));
            }
            signer.get_or_insert(key);
        }
        match signer {
            Some(key) if key.name == checkpoint.origin => Ok((checkpoint, key)),
            Some(key) => {
                wrong(format!("it is signed by the key of `{}`, and speaks of `{}`", key.name, checkpoint.origin))
            }
            None => wrong(format!(
                "no key is known that signed it: this log's key is not its signer, and none was given that is; it speaks of `{}`",
                checkpoint.origin.escape_debug()
            )),
        }
    }

    /// What a text claims, before any signature is looked at: to be believed only once [`Self::open`] takes it.
    ///
    /// # Errors
    /// In words.
    pub fn claimed(note: &[u8]) -> Result<Self, NoteError> {
        let note = std::str::from_utf8(note).ok().filter(|note| note.len() <= LONGEST);
        let Some((body, _)) = note.and_then(|note| note.split_once("\n\n")) else {
            return wrong("it is no checkpoint");
        };
        Self::read(&format!("{body}\n"))
    }

    fn read(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return wrong("it has fewer than three lines");
        };
        let number = size.parse::<u64>().ok().filter(|number| number.to_string() == size);
        let Some(size) = number else { return wrong("its second line is no number of entries") };
        let root = STANDARD.decode(root).ok().and_then(|bytes| Hash::try_from(bytes).ok());
        let Some(root) = root else { return wrong("its third line is no root") };
        if lines.next().is_some() {
            return wrong("it has lines after the root, and this program writes none");
        }
        if origin.is_empty() || !origin.bytes().all(|b| b.is_ascii_graphic() && b != b'+') {
            return wrong("its first line names no log");
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

impl LogKey {
    /// A key from 32 random bytes.
    pub(super) fn new(name: &str, seed: &[u8; 32]) -> Self {
        Self { name: name.to_owned(), key: SigningKey::from_bytes(seed) }
    }

    /// Signs a checkpoint of its log: the whole note.
    pub(super) fn sign(&self, checkpoint: &Checkpoint) -> String {
        let text = checkpoint.text();
        let mut signature = self.public().hash().to_vec();
        signature.extend(self.key.sign(text.as_bytes()).to_bytes());
        format!("{text}\n{DASH}{} {}\n", self.name, STANDARD.encode(signature))
    }

    pub(super) fn public(&self) -> PublicKey {
        PublicKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// Signs something that is no checkpoint, with what kind of thing it is (see [`pae`]): 64 bytes.
    pub(super) fn sign_as(&self, kind: &str, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(&pae(kind, bytes)).to_bytes()
    }

    /// As a file, in the form that other tools for such notes use.
    pub(super) fn to_file(&self) -> String {
        let mut bytes = vec![ED25519];
        bytes.extend(self.key.to_bytes());
        format!("PRIVATE+KEY+{}+{}+{}\n", self.name, hex(&self.public().hash()), STANDARD.encode(bytes))
    }

    /// Reads [`Self::to_file`].
    pub(super) fn from_file(text: &str) -> Result<Self, NoteError> {
        let parts: Vec<&str> = text.trim_end_matches('\n').splitn(5, '+').collect();
        let ["PRIVATE", "KEY", name, hash, encoded] = parts.as_slice() else { return wrong("it is no private key") };
        let bytes = STANDARD.decode(encoded).unwrap_or_default();
        let Some((&ED25519, seed)) = bytes.split_first() else { return wrong("it is no Ed25519 key") };
        let Ok(seed) = <[u8; 32]>::try_from(seed) else { return wrong("it has the wrong length") };
        let key = Self::new(name, &seed);
        if hex(&key.public().hash()) == *hash { Ok(key) } else { wrong("its fingerprint is not that of its key") }
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PublicKey {
    /// The log that it signs for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has signed this as this kind of thing (see [`pae`]).
    pub(super) fn has_signed(&self, kind: &str, bytes: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(&pae(kind, bytes), &signature).is_ok())
    }

    /// `<name>+<fingerprint>`: what to call it by, where the key itself is not needed.
    pub fn id(&self) -> String {
        format!("{}+{}", self.name, hex(&self.hash()))
    }

    /// What tells it from other keys of the same name: 4 bytes.
    fn hash(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }
}

/// `<name>+<fingerprint>+<key>`, as verifiers of such notes take it.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex(&self.hash()), STANDARD.encode(bytes))
    }
}

impl std::str::FromStr for PublicKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let parts: Vec<&str> = text.trim().splitn(3, '+').collect();
        let [name, hash, encoded] = parts.as_slice() else { return wrong("it is no key of a log") };
        let bytes = STANDARD.decode(encoded).unwrap_or_default();
        let Some((&ED25519, key)) = bytes.split_first() else { return wrong("it is no Ed25519 key") };
        let key = <[u8; 32]>::try_from(key).ok().and_then(|key| VerifyingKey::from_bytes(&key).ok());
        let Some(key) = key else { return wrong("it is no Ed25519 key") };
        let public = Self { name: (*name).to_owned(), key };
        if hex(&public.hash()) == *hash { Ok(public) } else { wrong("its fingerprint is not that of its key") }
    }
}

/// The bytes that are signed for something that is no checkpoint: the pre-authentication encoding of DSSE, which says what kind of thing
/// it is. Nothing that begins so can be read as a checkpoint, whose first line has no blank.
fn pae(kind: &str, bytes: &[u8]) -> Vec<u8> {
    let mut all = format!("DSSEv1 {} {kind} {} ", kind.len(), bytes.len()).into_bytes();
    all.extend_from_slice(bytes);
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Checkpoint, LogKey, PublicKey};

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "interlock/log".to_owned(), size: 21, root: [7; 32] }
    }

    fn key() -> LogKey {
        LogKey::new("interlock/log", &[3; 32])
    }

    #[test]
    fn a_key_is_read_back_from_its_file_and_from_its_public_text() {
        let key = key();
        assert_eq!(LogKey::from_file(&key.to_file()).unwrap().public(), key.public());
        assert_eq!(key.public().to_string().parse::<PublicKey>().unwrap(), key.public());
        assert!(!format!("{key:?}").contains("key:"), "the key is not shown");
    }

    #[test]
    fn p08_a_checkpoint_counts_only_as_it_was_signed() {
        let note = key().sign(&checkpoint());
        let keys = [key().public()];
        assert_eq!(Checkpoint::open(note.as_bytes(), &keys).unwrap().0, checkpoint());
        for at in 0..note.len() {
            let mut changed = note.clone().into_bytes();
            changed[at] ^= 1;
            assert!(Checkpoint::open(&changed, &keys).is_err(), "byte {at}");
        }
        for end in 0..note.len() {
            assert!(Checkpoint::open(&note.as_bytes()[..end], &keys).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn p08_a_checkpoint_by_another_key_or_for_another_log_does_not_count() {
        let note = key().sign(&checkpoint());
        let other = LogKey::new("interlock/log", &[4; 32]).public();
        assert!(Checkpoint::open(note.as_bytes(), &[other]).unwrap_err().to_string().contains("no key is known"));
        let elsewhere = LogKey::new("interlock/other", &[3; 32]);
        let note = elsewhere.sign(&checkpoint());
        let error = Checkpoint::open(note.as_bytes(), &[elsewhere.public()]).unwrap_err().to_string();
        assert!(error.contains("speaks of `interlock/log`"), "{error}");
    }
}
