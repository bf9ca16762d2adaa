//! Probes in words, for the log and for people.

use super::evidence::{bounded, either};
use super::{command, process};
use crate::runbook::duration;
use crate::runbook::model::{DataDirState, FileProbe, PortState, Presence, Probe};

/// What a probe looks at, in words.
pub fn in_words(probe: &Probe) -> String {
    match probe {
        Probe::Process(probe) => match probe.state {
            Presence::Present => format!("there is {}", process::description(probe)),
            Presence::Absent => format!("there is no {}", process::description(probe).trim_start_matches("a ")),
        },
        Probe::Port(probe) => {
            let state = match probe.state {
                PortState::Open => "accepts connections",
                PortState::Closed => "refuses connections",
            };
            format!("{}:{} {state}", bounded(&probe.host, 120), probe.port)
        }
        Probe::File(probe) => file(probe),
        Probe::DataDir(probe) => {
            let path = bounded(&probe.path.display().to_string(), 200);
            let server = either(&probe.server);
            match probe.state {
                DataDirState::InUse => format!("a process named {server} uses {path}"),
                DataDirState::Free => format!(
                    "no process named {server} uses {path}, and none outside the step has a file below it open for writing"
                ),
            }
        }
        Probe::Command(probe) => {
            let codes: Vec<String> = probe.holds.iter().map(i32::to_string).collect();
            let output =
                probe.stdout.as_ref().map_or(String::new(), |regex| format!(" and says `{}`", bounded(regex, 80)));
            format!(
                "`{}` exits {}{output}, asked every {}",
                command::shown(&probe.run),
                either(&codes),
                duration::show(probe.every)
            )
        }
        Probe::All(parts) => list(parts, "and"),
        Probe::Any(parts) => list(parts, "or"),
        Probe::Not(part) => format!("not: {}", nested(part)),
    }
}

/// Every command that a probe may run.
pub fn commands(probe: &Probe) -> Vec<Vec<String>> {
    match probe {
        Probe::Command(probe) => vec![probe.run.clone()],
        Probe::Process(_) | Probe::Port(_) | Probe::File(_) | Probe::DataDir(_) => Vec::new(),
        Probe::All(parts) | Probe::Any(parts) => parts.iter().flat_map(commands).collect(),
        Probe::Not(part) => commands(part),
    }
}

fn list(parts: &[Probe], joint: &str) -> String {
    let parts: Vec<String> = parts.iter().map(nested).collect();
    parts.join(&format!("; {joint} "))
}

fn nested(probe: &Probe) -> String {
    match probe {
        Probe::All(_) | Probe::Any(_) | Probe::Not(_) => format!("({})", in_words(probe)),
        Probe::Process(_) | Probe::Port(_) | Probe::File(_) | Probe::DataDir(_) | Probe::Command(_) => in_words(probe),
    }
}

fn file(probe: &FileProbe) -> String {
    let path = bounded(&probe.path.display().to_string(), 200);
    let mut words = match probe.state {
        Presence::Present => vec![format!("{path} is there")],
        Presence::Absent => vec![format!("{path} is not there")],
    };
    words.extend(probe.newer_than.map(|age| format!("changed less than {} ago", duration::show(age))));
    words.extend(probe.older_than.map(|age| format!("changed more than {} ago", duration::show(age))));
    words.extend(probe.min_size.map(|bytes| format!("has at least {bytes} bytes")));
    words.extend(probe.mode.map(|mode| format!("has the mode {mode:04o}")));
    words.extend(probe.owner.as_ref().map(|owner| format!("belongs to {}", bounded(owner, 40))));
    words.extend(probe.contains.as_ref().map(|text| format!("contains `{}`", bounded(text, 80))));
    words.join(", ")
}
