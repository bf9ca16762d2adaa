//! The tree of a runbook to the model, part by part. Every mistake of the whole file is collected with its place; the
//! proof of the order gets the places of the facts.

mod action;
mod overrides;
mod probes;
mod steps;
mod systems;
mod way_back;

use std::collections::BTreeMap;

use super::kinds::Library;
use super::model::{OnFailure, OverrideRule, Runbook, Step};
use super::read::{Certainty, Fields, Keys, Reader, Templating};
use super::{code, params};
use crate::diagnostic::escape::is_unfit;
use crate::diagnostic::{Diagnostic, Span, quoted, suggest};
use crate::id::{Fact, NAME_RULE};
use crate::yaml::tree::Node;

pub(super) use probes::states as states_with_help;
pub(super) use systems::{SystemTable, own_states};

/// The keys of a runbook.
pub(super) const RUNBOOK: Keys = Keys {
    of: "a runbook",
    known: &[
        "interlock",
        "name",
        "title",
        "labels",
        "params",
        "systems",
        "locks",
        "requires",
        "on_failure",
        "override",
        "steps",
    ],
    later: &["transcript"],
};

/// How many labels there may be, and how long each.
const MOST_LABELS: usize = 32;
const LONGEST_LABEL: usize = 256;
/// How many locks there may be, and how long each name.
const MOST_LOCKS: usize = 64;
const LONGEST_LOCK: usize = 200;

/// Where the facts of a runbook stand, for the proof of the order. The lists go with those of the model, item by item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// The run-wide `requires`.
    pub(super) requires: Vec<Span>,
    /// Of each step.
    pub(super) steps: Vec<StepPlaces>,
}

/// Where the facts of one step stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StepPlaces {
    pub(super) id: Span,
    pub(super) requires: Vec<Span>,
    pub(super) ensures: Vec<Span>,
    pub(super) undo_requires: Vec<Span>,
    pub(super) undo_ensures: Vec<Span>,
    pub(super) replaces: Vec<Span>,
}

/// Reads everything but the version and the parameters, which were read before. `scripts` holds the parameters as
/// scripts get them.
pub(super) fn runbook(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    library: &Library,
    scripts: &BTreeMap<String, String>,
) -> (Runbook, Places) {
    let name = reader.required(fields, "name", "a runbook").map(|node| name(reader, node)).unwrap_or_default();
    let title = fields.get("title").map(|node| reader.filled_text(node, "a title"));
    let labels = fields.get("labels").map(|node| labels(reader, node)).unwrap_or_default();
    let mut table = SystemTable::default();
    if let Some(node) = fields.get("systems") {
        systems::lower(reader, node, library, &mut table);
    }
    let (requires, requires_places) = facts(reader, fields.get("requires"), &table);
    let locks = fields.get("locks").map(|node| locks(reader, node)).unwrap_or_default();
    let on_failure = fields
        .get("on_failure")
        .map_or(OnFailure::Halt, |node| reader.choice(node, &[("halt", OnFailure::Halt), ("undo", OnFailure::Undo)]));
    let overrides = fields.get("override").map_or(OverrideRule::Unsaid, |node| overrides::rule(reader, node));
    let (steps, step_places) = match reader.required(fields, "steps", "a runbook") {
        Some(node) => steps::lower(reader, node, &table, scripts),
        None => (Vec::new(), Vec::new()),
    };
    let systems = table.into_systems();
    let runbook = Runbook { name, title, labels, systems, requires, locks, on_failure, overrides, steps };
    (runbook, Places { requires: requires_places, steps: step_places })
}

fn name(reader: &mut Reader<'_>, node: &Node<'_>) -> String {
    // A name or label that came from a parameter would let the operator choose which rules of a policy apply.
    let Some(word) = reader.word(node, "a name", Templating::Refused) else { return String::new() };
    let well_formed = word.text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && word.text.len() <= 63
        && word.text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if !well_formed {
        let message = format!("{} is not a name: expected {NAME_RULE}", quoted(&word.text));
        reader.report(Diagnostic::error(code::NAME, message).at(word.span, "not a name"));
    }
    word.text.into_owned()
}

fn labels(reader: &mut Reader<'_>, node: &Node<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for entry in reader.mapping(node, "a mapping from label names to texts").unwrap_or_default() {
        let well_formed = !entry.key.is_empty()
            && entry.key.len() <= 63
            && entry.key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
        if !well_formed {
            let message =
                format!("{} is not a label name: expected letters, digits, `-`, `_`, `.` and `/`", quoted(&entry.key));
            reader.report(Diagnostic::error(code::NAME, message).at(entry.key_span, "not a label name"));
        }
        if let Some(word) = reader.word(&entry.value, "a text", Templating::Refused) {
            if word.text.len() > LONGEST_LABEL || labels.len() == MOST_LABELS {
                let message = format!("a runbook has at most {MOST_LABELS} labels of at most {LONGEST_LABEL} bytes");
                reader.report(Diagnostic::error(code::TOO_BIG, message).at(word.span, "this is too much"));
                break;
            }
            labels.insert(entry.key.clone().into_owned(), word.text.into_owned());
        }
    }
    labels
}

/// The names of what a run claims for itself alone, in their canonical form and order.
fn locks(reader: &mut Reader<'_>, node: &Node<'_>) -> Vec<String> {
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    for item in reader.list(node, "a list of locks, such as `[postgres /srv/pg]`").unwrap_or_default() {
        let Some(word) = reader.word(item, "the name of a lock", Templating::Plain) else { continue };
        if word.certainty != Certainty::Known {
            continue;
        }
        let name = match canonical_lock(&word.text) {
            Ok(name) => name,
            Err(message) => {
                reader.wrong_value(word.span, message, "give the kind of thing and its name: `postgres /srv/pg`");
                continue;
            }
        };
        if seen.len() == MOST_LOCKS {
            let diagnostic = Diagnostic::error(code::TOO_BIG, format!("a runbook has at most {MOST_LOCKS} locks"));
            reader.report(diagnostic.at(word.span, "this is one too many"));
            break;
        }
        if let Some(first) = seen.get(&name) {
            let diagnostic = Diagnostic::error(code::TWICE, format!("the lock {} is named twice", quoted(&name)));
            reader.report(diagnostic.at(word.span, "the second").related(*first, "the first"));
            continue;
        }
        seen.insert(name, word.span);
    }
    seen.into_keys().collect()
}

/// A lock's name without blanks at its ends, and with single ones inside.
pub(super) fn canonical_lock(text: &str) -> Result<String, String> {
    if text.contains(|c: char| c.is_control() || is_unfit(c)) {
        return Err(format!("the name of a lock must not hold control characters, as {} does", quoted(text)));
    }
    let name = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match name.len() {
        0 => Err("expected the name of a lock, found an empty text".to_owned()),
        1..=LONGEST_LOCK => Ok(name),
        length => Err(format!("the name of a lock has at most {LONGEST_LOCK} bytes, and this one has {length}")),
    }
}

/// Reads a list of facts; those that name no declared system and state are reported and left out.
fn facts(reader: &mut Reader<'_>, node: Option<&Node<'_>>, table: &SystemTable) -> (Vec<Fact>, Vec<Span>) {
    let mut facts: Vec<Fact> = Vec::new();
    let mut places: Vec<Span> = Vec::new();
    let mut seen: BTreeMap<Fact, Span> = BTreeMap::new();
    let Some(node) = node else { return (facts, places) };
    for item in reader.list(node, "a list of facts, such as `[monit stopped]`").unwrap_or_default() {
        let Some(word) = reader.word(item, "a fact", Templating::Refused) else { continue };
        let fact = match word.text.parse::<Fact>() {
            Ok(fact) => fact,
            Err(error) => {
                reader.report(Diagnostic::error(code::FACT, error.to_string()).at(word.span, "not a fact"));
                continue;
            }
        };
        if !declared(reader, &fact, word.span, table) {
            continue;
        }
        // Most lists are short, and are searched faster than a map is made.
        let first = match facts.len() {
            0..16 => facts.iter().position(|earlier| *earlier == fact).map(|at| places[at]),
            16 => {
                seen = facts.iter().cloned().zip(places.iter().copied()).collect();
                seen.get(&fact).copied()
            }
            _ => seen.get(&fact).copied(),
        };
        if let Some(first) = first {
            let diagnostic = Diagnostic::error(code::TWICE, format!("the fact `{fact}` stands in the list twice"));
            reader.report(diagnostic.at(word.span, "the second").related(first, "the first"));
            continue;
        }
        if facts.len() >= 16 {
            seen.insert(fact.clone(), word.span);
        }
        facts.push(fact);
        places.push(word.span);
    }
    (facts, places)
}

fn declared(reader: &mut Reader<'_>, fact: &Fact, span: Span, table: &SystemTable) -> bool {
    let Some(states) = table.states(&fact.system) else {
        let names: Vec<&str> = table.names().collect();
        let mut diagnostic = Diagnostic::error(code::UNKNOWN_SYSTEM, format!("there is no system `{}`", fact.system))
            .at(span, "names a system that is not declared");
        diagnostic.help = Some(
            suggest::did_you_mean(fact.system.as_str(), &names)
                .unwrap_or_else(|| "declare it under `systems`".to_owned()),
        );
        reader.report(diagnostic);
        return false;
    };
    // A system that could not be made has no states to compare with.
    let Some(states) = states else { return false };
    if states.contains(&fact.state) {
        return true;
    }
    let names: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    let message = format!("the system `{}` has no state `{}`", fact.system, fact.state);
    let mut diagnostic =
        Diagnostic::error(code::UNKNOWN_STATE, message).at(span, "names a state that it does not have");
    diagnostic.help = suggest::did_you_mean(fact.state.as_str(), &names);
    reader.report(diagnostic);
    false
}

/// A list of arguments, the first a program: an absolute path, or a bare name that is looked for in `PATH`.
fn argv(reader: &mut Reader<'_>, node: &Node<'_>, what: &str) -> Vec<String> {
    if let crate::yaml::tree::Content::Scalar(scalar) = &node.content
        && !scalar.is_null()
    {
        reader.report(
            Diagnostic::error(code::WRONG_SHAPE, format!("expected {what} as a list, found a text"))
                .at(node.span, "expected a list")
                .help("no shell reads this: write `[program, argument, …]`, each argument an item of its own"),
        );
        return Vec::new();
    }
    let Some(items) = reader.list(node, &format!("{what} as a list")) else { return Vec::new() };
    if items.is_empty() {
        reader.wrong_value(
            node.span,
            format!("expected {what}, found an empty list"),
            "write `[program, argument, …]`",
        );
    }
    let mut argv = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let Some(word) = reader.word(item, "an argument", Templating::Plain) else { continue };
        if at == 0
            && word.certainty == Certainty::Known
            && let Err((message, help)) = program(&word.text)
        {
            reader.wrong_value(word.span, message, help);
        }
        argv.push(word.text.into_owned());
    }
    argv
}

/// Whether a text names a program as a command line may: by an absolute path, or by a name alone.
pub(super) fn program(text: &str) -> Result<(), (String, &'static str)> {
    if text.is_empty() {
        return Err(("the program's name is empty".to_owned(), "write its path, or its name in PATH"));
    }
    if text.starts_with('/') {
        return Ok(());
    }
    if text.contains('/') {
        let message = format!("{} is a relative path", quoted(text));
        return Err((message, "give an absolute path, or a bare name that is looked for in PATH"));
    }
    if text.contains(char::is_whitespace) {
        let message = format!("{} has white space in it and is not a path", quoted(text));
        return Err((message, "each argument is an item of its own in the list"));
    }
    Ok(())
}

/// The environment variables of a process, in the order of their names.
fn variable_name(reader: &mut Reader<'_>, name: &str, span: Span) {
    let message = if !params::is_variable_name(name) {
        format!("{} cannot name an environment variable: expected letters, digits and `_`", quoted(name))
    } else if name.starts_with("INTERLOCK_") {
        format!("{} belongs to interlock: names that begin with `INTERLOCK_` cannot be set", quoted(name))
    } else {
        return;
    };
    reader.report(Diagnostic::error(code::NAME, message).at(span, "not a name that can be set"));
}

/// The ids of all steps with their places, to find those that are used twice.
fn unique_ids(reader: &mut Reader<'_>, steps: &[Step], places: &[StepPlaces]) {
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    for (step, place) in steps.iter().zip(places.iter().map(|places| places.id)) {
        if let Some(first) = seen.insert(step.id.as_str(), place) {
            seen.insert(step.id.as_str(), first);
            reader.report(
                Diagnostic::error(code::TWICE, format!("two steps have the id `{}`", step.id))
                    .at(place, "the second")
                    .related(first, "the first")
                    .help("the audit log and the command line name steps by their id: give each its own"),
            );
        }
    }
}
