use proptest::prelude::{ProptestConfig, prop_assert, proptest};
use regex::bytes::RegexBuilder;

use super::{Look, Sieve, look_for};

const CARD: &str = r"(?m-u)\b\d{13,16}\b";
const TOKEN: &str = r"(?m-u)eyJ[\w-]+\.[\w-]+\.[\w-]+";
const MAIL: &str = r"(?m-u)[\w.+-]+@[\w-]+\.[\w.]+";
const IBAN: &str = r"(?m-u)\b[A-Z]{2}\d{2}(?: ?\w{4}){3,7}\b";

#[test]
fn what_is_cheapest_is_looked_for() {
    let shown = |pattern| match look_for(pattern) {
        None => "nothing".to_owned(),
        Some(Look::Literals(all)) => {
            all.iter().map(|literal| String::from_utf8_lossy(literal)).collect::<Vec<_>>().join("|")
        }
        Some(Look::Window(window)) => {
            format!("{:?}", window.first.iter().take(4).map(|place| place.at).collect::<Vec<_>>())
        }
    };
    assert_eq!(shown(CARD), "[0, 12, 6, 3]");
    assert_eq!(shown(TOKEN), "eyJ");
    assert_eq!(shown(MAIL), "@");
    assert_eq!(shown(IBAN), "[0, 1, 3, 2]");
    assert_eq!(shown("(?m-u)(?:password|secret)=.*"), "password|secret");
    assert_eq!(shown(r"(?m-u)(?i)\bAKIA[0-9A-Z]{16}\b"), "[1, 3, 0, 2]");
    assert_eq!(shown(r"(?m-u)\w+"), "nothing");
    assert_eq!(shown("(?m-u)(?u)é+"), "é");
    assert_eq!(shown(r"(?m-u)((\w{0,99}){0,99}){1,99}@"), "@");
}

#[test]
fn where_one_rule_cannot_be_looked_for_everything_may_match() {
    let sieve = Sieve::new([CARD, r"(?m-u)\w+"]);
    assert!(sieve.may_match(b"") && sieve.may_match(b"anything"));
    assert!(
        !Sieve::new([CARD, TOKEN, MAIL, IBAN]).may_match(b"2026-11-22T04:00:00 db1 postgres[4711]: LOG: checkpoint\n")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    /// Whatever the pattern and the bytes: where the pattern matches, the sieve lets it through.
    #[test]
    fn nothing_that_matches_is_missed(
        parts in proptest::collection::vec((0_usize..18, 0_u32..4, 0_u32..4), 1..7),
        grouped in 0_usize..4,
        text in proptest::collection::vec(0_usize..14, 0..60),
    ) {
        let pieces = [
            "a", "b", r"\d", r"\w", "[ab]", ".", "x", r"\b", "(?:ab|c)", "(?:a|b*c)", "[^a]", "@", "ab", "(?:12|3)", "(?i:ab)", "(?u:é)",
            r"(?u:\w)", "(?:a?b){0,2}",
        ];
        let spelled = |(piece, least, more): &(usize, u32, u32)| match (pieces[*piece], least, more) {
            (piece @ r"\b", _, _) | (piece, 0, 0) => piece.to_owned(),
            (piece, least, 3) => format!("(?:{piece}){{{least},}}"),
            (piece, least, more) => format!("(?:{piece}){{{least},{}}}", least + more),
        };
        let spelled: Vec<String> = parts.iter().map(spelled).collect();
        let pattern = match grouped {
            0 => format!("(?m-u)(?:{})", spelled.join("|")),
            1 => format!("(?m-u)({}){{2,3}}", spelled.concat()),
            _ => format!("(?m-u){}", spelled.concat()),
        };
        let bytes: [&[u8]; 14] =
            [b"a", b"b", b"c", b"1", b"2", b"3", b"x", b" ", b"@", "é".as_bytes(), b"\xff", b"A", b"B", b"ab"];
        let text: Vec<u8> = text.iter().flat_map(|piece| bytes[*piece].iter().copied()).collect();
        let regex = RegexBuilder::new(&pattern).build().unwrap();
        let empty = regex.is_match(b"");
        prop_assert!(empty || !regex.is_match(&text) || Sieve::new([pattern.as_str()]).may_match(&text), "{pattern}");
    }
}
