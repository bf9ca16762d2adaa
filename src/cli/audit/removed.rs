//! Whether the lists of what was removed from output are those that the log speaks of. It only reads.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path};

use crate::audit::Home;
use crate::history::event::{Event, Redacted};
use crate::id::{Digest, RunId};

/// The longest list, in bytes. The program writes none that is half as long.
const LONGEST: u64 = 4 << 20;

/// Looks at the list that the end of a step names, if it does.
///
/// # Errors
/// It is not as it was recorded, or not there.
pub fn look(home: &Home, run: &RunId, event: &Event) -> Result<(), String> {
    let Event::StepEnded { output: Some(output), .. } = event else { return Ok(()) };
    let Some(redacted) = &output.redacted else { return Ok(()) };
    let what = "the list of what was removed from the output";
    let digest = digest_of(home, run, redacted).map_err(|error| {
        format!("{what} cannot be read: {}: {error}; it was removed, or is kept from you", redacted.file)
    })?;
    if digest == redacted.digest {
        return Ok(());
    }
    Err(format!("{what}, {}, is not as it was recorded: it was changed", redacted.file))
}

fn digest_of(home: &Home, run: &RunId, redacted: &Redacted) -> io::Result<Digest> {
    let path = home.path().join(&redacted.file);
    let plain = Path::new(&redacted.file).components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || path.parent() != Some(&home.run(run)) {
        return Err(io::Error::other("it is not in the folder of the run"));
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(Digest::of(&bytes))
}
