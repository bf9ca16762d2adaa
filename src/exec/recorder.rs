//! Where a step's output goes: through masking and what a policy removes, in whole characters, into the transcript and to whoever looks on.

use std::time::{Duration, Instant};

use crate::exec::commit::List;
use crate::exec::mask::{Masker, Secrets};
use crate::exec::redact::{PAUSE, Redactions, Redactor};
use crate::exec::transcript::{Recorded, Transcript, TranscriptPlan};

/// Who is told of each piece of masked output.
pub type OnOutput = Box<dyn FnMut(&[u8]) + Send>;
/// Who is told, once, when the transcript can no longer be written.
pub type OnTrouble = Box<dyn FnOnce(&str) + Send>;

/// The common end of a step's streams.
pub(super) struct Recorder {
    begun: Instant,
    plan: Option<TranscriptPlan>,
    transcript: Option<Transcript>,
    /// What is removed, if anything is to be.
    list: Option<List>,
    on_output: OnOutput,
    on_trouble: Option<OnTrouble>,
}

/// One stream on its way: what masking, redacting and the search for whole characters keep back.
pub(super) struct Stream {
    masker: Masker,
    masked: Vec<u8>,
    redactor: Option<Redactor>,
    /// When the last bytes came, where that matters.
    last: Option<Instant>,
    out: Vec<u8>,
    split: Vec<u8>,
}

impl Recorder {
    pub(super) fn new(
        plan: TranscriptPlan,
        list: Option<List>,
        begun: Instant,
        on_output: OnOutput,
        on_trouble: OnTrouble,
    ) -> Self {
        Self { begun, plan: Some(plan), transcript: None, list, on_output, on_trouble: Some(on_trouble) }
    }

    /// Takes bytes from which everything was taken out.
    fn take(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        // The file is made with the first output: most steps write nothing, and a file costs them.
        if let Some(plan) = self.plan.take() {
            self.transcript = Some(Transcript::begin(plan));
        }
        if let Some(transcript) = &mut self.transcript {
            transcript.write(self.begun.elapsed(), bytes);
            if let (Some(trouble), Some(_)) = (transcript.trouble(), &self.on_trouble)
                && let Some(tell) = self.on_trouble.take()
            {
                tell(trouble);
            }
        }
        (self.on_output)(bytes);
    }

    /// A rule has removed these bytes.
    fn removed(&mut self, rule: usize, bytes: &[u8]) {
        if let Some(list) = &mut self.list {
            list.take(rule, bytes);
        }
    }

    /// Ends the transcript; none if nothing was written.
    pub(super) fn finish(self) -> Option<Recorded> {
        let mut recorded = self.transcript.map(Transcript::finish)?;
        // Something stands in the output in place of what was removed, so there is a transcript where there is a list.
        recorded.removed = self.list.and_then(List::finish);
        if let Some(trouble) = recorded.removed.as_ref().and_then(|removed| removed.trouble.clone()) {
            recorded.trouble = Some(match recorded.trouble {
                None => trouble,
                Some(other) => format!("{other}; {trouble}"),
            });
        }
        Some(recorded)
    }
}

impl Stream {
    pub(super) fn new(secrets: &Secrets, redactions: Option<&Redactions>) -> Self {
        Self {
            masker: Masker::new(secrets),
            masked: Vec::new(),
            redactor: redactions.map(Redactor::new),
            last: None,
            out: Vec::new(),
            split: Vec::new(),
        }
    }

    /// Takes the next bytes as read.
    pub(super) fn push(&mut self, bytes: &[u8], recorder: &mut Recorder) {
        if self.masker.is_idle() && self.redactor.is_none() && self.split.is_empty() {
            let whole = bytes.len() - split_character(bytes);
            recorder.take(&bytes[..whole]);
            self.split.extend_from_slice(&bytes[whole..]);
            return;
        }
        self.begin_out();
        match &mut self.redactor {
            None if self.masker.is_idle() => self.out.extend_from_slice(bytes),
            None => self.masker.push(bytes, &mut self.out),
            Some(redactor) => {
                self.last = Some(Instant::now());
                let masked = if self.masker.is_idle() {
                    bytes
                } else {
                    self.masked.clear();
                    self.masker.push(bytes, &mut self.masked);
                    &self.masked
                };
                redactor.push(masked, &mut self.out, &mut |rule, removed| recorder.removed(rule, removed));
            }
        }
        self.hand_on(recorder);
    }

    /// After what time [`Stream::give_if_silent`] has something to do, if nothing comes.
    pub(super) fn patience(&self) -> Option<Duration> {
        let redactor = self.redactor.as_ref()?;
        let last = self.last.filter(|_| redactor.holds())?;
        Some(PAUSE.saturating_sub(last.elapsed()))
    }

    /// Hands on the beginning of a line if nothing has come for a while.
    pub(super) fn give_if_silent(&mut self, recorder: &mut Recorder) {
        if self.patience().is_none_or(|left| !left.is_zero()) {
            return;
        }
        self.begin_out();
        if let Some(redactor) = &mut self.redactor {
            redactor.pause(&mut self.out, &mut |rule, removed| recorder.removed(rule, removed));
        }
        self.hand_on(recorder);
    }

    /// The stream has ended: hands on what was kept back.
    pub(super) fn finish(&mut self, recorder: &mut Recorder) {
        self.begin_out();
        match &mut self.redactor {
            None => self.masker.finish(&mut self.out),
            Some(redactor) => {
                self.masked.clear();
                self.masker.finish(&mut self.masked);
                let mut removed = |rule: usize, removed: &[u8]| recorder.removed(rule, removed);
                redactor.push(&self.masked, &mut self.out, &mut removed);
                redactor.finish(&mut self.out, &mut removed);
            }
        }
        recorder.take(&self.out);
        self.out.clear();
    }

    /// What was kept back of a character comes first.
    fn begin_out(&mut self) {
        self.out.clear();
        self.out.append(&mut self.split);
    }

    fn hand_on(&mut self, recorder: &mut Recorder) {
        let whole = self.out.len() - split_character(&self.out);
        self.split.extend_from_slice(&self.out[whole..]);
        recorder.take(&self.out[..whole]);
    }
}

/// How many bytes at the end are the beginning of a character whose rest has not come: 0 to 3.
fn split_character(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::split_character;

    #[test]
    fn only_an_unfinished_character_is_kept_back() {
        for (bytes, kept) in [
            (&b"abc"[..], 0),
            ("é".as_bytes(), 0),
            (&"é".as_bytes()[..1], 1),
            (&"€".as_bytes()[..2], 2),
            (&"🙂".as_bytes()[..3], 3),
            (b"\x80\x80\x80\x80", 0),
            (b"\xff", 0),
            (b"", 0),
        ] {
            assert_eq!(split_character(bytes), kept, "{bytes:?}");
        }
    }
}
