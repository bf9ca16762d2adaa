//! Going back and going on: undo, retry, halt, resume and abandon, on steps that write down what they did.

use serde_json::Value;

use crate::support::{Ran, Scratch, finish, until};

/// A scratch folder whose steps keep a book of what they did.
struct Case(Scratch);

impl Case {
    fn new() -> Self {
        Self(Scratch::new())
    }

    fn run(&self, head: &str, steps: &str, arguments: &[&str]) -> Ran {
        self.0.run(&self.runbook(head, steps), arguments)
    }

    /// `DIR` stands for the scratch folder and `WRITE x` for a line in the book.
    fn runbook(&self, head: &str, steps: &str) -> String {
        let states = ["one", "two", "three", "flag"]
            .map(|name| {
                format!(
                    "  {name}: {{states: {{made: {{file: {{path: DIR/{name}, state: present}}}}, gone: {{file: {{path: DIR/{name}, \
                     state: absent}}}}}}}}\n"
                )
            })
            .concat();
        format!("interlock: 1\nname: test\n{head}systems:\n{states}steps:\n{steps}")
            .replace("WRITE ", "echo >> DIR/book ")
            .replace("DIR", self.0.path().to_str().unwrap())
    }

    fn book(&self) -> Vec<String> {
        self.0.lines("book")
    }

    fn resume(&self, arguments: &[&str]) -> Ran {
        self.take_up("resume", arguments)
    }

    fn take_up(&self, how: &str, arguments: &[&str]) -> Ran {
        let run = self.0.the_open_run();
        self.0.interlock(&[&[how, run.as_str()], arguments].concat())
    }

    /// Nothing is open, and the log is whole.
    fn is_over(&self) {
        assert_eq!(self.0.open_runs(), Vec::<Value>::new());
        assert_eq!(self.0.interlock(&["audit", "verify"]).code, 0);
    }
}

fn last_line(ran: &Ran) -> &str {
    ran.stderr.trim_end().lines().last().unwrap_or_default()
}

const ONE: &str = "  - id: one\n    script: WRITE one; touch DIR/one\n    ensures: [one made]\n    undo: {script: WRITE undo-one; rm DIR/one, ensures: [one gone]}\n";
const TWO: &str = "  - id: two\n    script: WRITE two; touch DIR/two\n    requires: [one made]\n    ensures: [two made]\n    undo: {script: WRITE undo-two; rm DIR/two, requires: [one made], ensures: [two gone]}\n";
/// Does its work and then fails, until there is a file that lets it.
const THREE: &str = "  - id: three\n    script: WRITE three; touch DIR/three; test -e DIR/let-three\n    undo: {script: WRITE undo-three; rm DIR/three, ensures: [three gone]}\n";

#[test]
fn p13_a_failed_step_is_undone_with_all_before_it_the_last_first_and_verified() {
    let case = Case::new();
    let ran = case.run("on_failure: undo\n", &[ONE, TWO, THREE].concat(), &[]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert_eq!(case.book(), ["one", "two", "three", "undo-three", "undo-two", "undo-one"]);
    assert!(last_line(&ran).contains("undone"), "{}", ran.stderr);
    let done: Vec<(String, String)> = case
        .0
        .entries()
        .iter()
        .filter(|entry| entry["event"] == "step_done" && entry["data"]["way"] == "back")
        .map(|entry| {
            let data = &entry["data"];
            (data["step"].as_str().unwrap().to_owned(), data["ensures"][0]["fact"].as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [("three", "three gone"), ("two", "two gone"), ("one", "one gone")];
    assert_eq!(done, expected.map(|(step, fact)| (step.to_owned(), fact.to_owned())));
    assert_eq!(case.0.last("undo_began")["by"], "rule");
    assert_eq!(case.0.last("run_undone")["undone"], 3);
    case.is_over();
}

#[test]
fn p13_an_undo_that_fails_says_what_is_left_and_can_be_tried_again() {
    for (broken, words) in [
        ("script: WRITE undo-two; test -e DIR/let-undo && rm DIR/two", "it exited with 1"),
        ("script: WRITE undo-two; test ! -e DIR/let-undo || rm DIR/two", "did not come true"),
    ] {
        let case = Case::new();
        let two = TWO.replace("script: WRITE undo-two; rm DIR/two", &format!("within: 100ms, {broken}"));
        let ran = case.run("on_failure: undo\n", &[ONE, &two, THREE].concat(), &[]);
        assert_eq!(ran.code, 10, "{}", ran.stderr);
        assert_eq!(
            case.book(),
            ["one", "two", "three", "undo-three", "undo-two"],
            "what is in front of it is left alone"
        );
        assert!(ran.stderr.contains(words) && last_line(&ran).contains("`two`"), "{}", ran.stderr);
        assert_eq!(case.0.last("run_halted")["cause"], "undo_failed");
        let open = &case.0.open_runs()[0];
        assert_eq!(open["state"], "halted");
        assert_eq!(open["left"], serde_json::json!(["one made", "three gone", "two made"]));
        let human = case.0.interlock(&["status"]).stdout;
        assert!(human.contains("one made, three gone, two made") && human.contains("interlock undo"), "{human}");
        // Again, still not.
        assert_eq!(case.take_up("undo", &[]).code, 10);
        case.0.write("let-undo", "");
        let ran = case.take_up("undo", &[]);
        assert_eq!(ran.code, 0, "what was asked for was done: {}", ran.stderr);
        let expected = ["one", "two", "three", "undo-three", "undo-two", "undo-two", "undo-two", "undo-one"];
        assert_eq!(case.book(), expected);
        case.is_over();
    }
}

#[test]
fn p13_an_irreversible_step_is_confirmed_before_it_starts_and_undo_ends_there() {
    let case = Case::new();
    let point = "  - {id: point, irreversible: true, script: WRITE point}\n";
    let steps = [ONE, point, TWO, THREE].concat();
    for wrong in [&[][..], &["--confirm", "point=yes"]] {
        let ran = case.run("on_failure: undo\n", &steps, wrong);
        assert_eq!(ran.code, 6, "{}", ran.stderr);
        assert!(ran.stderr.contains("--confirm point="), "{}", ran.stderr);
        assert_eq!(case.book(), Vec::<String>::new(), "nothing was started");
    }
    let ran = case.run("on_failure: undo\n", &steps, &["--confirm", "point=point"]);
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    assert_eq!(case.book(), ["one", "point", "two", "three", "undo-three", "undo-two"]);
    assert!(ran.stderr.contains("irreversible") && last_line(&ran).contains("`point`"), "{}", ran.stderr);
    assert_eq!(case.0.open_runs()[0]["left"], serde_json::json!(["one made", "three gone", "two gone"]));
    let ran = case.take_up("undo", &[]);
    assert_eq!(ran.code, 10, "it ends there again, and nothing is done twice: {}", ran.stderr);
    assert_eq!(case.book().len(), 6);
    assert_eq!(case.take_up("abandon", &["--reason", "left as it is"]).code, 0);
    case.is_over();
}

#[test]
fn p13_what_was_so_already_or_not_applicable_is_not_undone() {
    let case = Case::new();
    case.0.write("one", "");
    let one = ONE.replace("    ensures: [one made]\n", "    ensures: [one made]\n    if_ensured: pass\n");
    let left_out = "  - id: left-out\n    when: port > 6000\n    script: WRITE left-out\n    undo: {script: WRITE undo-left-out}\n";
    let head = "params: {port: {type: port, default: 5432}}\non_failure: undo\n";
    let ran = case.run(head, &[&one, left_out, TWO, THREE].concat(), &[]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert_eq!(case.book(), ["two", "three", "undo-three", "undo-two"]);
    assert!(case.0.path().join("one").exists());
    case.is_over();
}

#[test]
fn a_step_whose_condition_is_not_met_is_not_applicable_with_the_values_seen() {
    let case = Case::new();
    let head = "params: {port: {type: port, default: 5432}}\n";
    let steps = "  - id: a\n    when: port > 6000\n    script: WRITE a\n  - {id: b, script: WRITE b}\n";
    let ran = case.run(head, steps, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(case.book(), ["b"]);
    let event = case.0.last("step_not_applicable");
    assert_eq!(event["step"], "a");
    assert_eq!(event["expression"], "port > 6000");
    assert_eq!(event["values"], serde_json::json!({"port": "5432"}));
    assert_eq!(case.0.last("run_completed")["not_applicable"], 1);
    assert_eq!(case.run(head, steps, &["-p", "port=7000"]).code, 0);
    assert_eq!(case.book(), ["b", "a", "b"]);
}

#[test]
fn retry_attempts_again_and_looks_afresh_at_what_is_required() {
    let case = Case::new();
    let step = |script: &str| {
        format!("  - id: try\n    requires: [flag made]\n    retry: {{times: 2, every: 1ms}}\n    script: {script}\n")
    };
    case.0.write("flag", "");
    let third_time = "WRITE try; test $(grep -c . DIR/book) -ge 3";
    let ran = case.run("", &step(third_time), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(case.book().len(), 3);
    let looked: Vec<Value> = case
        .0
        .entries()
        .into_iter()
        .filter(|entry| entry["event"] == "step_intended")
        .map(|entry| entry["data"].clone())
        .collect();
    assert_eq!(looked.len(), 3);
    for (intended, attempt) in looked.iter().zip(1..) {
        assert_eq!(intended["attempt"], attempt);
        assert_eq!(intended["requires"][0]["verdict"], "holds");
    }
    assert_eq!(case.0.last("step_retried")["by"], "rule");

    let case = Case::new();
    case.0.write("flag", "");
    let ran = case.run("", &step("WRITE try; exit 1"), &[]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert_eq!(case.book().len(), 3, "the first attempt and two more");
    assert_eq!(case.0.last("run_halted")["cause"], "step_failed");
}

#[test]
fn p13_a_held_fact_that_breaks_under_a_step_is_undone_by_rule() {
    let case = Case::new();
    case.0.write("flag", "");
    let change = "  - id: change\n    requires: [flag made]\n    script: WRITE change; touch DIR/two; rm DIR/flag; sleep 60\n    undo: {script: WRITE undo-change; rm DIR/two, ensures: [two gone]}\n";
    let ran = case.run("on_failure: undo\n", &[ONE, change].concat(), &[]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert_eq!(case.book(), ["one", "change", "undo-change", "undo-one"]);
    assert_eq!(case.0.last("hold_broken")["sight"]["fact"], "flag made");
    case.is_over();
}

#[test]
fn p03_a_fact_that_a_later_step_needs_is_held_and_its_break_is_undone_by_rule() {
    let case = Case::new();
    let breaks = "  - {id: breaks, script: WRITE breaks; rm DIR/one; sleep 60}\n";
    let ran = case.run("on_failure: undo\n", &[&ONE.replace("rm DIR/one,", "true,"), breaks, TWO].concat(), &[]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert_eq!(case.book(), ["one", "breaks", "undo-one"]);
    assert_eq!(case.0.last("hold_broken")["step"], "breaks");
    assert_eq!(case.0.last("run_undone")["kept"], 1);
    case.is_over();
}

#[test]
fn p13_without_a_rule_a_failed_step_halts_and_undo_takes_it_back() {
    let case = Case::new();
    let ran = case.run("", &[ONE, TWO, THREE].concat(), &[]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert_eq!(case.book(), ["one", "two", "three"]);
    assert!(
        last_line(&ran).contains("interlock resume") && last_line(&ran).contains("interlock undo"),
        "{}",
        ran.stderr
    );
    let open = &case.0.open_runs()[0];
    assert_eq!(open["state"], "halted");
    assert_eq!(open["doubt"], Value::Null);
    assert_eq!(open["left"], serde_json::json!(["one made", "two made"]));
    let ran = case.take_up("undo", &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(case.book()[3..], ["undo-three", "undo-two", "undo-one"]);
    assert_eq!(case.0.last("undo_began")["by"], "person");
    case.is_over();
}

#[test]
fn p07_resume_attempts_the_failed_step_again_and_repeats_nothing_else() {
    let case = Case::new();
    let four = "  - {id: four, script: WRITE four}\n";
    assert_eq!(case.run("", &[ONE, TWO, THREE, four].concat(), &[]).code, 7);
    let run = case.0.the_open_run();
    assert_eq!(case.resume(&[]).code, 7, "it fails again");
    case.0.write("let-three", "");
    let ran = case.resume(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(case.book(), ["one", "two", "three", "three", "three", "four"]);
    case.is_over();
    for again in ["resume", "undo"] {
        let ran = case.0.interlock(&[again, &run]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("no open run"), "{}", ran.stderr);
    }
    assert_eq!(case.0.interlock(&["abandon", &run, "--reason", "x"]).code, 2);
}

#[test]
fn resume_goes_by_the_plan_it_was_started_with() {
    let case = Case::new();
    assert_eq!(case.run("", &[ONE, TWO, THREE].concat(), &[]).code, 7);
    case.0.write("runbook.yaml", "interlock: 1\nname: other\nsteps:\n  - {id: x, run: [\"false\"]}\n");
    case.0.write("let-three", "");
    let plan = case.0.home().join("runs").join(case.0.the_open_run()).join("plan.yaml");
    let kept = std::fs::read_to_string(&plan).unwrap();
    std::fs::write(&plan, kept.replace("three", "thr3e")).unwrap();
    let ran = case.resume(&[]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("is not the plan"), "{}", ran.stderr);
    assert_eq!(case.book().len(), 3, "nothing is done by a plan that was changed");
    std::fs::write(&plan, kept).unwrap();
    assert_eq!(case.resume(&[]).code, 0);
}

#[test]
fn p02_resume_looks_at_every_held_fact_before_anything_else() {
    let case = Case::new();
    let three = THREE.replace("  - id: three\n", "  - id: three\n    requires: [one made]\n");
    assert_eq!(case.run("", &[ONE, TWO, &three].concat(), &[]).code, 7);
    std::fs::remove_file(case.0.path().join("one")).unwrap();
    let ran = case.resume(&[]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("one made"), "{}", ran.stderr);
    assert_eq!(case.book(), ["one", "two", "three"], "nothing was started");
    assert_eq!(case.0.open_runs()[0]["state"], "halted", "and the run is not lost");
    case.0.write("one", "");
    case.0.write("let-three", "");
    assert_eq!(case.resume(&[]).code, 0);
}

#[test]
fn p11_two_resumes_at_once_do_not_overlap() {
    let case = Case::new();
    let gate = "  - id: gate\n    script: |\n      mkdir DIR/inside\n      test -e DIR/let-three || { rmdir DIR/inside; exit 1; }\n      while ! test -e DIR/go; do sleep 0.01; done\n      rmdir DIR/inside\n";
    assert_eq!(case.run("", gate, &[]).code, 7);
    let run = case.0.the_open_run();
    case.0.write("let-three", "");
    let mut both: Vec<_> = (0..2).map(|_| case.0.command(&["resume", &run]).spawn().unwrap()).collect();
    let mut lost = None;
    until("one of them is refused", || {
        lost = both.iter_mut().position(|child| child.try_wait().unwrap().is_some());
        lost.is_some()
    });
    let refused = finish(both.remove(lost.unwrap()));
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains(&run) && refused.stderr.contains("going on now"), "{}", refused.stderr);
    until("the other is inside", || case.0.path().join("inside").exists());
    assert_eq!(case.0.open_runs()[0]["state"], "running");
    for command in [&["undo", &run][..], &["abandon", &run, "--reason", "x"]] {
        assert_eq!(case.0.interlock(command).code, 5, "{command:?}");
    }
    case.0.write("go", "");
    let won = finish(both.remove(0));
    assert_eq!(won.code, 0, "{}", won.stderr);
    case.is_over();
}

#[test]
fn p13_abandon_needs_a_reason_and_keeps_it() {
    let case = Case::new();
    let head = "locks: [\"DIR\"]\n";
    assert_eq!(case.run(head, THREE, &[]).code, 7);
    let ran = case.run(head, THREE, &[]);
    assert_eq!(ran.code, 5, "the halted run holds the lock: {}", ran.stderr);
    let run = case.0.the_open_run();
    assert!(ran.stderr.contains(&format!("interlock abandon {run}")), "{}", ran.stderr);
    assert_eq!(case.0.interlock(&["abandon", &run]).code, 2);
    assert_eq!(case.0.interlock(&["abandon", &run, "--reason", " "]).code, 2);
    assert_eq!(case.0.the_open_run(), run);
    let ran = case.0.interlock(&["abandon", &run, "--reason", "restored from the backup"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(case.0.last("run_abandoned")["reason"], "restored from the backup");
    assert_eq!(case.book(), ["three"], "nothing more was done");
    case.is_over();
    case.0.write("let-three", "");
    assert_eq!(case.run(head, THREE, &[]).code, 0, "the lock is free");
}

#[test]
fn a_manual_undo_needs_its_answer_and_takes_it() {
    let case = Case::new();
    let manual = "  - id: call\n    script: WRITE call\n    undo: {manual: Call them again}\n";
    assert_eq!(case.run("", &[ONE, manual, THREE].concat(), &[]).code, 7);
    let ran = case.take_up("undo", &[]);
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    assert!(case.0.path().join("one").exists(), "what is in front of it is left alone");
    let ran = case.take_up("undo", &["--attest", "call=called at 03:12"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(case.0.last("answered")["answer"], "called at 03:12");
    case.is_over();
}
