use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

use super::{Transcript, TranscriptPlan, decode, push_text};
use std::time::Duration;

fn round_trip(bytes: &[u8]) -> Vec<u8> {
    let mut line = b"\"".to_vec();
    push_text(&mut line, bytes);
    line.push(b'"');
    decode(&serde_json::from_slice::<String>(&line).unwrap())
}

#[test]
fn characters_that_stand_for_bytes_are_not_confused_with_themselves() {
    for bytes in
        ["\u{10F780}\u{10F7FF}\u{10F77F}\u{10F800}\u{10FFFF}".as_bytes(), b"\xff\x80\xc3", b"\"\\\n\x00\x1f\x7f"]
    {
        assert_eq!(round_trip(bytes), bytes);
    }
}

#[test]
fn a_full_disk_is_trouble_once_and_digest_and_length_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut transcript = Transcript::begin(TranscriptPlan::at(folder.path().join("t.cast")));
    transcript.file = Some(std::fs::File::options().write(true).open("/dev/full").unwrap());
    transcript.write(Duration::ZERO, b"one");
    let first = transcript.trouble().unwrap().to_owned();
    assert!(first.contains("No space left"), "{first}");
    transcript.write(Duration::ZERO, b"two");
    let recorded = transcript.finish();
    assert_eq!((recorded.bytes, recorded.trouble), (6, Some(first)));
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn any_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(round_trip(&bytes), bytes);
    }

    /// Whatever is written in whatever pieces, the file holds exactly the first and the last bytes.
    #[test]
    fn the_first_and_the_last_bytes_are_kept(
        pieces in proptest::collection::vec(0_usize..40, 0..30),
        first in 0_u64..60,
        last in 0_u64..60,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.cast");
        let mut transcript =
            Transcript::begin(TranscriptPlan { path: path.clone(), keep_first: first, keep_last: last });
        let mut all = Vec::new();
        for length in pieces {
            let piece: Vec<u8> = (0..length).map(|at| b'a' + ((all.len() + at) % 26) as u8).collect();
            transcript.write(Duration::from_millis(5), &piece);
            all.extend(piece);
        }
        let recorded = transcript.finish();
        prop_assert_eq!(&recorded.trouble, &None);
        let left_out = (all.len() as u64).saturating_sub(first + last);
        prop_assert_eq!(recorded.left_out, left_out);
        let (bytes, marks, _) = crate::exec::tests::read_cast(&path);
        let head = all.len().min(first as usize);
        let tail = head + left_out as usize;
        let expected: Vec<u8> = [&all[..head], &all[tail..]].concat();
        prop_assert_eq!(bytes, expected);
        prop_assert_eq!(marks.len(), usize::from(left_out > 0));
    }
}
