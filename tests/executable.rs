//! Executable files that tests make, for the tests inside the program and beside it.
//!
//! Another process writes them. A file that this one has open for writing is open in every child that another test starts at that
//! moment too, until that child executes its own program; and the kernel refuses to execute a file that anybody has open for
//! writing ("Text file busy").

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A script, in place of whatever was there.
pub fn script(path: &Path, text: &str) {
    install(Path::new("/dev/stdin"), path, text);
}

/// The copy of a program, in place of whatever was there.
pub fn copy(program: &Path, path: &Path) {
    install(program, path, "");
}

fn install(source: &Path, path: &Path, input: &str) {
    let mut install = Command::new("install");
    let mut child = install.args(["-m", "755"]).args([source, path]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{} is installed", path.display());
}
