//! What steps wrote, read back from their transcripts: the beginning and the end of each, and whether all of it is what the log says. However
//! long it is, no more is kept than is shown.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path};

use crate::audit::Home;
use crate::exec::cast::{Cast, Piece, Sum};
use crate::history::event::Output;
use crate::id::Digest;
use crate::report::account::{Account, Excerpt, Proof};

/// How much of an output is shown of its beginning, and again of its end, in bytes.
const EACH: u64 = 64 * 1024;
/// How much is shown of each where there are very many.
const LEAST: u64 = 1024;
/// How much is shown of all together, in bytes, as long as each has its least.
const ALL: u64 = 8 * 1024 * 1024;
/// Adds to each attempt of the account what is shown of its output.
pub(super) fn add_excerpts(home: &Home, account: &mut Account) {
    let folder = home.run(&account.run);
    let count = account.outputs().count() as u64;
    let room = (ALL / 2).checked_div(count).unwrap_or(EACH).clamp(LEAST, EACH);
    for attempt in account.outputs() {
        let Some(output) = &attempt.output else { continue };
        attempt.excerpt = Some(match excerpt(home, &folder, output, room) {
            Ok(excerpt) => excerpt,
            Err(error) => Excerpt::Missing(format!("{}: {error}", output.transcript)),
        });
    }
}

fn excerpt(home: &Home, folder: &Path, output: &Output, room: u64) -> io::Result<Excerpt> {
    let path = home.path().join(&output.transcript);
    let plain = Path::new(&output.transcript).components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || !path.starts_with(folder) {
        return Err(io::Error::other("it is not in the folder of its run"));
    }
    read(&path, output, room)
}

/// What is shown of a transcript. What cannot be read of it is not shown.
fn read(path: &Path, output: &Output, room: u64) -> io::Result<Excerpt> {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let mut first = Vec::new();
    let mut last: VecDeque<u8> = VecDeque::new();
    let mut gaps = 0_u64;
    let mut cast = Cast::open(path)?;
    for piece in cast.by_ref() {
        let bytes = match piece? {
            Piece::Output { bytes, .. } => bytes,
            Piece::Gap { .. } => {
                gaps += 1;
                continue;
            }
        };
        let head = (room - first.len()).min(bytes.len());
        first.extend_from_slice(&bytes[..head]);
        let rest = &bytes[head..];
        last.extend(&rest[rest.len().saturating_sub(room)..]);
        let over = last.len().saturating_sub(room);
        last.drain(..over);
    }
    let Sum { digest, bytes } = cast.so_far();
    let whole = Digest::from_bytes(&digest) == output.digest && bytes == output.bytes && gaps == 0;
    let proof = if output.trouble.is_some() {
        Proof::Incomplete
    } else if output.left_out > 0 {
        // As much as was kept is there, or it was changed.
        let kept = output.bytes.saturating_sub(output.left_out);
        if bytes == kept && gaps == 1 { Proof::Incomplete } else { Proof::Differs }
    } else if whole {
        Proof::AsRecorded
    } else {
        Proof::Differs
    };
    let shown = (first.len() + last.len()) as u64;
    Ok(Excerpt::Read { left_out: output.bytes.max(bytes).saturating_sub(shown), first, last: last.into(), proof })
}

/// Opens a file for reading; never a link, a pipe or a device.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::read;
    use crate::history::event::Output;
    use crate::id::Digest;
    use crate::report::account::{Excerpt, Proof};

    fn shown(text: &str, output: &Output, room: u64) -> std::io::Result<Excerpt> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path(), output, room)
    }

    fn transcript(pieces: &[&str]) -> (String, Output) {
        let salt = [7_u8; 32];
        let mut text = format!("{{\"version\":2,\"interlock\":{{\"salt\":\"{}\"}}}}\n", "07".repeat(32));
        let mut hasher = Sha256::new();
        hasher.update(salt);
        for piece in pieces {
            hasher.update(piece.as_bytes());
            text.push_str(&format!("[0.1,\"o\",{}]\n", serde_json::to_string(piece).unwrap()));
        }
        let output = Output {
            bytes: pieces.iter().map(|piece| piece.len() as u64).sum(),
            digest: Digest::from_bytes(&hasher.finalize().into()),
            transcript: "runs/x/1.cast".to_owned(),
            left_out: 0,
            trouble: None,
            redacted: None,
        };
        (text, output)
    }

    #[test]
    fn a_short_output_is_shown_whole_and_proved() {
        let (text, output) = transcript(&["one\n", "two\n"]);
        let excerpt = shown(&text, &output, 100).unwrap();
        let whole =
            Excerpt::Read { first: b"one\ntwo\n".to_vec(), left_out: 0, last: Vec::new(), proof: Proof::AsRecorded };
        assert_eq!(excerpt, whole);
    }

    #[test]
    fn of_a_long_output_the_first_and_the_last_bytes_are_shown_and_what_is_left_out_is_counted() {
        let (text, output) = transcript(&["0123456789", "abcdefghij", "ABCDEFGHIJ"]);
        let Excerpt::Read { first, left_out, last, proof } = shown(&text, &output, 12).unwrap() else { panic!() };
        assert_eq!(
            (first.as_slice(), left_out, last.as_slice()),
            (b"0123456789ab".as_slice(), 6, b"ijABCDEFGHIJ".as_slice())
        );
        assert_eq!(proof, Proof::AsRecorded);
    }

    #[test]
    fn an_output_that_was_changed_is_not_believed() {
        let (text, output) = transcript(&["one\n", "two\n"]);
        let changed = text.replace("two", "2wo");
        let Excerpt::Read { proof, .. } = shown(&changed, &output, 100).unwrap() else { panic!() };
        assert_eq!(proof, Proof::Differs);
        assert!(shown("no transcript\n", &output, 100).is_err());
    }
}
