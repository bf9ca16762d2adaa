//! Waiting at a terminal for the approvals of a plan: a list that shows who has signed and who is missing, and signatures that are taken
//! as their files appear. It ends when every rule is met, when the time is up, or when the person ends it.

use std::io::{IsTerminal as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::approvals::{Offered, Signable, Tally, keygen, offered, tally};
use crate::cli::failure::Failure;
use crate::cli::in_force::InForce;
use crate::consent::question::Requirement;
use crate::diagnostic::escape::escape_line;
use crate::runbook::duration;

/// How often the folder is looked at.
const EVERY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// How the waiting ended.
pub enum Waited {
    /// Every rule is met.
    Met,
    /// A person, or the system, ended it.
    Interrupted(Tally),
    /// Signatures can count no more.
    TooLate(Tally),
}

/// Waits until the signatures over a plan that lies here meet what is needed.
///
/// # Errors
/// Signatures cannot be looked for or checked.
pub fn wait(
    in_force: &InForce,
    needed: &[Requirement],
    signable: &Signable<'_>,
    plan: &Path,
    named: &[PathBuf],
) -> Result<Waited, Failure> {
    let keygen = keygen()?;
    let signals =
        Signals::new().map_err(|error| Failure::Internal(format!("signals cannot be waited for: {error}")))?;
    let until = needed.iter().map(|one| one.valid_until(signable.made)).chain([signable.until]).min();
    let until = until.unwrap_or(signable.until);
    let mut shown = List::default();
    let mut seen: Vec<Offered> = Vec::new();
    let mut found = tally(in_force, &keygen, signable, needed, &seen, Utc::now());
    loop {
        let there = offered(Some(plan), named)?;
        let as_before = there.len() == seen.len()
            && there.iter().zip(&seen).all(|(one, other)| one.from == other.from && one.armour == other.armour);
        if !as_before {
            found = tally(in_force, &keygen, signable, needed, &there, Utc::now());
            seen = there;
        }
        let now = Utc::now();
        shown.show(&found, until - now);
        if found.is_met() {
            return Ok(Waited::Met);
        }
        if now >= until {
            return Ok(Waited::TooLate(tally(in_force, &keygen, signable, needed, &seen, now)));
        }
        if signals.came_within(&EVERY) {
            return Ok(Waited::Interrupted(found));
        }
    }
}

/// The list on the terminal, drawn anew in its place when something in it changes.
#[derive(Default)]
struct List {
    lines: Vec<String>,
}

impl List {
    fn show(&mut self, tally: &Tally, left: chrono::TimeDelta) {
        let mut lines: Vec<String> = Vec::new();
        for person in tally.signed() {
            lines.push(format!("  ✓ {person} signed"));
        }
        for lacking in &tally.lacking {
            lines.push(format!("  {}", lacking.rule));
            let more = match lacking.more {
                more if more == lacking.of.len() => "missing".to_owned(),
                more => format!("{more} more of these"),
            };
            lines.extend(lacking.of.iter().map(|person| format!("    … {person} {more}")));
            lines.extend(lacking.stale.iter().map(|why| format!("    {why}")));
        }
        for (from, why) in &tally.not_counted {
            lines.push(format!("  ✗ {from} is not counted: {why}"));
        }
        let minutes = u64::try_from(left.num_minutes()).unwrap_or(0);
        let left = match u64::try_from(left.num_seconds()).unwrap_or(0) {
            seconds @ ..120 => Duration::from_secs(seconds),
            _ => Duration::from_secs(minutes * 60),
        };
        if !tally.is_met() {
            lines.push(format!("  waiting for signatures, {} left; Ctrl-C ends the waiting", duration::show(left)));
        }
        self.draw(lines);
    }

    /// What a person sees stops nothing: errors are passed over.
    fn draw(&mut self, lines: Vec<String>) {
        let mut stderr = std::io::stderr().lock();
        let width = rustix::termios::tcgetwinsize(&stderr).map_or(80, |size| usize::from(size.ws_col).max(20));
        let is_terminal = stderr.is_terminal();
        // Each takes one row, so that it is known how many there are to draw over.
        let fit = |line: &String| match is_terminal {
            true => escape_line(line).chars().take(width - 1).collect(),
            false => escape_line(line).into_owned(),
        };
        let lines: Vec<String> = lines.iter().map(fit).collect();
        if lines == self.lines {
            return;
        }
        let mut text = String::new();
        if is_terminal && !self.lines.is_empty() {
            text.push_str(&format!("\x1b[{}F\x1b[J", self.lines.len()));
        }
        for line in &lines {
            text.push_str(line);
            text.push('\n');
        }
        let _ = stderr.write_all(text.as_bytes());
        self.lines = lines;
    }
}

/// The signals that end the waiting. Before and after it they do what they did.
struct Signals {
    came: OwnedFd,
    ids: Vec<SigId>,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let (came, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let ids = [SIGINT, SIGTERM, SIGHUP]
            .into_iter()
            .map(|signal| signal_hook::low_level::pipe::register(signal, tell.try_clone()?))
            .collect::<std::io::Result<_>>()?;
        Ok(Self { came, ids })
    }

    fn came_within(&self, time: &Timespec) -> bool {
        match poll(&mut [PollFd::new(&self.came, PollFlags::IN)], Some(time)) {
            Ok(count) => count > 0,
            // A signal that is not one of ours.
            Err(_) => false,
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in &self.ids {
            signal_hook::low_level::unregister(*id);
        }
    }
}
