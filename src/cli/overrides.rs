//! `interlock override`, and what `resume` and `abandon` take from it: permission to leave the procedure, asked for in a file, and used
//! once. What is asked for a lock whose run is gone is in `stale_lock`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::audit::{Draft, Home, Log};
use crate::cli::approvals::{Signable, command, keygen, offered, tally};
use crate::cli::failure::{Failure, say};
use crate::cli::gate::{full_command, tell_now};
use crate::cli::in_force::InForce;
use crate::cli::keep::keep;
use crate::cli::needed::{Emergency, asks, permission};
use crate::cli::own_word::{Asked, OwnWord, own_word};
use crate::cli::stale_lock::Wanted;
use crate::cli::status::{OpenRun, find};
use crate::cli::take_over::is_to_be_asked_for;
use crate::cli::whole::Existing;
use crate::cli::{Global, bound, place, plan};
use crate::consent::question::Requirement;
use crate::consent::recorded::{MOST_REASON, MOST_USER};
use crate::consent::request::{Asks, Request, StaleClaim, VERSION};
use crate::consent::signature::Namespace;
use crate::history::approval::Approval;
use crate::history::clip::clip;
use crate::history::deviation::{Deviation, DeviationKind, Override as Permission};
use crate::history::entry::Who;
use crate::history::event::{Cause, Event};
use crate::history::state::{State, StepStatus};
use crate::id::{Digest, Fact, Moment, RunId, StepId};
use crate::machine::overrides::{is_possible, rule_of};
use crate::plan::{AskedBy, Here, Procedure, action_in_words};
use crate::report::story::by_whom;
use crate::runbook::duration;
use crate::runbook::model::OverrideRule;

/// The largest request, in bytes.
const LARGEST: u64 = 256 << 10;

/// Asks for permission to leave the procedure of a halted run, or to remove the lock of one that is gone, in a file.
///
/// Nothing is done by it. `interlock resume RUN --override FILE` uses it, once, for this run and this one step or fact, until it
/// expires. What it permits is a deviation: it is recorded with its reason, and a run that completes with one ends with exit code 13.
/// `interlock unlock LOCK --override FILE` uses one for a lock.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock override 019a8f6e --skip announce --reason 'the channel is down, told by phone' -o request.yaml
  interlock override 019a8f6e --waive change='monit stopped' --reason 'monit is masked by hand' -o request.yaml
  interlock override 019a8f6e --accept change --reason 'finished by hand, checked with amy' -o request.yaml
  interlock resume 019a8f6e --override request.yaml
  interlock override --stale-lock 'postgres /srv/pg' --reason 'its disk died; looked at with amy' -o request.yaml

Exit codes: 0 the request was written, 2 wrong arguments, 4 nobody can permit it (`override: never`), 5 the lock's run is going on or can be
ended.")]
pub struct Override {
    /// The run's id, or the beginning of it; not with --stale-lock
    #[arg(required_unless_present = "stale_lock", conflicts_with = "stale_lock")]
    run: Option<String>,
    #[command(flatten)]
    what: What,
    /// Why
    #[arg(long)]
    reason: String,
    /// How long the request may be used from now on
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1h")]
    valid_for: std::time::Duration,
    /// Until when it may be used instead, in UTC, such as 2026-11-22T04:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "valid_for")]
    until: Option<Moment>,
    /// The file to write, which must not exist
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

/// What is asked for.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Do not do this step
    #[arg(long, value_name = "STEP")]
    skip: Option<StepId>,
    /// Let one attempt of this step run while this fact does not hold
    #[arg(long, value_name = "STEP=FACT", value_parser = waiver)]
    waive: Option<(StepId, Fact)>,
    /// Go on as if this step, which failed or is in doubt, were done
    #[arg(long, value_name = "STEP")]
    accept: Option<StepId>,
    /// Go on outside the change window, or in a freeze
    #[arg(long)]
    outside_window: bool,
    /// Give the run up as it stands
    #[arg(long)]
    abandon: bool,
    /// Go on with the run, which is another person's
    #[arg(long)]
    take_over: bool,
    /// Remove this lock, whose run is gone
    #[arg(long, value_name = "LOCK")]
    stale_lock: Option<String>,
}

pub(super) fn waiver(text: &str) -> Result<(StepId, Fact), String> {
    let (step, fact) = text.split_once('=').ok_or("expected STEP=FACT, such as change='monit stopped'")?;
    let step = step.parse().map_err(|error: crate::id::IdError| error.to_string())?;
    let fact = fact.parse().map_err(|error: crate::id::IdError| error.to_string())?;
    Ok((step, fact))
}

impl What {
    fn deviation(&self, state: &State) -> Deviation {
        if let Some(step) = &self.skip {
            return Deviation::Skip { step: step.clone() };
        }
        if let Some((step, fact)) = &self.waive {
            return Deviation::Waive { step: step.clone(), fact: fact.clone() };
        }
        if let Some(step) = &self.accept {
            let step = step.clone();
            let stands = state.steps.iter().find(|reached| reached.id == step);
            return match stands.map(|reached| reached.status) {
                Some(StepStatus::Open | StepStatus::InDoubt) => Deviation::AcceptInDoubt { step },
                _ => Deviation::AcceptFailed { step },
            };
        }
        match self {
            Self { outside_window: true, .. } => Deviation::OutsideWindow {},
            Self { take_over: true, .. } => Deviation::TakeOver {},
            Self { .. } => Deviation::Abandon {},
        }
    }
}

impl Override {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        if self.reason.trim().is_empty() {
            return Err(Failure::Wrong("--reason is empty; say why the procedure is to be left".to_owned()));
        }
        let home = place::home(global)?;
        let who = place::who()?;
        let in_force = InForce::open(global, &who)?;
        if let Some(lock) = &self.what.stale_lock {
            let wanted = Wanted { lock, reason: &self.reason, home: &home, who: &who, in_force: &in_force };
            let about = wanted.to_ask()?;
            return self.write(global, &who, &in_force, about);
        }
        let run = self.run.as_deref().ok_or_else(|| Failure::Wrong("say which run (RUN)".to_owned()))?;
        let (open, alive) = find(&home, run)?;
        let procedure = open.procedure(&home)?;
        let deviation = self.what.deviation(&open.state);
        let attempt = Attempt { open: &open, procedure: &procedure, home: &home, who: &who, in_force: &in_force };
        if let Err(why) = is_possible(&procedure, &open.state, &deviation) {
            return Err(match rule_of(&procedure, &deviation) {
                OverrideRule::Never => attempt.refused(deviation, &self.reason, None, why)?,
                OverrideRule::Unsaid | OverrideRule::Needs { .. } => Failure::Wrong(why),
            });
        }
        if deviation == (Deviation::TakeOver {}) {
            is_to_be_asked_for(&in_force, &open, &procedure, &who)?;
        }
        if in_force.is_empty() && deviation == (Deviation::OutsideWindow {}) {
            return Err(Failure::Wrong("no policy is in force, so there is no change window to leave".to_owned()));
        }
        if !in_force.is_empty()
            && let Err(why) = attempt.needed(&deviation)?
        {
            return Err(attempt.refused(deviation, &self.reason, None, why)?);
        }
        drop(alive);
        let about = About {
            run: open.run.clone(),
            plan: Some(open.plan_digest()?),
            runbook: open.runbook.clone(),
            labels: procedure.plan.runbook.labels.clone(),
            step_does: step_does(&procedure, &deviation),
            asks: asks(&procedure, &deviation).map_err(Failure::Wrong)?,
            deviation,
            claim: None,
        };
        self.write(global, &who, &in_force, about)
    }

    /// Writes the request, and says what is to be done with it.
    fn write(&self, global: &Global, who: &Who, in_force: &InForce, about: About) -> Result<ExitCode, Failure> {
        let About { run, plan, runbook, labels, deviation, claim, step_does, asks } = about;
        let made = bound::now();
        let request = Request {
            interlock_override: VERSION,
            run,
            plan,
            runbook,
            labels,
            deviation,
            claim,
            step_does,
            asks,
            reason: clip(&self.reason, 4096),
            asked_by: AskedBy { user: by_whom(who), person: in_force.person() },
            host: who.host.clone(),
            machine: bound::machine_id()?,
            valid_until: self.valid_until(&made)?,
            made,
            nonce: bound::nonce()?,
            policies: in_force.marks(),
        };
        let text = request.to_yaml().map_err(|error| Failure::Internal(error.to_string()))?;
        plan::write_new(&self.output, &text, Existing::by_force(self.force), "request")?;
        let file = self.output.display().to_string();
        say(&format!(
            "interlock: wrote {file}: {}, until {}; SHA-256 {}",
            request.deviation,
            request.valid_until,
            Digest::of(text.as_bytes())
        ));
        let how = how_to_use(&request, &file);
        let next = full_command(global, &how.iter().map(String::as_str).collect::<Vec<_>>());
        if !in_force.is_empty() {
            say(&format!(
                "interlock: have it signed by those whom the policy names: {}",
                command(&["interlock", "approve", &file])
            ));
        }
        say(&format!("interlock: use it with: {next}"));
        Ok(ExitCode::SUCCESS)
    }
}

/// What a request is about.
pub(super) struct About {
    /// The run, or the one that claims the lock.
    pub run: RunId,
    /// Its plan; none for a lock.
    pub plan: Option<Digest>,
    /// Its runbook.
    pub runbook: String,
    /// The runbook's labels.
    pub labels: BTreeMap<String, String>,
    /// What is asked for.
    pub deviation: Deviation,
    /// What the lock's claim says.
    pub claim: Option<StaleClaim>,
    /// What the step would do.
    pub step_does: Option<String>,
    /// Whose signatures the runbook asks for.
    pub asks: Option<Asks>,
}

/// The words, behind the program's name, of the command that uses a request.
pub(super) fn how_to_use(request: &Request, file: &str) -> Vec<String> {
    let run = request.run.as_str();
    let words: &[&str] = match &request.deviation {
        Deviation::StaleLock { lock } => &["unlock", lock, "--override", file, "--reason", "WHY"],
        Deviation::Abandon {} => &["abandon", run, "--override", file, "--reason", "WHY"],
        Deviation::TakeOver {} => &["resume", run, "--take-over", "--reason", "WHY", "--override", file],
        Deviation::Skip { .. }
        | Deviation::Waive { .. }
        | Deviation::AcceptFailed { .. }
        | Deviation::AcceptInDoubt { .. }
        | Deviation::OutsideWindow {}
        | Deviation::BreakGlass {} => &["resume", run, "--override", file],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Override {
    /// Until when the request may be used.
    fn valid_until(&self, made: &Moment) -> Result<Moment, Failure> {
        match &self.until {
            Some(until) if until <= made => Err(Failure::Wrong(format!("--until {until} is over: it is {made}"))),
            Some(until) => Ok(until.clone()),
            None => bound::later(made, self.valid_for),
        }
    }
}

/// Permissions, as `resume` is given them.
#[derive(Debug, clap::Args)]
pub struct Given {
    /// Use this request for a deviation, once; may be given many times
    #[arg(long = "override", value_name = "FILE")]
    requests: Vec<PathBuf>,
    /// Permits the deviation of this step on your own word, where there is no terminal and no policy asks for signatures
    #[arg(long, value_name = "STEP")]
    self_approve: Vec<String>,
}

/// Where a deviation is attempted, and by whom.
struct Attempt<'a> {
    open: &'a OpenRun,
    procedure: &'a Procedure,
    home: &'a Home,
    who: &'a Who,
    in_force: &'a InForce,
}

/// The signatures that permit a deviation.
pub(super) struct Signed {
    /// By whom.
    pub persons: Vec<String>,
    /// Until when the first of the rules that ask for them lets them count.
    pub until: Moment,
    /// As they are recorded.
    pub approvals: Vec<Approval>,
}

/// What was permitted, and the signatures by which it was.
#[derive(Debug, Default)]
pub struct Permitted {
    /// The permissions.
    pub overrides: Vec<Permission>,
    /// The signatures over their requests.
    pub approvals: Vec<Approval>,
    /// Until when each may be used.
    pub until: BTreeMap<Deviation, Moment>,
    /// The requests that were given, to the byte.
    pub requests: Requests,
}

/// Requests for deviations, to the byte, each with its digest. They are kept beside the run's plan before anything of them is recorded, so
/// that what was signed can be read and its signatures be checked for as long as there is the log.
#[derive(Debug, Default)]
pub struct Requests(Vec<(Digest, String)>);

impl Requests {
    /// Keeps them.
    ///
    /// # Errors
    /// In words.
    pub fn keep(&self, home: &Home, run: &RunId) -> Result<(), String> {
        let files: Vec<(String, &[u8])> =
            self.0.iter().map(|(digest, text)| (format!("{digest}.request.yaml"), text.as_bytes())).collect();
        keep(&home.run(run), "requests", &files)
    }
}

impl Given {
    /// A word for nothing, which would be passed over in silence.
    pub fn is_pointless(&self, emergency: Emergency) -> bool {
        !self.self_approve.is_empty() && self.requests.is_empty() && emergency == Emergency::No
    }

    /// What was permitted on the command line.
    pub fn self_approved(&self) -> &[String] {
        &self.self_approve
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The permissions that are valid here and now: signed by those whom the policies ask, or, without a policy, on the operator's own word.
    /// The first that is not ends the command, with an entry.
    pub fn permissions(
        &self,
        global: &Global,
        in_force: &InForce,
        open: &OpenRun,
        procedure: &Procedure,
        home: &Home,
        who: &Who,
    ) -> Result<Permitted, Failure> {
        let attempt = Attempt { open, procedure, home, who, in_force };
        let mut permitted = Permitted::default();
        for path in &self.requests {
            let text = read(path)?;
            let request =
                Request::from_file(&text).map_err(|error| Failure::Wrong(format!("{}: {error}", path.display())))?;
            let digest = Digest::of(text.as_bytes());
            if let Err(why) = attempt.is_allowed(&request, &digest) {
                return Err(attempt.refused(request.deviation, &request.reason, Some(digest), why)?);
            }
            let mut permission = Permission {
                deviation: request.deviation.clone(),
                reason: clip(&request.reason, MOST_REASON),
                asked_by: clip(&request.asked_by.user, MOST_USER),
                request: Some(digest.clone()),
                self_approved: None,
                approved_by: Vec::new(),
            };
            let mut until = request.valid_until.clone();
            if in_force.is_empty() {
                let asked =
                    Asked { deviation: &request.deviation, by: &request.asked_by.user, reason: &request.reason };
                match own_word(global, &self.self_approve, asked) {
                    // An hour may have passed while it was asked.
                    Ok(by) => match attempt.is_allowed(&request, &digest) {
                        Ok(()) => permission.self_approved = Some(by),
                        Err(why) => {
                            return Err(attempt.refused(request.deviation, &request.reason, Some(digest), why)?);
                        }
                    },
                    Err(OwnWord::Declined(why)) => {
                        return Err(attempt.refused(request.deviation, &request.reason, Some(digest), why)?);
                    }
                    Err(OwnWord::NobodyThere(why)) => {
                        say(&format!("interlock: refused: {why}"));
                        return Err(Failure::Said(Cause::PersonNeeded.exit_code()));
                    }
                }
            } else {
                match attempt.signed(path, &text, &request)? {
                    Ok(signed) => {
                        permission.approved_by = signed.persons;
                        until = until.min(signed.until);
                        permitted.approvals.extend(signed.approvals);
                    }
                    Err(why) => {
                        return Err(attempt.refused(request.deviation, &request.reason, Some(digest), why)?);
                    }
                }
            }
            // Of several for the same, the last to end counts.
            let last = permitted.until.entry(request.deviation).or_insert_with(|| until.clone());
            *last = until.max(last.clone());
            permitted.overrides.push(permission);
            permitted.requests.0.push((digest, text));
        }
        Ok(permitted)
    }
}

impl Attempt<'_> {
    fn is_allowed(&self, request: &Request, digest: &Digest) -> Result<(), String> {
        let machine = bound::machine_id().map_err(|_| "the machine's id cannot be read".to_owned())?;
        let now = bound::now();
        let plan = self.open.plan_digest().map_err(|_| "the run has no plan".to_owned())?;
        request.fits(&self.open.run, Some(&plan), Here { host: &self.who.host, machine: &machine, now: &now })?;
        if request.deviation == (Deviation::TakeOver {}) {
            if self.open.is_of(self.who) {
                return Err("the run is yours, so there is nothing to take over".to_owned());
            }
            // They have signed that this person may.
            if request.asked_by.person != self.in_force.person() {
                return Err("the request was made by another person than takes the run over; ask yourself".to_owned());
            }
        }
        if self.open.state.overrides.requests.contains(digest) {
            return Err("this request was used already, and each is used once; ask again".to_owned());
        }
        let runbook = &self.procedure.plan.runbook;
        // Who signs goes by these, so they must be those of the run.
        let described = (&request.runbook, &request.labels, &request.step_does, &request.asks);
        let does = step_does(self.procedure, &request.deviation);
        if described != (&runbook.name, &runbook.labels, &does, &asks(self.procedure, &request.deviation)?) {
            return Err("what the request says of the runbook or the step is not so; ask again".to_owned());
        }
        is_possible(self.procedure, &self.open.state, &request.deviation)?;
        if request.policies != self.in_force.marks() {
            return Err("the request was made under other policies than are in force now; ask again".to_owned());
        }
        match rule_of(self.procedure, &request.deviation) {
            OverrideRule::Needs { of, .. } if request.deviation.kind() != DeviationKind::Abandon => {
                self.in_force.policies().knows_group(of).map_err(|error| error.to_string())
            }
            OverrideRule::Unsaid | OverrideRule::Never | OverrideRule::Needs { .. } => Ok(()),
        }
    }

    /// The signatures that the policies in force ask for, for a deviation of this kind.
    ///
    /// # Errors
    /// Inside: why nobody can permit it. Outside: the log cannot be read.
    fn needed(&self, deviation: &Deviation) -> Result<Result<Vec<Requirement>, String>, Failure> {
        let runbook = &self.procedure.plan.runbook;
        if *deviation == (Deviation::OutsideWindow {}) && self.in_force.closed(runbook, chrono::Utc::now()).is_none() {
            return Ok(Err("no change window is closed and nothing is frozen, so nothing has to be left".to_owned()));
        }
        let operator = match self.in_force.may_operate(self.home, None)? {
            Ok(operator) => operator,
            Err(why) => return Ok(Err(why)),
        };
        Ok(permission(self.in_force, self.procedure, deviation, &operator, Namespace::Override))
    }

    /// The persons who have signed a request, if they are those whom the policies ask for, with what is to be recorded of it.
    ///
    /// # Errors
    /// Inside: who is missing, and what to do. Outside: signatures cannot be looked at.
    fn signed(&self, path: &Path, text: &str, request: &Request) -> Result<Result<Signed, String>, Failure> {
        let needed = match self.needed(&request.deviation)? {
            Ok(needed) => needed,
            Err(why) => return Ok(Err(why)),
        };
        signed(self.in_force, path, text, request, &needed)
    }

    /// Records that a deviation was refused, and says so.
    fn refused(
        &self,
        deviation: Deviation,
        reason: &str,
        request: Option<Digest>,
        why: String,
    ) -> Result<Failure, Failure> {
        let said = format!("interlock: refused: {deviation}: {why}");
        let event = self.in_force.recordable(Event::OverrideRefused {
            deviation,
            reason: clip(reason, 4096),
            asked_by: by_whom(self.who),
            request,
            why: clip(&why.replace("\n  ", "; "), 4096),
        });
        record(self.in_force, self.home, self.who, &self.open.run, &event)?;
        say(&said);
        Ok(Failure::Said(Cause::NotAllowed.exit_code()))
    }
}

/// The persons who have signed a request, if they are those who are needed, with what is to be recorded of it.
///
/// # Errors
/// Inside: who is missing, and what to do. Outside: signatures cannot be looked at.
pub(super) fn signed(
    in_force: &InForce,
    path: &Path,
    text: &str,
    request: &Request,
    needed: &[Requirement],
) -> Result<Result<Signed, String>, Failure> {
    let signable = Signable::request(text, request);
    let tally = tally(in_force, &keygen()?, &signable, needed, &offered(Some(path), &[])?, chrono::Utc::now());
    if !tally.is_met() {
        let mut lines = vec!["signatures over the request are missing".to_owned()];
        lines.extend(tally.in_words());
        if tally.lacking.iter().any(|lacking| lacking.stale.is_some()) {
            lines.push("ask again with `interlock override`, and have that signed".to_owned());
        } else {
            let file = path.display().to_string();
            lines.push(format!("each of them signs with `{}`", command(&["interlock", "approve", &file])));
        }
        return Ok(Err(lines.join("\n  ")));
    }
    let persons = tally.signed().into_iter().map(ToString::to_string).collect();
    let approvals = tally.approvals(in_force, &signable, needed, &[]);
    let ends = needed.iter().map(|requirement| requirement.valid_until(signable.made));
    let until = ends.min().map_or_else(|| request.valid_until.clone(), Moment::of);
    Ok(Ok(Signed { persons, until, approvals }))
}

/// What the step would do that a deviation is about, for people.
fn step_does(procedure: &Procedure, deviation: &Deviation) -> Option<String> {
    let step = deviation.step().and_then(|id| procedure.steps().iter().find(|step| step.id == *id))?;
    Some(clip(&action_in_words(&step.action), 8192))
}

fn record(in_force: &InForce, home: &Home, who: &Who, run: &RunId, event: &Event) -> Result<(), Failure> {
    let mut log = Log::open(home, who.clone()).map_err(|error| Failure::Internal(error.to_string()))?;
    let recorded =
        log.append(&[Draft { run: Some(run), event }]).map_err(|error| Failure::Internal(error.to_string()))?;
    tell_now(&in_force.notify(), in_force.censor(), &mut log, &recorded);
    Ok(())
}

pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let wrong = |why: String| Failure::Wrong(format!("{}: {why}", path.display()));
    // Nothing that only looks like a file may hold up the run.
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| wrong(error.to_string()))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(wrong("it is not a regular file".to_owned()));
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > LARGEST { Err(wrong("it is too long to be a request".to_owned())) } else { Ok(text) }
}
