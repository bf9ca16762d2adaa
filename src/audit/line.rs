//! One line of the log, read: bytes to a checked entry. Strict: a key that is not known, a key that occurs twice, a
//! version of another program, anything before or after the object is refused.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
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

/// What the object of a line holds.
struct Line<'a> {
    v: u32,
    seq: u64,
    batch: Option<u64>,
    time: &'a str,
    mono: u64,
    boot: &'a str,
    run: Option<RunId>,
    event: Event,
    who: Arc<Who>,
    prev: Digest,
}

/// Reads lines, one after another. Many of them say the same of who was there; that is read once.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// As it stood in the line before, and what it says.
    who: Option<(String, Arc<Who>)>,
}

/// Reads one line, without its newline.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, LineError> {
    Decoder::default().decode(bytes)
}

impl Decoder {
    /// Reads one line, without its newline.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, LineError> {
        if bytes.len() > MAX_LINE {
            return Err(LineError::Garbled(format!("it is longer than {MAX_LINE} bytes")));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| LineError::Garbled(format!("not UTF-8: {error}")))?;
        self.understand(text).map_err(|problem| match begins_and_ends_as_an_entry(text) {
            Ok(()) => LineError::Foreign(problem),
            Err(why) => LineError::Garbled(why),
        })
    }

    fn understand(&mut self, text: &str) -> Result<Decoded, String> {
        if !(text.starts_with('{') && text.ends_with('}')) {
            return Err("there is something before or after the object".to_owned());
        }
        let line = self.line(text).map_err(|error| match version_of(text) {
            Some(version) if version != u64::from(VERSION) => other_version(version),
            // What else the parser would have taken is no help to who reads a log.
            Some(_) | None => plain(error.to_string().split(", expected one of").next().unwrap_or_default()),
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
        let time = line.time.parse();
        let boot = line.boot.parse();
        let entry = Entry {
            seq: line.seq,
            time: time.map_err(|_| "`time` is not of the form 2026-11-21T23:31:07.123456Z".to_owned())?,
            mono: line.mono,
            boot: boot.map_err(|_| "`boot` is not a UUID in lower case".to_owned())?,
            run: line.run,
            who: line.who,
            event: line.event,
            prev: line.prev,
        };
        Ok(Decoded { entry, batch })
    }

    fn line<'a>(&mut self, text: &'a str) -> serde_json::Result<Line<'a>> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let line = deserializer.deserialize_map(LineVisitor { decoder: self })?;
        deserializer.end()?;
        Ok(line)
    }

    /// Who was there, as a line says it.
    fn who(&mut self, text: &str) -> serde_json::Result<Arc<Who>> {
        match &self.who {
            Some((before, who)) if before == text => Ok(Arc::clone(who)),
            Some(_) | None => {
                let who = Arc::new(serde_json::from_str(text)?);
                self.who = Some((text.to_owned(), Arc::clone(&who)));
                Ok(who)
            }
        }
    }
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

struct LineVisitor<'d> {
    decoder: &'d mut Decoder,
}

impl<'de> Visitor<'de> for LineVisitor<'_> {
    type Value = Line<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line<'de>, A::Error> {
        let (mut v, mut seq, mut batch, mut time, mut mono) = (None, None, None, None, None);
        let (mut boot, mut run, mut event, mut who, mut prev) = (None, None, None, None, None);
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "v" => once(&mut v, "v", map.next_value()?)?,
                "seq" => once(&mut seq, "seq", map.next_value()?)?,
                "batch" => once(&mut batch, "batch", map.next_value()?)?,
                "time" => once(&mut time, "time", map.next_value()?)?,
                "mono" => once(&mut mono, "mono", map.next_value()?)?,
                "boot" => once(&mut boot, "boot", map.next_value()?)?,
                "run" => once(&mut run, "run", map.next_value()?)?,
                "event" => {
                    let of_event = OfEvent { map: &mut map, at: At::Event };
                    once(&mut event, "event", Event::deserialize(MapAccessDeserializer::new(of_event))?)?;
                }
                "data" => return Err(A::Error::custom("`data` does not stand right after `event`")),
                "who" => {
                    let text = map.next_value::<&RawValue>()?.get();
                    once(&mut who, "who", self.decoder.who(text).map_err(of_part)?)?;
                }
                "prev" => once(&mut prev, "prev", map.next_value()?)?,
                key => return Err(A::Error::custom(format!("unknown field `{key}`"))),
            }
        }
        Ok(Line {
            v: v.ok_or_else(|| A::Error::missing_field("v"))?,
            seq: seq.ok_or_else(|| A::Error::missing_field("seq"))?,
            batch,
            time: time.ok_or_else(|| A::Error::missing_field("time"))?,
            mono: mono.ok_or_else(|| A::Error::missing_field("mono"))?,
            boot: boot.ok_or_else(|| A::Error::missing_field("boot"))?,
            run,
            event: event.ok_or_else(|| A::Error::missing_field("event"))?,
            who: who.ok_or_else(|| A::Error::missing_field("who"))?,
            prev: prev.ok_or_else(|| A::Error::missing_field("prev"))?,
        })
    }
}

/// What is wrong in a part that was read by itself, without a place: that would be one in the part.
fn of_part<E: serde::de::Error>(error: serde_json::Error) -> E {
    let text = error.to_string();
    E::custom(text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what))
}

/// Keeps the value of a key that may stand there once.
fn once<T, E: serde::de::Error>(place: &mut Option<T>, key: &'static str, value: T) -> Result<(), E> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(key)),
    }
}

/// The two keys of a line that are the event, as an object of their own. So the event is read where it stands, and nothing is copied.
struct OfEvent<'m, A> {
    map: &'m mut A,
    at: At,
}

/// What of an event is read next.
#[derive(Clone, Copy)]
enum At {
    /// Its name, the key of which was read.
    Event,
    /// What it says.
    Data,
    /// Nothing.
    End,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for OfEvent<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let key = match self.at {
            At::Event => "event",
            At::Data => match self.map.next_key::<Text<'de>>()? {
                Some(Text(key)) if key == "data" => "data",
                Some(_) | None => return Err(A::Error::custom("`data` does not stand right after `event`")),
            },
            At::End => return Ok(None),
        };
        self.at = match self.at {
            At::Event => At::Data,
            At::Data | At::End => At::End,
        };
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// A text, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
