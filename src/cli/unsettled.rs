//! The runs that are not settled: those that are not over, and those that are to be reviewed because the glass was broken for them.
//!
//! Each is the fold of its own entries, and most runs of a long log are settled, which the names of their events tell already. So the log
//! is skimmed from its end, and only the other runs are understood. Whatever is not as it should be there, the plain reading of the whole
//! log decides: it tells of damage in the words and at the place in which it is always told.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::audit::{self, Home, ReadError, Skimmed, Turn, WholeRun, in_parallel};
use crate::cli::failure::Failure;
use crate::history::deviation::Deviation;
use crate::history::entry::Who;
use crate::history::event::{Cause, Event};
use crate::history::glass::Glass;
use crate::history::state::{Phase, State, Verdict};
use crate::id::{Digest, RunId};
use crate::report::story::{by_whom, cause_in_words};

/// A run that is not over, as its log tells it.
#[derive(Debug, PartialEq)]
pub(super) struct OpenRun {
    pub(super) run: RunId,
    pub(super) runbook: String,
    pub(super) plan: Option<Digest>,
    pub(super) began: String,
    pub(super) last: String,
    pub(super) who: Arc<Who>,
    /// Whose run it is: who opened it, or took it over by a request that others had signed.
    pub(super) whose: Arc<Who>,
    pub(super) state: State,
    pub(super) why: String,
    /// Why it halted, as a kind; none if it did not.
    pub(super) cause: Option<Cause>,
    pub(super) locks: Vec<String>,
}

/// A run for which the glass was broken, and that nobody has reviewed.
#[derive(Debug, PartialEq)]
pub(super) struct Reviewable {
    pub(super) run: RunId,
    pub(super) glass: Glass,
    /// Who broke it, and on which machine.
    pub(super) operator: String,
    pub(super) host: String,
    /// How the run ended, and with how many deviations.
    pub(super) ended: String,
    pub(super) deviations: usize,
    /// The run's last entry.
    pub(super) entry: u64,
    pub(super) digest: Digest,
    pub(super) state: State,
}

/// What the log says of the runs that are not settled.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Unsettled {
    /// Those that are not over, in the order in which they began.
    pub(super) open: Vec<OpenRun>,
    /// Those that are to be reviewed, in the order in which the glass was broken. One that is not over is among both.
    pub(super) to_review: Vec<Reviewable>,
}

/// All of them.
///
/// # Errors
/// The log cannot be read or is damaged, or the events of a run that is not settled cannot have happened in their order.
pub(super) fn unsettled(home: &Home) -> Result<Unsettled, Failure> {
    skim(home).or_else(|_| read(home))
}

/// Those whose id begins so. To find one that began not long ago, the log is read back no further than that.
///
/// # Errors
/// As [`unsettled`].
pub(super) fn unsettled_with(home: &Home, start: &str) -> Result<Unsettled, Failure> {
    let mut found = match skim_with(home, start) {
        Ok(found) if !found.open.is_empty() || !found.to_review.is_empty() => found,
        // Its entries can be elsewhere than its id says: a clock that was set is no reason not to find a run.
        Ok(_) | Err(NotByThis) => unsettled(home)?,
    };
    found.open.retain(|one| one.run.as_str().starts_with(start));
    found.to_review.retain(|one| one.run.as_str().starts_with(start));
    Ok(found)
}

/// The skim found something that it does not decide about.
#[derive(Debug)]
struct NotByThis;

impl From<ReadError> for NotByThis {
    fn from(_: ReadError) -> Self {
        Self
    }
}

impl From<String> for NotByThis {
    fn from(_: String) -> Self {
        Self
    }
}

fn skim(home: &Home) -> Result<Unsettled, NotByThis> {
    let mut runs = audit::runs(home)?;
    let mut found = Vec::new();
    while let Some(some) = runs.more()? {
        found.extend(folded(some)?);
    }
    Ok(Unsettled::of(found))
}

fn skim_with(home: &Home, start: &str) -> Result<Unsettled, NotByThis> {
    Ok(Unsettled::of(folded(audit::runs_with(home, start)?)?))
}

/// The folds of those runs that may be unsettled, on all processors.
fn folded(runs: Vec<WholeRun>) -> Result<Vec<Folding>, NotByThis> {
    let left: Vec<WholeRun> = runs.into_iter().filter(may_be_unsettled).collect();
    let folded: Result<Vec<Option<Folding>>, NotByThis> = in_parallel(&left, fold).into_iter().collect();
    Ok(folded?.into_iter().flatten().collect())
}

/// By the names of its events. Never false for a run that is not settled: its last event that begins or ends one is another, or its glass
/// was broken.
fn may_be_unsettled(run: &WholeRun) -> bool {
    let decided = run.lines.iter().rev().find_map(|line| match line.turn {
        Turn::Opened | Turn::Resumed | Turn::Halted => Some(true),
        Turn::Refused | Turn::Completed | Turn::Undone | Turn::Abandoned => Some(false),
        Turn::Override | Turn::Glass | Turn::Early | Turn::Other => None,
    });
    decided.unwrap_or(true) || run.lines.iter().any(|line| line.turn == Turn::Glass)
}

/// The fold of a run, with who wrote an entry only where that matters; none if the run is settled.
fn fold(run: &WholeRun) -> Result<Option<Folding>, NotByThis> {
    let mut folding: Option<Folding> = None;
    let mut carried_out: Option<&Skimmed> = None;
    for line in &run.lines {
        let event = line.event()?;
        let matters = matches!(line.turn, Turn::Opened | Turn::Override | Turn::Glass) || folding.is_none();
        let who = if matters { Some(line.entry()?.who) } else { None };
        let time = match line.stamp() {
            Some(stamp) => stamp.time.to_owned(),
            None => line.entry()?.time.to_string(),
        };
        if !is_refusal(&event) {
            carried_out = Some(line);
        }
        let told = Told { seq: line.seq, time, event: &event, who, line: line.text() };
        let current = folding.get_or_insert_with(|| Folding::new(&run.run, &told));
        current.take(told)?;
        if current.is_settled() {
            (folding, carried_out) = (None, None);
        }
    }
    if let (Some(folding), Some(line)) = (&mut folding, carried_out) {
        folding.open.who = line.entry()?.who;
    }
    Ok(folding)
}

/// The same by reading everything, from the first entry on.
fn read(home: &Home) -> Result<Unsettled, Failure> {
    let unreadable = |error: ReadError| Failure::Internal(error.to_string());
    let mut runs: BTreeMap<RunId, Folding> = BTreeMap::new();
    let reader = match audit::read(home) {
        Err(ReadError::NoLog { .. }) => return Ok(Unsettled::default()),
        reader => reader.map_err(unreadable)?,
    };
    for found in reader {
        let recorded = found.map_err(unreadable)?.recorded;
        let entry = recorded.entry;
        let Some(run) = entry.run else { continue };
        let told = Told {
            seq: entry.seq,
            time: entry.time.to_string(),
            event: &entry.event,
            who: Some(entry.who),
            line: &recorded.line,
        };
        let folding = runs.entry(run.clone()).or_insert_with(|| Folding::new(&run, &told));
        folding.take(told).map_err(Failure::Internal)?;
        if folding.is_settled() {
            runs.remove(&run);
        }
    }
    Ok(Unsettled::of(runs.into_values().collect()))
}

impl Unsettled {
    fn of(mut found: Vec<Folding>) -> Self {
        found.sort_by_key(|one| one.first);
        let mut unsettled = Self::default();
        for Folding { open, broken, .. } in found {
            if let (Some(broken), false) = (broken, open.state.to_review.is_empty()) {
                unsettled.to_review.extend(broken.reviewable(&open));
            }
            if !is_over(&open.state) && open.state.phase != Phase::New {
                unsettled.open.push(open);
            }
        }
        unsettled
    }
}

/// An entry of a run, as far as it was understood.
struct Told<'a> {
    seq: u64,
    time: String,
    event: &'a Event,
    /// Who wrote it; none where that was not looked at.
    who: Option<Arc<Who>>,
    line: &'a str,
}

/// A run whose entries are being taken in.
struct Folding {
    /// The number of its first entry.
    first: u64,
    open: OpenRun,
    broken: Option<Broken>,
}

impl Folding {
    fn new(run: &RunId, first: &Told<'_>) -> Self {
        let who = first.who.clone().unwrap_or_default();
        let open = OpenRun {
            run: run.clone(),
            runbook: String::new(),
            plan: None,
            began: first.time.clone(),
            last: String::new(),
            who: who.clone(),
            whose: who,
            state: State::default(),
            why: String::new(),
            cause: None,
            locks: Vec::new(),
        };
        Self { first: first.seq, open, broken: None }
    }

    fn take(&mut self, told: Told<'_>) -> Result<(), String> {
        if let (Event::GlassBroken(glass), Some(who)) = (told.event, &told.who) {
            self.broken = Some(Broken { glass: glass.clone(), who: who.clone(), last: None });
        }
        // What was refused, and who has signed a review, is nothing that is reviewed.
        let counts = !is_refusal(told.event) && !matches!(told.event, Event::ApprovalAccepted(_));
        if let (Some(broken), true) = (&mut self.broken, counts) {
            broken.last = Some((told.seq, told.line.to_owned()));
        }
        self.open.take(told)
    }

    /// Whether nothing of it is left to do.
    fn is_settled(&self) -> bool {
        is_over(&self.open.state) && self.open.state.to_review.is_empty()
    }
}

/// Whether somebody was refused something: who was has not carried the run out.
fn is_refusal(event: &Event) -> bool {
    matches!(event, Event::OverrideRefused { .. } | Event::TakeUpRefused { .. })
}

/// Whether a run can be taken up no more.
fn is_over(state: &State) -> bool {
    matches!(state.phase, Phase::Over(Verdict::Completed | Verdict::Undone | Verdict::Abandoned | Verdict::Refused(_)))
}

impl OpenRun {
    fn take(&mut self, told: Told<'_>) -> Result<(), String> {
        let illegal = self.state.apply(told.event);
        illegal.map_err(|illegal| format!("run {}: {illegal}; see `interlock audit verify`", self.run))?;
        let whose = told.who.as_ref().unwrap_or(&self.whose).clone();
        match told.event {
            Event::RunOpened { runbook, plan, locks, .. } => {
                self.runbook.clone_from(runbook);
                self.plan = Some(plan.clone());
                self.locks.clone_from(locks);
                self.whose = whose;
            }
            Event::OverrideAccepted(given) if given.deviation == (Deviation::TakeOver {}) => {
                self.whose = whose;
            }
            Event::RunHalted { cause, reason, .. } => {
                self.why = format!("{}: {reason}", cause_in_words(*cause));
                self.cause = Some(*cause);
            }
            Event::RunResumed { .. } => {
                self.why.clear();
                self.cause = None;
            }
            _ => {}
        }
        self.last = told.time;
        if let (Some(who), false) = (told.who, is_refusal(told.event)) {
            self.who = who;
        }
        Ok(())
    }
}

/// What is known of a run for which the glass was broken.
struct Broken {
    glass: Glass,
    who: Arc<Who>,
    last: Option<(u64, String)>,
}

impl Broken {
    fn reviewable(self, open: &OpenRun) -> Option<Reviewable> {
        let (entry, line) = self.last?;
        let ended = match open.state.phase {
            Phase::Over(Verdict::Completed) => "completed".to_owned(),
            Phase::Over(Verdict::Undone) => "undone".to_owned(),
            Phase::Over(Verdict::Abandoned) => "abandoned".to_owned(),
            Phase::Over(Verdict::Refused(cause)) => format!("refused ({})", cause_in_words(cause)),
            Phase::Over(Verdict::Halted(cause)) => format!("halted ({})", cause_in_words(cause)),
            Phase::New => "not begun".to_owned(),
            Phase::Ready { .. } | Phase::Acting { .. } | Phase::Verifying { .. } | Phase::Failed { .. } => {
                "not over".to_owned()
            }
        };
        Some(Reviewable {
            run: open.run.clone(),
            glass: self.glass,
            operator: by_whom(&self.who),
            host: self.who.host.clone(),
            ended,
            deviations: open.state.overrides.used.len(),
            entry,
            digest: Digest::of(line.as_bytes()),
            state: open.state.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

    use super::{is_over, read, skim, skim_with, unsettled, unsettled_with};
    use crate::audit::{Draft, Home, Log};
    use crate::history::entry::Who;
    use crate::history::event::Event;
    use crate::history::state::{Phase, State, Verdict};
    use crate::id::RunId;

    /// What can happen to a run of two steps, as it stands in the log; some of it long, so that there are several segments.
    const EVENTS: [&str; 19] = [
        r#"{"event":"run_opened","data":{"runbook":"r","source":"r.yaml","plan":"P","steps":2,"locks":["l"],"containment":"c","watching":"LONG","program":"0"}}"#,
        r#"{"event":"glass_broken","data":{"runbook":"r","plan":"P","reason":"why","by":"terminal","without":[],"rules":[{"policy":"P","number":1,"operator":"amy","tell":"core","command":[],"reviewers":["bea"],"review_until":"2026-11-27T05:00:00Z"}]}}"#,
        r#"{"event":"approval_accepted","data":{"document":"P","namespace":"interlock-review@v1","person":"bea","key":"k","algorithm":"a","under":[{"policy":"P","number":1,"until":"2026-11-27T05:00:00Z","signers":"P"}],"signature":"s"}}"#,
        r#"{"event":"run_refused","data":{"runbook":"r","plan":"P","cause":"fact_does_not_hold","reason":"why"}}"#,
        r#"{"event":"override_refused","data":{"deviation":{"skip":{"step":"b"}},"reason":"why","asked_by":"amy","why":"LONG"}}"#,
        r#"{"event":"take_up_refused","data":{"command":"resume","reason":"LONG"}}"#,
        r#"{"event":"step_intended","data":{"step":"a","attempt":1,"action":"LONG"}}"#,
        r#"{"event":"step_ended","data":{"step":"a","attempt":1,"ending":{"exited":{"code":0}},"micros":1}}"#,
        r#"{"event":"step_done","data":{"step":"a","attempt":1}}"#,
        r#"{"event":"step_failed","data":{"step":"a","attempt":1,"reason":"LONG"}}"#,
        r#"{"event":"override_accepted","data":{"deviation":{"take_over":{}},"reason":"why","asked_by":"amy","self_approved":"terminal"}}"#,
        r#"{"event":"override_accepted","data":{"deviation":{"skip":{"step":"b"}},"reason":"why","asked_by":"amy","self_approved":"terminal"}}"#,
        r#"{"event":"step_skipped","data":{"step":"b"}}"#,
        r#"{"event":"undo_began","data":{"by":"rule","reason":"why","steps":0,"kept":1}}"#,
        r#"{"event":"run_undone","data":{"undone":0,"kept":1}}"#,
        r#"{"event":"run_halted","data":{"cause":"step_failed","reason":"LONG"}}"#,
        r#"{"event":"run_resumed","data":{"containment":"c","watching":"w","program":"0"}}"#,
        r#"{"event":"run_abandoned","data":{"reason":"why"}}"#,
        r#"{"event":"run_completed","data":{"done":1,"already":0,"skipped":1,"deviations":1,"micros":1}}"#,
    ];

    fn event(at: usize) -> Event {
        let text = EVENTS[at].replace("\"P\"", &format!("\"{}\"", "0".repeat(64)));
        serde_json::from_str(&text.replace("LONG", &"x".repeat(20_000))).unwrap()
    }

    fn run_id(number: usize) -> RunId {
        let now = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap() >> 16;
        format!("{now:08x}-0000-7000-8000-{number:012x}").parse().unwrap()
    }

    fn who(number: usize) -> Who {
        Who { uid: u32::try_from(number).unwrap(), host: format!("host-{number}"), ..Who::default() }
    }

    /// A log of what these dice say, as far as it can have happened; a run that is settled may begin anew. How many were completed.
    fn write(home: &Home, dice: &[(usize, usize, usize)]) -> usize {
        let mut logs: Vec<Log> = (0..3).map(|number| Log::open(home, who(number)).unwrap()).collect();
        let mut states: BTreeMap<RunId, State> = BTreeMap::new();
        let mut completed = 0;
        for (run, what, by) in dice {
            let (run, event) = (run_id(*run), event(*what));
            let state = states.entry(run.clone()).or_default();
            if state.apply(&event).is_ok() {
                logs[*by].append(&[Draft { run: Some(&run), event: &event }]).unwrap();
                completed += usize::from(state.phase == Phase::Over(Verdict::Completed) && *what == 18);
                if is_over(state) && state.to_review.is_empty() {
                    *state = State::default();
                }
            }
        }
        completed
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever can have happened to several runs at a time: the skim from the end and the plain reading say the same.
        #[test]
        fn what_is_skimmed_is_what_is_read(
            dice in proptest::collection::vec((0_usize..8, 0_usize..19, 0_usize..3), 0..250),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let home = Home::new(folder.path().join("home")).unwrap();
            write(&home, &dice);
            let plain = read(&home).unwrap();
            prop_assert_eq!(&skim(&home).unwrap(), &plain);
            for number in 0..8 {
                let run = run_id(number);
                let mut of_it = read(&home).unwrap();
                of_it.open.retain(|one| one.run == run);
                of_it.to_review.retain(|one| one.run == run);
                prop_assert_eq!(&skim_with(&home, run.as_str()).unwrap(), &of_it);
                prop_assert_eq!(&unsettled_with(&home, run.as_str()).unwrap(), &of_it);
            }
        }
    }

    /// Runs that end in every way: the dice above may never have met one of them.
    #[test]
    fn each_way_in_which_a_run_stands_is_skimmed_as_it_is_read() {
        let lives: [&[usize]; 12] = [
            &[0, 6, 7, 8, 11, 12, 18],
            &[0, 6, 7, 9, 15],
            &[0, 6, 7, 9, 15, 16, 10, 5],
            &[0, 6],
            &[0, 6, 15],
            &[0, 6, 7, 9, 13, 14],
            &[0, 6, 7, 9, 15, 4, 17, 4],
            &[1, 3],
            &[1, 3, 2],
            &[4, 3],
            &[1, 0, 6, 7, 8, 4],
            &[1],
        ];
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().join("home")).unwrap();
        let turns = lives.iter().map(|life| life.len()).max().unwrap();
        let of_turn = |turn: usize| {
            lives.iter().enumerate().filter_map(move |(run, life)| Some((run, *life.get(turn)?, run % 3)))
        };
        let dice: Vec<(usize, usize, usize)> = (0..turns).flat_map(of_turn).collect();
        assert_eq!(write(&home, &dice), 1);
        let plain = read(&home).unwrap();
        assert_eq!(skim(&home).unwrap(), plain);
        let open: Vec<usize> = (0..12).filter(|run| plain.open.iter().any(|one| one.run == run_id(*run))).collect();
        assert_eq!(open, [1, 2, 3, 4, 10]);
        let due: Vec<usize> = (0..12).filter(|run| plain.to_review.iter().any(|one| one.run == run_id(*run))).collect();
        assert_eq!(due, [7, 10, 11]);
        let taken_over = plain.open.iter().find(|one| one.run == run_id(2)).unwrap();
        assert_eq!((taken_over.whose.uid, taken_over.who.uid), (2, 2));
    }

    #[test]
    fn a_run_is_found_whatever_the_clock_said_when_its_id_was_made() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().join("home")).unwrap();
        let mut log = Log::open(&home, who(0)).unwrap();
        let early: RunId = "01800000-0000-7000-8000-000000000001".parse().unwrap();
        let late: RunId = "0fffffff-0000-7000-8000-000000000001".parse().unwrap();
        for number in 0..60 {
            let opened = event(0);
            let run = match number {
                0 => &early,
                1 => &late,
                _ => &run_id(number),
            };
            log.append(&[Draft { run: Some(run), event: &opened }]).unwrap();
        }
        for run in [&early, &late] {
            let found = unsettled_with(&home, run.as_str()).unwrap();
            assert_eq!(found.open.iter().map(|one| &one.run).collect::<Vec<_>>(), [run]);
        }
        // What was refused after the clock was set back is not what `audit log` expects; it is read all the same.
        log.append(&[Draft { run: Some(&late), event: &event(4) }]).unwrap();
        for number in 100..160 {
            log.append(&[Draft { run: Some(&run_id(number)), event: &event(0) }]).unwrap();
        }
        assert_eq!(unsettled(&home).unwrap(), read(&home).unwrap());
        assert_eq!(unsettled_with(&home, late.as_str()).unwrap().open.len(), 1);
    }

    #[test]
    fn no_log_is_nothing_unsettled() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().join("home")).unwrap();
        let found = unsettled(&home).unwrap();
        assert!(found.open.is_empty() && found.to_review.is_empty());
    }
}
