//! The processes of a step where there is no control group: found by walking all processes. Weaker: a process can hide
//! by clearing its environment while its parent ends, and a fast forker can outrun the walk for a while.
//!
//! A process belongs to the step if it is the main one or in its session, a descendant of one that belongs, one that
//! was seen to belong before, or one whose environment has the step's mark. We are made the reaper of orphans
//! (`PR_SET_CHILD_SUBREAPER`), so that what daemonises becomes our child: one without any mark, in another session than
//! ours, that we did not start ourselves, belongs too. Pids are told apart from later ones of the same number by their
//! start time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

use crate::exec::cgroup::open_pid;

/// The variable that marks a step's processes: `<run>/<name>`.
pub const MARK: &str = "INTERLOCK_MARK";

/// The flag of a kernel thread (`PF_KTHREAD` in the kernel's include/linux/sched.h; the same since Linux 2.6.27).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// How long a freeze or a kill is worked at.
const BOUND: Duration = Duration::from_secs(2);

/// What is shared by all trees of one containment.
#[derive(Debug)]
pub(super) struct Family {
    orphans: Orphans,
    children: Children,
    /// Pids that we started ourselves and have not waited for.
    started: Mutex<BTreeSet<u32>>,
    /// Processes that were let go.
    released: Mutex<BTreeSet<Identity>>,
}

/// Where orphans of a step end up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Orphans {
    /// With us.
    Ours,
    /// With init, or whoever else reaps.
    Elsewhere,
}

/// Whether `/proc` lists the children of each thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Children {
    Listed,
    NotListed,
}

/// Whether orphans that carry no mark at all belong to a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strays {
    /// They do: the tree is a step's, and one step runs at a time.
    Claimed,
    /// They do not: the tree is a probe's, and they may be the running step's.
    Ignored,
}

/// The processes of one step.
#[derive(Debug)]
pub(super) struct WalkTree {
    family: Arc<Family>,
    mark: String,
    strays: Strays,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    main: Option<Main>,
    known: BTreeSet<Identity>,
}

#[derive(Debug, Clone, Copy)]
struct Main {
    identity: Identity,
    waited_for: bool,
}

/// A pid and when its process started, in clock ticks after boot.
type Identity = (u32, u64);

/// A process as `/proc/<pid>/stat` shows it (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    pid: u32,
    name: String,
    state: u8,
    parent: u32,
    session: u32,
    origin: Origin,
    started: u64,
}

/// Who made a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A process.
    Forked,
    /// The kernel, for itself: it executes no program and has no environment.
    Kernel,
}

impl Family {
    /// Makes this process the reaper of its descendants' orphans. Where that is refused, orphans are found by their mark.
    pub(super) fn with_orphans() -> Self {
        let orphans = match rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
            Ok(()) => Orphans::Ours,
            Err(_) => Orphans::Elsewhere,
        };
        Self::new(orphans)
    }

    /// Changes nothing about who reaps orphans.
    pub(super) fn plain() -> Self {
        Self::new(Orphans::Elsewhere)
    }

    /// All processes that may belong to a tree. Where orphans come to us that is what descends from us, and otherwise
    /// every process there is.
    fn look(&self) -> io::Result<Vec<Stat>> {
        match (self.orphans, self.children) {
            (Orphans::Ours, Children::Listed) => {
                // A list of children that changes while it is read may skip one (proc(5)); it will not skip it twice.
                let both = descendants().into_iter().chain(descendants());
                let all: BTreeMap<Identity, Stat> = both.map(|stat| (stat.identity(), stat)).collect();
                Ok(all.into_values().collect())
            }
            (Orphans::Ours, Children::NotListed) | (Orphans::Elsewhere, _) => scan(),
        }
    }

    fn new(orphans: Orphans) -> Self {
        // The kernel has lists of children or not (`CONFIG_PROC_CHILDREN`).
        let listed = fs::exists("/proc/thread-self/children").unwrap_or(false);
        let children = if listed { Children::Listed } else { Children::NotListed };
        Self { orphans, children, started: Mutex::default(), released: Mutex::default() }
    }
}

impl WalkTree {
    /// A tree without processes; `mark` is the value of [`MARK`] in its processes' environment.
    pub(super) fn new(family: Arc<Family>, mark: String, strays: Strays) -> Self {
        Self { family, mark, strays, seen: Mutex::default() }
    }

    /// The main process has been started.
    pub(super) fn adopt(&self, pid: u32) -> io::Result<()> {
        lock(&self.family.started).insert(pid);
        let stat = Stat::read(pid)?;
        lock(&self.seen).main = Some(Main { identity: stat.identity(), waited_for: false });
        Ok(())
    }

    /// The main process has been waited for: its pid may be given to another.
    pub(super) fn main_is_gone(&self, pid: u32) {
        lock(&self.family.started).remove(&pid);
        if let Some(main) = &mut lock(&self.seen).main {
            main.waited_for = true;
        }
    }

    /// The living processes, with their names.
    pub(super) fn processes(&self) -> io::Result<Vec<(u32, String)>> {
        Ok(self.members()?.into_iter().map(|stat| (stat.pid, stat.name)).collect())
    }

    /// Stops every process, again and again until none is new, and waits until each has stopped.
    pub(super) fn freeze(&self) -> io::Result<()> {
        let begun = Instant::now();
        let mut stopped = BTreeSet::new();
        loop {
            let running: Vec<Stat> = self
                .members()?
                .into_iter()
                .filter(|stat| !(stat.is_stopped() && stopped.contains(&stat.identity())))
                .collect();
            if running.is_empty() {
                return Ok(());
            }
            for stat in &running {
                stat.signal(Signal::STOP);
            }
            // Only when all that were seen have stopped is a further look sure to see what they had forked before.
            for stat in &running {
                while Stat::read(stat.pid).is_ok_and(|now| now.started == stat.started && !now.is_stopped()) {
                    if begun.elapsed() > BOUND {
                        let text = format!("process {} ({}) did not stop in 2 s", stat.pid, stat.name);
                        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                    }
                    sleep(Duration::from_micros(50));
                }
                stopped.insert(stat.identity());
            }
            if begun.elapsed() > BOUND {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "new processes kept appearing for 2 s"));
            }
        }
    }

    /// Stops all, then sends SIGKILL to all while they are stopped, until none is left or two seconds are over.
    pub(super) fn kill(&self) -> io::Result<()> {
        let begun = Instant::now();
        // What could not be stopped is killed all the same.
        let frozen = self.freeze();
        while begun.elapsed() < 2 * BOUND {
            let members = self.members()?;
            if members.is_empty() {
                return Ok(());
            }
            for stat in &members {
                stat.signal(Signal::KILL);
            }
            sleep(Duration::from_micros(200));
        }
        frozen
    }

    /// Sends a signal to every process.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        for stat in self.members()? {
            stat.signal(signal);
        }
        Ok(())
    }

    /// The processes that live now are no longer of this step.
    pub(super) fn let_go(&self) -> io::Result<()> {
        let members = self.members()?;
        lock(&self.family.released).extend(members.iter().map(Stat::identity));
        let mut seen = lock(&self.seen);
        seen.known.clear();
        seen.main = None;
        Ok(())
    }

    /// The living processes of the step. Ended ones that fell to us are waited for.
    fn members(&self) -> io::Result<Vec<Stat>> {
        let mut seen = lock(&self.seen);
        let Some(main) = seen.main else { return Ok(Vec::new()) };
        let all = self.family.look()?;
        let (main_pid, main_started) = main.identity;
        let mut inside: BTreeMap<u32, &Stat> = BTreeMap::new();
        for stat in &all {
            let by_main = !main.waited_for && (stat.pid == main_pid || stat.session == main_pid);
            if by_main || seen.known.contains(&stat.identity()) {
                inside.insert(stat.pid, stat);
            }
        }
        let later: Vec<&Stat> = all.iter().filter(|stat| stat.started >= main_started).collect();
        add_descendants(&later, &mut inside);
        for stat in &later {
            if !inside.contains_key(&stat.pid) && self.is_stray(stat) {
                inside.insert(stat.pid, stat);
            }
        }
        add_descendants(&later, &mut inside);
        let members: Vec<Stat> = inside.into_values().cloned().collect();
        if self.family.orphans == Orphans::Ours {
            for stat in members.iter().filter(|stat| stat.is_ended() && stat.pid != main_pid) {
                wait_for_orphan(stat);
            }
        }
        let living: Vec<Stat> = members.into_iter().filter(|stat| !stat.is_ended()).collect();
        seen.known = living.iter().map(Stat::identity).collect();
        Ok(living)
    }

    /// Whether a process that no parent or session ties to the step belongs to it all the same.
    fn is_stray(&self, stat: &Stat) -> bool {
        let us = std::process::id();
        if stat.is_ended() || stat.pid == us || lock(&self.family.released).contains(&stat.identity()) {
            return false;
        }
        // A child of ours that has not executed its program yet: a stray would have. Asked before the mark, since
        // executing changes both.
        if runs_our_program(stat.pid) {
            return false;
        }
        match mark_of(stat) {
            Some(mark) => mark == self.mark,
            None => {
                self.strays == Strays::Claimed
                    && self.family.orphans == Orphans::Ours
                    && stat.parent == us
                    && !lock(&self.family.started).contains(&stat.pid)
                    && Stat::read(us).is_ok_and(|own| own.session != stat.session)
            }
        }
    }
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&String::from_utf8_lossy(&text)).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is odd")))
    }

    /// The name stands in parentheses and may hold any character, also parentheses and spaces.
    fn parse(text: &str) -> Option<Self> {
        let (pid, rest) = text.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            pid: pid.parse().ok()?,
            name: name.to_owned(),
            state: *fields.first()?.as_bytes().first()?,
            parent: fields.get(1)?.parse().ok()?,
            session: u32::try_from(fields.get(3)?.parse::<i64>().ok()?).ok()?,
            origin: if fields.get(6)?.parse::<u64>().ok()? & KERNEL_THREAD == 0 {
                Origin::Forked
            } else {
                Origin::Kernel
            },
            started: fields.get(19)?.parse().ok()?,
        })
    }

    fn identity(&self) -> Identity {
        (self.pid, self.started)
    }

    fn is_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    fn is_stopped(&self) -> bool {
        matches!(self.state, b'T' | b't') || self.is_ended()
    }

    /// Sends a signal, if the process is still this one.
    fn signal(&self, signal: Signal) {
        let Some(handle) = open_pid(self.pid) else { return };
        if Self::read(self.pid).is_ok_and(|now| now.started == self.started) {
            // One that has just ended needs none; one that we may not signal stays in sight as a survivor.
            let _gone = rustix::process::pidfd_send_signal(&handle, signal);
        }
    }
}

/// All that descends from this process, by the lists of children of each thread.
fn descendants() -> Vec<Stat> {
    let us = std::process::id();
    let mut found = Vec::new();
    let mut parents = vec![us];
    while let Some(parent) = parents.pop() {
        // A process or thread that ends while we look has no children: they went to another thread, or to us.
        for thread in fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            parents.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        if parent != us {
            found.extend(Stat::read(parent).ok());
        }
    }
    found
}

/// All processes that can be seen.
fn scan() -> io::Result<Vec<Stat>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that ends while we look is not there.
        all.extend(Stat::read(pid).ok());
    }
    Ok(all)
}

/// Adds every process whose parent is inside, and theirs, until none is new.
fn add_descendants<'a>(all: &[&'a Stat], inside: &mut BTreeMap<u32, &'a Stat>) {
    loop {
        let before = inside.len();
        for stat in all {
            if inside.contains_key(&stat.parent) {
                inside.entry(stat.pid).or_insert(stat);
            }
        }
        if inside.len() == before {
            return;
        }
    }
}

/// Processes by pid and name.
type Named = Vec<(u32, String)>;

/// Ends every process that carries this mark: what a program that was killed has left of an attempt. They are stopped first,
/// until none is new, so that none is born while they are killed. Gives back whom it ended, and whom it could not end.
pub(super) fn end_marked(mark: &str) -> io::Result<(Named, Named)> {
    let marked = || -> io::Result<Vec<Stat>> {
        let all = scan()?;
        Ok(all.into_iter().filter(|stat| !stat.is_ended() && mark_of(stat).as_deref() == Some(mark)).collect())
    };
    let named = |all: &[Stat]| all.iter().map(|stat| (stat.pid, stat.name.clone())).collect();
    let mut known = marked()?;
    for _ in 0..100 {
        known.iter().for_each(|stat| stat.signal(Signal::STOP));
        let now = marked()?;
        if now.iter().all(|stat| known.iter().any(|other| other.identity() == stat.identity())) {
            break;
        }
        known = now;
    }
    let ended = named(&known);
    for _ in 0..100 {
        known.iter().for_each(|stat| stat.signal(Signal::KILL));
        known = marked()?;
        if known.is_empty() {
            break;
        }
        sleep(Duration::from_millis(2));
    }
    Ok((ended, named(&known)))
}

/// The mark in a process's environment, if it has one and we may read it. While a process executes a program its environment
/// reads as empty for a moment, so an empty one is looked at again before it counts as one without a mark. That of a kernel thread is
/// always empty, and there are hundreds of them, so they are passed over.
fn mark_of(stat: &Stat) -> Option<String> {
    if stat.origin == Origin::Kernel {
        return None;
    }
    let pid = stat.pid;
    let mut environment = Vec::new();
    for _ in 0..10 {
        environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        if !environment.is_empty() {
            break;
        }
        sleep(Duration::from_millis(1));
    }
    environment.split(|byte| *byte == 0).find_map(|variable| {
        let value = variable.strip_prefix(MARK.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

/// Whether a process runs the same file as we do; also if it cannot be told because it has ended.
fn runs_our_program(pid: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let file = |pid: &str| fs::metadata(format!("/proc/{pid}/exe")).map(|metadata| (metadata.dev(), metadata.ino()));
    match (file(&pid.to_string()), file("self")) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        (Err(error), _) => error.kind() == io::ErrorKind::NotFound,
        (Ok(_), Err(_)) => false,
    }
}

/// Waits for one orphan by its pid; never for just any child, which could be somebody else's.
fn wait_for_orphan(stat: &Stat) {
    if stat.parent == std::process::id()
        && let Some(pid) = i32::try_from(stat.pid).ok().and_then(Pid::from_raw)
    {
        // It fails if the process is no longer our child, and then there is nothing to wait for.
        let _waited = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Origin, Stat};

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_confuse() {
        let text = "42 (a) R 1 (b) S 7 42 41 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 991 0 0 0\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.name.as_str(), stat.parent, stat.session, stat.started), ("a) R 1 (b", 7, 41, 991));
        assert_eq!(stat.origin, Origin::Forked);
    }

    #[test]
    fn a_thread_of_the_kernel_is_told_by_its_flag() {
        let text = "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 10 0 0\n";
        assert_eq!(Stat::parse(text).unwrap().origin, Origin::Kernel);
        assert_eq!(Stat::read(std::process::id()).unwrap().origin, Origin::Forked);
    }
}
