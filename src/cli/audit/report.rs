//! `interlock audit report`: one run as a file for those who were not there, or many runs at a glance.

mod many;
mod output;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::{SecondsFormat, Utc};
use clap::ValueEnum;

use super::unreadable;
use crate::audit::{self, Checkpoint, Home, PublicKey};
use crate::cli::failure::{Failure, put, say};
use crate::cli::whole::{self, Existing, Readers};
use crate::cli::{Format, Global};
use crate::diagnostic::escape::escape_line;
use crate::history::event::Event;
use crate::id::{Digest, RunId};
use crate::plan::{Plan, Procedure};
use crate::report::account::Account;
use crate::report::html::html;
use crate::report::json::json;
use crate::report::markdown::markdown;
use crate::report::provenance::{Anchor, Provenance};

/// How much is read of what is to be a checkpoint, in bytes.
const LONGEST_CHECKPOINT: u64 = 16 * 1024;
/// How much is read of what is to be a plan, in bytes.
const LONGEST_PLAN: u64 = 64 * 1024 * 1024;
/// How many runs that fit are told apart.
const MOST_FITTING: usize = 1000;

/// Writes one run down as a page for people, or says what many runs have in common.
///
/// The page of one run is a single file with nothing in it from elsewhere and no script: the verdict first, then the deviations, a timeline
/// to scale, who approved, each step with its evidence and output, and what proves it. Over many runs: how they ended, each deviation
/// with who and why, the time lost waiting, and the steps and facts that people leave out, are refused or wait for most.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["run", "since"])))]
#[command(after_help = "Examples:
  interlock audit report 019a8f6e -o run.html       one run, as a page for the post-mortem
  interlock audit report last -o run.md             the newest run, as Markdown
  interlock audit report last                       the same, here
  interlock audit report --since 30d                the last thirty days at a glance
  interlock audit report --since 2026-11-01 --until 2026-12-01 -o november.html
  interlock audit report --since 30d --format json | jq 'select(.about == \"deviation\")'

Exit codes: 0 written, 1 the log or what belongs to it cannot be read, 2 no such run, or the file cannot be written.")]
pub struct Report {
    /// The run's id, or the beginning of it; `last` is the newest
    run: Option<String>,
    /// Of all runs that did anything from this time on: a date, a time such as 2026-11-22T04:00:00Z (UTC), or so long ago, such as 30d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Up to this time, not at it any more [default: now]
    #[arg(long, value_name = "TIME", requires = "since")]
    until: Option<String>,
    /// Write it to this file, which must not exist; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// As what it is written [default: by the end of the file's name; on standard output Markdown for one run and text for many]
    #[arg(long, value_enum, value_name = "FORM")]
    r#as: Option<As>,
    /// Replace the file if it exists
    #[arg(long, requires = "output")]
    force: bool,
}

/// As what a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum As {
    Html,
    Markdown,
    Text,
    Json,
}

impl Report {
    pub(super) fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        let form = self.form(global)?;
        let text = match (&self.run, &self.since) {
            (Some(run), _) => {
                let (account, provenance) = gather(home, run)?;
                match form.unwrap_or(As::Markdown) {
                    As::Html => html(&account, &provenance),
                    As::Markdown | As::Text => markdown(&account, &provenance),
                    As::Json => format!("{}\n", json(&account, &provenance)),
                }
            }
            (None, since) => many::report(
                home,
                since.as_deref().unwrap_or_default(),
                self.until.as_deref(),
                form.unwrap_or(As::Text),
            )?,
        };
        self.write(global, &text)?;
        Ok(ExitCode::SUCCESS)
    }

    /// As what it is to be written; none where nothing says so.
    fn form(&self, global: &Global) -> Result<Option<As>, Failure> {
        if self.r#as.is_some() {
            return Ok(self.r#as);
        }
        let Some(path) = self.file() else {
            return Ok((global.format == Format::Json).then_some(As::Json));
        };
        match path.extension().and_then(|end| end.to_str()) {
            Some("html" | "htm") => Ok(Some(As::Html)),
            Some("md" | "markdown") => Ok(Some(As::Markdown)),
            Some("txt") => Ok(Some(As::Text)),
            Some("json" | "jsonl") => Ok(Some(As::Json)),
            Some(_) | None => Err(Failure::Wrong(format!(
                "what {} is to be cannot be told from its name; end it with .html, .md, .txt or .json, or say --as",
                path.display()
            ))),
        }
    }

    /// The file that it is written to; none for standard output.
    fn file(&self) -> Option<&Path> {
        self.output.as_deref().filter(|path| *path != Path::new("-"))
    }

    fn write(&self, global: &Global, text: &str) -> Result<(), Failure> {
        let Some(path) = self.file() else { return put(text) };
        whole::write_for(Readers::Owner, path, text.as_bytes(), Existing::by_force(self.force)).map_err(|error| {
            let hint = match error.kind() {
                std::io::ErrorKind::AlreadyExists => "; give another name, or --force to replace it",
                _ => "",
            };
            Failure::Wrong(format!("the report cannot be written to {}: {error}{hint}", path.display()))
        })?;
        let (digest, path) = (Digest::of(text.as_bytes()), path.display().to_string());
        match global.format {
            Format::Human => {
                put(&format!("{digest}  {}\n", escape_line(&path)))?;
                say("interlock: it holds what the steps wrote; only you can read it, until you give it away");
                Ok(())
            }
            Format::Json => put(&format!("{}\n", serde_json::json!({"report": path, "sha256": digest}))),
        }
    }
}

/// What the first way through the log finds.
struct Sought {
    run: RunId,
    plan: Option<Digest>,
    log: String,
    key: Option<String>,
    head: (u64, Digest),
}

/// Everything that a report of this run tells. The log is read twice, so that no more of it is kept than the run.
fn gather(home: &Home, given: &str) -> Result<(Account, Provenance), Failure> {
    let sought = seek(home, given)?;
    let procedure = match &sought.plan {
        Some(digest) => plan_of(home, &sought.run, digest),
        None => Err("it was refused before it had one".to_owned()),
    };
    let mut account = Account::new(sought.run.clone(), procedure.as_ref().map_err(Clone::clone));
    for found in audit::read(home).map_err(unreadable)? {
        let recorded = found.map_err(unreadable)?.recorded;
        if recorded.entry.seq > sought.head.0 {
            break;
        }
        if recorded.entry.run.as_ref() == Some(&sought.run) {
            let digest = Digest::of(recorded.line.as_bytes());
            account.take(recorded.entry, digest);
        }
    }
    account.finish();
    output::add_excerpts(home, &mut account);
    let last = account.last.as_ref().map_or(0, |(stamp, _)| stamp.seq);
    let provenance = Provenance {
        checkpoint: checkpoint(home, sought.key.as_deref(), last),
        log: sought.log,
        key: sought.key,
        head: sought.head,
        home: home.path().display().to_string(),
        made: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        program: env!("CARGO_PKG_VERSION"),
    };
    Ok((account, provenance))
}

fn seek(home: &Home, given: &str) -> Result<Sought, Failure> {
    // In the order in which they began, each with its plan.
    let mut fitting: Vec<(RunId, Option<Digest>)> = Vec::new();
    let mut more = 0_u64;
    let (mut log, mut key, mut last) = (String::new(), None, None);
    for found in audit::read(home).map_err(unreadable)? {
        let recorded = found.map_err(unreadable)?.recorded;
        if let Event::LogCreated { log: of, key: by, .. } = &recorded.entry.event {
            log.clone_from(of);
            key.clone_from(by);
        }
        if let Some(run) = &recorded.entry.run {
            let plan = match &recorded.entry.event {
                Event::RunOpened { plan, .. } => Some(Some(plan)),
                Event::RunRefused { .. } => Some(None),
                _ => None,
            };
            if given == "last" {
                match plan {
                    // The refusal of a run that was opened is no other run.
                    Some(plan) if fitting.last().is_none_or(|(other, _)| other != run) => {
                        fitting = vec![(run.clone(), plan.cloned())];
                    }
                    Some(_) | None => {}
                }
            } else if run.as_str().starts_with(given) {
                let plan = plan.flatten().cloned();
                match fitting.iter().position(|(other, _)| other == run) {
                    Some(at) if plan.is_some() => fitting[at].1 = plan,
                    Some(_) => {}
                    None if fitting.len() >= MOST_FITTING => more += 1,
                    None => fitting.push((run.clone(), plan)),
                }
            }
        }
        last = Some(recorded);
    }
    let Some(last) = last else { return Err(Failure::Wrong("the audit log has no entry yet".to_owned())) };
    let head = (last.entry.seq, Digest::of(last.line.as_bytes()));
    match fitting.as_slice() {
        [(run, plan)] => Ok(Sought { run: run.clone(), plan: plan.clone(), log, key, head }),
        [] if given == "last" => Err(Failure::Wrong("there is no run yet".to_owned())),
        [] => Err(Failure::Wrong(format!("there is no run `{given}`; `interlock audit log` lists them"))),
        several => {
            let names: Vec<String> = several.iter().take(5).map(|(run, _)| run.to_string()).collect();
            let count = if more > 0 { format!("more than {MOST_FITTING}") } else { several.len().to_string() };
            Err(Failure::Wrong(format!("`{given}` fits {count} runs; give more of the id: {}", names.join(", "))))
        }
    }
}

/// The plan of a run, if it still lies beside the log as it was recorded; else why not.
fn plan_of(home: &Home, run: &RunId, digest: &Digest) -> Result<Procedure, String> {
    let path = home.run(run).join("plan.yaml");
    let bytes = read_some(&path, LONGEST_PLAN)
        .map_err(|error| format!("{} cannot be read ({error}), so titles are missing", path.display()))?;
    if Digest::of(&bytes) != *digest {
        return Err(format!("{} IS NOT THE PLAN THAT WAS RUN: its digest is not the recorded one", path.display()));
    }
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    Plan::from_yaml(&text).map(Procedure::new).map_err(|error| error.to_string())
}

/// The smallest checkpoint beside the log that its key has signed and that speaks of this entry. Whether its root is that of the log is
/// for `verify` to say.
fn checkpoint(home: &Home, key: Option<&str>, entry: u64) -> Option<Anchor> {
    let keys: Vec<PublicKey> = key.and_then(|key| key.parse().ok()).into_iter().collect();
    let mut best: Option<Anchor> = None;
    for file in std::fs::read_dir(home.audit()).ok()?.flatten() {
        let path = file.path();
        if path.extension().is_none_or(|end| end != "checkpoint") {
            continue;
        }
        let Ok(note) = read_some(&path, LONGEST_CHECKPOINT) else { continue };
        let Ok((said, _)) = Checkpoint::open(&note, &keys) else { continue };
        if said.size >= entry && best.as_ref().is_none_or(|best| said.size < best.size) {
            let file = file.file_name().to_string_lossy().into_owned();
            best = Some(Anchor { file, size: said.size, note: String::from_utf8_lossy(&note).into_owned() });
        }
    }
    best
}

/// What a file holds, up to so many bytes; never a link, a pipe or a device.
fn read_some(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    output::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
