//! What comes next: [`decide`] holds all the rules of a run and does no I/O, reads no clock and starts no thread. It is given the
//! state (the fold of what is recorded), and something that came in; it says what to record and then what to do.
//!
//! Invariants, which the fold in [`crate::history::state`] enforces a second time:
//! - a step is started only after its facts were seen to hold, with their watches armed, and nothing asked the run to stop;
//! - steps go in order, and there is no input that passes over one;
//! - whatever ends a run says so with an event.

mod again;
pub mod answer;
mod asked;
mod effect;
mod entries;
mod held;
mod input;
pub mod overrides;
pub mod programs;
pub mod rerun;
mod steps;
mod stop;
mod trouble;
pub mod way_back;

use std::time::Duration;

use crate::history::again::Again;
use crate::history::event::Way;
use crate::history::state::{Phase, State};
use crate::id::Moment;
use crate::machine::rerun::once_more;
use crate::plan::Procedure;
pub use effect::{Decision, Effect, GRACE};
pub use input::{
    Answers, Break, Choice, Input, Opening, Pace, People, Purpose, Reply, Resumption, SelfApproval, Settings,
    StopSignal, Turn,
};
pub use way_back::{BackProcedure, way_back};

/// Says what follows from an input. `back` is the way back, once [`Effect::GoBack`] asked for it; `elapsed` is the time since
/// the run opened or was taken up again, and `now` what the clock says.
pub fn decide(
    forward: &Procedure,
    back: Option<&BackProcedure>,
    settings: &Settings,
    state: &State,
    (elapsed, now): (Duration, &Moment),
    input: Input,
) -> Decision {
    let there =
        Machine { procedure: forward, forward, back: None, again: None, settings, state, whole: state, elapsed, now };
    let once_more = state.again.as_ref().map(|again| (again, once_more(forward, again.at)));
    let machine = match (&once_more, &state.back, back) {
        _ if matches!(state.phase, Phase::Over(_)) => there,
        (Some((again, procedure)), _, _) => there.again(again, procedure),
        (None, Some(inner), Some(back)) => {
            Machine { procedure: &back.procedure, back: Some(back), state: inner, ..there }
        }
        (None, Some(_) | None, Some(_) | None) => there,
    };
    match input {
        Input::Open(opening) => there.open(opening),
        Input::Resume(opening, resumption) => there.resume(opening, resumption),
        Input::Examined(sights) => machine.examined(sights),
        Input::Rested => machine.rested(),
        Input::GoBack(turn) => machine.begin_back(back, turn),
        Input::Prepared { requires, ensures, program } => machine.prepared(requires, ensures, program),
        Input::Answered(reply) => machine.answered(&reply),
        Input::StopAnswered { words, by } => machine.stop_answered(&words, by),
        Input::Ended { ending, took, output, leftovers } => machine.ended(ending, took, output, leftovers),
        Input::Awaited { ensures, replaced } => machine.awaited(ensures, replaced),
        Input::TimeIsUp => machine.time_is_up(),
        Input::Broke(broke) => machine.broke(broke),
        Input::Signal(signal) => machine.signal(signal),
        Input::NotTold(why) => machine.not_told(&why),
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
    /// What is carried out: the plan's steps, or their undos, or one step once more.
    procedure: &'a Procedure,
    /// The plan's steps.
    forward: &'a Procedure,
    /// The way back, when it is gone.
    back: Option<&'a BackProcedure>,
    /// The step that is run again, while it is.
    again: Option<&'a Again>,
    settings: &'a Settings,
    /// The state of what is carried out.
    state: &'a State,
    /// The state of the whole run.
    whole: &'a State,
    elapsed: Duration,
    now: &'a Moment,
}

impl<'a> Machine<'a> {
    fn way(&self) -> Way {
        match (self.again, self.back) {
            (Some(_), _) => Way::Again,
            (None, Some(_)) => Way::Back,
            (None, None) => Way::Forward,
        }
    }

    /// The machine for a step that is run again; `procedure` is that one step.
    fn again(self, again: &'a Again, procedure: &'a Procedure) -> Self {
        Self { procedure, again: Some(again), back: None, state: &again.run, ..self }
    }

    /// Decides on another state of the run than the one it was asked about: on what stands after some events, where the plan's
    /// steps or a step that is run again are carried out, or going back has not gone on yet.
    fn on<T>(&self, whole: &State, decide: impl FnOnce(Machine<'_>) -> T) -> T {
        let there = Machine { procedure: self.forward, back: None, again: None, state: whole, whole, ..*self };
        match &whole.again {
            Some(again) => decide(there.again(again, &once_more(self.forward, again.at))),
            None => decide(there),
        }
    }
}

#[cfg(test)]
mod tests;
