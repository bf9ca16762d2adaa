//! Every event there is, once: that it can be written and read back, and that docs/audit-format.md describes it.

use super::common::{open, run_id, scratch};
use crate::audit::line::decode;
use crate::audit::{Draft, read, verify};
use crate::history::approval::{Approval, CertifiedBy, CountsUnder, PolicyInForce};
use crate::history::deviation::{Deviation, Override};
use crate::history::event::{
    AnsweredBy, Cause, ClaimedBy, DecidedBy, Ending, Event, Heed, Interpreter, Output, Program, Question, Redacted,
    Sight, StopDecision, Verdict, WatchedFact, Way,
};
use crate::history::glass::{Glass, GlassUnder};
use crate::id::{Digest, Fingerprint, StepId};

fn digest() -> Digest {
    Digest::of(b"something")
}

fn step() -> StepId {
    "stop-monit".parse().unwrap()
}

fn given() -> Override {
    Override {
        deviation: Deviation::Skip { step: "change".parse().unwrap() },
        reason: "because of \u{1b}".to_owned(),
        asked_by: "amy".to_owned(),
        request: Some(digest()),
        self_approved: Some(AnsweredBy::Terminal),
        approved_by: vec!["bea@example.org".to_owned()],
    }
}

fn sight() -> Sight {
    Sight { fact: "monit stopped".parse().unwrap(), verdict: Verdict::Holds, evidence: "no \u{1b} process".to_owned() }
}

/// One of each, with every field set.
fn all() -> Vec<Event> {
    let text = || "text".to_owned();
    let (attempt, micros, by, way) = (1, 12, AnsweredBy::Terminal, Way::Back);
    let (question, ask, answer) = (Question::Confirm, text(), text());
    let interpreter = Some(Interpreter { path: text(), digest: digest() });
    let program = Some(Program { path: text(), digest: digest(), interpreter });
    let redacted = Some(Redacted { count: 3, digest: digest(), file: text() });
    let (left_out, trouble) = (2, Some(text()));
    let output = Some(Output { bytes: 1, digest: digest(), transcript: text(), left_out, trouble, redacted });
    let watched = WatchedFact { fact: sight().fact, probe: text(), commands: vec![vec![text()]] };
    let policy = PolicyInForce {
        file: text(),
        digest: digest(),
        number: 1,
        signers: digest(),
        revoked: Some(digest()),
        operator: Some("amy@example.org".parse().unwrap()),
    };
    let policies = vec![policy];
    let approval = Approval {
        document: digest(),
        namespace: text(),
        person: "amy@example.org".parse().unwrap(),
        key: text(),
        algorithm: text(),
        presence: Some(text()),
        certificate: Some(CertifiedBy { id: text(), serial: 1, authority: text() }),
        under: vec![CountsUnder {
            policy: digest(),
            number: 1,
            signers: digest(),
            revoked: Some(digest()),
            until: "2026-11-22T05:00:00Z".parse().unwrap(),
        }],
        signature: text(),
    };
    let claimed_by = ClaimedBy {
        run: "01a20171-54e8-7180-9231-1d65dacb99ea".parse().unwrap(),
        home: text(),
        runbook: text(),
        user: text(),
    };
    let mut all = vec![
        Event::LogCreated { log: text(), program: text(), key: Some(text()) },
        Event::LogRepaired { segment: text(), offset: 1, length: 2, digest: digest(), kept_in: text() },
        Event::EntriesArchived {
            entries: 9,
            root: Digest::of(b"root"),
            base: Digest::of(b"base"),
            first: 1,
            folder: text(),
            segments: 1,
            bytes: 524_288,
            reason: Some(text()),
        },
        Event::CheckpointSinkFailed { sink: text(), entries: 1, why: text(), required: true },
        Event::LogKeyReplaced { old: text(), new: text(), signature: Some(text()), reason: text() },
        Event::LockRemoved {
            lock: text(),
            claimed_by: Some(claimed_by.clone()),
            gone: text(),
            reason: text(),
            request: Some(digest()),
            self_approved: Some(AnsweredBy::Terminal),
            approved_by: vec![text()],
            policies: policies.clone(),
        },
        Event::LockKept {
            lock: text(),
            claimed_by: Some(claimed_by),
            reason: text(),
            cause: Cause::Locked,
            why: text(),
            policies: policies.clone(),
        },
        Event::NotifyFailed {
            of_run: "019a0f6c-1d2e-7abc-8def-0123456789ab".parse().unwrap(),
            of_entry: 7,
            of_event: text(),
            command: vec![text()],
            why: text(),
            required: true,
        },
        Event::RunRefused {
            runbook: text(),
            plan: digest(),
            cause: Cause::Locked,
            reason: text(),
            seen: vec![sight()],
            policies: policies.clone(),
        },
        Event::ApprovalAccepted(approval),
        Event::GlassBroken(Glass {
            runbook: text(),
            plan: digest(),
            reason: text(),
            by,
            without: vec![text()],
            rules: vec![GlassUnder {
                policy: digest(),
                number: 1,
                operator: "amy@example.org".parse().unwrap(),
                tell: text(),
                command: vec![text()],
                reviewers: vec!["bea@example.org".parse().unwrap()],
                review_until: "2026-11-27T05:00:00Z".parse().unwrap(),
            }],
        }),
        Event::GlassTold { tell: text(), command: vec![text()], trouble: Some(text()) },
        Event::TakeUpRefused { command: text(), reason: text(), policies: policies.clone() },
        Event::RunOpened {
            runbook: text(),
            title: Some(text()),
            labels: [(text(), text())].into(),
            source: text(),
            plan: digest(),
            steps: 1,
            locks: vec![text()],
            policies: policies.clone(),
            containment: text(),
            watching: text(),
            program: text(),
        },
        Event::WatchesArmed { facts: vec![watched] },
        Event::Answered { step: step(), question, ask: ask.clone(), answer: answer.clone(), by },
        Event::Declined { step: step(), question, ask, answer, by: AnsweredBy::CommandLine },
        Event::StepIntended {
            step: step(),
            way,
            attempt,
            action: text(),
            program,
            requires: vec![sight()],
            waived: vec![sight().fact],
        },
        Event::StepDone {
            step: step(),
            way,
            attempt,
            ensures: vec![sight()],
            replaced: [(text(), Fingerprint::Bytes(digest()))].into(),
        },
        Event::StepAlready { step: step(), seen: vec![sight()] },
        Event::StepFailed { step: step(), way, attempt, reason: text(), ensures: vec![sight()] },
        Event::HoldBroken {
            sight: sight(),
            step: Some(step()),
            told_by: text(),
            look_micros: 1,
            freeze_micros: Some(2),
            blind_millis: Some(3),
        },
        Event::SignalReceived { signal: text(), step: Some(step()), heed: Heed::Asks },
        Event::StopDecided { step: step(), ask: text(), answer: text(), decision: StopDecision::Finish, by },
        Event::RunHalted { cause: Cause::StepFailed, reason: text(), step: Some(step()), seen: vec![sight()] },
        Event::RunCompleted { done: 1, already: 2, not_applicable: 3, skipped: 4, accepted: 5, deviations: 6, micros },
        Event::SecretAsked { name: text(), command: vec![text()] },
        Event::StepNotApplicable { step: step(), expression: text(), values: [(text(), text())].into() },
        Event::StepRetried { step: step(), by: DecidedBy::Rule, pause_millis: 1 },
        Event::RerunBegan { step: step(), by, seen: vec![sight()] },
        Event::RerunNotNeeded { step: step(), seen: vec![sight()] },
        Event::OverrideAccepted(given()),
        Event::OverrideRefused {
            deviation: Deviation::Waive { step: step(), fact: sight().fact },
            reason: text(),
            asked_by: text(),
            request: Some(digest()),
            why: text(),
        },
        Event::StepSkipped { step: step() },
        Event::StepAccepted { step: step(), attempt },
        Event::WaivedFactSeen { step: step(), sight: sight() },
        Event::UndoBegan { by: DecidedBy::Person, reason: text(), steps: 1, kept: 2 },
        Event::RunResumed {
            containment: text(),
            watching: text(),
            program: text(),
            taken_over: Some(text()),
            ended: vec![text()],
            policies,
        },
        Event::RunUndone { undone: 1, kept: 2 },
        Event::RunAbandoned { reason: text(), in_doubt: Some(step()) },
    ];
    let endings = [
        Ending::Exited { code: 0 },
        Ending::Signalled { signal: 9 },
        Ending::TimedOut,
        Ending::Stopped,
        Ending::Interrupted,
        Ending::NotStarted { reason: text() },
        Ending::Attested,
        Ending::NothingToDo,
    ];
    all.extend(endings.map(|ending| Event::StepEnded {
        step: step(),
        way,
        attempt,
        ending,
        micros,
        output: output.clone(),
        leftovers: vec![text()],
    }));
    all
}

/// How many kinds of events there are. A new one does not compile here until it is counted, and then [`all`] must have
/// it.
fn kind(event: &Event) -> usize {
    match event {
        Event::LogCreated { .. } => 0,
        Event::LogRepaired { .. } => 1,
        Event::LockRemoved { .. } => 33,
        Event::RunRefused { .. } => 2,
        Event::RunOpened { .. } => 3,
        Event::WatchesArmed { .. } => 4,
        Event::Answered { .. } => 5,
        Event::Declined { .. } => 6,
        Event::StepIntended { .. } => 7,
        Event::StepEnded { .. } => 8,
        Event::StepDone { .. } => 9,
        Event::StepAlready { .. } => 10,
        Event::StepFailed { .. } => 11,
        Event::HoldBroken { .. } => 12,
        Event::SignalReceived { .. } => 13,
        Event::RunHalted { .. } => 14,
        Event::RunCompleted { .. } => 15,
        Event::SecretAsked { .. } => 16,
        Event::StepNotApplicable { .. } => 17,
        Event::StepRetried { .. } => 18,
        Event::UndoBegan { .. } => 19,
        Event::RunResumed { .. } => 20,
        Event::RunUndone { .. } => 21,
        Event::RunAbandoned { .. } => 22,
        Event::RerunBegan { .. } => 23,
        Event::RerunNotNeeded { .. } => 24,
        Event::OverrideAccepted(_) => 25,
        Event::OverrideRefused { .. } => 26,
        Event::StepSkipped { .. } => 27,
        Event::StepAccepted { .. } => 28,
        Event::WaivedFactSeen { .. } => 29,
        Event::StopDecided { .. } => 30,
        Event::ApprovalAccepted(_) => 31,
        Event::TakeUpRefused { .. } => 32,
        Event::LockKept { .. } => 34,
        Event::GlassBroken(_) => 35,
        Event::GlassTold { .. } => 36,
        Event::NotifyFailed { .. } => 37,
        Event::LogKeyReplaced { .. } => 38,
        Event::CheckpointSinkFailed { .. } => 39,
        Event::EntriesArchived { .. } => 40,
    }
}

const KINDS: usize = 41;

#[test]
fn there_is_a_sample_of_each_event() {
    let mut kinds: Vec<usize> = all().iter().map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, (0..KINDS).collect::<Vec<_>>());
}

#[test]
fn every_event_is_read_back_as_it_was_written_and_has_an_object_for_data() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    let run = run_id(1);
    for event in all() {
        let of_the_log = event.is_of_the_log();
        let draft = Draft { run: (!of_the_log).then_some(&run), event: &event };
        let line = log.append(&[draft]).unwrap().remove(0).line;
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(value["data"].is_object(), "{line}");
    }
    let found: Vec<_> = read(&scratch.home).unwrap().skip(1).map(|found| found.unwrap().recorded.entry.event).collect();
    assert_eq!(found, all());
    let report = verify(&scratch.home, |_, _, _| Ok(())).unwrap();
    assert_eq!(report.failures(), 4, "a second log_created, a repair that kept nothing, keys that are none: {report}");
}

#[test]
fn a_key_that_stands_twice_is_refused_wherever_it_stands() {
    let scratch = scratch();
    let mut log = open(&scratch.home).unwrap();
    let run = run_id(1);
    let mut tried = 0;
    for event in all() {
        let draft = Draft { run: (!event.is_of_the_log()).then_some(&run), event: &event };
        let line = log.append(&[draft]).unwrap().remove(0).line;
        assert!(decode(line.as_bytes()).is_ok());
        for (colon, _) in line.match_indices("\":") {
            let key = line[..colon].rfind('"').unwrap();
            let mut values = serde_json::Deserializer::from_str(&line[colon + 2..]).into_iter::<serde_json::Value>();
            values.next().unwrap().unwrap();
            let value = &line[colon + 2..colon + 2 + values.byte_offset()];
            // The same key to who reads JSON, and another to who compares bytes.
            let escaped = format!("\\u{:04x}{}", line.as_bytes()[key + 1], &line[key + 2..colon]);
            let twice = format!("{}\"{escaped}\":{value},{}", &line[..key], &line[key..]);
            assert!(decode(twice.as_bytes()).is_err(), "{twice}");
            tried += 1;
        }
    }
    assert!(tried > 40 * 8, "{tried}");
}

#[test]
fn the_format_document_names_every_event_and_field() {
    let document = include_str!("../../../docs/audit-format.md");
    for event in all() {
        let value = serde_json::to_value(&event).unwrap();
        let name = value["event"].as_str().unwrap();
        assert!(document.contains(&format!("`{name}`")), "{name}");
        let mut keys = Vec::new();
        collect_keys(&value["data"], &mut keys);
        // Labels are the author's own.
        for key in keys.iter().filter(|key| *key != "text") {
            assert!(
                document.contains(&format!("`{key}`")) || document.contains(&format!("\"{key}\"")),
                "{name}: {key}"
            );
        }
    }
}

fn collect_keys(value: &serde_json::Value, keys: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, field) in fields {
                keys.push(key.clone());
                collect_keys(field, keys);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        _ => {}
    }
}
