//! Tells fast that no rule of a policy can match in some bytes, by looking at few of them. It may say that one could where none does, never the
//! other way round; the regular expressions themselves have the last word.
//!
//! Of each rule one of two things is looked for: a literal without which it never matches, such as the `@` of an address; or what stands at
//! certain places of each match, such as the digits among the thirteen with which it begins. Places are compared for many beginnings at
//! once, in loops that the compiler makes vector instructions of.

use regex::bytes::Regex;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

/// How many places at the beginning of a match are looked at.
const PLACES: usize = 24;
/// How many of them are compared one after the other, as long as some beginning is left.
const FIRST: usize = 12;
/// How many beginnings are compared at once.
const AT_ONCE: usize = 256;
/// How many steps it may take to find out what stands at them: a pattern may repeat repetitions.
const STEPS: usize = 20_000;
/// How many literals a rule may need one of.
const LITERALS: usize = 16;
/// How many more bytes it takes to look closely at one that may begin a match.
const CLOSER: f64 = 400.0;
/// What it costs to compare places, for each byte; literals are searched for much faster.
const COMPARING: f64 = 0.3;
/// Where more is to be looked at for each byte, the regular expression does better alone.
const DEAREST: f64 = 1.0;

/// What is looked for of all rules.
#[derive(Debug)]
pub(super) struct Sieve {
    /// None if there is a rule of which nothing can be looked for.
    looks: Option<Looks>,
}

#[derive(Debug)]
struct Looks {
    /// For each rule that needs one: the literals. Each by itself, because one of a single byte makes the search for others slow.
    literals: Vec<Regex>,
    windows: Vec<Window>,
}

/// What stands at the beginning of each match of a rule.
#[derive(Debug)]
struct Window {
    /// At each place, one of these.
    places: Vec<Bytes>,
    /// Those that are compared first: those at which most bytes cannot stand.
    first: Vec<Place>,
}

/// A place that is compared first, and bytes that may stand there: all that do, and perhaps a few more.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: usize,
    ranges: [Range; 2],
}

/// Bytes from `low` to `low + more`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    low: u8,
    more: u8,
}

/// A set of bytes.
type Bytes = [bool; 256];

/// What is looked for of one rule.
enum Look {
    Literals(Vec<Vec<u8>>),
    Window(Window),
}

impl Sieve {
    /// For these patterns, as the rules have them.
    pub(super) fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let looks: Option<Vec<Look>> = patterns.into_iter().map(look_for).collect();
        Self { looks: looks.and_then(Looks::new) }
    }

    /// Whether something in these bytes could match. No match begins in one line and ends in another.
    pub(super) fn may_match(&self, bytes: &[u8]) -> bool {
        self.looks.as_ref().is_none_or(|looks| {
            looks.literals.iter().any(|literals| literals.is_match(bytes))
                || looks.windows.iter().any(|window| window.is_in(bytes))
        })
    }
}

impl Looks {
    fn new(all: Vec<Look>) -> Option<Self> {
        let (mut literals, mut windows) = (Vec::new(), Vec::new());
        for look in all {
            match look {
                Look::Literals(ways) => {
                    let spelled = |way: &Vec<u8>| way.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
                    let pattern = format!("(?-u){}", ways.iter().map(spelled).collect::<Vec<_>>().join("|"));
                    literals.push(Regex::new(&pattern).ok()?);
                }
                Look::Window(window) => windows.push(window),
            }
        }
        Some(Self { literals, windows })
    }
}

impl Window {
    /// With how likely it is that any bytes look like the beginning of a match. None where nothing is known of it.
    fn new(places: &[Bytes]) -> Option<(Self, f64)> {
        let mut left: Vec<(Place, f64)> =
            places.iter().enumerate().filter_map(|(at, place)| Place::new(at, place)).collect();
        let mut first: Vec<Place> = Vec::new();
        let mut likely = 1.0;
        while first.len() < FIRST {
            // Of those that are alike, what is far from the others says most.
            let far = |place: &Place| first.iter().map(|other| other.at.abs_diff(place.at)).min().unwrap_or(0);
            let order =
                |(one, p): &(Place, f64), (other, q): &(Place, f64)| p.total_cmp(q).then(far(other).cmp(&far(one)));
            let Some((index, _)) = left.iter().enumerate().min_by(|(_, one), (_, other)| order(one, other)) else {
                break;
            };
            let (place, one) = left.swap_remove(index);
            likely *= one;
            first.push(place);
        }
        if first.is_empty() { None } else { Some((Self { places: places.to_vec(), first }, likely)) }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        let Some(last) = bytes.len().checked_sub(self.places.len()) else { return false };
        let mut may = [0_u8; AT_ONCE];
        for from in (0..=last).step_by(AT_ONCE) {
            let may = &mut may[..AT_ONCE.min(last + 1 - from)];
            may.fill(1);
            let still = |may: &[u8]| may.iter().fold(0, |all, one| all | one) != 0;
            let possible = self.first.iter().all(|place| {
                place.compare(&bytes[from + place.at..], may);
                still(may)
            });
            let begins =
                |at: usize| bytes[at..].iter().zip(&self.places).all(|(byte, place)| place[usize::from(*byte)]);
            if possible && may.iter().enumerate().any(|(at, may)| *may != 0 && begins(from + at)) {
                return true;
            }
        }
        false
    }
}

impl Place {
    /// With how likely it is that a byte may stand there.
    fn new(at: usize, bytes: &Bytes) -> Option<(Self, f64)> {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for byte in (0..256).filter(|byte| bytes[*byte]) {
            match ranges.last_mut() {
                Some((_, high)) if *high + 1 == byte => *high = byte,
                Some(_) | None => ranges.push((byte, byte)),
            }
        }
        while ranges.len() > 2 {
            let gap = |at: &usize| ranges[at + 1].0 - ranges[*at].1;
            let nearest = (0..ranges.len() - 1).min_by_key(gap)?;
            ranges[nearest].1 = ranges.remove(nearest + 1).1;
        }
        let likely = ranges.iter().flat_map(|(low, high)| *low..=*high).map(frequency).sum();
        let range = |(low, high): (usize, usize)| {
            Some(Range { low: u8::try_from(low).ok()?, more: u8::try_from(high - low).ok()? })
        };
        let (one, other) = (*ranges.first()?, *ranges.last()?);
        Some((Self { at, ranges: [range(one)?, range(other)?] }, likely))
    }

    /// Leaves only those beginnings that have such a byte at this place; `bytes` begins with that of the first of them.
    fn compare(&self, bytes: &[u8], may: &mut [u8]) {
        let [one, other] = self.ranges;
        if one == other {
            for (may, byte) in may.iter_mut().zip(bytes) {
                *may &= u8::from(byte.wrapping_sub(one.low) <= one.more);
            }
        } else {
            for (may, byte) in may.iter_mut().zip(bytes) {
                let is = u8::from(byte.wrapping_sub(one.low) <= one.more);
                *may &= is | u8::from(byte.wrapping_sub(other.low) <= other.more);
            }
        }
    }
}

/// The cheapest thing to look for of a rule; none if everything is dear.
fn look_for(pattern: &str) -> Option<Look> {
    let parsed = ParserBuilder::new().utf8(false).build().parse(pattern).ok()?;
    let literals = literals(&parsed);
    let for_literals =
        literals.as_ref().map(|all| all.iter().map(|literal| likelihood_of(literal)).sum::<f64>() * CLOSER);
    let window = window(&parsed);
    match (literals, for_literals, window) {
        (Some(literals), Some(cost), None) if cost < DEAREST => Some(Look::Literals(literals)),
        (Some(literals), Some(cost), Some((_, other))) if cost < DEAREST && cost <= other => {
            Some(Look::Literals(literals))
        }
        (_, _, Some((window, cost))) if cost < DEAREST => Some(Look::Window(window)),
        (_, _, _) => None,
    }
}

/// Literals of which every match has one; none if none are known. Of several that it needs, those that are met least.
fn literals(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    let found = match hir.kind() {
        HirKind::Literal(literal) => Some(vec![literal.0.to_vec()]),
        HirKind::Class(Class::Bytes(class)) => {
            let all: Vec<Vec<u8>> =
                class.ranges().iter().flat_map(|range| range.start()..=range.end()).map(|byte| vec![byte]).collect();
            Some(all)
        }
        HirKind::Class(Class::Unicode(_)) | HirKind::Empty | HirKind::Look(_) => None,
        HirKind::Repetition(repetition) if repetition.min > 0 => literals(&repetition.sub),
        HirKind::Repetition(_) => None,
        HirKind::Capture(capture) => literals(&capture.sub),
        HirKind::Concat(parts) => {
            let all = parts.iter().filter_map(literals);
            all.min_by(|one, other| likelihood_of_any(one).total_cmp(&likelihood_of_any(other)))
        }
        HirKind::Alternation(ways) => {
            ways.iter().map(literals).collect::<Option<Vec<_>>>().map(|all| all.into_iter().flatten().collect())
        }
    };
    found.filter(|all| (1..=LITERALS).contains(&all.len()))
}

/// What stands at the beginning of each match, with the cost of looking for it.
fn window(hir: &Hir) -> Option<(Window, f64)> {
    let length = hir.properties().minimum_len().unwrap_or(0).min(PLACES);
    let mut front = Front { places: vec![[false; 256]; PLACES], steps: STEPS };
    front.walk(hir, 1)?;
    let (window, likely) = Window::new(&front.places[..length])?;
    Some((window, COMPARING + likely * CLOSER))
}

/// What can stand at the first places of a match.
struct Front {
    places: Vec<Bytes>,
    steps: usize,
}

impl Front {
    /// Goes through a part of the pattern that may begin at the places whose bits are set, and gives those at which it may end. None if it
    /// takes too long.
    fn walk(&mut self, hir: &Hir, starts: u32) -> Option<u32> {
        self.steps = self.steps.checked_sub(1)?;
        let beyond = u32::MAX >> (32 - PLACES);
        if starts == 0 {
            return Some(0);
        }
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Some(starts),
            HirKind::Literal(literal) => {
                let mut at = starts;
                for byte in literal.0.iter().take(PLACES) {
                    self.allow(at, *byte..=*byte);
                    at = at << 1 & beyond;
                }
                Some(if literal.0.len() > PLACES { 0 } else { at })
            }
            HirKind::Class(Class::Bytes(class)) => {
                for range in class.ranges() {
                    self.allow(starts, range.start()..=range.end());
                }
                Some(starts << 1 & beyond)
            }
            // As many bytes as a character has, whatever they are.
            HirKind::Class(Class::Unicode(_)) => {
                let within = (0..4).fold(0, |within, by| within | starts << by) & beyond;
                self.allow(within, 0..=255);
                Some((within << 1) & beyond)
            }
            HirKind::Repetition(repetition) => {
                let (mut at, mut ends) = (starts, 0);
                let most = repetition.max.unwrap_or(u32::MAX);
                for count in 0.. {
                    if count >= repetition.min {
                        if at & !ends == 0 {
                            break;
                        }
                        ends |= at;
                    }
                    if count >= most || at == 0 {
                        break;
                    }
                    at = self.walk(&repetition.sub, at)?;
                }
                Some(ends)
            }
            HirKind::Capture(capture) => self.walk(&capture.sub, starts),
            HirKind::Concat(parts) => parts.iter().try_fold(starts, |at, part| self.walk(part, at)),
            HirKind::Alternation(ways) => ways.iter().try_fold(0, |ends, way| Some(ends | self.walk(way, starts)?)),
        }
    }

    fn allow(&mut self, at: u32, bytes: std::ops::RangeInclusive<u8>) {
        for (_, place) in self.places.iter_mut().enumerate().filter(|(place, _)| at >> place & 1 == 1) {
            for byte in bytes.clone() {
                place[usize::from(byte)] = true;
            }
        }
    }
}

fn likelihood_of_any(literals: &[Vec<u8>]) -> f64 {
    literals.iter().map(|literal| likelihood_of(literal)).sum()
}

fn likelihood_of(literal: &[u8]) -> f64 {
    literal.iter().map(|byte| frequency(usize::from(*byte))).product()
}

/// Roughly how many of the bytes of a log or of text are this one. It decides only about the cost.
fn frequency(byte: usize) -> f64 {
    match u8::try_from(byte).unwrap_or(u8::MAX) {
        b' ' => 0.13,
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 0.05,
        b'a'..=b'z' => 0.012,
        b'0'..=b'9' => 0.015,
        b'.' | b',' | b'-' | b':' | b'/' | b'=' | b'"' | b'_' | b'\n' => 0.01,
        b'A'..=b'Z' => 0.002,
        0x20..=0x7e => 0.001,
        _ => 0.0005,
    }
}

#[cfg(test)]
#[path = "sieve_tests.rs"]
mod tests;
