//! Makes an archive, lets it stand for what it holds, and removes that at home.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::choose::Chosen;
use super::copy::{copy_file, copy_folder, make_folder, remove_file, remove_folder, sync_folder, write};
use super::{ArchiveError, failed};
use crate::audit::anchor::write_synced;
use crate::audit::base::{Archive, Base, VERSION, Written, bytes_of, written};
use crate::audit::key::signing_key;
use crate::audit::log::{Draft, Log};
use crate::audit::note::Checkpoint;
use crate::audit::read::{Reader, archived, list_names, read};
use crate::audit::scan::entries_with;
use crate::audit::tree::{Hash, Known, leaf};
use crate::audit::{Found, Home, ReadError, names};
use crate::history::event::Event;
use crate::history::numbers::Numbers;
use crate::history::unlocked::Unlocked;
use crate::id::{Digest, RunId};

/// An archive that was made, or was there already, and does not stand for anything yet.
#[derive(Debug)]
pub struct Archived {
    /// Where it lies now.
    folder: PathBuf,
    /// What it is to be called.
    kept: PathBuf,
    /// What is to stand for it, as bytes, and what that says.
    bytes: Vec<u8>,
    base: Base,
    before: Option<Base>,
    runs: HashSet<RunId>,
    end: Reader,
}

/// What the entries that are to be archived say.
struct Survey {
    log: String,
    last: Digest,
    time: String,
    lines: Vec<String>,
    chosen: Vec<u64>,
    policies: Numbers,
    unlocked: Unlocked,
    repairs: BTreeSet<String>,
}

/// Copies what was chosen into a folder below this one. It has another name until it is kept.
///
/// # Errors
/// As said. What was copied is removed then, and the home is as it was.
pub fn make(home: &Home, chosen: Chosen, to: &Path, reason: Option<&str>) -> Result<Archived, ArchiveError> {
    let survey = Survey::of(home, &chosen)?;
    let (base, bytes) = stand_for(home, &chosen, &survey, to, reason)?;
    let kept = PathBuf::from(&base.archive().folder);
    let mut unfinished = kept.clone().into_os_string();
    unfinished.push(".unfinished");
    let folder = PathBuf::from(unfinished);
    // What a crash has left of an earlier attempt: nothing relies on it.
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&folder)(error)),
        Ok(()) | Err(_) => {}
    }
    let is_there = kept.symlink_metadata().is_ok();
    if !is_there {
        copy(home, &chosen, &survey, &base, &folder).inspect_err(|_| {
            // Gives back what room it took; the next attempt removes the rest.
            let _ = std::fs::remove_dir_all(&folder);
        })?;
    }
    Ok(Archived {
        folder: if is_there { kept.clone() } else { folder },
        kept,
        bytes,
        base,
        before: chosen.base,
        runs: chosen.runs.into_iter().collect(),
        end: chosen.end,
    })
}

impl Survey {
    fn of(home: &Home, chosen: &Chosen) -> Result<Self, ArchiveError> {
        let base = chosen.base.as_ref();
        let mut survey = Self {
            log: base.map(|base| base.log().to_owned()).unwrap_or_default(),
            last: Digest::of(&[]),
            time: String::new(),
            lines: base.iter().flat_map(|base| base.lines().map(|(_, line)| line.to_owned())).collect(),
            chosen: Vec::new(),
            policies: base.map(|base| base.policies().clone()).unwrap_or_default(),
            unlocked: base.map(|base| base.unlocked().clone()).unwrap_or_default(),
            repairs: BTreeSet::new(),
        };
        for found in up_to(home, chosen.last)? {
            let recorded = found?.recorded;
            let (entry, line) = (recorded.entry, recorded.line);
            survey.last = Digest::of(line.as_bytes());
            survey.time = entry.time.to_string();
            survey.policies.note(&entry.event);
            if entry.run.is_none() {
                survey.unlocked.apply(&entry.event).map_err(|why| ArchiveError::Wrong(why.to_string()))?;
            }
            match entry.event {
                Event::LogRepaired { kept_in, .. } => drop(survey.repairs.insert(kept_in)),
                Event::LogCreated { log, .. } => {
                    survey.log = log;
                    survey.keep(entry.seq, line);
                }
                Event::LogKeyReplaced { .. } => survey.keep(entry.seq, line),
                _ => {}
            }
        }
        Ok(survey)
    }

    fn keep(&mut self, seq: u64, line: String) {
        self.chosen.push(seq - 1);
        self.lines.push(line);
    }
}

/// The entries that are not archived, up to this one.
fn up_to(home: &Home, last: u64) -> Result<impl Iterator<Item = Result<Found, ReadError>>, ReadError> {
    Ok(read(home)?.take_while(move |found| !matches!(found, Ok(found) if found.recorded.entry.seq > last)))
}

/// What is to stand for what was chosen, and its bytes. Signs a checkpoint of it.
fn stand_for(
    home: &Home,
    chosen: &Chosen,
    survey: &Survey,
    to: &Path,
    reason: Option<&str>,
) -> Result<(Base, Vec<u8>), ArchiveError> {
    let known = chosen.base.as_ref().map_or_else(Known::default, |base| base.known().clone());
    let mut all = up_to(home, chosen.last)?;
    let mut leaves = || match all.next() {
        Some(found) => found.map(|found| leaf(found.recorded.line.as_bytes())).map_err(ArchiveError::from),
        None => Err(ArchiveError::Wrong("the log became shorter meanwhile".to_owned())),
    };
    let (edge, proof) = known.proof(chosen.last, &survey.chosen, &mut leaves)?;
    let path = home.audit().join(names::LOCK);
    let lock = File::open(&path).map_err(failed(&path))?;
    lock.lock().map_err(failed(&path))?;
    let key = signing_key(home)?;
    drop(lock);
    let checkpoint = Checkpoint { origin: key.public().name().to_owned(), size: chosen.last, root: edge.root() };
    let folder = to.join(format!("{}-{}-{}", survey.log, chosen.first(), chosen.last));
    let Some(folder) = folder.to_str() else {
        return Err(ArchiveError::Wrong(format!("{}: a path that is not UTF-8 cannot be recorded", folder.display())));
    };
    let mut bytes = 0;
    for first in &chosen.segments {
        let path = home.audit().join(names::segment(*first));
        bytes += path.symlink_metadata().map_err(failed(&path))?.len();
    }
    let hashes = |all: &[Hash]| all.iter().map(written).collect();
    let written = Written {
        version: VERSION,
        log: survey.log.clone(),
        entries: chosen.last,
        last: survey.last.clone(),
        time: survey.time.clone(),
        edge: hashes(edge.parts()),
        checkpoint: key.sign(&checkpoint),
        lines: survey.lines.clone(),
        proof: hashes(&proof),
        policies: survey.policies.clone(),
        unlocked: survey.unlocked.clone(),
        archive: Archive {
            folder: folder.to_owned(),
            first: chosen.first(),
            segments: chosen.segments.len() as u64,
            bytes,
            reason: reason.map(str::to_owned),
        },
    };
    let mut bytes = serde_json::to_vec(&written).map_err(|error| ArchiveError::Wrong(error.to_string()))?;
    bytes.push(b'\n');
    // Whoever reads it is as strict.
    let base = Base::read(&bytes).map_err(ArchiveError::Wrong)?;
    Ok((base, bytes))
}

/// Copies it all; on disk when this returns.
fn copy(home: &Home, chosen: &Chosen, survey: &Survey, base: &Base, folder: &Path) -> Result<(), ArchiveError> {
    let (from, archive) = (home.audit(), at(folder)?);
    let audit = archive.audit();
    for path in [folder, &audit, &archive.runs(), &archive.path().join("keys")] {
        make_folder(path)?;
    }
    for first in &chosen.segments {
        copy_file(&from.join(names::segment(*first)), &audit.join(names::segment(*first)))?;
    }
    for name in &survey.repairs {
        if names::place_of_torn(name).is_some() && from.join(name).symlink_metadata().is_ok() {
            copy_file(&from.join(name), &audit.join(name))?;
        }
    }
    for size in checkpoints(home, base.archive().first..=base.entries() - 1)? {
        copy_file(&from.join(names::checkpoint(size)), &audit.join(names::checkpoint(size)))?;
    }
    if chosen.base.is_some() {
        copy_file(&from.join(names::ARCHIVED), &audit.join(names::ARCHIVED))?;
    }
    write(&audit.join(names::checkpoint(base.entries())), base.checkpoint().as_bytes())?;
    let said = format!("entries {} to {} of the log {}\n", base.archive().first, base.entries(), base.log());
    write(&audit.join(names::ARCHIVE), said.as_bytes())?;
    for name in ["log.pub", "former.pub"] {
        let path = home.path().join("keys").join(name);
        if path.symlink_metadata().is_ok() {
            copy_file(&path, &archive.path().join("keys").join(name))?;
        }
    }
    for run in &chosen.runs {
        // A run that was refused may have left nothing but its entry.
        if home.run(run).symlink_metadata().is_ok() {
            copy_folder(&home.run(run), &archive.run(run))?;
        }
    }
    if home.unlocked().symlink_metadata().is_ok() {
        copy_folder(&home.unlocked(), &archive.unlocked())?;
    }
    for path in [&audit, &archive.runs(), &archive.path().join("keys"), folder] {
        sync_folder(path)?;
    }
    folder.parent().map_or(Ok(()), sync_folder)
}

impl Archived {
    /// The archive, to be verified as any log.
    ///
    /// # Errors
    /// Its path cannot be used.
    pub fn home(&self) -> Result<Home, ArchiveError> {
        at(&self.folder)
    }

    /// What is to stand for it.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Gives it its name, durably. It was verified.
    ///
    /// # Errors
    /// The system's. Nothing at home was changed.
    pub fn keep(&mut self) -> Result<(), ArchiveError> {
        if self.folder == self.kept {
            return Ok(());
        }
        rustix::fs::renameat_with(CWD, &self.folder, CWD, &self.kept, RenameFlags::NOREPLACE)
            .map_err(|error| failed(&self.kept)(error.into()))?;
        self.folder.clone_from(&self.kept);
        self.kept.parent().map_or(Ok(()), sync_folder)
    }

    /// Lets what stands for it stand in the home, under the log's lock, and records it.
    ///
    /// # Errors
    /// Something of what is archived was gone on with meanwhile, or the system's. Then everything is at home still; but where the entry
    /// alone could not be written, which [`finish`] makes good.
    pub fn stand(mut self, home: &Home, log: &mut Log) -> Result<Base, ArchiveError> {
        let folder = home.audit();
        let lock_path = folder.join(names::LOCK);
        let lock = File::open(&lock_path).map_err(failed(&lock_path))?;
        lock.lock().map_err(failed(&lock_path))?;
        if archived(home)? != self.before {
            return Err(ArchiveError::Wrong(
                "others have archived entries meanwhile; run the command again".to_owned(),
            ));
        }
        self.end.look_again();
        for found in self.end.by_ref() {
            let entry = found?.recorded.entry;
            if let Some(run) = entry.run.filter(|run| self.runs.contains(run)) {
                let why =
                    format!("run {run} was gone on with meanwhile, in entry {}; run the command again", entry.seq);
                return Err(ArchiveError::Wrong(why));
            }
        }
        let path = folder.join(names::ARCHIVED);
        write_synced(&folder.join(names::UNFINISHED), &path, &self.bytes).map_err(failed(&path))?;
        sync_folder(&folder)?;
        drop(lock);
        record(log, &self.base)?;
        Ok(self.base)
    }
}

/// The entry about it, which is durable when this returns.
fn record(log: &mut Log, base: &Base) -> Result<(), ArchiveError> {
    let archive = base.archive();
    let event = Event::EntriesArchived {
        entries: base.entries(),
        root: Digest::from_bytes(&base.root()),
        base: base.digest().clone(),
        first: archive.first,
        folder: archive.folder.clone(),
        segments: archive.segments,
        bytes: archive.bytes,
        reason: archive.reason.clone(),
    };
    log.append_closing(&[Draft { run: None, event: &event }])?;
    Ok(())
}

/// What was left over by an archiving that was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Nothing.
    Nothing,
    /// Some of it; it is done now.
    Done,
    /// Some of it, and the archive is not where it was made, so nothing was removed.
    ArchiveIsElsewhere,
}

/// Goes on with an archiving that was interrupted after something stood for it.
///
/// # Errors
/// As said.
pub fn finish(home: &Home, log: &mut Log) -> Result<Finished, ArchiveError> {
    let Some(base) = archived(home)? else { return Ok(Finished::Nothing) };
    let recorded = entries_with(home, "\"event\":\"entries_archived\"")?;
    let is_it = |event: &Event| matches!(event, Event::EntriesArchived { entries, .. } if *entries == base.entries());
    let mut finished = Finished::Nothing;
    if !recorded.iter().any(|entry| is_it(&entry.event)) {
        record(log, &base)?;
        finished = Finished::Done;
    }
    let left = names::segments(&list_names(&home.audit())?).first().is_some_and(|first| *first <= base.entries());
    let archive = at(Path::new(&base.archive().folder))?;
    match archive.audit().join(names::ARCHIVE).symlink_metadata() {
        Ok(_) => Ok(if remove(home, &base)? { Finished::Done } else { finished }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(if left { Finished::ArchiveIsElsewhere } else { finished })
        }
        Err(error) => Err(failed(archive.path())(error)),
    }
}

/// Removes at home what is archived, each file held against its copy first, the oldest segment first. Whether there was anything.
///
/// # Errors
/// Something is not what the archive has, or the system's. What was not removed yet stays, and is not read.
pub fn remove(home: &Home, base: &Base) -> Result<bool, ArchiveError> {
    let (from, archive) = (home.audit(), at(Path::new(&base.archive().folder))?);
    is_the_archive_of(&archive, base)?;
    let mut any = false;
    let copies = list_names(&archive.audit())?;
    for run in std::fs::read_dir(archive.runs()).map_err(failed(&archive.runs()))? {
        let copy = run.map_err(failed(&archive.runs()))?.path();
        let Some(name) = copy.file_name() else { continue };
        let path = home.runs().join(name);
        any |= path.symlink_metadata().is_ok();
        remove_folder(&path, &copy)?;
    }
    if any {
        sync_folder(&home.runs())?;
    }
    let mut gone: Vec<String> = names::segments(&copies).into_iter().map(names::segment).collect();
    gone.extend(copies.iter().filter(|name| names::place_of_torn(name).is_some()).cloned());
    for name in gone {
        any |= from.join(&name).symlink_metadata().is_ok();
        remove_file(&from.join(&name), &archive.audit().join(&name))?;
    }
    for name in checkpoints(home, base.archive().first..=base.entries())?.into_iter().map(names::checkpoint) {
        match remove_file(&from.join(&name), &archive.audit().join(&name)) {
            Ok(()) => any = true,
            // It tells something that the archive does not: it stays, and verifying says what it is.
            Err(ArchiveError::Wrong(_)) => {}
            Err(error) => return Err(error),
        }
    }
    sync_folder(&from)?;
    Ok(any)
}

/// That the folder is the archive of these entries: it has a checkpoint of the same tree.
fn is_the_archive_of(archive: &Home, base: &Base) -> Result<(), ArchiveError> {
    let path = archive.audit().join(names::checkpoint(base.entries()));
    let note = bytes_of(&path).map_err(failed(&path))?;
    match Checkpoint::claimed(&note) {
        Ok(checkpoint) if checkpoint.size == base.entries() && checkpoint.root == base.root() => Ok(()),
        Ok(_) | Err(_) => Err(ArchiveError::Wrong(format!(
            "{} is not the archive of entries {} to {}; nothing was removed",
            archive.path().display(),
            base.archive().first,
            base.entries()
        ))),
    }
}

/// The sizes of the checkpoints beside the log that are in this range.
fn checkpoints(home: &Home, range: std::ops::RangeInclusive<u64>) -> Result<Vec<u64>, ReadError> {
    let all = list_names(&home.audit())?;
    Ok(all.iter().filter_map(|name| names::size_of_checkpoint(name)).filter(|size| range.contains(size)).collect())
}

/// The archive in this folder, as a home.
fn at(folder: &Path) -> Result<Home, ArchiveError> {
    Home::new(folder).map_err(failed(folder))
}
