//! Which segments can be archived: the longest run of finished ones from the beginning that no unsettled run reaches into.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::ArchiveError;
use crate::audit::base::Base;
use crate::audit::read::{Reader, archived, read};
use crate::audit::{Home, names};
use crate::history::ledger::is_over;
use crate::history::state::{Phase, State};
use crate::id::{RunId, Timestamp};

/// What a person allows to be archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Only entries from before this moment, by what they say.
    pub before: Option<DateTime<Utc>>,
    /// So many finished segments stay at least, besides the one that is being written; one stays always.
    pub keep: usize,
}

/// What is to be archived.
#[derive(Debug)]
pub struct Chosen {
    /// The segments, by their first entries.
    pub(super) segments: Vec<u64>,
    /// The last entry in them.
    pub(super) last: u64,
    /// The runs that have an entry in them: all of them are over, or never began.
    pub(super) runs: Vec<RunId>,
    /// What was archived before.
    pub(super) base: Option<Base>,
    /// The end of the log as it was looked at.
    pub(super) end: Reader,
}

impl Chosen {
    /// The first entry that would be archived.
    pub fn first(&self) -> u64 {
        self.segments.first().copied().unwrap_or(1)
    }

    /// The last one.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How many segments these are.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// How many runs are whole in them.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }
}

/// A finished segment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    first: u64,
    last: u64,
    /// The time of its last entry.
    time: Timestamp,
}

/// A run, from its first entry to its last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Life {
    first: u64,
    last: u64,
    /// Why it cannot be archived yet; none if it can.
    unsettled: Option<&'static str>,
}

/// Chooses. Inside: why there is nothing that can be archived.
///
/// # Errors
/// The log cannot be read, or is damaged.
pub fn choose(home: &Home, limits: &Limits) -> Result<Result<Chosen, String>, ArchiveError> {
    let base = archived(home)?;
    let mut end = read(home)?;
    let mut segments: Vec<Segment> = Vec::new();
    let mut lives: HashMap<RunId, (Life, Option<Box<State>>)> = HashMap::new();
    for found in end.by_ref() {
        let found = found?;
        let entry = found.recorded.entry;
        match segments.last_mut().filter(|segment| names::segment(segment.first) == *found.segment) {
            Some(segment) => (segment.last, segment.time) = (entry.seq, entry.time),
            None => segments.push(Segment { first: entry.seq, last: entry.seq, time: entry.time }),
        }
        let Some(run) = entry.run else { continue };
        let new = || (Life { first: entry.seq, last: entry.seq, unsettled: None }, Some(Box::default()));
        let (life, state) = lives.entry(run).or_insert_with(new);
        life.last = entry.seq;
        let Some(known) = state else {
            return Err(ArchiveError::Wrong(format!("entry {} is of a run that was over before it", entry.seq)));
        };
        let applied = known.apply(&entry.event);
        applied.map_err(|why| ArchiveError::Wrong(format!("entry {} cannot have happened: {why}", entry.seq)))?;
        life.unsettled = unsettled(known);
        if is_over(known) {
            *state = (!known.to_review.is_empty()).then(|| Box::new(known.what_remains()));
        }
    }
    // The last one may still be written to.
    segments.pop();
    let of_runs = lives.iter().map(|(run, (life, _))| (run, life));
    let count = match cut(&segments, of_runs, limits) {
        Ok(count) => count,
        Err(why) => return Ok(Err(why)),
    };
    segments.truncate(count);
    let last = segments.last().map_or(0, |segment| segment.last);
    let mut runs: Vec<RunId> =
        lives.into_iter().filter(|(_, (life, _))| life.first <= last).map(|(run, _)| run).collect();
    runs.sort();
    let segments = segments.iter().map(|segment| segment.first).collect();
    Ok(Ok(Chosen { segments, last, runs, base, end }))
}

/// Why a run stays in the home. What never began cannot go on, so it can be archived.
fn unsettled(state: &State) -> Option<&'static str> {
    if !state.to_review.is_empty() {
        return Some("went on with the glass broken and is still to be reviewed");
    }
    (state.phase != Phase::New && !is_over(state)).then_some("is not over")
}

/// How many of the finished segments can be archived, one at least; or why none can.
fn cut<'a>(
    segments: &[Segment],
    runs: impl Iterator<Item = (&'a RunId, &'a Life)>,
    limits: &Limits,
) -> Result<usize, String> {
    let stays = limits.keep.max(1);
    let allowed = segments.len().saturating_sub(stays);
    if allowed == 0 {
        return Err(format!(
            "the log has {} finished segments that are not archived, and {stays} stay at least, besides the one that is being written",
            segments.len()
        ));
    }
    let is_before = |segment: &&Segment| match (limits.before, DateTime::parse_from_rfc3339(segment.time.as_str())) {
        (None, _) => true,
        (Some(before), Ok(time)) => time < before,
        (Some(_), Err(_)) => false,
    };
    let old = segments[..allowed].iter().take_while(is_before).count();
    if old == 0 {
        let Segment { first, last, time } = &segments[0];
        return Err(format!("{}, with entries {first} to {last}, goes to {time}", names::segment(*first)));
    }
    let mut blocked: Vec<Option<(&RunId, &Life)>> = vec![None; old];
    for (run, life) in runs {
        let from = segments.partition_point(|segment| segment.last < life.first).min(old);
        let to = match life.unsettled {
            Some(_) => old,
            None => segments.partition_point(|segment| segment.last < life.last).min(old),
        };
        for at in blocked.iter_mut().take(to).skip(from) {
            // The one that began first is the one that is named.
            if at.is_none_or(|(_, other)| life.first < other.first) {
                *at = Some((run, life));
            }
        }
    }
    match (blocked.iter().rposition(Option::is_none), blocked.first()) {
        (Some(last), _) => Ok(last + 1),
        (None, Some(Some((run, life)))) => {
            let why = life.unsettled.map_or_else(|| format!("goes on until entry {}", life.last), str::to_owned);
            Err(format!(
                "run {run}, which began with entry {} in {}, {why}",
                life.first,
                names::segment(segments[0].first)
            ))
        }
        (None, Some(None) | None) => Err("there is no segment".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::{Life, Limits, Segment, cut};
    use crate::id::RunId;

    fn run_id(number: u64) -> RunId {
        format!("019a0f6c-1d2e-7abc-8def-{number:012}").parse().unwrap()
    }

    /// Segments of ten entries each, one an hour.
    fn segments(count: u64) -> Vec<Segment> {
        let one = |at: u64| Segment {
            first: at * 10 + 1,
            last: at * 10 + 10,
            time: format!("2026-11-22T{at:02}:00:00.000000Z").parse().unwrap(),
        };
        (0..count).map(one).collect()
    }

    const ALL: Limits = Limits { before: None, keep: 1 };

    fn cut_with(runs: &[Life], limits: &Limits) -> Result<usize, String> {
        let ids: Vec<RunId> = (0..runs.len()).map(|at| run_id(at as u64 + 1)).collect();
        cut(&segments(5), ids.iter().zip(runs), limits)
    }

    fn life(first: u64, last: u64) -> Life {
        Life { first, last, unsettled: None }
    }

    #[test]
    fn p08_segments_are_archived_up_to_where_no_unsettled_run_reaches() {
        assert_eq!(cut_with(&[], &ALL), Ok(4));
        assert_eq!(cut_with(&[], &Limits { keep: 0, ..ALL }), Ok(4), "one stays always");
        assert_eq!(cut_with(&[], &Limits { keep: 3, ..ALL }), Ok(2));
        let before = DateTime::parse_from_rfc3339("2026-11-22T02:00:00Z").unwrap().to_utc();
        assert_eq!(cut_with(&[], &Limits { before: Some(before), ..ALL }), Ok(2));
        assert_eq!(cut_with(&[life(5, 10)], &ALL), Ok(4));
        assert_eq!(cut_with(&[life(5, 11), life(35, 50)], &ALL), Ok(3));
        assert_eq!(cut_with(&[life(15, 45)], &ALL), Ok(1));
        assert_eq!(cut_with(&[Life { unsettled: Some("is not over"), ..life(15, 15) }], &ALL), Ok(1));
    }

    #[test]
    fn p08_why_nothing_is_archived_is_said_with_the_run_and_the_segment() {
        let open = Life { unsettled: Some("is not over"), ..life(3, 3) };
        let why = cut_with(&[life(4, 47), open], &ALL).unwrap_err();
        assert_eq!(why, format!("run {}, which began with entry 3 in 0000000000000001.jsonl, is not over", run_id(2)));
        let why = cut_with(&[life(4, 47)], &ALL).unwrap_err();
        assert!(why.ends_with("goes on until entry 47"), "{why}");
        let why = cut_with(&[], &Limits { keep: 5, ..ALL }).unwrap_err();
        assert!(why.contains("5 finished segments"), "{why}");
        let before = DateTime::parse_from_rfc3339("2026-11-22T00:00:00Z").unwrap().to_utc();
        let why = cut_with(&[], &Limits { before: Some(before), ..ALL }).unwrap_err();
        assert!(why.contains("goes to 2026-11-22T00:00:00.000000Z"), "{why}");
    }

    proptest! {
        #[test]
        fn p08_no_run_is_ever_cut_in_two(runs in prop::collection::vec((1_u64..70, 0_u64..30, any::<bool>()), 0..6)) {
            let runs: Vec<Life> = runs.into_iter()
                .map(|(first, more, over)| Life { unsettled: (!over).then_some("is not over"), ..life(first, first + more) })
                .collect();
            let fits = |count: usize| runs.iter().all(|run| {
                let last = count as u64 * 10;
                run.first > last || (run.unsettled.is_none() && run.last <= last)
            });
            let longest = (1..=4).rev().find(|count| fits(*count));
            let found = cut_with(&runs, &ALL);
            prop_assert_eq!(found.clone().ok(), longest);
            prop_assert!(longest.is_some() || found.unwrap_err().starts_with("run "));
        }
    }
}
