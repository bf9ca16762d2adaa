//! Which runs `audit log` lists. What a filter says of a run is asked of the fold of its events; only what the names of the events, or its
//! opening, rule out already is not folded.

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::audit::{Skimmed, Turn, WholeRun};
use crate::history::deviation::DeviationKind;
use crate::history::entry::Who;
use crate::id::Fact;
use crate::report::summary::{Standing, Summary};
use crate::yaml::duration;

/// What fits the runs that are listed; what is not given fits all.
#[derive(Debug, clap::Args)]
pub struct Filter {
    /// Only runs that began then or later: `2026-11-22T04:00:00Z`, a date (from its first moment, UTC), or as long ago as `7d`
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<LogTime>,
    /// Only runs that began then or earlier; a date counts to its last moment
    #[arg(long, value_name = "TIME", value_parser = until)]
    until: Option<LogTime>,
    /// Only runs of this runbook
    #[arg(long, value_name = "NAME")]
    runbook: Option<String>,
    /// Only runs with this label; if given more than once, with all of them
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Only runs that this user began or took up: the name or number of the user, the one whom sudo claims, or the person whom the
    /// policies knew
    #[arg(long, value_name = "WHO")]
    operator: Option<String>,
    /// Only runs on this host
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Only runs that stand so; may be given more than once
    #[arg(long, value_name = "VERDICT", value_enum)]
    verdict: Vec<Standing>,
    /// Only runs with a deviation, or with one of this kind
    #[arg(long, value_name = "KIND", num_args = 0..=1, value_parser = kind_names())]
    deviation: Option<Option<String>>,
    /// Only runs whose entries speak of this fact, such as 'database down': it was watched, looked at, broke or was waived
    #[arg(long, value_name = "FACT")]
    fact: Option<Fact>,
}

/// A time as the log writes it, so that the order of the texts is the order in time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LogTime(String);

impl ValueEnum for Standing {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()))
    }
}

impl Filter {
    /// Whether the run is listed, as far as its lines tell without being understood. Never false for one that fits.
    pub fn may_fit(&self, run: &WholeRun) -> bool {
        let began = run.lines[0].stamp().map(|stamp| stamp.time);
        let in_time = began.is_none_or(|began| {
            self.since.as_ref().is_none_or(|since| since.0.as_str() <= began)
                && self.until.as_ref().is_none_or(|until| began <= until.0.as_str())
        });
        // One whose events are out of order may end with any of them.
        let stands = self.verdict.is_empty()
            || self.verdict.contains(&Standing::Illegal)
            || standing_by_name(&run.lines).is_none_or(|standing| self.verdict.contains(&standing));
        let deviates = self.deviation.is_none() || run.lines.iter().any(may_deviate);
        in_time && stands && deviates && self.opening_may_fit(run) && self.speaks_of_the_fact(run)
    }

    /// The same by the text of the entries by which the run was begun or taken up.
    fn opening_may_fit(&self, run: &WholeRun) -> bool {
        let any = |words: &str| begun_or_taken_up(run).any(|line| may_say(line, words));
        let runbook = self.runbook.as_ref().is_none_or(|name| any(&format!("\"runbook\":\"{name}\"")));
        // Without an opening the labels of the plan count.
        let labels = !run.lines.iter().any(|line| line.turn == Turn::Opened)
            || self.label.iter().all(|(key, value)| any(&format!("\"{key}\":\"{value}\"")));
        let named = |name: &str| any(&format!("\"{name}\""));
        let operator = self.operator.as_ref().is_none_or(|name| name.parse::<u32>().is_ok() || named(name));
        let host = self.host.as_ref().is_none_or(|name| named(name));
        runbook && labels && operator && host
    }

    /// A fact is letters, digits and one blank, so it stands in the line as it is; a quotation mark within a text never does.
    fn speaks_of_the_fact(&self, run: &WholeRun) -> bool {
        let Some(fact) = &self.fact else { return true };
        let needle = format!("\"fact\":\"{fact}\"");
        run.lines.iter().any(|line| line.text().contains(&needle))
    }

    /// Whether what its opening says of a run fits, and those who began it or took it up.
    pub fn fits_opening(&self, summary: &Summary, operators: &[Who]) -> bool {
        let began = summary.began.time.as_str();
        let by = |name: &str| operators.iter().any(|who| is_called(who, name));
        let as_person = |name: &str| summary.persons.iter().any(|person| person.as_str() == name);
        self.since.as_ref().is_none_or(|since| since.0.as_str() <= began)
            && self.until.as_ref().is_none_or(|until| began <= until.0.as_str())
            && self.runbook.as_ref().is_none_or(|runbook| *runbook == summary.runbook)
            && self.label.iter().all(|(key, value)| summary.labels.get(key) == Some(value))
            && self.operator.as_ref().is_none_or(|name| by(name) || as_person(name))
            && self.host.as_ref().is_none_or(|host| operators.iter().any(|who| who.host == *host))
    }

    /// Whether the fold of all its events fits.
    pub fn fits_end(&self, summary: &Summary) -> bool {
        let of_kind = |kind: &str| summary.deviations().iter().any(|made| made.kind().as_str() == kind);
        let deviates = match &self.deviation {
            None => true,
            Some(None) => !summary.deviations().is_empty(),
            Some(Some(kind)) => of_kind(kind),
        };
        deviates && (self.verdict.is_empty() || self.verdict.contains(&summary.standing().0))
    }

    /// Whether labels are asked for.
    pub fn asks_for_labels(&self) -> bool {
        !self.label.is_empty()
    }
}

/// The entries that tell of what runbook a run is, and by whom it was begun or taken up.
pub fn begun_or_taken_up(run: &WholeRun) -> impl Iterator<Item = &Skimmed> {
    let tells = |line: &Skimmed| matches!(line.turn, Turn::Opened | Turn::Refused | Turn::Resumed | Turn::Glass);
    run.lines.iter().enumerate().filter(move |(at, line)| *at == 0 || tells(line)).map(|(_, line)| line)
}

/// Whether these words can be in a line: where nothing is escaped, a text stands in it as it is.
fn may_say(line: &Skimmed, words: &str) -> bool {
    line.text().contains('\\') || line.text().contains(words)
}

/// Whether a deviation can have been made because of this entry.
fn may_deviate(line: &Skimmed) -> bool {
    matches!(line.turn, Turn::Override | Turn::Glass)
}

/// How a run stands by the name of the last of its events that began or ended it: what the fold says too, wherever the events can have
/// happened in their order. None where no such name is there.
fn standing_by_name(lines: &[Skimmed]) -> Option<Standing> {
    lines.iter().rev().find_map(|line| match line.turn {
        Turn::Opened | Turn::Resumed => Some(Standing::Open),
        Turn::Refused => Some(Standing::Refused),
        Turn::Halted => Some(Standing::Halted),
        Turn::Completed => Some(Standing::Completed),
        Turn::Undone => Some(Standing::Undone),
        Turn::Abandoned => Some(Standing::Abandoned),
        Turn::Override | Turn::Glass | Turn::Early | Turn::Other => None,
    })
}

fn is_called(who: &Who, name: &str) -> bool {
    who.user.as_deref() == Some(name) || who.sudo_user.as_deref() == Some(name) || who.uid.to_string() == name
}

fn kind_names() -> Vec<PossibleValue> {
    let names = DeviationKind::NAMES.iter().map(|(name, _)| *name);
    names.chain([DeviationKind::BreakGlass.as_str()]).map(PossibleValue::new).collect()
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as env=production")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn since(text: &str) -> Result<LogTime, String> {
    time(text, "T00:00:00.000000Z")
}

fn until(text: &str) -> Result<LogTime, String> {
    time(text, "T23:59:59.999999Z")
}

/// A time as people give it; of a date, this moment.
fn time(text: &str, of_a_date: &str) -> Result<LogTime, String> {
    let of = |time: DateTime<Utc>| LogTime(time.to_rfc3339_opts(SecondsFormat::Micros, true));
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(of(time.to_utc()));
    }
    if text.len() == 10 && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok() {
        return Ok(LogTime(format!("{text}{of_a_date}")));
    }
    let wrong = || {
        "expected a time such as 2026-11-22T04:00:00Z, a date such as 2026-11-22, or how long ago, such as 7d"
            .to_owned()
    };
    let ago = duration::parse(text).map_err(|_| wrong())?;
    let ago = chrono::TimeDelta::from_std(ago).map_err(|_| wrong())?;
    Utc::now().checked_sub_signed(ago).map(of).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    use super::{label, may_deviate, since, standing_by_name, until};
    use crate::audit::{Draft, Home, Log, runs};
    use crate::history::entry::Who;
    use crate::history::event::Event;
    use crate::history::state::State;
    use crate::id::RunId;
    use crate::report::summary::{At, Standing, Summary};

    /// What can happen to a run of two steps, as it stands in the log.
    const EVENTS: [&str; 17] = [
        r#"{"event":"run_opened","data":{"runbook":"r","source":"r.yaml","plan":"P","steps":2,"containment":"c","watching":"w","program":"0"}}"#,
        r#"{"event":"glass_broken","data":{"runbook":"r","plan":"P","reason":"why","by":"terminal","without":[],"rules":[{"policy":"P","number":1,"operator":"amy","tell":"core","command":[],"reviewers":["bea"],"review_until":"2026-11-27T05:00:00Z"}]}}"#,
        r#"{"event":"run_refused","data":{"runbook":"r","plan":"P","cause":"fact_does_not_hold","reason":"why"}}"#,
        r#"{"event":"step_intended","data":{"step":"a","attempt":1,"action":"true"}}"#,
        r#"{"event":"step_ended","data":{"step":"a","attempt":1,"ending":{"exited":{"code":0}},"micros":1}}"#,
        r#"{"event":"step_done","data":{"step":"a","attempt":1}}"#,
        r#"{"event":"step_failed","data":{"step":"a","attempt":1,"reason":"why"}}"#,
        r#"{"event":"step_already","data":{"step":"b","seen":[]}}"#,
        r#"{"event":"override_accepted","data":{"deviation":{"skip":{"step":"b"}},"reason":"why","asked_by":"amy","self_approved":"terminal"}}"#,
        r#"{"event":"step_skipped","data":{"step":"b"}}"#,
        r#"{"event":"undo_began","data":{"by":"rule","reason":"why","steps":0,"kept":1}}"#,
        r#"{"event":"run_undone","data":{"undone":0,"kept":1}}"#,
        r#"{"event":"run_halted","data":{"cause":"step_failed","reason":"why"}}"#,
        r#"{"event":"run_resumed","data":{"containment":"c","watching":"w","program":"0"}}"#,
        r#"{"event":"run_abandoned","data":{"reason":"why"}}"#,
        r#"{"event":"run_completed","data":{"done":1,"already":1,"micros":1}}"#,
        r#"{"event":"run_completed","data":{"done":1,"already":0,"skipped":1,"deviations":1,"micros":1}}"#,
    ];

    fn event(at: usize) -> Event {
        serde_json::from_str(&EVENTS[at].replace("\"P\"", &format!("\"{}\"", "0".repeat(64)))).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::default())]

        /// What the names of the events tell is what the fold tells, for whatever can have happened, at each moment of it.
        #[test]
        fn what_is_ruled_out_by_the_names_of_the_events_is_ruled_out_by_the_fold(dice in proptest::collection::vec(0_usize..17, 0..150)) {
            let folder = tempfile::tempdir().unwrap();
            let home = Home::new(folder.path().join("home")).unwrap();
            let mut log = Log::open(&home, Who::default()).unwrap();
            let run: RunId = "01900000-0000-7000-8000-000000000001".parse().unwrap();
            let mut state = State::default();
            for at in dice {
                let event = event(at);
                if state.apply(&event).is_err() {
                    continue;
                }
                log.append(&[Draft { run: Some(&run), event: &event }]).unwrap();
                let found = runs(&home).unwrap().more().unwrap().unwrap();
                let mut summary = Summary::new(run.clone(), &found[0].lines[0].entry().unwrap());
                for line in &found[0].lines {
                    summary.take(&line.event().unwrap(), || Ok::<_, ()>(At::default())).unwrap();
                }
                prop_assert_eq!(&summary.state, &state);
                // Before its opening it has no such name, and is open.
                prop_assert_eq!(standing_by_name(&found[0].lines).unwrap_or(Standing::Open), summary.standing().0);
                let may_deviate = found[0].lines.iter().any(may_deviate);
                prop_assert!(may_deviate || summary.deviations().is_empty());
            }
        }
    }

    #[test]
    fn times_are_moments_dates_or_how_long_ago() {
        assert_eq!(since("2026-11-22T05:00:00.5+01:00").unwrap().0, "2026-11-22T04:00:00.500000Z");
        assert_eq!(since("2026-11-22").unwrap().0, "2026-11-22T00:00:00.000000Z");
        assert_eq!(until("2026-11-22").unwrap().0, "2026-11-22T23:59:59.999999Z");
        let (older, newer) = (since("2h").unwrap(), since("90m").unwrap());
        assert!(older < newer && newer < since("0s").unwrap());
        for wrong in ["", "yesterday", "2026-13-01", "2026-11-2", "7", "-7d", "2026-11-22T04:00:00", "2026-11-22 04:00"]
        {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_label_has_a_key_and_a_value_which_may_hold_the_sign() {
        assert_eq!(label("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(label("a=").unwrap(), ("a".to_owned(), String::new()));
        assert!(label("a").is_err());
    }
}
