//! One line of the log, read: bytes to a checked entry. Strict: a key that is not known, a key that occurs twice, a
//! version of another program, anything before or after the object is refused.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::history::entry::{Entry, VERSION, Who};
use crate::history::event::Event;
use crate::id::{Digest, RunId};

/// The most bytes a line may have, its newline not counted: 60 KiB. (The bundles of a C2SP tiled log hold entries of
/// less than 64 KiB.)
pub const MAX_LINE: usize = 60 * 1024;

/// The `prev` of the first entry of a log.
pub const FIRST_PREV: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A line that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decoded {
    /// What it says.
    pub entry: Entry,
    /// The number of the first entry that was written together with this one, in one write and one sync.
    pub batch: u64,
}

/// Why a line is not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    /// Not one complete JSON object that begins as an entry does. A write that a crash interrupted leaves this.
    #[error("it is not an entry: {0}")]
    Garbled(String),
    /// A complete JSON object that begins as an entry does, and is not one. No crash leaves this.
    #[error("it cannot be read as an entry: {0}")]
    Foreign(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    v: u32,
    seq: u64,
    #[serde(default)]
    batch: Option<u64>,
    time: &'a str,
    mono: u64,
    boot: &'a str,
    #[serde(default)]
    run: Option<RunId>,
    event: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
    who: Who,
    prev: Digest,
}

/// Reads one line, without its newline.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, LineError> {
    if bytes.len() > MAX_LINE {
        return Err(LineError::Garbled(format!("it is longer than {MAX_LINE} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| LineError::Garbled(format!("not UTF-8: {error}")))?;
    understand(text).map_err(|problem| match begins_and_ends_as_an_entry(text) {
        Ok(()) => LineError::Foreign(problem),
        Err(why) => LineError::Garbled(why),
    })
}

fn understand(text: &str) -> Result<Decoded, String> {
    if !(text.starts_with('{') && text.ends_with('}')) {
        return Err("there is something before or after the object".to_owned());
    }
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| match version_of(text) {
        Some(version) if version != u64::from(VERSION) => other_version(version),
        Some(_) | None => plain(&error.to_string()),
    })?;
    if line.v != VERSION {
        return Err(other_version(u64::from(line.v)));
    }
    if line.seq == 0 {
        return Err("`seq` is 0, and the first entry is 1".to_owned());
    }
    let batch = line.batch.unwrap_or(line.seq);
    if line.batch.is_some_and(|batch| batch == 0 || batch >= line.seq) {
        return Err("`batch` must be the number of an earlier entry".to_owned());
    }
    if !is_time(line.time) {
        return Err("`time` is not of the form 2026-11-21T23:31:07.123456Z".to_owned());
    }
    if !is_uuid(line.boot) {
        return Err("`boot` is not a UUID in lower case".to_owned());
    }
    let event = event(line.event, line.data)?;
    let entry = Entry {
        seq: line.seq,
        time: line.time.to_owned(),
        mono: line.mono,
        boot: line.boot.to_owned(),
        run: line.run,
        who: line.who,
        event,
        prev: line.prev,
    };
    Ok(Decoded { entry, batch })
}

fn event(name: &str, data: &RawValue) -> Result<Event, String> {
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Err(format!("`{}` is not the name of an event", plain(name)));
    }
    let wrong = |error: serde_json::Error| {
        let message = error.to_string();
        // What else the parser would have taken is no help to who reads a log.
        let message = message.split(", expected one of").next().unwrap_or_default();
        format!("event `{name}`: {}", plain(message))
    };
    serde_json::from_str::<Unique>(data.get()).map_err(wrong)?;
    serde_json::from_str(&format!("{{\"event\":\"{name}\",\"data\":{}}}", data.get())).map_err(wrong)
}

fn other_version(version: u64) -> String {
    format!(
        "its version is {version}, and this program reads version {VERSION}: use the program that wrote it, or one \
         that is newer"
    )
}

/// The number that a line gives itself, even if the rest of it cannot be understood.
pub(super) fn seq_of(bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Seq {
        seq: u64,
    }
    serde_json::from_slice::<Seq>(bytes).ok().map(|line| line.seq)
}

fn version_of(text: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Version {
        v: u64,
    }
    serde_json::from_str::<Version>(text).ok().map(|version| version.v)
}

/// Whether a text that is not an entry of ours is still one complete object that begins like one: `{"v":` and a digit.
/// The pieces that a torn write leaves of a line never are: the first has no end, and no other begins like this.
fn begins_and_ends_as_an_entry(text: &str) -> Result<(), String> {
    let begins = text.strip_prefix("{\"v\":").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if !begins {
        return Err("it does not begin as an entry does".to_owned());
    }
    serde_json::from_str::<IgnoredAny>(text).map(|_| ()).map_err(|error| plain(&error.to_string()))
}

/// The text with everything but printable ASCII escaped: messages of the parser quote what stands in the file.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let kept = (c == ' ' || c.is_ascii_graphic()).then_some(c);
            let escaped = kept.is_none().then(|| c.escape_default());
            kept.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

/// `2026-11-21T23:31:07.123456Z`, digit for digit.
fn is_time(text: &str) -> bool {
    let form = b"dddd-dd-ddTdd:dd:dd.ddddddZ";
    text.len() == form.len()
        && text.bytes().zip(form).all(|(b, expected)| match expected {
            b'd' => b.is_ascii_digit(),
            other => b == *other,
        })
}

fn is_uuid(text: &str) -> bool {
    text.parse::<RunId>().is_ok()
}

/// Any JSON value in which no object has the same key twice. serde refuses that for structs, not for maps.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value without duplicate keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut keys: Vec<Key<'de>> = Vec::new();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            if keys.iter().any(|earlier| earlier.0 == key.0) {
                return Err(A::Error::custom(format!("duplicate key `{}`", key.0)));
            }
            keys.push(key);
            map.next_value::<Unique>()?;
        }
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unique, A::Error> {
        while seq.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);
