//! The runs of a log, the newest first, each with all its lines: read from the end, so that the last few of many cost little.
//!
//! A run's id is made before its first entry and begins with the time of that. So whoever reads backwards has all lines of a run when the
//! entries are older than its id and its opening was met; few have anything before it, and some are never opened. There is no index: what
//! is yielded is what stands in the log at this moment.
//!
//! # Promises
//! - No number of what was read is missing, and what is understood of it is held against the links; the end of the log is read as
//!   strictly as everywhere. Damage ends the reading. What is older than what was asked for is not looked at.
//! - A run is yielded whole, and no newer one after it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Home;
use super::backwards::Backwards;
use super::read::{ReadError, Reader};
use super::skim::{Key, Skimmed, Turn, run_of};
use crate::id::RunId;

/// How much older than a run's id an entry must be, in milliseconds, to be taken for older than the run: an hour.
const SURELY_BEFORE: u64 = 60 * 60 * 1000;

/// A run, and every line of it, in order.
#[derive(Debug, Clone)]
pub struct WholeRun {
    /// Its id.
    pub run: RunId,
    /// Its lines; at least one.
    pub lines: Vec<Skimmed>,
}

/// See [`runs`].
#[derive(Debug)]
pub struct Runs {
    back: Backwards,
    end: Reader,
    /// Runs whose beginning was not reached for certain.
    begun_before: HashMap<Key, Pending>,
    /// Runs that are complete, by the number of their first line, until none that is newer can come.
    ready: BTreeMap<u64, (Key, Vec<Skimmed>)>,
    /// The runs that were reached with their beginning.
    over: HashSet<Key>,
    /// How the id of a run begins whose lines are kept.
    start: String,
    /// The time of what was read last, in milliseconds since 1970.
    reached: Option<u64>,
}

/// A run of which the end was read.
#[derive(Debug)]
struct Pending {
    /// The lines that were read, the last first.
    lines: Vec<Skimmed>,
    beginning: Beginning,
}

/// Whether the beginning of a run may have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// What was read last of it may be its first entry.
    MayBeRead,
    /// What was read last of it cannot be its first entry.
    IsBefore,
}

/// The runs of the log of this home, the newest first.
///
/// # Errors
/// There is no log, or its end cannot be read.
pub fn runs(home: &Home) -> Result<Runs, ReadError> {
    Runs::with(home, "")
}

/// The runs whose id begins so, the newest first. What is more than an hour older than all such ids is not read, unless a run that was
/// found begins there.
///
/// # Errors
/// There is no log, or what was read of it is damaged.
pub fn runs_with(home: &Home, start: &str) -> Result<Vec<WholeRun>, ReadError> {
    let mut runs = Runs::with(home, start)?;
    let mut found = Vec::new();
    while let Some(some) = runs.more()? {
        found.extend(some);
    }
    Ok(found)
}

impl Runs {
    fn with(home: &Home, start: &str) -> Result<Self, ReadError> {
        let (back, end) = Backwards::strictly(home)?;
        Ok(Self {
            back,
            end,
            begun_before: HashMap::new(),
            ready: BTreeMap::new(),
            over: HashSet::new(),
            start: start.to_owned(),
            reached: None,
        })
    }

    /// Some more runs; none when there are no more.
    ///
    /// # Errors
    /// A segment cannot be read, or is damaged.
    pub fn more(&mut self) -> Result<Option<Vec<WholeRun>>, ReadError> {
        loop {
            let parts = if self.is_before_all() { Vec::new() } else { self.back.next()? };
            let Some(oldest) = parts.last() else {
                for (key, pending) in self.begun_before.drain() {
                    self.ready.insert(pending.first(), (key, pending.lines));
                }
                let rest = self.take_ready()?;
                return Ok((!rest.is_empty()).then_some(rest));
            };
            let reached = oldest.lines.first().and_then(|line| line.stamp()).and_then(|stamp| millis_of(stamp.time));
            for part in parts {
                for line in part.lines.into_iter().rev() {
                    self.take(line)?;
                }
            }
            if let Some(reached) = reached {
                self.settle(reached);
                self.reached = Some(reached);
            }
            self.begun_before.values_mut().flat_map(|pending| &mut pending.lines).for_each(Skimmed::stand_alone);
            let ready = self.take_ready()?;
            if !ready.is_empty() {
                return Ok(Some(ready));
            }
        }
    }

    /// The end of the log, to read on from it what comes.
    pub fn into_end(self) -> Reader {
        self.end
    }

    fn take(&mut self, line: Skimmed) -> Result<(), ReadError> {
        let Some(key) = line.run.filter(|key| key.starts_with(self.start.as_bytes())) else { return Ok(()) };
        if !self.begun_before.contains_key(&key) && self.over.contains(&key) {
            let problem = format!(
                "it is of run {}, whose id was made more than an hour after the entries around it: the clock was set back, or the entry \
                 does not belong here",
                String::from_utf8_lossy(&key)
            );
            return Err(self.back.damaged(line.seq, line.offset(), problem));
        }
        let new = || Pending { lines: Vec::new(), beginning: Beginning::MayBeRead };
        let pending = self.begun_before.entry(key).or_insert_with(new);
        match line.turn {
            Turn::Opened | Turn::Refused | Turn::Glass => pending.beginning = Beginning::MayBeRead,
            Turn::Early => {}
            Turn::Resumed
            | Turn::Halted
            | Turn::Completed
            | Turn::Undone
            | Turn::Abandoned
            | Turn::Override
            | Turn::Other => pending.beginning = Beginning::IsBefore,
        }
        pending.lines.push(line);
        Ok(())
    }

    /// Where the log is older than a run's id (UUID of version 7, RFC 9562, section 5.7), nothing of the run is left before.
    fn settle(&mut self, reached: u64) {
        let is_whole = |key: &Key, pending: &Pending| {
            pending.beginning == Beginning::MayBeRead
                && made_at(key).is_some_and(|made| reached.saturating_add(SURELY_BEFORE) < made)
        };
        for (key, pending) in self.begun_before.extract_if(|key, pending| is_whole(key, pending)) {
            self.ready.insert(pending.first(), (key, pending.lines));
            self.over.insert(key);
        }
    }

    /// Whether what is left to be read is older than every run that is asked for.
    fn is_before_all(&self) -> bool {
        let earliest = earliest_of(&self.start);
        self.begun_before.is_empty()
            && self.reached.is_some_and(|reached| reached.saturating_add(SURELY_BEFORE) < earliest)
    }

    /// What is complete, and newer than all that is not.
    fn take_ready(&mut self) -> Result<Vec<WholeRun>, ReadError> {
        let unsettled = self.begun_before.values().filter(|pending| pending.beginning == Beginning::MayBeRead);
        let unsettled = unsettled.map(|pending| pending.first() + 1).max().unwrap_or_default();
        let ready = self.ready.split_off(&unsettled);
        ready
            .into_iter()
            .rev()
            .map(|(seq, (key, mut lines))| {
                lines.reverse();
                let run = run_of(&key).map_err(|problem| self.back.damaged(seq, 0, problem))?;
                Ok(WholeRun { run, lines })
            })
            .collect()
    }
}

impl Pending {
    /// The number of the first line that was read.
    fn first(&self) -> u64 {
        self.lines.last().map_or(0, |line| line.seq)
    }
}

/// When an id that begins so can have been made at the earliest, in milliseconds since 1970; 0 where that does not say.
fn earliest_of(start: &str) -> u64 {
    let digits: String = start.chars().take(13).filter(|letter| *letter != '-').collect();
    u64::from_str_radix(&format!("{digits:0<12}"), 16).unwrap_or_default()
}

/// When an id was made, in milliseconds since 1970; none if it does not say.
fn made_at(key: &Key) -> Option<u64> {
    let digits: String = key.iter().take(13).filter(|byte| **byte != b'-').map(|byte| char::from(*byte)).collect();
    (key[14] == b'7').then(|| u64::from_str_radix(&digits, 16).ok()).flatten()
}

/// A time of the log in milliseconds since 1970.
fn millis_of(time: &str) -> Option<u64> {
    chrono::DateTime::parse_from_rfc3339(time).ok().and_then(|time| u64::try_from(time.timestamp_millis()).ok())
}
