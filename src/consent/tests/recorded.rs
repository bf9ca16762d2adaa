//! What is recorded of a signature, and whether a record that was changed is told from one that was not.

use super::keys::{AMY, BEA, Keys, keygen, persons, signers, time};
use crate::consent::question::Counted;
use crate::consent::recorded::{approval, fits, holds};
use crate::consent::signature::{Namespace, Roster, verify};
use crate::history::approval::{Approval, CertifiedBy, CountsUnder};
use crate::id::Digest;

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
    let under =
        CountsUnder { policy: Digest::of(b"policy"), number: 1, until: "2026-11-23T12:00:00Z".parse().unwrap() };
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
fn a_record_holds_with_the_document_and_the_files_that_are_kept_and_with_no_others() {
    let keys = keys();
    let at = time("2026-11-22T12:00:00Z");
    let people = persons(&[AMY, BEA]);
    for key in ["amy", "amy-cert"] {
        let (good, line) = record(&keys, key);
        let file = signers(&line);
        let roster = Roster { signers: &file, revoked: None, people: &people };
        holds(&keygen(), &good, BYTES, &roster, at).unwrap();
        assert!(holds(&keygen(), &good, b"other", &roster, at).unwrap_err().contains("over other bytes"));
        let by_bea = Approval { person: BEA.parse().unwrap(), ..good.clone() };
        assert!(holds(&keygen(), &by_bea, BYTES, &roster, at).unwrap_err().contains("is recorded"));
        let of_another = Approval { document: Digest::of(b"other"), ..good.clone() };
        assert!(holds(&keygen(), &of_another, BYTES, &roster, at).unwrap_err().contains("another document"));
        let strange = signers(&format!("{BEA} {}\n", keys.public("bea")));
        let roster = Roster { signers: &strange, revoked: None, people: &people };
        assert!(holds(&keygen(), &good, BYTES, &roster, at).unwrap_err().contains("unknown key"));
    }
}
