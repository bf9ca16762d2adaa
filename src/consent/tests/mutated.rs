//! Signatures, signers files and policies that were damaged by chance: reading never panics and shows nothing raw, and no damaged
//! signature is taken by our reading with another meaning than the one it was made with.

use proptest::prelude::{Strategy, any, prop, proptest};
use proptest::sample::Index;

use super::keys::fixture;
use super::policies::{HEAD, read_with, shown};
use crate::consent::revoked::Revoked;
use crate::consent::signers::Signers;
use crate::consent::sshsig;
use crate::diagnostic::Source;
use crate::diagnostic::escape::is_unfit;
use crate::diagnostic::render::{Colour, render_all};

const SIGNERS: &str = "amy@example.org namespaces=\"a,b*\",valid-after=\"20260101Z\" ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB Amy\n# nothing\n\"*,!bea\" cert-authority ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC\n";

const RULES: &str = "operators: [core]
approvals: [{match: {labels: {env: production}}, need: all, of: core, valid_for: 24h}]
overrides: [{deviations: [skip, waive], need: 2, of: core, operator_counts: true}]
forbid: [abandon]
windows: [{days: [mon, sun], from: \"22:00\", to: \"04:00\", zone: +01:00}]
freezes: [{from: 2026-12-20T00:00:00Z, to: 2027-01-04T00:00:00Z, reason: Holidays}]
limits: {timeout: 1h}
";

/// Some bytes put in place of some others.
fn edits() -> impl Strategy<Value = Vec<(Index, u8, Vec<u8>)>> {
    prop::collection::vec((any::<Index>(), 0_u8..4, prop::collection::vec(any::<u8>(), 0..4)), 1..4)
}

fn damaged(text: &[u8], edits: &[(Index, u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for (at, remove, insert) in edits {
        let from = at.index(bytes.len() + 1);
        let to = (from + usize::from(*remove)).min(bytes.len());
        bytes.splice(from..to, insert.iter().copied());
    }
    bytes
}

fn fit(text: &str) {
    assert!(!text.contains(|c| c != '\n' && c != '\t' && is_unfit(c)), "{text:?}");
}

proptest! {
    #[test]
    fn a_damaged_signature_is_refused_or_read(edits in edits()) {
        let good = fixture("ed25519-flags1.sig");
        let _ = sshsig::read(&damaged(&good, &edits));
    }

    #[test]
    fn a_damaged_signers_file_is_refused_or_read(edits in edits()) {
        let text = String::from_utf8_lossy(&damaged(SIGNERS.as_bytes(), &edits)).into_owned();
        let (source, found) = match Signers::read(Source::new("signers", text)) {
            Ok((signers, warnings)) => (signers.source, warnings),
            Err(refused) => refused,
        };
        fit(&render_all(&found, &source, Colour::Never));
    }

    #[test]
    fn a_damaged_list_of_revoked_keys_is_refused_or_read(edits in edits()) {
        let list = SIGNERS.split_once("ssh-").map(|(_, rest)| format!("ssh-{rest}")).unwrap();
        if let Err((source, found)) = Revoked::read("revoked", damaged(list.as_bytes(), &edits)) {
            fit(&render_all(&found, &source, Colour::Never));
        }
    }

    #[test]
    fn a_damaged_policy_is_refused_or_read(edits in edits()) {
        let text = String::from_utf8_lossy(&damaged(format!("{HEAD}{RULES}").as_bytes(), &edits)).into_owned();
        if let Err(found) = read_with(&text, super::policies::SIGNERS) {
            assert!(!found.is_empty());
            fit(&shown(&found));
        }
    }
}

#[test]
fn every_flip_of_a_bit_in_a_signature_is_refused_or_changes_nothing_that_is_read_but_the_key_and_what_it_made() {
    let good = fixture("ed25519-flags1.sig");
    let read = sshsig::read(&good).unwrap();
    for at in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        if let Ok(other) = sshsig::read(&bytes) {
            assert_eq!(other.algorithm, read.algorithm);
            assert!(other.namespace.len() == read.namespace.len());
        }
    }
}

#[test]
fn policies_that_are_made_to_hurt_are_errors_in_bounded_time() {
    let begun = std::time::Instant::now();
    let many: String = (0..60_000).map(|at| format!("p{at}@example.org, ")).collect();
    let persons: String = (0..40_000).map(|at| format!("  p{at}: {{users: [u{at}]}}\n")).collect();
    let lines: String = SIGNERS.repeat(9_000);
    for (text, signers) in [
        (format!("{HEAD}approvals: []\n").replace("groups: {", &format!("groups: {{big: [{many}], ")), SIGNERS),
        (HEAD.replace("persons:\n", &format!("persons:\n{persons}")), SIGNERS),
        (format!("{HEAD}{RULES}"), lines.as_str()),
    ] {
        let found = read_with(&text, signers).expect_err("this policy must be refused");
        assert!(shown(&found).contains("error[E0111]"));
    }
    // Generous, for a slow machine and a build without optimisation.
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
}
