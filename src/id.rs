//! Checked small types: names, facts and digests. A value of one of these types has passed its check once, at the
//! door, and is trusted from then on. Uses nothing else of the crate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
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

fn checked_name(text: &str, what: &str) -> Result<String, IdError> {
    let mut chars = text.chars();
    let first_ok = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest_ok = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if first_ok && rest_ok && text.len() <= 63 {
        Ok(text.to_owned())
    } else {
        Err(IdError(format!("`{}` is not a {what}: expected {NAME_RULE}", text.escape_debug())))
    }
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
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
                let check: fn(&str, &str) -> Result<String, IdError> = $check;
                check(text, $what).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
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
    StepId, "step id", checked_name
);
text_type!(
    /// The name of a system: something whose state matters, such as `monit`.
    SystemName, "system name", checked_name
);
text_type!(
    /// The name of a state of a system, such as `stopped`.
    StateName, "state name", checked_name
);
text_type!(
    /// The name of a group of persons in a policy.
    GroupName, "group name", checked_name
);
text_type!(
    /// A person, by the name that the policy and OpenSSH's `allowed_signers` (a principal) know them by, such as
    /// `amy@example.org`. Never a pattern, and never something that a command line could take for an option.
    Person, "person", |text, what| {
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'*' | b'?' | b'!' | b',' | b'"' | b'\'' | b'`' | b'\\' | b'#');
        if (1..=255).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(plain) {
            Ok(text.to_owned())
        } else {
            Err(IdError(format!("`{}` is not a {what}: expected {PERSON_RULE}", text.escape_debug())))
        }
    }
);
text_type!(
    /// The id of a run: a UUID of version 7 (RFC 9562), so that ids sort by time. Safe as a file name.
    RunId, "run id", |text, what| {
        let well_formed = text.len() == 36
            && text.bytes().enumerate().all(|(at, b)| match at {
                8 | 13 | 18 | 23 => b == b'-',
                _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
            });
        if well_formed {
            Ok(text.to_owned())
        } else {
            Err(IdError(format!("`{}` is not a {what}: expected a UUID in lower case", text.escape_debug())))
        }
    }
);
text_type!(
    /// A SHA-256 digest (FIPS 180-4) as 64 lower-case hexadecimal digits, as `sha256sum` prints it.
    Digest, "SHA-256 digest", |text, what| {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            Ok(text.to_owned())
        } else {
            Err(IdError(format!("`{}` is not a {what}: expected 64 lower-case hexadecimal digits", text.escape_debug())))
        }
    }
);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_bytes(&Sha256::digest(bytes).into())
    }

    /// From the 32 raw bytes of a digest.
    pub fn from_bytes(raw: &[u8; 32]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(64);
        for byte in raw {
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        Self(text)
    }
}

/// What a program's file is at one moment: the digest of its bytes, or why there is none. Written as the digest, or as
/// one of the words `absent`, `unreadable` and `unusable`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

impl TryFrom<String> for Fingerprint {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        match text.as_str() {
            "absent" => Ok(Self::Absent),
            "unreadable" => Ok(Self::Unreadable),
            "unusable" => Ok(Self::Unusable),
            _ => text.parse().map(Self::Bytes),
        }
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

impl TryFrom<String> for Fact {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Fact> for String {
    fn from(fact: Fact) -> Self {
        fact.to_string()
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.system, self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, Fact, Person, RunId, StepId};

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
}
