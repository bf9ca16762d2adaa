//! What is shown while a run goes: the entries as lines for a person, or as they are logged; the output of the running step.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::Recorded;
use crate::diagnostic::escape::escape_line;
use crate::history::event::{Event, Heed};
use crate::plan::Procedure;
use crate::report::story::Teller;
use crate::terminal::screen::{Hold, Screen, Stream};

/// Longest line of a step's output that is shown as one line, in bytes.
const LONGEST_LINE: usize = 4096;

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines for a person, on standard error.
    Human,
    /// Each entry as it is logged, on standard output.
    Json,
}

/// Shows a run.
#[derive(Debug)]
pub struct Display {
    format: Format,
    screen: Screen,
    teller: Teller,
    partial: Vec<u8>,
}

impl Display {
    /// Starts it.
    pub fn new(format: Format, procedure: Arc<Procedure>) -> Self {
        let stream = match format {
            Format::Human => Stream::Stderr,
            Format::Json => Stream::Stdout,
        };
        Self { format, screen: Screen::new(stream), teller: Teller::new(Some(procedure)), partial: Vec::new() }
    }

    /// Shows entries that are on disk.
    pub fn entries(&mut self, recorded: &[Recorded]) {
        let mut text = String::new();
        if self.format == Format::Human {
            self.rest_of_output(&mut text);
        }
        for entry in recorded {
            match self.format {
                Format::Json => push_line(&mut text, &entry.line),
                Format::Human => {
                    for line in self.teller.tell(&entry.entry) {
                        push_line(&mut text, &line);
                    }
                }
            }
        }
        self.show(text);
        if let (Format::Human, Some(last)) = (self.format, recorded.last()) {
            self.status_after(&last.entry.event);
        }
    }

    /// Shows what the running step wrote.
    pub fn output(&mut self, bytes: &[u8]) {
        if self.format == Format::Json {
            return;
        }
        let mut text = String::new();
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial.len() > LONGEST_LINE {
                self.rest_of_output(&mut text);
            }
        }
        self.show(text);
    }

    /// Says something that is no entry.
    pub fn say(&mut self, line: &str) {
        if self.format == Format::Human {
            let mut text = String::new();
            self.rest_of_output(&mut text);
            push_line(&mut text, &escape_line(line));
            self.show(text);
        }
    }

    /// Nothing more comes. Dropping it waits until all is written, but not for ever.
    pub fn finish(&mut self) {
        let mut text = String::new();
        self.rest_of_output(&mut text);
        self.show(text);
        self.screen.status(None);
    }

    /// Shows nothing until the hold is dropped: the terminal belongs to a question.
    pub fn hold(&mut self) -> Hold {
        let mut text = String::new();
        self.rest_of_output(&mut text);
        self.show(text);
        self.screen.hold(Duration::from_secs(2))
    }

    fn show(&self, text: String) {
        if !text.is_empty() {
            self.screen.text(text);
        }
    }

    /// What the running step wrote and was not shown yet, as a line.
    fn rest_of_output(&mut self, text: &mut String) {
        if self.partial.is_empty() {
            return;
        }
        let line = self.partial.strip_suffix(b"\n").unwrap_or(&self.partial);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // A progress bar that returns to the start of its line shows its last state.
        let from = line.iter().rposition(|b| *b == b'\r').map_or(0, |at| at + 1);
        push_line(text, &format!("      │ {}", escape_line(&line[from..])));
        self.partial.clear();
    }

    fn status_after(&self, event: &Event) {
        match event {
            Event::StepIntended { step, .. } => self.screen.status(Some(format!("{step} is running"))),
            Event::StepEnded { step, .. } => self.screen.status(Some(format!("looking at what {step} ensures"))),
            // The step goes on while a person is asked about it.
            Event::SignalReceived { heed: Heed::Asks, .. }
            | Event::StopDecided { .. }
            | Event::WaivedFactSeen { .. } => {}
            Event::ApprovalAccepted(_) | Event::GlassBroken(_) | Event::GlassTold { .. } | Event::RunOpened { .. } => {
                self.screen.status(Some("looking at the facts".to_owned()))
            }
            Event::LogCreated { .. }
            | Event::LogRepaired { .. }
            | Event::LogKeyReplaced { .. }
            | Event::CheckpointSinkFailed { .. }
            | Event::EntriesArchived { .. }
            | Event::LockRemoved { .. }
            | Event::LockKept { .. }
            | Event::NotifyFailed { .. }
            | Event::RunRefused { .. }
            | Event::WatchesArmed { .. }
            | Event::Answered { .. }
            | Event::Declined { .. }
            | Event::OverrideAccepted(_)
            | Event::OverrideRefused { .. }
            | Event::TakeUpRefused { .. }
            | Event::StepSkipped { .. }
            | Event::StepAccepted { .. }
            | Event::StepNotApplicable { .. }
            | Event::StepRetried { .. }
            | Event::RerunBegan { .. }
            | Event::RerunNotNeeded { .. }
            | Event::UndoBegan { .. }
            | Event::RunResumed { .. }
            | Event::RunUndone { .. }
            | Event::RunAbandoned { .. }
            | Event::StepDone { .. }
            | Event::StepAlready { .. }
            | Event::StepFailed { .. }
            | Event::HoldBroken { .. }
            | Event::SecretAsked { .. }
            | Event::SignalReceived { heed: Heed::AtOnce, .. }
            | Event::RunHalted { .. }
            | Event::RunCompleted { .. } => self.screen.status(None),
        }
    }
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
