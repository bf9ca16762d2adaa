use insta::assert_snapshot;
use serde_json::Value;

use super::json::to_json;
use super::render::{Colour, render};
use super::{Diagnostic, MOST_KEPT, Problems, Severity, Source, Span};

fn place(source: &Source, words: &str) -> Span {
    let start = source.text().find(words).unwrap();
    Span::new(start, start + words.len())
}

#[test]
fn a_diagnostic_has_code_place_excerpt_related_places_and_help() {
    let source = Source::new("a.yaml", "name: a\nsteps: []\nname: b\n");
    let diagnostic = Diagnostic::error("E0110", "the key `name` is written twice")
        .at(Span::new(18, 22), "the second")
        .related(Span::new(0, 4), "the first")
        .help("remove one");
    assert_snapshot!(render(&diagnostic, &source, Colour::Never), @r#"
    error[E0110]: the key `name` is written twice
     --> a.yaml:3:1
      |
    1 | name: a
      | ---- the first
    2 | steps: []
    3 | name: b
      | ^^^^ the second
      |
      = help: remove one
    "#);
}

#[test]
fn places_far_apart_are_shown_as_two_excerpts() {
    let text = format!("name: a\n{}title: b\n", "# between\n".repeat(500));
    let source = Source::new("a.yaml", text);
    let diagnostic = Diagnostic::warning("W0000", "these two")
        .at(place(&source, "title"), "this")
        .related(place(&source, "name"), "and this");
    assert_snapshot!(render(&diagnostic, &source, Colour::Never), @r#"
    warning[W0000]: these two
       --> a.yaml:502:1
        |
    502 | title: b
        | ^^^^^ this
        |
       ::: a.yaml:1:1
        |
      1 | name: a
        | ---- and this
    "#);
}

#[test]
fn a_line_without_end_is_not_shown() {
    let source = Source::new("a.yaml", format!("{}x\n", "a".repeat(100_000)));
    let diagnostic = Diagnostic::error("E0000", "too long to show").at(place(&source, "x"), "here");
    assert_snapshot!(render(&diagnostic, &source, Colour::Never), @r#"
    error[E0000]: too long to show
    --> a.yaml:1:100001
    "#);
}

#[test]
fn nothing_of_the_author_reaches_the_terminal_raw() {
    let source = Source::new("\u{1b}]0;title\u{7}.yaml", "a: \u{1b}[2J\u{202e}\u{9b}31m\u{e0041}\u{200b} é\n");
    let diagnostic = Diagnostic::error("E0000", "what is \u{1b}[31m this")
        .at(place(&source, "é"), "not \u{202e} this")
        .related(Span::new(0, 1), "nor\nthat \u{9b}")
        .help("do\nnot \u{200f}");
    for colour in [Colour::Never, Colour::Always] {
        let shown = render(&diagnostic, &source, colour);
        let ours = shown.matches('\u{1b}').count();
        assert_eq!(ours, shown.matches("\u{1b}[").count());
        assert!(colour == Colour::Always || ours == 0, "{shown}");
        assert!(!shown.contains(['\u{202e}', '\u{9b}', '\u{e0041}', '\u{200b}', '\u{200f}', '\u{7}']), "{shown:?}");
        assert!(!shown.contains("\u{1b}[2J") && !shown.contains("\u{1b}]0"));
    }
    assert_snapshot!(render(&diagnostic, &source, Colour::Never), @r#"
    error[E0000]: what is \x1b[31m this
     --> \x1b]0;title\x07.yaml:1:18
      |
    1 | a: ?[2J�??31m�?� é
      | -                ^ not \u{202e} this
      | |
      | nor\nthat \u{9b}
      |
      = help: do
              not \u{200f}
    "#);
}

#[test]
fn a_program_gets_an_object_with_lines_and_columns() {
    let source = Source::new("a.yaml", "é: 1\nname: b\n");
    let diagnostic = Diagnostic::error("E0000", "no")
        .at(place(&source, "b"), "b")
        .related(place(&source, "1"), "one")
        .help("mend it");
    let object = to_json(&diagnostic, &source);
    assert_eq!((&object["line"], &object["column"], &object["end_column"]), (&2.into(), &7.into(), &8.into()));
    assert_eq!((&object["related"][0]["line"], &object["related"][0]["column"]), (&1.into(), &4.into()));
    assert_eq!(object["code"], "E0000");
    let placeless = to_json(&Diagnostic::warning("W0000", "well"), &source);
    assert_eq!((&placeless["severity"], &placeless["line"]), (&"warning".into(), &Value::Null));
}

#[test]
fn more_mistakes_than_are_kept_are_owned_up_to() {
    let mut problems = Problems::new();
    for at in 0..MOST_KEPT + 5 {
        problems.push(Diagnostic::error("E0000", "no").at(Span::new(1000 - at, 1001), ""));
    }
    let all = problems.into_vec();
    assert_eq!(all.len(), MOST_KEPT + 1);
    assert_eq!(all[MOST_KEPT].message, "there may be more mistakes than these");
    assert!(all.iter().all(|diagnostic| diagnostic.severity == Severity::Error));
    assert!(all[0].primary.as_ref().unwrap().span.start < all[1].primary.as_ref().unwrap().span.start);
}

#[test]
fn a_mark_at_the_end_of_the_file_or_outside_of_it_is_shown() {
    for span in [Span::new(8, 8), Span::new(7, 8), Span::new(90, 100)] {
        let source = Source::new("a.yaml", "name: a\n");
        let shown = render(&Diagnostic::error("E0000", "here").at(span, "end"), &source, Colour::Never);
        assert!(shown.contains("a.yaml:"), "{shown}");
    }
}
