use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Expected, Fidelity, Piece, Replay};
use crate::exec::transcript::{Recorded, Transcript, TranscriptPlan};

/// Records these pieces, keeping so much of each end.
fn record(path: &Path, keep: u64, pieces: &[&[u8]]) -> Recorded {
    let plan = TranscriptPlan { path: path.to_owned(), keep_first: keep, keep_last: keep };
    let mut transcript = Transcript::begin(plan);
    for piece in pieces {
        transcript.write(Duration::from_millis(1), piece);
    }
    transcript.finish()
}

fn compare(path: &Path, recorded: &Recorded) -> Fidelity {
    let digest: String = recorded.digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = Expected { bytes: recorded.bytes, left_out: recorded.left_out, digest: &digest };
    Replay::open(path).unwrap().compare(expected).unwrap()
}

#[test]
fn what_was_recorded_is_read_back_after_it_was_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.cast");
    let recorded = record(&path, 1000, &[b"one\n\xff", "zw\u{10F7AA}ei".as_bytes(), b""]);
    assert_eq!(compare(&path, &recorded), Fidelity::Same);
    let mut replay = Replay::open(&path).unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = replay.piece().unwrap() {
        let Piece::Output(some) = piece else { panic!("{piece:?}") };
        bytes.extend(some);
    }
    assert_eq!(bytes, b"one\n\xffzw\xf4\x8f\x9e\xaaei");
}

#[test]
fn a_byte_that_was_changed_anywhere_in_the_output_shows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.cast");
    let recorded = record(&path, 1000, &[b"the database is down\n"]);
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in
        [("down", "fine"), ("[0.001000,\"o\",\"the", "[0.001000,\"m\",\"the"), ("\"]\n", "\"]"), ("]\n", "]\n[")]
    {
        assert!(text.contains(from));
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        assert!(matches!(compare(&path, &recorded), Fidelity::Altered(_)), "{from} -> {to}");
    }
}

#[test]
fn a_transcript_without_its_middle_is_held_against_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.cast");
    let recorded = record(&path, 4, &[b"0123456789", b"abcdefghij"]);
    assert_eq!(recorded.left_out, 12);
    assert_eq!(compare(&path, &recorded), Fidelity::SameLength);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("0123", "012", 1)).unwrap();
    assert!(matches!(compare(&path, &recorded), Fidelity::Altered(_)));
}

#[test]
fn what_is_no_transcript_is_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.cast");
    for text in ["", "{}\n", "{\"version\":2,\"interlock\":{\"salt\":\"é\"}}\n", "[1,2]\n", "\u{0}"] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(Replay::open(&path).unwrap_err().kind(), io::ErrorKind::InvalidData, "{text:?}");
    }
    let link = folder.path().join("link.cast");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(Replay::open(&link).is_err());
    assert!(Replay::open(folder.path()).is_err());
}
