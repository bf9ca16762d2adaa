//! Makes an audit log of many entries, as years of realistic runs leave it: `cargo run --example big-log -- HOME ENTRIES [SEED]`.
//!
//! It writes the documented format (docs/audit-format.md) itself, since the program's own writer waits for the disk after each entry and
//! knows only the present. `interlock audit verify` passes what it makes: the chain, the order of the events of each run, the segments.
//! No run has approvals, since `audit verify` checks each signature, and nobody is here to sign.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use interlock::history::approval::PolicyInForce;
use interlock::history::deviation::{Deviation, Override};
use interlock::history::entry::Who;
use interlock::history::event::{
    AnsweredBy, Cause, DecidedBy, Ending, Event, Output, Program, Sight, Verdict, WatchedFact, Way,
};
use interlock::history::state::State;
use interlock::id::{Digest, RunId, StepId};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The length of a segment and what of it is kept for closing entries, in bytes, as the program has them.
const SEGMENT: usize = interlock::audit::SEGMENT as usize;
const RESERVE: usize = interlock::audit::RESERVE as usize;

/// From one entry to the next, in milliseconds, on average: a million of them are a year.
const PACE: u64 = 31_536;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(home), Some(entries)) = (arguments.first(), arguments.get(1)) else {
        return Err("usage: big-log HOME ENTRIES [SEED]".into());
    };
    let seed = arguments.get(2).map_or(Ok(1), |seed| seed.parse())?;
    let folder = PathBuf::from(home).join("audit");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let mut log = Log::new(&folder)?;
    let runs = make(&mut log, entries.parse()?, seed)?;
    let written = log.close()?;
    println!("{written} entries of {runs} runs in {}", folder.display());
    Ok(())
}

/// Runs, some at the same time, until there are so many entries.
fn make(log: &mut Log, entries: u64, seed: u64) -> Outcome<u64> {
    let mut dice = Dice(seed);
    let created = Event::LogCreated {
        log: "0b35e1a6-7d3c-4f29-8f4e-2a6f2f4b6c01".to_owned(),
        program: "0.1.0".to_owned(),
        key: None,
    };
    log.append(None, &who(0, &mut dice), &created)?;
    let mut runs = 0;
    let mut going_on: Vec<Run> = Vec::new();
    let mut halted: Vec<Run> = Vec::new();
    while log.next <= entries {
        // What has halted waits for somebody to take it up. Else mostly one run after the other; sometimes up to three at once.
        while let Some(at) = halted.iter().position(|run| run.waits_until <= log.clock) {
            going_on.push(halted.swap_remove(at));
        }
        if going_on.is_empty() || (going_on.len() < 3 && dice.percent(3)) {
            runs += 1;
            going_on.push(Run::new(runs, log.clock, &mut dice));
        }
        let at = usize::try_from(dice.below(going_on.len() as u64))?;
        let run = &mut going_on[at];
        let Some((who, event)) = run.events.pop() else {
            going_on.remove(at);
            continue;
        };
        run.state.apply(&event).map_err(|error| format!("run {}: {error}", run.id))?;
        log.append(Some(&run.id), &who, &event)?;
        log.clock += dice.below(2 * PACE);
        if matches!(event, Event::RunHalted { .. }) && !run.events.is_empty() {
            run.waits_until = log.clock + dice.below(30 * 24 * 3_600_000);
            halted.push(going_on.remove(at));
        }
    }
    Ok(runs)
}

/// A run and what is still to be told of it, the next last.
struct Run {
    id: RunId,
    events: Vec<(Who, Event)>,
    state: State,
    waits_until: u64,
}

const RUNBOOKS: [(&str, &str); 5] = [
    ("postgres-offline-change", "Change files of a PostgreSQL cluster while the server is down"),
    ("rotate-certificates", "Replace the certificates of the mail servers"),
    ("kernel-update", "Update the kernel and restart the machine"),
    ("restore-backup", "Restore a database from its backup"),
    ("drain-node", "Take a node out of the cluster"),
];

const FACTS: [&str; 5] = ["monit stopped", "database down", "backup fresh", "node cordoned", "disk roomy"];

const STEPS: [&str; 8] =
    ["stop-monit", "stop-database", "change", "check-files", "start-database", "look-at-it", "start-monit", "announce"];

impl Run {
    fn new(number: u64, clock: u64, dice: &mut Dice) -> Self {
        let id = run_id(clock, dice);
        let operator = who(dice.below(6), dice);
        let (name, title) = RUNBOOKS[(number % 5) as usize];
        let plan = Digest::of(format!("plan {number}").as_bytes());
        let count = 3 + dice.below(6) as usize;
        let mut told = Told { events: Vec::new(), operator, steps: count, id: id.clone(), plan };
        if dice.percent(3) {
            told.refused(name);
        } else {
            told.opened(name, title, number, dice);
            told.steps(dice);
        }
        told.events.reverse();
        Self { id, events: told.events, state: State::default(), waits_until: 0 }
    }
}

struct Told {
    events: Vec<(Who, Event)>,
    operator: Who,
    steps: usize,
    id: RunId,
    plan: Digest,
}

impl Told {
    fn push(&mut self, event: Event) {
        self.events.push((self.operator.clone(), event));
    }

    fn refused(&mut self, name: &str) {
        self.push(Event::RunRefused {
            runbook: name.to_owned(),
            plan: self.plan.clone(),
            cause: Cause::NotAllowed,
            reason: "2 of 3 approvals are missing: bea@example.org, cy@example.org".to_owned(),
            seen: Vec::new(),
            policies: vec![policy()],
        });
    }

    fn opened(&mut self, name: &str, title: &str, number: u64, dice: &mut Dice) {
        let env = if dice.percent(30) { "production" } else { "staging" };
        let labels =
            BTreeMap::from([("env".to_owned(), env.to_owned()), ("team".to_owned(), format!("team-{}", number % 7))]);
        self.push(Event::RunOpened {
            runbook: name.to_owned(),
            title: Some(title.to_owned()),
            labels,
            source: format!("/etc/interlock/runbooks/{name}.yaml"),
            plan: self.plan.clone(),
            steps: self.steps,
            locks: vec!["postgres /srv/pg".to_owned()],
            policies: vec![policy()],
            containment: "cgroup v2: frozen and killed as one, nothing leaves it".to_owned(),
            watching: "process events of the kernel, inotify, and a look every 100 ms".to_owned(),
            program: "0.1.0".to_owned(),
        });
        let facts = FACTS.map(|fact| WatchedFact {
            fact: fact.parse().expect("a fact"),
            probe: format!("what tells of {fact}: no process, no listener, a clean shutdown on disk"),
            commands: Vec::new(),
        });
        self.push(Event::WatchesArmed { facts: facts.to_vec() });
    }

    fn steps(&mut self, dice: &mut Dice) {
        for (at, step) in STEPS.iter().enumerate().take(self.steps) {
            let step: StepId = step.parse().expect("a step");
            match dice.below(1000) {
                0..10 => {
                    self.skipped(&step);
                    continue;
                }
                10..16 => return self.halted(&step, 1, dice),
                16..24 => {
                    self.halted(&step, 1, dice);
                    let operator = who(dice.below(6), dice);
                    self.operator = operator;
                    self.resumed(&step);
                    self.done(&step, 2, Way::Forward, dice);
                    continue;
                }
                24..28 => {
                    self.begun(&step, 1, Way::Forward, dice);
                    self.failed(&step, 1);
                    self.taken_back(at, dice);
                    return;
                }
                _ => self.done(&step, 1, Way::Forward, dice),
            }
        }
        let skipped = self.events.iter().filter(|(_, event)| matches!(event, Event::StepSkipped { .. })).count();
        self.push(Event::RunCompleted {
            done: self.steps - skipped,
            already: 0,
            not_applicable: 0,
            skipped,
            accepted: 0,
            deviations: skipped,
            micros: 312_456_789,
        });
    }

    fn skipped(&mut self, step: &StepId) {
        self.push(Event::OverrideAccepted(Override {
            deviation: Deviation::Skip { step: step.clone() },
            reason: "the vendor says that it is not needed for this version, see the ticket".to_owned(),
            asked_by: "amy".to_owned(),
            // Asked for at the terminal, so that there is no request beside the log to be looked at.
            request: None,
            self_approved: Some(AnsweredBy::Terminal),
            approved_by: Vec::new(),
        }));
        self.push(Event::StepSkipped { step: step.clone() });
    }

    fn begun(&mut self, step: &StepId, attempt: u32, way: Way, dice: &mut Dice) {
        let requires: Vec<Sight> = FACTS.iter().take(1 + dice.below(2) as usize).map(|fact| sight(fact)).collect();
        self.push(Event::StepIntended {
            step: step.clone(),
            way,
            attempt,
            action: format!("/usr/local/sbin/{step} --data-dir /srv/pg --verbose"),
            program: Some(Program {
                path: format!("/usr/local/sbin/{step}"),
                digest: Digest::of(step.as_str().as_bytes()),
                interpreter: None,
            }),
            requires,
            waived: Vec::new(),
        });
        let prefix = if way == Way::Back { "undo-" } else { "" };
        self.push(Event::StepEnded {
            step: step.clone(),
            way,
            attempt,
            ending: Ending::Exited { code: 0 },
            micros: 1_234_567,
            output: Some(Output {
                bytes: 400 + dice.below(9000),
                digest: Digest::of(format!("{} {step}", self.id).as_bytes()),
                transcript: format!("runs/{}/{prefix}{step}-{attempt}.cast", self.id),
                left_out: 0,
                trouble: None,
                redacted: None,
            }),
            leftovers: Vec::new(),
        });
    }

    fn done(&mut self, step: &StepId, attempt: u32, way: Way, dice: &mut Dice) {
        self.begun(step, attempt, way, dice);
        let ensures = vec![sight(FACTS[dice.below(5) as usize])];
        self.push(Event::StepDone { step: step.clone(), way, attempt, ensures, replaced: BTreeMap::new() });
    }

    fn failed(&mut self, step: &StepId, attempt: u32) {
        let mut broken = sight("database down");
        broken.verdict = Verdict::Broken;
        broken.evidence = "process 4711 (postgres) runs with this data directory".to_owned();
        let reason = "what it ensures did not come true within 30s".to_owned();
        self.push(Event::StepFailed { step: step.clone(), way: Way::Forward, attempt, reason, ensures: vec![broken] });
    }

    fn halted(&mut self, step: &StepId, attempt: u32, dice: &mut Dice) {
        self.begun(step, attempt, Way::Forward, dice);
        self.failed(step, attempt);
        self.push(Event::RunHalted {
            cause: Cause::StepFailed,
            reason: format!("step `{step}`: what it ensures did not come true within 30s"),
            step: Some(step.clone()),
            seen: Vec::new(),
        });
    }

    fn resumed(&mut self, step: &StepId) {
        self.push(Event::RunResumed {
            containment: "cgroup v2: frozen and killed as one, nothing leaves it".to_owned(),
            watching: "process events of the kernel, inotify, and a look every 100 ms".to_owned(),
            program: "0.1.0".to_owned(),
            taken_over: None,
            ended: Vec::new(),
            policies: vec![policy()],
        });
        self.push(Event::StepRetried { step: step.clone(), by: DecidedBy::Person, pause_millis: 0 });
    }

    fn taken_back(&mut self, failed: usize, dice: &mut Dice) {
        let reason = format!("step `{}` failed", STEPS[failed]);
        self.push(Event::UndoBegan { by: DecidedBy::Rule, reason, steps: failed + 1, kept: 0 });
        for at in (0..=failed).rev() {
            self.done(&STEPS[at].parse().expect("a step"), 1, Way::Back, dice);
        }
        self.push(Event::RunUndone { undone: failed + 1, kept: 0 });
    }
}

fn sight(fact: &str) -> Sight {
    Sight {
        fact: fact.parse().expect("a fact"),
        verdict: Verdict::Holds,
        evidence: format!(
            "{fact}: no process runs with it, nothing listens on 127.0.0.1:5432, pg_controldata says `shut down`"
        ),
    }
}

fn policy() -> PolicyInForce {
    PolicyInForce {
        file: "/etc/interlock/policy.yaml".to_owned(),
        digest: Digest::of(b"policy"),
        number: 12,
        signers: Digest::of(b"signers"),
        revoked: None,
        operator: Some("amy@example.org".parse().expect("a person")),
    }
}

fn who(number: u64, dice: &mut Dice) -> Who {
    let (uid, user) =
        [(0, "root"), (1000, "amy"), (1001, "bea"), (1002, "cy"), (1003, "dan"), (0, "root")][(number % 6) as usize];
    let sudo_user = (uid == 0).then(|| "amy".to_owned());
    Who {
        uid,
        user: Some(user.to_owned()),
        login_uid: Some(1000),
        sudo_user,
        host: format!("db{}", 1 + number % 3),
        terminal: Some(format!("/dev/pts/{}", dice.below(9))),
        ssh: Some("203.0.113.7 50122 203.0.113.9 22".to_owned()),
        pid: 4000 + u32::try_from(dice.below(50_000)).unwrap_or_default(),
    }
}

/// A UUID of version 7 for this time in milliseconds.
fn run_id(millis: u64, dice: &mut Dice) -> RunId {
    let (a, b) = (dice.next(), dice.next());
    let text = format!(
        "{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}",
        millis >> 16,
        millis & 0xffff,
        a & 0xfff,
        0x8000 | (a >> 16 & 0x3fff),
        b & 0xffff_ffff_ffff
    );
    text.parse().expect("a run id")
}

/// The segments, as the program leaves them.
struct Log {
    folder: PathBuf,
    segment: Vec<u8>,
    first: u64,
    /// The number of the next entry.
    next: u64,
    prev: Digest,
    /// Milliseconds since 1970.
    clock: u64,
}

impl Log {
    fn new(folder: &Path) -> Outcome<Self> {
        let prev = interlock::audit::FIRST_PREV.parse()?;
        let clock = u64::try_from("2025-11-01T00:00:00Z".parse::<DateTime<Utc>>()?.timestamp_millis())?;
        Ok(Self { folder: folder.to_owned(), segment: Vec::new(), first: 1, next: 1, prev, clock })
    }

    fn append(&mut self, run: Option<&RunId>, who: &Who, event: &Event) -> Outcome<()> {
        let time = DateTime::UNIX_EPOCH + TimeDelta::milliseconds(i64::try_from(self.clock)?);
        let run = run.map(|run| format!("\"run\":\"{run}\",")).unwrap_or_default();
        let event = serde_json::to_string(event)?;
        let line = format!(
            "{{\"v\":1,\"seq\":{},\"time\":\"{}\",\"mono\":{},\"boot\":\"0591e459-65bb-47f6-9a52-c80108a666ba\",{run}{},\"who\":{},\"prev\":\"{}\"}}",
            self.next,
            time.to_rfc3339_opts(SecondsFormat::Micros, true),
            self.clock * 1_000_000,
            &event[1..event.len() - 1],
            serde_json::to_string(who)?,
            self.prev,
        );
        if self.segment.len() + line.len() + 1 > SEGMENT - RESERVE {
            self.put_segment()?;
        }
        self.prev = Digest::of(line.as_bytes());
        self.segment.extend_from_slice(line.as_bytes());
        self.segment.push(b'\n');
        self.next += 1;
        Ok(())
    }

    fn put_segment(&mut self) -> Outcome<()> {
        self.segment.resize(SEGMENT, b'\n');
        let path = self.folder.join(format!("{:016}.jsonl", self.first));
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&self.segment)?;
        self.segment.clear();
        self.first = self.next;
        Ok(())
    }

    fn close(mut self) -> Outcome<u64> {
        self.put_segment()?;
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.folder.join("lock"))?;
        Ok(self.next - 1)
    }
}

/// A sequence of numbers that looks random and follows from its seed (splitmix64, public domain, Sebastiano Vigna).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn percent(&mut self, often: u64) -> bool {
        self.below(100) < often
    }
}
