//! The questions that a run asks of the policies in force. Every rule of every policy applies; nothing is merged, and what one policy
//! refuses no other can allow. Pure: the time is given, and signatures were checked before.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::calendar::{self, Calendar, WindowState};
use super::keygen::Keygen;
use super::operator::{Acting, NotAnOperator};
use super::policy::{GlassRule, Need, OwnSignature, Policy, Quota, Subject};
use super::signature::{Accepted, Namespace, Rejected, Roster, verify};
use crate::diagnostic::suggest;
use crate::history::deviation::DeviationKind;
use crate::id::{Digest, GroupName, Person};

/// The policies in force, the machine's own first. With none, nothing is asked for and every deviation is the operator's own.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policies(Vec<Policy>);

/// The operator, as each policy in force calls them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    persons: Vec<Person>,
}

/// Signatures that one rule of one policy asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Which of the policies asks, as a place in [`Policies`].
    pub policy: usize,
    /// What the signatures must be made for.
    pub namespace: Namespace,
    /// What the rule says.
    pub quota: Quota,
    /// Those whose signatures count; never empty.
    pub who: BTreeSet<Person>,
    /// How many of them must sign; from one to all of them.
    pub needed: usize,
    /// The rule in words, with its place.
    pub rule: String,
}

/// A signature that counts under one of the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Under which, as a place in [`Policies`].
    pub policy: usize,
    /// The signature.
    pub signature: Accepted,
}

/// A rule that nobody could meet as things are: a refusal, never an approval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unmeetable(String);

/// Whether a requirement is met.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Quorum {
    /// It is, by these.
    Met(BTreeSet<Person>),
    /// It is not.
    Missing {
        /// Those who have signed.
        signed: BTreeSet<Person>,
        /// How many more must.
        more: usize,
        /// Those of whom they must be.
        of: BTreeSet<Person>,
    },
}

/// What the runbook itself says of overrides, of one step or as a whole. It can ask for more than the policies, never for less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepRule {
    /// Nothing.
    Unsaid,
    /// `override: never`.
    Never,
    /// These must sign too.
    Needs {
        /// How many.
        need: Need,
        /// Of which group.
        of: GroupName,
    },
}

/// Whether a deviation is possible.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Permission {
    /// It is, with all of these met. None of them, without a policy: then it is the operator's own decision, with a reason.
    Allowed(Vec<Requirement>),
    /// It is not, whoever signs.
    Forbidden(String),
}

/// A rule under which the glass may be broken, and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Broken<'p> {
    /// The policy.
    pub policy: &'p Policy,
    /// Its rule.
    pub rule: &'p GlassRule,
    /// The operator, as it calls them.
    pub operator: Person,
    /// One of these is to review the run; never the operator.
    pub reviewers: BTreeSet<Person>,
}

impl Requirement {
    /// Until when signatures under something made at this moment count.
    pub fn valid_until(&self, made: DateTime<Utc>) -> DateTime<Utc> {
        let valid_for = chrono::Duration::from_std(self.quota.valid_for).unwrap_or(chrono::Duration::MAX);
        made.checked_add_signed(valid_for).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// Whether signatures under something made at this moment still count: not before it was made, and not from the end on.
    pub fn is_fresh(&self, made: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        made <= now && now < self.valid_until(made)
    }
}

impl Operator {
    /// What a policy calls them.
    pub fn under(&self, policy: usize) -> Option<&Person> {
        self.persons.get(policy)
    }
}

impl Policies {
    /// These policies; the machine's own, where there is one, first.
    pub fn new(policies: Vec<Policy>) -> Self {
        Self(policies)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.0.iter()
    }

    /// Who operates, under each of them.
    ///
    /// # Errors
    /// If one of them does not let this account operate.
    pub fn operator(&self, acting: &Acting) -> Result<Operator, NotAnOperator> {
        let persons = self.0.iter().map(|policy| policy.operator(acting)).collect::<Result<_, _>>()?;
        Ok(Operator { persons })
    }

    /// The operator, if this person operates under each of them: for those who are asked to sign before anybody does.
    pub fn operated_by(&self, person: &Person) -> Operator {
        Operator { persons: self.0.iter().map(|_| person.clone()).collect() }
    }

    /// Checks a signature under each of them: those that count, and why the others do not.
    pub fn check(
        &self,
        keygen: &Keygen,
        bytes: &[u8],
        signature: &[u8],
        namespace: Namespace,
        at: DateTime<Utc>,
    ) -> Vec<Result<Counted, Rejected>> {
        let check = |(place, policy): (usize, &Policy)| {
            let roster = Roster { signers: &policy.signers, revoked: policy.revoked.as_ref(), people: &policy.people };
            verify(keygen, bytes, signature, namespace, &roster, at)
                .map(|signature| Counted { policy: place, signature })
        };
        self.0.iter().enumerate().map(check).collect()
    }

    /// The approvals that a run needs: one requirement for each rule that is about it, all of which must be met.
    ///
    /// # Errors
    /// If a rule cannot be met with this operator.
    pub fn approvals_needed(&self, subject: Subject<'_>, operator: &Operator) -> Result<Vec<Requirement>, Unmeetable> {
        let mut needed = Vec::new();
        for (place, policy) in self.0.iter().enumerate() {
            for rule in policy.approvals.iter().filter(|rule| rule.subject.fits(subject)) {
                needed.push(requirement(policy, place, &rule.quota, Namespace::Plan, operator)?);
            }
        }
        Ok(needed)
    }

    /// Whether a deviation of this kind is possible, and with whose signatures. `step` is what the runbook says of the step; it has
    /// nothing to say of deviations of the whole run.
    pub fn override_needed(
        &self,
        deviation: DeviationKind,
        step: &StepRule,
        subject: Subject<'_>,
        operator: &Operator,
    ) -> Permission {
        let mut needed = Vec::new();
        if *step == StepRule::Never {
            return Permission::Forbidden(format!(
                "the runbook says `override: never`, so no `{deviation}` is possible"
            ));
        }
        for (place, policy) in self.0.iter().enumerate() {
            if policy.forbidden.contains(&deviation) {
                return Permission::Forbidden(format!("{} forbids every `{deviation}`", policy.name));
            }
            let mut rules = policy
                .overrides
                .iter()
                .filter(|rule| rule.deviations.contains(&deviation) && rule.subject.fits(subject))
                .peekable();
            // Taking a run over leaves nothing of it out: it takes signatures where a rule speaks of it, and is else the operator's to do, or a
            // run whose operator is away could never be ended.
            if rules.peek().is_none() && deviation != DeviationKind::TakeOver {
                let why = format!("no rule of {} allows `{deviation}` for `{}`", policy.name, subject.name);
                return Permission::Forbidden(why);
            }
            for rule in rules {
                match requirement(policy, place, &rule.quota, Namespace::Override, operator) {
                    Ok(requirement) => needed.push(requirement),
                    Err(Unmeetable(why)) => return Permission::Forbidden(why),
                }
            }
        }
        if let StepRule::Needs { need, of } = step {
            match self.asked_by_step(*need, of, operator) {
                Ok(more) => needed.extend(more),
                Err(Unmeetable(why)) => return Permission::Forbidden(why),
            }
        }
        Permission::Allowed(needed)
    }

    /// What a step asks for beyond the policies: its group as each policy that has one of this name knows it. The first policy must have
    /// it: another one, which only adds to that, does not say who the group is in its place.
    fn asked_by_step(&self, need: Need, of: &GroupName, operator: &Operator) -> Result<Vec<Requirement>, Unmeetable> {
        self.knows_group(of.as_str())?;
        let mut needed = Vec::new();
        for (place, policy) in self.0.iter().enumerate().filter(|(_, policy)| policy.groups.contains_key(of)) {
            let quota = Quota {
                need,
                of: of.clone(),
                own: OwnSignature::DoesNotCount,
                valid_for: super::policy::OVERRIDE_VALID_FOR,
                line: 0,
            };
            needed.push(requirement(policy, place, &quota, Namespace::Override, operator)?);
        }
        Ok(needed)
    }

    /// Fails if the policies do not say who a group is whose signatures a runbook asks for: if the first of them does not have it.
    ///
    /// # Errors
    /// As said.
    pub fn knows_group(&self, name: &str) -> Result<(), Unmeetable> {
        let asks = format!("the runbook asks for signatures of the group `{name}`");
        let Some(first) = self.0.first() else {
            return Err(Unmeetable(format!("{asks}, and no policy is in force that says who that is")));
        };
        if first.groups.keys().any(|group| group.as_str() == name) {
            return Ok(());
        }
        let names: Vec<&str> = first.groups.keys().map(GroupName::as_str).collect();
        let meant = suggest::did_you_mean(name, &names).map(|meant| format!(" ({meant})")).unwrap_or_default();
        Err(Unmeetable(format!(
            "{asks}, which {} does not have{meant}; correct `override` in the runbook, or add the group to the policy",
            first.name
        )))
    }

    /// Whether the glass may be broken for a run at a moment: each policy that asks for something then must have a rule about it, and all
    /// those rules must be met.
    ///
    /// # Errors
    /// Why not.
    pub fn break_glass(
        &self,
        subject: Subject<'_>,
        operator: &Operator,
        now: DateTime<Utc>,
    ) -> Result<Vec<Broken<'_>>, String> {
        let mut broken = Vec::new();
        for (place, policy) in self.0.iter().enumerate() {
            let rules: Vec<&GlassRule> = policy.break_glass.iter().filter(|rule| rule.subject.fits(subject)).collect();
            let asks = policy.approvals.iter().any(|rule| rule.subject.fits(subject))
                || calendar::state(&[calendar_of(policy)], subject, now) != WindowState::Open;
            if rules.is_empty() && asks {
                return Err(format!("{} has no rule to break the glass for `{}`", policy.name, subject.name));
            }
            for rule in rules {
                let at = format!("{} line {}", policy.name, rule.line);
                let person = operator.under(place).filter(|person| policy.groups[&rule.who].contains(*person));
                let Some(person) = person else {
                    return Err(format!("only who is in `{}` may break the glass ({at})", rule.who));
                };
                let mut reviewers = policy.groups[&rule.tell].clone();
                reviewers.remove(person);
                if reviewers.is_empty() {
                    return Err(format!("nobody else is in `{}`, who could review it ({at})", rule.tell));
                }
                broken.push(Broken { policy, rule, operator: person.clone(), reviewers });
            }
        }
        if broken.is_empty() {
            return Err("no policy in force has a rule to break the glass".to_owned());
        }
        Ok(broken)
    }

    /// Whether runs like this may go on at a moment.
    pub fn window_state(&self, subject: Subject<'_>, now: DateTime<Utc>) -> WindowState {
        let calendars: Vec<Calendar<'_>> = self.0.iter().map(calendar_of).collect();
        calendar::state(&calendars, subject, now)
    }
}

fn calendar_of(policy: &Policy) -> Calendar<'_> {
    Calendar { name: &policy.name, windows: &policy.windows, freezes: &policy.freezes }
}

fn requirement(
    policy: &Policy,
    place: usize,
    quota: &Quota,
    namespace: Namespace,
    operator: &Operator,
) -> Result<Requirement, Unmeetable> {
    let mut who = policy.groups.get(&quota.of).cloned().unwrap_or_default();
    let own = match quota.own {
        OwnSignature::Counts => "",
        OwnSignature::DoesNotCount => {
            if let Some(operator) = operator.under(place) {
                who.remove(operator);
            }
            ", the operator not counted"
        }
    };
    let (needed, how_many) = match quota.need {
        Need::All => (who.len(), "all".to_owned()),
        Need::Number(number) => (number, number.to_string()),
    };
    let line = if quota.line == 0 { String::new() } else { format!(" line {}", quota.line) };
    let rule = format!("{how_many} of `{}`{own} ({}{line})", quota.of, policy.name);
    if who.is_empty() || needed == 0 || needed > who.len() {
        let message = format!("{rule} must sign, and only {} could: nobody else can approve this", who.len());
        return Err(Unmeetable(message));
    }
    Ok(Requirement { policy: place, namespace, quota: quota.clone(), who, needed, rule })
}

/// Whether these signatures over these bytes meet a requirement. Persons are counted: two keys of one person are one, a key that
/// signed for two persons counts for neither, and a signature under another policy, for another purpose or over other bytes for nobody.
pub fn quorum(requirement: &Requirement, over: &Digest, signatures: &[Counted]) -> Quorum {
    let relevant = || {
        signatures.iter().filter(|counted| {
            counted.policy == requirement.policy
                && counted.signature.namespace == requirement.namespace
                && counted.signature.over == *over
        })
    };
    let mut persons_of_key = BTreeMap::new();
    for counted in relevant() {
        let persons: &mut BTreeSet<&Person> = persons_of_key.entry(&counted.signature.key).or_default();
        persons.insert(&counted.signature.person);
    }
    let signed: BTreeSet<Person> = relevant()
        .filter(|counted| persons_of_key[&counted.signature.key].len() == 1)
        .map(|counted| counted.signature.person.clone())
        .filter(|person| requirement.who.contains(person))
        .collect();
    // A requirement of nobody is never met, however it came about.
    if requirement.needed > 0 && signed.len() >= requirement.needed {
        return Quorum::Met(signed);
    }
    let of = requirement.who.difference(&signed).cloned().collect();
    Quorum::Missing { more: requirement.needed.max(1) - signed.len().min(requirement.needed), signed, of }
}
