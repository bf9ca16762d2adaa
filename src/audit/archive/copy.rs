//! Copies that are on disk before anything relies on them, and removals of what is the same elsewhere, byte for byte.

use std::fs::{DirBuilder, File};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::{ArchiveError, failed};
use crate::audit::anchor::{settle, write_new};
use crate::audit::read::open;

/// Makes a folder of mode 0700.
pub(super) fn make_folder(path: &Path) -> Result<(), ArchiveError> {
    DirBuilder::new().mode(0o700).create(path).map_err(failed(path))
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), ArchiveError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed(path))
}

/// Writes a new file of mode 0600, on disk when this returns.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), ArchiveError> {
    write_new(path, bytes).and_then(|file| settle(&file)).map_err(failed(path))
}

/// Copies a file, which must be a regular one, to a new one of mode 0600, on disk when this returns.
pub(super) fn copy_file(from: &Path, to: &Path) -> Result<(), ArchiveError> {
    let mut source = open(from)?;
    let mut file = write_new(to, &[]).map_err(failed(to))?;
    io::copy(&mut source, &mut file).map_err(failed(to))?;
    settle(&file).map_err(failed(to))
}

/// Copies a folder of regular files and such folders.
pub(super) fn copy_folder(from: &Path, to: &Path) -> Result<(), ArchiveError> {
    make_folder(to)?;
    for entry in std::fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed(&path))?;
        if kind.is_dir() { copy_folder(&path, &copy)? } else { copy_file(&path, &copy)? }
    }
    sync_folder(to)
}

/// Removes a file, if the archive has the same bytes. One that is not there is no error.
pub(super) fn remove_file(path: &Path, copy: &Path) -> Result<(), ArchiveError> {
    if is_there(path)? {
        is_the_same_file(path, copy)?;
        std::fs::remove_file(path).map_err(failed(path))?;
    }
    Ok(())
}

/// Removes a folder, if the archive has the same bytes of every file in it. One that is not there is no error.
pub(super) fn remove_folder(path: &Path, copy: &Path) -> Result<(), ArchiveError> {
    if is_there(path)? {
        is_the_same_folder(path, copy)?;
        std::fs::remove_dir_all(path).map_err(failed(path))?;
    }
    Ok(())
}

fn is_there(path: &Path) -> Result<bool, ArchiveError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(path)(error)),
    }
}

fn is_the_same_folder(path: &Path, copy: &Path) -> Result<(), ArchiveError> {
    for entry in std::fs::read_dir(path).map_err(failed(path))? {
        let entry = entry.map_err(failed(path))?;
        let (path, copy) = (entry.path(), copy.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed(&path))?;
        if kind.is_dir() { is_the_same_folder(&path, &copy)? } else { is_the_same_file(&path, &copy)? }
    }
    Ok(())
}

/// Holds two files against each other.
fn is_the_same_file(path: &Path, copy: &Path) -> Result<(), ArchiveError> {
    let mut one = BufReader::with_capacity(64 * 1024, open(path)?);
    let mut other = BufReader::with_capacity(64 * 1024, open(copy)?);
    loop {
        let (here, there) = (one.fill_buf().map_err(failed(path))?, other.fill_buf().map_err(failed(copy))?);
        let count = here.len().min(there.len());
        if here[..count] != there[..count] || (count == 0 && here.len() != there.len()) {
            let problem = format!("{} is not what {} is; it stays where it is", path.display(), copy.display());
            return Err(ArchiveError::Wrong(problem));
        }
        if count == 0 {
            return Ok(());
        }
        one.consume(count);
        other.consume(count);
    }
}
