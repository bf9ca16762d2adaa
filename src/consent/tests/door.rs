//! The door: what someone else could have changed is not read. Root changes owners here, so these tests need root, as others do.

use std::fs::{Permissions, create_dir, set_permissions, write};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use crate::consent::door::{Trust, read};
use crate::yaml::source::LONGEST;

const ROOT: Trust = Trust::ROOT;
/// A user that owns nothing on this machine.
const SOMEBODY: u32 = 61_234;

fn refused(path: &Path, trust: Trust) -> String {
    let diagnostic = read(path, trust).expect_err("this file must be refused");
    format!("{}: {}", diagnostic.code, diagnostic.message)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "the tests of the door change owners: run them as root");
        Self(tempfile::tempdir().unwrap())
    }

    /// A folder and a file in it, with these owners and modes.
    fn file(&self, folder: (u32, u32), file: (u32, u32)) -> std::path::PathBuf {
        let inner = self.0.path().join(format!("{}-{:o}-{}-{:o}", folder.0, folder.1, file.0, file.1));
        create_dir(&inner).unwrap();
        let path = inner.join("policy.yaml");
        write(&path, "interlock: 1\n").unwrap();
        set_permissions(&path, Permissions::from_mode(file.1)).unwrap();
        chown(&path, Some(file.0), Some(file.0)).unwrap();
        set_permissions(&inner, Permissions::from_mode(folder.1)).unwrap();
        chown(&inner, Some(folder.0), Some(folder.0)).unwrap();
        path
    }
}

#[test]
fn root_reads_what_nobody_else_could_have_changed_and_nothing_else() {
    let folder = Folder::new();
    assert!(read(&folder.file((0, 0o755), (0, 0o644)), ROOT).is_ok());
    for (above, own, expected) in [
        ((0, 0o755), (0, 0o664), "the file `FILE` can be written by others (its mode is 0664)"),
        ((0, 0o755), (0, 0o646), "the file `FILE` can be written by others (its mode is 0646)"),
        ((0, 0o755), (SOMEBODY, 0o644), "the file `FILE` belongs to the user with the number 61234"),
        ((0, 0o775), (0, 0o644), "the folder `FOLDER` can be written by others (its mode is 0775)"),
        ((0, 0o757), (0, 0o644), "the folder `FOLDER` can be written by others (its mode is 0757)"),
        ((SOMEBODY, 0o700), (0, 0o644), "the folder `FOLDER` belongs to the user with the number 61234"),
    ] {
        let path = folder.file(above, own);
        let shown = refused(&path, ROOT)
            .replace(&path.display().to_string(), "FILE")
            .replace(&path.parent().unwrap().display().to_string(), "FOLDER");
        assert_eq!(shown, format!("E0701: `FILE` is not to be trusted: {expected}"));
    }
}

#[test]
fn a_user_reads_their_own_and_roots_files_and_nobody_elses() {
    let folder = Folder::new();
    // Others may look into the scratch folder itself.
    chown(folder.0.path(), Some(SOMEBODY), None).unwrap();
    let user = Trust::of_user(SOMEBODY);
    assert!(read(&folder.file((SOMEBODY, 0o755), (SOMEBODY, 0o600)), user).is_ok());
    assert!(read(&folder.file((SOMEBODY, 0o755), (0, 0o644)), user).is_ok());
    assert!(refused(&folder.file((0, 0o755), (SOMEBODY + 1, 0o644)), user).contains("belongs to the user"));
    assert!(refused(&folder.file((0, 0o755), (SOMEBODY, 0o664)), user).contains("can be written by others"));
    assert!(refused(&folder.file((0, 0o755), (0, 0o644)), ROOT).contains("belongs to the user with the number 61234"));
}

#[test]
fn a_link_is_followed_only_through_folders_that_are_safe_too() {
    let folder = Folder::new();
    let (good, bad) = (folder.file((0, 0o755), (0, 0o644)), folder.file((0, 0o757), (0, 0o644)));
    let link = folder.0.path().join("link.yaml");
    symlink(&good, &link).unwrap();
    assert!(read(&link, ROOT).is_ok());
    // A link in a folder that others can write could be pointed elsewhere at any time.
    let movable = bad.with_file_name("link.yaml");
    symlink(&good, &movable).unwrap();
    assert!(refused(&movable, ROOT).contains("can be written by others (its mode is 0757)"));
    let into = folder.0.path().join("into.yaml");
    symlink(&bad, &into).unwrap();
    assert!(refused(&into, ROOT).contains("can be written by others (its mode is 0757)"));
    let foreign = folder.0.path().join("foreign.yaml");
    symlink(&good, &foreign).unwrap();
    std::os::unix::fs::lchown(&foreign, Some(SOMEBODY), None).unwrap();
    assert!(refused(&foreign, ROOT).contains("the symbolic link"));
    let (a, b) = (folder.0.path().join("a"), folder.0.path().join("b"));
    symlink("b", &a).unwrap();
    symlink("./../../../../../../..".to_owned() + b.to_str().unwrap(), &b).unwrap();
    assert!(refused(&a, ROOT).contains("symbolic links"), "{}", refused(&a, ROOT));
    let up = good.parent().unwrap().join("..").join(good.parent().unwrap().file_name().unwrap()).join("policy.yaml");
    assert!(read(&up, ROOT).is_ok());
}

#[test]
fn what_is_no_file_of_bounded_size_is_refused_without_waiting() {
    let folder = Folder::new();
    let path = folder.file((0, 0o755), (0, 0o644));
    let fifo = path.with_file_name("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    assert!(refused(&fifo, ROOT).contains("it is not a regular file"));
    assert!(refused(path.parent().unwrap(), ROOT).contains("it is a directory"));
    assert!(refused(Path::new("/"), ROOT).contains("it is a directory"));
    assert!(refused(&path.join("below"), ROOT).contains("Not a directory"));
    assert!(refused(&path.with_file_name("none"), ROOT).contains("No such file"));
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(LONGEST + 1).unwrap();
    assert!(refused(&path, ROOT).contains("it is longer than 4 MiB"));
}
