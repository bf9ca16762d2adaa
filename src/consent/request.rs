//! A request for permission to leave the procedure of one run: a file that people read and sign, as they do a plan. It names
//! the run, its plan, the one deviation, why and until when; whoever changes a byte of it has another request.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_yaml::with::singleton_map_recursive;

use super::policy::Need;
use super::question::StepRule;
use crate::history::deviation::Deviation;
use crate::id::{Digest, GroupName, Moment, Nonce, RunId};
use crate::plan::{AskedBy, Here, PolicyMark};
use crate::yaml::write::to_yaml;

/// The version of the format.
pub const VERSION: u32 = 1;

/// A request for one deviation of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The version of the format, [`VERSION`].
    pub interlock_override: u32,
    /// The run that it is for.
    pub run: RunId,
    /// SHA-256 of that run's plan.
    pub plan: Digest,
    /// The name of its runbook, for people.
    pub runbook: String,
    /// The labels of its runbook, which rules of a policy look at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What is asked for.
    pub deviation: Deviation,
    /// What the step would do, for people; none where it is about no step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_does: Option<String>,
    /// Whose signatures the runbook itself asks for, beyond the policies; none where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Asks>,
    /// Why.
    pub reason: String,
    /// Who asks.
    pub asked_by: AskedBy,
    /// The name of the machine it is for.
    pub host: String,
    /// The machine's id, or `none`.
    pub machine: String,
    /// When it was made.
    pub made: Moment,
    /// Until when it may be used; not at that moment any more.
    pub valid_until: Moment,
    /// Makes it unlike every other request.
    pub nonce: Nonce,
    /// The policies that it was made under.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyMark>,
}

/// Whose signatures a runbook asks for, for a deviation of a step or of the run; written in words, `all of core` or `2 of core`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Asks {
    /// How many.
    pub need: Need,
    /// Of which group of the policy.
    pub of: GroupName,
}

impl Asks {
    /// As the policies are asked about it.
    pub fn rule(&self) -> StepRule {
        StepRule::Needs { need: self.need, of: self.of.clone() }
    }
}

impl fmt::Display for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.need {
            Need::All => write!(f, "all of {}", self.of),
            Need::Number(number) => write!(f, "{number} of {}", self.of),
        }
    }
}

impl From<Asks> for String {
    fn from(asks: Asks) -> Self {
        asks.to_string()
    }
}

impl TryFrom<String> for Asks {
    type Error = String;

    fn try_from(words: String) -> Result<Self, String> {
        let asks = words.split_once(" of ").and_then(|(need, of)| {
            let need = if need == "all" { Need::All } else { Need::Number(need.parse().ok()?) };
            Some(Self { need, of: of.parse().ok()? })
        });
        asks.ok_or_else(|| format!("`{words}` does not say how many of which group, such as `all of core`"))
    }
}

/// Why a text is not a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Not YAML of the expected shape.
    #[error("this is not a request that this program wrote: {0}")]
    Shape(String),
    /// Not in the one form in which requests are written.
    #[error(
        "this is not as this program writes a request, so it was changed by hand or by another version; make a new one"
    )]
    Form,
    /// A later version.
    #[error("this request has version {0}, and this program knows version {VERSION} only; use a newer interlock")]
    Version(u32),
}

impl Request {
    /// The request's bytes. Equal requests have equal bytes.
    ///
    /// # Errors
    /// In words; it does not happen to a request that was made from a run.
    pub fn to_yaml(&self) -> Result<String, RequestError> {
        to_yaml(self).map_err(RequestError::Shape)
    }

    /// Reads a request from a file that anybody may have had in hands: only in the form in which it is written.
    ///
    /// # Errors
    /// As said; nothing of it is to be used then.
    pub fn from_file(text: &str) -> Result<Self, RequestError> {
        let request = Self::from_kept(text)?;
        if request.to_yaml()? == text { Ok(request) } else { Err(RequestError::Form) }
    }

    /// Reads a request that was accepted once, in whatever form: the program that wrote it may have been another version. That these are
    /// its bytes, their digest tells.
    ///
    /// # Errors
    /// As said.
    pub fn from_kept(text: &str) -> Result<Self, RequestError> {
        let request: Self = singleton_map_recursive::deserialize(serde_yaml::Deserializer::from_str(text))
            .map_err(|error| RequestError::Shape(error.to_string()))?;
        if request.interlock_override != VERSION {
            return Err(RequestError::Version(request.interlock_override));
        }
        Ok(request)
    }

    /// Whether a text is meant to be a request.
    pub fn is_meant(text: &str) -> bool {
        text.lines().any(|line| line.starts_with("interlock_override:"))
    }

    /// Whether it may be used here and now, for this run of this plan.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn fits(&self, run: &RunId, plan: &Digest, here: Here<'_>) -> Result<(), String> {
        if self.run != *run {
            return Err(format!("the request is for run {}, and this is run {run}; ask for this one", self.run));
        }
        if self.plan != *plan {
            return Err("the request is for another plan than the run's; ask again".to_owned());
        }
        if self.host != here.host || self.machine != here.machine {
            return Err(format!(
                "the request is for `{}` (machine {}), and this is `{}` (machine {})",
                self.host, self.machine, here.host, here.machine
            ));
        }
        if *here.now < self.made {
            return Err(format!(
                "the request was made at {}, and the clock says {}; look at the clock",
                self.made, here.now
            ));
        }
        if *here.now >= self.valid_until {
            return Err(format!(
                "the request could be used until {}, and it is {}; ask again",
                self.valid_until, here.now
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Asks, Need, Request, RequestError, VERSION};
    use crate::history::deviation::Deviation;
    use crate::id::{Digest, Moment, Nonce, RunId};
    use crate::plan::{AskedBy, Here};

    fn run(last: char) -> RunId {
        format!("01a20171-54e8-7180-9231-1d65dacb99e{last}").parse().unwrap()
    }

    fn moment(text: &str) -> Moment {
        text.parse().unwrap()
    }

    fn request() -> Request {
        Request {
            interlock_override: VERSION,
            run: run('a'),
            plan: Digest::of(b"plan"),
            runbook: "change".to_owned(),
            labels: [("env".to_owned(), "production".to_owned())].into(),
            deviation: Deviation::Waive { step: "change".parse().unwrap(), fact: "monit stopped".parse().unwrap() },
            step_does: Some("change /srv/pg".to_owned()),
            asks: Some(Asks { need: Need::Number(2), of: "core".parse().unwrap() }),
            reason: "monit is watched by hand: \u{202e}no".to_owned(),
            asked_by: AskedBy { user: "amy".to_owned(), person: None },
            host: "db1".to_owned(),
            machine: "0f".to_owned(),
            made: moment("2026-11-22T04:00:00Z"),
            valid_until: moment("2026-11-22T05:00:00Z"),
            nonce: Nonce::from_bytes(&[7; 16]),
            policies: Vec::new(),
        }
    }

    #[test]
    fn what_a_runbook_asks_for_stands_in_words_and_in_no_others() {
        for words in ["all of core", "2 of core"] {
            assert_eq!(Asks::try_from(words.to_owned()).unwrap().to_string(), words);
        }
        for words in ["", "all", "core", "none of core", "all of ", "all of no group", "-1 of core"] {
            Asks::try_from(words.to_owned()).unwrap_err();
        }
        let text = request().to_yaml().unwrap();
        for other in ["02 of core", "+2 of core"] {
            assert!(matches!(Request::from_file(&text.replace("2 of core", other)).unwrap_err(), RequestError::Form));
        }
    }

    #[test]
    fn p05_a_request_has_one_form_and_every_byte_of_it_counts() {
        let text = request().to_yaml().unwrap();
        assert!(text.contains("deviation:\n  waive:\n    step: change\n    fact: monit stopped\n"), "{text}");
        assert!(text.contains("\\u202e"), "{text}");
        assert_eq!(Request::from_file(&text).unwrap(), request());
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            if let Ok(read) = Request::from_file(&changed) {
                assert_ne!(read, request(), "byte {at} does not count");
            }
        }
    }

    #[test]
    fn p05_a_request_is_for_one_run_of_one_plan_on_one_machine_until_it_expires() {
        let now = moment("2026-11-22T04:30:00Z");
        let here = Here { host: "db1", machine: "0f", now: &now };
        let why = |run: &RunId, plan: &[u8], here| request().fits(run, &Digest::of(plan), here).unwrap_err();
        request().fits(&run('a'), &Digest::of(b"plan"), here).unwrap();
        assert!(why(&run('b'), b"plan", here).contains("is for run"));
        assert!(why(&run('a'), b"other", here).contains("another plan"));
        assert!(why(&run('a'), b"plan", Here { host: "db2", ..here }).contains("is for `db1`"));
        assert!(why(&run('a'), b"plan", Here { machine: "1f", ..here }).contains("machine 0f"));
        let late = moment("2026-11-22T05:00:00Z");
        assert!(why(&run('a'), b"plan", Here { now: &late, ..here }).contains("could be used until"));
        let early = moment("2026-11-22T03:59:59Z");
        assert!(why(&run('a'), b"plan", Here { now: &early, ..here }).contains("look at the clock"));
    }
}
