//! Random sequences of command lines, as somebody might type them who wants to get past a step. Whatever is typed, in whatever order, no
//! step is reached without proof of every step before it, or a valid override for it. What the steps really did, which they write into
//! a book themselves, is compared with the log, and the log is read here anew, with none of the program's own code.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{Dice, Ran, Scratch, budget};

/// How long sequences are tried.
const BUDGET: Duration = Duration::from_secs(10);
/// How many there are at least, however slow the machine is.
const AT_LEAST: u64 = 3;
/// How many commands a sequence has.
const COMMANDS: usize = 20;
const STEPS: [&str; 4] = ["s0", "s1", "s2", "s3"];

/// Each step writes its name first. `s0` makes the flag that `s2` and `s3` require; `s2` removes it itself while it runs, if it is to.
const RUNBOOK: &str = "
interlock: 1
name: command-lines
on_failure: HOW
locks: [\"command lines DIR\"]
systems: {flag: {states: {up: {file: {path: DIR/flag, state: present}}, down: {file: {path: DIR/flag, state: absent}}}}}
steps:
  - id: s0
    script: echo s0 >> DIR/book; test ! -e DIR/bad0 || exit 1; touch DIR/flag
    ensures: [flag up]
    undo: {script: echo undo s0 >> DIR/book; test ! -e DIR/bad-undo || exit 1; rm -f DIR/flag, ensures: [flag down]}
  - id: s1
    script: echo s1 >> DIR/book; test ! -e DIR/bad1
    retry: {times: 1, every: 1ms}
    undo: {script: echo undo s1 >> DIR/book}
  - id: s2
    script: echo s2 >> DIR/book; test ! -e DIR/bad2 || exit 1; test ! -e DIR/cut2 || { rm -f DIR/flag; sleep 0.2; }
    requires: [flag up]
    undo: {script: echo undo s2 >> DIR/book; test ! -e DIR/bad-undo}
    override: RULE
  - id: s3
    script: echo s3 >> DIR/book; test ! -e DIR/bad3
    requires: [flag up]
    undo: {script: echo undo s3 >> DIR/book}
";

/// What can be made otherwise between two commands.
const SWITCHES: [&str; 7] = ["bad0", "bad1", "bad2", "bad3", "cut2", "bad-undo", "flag"];

#[derive(Default)]
struct Summary {
    commands: usize,
    completed: usize,
    deviations: usize,
    skipped: usize,
    accepted: usize,
    waived: usize,
    refused: usize,
    undone: usize,
}

struct Case {
    seed: u64,
    dice: Dice,
    scratch: Scratch,
    /// Whether the runbook says `override: never` of `s2`.
    never: bool,
    /// The ids of all runs that were seen open.
    runs: Vec<String>,
    /// The requests that were made, or made from one.
    requests: Vec<String>,
    /// Whether the last command made one.
    fresh: bool,
    /// What was typed, for whoever has to find out what went wrong.
    typed: Vec<String>,
    /// The digests of the requests that the last command was given, with what was permitted on the operator's word.
    given: BTreeMap<String, (String, BTreeSet<String>)>,
    /// The log, as it was after the last command.
    entries: Vec<Value>,
    /// How many entries were checked so far.
    checked: u64,
    summary: Summary,
}

impl Case {
    fn new(seed: u64) -> Self {
        let (mut dice, scratch) = (Dice(seed), Scratch::new());
        let never = dice.percent(30);
        let text = RUNBOOK
            .replace("HOW", if dice.percent(20) { "undo" } else { "halt" })
            .replace("    override: RULE\n", if never { "    override: never\n" } else { "" })
            .replace("DIR", &scratch.path().display().to_string());
        scratch.write("runbook.yaml", &text);
        let (runs, requests, typed, given) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
        Self {
            seed,
            dice,
            scratch,
            never,
            runs,
            requests,
            fresh: false,
            entries: Vec::new(),
            checked: 0,
            typed,
            given,
            summary: Summary::default(),
        }
    }

    /// An override that is as it should be, so that there is one in every sequence.
    fn by_the_book(&mut self) {
        self.scratch.write("bad1", "");
        let book = self.scratch.path().join("runbook.yaml").display().to_string();
        self.carry_out(&["run".to_owned(), book]);
        let (run, request) = (self.a_run(), self.scratch.path().join("request0.yaml").display().to_string());
        if !self.is_open(&run) {
            return;
        }
        let asked = ["override", &run, "--reason", "the disk is slow", "--accept", "s1", "-o", &request];
        self.carry_out(&asked.map(str::to_owned));
        let text = std::fs::read_to_string(&request).unwrap();
        self.given.insert(hex(&Sha256::digest(&text)), (text, BTreeSet::from(["s1".to_owned()])));
        self.carry_out(&["resume", &run, "--override", &request, "--self-approve", "s1"].map(str::to_owned));
        assert!(self.entries.iter().any(|entry| entry["event"] == "step_accepted"), "{:#?}", self.typed);
    }

    fn go(mut self) -> Summary {
        self.by_the_book();
        for _ in 0..COMMANDS {
            while self.dice.percent(40) {
                self.switch();
            }
            self.command();
        }
        let entries = &self.entries;
        let count = |event: &str| entries.iter().filter(|entry| entry["event"] == event).count();
        let waived = entries.iter().filter(|entry| entry["data"]["waived"].is_array()).count();
        let (skipped, accepted) = (count("step_skipped"), count("step_accepted"));
        Summary { skipped, accepted, waived, refused: count("override_refused"), ..self.summary }
    }

    fn switch(&mut self) {
        let which = self.one_of(&SWITCHES);
        let path = self.scratch.path().join(which);
        if path.exists() {
            std::fs::remove_file(path).unwrap();
        } else {
            std::fs::write(path, "").unwrap();
        }
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[usize::try_from(self.dice.below(all.len() as u64)).unwrap()]
    }

    /// The run that is open, or now and then one that is not any more.
    fn a_run(&mut self) -> String {
        match self.runs.len() as u64 {
            0 => "01a2".to_owned(),
            _ if self.dice.percent(85) => self.runs.last().unwrap().clone(),
            all => self.runs[usize::try_from(self.dice.below(all)).unwrap()].clone(),
        }
    }

    fn command(&mut self) {
        let book = self.scratch.path().join("runbook.yaml").display().to_string();
        let run = self.a_run();
        let open = self.is_open(&run);
        let fresh = std::mem::take(&mut self.fresh);
        self.given.clear();
        let typed: Vec<String> = match self.dice.below(100) {
            _ if !open && self.dice.percent(70) => vec!["run".to_owned(), book],
            // Who has just asked for something mostly means to use it.
            _ if fresh && self.dice.percent(75) => self.resume(&run),
            0..=5 => vec!["run".to_owned(), book],
            6..=8 => {
                let how = self.one_of(&["--skip", "--start-at", "--skip-step", "--start-at-task"]);
                vec!["run".to_owned(), book, how.to_owned(), self.one_of(&STEPS).to_owned()]
            }
            9..=50 => self.ask_for_one(&run),
            51..=53 => self.forge(),
            54..=57 => vec!["undo".to_owned(), run],
            58..=60 => ["abandon", &run, "--reason", "enough"].map(str::to_owned).to_vec(),
            _ => self.resume(&run),
        };
        if !typed.is_empty() {
            self.carry_out(&typed);
        }
    }

    fn carry_out(&mut self, typed: &[String]) {
        self.typed.push(typed.join(" "));
        let words: Vec<&str> = typed.iter().map(String::as_str).collect();
        let ran = self.scratch.interlock(&words);
        self.summary.commands += 1;
        if typed[0] == "override" && ran.code == 0 {
            self.requests.push(typed[typed.len() - 1].clone());
            self.fresh = true;
        }
        self.check(typed, &ran);
    }

    fn ask_for_one(&mut self, run: &str) -> Vec<String> {
        let step = self.one_of(&STEPS).to_owned();
        let what = match self.dice.below(10) {
            0..=2 => vec!["--skip".to_owned(), step],
            3..=5 => vec!["--waive".to_owned(), format!("{step}=flag {}", self.one_of(&["up", "up", "up", "down"]))],
            6 => vec!["--outside-window".to_owned()],
            _ => vec!["--accept".to_owned(), self.where_it_stands(run).unwrap_or(step)],
        };
        let file = self.scratch.path().join(format!("request{}.yaml", self.requests.len())).display().to_string();
        let mut all = ["override", run, "--reason", "the disk is slow", "--force"].map(str::to_owned).to_vec();
        all.extend(what);
        all.extend(["-o".to_owned(), file]);
        all
    }

    /// A request of before with one byte changed.
    fn forge(&mut self) -> Vec<String> {
        if let Some(original) = self.a_request() {
            let mut bytes = std::fs::read(original).unwrap();
            let at = usize::try_from(self.dice.below(bytes.len() as u64)).unwrap();
            bytes[at] = match bytes[at] {
                digit @ b'0'..=b'3' => b'3' - digit + b'0',
                other => other ^ 1,
            };
            let path = self.scratch.path().join(format!("request{}.yaml", self.requests.len()));
            std::fs::write(&path, bytes).unwrap();
            self.requests.push(path.display().to_string());
        }
        Vec::new()
    }

    /// A late one rather than an early one.
    fn a_request(&mut self) -> Option<String> {
        let all = self.requests.len();
        let from = if self.dice.percent(80) { all.saturating_sub(1) } else { 0 };
        (all > 0).then(|| self.requests[from + usize::try_from(self.dice.below((all - from) as u64)).unwrap()].clone())
    }

    fn resume(&mut self, run: &str) -> Vec<String> {
        let mut typed = vec!["resume".to_owned(), run.to_owned()];
        let stands = self.where_it_stands(run);
        if self.dice.percent(40) {
            let step = stands.unwrap_or_else(|| "s1".to_owned());
            typed.extend([
                "--decide".to_owned(),
                format!("{step}={}", self.one_of(&["retry", "retry", "retry", "retry", "undo"])),
            ]);
        }
        if self.dice.percent(25) {
            let step = self.one_of(&["s0", "s0", "s0", "s1", "s3"]).to_owned();
            typed.extend(["--rerun".to_owned(), step]);
        }
        let mut permitted = BTreeSet::new();
        let mut digests = Vec::new();
        while let (true, Some(request)) = (self.dice.percent(55), self.a_request()) {
            let text = std::fs::read(&request).unwrap();
            digests.push((hex(&Sha256::digest(&text)), String::from_utf8_lossy(&text).into_owned()));
            let about = String::from_utf8_lossy(&text)
                .lines()
                .find_map(|line| line.strip_prefix("    step: ").map(str::to_owned))
                .unwrap_or_else(|| "outside_window".to_owned());
            typed.extend(["--override".to_owned(), request]);
            if self.dice.percent(85) {
                typed.extend(["--self-approve".to_owned(), about.clone()]);
                permitted.insert(about);
            }
        }
        for (digest, text) in digests {
            self.given.insert(digest, (text, permitted.clone()));
        }
        typed
    }

    fn is_open(&self, run: &str) -> bool {
        let over = ["run_completed", "run_undone", "run_abandoned", "run_refused"];
        let mut its_own = self.entries.iter().filter(|entry| entry["run"] == run).peekable();
        its_own.peek().is_some() && !its_own.any(|entry| over.contains(&entry["event"].as_str().unwrap()))
    }

    /// The step that was begun last in a run.
    fn where_it_stands(&self, run: &str) -> Option<String> {
        let begun = |entry: &&Value| entry["run"] == run && entry["event"] == "step_intended";
        self.entries.iter().rev().find(begun).map(|entry| entry["data"]["step"].as_str().unwrap().to_owned())
    }

    /// After each command: what the steps did is what the log says, and the log says nothing that it may not.
    fn check(&mut self, typed: &[String], ran: &Ran) {
        let at = format!("seed {}: {:#?}\nexit {}: {}", self.seed, self.typed, ran.code, ran.stderr);
        assert!(!ran.stderr.contains("panicked") && ran.code != 101 && ran.code != -1, "{at}");
        if !self.scratch.home().join("audit").exists() {
            return;
        }
        self.entries = self.scratch.entries();
        let entries = &self.entries;
        let verified = self.scratch.interlock(&["audit", "verify"]);
        assert_eq!(verified.code, 0, "{at}\n{}{}", verified.stdout, verified.stderr);
        let mut announced = Vec::new();
        let mut runs: BTreeMap<String, Reader> = BTreeMap::new();
        let mut requests = BTreeSet::new();
        for entry in entries {
            let Some(run) = entry["run"].as_str() else { continue };
            if entry["event"] == "run_opened" && !self.runs.iter().any(|known| known == run) {
                self.runs.push(run.to_owned());
            }
            let data = &entry["data"];
            if entry["event"] == "step_intended" {
                let undo = if data["way"] == "back" { "undo " } else { "" };
                announced.push(format!("{undo}{}", data["step"].as_str().unwrap()));
            }
            let is_new = entry["seq"].as_u64().unwrap() > self.checked;
            if is_new && entry["event"] == "override_accepted" && data["request"].is_string() {
                self.check_request(run, data, &at);
            }
            let reader = runs.entry(run.to_owned()).or_default();
            reader.read(entry, self.never, &mut requests).unwrap_or_else(|why| panic!("{why}, in {entry}\n{at}"));
        }
        assert_eq!(self.scratch.lines("book"), announced, "what was done is not what was announced\n{at}");
        let last = &entries[entries.len() - 1];
        self.checked = last["seq"].as_u64().unwrap();
        if ["run", "resume"].contains(&typed[0].as_str()) && last["event"] == "run_completed" && ran.code != 2 {
            let deviations = last["data"]["deviations"].as_u64().unwrap_or(0);
            // A command that was refused after the run was over leaves that entry the last one too.
            if [0, 13].contains(&ran.code) {
                assert_eq!(ran.code, if deviations > 0 { 13 } else { 0 }, "{at}");
                self.summary.completed += 1;
                self.summary.deviations += usize::try_from(deviations).unwrap();
            }
        }
        assert!(![0, 13].contains(&ran.code) || typed[0] != "resume" || last["event"] == "run_completed", "{at}");
        if last["event"] == "run_undone" && [0, 9].contains(&ran.code) {
            self.summary.undone += 1;
        }
    }

    /// A request that was accepted is one that a command was given, word for word, for this run and this deviation, on the operator's word.
    fn check_request(&self, run: &str, data: &Value, at: &str) {
        let digest = data["request"].as_str().unwrap();
        let Some((text, permitted)) = self.given.get(digest) else { panic!("nobody gave {digest}\n{at}") };
        let text = text.replace('"', "");
        assert!(text.contains(&format!("run: {run}\n")), "it is for another run: {text}\n{at}");
        let (kind, about) = data["deviation"].as_object().unwrap().iter().next().unwrap();
        assert!(text.contains(&format!("deviation:\n  {kind}:")), "it is for something else: {text}\n{at}");
        let words = about["step"].as_str().map_or(kind.as_str(), |step| {
            assert!(text.contains(&format!("    step: {step}\n")), "it is for another step: {text}\n{at}");
            step
        });
        assert!(permitted.contains(words), "nobody permitted it: {data}\n{at}");
        assert_eq!(data["self_approved"], "command_line", "{at}");
    }
}

/// What the log says of one run, read with nothing of the program's own.
#[derive(Default)]
struct Reader {
    /// What became of each step, by its index.
    ended: [Option<Ended>; STEPS.len()],
    /// Deviations that were permitted since the run was taken up and not made, with their requests.
    open: Vec<(Value, Option<String>)>,
    used: u64,
    over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Well,
    Passed,
    Failed,
    InDoubt,
}

impl Reader {
    fn read(&mut self, entry: &Value, never: bool, requests: &mut BTreeSet<String>) -> Result<(), String> {
        let (event, data) = (entry["event"].as_str().unwrap(), &entry["data"]);
        let at = data["step"].as_str().and_then(|step| STEPS.iter().position(|other| *other == step));
        if self.over {
            return if event == "override_refused" { Ok(()) } else { Err("after the end".to_owned()) };
        }
        match (event, at) {
            ("run_resumed", _) => self.open.clear(),
            ("override_accepted", _) => {
                let deviation = &data["deviation"];
                if never && deviation.as_object().unwrap().values().any(|about| about["step"] == "s2") {
                    return Err("`s2` has no override".to_owned());
                }
                let request = data["request"].as_str().map(str::to_owned);
                self.open.push((deviation.clone(), request));
                if deviation["outside_window"].is_object() || deviation["abandon"].is_object() {
                    self.make(deviation, requests)?;
                }
            }
            ("step_skipped", Some(at)) => {
                self.may_be_reached(at)?;
                self.make(&serde_json::json!({"skip": {"step": STEPS[at]}}), requests)?;
                self.ended[at] = Some(Ended::Passed);
            }
            ("step_accepted", Some(at)) => {
                let kind = match self.ended[at] {
                    Some(Ended::Failed) => "accept_failed",
                    Some(Ended::InDoubt) => "accept_in_doubt",
                    other => return Err(format!("accepted, and stood as {other:?}")),
                };
                self.make(&serde_json::json!({ kind: {"step": STEPS[at]} }), requests)?;
                self.ended[at] = Some(Ended::Passed);
            }
            ("step_intended", Some(at)) => {
                let back = data["way"] == "back";
                if !back {
                    self.may_be_reached(at)?;
                }
                self.facts(at, back, data, requests)?;
                if data["way"].is_null() {
                    self.ended[at] = Some(Ended::InDoubt);
                }
            }
            ("step_ended", Some(at)) if data["way"].is_null() => {
                let ending = data["ending"].to_string();
                let in_doubt = ending.contains("stopped") || ending.contains("interrupted");
                self.ended[at] = Some(if in_doubt { Ended::InDoubt } else { Ended::Failed });
            }
            ("step_failed", Some(at)) if data["way"].is_null() => self.ended[at] = Some(Ended::Failed),
            ("step_done", Some(at)) if data["way"] != "back" => self.ended[at] = Some(Ended::Well),
            ("step_already", Some(at)) => self.ended[at] = Some(Ended::Well),
            ("run_completed", _) => {
                self.may_be_reached(STEPS.len())?;
                if data["deviations"].as_u64().unwrap_or(0) != self.used {
                    return Err(format!("{} deviations were made", self.used));
                }
                self.over = true;
            }
            ("run_undone" | "run_abandoned" | "run_refused", _) => self.over = true,
            _ => {}
        }
        Ok(())
    }

    fn may_be_reached(&self, at: usize) -> Result<(), String> {
        match self.ended[..at].iter().position(|ended| !matches!(ended, Some(Ended::Well | Ended::Passed))) {
            None => Ok(()),
            Some(open) => Err(format!("reached without proof of `{}`, which is {:?}", STEPS[open], self.ended[open])),
        }
    }

    /// A step of ours requires the flag, or nothing; each fact that it requires was seen to hold, or waived.
    fn facts(&mut self, at: usize, back: bool, data: &Value, requests: &mut BTreeSet<String>) -> Result<(), String> {
        let waived = data["waived"].as_array().cloned().unwrap_or_default();
        for fact in &waived {
            self.make(&serde_json::json!({"waive": {"step": STEPS[at], "fact": fact}}), requests)?;
        }
        let seen = data["requires"].as_array().cloned().unwrap_or_default();
        let needs_flag = !back && at >= 2;
        if needs_flag && !seen.iter().any(|sight| sight["fact"] == "flag up") {
            return Err("began, and nobody had looked at the flag".to_owned());
        }
        match seen.iter().find(|sight| sight["verdict"] != "holds" && !waived.contains(&sight["fact"])) {
            None => Ok(()),
            Some(broken) => Err(format!("began although {broken}")),
        }
    }

    fn make(&mut self, deviation: &Value, requests: &mut BTreeSet<String>) -> Result<(), String> {
        let found = self.open.iter().position(|(open, _)| open == deviation);
        let Some(found) = found else { return Err(format!("a deviation without an override: {deviation}")) };
        let (_, request) = self.open.remove(found);
        if let Some(request) = request
            && !requests.insert(request)
        {
            return Err(format!("a request was used twice: {deviation}"));
        }
        self.used += 1;
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn p04_no_sequence_of_command_lines_reaches_a_step_without_proof_of_or_a_valid_override_for_each_before_it() {
    let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() << 16;
    let begun = Instant::now();
    let mut all = Summary::default();
    let mut cases = 0;
    while cases < AT_LEAST || begun.elapsed() < budget(BUDGET) {
        let one = Case::new(first + cases).go();
        all.commands += one.commands;
        all.completed += one.completed;
        all.deviations += one.deviations;
        all.skipped += one.skipped;
        all.accepted += one.accepted;
        all.waived += one.waived;
        all.refused += one.refused;
        all.undone += one.undone;
        cases += 1;
    }
    println!(
        "seeds {first} to {}: {} commands, {} runs completed with {} deviations, {} undone; {} steps skipped, {} accepted, {} waivers, {} refusals",
        first + cases - 1,
        all.commands,
        all.completed,
        all.deviations,
        all.undone,
        all.skipped,
        all.accepted,
        all.waived,
        all.refused
    );
}
