//! The keys of a log, one after the other: the one that it was made with, and each that took the place of the one before. The old one signs
//! the new, so who was given an old key is led to the new one, and who took an old one cannot sign what came after it. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::note::{LogKey, PublicKey};
use super::report::Severity;

/// What kind of thing is signed when a key is replaced: the new key, as text.
const KIND: &str = "urn:interlock:log-key:v1";

/// The keys that a log names.
#[derive(Debug, Clone, Default)]
pub(super) struct Succession {
    keys: Vec<Reign>,
}

/// A key, and for how long it was the log's.
#[derive(Debug, Clone)]
struct Reign {
    key: PublicKey,
    /// The entry that replaced it.
    until: Option<u64>,
    /// Whether the one before has signed it.
    vouched: Vouched,
}

/// On whose word a key is the log's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vouched {
    /// It was so from the beginning.
    First,
    /// The key before has signed it.
    ByTheOneBefore,
    /// Nobody's: the key before was lost.
    ByNobody,
}

/// A replacement that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// The entry cannot be.
    Wrong(String),
    /// The old key did not sign the new one.
    Lost(Box<PublicKey>),
}

impl Problem {
    /// How bad it is, and in words, for who was given these keys elsewhere.
    pub(super) fn told(self, given: &[PublicKey]) -> (Severity, String) {
        match self {
            Self::Wrong(problem) => (Severity::Failure, problem),
            Self::Lost(new) if given.contains(new.as_ref()) => {
                (Severity::Note, "the log's key was lost and replaced; the new one is one that was given".to_owned())
            }
            Self::Lost(new) => {
                let text = format!(
                    "the log's key was lost and replaced, so the old one did not sign the new one, {new}: anybody who could write the log could \
                     have done that. If you know from elsewhere that it is the log's, give it (--key)"
                );
                (Severity::Failure, text)
            }
        }
    }
}

impl Succession {
    /// Takes in the key that a log was made with.
    pub(super) fn created(&mut self, key: &str) -> Result<(), String> {
        let key = key.parse().map_err(|error| format!("the key that it names cannot be read: {error}"))?;
        self.keys.push(Reign { key, until: None, vouched: Vouched::First });
        Ok(())
    }

    /// Takes in that a key took the place of another, with this entry.
    pub(super) fn replaced(&mut self, seq: u64, old: &str, new: &str, signature: Option<&str>) -> Result<(), Problem> {
        let wrong = |what: &str| Problem::Wrong(format!("the log's key was replaced, and {what}"));
        let parsed = [old, new].map(|key| key.parse::<PublicKey>());
        let [Ok(old), Ok(new)] = parsed else { return Err(wrong("one of the two keys cannot be read")) };
        if old.name() != new.name() || old == new {
            return Err(wrong("the new key is no other key of the same log"));
        }
        if self.keys.is_empty() {
            // A log that was made when it had no key yet.
            self.keys.push(Reign { key: old.clone(), until: None, vouched: Vouched::First });
        }
        if self.keys.last().is_some_and(|last| last.key != old) {
            return Err(wrong("the old key that it names was not the log's"));
        }
        let vouched = match signature.map(|signature| STANDARD.decode(signature)) {
            None => Vouched::ByNobody,
            Some(Ok(signature)) if old.has_signed(KIND, new.to_string().as_bytes(), &signature) => {
                Vouched::ByTheOneBefore
            }
            Some(_) => return Err(wrong("the old key's signature over the new one is none")),
        };
        if let Some(last) = self.keys.last_mut() {
            last.until = Some(seq);
        }
        self.keys.push(Reign { key: new.clone(), until: None, vouched });
        if vouched == Vouched::ByNobody { Err(Problem::Lost(Box::new(new))) } else { Ok(()) }
    }

    /// The key that signs now.
    pub(super) fn last(&self) -> Option<&PublicKey> {
        self.keys.last().map(|reign| &reign.key)
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().map(|reign| &reign.key)
    }

    /// The entry that replaced this key, if one did.
    pub(super) fn until(&self, key: &PublicKey) -> Option<u64> {
        self.keys.iter().find(|reign| reign.key == *key)?.until
    }

    /// Those that are among the given keys, or that one of these leads to.
    pub(super) fn led_to(&self, given: &[PublicKey]) -> Vec<PublicKey> {
        let mut led = Vec::new();
        let mut before = false;
        for reign in &self.keys {
            before = given.contains(&reign.key) || (before && reign.vouched == Vouched::ByTheOneBefore);
            if before {
                led.push(reign.key.clone());
            }
        }
        led
    }
}

/// The old key's signature over the new one.
pub(super) fn vouch(old: &LogKey, new: &PublicKey) -> String {
    STANDARD.encode(old.sign_as(KIND, new.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{Problem, Succession, vouch};
    use crate::audit::note::LogKey;

    fn key(seed: u8) -> LogKey {
        LogKey::new("interlock/log", &[seed; 32])
    }

    fn text(key: &LogKey) -> String {
        key.public().to_string()
    }

    #[test]
    fn p08_a_key_leads_to_those_that_came_after_it_and_to_none_before() {
        let [a, b, c] = [key(1), key(2), key(3)];
        let mut keys = Succession::default();
        keys.created(&text(&a)).unwrap();
        keys.replaced(5, &text(&a), &text(&b), Some(&vouch(&a, &b.public()))).unwrap();
        keys.replaced(9, &text(&b), &text(&c), Some(&vouch(&b, &c.public()))).unwrap();
        assert_eq!(keys.led_to(&[a.public()]), [a.public(), b.public(), c.public()]);
        assert_eq!(keys.led_to(&[b.public()]), [b.public(), c.public()]);
        assert_eq!(keys.led_to(&[key(4).public()]), []);
        assert_eq!([a, b, c].map(|key| keys.until(&key.public())), [Some(5), Some(9), None]);
    }

    #[test]
    fn p08_a_key_that_the_one_before_did_not_sign_is_led_to_by_nothing() {
        let [a, b, c] = [key(1), key(2), key(3)];
        let mut keys = Succession::default();
        keys.created(&text(&a)).unwrap();
        let replaced =
            |keys: &mut Succession, signature: Option<&str>| keys.replaced(5, &text(&a), &text(&b), signature);
        for signature in ["", "AAAA", &vouch(&a, &c.public()), &vouch(&b, &b.public())] {
            assert!(matches!(replaced(&mut keys, Some(signature)), Err(Problem::Wrong(_))), "{signature}");
        }
        assert!(matches!(
            keys.replaced(5, &text(&b), &text(&c), Some(&vouch(&b, &c.public()))),
            Err(Problem::Wrong(_))
        ));
        assert_eq!(replaced(&mut keys, None), Err(Problem::Lost(Box::new(b.public()))));
        assert_eq!(keys.led_to(&[a.public()]), [a.public()]);
        assert_eq!(keys.led_to(&[b.public()]), [b.public()]);
    }
}
