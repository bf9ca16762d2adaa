//! Real processes, in each tier. Everything is started through the room itself, so that dropping a containment or a
//! control ends it, also when a test fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::exec::command::{Command, Stdin, User};
use crate::exec::containment::Containment;
use crate::exec::mask::Secrets;
use crate::exec::process::{Control, Ended, Exit, Leftovers, OutputPlan, Running, StartError, start};
use crate::exec::program::{PATH, Programs};
use crate::exec::transcript::{self, TranscriptPlan};

mod contain;
mod output;
mod programs;
mod starting;

/// A test hangs no longer than this.
const LONG: Duration = Duration::from_secs(20);

/// A folder for one test, and what runs in it.
struct Bench {
    folder: tempfile::TempDir,
    containment: Containment,
    programs: Programs,
    shown: Arc<Mutex<Vec<u8>>>,
}

/// A step under test.
struct Step {
    running: Running,
    control: Control,
    ended: Receiver<Ended>,
}

impl Bench {
    /// One bench for each tier: control groups, entered in both ways, the freezer of version 1 (as root these tests insist on
    /// them), and the walk.
    fn tiers(name: &str) -> [Self; 4] {
        let grouped = Containment::detect(&run_name(name));
        if rustix::process::geteuid().is_root() {
            assert!(grouped.describe().starts_with("cgroup v2 at "), "{}", grouped.describe());
        }
        let freezer = Containment::freezer(&run_name(&format!("{name}-v1")));
        if rustix::process::geteuid().is_root() {
            let hint = "mount it: mount -t cgroup -o freezer freezer /sys/fs/cgroup/freezer";
            assert!(freezer.describe().starts_with("cgroup v1 freezer at "), "{}; {hint}", freezer.describe());
        }
        let by_the_door = Containment::by_the_door(&run_name(&format!("{name}-door")));
        [
            Self::with(grouped),
            Self::with(by_the_door),
            Self::with(freezer),
            Self::with(Containment::walk(&run_name(&format!("{name}-walk")))),
        ]
    }

    fn new(name: &str) -> Self {
        Self::with(Containment::detect(&run_name(name)))
    }

    fn with(containment: Containment) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), containment, programs: Programs::default(), shown: Arc::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A shell script as a command, in the test's folder.
    fn sh(&self, script: &str) -> Command {
        self.command(&["sh", "-c", script])
    }

    fn command(&self, argv: &[&str]) -> Command {
        Command {
            program: self.programs.find(argv[0], PATH, self.folder.path()).unwrap(),
            argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
            env: Vec::new(),
            cwd: self.folder.path().to_owned(),
            user: User::current(),
            stdin: Stdin::Empty,
        }
    }

    fn plan(&self, name: &str) -> OutputPlan {
        let shown = Arc::clone(&self.shown);
        OutputPlan {
            transcript: TranscriptPlan::at(self.path(&format!("{name}.cast"))),
            secrets: Secrets::none(),
            redact: None,
            on_output: Box::new(move |bytes| shown.lock().unwrap().extend_from_slice(bytes)),
            on_trouble: Box::new(|_| {}),
            leftovers: Leftovers::Fail,
        }
    }

    fn start(&self, name: &str, command: &Command) -> Step {
        self.start_with(name, command, self.plan(name))
    }

    fn start_with(&self, name: &str, command: &Command, plan: OutputPlan) -> Step {
        let (tell, ended) = channel();
        let on_end = Box::new(move |end| tell.send(end).unwrap());
        let running = start(&self.containment, name, command, plan, on_end).unwrap();
        let control = running.control();
        Step { running, control, ended }
    }

    fn refuse(&self, name: &str, command: &Command) -> StartError {
        start(&self.containment, name, command, self.plan(name), Box::new(|_| {})).unwrap_err()
    }

    /// Runs a script to its end.
    fn run(&self, name: &str, script: &str) -> Ended {
        self.start(name, &self.sh(script)).end()
    }

    fn shown(&self) -> String {
        String::from_utf8(self.shown.lock().unwrap().clone()).unwrap()
    }
}

impl Step {
    fn end(self) -> Ended {
        self.ended.recv_timeout(LONG).unwrap()
    }
}

/// This test program again, with nothing but one test in it; `role` tells that test that it is there.
fn only(test: &str, role: &str, value: &Path) -> std::process::Command {
    let mut program = std::process::Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", test]).env(role, value);
    program.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    program
}

/// A run's name that no other test and no other test process uses.
fn run_name(name: &str) -> String {
    format!("test-{name}-{}", std::process::id())
}

/// Waits until something is so.
fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < LONG, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a process of this pid lives (a zombie does not).
fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])))
}

/// The pids that scripts wrote into a file, one a line, once there are so many.
fn pids_in(file: &Path, count: usize) -> Vec<u32> {
    let read = || -> Vec<u32> {
        let text = fs::read_to_string(file).unwrap_or_default();
        // A last line without its end is still being written.
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.parse().ok()).collect()
    };
    wait_until(&format!("{count} pids are in {}", file.display()), || read().len() >= count);
    read()
}

/// All output bytes of a transcript, and its marks.
pub(super) fn read_cast(path: &Path) -> (Vec<u8>, Vec<String>, String) {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let header: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(header["version"], 2);
    let salt = header["interlock"]["salt"].as_str().unwrap().to_owned();
    let (mut bytes, mut marks) = (Vec::new(), Vec::new());
    for line in lines {
        let (_, kind, text): (f64, String, String) = serde_json::from_str(line).unwrap();
        match kind.as_str() {
            "o" => bytes.extend(transcript::decode(&text)),
            "m" => marks.push(text),
            other => panic!("event {other}"),
        }
    }
    (bytes, marks, salt)
}

#[test]
fn a_command_runs_and_ends_in_each_tier() {
    for bench in Bench::tiers("basic") {
        let ended = bench.run("a", "echo out; echo err >&2; exit 3");
        assert_eq!((ended.ending, ended.leftovers, ended.survivors), (Exit::Code(3), vec![], vec![]));
        assert_eq!(bench.shown(), "out\nerr\n");
    }
}
