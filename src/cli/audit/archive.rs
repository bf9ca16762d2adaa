//! `interlock audit archive`: the oldest part of the log is moved out of the home, with its proofs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::unreadable;
use super::verify::whole;
use crate::audit::archive::{ArchiveError, Chosen, Finished, Limits, choose, finish, make, remove};
use crate::audit::{self, Anchors, Files, Home, Log};
use crate::cli::failure::{Failure, put, say};
use crate::cli::in_force::InForce;
use crate::cli::{Format, Global, place, sinks};
use crate::diagnostic::escape::escape_text;
use crate::history::clip::clip;
use crate::id::Moment;

/// Moves the oldest segments of the log, and the runs that are whole in them, into a folder of their own.
///
/// Only runs that are over, and reviewed where they have to be, are moved; one finished segment stays at least. The archive can be read like a
/// home (`interlock --home ARCHIVE audit …`), on any machine, and nothing can be written into it. What stays says how the log goes on from it,
/// so everything that the log shows it still shows. Everything is verified before anything is moved, and the copy before anything is removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit archive --to /srv/archives --dry-run
  interlock audit archive --to /srv/archives --before 2026-01-01T00:00:00Z --reason 'yearly'
  interlock audit archive --to /srv/archives --keep-segments 100

Exit codes: 0 archived, or nothing to do, 1 the log or the folder cannot be used, 2 the command line is wrong, 4 not allowed, 11 the log
does not verify.")]
pub struct MakeArchive {
    /// The folder in which the archive is made, as a folder of its own; it must be there, and outside the home
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Only entries from before this time (UTC), such as 2026-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "keep_segments")]
    before: Option<Moment>,
    /// How many finished segments stay at least, besides the one that is being written
    #[arg(long, value_name = "N", default_value_t = 1)]
    keep_segments: usize,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only say what would be archived
    #[arg(long)]
    dry_run: bool,
}

impl MakeArchive {
    pub(super) fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        let to = self.place(home)?;
        audit::read(home).map_err(unreadable)?;
        let who = place::who()?;
        let in_force = InForce::open(global, &who)?;
        if let Err(why) = in_force.may_operate(home, None)? {
            say(&format!("interlock: refused: {why}"));
            return Err(Failure::Said(4));
        }
        let lock = File::open(home.path()).map_err(|error| internal(&error.to_string()))?;
        if lock.try_lock().is_err() {
            return Err(internal("another process is archiving"));
        }
        let mut log = None;
        if !self.dry_run {
            let mut opened = Log::open(home, who).map_err(|error| internal(&error.to_string()))?;
            self.finish(home, &mut opened)?;
            log = Some(opened);
        }
        verified(global, home)?;
        let before = self.before.as_ref().map(|moment| moment.as_str().parse());
        let before = before.transpose().map_err(|error| Failure::Wrong(format!("--before: {error}")))?;
        let chosen = match choose(home, &Limits { before, keep: self.keep_segments }).map_err(unarchived)? {
            Ok(chosen) => chosen,
            Err(why) => {
                match global.format {
                    Format::Human => put(&escape_text(&format!("nothing to archive: {why}\n")))?,
                    Format::Json => put(&format!("{}\n", serde_json::json!({"archived": null, "why": why})))?,
                }
                return Ok(ExitCode::SUCCESS);
            }
        };
        let told = Told::of(&chosen);
        match &mut log {
            None => told.put(global, None)?,
            Some(log) => {
                let reason = self.reason.as_ref().map(|reason| in_force.censor().clean(&clip(reason, 4096)));
                let folder = self.archive(global, home, log, chosen, &to, reason.as_deref())?;
                told.put(global, Some(&folder))?;
                // The next one speaks of the entry about it, too.
                sinks::sign(home, &sinks::Sinks::of(&in_force), log.durable());
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The folder in which the archive is made.
    fn place(&self, home: &Home) -> Result<PathBuf, Failure> {
        let wrong = |why: String| Failure::Wrong(format!("--to {}: {why}", self.to.display()));
        let to = self.to.canonicalize().map_err(|error| wrong(error.to_string()))?;
        if !to.is_dir() {
            return Err(wrong("it is not a folder".to_owned()));
        }
        if home.path().canonicalize().is_ok_and(|home| to.starts_with(home)) {
            return Err(wrong("it is in the home, which the archive is to leave; name another folder".to_owned()));
        }
        Ok(to)
    }

    /// Goes on with what an earlier one, which was interrupted, has left.
    fn finish(&self, home: &Home, log: &mut Log) -> Result<(), Failure> {
        match finish(home, log).map_err(unarchived)? {
            Finished::Nothing => {}
            Finished::Done => say("interlock: an archiving that was interrupted was brought to its end"),
            Finished::ArchiveIsElsewhere => say(
                "interlock: warning: segments are left over of an archiving that was interrupted; they are not removed, since their archive \
                 is not where it was made",
            ),
        }
        Ok(())
    }

    /// Archives it; gives the folder.
    fn archive(
        &self,
        global: &Global,
        home: &Home,
        log: &mut Log,
        chosen: Chosen,
        to: &Path,
        reason: Option<&str>,
    ) -> Result<String, Failure> {
        let mut archived = make(home, chosen, to, reason).map_err(unarchived)?;
        let copy = archived.home().map_err(unarchived)?;
        let (report, _) = whole(global, &copy, &Anchors::default(), Files::LookedAt, None)?;
        let base = archived.base();
        let last = base.entries();
        let is_it = report.verifies()
            && report.tree == Some((base.entries(), base.root()))
            && report.head == Some((base.entries(), base.last().clone()));
        if !is_it {
            say(&escape_text(&report.to_string()));
            let place = copy.path().display();
            return Err(internal(&format!("{place} does not verify as what was to be archived; nothing was removed")));
        }
        archived.keep().map_err(unarchived)?;
        let base = archived.stand(home, log).map_err(|error| match audit::archived(home) {
            Ok(Some(base)) if base.entries() == last => Failure::Internal(format!(
                "everything is archived in {} and still here, and that could not be recorded: {error}; once that is mended, run the command again",
                base.archive().folder
            )),
            Ok(_) | Err(_) => unarchived(error),
        })?;
        remove(home, &base).map_err(|error| {
            Failure::Internal(format!(
                "everything is archived in {}, and not all of it could be removed here: {error}; once that is mended, run the command again",
                base.archive().folder
            ))
        })?;
        Ok(base.archive().folder.clone())
    }
}

/// That the log verifies, with all there is to verify.
fn verified(global: &Global, home: &Home) -> Result<(), Failure> {
    let (report, _) = whole(global, home, &Anchors::default(), Files::LookedAt, None)?;
    if report.verifies() {
        return Ok(());
    }
    say(&escape_text(&report.to_string()));
    say("interlock: the log does not verify, so nothing was archived");
    Err(Failure::Said(11))
}

/// What is said of what was chosen.
struct Told {
    first: u64,
    last: u64,
    segments: usize,
    runs: usize,
}

impl Told {
    fn of(chosen: &Chosen) -> Self {
        Self { first: chosen.first(), last: chosen.last(), segments: chosen.segments(), runs: chosen.runs() }
    }

    fn put(&self, global: &Global, folder: Option<&str>) -> Result<(), Failure> {
        let Self { first, last, segments, runs } = self;
        match global.format {
            Format::Human => {
                let what = format!(
                    "entries {first} to {last}: {segments} {}, {runs} {}",
                    if *segments == 1 { "segment" } else { "segments" },
                    if *runs == 1 { "run" } else { "runs" }
                );
                put(&escape_text(&match folder {
                    Some(folder) => format!("archived {what}\n{folder}\n"),
                    None => format!("would archive {what}\n"),
                }))
            }
            Format::Json => {
                let what = serde_json::json!({"first": first, "last": last, "segments": segments, "runs": runs});
                let line = match folder {
                    Some(folder) => serde_json::json!({"archived": what, "folder": folder}),
                    None => serde_json::json!({"would_archive": what}),
                };
                put(&format!("{line}\n"))
            }
        }
    }
}

fn unarchived(error: ArchiveError) -> Failure {
    internal(&error.to_string())
}

fn internal(why: &str) -> Failure {
    Failure::Internal(format!("nothing was archived: {why}"))
}
