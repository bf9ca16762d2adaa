//! What becomes of blocks, conditions, retries, locks and undos, and how they stand in a plan.

use std::time::Duration;

use insta::assert_snapshot;
use serde_yaml::with::singleton_map_recursive;

use super::{POSTGRES, accepted, given};
use crate::diagnostic::Source;
use crate::runbook::model::{Action, Applies, InDoubt, OnFailure, Retry, Runbook, Setting, Step, Undo, WayBack, When};
use crate::runbook::{check, holds::holds};

fn with_steps(steps: &str) -> String {
    format!(
        "interlock: 1
name: r
params:
  dir: {{type: path, default: /srv}}
  port: {{type: port}}
  fast: {{type: bool, default: false}}
systems:
  web: {{service: {{name: nginx}}}}
  db: {{service: {{name: postgres}}}}
steps:
{steps}"
    )
}

fn setting(action: &Action) -> &Setting {
    match action {
        Action::Run(run) => &run.setting,
        Action::Script(script) => &script.setting,
        Action::Wait | Action::Manual(_) => panic!("no process: {action:?}"),
    }
}

fn undo(step: &Step) -> &Undo {
    step.way_back.undo().unwrap_or_else(|| panic!("{} has no undo", step.id))
}

fn summary(step: &Step) -> String {
    let requires: Vec<String> = step.requires.iter().map(ToString::to_string).collect();
    let mut line = format!("{}: {:?} [{}] {:?}", step.id, step.title, requires.join(", "), step.timeout);
    if let Action::Run(_) | Action::Script(_) = step.action {
        let setting = setting(&step.action);
        line += &format!(" as {:?} with {:?}", setting.user, setting.env);
    }
    if let Some(note) = &step.note {
        line += &format!(" note {note:?}");
    }
    if let Some(when) = &step.when {
        line += &format!(" when {} {:?} {:?}", when.expression, when.values, when.applies);
    }
    line
}

#[test]
fn blocks_are_laid_out_flat_and_what_a_step_says_itself_wins() {
    let text = with_steps(
        r#"- {id: first, run: [ls]}
- title: Outer
  note: outer note
  requires: [db stopped]
  user: postgres
  env: {A: outer, B: outer}
  timeout: 5m
  when: fast
  block:
  - {id: one, run: [ls], env: {A: own}, user: root, timeout: 1m, requires: [db stopped, web stopped], title: One}
  - block:
    - {id: two, script: ls, when: port == 1, note: own note}
    - {id: three, manual: Do it}
    requires: [web stopped, db stopped]
    title: Inner
    note: inner note
    env: {B: inner, port: inner}
    when: dir == "/srv"
  - {id: four, wait: 7s, ensures: [web stopped]}
- {id: last, run: [ls]}
"#,
    );
    let steps: Vec<String> = accepted(&text, &["port=1"]).runbook.steps.iter().map(summary).collect();
    assert_snapshot!(steps.join("\n"), @r#"
    first: None [] 600s as None with {}
    one: Some("Outer: One") [db stopped, web stopped] 60s as Some("root") with {"A": Plain("own"), "B": Plain("outer")} note "outer note" when fast {"fast": "false"} No
    two: Some("Outer: Inner") [db stopped, web stopped] 300s as Some("postgres") with {"A": Plain("outer"), "B": Plain("inner"), "dir": Plain("/srv"), "fast": Plain("false"), "port": Plain("inner")} note "inner note\nown note" when (fast) and (dir == "/srv") and (port == 1) {"dir": "/srv", "fast": "false", "port": "1"} No
    three: Some("Outer: Inner") [db stopped, web stopped] 300s when (fast) and (dir == "/srv") {"dir": "/srv", "fast": "false"} No
    four: Some("Outer") [db stopped] 7s when fast {"fast": "false"} No
    last: None [] 600s as None with {}
    "#);
}

#[test]
fn a_fact_that_a_block_requires_is_held_from_its_first_step_to_its_last() {
    let text = with_steps(
        "- {id: stop, run: [stop], ensures: [db stopped]}
- block: [{id: one, run: [ls]}, {id: two, run: [ls]}, {id: three, run: [ls]}]
  requires: [db stopped]
- {id: start, run: [start], ensures: [db running]}
",
    );
    let holds: Vec<String> = holds(&accepted(&text, &[]).runbook)
        .iter()
        .map(|hold| format!("{} {:?}..={}", hold.fact, hold.from, hold.until))
        .collect();
    assert_eq!(holds, ["db stopped After(0)..=3"]);
}

fn condition(expression: &str, arguments: &[&str]) -> When {
    let text = with_steps(&format!("- {{id: one, run: [ls], when: {expression}}}\n"));
    accepted(&text, arguments).runbook.steps[0].when.clone().unwrap()
}

#[test]
fn a_condition_is_decided_when_its_parameters_are_known() {
    let seen = |expression: &str, arguments: &[&str]| {
        let when = condition(expression, arguments);
        assert_eq!(when.expression, expression);
        (when.applies, when.values.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>())
    };
    assert_eq!(seen("port == 5432", &["port=5432"]), (Applies::Yes, vec!["port=5432".to_owned()]));
    assert_eq!(seen("port == 5432", &["port=1"]), (Applies::No, vec!["port=1".to_owned()]));
    assert_eq!(seen("port == 5432", &[]), (Applies::Unknown, vec![]));
    assert_eq!(seen("not fast", &[]), (Applies::Yes, vec!["fast=false".to_owned()]));
    let both = vec!["dir=/srv".to_owned(), "port=7".to_owned()];
    assert_eq!(seen("dir == '/srv' and port > 6", &["port=7"]), (Applies::Yes, both));
    assert_eq!(seen("dir | basename == 'srv' or port == 1", &[]), (Applies::Unknown, vec!["dir=/srv".to_owned()]));
}

#[test]
fn a_step_whose_condition_is_not_met_is_left_out_of_the_proofs() {
    let text = with_steps(
        "- {id: stop, run: [stop], ensures: [db stopped], irreversible: true}
- {id: restart, run: [start], ensures: [db running], when: fast, undo: {run: [x], requires: [db stopped]}}
- {id: change, run: [change], requires: [db stopped], undo: {run: [x]}}
",
    );
    assert!(accepted(&text, &["fast=false"]).warnings.is_empty());
    let source = Source::new("runbook.yaml", text);
    let mistakes = check(&source, &given(&["fast=true"])).unwrap_err();
    assert_eq!(mistakes.iter().map(|mistake| mistake.code).collect::<Vec<_>>(), ["E0502", "E0601"]);
}

#[test]
fn an_undo_gets_nothing_from_its_step_or_block() {
    let text = with_steps(
        r#"- block:
  - id: one
    run: [ls]
    cwd: /srv
    undo: {run: [ls, "{{ dir }}"]}
  - {id: two, run: [ls], undo: {script: ls, env: {dir: own}, within: 3s, ensures: [db stopped]}}
  - {id: three, run: [ls], undo: {manual: Put it back}}
  user: postgres
  env: {A: b}
  timeout: 1m
  requires: [web stopped]
"#,
    );
    let steps = accepted(&text, &["port=1"]).runbook.steps;
    let one = undo(&steps[0]);
    let inherited = setting(&one.action);
    assert_eq!((&inherited.user, inherited.env.len(), inherited.cwd.to_str()), (&None, 0, Some("/")));
    assert_eq!((one.requires.len(), one.timeout), (0, Duration::from_secs(600)));
    let two = undo(&steps[1]);
    let env: Vec<String> = setting(&two.action).env.iter().map(|(name, text)| format!("{name}={text:?}")).collect();
    assert_eq!(env, ["dir=Plain(\"own\")", "fast=Plain(\"false\")", "port=Plain(\"1\")"]);
    assert_eq!((two.within, two.ensures.len()), (Duration::from_secs(3), 1));
    assert_eq!(undo(&steps[2]).timeout, Duration::from_secs(24 * 3600));
}

#[test]
fn pauses_grow_and_never_overflow() {
    let text = with_steps(
        "- {id: one, run: [ls], retry: {times: 4, every: 2s, backoff: 3}}\n- {id: two, run: [ls], retry: {times: 1}}\n",
    );
    let steps = accepted(&text, &[]).runbook.steps;
    let retry = steps[0].retry.unwrap();
    let pauses: Vec<u64> = (1..=4).map(|again| retry.pause(again).as_secs()).collect();
    assert_eq!(pauses, [2, 6, 18, 54]);
    assert_eq!(steps[1].retry, Some(Retry { times: 1, every: Duration::from_secs(5), backoff: 1 }));
    let forged = Retry { times: u32::MAX, every: Duration::MAX, backoff: u32::MAX };
    assert_eq!(forged.pause(u32::MAX), Duration::MAX);
    assert_eq!(forged.pause(0), Duration::MAX);
}

#[test]
fn locks_have_one_form_and_one_order() {
    let text = with_steps("- {id: one, run: [ls]}\n")
        .replace("steps:", "locks: [\"  web   a \", \"db {{ dir }}\", \"port {{ port }}\"]\nsteps:");
    assert_eq!(accepted(&text, &["port=1"]).runbook.locks, ["db /srv", "port 1", "web a"]);
    assert_eq!(accepted(&text, &[]).runbook.locks, ["db /srv", "web a"]);
}

#[test]
fn a_plan_without_the_new_keys_is_read_and_a_plain_one_has_none_of_them() {
    let runbook = accepted("interlock: 1\nname: r\nsteps: [{id: one, run: [ls]}]\n", &[]).runbook;
    let text = serde_json::to_string(&runbook).unwrap();
    for key in ["locks", "on_failure", "way_back", "retry", "when", "in_doubt"] {
        assert!(!text.contains(key), "{key}: {text}");
    }
    assert_eq!(serde_json::from_str::<Runbook>(&text).unwrap(), runbook);
}

/// As YAML in which an enum is a mapping of one key, as plans are written.
fn as_in_a_plan(value: &impl serde::Serialize) -> String {
    let mut bytes = Vec::new();
    singleton_map_recursive::serialize(value, &mut serde_yaml::Serializer::new(&mut bytes)).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_the_language_says_of_the_way_back_stands_in_the_plan_and_is_read_back() {
    let runbook = accepted(POSTGRES, &["data_dir=/srv/pg", "change=/bin/change"]).runbook;
    assert_eq!((runbook.on_failure, runbook.locks.len()), (OnFailure::Undo, 2));
    assert_eq!(runbook.steps[2].in_doubt, InDoubt::Undo);
    for (port, applies) in [("port=5432", Applies::Yes), ("port=1", Applies::No)] {
        let runbook = accepted(POSTGRES, &["data_dir=/srv/pg", "change=/bin/change", port]).runbook;
        assert_eq!(runbook.steps[3].when.as_ref().map(|when| when.applies), Some(applies));
        let text = as_in_a_plan(&runbook);
        let read: Runbook = singleton_map_recursive::deserialize(serde_yaml::Deserializer::from_str(&text)).unwrap();
        assert_eq!(read, runbook);
    }
    let mut step = runbook.steps[3].clone();
    step.way_back = WayBack::Irreversible;
    step.retry = Some(Retry { times: 3, every: Duration::from_secs(5), backoff: 2 });
    assert_snapshot!(as_in_a_plan(&step), @r#"
    id: look
    title: Look at it
    action:
      script:
        text: |
          ls -l "$data_dir"
        setting:
          env:
            LANG:
              plain: C
            change:
              plain: /bin/change
            data_dir:
              plain: /srv/pg
            port:
              plain: '5432'
          cwd: /
          success:
          - 0
          - 2
          leftovers: fail
    requires:
    - monit stopped
    - database down
    within: 30s
    timeout: 10m
    if_ensured: run
    way_back: irreversible
    retry:
      times: 3
      every: 5s
      backoff: 2
    when:
      expression: port != 1
      values:
        port: '5432'
      applies: yes
    "#);
    assert_snapshot!(as_in_a_plan(&runbook.steps[2].way_back), @r#"
    undo:
      action:
        run:
          argv:
          - /bin/change
          - --revert
          - /srv/pg
          setting:
            cwd: /
            success:
            - 0
            leftovers: fail
      requires:
      - monit stopped
      - database down
      within: 30s
      timeout: 10m
    "#);
}
