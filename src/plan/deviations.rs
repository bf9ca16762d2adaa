//! Where a run is to leave its procedure, decided when its plan is made: it stands in the plan, so whoever reads or signs the plan reads
//! it. It is a permission for nothing by itself.

use serde::{Deserialize, Serialize};

use crate::history::deviation::{Deviation, DeviationKind};
use crate::plan::Plan;
use crate::runbook::model::OverrideRule;

/// One planned deviation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// What is to be left out of the procedure.
    pub deviation: Deviation,
    /// Why.
    pub reason: String,
}

/// What is wrong with the deviations of a plan in themselves.
pub(super) fn wrong(plan: &Plan) -> Vec<String> {
    let mut wrong = Vec::new();
    if !plan.deviations.is_empty() && plan.binding.is_none() {
        wrong.push("it has deviations, and is bound to nothing".to_owned());
    }
    for (at, planned) in plan.deviations.iter().enumerate() {
        let deviation = &planned.deviation;
        let may_be_planned = match deviation.kind() {
            DeviationKind::Skip | DeviationKind::Waive | DeviationKind::OutsideWindow => true,
            DeviationKind::AcceptFailed
            | DeviationKind::AcceptInDoubt
            | DeviationKind::Abandon
            | DeviationKind::StaleLock
            | DeviationKind::TakeOver
            | DeviationKind::BreakGlass => false,
        };
        if !may_be_planned {
            wrong.push(format!("nobody can plan to {deviation}"));
        }
        if planned.reason.trim().is_empty() {
            wrong.push(format!("{deviation}: without a reason"));
        }
        if plan.deviations[..at].iter().any(|other| other.deviation == *deviation) {
            wrong.push(format!("{deviation}: twice"));
        }
        let step = deviation.step().map(|id| (id, plan.runbook.steps.iter().find(|step| step.id == *id)));
        let rule = match step {
            Some((id, None)) => {
                wrong.push(format!("{deviation}: there is no step `{id}`"));
                continue;
            }
            Some((_, Some(step))) if step.overrides != OverrideRule::Unsaid => &step.overrides,
            Some((_, Some(_))) | None => &plan.runbook.overrides,
        };
        if *rule == OverrideRule::Never {
            wrong.push(format!("{deviation}: the runbook says `override: never`"));
        }
    }
    wrong
}
