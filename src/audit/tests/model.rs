//! A disk that keeps what it must and no more. What is written lies in memory until it is synced; when the power goes,
//! each sector of it is there, is not there, or is garbage, in any mixture. Names are kept in the order in which they
//! were given. Any call can be made to fail, to be the last, or to do what it should and fail all the same.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use crate::audit::names;
use crate::audit::storage::Storage;

/// What goes wrong at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The process is gone in the middle of the call; memory stays.
    Killed,
    /// The call fails and does nothing.
    Fails(i32),
    /// The call does what it should and fails.
    FailsThoughDone(i32),
    /// A sync fails, and what it was to sync will never reach the disk, though memory still shows it (fsync(2),
    /// errors). Another call just fails.
    FailsAndLoses(i32),
    /// A write takes only the first byte. Another call is not disturbed.
    Short,
}

/// What becomes of a sector that was not synced when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Old,
    New,
    Garbage(u8),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    memory: Vec<u8>,
    disk: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    errors: u64,
}

#[derive(Debug, Clone)]
enum NameChange {
    Given(String, usize),
    Renamed(String, String),
    Removed(String),
}

#[derive(Debug, Clone, Default)]
struct Contents {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    names_on_disk: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
}

/// The disk. Clones of the handle are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Rc<RefCell<Contents>>);

/// A process that uses the disk: counts its calls, and meets its fault.
#[derive(Debug)]
pub(super) struct Process {
    disk: Disk,
    calls: Rc<Cell<u64>>,
    fault: Option<(u64, Fault)>,
    gone: Cell<bool>,
}

#[derive(Debug)]
pub(super) struct Opened {
    inode: usize,
    errors_seen: Cell<u64>,
}

/// Numbers that are the same for the same seed (SplitMix64, Steele et al. 2014).
#[derive(Debug)]
pub(super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

impl Disk {
    /// A process on this disk, and a counter of its calls.
    pub fn process(&self, fault: Option<(u64, Fault)>) -> (Process, Rc<Cell<u64>>) {
        let calls = Rc::new(Cell::new(0));
        (Process { disk: self.clone(), calls: Rc::clone(&calls), fault, gone: Cell::new(false) }, calls)
    }

    /// The same contents on another disk.
    pub fn copy(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// The sectors of each write that was not synced, as (start, length) in their file.
    pub fn unsynced_sectors(&self, sector: usize) -> usize {
        let contents = self.0.borrow();
        contents
            .inodes
            .iter()
            .flat_map(|inode| &inode.unsynced)
            .map(|(at, bytes)| pieces(*at, bytes.len(), sector).len())
            .sum()
    }

    /// The power goes. `names_kept` of the unsynced name changes are on disk; `fate` says of each unsynced sector what
    /// becomes of it.
    pub fn power_cut(&self, sector: usize, names_kept: usize, mut fate: impl FnMut() -> Fate) {
        let mut contents = self.0.borrow_mut();
        for inode in &mut contents.inodes {
            for (at, bytes) in std::mem::take(&mut inode.unsynced) {
                for (start, end) in pieces(at, bytes.len(), sector) {
                    let fate = fate();
                    if fate == Fate::Old {
                        continue;
                    }
                    if inode.disk.len() < end {
                        inode.disk.resize(end, 0);
                    }
                    match fate {
                        Fate::Old => {}
                        Fate::New => inode.disk[start..end].copy_from_slice(&bytes[start - at..end - at]),
                        Fate::Garbage(seed) => {
                            let mut random = Random(u64::from(seed));
                            inode.disk[start..end].fill_with(|| match seed {
                                0 => 0,
                                1 => b'\n',
                                _ => random.next() as u8,
                            });
                        }
                    }
                }
            }
            inode.memory = inode.disk.clone();
        }
        let changes = std::mem::take(&mut contents.unsynced_names);
        for change in &changes[..names_kept.min(changes.len())] {
            apply(&mut contents.names_on_disk, change);
        }
        contents.names = contents.names_on_disk.clone();
    }

    pub fn unsynced_names(&self) -> usize {
        self.0.borrow().unsynced_names.len()
    }

    /// The files as a reader sees them.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let contents = self.0.borrow();
        contents.names.iter().map(|(name, inode)| (name.clone(), contents.inodes[*inode].memory.clone())).collect()
    }

    pub fn segments(&self) -> Vec<Vec<u8>> {
        self.files().into_iter().filter(|(name, _)| names::first_of(name).is_some()).map(|(_, bytes)| bytes).collect()
    }

    /// Writes to a file behind the log's back, durably.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut contents = self.0.borrow_mut();
        let inode = contents.names[name];
        change(&mut contents.inodes[inode].memory);
        contents.inodes[inode].disk = contents.inodes[inode].memory.clone();
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Given(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Renamed(from, to) => {
            let inode = names.remove(from).expect("changes are kept in order");
            names.insert(to.clone(), inode);
        }
        NameChange::Removed(name) => {
            names.remove(name);
        }
    }
}

/// The pieces of a range that lie in one sector each.
fn pieces(at: usize, length: usize, sector: usize) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    let mut start = at;
    while start < at + length {
        let end = (start / sector + 1) * sector;
        pieces.push((start, end.min(at + length)));
        start = end;
    }
    pieces
}

impl Process {
    /// Does a call, or what its fault makes of it.
    fn call<T>(
        &self,
        part: impl FnOnce(&mut Contents),
        lose: impl FnOnce(&mut Contents),
        whole: impl FnOnce(&mut Contents) -> io::Result<T>,
        short: impl FnOnce(&mut Contents) -> Option<T>,
    ) -> io::Result<T> {
        assert!(!self.gone.get(), "a process that is gone makes no calls");
        self.calls.set(self.calls.get() + 1);
        let contents = &mut *self.disk.0.borrow_mut();
        let fault = self.fault.filter(|(at, _)| *at == self.calls.get()).map(|(_, fault)| fault);
        let fails = |errno| Err(io::Error::from_raw_os_error(errno));
        match fault {
            None => whole(contents),
            Some(Fault::Short) => match short(contents) {
                Some(value) => Ok(value),
                None => whole(contents),
            },
            Some(Fault::Killed) => {
                part(contents);
                self.gone.set(true);
                fails(libc::EIO)
            }
            Some(Fault::Fails(errno)) => fails(errno),
            Some(Fault::FailsThoughDone(errno)) => whole(contents).and_then(|_| fails(errno)),
            Some(Fault::FailsAndLoses(errno)) => {
                lose(contents);
                fails(errno)
            }
        }
    }

    fn look<T>(&self, look: impl FnOnce(&mut Contents) -> io::Result<T>) -> io::Result<T> {
        self.call(|_| {}, |_| {}, look, |_| None)
    }
}

fn put(inode: &mut Inode, at: usize, bytes: &[u8]) {
    if inode.memory.len() < at + bytes.len() {
        inode.memory.resize(at + bytes.len(), 0);
    }
    inode.memory[at..at + bytes.len()].copy_from_slice(bytes);
    inode.unsynced.push((at, bytes.to_vec()));
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl Storage for Process {
    type File = Opened;

    // The tests switch between processes only outside the lock, so there is nothing to wait for. A process that is gone
    // has lost its lock, as the kernel sees to.
    fn lock(&self) -> io::Result<()> {
        self.look(|_| Ok(()))
    }

    fn unlock(&self) -> io::Result<()> {
        if self.gone.get() { Ok(()) } else { self.look(|_| Ok(())) }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.look(|contents| Ok(contents.names.keys().cloned().collect()))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.look(|contents| Ok(contents.names.contains_key(name)))
    }

    fn open(&self, name: &str) -> io::Result<Opened> {
        self.look(|contents| {
            let inode = *contents.names.get(name).ok_or_else(missing)?;
            Ok(Opened { inode, errors_seen: Cell::new(contents.inodes[inode].errors) })
        })
    }

    fn create(&self, name: &str) -> io::Result<Opened> {
        self.look(|contents| {
            if contents.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let inode = contents.inodes.len();
            contents.inodes.push(Inode::default());
            contents.names.insert(name.to_owned(), inode);
            contents.unsynced_names.push(NameChange::Given(name.to_owned(), inode));
            Ok(Opened { inode, errors_seen: Cell::new(0) })
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.look(|contents| {
            if contents.names.contains_key(to) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let inode = contents.names.remove(from).ok_or_else(missing)?;
            contents.names.insert(to.to_owned(), inode);
            contents.unsynced_names.push(NameChange::Renamed(from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if self.gone.get() {
            return Err(missing());
        }
        self.look(|contents| {
            contents.names.remove(name).ok_or_else(missing)?;
            contents.unsynced_names.push(NameChange::Removed(name.to_owned()));
            Ok(())
        })
    }

    fn sync_names(&self) -> io::Result<()> {
        self.look(|contents| {
            contents.unsynced_names.clear();
            contents.names_on_disk = contents.names.clone();
            Ok(())
        })
    }

    fn leads_to(&self, name: &str, file: &Opened) -> io::Result<bool> {
        self.look(|contents| Ok(contents.names.get(name) == Some(&file.inode)))
    }

    fn size(&self, file: &Opened) -> io::Result<u64> {
        self.look(|contents| Ok(contents.inodes[file.inode].memory.len() as u64))
    }

    fn read_at(&self, file: &Opened, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.look(|contents| {
            let memory = &contents.inodes[file.inode].memory;
            let rest = &memory[index(offset).min(memory.len())..];
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        })
    }

    fn write_at(&self, file: &Opened, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let at = index(offset);
        self.call(
            |contents| {
                // How far a killed write got depends on the number of the call, so that seeds vary it.
                let part = bytes.len() * (index(self.calls.get()) % 8) / 7;
                put(&mut contents.inodes[file.inode], at, &bytes[..part.min(bytes.len())]);
            },
            |_| {},
            |contents| {
                put(&mut contents.inodes[file.inode], at, bytes);
                Ok(bytes.len())
            },
            |contents| {
                put(&mut contents.inodes[file.inode], at, &bytes[..1]);
                Some(1)
            },
        )
    }

    fn sync(&self, file: &Opened) -> io::Result<()> {
        self.call(
            |_| {},
            |contents| {
                let inode = &mut contents.inodes[file.inode];
                inode.unsynced.clear();
                inode.errors += 1;
                file.errors_seen.set(inode.errors);
            },
            |contents| {
                let inode = &mut contents.inodes[file.inode];
                if file.errors_seen.replace(inode.errors) < inode.errors {
                    return Err(io::Error::from_raw_os_error(libc::EIO));
                }
                for (at, bytes) in std::mem::take(&mut inode.unsynced) {
                    if inode.disk.len() < at + bytes.len() {
                        inode.disk.resize(at + bytes.len(), 0);
                    }
                    inode.disk[at..at + bytes.len()].copy_from_slice(&bytes);
                }
                Ok(())
            },
            |_| None,
        )
    }

    fn forget_cached(&self, file: &Opened) -> io::Result<()> {
        self.look(|contents| {
            let inode = &mut contents.inodes[file.inode];
            if inode.unsynced.is_empty() {
                inode.memory = inode.disk.clone();
            }
            Ok(())
        })
    }
}
