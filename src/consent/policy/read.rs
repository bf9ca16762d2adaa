//! The text of a policy to the policy, key by key. Every mistake of it and of the files that it names is collected with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::rules::{self, Rule};
use super::{Findings, Limits, Match, Opened, OwnSignature, Policy};
use crate::consent::calendar::{Freeze, WindowRule};
use crate::consent::code;
use crate::consent::key::Fingerprint;
use crate::consent::revoked::Revoked;
use crate::consent::signers::{Role, Signers};
use crate::diagnostic::{Diagnostic, Problems, Source, Span, quoted, suggest};
use crate::history::deviation::DeviationKind;
use crate::id::{Digest, GroupName, Person};
use crate::yaml::code::TWICE;
use crate::yaml::read::{self, Fields, Keys, Literal, whole_number};
use crate::yaml::source::decode;
use crate::yaml::tree::{Content, Node, parse};
use crate::yaml::{Genre, code as yaml_code};

/// How a policy is called and begins.
const GENRE: Genre =
    Genre { noun: "policy", beginning: "a policy begins with `interlock: 1`; docs/policy.md shows a whole one" };

const POLICY: Keys = Keys {
    of: "a policy",
    known: &[
        "interlock",
        "number",
        "signers",
        "revoked",
        "persons",
        "groups",
        "operators",
        "approvals",
        "overrides",
        "forbid",
        "windows",
        "freezes",
        "break_glass",
        "limits",
        "defaults",
        "notify",
        "redact",
        "checkpoints",
    ],
    later: &[],
};

const PERSON: Keys = Keys { of: "a person", known: &["users"], later: &[] };
const LIMITS: Keys = Keys { of: "`limits`", known: &["timeout", "within"], later: &[] };
const DEFAULTS: Keys = Keys { of: "`defaults`", known: &["timeout", "within"], later: &[] };

pub(super) type Reader<'s> = read::Reader<'s, Literal>;

/// How many persons a policy may name, and how many a group may have.
const MOST_PEOPLE: usize = 2000;

/// A name with its place.
pub(super) type Placed<T> = (T, Span);

/// The groups as they were read, with the places of their names and members.
pub(super) type Groups = BTreeMap<GroupName, (Span, Vec<Placed<Person>>)>;

impl Policy {
    /// Reads a policy; `file` reads the files that it names, by their paths.
    ///
    /// # Errors
    /// Every mistake in any of them, file by file.
    pub fn read(
        source: Source,
        file: impl Fn(&Path) -> Result<Vec<u8>, Box<Diagnostic>>,
    ) -> Result<Opened, Vec<Findings>> {
        let mut findings = Vec::new();
        let mut problems = Problems::new();
        let root = parse(&source, &GENRE, &mut problems);
        let mut reader = Reader { source: &source, genre: &GENRE, problems, rendering: Literal };
        let fields = root.as_ref().and_then(|root| reader.fields(root, &POLICY));
        let policy = fields.and_then(|fields| policy(&mut reader, &fields, file, &mut findings));
        let problems = reader.problems;
        let wrong = problems.has_errors();
        let diagnostics = problems.into_vec();
        if !diagnostics.is_empty() {
            findings.insert(0, Findings { source, diagnostics });
        }
        match policy {
            Some(policy) if !wrong => Ok(Opened { policy, warnings: findings }),
            Some(_) | None => Err(findings),
        }
    }
}

fn policy(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    file: impl Fn(&Path) -> Result<Vec<u8>, Box<Diagnostic>>,
    findings: &mut Vec<Findings>,
) -> Option<Policy> {
    reader.version(fields, "a policy");
    let number = fields.get("number").and_then(|node| reader.parsed(node, "a number from 0 up", number)).unwrap_or(0);
    let signers_place = fields.get("signers").map_or(fields.span, |node| node.span);
    let signers = reader.required(fields, "signers", "a policy").and_then(|node| {
        let (path, bytes) = named_file(reader, node, "the path of a signers file", &file)?;
        signers(reader, node.span, &path, bytes, findings)
    });
    let revoked = fields.get("revoked").map(|node| {
        let (path, bytes) = named_file(reader, node, "the path of a file of revoked keys", &file)?;
        Revoked::read(&path.display().to_string(), bytes).map_err(|found| add(reader, node.span, found, findings)).ok()
    });
    let persons = reader.required(fields, "persons", "a policy").map(|node| persons(reader, node)).unwrap_or_default();
    let groups = fields.get("groups").map(|node| groups(reader, node)).unwrap_or_default();
    let operators = operators(reader, fields.get("operators"), &persons, &groups);
    let members: BTreeMap<GroupName, BTreeSet<Person>> = groups
        .iter()
        .map(|(name, (_, members))| (name.clone(), members.iter().map(|(person, _)| person.clone()).collect()))
        .collect();
    let rules = rules::read(reader, fields, &members);
    let break_glass = super::glass::read(reader, fields, &members, &operators);
    let forbidden = fields.get("forbid").map(|node| rules::deviations(reader, node)).unwrap_or_default();
    contradictions(reader, fields, &forbidden, &rules.overrides);
    let (windows, freezes): (Vec<WindowRule>, Vec<Freeze>) = super::calendar_text::read(reader, fields);
    let (limits, defaults) = times(reader, fields);
    let notify = super::notify::read(reader, fields);
    let redact = super::redact::read(reader, fields);
    let checkpoints = super::sinks::read(reader, fields);
    let people: BTreeSet<Person> = persons.keys().cloned().chain(members.values().flatten().cloned()).collect();
    if people.len() > MOST_PEOPLE {
        let message = format!("a policy names at most {MOST_PEOPLE} persons, and this one names {}", people.len());
        reader.report(Diagnostic::error(yaml_code::TOO_BIG, message));
        return None;
    }
    if let Some(signers) = &signers {
        everybody_has_a_key(reader, &groups, signers);
        keys_of_one_person(reader, signers_place, signers, &people, findings);
    }
    narrow_rules(reader, &rules.quotas, &members, &operators);
    Some(Policy {
        name: reader.source.name().to_owned(),
        text: reader.source.text().to_owned(),
        digest: Digest::of(reader.source.text().as_bytes()),
        number,
        signers: signers?,
        revoked: match revoked {
            None => None,
            Some(read) => Some(read?),
        },
        persons,
        groups: members,
        people,
        operators,
        approvals: rules.approvals,
        overrides: rules.overrides,
        forbidden: forbidden.into_iter().map(|(deviation, _)| deviation).collect(),
        windows,
        freezes,
        break_glass,
        limits,
        defaults,
        notify,
        redact,
        checkpoints,
    })
}

fn number(text: &str) -> Result<u64, String> {
    u64::try_from(whole_number(text)?).map_err(|_| format!("{} is less than nought", quoted(text)))
}

/// Reads a file that the policy names, from the policy's own folder if its path is relative.
fn named_file(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    what: &str,
    file: impl Fn(&Path) -> Result<Vec<u8>, Box<Diagnostic>>,
) -> Option<(PathBuf, Vec<u8>)> {
    let text = reader.filled_text(node, what);
    if text.is_empty() {
        return None;
    }
    let path = Path::new(reader.source.name()).parent().unwrap_or(Path::new("")).join(text);
    match file(&path) {
        Ok(bytes) => Some((path, bytes)),
        Err(mistake) => {
            reader.report(mistake.at(node.span, "named here"));
            None
        }
    }
}

fn signers(
    reader: &mut Reader<'_>,
    span: Span,
    path: &Path,
    bytes: Vec<u8>,
    findings: &mut Vec<Findings>,
) -> Option<Signers> {
    let source = match decode(&path.display().to_string(), bytes) {
        Ok(source) => source,
        Err(mistake) => {
            reader.report(mistake.at(span, "named here"));
            return None;
        }
    };
    match Signers::read(source) {
        Ok((signers, warnings)) => {
            if !warnings.is_empty() {
                findings.push(Findings { source: signers.source.clone(), diagnostics: warnings });
            }
            Some(signers)
        }
        Err(found) => {
            add(reader, span, found, findings);
            None
        }
    }
}

/// Keeps the mistakes of a file that the policy names, and says where it names it.
fn add(
    reader: &mut Reader<'_>,
    span: Span,
    (source, diagnostics): (Source, Vec<Diagnostic>),
    findings: &mut Vec<Findings>,
) {
    let message = format!("there are mistakes in `{}`", source.name());
    reader.report(Diagnostic::error(code::SIGNERS_LINE, message).at(span, "named here"));
    findings.push(Findings { source, diagnostics });
}

/// A person; reported if the text cannot be one.
pub(super) fn person(reader: &mut Reader<'_>, text: &str, span: Span) -> Option<Person> {
    match text.parse::<Person>() {
        Ok(person) => Some(person),
        Err(error) => {
            reader.report(Diagnostic::error(code::PERSON, error.to_string()).at(span, "not a person"));
            None
        }
    }
}

fn persons(reader: &mut Reader<'_>, node: &Node<'_>) -> BTreeMap<Person, BTreeSet<String>> {
    let mut persons = BTreeMap::new();
    let mut seen: BTreeMap<String, (Span, Person)> = BTreeMap::new();
    let what = "a mapping from persons to their users, such as `{amy@example.org: {users: [amy]}}`";
    for entry in reader.mapping(node, what).unwrap_or_default() {
        let Some(person) = person(reader, &entry.key, entry.key_span) else { continue };
        let Some(fields) = reader.fields(&entry.value, &PERSON) else { continue };
        let Some(list) = reader.required(&fields, "users", "a person") else { continue };
        let mut users = BTreeSet::new();
        let items = reader.list(list, "a list of local users, such as `[amy]`").unwrap_or_default();
        if matches!(&list.content, Content::Sequence(items) if items.is_empty()) {
            reader.wrong_value(list.span, format!("{person} has no user"), "name one, or leave the person out");
        }
        for item in items {
            let Some(user) = reader.parsed(item, "a user's name or number", user) else { continue };
            if let Some((first, other)) = seen.get(&user) {
                let message = if *other == person {
                    format!("the user {} is named twice", quoted(&user))
                } else {
                    format!("the user {} cannot be both {other} and {person}", quoted(&user))
                };
                let diagnostic = Diagnostic::error(code::USER_TWICE, message).at(item.span, "the second");
                reader.report(
                    diagnostic
                        .related(*first, "the first")
                        .help("a user tells who operates: give each person an account of their own"),
                );
                continue;
            }
            seen.insert(user.clone(), (item.span, person.clone()));
            users.insert(user);
        }
        persons.insert(person, users);
    }
    persons
}

fn user(text: &str) -> Result<String, String> {
    let well_formed = (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    if !well_formed {
        return Err(format!("{} is not a user", quoted(text)));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        whole_number(text)?;
    }
    Ok(text.to_owned())
}

fn groups(reader: &mut Reader<'_>, node: &Node<'_>) -> Groups {
    let mut groups = Groups::new();
    let what = "a mapping from groups to persons, such as `{core: [amy@example.org]}`";
    for entry in reader.mapping(node, what).unwrap_or_default() {
        let name = match entry.key.parse::<GroupName>() {
            Ok(name) => name,
            Err(error) => {
                let diagnostic = Diagnostic::error(yaml_code::NAME, error.to_string());
                reader.report(diagnostic.at(entry.key_span, "not a name"));
                continue;
            }
        };
        let Some(items) = reader.list(&entry.value, "a list of persons") else { continue };
        if items.is_empty() {
            let diagnostic = Diagnostic::error(code::UNMEETABLE, format!("the group `{name}` is empty"));
            reader.report(
                diagnostic
                    .at(entry.value.span, "nobody is in it")
                    .help("\"all\" of nobody would be met by nothing: name its members, or leave it out"),
            );
        }
        let mut members: Vec<Placed<Person>> = Vec::new();
        if items.len() > MOST_PEOPLE {
            let diagnostic =
                Diagnostic::error(yaml_code::TOO_BIG, format!("a group has at most {MOST_PEOPLE} persons"));
            reader.report(diagnostic.at(entry.key_span, "this has more"));
            continue;
        }
        for item in items {
            let Some(text) = reader.word(item, "a person") else { continue };
            let Some(person) = person(reader, text, item.span) else { continue };
            if let Some((_, first)) = members.iter().find(|(other, _)| *other == person) {
                let diagnostic = Diagnostic::error(TWICE, format!("{person} is in the group `{name}` twice"));
                reader.report(diagnostic.at(item.span, "the second").related(*first, "the first"));
                continue;
            }
            members.push((person, item.span));
        }
        groups.insert(name, (entry.key_span, members));
    }
    groups
}

/// Those who may operate: everybody with a user, or those of them who are listed.
fn operators(
    reader: &mut Reader<'_>,
    node: Option<&Node<'_>>,
    persons: &BTreeMap<Person, BTreeSet<String>>,
    groups: &Groups,
) -> BTreeSet<Person> {
    let Some(node) = node else { return persons.keys().cloned().collect() };
    let mut operators = BTreeSet::new();
    let items = reader.list(node, "a list of groups and persons").unwrap_or_default();
    for item in items {
        let Some(text) = reader.word(item, "a group or a person") else { continue };
        let group = text.parse::<GroupName>().ok().and_then(|name| groups.get(&name));
        let known = text.parse::<Person>().ok().filter(|person| persons.contains_key(person));
        match (group, known) {
            (Some((_, members)), None) => operators.extend(
                members.iter().map(|(person, _)| person).filter(|person| persons.contains_key(person)).cloned(),
            ),
            (None, Some(person)) => {
                operators.insert(person);
            }
            (Some((place, _)), Some(_)) => {
                let message = format!("{} is both a group and a person", quoted(text));
                let diagnostic = Diagnostic::error(code::RULE, message).at(item.span, "which of them?");
                reader.report(diagnostic.related(*place, "the group").help("give the group another name"));
            }
            (None, None) => {
                let names: Vec<&str> =
                    groups.keys().map(GroupName::as_str).chain(persons.keys().map(Person::as_str)).collect();
                let message = format!("{} is neither a group nor a person with a user", quoted(text));
                let mut diagnostic = Diagnostic::error(code::UNKNOWN_GROUP, message).at(item.span, "not known");
                diagnostic.help = suggest::did_you_mean(text, &names);
                reader.report(diagnostic);
            }
        }
    }
    if operators.is_empty() && !reader.problems.has_errors() {
        let diagnostic = Diagnostic::error(code::UNMEETABLE, "nobody may operate under this policy");
        reader.report(diagnostic.at(node.span, "nobody of these has a user").help("give them users under `persons`"));
    }
    operators
}

/// The limits and the defaults; a default beyond the limit would refuse every runbook that does not say.
fn times(reader: &mut Reader<'_>, fields: &Fields<'_>) -> (Limits, Limits) {
    let limits = fields.get("limits").map(|node| some_times(reader, node, &LIMITS)).unwrap_or_default();
    let defaults = fields.get("defaults").map(|node| some_times(reader, node, &DEFAULTS)).unwrap_or_default();
    let pairs = [("timeout", limits.timeout, defaults.timeout), ("within", limits.within, defaults.within)];
    for (key, limit, default) in pairs {
        if let (Some(limit), Some(default), Some(node)) = (limit, default, fields.get("defaults"))
            && default > limit
        {
            let message = format!("the default `{key}` is longer than `limits` allows");
            let diagnostic = Diagnostic::error(code::RULE, message).at(node.span, "these defaults");
            reader.report(diagnostic.help("make the default shorter, or the limit longer"));
        }
    }
    (limits, defaults)
}

fn some_times(reader: &mut Reader<'_>, node: &Node<'_>, keys: &Keys) -> Limits {
    let Some(fields) = reader.fields(node, keys) else { return Limits::default() };
    let mut time = |key| fields.get(key).and_then(|node| reader.positive_duration(node));
    Limits { timeout: time("timeout"), within: time("within") }
}

fn contradictions(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    forbidden: &[Placed<DeviationKind>],
    overrides: &[super::OverrideRule],
) {
    for (deviation, span) in forbidden {
        if let Some(rule) = overrides.iter().find(|rule| rule.deviations.contains(deviation)) {
            let message = format!("`{deviation}` is forbidden, and line {} allows it", rule.quota.line);
            let diagnostic = Diagnostic::error(code::RULE, message).at(*span, "forbidden here");
            reader.report(diagnostic.help("take it out of one of the two"));
        }
    }
    if let Some(node) = fields.get("forbid")
        && forbidden.is_empty()
        && !reader.problems.has_errors()
    {
        reader.wrong_value(node.span, "nothing is forbidden here", "name deviations, or leave `forbid` out");
    }
}

/// That everybody in a group could sign.
fn everybody_has_a_key(reader: &mut Reader<'_>, groups: &Groups, signers: &Signers) {
    for (name, (_, members)) in groups {
        for (person, span) in members {
            if signers.lines.iter().any(|line| line.principals.matches(person.as_str())) {
                continue;
            }
            let message = format!("{person} is in the group `{name}` and has no key in `{}`", signers.source.name());
            let diagnostic = Diagnostic::error(code::NO_KEY, message).at(*span, "cannot sign");
            reader.report(diagnostic.help(format!(
                "add a line `{person} KEY` with the key from their .pub file, or take {person} out of the group"
            )));
        }
    }
}

/// That no key is two persons'.
fn keys_of_one_person(
    reader: &mut Reader<'_>,
    named: Span,
    signers: &Signers,
    people: &BTreeSet<Person>,
    findings: &mut Vec<Findings>,
) {
    let mut owners: BTreeMap<&Fingerprint, (Person, Span)> = BTreeMap::new();
    let mut problems = Problems::new();
    for line in signers.lines.iter().filter(|line| line.role == Role::Own) {
        for person in people.iter().filter(|person| line.principals.matches(person.as_str())) {
            let (owner, first) = owners.entry(&line.key.fingerprint).or_insert_with(|| (person.clone(), line.span));
            if owner != person {
                let message = format!("the key {} is listed for {owner} and for {person}", line.key.fingerprint);
                let mut diagnostic =
                    Diagnostic::error(code::KEY_TWICE, message).at(line.span, "one key for two persons");
                if *first != line.span {
                    diagnostic = diagnostic.related(*first, "the first");
                }
                problems.push(
                    diagnostic.help("persons are counted by their keys: each has their own, and shows it to nobody"),
                );
            }
        }
    }
    if problems.has_errors() {
        add(reader, named, (signers.source.clone(), problems.into_vec()), findings);
    }
}

/// Rules that cannot be met when certain persons operate.
fn narrow_rules(
    reader: &mut Reader<'_>,
    quotas: &[Rule],
    groups: &BTreeMap<GroupName, BTreeSet<Person>>,
    operators: &BTreeSet<Person>,
) {
    for rule in quotas {
        let Some(members) = groups.get(&rule.quota.of) else { continue };
        if rule.quota.own == OwnSignature::Counts {
            continue;
        }
        let left = members.len().saturating_sub(1);
        let needed = match rule.quota.need {
            super::Need::All => 1,
            super::Need::Number(number) => number,
        };
        let Some(operator) = members.iter().find(|person| operators.contains(person)) else { continue };
        if left < needed && needed <= members.len() {
            let message =
                format!("when {operator} operates, {left} of `{}` are left, and {needed} must sign", rule.quota.of);
            let diagnostic = Diagnostic::warning(code::NARROW, message).at(rule.span, "refused then");
            reader.report(diagnostic.help(format!(
                "add persons to `{}`, take the operators out of it, or say `operator_counts: true`",
                rule.quota.of
            )));
        }
    }
}

/// The keys of `match`.
const MATCH: Keys = Keys { of: "`match`", known: &["name", "labels"], later: &[] };

/// Which runs a rule is about.
pub(super) fn subject(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Match {
    let mut found = Match::default();
    let Some(node) = fields.get("match") else { return found };
    let Some(fields) = reader.fields(node, &MATCH) else { return found };
    if let Some(node) = fields.get("name") {
        found.name = reader.parsed(node, "a runbook's name, or a pattern with `*` and `?`", |text| {
            let well_formed = (1..=63).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_*?".contains(&b));
            if well_formed { Ok(text.to_owned()) } else { Err(format!("{} can be no runbook's name", quoted(text))) }
        });
    }
    if let Some(node) = fields.get("labels") {
        for entry in reader.mapping(node, "a mapping from label names to texts").unwrap_or_default() {
            if let Some(text) = reader.word(&entry.value, "a text") {
                found.labels.insert(entry.key.clone().into_owned(), text.to_owned());
            }
        }
    }
    if found == Match::default() && !reader.problems.has_errors() {
        let help = "name what it is about, or leave `match` out: then it is about every run";
        reader.wrong_value(node.span, "this `match` says nothing", help);
    }
    found
}
