//! What an author sees of mistakes about the way back, conditions, locks and blocks: every kind, whole.

use insta::assert_snapshot;

use super::{POSTGRES, given, refused};
use crate::diagnostic::Source;
use crate::diagnostic::render::{Colour, render_all};
use crate::runbook::check;

/// A runbook of these steps, with systems and parameters to use.
fn with_steps(steps: &str) -> String {
    let head = "interlock: 1
name: r
params:
  dir: {type: path}
  port: {type: port, default: 80}
  word: {type: secret, from: {env: WORD}}
systems:
  web: {service: {name: nginx}}
  db: {service: {name: postgres}}
steps:
";
    format!("{head}{steps}")
}

/// A runbook of a step that does nothing, with `section` in its head.
fn with_section(section: &str) -> String {
    format!(
        "interlock: 1\nname: r\nparams: {{a: {{type: string, default: x}}}}\n{section}\nsteps: [{{id: one, run: [\"true\"]}}]\n"
    )
}

fn warnings(text: &str) -> String {
    let source = Source::new("runbook.yaml", text);
    let checked = check(&source, &given(&[]))
        .unwrap_or_else(|mistakes| panic!("{}", render_all(&mistakes, &source, Colour::Never)));
    render_all(&checked.warnings, &source, Colour::Never)
}

#[test]
fn e0601_an_undo_that_requires_what_a_later_step_has_ended() {
    let text = with_steps(
        "- {id: stop, run: [stop], ensures: [db stopped], undo: {run: [start], ensures: [db running]}}
- {id: change, run: [change], requires: [db stopped], undo: {run: [revert], requires: [db stopped]}}
- {id: start, run: [start], ensures: [db running]}
",
    );
    assert_snapshot!(refused(&text, &[]), @r#"
    error[E0601]: the undo of step `change` requires `db stopped`, but when its turn comes, `db running` holds
      --> runbook.yaml:12:88
       |
    12 | - {id: change, run: [change], requires: [db stopped], undo: {run: [revert], requires: [db stopped]}}
       |                                                                                        ^^^^^^^^^^ this cannot hold when its turn comes
    13 | - {id: start, run: [start], ensures: [db running]}
       |                                       ---------- step `start` ensures `db running`
       |
       = help: give step `start`, or one between the two, an undo that ensures `db stopped`

    warning[W0601]: step `start` has neither `undo` nor `irreversible: true`
      --> runbook.yaml:13:8
       |
    13 | - {id: start, run: [start], ensures: [db running]}
       |        ^^^^^ undo passes over it, and leaves what it did
       |
       = help: say how it is taken back, or `irreversible: true`; a step that only looks can have `undo: {run: ["true"]}`
    "#);
}

#[test]
fn e0601_an_undo_that_requires_what_the_undo_before_it_has_ended() {
    let text = with_steps(
        "- {id: one, run: [one], undo: {run: [revert], requires: [db stopped]}}
- {id: two, run: [two], undo: {run: [start], ensures: [db running]}}
",
    );
    assert_snapshot!(refused(&text, &[]), @r#"
    error[E0601]: the undo of step `one` requires `db stopped`, but when its turn comes, `db running` holds
      --> runbook.yaml:11:58
       |
    11 | - {id: one, run: [one], undo: {run: [revert], requires: [db stopped]}}
       |                                                          ^^^^^^^^^^ this cannot hold when its turn comes
    12 | - {id: two, run: [two], undo: {run: [start], ensures: [db running]}}
       |                                                        ---------- the undo of step `two` ensures `db running`
       |
       = help: the undo of step `two` comes first: change what one of the two says
    "#);
}

#[test]
fn e0601_against_what_a_step_or_the_run_requires() {
    let text = with_steps(
        "- {id: one, run: [one], undo: {run: [revert], requires: [db stopped, web stopped]}}
- {id: two, run: [two], requires: [db running]}
",
    )
    .replace("steps:", "requires: [web running]\nsteps:");
    assert_snapshot!(refused(&text, &[]), @r#"
    error[E0601]: the undo of step `one` requires `db stopped`, but when its turn comes, `db running` holds
      --> runbook.yaml:12:58
       |
    12 | - {id: one, run: [one], undo: {run: [revert], requires: [db stopped, web stopped]}}
       |                                                          ^^^^^^^^^^ this cannot hold when its turn comes
    13 | - {id: two, run: [two], requires: [db running]}
       |                                    ---------- step `two` requires `db running`
       |
       = help: say what changes it: let a step in between ensure its state, with an undo that ensures `db stopped`

    error[E0601]: the undo of step `one` requires `web stopped`, but when its turn comes, `web running` holds
      --> runbook.yaml:12:70
       |
    10 | requires: [web running]
       |            ----------- the run requires `web running`
    11 | steps:
    12 | - {id: one, run: [one], undo: {run: [revert], requires: [db stopped, web stopped]}}
       |                                                                      ^^^^^^^^^^^ this cannot hold when its turn comes
       |
       = help: require nothing of this system in the undo, or take the fact out of the run's `requires`

    warning[W0601]: step `two` has neither `undo` nor `irreversible: true`
      --> runbook.yaml:13:8
       |
    13 | - {id: two, run: [two], requires: [db running]}
       |        ^^^ undo passes over it, and leaves what it did
       |
       = help: say how it is taken back, or `irreversible: true`; a step that only looks can have `undo: {run: ["true"]}`
    "#);
}

#[test]
fn e0503_undos_and_steps_that_contradict_themselves() {
    let text = with_steps(
        "- id: one
  run: [one]
  irreversible: true
  undo: {run: [revert], requires: [db stopped, db running]}
- id: two
  run: [two]
  undo: {run: [revert], requires: [db stopped], ensures: [db running]}
",
    );
    assert_snapshot!(refused(&text, &[]), @r#"
    error[E0503]: a step that is irreversible has no `undo`
      --> runbook.yaml:13:3
       |
    13 |   irreversible: true
       |   ^^^^^^^^^^^^ it cannot be taken back
    14 |   undo: {run: [revert], requires: [db stopped, db running]}
       |   ---- this takes it back
       |
       = help: keep the one that is true

    error[E0503]: the undo of step `one` requires `db stopped` and `db running` at once
      --> runbook.yaml:14:48
       |
    14 |   undo: {run: [revert], requires: [db stopped, db running]}
       |                                    ----------  ^^^^^^^^^^ this and the other exclude each other
       |                                    |
       |                                    the other
       |
       = help: if it is meant to change the state, require nothing of this system

    error[E0503]: the undo of step `two` requires `db stopped` as long as it runs, and ensures `db running`
      --> runbook.yaml:17:59
       |
    17 |   undo: {run: [revert], requires: [db stopped], ensures: [db running]}
       |                                    ---------- the other   ^^^^^^^^^^ this and the other exclude each other
       |
       = help: if it is meant to change the state, require nothing of this system
    "#);
}

#[test]
fn w0601_a_step_that_nothing_takes_back() {
    let text = with_steps(
        "- {id: one, run: [one]}
- {id: two, run: [two], undo: {run: [revert]}}
- {id: three, manual: look at it}
- {id: four, script: rm x, irreversible: true}
",
    );
    assert_snapshot!(warnings(&text), @r#"
    warning[W0601]: step `one` has neither `undo` nor `irreversible: true`
      --> runbook.yaml:11:8
       |
    11 | - {id: one, run: [one]}
       |        ^^^ undo passes over it, and leaves what it did
       |
       = help: say how it is taken back, or `irreversible: true`; a step that only looks can have `undo: {run: ["true"]}`
    "#);
    let text = text.replace(", undo: {run: [revert]}", "");
    assert_snapshot!(warnings(&text), @"");
    let text = text.replace("steps:", "on_failure: undo\nsteps:");
    assert_snapshot!(warnings(&text), @r#"
    warning[W0601]: step `one` has neither `undo` nor `irreversible: true`
      --> runbook.yaml:12:8
       |
    12 | - {id: one, run: [one]}
       |        ^^^ undo passes over it, and leaves what it did
       |
       = help: say how it is taken back, or `irreversible: true`; a step that only looks can have `undo: {run: ["true"]}`

    warning[W0601]: step `two` has neither `undo` nor `irreversible: true`
      --> runbook.yaml:13:8
       |
    13 | - {id: two, run: [two]}
       |        ^^^ undo passes over it, and leaves what it did
       |
       = help: say how it is taken back, or `irreversible: true`; a step that only looks can have `undo: {run: ["true"]}`
    "#);
}

#[test]
fn mistakes_of_an_undo() {
    let text = with_steps(
        "- id: one
  run: [one]
  undo: {run: [revert], script: revert, retry: {times: 1}, confirm: {}}
- id: two
  run: [two]
  undo: {manual: Put it back, user: root, within: 5s}
- id: three
  run: [three]
  undo: {requires: [db asleep]}
- id: four
  run: [four]
  undo: revert
- id: five
  run: [five]
  undo: {script: \"echo {{ port }}\"}
",
    );
    assert_snapshot!(refused(&text, &[]), @r#"
    warning[W0601]: step `one` has neither `undo` nor `irreversible: true`
      --> runbook.yaml:11:7
       |
    11 | - id: one
       |       ^^^ undo passes over it, and leaves what it did
       |
       = help: say how it is taken back, or `irreversible: true`; a step that only looks can have `undo: {run: ["true"]}`

    error[E0209]: an undo does one thing, and this one has several
      --> runbook.yaml:13:25
       |
    13 |   undo: {run: [revert], script: revert, retry: {times: 1}, confirm: {}}
       |          ---            ^^^^^^ another action
       |          |
       |          the first action
       |
       = help: make one `script` of them, or give each to a step of its own

    error[E0201]: an undo has no key `retry`
      --> runbook.yaml:13:41
       |
    13 |   undo: {run: [revert], script: revert, retry: {times: 1}, confirm: {}}
       |                                         ^^^^^ unknown key
       |
       = help: expected `run`, `script`, `wait`, `manual`, `requires`, `ensures`, `within`, `timeout`, `env`, `cwd`, `user`, `stdin`, `success`, `starts_service`

    error[E0201]: an undo has no key `confirm`
      --> runbook.yaml:13:60
       |
    13 |   undo: {run: [revert], script: revert, retry: {times: 1}, confirm: {}}
       |                                                            ^^^^^^^ unknown key
       |
       = help: expected `run`, `script`, `wait`, `manual`, `requires`, `ensures`, `within`, `timeout`, `env`, `cwd`, `user`, `stdin`, `success`, `starts_service`

    error[E0208]: `user` says nothing in a `manual` undo: it starts no process
      --> runbook.yaml:16:31
       |
    16 |   undo: {manual: Put it back, user: root, within: 5s}
       |                               ^^^^ remove it

    error[E0208]: `within` says nothing in an undo that ensures nothing
      --> runbook.yaml:16:43
       |
    16 |   undo: {manual: Put it back, user: root, within: 5s}
       |                                           ^^^^^^ there is no `ensures`
       |
       = help: add `ensures`, or remove this

    warning[W0601]: step `three` has neither `undo` nor `irreversible: true`
      --> runbook.yaml:17:7
       |
    17 | - id: three
       |       ^^^^^ undo passes over it, and leaves what it did
       |
       = help: say how it is taken back, or `irreversible: true`; a step that only looks can have `undo: {run: ["true"]}`

    error[E0209]: this undo does nothing
      --> runbook.yaml:19:9
       |
    19 |   undo: {requires: [db asleep]}
       |         ^^^^^^^^^^^^^^^^^^^^^^^ expected an action
       |
       = help: give it one of `run`, `script`, `wait`, `manual`

    error[E0403]: the system `db` has no state `asleep`
      --> runbook.yaml:19:21
       |
    19 |   undo: {requires: [db asleep]}
       |                     ^^^^^^^^^ names a state that it does not have
       |
       = help: expected `running`, `stopped`

    warning[W0601]: step `four` has neither `undo` nor `irreversible: true`
      --> runbook.yaml:20:7
       |
    20 | - id: four
       |       ^^^^ undo passes over it, and leaves what it did
       |
       = help: say how it is taken back, or `irreversible: true`; a step that only looks can have `undo: {run: ["true"]}`

    error[E0203]: expected an undo as a mapping, found a text
      --> runbook.yaml:22:9
       |
    22 |   undo: revert
       |         ^^^^^^ expected an undo as a mapping

    error[E0305]: the text of a script is never rendered
      --> runbook.yaml:25:27
       |
    25 |   undo: {script: "echo {{ port }}"}
       |                           ^^^^ this would stay as it is written
       |
       = help: the parameter is there as an environment variable: write "$port", in double quotes
    "#);
}

#[test]
fn mistakes_of_irreversible_and_in_doubt() {
    let text = with_steps(
        "- {id: one, run: [one], irreversible: false, in_doubt: undo}
- {id: two, run: [two], irreversible: yes, in_doubt: maybe}
- {id: three, run: [three], irreversible: \"{{ dir }}\"}
",
    );
    assert_snapshot!(refused(&text, &[]), @r#"
    error[E0208]: `irreversible: false` says nothing: a step is not, unless it says so
      --> runbook.yaml:11:39
       |
    11 | - {id: one, run: [one], irreversible: false, in_doubt: undo}
       |                                       ^^^^^ expected `true`
       |
       = help: leave it out; if the step can be taken back, give it an `undo`

    error[E0202]: a step with `in_doubt: undo` needs the key `undo`
      --> runbook.yaml:11:56
       |
    11 | - {id: one, run: [one], irreversible: false, in_doubt: undo}
       |                                                        ^^^^ it could not be undone
       |
       = help: add an `undo`, or let a person decide: `in_doubt: ask`

    error[E0206]: `yes` is not a boolean
      --> runbook.yaml:12:39
       |
    12 | - {id: two, run: [two], irreversible: yes, in_doubt: maybe}
       |                                       ^^^ expected `true` or `false`
       |
       = help: write `true`

    error[E0205]: expected `ask` or `retry` or `undo`, found `maybe`
      --> runbook.yaml:12:54
       |
    12 | - {id: two, run: [two], irreversible: yes, in_doubt: maybe}
       |                                                      ^^^^^ expected `ask` or `retry` or `undo`
       |
       = help: expected `ask`, `retry`, `undo`

    error[E0303]: no template can stand here: expected `true`
      --> runbook.yaml:13:43
       |
    13 | - {id: three, run: [three], irreversible: "{{ dir }}"}
       |                                           ^^^^^^^^^^^ this is a template
       |
       = help: write it out; docs/language.md says which values are rendered
    "#);
}

#[test]
fn mistakes_of_a_retry() {
    let text = with_steps(
        "- {id: one, run: [one], retry: {every: 5s}}
- {id: two, run: [two], retry: {times: 0, backoff: 11}}
- {id: three, run: [three], retry: {times: 30, every: 1s, backoff: 2}}
- {id: four, manual: Do it, retry: {times: 3}}
- {id: five, wait: 5s, ensures: [db running], retry: 3}
",
    );
    assert_snapshot!(refused(&text, &[]), @r#"
    error[E0202]: a retry needs the key `times`
      --> runbook.yaml:11:32
       |
    11 | - {id: one, run: [one], retry: {every: 5s}}
       |                                ^^^^^^^^^^^ it is not here

    error[E0205]: `0` is not a number of attempts from 1 to 100
      --> runbook.yaml:12:40
       |
    12 | - {id: two, run: [two], retry: {times: 0, backoff: 11}}
       |                                        ^ expected a number of attempts from 1 to 100

    error[E0205]: `11` is not a factor from 1 to 10
      --> runbook.yaml:12:52
       |
    12 | - {id: two, run: [two], retry: {times: 0, backoff: 11}}
       |                                                    ^^ expected a factor from 1 to 10

    error[E0205]: the last pause would be longer than 1d
      --> runbook.yaml:13:36
       |
    13 | - {id: three, run: [three], retry: {times: 30, every: 1s, backoff: 2}}
       |                                    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: lower `times`, `every` or `backoff`

    error[E0208]: `retry` says nothing in a `manual` step: a person tries as often as it takes
      --> runbook.yaml:14:29
       |
    14 | - {id: four, manual: Do it, retry: {times: 3}}
       |                             ^^^^^ remove it

    error[E0208]: `retry` says nothing in a `wait` step: it looks until its time is over
      --> runbook.yaml:15:47
       |
    15 | - {id: five, wait: 5s, ensures: [db running], retry: 3}
       |                                               ^^^^^ remove it

    error[E0203]: expected a retry as a mapping, found a text
      --> runbook.yaml:15:54
       |
    15 | - {id: five, wait: 5s, ensures: [db running], retry: 3}
       |                                                      ^ expected a retry as a mapping
    "#);
}

#[test]
fn mistakes_of_a_condition() {
    let text = with_steps(
        "- {id: one, run: [one], when: \"{{ port == 80 }}\"}
- {id: two, run: [two], when: port}
- {id: three, run: [three], when: word == \"x\"}
- {id: four, run: [four], when: prot == 80}
- {id: five, run: [five], when: port ==}
- {id: six, run: [six], when: false}
- {id: seven, run: [seven], when: port * 2 == 160}
- {id: eight, run: [eight], when: \"\"}
- {id: nine, run: [nine], when: \"port == 80 }} {{ port\"}
- {id: ten, run: [ten], when: dir | nothing}
- {id: eleven, run: [eleven], when: [port]}
",
    );
    assert_snapshot!(refused(&text, &[]), @r#"
    error[E0303]: a condition stands without braces
      --> runbook.yaml:11:31
       |
    11 | - {id: one, run: [one], when: "{{ port == 80 }}"}
       |                               ^^^^^^^^^^^^^^^^^^ this is a template
       |
       = help: write the expression alone: `when: port == 5432`

    error[E0205]: a condition is true or false, and this is a number
      --> runbook.yaml:12:31
       |
    12 | - {id: two, run: [two], when: port}
       |                               ^^^^
       |
       = help: compare it with something: `port == 5432`, `dir != ""`

    error[E0304]: a secret cannot be put into a condition
      --> runbook.yaml:13:35
       |
    13 | - {id: three, run: [three], when: word == "x"}
       |                                   ^^^^^^^^^^^
       |
       = help: its outcome is recorded, and would tell of the secret: use a parameter that is no secret

    error[E0301]: `prot` is not defined
      --> runbook.yaml:14:33
       |
    14 | - {id: four, run: [four], when: prot == 80}
       |                                 ^^^^ not a parameter of this runbook
       |
       = help: did you mean `port`?

    error[E0302]: the condition cannot be read: syntax error: unexpected end of input, expected expression
      --> runbook.yaml:15:38
       |
    15 | - {id: five, run: [five], when: port ==}
       |                                      ^^ here
       |
       = help: a condition is an expression such as `port == 5432 and not fast`

    error[E0208]: a condition that names no parameter is always the same
      --> runbook.yaml:16:31
       |
    16 | - {id: six, run: [six], when: false}
       |                               ^^^^^
       |
       = help: name a parameter; a step that is never to be done is taken out

    error[E0302]: templates have no multiplication
      --> runbook.yaml:17:40
       |
    17 | - {id: seven, run: [seven], when: port * 2 == 160}
       |                                        ^ here
       |
       = help: give the result as a parameter

    error[E0205]: expected a condition, such as `port == 5432`, found an empty text
      --> runbook.yaml:18:35
       |
    18 | - {id: eight, run: [eight], when: ""}
       |                                   ^^

    error[E0303]: a condition stands without braces
      --> runbook.yaml:19:33
       |
    19 | - {id: nine, run: [nine], when: "port == 80 }} {{ port"}
       |                                 ^^^^^^^^^^^^^^^^^^^^^^^ this is a template
       |
       = help: write the expression alone: `when: port == 5432`

    error[E0302]: the condition cannot be read: unknown filter: filter nothing is unknown
      --> runbook.yaml:20:37
       |
    20 | - {id: ten, run: [ten], when: dir | nothing}
       |                                     ^^^^^^^ here
       |
       = help: the filters are basename, dirname, lower, replace, trim, upper

    error[E0203]: expected a condition, such as `port == 5432`, found a list
      --> runbook.yaml:21:37
       |
    21 | - {id: eleven, run: [eleven], when: [port]}
       |                                     ^^^^^^ expected a condition, such as `port == 5432`
    "#);
}

#[test]
fn mistakes_of_locks() {
    let text = with_section("locks: [postgres  x, \" postgres {{ a }} \", \"\", \"a\\tb\", lock]\non_failure: retry");
    assert_snapshot!(refused(&text, &["a=x"]), @r#"
    error[E0210]: the lock `postgres x` is named twice
     --> runbook.yaml:4:22
      |
    4 | locks: [postgres  x, " postgres {{ a }} ", "", "a\tb", lock]
      |         -----------  ^^^^^^^^^^^^^^^^^^^^ the second
      |         |
      |         the first

    error[E0205]: expected the name of a lock, found an empty text
     --> runbook.yaml:4:44
      |
    4 | locks: [postgres  x, " postgres {{ a }} ", "", "a\tb", lock]
      |                                            ^^
      |
      = help: give the kind of thing and its name: `postgres /srv/pg`

    error[E0205]: the name of a lock must not hold control characters, as `a    b` does
     --> runbook.yaml:4:48
      |
    4 | locks: [postgres  x, " postgres {{ a }} ", "", "a\tb", lock]
      |                                                ^^^^^^
      |
      = help: give the kind of thing and its name: `postgres /srv/pg`

    error[E0205]: expected `halt` or `undo`, found `retry`
     --> runbook.yaml:5:13
      |
    5 | on_failure: retry
      |             ^^^^^ expected `halt` or `undo`
      |
      = help: expected `halt`, `undo`
    "#);
    assert_snapshot!(refused(&with_section("locks: [\"{{ a }}\"]"), &[&format!("a={}", "x".repeat(201))]), @r#"
    error[E0205]: the name of a lock has at most 200 bytes, and this one has 201
     --> runbook.yaml:4:9
      |
    4 | locks: ["{{ a }}"]
      |         ^^^^^^^^^
      |
      = help: give the kind of thing and its name: `postgres /srv/pg`
    "#);
}

#[test]
fn mistakes_of_a_block() {
    let text = with_steps(
        "- {id: one, block: [], user: root}
- block: {id: two, run: [two]}
  undo: {run: [revert]}
- block:
  - {id: three, manual: Do it}
  - {id: three, wait: 5s, ensures: [db running]}
  requires: [db stopped]
  env: {A: b}
  timeout: 5m
- block:
  - block:
    - block:
      - block:
        - {id: four, run: [four]}
",
    );
    assert_snapshot!(refused(&text, &[]), @r#"
    error[E0201]: a block has no key `id`
      --> runbook.yaml:11:4
       |
    11 | - {id: one, block: [], user: root}
       |    ^^ unknown key
       |
       = help: expected `block`, `title`, `note`, `when`, `requires`, `user`, `env`, `timeout`

    error[E0205]: a block needs at least one step
      --> runbook.yaml:11:20
       |
    11 | - {id: one, block: [], user: root}
       |                    ^^
       |
       = help: add a step

    error[E0203]: expected a list of steps, found a mapping
      --> runbook.yaml:12:10
       |
    12 | - block: {id: two, run: [two]}
       |          ^^^^^^^^^^^^^^^^^^^^^ expected a list of steps

    error[E0201]: a block has no key `undo`
      --> runbook.yaml:13:3
       |
    13 |   undo: {run: [revert]}
       |   ^^^^ unknown key
       |
       = help: expected `block`, `title`, `note`, `when`, `requires`, `user`, `env`, `timeout`

    error[E0210]: two steps have the id `three`
      --> runbook.yaml:16:10
       |
    15 |   - {id: three, manual: Do it}
       |          ----- the first
    16 |   - {id: three, wait: 5s, ensures: [db running]}
       |          ^^^^^ the second
       |
       = help: the audit log and the command line name steps by their id: give each its own

    error[E0503]: step `three` requires `db stopped` as long as it runs, and ensures `db running`
      --> runbook.yaml:16:37
       |
    16 |   - {id: three, wait: 5s, ensures: [db running]}
       |                                     ^^^^^^^^^^ this and the other exclude each other
    17 |   requires: [db stopped]
       |              ---------- the other
       |
       = help: if it is meant to change the state, require nothing of this system

    error[E0208]: `env` says nothing in this block: none of its steps uses it
      --> runbook.yaml:18:3
       |
    18 |   env: {A: b}
       |   ^^^ remove it

    error[E0111]: blocks stand in each other at most 3 deep
      --> runbook.yaml:23:9
       |
    23 |       - block:
       |         ^^^^^ this is one too many
       |
       = help: move its steps into the block around it
    "#);
}

#[test]
fn the_way_back_of_the_example_is_proved_step_by_step() {
    // Each of the two undos without which the change could not be taken back.
    for (step, lost) in [("start-database", "database down"), ("start-monit", "monit stopped")] {
        let start = POSTGRES.find(&format!("- id: {step}")).unwrap();
        let undo = start + POSTGRES[start..].find("    undo:").unwrap();
        let end = undo + POSTGRES[undo..].find("\n").unwrap();
        let text = format!("{}{}", &POSTGRES[..undo], &POSTGRES[end + 1..]);
        let shown = refused(&text, &[]);
        assert!(shown.contains("E0601") && shown.contains(&format!("requires `{lost}`")), "{step}: {shown}");
    }
}
