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
    let (ask, words) = (ask.clone(), "accept a looked at by hand".to_owned());
    let (question, by) = (Question::WhatNext, AnsweredBy::Terminal);
    run.feed(Input::Answered(Reply { step: id("a"), question, ask, words, by })).unwrap();
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

#[test]
fn p05_a_step_that_is_already_so_uses_its_waiver_and_what_is_behind_it_is_held_again() {
    let mut procedure = procedure(
        &["a down"],
        vec![
            Step { if_ensured: IfEnsured::Pass, ..step("a", run_action(), &["b down"], &["b up"]) },
            step("b", run_action(), &["b up"], &[]),
        ],
    );
    procedure.holds.retain(|hold| hold.fact != fact("b down"));
    let waived = given(Deviation::Waive { step: id("a"), fact: fact("a down") });
    let mut run = opened_with(procedure, vec![waived]);
    let Some(Effect::Prepare { requires, ensures, observe, .. }) = run.open.pop() else { panic!("{:?}", run.open) };
    assert_eq!(observe, [fact("a down")]);
    let verdict = |fact: &Fact| if observe.contains(fact) { Verdict::Broken } else { Verdict::Holds };
    let requires = requires.iter().map(|fact| sight(fact, verdict(fact))).collect();
    let ensures = ensures.iter().map(|fact| sight(fact, Verdict::Holds)).collect();
    run.feed(Input::Prepared { requires, ensures, program: Ok(None) }).unwrap();
    assert_eq!(run.state.steps[0].status, StepStatus::Already);
    assert_eq!(run.state.overrides.used.len(), 1, "a fact that did not hold was passed by");
    let Some(Effect::Prepare { step: 1, hold, .. }) = run.open.last() else { panic!("{:?}", run.open) };
    assert!(hold.contains(&fact("a down")), "it was waived for the step in front only: {hold:?}");
    while !matches!(run.state.phase, Phase::Over(_)) {
        all_hold(&mut run);
    }
    let Some(Event::RunCompleted { done, already, deviations, .. }) = run.events.last() else { panic!() };
    assert_eq!((*done, *already, *deviations), (1, 1, 1));
}

#[test]
fn p05_a_step_accepted_after_a_broken_hold_lets_go_of_the_hold_and_the_next_looks_afresh() {
    let steps = vec![
        step("a", run_action(), &[], &["a down"]),
        step("b", run_action(), &["a down"], &[]),
        step("c", run_action(), &["a down"], &[]),
    ];
    let mut run = Rehearsed::new(procedure(&[], steps), Pace::Straight, People::Terminal);
    run.feed(Input::Open(opening())).unwrap();
    for _ in 0..4 {
        all_hold(&mut run);
    }
    assert_eq!(run.state.phase, Phase::Acting { step: 1 });
    run.feed(broken(&fact("a down"))).unwrap();
    all_hold(&mut run);
    let Some(Effect::Ask { step, ask, question, .. }) = run.open.pop() else { panic!("{:?}", run.open) };
    assert_eq!((step.clone(), question), (id("b"), Question::WhatNext));
    let words = "accept b put right by hand".to_owned();
    let answered = Input::Answered(Reply { step, question, ask, words, by: AnsweredBy::Terminal });
    let released = run.peek(answered.clone()).effects.into_iter().any(|effect| match effect {
        Effect::Release(facts) => facts.contains(&fact("a down")),
        _ => false,
    });
    assert!(released, "a hold that broke is remembered, and would stop whatever comes next");
    run.feed(answered).unwrap();
    let Some(Effect::Prepare { step: 2, hold, .. }) = run.open.last() else { panic!("{:?}", run.open) };
    assert_eq!(hold.as_slice(), [fact("a down")]);
    while !matches!(run.state.phase, Phase::Over(_)) {
        all_hold(&mut run);
    }
    assert_eq!(names(&run).last(), Some(&"completed"));
}

#[test]
fn p05_a_waiver_does_not_outlive_an_attempt_that_could_not_start() {
    let mut procedure = procedure(&["a down"], vec![step("a", run_action(), &[], &[])]);
    procedure.plan.runbook.steps[0].retry = Some(Retry { times: 3, every: Duration::ZERO, backoff: 1 });
    let waived = given(Deviation::Waive { step: id("a"), fact: fact("a down") });
    let mut run = opened_with(procedure, vec![waived]);
    let Some(Effect::Prepare { .. }) = run.open.pop() else { panic!("{:?}", run.open) };
    let requires = vec![sight(&fact("a down"), Verdict::Broken)];
    let program = Err("no such program".to_owned());
    run.feed(Input::Prepared { requires, ensures: Vec::new(), program }).unwrap();
    while let Some(Effect::Rest(_)) = run.open.last() {
        run.open.pop();
        run.feed(Input::Rested).unwrap();
    }
    let Some(Effect::Prepare { observe, requires, .. }) = run.open.last() else { panic!("{:?}", run.events) };
    assert!(observe.is_empty() && requires.contains(&fact("a down")), "the second attempt has no waiver");
}

#[test]
fn p08_the_fold_refuses_a_step_that_began_or_was_done_without_its_proof() {
    let mut run = opened_with(three(), Vec::new());
    for _ in 0..3 {
        all_hold(&mut run);
    }
    let fold = |events: &[Event]| {
        let mut state = State { order: run.state.order.clone(), ..State::default() };
        events.iter().try_for_each(|event| state.apply(event))
    };
    assert!(fold(&run.events).is_ok());
    let spoilt = |spoil: &dyn Fn(&mut Event) -> bool| {
        let mut events = run.events.clone();
        assert!(events.iter_mut().any(spoil), "nothing to spoil in {:?}", run.events);
        fold(&events).expect_err("a history that cannot be").to_string()
    };
    let not_there = || sight(&fact("z up"), Verdict::Broken);
    let began = spoilt(&|event| match event {
        Event::StepIntended { requires, .. } => {
            requires.push(not_there());
            true
        }
        _ => false,
    });
    assert!(began.contains("began though `z up`"), "{began}");
    let done = spoilt(&|event| match event {
        Event::StepDone { ensures, .. } => {
            ensures.push(not_there());
            true
        }
        _ => false,
    });
    assert!(done.contains("is done though `z up`"), "{done}");
    let already = fold(&[
        run.events[0].clone(),
        Event::StepAlready { step: id("a"), seen: vec![sight(&fact("z up"), Verdict::Unknown)] },
    ]);
    assert!(already.is_err(), "it is not so already, and nobody waived it");
}

#[test]
fn p05_a_run_that_comes_to_a_step_after_its_override_has_ended_halts_and_neither_leaves_it_out_nor_does_it() {
    let waive = given(Deviation::Waive { step: id("c"), fact: fact("a down") });
    for (given, at) in [(skip("c"), "c"), (waive, "c"), (skip("b"), "b")] {
        let mut run = Rehearsed::new(three(), Pace::Straight, nobody());
        run.settings.until.insert(given.deviation.clone(), "2026-11-22T12:30:00Z".parse().unwrap());
        run.feed(Input::Open(Opening { overrides: vec![given.clone()], ..opening() })).unwrap();
        // Its last second.
        run.now = "2026-11-22T12:29:59Z".parse().unwrap();
        all_hold(&mut run);
        let begun = |run: &Rehearsed| names(run).iter().filter(|name| **name == "intended").count();
        assert_eq!(begun(&run), 1, "the first goes on while it can be used");
        run.now = "2026-11-22T12:30:00Z".parse().unwrap();
        while run.finished == 0 {
            all_hold(&mut run);
        }
        assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::NotAllowed)), "{:?}", run.events);
        assert!(!names(&run).contains(&"skipped"));
        let Some(Event::RunHalted { reason, step, .. }) = run.events.last() else { panic!("{:?}", run.events) };
        assert_eq!(*step, Some(id(at)), "{reason}");
        assert!(reason.contains("could be used until 2026-11-22T12:30:00Z, and the run comes to it at"), "{reason}");
        assert_eq!(begun(&run), if at == "b" { 1 } else { 2 }, "the step itself did not begin");
    }
}

#[test]
fn p05_a_step_is_not_accepted_after_its_override_has_ended_while_another_was_run_again() {
    let mut run = opened_with(three(), Vec::new());
    all_hold(&mut run);
    run.answer(7).unwrap();
    let accept = given(Deviation::AcceptFailed { step: run.state.steps.last().unwrap().id.clone() });
    run.settings.until.insert(accept.deviation.clone(), run.now.clone());
    assert_eq!(run.finished, 1, "{:?}", run.events);
    (run.finished, run.open) = (0, Vec::new());
    run.feed(Input::Resume(
        Opening { overrides: vec![accept], ..opening() },
        Resumption { taken_over: None, ended: Vec::new() },
    ))
    .unwrap();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::NotAllowed)), "{:?}", run.events);
    assert!(!names(&run).contains(&"counts as done"));
}

#[test]
fn p05_behind_a_skipped_first_step_what_the_whole_run_requires_is_held() {
    let steps = vec![step("a", run_action(), &[], &[]), step("b", run_action(), &[], &[])];
    let run = opened_with(procedure(&["backup fresh"], steps), vec![skip("a")]);
    let Some(Effect::Prepare { step: 1, requires, hold, .. }) = run.open.last() else { panic!("{:?}", run.open) };
    assert_eq!(
        (requires.as_slice(), hold.as_slice()),
        ([fact("backup fresh")].as_slice(), [fact("backup fresh")].as_slice())
    );
}
