//! `interlock audit play`: the output of a step, as it came. Nothing in it acts on the terminal, and nothing is shown that the log does
//! not vouch for, unless it is asked for.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::export::{Reader, written};
use super::{unreadable, which};
use crate::audit::{self, Home};
use crate::cli::failure::{Failure, say};
use crate::cli::{Format, Global};
use crate::diagnostic::escape::{escape_line, escape_text};
use crate::exec::cast::{Cast, Piece, Sum};
use crate::history::event::{Ending, Event, Output, Way};
use crate::id::{Digest, RunId, Timestamp};
use crate::report::story::ending_in_words;
use crate::runbook::duration;

/// The exit code of what does not fit what was recorded of it.
const ALTERED: u8 = 11;

/// Plays the output of a step again, with its timing. Control sequences are shown as text and do nothing.
///
/// The transcript is compared with the digest in the log first, and refused if it is another. On a terminal it is played with its pauses,
/// until its end or Ctrl-C; elsewhere it is printed without any. What was masked when it was recorded is not in it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock audit play 019a8f6e change
  interlock audit play 019a8f6e change --speed 4 --idle-limit 1s
  interlock audit play 019a8f6e change --attempt 1 | less
  interlock audit play 019a8f6e change --undo
  interlock audit play 019a8f6e change -o change.cast && asciinema play change.cast

Exit codes: 0 it was played, 1 the log or the transcript cannot be read, 2 no such run or step, 11 the transcript is not the one
that was recorded.")]
pub struct Play {
    /// The run's id, or the beginning of it
    run: String,
    /// The step
    step: String,
    /// Which attempt [default: the last that wrote something]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// What was written when the step was taken back
    #[arg(long)]
    undo: bool,
    /// How many times as fast
    #[arg(long, value_name = "N", default_value = "1", value_parser = speed)]
    speed: f64,
    /// No pause is longer than this
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    idle_limit: Option<Duration>,
    /// Write an asciicast for other players to this file, which must not exist, instead of playing it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also if the transcript is not the one that was recorded
    #[arg(long)]
    unverified: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.01..=1000.0).contains(&speed) => Ok(speed),
        Ok(_) | Err(_) => Err("a number from 0.01 to 1000 is needed".to_owned()),
    }
}

/// An attempt of a step and what it wrote.
#[derive(Debug)]
struct Attempt {
    way: Way,
    number: u32,
    ending: Ending,
    time: Timestamp,
    output: Option<Output>,
}

impl Play {
    pub(super) fn go(&self, global: &Global, home: &Home) -> Result<ExitCode, Failure> {
        let run = which::find(home, &self.run)?;
        let attempt = self.attempt(home, &run)?;
        let what = format!("attempt {} of `{}`{}", attempt.number, self.step, if self.undo { ", undo" } else { "" });
        let Some(recorded) = &attempt.output else {
            say(&format!("interlock: {what} wrote nothing"));
            return Ok(ExitCode::SUCCESS);
        };
        let path = transcript(home, &run, recorded)?;
        let mut cast = match Cast::open(&path) {
            Ok(cast) => cast,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(refused(&path, &error)),
            Err(error) => return Err(gone(&path, &error)),
        };
        let compared = self.compare(&mut cast, recorded, &path)?;
        say(&format!("interlock: {what}, which ended at {}: {}", attempt.time, ending_in_words(&attempt.ending)));
        cast.rewind().map_err(|error| gone(&path, &error))?;
        let pieces = Pieces { cast: &mut cast, unread: compared.end };
        match (&self.output, global.format) {
            (Some(to), _) => self.write_cast(pieces, to, &run)?,
            (None, Format::Json) => in_json(pieces)?,
            (None, Format::Human) => self.play(pieces, recorded.left_out)?,
        }
        // If the reader went away in the middle, the rest was not read.
        let sum = cast.so_far();
        if sum.bytes == compared.sum.bytes && sum != compared.sum {
            return Err(refused(&path, &"it was changed while it was played"));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The attempt that is meant.
    fn attempt(&self, home: &Home, run: &RunId) -> Result<Attempt, Failure> {
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut others: Vec<String> = Vec::new();
        for found in audit::read(home).map_err(unreadable)? {
            let entry = found.map_err(unreadable)?.recorded.entry;
            if entry.run.as_ref() != Some(run) {
                continue;
            }
            let Event::StepEnded { step, way, attempt, ending, output, .. } = entry.event else { continue };
            if step.as_str() == self.step {
                attempts.push(Attempt { way, number: attempt, ending, time: entry.time, output });
            } else if output.is_some() && others.last().map(String::as_str) != Some(step.as_str()) {
                others.push(step.to_string());
            }
        }
        let any = !attempts.is_empty();
        attempts.retain(|attempt| (attempt.way == Way::Back) == self.undo);
        let count = attempts.len();
        if let Some(number) = self.attempt {
            attempts.retain(|attempt| attempt.number == number);
        } else if attempts.iter().any(|attempt| attempt.output.is_some()) {
            attempts.retain(|attempt| attempt.output.is_some());
        }
        attempts.pop().ok_or_else(|| {
            let step = escape_line(&self.step);
            Failure::Wrong(match (any, count) {
                (false, _) if others.is_empty() => format!("no step of run {run} is called `{step}` and ended"),
                (false, _) => {
                    format!(
                        "no step of run {run} is called `{step}` and ended; these wrote something: {}",
                        others.join(", ")
                    )
                }
                (true, 0) if self.undo => format!("step `{step}` of run {run} was not taken back"),
                (true, 0) => format!("step `{step}` of run {run} was only taken back; say --undo"),
                (true, count) => format!("step `{step}` of run {run} has {count} attempts, and not this one"),
            })
        })
    }

    /// Holds the transcript against what the log says of it.
    fn compare(&self, cast: &mut Cast, recorded: &Output, path: &Path) -> Result<Compared, Failure> {
        let mut gaps = 0;
        let mut end = AtItsEnd::IsAnError;
        let mut problem = None;
        for piece in cast.by_ref() {
            match piece {
                Ok(Piece::Output { .. }) => {}
                Ok(Piece::Gap { .. }) => gaps += 1,
                Err(error) => {
                    problem = Some(error.to_string());
                    break;
                }
            }
        }
        let sum = cast.so_far();
        let kept = recorded.bytes.saturating_sub(recorded.left_out);
        let digest = Digest::from_bytes(&sum.digest);
        if let Some(trouble) = &recorded.trouble {
            say(&format!("interlock: warning: the transcript is not complete, and so cannot be checked: {trouble}"));
            (problem, end) = (None, AtItsEnd::IsExpected);
        } else if recorded.left_out > 0 {
            say(&format!(
                "interlock: warning: {} bytes in the middle were not kept, so what is there cannot be held against the digest in the log",
                recorded.left_out
            ));
            if sum.bytes != kept || gaps != 1 {
                problem.get_or_insert_with(|| format!("{kept} bytes were kept, and {} are there", sum.bytes));
            }
        } else if digest != recorded.digest {
            problem.get_or_insert_with(|| {
                format!("the digest of its output is {digest}, and the log says {}", recorded.digest)
            });
        } else if gaps > 0 {
            problem.get_or_insert_with(|| "it says that something was left out, and nothing was".to_owned());
        }
        match problem {
            None => Ok(Compared { sum, end }),
            Some(problem) if self.unverified => {
                say(&format!("interlock: warning: {}", other(path, &problem)));
                Ok(Compared { sum, end: AtItsEnd::IsExpected })
            }
            Some(problem) => Err(refused(path, &problem)),
        }
    }

    /// Shows it, with its pauses where somebody looks on.
    fn play(&self, pieces: Pieces<'_>, left_out: u64) -> Result<(), Failure> {
        let looks_on = io::stdout().is_terminal();
        let mut shown = Shown { began: Instant::now(), at: Duration::ZERO, last: Duration::ZERO };
        let mut ends_line = true;
        let mut stdout = io::stdout().lock();
        for piece in pieces {
            let piece = piece?;
            let (Piece::Output { at, .. } | Piece::Gap { at }) = &piece;
            if looks_on {
                shown.wait(*at, self.idle_limit, self.speed);
            }
            let bytes = match piece {
                Piece::Output { bytes, .. } => bytes,
                Piece::Gap { .. } => {
                    say(&format!("interlock: {left_out} bytes are left out here"));
                    continue;
                }
            };
            ends_line = bytes.last() == Some(&b'\n');
            let sent = stdout.write_all(escape_text(&bytes).as_bytes()).and_then(|()| stdout.flush());
            if let Reader::IsGone = written(sent)? {
                return Ok(());
            }
        }
        if looks_on && !ends_line {
            written(stdout.write_all(b"\n"))?;
        }
        Ok(())
    }

    /// Writes it in the form of asciinema's player: lines end as a terminal's do, and no control sequence is one.
    fn write_cast(&self, pieces: Pieces<'_>, to: &Path, run: &RunId) -> Result<(), Failure> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(|error| {
            Failure::Wrong(format!("{} cannot be made: {error}; give a name that is not there", to.display()))
        })?;
        let mut file = BufWriter::with_capacity(64 * 1024, &made);
        let header = serde_json::json!({
            "version": 2, "width": 80, "height": 24, "timestamp": pieces.cast.timestamp(),
            "title": format!("{} of run {run}", self.step),
        });
        written(writeln!(file, "{header}"))?;
        for piece in pieces {
            let (at, kind, shown) = match piece? {
                Piece::Output { at, bytes } => (at, "o", escape_text(&bytes).replace('\n', "\r\n")),
                Piece::Gap { at } => (at, "m", "bytes are left out here".to_owned()),
            };
            let shown = serde_json::Value::from(shown);
            written(writeln!(file, "[{}.{:06},\"{kind}\",{shown}]", at.as_secs(), at.subsec_micros()))?;
        }
        written(file.flush().and_then(|()| made.sync_all()))?;
        Ok(())
    }
}

/// What came of holding a transcript against the log.
struct Compared {
    sum: Sum,
    end: AtItsEnd,
}

/// What it means that a transcript cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtItsEnd {
    /// It was read to its end before, so something changed.
    IsAnError,
    /// That is known, and was said.
    IsExpected,
}

/// The pieces of a transcript.
struct Pieces<'a> {
    cast: &'a mut Cast,
    unread: AtItsEnd,
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        match (self.cast.next()?, self.unread) {
            (Ok(piece), _) => Some(Ok(piece)),
            (Err(_), AtItsEnd::IsExpected) => None,
            (Err(error), AtItsEnd::IsAnError) => {
                Some(Err(Failure::Internal(format!("the transcript cannot be read on: {error}"))))
            }
        }
    }
}

/// How far it was shown.
struct Shown {
    began: Instant,
    /// When the last piece was to be shown, since the beginning.
    at: Duration,
    /// When it came, in the transcript's time.
    last: Duration,
}

impl Shown {
    /// Waits until the piece that came then is to be shown.
    fn wait(&mut self, came: Duration, limit: Option<Duration>, speed: f64) {
        let pause = came.saturating_sub(self.last);
        let pause = limit.map_or(pause, |limit| pause.min(limit)).div_f64(speed);
        self.last = self.last.max(came);
        self.at = self.at.saturating_add(pause);
        // By the clock, so that what showing takes does not add up.
        std::thread::sleep(self.at.saturating_sub(self.began.elapsed()));
    }
}

/// Each piece as an object, for programs.
fn in_json(pieces: Pieces<'_>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    for piece in pieces {
        let value = match piece? {
            Piece::Output { at, bytes } => {
                serde_json::json!({"at": at.as_secs_f64(), "output": String::from_utf8_lossy(&bytes)})
            }
            Piece::Gap { at } => serde_json::json!({"at": at.as_secs_f64(), "gap": true}),
        };
        if let Reader::IsGone = written(writeln!(stdout, "{value}"))? {
            break;
        }
    }
    Ok(())
}

/// Where the transcript is: below the run's own folder, whatever the entry says.
fn transcript(home: &Home, run: &RunId, output: &Output) -> Result<PathBuf, Failure> {
    let path = home.path().join(&output.transcript);
    let is_below = path.starts_with(home.run(run))
        && Path::new(&output.transcript).components().all(|part| matches!(part, Component::Normal(_)));
    if is_below {
        return Ok(path);
    }
    Err(Failure::Internal(format!(
        "the entry names the transcript {}, which is not in the folder of the run",
        escape_line(&output.transcript)
    )))
}

fn gone(path: &Path, error: &dyn Display) -> Failure {
    Failure::Internal(format!(
        "the log says that there is a transcript, and IT CANNOT BE READ: {}: {error}. Either it was removed, or somebody keeps it from you",
        path.display()
    ))
}

fn other(path: &Path, problem: &dyn Display) -> String {
    format!("{} IS NOT WHAT WAS RECORDED: {}", path.display(), escape_line(&problem.to_string()))
}

/// Nothing is shown of it.
fn refused(path: &Path, problem: &dyn Display) -> Failure {
    say(&format!(
        "interlock: refused: {}. It was changed since; keep it as it is, and look who could write to it. --unverified shows it all the same",
        other(path, problem)
    ));
    Failure::Said(ALTERED)
}
