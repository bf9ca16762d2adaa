//! A part of a watched fact: one of the probes that must all hold, with what the watcher keeps beside it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;

use super::folders::{Change, ChangeKind};
use crate::probe::evidence::{Look, bounded};
use crate::probe::{Depth, View, data_dir, look_with, process, table::Table};
use crate::runbook::model::{DataDirState, Presence, Probe};

/// The shortest time between two looks at all open files.
const BETWEEN_SURVEYS: Duration = Duration::from_secs(1);
/// The same where an event asks for one.
const BETWEEN_ASKED_SURVEYS: Duration = Duration::from_millis(50);
/// Looks at all open files take at most one part in so many of a core.
const SURVEY_SHARE: u32 = 100;

/// A part of a fact that the watcher thread looks at.
pub(super) struct Part {
    pub(super) probe: Probe,
    /// The process whose end would break it, by its descriptor.
    pub(super) witness: Option<Witness>,
    /// When the last look at all open files ended, and how long it took.
    surveyed: Option<(Instant, Duration)>,
    /// Whether an event asks for such a look.
    survey: Survey,
}

/// A process whose presence makes a part hold.
pub(super) struct Witness {
    pub(super) pid: u32,
    pub(super) number: u64,
    pub(super) descriptor: OwnedFd,
}

#[derive(PartialEq, Eq)]
enum Survey {
    /// In its own time.
    Regular,
    /// Soon, since something happened.
    Asked,
}

impl Part {
    pub(super) fn new(probe: Probe) -> Self {
        Self { probe, witness: None, surveyed: None, survey: Survey::Regular }
    }

    /// The look that a poll takes: quick, and thorough where that is due.
    pub(super) fn look(&mut self, view: &View, table: &Table, now: Instant) -> Look {
        if !self.is_survey_due(now) {
            return self.quick_look(view, table);
        }
        let began = Instant::now();
        let look = look_with(&self.probe, view, Depth::Thorough);
        let ended = Instant::now();
        self.surveyed = Some((ended, ended - began));
        self.survey = Survey::Regular;
        look
    }

    /// A look without going through all open files.
    pub(super) fn quick_look(&self, view: &View, table: &Table) -> Look {
        look_with(&self.probe, view, Depth::Quick(table))
    }

    /// Asks for a look at all open files, soon.
    pub(super) fn ask_for_survey(&mut self) {
        self.survey = Survey::Asked;
    }

    fn is_survey_due(&self, now: Instant) -> bool {
        if !self.concerns(&mut |leaf| matches!(leaf, Probe::DataDir(_))) {
            return false;
        }
        let Some((ended, took)) = self.surveyed else { return true };
        let least = if self.survey == Survey::Asked { BETWEEN_ASKED_SURVEYS } else { BETWEEN_SURVEYS };
        now.saturating_duration_since(ended) >= least.max(took * SURVEY_SHARE)
    }

    /// A process that makes it hold now, where the part is about the presence of one.
    pub(super) fn find_witness(&self, view: &View, table: &Table) -> Option<u32> {
        match &self.probe {
            Probe::Process(probe) if probe.state == Presence::Present => {
                process::one_that_matches(probe, view, Depth::Quick(table))
            }
            Probe::DataDir(probe) if probe.state == DataDirState::InUse => data_dir::one_standing_in(probe, table),
            Probe::Process(_)
            | Probe::DataDir(_)
            | Probe::Port(_)
            | Probe::File(_)
            | Probe::Command(_)
            | Probe::All(_)
            | Probe::Any(_)
            | Probe::Not(_) => None,
        }
    }

    /// Whether this is the number of its witness.
    pub(super) fn has_witness(&self, number: u64) -> bool {
        self.witness.as_ref().is_some_and(|witness| witness.number == number)
    }

    /// Whether a program of this path that starts can matter to it.
    pub(super) fn concerns_program(&self, exe: &[u8]) -> bool {
        self.concerns(&mut |leaf| match leaf {
            Probe::Process(probe) => process::could_be(probe, exe),
            Probe::DataDir(probe) => data_dir::is_server(probe, exe),
            Probe::Port(_) | Probe::File(_) | Probe::Command(_) | Probe::All(_) | Probe::Any(_) | Probe::Not(_) => {
                false
            }
        })
    }

    /// Whether it asks for a data directory of this server, which may still be on its way there.
    pub(super) fn awaits_server(&self, exe: &[u8]) -> bool {
        self.concerns(&mut |leaf| matches!(leaf, Probe::DataDir(probe) if data_dir::is_server(probe, exe)))
    }

    /// Whether it looks at processes.
    pub(super) fn concerns_processes(&self) -> bool {
        self.concerns(&mut |leaf| matches!(leaf, Probe::Process(_) | Probe::DataDir(_)))
    }

    /// Whether it looks at data directories.
    pub(super) fn concerns_data_dirs(&self) -> bool {
        !self.data_dirs().is_empty()
    }

    /// The data directories it looks at.
    pub(super) fn data_dirs(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        self.concerns(&mut |leaf| {
            if let Probe::DataDir(probe) = leaf {
                paths.push(probe.path.clone());
            }
            false
        });
        paths
    }

    /// The files whose coming and going matters to it.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        self.concerns(&mut |leaf| {
            match leaf {
                Probe::File(probe) => paths.push(probe.path.clone()),
                Probe::Process(probe) => paths.extend(probe.pidfile.clone()),
                Probe::Port(_)
                | Probe::DataDir(_)
                | Probe::Command(_)
                | Probe::All(_)
                | Probe::Any(_)
                | Probe::Not(_) => {}
            }
            false
        });
        paths
    }

    /// What a change of a file says by itself, even if it was taken back since: the evidence of a break.
    pub(super) fn broken_by(&self, change: &Change) -> Option<Look> {
        let Probe::File(probe) = &self.probe else { return None };
        if probe.path != change.path {
            return None;
        }
        let shown = bounded(&change.path.display().to_string(), 200);
        match (probe.state, change.kind) {
            (Presence::Absent, ChangeKind::Appeared) => Some(Look::broken(format!("{shown} was created"))),
            (Presence::Present, ChangeKind::Vanished) => Some(Look::broken(format!("{shown} was removed"))),
            (Presence::Absent | Presence::Present, _) => None,
        }
    }

    /// Whether a change at this path can matter to it.
    pub(super) fn concerns_file(&self, path: &Path) -> bool {
        self.files().iter().any(|file| file.starts_with(path) || path.starts_with(file))
    }

    /// Whether the question is answered with yes for one of the probes that it is made of.
    fn concerns(&self, question: &mut dyn FnMut(&Probe) -> bool) -> bool {
        any_leaf(&self.probe, question)
    }
}

/// The parts of a probe that must all hold, each to be watched by itself: those that the watcher thread can look at, and those that
/// can take long.
pub(super) fn split(probe: &Probe) -> (Vec<Probe>, Vec<Probe>) {
    let mut parts = Vec::new();
    flatten(probe, &mut parts);
    parts.into_iter().partition(|part| !any_leaf(part, &mut |leaf| matches!(leaf, Probe::Port(_) | Probe::Command(_))))
}

fn flatten(probe: &Probe, parts: &mut Vec<Probe>) {
    match probe {
        Probe::All(all) if !all.is_empty() => {
            for part in all {
                flatten(part, parts);
            }
        }
        Probe::All(_)
        | Probe::Any(_)
        | Probe::Not(_)
        | Probe::Process(_)
        | Probe::Port(_)
        | Probe::File(_)
        | Probe::DataDir(_)
        | Probe::Command(_) => parts.push(probe.clone()),
    }
}

/// Whether the question is answered with yes for one of the probes that this one is made of.
pub(super) fn any_leaf(probe: &Probe, question: &mut dyn FnMut(&Probe) -> bool) -> bool {
    match probe {
        Probe::All(parts) | Probe::Any(parts) => parts.iter().any(|part| any_leaf(part, question)),
        Probe::Not(part) => any_leaf(part, question),
        Probe::Process(_) | Probe::Port(_) | Probe::File(_) | Probe::DataDir(_) | Probe::Command(_) => question(probe),
    }
}
