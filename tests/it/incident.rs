//! The incident that this project exists for, with a real monit and a real PostgreSQL: it cannot happen any more.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::lab::monit::{Monit, alone};
use crate::lab::postgres::Cluster;
use crate::support::{Ran, Scratch, finish, until};

/// A database that runs, a monit that watches over it, and a change that is to be made while both are down.
struct Site {
    scratch: Scratch,
    cluster: Cluster,
    monit: Monit,
    change: PathBuf,
}

impl Site {
    fn new() -> Self {
        let scratch = Scratch::new();
        let cluster = Cluster::new();
        let (data, bin) = (cluster.data(), bin_dir(&cluster));
        let monit = Monit::new(&format!(
            "check process database with pidfile {0}/postmaster.pid\n  start program = \"{1}/pg_ctl start -D {0} -l /dev/null\" as uid \"postgres\" and gid \"postgres\"\n",
            data.display(),
            bin.display()
        ));
        // Writes a number a millisecond or so into the data directory, until it is told that it is enough; `--revert`
        // takes them all away.
        let change = scratch.write(
            "change",
            &format!(
                "#!/bin/sh\nif test \"$1\" = --revert; then exec rm -f \"$2/counter\"; fi\nn=0\nwhile ! test -e '{}/enough'; do n=$((n + 1)); echo $n >> \"$1/counter\"; done\n",
                scratch.path().display()
            ),
        );
        std::fs::set_permissions(&change, std::fs::Permissions::from_mode(0o755)).unwrap();
        cluster.start();
        monit.start();
        Self { scratch, cluster, monit, change }
    }

    fn arguments(&self) -> Vec<String> {
        let runbook = format!("{}/runbooks/postgres-offline-change.yaml", env!("CARGO_MANIFEST_DIR"));
        let mut arguments = vec!["run".to_owned(), runbook];
        for (name, value) in [
            ("data_dir", self.cluster.data().display().to_string()),
            ("port", self.cluster.port.to_string()),
            ("change", self.change.display().to_string()),
            ("bin_dir", bin_dir(&self.cluster).display().to_string()),
            ("monit_control", self.monit.control().display().to_string()),
        ] {
            arguments.extend(["-p".to_owned(), format!("{name}={value}")]);
        }
        arguments.push(format!("--confirm=announce={}", self.cluster.data().display()));
        arguments.push("--attest=announce=told #ops".to_owned());
        arguments
    }

    fn begin(&self) -> Child {
        let arguments = self.arguments();
        self.scratch.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).spawn().unwrap()
    }

    fn begin_and_wait_for_the_change(&self) -> Child {
        let child = self.begin();
        until("the change writes", || self.counter() > 100);
        child
    }

    /// How many numbers the change has written.
    fn counter(&self) -> usize {
        std::fs::read_to_string(self.cluster.data().join("counter")).unwrap_or_default().lines().count()
    }

    fn assert_stopped_by(&self, ran: &Ran, fact: &str) {
        assert_eq!(ran.code, 8, "{}", ran.stderr);
        let counter = self.counter();
        let broken = self.scratch.last("hold_broken");
        assert_eq!(broken["sight"]["fact"], fact, "{broken}");
        assert_eq!(broken["step"], "change");
        assert!(broken["freeze_micros"].is_u64(), "{broken}");
        assert_eq!(self.scratch.last("step_ended")["ending"], "stopped");
        // The change was told by nobody to stop and would write for ever: it is not there any more.
        self.scratch.write("enough", "");
        assert_eq!(self.counter(), counter, "the change wrote after it was said to be stopped");
        assert!(!self.scratch.events().iter().any(|event| event == "run_completed"));
        assert_eq!(self.scratch.interlock(&["audit", "verify"]).code, 0);
    }
}

fn bin_dir(cluster: &Cluster) -> PathBuf {
    let version = std::fs::read_to_string(cluster.data().join("PG_VERSION")).unwrap();
    PathBuf::from(format!("/usr/lib/postgresql/{}/bin", version.trim()))
}

#[test]
fn p02_the_change_is_refused_while_monit_runs() {
    let _alone = alone();
    let site = Site::new();
    // As it was: the database is stopped, the step that stops monit is skipped, and the change is begun.
    let runbook = format!(
        "interlock: 1\nname: as-it-was\nsystems:\n  monit: {{{}}}\n  database: {{{}}}\nsteps:\n  - id: change\n    requires: [monit stopped, database down]\n    run: [{}, {}]\n",
        site.monit.entry(),
        site.cluster.entry(),
        site.change.display(),
        site.cluster.data().display()
    );
    site.cluster.stop("fast");
    let ran = site.scratch.run(&runbook, &[]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("`monit stopped` does not hold"), "{}", ran.stderr);
    assert_eq!(site.counter(), 0, "something of the step ran");
    assert!(!site.scratch.events().iter().any(|event| event == "step_intended"));
}

#[test]
fn p03_freezes_the_tree_when_monit_comes_back() {
    let _alone = alone();
    let site = Site::new();
    let child = site.begin_and_wait_for_the_change();
    site.monit.start();
    let ran = finish(child);
    site.assert_stopped_by(&ran, "monit stopped");
}

#[test]
fn p03_freezes_the_tree_when_the_database_comes_up() {
    let _alone = alone();
    let site = Site::new();
    let child = site.begin_and_wait_for_the_change();
    // By hand, as somebody else would.
    let bin = bin_dir(&site.cluster);
    let mut server = Command::new("setpriv")
        .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
        .arg(bin.join("postgres"))
        .arg("-D")
        .arg(site.cluster.data())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ran = finish(child);
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&server), rustix::process::Signal::INT);
    let _ = server.wait();
    site.assert_stopped_by(&ran, "database down");
}

#[test]
fn p04_the_procedure_as_written_brings_both_back() {
    let _alone = alone();
    let site = Site::new();
    let child = site.begin_and_wait_for_the_change();
    site.scratch.write("enough", "");
    let ran = finish(child);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(site.cluster.is_ready(), Some(0), "the database answers again");
    let done: Vec<String> = site
        .scratch
        .entries()
        .iter()
        .filter(|entry| entry["event"] == "step_done")
        .map(|entry| entry["data"]["step"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(done, ["stop-monit", "stop-database", "change", "announce", "start-database", "start-monit"]);
    assert_eq!(site.scratch.last("answered")["by"], "command_line");
}
