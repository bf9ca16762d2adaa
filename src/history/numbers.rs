//! The numbers of the policies that runs of a home went under. Numbers of policies only ever rise, so a home that went under one goes
//! under an older one no more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::approval::PolicyInForce;
use crate::history::event::Event;

/// The highest numbers so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// The highest number of the first policy of a run, which is the machine's own where it has one, and its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<(u64, String)>,
    /// The highest number of each file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub of_file: BTreeMap<String, u64>,
}

impl Numbers {
    /// Takes an event into account. What was refused went under nothing.
    pub fn note(&mut self, event: &Event) {
        let Some(policies) = policies_of(event) else { return };
        if let Some(first) = policies.first()
            && self.first.as_ref().is_none_or(|(number, _)| first.number >= *number)
        {
            self.first = Some((first.number, first.file.clone()));
        }
        for policy in policies {
            let highest = self.of_file.entry(policy.file.clone()).or_default();
            *highest = policy.number.max(*highest);
        }
    }

    /// Why a run under these policies would be under less than runs of this home went under before; none if it is not. A home that went
    /// under a policy goes under none or an older one no more.
    pub fn more_than(&self, policies: &[PolicyInForce]) -> Option<String> {
        let (number, file) = self.first.as_ref()?;
        let Some(first) = policies.first() else {
            return Some(format!(
                "no policy is in force, and runs of this home went under {file} (number {number}) before; put it back in its place, \
                 name it with --policy, or say where with INTERLOCK_POLICY"
            ));
        };
        if first.number < *number {
            return Some(format!(
                "{} has the number {}, and runs of this home went under number {number} before ({file}); numbers of policies only ever \
                 rise: put the newer one back, or give this one a number above {number}",
                first.file, first.number
            ));
        }
        policies.iter().find_map(|policy| {
            let before = self.of_file.get(&policy.file).filter(|before| policy.number < **before)?;
            Some(format!(
                "{} has the number {}, and had {before} before; numbers of policies only ever rise",
                policy.file, policy.number
            ))
        })
    }
}

/// The policies under which a run is opened or taken up by this event. What was refused went under nothing.
pub fn policies_of(event: &Event) -> Option<&[PolicyInForce]> {
    let (Event::RunOpened { policies, .. } | Event::RunResumed { policies, .. }) = event else { return None };
    Some(policies)
}
