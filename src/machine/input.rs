//! What comes into the machine, and what does not change while a run goes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::approval::{Approval, PolicyInForce};
use crate::history::deviation::{Deviation, Override};
use crate::history::event::{AnsweredBy, DecidedBy, Ending, Output, Program, Question, Sight, WatchedFact};
use crate::id::{Digest, Fingerprint, Moment, StepId};
#[cfg(doc)]
use crate::machine::{Effect, way_back::way_back};

/// Something that came in.
#[derive(Debug, Clone)]
pub enum Input {
    /// The log is open; the run may begin.
    Open(Opening),
    /// The log is open, and a run that had halted or died is taken up again.
    Resume(Opening, Resumption),
    /// What [`Effect::Examine`] saw.
    Examined(Vec<Sight>),
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
    /// The answer to [`Effect::AskToStop`].
    StopAnswered {
        /// The words; empty where the terminal ended without an answer.
        words: String,
        /// How they came.
        by: AnsweredBy,
    },
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
        /// What the programs that the step replaces are now, by their paths, if all facts hold.
        replaced: BTreeMap<String, Fingerprint>,
    },
    /// The open step has taken its whole `timeout`.
    TimeIsUp,
    /// A watch says that a held fact broke, or that it was blind. What was running is frozen already.
    Broke(Break),
    /// A signal asked the program to stop.
    Signal(StopSignal),
    /// What the policy requires to be told before another step begins could not be told: why, in words.
    NotTold(String),
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
    /// The permissions to leave the procedure that were given for this opening, each seen to be valid.
    pub overrides: Vec<Override>,
    /// The policies in force, the machine's own first.
    pub policies: Vec<PolicyInForce>,
    /// The signatures over the plan that count and are not recorded yet.
    pub approvals: Vec<Approval>,
}

/// How a run is taken up again.
#[derive(Debug, Clone)]
pub struct Resumption {
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
    /// What a run is taken up again for.
    pub purpose: Purpose,
    /// Whether the operator may permit a deviation alone.
    pub alone: SelfApproval,
    /// The steps that were done and are run again before anything else when a run is taken up, in the plan's order.
    pub rerun: Vec<StepId>,
    /// Until when each deviation may be made that was permitted by a request; one that is not here may be made whenever it comes to it.
    pub until: BTreeMap<Deviation, Moment>,
}

/// Whether the operator may permit a deviation alone, with a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelfApproval {
    /// Yes: no policy is in force.
    Allowed {
        /// Who it is, as the log names them.
        user: String,
    },
    /// No: a policy says whose signatures it takes.
    NotAllowed,
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
    /// Which step was asked about.
    pub step: StepId,
    /// What was asked.
    pub question: Question,
    /// The question as it was shown.
    pub ask: String,
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
    /// SIGINT, as the keyboard sends it. At a terminal the person is asked what is to become of the running step, and a second
    /// one while they are asked ends it at once. Without a terminal, or with no step running, it is as [`Self::Now`].
    Keyboard(&'static str),
    /// SIGTERM: end the running step with grace, and halt. A second one ends it at once.
    Now(&'static str),
    /// SIGHUP: the terminal is gone. The running step may finish under its guards; then the run halts.
    AfterStep(&'static str),
}
