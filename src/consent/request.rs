//! A request for permission to leave the procedure of one run: a file that people read and sign, as they do a plan. It names
//! the run, its plan, the one deviation, why and until when; whoever changes a byte of it has another request. Where the run is gone and
//! its lock is to be removed, what the lock's claim says stands in the place of the plan.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_yaml::with::singleton_map_recursive;

use super::policy::Need;
use super::question::StepRule;
use crate::history::deviation::{Deviation, DeviationKind};
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
    /// The run that it is for; where a lock is to be removed, the one that claims it.
    pub run: RunId,
    /// SHA-256 of that run's plan; none where a lock is to be removed, whose run is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Digest>,
    /// The name of its runbook, for people.
    pub runbook: String,
    /// The labels of its runbook, which rules of a policy look at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What is asked for.
    pub deviation: Deviation,
    /// What else the claim says that stands in the lock which is to be removed; none for every other deviation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<StaleClaim>,
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

/// A claim whose run is gone, for those who sign that its lock is removed. The run and the runbook stand in the request itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaleClaim {
    /// The home that the run's log was in.
    pub home: String,
    /// The log, by the UUID in its `log_created`; none in claims of before this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Who had started the run.
    pub user: String,
    /// How the run was found to be gone.
    pub gone: String,
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
        request.is_about_one_thing()?;
        Ok(request)
    }

    /// A request is for a run of a plan, or for a lock with its claim, and nobody is to read the one and sign the other.
    fn is_about_one_thing(&self) -> Result<(), RequestError> {
        let shape = |why: &str| Err(RequestError::Shape(why.to_owned()));
        match (self.deviation.kind(), &self.plan, &self.claim) {
            (DeviationKind::StaleLock, None, Some(_)) => {
                match self.labels.is_empty() && self.step_does.is_none() && self.asks.is_none() {
                    true => Ok(()),
                    false => shape("it is to remove a lock, and says of its runbook what no claim says"),
                }
            }
            (DeviationKind::StaleLock, ..) => shape("to remove a lock it must have a `claim`, and no `plan`"),
            (_, Some(_), None) => Ok(()),
            (kind, ..) => shape(&format!("for `{kind}` it must have a `plan`, and no `claim`")),
        }
    }

    /// Whether a text is meant to be a request.
    pub fn is_meant(text: &str) -> bool {
        text.lines().any(|line| line.starts_with("interlock_override:"))
    }

    /// Whether it may be used here and now, for this run of this plan; without a plan, for the lock that this run claims.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn fits(&self, run: &RunId, plan: Option<&Digest>, here: Here<'_>) -> Result<(), String> {
        if plan.is_some() && self.claim.is_some() {
            return Err("the request is to remove a lock, and is used by `interlock unlock`".to_owned());
        }
        if self.run != *run {
            return Err(format!("the request is for run {}, and this is run {run}; ask for this one", self.run));
        }
        if self.plan.as_ref() != plan {
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
    use super::{Asks, Need, Request, RequestError, StaleClaim, VERSION};
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
            plan: Some(Digest::of(b"plan")),
            runbook: "change".to_owned(),
            labels: [("env".to_owned(), "production".to_owned())].into(),
            deviation: Deviation::Waive { step: "change".parse().unwrap(), fact: "monit stopped".parse().unwrap() },
            claim: None,
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

    /// To remove a lock whose run is gone.
    fn for_a_lock() -> Request {
        Request {
            plan: None,
            labels: [].into(),
            deviation: Deviation::StaleLock { lock: "postgres /srv/pg".to_owned() },
            claim: Some(StaleClaim {
                home: "/srv/home".to_owned(),
                log: Some("01a20171-54e8-7180-9231-1d65dacb99e0".to_owned()),
                user: "amy".to_owned(),
                gone: "there is no audit log in /srv/home".to_owned(),
            }),
            step_does: None,
            asks: None,
            ..request()
        }
    }

    #[test]
    fn p05_a_request_to_remove_a_lock_says_whose_claim_it_is_and_has_one_form() {
        let text = for_a_lock().to_yaml().unwrap();
        assert!(
            text.contains("deviation:\n  stale_lock:\n    lock: postgres /srv/pg\nclaim:\n  home: /srv/home\n"),
            "{text}"
        );
        assert!(!text.contains("plan:"), "{text}");
        assert_eq!(Request::from_file(&text).unwrap(), for_a_lock());
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            if let Ok(read) = Request::from_file(&changed) {
                assert_ne!(read, for_a_lock(), "byte {at} does not count");
            }
        }
    }

    #[test]
    fn p05_a_request_is_for_a_run_of_a_plan_or_for_a_lock_with_its_claim_and_never_for_both() {
        let lock = for_a_lock();
        let mixed = [
            Request { plan: request().plan, ..lock.clone() },
            Request { claim: None, ..lock.clone() },
            Request { labels: request().labels, ..lock.clone() },
            Request { step_does: request().step_does, ..lock.clone() },
            Request { asks: request().asks, ..lock.clone() },
            Request { plan: None, ..request() },
            Request { claim: lock.claim.clone(), ..request() },
            Request { plan: None, claim: lock.claim.clone(), ..request() },
        ];
        for request in mixed {
            let text = request.to_yaml().unwrap();
            assert!(matches!(Request::from_file(&text).unwrap_err(), RequestError::Shape(_)), "{text}");
        }
        let now = moment("2026-11-22T04:30:00Z");
        let here = Here { host: "db1", machine: "0f", now: &now };
        lock.fits(&run('a'), None, here).unwrap();
        assert!(lock.fits(&run('a'), Some(&Digest::of(b"plan")), here).unwrap_err().contains("interlock unlock"));
        assert!(lock.fits(&run('b'), None, here).unwrap_err().contains("is for run"));
        assert!(request().fits(&run('a'), None, here).unwrap_err().contains("another plan"));
    }

    #[test]
    fn p05_a_request_is_for_one_run_of_one_plan_on_one_machine_until_it_expires() {
        let now = moment("2026-11-22T04:30:00Z");
        let here = Here { host: "db1", machine: "0f", now: &now };
        let why = |run: &RunId, plan: &[u8], here| request().fits(run, Some(&Digest::of(plan)), here).unwrap_err();
        request().fits(&run('a'), Some(&Digest::of(b"plan")), here).unwrap();
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
