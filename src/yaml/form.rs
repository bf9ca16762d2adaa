//! Whether a text may be one that [`write`](mod@super::write) wrote, and whether it is small enough to be read: told line by line, in one pass, without
//! memory, before a parser makes values of a file that a stranger gave. What passes has no brackets but empty ones, no anchors, aliases,
//! tags and second documents, so that a parser makes of it as much as was counted and no more. Whether it is that form to the byte is seen by who writes
//! what was read once more.

use std::fmt;

use crate::diagnostic::escape::is_unfit;

/// How long such a file may be, in bytes. The plan of a runbook of 10,000 short steps has 3.4 MB.
pub const LONGEST: u64 = 16 << 20;
/// How many values, keys included, such a file may hold, where a mapping or list counts as two. The plan of a runbook of 10,000 short
/// steps has 410,000.
pub const MOST_VALUES: usize = 1_000_000;
/// How deep mappings and lists may lie in each other; deeper ones are not read anyway.
pub const DEEPEST: usize = 128;

/// Why a text is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misform {
    /// It is not in the form in which files are written.
    OtherForm,
    /// It is longer than [`LONGEST`].
    TooLong,
    /// It holds more than [`MOST_VALUES`].
    TooMany,
    /// Values lie in each other more than [`DEEPEST`] levels deep.
    TooDeep,
}

impl fmt::Display for Misform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherForm => f.write_str("it is not in the form in which files are written"),
            Self::TooLong => write!(f, "it is longer than {} MiB", LONGEST >> 20),
            Self::TooMany => write!(f, "it holds more than {MOST_VALUES} values"),
            Self::TooDeep => write!(f, "values lie more than {DEEPEST} levels deep in each other"),
        }
    }
}

/// What the lines before have begun.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// Nothing: a key or a list's item comes.
    Nothing,
    /// A key without a value in its line, in this column.
    Key(usize),
    /// A long key, whose `:` is in the next line.
    LongKey,
    /// A block whose lines begin in this column, and of which there is none yet.
    Block(usize),
    /// The same, after its first line.
    BlockGoesOn(usize),
    /// A text in quotes that is not closed.
    Quotes,
}

struct Reader {
    begun: Begun,
    /// The columns of the mappings and lists that are open, as a parser keeps them.
    open: Vec<usize>,
    values: usize,
}

/// Looks at a text.
///
/// # Errors
/// Why it is not to be read.
pub fn check(text: &str) -> Result<(), Misform> {
    if text.len() as u64 > LONGEST {
        return Err(Misform::TooLong);
    }
    // To a parser some of these begin a line as well, or indent one; what is written has them as escapes.
    if text.contains(|c| c == '\t' || is_unfit(c)) {
        return Err(Misform::OtherForm);
    }
    let body = text.strip_suffix('\n').ok_or(Misform::OtherForm)?;
    let mut reader = Reader { begun: Begun::Nothing, open: Vec::new(), values: 0 };
    body.split('\n').try_for_each(|line| reader.line(line))?;
    match reader.begun {
        Begun::Nothing | Begun::BlockGoesOn(_) => Ok(()),
        Begun::Key(_) | Begun::LongKey | Begun::Block(_) | Begun::Quotes => Err(Misform::OtherForm),
    }
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), Misform> {
        let text = line.trim_start_matches(' ');
        let column = line.len() - text.len();
        match self.begun {
            // A first line with a blank before it would say where the block begins in another way.
            Begun::Block(start) if column == start && !text.is_empty() => {
                self.begun = Begun::BlockGoesOn(start);
                Ok(())
            }
            Begun::Block(_) => Err(Misform::OtherForm),
            Begun::BlockGoesOn(start) if line.is_empty() || column >= start => Ok(()),
            Begun::Quotes => self.quotes(text),
            Begun::LongKey => {
                let value = text.strip_prefix(':').ok_or(Misform::OtherForm)?;
                self.after_key(value, column)
            }
            Begun::Nothing | Begun::Key(_) | Begun::BlockGoesOn(_) => self.items(text, column),
        }
    }

    /// What is in a line: the dashes of lists, then a key or, after a dash, a value.
    fn items(&mut self, text: &str, column: usize) -> Result<(), Misform> {
        let (mut text, mut at) = (text, column);
        // A list begins in the column of its key, a mapping behind it, and no key is without a value.
        if let Begun::Key(key) = self.begun
            && column != if text.starts_with("- ") { key } else { key + 2 }
        {
            return Err(Misform::OtherForm);
        }
        while let Some(rest) = text.strip_prefix("- ") {
            self.opens(at)?;
            // It is not told from its key's mapping by the column.
            if self.begun == Begun::Key(at) {
                self.count(2)?;
            }
            self.begun = Begun::Nothing;
            (text, at) = (rest, at + 2);
        }
        self.begun = Begun::Nothing;
        if let Some(key) = text.strip_prefix("? ") {
            self.opens(at)?;
            self.count(1)?;
            self.begun = Begun::LongKey;
            return if end_of_text(key) == Some(key.len()) { Ok(()) } else { Err(Misform::OtherForm) };
        }
        match end_of_text(text).map(|end| text.split_at(end)) {
            Some((_, "")) if at > column => self.count(1),
            Some((_, value)) if value.starts_with(':') => {
                self.opens(at)?;
                self.count(1)?;
                self.after_key(&value[1..], at)
            }
            Some(_) => Err(Misform::OtherForm),
            None if at > column => self.value(text, at - 2),
            None => Err(Misform::OtherForm),
        }
    }

    /// What follows the `:` of a key in this column.
    fn after_key(&mut self, text: &str, column: usize) -> Result<(), Misform> {
        self.begun = Begun::Key(column);
        if text.is_empty() {
            return Ok(());
        }
        let value = text.strip_prefix(' ').ok_or(Misform::OtherForm)?;
        self.begun = Begun::Nothing;
        self.value(value, column)
    }

    /// A value that begins in this line, of a key or dash in this column.
    fn value(&mut self, text: &str, column: usize) -> Result<(), Misform> {
        match text {
            "[]" | "{}" => return self.count(2),
            "|" | "|-" => self.begun = Begun::Block(column + 2),
            "\"\\" => self.begun = Begun::Quotes,
            _ if end_of_text(text) == Some(text.len()) => {}
            _ => return Err(Misform::OtherForm),
        }
        self.count(1)
    }

    /// A further line of a text in quotes.
    fn quotes(&mut self, text: &str) -> Result<(), Misform> {
        match end_of_quotes(text) {
            Some(end) if end == text.len() => self.begun = Begun::Nothing,
            None if text.ends_with('\\') => {}
            Some(_) | None => return Err(Misform::OtherForm),
        }
        Ok(())
    }

    /// A mapping or list goes on in this column, or begins there.
    fn opens(&mut self, column: usize) -> Result<(), Misform> {
        while self.open.last().is_some_and(|open| *open > column) {
            self.open.pop();
        }
        if self.open.last() != Some(&column) {
            self.open.push(column);
            self.count(2)?;
        }
        // In each column there may be a mapping with a list in it.
        if self.open.len() > DEEPEST { Err(Misform::TooDeep) } else { Ok(()) }
    }

    fn count(&mut self, values: usize) -> Result<(), Misform> {
        self.values += values;
        if self.values > MOST_VALUES { Err(Misform::TooMany) } else { Ok(()) }
    }
}

/// Where a key or value that stands in one line ends, if it is one: a text in quotes, or one that needs none.
fn end_of_text(text: &str) -> Option<usize> {
    if let Some(inner) = text.strip_prefix('"') {
        return end_of_quotes(inner).map(|end| end + 1);
    }
    let begins_well = |c: char| c.is_ascii_alphanumeric() || c == '/';
    if text.starts_with("---") || !text.trim_start_matches('-').starts_with(begins_well) {
        return None;
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " _./+@%=,-".contains(c);
    Some(text.find(|c| !is_plain(c)).unwrap_or(text.len()))
}

/// Where a text in quotes ends that was opened before: after the closing one.
fn end_of_quotes(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, MOST_VALUES, Misform, check};

    #[test]
    fn what_is_written_is_in_this_form() {
        for text in [
            "a: b\n",
            "a:\n  b:\n  - c\n  - - d\n    - {}\n  - e: []\n    f: |-\n      g: {h\n\n       i\n",
            "? k\n: v\n\"a: b\": \"\\\n  c\\n\\\n  \\  d\\\"\"\ne: -1\n",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_makes_more_of_a_text_than_its_lines_say_is_refused() {
        for text in [
            "",
            "a: b",
            "a: [b, c]\n",
            "a: {b: c}\n",
            "- [[]]\n",
            "a: &b c\n",
            "a: *b\n",
            "a: !b c\n",
            "---\na: b\n",
            "a: b\n---\na: b\n",
            "a: b\n...\n",
            "%YAML 1.2\n",
            "a: b # c\n",
            "a: 'b\n",
            "a: \"b\n",
            "a: \"b\" c\n",
            "a: >\n  b\n",
            "a: |2\n   b\n",
            "a: |\n   b\n",
            "a: |\n\n  b\n",
            "a: |\n",
            "a: b\n  c\n",
            "a:\n",
            "a:\nb: c\n",
            "a:\n - b\n",
            "a:\n    b: c\n",
            "- a:\n- b\n",
            "? a\n",
            "? a\nb: c\n",
            "a: |\n  b\r[c, d]\n",
            "a: |\n  b\u{2028}[c, d]\n",
            "a: \"\\\n  b\u{85}\" [c]\n",
            "a:\n\tb: c\n",
        ] {
            assert_eq!(check(text), Err(Misform::OtherForm), "{text}");
        }
    }

    #[test]
    fn there_is_an_end_to_what_is_read() {
        let longest = usize::try_from(LONGEST).unwrap();
        assert_eq!(check(&format!("a: {}\n", "b".repeat(longest - 4))), Ok(()));
        assert_eq!(check(&format!("a: {}\n", "b".repeat(longest - 3))), Err(Misform::TooLong));
        let with = |items: usize| format!("a:\n{}", "- b\n".repeat(items));
        // The mapping, its key and the list.
        assert_eq!(check(&with(MOST_VALUES - 5)), Ok(()));
        assert_eq!(check(&with(MOST_VALUES - 4)), Err(Misform::TooMany));
        let empty = |items: usize| format!("a:\n{}", "- {}\n".repeat(items));
        assert_eq!(check(&empty(MOST_VALUES / 2)), Err(Misform::TooMany));
        assert_eq!(check(&format!("{}a\n", "- ".repeat(128))), Ok(()));
        assert_eq!(check(&format!("{}a\n", "- ".repeat(129))), Err(Misform::TooDeep));
    }

    #[test]
    fn a_parser_makes_no_more_of_it_than_was_counted() {
        // Pieces of lines put together in every way, where what passes is parsed.
        let pieces = ["a", "- ", "? ", ": b", "\nb:", "\n", "\n  ", "|", "\"\\\n", "\"", "[]", "\n- "];
        let mut passed = 0;
        for number in 0..pieces.len().pow(5) {
            let mut rest = number;
            let mut text = String::new();
            for _ in 0..5 {
                text.push_str(pieces[rest % pieces.len()]);
                rest /= pieces.len();
            }
            text.push('\n');
            if check(&text).is_ok()
                && let Ok(value) = serde_yaml::from_str::<serde_yaml::Value>(&text)
            {
                passed += 1;
                let mut reader = super::Reader { begun: super::Begun::Nothing, open: Vec::new(), values: 0 };
                text[..text.len() - 1].split('\n').try_for_each(|line| reader.line(line)).unwrap();
                assert!(values(&value) <= reader.values, "{} of {}:\n{text}", values(&value), reader.values);
            }
        }
        assert!(passed > 100, "{passed}");
    }

    fn values(value: &serde_yaml::Value) -> usize {
        match value {
            serde_yaml::Value::Sequence(items) => 2 + items.iter().map(values).sum::<usize>(),
            serde_yaml::Value::Mapping(entries) => {
                2 + entries.iter().map(|(key, value)| values(key) + values(value)).sum::<usize>()
            }
            _ => 1,
        }
    }
}
