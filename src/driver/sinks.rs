//! Hands the signed checkpoints of the audit log on to the places that the policy names, so that they are kept elsewhere without anybody
//! having to think of it. What was handed on before is never written over: it may be what shows that the log was made anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use chrono::Local;
use rustix::fs::{CWD, RenameFlags};
use uuid::Uuid;

use crate::audit::Made;
use crate::consent::policy::SinkTo;
use crate::driver::notify::feed;
use crate::exec::censor::Censor;

/// How long a command may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where the system's log listens.
const SYSLOG: &str = "/dev/log";
/// authpriv.notice, as RFC 3164 counts.
const PRIORITY: u32 = 10 * 8 + 5;

/// Hands a checkpoint on.
///
/// # Errors
/// Why it could not be, in words.
pub fn hand_on(to: &SinkTo, host: &str, made: &Made, censor: &Censor) -> Result<(), String> {
    match to {
        SinkTo::Folder(folder) => {
            put(folder, &file_name(host, made), made.note.as_bytes()).map_err(|error| error.to_string())
        }
        SinkTo::Syslog => log(&made.note).map_err(|error| format!("{SYSLOG}: {error}")),
        SinkTo::Command(command) => feed(command, TIMEOUT, made.note.clone().into_bytes(), censor),
    }
}

/// `<host>-<log>-<entries>.checkpoint`: `log` is the end of the log's UUID, since a machine can have more than one.
fn file_name(host: &str, made: &Made) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let host: String = host.chars().map(|c| if kept(c) { c } else { '_' }).take(64).collect();
    let log = made.note.lines().next().unwrap_or_default().rsplit('-').next().unwrap_or_default();
    let log: String = log.chars().filter(|c| kept(*c)).take(12).collect();
    format!("{host}-{log}-{:016}.checkpoint", made.size)
}

/// Writes a file whole, beside its place first. One that is there stays, and must be the same.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = folder.join(name);
    let same = || match std::fs::read(&path) {
        Ok(there) if there == bytes => Ok(true),
        Ok(_) => Err(io::Error::other(format!("{} is there already, and says something else", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    if same()? {
        return Ok(());
    }
    let unfinished = folder.join(format!(".{}.new", Uuid::now_v7()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&unfinished)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let named = written.and_then(|()| {
        match rustix::fs::renameat_with(CWD, &unfinished, CWD, &path, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
                // NFS and others cannot do it in one step; a second name is never put over another file either.
                std::fs::hard_link(&unfinished, &path)?;
                std::fs::remove_file(&unfinished)?;
            }
            renamed => renamed?,
        }
        File::open(folder)?.sync_all()
    });
    named.inspect_err(|_| {
        let _ = std::fs::remove_file(&unfinished);
    })
}

/// Sends it to the system's log as one line: its own newlines stand as `\n`.
fn log(note: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SYSLOG)?;
    // A log that hangs does not hold up the end of a run for ever.
    socket.set_write_timeout(Some(Duration::from_secs(2)))?;
    let (time, pid) = (Local::now().format("%b %e %H:%M:%S"), std::process::id());
    let line = format!("<{PRIORITY}>{time} interlock[{pid}]: checkpoint {}", note.replace('\n', "\\n"));
    socket.send(line.as_bytes()).map(|_| ())
}
