//! The report over many runs.

use chrono::{DateTime, NaiveDate, Utc};

use super::{As, LONGEST_PLAN, read_some};
use crate::audit::{self, Home};
use crate::cli::audit::unreadable;
use crate::cli::failure::Failure;
use crate::id::RunId;
use crate::plan::Plan;
use crate::report::pressure::{Overview, Period};
use crate::runbook::duration;

/// The report over this time.
pub(super) fn report(home: &Home, since: &str, until: Option<&str>, form: As) -> Result<String, Failure> {
    let now = Utc::now();
    let since = moment("--since", since, now)?;
    let until = until.map_or(Ok(now), |until| moment("--until", until, now))?;
    if since >= until {
        return Err(Failure::Wrong(format!("--since {since} is not before --until {until}")));
    }
    let period = Period { since: since.timestamp_micros(), until: until.timestamp_micros() };
    let mut overview = Overview::new(period);
    for found in audit::read(home).map_err(unreadable)? {
        let entry = found.map_err(unreadable)?.recorded.entry;
        overview.take(&entry, |run| plan_made(home, run));
    }
    overview.finish();
    Ok(match form {
        As::Text => overview.text(),
        As::Markdown => overview.markdown(),
        As::Html => overview.html(),
        As::Json => overview.json().iter().map(|line| format!("{line}\n")).collect(),
    })
}

/// When the plan of a run was made, in microseconds since 1970, if it lies beside the log and says so.
fn plan_made(home: &Home, run: &RunId) -> Option<i64> {
    let bytes = read_some(&home.run(run).join("plan.yaml"), LONGEST_PLAN).ok()?;
    let plan = Plan::from_yaml(std::str::from_utf8(&bytes).ok()?).ok()?;
    let made = DateTime::parse_from_rfc3339(plan.binding?.made.as_str()).ok()?;
    Some(made.timestamp_micros())
}

/// A moment as people write it: a date, a time, or so long ago.
fn moment(flag: &str, text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Failure> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return date.and_hms_opt(0, 0, 0).map(|time| time.and_utc()).ok_or_else(|| wrong(flag, text));
    }
    let ago = duration::parse(text).ok().and_then(|ago| chrono::Duration::from_std(ago).ok());
    ago.and_then(|ago| now.checked_sub_signed(ago)).ok_or_else(|| wrong(flag, text))
}

fn wrong(flag: &str, text: &str) -> Failure {
    Failure::Wrong(format!(
        "{flag} `{}`: expected a date such as 2026-11-01, a time such as 2026-11-22T04:00:00Z, or a duration such as 30d",
        text.escape_debug()
    ))
}
