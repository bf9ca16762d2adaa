//! What must never pass: changed, removed, inserted, reordered, replayed. The verifier names it, the reader stops at
//! it, and the writer refuses to go on behind it.

use std::fs;

use super::common::{append, event, open, run_id, scratch, segments, sha256, who};
use super::model::Random;
use crate::audit::{Draft, Home, Kind, Log, LogError, Objection, ReadError, Report, Severity, read, verify};
use crate::history::entry::Who;
use crate::history::event::Event;

const FIRST: &str = "0000000000000001.jsonl";

/// The lines of an honest log: `log_created`, then entries 2 to 9 of two runs, some written together.
fn honest() -> Vec<String> {
    honest_by(who())
}

fn honest_by(who: Who) -> Vec<String> {
    let scratch = scratch();
    let mut log = Log::open(&scratch.home, who).unwrap();
    for batch in [&["a"][..], &["b", "c"], &["d"], &["e", "f", "g"], &["h"]] {
        let run = run_id(batch.len() as u64 % 2);
        let events: Vec<Event> = batch.iter().map(|text| event(text)).collect();
        let drafts: Vec<_> = events.iter().map(|event| Draft { run: Some(&run), event }).collect();
        log.append(&drafts).unwrap();
    }
    read(&scratch.home).unwrap().map(|found| found.unwrap().recorded.line).collect()
}

/// Files of a log in a home of their own.
struct Forged {
    _folder: tempfile::TempDir,
    home: Home,
}

fn forge(files: &[(&str, Vec<u8>)]) -> Forged {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path()).unwrap();
    fs::create_dir(home.audit()).unwrap();
    fs::set_permissions(home.audit(), fs::Permissions::from_mode(0o700)).unwrap();
    for (name, bytes) in files {
        let path = home.audit().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    Forged { _folder: folder, home }
}

fn segment(lines: &[String]) -> Vec<u8> {
    let mut bytes: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
    bytes.extend([b'\n'; 2000]);
    bytes
}

fn forge_lines(lines: &[String]) -> Forged {
    forge(&[(FIRST, segment(lines))])
}

fn report(home: &Home) -> Report {
    verify(home, |_, _, _| Ok(())).unwrap()
}

/// The failures as (kind, entry), in the order of the log.
fn failures(lines: &[String]) -> Vec<(Kind, Option<u64>)> {
    let report = report(&forge_lines(lines).home);
    let failures = report.findings.iter().filter(|finding| finding.severity == Severity::Failure);
    failures.map(|finding| (finding.kind, finding.entry)).collect()
}

/// The same lines with every link made anew, as somebody does who can write all of it.
fn rechain(lines: &[String]) -> Vec<String> {
    let mut prev = "0".repeat(64);
    let chained = lines.iter().enumerate().map(|(index, line)| {
        let (head, _) = line.rsplit_once(",\"prev\":").unwrap();
        let (_, rest) = head.split_once(",\"time\":").unwrap();
        let line = format!("{{\"v\":1,\"seq\":{},\"time\":{rest},\"prev\":\"{prev}\"}}", index + 1);
        prev = sha256(line.as_bytes());
        line
    });
    chained.collect()
}

#[test]
fn an_honest_log_has_no_findings_and_a_summary_that_promises_no_more_than_is_true() {
    let lines = honest();
    let report = report(&forge_lines(&lines).home);
    assert!(report.verifies());
    assert_eq!(report.findings, []);
    // Runs are counted by whoever folds them.
    assert_eq!((report.entries, report.runs, report.segments), (9, 0, 1));
    assert_eq!(report.head.clone().unwrap().1.as_str(), sha256(lines[8].as_bytes()));
    let text = report.to_string().replace(report.head.unwrap().1.as_str(), "<digest>");
    let text = text.lines().filter(|line| !line.starts_with("from ")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(text, @"
    9 entries of 0 runs in 1 segment
    head: entry 9, sha256 <digest>
    nothing that was kept elsewhere anchors entries 1 to 9: whoever can write these files and has the log's key could have made them anew or cut them off, and this command would not see it. Keep checkpoints elsewhere (`interlock audit checkpoint`), and give them (--checkpoint)
    the log verifies: every entry follows on the one before it, from the first to the head
    ");
}

#[test]
fn p08_any_change_of_any_byte_but_in_the_last_entry_is_found() {
    let lines = honest();
    let original = segment(&lines);
    // The last line has no other behind it that would show a change, nor would it show one of the newline before it,
    // which makes one unreadable line of the last two: that is a cut tail.
    let last = original.len() - 2000 - lines[8].len() - 2;
    let forged = forge_lines(&lines);
    let path = forged.home.audit().join(FIRST);
    let mut random = Random(8);
    for at in 0..last {
        let mut changed = original.clone();
        changed[at] ^= 1 << random.below(8);
        fs::write(&path, &changed).unwrap();
        assert!(!report(&forged.home).verifies(), "byte {at}");
        if at % 4 > 0 {
            continue;
        }
        let read_whole = read(&forged.home).unwrap().collect::<Result<Vec<_>, _>>();
        assert!(matches!(read_whole, Err(ReadError::Damaged { .. })), "byte {at}");
        let opened = Log::open(&forged.home, who()).map(|_| ());
        assert!(matches!(opened, Err(LogError::Damaged { .. })), "byte {at}: {opened:?}");
        assert_eq!(fs::read(&path).unwrap(), changed, "a log that is refused is not written");
    }
}

#[test]
fn p08_a_removed_entry_is_named() {
    let lines = honest();
    for index in 0..8 {
        let mut cut = lines.clone();
        cut.remove(index);
        let expected = (Kind::Missing, Some(index as u64 + 1));
        assert!(failures(&cut).contains(&expected), "{:?}", failures(&cut));
    }
    let mut cut = lines.clone();
    cut.drain(2..5);
    let report = report(&forge_lines(&cut).home);
    assert!(report.findings[0].text.starts_with("entries 3 to 5 are missing before this line"), "{report}");
}

#[test]
fn p08_a_reordered_entry_is_named() {
    let lines = honest();
    for index in 1..7 {
        let mut swapped = lines.clone();
        swapped.swap(index, index + 1);
        assert_eq!(failures(&swapped), [(Kind::OutOfOrder, Some(index as u64 + 1))]);
    }
    let mut reversed = lines.clone();
    reversed[2..6].reverse();
    assert_eq!(failures(&reversed).iter().filter(|(kind, _)| *kind == Kind::OutOfOrder).count(), 3);
}

#[test]
fn p08_a_replayed_entry_is_named() {
    let lines = honest();
    for (index, at) in [(3, 4), (3, 8), (3, 9), (0, 5), (8, 9)] {
        let mut replayed = lines.clone();
        replayed.insert(at, lines[index].clone());
        assert_eq!(failures(&replayed), [(Kind::Repeated, Some(index as u64 + 1))], "{index} at {at}");
    }
}

#[test]
fn p08_an_inserted_entry_is_named_even_if_its_link_is_right() {
    let lines = honest();
    let forged = format!(
        "{},\"prev\":\"{}\"}}",
        lines[4].replace("\"seq\":5", "\"seq\":4").rsplit_once(",\"prev\":").unwrap().0,
        sha256(lines[2].as_bytes())
    );
    let mut inserted = lines.clone();
    inserted.insert(3, forged);
    assert_eq!(failures(&inserted), [(Kind::Repeated, Some(4))]);
}

#[test]
fn p08_a_changed_entry_breaks_the_link_behind_it() {
    let lines = honest();
    let mut changed = lines.clone();
    changed[3] = changed[3].replace("\"signal\":\"c\"", "\"signal\":\"C\"");
    let forged = forge_lines(&changed);
    let report = report(&forged.home);
    insta::assert_snapshot!(report.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), @"FAILURE 0000000000000001.jsonl line 5, entry 5, run 01900000-0000-7000-8000-000000000001: entry 4 is not the one that was there when entry 5 was written: it was changed or exchanged, or entries were put in before it. Entry 5 itself is as it was written, as entry 6 shows");
    let error = open(&forged.home).unwrap_err().to_string();
    let error = error.replace(&*forged.home.path().to_string_lossy(), "<home>");
    insta::assert_snapshot!(error.replace(|c: char| c.is_ascii_digit(), "#"), @"the audit log is damaged or was changed: <home>/audit/################.jsonl, line # (byte ####), where entry # belongs: entry # was not written after the entry that stands before it: their link is broken; nothing was written. Run `interlock audit verify`, keep a copy of the folder as it is, and find out who or what did it; until then, only another --home can be used");
}

#[test]
fn p08_entries_of_another_log_are_named() {
    let lines = honest();
    let other = honest_by(Who { host: "db2".to_owned(), ..who() });
    let mut spliced = lines.clone();
    spliced[4..7].clone_from_slice(&other[4..7]);
    let found = failures(&spliced);
    assert!(found.contains(&(Kind::BrokenLink, Some(5))) && found.contains(&(Kind::BrokenLink, Some(8))), "{found:?}");
    let mut appended = lines.clone();
    appended.extend(other);
    assert!(failures(&appended).contains(&(Kind::Repeated, Some(1))));
}

#[test]
fn what_no_chain_can_show_is_said() {
    let lines = honest();
    // Cut at the end, and made anew as a whole: nothing shows, and the summary says so.
    let cut = report(&forge_lines(&lines[..6]).home);
    assert!(cut.verifies());
    assert!(cut.to_string().contains("nothing that was kept elsewhere anchors entries 1 to 6"));
    let mut anew = lines.clone();
    anew.remove(4);
    let anew = report(&forge_lines(&rechain(&anew)).home);
    assert!(anew.verifies(), "{anew}");
    assert!(anew.to_string().contains("nothing that was kept elsewhere anchors entries 1 to 8"));
}

#[test]
fn an_event_that_cannot_have_happened_is_named_once_for_its_run() {
    let lines = honest();
    let forged = forge_lines(&lines);
    let mut seen = 0;
    let report = verify(&forged.home, |run, _, _| {
        let Some(run) = run else { return Ok(()) };
        seen += 1;
        let objection = Objection::Illegal("a step \u{1b}[2Jended that never began".to_owned());
        if *run == run_id(1) { Err(objection) } else { Ok(()) }
    })
    .unwrap();
    let found: Vec<_> =
        report.findings.iter().map(|finding| (finding.kind, finding.entry, finding.run.clone())).collect();
    assert_eq!(found, [(Kind::Impossible, Some(2), Some(run_id(1)))]);
    assert_eq!(report.findings[0].text, "a step \\u{1b}[2Jended that never began");
    assert_eq!(seen, 1 + 2, "the other run is folded to its end");
}

#[test]
fn a_line_that_is_no_entry_is_refused_whatever_is_wrong_with_it() {
    let lines = honest();
    let line = &lines[4];
    let with = |from: &str, to: &str| {
        let changed = line.replacen(from, to, 1);
        assert_ne!(&changed, line, "{from}");
        changed
    };
    let cases = [
        ("a version of the future", with("\"v\":1", "\"v\":2")),
        ("an unknown key", with("\"mono\":", "\"extra\":1,\"mono\":")),
        ("a key twice", with("\"mono\":", "\"mono\":1,\"mono\":")),
        ("a key twice in the data", with("\"data\":{", "\"data\":{\"signal\":\"x\",")),
        ("an unknown event", with("signal_received", "signal_recieved")),
        ("an unknown key in the data", with("\"data\":{", "\"data\":{\"why\":1,")),
        ("a key less", with("\"mono\":", "\"momo\":")),
        ("something behind", format!("{line} ")),
        ("a carriage return behind", format!("{line}\r")),
        ("a second object behind", format!("{line}{{}}")),
        ("something before", format!(" {line}")),
        ("a byte order mark", format!("\u{feff}{line}")),
        ("a time that is none", with("\"time\":\"2", "\"time\":\"x")),
        ("a number that is none", with("\"seq\":5", "\"seq\":5.0")),
        ("a number below zero", with("\"seq\":5", "\"seq\":-5")),
        ("a boot id that is none", with("\"boot\":\"", "\"boot\":\"x")),
        ("a digest that is none", with("\"prev\":\"", "\"prev\":\"x")),
        ("a run that is none", with("\"run\":\"0", "\"run\":\"/")),
        ("a batch of the future", with("\"seq\":5,", "\"seq\":5,\"batch\":5,")),
        ("nested too deep", with("\"data\":{", &format!("\"data\":{{\"x\":{}", "[".repeat(100_000)))),
        ("an array", "[]".to_owned()),
        ("zeros", "\0".repeat(600)),
        ("too long", "x".repeat(10_000_000)),
    ];
    for (what, changed) in cases {
        let mut forged = lines.clone();
        forged[4] = changed;
        let forged = forge_lines(&forged);
        let found = report(&forged.home);
        let first = found.findings.iter().find(|finding| finding.severity == Severity::Failure).expect(what);
        assert_eq!((first.kind, first.line, first.entry), (Kind::Unreadable, Some(5), Some(5)), "{what}: {found}");
        assert!(first.text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) && first.text.len() < 400, "{what}");
        assert!(matches!(open(&forged.home), Err(LogError::Damaged { line: 5, .. })), "{what}");
        assert!(read(&forged.home).unwrap().any(|found| found.is_err()), "{what}");
        assert_eq!(found.failures(), 1, "{what}: {found}");
    }
}

#[test]
fn a_line_of_rubbish_between_entries_is_one_failure() {
    let mut lines = honest();
    lines.insert(4, "rubbish".to_owned());
    assert_eq!(failures(&lines), [(Kind::Unreadable, Some(5))]);
    lines.remove(5);
    lines.insert(4, "more of it".to_owned());
    assert_eq!(failures(&lines), [(Kind::Unreadable, Some(5)), (Kind::Unreadable, Some(6))]);
    lines.remove(6);
    lines.remove(6);
    assert_eq!(
        failures(&lines),
        [(Kind::Unreadable, Some(5)), (Kind::Unreadable, Some(6)), (Kind::Missing, Some(7))],
        "entries 5 and 6 may be what cannot be read; 7 is not there"
    );
}

#[test]
fn an_entry_that_claims_another_write_than_its_own_is_named() {
    let lines = honest();
    for batch in [1, 3, 5, 8] {
        let mut forged = lines.clone();
        forged[8] = forged[8].replace("\"seq\":9,", &format!("\"seq\":9,\"batch\":{batch},"));
        // Entry 8 belongs to the write that began with 6, so 9 cannot have begun with any of these.
        assert_eq!(failures(&forged), [(Kind::Unreadable, Some(9))]);
        assert!(open(&forge_lines(&forged).home).is_err());
    }
}

#[test]
fn a_key_twice_in_a_map_of_an_event_is_refused() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    let run = run_id(1);
    let digest: crate::id::Digest = "0".repeat(64).parse().unwrap();
    let event = Event::RunOpened {
        runbook: "r".to_owned(),
        title: None,
        labels: [("env".to_owned(), "production".to_owned())].into(),
        source: "r.yaml".to_owned(),
        plan: digest,
        steps: 1,
        locks: Vec::new(),
        policies: Vec::new(),
        watching: "nothing".to_owned(),
        containment: "none".to_owned(),
        program: "0".to_owned(),
    };
    log.append(&[Draft { run: Some(&run), event: &event }]).unwrap();
    let mut lines: Vec<String> = read(&scratch.home).unwrap().map(|found| found.unwrap().recorded.line).collect();
    lines[1] = lines[1].replace("{\"env\":", "{\"env\":\"test\",\"\\u0065nv\":");
    assert_eq!(failures(&lines), [(Kind::Unreadable, Some(2))]);
    let text = report(&forge_lines(&lines).home).findings[0].text.clone();
    assert!(text.contains("duplicate key `env`"), "{text}");
}

#[test]
fn an_entry_of_a_newer_program_at_the_end_is_not_taken_for_a_crash() {
    let lines = honest();
    for (from, to) in
        [("\"v\":1", "\"v\":2"), ("signal_received", "something_new"), ("\"mono\":", "\"new\":1,\"mono\":")]
    {
        let mut newer = lines.clone();
        newer[8] = newer[8].replacen(from, to, 1);
        let forged = forge_lines(&newer);
        let error = open(&forged.home).unwrap_err();
        assert!(matches!(error, LogError::Damaged { line: 9, .. }), "{error}");
        assert_eq!(fs::read(forged.home.audit().join(FIRST)).unwrap(), segment(&newer));
        assert!(!report(&forged.home).verifies());
    }
}

#[test]
fn damage_before_the_last_write_is_not_taken_for_a_crash() {
    // Entry 6 begins a write of three (6, 7, 8); entry 9 is a write of its own.
    let lines = honest();
    assert!(lines[7].contains("\"batch\":6"));
    for index in 1..8 {
        for blank in [true, false] {
            let mut bytes = segment(&lines);
            let start: usize = lines[..index].iter().map(|line| line.len() + 1).sum();
            let range = start..start + lines[index].len();
            bytes[range].fill(if blank { b'\n' } else { 0 });
            let forged = forge(&[(FIRST, bytes.clone())]);
            let error = open(&forged.home).unwrap_err();
            assert!(matches!(error, LogError::Damaged { entry, .. } if entry == index as u64 + 1), "{error}");
            assert_eq!(fs::read(forged.home.audit().join(FIRST)).unwrap(), bytes);
            assert!(!report(&forged.home).verifies());
        }
    }
}

#[test]
fn segments_that_are_missing_renamed_shortened_or_empty_are_named() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    let text = "x".repeat(50_000);
    while segments(&scratch.home).len() < 4 {
        append(&mut log, &[&text]).unwrap();
    }
    drop(log);
    let mut names: Vec<String> = fs::read_dir(scratch.home.audit())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".jsonl"))
        .collect();
    names.sort();
    let all: Vec<(&str, Vec<u8>)> =
        names.iter().map(|name| (&**name, fs::read(scratch.home.audit().join(name)).unwrap())).collect();
    let kinds = |files: &[(&str, Vec<u8>)]| {
        let forged = forge(files);
        let found = report(&forged.home);
        let read_to_end = read(&forged.home).map(|mut reader| reader.all(|found| found.is_ok()));
        let kinds: Vec<Kind> = found.findings.iter().map(|finding| finding.kind).collect();
        (kinds, read_to_end.unwrap_or(false), open(&forged.home).is_ok())
    };
    assert_eq!(kinds(&all), (vec![], true, true));
    assert_eq!(kinds(&[all[0].clone(), all[2].clone(), all[3].clone()]), (vec![Kind::Missing], false, true));
    assert_eq!(kinds(&[all[0].clone(), all[1].clone(), all[3].clone()]), (vec![Kind::Missing], false, false));
    assert_eq!(kinds(&all[1..]), (vec![Kind::Missing], false, false));
    assert_eq!(kinds(&all[3..]), (vec![Kind::Missing], false, false));
    let mut renamed = all.clone();
    renamed[1].0 = "0000000000000017.jsonl";
    assert!(kinds(&renamed).0.contains(&Kind::SegmentName));
    assert!(!kinds(&renamed).1);
    let mut short = all.clone();
    short[1].1.truncate(200_000);
    let (found, read, _) = kinds(&short);
    assert!(found.contains(&Kind::CutOff) && found.contains(&Kind::Missing) && !read, "{found:?}");
    let mut empty = all.clone();
    empty[2].1.fill(b'\n');
    assert_eq!(kinds(&empty), (vec![Kind::Missing], false, false));
    // The end of a segment blanked out, and the segment behind it emptied: the name still tells.
    let mut emptied = all[..3].to_vec();
    emptied[2].1.fill(b'\n');
    emptied[1].1[150_000..].fill(b'\n');
    let (found, read, opened) = kinds(&emptied);
    assert!(found.contains(&Kind::Missing) && !read && !opened, "{found:?}");
}

#[test]
fn a_last_line_without_its_newline_is_a_cut_and_no_crash() {
    let lines = honest();
    let mut bytes = segment(&lines);
    bytes.truncate(bytes.len() - 2001);
    for cut in [0, 1, 300] {
        let forged = forge(&[(FIRST, bytes[..bytes.len() - cut].to_vec())]);
        assert!(!report(&forged.home).verifies(), "{cut}");
        assert!(matches!(open(&forged.home), Err(LogError::Damaged { .. })), "{cut}");
    }
}

#[test]
fn strange_files_beside_the_segments_are_noted_and_what_a_repair_kept_is_checked() {
    let lines = honest();
    let torn = &lines[8][..100];
    let mut files = vec![(FIRST, segment(&[&lines[..8], &[torn.to_owned()]].concat()))];
    files.push(("x\u{1b}.jsonl", Vec::new()));
    let forged = forge(&files);
    let found = report(&forged.home);
    assert!(found.verifies());
    let kinds: Vec<Kind> = found.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::TornTail, Kind::UnknownFile]);
    assert_eq!(found.findings[1].file, "x\\u{1b}.jsonl");

    drop(open(&forged.home).unwrap());
    let found: Vec<_> = read(&forged.home).unwrap().map(|found| found.unwrap().recorded.entry.event).collect();
    let Event::LogRepaired { segment, offset, length, digest, kept_in } = &found[8] else { panic!("{:?}", found[8]) };
    let start: usize = lines[..8].iter().map(|line| line.len() + 1).sum();
    assert_eq!((segment.as_str(), *offset, *length), (FIRST, start as u64, 101));
    let kept = forged.home.audit().join(kept_in);
    assert_eq!(fs::read(&kept).unwrap(), format!("{torn}\n").as_bytes());
    assert_eq!(digest.as_str(), sha256(format!("{torn}\n").as_bytes()));
    assert!(report(&forged.home).verifies());

    fs::write(&kept, "something else").unwrap();
    let changed = report(&forged.home);
    assert_eq!(changed.findings[0].kind, Kind::Kept, "{changed}");
    assert!(!changed.verifies());
    fs::remove_file(&kept).unwrap();
    assert!(!report(&forged.home).verifies());
}

#[test]
fn any_rubbish_is_read_within_bounds_and_never_verifies() {
    let mut random = Random(11);
    let noise: Vec<u8> = (0..1_000_000).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
    for bytes in [Vec::new(), vec![0; 2_000_000], noise, b"{".repeat(1_000_000), b"{}\n".repeat(100_000)] {
        let length = bytes.len();
        let forged = forge(&[(FIRST, bytes)]);
        let found = report(&forged.home);
        assert!(!found.verifies(), "{length}: {found}");
        assert!(open(&forged.home).is_err(), "{length}");
    }
}
