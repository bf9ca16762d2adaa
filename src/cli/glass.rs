//! `--break-glass`: going on without the approvals that a policy asks for, where the policy has a rule for such an emergency. It is recorded
//! first; then others are told; then the run goes on. It stays on `interlock status` until one of those who were told has reviewed it.

use std::time::Duration;

use chrono::Utc;

use crate::audit::{Draft, Log};
use crate::cli::Global;
use crate::cli::approvals::command;
use crate::cli::failure::{Failure, say};
use crate::cli::in_force::{InForce, subject};
use crate::cli::needed::Emergency;
use crate::cli::own_word::{Asked, OwnWord, own_word};
use crate::diagnostic::escape::escape_line;
use crate::driver::notify::feed;
use crate::history::clip::clip;
use crate::history::deviation::Deviation;
use crate::history::entry::Who;
use crate::history::event::{AnsweredBy, Cause, Event};
use crate::history::glass::{Glass, GlassUnder};
use crate::id::{Digest, Moment, RunId};
use crate::plan::Procedure;
use crate::report::story::by_whom;

/// How long the command that tells others may take.
const MOST_TELLING: Duration = Duration::from_secs(10);

/// Whether the approvals are to be left out.
#[derive(Debug, Default, clap::Args)]
pub struct BreakGlass {
    /// In an emergency: go on without the approvals and outside windows, for this reason, if a rule of the policy allows it.
    /// Others are told at once, and one of them has to review the run
    #[arg(long = "break-glass", value_name = "REASON")]
    break_glass: Option<String>,
}

impl BreakGlass {
    /// Whether it is asked for.
    pub fn emergency(&self) -> Emergency {
        if self.break_glass.is_some() { Emergency::BreakGlass } else { Emergency::No }
    }

    /// The word of the operator for it; none where it is not asked for. At a terminal it is typed.
    ///
    /// # Errors
    /// They did not give it, or cannot be asked.
    pub fn word(
        &self,
        global: &Global,
        self_approve: &[String],
        user: &str,
    ) -> Result<Option<(AnsweredBy, &str)>, (Cause, String)> {
        let Some(reason) = &self.break_glass else { return Ok(None) };
        if reason.trim().is_empty() {
            let why = "--break-glass needs a reason: say why it cannot wait for the approvals".to_owned();
            return Err((Cause::NotAllowed, why));
        }
        let asked = Asked { deviation: &Deviation::BreakGlass {}, by: user, reason };
        match own_word(global, self_approve, asked) {
            Ok(by) => Ok(Some((by, reason))),
            Err(OwnWord::Declined(why)) => Err((Cause::NotAllowed, why)),
            Err(OwnWord::NobodyThere(why)) => Err((Cause::PersonNeeded, why)),
        }
    }
}

/// What is to be recorded: the rules that allow it to this operator now, and who is to review it by when.
///
/// # Errors
/// Why nobody, or not this operator, may break the glass.
pub fn broken(
    in_force: &InForce,
    procedure: &Procedure,
    plan: &Digest,
    without: Vec<String>,
    (by, reason): (AnsweredBy, &str),
) -> Result<Glass, String> {
    let now = Utc::now();
    let runbook = &procedure.plan.runbook;
    let operator = in_force.operator().map_err(|error| error.to_string())?;
    let rules = in_force.policies().break_glass(subject(runbook), &operator, now)?;
    let under = rules.into_iter().map(|broken| {
        let within = chrono::TimeDelta::from_std(broken.rule.review_within).unwrap_or(chrono::TimeDelta::MAX);
        let until = now.checked_add_signed(within).unwrap_or(chrono::DateTime::<Utc>::MAX_UTC);
        GlassUnder {
            policy: broken.policy.digest.clone(),
            number: broken.policy.number,
            operator: broken.operator,
            tell: broken.rule.tell.to_string(),
            command: broken.rule.by.clone(),
            reviewers: broken.reviewers.into_iter().collect(),
            review_until: Moment::of(until),
        }
    });
    Ok(Glass {
        runbook: runbook.name.clone(),
        plan: plan.clone(),
        reason: in_force.censor().clean(&clip(reason, 4096)),
        by,
        without,
        rules: under.collect(),
    })
}

/// Records that the glass is broken, and then tells those who are to be told. That they could not be told is recorded as well, and said; it
/// stops nothing.
///
/// # Errors
/// It cannot be recorded: then nothing was begun, and nobody told.
pub fn record_and_tell(
    log: &mut Log,
    run: &RunId,
    who: &Who,
    in_force: &InForce,
    glass: &Glass,
) -> Result<Vec<Event>, Failure> {
    let unusable = |error: crate::audit::LogError| Failure::Internal(error.to_string());
    let mut events = vec![Event::GlassBroken(glass.clone())];
    log.append(&[Draft { run: Some(run), event: &events[0] }]).map_err(unusable)?;
    say(&format!(
        "interlock: THE GLASS IS BROKEN for run {run}: {}; it goes on without: {}",
        escape_line(&glass.reason),
        escape_line(&glass.without.join("; "))
    ));
    let text = serde_json::json!({
        "event": "glass_broken", "run": run, "runbook": glass.runbook, "host": who.host, "operator": by_whom(who),
        "reason": glass.reason, "without": glass.without,
    });
    let mut told: Vec<&[String]> = Vec::new();
    for rule in &glass.rules {
        let people: Vec<&str> = rule.reviewers.iter().map(crate::id::Person::as_str).collect();
        say(&format!("interlock: one of {} has to review it until {}", people.join(", "), rule.review_until));
        if told.contains(&rule.command.as_slice()) {
            continue;
        }
        told.push(&rule.command);
        let fed = feed(&rule.command, MOST_TELLING, format!("{text}\n").into_bytes(), in_force.censor());
        let trouble = fed.err().map(|why| clip(&why, 2048));
        if let Some(why) = &trouble {
            let why = escape_line(why);
            say(&format!(
                "interlock: warning: `{}` COULD NOT BE TOLD ({}): {why}; tell them yourself",
                rule.tell,
                escape_line(&command(&rule.command.iter().map(String::as_str).collect::<Vec<_>>()))
            ));
        }
        let event = Event::GlassTold { tell: rule.tell.clone(), command: rule.command.clone(), trouble };
        log.append(&[Draft { run: Some(run), event: &event }]).map_err(unusable)?;
        events.push(event);
    }
    Ok(events)
}
