//! Which words of an event came from outside: what a probe saw, what a program said, how a process is called, what a person typed. The
//! others come from the plan, from the policy, or from the program itself.

use crate::history::clip::clip;
use crate::history::event::{Ending, Event, Question, Sight};

/// How much of an entry these words may take together once something stands in place of what was taken out of them, in bytes.
const ROOM: usize = 28 << 10;

/// Puts what `clean` makes of each such text in its place. Where that has made them longer than there is room for, they are cut.
pub fn clean_words(event: &mut Event, clean: &dyn Fn(&str) -> String) {
    let (mut before, mut after, mut texts) = (0, 0, 0);
    change_words(event, &mut |words| {
        before += words.len();
        *words = clean(words);
        after += words.len();
        texts += 1;
    });
    if after > before && after > ROOM {
        change_words(event, &mut |words| *words = clip(words, ROOM / texts));
    }
}

/// Gives each such text of an event to `change`. Nothing by which the fold decides, and nothing that was signed, is among them.
fn change_words(event: &mut Event, change: &mut dyn FnMut(&mut String)) {
    match event {
        Event::StepIntended { requires: seen, .. }
        | Event::StepDone { ensures: seen, .. }
        | Event::StepAlready { seen, .. }
        | Event::RerunBegan { seen, .. }
        | Event::RerunNotNeeded { seen, .. } => sights(seen, change),
        Event::RunRefused { reason, seen, .. }
        | Event::StepFailed { reason, ensures: seen, .. }
        | Event::RunHalted { reason, seen, .. } => {
            change(reason);
            sights(seen, change);
        }
        Event::WaivedFactSeen { sight, .. } => change(&mut sight.evidence),
        Event::HoldBroken { sight, told_by, .. } => {
            change(&mut sight.evidence);
            change(told_by);
        }
        Event::StepEnded { ending, leftovers, .. } => {
            match ending {
                Ending::NotStarted { reason } => change(reason),
                Ending::Exited { .. }
                | Ending::Signalled { .. }
                | Ending::TimedOut
                | Ending::Stopped
                | Ending::Interrupted
                | Ending::Attested
                | Ending::NothingToDo => {}
            }
            leftovers.iter_mut().for_each(change);
        }
        // Its answer is one of three words, and the fold goes by it.
        Event::Answered { question: Question::RunAgain, .. } => {}
        Event::Answered { answer, .. } | Event::Declined { answer, .. } | Event::StopDecided { answer, .. } => {
            change(answer);
        }
        // The words of a request stand in its signed bytes as well, and are held against them.
        Event::OverrideAccepted(given) => {
            if given.request.is_none() {
                change(&mut given.reason);
            }
        }
        Event::OverrideRefused { reason, why, .. } => {
            change(reason);
            change(why);
        }
        Event::LockRemoved { reason, request, .. } => {
            if request.is_none() {
                change(reason);
            }
        }
        Event::LockKept { reason, why, .. } => {
            change(reason);
            change(why);
        }
        Event::NotifyFailed { why, .. } | Event::CheckpointSinkFailed { why, .. } => change(why),
        Event::GlassBroken(glass) => change(&mut glass.reason),
        Event::GlassTold { trouble, .. } => trouble.iter_mut().for_each(change),
        Event::RunResumed { taken_over, ended, .. } => {
            taken_over.iter_mut().for_each(&mut *change);
            ended.iter_mut().for_each(change);
        }
        Event::UndoBegan { reason, .. }
        | Event::TakeUpRefused { reason, .. }
        | Event::RunAbandoned { reason, .. }
        | Event::LogKeyReplaced { reason, .. } => change(reason),
        // What stands for archived entries has the same words, and was cleaned with them.
        Event::EntriesArchived { .. }
        | Event::LogCreated { .. }
        | Event::LogRepaired { .. }
        | Event::RunOpened { .. }
        | Event::ApprovalAccepted(_)
        | Event::WatchesArmed { .. }
        | Event::StepNotApplicable { .. }
        | Event::StepSkipped { .. }
        | Event::StepAccepted { .. }
        | Event::StepRetried { .. }
        | Event::SecretAsked { .. }
        | Event::SignalReceived { .. }
        | Event::RunUndone { .. }
        | Event::RunCompleted { .. } => {}
    }
}

fn sights(seen: &mut [Sight], change: &mut dyn FnMut(&mut String)) {
    seen.iter_mut().for_each(|sight| change(&mut sight.evidence));
}

#[cfg(test)]
mod tests {
    use super::clean_words;
    use crate::history::event::{Cause, Event, Sight, Verdict};

    #[test]
    fn words_that_become_longer_keep_within_an_entry() {
        let sight = Sight { fact: "a up".parse().unwrap(), verdict: Verdict::Unknown, evidence: "1 ".repeat(12) };
        let seen = vec![sight; 800];
        let reason = "1 ".repeat(4096);
        let mut event = Event::RunHalted { cause: Cause::FactDoesNotHold, reason, step: None, seen };
        clean_words(&mut event, &|text| text.replace('1', "[redacted a-rule-with-quite-a-long-name]"));
        let Event::RunHalted { reason, seen, .. } = event else { unreachable!("it is still the same event") };
        assert!(reason.ends_with(" bytes left out]"), "{reason}");
        assert!(seen.iter().map(|sight| sight.evidence.len()).sum::<usize>() + reason.len() < 28 << 10);
    }
}
