//! A run as a picture, to scale: where on a line of this width each moment stands, and which bars and marks there are, never more than can
//! be told apart. Where nothing carried the run out, the line is folded and says so. What draws it, and in what, is another matter. Pure.

use std::collections::BTreeSet;

use crate::report::account::{Account, Span, SpanKind, StepAccount, Tone, fates};
use crate::report::waits::moment;

/// The most lanes for steps; where there are more steps, some share one.
pub const MOST_LANES: usize = 60;
/// The most lanes for held facts.
pub const MOST_HOLDS: usize = 24;
/// More bars than this are drawn as cells, which are as wide as [`CELL`].
const MOST_BARS: usize = 1500;
/// How wide a cell is, in parts of the width.
const CELL: f64 = 3.0;
/// What a stretch of time takes at least, besides what is to scale.
const LEAST: f64 = 6.0;
/// How wide a fold is where there is room.
const FOLD: f64 = 44.0;

/// From moments to places on a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    pieces: Vec<Piece>,
    width: f64,
}

/// A stretch of time on the line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece {
    /// From when, in microseconds since the first entry.
    pub from: u64,
    /// Until when.
    pub until: u64,
    /// Where it begins.
    pub left: f64,
    /// Where it ends.
    pub right: f64,
    /// Whether it is to scale.
    pub drawn: Drawn,
}

/// How a stretch of time is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawn {
    /// To the scale of all that are.
    ToScale,
    /// As a fold: nothing carried the run out.
    Folded,
}

/// A mark on the axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Where.
    pub x: f64,
    /// What time it was.
    pub label: String,
}

impl Scale {
    /// For these stretches of time, in order, in each of which something carried the run out, up to this end.
    pub fn new(stretches: &[(u64, u64)], end: u64, width: f64) -> Self {
        let mut parts: Vec<(u64, u64, Drawn)> = Vec::new();
        let mut reached = 0;
        for (from, until) in stretches {
            let (from, until) = ((*from).max(reached), (*until).max(reached));
            if from > reached {
                parts.push((reached, from, Drawn::Folded));
            }
            parts.push((from, until.max(from), Drawn::ToScale));
            reached = until.max(from);
        }
        if end > reached || parts.is_empty() {
            let drawn = if parts.is_empty() { Drawn::ToScale } else { Drawn::Folded };
            parts.push((reached, end.max(reached), drawn));
        }
        let all: u64 = parts.iter().filter(|part| part.2 == Drawn::ToScale).map(|part| part.1 - part.0).sum();
        // Standing still for a moment is no reason for a fold.
        for part in &mut parts {
            if part.2 == Drawn::Folded && part.1 - part.0 <= all / 20 {
                part.2 = Drawn::ToScale;
            }
        }
        let of = |drawn: Drawn| parts.iter().filter(move |part| part.2 == drawn);
        let all: u64 = of(Drawn::ToScale).map(|part| part.1 - part.0).sum();
        let (stretches, folds) = (of(Drawn::ToScale).count() as f64, of(Drawn::Folded).count() as f64);
        // However many there are, more than half of the width is to scale.
        let fold = FOLD.min(width * 0.3 / folds.max(1.0));
        let least = LEAST.min(width * 0.2 / stretches.max(1.0));
        let to_scale = width - folds * fold - stretches * least;
        let mut x = 0.0;
        let pieces = parts.iter().map(|(from, until, drawn)| {
            let left = x;
            x += match drawn {
                Drawn::Folded => fold,
                Drawn::ToScale if all == 0 => least + to_scale / stretches,
                Drawn::ToScale => least + to_scale * ((until - from) as f64 / all as f64),
            };
            Piece { from: *from, until: *until, left, right: x, drawn: *drawn }
        });
        Self { pieces: pieces.collect(), width }
    }

    /// Where a moment stands. Never outside of the line, and a later one never before an earlier.
    pub fn x(&self, at: u64) -> f64 {
        let reached = self.pieces.partition_point(|piece| piece.until < at);
        let Some(mut piece) = self.pieces.get(reached) else { return self.width };
        // The end of a fold is the beginning of what is to scale again.
        if piece.drawn == Drawn::Folded && at == piece.until {
            piece = self.pieces.get(reached + 1).unwrap_or(piece);
        }
        let (left, right) = match piece.drawn {
            Drawn::Folded => (piece.left, piece.right),
            // What is at its edges is seen to be inside.
            Drawn::ToScale => {
                let edge = (LEAST / 2.0).min((piece.right - piece.left) / 4.0);
                (piece.left + edge, piece.right - edge)
            }
        };
        let length = piece.until.saturating_sub(piece.from);
        if length == 0 {
            return (left + right) / 2.0;
        }
        left + (right - left) * (at.saturating_sub(piece.from) as f64 / length as f64)
    }

    /// How wide the line is.
    pub fn width(&self) -> f64 {
        self.width
    }

    /// The stretches of time in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Marks at round times of day, `apart` from each other at least. `wall` gives the time of day of a moment, in microseconds since 1970.
    pub fn ticks(&self, apart: f64, wall: impl Fn(u64) -> i64) -> Vec<Tick> {
        let mut ticks: Vec<Tick> = Vec::new();
        for piece in self.pieces.iter().filter(|piece| piece.drawn == Drawn::ToScale && piece.until > piece.from) {
            let length = (piece.until - piece.from) as f64;
            let room = (piece.right - piece.left) / apart;
            let Some((every, form)) = STEPS.iter().find(|(every, _)| length / (*every as f64) <= room) else {
                continue;
            };
            let begin = wall(piece.from);
            let mut next = begin.div_euclid(*every).saturating_add(1).saturating_mul(*every);
            // No more than there is room for, whatever the clocks say.
            for _ in 0..(room as usize) {
                let at = piece.from.saturating_add(u64::try_from(next - begin).unwrap_or_default());
                if at > piece.until {
                    break;
                }
                let x = self.x(at);
                if ticks.last().is_none_or(|last| x - last.x >= apart) {
                    ticks.push(Tick { x, label: moment(next, form) });
                }
                next += every;
            }
        }
        ticks
    }
}

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// How far apart marks may stand, and how they are written.
const STEPS: [(i64, &str); 29] = [
    (1000, "%S%.3f"),
    (2000, "%S%.3f"),
    (5000, "%S%.3f"),
    (10_000, "%S%.3f"),
    (20_000, "%S%.3f"),
    (50_000, "%S%.3f"),
    (100_000, "%H:%M:%S%.3f"),
    (200_000, "%H:%M:%S%.3f"),
    (500_000, "%H:%M:%S%.3f"),
    (SECOND, "%H:%M:%S"),
    (2 * SECOND, "%H:%M:%S"),
    (5 * SECOND, "%H:%M:%S"),
    (10 * SECOND, "%H:%M:%S"),
    (15 * SECOND, "%H:%M:%S"),
    (30 * SECOND, "%H:%M:%S"),
    (MINUTE, "%H:%M"),
    (2 * MINUTE, "%H:%M"),
    (5 * MINUTE, "%H:%M"),
    (10 * MINUTE, "%H:%M"),
    (15 * MINUTE, "%H:%M"),
    (30 * MINUTE, "%H:%M"),
    (HOUR, "%H:%M"),
    (2 * HOUR, "%H:%M"),
    (6 * HOUR, "%d %b %H:%M"),
    (12 * HOUR, "%d %b %H:%M"),
    (DAY, "%d %b"),
    (7 * DAY, "%d %b"),
    (30 * DAY, "%d %b"),
    (365 * DAY, "%Y"),
];

/// A bar of a lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar<K> {
    /// Where it begins.
    pub left: f64,
    /// Where it ends.
    pub right: f64,
    /// What it is.
    pub kind: K,
}

/// The lane of a step, or of several.
#[derive(Debug, Clone, PartialEq)]
pub struct Lane {
    /// The indices of the first and of the last step.
    pub steps: (usize, usize),
    /// What it is called.
    pub label: String,
    /// What became of the step that came off worst.
    pub tone: Tone,
    /// In words: what became of it, and how long it took.
    pub words: String,
    /// Its bars, from left to right; later ones may lie over earlier ones.
    pub bars: Vec<Bar<SpanKind>>,
    /// Where a deviation was made.
    pub departures: Vec<f64>,
}

/// The lane of a held fact.
#[derive(Debug, Clone, PartialEq)]
pub struct HoldLane {
    /// The fact.
    pub label: String,
    /// When it was held.
    pub bars: Vec<Bar<()>>,
    /// Where it broke.
    pub breaks: Vec<f64>,
}

/// Everything that is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// The line.
    pub scale: Scale,
    /// Times of day.
    pub ticks: Vec<Tick>,
    /// The facts that were held.
    pub holds: Vec<HoldLane>,
    /// How many more facts were held, for which there is no lane.
    pub more_holds: usize,
    /// The steps.
    pub lanes: Vec<Lane>,
    /// Where a held fact broke, each place once.
    pub breaks: Vec<f64>,
}

/// The picture of a run, this wide, with the times of day `apart` at least.
pub fn picture(account: &Account, width: f64, apart: f64) -> Picture {
    let stretches: Vec<(u64, u64)> =
        account.sittings.iter().map(|sitting| (sitting.from.at, sitting.until.at)).collect();
    let end = account.end.map_or(0, |stamp| stamp.at);
    let scale = Scale::new(&stretches, end, width);
    // By the clock on the wall as it was when that sitting began.
    let wall = |at: u64| {
        let sitting = account.sittings.iter().rev().find(|sitting| sitting.from.at <= at);
        let from = sitting.map(|sitting| sitting.from).unwrap_or_default();
        from.wall.saturating_add(i64::try_from(at.saturating_sub(from.at)).unwrap_or(i64::MAX))
    };
    let ticks = scale.ticks(apart, wall);
    let bars: usize = account.steps.iter().map(|step| step.spans.len()).sum();
    let coarse = bars > MOST_BARS;
    let together = account.steps.len().div_ceil(MOST_LANES).max(1);
    let lanes = account
        .steps
        .chunks(together)
        .enumerate()
        .map(|(at, steps)| lane(account, &scale, at * together, steps, coarse))
        .collect();
    let mut held: Vec<usize> = (0..account.holds.len()).collect();
    // Those that broke are never the ones without a lane.
    held.sort_by_key(|at| (account.holds[*at].breaks.is_empty(), *at));
    let more_holds = held.len().saturating_sub(MOST_HOLDS);
    held.truncate(MOST_HOLDS);
    held.sort_by_key(|at| account.holds[*at].spans.first().map_or(u64::MAX, |(from, _)| *from));
    let holds = held.iter().map(|at| {
        let hold = &account.holds[*at];
        let bars = hold.spans.iter().map(|(from, until)| (scale.x(*from), scale.x(*until), ()));
        HoldLane {
            label: hold.fact.to_string(),
            bars: distinct(bars.collect(), &scale, hold.spans.len() > MOST_BARS / MOST_HOLDS),
            breaks: places(hold.breaks.iter().map(|at| scale.x(*at))),
        }
    });
    let holds = holds.collect();
    let breaks = places(account.holds.iter().flat_map(|hold| &hold.breaks).map(|at| scale.x(*at)));
    Picture { scale, ticks, holds, more_holds, lanes, breaks }
}

fn lane(account: &Account, scale: &Scale, first: usize, steps: &[StepAccount], coarse: bool) -> Lane {
    let mut spans: Vec<Span> = steps.iter().flat_map(|step| &step.spans).copied().collect();
    // What is worse is drawn later, and so is seen.
    spans.sort_by_key(|span| (span.kind, span.from));
    let bars = spans.iter().map(|span| (scale.x(span.from), scale.x(span.until), span.kind)).collect();
    let worst = steps.iter().max_by_key(|step| match step.tone() {
        Tone::Plain => 0,
        Tone::Good => 1,
        Tone::Warning => 2,
        Tone::Bad => 3,
    });
    let of_these = |id: Option<&crate::id::StepId>| id.is_some_and(|id| steps.iter().any(|step| step.id == *id));
    let departures = account.made().filter(|made| of_these(made.given.deviation.step()));
    let label = match steps {
        [one] => one.id.to_string(),
        [from, .., to] => format!("{} … {}", from.id, to.id),
        [] => String::new(),
    };
    let words = match steps {
        [one] => one.fate_in_words(),
        several => fates(several),
    };
    Lane {
        steps: (first, first + steps.len().saturating_sub(1)),
        label,
        tone: worst.map_or(Tone::Plain, StepAccount::tone),
        words,
        bars: distinct(bars, scale, coarse),
        departures: places(departures.filter_map(|made| made.used).map(|stamp| scale.x(stamp.at))),
    }
}

/// Bars that can be told apart: each as it is or, where there are too many, as runs of cells, of which each shows the last of the bars on it.
fn distinct<K: Copy + PartialEq>(bars: Vec<(f64, f64, K)>, scale: &Scale, coarse: bool) -> Vec<Bar<K>> {
    if !coarse {
        return bars.into_iter().map(|(left, right, kind)| Bar { left, right, kind }).collect();
    }
    let count = (scale.width() / CELL).ceil() as usize;
    let mut cells: Vec<Option<K>> = vec![None; count];
    for (left, right, kind) in bars {
        let first = ((left / CELL) as usize).min(count.saturating_sub(1));
        let last = ((right / CELL) as usize).min(count.saturating_sub(1));
        for cell in &mut cells[first..=last.max(first)] {
            *cell = Some(kind);
        }
    }
    let mut runs: Vec<Bar<K>> = Vec::new();
    for (at, kind) in cells.iter().enumerate().filter_map(|(at, kind)| kind.map(|kind| (at, kind))) {
        let left = at as f64 * CELL;
        match runs.last_mut() {
            Some(run) if run.kind == kind && run.right == left => run.right = left + CELL,
            Some(_) | None => runs.push(Bar { left, right: left + CELL, kind }),
        }
    }
    runs
}

/// Places that can be told apart.
fn places(all: impl Iterator<Item = f64>) -> Vec<f64> {
    let cells: BTreeSet<u64> = all.map(|x| x.max(0.0).round() as u64).collect();
    cells.into_iter().map(|cell| cell as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::{Bar, CELL, Drawn, Scale, distinct, places};

    const SECOND: u64 = 1_000_000;

    #[test]
    fn twice_the_time_is_twice_the_width() {
        let scale = Scale::new(&[(0, 100 * SECOND)], 100 * SECOND, 1000.0);
        let length = |from: u64, until: u64| scale.x(until * SECOND) - scale.x(from * SECOND);
        assert!((length(0, 50) - length(50, 100)).abs() < 0.001);
        assert!((length(10, 30) - 2.0 * length(70, 80)).abs() < 0.001);
        assert!(length(0, 100) > 990.0);
    }

    #[test]
    fn a_night_in_which_nothing_ran_is_folded_and_all_else_keeps_one_scale() {
        let night = 36_000 * SECOND;
        let scale = Scale::new(&[(0, 60 * SECOND), (night, night + 30 * SECOND)], night + 30 * SECOND, 1000.0);
        let [first, fold, second] = scale.pieces() else { panic!("{:?}", scale.pieces()) };
        assert_eq!((first.drawn, fold.drawn, second.drawn), (Drawn::ToScale, Drawn::Folded, Drawn::ToScale));
        let minute = scale.x(60 * SECOND) - scale.x(0);
        let half = scale.x(night + 30 * SECOND) - scale.x(night + 1);
        assert!((minute - 2.0 * half).abs() < 0.01, "{minute} {half}");
        assert!(fold.right - fold.left < 50.0);
        // A moment in the fold stands in the fold.
        assert!(scale.x(night / 2) > fold.left && scale.x(night / 2) < fold.right);
    }

    #[test]
    fn a_moment_of_standing_still_is_no_fold() {
        let scale = Scale::new(&[(0, 60 * SECOND), (61 * SECOND, 120 * SECOND)], 120 * SECOND, 1000.0);
        assert!(scale.pieces().iter().all(|piece| piece.drawn == Drawn::ToScale));
    }

    #[test]
    fn ticks_are_round_times_of_day_and_keep_their_distance() {
        let scale = Scale::new(&[(0, 100 * SECOND)], 100 * SECOND, 1000.0);
        // 2026-11-22T04:02:11.5Z
        let wall = |at: u64| 1_795_320_131_500_000 + i64::try_from(at).unwrap();
        let ticks = scale.ticks(90.0, wall);
        let labels: Vec<&str> = ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels[..3], ["04:02:20", "04:02:30", "04:02:40"], "{labels:?}");
        assert!(ticks.windows(2).all(|pair| pair[1].x - pair[0].x >= 90.0));
    }

    #[test]
    fn however_many_bars_there_are_few_are_drawn_and_the_worst_are_seen() {
        let scale = Scale::new(&[(0, SECOND)], SECOND, 900.0);
        let mut bars: Vec<(f64, f64, u8)> =
            (0..100_000_u32).map(|at| (f64::from(at) * 0.009, f64::from(at) * 0.009, 0)).collect();
        bars.push((450.0, 450.0, 1));
        let drawn = distinct(bars, &scale, true);
        assert_eq!(drawn.len(), 3);
        assert_eq!(drawn[1], Bar { left: 450.0, right: 450.0 + CELL, kind: 1 });
        assert_eq!(places((0..100_000_u32).map(|at| f64::from(at) / 100_000.0)), [0.0, 1.0]);
    }

    proptest::proptest! {
        #[test]
        fn a_later_moment_never_stands_before_an_earlier_one(
            lengths in proptest::collection::vec(0_u64..1_000_000_000_000, 1..40),
            moments in proptest::collection::vec(0_u64..41_000_000_000_000, 2..40),
        ) {
            // Every other stretch is one in which nothing ran.
            let mut at = 0;
            let mut stretches = Vec::new();
            for (number, length) in lengths.iter().enumerate() {
                if number % 2 == 0 {
                    stretches.push((at, at + length));
                }
                at += length;
            }
            let scale = Scale::new(&stretches, at, 1000.0);
            let mut moments = moments;
            moments.sort_unstable();
            let places: Vec<f64> = moments.iter().map(|moment| scale.x(*moment)).collect();
            proptest::prop_assert!(places.windows(2).all(|pair| pair[0] <= pair[1] + 1e-9), "{places:?}");
            proptest::prop_assert!(places.iter().all(|x| (0.0..=1000.1).contains(x)), "{places:?}");
        }
    }
}
