//! What stands before a run is opened or taken up: who operates, under which policies, when, and with whose approvals. Nothing here
//! looks at the systems, and nothing is started.

use std::path::{Path, PathBuf};

use chrono::Utc;

use crate::audit::{Draft, Home, Log, Recorded};
use crate::cli::approvals::{Offered, Signable, Tally, command, folder_of, keygen, offered, tally};
use crate::cli::failure::{Failure, say};
use crate::cli::in_force::InForce;
use crate::cli::needed::{Emergency, Needed, left_out, permission};
use crate::cli::{Global, bound};
use crate::consent::policy::NotifyRule;
use crate::consent::question::{Operator, Requirement};
use crate::consent::signature::Namespace;
use crate::driver::notify;
use crate::exec::censor::Censor;
use crate::history::approval::{Approval, PolicyInForce};
use crate::history::clip::clip;
use crate::history::deviation::Override;
use crate::history::entry::Who;
use crate::history::event::{Cause, Event};
use crate::history::outside::clean_words;
use crate::history::state::State;
use crate::id::{Digest, RunId};
use crate::plan::Procedure;

/// A run that somebody asked for and that is not open yet: what a refusal of it records.
pub struct Attempt<'a> {
    /// The log.
    pub log: &'a mut Log,
    /// The run's id.
    pub id: RunId,
    /// The runbook's name.
    pub runbook: String,
    /// The digest of the plan's bytes.
    pub plan: Digest,
    /// The policies in force.
    pub policies: Vec<PolicyInForce>,
    /// Which commands are told of which entries.
    pub notify: Vec<NotifyRule>,
    /// Takes what they remove out of what is recorded.
    pub censor: Censor,
}

impl Attempt<'_> {
    /// From now on it goes under these policies.
    pub fn goes_under(&mut self, in_force: &InForce) {
        self.policies = in_force.recorded();
        self.notify = in_force.notify();
        self.censor = in_force.censor().clone();
    }

    /// Records a refusal before anything was set up, and says it. A reason in several lines is one text in the entry.
    pub fn refuse(&mut self, cause: Cause, reason: &str) -> Failure {
        let mut event = Event::RunRefused {
            runbook: self.runbook.clone(),
            plan: self.plan.clone(),
            cause,
            reason: clip(&reason.replace("\n  ", "; "), 8192),
            seen: Vec::new(),
            policies: self.policies.clone(),
        };
        clean_words(&mut event, &|words| self.censor.clean(words));
        match self.log.append(&[Draft { run: Some(&self.id), event: &event }]) {
            Ok(recorded) => {
                say(&format!("interlock: refused, nothing was started: {reason}"));
                tell_now(&self.notify, &self.censor, self.log, &recorded);
                Failure::Said(cause.exit_code())
            }
            Err(error) => Failure::Internal(error.to_string()),
        }
    }

    /// Refuses what is not allowed.
    pub fn not_allowed(&mut self, reason: &str) -> Failure {
        self.refuse(Cause::NotAllowed, reason)
    }
}

/// Tells the commands that the policies name of what was recorded, where nothing is begun after it.
pub fn tell_now(rules: &[NotifyRule], censor: &Censor, log: &mut Log, recorded: &[Recorded]) {
    for words in notify::tell_now(rules, censor, log, recorded) {
        say(&format!("interlock: warning: {words}"));
    }
}

/// What the signatures over a plan permit.
#[derive(Debug, Default)]
pub struct Approved {
    /// They themselves, as they are recorded.
    pub approvals: Vec<Approval>,
    /// The plan's deviations.
    pub overrides: Vec<Override>,
    /// What the run goes on without, because the glass is to be broken.
    pub without: Vec<String>,
}

/// Counts the signatures for a plan's file that is about to be run.
///
/// # Errors
/// Inside: who is missing, with the command to go on. Outside: the signatures cannot be looked at.
pub fn approved(
    global: &Global,
    in_force: &InForce,
    needed: &Needed,
    signable: &Signable<'_>,
    plan: &Path,
    asked_by: &str,
    named: &[PathBuf],
) -> Result<Result<Approved, String>, Failure> {
    if needed.is_empty() {
        return Ok(Ok(Approved::default()));
    }
    let all = needed.all();
    let offered = offered(Some(plan), named)?;
    let tally = tally(in_force, &keygen()?, signable, &all, &offered, Utc::now());
    Ok(match tally.is_met() {
        true => Ok(Approved {
            approvals: tally.approvals(in_force, signable, &all, &[]),
            overrides: needed.overrides(&tally, asked_by),
            without: Vec::new(),
        }),
        false => Err(missing(global, &tally, plan, named)),
    })
}

/// Says what is missing, and the commands that bring it and go on.
pub fn missing(global: &Global, tally: &Tally, plan: &Path, named: &[PathBuf]) -> String {
    let mut lines = vec!["approvals are missing".to_owned()];
    lines.extend(tally.in_words());
    lines.push(how_to_go_on(global, tally, plan, named));
    lines.join("\n  ")
}

/// The commands that bring what is missing and go on.
pub fn how_to_go_on(global: &Global, tally: &Tally, plan: &Path, named: &[PathBuf]) -> String {
    if tally.lacking.iter().any(|lacking| lacking.stale.is_some()) {
        return "make a new plan with `interlock plan RUNBOOK -o FILE`, and have that signed".to_owned();
    }
    let plan = plan.display().to_string();
    format!(
        "each of them signs with `{}`; then go on with `{}`",
        command(&["interlock", "approve", &plan]),
        run_command(global, &plan, named)
    )
}

/// The command that runs a plan, with the options of this one. Where places were named, signatures are looked for there alone, so the one
/// in which `approve` puts those that are still to come is named too.
pub fn run_command(global: &Global, plan: &str, named: &[PathBuf]) -> String {
    let mut words = vec!["run".to_owned(), plan.to_owned()];
    let to_come = folder_of(Path::new(plan)).to_owned();
    let is_named = named.is_empty() || named.contains(&to_come);
    for path in named.iter().chain((!is_named).then_some(&to_come)) {
        words.extend(["--approval".to_owned(), path.display().to_string()]);
    }
    full_command(global, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What a command needs besides to be about the same home, under the same policies: the options of this one, each after a blank.
pub fn options(global: &Global) -> String {
    full_command(global, &[]).strip_prefix("interlock").unwrap_or_default().to_owned()
}

/// A command of this program as it can be typed, with the home and the policies of this one.
pub fn full_command(global: &Global, words: &[&str]) -> String {
    let mut all = vec!["interlock".to_owned()];
    all.extend(words.iter().map(|word| (*word).to_owned()));
    for path in &global.policy {
        all.extend(["--policy".to_owned(), path.display().to_string()]);
    }
    if let Some(home) = &global.home {
        all.extend(["--home".to_owned(), home.display().to_string()]);
    }
    command(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Records why a run that stands is not taken up or given up, says it, and ends with exit 4.
pub fn not_taken_up(home: &Home, who: &Who, in_force: &InForce, run: &RunId, command: &str, reason: &str) -> Failure {
    let event = in_force.recordable(Event::TakeUpRefused {
        command: command.to_owned(),
        reason: clip(&reason.replace("\n  ", "; "), 8192),
        policies: in_force.recorded(),
    });
    let recorded = Log::open(home, who.clone()).and_then(|mut log| {
        let recorded = log.append(&[Draft { run: Some(run), event: &event }])?;
        tell_now(&in_force.notify(), in_force.censor(), &mut log, &recorded);
        Ok(())
    });
    say(&format!("interlock: refused: {reason}"));
    // Nothing is begun either way; another user's log is not ours to write.
    if let Err(error) = recorded {
        say(&format!("interlock: warning: the refusal could not be recorded: {error}"));
    }
    Failure::Said(Cause::NotAllowed.exit_code())
}

/// Whether the change windows and freezes bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calendar {
    /// They do.
    Binds,
    /// An override permits to leave them.
    Left,
}

/// A run that stands, and what is signed over its plan.
pub struct Standing<'a> {
    /// As its events tell it.
    pub state: &'a State,
    /// What it carries out.
    pub procedure: &'a Procedure,
    /// The bytes of its plan.
    pub bytes: &'a str,
    /// More signatures.
    pub named: &'a [PathBuf],
    /// Whether the glass is to be broken.
    pub emergency: Emergency,
}

/// Whether a run may go on now with the steps that it has not done: its plan's window and the calendar are open, and the approvals that
/// are asked for now are there, among those in the log and those that were named. Of the deviations of its plan that are still to be made,
/// those stay that the signatures permit under the policies of now.
///
/// # Errors
/// Inside: why it may not. Outside: signatures cannot be looked at.
pub fn may_go_on(
    in_force: &InForce,
    operator: &Operator,
    standing: &Standing<'_>,
    left_over: Vec<Override>,
    calendar: Calendar,
) -> Result<Result<Approved, String>, Failure> {
    let Standing { state, procedure, bytes, named, emergency } = *standing;
    let plan = &procedure.plan;
    let mut without = Vec::new();
    match (bound::may_go_on(plan), emergency) {
        (Ok(()), _) => {}
        (Err(reason), Emergency::No) => return Ok(Err(reason)),
        (Err(reason), Emergency::BreakGlass) => without.push(reason),
    }
    match (calendar, emergency) {
        (Calendar::Left, _) | (_, Emergency::BreakGlass) => {}
        (Calendar::Binds, Emergency::No) => {
            if let Some(reason) = in_force.closed(&plan.runbook, Utc::now()) {
                return Ok(Err(reason));
            }
        }
    }
    if in_force.is_empty() {
        return Ok(match emergency {
            Emergency::No => Ok(Approved { overrides: left_over, ..Approved::default() }),
            Emergency::BreakGlass => Err("no policy is in force, so there is no glass to break".to_owned()),
        });
    }
    let asked = match emergency {
        Emergency::No => in_force.approvals_needed(&plan.runbook, operator),
        Emergency::BreakGlass => left_out(in_force, &plan.runbook, operator).map(|left_out| {
            without.extend(left_out);
            Vec::new()
        }),
    };
    let needed = match asked {
        Ok(needed) => needed,
        Err(reason) => return Ok(Err(reason)),
    };
    let Some(binding) = &plan.binding else {
        return Ok(match needed.iter().map(|requirement| requirement.rule.as_str()).collect::<Vec<_>>() {
            none if none.is_empty() => Ok(Approved { without, ..Approved::default() }),
            rules => Err(format!(
                "the run began without a plan that could be signed, and approvals are asked for now: {}",
                rules.join("; ")
            )),
        });
    };
    if needed.is_empty() && left_over.is_empty() {
        return Ok(Ok(Approved { without, ..Approved::default() }));
    }
    let signable = Signable::plan(bytes, binding);
    let mut candidates: Vec<Offered> = Vec::new();
    for approval in &state.approvals {
        let from = format!("the approval of {} in the log", approval.person);
        let armour = approval.signature.clone().into_bytes();
        if !candidates.iter().any(|other| other.armour.as_ref() == Ok(&armour)) {
            candidates.push(Offered { from, armour: Ok(armour) });
        }
    }
    candidates.extend(offered(None, named)?);
    let keygen = keygen()?;
    let count = |needed: &[Requirement]| tally(in_force, &keygen, &signable, needed, &candidates, Utc::now());
    let tally = count(&needed);
    if !tally.is_met() {
        let mut lines = vec!["approvals are missing".to_owned()];
        lines.extend(tally.in_words());
        return Ok(Err(lines.join("\n  ")));
    }
    let mut approved = Approved {
        approvals: tally.approvals(in_force, &signable, &needed, &state.approvals),
        overrides: Vec::new(),
        without,
    };
    for given in left_over {
        // What was permitted on the operator's own word is no permission any more once a policy is in force.
        let whose = match given.self_approved {
            Some(_) => Err("the operator alone had permitted it".to_owned()),
            None => permission(in_force, procedure, &given.deviation, operator, Namespace::Plan),
        };
        let counted = whose.and_then(|whose| match count(&whose) {
            tally if tally.is_met() => Ok((tally, whose)),
            tally => Err(tally.in_words().join("; ")),
        });
        match counted {
            Ok((tally, whose)) => {
                let recorded: Vec<Approval> = state.approvals.iter().chain(&approved.approvals).cloned().collect();
                approved.approvals.extend(tally.approvals(in_force, &signable, &whose, &recorded));
                let approved_by = tally.signed_for(&whose).into_iter().map(ToString::to_string).collect();
                approved.overrides.push(Override { approved_by, ..given });
            }
            Err(why) => say(&format!(
                "interlock: note: the plan's own deviation does not count any more ({}): {why}; ask for it with `interlock override`",
                given.deviation
            )),
        }
    }
    Ok(Ok(approved))
}
