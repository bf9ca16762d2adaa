//! What the measurements are held against, and the trials of the reaction. Driven by `tests/bench/run`.
//!
//! - `loop N FOLDER`: the floor of a run: spawns `true` N times and syncs a line for each.
//! - `writer FILE`: writes the monotonic time to a file, over and over, until it is stopped.
//! - `listener PORT`: listens, says when it began to, and waits for its end.
//! - `parse FOLDER into-values|into-nothing`: the floor of verifying: parses each line of each file and hashes it once, on one processor; what
//!   it parses becomes a value in memory, or is only held against the grammar.
//! - `reaction event|poll TRIALS INTERLOCK FOLDER`: from the moment a forbidden process is up (or listens) to the last write of
//!   the ten writers of the step that is stopped for it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

const WRITERS: usize = 10;
const BOUND: Duration = Duration::from_secs(30);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["loop", count, folder] => bare_loop(count.parse().expect("a count"), Path::new(folder)),
        ["writer", file] => writer(Path::new(file)),
        ["listener", port] => listener(port.parse().expect("a port")),
        ["parse", folder, "into-values"] => bare_parse::<serde_json::Value>(Path::new(folder)),
        ["parse", folder, "into-nothing"] => bare_parse::<serde::de::IgnoredAny>(Path::new(folder)),
        ["reaction", kind, trials, interlock, folder] => {
            Trials::new(kind, interlock, Path::new(folder)).run(trials.parse().expect("a count"));
        }
        // `cargo bench` runs every bench without arguments; the measurements are made by tests/bench/run.
        _ => println!("run tests/bench/run"),
    }
}

/// The monotonic clock, in nanoseconds.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).expect("after boot") * 1_000_000_000 + u64::try_from(time.tv_nsec).expect("not negative")
}

fn bare_loop(count: u32, folder: &Path) {
    let mut log = OpenOptions::new().create(true).append(true).open(folder.join("floor.log")).expect("a log");
    let line = format!("{}\n", "x".repeat(600));
    for _ in 0..count {
        log.write_all(line.as_bytes()).expect("a line");
        log.sync_data().expect("a sync");
        let status = Command::new("true").stdin(Stdio::null()).status().expect("true starts");
        assert!(status.success());
    }
}

fn bare_parse<T: serde::de::DeserializeOwned>(folder: &Path) {
    use sha2::{Digest as _, Sha256};
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let mut last = [0; 32];
    for file in files {
        let bytes = std::fs::read(file).expect("a file");
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            serde_json::from_slice::<T>(line).expect("an entry");
            last = Sha256::digest(line).into();
        }
    }
    println!("{last:02x?}");
}

fn writer(path: &Path) {
    let file = File::create(path).expect("a file");
    loop {
        file.write_all_at(&now().to_le_bytes(), 0).expect("a write");
    }
}

fn listener(port: u16) {
    let _listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    println!("{}", now());
    std::thread::sleep(BOUND);
}

/// Ends a child when it goes.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What every trial needs.
struct Trials {
    kind: String,
    interlock: String,
    folder: PathBuf,
    runbook: PathBuf,
    me: PathBuf,
    forbidden: PathBuf,
    port: u16,
}

impl Trials {
    fn new(kind: &str, interlock: &str, folder: &Path) -> Self {
        let me = std::env::current_exe().expect("this program has a path");
        let forbidden = folder.join("forbidden-program");
        std::fs::copy("/bin/sleep", &forbidden).expect("a copy of sleep");
        std::fs::set_permissions(&forbidden, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("its address").port();
        let probe = match kind {
            "event" => "process: {name: forbidden-program, state: absent}".to_owned(),
            "poll" => format!("port: {{port: {port}, state: closed}}"),
            other => panic!("`{other}` is neither `event` nor `poll`"),
        };
        let (program, place) = (me.display(), folder.display());
        let runbook = folder.join(format!("reaction-{kind}.yaml"));
        let text = format!(
            "interlock: 1\nname: reaction\nsystems: {{it: {{states: {{gone: {{{probe}}}}}}}}}\nsteps:\n  - id: write\n    \
             requires: [it gone]\n    script: for n in $(seq {WRITERS}); do {program} writer {place}/writer-$n & done; wait\n"
        );
        std::fs::write(&runbook, text).expect("a runbook");
        let (kind, interlock, folder) = (kind.to_owned(), interlock.to_owned(), folder.to_owned());
        Self { kind, interlock, folder, runbook, me, forbidden, port }
    }

    fn run(&self, trials: usize) {
        let mut micros: Vec<u64> = (0..trials).map(|_| self.trial()).collect();
        micros.sort_unstable();
        let at = |part: usize| ms(micros[(micros.len() * part / 100).min(micros.len() - 1)]);
        println!(
            "reaction ({}): median {:.2} ms, 99th percentile {:.2} ms, worst {:.2} ms, {trials} trials",
            self.kind,
            at(50),
            at(99),
            at(100)
        );
    }

    /// Microseconds from when the forbidden thing is up to the last write.
    fn trial(&self) -> u64 {
        let writers: Vec<PathBuf> = (1..=WRITERS).map(|n| self.folder.join(format!("writer-{n}"))).collect();
        for writer in &writers {
            let _ = std::fs::remove_file(writer);
        }
        let mut run = Guard(
            Command::new(&self.interlock)
                .arg("run")
                .arg(&self.runbook)
                .arg("--home")
                .arg(self.folder.join("home"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("interlock starts"),
        );
        let begun = Instant::now();
        while !writers.iter().all(|writer| std::fs::metadata(writer).is_ok_and(|found| found.len() == 8)) {
            assert!(begun.elapsed() < BOUND, "the writers did not begin");
            std::thread::sleep(Duration::from_millis(1));
        }
        let (up, _forbidden) = self.bring_up();
        while run.0.try_wait().expect("it can be waited for").is_none() {
            assert!(begun.elapsed() < BOUND, "the run did not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(run.0.wait().expect("it ended").code(), Some(8), "the run was stopped by its held fact");
        let last = writers.iter().map(|writer| {
            let bytes: [u8; 8] = std::fs::read(writer).expect("it wrote").try_into().expect("eight bytes");
            u64::from_le_bytes(bytes)
        });
        last.max().expect("ten writers").saturating_sub(up) / 1000
    }

    fn bring_up(&self) -> (u64, Guard) {
        if self.kind == "event" {
            let child = Command::new(&self.forbidden).arg("30").stdin(Stdio::null()).spawn().expect("it starts");
            // The spawn returns when the program has been executed.
            return (now(), Guard(child));
        }
        let mut command = Command::new(&self.me);
        let mut child =
            command.args(["listener", &self.port.to_string()]).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut said = [0; 64];
        let count = child.stdout.take().expect("a pipe").read(&mut said).expect("it says when");
        (std::str::from_utf8(&said[..count]).expect("digits").trim().parse().expect("a time"), Guard(child))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn ms(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
