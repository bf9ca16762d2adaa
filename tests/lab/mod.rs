//! The lab: real daemons, started by hand on loopback in a temporary folder, and ended with their guards.

pub mod kinds;
pub mod monit;
pub mod postgres;

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything in the lab takes, unless it never comes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A child that is killed with its guard.
pub struct Running(pub Child);

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Asks again and again until the answer is yes.
#[track_caller]
pub fn wait_until(what: &str, mut answer: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !answer() {
        assert!(Instant::now() < until, "this did not come true: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a command to its end, which must be a success.
#[track_caller]
pub fn run(command: &mut Command) {
    let output = command.output().expect("a program of the lab could not be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {} {said}", String::from_utf8_lossy(&output.stdout));
}

/// Sends a signal to a process of the lab.
pub fn signal(pid: u32, signal: Signal) {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id fits and is not zero");
    kill_process(id, signal).ok();
}

/// Whether there is such a process, and it does not only wait to be reaped.
pub fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// The processes that stand in this folder.
pub fn processes_in(folder: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc is there").flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder))
        .collect()
}

/// The command line of a process, in one line.
pub fn command_line(pid: u32) -> String {
    fs::read(format!("/proc/{pid}/cmdline"))
        .map_or_else(|_| String::new(), |text| String::from_utf8_lossy(&text).replace('\0', " ").trim_end().to_owned())
}
