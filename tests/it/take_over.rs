//! One person goes on with another's run: two people who are both root by now. Between users there is no way.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::approvals::Site;
use crate::signed_overrides::REQUEST;
use crate::support::{Ran, Scratch, finish};

const AMY: &str = "1001";
const BEA: &str = "1002";
const CY: &str = "1003";
const NOBODY: u32 = 65534;

/// A runbook with a lock, whose second step fails until there is a file `well`.
fn runbook(folder: &str) -> String {
    "interlock: 1
name: test
locks: [\"take-over DIR\"]
steps:
  - {id: one, script: echo one >> DIR/book, undo: {script: echo undo-one >> DIR/book}}
  - {id: two, script: echo two >> DIR/book; test -e DIR/well, undo: {script: echo undo-two >> DIR/book}}
"
    .replace("DIR", folder)
}

/// The program in the session of somebody who logged in as this user and became root.
fn logged_in(scratch: &Scratch, login: &str, arguments: &[&str]) -> Ran {
    scratch.through(&["sh", "-eu", "-c", "echo $0 > /proc/self/loginuid; exec \"$@\"", login], arguments)
}

/// A run that amy started, and that halted.
fn halted() -> (Scratch, String) {
    let scratch = Scratch::new();
    let path = scratch.write("runbook.yaml", &runbook(scratch.path().to_str().unwrap()));
    let ran = logged_in(&scratch, AMY, &["run", path.to_str().unwrap()]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let run = scratch.the_open_run();
    (scratch, run)
}

#[test]
fn another_person_goes_on_only_by_taking_over_with_a_reason_that_is_kept() {
    for (how, code, book) in
        [("resume", 0, &["one", "two", "two"][..]), ("undo", 0, &["one", "two", "undo-two", "undo-one"])]
    {
        let (scratch, run) = halted();
        scratch.write("well", "");
        for arguments in [&[how, run.as_str()][..], &[how, &run, "--take-over"], &[how, &run, "--reason", "because"]] {
            let ran = logged_in(&scratch, BEA, arguments);
            assert_eq!(ran.code, if arguments.len() == 2 { 4 } else { 2 }, "{arguments:?}: {}", ran.stderr);
        }
        let refused = logged_in(&scratch, BEA, &[how, &run]);
        assert!(
            refused.stderr.contains("logged in as uid 1001") && refused.stderr.contains("--take-over"),
            "{}",
            refused.stderr
        );
        assert_eq!(scratch.lines("book"), ["one", "two"], "nothing was started");
        let ran = logged_in(&scratch, BEA, &[how, &run, "--take-over", "--reason", "amy is ill"]);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert_eq!(scratch.lines("book"), book);
        let resumed = scratch.last_entry("run_resumed");
        assert_eq!(
            (&resumed["data"]["taken_over"], &resumed["who"]["login_uid"]),
            (&"amy is ill".into(), &1002.into())
        );
        assert_eq!(scratch.entries()[1]["who"]["login_uid"], 1001);
        assert!(
            scratch.interlock(&["audit", "show", &run]).stdout.contains("taken over from another person: amy is ill")
        );
        assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
        // The lock went with the run, and is free at its end.
        let path = scratch.path().join("runbook.yaml");
        assert_eq!(logged_in(&scratch, AMY, &["run", path.to_str().unwrap()]).code, 0);
    }
}

#[test]
fn a_run_that_was_taken_over_is_the_other_persons_from_then_on() {
    let (scratch, run) = halted();
    assert_eq!(logged_in(&scratch, BEA, &["resume", &run, "--take-over", "--reason", "amy is ill"]).code, 7);
    // What bea began she goes on with as a matter of course, and amy does not.
    assert_eq!(logged_in(&scratch, BEA, &["resume", &run]).code, 7);
    assert_eq!(logged_in(&scratch, AMY, &["resume", &run]).code, 4);
    assert_eq!(logged_in(&scratch, AMY, &["abandon", &run, "--reason", "enough"]).code, 4);
    // Another run is still kept out.
    let path = scratch.path().join("runbook.yaml");
    assert_eq!(logged_in(&scratch, AMY, &["run", path.to_str().unwrap()]).code, 5);
    let ran = logged_in(&scratch, AMY, &["abandon", &run, "--take-over", "--reason", "repaired by hand"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let abandoned = scratch.last_entry("run_abandoned");
    assert_eq!(
        (&abandoned["data"]["reason"], &abandoned["who"]["login_uid"]),
        (&"repaired by hand".into(), &1001.into())
    );
    scratch.write("well", "");
    assert_eq!(logged_in(&scratch, AMY, &["run", path.to_str().unwrap()]).code, 0);
}

/// The program as an ordinary user, in the folder `open`.
fn as_nobody(scratch: &Scratch, home: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(scratch.path().join("interlock"));
    command.args(arguments).args(["--home", home]).uid(NOBODY).gid(NOBODY).current_dir("/");
    command.env_remove("INTERLOCK_HOME").env_remove("INTERLOCK_POLICY");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap())
}

fn as_root(home: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interlock"));
    command.args(arguments).args(["--home", home]).env_remove("INTERLOCK_HOME").env_remove("INTERLOCK_POLICY");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap())
}

#[test]
fn between_users_there_is_no_taking_over_and_an_attempt_harms_nothing() {
    let scratch = Scratch::new();
    // The built program may lie where the user cannot reach it.
    scratch.copy_program(env!("CARGO_BIN_EXE_interlock"), "interlock");
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let open = scratch.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::os::unix::fs::chown(&open, Some(NOBODY), Some(NOBODY)).unwrap();
    let path = scratch.write("runbook.yaml", &runbook(open.to_str().unwrap()));
    let path = path.to_str().unwrap();
    let theirs = open.join("home").display().to_string();
    let take_over = ["--take-over", "--reason", "the night shift"];

    // Root sees the run, and does not write into a folder that an ordinary user could have prepared.
    assert_eq!(as_nobody(&scratch, &theirs, &["run", path]).code, 7);
    let status: serde_json::Value =
        serde_json::from_str(&as_root(&theirs, &["status", "--format", "json"]).stdout).unwrap();
    let run = status["run"].as_str().unwrap();
    for how in ["resume", "undo"] {
        assert_eq!(as_root(&theirs, &[how, run]).code, 4);
        let refused = as_root(&theirs, &[&[how, run][..], &take_over].concat());
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(refused.stderr.contains("root trusts only folders that are root's"), "{}", refused.stderr);
    }
    assert_eq!(scratch.lines("open/book"), ["one", "two"], "nothing was started");
    // The run and its lock are still the user's.
    std::fs::write(open.join("well"), "").unwrap();
    let ran = as_nobody(&scratch, &theirs, &["resume", run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(as_nobody(&scratch, &theirs, &["audit", "verify"]).code, 0);

    // The other way round root's log is closed to them.
    std::fs::remove_file(open.join("well")).unwrap();
    let roots = scratch.home().display().to_string();
    assert_eq!(as_root(&roots, &["run", path]).code, 7);
    let run = scratch.the_open_run();
    let refused = as_nobody(&scratch, &roots, &[&["resume", &run][..], &take_over].concat());
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("Permission denied"), "{}", refused.stderr);
    assert_eq!(as_root(&roots, &["abandon", &run, "--reason", "over"]).code, 0);
}

/// A site whose people all become root, and a run of amy's that halted.
struct Case {
    site: Site,
    run: String,
}

const ONE_SIGNS: &str = "overrides: [{deviations: [take_over], need: 1, of: core, valid_for: 1h}]\n";

impl Case {
    fn halted(rules: &str) -> Self {
        Self::halted_in(rules, runbook)
    }

    fn halted_in(rules: &str, runbook: fn(&str) -> String) -> Self {
        let site = Site::new(rules);
        let mut policy = site.scratch.read("policy.yaml");
        for (person, users) in [("amy", AMY), ("bea", BEA), ("cy", CY)] {
            let from = policy.find(&format!("  {person}@example.org: {{")).unwrap();
            let to = from + policy[from..].find('\n').unwrap();
            policy.replace_range(from..to, &format!("  {person}@example.org: {{users: [\"{users}\"]}}"));
        }
        site.scratch.write("policy.yaml", &policy);
        let path = site.scratch.write("runbook.yaml", &runbook(site.path().to_str().unwrap()));
        let mut case = Self { site, run: String::new() };
        let ran = case.logged_in(AMY, &["run", path.to_str().unwrap()]);
        assert_eq!(ran.code, 7, "{}", ran.stderr);
        case.run = case.site.scratch.the_open_run();
        case
    }

    fn logged_in(&self, login: &str, arguments: &[&str]) -> Ran {
        let policy = self.site.text_path("policy.yaml");
        logged_in(&self.site.scratch, login, &[arguments, &["--policy", &policy]].concat())
    }

    fn take_over(&self, login: &str, command: &str, more: &[&str]) -> Ran {
        self.logged_in(login, &[&[command, self.run.as_str(), "--take-over", "--reason", "amy is ill"], more].concat())
    }

    /// Bea asks that she may.
    fn ask(&self) -> Ran {
        let arguments =
            ["override", &self.run, "--take-over", "--reason", "amy is ill", "--force", "-o", "request.yaml"];
        self.logged_in(BEA, &arguments)
    }

    /// The attempt was refused with an entry that has these words, and nothing was started.
    #[track_caller]
    fn was_refused(&self, ran: &Ran, event: &str, words: &[&str]) {
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        let last = self.site.scratch.entries().pop().unwrap();
        assert_eq!(last["event"], event);
        let why = last["data"]["why"].as_str().or(last["data"]["reason"].as_str()).unwrap();
        for word in words {
            assert!(why.contains(word), "`{word}`: {last}");
            assert!(ran.stderr.contains(word), "`{word}`: {}", ran.stderr);
        }
        assert_eq!(self.site.scratch.lines("book"), ["one", "two"]);
    }
}

#[test]
fn p05_where_a_rule_speaks_of_it_a_run_is_taken_over_by_a_signed_request_and_not_without() {
    let case = Case::halted(ONE_SIGNS);
    case.site.scratch.write("well", "");
    let alone = case.take_over(BEA, "resume", &[]);
    case.was_refused(
        &alone,
        "take_up_refused",
        &[
            "logged in as uid 1001",
            "these must sign: 1 of `core`",
            "--take-over --reason WHY -o request.yaml",
            "interlock undo",
        ],
    );
    let asked = case.ask();
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    let next = format!("interlock resume {} --take-over --reason WHY --override request.yaml", case.run);
    assert!(asked.stderr.contains(&next), "{}", asked.stderr);
    case.was_refused(
        &case.take_over(BEA, "resume", &["--override", "request.yaml"]),
        "override_refused",
        &["nobody has signed", "amy@example.org, cy@example.org"],
    );
    // Her own does not count, and the permission is hers alone.
    case.site.sign("request.yaml", REQUEST, "bea", "request.yaml.bea.sig");
    let own = case.take_over(BEA, "resume", &["--override", "request.yaml"]);
    case.was_refused(&own, "override_refused", &["who operates this run, and the operator's own does not count"]);
    case.site.sign("request.yaml", REQUEST, "cy", "request.yaml.cy.sig");
    let other = case.take_over(CY, "resume", &["--override", "request.yaml"]);
    case.was_refused(&other, "override_refused", &["made by another person"]);
    let amy = case.logged_in(AMY, &["resume", &case.run, "--override", "request.yaml"]);
    case.was_refused(&amy, "override_refused", &["the run is yours"]);
    let ran = case.take_over(BEA, "resume", &["--override", "request.yaml"]);
    // Nothing of the procedure was left out.
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(case.site.scratch.lines("book"), ["one", "two", "two"]);
    assert_eq!(case.site.scratch.last("run_resumed")["taken_over"], "amy is ill");
    let accepted = case.site.scratch.last("override_accepted");
    assert_eq!(
        (&accepted["deviation"], &accepted["approved_by"]),
        (&serde_json::json!({"take_over": {}}), &serde_json::json!(["cy@example.org"]))
    );
    assert_eq!(case.site.scratch.last("approval_accepted")["document"], accepted["request"]);
    assert!(case.site.scratch.last("run_completed")["deviations"].as_u64().unwrap_or_default() == 0);
    let verified = case.site.scratch.interlock(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
    assert!(verified.stdout.contains("1 signature over"), "{}", verified.stdout);
}

#[test]
fn p05_a_run_that_was_taken_over_by_a_signed_request_is_the_other_persons_and_the_request_is_used_up() {
    let case = Case::halted(ONE_SIGNS);
    assert_eq!(case.ask().code, 0);
    case.site.approve("request.yaml", "cy");
    assert_eq!(case.take_over(BEA, "resume", &["--override", "request.yaml"]).code, 7);
    // What is hers she goes on with, and amy does not without signatures.
    assert_eq!(case.ask().code, 2, "there is nothing to take over");
    assert_eq!(case.logged_in(BEA, &["resume", &case.run]).code, 7);
    let amy = case.take_over(AMY, "resume", &[]);
    assert_eq!(amy.code, 4, "{}", amy.stderr);
    assert!(amy.stderr.contains("logged in as uid 1002"), "{}", amy.stderr);
    let again = case.take_over(BEA, "resume", &["--override", "request.yaml"]);
    assert_eq!(again.code, 4, "{}", again.stderr);
    case.site.scratch.write("well", "");
    assert_eq!(case.logged_in(BEA, &["resume", &case.run]).code, 0);
    case.site.verifies();
}

#[test]
fn p05_going_back_with_anothers_run_needs_nobody_and_does_not_make_it_ones_own() {
    for rules in [ONE_SIGNS, "forbid: [take_over]\n"] {
        let case = Case::halted(rules);
        let ran = case.take_over(BEA, "undo", &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(case.site.scratch.lines("book"), ["one", "two", "undo-two", "undo-one"]);
        case.site.verifies();
    }
    // An undo that ends before anything is taken back: the step that is run again for it fails.
    let runbook = |folder: &str| {
        "interlock: 1
name: test
systems: {mark: {states: {there: {file: {path: DIR/mark, state: present}}}}}
steps:
  - id: one
    script: echo one >> DIR/book; test -e DIR/ill && exit 1; touch DIR/mark
    ensures: [mark there]
    undo: {script: echo undo-one >> DIR/book}
  - id: two
    requires: [mark there]
    script: echo two >> DIR/book; test -e DIR/well
    undo: {requires: [mark there], script: echo undo-two >> DIR/book}
"
        .replace("DIR", folder)
    };
    let case = Case::halted_in(ONE_SIGNS, runbook);
    std::fs::remove_file(case.site.path().join("mark")).unwrap();
    case.site.scratch.write("ill", "");
    let ran = case.take_over(BEA, "undo", &["--rerun", "one"]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(!case.site.scratch.events().contains(&"undo_began".to_owned()));
    std::fs::remove_file(case.site.path().join("ill")).unwrap();
    case.site.scratch.write("well", "");
    for more in [&["--decide", "one=retry"][..], &["--take-over", "--reason", "now it is mine"]] {
        let ran = case.logged_in(BEA, &[&["resume", case.run.as_str()], more].concat());
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        assert!(ran.stderr.contains("is that of") && ran.stderr.contains("uid 1001"), "{}", ran.stderr);
    }
    assert_eq!(case.ask().code, 0);
    case.site.approve("request.yaml", "cy");
    let silent = case.logged_in(BEA, &["resume", &case.run, "--override", "request.yaml"]);
    assert_eq!(silent.code, 2, "{}", silent.stderr);
    assert!(silent.stderr.contains("say --take-over"), "{}", silent.stderr);
    // To go back stays possible.
    case.site.scratch.write("mark", "");
    let back = case.take_over(BEA, "undo", &[]);
    assert_eq!(back.code, 0, "{}", back.stderr);
    case.site.verifies();
}

#[test]
fn p05_taking_over_is_refused_where_the_policy_forbids_it_and_the_operators_to_do_where_no_rule_speaks_of_it() {
    let case = Case::halted("forbid: [take_over]\n");
    let words = ["forbids every `take_over`", "interlock undo"];
    case.was_refused(&case.take_over(BEA, "resume", &[]), "take_up_refused", &words);
    case.was_refused(&case.ask(), "override_refused", &words[..1]);
    let other = "overrides:\n  - {match: {name: other}, deviations: [take_over], need: all, of: core}\n  - {deviations: [skip], need: all, of: core}\n";
    let case = Case::halted(other);
    let asked = case.ask();
    assert_eq!(asked.code, 2, "{}", asked.stderr);
    assert!(asked.stderr.contains("no rule of a policy asks for signatures"), "{}", asked.stderr);
    case.site.scratch.write("well", "");
    let ran = case.take_over(BEA, "resume", &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(case.site.scratch.last("run_resumed")["taken_over"], "amy is ill");
    // One whom no policy knows takes nothing over.
    let case = Case::halted(other);
    let stranger = case.take_over("1004", "undo", &[]);
    assert_eq!(stranger.code, 4, "{}", stranger.stderr);
    case.site.verifies();
}
