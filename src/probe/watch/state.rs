//! What the watcher knows: the armed facts and their parts, the sources of events, and what to do about each event. Everything here
//! runs with the lock held and returns the notices, which are told after it is released.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::connector::{Connector, Loss};
use super::folders::{Change, Folders};
use super::part::{Part, Witness, split};
use super::slow::{SlowThread, no_thread};
use super::{Notice, NoticeKind, PERIOD, Side, boot_time, is_blind};
use crate::history::event::{Sight, Verdict};
use crate::id::Fact;
use crate::probe::View;
use crate::probe::evidence::Look;
use crate::probe::table::{Freshness, Table};
use crate::runbook::model::{Probe, State};

/// How long a server that was just started is looked at more often, since it takes some time to get to its directory.
const ALERT: Duration = Duration::from_millis(250);
/// How often.
const ALERT_PERIOD: Duration = Duration::from_millis(1);

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The program wants the thread to look up.
    Wake,
    /// The kernel's process events.
    Connector,
    /// inotify on the folders of files.
    Files,
    /// inotify on data directories.
    Places,
    /// The end of a process.
    Witness(u64),
}

impl Source {
    /// The data of the first witness; those below are of the other sources.
    const FIRST_WITNESS: u64 = 4;

    pub(super) fn data(self) -> EventData {
        EventData::new_u64(match self {
            Self::Wake => 0,
            Self::Connector => 1,
            Self::Files => 2,
            Self::Places => 3,
            Self::Witness(number) => Self::FIRST_WITNESS + number,
        })
    }
}

/// Whether events on data directories are listened to at the moment.
#[derive(PartialEq, Eq)]
enum Hearing {
    Listens,
    /// Until the next poll.
    Muted,
}

/// Whether breaks of a fact are told.
enum Phase {
    /// Not yet; the first one seen since the last look is kept.
    Armed(Option<Notice>),
    /// They are.
    Held,
    /// One was.
    Told,
}

struct Watched {
    state: State,
    /// Tells this arming from an earlier one of the same fact.
    arming: u64,
    parts: Vec<Part>,
    threads: Vec<SlowThread>,
    phase: Phase,
    /// Tells this hold from an earlier one of the same fact.
    hold: u64,
}

impl Watched {
    /// Whether a break would be news.
    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Armed(None) | Phase::Held)
    }

    fn record(&mut self, notice: Notice, notices: &mut Vec<Notice>) {
        match &mut self.phase {
            Phase::Armed(first) => {
                first.get_or_insert(notice);
            }
            Phase::Held => {
                self.phase = Phase::Told;
                notices.push(notice);
            }
            Phase::Told => {}
        }
    }

    fn broke(&mut self, fact: &Fact, look: &Look, told_by: &str, woke_at: Instant, notices: &mut Vec<Notice>) {
        let sight = Sight { fact: fact.clone(), verdict: look.verdict, evidence: look.evidence.clone() };
        self.record(notice(fact, NoticeKind::Broke { sight }, told_by, woke_at), notices);
    }

    fn blind(&mut self, fact: &Fact, gap: Duration, told_by: &str, woke_at: Instant, notices: &mut Vec<Notice>) {
        self.record(notice(fact, NoticeKind::Blind { gap }, told_by, woke_at), notices);
    }
}

fn notice(fact: &Fact, kind: NoticeKind, told_by: &str, woke_at: Instant) -> Notice {
    Notice { fact: fact.clone(), kind, told_by: told_by.to_owned(), woke_at, seen_at: Instant::now() }
}

/// What the watcher knows.
pub(super) struct Inner {
    view: View,
    table: Table,
    epoll: Arc<OwnedFd>,
    connector: Option<Connector>,
    files: Folders,
    places: Folders,
    hearing: Hearing,
    facts: BTreeMap<Fact, Watched>,
    alert_until: Option<Instant>,
    /// When the last poll began, as time since the machine started.
    polled: Duration,
    numbers: u64,
    retired: Vec<SlowThread>,
}

impl Inner {
    pub(super) fn new(view: View, epoll: Arc<OwnedFd>, connector: Option<Connector>) -> io::Result<Self> {
        let files = Folders::new()?;
        let places = Folders::new()?;
        epoll::add(&*epoll, &files, Source::Files.data(), EventFlags::IN)?;
        epoll::add(&*epoll, &places, Source::Places.data(), EventFlags::IN)?;
        if let Some(connector) = &connector {
            epoll::add(&*epoll, connector, Source::Connector.data(), EventFlags::IN)?;
        }
        Ok(Self {
            view,
            table: Table::new()?,
            epoll,
            connector,
            files,
            places,
            hearing: Hearing::Listens,
            facts: BTreeMap::new(),
            alert_until: None,
            polled: boot_time(),
            numbers: 0,
            retired: Vec::new(),
        })
    }

    pub(super) fn is_armed(&self, fact: &Fact, state: &State) -> bool {
        self.facts.get(fact).is_some_and(|watched| watched.state == *state)
    }

    /// Arms a fact; returns what tells this arming from others, and the probes that each need a thread.
    pub(super) fn arm(&mut self, fact: &Fact, state: &State) -> (u64, Vec<Probe>) {
        self.disarm(fact);
        let (quick, slow) = split(&state.held);
        let arming = self.next_number();
        let parts: Vec<Part> = quick.into_iter().map(Part::new).collect();
        let watched =
            Watched { state: state.clone(), arming, parts, threads: Vec::new(), phase: Phase::Armed(None), hold: 0 };
        self.facts.insert(fact.clone(), watched);
        self.watch_folders();
        (arming, slow)
    }

    pub(super) fn keep_threads(&mut self, fact: &Fact, threads: Vec<SlowThread>) {
        match self.facts.get_mut(fact) {
            Some(watched) => watched.threads = threads,
            None => self.retired.extend(threads),
        }
    }

    pub(super) fn disarm(&mut self, fact: &Fact) {
        if let Some(watched) = self.facts.remove(fact) {
            self.retired.extend(watched.threads);
            for witness in watched.parts.into_iter().filter_map(|part| part.witness) {
                epoll::delete(&*self.epoll, &witness.descriptor).ok();
            }
        }
    }

    pub(super) fn take_threads(&mut self) -> Vec<SlowThread> {
        let mut threads = std::mem::take(&mut self.retired);
        for watched in self.facts.values_mut() {
            threads.append(&mut watched.threads);
        }
        threads
    }

    pub(super) fn hold(&mut self, fact: &Fact) -> Vec<Notice> {
        let woke_at = Instant::now();
        let mut notices = self.drain(woke_at);
        let hold = self.next_number();
        self.table.update(Freshness::All).ok();
        let Some(watched) = self.facts.get_mut(fact) else {
            let evidence = "its watch is not armed; this is a mistake of the program".to_owned();
            let sight = Sight { fact: fact.clone(), verdict: Verdict::Unknown, evidence };
            notices.push(notice(fact, NoticeKind::Broke { sight }, "the beginning of the hold", woke_at));
            return notices;
        };
        match std::mem::replace(&mut watched.phase, Phase::Held) {
            Phase::Held => return notices,
            Phase::Armed(Some(notice)) => {
                watched.record(notice, &mut notices);
                return notices;
            }
            Phase::Armed(None) | Phase::Told => watched.hold = hold,
        }
        let told_by = "a look at the beginning of the hold";
        for part in &watched.parts {
            let look = part.quick_look(&self.view, &self.table);
            if look.verdict != Verdict::Holds {
                watched.broke(fact, &look, told_by, woke_at, &mut notices);
                return notices;
            }
        }
        if watched.threads.iter().any(|thread| !thread.is_running()) {
            watched.broke(fact, &no_thread(), told_by, woke_at, &mut notices);
        }
        notices
    }

    /// What a look at this side looks at. From here on breaks are kept until the fact is held.
    pub(super) fn before_look(&mut self, fact: &Fact, side: Side) -> (Option<Probe>, Vec<Notice>) {
        let notices = self.drain(Instant::now());
        let probe = self.facts.get_mut(fact).map(|watched| {
            if let Phase::Armed(first) = &mut watched.phase {
                *first = None;
            }
            match side {
                Side::Before => watched.state.before.clone(),
                Side::While => watched.state.held.clone(),
            }
        });
        (probe, notices)
    }

    /// What was seen broken of a fact that is not held yet since the last look at it began.
    pub(super) fn seen_broken(&self, fact: &Fact) -> Option<String> {
        match &self.facts.get(fact)?.phase {
            Phase::Armed(Some(notice)) => Some(match &notice.kind {
                NoticeKind::Broke { sight } => sight.evidence.clone(),
                NoticeKind::Blind { .. } => notice.told_by.clone(),
            }),
            Phase::Armed(None) | Phase::Held | Phase::Told => None,
        }
    }

    /// The number of the hold of this fact, if it is held and was not told of yet.
    pub(super) fn hold_of(&self, fact: &Fact) -> Option<u64> {
        let watched = self.facts.get(fact)?;
        matches!(watched.phase, Phase::Held).then_some(watched.hold)
    }

    /// Whether the fact is still armed as it was when this number was given.
    pub(super) fn is_current(&self, fact: &Fact, arming: u64) -> bool {
        self.facts.get(fact).is_some_and(|watched| watched.arming == arming)
    }

    /// A slow part was seen broken in this hold.
    pub(super) fn broke(
        &mut self,
        fact: &Fact,
        hold: u64,
        look: &Look,
        told_by: &str,
        woke_at: Instant,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        if let Some(watched) = self.facts.get_mut(fact).filter(|watched| watched.hold == hold) {
            watched.broke(fact, look, told_by, woke_at, &mut notices);
        }
        notices
    }

    /// A slow part was not looked at for too long in this hold.
    pub(super) fn blind(
        &mut self,
        fact: &Fact,
        hold: u64,
        gap: Duration,
        told_by: &str,
        woke_at: Instant,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        if let Some(watched) = self.facts.get_mut(fact).filter(|watched| watched.hold == hold) {
            watched.blind(fact, gap, told_by, woke_at, &mut notices);
        }
        notices
    }

    /// Nothing is seen any more.
    pub(super) fn all_blind(&mut self, why: &str, woke_at: Instant) -> Vec<Notice> {
        self.blind_where(why, woke_at, |_| true)
    }

    fn blind_where(&mut self, why: &str, woke_at: Instant, concerned: impl Fn(&Part) -> bool) -> Vec<Notice> {
        let gap = boot_time().saturating_sub(self.polled);
        let mut notices = Vec::new();
        for (fact, watched) in &mut self.facts {
            if watched.parts.iter().any(&concerned) || watched.parts.is_empty() {
                watched.blind(fact, gap, why, woke_at, &mut notices);
            }
        }
        notices
    }

    /// Does what these events ask for.
    pub(super) fn react(&mut self, events: &[epoll::Event], woke_at: Instant) -> Vec<Notice> {
        let mut notices = self.drain(woke_at);
        for event in events {
            let number = { event.data }.u64();
            if let Some(number) = number.checked_sub(Source::FIRST_WITNESS) {
                self.witness_ended(number, woke_at, &mut notices);
            }
        }
        if self.alert_until.is_some_and(|until| woke_at < until) {
            self.look_at_places("the kernel's process events", woke_at, &mut notices);
        } else {
            self.alert_until = None;
        }
        notices
    }

    /// When to look again although nothing happened, because a server was just started.
    pub(super) fn next_alert(&self) -> Option<Instant> {
        self.alert_until.map(|_| Instant::now() + ALERT_PERIOD)
    }

    /// Looks at every part.
    pub(super) fn poll(&mut self, woke_at: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        let began = boot_time();
        let gap = began.saturating_sub(self.polled);
        self.polled = began;
        if self.facts.is_empty() {
            return notices;
        }
        // Where `/proc` cannot be read, every look that needs it says so itself.
        let freshness = if self.connector.is_some() { Freshness::Young } else { Freshness::All };
        self.table.update(freshness).ok();
        self.watch_folders();
        let told_by = "the poll every 50 ms";
        for (fact, watched) in &mut self.facts {
            let mut broken = None;
            if watched.is_open() {
                broken = watched.parts.iter_mut().find_map(|part| {
                    let look = part.look(&self.view, &self.table, woke_at);
                    (look.verdict != Verdict::Holds).then_some(look)
                });
            }
            if let Some(look) = broken {
                watched.broke(fact, &look, told_by, woke_at, &mut notices);
            } else if is_blind(PERIOD, gap) && !watched.parts.is_empty() {
                watched.blind(fact, gap, told_by, woke_at, &mut notices);
            }
        }
        self.find_witnesses();
        notices
    }

    /// Reads every source of events and looks where they point.
    fn drain(&mut self, woke_at: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        if let Some(connector) = &mut self.connector {
            let drained = connector.drain();
            for pid in drained.pids {
                self.program_started(pid, woke_at, &mut notices);
            }
            if drained.loss == Loss::Some {
                self.table.update(Freshness::All).ok();
                let why = "process events came faster than they could be read";
                notices.extend(self.blind_where(why, woke_at, Part::concerns_processes));
            }
        }
        let drained = self.files.drain();
        for change in &drained.changes {
            self.file_changed(change, woke_at, &mut notices);
        }
        if drained.loss == Loss::Some {
            let why = "file events came faster than they could be read";
            notices.extend(self.blind_where(why, woke_at, |part| !part.files().is_empty()));
        }
        if self.hearing == Hearing::Muted {
            return notices;
        }
        let drained = self.places.drain();
        if drained.loss == Loss::Some || !drained.changes.is_empty() {
            // These events only hasten a look; while the step itself works in the directory they come without end, so one is enough
            // until the next poll, which listens again.
            self.hearing = Hearing::Muted;
            epoll::modify(&*self.epoll, &self.places, Source::Places.data(), EventFlags::empty()).ok();
            self.table.update(Freshness::All).ok();
            for part in self.facts.values_mut().flat_map(|watched| &mut watched.parts) {
                part.ask_for_survey();
            }
            self.look_at_places("inotify on the directory", woke_at, &mut notices);
        }
        notices
    }

    /// A process started a program, or changed its user.
    fn program_started(&mut self, pid: u32, woke_at: Instant, notices: &mut Vec<Notice>) {
        self.table.update_at(pid);
        let Some(exe) = self.table.exe(pid) else { return };
        for (fact, watched) in &mut self.facts {
            if !watched.is_open() {
                continue;
            }
            let parts = watched.parts.iter().filter(|part| part.concerns_program(exe));
            let broken = parts.map(|part| part.quick_look(&self.view, &self.table));
            if let Some(look) = broken.into_iter().find(|look| look.verdict != Verdict::Holds) {
                watched.broke(fact, &look, "the kernel's process events", woke_at, notices);
            }
            if watched.parts.iter().any(|part| part.awaits_server(exe)) {
                self.alert_until = Some(woke_at + ALERT);
            }
        }
    }

    fn file_changed(&mut self, change: &Change, woke_at: Instant, notices: &mut Vec<Notice>) {
        for (fact, watched) in &mut self.facts {
            if !watched.is_open() {
                continue;
            }
            let looks = watched
                .parts
                .iter()
                .filter(|part| part.concerns_file(&change.path))
                .map(|part| part.broken_by(change).unwrap_or_else(|| part.quick_look(&self.view, &self.table)));
            if let Some(look) = looks.into_iter().find(|look| look.verdict != Verdict::Holds) {
                watched.broke(fact, &look, "inotify", woke_at, notices);
            }
        }
    }

    fn look_at_places(&mut self, told_by: &str, woke_at: Instant, notices: &mut Vec<Notice>) {
        for (fact, watched) in &mut self.facts {
            if !watched.is_open() {
                continue;
            }
            let looks = watched.parts.iter().filter(|part| part.concerns_data_dirs());
            let mut looks = looks.map(|part| part.quick_look(&self.view, &self.table));
            if let Some(look) = looks.find(|look| look.verdict != Verdict::Holds) {
                drop(looks);
                watched.broke(fact, &look, told_by, woke_at, notices);
            }
        }
    }

    fn witness_ended(&mut self, number: u64, woke_at: Instant, notices: &mut Vec<Notice>) {
        for (fact, watched) in &mut self.facts {
            let Some(part) = watched.parts.iter_mut().find(|part| part.has_witness(number)) else { continue };
            let Some(witness) = part.witness.take() else { continue };
            epoll::delete(&*self.epoll, &witness.descriptor).ok();
            self.table.update_at(witness.pid);
            if matches!(watched.phase, Phase::Armed(Some(_)) | Phase::Told) {
                return;
            }
            let look = part.quick_look(&self.view, &self.table);
            if look.verdict != Verdict::Holds {
                let told_by = format!("the end of process {}", witness.pid);
                watched.broke(fact, &look, &told_by, woke_at, notices);
            }
            return;
        }
    }

    /// Finds, for each part that needs the presence of a process, one whose end is to be told.
    fn find_witnesses(&mut self) {
        let mut numbers = self.numbers;
        for watched in self.facts.values_mut().filter(|watched| watched.is_open()) {
            for part in watched.parts.iter_mut().filter(|part| part.witness.is_none()) {
                let Some(pid) = part.find_witness(&self.view, &self.table) else { continue };
                let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
                let Some(Ok(descriptor)) = id.map(|id| pidfd_open(id, PidfdFlags::empty())) else { continue };
                numbers += 1;
                if epoll::add(&*self.epoll, &descriptor, Source::Witness(numbers).data(), EventFlags::IN).is_ok() {
                    part.witness = Some(Witness { pid, number: numbers, descriptor });
                }
            }
        }
        self.numbers = numbers;
    }

    /// Sets the watches on folders, also where one has come to be or was replaced. Where the system gives none, the poll sees.
    fn watch_folders(&mut self) {
        for part in self.facts.values().flat_map(|watched| &watched.parts) {
            for file in part.files() {
                self.files.watch_for(&file).ok();
            }
            for place in part.data_dirs() {
                self.places.watch_use_of(&place).ok();
            }
        }
        self.hearing = Hearing::Listens;
        epoll::modify(&*self.epoll, &self.places, Source::Places.data(), EventFlags::IN).ok();
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}
