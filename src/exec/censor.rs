//! Words that come from outside and are recorded or shown: what a probe saw or a command said, the name of a process, what a person typed.
//! Secrets and what a policy removes are taken out of them as out of the output of steps, but whole: a text that is cut afterwards has
//! no half of a secret at its end.

use std::sync::{Arc, PoisonError, RwLock};

use crate::exec::mask::Secrets;
use crate::exec::redact::{Redactions, Redactor};

/// Takes out what must not be recorded or shown. Clones know what any of them learns.
#[derive(Debug, Clone)]
pub struct Censor {
    /// Those that are known by now: one that a command gives comes later.
    secrets: Arc<RwLock<Secrets>>,
    redactions: Redactions,
}

impl Censor {
    /// One that takes out these secrets and what these rules match.
    pub fn new(secrets: Secrets, redactions: Redactions) -> Self {
        Self { secrets: Arc::new(RwLock::new(secrets)), redactions }
    }

    /// One that takes out nothing.
    pub fn none() -> Self {
        Self::new(Secrets::none(), Redactions::none())
    }

    /// From now on these secrets are taken out.
    pub fn learn(&self, secrets: Secrets) {
        // One assignment leaves nothing half-done behind a panic.
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
    }

    /// The text without what must not be recorded or shown. What rules match is looked for line by line.
    pub fn clean(&self, text: &str) -> String {
        let masked = self.secrets.read().unwrap_or_else(PoisonError::into_inner).mask_text(text);
        if self.redactions.is_empty() {
            return masked;
        }
        let mut out = Vec::with_capacity(masked.len());
        let mut redactor = Redactor::new(&self.redactions);
        redactor.push(masked.as_bytes(), &mut out, &mut |_, _| {});
        redactor.finish(&mut out, &mut |_, _| {});
        // A rule may match a part of a character.
        String::from_utf8_lossy(&out).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use regex::bytes::Regex;

    use super::Censor;
    use crate::exec::mask::Secrets;
    use crate::exec::redact::Redactions;

    fn censor() -> Censor {
        let rules = vec![("card".to_owned(), Regex::new(r"(?m-u)\b\d{13,16}\b").unwrap())];
        Censor::new(Secrets::new([("password", "open sesame")]).unwrap(), Redactions::new(rules).unwrap())
    }

    #[test]
    fn secrets_and_what_rules_match_are_taken_out_of_a_text() {
        let text = "a 4111222233334444\nopen sesame, b3BlbiBzZXNhbWU=, 4111222233334445";
        assert_eq!(censor().clean(text), "a [redacted card]\n[secret], [secret], [redacted card]");
        assert_eq!(Censor::none().clean(text), text);
    }

    #[test]
    fn what_is_learned_counts_for_all_clones() {
        let (one, text) = (Censor::none(), "open sesame");
        let other = one.clone();
        one.learn(Secrets::new([("password", text)]).unwrap());
        assert_eq!(other.clean(text), "[secret]");
    }

    #[test]
    fn a_rule_that_matches_a_part_of_a_character_leaves_a_text() {
        let rules = vec![("part".to_owned(), Regex::new(r"(?-u)\xc3").unwrap())];
        let censor = Censor::new(Secrets::none(), Redactions::new(rules).unwrap());
        assert_eq!(censor.clean("é"), "[redacted part]\u{fffd}");
    }
}
