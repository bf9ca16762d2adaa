//! YAML text to a tree whose every node knows its place. Takes the plain part of YAML that has one reading: one
//! document of mappings with unique text keys, lists and scalars. Anchors, aliases, merge keys, tags, second documents
//! and characters that cannot be seen are refused; depth and size are bounded. Scalars stay text: what a value means
//! is the business of the key it stands under.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput};

use super::{Genre, code};
use crate::diagnostic::escape::is_unfit;
use crate::diagnostic::{Diagnostic, Problems, Source, Span, quoted};

/// How deep mappings and lists may lie in each other.
pub const DEEPEST: usize = 64;
/// How many values, keys included, a file may hold.
pub const MOST_NODES: usize = 400_000;
/// How many commas, colons and brackets a file may hold. The parser keeps a whole bracketed value in memory before it hands
/// out the first part of it, so that [`MOST_NODES`] alone would come too late.
pub const MOST_MARKS: usize = 300_000;

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node<'a> {
    /// From its first byte to the one after its last; for an empty value, where it would stand.
    pub span: Span,
    /// What it is.
    pub content: Content<'a>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<'a> {
    /// A text, a number, a boolean: always kept as text.
    Scalar(Scalar<'a>),
    /// A list.
    Sequence(Vec<Node<'a>>),
    /// Keys with values, in the order of the file.
    Mapping(Vec<Entry<'a>>),
    /// Something that was reported already and must not be reported again.
    Reported,
}

/// A scalar as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar<'a> {
    /// Its text, with quotes and escapes undone.
    pub text: Cow<'a, str>,
    /// How it was written.
    pub style: Style,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes; `null`, `~` and nothing at all mean that there is no value.
    Plain,
    /// In single or double quotes.
    Quoted,
    /// As a block (`|` or `>`).
    Block,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key's text.
    pub key: Cow<'a, str>,
    /// The key's place.
    pub key_span: Span,
    /// What it is given.
    pub value: Node<'a>,
}

impl Scalar<'_> {
    /// Whether it says that there is no value.
    pub fn is_null(&self) -> bool {
        self.style == Style::Plain && matches!(&*self.text, "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Node<'_> {
    /// What it is, in words, for "expected …, found …".
    pub fn in_words(&self) -> &'static str {
        match &self.content {
            Content::Scalar(scalar) if scalar.is_null() => "nothing",
            Content::Scalar(_) => "a text",
            Content::Sequence(_) => "a list",
            Content::Mapping(_) => "a mapping",
            Content::Reported => "a mistake",
        }
    }
}

/// Reads the one document of a source. Everything wrong with it is added to `problems`, up to the first mistake in the
/// syntax itself; `None` where nothing can be made of the rest.
pub fn parse<'a>(source: &'a Source, genre: &'static Genre, problems: &mut Problems) -> Option<Node<'a>> {
    let text = source.text();
    if let Some(unfit) = unfit_character(text, genre) {
        problems.push(unfit);
        return None;
    }
    let marks = text.bytes().filter(|b| matches!(b, b',' | b':' | b'[' | b']' | b'{' | b'}')).count();
    if marks > MOST_MARKS {
        problems.push(
            Diagnostic::error(
                code::TOO_BIG,
                format!("the file holds more than {MOST_MARKS} commas, colons and brackets"),
            )
            .help("split it, and move data into files of its own"),
        );
        return None;
    }
    let base = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let body = &text[base..];
    let mut builder =
        Builder { text, genre, places: Places::new(body, base), stack: Vec::new(), root: None, nodes: 0, problems };
    let mut parser = Parser::new_from_str(body);
    if builder.read(&mut parser) == Outcome::Stopped {
        return None;
    }
    let root = builder.root.filter(|root| !matches!(&root.content, Content::Scalar(scalar) if scalar.is_null()));
    if root.is_none() && !problems.has_errors() {
        let empty = Diagnostic::error(code::EMPTY, "the file is empty").at(Span::new(base, base), "nothing here");
        problems.push(empty.help(genre.beginning));
    }
    root
}

/// The first character that such a file must not hold, as a diagnostic.
fn unfit_character(text: &str, genre: &Genre) -> Option<Diagnostic> {
    let bad = |b: u8| !(0x20..0x7f).contains(&b) && b != b'\n' && b != b'\t';
    let mut from = 0;
    while let Some(found) = text.as_bytes()[from..].iter().position(|b| bad(*b)) {
        let at = from + found;
        let c = text[at..].chars().next()?;
        let crlf = c == '\r' && text[at + 1..].starts_with('\n');
        let mark_at_start = c == '\u{feff}' && at == 0;
        if is_unfit(c) && !crlf && !mark_at_start {
            let message = format!("the character U+{:04X} must not stand in a {}", u32::from(c), genre.noun);
            return Some(
                Diagnostic::error(code::UNFIT_CHARACTER, message)
                    .at(Span::new(at, at + c.len_utf8()), "it cannot be seen, or changes how the text around it looks")
                    .help(format!("remove it, or write it as an escape in double quotes: \"{}\"", yaml_escape(c))),
            );
        }
        from = at + c.len_utf8();
    }
    None
}

fn yaml_escape(c: char) -> String {
    let code = u32::from(c);
    match code {
        0..=0xff => format!("\\x{code:02x}"),
        0x100..=0xffff => format!("\\u{code:04x}"),
        _ => format!("\\U{code:08x}"),
    }
}

/// From the parser's positions, which count characters, to bytes.
struct Places {
    base: usize,
    /// The byte of every 64th character; empty for ASCII, where both counts are the same.
    starts: Vec<usize>,
    length: usize,
}

impl Places {
    const STRIDE: usize = 64;

    fn new(body: &str, base: usize) -> Self {
        let starts = if body.is_ascii() {
            Vec::new()
        } else {
            body.char_indices().step_by(Self::STRIDE).map(|(byte, _)| byte).collect()
        };
        Self { base, starts, length: body.len() }
    }

    fn byte(&self, text: &str, marker: Marker) -> usize {
        if self.starts.is_empty() {
            return self.base + marker.index().min(self.length);
        }
        let body = &text[self.base..];
        let Some(start) = self.starts.get(marker.index() / Self::STRIDE) else { return text.len() };
        let rest = body[*start..].char_indices().nth(marker.index() % Self::STRIDE);
        self.base + rest.map_or(self.length, |(byte, _)| start + byte)
    }
}

/// A mapping or list that is not closed yet.
struct Frame<'a> {
    start: usize,
    content: Open<'a>,
    /// What closing it does to the frame around it.
    role: Role,
}

enum Open<'a> {
    Sequence(Vec<Node<'a>>),
    Mapping { entries: Vec<Entry<'a>>, key: Key<'a> },
}

/// What is known of the key whose value comes next.
enum Key<'a> {
    None,
    Text(Cow<'a, str>, Span),
    Reported,
}

#[derive(PartialEq, Eq)]
enum Role {
    Value,
    Key,
    /// The braces of a template that was not quoted.
    Template,
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Complete,
    Stopped,
}

struct Builder<'a, 'p> {
    text: &'a str,
    genre: &'static Genre,
    places: Places,
    stack: Vec<Frame<'a>>,
    root: Option<Node<'a>>,
    nodes: usize,
    problems: &'p mut Problems,
}

impl<'a> Builder<'a, '_> {
    fn read(&mut self, parser: &mut Parser<'a, StrInput<'a>>) -> Outcome {
        let mut documents = 0;
        while let Some(next) = parser.next_event() {
            let (event, span) = match next {
                Ok(next) => next,
                Err(error) => {
                    self.syntax(&error);
                    return Outcome::Stopped;
                }
            };
            let span = Span::new(self.places.byte(self.text, span.start), self.places.byte(self.text, span.end));
            match event {
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let diagnostic = Diagnostic::error(code::SECOND_DOCUMENT, "the file holds a second document");
                        self.problems.push(
                            diagnostic
                                .at(span, "it begins here")
                                .help(format!("one file is one {}: split it", self.genre.noun)),
                        );
                        return Outcome::Stopped;
                    }
                }
                Event::Alias(_) => {
                    self.refuse_anchor(span, "an alias");
                    self.put(Node { span, content: Content::Reported });
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.refuse_properties(anchor, tag.is_some(), span);
                    let style = match style {
                        ScalarStyle::Plain => Style::Plain,
                        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                        ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                    };
                    self.refuse_doubtful(&text, style, span);
                    let text = self.where_it_stands(text, style, span);
                    self.scalar(Scalar { text, style }, span);
                }
                Event::SequenceStart(anchor, tag) => {
                    self.refuse_properties(anchor, tag.is_some(), span);
                    self.open(Open::Sequence(Vec::new()), span);
                }
                Event::MappingStart(anchor, tag) => {
                    self.refuse_properties(anchor, tag.is_some(), span);
                    self.open(Open::Mapping { entries: Vec::new(), key: Key::None }, span);
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span),
            }
            if self.problems.is_full() {
                return Outcome::Stopped;
            }
            if self.stack.len() > DEEPEST {
                self.too_deep(span);
                return Outcome::Stopped;
            }
            if self.nodes > MOST_NODES {
                let diagnostic =
                    Diagnostic::error(code::TOO_BIG, format!("the file holds more than {MOST_NODES} values"));
                self.problems.push(
                    diagnostic
                        .at(span, "here it is too much")
                        .help(format!("split it: a {} is for people to read", self.genre.noun)),
                );
                return Outcome::Stopped;
            }
        }
        Outcome::Complete
    }

    /// A text that stands in the file as it is meant is lent from there. The parser hands out copies, each with room for a
    /// hundred characters more: in a large file, most of the memory.
    fn where_it_stands(&self, text: Cow<'a, str>, style: Style, span: Span) -> Cow<'a, str> {
        let stands = match style {
            Style::Plain => self.text.get(span.start..span.end),
            Style::Quoted => self.text.get(span.start + 1..span.end.saturating_sub(1)),
            Style::Block => None,
        };
        stands.filter(|stands| **stands == *text).map_or(text, Cow::Borrowed)
    }

    /// What some parsers of YAML take and others do not: a plain text that begins with a sign that means something, and a tab
    /// anywhere but in quoted texts, blocks and comments.
    fn refuse_doubtful(&mut self, text: &str, style: Style, span: Span) {
        if style == Style::Block {
            return;
        }
        if style == Style::Plain && text.starts_with(['|', '>', '@', '`', '%', '&', '*', '!', '?', ':']) {
            let diagnostic = Diagnostic::error(code::SYNTAX, "a text that begins with this sign must be in quotes");
            self.problems.push(diagnostic.at(Span::new(span.start, span.start + 1), "here"));
            return;
        }
        let before = self.text[..span.start].len() - self.text[..span.start].trim_end_matches([' ', '\t']).len();
        let rest = &self.text[span.end..];
        let after = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let after = if rest[after..].starts_with(['\n', '\r', '#']) { 0 } else { after };
        let inner = if style == Style::Plain { span.end } else { span.start };
        let places = [span.start - before..span.start, span.start..inner, span.end..span.end + after];
        let found = places.into_iter().find_map(|range| {
            let start = range.start;
            self.text[range].find('\t').map(|at| start + at)
        });
        if let Some(at) = found {
            let diagnostic = Diagnostic::error(code::SYNTAX, "a tab stands where YAML needs spaces");
            self.problems.push(diagnostic.at(Span::new(at, at + 1), "this is a tab").help("use spaces"));
        }
    }

    fn too_deep(&mut self, span: Span) {
        let message = format!("values lie more than {DEEPEST} levels deep in each other");
        let diagnostic = Diagnostic::error(code::TOO_BIG, message).at(span, "here it is too much");
        self.problems.push(diagnostic.help("write it flatter; look for brackets that are not closed"));
    }

    fn refuse_anchor(&mut self, span: Span, what: &str) {
        let diagnostic = Diagnostic::error(
            code::ANCHOR,
            format!("{what}: a {} has no anchors, aliases or merge keys", self.genre.noun),
        );
        self.problems.push(diagnostic.at(span, "not allowed").help("write the value out where it is used"));
    }

    fn refuse_properties(&mut self, anchor: usize, tagged: bool, span: Span) {
        if anchor != 0 {
            self.refuse_anchor(span, "an anchor");
        }
        if tagged {
            let diagnostic = Diagnostic::error(code::TAG, format!("a {} has no YAML tags", self.genre.noun))
                .at(span, "this has a tag");
            self.problems.push(diagnostic.help("remove it; what a value means is said by its key"));
        }
    }

    fn scalar(&mut self, scalar: Scalar<'a>, span: Span) {
        if let Some(Frame { content: Open::Mapping { key: key @ Key::None, .. }, .. }) = self.stack.last_mut() {
            self.nodes += 1;
            if scalar.text == "<<" && scalar.style == Style::Plain {
                *key = Key::Reported;
                self.refuse_anchor(span, "a merge key");
            } else if scalar.is_null() {
                *key = Key::Reported;
                self.problems.push(
                    Diagnostic::error(code::KEY_SHAPE, "a key is missing")
                        .at(span, "expected a key before the `:`")
                        .help("write `key: value`; put the word null in quotes if it is meant as a key"),
                );
            } else {
                *key = Key::Text(scalar.text, span);
            }
            return;
        }
        self.put(Node { span, content: Content::Scalar(scalar) });
    }

    fn open(&mut self, content: Open<'a>, span: Span) {
        self.nodes += 1;
        let role = match self.stack.last() {
            Some(Frame { content: Open::Mapping { key: Key::None, .. }, start, .. }) => {
                if span.start == start + 1 && self.text[*start..].starts_with("{{") {
                    self.unquoted_template(*start);
                    if let Some(outer) = self.stack.last_mut() {
                        outer.role = if outer.role == Role::Key { Role::Key } else { Role::Template };
                    }
                } else if self.text[span.start..].starts_with("{{") {
                    self.unquoted_template(span.start);
                } else {
                    let diagnostic =
                        Diagnostic::error(code::KEY_SHAPE, "a key must be one text, not a list or mapping");
                    self.problems.push(diagnostic.at(span, "this stands where a key is expected"));
                }
                Role::Key
            }
            Some(_) | None => Role::Value,
        };
        self.stack.push(Frame { start: span.start, content, role });
    }

    fn close(&mut self, span: Span) {
        let frame = self.stack.pop().expect("the parser closes only what it opened");
        let content = match frame.content {
            Open::Sequence(items) => Content::Sequence(items),
            Open::Mapping { entries, .. } => Content::Mapping(entries),
        };
        // A block collection ends where the next token begins: go back to its last visible byte.
        let end = frame.start + self.text[frame.start..span.end.max(frame.start)].trim_end().len();
        let span = Span::new(frame.start, end);
        match frame.role {
            Role::Value => {
                if let Content::Mapping(entries) = &content {
                    self.refuse_duplicates(entries);
                }
                self.put(Node { span, content });
            }
            Role::Template => self.put(Node { span, content: Content::Reported }),
            Role::Key => {
                if let Some(Frame { content: Open::Mapping { key, .. }, .. }) = self.stack.last_mut() {
                    *key = Key::Reported;
                }
            }
        }
    }

    /// Puts a finished value where it belongs.
    fn put(&mut self, node: Node<'a>) {
        self.nodes += 1;
        match self.stack.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(node),
            Some(Open::Sequence(items)) => items.push(node),
            Some(Open::Mapping { entries, key }) => match std::mem::replace(key, Key::None) {
                Key::Text(key, key_span) => entries.push(Entry { key, key_span, value: node }),
                Key::Reported => {}
                // An alias stands where the key belongs, and was reported.
                Key::None => *key = Key::Reported,
            },
        }
    }

    fn refuse_duplicates(&mut self, entries: &[Entry<'a>]) {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            let first = if entries.len() <= 8 {
                entries[..at].iter().find(|earlier| earlier.key == entry.key).map(|earlier| earlier.key_span)
            } else {
                match seen.get(&*entry.key) {
                    Some(first) => Some(*first),
                    None => {
                        seen.insert(&entry.key, entry.key_span);
                        None
                    }
                }
            };
            if let Some(first) = first {
                self.problems.push(
                    Diagnostic::error(code::DUPLICATE_KEY, format!("the key {} is written twice", quoted(&entry.key)))
                        .at(entry.key_span, "the second")
                        .related(first, "the first")
                        .help("neither is taken: remove one"),
                );
            }
        }
    }

    fn unquoted_template(&mut self, start: usize) {
        let rest = &self.text[start..];
        let line = rest.lines().next().unwrap_or_default();
        let end = start + line.find("}}").map_or(line.trim_end().len(), |at| at + 2);
        let span = Span::new(start, end);
        // The braces are met twice where text follows them: as a mapping, and as the mistake in the syntax after it.
        let last = self.problems.as_slice().last();
        if last.is_some_and(|d| d.code == code::UNQUOTED_TEMPLATE && d.primary.as_ref().is_some_and(|l| l.span == span))
        {
            return;
        }
        self.problems.push(
            Diagnostic::error(code::UNQUOTED_TEMPLATE, "a template that is not in quotes is not a text for YAML")
                .at(span, "quote your template")
                .help("put the whole value in double quotes, as in `key: \"{{ name }}\"`"),
        );
    }

    fn syntax(&mut self, error: &ScanError) {
        let at = self.places.byte(self.text, *error.marker());
        let line_start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        // An unquoted template ends the flow mapping that YAML takes it for, and the error comes after it: on the same
        // line or at the start of the next.
        let before = self.text[..line_start].trim_end_matches(['\n', '\r']);
        let earlier = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline);
        let lines = &self.text[earlier..line_end];
        let braces = lines.match_indices("{{").map(|(found, _)| found).filter(|found| {
            let before = lines[..*found].trim_end_matches(' ');
            before.ends_with('[') || before.len() < *found && before.ends_with([':', '-', ','])
        });
        if let Some(found) = braces.last() {
            self.unquoted_template(earlier + found);
            return;
        }
        if error.info().contains("recursion limit") {
            self.too_deep(Span::new(at, at));
            return;
        }
        let end = self.text[at..].chars().next().filter(|c| *c != '\n').map_or(at, |c| at + c.len_utf8());
        self.problems.push(
            Diagnostic::error(code::SYNTAX, format!("this is not YAML: {}", error.info()))
                .at(Span::new(at, end), "here")
                .help("look at the quotes, brackets and indentation here and on the line before"),
        );
    }
}
