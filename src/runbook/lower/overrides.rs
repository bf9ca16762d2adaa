//! `override`: who may permit that a step, or the runbook, is left.

use crate::diagnostic::quoted;
use crate::runbook::model::OverrideRule;
use crate::runbook::read::{Reader, Templating};
use crate::yaml::read::Keys;
use crate::yaml::tree::{Content, Node};

const RULE: Keys = Keys { of: "an override rule", known: &["need", "of"], later: &[] };
const NEED: &str = "`all` or a number from 1 to 1000";
const WHAT: &str = "`never`, or who must sign: `{need: all, of: core}`";

/// Reads the rule. No template can stand in it: whoever gives the parameters would choose who permits.
pub(super) fn rule(reader: &mut Reader<'_>, node: &Node<'_>) -> OverrideRule {
    if let Content::Scalar(_) = &node.content {
        return match reader.word(node, WHAT, Templating::Refused) {
            Some(word) if word.text == "never" => OverrideRule::Never,
            Some(word) => {
                let message = format!("expected {WHAT}, found {}", quoted(&word.text));
                reader.wrong_value(word.span, message, "leave `override` out where the policy alone is to say");
                OverrideRule::Never
            }
            None => OverrideRule::Never,
        };
    }
    let Some(fields) = reader.fields(node, &RULE) else { return OverrideRule::Never };
    let need = match reader.required(&fields, "need", "an override rule") {
        Some(node) => need(reader, node),
        None => None,
    };
    let of = match reader.required(&fields, "of", "an override rule") {
        Some(node) => group(reader, node),
        None => String::new(),
    };
    OverrideRule::Needs { need, of }
}

/// None means all.
fn need(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<usize> {
    let word = reader.word(node, NEED, Templating::Refused)?;
    if word.text == "all" {
        return None;
    }
    let number = word.text.parse::<usize>().ok().filter(|number| (1..=1000).contains(number));
    if number.is_none() || word.text.starts_with(['0', '+']) {
        reader.wrong_value(word.span, format!("expected {NEED}, found {}", quoted(&word.text)), "");
    }
    number
}

fn group(reader: &mut Reader<'_>, node: &Node<'_>) -> String {
    const GROUP: &str = "the name of a group of the policy";
    let Some(word) = reader.word(node, GROUP, Templating::Refused) else { return String::new() };
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if word.text.is_empty() || word.text.len() > 63 || !word.text.bytes().all(fits) {
        reader.wrong_value(word.span, format!("expected {GROUP}, found {}", quoted(&word.text)), "");
    }
    word.text.into_owned()
}
