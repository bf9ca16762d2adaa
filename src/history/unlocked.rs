//! What the log says of locks that were removed: entries of no run. Each removal is on the operator's word, or by a request that those who
//! are named have signed, and that is used once.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::history::approval::{Approval, OVERRIDE};
use crate::history::event::Event;
use crate::history::state::{IllegalEvent, refuse};
use crate::id::{Digest, Person};

/// The removals of locks of one log, as its entries tell them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unlocked {
    /// Who has signed which request.
    signed: BTreeSet<(Digest, Person)>,
    /// The requests that were used.
    used: BTreeSet<Digest>,
}

impl Unlocked {
    /// Takes an event of no run. One that says nothing of a removal changes nothing.
    ///
    /// # Errors
    /// It cannot have happened after those before it.
    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        if let Event::ApprovalAccepted(approval) = event {
            return self.sign(approval);
        }
        let Event::LockRemoved { lock, request, self_approved, approved_by, .. } = event else { return Ok(()) };
        if self_approved.is_some() != approved_by.is_empty() || self_approved.is_some() != request.is_none() {
            return refuse(format!(
                "the lock `{lock}` was removed on nobody's word, or on the operator's as well as on that of others"
            ));
        }
        let Some(request) = request else { return Ok(()) };
        let signed = |person: &&String| self.signed.iter().any(|(of, by)| of == request && by.as_str() == *person);
        if let Some(person) = approved_by.iter().find(|person| !signed(person)) {
            return refuse(format!(
                "the lock `{lock}` was removed by a request approved by {person}, who has not signed it"
            ));
        }
        if !self.used.insert(request.clone()) {
            return refuse(format!("the lock `{lock}` was removed by a request that was used before"));
        }
        Ok(())
    }

    /// Whether a lock was removed by this request.
    pub fn was_used(&self, request: &Digest) -> bool {
        self.used.contains(request)
    }

    fn sign(&mut self, approval: &Approval) -> Result<(), IllegalEvent> {
        let person = &approval.person;
        if approval.namespace != OVERRIDE {
            return refuse(format!("an approval by {person} for `{}` that is of no run", approval.namespace));
        }
        if approval.under.is_empty() {
            return refuse(format!("a signature by {person} over a request that counts under no policy"));
        }
        self.signed.insert((approval.document.clone(), person.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Unlocked;
    use crate::history::approval::{Approval, CountsUnder, OVERRIDE, PLAN};
    use crate::history::event::{AnsweredBy, Event};
    use crate::id::Digest;

    fn signed(request: &[u8], person: &str) -> Approval {
        Approval {
            document: Digest::of(request),
            namespace: OVERRIDE.to_owned(),
            person: person.parse().unwrap(),
            key: "SHA256:x".to_owned(),
            algorithm: "ssh-ed25519".to_owned(),
            presence: None,
            certificate: None,
            under: vec![CountsUnder {
                policy: Digest::of(b"policy"),
                number: 1,
                signers: Digest::of(b"signers"),
                revoked: None,
                until: "2026-11-22T05:00:00Z".parse().unwrap(),
            }],
            signature: "armour".to_owned(),
        }
    }

    fn removed(request: Option<&[u8]>, alone: Option<AnsweredBy>, by: &[&str]) -> Event {
        Event::LockRemoved {
            lock: "db".to_owned(),
            claimed_by: None,
            gone: "there is no log".to_owned(),
            reason: "its disk died".to_owned(),
            request: request.map(Digest::of),
            self_approved: alone,
            approved_by: by.iter().map(|person| (*person).to_owned()).collect(),
            policies: Vec::new(),
        }
    }

    #[test]
    fn p05_a_lock_is_removed_on_the_operators_word_or_by_a_signed_request_and_never_by_both_or_neither() {
        let alone = Some(AnsweredBy::Terminal);
        let mut log = Unlocked::default();
        log.apply(&Event::ApprovalAccepted(signed(b"one", "bea@example.org"))).unwrap();
        log.apply(&removed(None, alone, &[])).unwrap();
        let impossible = [
            removed(None, None, &[]),
            removed(None, None, &["bea@example.org"]),
            removed(None, alone, &["bea@example.org"]),
            removed(Some(b"one"), None, &[]),
            removed(Some(b"one"), alone, &[]),
            removed(Some(b"one"), alone, &["bea@example.org"]),
        ];
        for event in impossible {
            assert!(log.apply(&event).is_err(), "{event:?}");
        }
        log.apply(&removed(Some(b"one"), None, &["bea@example.org"])).unwrap();
    }

    #[test]
    fn p05_a_request_to_remove_a_lock_is_used_once_and_signed_by_each_who_is_named() {
        let mut log = Unlocked::default();
        let both = ["bea@example.org", "cy@example.org"];
        log.apply(&Event::ApprovalAccepted(signed(b"one", both[0]))).unwrap();
        log.apply(&Event::ApprovalAccepted(signed(b"other", both[1]))).unwrap();
        let why = log.apply(&removed(Some(b"one"), None, &both)).unwrap_err().to_string();
        assert!(why.contains("cy@example.org, who has not signed it"), "{why}");
        log.apply(&Event::ApprovalAccepted(signed(b"one", both[1]))).unwrap();
        log.apply(&removed(Some(b"one"), None, &both)).unwrap();
        let why = log.apply(&removed(Some(b"one"), None, &both)).unwrap_err().to_string();
        assert!(why.contains("used before"), "{why}");
    }

    #[test]
    fn a_signature_of_no_run_is_over_a_request_and_counts_under_a_policy() {
        let mut log = Unlocked::default();
        for approval in [
            Approval { namespace: PLAN.to_owned(), ..signed(b"one", "bea@example.org") },
            Approval { under: Vec::new(), ..signed(b"one", "bea@example.org") },
        ] {
            assert!(log.apply(&Event::ApprovalAccepted(approval)).is_err());
        }
    }
}
