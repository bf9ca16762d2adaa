//! Reading the values of runbooks, kinds and parameter files: as [`crate::yaml::read`], and each scalar is rendered where its
//! place allows that.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use super::params::Defaults;
use super::template::{Mistake, MistakeKind, Rendered, Templates, word_in_template};
use super::{code, duration};
use crate::diagnostic::{Diagnostic, Problems, Source, Span, quoted};
use crate::yaml::read::{choice_words, is_template};
use crate::yaml::tree::{Content, Node, Style};
use crate::yaml::{self, Genre};

pub(super) use crate::yaml::read::{Fields, Keys, absolute_path, port, whole_number};

/// How a runbook is called and begins.
pub(super) const GENRE: Genre =
    Genre { noun: "runbook", beginning: "a runbook begins with `interlock: 1`; docs/language.md shows a whole one" };

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

/// Scalars are rendered with these.
pub(super) struct Rendering {
    pub(super) templates: Templates,
    pub(super) dialect: Dialect,
    pub(super) defaults: Defaults,
}

/// Reads nodes of one source, rendering its scalars.
pub(super) type Reader<'s> = yaml::read::Reader<'s, Rendering>;

/// A reader of this source that renders with these templates.
pub(super) fn reader(source: &Source, templates: Templates, problems: Problems, dialect: Dialect) -> Reader<'_> {
    Reader {
        source,
        genre: &GENRE,
        problems,
        rendering: Rendering { templates, dialect, defaults: Defaults::default() },
    }
}

impl Reader<'_> {
    /// A scalar, rendered where its place allows that. `what` says what was expected, with its article.
    pub(super) fn word<'n>(&mut self, node: &'n Node<'n>, what: &str, templating: Templating) -> Option<Word<'n>> {
        let scalar = self.scalar(node, what)?;
        let known = |text| Some(Word { text, span: node.span, certainty: Certainty::Known });
        if !is_template(&scalar.text) {
            return known(Cow::Borrowed(&*scalar.text));
        }
        if templating == Templating::Refused {
            self.template_place(node.span, what);
            return None;
        }
        match self.rendering.templates.render(&scalar.text) {
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

    /// A text that is rendered; empty after a mistake or when it is not known yet.
    pub(super) fn text(&mut self, node: &Node<'_>, what: &str) -> String {
        self.word(node, what, Templating::Plain).map(|word| word.text.into_owned()).unwrap_or_default()
    }

    /// A text that is rendered, must not be empty, and is of bounded length.
    pub(super) fn filled_text(&mut self, node: &Node<'_>, what: &str) -> String {
        let Some(word) = self.word(node, what, Templating::Plain) else { return String::new() };
        match word.certainty {
            Certainty::Known => self.check_filled(&word.text, word.span, what),
            Certainty::Unknown | Certainty::Secret => self.check_length(&word.text, word.span, what),
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
        self.parse_text(&word.text, word.span, what, harmless, parse)
    }

    /// A duration.
    pub(super) fn duration(&mut self, node: &Node<'_>) -> Duration {
        self.parsed(node, duration::RULE, Duration::from_secs(1), duration::parse)
    }

    /// A duration longer than nothing.
    pub(super) fn positive_duration(&mut self, node: &Node<'_>) -> Duration {
        self.parsed(node, duration::POSITIVE_RULE, Duration::from_secs(1), duration::parse_positive)
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, node: &Node<'_>) -> bool {
        let Some(word) = self.word(node, "`true` or `false`", Templating::Plain) else { return false };
        if word.certainty != Certainty::Known {
            return false;
        }
        self.truth_text(&word.text, word.span)
    }

    /// An absolute path.
    pub(super) fn path(&mut self, node: &Node<'_>) -> PathBuf {
        self.parsed(node, "an absolute path", PathBuf::from("/"), |text| absolute_path(text).map(PathBuf::from))
    }

    /// One of these words; the first is the harmless one.
    pub(super) fn choice<T: Copy>(&mut self, node: &Node<'_>, choices: &[(&'static str, T)]) -> T {
        let Some(word) = self.word(node, &choice_words(choices), Templating::Plain) else { return choices[0].1 };
        if word.certainty != Certainty::Known {
            return choices[0].1;
        }
        self.choice_text(&word.text, word.span, choices).unwrap_or(choices[0].1)
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
        if self.rendering.dialect == Dialect::Kind
            && let Content::Scalar(scalar) = &node.content
            && is_template(&scalar.text)
            && self.rendering.templates.render(&scalar.text) == Ok(Rendered::Known(String::new()))
        {
            return None;
        }
        Some(node)
    }
}
