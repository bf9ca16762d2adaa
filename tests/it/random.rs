//! Random runbooks, carried out by the real program, which is killed at random moments and taken up again until the run is over.
//! After each case the log, the files and the processes are as promised.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::{Dice, Scratch, alive, budget, until};

/// How long cases are tried.
const BUDGET: Duration = Duration::from_secs(15);
/// How many there are at least, however slow the machine is.
const AT_LEAST: u64 = 8;
/// How often a run is taken up before everything that makes it fail is repaired, and nobody kills it any more.
const ROUNDS: usize = 4;

/// What the case needs to know of a step.
struct Step {
    applicable: bool,
    ensures: bool,
    undo: bool,
    /// Its fact held before the run, and it says `if_ensured: pass`.
    passes: bool,
}

struct Case {
    seed: u64,
    dice: Dice,
    scratch: Scratch,
    steps: Vec<Step>,
    kills: usize,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut case = Self { seed, dice: Dice(seed), scratch: Scratch::new(), steps: Vec::new(), kills: 0 };
        let text = case.runbook();
        case.scratch.write("runbook.yaml", &text);
        case
    }

    fn mark(&self) -> String {
        format!("{}-mark", self.scratch.path().display())
    }

    /// A step `s3` writes `do 3` durably, works for a moment, makes its file, fails where it is to fail, and writes `did 3`.
    fn runbook(&mut self) -> String {
        let dir = self.scratch.path().display().to_string();
        let count = 1 + usize::try_from(self.dice.below(6)).unwrap();
        let mut text = "interlock: 1\nname: random\nparams: {port: {type: port, default: 5432}}\n".to_owned();
        let on_failure = if self.dice.percent(50) { "undo" } else { "halt" };
        writeln!(text, "locks: [\"random {dir}\"]\non_failure: {on_failure}\nsystems:").unwrap();
        for at in 0..count {
            writeln!(text, "  f{at}: {{states: {{made: {{file: {{path: {dir}/f{at}, state: present}}}}, gone: {{file: {{path: {dir}/f{at}, state: absent}}}}}}}}").unwrap();
        }
        text.push_str("steps:\n");
        for at in 0..count {
            self.step(&mut text, at, &dir);
        }
        text
    }

    fn step(&mut self, text: &mut String, at: usize, dir: &str) {
        let dice = &mut self.dice;
        let work = |dice: &mut Dice| format!("sh -c 'sleep 0.0{}' {dir}-mark", dice.below(4));
        let fails = |dice: &mut Dice, what: &str, often: u64| {
            if dice.percent(often) { format!("test -e {dir}/ok-{what}{at}; ") } else { String::new() }
        };
        let (applicable, ensures) = (!dice.percent(12), dice.percent(70));
        let script = format!(
            "echo do {at} >> {dir}/book; sync {dir}/book; {}{}; touch {dir}/f{at}; {}echo did {at} >> {dir}/book",
            fails(dice, "early", 10),
            work(dice),
            fails(dice, "late", 15),
        );
        let required: Vec<usize> =
            (0..at).filter(|other| self.steps[*other].ensures && self.steps[*other].applicable).collect();
        let made = |dice: &mut Dice| -> String {
            let chosen: Vec<String> =
                required.iter().filter(|_| dice.percent(40)).map(|other| format!("f{other} made")).collect();
            format!("[{}]", chosen.join(", "))
        };
        writeln!(text, "  - id: s{at}\n    script: {script}\n    requires: {}", made(dice)).unwrap();
        let mut passes = false;
        if ensures {
            writeln!(text, "    ensures: [f{at} made]").unwrap();
            if dice.percent(15) {
                writeln!(text, "    if_ensured: pass").unwrap();
                passes = dice.percent(50);
            }
        }
        if !applicable {
            writeln!(text, "    when: port == 1").unwrap();
        }
        if dice.percent(20) {
            writeln!(text, "    retry: {{times: {}, every: 5ms}}", 1 + dice.below(2)).unwrap();
        }
        let undo = dice.percent(75);
        if undo {
            let script = format!(
                "echo undo {at} >> {dir}/book; sync {dir}/book; {}{}; rm -f {dir}/f{at}; echo undid {at} >> {dir}/book",
                fails(dice, "undo", 10),
                work(dice)
            );
            writeln!(text, "    undo:\n      script: {script}\n      requires: {}", made(dice)).unwrap();
            if ensures {
                writeln!(text, "      ensures: [f{at} gone]").unwrap();
            }
        }
        let in_doubt = ["ask", "ask", "retry", "undo"][usize::try_from(dice.below(if undo { 4 } else { 3 })).unwrap()];
        writeln!(text, "    in_doubt: {in_doubt}").unwrap();
        if passes && applicable {
            self.scratch.write(&format!("f{at}"), "");
        }
        self.steps.push(Step { applicable, ensures, undo, passes: passes && applicable });
    }

    /// Starts the program, perhaps kills it after a moment, and sees that what it had acknowledged is in the log.
    fn interlock(&mut self, arguments: &[&str], killed: bool) -> Option<i32> {
        let after = Duration::from_millis(self.dice.below(150));
        let mut child = self.scratch.command(arguments).args(["--format", "json"]).spawn().unwrap();
        let begun = Instant::now();
        let mut code = None;
        until("the program ends", || {
            code = child.try_wait().unwrap();
            if code.is_none() && killed && begun.elapsed() >= after {
                child.kill().unwrap();
                code = Some(child.wait().unwrap());
            }
            code.is_some()
        });
        let code = code.and_then(|status| status.code());
        let (mut told, mut said) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let mark = self.mark();
        until("no process of the run is left", || !alive(&mark));
        if code.is_none() {
            self.kills += 1;
        }
        // Apart from warnings about the runbook, and a line that was cut off.
        let whole = told.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let acknowledged: Vec<&str> = whole.filter(|line| line.starts_with("{\"v\":")).collect();
        if self.scratch.home().join("audit").exists() {
            let verified = self.scratch.interlock(&["audit", "verify"]);
            // A log that was being made when the program was killed is not there yet.
            let none = !self.scratch.home().join("audit/0000000000000001.jsonl").exists();
            assert!(verified.code == 0 || none, "seed {}: {}{}", self.seed, verified.stdout, verified.stderr);
            let log: Vec<String> = self.lines_of_the_log();
            for line in acknowledged {
                assert!(log.iter().any(|other| other == line), "seed {}: lost: {line}", self.seed);
            }
        } else {
            assert!(acknowledged.is_empty(), "seed {}: {told}", self.seed);
        }
        assert!(matches!(code, None | Some(0 | 6 | 7 | 9 | 10)), "seed {}: {arguments:?}: {code:?}: {said}", self.seed);
        code
    }

    fn lines_of_the_log(&self) -> Vec<String> {
        let read = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path()).unwrap();
        let folder = std::fs::read_dir(self.scratch.home().join("audit")).unwrap().map(Result::unwrap);
        let segments = folder.filter(|entry| entry.path().extension().is_some_and(|end| end == "jsonl"));
        segments.map(read).collect::<String>().lines().map(str::to_owned).collect()
    }

    fn open_run(&self) -> Option<Value> {
        if !self.scratch.home().join("audit/0000000000000001.jsonl").exists() {
            return None;
        }
        let open = self.scratch.open_runs();
        assert!(open.len() <= 1, "seed {}: {open:?}", self.seed);
        open.into_iter().next()
    }

    /// From the start to an end, whatever happens on the way.
    fn go(mut self) -> Summary {
        let path = self.scratch.path().join("runbook.yaml").display().to_string();
        let killed = self.dice.percent(60);
        self.interlock(&["run", &path], killed);
        let mut round = 0;
        while let Some(open) = self.open_run() {
            assert!(round < ROUNDS + 8, "seed {}: the run comes to no end: {open}", self.seed);
            if round == ROUNDS {
                for (what, at) in ["early", "late", "undo"].iter().flat_map(|what| (0..6).map(move |at| (what, at))) {
                    self.scratch.write(&format!("ok-{what}{at}"), "");
                }
            }
            self.take_up(&open, round < ROUNDS);
            round += 1;
        }
        let entries = if self.kills > 0 && !self.scratch.home().join("audit/0000000000000001.jsonl").exists() {
            Vec::new()
        } else {
            self.scratch.entries()
        };
        self.check(&entries)
    }

    fn take_up(&mut self, open: &Value, rough: bool) {
        let run = open["run"].as_str().unwrap().to_owned();
        let killed = rough && self.dice.percent(40);
        let how = if self.dice.percent(30) { "undo" } else { "resume" };
        let mut arguments = vec![how.to_owned(), run.clone()];
        if let (Some(step), "resume") = (open["doubt"].as_str(), how) {
            let before = self.scratch.read("book");
            if self.dice.percent(50) {
                // Without a word nothing is repeated, unless the runbook says so or the run is on its way back.
                let code = self.interlock(&["resume", &run], false);
                assert!(
                    code != Some(6) || self.scratch.read("book") == before,
                    "seed {}: it went on by itself",
                    self.seed
                );
                return;
            }
            let choice = if self.dice.percent(60) { "retry" } else { "undo" };
            arguments.extend(["--decide".to_owned(), format!("{step}={choice}")]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.interlock(&arguments, killed);
    }

    /// What the whole record must say, and the files.
    fn check(&self, entries: &[Value]) -> Summary {
        let at_seed = format!("seed {}", self.seed);
        let index = |entry: &Value| entry["data"]["step"].as_str().unwrap()[1..].parse::<usize>().unwrap();
        let book = self.scratch.lines("book");
        let written = |what: &str, at: usize| book.iter().filter(|line| **line == format!("{what} {at}")).count();
        let mut settled: BTreeMap<usize, &str> = BTreeMap::new();
        let (mut begun, mut undone) = (Vec::new(), Vec::new());
        let mut announced: BTreeMap<(bool, usize), usize> = BTreeMap::new();
        let mut back = None;
        for entry in entries {
            let event = entry["event"].as_str().unwrap();
            let is_back = entry["data"]["way"] == "back";
            match event {
                "step_intended" if is_back => {
                    let at = index(entry);
                    assert!(back.is_some(), "{at_seed}: an undo before going back began");
                    assert!(back.unwrap() >= at, "{at_seed}: the undo of {at} came after that of an earlier step");
                    assert!(begun.contains(&at) && self.steps[at].undo, "{at_seed}: {at} is not to be taken back");
                    assert!(!undone.contains(&at), "{at_seed}: {at} was taken back twice");
                    back = Some(at);
                    *announced.entry((true, at)).or_default() += 1;
                }
                "step_intended" => {
                    let at = index(entry);
                    assert!(back.is_none(), "{at_seed}: {at} began after going back had begun");
                    // P4: everything before it ended well, and it was not done before (P7).
                    for before in 0..at {
                        assert!(
                            settled.contains_key(&before),
                            "{at_seed}: {at} began, and {before} had not ended well"
                        );
                    }
                    assert!(!settled.contains_key(&at), "{at_seed}: {at} was done, and begins again");
                    begun.push(at);
                    *announced.entry((false, at)).or_default() += 1;
                }
                "step_done" if is_back => undone.push(index(entry)),
                "step_done" | "step_already" | "step_not_applicable" => {
                    settled.insert(index(entry), event);
                }
                "undo_began" => back = Some(usize::MAX),
                "hold_broken" => panic!("{at_seed}: nobody has touched what was held: {entry}"),
                _ => {}
            }
        }
        for at in 0..self.steps.len() {
            for (way, what) in [(false, "do"), (true, "undo")] {
                let (ran, said) = (written(what, at), announced.get(&(way, at)).copied().unwrap_or(0));
                assert!(ran <= said, "{at_seed}: `{what} {at}` ran {ran} times and was announced {said} times");
                assert!(
                    said <= ran + self.kills,
                    "{at_seed}: `{what} {at}` was announced {said} times and ran {ran} times"
                );
            }
            let there = self.scratch.path().join(format!("f{at}")).exists();
            match settled.get(&at) {
                Some(&"step_done") => assert!(written("did", at) > 0, "{at_seed}: {at} is done, and did not end"),
                // What an attempt of this run has made so is this run's to take back.
                Some(&"step_already") if !begun.contains(&at) => {
                    assert!(there, "{at_seed}: {at} was so already, and is not taken back")
                }
                Some(_) | None => {}
            }
        }
        let Some(last) = entries.iter().rev().find(|entry| !entry["run"].is_null()) else {
            assert!(book.is_empty(), "{at_seed}: nothing runs without a record");
            return Summary { kills: self.kills, ..Summary::default() };
        };
        match last["event"].as_str().unwrap() {
            "run_completed" => {
                assert_eq!(settled.len(), self.steps.len(), "{at_seed}: completed, with steps passed over");
                for (at, step) in self.steps.iter().enumerate() {
                    let expected = if step.applicable { "step_done" } else { "step_not_applicable" };
                    let found = settled[&at];
                    assert!(
                        found == expected || (step.applicable && found == "step_already"),
                        "{at_seed}: {at}: {found}"
                    );
                    assert!(
                        !step.passes || found == "step_already",
                        "{at_seed}: {at} was so before, and was done: {found}"
                    );
                }
                Summary { completed: 1, kills: self.kills, ..Summary::default() }
            }
            "run_undone" => {
                for at in begun {
                    assert!(
                        !self.steps[at].undo || undone.contains(&at),
                        "{at_seed}: {at} was begun and not taken back"
                    );
                    let there = self.scratch.path().join(format!("f{at}")).exists();
                    assert!(!self.steps[at].undo || !there, "{at_seed}: {at} was taken back, and its file is there");
                }
                Summary { undone: 1, kills: self.kills, ..Summary::default() }
            }
            other => panic!("{at_seed}: the run is over with `{other}`"),
        }
    }
}

/// What came of a case.
#[derive(Default)]
struct Summary {
    completed: usize,
    undone: usize,
    kills: usize,
}

#[test]
fn p07_random_runbooks_that_are_killed_at_random_come_to_an_end_with_nothing_passed_over_lost_or_repeated() {
    let begun = Instant::now();
    let first = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let mut whole = Summary::default();
    let mut cases = 0;
    while cases < AT_LEAST || begun.elapsed() < budget(BUDGET) {
        let came = Case::new(first + cases).go();
        whole.completed += came.completed;
        whole.undone += came.undone;
        whole.kills += came.kills;
        cases += 1;
    }
    assert!(
        whole.completed > 0 && whole.undone > 0 && whole.kills > 0,
        "{cases} cases from seed {first} were too tame"
    );
}
