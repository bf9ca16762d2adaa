//! The kinds `monit` and `service` with real daemons.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::executable;
use crate::lab::kinds::{assert_only, seen, system};
use crate::lab::monit::{Monit, alone};
use crate::lab::{Running, is_running, signal, wait_until};
use interlock::history::event::Verdict;

#[test]
fn a_daemon_runs_until_it_is_told_to_quit() {
    let _alone = alone();
    let monit = Monit::new("");
    let kind = system(&monit.entry());
    assert_only(&kind, "stopped");
    monit.start();
    assert_only(&kind, "running");
    monit.quit();
    assert_only(&kind, "stopped");
}

#[test]
fn a_monit_in_the_foreground_runs() {
    let _alone = alone();
    let monit = Monit::new("");
    let kind = system(&monit.entry());
    let running = monit.start_in_foreground();
    assert_only(&kind, "running");
    drop(running);
    assert_only(&kind, "stopped");
}

#[test]
fn a_daemon_that_was_started_otherwise_is_known_by_its_pid_file() {
    let _alone = alone();
    let monit = Monit::new("");
    let kind = system(&format!("monit: {{control: /another/control, pidfile: {}}}", monit.pidfile().display()));
    monit.start();
    assert_only(&kind, "running");
}

#[test]
fn a_stale_pid_file_says_nothing() {
    let _alone = alone();
    let monit = Monit::new("");
    let kind = system(&monit.entry());
    let pid = monit.start();
    signal(pid, Signal::KILL);
    wait_until("monit ends", || !is_running(pid));
    assert!(monit.pidfile().exists());
    assert_only(&kind, "stopped");
    let other = Running(Command::new("sleep").arg("600").spawn().unwrap());
    fs::write(monit.pidfile(), format!("{}\n", other.pid())).unwrap();
    assert_only(&kind, "stopped");
}

#[test]
fn a_missing_control_file_does_not_hide_a_monit() {
    let _alone = alone();
    let monit = Monit::new("");
    let kind = system(&monit.entry());
    monit.start();
    fs::remove_file(monit.control()).unwrap();
    assert_only(&kind, "running");
}

#[test]
fn any_monit_is_in_the_way_of_stopped() {
    let _alone = alone();
    let monit = Monit::new("");
    monit.start();
    let kind = system("monit: {control: /no/such/control, pidfile: /no/such/pid}");
    for state in ["running", "stopped"] {
        let look = seen(&kind, state);
        assert_eq!(look.verdict, Verdict::Broken, "{state}: {}", look.evidence);
    }
}

#[test]
fn a_service_is_told_by_its_pid_file_and_its_program() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("served");
    executable::copy(Path::new("/bin/sleep"), &program);
    let pidfile = dir.path().join("pid");
    let by_file = system(&format!("service: {{pidfile: {}, name: served}}", pidfile.display()));
    let by_program = system(&format!("service: {{exe: {}}}", program.display()));
    assert_only(&by_file, "stopped");
    assert_only(&by_program, "stopped");
    let service = Running(Command::new(&program).arg("600").spawn().unwrap());
    fs::write(&pidfile, format!("{}\n", service.pid())).unwrap();
    assert_only(&by_file, "running");
    assert_only(&by_program, "running");
    drop(service);
    assert_only(&by_file, "stopped");
    assert_only(&by_program, "stopped");
}
