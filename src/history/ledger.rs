//! The states of all runs of a log while it is read from its beginning. Of a run that is over and settled little is remembered, and of all
//! but the last 65,536 of those nothing: a log of years of runs takes no more memory than one of weeks.
//!
//! So that a run which is forgotten is not taken for a new one unnoticed, the highest id of those is remembered. Ids of runs rise with time
//! (RFC 9562, version 7); one that comes for the first time and is not above it is in doubt. Where all clocks are right there is none, and
//! where there are some, the log is read once more for these alone, with a ledger that forgets nothing ([`Ledger::of_doubts`]).

use std::collections::{BTreeSet, HashMap, VecDeque};

use uuid::Uuid;

use crate::history::event::Event;
use crate::history::state::{IllegalEvent, Phase, State, Verdict};
use crate::id::RunId;

/// Of how many runs that are over it is remembered how they ended.
const REMEMBERED: usize = 65_536;

/// The bytes of a run's id.
type Key = [u8; 16];

/// The states of runs, by what was applied so far.
#[derive(Debug)]
pub struct Ledger {
    /// Those that may go on, or are still to be reviewed.
    open: HashMap<Key, Box<State>>,
    /// How others ended.
    ended: HashMap<Key, Verdict>,
    /// The ids of these, in the order in which they ended.
    order: VecDeque<Key>,
    /// How many of them are remembered.
    most: usize,
    /// The highest id of those that are not.
    forgotten: Option<Key>,
    /// Those that came when they were not known, and may have been forgotten.
    doubts: BTreeSet<Key>,
    /// How many runs were met, the doubtful ones left out.
    met: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::remembering(REMEMBERED)
    }
}

impl Ledger {
    fn remembering(most: usize) -> Self {
        let (open, ended, order) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self { open, ended, order, most, forgotten: None, doubts: BTreeSet::new(), met: 0 }
    }

    /// Applies an event to its run, and has a look at the state that comes of it.
    ///
    /// # Errors
    /// It cannot have happened; the state is as it was.
    pub fn apply<T>(&mut self, run: &RunId, event: &Event, look: impl FnOnce(&State) -> T) -> Result<T, IllegalEvent> {
        let key = key(run);
        if let Some(verdict) = self.ended.get(&key) {
            // Nothing can follow that opens it again: what it was is not needed for that.
            let mut state = State { phase: Phase::Over(*verdict), ..State::default() };
            state.apply(event)?;
            return Ok(look(&state));
        }
        let state = self.open.entry(key).or_insert_with(|| {
            if self.forgotten.is_some_and(|highest| key <= highest) {
                self.doubts.insert(key);
            } else {
                self.met += 1;
            }
            Box::default()
        });
        state.apply(event)?;
        let seen = look(state);
        if let Phase::Over(verdict) = state.phase
            && is_over(state)
        {
            if state.to_review.is_empty() {
                self.open.remove(&key);
                self.ends(key, verdict);
            } else {
                **state = state.what_remains();
            }
        }
        Ok(seen)
    }

    fn ends(&mut self, key: Key, verdict: Verdict) {
        self.ended.insert(key, verdict);
        self.order.push_back(key);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
            self.forgotten = self.forgotten.max(Some(oldest));
        }
    }

    /// How many runs there are, as far as none of them is in doubt.
    pub fn runs(&self) -> u64 {
        self.met
    }

    /// A ledger for the runs of which this one does not know whether they were there before; it forgets none of them. None if there are
    /// none. What is applied to it has to be the whole log.
    pub fn of_doubts(&self) -> Option<Doubts> {
        let of = self.doubts.clone();
        (!of.is_empty()).then(|| Doubts { of, known: BTreeSet::new(), ledger: Self::remembering(usize::MAX) })
    }
}

/// What is found out by a second look at a log, about runs that were in doubt at the first.
#[derive(Debug)]
pub struct Doubts {
    of: BTreeSet<Key>,
    /// Those that were there before.
    known: BTreeSet<Key>,
    ledger: Ledger,
}

impl Doubts {
    /// Applies an event, if it is of one of these runs.
    ///
    /// # Errors
    /// It cannot have happened.
    pub fn apply(&mut self, run: &RunId, event: &Event) -> Result<(), IllegalEvent> {
        if !self.of.contains(&key(run)) {
            return Ok(());
        }
        self.ledger.apply(run, event, |_| ()).inspect_err(|_| {
            self.known.insert(key(run));
        })
    }

    /// How many of them were new.
    pub fn runs(&self) -> u64 {
        self.ledger.met - self.known.len() as u64
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

fn key(run: &RunId) -> Key {
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
        let (run, refused) = (run(1), refused());
        let (mut ledger, mut state) = (Ledger::default(), State::default());
        state.apply(&refused).unwrap();
        assert_eq!(ledger.apply(&run, &refused, |state| state.phase).unwrap(), state.phase);
        assert!(ledger.open.is_empty() && ledger.ended.len() == 1 && ledger.runs() == 1);
        let again = ledger.apply(&run, &refused, |_| ()).unwrap_err();
        assert_eq!(again, state.apply(&refused).unwrap_err());
        assert!(ledger.open.is_empty() && ledger.ended.len() == 1 && ledger.runs() == 1);
    }

    fn refused() -> Event {
        Event::RunRefused {
            runbook: "change".to_owned(),
            plan: Digest::of(b"plan"),
            cause: Cause::NotAllowed,
            reason: "no".to_owned(),
            seen: Vec::new(),
            policies: Vec::new(),
        }
    }

    fn run(number: u64) -> RunId {
        format!("019a0f6c-1d2e-7abc-8def-{number:012x}").parse().unwrap()
    }

    #[test]
    fn what_is_forgotten_is_in_doubt_when_it_comes_again_and_found_by_a_second_look() {
        let mut ledger = Ledger::remembering(3);
        for number in 1..=10 {
            ledger.apply(&run(number), &refused(), |_| ()).unwrap();
        }
        assert_eq!((ledger.ended.len(), ledger.runs()), (3, 10));
        assert!(ledger.of_doubts().is_none());
        // One that is remembered is refused at once; one that is not is taken for a new one.
        assert!(ledger.apply(&run(9), &refused(), |_| ()).is_err());
        ledger.apply(&run(2), &refused(), |_| ()).unwrap();
        let mut doubts = ledger.of_doubts().unwrap();
        let again = (1..=10).chain([2]).map(|number| doubts.apply(&run(number), &refused()).is_ok());
        assert_eq!(again.filter(|is_ok| !is_ok).count(), 1);
        assert_eq!(doubts.runs(), 0);
    }

    #[test]
    fn a_late_run_is_in_doubt_and_found_to_be_new() {
        let mut ledger = Ledger::remembering(1);
        for number in [1, 5, 6, 3] {
            ledger.apply(&run(number), &refused(), |_| ()).unwrap();
        }
        let mut doubts = ledger.of_doubts().unwrap();
        assert!([1, 5, 6, 3].into_iter().all(|number| doubts.apply(&run(number), &refused()).is_ok()));
        assert_eq!(ledger.runs() + doubts.runs(), 4);
    }
}
