//! The policies in force: which they are, who operates under them, whether this home may go on under them, and what they say of a
//! run before anybody signs. A policy that cannot be read ends the command (exit 2): what it would have said cannot be known.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::audit::{self, Home, Log};
use crate::cli::Global;
use crate::cli::failure::Failure;
use crate::cli::given::show;
use crate::cli::keep::keep;
use crate::consent::calendar::WindowState;
use crate::consent::door::Trust;
use crate::consent::operator::{Acting, NotAnOperator};
use crate::consent::policy::{CheckpointSink, Limits, MACHINE, NotifyRule, Policy, RedactRule, Subject};
use crate::consent::question::{Operator, Policies, Requirement};
use crate::driver::removal::Removal;
use crate::exec::censor::Censor;
use crate::exec::mask::Secrets;
use crate::exec::redact::Redactions;
use crate::history::approval::PolicyInForce;
use crate::history::entry::Who;
use crate::history::event::Event;
use crate::history::outside::clean_words;
use crate::id::{Person, RunId};
use crate::machine::SelfApproval;
use crate::plan::{Binding, PolicyMark};
use crate::runbook::model::{OverrideRule, Runbook};
use crate::runbook::{Defaults, duration};

/// Whose files this process believes.
pub fn trust() -> Trust {
    Trust::of_user(rustix::process::geteuid().as_raw())
}

/// The files of the policies in force, each once, the machine's own first; then the one that `INTERLOCK_POLICY` names, then those of
/// `--policy`.
pub fn files(global: &Global) -> Result<Vec<PathBuf>, Failure> {
    let machine = match Path::new(MACHINE).symlink_metadata() {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        // One that is there and cannot be looked at is in force too: reading it says what is wrong.
        Ok(_) | Err(_) => Some(PathBuf::from(MACHINE)),
    };
    let named = std::env::var_os("INTERLOCK_POLICY").map(PathBuf::from);
    let mut files: Vec<PathBuf> = Vec::new();
    for file in machine.into_iter().chain(named).chain(global.policy.iter().cloned()) {
        let absolute = std::path::absolute(&file)
            .map_err(|error| Failure::Wrong(format!("the policy {}: {error}", file.display())))?;
        if !files.contains(&absolute) {
            files.push(absolute);
        }
    }
    Ok(files)
}

/// The policies in force.
pub struct InForce {
    policies: Policies,
    acting: Acting,
    redactions: Redactions,
    censor: Censor,
}

impl InForce {
    /// Reads them. Mistakes are shown, all of them, and end with exit 2.
    pub fn open(global: &Global, who: &Who) -> Result<Self, Failure> {
        let mut policies: Vec<Policy> = Vec::new();
        let mut wrong = false;
        for file in files(global)? {
            match Policy::open(&file, trust()) {
                Ok(opened) => policies.push(opened.policy),
                Err(found) => {
                    wrong = true;
                    for findings in &found {
                        show(global, &findings.source, &findings.diagnostics)?;
                    }
                }
            }
        }
        if wrong {
            return Err(Failure::Said(2));
        }
        let redactions = redactions(&policies)?;
        let censor = Censor::new(Secrets::none(), redactions.clone());
        Ok(Self { policies: Policies::new(policies), acting: Acting::of(who, Who::name_of), redactions, censor })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Whether the operator may permit a deviation alone: only where no policy says whose signatures it takes.
    pub fn alone(&self, user: String) -> SelfApproval {
        if self.is_empty() { SelfApproval::Allowed { user } } else { SelfApproval::NotAllowed }
    }

    /// The policies.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Who operates, under each of them.
    pub fn operator(&self) -> Result<Operator, NotAnOperator> {
        self.policies.operator(&self.acting)
    }

    /// Who operates, as the first of them calls them; none if it lets them not, or there is none.
    pub fn person(&self) -> Option<Person> {
        self.policies.iter().next().and_then(|policy| policy.operator(&self.acting).ok())
    }

    /// As it is recorded.
    pub fn recorded(&self) -> Vec<PolicyInForce> {
        let recorded = |policy: &Policy| PolicyInForce {
            file: policy.name.clone(),
            digest: policy.digest.clone(),
            number: policy.number,
            signers: policy.signers.digest.clone(),
            revoked: policy.revoked.as_ref().map(|revoked| revoked.digest.clone()),
            operator: policy.operator(&self.acting).ok(),
        };
        self.policies.iter().map(recorded).collect()
    }

    /// Which commands are told of which entries.
    pub fn notify(&self) -> Vec<NotifyRule> {
        self.policies.iter().flat_map(|policy| policy.notify.clone()).collect()
    }

    /// What is removed from all that steps write, by every rule of every policy; none where there is no rule. The key by which that is
    /// committed to is in the home then.
    pub fn redact(&self, home: &Home) -> Result<Option<Removal>, Failure> {
        Removal::new(home, self.redactions.clone())
            .map_err(|why| Failure::Internal(format!("{why}; nothing was started")))
    }

    /// Takes what the policies remove out of what comes from outside.
    pub fn censor(&self) -> &Censor {
        &self.censor
    }

    /// The event as it may be recorded: what the policies remove is not in its words.
    pub fn recordable(&self, mut event: Event) -> Event {
        clean_words(&mut event, &|words| self.censor.clean(words));
        event
    }

    /// Where checkpoints of the log are kept besides.
    pub fn sinks(&self) -> Vec<CheckpointSink> {
        self.policies.iter().flat_map(|policy| policy.checkpoints.clone()).collect()
    }

    /// As it stands in a plan.
    pub fn marks(&self) -> Vec<PolicyMark> {
        let mark = |policy: &Policy| PolicyMark { digest: policy.digest.clone(), number: policy.number };
        self.policies.iter().map(mark).collect()
    }

    /// Whether this account may operate in this home under these policies. `log` is the home's, where it is open.
    ///
    /// # Errors
    /// Inside: why not. Outside: the log cannot be read.
    pub fn may_operate(&self, home: &Home, log: Option<&Log>) -> Result<Result<Operator, String>, Failure> {
        if let Some(reason) = self.weakened(home, log)? {
            return Ok(Err(reason));
        }
        Ok(self.operator().map_err(|error| error.to_string()))
    }

    /// That there is none, where runs of this home went under one before: then nobody knows what it would have said. In words.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn missing(&self, home: &Home) -> Result<Option<String>, Failure> {
        if self.is_empty() { self.weakened(home, None) } else { Ok(None) }
    }

    /// Why these policies are less than what runs of this home went under before; none if they are not. A home that went under a
    /// policy goes under none or an older one no more.
    pub fn weakened(&self, home: &Home, log: Option<&Log>) -> Result<Option<String>, Failure> {
        let recorded = self.recorded();
        let past = audit::numbers_beside(home, log, &recorded);
        Ok(past.map_err(|error| Failure::Internal(error.to_string()))?.more_than(&recorded))
    }

    /// Why a plan made under other policies than these is not run.
    pub fn differ_from(&self, binding: &Binding) -> Option<String> {
        let marks = self.marks();
        if binding.policies == marks {
            return None;
        }
        let shown = |marks: &[PolicyMark]| match marks {
            [] => "no policy".to_owned(),
            some => {
                let each: Vec<String> = some
                    .iter()
                    .map(|mark| format!("number {} ({})", mark.number, &mark.digest.as_str()[..12]))
                    .collect();
                format!("the policy {}", each.join(" and "))
            }
        };
        Some(format!(
            "the plan was made under {}, and {} is in force now; look what changed, and make a new plan",
            shown(&binding.policies),
            shown(&marks)
        ))
    }

    /// Why runs of this runbook do not go on at this moment, with when they would.
    pub fn closed(&self, runbook: &Runbook, now: DateTime<Utc>) -> Option<String> {
        let at = |moment: DateTime<Utc>| moment.format("%Y-%m-%d %H:%M:%S UTC").to_string();
        match self.policies.window_state(subject(runbook), now) {
            WindowState::Open => None,
            WindowState::Outside { why, next: Some(next) } => Some(format!("{why}; it opens next on {}", at(next))),
            WindowState::Outside { why, next: None } => {
                Some(format!("{why}; none opens within the time that can be told"))
            }
            WindowState::Frozen { why, until } => Some(format!("{why}; runs go on from {}", at(until))),
        }
    }

    /// What a runbook asks for beyond the limits of a policy.
    pub fn beyond_limits(&self, runbook: &Runbook) -> Option<String> {
        for policy in self.policies.iter() {
            for step in &runbook.steps {
                let undo = step.way_back.undo();
                let asked = [
                    ("timeout", Some(step.timeout), policy.limits.timeout),
                    ("within", Some(step.within), policy.limits.within),
                    ("timeout", undo.map(|undo| undo.timeout), policy.limits.timeout),
                    ("within", undo.map(|undo| undo.within), policy.limits.within),
                ];
                for (what, asked, limit) in asked {
                    if let (Some(asked), Some(limit)) = (asked, limit)
                        && asked > limit
                    {
                        return Some(format!(
                            "step `{}` has a `{what}` of {}, and {} allows {} at most",
                            step.id,
                            duration::show(asked),
                            policy.name,
                            duration::show(limit)
                        ));
                    }
                }
            }
        }
        None
    }

    /// Which group the policies do not know whose signatures a runbook asks for, in its head or in a step: then nobody could permit a
    /// deviation there, and that is better known before anything is started.
    pub fn unknown_group(&self, runbook: &Runbook) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let steps = runbook.steps.iter().map(|step| (format!("step `{}`", step.id), &step.overrides));
        std::iter::once(("the head".to_owned(), &runbook.overrides)).chain(steps).find_map(|(place, rule)| match rule {
            OverrideRule::Needs { of, .. } => {
                self.policies.knows_group(of).err().map(|error| format!("{place}: {error}"))
            }
            OverrideRule::Unsaid | OverrideRule::Never => None,
        })
    }

    /// What goes for a runbook that does not say: of several policies, the shortest.
    pub fn defaults(&self) -> Defaults {
        let shortest = |time: fn(&Limits) -> Option<Duration>| {
            self.policies.iter().filter_map(|policy| time(&policy.defaults)).min()
        };
        Defaults { timeout: shortest(|times| times.timeout), within: shortest(|times| times.within) }
    }

    /// The approvals that a run of this runbook needs.
    ///
    /// # Errors
    /// Why nobody could give them.
    pub fn approvals_needed(&self, runbook: &Runbook, operator: &Operator) -> Result<Vec<Requirement>, String> {
        self.policies.approvals_needed(subject(runbook), operator).map_err(|error| error.to_string())
    }

    /// Keeps the policies and their files as they are beside the plan of a run, durably. Those that are there already stay.
    pub fn keep(&self, home: &Home, run: &RunId) -> Result<(), String> {
        self.keep_in(&home.run(run))
    }

    /// The same in a place of its own.
    pub fn keep_in(&self, place: &Path) -> Result<(), String> {
        let mut files: Vec<(String, &[u8])> = Vec::new();
        for policy in self.policies.iter() {
            let signers = &policy.signers;
            files.push((format!("{}.policy.yaml", policy.digest), policy.text.as_bytes()));
            files.push((format!("{}.allowed_signers", signers.digest), signers.source.text().as_bytes()));
            if let Some(revoked) = &policy.revoked {
                files.push((format!("{}.revoked", revoked.digest), &revoked.bytes));
            }
        }
        keep(place, "policies", &files)
    }
}

/// Every rule of `redact` of these policies, once.
fn redactions(policies: &[Policy]) -> Result<Redactions, Failure> {
    let mut rules: Vec<&RedactRule> = Vec::new();
    for rule in policies.iter().flat_map(|policy| &policy.redact) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    let rules = rules.into_iter().map(|rule| (rule.name.clone(), rule.pattern.clone())).collect();
    Redactions::new(rules)
        .map_err(|why| Failure::Wrong(format!("the rules of `redact` of all policies in force: {why}")))
}

/// What rules look at of a runbook.
pub fn subject(runbook: &Runbook) -> Subject<'_> {
    Subject { name: &runbook.name, labels: &runbook.labels }
}
