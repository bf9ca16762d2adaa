//! A run as a row: of a table for people, of a CSV file, or as one JSON object.

use serde_json::json;

use crate::diagnostic::escape::escape_line;
use crate::history::deviation::Deviation;
use crate::report::story::{by_whom, exact};
use crate::report::summary::{Standing, Summary};

/// The head of the table.
pub const HEAD: &str = "run                                   began (UTC)          verdict    took      deviations  runbook                   host      operator\n";

/// The head of the CSV file.
pub const CSV_HEAD: &str =
    "run,began,ended,verdict,why,seconds,deviations,deviation_kinds,runbook,labels,user,host,operator\r\n";

/// For people. Everything that came from outside is escaped, and stands behind what did not.
pub fn human(summary: &Summary) -> String {
    let (standing, why) = summary.standing();
    let time = &summary.began.time;
    let began = time.get(..19).unwrap_or(time).replace('T', " ");
    // Nothing of a run that was refused took any time.
    let took = summary.micros().filter(|_| standing != Standing::Refused).map_or_else(|| "-".to_owned(), exact);
    let deviations = match summary.deviations().len() {
        0 => "-".to_owned(),
        some => some.to_string(),
    };
    let mut notes: Vec<String> = (!why.is_empty()).then_some(why).into_iter().collect();
    notes.extend(summary.deviations().iter().map(Deviation::to_string));
    let notes = if notes.is_empty() { String::new() } else { format!("  ({})", escape_line(&notes.join("; "))) };
    format!(
        "{}  {began:<19}  {standing:<9}  {took:<8}  {deviations:<10}  {:<24}  {:<8}  {}{notes}\n",
        summary.run,
        escape_line(&summary.runbook),
        escape_line(&summary.who.host),
        escape_line(&by_whom(&summary.who)),
    )
}

/// One JSON object in one line.
pub fn json(summary: &Summary) -> String {
    let (standing, why) = summary.standing();
    let object = json!({
        "run": summary.run,
        "began": summary.began.time,
        "ended": summary.ended.as_ref().map(|ended| &ended.time),
        "verdict": standing.as_str(),
        "why": why,
        "micros": summary.micros(),
        "deviations": summary.deviations(),
        "runbook": summary.runbook,
        "labels": summary.labels,
        "operator": summary.operator(),
        "user": summary.who.user,
        "uid": summary.who.uid,
        "host": summary.who.host,
    });
    format!("{object}\n")
}

/// One record of a CSV file (RFC 4180).
pub fn csv(summary: &Summary) -> String {
    let (standing, why) = summary.standing();
    let kinds: Vec<&str> = summary.deviations().iter().map(|made| made.kind().as_str()).collect();
    let labels: Vec<String> = summary.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let seconds = summary.micros().map(|micros| format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
    let fields = [
        summary.run.as_str().to_owned(),
        summary.began.time.clone(),
        summary.ended.as_ref().map(|ended| ended.time.clone()).unwrap_or_default(),
        standing.as_str().to_owned(),
        why,
        seconds.unwrap_or_default(),
        summary.deviations().len().to_string(),
        kinds.join(" "),
        summary.runbook.clone(),
        labels.join(" "),
        summary.who.user.clone().unwrap_or_else(|| summary.who.uid.to_string()),
        summary.who.host.clone(),
        by_whom(&summary.who),
    ];
    let fields: Vec<String> = fields.iter().map(|field| csv_field(field)).collect();
    format!("{}\r\n", fields.join(","))
}

/// A field of a CSV file. What acts on a terminal is escaped, as everywhere. A field that a spreadsheet would take for a formula is made a
/// text by an apostrophe in front (OWASP, "CSV Injection").
fn csv_field(raw: &str) -> String {
    let shown = escape_line(raw);
    // Blanks in front are passed over by some programs, and so is the width of the sign.
    let first = shown.trim_start().chars().next();
    let is_formula =
        matches!(first, Some('=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠')) || shown.starts_with('\t');
    let guarded = if is_formula { format!("'{shown}") } else { shown.into_owned() };
    if guarded.contains([',', '"', '\'', ' ', '\t', ';']) {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

#[cfg(test)]
mod tests {
    use super::csv_field;

    #[test]
    fn fields_are_quoted_as_rfc_4180_says() {
        assert_eq!(csv_field("plain"), "plain");
        assert_eq!(csv_field(""), "");
        assert_eq!(csv_field("a,b"), "\"a,b\"");
        assert_eq!(csv_field("say \"no\""), "\"say \"\"no\"\"\"");
        assert_eq!(csv_field("two\r\nlines"), "two\\r\\nlines", "a record is one line");
        assert_eq!(csv_field("\u{1b}[2J"), "\\x1b[2J");
    }

    #[test]
    fn no_field_is_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "＝1", "=HYPERLINK(\"http://x\",\"y\")"] {
            let field = csv_field(formula);
            assert!(field.starts_with("\"'") && field.ends_with('"'), "{formula:?}: {field}");
        }
        assert_eq!(csv_field("a=1"), "a=1");
    }
}
