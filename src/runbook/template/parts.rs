//! Templates taken apart, without the template engine: what stands between delimiters, and where.

use std::ops::Range;

/// The parts of a template between delimiters.
pub(super) struct Parts<'t> {
    text: &'t str,
    from: usize,
}

/// What stands between two delimiters, with them.
pub(super) struct Part {
    pub(super) kind: PartKind,
    pub(super) range: Range<usize>,
}

#[derive(PartialEq, Eq)]
pub(super) enum PartKind {
    Expression,
    Statement,
}

impl<'t> Parts<'t> {
    /// The parts of this text, in order.
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, from: 0 }
    }
}

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        loop {
            let rest = &self.text[self.from..];
            let found = rest.match_indices('{').find(|(at, _)| rest[at + 1..].starts_with(['{', '%', '#']))?.0;
            let start = self.from + found;
            let (kind, close) = match self.text.as_bytes()[start + 1] {
                b'#' => {
                    self.from = self.text[start..].find("#}").map_or(self.text.len(), |end| start + end + 2);
                    continue;
                }
                b'%' => (PartKind::Statement, "%}"),
                _ => (PartKind::Expression, "}}"),
            };
            let mut part = Part { kind, range: start..self.text.len() };
            let end = part.find_outside_quotes(self.text, close).map_or(self.text.len(), |end| end + 2);
            part.range = start..end;
            self.from = end;
            let inner = part.inner(self.text).trim_matches(['-', '+']).trim();
            if part.kind == PartKind::Statement && inner == "raw" {
                let after = &self.text[end..];
                self.from = after
                    .match_indices("{%")
                    .find(|(at, _)| after[at + 2..].trim_start_matches(['-', '+']).trim_start().starts_with("endraw"))
                    .map_or(self.text.len(), |(at, _)| end + at);
            }
            return Some(part);
        }
    }
}

impl Part {
    /// Without the delimiters.
    pub(super) fn inner<'t>(&self, text: &'t str) -> &'t str {
        let whole = &text[self.range.clone()];
        let whole = whole.get(2..).unwrap_or_default();
        whole.strip_suffix("%}").or_else(|| whole.strip_suffix("}}")).unwrap_or(whole)
    }

    /// How often this stands in the part, not counting what is between quotes.
    pub(super) fn count_outside_quotes(&self, text: &str, wanted: &str) -> usize {
        self.all_outside_quotes(text, wanted).count()
    }

    /// Where this stands first in the part, not counting what is between quotes; an index into the whole text.
    pub(super) fn find_outside_quotes(&self, text: &str, wanted: &str) -> Option<usize> {
        self.all_outside_quotes(text, wanted).next()
    }

    /// Each place where this stands in the part, not counting what is between quotes; indices into the whole text.
    fn all_outside_quotes(&self, text: &str, wanted: &str) -> impl Iterator<Item = usize> {
        let (mut quote, mut escaped) = (None, false);
        let bytes = text.as_bytes();
        let from = (self.range.start + 2).min(self.range.end);
        let end = self.range.end;
        (from..end).filter(move |at| {
            let byte = bytes[*at];
            match quote {
                Some(_) if escaped => escaped = false,
                Some(_) if byte == b'\\' => escaped = true,
                Some(open) if byte == open => quote = None,
                Some(_) => {}
                None if bytes[*at..end].starts_with(wanted.as_bytes()) => return true,
                None if byte == b'"' || byte == b'\'' => quote = Some(byte),
                None => {}
            }
            false
        })
    }
}

/// In how many places a template makes a text of others, at most.
pub(super) fn joins(text: &str) -> usize {
    let in_part = |part: &Part| ["~", "+", "|"].iter().map(|sign| part.count_outside_quotes(text, sign)).sum::<usize>();
    Parts::new(text).map(|part| 1 + in_part(&part)).sum()
}

/// The first word of its own between the delimiters of a template that `wanted` wants.
pub fn first_word(text: &str, wanted: impl Fn(&str) -> bool) -> Option<&str> {
    Parts::new(text).find_map(|part| {
        let words = text[part.range].split(|c: char| !(c.is_alphanumeric() || c == '_'));
        words.into_iter().find(|word| wanted(word))
    })
}

/// Where a name stands as a word of its own between the delimiters of a template.
pub fn word_in_template(text: &str, word: &str) -> Option<Range<usize>> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    for part in Parts::new(text) {
        let inner = &text[part.range.clone()];
        for (at, _) in inner.match_indices(word) {
            let before = inner[..at].chars().next_back();
            let after = inner[at + word.len()..].chars().next();
            let alone = !before.is_some_and(|c| part_of_word(c) || c == '.' || c == '"' || c == '\'')
                && !after.is_some_and(part_of_word);
            if alone {
                let start = part.range.start + at;
                return Some(start..start + word.len());
            }
        }
    }
    None
}
