//! Systems: of a built-in kind, or with states of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::super::code;
use super::super::kinds::{self, Library};
use super::super::model::{State, System};
use super::super::read::Reader;
use super::probes;
use crate::diagnostic::{Diagnostic, quoted, suggest};
use crate::id::{StateName, SystemName};
use crate::yaml::tree::Node;

/// The systems of a runbook, with what is known of their states.
#[derive(Debug, Default)]
pub(in crate::runbook) struct SystemTable {
    systems: BTreeMap<SystemName, (Option<BTreeSet<StateName>>, System)>,
}

impl SystemTable {
    /// The states of a system: `None` for one that is not declared, `Some(None)` for one that could not be made.
    pub(super) fn states(&self, name: &SystemName) -> Option<Option<&BTreeSet<StateName>>> {
        self.systems.get(name).map(|(states, _)| states.as_ref())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.systems.keys().map(SystemName::as_str)
    }

    pub(super) fn into_systems(self) -> BTreeMap<SystemName, System> {
        self.systems.into_iter().map(|(name, (_, system))| (name, system)).collect()
    }
}

/// Reads the section `systems`.
pub(super) fn lower(reader: &mut Reader<'_>, node: &Node<'_>, library: &Library, table: &mut SystemTable) {
    for entry in reader.mapping(node, "a mapping from names to systems").unwrap_or_default() {
        let made = system(reader, &entry.value, library);
        let name = match entry.key.parse::<SystemName>() {
            Ok(name) => name,
            Err(error) => {
                reader.report(Diagnostic::error(code::NAME, error.to_string()).at(entry.key_span, "not a name"));
                continue;
            }
        };
        let made = match made {
            Some(system) => (Some(system.states.keys().cloned().collect()), system),
            None => (None, System { kind: None, states: BTreeMap::new() }),
        };
        table.systems.insert(name, made);
    }
}

fn system(reader: &mut Reader<'_>, node: &Node<'_>, library: &Library) -> Option<System> {
    let entries = reader.mapping(node, "a system, such as `{monit: {}}` or `{states: …}`")?;
    let [entry] = entries else {
        let message = format!("a system has exactly one key, found {}", entries.len());
        let diagnostic =
            Diagnostic::error(code::WRONG_SHAPE, message).at(reader.first_line(node.span), "expected one key");
        reader.report(diagnostic.help("give a kind with its parameters, or `states` of its own"));
        return None;
    };
    if entry.key == "states" {
        return Some(System { kind: None, states: own_states(reader, &entry.value) });
    }
    if kinds::LATER.contains(&&*entry.key) {
        reader.not_yet(&entry.key, entry.key_span);
        return None;
    }
    let Some(source) = library.source(&entry.key) else {
        let mut names: Vec<&str> = library.names().collect();
        names.push("states");
        let mut diagnostic = Diagnostic::error(code::UNKNOWN_KIND, format!("there is no kind {}", quoted(&entry.key)))
            .at(entry.key_span, "unknown kind");
        diagnostic.help = suggest::did_you_mean(&entry.key, &names);
        reader.report(diagnostic);
        return None;
    };
    let states = kinds::instantiate(reader, source, entry)?;
    Some(System { kind: Some(entry.key.clone().into_owned()), states })
}

/// The states that stand under `states`.
pub(in crate::runbook) fn own_states(reader: &mut Reader<'_>, node: &Node<'_>) -> BTreeMap<StateName, State> {
    probes::states(reader, node).into_iter().map(|(name, (state, _))| (name, state)).collect()
}
