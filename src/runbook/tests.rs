mod hostile;
mod mistakes;
mod mistakes_override;
mod mistakes_replaces;
mod mistakes_way_back;
mod mutated;
mod order;
mod steps;
mod values;
mod way_back;

use crate::diagnostic::Source;
use crate::diagnostic::render::{Colour, render_all};
use crate::runbook::holds::holds;
use crate::runbook::{Checked, Given, check};

/// The language by example, as the design shows it, less what comes later.
pub const POSTGRES: &str = r#"interlock: 1
name: postgres-offline-change
title: Change files of a PostgreSQL cluster while the server is down
labels: {env: production}

params:
  data_dir: {type: path, help: The cluster's data directory}
  port:     {type: port, default: 5432}
  change:   {type: path, help: The program that makes the change}
  password: {type: secret, from: {env: PGPASSWORD}}

systems:
  monit:    {monit: {control: /etc/monit/monitrc}}
  database: {postgres: {data_dir: "{{ data_dir }}", port: "{{ port }}"}}
  backup:
    states:
      fresh: {file: {path: /backup/latest, newer_than: 24h}}

locks: ["postgres  {{ data_dir }}", announcements]
requires: [backup fresh]
on_failure: undo

steps:
  - id: stop-monit
    title: Stop monit, so that nothing starts the database again
    run: [monit, -c, /etc/monit/monitrc, quit]
    ensures: [monit stopped]
    undo: {run: [monit, -c, /etc/monit/monitrc], starts_service: true, ensures: [monit running]}

  - id: stop-database
    run: [pg_ctl, stop, -D, "{{ data_dir }}", -m, fast]
    user: postgres
    requires: [monit stopped]
    ensures: [database down]
    within: 2m
    retry: {times: 3, every: 5s, backoff: 2}
    undo: {run: [pg_ctl, start, -D, "{{ data_dir }}", -w], user: postgres, starts_service: true, ensures: [database up]}

  - id: change
    requires: [monit stopped, database down]
    run: ["{{ change }}", "{{ data_dir }}"]
    env: {PGPASSWORD: "{{ password }}", PGPORT: "{{ port }}"}
    timeout: 30m
    undo: {run: ["{{ change }}", --revert, "{{ data_dir }}"], requires: [monit stopped, database down]}
    in_doubt: undo

  - block:
      - id: look
        requires: [database down]
        script: |
          ls -l "$data_dir"
        success: [0, 2]
        undo: {script: echo "$data_dir", env: {A: "{{ password }}"}}
    title: Look at it
    when: port != 1
    requires: [monit stopped]
    env: {LANG: C}

  - id: announce
    manual: Tell the on-call channel that the database is coming back.
    confirm: {ask: Which data directory was changed?, expect: "{{ data_dir }}"}

  - id: start-database
    run: [pg_ctl, start, -D, "{{ data_dir }}", -w]
    user: postgres
    starts_service: true
    ensures: [database up]
    undo: {requires: [monit stopped], run: [pg_ctl, stop, -D, "{{ data_dir }}"], user: postgres, ensures: [database down]}

  - id: start-monit
    run: [monit, -c, /etc/monit/monitrc]
    starts_service: true
    ensures: [monit running]
    undo: {run: [monit, -c, /etc/monit/monitrc, quit], ensures: [monit stopped]}

  - id: settle
    wait: 5m
    ensures: [database up]
"#;

fn given(arguments: &[&str]) -> Given {
    let mut given = Given::nothing();
    for argument in arguments {
        given.add_argument(argument).unwrap();
    }
    given
}

fn accepted(text: &str, arguments: &[&str]) -> Checked {
    let source = Source::new("runbook.yaml", text);
    check(&source, &given(arguments))
        .unwrap_or_else(|mistakes| panic!("{}", render_all(&mistakes, &source, Colour::Never)))
}

fn refused(text: &str, arguments: &[&str]) -> String {
    let source = Source::new("runbook.yaml", text);
    let mistakes = check(&source, &given(arguments)).expect_err("this runbook must be refused");
    render_all(&mistakes, &source, Colour::Never)
}

#[test]
fn the_example_of_the_language_passes_with_all_values_in() {
    let checked = accepted(POSTGRES, &["data_dir=/srv/pg", "change=/usr/local/bin/change"]);
    assert_eq!(checked.missing, Vec::<String>::new());
    assert_eq!(checked.warnings, Vec::new());
    let holds: Vec<String> =
        holds(&checked.runbook).iter().map(|hold| format!("{} {:?}..={}", hold.fact, hold.from, hold.until)).collect();
    assert_eq!(holds, ["backup fresh Opening..=7", "monit stopped After(0)..=3", "database down After(1)..=3"]);
}
