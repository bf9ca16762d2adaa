//! What an author sees: every kind of mistake, whole.

use insta::assert_snapshot;

use super::{POSTGRES, refused};

/// A runbook of one step, `body` being its keys, with systems and parameters to use.
fn with_step(body: &str) -> String {
    let head = "interlock: 1
name: r
params:
  dir: {type: path}
  port: {type: port, default: 80}
  word: {type: secret, from: {env: WORD}}
systems:
  web: {service: {name: nginx}}
steps:
- id: one
";
    let lines: String = body.lines().map(|line| format!("  {line}\n")).collect();
    format!("{head}{lines}")
}

/// A runbook of a step that does nothing, with `section` in its head.
fn with_section(section: &str) -> String {
    format!("interlock: 1\nname: r\n{section}\nsteps: [{{id: one, run: [\"true\"]}}]\n")
}

#[test]
fn e0103_an_unfit_character() {
    assert_snapshot!(refused("interlock: 1\nname: r # \u{202e}x\n", &[]), @r#"
    error[E0103]: the character U+202E must not stand in a runbook
     --> runbook.yaml:2:11
      |
    2 | name: r # �x
      |           ^ it cannot be seen, or changes how the text around it looks
      |
      = help: remove it, or write it as an escape in double quotes: "\u202e"
    "#);
}

#[test]
fn e0104_an_empty_file() {
    assert_snapshot!(refused("# nothing\n", &[]), @r#"
    error[E0104]: the file is empty
     --> runbook.yaml:1:1
      |
    1 | # nothing
      | ^ nothing here
      |
      = help: a runbook begins with `interlock: 1`; docs/language.md shows a whole one
    "#);
}

#[test]
fn e0105_not_yaml() {
    assert_snapshot!(refused("interlock: 1\nname: \"r\nsteps: []\n", &[]), @r#"
    error[E0105]: this is not YAML: invalid indentation in quoted scalar
     --> runbook.yaml:2:7
      |
    2 | name: "r
      |       ^ here
      |
      = help: look at the quotes, brackets and indentation here and on the line before
    "#);
}

#[test]
fn e0106_a_second_document() {
    assert_snapshot!(refused("interlock: 1\n---\ninterlock: 1\n", &[]), @r#"
    error[E0106]: the file holds a second document
     --> runbook.yaml:2:1
      |
    2 | ---
      | ^^^ it begins here
      |
      = help: one file is one runbook: split it
    "#);
}

#[test]
fn e0107_anchors_aliases_and_merge_keys() {
    assert_snapshot!(refused("interlock: &one 1\nname: *one\n<<: {title: a}\n", &[]), @r#"
    error[E0202]: a runbook needs the key `steps`
     --> runbook.yaml:1:1
      |
    1 | interlock: &one 1
      | ^^^^^^^^^^^^^^^^^ it is not here

    error[E0107]: an anchor: a runbook has no anchors, aliases or merge keys
     --> runbook.yaml:1:12
      |
    1 | interlock: &one 1
      |            ^^^^^^ not allowed
      |
      = help: write the value out where it is used

    error[E0107]: an alias: a runbook has no anchors, aliases or merge keys
     --> runbook.yaml:2:7
      |
    2 | name: *one
      |       ^^^^ not allowed
      |
      = help: write the value out where it is used

    error[E0107]: a merge key: a runbook has no anchors, aliases or merge keys
     --> runbook.yaml:3:1
      |
    3 | <<: {title: a}
      | ^^ not allowed
      |
      = help: write the value out where it is used
    "#);
}

#[test]
fn e0108_a_tag() {
    assert_snapshot!(refused(&with_section("title: !shout hello"), &[]), @r#"
    error[E0108]: a runbook has no YAML tags
     --> runbook.yaml:3:8
      |
    3 | title: !shout hello
      |        ^^^^^^^^^^^^ this has a tag
      |
      = help: remove it; what a value means is said by its key
    "#);
}

#[test]
fn e0109_a_key_that_is_no_text() {
    assert_snapshot!(refused(&with_section("? [a, b]\n: c"), &[]), @r#"
    error[E0109]: a key must be one text, not a list or mapping
     --> runbook.yaml:3:3
      |
    3 | ? [a, b]
      |   ^ this stands where a key is expected
    "#);
}

#[test]
fn e0110_a_key_written_twice() {
    assert_snapshot!(refused(&with_section("title: one\ntitle: two"), &[]), @r#"
    error[E0110]: the key `title` is written twice
     --> runbook.yaml:4:1
      |
    3 | title: one
      | ----- the first
    4 | title: two
      | ^^^^^ the second
      |
      = help: neither is taken: remove one
    "#);
}

#[test]
fn e0111_too_deep() {
    assert_snapshot!(refused(&with_section(&format!("title: {}{}", "[".repeat(100), "]".repeat(100))), &[]), @r#"
    error[E0111]: values lie more than 64 levels deep in each other
     --> runbook.yaml:3:71
      |
    3 | title: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]...
      |                                                                       ^ here it is too much
      |
      = help: write it flatter; look for brackets that are not closed
    "#);
}

#[test]
fn e0112_a_template_without_quotes() {
    assert_snapshot!(refused(&with_step("run: [ls, {{ dir }}]\ncwd: {{ dir }}"), &[]), @r#"
    error[E0112]: a template that is not in quotes is not a text for YAML
      --> runbook.yaml:11:13
       |
    11 |   run: [ls, {{ dir }}]
       |             ^^^^^^^^^ quote your template
       |
       = help: put the whole value in double quotes, as in `key: "{{ name }}"`

    error[E0112]: a template that is not in quotes is not a text for YAML
      --> runbook.yaml:12:8
       |
    12 |   cwd: {{ dir }}
       |        ^^^^^^^^^ quote your template
       |
       = help: put the whole value in double quotes, as in `key: "{{ name }}"`
    "#);
}

#[test]
fn e0112_a_template_without_quotes_and_text_after_it() {
    assert_snapshot!(refused(&with_step("run: [ls]\ncwd: {{ dir }}/sub"), &[]), @r#"
    error[E0112]: a template that is not in quotes is not a text for YAML
      --> runbook.yaml:12:8
       |
    12 |   cwd: {{ dir }}/sub
       |        ^^^^^^^^^ quote your template
       |
       = help: put the whole value in double quotes, as in `key: "{{ name }}"`
    "#);
}

#[test]
fn e0201_an_unknown_key() {
    assert_snapshot!(refused(&with_step("run: [ls]\nenusres: [web running]"), &[]), @r#"
    error[E0201]: a step has no key `enusres`
      --> runbook.yaml:12:3
       |
    12 |   enusres: [web running]
       |   ^^^^^^^ unknown key
       |
       = help: did you mean `ensures`?
    "#);
}

#[test]
fn e0202_a_missing_key() {
    assert_snapshot!(refused("interlock: 1\nsteps: [{run: [ls]}]\n", &[]), @r#"
    error[E0202]: a runbook needs the key `name`
     --> runbook.yaml:1:1
      |
    1 | interlock: 1
      | ^^^^^^^^^^^^ it is not here

    error[E0202]: a step needs the key `id`
     --> runbook.yaml:2:9
      |
    2 | steps: [{run: [ls]}]
      |         ^^^^^^^^^^^ it is not here
    "#);
}

#[test]
fn e0203_another_shape() {
    assert_snapshot!(refused(&with_step("run: ls -l\nrequires: web running\ntitle: [a]"), &[]), @r#"
    error[E0203]: expected a program and its arguments as a list, found a text
      --> runbook.yaml:11:8
       |
    11 |   run: ls -l
       |        ^^^^^ expected a list
       |
       = help: no shell reads this: write `[program, argument, …]`, each argument an item of its own

    error[E0203]: expected a list of facts, such as `[monit stopped]`, found a text
      --> runbook.yaml:12:13
       |
    12 |   requires: web running
       |             ^^^^^^^^^^^ expected a list of facts, such as `[monit stopped]`

    error[E0203]: expected a title, found a list
      --> runbook.yaml:13:10
       |
    13 |   title: [a]
       |          ^^^ expected a title
    "#);
}

#[test]
fn e0204_nothing_where_a_text_is_expected() {
    assert_snapshot!(refused(&with_step("run: [ls, ~]\ntitle: null\nenv:"), &[]), @r#"
    error[E0204]: expected an argument, found nothing
      --> runbook.yaml:11:13
       |
    11 |   run: [ls, ~]
       |             ^ expected an argument
       |
       = help: an empty text is written ""

    error[E0204]: expected a title, found nothing
      --> runbook.yaml:12:10
       |
    12 |   title: null
       |          ^^^^ expected a title
       |
       = help: an empty text is written ""

    error[E0204]: expected a mapping from variable names to texts, found nothing
      --> runbook.yaml:13:6
       |
    13 |   env:
       |      ^ expected a mapping from variable names to texts
    "#);
}

#[test]
fn e0205_values_of_the_wrong_kind() {
    assert_snapshot!(refused(&with_step("run: [./bin/ls]\ncwd: tmp\ntimeout: 0s\nsuccess: [256, 010]"), &[]), @r#"
    error[E0205]: `./bin/ls` is a relative path
      --> runbook.yaml:11:9
       |
    11 |   run: [./bin/ls]
       |         ^^^^^^^^
       |
       = help: give an absolute path, or a bare name that is looked for in PATH

    error[E0205]: `tmp` is not an absolute path
      --> runbook.yaml:12:8
       |
    12 |   cwd: tmp
       |        ^^^ expected an absolute path

    error[E0205]: `0s` is no time at all
      --> runbook.yaml:13:12
       |
    13 |   timeout: 0s
       |            ^^ expected a duration longer than nothing, such as `90s`

    error[E0205]: `256` is not an exit code
      --> runbook.yaml:14:13
       |
    14 |   success: [256, 010]
       |             ^^^ expected an exit code from 0 to 255

    error[E0205]: `010` begins with a zero, which some would read as octal
      --> runbook.yaml:14:18
       |
    14 |   success: [256, 010]
       |                  ^^^ expected an exit code from 0 to 255
    "#);
}

#[test]
fn e0206_yes_for_a_boolean() {
    assert_snapshot!(refused(&with_step("run: [ls]\nstarts_service: yes"), &[]), @r#"
    error[E0206]: `yes` is not a boolean
      --> runbook.yaml:12:19
       |
    12 |   starts_service: yes
       |                   ^^^ expected `true` or `false`
       |
       = help: write `true`
    "#);
}

#[test]
fn e0207_what_comes_later() {
    assert_snapshot!(refused(&with_step("call: other.yaml\nsave: {id: {regex: x}}"), &[]), @r#"
    error[E0207]: `call` is not supported yet
      --> runbook.yaml:11:3
       |
    11 |   call: other.yaml
       |   ^^^^ known, but this version of interlock would not do it
       |
       = help: a runbook is refused rather than done in part: take it out, or use a later version

    error[E0207]: `save` is not supported yet
      --> runbook.yaml:12:3
       |
    12 |   save: {id: {regex: x}}
       |   ^^^^ known, but this version of interlock would not do it
       |
       = help: a runbook is refused rather than done in part: take it out, or use a later version
    "#);
}

#[test]
fn e0207_kinds_and_probes_that_come_later() {
    assert_snapshot!(refused(&with_section(r"transcript: {keep: all}
systems:
  db: {mysql: {}}
  web: {states: {up: {http: {url: x}}}}"), &[]), @r#"
    error[E0207]: `transcript` is not supported yet
     --> runbook.yaml:3:1
      |
    3 | transcript: {keep: all}
      | ^^^^^^^^^^ known, but this version of interlock would not do it
      |
      = help: a runbook is refused rather than done in part: take it out, or use a later version

    error[E0207]: `mysql` is not supported yet
     --> runbook.yaml:5:8
      |
    5 |   db: {mysql: {}}
      |        ^^^^^ known, but this version of interlock would not do it
      |
      = help: a runbook is refused rather than done in part: take it out, or use a later version

    error[E0207]: `http` is not supported yet
     --> runbook.yaml:6:23
      |
    6 |   web: {states: {up: {http: {url: x}}}}
      |                       ^^^^ known, but this version of interlock would not do it
      |
      = help: a runbook is refused rather than done in part: take it out, or use a later version
    "#);
}

#[test]
fn e0208_keys_that_say_nothing() {
    assert_snapshot!(refused(&with_step("manual: Look.\nenv: {A: b}\nwithin: 3s"), &[]), @r#"
    error[E0208]: `env` says nothing in a `manual` step: it starts no process
      --> runbook.yaml:12:3
       |
    12 |   env: {A: b}
       |   ^^^ remove it

    error[E0208]: `within` says nothing in a step that ensures nothing
      --> runbook.yaml:13:3
       |
    13 |   within: 3s
       |   ^^^^^^ there is no `ensures`
       |
       = help: add `ensures`, or remove this
    "#);
}

#[test]
fn e0209_no_action() {
    assert_snapshot!(refused(&with_step("title: Nothing"), &[]), @r#"
    error[E0209]: this step does nothing
      --> runbook.yaml:10:3
       |
    10 | - id: one
       |   ^^^^^^^ expected an action
       |
       = help: give it one of `run`, `script`, `wait`, `manual`
    "#);
}

#[test]
fn e0209_two_actions() {
    assert_snapshot!(refused(&with_step("run: [ls]\nscript: ls"), &[]), @r#"
    error[E0209]: a step does one thing, and this one has several
      --> runbook.yaml:12:3
       |
    11 |   run: [ls]
       |   --- the first action
    12 |   script: ls
       |   ^^^^^^ another action
       |
       = help: make a step of each
    "#);
}

#[test]
fn e0210_two_steps_of_one_id() {
    assert_snapshot!(refused(&with_step(r"run: [ls]
").replace("- id: one", r"- id: one
  run: [ls]
- id: one"), &[]), @r#"
    error[E0210]: two steps have the id `one`
      --> runbook.yaml:12:7
       |
    10 | - id: one
       |       --- the first
    11 |   run: [ls]
    12 | - id: one
       |       ^^^ the second
       |
       = help: the audit log and the command line name steps by their id: give each its own
    "#);
}

#[test]
fn e0210_a_fact_twice() {
    assert_snapshot!(refused(&with_step("run: [ls]\nrequires: [web running, web  running]"), &[]), @r#"
    error[E0210]: the fact `web running` stands in the list twice
      --> runbook.yaml:12:27
       |
    12 |   requires: [web running, web  running]
       |              -----------  ^^^^^^^^^^^^ the second
       |              |
       |              the first
    "#);
}

#[test]
fn e0211_another_version() {
    assert_snapshot!(refused(&with_section("").replace("interlock: 1", "interlock: 2"), &[]), @r#"
    error[E0211]: this program knows version 1 of the language, not `2`
     --> runbook.yaml:1:12
      |
    1 | interlock: 2
      |            ^ expected `1`
    "#);
}

#[test]
fn e0212_names() {
    assert_snapshot!(refused(&with_section(r"labels: {a b: c}
systems: {My: {monit: {}}}
params: {Port: {type: port}}").replace("one", "../one"), &[]), @r#"
    error[E0212]: `a b` is not a label name: expected letters, digits, `-`, `_`, `.` and `/`
     --> runbook.yaml:3:10
      |
    3 | labels: {a b: c}
      |          ^^^ not a label name

    error[E0212]: `My` is not a system name: expected lower-case letters, digits, `-` and `_`, beginning with a letter or digit, at most 63 characters
     --> runbook.yaml:4:11
      |
    4 | systems: {My: {monit: {}}}
      |           ^^ not a name

    error[E0212]: `Port` is not a parameter name: expected lower-case letters, digits and `_`, beginning with a letter, at most 63 characters
     --> runbook.yaml:5:10
      |
    5 | params: {Port: {type: port}}
      |          ^^^^ not a name

    error[E0212]: `../one` is not a step id: expected lower-case letters, digits, `-` and `_`, beginning with a letter or digit, at most 63 characters
     --> runbook.yaml:6:14
      |
    6 | steps: [{id: ../one, run: ["true"]}]
      |              ^^^^^^ not an id
    "#);
}

#[test]
fn e0301_an_undefined_name() {
    assert_snapshot!(refused(&with_step(r#"run: [ls, "a {{ dirr }}", "{{ port.nr + dri }}"]
stdin: |
  some
  {{ nobody }}"#), &[]), @r#"
    error[E0301]: `dirr` is not defined
      --> runbook.yaml:11:19
       |
    11 |   run: [ls, "a {{ dirr }}", "{{ port.nr + dri }}"]
       |                   ^^^^ not a parameter of this runbook
       |
       = help: did you mean `dir`?

    error[E0301]: `dri` is not defined
      --> runbook.yaml:11:43
       |
    11 |   run: [ls, "a {{ dirr }}", "{{ port.nr + dri }}"]
       |                                           ^^^ not a parameter of this runbook
       |
       = help: did you mean `dir`?

    error[E0301]: `nobody` is not defined
      --> runbook.yaml:14:8
       |
    14 |     {{ nobody }}
       |        ^^^^^^ not a parameter of this runbook
       |
       = help: expected `dir`, `port`, `word`
    "#);
}

#[test]
fn e0302_a_template_that_cannot_be_read() {
    let run = r#"run: [ls, "{{ dir", "{{ dir | shout }}", "{% for a in dir %}{% endfor %}", "{{ dir * 3 }}"]"#;
    assert_snapshot!(refused(&with_step(run), &[]), @r#"
    error[E0302]: the template cannot be rendered: syntax error: unexpected end of input, expected end of variable block
      --> runbook.yaml:11:17
       |
    11 |   run: [ls, "{{ dir", "{{ dir | shout }}", "{% for a in dir %}{% endfor %}", "{{ dir * 3 }}"]
       |                 ^^^ here
       |
       = help: for braces that are to stay as they are, write `{% raw %}{{ … }}{% endraw %}`

    error[E0302]: the template cannot be rendered: unknown filter: filter shout is unknown
      --> runbook.yaml:11:33
       |
    11 |   run: [ls, "{{ dir", "{{ dir | shout }}", "{% for a in dir %}{% endfor %}", "{{ dir * 3 }}"]
       |                                 ^^^^^ here
       |
       = help: the filters are basename, dirname, lower, replace, trim, upper

    error[E0302]: templates have no `{% for %}`
      --> runbook.yaml:11:45
       |
    11 |   run: [ls, "{{ dir", "{{ dir | shout }}", "{% for a in dir %}{% endfor %}", "{{ dir * 3 }}"]
       |                                             ^^^^^^^^^^^^^^^^^^ here
       |
       = help: there are `{% if %}`, `{% elif %}`, `{% else %}` and `{% raw %}`

    error[E0302]: templates have no multiplication
      --> runbook.yaml:11:86
       |
    11 |   run: [ls, "{{ dir", "{{ dir | shout }}", "{% for a in dir %}{% endfor %}", "{{ dir * 3 }}"]
       |                                                                                      ^ here
       |
       = help: give the result as a parameter
    "#);
}

#[test]
fn e0303_a_template_where_none_is_rendered() {
    assert_snapshot!(refused(&with_step("run: [ls]\nrequires: [\"{{ dir }} up\"]"), &[]), @r#"
    error[E0303]: no template can stand here: expected a fact
      --> runbook.yaml:12:14
       |
    12 |   requires: ["{{ dir }} up"]
       |              ^^^^^^^^^^^^^^ this is a template
       |
       = help: write it out; docs/language.md says which values are rendered
    "#);
}

#[test]
fn e0304_a_secret_that_would_be_seen() {
    assert_snapshot!(refused(&with_step("run: [ls, \"{{ word }}\"]\ntitle: Use {{ word }}"), &[]), @r#"
    error[E0304]: a secret cannot be put into an argument
      --> runbook.yaml:11:13
       |
    11 |   run: [ls, "{{ word }}"]
       |             ^^^^^^^^^^^^ this uses a secret
       |
       = help: others could see it here: use `env` or `stdin` of a step

    error[E0304]: a secret cannot be put into a title
      --> runbook.yaml:12:10
       |
    12 |   title: Use {{ word }}
       |          ^^^^^^^^^^^^^^ this uses a secret
       |
       = help: others could see it here: use `env` or `stdin` of a step
    "#);
}

#[test]
fn e0305_a_parameter_in_a_script() {
    assert_snapshot!(refused(&with_step("script: |\n  cd {{ dir }}\n  ls"), &[]), @r#"
    error[E0305]: the text of a script is never rendered
      --> runbook.yaml:12:11
       |
    12 |     cd {{ dir }}
       |           ^^^ this would stay as it is written
       |
       = help: the parameter is there as an environment variable: write "$dir", in double quotes
    "#);
}

#[test]
fn e0306_parameters_that_contradict_themselves() {
    assert_snapshot!(refused(&with_section(r"params:
  a: {type: int, required: true, default: 3}
  b: {type: secret, from: {env: B}, default: c}
  c: {type: int, default: three}
  d: {type: text}
  e: {type: enum}
  f: {type: int, values: [1]}"), &[]), @r#"
    error[E0306]: `a` is required and has a default
     --> runbook.yaml:4:34
      |
    4 |   a: {type: int, required: true, default: 3}
      |                                  ^^^^^^^ one of the two is too much
      |
      = help: a parameter with a default need not be given: remove `required: true` or the default

    error[E0306]: a secret cannot have a default
     --> runbook.yaml:5:37
      |
    5 |   b: {type: secret, from: {env: B}, default: c}
      |                                     ^^^^^^^ it would be no secret
      |
      = help: `from` says where the secret comes from

    error[E0205]: `three` is not a whole number in decimal
     --> runbook.yaml:6:27
      |
    6 |   c: {type: int, default: three}
      |                           ^^^^^ expected a whole number in decimal

    error[E0205]: `text` is not a type
     --> runbook.yaml:7:13
      |
    7 |   d: {type: text}
      |             ^^^^ unknown type
      |
      = help: expected `string`, `int`, `bool`, `path`, `port`, `duration`, `enum`, `secret`

    error[E0202]: an enum needs the key `values`
     --> runbook.yaml:8:6
      |
    8 |   e: {type: enum}
      |      ^^^^^^^^^^^^ it is not here

    error[E0208]: only a parameter of type `enum` has `values`
     --> runbook.yaml:9:18
      |
    9 |   f: {type: int, values: [1]}
      |                  ^^^^^^ it says nothing here
    "#);
}

#[test]
fn e0307_e0308_values_given() {
    assert_snapshot!(refused(&with_step("run: [ls]"), &["prot=3", "port=0", "dir=a", "word=x"]), @r#"
    error[E0308]: `dir` (given by `-p dir`): `a` is not an absolute path
     |
     = help: nothing was started; give another value

    error[E0308]: `port` (given by `-p port`): `0` is not a port from 1 to 65535
     |
     = help: nothing was started; give another value

    error[E0308]: `word` is a secret and cannot be given by `-p word`
     |
     = help: others could see it; the runbook says under `from` where it comes from

    error[E0307]: the runbook has no parameter `prot` (given by `-p prot`)
     |
     = help: did you mean `port`?
    "#);
}

#[test]
fn e0401_to_e0403_facts() {
    assert_snapshot!(refused(&with_step("run: [ls]\nrequires: [web, wbe running]\nensures: [web runing]"), &[]), @r#"
    error[E0401]: `web` is not a fact: expected a system and a state, such as `monit stopped`
      --> runbook.yaml:12:14
       |
    12 |   requires: [web, wbe running]
       |              ^^^ not a fact

    error[E0402]: there is no system `wbe`
      --> runbook.yaml:12:19
       |
    12 |   requires: [web, wbe running]
       |                   ^^^^^^^^^^^ names a system that is not declared
       |
       = help: did you mean `web`?

    error[E0403]: the system `web` has no state `runing`
      --> runbook.yaml:13:13
       |
    13 |   ensures: [web runing]
       |             ^^^^^^^^^^ names a state that it does not have
       |
       = help: did you mean `running`?
    "#);
}

#[test]
fn e0404_a_kind_that_there_is_not() {
    assert_snapshot!(refused(&with_section("systems: {db: {postgers: {}}}"), &[]), @r#"
    error[E0404]: there is no kind `postgers`
     --> runbook.yaml:3:16
      |
    3 | systems: {db: {postgers: {}}}
      |                ^^^^^^^^ unknown kind
      |
      = help: did you mean `postgres`?
    "#);
}

#[test]
fn e0405_a_kind_that_cannot_be_made() {
    assert_snapshot!(refused(&with_section("systems: {web: {service: {}}}"), &[]), @r#"
    error[E0405]: the kind `service` cannot be made from these parameters: a `process` probe does not say which process
     --> runbook.yaml:3:17
      |
    3 | systems: {web: {service: {}}}
      |                 ^^^^^^^ found in line 12 of the kind's own text
      |
      = help: give at least one of `pidfile`, `exe`, `name`, `user`, `args`
    "#);
}

#[test]
fn a_kind_with_wrong_parameters() {
    let systems = "systems: {db: {postgres: {data_dir: srv, prot: 5432}}, other: {postgres: {}}}";
    assert_snapshot!(refused(&with_section(systems), &[]), @r#"
    error[E0205]: `srv` is not an absolute path
     --> runbook.yaml:3:37
      |
    3 | systems: {db: {postgres: {data_dir: srv, prot: 5432}}, other: {postgres: {}}}
      |                                     ^^^ expected an absolute path

    error[E0201]: the kind `postgres` has no parameter `prot`
     --> runbook.yaml:3:42
      |
    3 | systems: {db: {postgres: {data_dir: srv, prot: 5432}}, other: {postgres: {}}}
      |                                          ^^^^ unknown parameter
      |
      = help: did you mean `port`?

    error[E0202]: the kind `postgres` needs the parameter `data_dir`
     --> runbook.yaml:3:64
      |
    3 | systems: {db: {postgres: {data_dir: srv, prot: 5432}}, other: {postgres: {}}}
      |                                                                ^^^^^^^^ it is not given
      |
      = help: The cluster's data directory
    "#);
}

#[test]
fn probes_with_mistakes() {
    assert_snapshot!(refused(&with_section(r#"systems:
  a:
    states:
      up: {port: {port: 70000, state: opne}}
      down: {process: {state: absent}}
      odd: {command: {run: [a], holds: [0], broken: [0, 1], stdout: "("}}
      gone: {file: {path: /a, state: absent, mode: "0640"}}
      old: {file: {path: /a, mode: 640}}
      none: {all: []}
      two: {port: {port: 1}, file: {path: /a}}
      prcess: {prcess: {name: a}}"#), &[]), @r#"
    error[E0205]: `70000` is not a port from 1 to 65535
     --> runbook.yaml:6:25
      |
    6 |       up: {port: {port: 70000, state: opne}}
      |                         ^^^^^ expected a port from 1 to 65535

    error[E0205]: expected `open` or `closed`, found `opne`
     --> runbook.yaml:6:39
      |
    6 |       up: {port: {port: 70000, state: opne}}
      |                                       ^^^^ expected `open` or `closed`
      |
      = help: did you mean `open`?

    error[E0202]: a `process` probe does not say which process
     --> runbook.yaml:7:23
      |
    7 |       down: {process: {state: absent}}
      |                       ^^^^^^^^^^^^^^^ expected at least one criterion
      |
      = help: give at least one of `pidfile`, `exe`, `name`, `user`, `args`

    error[E0205]: exit code 0 cannot mean both that the fact holds and that it is broken
     --> runbook.yaml:8:53
      |
    8 |       odd: {command: {run: [a], holds: [0], broken: [0, 1], stdout: "("}}
      |                                                     ^^^^^^
      |
      = help: take it out of `holds` or out of `broken`

    error[E0205]: `(` is not a regular expression: found open group without closing ')'
     --> runbook.yaml:8:69
      |
    8 |       odd: {command: {run: [a], holds: [0], broken: [0, 1], stdout: "("}}
      |                                                                     ^^^

    error[E0208]: `mode` says nothing about a file that is to be absent
     --> runbook.yaml:9:46
      |
    9 |       gone: {file: {path: /a, state: absent, mode: "0640"}}
      |                                              ^^^^ remove it

    error[E0205]: `640` is not a mode: expected four octal digits, such as "0640"
      --> runbook.yaml:10:36
       |
    10 |       old: {file: {path: /a, mode: 640}}
       |                                    ^^^ expected a mode such as "0640"

    error[E0205]: an empty list of probes looks at nothing
      --> runbook.yaml:11:19
       |
    11 |       none: {all: []}
       |                   ^^
       |
       = help: give at least one probe

    error[E0203]: a probe has exactly one key, found 2
      --> runbook.yaml:12:12
       |
    12 |       two: {port: {port: 1}, file: {path: /a}}
       |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected one probe
       |
       = help: use `all: [ … ]` or `any: [ … ]` to ask for several things

    error[E0201]: there is no probe `prcess`
      --> runbook.yaml:13:16
       |
    13 |       prcess: {prcess: {name: a}}
       |                ^^^^^^ unknown probe
       |
       = help: did you mean `process`?
    "#);
}

#[test]
fn e0501_a_state_that_was_ended_before() {
    assert_snapshot!(refused(&POSTGRES.replace("  - id: settle", r"  - id: late
    run: [ls]
    requires: [monit stopped]
    irreversible: true

  - id: settle").replace("ensures: [monit stopped]\n", "\n").replace(r"    requires: [monit stopped]
    env", "    env").replace("{requires: [monit stopped], run", "{run").replace(r"requires: [monit stopped]
    ensures", "ensures").replace("requires: [monit stopped, database down]", "requires: [database down]"), &[]), @r#"
    error[E0501]: step `late` requires `monit stopped`, but step `start-monit` has ensured `monit running`
      --> runbook.yaml:76:16
       |
    71 |     ensures: [monit running]
       |               ------------- from here on it is `monit running`
    ...
    76 |     requires: [monit stopped]
       |                ^^^^^^^^^^^^^ this cannot hold here
       |
       = help: change the order, or add a step between the two that ensures what is required
    "#);
}

#[test]
fn e0502_a_state_that_is_still_held_is_ended() {
    assert_snapshot!(refused(&POSTGRES.replace("  - id: change", r"  - id: too-early
    run: [monit]
    irreversible: true
    ensures: [monit running]

  - id: change"), &[]), @r#"
    error[E0502]: step `too-early` ensures `monit running` while `monit stopped` is still held
      --> runbook.yaml:42:15
       |
    27 |     ensures: [monit stopped]
       |               ------------- held from here, step `stop-monit`
    ...
    42 |     ensures: [monit running]
       |               ^^^^^^^^^^^^^ this ends `monit stopped`
    ...
    45 |     requires: [monit stopped, database down]
       |                ------------- and still required here, step `change`
       |
       = help: change the order, or bring the state about again before the step that requires it
    "#);
}

#[test]
fn e0502_against_the_whole_run() {
    let text = POSTGRES.replace("requires: [backup fresh]", "requires: [backup fresh, monit stopped]");
    assert_snapshot!(refused(&text, &[]), @r#"
    error[E0502]: step `start-monit` ensures `monit running`, but the whole run requires `monit stopped`
      --> runbook.yaml:73:15
       |
    73 |     ensures: [monit running]
       |               ^^^^^^^^^^^^^ this ends or excludes what the run requires
       |
      ::: runbook.yaml:20:26
       |
    20 | requires: [backup fresh, monit stopped]
       |                          ------------- held from the opening to the end of the last step
       |
       = help: take the fact out of the run's `requires`, and into those of the steps that need it
    "#);
}

#[test]
fn e0503_a_step_against_itself() {
    assert_snapshot!(refused(&POSTGRES.replace(r"requires: [monit stopped]
    ensures: [database down]", r"requires: [database up]
    ensures: [database down]"), &[]), @r#"
    error[E0503]: step `stop-database` requires `database up` as long as it runs, and ensures `database down`
      --> runbook.yaml:34:15
       |
    33 |     requires: [database up]
       |                ----------- the other
    34 |     ensures: [database down]
       |               ^^^^^^^^^^^^^ this and the other exclude each other
       |
       = help: if it is meant to change the state, require nothing of this system
    "#);
}

#[test]
fn e0504_a_state_between_two_others() {
    let steps = "steps:
- {id: one, run: [a], requires: [web running]}
- {id: two, run: [a], requires: [web stopped]}
- {id: three, run: [a], requires: [web running]}
";
    let text = format!("interlock: 1\nname: r\nsystems: {{web: {{service: {{name: nginx}}}}}}\n{steps}");
    assert_snapshot!(refused(&text, &[]), @r#"
    error[E0504]: step `two` requires `web stopped` while `web running` is held
     --> runbook.yaml:6:34
      |
    5 | - {id: one, run: [a], requires: [web running]}
      |                                  ----------- held from here, step `one`
    6 | - {id: two, run: [a], requires: [web stopped]}
      |                                  ^^^^^^^^^^^ this cannot hold here
    7 | - {id: three, run: [a], requires: [web running]}
      |                                    ----------- to here, step `three`
      |
      = help: add steps between them that ensure each state before it is required
    "#);
}

#[test]
fn e0105_what_parsers_of_yaml_read_differently() {
    assert_snapshot!(refused(&with_step("run: [ls, |a]\ncwd:\t/tmp"), &[]), @r#"
    error[E0105]: a text that begins with this sign must be in quotes
      --> runbook.yaml:11:13
       |
    11 |   run: [ls, |a]
       |             ^ here

    error[E0105]: a tab stands where YAML needs spaces
      --> runbook.yaml:12:7
       |
    12 |   cwd:    /tmp
       |       ^^^^ this is a tab
       |
       = help: use spaces
    "#);
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_read_past() {
    let text = "\u{feff}interlock: 1\r\nname: r\r\nsteps:\r\n- id: one\r\n  run: [ls]\r\n  titel: é\r\n";
    let shown = refused(text, &[]);
    insta::assert_snapshot!(shown, @r#"
    error[E0201]: a step has no key `titel`
     --> runbook.yaml:6:3
      |
    6 |   titel: é 
      |   ^^^^^ unknown key
      |
      = help: did you mean `title`?
    "#);
}
