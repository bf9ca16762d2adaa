use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use regex::bytes::Regex;

use super::{DECIDED, LONGEST_MATCH, LOOKED_AT, Redactions, Redactor};

fn rules(rules: &[(&str, &str)]) -> Redactions {
    let compiled = |pattern: &str| Regex::new(&format!("(?m-u){pattern}")).unwrap();
    Redactions::new(rules.iter().map(|(name, pattern)| ((*name).to_owned(), compiled(pattern))).collect()).unwrap()
}

fn cards() -> Redactions {
    rules(&[("card", r"\b\d{13,16}\b"), ("token", r"eyJ[\w-]+\.[\w-]+\.[\w-]+")])
}

/// What becomes of these pieces, and what was removed. After `None` the stream is silent.
fn redacted(redactions: &Redactions, pieces: &[Option<&[u8]>]) -> (Vec<u8>, Vec<(usize, Vec<u8>)>) {
    let mut redactor = Redactor::new(redactions);
    let (mut out, mut removed) = (Vec::new(), Vec::new());
    let mut take = |rule: usize, bytes: &[u8]| removed.push((rule, bytes.to_vec()));
    for piece in pieces {
        match piece {
            Some(bytes) => redactor.push(bytes, &mut out, &mut take),
            None => {
                redactor.pause(&mut out, &mut take);
                assert!(!redactor.holds());
            }
        }
        assert!(redactor.line.len() < LOOKED_AT);
    }
    redactor.finish(&mut out, &mut take);
    (out, removed)
}

fn text(redactions: &Redactions, pieces: &[Option<&[u8]>]) -> String {
    String::from_utf8_lossy(&redacted(redactions, pieces).0).into_owned()
}

#[test]
fn each_match_is_replaced_by_the_name_of_its_rule() {
    let written = b"a 4111111111111111 b 12 \xff4111111111111\xfe\neyJh.bG.ci\r\nplain\n4111111111111112";
    let (out, removed) = redacted(&cards(), &[Some(written)]);
    assert_eq!(
        out,
        b"a [redacted card] b 12 \xff[redacted card]\xfe\n[redacted token]\r\nplain\n[redacted card]".to_vec()
    );
    let expected: [(usize, &[u8]); 4] =
        [(0, b"4111111111111111"), (0, b"4111111111111"), (1, b"eyJh.bG.ci"), (0, b"4111111111111112")];
    assert_eq!(removed, expected.map(|(rule, bytes)| (rule, bytes.to_vec())));
}

#[test]
fn matches_that_overlap_leave_nothing_of_either() {
    let redactions = rules(&[("a", "abcd"), ("b", "cdef"), ("c", "e")]);
    let (out, removed) = redacted(&redactions, &[Some(b"<abcdef> <abcdcdef>\n")]);
    assert_eq!(String::from_utf8(out).unwrap(), "<[redacted a]> <[redacted a][redacted b]>\n");
    assert_eq!(removed.len(), 6, "also what lies within another is counted");
}

#[test]
fn nothing_matches_over_the_end_of_a_line() {
    let redactions = rules(&[("x", r"a\s+b"), ("whole", "^begin.*end$")]);
    assert_eq!(
        text(&redactions, &[Some(b"a\nb a b\nbegin end\nbegin end.\n")]),
        "a\nb [redacted x]\n[redacted whole]\nbegin end.\n"
    );
}

#[test]
fn a_long_line_is_looked_at_in_parts_and_no_match_is_missed_at_any_place() {
    let redactions = rules(&[("long", "<[^>]*>"), ("start", "^x"), ("card", r"\b\d{13,16}\b")]);
    let long = [b"<".as_slice(), &b"s".repeat(LONGEST_MATCH - 2), b">"].concat();
    for at in [DECIDED - LONGEST_MATCH, DECIDED - 5, DECIDED - 1, DECIDED, DECIDED + 1, LOOKED_AT - 5, 3 * LOOKED_AT] {
        for wanted in [&long[..], b"4111111111111111"] {
            let line = [&b".".repeat(at), wanted, &b".".repeat(20_000), b"\n"].concat();
            let (out, removed) = redacted(&redactions, &[Some(&line)]);
            assert_eq!(removed.len(), 1, "{at}");
            assert_eq!(out.iter().filter(|byte| **byte == b'.').count(), at + 20_000);
            assert!(!out.windows(8).any(|window| window == b"ssssssss" || window == b"11111111"));
        }
        // Where a part begins is no beginning of a line, and no end of a word.
        let line = [&b"1".repeat(at), &b"x".repeat(20_000)[..], b"\n"].concat();
        assert_eq!(redacted(&redactions, &[Some(&line)]).0, line);
    }
}

#[test]
fn the_beginning_of_a_line_is_given_out_in_a_pause_and_what_comes_of_a_match_afterwards_is_replaced() {
    let redactions = cards();
    assert_eq!(text(&redactions, &[Some(b"Go on? "), None, Some(b"yes\n")]), "Go on? yes\n");
    // What was shown was shown; what was not is not.
    let (out, removed) = redacted(&redactions, &[Some(b"no 41111111"), None, Some(b"11111111 a\n")]);
    assert_eq!(String::from_utf8(out).unwrap(), "no 41111111[redacted card] a\n");
    assert_eq!(removed, [(0, b"4111111111111111".to_vec())]);
    // What was replaced before the pause goes on being replaced after it.
    assert_eq!(
        text(&redactions, &[Some(b"4111111111111"), None, Some(b"111"), None, Some(b" a\n")]),
        "[redacted card] a\n"
    );
    assert_eq!(
        text(&redactions, &[Some(b"eyJa.b.c"), None, Some(b"d\n"), None, Some(b"e\n")]),
        "[redacted token]\ne\n"
    );
    // A match that is over is not counted again.
    let (_, removed) = redacted(&redactions, &[Some(b"4111111111111 a"), None, Some(b"b"), None, Some(b"\n")]);
    assert_eq!(removed.len(), 1);
}

#[test]
fn without_rules_nothing_is_held_or_changed() {
    let none = Redactions::new(Vec::new()).unwrap();
    assert!(none.is_empty());
    assert_eq!(text(&none, &[Some(b"abc"), Some(b"d\ne")]), "abcd\ne");
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    /// However it is cut, the same comes out, and it is what looking at each whole line gives.
    #[test]
    fn cuts_make_no_difference(
        parts in proptest::collection::vec((0_usize..9, 1_usize..2000), 0..40),
        cuts in proptest::collection::vec(any::<u32>(), 0..20),
    ) {
        let redactions = rules(&[("a", r"\bab+c\b"), ("b", "bca|cb"), ("c", r"\d{3,}$"), ("d", "<.{5,30}>")]);
        let pieces: [&[u8]; 9] = [b"abbc", b"bca", b"123", b"\n", b" ", b"\xff\xfe", b"<abc123>", b"b", b"."];
        let mut written = Vec::new();
        for (piece, times) in &parts {
            // Long stretches of what means little, so that lines pass the limits.
            let times = if *piece == 8 { *times } else { *times % 4 };
            written.extend(pieces[*piece].repeat(times));
        }
        let mut places: Vec<usize> = cuts.iter().map(|cut| *cut as usize % (written.len() + 1)).collect();
        places.extend([0, written.len()]);
        places.sort_unstable();
        let cut: Vec<Option<&[u8]>> = places.windows(2).map(|pair| Some(&written[pair[0]..pair[1]])).collect();
        let whole = redacted(&redactions, &[Some(&written)]);
        prop_assert_eq!(&redacted(&redactions, &cut), &whole);
        let bytes: Vec<Option<&[u8]>> = written.chunks(1).map(Some).collect();
        prop_assert_eq!(&redacted(&redactions, &bytes), &whole);
        // Independently: of each line, what no rule covers.
        let mut plain = Vec::new();
        let mut count = 0;
        for line in written.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let mut covered = vec![false; line.len()];
            for pattern in &redactions.rules.patterns {
                for found in pattern.find_iter(text) {
                    count += 1;
                    covered[found.range()].fill(true);
                }
            }
            plain.extend(line.iter().zip(&covered).filter(|(_, covered)| !**covered).map(|(byte, _)| *byte));
        }
        let mut out = whole.0;
        for name in ["a", "b", "c", "d"] {
            let placeholder = format!("[redacted {name}]").into_bytes();
            while let Some(at) = out.windows(placeholder.len()).position(|window| window == placeholder) {
                out.drain(at..at + placeholder.len());
            }
        }
        prop_assert_eq!(out, plain);
        prop_assert_eq!(whole.1.len(), count);
    }

    /// Pauses anywhere: nothing is lost or repeated, and what comes of a match after the pause is not shown.
    #[test]
    fn pauses_lose_nothing(at in 0_usize..40) {
        let written = b"ab 4111111111111111 cd eyJab.cd.ef gh\nij";
        let (first, rest) = written.split_at(at.min(written.len()));
        let out = text(&cards(), &[Some(first), None, Some(rest)]);
        prop_assert!(out.starts_with("ab ") && out.ends_with(" gh\nij") && out.contains(" cd "), "{}", out);
        prop_assert!(!out.contains("4111111111111111") && !out.contains("eyJab.cd.ef"), "{}", out);
    }
}
