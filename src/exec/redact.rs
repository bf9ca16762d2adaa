//! What the rules of a policy match is replaced before anything is written or shown, over a stream that may be cut anywhere: however the
//! bytes are cut, what comes out is the same, as long as the stream does not pause in the middle of a line.
//!
//! A line is looked at by itself, when all of it is there. Of one that is longer than [`LOOKED_AT`] that much is looked at, and what
//! may still belong to a match of [`LONGEST_MATCH`] is kept back; so of memory no more is held than that, and no match that is not longer
//! is missed. Each rule is looked for by itself, so that matches which overlap are all replaced.
//!
//! When a stream has been silent for [`PAUSE`], the beginning of a line is given out as it is: a question without a newline must be seen. Of
//! a match that goes on after that, only what comes then can be replaced.

use std::sync::Arc;
use std::time::Duration;

use regex::bytes::{Regex, RegexSet, RegexSetBuilder};

/// How much of a line is looked at at once, in bytes with its newline.
pub const LOOKED_AT: usize = 16 * 1024;
/// The longest match that is sure to be seen in a line of any length, in bytes.
pub const LONGEST_MATCH: usize = 4 * 1024;
/// How long a stream may be silent until the beginning of a line is given out.
pub const PAUSE: Duration = Duration::from_millis(250);
/// How many bytes around a match decide about it: a character.
const CONTEXT: usize = 4;
/// Matches that begin before this in a line that is not complete are seen in full length, with what follows them.
const DECIDED: usize = LOOKED_AT - LONGEST_MATCH - CONTEXT;
/// How much one rule may take in the program that looks for all of them, in bytes.
const RULE_BYTES: usize = 4 << 20;

/// The rules, in the order in which they are numbered. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Redactions {
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    names: Vec<String>,
    patterns: Vec<Regex>,
    /// Tells quickly that nothing matches; none where there are no rules.
    any: Option<RegexSet>,
}

/// Who is told of each match that was replaced: the rule's number, and the bytes.
pub(super) type OnRemoved<'a> = &'a mut dyn FnMut(usize, &[u8]);

/// Redacts one stream.
#[derive(Debug)]
pub(super) struct Redactor {
    rules: Arc<Rules>,
    /// The line that is not complete, or its end with a little of what stands before.
    line: Vec<u8>,
    /// Up to where it was given out, as it is or replaced.
    given: usize,
    /// Whether what was given out ends in something that is replaced.
    replacing: Replacing,
    /// Up to where it was given out because of a pause.
    revealed: usize,
    /// From where on each rule is looked for.
    from: Vec<usize>,
}

/// Whether the byte that was given out last was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replacing {
    Yes,
    No,
}

/// Why a line is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Because {
    /// All of it is there, or nothing more comes.
    Complete,
    /// As much as is looked at at once is there.
    Full,
    /// The stream is silent.
    Silent,
}

impl Redactions {
    /// These rules, each with its name. Their patterns have to match something, within a line.
    ///
    /// # Errors
    /// All of them together are too large to be looked for.
    pub fn new(rules: Vec<(String, Regex)>) -> Result<Self, String> {
        let (names, patterns): (Vec<String>, Vec<Regex>) = rules.into_iter().unzip();
        if patterns.is_empty() {
            return Ok(Self::none());
        }
        let any = RegexSetBuilder::new(patterns.iter().map(Regex::as_str))
            .size_limit(RULE_BYTES * patterns.len())
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { rules: Arc::new(Rules { names, patterns, any: Some(any) }) })
    }

    /// No rules: then nothing is looked at.
    pub fn none() -> Self {
        Self { rules: Arc::new(Rules { names: Vec::new(), patterns: Vec::new(), any: None }) }
    }

    /// Whether there are none: then nothing is looked at.
    pub fn is_empty(&self) -> bool {
        self.rules.names.is_empty()
    }

    /// The names of the rules.
    pub(super) fn names(&self) -> &[String] {
        &self.rules.names
    }
}

impl Rules {
    /// Whether one of them matches in the bytes, from here on.
    fn match_in(&self, bytes: &[u8], from: usize) -> bool {
        self.any.as_ref().is_some_and(|any| any.is_match_at(bytes, from))
    }
}

impl Redactor {
    /// At the beginning of a stream.
    pub(super) fn new(redactions: &Redactions) -> Self {
        let rules = Arc::clone(&redactions.rules);
        let from = vec![0; rules.names.len()];
        Self { rules, line: Vec::new(), given: 0, replacing: Replacing::No, revealed: 0, from }
    }

    /// Takes the next bytes and appends to `out` what can be said of them.
    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>, removed: OnRemoved<'_>) {
        while !bytes.is_empty() {
            if self.line.is_empty() {
                let window = &bytes[..bytes.len().min(LOOKED_AT)];
                if let Some(end) = window.iter().rposition(|byte| *byte == b'\n') {
                    let (lines, rest) = bytes.split_at(end + 1);
                    self.lines(lines, out, removed);
                    bytes = rest;
                    continue;
                }
            }
            let window = &bytes[..bytes.len().min(LOOKED_AT - self.line.len())];
            let newline = window.iter().position(|byte| *byte == b'\n');
            let (taken, rest) = bytes.split_at(newline.map_or(window.len(), |at| at + 1));
            self.line.extend_from_slice(taken);
            bytes = rest;
            if newline.is_some() {
                self.look(Because::Complete, out, removed);
            } else if self.line.len() == LOOKED_AT {
                self.look(Because::Full, out, removed);
            }
        }
    }

    /// Whether something is kept back that is given out when the stream is silent.
    pub(super) fn holds(&self) -> bool {
        self.given < self.line.len()
    }

    /// The stream is silent: gives out what is there of a line.
    pub(super) fn pause(&mut self, out: &mut Vec<u8>, removed: OnRemoved<'_>) {
        if self.holds() {
            self.look(Because::Silent, out, removed);
        }
    }

    /// The stream has ended: gives out the rest.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, removed: OnRemoved<'_>) {
        if !self.line.is_empty() {
            self.look(Because::Complete, out, removed);
        }
    }

    /// Whole lines, none of them longer than is looked at at once. Most have nothing in them.
    fn lines(&mut self, lines: &[u8], out: &mut Vec<u8>, removed: OnRemoved<'_>) {
        if !self.rules.match_in(lines, 0) {
            out.extend_from_slice(lines);
            return;
        }
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if self.rules.match_in(line, 0) {
                self.line.extend_from_slice(line);
                self.look(Because::Complete, out, removed);
            } else {
                out.extend_from_slice(line);
            }
        }
    }

    /// Looks at what there is of the line, and gives out what is decided.
    fn look(&mut self, because: Because, out: &mut Vec<u8>, removed: OnRemoved<'_>) {
        // The newline is no part of the line: nothing may match over it.
        let text = match self.line.split_last() {
            Some((b'\n', text)) => text,
            Some(_) | None => &self.line,
        };
        let decided = match because {
            Because::Complete | Because::Silent => text.len(),
            Because::Full => DECIDED,
        };
        let mut found: Vec<(usize, usize, usize)> = Vec::new();
        let first = self.from.iter().copied().min().unwrap_or(text.len());
        if self.rules.match_in(text, first) {
            for (rule, (pattern, from)) in self.rules.patterns.iter().zip(&mut self.from).enumerate() {
                while let Some(a_match) = pattern.find_at(text, *from)
                    && a_match.start() < decided
                    && !a_match.is_empty()
                {
                    if a_match.end() > self.revealed {
                        found.push((a_match.start(), a_match.end(), rule));
                    }
                    if because == Because::Silent && a_match.end() == text.len() {
                        // It may go on after the pause.
                        *from = a_match.start();
                        break;
                    }
                    *from = a_match.end();
                }
            }
        }
        found.sort_unstable();
        for (start, end, rule) in found {
            removed(rule, &text[start..end]);
            if end <= self.given {
                continue;
            }
            if start >= self.given {
                out.extend_from_slice(&text[self.given..start]);
                self.replacing = Replacing::No;
            }
            if self.replacing == Replacing::No || start >= self.given {
                out.extend_from_slice(b"[redacted ");
                out.extend_from_slice(self.rules.names[rule].as_bytes());
                out.push(b']');
            }
            (self.given, self.replacing) = (end, Replacing::Yes);
        }
        let until = match because {
            Because::Complete | Because::Silent => self.line.len(),
            Because::Full => DECIDED,
        };
        if self.given < until {
            out.extend_from_slice(&self.line[self.given..until]);
            (self.given, self.replacing) = (until, Replacing::No);
        }
        match because {
            Because::Complete => {
                self.line.clear();
                (self.given, self.replacing, self.revealed) = (0, Replacing::No, 0);
                self.from.fill(0);
            }
            Because::Silent => self.revealed = self.line.len(),
            Because::Full => {
                let gone = DECIDED - CONTEXT;
                self.line.drain(..gone);
                self.given -= gone;
                self.revealed = self.revealed.saturating_sub(gone);
                for from in &mut self.from {
                    *from = (*from).max(DECIDED) - gone;
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
