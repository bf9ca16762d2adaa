//! The loop's way to the running step: from its preparation to its end, with what it writes meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Driver, END_BOUND, Message, Running, SHOWN_BYTES, SHOWN_EACH, SHOWN_EVERY};
use crate::audit::LogError;
use crate::driver::launch::{self, End};
use crate::driver::programs::Found;
use crate::exec::process::{Control, Ended, OnOutput};
use crate::exec::program::ProgramError;
use crate::history::event::{Ending, Event, Way};
use crate::machine::programs::{check_program, planned_in_words};
use crate::machine::{Effect, Input};
use crate::plan::Procedure;

impl Driver {
    pub(super) fn end_step(&mut self, ending: &Ending, grace: Option<Duration>) {
        let (Some(running), Some(control)) = (&mut self.running, self.guard.running()) else {
            // The start was withheld: there is nothing to end, so this is its end, once.
            if std::mem::take(&mut self.withheld) {
                self.post(Input::Ended {
                    ending: ending.clone(),
                    took: Duration::ZERO,
                    output: None,
                    leftovers: Vec::new(),
                });
            }
            return;
        };
        running.told = Some(ending.clone());
        self.time_is_up = None;
        match grace {
            Some(grace) => control.terminate(grace),
            None => control.kill(),
        }
    }

    /// Lets a service go. If it cannot be moved out of the step's containment, it is left in it, and still never ended from here.
    pub(super) fn let_go(&mut self, control: Control) {
        if let Err(error) = control.let_go() {
            self.tell();
            self.display.say(&format!("      the service could not be moved out of the step's containment: {error}"));
            std::mem::forget(control);
        }
    }

    /// Runs the commands that give a step its secrets. Each is announced, durably, before it runs.
    pub(super) fn ask_secrets(&mut self, step: usize) -> Result<Result<(), String>, LogError> {
        let (procedure, at) = self.carried_out(step);
        let action = procedure.steps()[at].action.clone();
        for (name, command) in self.secrets.commands_for(&action) {
            let event = Event::SecretAsked { name: name.clone(), command };
            self.state.apply(&event).expect("a secret may be asked for in an open run");
            self.pend(vec![event]);
            self.sync()?;
            self.tell();
            if let Err(reason) = self.secrets.run_command(&self.run.programs, &name) {
                return Ok(Err(reason));
            }
            self.censor.learn(self.secrets.masks());
        }
        Ok(Ok(()))
    }

    /// Puts together what a step needs, if the program that was found for it is the one in the plan.
    pub(super) fn prepare(
        &self,
        step: usize,
        program: Option<Result<Box<Found>, ProgramError>>,
    ) -> Result<Option<launch::Prepared>, String> {
        let Some(found) = program else { return Ok(None) };
        let (plan, way) = (&self.run.procedure.plan, self.way());
        let (procedure, at) = self.carried_out(step);
        let id = &procedure.steps()[at].id;
        let found = found.map_err(|error| format!("{error}{}", planned_in_words(plan, id, way)))?;
        check_program(plan, &self.state, id, way, &found.program())?;
        launch::prepare(procedure, at, &self.run.id, &self.secrets, *found, &self.us)
    }

    pub(super) fn way(&self) -> Way {
        match (&self.state.again, &self.back) {
            (Some(_), _) => Way::Again,
            (None, Some(_)) => Way::Back,
            (None, None) => Way::Forward,
        }
    }

    /// The step with this index of what is carried out now: one of the plan's steps, or of their undos, or one that is run again.
    pub(super) fn carried_out(&self, step: usize) -> (&Procedure, usize) {
        match (&self.state.again, &self.back) {
            (Some(again), _) => (&self.run.procedure, again.at),
            (None, Some(back)) => (&back.procedure, step),
            (None, None) => (&self.run.procedure, step),
        }
    }

    pub(super) fn start(&mut self, step: usize, attempt: u32) {
        let Some(Ok(Some(prepared))) = self.prepared.take() else {
            unreachable!("the machine starts only what was prepared well");
        };
        let (procedure, step) = self.carried_out(step);
        let step = &procedure.steps()[step];
        let timeout = step.timeout;
        let name = launch::attempt_name(&step.id, self.way(), attempt);
        let folder = self.run.home.run(&self.run.id);
        let ends = launch::Ends { on_output: self.output_sink(), on_end: self.end_sink() };
        let redact = self.run.redact.as_ref().map(|removal| removal.plan(&self.run.id, &folder, &name));
        let taken_out = launch::TakenOut { masks: self.secrets.masks(), redact };
        let containment = &self.containment;
        let started = self.guard.start(|| prepared.start(containment, &name, &folder, taken_out, ends));
        match started {
            // A held fact broke just now; its message is in the inbox and ends the step, which has not begun.
            None => {
                self.withheld = true;
                self.time_is_up = Instant::now().checked_add(timeout);
            }
            Some(Ok(())) => {
                self.time_is_up = Instant::now().checked_add(timeout);
                self.running = Some(Running { told: None });
            }
            Some(Err(reason)) => self.post(Input::Ended {
                ending: Ending::NotStarted { reason },
                took: Duration::ZERO,
                output: None,
                leftovers: Vec::new(),
            }),
        }
    }

    /// Output goes to the loop at a bounded rate; the step is never held up by what is shown, and the transcript has it all.
    pub(super) fn output_sink(&self) -> OnOutput {
        let sender = self.sender.clone();
        let unshown = Arc::clone(&self.unshown);
        let mut since = Instant::now();
        let mut shown = 0;
        Box::new(move |bytes| {
            if since.elapsed() > SHOWN_EVERY {
                (since, shown) = (Instant::now(), 0);
            }
            let cost = bytes.len() + SHOWN_EACH;
            if shown + cost > SHOWN_BYTES {
                unshown.fetch_add(bytes.len(), Ordering::Relaxed);
                return;
            }
            shown += cost;
            // The loop may be gone already.
            let _ = sender.send(Message::Output(bytes.to_vec()));
        })
    }

    /// Says how much was not shown.
    pub(super) fn say_unshown(&mut self) {
        let bytes = self.unshown.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            self.display.say(&format!("      … {bytes} bytes not shown here; the transcript has them"));
        }
    }

    pub(super) fn end_sink(&self) -> Box<dyn FnOnce(Ended) + Send> {
        let sender = self.sender.clone();
        Box::new(move |ended| {
            // The loop may be gone already.
            let _ = sender.send(Message::Ended(ended));
        })
    }

    pub(super) fn step_ended(&mut self, ended: Ended) -> Result<(), LogError> {
        self.guard.acted();
        self.time_is_up = None;
        self.say_unshown();
        let told = self.running.take().and_then(|running| running.told);
        let End { ending, took, output, leftovers } = launch::end_of(ended, told, self.run.home.path());
        self.handle(Input::Ended { ending, took, output, leftovers })
    }

    /// After an error of the log: freeze and kill what runs, without recording anything.
    pub(super) fn end_everything(&mut self) {
        if let Some(control) = self.guard.running() {
            control.freeze();
            control.kill();
            if self.running.is_none() {
                // Its end was told already; what it may have left as a service ends now.
                control.wait_until_empty(END_BOUND);
            }
            let deadline = Instant::now() + END_BOUND;
            while self.running.is_some()
                && let Some(left) = deadline.checked_duration_since(Instant::now())
            {
                match self.inbox.recv_timeout(left) {
                    Ok(Message::Ended(_)) | Err(_) => break,
                    Ok(
                        Message::Input(_)
                        | Message::Looked(..)
                        | Message::Output(_)
                        | Message::Answer(..)
                        | Message::Told(_)
                        | Message::SuspendAsked,
                    ) => {}
                }
            }
        }
        self.stop(&Effect::Withdraw);
    }
}
