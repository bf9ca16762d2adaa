//! Steps.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::super::code;
use super::super::model::{
    Action, Confirm, IfEnsured, InDoubt, Leftovers, RunAction, ScriptAction, Setting, Step, Text, WayBack,
};
use super::super::read::{Certainty, Fields, Keys, Reader, Templating};
use super::super::template::{Binding, first_word, word_in_template};
use super::super::yaml::{Content, Node};
use super::{StepPlaces, SystemTable, argv, facts, unique_ids, variable_name};
use crate::diagnostic::{Diagnostic, Span};
use crate::id::StepId;

/// How many bytes of parameters all scripts of a runbook may be given together.
const MOST_GIVEN: usize = 16 << 20;
/// How long an action may take where nothing else is given.
const TIMEOUT: Duration = Duration::from_secs(600);
/// The same for a manual step: a person may have to walk.
const MANUAL_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// How long `ensures` may take to come true where nothing else is given.
const WITHIN: Duration = Duration::from_secs(30);

const ACTIONS: [&str; 4] = ["run", "script", "wait", "manual"];
const LATER_ACTIONS: [&str; 2] = ["block", "call"];
const STEP: Keys = Keys {
    of: "a step",
    known: &[
        "id",
        "title",
        "note",
        "run",
        "script",
        "wait",
        "manual",
        "requires",
        "ensures",
        "within",
        "timeout",
        "env",
        "cwd",
        "user",
        "stdin",
        "success",
        "starts_service",
        "if_ensured",
        "confirm",
    ],
    later: &[
        "undo",
        "irreversible",
        "on_failure",
        "retry",
        "locks",
        "block",
        "call",
        "when",
        "in_doubt",
        "override",
        "save",
        "transcript",
        "replaces",
        "with",
    ],
};
const CONFIRM: Keys = Keys { of: "a confirmation", known: &["ask", "expect"], later: &[] };
/// Keys that only a step with a process of its own has.
const PROCESS_KEYS: [&str; 6] = ["env", "cwd", "user", "stdin", "success", "starts_service"];

/// Reads the section `steps`. `scripts` holds the parameters as scripts get them.
pub(super) fn lower(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    table: &SystemTable,
    scripts: &BTreeMap<String, String>,
) -> (Vec<Step>, Vec<StepPlaces>) {
    let items = reader.list(node, "a list of steps").unwrap_or_default();
    if items.is_empty() && matches!(node.content, Content::Sequence(_)) {
        reader.wrong_value(node.span, "a runbook needs at least one step", "add a step");
    }
    let mut steps = Vec::with_capacity(items.len());
    let mut places = Vec::with_capacity(items.len());
    let mut ids = Vec::with_capacity(items.len());
    let each: usize = scripts.iter().map(|(name, value)| name.len() + value.len() + size_of::<(String, Text)>()).sum();
    let mut left = MOST_GIVEN;
    let none = BTreeMap::new();
    for item in items {
        let is_script = matches!(&item.content, Content::Mapping(entries) if entries.iter().any(|e| e.key == "script"));
        let scripts = match (is_script, left.checked_sub(each)) {
            (true, Some(rest)) => {
                left = rest;
                scripts
            }
            (true, None) => {
                let message = format!("the parameters of all scripts together take more than {} MiB", MOST_GIVEN >> 20);
                let diagnostic = Diagnostic::error(code::TOO_BIG, message);
                reader.report(diagnostic.at(reader.first_line(item.span), "here it is too much"));
                break;
            }
            (false, _) => &none,
        };
        if let Some((step, place, id)) = step(reader, item, table, scripts) {
            steps.push(step);
            places.push(place);
            ids.push(id);
        }
    }
    unique_ids(reader, &steps, &ids);
    (steps, places)
}

fn step(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    table: &SystemTable,
    scripts: &BTreeMap<String, String>,
) -> Option<(Step, StepPlaces, Span)> {
    let fields = reader.fields(node, &STEP)?;
    let id = id(reader, &fields);
    let title = fields.get("title").map(|node| reader.filled_text(node, "a title"));
    let note = fields.get("note").map(|node| reader.filled_text(node, "a note"));
    let (requires, requires_places) = facts(reader, fields.get("requires"), table);
    let (ensures, ensures_places) = facts(reader, fields.get("ensures"), table);
    let (action, wait) = action(reader, &fields, scripts);
    let timeout = match (fields.get("timeout"), &action, wait) {
        (_, _, Some(wait)) => wait,
        (Some(node), _, None) => reader.positive_duration(node),
        (None, Some(Action::Manual(_)), None) => MANUAL_TIMEOUT,
        (None, _, None) => TIMEOUT,
    };
    let within = match (fields.get("within"), wait) {
        (_, Some(wait)) => wait,
        (Some(node), None) => reader.duration(node),
        (None, None) => WITHIN,
    };
    without_ensures(reader, &fields);
    let if_ensured = fields
        .get("if_ensured")
        .map_or(IfEnsured::Run, |node| reader.choice(node, &[("run", IfEnsured::Run), ("pass", IfEnsured::Pass)]));
    let confirm = fields.get("confirm").and_then(|node| confirm(reader, node));
    let (id, id_span) = id?;
    let action = action?;
    let (way_back, retry, when, in_doubt) = (WayBack::None, None, None, InDoubt::Ask);
    let step = Step {
        id,
        title,
        note,
        action,
        requires,
        ensures,
        within,
        timeout,
        if_ensured,
        confirm,
        way_back,
        retry,
        when,
        in_doubt,
    };
    Some((step, StepPlaces { requires: requires_places, ensures: ensures_places }, id_span))
}

fn id(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<(StepId, Span)> {
    let node = reader.required(fields, "id", "a step")?;
    let word = reader.word(node, "an id", Templating::Refused)?;
    match word.text.parse() {
        Ok(id) => Some((id, word.span)),
        Err(error) => {
            reader.report(Diagnostic::error(code::NAME, format!("{error}")).at(word.span, "not an id"));
            None
        }
    }
}

/// `within` and `if_ensured` speak of `ensures`.
fn without_ensures(reader: &mut Reader<'_>, fields: &Fields<'_>) {
    let empty = |node: &Node<'_>| matches!(&node.content, Content::Sequence(items) if items.is_empty());
    if fields.get("ensures").is_some_and(|node| !empty(node)) {
        return;
    }
    for key in ["within", "if_ensured"] {
        if let Some(entry) = fields.entry(key) {
            reader.report(
                Diagnostic::error(code::POINTLESS_KEY, format!("`{key}` says nothing in a step that ensures nothing"))
                    .at(entry.key_span, "there is no `ensures`")
                    .help("add `ensures`, or remove this"),
            );
        }
    }
}

/// The action, and for a wait how long it may take.
fn action(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    scripts: &BTreeMap<String, String>,
) -> (Option<Action>, Option<Duration>) {
    let present: Vec<&str> = ACTIONS.iter().copied().filter(|key| fields.get(key).is_some()).collect();
    let [one] = present[..] else {
        // A step whose action comes with a later version has its mistake already.
        if !(present.is_empty() && LATER_ACTIONS.iter().any(|key| fields.get(key).is_some())) {
            action_count(reader, fields, &present);
        }
        return (None, None);
    };
    let Some(node) = fields.get(one) else { return (None, None) };
    match one {
        "run" => {
            let argv = argv(reader, node, "a program and its arguments");
            let setting = setting(reader, fields, &BTreeMap::new());
            (Some(Action::Run(RunAction { argv, setting })), None)
        }
        "script" => {
            let text = script(reader, node);
            let setting = setting(reader, fields, scripts);
            (Some(Action::Script(ScriptAction { text, setting })), None)
        }
        "wait" => {
            pointless(reader, fields, one, &PROCESS_KEYS);
            pointless(reader, fields, one, &["timeout", "within"]);
            if fields.get("ensures").is_none() {
                let span = fields.entry(one).map_or(fields.span, |entry| entry.key_span);
                reader.report(
                    Diagnostic::error(code::MISSING_KEY, "a `wait` needs the key `ensures`")
                        .at(span, "for what?")
                        .help("say which facts it waits for: `ensures: [database up]`"),
                );
            }
            (Some(Action::Wait), Some(reader.positive_duration(node)))
        }
        _ => {
            pointless(reader, fields, one, &PROCESS_KEYS);
            (Some(Action::Manual(reader.filled_text(node, "what a person is to do"))), None)
        }
    }
}

fn action_count(reader: &mut Reader<'_>, fields: &Fields<'_>, present: &[&str]) {
    let places: Vec<Span> = present.iter().filter_map(|key| fields.entry(key)).map(|entry| entry.key_span).collect();
    let diagnostic = match places[..] {
        [first, second, ..] => Diagnostic::error(code::ACTION_COUNT, "a step does one thing, and this one has several")
            .at(second, "another action")
            .related(first, "the first action")
            .help("make a step of each"),
        _ => Diagnostic::error(code::ACTION_COUNT, "this step does nothing")
            .at(reader.first_line(fields.span), "expected an action")
            .help("give it one of `run`, `script`, `wait`, `manual`"),
    };
    reader.report(diagnostic);
}

fn pointless(reader: &mut Reader<'_>, fields: &Fields<'_>, action: &str, keys: &[&str]) {
    for key in keys {
        if let Some(entry) = fields.entry(key) {
            let why = match action {
                "wait" if *key == "timeout" || *key == "within" => "the value of `wait` says how long it may take",
                _ => "it starts no process",
            };
            reader.report(
                Diagnostic::error(code::POINTLESS_KEY, format!("`{key}` says nothing in a `{action}` step: {why}"))
                    .at(entry.key_span, "remove it"),
            );
        }
    }
}

/// The text of a script, which is never rendered: a value put into shell text could be read as commands.
fn script(reader: &mut Reader<'_>, node: &Node<'_>) -> String {
    let Content::Scalar(scalar) = &node.content else {
        reader.word(node, "a shell text", Templating::Refused);
        return String::new();
    };
    if scalar.is_null() || scalar.text.trim().is_empty() || scalar.text.contains('\0') {
        reader.wrong_value(node.span, "expected a shell text", "write it as a block: `script: |`");
        return String::new();
    }
    let text = scalar.text.clone().into_owned();
    if !text.contains("{{") {
        return text;
    }
    let raw = reader.source.slice(node.span);
    let inserted = first_word(&text, |word| reader.templates.binding(word).is_some()).map(|name| {
        let place = word_in_template(raw, name)
            .map_or(node.span, |range| Span::new(node.span.start + range.start, node.span.start + range.end));
        (name, place, reader.templates.binding(name) == Some(&Binding::Secret))
    });
    let diagnostic = match inserted {
        Some((name, place, false)) => {
            Diagnostic::error(code::SCRIPT_TEMPLATE, "the text of a script is never rendered")
                .at(place, "this would stay as it is written")
                .help(format!("the parameter is there as an environment variable: write \"${name}\", in double quotes"))
        }
        Some((name, place, true)) => Diagnostic::error(code::SCRIPT_TEMPLATE, "the text of a script is never rendered")
            .at(place, "this would stay as it is written")
            .help(format!("give the secret to the script by `env: {{{}: \"{{{{ {name} }}}}\"}}`", name.to_uppercase())),
        None => {
            let at = raw.find("{{").map_or(node.span.start, |at| node.span.start + at);
            Diagnostic::warning(code::SCRIPT_BRACES, "the text of a script is never rendered")
                .at(Span::new(at, (at + 2).min(node.span.end)), "these braces reach the shell as they are")
        }
    };
    reader.report(diagnostic);
    text
}

fn setting(reader: &mut Reader<'_>, fields: &Fields<'_>, base: &BTreeMap<String, String>) -> Setting {
    let mut env: BTreeMap<String, Text> =
        base.iter().map(|(name, value)| (name.clone(), Text::Plain(value.clone()))).collect();
    if let Some(node) = fields.get("env") {
        for entry in reader.mapping(node, "a mapping from variable names to texts").unwrap_or_default() {
            variable_name(reader, &entry.key, entry.key_span);
            if let Some(text) = secret_or_text(reader, &entry.value, "the value of a variable") {
                env.insert(entry.key.clone().into_owned(), text);
            }
        }
    }
    let success = fields.get("success").map(|node| {
        let codes = reader.exit_codes(node);
        if codes.is_empty() && matches!(node.content, Content::Sequence(_)) {
            reader.wrong_value(node.span, "with no exit code the step could never succeed", "write `success: [0]`");
        }
        codes
    });
    let service = fields.get("starts_service").is_some_and(|node| reader.truth(node));
    Setting {
        env,
        cwd: fields.get("cwd").map_or_else(|| PathBuf::from("/"), |node| reader.path(node)),
        user: fields.get("user").map(|node| reader.filled_text(node, "a user")),
        stdin: fields.get("stdin").and_then(|node| secret_or_text(reader, node, "what the step reads")),
        success: success.unwrap_or_else(|| vec![0]),
        leftovers: if service { Leftovers::Service } else { Leftovers::Fail },
    }
}

fn secret_or_text(reader: &mut Reader<'_>, node: &Node<'_>, what: &str) -> Option<Text> {
    let word = reader.word(node, what, Templating::SecretsToo)?;
    Some(match word.certainty {
        Certainty::Known | Certainty::Unknown => Text::Plain(word.text.into_owned()),
        Certainty::Secret => Text::Secret(word.text.into_owned()),
    })
}

fn confirm(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Confirm> {
    let fields = reader.fields(node, &CONFIRM)?;
    let ask = reader.required(&fields, "ask", "a confirmation").map(|node| reader.filled_text(node, "a question"));
    let expect = reader.required(&fields, "expect", "a confirmation").map(|node| reader.filled_text(node, "an answer"));
    Some(Confirm { ask: ask?, expect: expect? })
}
