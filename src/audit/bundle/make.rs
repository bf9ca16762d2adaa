//! Makes a bundle. The same log gives the same bytes.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::statement::{self, Predicate, Statement, Subject, seal};
use super::{CHECKPOINT, ENTRIES, ENVELOPE, MANIFEST, PROOF, rank, standing};
use crate::audit::anchor::{AnchorError, checkpoint};
use crate::audit::contents::{Contents, path_in};
use crate::audit::key::signing_key;
use crate::audit::read::{ReadError, archived, open, read};
use crate::audit::tar::{END, LARGEST, MOST, header, padding};
use crate::audit::tree::{Known, leaf, prove};
use crate::audit::{Base, Home, Made};
use crate::history::event::Event;
use crate::history::state::State;
use crate::id::{Digest, RunId};

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundled {
    /// How the run stands, in a word.
    pub state: String,
    /// How many entries are in it.
    pub entries: u64,
    /// How many entries the log has.
    pub log_entries: u64,
    /// Files that should be in it and are not there any more.
    pub missing: Vec<String>,
}

/// Why no bundle was made.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log could not be signed.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The log is not one that verifies.
    #[error("{0}; run `interlock audit verify`")]
    Wrong(String),
    /// A file of the run, or the bundle, cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes a bundle of a run into a file. Signs a checkpoint of the log as it is now, which lies beside the log then as well.
///
/// # Errors
/// As said. What was written until then is no bundle.
pub fn bundle(home: &Home, run: &RunId, into: &mut impl Write) -> Result<Bundled, BundleError> {
    let made = checkpoint(home)?;
    let key = signing_key(home)?;
    let taken = Taken::from_log(home, run, &made)?;
    let mut members: Vec<Member> = vec![
        Member::made(CHECKPOINT, made.note.clone().into_bytes()),
        Member::made(ENTRIES, taken.lines),
        Member::made(PROOF, taken.proof),
    ];
    let mut missing = Vec::new();
    for (name, _) in taken.contents.files() {
        match Member::kept(name, &path_in(home, run, name)) {
            Ok(member) => members.push(member),
            Err(BundleError::Read(ReadError::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
                missing.push(name.to_owned());
            }
            Err(error) => return Err(error),
        }
    }
    members.sort_by_key(|member| (rank(&member.name), member.name.clone()));
    if members.len() + 2 > MOST {
        return Err(BundleError::Wrong(format!("the run has more than {MOST} files")));
    }
    let subject = |member: &Member| Subject {
        name: member.name.clone(),
        digest: statement::Sha256 { sha256: member.digest.clone() },
    };
    let bundled =
        Bundled { state: taken.state, entries: taken.entries, log_entries: made.size, missing: missing.clone() };
    let predicate = Predicate {
        log: key.public().name().to_owned(),
        key: key.public().to_string(),
        run: run.clone(),
        state: bundled.state.clone(),
        entries: bundled.entries,
        log_entries: bundled.log_entries,
        missing,
    };
    let manifest = Statement::new(members.iter().map(subject).collect(), predicate).to_bytes();
    let envelope = seal(&key, &manifest);
    for member in [Member::made(MANIFEST, manifest), Member::made(ENVELOPE, envelope)].into_iter().chain(members) {
        member.write(into)?;
    }
    into.write_all(&END).map_err(|source| BundleError::Io { path: "the bundle".into(), source })?;
    Ok(bundled)
}

/// What a bundle takes from the log.
struct Taken {
    lines: Vec<u8>,
    proof: Vec<u8>,
    entries: u64,
    contents: Contents,
    state: String,
}

impl Taken {
    /// Reads the log up to what the checkpoint speaks of, twice: what belongs to the run, then the tree.
    fn from_log(home: &Home, run: &RunId, made: &Made) -> Result<Self, BundleError> {
        let (mut lines, mut chosen) = (Vec::new(), Vec::new());
        let (mut contents, mut state) = (Contents::default(), State::default());
        let base = archived(home)?;
        let (mut before, known) = (0, base.as_ref().map_or_else(Known::default, |base| base.known().clone()));
        for (_, line) in base.iter().flat_map(Base::lines) {
            before += 1;
            lines.extend_from_slice(line.as_bytes());
            lines.push(b'\n');
        }
        for found in read(home)?.take_while(|found| !matches!(found, Ok(found) if found.recorded.entry.seq > made.size))
        {
            let recorded = found?.recorded;
            let entry = &recorded.entry;
            if entry.run.as_ref() == Some(run) {
                state
                    .apply(&entry.event)
                    .and_then(|()| contents.note(run, &entry.event).map_err(crate::history::state::IllegalEvent))
                    .map_err(|why| BundleError::Wrong(format!("entry {} cannot have happened: {why}", entry.seq)))?;
            } else if !tells_of_the_log(&entry.event) {
                continue;
            }
            chosen.push(entry.seq - 1);
            lines.extend_from_slice(recorded.line.as_bytes());
            lines.push(b'\n');
        }
        let mut all = read(home)?;
        let mut leaves = || match all.next() {
            Some(found) => found.map(|found| leaf(found.recorded.line.as_bytes())).map_err(BundleError::from),
            None => Err(BundleError::Wrong("the log became shorter meanwhile".to_owned())),
        };
        let (root, hashes) = prove(made.size, &known, &chosen, &mut leaves)?;
        if root != made.root {
            return Err(BundleError::Wrong("the log became another meanwhile".to_owned()));
        }
        let proof = hashes.iter().map(|hash| format!("{}\n", STANDARD.encode(hash))).collect::<String>();
        Ok(Self {
            lines,
            proof: proof.into_bytes(),
            entries: before + chosen.len() as u64,
            contents,
            state: standing(&state).to_owned(),
        })
    }
}

/// Whether an entry of no run says which log it is, or by which key it is signed.
fn tells_of_the_log(event: &Event) -> bool {
    matches!(event, Event::LogCreated { .. } | Event::LogKeyReplaced { .. })
}

/// A file of the bundle that is made.
struct Member {
    name: String,
    digest: Digest,
    size: u64,
    content: Content,
}

enum Content {
    Made(Vec<u8>),
    Kept(PathBuf, File),
}

impl Member {
    fn made(name: &str, bytes: Vec<u8>) -> Self {
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        Self { name: name.to_owned(), digest, size, content: Content::Made(bytes) }
    }

    /// A file of the run, read once for its digest; when it is written it must be the same.
    fn kept(name: &str, path: &Path) -> Result<Self, BundleError> {
        let mut file = open(path)?;
        let mut nowhere = io::sink();
        let copied = copy(&mut file, &mut nowhere);
        let (digest, size) = copied.map_err(|source| BundleError::Io { path: path.to_owned(), source })?;
        Ok(Self { name: name.to_owned(), digest, size, content: Content::Kept(path.to_owned(), file) })
    }

    fn write(self, into: &mut impl Write) -> Result<(), BundleError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| BundleError::Io { path, source }
        };
        if self.size > LARGEST {
            return Err(failed(Path::new(&self.name))(io::ErrorKind::FileTooLarge.into()));
        }
        let bundle = Path::new("the bundle");
        into.write_all(&header(&self.name, self.size)).map_err(failed(bundle))?;
        match self.content {
            Content::Made(bytes) => into.write_all(&bytes).map_err(failed(bundle))?,
            Content::Kept(path, mut file) => {
                io::Seek::rewind(&mut file).map_err(failed(&path))?;
                let copied = copy(&mut file, into).map_err(failed(&path))?;
                if copied != (self.digest, self.size) {
                    return Err(failed(&path)(io::Error::other("it was changed while it was read")));
                }
            }
        }
        into.write_all(&[0; 512][..padding(self.size)]).map_err(failed(bundle))
    }
}

/// Copies all of a file; gives its digest and size.
fn copy(from: &mut File, into: &mut impl Write) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((Digest::from_bytes(&hasher.finalize().into()), size)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                into.write_all(&buffer[..count])?;
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
