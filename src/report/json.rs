//! The report of one run for programs: one object.

use serde_json::{Value, json};

use crate::report::account::{Account, Departure, Fate};
use crate::report::provenance::Provenance;
use crate::report::story::by_whom;
use crate::report::verdict::Verdict;

/// The report of a run.
pub fn json(account: &Account, provenance: &Provenance) -> Value {
    let verdict = Verdict::of(account);
    let times = account.times();
    let end = |end: &Option<(crate::report::waits::Stamp, crate::id::Digest)>| {
        end.as_ref().map(|(stamp, digest)| json!({"entry": stamp.seq, "time": stamp.rfc3339(), "sha256": digest}))
    };
    let steps: Vec<Value> = account
        .steps
        .iter()
        .map(|step| {
            json!({
                "step": step.id, "fate": name(step.fate), "undo": step.back.map(name), "attempts": step.attempts(),
                "worked_micros": step.worked(),
            })
        })
        .collect();
    let departure = |departure: &Departure| {
        let given = &departure.given;
        json!({
            "deviation": given.deviation, "reason": given.reason, "asked_by": given.asked_by, "self_approved": given.self_approved,
            "approved_by": given.approved_by, "made": departure.used.is_some(), "time": departure.at.rfc3339(),
        })
    };
    json!({
        "run": account.run, "runbook": account.runbook, "verdict": verdict.word, "headline": verdict.headline,
        "operators": account.sittings.iter().map(|sitting| by_whom(&sitting.who)).collect::<Vec<_>>(),
        "micros": {
            "all": times.all, "working": times.working, "facts": times.facts, "people": times.people, "pauses": times.pauses,
            "still": times.still,
        },
        "steps": steps,
        "deviations": account.departures.iter().map(departure).collect::<Vec<_>>(),
        "approved_by": account.approvals.iter().map(|(_, approval)| approval.person.to_string()).collect::<Vec<_>>(),
        "broken": account.holds.iter().filter(|hold| !hold.breaks.is_empty()).map(|hold| hold.fact.to_string()).collect::<Vec<_>>(),
        "refused": account.refusals.len(),
        "log": provenance.log, "entries": account.entries, "first": end(&account.first), "last": end(&account.last),
        "checkpoint": provenance.checkpoint.as_ref().map(|anchor| json!({"file": anchor.file, "entries": anchor.size, "note": anchor.note})),
    })
}

fn name(fate: Fate) -> &'static str {
    match fate {
        Fate::NotBegun => "not_begun",
        Fate::Open => "open",
        Fate::Done => "done",
        Fate::Already => "already",
        Fate::NotApplicable => "not_applicable",
        Fate::Failed => "failed",
        Fate::InDoubt => "in_doubt",
        Fate::Skipped => "skipped",
        Fate::Accepted => "accepted",
    }
}
