//! Mistakes of an author: what, where, and how they are shown. A diagnostic is data; [`render`] makes text for people
//! of it and [`json`] an object for programs. Nothing that an author wrote reaches a terminal raw: see [`escape`].

pub mod escape;
pub mod json;
pub mod render;
pub mod suggest;

use std::ops::Range;

/// How many diagnostics are kept of one file.
pub const MOST_KEPT: usize = 200;

/// A text with a name, such as the runbook file that a person wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
}

/// A range of bytes in a source, on character boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted, but probably does not do what its author wants.
    Warning,
}

/// A place in a source and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What, in a few words; empty when the message says it all.
    pub text: String,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable code such as `E0201`; docs/language.md says what each means.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence. Not escaped: it may hold what the author wrote.
    pub message: String,
    /// Where; `None` for what has no place in a file, such as a parameter on the command line.
    pub primary: Option<Label>,
    /// Other places that have to do with it.
    pub related: Vec<Label>,
    /// What to do next.
    pub help: Option<String>,
}

/// What was found so far. Keeps at most [`MOST_KEPT`] diagnostics, so that a hostile file cannot fill the memory with
/// them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    found: Vec<Diagnostic>,
    errors: usize,
}

impl Source {
    /// A source of this name (shown as its place) and text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Its name: the path as the person gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What stands at this place; empty for a place that is not in this source.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// The line and the column of this byte, both counted from 1, the column in characters.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let mut at = byte.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}

impl Span {
    /// From the first byte to the one after the last.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self::new(range.start, range.end)
    }
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            primary: None,
            related: Vec::new(),
            help: None,
        }
    }

    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// The same, at this place.
    #[must_use]
    pub fn at(mut self, span: Span, label: impl Into<String>) -> Self {
        self.primary = Some(Label { span, text: label.into() });
        self
    }

    /// The same, with another place that has to do with it.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push(Label { span, text: label.into() });
        self
    }

    /// The same, with what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Problems {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
        }
        if self.found.len() < MOST_KEPT {
            self.found.push(diagnostic);
        }
    }

    /// Adds all of another's.
    pub fn append(&mut self, other: Self) {
        self.errors += other.errors;
        let room = MOST_KEPT.saturating_sub(self.found.len());
        self.found.extend(other.found.into_iter().take(room));
    }

    /// Whether as many were found as are kept, so that looking for more is of no use.
    pub fn is_full(&self) -> bool {
        self.found.len() >= MOST_KEPT
    }

    /// Whether an error was found.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Those that were kept, in the order of the file; a last one without a place says that there are more.
    pub fn into_vec(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|d| (d.primary.is_none(), d.primary.as_ref().map(|label| label.span.start)));
        if self.found.len() >= MOST_KEPT {
            let severity = if self.errors > 0 { Severity::Error } else { Severity::Warning };
            let more = Diagnostic { severity, ..Diagnostic::error("E0100", "there may be more mistakes than these") };
            self.found.push(more.help("mend those above, and check again"));
        }
        self.found
    }

    /// Those that were kept, as they came.
    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.found
    }
}

/// What an author wrote, shortened to one glance and in back-quotes, for use in a message.
pub fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests;
