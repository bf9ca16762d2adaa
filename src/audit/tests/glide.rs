//! The quick way to the end of a segment, held against the strict one.

use std::ops::Range;

use proptest::prelude::*;

use super::common::{append, open, scratch};
use crate::audit::glide::glide;
use crate::audit::lines::Lines;
use crate::audit::tail::Position;

fn read_at(bytes: &[u8]) -> impl FnMut(&mut [u8], u64) -> std::io::Result<usize> {
    |buffer, offset| {
        let rest = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// Everywhere that the strict reader gets to.
fn strictly(bytes: &[u8]) -> Vec<Position> {
    let mut lines = Lines::new(read_at(bytes), 0, 1);
    let mut at = Position::first();
    let mut all = vec![at.clone()];
    while let Some(raw) = lines.next().unwrap() {
        if at.follow(&raw).is_err() {
            break;
        }
        all.push(at.clone());
    }
    all
}

/// A segment with such writes, each of so many entries, in which each line is where it says.
fn segment(writes: &[usize]) -> (Vec<u8>, Vec<Range<usize>>) {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    for (at, entries) in writes.iter().enumerate() {
        let texts: Vec<String> = (0..*entries).map(|entry| format!("{at} \u{e9} {entry}")).collect();
        append(&mut log, &texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    }
    let bytes = std::fs::read(scratch.home.audit().join("0000000000000001.jsonl")).unwrap();
    let ends: Vec<usize> = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
    let lines = 1 + writes.iter().sum::<usize>();
    let begins = std::iter::once(0).chain(ends.iter().map(|end| end + 1));
    let lines = begins.zip(&ends).take(lines).map(|(begin, end)| begin..*end).collect();
    (bytes, lines)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn p08_the_quick_way_ends_where_the_strict_one_has_been(
        writes in proptest::collection::vec(1_usize..5, 0..30),
        damage in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>(), 1_usize..40)),
    ) {
        let (mut bytes, lines) = segment(&writes);
        let written = lines.last().unwrap().end;
        let mut damaged = None;
        if let Some((at, byte, count)) = damage {
            let from = at.index(written);
            let to = (from + count).min(written);
            if bytes[from..to].iter().any(|old| *old != byte) {
                bytes[from..to].fill(byte);
                damaged = Some(from..to);
            }
        }
        let strict = strictly(&bytes);
        let quick = glide(read_at(&bytes), &Position::first(), |_| {}).unwrap();
        prop_assert!(strict.contains(&quick), "{quick:?}");
        match damaged {
            // All but the last write.
            None => {
                let last = writes.last().copied().unwrap_or(1);
                prop_assert_eq!(quick.seq, 2 + writes.iter().sum::<usize>() as u64 - last as u64);
            }
            Some(damaged) => prop_assert!(quick.offset <= damaged.start as u64 || strict.last().unwrap().offset > damaged.start as u64),
        }
    }
}
