//! What is written in the file of a lock, and what became of the run that wrote it. Its log alone tells: where that cannot be asked, the
//! claim stands.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::audit::{self, Home, ReadError};
use crate::diagnostic::escape::escape_line;
use crate::history::clip::clip;
use crate::history::event::{ClaimedBy, Event};
use crate::history::state::{Phase, State, Verdict};
use crate::id::RunId;
use crate::plan::command_line;

/// The longest claim, in bytes.
pub(super) const LONGEST: u64 = 64 << 10;

/// Who holds a lock, as it is written in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The lock's name.
    pub lock: String,
    /// The run.
    pub run: RunId,
    /// The home that its log is in.
    pub home: PathBuf,
    /// The log, by the UUID in its `log_created`: another one in the same home knows nothing of the run. None in claims of before this
    /// was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Whether the run had begun when this was written. Not yet, in claims of before this was written.
    #[serde(default)]
    pub begun: Begun,
    /// The runbook's name.
    pub runbook: String,
    /// Who started it.
    pub user: String,
}

/// Whether the run of a claim is in its log. One digit in the file, so that it can be changed in place by one byte, and whatever a
/// power cut leaves is a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Begun {
    /// Its lock is claimed, and its opening was not recorded yet.
    #[default]
    NotYet,
    /// Its opening is recorded: a log that knows nothing of it was set back.
    Recorded,
}

impl From<Begun> for u8 {
    fn from(begun: Begun) -> Self {
        match begun {
            Begun::NotYet => 0,
            Begun::Recorded => 1,
        }
    }
}

impl TryFrom<u8> for Begun {
    type Error = String;

    fn try_from(digit: u8) -> Result<Self, String> {
        match digit {
            0 => Ok(Self::NotYet),
            1 => Ok(Self::Recorded),
            other => Err(format!("{other} is neither 0 nor 1")),
        }
    }
}

/// What stands in the file of a lock.
#[derive(Debug)]
pub(super) enum Written {
    /// Nothing: nobody claims the lock.
    Nothing,
    /// A claim.
    Claim(Claim),
    /// Something else: a claim that was damaged, or whose writing was cut off.
    Garbled,
}

/// What became of the run of a claim.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum RunOfClaim {
    /// By its log it is over, or never began; in words.
    Over(String),
    /// Its log knows it, and it is not over.
    Open,
    /// It cannot be brought to its end, for this reason.
    Gone(String),
    /// That cannot be told, for this reason.
    Unknown(String),
}

/// Reads what stands in the file of a lock.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(file: &mut File) -> io::Result<Written> {
    file.seek(SeekFrom::Start(0))?;
    let mut text = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut text)?;
    if text.is_empty() {
        return Ok(Written::Nothing);
    }
    Ok(serde_json::from_slice(&text).map_or(Written::Garbled, Written::Claim))
}

impl Claim {
    /// What became of its run, by its log. That it never began is believed of the log alone in which it would have begun. Its words are
    /// of one line.
    pub fn run(&self) -> RunOfClaim {
        let line = |text: String| escape_line(&text).to_string();
        match self.by_its_log() {
            RunOfClaim::Over(how) => RunOfClaim::Over(line(how)),
            RunOfClaim::Open => RunOfClaim::Open,
            RunOfClaim::Gone(how) => RunOfClaim::Gone(line(how)),
            RunOfClaim::Unknown(why) => RunOfClaim::Unknown(line(why)),
        }
    }

    fn by_its_log(&self) -> RunOfClaim {
        let place = self.home.display();
        let home = match Home::new(&self.home) {
            Ok(home) => home,
            Err(error) => return RunOfClaim::Unknown(format!("{place}: {error}")),
        };
        let cannot = |error: ReadError| match &error {
            ReadError::NoLog { .. } => RunOfClaim::Gone(format!("there is no audit log in {place}")),
            ReadError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                RunOfClaim::Gone(format!("there is no audit log in {place}"))
            }
            ReadError::Io { .. } | ReadError::ArchivedMeanwhile { .. } => RunOfClaim::Unknown(error.to_string()),
            ReadError::Damaged { .. } => RunOfClaim::Gone(format!("the audit log in {place} does not verify: {error}")),
        };
        if let Some(phase) = self.phase_by_its_entries(&home) {
            return self.standing(phase, None, false);
        }
        let reader = match audit::read(&home) {
            Ok(reader) => reader,
            Err(error) => return cannot(error),
        };
        let mut state = State::default();
        let mut log = match audit::archived(&home) {
            Ok(base) => base.map(|base| base.log().to_owned()),
            Err(error) => return cannot(error),
        };
        let archived = log.is_some();
        for found in reader {
            let entry = match found {
                Ok(found) => found.recorded.entry,
                Err(error) => return cannot(error),
            };
            if entry.run.as_ref() == Some(&self.run)
                && let Err(illegal) = state.apply(&entry.event)
            {
                return RunOfClaim::Gone(format!("the audit log in {place} does not verify: {illegal}"));
            }
            if let Event::LogCreated { log: id, .. } = entry.event {
                log.get_or_insert(id);
            }
        }
        self.standing(state.phase, log, archived)
    }

    /// Where its run stands by its own entries, without reading what is older; none where only the whole log can tell.
    fn phase_by_its_entries(&self, home: &Home) -> Option<Phase> {
        let found = audit::runs_with(home, self.run.as_str()).ok()?;
        let mut state = State::default();
        for line in found.iter().flat_map(|run| &run.lines) {
            state.apply(&line.event().ok()?).ok()?;
        }
        (state.phase != Phase::New).then_some(state.phase)
    }

    /// What that is for the claim, in a log of this id, of which older entries may have been archived.
    fn standing(&self, phase: Phase, log: Option<String>, archived: bool) -> RunOfClaim {
        let place = self.home.display();
        match phase {
            // Only runs that are over are archived.
            Phase::New if archived && self.log.is_some() && self.log == log => {
                RunOfClaim::Over(format!("by the audit log in {place} it is over and archived, or never began"))
            }
            Phase::New if self.log.is_some() && self.log == log => match self.begun {
                Begun::NotYet => RunOfClaim::Over(format!("by the audit log in {place} it never began")),
                Begun::Recorded => RunOfClaim::Gone(format!(
                    "the run was begun, and the audit log in {place} knows nothing of it, so it was set back to before the run"
                )),
            },
            Phase::New if self.log.is_some() => RunOfClaim::Gone(format!(
                "the audit log in {place} was made anew, and the one that its run is in is not there any more"
            )),
            Phase::New => RunOfClaim::Gone(format!("the audit log in {place} knows no such run")),
            Phase::Over(Verdict::Completed | Verdict::Undone | Verdict::Abandoned | Verdict::Refused(_)) => {
                RunOfClaim::Over(format!("by the audit log in {place} it is over"))
            }
            Phase::Over(Verdict::Halted(_))
            | Phase::Ready { .. }
            | Phase::Acting { .. }
            | Phase::Verifying { .. }
            | Phase::Failed { .. } => RunOfClaim::Open,
        }
    }

    /// The run, its runbook and who started it, as it is said in a line. Others may have written it.
    pub fn in_words(&self) -> String {
        format!("run {} of `{}` (by {})", self.run, escape_line(&self.runbook), escape_line(&self.user))
    }

    /// The commands that bring its run to its end.
    pub fn how_to_end(&self) -> String {
        let (run, home) = (self.run.as_str(), self.home.display().to_string());
        format!(
            "{}, {} or {}",
            command(&["resume", run, "--home", &home]),
            command(&["undo", run, "--home", &home]),
            command(&["abandon", run, "--reason", "WHY", "--home", &home])
        )
    }

    /// The command that tells of the runs in its home.
    pub fn how_to_see(&self) -> String {
        command(&["status", "--home", &self.home.display().to_string()])
    }

    /// As it is recorded.
    pub fn recorded(&self) -> ClaimedBy {
        ClaimedBy {
            run: self.run.clone(),
            home: clip(&self.home.display().to_string(), 4096),
            runbook: clip(&self.runbook, 4096),
            user: clip(&self.user, 4096),
        }
    }
}

/// The command that removes a lock whose run is gone.
pub(super) fn how_to_unlock(lock: &str) -> String {
    command(&["unlock", lock, "--reason", "WHY"])
}

fn command(words: &[&str]) -> String {
    let words: Vec<String> = ["interlock"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    format!("`{}`", escape_line(&command_line(&words)))
}
