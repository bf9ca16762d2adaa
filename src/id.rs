//! Checked small types: names, facts and digests. A value of one of these types has passed its check once, at the
//! door, and is trusted from then on. Uses nothing else of the crate.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Why a text is not a valid identifier; says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IdError(String);

/// What the names of steps, systems and states must look like, in words.
pub const NAME_RULE: &str =
    "lower-case letters, digits, `-` and `_`, beginning with a letter or digit, at most 63 characters";

/// What the names of persons must look like, in words.
pub const PERSON_RULE: &str =
    "a name as in allowed_signers, such as `amy@example.org`: visible ASCII without blanks, quotes and pattern signs";

fn is_name(text: &str) -> bool {
    let letter_or_digit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 63
        && text.bytes().next().is_some_and(letter_or_digit)
        && text.bytes().all(|b| letter_or_digit(b) || b == b'-' || b == b'_')
}

/// Whether these bytes are lower-case hexadecimal digits. Looks at all of them, whatever it has seen: so the processor takes many at once.
fn are_hexadecimal(bytes: &[u8]) -> bool {
    let is_one = |b: u8| (b.wrapping_sub(b'0') < 10) | (b.wrapping_sub(b'a') < 6);
    bytes.iter().fold(true, |all, b| all & is_one(*b))
}

/// Whether a text is a UUID in lower case, of any version.
pub fn is_uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 36
        && [8, 13, 18, 23].iter().all(|at| bytes[*at] == b'-')
        && [0..8, 9..13, 14..18, 19..23, 24..36].into_iter().all(|part| are_hexadecimal(&bytes[part]))
}

fn is_person(text: &str) -> bool {
    let plain =
        |b: u8| b.is_ascii_graphic() && !matches!(b, b'*' | b'?' | b'!' | b',' | b'"' | b'\'' | b'`' | b'\\' | b'#');
    (1..=255).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(plain)
}

fn is_moment(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse::<u32>().ok());
    let shape = text.len() == 20
        && text.bytes().enumerate().all(|(at, b)| match at {
            4 | 7 => b == b'-',
            10 => b == b'T',
            13 | 16 => b == b':',
            19 => b == b'Z',
            _ => b.is_ascii_digit(),
        });
    let is_leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let is_day = |year, month, day| {
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if is_leap(year) => 29,
            2 => 28,
            _ => 0,
        };
        (1..=days).contains(&day)
    };
    let is_one = || -> Option<bool> {
        Some(
            is_day(digits(0..4)?, digits(5..7)?, digits(8..10)?)
                && digits(11..13)? < 24
                && digits(14..16)? < 60
                && digits(17..19)? < 60,
        )
    };
    shape && is_one() == Some(true)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && are_hexadecimal(text.as_bytes())
}

/// `2026-11-21T23:31:07.123456Z`, digit for digit.
fn is_timestamp(text: &str) -> bool {
    let form = b"dddd-dd-ddTdd:dd:dd.ddddddZ";
    text.len() == form.len()
        && text.bytes().zip(form).all(|(b, expected)| match expected {
            b'd' => b.is_ascii_digit(),
            other => b == *other,
        })
}

fn is_nonce(text: &str) -> bool {
    text.len() == 32 && are_hexadecimal(text.as_bytes())
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:expr, $fits:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text of it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                if $fits(&text) {
                    return Ok(Self(text));
                }
                Err(IdError(format!("`{}` is not a {}: expected {}", text.escape_debug(), $what, $rule)))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(
    /// The id of a step, unique in its runbook.
    StepId, "step id", NAME_RULE, is_name
);
text_type!(
    /// The name of a system: something whose state matters, such as `monit`.
    SystemName, "system name", NAME_RULE, is_name
);
text_type!(
    /// The name of a state of a system, such as `stopped`.
    StateName, "state name", NAME_RULE, is_name
);
text_type!(
    /// The name of a group of persons in a policy.
    GroupName, "group name", NAME_RULE, is_name
);
text_type!(
    /// A person, by the name that the policy and OpenSSH's `allowed_signers` (a principal) know them by, such as
    /// `amy@example.org`. Never a pattern, and never something that a command line could take for an option.
    Person, "person", PERSON_RULE, is_person
);
/// Reads a value from its text where that stands, without a copy of it.
struct Parsed<T>(PhantomData<T>);

impl<T: FromStr<Err = IdError>> Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Written as it is displayed, and read by its `FromStr`.
macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Parsed(PhantomData))
            }
        }
    };
}

/// As `text_type`, of texts that are all of one length and ASCII: a value takes no memory besides itself.
macro_rules! short_text_type {
    ($(#[$doc:meta])* $name:ident, $length:literal, $what:literal, $rule:expr, $fits:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// The text of it.
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).expect("it was checked that it is ASCII")
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let bytes = <[u8; $length]>::try_from(text.as_bytes()).ok().filter(|_| $fits(text));
                let wrong = || IdError(format!("`{}` is not a {}: expected {}", text.escape_debug(), $what, $rule));
                bytes.map(Self).ok_or_else(wrong)
            }
        }

        serde_as_text!($name);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.as_str()).finish()
            }
        }
    };
}

short_text_type!(
    /// The id of a run: a UUID of version 7 (RFC 9562), so that ids sort by time. Safe as a file name.
    RunId, 36, "run id", "a UUID in lower case", is_uuid
);
short_text_type!(
    /// The id that the kernel gives itself when it starts (`/proc/sys/kernel/random/boot_id`): a UUID.
    BootId, 36, "boot id", "a UUID in lower case", is_uuid
);
short_text_type!(
    /// A SHA-256 digest (FIPS 180-4) as 64 lower-case hexadecimal digits, as `sha256sum` prints it.
    Digest, 64, "SHA-256 digest", "64 lower-case hexadecimal digits", is_digest
);
short_text_type!(
    /// When an entry was written, in UTC to the microsecond: `2026-11-21T23:31:07.123456Z` (RFC 3339, in this one form).
    Timestamp, 27, "time", "UTC, such as `2026-11-21T23:31:07.123456Z`", is_timestamp
);
text_type!(
    /// A moment in UTC, to the second: `2026-11-22T04:02:11Z` (RFC 3339, in this one form, so that the order of the texts is the
    /// order in time).
    Moment, "moment", "UTC, such as `2026-11-22T04:02:11Z`", is_moment
);
text_type!(
    /// A number used once: 128 random bits as 32 lower-case hexadecimal digits.
    Nonce, "nonce", "32 lower-case hexadecimal digits", is_nonce
);

impl Nonce {
    /// From 16 random bytes.
    pub fn from_bytes(raw: &[u8; 16]) -> Self {
        Self(raw.iter().flat_map(|byte| hexadecimal(*byte)).map(char::from).collect())
    }
}

impl Moment {
    /// This time, without the parts of its second; the last one that can be written for any after it.
    pub fn of(time: DateTime<Utc>) -> Self {
        let text = time.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        text.parse().unwrap_or_else(|_| Self("9999-12-31T23:59:59Z".to_owned()))
    }
}

impl Timestamp {
    /// This time; the last one that can be written for any after it.
    pub fn of(time: DateTime<Utc>) -> Self {
        let text = time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        text.parse().unwrap_or(Self(*b"9999-12-31T23:59:59.999999Z"))
    }
}

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_bytes(&Sha256::digest(bytes).into())
    }

    /// From the 32 raw bytes of a digest.
    pub fn from_bytes(raw: &[u8; 32]) -> Self {
        let mut digits = [0; 64];
        digits.chunks_exact_mut(2).zip(raw).for_each(|(two, byte)| two.copy_from_slice(&hexadecimal(*byte)));
        Self(digits)
    }
}

fn hexadecimal(byte: u8) -> [u8; 2] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

/// What a program's file is at one moment: the digest of its bytes, or why there is none. Written as the digest, or as
/// one of the words `absent`, `unreadable` and `unusable`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fingerprint {
    /// SHA-256 of its bytes.
    Bytes(Digest),
    /// There is no such file.
    Absent,
    /// There is one, and whoever looked may not read it.
    Unreadable,
    /// There is something that is no program: a folder, a device, a file that nobody may execute.
    Unusable,
}

impl FromStr for Fingerprint {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match text {
            "absent" => Ok(Self::Absent),
            "unreadable" => Ok(Self::Unreadable),
            "unusable" => Ok(Self::Unusable),
            _ => text.parse().map(Self::Bytes),
        }
    }
}

serde_as_text!(Fingerprint);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(digest) => digest.fmt(f),
            Self::Absent => f.write_str("absent"),
            Self::Unreadable => f.write_str("unreadable"),
            Self::Unusable => f.write_str("unusable"),
        }
    }
}

/// A fact: a system in a state, written `monit stopped`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fact {
    /// The system it speaks of.
    pub system: SystemName,
    /// The state the system is to be in.
    pub state: StateName,
}

impl FromStr for Fact {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        match (words.next(), words.next(), words.next()) {
            (Some(system), Some(state), None) => Ok(Self { system: system.parse()?, state: state.parse()? }),
            _ => Err(IdError(format!(
                "`{}` is not a fact: expected a system and a state, such as `monit stopped`",
                text.escape_debug()
            ))),
        }
    }
}

serde_as_text!(Fact);

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.system, self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, Fact, Fingerprint, Moment, Nonce, Person, RunId, StepId};

    #[test]
    fn a_digest_is_what_sha256sum_prints() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
    }

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for text in ["", "..", "a/b", "-a", "A", "a b", "é", "a\n", &"a".repeat(64)] {
            assert!(text.parse::<StepId>().is_err(), "{text:?}");
        }
        assert!("stop-monit".parse::<StepId>().is_ok());
        assert!("../../../../etc/passwd-0123456789abcd".parse::<RunId>().is_err());
    }

    #[test]
    fn a_person_is_one_name_and_never_a_pattern_or_an_option() {
        for text in ["", "*", "*@example.org", "a,b", "!a", "-I", "a b", "é", "a\"", "#a", &"a".repeat(256)] {
            assert!(text.parse::<Person>().is_err(), "{text:?}");
        }
        assert!("amy@example.org".parse::<Person>().is_ok());
    }

    #[test]
    fn a_fact_is_two_words() {
        let fact: Fact = "monit  stopped".parse().unwrap();
        assert_eq!(fact.to_string(), "monit stopped");
        assert!("monit".parse::<Fact>().is_err());
        assert!("monit is stopped".parse::<Fact>().is_err());
    }

    #[test]
    fn a_moment_is_one_that_there_is() {
        for text in ["2026-11-22T04:02:11Z", "2024-02-29T23:59:59Z", "2000-02-29T00:00:00Z"] {
            assert_eq!(text.parse::<Moment>().unwrap().as_str(), text);
        }
        for text in [
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00+00:00",
            "2026-01-01T00:00:00.0Z",
            "+026-01-01T00:00:00Z",
            "2026-01-01 00:00:00Z",
            "",
        ] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
        let [early, late] =
            ["2026-11-22T04:02:11Z", "2026-11-22T10:00:00Z"].map(|text| text.parse::<Moment>().unwrap());
        assert!(early < late);
    }

    #[test]
    fn a_nonce_and_a_fingerprint_are_read_back() {
        assert_eq!(Nonce::from_bytes(&[0xa5; 16]).as_str(), "a5".repeat(16));
        for one in
            [Fingerprint::Bytes(Digest::of(b"")), Fingerprint::Absent, Fingerprint::Unreadable, Fingerprint::Unusable]
        {
            assert_eq!(one.to_string().parse::<Fingerprint>().unwrap(), one);
        }
        assert!("gone".parse::<Fingerprint>().is_err());
    }
}
