//! What is recorded of who may: the policies in force, and each signature that counts, whole, so that it can be checked years later with
//! the plan and the log alone. And the part of the fold that takes them.
//!
//! Signatures are taken only right after a run was opened or taken up again, before anything of it looks at the world; each is over
//! the plan of that very run; and nobody's is taken twice under one policy.

use serde::{Deserialize, Serialize};

use crate::history::event::Event;
use crate::history::glass::REVIEW;
use crate::history::state::{IllegalEvent, State, refuse};
use crate::id::{Digest, Moment, Person};

/// The namespace of signatures over plans.
pub const PLAN: &str = "interlock-plan@v1";

/// The namespace of signatures over requests for a deviation.
pub const OVERRIDE: &str = "interlock-override@v1";

/// A policy that was in force, with its files, and whom it takes the operator for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyInForce {
    /// The path of its file.
    pub file: String,
    /// SHA-256 of its bytes, which are kept in `runs/<run>/policies/<digest>.policy.yaml`.
    pub digest: Digest,
    /// Its number, which only ever rises.
    pub number: u64,
    /// SHA-256 of its signers file, kept there as `<digest>.allowed_signers`.
    pub signers: Digest,
    /// SHA-256 of its file of revoked keys, kept there as `<digest>.revoked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Digest>,
    /// The operator, as it calls them; none if it lets them not operate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Person>,
}

/// A signature that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// SHA-256 of what was signed.
    pub document: Digest,
    /// What the signature was made for.
    pub namespace: String,
    /// Who signed.
    pub person: Person,
    /// The fingerprint of the key, as OpenSSH writes it.
    pub key: String,
    /// The algorithm, as OpenSSH names it.
    pub algorithm: String,
    /// What a hardware key tells of the person: `touched`, or `verified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<String>,
    /// The certificate that says whose the key is, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertifiedBy>,
    /// The policies under which it counts; one at least.
    pub under: Vec<CountsUnder>,
    /// The signature file, as `ssh-keygen -Y verify` takes it.
    pub signature: String,
}

/// What is kept of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedBy {
    /// What its authority calls it.
    pub id: String,
    /// Its number.
    pub serial: u64,
    /// The fingerprint of the authority's key.
    pub authority: String,
}

/// A policy under which a signature counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountsUnder {
    /// SHA-256 of the policy.
    pub policy: Digest,
    /// Its number.
    pub number: u64,
    /// SHA-256 of its signers file, as it was when the signature was looked at, kept in `runs/<run>/policies/<digest>.allowed_signers`.
    pub signers: Digest,
    /// SHA-256 of its file of revoked keys, kept there as `<digest>.revoked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Digest>,
    /// Until when it counts, not at that moment any more.
    pub until: Moment,
}

/// Whether signatures may be taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Intake {
    /// No: something else was recorded since the opening.
    #[default]
    Closed,
    /// Yes: the run was just opened, or taken up again.
    Open,
}

impl State {
    /// Takes a signature.
    pub(super) fn accept_approval(&mut self, approval: &Approval) -> Result<(), IllegalEvent> {
        let person = &approval.person;
        if approval.namespace == OVERRIDE {
            return self.accept_signed_request(approval);
        }
        if approval.namespace == REVIEW {
            return self.accept_review(approval);
        }
        if self.intake != Intake::Open {
            return refuse(format!("an approval by {person} that does not stand right after the opening of its run"));
        }
        if approval.namespace != PLAN {
            return refuse(format!("an approval by {person} for `{}`, which is not for plans", approval.namespace));
        }
        if self.plan.as_ref() != Some(&approval.document) {
            return refuse(format!("an approval by {person} of another plan than the run's"));
        }
        if approval.under.is_empty() {
            return refuse(format!("an approval by {person} that counts under no policy"));
        }
        for under in &approval.under {
            let again =
                |other: &Approval| other.person == *person && other.under.iter().any(|one| one.policy == under.policy);
            if self.approvals.iter().any(again) {
                return refuse(format!("an approval by {person} was taken twice"));
            }
        }
        self.approvals.push(approval.clone());
        Ok(())
    }

    /// Takes a signature over a request for a deviation. It permits nothing by itself: the override that names the request does.
    fn accept_signed_request(&mut self, approval: &Approval) -> Result<(), IllegalEvent> {
        let person = &approval.person;
        if self.plan.is_none() || self.plan.as_ref() == Some(&approval.document) {
            return refuse(format!("a signature by {person} over a request, where there is none"));
        }
        if approval.under.is_empty() {
            return refuse(format!("a signature by {person} over a request that counts under no policy"));
        }
        self.signed_requests.insert((approval.document.clone(), person.clone()));
        Ok(())
    }

    /// What an event, which was applied, means for taking signatures. When a run is taken up again its signatures are looked at anew, and
    /// those that are recorded then stand for themselves.
    pub(super) fn note_intake(&mut self, event: &Event) {
        self.intake = match event {
            // What concerns the opening too leaves it as it is.
            Event::OverrideAccepted(_) | Event::OverrideRefused { .. } | Event::TakeUpRefused { .. } => self.intake,
            Event::ApprovalAccepted(approval) if approval.namespace == OVERRIDE => self.intake,
            Event::RunOpened { .. } | Event::RunResumed { .. } | Event::ApprovalAccepted(_) => Intake::Open,
            Event::LogCreated { .. }
            | Event::LogRepaired { .. }
            | Event::LogKeyReplaced { .. }
            | Event::CheckpointSinkFailed { .. }
            | Event::EntriesArchived { .. }
            | Event::LockRemoved { .. }
            | Event::LockKept { .. }
            | Event::NotifyFailed { .. }
            | Event::RunRefused { .. }
            | Event::GlassBroken(_)
            | Event::GlassTold { .. }
            | Event::WatchesArmed { .. }
            | Event::Answered { .. }
            | Event::Declined { .. }
            | Event::StepIntended { .. }
            | Event::StepEnded { .. }
            | Event::StepDone { .. }
            | Event::StepAlready { .. }
            | Event::StepFailed { .. }
            | Event::StepNotApplicable { .. }
            | Event::StepSkipped { .. }
            | Event::StepAccepted { .. }
            | Event::WaivedFactSeen { .. }
            | Event::StepRetried { .. }
            | Event::RerunBegan { .. }
            | Event::RerunNotNeeded { .. }
            | Event::UndoBegan { .. }
            | Event::HoldBroken { .. }
            | Event::SecretAsked { .. }
            | Event::SignalReceived { .. }
            | Event::StopDecided { .. }
            | Event::RunHalted { .. }
            | Event::RunUndone { .. }
            | Event::RunAbandoned { .. }
            | Event::RunCompleted { .. } => Intake::Closed,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{Approval, CountsUnder, PLAN};
    use crate::history::event::Event;
    use crate::history::state::State;
    use crate::id::Digest;

    fn approval(person: &str, policy: &str) -> Approval {
        Approval {
            document: Digest::of(b"plan"),
            namespace: PLAN.to_owned(),
            person: person.parse().unwrap(),
            key: "SHA256:x".to_owned(),
            algorithm: "ssh-ed25519".to_owned(),
            presence: None,
            certificate: None,
            under: vec![CountsUnder {
                policy: Digest::of(policy.as_bytes()),
                number: 1,
                signers: Digest::of(b"signers"),
                revoked: None,
                until: "2026-11-22T05:00:00Z".parse().unwrap(),
            }],
            signature: "armour".to_owned(),
        }
    }

    fn opened() -> State {
        let mut state = State::default();
        let text = || "text".to_owned();
        let opened = Event::RunOpened {
            runbook: text(),
            title: None,
            labels: [].into(),
            source: text(),
            plan: Digest::of(b"plan"),
            steps: 1,
            locks: Vec::new(),
            policies: Vec::new(),
            containment: text(),
            watching: text(),
            program: text(),
        };
        state.apply(&opened).unwrap();
        state
    }

    fn accept(state: &mut State, approval: Approval) -> Result<(), String> {
        state.apply(&Event::ApprovalAccepted(approval)).map_err(|illegal| illegal.to_string())
    }

    #[test]
    fn a_person_counts_once_under_each_policy() {
        let mut state = opened();
        accept(&mut state, approval("amy", "one")).unwrap();
        accept(&mut state, approval("amy", "two")).unwrap();
        accept(&mut state, approval("bea", "one")).unwrap();
        assert!(accept(&mut state, approval("amy", "one")).unwrap_err().contains("twice"));
        assert_eq!(state.approvals.len(), 3);
    }

    #[test]
    fn an_approval_is_of_the_plan_of_its_run_and_stands_right_after_the_opening() {
        let mut state = opened();
        let other = Approval { document: Digest::of(b"other"), ..approval("amy", "one") };
        assert!(accept(&mut state, other).unwrap_err().contains("of another plan"));
        let other = Approval { namespace: "interlock-other@v1".to_owned(), ..approval("amy", "one") };
        assert!(accept(&mut state, other).unwrap_err().contains("not for plans"));
        let other = Approval { under: Vec::new(), ..approval("amy", "one") };
        assert!(accept(&mut state, other).unwrap_err().contains("under no policy"));
        state.apply(&Event::WatchesArmed { facts: Vec::new() }).unwrap();
        assert!(accept(&mut state, approval("amy", "one")).unwrap_err().contains("right after the opening"));
        assert!(accept(&mut State::default(), approval("amy", "one")).is_err());
    }
}
