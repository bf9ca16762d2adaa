//! `interlock audit`: what was done, and whether the record of it was changed.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

use crate::audit::{self, Anchors, Home, PublicKey, ReadError};
use crate::cli::failure::{Failure, put};
use crate::cli::{Format, Global, place};
use crate::consent::recorded;
use crate::diagnostic::escape::{escape_line, escape_text};
use crate::history::entry::Entry;
use crate::history::event::Event;
use crate::history::state::{Phase, State, Verdict};
use crate::id::{Digest, RunId};
use crate::plan::{Plan, Procedure};
use crate::report::story::{Teller, by_whom, cause_in_words};

/// How much is read of what is to be a checkpoint, in bytes.
const LONGEST_CHECKPOINT: u64 = 16 * 1024;

/// Reads the audit log: what was done, by whom, and whether the record was changed.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  interlock audit log --last 5
  interlock audit show 019a8f6e
  interlock audit verify")]
pub enum Audit {
    Log(List),
    Show(Show),
    Verify(Verify),
    Checkpoint(MakeCheckpoint),
}

/// Lists the runs, a line each, the newest last.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit log
  interlock audit log --last 5
  interlock audit log --format json | jq 'select(.verdict != \"completed\")'")]
pub struct List {
    /// Only this many, the newest
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

/// Tells the story of a run: each step with its evidence, as it was recorded.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit show 019a8f6e-…                   the whole id, or as much of it as is unique
  interlock audit show 019a8f6e --format json       the entries as they are logged")]
pub struct Show {
    /// The run's id, or the beginning of it
    run: String,
}

/// Checks every entry of the log: nothing changed, removed, inserted or out of order.
///
/// It only reads, and trusts nothing that the writing part of the program says. docs/audit-format.md says how to do the
/// same with standard tools.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit verify
  interlock audit verify --checkpoint /mnt/other/host.checkpoint
  interlock audit verify --format json

Exit codes: 0 nothing wrong, 11 the log does not verify, 1 it cannot be read.")]
pub struct Verify {
    /// Also hold the log against this checkpoint, which was kept elsewhere; may be given many times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The public key of the log, as it was kept elsewhere: `<name>+<fingerprint>+<key>`
    #[arg(long, value_name = "KEY")]
    key: Vec<PublicKey>,
}

/// Signs how long the log is and what is in it, for keeping elsewhere.
///
/// Whoever keeps the text on another machine can show later that up to this entry nothing was changed, cut off or made anew:
/// `interlock audit verify --checkpoint FILE`. One is made after each run, too, and lies beside the log. The text is a C2SP
/// tlog-checkpoint.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit checkpoint > host.checkpoint
  interlock audit checkpoint | ssh elsewhere 'cat > host.checkpoint'
  interlock audit checkpoint --format json | jq -r .entries")]
pub struct MakeCheckpoint {}

impl Audit {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let home = place::home(global)?;
        match self {
            Self::Log(list) => list.go(global, &home),
            Self::Show(show) => show.go(global, &home),
            Self::Verify(verify) => verify.go(global, &home),
            Self::Checkpoint(checkpoint) => checkpoint.go(global, &home),
        }
    }
}

/// What `audit log` says of a run.
struct Summary {
    run: RunId,
    began: String,
    runbook: String,
    operator: String,
    state: State,
    /// The event that could not follow, if one was found.
    illegal: Option<String>,
}

impl List {
    fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        let mut order = Vec::new();
        let mut runs: BTreeMap<RunId, Summary> = BTreeMap::new();
        for found in audit::read(home).map_err(unreadable)? {
            let entry = found.map_err(unreadable)?.recorded.entry;
            let Some(run) = &entry.run else { continue };
            let summary = runs.entry(run.clone()).or_insert_with(|| {
                order.push(run.clone());
                Summary {
                    run: run.clone(),
                    began: entry.time.clone(),
                    runbook: String::new(),
                    operator: format!("{}@{}", by_whom(&entry.who), entry.who.host),
                    state: State::default(),
                    illegal: None,
                }
            });
            summary.take(&entry);
        }
        let skipped = self.last.map_or(0, |last| order.len().saturating_sub(last));
        for run in order.iter().skip(skipped) {
            if let Some(summary) = runs.get(run) {
                put(&summary.line(global.format))?;
            }
        }
        if order.is_empty() && global.format == Format::Human {
            put("no runs yet\n")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Summary {
    fn take(&mut self, entry: &Entry) {
        if let Event::RunOpened { runbook, .. } | Event::RunRefused { runbook, .. } = &entry.event {
            self.runbook.clone_from(runbook);
        }
        if let Err(illegal) = self.state.apply(&entry.event) {
            self.illegal.get_or_insert(illegal.to_string());
        }
    }

    fn verdict(&self) -> (&'static str, String) {
        if let Some(illegal) = &self.illegal {
            return ("illegal", illegal.clone());
        }
        match self.state.phase {
            Phase::Over(Verdict::Completed) => match self.state.overrides.used.len() {
                0 => ("completed", String::new()),
                1 => ("completed", "with 1 DEVIATION".to_owned()),
                more => ("completed", format!("with {more} DEVIATIONS")),
            },
            Phase::Over(Verdict::Undone) => ("undone", String::new()),
            Phase::Over(Verdict::Abandoned) => ("abandoned", String::new()),
            Phase::Over(Verdict::Halted(cause)) => ("halted", cause_in_words(cause).to_owned()),
            Phase::Over(Verdict::Refused(cause)) => ("refused", cause_in_words(cause).to_owned()),
            Phase::New
            | Phase::Ready { .. }
            | Phase::Acting { .. }
            | Phase::Verifying { .. }
            | Phase::Failed { .. } => {
                let at = self.state.steps.last().map(|step| format!("at step `{}`", step.id)).unwrap_or_default();
                ("open", at)
            }
        }
    }

    fn line(&self, format: Format) -> String {
        let (verdict, why) = self.verdict();
        match format {
            Format::Human => format!(
                "{}  {}  {:<9}  {}  by {}{}\n",
                self.run,
                &self.began.get(..19).unwrap_or(&self.began).replace('T', " "),
                verdict,
                escape_line(&self.runbook),
                escape_line(&self.operator),
                if why.is_empty() { String::new() } else { format!("  ({})", escape_line(&why)) },
            ),
            Format::Json => {
                let line = serde_json::json!({
                    "run": self.run, "began": self.began, "verdict": verdict, "why": why,
                    "runbook": self.runbook, "operator": self.operator,
                });
                format!("{line}\n")
            }
        }
    }
}

impl Show {
    fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        let run = self.find(home)?;
        let procedure = match plan_digest(home, &run)? {
            Some(digest) if global.format == Format::Human => plan_of(home, &run, &digest)?,
            Some(_) | None => None,
        };
        let mut teller = Teller::new(procedure.map(Arc::new));
        let mut first = true;
        for found in audit::read(home).map_err(unreadable)? {
            let recorded = found.map_err(unreadable)?.recorded;
            if recorded.entry.run.as_ref() != Some(&run) {
                continue;
            }
            if global.format == Format::Json {
                put(&format!("{}\n", recorded.line))?;
                continue;
            }
            if first {
                put(&format!("run {run}, {}\n", escape_line(recorded.entry.time.get(..10).unwrap_or_default())))?;
                first = false;
            }
            let time = recorded.entry.time.get(11..23).unwrap_or(&recorded.entry.time);
            for (at, line) in teller.tell(&recorded.entry).iter().enumerate() {
                let margin = if at == 0 { escape_line(time).into_owned() } else { " ".repeat(12) };
                put(&format!("{margin}  {line}\n"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The run that is meant: the whole id, or a beginning that only one run has.
    fn find(&self, home: &Home) -> Result<RunId, Failure> {
        let mut matching: Vec<RunId> = Vec::new();
        for found in audit::read(home).map_err(unreadable)? {
            if let Some(run) = found.map_err(unreadable)?.recorded.entry.run
                && run.as_str().starts_with(&self.run)
                && matching.last() != Some(&run)
                && !matching.contains(&run)
            {
                matching.push(run);
            }
        }
        match matching.as_slice() {
            [run] => Ok(run.clone()),
            [] => Err(Failure::Wrong(format!("there is no run `{}`; `interlock audit log` lists them", self.run))),
            several => Err(Failure::Wrong(format!(
                "`{}` fits {} runs; give more of the id: {}",
                self.run,
                several.len(),
                several.iter().take(5).map(RunId::to_string).collect::<Vec<_>>().join(", ")
            ))),
        }
    }
}

impl Verify {
    fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        let mut states: BTreeMap<RunId, State> = BTreeMap::new();
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
        let report = audit::verify_against(home, &anchors, |run, event| {
            let state = states.entry(run.clone()).or_default();
            state.apply(event).map_err(|illegal| illegal.to_string())?;
            if let Event::ApprovalAccepted(approval) = event {
                recorded::fits(approval)?;
            }
            match state.phase {
                // It may be taken up again, from where it stands.
                Phase::Over(Verdict::Halted(_))
                | Phase::New
                | Phase::Ready { .. }
                | Phase::Acting { .. }
                | Phase::Verifying { .. }
                | Phase::Failed { .. } => {}
                // Nothing may follow, and to know that, the phase is enough.
                Phase::Over(Verdict::Completed | Verdict::Undone | Verdict::Abandoned | Verdict::Refused(_)) => {
                    *state = State { phase: state.phase, ..State::default() }
                }
            }
            Ok(())
        })
        .map_err(unreadable)?;
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
                });
                put(&format!("{line}\n"))?;
            }
        }
        Ok(if report.verifies() { ExitCode::SUCCESS } else { ExitCode::from(11) })
    }
}

impl MakeCheckpoint {
    fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        // Where there is no log there is nothing to sign, and none is made for it.
        audit::read(home).map_err(unreadable)?;
        let made = audit::checkpoint(home).map_err(|error| Failure::Internal(error.to_string()))?;
        match global.format {
            Format::Human => put(&made.note)?,
            Format::Json => {
                let line = serde_json::json!({
                    "entries": made.size, "checkpoint": made.note, "path": made.path.display().to_string(),
                });
                put(&format!("{line}\n"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The digest of the plan that a run was opened with.
fn plan_digest(home: &Home, run: &RunId) -> Result<Option<Digest>, Failure> {
    for found in audit::read(home).map_err(unreadable)? {
        let entry = found.map_err(unreadable)?.recorded.entry;
        if let (Some(of), Event::RunOpened { plan, .. }) = (&entry.run, &entry.event)
            && of == run
        {
            return Ok(Some(plan.clone()));
        }
    }
    Ok(None)
}

/// The plan of a run, if it still lies beside the log as it was recorded.
fn plan_of(home: &Home, run: &RunId, digest: &Digest) -> Result<Option<Procedure>, Failure> {
    let path = home.run(run).join("plan.yaml");
    let Ok(bytes) = std::fs::read(&path) else {
        put(&format!("      the plan is not in {} any more, so titles are missing\n", path.display()))?;
        return Ok(None);
    };
    if Digest::of(&bytes) != *digest {
        put(&format!("      {} IS NOT THE PLAN THAT WAS RUN: its digest is not the recorded one\n", path.display()))?;
        return Ok(None);
    }
    let plan = String::from_utf8(bytes).ok().and_then(|text| Plan::from_yaml(&text).ok());
    Ok(plan.map(Procedure::new))
}

fn unreadable(error: ReadError) -> Failure {
    Failure::Internal(error.to_string())
}
