//! A real monit with its own control file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{Running, command_line, is_running, processes_in, run, signal, wait_until};

static ALONE: Mutex<()> = Mutex::new(());

/// Taken by each test that starts a monit or needs that there is none: `monit stopped` speaks of the whole machine.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder for one monit: its control file, pid file and state. Ends the daemon when it goes.
pub struct Monit {
    dir: TempDir,
}

impl Monit {
    /// Writes a control file; `services` is added to it. Nothing is started.
    pub fn new(services: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let monit = Self { dir };
        monit.write_control(services);
        monit
    }

    /// Has the daemon, which must run, watch over other services from now on.
    pub fn reload(&self, services: &str) {
        self.write_control(services);
        signal(self.wait_for_pid(), Signal::HUP);
    }

    fn write_control(&self, services: &str) {
        let place = self.dir.path().display();
        let text = format!(
            "set daemon 1\nset pidfile {place}/pid\nset idfile {place}/id\nset statefile {place}/state\n\
             set logfile {place}/log\n{services}\n"
        );
        fs::write(self.control(), text).expect("the control file is written");
        fs::set_permissions(self.control(), fs::Permissions::from_mode(0o700)).expect("its mode is set");
    }

    /// Its control file.
    pub fn control(&self) -> PathBuf {
        self.dir.path().join("control")
    }

    /// Its pid file.
    pub fn pidfile(&self) -> PathBuf {
        self.dir.path().join("pid")
    }

    /// The entry of a runbook for it.
    pub fn entry(&self) -> String {
        format!("monit: {{control: {}, pidfile: {}}}", self.control().display(), self.pidfile().display())
    }

    /// Starts the daemon; returns its process id.
    pub fn start(&self) -> u32 {
        run(self.command().stdout(Stdio::null()));
        self.wait_for_pid()
    }

    /// Starts it in the foreground.
    pub fn start_in_foreground(&self) -> Running {
        let child = self.command().arg("-I").stdout(Stdio::null()).spawn().expect("monit starts");
        let running = Running(child);
        assert_eq!(self.wait_for_pid(), running.pid());
        running
    }

    /// Ends the daemon as an operator does, and waits for its end.
    pub fn quit(&self) {
        let pid = self.wait_for_pid();
        run(self.command().arg("quit").stdout(Stdio::null()));
        wait_until("monit ends", || !is_running(pid));
    }

    fn command(&self) -> Command {
        let mut command = Command::new("monit");
        command.arg("-c").arg(self.control()).stdin(Stdio::null());
        command
    }

    fn wait_for_pid(&self) -> u32 {
        let mut pid = None;
        wait_until("monit writes its pid file", || {
            pid = fs::read_to_string(self.pidfile()).ok().and_then(|text| text.trim().parse().ok());
            pid.is_some()
        });
        pid.expect("it was just seen")
    }
}

impl Drop for Monit {
    fn drop(&mut self) {
        // Only a daemon that was started with this very control file.
        let started_with = format!("-c {}", self.control().display());
        for pid in processes_in(Path::new("/")) {
            if command_line(pid).contains(&started_with) {
                signal(pid, Signal::KILL);
                wait_until("monit ends", || !is_running(pid));
            }
        }
    }
}
