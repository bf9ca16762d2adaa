mod deviations;
mod overrides;
mod reruns;
mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::{Config as ProptestConfig, TestCaseError};

use super::{
    Answers, BackProcedure, Break, Decision, Effect, Input, Opening, Pace, People, Purpose, Reply, Resumption,
    SelfApproval, Settings, StopSignal, decide, rerun, way_back,
};
use crate::history::deviation::{Deviation, Override};
use crate::history::event::{AnsweredBy, Cause, Ending, Event, Heed, Question, Sight, StopDecision, Verdict, Way};
use crate::history::state::{Phase, State, StepStatus, Verdict as RunVerdict};
use crate::id::{Digest, Fact, Moment, StepId};
use crate::plan::{Plan, Procedure, Programs, VERSION};
use crate::runbook::model::{
    Action, Confirm, FileProbe, IfEnsured, InDoubt, Leftovers, OnFailure, OverrideRule, Presence, Probe, Retry,
    RunAction, Runbook, Setting, State as SystemState, Step, System, Undo, WayBack,
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
        overrides: OverrideRule::Unsaid,
        steps,
    }
}

fn procedure(requires: &[&str], steps: Vec<Step>) -> Procedure {
    Procedure::new(Plan {
        interlock_plan: VERSION,
        binding: None,
        deviations: Vec::new(),
        source: "test.yaml".to_owned(),
        source_digest: Digest::of(b""),
        params: BTreeMap::new(),
        secrets: BTreeMap::new(),
        programs: Programs::default(),
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
        replaces: Vec::new(),
        within: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        if_ensured: IfEnsured::Run,
        confirm: None,
        way_back: WayBack::None,
        retry: None,
        when: None,
        in_doubt: InDoubt::Ask,
        overrides: OverrideRule::Unsaid,
    }
}

fn id(text: &str) -> StepId {
    text.parse().unwrap()
}

fn undo(action: Action, requires: &[&str], ensures: &[&str]) -> WayBack {
    WayBack::Undo(Box::new(Undo {
        action,
        requires: requires.iter().map(|text| fact(text)).collect(),
        ensures: ensures.iter().map(|text| fact(text)).collect(),
        within: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
    }))
}

fn opening() -> Opening {
    Opening {
        plan: Digest::of(b""),
        containment: "none".to_owned(),
        watching: "nothing".to_owned(),
        program: "test".to_owned(),
        watched: Vec::new(),
        locks: Vec::new(),
        overrides: Vec::new(),
        policies: Vec::new(),
        approvals: Vec::new(),
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
    back: Option<BackProcedure>,
    settings: Settings,
    state: State,
    events: Vec<Event>,
    /// What was asked of the world and is not answered yet.
    open: Vec<Effect>,
    told: Option<Ending>,
    running: bool,
    finished: u32,
    /// What the clock says.
    now: Moment,
    /// What the run is taken up with next.
    overrides: Vec<Override>,
    /// What it is taken up with after that, each time.
    overrides_to_come: Vec<Vec<Override>>,
    /// The names of the attempts that were started.
    attempts: BTreeSet<(StepId, bool, u32)>,
}

impl Rehearsed {
    fn new(procedure: Procedure, pace: Pace, people: People) -> Self {
        let (decided, purpose, rerun) = (BTreeMap::new(), Purpose::GoOn, Vec::new());
        let alone = SelfApproval::Allowed { user: "amy".to_owned() };
        let settings = Settings { pace, people, decided, purpose, alone, rerun, until: BTreeMap::new() };
        let order = procedure.steps().iter().map(|step| step.id.clone()).collect();
        let state = State { order: Some(order), ..State::default() };
        Self {
            procedure,
            back: None,
            settings,
            overrides: Vec::new(),
            overrides_to_come: Vec::new(),
            state,
            events: Vec::new(),
            open: Vec::new(),
            told: None,
            running: false,
            finished: 0,
            now: "2026-11-22T12:00:00Z".parse().unwrap(),
            attempts: BTreeSet::new(),
        }
    }

    /// What would follow, without letting it.
    fn peek(&self, input: Input) -> Decision {
        decide(&self.procedure, self.back.as_ref(), &self.settings, &self.state, (Duration::ZERO, &self.now), input)
    }

    fn feed(&mut self, input: Input) -> Result<(), TestCaseError> {
        let decision = decide(
            &self.procedure,
            self.back.as_ref(),
            &self.settings,
            &self.state,
            (Duration::ZERO, &self.now),
            input,
        );
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
                Effect::Withdraw => self.open.retain(|open| matches!(open, Effect::Start { .. })),
                Effect::Finish => self.finished += 1,
                Effect::GoBack(turn) => {
                    self.back = Some(way_back(&self.procedure, &self.state));
                    self.feed(Input::GoBack(turn.clone()))?;
                }
                Effect::Prepare { .. }
                | Effect::Ask { .. }
                | Effect::AskToStop { .. }
                | Effect::Await { .. }
                | Effect::Examine(_)
                | Effect::Rest(_)
                | Effect::LetGo
                | Effect::Release(_) => {}
            }
            if matches!(
                effect,
                Effect::Start { .. }
                    | Effect::Prepare { .. }
                    | Effect::Ask { .. }
                    | Effect::AskToStop { .. }
                    | Effect::Await { .. }
                    | Effect::Examine(_)
                    | Effect::Rest(_)
            ) {
                self.open.push(effect);
            }
        }
        Ok(())
    }

    /// What is carried out now.
    fn current(&self) -> Procedure {
        match (&self.state.again, &self.back) {
            (Some(again), _) => rerun::once_more(&self.procedure, again.at),
            (None, back) => back.as_ref().map_or(&self.procedure, |back| &back.procedure).clone(),
        }
    }

    /// P1, P2, P3, P4 and the order of undo, at the only place where something is started.
    fn check_start(&mut self, at: usize) -> Result<(), TestCaseError> {
        let current = self.current();
        let id = &current.steps()[at].id;
        let Some(Event::StepIntended { step, way, requires, attempt, waived, .. }) = self.events.last() else {
            return Err(TestCaseError::fail("a start without its announcement right before it"));
        };
        prop_assert_eq!(step, id);
        prop_assert_eq!(*way == Way::Again, self.state.again.is_some());
        prop_assert_eq!(*way == Way::Back, self.back.is_some() && self.state.again.is_none());
        let is_new = self.attempts.insert((step.clone(), *way == Way::Back, *attempt));
        prop_assert!(is_new, "attempt {} of `{}` has the name of an earlier one", attempt, id);
        if let Some(again) = &self.state.again {
            self.check_rerun(again.at)?;
        }
        for fact in current.required_by(at) {
            let may_be_broken = waived.contains(&fact) && *way == Way::Forward;
            prop_assert!(
                requires.iter().any(|s| s.fact == fact && (s.verdict == Verdict::Holds || may_be_broken)),
                "`{}` was not seen to hold before `{}`",
                fact,
                id
            );
        }
        // Since the last word that something may go on, nothing said that it may not, but for what a person took back.
        let mut taken_back = false;
        for event in self.events.iter().rev() {
            match event {
                Event::RunOpened { .. }
                | Event::RunResumed { .. }
                | Event::StepRetried { .. }
                | Event::StepAccepted { .. }
                | Event::RerunBegan { .. }
                | Event::UndoBegan { .. } => break,
                Event::StopDecided { decision: StopDecision::Continue, .. } => taken_back = true,
                Event::SignalReceived { heed: Heed::Asks, .. } if taken_back => taken_back = false,
                Event::HoldBroken { .. }
                | Event::SignalReceived { .. }
                | Event::StopDecided { .. }
                | Event::Declined { .. }
                | Event::StepFailed { .. }
                | Event::RunHalted { .. } => {
                    return Err(TestCaseError::fail(format!("`{id}` started after {event:?}")));
                }
                _ => {}
            }
        }
        let again = self.state.again.as_ref().map(|again| &again.run);
        let state = again.or(self.state.back.as_deref()).unwrap_or(&self.state);
        // P5: whatever else is left behind has an override of its own, accepted before and used once; the reader of the events sees to it.
        deviations::check(&self.procedure, &self.events)?;
        let made = |event: &Event, step: &StepId| match event {
            Event::StepSkipped { step: left } | Event::StepAccepted { step: left, .. } => left == step,
            _ => false,
        };
        let ended_well = state.steps[..at].iter().all(|step| match step.status {
            StepStatus::Done | StepStatus::Already | StepStatus::NotApplicable => true,
            StepStatus::Skipped | StepStatus::Accepted => self.events.iter().any(|event| made(event, &step.id)),
            StepStatus::Open | StepStatus::Failed | StepStatus::InDoubt => false,
        });
        prop_assert!(ended_well, "`{}` started before the steps in front of it had ended well", id);
        if self.back.is_some() && again.is_none() {
            let reached = self.state.steps.iter().find(|step| step.id == *id);
            prop_assert!(reached.is_some_and(|step| step.attempts > 0), "`{}` was undone and had never begun", id);
        }
        prop_assert!(!self.running, "two steps at once");
        self.running = true;
        Ok(())
    }

    /// A step is run again only after it had ended well, because something that it ensures was seen not to hold since.
    fn check_rerun(&self, at: usize) -> Result<(), TestCaseError> {
        let id = &self.procedure.steps()[at].id;
        let began = self.events.iter().rposition(|event| matches!(event, Event::RerunBegan { step, .. } if step == id));
        let Some(began) = began else { return Err(TestCaseError::fail("a rerun that was not announced as one")) };
        let Event::RerunBegan { seen, .. } = &self.events[began] else { unreachable!("it was just found") };
        let its_own = |sight: &Sight| self.procedure.steps()[at].ensures.contains(&sight.fact);
        prop_assert!(seen.iter().any(|sight| its_own(sight) && sight.verdict != Verdict::Holds), "{:?}", seen);
        let ended_well = self.events[..began].iter().any(|event| match event {
            Event::StepDone { step, way, .. } => step == id && *way != Way::Back,
            Event::StepAlready { step, .. } => step == id,
            _ => false,
        });
        prop_assert!(ended_well, "`{}` was run again and had never ended well", id);
        let taken_back =
            |event: &Event| matches!(event, Event::StepIntended { step, way: Way::Back, .. } if step == id);
        prop_assert!(!self.events.iter().any(taken_back), "`{}` was run again after it was taken back", id);
        let before = self.events[..began].iter().rev().find(|event| {
            !matches!(
                event,
                Event::WatchesArmed { .. }
                    | Event::Answered { .. }
                    | Event::RerunNotNeeded { .. }
                    | Event::OverrideAccepted(_)
                    | Event::OverrideRefused { .. }
            )
        });
        let right_after = match before {
            Some(Event::RunResumed { .. } | Event::StepAlready { .. }) => true,
            Some(Event::StepDone { way, .. }) => *way == Way::Again,
            Some(_) | None => false,
        };
        prop_assert!(right_after, "`{}` was run again after {:?}", id, before);
        Ok(())
    }

    /// The program is killed at this instant, and the run is taken up again by another one, which runs these steps again.
    fn die_and_resume(&mut self, purpose: Purpose, rerun: Vec<StepId>) -> Result<(), TestCaseError> {
        (self.settings.purpose, self.settings.rerun) = (purpose, rerun);
        self.open.clear();
        self.told = None;
        self.running = false;
        self.finished = 0;
        self.back = None;
        // What another program knows is what the log says.
        let mut read = State::default();
        for event in &self.events {
            prop_assert!(read.apply(event).is_ok(), "the log does not read back");
        }
        read.order.clone_from(&self.state.order);
        self.state = read;
        let mut overrides = std::mem::take(&mut self.overrides);
        overrides.extend(self.overrides_to_come.pop().unwrap_or_default());
        let opening = Opening { overrides, ..opening() };
        self.feed(Input::Resume(opening, Resumption { taken_over: None, ended: Vec::new() }))
    }

    /// A fact breaks. What runs is ended at once if it requires that fact, unless it is waived for this attempt.
    fn breaks(&mut self, fact: &Fact) -> Result<(), TestCaseError> {
        let (told, running) = (self.told.clone(), self.running);
        self.feed(broken(fact))?;
        let again = self.state.again.as_ref().map(|again| &again.run);
        let state = again.or(self.state.back.as_deref()).unwrap_or(&self.state);
        let (true, Phase::Acting { step: at }) = (running, state.phase) else { return Ok(()) };
        let announced = |event: &Event| match event {
            Event::StepIntended { waived, .. } => Some(waived.contains(fact)),
            _ => None,
        };
        if self.events.iter().rev().find_map(announced).expect("what runs was announced") {
            prop_assert_eq!(&self.told, &told, "`{}` is waived, and the step is told to end", fact);
        } else if self.current().required_by(at).contains(fact) {
            prop_assert_eq!(&self.told, &Some(Ending::Stopped), "`{}` broke, and the step goes on", fact);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        matches!(self.state.phase, Phase::Over(verdict) if !matches!(verdict, RunVerdict::Halted(_)))
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
                // What is already so may be so whatever is missing.
                ensures: ensures
                    .iter()
                    .map(|fact| {
                        let so = choice >= 128 && !requires.contains(fact);
                        sight(fact, if so { Verdict::Holds } else { verdict })
                    })
                    .collect(),
                program: if choice == 200 { Err("no such program".to_owned()) } else { Ok(None) },
            },
            Effect::Ask { step, ask, expect, question, .. } => {
                let words = if question == Question::RunAgain {
                    ["again", "again", "leave", "no"][usize::from(choice / 8) % 4].to_owned()
                } else if question == Question::WhatNext {
                    let accept = format!("accept {step} looked at by hand");
                    ["retry", "undo", "halt", "no", &accept, &accept][usize::from(choice / 8) % 6].to_owned()
                } else if good {
                    expect.unwrap_or_else(|| {
                        if self.settings.pace == Pace::StepByStep { "go".to_owned() } else { "done".to_owned() }
                    })
                } else {
                    "no".to_owned()
                };
                Input::Answered(Reply { step, question, ask, words, by: AnsweredBy::Terminal })
            }
            Effect::AskToStop { .. } => {
                let words = ["stop", "f", "continue", ""][usize::from(choice / 8) % 4].to_owned();
                Input::StopAnswered { words, by: AnsweredBy::Terminal }
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
            Effect::Await { facts, .. } => Input::Awaited {
                ensures: facts.iter().map(|fact| sight(fact, verdict)).collect(),
                replaced: BTreeMap::new(),
            },
            Effect::Examine(facts) => {
                // Only what is broken leads on from here, so it is so more often than elsewhere.
                let verdict = if choice % 2 == 1 { Verdict::Broken } else { verdict };
                Input::Examined(facts.iter().map(|fact| sight(fact, verdict)).collect())
            }
            Effect::Rest(_) => Input::Rested,
            Effect::Terminate(_)
            | Effect::GoBack(_)
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

type RandomStep = (u8, Vec<String>, Vec<String>, bool, bool, u8, Vec<String>, Vec<String>);

fn random_step() -> impl Strategy<Value = RandomStep> {
    (0_u8..4, facts(), facts(), any::<bool>(), any::<bool>(), 0_u8..32, facts(), facts())
}

fn random_procedure() -> impl Strategy<Value = Procedure> {
    (facts(), any::<bool>(), proptest::collection::vec(random_step(), 0..5)).prop_map(
        |(run_wide, on_failure, steps)| {
            let borrowed = |facts: &[String]| -> Vec<Fact> { facts.iter().map(|text| fact(text)).collect() };
            let steps = steps
                .into_iter()
                .enumerate()
                .map(|(at, (kind, requires, ensures, pass, confirm, rules, undo_requires, undo_ensures))| {
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
                    step.way_back = match rules % 4 {
                        0 => WayBack::None,
                        1 => WayBack::Irreversible,
                        _ => {
                            let action =
                                if rules % 8 == 2 { Action::Manual("undo it".to_owned()) } else { run_action() };
                            let mut back = undo(action, &[], &[]);
                            if let WayBack::Undo(undo) = &mut back {
                                undo.requires = borrowed(&undo_requires);
                                undo.ensures = borrowed(&undo_ensures);
                            }
                            back
                        }
                    };
                    step.retry =
                        (rules / 8 == 1).then_some(Retry { times: 2, every: Duration::from_secs(1), backoff: 2 });
                    step.in_doubt = match (rules / 8, &step.way_back) {
                        (2, _) => InDoubt::Retry,
                        (3, WayBack::Undo(_)) => InDoubt::Undo,
                        _ => InDoubt::Ask,
                    };
                    if rules == 31 || rules == 5 {
                        step.overrides = OverrideRule::Never;
                    }
                    step
                })
                .collect();
            let run_wide: Vec<&str> = run_wide.iter().map(String::as_str).collect();
            let mut made = procedure(&run_wide, steps);
            made.plan.runbook.on_failure = if on_failure { OnFailure::Undo } else { OnFailure::Halt };
            made
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    /// P2, P3, P4, P5, P7, P13 and the order of undo, for whatever comes in, in whatever order, with the program killed at any instant
    /// and any overrides, valid or not, at the opening and each time that the run is taken up.
    #[test]
    fn no_sequence_of_inputs_starts_a_step_that_may_not_start(
        procedure in random_procedure(),
        step_by_step in any::<bool>(),
        terminal in any::<bool>(),
        policy in any::<bool>(),
        overrides in deviations::random_overrides(),
        choices in proptest::collection::vec((0_u8..16, any::<u8>()), 0..80),
    ) {
        let pace = if step_by_step && terminal { Pace::StepByStep } else { Pace::Straight };
        let people = if terminal { People::Terminal } else { People::Nobody(every_answer(&procedure)) };
        let mut run = Rehearsed::new(procedure, pace, people);
        if policy {
            run.settings.alone = SelfApproval::NotAllowed;
        }
        run.overrides_to_come = overrides.iter().map(|one| deviations::some_overrides(&run.procedure, one)).collect();
        let overrides = run.overrides_to_come.pop().unwrap_or_default();
        run.feed(Input::Open(Opening { overrides, ..opening() }))?;
        for (kind, choice) in choices {
            if run.is_over() {
                break;
            }
            let purpose = if choice % 4 == 0 { Purpose::TakeBack } else { Purpose::GoOn };
            match kind {
                _ if run.finished > 0 => run.die_and_resume(purpose, some_steps(&run.procedure, choice))?,
                0 => run.breaks(&fact(FACTS[usize::from(choice) % 4]))?,
                1 if choice % 8 == 0 => run.feed(Input::Signal(StopSignal::Now("SIGTERM")))?,
                1 if choice % 16 == 12 => run.feed(Input::NotTold("nobody is there".to_owned()))?,
                1 if choice % 4 >= 2 => run.feed(Input::Signal(StopSignal::Keyboard("SIGINT")))?,
                1 if choice % 4 == 1 => run.feed(Input::Signal(StopSignal::AfterStep("SIGHUP")))?,
                2 => run.feed(Input::TimeIsUp)?,
                3 if choice % 8 == 0 => run.die_and_resume(purpose, some_steps(&run.procedure, choice / 8))?,
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
                && run.state.steps.iter().all(|step| match step.status {
                    StepStatus::Done | StepStatus::Already | StepStatus::Skipped | StepStatus::Accepted => true,
                    StepStatus::NotApplicable | StepStatus::Open | StepStatus::Failed | StepStatus::InDoubt => false,
                });
            prop_assert!(all, "completed, with steps {:?}", run.state.steps);
        }
        if verdict == RunVerdict::Undone {
            let back = run.state.back.as_ref().expect("it went back");
            prop_assert!(back.steps.iter().all(|step| step.status == StepStatus::Done), "undone, with {:?}", back.steps);
            let begun = run.state.steps.iter().filter(|step| step.attempts > 0).count();
            let kept = run.back.as_ref().map_or(0, |back| back.kept);
            prop_assert_eq!(back.steps.len() + kept, begun, "every step that was begun was taken back or kept");
        }
        if let RunVerdict::Refused(_) = verdict {
            let begun = run.events.iter().any(|event| matches!(event, Event::StepIntended { .. }));
            prop_assert!(!begun, "refused after something was started");
        }
        let deviations = deviations::check(&run.procedure, &run.events)?;
        prop_assert_eq!(deviations, run.state.overrides.used.len());
        let mut read = State { order: run.state.order.clone(), ..State::default() };
        for event in &run.events {
            prop_assert!(read.apply(event).is_ok(), "the log does not read back");
        }
        prop_assert_eq!(&read, &run.state, "the log folds back to another state");
        // What comes after the end changes nothing.
        let events = run.events.len();
        run.feed(Input::Signal(StopSignal::Now("SIGINT")))?;
        run.feed(broken(&fact("a up")))?;
        for question in [Question::Manual, Question::RunAgain] {
            let (step, ask, words) = ("s0".parse().unwrap(), String::new(), "done".to_owned());
            run.feed(Input::Answered(Reply { step, question, ask, words, by: AnsweredBy::Terminal }))?;
        }
        run.feed(Input::StopAnswered { words: "stop".to_owned(), by: AnsweredBy::Terminal })?;
        prop_assert_eq!(run.events.len(), events);
    }
}

/// Any steps: what may not be run again must not be, whoever asks for it.
fn some_steps(procedure: &Procedure, choice: u8) -> Vec<StepId> {
    let ids = procedure.steps().iter().map(|step| step.id.clone()).enumerate();
    ids.filter(|(at, _)| choice >> (at % 8) & 1 == 1).map(|(_, id)| id).collect()
}

/// What a person who prepared the run well has given on the command line.
fn every_answer(procedure: &Procedure) -> Answers {
    let mut answers = Answers::default();
    for step in procedure.steps() {
        let expect = step.confirm.as_ref().map_or_else(|| step.id.to_string(), |confirm| confirm.expect.clone());
        answers.confirm.insert(step.id.clone(), expect);
        answers.attest.insert(step.id.clone(), "done by hand".to_owned());
    }
    answers
}

fn names(run: &Rehearsed) -> Vec<String> {
    let name = |event: &Event| serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned();
    run.events.iter().map(name).collect()
}

fn opened(procedure: Procedure) -> Rehearsed {
    let answers = People::Nobody(every_answer(&procedure));
    let mut run = Rehearsed::new(procedure, Pace::Straight, answers);
    run.feed(Input::Open(opening())).unwrap();
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
    // And with no step open, while it is looked whether the next may start.
    let steps = vec![step("stop", run_action(), &[], &["a down"]), step("change", run_action(), &["a down"], &[])];
    let mut run = opened(procedure(&[], steps));
    while run.state.phase != (Phase::Ready { next: 1 }) {
        all_hold(&mut run);
    }
    run.feed(broken(&fact("a down"))).unwrap();
    assert_eq!(run.state.phase, Phase::Over(RunVerdict::Halted(Cause::HoldBroken)));
    assert_eq!(names(&run).iter().filter(|name| *name == "step_intended").count(), 1, "the change did not begin");
}

#[test]
fn a_break_that_the_look_before_a_step_finds_follows_the_rule_as_one_that_the_watch_tells() {
    for (on_failure, last, undo_began) in
        [(OnFailure::Halt, RunVerdict::Halted(Cause::HoldBroken), 0), (OnFailure::Undo, RunVerdict::Undone, 1)]
    {
        let stop =
            Step { way_back: undo(run_action(), &[], &["a up"]), ..step("stop", run_action(), &[], &["a down"]) };
        let mut broken = procedure(&[], vec![stop, step("change", run_action(), &["a down"], &[])]);
        broken.plan.runbook.on_failure = on_failure;
        let mut run = opened(broken);
        for _ in 0..3 {
            all_hold(&mut run);
        }
        run.answer(15).unwrap();
        assert!(names(&run).contains(&"hold_broken".to_owned()), "{:?}", names(&run));
        assert_eq!(names(&run).iter().filter(|name| *name == "undo_began").count(), undo_began);
        for _ in 0..4 {
            if !run.is_over() {
                all_hold(&mut run);
            }
        }
        assert_eq!(run.state.phase, Phase::Over(last));
    }
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
        let mut run = Rehearsed::new(procedure(&[], vec![manual.clone()]), Pace::Straight, People::Nobody(answers));
        run.feed(Input::Open(opening())).unwrap();
        run
    };
    let step: StepId = "tell".parse().unwrap();
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
