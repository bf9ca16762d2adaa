//! `interlock status`, and the runs that are not over, as the log tells them.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::process::ExitCode;

use crate::audit::Home;
use crate::cli::approvals::command;
use crate::cli::failure::{Failure, put, say};
use crate::cli::gate::options;
pub(super) use crate::cli::unsettled::{OpenRun, Reviewable};
use crate::cli::unsettled::{Unsettled, unsettled, unsettled_with};
use crate::cli::{Format, Global, bound, place};
use crate::diagnostic::escape::escape_line;
use crate::driver::locks::Alive;
use crate::driver::next::what_next;
use crate::driver::stale::{Found, look};
use crate::history::entry::Who;
use crate::history::event::Cause;
use crate::history::state::{Phase, StepStatus};
use crate::id::{Digest, Fact, Person, RunId, StepId, SystemName};
use crate::plan::{Plan, Procedure};
use crate::report::story::by_whom;

/// Lists the runs that are not over: who, since when, why they stopped, and what they have left out of service.
///
/// With --format json, an object a line for monitoring; docs/audit.md lists its keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock status
  interlock status --format json | jq -r 'select(.state == \"halted\").run'")]
pub struct Status {}

/// How many characters of a run's id have to be given: none would fit the only one there is.
const FEWEST: usize = 8;

/// The one run that is to be reviewed and meant, by its id or the beginning of it.
pub(super) fn to_review(home: &Home, given: &str) -> Result<Reviewable, Failure> {
    let long_enough = given.len() >= FEWEST;
    let mut fitting = if long_enough { unsettled_with(home, given)?.to_review } else { Vec::new() };
    match (fitting.pop(), fitting.is_empty()) {
        (Some(one), true) if matches!(one.state.phase, Phase::Over(_)) => Ok(one),
        (Some(one), true) => Err(Failure::Wrong(format!("run {} is not over; it is reviewed when it is", one.run))),
        _ => Err(Failure::Wrong(format!("no single run `{given}` is to be reviewed; `interlock status` lists them"))),
    }
}

/// A person, for the question of whose run it is: who logged in, whoever they became since.
fn person(who: &Who) -> u32 {
    who.login_uid.unwrap_or(who.uid)
}

impl Reviewable {
    fn in_words(&self) -> String {
        let run = &self.run;
        let mut text = format!(
            "{run}  REVIEW DUE  {}  by {} on {}: the glass was broken: {}\n",
            escape_line(&self.glass.runbook),
            escape_line(&self.operator),
            escape_line(&self.host),
            escape_line(&self.glass.reason)
        );
        for rule in &self.state.to_review {
            let people: Vec<&str> = rule.reviewers.iter().map(Person::as_str).collect();
            let late = if rule.review_until < bound::now() { "OVERDUE since" } else { "until" };
            text.push_str(&format!(
                "    to be reviewed by one of {} {late} {}\n",
                people.join(", "),
                rule.review_until
            ));
        }
        text.push_str(&format!("    next: interlock audit show {run} | interlock review {run} -o review.yaml\n"));
        text
    }

    fn as_json(&self) -> serde_json::Value {
        let due = self.state.to_review.iter();
        let due: Vec<_> = due
            .map(|rule| {
                let overdue = rule.review_until < bound::now();
                serde_json::json!({"of": rule.reviewers, "until": rule.review_until, "overdue": overdue})
            })
            .collect();
        serde_json::json!({
            "run": self.run, "state": "review_due", "runbook": self.glass.runbook, "operator": self.operator,
            "why": self.glass.reason, "ended": self.ended, "review": due,
        })
    }
}

impl OpenRun {
    /// The digest of its plan.
    pub(super) fn plan_digest(&self) -> Result<Digest, Failure> {
        self.plan.clone().ok_or_else(|| Failure::Internal(format!("run {} has no plan", self.run)))
    }

    /// Whether this person carried it out last.
    pub(super) fn was_carried_out_by(&self, who: &Who) -> bool {
        person(&self.who) == person(who)
    }

    /// Whether it is this person's. Whoever took it over only to go back, or where nobody had to sign that, does not make it theirs by that.
    pub(super) fn is_of(&self, who: &Who) -> bool {
        person(&self.whose) == person(who)
    }

    /// Whose it is.
    pub(super) fn whose(&self) -> &Who {
        &self.whose
    }

    /// The step that nobody saw end, if there is one.
    pub(super) fn in_doubt(&self) -> Option<&StepId> {
        let doubtful = |status| matches!(status, StepStatus::Open | StepStatus::InDoubt);
        let again = self.state.again.as_ref().filter(|again| again.begun()).map(|again| &again.run);
        if let Some(again) = again.and_then(|run| run.steps.last()).filter(|step| doubtful(step.status)) {
            return Some(&again.id);
        }
        let state = self.state.back.as_deref().unwrap_or(&self.state);
        state.steps.last().filter(|step| doubtful(step.status)).map(|step| &step.id)
    }

    /// The plan that the run was opened with, if it still lies beside the log as it was.
    pub(super) fn procedure(&self, home: &Home) -> Result<Procedure, Failure> {
        let text = self.plan_text(home)?;
        let path = home.run(&self.run).join("plan.yaml");
        let plan = Plan::from_yaml(&text).map_err(|error| Failure::Internal(format!("{}: {error}", path.display())))?;
        Ok(Procedure::new(plan))
    }

    /// The bytes of that plan.
    pub(super) fn plan_text(&self, home: &Home) -> Result<String, Failure> {
        let path = home.run(&self.run).join("plan.yaml");
        let bytes = std::fs::read(&path).map_err(|error| {
            Failure::Internal(format!(
                "the plan of the run cannot be read: {}: {error}; put it back from a backup, or give the run up: {}",
                path.display(),
                command(&["interlock", "abandon", self.run.as_str(), "--reason", "WHY"])
            ))
        })?;
        if self.plan.as_ref() != Some(&Digest::of(&bytes)) {
            return Err(Failure::Internal(format!(
                "{} is not the plan that the run was opened with: its digest is not the recorded one; nothing is done by it",
                path.display()
            )));
        }
        String::from_utf8(bytes).map_err(|error| Failure::Internal(error.to_string()))
    }

    /// The facts that the run's steps have brought about last, each system's latest.
    fn left(&self, procedure: &Procedure) -> Vec<Fact> {
        let mut latest: BTreeMap<SystemName, Fact> = BTreeMap::new();
        for (step, state) in procedure.steps().iter().zip(&self.state.steps) {
            if state.status == StepStatus::Done {
                latest.extend(step.ensures.iter().map(|fact| (fact.system.clone(), fact.clone())));
            }
        }
        for undone in self.state.back.iter().flat_map(|back| &back.steps) {
            let step = procedure.steps().iter().find(|step| step.id == undone.id);
            if let (StepStatus::Done, Some(undo)) = (undone.status, step.and_then(|step| step.way_back.undo())) {
                latest.extend(undo.ensures.iter().map(|fact| (fact.system.clone(), fact.clone())));
            }
        }
        latest.into_values().collect()
    }
}

/// How a run stands that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A process carries it out.
    Running,
    /// It halted, and says so.
    Halted,
    /// Its process is gone and did not say why.
    Died,
}

impl Standing {
    /// Looks how it stands.
    pub(super) fn of(home: &Home, run: &RunId, phase: Phase) -> Self {
        match (Alive::is_there(&home.run(run)), phase) {
            (true, _) => Self::Running,
            (false, Phase::Over(_)) => Self::Halted,
            (
                false,
                Phase::New
                | Phase::Ready { .. }
                | Phase::Acting { .. }
                | Phase::Verifying { .. }
                | Phase::Failed { .. },
            ) => Self::Died,
        }
    }

    /// Its name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Halted => "halted",
            Self::Died => "died",
        }
    }
}

impl Status {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let home = place::home(global)?;
        let Unsettled { open: runs, to_review } = unsettled(&home)?;
        for one in &to_review {
            put(&match global.format {
                Format::Json => format!("{}\n", one.as_json()),
                Format::Human => one.in_words(),
            })?;
        }
        if runs.is_empty() && to_review.is_empty() && global.format == Format::Human {
            put("no open runs\n")?;
        }
        // What can be typed next is meant for the same home, under the same policies.
        let options = options(global);
        for open in &runs {
            let standing = Standing::of(&home, &open.run, open.state.phase);
            let procedure = open.procedure(&home).ok();
            put(&match global.format {
                Format::Json => format!("{}\n", open.in_json(standing, procedure.as_ref(), &options)),
                Format::Human => open.in_words(standing, procedure.as_ref(), &options),
            })?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl OpenRun {
    /// For programs. What is not known, because the plan is not there any more as it was, is null.
    fn in_json(&self, standing: Standing, procedure: Option<&Procedure>, options: &str) -> serde_json::Value {
        let next = procedure.map(|procedure| what_next(procedure, &self.state, &self.run, options));
        let left = procedure.map(|procedure| self.left(procedure));
        let abandon = format!("interlock abandon {} --reason …{options}", self.run);
        let commands = match (standing, &next) {
            (Standing::Running, _) => serde_json::Value::Null,
            (Standing::Halted | Standing::Died, None) => serde_json::json!({"abandon": abandon}),
            (Standing::Halted | Standing::Died, Some(next)) => {
                serde_json::json!({"resume": next.resume, "undo": next.undo, "abandon": abandon})
            }
        };
        serde_json::json!({
            "run": self.run, "state": standing.as_str(), "runbook": self.runbook,
            "began": self.began, "last": self.last, "operator": by_whom(&self.who), "host": self.who.host,
            "cause": self.cause, "why": self.why, "step": self.state.steps.last().map(|step| &step.id),
            "steps": self.state.total, "doubt": self.in_doubt(), "going_back": self.state.back.is_some(),
            "deviations": self.state.overrides.used.len(),
            "left": left, "broken": self.state.broken,
            "rerun": next.map(|next| next.rerun).unwrap_or_default(), "locks": self.locks, "next": commands,
        })
    }

    fn in_words(&self, standing: Standing, procedure: Option<&Procedure>, options: &str) -> String {
        let state = standing.as_str();
        let left: Vec<String> =
            procedure.map(|procedure| self.left(procedure).iter().map(Fact::to_string).collect()).unwrap_or_default();
        let broken: Vec<String> = self.state.broken.iter().map(Fact::to_string).collect();
        let next = procedure.map(|procedure| what_next(procedure, &self.state, &self.run, options));
        let run = &self.run;
        let mut text = format!(
            "{run}  {state}  {}  by {} on {}, began {}, last entry {}\n",
            escape_line(&self.runbook),
            escape_line(&by_whom(&self.who)),
            escape_line(&self.who.host),
            escape_line(&self.began),
            escape_line(&self.last)
        );
        if !self.why.is_empty() {
            text.push_str(&format!("    why: {}\n", escape_line(&self.why)));
        }
        if let Some(step) = self.in_doubt() {
            text.push_str(&format!("    in doubt: step `{step}` was begun, and nobody saw how it ended\n"));
        }
        if !left.is_empty() {
            text.push_str(&format!("    left as it made it: {}\n", escape_line(&left.join(", "))));
        }
        if !broken.is_empty() {
            text.push_str(&format!("    did not hold when last seen: {}\n", escape_line(&broken.join(", "))));
        }
        if let Some(next) = next.as_ref().filter(|next| !next.rerun.is_empty()) {
            let steps: Vec<String> = next.rerun.iter().map(|step| format!("`{step}`")).collect();
            text.push_str(&format!("    had ensured that, and can be run again: {}\n", steps.join(", ")));
        }
        if !self.locks.is_empty() {
            text.push_str(&format!("    holds the locks: {}\n", escape_line(&self.locks.join(", "))));
        }
        if standing != Standing::Running {
            let (resume, undo) = match next {
                Some(next) => (next.resume, next.undo),
                None => (format!("interlock resume {run}{options}"), format!("interlock undo {run}{options}")),
            };
            text.push_str(&format!("    next: {resume} | {undo} | interlock abandon {run} --reason …{options}\n"));
        }
        text
    }
}

/// The one open run that is meant, by its id or the beginning of it, and the right to carry it out.
pub(super) fn find(home: &Home, given: &str) -> Result<(OpenRun, Alive), Failure> {
    if given.len() < FEWEST {
        return Err(Failure::Wrong(format!(
            "`{given}` is too short for a run's id; give {FEWEST} characters of it at least"
        )));
    }
    let mut runs = unsettled_with(home, given)?.open;
    let open = match runs.len() {
        1 => runs.remove(0),
        0 => return Err(Failure::Wrong(format!("there is no open run `{given}`; `interlock status` lists them"))),
        several => return Err(Failure::Wrong(format!("`{given}` fits {several} open runs; give more of the id"))),
    };
    let folder = home.run(&open.run);
    let alive = match Alive::take(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            is_nowhere_alive(&open)?;
            DirBuilder::new().recursive(true).mode(0o700).create(&folder).and_then(|()| Alive::take(&folder))
        }
        taken => taken,
    };
    match alive {
        Ok(Some(alive)) => Ok((open, alive)),
        Ok(None) => {
            say(&format!("interlock: refused: run {} is going on now, in another process", open.run));
            Err(Failure::Said(Cause::Locked.exit_code()))
        }
        Err(error) => Err(Failure::Internal(format!("{}: {error}", folder.display()))),
    }
}

/// Refuses a run whose folder was removed while a process may be carrying it out. Such a run gets a new folder, so that it can be given
/// up; the old one cannot say any more that the run is going on, but its locks and the process that wrote its last entry can.
fn is_nowhere_alive(open: &OpenRun) -> Result<(), Failure> {
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let (pid, own) = (open.who.pid, std::process::id());
    if pid != own && name(pid).is_some_and(|of| name(own) == Some(of)) {
        say(&format!(
            "interlock: refused: the folder of run {} is gone, and process {pid} may be carrying it out; end that process first",
            open.run
        ));
        return Err(Failure::Said(Cause::Locked.exit_code()));
    }
    for lock in &open.locks {
        match look(lock).map_err(|error| Failure::Internal(error.to_string()))? {
            Found::Alive(why) => {
                say(&format!("interlock: refused: {why}"));
                return Err(Failure::Said(Cause::Locked.exit_code()));
            }
            Found::Free | Found::Claimed(_) => {}
        }
    }
    Ok(())
}
