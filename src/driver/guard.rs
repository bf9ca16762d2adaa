//! The guard between the watches and the running step: a watch that sees a held fact break freezes the step from its own
//! thread, before anything is recorded or decided, and what was about to start does not. What stops things never waits.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::exec::process::Control;
use crate::id::Fact;

/// Shared by the driver and the watches.
#[derive(Clone, Default)]
pub struct Guard(Arc<Mutex<Inner>>);

#[derive(Default, PartialEq, Eq)]
enum Acting {
    #[default]
    No,
    Yes,
}

#[derive(Default)]
struct Inner {
    running: Option<Control>,
    /// Whether the main process of what runs has not ended yet: only then its processes are the step's own.
    acting: Acting,
    tripped: BTreeSet<Fact>,
    /// The facts whose break stops nothing, because they are waived.
    observed: BTreeSet<Fact>,
}

impl Guard {
    /// A held fact broke: freezes what runs, at once. Returns how long that took, if something was running.
    pub fn trip(&self, fact: &Fact) -> Option<Duration> {
        let mut inner = self.lock();
        if inner.observed.contains(fact) {
            return None;
        }
        inner.tripped.insert(fact.clone());
        let control = inner.running.as_ref()?;
        let begun = Instant::now();
        control.freeze();
        Some(begun.elapsed())
    }

    /// From now on the break of these facts, and of no others, stops nothing.
    pub fn observe(&self, facts: &[Fact]) {
        let mut inner = self.lock();
        inner.observed = facts.iter().cloned().collect();
        let Inner { tripped, observed, .. } = &mut *inner;
        tripped.retain(|fact| !observed.contains(fact));
    }

    /// Starts a step unless a held fact broke in the meantime; nothing can break between that look and the start, because a
    /// trip waits until the step can be frozen. None if it was withheld.
    pub fn start<E>(&self, start: impl FnOnce() -> Result<Control, E>) -> Option<Result<(), E>> {
        let mut inner = self.lock();
        if !inner.tripped.is_empty() {
            return None;
        }
        Some(start().map(|control| {
            inner.running = Some(control);
            inner.acting = Acting::Yes;
        }))
    }

    /// The main process of the step ended. What it started as a service is still frozen by a trip, until it is let go.
    pub fn acted(&self) {
        self.lock().acting = Acting::No;
    }

    /// Nothing of the step is ours any more; gives back what controlled it.
    pub fn ended(&self) -> Option<Control> {
        let mut inner = self.lock();
        inner.acting = Acting::No;
        inner.running.take()
    }

    /// These facts are not held any more.
    pub fn release(&self, facts: &[Fact]) {
        let mut inner = self.lock();
        for fact in facts {
            inner.tripped.remove(fact);
        }
    }

    /// Whether a process belongs to the running step. What a step leaves behind counts as anybody's.
    pub fn owns(&self, pid: u32) -> bool {
        let control = {
            let inner = self.lock();
            if inner.acting == Acting::Yes { inner.running.clone() } else { None }
        };
        control.is_some_and(|control| control.contains(pid))
    }

    /// What is running.
    pub fn running(&self) -> Option<Control> {
        self.lock().running.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panicked while it held the lock left nothing in it that would let a step run on: what is half-done stops more, not less.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
