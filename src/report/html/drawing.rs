//! The timeline as a drawing. Shapes have classes and attributes, never styles of their own, and each kind differs from the others by more
//! than its colour.

use std::collections::BTreeSet;

use super::markup::{Markup, Value};
use super::{class, tone_class};
use crate::report::account::{Account, Fate, SpanKind, StepAccount, many};
use crate::report::story::exact;
use crate::report::timeline::{Bar, Drawn, Lane, Picture};
use crate::report::waits::moment;

/// How wide the line of time is.
pub(super) const WIDTH: f64 = 800.0;
/// What stands left of it: the names.
const NAMES: f64 = 214.0;
/// What stands right of it.
const MARGIN: f64 = 16.0;
/// How high a lane of a fact is.
const HOLD: f64 = 20.0;
/// The most characters of a name.
const LONGEST: usize = 27;

/// Where things stand, from the top.
struct Layout {
    /// The lines of the grid begin here.
    top: f64,
    /// The first lane of a fact.
    holds: f64,
    /// The first lane of a step.
    steps: f64,
    /// How high a lane of a step is.
    lane: f64,
    /// Where it all ends.
    bottom: f64,
}

/// Draws a run.
pub(super) fn draw(page: &mut Markup, account: &Account, picture: &Picture) {
    let lane = if picture.lanes.len() > 30 { 18.0 } else { 24.0 };
    let top = 40.0;
    let holds = top + if picture.holds.is_empty() { 0.0 } else { 22.0 };
    let steps = holds + picture.holds.len() as f64 * HOLD + 26.0;
    let bottom = steps + picture.lanes.len() as f64 * lane + 8.0;
    let layout = Layout { top, holds, steps, lane, bottom };
    page.element("figure", &[("aria-label", Value::Fixed("Timeline, drawn to scale"))], |page| {
        let scroll = [
            class("scroll"),
            ("tabindex", Value::Fixed("0")),
            ("role", Value::Fixed("region")),
            ("aria-label", Value::Fixed("Drawing of the timeline, can be scrolled")),
        ];
        page.element("div", &scroll, |page| {
            let view = format!("0 0 {} {}", NAMES + WIDTH + MARGIN, bottom.ceil());
            let drawing = [
                ("viewBox", Value::Text(&view)),
                ("role", Value::Fixed("group")),
                ("aria-labelledby", Value::Fixed("drawing-title drawing-text")),
            ];
            page.element("svg", &drawing, |page| {
                page.leaf("title", &[("id", Value::Fixed("drawing-title"))], "Timeline of the run");
                page.leaf("desc", &[("id", Value::Fixed("drawing-text"))], &in_words(account, picture));
                patterns(page);
                page.element("g", &[("aria-hidden", Value::Fixed("true"))], |page| ground(page, picture, &layout));
                facts(page, picture, &layout);
                lanes(page, account, picture, &layout);
                page.element("g", &[("aria-hidden", Value::Fixed("true"))], |page| {
                    for x in &picture.breaks {
                        line(page, "break", (NAMES + x, layout.top), (NAMES + x, layout.bottom));
                    }
                });
            });
        });
        page.element("figcaption", &[], |page| legend(page, account, picture));
    });
}

/// What is drawn, for those who do not see it.
fn in_words(account: &Account, picture: &Picture) -> String {
    let broke = account.holds.iter().filter(|hold| !hold.breaks.is_empty());
    let broke: Vec<String> = broke.take(10).map(|hold| hold.fact.to_string()).collect();
    let broke = if broke.is_empty() { String::new() } else { format!(" Broken: {}.", broke.join(", ")) };
    format!(
        "From left to right the time from the first entry to the last, {}. From top to bottom {}, then {}.{broke} The same is told in words \
         below.",
        exact(account.times().all),
        many(picture.holds.len(), "held fact"),
        many(account.steps.len(), "step"),
    )
}

fn number(name: &'static str, value: f64) -> (&'static str, Value<'static>) {
    (name, Value::Number(value))
}

fn line(page: &mut Markup, kind: &'static str, from: (f64, f64), to: (f64, f64)) {
    page.single(
        "line",
        &[class(kind), number("x1", from.0), number("y1", from.1), number("x2", to.0), number("y2", to.1)],
    );
}

fn rect(page: &mut Markup, kind: &'static str, place: (f64, f64), size: (f64, f64)) {
    page.single(
        "rect",
        &[class(kind), number("x", place.0), number("y", place.1), number("width", size.0), number("height", size.1)],
    );
}

/// The middle, the beginning or the end of a text stands at its place.
fn text(page: &mut Markup, kind: &'static str, anchor: &'static str, place: (f64, f64), text: &str) {
    let attributes = [class(kind), ("text-anchor", Value::Fixed(anchor)), number("x", place.0), number("y", place.1)];
    page.leaf("text", &attributes, text);
}

fn patterns(page: &mut Markup) {
    page.element("defs", &[], |page| {
        let pattern =
            |page: &mut Markup, id: &'static str, ground: &'static str, stroke: &'static str, turn: &'static str| {
                let attributes = [
                    ("id", Value::Fixed(id)),
                    number("width", 6.0),
                    number("height", 6.0),
                    ("patternUnits", Value::Fixed("userSpaceOnUse")),
                    ("patternTransform", Value::Fixed(turn)),
                ];
                page.element("pattern", &attributes, |page| {
                    rect(page, ground, (0.0, 0.0), (6.0, 6.0));
                    rect(page, stroke, (0.0, 0.0), (2.0, 6.0));
                });
            };
        pattern(page, "facts", "facts-ground", "facts-stroke", "rotate(45)");
        pattern(page, "person", "person-ground", "person-stroke", "rotate(-45)");
        pattern(page, "undo", "undo-ground", "undo-stroke", "rotate(0)");
        pattern(page, "fold", "fold-ground", "fold-stroke", "rotate(30)");
    });
}

/// The axis, the grid and the folds.
fn ground(page: &mut Markup, picture: &Picture, layout: &Layout) {
    line(page, "axis", (NAMES, layout.top), (NAMES + WIDTH, layout.top));
    for tick in &picture.ticks {
        let x = NAMES + tick.x;
        line(page, "grid", (x, layout.top - 4.0), (x, layout.bottom));
        text(page, "tick", "middle", (x, layout.top - 8.0), &tick.label);
    }
    let mut written = f64::MIN;
    for piece in picture.scale.pieces().iter().filter(|piece| piece.drawn == Drawn::Folded) {
        let (x, wide) = (NAMES + piece.left, piece.right - piece.left);
        rect(page, "fold", (x, layout.top), (wide, layout.bottom - layout.top));
        let middle = x + wide / 2.0;
        // Names of folds that would lie over each other help nobody.
        if middle - written > 54.0 {
            text(page, "fold-name", "middle", (middle, layout.top - 24.0), &rough(piece.until - piece.from));
            written = middle;
        }
    }
}

fn facts(page: &mut Markup, picture: &Picture, layout: &Layout) {
    if picture.holds.is_empty() {
        return;
    }
    text(page, "heading", "start", (0.0, layout.holds - 6.0), "Held facts");
    for (at, hold) in picture.holds.iter().enumerate() {
        let y = layout.holds + at as f64 * HOLD;
        page.element("g", &[], |page| {
            page.leaf("title", &[], &format!("{}: {}", hold.label, held_in_words(hold.breaks.len())));
            line(page, "lane", (0.0, y + HOLD), (NAMES + WIDTH, y + HOLD));
            let kind = if hold.breaks.is_empty() { "name" } else { "name bad" };
            text(page, kind, "start", (0.0, y + 14.0), &short(&hold.label, LONGEST));
            for bar in &hold.bars {
                rect(page, "hold", (NAMES + bar.left, y + 6.0), (width_of(bar), 8.0));
            }
            for x in &hold.breaks {
                let (x, y) = (NAMES + x, y + 10.0);
                line(page, "cross", (x - 5.0, y - 5.0), (x + 5.0, y + 5.0));
                line(page, "cross", (x - 5.0, y + 5.0), (x + 5.0, y - 5.0));
            }
        });
    }
}

fn held_in_words(breaks: usize) -> String {
    match breaks {
        0 => "held".to_owned(),
        count => format!("broke {count} times").replace("1 times", "once"),
    }
}

fn width_of<K>(bar: &Bar<K>) -> f64 {
    // What took no time that could be drawn is still seen.
    (bar.right - bar.left).max(2.0)
}

fn lanes(page: &mut Markup, account: &Account, picture: &Picture, layout: &Layout) {
    text(page, "heading", "start", (0.0, layout.steps - 6.0), "Steps");
    for (at, lane) in picture.lanes.iter().enumerate() {
        let y = layout.steps + at as f64 * layout.lane;
        let middle = y + layout.lane / 2.0;
        let (first, last) = lane.steps;
        let one = account.steps.get(first).filter(|_| first == last);
        let words = match one {
            Some(step) => format!("Step {}, {}: {}, {}", first + 1, lane.label, lane.words, exact(step.took())),
            None => format!("Steps {} to {}, {}: {}", first + 1, last + 1, lane.label, lane.words),
        };
        page.element("g", &[], |page| {
            page.leaf("title", &[], &words);
            line(page, "lane", (0.0, y + layout.lane), (NAMES + WIDTH, y + layout.lane));
            let link = [("href", Value::ToAnchor("step", first + 1)), ("aria-label", Value::Text(&words))];
            page.element("a", &link, |page| {
                let of = if first == last { format!("{}", first + 1) } else { format!("{}–{}", first + 1, last + 1) };
                // How far the number reaches, and how many letters fit behind it.
                let (wide, room) = if first == last { (20.0, LONGEST) } else { (66.0, LONGEST - 8) };
                text(page, "number", "end", (wide, middle + 4.0), &of);
                let name = if first == last { &lane.label } else { &lane.words };
                text(page, lane_name(tone_class(lane.tone)), "start", (wide + 8.0, middle + 4.0), &short(name, room));
            });
            for bar in &lane.bars {
                let (kind, high) = shape(bar.kind, layout.lane);
                rect(page, kind, (NAMES + bar.left, middle - high / 2.0), (width_of(bar), high));
            }
            for x in &lane.departures {
                diamond(page, NAMES + x, middle);
            }
            if let Some(step) = one {
                beside(page, lane, middle, &beside_words(step));
            }
        });
    }
}

fn lane_name(tone: &'static str) -> &'static str {
    match tone {
        "good" => "name good",
        "warning" => "name warning",
        "bad" => "name bad",
        _ => "name plain",
    }
}

fn shape(kind: SpanKind, lane: f64) -> (&'static str, f64) {
    let full = lane - 10.0;
    match kind {
        SpanKind::Pause => ("pause", 3.0),
        SpanKind::Facts => ("facts", full),
        SpanKind::Work => ("work", full),
        SpanKind::Undo => ("undo", full),
        SpanKind::Person => ("person", full),
        SpanKind::Bad => ("failed", full),
    }
}

/// What is written beside the bars of a step.
fn beside_words(step: &StepAccount) -> String {
    let took = if step.attempts() > 0 { rough(step.took()) } else { String::new() };
    let fate = match (step.fate, step.back) {
        (Fate::Done, None) => String::new(),
        _ => step.fate_in_words(),
    };
    match (took.is_empty(), fate.is_empty()) {
        (false, false) => format!("{fate}, {took}"),
        (true, _) => fate,
        (false, true) => took,
    }
}

fn beside(page: &mut Markup, lane: &Lane, middle: f64, words: &str) {
    let left = lane.bars.iter().map(|bar| bar.left).fold(f64::MAX, f64::min);
    let right = lane.bars.iter().map(|bar| bar.left + width_of(bar)).fold(f64::MIN, f64::max);
    let right = lane.departures.iter().map(|x| x + 8.0).fold(right, f64::max);
    let room = words.chars().count() as f64 * 6.6 + 12.0;
    let y = middle + 4.0;
    if right == f64::MIN {
        text(page, "beside", "start", (NAMES + 6.0, y), words);
    } else if WIDTH - right > room {
        text(page, "beside", "start", (NAMES + right + 6.0, y), words);
    } else if left > room {
        text(page, "beside", "end", (NAMES + left - 6.0, y), words);
    }
}

fn diamond(page: &mut Markup, x: f64, y: f64) {
    let points = format!("{x:.1},{:.1} {:.1},{y:.1} {x:.1},{:.1} {:.1},{y:.1}", y - 7.0, x + 7.0, y + 7.0, x - 7.0);
    page.single("polygon", &[class("departure"), ("points", Value::Text(&points))]);
}

/// A name, cut in its middle where it is too long.
fn short(name: &str, most: usize) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= most {
        return name.to_owned();
    }
    let (head, tail) = (most / 2, most - most / 2 - 1);
    format!("{}…{}", String::from_iter(&letters[..head]), String::from_iter(&letters[letters.len() - tail..]))
}

/// A length of time by its two largest parts.
pub(crate) fn rough(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        86_400.. => format!("{days}d {hours}h"),
        3600.. => format!("{hours}h {minutes}m"),
        60.. => format!("{minutes}m {}s", seconds % 60),
        1.. => format!("{seconds}.{} s", micros / 100_000 % 10),
        0 => format!("{} ms", micros.div_ceil(1000)),
    }
}

fn legend(page: &mut Markup, account: &Account, picture: &Picture) {
    let first = account.first.as_ref().map(|(stamp, _)| moment(stamp.wall, "%-d %B %Y")).unwrap_or_default();
    page.element("p", &[], |page| {
        page.text(&format!("Drawn to scale; times of day in UTC, from {first}. "));
        if picture.scale.pieces().iter().any(|piece| piece.drawn == Drawn::Folded) {
            page.text("The hatched bands are not to scale: for so long nobody carried the run out. ");
        }
        if picture.more_holds > 0 {
            page.text(&format!("{} more held facts have no lane. ", picture.more_holds));
        }
        if picture.lanes.iter().any(|lane| lane.steps.0 != lane.steps.1) {
            page.text("Several steps share a lane. ");
        }
    });
    let kinds: BTreeSet<SpanKind> = picture.lanes.iter().flat_map(|lane| &lane.bars).map(|bar| bar.kind).collect();
    page.element("ul", &[class("legend")], |page| {
        if !picture.holds.is_empty() {
            entry(page, "fact held", |page| rect(page, "hold", (1.0, 4.0), (22.0, 8.0)));
        }
        for kind in kinds {
            let (name, words) = match kind {
                SpanKind::Pause => ("pause", "pause before another attempt"),
                SpanKind::Facts => ("facts", "waits for what it ensures"),
                SpanKind::Work => ("work", "at work"),
                SpanKind::Undo => ("undo", "being taken back"),
                SpanKind::Person => ("person", "waits for a person"),
                SpanKind::Bad => ("failed", "at work, and did not end well"),
            };
            let (y, high) = if kind == SpanKind::Pause { (6.5, 3.0) } else { (2.0, 12.0) };
            entry(page, words, |page| rect(page, name, (1.0, y), (22.0, high)));
        }
        if !picture.breaks.is_empty() {
            entry(page, "a held fact broke", |page| {
                line(page, "cross", (7.0, 3.0), (17.0, 13.0));
                line(page, "cross", (7.0, 13.0), (17.0, 3.0));
            });
        }
        if picture.lanes.iter().any(|lane| !lane.departures.is_empty()) {
            entry(page, "deviation", |page| diamond(page, 12.0, 8.0));
        }
    });
}

fn entry(page: &mut Markup, words: &str, sign: impl FnOnce(&mut Markup)) {
    page.element("li", &[], |page| {
        let drawing = [
            ("viewBox", Value::Fixed("0 0 24 16")),
            number("width", 24.0),
            number("height", 16.0),
            ("aria-hidden", Value::Fixed("true")),
        ];
        page.element("svg", &drawing, sign);
        page.text(words);
    });
}
