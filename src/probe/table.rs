//! The executables of all processes, kept up to date at the cost of a `readlink` each, in turns, and of a listing where a process
//! was started since the last one. It only says which processes
//! are worth a closer look; verdicts come from that look.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;

use super::procfs::{self, Process, Seen};

/// What is known of the executable of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exe {
    /// Its path as the kernel gives it, and its device and inode (zeros if they could not be read).
    File(Vec<u8>, (u64, u64)),
    /// It has none and never will: a thread of the kernel.
    Never,
    /// It has none now: it has ended, or is about to.
    None,
    /// It may not be read.
    Hidden,
}

struct Row {
    exe: Exe,
    /// The inode of its directory in `/proc`; another one means that the id was used again.
    inode: u64,
    /// The poll at which it was first seen.
    since: u64,
    /// The poll at which it was last seen.
    seen: u64,
}

/// How much a table reads anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Every executable. Without events there is no other way to learn that a process started another program.
    All,
    /// Those of young processes, and in turn a part of the others, since events tell of the rest.
    Young,
}

/// For how many polls a process is young: a second, at 20 polls a second.
const YOUNG: u64 = 20;
/// In how many polls every executable is read anew: every 200 ms.
const TURNS: u64 = 4;

/// The executables of all processes.
pub(super) struct Table {
    proc_dir: OwnedFd,
    rows: BTreeMap<u32, Row>,
    poll: u64,
    /// The id of the process that was started last when `found` was listed; none if it could not be told.
    newest: Option<u32>,
    found: Vec<(u32, u64)>,
    buffer: Box<[MaybeUninit<u8>; 4096]>,
}

impl Table {
    /// A table of what is there now.
    pub(super) fn new() -> Result<Self, Errno> {
        let mut table = Self {
            proc_dir: procfs::open()?,
            rows: BTreeMap::new(),
            poll: 0,
            newest: None,
            found: Vec::new(),
            buffer: Box::new(procfs::link_buffer()),
        };
        table.update(Freshness::All)?;
        Ok(table)
    }

    /// Takes in processes that came and went, and reads executables anew.
    pub(super) fn update(&mut self, freshness: Freshness) -> Result<(), Errno> {
        self.poll += 1;
        let mut found = std::mem::take(&mut self.found);
        // Asked before the listing: what is started in between is listed, and listed once more.
        let newest = procfs::newest(&self.proc_dir);
        let nothing_new = freshness == Freshness::Young && newest.is_some() && newest == self.newest;
        if !nothing_new || self.poll.is_multiple_of(TURNS) {
            found.clear();
            procfs::numbered(&self.proc_dir, |pid, inode| found.push((pid, inode)))?;
            self.newest = newest;
        }
        for &(pid, inode) in &found {
            self.update_one(pid, inode, freshness);
        }
        self.found = found;
        let poll = self.poll;
        self.rows.retain(|_, row| row.seen == poll);
        Ok(())
    }

    /// Reads the executable of one process, of which an event told.
    pub(super) fn update_at(&mut self, pid: u32) {
        let known = self.rows.get(&pid).map_or(0, |row| row.inode);
        self.rows.entry(pid).and_modify(|row| row.inode = u64::MAX);
        self.update_one(pid, known, Freshness::All);
    }

    /// The processes whose executable `wanted` says yes to, and those that may not be read.
    pub(super) fn candidates(&self, wanted: impl Fn(&[u8], (u64, u64)) -> bool) -> Vec<u32> {
        let matches = |row: &Row| match &row.exe {
            Exe::File(path, file) => wanted(path, *file),
            Exe::None | Exe::Never => false,
            Exe::Hidden => true,
        };
        self.rows.iter().filter(|(_, row)| matches(row)).map(|(&pid, _)| pid).collect()
    }

    /// The executable of a process as the kernel gives it; empty where it is hidden, none where there is none.
    pub(super) fn exe(&self, pid: u32) -> Option<&[u8]> {
        match &self.rows.get(&pid)?.exe {
            Exe::File(path, _) => Some(path),
            Exe::Hidden => Some(&[]),
            Exe::None | Exe::Never => None,
        }
    }

    fn update_one(&mut self, pid: u32, inode: u64, freshness: Freshness) {
        let poll = self.poll;
        let mut path = [0_u8; 16];
        let link_path = link_path(pid, &mut path);
        let row = self.rows.get_mut(&pid);
        if let Some(row) = row
            && row.inode == inode
        {
            row.seen = poll;
            let waits = freshness == Freshness::Young
                && poll.saturating_sub(row.since) > YOUNG
                && u64::from(pid) % TURNS != poll % TURNS;
            if row.exe == Exe::Never || waits {
                return;
            }
            match procfs::link(&self.proc_dir, link_path, self.buffer.as_mut_slice()) {
                Seen::Is(read) => match &row.exe {
                    Exe::File(known, _) if known == read => {}
                    Exe::File(..) | Exe::Hidden | Exe::None | Exe::Never => {
                        row.exe = Exe::File(read.to_vec(), file_of(&self.proc_dir, link_path));
                    }
                },
                Seen::Gone => row.exe = closer_look(&self.proc_dir, pid),
                Seen::Hidden(_) if row.exe == Exe::Hidden => {}
                Seen::Hidden(_) => row.exe = closer_look(&self.proc_dir, pid),
            }
            return;
        }
        let exe = match procfs::link(&self.proc_dir, link_path, self.buffer.as_mut_slice()) {
            Seen::Is(read) => Exe::File(read.to_vec(), file_of(&self.proc_dir, link_path)),
            Seen::Gone | Seen::Hidden(_) => closer_look(&self.proc_dir, pid),
        };
        self.rows.insert(pid, Row { exe, inode, since: poll, seen: poll });
    }
}

fn file_of(proc_dir: &OwnedFd, link_path: &str) -> (u64, u64) {
    statat(proc_dir, link_path, AtFlags::empty()).map_or((0, 0), |facts| procfs::identity(&facts))
}

/// For a process whose link says nothing: a kernel thread, a zombie, one whose first thread has ended, or one that is hidden.
fn closer_look(proc_dir: &OwnedFd, pid: u32) -> Exe {
    let mut process = match Process::open(proc_dir, pid) {
        Seen::Is(process) => process,
        Seen::Gone => return Exe::None,
        Seen::Hidden(_) => return Exe::Hidden,
    };
    match process.exe() {
        Seen::Is(path) => {
            let file = match process.exe_file() {
                Seen::Is(file) => file,
                Seen::Gone | Seen::Hidden(_) => (0, 0),
            };
            Exe::File(path, file)
        }
        Seen::Gone if process.is_kernel_thread() => Exe::Never,
        Seen::Gone => Exe::None,
        Seen::Hidden(_) => Exe::Hidden,
    }
}

/// `<pid>/exe`, written without allocating.
fn link_path(pid: u32, buffer: &mut [u8; 16]) -> &str {
    let mut digits = [0_u8; 10];
    let mut count = 0;
    let mut rest = pid;
    while count == 0 || rest > 0 {
        digits[count] = b'0' + u8::try_from(rest % 10).expect("a remainder of ten is below ten");
        rest /= 10;
        count += 1;
    }
    for at in 0..count {
        buffer[at] = digits[count - 1 - at];
    }
    buffer[count..count + 4].copy_from_slice(b"/exe");
    std::str::from_utf8(&buffer[..count + 4]).expect("digits and `/exe` are ASCII")
}

#[cfg(test)]
mod tests {
    use super::{Table, link_path};

    #[test]
    fn paths_are_written_without_allocating() {
        for pid in [0, 1, 10, 4_194_304, u32::MAX] {
            assert_eq!(link_path(pid, &mut [0; 16]), format!("{pid}/exe"));
        }
    }

    #[test]
    fn it_knows_this_very_process() {
        let table = Table::new().unwrap();
        let own = std::env::current_exe().unwrap();
        let own = own.as_os_str().as_encoded_bytes();
        assert!(table.candidates(|path, _| path == own).contains(&std::process::id()));
    }
}
