//! The `file` probe. Symbolic links are followed; a link that leads nowhere is no file. A missing folder on the way is evidence
//! that the file is absent; a folder that may not be entered is not.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use super::evidence::{Look, bounded};
use super::view::{View, user_name};
use crate::history::event::Verdict;
use crate::runbook::duration;
use crate::runbook::model::{FileProbe, Presence};

/// How much of a file is searched for a text.
const SEARCHED: u64 = 16 * 1024 * 1024;

/// A file that was changed this much later than now may come from a clock that is a little ahead.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);

/// Looks at a file.
pub(super) fn look(probe: &FileProbe, view: &View) -> Look {
    let path = bounded(&probe.path.display().to_string(), 200);
    let facts = match fs::metadata(&probe.path) {
        Ok(facts) => facts,
        Err(error) if is_missing(&error) => {
            let link = fs::symlink_metadata(&probe.path).is_ok();
            let seen = if link { "is a symbolic link that leads nowhere" } else { "is not there" };
            return Look::told(probe.state == Presence::Absent, format!("{path} {seen}"));
        }
        Err(error) => return Look::unknown(format!("whether {path} is there cannot be told: {error}")),
    };
    match probe.state {
        Presence::Absent => Look::broken(format!("{path} is there")),
        Presence::Present => {
            let mut seen = Vec::new();
            for check in [newer_than, older_than, min_size, mode, owner, contains] {
                match check(probe, &facts, view) {
                    None => {}
                    Some(look) if look.verdict == Verdict::Holds => seen.push(look.evidence),
                    Some(look) => return Look::new(look.verdict, &format!("{path} {}", look.evidence)),
                }
            }
            if seen.is_empty() {
                seen.push("is there".to_owned());
            }
            Look::holds(format!("{path} {}", seen.join(", ")))
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// How long ago it was changed.
fn age(facts: &Metadata) -> Result<Duration, Look> {
    let changed = facts.modified().map_err(|error| Look::unknown(format!("has no time of change: {error}")))?;
    match SystemTime::now().duration_since(changed) {
        Ok(age) => Ok(age),
        Err(ahead) if ahead.duration() <= CLOCKS_DIFFER => Ok(Duration::ZERO),
        Err(ahead) => Err(Look::unknown(format!(
            "was changed {} in the future, so its age cannot be told; compare the clocks",
            rough(ahead.duration())
        ))),
    }
}

fn rough(duration: Duration) -> String {
    duration::show(Duration::from_secs(duration.as_secs()))
}

fn newer_than(probe: &FileProbe, facts: &Metadata, _: &View) -> Option<Look> {
    let limit = probe.newer_than?;
    Some(match age(facts) {
        Ok(age) => Look::told(age < limit, format!("was changed {} ago", rough(age))),
        Err(look) => look,
    })
}

fn older_than(probe: &FileProbe, facts: &Metadata, _: &View) -> Option<Look> {
    let limit = probe.older_than?;
    Some(match age(facts) {
        Ok(age) => Look::told(age > limit, format!("was changed {} ago", rough(age))),
        Err(look) => look,
    })
}

fn min_size(probe: &FileProbe, facts: &Metadata, _: &View) -> Option<Look> {
    let least = probe.min_size?;
    Some(Look::told(facts.len() >= least, format!("has {} bytes", facts.len())))
}

fn mode(probe: &FileProbe, facts: &Metadata, _: &View) -> Option<Look> {
    let wanted = probe.mode?;
    let mode = facts.mode() & 0o7777;
    Some(Look::told(mode == wanted, format!("has the mode {mode:04o}")))
}

fn owner(probe: &FileProbe, facts: &Metadata, view: &View) -> Option<Look> {
    let wanted = probe.owner.as_ref()?;
    Some(match view.user_id(wanted) {
        Some(uid) => Look::told(uid == facts.uid(), format!("belongs to {}", user_name(facts.uid()))),
        None => Look::unknown(format!("should belong to {}, who is no user here", bounded(wanted, 40))),
    })
}

fn contains(probe: &FileProbe, facts: &Metadata, _: &View) -> Option<Look> {
    let text = probe.contains.as_ref()?;
    let shown = bounded(text, 80);
    if !facts.is_file() {
        return Some(Look::unknown("is not a regular file, so it is not searched"));
    }
    Some(match search(&probe.path, text.as_bytes()) {
        Ok(true) => Look::holds(format!("contains `{shown}`")),
        Ok(false) => Look::broken(format!("does not contain `{shown}`")),
        Err(error) => Look::unknown(format!("cannot be searched: {error}")),
    })
}

fn search(path: &Path, text: &[u8]) -> io::Result<bool> {
    if text.is_empty() {
        return Ok(true);
    }
    // Not to block, should it have become a pipe in between.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("O_NONBLOCK is a small flag");
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let mut file = file.take(SEARCHED);
    let mut window = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        window.extend_from_slice(&chunk[..read]);
        if window.windows(text.len()).any(|part| part == text) {
            return Ok(true);
        }
        let keep = window.len().saturating_sub(text.len() - 1);
        window.drain(..keep);
    }
}
