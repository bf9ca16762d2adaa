//! What was removed from a step's output is committed to: whoever has the key and says what it was can show it, and whoever has only
//! the log, the transcript and the list cannot guess it, however short it is.
//!
//! The key lies in the home, not beside the transcripts. It is on disk before anything is removed. The list lies beside the transcript.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::exec::transcript::fill_random;

/// How many removals are listed one by one; further ones are counted.
pub const LISTED: u64 = 10_000;
/// How long a block of SHA-256 is, in bytes.
const BLOCK: usize = 64;
/// The first line of what is hashed: nothing else is ever hashed with this key.
const PURPOSE: &str = "interlock-redaction-1";

/// A key for HMAC-SHA256 (RFC 2104). Never shown.
#[derive(Clone)]
pub struct Key {
    inner: Sha256,
    outer: Sha256,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(hidden)")
    }
}

/// Where the list goes and by what it is made.
#[derive(Debug, Clone)]
pub struct ListPlan {
    /// The file; it must not exist. It is made with mode 0600 when something is removed.
    pub path: PathBuf,
    /// The key.
    pub key: Key,
    /// The run's id.
    pub run: String,
    /// The attempt's name, such as `change-1`.
    pub attempt: String,
}

/// What was removed from a step's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// How many pieces.
    pub count: u64,
    /// SHA-256 of the list.
    pub digest: [u8; 32],
    /// Where the list is.
    pub path: PathBuf,
    /// Why the list is not complete, in words; none if all is well.
    pub trouble: Option<String>,
}

/// The list of what is removed, being written. As with a transcript, writing never fails to the caller.
#[derive(Debug)]
pub(super) struct List {
    plan: ListPlan,
    names: Vec<String>,
    counts: Vec<u64>,
    count: u64,
    file: Option<BufWriter<File>>,
    hasher: Sha256,
    trouble: Option<String>,
}

impl Key {
    /// A key of these bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        let part = |pad: u8| {
            let mut block = [pad; BLOCK];
            for (byte, key) in block.iter_mut().zip(bytes) {
                *byte ^= key;
            }
            Sha256::new_with_prefix(block)
        };
        Self { inner: part(0x36), outer: part(0x5c) }
    }

    /// The key in this file, 64 hexadecimal digits. If the file is not there, it is made with a new key, mode 0600, and is on disk when
    /// this returns; if many make it at once, all get the same.
    ///
    /// # Errors
    /// In words, with what to do.
    pub fn of_file(path: &Path) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("the key for what is removed from output, {}: {error}", path.display());
        if let Some(key) = read(path)? {
            return Ok(key);
        }
        make(path).map_err(cannot)?;
        read(path)?.ok_or_else(|| cannot(io::ErrorKind::NotFound.into()))
    }

    /// HMAC-SHA256 of these parts, one after the other.
    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut inner = self.inner.clone();
        for part in parts {
            inner.update(part);
        }
        let mut outer = self.outer.clone();
        outer.update(inner.finalize());
        outer.finalize().into()
    }
}

/// Reads a key; none if there is no file.
fn read(path: &Path) -> Result<Option<Key>, String> {
    let wrong = |problem: String| {
        Err(format!(
            "{}: {problem}; it is the key for what is removed from output: put it back as it was, or move it away, and a new one is made \
             (what was removed under the old one can then not be shown)",
            path.display()
        ))
    };
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return wrong(error.to_string()),
    };
    let mut text = String::new();
    let metadata = match file.metadata() {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return wrong("it is not a regular file".to_owned()),
        Err(error) => return wrong(error.to_string()),
    };
    if metadata.mode() & 0o077 != 0 {
        return Err(format!(
            "{}: others may read it, and could guess with it what was removed from output; `chmod 600` it, or move it away for a new one",
            path.display()
        ));
    }
    if let Err(error) = file.take(1024).read_to_string(&mut text) {
        return wrong(error.to_string());
    }
    match bytes_of(text.trim_end()) {
        Some(bytes) => Ok(Some(Key::new(&bytes))),
        None => wrong("it does not hold 64 hexadecimal digits".to_owned()),
    }
}

/// Makes a file with a new key, durably, unless there is one.
fn make(path: &Path) -> io::Result<()> {
    let (mut bytes, mut unique) = ([0_u8; 32], [0_u8; 32]);
    fill_random(&mut bytes)?;
    fill_random(&mut unique)?;
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", &hex(&unique)[..16]));
    let unfinished = PathBuf::from(unfinished);
    let outcome = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(format!("{}\n", hex(&bytes)).as_bytes())?;
        file.sync_all()?;
        // Unlike a rename, a link never replaces the key of another who was faster.
        match std::fs::hard_link(&unfinished, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            outcome => outcome,
        }
    })();
    let gone = std::fs::remove_file(&unfinished);
    outcome?;
    gone?;
    sync_folder_of(path)
}

impl List {
    /// A list of what these rules remove.
    pub(super) fn new(plan: ListPlan, names: &[String]) -> Self {
        let counts = vec![0; names.len()];
        Self { plan, names: names.to_vec(), counts, count: 0, file: None, hasher: Sha256::new(), trouble: None }
    }

    /// This rule has removed these bytes.
    pub(super) fn take(&mut self, rule: usize, bytes: &[u8]) {
        self.count += 1;
        self.counts[rule] += 1;
        if self.count > LISTED {
            return;
        }
        let (run, attempt, number) = (&self.plan.run, &self.plan.attempt, self.count);
        let head = format!("{PURPOSE}\n{run}\n{attempt}\n{number}\n");
        let mac = hex(&self.plan.key.mac(&[head.as_bytes(), bytes]));
        // A rule's name has only letters, digits and `-`.
        let name = &self.names[rule];
        let line = format!("{{\"rule\":\"{name}\",\"number\":{number},\"hmac\":\"{mac}\"}}\n");
        self.write(&line);
    }

    /// Ends the list, durably; none if nothing was removed.
    pub(super) fn finish(mut self) -> Option<Removed> {
        if self.count == 0 {
            return None;
        }
        // Of several rules of one name, one number.
        let mut by_name: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
        for (name, count) in self.names.iter().zip(&self.counts).filter(|(_, count)| **count > 0) {
            *by_name.entry(name).or_default() += count;
        }
        let counts: Vec<String> = by_name.iter().map(|(name, count)| format!("\"{name}\":{count}")).collect();
        let line = format!("{{\"removed\":{{{}}}}}\n", counts.join(","));
        self.write(&line);
        let outcome = match self.file.take() {
            None => Ok(()),
            Some(file) => file
                .into_inner()
                .map_err(io::IntoInnerError::into_error)
                .and_then(|file| file.sync_all())
                .and_then(|()| sync_folder_of(&self.plan.path)),
        };
        self.note(outcome);
        Some(Removed {
            count: self.count,
            digest: self.hasher.finalize().into(),
            path: self.plan.path,
            trouble: self.trouble,
        })
    }

    fn write(&mut self, line: &str) {
        self.hasher.update(line);
        if self.trouble.is_some() {
            return;
        }
        let outcome = match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => {
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.plan.path).and_then(|file| {
                    let file = self.file.insert(BufWriter::new(file));
                    file.write_all(line.as_bytes())
                })
            }
        };
        self.note(outcome);
    }

    fn note(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome
            && self.trouble.is_none()
        {
            let path = self.plan.path.display();
            self.trouble = Some(format!("the list of what was removed, {path}, cannot be written: {error}"));
        }
    }
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    let mut text = String::with_capacity(64);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}

fn bytes_of(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{Key, LISTED, List, ListPlan, hex};

    /// A key as RFC 4231 has them: shorter ones are filled with zeros, which is what HMAC does with them.
    fn key(bytes: &[u8]) -> Key {
        let mut whole = [0; 32];
        whole[..bytes.len()].copy_from_slice(bytes);
        Key::new(&whole)
    }

    #[test]
    fn the_codes_are_those_of_rfc_4231() {
        let counted: Vec<u8> = (1..=25).collect();
        for (key_bytes, data, expected) in [
            (&[0x0b; 20][..], &b"Hi There"[..], "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            (&counted, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        ] {
            let (first, rest) = data.split_at(3);
            assert_eq!(hex(&key(key_bytes).mac(&[first, rest])), expected);
        }
    }

    #[test]
    fn a_key_is_made_once_and_only_for_us() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("redaction.key");
        let made: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let make = || Key::of_file(&path).unwrap().mac(&[b"x"]);
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|mac| *mac == made[0]));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(Key::of_file(&path).unwrap_err().contains("others may read it"));
        std::fs::write(&path, "abc\n").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(Key::of_file(&path).unwrap_err().contains("64 hexadecimal digits"));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(Key::of_file(&path).is_err());
    }

    #[test]
    fn a_list_is_bounded_and_counts_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s-1.cast.redacted");
        let plan =
            |run: &str| ListPlan { path: path.clone(), key: key(b"k"), run: run.to_owned(), attempt: "s-1".to_owned() };
        let names = ["card".to_owned(), "token".to_owned(), "card".to_owned(), "never".to_owned()];
        let mut list = List::new(plan("r"), &names);
        for _ in 0..LISTED {
            list.take(0, b"4111");
        }
        list.take(2, b"4111");
        list.take(1, b"x");
        let removed = list.finish().unwrap();
        assert_eq!((removed.count, removed.trouble), (LISTED + 2, None));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count() as u64, LISTED + 1);
        assert_eq!(text.lines().last(), Some("{\"removed\":{\"card\":10001,\"token\":1}}"));
        // The same bytes have another code each time.
        let codes: std::collections::BTreeSet<&str> = text.lines().filter_map(|line| line.rsplit('"').nth(1)).collect();
        assert_eq!(codes.len() as u64, LISTED + 1);
        // One that is there already is not written over, and that is said.
        let mut list = List::new(plan("r"), &names);
        list.take(0, b"4111");
        assert!(list.finish().unwrap().trouble.unwrap().contains("cannot be written"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(List::new(plan("r"), &names).finish(), None);
    }
}
