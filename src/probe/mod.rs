//! Looks at the world, and watches it.
//!
//! A look says *holds*, *broken* or *unknown*, with its evidence in words. It changes nothing, ends within the time-outs
//! that its probe names, and never turns what it could not see into a verdict: unknown stays unknown through `all`, `any`
//! and `not`. A watch ([`Watches`]) keeps looking at a fact for as long as it is held.

mod command;
mod data_dir;
mod evidence;
mod file;
mod logic;
mod mounts;
mod port;
mod process;
mod procfs;
mod table;
mod view;
mod watch;
mod words;

pub use evidence::Look;
pub use view::{Membership, View};
pub use watch::{Notice, NoticeKind, Watches};

pub use words::{commands, in_words};

use crate::runbook::model::Probe;
use table::Table;

/// Looks at the world once, now, and thoroughly.
pub fn look(probe: &Probe, view: &View) -> Look {
    look_with(probe, view, Depth::Thorough)
}

/// How far a look goes.
#[derive(Clone, Copy)]
enum Depth<'a> {
    /// Every process is examined, open files included.
    Thorough,
    /// Only the processes that this table of executables says can matter are examined; open files are not read.
    Quick(&'a Table),
}

fn look_with(probe: &Probe, view: &View, depth: Depth<'_>) -> Look {
    match probe {
        Probe::Process(probe) => process::look(probe, view, depth),
        Probe::Port(probe) => port::look(probe),
        Probe::File(probe) => file::look(probe, view),
        Probe::DataDir(probe) => data_dir::look(probe, view, depth),
        Probe::Command(probe) => command::look(probe, view),
        Probe::All(parts) => logic::all(parts.iter().map(|part| look_with(part, view, depth))),
        Probe::Any(parts) => logic::any(parts.iter().map(|part| look_with(part, view, depth))),
        Probe::Not(part) => logic::not(look_with(part, view, depth)),
    }
}

#[cfg(test)]
mod tests;
