//! Processes: start, contain, freeze, end, output. Uses nothing of ours.
//!
//! What it promises: a step's process is started with a clean environment, default signals, an own session and no
//! descriptor but 0, 1 and 2; what was hashed is what runs; its whole tree can be frozen and killed, also the parts
//! that called `setsid`; its output streams through with bounded memory, with secrets masked and what a policy says removed; and nothing of it
//! stays unless it was let go on purpose. What it must never do: signal a process that was not verified as the
//! step's, wait for children that are not its own, or let a step's output stop the program. `docs/containment.md` has
//! the reference.
//!
//! Linux only, 5.9 or later (`close_range`, pid descriptors); `cgroup.kill` (5.14) is used where there is one.

pub mod capture;
pub mod cast;
pub mod censor;
mod cgroup;
pub mod command;
pub mod commit;
pub mod containment;
mod crew;
mod guardian;
pub mod mask;
pub mod process;
pub mod program;
mod recorder;
pub mod redact;
pub mod replay;
pub mod signals;
mod spawn;
mod supervisor;
pub mod transcript;
mod tree;
mod walk;

#[cfg(test)]
mod tests;
