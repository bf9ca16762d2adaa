//! Taking the entries, one after the other.

use super::{
    Account, Act, Agreed, Attempt, Departure, Fate, Opening, Refusal, Sitting, SittingEnd, Span, SpanKind, StepAccount,
};
use crate::history::deviation::{Deviation, Override};
use crate::history::entry::{Entry, Who};
use crate::history::event::{Ending, Event, Sight, Verdict, Way};
use crate::history::glass::Glass;
use crate::history::state::StepStatus;
use crate::id::{Digest, Fact, StepId};
use crate::report::story::{by_whom, cause_in_words, exact};
use crate::report::waits::{Stamp, WaitedFor};

impl Account {
    /// Takes the next entry of the run, whose line has this digest.
    pub fn take(&mut self, entry: Entry, digest: Digest) {
        let was_over = self.is_over();
        if let Err(illegal) = self.state.apply(&entry.event) {
            self.illegal.get_or_insert(illegal.to_string());
        }
        let stamp = self.clock.take(&entry);
        for wait in self.waiting.take(stamp, &entry.event) {
            self.draw_wait(&wait);
            self.waits.push(wait);
        }
        self.entries += 1;
        if !was_over {
            self.end = Some(stamp);
            self.sit(stamp, &entry);
        }
        self.turn(stamp, &entry);
        let who = by_whom(&entry.who);
        self.happen(stamp, entry.event, who);
        self.first.get_or_insert_with(|| (stamp, digest.clone()));
        self.last = Some((stamp, digest));
    }

    /// All entries are taken.
    pub fn finish(&mut self) {
        let end = self.end.map_or(0, |stamp| stamp.at);
        self.holding.end(end, &mut self.holds);
        // What was begun and not seen to end is drawn to the last entry.
        for step in &mut self.steps {
            step.draw_unseen(end);
        }
    }

    /// Whose sitting it is.
    fn sit(&mut self, stamp: Stamp, entry: &Entry) {
        let who = &entry.who;
        match &entry.event {
            Event::RunOpened { .. } | Event::RunRefused { .. } | Event::GlassBroken(_) if self.sittings.is_empty() => {
                self.sittings.push(sitting(stamp, who, None));
            }
            Event::RunResumed { taken_over, .. } => {
                let last = self.sittings.last().map_or(stamp.at, |sitting| sitting.until.at);
                self.holding.end(last, &mut self.holds);
                self.sittings.push(sitting(stamp, who, taken_over.clone()));
            }
            // Who is refused something, or gives the run up, does not carry it out.
            Event::TakeUpRefused { .. } | Event::OverrideRefused { .. } | Event::RunAbandoned { .. } => return,
            _ => {}
        }
        let Some(sitting) = self.sittings.last_mut() else { return };
        sitting.until = stamp;
        match &entry.event {
            Event::RunHalted { cause, .. } => sitting.end = SittingEnd::Halted(*cause),
            Event::RunCompleted { .. } | Event::RunUndone { .. } | Event::RunRefused { .. } => {
                sitting.end = SittingEnd::Over;
            }
            _ => {}
        }
    }

    /// What of a wait belongs to the step.
    fn draw_wait(&mut self, wait: &crate::report::waits::Wait) {
        let kind = match &wait.waited_for {
            WaitedFor::Person(_) => SpanKind::Person,
            WaitedFor::Facts(_) => SpanKind::Facts,
            WaitedFor::Pause => SpanKind::Pause,
            WaitedFor::TakingUp => return,
        };
        if let Some(step) = &wait.step {
            let span = Span { from: wait.from.at, until: wait.until.at, kind };
            self.step(step).spans.push(span);
        }
    }

    fn step(&mut self, id: &StepId) -> &mut StepAccount {
        let at = self.place(id);
        &mut self.steps[at]
    }

    /// The index of a step; one that the plan does not have, or where there is no plan, gets the next.
    fn place(&mut self, id: &StepId) -> usize {
        if let Some(at) = self.places.get(id) {
            return *at;
        }
        let at = match self.steps.iter().position(|step| step.id == *id) {
            Some(at) => at,
            None => {
                self.steps.push(StepAccount::new(id.clone()));
                self.steps.len() - 1
            }
        };
        self.places.insert(id.clone(), at);
        at
    }

    /// The index of the step that comes after this one, going forward.
    fn after(&mut self, id: &StepId, way: Way) -> usize {
        match way {
            Way::Forward => self.place(id) + 1,
            // It was done before; what comes next is what came next then.
            Way::Again => self.standing(),
            Way::Back => usize::MAX,
        }
    }

    /// The index of the step at which the run stands, going forward.
    fn standing(&self) -> usize {
        let steps = &self.state.steps;
        let open = |status| matches!(status, StepStatus::Open | StepStatus::InDoubt | StepStatus::Failed);
        steps.iter().position(|step| open(step.status)).unwrap_or(steps.len())
    }

    fn act(&mut self, stamp: Stamp, step: &StepId, act: Act) {
        self.step(step).acts.push((stamp, act));
    }

    fn pass(&mut self, stamp: Stamp, step: &StepId, fate: Fate, act: Act) {
        self.act(stamp, step, act);
        self.step(step).fate = fate;
        let next = self.after(step, Way::Forward);
        self.holding.settle(stamp.at, next, &mut self.holds);
    }

    fn happen(&mut self, stamp: Stamp, event: Event, who: String) {
        for deviation in made_by(&event) {
            self.depart(stamp, &deviation);
        }
        match event {
            Event::RunOpened {
                runbook,
                title,
                labels,
                source,
                plan,
                steps,
                locks,
                policies,
                containment,
                watching,
                program,
            } => {
                self.runbook = runbook;
                self.opening = Some(Opening {
                    title,
                    labels,
                    source,
                    plan,
                    steps,
                    locks,
                    policies,
                    containment,
                    watching,
                    program,
                });
            }
            Event::RunRefused { runbook, cause, reason, seen, .. } => {
                let wanted = format!("start `{runbook}`");
                self.runbook = runbook;
                let why = format!("{}: {reason}", cause_in_words(cause));
                self.refusals.push(Refusal { at: stamp, who, wanted, reason: None, why, seen });
            }
            Event::TakeUpRefused { command, reason, .. } => {
                let wanted = format!("{command} the run");
                self.refusals.push(Refusal { at: stamp, who, wanted, reason: None, why: reason, seen: Vec::new() });
            }
            Event::OverrideRefused { deviation, reason, why, .. } => {
                let (wanted, reason) = (deviation.to_string(), Some(reason));
                self.refusals.push(Refusal { at: stamp, who, wanted, reason, why, seen: Vec::new() });
            }
            Event::ApprovalAccepted(approval) => self.approvals.push((stamp, approval)),
            Event::GlassBroken(glass) => {
                let given = broken_glass(&glass, &who);
                self.departures.push(Departure { at: stamp, operator: who, given, used: Some(stamp) });
            }
            // The sitting says so, and of the procedure nothing is left out.
            Event::OverrideAccepted(given) if given.deviation == (Deviation::TakeOver {}) => {}
            Event::OverrideAccepted(given) => {
                let used = match &given.deviation {
                    Deviation::OutsideWindow {}
                    | Deviation::Abandon {}
                    | Deviation::StaleLock { .. }
                    | Deviation::TakeOver {}
                    | Deviation::BreakGlass {} => Some(stamp),
                    Deviation::Skip { .. }
                    | Deviation::Waive { .. }
                    | Deviation::AcceptFailed { .. }
                    | Deviation::AcceptInDoubt { .. } => None,
                };
                self.departures.push(Departure { at: stamp, operator: who, given, used });
            }
            Event::Answered { step, question, ask, answer, by } => {
                self.act(stamp, &step, Act::Said { question, ask, answer, by, agreed: Agreed::Yes });
            }
            Event::Declined { step, question, ask, answer, by } => {
                self.act(stamp, &step, Act::Said { question, ask, answer, by, agreed: Agreed::No });
            }
            Event::StopDecided { step, ask, answer, decision, .. } => {
                self.act(stamp, &step, Act::Stopping { ask, answer, decision });
            }
            Event::StepIntended { step, way, attempt, action, program, requires, waived } => {
                if way != Way::Back {
                    let at = self.place(&step);
                    self.holding.see(stamp.at, &requires, at);
                }
                self.holding.require(stamp.at, &requires);
                let attempt = Attempt {
                    way,
                    number: attempt,
                    action,
                    program,
                    requires,
                    waived,
                    ending: None,
                    output: None,
                    excerpt: None,
                    leftovers: Vec::new(),
                    settled: None,
                    ensures: Vec::new(),
                    replaced: [].into(),
                };
                self.act(stamp, &step, Act::Attempt(Box::new(attempt)));
                self.step(&step).come_to(way, Fate::Open);
            }
            Event::StepEnded { step, way, ending, micros, output, leftovers, .. } => {
                let account = self.step(&step);
                let fate = match &ending {
                    Ending::Exited { .. } | Ending::Attested | Ending::NothingToDo => None,
                    Ending::Signalled { .. } | Ending::TimedOut | Ending::NotStarted { .. } => Some(Fate::Failed),
                    Ending::Stopped | Ending::Interrupted => Some(Fate::InDoubt),
                };
                if let Some((from, attempt)) = account.open_attempt() {
                    let manual = ending == Ending::Attested;
                    attempt.ending = Some((ending, micros));
                    attempt.output = output;
                    attempt.leftovers = leftovers;
                    let kind = match (fate, way) {
                        (Some(_), _) => SpanKind::Bad,
                        (None, Way::Back) => SpanKind::Undo,
                        (None, Way::Forward | Way::Again) => SpanKind::Work,
                    };
                    // While a person does it, it is waited for them, which is drawn already.
                    if !manual {
                        let from = stamp.at.saturating_sub(micros).max(from.at);
                        account.spans.push(Span { from, until: stamp.at, kind });
                    }
                }
                if let Some(fate) = fate {
                    account.come_to(way, fate);
                }
            }
            Event::StepDone { step, way, ensures, replaced, .. } => {
                let next = self.after(&step, way);
                self.holding.see(stamp.at, &ensures, next);
                self.holding.settle(stamp.at, next, &mut self.holds);
                let account = self.step(&step);
                account.come_to(way, Fate::Done);
                if let Some((_, attempt)) = account.open_attempt() {
                    attempt.ensures = ensures;
                    attempt.replaced = replaced;
                    attempt.settled = Some((stamp, Ok(())));
                }
            }
            Event::StepFailed { step, way, ensures, reason, .. } => {
                let account = self.step(&step);
                account.come_to(way, Fate::Failed);
                if let Some((from, attempt)) = account.open_attempt() {
                    attempt.ensures = ensures;
                    attempt.settled = Some((stamp, Err(reason)));
                    let worked =
                        |span: &&mut Span| span.from >= from.at && matches!(span.kind, SpanKind::Work | SpanKind::Undo);
                    if let Some(span) = account.spans.iter_mut().rev().find(worked) {
                        span.kind = SpanKind::Bad;
                    }
                }
            }
            Event::StepAlready { step, seen } => {
                let next = self.after(&step, Way::Forward);
                self.holding.see(stamp.at, &seen, next);
                self.pass(stamp, &step, Fate::Already, Act::Already(seen));
            }
            Event::StepNotApplicable { step, expression, values } => {
                self.pass(stamp, &step, Fate::NotApplicable, Act::NotApplicable { expression, values });
            }
            Event::StepSkipped { step } => {
                self.pass(stamp, &step, Fate::Skipped, Act::Skipped);
            }
            Event::StepAccepted { step, .. } => {
                self.pass(stamp, &step, Fate::Accepted, Act::Accepted);
            }
            Event::WaivedFactSeen { step, sight } => self.act(stamp, &step, Act::Waived(sight)),
            Event::StepRetried { step, by, pause_millis } => {
                self.act(stamp, &step, Act::Retried { by, pause_millis });
            }
            Event::RerunBegan { step, seen, .. } => self.act(stamp, &step, Act::RunAgain(seen)),
            Event::RerunNotNeeded { step, seen } => {
                let next = self.standing();
                self.holding.see(stamp.at, &seen, next);
                self.act(stamp, &step, Act::NotRunAgain(seen));
            }
            Event::HoldBroken { sight, step, told_by, look_micros, freeze_micros, .. } => {
                self.holding.break_it(&sight.fact, stamp.at, &mut self.holds);
                if let Some(step) = step {
                    let frozen = freeze_micros
                        .map(|micros| format!(", everything of the step frozen {} later", exact(micros)))
                        .unwrap_or_default();
                    let told = format!("told by {told_by}, seen in {}{frozen}", exact(look_micros));
                    self.act(stamp, &step, Act::Broke { sight, told });
                }
            }
            Event::RunResumed { .. } => {
                let until = self.last.as_ref().map_or(stamp.at, |(last, _)| last.at);
                for step in &mut self.steps {
                    step.draw_unseen(until);
                    step.stand_still();
                }
            }
            Event::RunHalted { .. } => {
                self.holding.end(stamp.at, &mut self.holds);
                // Its action ended, and what it ensures was not seen.
                for step in &mut self.steps {
                    step.stand_still();
                }
            }
            Event::RunUndone { kept, .. } => self.kept = kept,
            Event::LogCreated { .. }
            | Event::LogRepaired { .. }
            | Event::LogKeyReplaced { .. }
            | Event::CheckpointSinkFailed { .. }
            | Event::EntriesArchived { .. }
            | Event::LockRemoved { .. }
            | Event::LockKept { .. }
            | Event::GlassTold { .. }
            | Event::NotifyFailed { .. }
            | Event::WatchesArmed { .. }
            | Event::UndoBegan { .. }
            | Event::SecretAsked { .. }
            | Event::SignalReceived { .. }
            | Event::RunAbandoned { .. }
            | Event::RunCompleted { .. } => {}
        }
    }

    /// A deviation is made, by the permission that is there for it.
    fn depart(&mut self, stamp: Stamp, deviation: &Deviation) {
        let fits = |departure: &&mut Departure| departure.used.is_none() && departure.given.deviation == *deviation;
        // The newest: what was accepted before the run was taken up again does not count any more.
        if let Some(departure) = self.departures.iter_mut().rev().find(fits) {
            departure.used = Some(stamp);
        }
    }
}

impl StepAccount {
    /// The attempt that was begun last, with when it was.
    fn open_attempt(&mut self) -> Option<(Stamp, &mut Attempt)> {
        self.acts.iter_mut().rev().find_map(|(stamp, act)| {
            let Act::Attempt(attempt) = act else { return None };
            attempt.settled.is_none().then_some((*stamp, attempt.as_mut()))
        })
    }

    fn come_to(&mut self, way: Way, fate: Fate) {
        match way {
            Way::Forward | Way::Again => self.fate = fate,
            Way::Back => self.back = Some(fate),
        }
    }

    fn is_open(&self) -> bool {
        self.fate == Fate::Open || self.back == Some(Fate::Open)
    }

    /// An action that nobody saw end is drawn to where the record of it ends.
    fn draw_unseen(&mut self, until: u64) {
        if !self.is_open() {
            return;
        }
        if let Some((from, attempt)) = self.open_attempt()
            && attempt.ending.is_none()
        {
            let span = Span { from: from.at, until: until.max(from.at), kind: SpanKind::Bad };
            self.spans.push(span);
        }
    }

    /// Nobody carries it out any more, or saw how it ended.
    fn stand_still(&mut self) {
        if self.back == Some(Fate::Open) {
            self.back = Some(Fate::InDoubt);
        } else if self.fate == Fate::Open {
            self.fate = Fate::InDoubt;
        }
    }
}

fn sitting(from: Stamp, who: &Who, taken_over: Option<String>) -> Sitting {
    Sitting { from, until: from, who: who.clone(), taken_over, end: SittingEnd::Unseen }
}

/// The deviations that an event makes, each where it was permitted.
pub fn made_by(event: &Event) -> Vec<Deviation> {
    let waive = |step: &StepId, fact: &Fact| Deviation::Waive { step: step.clone(), fact: fact.clone() };
    match event {
        Event::StepIntended { step, waived, .. } => waived.iter().map(|fact| waive(step, fact)).collect(),
        Event::StepAlready { step, seen } => missing(seen).map(|sight| waive(step, &sight.fact)).collect(),
        Event::StepSkipped { step } => vec![Deviation::Skip { step: step.clone() }],
        Event::StepAccepted { step, .. } => {
            vec![Deviation::AcceptFailed { step: step.clone() }, Deviation::AcceptInDoubt { step: step.clone() }]
        }
        _ => Vec::new(),
    }
}

/// A broken glass as the deviation that it is: who broke it permitted it alone.
pub fn broken_glass(glass: &Glass, who: &str) -> Override {
    let without =
        if glass.without.is_empty() { String::new() } else { format!(" (without: {})", glass.without.join("; ")) };
    Override {
        deviation: Deviation::BreakGlass {},
        reason: format!("{}{without}", glass.reason),
        asked_by: who.to_owned(),
        request: None,
        self_approved: Some(glass.by),
        approved_by: Vec::new(),
    }
}

/// On whose word a deviation was made.
pub fn on_whose_word(given: &Override) -> String {
    match given.self_approved {
        Some(_) => format!("on {}'s own word", given.asked_by),
        None => format!("signed by {}", given.approved_by.join(", ")),
    }
}

/// `1 step`, `2 steps`, `3 processes`.
pub fn many(count: usize, of: &str) -> String {
    match (count, of.ends_with('s')) {
        (1, _) => format!("1 {of}"),
        (_, false) => format!("{count} {of}s"),
        (_, true) => format!("{count} {of}es"),
    }
}

/// What of these does not hold.
pub fn missing(sights: &[Sight]) -> impl Iterator<Item = &Sight> {
    sights.iter().filter(|sight| sight.verdict != Verdict::Holds)
}
