//! Reading values out of the tree: each function takes a node, renders it if its place allows that, checks it, and
//! reports what is wrong with its exact place. After a mistake a harmless value is returned, so that the rest is read
//! too; nothing is ever made of it, since a runbook with an error is refused.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use super::template::{Mistake, MistakeKind, Rendered, Templates, is_template, word_in_template};
use super::yaml::{Content, Entry, Node, Style};
use super::{code, duration};
use crate::diagnostic::{Diagnostic, Problems, Source, Span, quoted, suggest};

/// The longest text that is shown to people or names something, in bytes.
pub(super) const LONGEST_TEXT: usize = 4096;

/// What the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// A runbook: what is written is what is meant.
    Runbook,
    /// A kind that ships with the program: an optional value that is rendered to nothing counts as not given.
    Kind,
}

/// Whether a value is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Templating {
    /// It is, with parameters that are no secrets.
    Plain,
    /// It is, also with secrets (`env` and `stdin`).
    SecretsToo,
    /// It is not, and a template is a mistake.
    Refused,
}

/// What is known of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// All of it.
    Known,
    /// It depends on a parameter that has no value yet.
    Unknown,
    /// It depends on a secret; the text is the template as it was written.
    Secret,
}

/// A scalar that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word<'n> {
    pub(super) text: Cow<'n, str>,
    pub(super) span: Span,
    pub(super) certainty: Certainty,
}

/// The keys of a mapping that were looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'n> {
    entries: &'n [Entry<'n>],
    pub(super) span: Span,
}

/// The keys that a mapping may have.
pub(super) struct Keys {
    /// What the mapping is, with its article: `a step`.
    pub(super) of: &'static str,
    pub(super) known: &'static [&'static str],
    /// Keys of the language that this version does not support.
    pub(super) later: &'static [&'static str],
}

/// Reads nodes of one source.
pub(super) struct Reader<'s> {
    pub(super) source: &'s Source,
    pub(super) templates: Templates,
    pub(super) problems: Problems,
    pub(super) dialect: Dialect,
}

impl<'n> Fields<'n> {
    pub(super) fn get(&self, key: &str) -> Option<&'n Node<'n>> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry<'n>> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl Reader<'_> {
    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.problems.push(diagnostic);
    }

    /// The entries of a mapping.
    pub(super) fn mapping<'n>(&mut self, node: &'n Node<'n>, what: &str) -> Option<&'n [Entry<'n>]> {
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
    pub(super) fn list<'n>(&mut self, node: &'n Node<'n>, what: &str) -> Option<&'n [Node<'n>]> {
        match &node.content {
            Content::Sequence(items) => Some(items),
            Content::Reported => None,
            Content::Scalar(_) | Content::Mapping(_) => {
                self.wrong_shape(node, what);
                None
            }
        }
    }

    fn wrong_shape(&mut self, node: &Node<'_>, what: &str) {
        let (code, message) = match &node.content {
            Content::Scalar(scalar) if scalar.is_null() => (code::NO_VALUE, format!("expected {what}, found nothing")),
            _ => (code::WRONG_SHAPE, format!("expected {what}, found {}", node.in_words())),
        };
        self.report(Diagnostic::error(code, message).at(node.span, format!("expected {what}")));
    }

    /// The keys of a mapping; each that it cannot have is a mistake.
    pub(super) fn fields<'n>(&mut self, node: &'n Node<'n>, keys: &Keys) -> Option<Fields<'n>> {
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
    pub(super) fn not_yet(&mut self, what: &str, span: Span) {
        self.report(
            Diagnostic::error(code::NOT_YET, format!("`{what}` is not supported yet"))
                .at(span, "known, but this version of interlock would not do it")
                .help("a runbook is refused rather than done in part: take it out, or use a later version"),
        );
    }

    /// A key that must be there.
    pub(super) fn required<'n>(&mut self, fields: &Fields<'n>, key: &str, of: &str) -> Option<&'n Node<'n>> {
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
    pub(super) fn first_line(&self, span: Span) -> Span {
        let text = self.source.slice(span);
        Span::new(span.start, span.start + text.lines().next().map_or(0, str::len))
    }

    /// A scalar, rendered where its place allows that. `what` says what was expected, with its article.
    pub(super) fn word<'n>(&mut self, node: &'n Node<'n>, what: &str, templating: Templating) -> Option<Word<'n>> {
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
        let known = |text| Some(Word { text, span: node.span, certainty: Certainty::Known });
        if !is_template(&scalar.text) {
            return known(Cow::Borrowed(&*scalar.text));
        }
        if templating == Templating::Refused {
            self.report(
                Diagnostic::error(code::TEMPLATE_PLACE, format!("no template can stand here: expected {what}"))
                    .at(node.span, "this is a template")
                    .help("write it out; docs/language.md says which values are rendered"),
            );
            return None;
        }
        match self.templates.render(&scalar.text) {
            Ok(Rendered::Known(text)) if text.contains('\0') => {
                self.wrong_value(node.span, "a text must not hold the NUL character", "remove it");
                None
            }
            Ok(Rendered::Known(text)) => known(Cow::Owned(text)),
            Ok(Rendered::Unknown) => {
                Some(Word { text: Cow::Borrowed(""), span: node.span, certainty: Certainty::Unknown })
            }
            Ok(Rendered::Secret) if templating == Templating::SecretsToo => {
                Some(Word { text: Cow::Borrowed(&*scalar.text), span: node.span, certainty: Certainty::Secret })
            }
            Ok(Rendered::Secret) => {
                self.report(
                    Diagnostic::error(code::SECRET_PLACE, format!("a secret cannot be put into {what}"))
                        .at(node.span, "this uses a secret")
                        .help("others could see it here: use `env` or `stdin` of a step"),
                );
                None
            }
            Err(mistakes) => {
                for mistake in mistakes {
                    self.template_mistake(node, &scalar.text, scalar.style, mistake);
                }
                None
            }
        }
    }

    /// Reports what is wrong with an expression that stands in this scalar.
    pub(super) fn expression_mistakes(&mut self, node: &Node<'_>, expression: &str, mistakes: Vec<Mistake>) {
        for mistake in mistakes {
            self.template_mistake(node, expression, Style::Plain, mistake);
        }
    }

    fn template_mistake(&mut self, node: &Node<'_>, text: &str, style: Style, mistake: Mistake) {
        let raw = self.source.slice(node.span);
        // Where the text stands in the file as it is, its places are the file's; where escapes or folded lines lie
        // between, the same words are looked for.
        let span = mistake.range.and_then(|range| {
            let found = match raw.find(text) {
                Some(at) => Some(at + range.start..at + range.end),
                None if style == Style::Plain => None,
                None => word_in_template(raw, text.get(range)?),
            };
            found.map(|range| Span::new(node.span.start + range.start, node.span.start + range.end))
        });
        let (code, label) = match mistake.kind {
            MistakeKind::Undefined => (code::UNDEFINED, "not a parameter of this runbook"),
            MistakeKind::Template => (code::TEMPLATE, "here"),
        };
        let mut diagnostic = Diagnostic::error(code, mistake.message).at(span.unwrap_or(node.span), label);
        diagnostic.help = mistake.help;
        self.report(diagnostic);
    }

    pub(super) fn wrong_value(&mut self, span: Span, message: impl Into<String>, help: &str) {
        let mut diagnostic = Diagnostic::error(code::WRONG_VALUE, message).at(span, "");
        diagnostic.help = (!help.is_empty()).then(|| help.to_owned());
        self.report(diagnostic);
    }

    /// A text that is rendered; empty after a mistake or when it is not known yet.
    pub(super) fn text(&mut self, node: &Node<'_>, what: &str) -> String {
        self.word(node, what, Templating::Plain).map(|word| word.text.into_owned()).unwrap_or_default()
    }

    /// A text that is rendered, must not be empty, and is of bounded length.
    pub(super) fn filled_text(&mut self, node: &Node<'_>, what: &str) -> String {
        let Some(word) = self.word(node, what, Templating::Plain) else { return String::new() };
        if word.certainty == Certainty::Known && word.text.trim().is_empty() {
            self.wrong_value(word.span, format!("expected {what}, found an empty text"), "");
        }
        if word.text.len() > LONGEST_TEXT {
            let message = format!("expected {what} of at most {LONGEST_TEXT} bytes, found {}", word.text.len());
            self.wrong_value(word.span, message, "put long texts into a file, and name the file here");
        }
        word.text.into_owned()
    }

    /// A value that is made from a text by `parse`, whose error says what is wrong.
    pub(super) fn parsed<T>(
        &mut self,
        node: &Node<'_>,
        what: &str,
        harmless: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(word) = self.word(node, what, Templating::Plain) else { return harmless };
        if word.certainty != Certainty::Known {
            return harmless;
        }
        parse(&word.text).unwrap_or_else(|message| {
            let diagnostic = Diagnostic::error(code::WRONG_VALUE, message);
            self.report(diagnostic.at(word.span, format!("expected {what}")));
            harmless
        })
    }

    /// A duration.
    pub(super) fn duration(&mut self, node: &Node<'_>) -> Duration {
        self.parsed(node, duration::RULE, Duration::from_secs(1), duration::parse)
    }

    /// A duration longer than nothing.
    pub(super) fn positive_duration(&mut self, node: &Node<'_>) -> Duration {
        self.parsed(node, "a duration longer than nothing, such as `90s`", Duration::from_secs(1), |text| {
            match duration::parse(text)? {
                Duration::ZERO => Err(format!("{} is no time at all", quoted(text))),
                some => Ok(some),
            }
        })
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, node: &Node<'_>) -> bool {
        let Some(word) = self.word(node, "`true` or `false`", Templating::Plain) else { return false };
        if word.certainty != Certainty::Known {
            return false;
        }
        match &*word.text {
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
                self.report(diagnostic.at(word.span, "expected `true` or `false`"));
                false
            }
        }
    }

    /// An absolute path.
    pub(super) fn path(&mut self, node: &Node<'_>) -> PathBuf {
        self.parsed(node, "an absolute path", PathBuf::from("/"), |text| absolute_path(text).map(PathBuf::from))
    }

    /// One of these words; the first is the harmless one.
    pub(super) fn choice<T: Copy>(&mut self, node: &Node<'_>, choices: &[(&'static str, T)]) -> T {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let what = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
        let Some(word) = self.word(node, &what, Templating::Plain) else { return choices[0].1 };
        if word.certainty != Certainty::Known {
            return choices[0].1;
        }
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word.text) {
            return *value;
        }
        let mut diagnostic =
            Diagnostic::error(code::WRONG_VALUE, format!("expected {what}, found {}", quoted(&word.text)))
                .at(word.span, format!("expected {what}"));
        diagnostic.help = suggest::did_you_mean(&word.text, &words);
        self.report(diagnostic);
        choices[0].1
    }

    /// A list of exit codes, each once.
    pub(super) fn exit_codes(&mut self, node: &Node<'_>) -> Vec<i32> {
        let mut codes: Vec<i32> = Vec::new();
        for item in self.list(node, "a list of exit codes, such as `[0, 3]`").unwrap_or_default() {
            let exit = self.parsed(item, "an exit code from 0 to 255", 0, |text| match whole_number(text)? {
                exit @ 0..=255 => i32::try_from(exit).map_err(|error| error.to_string()),
                _ => Err(format!("{} is not an exit code", quoted(text))),
            });
            if !codes.contains(&exit) {
                codes.push(exit);
            }
        }
        codes
    }

    /// The node, unless it is a value in a kind that came out empty and so counts as not given.
    pub(super) fn given<'n>(&mut self, node: Option<&'n Node<'n>>) -> Option<&'n Node<'n>> {
        let node = node?;
        if self.dialect == Dialect::Kind
            && let Content::Scalar(scalar) = &node.content
            && is_template(&scalar.text)
            && self.templates.render(&scalar.text) == Ok(Rendered::Known(String::new()))
        {
            return None;
        }
        Some(node)
    }
}

/// A whole number in decimal, as YAML and every other notation read it alike.
pub(super) fn whole_number(text: &str) -> Result<i64, String> {
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
pub(super) fn absolute_path(text: &str) -> Result<&str, String> {
    if text.starts_with('/') { Ok(text) } else { Err(format!("{} is not an absolute path", quoted(text))) }
}

/// A TCP port.
pub(super) fn port(text: &str) -> Result<u16, String> {
    match whole_number(text)? {
        number @ 1..=65535 => u16::try_from(number).map_err(|error| error.to_string()),
        _ => Err(format!("{} is not a port from 1 to 65535", quoted(text))),
    }
}
