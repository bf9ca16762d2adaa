//! Parameters: how they are declared, the values a run is given, and the two brought together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::model::{Param, ParamType, SecretSource};
use super::read::{self, Dialect, GENRE, Keys, Reader, Templating, absolute_path, port, whole_number};
use super::template::{Binding, Templates};
use super::{code, duration};
use crate::diagnostic::{Diagnostic, Problems, Source, Span, quoted, suggest};
use crate::yaml::tree::{Content, Node, parse};

/// A checked value of a parameter. Never a secret. Serialised as the plain text, number or boolean that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text, a path, a duration, a word of an enum; or nothing, for one that need not be given and was not.
    Text(String),
    /// A whole number or a port.
    Int(i64),
    /// A truth.
    Bool(bool),
}

/// The values that a person gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// By parameter name.
    pub values: BTreeMap<String, GivenValue>,
    /// For what the runbook does not say.
    pub defaults: Defaults,
}

/// How long things may take where a runbook does not say, in place of what the language says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defaults {
    /// A step or an undo that runs a program.
    pub timeout: Option<Duration>,
    /// Until what a step ensures is so.
    pub within: Option<Duration>,
}

/// One value as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenValue {
    /// Its text.
    pub text: String,
    /// Where it came from, in words: `-p port`, or `params.yaml line 3`.
    pub origin: String,
}

/// A declared parameter and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Declared {
    pub(super) param: Param,
    pub(super) span: Span,
}

/// The parameters with their values.
pub(super) struct Resolved {
    pub(super) values: BTreeMap<String, Value>,
    pub(super) missing: Vec<String>,
    pub(super) bindings: BTreeMap<String, Binding>,
}

const PARAM: Keys =
    Keys { of: "a parameter", known: &["type", "default", "required", "help", "values", "from"], later: &["pattern"] };
const FROM: Keys = Keys { of: "the source of a secret", known: &["env", "file", "command", "prompt"], later: &[] };
const TYPES: [&str; 8] = ["string", "int", "bool", "path", "port", "duration", "enum", "secret"];
/// Words that mean something in templates.
const RESERVED: [&str; 18] = [
    "and", "elif", "else", "endif", "false", "for", "if", "in", "is", "loop", "none", "not", "or", "raw", "self",
    "set", "true", "with",
];

/// How many parameters a runbook may have.
pub const MOST: usize = 256;

/// What the names of parameters must look like, in words.
pub const NAME_RULE: &str = "lower-case letters, digits and `_`, beginning with a letter, at most 63 characters";

impl Value {
    /// As text, in the notation of its type.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Int(number) => number.to_string(),
            Self::Bool(truth) => truth.to_string(),
        }
    }
}

impl Param {
    /// Whether it may be left out, and is then the empty text.
    pub fn is_optional(&self) -> bool {
        self.default.as_deref() == Some("")
    }

    /// Checks a text against the type.
    ///
    /// # Errors
    /// What is wrong and what is expected, in words. A secret takes no value at all.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        if text.is_empty() && self.is_optional() {
            return Ok(Value::Text(String::new()));
        }
        let expected = self.type_.in_words();
        let wrong = |why: String| format!("{why}; expected {expected}");
        if text.contains('\0') {
            return Err(wrong("a text must not hold the NUL character".to_owned()));
        }
        match &self.type_ {
            ParamType::String => Ok(Value::Text(text.to_owned())),
            ParamType::Int => whole_number(text).map(Value::Int),
            ParamType::Bool => match text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                other => Err(wrong(format!("{} is not a boolean", quoted(other)))),
            },
            ParamType::Path => absolute_path(text).map(|path| Value::Text(path.to_owned())),
            ParamType::Port => port(text).map(|port| Value::Int(i64::from(port))),
            // The messages of the parsers say what is expected.
            ParamType::Duration => duration::parse(text).map(|_| Value::Text(text.to_owned())),
            ParamType::Enum(values) if values.iter().any(|value| value == text) => Ok(Value::Text(text.to_owned())),
            ParamType::Enum(_) => Err(wrong(format!("{} is none of its values", quoted(text)))),
            ParamType::Secret(_) => Err("a secret takes no value here; its `from` says where it comes from".to_owned()),
        }
    }
}

impl ParamType {
    /// What a value of it is, in words.
    pub fn in_words(&self) -> String {
        match self {
            Self::String => "a text".to_owned(),
            Self::Int => "a whole number in decimal".to_owned(),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Path => "an absolute path".to_owned(),
            Self::Port => "a port from 1 to 65535".to_owned(),
            Self::Duration => duration::RULE.to_owned(),
            Self::Enum(values) => {
                let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
                format!("one of {}", values.join(", "))
            }
            Self::Secret(_) => "a secret".to_owned(),
        }
    }

    /// A value of this type that stands for one that is not known yet.
    pub(super) fn placeholder(&self) -> Value {
        match self {
            Self::String | Self::Secret(_) => Value::Text("unknown".to_owned()),
            Self::Int => Value::Int(1),
            Self::Bool => Value::Bool(false),
            Self::Path => Value::Text("/unknown".to_owned()),
            Self::Port => Value::Int(1),
            Self::Duration => Value::Text("1s".to_owned()),
            Self::Enum(values) => Value::Text(values.first().cloned().unwrap_or_default()),
        }
    }
}

impl Given {
    /// Nothing given.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Adds what was given as `-p name=value`; a later one of the same name wins over an earlier and over a file's.
    ///
    /// # Errors
    /// When there is no `=`.
    pub fn add_argument(&mut self, argument: &str) -> Result<(), Box<Diagnostic>> {
        let Some((name, text)) = argument.split_once('=') else {
            let message = format!("`-p {argument}` gives no value");
            return Err(Box::new(Diagnostic::error(code::GIVEN_VALUE, message).help("write `-p name=value`")));
        };
        self.values.insert(name.to_owned(), GivenValue { text: text.to_owned(), origin: format!("-p {name}") });
        Ok(())
    }

    /// Reads a parameter file: a YAML mapping from names to values, each a text, number or boolean. No templates.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_file(source: &Source) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Problems::new();
        let root = parse(source, &GENRE, &mut problems);
        let templates = Templates::new(BTreeMap::new());
        let mut reader = read::reader(source, templates, problems, Dialect::Runbook);
        let mut given = Self::default();
        if let Some(root) = &root {
            for entry in reader.mapping(root, "a mapping from parameter names to values").unwrap_or_default() {
                // A value may hold braces: it is data, and never rendered.
                let Content::Scalar(scalar) = &entry.value.content else {
                    reader.word(&entry.value, "a text, a number or a boolean", Templating::Refused);
                    continue;
                };
                if scalar.is_null() {
                    reader.word(&entry.value, "a value", Templating::Refused);
                    continue;
                }
                let (line, _) = source.position(entry.value.span.start);
                let origin = format!("{} line {line}", source.name());
                let value = GivenValue { text: scalar.text.clone().into_owned(), origin };
                given.values.insert(entry.key.clone().into_owned(), value);
            }
        }
        if reader.problems.has_errors() { Err(reader.problems.into_vec()) } else { Ok(given) }
    }
}

/// Reads the section `params`.
pub(super) fn declare(reader: &mut Reader<'_>, node: &Node<'_>) -> Vec<Declared> {
    let mut declared: Vec<Declared> = Vec::new();
    for entry in reader.mapping(node, "a mapping from names to parameters").unwrap_or_default() {
        if declared.len() == MOST {
            let diagnostic = Diagnostic::error(code::TOO_BIG, format!("a runbook has at most {MOST} parameters"));
            reader.report(diagnostic.at(entry.key_span, "this is one too many"));
            break;
        }
        if let Err(message) = checked_name(&entry.key) {
            reader.report(Diagnostic::error(code::NAME, message).at(entry.key_span, "not a name"));
        }
        let Some(type_) = param(reader, &entry.value, &entry.key) else { continue };
        declared.push(Declared { param: type_, span: entry.key_span });
    }
    declared
}

fn checked_name(text: &str) -> Result<(), String> {
    if RESERVED.contains(&text) {
        return Err(format!("`{text}` means something in templates and cannot name a parameter"));
    }
    let well_formed = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if well_formed { Ok(()) } else { Err(format!("{} is not a parameter name: expected {NAME_RULE}", quoted(text))) }
}

fn param(reader: &mut Reader<'_>, node: &Node<'_>, name: &str) -> Option<Param> {
    let fields = reader.fields(node, &PARAM)?;
    let type_node = reader.required(&fields, "type", "a parameter")?;
    let type_word = reader.word(type_node, "a type", Templating::Refused)?;
    let unless = |reader: &mut Reader<'_>, key: &str, wanted: &str| {
        if let Some(entry) = fields.entry(key)
            && type_word.text != wanted
        {
            let message = format!("only a parameter of type `{wanted}` has `{key}`");
            reader.report(Diagnostic::error(code::POINTLESS_KEY, message).at(entry.key_span, "it says nothing here"));
        }
    };
    unless(reader, "values", "enum");
    unless(reader, "from", "secret");
    let type_ = match &*type_word.text {
        "string" => ParamType::String,
        "int" => ParamType::Int,
        "bool" => ParamType::Bool,
        "path" => ParamType::Path,
        "port" => ParamType::Port,
        "duration" => ParamType::Duration,
        "enum" => {
            let values = reader.required(&fields, "values", "an enum")?;
            ParamType::Enum(enum_values(reader, values))
        }
        "secret" => {
            let from = reader.required(&fields, "from", "a secret")?;
            ParamType::Secret(secret_source(reader, from)?)
        }
        other => {
            let mut diagnostic = Diagnostic::error(code::WRONG_VALUE, format!("{} is not a type", quoted(other)))
                .at(type_word.span, "unknown type");
            diagnostic.help = suggest::did_you_mean(other, &TYPES);
            reader.report(diagnostic);
            return None;
        }
    };
    let help = fields.get("help").and_then(|node| reader.word(node, "a text", Templating::Refused));
    let required = fields.get("required").map(|node| reader.truth(node));
    let mut param =
        Param { name: name.to_owned(), type_, default: None, help: help.map(|word| word.text.into_owned()) };
    if let Some(entry) = fields.entry("default") {
        default(reader, &mut param, &entry.value, entry.key_span, required);
    } else if required == Some(false) {
        param.default = Some(String::new());
    }
    if matches!(param.type_, ParamType::Secret(_)) && required == Some(false) {
        let span = fields.entry("required").map_or(fields.span, |entry| entry.key_span);
        reader.report(Diagnostic::error(code::PARAMETER, "a secret is always required").at(span, "remove this"));
    }
    Some(param)
}

fn default(reader: &mut Reader<'_>, param: &mut Param, node: &Node<'_>, key_span: Span, required: Option<bool>) {
    if required == Some(true) {
        reader.report(
            Diagnostic::error(code::PARAMETER, format!("`{}` is required and has a default", param.name))
                .at(key_span, "one of the two is too much")
                .help("a parameter with a default need not be given: remove `required: true` or the default"),
        );
    }
    if matches!(param.type_, ParamType::Secret(_)) {
        let diagnostic = Diagnostic::error(code::PARAMETER, "a secret cannot have a default");
        reader.report(diagnostic.at(key_span, "it would be no secret").help("`from` says where the secret comes from"));
        return;
    }
    let Some(word) = reader.word(node, "a default value", Templating::Refused) else { return };
    param.default = Some(word.text.clone().into_owned());
    if let Err(message) = param.read(&word.text) {
        let expected = format!("expected {}", param.type_.in_words());
        reader.report(Diagnostic::error(code::WRONG_VALUE, message).at(word.span, expected));
    }
}

fn enum_values(reader: &mut Reader<'_>, node: &Node<'_>) -> Vec<String> {
    let items = reader.list(node, "a list of words").unwrap_or_default();
    let mut values: Vec<String> = Vec::new();
    for item in items {
        let Some(word) = reader.word(item, "a word", Templating::Refused) else { continue };
        if word.text.is_empty() {
            reader.wrong_value(word.span, "an empty text cannot be a value of an enum", "use `required: false`");
        } else if values.iter().any(|value| *value == word.text) {
            let message = format!("{} stands here twice", quoted(&word.text));
            reader.report(Diagnostic::error(code::TWICE, message).at(word.span, "the second"));
        } else {
            values.push(word.text.into_owned());
        }
    }
    if items.is_empty() {
        reader.wrong_value(node.span, "an enum needs at least one value", "write `values: [one, other]`");
    }
    values
}

fn secret_source(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<SecretSource> {
    let fields = reader.fields(node, &FROM)?;
    let given: Vec<&str> = FROM.known.iter().copied().filter(|key| fields.get(key).is_some()).collect();
    let [one] = given[..] else {
        let message = "a secret comes from exactly one of `env`, `file`, `command` and `prompt`";
        reader.report(Diagnostic::error(code::WRONG_SHAPE, message).at(node.span, "expected one of them"));
        return None;
    };
    let value = fields.get(one)?;
    let text = |reader: &mut Reader<'_>, what| Some(reader.word(value, what, Templating::Refused)?.text.into_owned());
    match one {
        "env" => {
            let name = text(reader, "the name of an environment variable")?;
            if !is_variable_name(&name) {
                reader.wrong_value(value.span, format!("{} cannot name a variable", quoted(&name)), "");
            }
            Some(SecretSource::Env(name))
        }
        "file" => {
            let path = text(reader, "an absolute path")?;
            if let Err(message) = absolute_path(&path) {
                reader.wrong_value(value.span, message, "");
            }
            Some(SecretSource::File(PathBuf::from(path)))
        }
        "command" => {
            let mut argv = Vec::new();
            let items = reader.list(value, "a program and its arguments as a list")?;
            for item in items {
                argv.push(reader.word(item, "an argument", Templating::Refused)?.text.into_owned());
            }
            if argv.first().is_none_or(String::is_empty) {
                reader.wrong_value(value.span, "a command needs a program", "write `command: [program, argument]`");
            }
            Some(SecretSource::Command(argv))
        }
        _ => Some(SecretSource::Prompt(text(reader, "the question")?)),
    }
}

/// Whether a text can name an environment variable (POSIX.1-2024, 8.1, and lower case).
pub(super) fn is_variable_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Brings declarations and given values together.
pub(super) fn resolve(declared: &[Declared], given: &Given, problems: &mut Problems) -> Resolved {
    let mut resolved = Resolved { values: BTreeMap::new(), missing: Vec::new(), bindings: BTreeMap::new() };
    for Declared { param, .. } in declared {
        let given = given.values.get(&param.name);
        if matches!(param.type_, ParamType::Secret(_)) {
            if let Some(given) = given {
                let message = format!("`{}` is a secret and cannot be given by `{}`", param.name, given.origin);
                let diagnostic = Diagnostic::error(code::GIVEN_VALUE, message);
                problems
                    .push(diagnostic.help("others could see it; the runbook says under `from` where it comes from"));
            }
            resolved.bindings.insert(param.name.clone(), Binding::Secret);
            continue;
        }
        let value = match (given, &param.default) {
            (Some(given), _) => param.read(&given.text).map_err(|message| {
                let message = format!("`{}` (given by `{}`): {message}", param.name, given.origin);
                problems.push(
                    Diagnostic::error(code::GIVEN_VALUE, message).help("nothing was started; give another value"),
                );
            }),
            // A default that is wrong was reported where it stands.
            (None, Some(default)) => param.read(default).map_err(|_| ()),
            (None, None) => {
                resolved.missing.push(param.name.clone());
                Err(())
            }
        };
        let binding = match value {
            Ok(value) => {
                resolved.values.insert(param.name.clone(), value.clone());
                Binding::Known(value)
            }
            Err(()) => Binding::Missing(param.type_.placeholder()),
        };
        resolved.bindings.insert(param.name.clone(), binding);
    }
    refuse_unknown(declared, given, problems);
    resolved
}

fn refuse_unknown(declared: &[Declared], given: &Given, problems: &mut Problems) {
    let names: Vec<&str> = declared.iter().map(|declared| declared.param.name.as_str()).collect();
    for (name, value) in &given.values {
        if !names.contains(&name.as_str()) {
            let message = format!("the runbook has no parameter {} (given by `{}`)", quoted(name), value.origin);
            let mut diagnostic = Diagnostic::error(code::GIVEN_UNKNOWN, message);
            diagnostic.help = Some(match suggest::did_you_mean(name, &names) {
                Some(help) => help,
                None if names.is_empty() => "it has no parameters at all".to_owned(),
                None => "`interlock check` lists its parameters".to_owned(),
            });
            problems.push(diagnostic);
        }
    }
}
