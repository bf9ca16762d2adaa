//! Reading values out of the tree: each function takes a node, checks it, and reports what is wrong with its exact place. After
//! a mistake a harmless value is returned, so that the rest is read too; nothing is ever made of it, since a file with an error is
//! refused. How a scalar becomes text is said by the reader's rendering: [`Literal`] takes it as it was written.

use std::time::Duration;

use super::tree::{Content, Entry, Node, Scalar};
use super::{Genre, code, duration};
use crate::diagnostic::{Diagnostic, Problems, Source, Span, quoted, suggest};

/// The longest text that is shown to people or names something, in bytes.
pub const LONGEST_TEXT: usize = 4096;

/// The keys of a mapping that were looked at.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'n> {
    entries: &'n [Entry<'n>],
    /// Where the mapping stands.
    pub span: Span,
}

/// The keys that a mapping may have.
pub struct Keys {
    /// What the mapping is, with its article: `a step`.
    pub of: &'static str,
    /// Those that it knows.
    pub known: &'static [&'static str],
    /// Keys of the language that this version does not support.
    pub later: &'static [&'static str],
}

/// Reads nodes of one source. `R` is how its scalars become text.
#[derive(Debug)]
pub struct Reader<'s, R> {
    /// The text that is read.
    pub source: &'s Source,
    /// What kind of file it is.
    pub genre: &'static Genre,
    /// What was found wrong so far.
    pub problems: Problems,
    /// How scalars become text.
    pub rendering: R,
}

/// Scalars are what they say; a template is a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal;

impl<'n> Fields<'n> {
    /// The value of this key.
    pub fn get(&self, key: &str) -> Option<&'n Node<'n>> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of this key.
    pub fn entry(&self, key: &str) -> Option<&'n Entry<'n>> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl<R> Reader<'_, R> {
    /// Adds what is wrong.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        self.problems.push(diagnostic);
    }

    /// The entries of a mapping.
    pub fn mapping<'n>(&mut self, node: &'n Node<'n>, what: &str) -> Option<&'n [Entry<'n>]> {
        match &node.content {
            Content::Mapping(entries) => Some(entries),
            Content::Reported => None,
            Content::Scalar(_) | Content::Sequence(_) => {
                self.wrong_shape(node, what);
                None
            }
        }
    }

    /// The items of a list.
    pub fn list<'n>(&mut self, node: &'n Node<'n>, what: &str) -> Option<&'n [Node<'n>]> {
        match &node.content {
            Content::Sequence(items) => Some(items),
            Content::Reported => None,
            Content::Scalar(_) | Content::Mapping(_) => {
                self.wrong_shape(node, what);
                None
            }
        }
    }

    /// Something other than what was expected.
    pub fn wrong_shape(&mut self, node: &Node<'_>, what: &str) {
        let (code, message) = match &node.content {
            Content::Scalar(scalar) if scalar.is_null() => (code::NO_VALUE, format!("expected {what}, found nothing")),
            _ => (code::WRONG_SHAPE, format!("expected {what}, found {}", node.in_words())),
        };
        self.report(Diagnostic::error(code, message).at(node.span, format!("expected {what}")));
    }

    /// The keys of a mapping; each that it cannot have is a mistake.
    pub fn fields<'n>(&mut self, node: &'n Node<'n>, keys: &Keys) -> Option<Fields<'n>> {
        let entries = self.mapping(node, &format!("{} as a mapping", keys.of))?;
        for entry in entries {
            if keys.known.contains(&&*entry.key) {
                continue;
            }
            if keys.later.contains(&&*entry.key) {
                self.not_yet(&entry.key, entry.key_span);
                continue;
            }
            let mut diagnostic =
                Diagnostic::error(code::UNKNOWN_KEY, format!("{} has no key {}", keys.of, quoted(&entry.key)))
                    .at(entry.key_span, "unknown key");
            diagnostic.help = suggest::did_you_mean(&entry.key, keys.known);
            self.report(diagnostic);
        }
        Some(Fields { entries, span: node.span })
    }

    /// Something of the language that this version does not have.
    pub fn not_yet(&mut self, what: &str, span: Span) {
        self.report(
            Diagnostic::error(code::NOT_YET, format!("`{what}` is not supported yet"))
                .at(span, "known, but this version of interlock would not do it")
                .help(format!(
                    "a {} is refused rather than done in part: take it out, or use a later version",
                    self.genre.noun
                )),
        );
    }

    /// A key that must be there.
    pub fn required<'n>(&mut self, fields: &Fields<'n>, key: &str, of: &str) -> Option<&'n Node<'n>> {
        let found = fields.get(key);
        if found.is_none() {
            let span = self.first_line(fields.span);
            self.report(
                Diagnostic::error(code::MISSING_KEY, format!("{of} needs the key `{key}`")).at(span, "it is not here"),
            );
        }
        found
    }

    /// The part of a span that stands on its first line.
    pub fn first_line(&self, span: Span) -> Span {
        let text = self.source.slice(span);
        Span::new(span.start, span.start + text.lines().next().map_or(0, str::len))
    }

    /// A scalar that holds something; reports what does not. `what` says what was expected, with its article.
    pub fn scalar<'n>(&mut self, node: &'n Node<'n>, what: &str) -> Option<&'n Scalar<'n>> {
        if self.problems.is_full() {
            return None;
        }
        let scalar = match &node.content {
            Content::Scalar(scalar) => scalar,
            Content::Reported => return None,
            Content::Sequence(_) | Content::Mapping(_) => {
                self.wrong_shape(node, what);
                return None;
            }
        };
        if scalar.is_null() {
            let diagnostic = Diagnostic::error(code::NO_VALUE, format!("expected {what}, found nothing"));
            self.report(diagnostic.at(node.span, format!("expected {what}")).help("an empty text is written \"\""));
            return None;
        }
        if scalar.text.contains('\0') {
            self.wrong_value(node.span, "a text must not hold the NUL character", "remove it");
            return None;
        }
        Some(scalar)
    }

    /// A template where none is rendered.
    pub fn template_place(&mut self, span: Span, what: &str) {
        let message = format!("no template can stand here: expected {what}");
        let diagnostic = Diagnostic::error(code::TEMPLATE_PLACE, message).at(span, "this is a template");
        self.report(diagnostic.help("write it out; docs/language.md says which values are rendered"));
    }

    /// A value that is not what its key takes; `help` may be empty.
    pub fn wrong_value(&mut self, span: Span, message: impl Into<String>, help: &str) {
        let mut diagnostic = Diagnostic::error(code::WRONG_VALUE, message).at(span, "");
        diagnostic.help = (!help.is_empty()).then(|| help.to_owned());
        self.report(diagnostic);
    }

    /// The `interlock: 1` with which each file begins. `of` is what the file is, with its article.
    pub fn version(&mut self, fields: &Fields<'_>, of: &str) {
        const WHAT: &str = "the version of the language, `1`";
        let Some(node) = self.required(fields, "interlock", of) else { return };
        let Some(scalar) = self.scalar(node, WHAT) else { return };
        if is_template(&scalar.text) {
            self.template_place(node.span, WHAT);
        } else if scalar.text != "1" {
            let message = format!("this program knows version 1 of the language, not {}", quoted(&scalar.text));
            self.report(Diagnostic::error(code::VERSION, message).at(node.span, "expected `1`"));
        }
    }

    /// Reports a text that is empty or too long to name or say something.
    pub fn check_filled(&mut self, text: &str, span: Span, what: &str) {
        if text.trim().is_empty() {
            self.wrong_value(span, format!("expected {what}, found an empty text"), "");
        }
        self.check_length(text, span, what);
    }

    /// Reports a text that is too long.
    pub fn check_length(&mut self, text: &str, span: Span, what: &str) {
        if text.len() > LONGEST_TEXT {
            let message = format!("expected {what} of at most {LONGEST_TEXT} bytes, found {}", text.len());
            self.wrong_value(span, message, "put long texts into a file, and name the file here");
        }
    }

    /// A value that `parse` makes from a text; its error says what is wrong.
    pub fn parse_text<T>(
        &mut self,
        text: &str,
        span: Span,
        what: &str,
        harmless: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        parse(text).unwrap_or_else(|message| {
            let diagnostic = Diagnostic::error(code::WRONG_VALUE, message);
            self.report(diagnostic.at(span, format!("expected {what}")));
            harmless
        })
    }

    /// `true` or `false`.
    pub fn truth_text(&mut self, text: &str, span: Span) -> bool {
        match text {
            "true" => true,
            "false" => false,
            other => {
                let lower = other.to_ascii_lowercase();
                let meant = match lower.as_str() {
                    "yes" | "y" | "on" | "true" => Some("true"),
                    "no" | "n" | "off" | "false" => Some("false"),
                    _ => None,
                };
                let diagnostic = match meant {
                    Some(meant) => Diagnostic::error(code::YES_NO, format!("{} is not a boolean", quoted(other)))
                        .help(format!("write `{meant}`")),
                    None => Diagnostic::error(code::WRONG_VALUE, format!("{} is not a boolean", quoted(other))),
                };
                self.report(diagnostic.at(span, "expected `true` or `false`"));
                false
            }
        }
    }

    /// One of these words; none after a mistake.
    pub fn choice_text<T: Copy>(&mut self, text: &str, span: Span, choices: &[(&'static str, T)]) -> Option<T> {
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let what = choice_words(choices);
        let mut diagnostic = Diagnostic::error(code::WRONG_VALUE, format!("expected {what}, found {}", quoted(text)))
            .at(span, format!("expected {what}"));
        diagnostic.help = suggest::did_you_mean(text, &words);
        self.report(diagnostic);
        None
    }
}

impl Reader<'_, Literal> {
    /// A text as it was written.
    pub fn word<'n>(&mut self, node: &'n Node<'n>, what: &str) -> Option<&'n str> {
        let scalar = self.scalar(node, what)?;
        if is_template(&scalar.text) {
            self.template_place(node.span, what);
            return None;
        }
        Some(&scalar.text)
    }

    /// A text that must not be empty and is of bounded length; empty after a mistake.
    pub fn filled_text(&mut self, node: &Node<'_>, what: &str) -> String {
        let Some(text) = self.word(node, what) else { return String::new() };
        self.check_filled(text, node.span, what);
        text.to_owned()
    }

    /// A value that is made from a text by `parse`, whose error says what is wrong; none after a mistake.
    pub fn parsed<T>(
        &mut self,
        node: &Node<'_>,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.word(node, what)?;
        self.parse_text(text, node.span, what, None, |text| parse(text).map(Some))
    }

    /// A duration longer than nothing.
    pub fn positive_duration(&mut self, node: &Node<'_>) -> Option<Duration> {
        self.parsed(node, duration::POSITIVE_RULE, duration::parse_positive)
    }

    /// `true` or `false`.
    pub fn truth(&mut self, node: &Node<'_>) -> bool {
        let Some(text) = self.word(node, "`true` or `false`") else { return false };
        self.truth_text(text, node.span)
    }

    /// One of these words; none after a mistake.
    pub fn choice<T: Copy>(&mut self, node: &Node<'_>, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.word(node, &choice_words(choices))?;
        self.choice_text(text, node.span, choices)
    }
}

/// Whether a text holds a template.
pub fn is_template(text: &str) -> bool {
    text.contains('{') && (text.contains("{{") || text.contains("{%"))
}

/// The words of a choice, for "expected …".
pub fn choice_words<T>(choices: &[(&'static str, T)]) -> String {
    choices.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
}

/// A whole number in decimal, as YAML and every other notation read it alike.
pub fn whole_number(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !plain {
        return Err(format!("{} is not a whole number in decimal", quoted(text)));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(format!("{} begins with a zero, which some would read as octal", quoted(text)));
    }
    text.parse().map_err(|_| format!("{} does not fit 64 bits", quoted(text)))
}

/// An absolute path.
pub fn absolute_path(text: &str) -> Result<&str, String> {
    if text.starts_with('/') { Ok(text) } else { Err(format!("{} is not an absolute path", quoted(text))) }
}

/// A TCP port.
pub fn port(text: &str) -> Result<u16, String> {
    match whole_number(text)? {
        number @ 1..=65535 => u16::try_from(number).map_err(|error| error.to_string()),
        _ => Err(format!("{} is not a port from 1 to 65535", quoted(text))),
    }
}
