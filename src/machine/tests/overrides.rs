//! Deviations: what an override lets the machine do, and nothing more.

use super::*;
use crate::machine::Choice;

fn given(deviation: Deviation) -> Override {
    Override {
        request: Some(Digest::of(format!("{deviation:?}").as_bytes())),
        deviation,
        reason: "the disk was changed by hand".to_owned(),
        asked_by: "amy".to_owned(),
        self_approved: Some(AnsweredBy::CommandLine),
        approved_by: Vec::new(),
    }
}

fn skip(step: &str) -> Override {
    given(Deviation::Skip { step: id(step) })
}

fn failed() -> Input {
    let ending = Ending::Exited { code: 1 };
    Input::Ended { ending, took: Duration::ZERO, output: None, leftovers: Vec::new() }
}

fn nobody() -> People {
    People::Nobody(Answers::default())
}

/// Three steps: `a` brings `a down` about, `b` needs nothing, `c` needs `a down`.
fn three() -> Procedure {
    procedure(
        &[],
        vec![
            step("a", run_action(), &[], &["a down"]),
            step("b", run_action(), &[], &[]),
            step("c", run_action(), &["a down"], &[]),
        ],
    )
}

fn opened_with(procedure: Procedure, overrides: Vec<Override>) -> Rehearsed {
    let mut run = Rehearsed::new(procedure, Pace::Straight, nobody());
    run.feed(Input::Open(Opening { overrides, ..opening() })).unwrap();
    run
}

fn names(run: &Rehearsed) -> Vec<&'static str> {
    run.events
        .iter()
        .map(|event| match event {
            Event::OverrideAccepted(_) => "accepted",
            Event::OverrideRefused { .. } => "refused",
            Event::StepSkipped { .. } => "skipped",
            Event::StepAccepted { .. } => "counts as done",
            Event::WaivedFactSeen { .. } => "waived fact seen",
            Event::StepIntended { .. } => "intended",
            Event::RunHalted { .. } => "halted",
            Event::RunRefused { .. } => "run refused",
            Event::RunCompleted { .. } => "completed",
            _ => "",
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn p05_a_skipped_step_is_passed_over_and_what_it_was_to_ensure_is_looked_at_by_who_needs_it() {
    let mut run = opened_with(three(), vec![skip("a")]);
    assert_eq!(names(&run), ["accepted", "skipped"]);
    let Some(Effect::Prepare { step: 1, requires, hold, .. }) = run.open.last() else { panic!("{:?}", run.open) };
    assert!(requires.is_empty() && hold.is_empty(), "`b` does not need what `a` was to ensure");
    all_hold(&mut run);
    all_hold(&mut run);
    let Some(Effect::Prepare { step: 2, requires, hold, .. }) = run.open.last() else { panic!("{:?}", run.open) };
    assert_eq!((requires.as_slice(), hold.as_slice()), ([fact("a down")].as_slice(), [fact("a down")].as_slice()));
    run.answer(7).unwrap();
    assert_eq!(
        run.state.phase,
        Phase::Over(RunVerdict::Halted(Cause::FactDoesNotHold)),
        "it never held, so it did not break"
    );
}

#[test]
fn p05_a_run_with_a_deviation_says_so_at_its_end() {
    let mut run = opened_with(three(), vec![skip("a")]);
    while !matches!(run.state.phase, Phase::Over(_)) {
        all_hold(&mut run);
    }
    let Some(Event::RunCompleted { done, skipped, accepted, deviations, .. }) = run.events.last() else {
        panic!("{:?}", run.events.last())
    };
    assert_eq!((*done, *skipped, *accepted, *deviations), (2, 1, 0, 1));
}

#[test]
fn p05_the_last_step_can_be_skipped_too() {
    let mut run = opened_with(three(), vec![skip("c"), skip("b")]);
    while !matches!(run.state.phase, Phase::Over(_)) {
        all_hold(&mut run);
    }
    let Some(Event::RunCompleted { done, skipped, deviations, .. }) = run.events.last() else { panic!() };
    assert_eq!((*done, *skipped, *deviations), (1, 2, 2));
}

#[test]
fn p05_a_step_that_says_never_has_no_override() {
    let mut procedure = three();
    procedure.plan.runbook.steps[0].overrides = OverrideRule::Never;
    let run = opened_with(procedure, vec![skip("a")]);
    assert_eq!(names(&run), ["refused"]);
    assert!(matches!(run.open.last(), Some(Effect::Prepare { step: 0, .. })), "it is done as written");
}

#[test]
fn p05_a_waiver_is_of_one_attempt_and_what_the_fact_shows_is_recorded() {
    let waived = given(Deviation::Waive { step: id("c"), fact: fact("a down") });
    let mut run = opened_with(three(), vec![skip("a"), waived]);
    all_hold(&mut run);
    all_hold(&mut run);
    let Some(Effect::Prepare { step: 2, hold, observe, .. }) = run.open.last() else { panic!("{:?}", run.open) };
    assert_eq!((hold.as_slice(), observe.as_slice()), ([].as_slice(), [fact("a down")].as_slice()));
    run.answer(7).unwrap();
    let Some(Event::StepIntended { requires, waived, .. }) = run.events.last() else { panic!("{:?}", run.events) };
    assert_eq!(requires[0].verdict, Verdict::Broken);
    assert_eq!(*waived, [fact("a down")]);
    run.feed(broken(&fact("a down"))).unwrap();
    assert_eq!(names(&run).last(), Some(&"waived fact seen"));
    assert_eq!(run.state.phase, Phase::Acting { step: 2 }, "nothing is stopped for a waived fact");
    assert_eq!(run.told, None);
    // It fails; the next attempt needs the fact again.
    run.feed(failed()).unwrap();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::StepFailed)));
    run.settings.decided = [(id("c"), Choice::Retry)].into();
    run.die_and_resume(Purpose::GoOn, Vec::new()).unwrap();
    run.answer(7).unwrap();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::FactDoesNotHold)));
}

#[test]
fn p05_a_failed_step_is_accepted_by_an_override_when_the_run_is_taken_up() {
    let mut run = opened_with(three(), Vec::new());
    all_hold(&mut run);
    run.feed(failed()).unwrap();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::StepFailed)));
    run.overrides = vec![given(Deviation::AcceptInDoubt { step: id("a") })];
    run.die_and_resume(Purpose::GoOn, Vec::new()).unwrap();
    assert!(names(&run).contains(&"refused"), "it failed, and is not in doubt");
    assert_ne!(run.state.steps[0].status, StepStatus::Accepted);
    let mut run = opened_with(three(), Vec::new());
    all_hold(&mut run);
    run.feed(failed()).unwrap();
    run.overrides = vec![given(Deviation::AcceptFailed { step: id("a") })];
    run.die_and_resume(Purpose::GoOn, Vec::new()).unwrap();
    assert_eq!(run.state.steps[0].status, StepStatus::Accepted);
    assert!(matches!(run.open.last(), Some(Effect::Prepare { step: 1, .. })), "{:?}", run.open);
}

#[test]
fn p05_a_person_at_the_terminal_accepts_a_failed_step_by_its_id_and_with_a_reason() {
    let mut run = Rehearsed::new(three(), Pace::Straight, People::Terminal);
    run.feed(Input::Open(opening())).unwrap();
    all_hold(&mut run);
    run.feed(failed()).unwrap();
    let Some(Effect::Ask { ask, expect, .. }) = run.open.last() else { panic!("{:?}", run.open) };
    assert!(ask.contains("`accept a REASON`"), "{ask}");
    assert_eq!(expect.as_deref(), Some("a"));
    let words = "accept a looked at by hand".to_owned();
    let (question, by) = (Question::WhatNext, AnsweredBy::Terminal);
    run.feed(Input::Answered(Reply { step: id("a"), question, words, by })).unwrap();
    let Some(Event::OverrideAccepted(given)) =
        run.events.iter().find(|event| matches!(event, Event::OverrideAccepted(_)))
    else {
        panic!("{:?}", run.events)
    };
    assert_eq!((given.reason.as_str(), given.self_approved), ("looked at by hand", Some(AnsweredBy::Terminal)));
    assert_eq!(run.state.steps[0].status, StepStatus::Accepted);
}

#[test]
fn p05_under_a_policy_nobody_accepts_a_step_on_their_own_word() {
    let mut run = Rehearsed::new(three(), Pace::Straight, People::Terminal);
    run.settings.alone = SelfApproval::NotAllowed;
    run.feed(Input::Open(opening())).unwrap();
    all_hold(&mut run);
    run.feed(failed()).unwrap();
    let Some(Effect::Ask { ask, expect, .. }) = run.open.last() else { panic!("{:?}", run.open) };
    assert!(!ask.contains("accept") && expect.is_none(), "{ask}");
}
