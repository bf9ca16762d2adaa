//! Whether the files that an entry names are in the home, and are what the entry says: the plan and the policies of a run, the transcripts
//! of its steps. It only reads. What people have signed is looked at by who checks their signatures.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::Home;
use super::contents::{Contents, Expected, path_in};
use super::line::plain;
use super::read::{ReadError, open};
use super::report::{Kind, Severity};
use super::transcript;
use crate::history::event::Event;
use crate::id::{Digest, RunId};

/// The largest file that is looked at but for transcripts, in bytes: none that is kept may be larger.
const LARGEST: usize = 16 << 20;

/// What is to be said of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Whether the log verifies in spite of it.
    pub severity: Severity,
    /// What kind of thing it is.
    pub kind: Kind,
    /// What it is and means. Printable ASCII.
    pub text: String,
}

/// Looks at the files that an event of this run names.
pub(super) fn look(home: &Home, run: &RunId, event: &Event) -> Vec<Told> {
    if !matches!(event, Event::RunOpened { .. } | Event::RunResumed { .. } | Event::StepEnded { output: Some(_), .. }) {
        return Vec::new();
    }
    let mut contents = Contents::default();
    if let Err(problem) = contents.note(run, event) {
        return vec![failure(Kind::Kept, &problem)];
    }
    contents.files().filter_map(|(name, expected)| of_file(&path_in(home, run, name), run, expected)).collect()
}

/// What is to be said of a file, if anything.
fn of_file(path: &Path, run: &RunId, expected: &Expected) -> Option<Told> {
    let name = path.file_name().unwrap_or_default().display();
    let of_run = path.parent().and_then(Path::file_name).is_some_and(|folder| folder == run.as_str());
    let name = if of_run { format!("runs/{run}/{name}") } else { format!("runs/{run}/policies/{name}") };
    let what = match expected {
        Expected::Transcript(_) => "the transcript of this step's output",
        Expected::Bytes(_) if name.ends_with(".redacted") => "the list of what was removed from the output",
        Expected::Bytes(_) if name.ends_with("/plan.yaml") => "the run's plan",
        Expected::Bytes(_) => "a policy that was in force, or a file of its",
    };
    let file = match open(path) {
        Ok(file) => file,
        Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let text = format!("{what}, {name}, is missing: it was removed, or the log was moved without it");
            return Some(failure(Kind::Missing, &text));
        }
        Err(error) => return Some(failure(Kind::Unreadable, &format!("{what} cannot be looked at: {error}"))),
    };
    match expected {
        Expected::Bytes(digest) => match digest_of(file) {
            Ok(found) if found == *digest => None,
            Ok(_) => Some(failure(
                Kind::Kept,
                &format!("{what}, {name}, was altered: its SHA-256 is another than the entry says"),
            )),
            Err(error) => Some(failure(Kind::Unreadable, &format!("{what}, {name}, cannot be read: {error}"))),
        },
        Expected::Transcript(output) => {
            match transcript::look(&mut BufReader::with_capacity(64 * 1024, file), output) {
                transcript::Told::Same => None,
                transcript::Told::NotWhole(why) => {
                    let text = format!("whether {what}, {name}, is as it was recorded cannot be told: {why}");
                    Some(Told { severity: Severity::Note, kind: Kind::Kept, text: plain(&text) })
                }
                transcript::Told::Other(why) => {
                    Some(failure(Kind::Kept, &format!("{what}, {name}, was altered: {why}")))
                }
            }
        }
    }
}

fn failure(kind: Kind, text: &str) -> Told {
    Told { severity: Severity::Failure, kind, text: plain(text) }
}

fn digest_of(file: File) -> io::Result<Digest> {
    let (mut hasher, mut length) = (Sha256::new(), 0);
    let mut file = BufReader::with_capacity(64 * 1024, file);
    loop {
        let bytes = file.fill_buf()?;
        let got = bytes.len();
        if got == 0 {
            return Ok(Digest::from_bytes(&hasher.finalize().into()));
        }
        hasher.update(bytes);
        file.consume(got);
        length += got;
        if length > LARGEST {
            return Err(io::Error::other(format!("it is longer than {} MiB", LARGEST >> 20)));
        }
    }
}
