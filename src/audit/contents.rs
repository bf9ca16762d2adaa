//! Which files the entries of a run name. Who makes a bundle puts these into it, and who verifies a log or a bundle looks for these. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Home;
use super::tar::is_name;
use crate::history::approval::{OVERRIDE, PolicyInForce};
use crate::history::event::{Event, Output};
use crate::history::glass::REVIEW;
use crate::id::{Digest, RunId};

pub(super) const PLAN: &str = "plan.yaml";
pub(super) const REQUESTS: &str = "requests/";
pub(super) const POLICIES: &str = "policies/";
pub(super) const REVIEWS: &str = "reviews/";
pub(super) const TRANSCRIPTS: &str = "transcripts/";

/// The most files that the entries of one run may name.
const MOST: usize = 50_000;

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Its bytes have this SHA-256.
    Bytes(Digest),
    /// It is the transcript of a step's output.
    Transcript(Output),
}

/// Where a file of this name in a bundle lies in the home: in the folder of the run, and transcripts without theirs.
pub fn path_in(home: &Home, run: &RunId, name: &str) -> PathBuf {
    home.run(run).join(name.strip_prefix(TRANSCRIPTS).unwrap_or(name))
}

/// The files that entries name, by their names in a bundle.
#[derive(Debug, Default)]
pub struct Contents {
    files: BTreeMap<String, Expected>,
}

impl Contents {
    /// The files by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Expected)> {
        self.files.iter().map(|(name, expected)| (name.as_str(), expected))
    }

    /// What this file must be; none if no entry names it.
    pub fn expected(&self, name: &str) -> Option<&Expected> {
        self.files.get(name)
    }

    /// Takes in what an event of the run names.
    ///
    /// # Errors
    /// It cannot be: another file by the same name, one that lies elsewhere, or too many.
    pub fn note(&mut self, run: &RunId, event: &Event) -> Result<(), String> {
        let policies: &[PolicyInForce] = match event {
            Event::RunOpened { plan, policies, .. } => {
                self.add(PLAN.to_owned(), Expected::Bytes(plan.clone()))?;
                policies
            }
            Event::RunResumed { policies, .. } => policies,
            Event::ApprovalAccepted(approval) => {
                if approval.namespace == OVERRIDE {
                    self.request(&approval.document)?;
                }
                if approval.namespace == REVIEW {
                    let digest = &approval.document;
                    self.add(format!("{REVIEWS}{digest}.review.yaml"), Expected::Bytes(digest.clone()))?;
                }
                for under in &approval.under {
                    self.policy(&under.signers, "allowed_signers")?;
                    under.revoked.iter().try_for_each(|revoked| self.policy(revoked, "revoked"))?;
                }
                &[]
            }
            Event::OverrideAccepted(given) => {
                given.request.iter().try_for_each(|request| self.request(request))?;
                &[]
            }
            Event::StepEnded { output: Some(output), .. } => {
                let name = output.transcript.strip_prefix("runs/").and_then(|rest| rest.strip_prefix(run.as_str()));
                let name = name.and_then(|rest| rest.strip_prefix('/')).filter(|rest| !rest.contains('/'));
                let name = name.map(|name| format!("{TRANSCRIPTS}{name}"));
                let Some(name) = name.filter(|name| is_name(name) && name.ends_with(".cast")) else {
                    return Err("it names a transcript that is none of this run's".to_owned());
                };
                if let Some(redacted) = &output.redacted {
                    if redacted.file != format!("{}.redacted", output.transcript) {
                        return Err(
                            "it names a list of what was removed that does not lie beside the transcript".to_owned()
                        );
                    }
                    self.add(format!("{name}.redacted"), Expected::Bytes(redacted.digest.clone()))?;
                }
                self.add(name, Expected::Transcript(output.clone()))?;
                &[]
            }
            _ => &[],
        };
        for policy in policies {
            self.policy(&policy.digest, "policy.yaml")?;
            self.policy(&policy.signers, "allowed_signers")?;
            policy.revoked.iter().try_for_each(|revoked| self.policy(revoked, "revoked"))?;
        }
        Ok(())
    }

    fn request(&mut self, digest: &Digest) -> Result<(), String> {
        self.add(format!("{REQUESTS}{digest}.request.yaml"), Expected::Bytes(digest.clone()))
    }

    fn policy(&mut self, digest: &Digest, ending: &str) -> Result<(), String> {
        self.add(format!("{POLICIES}{digest}.{ending}"), Expected::Bytes(digest.clone()))
    }

    fn add(&mut self, name: String, expected: Expected) -> Result<(), String> {
        if let Some(before) = self.files.get(&name) {
            let same = *before == expected;
            return if same {
                Ok(())
            } else {
                Err(format!("it names `{name}`, which an earlier entry has as another"))
            };
        }
        if self.files.len() == MOST {
            return Err(format!("the entries of this run name more than {MOST} files"));
        }
        self.files.insert(name, expected);
        Ok(())
    }
}
