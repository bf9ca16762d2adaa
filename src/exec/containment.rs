//! How the processes of a run are contained: chosen once, at its start, and recorded in words.
//!
//! With the right to make control groups (root, or a delegated subtree) each attempt of a step gets a fresh one: of version 2
//! (pure or hybrid hosts), else of the freezer of version 1. Without, processes are found by walking `/proc`, which is weaker
//! and says so.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;

use crate::exec::cgroup::{self, Cgroup, Hierarchy};
use crate::exec::crew::Crew;
use crate::exec::guardian::Guardian;
use crate::exec::process::Leftover;
use crate::exec::spawn::{self, Killability};
use crate::exec::tree::{Leaf, Tree, WayIn};
use crate::exec::walk::{self, Family, Strays, WalkTree};

/// What the names of runs' groups begin with.
const PREFIX: &str = "interlock.";
/// How old a group must be before anybody takes it for one that was left behind: a program may just be setting it up.
const LEFT_AFTER: Duration = Duration::from_secs(60);

/// How the processes of one run are contained. Dropping it ends what is left in the run's own control group and removes
/// the group.
#[derive(Debug)]
pub struct Containment {
    run: String,
    tier: Tier,
    killability: Killability,
    crew: Crew,
}

#[derive(Debug)]
enum Tier {
    Cgroup(Groups),
    Walk { family: Arc<Family>, reason: String },
}

/// The run's own control group.
#[derive(Debug)]
struct Groups {
    parent: Cgroup,
    name: String,
    run: Arc<Cgroup>,
    /// The door of the group that we are in ourselves.
    home: Arc<OwnedFd>,
    way_in: WayIn,
    guardian: Guardian,
    is_closed: bool,
}

impl Containment {
    /// Chooses the strongest way that works here. `run` is the run's id, safe as a file name.
    ///
    /// Tried first is a group below our own, then one at the top of the hierarchy. A way counts as working when a group
    /// could be made, frozen and removed in it.
    pub fn detect(run: &str) -> Self {
        Self::detect_among(run, &[Hierarchy::Unified, Hierarchy::Freezer])
    }

    fn detect_among(run: &str, hierarchies: &[Hierarchy]) -> Self {
        let mut reasons = Vec::new();
        for hierarchy in hierarchies {
            match Groups::make(run, *hierarchy) {
                Ok(groups) => {
                    let tier = Tier::Cgroup(groups);
                    return Self { run: run.to_owned(), tier, killability: killability(), crew: Crew::default() };
                }
                Err(reason) => reasons.push(reason),
            }
        }
        let tier = Tier::Walk { family: Arc::new(Family::with_orphans()), reason: reasons.join("; ") };
        Self { run: run.to_owned(), tier, killability: killability(), crew: Crew::default() }
    }

    /// The walk of descendants, whatever else would work here.
    pub fn walk(run: &str) -> Self {
        let tier = Tier::Walk { family: Arc::new(Family::with_orphans()), reason: "asked for".to_owned() };
        Self { run: run.to_owned(), tier, killability: killability(), crew: Crew::default() }
    }

    /// As [`Self::detect`], for machines without control groups of version 2.
    #[cfg(test)]
    pub(super) fn freezer(run: &str) -> Self {
        Self::detect_among(run, &[Hierarchy::Freezer])
    }

    /// As [`Self::detect`], for machines on which no child can be born in a control group.
    #[cfg(test)]
    pub(super) fn by_the_door(run: &str) -> Self {
        let mut containment = Self::detect(run);
        if let Tier::Cgroup(groups) = &mut containment.tier {
            groups.way_in = WayIn::Door;
        }
        containment
    }

    /// The run is over: what may be left in its control group is ended. The guardian ends meanwhile; dropping this waits for it.
    pub fn close(&mut self) {
        if let Tier::Cgroup(groups) = &mut self.tier {
            groups.close();
        }
    }

    /// The way that was chosen, in words.
    pub fn describe(&self) -> String {
        match &self.tier {
            Tier::Cgroup(groups) => {
                let kind = match groups.run.hierarchy() {
                    Hierarchy::Unified => "cgroup v2",
                    Hierarchy::Freezer => "cgroup v1 freezer",
                };
                format!("{kind} at {}", groups.run.path().display())
            }
            Tier::Walk { reason, .. } => format!("process walk (weaker: {reason})"),
        }
    }

    /// A tree for one attempt; `name` is never used twice in a run.
    pub(super) fn plant(&self, name: &str, strays: Strays) -> io::Result<Tree> {
        match &self.tier {
            Tier::Cgroup(groups) => {
                let name = format!("step.{name}");
                Ok(Tree::Cgroup(Leaf {
                    group: groups.run.create_child(&name)?,
                    run: Arc::clone(&groups.run),
                    name,
                    home: Arc::clone(&groups.home),
                    way_in: groups.way_in,
                }))
            }
            Tier::Walk { family, .. } => Ok(Tree::Walk(WalkTree::new(Arc::clone(family), self.mark(name), strays))),
        }
    }

    /// Ends what a program that was killed has left of an attempt of this run: the first list was ended, the second could not be.
    /// What an earlier step had let go as a service belongs to another attempt and is left alone.
    ///
    /// # Errors
    /// The process table cannot be read.
    pub fn end_left_by(&self, name: &str) -> io::Result<(Vec<Leftover>, Vec<Leftover>)> {
        let named = |all: Vec<(u32, String)>| all.into_iter().map(|(pid, name)| Leftover { pid, name }).collect();
        walk::end_marked(&self.mark(name)).map(|(ended, left)| (named(ended), named(left)))
    }

    /// The mark in the environment of an attempt's processes.
    pub(super) fn mark(&self, name: &str) -> String {
        format!("{}/{name}", self.run)
    }

    /// The threads that follow its steps.
    pub(super) fn crew(&self) -> &Crew {
        &self.crew
    }

    pub(super) fn killability(&self) -> Killability {
        self.killability
    }
}

impl Groups {
    /// Makes the run's group, or says in words why not.
    fn make(run: &str, hierarchy: Hierarchy) -> Result<Self, String> {
        let kind = match hierarchy {
            Hierarchy::Unified => "cgroup v2",
            Hierarchy::Freezer => "the cgroup v1 freezer",
        };
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").map_err(|error| format!("mounts: {error}"))?;
        let mounts = cgroup::mounts(&mountinfo, hierarchy);
        let Some(mount) = mounts.first() else { return Err(format!("{kind} is not mounted")) };
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| format!("/proc/self/cgroup: {error}"))?;
        let Some(own) = mount.own(&own, hierarchy) else {
            return Err(format!("our own control group is not below {}", mount.place.display()));
        };
        let mut parents: Vec<PathBuf> = vec![own.clone()];
        if own != mount.place {
            parents.push(mount.place.clone());
        }
        let mut reasons = Vec::new();
        for parent in parents {
            match Self::make_in(&parent, &own, run, hierarchy) {
                Ok(groups) => return Ok(groups),
                Err(error) => reasons.push(format!("no control group can be made in {}: {error}", parent.display())),
            }
        }
        Err(reasons.join("; "))
    }

    fn make_in(parent: &Path, own: &Path, run: &str, hierarchy: Hierarchy) -> io::Result<Self> {
        let name = format!("{PREFIX}{run}");
        let home = Arc::new(Cgroup::open(own, hierarchy)?.door()?);
        let parent = Cgroup::open(parent, hierarchy)?;
        let group = match parent.create_child(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // An earlier process of this run left it. It is not used again: the guardian of that process may be late, and
                // would kill what we start in it; and what is born in a group that was killed once may be killed too.
                parent.open_child(&name)?.clear()?;
                parent.remove_child(&name)?;
                parent.create_child(&name)?
            }
            result => result?,
        };
        // For as long as we, or our guardian, live, nobody takes it for a dead run's.
        rustix::fs::flock(group.directory(), FlockOperation::NonBlockingLockExclusive)?;
        sweep(&parent);
        let tested = self_test(&group).and_then(|way_in| Ok((way_in, Guardian::post(&group)?)));
        match tested {
            Ok((way_in, guardian)) => {
                Ok(Self { parent, name, run: Arc::new(group), home, way_in, guardian, is_closed: false })
            }
            Err(error) => {
                // The reason that is told is the first failure, not what cleaning up after it says.
                let _removed = parent.remove_child(&name);
                Err(error)
            }
        }
    }
}

impl Groups {
    /// Removes the run's group with all that may still be in it, and sends the guardian home.
    fn close(&mut self) {
        if self.is_closed {
            return;
        }
        self.is_closed = true;
        for _ in 0..200 {
            if self.parent.remove_child(&self.name).is_ok() {
                break;
            }
            // What cannot be killed now stays where an operator can see it.
            let _killed = self.run.kill();
            std::thread::sleep(Duration::from_micros(500));
        }
        // Last, so that there is no moment without it while something may run.
        self.guardian.send_home();
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.close();
    }
}

/// Removes the groups that dead runs have left here with nothing in them. That of a living run is locked, and one in which something
/// still lives is for whoever takes that run up.
fn sweep(parent: &Cgroup) {
    // What cannot be looked at or removed stays; it harms nobody.
    let Ok(names) = parent.children() else { return };
    for name in names.iter().filter(|name| name.starts_with(PREFIX)) {
        let Ok(group) = parent.open_child(name) else { continue };
        let lock = || rustix::fs::flock(group.directory(), FlockOperation::NonBlockingLockExclusive);
        if group.age(SystemTime::now()).is_some_and(|age| age >= LEFT_AFTER)
            && lock().is_ok()
            && group.is_populated().is_ok_and(|populated| !populated)
        {
            let _removed = parent.remove_child(name);
        }
    }
}

/// Makes a group in this one, starts a child in it, freezes it, and removes it. Says how children get into it.
fn self_test(group: &Cgroup) -> io::Result<WayIn> {
    let name = format!("self-test.{}", std::process::id());
    let test = group.create_child(&name)?;
    let way_in = match group.hierarchy() {
        Hierarchy::Unified if spawn::can_be_born_in(test.directory()) => WayIn::Birth,
        // No child is born in a group of version 1.
        Hierarchy::Unified | Hierarchy::Freezer => WayIn::Door,
    };
    let tested = test.door().and_then(|_| test.freeze());
    // A child that has just ended may still be on its way out.
    for _ in 0..100 {
        if group.remove_child(&name).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    tested.map(|()| way_in)
}

/// A step is not to inherit that we are spared, or preferred, when memory runs out.
fn killability() -> Killability {
    match fs::read_to_string("/proc/self/oom_score_adj") {
        Ok(text) if text.trim() != "0" => Killability::Reset,
        _ => Killability::Inherited,
    }
}
