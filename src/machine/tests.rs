use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::TestCaseError;

use super::{Answers, Break, Effect, Input, Opening, Pace, People, Reply, StopSignal, decide};
use crate::history::event::{AnsweredBy, Cause, Ending, Event, Sight, Verdict};
use crate::history::state::{Phase, State, StepStatus, Verdict as RunVerdict};
use crate::id::{Digest, Fact};
use crate::plan::{Plan, Procedure, VERSION};
use crate::runbook::model::{
    Action, Confirm, FileProbe, IfEnsured, InDoubt, Leftovers, OnFailure, Presence, Probe, RunAction, Runbook, Setting,
    State as SystemState, Step, System, WayBack,
};

const FACTS: [&str; 4] = ["a up", "a down", "b up", "b down"];

fn fact(text: &str) -> Fact {
    text.parse().unwrap()
}

fn probe() -> Probe {
    Probe::File(FileProbe {
        path: PathBuf::from("/nowhere"),
        state: Presence::Present,
        newer_than: None,
        older_than: None,
        min_size: None,
        mode: None,
        owner: None,
        contains: None,
    })
}

fn runbook(requires: Vec<Fact>, steps: Vec<Step>) -> Runbook {
    let state = || SystemState { before: probe(), held: probe() };
    let system = || System {
        kind: None,
        states: BTreeMap::from([("up".parse().unwrap(), state()), ("down".parse().unwrap(), state())]),
    };
    Runbook {
        name: "test".to_owned(),
        title: None,
        labels: BTreeMap::new(),
        systems: BTreeMap::from([("a".parse().unwrap(), system()), ("b".parse().unwrap(), system())]),
        requires,
        locks: Vec::new(),
        on_failure: OnFailure::Halt,
        steps,
    }
}

fn procedure(requires: &[&str], steps: Vec<Step>) -> Procedure {
    Procedure::new(Plan {
        interlock_plan: VERSION,
        source: "test.yaml".to_owned(),
        source_digest: Digest::of(b""),
        params: BTreeMap::new(),
        secrets: BTreeMap::new(),
        runbook: runbook(requires.iter().map(|text| fact(text)).collect(), steps),
    })
}

fn run_action() -> Action {
    Action::Run(RunAction {
        argv: vec!["true".to_owned()],
        setting: Setting {
            env: BTreeMap::new(),
            cwd: PathBuf::from("/"),
            user: None,
            stdin: None,
            success: vec![0],
            leftovers: Leftovers::Fail,
        },
    })
}

fn step(id: &str, action: Action, requires: &[&str], ensures: &[&str]) -> Step {
    Step {
        id: id.parse().unwrap(),
        title: None,
        note: None,
        action,
        requires: requires.iter().map(|text| fact(text)).collect(),
        ensures: ensures.iter().map(|text| fact(text)).collect(),
        within: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        if_ensured: IfEnsured::Run,
        confirm: None,
        way_back: WayBack::None,
        retry: None,
        when: None,
        in_doubt: InDoubt::Ask,
    }
}

fn opening(people: People) -> Opening {
    Opening {
        plan: Digest::of(b""),
        containment: "none".to_owned(),
        watching: "nothing".to_owned(),
        program: "test".to_owned(),
        watched: Vec::new(),
        people,
    }
}

fn sight(fact: &Fact, verdict: Verdict) -> Sight {
    Sight { fact: fact.clone(), verdict, evidence: "seen".to_owned() }
}

fn broken(fact: &Fact) -> Input {
    Input::Broke(Break {
        sight: sight(fact, Verdict::Broken),
        told_by: "a test".to_owned(),
        look: Duration::ZERO,
        freeze: None,
        blind: None,
    })
}

/// A run that is carried out in memory, with a made-up world.
struct Rehearsed {
    procedure: Procedure,
    pace: Pace,
    state: State,
    events: Vec<Event>,
    /// What was asked of the world and is not answered yet.
    open: Vec<Effect>,
    told: Option<Ending>,
    running: bool,
    finished: u32,
}

impl Rehearsed {
    fn new(procedure: Procedure, pace: Pace) -> Self {
        let order = procedure.steps().iter().map(|step| step.id.clone()).collect();
        let state = State { order: Some(order), ..State::default() };
        Self { procedure, pace, state, events: Vec::new(), open: Vec::new(), told: None, running: false, finished: 0 }
    }

    fn feed(&mut self, input: Input) -> Result<(), TestCaseError> {
        let decision = decide(&self.procedure, self.pace, &self.state, Duration::ZERO, input);
        for event in &decision.events {
            let legal = self.state.apply(event);
            prop_assert!(legal.is_ok(), "{legal:?} after {:?}", self.events);
            self.events.push(event.clone());
        }
        for effect in decision.effects {
            prop_assert_eq!(self.finished, 0, "something was to be done after the end");
            match &effect {
                Effect::Start { step, .. } => self.check_start(*step)?,
                Effect::Terminate(ending) | Effect::Kill(ending) => self.told = Some(ending.clone()),
                Effect::Withdraw => {
                    self.open.retain(|open| matches!(open, Effect::Start { .. } | Effect::Prepare { .. }))
                }
                Effect::Finish => self.finished += 1,
                Effect::Prepare { .. }
                | Effect::Ask { .. }
                | Effect::Await { .. }
                | Effect::LetGo
                | Effect::Release(_) => {}
            }
            if matches!(
                effect,
                Effect::Start { .. } | Effect::Prepare { .. } | Effect::Ask { .. } | Effect::Await { .. }
            ) {
                self.open.push(effect);
            }
        }
        Ok(())
    }

    /// P1, P2, P3, P4 at the only place where something is started.
    fn check_start(&mut self, at: usize) -> Result<(), TestCaseError> {
        let id = &self.procedure.steps()[at].id;
        let Some(Event::StepIntended { step, requires, .. }) = self.events.last() else {
            return Err(TestCaseError::fail("a start without its announcement right before it"));
        };
        prop_assert_eq!(step, id);
        for fact in self.procedure.required_by(at) {
            prop_assert!(
                requires.iter().any(|sight| sight.fact == fact && sight.verdict == Verdict::Holds),
                "`{}` was not seen to hold before `{}`",
                fact,
                id
            );
        }
        for event in &self.events {
            prop_assert!(
                !matches!(
                    event,
                    Event::HoldBroken { .. }
                        | Event::SignalReceived { .. }
                        | Event::Declined { .. }
                        | Event::StepFailed { .. }
                ),
                "started after {event:?}"
            );
        }
        let ended_well =
            self.state.steps[..at].iter().all(|step| matches!(step.status, StepStatus::Done | StepStatus::Already));
        prop_assert!(ended_well, "`{}` started before the steps in front of it had ended well", id);
        prop_assert!(!self.running, "two steps at once");
        self.running = true;
        Ok(())
    }

    /// Answers one open effect, as the world of this choice would.
    fn answer(&mut self, choice: u8) -> Result<(), TestCaseError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let effect = self.open.remove(usize::from(choice) % self.open.len());
        let good = choice % 8 != 7;
        let verdict = match choice % 16 {
            7 => Verdict::Broken,
            15 => Verdict::Unknown,
            _ => Verdict::Holds,
        };
        let input = match effect {
            Effect::Prepare { requires, ensures, .. } => Input::Prepared {
                requires: requires.iter().map(|fact| sight(fact, verdict)).collect(),
                ensures: ensures.iter().map(|fact| sight(fact, verdict)).collect(),
                program: if choice == 200 { Err("no such program".to_owned()) } else { Ok(None) },
            },
            Effect::Ask { expect, .. } => {
                let words = if good {
                    expect.unwrap_or_else(|| {
                        if self.pace == Pace::StepByStep { "go".to_owned() } else { "done".to_owned() }
                    })
                } else {
                    "no".to_owned()
                };
                Input::Answered(Reply { words, by: AnsweredBy::Terminal })
            }
            Effect::Start { .. } => {
                self.running = false;
                let ending = self.told.take().unwrap_or(match choice % 8 {
                    7 => Ending::Exited { code: 1 },
                    6 => Ending::Signalled { signal: 11 },
                    _ => Ending::Exited { code: 0 },
                });
                Input::Ended { ending, took: Duration::ZERO, output: None, leftovers: Vec::new() }
            }
            Effect::Await { facts, .. } => {
                Input::Awaited { ensures: facts.iter().map(|fact| sight(fact, verdict)).collect() }
            }
            Effect::Terminate(_)
            | Effect::Kill(_)
            | Effect::Withdraw
            | Effect::LetGo
            | Effect::Release(_)
            | Effect::Finish => {
                return Ok(());
            }
        };
        self.feed(input)
    }
}

fn facts() -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(FACTS.to_vec(), 0..=2)
        .prop_map(|facts| facts.into_iter().map(str::to_owned).collect())
}

fn random_step() -> impl Strategy<Value = (u8, Vec<String>, Vec<String>, bool, bool)> {
    (0_u8..4, facts(), facts(), any::<bool>(), any::<bool>())
}

fn random_procedure() -> impl Strategy<Value = Procedure> {
    (facts(), proptest::collection::vec(random_step(), 0..5)).prop_map(|(run_wide, steps)| {
        let borrowed = |facts: &[String]| -> Vec<Fact> { facts.iter().map(|text| fact(text)).collect() };
        let steps = steps
            .into_iter()
            .enumerate()
            .map(|(at, (kind, requires, ensures, pass, confirm))| {
                let action = match kind {
                    0 => Action::Wait,
                    1 => Action::Manual("do it".to_owned()),
                    _ => run_action(),
                };
                let mut step = step(&format!("s{at}"), action, &[], &[]);
                step.requires = borrowed(&requires);
                step.ensures = borrowed(&ensures);
                step.if_ensured = if pass && !ensures.is_empty() { IfEnsured::Pass } else { IfEnsured::Run };
                step.confirm = confirm.then(|| Confirm { ask: "which?".to_owned(), expect: "this".to_owned() });
                step
            })
            .collect();
        let run_wide: Vec<&str> = run_wide.iter().map(String::as_str).collect();
        procedure(&run_wide, steps)
    })
}

proptest! {
    /// P2, P3, P4, P13 for whatever comes in, in whatever order.
    #[test]
    fn no_sequence_of_inputs_starts_a_step_that_may_not_start(
        procedure in random_procedure(),
        step_by_step in any::<bool>(),
        choices in proptest::collection::vec((0_u8..12, any::<u8>()), 0..80),
    ) {
        let pace = if step_by_step { Pace::StepByStep } else { Pace::Straight };
        let mut run = Rehearsed::new(procedure, pace);
        run.feed(Input::Open(opening(People::Terminal)))?;
        for (kind, choice) in choices {
            match kind {
                0 => run.feed(broken(&fact(FACTS[usize::from(choice) % 4])))?,
                1 if choice % 4 == 0 => run.feed(Input::Signal(StopSignal::Now("SIGINT")))?,
                1 if choice % 4 == 1 => run.feed(Input::Signal(StopSignal::AfterStep("SIGHUP")))?,
                2 => run.feed(Input::TimeIsUp)?,
                _ => run.answer(choice)?,
            }
        }
        // Whatever was chosen, answering what is open brings the run to an end with a reason.
        for _ in 0..1000 {
            if run.finished > 0 {
                break;
            }
            run.answer(0)?;
        }
        prop_assert_eq!(run.finished, 1, "the run never ended: {:?}", run.events);
        let Phase::Over(verdict) = run.state.phase else {
            return Err(TestCaseError::fail("the run ended without a verdict"));
        };
        if verdict == RunVerdict::Completed {
            let all = run.state.steps.len() == run.procedure.steps().len()
                && run.state.steps.iter().all(|step| matches!(step.status, StepStatus::Done | StepStatus::Already));
            prop_assert!(all, "completed, with steps {:?}", run.state.steps);
            let broke = run.events.iter().any(|event| matches!(event, Event::HoldBroken { .. }));
            prop_assert!(!broke, "completed although a held fact broke");
        }
        if let RunVerdict::Refused(_) = verdict {
            let begun = run.events.iter().any(|event| matches!(event, Event::StepIntended { .. }));
            prop_assert!(!begun, "refused after something was started");
        }
        // What comes after the end changes nothing.
        let events = run.events.len();
        run.feed(Input::Signal(StopSignal::Now("SIGINT")))?;
        run.feed(broken(&fact("a up")))?;
        run.feed(Input::Answered(Reply { words: "done".to_owned(), by: AnsweredBy::Terminal }))?;
        prop_assert_eq!(run.events.len(), events);
    }
}

fn names(run: &Rehearsed) -> Vec<String> {
    let name = |event: &Event| serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned();
    run.events.iter().map(name).collect()
}

fn opened(procedure: Procedure) -> Rehearsed {
    let mut run = Rehearsed::new(procedure, Pace::Straight);
    run.feed(Input::Open(opening(People::Terminal))).unwrap();
    run
}

fn all_hold(run: &mut Rehearsed) {
    run.answer(0).unwrap();
}

#[test]
fn p04_steps_go_in_order_and_each_ends_done() {
    let mut run =
        opened(procedure(&[], vec![step("one", run_action(), &[], &[]), step("two", run_action(), &[], &[])]));
    for _ in 0..4 {
        all_hold(&mut run);
    }
    assert_eq!(
        names(&run),
        [
            "run_opened",
            "step_intended",
            "step_ended",
            "step_done",
            "step_intended",
            "step_ended",
            "step_done",
            "run_completed"
        ]
    );
}

#[test]
fn p02_a_step_does_not_start_when_a_required_fact_cannot_be_told() {
    let mut run = opened(procedure(&[], vec![step("one", run_action(), &["a down"], &[])]));
    run.answer(15).unwrap();
    assert_eq!(names(&run), ["run_opened", "run_refused"]);
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Refused(Cause::FactDoesNotHold)));
}

#[test]
fn p03_a_break_while_a_step_runs_kills_it_and_halts() {
    let mut run = opened(procedure(&[], vec![step("one", run_action(), &["a down"], &[])]));
    all_hold(&mut run);
    run.feed(broken(&fact("a down"))).unwrap();
    assert_eq!(run.told, Some(Ending::Stopped));
    all_hold(&mut run);
    assert_eq!(names(&run), ["run_opened", "step_intended", "hold_broken", "step_ended", "run_halted"]);
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::HoldBroken)));
    assert_eq!(run.state.steps[0].status, StepStatus::InDoubt);
}

#[test]
fn p03_a_break_between_two_steps_halts_even_if_it_mends() {
    let steps = vec![
        step("stop", run_action(), &[], &["a down"]),
        step("idle", Action::Manual("wait".to_owned()), &[], &[]),
        step("change", run_action(), &["a down"], &[]),
    ];
    let mut run = opened(procedure(&[], steps));
    for _ in 0..4 {
        all_hold(&mut run);
    }
    assert_eq!(names(&run).last().map(String::as_str), Some("step_intended"), "the manual step is open");
    run.feed(broken(&fact("a down"))).unwrap();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::HoldBroken)));
}

#[test]
fn a_fact_that_no_later_step_requires_may_break() {
    let steps = vec![step("stop", run_action(), &[], &["a down"]), step("other", run_action(), &[], &[])];
    let mut run = opened(procedure(&[], steps));
    for _ in 0..3 {
        all_hold(&mut run);
    }
    run.feed(broken(&fact("a down"))).unwrap();
    for _ in 0..2 {
        all_hold(&mut run);
    }
    assert_eq!(names(&run).last().map(String::as_str), Some("run_completed"));
}

#[test]
fn a_run_that_nobody_watches_needs_its_answers_beforehand() {
    let mut manual = step("tell", Action::Manual("tell them".to_owned()), &[], &[]);
    manual.confirm = Some(Confirm { ask: "which?".to_owned(), expect: "this".to_owned() });
    let run_with = |answers: Answers| {
        let mut run = Rehearsed::new(procedure(&[], vec![manual.clone()]), Pace::Straight);
        run.feed(Input::Open(opening(People::Nobody(answers)))).unwrap();
        run
    };
    let step: crate::id::StepId = "tell".parse().unwrap();
    let refused = Phase::Over(RunVerdict::Refused(Cause::PersonNeeded));
    assert_eq!(run_with(Answers::default()).state.phase, refused);
    let confirm = BTreeMap::from([(step.clone(), "this".to_owned())]);
    let attest = BTreeMap::from([(step.clone(), "told #ops".to_owned())]);
    assert_eq!(run_with(Answers { confirm: confirm.clone(), attest: BTreeMap::new() }).state.phase, refused);
    let wrong = BTreeMap::from([(step, "that".to_owned())]);
    assert_eq!(run_with(Answers { confirm: wrong, attest: attest.clone() }).state.phase, refused);
    assert_eq!(run_with(Answers { confirm, attest }).state.phase, Phase::Ready { next: 0 });
}

#[test]
fn a_dropped_terminal_lets_the_step_finish_and_halts_before_the_next() {
    let mut run =
        opened(procedure(&[], vec![step("one", run_action(), &[], &[]), step("two", run_action(), &[], &[])]));
    all_hold(&mut run);
    run.feed(Input::Signal(StopSignal::AfterStep("SIGHUP"))).unwrap();
    assert_eq!(run.told, None, "the running step is left alone");
    all_hold(&mut run);
    assert_eq!(names(&run).last().map(String::as_str), Some("run_halted"));
    assert_eq!(run.state.steps.len(), 1);
    assert_eq!(run.state.steps[0].status, StepStatus::Done);
}

#[test]
fn the_second_interrupt_ends_the_step_at_once() {
    let mut run = opened(procedure(&[], vec![step("one", run_action(), &[], &[])]));
    all_hold(&mut run);
    let decision =
        decide(&run.procedure, run.pace, &run.state, Duration::ZERO, Input::Signal(StopSignal::Now("SIGINT")));
    assert_eq!(decision.effects, [Effect::Terminate(Ending::Interrupted)]);
    run.feed(Input::Signal(StopSignal::Now("SIGINT"))).unwrap();
    let decision =
        decide(&run.procedure, run.pace, &run.state, Duration::ZERO, Input::Signal(StopSignal::Now("SIGINT")));
    assert_eq!(decision.effects, [Effect::Kill(Ending::Interrupted)]);
}
