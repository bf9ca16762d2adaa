//! Steps, and the blocks that give several of them something in common. Blocks are laid out flat: what comes out is a
//! plain list of steps, each with what it got from the blocks around it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::code;
use super::super::model::{Action, Confirm, IfEnsured, OverrideRule, Retry, Step, Text, When};
use super::super::read::{Certainty, Fields, Keys, Reader, Templating, absolute_path};
use super::action::{Base, Owner, act, pointless, variables};
use super::{StepPlaces, SystemTable, facts, overrides, unique_ids, way_back};
use crate::diagnostic::{Diagnostic, Span, quoted};
use crate::id::{Fact, StepId};
use crate::yaml::tree::{Content, Node};

/// How many bytes of parameters all scripts of a runbook may be given together.
const MOST_GIVEN: usize = 16 << 20;
/// How many bytes blocks and conditions may copy into steps.
const MOST_SHARED: usize = 16 << 20;
/// How deep blocks may stand in each other.
const DEEPEST: usize = 3;
/// How many programs one step may replace: what they are afterwards is recorded in one entry of the log.
const MOST_REPLACED: usize = 64;

const STEP: Keys = Keys {
    of: "a step",
    known: &[
        "id",
        "title",
        "note",
        "when",
        "run",
        "script",
        "wait",
        "manual",
        "requires",
        "ensures",
        "within",
        "timeout",
        "retry",
        "env",
        "cwd",
        "user",
        "stdin",
        "success",
        "starts_service",
        "if_ensured",
        "confirm",
        "undo",
        "irreversible",
        "in_doubt",
        "replaces",
        "override",
    ],
    later: &["call", "save", "transcript", "with"],
};
const BLOCK: Keys = Keys {
    of: "a block",
    known: &["block", "title", "note", "when", "requires", "user", "env", "timeout"],
    later: &["override"],
};
const CONFIRM: Keys = Keys { of: "a confirmation", known: &["ask", "expect"], later: &[] };

/// What is known, and what has been read, while steps are read.
pub(super) struct Lowering<'c> {
    pub(super) table: &'c SystemTable,
    /// The parameters as scripts get them.
    scripts: &'c BTreeMap<String, String>,
    /// How many bytes of parameters may still be given to scripts.
    left_for_scripts: usize,
    /// How many bytes blocks and conditions may still copy into steps.
    left_to_share: usize,
    /// Whether a bound was passed, so that nothing more is read.
    is_full: bool,
    /// The notes of blocks whose first step is still to come.
    notes: Vec<String>,
    steps: Vec<Step>,
    places: Vec<StepPlaces>,
}

/// What the blocks around a step give to it.
#[derive(Debug, Clone, Default)]
struct Share {
    /// How many blocks there are.
    depth: usize,
    title: Option<String>,
    conditions: Vec<When>,
    requires: Vec<Fact>,
    places: Vec<Span>,
    base: Base,
    /// Roughly how many bytes all that takes.
    size: usize,
}

/// Reads the section `steps`. `scripts` holds the parameters as scripts get them.
pub(super) fn lower(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    table: &SystemTable,
    scripts: &BTreeMap<String, String>,
) -> (Vec<Step>, Vec<StepPlaces>) {
    let mut lowering = Lowering {
        table,
        scripts,
        left_for_scripts: MOST_GIVEN,
        left_to_share: MOST_SHARED,
        is_full: false,
        notes: Vec::new(),
        steps: Vec::new(),
        places: Vec::new(),
    };
    lowering.list(reader, node, &Share::default());
    unique_ids(reader, &lowering.steps, &lowering.places);
    (lowering.steps, lowering.places)
}

impl Lowering<'_> {
    fn list(&mut self, reader: &mut Reader<'_>, node: &Node<'_>, share: &Share) {
        let items = reader.list(node, "a list of steps").unwrap_or_default();
        if items.is_empty() && matches!(node.content, Content::Sequence(_)) {
            let of = if share.depth == 0 { "a runbook" } else { "a block" };
            reader.wrong_value(node.span, format!("{of} needs at least one step"), "add a step");
        }
        for item in items {
            if self.is_full {
                break;
            }
            let is_block =
                matches!(&item.content, Content::Mapping(entries) if entries.iter().any(|e| e.key == "block"));
            if is_block {
                self.block(reader, item, share);
            } else if let Some((step, places)) = self.step(reader, item, share) {
                self.steps.push(step);
                self.places.push(places);
            }
        }
    }

    fn block(&mut self, reader: &mut Reader<'_>, node: &Node<'_>, around: &Share) {
        let Some(fields) = reader.fields(node, &BLOCK) else { return };
        let Some(entry) = fields.entry("block") else { return };
        if around.depth == DEEPEST {
            let message = format!("blocks stand in each other at most {DEEPEST} deep");
            let diagnostic = Diagnostic::error(code::TOO_BIG, message).at(entry.key_span, "this is one too many");
            reader.report(diagnostic.help("move its steps into the block around it"));
            return;
        }
        if !self.copies(reader, &fields, around.size) {
            return;
        }
        let mut share = around.clone();
        share.depth += 1;
        if let Some(node) = fields.get("title") {
            share.title = Some(titled(around.title.as_deref(), reader.filled_text(node, "a title")));
        }
        if let Some(node) = fields.get("note") {
            let note = reader.filled_text(node, "a note");
            self.notes.push(note);
        }
        share.conditions.extend(fields.get("when").and_then(|node| way_back::when(reader, node)));
        let (requires, places) = facts(reader, fields.get("requires"), self.table);
        (share.requires, share.places) = joined(&around.requires, &around.places, requires, places);
        share.base.user = fields.get("user").map(|node| reader.filled_text(node, "a user")).or(share.base.user);
        share.base.env.extend(fields.get("env").map(|node| variables(reader, node)).unwrap_or_default());
        share.base.timeout = fields.get("timeout").map(|node| reader.positive_duration(node)).or(share.base.timeout);
        share.size = share.measure();

        let first = self.steps.len();
        self.list(reader, &entry.value, &share);
        let steps = &self.steps[first..];
        let is_told = |key: &str| match key {
            "timeout" => steps.iter().any(|step| !matches!(step.action, Action::Wait)),
            _ => steps.iter().any(|step| matches!(step.action, Action::Run(_) | Action::Script(_))),
        };
        for entry in ["user", "env", "timeout"].into_iter().filter_map(|key| fields.entry(key)) {
            if !steps.is_empty() && !is_told(&entry.key) {
                let message = format!("`{}` says nothing in this block: none of its steps uses it", entry.key);
                reader.report(Diagnostic::error(code::POINTLESS_KEY, message).at(entry.key_span, "remove it"));
            }
        }
    }

    fn step(&mut self, reader: &mut Reader<'_>, node: &Node<'_>, share: &Share) -> Option<(Step, StepPlaces)> {
        let fields = reader.fields(node, &STEP)?;
        if !self.copies(reader, &fields, share.size) {
            return None;
        }
        let id = id(reader, &fields);
        let title = fields.get("title").map(|node| reader.filled_text(node, "a title"));
        let title = title.map(|title| titled(share.title.as_deref(), title)).or_else(|| share.title.clone());
        let own_note = fields.get("note").map(|node| reader.filled_text(node, "a note"));
        let notes: Vec<String> = self.notes.drain(..).chain(own_note).collect();
        let note = (!notes.is_empty()).then(|| notes.join("\n"));
        let (requires, places) = facts(reader, fields.get("requires"), self.table);
        let (requires, requires_places) = joined(&share.requires, &share.places, requires, places);
        let (ensures, ensures_places) = facts(reader, fields.get("ensures"), self.table);
        let mut base = share.base.clone();
        if fields.get("script").is_some() {
            let mut env = self.script_variables(reader, &fields)?;
            env.append(&mut base.env);
            base.env = env;
        }
        let act = act(reader, &fields, Owner::Step, base);
        let if_ensured = fields
            .get("if_ensured")
            .map_or(IfEnsured::Run, |node| reader.choice(node, &[("run", IfEnsured::Run), ("pass", IfEnsured::Pass)]));
        let confirm = fields.get("confirm").and_then(|node| confirm(reader, node));
        let retry = retry(reader, &fields, act.action.as_ref());
        let (way_back, undo_requires, undo_ensures) = self.way_back(reader, &fields);
        let in_doubt = way_back::in_doubt(reader, &fields);
        let (replaces, replaces_places) = replaces(reader, &fields, act.action.as_ref());
        let when = self.condition(reader, &fields, share);
        let (id, id_place) = id?;
        let places = StepPlaces {
            id: id_place,
            requires: requires_places,
            ensures: ensures_places,
            undo_requires,
            undo_ensures,
            replaces: replaces_places,
        };
        let step = Step {
            id,
            title,
            note,
            action: act.action?,
            requires,
            ensures,
            replaces,
            within: act.within,
            timeout: act.timeout,
            if_ensured,
            confirm,
            way_back,
            retry,
            when,
            in_doubt,
            overrides: fields.get("override").map_or(OverrideRule::Unsaid, |node| overrides::rule(reader, node)),
        };
        Some((step, places))
    }

    /// The condition of a step, joined to those of the blocks around it.
    fn condition(&mut self, reader: &mut Reader<'_>, fields: &Fields<'_>, share: &Share) -> Option<When> {
        let own = fields.get("when").and_then(|node| way_back::when(reader, node));
        if let Some(own) = &own
            && !self.copies(reader, fields, size_of_when(own))
        {
            return None;
        }
        way_back::all_of(share.conditions.iter().cloned().chain(own).collect())
    }

    /// The parameters as the environment of one script; `None` if all scripts together got too much.
    pub(super) fn script_variables(
        &mut self,
        reader: &mut Reader<'_>,
        fields: &Fields<'_>,
    ) -> Option<BTreeMap<String, Text>> {
        let size =
            self.scripts.iter().map(|(name, value)| name.len() + value.len() + size_of::<(String, Text)>()).sum();
        let Some(left) = self.left_for_scripts.checked_sub(size) else {
            let message = format!("the parameters of all scripts together take more than {} MiB", MOST_GIVEN >> 20);
            self.too_much(reader, fields, message);
            return None;
        };
        self.left_for_scripts = left;
        Some(self.scripts.iter().map(|(name, value)| (name.clone(), Text::Plain(value.clone()))).collect())
    }

    /// Whether so many bytes more may be copied into steps.
    fn copies(&mut self, reader: &mut Reader<'_>, fields: &Fields<'_>, size: usize) -> bool {
        let Some(left) = self.left_to_share.checked_sub(size) else {
            let message = format!(
                "what blocks and conditions give to all steps together takes more than {} MiB",
                MOST_SHARED >> 20
            );
            self.too_much(reader, fields, message);
            return false;
        };
        self.left_to_share = left;
        true
    }

    fn too_much(&mut self, reader: &mut Reader<'_>, fields: &Fields<'_>, message: String) {
        self.is_full = true;
        let place = reader.first_line(fields.span);
        reader.report(Diagnostic::error(code::TOO_BIG, message).at(place, "here it is too much"));
    }
}

impl Share {
    fn measure(&self) -> usize {
        let facts: usize = self.requires.iter().map(|fact| size_of::<Fact>() + fact.to_string().len()).sum();
        let variables: usize = self.base.env.iter().map(|(name, text)| name.len() + text_size(text)).sum();
        let user = self.base.user.as_ref().map_or(0, String::len);
        let title = self.title.as_ref().map_or(0, String::len);
        facts + variables + user + title + self.conditions.iter().map(size_of_when).sum::<usize>()
    }
}

fn text_size(text: &Text) -> usize {
    match text {
        Text::Plain(text) | Text::Secret(text) => size_of::<(String, Text)>() + text.len(),
    }
}

fn size_of_when(when: &When) -> usize {
    let values: usize =
        when.values.iter().map(|(name, value)| size_of::<(String, String)>() + name.len() + value.len()).sum();
    size_of::<When>() + when.expression.len() + values
}

/// A title below that of the block around it.
fn titled(around: Option<&str>, title: String) -> String {
    match around {
        Some(around) => format!("{around}: {title}"),
        None => title,
    }
}

/// The facts of a block, and then those that are added to them; one that is there already stays where it is.
fn joined(
    before: &[Fact],
    before_places: &[Span],
    added: Vec<Fact>,
    added_places: Vec<Span>,
) -> (Vec<Fact>, Vec<Span>) {
    if before.is_empty() {
        return (added, added_places);
    }
    let known: BTreeSet<&Fact> = before.iter().collect();
    let fresh = added.into_iter().zip(added_places).filter(|(fact, _)| !known.contains(fact));
    before.iter().cloned().zip(before_places.iter().copied()).chain(fresh).unzip()
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

fn retry(reader: &mut Reader<'_>, fields: &Fields<'_>, action: Option<&Action>) -> Option<Retry> {
    let node = fields.get("retry")?;
    match action {
        Some(Action::Wait) => pointless(reader, fields, Owner::Step, "wait", &["retry"]),
        Some(Action::Manual(_)) => pointless(reader, fields, Owner::Step, "manual", &["retry"]),
        Some(Action::Run(_) | Action::Script(_)) | None => {}
    }
    way_back::retry(reader, node)
}

/// The program files that a step changes or makes, in the form in which a plan has them.
fn replaces(reader: &mut Reader<'_>, fields: &Fields<'_>, action: Option<&Action>) -> (Vec<PathBuf>, Vec<Span>) {
    let Some(node) = fields.get("replaces") else { return (Vec::new(), Vec::new()) };
    if let Some(Action::Wait) = action {
        pointless(reader, fields, Owner::Step, "wait", &["replaces"]);
    }
    let mut seen: BTreeMap<PathBuf, Span> = BTreeMap::new();
    let items = reader.list(node, "a list of program files, such as `[/usr/local/sbin/change]`").unwrap_or_default();
    for item in items {
        let Some(word) = reader.word(item, "an absolute path", Templating::Plain) else { continue };
        if word.certainty != Certainty::Known {
            continue;
        }
        if let Err(message) = absolute_path(&word.text) {
            reader.wrong_value(
                word.span,
                message,
                "write the path as a later step's `run` has it, or as `PATH` leads to it",
            );
            continue;
        }
        let path: PathBuf = Path::new(&*word.text).components().collect();
        if seen.len() == MOST_REPLACED {
            let message = format!("a step replaces at most {MOST_REPLACED} programs");
            reader.report(Diagnostic::error(code::TOO_BIG, message).at(word.span, "this is one too many"));
            break;
        }
        if let Some(first) = seen.get(&path) {
            let message = format!("the program {} is named twice", quoted(&word.text));
            reader.report(
                Diagnostic::error(code::TWICE, message).at(word.span, "the second").related(*first, "the first"),
            );
            continue;
        }
        seen.insert(path, word.span);
    }
    seen.into_iter().unzip()
}

fn confirm(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Confirm> {
    let fields = reader.fields(node, &CONFIRM)?;
    let ask = reader.required(&fields, "ask", "a confirmation").map(|node| reader.filled_text(node, "a question"));
    let expect = reader.required(&fields, "expect", "a confirmation").map(|node| reader.filled_text(node, "an answer"));
    Some(Confirm { ask: ask?, expect: expect? })
}
