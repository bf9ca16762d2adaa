//! Probes and the two sides of a state.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::code;
use super::super::model::{
    CommandProbe, DataDirProbe, DataDirState, FileProbe, PortProbe, PortState, Presence, Probe, ProcessProbe, State,
};
use super::super::read::{Certainty, Keys, Reader, Templating, port, whole_number};
use super::argv;
use crate::diagnostic::{Diagnostic, quoted, suggest};
use crate::id::StateName;
use crate::yaml::tree::{Content, Node};

/// A probe's own time-out where none is given.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a command is asked while its fact is held, where nothing else is given.
const EVERY: Duration = Duration::from_secs(1);

const PROBES: [&str; 8] = ["process", "port", "file", "data_dir", "command", "all", "any", "not"];
const LATER: [&str; 3] = ["http", "unit", "disk"];
const SIDES: Keys = Keys { of: "a state", known: &["help", "before", "while"], later: &[] };
const PROCESS: Keys =
    Keys { of: "a `process` probe", known: &["pidfile", "exe", "name", "user", "args", "state"], later: &[] };
const PORT: Keys = Keys { of: "a `port` probe", known: &["port", "host", "state", "timeout"], later: &[] };
const FILE: Keys = Keys {
    of: "a `file` probe",
    known: &["path", "state", "newer_than", "older_than", "min_size", "mode", "owner", "contains"],
    later: &[],
};
const DATA_DIR: Keys = Keys { of: "a `data_dir` probe", known: &["path", "server", "state"], later: &[] };
const COMMAND: Keys = Keys {
    of: "a `command` probe",
    known: &["run", "look_in", "holds", "broken", "stdout", "user", "every", "timeout"],
    later: &["stderr", "env", "cwd"],
};
const PRESENCE: [(&str, Presence); 2] = [("present", Presence::Present), ("absent", Presence::Absent)];

/// A probe that asks nothing, in place of one that has mistakes.
pub(in crate::runbook) fn harmless() -> Probe {
    Probe::All(Vec::new())
}

/// The states of a system, by name, each with its help.
pub(in crate::runbook) fn states(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
) -> BTreeMap<StateName, (State, Option<String>)> {
    let mut states = BTreeMap::new();
    let entries = reader.mapping(node, "a mapping from state names to probes").unwrap_or_default();
    for entry in entries {
        let state = state(reader, &entry.value);
        match entry.key.parse::<StateName>() {
            Ok(name) => {
                states.insert(name, state);
            }
            Err(error) => {
                reader.report(Diagnostic::error(code::NAME, error.to_string()).at(entry.key_span, "not a name"))
            }
        }
    }
    if entries.is_empty() && matches!(node.content, Content::Mapping(_)) {
        reader.wrong_value(node.span, "a system needs at least one state", "write `states: {up: {port: {port: 80}}}`");
    }
    states
}

fn state(reader: &mut Reader<'_>, node: &Node<'_>) -> (State, Option<String>) {
    let sided = match &node.content {
        Content::Mapping(entries) => entries.iter().any(|entry| SIDES.known.contains(&&*entry.key)),
        Content::Scalar(_) | Content::Sequence(_) | Content::Reported => false,
    };
    if !sided {
        let probe = probe(reader, node);
        return (State { before: probe.clone(), held: probe }, None);
    }
    let Some(fields) = reader.fields(node, &SIDES) else {
        return (State { before: harmless(), held: harmless() }, None);
    };
    let help = fields.get("help").map(|node| reader.text(node, "a text"));
    let before = fields.get("before").map(|node| probe(reader, node));
    let held = fields.get("while").map(|node| probe(reader, node));
    let (before, held) = match (before, held) {
        (Some(before), Some(held)) => (before, held),
        (Some(both), None) | (None, Some(both)) => (both.clone(), both),
        (None, None) => {
            let _ = reader.required(&fields, "before", "a state");
            (harmless(), harmless())
        }
    };
    (State { before, held }, help)
}

fn probe(reader: &mut Reader<'_>, node: &Node<'_>) -> Probe {
    let Some(entries) = reader.mapping(node, "a probe, such as `port: {port: 5432, state: closed}`") else {
        return harmless();
    };
    let [entry] = entries else {
        let message = format!("a probe has exactly one key, found {}", entries.len());
        let diagnostic =
            Diagnostic::error(code::WRONG_SHAPE, message).at(reader.first_line(node.span), "expected one probe");
        reader.report(diagnostic.help("use `all: [ … ]` or `any: [ … ]` to ask for several things"));
        return harmless();
    };
    let value = &entry.value;
    match &*entry.key {
        "process" => process(reader, value).map_or_else(harmless, Probe::Process),
        "port" => port_probe(reader, value).map_or_else(harmless, Probe::Port),
        "file" => file(reader, value).map_or_else(harmless, Probe::File),
        "data_dir" => data_dir(reader, value).map_or_else(harmless, Probe::DataDir),
        "command" => command(reader, value).map_or_else(harmless, Probe::Command),
        "all" => Probe::All(several(reader, value)),
        "any" => Probe::Any(several(reader, value)),
        "not" => Probe::Not(Box::new(probe(reader, value))),
        later if LATER.contains(&later) => {
            reader.not_yet(later, entry.key_span);
            harmless()
        }
        other => {
            let mut diagnostic = Diagnostic::error(code::UNKNOWN_KEY, format!("there is no probe {}", quoted(other)))
                .at(entry.key_span, "unknown probe");
            diagnostic.help = suggest::did_you_mean(other, &PROBES);
            reader.report(diagnostic);
            harmless()
        }
    }
}

fn several(reader: &mut Reader<'_>, node: &Node<'_>) -> Vec<Probe> {
    let Some(items) = reader.list(node, "a list of probes") else { return Vec::new() };
    if items.is_empty() {
        // "All of nothing" would hold always.
        reader.wrong_value(node.span, "an empty list of probes looks at nothing", "give at least one probe");
    }
    items.iter().map(|item| probe(reader, item)).collect()
}

fn process(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<ProcessProbe> {
    let fields = reader.fields(node, &PROCESS)?;
    let pidfile = reader.given(fields.get("pidfile")).map(|node| reader.path(node));
    let exe = reader.given(fields.get("exe")).map(|node| reader.path(node));
    let name = reader.given(fields.get("name")).map(|node| base_name(reader, node));
    let user = reader.given(fields.get("user")).map(|node| reader.filled_text(node, "a user"));
    let args = fields.get("args").map(|node| texts(reader, node, "a list of arguments"));
    let state = fields.get("state").map_or(Presence::Present, |node| reader.choice(node, &PRESENCE));
    let args = args.filter(|args| !args.is_empty());
    if pidfile.is_none() && exe.is_none() && name.is_none() && user.is_none() && args.is_none() {
        reader.report(
            Diagnostic::error(code::MISSING_KEY, "a `process` probe does not say which process")
                .at(reader.first_line(node.span), "expected at least one criterion")
                .help("give at least one of `pidfile`, `exe`, `name`, `user`, `args`"),
        );
    }
    Some(ProcessProbe { pidfile, exe, name, user, args, state })
}

fn base_name(reader: &mut Reader<'_>, node: &Node<'_>) -> String {
    reader.parsed(node, "the base name of an executable file", String::new(), |text| {
        if text.is_empty() || text.contains('/') {
            Err(format!("{} is not a base name; a path goes into `exe`", quoted(text)))
        } else {
            Ok(text.to_owned())
        }
    })
}

/// A list of texts. In a kind, one that came out empty counts as not given.
fn texts(reader: &mut Reader<'_>, node: &Node<'_>, what: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for item in reader.list(node, what).unwrap_or_default() {
        if let Some(item) = reader.given(Some(item)) {
            texts.push(reader.text(item, "a text"));
        }
    }
    texts
}

fn port_probe(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<PortProbe> {
    let fields = reader.fields(node, &PORT)?;
    let number = reader.required(&fields, "port", "a `port` probe");
    let port = number.map_or(1, |node| reader.parsed(node, "a port from 1 to 65535", 1, port));
    let host = reader.given(fields.get("host")).map(|node| reader.filled_text(node, "a name or an address"));
    let states = [("open", PortState::Open), ("closed", PortState::Closed)];
    let state = fields.get("state").map_or(PortState::Open, |node| reader.choice(node, &states));
    let timeout = fields.get("timeout").map_or(TIMEOUT, |node| reader.positive_duration(node));
    Some(PortProbe { port, host: host.unwrap_or_else(|| "127.0.0.1".to_owned()), state, timeout })
}

fn file(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<FileProbe> {
    let fields = reader.fields(node, &FILE)?;
    let path = reader.required(&fields, "path", "a `file` probe").map(|node| reader.path(node));
    let state = fields.get("state").map_or(Presence::Present, |node| reader.choice(node, &PRESENCE));
    if state == Presence::Absent {
        for key in FILE.known.iter().filter(|key| !matches!(**key, "path" | "state")) {
            if let Some(entry) = fields.entry(key) {
                let message = format!("`{key}` says nothing about a file that is to be absent");
                reader.report(Diagnostic::error(code::POINTLESS_KEY, message).at(entry.key_span, "remove it"));
            }
        }
    }
    let min_size = reader.given(fields.get("min_size")).map(|node| {
        reader.parsed(node, "a number of bytes", 0, |text| {
            u64::try_from(whole_number(text)?).map_err(|_| format!("{} is less than nothing", quoted(text)))
        })
    });
    Some(FileProbe {
        path: path.unwrap_or_default(),
        state,
        newer_than: reader.given(fields.get("newer_than")).map(|node| reader.positive_duration(node)),
        older_than: reader.given(fields.get("older_than")).map(|node| reader.positive_duration(node)),
        min_size,
        mode: reader.given(fields.get("mode")).map(|node| reader.parsed(node, "a mode such as \"0640\"", 0, mode)),
        owner: reader.given(fields.get("owner")).map(|node| reader.filled_text(node, "a user")),
        contains: reader.given(fields.get("contains")).map(|node| reader.filled_text(node, "a text")),
    })
}

/// Four octal digits. Fewer are refused: without its zero `640` is a decimal number for every other reader of YAML.
fn mode(text: &str) -> Result<u32, String> {
    if text.len() == 4 && text.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        u32::from_str_radix(text, 8).map_err(|error| error.to_string())
    } else {
        Err(format!("{} is not a mode: expected four octal digits, such as \"0640\"", quoted(text)))
    }
}

fn data_dir(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<DataDirProbe> {
    let fields = reader.fields(node, &DATA_DIR)?;
    let path = reader.required(&fields, "path", "a `data_dir` probe").map(|node| reader.path(node));
    let server = reader.required(&fields, "server", "a `data_dir` probe");
    let names = server.map(|node| {
        let items = reader.list(node, "a list of names of executables").unwrap_or_default();
        if items.is_empty() && matches!(node.content, Content::Sequence(_)) {
            reader.wrong_value(node.span, "expected at least one name of an executable", "write `server: [postgres]`");
        }
        items.iter().map(|item| base_name(reader, item)).collect()
    });
    let states = [("in_use", DataDirState::InUse), ("free", DataDirState::Free)];
    let state = reader.required(&fields, "state", "a `data_dir` probe").map(|node| reader.choice(node, &states));
    Some(DataDirProbe {
        path: path.unwrap_or_default(),
        server: names.unwrap_or_default(),
        state: state.unwrap_or(DataDirState::InUse),
    })
}

fn command(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<CommandProbe> {
    let fields = reader.fields(node, &COMMAND)?;
    let run = reader.required(&fields, "run", "a `command` probe");
    let run = run.map(|node| argv(reader, node, "a program and its arguments")).unwrap_or_default();
    let look_in = fields.get("look_in").map(|node| look_in(reader, node)).unwrap_or_default();
    let holds = fields.get("holds").map(|node| (node, reader.exit_codes(node)));
    if let Some((node, codes)) = &holds
        && codes.is_empty()
        && matches!(node.content, Content::Sequence(_))
    {
        reader.wrong_value(node.span, "with no exit code the fact could never hold", "write `holds: [0]`");
    }
    let holds = holds.map_or_else(|| vec![0], |(_, codes)| codes);
    let broken = match fields.get("broken") {
        None => [1].into_iter().filter(|exit| !holds.contains(exit)).collect(),
        Some(node) => {
            let broken = reader.exit_codes(node);
            if let Some(both) = broken.iter().find(|exit| holds.contains(exit)) {
                let message = format!("exit code {both} cannot mean both that the fact holds and that it is broken");
                reader.wrong_value(node.span, message, "take it out of `holds` or out of `broken`");
            }
            broken
        }
    };
    Some(CommandProbe {
        run,
        look_in,
        holds,
        broken,
        stdout: reader.given(fields.get("stdout")).map(|node| pattern(reader, node)),
        user: reader.given(fields.get("user")).map(|node| reader.filled_text(node, "a user")),
        every: fields.get("every").map_or(EVERY, |node| reader.positive_duration(node)),
        timeout: fields.get("timeout").map_or(TIMEOUT, |node| reader.positive_duration(node)),
    })
}

fn look_in(reader: &mut Reader<'_>, node: &Node<'_>) -> Vec<String> {
    let mut folders = Vec::new();
    for item in reader.list(node, "a list of folders").unwrap_or_default() {
        if let Some(item) = reader.given(Some(item)) {
            folders.push(reader.path(item).to_string_lossy().into_owned());
        }
    }
    folders
}

fn pattern(reader: &mut Reader<'_>, node: &Node<'_>) -> String {
    let Some(word) = reader.word(node, "a regular expression", Templating::Plain) else { return String::new() };
    if word.certainty == Certainty::Known
        && let Err(error) = regex_lite::Regex::new(&word.text)
    {
        reader.wrong_value(word.span, format!("{} is not a regular expression: {error}", quoted(&word.text)), "");
    }
    word.text.into_owned()
}
