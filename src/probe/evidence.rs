//! What a look says, and how its evidence is put into words: short, on one line, free of control characters.

use crate::history::event::Verdict;

/// The most bytes that the evidence of one look takes.
const LONGEST: usize = 500;

/// What a look says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The verdict.
    pub verdict: Verdict,
    /// What was seen, in words: one line of at most about 500 bytes.
    pub evidence: String,
}

impl Look {
    /// It is so.
    pub(super) fn holds(evidence: impl AsRef<str>) -> Self {
        Self::new(Verdict::Holds, evidence.as_ref())
    }

    /// It is not so.
    pub(super) fn broken(evidence: impl AsRef<str>) -> Self {
        Self::new(Verdict::Broken, evidence.as_ref())
    }

    /// It cannot be told.
    pub(super) fn unknown(evidence: impl AsRef<str>) -> Self {
        Self::new(Verdict::Unknown, evidence.as_ref())
    }

    /// Holds or broken, as `is_so` says; both rest on positive evidence.
    pub(super) fn told(is_so: bool, evidence: impl AsRef<str>) -> Self {
        if is_so { Self::holds(evidence) } else { Self::broken(evidence) }
    }

    /// With this verdict and evidence, which is brought into form.
    pub(super) fn new(verdict: Verdict, evidence: &str) -> Self {
        Self { verdict, evidence: bounded(evidence, LONGEST) }
    }
}

/// A text that strangers may have chosen (a path, an argument, a command's output) as one printable line of at most `longest`
/// bytes.
pub(super) fn bounded(text: &str, longest: usize) -> String {
    let mut line = String::with_capacity(text.len().min(longest));
    for char in text.chars() {
        let room = longest.saturating_sub('…'.len_utf8());
        let before = line.len();
        if char.is_control() {
            line.extend(char.escape_default())
        } else {
            line.push(char)
        }
        if line.len() > room && (line.len() > longest || before + char.len_utf8() < text.len()) {
            line.truncate(before);
            line.push('…');
            break;
        }
    }
    line
}

/// `one, two and 3 more`: at most `shown` of the things by name.
pub(super) fn some_of(things: &[String], shown: usize) -> String {
    let mut text = things.iter().take(shown).map(String::as_str).collect::<Vec<_>>().join(", ");
    if things.len() > shown {
        text.push_str(&format!(" and {} more", things.len() - shown));
    }
    text
}

/// `one, two or three`.
pub(super) fn either(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
