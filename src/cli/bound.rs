//! Plans that people sign: what binds one to a machine, a time and a place in the audit log when it is written, and what is looked at
//! before one is run.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::rand::GetRandomFlags;

use crate::audit::{self, Home};
use crate::cli::failure::Failure;
use crate::cli::in_force::InForce;
use crate::driver::locks::Sole;
use crate::driver::programs::of_plan;
use crate::exec::program::Programs;
use crate::history::entry::Who;
use crate::history::event::Event;
use crate::id::{Digest, Moment, Nonce, RunId};
use crate::plan::{AskedBy, Binding, Here, LogHead, Plan};
use crate::report::story::by_whom;
use crate::runbook::duration;

/// Where a machine's id is (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";
/// How many differences are named; the others are counted.
const NAMED: usize = 5;

/// How long a plan may be opened, as the command line says it.
#[derive(Debug, Default, clap::Args)]
pub struct Window {
    /// From when on the plan may be run, in UTC, such as 2026-11-22T04:00:00Z [default: now]
    #[arg(long, value_name = "TIME", requires = "output")]
    valid_from: Option<Moment>,
    /// How long from then on it may be run, such as 90m [default: 24h]
    #[arg(long, value_name = "DURATION", requires = "output", value_parser = duration::parse)]
    valid_for: Option<std::time::Duration>,
}

/// Binds a plan that is made now.
pub fn bind(home: &Home, who: &Who, in_force: &InForce, window: &Window) -> Result<Binding, Failure> {
    let made = now();
    let valid_from = window.valid_from.clone().unwrap_or_else(|| made.clone());
    let valid_for = window.valid_for.unwrap_or(std::time::Duration::from_secs(24 * 3600));
    let valid_until = later(&valid_from, valid_for)?;
    let head = audit::head(home).map_err(|error| Failure::Internal(error.to_string()))?;
    Ok(Binding {
        asked_by: AskedBy { user: by_whom(who), person: in_force.person() },
        host: who.host.clone(),
        machine: machine_id()?,
        made,
        valid_from,
        valid_until,
        nonce: nonce()?,
        policies: in_force.marks(),
        log: head.map(|(entries, digest)| LogHead { entries, digest }),
    })
}

/// Whether a plan may be opened, or why not. The claim that comes with a yes is to be kept for as long as the run goes.
#[derive(Debug)]
#[must_use]
pub enum Verdict {
    /// It may.
    Open(Sole),
    /// It may not, for this reason.
    Refused(String),
}

/// Looks whether a plan fits this machine, this moment and this log, was not run before, and executes what it says.
pub fn judge(
    plan: &Plan,
    binding: &Binding,
    digest: &Digest,
    home: &Home,
    who: &Who,
    programs: &Programs,
) -> Result<Verdict, Failure> {
    let claim = Sole::take(home, digest).map_err(|error| {
        Failure::Internal(format!("the plan cannot be claimed in {}: {error}", home.path().display()))
    })?;
    let Some(claim) = claim else {
        return Ok(Verdict::Refused(
            "another process is running this plan just now; one plan is for one run".to_owned(),
        ));
    };
    let (machine, now) = (machine_id()?, now());
    if let Err(reason) = binding.fits(Here { host: &who.host, machine: &machine, now: &now }) {
        return Ok(Verdict::Refused(reason));
    }
    if let Some(reason) = past_says_no(home, binding.log.as_ref(), digest)? {
        return Ok(Verdict::Refused(reason));
    }
    let differences = plan.programs.differences(&of_plan(&plan.runbook, programs));
    if !differences.is_empty() {
        let more = differences.len().saturating_sub(NAMED);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        return Ok(Verdict::Refused(format!(
            "what the plan executes is not what was planned: {}{more}; find out who changed it, put it back, or make a new plan",
            differences[..differences.len().min(NAMED)].join("; ")
        )));
    }
    Ok(Verdict::Open(claim))
}

/// Whether a run of a plan may go on now: after the plan's window, what was begun is only taken back.
pub fn may_go_on(plan: &Plan) -> Result<(), String> {
    match &plan.binding {
        Some(binding) => binding.is_open_at(&now()),
        None => Ok(()),
    }
}

/// Why the log's past speaks against running this plan: the head that it names is not there, or a run of it has begun. A run of it is
/// nowhere before that head: its opening would have the plan's digest, and the plan has the digest of a line that was written after it.
fn past_says_no(home: &Home, head: Option<&LogHead>, plan: &Digest) -> Result<Option<String>, Failure> {
    let unreadable = |error: audit::ReadError| Failure::Internal(error.to_string());
    let mut head_is_met = head.is_none();
    if let Some(base) = audit::archived(home).map_err(unreadable)? {
        // Whether a run of it has begun is told by what was written since it was made, and that must be all at hand.
        let made_at = head.map_or(0, |head| head.entries);
        if made_at < base.entries() {
            return Ok(Some(format!(
                "the plan was made when the audit log had {made_at} entries, and those up to {} are archived since, so whether it was run \
                 before cannot be told here; make a new plan",
                base.entries()
            )));
        }
        head_is_met = head.is_some_and(|head| head.entries == base.entries() && head.digest == *base.last());
    }
    let mut runs: BTreeSet<RunId> = BTreeSet::new();
    for found in audit::read_from(home, head.map_or(1, |head| head.entries)).map_err(unreadable)? {
        let recorded = found.map_err(unreadable)?.recorded;
        if let Some(head) = head
            && head.entries == recorded.entry.seq
        {
            head_is_met = Digest::of(recorded.line.as_bytes()) == head.digest;
            if !head_is_met {
                break;
            }
        }
        match (&recorded.entry.event, recorded.entry.run) {
            (Event::RunOpened { plan: opened, .. }, Some(run)) if opened == plan => {
                runs.insert(run);
            }
            // Nothing of it was started, so the plan is as good as before.
            (Event::RunRefused { .. }, Some(run)) => {
                runs.remove(&run);
            }
            (_, _) => {}
        }
    }
    if let Some(head) = head.filter(|_| !head_is_met) {
        let last = audit::head(home).map_err(unreadable)?.map_or(0, |(last, _)| last);
        return Ok(Some(format!(
            "the audit log does not go on from where the plan was made: the plan was made when entry {} was the last, with SHA-256 {}, and \
             the log in {} has {}; look whether another --home is meant, and else who rolled the log back, before you make a new plan",
            head.entries,
            head.digest,
            home.audit().display(),
            if last < head.entries { format!("only {last} entries") } else { "another entry in that place".to_owned() },
        )));
    }
    Ok(runs.first().map(|run| {
        format!("run {run} was made by this plan already, and one plan is for one run; see `interlock audit show {run}`, and make a new plan")
    }))
}

/// 128 random bits.
pub(super) fn nonce() -> Result<Nonce, Failure> {
    let mut random = [0_u8; 16];
    rustix::rand::getrandom(&mut random[..], GetRandomFlags::empty())
        .map_err(|error| Failure::Internal(format!("the kernel gives no random bytes: {error}")))?;
    Ok(Nonce::from_bytes(&random))
}

/// This moment.
pub(super) fn now() -> Moment {
    Moment::of(chrono::Utc::now())
}

pub(super) fn later(from: &Moment, by: std::time::Duration) -> Result<Moment, Failure> {
    let too_far = || Failure::Wrong(format!("--valid-for goes beyond the year 9999, from {from} on"));
    let from = chrono::DateTime::parse_from_rfc3339(from.as_str())
        .map_err(|error| Failure::Wrong(format!("--valid-from {from}: {error}")))?
        .to_utc();
    let by = chrono::TimeDelta::from_std(by).map_err(|_| too_far())?;
    let later = from.checked_add_signed(by).filter(|later| chrono::Datelike::year(later) <= 9999);
    later.map(Moment::of).ok_or_else(too_far)
}

/// The machine's id; `none` where there is no such file. One that is there and cannot be read is an error: a plan must not be bound
/// to less than there is.
pub(super) fn machine_id() -> Result<String, Failure> {
    match std::fs::read_to_string(Path::new(MACHINE_ID)) {
        Ok(text) if text.trim().is_empty() => Ok("none".to_owned()),
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("none".to_owned()),
        Err(error) => Err(Failure::Internal(format!("{MACHINE_ID} cannot be read: {error}"))),
    }
}
