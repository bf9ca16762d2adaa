//! The kind `postgres` in the states in which the usual tests are wrong: each row of the table in docs/probes.md, made for real.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use interlock::exec::censor::Censor;
use interlock::history::event::Verdict;
use interlock::id::Fact;
use interlock::probe::{Notice, NoticeKind, View, Watches};
use interlock::runbook::model::Side;
use interlock::runbook::model::System;
use rustix::process::Signal;

use crate::lab::kinds::{assert_only, seen, state, system};
use crate::lab::postgres::Cluster;
use crate::lab::{PATIENCE, Running, signal, wait_until};

fn cluster() -> (Cluster, System) {
    let cluster = Cluster::new();
    let system = system(&cluster.entry());
    (cluster, system)
}

#[test]
fn rows_1_2_3_never_started_then_running_then_hung() {
    let (cluster, database) = cluster();
    assert_only(&database, "down");
    cluster.start();
    assert_only(&database, "up");
    let postmaster = cluster.postmaster();
    signal(postmaster, Signal::STOP);
    wait_until("nobody answers", || cluster.is_ready() == Some(2));
    assert_only(&database, "up");
    signal(postmaster, Signal::CONT);
}

#[test]
fn rows_4_5_a_smart_stop_waits_for_a_session_and_ends() {
    let (cluster, database) = cluster();
    cluster.start();
    let session = cluster.begin("select pg_sleep(600)");
    cluster.begin_to_stop("smart");
    wait_until("the server rejects connections", || cluster.is_ready() == Some(1));
    assert_only(&database, "up");
    drop(session);
    signal(cluster.process_titled("SELECT"), Signal::TERM);
    cluster.wait_for_processes(0);
    assert_only(&database, "down");
}

#[test]
fn rows_6_7_a_fast_stop_is_held_up_by_its_checkpoint_and_ends() {
    let (cluster, database) = cluster();
    cluster.start();
    let checkpointer = cluster.process_titled("checkpointer");
    signal(checkpointer, Signal::STOP);
    cluster.begin_to_stop("fast");
    cluster.wait_for_processes(2);
    assert_only(&database, "up");
    signal(checkpointer, Signal::CONT);
    cluster.wait_for_processes(0);
    assert_only(&database, "down");
}

#[test]
fn rows_8_9_10_a_backend_survives_its_killed_postmaster() {
    let (cluster, database) = cluster();
    cluster.start();
    let _session = cluster.begin("do $$ begin loop end loop; end $$");
    let backend = cluster.process_titled("DO");
    let postmaster = cluster.postmaster();
    signal(postmaster, Signal::KILL);
    cluster.wait_for_processes(1);
    assert_only(&database, "up");
    signal(backend, Signal::KILL);
    cluster.wait_for_processes(0);
    assert_only(&database, "crashed");
    // A new server takes the old one for alive until that is reaped.
    wait_until("the killed server is reaped", || !Path::new(&format!("/proc/{postmaster}")).exists());
    cluster.start();
    assert_only(&database, "up");
}

#[test]
fn row_11_an_immediate_stop_is_a_crash() {
    let (cluster, database) = cluster();
    cluster.start();
    cluster.stop("immediate");
    assert_only(&database, "crashed");
}

#[test]
fn rows_12_13_a_standby_that_rejects_connections_and_its_clean_stop() {
    let (cluster, database) = cluster();
    cluster.configure("hot_standby = off\nrestore_command = '/bin/false'");
    fs::write(cluster.data().join("standby.signal"), "").unwrap();
    cluster.start_rejecting();
    assert_only(&database, "up");
    cluster.stop("fast");
    assert_only(&database, "down");
    assert!(seen(&database, "down").evidence.contains("shut down in recovery"));
}

#[test]
fn rows_14_15_a_stale_pid_file_proves_nothing() {
    let (cluster, database) = cluster();
    let mut other = Running(Command::new("sleep").arg("600").spawn().unwrap());
    let data = cluster.data();
    let content = format!("{}\n{}\n1700000000\n{}\n\n\n\nready\n", other.pid(), data.display(), cluster.port);
    fs::write(cluster.pidfile(), content).unwrap();
    assert_only(&database, "down");
    other.0.kill().unwrap();
    other.0.wait().unwrap();
    assert_only(&database, "down");
}

#[test]
fn rows_16_17_the_port_says_nothing_about_the_cluster() {
    let (ours, database) = cluster();
    let (other, others_database) = cluster();
    other.configure(&format!("port = {}", ours.port));
    other.start();
    assert_only(&database, "down");
    assert_only(&others_database, "up");
    ours.configure(&format!("port = {}\nlisten_addresses = ''", other.port));
    ours.start();
    assert_only(&database, "up");
}

#[test]
fn row_18_a_single_user_server_uses_the_directory() {
    let (cluster, database) = cluster();
    let mut server = cluster.start_single_user();
    assert_only(&database, "up");
    drop(server.0.stdin.take());
    server.0.wait().unwrap();
    assert_only(&database, "down");
}

#[test]
fn row_19_connections_are_exhausted() {
    let (cluster, database) = cluster();
    cluster.start();
    let sessions: Vec<_> = (0..5).map(|_| cluster.begin("select pg_sleep(600)")).collect();
    assert!(cluster.refuses_sessions());
    assert_only(&database, "up");
    drop(sessions);
}

#[test]
fn rows_20_21_the_pid_file_is_removed_and_the_server_gives_up() {
    let (cluster, database) = cluster();
    cluster.start();
    let postmaster = cluster.postmaster();
    fs::remove_file(cluster.pidfile()).unwrap();
    assert_only(&database, "up");
    // Within a minute the server misses its file and sends itself this signal.
    signal(postmaster, Signal::QUIT);
    cluster.wait_for_processes(0);
    assert_only(&database, "crashed");
}

#[test]
fn files_that_cannot_be_trusted_say_nothing() {
    let (cluster, database) = cluster();
    let control = cluster.data().join("global/pg_control");
    let good = fs::read(&control).unwrap();
    let mut bad = good.clone();
    bad[200] ^= 0xff;
    fs::write(&control, bad).unwrap();
    let down = seen(&database, "down");
    assert_eq!(down.verdict, Verdict::Unknown, "{}", down.evidence);
    assert!(down.evidence.contains("WARNING: Calculated CRC checksum"), "{}", down.evidence);
    assert_eq!(seen(&database, "crashed").verdict, Verdict::Unknown);
    fs::write(&control, good).unwrap();
    assert_only(&database, "down");
    fs::write(cluster.data().join("PG_VERSION"), "99\n").unwrap();
    let down = seen(&database, "down");
    assert_eq!(down.verdict, Verdict::Unknown, "{}", down.evidence);
    assert!(down.evidence.contains("pg_controldata of PostgreSQL 99 was not found; set bin_dir"), "{}", down.evidence);
    fs::rename(cluster.data(), cluster.data().with_extension("away")).unwrap();
    for state in ["up", "down", "crashed"] {
        assert_eq!(seen(&database, state).verdict, Verdict::Unknown);
    }
}

#[test]
fn a_stranger_that_writes_in_the_cluster_is_no_server_but_it_is_not_down_either() {
    let (cluster, database) = cluster();
    let open = fs::OpenOptions::new().append(true).open(cluster.data().join("postgresql.conf")).unwrap();
    let _writer = Running(Command::new("sleep").arg("600").stdin(open).spawn().unwrap());
    for state in ["up", "down", "crashed"] {
        let look = seen(&database, state);
        assert_eq!(look.verdict, Verdict::Broken, "{state}: {}", look.evidence);
    }
    assert!(seen(&database, "down").evidence.contains("postgresql.conf open for writing"));
}

#[test]
fn a_database_that_is_held_down_and_is_started_is_told_of() {
    let (cluster, database) = cluster();
    let (tell, notices) = channel();
    let tell = Mutex::new(tell);
    let on_notice = Arc::new(move |notice: &Notice| tell.lock().unwrap().send(notice.clone()).unwrap());
    let watches = Watches::new(View::outside_steps(Censor::none()), on_notice).unwrap();
    let fact: Fact = "database down".parse().unwrap();
    watches.arm(&fact, &state(&database, "down"));
    assert_eq!(watches.look(&fact, Side::Before).verdict, Verdict::Holds);
    watches.hold(&fact);
    cluster.start();
    let notice = notices.recv_timeout(PATIENCE).expect("a notice");
    match notice.kind {
        NoticeKind::Broke { sight } => {
            assert_eq!(sight.verdict, Verdict::Broken);
            assert!(sight.evidence.contains("/bin/postgres stands in "), "{}", sight.evidence);
        }
        NoticeKind::Blind { gap } => panic!("blind for {gap:?}"),
    }
}
