//! `interlock audit verify`: whether the record was changed.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::archives::Archives;
use super::signatures::{Kept, Of, Signatures};
use super::unreadable;
use crate::audit::archive::Joint;
use crate::audit::{self, Anchors, Bundle, BundleReport, Files, Finding, Home, Known, Objection, PublicKey, Report};
use crate::cli::failure::{Failure, put};
use crate::cli::{Format, Global, place};
use crate::diagnostic::escape::escape_text;
use crate::history::ledger::Ledger;

/// How much is read of what is to be a checkpoint, in bytes.
const LONGEST_CHECKPOINT: u64 = 16 * 1024;

/// Checks every entry of the log: nothing changed, removed, inserted or out of order; and every signature in it.
///
/// Signatures are checked over the plans and requests that are kept beside the log, by the keys that were kept with them. It only reads, and
/// trusts nothing that the writing part of the program has stored. Given a bundle (`interlock audit bundle`), it checks that alone, with no
/// home, on any machine. docs/audit-format.md says how to do the same with standard tools.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit verify
  interlock audit verify --checkpoint /mnt/other/host.checkpoint --signers my_allowed_signers
  interlock audit verify --archive /srv/archives/0193…-1-48211 --archive /srv/archives/0193…-48212-97530
  interlock audit verify --format json
  interlock audit verify run.bundle --key interlock/019a…+d5bf3aca+AWZ…

Exit codes: 0 nothing wrong, 11 the log does not verify, 1 it cannot be read, 2 a file that was given is wrong.")]
pub struct Verify {
    /// A bundle of a run, to be checked in the place of the log
    bundle: Option<PathBuf>,
    /// Also hold the log against this checkpoint, which was kept elsewhere; may be given many times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The public key of the log, as it was kept elsewhere: `<name>+<fingerprint>+<key>`
    #[arg(long, value_name = "KEY")]
    key: Vec<PublicKey>,
    /// Also check each signature by the keys that this file says are whose (OpenSSH's allowed_signers), at the time of its entry
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
    /// Also check this archive of the log, and that it joins on; may be given many times
    #[arg(long, value_name = "DIR", conflicts_with = "bundle")]
    archive: Vec<PathBuf>,
    /// Only the entries: not the plans, policies and transcripts that they name, such as where only the log was copied
    #[arg(long, conflicts_with = "bundle")]
    entries_only: bool,
}

impl Verify {
    fn files(&self) -> Files {
        if self.entries_only { Files::NotLookedAt } else { Files::LookedAt }
    }

    pub(super) fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let anchors = self.anchors()?;
        match &self.bundle {
            Some(path) => self.bundle(global, path, &anchors),
            // A bundle needs no home.
            None => self.log(global, &place::home(global)?, &anchors),
        }
    }

    /// What was kept elsewhere.
    fn anchors(&self) -> Result<Anchors, Failure> {
        let mut anchors = Anchors { checkpoints: Vec::new(), keys: self.key.clone() };
        for path in &self.checkpoint {
            let read = std::fs::File::open(path).and_then(|file| {
                let mut bytes = Vec::new();
                file.take(LONGEST_CHECKPOINT).read_to_end(&mut bytes)?;
                Ok(bytes)
            });
            let note = read.map_err(|error| Failure::Wrong(format!("{}: {error}", path.display())))?;
            anchors.checkpoints.push((path.display().to_string(), note));
        }
        Ok(anchors)
    }

    /// Checks a bundle.
    fn bundle(&self, global: &Global, path: &Path, anchors: &Anchors) -> Result<ExitCode, Failure> {
        let opened = Bundle::open(path).map_err(|error| Failure::Wrong(error.to_string()))?;
        let bundle = match opened {
            Ok(bundle) => bundle,
            Err(problem) => return say_of_bundle(global, &BundleReport::of_no_bundle(&problem), None),
        };
        let (report, signatures) = checked(global, &bundle, anchors, self.signers.as_deref())?;
        say_of_bundle(global, &report, Some(signatures))
    }

    /// Checks the log of the home.
    fn log(&self, global: &Global, home: &Home, anchors: &Anchors) -> Result<ExitCode, Failure> {
        let joint = audit::archived(home).ok().flatten().map(|base| Joint::begins(&base));
        let (files, signers) = (self.files(), self.signers.as_deref());
        let archives = Archives::look(global, &self.archive, anchors, joint.as_ref(), files, signers)?;
        let (mut report, signatures) = whole(global, home, &archives.rest, files, signers)?;
        archives.join(&mut report, joint.as_ref());
        if self.entries_only {
            let remark = "the files that entries name, such as plans and transcripts, were not looked at";
            report.remarks.push(remark.to_owned());
        }
        report.remarks.extend(signatures.in_words());
        match global.format {
            Format::Human => put(&format!("{}\n", escape_text(report.to_string().trim_end())))?,
            Format::Json => {
                put_findings(&report.findings)?;
                let head =
                    report.head.as_ref().map(|(seq, digest)| serde_json::json!({"entry": seq, "sha256": digest}));
                let line = serde_json::json!({
                    "verifies": report.verifies(), "entries": report.entries, "runs": report.runs,
                    "segments": report.segments, "head": head,
                    "anchored": report.anchored.as_ref().map(|(entry, _)| entry),
                    "anchored_beside": report.anchored_beside.as_ref().map(|(entry, _)| entry),
                    "signatures": signatures.in_json(),
                    "archived": report.archived.as_ref().map(|archived| archived.entries), "archives": archives.in_json(),
                });
                put(&format!("{line}\n"))?;
            }
        }
        Ok(if report.verifies() { ExitCode::SUCCESS } else { ExitCode::from(11) })
    }
}

/// Checks the whole log of a home, with people's signatures in it; and gives what there is to say of these.
pub(super) fn whole<'a>(
    global: &Global,
    home: &'a Home,
    anchors: &Anchors,
    files: Files,
    signers: Option<&Path>,
) -> Result<(Report, Signatures<'a>), Failure> {
    let mut runs = Ledger::default();
    // What stands for archived entries is looked at there; where it is wrong, so is the log.
    let mut unlocked = audit::archived(home).ok().flatten().map(|base| base.unlocked().clone()).unwrap_or_default();
    let mut signatures = Signatures::new(global, Kept::Beside(home), signers)?;
    let mut report = audit::verify_against(home, anchors, files, |run, time, event| {
        let Some(run) = run else {
            unlocked.apply(event).map_err(|illegal| Objection::Illegal(illegal.to_string()))?;
            return signatures.look(Of { run, state: None, time }, event).map_err(Objection::NotBorneOut);
        };
        let looked = runs.apply(run, event, |state| {
            let of = Of { run: Some(run), state: Some(state), time };
            signatures.look(of, event).map_err(Objection::NotBorneOut)
        });
        looked.map_err(|illegal| Objection::Illegal(illegal.to_string()))?
    })
    .map_err(unreadable)?;
    report.runs = runs.runs();
    // Hardly ever, and then the whole log is read once more.
    if let Some(mut doubts) = runs.of_doubts() {
        let again = audit::verify(home, |run, _, event| {
            let illegal = run.and_then(|run| doubts.apply(run, event).err());
            illegal.map_or(Ok(()), |illegal| Err(Objection::Illegal(illegal.to_string())))
        });
        report.look_again(again.map_err(unreadable)?);
        report.runs += doubts.runs();
    }
    Ok((report, signatures))
}

/// Checks a bundle, with people's signatures in it; and gives what is to be said of these to programs.
pub(super) fn checked(
    global: &Global,
    bundle: &Bundle,
    anchors: &Anchors,
    signers: Option<&Path>,
) -> Result<(BundleReport, serde_json::Value), Failure> {
    let mut signatures = Signatures::new(global, Kept::In(bundle), signers)?;
    let mut report = audit::verify_bundle(bundle, anchors, |run, state, time, event| {
        signatures.look(Of { run: Some(run), state: Some(state), time }, event)
    });
    report.report.remarks.extend(signatures.in_words());
    Ok((report, signatures.in_json()))
}

/// Says what was found of a bundle.
fn say_of_bundle(
    global: &Global,
    found: &BundleReport,
    signatures: Option<serde_json::Value>,
) -> Result<ExitCode, Failure> {
    match global.format {
        Format::Human => put(&format!("{}\n", escape_text(found.to_string().trim_end())))?,
        Format::Json => {
            put_findings(&found.report.findings)?;
            let line = serde_json::json!({
                "verifies": found.report.verifies(), "run": found.run, "state": found.state,
                "entries": found.report.entries, "between": found.between, "log": found.log,
                "log_entries": found.log_entries,
                "signed_by": found.signed.as_ref().map(|(key, _)| key.to_string()),
                "key_was_given": matches!(found.signed, Some((_, Known::FromElsewhere))),
                "signatures": signatures,
            });
            put(&format!("{line}\n"))?;
        }
    }
    Ok(if found.report.verifies() { ExitCode::SUCCESS } else { ExitCode::from(11) })
}

/// Each finding as one JSON object.
fn put_findings(findings: &[Finding]) -> Result<(), Failure> {
    for finding in findings {
        let severity = match finding.severity {
            audit::Severity::Failure => "failure",
            audit::Severity::Note => "note",
        };
        let line = serde_json::json!({
            "severity": severity, "file": finding.file, "line": finding.line, "entry": finding.entry,
            "run": finding.run, "text": finding.text,
        });
        put(&format!("{line}\n"))?;
    }
    Ok(())
}
