//! Actions and what goes with them, of a step and of an undo alike.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::super::code;
use super::super::model::{Action, Leftovers, RunAction, ScriptAction, Setting, Text};
use super::super::read::{Certainty, Fields, Reader, Templating};
use super::super::template::{Binding, first_word, word_in_template};
use super::{argv, variable_name};
use crate::diagnostic::{Diagnostic, Span};
use crate::yaml::tree::{Content, Node};

/// How long an action may take where nothing else is given.
const TIMEOUT: Duration = Duration::from_secs(600);
/// The same for a manual one: a person may have to walk.
const MANUAL_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// How long `ensures` may take to come true where nothing else is given.
const WITHIN: Duration = Duration::from_secs(30);

const ACTIONS: [&str; 4] = ["run", "script", "wait", "manual"];
const LATER_ACTIONS: [&str; 1] = ["call"];
/// Keys that only an action with a process of its own has.
const PROCESS_KEYS: [&str; 6] = ["env", "cwd", "user", "stdin", "success", "starts_service"];

/// What has an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Step,
    Undo,
}

/// What an action gets where it says nothing itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Base {
    pub(super) env: BTreeMap<String, Text>,
    pub(super) user: Option<String>,
    pub(super) timeout: Option<Duration>,
}

/// An action and how long it may take.
pub(super) struct Act {
    /// `None` after a mistake.
    pub(super) action: Option<Action>,
    pub(super) within: Duration,
    pub(super) timeout: Duration,
}

impl Owner {
    /// With its article.
    fn one(self) -> &'static str {
        match self {
            Self::Step => "a step",
            Self::Undo => "an undo",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Undo => "undo",
        }
    }
}

/// Reads the action among these keys, and `within` and `timeout`.
pub(super) fn act(reader: &mut Reader<'_>, fields: &Fields<'_>, owner: Owner, base: Base) -> Act {
    let shared = base.timeout;
    let (action, wait) = action(reader, fields, owner, base);
    let timeout = match (fields.get("timeout"), &action, wait) {
        (_, _, Some(wait)) => wait,
        (Some(node), _, None) => reader.positive_duration(node),
        (None, Some(Action::Manual(_)), None) => shared.unwrap_or(MANUAL_TIMEOUT),
        (None, _, None) => shared.or(reader.rendering.defaults.timeout).unwrap_or(TIMEOUT),
    };
    let within = match (fields.get("within"), wait) {
        (_, Some(wait)) => wait,
        (Some(node), None) => reader.duration(node),
        (None, None) => reader.rendering.defaults.within.unwrap_or(WITHIN),
    };
    without_ensures(reader, fields, owner);
    Act { action, within, timeout }
}

/// `within` and `if_ensured` speak of `ensures`.
fn without_ensures(reader: &mut Reader<'_>, fields: &Fields<'_>, owner: Owner) {
    let empty = |node: &Node<'_>| matches!(&node.content, Content::Sequence(items) if items.is_empty());
    if fields.get("ensures").is_some_and(|node| !empty(node)) {
        return;
    }
    for key in ["within", "if_ensured"] {
        if let Some(entry) = fields.entry(key) {
            let message = format!("`{key}` says nothing in {} that ensures nothing", owner.one());
            reader.report(
                Diagnostic::error(code::POINTLESS_KEY, message)
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
    owner: Owner,
    base: Base,
) -> (Option<Action>, Option<Duration>) {
    let present: Vec<&str> = ACTIONS.iter().copied().filter(|key| fields.get(key).is_some()).collect();
    let [one] = present[..] else {
        // One whose action comes with a later version has its mistake already.
        if !(present.is_empty() && LATER_ACTIONS.iter().any(|key| fields.get(key).is_some())) {
            action_count(reader, fields, owner, &present);
        }
        return (None, None);
    };
    let Some(node) = fields.get(one) else { return (None, None) };
    match one {
        "run" => {
            let argv = argv(reader, node, "a program and its arguments");
            let setting = setting(reader, fields, base);
            (Some(Action::Run(RunAction { argv, setting })), None)
        }
        "script" => {
            let text = script(reader, node);
            let setting = setting(reader, fields, base);
            (Some(Action::Script(ScriptAction { text, setting })), None)
        }
        "wait" => {
            pointless(reader, fields, owner, one, &PROCESS_KEYS);
            pointless(reader, fields, owner, one, &["timeout", "within"]);
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
            pointless(reader, fields, owner, one, &PROCESS_KEYS);
            (Some(Action::Manual(reader.filled_text(node, "what a person is to do"))), None)
        }
    }
}

fn action_count(reader: &mut Reader<'_>, fields: &Fields<'_>, owner: Owner, present: &[&str]) {
    let places: Vec<Span> = present.iter().filter_map(|key| fields.entry(key)).map(|entry| entry.key_span).collect();
    let diagnostic = match places[..] {
        [first, second, ..] => {
            let message = format!("{} does one thing, and this one has several", owner.one());
            Diagnostic::error(code::ACTION_COUNT, message)
                .at(second, "another action")
                .related(first, "the first action")
                .help(match owner {
                    Owner::Step => "make a step of each",
                    Owner::Undo => "make one `script` of them, or give each to a step of its own",
                })
        }
        _ => Diagnostic::error(code::ACTION_COUNT, format!("this {} does nothing", owner.word()))
            .at(reader.first_line(fields.span), "expected an action")
            .help("give it one of `run`, `script`, `wait`, `manual`"),
    };
    reader.report(diagnostic);
}

/// Reports each of these keys that is there, since it says nothing for this action.
pub(super) fn pointless(reader: &mut Reader<'_>, fields: &Fields<'_>, owner: Owner, action: &str, keys: &[&str]) {
    for key in keys {
        if let Some(entry) = fields.entry(key) {
            let why = match action {
                "wait" if *key == "replaces" => "it changes nothing",
                "wait" if *key == "retry" => "it looks until its time is over",
                _ if *key == "retry" => "a person tries as often as it takes",
                "wait" if *key == "timeout" || *key == "within" => "the value of `wait` says how long it may take",
                _ => "it starts no process",
            };
            let message = format!("`{key}` says nothing in a `{action}` {}: {why}", owner.word());
            reader.report(Diagnostic::error(code::POINTLESS_KEY, message).at(entry.key_span, "remove it"));
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
    let inserted = first_word(&text, |word| reader.rendering.templates.binding(word).is_some()).map(|name| {
        let place = word_in_template(raw, name)
            .map_or(node.span, |range| Span::new(node.span.start + range.start, node.span.start + range.end));
        (name, place, reader.rendering.templates.binding(name) == Some(&Binding::Secret))
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

fn setting(reader: &mut Reader<'_>, fields: &Fields<'_>, base: Base) -> Setting {
    let mut env = base.env;
    if let Some(node) = fields.get("env") {
        env.extend(variables(reader, node));
    }
    let success = fields.get("success").map(|node| {
        let codes = reader.exit_codes(node);
        if codes.is_empty() && matches!(node.content, Content::Sequence(_)) {
            reader.wrong_value(node.span, "with no exit code it could never succeed", "write `success: [0]`");
        }
        codes
    });
    let service = fields.get("starts_service").is_some_and(|node| reader.truth(node));
    Setting {
        env,
        cwd: fields.get("cwd").map_or_else(|| PathBuf::from("/"), |node| reader.path(node)),
        user: fields.get("user").map(|node| reader.filled_text(node, "a user")).or(base.user),
        stdin: fields.get("stdin").and_then(|node| secret_or_text(reader, node, "what the step reads")),
        success: success.unwrap_or_else(|| vec![0]),
        leftovers: if service { Leftovers::Service } else { Leftovers::Fail },
    }
}

/// A mapping from names of environment variables to texts.
pub(super) fn variables(reader: &mut Reader<'_>, node: &Node<'_>) -> BTreeMap<String, Text> {
    let mut env = BTreeMap::new();
    for entry in reader.mapping(node, "a mapping from variable names to texts").unwrap_or_default() {
        variable_name(reader, &entry.key, entry.key_span);
        if let Some(text) = secret_or_text(reader, &entry.value, "the value of a variable") {
            env.insert(entry.key.clone().into_owned(), text);
        }
    }
    env
}

fn secret_or_text(reader: &mut Reader<'_>, node: &Node<'_>, what: &str) -> Option<Text> {
    let word = reader.word(node, what, Templating::SecretsToo)?;
    Some(match word.certainty {
        Certainty::Known | Certainty::Unknown => Text::Plain(word.text.into_owned()),
        Certainty::Secret => Text::Secret(word.text.into_owned()),
    })
}
