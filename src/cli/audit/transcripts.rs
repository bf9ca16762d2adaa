//! The output of a step within the story of its run. It is held against what the log recorded of it first; what is missing or was altered
//! is said before and after anything of it is shown.

use std::io;
use std::path::{Component, Path};

use crate::audit::Home;
use crate::cli::failure::{Audience, Failure, put_to};
use crate::diagnostic::escape::escape_line;
use crate::exec::replay::{Expected, Fidelity, Piece, Replay};
use crate::history::event::Output;
use crate::id::RunId;

/// How a line of output is marked, so that it is never taken for one of the story.
const MARK: &str = "                    │ ";

/// How a remark about the output begins.
const REMARK: &str = "                  ! ";

/// The longest line of output that is shown as one, in bytes.
const LONGEST: usize = 16 * 1024;

/// Whether what was shown is what was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// As far as can be told.
    AsRecorded,
    /// It is missing, or is not what was recorded, which was said.
    NotAsRecorded,
}

/// Shows the output of a step of this run.
pub fn show(home: &Home, run: &RunId, output: &Output) -> Result<(Shown, Audience), Failure> {
    let name = escape_line(&output.transcript).into_owned();
    let loudly = |what: String| put_to(&format!("{REMARK}{what}\n")).map(|audience| (Shown::NotAsRecorded, audience));
    if !lies_in_the_run(home, run, &output.transcript) {
        return loudly(format!("THE TRANSCRIPT IS NOT READ: `{name}` is not in the folder of this run"));
    }
    let opened = Replay::open(&home.path().join(&output.transcript));
    let mut replay = match opened {
        Ok(replay) => replay,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let bytes = output.bytes;
            return loudly(format!("THE TRANSCRIPT IS MISSING: {name} is not there; the step wrote {bytes} bytes"));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return loudly(format!("THE TRANSCRIPT WAS ALTERED: {name}: {}", escape_line(&error.to_string())));
        }
        Err(error) => return loudly(format!("THE TRANSCRIPT CANNOT BE READ: {name}: {error}")),
    };
    let expected = Expected { bytes: output.bytes, left_out: output.left_out, digest: output.digest.as_str() };
    let fidelity = match replay.compare(expected) {
        Ok(fidelity) => fidelity,
        Err(error) => return loudly(format!("THE TRANSCRIPT CANNOT BE READ: {name}: {error}")),
    };
    let altered = match (&fidelity, &output.trouble) {
        (Fidelity::Same, _) => None,
        (Fidelity::SameLength, _) => {
            let note = "its middle was not kept, so that only its length can be held against the record";
            put_to(&format!("{REMARK}{name}: {note}\n"))?;
            None
        }
        // The record itself says that it is not complete.
        (Fidelity::Altered(_), Some(_)) => {
            put_to(&format!(
                "{REMARK}{name} could not be written to its end, and cannot be held against the record\n"
            ))?;
            None
        }
        (Fidelity::Altered(why), None) => Some(format!("THE TRANSCRIPT WAS ALTERED: {name}: {}", escape_line(why))),
    };
    if let Some(altered) = &altered {
        loudly(format!("{altered}; what follows is what the file says now"))?;
    }
    let audience = lines_of(&mut replay)?;
    match altered {
        Some(altered) => loudly(altered),
        None => Ok((Shown::AsRecorded, audience)),
    }
}

/// Whether a name that the log gives is of a file in the folder of the run, and leads nowhere else.
fn lies_in_the_run(home: &Home, run: &RunId, name: &str) -> bool {
    let path = home.path().join(name);
    let is_plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    is_plain && path.starts_with(home.run(run))
}

fn lines_of(replay: &mut Replay) -> Result<Audience, Failure> {
    let mut waiting: Vec<u8> = Vec::new();
    loop {
        let piece = replay.piece();
        let mut text = String::new();
        let goes_on = match piece {
            Ok(Some(Piece::Output(bytes))) => {
                waiting.extend(bytes);
                push_lines(&mut text, &mut waiting);
                true
            }
            Ok(Some(Piece::Mark(words))) => {
                push_rest(&mut text, &mut waiting);
                text.push_str(&format!("{REMARK}{}\n", escape_line(&words)));
                true
            }
            Ok(None) => {
                push_rest(&mut text, &mut waiting);
                false
            }
            // It was said beforehand that it was altered.
            Err(error) => {
                push_rest(&mut text, &mut waiting);
                text.push_str(&format!("{REMARK}{}\n", escape_line(&error.to_string())));
                false
            }
        };
        let audience = put_to(&text)?;
        if audience == Audience::Gone || !goes_on {
            return Ok(audience);
        }
    }
}

/// Shows the lines that are whole, and of one that is very long what is there.
fn push_lines(text: &mut String, waiting: &mut Vec<u8>) {
    let mut from = 0;
    loop {
        let rest = &waiting[from..];
        let newline = rest.iter().position(|byte| *byte == b'\n');
        let (length, passed) = match newline {
            Some(at) if at <= LONGEST => (at, at + 1),
            Some(_) | None if rest.len() > LONGEST => {
                // Not within a character.
                let cut = (LONGEST - 3..=LONGEST).rev().find(|at| rest[*at] & 0xC0 != 0x80).unwrap_or(LONGEST);
                (cut, cut)
            }
            Some(_) | None => break,
        };
        text.push_str(&format!("{MARK}{}\n", escape_line(&rest[..length])));
        from += passed;
    }
    waiting.drain(..from);
}

fn push_rest(text: &mut String, waiting: &mut Vec<u8>) {
    if !waiting.is_empty() {
        text.push_str(&format!("{MARK}{}\n", escape_line(waiting.as_slice())));
        waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, MARK, push_lines, push_rest};

    fn shown(pieces: &[&[u8]]) -> String {
        let (mut text, mut waiting) = (String::new(), Vec::new());
        for piece in pieces {
            waiting.extend_from_slice(piece);
            push_lines(&mut text, &mut waiting);
        }
        push_rest(&mut text, &mut waiting);
        text.replace(MARK, "| ")
    }

    #[test]
    fn a_character_in_two_pieces_is_one() {
        assert_eq!(
            shown(&[b"caf\xc3", b"\xa9\nand \x1b[2J", b"\r\n\nrest"]),
            "| café\n| and \\x1b[2J\\r\n| \n| rest\n"
        );
    }

    #[test]
    fn a_long_line_is_shown_in_parts_and_no_character_is_cut() {
        let long = "é".repeat(LONGEST);
        let text = shown(&[long.as_bytes()]);
        assert!(!text.contains("\\x"), "no character was cut");
        assert_eq!(text.lines().count(), 2 * LONGEST / (LONGEST - 1));
        assert_eq!(text.replace("| ", "").replace('\n', ""), long);
    }
}
