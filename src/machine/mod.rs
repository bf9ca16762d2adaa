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
mod steps;
mod trouble;
pub mod way_back;

use std::time::Duration;

use crate::history::event::Way;
use crate::history::state::{Phase, State};
use crate::plan::Procedure;
pub use effect::{Decision, Effect, GRACE};
pub use input::{
    Answers, Break, Choice, Input, Opening, Pace, People, Purpose, Reply, Resumption, Settings, StopSignal, Turn,
};
pub use way_back::{BackProcedure, way_back};

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
        Input::Examined(sights) => machine.examined(sights),
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
}

#[cfg(test)]
mod tests;
