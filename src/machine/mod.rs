//! What comes next: [`decide`] holds all the rules of a run and does no I/O, reads no clock and starts no thread. It is given the
//! state (the fold of what is recorded), and something that came in; it says what to record and then what to do.
//!
//! Invariants, which the fold in [`crate::history::state`] enforces a second time:
//! - a step is started only after its facts were seen to hold, with their watches armed, and nothing asked the run to stop;
//! - steps go in order, and there is no input that passes over one;
//! - whatever ends a run says so with an event.

pub mod answer;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::event::{
    AnsweredBy, Cause, DecidedBy, Ending, Event, Output, Program, Question, Sight, Verdict, WatchedFact, Way, clip,
};
use crate::history::state::{Phase, Resumed, State, StepStatus, Stopping};
use crate::id::{Digest, Fact, StepId};
use crate::machine::answer::{Judgement, judge};
use crate::plan::{Plan, Procedure, action_in_words};
use crate::runbook::holds::HoldStart;
use crate::runbook::model::{
    Action, Confirm, IfEnsured, InDoubt, Leftovers, OnFailure, Runbook, Setting, Step, WayBack,
};

/// How long a step that is asked to end (SIGTERM) has before it is killed.
pub const GRACE: Duration = Duration::from_secs(10);

/// What is asked about a step that did not end well.
const WHAT_NEXT: &str = "`retry` attempts it again from its start, `undo` takes back everything that was done, the last first, \
                         `halt` leaves all as it stands; it can be resumed";

/// How much of an entry's 60 KiB lists may take.
const ENTRY_ROOM: usize = 40 << 10;

/// Something that came in.
#[derive(Debug, Clone)]
pub enum Input {
    /// The log is open; the run may begin.
    Open(Opening),
    /// The log is open, and a run that had halted or died is taken up again.
    Resume(Opening, Resumption),
    /// [`Effect::Rest`] is over.
    Rested,
    /// [`Effect::GoBack`] was done: the way back is known.
    GoBack(Option<Turn>),
    /// What [`Effect::Prepare`] found.
    Prepared {
        /// What was seen of each required fact.
        requires: Vec<Sight>,
        /// What was seen of each ensured fact, where the step passes if they hold.
        ensures: Vec<Sight>,
        /// The program of the step, opened; or why it cannot be started.
        program: Result<Option<Program>, String>,
    },
    /// The answer to [`Effect::Ask`].
    Answered(Reply),
    /// The action of the open step ended.
    Ended {
        /// How.
        ending: Ending,
        /// How long it took.
        took: Duration,
        /// What it wrote.
        output: Option<Output>,
        /// What was left of it, each as `<pid> <name>`.
        leftovers: Vec<String>,
    },
    /// [`Effect::Await`] is over: all of them hold, or the time is up.
    Awaited {
        /// What was seen last of each fact.
        ensures: Vec<Sight>,
    },
    /// The open step has taken its whole `timeout`.
    TimeIsUp,
    /// A watch says that a held fact broke, or that it was blind. What was running is frozen already.
    Broke(Break),
    /// A signal asked the program to stop.
    Signal(StopSignal),
}

/// What is known when a run opens.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Digest of the plan's bytes.
    pub plan: Digest,
    /// How processes are contained, in words.
    pub containment: String,
    /// How facts are watched, in words.
    pub watching: String,
    /// The version of the program.
    pub program: String,
    /// Each fact with how it is told.
    pub watched: Vec<WatchedFact>,
    /// What the run claims for itself alone.
    pub locks: Vec<String>,
}

/// How a run is taken up again.
#[derive(Debug, Clone)]
pub struct Resumption {
    /// What for.
    pub purpose: Purpose,
    /// Why another person takes it over.
    pub taken_over: Option<String>,
    /// Processes of the step in doubt that were still there and were ended.
    pub ended: Vec<String>,
}

/// Who can answer the questions of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum People {
    /// Somebody sits at a terminal.
    Terminal,
    /// Nobody; these answers were given beforehand.
    Nobody(Answers),
}

/// Answers given on the command line beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answers {
    /// `--confirm STEP=words`.
    pub confirm: BTreeMap<StepId, String>,
    /// `--attest STEP=words`.
    pub attest: BTreeMap<StepId, String>,
}

/// How a run is carried out: what does not change while it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether a person is asked before each step.
    pub pace: Pace,
    /// Who can answer.
    pub people: People,
    /// What was decided beforehand about a step that failed or is in doubt, when a run is taken up again.
    pub decided: BTreeMap<StepId, Choice>,
}

/// What is done about a step that failed or is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// It is attempted again from its start.
    Retry,
    /// Everything is taken back.
    Undo,
}

/// Why a run turns back. None where it had turned already, before it halted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// On whose word.
    pub by: DecidedBy,
    /// Why, in words.
    pub reason: String,
}

/// What a run that had halted is taken up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To go on.
    GoOn,
    /// To take everything back.
    TakeBack,
}

/// Whether `run --step` was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The steps follow each other.
    Straight,
    /// A person says of each step that it may start.
    StepByStep,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The words; empty where the terminal ended without an answer.
    pub words: String,
    /// How they came.
    pub by: AnsweredBy,
}

/// A held fact broke, as the watch tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// What was seen.
    pub sight: Sight,
    /// How the watch learned of it.
    pub told_by: String,
    /// From waking to having seen.
    pub look: Duration,
    /// From having seen to frozen, where something was running.
    pub freeze: Option<Duration>,
    /// How long the watch was blind, where that is the reason.
    pub blind: Option<Duration>,
}

/// A signal that asks to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT or SIGTERM: end the running step with grace, and halt. A second one ends it at once.
    Now(&'static str),
    /// SIGHUP: the terminal is gone. The running step may finish under its guards; then the run halts.
    AfterStep(&'static str),
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Look at the facts of a step, with their watches armed, and open its program. Answered by [`Input::Prepared`].
    Prepare {
        /// Index of the step.
        step: usize,
        /// Facts that must hold before it.
        requires: Vec<Fact>,
        /// Those of them whose hold begins here.
        hold: Vec<Fact>,
        /// Facts whose being so already lets the step pass.
        ensures: Vec<Fact>,
    },
    /// Ask a person, or take the answer given beforehand. Answered by [`Input::Answered`].
    Ask {
        /// The step.
        step: StepId,
        /// What kind of question.
        question: Question,
        /// The question.
        ask: String,
        /// The only answer that counts, for a confirmation.
        expect: Option<String>,
        /// How long the person has, for a manual task; then [`Input::TimeIsUp`].
        within: Option<Duration>,
    },
    /// Start the action of the step that was just announced. Answered by [`Input::Ended`].
    Start {
        /// Index of the step.
        step: usize,
        /// Which attempt.
        attempt: u32,
    },
    /// Look at these facts until all hold, for as long as this. Answered by [`Input::Awaited`].
    Await {
        /// The facts.
        facts: Vec<Fact>,
        /// Those of them that are held from the moment they are seen to hold.
        hold: Vec<Fact>,
        /// How long.
        within: Duration,
    },
    /// Wait for so long before a step is attempted again. Answered by [`Input::Rested`].
    Rest(Duration),
    /// Work out the way back ([`way_back`]) from what is recorded by now. Answered by [`Input::GoBack`].
    GoBack(Option<Turn>),
    /// Withdraw whatever is asked or looked at: no answer to it comes in any more.
    Withdraw,
    /// End what is running with SIGTERM, [`GRACE`], SIGKILL. Its [`Input::Ended`] says this ending.
    Terminate(Ending),
    /// End what is running with SIGKILL at once. Its [`Input::Ended`] says this ending.
    Kill(Ending),
    /// What the step started as a service is let go, and never ended from here again.
    LetGo,
    /// These holds are over; their watches may rest.
    Release(Vec<Fact>),
    /// The run is over.
    Finish,
}

/// What to record, in this order, and then what to do, in this order.
#[derive(Debug, Default)]
pub struct Decision {
    /// Recorded first.
    pub events: Vec<Event>,
    /// Done after.
    pub effects: Vec<Effect>,
}

/// The steps that are to be taken back now, the last first, as a procedure of their own: its steps are their undos.
#[derive(Debug, Clone)]
pub struct BackProcedure {
    /// The undos, in the order in which they are carried out.
    pub procedure: Procedure,
    /// How many steps were done and are left as they are, because the runbook does not say how to take them back.
    pub kept: usize,
    /// The irreversible step at which the way back ends, if it does not go all the way.
    pub ends_at: Option<StepId>,
}

/// Works out the way back from where a run stands: over every step that was done or begun, and not over what was already so.
pub fn way_back(forward: &Procedure, state: &State) -> BackProcedure {
    let mut steps = Vec::new();
    let mut kept = 0;
    let mut ends_at = None;
    for (at, reached) in state.steps.iter().enumerate().rev() {
        // What was so without an attempt of this run is not this run's to take back.
        if reached.attempts == 0 {
            continue;
        }
        let step = &forward.steps()[at];
        match &step.way_back {
            WayBack::None => kept += 1,
            WayBack::Irreversible => {
                ends_at = Some(step.id.clone());
                break;
            }
            WayBack::Undo(undo) => steps.push(Step {
                id: step.id.clone(),
                title: step.title.clone(),
                note: None,
                action: undo.action.clone(),
                requires: undo.requires.clone(),
                ensures: undo.ensures.clone(),
                within: undo.within,
                timeout: undo.timeout,
                if_ensured: IfEnsured::Run,
                confirm: None,
                way_back: WayBack::None,
                retry: None,
                when: None,
                in_doubt: InDoubt::Ask,
            }),
        }
    }
    let runbook = Runbook { requires: Vec::new(), steps, ..forward.plan.runbook.clone() };
    BackProcedure { procedure: Procedure::new(Plan { runbook, ..forward.plan.clone() }), kept, ends_at }
}

/// Says what follows from an input. `back` is the way back, once [`Effect::GoBack`] asked for it; `elapsed` is the time since
/// the run opened or was taken up again.
pub fn decide(
    forward: &Procedure,
    back: Option<&BackProcedure>,
    settings: &Settings,
    state: &State,
    elapsed: Duration,
    input: Input,
) -> Decision {
    let machine = match (&state.back, back) {
        (Some(inner), Some(back)) if !matches!(state.phase, Phase::Over(_)) => {
            Machine { procedure: &back.procedure, back: Some(back), settings, state: inner, whole: state, elapsed }
        }
        _ => Machine { procedure: forward, back: None, settings, state, whole: state, elapsed },
    };
    match input {
        Input::Open(opening) => machine.open(opening),
        Input::Resume(opening, resumption) => machine.resume(opening, resumption),
        Input::Rested => machine.rested(),
        Input::GoBack(turn) => machine.begin_back(back, turn),
        Input::Prepared { requires, ensures, program } => machine.prepared(requires, ensures, program),
        Input::Answered(reply) => machine.answered(&reply),
        Input::Ended { ending, took, output, leftovers } => machine.ended(ending, took, output, leftovers),
        Input::Awaited { ensures } => machine.awaited(ensures),
        Input::TimeIsUp => machine.time_is_up(),
        Input::Broke(broke) => machine.broke(broke),
        Input::Signal(signal) => machine.signal(signal),
    }
}

/// Which holds a look before a step establishes.
enum Establish {
    /// All that are held at the step: after a halt, and before another attempt.
    Everything,
    /// Those that begin with it.
    WhatBegins,
    /// None: they are established already.
    Nothing,
}

#[derive(Clone, Copy)]
struct Machine<'a> {
    /// What is carried out: the plan's steps, or their undos.
    procedure: &'a Procedure,
    /// The way back, when it is gone.
    back: Option<&'a BackProcedure>,
    settings: &'a Settings,
    /// The state of what is carried out.
    state: &'a State,
    /// The state of the whole run.
    whole: &'a State,
    elapsed: Duration,
}

impl Machine<'_> {
    fn way(&self) -> Way {
        if self.back.is_some() { Way::Back } else { Way::Forward }
    }

    fn open(&self, opening: Opening) -> Decision {
        let plan = &self.procedure.plan;
        let runbook = &plan.runbook;
        if let Some(reason) = self.missing_answers() {
            let refused = Event::RunRefused {
                runbook: runbook.name.clone(),
                plan: opening.plan,
                cause: Cause::PersonNeeded,
                reason,
                seen: Vec::new(),
            };
            return Decision { events: vec![refused], effects: vec![Effect::Finish] };
        }
        let mut events = vec![Event::RunOpened {
            runbook: runbook.name.clone(),
            title: runbook.title.clone(),
            labels: runbook.labels.clone(),
            source: plan.source.clone(),
            plan: opening.plan,
            steps: runbook.steps.len(),
            locks: opening.locks,
            containment: opening.containment,
            watching: opening.watching,
            program: opening.program,
        }];
        events.extend(announcements(opening.watched));
        let mut decision = self.begin(0);
        events.append(&mut decision.events);
        Decision { events, effects: decision.effects }
    }

    /// What is missing for a run that nobody watches: every manual step and confirmation needs its answer beforehand.
    fn missing_answers(&self) -> Option<String> {
        let People::Nobody(answers) = &self.settings.people else { return None };
        if self.settings.pace == Pace::StepByStep {
            return Some("`--step` asks before each step, and there is no terminal".to_owned());
        }
        let mut missing = Vec::new();
        for step in self.procedure.steps() {
            if !step.is_applicable() {
                continue;
            }
            if let Some(confirm) = confirmation_of(step) {
                match answers.confirm.get(&step.id) {
                    Some(words) if judge(Question::Confirm, Some(&confirm.expect), words) == Judgement::Accepted => {}
                    Some(_) => missing.push(format!("--confirm {}=… is not the expected answer", step.id)),
                    None => missing.push(format!("--confirm {}=…", step.id)),
                }
            }
            if matches!(step.action, Action::Manual(_)) && answers.attest.get(&step.id).is_none_or(String::is_empty) {
                missing.push(format!("--attest {}=…", step.id));
            }
        }
        (!missing.is_empty()).then(|| {
            format!("a person is needed and there is no terminal; on the command line: {}", missing.join(", "))
        })
    }

    /// Takes up a run that had halted or died: what it stands at decides what comes next.
    fn resume(&self, opening: Opening, resumption: Resumption) -> Decision {
        let mut events = vec![Event::RunResumed {
            containment: opening.containment,
            watching: opening.watching,
            program: opening.program,
            taken_over: resumption.taken_over,
            ended: resumption.ended,
        }];
        events.extend(announcements(opening.watched));
        // What follows is decided on the state after that event.
        let mut state = self.whole.clone();
        for event in &events {
            state.apply(event).expect("the command line takes up only a run that can be");
        }
        let machine = Machine { state: &state, whole: &state, ..*self };
        let mut decision = machine.resumed(resumption.purpose);
        events.append(&mut decision.events);
        Decision { events, effects: decision.effects }
    }

    fn resumed(&self, purpose: Purpose) -> Decision {
        if self.state.back.is_some() {
            return Decision { events: Vec::new(), effects: vec![Effect::GoBack(None)] };
        }
        if purpose == Purpose::TakeBack {
            return self.go_back(DecidedBy::Person, "a person asked for it".to_owned());
        }
        let Phase::Failed { step: at } = self.state.phase else {
            return self.begin(self.state.current().unwrap_or(self.procedure.steps().len()));
        };
        let step = &self.procedure.steps()[at];
        let in_doubt = self.state.steps[at].status == StepStatus::InDoubt;
        let rule = match (in_doubt, step.in_doubt) {
            (false, _) => Some((Choice::Retry, DecidedBy::Person)),
            (true, InDoubt::Retry) => Some((Choice::Retry, DecidedBy::Rule)),
            (true, InDoubt::Undo) => Some((Choice::Undo, DecidedBy::Rule)),
            (true, InDoubt::Ask) => None,
        };
        let decided = self.settings.decided.get(&step.id).map(|choice| (*choice, DecidedBy::Person));
        match (decided.or(rule), &self.settings.people) {
            (Some((Choice::Retry, by)), _) => self.retry(at, by, Duration::ZERO),
            (Some((Choice::Undo, by)), _) => self.go_back(by, format!("step `{}` was in doubt", step.id)),
            (None, People::Terminal) => self.ask_what_next(step, "nobody saw how it ended"),
            (None, People::Nobody(_)) => self.halt(
                Cause::PersonNeeded,
                format!(
                    "step `{0}` is in doubt: nobody saw how it ended; a person decides with --decide {0}=retry or \
                     --decide {0}=undo",
                    step.id
                ),
                Some(at),
            ),
        }
    }

    /// Attempts a step again, from its start, with its facts looked at afresh.
    fn retry(&self, at: usize, by: DecidedBy, pause: Duration) -> Decision {
        let step = self.procedure.steps()[at].id.clone();
        let pause_millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let mut decision = if pause.is_zero() {
            self.begin_again(at)
        } else {
            Decision { events: Vec::new(), effects: vec![Effect::Rest(pause)] }
        };
        decision.events.insert(0, Event::StepRetried { step, by, pause_millis });
        decision
    }

    /// Begins a step anew: what is held here is let go, looked at afresh and held again.
    fn begin_again(&self, at: usize) -> Decision {
        let mut decision = self.begin_with(at, &Establish::Everything);
        let held = self.holds_at(at);
        if !held.is_empty() {
            decision.effects.insert(0, Effect::Release(held));
        }
        decision.effects.insert(0, Effect::Withdraw);
        decision
    }

    fn rested(&self) -> Decision {
        match self.state.phase {
            Phase::Ready { next } if self.state.stopping.is_none() => self.begin_again(next),
            _ => Decision::default(),
        }
    }

    /// Turns back. The holds of the way there are over.
    fn go_back(&self, by: DecidedBy, reason: String) -> Decision {
        let mut held: Vec<Fact> = self.procedure.holds.iter().map(|hold| hold.fact.clone()).collect();
        held.sort();
        held.dedup();
        let turn = Turn { by, reason: clip(&reason, 8192) };
        let effects = vec![Effect::Withdraw, Effect::Release(held), Effect::GoBack(Some(turn))];
        Decision { events: Vec::new(), effects }
    }

    /// The way back is known: take back the last step first.
    fn begin_back(&self, back: Option<&BackProcedure>, turn: Option<Turn>) -> Decision {
        let (Some(back), false) = (back, matches!(self.whole.phase, Phase::Over(_))) else {
            return Decision::default();
        };
        let Some(turn) = turn else {
            return match self.state.phase {
                Phase::Ready { next } => self.begin(next),
                Phase::New | Phase::Acting { .. } | Phase::Verifying { .. } | Phase::Failed { .. } | Phase::Over(_) => {
                    Decision::default()
                }
            };
        };
        let steps = back.procedure.steps().len();
        let event = Event::UndoBegan { by: turn.by, reason: turn.reason, steps, kept: back.kept };
        // What follows is decided on the state after that event.
        let mut whole = self.whole.clone();
        whole.apply(&event).expect("a run turns back only where it stands");
        let state = whole.back.as_deref().expect("it has just turned back");
        let machine = Machine { procedure: &back.procedure, back: Some(back), state, whole: &whole, ..*self };
        let mut decision = machine.begin(0);
        decision.events.insert(0, event);
        decision
    }

    /// The step with this index is next: look at its facts. A step that is not applicable is passed over with its reason; if
    /// none is left the run is complete.
    fn begin(&self, next: usize) -> Decision {
        let establish = match self.whole.resumed {
            // After a halt nothing is held any more.
            Resumed::JustNow => Establish::Everything,
            Resumed::No => Establish::WhatBegins,
        };
        self.begin_with(next, &establish)
    }

    fn begin_with(&self, next: usize, establish: &Establish) -> Decision {
        let steps = self.procedure.steps();
        let mut events = Vec::new();
        let mut next = next;
        while let Some(when) = steps.get(next).filter(|step| !step.is_applicable()).and_then(|step| step.when.as_ref())
        {
            events.push(Event::StepNotApplicable {
                step: steps[next].id.clone(),
                expression: clip(&when.expression, 4096),
                values: when.values.iter().map(|(name, value)| (name.clone(), clip(value, 1024))).collect(),
            });
            next += 1;
        }
        let Some(step) = steps.get(next) else {
            let mut decision = self.complete();
            events.append(&mut decision.events);
            return Decision { events, effects: decision.effects };
        };
        let hold = match establish {
            Establish::Everything => self.holds_at(next),
            Establish::WhatBegins => self.holds_from(|from| match from {
                HoldStart::Opening => next == 0,
                HoldStart::Before(at) => at == next,
                HoldStart::After(_) => false,
            }),
            Establish::Nothing => Vec::new(),
        };
        let ensures = match step.if_ensured {
            IfEnsured::Pass => step.ensures.clone(),
            IfEnsured::Run => Vec::new(),
        };
        let mut requires = self.procedure.required_by(next);
        let also_held: Vec<Fact> = hold.iter().filter(|fact| !requires.contains(fact)).cloned().collect();
        requires.extend(also_held);
        Decision { events, effects: vec![Effect::Prepare { step: next, requires, hold, ensures }] }
    }

    fn complete(&self) -> Decision {
        if let Some(back) = self.back {
            return self.all_taken_back(back);
        }
        // The event of the last step is not folded in yet when this is asked; it counts as done here.
        let already = self.state.steps.iter().filter(|step| step.status == StepStatus::Already).count();
        let not_applicable = self.procedure.steps().iter().filter(|step| !step.is_applicable()).count();
        let done = self.procedure.steps().len() - already - not_applicable;
        let completed = Event::RunCompleted { done, already, not_applicable, micros: micros(self.elapsed) };
        Decision { events: vec![completed], effects: vec![Effect::Finish] }
    }

    fn all_taken_back(&self, back: &BackProcedure) -> Decision {
        let undone = self.procedure.steps().len();
        match &back.ends_at {
            None => {
                Decision { events: vec![Event::RunUndone { undone, kept: back.kept }], effects: vec![Effect::Finish] }
            }
            Some(step) => {
                let reason = format!("step `{step}` is irreversible, so nothing in front of it was taken back");
                let halted =
                    Event::RunHalted { cause: Cause::UndoFailed, reason, step: Some(step.clone()), seen: Vec::new() };
                Decision { events: vec![halted], effects: vec![Effect::Finish] }
            }
        }
    }

    fn prepared(
        &self,
        requires: Vec<Sight>,
        ensures: Vec<Sight>,
        program: Result<Option<Program>, String>,
    ) -> Decision {
        let Phase::Ready { next } = self.state.phase else { return Decision::default() };
        let Some(step) = self.procedure.steps().get(next) else { return Decision::default() };
        if self.state.stopping.is_some() {
            return Decision::default();
        }
        if requires.iter().any(|sight| sight.verdict != Verdict::Holds) {
            return self.requirement_missing(next, requires);
        }
        if step.if_ensured == IfEnsured::Pass && ensures.iter().all(|sight| sight.verdict == Verdict::Holds) {
            let hold = self.holds_after(next);
            if !hold.is_empty() {
                let facts = step.ensures.clone();
                return Decision {
                    events: Vec::new(),
                    effects: vec![Effect::Await { facts, hold, within: Duration::ZERO }],
                };
            }
            let seen = requires.into_iter().chain(ensures).collect();
            return self.already(next, seen);
        }
        if self.settings.pace == Pace::StepByStep && !self.state.answered.go_on {
            let ask = format!("Start step `{}`: {}?", step.id, action_in_words(&step.action));
            return self.ask(step, Question::GoOn, ask, None);
        }
        if let Some(confirm) = confirmation_of(step)
            && !self.state.answered.confirm
        {
            return self.ask(step, Question::Confirm, confirm.ask, Some(confirm.expect));
        }
        self.intend(next, step, requires, program)
    }

    fn intend(
        &self,
        at: usize,
        step: &Step,
        requires: Vec<Sight>,
        program: Result<Option<Program>, String>,
    ) -> Decision {
        let attempt = self.state.attempts(at) + 1;
        let (program, trouble) = match program {
            Ok(program) => (program, None),
            Err(reason) => (None, Some(reason)),
        };
        let intended = Event::StepIntended {
            step: step.id.clone(),
            way: self.way(),
            attempt,
            action: clip(&action_in_words(&step.action), 8192),
            program,
            requires: bounded(requires),
        };
        if let Some(reason) = trouble {
            let ending = Ending::NotStarted { reason: reason.clone() };
            let ended = self.end_event(&step.id, attempt, ending, Duration::ZERO, None, Vec::new());
            let mut decision = self.fail(step, attempt, &reason, Vec::new());
            decision.events.splice(0..0, [intended, ended]);
            return decision;
        }
        match &step.action {
            Action::Run(_) | Action::Script(_) => {
                Decision { events: vec![intended], effects: vec![Effect::Start { step: at, attempt }] }
            }
            Action::Wait => {
                let ended = self.end_event(&step.id, attempt, Ending::NothingToDo, Duration::ZERO, None, Vec::new());
                let effects = vec![Effect::Await {
                    facts: step.ensures.clone(),
                    hold: self.holds_after(at),
                    within: step.timeout,
                }];
                Decision { events: vec![intended, ended], effects }
            }
            Action::Manual(task) => {
                let mut decision = self.ask(step, Question::Manual, task.clone(), None);
                decision.events.insert(0, intended);
                decision
            }
        }
    }

    fn ask(&self, step: &Step, question: Question, ask: String, expect: Option<String>) -> Decision {
        let within = match question {
            Question::Manual => Some(step.timeout),
            Question::Confirm | Question::GoOn | Question::WhatNext => None,
        };
        let effect = Effect::Ask { step: step.id.clone(), question, ask, expect, within };
        Decision { events: Vec::new(), effects: vec![effect] }
    }

    fn answered(&self, reply: &Reply) -> Decision {
        let Some(at) = self.state.current() else { return Decision::default() };
        let step = &self.procedure.steps()[at];
        let go_on_first = self.settings.pace == Pace::StepByStep && !self.state.answered.go_on;
        let confirm = confirmation_of(step);
        let (question, ask, expect) = match (self.state.phase, &step.action) {
            (Phase::Failed { .. }, _) => (Question::WhatNext, WHAT_NEXT.to_owned(), None),
            (Phase::Ready { .. }, action) if go_on_first => (Question::GoOn, action_in_words(action), None),
            (Phase::Ready { .. }, _) => match &confirm {
                Some(confirm) if !self.state.answered.confirm => {
                    (Question::Confirm, confirm.ask.clone(), Some(confirm.expect.as_str()))
                }
                Some(_) | None => return Decision::default(),
            },
            (Phase::Acting { .. }, Action::Manual(task)) => (Question::Manual, task.clone(), None),
            (_, Action::Run(_) | Action::Script(_) | Action::Wait | Action::Manual(_)) => {
                return Decision::default();
            }
        };
        let accepted = match reply.by {
            // What was typed beforehand for a manual task is its record; what is typed at the terminal is an answer.
            AnsweredBy::CommandLine if question == Question::Manual => !reply.words.is_empty(),
            AnsweredBy::CommandLine | AnsweredBy::Terminal => {
                judge(question, expect, &reply.words) == Judgement::Accepted
            }
        };
        let (step_id, ask) = (step.id.clone(), clip(&ask, 8192));
        let answer = clip(&reply.words, 4096);
        if !accepted {
            return self.declined(at, Event::Declined { step: step_id, question, ask, answer, by: reply.by });
        }
        let event = Event::Answered { step: step_id, question, ask, answer, by: reply.by };
        let mut decision = match (question, reply.words.trim()) {
            (Question::Manual, _) => self.action_over(at, Ending::Attested, Duration::ZERO, None, Vec::new()),
            (Question::WhatNext, "retry") => self.retry(at, DecidedBy::Person, Duration::ZERO),
            (Question::WhatNext, "undo") => {
                self.go_back(DecidedBy::Person, format!("a person chose it after step `{}`", step.id))
            }
            (Question::WhatNext, _) => self.halt(
                self.cause_of_failure(at),
                format!("step `{}` did not end well; a person chose to halt", step.id),
                Some(at),
            ),
            // A person may have taken an hour to answer, so everything is looked at again.
            (Question::Confirm | Question::GoOn, _) => self.begin_with(at, &Establish::Nothing),
        };
        decision.events.insert(0, event);
        decision
    }

    fn declined(&self, at: usize, event: Event) -> Decision {
        let step = &self.procedure.steps()[at];
        let reason = format!("a person did not agree at step `{}`", step.id);
        let mut events = vec![event];
        if let Phase::Acting { .. } = self.state.phase {
            let attempt = self.state.attempts(at);
            let ended = self.end_event(&step.id, attempt, Ending::Interrupted, Duration::ZERO, None, Vec::new());
            events.push(ended);
        }
        let cause = match (self.back, self.state.phase) {
            // An undo that nobody attests was not done: going back did not go all the way.
            (Some(_), _) => Cause::UndoFailed,
            (None, Phase::Failed { .. }) => self.cause_of_failure(at),
            (
                None,
                Phase::New | Phase::Ready { .. } | Phase::Acting { .. } | Phase::Verifying { .. } | Phase::Over(_),
            ) => Cause::Interrupted,
        };
        events.push(self.halt_event(cause, reason, Some(at), Vec::new()));
        Decision { events, effects: vec![Effect::Finish] }
    }

    /// Why a run halts that stands at a step which did not end well.
    fn cause_of_failure(&self, at: usize) -> Cause {
        match (self.state.stopping, self.state.steps.get(at).map(|step| step.status)) {
            (Some(Stopping::HoldBroken), _) => Cause::HoldBroken,
            (_, Some(StepStatus::InDoubt)) => Cause::PersonNeeded,
            (_, _) => Cause::StepFailed,
        }
    }

    fn ended(&self, ending: Ending, took: Duration, output: Option<Output>, leftovers: Vec<String>) -> Decision {
        let Phase::Acting { step } = self.state.phase else { return Decision::default() };
        self.action_over(step, ending, took, output, leftovers)
    }

    fn action_over(
        &self,
        at: usize,
        ending: Ending,
        took: Duration,
        output: Option<Output>,
        leftovers: Vec<String>,
    ) -> Decision {
        let step = &self.procedure.steps()[at];
        let attempt = self.state.attempts(at);
        let trouble = trouble_of(step, &ending, &leftovers);
        let ended = self.end_event(&step.id, attempt, ending.clone(), took, output, leftovers);
        let mut decision = match (&ending, trouble) {
            (Ending::Stopped, _) => self.after_failure(
                step,
                Cause::HoldBroken,
                format!(
                    "a fact that step `{}` needs broke while it ran; it was frozen and killed, and is in doubt",
                    step.id
                ),
            ),
            (Ending::Interrupted, _) => self.halt(
                Cause::Interrupted,
                format!("step `{}` was interrupted and ended; it is in doubt", step.id),
                Some(at),
            ),
            (_, Some(reason)) => self.fail(step, attempt, &reason, Vec::new()),
            (_, None) if step.ensures.is_empty() => self.done(at, Vec::new()),
            (_, None) => {
                let effect =
                    Effect::Await { facts: step.ensures.clone(), hold: self.holds_after(at), within: step.within };
                Decision { events: Vec::new(), effects: vec![effect] }
            }
        };
        decision.events.insert(0, ended);
        decision
    }

    fn awaited(&self, ensures: Vec<Sight>) -> Decision {
        let good = ensures.iter().all(|sight| sight.verdict == Verdict::Holds);
        match self.state.phase {
            Phase::Verifying { step } if good => self.done(step, ensures),
            Phase::Verifying { step } => {
                let at = &self.procedure.steps()[step];
                let within = match at.action {
                    Action::Wait => at.timeout,
                    Action::Run(_) | Action::Script(_) | Action::Manual(_) => at.within,
                };
                let missing: Vec<String> = ensures
                    .iter()
                    .filter(|sight| sight.verdict != Verdict::Holds)
                    .map(|sight| format!("`{}` {}: {}", sight.fact, sight.verdict, sight.evidence))
                    .collect();
                let within = crate::runbook::duration::show(within);
                let reason = format!("what it ensures did not come true within {within}: {}", missing.join("; "));
                self.fail(at, self.state.attempts(step), &reason, ensures)
            }
            Phase::Ready { next } if good => self.already(next, ensures),
            // It was so a moment ago and is not any more: the step is not passed over, it runs.
            Phase::Ready { next } => self.begin(next),
            Phase::New | Phase::Acting { .. } | Phase::Failed { .. } | Phase::Over(_) => Decision::default(),
        }
    }

    fn done(&self, at: usize, ensures: Vec<Sight>) -> Decision {
        let step = &self.procedure.steps()[at];
        let attempt = self.state.attempts(at);
        let mut decision = self.next_after(
            at,
            Event::StepDone { step: step.id.clone(), way: self.way(), attempt, ensures: bounded(ensures) },
        );
        if setting_of(&step.action).is_some_and(|setting| setting.leftovers == Leftovers::Service) {
            decision.effects.insert(0, Effect::LetGo);
        }
        decision
    }

    fn already(&self, at: usize, seen: Vec<Sight>) -> Decision {
        let step = self.procedure.steps()[at].id.clone();
        let mut decision = self.next_after(at, Event::StepAlready { step, seen: bounded(seen) });
        // The fold has not seen this step yet when the totals are counted.
        if let Some(Event::RunCompleted { done, already, .. }) = decision.events.last_mut() {
            *done -= 1;
            *already += 1;
        }
        decision
    }

    /// A step ended well: release what it was the last to need, then go on, or halt if something asked for it.
    fn next_after(&self, at: usize, event: Event) -> Decision {
        let over: Vec<Fact> =
            self.procedure.holds.iter().filter(|hold| hold.until == at).map(|hold| hold.fact.clone()).collect();
        let last = at + 1 == self.procedure.steps().len();
        let mut decision = if self.state.stopping.is_some() && !last {
            let reason = format!("asked to stop; step `{}` was finished first", self.procedure.steps()[at].id);
            self.halt(Cause::Interrupted, reason, Some(at + 1))
        } else {
            self.begin(at + 1)
        };
        decision.events.insert(0, event);
        if !over.is_empty() {
            decision.effects.insert(0, Effect::Release(over));
        }
        decision
    }

    fn time_is_up(&self) -> Decision {
        let Phase::Acting { step } = self.state.phase else { return Decision::default() };
        if self.being_ended() {
            return Decision::default();
        }
        match self.procedure.steps()[step].action {
            Action::Run(_) | Action::Script(_) => {
                Decision { events: Vec::new(), effects: vec![Effect::Terminate(Ending::TimedOut)] }
            }
            Action::Manual(_) | Action::Wait => {
                let mut decision = self.action_over(step, Ending::TimedOut, Duration::ZERO, None, Vec::new());
                decision.effects.insert(0, Effect::Withdraw);
                decision
            }
        }
    }

    /// Whether the running step was told to end already.
    fn being_ended(&self) -> bool {
        match self.state.stopping {
            Some(Stopping::HoldBroken | Stopping::Signal) => true,
            Some(Stopping::HangUp | Stopping::Declined) | None => false,
        }
    }

    fn broke(&self, broke: Break) -> Decision {
        let Some(at) = self.state.current() else { return Decision::default() };
        if !self.is_held(&broke.sight.fact, at) {
            return Decision::default();
        }
        let step = &self.procedure.steps()[at];
        let acting = matches!(self.state.phase, Phase::Acting { .. });
        let evidence = broke.sight.clone();
        let event = Event::HoldBroken {
            told_by: broke.told_by,
            step: acting.then(|| step.id.clone()),
            look_micros: micros(broke.look),
            freeze_micros: broke.freeze.map(micros),
            blind_millis: broke.blind.map(|blind| u64::try_from(blind.as_millis()).unwrap_or(u64::MAX)),
            sight: broke.sight,
        };
        let mut decision = match (self.state.phase, &step.action) {
            (Phase::Acting { .. }, Action::Run(_) | Action::Script(_)) => {
                Decision { events: Vec::new(), effects: vec![Effect::Kill(Ending::Stopped)] }
            }
            (Phase::Acting { .. }, Action::Manual(_) | Action::Wait) => {
                let mut decision = self.action_over(at, Ending::Stopped, Duration::ZERO, None, Vec::new());
                decision.effects.insert(0, Effect::Withdraw);
                decision
            }
            (Phase::Failed { .. } | Phase::New | Phase::Over(_), _) => Decision::default(),
            (Phase::Verifying { .. }, _) => {
                let reason = format!(
                    "`{}`, which was held, {} after the action of step `{}`: {}",
                    evidence.fact, evidence.verdict, step.id, evidence.evidence
                );
                let failed = Event::StepFailed {
                    step: step.id.clone(),
                    way: self.way(),
                    attempt: self.state.attempts(at),
                    reason: clip(&reason, 8192),
                    ensures: Vec::new(),
                };
                let mut decision = self.after_failure(step, Cause::HoldBroken, reason);
                decision.events.insert(0, failed);
                decision.effects.insert(0, Effect::Withdraw);
                decision
            }
            (Phase::Ready { .. }, _) => {
                let reason = format!(
                    "`{}`, which was held, {} before step `{}`: {}",
                    evidence.fact, evidence.verdict, step.id, evidence.evidence
                );
                let mut decision = match (self.back, &self.settings.people, self.procedure.plan.runbook.on_failure) {
                    (Some(_), _, _) => {
                        self.halt(Cause::UndoFailed, format!("going back cannot go on: {reason}"), Some(at))
                    }
                    (None, People::Nobody(_), OnFailure::Undo) => self.go_back(DecidedBy::Rule, reason),
                    (None, _, _) => self.halt(Cause::HoldBroken, reason, Some(at)),
                };
                decision.effects.insert(0, Effect::Withdraw);
                decision
            }
        };
        decision.events.insert(0, event);
        decision
    }

    fn signal(&self, signal: StopSignal) -> Decision {
        let Some(at) = self.state.current() else { return Decision::default() };
        let step = &self.procedure.steps()[at];
        let (name, hang_up) = match signal {
            StopSignal::Now(name) => (name, false),
            StopSignal::AfterStep(name) => (name, true),
        };
        let event = Event::SignalReceived {
            signal: name.to_owned(),
            step: matches!(self.state.phase, Phase::Acting { .. }).then(|| step.id.clone()),
        };
        let running =
            matches!((self.state.phase, &step.action), (Phase::Acting { .. }, Action::Run(_) | Action::Script(_)));
        let mut decision = if hang_up && (running || matches!(self.state.phase, Phase::Verifying { .. })) {
            Decision::default()
        } else if running {
            let effect = if self.being_ended() {
                Effect::Kill(Ending::Interrupted)
            } else {
                Effect::Terminate(Ending::Interrupted)
            };
            Decision { events: Vec::new(), effects: vec![effect] }
        } else if let Phase::Acting { .. } = self.state.phase {
            let mut decision = self.action_over(at, Ending::Interrupted, Duration::ZERO, None, Vec::new());
            decision.effects.insert(0, Effect::Withdraw);
            decision
        } else {
            let reason = format!("{name} came {} step `{}`", self.where_it_stands(), step.id);
            let mut decision = Decision::default();
            decision.events.push(self.halt_event(Cause::Interrupted, reason, Some(at), Vec::new()));
            decision.effects = vec![Effect::Withdraw, Effect::Finish];
            decision
        };
        decision.events.insert(0, event);
        decision
    }

    fn where_it_stands(&self) -> &'static str {
        if matches!(self.state.phase, Phase::Verifying { .. }) { "while verifying" } else { "before" }
    }

    fn requirement_missing(&self, next: usize, requires: Vec<Sight>) -> Decision {
        let step = &self.procedure.steps()[next];
        let missing: Vec<Sight> = requires.into_iter().filter(|sight| sight.verdict != Verdict::Holds).collect();
        let words: Vec<String> =
            missing.iter().map(|sight| format!("`{}` {}: {}", sight.fact, sight.verdict, sight.evidence)).collect();
        let reason = format!("step `{}` requires what does not hold: {}", step.id, words.join("; "));
        let was_held = missing.iter().find(|sight| self.held_before(&sight.fact, next)).cloned();
        if self.back.is_some() {
            return self.halt(Cause::UndoFailed, format!("going back cannot go on: {reason}"), Some(next));
        }
        if let (Some(sight), Resumed::No) = (was_held, self.whole.resumed) {
            let broken = Event::HoldBroken {
                sight,
                step: None,
                told_by: "the look before the step".to_owned(),
                look_micros: 0,
                freeze_micros: None,
                blind_millis: None,
            };
            let halted = self.halt_event(Cause::HoldBroken, reason, Some(next), missing);
            return Decision { events: vec![broken, halted], effects: vec![Effect::Finish] };
        }
        if self.state.begun() && self.whole.resumed == Resumed::No {
            return self.nothing_started_but(next, reason, missing);
        }
        let event = if self.state.begun() {
            self.halt_event(Cause::FactDoesNotHold, reason, Some(next), missing)
        } else {
            Event::RunRefused {
                runbook: self.procedure.plan.runbook.name.clone(),
                plan: self.state.plan.clone().expect("a run that is ready was opened with its plan"),
                cause: Cause::FactDoesNotHold,
                reason: clip(&reason, 8192),
                seen: bounded(missing),
            }
        };
        Decision { events: vec![event], effects: vec![Effect::Finish] }
    }

    /// A step in the middle cannot start, because what it requires does not hold: the rule says whether to go back.
    fn nothing_started_but(&self, next: usize, reason: String, missing: Vec<Sight>) -> Decision {
        match (&self.settings.people, self.procedure.plan.runbook.on_failure) {
            (People::Nobody(_), OnFailure::Undo) => self.go_back(DecidedBy::Rule, reason),
            (People::Nobody(_) | People::Terminal, _) => Decision {
                events: vec![self.halt_event(Cause::FactDoesNotHold, reason, Some(next), missing)],
                effects: vec![Effect::Finish],
            },
        }
    }

    /// A step failed: it is attempted again if its rule says so, else what its failure asks for.
    fn fail(&self, step: &Step, attempt: u32, reason: &str, ensures: Vec<Sight>) -> Decision {
        let failed = Event::StepFailed {
            step: step.id.clone(),
            way: self.way(),
            attempt,
            reason: clip(reason, 8192),
            ensures: bounded(ensures),
        };
        let at = self.index_of(step);
        let mut decision = match step.retry {
            Some(retry) if attempt <= retry.times && self.state.stopping.is_none() => {
                self.retry(at, DecidedBy::Rule, retry.pause(attempt))
            }
            Some(_) | None => {
                self.after_failure(step, Cause::StepFailed, format!("step `{}` failed: {reason}", step.id))
            }
        };
        decision.events.insert(0, failed);
        decision
    }

    /// What follows when a step did not end well: a person is asked, or the runbook's rule is followed. On the way back the run
    /// halts, and a person is needed.
    fn after_failure(&self, step: &Step, cause: Cause, reason: String) -> Decision {
        let at = self.index_of(step);
        if self.back.is_some() {
            let reason = format!("going back failed: {reason}");
            return self.halt(Cause::UndoFailed, reason, Some(at));
        }
        // A signal asked to stop: nobody is asked any more.
        if matches!(self.state.stopping, Some(Stopping::Signal | Stopping::HangUp)) {
            return self.halt(cause, reason, Some(at));
        }
        match (&self.settings.people, self.procedure.plan.runbook.on_failure) {
            (People::Terminal, _) => self.ask_what_next(step, &reason),
            (People::Nobody(_), OnFailure::Undo) => self.go_back(DecidedBy::Rule, reason),
            (People::Nobody(_), OnFailure::Halt) => self.halt(cause, reason, Some(at)),
        }
    }

    fn ask_what_next(&self, step: &Step, reason: &str) -> Decision {
        let mut decision = self.ask(step, Question::WhatNext, format!("{reason}. {WHAT_NEXT}"), None);
        // What waits for the facts of the failed attempt is not waited for any more.
        decision.effects.insert(0, Effect::Withdraw);
        decision
    }

    fn index_of(&self, step: &Step) -> usize {
        let found = self.procedure.steps().iter().position(|other| other.id == step.id);
        found.expect("the step is one of the procedure's")
    }

    fn halt(&self, cause: Cause, reason: String, step: Option<usize>) -> Decision {
        Decision { events: vec![self.halt_event(cause, reason, step, Vec::new())], effects: vec![Effect::Finish] }
    }

    fn halt_event(&self, cause: Cause, reason: String, step: Option<usize>, seen: Vec<Sight>) -> Event {
        let step = step.and_then(|at| self.procedure.steps().get(at)).map(|step| step.id.clone());
        Event::RunHalted { cause, reason: clip(&reason, 8192), step, seen: bounded(seen) }
    }

    fn end_event(
        &self,
        step: &StepId,
        attempt: u32,
        ending: Ending,
        took: Duration,
        output: Option<Output>,
        leftovers: Vec<String>,
    ) -> Event {
        Event::StepEnded {
            step: step.clone(),
            way: self.way(),
            attempt,
            ending,
            micros: micros(took),
            output,
            leftovers,
        }
    }

    fn holds_from(&self, begins: impl Fn(HoldStart) -> bool) -> Vec<Fact> {
        self.procedure.holds.iter().filter(|hold| begins(hold.from)).map(|hold| hold.fact.clone()).collect()
    }

    fn holds_after(&self, at: usize) -> Vec<Fact> {
        self.holds_from(|from| from == HoldStart::After(at))
    }

    /// What is held at this step, but for what it will itself establish.
    fn holds_at(&self, at: usize) -> Vec<Fact> {
        let mut facts = Vec::new();
        for hold in &self.procedure.holds {
            let begun = match hold.from {
                HoldStart::Opening => true,
                HoldStart::Before(from) => from <= at,
                HoldStart::After(from) => from < at,
            };
            if begun && at <= hold.until && !facts.contains(&hold.fact) {
                facts.push(hold.fact.clone());
            }
        }
        facts
    }

    /// Whether this fact is held at this step, counting a hold that begins with it or that it establishes.
    fn is_held(&self, fact: &Fact, at: usize) -> bool {
        self.procedure.holds.iter().any(|hold| {
            let begun = match hold.from {
                HoldStart::Opening => true,
                HoldStart::Before(from) | HoldStart::After(from) => from <= at,
            };
            hold.fact == *fact && begun && at <= hold.until
        })
    }

    /// Whether this fact was held already when this step came up.
    fn held_before(&self, fact: &Fact, at: usize) -> bool {
        self.procedure.holds.iter().any(|hold| {
            let begun = match hold.from {
                HoldStart::Opening => at > 0,
                HoldStart::Before(from) | HoldStart::After(from) => from < at,
            };
            hold.fact == *fact && begun && at <= hold.until
        })
    }
}

/// The probes of a run, in as many entries as their size asks for.
fn announcements(watched: Vec<WatchedFact>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut facts = Vec::new();
    let mut size = 0;
    for one in watched {
        let words = one.commands.iter().flatten().map(|word| word.len() + 4).sum::<usize>();
        let bytes = 2 * (one.probe.len() + words) + 200;
        if size + bytes > ENTRY_ROOM && !facts.is_empty() {
            events.push(Event::WatchesArmed { facts: std::mem::take(&mut facts) });
            size = 0;
        }
        size += bytes;
        facts.push(one);
    }
    if !facts.is_empty() {
        events.push(Event::WatchesArmed { facts });
    }
    events
}

/// Shortens evidence so that all of it fits an entry; a step with hundreds of facts has little room for each.
fn bounded(mut sights: Vec<Sight>) -> Vec<Sight> {
    let share = (ENTRY_ROOM / 2 / sights.len().max(1)).max(24);
    for sight in &mut sights {
        if sight.evidence.len() > share {
            sight.evidence = clip(&sight.evidence, share);
        }
    }
    sights
}

/// What is asked before a step starts: its own confirmation, or that of a step that cannot be taken back.
fn confirmation_of(step: &Step) -> Option<Confirm> {
    match (&step.confirm, &step.way_back) {
        (Some(confirm), _) => Some(confirm.clone()),
        (None, WayBack::Irreversible) => Some(Confirm {
            ask: format!("Step `{0}` cannot be taken back. To start it, type its id: {0}", step.id),
            expect: step.id.to_string(),
        }),
        (None, WayBack::None | WayBack::Undo(_)) => None,
    }
}

/// Why an ending is not a success; none if it is one.
fn trouble_of(step: &Step, ending: &Ending, leftovers: &[String]) -> Option<String> {
    match ending {
        Ending::Exited { code } => {
            setting_of(&step.action).and_then(|setting| trouble_of_exit(setting, *code, leftovers))
        }
        Ending::Signalled { signal } => Some(format!("it was ended by signal {signal}")),
        Ending::TimedOut => {
            Some(format!("it ran longer than its time-out of {}", crate::runbook::duration::show(step.timeout)))
        }
        Ending::NotStarted { reason } => Some(reason.clone()),
        Ending::Stopped | Ending::Interrupted | Ending::Attested | Ending::NothingToDo => None,
    }
}

fn setting_of(action: &Action) -> Option<&Setting> {
    match action {
        Action::Run(run) => Some(&run.setting),
        Action::Script(script) => Some(&script.setting),
        Action::Wait | Action::Manual(_) => None,
    }
}

fn trouble_of_exit(setting: &Setting, code: i32, leftovers: &[String]) -> Option<String> {
    if !setting.success.contains(&code) {
        return Some(format!("it exited with {code}"));
    }
    match setting.leftovers {
        Leftovers::Fail if !leftovers.is_empty() => Some(format!(
            "it left processes running, which were ended: {}; if it starts a service, say `starts_service: true`",
            leftovers.join(", ")
        )),
        Leftovers::Fail | Leftovers::Service => None,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
