//! What turned the course of a run, in words.

use super::{Account, Tone, Turn, many, on_whose_word};
use crate::history::entry::Entry;
use crate::history::event::{DecidedBy, Ending, Event, Heed, StopDecision, Way};
use crate::history::glass::REVIEW;
use crate::report::story::{by_whom, cause_in_words, ending_in_words};
use crate::report::waits::Stamp;

impl Account {
    /// What turned the course of the run.
    pub(super) fn turn(&mut self, stamp: Stamp, entry: &Entry) {
        let who = || by_whom(&entry.who);
        let (tone, words) = match &entry.event {
            Event::RunOpened { steps, .. } => {
                (Tone::Plain, format!("{} began the run, of {}, on {}", who(), many(*steps, "step"), entry.who.host))
            }
            Event::RunResumed { taken_over, ended, .. } => {
                let over = taken_over.as_ref().map(|why| format!(", taking it over: {why}")).unwrap_or_default();
                let ended = match ended.len() {
                    0 => String::new(),
                    count => format!("; {} of before still ran, and were ended", many(count, "process")),
                };
                (Tone::Plain, format!("{} took the run up again{over}{ended}", who()))
            }
            Event::RunRefused { reason, .. } => (Tone::Bad, format!("refused: {reason}")),
            Event::TakeUpRefused { command, reason, .. } => {
                (Tone::Warning, format!("{} wanted to {command} the run, and was refused: {reason}", who()))
            }
            Event::OverrideAccepted(given) => {
                (Tone::Warning, format!("permitted, {}: {}: {}", on_whose_word(given), given.deviation, given.reason))
            }
            Event::OverrideRefused { deviation, asked_by, why, .. } => {
                (Tone::Warning, format!("{asked_by} asked to {deviation}, and was refused: {why}"))
            }
            Event::StepSkipped { step } => (Tone::Warning, format!("`{step}` was skipped")),
            Event::StepAccepted { step, .. } => (Tone::Warning, format!("`{step}` was accepted as it stood")),
            Event::HoldBroken { sight, step, .. } => {
                let during = step.as_ref().map(|step| format!(" while `{step}` ran")).unwrap_or_default();
                (Tone::Bad, format!("`{}` {}{during}: {}", sight.fact, sight.verdict, sight.evidence))
            }
            Event::StepEnded { step, ending, way, .. } => match ending {
                Ending::Exited { .. } | Ending::Attested | Ending::NothingToDo => return,
                Ending::Signalled { .. }
                | Ending::TimedOut
                | Ending::Stopped
                | Ending::Interrupted
                | Ending::NotStarted { .. } => {
                    (Tone::Bad, format!("{}`{step}` {}", undo_of(*way), ending_in_words(ending)))
                }
            },
            Event::StepFailed { step, way, reason, .. } => {
                (Tone::Bad, format!("{}`{step}` failed: {reason}", undo_of(*way)))
            }
            Event::Declined { step, answer, .. } => {
                let said =
                    if answer.is_empty() { "no answer".to_owned() } else { format!("the answer was `{answer}`") };
                (Tone::Warning, format!("`{step}`: a person did not agree ({said})"))
            }
            Event::SignalReceived { signal, heed, .. } => {
                let heed = match heed {
                    Heed::AtOnce => "",
                    Heed::Asks => ", and a person was asked what to do about it",
                };
                (Tone::Warning, format!("{signal} came{heed}"))
            }
            Event::StopDecided { step, decision, .. } => {
                let what = match decision {
                    StopDecision::Stop => "is stopped at once",
                    StopDecision::Finish => "may finish, and then the run halts",
                    StopDecision::Continue => "and the run go on",
                };
                (Tone::Warning, format!("decided: `{step}` {what}"))
            }
            Event::RerunBegan { step, .. } => {
                (Tone::Plain, format!("`{step}` is run again, because what it had ensured does not hold"))
            }
            Event::StepRetried { step, by: DecidedBy::Person, .. } => {
                (Tone::Plain, format!("`{step}` is attempted again, as a person decided"))
            }
            Event::UndoBegan { by, reason, steps, .. } => {
                let by = match by {
                    DecidedBy::Rule => "as the runbook says",
                    DecidedBy::Person => "as a person decided",
                };
                (Tone::Warning, format!("going back over {}, {by}: {reason}", many(*steps, "step")))
            }
            Event::RunHalted { cause, reason, .. } => {
                (Tone::Bad, format!("halted ({}): {reason}", cause_in_words(*cause)))
            }
            Event::RunUndone { undone, kept } => {
                let kept = if *kept > 0 { format!(", {kept} left as they are") } else { String::new() };
                (Tone::Warning, format!("undone: {} taken back{kept}", many(*undone, "step")))
            }
            Event::RunAbandoned { reason, .. } => (Tone::Bad, format!("{} abandoned the run: {reason}", who())),
            Event::RunCompleted { deviations: 0, .. } => (Tone::Good, "completed as written".to_owned()),
            Event::RunCompleted { deviations, .. } => {
                (Tone::Warning, format!("completed with {}", many(*deviations, "deviation")))
            }
            Event::GlassBroken(glass) => {
                (Tone::Bad, format!("{} broke the glass, to go on without the approvals: {}", who(), glass.reason))
            }
            Event::GlassTold { tell, trouble: None, .. } => (Tone::Plain, format!("`{tell}` was told of it")),
            Event::GlassTold { tell, trouble: Some(why), .. } => (Tone::Bad, format!("`{tell}` WAS NOT TOLD: {why}")),
            Event::NotifyFailed { of_event, command, why, .. } => {
                (Tone::Bad, format!("{} was not told of `{of_event}`: {why}", command.join(" ")))
            }
            Event::ApprovalAccepted(approval) if approval.namespace == REVIEW => {
                (Tone::Good, format!("{} has reviewed the run", approval.person))
            }
            Event::ApprovalAccepted(_)
            | Event::StepRetried { .. }
            | Event::LogCreated { .. }
            | Event::LogRepaired { .. }
            | Event::LogKeyReplaced { .. }
            | Event::CheckpointSinkFailed { .. }
            | Event::EntriesArchived { .. }
            | Event::LockRemoved { .. }
            | Event::LockKept { .. }
            | Event::WatchesArmed { .. }
            | Event::Answered { .. }
            | Event::StepIntended { .. }
            | Event::StepDone { .. }
            | Event::StepAlready { .. }
            | Event::StepNotApplicable { .. }
            | Event::WaivedFactSeen { .. }
            | Event::RerunNotNeeded { .. }
            | Event::SecretAsked { .. } => return,
        };
        self.turns.push(Turn { at: stamp, tone, words });
    }
}

fn undo_of(way: Way) -> &'static str {
    match way {
        Way::Forward | Way::Again => "",
        Way::Back => "the undo of ",
    }
}
