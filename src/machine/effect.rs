//! What comes out of the machine: what to record, and what to do.

use std::path::PathBuf;
use std::time::Duration;

use crate::history::event::{Ending, Event, Question};
use crate::id::{Fact, StepId};
use crate::machine::Turn;
#[cfg(doc)]
use crate::machine::{Input, way_back::way_back};

/// How long a step that is asked to end (SIGTERM) has before it is killed.
pub const GRACE: Duration = Duration::from_secs(10);

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
        /// Those of them that are waived: they are watched, and a break of them stops nothing.
        observe: Vec<Fact>,
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
    /// Ask the person who interrupted the running step what is to become of it, which goes on meanwhile. Answered by
    /// [`Input::StopAnswered`].
    AskToStop {
        /// The question.
        ask: String,
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
        /// The program files whose digests are taken when all hold: those that the step replaces.
        replaces: Vec<PathBuf>,
    },
    /// Look once: at what a step in doubt ensures and needs, for the person who decides; at what a step that may be run again
    /// ensures. Answered by [`Input::Examined`].
    Examine(Vec<Fact>),
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
