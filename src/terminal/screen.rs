//! The screen: lines and one status line, written by a thread of its own from a bounded queue, so that a reader that stalls
//! or is gone cannot hold up the run. What does not fit the queue is dropped, counted and said. Every text must be escaped for
//! display by its maker.

use std::io::{IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::termios::tcgetwinsize;

/// How many bytes may wait to be written.
const QUEUE_BYTES: usize = 2 << 20;
/// How often the status line is drawn.
const STATUS_EVERY: Duration = Duration::from_millis(100);
/// How long a step must run before its status line appears.
const STATUS_AFTER: Duration = Duration::from_millis(300);

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output: data.
    Stdout,
    /// Standard error: what is said to people.
    Stderr,
}

enum Message {
    /// Lines, each with its newline.
    Text(String),
    Status(Option<String>),
    Flush(Sender<()>),
    Hold(Sender<()>),
    Release,
}

/// While this lives, nothing is written: the terminal belongs to a question. What comes in meanwhile waits, up to the bound.
#[derive(Debug)]
pub struct Hold(Option<Sender<Message>>);

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            // The writer may be gone already.
            let _ = queue.send(Message::Release);
        }
    }
}

/// The screen of a run.
#[derive(Debug)]
pub struct Screen {
    queue: Option<Sender<Message>>,
    /// How many bytes are not written yet.
    waiting: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
    is_terminal: bool,
}

impl Screen {
    /// Starts the writing thread.
    pub fn new(stream: Stream) -> Self {
        let (queue, inbox) = channel();
        let is_terminal = match stream {
            Stream::Stdout => std::io::stdout().is_terminal(),
            Stream::Stderr => std::io::stderr().is_terminal(),
        };
        let waiting = Arc::new(AtomicUsize::new(0));
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = {
            let (waiting, dropped) = (Arc::clone(&waiting), Arc::clone(&dropped));
            std::thread::spawn(move || write_all(stream, is_terminal, &inbox, &waiting, &dropped))
        };
        Self { queue: Some(queue), waiting, dropped, writer: Some(writer), is_terminal }
    }

    /// Shows lines, each with its newline, or counts them as dropped if too much waits already.
    pub fn text(&self, text: String) {
        let size = text.len();
        if self.waiting.load(Ordering::Relaxed) + size > QUEUE_BYTES {
            let lines = text.bytes().filter(|b| *b == b'\n').count();
            self.dropped.fetch_add(u64::try_from(lines).unwrap_or(u64::MAX), Ordering::Relaxed);
            return;
        }
        self.waiting.fetch_add(size, Ordering::Relaxed);
        self.send(Message::Text(text));
    }

    /// Shows this text with the time since now as the last line, or takes it away. Only on a terminal.
    pub fn status(&self, text: Option<String>) {
        if self.is_terminal {
            self.send(Message::Status(text));
        }
    }

    /// Waits until what was said is written, for at most this long.
    pub fn flush(&self, at_most: Duration) {
        if !self.is_terminal && self.waiting.load(Ordering::Acquire) == 0 && self.dropped.load(Ordering::Acquire) == 0 {
            return;
        }
        let (done, wait) = channel();
        self.send(Message::Flush(done));
        // A reader that stalls is no reason to wait longer.
        let _ = wait.recv_timeout(at_most);
    }

    /// Writes what waits, for at most this long, takes the status line away, and writes nothing more until the hold is dropped.
    /// Where it writes to no terminal, it goes on.
    pub fn hold(&self, at_most: Duration) -> Hold {
        if !self.is_terminal {
            self.flush(at_most);
            return Hold(None);
        }
        let (done, wait) = channel();
        self.send(Message::Hold(done));
        // A terminal that stalls is no reason to wait longer.
        let _ = wait.recv_timeout(at_most);
        Hold(self.queue.clone())
    }

    fn send(&self, message: Message) {
        if let Some(queue) = &self.queue {
            // The writer ends only when this sender is gone, or with a panic of its own; neither may stop a run.
            let _ = queue.send(message);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.status(None);
        self.flush(Duration::from_secs(2));
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.is_finished()
        {
            let _ = writer.join();
        }
    }
}

struct Status {
    text: String,
    since: Instant,
}

/// What the writing thread knows.
struct Writer {
    stream: Stream,
    status: Option<Status>,
    /// How many columns the status line takes that is drawn now.
    drawn: Option<usize>,
    /// How many questions have the terminal to themselves.
    holds: usize,
    /// What waits for the last of them to be over.
    kept: String,
    /// Who waits until everything is written.
    flushed: Vec<Sender<()>>,
}

fn write_all(stream: Stream, is_terminal: bool, inbox: &Receiver<Message>, waiting: &AtomicUsize, dropped: &AtomicU64) {
    let mut writer = Writer { stream, status: None, drawn: None, holds: 0, kept: String::new(), flushed: Vec::new() };
    let mut text = String::new();
    // How much of what waits is in `text`.
    let mut taken = 0;
    loop {
        let draws = is_terminal && writer.status.is_some() && writer.holds == 0;
        let message = if draws {
            inbox.recv_timeout(STATUS_EVERY)
        } else {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match message {
            Ok(first) => {
                text.clear();
                text.push_str(&writer.erase());
                let mut held = None;
                let mut next = Some(first);
                // What waits is written at once, up to a bound, so that many short lines cost one call.
                while let Some(message) = next {
                    match message {
                        Message::Text(more) if writer.holds > 0 => writer.kept.push_str(&more),
                        Message::Text(more) => {
                            taken += more.len();
                            text.push_str(&more);
                        }
                        Message::Status(text) => {
                            writer.status = text.map(|text| Status { text, since: Instant::now() });
                        }
                        Message::Flush(done) => writer.flushed.push(done),
                        Message::Hold(done) => {
                            writer.holds += 1;
                            held = Some(done);
                        }
                        Message::Release => {
                            writer.holds = writer.holds.saturating_sub(1);
                            if writer.holds == 0 {
                                taken += writer.kept.len();
                                text.push_str(&std::mem::take(&mut writer.kept));
                            }
                        }
                    }
                    let more = text.len() < 64 << 10 && held.is_none();
                    next = if more { inbox.try_recv().ok() } else { None };
                }
                if writer.holds == 0 {
                    let lost = dropped.swap(0, Ordering::AcqRel);
                    if lost > 0 {
                        text.push_str(&format!("      … {lost} lines not shown here; the record has them\n"));
                    }
                }
                put(stream, text.as_bytes());
                waiting.fetch_sub(std::mem::take(&mut taken), Ordering::Release);
                if let Some(done) = held {
                    let _ = done.send(());
                }
                if writer.holds == 0 {
                    for done in writer.flushed.drain(..) {
                        let _ = done.send(());
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => writer.draw(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Writer {
    /// Draws the status line, as far as it fits the terminal as wide as it is now.
    fn draw(&mut self) {
        let Some(status) = self.status.as_ref().filter(|status| status.since.elapsed() >= STATUS_AFTER) else { return };
        let line = format!("      … {} {}", status.text, seconds(status.since.elapsed()));
        // The last column stays free; and nothing is wrapped where the terminal is narrower already than we are told (a
        // multiplexer tells it late).
        let fits: String = line.chars().take(self.columns().saturating_sub(1)).collect();
        let erase = self.erase();
        self.drawn = Some(fits.chars().count());
        put(self.stream, format!("{erase}\r\x1b[K\x1b[?7l{fits}\x1b[?7h").as_bytes());
    }

    /// What takes the status line away. A terminal that became narrower has wrapped it into several rows by now.
    fn erase(&mut self) -> String {
        match self.drawn.take() {
            None => String::new(),
            Some(drawn) => match drawn.saturating_sub(1) / self.columns() {
                0 => "\r\x1b[K".to_owned(),
                rows => format!("\x1b[{rows}A\r\x1b[J"),
            },
        }
    }

    /// How wide the terminal is now.
    fn columns(&self) -> usize {
        let size = match self.stream {
            Stream::Stdout => tcgetwinsize(std::io::stdout()),
            Stream::Stderr => tcgetwinsize(std::io::stderr()),
        };
        match size {
            Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
            // Nobody knows; this many do no harm.
            Ok(_) | Err(_) => 80,
        }
    }
}

/// Writes, and forgets about errors: the reader may be gone, or the disk behind it full.
fn put(stream: Stream, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let _ = match stream {
        Stream::Stdout => std::io::stdout().lock().write_all(bytes).and_then(|()| std::io::stdout().flush()),
        Stream::Stderr => std::io::stderr().write_all(bytes),
    };
}

/// A duration as people read it: `0.21 s`, `2 min 05 s`.
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        0..60 => format!("{:.2} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}
