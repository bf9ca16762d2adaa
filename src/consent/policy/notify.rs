//! The `notify` rules of a policy: which commands are told of which entries.

use std::collections::BTreeSet;
use std::time::Duration;

use super::glass::command;
use super::read::Reader;
use super::rules::items;
use crate::diagnostic::{Diagnostic, quoted, suggest};
use crate::history::kind::OF_RUNS;
use crate::yaml::code::{TWICE, WRONG_VALUE};
use crate::yaml::read::{Fields, Keys};
use crate::yaml::tree::{Content, Node};

const RULE: Keys = Keys { of: "a rule of `notify`", known: &["on", "command", "timeout", "required"], later: &[] };

/// How long a command may take where the policy does not say.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that it may be given: whatever waits for it waits for so long.
const LONGEST: Duration = Duration::from_secs(600);

/// A command that is told of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyRule {
    /// The names of the events, never none.
    pub on: BTreeSet<&'static str>,
    /// The command: the absolute path of a program, and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether the run goes on without it.
    pub duty: Duty,
}

/// Whether a run goes on when a command could not be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// It does.
    Wanted,
    /// It does not begin another step.
    Required,
}

pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<NotifyRule> {
    let mut rules = Vec::new();
    for item in items(reader, fields, "notify") {
        let Some(fields) = reader.fields(item, &RULE) else { continue };
        let on = reader.required(&fields, "on", RULE.of).map(|node| events(reader, node));
        let command = reader.required(&fields, "command", RULE.of).and_then(|node| command(reader, node));
        let timeout = match fields.get("timeout") {
            None => Some(TIMEOUT),
            Some(node) => reader.positive_duration(node).inspect(|timeout| {
                if *timeout > LONGEST {
                    reader.wrong_value(
                        node.span,
                        "longer than 10 minutes",
                        "a command that tells others is quick; 10s is usual",
                    );
                }
            }),
        };
        let duty = fields.get("required").map_or(Duty::Wanted, |node| match reader.truth(node) {
            true => Duty::Required,
            false => Duty::Wanted,
        });
        if let (Some(on), Some(command), Some(timeout)) = (on, command, timeout) {
            rules.push(NotifyRule { on, command, timeout, duty });
        }
    }
    rules
}

/// The events that a rule is about, each once.
fn events(reader: &mut Reader<'_>, node: &Node<'_>) -> BTreeSet<&'static str> {
    let mut named = BTreeSet::new();
    let items = reader.list(node, "a list of events, such as `[run_halted, override_accepted]`").unwrap_or_default();
    for item in items {
        let Some(text) = reader.word(item, "the name of an event") else { continue };
        let Some(event) = OF_RUNS.into_iter().find(|event| *event == text) else {
            let message = format!("others cannot be told of {}", quoted(text));
            let mut diagnostic = Diagnostic::error(WRONG_VALUE, message).at(item.span, "no event of a run");
            let help = "docs/policy.md says of which events others can be told";
            diagnostic.help = suggest::did_you_mean(text, &OF_RUNS).or_else(|| Some(help.to_owned()));
            reader.report(diagnostic);
            continue;
        };
        if !named.insert(event) {
            let diagnostic = Diagnostic::error(TWICE, format!("`{event}` stands in the list twice"));
            reader.report(diagnostic.at(item.span, "the second"));
        }
    }
    if matches!(&node.content, Content::Sequence(items) if items.is_empty()) {
        reader.wrong_value(node.span, "the list names no event", "name one, or leave the rule out");
    }
    named
}
