//! P8: the key that signs the log's checkpoints is shown for keeping elsewhere, and can be replaced; who was given one is led to the next.

use std::process::Command;

use crate::approvals::{RULE, Site};
use crate::support::{Ran, Scratch};

const RUNBOOK: &str = "interlock: 1\nname: one\nsteps:\n  - {id: a, run: [echo, one]}\n";

struct Case(Scratch);

impl Case {
    fn new() -> Self {
        let case = Self(Scratch::new());
        case.run();
        case
    }

    fn run(&self) -> Ran {
        let ran = self.0.run(RUNBOOK, &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran
    }

    fn key(&self) -> String {
        let ran = self.0.interlock(&["audit", "key"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout.trim().to_owned()
    }

    fn replace(&self, more: &[&str]) -> Ran {
        self.0.interlock(&[&["audit", "key", "--replace", "--reason", "it was seen"], more].concat())
    }

    /// A bundle of the last run.
    fn bundle(&self) -> String {
        let run = self.0.last_entry("run_opened")["run"].as_str().unwrap().to_owned();
        let ran = self.0.interlock(&["audit", "bundle", &run, "--force", "-o", "run.bundle"]);
        assert!([0, 11].contains(&ran.code), "{}", ran.stderr);
        self.0.path().join("run.bundle").display().to_string()
    }

    /// What both verifiers say, of the log and of a bundle of its last run.
    #[track_caller]
    fn both(&self, keys: &[&str], code: i32, words: &str) {
        let keys: Vec<&str> = keys.iter().flat_map(|key| ["--key", key]).collect();
        let bundle = self.bundle();
        let audit = self.0.home().join("audit").display().to_string();
        for (file, second) in [(None, &audit), (Some(&bundle), &bundle)] {
            let file: Vec<&str> = file.into_iter().map(String::as_str).collect();
            let ran = self.0.interlock(&[&["audit", "verify"], &file[..], &keys].concat());
            assert_eq!(ran.code, code, "{file:?}: {}{}", ran.stdout, ran.stderr);
            assert!(ran.stdout.contains(words), "`{words}`: {}", ran.stdout);
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
            let ran = Command::new("python3").arg(script).arg(second).args(&keys).output().unwrap();
            let said = [ran.stdout, ran.stderr].concat();
            assert_eq!(ran.status.code(), Some(code), "{second}: {}", String::from_utf8_lossy(&said));
        }
    }
}

#[test]
fn p08_a_key_that_is_replaced_signs_the_next_and_whoever_has_either_can_verify() {
    let case = Case::new();
    let first = case.key();
    assert_eq!(case.0.last("log_created")["key"], *first);
    let before = case.bundle();
    std::fs::copy(&before, case.0.path().join("before.bundle")).unwrap();
    let ran = case.replace(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let second = case.key();
    assert_eq!(ran.stdout.trim(), second);
    assert_ne!(first, second);
    let entry = case.0.last("log_key_replaced");
    assert_eq!(
        (&entry["old"], &entry["new"], &entry["reason"]),
        (&first.clone().into(), &second.clone().into(), &"it was seen".into())
    );
    case.run();
    for key in [&first, &second] {
        case.both(&[key], 0, &format!("signed by {second}"));
    }
    case.both(&[], 0, &format!("signed by {second}"));
    assert_eq!(case.replace(&[]).code, 0);
    let third = case.key();
    case.run();
    for key in [&first, &second, &third] {
        case.both(&[key], 0, &format!("signed by {third}"));
    }
    case.both(&[&Case::new().key()], 11, "FAILURE ");
    // What was bundled before was signed by the first, and by that it is verified.
    let verify = |key: &str| case.0.interlock(&["audit", "verify", "before.bundle", "--key", key]).code;
    assert_eq!([verify(&first), verify(&second)], [0, 11]);
}

#[test]
fn p08_who_has_a_key_that_was_replaced_signs_nothing_with_it_any_more() {
    let case = Case::new();
    let first = case.key();
    let keys = case.0.home().join("keys");
    let stolen = std::fs::read(keys.join("log.key")).unwrap();
    assert_eq!(case.replace(&[]).code, 0);
    let second = case.key();
    // Put back, it is not used.
    std::fs::write(keys.join("log.key"), &stolen).unwrap();
    assert!(case.run().stderr.contains("it was replaced, and does not sign any more"));
    // Whoever makes it be used is found.
    std::fs::remove_file(keys.join("former.pub")).unwrap();
    let forged = case.0.interlock(&["audit", "checkpoint"]);
    assert_eq!(forged.code, 0, "{}", forged.stderr);
    for given in [&[][..], &["--key", &first], &["--key", &second]] {
        let ran = case.0.interlock(&[&["audit", "verify"], given].concat());
        assert_eq!(ran.code, 11, "{}", ran.stdout);
        assert!(ran.stdout.contains("is signed by a key that entry 7 replaced"), "{}", ran.stdout);
    }
    case.both(&[&first], 11, "FAILURE ");
}

#[test]
fn p08_a_key_that_was_lost_is_replaced_and_only_who_is_given_the_new_one_believes_it() {
    let case = Case::new();
    let first = case.key();
    let ran = case.replace(&["--lost"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("is not lost: without --lost it signs the new one"), "{}", ran.stderr);
    std::fs::remove_file(case.0.home().join("keys/log.key")).unwrap();
    assert!(case.run().stderr.contains("there is no key any more, and there was one"));
    assert_eq!(case.replace(&[]).code, 1);
    let ran = case.replace(&["--lost"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let second = case.key();
    case.run();
    let lost = "the log's key was lost and replaced";
    case.both(&[], 11, lost);
    case.both(&[&first], 11, lost);
    case.both(&[&second], 0, lost);
}

#[test]
fn p08_a_key_whose_replacement_was_interrupted_is_put_into_its_place_by_who_signs_next() {
    let case = Case::new();
    let first = case.key();
    let next = case.0.home().join("keys/log.key.next").display().to_string();
    let before = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", &next, "-e", "inject=rename:error=EIO"];
    let ran = case.0.through(&before, &["audit", "key", "--replace", "--reason", "it was seen"]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(case.key(), first);
    let second = case.0.last("log_key_replaced")["new"].as_str().unwrap().to_owned();
    case.run();
    assert_eq!(case.key(), second);
    case.both(&[&first], 0, &format!("signed by {second}"));
    // One that no entry speaks of is left alone. The first of these is of the folder, when the new key is in it.
    let ran = case.0.with_fault(&["audit", "key", "--replace", "--reason", "it was seen"], "fsync:error=EIO:when=1");
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    case.run();
    assert_eq!(case.key(), second);
    case.both(&[&second], 0, &format!("signed by {second}"));
}

#[test]
fn p06_who_may_not_operate_does_not_replace_the_logs_key() {
    let site = Site::new(RULE);
    site.plan("steps:\n  - {id: touch, script: touch DIR/ran}\n");
    site.approve("plan.yaml", "bea");
    site.approve("plan.yaml", "cy");
    site.runs();
    let key = site.scratch.read("home/keys/log.pub");
    let text = site.scratch.read("policy.yaml").replace("{users: [\"", "{users: [\"9");
    site.scratch.write("policy.yaml", &text.replace("number: 12", "number: 13"));
    let ran = site.interlock(&["audit", "key", "--replace", "--reason", "it was seen"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert_eq!(site.scratch.read("home/keys/log.pub"), key);
    assert!(!site.scratch.events().contains(&"log_key_replaced".to_owned()));
}
