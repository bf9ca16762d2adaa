//! The `process` probe: is there a process as described?
//!
//! A process counts when every given condition matches it. Conditions that anyone may read (user, arguments) are asked first,
//! so that a process of another user can be excluded without the right to see its executable. One that cannot be excluded and
//! cannot be read makes absence unknown.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;

use super::Depth;
use super::evidence::{Look, bounded, some_of};
use super::procfs::{self, Process, Seen};
use super::view::{View, user_name};
use crate::runbook::model::{Presence, ProcessProbe};

/// Looks for a process as described.
pub(super) fn look(probe: &ProcessProbe, view: &View, depth: Depth<'_>) -> Look {
    let wanted = match Wanted::of(probe, view) {
        Ok(wanted) => wanted,
        Err(why) => return Look::unknown(why),
    };
    let found = match wanted.find(depth) {
        Ok(found) => found,
        Err(why) => return Look::unknown(why),
    };
    found.look(probe, view)
}

/// Whether a program of this path could be meant, judged by its path alone; an empty path is one that is hidden.
pub(super) fn could_be(probe: &ProcessProbe, exe: &[u8]) -> bool {
    let name = procfs::base_name(exe);
    let same_file = |wanted: &Path| {
        wanted.file_name().is_some_and(|wanted| wanted.as_bytes() == name)
            || fs::canonicalize(wanted).is_ok_and(|real| real.as_os_str().as_bytes() == procfs::without_deleted(exe))
    };
    exe.is_empty()
        || (probe.name.as_ref().is_none_or(|wanted| wanted.as_bytes() == name)
            && probe.exe.as_deref().is_none_or(same_file))
}

/// A process that is as described, if there is one, for waiting on its end.
pub(super) fn one_that_matches(probe: &ProcessProbe, view: &View, depth: Depth<'_>) -> Option<u32> {
    Wanted::of(probe, view).ok()?.find(depth).ok()?.matches.first().map(|(pid, _)| *pid)
}

/// The conditions of a probe, resolved to what can be compared.
struct Wanted<'a> {
    probe: &'a ProcessProbe,
    view: &'a View,
    pid: FromFile,
    user: Option<u32>,
    exe: Option<ExeFile>,
}

/// What a pid file says.
enum FromFile {
    /// The probe names none.
    NotAsked,
    /// This process.
    Pid(u32),
    /// None: the file is not there.
    Nobody(String),
}

/// An executable file: the path as given, the path it leads to, and what tells it from other files.
struct ExeFile {
    given: PathBuf,
    real: Option<PathBuf>,
    file: Option<(u64, u64)>,
}

impl ExeFile {
    fn is(&self, path: &[u8], file: (u64, u64)) -> bool {
        let named = |wanted: &Path| {
            let wanted = wanted.as_os_str().as_bytes();
            wanted == path || wanted == procfs::without_deleted(path)
        };
        named(&self.given) || self.real.as_deref().is_some_and(named) || self.file == Some(file)
    }
}

/// What examining one process gave.
enum Match {
    /// It is as described; what it is, in words.
    Is(String),
    /// It is not.
    Not,
    /// It cannot be told; why.
    Untold(String),
}

/// What looking through the processes gave.
struct Found {
    matches: Vec<(u32, String)>,
    untold: Vec<String>,
    /// Why there can be none, where a pid file says so.
    none_because: Option<String>,
}

impl<'a> Wanted<'a> {
    fn of(probe: &'a ProcessProbe, view: &'a View) -> Result<Self, String> {
        let user = match &probe.user {
            None => None,
            Some(name) => {
                let found = view.user_id(name);
                Some(found.ok_or_else(|| format!("there is no user {}, so nothing can be told", bounded(name, 80)))?)
            }
        };
        let exe = probe.exe.as_ref().map(|given| {
            let facts = fs::metadata(given).ok();
            ExeFile {
                given: given.clone(),
                real: fs::canonicalize(given).ok(),
                file: facts.map(|facts| (facts.dev(), facts.ino())),
            }
        });
        let pid = match &probe.pidfile {
            None => FromFile::NotAsked,
            Some(path) => read_pid_file(path, view)?,
        };
        Ok(Self { probe, view, pid, user, exe })
    }

    fn find(&self, depth: Depth<'_>) -> Result<Found, String> {
        let mut found = Found { matches: Vec::new(), untold: Vec::new(), none_because: None };
        let unreadable = |errno| format!("/proc cannot be read ({errno}), so nothing can be told");
        let proc_dir = procfs::open().map_err(unreadable)?;
        let pids = match (&self.pid, depth) {
            (FromFile::Nobody(why), _) => {
                found.none_because = Some(why.clone());
                return Ok(found);
            }
            (FromFile::Pid(pid), _) => vec![*pid],
            (FromFile::NotAsked, Depth::Thorough) => procfs::pids(&proc_dir).map_err(unreadable)?,
            (FromFile::NotAsked, Depth::Quick(table)) => table.candidates(|path, file| self.exe_fits(path, file)),
        };
        for pid in pids {
            match self.examine(&proc_dir, pid) {
                Match::Is(words) => {
                    found.matches.push((pid, words));
                    if matches!(depth, Depth::Quick(_)) {
                        break;
                    }
                }
                Match::Not => {}
                Match::Untold(why) => found.untold.push(why),
            }
        }
        if let FromFile::Pid(pid) = self.pid
            && found.matches.is_empty()
            && found.untold.is_empty()
        {
            found.none_because = Some(self.why_not(&proc_dir, pid));
        }
        Ok(found)
    }

    fn exe_fits(&self, path: &[u8], file: (u64, u64)) -> bool {
        let named = |name: &String| procfs::base_name(path) == name.as_bytes();
        self.exe.as_ref().is_none_or(|exe| exe.is(path, file)) && self.probe.name.as_ref().is_none_or(named)
    }

    fn asks_for_exe(&self) -> bool {
        self.exe.is_some() || self.probe.name.is_some()
    }

    fn examine(&self, proc_dir: &OwnedFd, pid: u32) -> Match {
        if pid == std::process::id() {
            return Match::Not;
        }
        let mut process = match Process::open(proc_dir, pid) {
            Seen::Is(process) => process,
            Seen::Gone => return Match::Not,
            Seen::Hidden(errno) => return Match::Untold(format!("pid {pid} cannot be looked at ({errno})")),
        };
        let exe = process.exe();
        if exe == Seen::Gone {
            return Match::Not;
        }
        match self.fits(&process, &exe) {
            Seen::Is(true) => Match::Is(in_words(&process, &exe, self.view)),
            Seen::Is(false) | Seen::Gone => Match::Not,
            Seen::Hidden(errno) => Match::Untold(format!("pid {pid} cannot be looked at ({errno})")),
        }
    }

    /// The executable was read first, since it is the first to go when a process is short-lived; it is asked last, since it is
    /// what may be hidden.
    fn fits(&self, process: &Process, exe: &Seen<Vec<u8>>) -> Seen<bool> {
        if matches!(self.pid, FromFile::Pid(_)) && process.is_first_thread() != Seen::Is(true) {
            return Seen::Is(false);
        }
        if let Some(wanted) = self.user {
            match process.user() {
                Seen::Is(user) if user == wanted => {}
                Seen::Is(_) => return Seen::Is(false),
                Seen::Gone => return Seen::Gone,
                Seen::Hidden(errno) => return Seen::Hidden(errno),
            }
        }
        if let Some(wanted) = &self.probe.args {
            match process.arguments() {
                Seen::Is(arguments) if contains_side_by_side(&arguments, wanted) => {}
                Seen::Is(_) => return Seen::Is(false),
                Seen::Gone => return Seen::Gone,
                Seen::Hidden(errno) => return Seen::Hidden(errno),
            }
        }
        if !self.asks_for_exe() {
            return Seen::Is(true);
        }
        match exe {
            Seen::Is(path) => {
                let file = match process.exe_file() {
                    Seen::Is(file) => file,
                    Seen::Gone | Seen::Hidden(_) => (0, 0),
                };
                Seen::Is(self.exe_fits(path, file))
            }
            Seen::Gone => Seen::Gone,
            Seen::Hidden(_) if process.is_init_by_another_name(|name| self.could_go_by(name)) => Seen::Is(false),
            Seen::Hidden(errno) => Seen::Hidden(*errno),
        }
    }

    /// Whether a process as described could show this name. The kernel cuts what it shows at 15 bytes.
    fn could_go_by(&self, shown: &[u8]) -> bool {
        let cut = |name: &[u8]| name == shown || (shown.len() == 15 && name.starts_with(shown));
        let named = |path: &Path| path.file_name().is_some_and(|name| cut(name.as_bytes()));
        let exe = self.exe.as_ref().is_some_and(|exe| named(&exe.given) || exe.real.as_deref().is_some_and(named));
        exe || self.probe.name.as_ref().is_some_and(|name| cut(name.as_bytes()))
    }

    /// Why the process that a pid file names does not count.
    fn why_not(&self, proc_dir: &OwnedFd, pid: u32) -> String {
        let file = self.probe.pidfile.as_deref().unwrap_or(Path::new("")).display();
        let exe = match Process::open(proc_dir, pid) {
            Seen::Is(mut process) if process.is_first_thread() == Seen::Is(true) => process.exe(),
            Seen::Is(_) | Seen::Gone | Seen::Hidden(_) => Seen::Gone,
        };
        match exe {
            Seen::Is(path) => {
                format!("pid {pid} of {file} is another program's: {}", self.view.quoted(&path, 120))
            }
            Seen::Gone | Seen::Hidden(_) => format!("pid {pid} of {file} is not running"),
        }
    }
}

impl Found {
    fn look(self, probe: &ProcessProbe, view: &View) -> Look {
        if !self.matches.is_empty() {
            let matches: Vec<String> = self.matches.into_iter().map(|(_, words)| words).collect();
            return Look::told(probe.state == Presence::Present, some_of(&matches, 3));
        }
        let sought = description(probe);
        if !self.untold.is_empty() {
            return Look::unknown(format!("whether there is {sought} cannot be told: {}", some_of(&self.untold, 3)));
        }
        let seen = self.none_because.unwrap_or_else(|| format!("no {}", sought.strip_prefix("a ").unwrap_or(&sought)));
        if view.limits().is_empty() {
            Look::told(probe.state == Presence::Absent, seen)
        } else {
            Look::unknown(format!("{seen}, as far as can be seen; {}", view.limits().join("; ")))
        }
    }
}

/// What is looked for, in words: `a process whose executable is named monit, run by root`.
pub(super) fn description(probe: &ProcessProbe) -> String {
    let mut words = "a process".to_owned();
    let mut joint = " ";
    let mut say = |part: String| {
        words.push_str(joint);
        words.push_str(&part);
        joint = ", ";
    };
    if let Some(name) = &probe.name {
        say(format!("whose executable is named {}", bounded(name, 80)));
    }
    if let Some(exe) = &probe.exe {
        say(format!("whose executable is {}", bounded(&exe.display().to_string(), 160)));
    }
    if let Some(file) = &probe.pidfile {
        say(format!("whose id is in {}", bounded(&file.display().to_string(), 160)));
    }
    if let Some(user) = &probe.user {
        say(format!("run by {}", bounded(user, 40)));
    }
    if let Some(arguments) = &probe.args {
        say(format!("with the arguments {}", bounded(&arguments.join(" "), 120)));
    }
    words
}

/// A process in words: `pid 123 /usr/bin/monit (root)`.
fn in_words(process: &Process, exe: &Seen<Vec<u8>>, view: &View) -> String {
    let program = match exe {
        Seen::Is(path) => view.quoted(path, 120),
        Seen::Gone | Seen::Hidden(_) => "(executable hidden)".to_owned(),
    };
    match process.user() {
        Seen::Is(user) => format!("pid {} {program} ({})", process.pid, user_name(user)),
        Seen::Gone | Seen::Hidden(_) => format!("pid {} {program}", process.pid),
    }
}

fn contains_side_by_side(arguments: &[Vec<u8>], wanted: &[String]) -> bool {
    wanted.is_empty()
        || arguments
            .windows(wanted.len())
            .any(|some| some.iter().zip(wanted).all(|(has, wants)| has == wants.as_bytes()))
}

/// Reads the process id on the first line of a pid file.
fn read_pid_file(path: &Path, view: &View) -> Result<FromFile, String> {
    let shown = bounded(&path.display().to_string(), 160);
    let opened = fs::File::open(path).and_then(|file| {
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut content = String::new();
        file.take(4096).read_to_string(&mut content)?;
        Ok(content)
    });
    let content = match opened {
        Ok(content) => content,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(FromFile::Nobody(format!("{shown} is not there, so it names no process")));
        }
        Err(error) => return Err(format!("{shown} cannot be read ({error}), so nothing can be told")),
    };
    let line = content.lines().next().unwrap_or("").trim();
    match line.parse::<u32>() {
        Ok(pid) if pid > 0 => Ok(FromFile::Pid(pid)),
        Ok(_) | Err(_) => {
            let quoted = view.quoted(line.as_bytes(), 40);
            Err(format!("{shown} holds `{quoted}`, which is no process id, so nothing can be told"))
        }
    }
}
