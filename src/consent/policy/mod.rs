//! The policy: the site's rules, one YAML file, checked as a runbook is. docs/policy.md describes every key.

mod calendar_text;
mod glass;
mod notify;
mod open;
mod read;
mod redact;
mod rules;
mod sinks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use self::glass::GlassRule;
pub use self::notify::{Duty, NotifyRule};
pub use self::redact::RedactRule;
pub use self::sinks::{CheckpointSink, SinkTo};
use super::calendar::{Freeze, WindowRule};
use super::pattern;
use super::revoked::Revoked;
use super::signers::Signers;
use crate::diagnostic::{Diagnostic, Source};
use crate::history::deviation::DeviationKind;
use crate::id::{Digest, GroupName, Person};

/// Where the machine's own policy lies. It always applies where it is there; another can only add to it.
pub const MACHINE: &str = "/etc/interlock/policy.yaml";

/// How long an approval counts where the policy does not say.
pub const APPROVAL_VALID_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long an override, or leave to break the glass, counts where the policy does not say.
pub const OVERRIDE_VALID_FOR: Duration = Duration::from_secs(3600);

/// A policy that passed its check, with the files that it names.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The path of its file, as it was given.
    pub name: String,
    /// The text of its file.
    pub text: String,
    /// The digest of its file. The signers and revoked files have digests of their own.
    pub digest: Digest,
    /// Its number, which only ever rises.
    pub number: u64,
    /// Which key is whose.
    pub signers: Signers,
    /// Keys that count no more.
    pub revoked: Option<Revoked>,
    /// The local users of each person: names, or numbers in decimal.
    pub persons: BTreeMap<Person, BTreeSet<String>>,
    /// The groups, none of them empty.
    pub groups: BTreeMap<GroupName, BTreeSet<Person>>,
    /// Everybody whom it names.
    pub people: BTreeSet<Person>,
    /// Those who may operate; each has a local user.
    pub operators: BTreeSet<Person>,
    /// Which runs need whose approval.
    pub approvals: Vec<ApprovalRule>,
    /// Which deviations are possible, with whose permission.
    pub overrides: Vec<OverrideRule>,
    /// Deviations that are never possible.
    pub forbidden: BTreeSet<DeviationKind>,
    /// When runs may go on.
    pub windows: Vec<WindowRule>,
    /// When none may.
    pub freezes: Vec<Freeze>,
    /// Who may go on without the approvals in an emergency.
    pub break_glass: Vec<GlassRule>,
    /// The most that a runbook may ask for.
    pub limits: Limits,
    /// What goes for a runbook that does not say.
    pub defaults: Limits,
    /// Which commands are told of which entries.
    pub notify: Vec<NotifyRule>,
    /// What is removed from all that steps write.
    pub redact: Vec<RedactRule>,
    /// Where checkpoints are kept besides.
    pub checkpoints: Vec<CheckpointSink>,
}

/// Which runs a rule is about. Everything that is said must fit; a rule that says nothing is about every run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// A pattern for the runbook's name: `*` for any characters, `?` for one.
    pub name: Option<String>,
    /// Labels that the runbook must have, with exactly these values.
    pub labels: BTreeMap<String, String>,
}

/// A runbook, as far as rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
}

/// How many must sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Everybody in the group.
    All,
    /// As many of them; never nought.
    Number(usize),
}

/// Whether the operator's own signature counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnSignature {
    /// It counts as anybody's.
    Counts,
    /// The operator is taken out of the group.
    DoesNotCount,
}

/// Who must sign, and for how long that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// How many.
    pub need: Need,
    /// Of which group.
    pub of: GroupName,
    /// Whether the operator is one of them.
    pub own: OwnSignature,
    /// How long after what is signed was made the signatures count.
    pub valid_for: Duration,
    /// The line of the policy that says so.
    pub line: usize,
}

/// Runs like these need these signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRule {
    /// Which runs.
    pub subject: Match,
    /// Which signatures.
    pub quota: Quota,
}

/// Deviations like these, in runs like these, need these signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverrideRule {
    /// Which deviations.
    pub deviations: BTreeSet<DeviationKind>,
    /// In which runs.
    pub subject: Match,
    /// Which signatures.
    pub quota: Quota,
}

/// Times: the most that a runbook may ask for, or what goes where it does not say. None where the policy does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Of a step's `timeout`.
    pub timeout: Option<Duration>,
    /// Of a step's `within`.
    pub within: Option<Duration>,
}

/// What was found wrong in one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    /// The file.
    pub source: Source,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// A policy with what is probably not meant in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The policy.
    pub policy: Policy,
    /// Warnings, file by file.
    pub warnings: Vec<Findings>,
}

impl Match {
    /// Whether a rule with this match is about the runbook.
    pub fn fits(&self, subject: Subject<'_>) -> bool {
        self.name.as_ref().is_none_or(|name| pattern::matches(name, subject.name))
            && self.labels.iter().all(|(key, value)| subject.labels.get(key) == Some(value))
    }
}
