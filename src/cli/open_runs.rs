//! `interlock resume`, `undo` and `abandon`: what becomes of runs that are not over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::audit::{Draft, Home, Log};
use crate::cli::deviations::left_over;
use crate::cli::failure::{Failure, say};
use crate::cli::gate::{Calendar, Standing, full_command, may_go_on, not_taken_up, options, tell_now};
use crate::cli::glass::{BreakGlass, broken, record_and_tell};
use crate::cli::in_force::InForce;
use crate::cli::needed::Emergency;
use crate::cli::overrides::{Given, Permitted, Requests};
use crate::cli::rerun::reruns;
use crate::cli::run::{answer, carry, people};
use crate::cli::sinks::Sinks;
use crate::cli::status::{OpenRun, find};
use crate::cli::take_over::{TakeOver, TakeOverWithoutReason, is_permitted, may_take_over};
use crate::cli::{Global, place};
use crate::driver::launch::{Secrets, end_left};
use crate::driver::locks::{Holder, LockError, Locks};
use crate::driver::stale::free_moved;
use crate::driver::{self, Beginning};
use crate::exec::containment::Containment;
use crate::history::clip::clip;
use crate::history::deviation::{Deviation, Override};
use crate::history::entry::Who;
use crate::history::event::{AnsweredBy, Cause, Event};
use crate::id::StepId;
use crate::machine::{Choice, Pace, Purpose, Resumption, Settings};
use crate::report::story::by_whom;

/// How many entries are written at once when a run is given up, or a lock is removed: four of the longest fit one write.
pub(super) const AT_ONCE: usize = 4;

/// Goes on with a run that had halted or was killed, by the plan it was started with.
///
/// Every fact that is held at that point is looked at before anything else. A step that failed is attempted again from its start;
/// one that nobody saw end is in doubt, and the runbook's rule or a person decides. After a broken fact, the step that had ensured it
/// can be run again first: at a terminal it is asked for, without one say --rerun.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock resume 019a8f6e
  interlock resume 019a8f6e --decide change=undo
  interlock resume 019a8f6e --rerun stop-monit --decide change=retry
  interlock resume 019a8f6e --override request.yaml
  interlock resume 019a8f6e --take-over --reason 'amy went home, I have her notes'
  interlock resume 019a8f6e --take-over --reason 'amy went home' --override request.yaml     where a policy asks for signatures")]
pub struct Resume {
    /// The run's id, or the beginning of it
    run: String,
    /// What to do about a step that failed or is in doubt: STEP=retry or STEP=undo
    #[arg(long, value_name = "STEP=CHOICE", value_parser = decision)]
    decide: Vec<(StepId, Choice)>,
    /// Run this step again first, because what it had ensured is broken; may be given many times
    #[arg(long, value_name = "STEP")]
    rerun: Vec<StepId>,
    #[command(flatten)]
    overrides: Given,
    #[command(flatten)]
    glass: BreakGlass,
    #[command(flatten)]
    takeover: TakeOver,
    /// A further signature over the run's plan, or a folder with signatures (*.sig), where those in the log are not enough any more
    #[arg(long, value_name = "FILE")]
    approval: Vec<PathBuf>,
    /// Says, where there is no terminal, that a manual step is done, in words that are recorded
    #[arg(long, value_name = "STEP=WORDS", value_parser = answer)]
    attest: Vec<(StepId, String)>,
    /// The answer to a step's confirmation, where there is no terminal
    #[arg(long, value_name = "STEP=WORDS", value_parser = answer)]
    confirm: Vec<(StepId, String)>,
}

/// Takes back every step of a run that was done or begun, the last first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock undo 019a8f6e
  interlock undo 019a8f6e --rerun stop-monit       what an undo requires is broken: first run again what had ensured it

Exit codes: 0 everything that could be taken back was, 10 going back failed or ends at an irreversible step.")]
pub struct Undo {
    /// The run's id, or the beginning of it
    run: String,
    /// Run this step again first, because what it had ensured is broken; may be given many times
    #[arg(long, value_name = "STEP")]
    rerun: Vec<StepId>,
    #[command(flatten)]
    takeover: TakeOver,
    /// Says, where there is no terminal, that a manual undo or a step that is run again is done, in words that are recorded
    #[arg(long, value_name = "STEP=WORDS", value_parser = answer)]
    attest: Vec<(StepId, String)>,
    /// The answer to the confirmation of a step that is run again, where there is no terminal
    #[arg(long, value_name = "STEP=WORDS", value_parser = answer)]
    confirm: Vec<(StepId, String)>,
}

/// Gives a run up as it stands: nothing more is done, its locks are free, and the reason is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  interlock abandon 019a8f6e --reason 'restored from the backup instead'")]
pub struct Abandon {
    /// The run's id, or the beginning of it
    run: String,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    overrides: Given,
    #[command(flatten)]
    takeover: TakeOverWithoutReason,
}

fn decision(text: &str) -> Result<(StepId, Choice), String> {
    let (step, choice) = text.split_once('=').ok_or("expected STEP=retry or STEP=undo")?;
    let step = step.parse().map_err(|error: crate::id::IdError| error.to_string())?;
    match choice {
        "retry" => Ok((step, Choice::Retry)),
        "undo" => Ok((step, Choice::Undo)),
        other => Err(format!("`{other}` is neither `retry` nor `undo`")),
    }
}

/// What `resume` and `undo` have in common.
struct Again<'a> {
    run: &'a str,
    purpose: Purpose,
    decide: &'a [(StepId, Choice)],
    rerun: &'a [StepId],
    overrides: Option<&'a Given>,
    glass: &'a BreakGlass,
    takeover: &'a TakeOver,
    attest: &'a [(StepId, String)],
    confirm: &'a [(StepId, String)],
    approval: &'a [PathBuf],
}

fn take_up(global: &Global, again: &Again<'_>) -> Result<ExitCode, Failure> {
    let home = place::home(global)?;
    let who = place::who()?;
    let in_force = InForce::open(global, &who)?;
    let (open, alive) = find(&home, again.run)?;
    let command = match again.purpose {
        Purpose::GoOn => "resume",
        Purpose::TakeBack => "undo",
    };
    let refused = |reason: &str| not_taken_up(&home, &who, &in_force, &open.run, command, reason);
    let _ = in_force.may_operate(&home, None)?.map_err(|reason| refused(&reason))?;
    if again.overrides.is_some_and(|given| given.is_pointless(again.glass.emergency())) {
        return Err(Failure::Wrong(
            "--self-approve permits what --override or --break-glass asks for, and there is neither".to_owned(),
        ));
    }
    if again.glass.emergency() == Emergency::BreakGlass && open.state.back.is_some() {
        return Err(Failure::Wrong("going back needs no approvals, so there is no glass to break".to_owned()));
    }
    let takeover = again.takeover;
    let taken_over = may_take_over(&open, &who, takeover.take_over, takeover.reason.as_deref())
        .map_err(|reason| refused(&reason))?;
    let procedure = open.procedure(&home)?;
    let mut decided = BTreeMap::new();
    for (step, choice) in again.decide {
        if !procedure.steps().iter().any(|other| other.id == *step) {
            return Err(Failure::Wrong(format!("--decide {step}=…: the run has no step `{step}`")));
        }
        decided.insert(step.clone(), *choice);
    }
    let reruns = reruns(&procedure, &open.state, again.rerun, in_force.censor())?;
    if let Some(step) = reruns.once_more {
        decided.entry(step).or_insert(Choice::Retry);
    }
    let people = people(global, again.attest, again.confirm, &procedure)?;
    let given = again.overrides.map_or(&[][..], Given::self_approved);
    let word = again.glass.word(global, given, &by_whom(&who)).map_err(|(cause, why)| match cause {
        Cause::PersonNeeded => {
            say(&format!("interlock: refused: {why}"));
            Failure::Said(cause.exit_code())
        }
        _ => refused(&why),
    })?;
    let secrets = Secrets::read(&procedure.plan.secrets, &people).map_err(Failure::Wrong)?;
    // A person may have taken an hour to answer: what follows is judged after that, under the policies of now.
    let in_force = InForce::open(global, &who)?;
    let redact = in_force.redact(&home)?;
    let refused = |reason: &str| not_taken_up(&home, &who, &in_force, &open.run, command, reason);
    let operator = in_force.may_operate(&home, None)?.map_err(|reason| refused(&reason))?;
    let mut overrides = Vec::new();
    let (mut signed, mut requests, mut until) = (Vec::new(), Requests::default(), BTreeMap::new());
    if let Some(given) = again.overrides {
        let permitted = given.permissions(global, &in_force, &open, &procedure, &home, &who)?;
        if permitted.overrides.iter().any(|given| given.deviation == (Deviation::Abandon {})) {
            return Err(Failure::Wrong("a request to give the run up is for `interlock abandon`".to_owned()));
        }
        if taken_over.is_none() && permitted.overrides.iter().any(|given| given.deviation == (Deviation::TakeOver {})) {
            return Err(Failure::Wrong(
                "the request is to take the run over, so say --take-over and why (--reason) as well".to_owned(),
            ));
        }
        overrides.extend(permitted.overrides);
        (signed, requests, until) = (permitted.approvals, permitted.requests, permitted.until);
    }
    // Going back is never kept from anybody by a window that is over, or by an approval that is.
    let (mut approvals, mut without) = (Vec::new(), Vec::new());
    if again.purpose == Purpose::GoOn && open.state.back.is_none() {
        is_permitted(&in_force, &operator, &open, &procedure, &who, &overrides).map_err(|reason| {
            refused(&format!(
                "{reason}\n  `interlock undo {} --take-over --reason WHY` takes back what was done",
                open.run
            ))
        })?;
        let text = open.plan_text(&home)?;
        let leaves = overrides.iter().any(|given| given.deviation == (Deviation::OutsideWindow {}));
        let calendar = if leaves { Calendar::Left } else { Calendar::Binds };
        let standing = Standing {
            state: &open.state,
            procedure: &procedure,
            bytes: &text,
            named: again.approval,
            emergency: again.glass.emergency(),
        };
        let planned = left_over(&procedure, &open.state);
        let allowed = may_go_on(&in_force, &operator, &standing, planned, calendar)?.map_err(|reason| {
            refused(&format!("{reason}\n  `interlock undo {}` takes back what was done", open.run))
        })?;
        without = allowed.without;
        approvals = allowed.approvals;
        // What stands in the plan counts as the plan's approvals do: for what is begun in their time.
        until.retain(|deviation, _| !allowed.overrides.iter().any(|planned| planned.deviation == *deviation));
        overrides.splice(0..0, allowed.overrides);
    }
    approvals.extend(signed);
    let user = by_whom(&who);
    let (run, runbook) = (open.run.clone(), open.runbook.clone());
    let holder = Holder { run, home: home.clone(), runbook, user: user.clone() };
    // Before the locks: whoever may not write this log must not touch what its runs claim.
    let mut log = Log::open(&home, who.clone()).map_err(|error| Failure::Internal(error.to_string()))?;
    // From here on the log itself sees to it that nobody else goes under more in between.
    if let Some(reason) = in_force.weakened(&home, None)? {
        return Err(refused(&reason));
    }
    let locks = Locks::take(&open.locks, &holder).map_err(|error| match error {
        LockError::Held(reason) => {
            say(&format!("interlock: refused: {reason}"));
            Failure::Said(Cause::Locked.exit_code())
        }
        LockError::Machine { .. } | LockError::Log(_) => Failure::Internal(error.to_string()),
    })?;
    let plan = open.plan_digest()?;
    let mut state = open.state;
    if let Some(word) = word {
        let glass = broken(&in_force, &procedure, &plan, without, word).map_err(|why| refused(&why))?;
        for event in record_and_tell(&mut log, &open.run, &who, &in_force, &glass)? {
            state.apply(&event).map_err(|illegal| Failure::Internal(illegal.to_string()))?;
        }
    }
    // What is left of the step in doubt is ended when the run is set up.
    let resumption = Resumption { taken_over, ended: Vec::new() };
    let kept = (home.clone(), open.run.clone());
    let run = driver::Run {
        id: open.run,
        procedure: Arc::new(procedure),
        plan,
        settings: Settings {
            pace: Pace::Straight,
            people,
            decided,
            purpose: again.purpose,
            alone: in_force.alone(user),
            rerun: reruns.first,
            until,
        },
        locks: open.locks,
        overrides,
        policies: in_force.recorded(),
        approvals,
        home,
        options: options(global),
        programs: Arc::default(),
        notify: in_force.notify(),
        redact,
        beginning: Beginning::Again(Box::new(state), resumption),
    };
    let keep = || in_force.keep(&kept.0, &kept.1).and_then(|()| requests.keep(&kept.0, &kept.1));
    let code = carry(global, run, log, secrets, locks, keep, &Sinks::of(&in_force));
    drop(alive);
    code
}

impl Resume {
    /// Carries it out.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let (purpose, takeover, overrides) = (Purpose::GoOn, &self.takeover, Some(&self.overrides));
        let (decide, rerun, attest, confirm) = (&self.decide, &self.rerun, &self.attest, &self.confirm);
        let approval = &self.approval;
        take_up(
            global,
            &Again {
                run: &self.run,
                purpose,
                decide,
                rerun,
                overrides,
                glass: &self.glass,
                takeover,
                attest,
                confirm,
                approval,
            },
        )
    }
}

impl Undo {
    /// Carries it out. What was asked for was done when everything is taken back, so that is exit 0 here.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        let (purpose, takeover) = (Purpose::TakeBack, &self.takeover);
        let (rerun, attest, confirm) = (&self.rerun, &self.attest, &self.confirm);
        let again = Again {
            run: &self.run,
            purpose,
            decide: &[],
            rerun,
            overrides: None,
            glass: &BreakGlass::default(),
            takeover,
            attest,
            confirm,
            approval: &[],
        };
        let code = take_up(global, &again)?;
        Ok(if code == ExitCode::from(9) { ExitCode::SUCCESS } else { code })
    }
}

impl Abandon {
    /// Carries it out: what the run left running is ended, and its locks are free.
    pub fn go(&self, global: &Global) -> Result<ExitCode, Failure> {
        if self.reason.trim().is_empty() {
            return Err(Failure::Wrong("--reason is empty; say why the run is given up".to_owned()));
        }
        let home = place::home(global)?;
        let who = place::who()?;
        let in_force = InForce::open(global, &who)?;
        let (open, alive) = find(&home, &self.run)?;
        let refused = |reason: &str| not_taken_up(&home, &who, &in_force, &open.run, "abandon", reason);
        let _ = in_force.may_operate(&home, None)?.map_err(|reason| refused(&reason))?;
        may_take_over(&open, &who, self.takeover.take_over, Some(&self.reason)).map_err(|reason| refused(&reason))?;
        let permitted = self.permitted(global, &in_force, &open, &home, &who)?;
        let kept = in_force.keep(&home, &open.run).and_then(|()| permitted.requests.keep(&home, &open.run));
        kept.map_err(Failure::Internal)?;
        let mut log = Log::open(&home, who).map_err(|error| Failure::Internal(error.to_string()))?;
        // What the dead run left running in its containment ends with the containment; what is not in it is looked for.
        let containment = Containment::detect(open.run.as_str());
        let ended = end_left(&containment, &open.state).map_err(Failure::Internal)?;
        drop(containment);
        if !ended.is_empty() {
            let ended = in_force.censor().clean(&ended.join(", "));
            say(&format!("still running from before, and ended: {ended}"));
        }
        let mut events: Vec<Event> = permitted.approvals.into_iter().map(Event::ApprovalAccepted).collect();
        events.extend(permitted.overrides.into_iter().map(Event::OverrideAccepted));
        let event = Event::RunAbandoned { reason: clip(&self.reason, 8192), in_doubt: open.in_doubt().cloned() };
        events.push(event);
        let events: Vec<Event> = events.into_iter().map(|event| in_force.recordable(event)).collect();
        // As many at a time as fit one write, however many have signed.
        let mut recorded = Vec::new();
        for some in events.chunks(AT_ONCE) {
            let drafts: Vec<Draft<'_>> = some.iter().map(|event| Draft { run: Some(&open.run), event }).collect();
            recorded.extend(log.append(&drafts).map_err(|error| Failure::Internal(error.to_string()))?);
        }
        free_moved(&open.locks, &open.run, &home);
        drop(alive);
        tell_now(&in_force.notify(), in_force.censor(), &mut log, &recorded);
        let review = full_command(global, &["audit", "show", open.run.as_str()]);
        say(&format!("interlock: abandoned run {}; review it with: {review}", open.run));
        Ok(ExitCode::SUCCESS)
    }

    /// On whose word the run is given up: without a policy on that of who gives the reason, else by a request that was signed.
    fn permitted(
        &self,
        global: &Global,
        in_force: &InForce,
        open: &OpenRun,
        home: &Home,
        who: &Who,
    ) -> Result<Permitted, Failure> {
        if in_force.is_empty() && self.overrides.is_empty() {
            let alone = Override {
                deviation: Deviation::Abandon {},
                reason: clip(&self.reason, 4096),
                asked_by: by_whom(who),
                request: None,
                self_approved: Some(AnsweredBy::CommandLine),
                approved_by: Vec::new(),
            };
            return Ok(Permitted { overrides: vec![alone], ..Permitted::default() });
        }
        if self.overrides.is_empty() {
            return Err(not_taken_up(
                home,
                who,
                in_force,
                &open.run,
                "abandon",
                &format!(
                    "under a policy a run is given up only with an override of the kind `abandon`; ask for it with `interlock override {} \
                     --abandon --reason … -o request.yaml`",
                    open.run
                ),
            ));
        }
        let procedure = open.procedure(home)?;
        let permitted = self.overrides.permissions(global, in_force, open, &procedure, home, who)?;
        match permitted.overrides.as_slice() {
            [one] if one.deviation == (Deviation::Abandon {}) => Ok(permitted),
            _ => Err(Failure::Wrong("--override: expected one request, to abandon this run".to_owned())),
        }
    }
}
