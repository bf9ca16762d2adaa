//! How the files are written that people sign: YAML of one form, so that what is equal has equal bytes and a person sees what is there.
//! A text that could be taken for something else stands in double quotes; whatever acts on a terminal, cannot be seen, changes the direction of text or
//! looks like another letter is an escape there, never itself. What this writes, every parser of YAML 1.1 and 1.2 reads alike.

use std::fmt::Write as _;

use serde::Serialize;
use serde_yaml::with::singleton_map_recursive;
use serde_yaml::{Mapping, Value};

use crate::diagnostic::escape::{BLANKS, conceals, has_no_look};

/// The longest key that stands in front of its `:` in the same line; YAML allows 1024 characters.
const LONGEST_KEY: usize = 120;

/// Writes a value as a document: a mapping, of mappings with texts as keys, lists, texts, numbers and truths. The variants of an enum
/// become mappings with one key, as people write them, not YAML tags.
///
/// # Errors
/// In words, for a value that is no mapping, or that serde cannot take apart.
pub fn to_yaml<T: Serialize>(value: &T) -> Result<String, String> {
    let tree =
        singleton_map_recursive::serialize(value, serde_yaml::value::Serializer).map_err(|error| error.to_string())?;
    match tree {
        Value::Mapping(root) => Ok(document(&root)),
        other => Err(format!("a file is a mapping, not {other:?}")),
    }
}

fn document(root: &Mapping) -> String {
    let mut out = String::new();
    mapping(&mut out, root, 0);
    out
}

/// The entries of a mapping. The place of the first is indented already.
fn mapping(out: &mut String, entries: &Mapping, indent: usize) {
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            pad(out, indent);
        }
        let written = match key {
            Value::String(text) => one_line(text),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Sequence(_)
            | Value::Mapping(_)
            | Value::Tagged(_) => {
                unreachable!("the keys are texts")
            }
        };
        if written.len() > LONGEST_KEY {
            out.push_str("? ");
            out.push_str(&written);
            out.push('\n');
            pad(out, indent);
        } else {
            out.push_str(&written);
        }
        out.push(':');
        match value {
            Value::Mapping(inner) if !inner.is_empty() => {
                out.push('\n');
                pad(out, indent + 2);
                mapping(out, inner, indent + 2);
            }
            Value::Sequence(items) if !items.is_empty() => {
                out.push('\n');
                pad(out, indent);
                sequence(out, items, indent);
            }
            leaf => {
                out.push(' ');
                scalar(out, leaf, indent);
            }
        }
    }
}

/// The items of a list. The place of the first is indented already.
fn sequence(out: &mut String, items: &[Value], indent: usize) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            pad(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Mapping(inner) if !inner.is_empty() => mapping(out, inner, indent + 2),
            Value::Sequence(inner) if !inner.is_empty() => sequence(out, inner, indent + 2),
            leaf => scalar(out, leaf, indent),
        }
    }
}

fn scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(truth) => write!(out, "{truth}").expect("writing to a String cannot fail"),
        Value::Number(number) => write!(out, "{number}").expect("writing to a String cannot fail"),
        Value::Sequence(_) => out.push_str("[]"),
        Value::Mapping(_) => out.push_str("{}"),
        Value::Tagged(_) => unreachable!("variants are written as mappings"),
        Value::String(text) if text.trim_end_matches('\n').contains('\n') => {
            if is_literal(text) {
                literal(out, text, indent + 2)
            } else {
                quoted_lines(out, text, indent + 2)
            }
            return;
        }
        Value::String(text) => out.push_str(&one_line(text)),
    }
    out.push('\n');
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A text in one line: as it is where nobody can misread it, else in double quotes.
fn one_line(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    escaped(&mut out, text);
    out.push('"');
    out
}

/// Whether a text can stand as it is: ASCII without a character that means something to YAML where it stands, and neither a number, a truth,
/// nothing nor a date to any reader.
fn is_plain(text: &str) -> bool {
    let is_word =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '+' | '@' | '%' | '=' | ',' | '-');
    let mut chars = text.chars();
    let starts_well = match chars.next() {
        Some('-') => {
            let mut rest = text.chars().skip_while(|c| *c == '-');
            !text.starts_with("---") && rest.next().is_some_and(|c| c.is_ascii_alphabetic())
        }
        Some('0'..='9') => is_duration(text) || is_hash(text),
        Some(first) => first.is_ascii_alphabetic() || first == '/',
        None => false,
    };
    let lower = text.to_ascii_lowercase();
    let means_something = matches!(&*lower, "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n");
    starts_well && !means_something && text.split(' ').all(|word| !word.is_empty() && word.chars().all(is_word))
}

/// Such as `1h30m`.
fn is_duration(text: &str) -> bool {
    text.len() <= 24
        && text.ends_with(['s', 'm', 'h', 'd'])
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b's' | b'm' | b'h' | b'd'))
        && text.bytes().any(|b| b != b'd' && b != b's')
}

/// A digest or the like in hexadecimal, that is not a number in any notation.
fn is_hash(text: &str) -> bool {
    let no_number = |b: u8| matches!(b, b'a' | b'c' | b'd' | b'f');
    text.len() >= 32
        && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && text.bytes().any(no_number)
}

/// Whether a text of several lines can stand as a block: nothing in it needs an escape, and neither its first line nor the ends of
/// its lines hide blanks.
fn is_literal(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let is_whole = |line: &str| !line.ends_with([' ', '\t']) && !line.contains('\t') && line.split(' ').all(is_shown);
    !body.ends_with('\n') && !body.starts_with(['\n', ' ']) && body.split('\n').all(is_whole)
}

fn literal(out: &mut String, text: &str, indent: usize) {
    let (body, header) = match text.strip_suffix('\n') {
        Some(body) => (body, "|\n"),
        None => (text, "|-\n"),
    };
    out.push_str(header);
    for line in body.split('\n') {
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
        out.push('\n');
    }
}

/// A text of several lines in double quotes, each line of it in a line of its own.
fn quoted_lines(out: &mut String, text: &str, indent: usize) {
    out.push_str("\"\\\n");
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let (line, tail) = rest.split_at(end);
        pad(out, indent);
        // A blank at the beginning would be taken for indentation.
        if line.starts_with(' ') {
            out.push('\\');
        }
        escaped(out, line);
        if !tail.is_empty() {
            out.push_str("\\\n");
        }
        rest = tail;
    }
    out.push_str("\"\n");
}

/// The inside of double quotes.
fn escaped(out: &mut String, text: &str) {
    for piece in text.split_inclusive(BLANKS) {
        let conceals = conceals(piece.trim_end_matches(BLANKS));
        for c in piece.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                c if !has_no_look(c) && (c.is_ascii() || !conceals) => out.push(c),
                c => {
                    let code = u32::from(c);
                    let written = match code {
                        0..=0xff => write!(out, "\\x{code:02x}"),
                        0x100..=0xffff => write!(out, "\\u{code:04x}"),
                        _ => write!(out, "\\U{code:08x}"),
                    };
                    written.expect("writing to a String cannot fail");
                }
            }
        }
    }
}

/// Whether a word can be written as it is, without quotes around it.
fn is_shown(word: &str) -> bool {
    !conceals(word) && !word.chars().any(has_no_look)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
    use serde_yaml::{Mapping, Value};

    use super::document;
    use crate::diagnostic::escape::is_unfit;
    use crate::yaml::form::check;

    fn written(text: &str) -> String {
        document(&[(Value::from("a"), Value::from(text))].into_iter().collect())
    }

    #[test]
    fn a_plain_text_stands_as_it_is_and_all_others_in_quotes() {
        for text in ["monit", "/usr/bin/monit", "--revert", "-m", "10m", "1h30m", "a b", "database down", "k=v,w"] {
            assert_eq!(written(text), format!("a: {text}\n"));
        }
        for text in [
            "",
            " a",
            "a ",
            "a  b",
            "no",
            "Yes",
            "null",
            "~",
            "5",
            "1e3",
            "0x1f",
            "1:30",
            "2026-11-22",
            "2026-11-22T04:00:00Z",
            "-",
            "--",
            "---",
            "-1",
            ".5",
            "a: b",
            "a #b",
            "{a}",
            "[a]",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "'a",
            "a:",
            "?a",
            "|",
            ">",
            "<<",
            "=",
            "5d5",
        ] {
            assert_eq!(written(text), format!("a: \"{text}\"\n"));
        }
    }

    #[test]
    fn what_acts_on_a_terminal_hides_or_deceives_is_an_escape() {
        let text = "\u{1b}[2J\u{202e}x\u{200b}\u{feff}\u{0}\u{7f}\u{85}\u{2028}\u{e0041}\u{a0}é";
        assert_eq!(written(text), "a: \"\\x1b[2J\\u202ex\\u200b\\ufeff\\x00\\x7f\\x85\\u2028\\U000e0041\\xa0\\xe9\"\n");
        assert_eq!(
            written("/usr/bin/p\u{430}sswd"),
            "a: \"/usr/bin/p\\u0430sswd\"\n",
            "a Cyrillic letter in a Latin word"
        );
        assert_eq!(
            written("\u{441}\u{430}"),
            "a: \"\\u0441\\u0430\"\n",
            "a whole word of letters that look like others"
        );
        assert_eq!(written("a \u{5d0} 1"), "a: \"a \\u05d0 1\"\n", "from right to left");
        assert_eq!(written("rm\u{ff0d}rf"), "a: \"rm\\uff0drf\"\n");
        assert_eq!(written("Обновить базу Überprüfung 日本"), "a: \"Обновить базу Überprüfung 日本\"\n");
    }

    #[test]
    fn a_script_stands_as_a_block_unless_it_hides_something() {
        assert_eq!(
            written("set -x\n\nif a; then\n  b: c # d\nfi\n"),
            "a: |\n  set -x\n\n  if a; then\n    b: c # d\n  fi\n"
        );
        assert_eq!(written("a\nb"), "a: |-\n  a\n  b\n");
        assert_eq!(
            written("echo a \n  b\u{202e}\n\tc\n"),
            "a: \"\\\n  echo a \\n\\\n  \\  b\\u202e\\n\\\n  \\tc\\n\"\n"
        );
    }

    fn text() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            " ",
            "\n",
            "\t",
            "\r",
            "a",
            "b: ",
            "- ",
            "#",
            "\\",
            "\"",
            "'",
            "\u{202e}",
            "\u{200b}",
            "\u{0}",
            "\u{1b}",
            "\u{85}",
            "é",
            "\u{430}",
            "日",
            "5",
            "no",
            ":",
            "|",
            "---",
            "...",
            "{",
            "}",
            "\u{feff}",
            "\u{1f980}",
            "\u{e0041}",
            "\u{fffe}",
        ]);
        prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(texts in prop::collection::vec(text(), 1..6), keys in prop::collection::vec(text(), 1..4), odd in any::<String>()) {
            let mut inner = Mapping::new();
            for key in keys {
                inner.insert(Value::from(key.repeat(1 + key.len() % 30)), Value::from(texts[0].clone()));
            }
            let list: Vec<Value> = texts.iter().map(|text| Value::from(text.clone())).collect();
            let root: Mapping = [
                (Value::from("list"), Value::Sequence(vec![Value::Sequence(list.clone()), Value::Mapping(inner.clone()), Value::Sequence(Vec::new())])),
                (Value::from("odd"), Value::from(odd)),
                (Value::from("map"), Value::Mapping(inner)),
                (Value::from("items"), Value::Sequence(list)),
                (Value::from("none"), Value::Mapping(Mapping::new())),
                (Value::from("number"), Value::from(640)),
                (Value::from("truth"), Value::from(true)),
            ]
            .into_iter()
            .collect();
            let text = document(&root);
            let read: Value = serde_yaml::from_str(&text).map_err(|error| proptest::test_runner::TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(read, Value::Mapping(root), "{}", text);
            prop_assert!(!text.contains(|c: char| c == '\t' || is_unfit(c)), "{}", text);
            prop_assert_eq!(check(&text), Ok(()), "{}", text);
        }
    }
}
