//! Why a command did not do what was asked, with its exit code, in one place.

use std::io::Write as _;
use std::process::ExitCode;

use crate::diagnostic::escape::escape_text;

/// A failure of a command.
#[derive(Debug)]
pub enum Failure {
    /// The program or the machine failed, or the log or home cannot be used: exit 1.
    Internal(String),
    /// The command line, a runbook, parameters or a policy is wrong, and nothing was started: exit 2.
    Wrong(String),
    /// It was said already; only the exit code is left.
    Said(u8),
}

impl Failure {
    /// Says it on standard error and gives the exit code.
    pub fn report(self) -> ExitCode {
        let (code, text) = match self {
            Self::Internal(text) => (1, text),
            Self::Wrong(text) => (2, text),
            Self::Said(code) => return ExitCode::from(code),
        };
        say(&format!("interlock: {text}"));
        ExitCode::from(code)
    }
}

/// Says something to the person, on standard error. A reader that is gone is no failure.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", escape_text(text));
}

/// Whether somebody still reads what is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// As far as can be told.
    There,
    /// Nobody: the pipe is closed.
    Gone,
}

/// Puts data on standard output. A reader that is gone is no failure of ours; any other error is.
///
/// # Errors
/// If the output cannot be written, for instance to a full disk.
pub fn put(text: &str) -> Result<(), Failure> {
    put_to(text).map(|_| ())
}

/// As [`put`], and says whether there is any use in going on.
///
/// # Errors
/// As [`put`].
pub fn put_to(text: &str) -> Result<Audience, Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Internal(format!("standard output cannot be written: {error}")))
        }
        Err(_) => Ok(Audience::Gone),
        Ok(()) => Ok(Audience::There),
    }
}
