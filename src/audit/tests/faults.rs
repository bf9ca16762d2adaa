//! The fault programme, on the model disk: whatever the crash, every acknowledged entry is there after the next
//! opening, and an honest crash is never taken for tampering.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use super::common::{check_chain, event, run_id, who};
use super::model::{Disk, Fate, Fault, Process, Random};
use crate::audit::log::{Author, Purpose, Writer};
use crate::audit::segment::{Geometry, Past};
use crate::audit::storage::Storage as _;
use crate::audit::{Draft, Home, Kind, LogError, Severity, names, verify};
use crate::history::event::Event;

/// Small segments, so that rotations are many.
const SMALL: Geometry = Geometry { segment: 16 * 1024, reserve: 2 * 1024 };

fn open(process: Process, geometry: Geometry) -> Result<Writer<Process>, LogError> {
    let author = Author::new(who(), "01900000-0000-7000-8000-000000000000".parse().unwrap()).unwrap();
    Writer::open(process, "/model/audit".into(), geometry, author, &Past::None)
}

fn open_well(disk: &Disk) -> Writer<Process> {
    open(disk.process(None).0, SMALL).unwrap_or_else(|error| panic!("{error}"))
}

/// Appends entries with texts of these lengths; gives their lines.
fn append(log: &mut Writer<Process>, lengths: &[usize], purpose: Purpose) -> Result<Vec<String>, LogError> {
    let run = run_id(1);
    let events: Vec<Event> = lengths.iter().map(|length| event(&"x".repeat(*length))).collect();
    let drafts: Vec<Draft<'_>> = events.iter().map(|event| Draft { run: Some(&run), event }).collect();
    Ok(log.append(&drafts, purpose)?.into_iter().map(|recorded| recorded.line).collect())
}

/// Every acknowledged line is in the log, in order, and the chain holds. Gives all lines.
fn assert_kept(disk: &Disk, acknowledged: &[String]) -> Vec<String> {
    let lines = check_chain(&disk.segments()).unwrap();
    let mut rest = lines.iter();
    for line in acknowledged {
        assert!(rest.any(|found| found == line), "lost: {line}");
    }
    lines
}

/// The disk as real files, for the verifier. The model's checkpoints are names without a text.
fn verify_copy(files: &BTreeMap<String, Vec<u8>>) -> crate::audit::Report {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path()).unwrap();
    std::fs::create_dir(home.audit()).unwrap();
    for (name, bytes) in files.iter().filter(|(name, _)| names::size_of_checkpoint(name).is_none()) {
        std::fs::write(home.audit().join(name), bytes).unwrap();
    }
    verify(&home, |_, _, _| Ok(())).unwrap()
}

/// A log whose next append begins at a given place in a sector; gives the acknowledged lines.
fn log_with_end_at(disk: &Disk, remainder: usize) -> (Writer<Process>, Vec<String>) {
    let mut log = open_well(disk);
    let probe = append(&mut log, &[0], Purpose::GoingOn).unwrap();
    let end = check_chain(&disk.segments()).unwrap().iter().map(|line| line.len() + 1).sum::<usize>();
    // One more entry, as long as it takes to end there. Its line is as long as that of the first, text apart.
    let length = (remainder + 8192 - (end + probe[0].len() + 1) % 4096) % 4096;
    let mut acknowledged = probe;
    acknowledged.extend(append(&mut log, &[length], Purpose::GoingOn).unwrap());
    let end = check_chain(&disk.segments()).unwrap().iter().map(|line| line.len() + 1).sum::<usize>();
    assert_eq!(end % 4096, remainder);
    (log, acknowledged)
}

/// After a crash in the middle of the last append: opens, and checks what is there.
fn assert_recovers(crashed: &Disk, acknowledged: &[String], unacknowledged: &[String]) {
    let torn = verify_copy_if_chosen(crashed);
    let mut log = open(crashed.process(None).0, SMALL).unwrap_or_else(|error| panic!("taken for tampering: {error}"));
    let lines = assert_kept(crashed, acknowledged);
    // The first line is log_created. Then all that was acknowledged, then the first few of the unfinished append, then
    // perhaps the repair.
    let after = &lines[1 + acknowledged.len()..];
    let kept = after.iter().zip(unacknowledged).take_while(|(found, written)| found == written).count();
    let repair = &after[kept..];
    assert!(repair.len() <= 1, "{repair:?}");
    assert!(repair.iter().all(|line| line.contains("\"event\":\"log_repaired\"")), "{repair:?}");
    if let Some(torn) = torn {
        assert_eq!(torn, repair.len() == 1);
    }
    let next = append(&mut log, &[10], Purpose::GoingOn).unwrap();
    assert_kept(crashed, &next);
}

thread_local! {
    static CHOSEN: Cell<u32> = const { Cell::new(0) };
}

/// Every so often, has the verifier look at a crashed disk: it must find no failure. Says whether it saw a torn tail.
fn verify_copy_if_chosen(crashed: &Disk) -> Option<bool> {
    CHOSEN.set(CHOSEN.get() + 1);
    (CHOSEN.get().is_multiple_of(16)).then(|| {
        let report = verify_copy(&crashed.files());
        assert!(report.verifies(), "{report}");
        report.findings.iter().any(|finding| finding.kind == Kind::TornTail)
    })
}

#[test]
fn every_mixture_of_sectors_of_an_unfinished_append_is_told_from_damage() {
    let fates = [Fate::Old, Fate::New, Fate::Garbage(0), Fate::Garbage(7)];
    let mut mixtures = 0;
    for (sector, lengths, remainders) in [
        (512, vec![100, 10, 300], vec![0, 1, 200, 511]),
        // A line in the middle that has sectors of its own: the one after it can be whole without it.
        (512, vec![10, 1000, 10], vec![0, 60, 400]),
        (512, vec![30, 700], vec![0, 510]),
        (4096, vec![3000, 2500, 3300], vec![0, 1, 2500]),
    ] {
        for remainder in remainders {
            let disk = Disk::default();
            let (log, acknowledged) = log_with_end_at(&disk, remainder);
            drop(log);
            // The power goes in the sync: the write is made, and not synced.
            let (process, calls) = disk.process(None);
            let mut log = open(process, SMALL).unwrap();
            let before = calls.get();
            let copy = disk.copy();
            append(&mut log, &lengths, Purpose::Closing).unwrap();
            // Lock, name, end, newer segment, write, sync, unlock.
            assert_eq!(calls.get() - before, 7);
            let opening = open_calls(&copy);
            let mut log = open(copy.process(Some((opening + 6, Fault::Killed))).0, SMALL).unwrap();
            assert!(matches!(append(&mut log, &lengths, Purpose::Closing), Err(LogError::Io { doing: "sync", .. })));
            let unacknowledged = check_chain(&copy.segments()).unwrap()[1 + acknowledged.len()..].to_vec();
            assert_eq!(unacknowledged.len(), lengths.len());
            let sectors = copy.unsynced_sectors(sector);
            let choices = if sectors > 4 { 3 } else { 4 };
            assert!((2..=6).contains(&sectors), "{sectors}");
            for mixture in 0..(choices as u64).pow(u32::try_from(sectors).unwrap()) {
                let crashed = copy.copy();
                let mut rest = mixture;
                crashed.power_cut(sector, 0, || {
                    let fate = fates[usize::try_from(rest % choices as u64).unwrap()];
                    rest /= choices as u64;
                    fate
                });
                assert_recovers(&crashed, &acknowledged, &unacknowledged);
                mixtures += 1;
            }
        }
    }
    assert!(mixtures > 2000, "{mixtures}");
}

/// How many calls an opening makes on this disk.
fn open_calls(disk: &Disk) -> u64 {
    let (process, calls) = disk.copy().process(None);
    drop(open(process, SMALL).unwrap());
    calls.get()
}

#[test]
fn every_prefix_of_an_unfinished_append_is_told_from_damage() {
    let disk = Disk::default();
    let (mut log, acknowledged) = log_with_end_at(&disk, 100);
    let end = check_chain(&disk.segments()).unwrap().iter().map(|line| line.len() + 1).sum::<usize>();
    let before = disk.copy();
    append(&mut log, &[10, 20, 30], Purpose::GoingOn).unwrap();
    let written = disk.segments()[0].clone();
    let unacknowledged = check_chain(&disk.segments()).unwrap()[1 + acknowledged.len()..].to_vec();
    let length = unacknowledged.iter().map(|line| line.len() + 1).sum::<usize>();
    for prefix in 0..=length {
        let crashed = before.copy();
        crashed.tamper("0000000000000001.jsonl", |bytes| {
            bytes[end..end + prefix].copy_from_slice(&written[end..end + prefix]);
        });
        assert_recovers(&crashed, &acknowledged, &unacknowledged);
    }
}

/// A history of appends by two processes in turn, with faults, kills and power cuts, several deep.
fn history(seed: u64) -> (u32, u32) {
    let mut random = Random(seed);
    let disk = Disk::default();
    let mut acknowledged = Vec::new();
    let (mut cuts, mut faults) = (0, 0);
    for _ in 0..6 {
        let mut logs: Vec<Option<Writer<Process>>> = Vec::new();
        for _ in 0..2 {
            let fault = random_fault(&mut random);
            let log = match open(disk.process(fault).0, SMALL) {
                Ok(log) => Some(log),
                Err(error @ LogError::Damaged { .. }) => panic!("seed {seed}: taken for tampering: {error}"),
                Err(_) => {
                    faults += 1;
                    None
                }
            };
            logs.push(log);
        }
        for _ in 0..random.below(12) {
            let Some(log) = &mut logs[usize::try_from(random.below(2)).unwrap()] else { continue };
            let lengths: Vec<usize> =
                (0..=random.below(3)).map(|_| usize::try_from(random.below(1500)).unwrap()).collect();
            let purpose = if random.below(4) == 0 { Purpose::Closing } else { Purpose::GoingOn };
            match append(log, &lengths, purpose) {
                Ok(lines) => {
                    acknowledged.extend(lines);
                    if random.below(3) == 0 {
                        speak_of(&disk, acknowledged.last().expect("it was just written"));
                    }
                }
                Err(error @ LogError::Damaged { .. }) => panic!("seed {seed}: taken for tampering: {error}"),
                Err(_) => faults += 1,
            }
        }
        drop(logs);
        if random.below(3) > 0 {
            let sector = if random.below(2) == 0 { 512 } else { 4096 };
            let names_kept = usize::try_from(random.below(disk.unsynced_names() as u64 + 1)).unwrap();
            disk.power_cut(sector, names_kept, || match random.below(4) {
                0 => Fate::Old,
                1 => Fate::Garbage(u8::try_from(random.below(256)).unwrap()),
                _ => Fate::New,
            });
            cuts += 1;
        }
        if !disk.segments().is_empty() && seed.is_multiple_of(32) {
            let report = verify_copy(&disk.files());
            assert!(report.verifies(), "seed {seed}: {report}");
        }
    }
    let mut log =
        open(disk.process(None).0, SMALL).unwrap_or_else(|error| panic!("seed {seed}: taken for tampering: {error}"));
    acknowledged.extend(append(&mut log, &[1], Purpose::GoingOn).unwrap());
    let kept = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| assert_kept(&disk, &acknowledged)));
    let lines = kept.unwrap_or_else(|_| panic!("seed {seed}"));
    // Each repair has its entry, and its bytes are kept under the name in it.
    let files = disk.files();
    for name in files.keys().filter(|name| name.starts_with("torn-")) {
        assert!(lines.iter().any(|line| line.contains(&format!("\"kept_in\":\"{name}\""))), "seed {seed}: {name}");
    }
    (cuts, faults)
}

/// A checkpoint of the entries up to this one, which is on disk.
fn speak_of(disk: &Disk, line: &str) {
    let entry: serde_json::Value = serde_json::from_str(line).unwrap();
    checkpoint(disk, entry["seq"].as_u64().unwrap());
}

/// The opening looks at its name alone.
fn checkpoint(disk: &Disk, size: u64) {
    disk.process(None).0.create(&names::checkpoint(size)).unwrap();
}

#[test]
fn what_a_checkpoint_speaks_of_is_neither_synced_nor_forgotten() {
    let disk = Disk::default();
    let (log, acknowledged) = log_with_end_at(&disk, 100);
    drop(log);
    let unspoken = open_calls(&disk);
    speak_of(&disk, acknowledged.last().unwrap());
    assert_eq!(open_calls(&disk) + 2, unspoken);
    checkpoint(&disk, 1000);
    assert!(open_calls(&disk) >= unspoken, "the newest one is of another log than this");
}

#[test]
fn p07_what_never_got_to_the_disk_is_not_believed_whatever_the_checkpoints_beside_the_log_are() {
    for of_more in [false, true] {
        unwritten_is_not_believed(of_more);
    }
}

/// With a checkpoint of what is on disk beside the log; and with one of more than the log ever had, as after it was set back.
fn unwritten_is_not_believed(of_more: bool) {
    let disk = Disk::default();
    let (log, acknowledged) = log_with_end_at(&disk, 100);
    drop(log);
    speak_of(&disk, acknowledged.last().unwrap());
    if of_more {
        checkpoint(&disk, 1000);
    }
    let opening = open_calls(&disk);
    let mut log = open(disk.process(Some((opening + 6, Fault::FailsAndLoses(libc::EIO)))).0, SMALL).unwrap();
    assert!(matches!(append(&mut log, &[10, 20], Purpose::Closing), Err(LogError::Io { doing: "sync", .. })));
    assert_eq!(check_chain(&disk.segments()).unwrap().len(), acknowledged.len() + 3, "memory shows both still");
    let mut log = open_well(&disk);
    assert_eq!(check_chain(&disk.segments()).unwrap().len(), acknowledged.len() + 1);
    let next = append(&mut log, &[30], Purpose::GoingOn).unwrap();
    assert_kept(&disk, &[acknowledged, next].concat());
}

fn random_fault(random: &mut Random) -> Option<(u64, Fault)> {
    let errno = if random.below(2) == 0 { libc::EIO } else { libc::ENOSPC };
    let fault = match random.below(8) {
        0 | 1 => Fault::Killed,
        2 => Fault::Fails(errno),
        3 => Fault::FailsThoughDone(errno),
        4 => Fault::FailsAndLoses(errno),
        5 => Fault::Short,
        _ => return None,
    };
    Some((1 + random.below(90), fault))
}

#[test]
fn p07_no_acknowledged_entry_is_lost_and_no_crash_is_taken_for_tampering() {
    // More of them, or others, on request: `AUDIT_SEEDS=1000..50000`.
    let seeds = std::env::var("AUDIT_SEEDS").unwrap_or_else(|_| "0..600".to_owned());
    let (from, to) = seeds.split_once("..").expect("AUDIT_SEEDS is of the form 0..1000");
    let seeds: std::ops::Range<u64> = from.parse().unwrap()..to.parse().unwrap();
    let (mut cuts, mut faults) = (0, 0);
    for seed in seeds.clone() {
        let (c, f) = history(seed);
        cuts += c;
        faults += f;
    }
    let enough = u64::from(cuts) > seeds.clone().count() as u64 * 3 && u64::from(faults) > seeds.count() as u64;
    assert!(enough, "{cuts} power cuts and {faults} failed calls are too few to mean anything");
}

#[test]
fn an_error_at_any_call_is_final_and_nothing_is_tried_again() {
    let script: [&[usize]; 5] = [&[10], &[1400, 1400], &[1400, 1400, 1400], &[1400, 1400, 1400], &[1400]];
    let clean = Disk::default();
    let (process, calls) = clean.process(None);
    let mut log = open(process, SMALL).unwrap();
    for lengths in script {
        append(&mut log, lengths, Purpose::GoingOn).unwrap();
    }
    assert!(clean.segments().len() > 1, "the script rotates");
    let all_calls = calls.get();
    for at in 1..=all_calls {
        for fault in [
            Fault::Fails(libc::EIO),
            Fault::Fails(libc::ENOSPC),
            Fault::FailsThoughDone(libc::EIO),
            Fault::FailsThoughDone(libc::ENOSPC),
            Fault::FailsAndLoses(libc::EIO),
            Fault::Short,
        ] {
            fail_at(at, fault, &script);
        }
    }
}

fn fail_at(at: u64, fault: Fault, script: &[&[usize]]) {
    let disk = Disk::default();
    let (process, calls) = disk.process(Some((at, fault)));
    let mut acknowledged = Vec::new();
    let context = format!("{fault:?} at call {at}");
    if let Ok(mut log) = open(process, SMALL) {
        for lengths in script {
            match append(&mut log, lengths, Purpose::GoingOn) {
                Ok(lines) => acknowledged.extend(lines),
                Err(LogError::NoRoom { .. }) => {
                    // Nothing was written; what closes the run still is.
                    acknowledged.extend(append(&mut log, &[10], Purpose::Closing).expect(&context));
                }
                Err(error) => {
                    assert_ne!(fault, Fault::Short, "{context}: {error}");
                    assert_final(&mut log, &error, &calls, &context);
                    break;
                }
            }
        }
    }
    disk.power_cut(512, 0, || Fate::Old);
    let mut log = open(disk.process(None).0, SMALL).unwrap_or_else(|error| panic!("{context}: {error}"));
    acknowledged.extend(append(&mut log, &[1], Purpose::GoingOn).expect(&context));
    assert_kept(&disk, &acknowledged);
}

/// Every later append gives the first error and touches nothing.
fn assert_final(log: &mut Writer<Process>, first: &LogError, calls: &Rc<Cell<u64>>, context: &str) {
    let before = calls.get();
    for purpose in [Purpose::GoingOn, Purpose::Closing] {
        let later = append(log, &[1], purpose).expect_err(context);
        assert_eq!(later.to_string(), first.to_string(), "{context}");
    }
    assert_eq!(calls.get(), before, "{context}");
}

#[test]
fn a_full_disk_refuses_what_goes_on_and_takes_what_closes() {
    let disk = Disk::default();
    drop(open_well(&disk));
    // The disk is full from here on: making a file fails, writing into room that is there does not.
    let mut acknowledged = Vec::new();
    let mut log = open_well(&disk);
    while room(&disk) > SMALL.reserve + 1000 {
        acknowledged.extend(append(&mut log, &[200], Purpose::GoingOn).unwrap());
    }
    drop(log);
    let creating = open_calls(&disk) + 6;
    let full = Some((creating, Fault::Fails(libc::ENOSPC)));
    let mut log = open(disk.process(full).0, SMALL).unwrap();
    let error = append(&mut log, &[1000], Purpose::GoingOn).unwrap_err();
    assert!(matches!(error, LogError::NoRoom { .. }), "{error}");
    assert_eq!(disk.segments().len(), 1);
    acknowledged.extend(append(&mut log, &[1000, 500], Purpose::Closing).unwrap());
    assert_eq!(disk.segments().len(), 1);
    assert!(room(&disk) < SMALL.reserve);
    assert_kept(&disk, &acknowledged);
}

/// How many bytes of room the last segment has.
fn room(disk: &Disk) -> u64 {
    let last = disk.segments().pop().unwrap();
    last.iter().rev().take_while(|b| **b == b'\n').count() as u64 - 1
}

#[test]
fn a_repair_that_is_interrupted_anywhere_is_still_recorded_once_it_is_done() {
    let disk = Disk::default();
    let (mut log, acknowledged) = log_with_end_at(&disk, 0);
    // The first entry of three was lost; the two after it are whole.
    append(&mut log, &[600, 10, 10], Purpose::GoingOn).unwrap();
    drop(log);
    let lines = check_chain(&disk.segments()).unwrap();
    let end = lines[..1 + acknowledged.len()].iter().map(|line| line.len() + 1).sum::<usize>();
    disk.tamper("0000000000000001.jsonl", |bytes| bytes[end..end + 512].fill(b'\n'));
    let all_calls = open_calls(&disk);
    for at in 1..=all_calls {
        for seed in 0..12 {
            let crashed = disk.copy();
            let _ = open(crashed.process(Some((at, Fault::Killed))).0, SMALL);
            let mut random = Random(seed);
            let names_kept = usize::try_from(random.below(9)).unwrap();
            crashed.power_cut(512, names_kept, || [Fate::Old, Fate::New][usize::from(random.below(2) == 0)]);
            drop(open_well(&crashed));
            let lines = assert_kept(&crashed, &acknowledged);
            assert!(lines.iter().any(|line| line.contains("log_repaired")), "killed at call {at}");
            let files = crashed.files();
            assert!(files.keys().any(|name| name.starts_with("torn-")), "killed at call {at}");
            assert!(!files.keys().any(|name| name.ends_with(".unrecorded")), "killed at call {at}");
            let report = verify_copy(&files);
            assert!(report.findings.iter().all(|finding| finding.severity == Severity::Note), "{report}");
        }
    }
}

#[test]
fn what_looks_torn_in_a_finished_segment_is_damage() {
    let disk = Disk::default();
    let mut behind = open_well(&disk);
    let mut ahead = open_well(&disk);
    while disk.segments().len() == 1 {
        append(&mut ahead, &[1000], Purpose::GoingOn).unwrap();
    }
    let end = disk.segments()[0].len() - usize::try_from(SMALL.reserve).unwrap();
    let torn = disk.segments()[0][..end].iter().rposition(|b| *b != b'\n').unwrap();
    disk.tamper("0000000000000001.jsonl", |bytes| bytes[torn - 100..=torn].fill(b'\n'));
    let before = disk.segments();
    let error = append(&mut behind, &[1], Purpose::GoingOn).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
    assert_eq!(disk.segments(), before);
}

#[test]
fn a_log_that_was_removed_does_not_begin_anew() {
    let (process, _) = Disk::default().process(None);
    let author = Author::new(who(), "01900000-0000-7000-8000-000000000000".parse().unwrap()).unwrap();
    let past = Past::Known { evidence: Path::new("/model/runs").into() };
    let error = Writer::open(process, "/model/audit".into(), SMALL, author, &past).unwrap_err();
    assert!(error.to_string().contains("/model/runs says that there was a log"), "{error}");
}
