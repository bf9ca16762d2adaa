//! Finding programs, and that what was hashed is what runs.

use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Bench, Command, Exit, PATH, Stdin, User, fs};
use crate::exec::program::{Program, ProgramError};
use crate::executable;

fn command_of(bench: &Bench, program: Program, arguments: &[&str]) -> Command {
    let mut argv = vec![program.path().display().to_string()];
    argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let cwd = bench.folder.path().to_owned();
    Command { program, argv, env: Vec::new(), cwd, user: User::current(), stdin: Stdin::Empty }
}

#[test]
fn what_is_not_a_program_is_said_in_words() {
    let bench = Bench::new("not-programs");
    let find = |name: &str| bench.programs.find(name, PATH, bench.folder.path());
    let error = find("no-such-program-here").unwrap_err();
    assert!(error.to_string().contains("no program `no-such-program-here`"), "{error}");
    assert!(matches!(find("./missing"), Err(ProgramError::NotFound { .. })));
    assert!(matches!(find(""), Err(ProgramError::NotFound { .. })));
    assert!(find("/etc").unwrap_err().to_string().contains("is a directory"));
    fs::write(bench.path("plain"), "x").unwrap();
    assert!(find("./plain").unwrap_err().to_string().contains("not executable"));
    rustix::fs::mknodat(rustix::fs::CWD, bench.path("fifo"), rustix::fs::FileType::Fifo, 0o777.into(), 0).unwrap();
    assert!(find("./fifo").unwrap_err().to_string().contains("not a plain file"));
    executable::script(&bench.path("garbage"), "\x01\x02\x03");
    let command = command_of(&bench, find("./garbage").unwrap(), &[]);
    assert!(bench.refuse("a", &command).to_string().contains("not a program for this machine"));
    executable::script(&bench.path("no-interpreter"), "#!/no/such/interpreter\n");
    let command = command_of(&bench, find("./no-interpreter").unwrap(), &[]);
    assert!(bench.refuse("b", &command).to_string().contains("interpreter in its first line"));
}

#[test]
fn a_program_is_found_along_the_path_and_hashed() {
    let bench = Bench::new("path");
    fs::create_dir_all(bench.path("one/tool")).unwrap();
    fs::create_dir(bench.path("two")).unwrap();
    executable::script(&bench.path("two/tool"), "#!/bin/sh\necho two\n");
    let path = format!("{}::{}", bench.path("one").display(), bench.path("two").display());
    let program = bench.programs.find("tool", &path, Path::new("/")).unwrap();
    assert_eq!(program.path(), bench.path("two/tool"));
    assert_eq!(program.digest()[..], Sha256::digest(b"#!/bin/sh\necho two\n")[..]);
    // A changed file has another digest, though its name and length are the same.
    executable::script(&bench.path("two/tool"), "#!/bin/sh\necho 2wo\n");
    let changed = bench.programs.find("tool", &path, Path::new("/")).unwrap();
    assert_eq!(changed.digest()[..], Sha256::digest(b"#!/bin/sh\necho 2wo\n")[..]);
}

#[test]
fn a_script_gets_its_arguments_and_knows_where_it_is_unless_others_could_change_it() {
    let bench = Bench::new("script");
    let path = bench.path("script");
    executable::script(&path, "#!/bin/sh\necho \"$0 $1 $2\"\n");
    let program = bench.programs.open(&path).unwrap();
    assert_eq!(bench.start("a", &command_of(&bench, program, &["a b", "c"])).end().ending, Exit::Code(0));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let program = bench.programs.open(&path).unwrap();
    assert_eq!(bench.start("b", &command_of(&bench, program, &["a b", "c"])).end().ending, Exit::Code(0));
    assert_eq!(bench.shown(), format!("{} a b c\n/dev/fd/3 a b c\n", path.canonicalize().unwrap().display()));
}

#[test]
fn a_program_replaced_after_it_was_opened_runs_as_it_was() {
    let bench = Bench::new("replaced");
    for (name, old) in [("script", "#!/bin/sh\necho old\n"), ("binary", "")] {
        if name == "binary" {
            executable::copy(Path::new("/bin/echo"), &bench.path(name));
        } else {
            executable::script(&bench.path(name), old);
            // Others could write to it, so it is executed from the descriptor.
            fs::set_permissions(bench.path(name), fs::Permissions::from_mode(0o777)).unwrap();
        }
        let program = bench.programs.open(&bench.path(name)).unwrap();
        executable::script(&bench.path("new"), "#!/bin/sh\necho new\n");
        fs::rename(bench.path("new"), bench.path(name)).unwrap();
        let command = command_of(&bench, program, &["old"]);
        assert_eq!(bench.start(name, &command).end().ending, Exit::Code(0));
    }
    assert_eq!(bench.shown(), "old\nold\n");
}

#[test]
fn a_script_whose_path_leads_elsewhere_after_it_was_opened_is_refused() {
    let bench = Bench::new("elsewhere");
    executable::script(&bench.path("script"), "#!/bin/sh\necho old\n");
    let program = bench.programs.open(&bench.path("script")).unwrap();
    executable::script(&bench.path("new"), "#!/bin/sh\necho new\n");
    fs::rename(bench.path("new"), bench.path("script")).unwrap();
    let error = bench.refuse("a", &command_of(&bench, program, &[])).to_string();
    assert!(error.contains("was changed after it was checked"), "{error}");
}

#[test]
fn a_program_written_to_after_it_was_opened_is_refused() {
    let bench = Bench::new("changed");
    executable::script(&bench.path("script"), "#!/bin/sh\necho old\n");
    let program = bench.programs.open(&bench.path("script")).unwrap();
    fs::write(bench.path("script"), "#!/bin/sh\necho new\n").unwrap();
    let error = bench.refuse("a", &command_of(&bench, program, &[])).to_string();
    assert!(error.contains("was changed after it was checked"), "{error}");
}

#[test]
fn the_interpreter_of_a_script_is_the_one_that_the_kernel_takes() {
    let bench = Bench::new("interpreter");
    let long = format!("#!/{}", "x".repeat(300));
    let cut_argument = format!("#!/bin/sh {}", "x".repeat(300));
    for (text, interpreter) in [
        ("#!/bin/sh\n", Some("/bin/sh")),
        ("#! \t/bin/sh \t-e -u\n", Some("/bin/sh")),
        ("#!/bin/sh", Some("/bin/sh")),
        ("#!/usr/bin/env sh\n", Some("/usr/bin/env")),
        ("#!sh\n", Some("sh")),
        (&cut_argument, Some("/bin/sh")),
        (&long, None),
        ("#!\n/bin/sh\n", None),
        ("#!", None),
        (" #!/bin/sh\n", None),
        ("", None),
    ] {
        executable::script(&bench.path("script"), text);
        let program = bench.programs.open(&bench.path("script")).unwrap();
        assert_eq!(program.interpreter(), interpreter.map(Path::new), "{text:?}");
    }
    executable::script(&bench.path("script"), "#!sh\n");
    let program = bench.programs.open(&bench.path("script")).unwrap();
    assert_eq!(bench.programs.interpreter(&program, Path::new("/bin")).unwrap().unwrap().path(), Path::new("/bin/sh"));
    assert!(matches!(
        bench.programs.interpreter(&program, bench.folder.path()),
        Some(Err(ProgramError::NotFound { .. }))
    ));
}

#[test]
fn an_interpreter_that_was_exchanged_or_touched_is_told_by_its_path() {
    let bench = Bench::new("exchanged");
    executable::script(&bench.path("shell"), "x");
    let program = bench.programs.open(&bench.path("shell")).unwrap();
    program.check_path(0).unwrap();
    executable::script(&bench.path("new"), "x");
    fs::rename(bench.path("new"), bench.path("shell")).unwrap();
    assert!(matches!(program.check_path(0), Err(ProgramError::Changed { .. })));
    let program = bench.programs.open(&bench.path("shell")).unwrap();
    fs::write(bench.path("shell"), "y").unwrap();
    assert!(matches!(program.check_path(0), Err(ProgramError::Changed { .. })));
    fs::remove_file(bench.path("shell")).unwrap();
    assert!(matches!(program.check_path(0), Err(ProgramError::Unreadable { .. })));
}

#[test]
fn an_interpreter_that_others_could_exchange_is_told_with_what_lets_them() {
    let bench = Bench::new("exchangeable");
    let folder = bench.path("folder");
    fs::create_dir(&folder).unwrap();
    let (shell, link) = (folder.join("shell"), bench.path("link"));
    executable::script(&shell, "x");
    symlink("folder/../folder/shell", &link).unwrap();
    let check = |user| bench.programs.open(&link).unwrap().check_path(user).map_err(|error| error.to_string());
    let owned = |path: &Path, uid| lchown(path, Some(uid), None).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(check(0), Ok(()));
    for at in [&shell, &folder, &link] {
        let at_real = at.parent().unwrap().canonicalize().unwrap().join(at.file_name().unwrap());
        owned(at, 1234);
        let error = check(0).unwrap_err();
        assert!(
            error.contains(&format!("`{}` belongs to the user with the number 1234", at_real.display())),
            "{error}"
        );
        assert_eq!(check(1234), Ok(()), "the step's own user may");
        owned(at, 0);
        if at == &link {
            continue;
        }
        for (group_or_others, seen) in [(0o775, "0775"), (0o757, "0757")] {
            mode(at, group_or_others);
            let error = check(0).unwrap_err();
            let words = format!("`{}` can be written by others (its mode is {seen})", at_real.display());
            assert!(error.contains(&words) && error.contains("chmod go-w"), "{error}");
        }
        mode(at, 0o755);
    }
    // What is ours in a folder such as /tmp stays what it is.
    mode(&folder, 0o1777);
    assert_eq!(check(0), Ok(()));
}

#[test]
fn a_file_that_others_may_write_is_read_each_time() {
    let bench = Bench::new("others");
    let path = bench.path("tool");
    executable::script(&path, "#!/bin/sh\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o757)).unwrap();
    let before = *bench.programs.open(&path).unwrap().digest();
    // A mapping that was written to leaves size and times as they were for a while; here the times are put back instead.
    let times = fs::metadata(&path).unwrap();
    fs::write(&path, "#!/bin/ok\n").unwrap();
    let kept = fs::FileTimes::new().set_modified(times.modified().unwrap());
    fs::File::options().write(true).open(&path).unwrap().set_times(kept).unwrap();
    assert_ne!(*bench.programs.open(&path).unwrap().digest(), before);
}
