//! The log as numbers for monitoring, in Prometheus' text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>). Counters
//! are counted from the first entry on, so they fall only if the log is another one. Pure: entries go in, a text comes out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::DateTime;

use crate::diagnostic::escape::escape_line;
use crate::history::deviation::DeviationKind;
use crate::history::entry::Entry;
use crate::history::event::{Cause, Event};
use crate::history::state::{Phase, State, Verdict};
use crate::id::RunId;

/// What is counted.
#[derive(Debug, Default)]
pub struct Tally {
    entries: u64,
    last: Option<f64>,
    /// Runs that are over, by runbook and verdict, and when the last of them ended.
    ended: BTreeMap<(String, &'static str), (u64, f64)>,
    halts: BTreeMap<(String, &'static str), u64>,
    breaks: BTreeMap<String, u64>,
    failures: BTreeMap<String, u64>,
    deviations: BTreeMap<&'static str, u64>,
    glass: u64,
    refused: BTreeMap<&'static str, u64>,
    undelivered: BTreeMap<&'static str, u64>,
    /// Runs that are not over, or are to be reviewed.
    open: BTreeMap<RunId, Open>,
}

/// The deviations that are counted. Taking a run over leaves nothing out.
const DEVIATIONS: [DeviationKind; 8] = [
    DeviationKind::Skip,
    DeviationKind::Waive,
    DeviationKind::AcceptFailed,
    DeviationKind::AcceptInDoubt,
    DeviationKind::OutsideWindow,
    DeviationKind::Abandon,
    DeviationKind::StaleLock,
    DeviationKind::BreakGlass,
];
/// What can be refused.
const REFUSED: [&str; 4] = ["run", "take_up", "deviation", "lock_removal"];
/// What may not reach others.
const UNDELIVERED: [&str; 3] = ["notify", "checkpoint", "glass"];

/// A run that is not over, or is to be reviewed.
#[derive(Debug, Default)]
struct Open {
    runbook: String,
    began: f64,
    last: f64,
    locks: Vec<String>,
    state: State,
}

/// What the tally does not know itself.
#[derive(Debug, Default)]
pub struct Seen {
    /// The version of the program.
    pub program: &'static str,
    /// Whether the log verifies; none where there is no log.
    pub verifies: Option<Verifies>,
    /// The newest entry that a checkpoint beside the log speaks of.
    pub anchored: u64,
    /// How each open run stands: `running`, `halted` or `died`.
    pub standing: BTreeMap<RunId, &'static str>,
}

/// Whether the log verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verifies {
    /// Nothing is wrong with it.
    Yes,
    /// Something is, so nothing is said of the runs.
    No,
}

impl Tally {
    /// Takes the next entry of the log.
    ///
    /// # Errors
    /// The entry cannot have followed, in words.
    pub fn take(&mut self, entry: &Entry) -> Result<(), String> {
        let time =
            DateTime::parse_from_rfc3339(entry.time.as_str()).map_or(0.0, |time| time.timestamp_micros() as f64 / 1e6);
        self.entries = entry.seq;
        self.last = Some(time);
        if let Event::LockRemoved { .. } = entry.event {
            *self.deviations.entry("stale_lock").or_default() += 1;
        }
        if let Some(what) = refused(&entry.event) {
            *self.refused.entry(what).or_default() += 1;
        }
        if let Some(what) = undelivered(&entry.event) {
            *self.undelivered.entry(what).or_default() += 1;
        }
        let Some(run) = &entry.run else { return Ok(()) };
        let open = self.open.entry(run.clone()).or_insert_with(|| Open { began: time, ..Open::default() });
        let used = open.state.overrides.used.len();
        let was_over = verdict(&open.state).is_some();
        open.state.apply(&entry.event).map_err(|illegal| format!("run {run}: {illegal}"))?;
        open.last = time;
        for deviation in open.state.overrides.used.get(used..).unwrap_or_default() {
            *self.deviations.entry(deviation.kind().as_str()).or_default() += 1;
        }
        match &entry.event {
            Event::RunOpened { runbook, locks, .. } => {
                open.runbook.clone_from(runbook);
                open.locks.clone_from(locks);
            }
            Event::RunRefused { runbook, .. } => open.runbook.clone_from(runbook),
            Event::GlassBroken(glass) => {
                open.runbook.clone_from(&glass.runbook);
                self.glass += 1;
            }
            Event::RunHalted { cause, .. } => {
                *self.halts.entry((open.runbook.clone(), cause_name(*cause))).or_default() += 1;
            }
            Event::HoldBroken { .. } => *self.breaks.entry(open.runbook.clone()).or_default() += 1,
            Event::StepFailed { .. } => *self.failures.entry(open.runbook.clone()).or_default() += 1,
            _ => {}
        }
        if let Some(verdict) = verdict(&open.state) {
            if !was_over {
                let ended = self.ended.entry((open.runbook.clone(), verdict)).or_default();
                *ended = (ended.0 + 1, time);
            }
            if open.state.to_review.is_empty() {
                self.open.remove(run);
            }
        }
        Ok(())
    }

    /// The runs that are not over.
    pub fn open(&self) -> impl Iterator<Item = (&RunId, &State)> {
        self.not_over().map(|(run, open)| (run, &open.state))
    }

    fn not_over(&self) -> impl Iterator<Item = (&RunId, &Open)> {
        self.open.iter().filter(|(_, open)| verdict(&open.state).is_none() && open.state.phase != Phase::New)
    }

    /// All of it as text.
    pub fn text(&self, seen: &Seen) -> String {
        let mut page = Page::default();
        page.family("interlock_build_info", "gauge", "The version of the program that wrote this.");
        page.sample(&[("version", seen.program)], 1);
        self.log(&mut page, seen);
        if seen.verifies != Some(Verifies::No) {
            self.runs(&mut page);
            self.open_runs(&mut page, seen);
        }
        page.0
    }

    fn log(&self, page: &mut Page, seen: &Seen) {
        if let Some(verifies) = seen.verifies {
            page.family(
                "interlock_audit_log_verifies",
                "gauge",
                "1 if the audit log verifies, 0 if something is wrong with it.",
            );
            page.sample(&[], u8::from(verifies == Verifies::Yes));
        }
        page.family(
            "interlock_audit_log_entries",
            "gauge",
            "Entries in the audit log. It never falls, unless the log was cut.",
        );
        page.sample(&[], self.entries);
        page.family(
            "interlock_audit_log_anchored_entry",
            "gauge",
            "The newest entry that a checkpoint beside the log speaks of; 0 if there is no checkpoint.",
        );
        page.sample(&[], seen.anchored);
        if let Some(last) = self.last {
            page.family(
                "interlock_audit_log_last_entry_timestamp_seconds",
                "gauge",
                "When the newest entry was written.",
            );
            page.sample(&[], last);
        }
    }

    fn runs(&self, page: &mut Page) {
        page.family("interlock_runs_total", "counter", "Runs that are over, by runbook and how they ended.");
        for ((runbook, verdict), (count, _)) in &self.ended {
            page.sample(&[("runbook", runbook), ("verdict", verdict)], count);
        }
        page.family("interlock_run_last_end_timestamp_seconds", "gauge", "When the last run ended so.");
        for ((runbook, verdict), (_, time)) in &self.ended {
            page.sample(&[("runbook", runbook), ("verdict", verdict)], time);
        }
        page.family(
            "interlock_run_halts_total",
            "counter",
            "How often a run halted, by runbook and cause. It may have gone on since.",
        );
        for ((runbook, cause), count) in &self.halts {
            page.sample(&[("runbook", runbook), ("cause", cause)], count);
        }
        page.family("interlock_step_failures_total", "counter", "Attempts of steps that failed, by runbook.");
        for (runbook, count) in &self.failures {
            page.sample(&[("runbook", runbook)], count);
        }
        page.family("interlock_holds_broken_total", "counter", "Held facts that broke, by runbook.");
        for (runbook, count) in &self.breaks {
            page.sample(&[("runbook", runbook)], count);
        }
        page.family("interlock_deviations_total", "counter", "Deviations from procedures that were made, by kind.");
        page.counted("kind", &DEVIATIONS.map(DeviationKind::as_str), &self.deviations);
        page.family("interlock_glass_broken_total", "counter", "How often the glass was broken in an emergency.");
        page.sample(&[], self.glass);
        page.family("interlock_refused_attempts_total", "counter", "What somebody wanted and was refused.");
        page.counted("what", &REFUSED, &self.refused);
        page.family(
            "interlock_undelivered_total",
            "counter",
            "What others were to be told or given by a policy, and were not.",
        );
        page.counted("what", &UNDELIVERED, &self.undelivered);
    }

    fn open_runs(&self, page: &mut Page, seen: &Seen) {
        let standing = |run: &RunId| seen.standing.get(run).copied().unwrap_or("unknown");
        page.family("interlock_open_runs", "gauge", "Runs that are not over.");
        for state in ["running", "halted", "died"] {
            page.sample(&[("state", state)], self.not_over().filter(|(run, _)| standing(run) == state).count());
        }
        page.family("interlock_open_run_start_timestamp_seconds", "gauge", "When a run began that is not over.");
        for (run, open) in self.not_over() {
            page.sample(&[("run", run.as_str()), ("runbook", &open.runbook), ("state", standing(run))], open.began);
        }
        page.family(
            "interlock_open_run_last_entry_timestamp_seconds",
            "gauge",
            "When something was last recorded of it.",
        );
        for (run, open) in self.not_over() {
            page.sample(&[("run", run.as_str()), ("runbook", &open.runbook), ("state", standing(run))], open.last);
        }
        page.family("interlock_lock_held", "gauge", "1 for each lock that a run of this home holds.");
        for (run, open) in self.not_over() {
            for lock in &open.locks {
                page.sample(&[("lock", lock), ("run", run.as_str()), ("runbook", &open.runbook)], 1);
            }
        }
        page.family(
            "interlock_run_to_review",
            "gauge",
            "1 for each run for which the glass was broken and that nobody has reviewed.",
        );
        for (run, open) in self.open.iter().filter(|(_, open)| !open.state.to_review.is_empty()) {
            page.sample(&[("run", run.as_str()), ("runbook", &open.runbook)], 1);
        }
    }
}

/// How a run is over; none if it is not, or may be taken up again.
fn verdict(state: &State) -> Option<&'static str> {
    match state.phase {
        Phase::Over(Verdict::Completed) if !state.overrides.used.is_empty() => Some("completed_with_deviations"),
        Phase::Over(Verdict::Completed) => Some("completed"),
        Phase::Over(Verdict::Undone) => Some("undone"),
        Phase::Over(Verdict::Abandoned) => Some("abandoned"),
        Phase::Over(Verdict::Refused(_)) => Some("refused"),
        Phase::Over(Verdict::Halted(_))
        | Phase::New
        | Phase::Ready { .. }
        | Phase::Acting { .. }
        | Phase::Verifying { .. }
        | Phase::Failed { .. } => None,
    }
}

/// What others were not told or given, if they were to be.
fn undelivered(event: &Event) -> Option<&'static str> {
    match event {
        Event::NotifyFailed { .. } => Some("notify"),
        Event::CheckpointSinkFailed { .. } => Some("checkpoint"),
        Event::GlassTold { trouble: Some(_), .. } => Some("glass"),
        _ => None,
    }
}

/// What was refused, if something was.
fn refused(event: &Event) -> Option<&'static str> {
    match event {
        Event::RunRefused { .. } => Some("run"),
        Event::TakeUpRefused { .. } => Some("take_up"),
        Event::OverrideRefused { .. } => Some("deviation"),
        Event::LockKept { .. } => Some("lock_removal"),
        _ => None,
    }
}

/// A cause as it stands in the log.
pub fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::FactDoesNotHold => "fact_does_not_hold",
        Cause::NotAllowed => "not_allowed",
        Cause::Locked => "locked",
        Cause::PersonNeeded => "person_needed",
        Cause::StepFailed => "step_failed",
        Cause::HoldBroken => "hold_broken",
        Cause::Interrupted => "interrupted",
        Cause::UndoFailed => "undo_failed",
    }
}

/// The text as it grows. A family's name and help stand there also where it has no samples, so that what is missing is known.
#[derive(Default)]
struct Page(String, &'static str);

impl Page {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.1 = name;
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("writing to a String cannot fail");
    }

    /// A sample for each of these, also of what never was: the first time would be no increase otherwise.
    fn counted(&mut self, label: &str, of: &[&'static str], counts: &BTreeMap<&'static str, u64>) {
        for name in of {
            self.sample(&[(label, name)], counts.get(name).copied().unwrap_or_default());
        }
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(self.1);
        for (at, (name, text)) in labels.iter().enumerate() {
            self.0.push_str(if at == 0 { "{" } else { "," });
            write!(self.0, "{name}=\"{}\"", label(text)).expect("writing to a String cannot fail");
        }
        writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" })
            .expect("writing to a String cannot fail");
    }
}

/// A text as the value of a label: backslash, quote and line feed are escaped. What acts on a terminal is spelled out before that, since
/// such a file is looked at too.
fn label(text: &str) -> String {
    escape_line(text).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn the_value_of_a_label_ends_where_it_ends() {
        assert_eq!(label("say \"no\" \\ or\nnot\u{1b}[m"), "say \\\"no\\\" \\\\ or\\\\nnot\\\\x1b[m");
    }
}
