//! An entry in the forms that other tools take: CSV, CloudEvents, OCSF. Pure: an entry and its line go in, a text comes out. The line is
//! in each of them whole, so that what was exported can be held against the log.

use chrono::DateTime;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::diagnostic::escape::escape_line;
use crate::history::entry::Entry;
use crate::history::event::{Cause, Event};

/// The version of the OCSF schema that is written (<https://schema.ocsf.io/1.7.0/classes/base_event>).
pub const OCSF_VERSION: &str = "1.7.0";

/// The columns of the CSV form, in order.
const COLUMNS: [&str; 17] = [
    "seq",
    "time",
    "run",
    "event",
    "step",
    "uid",
    "user",
    "login_uid",
    "sudo_user",
    "host",
    "terminal",
    "ssh",
    "pid",
    "boot",
    "mono",
    "data",
    "prev",
];

/// The name and the data of an event, as they stand in a line.
#[derive(Debug, serde::Deserialize)]
struct Parts<'a> {
    event: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The name and data of an entry, taken from its line.
fn parts(line: &str) -> Parts<'_> {
    serde_json::from_str(line).expect("the log's reader has understood this line")
}

/// The header of the CSV form (RFC 4180), with its line end.
pub fn csv_header() -> String {
    format!("{}\r\n", COLUMNS.join(","))
}

/// An entry as a record of the CSV form, with its line end.
pub fn csv(entry: &Entry, line: &str) -> String {
    let Parts { event, data } = parts(line);
    let step = step_of(data);
    let who = &entry.who;
    let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| quoted(text.as_deref().unwrap_or_default());
    let fields = [
        entry.seq.to_string(),
        quoted(entry.time.as_str()),
        quoted(entry.run.as_ref().map(|run| run.as_str()).unwrap_or_default()),
        quoted(event),
        quoted(&step),
        who.uid.to_string(),
        text(&who.user),
        number(who.login_uid),
        text(&who.sudo_user),
        quoted(&who.host),
        text(&who.terminal),
        text(&who.ssh),
        who.pid.to_string(),
        quoted(entry.boot.as_str()),
        entry.mono.to_string(),
        quoted(data.get()),
        quoted(entry.prev.as_str()),
    ];
    debug_assert_eq!(fields.len(), COLUMNS.len());
    format!("{}\r\n", fields.join(","))
}

/// A text as a field of CSV. Always in quotes, so that no other separator divides it; and what a spreadsheet would take for a formula
/// has an apostrophe before it (OWASP, "CSV Injection").
fn quoted(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    format!("\"{}{}\"", if is_formula { "'" } else { "" }, text.replace('"', "\"\""))
}

/// The step that the data of an event names; empty if it names none.
fn step_of(data: &RawValue) -> String {
    #[derive(serde::Deserialize)]
    struct OfStep {
        #[serde(default)]
        step: Option<String>,
    }
    serde_json::from_str::<OfStep>(data.get()).ok().and_then(|of| of.step).unwrap_or_default()
}

/// An entry as an event of CloudEvents 1.0 (<https://github.com/cloudevents/spec>, JSON format), without a line end. `log` is the UUID of
/// the log, and the line is the `data`, byte for byte.
pub fn cloudevent(log: &str, entry: &Entry, line: &str) -> String {
    let Parts { event, .. } = parts(line);
    let subject = entry.run.as_ref().map(|run| format!("\"subject\":\"{run}\",")).unwrap_or_default();
    // Of these nothing can need an escape: a UUID, numbers, a name of lower-case letters, a time.
    format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{seq}\",\"source\":\"urn:uuid:{log}\",\"type\":\"interlock.{event}\",\"time\":\"{time}\",\
         {subject}\"sequence\":\"{seq:020}\",\"datacontenttype\":\"application/json\",\"data\":{line}}}",
        seq = entry.seq,
        time = entry.time,
    )
}

/// An entry as an event of OCSF, class Base Event with the profile `host`, without a line end. `log` is the UUID of the log; `program`
/// is the version of this program.
pub fn ocsf(log: &str, program: &str, entry: &Entry, line: &str) -> String {
    let Parts { event, data } = parts(line);
    let data: Value = serde_json::from_str(data.get()).unwrap_or_default();
    let who = &entry.who;
    // A time that is none stands in `metadata.original_time` as it is.
    let millis = DateTime::parse_from_rfc3339(entry.time.as_str()).map_or(0, |time| time.timestamp_millis());
    let (severity, outcome) = weight(&entry.event);
    let mut user = Map::new();
    user.insert("uid".to_owned(), who.uid.to_string().into());
    if let Some(name) = &who.user {
        user.insert("name".to_owned(), name.clone().into());
    }
    let mut actor = json!({"user": user, "process": {"pid": who.pid, "name": "interlock"}, "app_name": "interlock"});
    if let Some(terminal) = &who.terminal {
        actor["session"] = json!({"terminal": terminal});
    }
    let mut metadata = json!({
        "version": OCSF_VERSION,
        "product": {"name": "interlock", "vendor_name": "interlock", "version": program},
        "profiles": ["host"],
        "uid": format!("{log}:{}", entry.seq),
        "sequence": entry.seq,
        "event_code": event,
        "log_name": "interlock audit log",
        "log_provider": "interlock",
        "original_time": entry.time,
    });
    if let Some(run) = &entry.run {
        metadata["correlation_uid"] = run.as_str().into();
    }
    let mut written = json!({
        "class_uid": 0, "class_name": "Base Event",
        "category_uid": 0, "category_name": "Uncategorized",
        "activity_id": 99, "activity_name": event,
        "type_uid": 99, "type_name": "Base Event: Other",
        "severity_id": severity.id(), "severity": severity.caption(),
        "time": millis,
        "message": message(event, &data),
        "metadata": metadata,
        "actor": actor,
        "device": {"hostname": who.host, "type_id": 0, "type": "Unknown"},
        "unmapped": {
            "event": event, "data": data, "login_uid": who.login_uid, "sudo_user": who.sudo_user, "ssh": who.ssh,
            "boot": entry.boot, "mono": entry.mono, "prev": entry.prev,
        },
        "raw_data": line,
    });
    match outcome {
        Outcome::Success => (written["status_id"], written["status"]) = (1.into(), "Success".into()),
        Outcome::Failure => (written["status_id"], written["status"]) = (2.into(), "Failure".into()),
        Outcome::None => {}
    }
    written.to_string()
}

/// What happened in a few words, for a list of alerts. What came from outside is escaped.
fn message(event: &str, data: &Value) -> String {
    let mut words = event.replace('_', " ");
    for key in ["step", "runbook", "command", "lock", "reason", "why"] {
        if let Some(text) = data.get(key).and_then(Value::as_str) {
            words.push_str(&format!(": {}", escape_line(text)));
        }
    }
    if let Some(sight) = data.get("sight") {
        for key in ["fact", "verdict", "evidence"] {
            let text = sight.get(key).and_then(Value::as_str).unwrap_or_default();
            words.push_str(&format!(": {}", escape_line(text)));
        }
    }
    words
}

/// How much an event asks for somebody, as OCSF grades it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    fn id(self) -> u8 {
        match self {
            Self::Informational => 1,
            Self::Low => 2,
            Self::Medium => 3,
            Self::High => 4,
            Self::Critical => 5,
        }
    }

    fn caption(self) -> &'static str {
        match self {
            Self::Informational => "Informational",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        }
    }
}

/// Whether an event says that something went well or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Success,
    Failure,
    None,
}

/// What weight an event has.
fn weight(event: &Event) -> (Severity, Outcome) {
    match event {
        Event::StepDone { .. } | Event::StepAlready { .. } => (Severity::Informational, Outcome::Success),
        Event::RunCompleted { deviations, .. } if *deviations > 0 => (Severity::Medium, Outcome::Success),
        Event::RunCompleted { .. } => (Severity::Informational, Outcome::Success),
        Event::RunUndone { .. } => (Severity::Low, Outcome::Success),
        Event::Declined { .. } | Event::RunRefused { .. } => (Severity::Low, Outcome::Failure),
        Event::NotifyFailed { required: true, .. } | Event::CheckpointSinkFailed { required: true, .. } => {
            (Severity::High, Outcome::Failure)
        }
        Event::NotifyFailed { .. }
        | Event::CheckpointSinkFailed { .. }
        | Event::TakeUpRefused { .. }
        | Event::OverrideRefused { .. }
        | Event::LockKept { .. }
        | Event::StepFailed { .. } => (Severity::Medium, Outcome::Failure),
        Event::HoldBroken { .. } => (Severity::High, Outcome::Failure),
        Event::GlassBroken(_) => (Severity::High, Outcome::None),
        Event::RunHalted { cause: Cause::UndoFailed, .. } => (Severity::Critical, Outcome::Failure),
        Event::RunHalted { .. } => (Severity::High, Outcome::Failure),
        Event::OverrideAccepted(_)
        | Event::StepSkipped { .. }
        | Event::StepAccepted { .. }
        | Event::WaivedFactSeen { .. }
        | Event::RunAbandoned { .. }
        | Event::LogKeyReplaced { .. }
        | Event::EntriesArchived { .. }
        | Event::LockRemoved { .. } => (Severity::Medium, Outcome::None),
        Event::LogRepaired { .. }
        | Event::SignalReceived { .. }
        | Event::StopDecided { .. }
        | Event::StepRetried { .. }
        | Event::RerunBegan { .. }
        | Event::UndoBegan { .. }
        | Event::RunResumed { .. } => (Severity::Low, Outcome::None),
        Event::LogCreated { .. }
        | Event::RunOpened { .. }
        | Event::ApprovalAccepted(_)
        | Event::GlassTold { .. }
        | Event::WatchesArmed { .. }
        | Event::Answered { .. }
        | Event::StepIntended { .. }
        | Event::StepEnded { .. }
        | Event::StepNotApplicable { .. }
        | Event::RerunNotNeeded { .. }
        | Event::SecretAsked { .. } => (Severity::Informational, Outcome::None),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn what_a_spreadsheet_would_execute_is_text() {
        for (raw, shown) in [
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("\n=1", "\"'\n=1\""),
            ("＝1", "\"'＝1\""),
            ("a=1", "\"a=1\""),
            ("", "\"\""),
            ("say \"no\", or;not\n", "\"say \"\"no\"\", or;not\n\""),
        ] {
            assert_eq!(quoted(raw), shown);
        }
    }
}
