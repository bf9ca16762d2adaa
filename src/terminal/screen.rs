//! The screen: lines and one status line, written by a thread of its own from a bounded queue, so that a reader that stalls
//! or is gone cannot hold up the run. What does not fit the queue is dropped, counted and said. Every text must be escaped for
//! display by its maker.

use std::io::{IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
}

/// The screen of a run.
#[derive(Debug)]
pub struct Screen {
    queue: Option<Sender<Message>>,
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
        let (done, wait) = channel();
        self.send(Message::Flush(done));
        // A reader that stalls is no reason to wait longer.
        let _ = wait.recv_timeout(at_most);
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

fn write_all(stream: Stream, is_terminal: bool, inbox: &Receiver<Message>, waiting: &AtomicUsize, dropped: &AtomicU64) {
    let mut status: Option<Status> = None;
    let mut drawn = false;
    let mut buffer = Vec::new();
    loop {
        let message = match &status {
            Some(_) if is_terminal => inbox.recv_timeout(STATUS_EVERY),
            Some(_) | None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match message {
            Ok(first) => {
                buffer.clear();
                if drawn {
                    buffer.extend_from_slice(b"\r\x1b[K");
                    drawn = false;
                }
                let mut flushed = Vec::new();
                let mut next = Some(first);
                // What waits is written at once, up to a bound, so that many short lines cost one call.
                while let Some(message) = next {
                    match message {
                        Message::Text(text) => {
                            waiting.fetch_sub(text.len(), Ordering::Relaxed);
                            buffer.extend_from_slice(text.as_bytes());
                        }
                        Message::Status(text) => status = text.map(|text| Status { text, since: Instant::now() }),
                        Message::Flush(done) => flushed.push(done),
                    }
                    next = if buffer.len() < 64 << 10 { inbox.try_recv().ok() } else { None };
                }
                let lost = dropped.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    buffer.extend_from_slice(
                        format!("      … {lost} lines not shown here; the record has them\n").as_bytes(),
                    );
                }
                put(stream, &buffer);
                for done in flushed {
                    let _ = done.send(());
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = &status
                    && status.since.elapsed() >= STATUS_AFTER
                {
                    let line = format!("\r\x1b[K      … {} {}", status.text, seconds(status.since.elapsed()));
                    put(stream, line.as_bytes());
                    drawn = true;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
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
