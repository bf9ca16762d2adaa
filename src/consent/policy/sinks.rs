//! The `checkpoints` of a policy: where the signed checkpoints of the audit log are kept besides beside it.

use std::fmt;
use std::path::PathBuf;

use super::Duty;
use super::glass::command;
use super::read::Reader;
use super::rules::items;
use crate::yaml::read::{Fields, Keys, absolute_path};
use crate::yaml::tree::Node;

const RULE: Keys = Keys { of: "a rule of `checkpoints`", known: &["file", "syslog", "run", "required"], later: &[] };
const HELP: &str = "one of `file: /mnt/other/checkpoints`, `syslog: true` and `run: [/usr/local/bin/keep, argument]`";

/// A place that is given every checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointSink {
    /// Which.
    pub to: SinkTo,
    /// Whether a run begins without it.
    pub duty: Duty,
}

/// Where a checkpoint goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkTo {
    /// Into this folder, as a file of its own.
    Folder(PathBuf),
    /// To the system's log.
    Syslog,
    /// To a command, on its standard input.
    Command(Vec<String>),
}

impl fmt::Display for SinkTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "file {}", path.display()),
            Self::Syslog => f.write_str("syslog"),
            Self::Command(command) => write!(f, "run {}", command.join(" ")),
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<CheckpointSink> {
    let mut sinks: Vec<CheckpointSink> = Vec::new();
    for item in items(reader, fields, "checkpoints") {
        let Some(fields) = reader.fields(item, &RULE) else { continue };
        let duty = fields.get("required").map_or(Duty::Wanted, |node| match reader.truth(node) {
            true => Duty::Required,
            false => Duty::Wanted,
        });
        let Some(to) = place(reader, item, &fields) else { continue };
        if sinks.iter().any(|sink| sink.to == to) {
            reader.wrong_value(item.span, format!("`{to}` stands in the list twice"), "leave one of them out");
            continue;
        }
        sinks.push(CheckpointSink { to, duty });
    }
    sinks
}

/// The one place that a rule names.
fn place(reader: &mut Reader<'_>, item: &Node<'_>, fields: &Fields<'_>) -> Option<SinkTo> {
    match (fields.get("file"), fields.get("syslog"), fields.get("run")) {
        (Some(node), None, None) => {
            let path = |text: &str| absolute_path(text).map(PathBuf::from);
            reader.parsed(node, "the absolute path of a folder", path).map(SinkTo::Folder)
        }
        (None, Some(node), None) => {
            let wanted = reader.truth(node);
            if !wanted {
                reader.wrong_value(
                    node.span,
                    "this rule names no place",
                    "write `syslog: true`, or leave the rule out",
                );
            }
            wanted.then_some(SinkTo::Syslog)
        }
        (None, None, Some(node)) => command(reader, node).map(SinkTo::Command),
        (None, None, None) => {
            reader.wrong_value(item.span, "a rule of `checkpoints` names a place", HELP);
            None
        }
        (_, _, _) => {
            reader.wrong_value(item.span, "a rule of `checkpoints` names one place, and this one more", HELP);
            None
        }
    }
}
