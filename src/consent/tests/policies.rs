//! Policies from text, with a signers file of keys that were made once; their private halves are gone.

use std::path::Path;

use crate::consent::policy::{Findings, Opened, Policy};
use crate::diagnostic::render::{Colour, render_all};
use crate::diagnostic::{Diagnostic, Source};

/// Keys that are nobody's: any 32 bytes are an Ed25519 key to those who only read it.
pub const SIGNERS: &str =
    "amy@example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB
bea@example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC
cy@example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD
";

/// What begins each policy of these tests: three persons, all of them in `core`.
pub const HEAD: &str = "interlock: 1
number: 12
signers: /etc/interlock/allowed_signers
persons:
  amy@example.org: {users: [amy]}
  bea@example.org: {users: [bea, 1002]}
  cy@example.org: {users: [cy]}
groups: {core: [amy@example.org, bea@example.org, cy@example.org], ops: [cy@example.org]}
";

/// Reads a policy with this text of the signers file.
pub fn read_with(text: &str, signers: &str) -> Result<Opened, Vec<Findings>> {
    Policy::read(Source::new("/etc/interlock/policy.yaml", text), |path: &Path| match path.to_str() {
        Some("/etc/interlock/allowed_signers") => Ok(signers.as_bytes().to_vec()),
        _ => Err(Box::new(Diagnostic::error("E0101", format!("cannot read `{}`: it is not there", path.display())))),
    })
}

/// The policy of this text, which follows [`HEAD`].
pub fn accepted(rules: &str) -> Policy {
    match read_with(&format!("{HEAD}{rules}"), SIGNERS) {
        Ok(opened) => opened.policy,
        Err(found) => panic!("{}", shown(&found)),
    }
}

pub fn shown(found: &[Findings]) -> String {
    let parts: Vec<String> =
        found.iter().map(|findings| render_all(&findings.diagnostics, &findings.source, Colour::Never)).collect();
    parts.join("\n")
}

/// What is wrong with the policy of this text alone.
pub fn refused(text: &str) -> String {
    shown(&read_with(text, SIGNERS).expect_err("this policy must be refused"))
}

/// What is wrong with the policy of this text after [`HEAD`].
pub fn refused_rules(rules: &str) -> String {
    refused(&format!("{HEAD}{rules}"))
}

/// What is probably not meant in the policy of this text after [`HEAD`].
pub fn warned(rules: &str) -> String {
    let opened = read_with(&format!("{HEAD}{rules}"), SIGNERS);
    shown(&opened.unwrap_or_else(|found| panic!("{}", shown(&found))).warnings)
}
