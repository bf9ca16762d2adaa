//! The `redact` rules of a policy: what is removed from all that steps write.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::Look;

use super::read::{Placed, Reader};
use super::rules::items;
use crate::diagnostic::{Diagnostic, quoted};
use crate::yaml::code::{NAME, TOO_BIG, TWICE};
use crate::yaml::read::{Fields, Keys};
use crate::yaml::tree::Node;

const RULE: Keys = Keys { of: "a rule of `redact`", known: &["name", "pattern"], later: &[] };

/// How many rules a policy may have: each is looked for in every line.
const MOST: usize = 64;
/// The longest name, in bytes.
const LONGEST_NAME: usize = 64;
/// How much the program of one pattern may take, in bytes.
const PATTERN_BYTES: usize = 1 << 20;
/// What goes for every pattern: `^` and `$` are the ends of a line, and `\d`, `\w`, `\b` and `(?i)` are about ASCII, because output need not be
/// text, and because a line of any bytes is then looked at fast.
const FLAGS: &str = "(?m-u)";

/// What is removed from output.
#[derive(Debug, Clone)]
pub struct RedactRule {
    /// How it is called in what stands there instead.
    pub name: String,
    /// What matches is removed. It never matches nothing.
    pub pattern: Regex,
}

impl PartialEq for RedactRule {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.pattern.as_str()) == (&other.name, other.pattern.as_str())
    }
}

pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<RedactRule> {
    let items = items(reader, fields, "redact");
    if let Some(more) = items.get(MOST) {
        let diagnostic = Diagnostic::error(TOO_BIG, format!("a policy has at most {MOST} rules of `redact`"));
        reader.report(diagnostic.at(more.span, "one too many").help("join some of them with `|`"));
        return Vec::new();
    }
    let mut names: Vec<Placed<String>> = Vec::new();
    let mut rules = Vec::new();
    for item in items {
        let Some(fields) = reader.fields(item, &RULE) else { continue };
        let name = reader.required(&fields, "name", RULE.of).and_then(|node| name(reader, node, &mut names));
        let pattern = reader.required(&fields, "pattern", RULE.of).and_then(|node| pattern(reader, node));
        if let (Some(name), Some(pattern)) = (name, pattern) {
            rules.push(RedactRule { name, pattern });
        }
    }
    rules
}

/// The name of a rule, which no other has.
fn name(reader: &mut Reader<'_>, node: &Node<'_>, names: &mut Vec<Placed<String>>) -> Option<String> {
    let text = reader.word(node, "a name")?;
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=LONGEST_NAME).contains(&text.len()) || !text.bytes().all(fits) {
        let diagnostic = Diagnostic::error(NAME, format!("{} cannot be the name of a rule", quoted(text)));
        let help = format!("a name has 1 to {LONGEST_NAME} of the characters `a` to `z`, `0` to `9` and `-`");
        reader.report(diagnostic.at(node.span, "not a name").help(help));
        return None;
    }
    if let Some((_, first)) = names.iter().find(|(other, _)| other == text) {
        let diagnostic = Diagnostic::error(TWICE, format!("two rules of `redact` are called `{text}`"));
        reader.report(diagnostic.at(node.span, "the second").related(*first, "the first"));
        return None;
    }
    names.push((text.to_owned(), node.span));
    Some(text.to_owned())
}

fn pattern(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Regex> {
    let text = reader.filled_text(node, "a regular expression");
    if text.is_empty() {
        return None;
    }
    match compiled(&text) {
        Ok(pattern) => Some(pattern),
        Err((message, help)) => {
            reader.wrong_value(node.span, message, help);
            None
        }
    }
}

/// The pattern, if it can be looked for in lines.
///
/// # Errors
/// What is wrong with it, and what to do.
fn compiled(text: &str) -> Result<Regex, (String, &'static str)> {
    let mut parser = regex_syntax::ParserBuilder::new().utf8(false).unicode(false).multi_line(true).build();
    let parsed = parser.parse(text).map_err(|error| {
        let (what, at) = match &error {
            regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span().start.column),
            regex_syntax::Error::Translate(error) => (error.kind().to_string(), error.span().start.column),
            _ => (error.to_string(), 1),
        };
        let message = format!("the pattern is not a regular expression: {what}, at its character {at}");
        (message, "docs/policy.md says what can be written; `(?u)` in front allows what is beyond ASCII")
    })?;
    let properties = parsed.properties();
    let looks = properties.look_set();
    if [Look::Start, Look::End, Look::StartCRLF, Look::EndCRLF].into_iter().any(|look| looks.contains(look)) {
        let message =
            "the pattern speaks of the beginning or the end of all output, and each line is looked at by itself";
        return Err((
            message.to_owned(),
            "write `^` and `$` for those of a line, without `\\A`, `\\z`, `(?-m)` and `(?R)`",
        ));
    }
    match properties.minimum_len() {
        None => return Err(("the pattern can never match".to_owned(), "correct it, or leave the rule out")),
        Some(0) => {
            return Err((
                "the pattern also matches nothing at all".to_owned(),
                "say what has to be there: `+` for `*`, `{1,9}` for `{0,9}`",
            ));
        }
        Some(1..) => {}
    }
    RegexBuilder::new(&format!("{FLAGS}{text}")).size_limit(PATTERN_BYTES).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => (
            format!("the pattern takes more than {limit} bytes when it is compiled"),
            "take large repetitions out of it, or make rules of its parts",
        ),
        _ => (error.to_string().replace('\n', " "), "docs/policy.md says what can be written"),
    })
}
