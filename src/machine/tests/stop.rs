//! Being asked to stop: by signals, and by what a person says who is asked.

use super::{
    AnsweredBy, Cause, Duration, Effect, Ending, Event, Input, Pace, People, Phase, Rehearsed, RunVerdict, StepStatus,
    StopDecision, StopSignal, all_hold, broken, fact, opened, opening, procedure, run_action, step,
};
use crate::runbook::model::Action;

#[test]
fn without_a_terminal_the_first_interrupt_ends_the_step_with_grace_and_the_second_at_once() {
    for signal in [StopSignal::Keyboard("SIGINT"), StopSignal::Now("SIGTERM")] {
        let mut run = opened(procedure(&[], vec![step("one", run_action(), &[], &[])]));
        all_hold(&mut run);
        assert_eq!(run.peek(Input::Signal(signal)).effects, [Effect::Terminate(Ending::Interrupted)]);
        run.feed(Input::Signal(signal)).unwrap();
        assert_eq!(run.peek(Input::Signal(signal)).effects, [Effect::Kill(Ending::Interrupted)]);
    }
}

/// A run at a terminal whose first of two steps runs, requires a fact, and was interrupted from the keyboard.
fn interrupted() -> Rehearsed {
    let steps = vec![step("one", run_action(), &["a down"], &[]), step("two", run_action(), &[], &[])];
    let mut run = Rehearsed::new(procedure(&[], steps), Pace::Straight, People::Terminal);
    run.feed(Input::Open(opening())).unwrap();
    all_hold(&mut run);
    run.feed(Input::Signal(StopSignal::Keyboard("SIGINT"))).unwrap();
    assert_eq!(run.told, None, "the step goes on while the question stands");
    assert!(matches!(run.open[..], [Effect::Start { .. }, Effect::AskToStop { .. }]), "{:?}", run.open);
    run
}

fn says(run: &mut Rehearsed, words: &str) {
    run.open.retain(|open| !matches!(open, Effect::AskToStop { .. }));
    run.feed(Input::StopAnswered { words: words.to_owned(), by: AnsweredBy::Terminal }).unwrap();
}

fn decisions(run: &Rehearsed) -> Vec<StopDecision> {
    let decision = |event: &Event| match event {
        Event::StopDecided { decision, .. } => Some(*decision),
        _ => None,
    };
    run.events.iter().filter_map(decision).collect()
}

#[test]
fn at_a_terminal_the_person_who_interrupts_says_what_becomes_of_the_step() {
    let mut run = interrupted();
    says(&mut run, "stop");
    assert_eq!(run.told, Some(Ending::Interrupted));
    let again = run.peek(Input::Signal(StopSignal::Keyboard("SIGINT")));
    assert_eq!(again.effects, [Effect::Kill(Ending::Interrupted)]);
    all_hold(&mut run);
    assert_eq!(decisions(&run), [StopDecision::Stop]);
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::Interrupted)));
    assert_eq!(run.state.steps[0].status, StepStatus::InDoubt);

    // Silence (a terminal that gives no clear answer) is no word to go on.
    for (words, decided) in [("f", StopDecision::Finish), ("", StopDecision::Finish)] {
        let mut run = interrupted();
        says(&mut run, words);
        assert_eq!((run.told.clone(), decisions(&run)), (None, vec![decided]));
        all_hold(&mut run);
        assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::Interrupted)));
        assert_eq!(run.state.steps.len(), 1);
        assert_eq!(run.state.steps[0].status, StepStatus::Done);
    }

    let mut run = interrupted();
    says(&mut run, "continue");
    for _ in 0..3 {
        all_hold(&mut run);
    }
    assert_eq!(decisions(&run), [StopDecision::Continue]);
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Completed));
}

#[test]
fn who_interrupts_again_instead_of_answering_ends_the_step_at_once() {
    let run = interrupted();
    let again = run.peek(Input::Signal(StopSignal::Keyboard("SIGINT")));
    assert_eq!(again.effects, [Effect::Withdraw, Effect::Kill(Ending::Interrupted)]);
    let asked = run.peek(Input::Signal(StopSignal::Now("SIGTERM")));
    assert_eq!(asked.effects, [Effect::Withdraw, Effect::Terminate(Ending::Interrupted)]);
    let gone = run.peek(Input::Signal(StopSignal::AfterStep("SIGHUP")));
    assert_eq!(gone.effects, [Effect::Withdraw], "a terminal that is gone answers nothing");
}

#[test]
fn a_question_about_stopping_is_withdrawn_when_the_step_ends_or_a_fact_breaks() {
    let mut run = interrupted();
    run.open.swap(0, 1);
    let ended = run.peek(Input::Ended {
        ending: Ending::Exited { code: 0 },
        took: Duration::ZERO,
        output: None,
        leftovers: Vec::new(),
    });
    assert_eq!(ended.effects.first(), Some(&Effect::Withdraw));
    assert!(matches!(ended.events.last(), Some(Event::RunHalted { cause: Cause::Interrupted, .. })), "{ended:?}");
    assert!(!ended.effects.iter().any(|effect| matches!(effect, Effect::Prepare { .. })), "nothing more starts");

    let broke = run.peek(broken(&fact("a down")));
    assert_eq!(broke.effects, [Effect::Withdraw, Effect::Kill(Ending::Stopped)]);
    run.feed(broken(&fact("a down"))).unwrap();
    let late = run.peek(Input::StopAnswered { words: "continue".to_owned(), by: AnsweredBy::Terminal });
    assert!(late.events.is_empty() && late.effects.is_empty(), "{late:?}");
}

#[test]
fn with_no_step_running_an_interrupt_at_the_terminal_halts_without_asking() {
    let steps = vec![step("one", Action::Manual("do it".to_owned()), &[], &[]), step("two", run_action(), &[], &[])];
    let mut run = Rehearsed::new(procedure(&[], steps), Pace::Straight, People::Terminal);
    run.feed(Input::Open(opening())).unwrap();
    for _ in 0..2 {
        let decision = run.peek(Input::Signal(StopSignal::Keyboard("SIGINT")));
        assert!(matches!(decision.events.last(), Some(Event::RunHalted { .. })), "{decision:?}");
        all_hold(&mut run);
    }
}
