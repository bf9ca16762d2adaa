//! Tells the commands that a policy names of entries, once these are on disk. On threads of its own, behind a queue that is bounded: a
//! command that hangs, fails or is not there never keeps a run from going on, but where the policy says that it must.
//!
//! A program is executed only if nobody but root and us could have changed it, which is looked at each time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::audit::{Draft, Log, LogError, Recorded};
use crate::consent::door::{self, Trust};
use crate::consent::policy::{Duty, NotifyRule};
use crate::diagnostic::escape::escape_line;
use crate::driver::Message;
use crate::exec::capture::{CapturedEnding, run_captured};
use crate::exec::censor::Censor;
use crate::exec::command::{Command, Stdin, User};
use crate::exec::program::Programs;
use crate::history::clip::clip;
use crate::history::event::Event;
use crate::history::kind::name;
use crate::id::RunId;
use crate::runbook::duration;

/// How many entries wait for each of the two threads. One more is not told.
const WAITING: usize = 256;
/// How many failures are recorded by one process; more would fill the log with nothing else.
const RECORDED: usize = 100;
/// How much is kept of what a command says, in bytes.
const KEPT: usize = 4096;

/// An entry to be told to a command.
struct Job {
    rule: Arc<NotifyRule>,
    run: RunId,
    entry: u64,
    event: &'static str,
    line: Arc<str>,
}

/// What came of it.
pub struct Told {
    job: Job,
    result: Result<(), String>,
}

/// Tells the commands of entries, as they are recorded.
pub struct Notifier {
    rules: Vec<Arc<NotifyRule>>,
    wanted: Option<SyncSender<Job>>,
    required: Option<SyncSender<Job>>,
    sender: Sender<Message>,
    /// How many are not told yet, and how many of them have to be.
    open: usize,
    open_required: usize,
    recorded: usize,
    /// What could not be told and had to be.
    missing: Option<String>,
}

impl Notifier {
    /// Starts the threads that these rules need: none where there are none. What came of each job is put into the driver's inbox.
    pub(super) fn new(rules: Vec<NotifyRule>, censor: &Censor, sender: &Sender<Message>) -> Self {
        let rules: Vec<Arc<NotifyRule>> = rules.into_iter().map(Arc::new).collect();
        // What is required does not wait for what is not.
        let of = |duty: Duty| {
            rules.iter().any(|rule| rule.duty == duty).then(|| {
                let (queue, jobs) = sync_channel(WAITING);
                let (censor, sender) = (censor.clone(), sender.clone());
                std::thread::spawn(move || work(&jobs, &censor, &sender));
                queue
            })
        };
        let (wanted, required) = (of(Duty::Wanted), of(Duty::Required));
        Self { rules, wanted, required, sender: sender.clone(), open: 0, open_required: 0, recorded: 0, missing: None }
    }

    /// Hands on what was recorded. Never waits.
    pub(super) fn take(&mut self, recorded: &[Recorded]) {
        for Recorded { entry, line } in recorded {
            let event = name(&entry.event);
            let Some(run) = &entry.run else { continue };
            for rule in self.rules.iter().filter(|rule| rule.on.contains(event)) {
                let rule = Arc::clone(rule);
                let (queue, open_required) = match rule.duty {
                    Duty::Wanted => (&self.wanted, 0),
                    Duty::Required => (&self.required, 1),
                };
                self.open += 1;
                self.open_required += open_required;
                let job = Job { rule, run: run.clone(), entry: entry.seq, event, line: line.as_str().into() };
                let queue = queue.as_ref().expect("there is a thread for each duty that a rule has");
                if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = queue.try_send(job) {
                    let result = Err(format!("{WAITING} entries wait to be told already"));
                    // The loop may be gone already.
                    let _ = self.sender.send(Message::Told(Told { job, result }));
                }
            }
        }
    }

    /// Whether there is anything that has to be told.
    pub(super) fn requires(&self) -> bool {
        self.required.is_some()
    }

    /// Whether something that has to be told is not told yet.
    pub(super) fn waits(&self) -> bool {
        self.open_required > 0
    }

    /// How many are not told yet.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// The longest that one of them may take.
    pub(super) fn longest(&self) -> Duration {
        self.rules.iter().map(|rule| rule.timeout).max().unwrap_or_default()
    }

    /// What could not be told and had to be, once.
    pub(super) fn missing(&mut self) -> Option<String> {
        self.missing.take()
    }

    /// Something was told, or not: then it is recorded, and given in words for the operator.
    ///
    /// # Errors
    /// Of the log.
    pub(super) fn settle(&mut self, told: Told, log: &mut Log) -> Result<Option<String>, LogError> {
        let Told { job, result } = told;
        self.open -= 1;
        if job.rule.duty == Duty::Required {
            self.open_required -= 1;
        }
        let Err(why) = result else { return Ok(None) };
        let words = in_words(&job.rule, job.entry, job.event, &why);
        if job.rule.duty == Duty::Required {
            self.missing.get_or_insert_with(|| words.clone());
        }
        if self.recorded < RECORDED {
            self.recorded += 1;
            let event = failed(&job.rule, &job.run, job.entry, job.event, &why);
            match log.append(&[Draft { run: None, event: &event }]) {
                // What does not fit any more stops nothing: it is said.
                Ok(_) | Err(LogError::NoRoom { .. } | LogError::TooLong { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(words))
    }
}

/// Tells commands of entries that a command records which starts nothing after them: here and now, one after the other. Gives what failed,
/// in words for the operator; it is recorded as well.
pub fn tell_now(rules: &[NotifyRule], censor: &Censor, log: &mut Log, recorded: &[Recorded]) -> Vec<String> {
    let mut said = Vec::new();
    for Recorded { entry, line } in recorded {
        let event = name(&entry.event);
        let Some(run) = &entry.run else { continue };
        for rule in rules.iter().filter(|rule| rule.on.contains(event)) {
            let Err(why) = tell(rule, line, censor) else { continue };
            said.push(in_words(rule, entry.seq, event, &why));
            let failed = failed(rule, run, entry.seq, event, &why);
            if let Err(error) = log.append(&[Draft { run: None, event: &failed }]) {
                said.push(error.to_string());
            }
        }
    }
    said
}

fn work(jobs: &Receiver<Job>, censor: &Censor, sender: &Sender<Message>) {
    for job in jobs {
        let result = tell(&job.rule, &job.line, censor);
        // The loop may be gone already.
        let _ = sender.send(Message::Told(Told { job, result }));
    }
}

/// Runs the command with the line on its standard input.
///
/// # Errors
/// Why it was not told, in words.
fn tell(rule: &NotifyRule, line: &str, censor: &Censor) -> Result<(), String> {
    feed(&rule.command, rule.timeout, format!("{line}\n").into_bytes(), censor)
}

/// Runs a command of the policy with these bytes on its standard input, to its end. It is executed only if nobody but root and us could have
/// changed it.
///
/// # Errors
/// Why it was not started, or did not end well, in words, with the last line that it wrote on standard error, as the censor leaves it.
pub fn feed(command: &[String], timeout: Duration, bytes: Vec<u8>, censor: &Censor) -> Result<(), String> {
    let argv = command;
    let path = Path::new(argv.first().ok_or("the rule names no command")?);
    let trust = Trust::of_user(rustix::process::geteuid().as_raw());
    door::open(path, trust).map_err(|mistake| mistake.message.clone())?;
    let programs = Programs::default();
    let program = programs.open(path).map_err(|error| error.to_string())?;
    if let Some(interpreter) = programs.interpreter(&program, Path::new("/")) {
        // Nor by an interpreter that others could exchange.
        interpreter.map_err(|error| error.to_string())?;
    }
    let command = Command {
        program,
        argv: argv.to_vec(),
        env: Vec::new(),
        cwd: PathBuf::from("/"),
        user: User::current(),
        stdin: Stdin::Bytes(bytes),
    };
    let captured = run_captured(&command, timeout, KEPT, None);
    let said = match last_line(&captured.stderr, captured.lost, censor) {
        Some(last) => format!(": {last}"),
        None => String::new(),
    };
    match captured.ending {
        CapturedEnding::Exited(0) => Ok(()),
        CapturedEnding::Exited(code) => Err(format!("it exited with {code}{said}")),
        CapturedEnding::Signalled(signal) => Err(format!("it was ended by signal {signal}{said}")),
        CapturedEnding::TimedOut => Err(format!("it did not end within {}{said}", duration::show(timeout))),
        CapturedEnding::NotStarted(why) => Err(format!("it was not started: {why}")),
    }
}

/// The last line of what a command said. What was cut off at the limit may have gone on as something that must not be recorded, so a line
/// that may be cut is left out.
fn last_line(said: &[u8], lost: u64, censor: &Censor) -> Option<String> {
    let whole = match lost {
        0 => said,
        _ => &said[..said.iter().rposition(|byte| *byte == b'\n').unwrap_or(0)],
    };
    let cleaned = censor.clean(String::from_utf8_lossy(whole).trim());
    cleaned.lines().next_back().map(str::to_owned)
}

fn failed(rule: &NotifyRule, run: &RunId, entry: u64, event: &str, why: &str) -> Event {
    Event::NotifyFailed {
        of_run: run.clone(),
        of_entry: entry,
        of_event: event.to_owned(),
        command: rule.command.iter().take(64).map(|word| clip(word, 256)).collect(),
        why: clip(why, 2048),
        required: rule.duty == Duty::Required,
    }
}

fn in_words(rule: &NotifyRule, entry: u64, event: &str, why: &str) -> String {
    format!("{} was not told of entry {entry} ({event}): {}", escape_line(&rule.command.join(" ")), escape_line(why))
}
