//! What binds a plan that people sign to one run: who asks, on which machine, when, under which policies, and after which entry of the
//! audit log. Values come in from the door; here is only what follows from them.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, Moment, Nonce, Person};

/// What a plan is for. In every plan that is written to a file; one that is only shown has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Who asks for it.
    pub asked_by: AskedBy,
    /// The name of the machine it is for, as the kernel gives it.
    pub host: String,
    /// The machine's id (`/etc/machine-id`), or `none` where it has none.
    pub machine: String,
    /// When it was made.
    pub made: Moment,
    /// From when on it may be opened.
    pub valid_from: Moment,
    /// Until when it may be opened; not at that moment any more.
    pub valid_until: Moment,
    /// Makes it unlike every other plan: one plan, one run.
    pub nonce: Nonce,
    /// The policies that it was made under.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyMark>,
    /// The head of the audit log when it was made; none if there was no log yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogHead>,
}

/// Who asks for a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedBy {
    /// The user, with where they came from, as the audit log names them.
    pub user: String,
    /// The person that a policy maps the user to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
}

/// A policy, as it was when a plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyMark {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its number, which only ever rises.
    pub number: u64,
}

/// The end of an audit log at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogHead {
    /// How many entries it had.
    pub entries: u64,
    /// SHA-256 of the last one's line, without its newline.
    pub digest: Digest,
}

/// Where and when a plan is about to be opened.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// The name of the machine.
    pub host: &'a str,
    /// Its id, or `none`.
    pub machine: &'a str,
    /// Now.
    pub now: &'a Moment,
}

impl Binding {
    /// Whether a run of it may be opened here and now.
    ///
    /// # Errors
    /// What is not as the plan says, and what to do.
    pub fn fits(&self, here: Here<'_>) -> Result<(), String> {
        if self.host != here.host || self.machine != here.machine {
            return Err(format!(
                "the plan is for `{}` (machine {}), and this is `{}` (machine {}); make a plan on this machine, or run it on that one",
                self.host, self.machine, here.host, here.machine
            ));
        }
        self.is_open_at(here.now)
    }

    /// What is wrong with it in itself.
    pub(super) fn wrong(&self) -> Option<String> {
        (self.valid_from >= self.valid_until).then(|| "its window is over before it begins".to_owned())
    }

    /// Whether a moment is within the plan's window.
    ///
    /// # Errors
    /// When it opens, or that it is over, and what to do.
    pub fn is_open_at(&self, now: &Moment) -> Result<(), String> {
        if *now < self.valid_from {
            return Err(format!(
                "the plan may be run from {} on, and it is {now}; wait, or make a new plan",
                self.valid_from
            ));
        }
        if *now >= self.valid_until {
            return Err(format!("the plan could be run until {}, and it is {now}; make a new plan", self.valid_until));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{AskedBy, Binding, Here};
    use crate::id::{Moment, Nonce};

    fn moment(text: &str) -> Moment {
        text.parse().unwrap()
    }

    fn binding() -> Binding {
        Binding {
            asked_by: AskedBy { user: "amy".to_owned(), person: None },
            host: "db1".to_owned(),
            machine: "0f".to_owned(),
            made: moment("2026-11-22T04:00:00Z"),
            valid_from: moment("2026-11-22T05:00:00Z"),
            valid_until: moment("2026-11-22T06:00:00Z"),
            nonce: Nonce::from_bytes(&[0; 16]),
            policies: Vec::new(),
            log: None,
        }
    }

    #[test]
    fn a_plan_fits_its_machine_in_its_window_and_nothing_else() {
        let fits = |host, machine, now: &str| binding().fits(Here { host, machine, now: &moment(now) });
        fits("db1", "0f", "2026-11-22T05:00:00Z").unwrap();
        fits("db1", "0f", "2026-11-22T05:59:59Z").unwrap();
        for (host, machine, now, why) in [
            ("db2", "0f", "2026-11-22T05:00:00Z", "is for `db1`"),
            ("db1", "1f", "2026-11-22T05:00:00Z", "machine 0f"),
            ("db1", "none", "2026-11-22T05:00:00Z", "machine none"),
            ("db1", "0f", "2026-11-22T04:59:59Z", "from 2026-11-22T05:00:00Z on"),
            ("db1", "0f", "2026-11-22T06:00:00Z", "until 2026-11-22T06:00:00Z"),
        ] {
            let reason = fits(host, machine, now).unwrap_err();
            assert!(reason.contains(why), "{reason}");
        }
    }
}
