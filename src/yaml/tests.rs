//! The door for files: what is no file of bounded size is an error at once.

use std::path::Path;

use crate::yaml::source::{LONGEST, decode, read_source};

fn message(path: &Path) -> String {
    let diagnostic = read_source(path).unwrap_err();
    format!("{}: {}", diagnostic.code, diagnostic.message.replace(&path.display().to_string(), "FILE"))
}

#[test]
fn what_is_not_a_regular_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_eq!(message(&fifo), "E0101: cannot read `FILE`: it is not a regular file");
    assert_eq!(message(folder.path()), "E0101: cannot read `FILE`: it is a directory");
    assert_eq!(message(Path::new("/dev/zero")), "E0101: cannot read `FILE`: it is not a regular file");
    assert!(message(&socket).starts_with("E0101: cannot read `FILE`: "));
    assert!(message(&folder.path().join("none")).starts_with("E0101: cannot read `FILE`: No such file"));
}

#[test]
fn a_file_of_100_mb_is_refused_without_reading_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(100 << 20).unwrap();
    assert_eq!(message(file.path()), "E0101: cannot read `FILE`: it is longer than 4 MiB");
    file.as_file().set_len(LONGEST).unwrap();
    assert!(read_source(file.path()).is_ok());
}

#[test]
fn a_file_that_says_it_is_empty_and_is_not_is_read_to_its_end() {
    assert!(read_source(Path::new("/proc/self/status")).unwrap().text().contains("Pid:"));
}

#[test]
fn bad_utf8_is_refused_with_its_place() {
    let diagnostic = decode("a.yaml", b"name: a\ntitle: \xc3\xa9\xff\n".to_vec()).unwrap_err();
    assert_eq!(diagnostic.code, "E0102");
    assert_eq!(diagnostic.message, "`a.yaml` is not UTF-8: line 2, column 9 has the byte 0xff");
}
