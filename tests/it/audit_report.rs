//! `audit report`: real runs, written down as one file that a real browser shows and in which nothing acts; and many runs at a glance.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use interlock::history::entry::{Entry, Who};
use interlock::history::event::{Ending, Event, Sight, Verdict, Way};
use interlock::id::{BootId, Digest};
use interlock::report::account::Account;
use interlock::report::html::html;
use interlock::report::provenance::Provenance;
use sha2::{Digest as _, Sha256};

use crate::support::{Ran, Scratch, finish};

/// The parts of the page, in the order in which they stand.
const PARTS: [&str; 6] = ["deviations", "timeline", "approvals", "steps", "refused", "proof"];

/// What must not reach a reader as it is.
const UNFIT: [char; 5] = ['\u{1b}', '\u{7}', '\u{202e}', '\u{2028}', '\u{0}'];

/// A run that is stopped because a held fact breaks.
const BREAKS: &str = "interlock: 1\nname: store-change\ntitle: Change the store\nsystems:\n  gate:\n    states:\n      \
                      shut: {file: {path: \"DIR/gate\", state: absent}}\nsteps:\n  \
                      - {id: shut, script: rm -f DIR/gate, ensures: [gate shut]}\n  \
                      - {id: change, requires: [gate shut], script: \"echo begun; touch DIR/gate; sleep 30\"}\n  \
                      - {id: after, script: \"true\"}\n";

fn report(scratch: &Scratch, arguments: &[&str]) -> Ran {
    let mut all = vec!["audit", "report"];
    all.extend(arguments);
    scratch.interlock(&all)
}

/// Runs a runbook, in which `DIR` stands for the folder.
fn run(scratch: &Scratch, runbook: &str, arguments: &[&str]) -> Ran {
    scratch.run(&runbook.replace("DIR", &scratch.path().display().to_string()), arguments)
}

fn broken() -> Scratch {
    let scratch = Scratch::new();
    let ran = run(&scratch, BREAKS, &[]);
    assert_eq!(ran.code, 8, "{}", ran.stderr);
    scratch
}

/// The page of the newest run.
fn page(scratch: &Scratch) -> String {
    let ran = report(scratch, &["last", "--force", "-o", "run.html"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    scratch.read("run.html")
}

/// What a browser makes of a file, and what it has to say about it.
fn browser(scratch: &Scratch, file: &str) -> (String, String) {
    let profile = scratch.path().join("profile");
    let mut chromium = Command::new("chromium");
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--virtual-time-budget=2000",
    ]);
    chromium.arg(format!("--user-data-dir={}", profile.display())).arg("--dump-dom");
    chromium.arg(format!("file://{}", scratch.path().join(file).display()));
    chromium.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(chromium.spawn().expect("the tests need Debian's package `chromium`; tests/run installs it"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    (ran.stdout, ran.stderr)
}

/// What the browser's console says of the page's policy.
fn violations(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.contains("CONSOLE")).collect()
}

fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let begin = text.find(from).unwrap_or_else(|| panic!("no `{from}`")) + from.len();
    let length = text[begin..].find(to).unwrap_or_else(|| panic!("no `{to}` after `{from}`"));
    &text[begin..begin + length]
}

#[test]
fn the_page_of_a_run_says_how_it_ended_and_where_it_broke_in_its_order() {
    let scratch = broken();
    let page = page(&scratch);
    assert!(page.contains("Halted at step <code>change</code>, and not over: a held fact broke"), "{page}");
    assert!(page.contains("A fact that was held broke: <code>gate shut</code>"));
    let places: Vec<usize> = PARTS.iter().map(|part| page.find(&format!("<section id=\"{part}\"")).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(page.find("class=\"verdict\"").unwrap() < places[0]);
    // The break is drawn, and the step that never began is named.
    assert!(page.contains("<line class=\"break\"") && page.contains("Step 3, after: never begun"));
    let last = scratch.entries().len();
    assert!(between(&page, "<dt>Last entry</dt>", "</dd>").contains(&format!("<dd>{last}, ")));
}

#[test]
fn a_page_has_no_script_nothing_from_elsewhere_and_one_style_that_its_policy_names() {
    let scratch = broken();
    let page = page(&scratch);
    let style = between(&page, "<style>", "</style>");
    let digest = STANDARD.encode(Sha256::digest(style.as_bytes()));
    let policy = format!("default-src &#39;none&#39;; style-src &#39;sha256-{digest}&#39;; base-uri &#39;none&#39;");
    assert!(page.contains(&policy), "{policy}");
    let outside = page.replace(style, "");
    for tag in outside.split('<').skip(1).filter_map(|tag| tag.split('>').next()) {
        let name = tag.split(' ').next().unwrap_or_default();
        assert!(!["script", "link", "img", "iframe", "object", "form", "base"].contains(&name), "<{tag}>");
        let acts = |word: &str| {
            word.starts_with("on") || ["style=", "src=", "xlink:"].iter().any(|start| word.starts_with(start))
        };
        assert!(!tag.split(' ').any(acts), "<{tag}>");
        assert!(!tag.contains("href=") || tag.contains("href=\"#"), "<{tag}>");
    }
    assert!(!style.contains("@import") && !style.contains("url(h") && !style.contains("//"), "{style}");
}

#[test]
fn a_report_is_written_whole_for_its_owner_alone_and_never_over_another_file() {
    let scratch = broken();
    let ran = report(&scratch, &["last", "-o", "run.html"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let file = scratch.path().join("run.html");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let digest = Digest::of(&std::fs::read(&file).unwrap());
    assert_eq!(ran.stdout, format!("{digest}  run.html\n"));
    std::fs::write(&file, "mine").unwrap();
    let ran = report(&scratch, &["last", "-o", "run.html"]);
    assert_eq!((ran.code, scratch.read("run.html").as_str()), (2, "mine"));
    assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
    assert_eq!(report(&scratch, &["last", "-o", "run.html", "--force"]).code, 0);
    assert!(scratch.read("run.html").starts_with("<!DOCTYPE html>"));
    let ran = report(&scratch, &["last", "-o", "no/such/folder/run.html"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    let ran = report(&scratch, &["last", "-o", "run.what"]);
    assert!(ran.code == 2 && ran.stderr.contains("--as"), "{}", ran.stderr);
    let left = std::fs::read_dir(scratch.path()).unwrap().flatten().map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("interlock-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_full_disk_leaves_no_part_of_a_report() {
    let scratch = broken();
    let ran = scratch.with_fault(&["audit", "report", "last", "-o", "run.html"], "fsync:error=ENOSPC");
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    let names: Vec<_> = std::fs::read_dir(scratch.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| name == "run.html" || name.starts_with(".interlock")), "{names:?}");
}

#[test]
fn a_run_is_named_by_the_beginning_of_its_id_and_what_fits_more_or_none_is_a_mistake() {
    let scratch = broken();
    let id = scratch.the_open_run();
    let plain = "interlock: 1\nname: plain\nsteps:\n  - {id: one, script: \"true\"}\n";
    assert_eq!(run(&scratch, plain, &[]).code, 0);
    let ran = report(&scratch, &[&id[..24]]);
    assert!(ran.code == 0 && ran.stdout.contains(&id), "{}", ran.stderr);
    assert!(report(&scratch, &["last"]).stdout.contains("`plain`"));
    let ran = report(&scratch, &[&id[..4]]);
    assert!(ran.code == 2 && ran.stderr.contains("fits 2 runs"), "{}", ran.stderr);
    let ran = report(&scratch, &["ffff"]);
    assert!(ran.code == 2 && ran.stderr.contains("there is no run"), "{}", ran.stderr);
    assert_eq!(report(&scratch, &[]).code, 2, "a run or a time is needed");
    assert_eq!(report(&Scratch::new(), &["last"]).code, 1, "there is no log");
}

#[test]
fn the_commands_that_a_report_names_give_the_digest_that_it_names() {
    let scratch = broken();
    let page = page(&scratch);
    let last = between(&page, "<dt>Last entry</dt>", "</dd>");
    let digest = between(last, "<code class=\"digest\">", "</code>");
    let command = between(&page, "<dt></dt>\n<dd><code>", "</code>").replace("&#39;", "'");
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_interlock")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let ran = Command::new("sh").args(["-c", &command]).env("PATH", path).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), format!("{digest}  -\n"), "{command}");
    // The checkpoint that is in the page is one that verify takes.
    let note = between(&page, "<pre class=\"note\" tabindex=\"0\">\n", "</pre>");
    let kept = scratch.write("kept.checkpoint", note);
    let ran = scratch.interlock(&["audit", "verify", "--checkpoint", kept.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
}

/// What somebody writes who wants to act in the page of who reads it.
const EVIL: &str =
    "</title></pre></style><script>document.title='PWNED'</script><img src=x onerror=\"document.title='PWNED'\">";

fn hostile() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("evil", &format!("{EVIL}\n\u{1b}[2J\u{1b}]0;PWNED\u{7}\u{202e}gnp.exe\u{2028}``` ~~~ | # *\n"));
    let text = |text: &str| serde_json::to_string(text).unwrap().replace('\u{202e}', "\\u202e");
    let runbook = format!(
        "interlock: 1\nname: hostile\ntitle: {}\nsteps:\n  - id: writes\n    title: {}\n    script: |\n      cat DIR/evil\n      \
         printf '\\377\\376\\200 no UTF-8\\n'\n      head -c 50000000 /dev/zero | tr '\\0' x\n      cat DIR/evil\n  \
         - id: tell\n    manual: {}\n  - id: fails\n    script: exit 3\n",
        text(EVIL),
        text("\u{202e}<b>bold</b> `code` [link](javascript:alert(1))"),
        text(EVIL)
    );
    let attest = format!("tell={EVIL}");
    let ran = run(&scratch, &runbook, &["--attest", &attest]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let id = scratch.the_open_run();
    let request = ["override", &id, "--accept", "fails", "--reason", EVIL, "-o", "request.yaml"];
    let ran = scratch.interlock(&request);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = scratch.interlock(&["resume", &id, "--override", "request.yaml", "--self-approve", "fails"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    scratch
}

#[test]
fn whatever_was_recorded_nothing_of_it_acts_in_a_browser() {
    let scratch = hostile();
    let page = page(&scratch);
    assert!(page.len() < 1024 * 1024, "of 50 MB the first and the last are shown: {}", page.len());
    assert!(page.contains("bytes are left out here"));
    // The command that the page names for the rest shows it.
    let id = &scratch.entries().iter().find_map(|entry| entry["run"].as_str().map(str::to_owned)).unwrap();
    let command = format!("interlock audit play {id} writes --attempt 1 --home {} | less", scratch.home().display());
    assert!(page.contains(&command), "{command}");
    let ran = scratch.interlock(&["audit", "play", id, "writes", "--attempt", "1"]);
    assert!(ran.code == 0 && ran.stdout.len() > 50_000_000, "{}", ran.stderr);
    assert!(
        page.contains("\\xff\\xfe\\x80 no UTF-8")
            && page.contains("\\x1b[2J")
            && page.contains("\\u{202e}gnp.exe\\u{2028}")
    );
    assert!(!page.contains(UNFIT));
    assert!(page.contains("It is what was recorded"));
    let (dom, said) = browser(&scratch, "run.html");
    assert!(dom.contains("<title>Completed with 1 deviation, after 1 halt"), "{}", &dom[..dom.len().min(2000)]);
    assert!(!dom.contains("<title>PWNED") && !dom.contains("<script") && !dom.contains("<img"));
    for part in PARTS {
        assert!(dom.contains(&format!("<section id=\"{part}\"")), "{part}");
    }
    assert_eq!(violations(&said), [] as [&str; 0]);
    // The browser would have told: of a style that is not the one named, and by what a script does.
    scratch.write("other.html", &page.replacen("<style>", "<style>/* another */", 1));
    let (_, said) = browser(&scratch, "other.html");
    assert!(violations(&said).iter().any(|line| line.contains("style")), "{said}");
    scratch.write("script.html", "<!DOCTYPE html><title>calm</title><script>document.title='PWNED'</script>");
    assert!(browser(&scratch, "script.html").0.contains("<title>PWNED"));
}

#[test]
fn whatever_was_recorded_nothing_of_it_acts_in_markdown() {
    let scratch = hostile();
    let ran = report(&scratch, &["last", "-o", "run.md"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let text = scratch.read("run.md");
    assert!(!text.contains(UNFIT));
    let mut fence: Option<String> = None;
    for line in text.lines() {
        match &fence {
            Some(open) if line == open => fence = None,
            Some(_) => {}
            None if line.starts_with("```") => fence = Some(line.trim_end_matches("text").to_owned()),
            None => {
                let code: Vec<&str> = line.split('`').step_by(2).collect();
                let bare = code.join("").replace("\\<", "").replace("\\[", "");
                assert!(!bare.contains('<') && !bare.contains("[link]"), "{line}");
            }
        }
    }
    assert_eq!(fence, None, "every fence is closed");
    // On standard output the same.
    assert!(report(&scratch, &["last", "-o", "-"]).stdout.contains("## What proves it"));
}

#[test]
fn an_output_that_was_changed_afterwards_is_said_to_be_another() {
    let scratch = broken();
    let id = scratch.the_open_run();
    let transcript = scratch.home().join("runs").join(&id).join("change-1.cast");
    let text = std::fs::read_to_string(&transcript).unwrap();
    std::fs::write(&transcript, text.replace("begun", "begin")).unwrap();
    assert!(page(&scratch).contains("IT IS NOT WHAT WAS RECORDED"));
    std::fs::remove_file(&transcript).unwrap();
    assert!(page(&scratch).contains("It cannot be shown"));
}

#[test]
fn the_report_of_a_run_for_programs_is_one_object() {
    let scratch = broken();
    let ran = report(&scratch, &["last", "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((told["verdict"].as_str(), told["broken"][0].as_str()), (Some("halted"), Some("gate shut")));
    let fates: Vec<&str> =
        told["steps"].as_array().unwrap().iter().map(|step| step["fate"].as_str().unwrap()).collect();
    assert_eq!(fates, ["done", "in_doubt", "not_begun"]);
    assert_eq!(told["last"]["entry"].as_u64(), Some(scratch.entries().len() as u64));
}

/// A history of ten thousand entries, as a run of very many steps would leave it.
fn long_account() -> Account {
    let id: interlock::id::RunId = "01a20267-11a7-7407-8bf5-3c025b2788d0".parse().unwrap();
    let mut account = Account::new(id.clone(), Err("it is made up".to_owned()));
    let who = Arc::new(Who { host: "h".to_owned(), user: Some("amy".to_owned()), ..Who::default() });
    let boot: BootId = "0591e459-65bb-47f6-9a52-c80108a666ba".parse().unwrap();
    let steps = 3333;
    let mut seq = 0;
    let mut take = |event: Event| {
        seq += 1;
        let time = format!("2026-11-22T04:{:02}:{:02}.000000Z", seq / 600, seq / 10 % 60).parse().unwrap();
        let (run, who, boot, prev) = (Some(id.clone()), Arc::clone(&who), boot.clone(), Digest::of(b""));
        let entry = Entry { seq, time, mono: seq * 100_000_000, boot, run, who, event, prev };
        account.take(entry, Digest::of(b"line"));
    };
    let text = || "text".to_owned();
    take(Event::RunOpened {
        runbook: text(),
        title: None,
        labels: BTreeMap::new(),
        source: text(),
        plan: Digest::of(b"plan"),
        steps,
        locks: Vec::new(),
        policies: Vec::new(),
        containment: text(),
        watching: text(),
        program: text(),
    });
    let sight = || Sight { fact: "gate shut".parse().unwrap(), verdict: Verdict::Holds, evidence: "x".repeat(200) };
    for number in 0..steps {
        let (step, way, attempt) =
            (format!("step-{number}").parse::<interlock::id::StepId>().unwrap(), Way::Forward, 1);
        let (action, program) = (text(), None);
        let requires = vec![sight()];
        take(Event::StepIntended { step: step.clone(), way, attempt, action, program, requires, waived: Vec::new() });
        let (ending, leftovers) = (Ending::Exited { code: 0 }, Vec::new());
        take(Event::StepEnded { step: step.clone(), way, attempt, ending, micros: 100_000, output: None, leftovers });
        take(Event::StepDone { step, way, attempt, ensures: vec![sight()], replaced: BTreeMap::new() });
    }
    account.finish();
    account
}

#[test]
fn ten_thousand_entries_are_drawn_with_few_shapes_and_shown_by_a_browser_in_time() {
    let account = long_account();
    assert_eq!((account.entries, account.illegal.as_deref()), (10_000, None));
    let provenance = Provenance {
        log: "log".to_owned(),
        key: None,
        head: (10_000, Digest::of(b"line")),
        checkpoint: None,
        home: "/home".to_owned(),
        made: "now".to_owned(),
        program: "0",
    };
    let page = html(&account, &provenance);
    let drawing = between(&page, "<svg viewBox=", "</svg>");
    let shapes = drawing.matches("<rect").count() + drawing.matches("<line").count();
    assert!(shapes < 3000, "{shapes}");
    let scratch = Scratch::new();
    scratch.write("run.html", &page);
    let (dom, said) = browser(&scratch, "run.html");
    assert!(dom.contains("Steps 3301 to 3333: 33 done") && dom.contains("id=\"step-3333\""));
    assert_eq!(violations(&said), [] as [&str; 0]);
}

#[test]
fn many_runs_at_a_glance_say_how_they_ended_and_what_people_left_out() {
    let scratch = Scratch::new();
    let fails =
        "interlock: 1\nname: careful\nsteps:\n  - {id: slow, script: exit 3}\n  - {id: last, script: \"true\"}\n";
    assert_eq!(run(&scratch, fails, &[]).code, 7);
    let id = scratch.the_open_run();
    let reason = "it takes | too long\u{1b}[2J";
    let request = ["override", &id, "--accept", "slow", "--reason", reason, "-o", "request.yaml"];
    assert_eq!(scratch.interlock(&request).code, 0);
    assert_eq!(scratch.interlock(&["resume", &id, "--override", "request.yaml", "--self-approve", "slow"]).code, 13);
    let plain = "interlock: 1\nname: plain\nsteps:\n  - {id: one, script: \"true\"}\n";
    for _ in 0..2 {
        assert_eq!(run(&scratch, plain, &[]).code, 0);
    }
    let refused = "interlock: 1\nname: plain\nsystems:\n  gate:\n    states:\n      open: {file: {path: \"DIR/gate\", state: present}}\n\
                   steps:\n  - {id: one, script: \"true\", requires: [gate open]}\n";
    assert_eq!(run(&scratch, refused, &[]).code, 3);

    let ran = report(&scratch, &["--since", "1h"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("4 runs of 2 runbooks, 1 deviation made."), "{}", ran.stdout);
    assert!(ran.stdout.contains("it takes | too long\\x1b[2J") && !ran.stdout.contains('\u{1b}'), "{}", ran.stdout);

    let ran = report(&scratch, &["--since", "1h", "--format", "json"]);
    let all: Vec<serde_json::Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let about = |what: &str, name: &str, value: &str| {
        let found = all.iter().find(|one| one["about"] == what && one[name] == value);
        found.unwrap_or_else(|| panic!("{what} {value} in {}", ran.stdout)).clone()
    };
    let careful = about("runbook", "runbook", "careful");
    assert_eq!((careful["runs"].as_u64(), careful["completed_with_deviations"].as_u64()), (Some(1), Some(1)));
    let plain = about("runbook", "runbook", "plain");
    assert_eq!(
        (plain["runs"].as_u64(), plain["completed"].as_u64(), plain["refused"].as_u64()),
        (Some(3), Some(2), Some(1))
    );
    let deviation = about("deviation", "runbook", "careful");
    assert_eq!((deviation["reason"].as_str(), deviation["made"].as_bool()), (Some(reason), Some(true)));
    assert_eq!(
        (deviation["run"].as_str(), deviation["self_approved"].as_str()),
        (Some(id.as_str()), Some("command_line"))
    );
    let slow = about("step", "step", "slow");
    assert_eq!(
        (slow["accepted"].as_u64(), slow["failed"].as_u64(), slow["attempts"].as_u64()),
        (Some(1), Some(1), Some(1))
    );
    assert_eq!(about("fact", "fact", "gate open")["did_not_hold"].as_u64(), Some(1));
    let taken_up = about("waiting", "for", "people: until a run that stood still was taken up");
    assert_eq!(taken_up["waited"]["count"].as_u64(), Some(1));

    let ran = report(&scratch, &["--since", "1h", "-o", "many.html"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let (dom, said) = browser(&scratch, "many.html");
    assert!(dom.contains("<section id=\"facts\"") && violations(&said).is_empty(), "{said}");
    assert!(report(&scratch, &["--since", "1h", "--as", "markdown"]).stdout.contains("it takes \\| too long"));
}

#[test]
fn a_time_that_is_looked_at_is_a_date_a_time_or_so_long_ago() {
    let scratch = Scratch::new();
    let plain = "interlock: 1\nname: plain\nsteps:\n  - {id: one, script: \"true\"}\n";
    assert_eq!(run(&scratch, plain, &[]).code, 0);
    for (since, until, runs) in [
        ("1h", None, "1 run "),
        ("2001-01-01", None, "1 run "),
        ("2001-01-01T00:00:00Z", Some("2002-01-01"), "0 runs "),
        ("2d", Some("1d"), "0 runs "),
    ] {
        let mut arguments = vec!["--since", since];
        arguments.extend(until.iter().flat_map(|until| ["--until", until]));
        let ran = report(&scratch, &arguments);
        assert!(ran.code == 0 && ran.stdout.contains(runs), "{since}: {}{}", ran.stdout, ran.stderr);
    }
    for wrong in ["yesterday", "1d --until 2d", "2026-13-01"] {
        let mut arguments = vec!["--since"];
        arguments.extend(wrong.split(' '));
        assert_eq!(report(&scratch, &arguments).code, 2, "{wrong}");
    }
    assert_eq!(report(&scratch, &["last", "--since", "1d"]).code, 2);
}
