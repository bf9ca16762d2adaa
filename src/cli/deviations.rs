//! Deviations that stand in a plan: written there by `interlock plan`, and permitted when the plan is run.

use crate::cli::Global;
use crate::cli::failure::{Failure, say};
use crate::cli::in_force::InForce;
use crate::cli::needed::permission;
use crate::cli::overrides::waiver;
use crate::cli::own_word::{Asked, OwnWord, own_word};
use crate::consent::signature::Namespace;
use crate::diagnostic::suggest::did_you_mean;
use crate::history::clip::clip;
use crate::history::deviation::{Deviation, Override};
use crate::history::event::Cause;
use crate::history::state::State;
use crate::id::{Fact, StepId};
use crate::machine::overrides::{is_possible, rule_of};
use crate::plan::{Planned, Procedure};
use crate::runbook::model::OverrideRule;

/// The deviations that a plan is to have.
#[derive(Debug, Default, clap::Args)]
pub struct ToPlan {
    /// Plan a deviation: this step is not done; may be given many times
    #[arg(long, value_name = "STEP", requires = "output", requires = "reason")]
    skip: Vec<StepId>,
    /// Plan a deviation: one attempt of this step may run while this fact does not hold; may be given many times
    #[arg(long, value_name = "STEP=FACT", value_parser = waiver, requires = "output", requires = "reason")]
    waive: Vec<(StepId, Fact)>,
    /// Plan a deviation: the run may be opened outside the change window, or in a freeze
    #[arg(long, requires = "output", requires = "reason")]
    outside_window: bool,
    /// Why the plan has these deviations
    #[arg(long, value_name = "TEXT", requires = "output")]
    reason: Option<String>,
}

impl ToPlan {
    /// What is to stand in the plan. What cannot be permitted, whoever asks, is not written down.
    pub fn of(&self, procedure: &Procedure, in_force: &InForce) -> Result<Vec<Planned>, Failure> {
        let skips = self.skip.iter().map(|step| Deviation::Skip { step: step.clone() });
        let waivers = self.waive.iter().map(|(step, fact)| Deviation::Waive { step: step.clone(), fact: fact.clone() });
        let window = self.outside_window.then_some(Deviation::OutsideWindow {});
        let reason = self.reason.as_deref().unwrap_or_default();
        let mut planned: Vec<Planned> = Vec::new();
        for deviation in skips.chain(waivers).chain(window) {
            possible(procedure, &deviation)?;
            permittable(procedure, &deviation, in_force)?;
            if reason.trim().is_empty() {
                return Err(Failure::Wrong("--reason is empty; say why the procedure is to be left".to_owned()));
            }
            if planned.iter().all(|other| other.deviation != deviation) {
                planned.push(Planned { deviation, reason: clip(reason, 4096) });
            }
        }
        if planned.is_empty() && self.reason.is_some() {
            return Err(Failure::Wrong(
                "--reason is for a deviation (--skip, --waive, --outside-window), and there is none".to_owned(),
            ));
        }
        Ok(planned)
    }
}

fn possible(procedure: &Procedure, deviation: &Deviation) -> Result<(), Failure> {
    let steps = procedure.steps();
    if let Some(id) = deviation.step()
        && !steps.iter().any(|step| step.id == *id)
    {
        let names: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
        return Err(unknown(&format!("the runbook has no step `{id}`"), id.as_str(), &names));
    }
    if let Deviation::Waive { fact, .. } = deviation {
        let facts: Vec<String> = procedure.facts().iter().map(Fact::to_string).collect();
        if !facts.contains(&fact.to_string()) {
            let names: Vec<&str> = facts.iter().map(String::as_str).collect();
            return Err(unknown(&format!("the runbook has no fact `{fact}`"), &fact.to_string(), &names));
        }
    }
    let anew = State::default();
    is_possible(procedure, &anew, deviation).map_err(|why| match rule_of(procedure, deviation) {
        OverrideRule::Never => not_allowed(deviation, &why),
        OverrideRule::Unsaid | OverrideRule::Needs { .. } => Failure::Wrong(why),
    })
}

fn not_allowed(deviation: &Deviation, why: &str) -> Failure {
    say(&format!("interlock: refused: {deviation}: {why}"));
    Failure::Said(Cause::NotAllowed.exit_code())
}

/// Nothing is written down for people to sign that the policies in force let nobody permit.
fn permittable(procedure: &Procedure, deviation: &Deviation, in_force: &InForce) -> Result<(), Failure> {
    if in_force.is_empty() {
        return match deviation {
            Deviation::OutsideWindow {} => {
                Err(Failure::Wrong("no policy is in force, so there is no change window to leave".to_owned()))
            }
            Deviation::Skip { .. }
            | Deviation::Waive { .. }
            | Deviation::AcceptFailed { .. }
            | Deviation::AcceptInDoubt { .. }
            | Deviation::Abandon {}
            | Deviation::StaleLock { .. }
            | Deviation::TakeOver {}
            | Deviation::BreakGlass {} => Ok(()),
        };
    }
    let operator = in_force.operator().map_err(|error| not_allowed(deviation, &error.to_string()))?;
    permission(in_force, procedure, deviation, &operator, Namespace::Plan)
        .map(drop)
        .map_err(|why| not_allowed(deviation, &why))
}

fn unknown(what: &str, written: &str, names: &[&str]) -> Failure {
    let help = did_you_mean(written, names).map(|help| format!("; {help}")).unwrap_or_default();
    Failure::Wrong(format!("{what}{help}"))
}

/// The operator's word for what stands in a plan, where no policy is in force.
#[derive(Debug, clap::Args)]
pub struct Word {
    /// Permits the plan's deviation of this step on your own word, where there is no terminal and no policy asks for signatures
    #[arg(long, value_name = "STEP")]
    self_approve: Vec<String>,
}

/// Why a plan's deviations are not permitted.
pub enum NotPermitted {
    /// The run is refused, for this reason.
    Refused(Cause, String),
    /// What is said of it was said.
    Failed(Failure),
}

impl Word {
    /// What was permitted on the command line.
    pub fn given(&self) -> &[String] {
        &self.self_approve
    }

    /// The permissions of what stands in the plan, each on the operator's own word, or why there are none; where no policy is in force.
    /// Under one it is the signatures over the plan that permit.
    pub fn permissions(
        &self,
        global: &Global,
        procedure: &Procedure,
        user: &str,
    ) -> Result<Vec<Override>, NotPermitted> {
        let mut given = Vec::new();
        for Planned { deviation, reason } in &procedure.plan.deviations {
            possible(procedure, deviation).map_err(NotPermitted::Failed)?;
            if *deviation == (Deviation::OutsideWindow {}) {
                let why =
                    "the plan leaves a change window, and no policy is in force that has one; make it again without"
                        .to_owned();
                return Err(NotPermitted::Refused(Cause::NotAllowed, why));
            }
            if let OverrideRule::Needs { of, .. } = rule_of(procedure, deviation) {
                let why = format!(
                    "{deviation}: the runbook asks for signatures of the group `{of}`, and no policy is in force that says who that is"
                );
                return Err(NotPermitted::Refused(Cause::NotAllowed, why));
            }
            let by = own_word(global, &self.self_approve, Asked { deviation, by: user, reason }).map_err(|word| {
                let (cause, why) = match word {
                    OwnWord::Declined(why) => (Cause::NotAllowed, why),
                    OwnWord::NobodyThere(why) => (Cause::PersonNeeded, why),
                };
                NotPermitted::Refused(cause, why)
            })?;
            given.push(Override {
                deviation: deviation.clone(),
                reason: reason.clone(),
                asked_by: user.to_owned(),
                request: None,
                self_approved: Some(by),
                approved_by: Vec::new(),
            });
        }
        Ok(given)
    }
}

/// The permissions that stand in the plan and were not used yet, as they were given when the run was opened.
pub fn left_over(procedure: &Procedure, state: &State) -> Vec<Override> {
    let may_still_be_made = |given: &&Override| is_possible(procedure, state, &given.deviation).is_ok();
    state.overrides.planned.iter().filter(may_still_be_made).cloned().collect()
}
