//! How a run opens and goes from step to step, while all is well.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::clip::clip;
use crate::history::deviation::{Deviation, Override};
use crate::history::event::{Cause, Ending, Event, Output, Program, Question, Sight, Verdict};
use crate::history::state::{Phase, StepStatus};
use crate::id::{Fact, Fingerprint};
use crate::machine::answer::{Judgement, judge};
use crate::machine::entries::{announcements, bounded, micros};
use crate::machine::overrides::accepted;
use crate::machine::trouble::trouble_of;
use crate::machine::{BackProcedure, Decision, Effect, Establish, Machine, Opening, Pace, People};
use crate::plan::action_in_words;
use crate::runbook::holds::HoldStart;
use crate::runbook::model::{Action, Confirm, IfEnsured, Leftovers, Step, WayBack};

impl Machine<'_> {
    pub(super) fn open(&self, opening: Opening) -> Decision {
        let plan = &self.procedure.plan;
        let runbook = &plan.runbook;
        if let Some(reason) = self.missing_answers(&opening.overrides) {
            let refused = Event::RunRefused {
                runbook: runbook.name.clone(),
                plan: opening.plan,
                cause: Cause::PersonNeeded,
                reason,
                seen: Vec::new(),
                policies: opening.policies,
            };
            return Decision { events: vec![refused], effects: vec![Effect::Finish] };
        }
        let mut events = vec![Event::RunOpened {
            runbook: runbook.name.clone(),
            title: runbook.title.clone(),
            labels: runbook.labels.clone(),
            source: plan.source.clone(),
            plan: opening.plan,
            steps: runbook.steps.len(),
            locks: opening.locks,
            policies: opening.policies,
            containment: opening.containment,
            watching: opening.watching,
            program: opening.program,
        }];
        events.extend(opening.approvals.into_iter().map(Event::ApprovalAccepted));
        let watched = announcements(opening.watched);
        if opening.overrides.is_empty() {
            events.extend(watched);
            let mut decision = self.begin(0);
            events.append(&mut decision.events);
            return Decision { events, effects: decision.effects };
        }
        let mut opened = self.whole.clone();
        for event in &events {
            opened.apply(event).expect("a new run may be opened, with signatures that count");
        }
        events.extend(accepted(self.forward, &opened, opening.overrides));
        events.extend(watched);
        // What follows is decided on the state after these events.
        let mut state = self.whole.clone();
        for event in &events {
            state.apply(event).expect("a new run may be opened, with overrides");
        }
        let mut decision = self.on(&state, |machine| machine.begin(0));
        events.append(&mut decision.events);
        Decision { events, effects: decision.effects }
    }

    /// What is missing for a run that nobody watches: every manual step and confirmation needs its answer beforehand, but for a step
    /// that is to be skipped.
    pub(super) fn missing_answers(&self, overrides: &[Override]) -> Option<String> {
        let People::Nobody(answers) = &self.settings.people else { return None };
        if self.settings.pace == Pace::StepByStep {
            return Some("`--step` asks before each step, and there is no terminal".to_owned());
        }
        let mut missing = Vec::new();
        for step in self.procedure.steps() {
            let skip = Deviation::Skip { step: step.id.clone() };
            if !step.is_applicable() || overrides.iter().any(|given| given.deviation == skip) {
                continue;
            }
            if let Some(confirm) = confirmation_of(step) {
                match answers.confirm.get(&step.id) {
                    Some(words) if judge(Question::Confirm, Some(&confirm.expect), words) == Judgement::Accepted => {}
                    Some(_) => missing.push(format!("--confirm {}=… is not the expected answer", step.id)),
                    None => missing.push(format!("--confirm {}=…", step.id)),
                }
            }
            if matches!(step.action, Action::Manual(_)) && answers.attest.get(&step.id).is_none_or(String::is_empty) {
                missing.push(format!("--attest {}=…", step.id));
            }
        }
        (!missing.is_empty()).then(|| {
            format!("a person is needed and there is no terminal; on the command line: {}", missing.join(", "))
        })
    }

    /// The step with this index is next: look at its facts. A step that is not applicable is passed over with its reason; if
    /// none is left the run is complete.
    pub(super) fn begin(&self, next: usize) -> Decision {
        let establish = self.what_to_establish();
        self.begin_with(next, &establish)
    }

    pub(super) fn begin_with(&self, next: usize, establish: &Establish) -> Decision {
        let steps = self.procedure.steps();
        let mut events = Vec::new();
        let mut next = next;
        let mut establish = establish;
        let mut over = Vec::new();
        let mut skipped = 0;
        while let Some(step) = steps.get(next) {
            if let Some(deviation) = self.expired_for(step) {
                let mut decision = self.too_late(&deviation, next);
                events.append(&mut decision.events);
                return Decision { events, effects: decision.effects };
            }
            if let (false, Some(when)) = (step.is_applicable(), &step.when) {
                events.push(Event::StepNotApplicable {
                    step: step.id.clone(),
                    expression: clip(&when.expression, 4096),
                    values: when.values.iter().map(|(name, value)| (name.clone(), clip(value, 1024))).collect(),
                });
            } else if self.is_skipped(step) {
                events.push(Event::StepSkipped { step: step.id.clone() });
                skipped += 1;
                // What it was to ensure is not held, and what was held for it is not needed any more.
                establish = &Establish::Everything;
                over.extend(self.over_after(next));
            } else {
                break;
            }
            next += 1;
        }
        let mut effects = Vec::new();
        if !over.is_empty() {
            effects.push(Effect::Release(over));
        }
        let Some(step) = steps.get(next) else {
            let mut decision = self.complete(skipped);
            events.append(&mut decision.events);
            effects.append(&mut decision.effects);
            return Decision { events, effects };
        };
        let observe = self.waived_for(step);
        let mut hold = match establish {
            Establish::Everything => self.holds_at(next),
            Establish::WhatBegins => self.holds_from(|from| match from {
                HoldStart::Opening => next == 0,
                HoldStart::Before(at) => at == next,
                HoldStart::After(_) => false,
            }),
            Establish::Nothing => Vec::new(),
        };
        if let Establish::WhatBegins = establish {
            for fact in self.holds_found_at(next) {
                if !hold.contains(&fact) {
                    hold.push(fact);
                }
            }
        }
        let ensures = match step.if_ensured {
            IfEnsured::Pass => step.ensures.clone(),
            IfEnsured::Run => Vec::new(),
        };
        hold.retain(|fact| !observe.contains(fact));
        let mut requires = self.procedure.required_by(next);
        let also_held: Vec<Fact> = hold.iter().filter(|fact| !requires.contains(fact)).cloned().collect();
        requires.extend(also_held);
        let also_waived: Vec<Fact> = observe.iter().filter(|fact| !requires.contains(fact)).cloned().collect();
        requires.extend(also_waived);
        effects.push(Effect::Prepare { step: next, requires, hold, observe, ensures });
        Decision { events, effects }
    }

    /// Everything is done; `skipped` steps were passed over just now.
    pub(super) fn complete(&self, skipped: usize) -> Decision {
        if let Some(back) = self.back {
            return self.all_taken_back(back);
        }
        let count = |status| self.state.steps.iter().filter(|step| step.status == status).count();
        let (done, already, accepted) =
            (count(StepStatus::Done), count(StepStatus::Already), count(StepStatus::Accepted));
        let deviations = self.state.overrides.used.len() + skipped;
        let skipped = count(StepStatus::Skipped) + skipped;
        let not_applicable = self.procedure.steps().iter().filter(|step| !step.is_applicable()).count();
        let completed = Event::RunCompleted {
            done,
            already,
            not_applicable,
            skipped,
            accepted,
            deviations,
            micros: micros(self.elapsed),
        };
        Decision { events: vec![completed], effects: vec![Effect::Finish] }
    }

    pub(super) fn all_taken_back(&self, back: &BackProcedure) -> Decision {
        let undone = self.procedure.steps().len();
        match &back.ends_at {
            None => {
                Decision { events: vec![Event::RunUndone { undone, kept: back.kept }], effects: vec![Effect::Finish] }
            }
            Some(step) => {
                let reason = format!("step `{step}` is irreversible, so nothing in front of it was taken back");
                let halted =
                    Event::RunHalted { cause: Cause::UndoFailed, reason, step: Some(step.clone()), seen: Vec::new() };
                Decision { events: vec![halted], effects: vec![Effect::Finish] }
            }
        }
    }

    pub(super) fn prepared(
        &self,
        requires: Vec<Sight>,
        ensures: Vec<Sight>,
        program: Result<Option<Program>, String>,
    ) -> Decision {
        let Phase::Ready { next } = self.state.phase else { return Decision::default() };
        let Some(step) = self.procedure.steps().get(next) else { return Decision::default() };
        if self.state.stopping.is_some() {
            return Decision::default();
        }
        let waived = self.waived_for(step);
        if requires.iter().any(|sight| sight.verdict != Verdict::Holds && !waived.contains(&sight.fact)) {
            return self.requirement_missing(next, self.binding(step, requires));
        }
        if step.if_ensured == IfEnsured::Pass && ensures.iter().all(|sight| sight.verdict == Verdict::Holds) {
            let hold = self.holds_after(next);
            let all_hold = requires.iter().all(|sight| sight.verdict == Verdict::Holds);
            if !hold.is_empty() && all_hold {
                let facts = step.ensures.clone();
                return Decision {
                    events: Vec::new(),
                    effects: vec![Effect::Await { facts, hold, within: Duration::ZERO, replaces: Vec::new() }],
                };
            }
            let seen = requires.into_iter().chain(ensures).collect();
            return self.already(next, seen);
        }
        if self.settings.pace == Pace::StepByStep && !self.state.answered.go_on {
            let ask = format!("Start step `{}`: {}?", step.id, action_in_words(&step.action));
            return self.ask(step, Question::GoOn, ask, None);
        }
        if let Some(confirm) = confirmation_of(step)
            && !self.state.answered.confirm
        {
            return self.ask(step, Question::Confirm, confirm.ask, Some(confirm.expect));
        }
        self.intend(next, step, requires, program)
    }

    pub(super) fn intend(
        &self,
        at: usize,
        step: &Step,
        requires: Vec<Sight>,
        program: Result<Option<Program>, String>,
    ) -> Decision {
        let attempt = self.state.attempts(at) + 1;
        let (program, trouble) = match program {
            Ok(program) => (program, None),
            Err(reason) => (None, Some(reason)),
        };
        let intended = Event::StepIntended {
            step: step.id.clone(),
            way: self.way(),
            attempt,
            action: clip(&action_in_words(&step.action), 8192),
            program,
            requires: bounded(requires),
            waived: self.waived_for(step),
        };
        if let Some(reason) = trouble {
            let ending = Ending::NotStarted { reason: reason.clone() };
            let ended = self.end_event(&step.id, attempt, ending, Duration::ZERO, None, Vec::new());
            let events = [intended, ended];
            let mut decision = if self.waived_for(step).is_empty() {
                self.fail(step, attempt, &reason, Vec::new())
            } else {
                // The waivers were for this attempt: what follows is decided on the state after it.
                let mut state = self.whole.clone();
                for event in &events {
                    state.apply(event).expect("what was just decided can follow");
                }
                self.on(&state, |machine| machine.fail(step, attempt, &reason, Vec::new()))
            };
            decision.events.splice(0..0, events);
            return decision;
        }
        match &step.action {
            Action::Run(_) | Action::Script(_) => {
                Decision { events: vec![intended], effects: vec![Effect::Start { step: at, attempt }] }
            }
            Action::Wait => {
                let ended = self.end_event(&step.id, attempt, Ending::NothingToDo, Duration::ZERO, None, Vec::new());
                let effects = vec![Effect::Await {
                    facts: step.ensures.clone(),
                    hold: self.holds_after(at),
                    within: step.timeout,
                    replaces: Vec::new(),
                }];
                Decision { events: vec![intended, ended], effects }
            }
            Action::Manual(task) => {
                let mut decision = self.ask(step, Question::Manual, task.clone(), None);
                decision.events.insert(0, intended);
                decision
            }
        }
    }

    pub(super) fn ask(&self, step: &Step, question: Question, ask: String, expect: Option<String>) -> Decision {
        let within = match question {
            Question::Manual => Some(step.timeout),
            Question::Confirm | Question::GoOn | Question::WhatNext | Question::RunAgain => None,
        };
        let effect = Effect::Ask { step: step.id.clone(), question, ask, expect, within };
        Decision { events: Vec::new(), effects: vec![effect] }
    }

    pub(super) fn ended(
        &self,
        ending: Ending,
        took: Duration,
        output: Option<Output>,
        leftovers: Vec<String>,
    ) -> Decision {
        let Phase::Acting { step } = self.state.phase else { return Decision::default() };
        let mut decision = self.action_over(step, ending, took, output, leftovers);
        self.withdraw_question(&mut decision);
        decision
    }

    pub(super) fn action_over(
        &self,
        at: usize,
        ending: Ending,
        took: Duration,
        output: Option<Output>,
        leftovers: Vec<String>,
    ) -> Decision {
        let step = &self.procedure.steps()[at];
        let attempt = self.state.attempts(at);
        let trouble = trouble_of(step, &ending, &leftovers);
        let ended = self.end_event(&step.id, attempt, ending.clone(), took, output, leftovers);
        let mut decision = match (&ending, trouble) {
            (Ending::Stopped, _) => self.after_failure(
                step,
                Cause::HoldBroken,
                format!(
                    "a fact that step `{}` needs broke while it ran; it was frozen and killed, and is in doubt",
                    step.id
                ),
            ),
            (Ending::Interrupted, _) => self.halt(
                Cause::Interrupted,
                format!("step `{}` was interrupted and ended; it is in doubt", step.id),
                Some(at),
            ),
            (_, Some(reason)) => self.fail(step, attempt, &reason, Vec::new()),
            (_, None) if step.ensures.is_empty() && step.replaces.is_empty() => {
                return self.done(at, vec![ended], Vec::new(), BTreeMap::new());
            }
            (_, None) => {
                let effect = Effect::Await {
                    facts: step.ensures.clone(),
                    hold: self.holds_after(at),
                    within: step.within,
                    replaces: step.replaces.clone(),
                };
                Decision { events: Vec::new(), effects: vec![effect] }
            }
        };
        decision.events.insert(0, ended);
        decision
    }

    pub(super) fn awaited(&self, ensures: Vec<Sight>, replaced: BTreeMap<String, Fingerprint>) -> Decision {
        let good = ensures.iter().all(|sight| sight.verdict == Verdict::Holds);
        match self.state.phase {
            Phase::Verifying { step } if good => self.done(step, Vec::new(), ensures, replaced),
            Phase::Verifying { step } => {
                let at = &self.procedure.steps()[step];
                let within = match at.action {
                    Action::Wait => at.timeout,
                    Action::Run(_) | Action::Script(_) | Action::Manual(_) => at.within,
                };
                let missing: Vec<String> = ensures
                    .iter()
                    .filter(|sight| sight.verdict != Verdict::Holds)
                    .map(|sight| format!("`{}` {}: {}", sight.fact, sight.verdict, sight.evidence))
                    .collect();
                let within = crate::runbook::duration::show(within);
                let reason = format!("what it ensures did not come true within {within}: {}", missing.join("; "));
                self.fail(at, self.state.attempts(step), &reason, ensures)
            }
            Phase::Ready { next } if good => self.already(next, ensures),
            // It was so a moment ago and is not any more: the step is not passed over, it runs.
            Phase::Ready { next } => self.begin(next),
            Phase::New | Phase::Acting { .. } | Phase::Failed { .. } | Phase::Over(_) => Decision::default(),
        }
    }

    /// The step is done, after these events that were not folded in yet.
    fn done(
        &self,
        at: usize,
        mut events: Vec<Event>,
        ensures: Vec<Sight>,
        replaced: BTreeMap<String, Fingerprint>,
    ) -> Decision {
        let step = &self.procedure.steps()[at];
        let (attempt, ensures) = (self.state.attempts(at), bounded(ensures));
        events.push(Event::StepDone { step: step.id.clone(), way: self.way(), attempt, ensures, replaced });
        let mut decision = self.next_after(at, events);
        if step.action.setting().is_some_and(|setting| setting.leftovers == Leftovers::Service) {
            decision.effects.insert(0, Effect::LetGo);
        }
        decision
    }

    pub(super) fn already(&self, at: usize, seen: Vec<Sight>) -> Decision {
        let step = self.procedure.steps()[at].id.clone();
        self.next_after(at, vec![Event::StepAlready { step, seen: bounded(seen) }])
    }

    /// A step ended well: release what it was the last to need, then go on, or halt if something asked for it.
    fn next_after(&self, at: usize, events: Vec<Event>) -> Decision {
        if self.again.is_some() {
            return self.rerun_over(events);
        }
        let over = self.over_after(at);
        let last = at + 1 == self.procedure.steps().len();
        let mut decision = if self.state.stopping.is_some() && !last {
            let reason = format!("asked to stop; step `{}` was finished first", self.procedure.steps()[at].id);
            self.halt(Cause::Interrupted, reason, Some(at + 1))
        } else if self.is_way_there() && (self.nothing_follows(at) || self.has_waivers(at)) {
            // The totals count this step, and what was only watched for it is to be held again.
            let mut state = self.whole.clone();
            for event in &events {
                state.apply(event).expect("the step ended well");
            }
            self.on(&state, |machine| machine.begin(at + 1))
        } else {
            self.begin(at + 1)
        };
        decision.events.splice(0..0, events);
        if !over.is_empty() {
            decision.effects.insert(0, Effect::Release(over));
        }
        decision
    }

    /// Whether every step behind this one is passed over.
    fn nothing_follows(&self, at: usize) -> bool {
        self.procedure.steps()[at + 1..].iter().all(|step| !step.is_applicable() || self.is_skipped(step))
    }

    fn has_waivers(&self, at: usize) -> bool {
        !self.waived_for(&self.procedure.steps()[at]).is_empty()
    }
}

/// What is asked before a step starts: its own confirmation, or that of a step that cannot be taken back.
pub(super) fn confirmation_of(step: &Step) -> Option<Confirm> {
    match (&step.confirm, &step.way_back) {
        (Some(confirm), _) => Some(confirm.clone()),
        (None, WayBack::Irreversible) => Some(Confirm {
            ask: format!("Step `{0}` cannot be taken back. To start it, type its id: {0}", step.id),
            expect: step.id.to_string(),
        }),
        (None, WayBack::None | WayBack::Undo(_)) => None,
    }
}
