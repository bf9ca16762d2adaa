//! The one loop: take an input, decide, record, apply, perform. It owns the edge: processes, watches, the log, the terminal.
//!
//! - What starts things waits for the log: before a step is started everything recorded so far is synced. Entries that start
//!   nothing are gathered for a moment, so that the end of one step and the announcement of the next share a sync.
//! - What stops things never waits: a break freezes the step from the watch's thread ([`guard`]).
//! - An error of the log is final: what runs is frozen and killed, nothing more is started.

mod asking;
pub mod claim;
pub mod display;
pub mod facts;
pub mod guard;
pub mod launch;
pub mod locks;
pub mod looker;
pub mod next;
pub mod notify;
pub mod programs;
mod recording;
pub mod removal;
pub mod sinks;
pub mod stale;
mod stepping;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use chrono::Utc;

use crate::audit::{Draft, Home, Log, LogError, Recorded};
use crate::consent::policy::NotifyRule;
use crate::driver::asking::Standing;
use crate::driver::display::Display;
use crate::driver::facts::{Facts, announced};
use crate::driver::guard::Guard;
use crate::driver::locks::Unmarked;
use crate::driver::looker::{Job, Looked, Looker};
use crate::driver::notify::{Notifier, Told};
use crate::driver::programs::{Found, Wanted};
use crate::driver::removal::Removal;
use crate::exec::censor::Censor;
use crate::exec::command::User;
use crate::exec::containment::Containment;
use crate::exec::process::Ended;
use crate::exec::program::{ProgramError, Programs};
use crate::exec::redact::Redactions;
use crate::history::approval::{Approval, PolicyInForce};
use crate::history::deviation::Override;
use crate::history::event::{Ending, Event, Program, Sight};
use crate::history::outside::clean_words;
use crate::history::state::{Phase, State, Verdict};
use crate::id::{Digest, Fact, Moment, RunId, StepId};
use crate::machine::{
    BackProcedure, Decision, Effect, GRACE, Input, Opening, Resumption, Settings, StopSignal, decide, way_back,
};
use crate::plan::Procedure;

/// How long entries that start nothing wait for company before they are synced.
const GATHER: Duration = Duration::from_millis(20);
/// How long what runs may take to end after the log has failed.
const END_BOUND: Duration = Duration::from_secs(10);
/// How many entries fit one write of the log, whatever they say.
const FEW: usize = 4;
/// How much of a step's output is shown in each [`SHOWN_EVERY`], in bytes; nobody can read more.
const SHOWN_BYTES: usize = 256 << 10;
/// As how many bytes each piece counts besides its own, so that many small ones do not keep the loop.
const SHOWN_EACH: usize = 256;
/// The period for [`SHOWN_BYTES`].
const SHOWN_EVERY: Duration = Duration::from_millis(250);

/// What a run needs.
#[derive(Debug)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// What is done.
    pub procedure: Arc<Procedure>,
    /// The digest of the plan's bytes, which lie in the run's folder.
    pub plan: Digest,
    /// What does not change while it goes.
    pub settings: Settings,
    /// What it claims for itself alone.
    pub locks: Vec<String>,
    /// The permissions to leave the procedure that it begins or is taken up with, each seen to be valid.
    pub overrides: Vec<Override>,
    /// The policies in force, the machine's own first.
    pub policies: Vec<PolicyInForce>,
    /// The signatures over the plan that count and are not recorded yet.
    pub approvals: Vec<Approval>,
    /// Where things are kept.
    pub home: Home,
    /// What commands that are typed next need besides: the home and the policies that were given, with a blank before each word.
    pub options: String,
    /// Finds programs; it knows the digests of those that were read for the plan.
    pub programs: Arc<Programs>,
    /// Which commands are told of which entries.
    pub notify: Vec<NotifyRule>,
    /// What is removed from all that steps write.
    pub redact: Option<Removal>,
    /// Whether it begins, or is taken up again.
    pub beginning: Beginning,
}

/// How a run begins.
#[derive(Debug)]
pub enum Beginning {
    /// Anew, in the state of what is recorded of it already: that the glass was broken for it.
    New(Box<State>),
    /// It had halted or died, in this state, and is taken up again.
    Again(Box<State>, Resumption),
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The last line, for a person.
    pub last_line: String,
    /// How many deviations were made.
    pub deviations: usize,
    /// The last entry that it has made durable.
    pub durable: u64,
    /// What contained its steps. It is closed, and dropping it waits for the guardian to be gone, for which something else may be done.
    pub containment: Containment,
}

/// What is said of a run that is over.
struct Over {
    verdict: Verdict,
    last_line: String,
    deviations: usize,
}

/// Why a run could not be brought to a recorded end.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The log failed; what ran was ended.
    #[error(
        "{0}; nothing more was started, and what ran was frozen and killed. Look at `interlock audit show {1}` once the log can be read"
    )]
    Log(LogError, RunId),
    /// The plan could not be kept beside the log; nothing was started.
    #[error("{0}; nothing was started")]
    Plan(String),
    /// What the run left running when it died could not be ended; nothing was started.
    #[error("{0}; nothing was started")]
    Left(String),
    /// The watches could not be set up; nothing was started.
    #[error("facts cannot be watched on this machine: {0}; nothing was started")]
    Watches(std::io::Error),
}

enum Message {
    Input(Input),
    Looked(u64, Looked),
    Ended(Ended),
    Output(Vec<u8>),
    /// The answer to the question with this number.
    Answer(u64, Input),
    /// A command was told of an entry, or not.
    Told(Told),
    /// Somebody typed Ctrl-Z.
    SuspendAsked,
}

struct Running {
    /// Why it was told to end.
    told: Option<Ending>,
}

struct Driver {
    run: Run,
    state: State,
    begun: Instant,
    log: Log,
    display: Display,
    pending: Vec<Event>,
    /// Since when the first of them waits.
    pending_since: Option<Instant>,
    /// What is on disk and not shown yet: what is to start does not wait for it.
    untold: Vec<Recorded>,
    inbox: Receiver<Message>,
    sender: Sender<Message>,
    guard: Guard,
    facts: Arc<Facts>,
    looker: Looker,
    notifier: Notifier,
    /// The claims of its locks, until the first entries of the run are on disk.
    unmarked: Unmarked,
    /// What is done when everything was told that has to be before another step begins.
    held_back: Option<Effect>,
    containment: Containment,
    /// The step that is being prepared, and why it cannot be, where that is known already.
    preparing: Option<(usize, Option<String>)>,
    prepared: Option<Result<Option<launch::Prepared>, String>>,
    running: Option<Running>,
    /// Whether the open step was to start and was not, because a held fact broke; its end is still to come.
    withheld: bool,
    /// When the open step has taken its whole time.
    time_is_up: Option<Instant>,
    question: Option<Standing>,
    /// How many questions were asked.
    questions: u64,
    secrets: launch::Secrets,
    /// Takes what must not be recorded or shown out of what comes from outside.
    censor: Censor,
    /// Whom steps run as that name no user.
    us: User,
    unshown: Arc<AtomicUsize>,
    halted_at: Option<StepId>,
    /// The way back, once it is gone.
    back: Option<BackProcedure>,
    finished: bool,
}

/// Carries out a run to its end. `unmarked` are the claims of its locks, which are to say that the run has begun; `plan_is_kept` is asked
/// right before the first entry, and says when the plan's file is durable; `signals` is given where to put the signals that come.
///
/// # Errors
/// If the log fails, or facts cannot be watched at all. Everything else is an outcome.
pub fn carry_out(
    run: Run,
    log: Log,
    display: Display,
    secrets: launch::Secrets,
    unmarked: Unmarked,
    plan_is_kept: impl FnOnce() -> Result<(), String>,
    signals: impl FnOnce(SignalSink),
) -> Result<Outcome, DriverError> {
    let (sender, inbox) = channel();
    let guard = Guard::default();
    let containment = Containment::detect(run.id.as_str());
    let mut run = run;
    if let Beginning::Again(state, resumption) = &mut run.beginning {
        resumption.ended = launch::end_left(&containment, state).map_err(DriverError::Left)?;
    }
    let redactions = run.redact.as_ref().map_or_else(Redactions::none, Removal::redactions);
    let censor = Censor::new(secrets.masks(), redactions);
    let notifier = Notifier::new(std::mem::take(&mut run.notify), &censor, &sender);
    let run = run;
    let facts = Arc::new(watch(&run.procedure, &guard, &censor, &sender).map_err(DriverError::Watches)?);
    let looker = {
        let sender = sender.clone();
        Looker::new(Arc::clone(&facts), Arc::clone(&run.programs), move |number, looked| {
            // The loop may be gone already.
            let _ = sender.send(Message::Looked(number, looked));
        })
    };
    signals(SignalSink(sender.clone()));
    let opening = Opening {
        plan: run.plan.clone(),
        containment: containment.describe(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        watched: announced(&run.procedure),
        watching: facts.describe(),
        locks: run.locks.clone(),
        overrides: run.overrides.clone(),
        policies: run.policies.clone(),
        approvals: run.approvals.clone(),
    };
    let order = Some(run.procedure.steps().iter().map(|step| step.id.clone()).collect());
    let (state, input) = match &run.beginning {
        Beginning::New(state) => (State { order, ..State::clone(state) }, Input::Open(opening)),
        Beginning::Again(state, resumption) => {
            (State { order, ..State::clone(state) }, Input::Resume(opening, resumption.clone()))
        }
    };
    plan_is_kept().map_err(DriverError::Plan)?;
    let mut driver = Driver {
        run,
        state,
        begun: Instant::now(),
        log,
        display,
        pending: Vec::new(),
        pending_since: None,
        untold: Vec::new(),
        inbox,
        sender,
        guard,
        facts,
        looker,
        notifier,
        unmarked,
        held_back: None,
        containment,
        preparing: None,
        prepared: None,
        running: None,
        withheld: false,
        time_is_up: None,
        question: None,
        questions: 0,
        secrets,
        censor,
        us: User::current(),
        unshown: Arc::new(AtomicUsize::new(0)),
        halted_at: None,
        back: None,
        finished: false,
    };
    let over = driver.go(input);
    driver.display.finish();
    let durable = driver.log.durable();
    let (display, mut containment) = driver.end();
    containment.close();
    drop(display);
    over.map(|Over { verdict, last_line, deviations }| Outcome { verdict, last_line, deviations, durable, containment })
}

/// These events of a run, to be recorded.
fn drafts<'a>(run: &'a RunId, events: &'a [Event]) -> Vec<Draft<'a>> {
    events.iter().map(|event| Draft { run: Some(run), event }).collect()
}

/// Takes signals into the loop.
pub struct SignalSink(Sender<Message>);

impl SignalSink {
    /// A signal came.
    pub fn take(&self, signal: StopSignal) {
        // The loop may be gone already.
        let _ = self.0.send(Message::Input(Input::Signal(signal)));
    }

    /// The keyboard asked that the program be stopped in its place.
    pub fn suspend_asked(&self) {
        // The loop may be gone already.
        let _ = self.0.send(Message::SuspendAsked);
    }
}

fn watch(
    procedure: &Arc<Procedure>,
    guard: &Guard,
    censor: &Censor,
    sender: &Sender<Message>,
) -> std::io::Result<Facts> {
    let (owner, tripped, sender) = (guard.clone(), guard.clone(), sender.clone());
    Facts::new(
        Arc::clone(procedure),
        Arc::new(move |pid| owner.owns(pid)),
        censor.clone(),
        move |fact| tripped.trip(fact),
        move |broke| {
            // The loop may be gone already; then nothing runs any more.
            let _ = sender.send(Message::Input(Input::Broke(broke)));
        },
    )
}

impl Driver {
    fn go(&mut self, opening: Input) -> Result<Over, DriverError> {
        let outcome = self.handle(opening).and_then(|()| {
            while !self.finished {
                self.turn()?;
            }
            self.tell();
            self.end_telling()
        });
        self.tell();
        if let Err(error) = outcome {
            self.end_everything();
            return Err(DriverError::Log(error, self.run.id.clone()));
        }
        let Phase::Over(verdict) = self.state.phase else {
            unreachable!("the loop ends only when the run is over");
        };
        let deviations = self.state.overrides.used.len();
        Ok(Over { verdict, last_line: self.last_line(verdict), deviations })
    }

    /// Everything ends but what contains the steps, and what is shown.
    fn end(self) -> (Display, Containment) {
        (self.display, self.containment)
    }

    /// One turn of the loop.
    fn turn(&mut self) -> Result<(), LogError> {
        let Some(message) = self.next()? else { return Ok(()) };
        match message {
            Message::Input(input) => self.handle(input),
            // What came of a look that was withdrawn is about something else than what is asked now.
            Message::Looked(number, _) if !self.looker.counts(number) => Ok(()),
            Message::Looked(_, Looked::Prepared { program, requires, ensures }) => {
                self.looked(program, requires, ensures)
            }
            Message::Looked(_, Looked::Examined(sights)) => self.handle(Input::Examined(sights)),
            Message::Looked(_, Looked::Rested) => self.handle(Input::Rested),
            Message::Looked(_, Looked::Awaited { ensures, replaced }) => {
                self.handle(Input::Awaited { ensures, replaced })
            }
            Message::Ended(ended) => self.step_ended(ended),
            // The answer to a question that was withdrawn meanwhile is no answer to the one that is asked now.
            Message::Answer(number, _) if !self.is_asked(number) => Ok(()),
            Message::Answer(_, input) => {
                self.question = None;
                self.handle(input)
            }
            Message::Told(told) => self.told(told),
            Message::SuspendAsked => {
                self.refuse_to_suspend();
                Ok(())
            }
            Message::Output(bytes) => {
                self.say_unshown();
                self.display.output(&bytes);
                Ok(())
            }
        }
    }

    /// Waits for a message. None if something else was to be done first, and was.
    fn next(&mut self) -> Result<Option<Message>, LogError> {
        let time_is_up = self.time_is_up;
        let gather = self.pending_since.map(|since| since + GATHER);
        if gather.is_some_and(|until| until <= Instant::now()) {
            // Whatever else keeps coming in, an entry does not wait longer.
            self.sync()?;
            self.tell();
            return Ok(None);
        }
        if time_is_up.is_some_and(|deadline| deadline <= Instant::now()) {
            // Nor does a time-out wait, whatever a step writes meanwhile.
            self.time_is_up = None;
            self.handle(Input::TimeIsUp)?;
            return Ok(None);
        }
        let until = [time_is_up, gather].into_iter().flatten().min();
        let message = match until {
            Some(until) => self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())),
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match message {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => {
                self.sync()?;
                self.tell();
                Ok(None)
            }
            Err(RecvTimeoutError::Disconnected) => {
                unreachable!("the driver holds a sender of its own inbox");
            }
        }
    }

    /// Decides, records, applies, performs.
    fn handle(&mut self, input: Input) -> Result<(), LogError> {
        let opening = matches!(input, Input::Open(_) | Input::Resume(..));
        let now = Moment::of(Utc::now());
        let clock = (self.begun.elapsed(), &now);
        let (forward, settings) = (&self.run.procedure, &self.run.settings);
        let Decision { mut events, effects } = decide(forward, self.back.as_ref(), settings, &self.state, clock, input);
        for event in &mut events {
            clean_words(event, &|words| self.censor.clean(words));
            self.state.apply(event).expect("what is decided follows from the state it was decided on");
            if let Event::RunHalted { step, .. } = event {
                self.halted_at.clone_from(step);
            }
        }
        self.pend(events);
        let starts = effects.iter().any(|effect| match effect {
            Effect::Start { .. } | Effect::Ask { .. } | Effect::AskToStop { .. } => true,
            // A step at whose facts nobody looks is started at once, and that is one write with the opening.
            Effect::Prepare { requires, ensures, .. } => opening && !(requires.is_empty() && ensures.is_empty()),
            _ => opening,
        });
        let stops = |effect: &Effect| matches!(effect, Effect::Kill(_) | Effect::Terminate(_) | Effect::Withdraw);
        for effect in effects.iter().filter(|effect| stops(effect)) {
            self.stop(effect);
        }
        if starts || effects.contains(&Effect::Finish) {
            self.sync()?;
        }
        for effect in effects.into_iter().filter(|effect| !stops(effect)) {
            self.perform(effect)?;
        }
        self.tell();
        Ok(())
    }

    /// Does what stops something; never waits for the log.
    fn stop(&mut self, effect: &Effect) {
        match effect {
            Effect::Kill(ending) => self.end_step(ending, None),
            Effect::Terminate(ending) => self.end_step(ending, Some(GRACE)),
            Effect::Withdraw => {
                self.held_back = None;
                self.looker.withdraw();
                if let Some(question) = self.question.take() {
                    question.withdraw();
                }
            }
            Effect::Prepare { .. }
            | Effect::Ask { .. }
            | Effect::AskToStop { .. }
            | Effect::Start { .. }
            | Effect::Await { .. }
            | Effect::Examine(_)
            | Effect::Rest(_)
            | Effect::GoBack(_)
            | Effect::LetGo
            | Effect::Release(_)
            | Effect::Finish => {}
        }
    }

    fn perform(&mut self, effect: Effect) -> Result<(), LogError> {
        if let Effect::Prepare { .. } = effect
            && !self.may_prepare(&effect)?
        {
            return Ok(());
        }
        match effect {
            Effect::Prepare { step, requires, hold, observe, ensures } => {
                self.guard.observe(&observe);
                let trouble = self.ask_secrets(step)?.err();
                self.preparing = Some((step, trouble));
                let (procedure, at) = self.carried_out(step);
                let program = Wanted::of(&procedure.steps()[at].action);
                // Where there is nothing to look at and little to read, another thread would cost more than it saves.
                if requires.is_empty() && ensures.is_empty() {
                    match program.as_ref().map(|wanted| wanted.find_quickly(&self.run.programs)) {
                        None => return self.looked(None, Vec::new(), Vec::new()),
                        Some(Some(found)) => {
                            return self.looked(Some(found.map(Box::new)), Vec::new(), Vec::new());
                        }
                        Some(None) => {}
                    }
                }
                self.looker.look(Job::Prepare { program, requires, hold, observe, ensures });
            }
            Effect::Ask { step, question, ask, expect, within } => {
                self.time_is_up = within.and_then(|within| Instant::now().checked_add(within));
                self.ask(&step, question, &ask, expect);
            }
            Effect::AskToStop { ask } => self.ask_to_stop(&ask),
            Effect::Start { step, attempt } => self.start(step, attempt),
            Effect::Await { facts, hold, within, replaces } => {
                self.looker.look(Job::Await { facts, hold, within, replaces });
            }
            Effect::Examine(facts) => {
                self.looker.look(Job::Examine(facts));
            }
            Effect::Rest(pause) => {
                self.looker.look(Job::Rest(pause));
            }
            Effect::GoBack(turn) => {
                self.back = Some(way_back(&self.run.procedure, &self.state));
                return self.handle(Input::GoBack(turn));
            }
            Effect::LetGo => {
                if let Some(control) = self.guard.ended() {
                    self.let_go(control);
                }
            }
            Effect::Release(facts) => self.release(&facts),
            Effect::Finish => {
                // What a step started as a service and did not bring to its end as written ends with the step.
                if let Some(control) = self.guard.ended() {
                    control.kill();
                }
                self.finished = true;
            }
            Effect::Kill(_) | Effect::Terminate(_) | Effect::Withdraw => {}
        }
        Ok(())
    }

    fn release(&self, facts: &[Fact]) {
        self.facts.release(facts);
        self.guard.release(facts);
    }

    fn looked(
        &mut self,
        program: Option<Result<Box<Found>, ProgramError>>,
        requires: Vec<Sight>,
        ensures: Vec<Sight>,
    ) -> Result<(), LogError> {
        self.prepared = self.preparing.take().map(|(step, trouble)| match trouble {
            Some(reason) => Err(reason),
            None => self.prepare(step, program),
        });
        let program: Result<Option<Program>, String> = match &self.prepared {
            Some(Ok(prepared)) => Ok(prepared.as_ref().map(launch::Prepared::program)),
            Some(Err(reason)) => Err(reason.clone()),
            None => Ok(None),
        };
        self.handle(Input::Prepared { requires, ensures, program })
    }

    fn post(&self, input: Input) {
        self.sender.send(Message::Input(input)).expect("the driver holds the other end of its own inbox");
    }
}
