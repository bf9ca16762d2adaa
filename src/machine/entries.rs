//! Entries that must keep within their size, and times as they are recorded.

use std::time::Duration;

use crate::history::clip::clip;
use crate::history::event::{Ending, Event, Output, Sight, WatchedFact};
use crate::id::StepId;
use crate::machine::Machine;

/// How much of an entry's 60 KiB lists may take.
const ENTRY_ROOM: usize = 40 << 10;

impl Machine<'_> {
    pub(super) fn end_event(
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
}

/// The probes of a run, in as many entries as their size asks for.
pub(super) fn announcements(watched: Vec<WatchedFact>) -> Vec<Event> {
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
pub(super) fn bounded(mut sights: Vec<Sight>) -> Vec<Sight> {
    let share = (ENTRY_ROOM / 2 / sights.len().max(1)).max(24);
    for sight in &mut sights {
        if sight.evidence.len() > share {
            sight.evidence = clip(&sight.evidence, share);
        }
    }
    sights
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
