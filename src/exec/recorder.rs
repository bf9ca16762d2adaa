//! Where a step's output goes: through masking, in whole characters, into the transcript and to whoever looks on.

use std::time::Instant;

use crate::exec::mask::{Masker, Secrets};
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
    on_output: OnOutput,
    on_trouble: Option<OnTrouble>,
}

/// One stream on its way: what masking and the search for whole characters keep back.
pub(super) struct Stream {
    masker: Masker,
    masked: Vec<u8>,
    split: Vec<u8>,
}

impl Recorder {
    pub(super) fn new(plan: TranscriptPlan, begun: Instant, on_output: OnOutput, on_trouble: OnTrouble) -> Self {
        Self { begun, plan: Some(plan), transcript: None, on_output, on_trouble: Some(on_trouble) }
    }

    /// Takes masked bytes.
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

    /// Ends the transcript; none if nothing was written.
    pub(super) fn finish(self) -> Option<Recorded> {
        self.transcript.map(Transcript::finish)
    }
}

impl Stream {
    pub(super) fn new(secrets: &Secrets) -> Self {
        Self { masker: Masker::new(secrets), masked: Vec::new(), split: Vec::new() }
    }

    /// Takes the next bytes as read.
    pub(super) fn push(&mut self, bytes: &[u8], recorder: &mut Recorder) {
        if self.masker.is_idle() && self.split.is_empty() {
            let whole = bytes.len() - split_character(bytes);
            recorder.take(&bytes[..whole]);
            self.split.extend_from_slice(&bytes[whole..]);
            return;
        }
        self.masked.clear();
        self.masked.append(&mut self.split);
        if self.masker.is_idle() {
            self.masked.extend_from_slice(bytes);
        } else {
            self.masker.push(bytes, &mut self.masked);
        }
        let whole = self.masked.len() - split_character(&self.masked);
        self.split.extend_from_slice(&self.masked[whole..]);
        recorder.take(&self.masked[..whole]);
    }

    /// The stream has ended: hands on what was kept back.
    pub(super) fn finish(&mut self, recorder: &mut Recorder) {
        let mut rest = std::mem::take(&mut self.split);
        self.masker.finish(&mut rest);
        recorder.take(&rest);
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
