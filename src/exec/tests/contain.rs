//! Freezing, ending and leaving nothing behind, in each tier.

use super::{
    Arc, Bench, Containment, Duration, Exit, LONG, Leftovers, Path, Step, fs, lives, only, pids_in, run_name,
    wait_until,
};

/// A script whose ten writers each append to a file of their own in turn, half of them in sessions of their own, one
/// double-forked; each writes its pid to `pids` first.
fn ten_writers(folder: &Path) -> String {
    let writer = "trap \"\" TERM HUP INT; echo $$ >> pids; while :; do echo x >> count.$1; done";
    format!(
        "ulimit -t 20; cd {}; writer='{writer}'
        for n in 1 2 3 4; do sh -c \"$writer\" w $n & done
        for n in 5 6 7 8 9; do setsid sh -c \"$writer\" w $n & done
        (setsid sh -c \"(sh -c '$(printf %s \"$writer\" | sed \"s/'/'\\\\\\\\''/g\")' w 10 &) &\" &)
        wait",
        folder.display()
    )
}

/// Starts the ten writers and waits until each has written.
fn start_writers(bench: &Bench, name: &str) -> (Step, Vec<u32>) {
    let step = bench.start(name, &bench.sh(&ten_writers(bench.folder.path())));
    let pids = pids_in(&bench.path("pids"), 10);
    for n in 1..=10 {
        wait_until("every writer writes", || size(bench, n) > 0);
    }
    (step, pids)
}

fn size(bench: &Bench, writer: usize) -> u64 {
    fs::metadata(bench.path(&format!("count.{writer}"))).map_or(0, |metadata| metadata.len())
}

fn sizes(bench: &Bench) -> Vec<u64> {
    (1..=10).map(|n| size(bench, n)).collect()
}

#[test]
fn nothing_is_written_after_a_freeze_and_nothing_survives_the_kill() {
    for bench in Bench::tiers("freeze") {
        let (step, pids) = start_writers(&bench, "a");
        let frozen = step.control.freeze();
        assert_eq!(frozen.trouble, None, "{}", bench.containment.describe());
        assert!(frozen.processes >= 11, "{frozen:?}");
        let at_freeze = sizes(&bench);
        // This is the time in which a process that was not frozen would write thousands of lines.
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(sizes(&bench), at_freeze, "{}", bench.containment.describe());
        assert_eq!(step.control.freeze().trouble, None, "a second freeze is no trouble");
        assert!(pids.iter().all(|pid| step.control.contains(*pid)));
        assert!(!step.control.contains(std::process::id()) && !step.control.contains(1));

        let control = step.control.clone();
        control.kill();
        let ended = step.end();
        assert_eq!((ended.ending, ended.survivors), (Exit::Signal(9), vec![]));
        assert_eq!(sizes(&bench), at_freeze, "no instruction ran between freeze and kill");
        for pid in pids {
            assert!(!lives(pid), "{pid} lives");
        }
        assert!(control.processes().is_empty());
        assert_eq!(control.freeze().processes, 0, "after the end there is nothing to freeze, and no trouble");
    }
}

#[test]
fn a_killed_attempt_can_be_followed_by_another() {
    for bench in Bench::tiers("retry") {
        for attempt in 1..=3 {
            let step = bench.start(&format!("a-{attempt}"), &bench.sh("echo $$ >> pids; exec sleep 60"));
            pids_in(&bench.path("pids"), attempt);
            step.control.freeze();
            step.control.kill();
            assert_eq!(step.end().ending, Exit::Signal(9));
        }
        assert_eq!(bench.run("a-4", "exit 0").ending, Exit::Code(0));
    }
}

#[test]
fn termination_is_asked_for_first_and_forced_after_the_grace() {
    for bench in Bench::tiers("terminate") {
        let step = bench.start("polite", &bench.sh("trap 'exit 7' TERM; echo $$ >> a; while :; do sleep 0.01; done"));
        pids_in(&bench.path("a"), 1);
        step.control.terminate(LONG);
        assert_eq!(step.end().ending, Exit::Code(7));

        let step = bench.start("stubborn", &bench.sh("trap '' TERM; echo $$ >> b; while :; do sleep 0.01; done"));
        pids_in(&bench.path("b"), 1);
        step.control.terminate(Duration::from_millis(50));
        assert_eq!(step.end().ending, Exit::Signal(9));
    }
}

#[test]
fn leftovers_are_named_and_killed_and_do_not_hang_the_step() {
    for bench in Bench::tiers("leftovers") {
        // A daemon that keeps the pipe, ignores SIGTERM, and has left session and parent.
        let script = "trap '' TERM HUP; (setsid sh -c 'echo $$ >> pids; exec sleep 61' &) ; while ! [ -s pids ]; do :; done; echo said";
        let ended = bench.run("a", script);
        let pid = pids_in(&bench.path("pids"), 1)[0];
        assert_eq!(ended.ending, Exit::Code(0));
        let named: Vec<(u32, &str)> = ended.leftovers.iter().map(|left| (left.pid, left.name.as_str())).collect();
        assert_eq!(named, [(pid, "sleep")], "{}", bench.containment.describe());
        assert!(!lives(pid));
        assert_eq!(bench.shown(), "said\n");
    }
}

#[test]
fn a_daemon_that_cleared_its_environment_is_found_by_the_walk() {
    const ROLE: &str = "INTERLOCK_TEST_ALONE";
    // Unmarked orphans belong to whichever step runs; a program runs one step at a time, but these tests run many.
    if std::env::var_os(ROLE).is_none() {
        let name = "exec::tests::contain::a_daemon_that_cleared_its_environment_is_found_by_the_walk";
        assert!(only(name, ROLE, Path::new("yes")).status().unwrap().success());
        return;
    }
    let bench = Bench::with(Containment::walk(&run_name("cleared")));
    let script = "(setsid env -i sh -c 'echo $$ >> pids; exec sleep 62' &) ; while ! [ -s pids ]; do :; done";
    let ended = bench.run("a", script);
    let pid = pids_in(&bench.path("pids"), 1)[0];
    assert_eq!(ended.leftovers.iter().map(|left| left.pid).collect::<Vec<_>>(), [pid]);
    assert!(!lives(pid));
}

#[test]
fn a_process_that_is_just_ending_is_no_leftover() {
    for bench in Bench::tiers("settling") {
        let ended = bench.run("a", "sh -c 'sleep 0.02; echo late' & echo early");
        assert_eq!((ended.ending, ended.leftovers), (Exit::Code(0), vec![]));
        assert_eq!(bench.shown(), "early\nlate\n");
    }
}

#[test]
fn a_service_is_let_go_and_lives_on_and_can_write() {
    for bench in Bench::tiers("service") {
        let output = bench.path("service.out");
        let mut plan = bench.plan("a");
        plan.leftovers = Leftovers::Service { output: output.clone() };
        // It daemonises as services do, then writes at each sign it is given, and ends when its folder says so.
        let service = "echo $$ >> pids; n=0; while ! [ -e stop ]; do n=$((n+1)); echo tick $n; sleep 0.01; done";
        let script = format!("(setsid sh -c '{service}' &) ; while ! [ -s pids ]; do :; done; echo started");
        let step = bench.start_with("a", &bench.sh(&script), plan);
        let control = step.control.clone();
        let ended = step.end();
        let pid = pids_in(&bench.path("pids"), 1)[0];
        assert_eq!(ended.ending, Exit::Code(0));
        assert!(ended.leftovers.iter().any(|left| left.pid == pid), "{:?}", ended.leftovers);
        assert!(control.contains(pid), "until it is let go it is the step's");
        assert!(bench.shown().contains("started\n"));

        let gone = control.let_go().unwrap();
        assert!(gone.iter().any(|left| left.pid == pid));
        assert!(!control.contains(pid));
        control.kill();
        drop(control);
        let before = fs::metadata(&output).unwrap().len();
        wait_until("the service has written more", || fs::metadata(&output).unwrap().len() > before + 20);

        // The next step of the run, and the run's end, do not touch it.
        assert_eq!(bench.run("b", "exit 0").leftovers, []);
        let Bench { folder, containment, .. } = bench;
        drop(containment);
        assert!(lives(pid), "the service survives the run");
        fs::write(folder.path().join("stop"), "").unwrap();
        wait_until("the service has ended", || !lives(pid));
    }
}

#[test]
fn a_service_that_nobody_lets_go_is_killed() {
    for bench in Bench::tiers("kept") {
        let mut plan = bench.plan("a");
        plan.leftovers = Leftovers::Service { output: bench.path("service.out") };
        let script = "(setsid sh -c 'echo $$ >> pids; exec sleep 63' &) ; while ! [ -s pids ]; do :; done";
        let step = bench.start_with("a", &bench.sh(script), plan);
        let Step { running, control, ended } = step;
        assert_eq!(ended.recv_timeout(LONG).unwrap().ending, Exit::Code(0));
        let pid = pids_in(&bench.path("pids"), 1)[0];
        assert!(lives(pid));
        drop((running, control));
        wait_until("the leftover is killed", || !lives(pid));
    }
}

/// Where the run's control group is; none for the walk.
fn place(words: &str) -> Option<&str> {
    let place = words.strip_prefix("cgroup v2 at ").or_else(|| words.strip_prefix("cgroup v1 freezer at "));
    assert!(place.is_some() || words.starts_with("process walk"), "{words}");
    place
}

#[test]
fn a_run_removes_its_control_group_and_what_is_left_in_it() {
    for bench in Bench::tiers("removed") {
        let text = bench.containment.describe();
        let Some(place) = place(&text) else { continue };
        let step = bench.start("a", &bench.sh("echo $$ >> pids; exec sleep 64"));
        let pid = pids_in(&bench.path("pids"), 1)[0];
        let Bench { folder, containment, .. } = bench;
        drop(containment);
        assert!(!Path::new(place).exists());
        assert_eq!(step.end().ending, Exit::Signal(9));
        assert!(!lives(pid));
        drop(folder);
    }
}

/// As if a group had been made in the year 2001.
fn make_old(place: &Path) {
    let long_ago = rustix::fs::Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: long_ago, last_modification: long_ago };
    rustix::fs::utimensat(rustix::fs::CWD, place, &times, rustix::fs::AtFlags::empty()).unwrap();
}

#[test]
fn what_dead_runs_have_left_empty_is_removed_and_nothing_else() {
    for bench in Bench::tiers("sweep") {
        let text = bench.containment.describe();
        let Some(living) = place(&text).map(Path::new) else { continue };
        let beside = |name: &str| living.with_file_name(format!("interlock.{}", run_name(&format!("sweep-{name}"))));
        let (dead, young, busy) = (beside("dead"), beside("young"), beside("busy"));
        for group in [&dead, &young, &busy] {
            fs::create_dir_all(group.join("step.a-1")).unwrap();
        }
        // What a step left running that hangs in a dead run's group: the door is open to us.
        let mut sleeper = std::process::Command::new("sleep").arg("66").spawn().unwrap();
        fs::write(busy.join("step.a-1/cgroup.procs"), sleeper.id().to_string()).unwrap();
        for group in [living, &dead, &busy] {
            make_old(group);
        }
        let next_name = run_name("sweep-next");
        let next =
            if text.contains("freezer") { Containment::freezer(&next_name) } else { Containment::detect(&next_name) };
        assert!(living.exists(), "the group of a living run is left alone, also while nothing runs in it");
        assert!(!dead.exists(), "{text}");
        assert!(young.exists() && busy.exists(), "{text}");
        assert_eq!(bench.run("a", "exit 0").ending, Exit::Code(0));
        drop(next);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        for group in [&young, &busy] {
            // The sleeper may still be on its way out; and another test that makes a group removes what was left empty too.
            wait_until("it is removed", || {
                fs::remove_dir(group.join("step.a-1")).ok();
                fs::remove_dir(group).ok();
                !group.exists()
            });
        }
    }
}

#[test]
fn what_is_killed_is_never_left_frozen() {
    for bench in Bench::tiers("thawed") {
        for round in 1..=20 {
            let step = bench.start(&format!("a-{round}"), &bench.sh("echo $$ >> pids; exec sleep 65"));
            pids_in(&bench.path("pids"), round);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| step.control.freeze());
                }
                scope.spawn(|| step.control.kill());
            });
            step.control.freeze();
            assert_eq!(step.end().ending, Exit::Signal(9), "{}", bench.containment.describe());
        }
    }
}

#[test]
fn what_a_step_hides_in_groups_of_its_own_is_frozen_and_killed_too() {
    for bench in Bench::tiers("below") {
        let text = bench.containment.describe();
        let Some(place) = place(&text) else { continue };
        let below = Path::new(place).join("step.a/below/further");
        let script = format!(
            "mkdir -p {0}; (echo 0 > {0}/cgroup.procs; echo $$ > mine; exec sh -c 'echo $$ >> pids; while :; do echo x >> count.1; done') & wait",
            below.display()
        );
        let step = bench.start("a", &bench.sh(&script));
        let pid = pids_in(&bench.path("pids"), 1)[0];
        wait_until("it writes", || size(&bench, 1) > 0);
        assert!(fs::read_to_string(below.join("cgroup.procs")).unwrap().contains(&pid.to_string()));
        assert_eq!(step.control.freeze().trouble, None);
        let at_freeze = size(&bench, 1);
        step.control.kill();
        assert_eq!(step.end().ending, Exit::Signal(9));
        assert!(!lives(pid));
        assert_eq!(size(&bench, 1), at_freeze);
        wait_until("its groups are removed", || !below.exists());
    }
}

/// This test starts itself again in the part of the program, and kills that with SIGKILL, in each tier, with the step running and
/// with the step frozen.
#[test]
fn nothing_of_a_step_goes_on_when_the_program_is_killed() {
    const ROLE: &str = "INTERLOCK_TEST_VICTIM";
    let run = |folder: &Path| format!("victim-{}", folder.file_name().unwrap().to_str().unwrap());
    let contain = |tier: &str, run: &str| match tier {
        "freezer" => Containment::freezer(run),
        "walk" => Containment::walk(run),
        _ => Containment::detect(run),
    };
    if let Some(folder) = std::env::var_os(ROLE) {
        let folder = Path::new(&folder);
        let tier = fs::read_to_string(folder.join("tier")).unwrap();
        let bench = Bench::with(contain(&tier, &run(folder)));
        let step = bench.start("a", &bench.sh(&ten_writers(folder)));
        if folder.join("freeze").exists() {
            pids_in(&folder.join("pids"), 10);
            assert_eq!(step.control.freeze().trouble, None);
        }
        fs::write(folder.join("place"), bench.containment.describe()).unwrap();
        fs::write(folder.join("main"), format!("{}\n", step.running.pid())).unwrap();
        let ended = step.end();
        panic!("the victim was not killed in time: {ended:?}");
    }
    let name = "exec::tests::contain::nothing_of_a_step_goes_on_when_the_program_is_killed";
    for (tier, frozen) in [("best", false), ("best", true), ("freezer", false), ("freezer", true), ("walk", false)] {
        let bench = Bench::new(&format!("killer-{tier}-{frozen}"));
        fs::write(bench.path("tier"), tier).unwrap();
        if frozen {
            fs::write(bench.path("freeze"), "").unwrap();
        }
        // What it makes for itself and cannot remove goes with our folder.
        let folder = bench.folder.path();
        let mut victim = only(name, ROLE, folder).env("TMPDIR", folder).spawn().unwrap();
        let main = pids_in(&bench.path("main"), 1)[0];
        let pids = pids_in(&bench.path("pids"), 10);
        victim.kill().unwrap();
        victim.wait().unwrap();
        wait_until("the main process is dead", || !lives(main));
        let words = fs::read_to_string(bench.path("place")).unwrap();
        if let Some(place) = place(&words) {
            wait_until("every process is dead", || pids.iter().all(|pid| !lives(*pid)));
            // The next process of the same run finds the group, makes it good again, and removes it at its end.
            assert!(Path::new(place).exists());
            let again = Bench::with(contain(tier, &run(bench.folder.path())));
            assert_eq!(again.containment.describe(), words);
            assert_eq!(again.run("a", "exit 0").ending, Exit::Code(0));
            drop(again);
            assert!(!Path::new(place).exists());
        } else {
            // Here they go on until the run is taken up again, which ends what has their mark.
            let (_, left) = contain(tier, &run(bench.folder.path())).end_left_by("a").unwrap();
            assert_eq!(left, []);
            assert!(pids.iter().all(|pid| !lives(*pid)));
        }
    }
}

#[test]
fn freezing_from_many_threads_at_once_is_safe() {
    for bench in Bench::tiers("threads") {
        let (step, _) = start_writers(&bench, "a");
        let control = Arc::new(step.control.clone());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(control.freeze().trouble, None));
            }
        });
        control.kill();
        assert_eq!(step.end().ending, Exit::Signal(9));
    }
}
