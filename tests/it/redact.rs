//! P10: what a policy says to remove is in nothing that is written or shown, however a step writes it; and what was removed can be shown
//! by who has the key.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::approvals::Site;
use crate::support::until;
use crate::terminal::Terminal;

const RULES: &str = "redact:\n  - {name: card-number, pattern: '\\b\\d{13,16}\\b'}\n  - {name: token, pattern: 'eyJ[\\w-]+\\.[\\w-]+\\.[\\w-]+'}\n";
/// No step has it in its text, or the plan would have it too.
const CARD: &str = "4111222233334444";
const PARTS: &str = "a=41112222; b=33334444; t=eyJhbGci";

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

/// Fails if one of these is in a file of the home or in one of these texts.
pub fn is_nowhere(site: &Site, texts: &[&str], canaries: &[&str]) {
    for canary in canaries {
        for text in texts {
            assert!(!text.contains(canary), "{canary} in: {text}");
        }
        for file in files_below(&site.scratch.home()) {
            let bytes = std::fs::read(&file).unwrap();
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{} holds {canary}", file.display());
        }
    }
}

fn transcript(site: &Site) -> String {
    let recorded = site.scratch.last("step_ended");
    std::fs::read_to_string(site.scratch.home().join(recorded["output"]["transcript"].as_str().unwrap())).unwrap()
}

fn list(site: &Site) -> (PathBuf, Vec<Value>) {
    let recorded = site.scratch.last("step_ended");
    let path = site.scratch.home().join(recorded["output"]["redacted"]["file"].as_str().unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

pub fn audit_verify(site: &Site) -> (i32, String) {
    let ran = site.interlock(&["audit", "verify"]);
    (ran.code, format!("{}{}", ran.stdout, ran.stderr))
}

#[test]
fn p10_what_the_policy_removes_is_in_no_artefact_however_a_step_writes_it() {
    let site = Site::new(RULES);
    let script = [
        PARTS,
        // In two writes; on both streams; in binary; without a newline; over the border of 64 KiB, in one line and in many.
        "printf \"card $a\"; printf \"$b.\\n\"",
        "printf \"$a$b\\n\" >&2",
        "printf '\\377\\000'; printf $a; printf $b; printf '\\376\\000\\n'",
        "head -c 65529 /dev/zero | tr '\\0' x; printf \" $a\"; printf \"$b \\n\"",
        "yes line | head -c 65529; printf \" $a\"; printf \"$b \\n\"",
        "i=0; while [ $i -lt 300 ]; do printf \" $a\"; printf \"$b $t.x\"; printf \".y\"; i=$((i+1)); done",
        "printf \" $a\"; printf \"$b\"",
    ];
    site.runbook(&format!("steps:\n  - id: hostile\n    script: |\n      {}\n", script.join("\n      ")));
    for arguments in [&["run", "change.yaml"][..], &["run", "change.yaml", "--format", "json"]] {
        let ran = site.interlock(arguments);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        is_nowhere(&site, &[&ran.stdout, &ran.stderr], &[CARD, "eyJhbGci.x", "eyJhbGci.x.y"]);
        // JSON has the entries alone, and nothing of the output.
        let shown = format!("{}{}", ran.stdout, ran.stderr).contains("card [redacted card-number].");
        assert_eq!(shown, arguments.len() == 2, "{}", ran.stderr);
        let transcript = transcript(&site);
        assert!(transcript.contains("card [redacted card-number].") && transcript.contains("[redacted token]"));
        let recorded = site.scratch.last("step_ended");
        let (path, lines) = list(&site);
        let (last, pieces) = lines.split_last().unwrap();
        assert_eq!(last["removed"]["card-number"], 306);
        assert_eq!(recorded["output"]["redacted"]["count"].as_u64().unwrap(), pieces.len() as u64);
        assert_eq!(recorded["output"]["trouble"], Value::Null);
        assert_eq!(
            path.display().to_string(),
            format!(
                "{}.redacted",
                site.scratch.home().join(recorded["output"]["transcript"].as_str().unwrap()).display()
            )
        );
    }
    assert_eq!(audit_verify(&site).0, 0);
    // Nothing is listed where nothing was removed.
    site.runbook("steps:\n  - {id: plain, script: echo 12}\n");
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 0);
    assert_eq!(site.scratch.last("step_ended")["output"]["redacted"], Value::Null);
}

#[test]
fn p10_what_was_removed_can_be_shown_with_the_key_and_the_list_is_held_against_the_log() {
    let site = Site::new(RULES);
    site.runbook(&format!("steps:\n  - id: one\n    script: |\n      {PARTS}\n      echo $a$b; echo $a$b\n"));
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 0);
    let key = site.scratch.home().join("redaction.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // As docs/audit-format.md says, with a tool that is not ours.
    let hex = std::fs::read_to_string(&key).unwrap();
    let run = site.scratch.last_entry("step_ended")["run"].as_str().unwrap().to_owned();
    let (path, lines) = list(&site);
    for (number, claimed, is_so) in [(1, CARD, true), (2, CARD, true), (2, "4111222233334445", false)] {
        let mut openssl = Command::new("openssl")
            .args(["dgst", "-sha256", "-mac", "HMAC", "-macopt", &format!("hexkey:{}", hex.trim())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let hashed = format!("interlock-redaction-1\n{run}\none-1\n{number}\n{claimed}");
        openssl.stdin.take().unwrap().write_all(hashed.as_bytes()).unwrap();
        let said = String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap();
        let expected = lines[number - 1]["hmac"].as_str().unwrap();
        assert_eq!(said.trim().ends_with(expected), is_so, "{number}: {said}");
    }
    assert_ne!(lines[0]["hmac"], lines[1]["hmac"], "equal values do not look equal");
    // A bundle has the list, and not the key.
    let ran = site.interlock(&["audit", "bundle", &run, "-o", "run.bundle"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let names = Command::new("tar").args(["tf", &site.text_path("run.bundle")]).output().unwrap();
    let names = String::from_utf8(names.stdout).unwrap();
    assert!(names.contains("transcripts/one-1.cast.redacted\n") && !names.contains("key"), "{names}");
    assert_eq!(site.interlock(&["audit", "verify", "run.bundle"]).code, 0);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
    let checked = Command::new("python3").args([script, &site.text_path("run.bundle")]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    // Another run has the same key.
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 0);
    assert_eq!(std::fs::read_to_string(&key).unwrap(), hex);
    assert_eq!(audit_verify(&site).0, 0);
    let was = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, was.replace("card-number", "card-numbed")).unwrap();
    let (code, said) = audit_verify(&site);
    assert!(code == 11 && said.contains("one-1.cast.redacted, was altered"), "{said}");
    std::fs::remove_file(&path).unwrap();
    let (code, said) = audit_verify(&site);
    assert!(code == 11 && said.contains("one-1.cast.redacted, is missing"), "{said}");
    std::fs::write(&path, was).unwrap();
    assert_eq!(audit_verify(&site).0, 0);
}

#[test]
fn p10_a_run_that_is_taken_up_removes_it_too_by_the_rules_of_every_policy_in_force() {
    let site = Site::new(RULES);
    site.policy("second.yaml", 1, "redact: [{name: ticket, pattern: 'T-\\d+'}]\n");
    site.runbook(&format!(
        "steps:\n  - id: one\n    script: 'true'\n    undo:\n      script: |\n        {PARTS}\n        echo $a$b T-$a\n  - {{id: two, script: exit 3}}\n"
    ));
    let second = site.text_path("second.yaml");
    assert_eq!(site.interlock(&["run", "change.yaml", "--policy", &second]).code, 7);
    let run = site.scratch.the_open_run();
    let ran = site.interlock(&["undo", &run, "--policy", &second]);
    assert_eq!(site.scratch.last("step_ended")["output"]["redacted"]["count"], 2, "{}", ran.stderr);
    is_nowhere(&site, &[&ran.stdout, &ran.stderr], &[CARD, "T-41112222"]);
    assert!(transcript(&site).contains("[redacted card-number] [redacted ticket]"));
    assert!(list(&site).0.ends_with("one-undo-1.cast.redacted"));
    assert_eq!(audit_verify(&site).0, 0);
}

#[test]
fn p10_a_line_that_is_not_ended_is_recorded_when_the_step_waits_and_a_service_leaves_nothing_behind() {
    let site = Site::new(RULES);
    let folder = site.path().display().to_string();
    let script = format!(
        "{PARTS}\n      printf \"$a\"; printf \"$b Go on? \"\n      until test -e {folder}/let; do sleep 0.01; done\n      printf \"$a\"; printf \"$b yes\\n\"\n      setsid sh -c 'until test -e {folder}/end; do sleep 0.01; done' {folder}-service &\n"
    );
    site.runbook(&format!("steps:\n  - id: ask\n    starts_service: true\n    script: |\n      {script}"));
    let arguments = format!("run {} --policy {}", site.text_path("change.yaml"), site.text_path("policy.yaml"));
    let terminal = Terminal::type_in(&site.scratch, &arguments);
    let recorded = || {
        // The home is made while this looks.
        let runs = std::fs::read_dir(site.scratch.home().join("runs")).into_iter().flatten();
        runs.map(|run| std::fs::read_to_string(run.unwrap().path().join("ask-1.cast")).unwrap_or_default())
            .collect::<String>()
    };
    until("the question is recorded", || recorded().contains("[redacted card-number] Go on?"));
    site.scratch.write("let", "");
    terminal.wait_for("EXIT=0");
    let screen = terminal.screen();
    assert!(screen.contains("Go on? [redacted card-number] yes") && !screen.contains(CARD), "{screen}");
    site.scratch.write("end", "");
    until("the service has ended", || !crate::support::alive(&format!("{folder}-service")));
    is_nowhere(&site, &[&screen], &[CARD]);
}

#[test]
fn p10_without_a_key_that_only_the_operator_has_nothing_is_started() {
    let site = Site::new(RULES);
    site.runbook("steps:\n  - {id: one, script: touch DIR/ran}\n");
    std::fs::create_dir_all(site.scratch.home()).unwrap();
    std::fs::set_permissions(site.scratch.home(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(site.scratch.home().join("redaction.key"), "x\n").unwrap();
    let ran = site.interlock(&["run", "change.yaml"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("redaction.key") && ran.stderr.contains("nothing was started"), "{}", ran.stderr);
    assert!(!site.path().join("ran").exists());
}
