//! The rules of a policy about an emergency in which those who approve cannot be reached: who may go on without them, who is told at
//! once and how, and by when one of those has looked at what was done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Match;
use super::read::{Reader, subject};
use super::rules::{group, items};
use crate::consent::code;
use crate::diagnostic::Diagnostic;
use crate::id::{GroupName, Person};
use crate::yaml::read::{Fields, Keys, absolute_path};
use crate::yaml::tree::Node;

const GLASS: Keys =
    Keys { of: "a rule of `break_glass`", known: &["match", "who", "tell", "by", "review_within"], later: &[] };

/// How long a review may take if the rule does not say.
const REVIEW_WITHIN: Duration = Duration::from_secs(5 * 24 * 3600);

/// A rule about an emergency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlassRule {
    /// Which runs.
    pub subject: Match,
    /// The group of which the operator must be.
    pub who: GroupName,
    /// The group that is told, and of which somebody else than the operator reviews the run.
    pub tell: GroupName,
    /// The command that tells them: an absolute path, and arguments.
    pub by: Vec<String>,
    /// How long after the glass was broken the review is due.
    pub review_within: Duration,
    /// The line of the rule.
    pub line: usize,
}

/// Reads the rules.
pub(super) fn read(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    groups: &BTreeMap<GroupName, BTreeSet<Person>>,
    operators: &BTreeSet<Person>,
) -> Vec<GlassRule> {
    let items = items(reader, fields, "break_glass");
    items.iter().filter_map(|item| rule(reader, item, groups, operators)).collect()
}

fn rule(
    reader: &mut Reader<'_>,
    item: &Node<'_>,
    groups: &BTreeMap<GroupName, BTreeSet<Person>>,
    operators: &BTreeSet<Person>,
) -> Option<GlassRule> {
    let fields = reader.fields(item, &GLASS)?;
    let subject = subject(reader, &fields);
    let who = reader.required(&fields, "who", GLASS.of).and_then(|node| group(reader, node, groups));
    let tell = reader.required(&fields, "tell", GLASS.of).and_then(|node| group(reader, node, groups));
    let by = reader.required(&fields, "by", GLASS.of).and_then(|node| command(reader, node));
    let review_within = match fields.get("review_within") {
        None => Some(REVIEW_WITHIN),
        Some(node) => reader.positive_duration(node),
    };
    if let (Some(who), Some(node)) = (&who, fields.get("who"))
        && groups[who].is_disjoint(operators)
    {
        let message = format!("nobody in `{who}` may operate, so nobody could break this glass");
        let diagnostic = Diagnostic::error(code::UNMEETABLE, message).at(node.span, "no operator in it");
        reader.report(diagnostic.help("give its members users under `persons`, and see that `operators` has them"));
        return None;
    }
    if let (Some(tell), Some(node)) = (&tell, fields.get("tell"))
        && groups[tell].len() < 2
    {
        let message = format!("only one is in `{tell}`, and nobody reviews what they did themselves");
        let diagnostic = Diagnostic::error(code::UNMEETABLE, message).at(node.span, "nobody else is told");
        reader.report(diagnostic.help("name a group of two at least"));
        return None;
    }
    let (line, _) = reader.source.position(fields.span.start);
    Some(GlassRule { subject, who: who?, tell: tell?, by: by?, review_within: review_within?, line })
}

/// A command of the policy: its program is named by its absolute path.
pub(super) fn command(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<String>> {
    let items = reader.list(node, "a command as a list, such as `[/usr/local/bin/page, on-call]`")?;
    let Some((program, arguments)) = items.split_first() else {
        reader.wrong_value(node.span, "the command is empty", "write `[program, argument, …]`");
        return None;
    };
    let program =
        reader.parsed(program, "the absolute path of a program", |text| absolute_path(text).map(str::to_owned))?;
    let mut argv = vec![program];
    for argument in arguments {
        argv.push(reader.word(argument, "an argument")?.to_owned());
    }
    Some(argv)
}
