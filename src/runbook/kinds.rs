//! Kinds: states made from probes, written in the language itself and shipped inside the program. A kind is a template
//! of a system: its parameters are filled in from the runbook, its probes are then read as the runbook's own would be.

use std::collections::BTreeMap;

use super::code;
use super::lower::{self, own_states};
use super::model::{Param, State};
use super::params::{self, Declared, Value};
use super::read::{self, Certainty, Dialect, GENRE, Keys, Reader, Templating};
use super::template::{Binding, Templates};
use crate::diagnostic::{Diagnostic, Problems, Source, quoted, suggest};
use crate::id::StateName;
use crate::yaml::tree::{Content, Entry, Node, parse};

/// Kinds of the language that this version does not have.
pub(super) const LATER: [&str; 6] = ["disk", "http", "kubernetes", "mysql", "redis", "systemd"];

const BUILT_IN: [(&str, &str); 3] = [
    ("monit", include_str!("kinds/monit.yaml")),
    ("postgres", include_str!("kinds/postgres.yaml")),
    ("service", include_str!("kinds/service.yaml")),
];

const KIND: Keys = Keys { of: "a kind", known: &["interlock", "kind", "title", "params", "states"], later: &[] };

/// What there is to know of a kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// Its name, as runbooks write it.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// The parameters it takes.
    pub params: Vec<Param>,
    /// Its states, each with a line of help.
    pub states: Vec<(StateName, String)>,
}

/// The kinds that ship with the program.
#[derive(Debug, Clone)]
pub struct Library {
    sources: BTreeMap<&'static str, Source>,
}

impl Library {
    /// All of them.
    pub fn built_in() -> Self {
        let sources = BUILT_IN.iter().map(|(name, text)| (*name, Source::new(format!("kind {name}"), *text)));
        Self { sources: sources.collect() }
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().copied()
    }

    /// The text of one.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.get(name)
    }

    /// What there is to know of each.
    ///
    /// # Errors
    /// The mistakes in a kind, with its source; the kinds that ship have none.
    pub fn describe(&self) -> Result<Vec<Kind>, Vec<(Source, Vec<Diagnostic>)>> {
        let mut kinds = Vec::new();
        let mut broken = Vec::new();
        for (name, source) in &self.sources {
            match describe(name, source) {
                Ok(kind) => kinds.push(kind),
                Err(mistakes) => broken.push((source.clone(), mistakes)),
            }
        }
        if broken.is_empty() { Ok(kinds) } else { Err(broken) }
    }
}

/// A kind whose text was read, but not its states.
struct Opened<'k> {
    title: String,
    params: Vec<Declared>,
    states: Option<&'k Node<'k>>,
}

fn open<'k>(reader: &mut Reader<'_>, root: &'k Node<'k>, name: &str) -> Option<Opened<'k>> {
    let fields = reader.fields(root, &KIND)?;
    reader.version(&fields, "a kind");
    let own = reader.required(&fields, "kind", "a kind")?;
    if let Some(word) = reader.word(own, "the kind's name", Templating::Refused)
        && word.text != name
    {
        reader.wrong_value(word.span, format!("the file of the kind `{name}` says {}", quoted(&word.text)), "");
    }
    let title = fields.get("title").and_then(|node| reader.word(node, "a title", Templating::Refused));
    let params = fields.get("params").map(|node| params::declare(reader, node)).unwrap_or_default();
    for declared in &params {
        if matches!(declared.param.type_, super::model::ParamType::Secret(_)) {
            let diagnostic = Diagnostic::error(code::PARAMETER, "a kind cannot take a secret");
            reader.report(diagnostic.at(declared.span, "probes are shown"));
        }
    }
    let states = reader.required(&fields, "states", "a kind");
    Some(Opened { title: title.map(|word| word.text.into_owned()).unwrap_or_default(), params, states })
}

fn kind_reader<'k>(source: &'k Source, problems: Problems, bindings: BTreeMap<String, Binding>) -> Reader<'k> {
    read::reader(source, Templates::new(bindings), problems, Dialect::Kind)
}

fn describe(name: &str, source: &Source) -> Result<Kind, Vec<Diagnostic>> {
    let mut problems = Problems::new();
    let root = parse(source, &GENRE, &mut problems);
    let mut reader = kind_reader(source, problems, BTreeMap::new());
    let opened = root.as_ref().and_then(|root| open(&mut reader, root, name));
    let Some(opened) = opened else { return Err(reader.problems.into_vec()) };
    let none = params::Given::nothing();
    let resolved = params::resolve(&opened.params, &none, &mut reader.problems);
    let mut reader = kind_reader(source, reader.problems, resolved.bindings);
    let states = opened.states.map(|node| lower::states_with_help(&mut reader, node)).unwrap_or_default();
    let optional = opened.params.iter().any(|declared| declared.param.is_optional());
    // A kind whose parameters may all be left out can ask for one of them, and says so only when it is used.
    let mistakes: Vec<Diagnostic> = reader.problems.into_vec();
    let mistakes: Vec<Diagnostic> =
        mistakes.into_iter().filter(|mistake| !(optional && mistake.code == code::MISSING_KEY)).collect();
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(Kind {
        name: name.to_owned(),
        title: opened.title,
        params: opened.params.into_iter().map(|declared| declared.param).collect(),
        states: states.into_iter().map(|(name, (_, help))| (name, help.unwrap_or_default())).collect(),
    })
}

/// Makes the states of a system of this kind. `entry` is the kind's name and parameters in the runbook; mistakes in
/// them are shown there.
pub(super) fn instantiate(
    runbook: &mut Reader<'_>,
    source: &Source,
    entry: &Entry<'_>,
) -> Option<BTreeMap<StateName, State>> {
    let name = &entry.key;
    let mut problems = Problems::new();
    let root = parse(source, &GENRE, &mut problems);
    let mut reader = kind_reader(source, problems, BTreeMap::new());
    let Some(opened) = root.as_ref().and_then(|root| open(&mut reader, root, name)) else {
        kind_mistake(runbook, reader, entry);
        return None;
    };
    let bindings = arguments(runbook, &opened.params, entry);
    let complete = bindings.is_some();
    let mut reader = kind_reader(source, reader.problems, bindings.unwrap_or_else(|| placeholders(&opened.params)));
    let states = opened.states.map(|node| own_states(&mut reader, node)).unwrap_or_default();
    // With parameters that are wrong or missing, what the kind makes of them says nothing new.
    if complete && reader.problems.has_errors() {
        kind_mistake(runbook, reader, entry);
    }
    Some(states)
}

fn kind_mistake(runbook: &mut Reader<'_>, reader: Reader<'_>, entry: &Entry<'_>) {
    let kind_source = reader.source;
    let mut said: Vec<String> = Vec::new();
    for mistake in reader.problems.into_vec() {
        // Each state of a kind may stumble over the same parameter.
        if said.contains(&mistake.message) {
            continue;
        }
        let line = mistake.primary.map_or(1, |label| kind_source.position(label.span.start).0);
        let message = format!("the kind `{}` cannot be made from these parameters: {}", entry.key, mistake.message);
        let mut diagnostic = Diagnostic::error(code::KIND, message)
            .at(entry.key_span, format!("found in line {line} of the kind's own text"));
        diagnostic.help = mistake.help;
        runbook.report(diagnostic);
        said.push(mistake.message);
    }
}

fn placeholders(declared: &[Declared]) -> BTreeMap<String, Binding> {
    let unknown =
        |declared: &Declared| (declared.param.name.clone(), Binding::Missing(Value::Text("unknown".to_owned())));
    declared.iter().map(unknown).collect()
}

/// The kind's parameters as the runbook gives them; `None` if there is a mistake in them.
fn arguments(runbook: &mut Reader<'_>, declared: &[Declared], entry: &Entry<'_>) -> Option<BTreeMap<String, Binding>> {
    let what = format!("the parameters of the kind `{}` as a mapping, such as `{{}}`", entry.key);
    let given = runbook.mapping(&entry.value, &what)?;
    let mut bindings = Some(BTreeMap::new());
    let names: Vec<&str> = declared.iter().map(|declared| declared.param.name.as_str()).collect();
    for argument in given {
        if !names.contains(&&*argument.key) {
            let message = format!("the kind `{}` has no parameter {}", entry.key, quoted(&argument.key));
            let mut diagnostic =
                Diagnostic::error(code::UNKNOWN_KEY, message).at(argument.key_span, "unknown parameter");
            diagnostic.help = suggest::did_you_mean(&argument.key, &names);
            runbook.report(diagnostic);
            bindings = None;
        }
    }
    for Declared { param, .. } in declared {
        let argument = given.iter().find(|argument| argument.key == param.name);
        let binding = match (argument, &param.default) {
            (Some(argument), _) => self::argument(runbook, param, &argument.value),
            (None, Some(default)) => param.read(default).ok().map(Binding::Known),
            (None, None) => {
                let message = format!("the kind `{}` needs the parameter `{}`", entry.key, param.name);
                let mut diagnostic =
                    Diagnostic::error(code::MISSING_KEY, message).at(entry.key_span, "it is not given");
                diagnostic.help = param.help.clone();
                runbook.report(diagnostic);
                None
            }
        };
        match (binding, &mut bindings) {
            (Some(binding), Some(bindings)) => {
                bindings.insert(param.name.clone(), binding);
            }
            (None, _) => bindings = None,
            (Some(_), None) => {}
        }
    }
    bindings
}

fn argument(runbook: &mut Reader<'_>, param: &Param, node: &Node<'_>) -> Option<Binding> {
    if let Content::Scalar(_) = &node.content {
        let word = runbook.word(node, &param.type_.in_words(), Templating::Plain)?;
        if word.certainty == Certainty::Unknown {
            return Some(Binding::Missing(param.type_.placeholder()));
        }
        return match param.read(&word.text) {
            Ok(value) => Some(Binding::Known(value)),
            Err(message) => {
                let expected = format!("expected {}", param.type_.in_words());
                runbook.report(Diagnostic::error(code::WRONG_VALUE, message).at(word.span, expected));
                None
            }
        };
    }
    runbook.word(node, &param.type_.in_words(), Templating::Plain);
    None
}
