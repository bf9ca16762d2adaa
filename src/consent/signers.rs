//! The file that says which key is whose: OpenSSH's `allowed_signers` (ssh-keygen(1), ALLOWED SIGNERS), read by ourselves so that
//! mistakes have places and refusals name persons. `ssh-keygen` reads the same bytes when a signature is checked, and both must agree.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use super::code;
use super::key::{KeyError, PublicKey};
use super::pattern::PatternList;
use super::wire::base64;
use crate::diagnostic::escape::is_unfit;
use crate::diagnostic::{Diagnostic, Problems, Source, Span, quoted};
use crate::id::Digest;
use crate::yaml::code::TOO_BIG;

/// How many lines with keys a file may have.
pub const MOST_LINES: usize = 10_000;

/// A signers file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    /// Its text, as `ssh-keygen` gets it.
    pub source: Source,
    /// The digest of that text.
    pub digest: Digest,
    /// Its lines that hold a key which may sign.
    pub lines: Vec<SignerLine>,
}

/// One line: who may sign with which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerLine {
    /// The line's number, from 1.
    pub number: usize,
    /// Where it stands.
    pub span: Span,
    /// The persons it names.
    pub principals: PatternList,
    /// What the key is to them.
    pub role: Role,
    /// What it may sign for; none for anything.
    pub namespaces: Option<PatternList>,
    /// From when on it counts.
    pub valid_after: Option<DateTime<Utc>>,
    /// Until when it counts.
    pub valid_before: Option<DateTime<Utc>>,
    /// The key.
    pub key: PublicKey,
}

/// What a key is to the persons on its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Their own.
    Own,
    /// That of an authority which certifies theirs.
    Authority,
}

/// What the options of a line say.
#[derive(Default)]
struct Options {
    authority: Option<()>,
    namespaces: Option<PatternList>,
    valid_after: Option<DateTime<Utc>>,
    valid_before: Option<DateTime<Utc>>,
}

/// What is wrong with a part of a line.
struct Mistake {
    code: &'static str,
    message: String,
    help: &'static str,
    span: Span,
}

impl Signers {
    /// Reads the whole file. Keys that may not sign are left out, with a warning each.
    ///
    /// # Errors
    /// Every line that cannot be read, and a file without a key that may sign.
    pub fn read(source: Source) -> Result<(Self, Vec<Diagnostic>), (Source, Vec<Diagnostic>)> {
        let mut problems = Problems::new();
        let mut lines = Vec::new();
        for (number, span) in lines_of(source.text()) {
            match line(&source, number, span) {
                Ok(Line::Key(line)) => lines.push(*line),
                Ok(Line::Nothing) => {}
                Ok(Line::Weak(warning)) => problems.push(warning),
                Err(mistake) => {
                    problems
                        .push(Diagnostic::error(mistake.code, mistake.message).at(mistake.span, "").help(mistake.help));
                }
            }
        }
        if lines.len() > MOST_LINES {
            let message = format!("`{}` has more than {MOST_LINES} keys", source.name());
            problems.push(Diagnostic::error(TOO_BIG, message).help("take out those that are not needed here"));
        }
        if lines.is_empty() && !problems.has_errors() {
            let message = format!("`{}` holds no key that may sign", source.name());
            problems.push(Diagnostic::error(code::NO_KEY, message).help(
                "write a line for each person, `amy@example.org ssh-ed25519 AAAA…`: the person, and the key from their .pub file",
            ));
        }
        if problems.has_errors() {
            return Err((source, problems.into_vec()));
        }
        let digest = Digest::of(source.text().as_bytes());
        Ok((Self { source, digest, lines }, problems.into_vec()))
    }
}

/// The lines of a text with their numbers and places, without what ends them.
pub(super) fn lines_of(text: &str) -> impl Iterator<Item = (usize, Span)> {
    let mut start = 0;
    text.split('\n').enumerate().map(move |(at, line)| {
        let span = Span::new(start, start + line.trim_end_matches('\r').len());
        start += line.len() + 1;
        (at + 1, span)
    })
}

enum Line {
    Key(Box<SignerLine>),
    Weak(Diagnostic),
    Nothing,
}

fn line(source: &Source, number: usize, span: Span) -> Result<Line, Mistake> {
    let text = source.slice(span);
    let wrong = |message: &str, help: &'static str, part: &str| {
        let message = format!("`{}` line {number}: {message}", source.name());
        Mistake { code: code::SIGNERS_LINE, message, help, span: place(span, text, part) }
    };
    if let Some(at) = text.find(|c: char| is_unfit(c)) {
        let length = text[at..].chars().next().map_or(0, char::len_utf8);
        return Err(wrong("it holds a character that cannot be seen", "remove it", &text[at..at + length]));
    }
    let body = text.trim_start_matches([' ', '\t']);
    if body.is_empty() || body.starts_with('#') {
        return Ok(Line::Nothing);
    }
    let (principals, rest) = first_word(body);
    let principals_text = principals;
    let principals = PatternList::read(principals.trim_matches('"'))
        .map_err(|why| wrong(&why, "begin the line with the person's name", principals_text))?;
    let missing = "after the person comes the key, as it stands in their .pub file";
    let (first, _) = first_word(rest);
    let (options, key_text) = if first.is_empty() {
        return Err(wrong("a key is missing", missing, body));
    } else if is_kind_of_key(first) {
        (Options::default(), rest)
    } else {
        let (options_text, after) = options_word(rest);
        let options = options_of(options_text).map_err(|mistake| match mistake {
            OptionMistake::Wrong(why) => wrong(
                &why,
                "the options are cert-authority, namespaces=\"…\", valid-after=\"…\" and valid-before=\"…\", with commas between",
                options_text,
            ),
            OptionMistake::LocalTime(time) => Mistake {
                code: code::LOCAL_TIME,
                message: format!("{} is a local time, which means another moment on another machine", quoted(&time)),
                help: "write it in UTC with a Z at its end, as in 20270101Z or 202701011200Z",
                span: place(span, text, options_text),
            },
        })?;
        (options, after)
    };
    let (kind, rest) = first_word(key_text);
    let (blob, _) = first_word(rest);
    if kind.is_empty() || blob.is_empty() {
        return Err(wrong("a key is missing", missing, body));
    }
    let bytes = base64(blob.as_bytes()).map_err(|why| wrong(&why.0, "copy the key again from the .pub file", blob))?;
    let key = match PublicKey::read(&bytes) {
        Ok(key) => key,
        Err(KeyError::MayNotSign(why)) => {
            let message = format!("this key can sign nothing here: {why}");
            let warning = Diagnostic::warning(code::WEAK_KEY, message).at(place(span, text, blob), "not taken");
            return Ok(Line::Weak(warning.help("use Ed25519, a hardware key, ECDSA, or RSA of at least 3072 bits")));
        }
        Err(KeyError::Malformed(why)) => {
            return Err(wrong(&why.0, "copy the key again from the .pub file", blob));
        }
    };
    if key.kind.name() != kind {
        let message = format!("the key is of the kind {}, and the line says {}", key.kind.name(), quoted(kind));
        return Err(wrong(&message, "copy the key again from the .pub file", kind));
    }
    Ok(Line::Key(Box::new(SignerLine {
        number,
        span,
        principals,
        role: options.authority.map_or(Role::Own, |()| Role::Authority),
        namespaces: options.namespaces,
        valid_after: options.valid_after,
        valid_before: options.valid_before,
        key,
    })))
}

/// Where a part of a line stands; the whole line for what is not a part of it.
fn place(line: Span, text: &str, part: &str) -> Span {
    let offset = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    if offset <= text.len() && !part.is_empty() {
        Span::new(line.start + offset, line.start + offset + part.len())
    } else {
        line
    }
}

/// The first word, in quotes or not, and what follows it.
fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    let end = match text.strip_prefix('"') {
        Some(rest) => rest.find('"').map_or(text.len(), |at| at + 2),
        None => text.find([' ', '\t']).unwrap_or(text.len()),
    };
    (&text[..end], &text[end..])
}

/// The options: everything up to a blank that does not stand in quotes.
fn options_word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        !quoted && (c == ' ' || c == '\t')
    });
    let end = end.unwrap_or(text.len());
    (&text[..end], &text[end..])
}

/// Whether a word is one of the kinds of keys that OpenSSH writes, also those that may not sign here.
fn is_kind_of_key(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"].iter().any(|start| word.starts_with(start))
        && !word.contains(['=', ',', '"'])
}

enum OptionMistake {
    Wrong(String),
    LocalTime(String),
}

impl From<String> for OptionMistake {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

fn options_of(text: &str) -> Result<Options, OptionMistake> {
    let mut options = Options::default();
    let mut rest = text;
    loop {
        let end = rest.find(['=', ',']).unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        let (value, after) = match rest[end..].strip_prefix('=') {
            None => (None, &rest[end..]),
            Some(quoted) => {
                let inner =
                    quoted.strip_prefix('"').ok_or_else(|| format!("the value of `{name}` is not in quotes"))?;
                let close =
                    inner.find('"').ok_or_else(|| format!("the quotes around the value of `{name}` are not closed"))?;
                (Some(&inner[..close]), &inner[close + 1..])
            }
        };
        option(&mut options, &name, value)?;
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => break,
            None => return Err(format!("{} stands where a comma or the key belongs", quoted(after)).into()),
        }
    }
    if let (Some(after), Some(before)) = (options.valid_after, options.valid_before)
        && before <= after
    {
        return Err("the key is never valid: its end is not after its beginning".to_owned().into());
    }
    Ok(options)
}

fn option(options: &mut Options, name: &str, value: Option<&str>) -> Result<(), OptionMistake> {
    let twice = || format!("the option `{name}` is given twice");
    let fresh = match (name, value) {
        ("cert-authority", None) => options.authority.replace(()).is_none(),
        ("namespaces", Some(list)) => options.namespaces.replace(PatternList::read(list)?).is_none(),
        ("valid-after", Some(time)) => options.valid_after.replace(moment(time)?).is_none(),
        ("valid-before", Some(time)) => options.valid_before.replace(moment(time)?).is_none(),
        ("cert-authority", Some(_)) => return Err("the option `cert-authority` takes no value".to_owned().into()),
        ("namespaces" | "valid-after" | "valid-before", None) => {
            return Err(format!("the option `{name}` needs a value").into());
        }
        (other, _) => return Err(format!("{} is neither an option nor a kind of key", quoted(other)).into()),
    };
    if fresh { Ok(()) } else { Err(twice().into()) }
}

/// A time as ssh-keygen takes it, in UTC alone: `20270101Z`, `202701011200Z`, `20270101120000Z`.
fn moment(text: &str) -> Result<DateTime<Utc>, OptionMistake> {
    let Some(digits) = text.strip_suffix('Z') else {
        if matches!(text.len(), 8 | 12 | 14) && text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(OptionMistake::LocalTime(text.to_owned()));
        }
        return Err(format!("{} is not a time such as 20270101Z", quoted(text)).into());
    };
    let wrong = || OptionMistake::Wrong(format!("{} is not a time such as 20270101Z", quoted(text)));
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let time = match digits.len() {
        8 => NaiveDate::parse_from_str(digits, "%Y%m%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0)),
        12 => NaiveDateTime::parse_from_str(&format!("{digits}00"), "%Y%m%d%H%M%S").ok(),
        14 => NaiveDateTime::parse_from_str(digits, "%Y%m%d%H%M%S").ok(),
        _ => None,
    };
    time.map(|time| time.and_utc()).ok_or_else(wrong)
}
