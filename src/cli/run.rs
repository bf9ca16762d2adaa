//! `interlock run`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::audit::{Home, Log};
use crate::cli::approvals::{Signable, command};
use crate::cli::bound::{Verdict as Fits, Window, bind, judge, now};
use crate::cli::deviations::{NotPermitted, Word};
use crate::cli::failure::{Failure, say};
use crate::cli::gate::{self, Approved, Attempt, options};
use crate::cli::given::{Document, GivenRunbook};
use crate::cli::glass::{BreakGlass, broken, record_and_tell};
use crate::cli::in_force::InForce;
use crate::cli::needed::{Needed, ask};
use crate::cli::plan::{bytes_of, write_new};
use crate::cli::sinks::{Sinks, reach, sign};
use crate::cli::waiting::{Waited, wait};
use crate::cli::whole::Existing;
use crate::cli::{Format, Global, place};
use crate::driver::display::{self, Display};
use crate::driver::launch::Secrets;
use crate::driver::locks::{Alive, Holder, LockError, Locks, Sole};
use crate::driver::{self, Beginning, SignalSink, carry_out};
use crate::exec::program::Programs;
use crate::history::clip::clip;
use crate::history::entry::Who;
use crate::history::event::Cause;
use crate::history::state::{State, Verdict};
use crate::id::{Digest, RunId, StepId};
use crate::machine::{Answers, Pace, People, Purpose, Settings, StopSignal};
use crate::plan::{Binding, Plan, Procedure};
use crate::report::story::by_whom;
use crate::terminal::prompt;

/// Runs a runbook, or a plan that was written down, step by step, with its facts checked and held.
///
/// Before a step starts, each fact it requires is seen to hold with its watch armed, and the step is announced in the audit log.
/// While it runs its facts are watched; one that breaks freezes the step's whole process tree at once and ends it. There is no
/// way to start in the middle or to pass over a step.
///
/// A plan (a file that `interlock plan -o` wrote) is run exactly as it stands, once, on its machine and within its window. Where a policy
/// asks for approvals, it is run only with the signatures of those whom the policy names, over exactly its bytes. Given a runbook then,
/// the plan is written down first; at a terminal the program waits for the signatures.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock run runbooks/quickstart.yaml
  interlock run change.yaml -p data_dir=/srv/pg --params prod.yaml
  interlock run plan.yaml                                   exactly what a plan says
  interlock run plan.yaml --approval ./signatures           with the signatures in this folder
  interlock run change.yaml --step                          a person lets each step start
  interlock run change.yaml --no-input --confirm change=/srv/pg --attest announce='told #ops at 03:12'
  interlock run change.yaml --format json | jq .event

Exit codes: 0 completed, 2 wrong runbook or arguments, 3 a required fact does not hold, 4 approvals are missing,
or the plan is not for here and now, 6 a person is needed, 7 a step failed,
8 a held fact broke, 12 interrupted; 1 if the log cannot be used.")]
pub struct Run {
    #[command(flatten)]
    given: GivenRunbook,
    /// A signature over the plan, or a folder with signatures (*.sig); may be given many times [default: those beside the plan]
    #[arg(long, value_name = "FILE")]
    approval: Vec<PathBuf>,
    /// Where the plan of a runbook is written if it needs approvals; the file must not exist [default: in the current folder]
    #[arg(long, value_name = "FILE")]
    plan_out: Option<PathBuf>,
    /// Ask before each step
    #[arg(long)]
    step: bool,
    #[command(flatten)]
    glass: BreakGlass,
    #[command(flatten)]
    word: Word,
    /// Says, where there is no terminal, that a manual step is done, in words that are recorded
    #[arg(long, value_name = "STEP=WORDS", value_parser = answer)]
    attest: Vec<(StepId, String)>,
    /// The answer to a step's confirmation, where there is no terminal
    #[arg(long, value_name = "STEP=WORDS", value_parser = answer)]
    confirm: Vec<(StepId, String)>,
    /// There is no such way; the attempt is recorded and refused.
    #[arg(long, hide = true, value_name = "STEP", aliases = ["from", "start-at-task", "resume-at"])]
    start_at: Option<String>,
    /// There is no such way; the attempt is recorded and refused.
    #[arg(long, hide = true, value_name = "STEP", aliases = ["skip-tags", "skip-step"])]
    skip: Option<String>,
}

pub(super) fn answer(text: &str) -> Result<(StepId, String), String> {
    let (step, words) = text.split_once('=').ok_or("expected STEP=WORDS")?;
    let step = step.parse().map_err(|error: crate::id::IdError| error.to_string())?;
    Ok((step, words.to_owned()))
}

impl Run {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let mut programs = Programs::default();
        let who = place::who()?;
        let mut in_force = InForce::open(global, &who)?;
        let (plan, bytes, binding) = match self.given.read_also_plan(global, in_force.defaults())? {
            Document::Runbook(read) => {
                let plan = read.plan(&programs)?;
                let bytes = bytes_of(&plan)?;
                (plan, bytes, None)
            }
            Document::Plan { text, plan, binding } => (*plan, text, Some(*binding)),
        };
        let mut procedure = Procedure::new(plan);
        let people = self.people(global, &procedure)?;
        let home = place::home(global)?;
        let user = by_whom(&who);
        let mut log = Log::open(&home, who.clone()).map_err(|error| Failure::Internal(error.to_string()))?;
        let id = new_run_id();
        let runbook = procedure.plan.runbook.name.clone();
        let mut attempt = Attempt {
            log: &mut log,
            id: id.clone(),
            runbook: runbook.clone(),
            plan: Digest::of(bytes.as_bytes()),
            policies: in_force.recorded(),
            notify: in_force.notify(),
            censor: in_force.censor().clone(),
        };
        if let Some(reason) = self.attempt_to_skip() {
            return Err(attempt.not_allowed(&reason));
        }
        let mut asked = ask(&in_force, &home, attempt.log, &procedure, self.glass.emergency())?;
        let mut written = Written { path: self.given.runbook.clone(), bytes, binding };
        let needed = asked.map_err(|reason| attempt.not_allowed(&reason))?;
        let waited = written.binding.is_none() && !needed.is_empty();
        let needed = if waited {
            let place = Place { global, home: &home, who: &who, in_force: &in_force };
            written = self.write_and_wait(&place, &mut attempt, &mut procedure.plan, &people, &needed)?;
            // Hours may have passed: it is as if the plan had been given just now, under the policies of now.
            programs = Programs::default();
            in_force = InForce::open(global, &who)?;
            attempt.goes_under(&in_force);
            asked = ask(&in_force, &home, attempt.log, &procedure, self.glass.emergency())?;
            asked.map_err(|reason| attempt.not_allowed(&reason))?
        } else {
            needed
        };
        let place = Place { global, home: &home, who: &who, in_force: &in_force };
        let sole = self.may_open(&place, &mut attempt, &procedure.plan, &written, &programs)?;
        self.approved(&place, &mut attempt, &written, &needed)?;
        let own_word = match in_force.is_empty() {
            true => self.word.permissions(global, &procedure, &user),
            false => Ok(Vec::new()),
        };
        let own = match own_word {
            Ok(given) => given,
            Err(NotPermitted::Refused(cause, why)) => return Err(attempt.refuse(cause, &why)),
            Err(NotPermitted::Failed(failure)) => return Err(failure),
        };
        let word = self.glass.word(global, self.word.given(), &user);
        let word = word.map_err(|(cause, why)| attempt.refuse(cause, &why))?;
        let secrets = Secrets::read(&procedure.plan.secrets, &people).map_err(Failure::Wrong)?;
        // A person may have taken an hour to answer, so what depends on the time, and on files that others keep, is judged again.
        let in_force = InForce::open(global, &who)?;
        attempt.goes_under(&in_force);
        let redact = in_force.redact(&home)?;
        let needed = ask(&in_force, &home, attempt.log, &procedure, self.glass.emergency())?;
        let needed = needed.map_err(|reason| attempt.not_allowed(&reason))?;
        let place = Place { global, home: &home, who: &who, in_force: &in_force };
        let Approved { approvals, overrides: signed, .. } = self.approved(&place, &mut attempt, &written, &needed)?;
        // The operator's own word is worth nothing where a policy came into force meanwhile.
        let overrides = if in_force.is_empty() { own } else { signed };
        let sinks = Sinks::of(&in_force);
        reach(&home, &who, &sinks, attempt.log)?.map_err(|why| attempt.not_allowed(&why))?;
        let (digest, bytes) = (attempt.plan.clone(), written.bytes);
        let names = procedure.plan.runbook.locks.clone();
        let holder = Holder { run: id.clone(), home: home.clone(), runbook, user: user.clone() };
        let locks = match Locks::take(&names, &holder) {
            Ok(locks) => locks,
            Err(LockError::Held(reason)) => return Err(attempt.refuse(Cause::Locked, &reason)),
            Err(error @ (LockError::Machine { .. } | LockError::Log(_))) => {
                return Err(Failure::Internal(error.to_string()));
            }
        };
        let mut state = State::default();
        if let Some(word) = word {
            let glass = broken(&in_force, &procedure, &attempt.plan, needed.without, word);
            let glass = glass.map_err(|reason| attempt.not_allowed(&reason))?;
            for event in record_and_tell(attempt.log, &id, &who, &in_force, &glass)? {
                state.apply(&event).map_err(|illegal| Failure::Internal(illegal.to_string()))?;
            }
        }
        let policies = std::mem::take(&mut attempt.policies);
        // The plan's file is synced while the run is being set up, and asked for before the first entry.
        let folder = home.run(&id);
        let keeper = {
            let (folder, runs) = (folder.clone(), home.runs());
            std::thread::spawn(move || keep_plan(&runs, &folder, &bytes))
        };
        let mut alive = None;
        let plan_is_kept = || {
            keeper.join().unwrap_or_else(|_| Err("the thread that keeps the plan came to a sudden end".to_owned()))?;
            in_force.keep(&home, &id)?;
            alive = Alive::take(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            Ok(())
        };
        let pace = if self.step { Pace::StepByStep } else { Pace::Straight };
        let alone = in_force.alone(user);
        let (decided, purpose, rerun) = (BTreeMap::new(), Purpose::GoOn, Vec::new());
        let settings = Settings { pace, people, decided, purpose, alone, rerun, until: BTreeMap::new() };
        let procedure = Arc::new(procedure);
        let run = driver::Run {
            id: id.clone(),
            procedure,
            plan: digest,
            settings,
            locks: names,
            overrides,
            policies,
            approvals,
            home: home.clone(),
            options: options(global),
            programs: Arc::new(programs),
            notify: in_force.notify(),
            redact,
            beginning: Beginning::New(Box::new(state)),
        };
        let code = carry(global, run, log, secrets, locks, plan_is_kept, &sinks);
        drop((alive, sole));
        code
    }

    /// A plan that is bound may be opened if it fits here and now, was not run before, and executes what it says.
    fn may_open(
        &self,
        place: &Place<'_>,
        attempt: &mut Attempt<'_>,
        plan: &Plan,
        written: &Written,
        programs: &Programs,
    ) -> Result<Option<Sole>, Failure> {
        let Some(binding) = &written.binding else { return Ok(None) };
        match judge(plan, binding, &attempt.plan, place.home, place.who, programs)? {
            Fits::Open(claim) => Ok(Some(claim)),
            Fits::Refused(reason) => Err(attempt.not_allowed(&reason)),
        }
    }

    /// And if its window is open, it was made under the policies in force, and those have signed it who must.
    fn approved(
        &self,
        place: &Place<'_>,
        attempt: &mut Attempt<'_>,
        written: &Written,
        needed: &Needed,
    ) -> Result<Approved, Failure> {
        let Place { global, in_force, .. } = *place;
        let Some(binding) = &written.binding else {
            // Without a plan that could be signed; it is asked again, since the rules may be others by now.
            return match needed.all().first() {
                None => Ok(Approved::default()),
                Some(first) => Err(attempt.not_allowed(&format!("approvals are asked for by now: {}", first.rule))),
            };
        };
        if let Err(reason) = binding.is_open_at(&now()) {
            return Err(attempt.not_allowed(&reason));
        }
        if let Some(reason) = in_force.differ_from(binding) {
            return Err(attempt.not_allowed(&reason));
        }
        let signable = Signable::plan(&written.bytes, binding);
        let asked_by = &binding.asked_by.user;
        gate::approved(global, in_force, needed, &signable, &written.path, asked_by, &self.approval)?
            .map_err(|reason| attempt.not_allowed(&reason))
    }

    /// A runbook that needs approvals is written down as a plan, and at a terminal the signatures are waited for.
    fn write_and_wait(
        &self,
        place: &Place<'_>,
        attempt: &mut Attempt<'_>,
        plan: &mut Plan,
        people: &People,
        needed: &Needed,
    ) -> Result<Written, Failure> {
        let Place { global, home, who, in_force } = *place;
        let binding = bind(home, who, in_force, &Window::default())?;
        plan.binding = Some(binding.clone());
        let bytes = bytes_of(plan)?;
        attempt.plan = Digest::of(bytes.as_bytes());
        let path = self.plan_out.clone().unwrap_or_else(|| default_name(&plan.runbook.name, &binding));
        write_new(&path, &bytes, Existing::Stays, "plan")?;
        let shown = path.display().to_string();
        say(&format!(
            "interlock: this run needs approvals, so its plan was written to {shown} (sha256 {}), for one run on `{}` until {}\n  \
             each of those who must sign reads and signs it with: {}",
            attempt.plan,
            binding.host,
            binding.valid_until,
            command(&["interlock", "approve", &shown])
        ));
        if !self.approval.is_empty() {
            let places: Vec<String> = self.approval.iter().map(|path| path.display().to_string()).collect();
            say(&format!("  their signatures are looked for in {} (--approval), and nowhere else", places.join(", ")));
        }
        let signable = Signable::plan(&bytes, &binding);
        if let People::Terminal = people {
            match wait(in_force, &needed.all(), &signable, &path, &self.approval)? {
                Waited::Met => {}
                Waited::TooLate(tally) => {
                    return Err(attempt.not_allowed(&gate::missing(global, &tally, &path, &self.approval)));
                }
                Waited::Interrupted(tally) => {
                    let missing = gate::missing(global, &tally, &path, &self.approval);
                    return Err(attempt.not_allowed(&format!("the waiting for signatures was ended; {missing}")));
                }
            }
        }
        Ok(Written { path, bytes, binding: Some(binding) })
    }

    fn people(&self, global: &Global, procedure: &Procedure) -> Result<People, Failure> {
        people(global, &self.attest, &self.confirm, procedure)
    }

    /// What was attempted, if it was to leave steps out.
    fn attempt_to_skip(&self) -> Option<String> {
        let what = match (&self.start_at, &self.skip) {
            (Some(step), _) => format!("asked to start at `{step}`"),
            (None, Some(step)) => format!("asked to skip `{step}`"),
            (None, None) => return None,
        };
        Some(clip(
            &format!("{what}; every step is done in its order, so there is no such way; the attempt is recorded"),
            2048,
        ))
    }
}

/// Where and by whom a run is to be, and under what.
#[derive(Clone, Copy)]
struct Place<'a> {
    global: &'a Global,
    home: &'a Home,
    who: &'a Who,
    in_force: &'a InForce,
}

/// What is to be run, as it is written.
struct Written {
    /// Its file; the runbook's where there is no binding.
    path: PathBuf,
    /// The plan's bytes.
    bytes: String,
    /// What it is for; none for what is planned and run at once.
    binding: Option<Binding>,
}

/// The name of a plan that is written because it needs approvals: the runbook's, and what makes it unlike every other.
fn default_name(runbook: &str, binding: &Binding) -> PathBuf {
    PathBuf::from(format!("{runbook}-{}.plan.yaml", &binding.nonce.as_str()[..8]))
}

/// The exit code of a run that completed, and not as written.
const WITH_DEVIATIONS: u8 = 13;

/// Carries a run out, anew or again, says how it ended, and keeps or gives up what it claimed.
pub(super) fn carry(
    global: &Global,
    run: driver::Run,
    log: Log,
    secrets: Secrets,
    locks: Locks,
    plan_is_kept: impl FnOnce() -> Result<(), String>,
    sinks: &Sinks,
) -> Result<ExitCode, Failure> {
    let format = match global.format {
        Format::Human => display::Format::Human,
        Format::Json => display::Format::Json,
    };
    let display = Display::new(format, Arc::clone(&run.procedure));
    let home = run.home.clone();
    let mut locks = locks;
    let outcome = carry_out(run, log, display, secrets, locks.unmarked(), plan_is_kept, listen);
    if let Ok(outcome) = &outcome {
        sign(&home, sinks, outcome.durable);
    }
    let outcome = outcome.map_err(|error| Failure::Internal(error.to_string()))?;
    say(&outcome.last_line);
    let code = match outcome.verdict {
        Verdict::Completed if outcome.deviations > 0 => WITH_DEVIATIONS,
        Verdict::Completed | Verdict::Abandoned => 0,
        Verdict::Undone => 9,
        Verdict::Refused(cause) => cause.exit_code(),
        // A halted run keeps what it claimed.
        Verdict::Halted(cause) => return Ok(ExitCode::from(cause.exit_code())),
    };
    locks.release();
    Ok(ExitCode::from(code))
}

/// Who can answer: the person at the terminal, or the answers given on the command line.
pub(super) fn people(
    global: &Global,
    attest: &[(StepId, String)],
    confirm: &[(StepId, String)],
    procedure: &Procedure,
) -> Result<People, Failure> {
    let mut answers = Answers::default();
    collect(attest, &mut answers.attest, "--attest", procedure)?;
    collect(confirm, &mut answers.confirm, "--confirm", procedure)?;
    if global.no_input || !prompt::somebody_is_there() {
        return Ok(People::Nobody(answers));
    }
    if answers == Answers::default() {
        return Ok(People::Terminal);
    }
    Err(Failure::Wrong(
        "--attest and --confirm are for runs without a terminal; with one, the questions are asked (or say --no-input)"
            .to_owned(),
    ))
}

fn collect(
    given: &[(StepId, String)],
    into: &mut BTreeMap<StepId, String>,
    what: &str,
    procedure: &Procedure,
) -> Result<(), Failure> {
    for (step, words) in given {
        if !procedure.steps().iter().any(|other| other.id == *step) {
            return Err(Failure::Wrong(format!("{what} {step}=…: the runbook has no step `{step}`")));
        }
        if into.insert(step.clone(), words.clone()).is_some() {
            return Err(Failure::Wrong(format!("{what} is given twice for step `{step}`")));
        }
    }
    Ok(())
}

fn new_run_id() -> RunId {
    uuid::Uuid::now_v7().to_string().parse().expect("a UUID prints as a run id")
}

/// Writes the plan to the run's folder, durably, before the log speaks of it.
fn keep_plan(runs: &Path, folder: &Path, bytes: &str) -> Result<(), String> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let path = folder.join("plan.yaml");
    let write = || -> std::io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(runs)?;
        std::fs::DirBuilder::new().mode(0o700).create(folder)?;
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(bytes.as_bytes())?;
        file.sync_all()?;
        std::fs::File::open(folder)?.sync_all()?;
        std::fs::File::open(runs)?.sync_all()
    };
    write().map_err(|error| format!("the plan cannot be kept in {}: {error}", path.display()))
}

/// Takes the signals that ask to stop into the loop, for as long as the program runs.
fn listen(sink: SignalSink) {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGXFSZ};
    // A limit on file sizes is an error of a write, not an end of the program.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).expect("a handler for this signal can be set");
    // A program that is stopped from the keyboard, or for using it from the background, would leave the step unwatched.
    crate::exec::signals::use_the_terminal_from_the_background();
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGTSTP])
        .expect("handlers for these signals can be set");
    std::thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGINT => sink.take(StopSignal::Keyboard("SIGINT")),
                SIGTERM => sink.take(StopSignal::Now("SIGTERM")),
                SIGQUIT => sink.take(StopSignal::Now("SIGQUIT")),
                SIGTSTP => sink.suspend_asked(),
                _ => sink.take(StopSignal::AfterStep("SIGHUP")),
            }
        }
    });
}
