//! The incident that this project exists for, with a real monit and a real PostgreSQL: it cannot happen any more.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::lab::monit::{Monit, alone};
use crate::lab::postgres::Cluster;
use crate::support::{Ran, Scratch, finish, until};

/// A database that runs, a monit that watches over it, and a change that is to be made while both are down.
struct Site {
    scratch: Scratch,
    // Goes before the cluster, which it could start again.
    monit: Monit,
    cluster: Cluster,
    change: PathBuf,
}

/// What monit does about a database that is not there.
#[derive(PartialEq, Eq)]
enum Watching {
    /// It starts it.
    Starts,
    /// It only tells.
    Tells,
}

impl Site {
    fn new() -> Self {
        Self::with(&Watching::Starts)
    }

    fn with(watching: &Watching) -> Self {
        let scratch = Scratch::new();
        let cluster = Cluster::new();
        let monit = Monit::new(&watched(&cluster, watching));
        // Writes a number a millisecond or so into the data directory, until it is told that it is enough; `--revert`
        // takes them all away.
        let change = scratch.script(
            "change",
            &format!(
                "#!/bin/sh\nif test \"$1\" = --revert; then exec rm -f \"$2/counter\"; fi\nn=0\nwhile ! test -e '{}/enough'; do n=$((n + 1)); echo $n >> \"$1/counter\"; done\n",
                scratch.path().display()
            ),
        );
        cluster.start();
        monit.start();
        Self { scratch, monit, cluster, change }
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
        arguments.extend(self.answers());
        arguments
    }

    fn answers(&self) -> [String; 2] {
        [format!("--confirm=announce={}", self.cluster.data().display()), "--attest=announce=told #ops".to_owned()]
    }

    /// Goes on by the command that the last line of a run says, as a person would who copies it.
    fn go_on_as_told(&self, ran: &Ran, expected: &str) -> Ran {
        let run = self.scratch.the_open_run();
        let command = format!("interlock resume {run} {expected}");
        let last = ran.stderr.trim_end().lines().last().unwrap_or_default();
        assert!(
            last.contains(&format!("go on with: {command} --home {}, ", self.scratch.home().display())),
            "{}",
            ran.stderr
        );
        let status = self.scratch.interlock(&["status"]).stdout;
        assert!(status.contains(&format!("next: {command} --home {} | ", self.scratch.home().display())), "{status}");
        let answers = self.answers();
        let words = command.split(' ').skip(1).chain(answers.iter().map(String::as_str));
        self.scratch.interlock(&words.collect::<Vec<_>>())
    }

    /// Each step that was done, in order, with the direction and the attempt.
    fn done(&self) -> Vec<String> {
        let entries = self.scratch.entries();
        let done = entries.iter().filter(|entry| entry["event"] == "step_done").map(|entry| &entry["data"]);
        done.map(|data| {
            let way = data["way"].as_str().unwrap_or("forward");
            format!("{} {way} {}", data["step"].as_str().unwrap(), data["attempt"])
        })
        .collect()
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

/// What monit is told of the database.
fn watched(cluster: &Cluster, watching: &Watching) -> String {
    let mode = if *watching == Watching::Tells { "mode passive" } else { "mode active" };
    format!(
        "check process database with pidfile {0}/postmaster.pid\n  start program = \"{1}/pg_ctl start -D {0} -l /dev/null\" as uid \"postgres\" and gid \"postgres\"\n  {mode}\n",
        cluster.data().display(),
        bin_dir(cluster).display()
    )
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
    // Its end is not waited for: monit may start it again before that is seen, and then it never comes.
    site.cluster.begin_to_stop("fast");
    let ran = site.scratch.run(&runbook, &[]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("`monit stopped` does not hold"), "{}", ran.stderr);
    assert_eq!(site.counter(), 0, "something of the step ran");
    assert!(!site.scratch.events().iter().any(|event| event == "step_intended"));
}

#[test]
fn p03_freezes_the_tree_when_monit_comes_back() {
    let _alone = alone();
    // One that starts the database at once may be told of by that.
    let site = Site::with(&Watching::Tells);
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

#[test]
fn p03_what_had_ensured_the_broken_fact_is_run_again_and_the_procedure_completes() {
    let _alone = alone();
    let site = Site::with(&Watching::Tells);
    let child = site.begin_and_wait_for_the_change();
    site.monit.start();
    let ran = finish(child);
    site.assert_stopped_by(&ran, "monit stopped");
    let run = site.scratch.the_open_run();

    let refused = site.scratch.interlock(&["resume", &run]);
    assert_eq!(refused.code, 6, "the change is in doubt, and nobody decides: {}", refused.stderr);
    let ran = site.go_on_as_told(&refused, "--rerun stop-monit --decide change=retry");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(site.cluster.is_ready(), Some(0), "the database answers again");
    let done = [
        "stop-monit forward 1",
        "stop-database forward 1",
        "stop-monit again 2",
        "change forward 2",
        "announce forward 1",
        "start-database forward 1",
        "start-monit forward 1",
    ];
    assert_eq!(site.done(), done);
    let began = site.scratch.last("rerun_began");
    assert_eq!((&began["step"], &began["by"]), (&"stop-monit".into(), &"command_line".into()));
    assert_eq!(began["seen"][0]["verdict"], "broken");
    assert!(site.scratch.home().join("runs").join(&run).join("stop-monit-2.cast").exists());

    assert_eq!(site.scratch.interlock(&["audit", "verify"]).code, 0);
    let story = site.scratch.interlock(&["audit", "show", &run]).stdout;
    let told = [
        "`monit stopped` does not hold during `change`",
        "`stop-monit` is run again, a person asked for it (--rerun): what it had ensured is broken",
        "✗ `monit stopped` does not hold",
        "[1/6] stop-monit  Stop monit, so that nothing starts the database again (attempt 2)",
        "· `monit stopped` holds",
        "↻ `change` is attempted again, as a person decided",
        "[3/6] change  Change the files (attempt 2)",
        "completed: 6 steps done",
    ];
    let mut rest = story.as_str();
    for words in told {
        let at = rest.find(words).unwrap_or_else(|| panic!("`{words}` is not told, or not in this order:\n{story}"));
        rest = &rest[at..];
    }
}

#[test]
fn p03_what_monit_has_started_meanwhile_is_stopped_again_as_well() {
    let _alone = alone();
    // One that starts the database at once may be told of by that, so it begins to when the run has stopped.
    let site = Site::with(&Watching::Tells);
    let child = site.begin_and_wait_for_the_change();
    site.monit.start();
    let ran = finish(child);
    site.assert_stopped_by(&ran, "monit stopped");
    site.monit.reload(&watched(&site.cluster, &Watching::Starts));
    until("monit has started the database", || site.cluster.is_ready() == Some(0));

    // Each refusal says what comes next, until all of it is known.
    let ran = site.go_on_as_told(&ran, "--rerun stop-monit --decide change=retry");
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("`database down` does not hold"), "{}", ran.stderr);
    let ran = site.go_on_as_told(&ran, "--rerun stop-database --decide change=retry");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(site.cluster.is_ready(), Some(0));
    assert_eq!(site.done()[2..5], ["stop-monit again 2", "stop-database again 2", "change forward 2"]);
    assert_eq!(site.scratch.interlock(&["audit", "verify"]).code, 0);
}
