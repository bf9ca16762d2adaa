//! P8: the oldest part of the log is moved out of the home with its proofs, and nothing of what the log promises is lost.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use interlock::audit::{Draft, Home, Log};
use interlock::history::entry::Who;
use interlock::history::event::{Cause, Event};
use interlock::id::{Digest, RunId};

use crate::approvals::Site;
use crate::support::{Ran, Scratch, finish};

const RUNBOOK: &str = "interlock: 1\nname: one\nsteps:\n  - {id: a, run: [echo, one]}\n";
const HALTS: &str = "interlock: 1\nname: halts\nsteps:\n  - {id: a, run: ['false']}\n";

struct Case(Scratch);

impl Case {
    /// A log of one real run and so many finished segments of refused ones.
    fn new(segments: usize) -> Self {
        let case = Self(Scratch::new());
        std::fs::create_dir(case.archives()).unwrap();
        case.run();
        case.fill(segments);
        case
    }

    fn archives(&self) -> PathBuf {
        self.0.path().join("archives")
    }

    fn home(&self) -> Home {
        Home::new(self.0.home()).unwrap()
    }

    fn log(&self) -> Log {
        Log::open(&self.home(), Who::of_this_process().unwrap()).unwrap()
    }

    fn run(&self) -> String {
        let ran = self.0.run(RUNBOOK, &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        self.0.last_entry("run_completed")["run"].as_str().unwrap().to_owned()
    }

    /// Refused runs, until so many more segments are finished.
    fn fill(&self, segments: usize) {
        let mut log = self.log();
        let wanted = self.segments().len() + segments;
        while self.segments().len() < wanted {
            refuse(&mut log);
        }
    }

    /// The names of the segments at home, in order.
    fn segments(&self) -> Vec<String> {
        names(&self.0.home().join("audit"), ".jsonl")
    }

    fn archive(&self, more: &[&str]) -> Ran {
        self.0.interlock(&[&["audit", "archive", "--to", self.archives().to_str().unwrap()], more].concat())
    }

    /// Archives, and gives the folder.
    #[track_caller]
    fn archived(&self, more: &[&str]) -> PathBuf {
        let ran = self.archive(more);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        PathBuf::from(ran.stdout.lines().nth(1).unwrap_or_else(|| panic!("{}{}", ran.stdout, ran.stderr)))
    }

    fn verify(&self, more: &[&str]) -> Ran {
        self.0.interlock(&[&["audit", "verify"], more].concat())
    }

    /// What the second verifier says of a log, which was written from the format's document.
    fn second(&self, home: &Path, more: &[&str]) -> Ran {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
        let ran = Command::new("python3").arg(script).arg(home.join("audit")).args(more).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: ran.status.code().unwrap_or(-1), stdout: text(ran.stdout), stderr: text(ran.stderr) }
    }

    /// Both verifiers say so of the home.
    #[track_caller]
    fn both(&self, code: i32, words: &str) {
        let ran = self.verify(&[]);
        assert_eq!(ran.code, code, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(words), "`{words}`: {}", ran.stdout);
        let ran = self.second(&self.0.home(), &[]);
        assert_eq!(ran.code, code, "the second verifier: {}{}", ran.stdout, ran.stderr);
    }

    /// The archives verify, and join on to the log.
    #[track_caller]
    fn with(&self, archives: &[&Path], code: i32, words: &str) {
        let archives: Vec<&str> = archives.iter().flat_map(|path| ["--archive", path.to_str().unwrap()]).collect();
        let ran = self.verify(&archives);
        assert_eq!(ran.code, code, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(words), "`{words}`: {}", ran.stdout);
    }

    fn base(&self) -> PathBuf {
        self.0.home().join("audit/archived")
    }
}

fn refuse(log: &mut Log) {
    let run: RunId = uuid::Uuid::now_v7().to_string().parse().unwrap();
    let event = Event::RunRefused {
        runbook: "big".to_owned(),
        plan: Digest::of(b"plan"),
        cause: Cause::NotAllowed,
        reason: "x".repeat(50_000),
        seen: Vec::new(),
        policies: Vec::new(),
    };
    log.append(&[Draft { run: Some(&run), event: &event }]).unwrap();
}

fn names(folder: &Path, ending: &str) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn p08_what_is_archived_leaves_the_home_with_its_proofs_and_both_verify() {
    let case = Case::new(3);
    let run = case.0.last_entry("run_completed")["run"].as_str().unwrap().to_owned();
    let before = case.segments();
    let folder = case.archived(&["--reason", "yearly"]);
    assert_eq!(case.segments(), before[2..], "one finished segment stays");
    assert_eq!(names(&folder.join("audit"), ".jsonl"), before[..2]);
    assert!(
        !case.0.home().join("runs").join(&run).exists() && folder.join("runs").join(&run).join("plan.yaml").exists()
    );
    assert!(!folder.join("keys/log.key").exists());
    case.both(0, "are archived; their archive verifies by itself");
    let archive = folder.to_str().unwrap();
    for arguments in [&["audit", "verify"][..], &["audit", "log"], &["audit", "show", &run], &["audit", "report", &run]]
    {
        let ran = case.0.interlock(&[arguments, &["--home", archive]].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        assert!(arguments[1] == "verify" || ran.stdout.contains(&run[..8]), "{arguments:?}: {}", ran.stdout);
    }
    assert_eq!(case.second(&folder, &[]).code, 0);
    case.with(&[&folder], 0, "entries 1 to ");
    let ran = case.0.interlock(&["audit", "show", &run]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains(archive), "{}", ran.stderr);
    let ran = case.0.interlock(&["audit", "log"]);
    assert!(ran.code == 0 && ran.stderr.contains(archive), "{}", ran.stderr);
    assert_eq!(case.0.last("entries_archived")["reason"], "yearly");
    // The log goes on, in the home and nowhere else.
    let next = case.run();
    assert_eq!(case.0.interlock(&["audit", "show", &next]).code, 0);
    case.both(0, "are archived");
    let ran = case.0.interlock(&["run", case.0.path().join("runbook.yaml").to_str().unwrap(), "--home", archive]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("it is an archive of a log that goes on elsewhere"), "{}", ran.stderr);
}

#[test]
fn p08_archives_form_a_chain_that_joins_on_to_the_log_and_a_gap_is_found() {
    let case = Case::new(3);
    let kept = case.0.write("old.checkpoint", &case.0.interlock(&["audit", "checkpoint"]).stdout);
    let one = case.archived(&[]);
    let ran = case.0.interlock(&["audit", "key", "--replace", "--reason", "it was seen"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    case.fill(3);
    let two = case.archived(&[]);
    case.run();
    case.both(0, "are archived");
    assert!(two.join("audit/archived").exists() && !one.join("audit/archived").exists());
    for archive in [&one, &two] {
        assert_eq!(case.second(archive, &[]).code, 0);
        assert_eq!(case.0.interlock(&["audit", "verify", "--home", archive.to_str().unwrap()]).code, 0);
    }
    case.with(&[&two, &one], 0, "verify");
    case.with(&[&two], 11, "are in none of the archives that were given");
    case.with(&[&one], 11, "are in none of the archives that were given");
    // What was kept elsewhere of entries that are archived now is held against the archive that has them.
    let kept = kept.to_str().unwrap();
    let ran = case.verify(&["--checkpoint", kept]);
    assert!(ran.code == 11 && ran.stdout.contains("only together with the archives"), "{}", ran.stdout);
    assert_eq!(case.second(&case.0.home(), &[kept]).code, 11);
    let archives = ["--archive", one.to_str().unwrap(), "--archive", two.to_str().unwrap(), "--checkpoint", kept];
    assert_eq!(case.verify(&archives).code, 0);
}

#[test]
fn p08_a_bundle_is_the_same_whether_what_came_before_is_archived_or_not() {
    let case = Case::new(2);
    assert_eq!(case.0.interlock(&["audit", "key", "--replace", "--reason", "it was seen"]).code, 0);
    case.fill(2);
    let folder = case.archived(&[]);
    let run = case.run();
    // The same log, as a whole: what was archived is put back.
    let whole = case.0.path().join("whole");
    copy(&case.0.home(), &whole);
    std::fs::remove_file(whole.join("audit/archived")).unwrap();
    std::fs::remove_file(whole.join("tree.cache")).unwrap();
    for name in names(&folder.join("audit"), ".jsonl") {
        std::fs::copy(folder.join("audit").join(&name), whole.join("audit").join(&name)).unwrap();
    }
    for (home, file) in [(case.0.home(), "archived.bundle"), (whole, "whole.bundle")] {
        let home = home.to_str().unwrap();
        let ran = case.0.interlock(&["audit", "bundle", &run, "-o", file, "--home", home]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(case.verify(&[file]).code, 0);
    }
    let [archived, whole] =
        ["archived.bundle", "whole.bundle"].map(|file| std::fs::read(case.0.path().join(file)).unwrap());
    assert!(archived == whole);
}

#[test]
fn p08_what_stands_for_archived_entries_is_altered_in_nothing_without_being_found() {
    let case = Case::new(3);
    let folder = case.archived(&[]);
    let good = std::fs::read_to_string(case.base()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&good).unwrap();
    let mut changed = Vec::new();
    for (key, there) in value.as_object().unwrap() {
        let mut other = value.clone();
        other[key] = match there {
            serde_json::Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
            serde_json::Value::String(text) => {
                let last = text.chars().rev().find(char::is_ascii_alphanumeric).unwrap();
                let other = if last == '1' { "2" } else { "1" };
                let at = text.rfind(last).unwrap();
                format!("{}{other}{}", &text[..at], &text[at + 1..]).into()
            }
            serde_json::Value::Array(all) if all.len() > 1 => all[1..].to_vec().into(),
            serde_json::Value::Array(_) => serde_json::json!([]),
            serde_json::Value::Object(_) if key == "policies" => serde_json::json!({"of_file": {"policy.yaml": 9}}),
            serde_json::Value::Object(_) if key == "unlocked" => {
                serde_json::json!({"signed": [], "used": [Digest::of(b"x")]})
            }
            serde_json::Value::Object(archive) => {
                let mut archive = archive.clone();
                archive.insert("folder".to_owned(), "/elsewhere".into());
                archive.into()
            }
            serde_json::Value::Null | serde_json::Value::Bool(_) => panic!("{key}: {there}"),
        };
        changed.push((key.clone(), other.to_string()));
    }
    changed.push(("nothing of its form".to_owned(), "{}".to_owned()));
    for (key, text) in changed {
        std::fs::write(case.base(), text).unwrap();
        let ran = case.verify(&[]);
        assert_eq!(ran.code, 11, "{key}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("archived"), "{key}: {}", ran.stdout);
        let ran = case.second(&case.0.home(), &[]);
        assert_eq!(ran.code, 11, "{key}: the second verifier: {}{}", ran.stdout, ran.stderr);
    }
    // Without it, the log begins in the middle: nothing is written, and nothing read.
    std::fs::remove_file(case.base()).unwrap();
    case.both(11, "missing before this line");
    assert_eq!(case.0.run(RUNBOOK, &[]).code, 1);
    assert_eq!(case.0.interlock(&["audit", "log"]).code, 1);
    std::fs::write(case.base(), &good).unwrap();
    case.both(0, "are archived");
    // The archive is no less watched.
    let segment = folder.join("audit").join(&names(&folder.join("audit"), ".jsonl")[0]);
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.iter().rposition(|byte| *byte == b'x').unwrap();
    bytes[at] = b'y';
    std::fs::write(&segment, bytes).unwrap();
    case.with(&[&folder], 11, "DO NOT VERIFY");
}

#[test]
fn p08_a_run_that_is_not_over_stays_and_it_is_said_which() {
    let case = Case(Scratch::new());
    std::fs::create_dir(case.archives()).unwrap();
    case.run();
    case.fill(1);
    assert_eq!(case.0.run(HALTS, &[]).code, 7);
    let run = case.0.the_open_run();
    case.fill(2);
    let whole = case.segments();
    assert_eq!(names(&case.archived(&[]).join("audit"), ".jsonl"), whole[..1], "up to where it began");
    let ran = case.archive(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.contains(&format!("nothing to archive: run {run}")) && ran.stdout.contains("is not over"),
        "{}",
        ran.stdout
    );
    assert_eq!(case.0.interlock(&["abandon", &run, "--reason", "it is no use"]).code, 0);
    let ran = case.archive(&[]);
    assert!(ran.stdout.contains("goes on until entry"), "{}", ran.stdout);
    case.fill(2);
    case.archived(&[]);
    case.both(0, "are archived");
}

#[test]
fn p08_nothing_is_archived_where_the_log_does_not_verify_or_the_place_is_wrong() {
    let case = Case::new(3);
    let home = case.0.home();
    for (to, code) in [(home.join("audit"), 2), (case.0.path().join("nowhere"), 2)] {
        let ran = case.0.interlock(&["audit", "archive", "--to", to.to_str().unwrap()]);
        assert_eq!(ran.code, code, "{}", ran.stderr);
    }
    let dry = case.archive(&["--dry-run"]);
    assert!(dry.code == 0 && dry.stdout.starts_with("would archive entries 1 to "), "{}{}", dry.stdout, dry.stderr);
    let old = case.archive(&["--before", "2020-01-01T00:00:00Z"]);
    assert!(
        old.code == 0 && old.stdout.starts_with("nothing to archive: 0000000000000001.jsonl"),
        "{}{}",
        old.stdout,
        old.stderr
    );
    assert_eq!(case.archive(&["--before", "2020-01-01T00:00:00Z", "--keep-segments", "2"]).code, 2);
    assert!(names(&case.archives(), "").is_empty());
    let run =
        names(&home.join("runs"), "").into_iter().find(|run| home.join("runs").join(run).join("plan.yaml").exists());
    std::fs::write(home.join("runs").join(run.unwrap()).join("plan.yaml"), "another").unwrap();
    let ran = case.archive(&[]);
    assert_eq!(ran.code, 11, "{}", ran.stderr);
    assert!(names(&case.archives(), "").is_empty() && case.segments().len() == 4 && !case.base().exists());
}

#[test]
fn p08_a_disk_that_is_full_leaves_the_home_whole_and_no_archive() {
    let case = Case::new(3);
    let script = "mount -t tmpfs -o size=700k,mode=700 none \"$1\" && shift && exec \"$@\"";
    let to = case.archives();
    let before = ["unshare", "-m", "sh", "-c", script, "sh", to.to_str().unwrap()];
    let ran = case.0.through(&before, &["audit", "archive", "--to", to.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("No space left on device"), "{}", ran.stderr);
    assert!(case.segments().len() == 4 && !case.base().exists());
    case.both(0, "the log verifies");
    case.archived(&[]);
    case.both(0, "are archived");
}

#[test]
fn p08_killed_at_any_point_everything_is_at_home_or_in_the_archive_and_the_next_one_ends_it() {
    let made = Case::new(3);
    let source = made.0.home();
    let (mut kept, mut moved) = (0, 0);
    for call in ["rename", "renameat2", "unlink", "unlinkat", "rmdir", "fsync", "fdatasync", "pwrite64"] {
        for nth in 1.. {
            let case = Case(Scratch::new());
            std::fs::create_dir(case.archives()).unwrap();
            copy(&source, &case.0.home());
            let to = case.archives();
            let arguments = ["audit", "archive", "--to", to.to_str().unwrap()];
            let ran = case.0.with_fault(&arguments, &format!("{call}:signal=KILL:when={nth}"));
            let is_through = ran.code == 0;
            let at = format!("{call} {nth}");
            let folder =
                names(&to, "").into_iter().find(|name| !name.ends_with(".unfinished")).map(|name| to.join(name));
            let verified = case.verify(&[]);
            assert_eq!(verified.code, 0, "{at}: {}{}", verified.stdout, verified.stderr);
            if case.base().exists() {
                moved += 1;
                case.with(&[folder.as_ref().unwrap()], 0, "verify");
            } else {
                kept += 1;
                assert_eq!(case.segments(), made.segments(), "{at}");
            }
            let again = case.archive(&[]);
            assert_eq!(again.code, 0, "{at}: {}{}", again.stdout, again.stderr);
            let folder = names(&to, "");
            assert!(folder.len() == 1 && !folder[0].ends_with(".unfinished"), "{at}: {folder:?}");
            case.with(&[&to.join(&folder[0])], 0, "verify");
            assert_eq!(case.segments(), made.segments()[2..], "{at}");
            let recorded = case.0.events().iter().filter(|event| *event == "entries_archived").count();
            assert_eq!(recorded, 1, "{at}");
            if is_through {
                break;
            }
        }
    }
    assert!(kept > 5 && moved > 5, "{kept} {moved}");
}

#[test]
fn p08_who_has_the_log_open_meanwhile_goes_on_where_it_ends() {
    let case = Case::new(0);
    let mut early = case.log();
    refuse(&mut early);
    case.fill(4);
    let folder = case.archived(&[]);
    // The segment that it knew is not there any more.
    refuse(&mut early);
    refuse(&mut early);
    case.both(0, "are archived");
    case.with(&[&folder], 0, "verify");
}

#[test]
fn p08_a_plan_from_before_what_is_archived_is_not_run() {
    let case = Case::new(0);
    let runbook = case.0.write("runbook.yaml", RUNBOOK);
    let plan = |name: &str| case.0.interlock(&["plan", runbook.to_str().unwrap(), "-o", name]);
    assert_eq!(plan("early.yaml").code, 0);
    case.fill(4);
    case.archived(&[]);
    let ran = case.0.interlock(&["run", "early.yaml"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("archived since"), "{}", ran.stderr);
    assert_eq!(plan("late.yaml").code, 0);
    assert_eq!(case.0.interlock(&["run", "late.yaml"]).code, 0);
    case.both(0, "are archived");
}

#[test]
fn p08_a_home_whose_runs_under_a_policy_are_archived_goes_under_none_or_an_older_one_no_more() {
    let site = Site::new("");
    let policy = site.path().join("policy.yaml");
    let case = Case(site.scratch);
    std::fs::create_dir(case.archives()).unwrap();
    let runbook = case.0.write("runbook.yaml", RUNBOOK);
    let under = |policy: Option<&Path>, arguments: &[&str]| {
        let mut command = case.0.command(arguments);
        command.envs(policy.map(|policy| ("INTERLOCK_POLICY", policy)));
        finish(command.spawn().unwrap())
    };
    let run = ["run", runbook.to_str().unwrap()];
    assert_eq!(under(Some(&policy), &run).code, 0);
    case.fill(4);
    let to = case.archives();
    let archive = ["audit", "archive", "--to", to.to_str().unwrap()];
    let ran = under(None, &archive);
    assert_eq!(ran.code, 4, "who may not operate does not archive: {}", ran.stderr);
    assert!(names(&to, "").is_empty());
    let ran = under(Some(&policy), &archive);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!case.0.events().contains(&"run_opened".to_owned()), "the run is archived");
    let ran = under(None, &run);
    assert!(ran.code == 4 && ran.stderr.contains("no policy is in force"), "{}", ran.stderr);
    let older = std::fs::read_to_string(&policy).unwrap().replace("number: 12", "number: 11");
    let older = case.0.write("policy.yaml", &older);
    let ran = under(Some(&older), &run);
    assert!(ran.code == 4 && ran.stderr.contains("went under number 12 before"), "{}", ran.stderr);
}

#[test]
fn p08_who_writes_while_entries_are_archived_is_not_disturbed() {
    let case = Case::new(3);
    let mut log = case.log();
    let is_over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !is_over.load(Ordering::Relaxed) {
                refuse(&mut log);
                written += 1;
            }
            written
        });
        let ran = case.archive(&[]);
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        writer.join().unwrap()
    });
    assert!(written > 0);
    case.both(0, "are archived");
    let folder = case.archives().join(&names(&case.archives(), "")[0]);
    case.with(&[&folder], 0, "verify");
}
