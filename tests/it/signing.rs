//! P6: who signs sees what they sign, with nothing left out and nothing in disguise, and what is signed is written whole or not at all.

use std::collections::BTreeSet;
use std::io::Write as _;

use interlock::id::{Digest, Nonce};
use interlock::plan::{AskedBy, Binding, LogHead, Plan, Planned, PolicyMark, Programs, VERSION};
use interlock::report::page::page;
use interlock::runbook::model::SecretSource;
use interlock::runbook::{Given, check};
use interlock::yaml::source::decode;

use crate::approvals::Site;
use crate::faults::SmallDisk;
use crate::terminal::Terminal;

/// Everything that a plan can say, each text with a mark, and many of them with what deceives.
const HOSTILE: &str = r#"interlock: 1
name: change
title: "Change \u202ethe zz01"
labels: {env: "pr\u043eduction zz02"}
params:
  note: {type: string, default: "zz03\tand \uff0dx"}
  word: {type: secret, from: {command: [/bin/fetch-word, "--as=\u0430dmin", "zz04 a  b"]}}
  file: {type: secret, from: {file: /etc/zz05}}
  asked: {type: secret, from: {prompt: "zz06 \u05d0\u05d1 1?"}}
systems:
  queue:
    states:
      empty:
        before: {all: [{command: {run: [/bin/queue, "--s\u0435rver", "zz07\r"], stdout: ^zz08$, user: root}}, {file: {path: /srv/zz09, state: present, contains: zz10}}]}
        while: {not: {command: {run: [/bin/queue, is-filling, zz11], holds: [3], broken: [4], every: 5s}}}
  db:
    states:
      up: {any: [{port: {port: 5432, host: zz12}}, {process: {name: zz13, args: [zz14, "b c"], user: zz15, state: present}}, {data_dir: {path: /srv/zz16, server: [zz17], state: in_use}}]}
locks: ["zz18 a"]
override: {need: 2, of: zz19}
steps:
  - id: tell
    title: "zz20 \u0455\u0443"
    note: "zz21\nwindow: from zz22\r\nlast \u200b line"
    manual: "zz23\n\u05d0 zz24"
    undo: {manual: zz25}
  - id: set
    requires: [queue empty]
    run: [zz26, "p\u0430th zz27", "", "it's"]
    env: {NAME: "{{ word }}zz28", OTHER: "zz29\nz"}
    stdin: "zz30\n{{ file }}"
    cwd: /srv/zz31
    user: zz32
    success: [0, 7]
    ensures: [db up]
    replaces: [/opt/zz33]
    confirm: {ask: "zz34?", expect: zz35}
    when: note != "zz36"
    override: never
    undo: {script: "echo zz37 \u0440\u043e\u0440\n\techo zz38\n", requires: [db up], user: zz39, cwd: /zz40}
"#;

fn hostile() -> Plan {
    let source = decode("change.yaml", HOSTILE.as_bytes().to_vec()).unwrap();
    let checked = check(&source, &Given::nothing()).unwrap();
    let text = |text: &str| text.to_owned();
    Plan {
        interlock_plan: VERSION,
        binding: Some(Binding {
            asked_by: AskedBy { user: text("\u{430}my"), person: Some("amy@example.org".parse().unwrap()) },
            host: text("db\u{661}"),
            machine: text("none"),
            made: "2026-11-22T04:00:00Z".parse().unwrap(),
            valid_from: "2026-11-22T04:00:00Z".parse().unwrap(),
            valid_until: "2026-11-23T04:00:00Z".parse().unwrap(),
            nonce: Nonce::from_bytes(&[0xc4; 16]),
            policies: vec![PolicyMark { digest: Digest::of(b"policy"), number: 12 }],
            log: Some(LogHead { entries: 7, digest: Digest::of(b"line") }),
        }),
        deviations: vec![Planned {
            deviation: interlock::history::deviation::Deviation::Skip { step: "tell".parse().unwrap() },
            reason: text("told by \u{440}hone\n  sha256: zz41"),
        }],
        source: text("change.yaml"),
        source_digest: Digest::of(b"source"),
        params: checked.values,
        secrets: [
            (text("asked"), SecretSource::Prompt(text("zz06 \u{5d0}\u{5d1} 1?"))),
            (text("file"), SecretSource::File("/etc/zz05".into())),
            (
                text("word"),
                SecretSource::Command(vec![text("/bin/fetch-word"), text("--as=\u{430}dmin"), text("zz04 a  b")]),
            ),
        ]
        .into(),
        programs: Programs::default(),
        runbook: checked.runbook,
    }
}

/// The marks in a text.
fn marks(text: &str) -> BTreeSet<&str> {
    text.match_indices("zz").filter_map(|(at, _)| text.get(at..at + 4)).collect()
}

#[test]
fn p06_the_page_that_is_signed_shows_everything_that_is_executed_and_nothing_in_disguise() {
    let plan = hostile();
    let bytes = plan.to_yaml().unwrap();
    let shown = page(&plan, &bytes);
    assert_eq!(marks(&bytes).len(), 41);
    assert_eq!(marks(&shown), marks(&bytes), "each text of the plan is on the page");
    assert!(shown.chars().all(|c| c == '\n' || c == '│' || (' '..='~').contains(&c)), "{shown:?}");
    insta::assert_snapshot!(shown, @r##"
    plan: change: Change \u{202e}the zz01
      sha256: c113af47af8bcf33f29accaea297b3ba6a64eba65b4a4b665133708071ba6df2
      DEVIATION: skip step `tell`: told by \u{440}hone\n  sha256: zz41
      asked by: amy@example.org, the user \u{430}my
      for: one run on `db\u{661}` (machine none)
      made: 2026-11-22T04:00:00Z
      window: from 2026-11-22T04:00:00Z until 2026-11-23T04:00:00Z
      under the policy: number 12, sha256 823412d1eacb67956220e532959f0104603057c88704863ca38e7cd188fda812
      audit log: 7 entries, the last one's sha256 38a9c1e721584da284b90ceea4ed7eb8db15ac4ea86c2c75ec925d5f8799fcf0
      made from: change.yaml (sha256 41cf6794ba4200b839c53531555f0f3998df4cbb01a4d5cb0b94e3ca5e23947d)
      label: env = pr\u{43e}duction zz02
      parameter: note = zz03\tand \u{ff0d}x
      secret: asked, from the person who operates: zz06 \u{5d0}\u{5d1} 1?
      secret: file, from the file /etc/zz05
      secret: word, from what this command writes: /bin/fetch-word '--as=\u{430}dmin' 'zz04 a  b'
      lock: zz18 a
      when a step fails: halt, and a person decides
      may be left out: with 2 of `zz19` as well

    [1/2] tell  zz20 \u{455}\u{443}
        DEVIATION: skip step `tell`: told by \u{440}hone\n  sha256: zz41
        note:
        │ zz21
        │ window: from zz22\r
        │ last \u{200b} line
        a person does:
        │ zz23
        │ \u{5d0} zz24
        at most: 1d
        way back:
          a person does:
          │ zz25
          at most: 1d

    [2/2] set
        when: note != "zz36" (note = zz03\tand \u{ff0d}x): it is done
        requires: queue empty
        asks: zz34? (the answer: zz35)
        executes: zz26 'p\u{430}th zz27' '' 'it'\''s'
        as the user: zz32
        in the folder: /srv/zz31
        with: NAME = (with a secret) {{ word }}zz28
        with: OTHER = zz29\nz
        on standard input:
        │ (with a secret) zz30
        │ {{ file }}
        succeeds with: 0, 7
        at most: 10m
        ensures, within 30s: db up
        replaces: /opt/zz33
        may be left out: never
        way back:
          requires: db up
          executes the script:
          │ echo zz37 \u{440}\u{43e}\u{440}
          │ \techo zz38
          script's sha256: eb83163ed8afced96187f2e68a72d69575396553eb310d2f7a8922a98c59141c
          as the user: zz39
          in the folder: /zz40
          with: note = zz03\tand \u{ff0d}x
          at most: 10m

    how each fact is told (each `command` is executed, and again for as long as its fact is held):
    │ db:
    │   states:
    │     up:
    │       before:
    │         any:
    │         - port:
    │             port: 5432
    │             host: zz12
    │             state: open
    │             timeout: 5s
    │         - process:
    │             name: zz13
    │             user: zz15
    │             args:
    │             - zz14
    │             - b c
    │             state: present
    │         - data_dir:
    │             path: /srv/zz16
    │             server:
    │             - zz17
    │             state: in_use
    │       while:
    │         any:
    │         - port:
    │             port: 5432
    │             host: zz12
    │             state: open
    │             timeout: 5s
    │         - process:
    │             name: zz13
    │             user: zz15
    │             args:
    │             - zz14
    │             - b c
    │             state: present
    │         - data_dir:
    │             path: /srv/zz16
    │             server:
    │             - zz17
    │             state: in_use
    │ queue:
    │   states:
    │     empty:
    │       before:
    │         all:
    │         - command:
    │             run:
    │             - /bin/queue
    │             - "--s\u0435rver"
    │             - "zz07\x0d"
    │             holds:
    │             - 0
    │             broken:
    │             - 1
    │             stdout: "^zz08$"
    │             user: root
    │             every: 1s
    │             timeout: 5s
    │         - file:
    │             path: /srv/zz09
    │             state: present
    │             contains: zz10
    │       while:
    │         not:
    │           command:
    │             run:
    │             - /bin/queue
    │             - is-filling
    │             - zz11
    │             holds:
    │             - 3
    │             broken:
    │             - 4
    │             every: 5s
    │             timeout: 5s
    "##);
}

#[test]
fn p06_approve_shows_what_is_left_out_and_what_tells_a_fact_in_every_format() {
    let site = Site::new("overrides: [{deviations: [skip], need: 1, of: core}]\n");
    site.runbook(
        "systems: {queue: {states: {empty: {command: {run: [rm, -rf, DIR/queue]}}}}}\nsteps:\n  - {id: tell, manual: Tell them}\n  \
         - {id: change, script: touch DIR/ran, requires: [queue empty]}\n",
    );
    let mut arguments = vec!["plan", "change.yaml", "-o", "plan.yaml"];
    arguments.extend(["--skip", "tell", "--reason", "they know"]);
    assert_eq!(site.interlock(&arguments).code, 0);
    let approve = ["approve", "plan.yaml", "--key", "bea", "--yes"];
    let ran = site.interlock(&approve);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let sha256 = ran.stdout.lines().nth(1).unwrap();
    assert!(sha256.starts_with("  sha256: "), "{}", ran.stdout);
    let page = ran.stdout.strip_suffix("plan.yaml.bea@example.org.sig\n").unwrap();
    let queue = site.text_path("queue");
    for words in [
        &format!("{sha256}\n  DEVIATION: skip step `tell`: they know\n"),
        "[1/2] tell\n    DEVIATION: skip step `tell`: they know\n",
        &format!("run:\n│           - rm\n│           - -rf\n│           - {queue}\n"),
    ] {
        assert!(page.contains(words), "`{words}` in:\n{page}");
    }
    // A program that reads the data gets nothing else; the person is shown the same.
    std::fs::remove_file(site.path().join("plan.yaml.bea@example.org.sig")).unwrap();
    let ran = site.interlock(&[&approve[..], &["--format", "json"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.starts_with(page), "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
}

/// Fills a disk but for so many bytes.
fn fill(disk: &std::path::Path, but: u64) {
    let mut filler = std::fs::File::create(disk.join("filler")).unwrap();
    while filler.write(&[0; 1 << 16]).is_ok() {}
    let length = filler.metadata().unwrap().len();
    filler.set_len(length - but).unwrap();
}

/// The names of what is on a disk but for what fills it.
fn names(disk: &std::path::Path) -> Vec<String> {
    let names = std::fs::read_dir(disk).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "filler").collect();
    names.sort();
    names
}

#[test]
fn p06_what_people_sign_and_their_signatures_are_written_whole_or_not_at_all() {
    let site = Site::new("");
    site.runbook(&format!(
        "steps:\n  - id: touch\n    script: |\n      touch DIR/ran\n{}",
        "      : long\n".repeat(1000)
    ));
    let path = site.path().join("disk");
    let disk = SmallDisk::at(&path);
    disk.resize(1 << 20);
    let plan = ["plan", "change.yaml", "-o", "disk/plan.yaml"];
    let full = |arguments: &[&str], but: u64, left: &[&str]| {
        fill(&path, but);
        let ran = site.interlock(arguments);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("No space left on device"), "{}", ran.stderr);
        assert_eq!(names(&path), left);
        std::fs::remove_file(path.join("filler")).unwrap();
    };
    // Room for a part of it; and when there is room again, nothing is in the way.
    full(&plan, 4096, &[]);
    let ran = site.interlock(&plan);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let good = std::fs::read(path.join("plan.yaml")).unwrap();
    full(&[&plan[..], &["--force"]].concat(), 4096, &["plan.yaml"]);
    assert_eq!(std::fs::read(path.join("plan.yaml")).unwrap(), good, "what was there is there");
    let approve = ["approve", "disk/plan.yaml", "--key", "bea", "--yes"];
    full(&approve, 0, &["plan.yaml"]);
    let ran = site.interlock(&approve);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(names(&path), ["plan.yaml", "plan.yaml.bea@example.org.sig"]);
}

#[test]
fn a_file_system_that_cannot_rename_without_replacing_gets_the_plan_all_the_same_and_never_over_another() {
    let site = Site::new("");
    site.runbook("steps:\n  - {id: touch, script: touch DIR/ran}\n");
    let out = site.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let plan = || site.scratch.with_fault(&["plan", "change.yaml", "-o", "out/plan.yaml"], "renameat2:error=EINVAL");
    let ran = plan();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let good = std::fs::read(out.join("plan.yaml")).unwrap();
    let ran = plan();
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
    assert_eq!(std::fs::read(out.join("plan.yaml")).unwrap(), good);
    assert_eq!(names(&out), ["plan.yaml"]);
}

#[test]
fn p06_on_a_terminal_nothing_behind_many_blanks_looks_like_a_line_of_the_page() {
    let site = Site::new("");
    // As wide as the terminal, so that what is executed behind the blanks would begin at its left edge.
    let blanks = " ".repeat(160);
    site.runbook(&format!("steps:\n  - id: one\n    script: \"true;{blanks}[2/2] rm DIR/all\"\n"));
    assert_eq!(site.interlock(&["plan", "change.yaml", "-o", "plan.yaml"]).code, 0);
    let scratch = &site.scratch;
    let (plan, key) = (site.text_path("plan.yaml"), site.text_path("bea"));
    let terminal =
        Terminal::type_in(scratch, &format!("approve {plan} --key {key} --policy {}", site.text_path("policy.yaml")));
    terminal.wait_for("type `approve` to sign it");
    let screen = terminal.screen();
    let row = screen.lines().find(|row| row.contains("[2/2] rm")).unwrap();
    assert!(row.trim_start().starts_with("┆ "), "{screen}");
    terminal.type_line("no");
    terminal.wait_for("EXIT=4");
}
