//! A scratch folder with a home of its own, and the program run in it as a user would.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::executable;

/// The longest that any run of the program may take in these tests.
pub const BOUND: Duration = Duration::from_secs(60);

/// A scratch folder with a home; removed when it is dropped.
pub struct Scratch {
    folder: tempfile::TempDir,
}

/// How the program ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The entries of a segment, which is filled up with newlines beforehand.
fn entries_of(segment: &Path) -> serde_json::Result<Vec<serde_json::Value>> {
    let text = std::fs::read_to_string(segment).unwrap();
    let text = text.split("\n\n").next().unwrap();
    text.lines().filter(|line| !line.is_empty()).map(serde_json::from_str).collect()
}

impl Scratch {
    pub fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("interlock-it-").tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// Writes a file below the scratch folder and gives its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes a script below the scratch folder, executable, and gives its path.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        executable::script(&path, text);
        path
    }

    /// Copies a program into the scratch folder and gives its path.
    pub fn copy_program(&self, program: &str, name: &str) -> PathBuf {
        let path = self.path().join(name);
        executable::copy(Path::new(program), &path);
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }

    /// The program with this home, unless another is given, nothing on standard input, and no surroundings of the tester's.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_interlock"));
        command
            .args(arguments)
            .args(if arguments.contains(&"--home") { vec![] } else { vec!["--home".into(), self.home()] })
            .current_dir(self.path())
            .env_remove("INTERLOCK_HOME")
            .env_remove("INTERLOCK_POLICY")
            .env_remove("SUDO_USER")
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn interlock(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments).spawn().unwrap())
    }

    /// The program as the last arguments of another one, such as a tracer.
    pub fn through(&self, before: &[&str], arguments: &[&str]) -> Ran {
        let program = self.command(arguments);
        let mut outer = Command::new(before[0]);
        outer.args(&before[1..]).arg(program.get_program()).args(program.get_args()).current_dir(self.path());
        for (name, _) in program.get_envs() {
            outer.env_remove(name);
        }
        outer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(outer.spawn().unwrap_or_else(|error| panic!("{}: {error}", before[0])))
    }

    /// The program with a fault injected into its system calls, as strace(1) writes it.
    pub fn with_fault(&self, arguments: &[&str], inject: &str) -> Ran {
        let call = inject.split(':').next().unwrap();
        let (trace, inject) = (format!("trace={call}"), format!("inject={inject}"));
        self.through(&["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject], arguments)
    }

    /// Writes a runbook and runs it.
    pub fn run(&self, runbook: &str, arguments: &[&str]) -> Ran {
        let path = self.write("runbook.yaml", runbook);
        let mut all = vec!["run", path.to_str().unwrap()];
        all.extend(arguments);
        self.interlock(&all)
    }

    /// The entries of the log, as values.
    pub fn entries(&self) -> Vec<serde_json::Value> {
        let mut entries = Vec::new();
        let mut segments: Vec<_> = std::fs::read_dir(self.home().join("audit"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
            .collect();
        segments.sort();
        for segment in segments {
            // Whoever reads without the lock may see half of what is written at this moment, and sees the whole a moment later.
            let mut read = entries_of(&segment);
            for _ in 0..100 {
                if read.is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
                read = entries_of(&segment);
            }
            entries.extend(read.unwrap());
        }
        entries
    }

    /// The names of the events of the log, in order.
    pub fn events(&self) -> Vec<String> {
        self.entries().iter().map(|entry| entry["event"].as_str().unwrap().to_owned()).collect()
    }

    /// The data of the last event of this name.
    pub fn last(&self, event: &str) -> serde_json::Value {
        self.last_entry(event)["data"].clone()
    }

    /// The last entry of this name.
    pub fn last_entry(&self, event: &str) -> serde_json::Value {
        let entries = self.entries();
        let found = entries.iter().rev().find(|entry| entry["event"] == event);
        found.unwrap_or_else(|| panic!("no `{event}` in {:?}", self.events())).clone()
    }
}

impl Scratch {
    /// What the program says of the runs that are not over.
    pub fn open_runs(&self) -> Vec<serde_json::Value> {
        let ran = self.interlock(&["status", "--format", "json"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let all = ran.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        all.filter(|one| one["state"] != "review_due").collect()
    }

    /// The id of the one run that is not over.
    pub fn the_open_run(&self) -> String {
        let open = self.open_runs();
        assert_eq!(open.len(), 1, "{open:?}");
        open[0]["run"].as_str().unwrap().to_owned()
    }

    /// The lines of a file below the scratch folder.
    pub fn lines(&self, name: &str) -> Vec<String> {
        self.read(name).lines().map(str::to_owned).collect()
    }
}

/// Whether a process with this argument in its command line is there.
pub fn alive(argument: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| line.split(|b| *b == 0).any(|word| word == argument.as_bytes()))
    })
}

/// Waits for the end, but not for ever; what it writes is read meanwhile.
pub fn finish(mut child: Child) -> Ran {
    let read = |mut from: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = read(Box::new(child.stdout.take().unwrap()));
    let err = read(Box::new(child.stderr.take().unwrap()));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > BOUND {
            child.kill().unwrap();
            let _ = child.wait();
            panic!("the program did not end within {BOUND:?}: {}", err.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Ran { code: status.code().unwrap_or(-1), stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}

/// Waits until something is so, but not for ever.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < BOUND, "{what}: did not come true within {BOUND:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How long cases are tried: as long as is asked for by `INTERLOCK_TEST_SECONDS`, else as in an ordinary run of the tests.
pub fn budget(ordinary: Duration) -> Duration {
    let asked = std::env::var("INTERLOCK_TEST_SECONDS").ok();
    asked.map_or(ordinary, |text| Duration::from_secs(text.parse().expect("INTERLOCK_TEST_SECONDS is a number")))
}

/// The seed from which the cases of a test follow; `INTERLOCK_TEST_SEED` gives one of before.
pub fn first_seed() -> u64 {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let asked = std::env::var("INTERLOCK_TEST_SEED").ok();
    asked.map_or_else(
        || u64::try_from(now().as_nanos()).unwrap(),
        |text| text.parse().expect("INTERLOCK_TEST_SEED is a number"),
    )
}

/// A sequence of numbers that looks random and follows from its seed (splitmix64, public domain, Sebastiano Vigna).
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True this often of a hundred times.
    pub fn percent(&mut self, often: u64) -> bool {
        self.below(100) < often
    }
}
