//! `interlock policy explain`: what the policies in force say of a runbook, before anybody asks for anything.

use std::collections::BTreeMap;
use std::process::ExitCode;

use chrono::Utc;
use serde_json::json;

use crate::cli::failure::{Failure, put};
use crate::cli::given::GivenRunbook;
use crate::cli::in_force::{InForce, subject};
use crate::cli::needed::{asks, left_out};
use crate::cli::{Format, Global, place};
use crate::consent::policy::Subject;
use crate::consent::question::{Operator, Permission, Requirement, StepRule};
use crate::diagnostic::escape::escape_line;
use crate::exec::program::Programs;
use crate::history::deviation::{Deviation, DeviationKind};
use crate::id::Person;
use crate::machine::overrides::rule_of;
use crate::plan::Procedure;
use crate::runbook::duration;
use crate::runbook::model::OverrideRule;

/// Says who would have to sign what for a run of this runbook, and why. Starts nothing, and asks nobody.
///
/// It goes by the policies in force, the runbook's name and labels, this machine's clock, and whoever types it: they are taken for the
/// operator.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock policy explain change.yaml -p data_dir=/srv/pg
  interlock policy explain change.yaml --policy ./policy.yaml
  interlock policy explain change.yaml --format json | jq .approvals

Exit codes: 0 it can be run, perhaps with signatures, 2 a wrong runbook, policy or arguments, 4 no run of it could begin now.")]
pub struct Explain {
    #[command(flatten)]
    given: GivenRunbook,
}

/// What is said of something: who must sign, or why it cannot be.
type Said = Result<Vec<Requirement>, String>;

/// What the policies say.
struct Explanation {
    operator: Result<Vec<String>, String>,
    closed: Option<String>,
    beyond: Option<String>,
    approvals: Said,
    deviations: Vec<(DeviationKind, Said)>,
    /// What would be left out if the glass were broken now, or why it cannot be.
    glass: Result<Vec<String>, String>,
    /// The steps that have rules of their own, in words.
    steps: Vec<(String, String)>,
}

impl Explain {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let in_force = InForce::open(global, &place::who()?)?;
        let procedure = Procedure::new(self.given.read(global, in_force.defaults())?.plan(&Programs::default())?);
        if in_force.is_empty() {
            return Err(Failure::Wrong(
                "no policy is in force, so one person may do everything alone, and nobody needs to sign; name a policy with --policy".to_owned(),
            ));
        }
        let explanation = explain(&in_force, &procedure);
        let name = &procedure.plan.runbook.name;
        put(&match global.format {
            Format::Human => explanation.in_words(name),
            Format::Json => format!("{}\n", explanation.as_json(name)),
        })?;
        Ok(if explanation.can_begin() { ExitCode::SUCCESS } else { ExitCode::from(4) })
    }
}

fn explain(in_force: &InForce, procedure: &Procedure) -> Explanation {
    let runbook = &procedure.plan.runbook;
    let operator = in_force.operator().map_err(|error| error.to_string());
    // Where nobody operates, what is asked is told as for somebody whom no group has.
    let as_operator = operator.clone().unwrap_or_else(|_| in_force.policies().operated_by(&nobody()));
    let unlabelled = BTreeMap::new();
    let said = |kind: DeviationKind| {
        let subject = match kind {
            // When its lock is to be removed, the run is gone, and its labels with it.
            DeviationKind::StaleLock => Subject { labels: &unlabelled, ..subject(runbook) },
            DeviationKind::Skip
            | DeviationKind::Waive
            | DeviationKind::AcceptFailed
            | DeviationKind::AcceptInDoubt
            | DeviationKind::OutsideWindow
            | DeviationKind::Abandon
            | DeviationKind::TakeOver
            | DeviationKind::BreakGlass => subject(runbook),
        };
        let asked = in_force.policies().override_needed(kind, &StepRule::Unsaid, subject, &as_operator);
        match asked {
            Permission::Allowed(needed) => Ok(needed),
            Permission::Forbidden(why) => Err(why),
        }
    };
    Explanation {
        operator: operator.map(|operator| persons(in_force, &operator)),
        closed: in_force.closed(runbook, Utc::now()),
        beyond: in_force.beyond_limits(runbook).or_else(|| in_force.unknown_group(runbook)),
        approvals: in_force.approvals_needed(runbook, &as_operator),
        deviations: DeviationKind::NAMES.iter().map(|(_, kind)| (*kind, said(*kind))).collect(),
        glass: left_out(in_force, runbook, &as_operator),
        steps: own_rules(procedure),
    }
}

fn nobody() -> Person {
    "nobody@invalid".parse().expect("this is a person")
}

fn persons(in_force: &InForce, operator: &Operator) -> Vec<String> {
    let named = in_force
        .policies()
        .iter()
        .enumerate()
        .filter_map(|(place, policy)| operator.under(place).map(|person| format!("{person} ({})", policy.name)));
    named.collect()
}

/// What the runbook itself says of its steps, beyond the policies.
fn own_rules(procedure: &Procedure) -> Vec<(String, String)> {
    let mut rules = Vec::new();
    for step in procedure.steps() {
        let skip = Deviation::Skip { step: step.id.clone() };
        let rule = match rule_of(procedure, &skip) {
            OverrideRule::Unsaid => continue,
            OverrideRule::Never => "`override: never`: nobody can permit a deviation of it".to_owned(),
            OverrideRule::Needs { .. } => match asks(procedure, &skip) {
                Ok(Some(asks)) => format!("asks for {asks} besides what the policies ask for"),
                Ok(None) => continue,
                Err(why) => why,
            },
        };
        rules.push((step.id.to_string(), rule));
    }
    rules
}

fn rule_in_words(rule: &Requirement) -> String {
    let who: Vec<&str> = rule.who.iter().map(Person::as_str).collect();
    format!("{}: {}; counts for {}", rule.rule, who.join(", "), duration::show(rule.quota.valid_for))
}

impl Explanation {
    fn can_begin(&self) -> bool {
        self.operator.is_ok() && self.closed.is_none() && self.beyond.is_none() && self.approvals.is_ok()
    }

    fn in_words(&self, runbook: &str) -> String {
        let mut lines = vec![format!("`{runbook}` under the policies in force:")];
        let list = |lines: &mut Vec<String>, said: &Said, empty: &str| match said {
            Ok(needed) if needed.is_empty() => lines.push(format!("    {empty}")),
            Ok(needed) => lines.extend(needed.iter().map(|rule| format!("    {}", rule_in_words(rule)))),
            Err(why) => lines.push(format!("    not possible: {why}")),
        };
        lines.push(match &self.operator {
            Ok(persons) => format!("  operator: {}", persons.join(", ")),
            Err(why) => format!("  operator: NOBODY: {why}"),
        });
        lines.push(match &self.closed {
            None => "  now: nothing is closed".to_owned(),
            Some(why) => format!("  now: CLOSED: {why}"),
        });
        lines.extend(self.beyond.iter().map(|why| format!("  limits: BEYOND: {why}")));
        lines.push("  approvals, over the plan:".to_owned());
        list(&mut lines, &self.approvals, "no rule asks for any");
        lines.push("  deviations, over the plan or over a request:".to_owned());
        for (kind, said) in &self.deviations {
            lines.push(format!("   {kind}"));
            let unsaid = if *kind == DeviationKind::TakeOver {
                "no rule asks for signatures, so whoever may operate may do it, with a reason"
            } else {
                "no rule says whose signatures permit it, so it is not possible"
            };
            list(&mut lines, said, unsaid);
        }
        lines.push(match &self.glass {
            Ok(without) => format!("  --break-glass is possible, and would go on without: {}", without.join("; ")),
            Err(why) => format!("  --break-glass is not possible: {why}"),
        });
        if !self.steps.is_empty() {
            lines.push("  the runbook itself:".to_owned());
            lines.extend(self.steps.iter().map(|(step, rule)| format!("    step `{step}` {rule}")));
        }
        lines.push("  undo needs neither a window nor a signature".to_owned());
        lines.iter().map(|line| format!("{}\n", escape_line(line))).collect()
    }

    fn as_json(&self, runbook: &str) -> serde_json::Value {
        let rules = |said: &Said| match said {
            Ok(needed) => {
                let rules: Vec<_> = needed
                    .iter()
                    .map(|rule| {
                        json!({
                            "rule": rule.rule, "needed": rule.needed, "of": rule.who,
                            "valid_for": duration::show(rule.quota.valid_for),
                        })
                    })
                    .collect();
                json!({"possible": true, "rules": rules})
            }
            Err(why) => json!({"possible": false, "why": why}),
        };
        let deviations: serde_json::Map<_, _> =
            self.deviations.iter().map(|(kind, said)| (kind.to_string(), rules(said))).collect();
        let steps: serde_json::Map<_, _> = self.steps.iter().map(|(step, rule)| (step.clone(), json!(rule))).collect();
        json!({
            "runbook": runbook, "can_begin": self.can_begin(), "operator": self.operator.as_ref().ok(),
            "not_an_operator": self.operator.as_ref().err(), "closed": self.closed, "beyond_limits": self.beyond,
            "approvals": rules(&self.approvals), "deviations": deviations, "steps": steps,
            "break_glass": {"possible": self.glass.is_ok(), "without": self.glass.as_ref().ok(), "why": self.glass.as_ref().err()},
        })
    }
}
