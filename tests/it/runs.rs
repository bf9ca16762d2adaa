//! Promises of a run, kept by the program on real processes and files.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::support::{Scratch, alive, finish, until};

const HEAD: &str = "interlock: 1\nname: test\n";

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap().success());
}

#[test]
fn p01_the_announcement_of_a_step_is_on_disk_when_the_step_begins() {
    let scratch = Scratch::new();
    let ran = scratch.run(
        &format!(
            "{HEAD}params: {{log: {{type: path}}}}\nsteps:\n  - id: first\n    run: [\"true\"]\n  - id: look\n    script: |\n      grep -h '\"event\":\"step_intended\"' \"$log\"/*.jsonl | grep -q '\"step\":\"look\"'\n      grep -h '\"event\":\"step_done\"' \"$log\"/*.jsonl | grep -q '\"step\":\"first\"'\n"
        ),
        &["-p", &format!("log={}", scratch.home().join("audit").display())],
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn p01_a_sync_that_fails_stops_the_run_before_the_next_step() {
    let scratch = Scratch::new();
    let mut runbook = format!("{HEAD}steps:\n");
    for step in 0..6 {
        runbook.push_str(&format!("  - id: s{step}\n    script: echo s{step} >> {}/done\n", scratch.path().display()));
    }
    let path = scratch.write("runbook.yaml", &runbook);
    // The log is made first, so that only appends are counted.
    assert_eq!(scratch.run(&format!("{HEAD}steps:\n  - {{id: a, run: [\"true\"]}}\n"), &[]).code, 0);
    std::fs::write(&path, &runbook).unwrap();
    let program = scratch.command(&["run", path.to_str().unwrap()]);
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=2+"])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(scratch.path())
        .env_remove("INTERLOCK_HOME")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ran = finish(traced.spawn().unwrap());
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing more was started"), "{}", ran.stderr);
    // One sync went well: that of the run's opening, with the announcement of the first step. Opening the log needs none, since the
    // checkpoint of the run before speaks of all that is in it.
    assert_eq!(scratch.read("done"), "s0\n");
}

#[test]
fn p01_a_home_that_cannot_be_written_stops_the_run_before_anything_starts() {
    let scratch = Scratch::new();
    scratch.write("home", "a file where the home should be");
    let ran =
        scratch.run(&format!("{HEAD}steps:\n  - id: a\n    script: touch {}/ran\n", scratch.path().display()), &[]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(!scratch.path().join("ran").exists());
}

/// A small file system of its own; gone with its guard.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn at(path: std::path::PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1100k,mode=700", "none"]).arg(&path).status();
        assert!(mounted.unwrap().success(), "a small file system can be mounted (this needs root)");
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn p01_a_full_disk_stops_the_run_and_what_was_done_is_still_recorded() {
    let scratch = Scratch::new();
    let _disk = SmallDisk::at(scratch.home());
    let mut runbook = format!("{HEAD}steps:\n");
    for step in 0..1500 {
        runbook.push_str(&format!("  - {{id: s{step}, script: echo >> {}/done}}\n", scratch.path().display()));
    }
    let ran = scratch.run(&runbook, &[]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let executed = scratch.read("done").lines().count();
    assert!((100..1500).contains(&executed), "the disk was full in the middle, after {executed} steps");
    let count = |name: &str| scratch.events().iter().filter(|event| *event == name).count();
    assert_eq!(count("step_intended"), executed, "no step ran that was not announced");
    assert_eq!(count("step_done"), executed, "what was done is recorded in the room that is kept for it");
    assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
}

#[test]
fn p02_nothing_of_a_step_runs_while_its_fact_does_not_hold() {
    let scratch = Scratch::new();
    let ran = scratch.run(
        &format!(
            "{HEAD}systems:\n  flag:\n    states:\n      up: {{file: {{path: {0}/flag, state: present}}}}\nsteps:\n  - id: a\n    requires: [flag up]\n    script: touch {0}/ran\n",
            scratch.path().display()
        ),
        &[],
    );
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(!scratch.path().join("ran").exists());
    assert_eq!(scratch.events(), ["log_created", "run_opened", "watches_armed", "run_refused"]);
    assert!(ran.stderr.trim_end().lines().last().unwrap().contains("refused, nothing was started"), "{}", ran.stderr);
}

#[test]
fn p03_the_whole_tree_is_frozen_and_killed_with_grandchildren_that_left_the_session() {
    let scratch = Scratch::new();
    let dir = scratch.path().display().to_string();
    let runbook = format!(
        "{HEAD}systems:\n  flag:\n    states:\n      up: {{file: {{path: {dir}/flag, state: present}}}}\nsteps:\n  - id: change\n    requires: [flag up]\n    script: |\n      trap '' TERM\n      for n in 1 2 3 4 5; do\n        setsid sh -c 'trap \"\" TERM HUP; while :; do echo x >> {dir}/counter; done' {dir}-writer &\n      done\n      while :; do echo x >> {dir}/counter; done\n"
    );
    scratch.write("flag", "");
    let path = scratch.write("runbook.yaml", &runbook);
    let child = scratch.command(&["run", path.to_str().unwrap()]).spawn().unwrap();
    until("all writers write", || alive(&format!("{dir}-writer")) && scratch.read("counter").len() > 2000);
    std::fs::remove_file(scratch.path().join("flag")).unwrap();
    let ran = finish(child);
    assert_eq!(ran.code, 8, "{}", ran.stderr);
    assert!(!alive(&format!("{dir}-writer")), "a grandchild survived");
    let length = std::fs::metadata(scratch.path().join("counter")).unwrap().len();
    // Nobody is left who could write: the file has its final length.
    assert_eq!(length, std::fs::metadata(scratch.path().join("counter")).unwrap().len());
    let broken = scratch.last("hold_broken");
    assert_eq!(broken["sight"]["fact"], "flag up");
    assert!(broken["freeze_micros"].as_u64().unwrap() < 2_000_000, "{broken}");
}

#[test]
fn p04_there_is_no_way_to_start_in_the_middle_and_the_attempt_is_an_entry() {
    let scratch = Scratch::new();
    let runbook = format!("{HEAD}steps:\n  - {{id: a, run: [\"false\"]}}\n  - {{id: b, run: [\"true\"]}}\n");
    for attempt in [["--start-at", "b"], ["--skip", "a"], ["--start-at-task", "b"]] {
        let ran = scratch.run(&runbook, &attempt);
        assert_eq!(ran.code, 4, "{attempt:?}: {}", ran.stderr);
        let refused = scratch.last("run_refused");
        assert_eq!(refused["cause"], "not_allowed");
        assert!(refused["reason"].as_str().unwrap().contains(attempt[1]), "{refused}");
    }
    assert!(!scratch.events().iter().any(|event| event == "step_intended"));
}

#[test]
fn p09_a_probe_whose_command_is_missing_is_a_refusal_also_under_not() {
    for probe in [
        "command: {run: [/nonexistent/is-it-up]}",
        "not: {command: {run: [/nonexistent/is-it-up]}}",
        "not: {command: {run: [sh, -c, 'exit 127']}}",
        "not: {command: {run: [sh, -c, 'kill -9 $$']}}",
        "any: [{not: {command: {run: [no-such-program]}}}]",
    ] {
        let scratch = Scratch::new();
        let ran = scratch.run(
            &format!(
                "{HEAD}systems:\n  thing:\n    states:\n      stopped: {{{probe}}}\nsteps:\n  - id: a\n    requires: [thing stopped]\n    script: touch {}/ran\n",
                scratch.path().display()
            ),
            &[],
        );
        assert_eq!(ran.code, 3, "{probe}: {}", ran.stderr);
        assert!(!scratch.path().join("ran").exists(), "{probe}");
        assert_eq!(scratch.last("run_refused")["seen"][0]["verdict"], "unknown", "{probe}");
    }
}

#[test]
fn p10_a_secret_is_in_no_artefact() {
    let secret = "hunter2-Tr0ub4dor&3";
    let encoded = "aHVudGVyMi1Ucj B1YjRkb3ImMw".replace(' ', "");
    let scratch = Scratch::new();
    let runbook = format!(
        "{HEAD}params:\n  password: {{type: secret, from: {{env: THE_PASSWORD}}}}\nsteps:\n  - id: use\n    env: {{PASSWORD: \"{{{{ password }}}}\"}}\n    stdin: \"{{{{ password }}}}\\n\"\n    script: |\n      read -r line\n      test \"$line\" = \"$PASSWORD\"\n      echo \"it is $PASSWORD\"\n      printf '%s' \"$PASSWORD\" | base64\n      echo \"split:\"; printf '%s' \"${{PASSWORD%Tr*}}\"; sleep 0.05; printf '%s\\n' \"${{PASSWORD#*2-}}\"\n      ps ax -o args | grep -F \"$PASSWORD\" | grep -v grep && exit 9\n      echo \"$PASSWORD\" >&2\n      exit 3\n"
    );
    let path = scratch.write("runbook.yaml", &runbook);
    let mut command = scratch.command(&["run", path.to_str().unwrap()]);
    command.env("THE_PASSWORD", secret);
    let ran = finish(command.spawn().unwrap());
    assert_eq!(ran.code, 7, "the step compares what it was given, and then exits with 3: {}", ran.stderr);
    assert_eq!(scratch.last("step_ended")["ending"]["exited"]["code"], 3);
    let mut searched = 0;
    for text in [ran.stdout, ran.stderr] {
        assert!(!text.contains(secret) && !text.contains(&encoded), "{text}");
        searched += 1;
    }
    for file in files_below(&scratch.home()) {
        let bytes = std::fs::read(&file).unwrap();
        for canary in [secret, &encoded] {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{} holds the secret", file.display());
        }
        searched += 1;
    }
    assert!(searched >= 5, "streams, log, plan and transcript were searched");
    let transcript = std::fs::read_to_string(
        scratch.home().join(scratch.last("step_ended")["output"]["transcript"].as_str().unwrap()),
    )
    .unwrap();
    assert!(transcript.contains("[secret]"), "{transcript}");
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn p10_a_secret_cannot_be_put_into_an_argument() {
    let scratch = Scratch::new();
    let ran = scratch.run(
        &format!("{HEAD}params:\n  password: {{type: secret, from: {{env: P}}}}\nsteps:\n  - {{id: a, run: [echo, \"{{{{ password }}}}\"]}}\n"),
        &[],
    );
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("secret"), "{}", ran.stderr);
}

#[test]
fn p12_a_step_that_leaves_a_process_fails_and_nothing_of_it_survives() {
    let scratch = Scratch::new();
    let mark = format!("{}-daemon", scratch.path().display());
    let ran = scratch.run(
        &format!(
            "{HEAD}steps:\n  - id: a\n    script: setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' {mark} &\n"
        ),
        &[],
    );
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(!alive(&mark), "the daemon survived");
    assert!(!scratch.last("step_ended")["leftovers"].as_array().unwrap().is_empty());
    assert!(ran.stderr.contains("starts_service: true"), "the message says what to do: {}", ran.stderr);
}

#[test]
fn p12_a_service_is_let_go_when_its_step_is_done_and_ended_when_it_fails() {
    let scratch = Scratch::new();
    for (then, code) in [("exit 0", 0), ("exit 1", 7)] {
        let mark = format!("{}-service-{code}", scratch.path().display());
        let ran = scratch.run(
            &format!(
                "{HEAD}steps:\n  - id: a\n    starts_service: true\n    script: |\n      setsid sh -c 'while :; do sleep 1; done' {mark} &\n      {then}\n"
            ),
            &[],
        );
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert_eq!(alive(&mark), code == 0, "{then}");
        let _ = Command::new("pkill").args(["-9", "-f", &mark]).status();
    }
}

#[test]
fn p13_each_ending_has_its_exit_code_and_a_last_line() {
    let cases = [
        ("steps:\n  - {id: a, run: [\"true\"]}\n", 0, "completed"),
        ("steps:\n  - {id: a, run: [\"false\"]}\n", 7, "a step failed"),
        ("steps:\n  - {id: a, run: [no-such-program-here]}\n", 7, "a step failed"),
        ("steps:\n  - {id: a, run: [sleep, \"60\"], timeout: 50ms}\n", 7, "a step failed"),
        ("steps:\n  - {id: a, manual: call them}\n", 6, "a person is needed"),
        (
            "systems: {f: {states: {there: {file: {path: /nonexistent, state: present}}}}}\nsteps:\n  - {id: a, run: [\"true\"], ensures: [f there], within: 50ms}\n",
            7,
            "a step failed",
        ),
        (
            "systems: {f: {states: {there: {file: {path: /nonexistent, state: present}}}}}\nsteps:\n  - {id: a, run: [\"true\"]}\n  - {id: b, run: [\"true\"], requires: [f there]}\n",
            3,
            "a required fact does not hold",
        ),
    ];
    for (rest, code, words) in cases {
        let scratch = Scratch::new();
        let ran = scratch.run(&format!("{HEAD}{rest}"), &[]);
        assert_eq!(ran.code, code, "{rest}\n{}", ran.stderr);
        let last = ran.stderr.trim_end().lines().last().unwrap_or_default().to_owned();
        assert!(last.contains(words) && last.contains("interlock audit show"), "{last}");
        let ends = scratch.events();
        let last = ends.last().unwrap();
        assert!(["run_completed", "run_halted", "run_refused"].contains(&last.as_str()), "{ends:?}");
        assert_eq!(scratch.interlock(&["audit", "verify"]).code, 0);
    }
}

#[test]
fn p13_a_signal_ends_the_step_and_halts_with_an_entry() {
    for (name, in_log) in [("INT", "SIGINT"), ("TERM", "SIGTERM"), ("QUIT", "SIGQUIT")] {
        let scratch = Scratch::new();
        let mark = format!("{}-{name}", scratch.path().display());
        let path = scratch.write(
            "runbook.yaml",
            &format!("{HEAD}steps:\n  - id: a\n    script: |\n      echo > {0}/began\n      sh -c 'sleep 60; :' {mark}\n  - id: b\n    script: touch {0}/ran\n", scratch.path().display()),
        );
        let child = scratch.command(&["run", path.to_str().unwrap()]).spawn().unwrap();
        until("the step runs", || scratch.path().join("began").exists() && alive(&mark));
        signal(child.id(), name);
        let ran = finish(child);
        assert_eq!(ran.code, 12, "{name}: {}", ran.stderr);
        assert!(!alive(&mark));
        assert!(!scratch.path().join("ran").exists());
        assert_eq!(scratch.last("signal_received")["signal"], in_log);
        assert_eq!(scratch.last("run_halted")["cause"], "interrupted");
    }
}

#[test]
fn a_dropped_connection_lets_the_step_finish_and_halts_before_the_next() {
    let scratch = Scratch::new();
    let dir = scratch.path().display().to_string();
    let path = scratch.write(
        "runbook.yaml",
        &format!("{HEAD}steps:\n  - id: a\n    script: |\n      echo > {dir}/began\n      while ! test -e {dir}/go; do sleep 0.01; done\n      echo > {dir}/finished\n  - id: b\n    script: touch {dir}/ran\n"),
    );
    let child = scratch.command(&["run", path.to_str().unwrap()]).spawn().unwrap();
    until("the step runs", || scratch.path().join("began").exists());
    signal(child.id(), "HUP");
    until("the signal is recorded", || scratch.events().iter().any(|event| event == "signal_received"));
    scratch.write("go", "");
    let ran = finish(child);
    assert_eq!(ran.code, 12, "{}", ran.stderr);
    assert!(scratch.path().join("finished").exists() && !scratch.path().join("ran").exists());
    assert!(scratch.events().contains(&"step_done".to_owned()));
}

#[test]
fn what_a_person_sees_never_harms_a_run() {
    let runbook = format!("{HEAD}steps:\n  - id: a\n    script: seq 1 20000\n  - {{id: b, run: [\"true\"]}}\n");
    for redirect in [">/dev/full 2>/dev/full", ">&- 2>&-", "2>&1 | true"] {
        let scratch = Scratch::new();
        let path = scratch.write("runbook.yaml", &runbook);
        let program = scratch.command(&["run", path.to_str().unwrap(), "--format", "human"]);
        let line = format!(
            "({} run {} --home {}; echo $? > code) {redirect}",
            program.get_program().to_str().unwrap(),
            path.display(),
            scratch.home().display()
        );
        let status = Command::new("sh").arg("-c").arg(&line).current_dir(scratch.path()).stdin(Stdio::null()).status();
        assert!(status.is_ok());
        assert_eq!(scratch.read("code"), "0\n", "{redirect}");
        assert_eq!(scratch.events().last().map(String::as_str), Some("run_completed"), "{redirect}");
    }
}

#[test]
fn memory_stays_bounded_while_a_step_writes_much() {
    let scratch = Scratch::new();
    let path = scratch.write(
        "runbook.yaml",
        &format!("{HEAD}steps:\n  - {{id: a, script: \"head -c 200000000 /dev/zero | tr '\\\\0' b\"}}\n"),
    );
    let mut child = scratch.command(&["run", path.to_str().unwrap()]);
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut peak = 0_u64;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kib.unwrap_or_default());
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(scratch.last("step_ended")["output"]["bytes"], 200_000_000);
    assert!(peak > 1000 && peak < 40 << 10, "{peak} KiB, with a debug build");
}

#[test]
fn json_output_is_the_log_and_nothing_else() {
    let scratch = Scratch::new();
    let ran = scratch.run(&format!("{HEAD}steps:\n  - id: a\n    script: echo some output\n"), &["--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let logged: Vec<String> = scratch.entries().iter().skip(1).map(|entry| entry["prev"].to_string()).collect();
    let shown: Vec<String> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["prev"].to_string())
        .collect();
    assert_eq!(logged, shown);
}

#[test]
fn a_step_has_a_clean_environment_and_nothing_on_its_input() {
    let scratch = Scratch::new();
    let path = scratch.write(
        "runbook.yaml",
        &format!("{HEAD}steps:\n  - id: a\n    env: {{MINE: \"1\"}}\n    script: |\n      env | cut -d= -f1 | sort > {0}/env\n      cat > {0}/stdin\n      umask > {0}/umask\n      pwd > {0}/pwd\n      ls /proc/self/fd > {0}/fds\n", scratch.path().display()),
    );
    let mut command = scratch.command(&["run", path.to_str().unwrap()]);
    command.env("LD_LIBRARY_PATH", "/tmp").env("BASH_ENV", "/tmp/x").env("EVIL", "1");
    let ran = finish(command.spawn().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let environment: Vec<String> = scratch.read("env").lines().map(str::to_owned).collect();
    for name in ["LD_LIBRARY_PATH", "BASH_ENV", "EVIL", "INTERLOCK_HOME"] {
        assert!(!environment.iter().any(|set| set == name), "{name} leaked: {environment:?}");
    }
    for name in ["PATH", "HOME", "USER", "LANG", "MINE", "INTERLOCK_RUN", "INTERLOCK_STEP"] {
        assert!(environment.iter().any(|set| set == name), "{name} is missing: {environment:?}");
    }
    assert_eq!(scratch.read("stdin"), "");
    assert_eq!(scratch.read("umask"), "0022\n");
    assert_eq!(scratch.read("pwd"), "/\n");
    assert_eq!(scratch.read("fds"), "0\n1\n2\n3\n", "3 is the folder that ls reads");
}

#[test]
fn a_runbook_with_mistakes_names_them_all_and_starts_nothing() {
    let scratch = Scratch::new();
    let ran = scratch.run(
        &format!("{HEAD}steps:\n  - id: a\n    rum: [\"true\"]\n  - id: b\n    script: touch {}/ran\n    timeout: 5\n    save: {{x: {{regex: y}}}}\n", scratch.path().display()),
        &[],
    );
    assert_eq!(ran.code, 2);
    for words in ["rum", "did you mean", "timeout", "not supported yet"] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert!(!scratch.path().join("ran").exists());
    assert!(!scratch.home().exists(), "a wrong runbook touches nothing");
}

#[test]
fn two_runs_at_once_share_one_log() {
    let scratch = Scratch::new();
    let path = scratch.write(
        "runbook.yaml",
        &format!(
            "{HEAD}steps:\n{}",
            (0..20).map(|n| format!("  - {{id: s{n}, run: [\"true\"]}}\n")).collect::<String>()
        ),
    );
    let children: Vec<_> = (0..4).map(|_| scratch.command(&["run", path.to_str().unwrap()]).spawn().unwrap()).collect();
    for child in children {
        let ran = finish(child);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let verified = scratch.interlock(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
    assert_eq!(scratch.events().iter().filter(|event| *event == "run_completed").count(), 4);
}

#[test]
fn p08_a_changed_entry_is_found_and_named() {
    let scratch = Scratch::new();
    assert_eq!(scratch.run(&format!("{HEAD}steps:\n  - {{id: a, run: [\"true\"]}}\n"), &[]).code, 0);
    let segment = std::fs::read_dir(scratch.home().join("audit"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .unwrap();
    let text = std::fs::read_to_string(&segment).unwrap();
    std::fs::write(&segment, text.replacen("\"code\":0", "\"code\":9", 1)).unwrap();
    let verified = scratch.interlock(&["audit", "verify"]);
    assert_eq!(verified.code, 11, "{}", verified.stdout);
    assert!(verified.stdout.contains("FAILURE") && verified.stdout.contains("entry"), "{}", verified.stdout);
    // And nothing runs on top of it.
    let again = scratch.run(&format!("{HEAD}steps:\n  - {{id: a, run: [\"true\"]}}\n"), &[]);
    assert_eq!(again.code, 1, "{}", again.stderr);
}

/// The program and a folder for an ordinary user, where both can be reached.
fn as_nobody(scratch: &Scratch) -> (std::path::PathBuf, std::path::PathBuf) {
    let open = scratch.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::os::unix::fs::chown(&open, Some(65534), Some(65534)).unwrap();
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    (scratch.copy_program(env!("CARGO_BIN_EXE_interlock"), "interlock"), open)
}

fn nobody(program: &std::path::Path, open: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg("--home")
        .arg(open.join("home"))
        .uid(65534)
        .gid(65534)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn p07_without_control_groups_what_a_killed_run_left_is_ended_before_it_goes_on() {
    let scratch = Scratch::new();
    let (program, open) = as_nobody(&scratch);
    let dir = open.display().to_string();
    let mark = format!("{dir}-left");
    let runbook = scratch.write(
        "runbook.yaml",
        &format!(
            "{HEAD}steps:\n  - id: a\n    script: |\n      setsid sh -c 'while :; do echo x >> {dir}/log; sleep 0.01; done' {mark} &\n      while ! test -e {dir}/go; do sleep 0.01; done\n      kill $!\n"
        ),
    );
    let mut child = nobody(&program, &open, &["run", runbook.to_str().unwrap()]).spawn().unwrap();
    until("the step's child works", || alive(&mark) && scratch.read("open/log").len() > 4);
    child.kill().unwrap();
    child.wait().unwrap();
    scratch.write("open/go", "");
    assert!(alive(&mark), "without a control group a grandchild goes on until the run is taken up");
    let status = finish(nobody(&program, &open, &["status", "--format", "json"]).spawn().unwrap());
    let open_run: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!((open_run["state"].as_str(), open_run["doubt"].as_str()), (Some("died"), Some("a")), "{open_run}");
    let run = open_run["run"].as_str().unwrap();
    let ran = finish(nobody(&program, &open, &["resume", run, "--decide", "a=retry"]).spawn().unwrap());
    assert!(ran.stderr.contains("still running from before, and ended:"), "{}", ran.stderr);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!alive(&mark));
}

#[test]
fn an_ordinary_user_can_run_what_needs_no_privilege() {
    let scratch = Scratch::new();
    // The built program may lie where the user cannot reach it.
    let (program, open) = as_nobody(&scratch);
    let runbook = scratch.write(
        "runbook.yaml",
        &format!("{HEAD}systems: {{f: {{states: {{there: {{file: {{path: {0}/flag, state: present}}}}}}}}}}\nsteps:\n  - {{id: a, run: [touch, {0}/flag], ensures: [f there]}}\n  - {{id: b, run: [\"true\"], requires: [f there]}}\n", open.display()),
    );
    let mut command = nobody(&program, &open, &["run", runbook.to_str().unwrap()]);
    let ran = finish(command.spawn().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("weaker"), "what cannot be contained is said: {}", ran.stderr);
}
