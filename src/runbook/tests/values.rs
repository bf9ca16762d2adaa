//! Parameters, templates, secrets and kinds: what becomes of what is written.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use proptest::prelude::{any, proptest};

use super::{POSTGRES, accepted, given, refused};
use crate::diagnostic::Source;
use crate::diagnostic::render::{Colour, render_all};
use crate::id::{StateName, SystemName};
use crate::runbook::kinds::Library;
use crate::runbook::model::{Action, Probe, Setting};
use crate::runbook::template::{Binding, Rendered, Templates, render_secret};
use crate::runbook::{Given, Value};
use crate::yaml::read::is_template;

fn argv(action: &Action) -> Vec<&str> {
    match action {
        Action::Run(run) => run.argv.iter().map(String::as_str).collect(),
        Action::Script(_) | Action::Wait | Action::Manual(_) => panic!("no run: {action:?}"),
    }
}

fn setting(action: &Action) -> &Setting {
    match action {
        Action::Run(run) => &run.setting,
        Action::Script(script) => &script.setting,
        Action::Wait | Action::Manual(_) => panic!("no process: {action:?}"),
    }
}

fn one_step(params: &str, step: &str) -> String {
    format!("interlock: 1\nname: r\nparams: {params}\nsteps:\n- id: one\n{step}")
}

#[test]
fn a_value_with_braces_is_never_rendered_again() {
    let text = one_step("{a: {type: string}}", "  run: [echo, \"{{ a }}\", \"[{{ a | upper }}]\"]\n");
    let checked = accepted(&text, &["a={{ nobody }}{% if %}"]);
    assert_eq!(argv(&checked.runbook.steps[0].action), ["echo", "{{ nobody }}{% if %}", "[{{ NOBODY }}{% IF %}]"]);
}

#[test]
fn a_kind_gets_a_value_with_braces_as_it_is() {
    let text = "interlock: 1\nname: r\nparams: {a: {type: path}}\nsystems: {web: {service: {exe: \"{{ a }}\"}}}\n\
                steps: [{id: one, run: [ls], requires: [web running]}]\n";
    let checked = accepted(text, &["a=/{{ pidfile }}"]);
    let web: SystemName = "web".parse().unwrap();
    let running: StateName = "running".parse().unwrap();
    match &checked.runbook.systems[&web].states[&running].held {
        Probe::Process(process) => {
            assert_eq!(process.exe.as_deref(), Some(std::path::Path::new("/{{ pidfile }}")));
            assert_eq!((&process.pidfile, &process.name, &process.user), (&None, &None, &None));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_script_is_taken_as_it_is_and_gets_the_parameters_as_variables() {
    let params = "{dir: {type: path}, n: {type: int, default: 3}, on: {type: bool, default: true}, \
                  x: {type: string, required: false}, s: {type: secret, from: {env: S}}}";
    let text = one_step(params, "  script: |\n    echo \"$dir\"\n  env: {n: seven, S: \"{{ s }}!\"}\n");
    let checked = accepted(&text, &["dir=/a b"]);
    let env: Vec<String> =
        setting(&checked.runbook.steps[0].action).env.iter().map(|(name, text)| format!("{name}={text:?}")).collect();
    assert_eq!(
        env,
        ["S=Secret(\"{{ s }}!\")", "dir=Plain(\"/a b\")", "n=Plain(\"seven\")", "on=Plain(\"true\")", "x=Plain(\"\")"]
    );
}

#[test]
fn braces_of_others_in_a_script_are_a_warning() {
    let source = Source::new("runbook.yaml", one_step("{}", "  script: docker ps --format '{{.Names}}'\n"));
    let checked = crate::runbook::check(&source, &Given::nothing()).unwrap();
    assert_snapshot!(render_all(&checked.warnings, &source, Colour::Never), @r#"
    warning[W0301]: the text of a script is never rendered
     --> runbook.yaml:6:31
      |
    6 |   script: docker ps --format '{{.Names}}'
      |                               ^^ these braces reach the shell as they are
    "#);
}

#[test]
fn without_its_values_a_runbook_is_checked_all_the_same() {
    let checked = accepted(POSTGRES, &[]);
    assert_eq!(checked.missing, ["data_dir", "change"]);
    assert_eq!(checked.values.keys().collect::<Vec<_>>(), ["port"]);
    let wrong = POSTGRES.replace(
        "timeout: 30m",
        "timeout: \"{{ change }}\"\n    cwd: \"{{ change }}/x\"\n    success: [\"{{ port }}\"]",
    );
    assert!(refused(&wrong, &[]).contains("`5432` is not an exit code"));
}

#[test]
fn the_values_that_are_given_win_over_defaults_and_the_later_over_the_earlier() {
    let text = one_step("{p: {type: port, default: 80}}", "  run: [echo, \"{{ p + 1 }}\"]\n");
    assert_eq!(argv(&accepted(&text, &[]).runbook.steps[0].action), ["echo", "81"]);
    assert_eq!(argv(&accepted(&text, &["p=90", "p=99"]).runbook.steps[0].action), ["echo", "100"]);
    assert_eq!(accepted(&text, &["p=99"]).values["p"], Value::Int(99));
}

#[test]
fn a_parameter_file_is_read_with_places() {
    let source = Source::new("params.yaml", "port: 70000\nnote: \"{{ as it is }}\"\n");
    let given = Given::from_file(&source).unwrap();
    assert_eq!(given.values["note"].text, "{{ as it is }}");
    let text = Source::new("runbook.yaml", one_step("{port: {type: port}, note: {type: string}}", "  run: [ls]\n"));
    let mistakes = crate::runbook::check(&text, &given).unwrap_err();
    assert_snapshot!(render_all(&mistakes, &text, Colour::Never), @r#"
    error[E0308]: `port` (given by `params.yaml line 1`): `70000` is not a port from 1 to 65535
     |
     = help: nothing was started; give another value
    "#);
}

#[test]
fn every_mistake_in_a_parameter_file_is_shown() {
    let source = Source::new("params.yaml", "a: [1]\nb:\nc: d\nc: e\n");
    let mistakes = Given::from_file(&source).unwrap_err();
    assert_snapshot!(render_all(&mistakes, &source, Colour::Never), @r#"
    error[E0203]: expected a text, a number or a boolean, found a list
     --> params.yaml:1:4
      |
    1 | a: [1]
      |    ^^^ expected a text, a number or a boolean

    error[E0204]: expected a value, found nothing
     --> params.yaml:2:2
      |
    2 | b:
      |  ^ expected a value
      |
      = help: an empty text is written ""

    error[E0110]: the key `c` is written twice
     --> params.yaml:4:1
      |
    3 | c: d
      | - the first
    4 | c: e
      | ^ the second
      |
      = help: neither is taken: remove one
    "#);
}

#[test]
fn an_argument_without_a_value_is_refused() {
    let mut given = given(&[]);
    assert_eq!(given.add_argument("port").unwrap_err().message, "`-p port` gives no value");
    given.add_argument("a=b=c").unwrap();
    assert_eq!(given.values["a"].text, "b=c");
}

#[test]
fn a_secret_is_rendered_at_the_last_moment_and_only_once() {
    let values = BTreeMap::from([("user".to_owned(), Value::Text("me".to_owned()))]);
    let secrets = BTreeMap::from([("word".to_owned(), "{{ user }}\n".to_owned())]);
    assert_eq!(render_secret("{{ user }}:{{ word }}", &values, &secrets).unwrap(), "me:{{ user }}\n");
}

#[test]
fn an_error_with_a_secret_in_it_does_not_show_it() {
    let secrets = BTreeMap::from([("word".to_owned(), "hunter2".to_owned())]);
    for template in ["{{ word + 1 }}", "{{ word.a.b }}", "{{ word | shout }}", "{{ nobody }}{{ word }}", "{{ word"] {
        let error = render_secret(template, &BTreeMap::new(), &secrets).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn templates_cannot_outgrow_their_values() {
    let mut templates =
        Templates::new(BTreeMap::from([("a".to_owned(), Binding::Known(Value::Text("a".repeat(1000))))]));
    for template in [
        "{{ 'a' * 100000000 }}",
        "{% set b = a ~ a %}{{ b }}",
        "{% for x in a %}{{ a }}{% endfor %}",
        &format!("{{{{ a | replace('a', '{}') }}}}", "a".repeat(1000)),
        "{{ range(1000000) }}",
        "{{- 2 ** 100000 -}}",
        &"{{ a }}".repeat(1000),
    ] {
        assert!(templates.render(template).is_err(), "{template}");
    }
    assert_eq!(templates.render("{% raw %}{{ b * 2 }}{% endraw %}"), Ok(Rendered::Known("{{ b * 2 }}".to_owned())));
    assert_eq!(templates.render("{{ '*' }}\n"), Ok(Rendered::Known("*\n".to_owned())));
    assert_eq!(templates.render("{% if a == '' %}x{% else %}y{% endif %}"), Ok(Rendered::Known("y".to_owned())));
}

#[test]
fn the_kinds_that_ship_are_sound() {
    let kinds = Library::built_in().describe().unwrap_or_else(|broken| {
        let shown = broken.iter().map(|(source, mistakes)| render_all(mistakes, source, Colour::Never));
        panic!("{}", shown.collect::<String>())
    });
    let states: Vec<String> = kinds
        .iter()
        .map(|kind| {
            let states: Vec<&str> = kind.states.iter().map(|(name, _)| name.as_str()).collect();
            format!("{}: {}", kind.name, states.join(" "))
        })
        .collect();
    assert_eq!(states.len(), 3);
    assert!(states.iter().all(|kind| kind.contains(' ')), "{states:?}");
    for kind in &kinds {
        assert!(!kind.title.is_empty() && kind.states.iter().all(|(_, help)| !help.is_empty()), "{kind:?}");
    }
}

#[test]
fn the_page_on_the_language_lists_every_code_and_its_example_passes() {
    let page = include_str!("../../../docs/language.md");
    let lists = [include_str!("../../yaml/code.rs"), include_str!("../code.rs")];
    let codes: Vec<&str> = lists
        .iter()
        .flat_map(|list| list.split('"').filter(|word| word.len() == 5 && word.starts_with(['E', 'W'])))
        .collect();
    assert!(codes.len() > 40, "{codes:?}");
    for code in &codes {
        assert_eq!(page.matches(&format!("| {code} |")).count(), 1, "{code}");
        assert_eq!(codes.iter().filter(|other| *other == code).count(), 1, "{code} has two names");
    }
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    accepted(example, &["data_dir=/srv/pg", "change=/usr/local/bin/change"]);
}

#[test]
fn a_key_of_one_file_in_the_other_is_unknown() {
    assert!(refused("interlock: 1\nkind: a\nstates: {}\n", &[]).contains("a runbook has no key `kind`"));
}

proptest! {
    #[test]
    fn rendering_never_panics(text in any::<String>(), value in any::<String>()) {
        let template = format!("{{{{ a }}}}{text}{{%{text}");
        let mut templates = Templates::new(BTreeMap::from([("a".to_owned(), Binding::Known(Value::Text(value)))]));
        assert!(is_template(&template));
        let _ = templates.render(&template);
        let _ = templates.render(&text);
    }

    #[test]
    fn a_value_comes_out_as_it_went_in(value in any::<String>()) {
        let binding = Binding::Known(Value::Text(value.clone()));
        let mut templates = Templates::new(BTreeMap::from([("a".to_owned(), binding)]));
        assert_eq!(templates.render("{{ a }}"), Ok(Rendered::Known(value)));
    }
}
