//! Whose signatures a run needs under the policies in force: those who must approve it, and those who must permit each deviation that
//! stands in its plan. All of them are over the plan's bytes, in which the deviations are in plain sight.

use chrono::Utc;

use crate::audit::{Home, Log};
use crate::cli::approvals::Tally;
use crate::cli::failure::Failure;
use crate::cli::in_force::{InForce, subject};
use crate::consent::policy::Need;
use crate::consent::question::{Operator, Permission, Requirement, StepRule};
use crate::consent::request::Asks;
use crate::consent::signature::Namespace;
use crate::history::deviation::{Deviation, DeviationKind, Override};
use crate::machine::overrides::rule_of;
use crate::plan::{Planned, Procedure};
use crate::runbook::model::{OverrideRule, Runbook};

/// What a run needs.
#[derive(Debug, Default)]
pub struct Needed {
    /// Its approvals.
    pub approvals: Vec<Requirement>,
    /// And for each deviation of its plan that is to be made, whose permission.
    pub deviations: Vec<(Planned, Vec<Requirement>)>,
    /// What it goes on without, because the glass is to be broken: the rules that ask for approvals, and what is closed.
    pub without: Vec<String>,
}

/// Whether approvals and the calendar bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emergency {
    /// They do.
    No,
    /// The glass is to be broken.
    BreakGlass,
}

impl Needed {
    /// Everything that is asked for.
    pub fn all(&self) -> Vec<Requirement> {
        let permissions = self.deviations.iter().flat_map(|(_, needed)| needed);
        self.approvals.iter().chain(permissions).cloned().collect()
    }

    /// Whether nobody needs to sign anything.
    pub fn is_empty(&self) -> bool {
        self.approvals.is_empty() && self.deviations.is_empty()
    }

    /// The permissions of the plan's deviations, where the signatures of the tally meet everything.
    pub fn overrides(&self, tally: &Tally, asked_by: &str) -> Vec<Override> {
        let permitted = |(planned, needed): &(Planned, Vec<Requirement>)| Override {
            deviation: planned.deviation.clone(),
            reason: planned.reason.clone(),
            asked_by: asked_by.to_owned(),
            request: None,
            self_approved: None,
            approved_by: tally.signed_for(needed).into_iter().map(ToString::to_string).collect(),
        };
        self.deviations.iter().map(permitted).collect()
    }
}

/// Asks the policies in force about a run of this plan now. The log is the home's.
///
/// # Errors
/// Inside: why there is to be none. Outside: the log cannot be read.
pub fn ask(
    in_force: &InForce,
    home: &Home,
    log: &Log,
    procedure: &Procedure,
    emergency: Emergency,
) -> Result<Result<Needed, String>, Failure> {
    let operator = match in_force.may_operate(home, Some(log))? {
        Ok(operator) => operator,
        Err(reason) => return Ok(Err(reason)),
    };
    if in_force.is_empty() {
        return Ok(match emergency {
            Emergency::No => Ok(Needed::default()),
            Emergency::BreakGlass => {
                Err("no policy is in force, so there is no glass to break; run it without --break-glass".to_owned())
            }
        });
    }
    Ok(ask_as(in_force, procedure, &operator, emergency))
}

fn ask_as(
    in_force: &InForce,
    procedure: &Procedure,
    operator: &Operator,
    emergency: Emergency,
) -> Result<Needed, String> {
    let runbook = &procedure.plan.runbook;
    let closed = in_force.closed(runbook, Utc::now());
    let leaves = procedure.plan.deviations.iter().any(|planned| planned.deviation == (Deviation::OutsideWindow {}));
    if let (Some(reason), false, Emergency::No) = (closed.clone(), leaves, emergency) {
        let leave = permission(in_force, procedure, &Deviation::OutsideWindow {}, operator, Namespace::Plan);
        return Err(match leave {
            Ok(_) => format!(
                "{reason}; where it cannot wait, write it down with `interlock plan RUNBOOK -o FILE --outside-window --reason …`, and have \
                 that signed"
            ),
            Err(_) => reason,
        });
    }
    if let Some(reason) = in_force.beyond_limits(runbook).or_else(|| in_force.unknown_group(runbook)) {
        return Err(reason);
    }
    let mut needed = Needed::default();
    match emergency {
        Emergency::No => needed.approvals = in_force.approvals_needed(runbook, operator)?,
        Emergency::BreakGlass => needed.without = left_out(in_force, runbook, operator)?,
    }
    for planned in &procedure.plan.deviations {
        // Where nothing is closed there is nothing to leave.
        if planned.deviation == (Deviation::OutsideWindow {})
            && (closed.is_none() || emergency == Emergency::BreakGlass)
        {
            continue;
        }
        let whose = permission(in_force, procedure, &planned.deviation, operator, Namespace::Plan)
            .map_err(|why| format!("{}: {why}", planned.deviation))?;
        needed.deviations.push((planned.clone(), whose));
    }
    Ok(needed)
}

/// What a run goes on without when the glass is broken, if this operator may break it now.
///
/// # Errors
/// Why they may not.
pub fn left_out(in_force: &InForce, runbook: &Runbook, operator: &Operator) -> Result<Vec<String>, String> {
    let mut without: Vec<String> = match in_force.approvals_needed(runbook, operator) {
        Ok(needed) => needed.into_iter().map(|requirement| requirement.rule).collect(),
        // A rule that nobody could meet is one more reason to break it.
        Err(why) => vec![why],
    };
    without.extend(in_force.closed(runbook, Utc::now()));
    if without.is_empty() {
        return Err("no approval is asked for and nothing is closed, so there is no glass to break; go on without --break-glass".to_owned());
    }
    in_force.policies().break_glass(subject(runbook), operator, Utc::now())?;
    Ok(without)
}

/// The signatures that the policies in force ask for, for a deviation of this run; over what is signed for this purpose.
///
/// # Errors
/// Why nobody can permit it.
pub fn permission(
    in_force: &InForce,
    procedure: &Procedure,
    deviation: &Deviation,
    operator: &Operator,
    over: Namespace,
) -> Result<Vec<Requirement>, String> {
    let rule = match rule_of(procedure, deviation) {
        OverrideRule::Never if deviation.kind() != DeviationKind::Abandon => StepRule::Never,
        // Giving a run up must stay possible, as the policy has it.
        OverrideRule::Never | OverrideRule::Unsaid | OverrideRule::Needs { .. } => {
            asks(procedure, deviation)?.as_ref().map_or(StepRule::Unsaid, Asks::rule)
        }
    };
    let runbook = &procedure.plan.runbook;
    match in_force.policies().override_needed(deviation.kind(), &rule, subject(runbook), operator) {
        // Under a policy nothing is permitted by nobody.
        Permission::Allowed(needed) if needed.is_empty() => Err("no rule says whose signatures permit it".to_owned()),
        Permission::Allowed(needed) => {
            Ok(needed.into_iter().map(|one| Requirement { namespace: over, ..one }).collect())
        }
        Permission::Forbidden(why) => Err(why),
    }
}

/// Whose signatures the runbook itself asks for; none where it does not say.
///
/// # Errors
/// If it names what cannot be a group.
pub fn asks(procedure: &Procedure, deviation: &Deviation) -> Result<Option<Asks>, String> {
    match rule_of(procedure, deviation) {
        OverrideRule::Needs { need, of } => match of.parse() {
            Ok(of) => Ok(Some(Asks { need: need.map_or(Need::All, Need::Number), of })),
            Err(_) => Err(format!("the runbook names `{of}`, which is no name of a group")),
        },
        OverrideRule::Unsaid | OverrideRule::Never => Ok(None),
    }
}
