//! Patterns as OpenSSH has them (ssh_config(5), PATTERNS): `*` for any characters, `?` for one; in a list, `!` before one takes
//! back what others match.

/// A list of patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternList {
    patterns: Vec<(Sense, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    Includes,
    Excludes,
}

impl PatternList {
    /// Reads patterns separated by commas.
    ///
    /// # Errors
    /// If one of them is empty or none includes anything.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut patterns = Vec::new();
        for part in text.split(',') {
            let (sense, pattern) = match part.strip_prefix('!') {
                Some(rest) => (Sense::Excludes, rest),
                None => (Sense::Includes, part),
            };
            if pattern.is_empty() {
                return Err(format!("`{}` has an empty pattern", text.escape_debug()));
            }
            patterns.push((sense, pattern.to_owned()));
        }
        if patterns.iter().all(|(sense, _)| *sense == Sense::Excludes) {
            return Err(format!("`{}` matches nothing", text.escape_debug()));
        }
        Ok(Self { patterns })
    }

    /// Whether one includes the text and none excludes it.
    pub fn matches(&self, text: &str) -> bool {
        let mut included = false;
        for (sense, pattern) in &self.patterns {
            if matches(pattern, text) {
                match sense {
                    Sense::Excludes => return false,
                    Sense::Includes => included = true,
                }
            }
        }
        included
    }
}

/// Whether a pattern matches the whole text. In time proportional to the product of both lengths.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(b'?') => (p, t) = (p + 1, t + 1),
            Some(sign) if *sign == text[t] => (p, t) = (p + 1, t + 1),
            Some(_) | None => {
                let Some((after_star, from)) = retry else { return false };
                retry = Some((after_star, from + 1));
                (p, t) = (after_star, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|sign| *sign == b'*')
}

#[cfg(test)]
mod tests {
    use super::{PatternList, matches};

    #[test]
    fn stars_and_question_marks_match_as_openssh_says() {
        assert!(matches("*@example.org", "amy@example.org"));
        assert!(matches("a?y*", "amy"));
        assert!(matches("*a*b*", "xxaxxbxx"));
        assert!(!matches("a?y", "ay"));
        assert!(!matches("amy", "amy@example.org"));
        assert!(!matches("Amy", "amy"));
        assert!(matches("*", ""));
        assert!(!matches(&"*a".repeat(64), &"b".repeat(4096)));
    }

    #[test]
    fn an_exclusion_wins_over_any_inclusion_wherever_it_stands() {
        let list = PatternList::read("!bea@example.org,*@example.org").unwrap();
        assert!(list.matches("amy@example.org") && !list.matches("bea@example.org"));
        let list = PatternList::read("*@example.org,!bea@example.org").unwrap();
        assert!(!list.matches("bea@example.org"));
        for text in ["", "a,", "!a", "!", "a,!"] {
            assert!(PatternList::read(text).is_err(), "{text}");
        }
    }
}
