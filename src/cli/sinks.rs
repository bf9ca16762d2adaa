//! The places that the policy gives every checkpoint to: before a run begins those that it requires, and all at its end and when one is asked for.

use crate::audit::{self, Draft, Home, Log, Made};
use crate::cli::failure::{Failure, say};
use crate::cli::in_force::InForce;
use crate::consent::policy::{CheckpointSink, Duty};
use crate::driver::sinks::hand_on;
use crate::exec::censor::Censor;
use crate::history::clip::clip;
use crate::history::entry::Who;
use crate::history::event::Event;

/// The places, with what is taken out of the words of those that cannot be reached.
pub struct Sinks {
    places: Vec<CheckpointSink>,
    censor: Censor,
}

impl Sinks {
    /// Those of the policies in force.
    pub fn of(in_force: &InForce) -> Self {
        Self { places: in_force.sinks(), censor: in_force.censor().clone() }
    }
}

/// Signs what the log says by now, and hands that on to where the policy wants it. It is about the log, not about the run: a failure is said,
/// recorded where it can be, and changes nothing. The entries up to `durable` are known to be on disk.
pub fn sign(home: &Home, sinks: &Sinks, durable: u64) {
    let made = match audit::checkpoint_behind(home, durable) {
        Ok(made) => made,
        Err(why) => return say(&format!("interlock: warning: no checkpoint of the audit log was made: {why}")),
    };
    if let Ok(who) = Who::of_this_process() {
        let _ = hand_on_to_all(home, &who, sinks, &made);
    }
}

/// Hands a checkpoint on to every place. A failure is said, and recorded where it can be. Gives those that failed and are required.
#[must_use]
pub fn hand_on_to_all<'a>(home: &Home, who: &Who, sinks: &'a Sinks, made: &Made) -> Vec<&'a CheckpointSink> {
    let mut failed = Vec::new();
    for sink in &sinks.places {
        let Err(why) = hand_on(&sink.to, &who.host, made, &sinks.censor) else { continue };
        say(&format!("interlock: warning: the checkpoint was not handed on to `{}`: {why}", sink.to));
        let event = sink_failed(sink, made, &why);
        let recorded =
            Log::open(home, who.clone()).and_then(|mut log| log.append_closing(&[Draft { run: None, event: &event }]));
        if let Err(error) = recorded {
            say(&format!("interlock: warning: that cannot be recorded: {error}"));
        }
        if sink.duty == Duty::Required {
            failed.push(sink);
        }
    }
    failed
}

fn sink_failed(sink: &CheckpointSink, made: &Made, why: &str) -> Event {
    Event::CheckpointSinkFailed {
        sink: clip(&sink.to.to_string(), 2048),
        entries: made.size,
        why: clip(why, 2048),
        required: sink.duty == Duty::Required,
    }
}

/// Hands a checkpoint of the log as it is now on to each place without which no run begins.
///
/// # Errors
/// Inside: why it could not be, which is recorded. Outside: the log cannot be written.
pub fn reach(home: &Home, who: &Who, sinks: &Sinks, log: &mut Log) -> Result<Result<(), String>, Failure> {
    let required: Vec<&CheckpointSink> = sinks.places.iter().filter(|sink| sink.duty == Duty::Required).collect();
    if required.is_empty() {
        return Ok(Ok(()));
    }
    let made = match audit::checkpoint(home) {
        Ok(made) => made,
        Err(why) => {
            let text = format!("the policy requires that checkpoints are handed on, and none can be made: {why}");
            return Ok(Err(text));
        }
    };
    for sink in required {
        let Err(why) = hand_on(&sink.to, &who.host, &made, &sinks.censor) else { continue };
        let event = sink_failed(sink, &made, &why);
        let recorded = log.append(&[Draft { run: None, event: &event }]);
        recorded.map_err(|error| Failure::Internal(error.to_string()))?;
        return Ok(Err(format!(
            "the policy requires that checkpoints are handed on to `{}`, and they cannot be: {why}",
            sink.to
        )));
    }
    Ok(Ok(()))
}
