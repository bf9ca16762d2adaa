//! P8: the checkpoints of the log leave the machine by themselves, where the policy says so.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use serde_json::json;

use crate::approvals::Site;

const STEPS: &str = "steps:\n  - {id: touch, script: touch DIR/ran}\n";

/// A site with these places; `DIR` stands for its folder.
fn site(sinks: &str) -> Site {
    let site = Site::new("");
    let rules = format!("checkpoints: [{}]\n", sinks.replace("DIR", &site.path().display().to_string()));
    site.policy("policy.yaml", 12, &rules);
    site.runbook(STEPS);
    site
}

fn kept(site: &Site) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> =
        std::fs::read_dir(site.path().join("kept")).unwrap().map(|entry| entry.unwrap().path()).collect();
    kept.sort();
    kept
}

#[test]
fn p08_each_run_leaves_a_checkpoint_in_the_folder_that_the_policy_names() {
    let site = site("{file: DIR/kept}");
    std::fs::create_dir(site.path().join("kept")).unwrap();
    for count in 1..3 {
        let ran = site.interlock(&["run", "change.yaml"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
        let kept = kept(&site);
        assert_eq!(kept.len(), count, "{kept:?}");
        let entries = site.scratch.entries();
        let last = kept.last().unwrap().to_str().unwrap();
        let host = entries[0]["who"]["host"].as_str().unwrap();
        let log = entries[0]["data"]["log"].as_str().unwrap();
        let name = format!("{host}-{}-{:016}.checkpoint", &log[24..], entries.len());
        assert!(last.ends_with(&name), "{last}: {name}");
        let verified = site.interlock(&["audit", "verify", "--checkpoint", last]);
        assert_eq!(verified.code, 0, "{}", verified.stdout);
        assert!(!verified.stdout.contains("nothing that was kept elsewhere anchors"), "{}", verified.stdout);
    }
}

#[test]
fn p08_what_was_handed_on_before_is_never_written_over() {
    let site = site("{file: DIR/kept}");
    std::fs::create_dir(site.path().join("kept")).unwrap();
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 0);
    let first = kept(&site).remove(0);
    let note = std::fs::read_to_string(&first).unwrap();
    // As if the log had been made anew, as long as before, under the same name.
    let next = first.to_str().unwrap().rsplit_once('-').unwrap().0.to_owned();
    let size = site.scratch.entries().len() * 2 - 1;
    let next = format!("{next}-{size:016}.checkpoint");
    std::fs::write(&next, "another\n").unwrap();
    let ran = site.interlock(&["run", "change.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("is there already, and says something else"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&next).unwrap(), "another\n");
    assert_eq!(std::fs::read_to_string(&first).unwrap(), note);
    let failed = site.scratch.last("checkpoint_sink_failed");
    assert_eq!(failed["entries"], json!(size));
    assert_eq!(site.interlock(&["audit", "verify"]).code, 0);
}

#[test]
fn p08_a_command_is_given_the_checkpoint_if_nobody_else_could_have_changed_it() {
    let site = site("{run: [DIR/keep, one]}");
    let program = site.scratch.script("keep", "#!/bin/sh\ncat > \"${0%/*}/$1\"\n");
    let ran = site.interlock(&["run", "change.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(site.scratch.read("one").starts_with("interlock/"), "{}", ran.stderr);
    let one = site.text_path("one");
    assert_eq!(site.interlock(&["audit", "verify", "--checkpoint", &one]).code, 0);
    std::fs::remove_file(&one).unwrap();
    for (mode, text, words) in [
        (0o777, "#!/bin/sh\ncat > \"${0%/*}/$1\"\n", "can be written by others"),
        (0o755, "#!/bin/sh\nexit 3\n", "it exited with 3"),
        (0o755, "#!/bin/sh\nexec sleep 600\n", "it did not end within 10s"),
    ] {
        site.scratch.script("keep", text);
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
        let ran = site.interlock(&["run", "change.yaml"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains("warning: the checkpoint was not handed on to `run "), "{}", ran.stderr);
        let failed = site.scratch.last("checkpoint_sink_failed");
        assert!(failed["why"].as_str().unwrap().contains(words), "{failed}");
        assert_eq!(failed["required"], json!(null));
    }
    assert!(!site.path().join("one").exists());
    assert_eq!(site.interlock(&["audit", "verify"]).code, 0);
}

#[test]
fn p08_the_systems_log_is_given_the_checkpoint_in_one_line() {
    let site = site("{syslog: true}");
    let log = UnixDatagram::bind(site.path().join("log")).unwrap();
    log.set_read_timeout(Some(crate::support::BOUND)).unwrap();
    // A /dev of its own, so that nothing of this goes to the log of the machine that the tests run on.
    let script = "d=$1/dev; log=$1/log; shift; mkdir $d; mount -t tmpfs none $d; for f in null zero random urandom tty; do : > $d/$f; mount \
                  --bind /dev/$f $d/$f; done; mkdir $d/pts $d/shm; ln -s $log $d/log; mount --rbind $d /dev; exec \"$@\"";
    let folder = site.path().display().to_string();
    let policy = format!("--policy={}", site.text_path("policy.yaml"));
    let before = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", &folder];
    let before: Vec<&str> = if rustix::process::geteuid().is_root() {
        before.into_iter().filter(|word| !["--user", "--map-root-user"].contains(word)).collect()
    } else {
        before.to_vec()
    };
    let ran = site.scratch.through(&before, &["run", "change.yaml", &policy]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    let mut line = [0; 4096];
    let count = log.recv(&mut line).unwrap();
    let line = std::str::from_utf8(&line[..count]).unwrap();
    assert!(line.starts_with("<85>") && line.contains(" interlock[") && !line.contains('\n'), "{line}");
    let note = line.split_once(": checkpoint ").unwrap().1.replace("\\n", "\n");
    let note = site.scratch.write("from-the-log", &note).display().to_string();
    let verified = site.interlock(&["audit", "verify", "--checkpoint", &note]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
}

#[test]
fn p08_no_run_begins_without_the_place_that_the_policy_requires() {
    let site = site("{file: DIR/kept, required: true}");
    let ran = site.interlock(&["run", "change.yaml"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("the policy requires that checkpoints are handed on to `file "), "{}", ran.stderr);
    assert!(!site.path().join("ran").exists());
    assert_eq!(site.scratch.events(), ["log_created", "checkpoint_sink_failed", "run_refused"]);
    assert_eq!(site.scratch.last("checkpoint_sink_failed")["required"], json!(true));
    std::fs::create_dir(site.path().join("kept")).unwrap();
    let ran = site.interlock(&["run", "change.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // One as the log was before the run, and one of its end.
    assert_eq!(kept(&site).len(), 2);
    assert_eq!(site.interlock(&["audit", "verify"]).code, 0);
}

#[test]
fn what_is_no_place_for_checkpoints_is_told_with_its_line() {
    let site = site(
        "{file: kept}, {syslog: false}, {run: []}, {file: /a, syslog: true}, {}, {url: x}, {file: /a}, {file: /a}",
    );
    let ran = site.interlock(&["policy", "check", "policy.yaml"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    for words in [
        "`kept`",
        "this rule names no place",
        "the command is empty",
        "names one place, and this one more",
        "a rule of `checkpoints` names a place",
        "url",
        "`file /a` stands in the list twice",
    ] {
        assert!(ran.stderr.contains(words), "`{words}`: {}", ran.stderr);
    }
}

#[test]
fn p08_a_checkpoint_that_is_asked_for_is_handed_on_as_well_and_by_anybody() {
    let site = site("{file: DIR/kept}, {file: DIR/far, required: true}");
    std::fs::create_dir(site.path().join("kept")).unwrap();
    std::fs::create_dir(site.path().join("far")).unwrap();
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 0);
    for folder in ["kept", "far"] {
        std::fs::remove_dir_all(site.path().join(folder)).unwrap();
        std::fs::create_dir(site.path().join(folder)).unwrap();
    }
    // Whoever has it made need not be an operator.
    let policy = site.scratch.read("policy.yaml");
    let with = |line: &str| site.scratch.write("policy.yaml", &format!("{policy}{line}"));
    with("operators: [bea@example.org]\n");
    assert_eq!(site.interlock(&["run", "change.yaml"]).code, 4);
    let ran = site.interlock(&["audit", "checkpoint"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    for folder in ["kept", "far"] {
        let files: Vec<_> = std::fs::read_dir(site.path().join(folder)).unwrap().collect();
        assert_eq!(files.len(), 1, "{folder}");
        let kept = files.into_iter().next().unwrap().unwrap().path();
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), ran.stdout);
        let kept = kept.display().to_string();
        assert_eq!(site.interlock(&["audit", "verify", "--checkpoint", &kept]).code, 0);
    }
    // A place that is wanted is a warning, one that is required is exit 1, and both are entries; the checkpoint is there all the same.
    std::fs::remove_dir_all(site.path().join("kept")).unwrap();
    let ran = site.interlock(&["audit", "checkpoint"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("warning: the checkpoint was not handed on to `file "), "{}", ran.stderr);
    let failed = site.scratch.last("checkpoint_sink_failed");
    assert_eq!(
        (failed["entries"].as_u64().unwrap() as usize, &failed["required"]),
        (site.scratch.entries().len() - 1, &json!(null))
    );
    std::fs::remove_dir_all(site.path().join("far")).unwrap();
    let ran = site.interlock(&["audit", "checkpoint", "--format", "json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("the policy requires that checkpoints are handed on to `file "), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("{\"checkpoint\":"), "{}", ran.stdout);
    assert_eq!(site.scratch.last("checkpoint_sink_failed")["required"], json!(true));
    // Without a policy there is no place; that there was one is said.
    let ran = site.scratch.interlock(&["audit", "checkpoint"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("was handed on to no place: no policy is in force"), "{}", ran.stderr);
    // One that cannot be read could have named one.
    with("surprise: true\n");
    let ran = site.interlock(&["audit", "checkpoint"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
    assert_eq!(site.interlock(&["audit", "verify"]).code, 0);
}
