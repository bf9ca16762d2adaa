//! Archives that are verified together with the log that they are of: each as a log, and that they join on to each other and to it.

use std::path::{Path, PathBuf};

use super::unreadable;
use super::verify::whole;
use crate::audit::archive::{Joint, Span, joins};
use crate::audit::{self, Anchors, Checkpoint, Files, Finding, Home, Kind, Report, Severity};
use crate::cli::Global;
use crate::cli::failure::Failure;

/// Archives that were looked at.
pub(super) struct Archives {
    looked_at: Vec<(Span, Report)>,
    /// What was kept elsewhere of the log itself: which speaks of no entry of these archives.
    pub(super) rest: Anchors,
}

impl Archives {
    /// Verifies each, with the checkpoints that were kept elsewhere of entries in it.
    pub(super) fn look(
        global: &Global,
        folders: &[PathBuf],
        anchors: &Anchors,
        files: Files,
        signers: Option<&Path>,
    ) -> Result<Self, Failure> {
        let mut looked_at = Vec::with_capacity(folders.len());
        let mut rest = Anchors { checkpoints: anchors.checkpoints.clone(), keys: anchors.keys.clone() };
        for folder in folders {
            let name = folder.display().to_string();
            let home = Home::new(folder).map_err(|error| Failure::Wrong(format!("{name}: {error}")))?;
            let begins = audit::archived(&home).map_err(unreadable)?.map(|base| Joint::begins(&base));
            let of_it = |size: u64| begins.as_ref().is_none_or(|joint| joint.entries() < size);
            let last = audit::head(&home).map_err(unreadable)?.map_or(0, |(last, _)| last);
            let (here, others) = rest.checkpoints.into_iter().partition(|(_, note)| {
                Checkpoint::claimed(note).is_ok_and(|checkpoint| of_it(checkpoint.size) && checkpoint.size <= last)
            });
            rest.checkpoints = others;
            // By which key an archive was signed is told by the log that goes on from it.
            let anchors = Anchors { checkpoints: here, keys: Vec::new() };
            let (report, _) = whole(global, &home, &anchors, files, signers)?;
            looked_at.push((Span { name, begins, ends: Joint::ends(&report) }, report));
        }
        Ok(Self { looked_at, rest })
    }

    /// Adds what was found to what was found in the log, which begins here.
    pub(super) fn join(&self, report: &mut Report, log_begins: Option<&Joint>) {
        if self.looked_at.is_empty() {
            return;
        }
        for (span, found) in &self.looked_at {
            let of_it =
                |finding: &Finding| Finding { file: format!("{}/{}", span.name, finding.file), ..finding.clone() };
            report.findings.extend(found.findings.iter().map(of_it));
            report.more_failures += found.more_failures;
            let (first, last) =
                (span.begins.as_ref().map_or(1, |joint| joint.entries() + 1), found.tree.map_or(0, |tree| tree.0));
            let verdict = if found.verifies() { "verify" } else { "DO NOT VERIFY" };
            report.remarks.push(format!("entries {first} to {last}, in {}, {verdict}", span.name));
        }
        let spans: Vec<Span> = self.looked_at.iter().map(|(span, _)| span.clone()).collect();
        for (file, text) in joins(&spans, log_begins) {
            report.findings.push(Finding {
                severity: Severity::Failure,
                kind: Kind::Missing,
                file,
                line: None,
                entry: None,
                run: None,
                text,
            });
        }
    }

    /// The same for programs.
    pub(super) fn in_json(&self) -> Vec<serde_json::Value> {
        let one = |(span, report): &(Span, Report)| {
            serde_json::json!({
                "folder": span.name, "verifies": report.verifies(), "entries": report.entries,
                "first": span.begins.as_ref().map_or(1, |joint| joint.entries() + 1),
                "last": report.tree.map(|(last, _)| last),
            })
        };
        self.looked_at.iter().map(one).collect()
    }
}
