//! Looks at real processes, files, ports and commands.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use tempfile::TempDir;

use super::evidence::{Look, bounded};
use super::{View, commands, in_words, logic, look};
use crate::exec::censor::Censor;
use crate::executable;
use crate::history::event::Verdict;
use crate::runbook::model::{
    CommandProbe, DataDirProbe, DataDirState, FileProbe, PortProbe, PortState, Presence, Probe, ProcessProbe,
};

/// A process that is ended with its guard.
pub(super) struct Running(pub(super) Child);

impl Running {
    /// Starts it, and waits until its arguments can be seen: the kernel lets go of who starts a program a moment before that.
    pub(super) fn start(command: &mut Command) -> Self {
        let running = Self(command.spawn().unwrap());
        let arguments = format!("/proc/{}/cmdline", running.0.id());
        while fs::read(&arguments).is_ok_and(|bytes| bytes.is_empty()) {
            std::thread::yield_now();
        }
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A folder with a program of a name that no other process has.
pub(super) struct Bench {
    pub(super) dir: TempDir,
    pub(super) name: String,
}

impl Bench {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("probed-{}", dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.'));
        executable::copy(Path::new("/bin/sleep"), &dir.path().join(&name));
        Self { dir, name }
    }

    pub(super) fn program(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    pub(super) fn start(&self) -> Running {
        Running::start(Command::new(self.program()).arg("600").current_dir("/"))
    }
}

pub(super) fn process(state: Presence) -> ProcessProbe {
    ProcessProbe { pidfile: None, exe: None, name: None, user: None, args: None, state }
}

pub(super) fn named(name: &str, state: Presence) -> Probe {
    Probe::Process(ProcessProbe { name: Some(name.to_owned()), ..process(state) })
}

pub(super) fn file(path: &Path, state: Presence) -> FileProbe {
    FileProbe {
        path: path.to_path_buf(),
        state,
        newer_than: None,
        older_than: None,
        min_size: None,
        mode: None,
        owner: None,
        contains: None,
    }
}

pub(super) fn command(run: &[&str]) -> CommandProbe {
    CommandProbe {
        run: run.iter().map(|&part| part.to_owned()).collect(),
        look_in: Vec::new(),
        holds: vec![0],
        broken: vec![1],
        stdout: None,
        user: None,
        every: Duration::from_secs(1),
        timeout: Duration::from_secs(5),
    }
}

pub(super) fn data_dir(path: &Path, server: &str, state: DataDirState) -> Probe {
    Probe::DataDir(DataDirProbe { path: path.to_path_buf(), server: vec![server.to_owned()], state })
}

fn seen(probe: &Probe) -> Look {
    look(probe, &View::outside_steps(Censor::none()))
}

#[track_caller]
fn assert_verdict(probe: &Probe, verdict: Verdict) -> String {
    let look = seen(probe);
    assert_eq!(look.verdict, verdict, "{}: {}", in_words(probe), look.evidence);
    look.evidence
}

#[test]
fn a_process_is_found_by_the_name_of_its_executable_and_named() {
    let bench = Bench::new();
    assert_verdict(&named(&bench.name, Presence::Absent), Verdict::Holds);
    assert_verdict(&named(&bench.name, Presence::Present), Verdict::Broken);
    let running = bench.start();
    let evidence = assert_verdict(&named(&bench.name, Presence::Present), Verdict::Holds);
    assert_eq!(evidence, format!("pid {} {} (root)", running.0.id(), bench.program().display()));
    assert_verdict(&named(&bench.name, Presence::Absent), Verdict::Broken);
}

#[test]
fn a_process_whose_executable_was_deleted_still_counts() {
    let bench = Bench::new();
    let _running = bench.start();
    fs::remove_file(bench.program()).unwrap();
    assert_verdict(&named(&bench.name, Presence::Present), Verdict::Holds);
    let by_path = ProcessProbe { exe: Some(bench.program()), ..process(Presence::Present) };
    assert_verdict(&Probe::Process(by_path), Verdict::Holds);
}

#[test]
fn an_executable_is_found_through_a_symbolic_link() {
    let bench = Bench::new();
    let _running = bench.start();
    let link = bench.dir.path().join("link");
    symlink(bench.program(), &link).unwrap();
    assert_verdict(&Probe::Process(ProcessProbe { exe: Some(link), ..process(Presence::Present) }), Verdict::Holds);
}

#[test]
fn a_process_that_only_waits_to_be_reaped_does_not_run() {
    let bench = Bench::new();
    let mut running = bench.start();
    running.0.kill().unwrap();
    rustix::process::waitid(
        rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&running.0)),
        rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
    )
    .unwrap();
    assert_verdict(&named(&bench.name, Presence::Absent), Verdict::Holds);
}

#[test]
fn arguments_must_stand_side_by_side() {
    let bench = Bench::new();
    let _running = Running::start(Command::new(bench.program()).args(["600", "1", "2"]));
    let with = |args: &[&str]| {
        let args = Some(args.iter().map(|&arg| arg.to_owned()).collect());
        Probe::Process(ProcessProbe { args, name: Some(bench.name.clone()), ..process(Presence::Present) })
    };
    assert_verdict(&with(&["600", "1"]), Verdict::Holds);
    assert_verdict(&with(&["1", "2"]), Verdict::Holds);
    assert_verdict(&with(&["600", "2"]), Verdict::Broken);
    assert_verdict(&with(&["60"]), Verdict::Broken);
}

#[test]
fn the_user_must_be_the_one_asked_for_and_exist() {
    let bench = Bench::new();
    let _running = bench.start();
    let by = |user: &str| {
        let user = Some(user.to_owned());
        Probe::Process(ProcessProbe { user, name: Some(bench.name.clone()), ..process(Presence::Present) })
    };
    assert_verdict(&by("root"), Verdict::Holds);
    assert_verdict(&by("nobody"), Verdict::Broken);
    assert_verdict(&by("no-such-user-here"), Verdict::Unknown);
}

#[test]
fn a_pid_file_counts_only_with_a_living_process_of_the_right_program() {
    let bench = Bench::new();
    let path = bench.dir.path().join("pid");
    let by_file = |state| {
        let name = Some(bench.name.clone());
        Probe::Process(ProcessProbe { pidfile: Some(path.clone()), name, ..process(state) })
    };
    assert_verdict(&by_file(Presence::Absent), Verdict::Holds);
    let running = bench.start();
    let pid = running.0.id();
    fs::write(&path, format!("{pid}\n")).unwrap();
    assert_verdict(&by_file(Presence::Present), Verdict::Holds);
    drop(running);
    let evidence = assert_verdict(&by_file(Presence::Absent), Verdict::Holds);
    assert_eq!(evidence, format!("pid {pid} of {} is not running", path.display()));
    let other = Running::start(Command::new("/bin/sleep").arg("600"));
    fs::write(&path, format!("{}\n", other.0.id())).unwrap();
    let evidence = assert_verdict(&by_file(Presence::Absent), Verdict::Holds);
    assert!(evidence.contains("is another program's: /usr/bin/sleep"), "{evidence}");
    for content in ["", "soon\n", "-12\n", "0\n"] {
        fs::write(&path, content).unwrap();
        assert_verdict(&by_file(Presence::Absent), Verdict::Unknown);
    }
}

#[test]
fn absence_is_unknown_where_processes_could_be_hidden() {
    let bench = Bench::new();
    let view = View::with_limits(Arc::new(|_| false), vec!["this program runs in a container".to_owned()]);
    let absent = look(&named(&bench.name, Presence::Absent), &view);
    assert_eq!(absent.verdict, Verdict::Unknown);
    assert!(
        absent.evidence.ends_with("as far as can be seen; this program runs in a container"),
        "{}",
        absent.evidence
    );
    let not_present = look(&Probe::Not(Box::new(named(&bench.name, Presence::Present))), &view);
    assert_eq!(not_present.verdict, Verdict::Unknown);
    let free = look(&data_dir(bench.dir.path(), &bench.name, DataDirState::Free), &view);
    assert_eq!(free.verdict, Verdict::Unknown);
    let _running = bench.start();
    assert_eq!(look(&named(&bench.name, Presence::Absent), &view).verdict, Verdict::Broken);
}

#[test]
fn a_port_is_open_when_it_accepts_and_closed_when_it_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let probe = |host: &str, state| {
        Probe::Port(PortProbe { port, host: host.to_owned(), state, timeout: Duration::from_secs(2) })
    };
    assert_verdict(&probe("127.0.0.1", PortState::Open), Verdict::Holds);
    assert_verdict(&probe("localhost", PortState::Open), Verdict::Holds);
    assert_verdict(&probe("127.0.0.1", PortState::Closed), Verdict::Broken);
    // Closing it would not be enough while a child that another test has just started has it too.
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
    assert_verdict(&probe("127.0.0.1", PortState::Open), Verdict::Broken);
    assert_verdict(&probe("127.0.0.1", PortState::Closed), Verdict::Holds);
    assert_verdict(&probe("no-such-host.invalid", PortState::Closed), Verdict::Unknown);
}

#[test]
fn a_port_that_does_not_answer_in_time_is_unknown() {
    // A backlog that is full: the kernel answers no further connection.
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &"127.0.0.1:0".parse::<std::net::SocketAddrV4>().unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let fill = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let _full: Vec<_> = (0..4).map_while(|_| fill().ok()).collect();
    let probe = |state| {
        let host = "127.0.0.1".to_owned();
        Probe::Port(PortProbe { port: address.port(), host, state, timeout: Duration::from_millis(200) })
    };
    let evidence = assert_verdict(&probe(PortState::Closed), Verdict::Unknown);
    assert!(evidence.ends_with("no answer within 200ms"), "{evidence}");
    assert_verdict(&probe(PortState::Open), Verdict::Unknown);
}

#[test]
fn a_file_is_looked_at_in_every_respect_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup");
    assert_verdict(&Probe::File(file(&path, Presence::Absent)), Verdict::Holds);
    assert_verdict(&Probe::File(file(&dir.path().join("no/such/folder"), Presence::Absent)), Verdict::Holds);
    fs::write(&path, "done: all\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let all = FileProbe {
        newer_than: Some(Duration::from_secs(3600)),
        min_size: Some(10),
        mode: Some(0o640),
        owner: Some("root".to_owned()),
        contains: Some("done".to_owned()),
        ..file(&path, Presence::Present)
    };
    assert_verdict(&Probe::File(all.clone()), Verdict::Holds);
    for wrong in [
        FileProbe { older_than: Some(Duration::from_secs(3600)), ..all.clone() },
        FileProbe { min_size: Some(11), ..all.clone() },
        FileProbe { mode: Some(0o600), ..all.clone() },
        FileProbe { owner: Some("nobody".to_owned()), ..all.clone() },
        FileProbe { contains: Some("failed".to_owned()), ..all.clone() },
        file(&path, Presence::Absent),
    ] {
        assert_verdict(&Probe::File(wrong), Verdict::Broken);
    }
    let strange = FileProbe { owner: Some("no-such-user-here".to_owned()), ..all.clone() };
    assert_verdict(&Probe::File(strange), Verdict::Unknown);
    let folder = FileProbe { contains: Some("done".to_owned()), ..file(dir.path(), Presence::Present) };
    assert_verdict(&Probe::File(folder), Verdict::Unknown);
    let later = std::time::SystemTime::now() + Duration::from_secs(3600);
    File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    assert_verdict(&Probe::File(all), Verdict::Unknown);
    fs::remove_file(&path).unwrap();
    symlink("nowhere", &path).unwrap();
    assert_verdict(&Probe::File(file(&path, Presence::Absent)), Verdict::Holds);
}

#[test]
fn a_text_is_found_across_the_pieces_in_which_a_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long");
    fs::write(&path, format!("{}needle{}", "x".repeat(64 * 1024 - 3), "y".repeat(1000))).unwrap();
    let probe = FileProbe { contains: Some("needle".to_owned()), ..file(&path, Presence::Present) };
    assert_verdict(&Probe::File(probe), Verdict::Holds);
}

#[test]
fn a_directory_is_in_use_when_a_server_stands_in_it() {
    let bench = Bench::new();
    let place = bench.dir.path();
    let free = data_dir(place, &bench.name, DataDirState::Free);
    let in_use = data_dir(place, &bench.name, DataDirState::InUse);
    assert_verdict(&free, Verdict::Holds);
    assert_verdict(&in_use, Verdict::Broken);
    let _elsewhere = bench.start();
    assert_verdict(&free, Verdict::Holds);
    let _server = Running::start(Command::new(bench.program()).arg("600").current_dir(place));
    let evidence = assert_verdict(&in_use, Verdict::Holds);
    assert!(evidence.contains("stands in it"), "{evidence}");
    assert_verdict(&free, Verdict::Broken);
    let link = tempfile::tempdir().unwrap();
    symlink(place, link.path().join("data")).unwrap();
    assert_verdict(&data_dir(&link.path().join("data"), &bench.name, DataDirState::Free), Verdict::Broken);
}

#[test]
fn a_directory_is_in_use_when_a_server_only_reads_a_file_of_it() {
    let bench = Bench::new();
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("base")).unwrap();
    fs::write(place.path().join("base/1"), "").unwrap();
    let open = File::open(place.path().join("base/1")).unwrap();
    let _server = Running::start(Command::new(bench.program()).arg("600").current_dir("/").stdin(open));
    let evidence = assert_verdict(&data_dir(place.path(), &bench.name, DataDirState::InUse), Verdict::Holds);
    assert!(evidence.contains("base/1 open"), "{evidence}");
    assert_verdict(&data_dir(place.path(), &bench.name, DataDirState::Free), Verdict::Broken);
}

#[test]
fn a_stranger_that_stands_in_a_directory_is_named_and_breaks_nothing() {
    let bench = Bench::new();
    let place = tempfile::tempdir().unwrap();
    let stranger = Running::start(Command::new(bench.program()).arg("600").current_dir(place.path()));
    let evidence = assert_verdict(&data_dir(place.path(), "postgres", DataDirState::Free), Verdict::Holds);
    assert!(evidence.contains(&format!("pid {} ", stranger.0.id())), "{evidence}");
    assert!(evidence.ends_with("only stands in it"), "{evidence}");
}

#[test]
fn a_stranger_that_writes_below_a_directory_breaks_free_but_the_step_itself_does_not() {
    let bench = Bench::new();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("table");
    let open = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    let start = |open: File| Running::start(Command::new(bench.program()).arg("600").stdin(open));
    let writer = start(open);
    let free = data_dir(place.path(), "postgres", DataDirState::Free);
    let evidence = assert_verdict(&free, Verdict::Broken);
    assert!(evidence.contains("table open for writing"), "{evidence}");
    assert_verdict(&data_dir(place.path(), "postgres", DataDirState::InUse), Verdict::Broken);
    let pid = writer.0.id();
    let from_step = View::new(Arc::new(move |asked| asked == pid), Censor::none());
    assert_eq!(look(&free, &from_step).verdict, Verdict::Holds);
    let as_server = data_dir(place.path(), &bench.name, DataDirState::Free);
    assert_eq!(look(&as_server, &from_step).verdict, Verdict::Broken, "a server counts wherever it was started");
    drop(writer);
    let _reader = start(File::open(&path).unwrap());
    // A child that another test is just starting has our open files for a moment, until it executes its program.
    let begun = Instant::now();
    while seen(&free).verdict != Verdict::Holds {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", seen(&free));
        std::thread::yield_now();
    }
}

#[test]
fn a_directory_that_is_not_there_tells_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for state in [DataDirState::Free, DataDirState::InUse] {
        assert_verdict(&data_dir(&dir.path().join("gone"), "postgres", state), Verdict::Unknown);
    }
    fs::write(dir.path().join("file"), "").unwrap();
    assert_verdict(&data_dir(&dir.path().join("file"), "postgres", DataDirState::Free), Verdict::Unknown);
}

#[test]
fn a_command_says_yes_or_no_by_the_exit_codes_it_names() {
    let sh = |text: &str| Probe::Command(command(&["/bin/sh", "-c", text]));
    assert_verdict(&sh("exit 0"), Verdict::Holds);
    assert_verdict(&sh("exit 1"), Verdict::Broken);
    for unclear in ["exit 2", "exit 127", "kill -9 $$", "no-such-program-here"] {
        assert_verdict(&sh(unclear), Verdict::Unknown);
        assert_verdict(&Probe::Not(Box::new(sh(unclear))), Verdict::Unknown);
    }
    assert_verdict(&Probe::Command(command(&["/no/such/program"])), Verdict::Unknown);
    let evidence = assert_verdict(&Probe::Command(command(&["no-such-program"])), Verdict::Unknown);
    assert!(evidence.contains("was not found in /usr/local/sbin"), "{evidence}");
}

#[test]
fn the_output_of_a_command_must_match() {
    let with = |text: &str, regex: &str| {
        let stdout = Some(regex.to_owned());
        Probe::Command(CommandProbe { stdout, ..command(&["/bin/sh", "-c", text]) })
    };
    assert_verdict(&with("echo shut down", "^shut down$"), Verdict::Broken);
    assert_verdict(&with("echo shut down", "(?m)^shut down$"), Verdict::Holds);
    assert_verdict(&with("echo shut down; exit 3", "shut"), Verdict::Unknown);
    assert_verdict(&with("echo x", "("), Verdict::Unknown);
}

#[test]
fn a_command_runs_in_a_clean_environment_and_within_its_time() {
    let env = CommandProbe { stdout: Some("(?m)^LC_ALL=C$".to_owned()), ..command(&["env"]) };
    assert_verdict(&Probe::Command(env), Verdict::Holds);
    let cargo = CommandProbe { stdout: Some("CARGO".to_owned()), ..command(&["env"]) };
    assert_verdict(&Probe::Command(cargo), Verdict::Broken);
    let slow =
        CommandProbe { timeout: Duration::from_millis(100), ..command(&["/bin/sh", "-c", "sleep 60 & sleep 60"]) };
    let evidence = assert_verdict(&Probe::Command(slow), Verdict::Unknown);
    assert!(evidence.ends_with("did not end within 100ms"), "{evidence}");
}

#[test]
fn a_command_is_looked_for_where_the_probe_says() {
    let dir = tempfile::tempdir().unwrap();
    for version in ["9.6", "15"] {
        let bin = dir.path().join(version).join("bin");
        fs::create_dir_all(&bin).unwrap();
        executable::script(&bin.join("tell"), &format!("#!/bin/sh\necho version {version}\n"));
    }
    let look_in = vec!["/no/such/*/bin".to_owned(), format!("{}/*/bin", dir.path().display())];
    let probe = CommandProbe { look_in, stdout: Some("version 15".to_owned()), ..command(&["tell"]) };
    assert_verdict(&Probe::Command(probe), Verdict::Holds);
}

#[test]
fn probes_are_put_into_words_and_name_their_commands() {
    let probe = Probe::All(vec![
        named("monit", Presence::Absent),
        Probe::Any(vec![
            data_dir(Path::new("/srv/pg"), "postgres", DataDirState::Free),
            Probe::Not(Box::new(Probe::Command(command(&["pg_isready", "-q"])))),
        ]),
    ]);
    insta::assert_snapshot!(in_words(&probe), @"there is no process whose executable is named monit; and (no process named postgres uses /srv/pg, and none outside the step has a file below it open for writing; or (not: `pg_isready -q` exits 0, asked every 1s))");
    assert_eq!(commands(&probe), [["pg_isready", "-q"]]);
}

fn verdicts() -> impl Strategy<Value = Vec<Verdict>> {
    let one = prop_oneof![Just(Verdict::Holds), Just(Verdict::Broken), Just(Verdict::Unknown)];
    proptest::collection::vec(one, 1..6)
}

fn looks(verdicts: &[Verdict]) -> impl Iterator<Item = Look> {
    verdicts.iter().map(|&verdict| Look::new(verdict, "seen"))
}

proptest! {
    #[test]
    fn all_is_as_bad_as_its_worst_part(verdicts in verdicts()) {
        let expected = if verdicts.contains(&Verdict::Broken) {
            Verdict::Broken
        } else if verdicts.contains(&Verdict::Unknown) {
            Verdict::Unknown
        } else {
            Verdict::Holds
        };
        prop_assert_eq!(logic::all(looks(&verdicts)).verdict, expected);
    }

    #[test]
    fn any_and_all_are_each_others_opposite_under_not(verdicts in verdicts()) {
        let any = logic::any(looks(&verdicts));
        let opposite = logic::not(logic::all(looks(&verdicts).map(logic::not)));
        prop_assert_eq!(any.verdict, opposite.verdict);
    }

    #[test]
    fn evidence_is_one_short_printable_line(text in any::<String>()) {
        let line = bounded(&text, 100);
        prop_assert!(line.len() <= 100);
        prop_assert!(!line.chars().any(char::is_control));
    }
}

#[test]
fn of_nothing_at_all_nothing_can_be_told() {
    assert_eq!(logic::all(std::iter::empty()).verdict, Verdict::Unknown);
    assert_eq!(logic::any(std::iter::empty()).verdict, Verdict::Unknown);
}
