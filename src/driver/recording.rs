//! The loop's way to the log: events wait to be recorded together, are made durable, are shown, and the commands of a policy are told of them.

use std::time::Instant;

use super::{Driver, FEW, GATHER, Message, drafts};
use crate::audit::LogError;
use crate::driver::notify::Told;
use crate::history::event::{Event, Way};
use crate::history::state::Phase;
use crate::machine::{Effect, Input};

impl Driver {
    /// Gathers entries for the next sync.
    pub(super) fn pend(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.pending_since.get_or_insert_with(Instant::now);
            self.pending.extend(events);
        }
    }

    /// Makes everything recorded so far durable. [`Driver::tell`] shows it.
    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        let closing = matches!(self.state.phase, Phase::Over(_));
        let mut most = self.pending.len();
        while !self.pending.is_empty() {
            let count = self.pending.len().min(most);
            let drafts = drafts(&self.run.id, &self.pending[..count]);
            let recorded = if closing { self.log.append_closing(&drafts) } else { self.log.append(&drafts) };
            match recorded {
                Ok(recorded) => {
                    self.pending.drain(..count);
                    self.notifier.take(&recorded);
                    self.untold.extend(recorded);
                }
                // Hundreds of signatures do not fit one write; a few entries always do.
                Err(LogError::TooLong { .. }) if count > FEW => most = FEW,
                Err(LogError::NoRoom { .. }) => self.close_without_room()?,
                Err(error) => return Err(error),
            }
        }
        self.pending_since = None;
        if self.state.phase != Phase::New {
            std::mem::take(&mut self.unmarked).mark();
        }
        Ok(())
    }

    /// Shows what is on disk and was not shown yet.
    pub(super) fn tell(&mut self) {
        if !self.untold.is_empty() {
            self.display.entries(&self.untold);
            self.untold.clear();
        }
    }

    /// The log has no room to go on. What happened is recorded in the room that is kept for it; what was to begin is not.
    pub(super) fn close_without_room(&mut self) -> Result<(), LogError> {
        let begins = |event: &Event| {
            matches!(
                event,
                Event::StepIntended { .. }
                    | Event::RerunBegan { .. }
                    | Event::RunOpened { .. }
                    | Event::RunResumed { .. }
            )
        };
        let happened = self.pending.iter().position(begins).unwrap_or(self.pending.len());
        for (from, closing) in [(happened, true), (self.pending.len() - happened, false)] {
            if from > 0 {
                let drafts = drafts(&self.run.id, &self.pending[..from]);
                let recorded = if closing { self.log.append_closing(&drafts)? } else { self.log.append(&drafts)? };
                self.pending.drain(..from);
                self.notifier.take(&recorded);
                self.untold.extend(recorded);
            }
        }
        Ok(())
    }

    /// Something was told to others, or could not be.
    pub(super) fn told(&mut self, told: Told) -> Result<(), LogError> {
        // The entry about a failure stands behind what happened before it.
        self.sync()?;
        if let Some(words) = self.notifier.settle(told, &mut self.log)? {
            self.tell();
            self.display.say(&format!("interlock: warning: {words}"));
        }
        if !self.notifier.waits()
            && let Some(effect) = self.held_back.take()
        {
            return self.perform(effect);
        }
        Ok(())
    }

    /// Whether a step may be prepared: everything that has to be told before was told. Going back waits for nobody.
    pub(super) fn may_prepare(&mut self, effect: &Effect) -> Result<bool, LogError> {
        if self.way() == Way::Back || !self.notifier.requires() {
            return Ok(true);
        }
        self.sync()?;
        if self.notifier.waits() {
            self.held_back = Some(effect.clone());
            return Ok(false);
        }
        if let Some(why) = self.notifier.missing() {
            self.handle(Input::NotTold(why))?;
            return Ok(false);
        }
        Ok(true)
    }

    /// The run is over; what is not told yet is waited for, but not for ever.
    pub(super) fn end_telling(&mut self) -> Result<(), LogError> {
        let deadline = Instant::now() + 2 * self.notifier.longest() + GATHER;
        while self.notifier.open() > 0 {
            match self.inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Message::Told(told)) => self.told(told)?,
                Ok(
                    Message::Input(_)
                    | Message::Looked(..)
                    | Message::Ended(_)
                    | Message::Output(_)
                    | Message::Answer(..)
                    | Message::SuspendAsked,
                ) => {}
                Err(_) => {
                    let open = self.notifier.open();
                    self.display.say(&format!("interlock: warning: {open} entries were not told to others in time"));
                    break;
                }
            }
        }
        Ok(())
    }
}
