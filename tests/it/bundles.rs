//! P8: a run in one file, with its proof, for who has neither the machine nor a reason to trust it. Whatever is changed in it is found, by
//! the program and by the second verifier, which was written from the format's document.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use interlock::id::Digest;
use serde_json::{Value, json};

use crate::approvals::{RULE, Site};
use crate::signed_overrides::RULES;
use crate::support::{Ran, Scratch};

/// The files of a bundle, in order.
type Files = Vec<(String, Vec<u8>)>;

const STEPS: &str =
    "steps:\n  - {id: one, script: echo eins}\n  - {id: two, script: echo zwei}\n  - {id: fail, run: ['false']}\n";

/// The fields of a tar header that say how long a file is, and what it all sums up to.
fn header(name: &str, size: usize) -> Vec<u8> {
    let mut block = vec![0; 512];
    let fields: [(usize, &[u8]); 9] = [
        (0, name.as_bytes()),
        (100, b"0000600"),
        (108, b"0000000"),
        (116, b"0000000"),
        (136, b"00000000000"),
        (148, b"        "),
        (156, b"0"),
        (257, b"ustar\x0000"),
        (329, b"0000000\x000000000"),
    ];
    for (at, bytes) in fields {
        block[at..at + bytes.len()].copy_from_slice(bytes);
    }
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn packed(files: &Files) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in files {
        bytes.extend(header(name, content.len()));
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend([0; 1024]);
    bytes
}

/// Takes a bundle apart with the system's tar.
fn unpacked(bundle: &Path) -> Files {
    let tar = |arguments: &[&str]| {
        let ran = Command::new("tar").args(arguments).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        ran.stdout
    };
    let bundle = bundle.to_str().unwrap();
    let names = String::from_utf8(tar(&["-tf", bundle])).unwrap();
    names.lines().map(|name| (name.to_owned(), tar(&["-xOf", bundle, name]))).collect()
}

fn text<'a>(files: &'a Files, name: &str) -> &'a str {
    std::str::from_utf8(&files.iter().find(|(other, _)| other == name).unwrap().1).unwrap()
}

fn set(files: &mut Files, name: &str, content: impl Into<Vec<u8>>) {
    files.iter_mut().find(|(other, _)| other == name).unwrap_or_else(|| panic!("{name}")).1 = content.into();
}

/// A log with two runs under a policy, and one between them; and the bundle of one of them.
struct Case {
    site: Site,
    run: String,
    key: String,
    files: Files,
}

impl Case {
    fn new() -> Self {
        let site = Site::new(&format!("{RULE}{RULES}"));
        let run = approved(&site);
        approved(&site);
        assert_eq!(site.interlock(&["audit", "bundle", &run, "-o", "run.bundle"]).code, 0);
        let files = unpacked(&site.path().join("run.bundle"));
        let key = site.scratch.read("home/keys/log.pub").trim().to_owned();
        Self { site, run, key, files }
    }

    /// The files as somebody changes them who has the log's key: the manifest says what is there, and is signed.
    fn resigned(&self, change: impl FnOnce(&mut Files)) -> Files {
        let mut files = self.files.clone();
        change(&mut files);
        let mut manifest: Value = serde_json::from_str(text(&files, "manifest.json")).unwrap();
        let digest = |content: &[u8]| json!({"sha256": Digest::of(content).as_str()});
        let subjects = files[2..].iter().map(|(name, content)| json!({"name": name, "digest": digest(content)}));
        manifest["subject"] = subjects.collect();
        let entries = text(&files, "entries.jsonl").lines().count();
        manifest["predicate"]["entries"] = json!(entries);
        sign(&mut files, &manifest, &self.site.scratch);
        files
    }

    /// What both verifiers say of these bytes.
    #[track_caller]
    fn both(&self, bytes: &[u8], more: &[&str], code: i32) -> Ran {
        let path = self.site.path().join("changed.bundle");
        std::fs::write(&path, bytes).unwrap();
        let file = path.to_str().unwrap();
        let ran = self.site.scratch.interlock(&[&["audit", "verify", file], more].concat());
        assert_eq!(ran.code, code, "{}{}", ran.stdout, ran.stderr);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
        let second = Command::new("python3").arg(script).arg(file).args(more).output().unwrap();
        let said = [second.stdout, second.stderr].concat();
        assert_eq!(second.status.code(), Some(code), "{}\n{}", String::from_utf8_lossy(&said), ran.stdout);
        ran
    }

    #[track_caller]
    fn is_found(&self, files: &Files, words: &str) {
        let ran = self.both(&packed(files), &[], 11);
        let found = ran.stdout.lines().any(|line| line.starts_with("FAILURE ") && line.contains(words));
        assert!(found, "`{words}`: {}", ran.stdout);
    }
}

/// Puts a manifest in, signed by the key of a home.
fn sign(files: &mut Files, manifest: &Value, scratch: &Scratch) {
    let private = scratch.read("home/keys/log.key");
    let seed = STANDARD.decode(private.trim().splitn(5, '+').last().unwrap()).unwrap();
    let key = SigningKey::from_bytes(&seed[1..].try_into().unwrap());
    let public = scratch.read("home/keys/log.pub");
    let id = public.rsplitn(2, '+').last().unwrap();
    let id = &public[..public[id.find('+').unwrap() + 1..].find('+').unwrap() + id.find('+').unwrap() + 1];
    let bytes = serde_json::to_vec(manifest).unwrap();
    let kind = "application/vnd.in-toto+json";
    let encoded = [format!("DSSEv1 {} {kind} {} ", kind.len(), bytes.len()).as_bytes(), &bytes].concat();
    let signature = STANDARD.encode(key.sign(&encoded).to_bytes());
    let envelope = json!({
        "payloadType": kind, "payload": STANDARD.encode(&bytes), "signatures": [{"keyid": id, "sig": signature}],
    });
    set(files, "manifest.json", bytes);
    set(files, "manifest.dsse.json", serde_json::to_vec(&envelope).unwrap());
}

/// A run whose plan was signed, whose last step failed, and which went on by a request that was signed.
fn approved(site: &Site) -> String {
    site.plan(STEPS);
    for key in ["bea", "cy"] {
        site.approve("plan.yaml", key);
    }
    assert_eq!(site.interlock(&["run", "plan.yaml"]).code, 7);
    let run = site.scratch.the_open_run();
    let ask = ["override", &run, "--accept", "fail", "--reason", "checked by hand", "--force", "-o", "request.yaml"];
    assert_eq!(site.interlock(&ask).code, 0);
    for key in ["bea", "cy"] {
        site.approve("request.yaml", key);
    }
    let ran = site.interlock(&["resume", &run, "--override", "request.yaml"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    std::fs::remove_file(site.path().join("plan.yaml")).unwrap();
    for name in ["bea", "cy"] {
        for document in ["plan", "request"] {
            let _ = std::fs::remove_file(site.path().join(format!("{document}.yaml.{name}@example.org.sig")));
        }
    }
    run
}

#[test]
fn p08_a_bundle_is_verified_alone_where_there_is_no_home() {
    let case = Case::new();
    let names: Vec<&str> = case.files.iter().map(|(name, _)| name.as_str()).collect();
    let begin = ["manifest.json", "manifest.dsse.json", "checkpoint", "entries.jsonl", "proof", "plan.yaml"];
    assert_eq!(names[..6], begin);
    for (kind, count) in [("requests/", 1), ("policies/", 2), ("transcripts/", 2)] {
        assert_eq!(names.iter().filter(|name| name.starts_with(kind)).count(), count, "{names:?}");
    }
    // What is signed is read by whoever knows in-toto and DSSE.
    let manifest: Value = serde_json::from_str(text(&case.files, "manifest.json")).unwrap();
    assert_eq!(manifest["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(manifest["subject"].as_array().unwrap().len(), names.len() - 2);
    assert_eq!(
        (manifest["predicate"]["run"].as_str(), manifest["predicate"]["state"].as_str()),
        (Some(&*case.run), Some("completed"))
    );
    // The lines are those of the log.
    let log = case.site.scratch.read("home/audit/0000000000000001.jsonl");
    assert!(text(&case.files, "entries.jsonl").lines().all(|line| log.lines().any(|other| other == line)));
    let bytes = std::fs::read(case.site.path().join("run.bundle")).unwrap();
    std::fs::remove_dir_all(case.site.scratch.home()).unwrap();
    let ran = case.both(&bytes, &["--key", &case.key], 0);
    assert!(ran.stdout.contains(&format!("run {}, completed: entries 2 to ", case.run)), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("signed by {}, as was given", case.key)), "{}", ran.stdout);
    assert!(ran.stdout.contains("4 signatures over plans, requests and reviews, all good"), "{}", ran.stdout);
    let ran = case.both(&bytes, &[], 0);
    assert!(ran.stdout.contains("says only the bundle itself"), "{}", ran.stdout);
    let file = case.site.text_path("changed.bundle");
    let mut alone = case.site.scratch.command(&[
        "audit",
        "verify",
        &file,
        "--signers",
        "allowed_signers",
        "--home",
        "/nonexistent",
    ]);
    let ran = alone.env_remove("HOME").env_remove("XDG_STATE_HOME").output().unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success() && said.contains("by keys that allowed_signers gives"), "{said}");
    let ran = case.site.scratch.interlock(&["audit", "verify", &file, "--key", &case.key, "--format", "json"]);
    let said: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&said["verifies"], &said["key_was_given"], &said["signatures"]["good"]),
        (&json!(true), &json!(true), &json!(4))
    );
    // By the keys of strangers nothing holds.
    let strangers = Site::new(RULE);
    let signers = strangers.text_path("allowed_signers");
    let ran = case.site.scratch.interlock(&["audit", "verify", &file, "--signers", &signers]);
    assert_eq!(ran.code, 11);
    assert!(
        ran.stdout.contains("the signature of bea@example.org over the plan does not hold by the keys of"),
        "{}",
        ran.stdout
    );
}

#[test]
fn p08_a_changed_byte_in_any_file_of_a_bundle_and_a_cut_are_found_by_both_verifiers() {
    let case = Case::new();
    let whole = packed(&case.files);
    assert_eq!(whole, std::fs::read(case.site.path().join("run.bundle")).unwrap());
    case.both(&whole, &["--key", &case.key], 0);
    for (at, (name, content)) in case.files.iter().enumerate() {
        let place = [0, content.len() / 2, content.len() - 1][at % 3];
        let mut changed = case.files.clone();
        changed[at].1[place] ^= 1;
        let ran = case.both(&packed(&changed), &["--key", &case.key], 11);
        assert!(ran.stdout.contains("THE BUNDLE DOES NOT VERIFY"), "{name}: {}", ran.stdout);
        assert!(ran.stdout.contains(&format!("FAILURE {name}")), "{name}: {}", ran.stdout);
        let mut without = case.files.clone();
        without.remove(at);
        case.both(&packed(&without), &[], 11);
    }
    for at in [0, 5, case.files.len() - 1] {
        let mut twice = case.files.clone();
        twice.insert(at, twice[at].clone());
        case.both(&packed(&twice), &[], 11);
    }
    for end in [0, 511, 600, whole.len() / 2, whole.len() - 1024, whole.len() - 1] {
        case.both(&whole[..end], &[], 11);
    }
    case.both(&[&whole[..], b"\0"].concat(), &[], 11);
    case.both(&[&whole[..], &[0; 512]].concat(), &[], 11);
}

#[test]
fn p08_who_has_the_logs_key_cannot_bundle_what_is_not_in_the_log() {
    let case = Case::new();
    let files = case.resigned(|_| {});
    case.both(&packed(&files), &["--key", &case.key], 0);
    let other = Case::new();
    let lines: Vec<String> = text(&case.files, "entries.jsonl").lines().map(str::to_owned).collect();
    let joined = |lines: &[String]| format!("{}\n", lines.join("\n"));
    let proof = "it does not lead from the entries to the root of the checkpoint";
    // An entry is dropped, changed, or put in from another run or another log.
    for dropped in [1, 4, lines.len() - 1] {
        let mut rest = lines.clone();
        rest.remove(dropped);
        case.is_found(&case.resigned(|files| set(files, "entries.jsonl", joined(&rest))), proof);
    }
    let first = joined(&lines[1..]);
    case.is_found(&case.resigned(|files| set(files, "entries.jsonl", first)), "does not begin with the first entry");
    let changed = joined(&lines).replace("checked by hand", "checked by hanD");
    case.is_found(&case.resigned(|files| set(files, "entries.jsonl", changed)), proof);
    let log = case.site.scratch.read("home/audit/0000000000000001.jsonl");
    let next = log.lines().nth(lines.len()).unwrap();
    assert!(next.contains("\"run_opened\""), "{next}");
    let spliced = format!("{}{next}\n", joined(&lines));
    case.is_found(&case.resigned(|files| set(files, "entries.jsonl", spliced)), "it is of another run");
    let theirs = text(&other.files, "entries.jsonl").lines().nth(5).unwrap();
    let mut spliced = lines.clone();
    theirs.clone_into(&mut spliced[5]);
    case.is_found(&case.resigned(|files| set(files, "entries.jsonl", joined(&spliced))), "it was not written after");
    // Another checkpoint of this log, and one of another.
    let older = std::fs::read_dir(case.site.scratch.home().join("audit")).unwrap().map(|entry| entry.unwrap().path());
    let mut older: Vec<PathBuf> =
        older.filter(|path| path.extension().is_some_and(|end| end == "checkpoint")).collect();
    older.sort();
    let older = std::fs::read_to_string(&older[0]).unwrap();
    assert_ne!(older, text(&case.files, "checkpoint"));
    case.is_found(&case.resigned(|files| set(files, "checkpoint", older)), proof);
    let theirs = text(&other.files, "checkpoint").to_owned();
    case.is_found(&case.resigned(|files| set(files, "checkpoint", theirs.clone())), "no key is known that signed it");
    case.is_found(&case.resigned(|files| set(files, "checkpoint", theirs)), "speaks of another log than the entries");
    // Transcripts are exchanged, and files that entries name are others, or not there.
    let swapped = case.resigned(|files| {
        let [one, two] = ["transcripts/one-1.cast", "transcripts/two-1.cast"].map(|name| text(files, name).to_owned());
        set(files, "transcripts/one-1.cast", two);
        set(files, "transcripts/two-1.cast", one);
    });
    case.is_found(&swapped, "it is not the output that was recorded");
    for kind in ["plan.yaml", "requests/", "policies/", "transcripts/"] {
        let at = case.files.iter().position(|(name, _)| name.starts_with(kind)).unwrap();
        let name = &case.files[at].0;
        let without = case.resigned(|files| drop(files.remove(at)));
        case.is_found(&without, &format!("{name}: an entry names it, and it is not in the bundle"));
        let changed = case.resigned(|files| files[at].1.extend(b"#\n"));
        case.is_found(&changed, &format!("FAILURE {name}: "));
    }
    let more = format!("requests/{}.request.yaml", "f".repeat(64));
    case.is_found(&case.resigned(|files| files.insert(7, (more, b"more".to_vec()))), "no entry names it");
    // The proof has a hash less, or more.
    for change in [|text: &str| text[45..].to_owned(), |text: &str| text.repeat(2)] {
        let changed = change(text(&case.files, "proof"));
        case.is_found(&case.resigned(|files| set(files, "proof", changed)), proof);
    }
    // The manifest says otherwise.
    for (name, value) in [("state", json!("halted")), ("log_entries", json!(1)), ("run", json!(other.run))] {
        let mut files = case.files.clone();
        let mut manifest: Value = serde_json::from_str(text(&files, "manifest.json")).unwrap();
        manifest["predicate"][name] = value;
        sign(&mut files, &manifest, &case.site.scratch);
        case.is_found(&files, "FAILURE ");
    }
}

#[test]
fn p08_a_bundle_that_somebody_made_anew_with_a_key_of_their_own_is_found_by_the_key_that_was_kept() {
    let (case, other) = (Case::new(), Case::new());
    let theirs = packed(&other.files);
    // It is whole in itself, and says that its key is known from itself alone.
    assert!(case.both(&theirs, &[], 0).stdout.contains("says only the bundle itself"));
    let ran = case.both(&theirs, &["--key", &case.key], 11);
    assert!(ran.stdout.contains("it cannot be believed, by the keys that were given"), "{}", ran.stdout);
    // The manifest alone signed by another key.
    let mut files = case.files.clone();
    let manifest = serde_json::from_str(text(&files, "manifest.json")).unwrap();
    sign(&mut files, &manifest, &other.site.scratch);
    case.is_found(&files, "FAILURE manifest.dsse.json: it cannot be believed");
}

#[test]
fn p08_a_bundle_agrees_with_the_checkpoint_of_its_moment_that_was_kept_elsewhere() {
    let case = Case::new();
    let kept = case.site.scratch.write("kept", text(&case.files, "checkpoint")).display().to_string();
    let verify = |bundle: &str| case.site.scratch.interlock(&["audit", "verify", bundle, "--checkpoint", &kept]);
    let ran = verify("run.bundle");
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(ran.stdout.contains("/kept speaks of the same"), "{}", ran.stdout);
    case.site.scratch.run("interlock: 1\nname: one\nsteps:\n  - {id: a, run: ['true']}\n", &[]);
    assert_eq!(case.site.interlock(&["audit", "bundle", &case.run, "-o", "later.bundle"]).code, 0);
    let ran = verify("later.bundle");
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(ran.stdout.contains("so one does not tell of the other"), "{}", ran.stdout);
}

#[test]
fn the_same_log_gives_the_same_bundle_and_a_file_that_is_there_stays() {
    let scratch = Scratch::new();
    scratch.run("interlock: 1\nname: one\nsteps:\n  - {id: a, run: [echo, one]}\n", &[]);
    let run = scratch.last_entry("run_opened")["run"].as_str().unwrap().to_owned();
    let bundle = |arguments: &[&str]| scratch.interlock(&[&["audit", "bundle", &run[..13]], arguments].concat());
    assert_eq!(bundle(&["-o", "one.bundle"]).code, 0);
    let one = std::fs::read(scratch.path().join("one.bundle")).unwrap();
    let ran = bundle(&["-o", "one.bundle"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("one.bundle is there already; name another file, or say --force"), "{}", ran.stderr);
    let ran = bundle(&["-o", "one.bundle", "--force", "--format", "json"]);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&said["state"], &said["verifies"]), (&json!("completed"), &json!(true)));
    assert_eq!(std::fs::read(scratch.path().join("one.bundle")).unwrap(), one);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(scratch.path().join("one.bundle")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let ran = scratch.interlock(&["audit", "bundle", "ffff", "-o", "none.bundle"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(!scratch.path().join("none.bundle").exists());
    // A disk that is full leaves nothing.
    let ran = scratch.interlock(&["audit", "bundle", &run, "-o", "/nowhere/one.bundle"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let left = std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains(".new")));
}

#[test]
fn a_run_that_is_not_over_is_bundled_and_the_bundle_says_so() {
    let scratch = Scratch::new();
    assert_eq!(scratch.run("interlock: 1\nname: one\nsteps:\n  - {id: a, run: ['false']}\n", &[]).code, 7);
    let run = scratch.the_open_run();
    assert_eq!(scratch.interlock(&["audit", "bundle", &run, "-o", "open.bundle"]).code, 0);
    let ran = scratch.interlock(&["audit", "verify", "open.bundle"]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(ran.stdout.contains(", halted: entries 2 to "), "{}", ran.stdout);
    assert!(ran.stdout.contains("the run was not over when the bundle was made"), "{}", ran.stdout);
}

#[test]
fn what_is_not_kept_any_more_is_said_when_it_is_bundled_and_when_that_is_verified() {
    let scratch = Scratch::new();
    scratch.run("interlock: 1\nname: one\nsteps:\n  - {id: a, run: [echo, one]}\n  - {id: b, run: [echo, two]}\n", &[]);
    let run = scratch.last_entry("run_opened")["run"].as_str().unwrap().to_owned();
    let folder = scratch.home().join("runs").join(&run);
    let bundle = || scratch.interlock(&["audit", "bundle", &run, "--force", "-o", "one.bundle"]);
    std::fs::remove_file(folder.join("a-1.cast")).unwrap();
    let ran = bundle();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("warning: `transcripts/a-1.cast` is not there any more"), "{}", ran.stderr);
    let ran = scratch.interlock(&["audit", "verify", "one.bundle"]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(ran.stdout.contains("note    transcripts/a-1.cast: this output was not kept any more"), "{}", ran.stdout);
    // Output that was changed, and a plan that is gone, make a bundle that does not verify, and that is said at once.
    let cast = folder.join("b-1.cast");
    let text = std::fs::read_to_string(&cast).unwrap();
    std::fs::write(&cast, text.replace("two", "twi")).unwrap();
    let ran = bundle();
    assert_eq!(ran.code, 11, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("FAILURE transcripts/b-1.cast: it is not the output that was recorded"),
        "{}",
        ran.stderr
    );
    std::fs::remove_file(folder.join("plan.yaml")).unwrap();
    assert_eq!(bundle().code, 11);
    let ran = scratch.interlock(&["audit", "verify", "one.bundle"]);
    assert_eq!(ran.code, 11, "{}", ran.stdout);
    assert!(ran.stdout.contains("FAILURE plan.yaml: an entry names it, and it is not in the bundle"), "{}", ran.stdout);
}

#[test]
fn a_hostile_bundle_writes_nothing_reads_nothing_else_and_takes_no_memory() {
    let scratch = Scratch::new();
    let verify = |name: &str| {
        // 200 MiB of addresses are enough for the program, and not for anything as large as these files.
        let before = ["prlimit", "--as=209715200", "timeout", "50"];
        let ran = scratch.through(&before, &["audit", "verify", name]);
        (ran.code, ran.stdout + &ran.stderr)
    };
    for name in ["../escaped", "/etc/escaped", "requests/../../escaped", "transcripts/../x.cast", "manifest.json"] {
        let files = vec![("manifest.json".to_owned(), b"{}".to_vec()), (name.to_owned(), b"x".to_vec())];
        std::fs::write(scratch.path().join("hostile"), packed(&files)).unwrap();
        let (code, said) = verify("hostile");
        assert_eq!(code, 11, "{name}: {said}");
    }
    // A link, as the system's tar writes it.
    let mut made = Command::new("sh");
    made.args(["-c", "ln -s /etc/passwd manifest.json && tar cf hostile manifest.json"]);
    assert!(made.current_dir(scratch.path()).status().unwrap().success());
    assert_eq!(verify("hostile").0, 11);
    // Files that say they are large, and are nothing but a hole.
    let names = ["manifest.json", "manifest.dsse.json", "checkpoint", "entries.jsonl", "proof"];
    for large in [0, 2] {
        let path = scratch.path().join("hostile");
        let file = std::fs::File::create(&path).unwrap();
        let mut at = 0;
        use std::os::unix::fs::FileExt as _;
        for (index, name) in names.iter().enumerate() {
            let size = if index == large { 0o77_777_777_777_usize / 512 * 512 } else { 512 };
            file.write_all_at(&header(name, size), at).unwrap();
            at += 512 + size as u64;
        }
        file.set_len(at + 1024).unwrap();
        let (code, said) = verify("hostile");
        assert_eq!(code, 11, "{said}");
        assert!(
            said.contains(&format!("FAILURE {}: `{}` is longer than 16 MiB", names[large], names[large])),
            "{said}"
        );
    }
    for (name, words) in
        [("/dev/zero", "not a regular file"), ("nothing", "No such file"), ("home", "not a regular file")]
    {
        std::fs::create_dir_all(scratch.home()).unwrap();
        let (code, said) = verify(name);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(words), "{said}");
    }
    std::fs::write(scratch.path().join("log"), "{\"v\":1}\n").unwrap();
    assert_eq!(verify("log").0, 11);
    assert!(!scratch.path().join("../escaped").exists());
}
