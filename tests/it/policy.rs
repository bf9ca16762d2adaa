//! `interlock policy check`, as a user runs it, with real keys.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::support::{Ran, Scratch, finish};

const POLICY: &str = "interlock: 1
number: 12
signers: allowed_signers
revoked: revoked
persons:
  amy@example.org: {users: [amy]}
  bea@example.org: {users: [bea]}
groups: {core: [amy@example.org, bea@example.org]}
approvals: [{match: {labels: {env: production}}, need: all, of: core, valid_for: 24h}]
overrides: [{deviations: [skip, waive], need: all, of: core, valid_for: 1h}]
windows: [{days: [mon, tue, wed, thu], from: \"22:00\", to: \"04:00\", zone: UTC}]
";

/// A policy with its files beside it, of real keys of this kind.
fn site(kind: &str, bits: &str) -> Scratch {
    let scratch = Scratch::new();
    let mut signers = String::new();
    for name in ["amy", "bea", "gone"] {
        let path = scratch.path().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-b", bits, "-N", "", "-C", name, "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        signers.push_str(&format!("{name}@example.org {}", scratch.read(&format!("{name}.pub"))));
    }
    scratch.write("allowed_signers", &signers);
    scratch.write("revoked", &scratch.read("gone.pub"));
    scratch.write("policy.yaml", POLICY);
    scratch
}

fn check(scratch: &Scratch, more: &[&str]) -> Ran {
    let path = scratch.path().join("policy.yaml");
    let mut arguments = vec!["policy", "check", path.to_str().unwrap()];
    arguments.extend(more);
    scratch.interlock(&arguments)
}

fn without_folder(scratch: &Scratch, text: &str) -> String {
    text.replace(scratch.path().to_str().unwrap(), "DIR")
}

#[test]
fn a_right_policy_is_said_to_be_right_and_what_it_leaves_open_is_said_too() {
    let scratch = site("ed25519", "256");
    let ran = check(&scratch, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(without_folder(&scratch, &ran.stdout), @"
    DIR/policy.yaml: nothing wrong: number 12, 2 persons, 1 group, 2 operators, 1 rule of approvals, 1 rule of overrides
      a run that no rule of `approvals` is about needs no approval
    ");
    let ran = check(&scratch, &["--format", "json"]);
    let object: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(object["number"], 12);
    assert_eq!(object["groups"]["core"].as_array().unwrap().len(), 2);
    assert_eq!(object["digest"].as_str().unwrap().len(), 64);
    assert_eq!(object["operators"][1], "bea@example.org");
}

#[test]
fn every_mistake_of_the_policy_and_of_its_files_is_shown_at_once() {
    let scratch = site("rsa", "1024");
    scratch.write("policy.yaml", &POLICY.replace("number", "nummer").replace("need: all", "need: 3"));
    scratch.write("revoked", "not a key\n");
    let ran = check(&scratch, &["--format", "json"]);
    assert_eq!(ran.code, 2);
    let codes: Vec<String> = ran
        .stdout
        .lines()
        .map(|line| {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            let file = object["file"].as_str().unwrap().rsplit('/').next().unwrap();
            format!("{} {file} {}", object["code"].as_str().unwrap(), object["line"])
        })
        .collect();
    insta::assert_snapshot!(codes.join("\n"), @"
    E0201 policy.yaml 2
    E0707 policy.yaml 3
    E0707 policy.yaml 4
    E0703 policy.yaml 9
    E0703 policy.yaml 10
    W0701 allowed_signers 1
    W0701 allowed_signers 2
    W0701 allowed_signers 3
    E0704 allowed_signers null
    E0707 revoked 1
    ");
}

#[test]
fn what_others_could_have_changed_is_no_policy() {
    for name in ["policy.yaml", "allowed_signers", "revoked", ""] {
        let scratch = site("ed25519", "256");
        let path = scratch.path().join(name);
        let mode = if name.is_empty() { 0o775 } else { 0o664 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let ran = check(&scratch, &[]);
        assert_eq!(ran.code, 2);
        assert!(
            ran.stderr.contains("error[E0701]") && ran.stderr.contains("can be written by others"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("= help: `chmod go-w "), "{}", ran.stderr);
    }
}

#[test]
fn without_a_file_the_policies_in_force_are_checked() {
    let scratch = site("ed25519", "256");
    let mut command = scratch.command(&["policy", "check"]);
    command.env("INTERLOCK_POLICY", scratch.path().join("policy.yaml"));
    let ran = finish(command.spawn().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("policy.yaml: nothing wrong: number 12"), "{}", ran.stdout);
    let mut command = scratch.command(&["policy", "check"]);
    command.env("INTERLOCK_POLICY", scratch.path().join("none.yaml"));
    let ran = finish(command.spawn().unwrap());
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("No such file"), "{}", ran.stderr);
}
