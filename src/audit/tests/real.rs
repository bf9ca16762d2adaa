//! The real thing: real files, real processes, a real full disk. Where another process is needed, this test program
//! plays it (see [`this_program_can_play_a_child`]).

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::common::{append, check_chain, event, open, run_id, scratch, segments, text_of, texts};
use crate::audit::{Draft, Home, LogError, RESERVE, SEGMENT, read, verify};

const FIRST: &str = "0000000000000001.jsonl";
const ROLE: &str = "AUDIT_TEST_ROLE";
const HOME: &str = "AUDIT_TEST_HOME";

/// This test program, to be run as a child that plays a role.
fn child(role: &str, home: &Path) -> (String, Vec<String>, Vec<(String, String)>) {
    let program = std::env::current_exe().unwrap().into_os_string().into_string().unwrap();
    let arguments = ["--exact", "audit::tests::real::this_program_can_play_a_child", "--nocapture", "--test-threads=1"];
    let environment = vec![(ROLE.to_owned(), role.to_owned()), (HOME.to_owned(), home.to_str().unwrap().to_owned())];
    (program, arguments.map(str::to_owned).to_vec(), environment)
}

fn spawn(role: &str, home: &Path) -> Child {
    let (program, arguments, environment) = child(role, home);
    let mut command = Command::new(program);
    command.args(arguments).envs(environment).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// Runs a role from a shell in a mount namespace of its own, so that what it mounts goes with it. `$@` is the child.
fn in_own_mounts(script: &str, role: &str, home: &Path) -> Vec<String> {
    let (program, arguments, environment) = child(role, home);
    let as_root: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let mut command = Command::new("unshare");
    command
        .args(as_root)
        .args(["--mount", "sh", "-eu", "-c", script, "sh", &program])
        .args(arguments)
        .envs(environment);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said.lines().filter_map(|line| line.strip_prefix("> ")).map(str::to_owned).collect()
}

/// What a child says: lines beginning with `> `, apart from what the test harness says.
fn say(text: &str) {
    println!("> {text}");
    std::io::stdout().flush().unwrap();
}

#[test]
fn this_program_can_play_a_child() {
    let Ok(role) = std::env::var(ROLE) else {
        let mut child = spawn("hello", Path::new("/"));
        let said: Vec<_> = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
        assert!(child.wait().unwrap().success());
        assert!(said.contains(&"> hello".to_owned()), "{said:?}");
        return;
    };
    let home = Home::new(std::env::var(HOME).unwrap()).unwrap();
    println!();
    match role.as_str() {
        "hello" => say("hello"),
        "append for ever" => append_for_ever(&home),
        "append some" => append_some(&home),
        "fill the disk" => fill_the_disk(&home),
        "open" => match open(&home) {
            Ok(_) => say("opened"),
            Err(error) => say(&format!("{error}")),
        },
        other => panic!("no role {other}"),
    }
}

fn append_for_ever(home: &Home) {
    let mut log = open(home).unwrap();
    for number in 0_u64.. {
        let texts: Vec<String> = (0..=number % 3).map(|part| format!("{number}.{part}")).collect();
        let written = append(&mut log, &texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        for recorded in written {
            say(&recorded.line);
        }
    }
}

#[test]
fn p07_a_killed_program_leaves_every_entry_that_it_had_acknowledged() {
    let scratch = scratch();
    let mut acknowledged = Vec::new();
    for round in 1..=10 {
        let mut child = spawn("append for ever", scratch.home.path());
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let before = acknowledged.len();
        while acknowledged.len() < before + round * 7 {
            acknowledged.extend(said.next().unwrap().strip_prefix("> ").map(str::to_owned));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said before it was gone counts too; its last line may be half.
        let rest: Vec<String> = said.filter_map(|line| line.strip_prefix("> ").map(str::to_owned)).collect();
        acknowledged.extend(rest.into_iter().filter(|line| line.ends_with('}')));
    }
    drop(open(&scratch.home).unwrap());
    let lines = check_chain(&segments(&scratch.home)).unwrap();
    let mut rest = lines.iter();
    assert!(acknowledged.len() >= 385);
    assert!(acknowledged.iter().all(|line| rest.any(|found| found == line)));
    let report = verify(&scratch.home, |_, _, _| Ok(())).unwrap();
    assert!(report.verifies(), "{report}");
}

fn append_some(home: &Home) {
    let mut log = open(home).unwrap();
    for round in 0..25 {
        append(&mut log, &[&format!("{}/{round}", std::process::id()), &"x".repeat(2000)]).unwrap();
    }
}

#[test]
fn processes_that_begin_at_once_make_one_log_and_share_it() {
    let scratch = scratch();
    let children: Vec<Child> = (0..8).map(|_| spawn("append some", scratch.home.path())).collect();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    assert_eq!(check_chain(&segments(&scratch.home)).unwrap().len(), 1 + 8 * 25 * 2);
    let numbered = texts(&scratch.home).into_iter().filter(|text| text.contains('/')).count();
    assert_eq!(numbered, 8 * 25);
}

#[test]
fn reading_and_verifying_beside_a_writer_never_raises_a_false_alarm() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks: Vec<_> = (0..2)
            .map(|kind| {
                let (done, home) = (&done, &scratch.home);
                scope.spawn(move || {
                    let mut looks = 0;
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) || looks == 0 {
                        let entries = if kind == 0 {
                            let report = verify(home, |_, _, _| Ok(())).unwrap();
                            assert!(report.verifies(), "{report}");
                            report.entries
                        } else {
                            read(home).unwrap().map(Result::unwrap).count() as u64
                        };
                        assert!(entries >= last, "the log never becomes shorter");
                        (looks, last) = (looks + 1, entries);
                    }
                    looks
                })
            })
            .collect();
        for round in 0..300_u64 {
            let text = "x".repeat(usize::try_from(round * 7919 % 9000).unwrap());
            append(&mut log, &[&text, "and", &text]).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(looks.into_iter().all(|look| look.join().unwrap() > 0));
    });
    assert!(segments(&scratch.home).len() > 1);
    assert_eq!(texts(&scratch.home).len(), 900);
}

fn fill_the_disk(home: &Home) {
    let mut log = open(home).unwrap();
    let run = run_id(1);
    let big = event(&"x".repeat(20_000));
    let draft = Draft { run: Some(&run), event: &big };
    let mut count = 0;
    let error = loop {
        match log.append(&[draft]) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::NoRoom { .. }), "{error}");
    assert!((SEGMENT - RESERVE) / 21_000 <= count, "{count}");
    // What closes a run still finds its room, and nothing else does.
    for _ in 0..2 {
        log.append_closing(&[draft]).unwrap();
        assert!(matches!(log.append(&[Draft { run: Some(&run), event: &event("x") }]), Err(LogError::NoRoom { .. })));
    }
    assert_eq!(texts(home).len(), count as usize + 2);
    assert!(!home.audit().join("unfinished").exists());
    say(&format!("full: {error}"));
}

#[test]
fn a_full_file_system_refuses_what_goes_on_and_takes_what_closes() {
    let scratch = scratch();
    let folder = scratch.home.path().parent().unwrap();
    let script = format!("mount -t tmpfs -o size=768k,mode=0700 none '{}'; exec \"$@\"", folder.display());
    let said = in_own_mounts(&script, "fill the disk", scratch.home.path());
    assert!(said[0].starts_with("full: no room for the audit log in "), "{said:?}");
    assert!(said[0].contains("No space left on device"), "{said:?}");
}

#[test]
fn a_disk_that_is_full_from_the_start_makes_no_log_and_leaves_nothing_half_made() {
    let scratch = scratch();
    let folder = scratch.home.path().parent().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=384k,mode=0700 none '{0}'; \"$@\"; echo '>' $(ls '{0}/home/audit')",
        folder.display()
    );
    let said = in_own_mounts(&script, "open", scratch.home.path());
    assert!(said[0].starts_with("no room for the audit log in "), "{said:?}");
    assert_eq!(said[1], "lock");
}

#[test]
fn a_limit_on_file_sizes_is_no_room() {
    let scratch = scratch();
    // 512 blocks of 512 bytes in this shell; the signal that comes with it is ignored, or it would end the program.
    let said = in_own_mounts("trap '' XFSZ; ulimit -f 512; exec \"$@\"", "open", scratch.home.path());
    assert!(said[0].starts_with("no room for the audit log in ") && said[0].contains("File too large"), "{said:?}");
}

#[test]
fn a_read_only_file_system_is_refused() {
    let scratch = scratch();
    let folder = scratch.home.path().parent().unwrap();
    let mount = format!("mount -t tmpfs -o size=4m,mode=0700 none '{}'", folder.display());
    let remount = format!("mount -o remount,ro '{}'", folder.display());
    let said = in_own_mounts(&format!("{mount}; \"$@\"; {remount}; exec \"$@\""), "open", scratch.home.path());
    assert_eq!(said[0], "opened");
    assert!(said[1].contains("Read-only file system"), "{said:?}");
    let said = in_own_mounts(&format!("{mount}; {remount}; exec \"$@\""), "open", scratch.home.path());
    assert!(said[0].contains("Read-only file system"), "{said:?}");
}

fn refusal(home: &Home) -> String {
    open(home).map(|_| ()).unwrap_err().to_string().replace(&*home.path().to_string_lossy(), "<home>")
}

#[test]
fn a_home_that_is_a_file_is_refused() {
    let scratch = scratch();
    fs::write(scratch.home.path(), "").unwrap();
    assert_eq!(
        refusal(&scratch.home),
        "the home cannot be used: <home>: it is not a folder; name another home with --home, or move it away"
    );
    let below = Home::new(scratch.home.path().join("below")).unwrap();
    assert!(open(&below).is_err());
}

#[test]
fn a_folder_of_the_log_that_others_can_write_is_refused() {
    let scratch = scratch();
    drop(open(&scratch.home).unwrap());
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for open_to_others in [0o720, 0o702, 0o1777] {
        mode(&scratch.home.audit(), open_to_others);
        let text = refusal(&scratch.home);
        assert!(text.contains("others can write to it") && text.contains("`chmod go-w` it"), "{text}");
    }
    mode(&scratch.home.audit(), 0o700);
    mode(&scratch.home.audit().join(FIRST), 0o620);
    assert!(refusal(&scratch.home).contains("others can write to it (mode 0620): `chmod go-w` it"));
    mode(&scratch.home.audit().join(FIRST), 0o600);
    drop(open(&scratch.home).unwrap());
}

#[test]
fn root_trusts_only_a_home_that_no_one_else_can_write_and_others_may_share_theirs() {
    let scratch = scratch();
    drop(open(&scratch.home).unwrap());
    for folder in [scratch.home.path(), scratch.home.path().parent().unwrap()] {
        let before = fs::metadata(folder).unwrap().permissions();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o770)).unwrap();
        let result = open(&scratch.home).map(|_| ());
        if rustix::process::geteuid().is_root() {
            let text = result.unwrap_err().to_string();
            assert!(text.contains("others can write to it (mode 0770), and root trusts only"), "{text}");
        } else {
            result.unwrap();
        }
        fs::set_permissions(folder, before).unwrap();
    }
    open(&scratch.home).unwrap();
}

#[test]
fn a_segment_or_lock_that_is_a_link_a_pipe_or_a_folder_is_refused() {
    for name in [FIRST, "lock"] {
        let scratch = scratch();
        drop(open(&scratch.home).unwrap());
        let path = scratch.home.audit().join(name);
        let elsewhere = scratch.home.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        let before = fs::read(&elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(refusal(&scratch.home).contains("it is a symbolic link"), "{}", refusal(&scratch.home));
        assert_eq!(fs::read(&elsewhere).unwrap(), before);
        if name == FIRST {
            assert!(read(&scratch.home).unwrap().next().unwrap().is_err());
            assert!(!verify(&scratch.home, |_, _, _| Ok(())).unwrap().verifies());
        }
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg("--mode=600").arg(&path).status().unwrap().success());
        assert!(refusal(&scratch.home).contains("it is not a regular file"), "{}", refusal(&scratch.home));
        if name == FIRST {
            assert!(read(&scratch.home).unwrap().next().unwrap().is_err());
            assert!(!verify(&scratch.home, |_, _, _| Ok(())).unwrap().verifies());
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(open(&scratch.home).is_err());
    }
}

#[test]
fn an_audit_folder_that_is_a_link_is_refused() {
    let scratch = scratch();
    fs::create_dir(scratch.home.path()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), scratch.home.audit()).unwrap();
    assert!(open(&scratch.home).is_err());
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_log_that_is_moved_replaced_cut_or_blanked_under_its_writer_is_not_written_any_more() {
    let audit = |home: &Home| home.audit().join(FIRST);
    type Deed = fn(&Path);
    let deeds: [(&str, Deed); 5] = [
        ("moved, removed or replaced", |path| fs::remove_file(path).unwrap()),
        ("moved, removed or replaced", |path| {
            let bytes = fs::read(path).unwrap();
            fs::remove_file(path).unwrap();
            fs::write(path, bytes).unwrap();
        }),
        ("moved, removed or replaced", |path| {
            fs::rename(path, path.with_extension("old")).unwrap();
            symlink(path.with_extension("old"), path).unwrap();
        }),
        ("became shorter", |path| fs::File::options().write(true).open(path).unwrap().set_len(700).unwrap()),
        ("lock file was replaced or removed", |path| fs::remove_file(path.with_file_name("lock")).unwrap()),
    ];
    for (expected, deed) in deeds {
        let scratch = scratch();
        let mut log = open(&scratch.home).unwrap();
        append(&mut log, &["a", "b"]).unwrap();
        deed(&audit(&scratch.home));
        let first = append(&mut log, &["c"]).unwrap_err().to_string();
        assert!(first.contains(expected), "{first}");
        assert_eq!(append(&mut log, &["d"]).unwrap_err().to_string(), first);
    }
}

#[test]
fn a_log_that_was_removed_while_its_runs_remain_does_not_begin_anew() {
    let scratch = scratch();
    drop(open(&scratch.home).unwrap());
    fs::create_dir_all(scratch.home.run(&run_id(1))).unwrap();
    drop(open(&scratch.home).unwrap());
    fs::remove_dir_all(scratch.home.audit()).unwrap();
    let text = refusal(&scratch.home);
    assert!(text.contains("<home>/runs says that there was a log: it was removed"), "{text}");
    assert!(read(&scratch.home).unwrap_err().to_string().starts_with("there is no audit log in "));
}

#[test]
fn where_nothing_ran_yet_there_is_nothing_to_read_or_verify() {
    let scratch = scratch();
    assert!(read(&scratch.home).is_err());
    assert!(verify(&scratch.home, |_, _, _| Ok(())).is_err());
    assert!(!scratch.home.path().exists(), "looking makes nothing");
}

#[test]
fn a_reader_sees_what_was_written_since_it_began() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    append(&mut log, &["a"]).unwrap();
    let mut reader = read(&scratch.home).unwrap();
    reader.next().unwrap().unwrap();
    append(&mut log, &["b"]).unwrap();
    let rest: Vec<_> = reader.map(|found| found.unwrap().recorded.entry.event).collect();
    assert_eq!(rest.iter().filter_map(text_of).collect::<Vec<_>>(), ["a", "b"]);
}
