//! The check of a whole runbook: everything that can be known before anything runs. Pure.

use std::collections::BTreeMap;

use super::kinds::Library;
use super::lower::{self, RUNBOOK};
use super::model::{Param, Runbook};
use super::params::{self, Given, Value};
use super::read::{self, Dialect, GENRE};
use super::template::{Binding, Templates};
use super::{order, replaces, way_back};
use crate::diagnostic::{Diagnostic, Problems, Source};
use crate::yaml::tree::parse;

/// A runbook that passed.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The runbook, with every value filled in. Where [`Checked::missing`] is not empty, values that depend on the
    /// missing parameters are harmless stand-ins, and the runbook must not be run or planned.
    pub runbook: Runbook,
    /// Its parameters, in the order of the file.
    pub params: Vec<Param>,
    /// The values of all parameters that have one; never a secret.
    pub values: BTreeMap<String, Value>,
    /// Parameters that must be given and were not, in the order of the file.
    pub missing: Vec<String>,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// Checks a runbook with the values it is given. Parameters may be missing: then whatever does not depend on them is
/// checked.
///
/// # Errors
/// Every mistake of the runbook and of the given values, in the order of the file, warnings included; those without a
/// place in the file come last.
pub fn check(source: &Source, given: &Given) -> Result<Checked, Vec<Diagnostic>> {
    let mut problems = Problems::new();
    let Some(root) = parse(source, &GENRE, &mut problems) else { return Err(problems.into_vec()) };
    let mut reader = read::reader(source, Templates::new(BTreeMap::new()), problems, Dialect::Runbook);
    let Some(fields) = reader.fields(&root, &RUNBOOK) else { return Err(reader.problems.into_vec()) };
    reader.version(&fields, "a runbook");

    let declared = fields.get("params").map(|node| params::declare(&mut reader, node)).unwrap_or_default();
    let resolved = params::resolve(&declared, given, &mut reader.problems);
    // A script gets every parameter that has a place in its environment; one that has no value yet is empty here, and
    // such a runbook is never run.
    let scripts: BTreeMap<String, String> = resolved
        .bindings
        .iter()
        .filter_map(|(name, binding)| match binding {
            Binding::Known(value) => Some((name.clone(), value.text())),
            Binding::Missing(_) => Some((name.clone(), String::new())),
            Binding::Secret => None,
        })
        .collect();
    reader.rendering.templates = Templates::new(resolved.bindings);
    reader.rendering.defaults = given.defaults;

    let library = Library::built_in();
    let (runbook, places) = lower::runbook(&mut reader, &fields, &library, &scripts);
    order::prove(&runbook, &places, &mut reader.problems);
    way_back::prove(&runbook, &places, &mut reader.problems);
    way_back::missing(&runbook, &places, &mut reader.problems);
    replaces::pointless(&runbook, &places, &mut reader.problems);

    if reader.problems.has_errors() {
        return Err(reader.problems.into_vec());
    }
    Ok(Checked {
        runbook,
        params: declared.into_iter().map(|declared| declared.param).collect(),
        values: resolved.values,
        missing: resolved.missing,
        warnings: reader.problems.into_vec(),
    })
}
