//! What is shown to people: control characters, characters that change the direction of text or cannot be seen, and
//! bytes that are not UTF-8 are written as escapes. Stored bytes stay raw; this is for display, everywhere, and is not
//! meant to be reversed.

use std::borrow::Cow;
use std::fmt::Write as _;

/// For a field of one line: as [`escape_text`], and line feeds are escaped too.
pub fn escape_line<T: AsRef<[u8]> + ?Sized>(raw: &T) -> Cow<'_, str> {
    escape(raw.as_ref(), |c| c == '\n' || is_unfit(c))
}

/// For a text of several lines: line feeds and tabs stay, whatever else could act on a terminal or hide from the
/// reader is escaped, as `\x1b` for a byte and `\u{202e}` for a character.
pub fn escape_text<T: AsRef<[u8]> + ?Sized>(raw: &T) -> Cow<'_, str> {
    escape(raw.as_ref(), is_unfit)
}

/// For one line of what people decide by, such as the page of a plan that they sign: as [`escape_line`], and tabs, characters without a
/// look of their own, and words that could be taken for others ([`conceals`]) are escaped too.
pub fn reveal_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for piece in text.split_inclusive(BLANKS) {
        let conceals = conceals(piece.trim_end_matches(BLANKS));
        for c in piece.chars() {
            if matches!(c, '\n' | '\t') || has_no_look(c) || (conceals && !c.is_ascii()) {
                push_escape(&mut shown, c);
            } else {
                shown.push(c);
            }
        }
    }
    shown
}

/// What stands between words.
pub const BLANKS: [char; 3] = [' ', '\n', '\t'];

/// Whether a character is never shown as itself to who decides by it: what must not reach a terminal, other controls, and what nobody has
/// given a look yet.
pub fn has_no_look(c: char) -> bool {
    is_unfit(c)
        || (c != '\n' && c != '\t' && c.is_control())
        || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..)
}

/// Whether a character must not reach a terminal: C0 but for line feed and tab, DEL, C1, marks and controls of
/// direction, what has no width, line and paragraph separators, tag characters (Unicode 16, chapter 23).
pub fn is_unfit(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        '\u{ad}' | '\u{61c}' | '\u{180e}' => true,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' => true,
        '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// Letters of other scripts that look like Latin ones (from Unicode's list of confusable characters, the common ones).
const LOOK_LIKE_LATIN: &str = "авеіјкмнорсѕтухһԁԛԝАВЕІЈКМНОРСЅТУХԌԚԜҮαικνορτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧօսոһցԁ";

/// Whether a word could be taken for another by who reads it: letters that look like Latin ones mixed with Latin ones, or nothing
/// but such; marks without a look of their own; wide forms; blanks other than the blank; scripts from right to left.
pub fn conceals(word: &str) -> bool {
    if word.is_ascii() {
        return false;
    }
    let odd = |c: char| {
        (c.is_whitespace() && !c.is_ascii())
            || matches!(c, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}')
            || matches!(c, '\u{300}'..='\u{36f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{2800}')
            || matches!(c, '\u{ff01}'..='\u{ff5e}' | '\u{1d400}'..='\u{1d7ff}')
            // Written from right to left: what stands beside it is shown in another order.
            || matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
            || matches!(c, '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
    };
    let foreign = |c: char| u32::from(c) >= 0x250;
    let is_mixed = word.contains(|c: char| c.is_ascii_alphanumeric()) && word.contains(foreign);
    let letters = || word.chars().filter(|c| c.is_alphabetic());
    let is_masked = letters().next().is_some() && letters().all(|c| LOOK_LIKE_LATIN.contains(c));
    is_mixed || is_masked || word.contains(odd)
}

fn escape(raw: &[u8], unfit: fn(char) -> bool) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(raw)
        && !text.contains(unfit)
    {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(raw.len() + 16);
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            if unfit(c) { push_escape(&mut shown, c) } else { shown.push(c) }
        }
        for byte in chunk.invalid() {
            push_byte(&mut shown, *byte);
        }
    }
    Cow::Owned(shown)
}

fn push_escape(shown: &mut String, c: char) {
    match c {
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        '\u{0}'..='\u{7f}' => push_byte(shown, u8::try_from(u32::from(c)).expect("ASCII fits a byte")),
        _ => write!(shown, "\\u{{{:x}}}", u32::from(c)).expect("writing to a String cannot fail"),
    }
}

fn push_byte(shown: &mut String, byte: u8) {
    write!(shown, "\\x{byte:02x}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{escape_line, escape_text, is_unfit, reveal_line};

    #[test]
    fn what_is_harmless_is_not_copied() {
        assert!(matches!(escape_line("plain, é, 日本, 🦀\tok"), std::borrow::Cow::Borrowed(_)));
    }

    #[test]
    fn what_acts_on_a_terminal_is_spelled_out() {
        assert_eq!(escape_line("\u{1b}[2J\r\n"), "\\x1b[2J\\r\\n");
        assert_eq!(escape_text("a\nb\u{202e}c\u{9b}1m"), "a\nb\\u{202e}c\\u{9b}1m");
        assert_eq!(escape_line(b"\xff\x9b[31mok".as_slice()), "\\xff\\x9b[31mok");
        assert_eq!(escape_line("\u{e0041}\u{200d}\u{feff}\u{2028}"), "\\u{e0041}\\u{200d}\\u{feff}\\u{2028}");
    }

    #[test]
    fn p06_what_could_be_taken_for_something_else_is_spelled_out_where_people_decide_by_it() {
        assert_eq!(reveal_line("/usr/bin/p\u{430}sswd -x"), "/usr/bin/p\\u{430}sswd -x");
        assert_eq!(
            reveal_line("'\u{441}\u{430}'"),
            "'\\u{441}\\u{430}'",
            "a whole word of letters that look like others"
        );
        assert_eq!(reveal_line("a \u{5d0}\u{5d1} 1"), "a \\u{5d0}\\u{5d1} 1", "from right to left");
        assert_eq!(reveal_line("rm\u{ff0d}rf a\u{a0}b"), "rm\\u{ff0d}rf a\\u{a0}b");
        assert_eq!(reveal_line("\u{e000}\u{202e}\u{1b}[2J\r\n\t"), "\\u{e000}\\u{202e}\\x1b[2J\\r\\n\\t");
        assert_eq!(reveal_line("Обновить базу Überprüfung 日本"), "Обновить базу Überprüfung 日本");
    }

    fn forbidden(c: char) -> bool {
        // Written down a second time, from the list in the threat model, so that a slip in one of them shows.
        let code = u32::from(c);
        code < 0x20
            || (0x7f..=0x9f).contains(&code)
            || (0x202a..=0x202e).contains(&code)
            || (0x2066..=0x2069).contains(&code)
            || [0x200e, 0x200f, 0x061c, 0x2060, 0xfeff, 0x2028, 0x2029].contains(&code)
            || (0x200b..=0x200d).contains(&code)
            || (0xe0000..=0xe007f).contains(&code)
    }

    proptest! {
        #[test]
        fn no_line_of_bytes_holds_a_forbidden_character(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let shown = escape_line(&raw);
            assert!(!shown.contains(|c| c != '\t' && forbidden(c)), "{shown:?}");
        }

        #[test]
        fn no_text_holds_a_forbidden_character(raw in any::<String>()) {
            let shown = escape_text(&raw);
            assert!(!shown.contains(|c| c != '\t' && c != '\n' && forbidden(c)), "{shown:?}");
        }

        #[test]
        fn a_forbidden_character_never_survives_and_others_always_do(c in any::<char>()) {
            let text = c.to_string();
            let shown = escape_line(&text);
            assert_eq!(shown == text, c == '\t' || !(forbidden(c) || is_unfit(c)));
        }
    }
}
