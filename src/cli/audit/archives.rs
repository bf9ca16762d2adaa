//! Archives that are verified together with the log that they are of: each as a log, and that they join on to each other and to it.

use std::path::{Path, PathBuf};

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
    /// Verifies each, with the checkpoints that were kept elsewhere of entries in it. The log goes on after so many entries.
    pub(super) fn look(
        global: &Global,
        folders: &[PathBuf],
        anchors: &Anchors,
        log_begins: Option<&Joint>,
        files: Files,
        signers: Option<&Path>,
    ) -> Result<Self, Failure> {
        let mut homes = Vec::with_capacity(folders.len());
        for folder in folders {
            let name = folder.display().to_string();
            let home = Home::new(folder).map_err(|error| Failure::Wrong(format!("{name}: {error}")))?;
            // One that cannot be believed is a finding, like everything that is wrong there.
            let begins = audit::archived(&home).ok().flatten().map(|base| Joint::begins(&base));
            homes.push((name, home, begins));
        }
        homes.sort_by_key(|(_, _, begins)| after(begins.as_ref()));
        let ends: Vec<u64> = homes.iter().skip(1).map(|(_, _, begins)| after(begins.as_ref())).collect();
        let ends = ends.into_iter().chain([after(log_begins)]);
        let mut looked_at = Vec::with_capacity(folders.len());
        let mut rest = Anchors { checkpoints: anchors.checkpoints.clone(), keys: anchors.keys.clone() };
        for ((name, home, begins), last) in homes.iter().zip(ends) {
            let (here, others) = rest.checkpoints.into_iter().partition(|(_, note)| {
                Checkpoint::claimed(note)
                    .is_ok_and(|checkpoint| after(begins.as_ref()) < checkpoint.size && checkpoint.size <= last)
            });
            rest.checkpoints = others;
            // By which key an archive was signed is told by the log that goes on from it.
            let anchors = Anchors { checkpoints: here, keys: Vec::new() };
            let (report, _) = whole(global, home, &anchors, files, signers)?;
            let span = Span { name: name.clone(), begins: begins.clone(), ends: Joint::ends(&report) };
            looked_at.push((span, report));
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

/// How many entries come before it.
fn after(begins: Option<&Joint>) -> u64 {
    begins.map_or(0, Joint::entries)
}
