//! Files that are made to hurt: each is an error, in bounded time and memory.

use std::time::{Duration, Instant};

use crate::diagnostic::render::{Colour, render_all};
use crate::diagnostic::{MOST_KEPT, Source};
use crate::runbook::{Given, check};
use crate::yaml::source::LONGEST;

/// Generous, for a slow machine and a build without optimisation; the time on a quiet one is a few hundredths of it.
const MOST_TIME: Duration = Duration::from_secs(20);

/// An eighth of the longest file, full of a pattern: time and memory grow with the length, so this tells of the whole.
fn full(pattern: &str) -> String {
    pattern.repeat(usize::try_from(LONGEST).unwrap() / 8 / pattern.len())
}

/// A long text, added to itself very often.
fn long_sum(before: &str, after: &str) -> String {
    let (long, sum) = ("x".repeat(60_000), "~a".repeat(15_000));
    format!("interlock: 1\nname: a\nparams: {{a: {{type: string, default: {long}}}}}\n{before}a{sum}{after}\n")
}

fn many_long_conditions() -> String {
    let step = |at: usize| format!("- {{id: s{at}, run: [ls], when: a{} == \"{at}\"}}\n", "~a".repeat(2000));
    let steps: String = (0..100).map(step).collect();
    let long = "x".repeat(60_000);
    format!("interlock: 1\nname: a\nparams: {{a: {{type: string, default: {long}}}}}\nsteps:\n{steps}")
}

fn many_long_templates() -> String {
    let arguments: String = (0..30_000).map(|at| format!("\"{{{{ a }}}}{at}\", ")).collect();
    let long = "x".repeat(60_000);
    format!(
        "interlock: 1\nname: a\nparams: {{a: {{type: string, default: {long}}}}}\nsteps: [{{id: a, run: [{arguments}]}}]\n"
    )
}

fn blocks_in_blocks() -> String {
    let deep: String = (0..60).map(|level| format!("{}- block:\n", "  ".repeat(level))).collect();
    format!("interlock: 1\nname: a\nsteps:\n{deep}")
}

/// Each of many steps gets a long list of facts, a long title and a condition with a long value.
fn blocks_that_give_much() -> String {
    let systems: String = (0..2000).map(|at| format!("  s{at}: {{states: {{up: {{port: {{port: 1}}}}}}}}\n")).collect();
    let facts = (0..2000).map(|at| format!("s{at} up")).collect::<Vec<_>>().join(", ");
    let steps: String = (0..4000).map(|at| format!("  - {{id: s{at}, run: [ls]}}\n")).collect();
    let (long, title) = ("x".repeat(60_000), "t".repeat(4000));
    format!(
        "interlock: 1\nname: a\nparams: {{a: {{type: string, default: {long}}}}}\nsystems:\n{systems}steps:\n\
         - title: {title}\n  when: a != \"\"\n  requires: [{facts}]\n  block:\n{steps}"
    )
}

/// Many undos, each of which requires what the one before it has ended.
fn long_way_back() -> String {
    let step = |at: usize| format!("- {{id: s{at}, run: [ls], undo: {{run: [ls], requires: [a s{}]}}}}\n", at % 2);
    let steps: String = (0..8000).map(step).collect();
    let states = "{s0: {port: {port: 1}}, s1: {port: {port: 2}}}";
    format!("interlock: 1\nname: a\nsystems: {{a: {{states: {states}}}}}\nsteps:\n{steps}")
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
        ("one long sum", long_sum("title: \"{{ ", " }}\"")),
        ("one long condition", long_sum("steps: [{id: a, run: [ls], when: ", "}]")),
        ("many long conditions", many_long_conditions()),
        ("many long templates", many_long_templates()),
        ("blocks without end", format!("interlock: 1\nname: a\nsteps:\n{}", full("- block: []\n"))),
        ("blocks in blocks", blocks_in_blocks()),
        ("blocks that give much", blocks_that_give_much()),
        ("undos without end", format!("interlock: 1\nname: a\nsteps:\n{}", full("- undo: {undo: {}}\n"))),
        ("many locks", format!("interlock: 1\nname: a\nlocks: [{}]\n", "\"{{ a }}\", ".repeat(30_000))),
        ("a long way back", long_way_back()),
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

/// What reads expressions calls itself for each part of them: the longest that are let in do not exhaust its stack, in an
/// unoptimised build and in the smallest stack a thread of ours has.
#[test]
fn the_deepest_expressions_that_are_let_in_are_read() {
    let chains =
        ["~a", "+1", "-1", "/1", "|trim", ".b", "[0]", " and a", " or a", "==a", " in a", " if a", " if a else a"];
    let templates = chains.iter().map(|link| format!("{{{{ a{} }}}}", link.repeat(2000 / link.len())));
    let opened =
        ["(", "[", "not ", "-", "{1:"].iter().map(|open| format!("{{{{ {}a }}}}", open.repeat(2000 / open.len())));
    let ifs = [
        format!("{}{}", "{% if a %}".repeat(200), "{% endif %}".repeat(200)),
        format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(198)),
        format!("{{% if a %}}{}{{% endif %}}", "{% else %}{% if a %}".repeat(99)),
    ];
    for template in templates.chain(opened).chain(ifs) {
        let text = format!(
            "interlock: 1\nname: a\nparams: {{a: {{type: string, default: x}}}}\ntitle: '{template}'\n\
             steps: [{{id: one, run: [ls]}}]\n"
        );
        let source = Source::new("deep.yaml", text);
        let read = std::thread::Builder::new().stack_size(2 << 20).spawn(move || check(&source, &Given::nothing()));
        // What comes of it does not matter, but that something does.
        let _ = read.unwrap().join().unwrap();
    }
}

/// Each bound that keeps a runbook small, just passed.
#[test]
fn every_bound_on_the_size_of_a_runbook_is_kept() {
    let step = "steps: [{id: one, run: [ls]}]\n";
    let params: String = (0..257).map(|at| format!("  p{at}: {{type: int, default: 1}}\n")).collect();
    let labels: String = (0..33).map(|at| format!("  l{at}: x\n")).collect();
    let scripts: String = (0..300).map(|at| format!("- {{id: s{at}, script: ls}}\n")).collect();
    let locks = (0..65).map(|at| format!("l{at}")).collect::<Vec<_>>().join(", ");
    let long = "x".repeat(4097);
    let cases = [
        (format!("params:\n{params}{step}"), "a runbook has at most 256 parameters"),
        (format!("labels:\n{labels}{step}"), "a runbook has at most 32 labels"),
        (format!("labels: {{a: {}}}\n{step}", &long[..257]), "a runbook has at most 32 labels"),
        (format!("title: \"{{{{ {} }}}}\"\n{step}", "1 ".repeat(1100)), "an expression is longer than 2 KiB"),
        (format!("title: \"{{{{ 1{} }}}}\"\n{step}", "+1".repeat(101)), "an expression has more than 100"),
        (format!("title: \"{}\"\n{step}", "{% if 1 %}".repeat(201)), "the template has more than 200 statements"),
        (format!("locks: [{}]\n{step}", locks), "a runbook has at most 64 locks"),
        (format!("title: {long}\n{step}"), "expected a title of at most 4096 bytes, found 4097"),
        (
            format!("params: {{a: {{type: string, default: {}}}}}\nsteps:\n{scripts}", "x".repeat(60_000)),
            "the parameters of all scripts together take more than 16 MiB",
        ),
        (
            blocks_that_give_much().split_once("params").map(|(_, rest)| format!("params{rest}")).unwrap_or_default(),
            "what blocks and conditions give to all steps together takes more than 16 MiB",
        ),
        (
            many_long_templates().split_once("params").map(|(_, rest)| format!("params{rest}")).unwrap_or_default(),
            "all templates together become longer than 16 MiB",
        ),
        (
            format!(
                "params: {{a: {{type: string, default: {}}}}}\ntitle: \"{{{{ {}a }}}}\"\n{step}",
                "x".repeat(200_000),
                "a~".repeat(90)
            ),
            "long texts are put together too often",
        ),
        (format!("title: \"{}\"\n{step}", ",".repeat(300_000)), "more than 300000 commas, colons and brackets"),
    ];
    for (body, expected) in cases {
        let source = Source::new("big.yaml", format!("interlock: 1\nname: a\n{body}"));
        let mistakes = check(&source, &Given::nothing()).expect_err(expected);
        assert!(mistakes.iter().any(|mistake| mistake.message.contains(expected)), "{expected}: {mistakes:?}");
    }
}
