//! Taking a run over from another person: with a reason, which is recorded, and, where a rule of the policies speaks of it, by a request that
//! was signed. It leaves nothing of the procedure out, so where no rule does, whoever may operate may do it; and going back needs nobody.

use crate::cli::approvals::command;
use crate::cli::failure::Failure;
use crate::cli::in_force::{InForce, subject};
use crate::cli::status::OpenRun;
use crate::consent::question::{Operator, Permission, Requirement, StepRule};
use crate::history::clip::clip;
use crate::history::deviation::{Deviation, DeviationKind, Override};
use crate::history::entry::Who;
use crate::plan::Procedure;
use crate::report::story::by_whom;

/// Taking a run over from another person.
#[derive(Debug, clap::Args)]
pub(super) struct TakeOver {
    /// Take the run over from the person who carried it out before
    #[arg(long, requires = "reason")]
    pub take_over: bool,
    /// Why it is taken over
    #[arg(long, requires = "take_over")]
    pub reason: Option<String>,
}

/// The same for a command that has a reason of its own.
#[derive(Debug, clap::Args)]
pub(super) struct TakeOverWithoutReason {
    /// Take the run over from the person who carried it out before
    #[arg(long)]
    pub take_over: bool,
}

/// Refuses another person than the one before who does not say that they take the run over; gives back why they do.
pub(super) fn may_take_over(
    open: &OpenRun,
    who: &Who,
    asked: bool,
    reason: Option<&str>,
) -> Result<Option<String>, String> {
    if !asked && !open.was_carried_out_by(who) {
        return Err(format!(
            "run {} was carried out by {}; to take it over say --take-over and why (--reason)",
            open.run,
            by_whom(&open.who)
        ));
    }
    let is_anothers = !open.was_carried_out_by(who) || !open.is_of(who);
    Ok((asked && is_anothers).then(|| clip(reason.unwrap_or("no reason given"), 4096)))
}

/// Whether this person may go on with the run: it is theirs, or no rule speaks of taking it over, or a request for that was signed.
///
/// # Errors
/// Why not, and what to do.
pub(super) fn is_permitted(
    in_force: &InForce,
    operator: &Operator,
    open: &OpenRun,
    procedure: &Procedure,
    who: &Who,
    given: &[Override],
) -> Result<(), String> {
    if open.is_of(who) || given.iter().any(|given| given.deviation == (Deviation::TakeOver {})) {
        return Ok(());
    }
    let rules = asked_for(in_force, procedure, operator)?;
    if rules.is_empty() {
        return Ok(());
    }
    let rules: Vec<String> = rules.into_iter().map(|one| one.rule).collect();
    let run = open.run.as_str();
    Err(format!(
        "run {run} is that of {}, and to take it over these must sign: {}\n  ask for it with `{}`, and go on with `{}`",
        by_whom(open.whose()),
        rules.join("; "),
        command(&["interlock", "override", run, "--take-over", "--reason", "WHY", "-o", "request.yaml"]),
        command(&["interlock", "resume", run, "--take-over", "--reason", "WHY", "--override", "request.yaml"]),
    ))
}

/// Whether there is anything to ask for.
///
/// # Errors
/// The run is theirs, or nobody has to sign.
pub(super) fn is_to_be_asked_for(
    in_force: &InForce,
    open: &OpenRun,
    procedure: &Procedure,
    who: &Who,
) -> Result<(), Failure> {
    if open.is_of(who) {
        return Err(Failure::Wrong(format!("run {} is yours, so there is nothing to take over", open.run)));
    }
    // Who does not operate is refused for that, with an entry.
    let Ok(operator) = in_force.operator() else { return Ok(()) };
    match asked_for(in_force, procedure, &operator) {
        Ok(rules) if rules.is_empty() => Err(Failure::Wrong(format!(
            "no rule of a policy asks for signatures to take this run over; do it with `{}`",
            command(&["interlock", "resume", open.run.as_str(), "--take-over", "--reason", "WHY"])
        ))),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The signatures that the policies ask for.
///
/// # Errors
/// Why nobody can permit it.
fn asked_for(in_force: &InForce, procedure: &Procedure, operator: &Operator) -> Result<Vec<Requirement>, String> {
    let (kind, subject) = (DeviationKind::TakeOver, subject(&procedure.plan.runbook));
    match in_force.policies().override_needed(kind, &StepRule::Unsaid, subject, operator) {
        Permission::Allowed(needed) => Ok(needed),
        Permission::Forbidden(why) => Err(why),
    }
}
