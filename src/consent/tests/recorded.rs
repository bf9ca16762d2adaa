//! What is recorded of a signature, and whether a record that was changed is told from one that was not.

use super::keys::{AMY, BEA, Keys, keygen, persons, signers, time};
use crate::consent::question::Counted;
use crate::consent::recorded::{approval, fits, holds, is_as_asked, is_removed_as_asked};
use crate::consent::request::{Request, StaleClaim, VERSION};
use crate::consent::revoked::Revoked;
use crate::consent::signature::{Namespace, Roster, verify};
use crate::consent::signers::Signers;
use crate::history::approval::{Approval, CertifiedBy, CountsUnder};
use crate::history::deviation::{Deviation, Override};
use crate::history::event::ClaimedBy;
use crate::id::{Digest, Nonce, RunId};
use crate::plan::AskedBy;

const BYTES: &[u8] = b"interlock_plan: 1\n";

/// A record of Amy's signature, and the line of the signers file that gives her the key.
fn record(keys: &Keys, key: &str) -> (Approval, String) {
    let line = match key.strip_suffix("-cert") {
        Some(_) => format!("{AMY} cert-authority {}\n", keys.public("ca")),
        None => format!("{AMY} {}\n", keys.public(key)),
    };
    let armour = keys.sign(key, Namespace::Plan.as_str(), BYTES);
    let (file, people) = (signers(&line), persons(&[AMY, BEA]));
    let roster = Roster { signers: &file, revoked: None, people: &people };
    let signature = verify(&keygen(), BYTES, &armour, Namespace::Plan, &roster, time("2026-11-22T12:00:00Z")).unwrap();
    let under = CountsUnder {
        policy: Digest::of(b"policy"),
        number: 1,
        signers: Digest::of(line.as_bytes()),
        revoked: None,
        until: "2026-11-23T12:00:00Z".parse().unwrap(),
    };
    let armour = String::from_utf8(armour).unwrap();
    (approval(&Counted { policy: 0, signature }, &armour, vec![under]), line)
}

fn keys() -> Keys {
    let keys = Keys::new();
    for name in ["ca", "amy", "bea"] {
        keys.make(name, "ed25519", "256");
    }
    keys.certify("ca", "amy", &["-n", AMY]);
    keys
}

#[test]
fn a_record_fits_its_signature_and_any_other_does_not() {
    let keys = keys();
    let (good, _) = record(&keys, "amy");
    fits(&good).unwrap();
    let (other, _) = record(&keys, "bea");
    let certificate = CertifiedBy { id: "x".to_owned(), serial: 1, authority: good.key.clone() };
    for (changed, why) in [
        (Approval { signature: other.signature.clone(), ..good.clone() }, "made with another key than is recorded"),
        (Approval { key: other.key, ..good.clone() }, "made with another key"),
        (Approval { namespace: "file".to_owned(), ..good.clone() }, "made for another purpose"),
        (Approval { algorithm: "ecdsa".to_owned(), ..good.clone() }, "made otherwise"),
        (Approval { presence: Some("touched".to_owned()), ..good.clone() }, "made otherwise"),
        (Approval { certificate: Some(certificate), ..good.clone() }, "has another certificate"),
        (Approval { signature: good.signature.replace("U1NI", "U1NJ"), ..good.clone() }, "cannot be read"),
    ] {
        let said = fits(&changed).unwrap_err();
        assert!(said.contains(why) && said.contains(AMY), "{said}");
    }
    let (certified, _) = record(&keys, "amy-cert");
    assert!(certified.certificate.is_some());
    fits(&certified).unwrap();
    assert!(fits(&Approval { certificate: None, ..certified }).is_err());
}

#[test]
fn p06_a_recorded_signature_holds_with_what_is_kept_at_that_time_and_with_nothing_else() {
    let keys = keys();
    let at = time("2026-11-22T12:00:00Z");
    for key in ["amy", "amy-cert"] {
        let (good, line) = record(&keys, key);
        let file = signers(&line);
        let holds = |approval: &Approval, document: &[u8]| holds(&keygen(), approval, document, &file, None, at);
        holds(&good, BYTES).unwrap();
        let document = Digest::of(b"other");
        assert!(holds(&good, b"other").unwrap_err().contains("another document"));
        assert!(holds(&Approval { document: document.clone(), ..good.clone() }, BYTES).is_err());
        let moved = Approval { document, ..good.clone() };
        assert!(holds(&moved, b"other").unwrap_err().contains("over other bytes"));
        let by_bea = Approval { person: BEA.parse().unwrap(), ..good.clone() };
        let said = holds(&by_bea, BYTES).unwrap_err();
        assert!(
            said.contains("somebody else than bea@example.org") || said.contains("names `amy@example.org`"),
            "{said}"
        );
    }
    let (good, line) = record(&keys, "amy");
    let said = |file: &Signers, at| holds(&keygen(), &good, BYTES, file, None, at).unwrap_err();
    let strange = signers(&format!("{BEA} {}\n", keys.public("bea")));
    assert!(said(&strange, at).contains("unknown key"));
    // What counts is whose the key was then.
    let until = signers(&line.replace(AMY, &format!("{AMY} valid-before=\"20261123Z\"")));
    holds(&keygen(), &good, BYTES, &until, None, at).unwrap();
    assert!(said(&until, time("2026-11-24T12:00:00Z")).contains("expired"));
    let gone = Revoked::read("revoked", keys.public("amy").into_bytes()).unwrap();
    let revoked = holds(&keygen(), &good, BYTES, &signers(&line), Some(&gone), at).unwrap_err();
    assert!(revoked.contains("is revoked"), "{revoked}");
}

#[test]
fn p05_an_override_is_recorded_as_its_request_has_it() {
    let run: RunId = "01a20171-54e8-7180-9231-1d65dacb99ea".parse().unwrap();
    let other: RunId = "01a20171-54e8-7180-9231-1d65dacb99eb".parse().unwrap();
    let plan = Digest::of(b"plan");
    let skip = |step: &str| Deviation::Skip { step: step.parse().unwrap() };
    let request = Request {
        interlock_override: VERSION,
        run: run.clone(),
        plan: Some(plan.clone()),
        runbook: "change".to_owned(),
        labels: [].into(),
        deviation: skip("announce"),
        claim: None,
        step_does: None,
        asks: None,
        reason: "told by phone".to_owned(),
        asked_by: AskedBy { user: "amy".to_owned(), person: None },
        host: "db1".to_owned(),
        machine: "0f".to_owned(),
        made: "2026-11-22T12:00:00Z".parse().unwrap(),
        valid_until: "2026-11-22T13:00:00Z".parse().unwrap(),
        nonce: Nonce::from_bytes(&[7; 16]),
        policies: Vec::new(),
    };
    let given = Override {
        deviation: skip("announce"),
        reason: "told by phone".to_owned(),
        asked_by: "amy".to_owned(),
        request: None,
        self_approved: None,
        approved_by: vec![BEA.to_owned()],
    };
    let at = time("2026-11-22T12:30:00Z");
    is_as_asked(&request, &given, &run, Some(&plan), at).unwrap();
    let said = |given: &Override, run: &RunId, plan: Option<&Digest>, at: &str| {
        is_as_asked(&request, given, run, plan, time(at)).unwrap_err()
    };
    let (plan, at) = (Some(&plan), "2026-11-22T12:30:00Z");
    assert!(said(&given, &other, plan, at).contains("is for run"));
    assert!(said(&given, &run, None, at).contains("another plan"));
    let change = Override { deviation: skip("change"), ..given.clone() };
    assert!(said(&change, &run, plan, at).contains("something else: skip step `announce`"));
    let because = Override { reason: "because".to_owned(), ..given.clone() };
    assert!(said(&because, &run, plan, at).contains("another reason"));
    let by_bea = Override { asked_by: "bea".to_owned(), ..given.clone() };
    assert!(said(&by_bea, &run, plan, at).contains("another user"));
    for late in ["2026-11-22T13:30:00Z", "2026-11-22T11:30:00Z"] {
        assert!(said(&given, &run, plan, late).contains("could be used from"), "{late}");
    }
}

#[test]
fn p05_the_removal_of_a_lock_is_recorded_as_its_request_has_it() {
    let run: RunId = "01a20171-54e8-7180-9231-1d65dacb99ea".parse().unwrap();
    let request = Request {
        interlock_override: VERSION,
        run: run.clone(),
        plan: None,
        runbook: "change".to_owned(),
        labels: [].into(),
        deviation: Deviation::StaleLock { lock: "postgres".to_owned() },
        claim: Some(StaleClaim {
            home: "/srv/home".to_owned(),
            log: None,
            user: "amy".to_owned(),
            gone: "there is no audit log in /srv/home".to_owned(),
        }),
        step_does: None,
        asks: None,
        reason: "its disk died".to_owned(),
        asked_by: AskedBy { user: "amy".to_owned(), person: None },
        host: "db1".to_owned(),
        machine: "0f".to_owned(),
        made: "2026-11-22T12:00:00Z".parse().unwrap(),
        valid_until: "2026-11-22T13:00:00Z".parse().unwrap(),
        nonce: Nonce::from_bytes(&[7; 16]),
        policies: Vec::new(),
    };
    let claimed = ClaimedBy {
        run: run.clone(),
        home: "/srv/home".to_owned(),
        runbook: "change".to_owned(),
        user: "amy".to_owned(),
    };
    let at = "2026-11-22T12:30:00Z";
    is_removed_as_asked(&request, "postgres", Some(&claimed), time(at)).unwrap();
    let said = |request: &Request, lock: &str, claimed: Option<&ClaimedBy>, at: &str| {
        is_removed_as_asked(request, lock, claimed, time(at)).unwrap_err()
    };
    assert!(said(&request, "mysql", Some(&claimed), at).contains("something else: remove the lock `postgres`"));
    assert!(said(&request, "postgres", None, at).contains("for the claim of run"));
    let changed = [
        ClaimedBy { run: "01a20171-54e8-7180-9231-1d65dacb99eb".parse().unwrap(), ..claimed.clone() },
        ClaimedBy { home: "/srv/other".to_owned(), ..claimed.clone() },
        ClaimedBy { runbook: "other".to_owned(), ..claimed.clone() },
        ClaimedBy { user: "bea".to_owned(), ..claimed.clone() },
    ];
    for other in changed {
        assert!(said(&request, "postgres", Some(&other), at).contains("for the claim of run"), "{other:?}");
    }
    for late in ["2026-11-22T13:30:00Z", "2026-11-22T11:30:00Z"] {
        assert!(said(&request, "postgres", Some(&claimed), late).contains("could be used from"), "{late}");
    }
    let of_a_run = Request {
        plan: Some(Digest::of(b"plan")),
        deviation: Deviation::Skip { step: "announce".parse().unwrap() },
        claim: None,
        ..request
    };
    assert!(said(&of_a_run, "postgres", Some(&claimed), at).contains("something else"));
}
