//! Whether archives, and the log that goes on after them, join on to each other without a gap. Pure.

use crate::audit::base::Base;
use crate::audit::report::Report;
use crate::audit::tree::Hash;
use crate::id::Digest;

/// A place between two entries: how many there are before it, the root of their tree, and the SHA-256 of the line of the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joint {
    entries: u64,
    root: Hash,
    last: Digest,
}

impl Joint {
    /// How many entries there are before it.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// What a log begins after, where something stands for what was before.
    pub fn begins(base: &Base) -> Self {
        Self { entries: base.entries(), root: base.root(), last: base.last().clone() }
    }

    /// Where a log ends that was verified; none if it has no entry.
    pub fn ends(report: &Report) -> Option<Self> {
        let ((entries, root), (_, last)) = (report.tree?, report.head.clone()?);
        Some(Self { entries, root, last })
    }
}

/// An archive that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What to call it by.
    pub name: String,
    /// What it begins after; none if with the first entry.
    pub begins: Option<Joint>,
    /// Where it ends; none if it has no entry that could be read.
    pub ends: Option<Joint>,
}

/// What is wrong where these archives, in any order, and the log that begins here join: each with the name of the archive after which it
/// is, or of that which should follow.
pub fn joins(spans: &[Span], log_begins: Option<&Joint>) -> Vec<(String, String)> {
    let mut spans: Vec<&Span> = spans.iter().collect();
    spans.sort_by_key(|span| span.begins.as_ref().map_or(0, |joint| joint.entries));
    let mut problems = Vec::new();
    let mut reached: Option<&Joint> = None;
    for span in &spans {
        if let Some(problem) = at_joint(reached, span.begins.as_ref()) {
            problems.push((span.name.clone(), problem));
        }
        reached = span.ends.as_ref();
    }
    if let Some(problem) = at_joint(reached, log_begins) {
        problems.push(("the log".to_owned(), problem));
    }
    problems
}

/// What is wrong where one ends and the next begins.
fn at_joint(ends: Option<&Joint>, begins: Option<&Joint>) -> Option<String> {
    if ends == begins {
        return None;
    }
    let [end, begin] = [ends, begins].map(|joint| joint.map_or(0, |joint| joint.entries));
    Some(if begin > end {
        format!(
            "it begins after entry {begin}, and entries {} to {begin} are in none of the archives that were given",
            end + 1
        )
    } else if begin < end {
        format!("it begins after entry {begin}, and what was given before it goes to entry {end}")
    } else {
        format!(
            "entries 1 to {end} are others before it than those that it goes on from: it is of another log, or was made anew"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{Joint, Span, joins};
    use crate::id::Digest;

    fn joint(entries: u64, seed: u8) -> Joint {
        Joint { entries, root: [seed; 32], last: Digest::of(&[seed]) }
    }

    fn span(name: &str, begins: Option<Joint>, ends: Joint) -> Span {
        Span { name: name.to_owned(), begins, ends: Some(ends) }
    }

    #[test]
    fn p08_archives_join_on_to_each_other_and_to_the_log_or_it_is_said_where_not() {
        let one = span("one", None, joint(10, 1));
        let two = span("two", Some(joint(10, 1)), joint(30, 2));
        let log = joint(30, 2);
        assert_eq!(joins(&[two.clone(), one.clone()], Some(&log)), []);
        assert_eq!(joins(&[], None), []);
        let problems = |spans: &[Span], log: Option<&Joint>| {
            let found = joins(spans, log);
            assert_eq!(found.len(), 1, "{found:?}");
            format!("{}: {}", found[0].0, found[0].1)
        };
        assert!(
            problems(std::slice::from_ref(&two), Some(&log))
                .contains("two: it begins after entry 10, and entries 1 to 10 are in none")
        );
        assert!(
            problems(std::slice::from_ref(&one), Some(&log))
                .contains("the log: it begins after entry 30, and entries 11 to 30 are in none")
        );
        assert!(
            problems(std::slice::from_ref(&one), None)
                .contains("the log: it begins after entry 0, and what was given before it goes to entry 10")
        );
        let forged = span("forged", Some(joint(10, 9)), joint(30, 2));
        assert!(problems(&[one, forged], Some(&log)).contains("forged: entries 1 to 10 are others"));
    }
}
