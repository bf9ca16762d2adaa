//! What is kept beside the plan of a run, or beside the log where it is of no run: files that signatures were looked at with, each under the digest of its bytes, durable before the
//! entry that names it.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Keeps files in a folder of this place, each with its name. What is there already as it should be stays as it is.
///
/// # Errors
/// In words, with the place.
pub fn keep(place: &Path, folder: &str, files: &[(String, &[u8])]) -> Result<(), String> {
    if files.is_empty() {
        return Ok(());
    }
    let path = place.join(folder);
    let keep = || -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        for (name, bytes) in files {
            keep_one(&path, name, bytes)?;
        }
        std::fs::File::open(&path)?.sync_all()?;
        // The place itself may be new.
        for above in [Some(place), place.parent()].into_iter().flatten() {
            std::fs::File::open(above)?.sync_all()?;
        }
        Ok(())
    };
    keep().map_err(|error| format!("the {folder} cannot be kept in {}: {error}", path.display()))
}

/// Writes a file under its name when all of it is on disk.
fn keep_one(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = folder.join(name);
    if std::fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let unfinished = folder.join("unfinished");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, &path)
}
