//! The processes of one step, whichever way they are contained.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::process::Signal;

use crate::exec::cgroup::{Cgroup, is_gone};
use crate::exec::spawn::Entry;
use crate::exec::walk::WalkTree;

/// The processes of one step. Dropping it kills what is left of them.
#[derive(Debug)]
pub(super) enum Tree {
    /// In a control group of their own.
    Cgroup(Leaf),
    /// Found by walking all processes.
    Walk(WalkTree),
}

/// A control group in the run's.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) group: Cgroup,
    /// The run's group, which this one is in.
    pub(super) run: Arc<Cgroup>,
    pub(super) name: String,
    pub(super) way_in: WayIn,
    /// The door of the group that we are in ourselves, where services are let go to.
    pub(super) home: Arc<OwnedFd>,
}

/// How children get into a control group here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WayIn {
    /// They are born in it.
    Birth,
    /// They write themselves to its `cgroup.procs`.
    Door,
}

impl Tree {
    /// Calls `start` with the way in which a child enters the tree before it executes anything.
    pub(super) fn enter<T>(&self, start: impl FnOnce(Entry<'_>) -> T) -> io::Result<T> {
        match self {
            Self::Cgroup(leaf) => match leaf.way_in {
                WayIn::Birth => Ok(start(Entry::Born(leaf.group.directory()))),
                WayIn::Door => leaf.group.door().map(|door| start(Entry::Door(door.as_fd()))),
            },
            Self::Walk(_) => Ok(start(Entry::None)),
        }
    }

    /// The main process has been started.
    pub(super) fn adopt(&self, pid: u32) -> io::Result<()> {
        match self {
            Self::Cgroup(_) => Ok(()),
            Self::Walk(walk) => walk.adopt(pid),
        }
    }

    /// The main process has been waited for.
    pub(super) fn main_is_gone(&self, pid: u32) {
        match self {
            Self::Cgroup(_) => {}
            Self::Walk(walk) => walk.main_is_gone(pid),
        }
    }

    /// Freezes every process and waits, within a bound, until all are.
    pub(super) fn freeze(&self) -> io::Result<()> {
        match self {
            Self::Cgroup(leaf) => gone_is_done(leaf.group.freeze()),
            Self::Walk(walk) => walk.freeze(),
        }
    }

    /// Sends SIGKILL to every process.
    pub(super) fn kill(&self) -> io::Result<()> {
        match self {
            Self::Cgroup(leaf) => gone_is_done(leaf.group.kill()),
            Self::Walk(walk) => walk.kill(),
        }
    }

    /// Sends a signal to every process.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match self {
            Self::Cgroup(leaf) => gone_is_done(leaf.group.signal(signal)),
            Self::Walk(walk) => walk.signal(signal),
        }
    }

    /// The living processes, with their names.
    pub(super) fn processes(&self) -> io::Result<Vec<(u32, String)>> {
        match self {
            Self::Cgroup(leaf) => {
                let pids = match leaf.group.pids() {
                    Err(error) if is_gone(&error) => Vec::new(),
                    result => result?,
                };
                // One that ends while we ask for its name is not there.
                Ok(pids.into_iter().filter_map(|pid| name_of(pid).map(|name| (pid, name))).collect())
            }
            Self::Walk(walk) => walk.processes(),
        }
    }

    /// The living processes.
    pub(super) fn pids(&self) -> io::Result<Vec<u32>> {
        match self {
            Self::Cgroup(leaf) => match leaf.group.pids() {
                Err(error) if is_gone(&error) => Ok(Vec::new()),
                result => result,
            },
            Self::Walk(walk) => Ok(walk.processes()?.into_iter().map(|(pid, _)| pid).collect()),
        }
    }

    /// Whether no process lives.
    pub(super) fn is_empty(&self) -> io::Result<bool> {
        match self {
            Self::Cgroup(leaf) => match leaf.group.is_populated() {
                Err(error) if is_gone(&error) => Ok(true),
                // The kernel counts a process that runs no more for a while longer than it lists it.
                Ok(true) => Ok(self.pids()?.is_empty()),
                result => result.map(|populated| !populated),
            },
            Self::Walk(walk) => Ok(walk.processes()?.is_empty()),
        }
    }

    /// Lets every living process go: from now on they are not of this step.
    pub(super) fn let_go(&self) -> io::Result<()> {
        match self {
            Self::Cgroup(leaf) => gone_is_done(leaf.group.move_to(&leaf.home)),
            Self::Walk(walk) => walk.let_go(),
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        match self {
            Self::Cgroup(leaf) => {
                for _ in 0..200 {
                    if leaf.run.remove_child(&leaf.name).is_ok() {
                        return;
                    }
                    // Something lives in it that nobody decided to let go, or is just ending. What cannot be killed
                    // now stays visible in the run's group.
                    if leaf.group.pids().is_ok_and(|pids| !pids.is_empty()) {
                        let _killed = leaf.group.kill();
                    }
                    std::thread::sleep(std::time::Duration::from_micros(500));
                }
            }
            Self::Walk(walk) => {
                // Nobody is left to tell of a failure; `Ended` has named survivors before.
                let _killed = walk.kill();
            }
        }
    }
}

/// A group that is gone has nothing left to do anything to.
fn gone_is_done(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_gone(&error) => Ok(()),
        result => result,
    }
}

fn name_of(pid: u32) -> Option<String> {
    let text = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&text).trim_end_matches('\n').to_owned())
}
