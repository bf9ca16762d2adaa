//! The rules of a policy that ask for signatures: approvals and overrides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::read::{Placed, Reader, subject};
use super::{APPROVAL_VALID_FOR, ApprovalRule, Need, OVERRIDE_VALID_FOR, OverrideRule, OwnSignature, Quota};
use crate::consent::code;
use crate::diagnostic::{Diagnostic, Span, quoted, suggest};
use crate::history::deviation::DeviationKind;
use crate::id::{GroupName, Person};
use crate::yaml::code::TWICE;
use crate::yaml::read::{Fields, Keys, whole_number};
use crate::yaml::tree::{Content, Node};

const APPROVAL: Keys =
    Keys { of: "a rule of `approvals`", known: &["match", "need", "of", "operator_counts", "valid_for"], later: &[] };
const OVERRIDE: Keys = Keys {
    of: "a rule of `overrides`",
    known: &["deviations", "match", "need", "of", "operator_counts", "valid_for"],
    later: &[],
};
/// The persons of each group.
type Groups = BTreeMap<GroupName, BTreeSet<Person>>;

/// The rules that ask for signatures.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) approvals: Vec<ApprovalRule>,
    pub(super) overrides: Vec<OverrideRule>,
    pub(super) quotas: Vec<Rule>,
}

/// What a rule asks for, with the rule's place.
pub(super) struct Rule {
    pub(super) quota: Quota,
    pub(super) span: Span,
}

pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>, groups: &Groups) -> Rules {
    let mut rules = Rules::default();
    for item in items(reader, fields, "approvals") {
        let Some(fields) = reader.fields(item, &APPROVAL) else { continue };
        let subject = subject(reader, &fields);
        if let Some(quota) = quota(reader, &fields, APPROVAL.of, APPROVAL_VALID_FOR, groups) {
            rules.quotas.push(Rule { quota: quota.clone(), span: reader.first_line(item.span) });
            rules.approvals.push(ApprovalRule { subject, quota });
        }
    }
    for item in items(reader, fields, "overrides") {
        let Some(fields) = reader.fields(item, &OVERRIDE) else { continue };
        let named = reader.required(&fields, "deviations", OVERRIDE.of);
        let named = named.map(|node| deviations(reader, node)).unwrap_or_default();
        let subject = subject(reader, &fields);
        if let Some(quota) = quota(reader, &fields, OVERRIDE.of, OVERRIDE_VALID_FOR, groups) {
            rules.quotas.push(Rule { quota: quota.clone(), span: reader.first_line(item.span) });
            let deviations = named.into_iter().map(|(deviation, _)| deviation).collect();
            rules.overrides.push(OverrideRule { deviations, subject, quota });
        }
    }
    rules
}

pub(super) fn items<'n>(reader: &mut Reader<'_>, fields: &Fields<'n>, key: &str) -> &'n [Node<'n>] {
    fields.get(key).and_then(|node| reader.list(node, "a list of rules")).unwrap_or_default()
}

/// A group that the policy has.
pub(super) fn group(reader: &mut Reader<'_>, node: &Node<'_>, groups: &Groups) -> Option<GroupName> {
    let text = reader.word(node, "the name of a group")?;
    if let Some(name) = text.parse::<GroupName>().ok().filter(|name| groups.contains_key(name)) {
        return Some(name);
    }
    let names: Vec<&str> = groups.keys().map(GroupName::as_str).collect();
    let message = format!("there is no group {}", quoted(text));
    let mut diagnostic = Diagnostic::error(code::UNKNOWN_GROUP, message).at(node.span, "not a group of this policy");
    let help = suggest::did_you_mean(text, &names);
    diagnostic.help = Some(help.unwrap_or_else(|| "declare it under `groups`".to_owned()));
    reader.report(diagnostic);
    None
}

/// Who must sign.
fn quota(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    of: &str,
    valid_for: Duration,
    groups: &Groups,
) -> Option<Quota> {
    let need = reader.required(fields, "need", of).and_then(|node| reader.parsed(node, "`all`, or how many", need));
    let group = reader.required(fields, "of", of).and_then(|node| group(reader, node, groups));
    let own = fields.get("operator_counts").map_or(OwnSignature::DoesNotCount, |node| match reader.truth(node) {
        true => OwnSignature::Counts,
        false => OwnSignature::DoesNotCount,
    });
    let valid_for = match fields.get("valid_for") {
        None => Some(valid_for),
        Some(node) => reader.positive_duration(node),
    };
    let (need, group) = (need?, group?);
    let members = groups[&group].len();
    if let (Need::Number(number), Some(node)) = (need, fields.get("need"))
        && number > members
    {
        let message = format!("{number} of `{group}` must sign, and only {members} are in it");
        let diagnostic = Diagnostic::error(code::UNMEETABLE, message).at(node.span, "can never be met");
        reader.report(diagnostic.help(format!("write `all`, or at most {members}")));
    }
    let (line, _) = reader.source.position(fields.span.start);
    Some(Quota { need, of: group, own, valid_for: valid_for?, line })
}

fn need(text: &str) -> Result<Need, String> {
    if text == "all" {
        return Ok(Need::All);
    }
    match whole_number(text).map_err(|why| format!("{why}, nor `all`"))? {
        number @ 1.. => usize::try_from(number).map(Need::Number).map_err(|error| error.to_string()),
        _ => Err(format!("{} signatures are none at all", quoted(text))),
    }
}

/// A list of deviations, each once.
pub(super) fn deviations(reader: &mut Reader<'_>, node: &Node<'_>) -> Vec<Placed<DeviationKind>> {
    let mut found: Vec<Placed<DeviationKind>> = Vec::new();
    let items = reader.list(node, "a list of deviations, such as `[skip, waive]`").unwrap_or_default();
    for item in items {
        let Some(deviation) = reader.choice(item, &DeviationKind::NAMES) else { continue };
        if let Some((_, first)) = found.iter().find(|(other, _)| *other == deviation) {
            let diagnostic = Diagnostic::error(TWICE, format!("`{deviation}` stands in the list twice"));
            reader.report(diagnostic.at(item.span, "the second").related(*first, "the first"));
            continue;
        }
        found.push((deviation, item.span));
    }
    if matches!(&node.content, Content::Sequence(items) if items.is_empty()) {
        reader.wrong_value(node.span, "the list names no deviation", "name one, or leave the rule out");
    }
    found
}
