//! What a command is started with, and what is said when it cannot be.

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;

use super::{Bench, Exit, LONG, StartError, Stdin, User, fs, pids_in};
use crate::exec::capture::{CapturedEnding, run_captured};
use std::time::Duration;

#[test]
fn the_environment_is_exactly_the_documented_one() {
    let bench = Bench::new("environment");
    let mut command = bench.command(&["env"]);
    command.env = vec![("INTERLOCK_RUN".to_owned(), "r".to_owned()), ("LANG".to_owned(), "C".to_owned())];
    assert_eq!(bench.start("env-1", &command).end().ending, Exit::Code(0));
    let shown = bench.shown();
    let mut lines: Vec<&str> = shown.lines().collect();
    lines.sort_unstable();
    let me = User::current();
    let mark = format!("INTERLOCK_MARK={}", bench.containment.mark("env-1"));
    let mut expected = vec![
        format!("HOME={}", me.home),
        mark,
        "INTERLOCK_RUN=r".to_owned(),
        "LANG=C".to_owned(),
        format!("LOGNAME={}", me.name),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("SHELL={}", me.shell),
        format!("USER={}", me.name),
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn no_descriptor_but_the_first_three_reaches_a_program() {
    let bench = Bench::new("descriptors");
    let leak = fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let inherited = rustix::io::fcntl_getfd(&leak).unwrap();
    assert!(!inherited.contains(rustix::io::FdFlags::CLOEXEC), "the test's own descriptor {}", leak.as_raw_fd());
    // `ls` itself opens the folder it lists, as the lowest free number: 3.
    assert_eq!(bench.start("ls-1", &bench.command(&["ls", "/proc/self/fd"])).end().ending, Exit::Code(0));
    assert_eq!(bench.shown(), "0\n1\n2\n3\n");
}

#[test]
fn session_umask_directory_and_signals_are_as_documented() {
    let bench = Bench::new("session");
    let script = "umask; pwd; cut -d' ' -f5,6 /proc/$$/stat; echo $$; grep -E 'Sig(Blk|Ign)' /proc/self/status";
    assert_eq!(bench.run("a", script).ending, Exit::Code(0));
    let shown = bench.shown();
    let lines: Vec<&str> = shown.lines().collect();
    let pid = lines[3];
    let folder = bench.folder.path().canonicalize().unwrap();
    assert_eq!(lines[..3], ["0022", folder.to_str().unwrap(), &format!("{pid} {pid}")]);
    assert_eq!(lines[4..], ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"]);
}

#[test]
fn standard_input_is_empty_or_the_given_bytes() {
    let bench = Bench::new("stdin");
    assert_eq!(bench.start("a", &bench.command(&["cat"])).end().output, None);
    let mut command = bench.command(&["cat"]);
    // More than any pipe holds.
    command.stdin = Stdin::Bytes(b"0123456789abcdef".repeat(200_000));
    let output = bench.start("b", &command).end().output.unwrap();
    assert_eq!(output.bytes, 3_200_000);
    // A program that reads none of it is not a problem.
    command = bench.command(&["true"]);
    command.stdin = Stdin::Bytes(vec![b'x'; 1 << 20]);
    assert_eq!(bench.start("c", &command).end().ending, Exit::Code(0));
    assert!(!format!("{:?}", Stdin::Bytes(b"hush".to_vec())).contains("hush"));
}

#[test]
fn exit_codes_and_signals_are_told_apart() {
    for bench in Bench::tiers("codes") {
        assert_eq!(bench.run("a", "exit 0").ending, Exit::Code(0));
        assert_eq!(bench.run("b", "exit 255").ending, Exit::Code(255));
        assert_eq!(bench.run("c", "kill -SEGV $$").ending, Exit::Signal(11));
        assert_eq!(bench.run("d", "kill -KILL $$").ending, Exit::Signal(9));
    }
}

#[test]
fn a_command_becomes_another_user_wholly() {
    if !rustix::process::geteuid().is_root() {
        let bench = Bench::new("user");
        let mut command = bench.command(&["id"]);
        command.user.uid += 1;
        let error = bench.refuse("a", &command).to_string();
        assert!(error.contains("run interlock as root"), "{error}");
        return;
    }
    let bench = Bench::new("user");
    fs::set_permissions(bench.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let script = "grep -E '^(Uid|Gid|Groups)' /proc/self/status; echo $USER $HOME; echo to-stderr > /dev/stderr";
    let mut command = bench.sh(script);
    command.user = User::named("nobody").unwrap();
    let nobody = command.user.clone();
    assert_eq!(bench.start("a", &command).end().ending, Exit::Code(0), "{}", bench.shown());
    let shown = bench.shown();
    let (uid, gid) = (nobody.uid, nobody.gid);
    let mut groups = nobody.groups.clone();
    groups.sort_unstable();
    let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
    for line in [
        format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n"),
        format!("Gid:\t{gid}\t{gid}\t{gid}\t{gid}\n"),
        format!("Groups:\t{} \n", groups.join(" ")),
        format!("nobody {}\n", nobody.home),
        "to-stderr\n".to_owned(),
    ] {
        assert!(shown.contains(&line), "{line:?} in {shown:?}");
    }
}

#[test]
fn an_unknown_user_is_named() {
    let error = User::named("no-such-user-here").unwrap_err().to_string();
    assert!(error.contains("`no-such-user-here`"), "{error}");
    assert_eq!(User::named("root").unwrap().uid, 0);
}

#[test]
fn a_missing_directory_is_an_error_in_words() {
    for bench in Bench::tiers("directory") {
        let mut command = bench.command(&["true"]);
        command.cwd = bench.path("missing");
        let error = bench.refuse("a", &command);
        assert!(matches!(error, StartError::Directory { .. }));
        assert!(error.to_string().contains("missing`: No such file"), "{error}");
        // The attempt's tree is free again and nothing of it is left.
        assert_eq!(bench.run("b", "true").ending, Exit::Code(0));
    }
}

#[test]
fn what_cannot_be_passed_to_a_program_is_named() {
    let bench = Bench::new("nul");
    let error = bench.refuse("a", &bench.command(&["echo", "a\0b"])).to_string();
    assert!(error.contains("argument 1") && error.contains("NUL"), "{error}");
    let mut command = bench.command(&["true"]);
    command.env = vec![("A=B".to_owned(), "c".to_owned())];
    assert!(bench.refuse("b", &command).to_string().contains("`A=B`"));
    command = bench.command(&["true"]);
    command.argv.push("x".repeat(1 << 20));
    assert!(bench.refuse("c", &command).to_string().contains("too long"));
}

#[test]
fn the_main_process_dies_with_the_thread_that_started_it() {
    let bench = Bench::new("pdeathsig");
    std::thread::scope(|scope| {
        let step = scope.spawn(|| bench.start("a", &bench.sh("exec sleep 60"))).join().unwrap();
        assert_eq!(step.end().ending, Exit::Signal(9));
    });
}

#[test]
fn a_short_command_is_captured_within_its_limit() {
    let bench = Bench::new("capture");
    let captured = run_captured(&bench.sh("echo out; echo err >&2; exit 4"), LONG, 1000, None);
    assert_eq!(captured.ending, CapturedEnding::Exited(4));
    assert_eq!((&captured.stdout[..], &captured.stderr[..], captured.lost), (&b"out\n"[..], &b"err\n"[..], 0));
    let captured = run_captured(&bench.sh("head -c 3000000 /dev/zero; kill -HUP $$"), LONG, 1000, None);
    assert_eq!(captured.ending, CapturedEnding::Signalled(1));
    assert_eq!((captured.stdout.len(), captured.lost), (1000, 2_999_000));
    let mut command = bench.command(&["true"]);
    command.cwd = bench.path("missing");
    let captured = run_captured(&command, LONG, 10, Some((&bench.containment, "probe-1")));
    assert!(matches!(captured.ending, CapturedEnding::NotStarted(reason) if reason.contains("missing")));
}

#[test]
fn a_short_command_that_hangs_is_killed_with_all_its_tree() {
    let short = Duration::from_millis(300);
    for (number, bench) in Bench::tiers("capture-hang").into_iter().enumerate() {
        for (name, containment) in [("plain", None), ("contained", Some((&bench.containment, "probe-1")))] {
            let file = bench.path(name);
            let script = format!(
                "trap '' TERM; setsid sh -c 'echo $$ >> {f}; sleep 60' & echo $$ >> {f}; sleep 60; wait",
                f = file.display()
            );
            let captured = run_captured(&bench.sh(&script), short, 1000, containment);
            assert_eq!(captured.ending, CapturedEnding::TimedOut);
            for pid in pids_in(&file, 2) {
                assert!(!super::lives(pid), "{pid} lives, tier {number}, {name}");
            }
        }
    }
}

#[test]
fn a_grandchild_that_keeps_the_pipe_does_not_hang_a_capture() {
    for bench in Bench::tiers("capture-pipe") {
        for (name, containment) in [("plain", None), ("contained", Some((&bench.containment, "probe-1")))] {
            let file = bench.path(name);
            let script = format!("setsid sh -c 'echo $$ >> {}; exec sleep 60' & echo done", file.display());
            let captured = run_captured(&bench.sh(&script), LONG, 1000, containment);
            assert_eq!((captured.ending, &captured.stdout[..]), (CapturedEnding::Exited(0), &b"done\n"[..]), "{name}");
            let text = fs::read_to_string(&file).unwrap_or_default();
            assert!(text.lines().all(|pid| !super::lives(pid.parse().unwrap())), "{text} {name}");
        }
    }
}
