//! Real PostgreSQL clusters, as the user `postgres`, on loopback and on a port of their own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{Running, command_line, is_running, processes_in, run, signal, wait_until};

/// The cluster that the others are copied from, for as long as somebody needs it.
static TEMPLATE: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());

/// A cluster. Ends its processes when it goes.
pub struct Cluster {
    dir: TempDir,
    /// The port it listens on.
    pub port: u16,
    _template: Arc<TempDir>,
}

/// A port that nobody listens on, each once, and none that the kernel gives to clients: those can be taken at any moment.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + u16::try_from(std::process::id() % 1000).expect("below 1000") * 16;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A client session; it ends with its guard.
pub struct Session {
    _client: Running,
}

impl Cluster {
    /// A cluster that was made and never started.
    pub fn new() -> Self {
        let template = template();
        let dir = folder();
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(template.path().join("data")).arg(dir.path()));
        let port = free_port();
        let cluster = Self { dir, port, _template: template };
        cluster.configure(&format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nfsync = off\n\
             shared_buffers = 1MB\nautovacuum = off\nmax_wal_senders = 0\nmax_connections = 5\n\
             superuser_reserved_connections = 0",
            cluster.dir.path().display()
        ));
        cluster
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The entry of a runbook for it.
    pub fn entry(&self) -> String {
        format!("postgres: {{data_dir: {}, port: {}}}", self.data().display(), self.port)
    }

    /// Adds settings.
    pub fn configure(&self, settings: &str) {
        let path = self.data().join("postgresql.conf");
        let mut file = fs::OpenOptions::new().append(true).open(path).expect("the settings are there");
        writeln!(file, "{settings}").expect("settings are written");
    }

    /// Starts the server and waits until it answers.
    pub fn start(&self) {
        let output = self.ctl("start").arg("--wait").output().expect("pg_ctl starts");
        let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        assert!(output.status.success(), "the server does not start: {}", log());
    }

    /// Starts the server and waits until it rejects connections: it recovers and will not answer.
    pub fn start_rejecting(&self) {
        run(self.ctl("start").arg("--no-wait"));
        wait_until("the server rejects connections", || self.is_ready() == Some(1));
    }

    /// Stops it and waits for its end.
    pub fn stop(&self, mode: &str) {
        run(self.ctl("stop").args(["--wait", "--mode", mode]));
    }

    /// Begins to stop it.
    pub fn begin_to_stop(&self, mode: &str) {
        run(self.ctl("stop").args(["--no-wait", "--mode", mode]));
    }

    /// What `pg_isready` says: 0 accepts, 1 rejects, 2 no answer.
    pub fn is_ready(&self) -> Option<i32> {
        let mut command = tool("pg_isready");
        command.arg("-h").arg(self.dir.path()).args(["-t", "1", "-p", &self.port.to_string()]).stdout(Stdio::null());
        command.status().expect("pg_isready starts").code()
    }

    /// Opens a session that has begun with this statement when the function returns.
    pub fn begin(&self, sql: &str) -> Session {
        let mut command = self.psql();
        command.args(["-c", "select 'ready'", "-c", sql]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = Running(command.spawn().expect("psql starts"));
        let mut answer = String::new();
        let stdout = client.0.stdout.as_mut().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut answer).expect("psql answers");
        assert_eq!(answer.trim(), "ready");
        Session { _client: client }
    }

    /// Whether a new session is refused.
    pub fn refuses_sessions(&self) -> bool {
        let status = self.psql().args(["-c", "select 1"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        !status.expect("psql starts").success()
    }

    /// Starts a server for a single user; it ends with its guard.
    pub fn start_single_user(&self) -> Running {
        let mut command = tool("postgres");
        command.args(["--single", "-D"]).arg(self.data()).arg("postgres");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = Running(command.spawn().expect("postgres starts"));
        let stdout = server.0.stdout.as_mut().expect("its output is piped");
        let greets =
            BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line.contains("stand-alone backend"));
        assert!(greets, "the server ended before it was ready");
        server
    }

    /// The process id of the server's first process, out of its pid file.
    pub fn postmaster(&self) -> u32 {
        let text = fs::read_to_string(self.pidfile()).expect("the server runs");
        text.lines().next().and_then(|line| line.parse().ok()).expect("the file begins with a process id")
    }

    /// Its pid file.
    pub fn pidfile(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    /// Its process whose title contains this.
    pub fn process_titled(&self, title: &str) -> u32 {
        let mut found = None;
        wait_until(title, || {
            found = processes_in(&self.data()).into_iter().find(|&pid| command_line(pid).contains(title));
            found.is_some()
        });
        found.expect("it was just seen")
    }

    /// How many processes stand in its data directory.
    pub fn processes(&self) -> usize {
        processes_in(&self.data()).len()
    }

    /// Waits until this many processes are left.
    pub fn wait_for_processes(&self, count: usize) {
        wait_until("only some processes of the server are left", || self.processes() == count);
    }

    fn ctl(&self, what: &str) -> Command {
        let mut command = tool("pg_ctl");
        command.arg(what).arg("-D").arg(self.data()).arg("-s");
        if what == "start" {
            command.arg("-l").arg(self.dir.path().join("log"));
        }
        command.stdin(Stdio::null());
        command
    }

    fn psql(&self) -> Command {
        let mut command = tool("psql");
        command
            .args(["-X", "-q", "-A", "-t", "-d", "postgres", "-p", &self.port.to_string(), "-h"])
            .arg(self.dir.path());
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for _ in 0..3 {
            for pid in processes_in(&self.data()) {
                signal(pid, Signal::KILL);
                wait_until("a server process ends", || !is_running(pid));
            }
        }
    }
}

fn template() -> Arc<TempDir> {
    let mut known = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(template) = known.upgrade() {
        return template;
    }
    let dir = folder();
    let mut initdb = tool("initdb");
    initdb.args([
        "--auth=trust",
        "--no-sync",
        "--no-instructions",
        "--wal-segsize=1",
        "-E",
        "UTF8",
        "--locale=C",
        "-D",
    ]);
    run(initdb.arg(dir.path().join("data")));
    let template = Arc::new(dir);
    *known = Arc::downgrade(&template);
    template
}

/// A temporary folder of the user `postgres`.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (uid, gid) = user();
    chown(dir.path(), Some(uid), Some(gid)).expect("the lab runs as root, since PostgreSQL does not");
    dir
}

/// The newest of the installed versions.
fn bin() -> PathBuf {
    let mut versions: Vec<u32> = fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is installed: apt-get install postgresql")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable();
    let newest = versions.last().expect("PostgreSQL is installed: apt-get install postgresql");
    Path::new("/usr/lib/postgresql").join(newest.to_string()).join("bin")
}

/// One of PostgreSQL's programs, as the user `postgres`.
fn tool(name: &str) -> Command {
    let (uid, gid) = user();
    let mut command = Command::new(bin().join(name));
    command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").current_dir("/").uid(uid).gid(gid);
    command
}

fn user() -> (u32, u32) {
    let text = fs::read_to_string("/etc/passwd").expect("the users are listed");
    let line = text.lines().find(|line| line.starts_with("postgres:")).expect("there is a user `postgres`");
    let mut fields = line.split(':').skip(2).map(|field| field.parse().expect("ids are numbers"));
    (fields.next().expect("a user id"), fields.next().expect("a group id"))
}
