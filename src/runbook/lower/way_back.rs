//! What a step says of the cases that do not go straight on: how it is taken back, attempted again, decided on when it is
//! in doubt, and the condition under which it is done at all.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::model::{Applies, InDoubt, Retry, Undo, WayBack, When};
use super::super::read::{Fields, Keys, Reader, Templating, whole_number};
use super::super::template::{Binding, Verdict};
use super::super::{code, duration};
use super::action::{Base, Owner, act};
use super::facts;
use super::steps::Lowering;
use crate::diagnostic::{Diagnostic, Span, quoted};
use crate::yaml::read::is_template;
use crate::yaml::tree::{Content, Node};

const UNDO: Keys = Keys {
    of: "an undo",
    known: &[
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
    ],
    later: &[],
};
const RETRY: Keys = Keys { of: "a retry", known: &["times", "every", "backoff"], later: &[] };

/// How often a step may be attempted again.
const MOST_TIMES: u32 = 100;
/// By how much each pause may be longer than the one before.
const MOST_BACKOFF: u32 = 10;
/// The pause before a step is attempted again where none is given.
const EVERY: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

impl Lowering<'_> {
    /// How a step is taken back, with the places of what its undo requires and ensures.
    pub(super) fn way_back(&mut self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> (WayBack, Vec<Span>, Vec<Span>) {
        let is_irreversible = fields.get("irreversible").is_some_and(|node| irreversible(reader, node));
        let undo = fields.get("undo").and_then(|node| self.undo(reader, node));
        if let (Some(first), Some(second), true) = (fields.entry("undo"), fields.entry("irreversible"), is_irreversible)
        {
            reader.report(
                Diagnostic::error(code::CONTRADICTION, "a step that is irreversible has no `undo`")
                    .at(second.key_span, "it cannot be taken back")
                    .related(first.key_span, "this takes it back")
                    .help("keep the one that is true"),
            );
        }
        match undo {
            Some((undo, requires, ensures)) => (WayBack::Undo(Box::new(undo)), requires, ensures),
            None if is_irreversible => (WayBack::Irreversible, Vec::new(), Vec::new()),
            None => (WayBack::None, Vec::new(), Vec::new()),
        }
    }

    fn undo(&mut self, reader: &mut Reader<'_>, node: &Node<'_>) -> Option<(Undo, Vec<Span>, Vec<Span>)> {
        let fields = reader.fields(node, &UNDO)?;
        let (requires, requires_places) = facts(reader, fields.get("requires"), self.table);
        let (ensures, ensures_places) = facts(reader, fields.get("ensures"), self.table);
        let env = match fields.get("script") {
            Some(_) => self.script_variables(reader, &fields)?,
            None => BTreeMap::new(),
        };
        let act = act(reader, &fields, Owner::Undo, Base { env, ..Base::default() });
        let undo = Undo { action: act.action?, requires, ensures, within: act.within, timeout: act.timeout };
        Some((undo, requires_places, ensures_places))
    }
}

/// `irreversible: true`. The order is proved from it, so it is not rendered.
fn irreversible(reader: &mut Reader<'_>, node: &Node<'_>) -> bool {
    let Some(word) = reader.word(node, "`true`", Templating::Refused) else { return false };
    if word.text != "false" {
        return reader.truth(node);
    }
    reader.report(
        Diagnostic::error(code::POINTLESS_KEY, "`irreversible: false` says nothing: a step is not, unless it says so")
            .at(word.span, "expected `true`")
            .help("leave it out; if the step can be taken back, give it an `undo`"),
    );
    false
}

/// The rule for a step in doubt.
pub(super) fn in_doubt(reader: &mut Reader<'_>, fields: &Fields<'_>) -> InDoubt {
    let Some(entry) = fields.entry("in_doubt") else { return InDoubt::Ask };
    let rules = [("ask", InDoubt::Ask), ("retry", InDoubt::Retry), ("undo", InDoubt::Undo)];
    let rule = reader.choice(&entry.value, &rules);
    if rule == InDoubt::Undo && fields.get("undo").is_none() {
        reader.report(
            Diagnostic::error(code::MISSING_KEY, "a step with `in_doubt: undo` needs the key `undo`")
                .at(entry.value.span, "it could not be undone")
                .help("add an `undo`, or let a person decide: `in_doubt: ask`"),
        );
    }
    rule
}

/// How often, and after which pauses, a step is attempted again.
pub(super) fn retry(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Retry> {
    let fields = reader.fields(node, &RETRY)?;
    let times = reader.required(&fields, "times", "a retry");
    let times = times.map_or(1, |node| count(reader, node, "a number of attempts", MOST_TIMES));
    let every = fields.get("every").map_or(EVERY, |node| reader.duration(node));
    let backoff = fields.get("backoff").map_or(1, |node| count(reader, node, "a factor", MOST_BACKOFF));
    let retry = Retry { times, every, backoff };
    if retry.pause(times) > LONGEST_PAUSE {
        let message = format!("the last pause would be longer than {}", duration::show(LONGEST_PAUSE));
        reader.wrong_value(reader.first_line(node.span), message, "lower `times`, `every` or `backoff`");
    }
    Some(retry)
}

fn count(reader: &mut Reader<'_>, node: &Node<'_>, what: &str, most: u32) -> u32 {
    let expected = format!("{what} from 1 to {most}");
    reader.parsed(node, &expected, 1, |text| {
        let number = u32::try_from(whole_number(text)?).ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| format!("{} is not {expected}", quoted(text)))
    })
}

/// A condition, looked at.
pub(super) fn when(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<When> {
    const WHAT: &str = "a condition, such as `port == 5432`";
    if let Content::Scalar(scalar) = &node.content
        && is_template(&scalar.text)
    {
        reader.report(
            Diagnostic::error(code::TEMPLATE_PLACE, "a condition stands without braces")
                .at(node.span, "this is a template")
                .help("write the expression alone: `when: port == 5432`"),
        );
        return None;
    }
    let word = reader.word(node, WHAT, Templating::Refused)?;
    let expression = word.text.trim();
    if expression.is_empty() {
        reader.wrong_value(word.span, format!("expected {WHAT}, found an empty text"), "");
        return None;
    }
    let decision = match reader.rendering.templates.decide(expression) {
        Ok(decision) => decision,
        Err(mistakes) => {
            reader.expression_mistakes(node, expression, mistakes);
            return None;
        }
    };
    let refused = match decision.verdict {
        _ if decision.names.is_empty() => Some(
            Diagnostic::error(code::POINTLESS_KEY, "a condition that names no parameter is always the same")
                .help("name a parameter; a step that is never to be done is taken out"),
        ),
        Verdict::Secret => Some(
            Diagnostic::error(code::SECRET_PLACE, "a secret cannot be put into a condition")
                .help("its outcome is recorded, and would tell of the secret: use a parameter that is no secret"),
        ),
        Verdict::Other(kind) => Some(
            Diagnostic::error(code::WRONG_VALUE, format!("a condition is true or false, and this is a {kind}"))
                .help("compare it with something: `port == 5432`, `dir != \"\"`"),
        ),
        Verdict::Met | Verdict::NotMet | Verdict::Unknown => None,
    };
    if let Some(diagnostic) = refused {
        reader.report(diagnostic.at(word.span, ""));
        return None;
    }
    let known = |name: String| match reader.rendering.templates.binding(&name) {
        Some(Binding::Known(value)) => Some((name, value.text())),
        Some(Binding::Missing(_) | Binding::Secret) | None => None,
    };
    let applies = match decision.verdict {
        Verdict::Met => Applies::Yes,
        Verdict::NotMet => Applies::No,
        Verdict::Unknown | Verdict::Secret | Verdict::Other(_) => Applies::Unknown,
    };
    let expression = expression.to_owned();
    Some(When { expression, values: decision.names.into_iter().filter_map(known).collect(), applies })
}

/// One condition that asks for all of these.
pub(super) fn all_of(conditions: Vec<When>) -> Option<When> {
    if conditions.len() < 2 {
        return conditions.into_iter().next();
    }
    let applies = |wanted: Applies| conditions.iter().any(|when| when.applies == wanted);
    let applies = match (applies(Applies::No), applies(Applies::Unknown)) {
        (true, _) => Applies::No,
        (false, true) => Applies::Unknown,
        (false, false) => Applies::Yes,
    };
    let expressions: Vec<String> = conditions.iter().map(|when| format!("({})", when.expression)).collect();
    let values = conditions.into_iter().flat_map(|when| when.values).collect();
    Some(When { expression: expressions.join(" and "), values, applies })
}
