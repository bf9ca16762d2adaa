//! `interlock audit verify`: whether the record was changed.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::signatures::{Of, Signatures};
use super::unreadable;
use crate::audit::{self, Anchors, Home, Objection, PublicKey};
use crate::cli::failure::{Failure, put};
use crate::cli::{Format, Global};
use crate::diagnostic::escape::escape_text;
use crate::history::state::{Phase, State, Verdict};
use crate::history::unlocked::Unlocked;
use crate::id::RunId;

/// How much is read of what is to be a checkpoint, in bytes.
const LONGEST_CHECKPOINT: u64 = 16 * 1024;

/// Checks every entry of the log: nothing changed, removed, inserted or out of order; and every signature in it.
///
/// Signatures are checked over the plans and requests that are kept beside the log, by the keys that were kept with them. It only reads, and trusts nothing that the writing part of the program has stored. docs/audit-format.md says how to do the
/// same with standard tools.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit verify
  interlock audit verify --checkpoint /mnt/other/host.checkpoint --signers my_allowed_signers
  interlock audit verify --format json

Exit codes: 0 nothing wrong, 11 the log does not verify, 1 it cannot be read, 2 a file that was given is wrong.")]
pub struct Verify {
    /// Also hold the log against this checkpoint, which was kept elsewhere; may be given many times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The public key of the log, as it was kept elsewhere: `<name>+<fingerprint>+<key>`
    #[arg(long, value_name = "KEY")]
    key: Vec<PublicKey>,
    /// Also check each signature by the keys that this file says are whose (OpenSSH's allowed_signers), at the time of its entry
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
}

impl Verify {
    pub(super) fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        let mut states: BTreeMap<RunId, State> = BTreeMap::new();
        let mut unlocked = Unlocked::default();
        let mut signatures = Signatures::new(global, home, self.signers.as_deref())?;
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
        let mut report = audit::verify_against(home, &anchors, |run, time, event| {
            let Some(run) = run else {
                unlocked.apply(event).map_err(|illegal| Objection::Illegal(illegal.to_string()))?;
                return signatures.look(Of { run, plan: None, time }, event).map_err(Objection::NotBorneOut);
            };
            let state = states.entry(run.clone()).or_default();
            state.apply(event).map_err(|illegal| Objection::Illegal(illegal.to_string()))?;
            let of = Of { run: Some(run), plan: state.plan.as_ref(), time };
            let borne_out = signatures.look(of, event).map_err(Objection::NotBorneOut);
            match state.phase {
                // It may be taken up again, from where it stands.
                Phase::Over(Verdict::Halted(_))
                | Phase::New
                | Phase::Ready { .. }
                | Phase::Acting { .. }
                | Phase::Verifying { .. }
                | Phase::Failed { .. } => {}
                Phase::Over(Verdict::Completed | Verdict::Undone | Verdict::Abandoned | Verdict::Refused(_)) => {
                    *state = state.what_remains();
                }
            }
            borne_out
        })
        .map_err(unreadable)?;
        report.remarks.extend(signatures.in_words());
        match global.format {
            Format::Human => put(&format!("{}\n", escape_text(report.to_string().trim_end())))?,
            Format::Json => {
                for finding in &report.findings {
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
                let head =
                    report.head.as_ref().map(|(seq, digest)| serde_json::json!({"entry": seq, "sha256": digest}));
                let line = serde_json::json!({
                    "verifies": report.verifies(), "entries": report.entries, "runs": report.runs,
                    "segments": report.segments, "head": head,
                    "anchored": report.anchored.as_ref().map(|(entry, _)| entry),
                    "anchored_beside": report.anchored_beside.as_ref().map(|(entry, _)| entry),
                    "signatures": signatures.in_json(),
                });
                put(&format!("{line}\n"))?;
            }
        }
        Ok(if report.verifies() { ExitCode::SUCCESS } else { ExitCode::from(11) })
    }
}
