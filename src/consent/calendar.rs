//! When runs may go on: change windows, by the days of the week, and freezes. The time is always given; zones are fixed offsets, so
//! that no clock change makes an hour come twice or never.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike as _, Days, FixedOffset, NaiveTime, Utc, Weekday};

use super::policy::{Match, Subject};
use super::signature::show;

/// Runs like these go on within these hours only. Of several rules about a run, being within one is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowRule {
    /// Which runs.
    pub subject: Match,
    /// The days on which the window begins, as numbers from Monday, which is 0.
    pub days: BTreeSet<u8>,
    /// The minute of the day at which it begins.
    pub from: u16,
    /// The minute at which it is over, 1440 being midnight; of the next day if it is not after `from`.
    pub to: u16,
    /// The zone that days and hours are meant in.
    pub zone: FixedOffset,
    /// The line of the policy that says so.
    pub line: usize,
}

/// No run like these goes on in this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Which runs.
    pub subject: Match,
    /// The first moment of it.
    pub from: DateTime<Utc>,
    /// The first moment after it.
    pub to: DateTime<Utc>,
    /// Why, for people.
    pub reason: String,
    /// The line of the policy that says so.
    pub line: usize,
}

/// Whether runs may go on at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum WindowState {
    /// They may.
    Open,
    /// No window is open.
    Outside {
        /// In words.
        why: String,
        /// When one opens next; none where none does within a week of the end of any freeze.
        next: Option<DateTime<Utc>>,
    },
    /// There is a freeze.
    Frozen {
        /// In words.
        why: String,
        /// When it, and every freeze that joins it, is over.
        until: DateTime<Utc>,
    },
}

/// The days of the week as policies write them.
pub(super) const DAYS: [(&str, u8); 7] =
    [("mon", 0), ("tue", 1), ("wed", 2), ("thu", 3), ("fri", 4), ("sat", 5), ("sun", 6)];

fn number_of(day: Weekday) -> u8 {
    u8::try_from(day.num_days_from_monday()).expect("a week has seven days")
}

impl WindowRule {
    /// Whether a moment lies within: the first second does, the last does not.
    pub fn contains(&self, moment: DateTime<Utc>) -> bool {
        let local = moment.with_timezone(&self.zone);
        let second = chrono::Timelike::num_seconds_from_midnight(&local.time());
        let (from, to) = (u32::from(self.from) * 60, u32::from(self.to) * 60);
        let begins_today = self.days.contains(&number_of(local.weekday()));
        if self.from < self.to {
            return begins_today && (from..to).contains(&second);
        }
        let began_yesterday = self.days.contains(&number_of(local.weekday().pred()));
        (begins_today && second >= from) || (began_yesterday && second < to)
    }

    /// The moments at which it opens within eight days from this one, in order.
    fn openings(&self, after: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let local = after.with_timezone(&self.zone);
        let time = NaiveTime::from_num_seconds_from_midnight_opt(u32::from(self.from) * 60, 0);
        let Some(time) = time else { return Vec::new() };
        (0..=8)
            .filter_map(|days| local.date_naive().checked_add_days(Days::new(days)))
            .filter(|day| self.days.contains(&number_of(day.weekday())))
            .filter_map(|day| day.and_time(time).and_local_timezone(self.zone).single())
            .map(|opening| opening.with_timezone(&Utc))
            .filter(|opening| *opening >= after)
            .collect()
    }

    /// The window in words: `mon, tue 22:00 to 04:00 (+01:00)`.
    pub fn in_words(&self) -> String {
        let days: Vec<&str> =
            DAYS.iter().filter(|(_, number)| self.days.contains(number)).map(|(name, _)| *name).collect();
        let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let zone = if self.zone.local_minus_utc() == 0 { "UTC".to_owned() } else { self.zone.to_string() };
        format!("{} {} to {} ({zone})", days.join(", "), clock(self.from), clock(self.to))
    }
}

impl Freeze {
    /// Whether a moment lies within: the first second does, the last does not.
    pub fn contains(&self, moment: DateTime<Utc>) -> bool {
        (self.from..self.to).contains(&moment)
    }
}

/// The windows and freezes of one policy.
#[derive(Debug, Clone, Copy)]
pub struct Calendar<'a> {
    /// What the policy is called.
    pub name: &'a str,
    /// Its windows.
    pub windows: &'a [WindowRule],
    /// Its freezes.
    pub freezes: &'a [Freeze],
}

/// Whether runs like this may go on at a moment, under all of these policies.
pub fn state(calendars: &[Calendar<'_>], subject: Subject<'_>, now: DateTime<Utc>) -> WindowState {
    let found = state_now(calendars, subject, now);
    match found {
        WindowState::Outside { why, next: _ } => {
            WindowState::Outside { why, next: next_opening(calendars, subject, now) }
        }
        WindowState::Open | WindowState::Frozen { .. } => found,
    }
}

fn freezes<'a>(calendars: &'a [Calendar<'_>], subject: Subject<'a>) -> impl Iterator<Item = (&'a str, &'a Freeze)> {
    calendars.iter().flat_map(move |calendar| {
        calendar.freezes.iter().filter(move |freeze| freeze.subject.fits(subject)).map(|freeze| (calendar.name, freeze))
    })
}

fn state_now(calendars: &[Calendar<'_>], subject: Subject<'_>, now: DateTime<Utc>) -> WindowState {
    if let Some((policy, freeze)) = freezes(calendars, subject).find(|(_, freeze)| freeze.contains(now)) {
        let mut until = now;
        while let Some(end) =
            freezes(calendars, subject).filter(|(_, freeze)| freeze.contains(until)).map(|(_, freeze)| freeze.to).max()
        {
            until = end;
        }
        let why =
            format!("there is a freeze until {}: {} ({policy} line {})", show(freeze.to), freeze.reason, freeze.line);
        return WindowState::Frozen { why, until };
    }
    for calendar in calendars {
        let rules: Vec<&WindowRule> = calendar.windows.iter().filter(|rule| rule.subject.fits(subject)).collect();
        if !rules.is_empty() && !rules.iter().any(|rule| rule.contains(now)) {
            let windows: Vec<String> =
                rules.iter().map(|rule| format!("{} (line {})", rule.in_words(), rule.line)).collect();
            let why =
                format!("{} is outside the change window of {}: {}", show(now), calendar.name, windows.join(", or "));
            return WindowState::Outside { why, next: None };
        }
    }
    WindowState::Open
}

/// The first moment from now on at which runs may go on: one at which a window opens, or a freeze ends.
fn next_opening(calendars: &[Calendar<'_>], subject: Subject<'_>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let mut starts: BTreeSet<DateTime<Utc>> =
        freezes(calendars, subject).map(|(_, freeze)| freeze.to).filter(|end| *end > now).collect();
    starts.insert(now);
    let rules = || calendars.iter().flat_map(|calendar| calendar.windows).filter(|rule| rule.subject.fits(subject));
    let openings: Vec<DateTime<Utc>> =
        starts.iter().flat_map(|start| rules().flat_map(|rule| rule.openings(*start))).collect();
    starts.extend(openings);
    starts.into_iter().find(|moment| state_now(calendars, subject, *moment) == WindowState::Open)
}
