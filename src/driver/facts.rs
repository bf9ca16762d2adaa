//! The facts of a run: looked at, held, let go. A fact that is held is looked at through its watch, so that a break after the look
//! is told; any other is looked at once.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::exec::censor::Censor;
use crate::history::event::{Sight, Verdict, WatchedFact};
use crate::id::Fact;
use crate::machine::Break;
use crate::plan::Procedure;
use crate::probe::{self, Membership, Notice, NoticeKind, View, Watches};
use crate::runbook::model::Side;

/// The facts of one run.
pub struct Facts {
    procedure: Arc<Procedure>,
    view: View,
    /// None for a procedure without facts.
    watches: Option<Watches>,
    held: Mutex<BTreeSet<Fact>>,
}

impl Facts {
    /// Starts the watches. `own` says which processes are the running step's; `censor` takes out of evidence what must not be recorded; `on_break` is called, from a thread of the
    /// watches, with each break of a held fact.
    ///
    /// # Errors
    /// If this machine gives no means to watch at all.
    pub fn new(
        procedure: Arc<Procedure>,
        own: Membership,
        censor: Censor,
        on_break: impl Fn(&Fact) -> Option<Duration> + Send + Sync + 'static,
        tell: impl Fn(Break) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let view = View::new(own, censor);
        let notify = move |notice: &Notice| {
            // First what stops, then what tells.
            let freeze = on_break(&notice.fact);
            tell(break_of(notice, freeze));
        };
        let watches =
            if procedure.facts().is_empty() { None } else { Some(Watches::new(view.clone(), Arc::new(notify))?) };
        Ok(Self { procedure, view, watches, held: Mutex::default() })
    }

    /// How facts are watched on this machine, in words.
    pub fn describe(&self) -> String {
        self.watches.as_ref().map_or_else(|| "nothing, for there are no facts".to_owned(), Watches::describe)
    }

    /// Looks at a fact, now.
    pub fn look(&self, fact: &Fact, side: Side) -> Sight {
        match &self.watches {
            Some(watches) if self.held().contains(fact) => return watches.look(fact, side),
            Some(_) | None => {}
        }
        look_once(&self.procedure, fact, side, &self.view)
    }

    /// Arms the watch of a fact that is to be held.
    pub fn arm(&self, fact: &Fact) {
        if let Some(watches) = &self.watches {
            watches.arm(fact, self.procedure.state(fact));
        }
    }

    /// Looks at a fact with its watch armed, and holds it from the beginning of that look on if it was seen to hold. `begin` is given
    /// what begins the hold, and calls it only if that is still wanted.
    pub fn establish(&self, fact: &Fact, begin: impl Fn(&dyn Fn())) -> Sight {
        self.arm(fact);
        let Some(watches) = &self.watches else { return look_once(&self.procedure, fact, Side::Before, &self.view) };
        let sight = watches.look(fact, Side::Before);
        if sight.verdict == Verdict::Holds {
            begin(&|| {
                self.held().insert(fact.clone());
                watches.hold(fact);
            });
        }
        sight
    }

    /// Looks at a fact with its watch armed, and watches it from then on, whatever was seen: it is waived. `begin` as above.
    pub fn observe(&self, fact: &Fact, begin: impl Fn(&dyn Fn())) -> Sight {
        self.arm(fact);
        let Some(watches) = &self.watches else { return look_once(&self.procedure, fact, Side::Before, &self.view) };
        let sight = watches.look(fact, Side::Before);
        begin(&|| {
            self.held().insert(fact.clone());
            watches.hold(fact);
        });
        sight
    }

    /// These facts are not held any more.
    pub fn release(&self, facts: &[Fact]) {
        for fact in facts {
            self.held().remove(fact);
            if let Some(watches) = &self.watches {
                watches.disarm(fact);
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<Fact>> {
        // A thread that panicked while it held the lock left nothing half-done in it: each change is one call.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks once at every fact of a plan, for `plan --now`: nothing is held, nothing is recorded.
pub fn look_at_all(procedure: &Procedure, censor: &Censor) -> Vec<Sight> {
    look_at(procedure, &procedure.facts(), censor)
}

/// Looks once at these facts of a plan: nothing is held, nothing is recorded.
pub fn look_at(procedure: &Procedure, facts: &[Fact], censor: &Censor) -> Vec<Sight> {
    let view = View::outside_steps(censor.clone());
    facts.iter().map(|fact| look_once(procedure, fact, Side::Before, &view)).collect()
}

/// Each fact of a plan with how it is told, to be announced before the first look.
pub fn announced(procedure: &Procedure) -> Vec<WatchedFact> {
    procedure
        .facts()
        .into_iter()
        .map(|fact| {
            let (before, held) = (procedure.probe(&fact, Side::Before), procedure.probe(&fact, Side::While));
            let mut commands = probe::commands(before);
            let mut words = probe::in_words(before);
            if before != held {
                commands.extend(probe::commands(held));
                words = format!("{words}; while held: {}", probe::in_words(held));
            }
            commands.dedup();
            WatchedFact { fact, probe: words, commands }
        })
        .collect()
}

fn look_once(procedure: &Procedure, fact: &Fact, side: Side, view: &View) -> Sight {
    let seen = probe::look(procedure.probe(fact, side), view);
    Sight { fact: fact.clone(), verdict: seen.verdict, evidence: seen.evidence }
}

fn break_of(notice: &Notice, freeze: Option<Duration>) -> Break {
    let (sight, blind) = match &notice.kind {
        NoticeKind::Broke { sight } => (sight.clone(), None),
        NoticeKind::Blind { gap } => {
            let evidence = format!("its watch was blind for {} ms", gap.as_millis());
            (Sight { fact: notice.fact.clone(), verdict: Verdict::Unknown, evidence }, Some(*gap))
        }
    };
    let look = notice.seen_at.saturating_duration_since(notice.woke_at);
    Break { sight, told_by: notice.told_by.clone(), look, freeze, blind }
}

/// A pause between looks that grows, so that what comes true soon is seen soon and what takes long costs little.
#[derive(Debug)]
pub struct Pauses(Duration);

impl Pauses {
    /// The first pause.
    const FIRST: Duration = Duration::from_millis(1);
    /// The longest.
    const LONGEST: Duration = Duration::from_millis(50);

    /// Begins with the shortest.
    pub fn new() -> Self {
        Self(Self::FIRST)
    }

    /// Pauses, but not beyond `until`. A look that is dear is not repeated faster than it takes.
    pub fn pause(&mut self, look_took: Duration, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        std::thread::sleep(self.0.max(look_took).min(left));
        self.0 = (self.0 * 2).min(Self::LONGEST);
    }
}

impl Default for Pauses {
    fn default() -> Self {
        Self::new()
    }
}
