//! Files that are made to hurt: each is an error, in bounded time and memory.

use std::time::{Duration, Instant};

use crate::diagnostic::render::{Colour, render_all};
use crate::diagnostic::{MOST_KEPT, Source};
use crate::runbook::source::LONGEST;
use crate::runbook::{Given, check};

/// Generous, for a slow machine and a build without optimisation; the time on a quiet one is a few hundredths of it.
const MOST_TIME: Duration = Duration::from_secs(20);

/// An eighth of the longest file, full of a pattern: time and memory grow with the length, so this tells of the whole.
fn full(pattern: &str) -> String {
    pattern.repeat(usize::try_from(LONGEST).unwrap() / 8 / pattern.len())
}

fn files() -> Vec<(&'static str, String)> {
    let mut deep = String::new();
    for level in 0..2000 {
        deep.push_str(&" ".repeat(level));
        deep.push_str("a:\n");
    }
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let before = level - 1;
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(", ")));
    }
    vec![
        ("nothing", String::new()),
        ("10,000 lists", "[".repeat(10_000)),
        ("10,000 lists, closed", format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))),
        ("a file of lists", full("[")),
        ("a file of mappings", full("{")),
        ("a file of mappings with keys", full("{a: ")),
        ("a file of lists of mappings", full("[{a: ")),
        ("10,000 list items on a line", "- ".repeat(10_000)),
        ("a file of list items on a line", full("- ")),
        ("a file of question marks", full("? ")),
        ("a file of both", full("? - ")),
        ("a staircase", deep),
        ("an alias bomb", bomb),
        ("a file of anchors", full("- &a b\n")),
        ("a file of aliases", format!("- &a b\n{}", full("- *a\n"))),
        ("a file of tags", full("- !t b\n")),
        ("a file of tag characters", full("!")),
        ("one key, often", full("a: b\n")),
        ("many keys", (0..210_000).map(|at| format!("k{at}: b\n")).collect()),
        ("many values", format!("[{}]", "a,".repeat(410_000))),
        ("many empty lists", format!("[{}]", full("[],"))),
        ("colons", full(": ")),
        ("colons in a row", full("a: ")),
        ("a long word", full("a")),
        ("a long text", format!("\"{}\"", full("a"))),
        ("a long text without an end", format!("\"{}", full("a"))),
        ("escapes", format!("a: \"{}\"", full("\\x41"))),
        ("quotes", full("'")),
        ("a block", format!("a: |\n{}", full(" a\n"))),
        ("a folded block", format!("a: >\n{}", full(" a\n\n"))),
        ("lines of words", full("a\n")),
        ("comments", full("# a\n")),
        ("newlines", full("\n")),
        ("spaces", full(" ")),
        ("tabs", full("\t")),
        ("list items", full("- \n")),
        ("documents", full("---\n")),
        ("document ends", full("...\n")),
        ("directives", full("%YAML 1.2\n")),
        ("letters of two bytes", full("é")),
        ("many letters of two bytes", full("- é\n")),
        ("steps without end", format!("interlock: 1\nname: a\nsteps:\n{}", full("- {}\n"))),
        ("templates without end", format!("interlock: 1\nname: a\ntitle: \"{}\"\n", full("{{"))),
        ("one deep template", format!("interlock: 1\nname: a\ntitle: '{{{{ {} }}}}'\n", "(".repeat(60_000))),
        ("many templates", format!("interlock: 1\nname: a\nsteps:\n- run: [{}]\n", "\"{{ a }}\", ".repeat(30_000))),
        ("many facts", format!("interlock: 1\nname: a\nrequires: [{}]\n", "a b, ".repeat(39_000))),
    ]
}

#[test]
fn hostile_files_are_errors_in_bounded_time() {
    for (what, text) in files() {
        let begun = Instant::now();
        let source = Source::new("hostile.yaml", text);
        let mistakes = check(&source, &Given::nothing()).expect_err(what);
        assert!(!mistakes.is_empty() && mistakes.len() <= MOST_KEPT + 1, "{what}: {}", mistakes.len());
        let shown = render_all(&mistakes, &source, Colour::Never);
        assert!(shown.len() < 1 << 20, "{what}: {} bytes are shown", shown.len());
        assert!(begun.elapsed() < MOST_TIME, "{what} took {:?}", begun.elapsed());
    }
}

/// Each bound that keeps a runbook small, just passed.
#[test]
fn every_bound_on_the_size_of_a_runbook_is_kept() {
    let step = "steps: [{id: one, run: [ls]}]\n";
    let params: String = (0..257).map(|at| format!("  p{at}: {{type: int, default: 1}}\n")).collect();
    let labels: String = (0..33).map(|at| format!("  l{at}: x\n")).collect();
    let scripts: String = (0..300).map(|at| format!("- {{id: s{at}, script: ls}}\n")).collect();
    let long = "x".repeat(4097);
    let cases = [
        (format!("params:\n{params}{step}"), "a runbook has at most 256 parameters"),
        (format!("labels:\n{labels}{step}"), "a runbook has at most 32 labels"),
        (format!("labels: {{a: {}}}\n{step}", &long[..257]), "a runbook has at most 32 labels"),
        (format!("title: {long}\n{step}"), "expected a title of at most 4096 bytes, found 4097"),
        (
            format!("params: {{a: {{type: string, default: {}}}}}\nsteps:\n{scripts}", "x".repeat(60_000)),
            "the parameters of all scripts together take more than 16 MiB",
        ),
        (format!("title: \"{}\"\n{step}", ",".repeat(300_000)), "more than 300000 commas, colons and brackets"),
    ];
    for (body, expected) in cases {
        let source = Source::new("big.yaml", format!("interlock: 1\nname: a\n{body}"));
        let mistakes = check(&source, &Given::nothing()).expect_err(expected);
        assert!(mistakes.iter().any(|mistake| mistake.message.contains(expected)), "{expected}: {mistakes:?}");
    }
}
