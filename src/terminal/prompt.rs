//! Questions to the person at the terminal. They are read from `/dev/tty` and nowhere else, a whole line at a time; what was
//! typed before the question was shown does not count; the question can be withdrawn.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcgetpgrp, tcsetattr};

/// Longest answer that is read, in bytes.
const LONGEST: usize = 4096;
/// How often an unclear answer is asked again.
const TRIES: u32 = 5;
/// How often a program in the background looks whether it is in the foreground again.
const FOREGROUND_LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Withdraws a question when it is dropped or told to.
#[derive(Debug, Clone)]
pub struct Withdraw(Arc<OwnedFd>);

/// The other end of [`Withdraw`].
#[derive(Debug)]
pub struct Withdrawn(OwnedFd);

/// A pair: the one withdraws the question that holds the other.
///
/// # Errors
/// If the process has no file descriptor left.
pub fn withdrawal() -> std::io::Result<(Withdraw, Withdrawn)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((Withdraw(Arc::new(write)), Withdrawn(read)))
}

/// Withdraws the question, in what goes through the pipe; everything else is a line to say.
const WITHDRAWN: u8 = 0;

impl Withdraw {
    /// Withdraws the question.
    pub fn now(&self) {
        // The reader may be gone already; then there is nothing to withdraw.
        let _ = rustix::io::write(&*self.0, &[WITHDRAWN]);
    }

    /// Says something to the person who is being asked, and shows again what to type. The line must be escaped already.
    pub fn say(&self, line: &str) {
        // The reader may be gone already; then nobody is asked.
        let _ = rustix::io::write(&*self.0, line.as_bytes());
    }
}

/// Whether there is a terminal on which a person can be asked: standard input is one, and `/dev/tty` can be opened.
pub fn somebody_is_there() -> bool {
    use std::io::IsTerminal as _;
    std::io::stdin().is_terminal() && open_tty().is_ok()
}

/// A question as it is shown. Its texts must be escaped already.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The question.
    pub text: String,
    /// What to type.
    pub hint: String,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These words.
    Words(String),
    /// The terminal ended, or no answer was clear: nobody answered.
    Nobody,
    /// The question was withdrawn; nobody waits for an answer.
    Withdrawn,
}

/// Asks until the answer is clear.
pub fn ask(shown: &Shown, is_clear: impl Fn(&str) -> bool, withdrawn: &Withdrawn) -> Answer {
    let Ok(mut tty) = open_tty() else { return Answer::Nobody };
    // What was typed ahead was not typed as an answer to this.
    let _ = tcflush(&tty, QueueSelector::IFlush);
    let _ = writeln!(tty, "\x1b[0m      {}", shown.text);
    for _ in 0..TRIES {
        let hint = format!("      [{}] > ", shown.hint);
        let _ = write!(tty, "{hint}");
        match read_line(&mut tty, withdrawn, &hint) {
            Answer::Words(words) if !is_clear(&words) => {}
            answer => return answer,
        }
        let _ = writeln!(tty, "      That is not the answer that was asked for.");
    }
    Answer::Nobody
}

/// Asks for a secret, which is not echoed. The text must be escaped already.
///
/// # Errors
/// If there is no terminal, or it ended without an answer.
pub fn ask_secret(text: &str) -> std::io::Result<String> {
    let mut tty = open_tty()?;
    let before = tcgetattr(&tty)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&tty, OptionalActions::Flush, &silent)?;
    let _ = write!(tty, "\x1b[0m{text} (not shown): ");
    let (_withdraw, withdrawn) = withdrawal()?;
    let answer = read_line(&mut tty, &withdrawn, "");
    tcsetattr(&tty, OptionalActions::Flush, &before)?;
    match answer {
        Answer::Words(words) => Ok(words),
        Answer::Nobody | Answer::Withdrawn => {
            Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the terminal ended without an answer"))
        }
    }
}

fn open_tty() -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

/// One line without its end. A program that was put into the background asks when it is in the foreground again: nothing is
/// read before, since what is typed is meant for somebody else.
fn read_line(tty: &mut File, withdrawn: &Withdrawn, hint: &str) -> Answer {
    let mut bytes = Vec::new();
    loop {
        let told = PollFd::from_borrowed_fd(withdrawn.0.as_fd(), PollFlags::IN);
        let (mut both, mut only_told) = ([told.clone(), PollFd::new(&*tty, PollFlags::IN)], [told]);
        let foreground = is_in_the_foreground(tty);
        let polled = match foreground {
            Foreground::Yes => poll(&mut both, None),
            Foreground::No => poll(&mut only_told, Some(&FOREGROUND_LOOK)),
        };
        let fds: &[PollFd<'_>] = match foreground {
            Foreground::Yes => &both,
            Foreground::No => &only_told,
        };
        match polled {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return Answer::Nobody,
        }
        if !fds[0].revents().is_empty() {
            let mut told = [0_u8; 1024];
            let count = rustix::io::read(&withdrawn.0, &mut told).unwrap_or(0);
            if count == 0 || told[..count].contains(&WITHDRAWN) {
                let _ = writeln!(tty);
                return Answer::Withdrawn;
            }
            // What was typed of the line is gone: the key that made us speak has emptied the terminal's buffer.
            let _ = write!(tty, "\n{}\n{hint}", String::from_utf8_lossy(&told[..count]));
            continue;
        }
        if fds.get(1).is_none_or(|typed| typed.revents().is_empty()) {
            continue;
        }
        let mut chunk = [0_u8; 512];
        let count = match tty.read(&mut chunk) {
            Ok(0) => return Answer::Nobody,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return Answer::Nobody,
        };
        bytes.extend_from_slice(&chunk[..count]);
        if let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            bytes.truncate(end);
            return Answer::Words(String::from_utf8_lossy(&bytes).into_owned());
        }
        if bytes.len() > LONGEST {
            return Answer::Nobody;
        }
    }
}

/// Whether what is typed at the terminal is meant for us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Foreground {
    Yes,
    No,
}

fn is_in_the_foreground(tty: &File) -> Foreground {
    match tcgetpgrp(tty) {
        Ok(group) if group != getpgrp() => Foreground::No,
        // A terminal that is gone says so when it is read.
        Ok(_) | Err(_) => Foreground::Yes,
    }
}
