//! An emergency: a run that goes on without the approvals that a policy asks for, because those who give them cannot be reached. It is
//! recorded before anything is done and before others are told of it, it counts as a deviation, and it is not settled until somebody else
//! has looked at what was done.

use serde::{Deserialize, Serialize};

use crate::history::approval::Approval;
use crate::history::deviation::Deviation;
use crate::history::event::AnsweredBy;
use crate::history::state::{IllegalEvent, Phase, State, Verdict, refuse};
use crate::id::{Digest, Moment, Person};

/// The namespace of signatures over reviews.
pub const REVIEW: &str = "interlock-review@v1";

/// The glass was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Glass {
    /// The name of the runbook.
    pub runbook: String,
    /// SHA-256 of its plan.
    pub plan: Digest,
    /// Why, in the words of who did it.
    pub reason: String,
    /// How they said so.
    pub by: AnsweredBy,
    /// What they go on without: the rules that ask for approvals, and the calendar where it is closed, in words.
    pub without: Vec<String>,
    /// The rules that allow it; one at least.
    pub rules: Vec<GlassUnder>,
}

/// A rule that allows it, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlassUnder {
    /// SHA-256 of the policy.
    pub policy: Digest,
    /// Its number.
    pub number: u64,
    /// Who did it, as the policy calls them.
    pub operator: Person,
    /// The group that is told.
    pub tell: String,
    /// The command that tells them.
    pub command: Vec<String>,
    /// One of these has to sign a review of the run; never the operator.
    pub reviewers: Vec<Person>,
    /// Until when.
    pub review_until: Moment,
}

impl State {
    pub(super) fn break_glass(&mut self, glass: &Glass) -> Result<(), IllegalEvent> {
        match self.phase {
            Phase::Over(Verdict::Completed | Verdict::Undone | Verdict::Abandoned | Verdict::Refused(_)) => {
                return refuse("the glass was broken for a run that is over");
            }
            Phase::New
            | Phase::Ready { .. }
            | Phase::Acting { .. }
            | Phase::Verifying { .. }
            | Phase::Failed { .. }
            | Phase::Over(Verdict::Halted(_)) => {}
        }
        if self.plan.as_ref().is_some_and(|plan| *plan != glass.plan) {
            return refuse("the glass was broken for another plan than the run's");
        }
        let wrong = |rule: &GlassUnder| rule.reviewers.is_empty() || rule.reviewers.contains(&rule.operator);
        if glass.rules.is_empty() || glass.rules.iter().any(wrong) {
            return refuse("the glass was broken with nobody else to review it");
        }
        self.to_review.extend(glass.rules.iter().cloned());
        self.overrides.used.push(Deviation::BreakGlass {});
        Ok(())
    }

    /// Takes the signature of somebody who has looked at a run for which the glass was broken.
    pub(super) fn accept_review(&mut self, approval: &Approval) -> Result<(), IllegalEvent> {
        let person = &approval.person;
        // One that died before it was opened is reviewed too.
        if !matches!(self.phase, Phase::New | Phase::Over(_)) {
            return refuse(format!("a review by {person} of a run that goes on"));
        }
        if approval.under.is_empty() {
            return refuse(format!("a review by {person} that counts under no policy"));
        }
        if !self.to_review.iter().any(|rule| rule.reviewers.contains(person)) {
            return refuse(format!("a review by {person}, who is not asked for one"));
        }
        self.to_review.retain(|rule| !rule.reviewers.contains(person));
        Ok(())
    }

    /// What is left to know of a run that is over: how it ended, and who is still to review it.
    pub fn what_remains(&self) -> Self {
        Self { phase: self.phase, to_review: self.to_review.clone(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Glass, GlassUnder, REVIEW};
    use crate::history::approval::{Approval, CountsUnder};
    use crate::history::event::{AnsweredBy, Cause, Event};
    use crate::history::state::State;
    use crate::id::Digest;

    fn glass(reviewers: &[&str]) -> Event {
        Event::GlassBroken(Glass {
            runbook: "change".to_owned(),
            plan: Digest::of(b"plan"),
            reason: "nobody answers".to_owned(),
            by: AnsweredBy::CommandLine,
            without: vec!["all of `core`".to_owned()],
            rules: vec![GlassUnder {
                policy: Digest::of(b"policy"),
                number: 1,
                operator: "amy".parse().unwrap(),
                tell: "core".to_owned(),
                command: vec!["/bin/page".to_owned()],
                reviewers: reviewers.iter().map(|person| person.parse().unwrap()).collect(),
                review_until: "2026-11-27T05:00:00Z".parse().unwrap(),
            }],
        })
    }

    fn review(person: &str) -> Event {
        Event::ApprovalAccepted(Approval {
            document: Digest::of(b"review"),
            namespace: REVIEW.to_owned(),
            person: person.parse().unwrap(),
            key: "SHA256:x".to_owned(),
            algorithm: "ssh-ed25519".to_owned(),
            presence: None,
            certificate: None,
            under: vec![CountsUnder {
                policy: Digest::of(b"policy"),
                number: 1,
                until: "2026-11-27T05:00:00Z".parse().unwrap(),
                signers: Digest::of(b"signers"),
                revoked: None,
            }],
            signature: "armour".to_owned(),
        })
    }

    fn refused() -> Event {
        Event::RunRefused {
            runbook: "change".to_owned(),
            plan: Digest::of(b"plan"),
            cause: Cause::FactDoesNotHold,
            reason: "no".to_owned(),
            seen: Vec::new(),
            policies: Vec::new(),
        }
    }

    #[test]
    fn p06_a_broken_glass_is_settled_by_the_review_of_somebody_else_once_the_run_is_over() {
        let mut state = State::default();
        assert!(state.apply(&glass(&[])).is_err() && state.apply(&glass(&["amy", "bea"])).is_err());
        state.apply(&glass(&["bea", "cy"])).unwrap();
        assert_eq!(state.overrides.used.len(), 1, "it counts as a deviation");
        state.apply(&refused()).unwrap();
        let mut state = state.what_remains();
        assert!(state.apply(&review("amy")).is_err(), "nobody reviews what they did themselves");
        state.apply(&review("bea")).unwrap();
        assert!(state.to_review.is_empty());
        assert!(state.apply(&review("cy")).is_err(), "it is settled");
        assert!(state.apply(&glass(&["bea"])).is_err(), "the run is over");
    }
}
