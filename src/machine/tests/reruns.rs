//! A step that is run again after a fact that it had ensured broke: what may be, what follows, and what the fold refuses.

use super::*;
use crate::history::event::DecidedBy;
use crate::history::state::Resumed;
use crate::machine::Choice;

/// `stop` ensures `a down`, which `change` needs; each can be taken back.
fn steps() -> Vec<Step> {
    let stop = Step { way_back: undo(run_action(), &[], &["a up"]), ..step("stop", run_action(), &[], &["a down"]) };
    let change = step("change", run_action(), &["a down"], &[]);
    vec![stop, Step { way_back: undo(run_action(), &["a down"], &[]), ..change }]
}

/// A run whose last step was stopped in its middle by the break of what the first had ensured.
fn broken_under(steps: Vec<Step>, break_of: &str) -> Rehearsed {
    let last = steps.len() - 1;
    let mut run = opened(procedure(&[], steps));
    while run.state.phase != (Phase::Acting { step: last }) {
        all_hold(&mut run);
    }
    run.feed(broken(&fact(break_of))).unwrap();
    all_hold(&mut run);
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::HoldBroken)));
    assert!(run.state.broken.contains(&fact(break_of)));
    run
}

impl Rehearsed {
    fn take_up(&mut self, rerun: &[&str], decided: &[(&str, Choice)]) {
        self.settings.decided = decided.iter().map(|(step, choice)| (id(step), *choice)).collect();
        self.die_and_resume(Purpose::GoOn, rerun.iter().map(|step| id(step)).collect()).unwrap();
    }

    /// What is looked at next does not hold.
    fn is_broken(&mut self) {
        self.answer(7).unwrap();
    }

    /// The names of the events since the run was taken up last.
    fn names_since(&self) -> Vec<String> {
        let at = self.events.iter().rposition(|event| matches!(event, Event::RunResumed { .. })).unwrap_or(0);
        names(self).split_off(at)
    }

    fn rehearse_to_the_end(&mut self) {
        while self.finished == 0 {
            all_hold(self);
        }
    }

    fn last_reason(&self) -> &str {
        match self.events.last() {
            Some(Event::RunHalted { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn p03_after_a_broken_fact_the_step_that_had_ensured_it_is_run_again_before_the_stopped_one() {
    let mut run = broken_under(steps(), "a down");
    run.take_up(&["stop"], &[("change", Choice::Retry)]);
    run.is_broken();
    run.rehearse_to_the_end();
    assert_eq!(
        run.names_since(),
        [
            "run_resumed",
            "rerun_began",
            "step_intended",
            "step_ended",
            "step_done",
            "step_retried",
            "step_intended",
            "step_ended",
            "step_done",
            "run_completed"
        ]
    );
    let again: Vec<&Event> =
        run.events.iter().filter(|event| matches!(event, Event::StepIntended { way: Way::Again, .. })).collect();
    let [Event::StepIntended { step, attempt: 2, .. }] = again.as_slice() else { panic!("{again:?}") };
    assert_eq!(step, &id("stop"));
    assert!(run.state.broken.is_empty());
    assert_eq!(run.state.attempts(0), 2);
}

#[test]
fn what_was_run_again_is_taken_back_once() {
    let mut run = broken_under(steps(), "a down");
    run.take_up(&["stop"], &[("change", Choice::Undo)]);
    run.is_broken();
    run.rehearse_to_the_end();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Undone));
    let back = |event: &Event| match event {
        Event::StepDone { step, way: Way::Back, .. } => Some(step.to_string()),
        _ => None,
    };
    assert_eq!(run.events.iter().filter_map(back).collect::<Vec<_>>(), ["change", "stop"]);
}

#[test]
fn what_was_already_so_and_is_run_again_is_this_runs_to_take_back() {
    let mut steps = steps();
    steps[0].if_ensured = IfEnsured::Pass;
    let mut run = broken_under(steps, "a down");
    assert_eq!(run.state.attempts(0), 0, "it was already so");
    run.take_up(&["stop"], &[("change", Choice::Undo)]);
    run.is_broken();
    // The look before it: what it ensures is broken, so it runs.
    run.is_broken();
    run.rehearse_to_the_end();
    let Some(Event::RunUndone { undone, kept }) = run.events.last() else { panic!("{:?}", run.events.last()) };
    assert_eq!((*undone, *kept), (2, 0));
}

#[test]
fn a_step_that_is_run_again_passes_if_it_is_already_so_and_says_so() {
    let mut steps = steps();
    steps[0].if_ensured = IfEnsured::Pass;
    let mut run = broken_under(steps, "a down");
    run.take_up(&["stop"], &[("change", Choice::Retry)]);
    run.is_broken();
    run.rehearse_to_the_end();
    assert_eq!(run.names_since()[..3], ["run_resumed", "rerun_began", "step_already"]);
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Completed));
}

#[test]
fn what_holds_again_is_not_run_again() {
    let mut run = broken_under(steps(), "a down");
    run.take_up(&["stop"], &[("change", Choice::Retry)]);
    run.rehearse_to_the_end();
    assert_eq!(run.names_since()[..3], ["run_resumed", "rerun_not_needed", "step_retried"]);
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Completed));
    assert_eq!(run.state.attempts(0), 1);
}

#[test]
fn p03_what_a_step_that_is_run_again_requires_is_looked_at_and_held() {
    let two = || {
        vec![
            step("stop-b", run_action(), &[], &["b down"]),
            step("stop-a", run_action(), &["b down"], &["a down"]),
            step("change", run_action(), &["a down"], &[]),
        ]
    };
    let mut run = broken_under(two(), "a down");
    run.take_up(&["stop-a"], &[]);
    run.is_broken();
    let held = run.open.iter().any(|open| matches!(open, Effect::Prepare { requires, hold, .. } if *requires == [fact("b down")] && hold == requires));
    assert!(held, "{:?}", run.open);
    run.is_broken();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::FactDoesNotHold)));
    assert!(run.last_reason().contains("`stop-a`") && run.last_reason().contains("`b down`"), "{}", run.last_reason());
    // Nothing of it was begun, so nothing of it is open; what it requires can be brought about in the same way.
    run.take_up(&["stop-a", "stop-b"], &[("change", Choice::Retry)]);
    assert_eq!(run.state.again, None);
    run.is_broken();
    all_hold(&mut run);
    all_hold(&mut run);
    all_hold(&mut run);
    run.is_broken();
    run.answer(0).unwrap();
    run.feed(broken(&fact("b down"))).unwrap();
    assert_eq!(run.told, Some(Ending::Stopped), "it is held while the step runs");
    all_hold(&mut run);
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::HoldBroken)));
    let order: Vec<String> = run
        .events
        .iter()
        .filter_map(|event| match event {
            Event::RerunBegan { step, .. } => Some(step.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["stop-a", "stop-b", "stop-a"], "in the plan's order, whatever the order they were given in");
}

#[test]
fn other_holds_are_not_in_force_while_a_step_is_run_again() {
    let two = vec![
        step("stop-a", run_action(), &[], &["a down"]),
        step("stop-b", run_action(), &[], &["b down"]),
        step("change", run_action(), &["a down", "b down"], &[]),
    ];
    let mut run = broken_under(two, "a down");
    run.take_up(&["stop-a"], &[]);
    run.is_broken();
    all_hold(&mut run);
    run.feed(broken(&fact("b down"))).unwrap();
    assert_eq!(run.told, None);
    assert!(!names(&run).ends_with(&["hold_broken".to_owned()]));
}

#[test]
fn p13_a_step_that_is_run_again_and_fails_halts_whatever_the_rule_and_can_be_resumed() {
    let mut run = broken_under(steps(), "a down");
    run.procedure.plan.runbook.on_failure = OnFailure::Undo;
    run.take_up(&["stop"], &[("change", Choice::Retry)]);
    run.is_broken();
    all_hold(&mut run);
    run.answer(7).unwrap();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::StepFailed)));
    let Some(Event::RunHalted { step, .. }) = run.events.last() else { panic!("{:?}", run.events.last()) };
    assert_eq!(step.as_ref(), Some(&id("stop")));
    // It was begun, so it has to end well: nothing passes over it.
    run.take_up(&[], &[("change", Choice::Retry)]);
    run.rehearse_to_the_end();
    assert_eq!(run.names_since()[..3], ["run_resumed", "step_retried", "step_intended"]);
    assert_eq!(run.state.attempts(0), 3);
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Completed));
}

#[test]
fn a_step_that_is_run_again_has_its_retries_anew() {
    let mut steps = steps();
    steps[0].retry = Some(Retry { times: 1, every: Duration::from_secs(1), backoff: 1 });
    let mut run = broken_under(steps, "a down");
    run.take_up(&["stop"], &[]);
    run.is_broken();
    for _ in 0..2 {
        all_hold(&mut run);
        run.answer(7).unwrap();
        if run.finished == 0 {
            let retried = matches!(run.events.last(), Some(Event::StepRetried { by: DecidedBy::Rule, .. }));
            assert!(retried, "{:?}", run.events.last());
            all_hold(&mut run);
        }
    }
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::StepFailed)));
    assert_eq!(run.state.attempts(0), 3);
}

#[test]
fn p07_killed_while_a_step_is_run_again_that_step_is_in_doubt_and_its_rule_or_a_person_decides() {
    for (rule, decided, expected) in [
        (InDoubt::Ask, None, RunVerdict::Halted(Cause::PersonNeeded)),
        (InDoubt::Retry, None, RunVerdict::Completed),
        (InDoubt::Undo, None, RunVerdict::Undone),
        (InDoubt::Ask, Some(Choice::Retry), RunVerdict::Completed),
        (InDoubt::Ask, Some(Choice::Undo), RunVerdict::Undone),
    ] {
        let mut steps = steps();
        steps[0].in_doubt = rule;
        let mut run = broken_under(steps, "a down");
        run.take_up(&["stop"], &[]);
        run.is_broken();
        all_hold(&mut run);
        assert!(run.running);
        let mut decisions = vec![("change", Choice::Retry)];
        decisions.extend(decided.map(|choice| ("stop", choice)));
        run.take_up(&[], &decisions);
        run.rehearse_to_the_end();
        assert_eq!(run.state.phase, Phase::Over(expected), "{rule:?} {decided:?}");
        if expected == RunVerdict::Halted(Cause::PersonNeeded) {
            assert!(run.last_reason().contains("--decide stop=retry"), "{}", run.last_reason());
            assert!(run.state.again.is_some(), "it stays in doubt until somebody decides");
        }
    }
}

#[test]
fn nobody_at_a_terminal_is_told_what_to_type() {
    let mut run = broken_under(steps(), "a down");
    run.take_up(&[], &[]);
    run.is_broken();
    let reason = run.last_reason();
    assert!(reason.contains("`a down`, which is needed here, does not hold"), "{reason}");
    assert!(reason.contains("--rerun stop ") && reason.contains("--decide change=retry"), "{reason}");
}

#[test]
fn a_person_at_the_terminal_is_asked_before_the_step_in_doubt_is_decided_on() {
    for (answer, expected) in [
        ("again", &["answered", "rerun_began", "step_intended", "step_ended", "step_done"][..]),
        ("leave", &["answered"]),
        ("no", &["declined", "run_halted"]),
    ] {
        let mut run = broken_under(steps(), "a down");
        run.settings.people = People::Terminal;
        run.take_up(&[], &[]);
        run.is_broken();
        let [Effect::Ask { step, question: Question::RunAgain, ask, .. }] = run.open.as_slice() else {
            panic!("{:?}", run.open);
        };
        assert!(ask.contains("`a down` does not hold") && ask.contains("Run step `stop` again (true)"), "{ask}");
        let (step, ask, question, words) = (step.clone(), ask.clone(), Question::RunAgain, answer.to_owned());
        run.open.clear();
        run.feed(Input::Answered(Reply { step, question, ask, words, by: AnsweredBy::Terminal })).unwrap();
        if answer == "again" {
            run.is_broken();
            for _ in 0..3 {
                all_hold(&mut run);
            }
        }
        assert_eq!(run.names_since()[1..], *expected, "{answer}");
        if answer == "no" {
            continue;
        }
        // Then the person decides about the other.
        let asked = matches!(run.open.as_slice(), [Effect::Ask { question: Question::WhatNext, .. }]);
        assert!(asked, "{answer}: {:?}", run.open);
    }
}

#[test]
fn a_step_that_asks_is_run_again_only_with_its_answers_where_there_is_no_terminal() {
    let mut steps = steps();
    steps[0].action = Action::Manual("stop it".to_owned());
    let mut run = broken_under(steps, "a down");
    run.settings.people = People::Nobody(Answers::default());
    run.take_up(&["stop"], &[]);
    run.is_broken();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::PersonNeeded)));
    assert!(run.last_reason().contains("--attest stop=…"), "{}", run.last_reason());
    run.settings.people = People::Nobody(every_answer(&run.procedure));
    run.take_up(&["stop"], &[("change", Choice::Retry)]);
    run.is_broken();
    run.rehearse_to_the_end();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Completed));
}

#[test]
fn going_back_that_met_a_broken_fact_goes_on_once_that_is_ensured_again() {
    let mut run = broken_under(steps(), "a down");
    run.die_and_resume(Purpose::TakeBack, Vec::new()).unwrap();
    run.is_broken();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::UndoFailed)));
    run.die_and_resume(Purpose::TakeBack, vec![id("stop")]).unwrap();
    run.is_broken();
    run.rehearse_to_the_end();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Undone));
    assert_eq!(run.names_since()[..5], ["run_resumed", "rerun_began", "step_intended", "step_ended", "step_done"]);

    // Killed meanwhile, it is no more in doubt than the undo that is still to come makes it.
    let mut run = broken_under(steps(), "a down");
    run.die_and_resume(Purpose::TakeBack, Vec::new()).unwrap();
    run.is_broken();
    run.die_and_resume(Purpose::TakeBack, vec![id("stop")]).unwrap();
    run.is_broken();
    all_hold(&mut run);
    assert!(run.running);
    run.die_and_resume(Purpose::TakeBack, Vec::new()).unwrap();
    run.rehearse_to_the_end();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Undone));
}

#[test]
fn only_a_step_that_made_what_is_broken_now_may_be_run_again() {
    let steps = vec![
        step("first", run_action(), &[], &["a down"]),
        step("twice", run_action(), &[], &["a down"]),
        step("says-nothing", run_action(), &[], &[]),
        step("both", run_action(), &[], &["a down", "b down"]),
        step("b-up", run_action(), &[], &["b up"]),
        step("last", run_action(), &["a down", "b up"], &["b up"]),
    ];
    let run = broken_under(steps, "a down");
    let why = |step: &str| rerun::may_run_again(&run.procedure, &run.state, &id(step)).unwrap_err();
    assert!(why("nowhere").contains("no step"), "{}", why("nowhere"));
    assert!(why("last").contains("was not done"), "{}", why("last"));
    assert!(why("says-nothing").contains("ensures nothing"), "{}", why("says-nothing"));
    assert!(why("both").contains("step `last` has set out to make it `b up`"), "{}", why("both"));
    let would_do = |broken: &str| rerun::that_would_do(&run.procedure, &run.state, |other| *other == fact(broken));
    assert_eq!(would_do("a down"), [], "`both` was the last to ensure it, and may not");
    assert_eq!(would_do("b up"), [id("b-up")]);
    assert_eq!(would_do("b down"), []);
}

#[test]
fn the_fold_refuses_an_illegal_rerun() {
    let halted = broken_under(steps(), "a down");
    let mut taken_up = broken_under(steps(), "a down");
    taken_up.take_up(&["stop"], &[]);
    assert_eq!(taken_up.state.resumed, Resumed::JustNow);
    let begin = |step: &str, verdict: Verdict| Event::RerunBegan {
        step: id(step),
        by: AnsweredBy::CommandLine,
        seen: vec![sight(&fact("a down"), verdict)],
    };
    let why = |state: &State, event: &Event| {
        let mut after = state.clone();
        let refused = after.apply(event).unwrap_err().to_string();
        assert_eq!(after, *state, "a refused event changes nothing");
        refused
    };
    let stands = &taken_up.state;
    assert!(why(&halted.state, &begin("stop", Verdict::Broken)).contains("not right after"), "while it is halted");
    assert!(why(stands, &begin("change", Verdict::Broken)).contains("was not done"));
    assert!(why(stands, &begin("nowhere", Verdict::Broken)).contains("was not done"));
    assert!(why(stands, &begin("stop", Verdict::Holds)).contains("everything it ensures holds"));
    let not_needed = Event::RerunNotNeeded { step: id("stop"), seen: vec![sight(&fact("a down"), Verdict::Unknown)] };
    assert!(why(stands, &not_needed).contains("does not hold"));
    let intended = |way: Way, step: &str, attempt: u32| Event::StepIntended {
        step: id(step),
        way,
        attempt,
        action: String::new(),
        program: None,
        requires: Vec::new(),
        waived: Vec::new(),
    };
    assert!(why(stands, &intended(Way::Again, "stop", 2)).contains("before that began"));

    let mut began = stands.clone();
    began.apply(&begin("stop", Verdict::Broken)).unwrap();
    assert!(why(&began, &begin("stop", Verdict::Broken)).contains("not right after"), "it has begun already");
    assert!(why(&began, &intended(Way::Forward, "change", 2)).contains("while one was being run again"));
    assert!(why(&began, &intended(Way::Again, "change", 2)).contains("out of order"));
    assert!(why(&began, &intended(Way::Again, "stop", 1)).contains("does not follow"), "attempts count on");
    began.apply(&intended(Way::Again, "stop", 2)).unwrap();
    let undo_began = Event::UndoBegan { by: DecidedBy::Person, reason: String::new(), steps: 2, kept: 0 };
    assert!(why(&began, &undo_began).contains("while a step was open"));
    let done = Event::StepDone {
        step: id("stop"),
        way: Way::Again,
        attempt: 2,
        ensures: Vec::new(),
        replaced: BTreeMap::new(),
    };
    assert!(why(&began, &done).contains("not seen to end well"));

    // Once something else was done, it is too late.
    let mut gone_on = stands.clone();
    let retried = Event::StepRetried { step: id("change"), by: DecidedBy::Person, pause_millis: 0 };
    for event in [retried, intended(Way::Forward, "change", 2)] {
        gone_on.apply(&event).unwrap();
    }
    assert!(why(&gone_on, &begin("stop", Verdict::Broken)).contains("not right after"));
}
