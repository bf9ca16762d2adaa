//! Watches over real processes, files and commands. Every wait is a hand-shake: a test waits for the notice itself.

use std::fs::{self, OpenOptions};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::connector::Connector;
use super::{Notice, NoticeKind, Side, Watches, is_blind};
use crate::exec::censor::Censor;
use crate::history::event::Verdict;
use crate::id::Fact;
use crate::probe::View;
use crate::probe::tests::{Bench, Running, command, data_dir, file, named};
use crate::runbook::model::{CommandProbe, DataDirState, Presence, Probe, State};

/// Longer than any notice takes, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(10);

struct Lookout {
    watches: Watches,
    notices: Receiver<Notice>,
    fact: Fact,
}

enum Events {
    OfTheKernel,
    None,
}

impl Lookout {
    /// Watches over one fact, which is armed.
    fn new(probe: Probe, events: Events) -> Self {
        let (tell, notices) = channel();
        let tell = Mutex::new(tell);
        let on_notice = Arc::new(move |notice: &Notice| tell.lock().unwrap().send(notice.clone()).unwrap());
        let connector = match events {
            Events::OfTheKernel => Connector::open(),
            Events::None => Err("this test goes without".to_owned()),
        };
        let watches = Watches::with_connector(View::outside_steps(Censor::none()), on_notice, connector).unwrap();
        let fact: Fact = "thing fine".parse().unwrap();
        watches.arm(&fact, &State { before: probe.clone(), held: probe });
        Self { watches, notices, fact }
    }

    /// Looks, which must find that the fact holds.
    #[track_caller]
    fn look(&self) {
        let sight = self.watches.look(&self.fact, Side::Before);
        assert_eq!(sight.verdict, Verdict::Holds, "{}", sight.evidence);
    }

    #[track_caller]
    fn hold(&self) {
        self.look();
        self.watches.hold(&self.fact);
    }

    /// Waits for the notice that the fact broke: what was seen, and how it was learned of.
    #[track_caller]
    fn broke(&self) -> (String, String) {
        let notice = self.notices.recv_timeout(PATIENCE).expect("no notice came");
        assert!(notice.woke_at <= notice.seen_at);
        match notice.kind {
            NoticeKind::Broke { sight } => (sight.evidence, notice.told_by),
            NoticeKind::Blind { gap } => panic!("blind for {gap:?}: {}", notice.told_by),
        }
    }

    /// There must be no notice so far. A watch over a second fact that breaks on purpose says when all before it has been told.
    #[track_caller]
    fn nothing_so_far(&self) {
        let bench = Bench::new();
        let other: Fact = "other fine".parse().unwrap();
        let absent = named(&bench.name, Presence::Absent);
        self.watches.arm(&other, &State { before: absent.clone(), held: absent });
        self.watches.hold(&other);
        let _running = bench.start();
        let notice = self.notices.recv_timeout(PATIENCE).expect("no notice came");
        assert_eq!(notice.fact, other, "{:?}", notice.kind);
        self.watches.disarm(&other);
    }
}

#[test]
fn a_forbidden_process_is_told_of_when_it_starts() {
    let bench = Bench::new();
    let lookout = Lookout::new(named(&bench.name, Presence::Absent), Events::OfTheKernel);
    assert_eq!(lookout.watches.describe(), "the kernel's process events, inotify, and a poll every 50 ms");
    // A poll that is due at that very moment may be faster; not every time.
    let told_by_an_event = (0..10).any(|_| {
        lookout.hold();
        let running = bench.start();
        let (evidence, told_by) = lookout.broke();
        assert_eq!(evidence, format!("pid {} {} (root)", running.0.id(), bench.program().display()));
        told_by == "the kernel's process events"
    });
    assert!(told_by_an_event, "ten times, a poll that comes every 50 ms was faster");
}

#[test]
fn a_forbidden_process_that_lives_two_milliseconds_is_told_of() {
    let bench = Bench::new();
    let lookout = Lookout::new(named(&bench.name, Presence::Absent), Events::OfTheKernel);
    let mut told = 0;
    for _ in 0..20 {
        lookout.hold();
        let status = Command::new(bench.program()).arg("0.002").status().unwrap();
        assert!(status.success());
        // On a machine that is busy otherwise the watcher may come too late for some of them.
        if let Ok(notice) = lookout.notices.recv_timeout(Duration::from_millis(500)) {
            let NoticeKind::Broke { sight } = notice.kind else { panic!("{:?}", notice.kind) };
            assert!(sight.evidence.contains(&bench.name), "{}", sight.evidence);
            told += usize::from(notice.told_by == "the kernel's process events");
        }
    }
    assert!(told > 10, "only {told} of 20 were told of");
}

#[test]
fn without_events_of_the_kernel_the_poll_tells() {
    let bench = Bench::new();
    let lookout = Lookout::new(named(&bench.name, Presence::Absent), Events::None);
    assert!(lookout.watches.describe().ends_with("no process events of the kernel: this test goes without"));
    lookout.hold();
    let _running = bench.start();
    let (_, told_by) = lookout.broke();
    assert_eq!(told_by, "the poll every 50 ms");
}

#[test]
fn a_break_between_look_and_hold_that_mends_itself_is_told_of() {
    let bench = Bench::new();
    let lookout = Lookout::new(named(&bench.name, Presence::Absent), Events::OfTheKernel);
    lookout.look();
    Command::new(bench.program()).arg("0.1").status().unwrap();
    lookout.watches.hold(&lookout.fact);
    lookout.broke();
}

#[test]
fn what_happened_before_the_look_is_no_break() {
    let bench = Bench::new();
    let lookout = Lookout::new(named(&bench.name, Presence::Absent), Events::OfTheKernel);
    Command::new(bench.program()).arg("0.005").status().unwrap();
    lookout.hold();
    lookout.nothing_so_far();
}

#[test]
fn a_broken_hold_is_told_of_once_and_again_when_it_is_held_again() {
    let bench = Bench::new();
    let lookout = Lookout::new(named(&bench.name, Presence::Absent), Events::OfTheKernel);
    lookout.hold();
    let running = bench.start();
    lookout.broke();
    let another = bench.start();
    lookout.nothing_so_far();
    drop(another);
    lookout.watches.hold(&lookout.fact);
    let (evidence, told_by) = lookout.broke();
    assert!(evidence.contains(&running.0.id().to_string()), "{evidence}");
    assert_eq!(told_by, "a look at the beginning of the hold");
}

#[test]
fn a_fact_that_was_let_go_is_told_of_no_more() {
    let bench = Bench::new();
    let lookout = Lookout::new(named(&bench.name, Presence::Absent), Events::OfTheKernel);
    lookout.hold();
    lookout.watches.disarm(&lookout.fact);
    let _running = bench.start();
    lookout.nothing_so_far();
    assert_eq!(lookout.watches.look(&lookout.fact, Side::While).verdict, Verdict::Unknown);
}

#[test]
fn a_fact_that_is_held_without_being_armed_is_told_of_at_once() {
    let bench = Bench::new();
    let lookout = Lookout::new(named(&bench.name, Presence::Absent), Events::OfTheKernel);
    lookout.watches.hold(&"thing strange".parse().unwrap());
    let (evidence, _) = lookout.broke();
    assert!(evidence.contains("is not armed"), "{evidence}");
}

#[test]
fn the_end_of_a_process_that_must_be_there_is_told_of() {
    for events in [Events::OfTheKernel, Events::None] {
        let bench = Bench::new();
        let running = bench.start();
        let lookout = Lookout::new(named(&bench.name, Presence::Present), events);
        lookout.hold();
        drop(running);
        let (evidence, _) = lookout.broke();
        assert_eq!(evidence, format!("no process whose executable is named {}", bench.name));
    }
}

#[test]
fn a_file_that_came_and_went_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later/flag");
    let lookout = Lookout::new(Probe::File(file(&path, Presence::Absent)), Events::None);
    fs::create_dir(dir.path().join("later")).unwrap();
    // The folder is new: the poll that sees it watches it from then on.
    lookout.nothing_so_far();
    lookout.hold();
    fs::write(&path, "").unwrap();
    fs::remove_file(&path).unwrap();
    let (evidence, told_by) = lookout.broke();
    assert_eq!((evidence, told_by.as_str()), (format!("{} was created", path.display()), "inotify"));
}

#[test]
fn a_file_that_must_be_there_is_missed_also_when_it_is_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flag");
    fs::write(&path, "").unwrap();
    let lookout = Lookout::new(Probe::File(file(&path, Presence::Present)), Events::None);
    lookout.hold();
    fs::rename(&path, dir.path().join("away")).unwrap();
    fs::rename(dir.path().join("away"), &path).unwrap();
    let (evidence, _) = lookout.broke();
    assert_eq!(evidence, format!("{} was removed", path.display()));
}

#[test]
fn a_server_that_starts_in_the_directory_is_told_of() {
    for events in [Events::OfTheKernel, Events::None] {
        let bench = Bench::new();
        let place = tempfile::tempdir().unwrap();
        let lookout = Lookout::new(data_dir(place.path(), &bench.name, DataDirState::Free), events);
        lookout.hold();
        let _elsewhere = bench.start();
        lookout.nothing_so_far();
        let _server = Running(Command::new(bench.program()).arg("600").current_dir(place.path()).spawn().unwrap());
        let (evidence, _) = lookout.broke();
        assert!(evidence.contains("stands in"), "{evidence}");
    }
}

#[test]
fn a_stranger_that_writes_in_the_directory_is_told_of() {
    let bench = Bench::new();
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("base")).unwrap();
    let lookout = Lookout::new(data_dir(place.path(), "postgres", DataDirState::Free), Events::OfTheKernel);
    lookout.hold();
    let open = OpenOptions::new().create(true).append(true).open(place.path().join("base/1")).unwrap();
    let _writer = Running(Command::new(bench.program()).arg("600").stdin(open).spawn().unwrap());
    let (evidence, told_by) = lookout.broke();
    assert!(evidence.contains("base/1 open for writing"), "{evidence}");
    assert_eq!(told_by, "the poll every 50 ms");
}

#[test]
fn a_command_is_asked_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("flag");
    let every = Duration::from_millis(50);
    let probe = CommandProbe { every, ..command(&["test", "!", "-e", flag.to_str().unwrap()]) };
    let lookout = Lookout::new(Probe::Command(probe), Events::None);
    lookout.hold();
    fs::write(&flag, "").unwrap();
    let (evidence, told_by) = lookout.broke();
    assert!(evidence.ends_with("exited 1"), "{evidence}");
    assert_eq!(told_by, "a look every 50ms");
}

#[test]
fn a_part_that_breaks_is_enough() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("flag");
    let either = Probe::Any(vec![
        Probe::File(file(&flag, Presence::Present)),
        Probe::Not(Box::new(named(&bench.name, Presence::Present))),
    ]);
    let both = Probe::All(vec![Probe::Command(command(&["true"])), either]);
    let lookout = Lookout::new(both, Events::OfTheKernel);
    fs::write(&flag, "").unwrap();
    lookout.hold();
    let _running = bench.start();
    lookout.nothing_so_far();
    fs::remove_file(&flag).unwrap();
    let (evidence, _) = lookout.broke();
    assert!(evidence.contains("is not there"), "{evidence}");
}

#[test]
fn a_watcher_that_stood_still_was_blind() {
    let bench = Bench::new();
    let lookout = Lookout::new(named(&bench.name, Presence::Absent), Events::OfTheKernel);
    lookout.hold();
    let standstill = lookout.watches.shared.lock();
    thread::sleep(Duration::from_millis(1100));
    drop(standstill);
    let notice = lookout.notices.recv_timeout(PATIENCE).unwrap();
    match notice.kind {
        NoticeKind::Blind { gap } => assert!(gap > Duration::from_secs(1), "{gap:?}"),
        NoticeKind::Broke { sight } => panic!("{}", sight.evidence),
    }
}

#[test]
fn blind_is_a_gap_of_more_than_two_periods_and_more_than_a_second() {
    let millis = Duration::from_millis;
    assert!(!is_blind(millis(50), millis(1000)));
    assert!(is_blind(millis(50), millis(1001)));
    assert!(!is_blind(millis(800), millis(1600)));
    assert!(is_blind(millis(800), millis(1601)));
}
