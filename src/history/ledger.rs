//! The states of all runs of a log while it is read from its beginning. A run that is over and settled takes a few bytes, so a log of
//! years of runs takes little memory.

use std::collections::HashMap;

use uuid::Uuid;

use crate::history::event::Event;
use crate::history::state::{IllegalEvent, Phase, State, Verdict};
use crate::id::RunId;

/// The states of runs, by what was applied so far.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Those that may go on, or are still to be reviewed.
    open: HashMap<RunId, State>,
    /// How each other one ended, by the bytes of its id.
    ended: HashMap<[u8; 16], Phase>,
}

impl Ledger {
    /// Applies an event to its run, and has a look at the state that comes of it.
    ///
    /// # Errors
    /// It cannot have happened; the state is as it was.
    pub fn apply<T>(&mut self, run: &RunId, event: &Event, look: impl FnOnce(&State) -> T) -> Result<T, IllegalEvent> {
        let key = key(run);
        if let Some(phase) = self.ended.get(&key) {
            // Nothing can follow that opens it again: what it was is not needed for that.
            let mut state = State { phase: *phase, ..State::default() };
            state.apply(event)?;
            return Ok(look(&state));
        }
        let state = self.open.entry(run.clone()).or_default();
        state.apply(event)?;
        let seen = look(state);
        if is_over(state) {
            if state.to_review.is_empty() {
                self.ended.insert(key, state.phase);
                self.open.remove(run);
            } else {
                *state = state.what_remains();
            }
        }
        Ok(seen)
    }
}

/// Whether a run is over for good: nobody can take it up again.
pub fn is_over(state: &State) -> bool {
    match state.phase {
        Phase::Over(Verdict::Completed | Verdict::Undone | Verdict::Abandoned | Verdict::Refused(_)) => true,
        Phase::Over(Verdict::Halted(_))
        | Phase::New
        | Phase::Ready { .. }
        | Phase::Acting { .. }
        | Phase::Verifying { .. }
        | Phase::Failed { .. } => false,
    }
}

/// The bytes of a run's id.
pub fn key(run: &RunId) -> [u8; 16] {
    *Uuid::parse_str(run.as_str()).expect("the id of a run is a UUID, which was checked").as_bytes()
}

#[cfg(test)]
mod tests {
    use super::Ledger;
    use crate::history::event::{Cause, Event};
    use crate::history::state::State;
    use crate::id::{Digest, RunId};

    #[test]
    fn a_run_that_is_over_takes_few_bytes_and_takes_nothing_more_that_the_whole_state_would_not() {
        let run: RunId = "019a0f6c-1d2e-7abc-8def-0123456789ab".parse().unwrap();
        let refused = Event::RunRefused {
            runbook: "change".to_owned(),
            plan: Digest::of(b"plan"),
            cause: Cause::NotAllowed,
            reason: "no".to_owned(),
            seen: Vec::new(),
            policies: Vec::new(),
        };
        let (mut ledger, mut state) = (Ledger::default(), State::default());
        state.apply(&refused).unwrap();
        assert_eq!(ledger.apply(&run, &refused, |state| state.phase).unwrap(), state.phase);
        assert!(ledger.open.is_empty() && ledger.ended.len() == 1);
        let again = ledger.apply(&run, &refused, |_| ()).unwrap_err();
        assert_eq!(again, state.apply(&refused).unwrap_err());
        assert!(ledger.open.is_empty() && ledger.ended.len() == 1);
    }
}
