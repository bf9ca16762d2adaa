//! Whether a transcript is what the log says of a step's output: the salt in its first line and the bytes that its events stand for have
//! the digest that was recorded. Written from docs/audit-format.md; shares nothing with what writes transcripts.

use std::io::BufRead;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::history::event::Output;
use crate::id::Digest;

/// The longest line, in bytes. One piece of output is one line.
const LONGEST_LINE: usize = 16 * 1024 * 1024;
/// The character that stands for a byte `b` is this plus `b`.
const RAW: u32 = 0x0010_F700;

/// What can be told of a transcript.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// It is what was recorded.
    Same,
    /// That its middle was left out, or why it is not complete, was recorded: so its digest cannot be worked out.
    NotWhole(String),
    /// It is not.
    Other(String),
}

#[derive(Deserialize)]
struct Header {
    interlock: Salt,
}

#[derive(Deserialize)]
struct Salt {
    salt: String,
}

/// Looks at a transcript.
pub fn look(lines: &mut impl BufRead, output: &Output) -> Told {
    match work_out(lines) {
        Err(problem) if output.trouble.is_none() => Told::Other(problem),
        Ok((digest, bytes)) if output.left_out == 0 && output.trouble.is_none() => {
            if digest == output.digest && bytes == output.bytes {
                Told::Same
            } else {
                Told::Other("it is not the output that was recorded: its digest is another".to_owned())
            }
        }
        Ok((_, bytes)) if output.trouble.is_none() => {
            if bytes.checked_add(output.left_out) == Some(output.bytes) {
                Told::NotWhole(format!("{} bytes of the middle were not kept", output.left_out))
            } else {
                Told::Other("it has not as many bytes as were recorded to be kept".to_owned())
            }
        }
        Ok(_) | Err(_) => Told::NotWhole("it was recorded that it could not be written to its end".to_owned()),
    }
}

/// The digest over salt and output, and how many bytes there are.
fn work_out(lines: &mut impl BufRead) -> Result<(Digest, u64), String> {
    let mut line = Vec::new();
    if !next(lines, &mut line)? {
        return Err("it is empty".to_owned());
    }
    let header: Header = serde_json::from_slice(&line).map_err(|error| format!("its first line: {error}"))?;
    let salt = hexadecimal(&header.interlock.salt).ok_or("its salt is not 32 bytes in hexadecimal")?;
    let mut hasher = Sha256::new();
    hasher.update(salt);
    let (mut bytes, mut number) = (0_u64, 1_u64);
    while next(lines, &mut line)? {
        number += 1;
        let (_, kind, text): (f64, String, String) =
            serde_json::from_slice(&line).map_err(|error| format!("its line {number}: {error}"))?;
        match kind.as_str() {
            "o" => {}
            "m" => continue,
            _ => return Err(format!("its line {number} is no output")),
        }
        for character in text.chars() {
            let raw = u32::from(character).checked_sub(RAW).and_then(|byte| u8::try_from(byte).ok());
            match raw.filter(|byte| *byte >= 0x80) {
                Some(byte) => {
                    hasher.update([byte]);
                    bytes += 1;
                }
                None => {
                    hasher.update(character.encode_utf8(&mut [0; 4]).as_bytes());
                    bytes += character.len_utf8() as u64;
                }
            }
        }
    }
    Ok((Digest::from_bytes(&hasher.finalize().into()), bytes))
}

/// The next line, without its newline; false at the end.
fn next(lines: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, String> {
    line.clear();
    loop {
        let buffer = lines.fill_buf().map_err(|error| error.to_string())?;
        if buffer.is_empty() {
            return if line.is_empty() { Ok(false) } else { Err("its last line has no end".to_owned()) };
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(buffer.len());
        if line.len() + taken > LONGEST_LINE {
            return Err("one of its lines is longer than any that is written".to_owned());
        }
        line.extend_from_slice(&buffer[..taken]);
        lines.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(true);
        }
    }
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}
