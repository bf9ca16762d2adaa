//! From entries to what is told and drawn of them.

use std::sync::Arc;

use super::{Account, Fate, SpanKind};
use crate::history::approval::{Approval, CountsUnder};
use crate::history::deviation::{Deviation, Override};
use crate::history::entry::{Entry, Who};
use crate::history::event::{AnsweredBy, Cause, DecidedBy, Ending, Event, Question, Sight, Verdict, Way};
use crate::history::glass::{Glass, GlassUnder, REVIEW};
use crate::id::{Digest, RunId, StepId};
use crate::report::timeline::{Drawn, picture};
use crate::report::verdict::Verdict as Outcome;

/// Entries, each so many seconds after the first.
struct Tape {
    account: Account,
    seq: u64,
}

impl Tape {
    fn new(steps: usize) -> Self {
        let run: RunId = "01a20267-11a7-7407-8bf5-3c025b2788d0".parse().unwrap();
        let mut tape = Self { account: Account::new(run, Err("it is made up".to_owned())), seq: 0 };
        let text = || "text".to_owned();
        tape.take(
            0,
            Event::RunOpened {
                runbook: text(),
                title: None,
                labels: [].into(),
                source: text(),
                plan: Digest::of(b"plan"),
                steps,
                locks: Vec::new(),
                policies: Vec::new(),
                containment: text(),
                watching: text(),
                program: text(),
            },
        );
        tape
    }

    fn take(&mut self, seconds: u64, event: Event) {
        self.seq += 1;
        let who = Arc::new(Who { user: Some("amy".to_owned()), host: "h".to_owned(), ..Who::default() });
        let boot = "0591e459-65bb-47f6-9a52-c80108a666ba".parse().unwrap();
        let time = format!("2026-11-22T{:02}:{:02}:{:02}.000000Z", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let time = time.parse().unwrap();
        let (run, prev) = (Some(self.account.run.clone()), Digest::of(b""));
        let mono = seconds * 1_000_000_000;
        let entry = Entry { seq: self.seq, time, mono, boot, run, who, event, prev };
        self.account.take(entry, Digest::of(b"line"));
    }

    fn begin(&mut self, seconds: u64, step: &str, attempt: u32) {
        let requires = vec![sight(Verdict::Holds)];
        let (way, action) = (Way::Forward, "it".to_owned());
        self.take(
            seconds,
            Event::StepIntended { step: id(step), way, attempt, action, program: None, requires, waived: Vec::new() },
        );
    }

    fn end(&mut self, seconds: u64, step: &str, attempt: u32, ending: Ending, micros: u64) {
        let (way, leftovers) = (Way::Forward, Vec::new());
        self.take(seconds, Event::StepEnded { step: id(step), way, attempt, ending, micros, output: None, leftovers });
    }

    fn done(&mut self, seconds: u64, step: &str, attempt: u32) {
        let ensures = vec![sight(Verdict::Holds)];
        self.take(
            seconds,
            Event::StepDone { step: id(step), way: Way::Forward, attempt, ensures, replaced: [].into() },
        );
    }

    fn resume(&mut self, seconds: u64) {
        let text = || "text".to_owned();
        let (containment, watching, program) = (text(), text(), text());
        let (taken_over, ended, policies) = (None, Vec::new(), Vec::new());
        self.take(seconds, Event::RunResumed { containment, watching, program, taken_over, ended, policies });
    }

    #[track_caller]
    fn finish(mut self) -> Account {
        self.account.finish();
        assert_eq!(self.account.illegal, None);
        self.account
    }
}

fn id(step: &str) -> StepId {
    step.parse().unwrap()
}

fn sight(verdict: Verdict) -> Sight {
    Sight { fact: "gate shut".parse().unwrap(), verdict, evidence: "seen".to_owned() }
}

const OK: Ending = Ending::Exited { code: 0 };
const SECOND: u64 = 1_000_000;

/// Ten seconds of work, twenty more until a break, a night, and the end.
fn broken_and_taken_up() -> Account {
    let mut tape = Tape::new(2);
    tape.begin(0, "one", 1);
    tape.end(10, "one", 1, OK, 10 * SECOND);
    tape.done(15, "one", 1);
    tape.begin(20, "two", 1);
    let (told_by, step) = ("the watch".to_owned(), Some(id("two")));
    let sight = sight(Verdict::Broken);
    tape.take(40, Event::HoldBroken { sight, step, told_by, look_micros: 1, freeze_micros: None, blind_millis: None });
    tape.end(40, "two", 1, Ending::Stopped, 20 * SECOND);
    let (cause, reason) = (Cause::HoldBroken, "it broke".to_owned());
    tape.take(40, Event::RunHalted { cause, reason, step: Some(id("two")), seen: Vec::new() });
    tape.resume(36_040);
    tape.take(36_040, Event::StepRetried { step: id("two"), by: DecidedBy::Person, pause_millis: 0 });
    tape.begin(36_040, "two", 2);
    tape.end(36_060, "two", 2, OK, 20 * SECOND);
    tape.done(36_060, "two", 2);
    let (done, already, not_applicable, skipped, accepted, deviations, micros) = (2, 0, 0, 0, 0, 0, 1);
    tape.take(36_060, Event::RunCompleted { done, already, not_applicable, skipped, accepted, deviations, micros });
    tape.finish()
}

#[test]
fn each_bar_and_each_break_stands_where_its_entries_say() {
    let account = broken_and_taken_up();
    let picture = picture(&account, 1000.0, 80.0);
    let [one, two] = picture.lanes.as_slice() else { panic!("{:?}", picture.lanes) };
    let width = |lane: &super::super::timeline::Lane, kind: SpanKind| -> f64 {
        lane.bars.iter().filter(|bar| bar.kind == kind).map(|bar| bar.right - bar.left).sum()
    };
    // Ten seconds of work, five of waiting, twenty that did not end well, and twenty more after the night.
    let ten = width(one, SpanKind::Work);
    assert!((width(one, SpanKind::Facts) - ten / 2.0).abs() < 0.01, "{one:?}");
    assert!((width(two, SpanKind::Bad) - ten * 2.0).abs() < 0.01, "{two:?}");
    assert!((width(two, SpanKind::Work) - ten * 2.0).abs() < 0.01, "{two:?}");
    let bad = two.bars.iter().find(|bar| bar.kind == SpanKind::Bad).unwrap();
    assert!((picture.breaks[0] - bad.right).abs() < 1.0, "{:?} {bad:?}", picture.breaks);
    let folds: Vec<u64> = picture
        .scale
        .pieces()
        .iter()
        .filter(|piece| piece.drawn == Drawn::Folded)
        .map(|piece| piece.until - piece.from)
        .collect();
    assert_eq!(folds, [36_000 * SECOND]);
    // It was held while a step required it and until it broke, and not over night.
    let [hold] = picture.holds.as_slice() else { panic!("{:?}", picture.holds) };
    assert_eq!((hold.bars.len(), hold.breaks.len()), (3, 1), "{hold:?}");
    assert!((hold.bars[1].right - bad.right).abs() < 0.01);
}

#[test]
fn the_time_of_a_run_is_told_apart_and_adds_up() {
    let account = broken_and_taken_up();
    let times = account.times();
    assert_eq!((times.all, times.working), (36_060 * SECOND, 50 * SECOND));
    assert_eq!((times.facts, times.people, times.still), (5 * SECOND, 0, 36_000 * SECOND));
    let verdict = Outcome::of(&account);
    assert_eq!((verdict.word, verdict.headline.as_str()), ("completed", "Completed as written, after 1 halt"));
    let all = verdict.sentences.join("\n");
    insta::assert_snapshot!(all, @r"
    amy ran the runbook `text`, of 2 steps, on the machine h.
    It began at 2026-11-22 00:00:00 UTC and ended 2026-11-22 10:01:00 UTC, 10h1m later.
    It stood still for 10h in all, and was taken up again once, by amy.
    A fact that was held broke: `gate shut`.
    Steps: 2 done.
    ");
}

#[test]
fn waiting_for_a_person_is_from_the_last_thing_that_happened_to_the_answer() {
    let mut tape = Tape::new(1);
    let (ask, answer, by) = ("Which?".to_owned(), "this".to_owned(), AnsweredBy::Terminal);
    tape.take(
        30,
        Event::Answered { step: id("one"), question: Question::Confirm, ask: ask.clone(), answer: answer.clone(), by },
    );
    tape.begin(31, "one", 1);
    tape.take(91, Event::Answered { step: id("one"), question: Question::Manual, ask, answer, by });
    tape.end(91, "one", 1, Ending::Attested, 0);
    tape.done(91, "one", 1);
    let account = tape.finish();
    assert_eq!(account.times().people, 90 * SECOND);
    assert_eq!(account.steps[0].waited_for_people(), 90 * SECOND);
    assert_eq!(Outcome::of(&account).word, "open");
}

#[test]
fn what_was_left_out_is_told_with_on_whose_word_and_what_was_only_permitted_is_not() {
    let mut tape = Tape::new(2);
    for (step, by) in [("one", Vec::new()), ("two", Vec::new())] {
        tape.take(
            1,
            Event::OverrideAccepted(Override {
                deviation: Deviation::Skip { step: id(step) },
                reason: format!("no need of {step}"),
                asked_by: "amy".to_owned(),
                request: None,
                self_approved: Some(AnsweredBy::Terminal),
                approved_by: by,
            }),
        );
    }
    tape.take(2, Event::StepSkipped { step: id("one") });
    tape.begin(3, "two", 1);
    let account = tape.finish();
    assert_eq!(Outcome::of(&account).left_out, ["Step `one` was not done, on amy's own word: no need of one"]);
    assert_eq!((account.departures.len(), account.made().count()), (2, 1));
    assert_eq!((account.steps[0].fate, account.steps[1].fate), (Fate::Skipped, Fate::Open));
}

#[test]
fn a_history_that_cannot_have_happened_is_said_before_anything_else() {
    let mut tape = Tape::new(2);
    tape.done(5, "one", 1);
    tape.account.finish();
    let verdict = Outcome::of(&tape.account);
    assert_eq!(verdict.word, "illegal");
    assert!(verdict.headline.starts_with("THIS RECORD CANNOT BE TRUE"), "{}", verdict.headline);
}

#[test]
fn a_broken_glass_is_a_deviation_and_its_review_comes_after_the_end() {
    let mut tape = Tape::new(0);
    tape.take(
        1,
        Event::GlassBroken(Glass {
            runbook: "text".to_owned(),
            plan: Digest::of(b"plan"),
            reason: "nobody answers".to_owned(),
            by: AnsweredBy::CommandLine,
            without: vec!["all of `core`".to_owned()],
            rules: vec![GlassUnder {
                policy: Digest::of(b"policy"),
                number: 1,
                operator: "amy".parse().unwrap(),
                tell: "core".to_owned(),
                command: vec!["/bin/page".to_owned()],
                reviewers: vec!["bea".parse().unwrap()],
                review_until: "2026-11-27T05:00:00Z".parse().unwrap(),
            }],
        }),
    );
    let (done, already, not_applicable, skipped, accepted, deviations, micros) = (0, 0, 0, 0, 0, 1, 1);
    tape.take(60, Event::RunCompleted { done, already, not_applicable, skipped, accepted, deviations, micros });
    let verdict = Outcome::of(&tape.account);
    assert!(
        verdict.sentences.join(" ").contains("STILL TO BE REVIEWED by one of bea until 2026-11-27T05:00:00Z"),
        "{verdict:?}"
    );
    let under = CountsUnder {
        policy: Digest::of(b"policy"),
        number: 1,
        until: "2026-11-27T05:00:00Z".parse().unwrap(),
        signers: Digest::of(b"signers"),
        revoked: None,
    };
    tape.take(
        7200,
        Event::ApprovalAccepted(Approval {
            document: Digest::of(b"review"),
            namespace: REVIEW.to_owned(),
            person: "bea".parse().unwrap(),
            key: "SHA256:x".to_owned(),
            algorithm: "ssh-ed25519".to_owned(),
            presence: None,
            certificate: None,
            under: vec![under],
            signature: "armour".to_owned(),
        }),
    );
    let account = tape.finish();
    let verdict = Outcome::of(&account);
    assert_eq!(verdict.headline, "Completed with 1 deviation");
    assert_eq!(
        verdict.left_out,
        [
            "THE GLASS WAS BROKEN: it went on without the approvals, on amy's own word: nobody answers (without: all of `core`)"
        ]
    );
    assert!(!verdict.sentences.join(" ").contains("REVIEWED"));
    assert_eq!((account.times().all, account.sittings.len()), (60 * SECOND, 1));
    assert_eq!(account.last.as_ref().map(|(stamp, _)| stamp.at), Some(7200 * SECOND));
}
