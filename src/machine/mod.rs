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
    AnsweredBy, Cause, Ending, Event, Output, Program, Question, Sight, Verdict, WatchedFact, clip,
};
use crate::history::state::{Phase, State, StepStatus, Stopping};
use crate::id::{Digest, Fact, StepId};
use crate::machine::answer::{Judgement, judge};
use crate::plan::{Procedure, action_in_words};
use crate::runbook::holds::HoldStart;
use crate::runbook::model::{Action, IfEnsured, Leftovers, Setting, Step};

/// How long a step that is asked to end (SIGTERM) has before it is killed.
pub const GRACE: Duration = Duration::from_secs(10);

/// How much of an entry's 60 KiB lists may take.
const ENTRY_ROOM: usize = 40 << 10;

/// Something that came in.
#[derive(Debug, Clone)]
pub enum Input {
    /// The log is open; the run may begin.
    Open(Opening),
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
    /// Who can answer.
    pub people: People,
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
    /// Withdraw an open question or an [`Effect::Await`]: nothing will be done with its answer.
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

/// Says what follows from an input. `elapsed` is the time since the run opened.
pub fn decide(procedure: &Procedure, pace: Pace, state: &State, elapsed: Duration, input: Input) -> Decision {
    let machine = Machine { procedure, pace, state, elapsed };
    match input {
        Input::Open(opening) => machine.open(opening),
        Input::Prepared { requires, ensures, program } => machine.prepared(requires, ensures, program),
        Input::Answered(reply) => machine.answered(&reply),
        Input::Ended { ending, took, output, leftovers } => machine.ended(ending, took, output, leftovers),
        Input::Awaited { ensures } => machine.awaited(ensures),
        Input::TimeIsUp => machine.time_is_up(),
        Input::Broke(broke) => machine.broke(broke),
        Input::Signal(signal) => machine.signal(signal),
    }
}

struct Machine<'a> {
    procedure: &'a Procedure,
    pace: Pace,
    state: &'a State,
    elapsed: Duration,
}

impl Machine<'_> {
    fn open(&self, opening: Opening) -> Decision {
        let plan = &self.procedure.plan;
        let runbook = &plan.runbook;
        if let People::Nobody(answers) = &opening.people
            && let Some(reason) = self.missing_answers(answers)
        {
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
    fn missing_answers(&self, answers: &Answers) -> Option<String> {
        if self.pace == Pace::StepByStep {
            return Some("`--step` asks before each step, and there is no terminal".to_owned());
        }
        let mut missing = Vec::new();
        for step in self.procedure.steps() {
            if let Some(confirm) = &step.confirm {
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

    /// The step with this index is next: look at its facts, or complete the run if there is none.
    fn begin(&self, next: usize) -> Decision {
        let steps = self.procedure.steps();
        let Some(step) = steps.get(next) else { return self.complete() };
        let hold = self.holds_from(|from| match from {
            HoldStart::Opening => next == 0,
            HoldStart::Before(at) => at == next,
            HoldStart::After(_) => false,
        });
        let ensures = match step.if_ensured {
            IfEnsured::Pass => step.ensures.clone(),
            IfEnsured::Run => Vec::new(),
        };
        let requires = self.procedure.required_by(next);
        Decision { events: Vec::new(), effects: vec![Effect::Prepare { step: next, requires, hold, ensures }] }
    }

    fn complete(&self) -> Decision {
        // The event of the last step is not folded in yet when this is asked; it counts as done here.
        let already = self.state.steps.iter().filter(|step| step.status == StepStatus::Already).count();
        let done = self.procedure.steps().len() - already;
        let completed = Event::RunCompleted { done, already, micros: micros(self.elapsed) };
        Decision { events: vec![completed], effects: vec![Effect::Finish] }
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
        if self.pace == Pace::StepByStep && !self.state.answered.go_on {
            let ask = format!("Start step `{}`: {}?", step.id, action_in_words(&step.action));
            return self.ask(step, Question::GoOn, ask, None);
        }
        if let Some(confirm) = &step.confirm
            && !self.state.answered.confirm
        {
            return self.ask(step, Question::Confirm, confirm.ask.clone(), Some(confirm.expect.clone()));
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
            attempt,
            action: clip(&action_in_words(&step.action), 8192),
            program,
            requires: bounded(requires),
        };
        if let Some(reason) = trouble {
            let ending = Ending::NotStarted { reason: reason.clone() };
            let ended = self.end_event(&step.id, attempt, ending, Duration::ZERO, None, Vec::new());
            let mut decision = self.fail(step, attempt, reason, Vec::new());
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
            Question::Confirm | Question::GoOn => None,
        };
        let effect = Effect::Ask { step: step.id.clone(), question, ask, expect, within };
        Decision { events: Vec::new(), effects: vec![effect] }
    }

    fn answered(&self, reply: &Reply) -> Decision {
        let Some(at) = self.state.current() else { return Decision::default() };
        let step = &self.procedure.steps()[at];
        let go_on_first = self.pace == Pace::StepByStep && !self.state.answered.go_on;
        let (question, ask, expect) = match (self.state.phase, &step.action, &step.confirm) {
            (Phase::Ready { .. }, action, _) if go_on_first => (Question::GoOn, action_in_words(action), None),
            (Phase::Ready { .. }, _, Some(confirm)) if !self.state.answered.confirm => {
                (Question::Confirm, confirm.ask.clone(), Some(confirm.expect.as_str()))
            }
            (Phase::Acting { .. }, Action::Manual(task), _) => (Question::Manual, task.clone(), None),
            (_, Action::Run(_) | Action::Script(_) | Action::Wait | Action::Manual(_), _) => {
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
        let mut decision = if question == Question::Manual {
            self.action_over(at, Ending::Attested, Duration::ZERO, None, Vec::new())
        } else {
            // A person may have taken an hour to answer, so everything is looked at again.
            let mut again = self.begin(at);
            for effect in &mut again.effects {
                if let Effect::Prepare { hold, .. } = effect {
                    hold.clear();
                }
            }
            again
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
        events.push(self.halt_event(Cause::Interrupted, reason, Some(at), Vec::new()));
        Decision { events, effects: vec![Effect::Finish] }
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
            (Ending::Stopped, _) => self.halt(
                Cause::HoldBroken,
                format!(
                    "a fact that step `{}` needs broke while it ran; it was frozen and killed, and is in doubt",
                    step.id
                ),
                Some(at),
            ),
            (Ending::Interrupted, _) => self.halt(
                Cause::Interrupted,
                format!("step `{}` was interrupted and ended; it is in doubt", step.id),
                Some(at),
            ),
            (_, Some(reason)) => self.fail(step, attempt, reason, Vec::new()),
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
                self.fail(at, self.state.attempts(step), reason, ensures)
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
        let mut decision =
            self.next_after(at, Event::StepDone { step: step.id.clone(), attempt, ensures: bounded(ensures) });
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
            (Phase::Failed { .. }, _) => Decision::default(),
            (Phase::New | Phase::Ready { .. } | Phase::Verifying { .. } | Phase::Over(_), _) => {
                let when = if matches!(self.state.phase, Phase::Verifying { .. }) { "after" } else { "before" };
                let reason = format!(
                    "`{}`, which was held, {} ({when} step `{}`): {}",
                    evidence.fact, evidence.verdict, step.id, evidence.evidence
                );
                let mut decision = Decision::default();
                decision.events.push(self.halt_event(Cause::HoldBroken, reason, Some(at), Vec::new()));
                decision.effects = vec![Effect::Withdraw, Effect::Finish];
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
        if let Some(sight) = was_held {
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

    fn fail(&self, step: &Step, attempt: u32, reason: String, ensures: Vec<Sight>) -> Decision {
        let at = self.procedure.steps().iter().position(|other| other.id == step.id);
        let words = format!("step `{}` failed: {reason}", step.id);
        let failed = Event::StepFailed {
            step: step.id.clone(),
            attempt,
            reason: clip(&reason, 8192),
            ensures: bounded(ensures),
        };
        let halted = self.halt_event(Cause::StepFailed, words, at, Vec::new());
        Decision { events: vec![failed, halted], effects: vec![Effect::Finish] }
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
        Event::StepEnded { step: step.clone(), attempt, ending, micros: micros(took), output, leftovers }
    }

    fn holds_from(&self, begins: impl Fn(HoldStart) -> bool) -> Vec<Fact> {
        self.procedure.holds.iter().filter(|hold| begins(hold.from)).map(|hold| hold.fact.clone()).collect()
    }

    fn holds_after(&self, at: usize) -> Vec<Fact> {
        self.holds_from(|from| from == HoldStart::After(at))
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
