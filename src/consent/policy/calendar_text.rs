//! The windows and freezes of a policy, read.

use std::collections::BTreeSet;

use chrono::{DateTime, FixedOffset, Utc};

use super::read::{Reader, subject};
use crate::consent::calendar::{DAYS, Freeze, WindowRule};
use crate::consent::code;
use crate::diagnostic::{Diagnostic, Span, quoted};
use crate::yaml::code::TWICE;
use crate::yaml::read::{Fields, Keys};
use crate::yaml::tree::Node;

const WINDOW: Keys = Keys { of: "a rule of `windows`", known: &["match", "days", "from", "to", "zone"], later: &[] };
const FREEZE: Keys = Keys { of: "a rule of `freezes`", known: &["match", "from", "to", "reason"], later: &[] };

pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>) -> (Vec<WindowRule>, Vec<Freeze>) {
    let mut windows = Vec::new();
    let list = fields.get("windows").and_then(|node| reader.list(node, "a list of rules")).unwrap_or_default();
    for item in list {
        windows.extend(window(reader, item));
    }
    let mut freezes = Vec::new();
    let list = fields.get("freezes").and_then(|node| reader.list(node, "a list of rules")).unwrap_or_default();
    for item in list {
        freezes.extend(freeze(reader, item));
    }
    (windows, freezes)
}

fn window(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<WindowRule> {
    let fields = reader.fields(item, &WINDOW)?;
    let subject = subject(reader, &fields);
    let days = match fields.get("days") {
        None => DAYS.iter().map(|(_, number)| *number).collect(),
        Some(node) => days(reader, node),
    };
    let from = reader
        .required(&fields, "from", WINDOW.of)
        .and_then(|node| reader.parsed(node, "a time of day from 00:00 to 23:59", |text| clock(text, 23 * 60 + 59)));
    let to = reader
        .required(&fields, "to", WINDOW.of)
        .and_then(|node| reader.parsed(node, "a time of day from 00:00 to 24:00", |text| clock(text, 24 * 60)));
    let zone = reader
        .required(&fields, "zone", WINDOW.of)
        .and_then(|node| reader.parsed(node, "`UTC`, or an offset such as `+01:00`", zone));
    let (from, to) = (from?, to?);
    if from == to {
        let span = fields.get("to").map_or(item.span, |node| node.span);
        let diagnostic = Diagnostic::error(code::RULE, "the window is over when it begins").at(span, "the same time");
        reader.report(diagnostic.help("for a whole day write `from: \"00:00\", to: \"24:00\"`"));
        return None;
    }
    let (line, _) = reader.source.position(item.span.start);
    Some(WindowRule { subject, days, from, to, zone: zone?, line })
}

fn days(reader: &mut Reader<'_>, node: &Node<'_>) -> BTreeSet<u8> {
    let mut found: Vec<(u8, Span)> = Vec::new();
    for item in reader.list(node, "a list of days, such as `[mon, tue]`").unwrap_or_default() {
        let Some(day) = reader.choice(item, &DAYS) else { continue };
        if let Some((_, first)) = found.iter().find(|(other, _)| *other == day) {
            let diagnostic = Diagnostic::error(TWICE, "the day stands in the list twice");
            reader.report(diagnostic.at(item.span, "the second").related(*first, "the first"));
            continue;
        }
        found.push((day, item.span));
    }
    if found.is_empty() && !reader.problems.has_errors() {
        reader.wrong_value(node.span, "the window is on no day", "name days, or leave `days` out for every day");
    }
    found.into_iter().map(|(day, _)| day).collect()
}

/// Minutes from midnight.
fn clock(text: &str, most: u16) -> Result<u16, String> {
    let wrong = || format!("{} is not a time of day such as 22:00", quoted(text));
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    let (hours, minutes) = text.split_once(':').filter(|(h, m)| digits(h) && digits(m)).ok_or_else(wrong)?;
    let (hours, minutes): (u16, u16) = (hours.parse().map_err(|_| wrong())?, minutes.parse().map_err(|_| wrong())?);
    let total = hours * 60 + minutes;
    if minutes < 60 && total <= most { Ok(total) } else { Err(wrong()) }
}

fn zone(text: &str) -> Result<FixedOffset, String> {
    if text == "UTC" {
        return Ok(FixedOffset::east_opt(0).expect("no offset is an offset"));
    }
    let wrong = || {
        format!(
            "{} is neither `UTC` nor a fixed offset: a place's own time has hours that come twice or never",
            quoted(text)
        )
    };
    let (sign, rest) = match text.as_bytes().first() {
        Some(b'+') => (1, &text[1..]),
        Some(b'-') => (-1, &text[1..]),
        Some(_) | None => return Err(wrong()),
    };
    let minutes = clock(rest, 14 * 60).map_err(|_| wrong())?;
    FixedOffset::east_opt(sign * i32::from(minutes) * 60).ok_or_else(wrong)
}

fn freeze(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<Freeze> {
    let fields = reader.fields(item, &FREEZE)?;
    let subject = subject(reader, &fields);
    let mut moment_at = |key| {
        reader
            .required(&fields, key, FREEZE.of)
            .and_then(|node| reader.parsed(node, "a moment such as `2026-12-20T00:00:00Z`", moment))
    };
    let (from, to) = (moment_at("from"), moment_at("to"));
    let reason = reader.required(&fields, "reason", FREEZE.of).map(|node| reader.filled_text(node, "a reason"));
    let (from, to) = (from?, to?);
    if to <= from {
        let span = fields.get("to").map_or(item.span, |node| node.span);
        let diagnostic =
            Diagnostic::error(code::RULE, "the freeze is over before it begins").at(span, "not after `from`");
        reader.report(diagnostic.help("exchange them, or mend the dates"));
        return None;
    }
    let (line, _) = reader.source.position(item.span.start);
    Some(Freeze { subject, from, to, reason: reason?, line })
}

fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text).map(|moment| moment.with_timezone(&Utc)).map_err(|_| {
        format!("{} is not a moment with its offset, such as 2026-12-20T00:00:00Z (RFC 3339)", quoted(text))
    })
}
