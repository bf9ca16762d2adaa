//! An entry, told to a person in a few lines. The live run and `audit show` tell it with the same words. Everything that came from
//! outside (titles, evidence, answers, output) is escaped here, so that nothing recorded can act on a terminal.

use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::escape::escape_line;
use crate::history::approval::{Approval, PolicyInForce};
use crate::history::deviation::Deviation;
use crate::history::entry::{Entry, Who};
use crate::history::event::{
    AnsweredBy, Cause, ClaimedBy, DecidedBy, Ending, Event, Sight, StopDecision, Verdict, Way,
};
use crate::history::glass::{Glass, REVIEW};
use crate::id::{Digest, Fingerprint, Person, StepId};
use crate::plan::{Procedure, action_in_words, command_line};
use crate::runbook::duration;

/// Tells the entries of a run, one after the other.
#[derive(Debug, Default)]
pub struct Teller {
    procedure: Option<Arc<Procedure>>,
    /// When the open step was announced, by the boot clock in nanoseconds.
    began: u64,
}

impl Teller {
    /// Titles and positions of the steps are told where the plan is at hand.
    pub fn new(procedure: Option<Arc<Procedure>>) -> Self {
        Self { procedure, began: 0 }
    }

    /// Tells an entry in lines; none for one that says nothing to a person who reads along.
    pub fn tell(&mut self, entry: &Entry) -> Vec<String> {
        let procedure = self.procedure.as_deref();
        if let Event::StepIntended { .. } = entry.event {
            self.began = entry.mono;
        }
        let took = exact(entry.mono.saturating_sub(self.began) / 1000);
        match &entry.event {
            Event::LogCreated { log, .. } => vec![format!("a new audit log was made: {}", escape_line(log))],
            Event::LogRepaired { segment, offset, length, kept_in, .. } => vec![format!(
                "the log's last line had been cut off by a crash ({length} bytes at {offset} of {}); it was set aside in {}",
                escape_line(segment),
                escape_line(kept_in)
            )],
            Event::CheckpointSinkFailed { sink, entries, why, .. } => vec![format!(
                "! the checkpoint of {entries} entries was not handed on to `{}`: {}",
                escape_line(sink),
                escape_line(why)
            )],
            Event::EntriesArchived { entries, folder, reason, .. } => vec![format!(
                "entries 1 to {entries} of the log were moved into archives, the last of them {}{}",
                escape_line(folder),
                reason.as_ref().map(|reason| format!(": {}", escape_line(reason))).unwrap_or_default()
            )],
            Event::LogKeyReplaced { new, signature, reason, .. } => vec![format!(
                "the log's key was replaced{}: {}; the new one is {}",
                if signature.is_some() { "" } else { ", the old one being lost" },
                escape_line(reason),
                escape_line(new)
            )],
            Event::TakeUpRefused { command, reason, .. } => vec![format!(
                "{} wanted to {}, and was refused: {}",
                escape_line(&by_whom(&entry.who)),
                escape_line(command),
                escape_line(reason)
            )],
            Event::ApprovalAccepted(approval) => vec![approved(approval)],
            Event::GlassBroken(glass) => glass_broken(glass),
            Event::GlassTold { tell, command, trouble } => {
                let (tell, command) = (escape_line(tell), escape_line(&command_line(command)).into_owned());
                vec![match trouble {
                    None => format!("      `{tell}` was told ({command})"),
                    Some(why) => format!("    ! `{tell}` WAS NOT TOLD ({command}): {}", escape_line(why)),
                }]
            }
            Event::LockRemoved { lock, claimed_by, gone, reason, self_approved, approved_by, .. } => {
                let first = format!(
                    "! DEVIATION, {}: the lock `{}` was removed: {}",
                    by_whose_word(*self_approved, approved_by),
                    escape_line(lock),
                    escape_line(reason)
                );
                vec![first, format!("      {}: {}", claimant(claimed_by.as_ref()), escape_line(gone))]
            }
            Event::LockKept { lock, claimed_by, reason, why, .. } => {
                let first = format!(
                    "{} wanted to remove the lock `{}` ({}), and was refused: {}",
                    escape_line(&by_whom(&entry.who)),
                    escape_line(lock),
                    escape_line(reason),
                    escape_line(why)
                );
                let claim = claimed_by.as_ref().map(|by| format!("      {}", claimant(Some(by))));
                std::iter::once(first).chain(claim).collect()
            }
            Event::NotifyFailed { of_run, of_entry, of_event, command, why, required } => {
                let required = if *required { ", which the policy requires" } else { "" };
                vec![format!(
                    "! {} was not told of entry {of_entry} ({} of run {of_run}){required}: {}",
                    escape_line(&command.join(" ")),
                    escape_line(of_event),
                    escape_line(why)
                )]
            }
            Event::RunRefused { cause, reason, seen, .. } => {
                let mut lines = vec![format!("refused ({}): {}", cause_in_words(*cause), escape_line(reason))];
                lines.extend(seen.iter().map(sight_line));
                lines
            }
            Event::RunOpened { runbook, title, source, plan, steps, policies, containment, watching, .. } => {
                let title = title.as_deref().map(|title| format!(" — {}", escape_line(title))).unwrap_or_default();
                let mut lines = vec![
                    format!("{}{title}", escape_line(runbook)),
                    format!("      on {}, by {}", escape_line(&entry.who.host), escape_line(&by_whom(&entry.who))),
                    format!(
                        "      {} from {}, plan {}",
                        count(*steps, "step", "steps"),
                        escape_line(source),
                        short(plan)
                    ),
                    format!("      contained by {}; watched by {}", escape_line(containment), escape_line(watching)),
                ];
                lines.extend(policies.iter().map(policy_line));
                lines
            }
            Event::WatchesArmed { facts } => facts
                .iter()
                .map(|watched| format!("      watching `{}`: {}", watched.fact, escape_line(&watched.probe)))
                .collect(),
            Event::Answered { step, answer, .. } => vec![format!("    ✓ `{step}`: answered `{}`", escape_line(answer))],
            Event::Declined { step, answer, .. } => {
                let said =
                    if answer.is_empty() { "no answer".to_owned() } else { format!("`{}`", escape_line(answer)) };
                vec![format!("    ✗ `{step}`: a person did not agree ({said})")]
            }
            Event::StepIntended { step, way, attempt, action, requires, waived, .. } => {
                let mut lines = intended(step, *way, *attempt, action, requires, procedure);
                for fact in waived {
                    lines.insert(1, format!("    ! `{fact}` is waived for this attempt"));
                }
                lines
            }
            Event::StepEnded { step, ending, output, leftovers, .. } => {
                let mut lines = Vec::new();
                if !matches!(ending, Ending::Exited { .. } | Ending::Attested | Ending::NothingToDo) {
                    lines.push(format!("    ✗ `{step}` {}", ending_in_words(ending)));
                }
                if let Some(output) = output
                    && output.left_out > 0
                {
                    lines.push(format!("      {} bytes in the middle of its output were not kept", output.left_out));
                }
                if let Some(trouble) = output.as_ref().and_then(|output| output.trouble.as_deref()) {
                    lines.push(format!("      its transcript is not complete: {}", escape_line(trouble)));
                }
                if !leftovers.is_empty() {
                    lines.push(format!(
                        "      still running when its main process ended: {}",
                        escape_line(&leftovers.join(", "))
                    ));
                }
                lines
            }
            Event::StepDone { ensures, replaced, .. } => {
                let mut lines = vec![format!("    ✓ done in {took}")];
                lines.extend(ensures.iter().map(sight_line));
                lines.extend(replaced.iter().map(|(path, now)| match now {
                    Fingerprint::Bytes(digest) => {
                        format!("      replaced {}: sha256 {}", escape_line(path), short(digest))
                    }
                    Fingerprint::Absent | Fingerprint::Unreadable | Fingerprint::Unusable => {
                        format!("      replaced {}: {now}", escape_line(path))
                    }
                }));
                lines
            }
            Event::StepAlready { step, seen } => {
                let mut lines = vec![format!("{} already so, nothing was done", heading(step, procedure))];
                lines.extend(seen.iter().map(sight_line));
                lines
            }
            Event::StepFailed { reason, ensures, .. } => {
                let mut lines = vec![format!("    ✗ failed after {took}: {}", escape_line(reason))];
                lines.extend(ensures.iter().map(sight_line));
                lines
            }
            Event::StepNotApplicable { step, expression, values } => {
                let values: Vec<String> = values.iter().map(|(name, value)| format!("{name} = {value}")).collect();
                vec![format!(
                    "{} not applicable: `{}` is not met ({})",
                    heading(step, procedure),
                    escape_line(expression),
                    escape_line(&values.join(", "))
                )]
            }
            Event::OverrideAccepted(given) => vec![
                format!(
                    "{} permitted, {}: {}",
                    // Who takes a run over leaves nothing of it out.
                    if given.deviation == (Deviation::TakeOver {}) { "    ✓" } else { "! DEVIATION" },
                    by_whose_word(given.self_approved, &given.approved_by),
                    escape_line(&given.deviation.to_string())
                ),
                format!("      {} asked for it: {}", escape_line(&given.asked_by), escape_line(&given.reason)),
            ],
            Event::OverrideRefused { deviation, reason, asked_by, why, .. } => vec![
                format!("✗ a deviation was refused: {}: {}", escape_line(&deviation.to_string()), escape_line(why)),
                format!("      {} asked for it: {}", escape_line(asked_by), escape_line(reason)),
            ],
            Event::StepSkipped { step } => vec![format!("{} SKIPPED, by override", heading(step, procedure))],
            Event::StepAccepted { step, .. } => vec![format!("    ! `{step}` counts as done, by override")],
            Event::WaivedFactSeen { sight, .. } => {
                vec![format!(
                    "    ! `{}`, which is waived, {}: {}",
                    sight.fact,
                    sight.verdict,
                    escape_line(&sight.evidence)
                )]
            }
            Event::StepRetried { step, by, pause_millis } => {
                let pause = if *pause_millis > 0 {
                    format!(" in {}", duration::show(Duration::from_millis(*pause_millis)))
                } else {
                    String::new()
                };
                vec![format!("    ↻ `{step}` is attempted again{pause}, {}", on_whose_word(*by))]
            }
            Event::RerunBegan { step, by, seen } => {
                let asked = match by {
                    AnsweredBy::Terminal => "a person at the terminal asked for it",
                    AnsweredBy::CommandLine => "a person asked for it (--rerun)",
                };
                let mut lines = vec![format!("`{step}` is run again, {asked}: what it had ensured is broken")];
                lines.extend(seen.iter().map(sight_line));
                lines
            }
            Event::RerunNotNeeded { step, seen } => {
                let mut lines = vec![format!("`{step}` is not run again: what it was the last to ensure holds")];
                lines.extend(seen.iter().map(sight_line));
                lines
            }
            Event::UndoBegan { by, reason, steps, kept } => {
                let kept =
                    if *kept > 0 { format!("; {kept} have no undo and stay as they are") } else { String::new() };
                vec![
                    format!("going back, {}: {}", on_whose_word(*by), escape_line(reason)),
                    format!("      {steps} steps are taken back, the last first{kept}"),
                ]
            }
            Event::RunResumed { containment, taken_over, ended, policies, .. } => {
                let mut lines = vec![format!(
                    "taken up again on {}, by {}",
                    escape_line(&entry.who.host),
                    escape_line(&by_whom(&entry.who))
                )];
                lines.push(format!("      contained by {}", escape_line(containment)));
                lines.extend(policies.iter().map(policy_line));
                if !ended.is_empty() {
                    lines.push(format!(
                        "      still running from before, and ended: {}",
                        escape_line(&ended.join(", "))
                    ));
                }
                if let Some(reason) = taken_over {
                    lines.push(format!("      taken over from another person: {}", escape_line(reason)));
                }
                lines
            }
            Event::RunUndone { undone, kept } => {
                let kept = if *kept > 0 { format!(", {kept} without undo left as they are") } else { String::new() };
                vec![format!("undone: {undone} steps taken back{kept}")]
            }
            Event::RunAbandoned { reason, in_doubt } => {
                let doubt = in_doubt.as_ref().map(|step| format!(", with step `{step}` in doubt")).unwrap_or_default();
                vec![format!("abandoned by {}{doubt}: {}", escape_line(&by_whom(&entry.who)), escape_line(reason))]
            }
            Event::HoldBroken { sight, step, told_by, look_micros, freeze_micros, blind_millis } => {
                let during = step.as_ref().map(|step| format!(" during `{step}`")).unwrap_or_default();
                let mut lines =
                    vec![format!("    ✗ `{}` {}{during}: {}", sight.fact, sight.verdict, escape_line(&sight.evidence))];
                let frozen = freeze_micros
                    .map(|micros| format!(", everything of the step frozen {} later", exact(micros)))
                    .unwrap_or_default();
                lines.push(format!("      told by {}, seen in {}{frozen}", escape_line(told_by), exact(*look_micros)));
                if let Some(blind) = blind_millis {
                    lines.push(format!("      the watch was blind for {blind} ms, which counts as broken"));
                }
                lines
            }
            Event::SecretAsked { name, .. } => vec![format!("      the secret `{}` is asked for", escape_line(name))],
            Event::SignalReceived { signal, step, .. } => {
                let during = step.as_ref().map(|step| format!(" during `{step}`")).unwrap_or_default();
                vec![format!("    ! {} came{during}", escape_line(signal))]
            }
            Event::StopDecided { step, answer, decision, .. } => {
                let nobody = if answer.is_empty() { "nobody answered" } else { "a person decided" };
                let what = match decision {
                    StopDecision::Stop => "it is stopped now",
                    StopDecision::Finish => "it may finish, then the run halts",
                    StopDecision::Continue => "the run goes on",
                };
                vec![format!("    ! `{step}`: {nobody}: {what}")]
            }
            Event::RunHalted { cause, reason, .. } => {
                vec![format!("halted ({}): {}", cause_in_words(*cause), escape_line(reason))]
            }
            Event::RunCompleted { done, already, not_applicable, skipped, accepted, deviations, micros } => {
                let skipped = if *skipped > 0 { format!(", {skipped} SKIPPED") } else { String::new() };
                let accepted =
                    if *accepted > 0 { format!(", {accepted} ACCEPTED as they stood") } else { String::new() };
                let with = match deviations {
                    0 => String::new(),
                    1 => " with 1 DEVIATION".to_owned(),
                    more => format!(" with {more} DEVIATIONS"),
                };
                let already = if *already > 0 { format!(", {already} already so") } else { String::new() };
                let not =
                    if *not_applicable > 0 { format!(", {not_applicable} not applicable") } else { String::new() };
                vec![format!(
                    "completed{with}: {} done{already}{not}{skipped}{accepted} in {}",
                    count(*done, "step", "steps"),
                    exact(*micros)
                )]
            }
        }
    }
}

/// Who it was, in a few words; what the environment only claims is marked as such.
pub fn by_whom(who: &Who) -> String {
    let user = who.user.clone().unwrap_or_else(|| format!("uid {}", who.uid));
    let login = match who.login_uid {
        Some(login) if login != who.uid => format!(", logged in as uid {login}"),
        Some(_) | None => String::new(),
    };
    let sudo = who.sudo_user.as_ref().map(|user| format!(", sudo says {user}")).unwrap_or_default();
    let ssh = who.ssh.as_ref().map(|from| format!(", ssh says from {from}")).unwrap_or_default();
    format!("{user}{login}{sudo}{ssh}")
}

fn policy_line(policy: &PolicyInForce) -> String {
    let operator = policy.operator.as_ref().map(|person| format!(", operated by {person}")).unwrap_or_default();
    format!("      under {} (number {}, {}){operator}", escape_line(&policy.file), policy.number, short(&policy.digest))
}

/// Whose claim stands or stood in a lock.
fn claimant(claimed_by: Option<&ClaimedBy>) -> String {
    claimed_by.map_or_else(
        || "who held it cannot be told".to_owned(),
        |by| format!("run {} by {} in {} held it", by.run, escape_line(&by.user), escape_line(&by.home)),
    )
}

fn glass_broken(glass: &Glass) -> Vec<String> {
    let mut lines = vec![format!(
        "! THE GLASS WAS BROKEN ({}): {}",
        match glass.by {
            AnsweredBy::Terminal => "at the terminal",
            AnsweredBy::CommandLine => "on the command line",
        },
        escape_line(&glass.reason)
    )];
    lines.extend(glass.without.iter().map(|without| format!("      without: {}", escape_line(without))));
    for rule in &glass.rules {
        let people: Vec<&str> = rule.reviewers.iter().map(Person::as_str).collect();
        lines.push(format!(
            "      by {}; to be reviewed by one of {} until {}",
            rule.operator,
            people.join(", "),
            rule.review_until
        ));
    }
    lines
}

fn approved(approval: &Approval) -> String {
    let Approval { person, key, algorithm, presence, certificate, .. } = approval;
    let presence = presence.as_ref().map(|presence| format!(", {}", escape_line(presence))).unwrap_or_default();
    let by = match certificate {
        Some(by) => format!(", certified as {} by {}", escape_line(&by.id), escape_line(&by.authority)),
        None => String::new(),
    };
    let did = if approval.namespace == REVIEW { "reviewed" } else { "approved" };
    format!("    ✓ {did} by {person} with {} ({}{presence}{by})", escape_line(key), escape_line(algorithm))
}

fn intended(
    step: &StepId,
    way: Way,
    attempt: u32,
    action: &str,
    requires: &[Sight],
    procedure: Option<&Procedure>,
) -> Vec<String> {
    let again = if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
    let undo = if way == Way::Back { "undo of " } else { "" };
    let mut lines = vec![format!("{undo}{}{again}", heading(step, procedure))];
    lines.extend(requires.iter().map(sight_line));
    let shown = procedure
        .filter(|_| way != Way::Back)
        .and_then(|procedure| procedure.steps().iter().find(|other| other.id == *step))
        .map_or_else(|| action.to_owned(), |step| action_in_words(&step.action));
    lines.push(format!("    > {}", escape_line(&shown)));
    lines
}

/// `[2/5] stop-database  Stop the server`, as far as the plan is at hand.
fn heading(step: &StepId, procedure: Option<&Procedure>) -> String {
    let found = procedure.and_then(|procedure| {
        let at = procedure.steps().iter().position(|other| other.id == *step)?;
        Some((at + 1, procedure.steps().len(), procedure.steps()[at].title.as_deref()))
    });
    match found {
        Some((at, of, Some(title))) => format!("[{at}/{of}] {step}  {}", escape_line(title)),
        Some((at, of, None)) => format!("[{at}/{of}] {step}"),
        None => format!("[{step}]"),
    }
}

fn sight_line(sight: &Sight) -> String {
    let mark = match sight.verdict {
        Verdict::Holds => "·",
        Verdict::Broken | Verdict::Unknown => "✗",
    };
    format!("      {mark} `{}` {}: {}", sight.fact, sight.verdict, escape_line(&sight.evidence))
}

fn by_whose_word(self_approved: Option<AnsweredBy>, approved_by: &[String]) -> String {
    match self_approved {
        Some(_) => "SELF-APPROVED".to_owned(),
        None => format!("signed by {}", escape_line(&approved_by.join(", "))),
    }
}

fn on_whose_word(by: DecidedBy) -> &'static str {
    match by {
        DecidedBy::Rule => "as the runbook says",
        DecidedBy::Person => "as a person decided",
    }
}

/// How an action ended, in words.
pub fn ending_in_words(ending: &Ending) -> String {
    match ending {
        Ending::Exited { code } => format!("exited with {code}"),
        Ending::Signalled { signal } => format!("was ended by signal {signal}"),
        Ending::TimedOut => "ran longer than its time-out and was ended".to_owned(),
        Ending::Stopped => "was frozen and killed".to_owned(),
        Ending::Interrupted => "was interrupted and ended".to_owned(),
        Ending::NotStarted { reason } => format!("was not started: {}", escape_line(reason)),
        Ending::Attested => "was attested".to_owned(),
        Ending::NothingToDo => "had nothing to do".to_owned(),
    }
}

/// Why a run did not complete, in words.
pub fn cause_in_words(cause: Cause) -> &'static str {
    match cause {
        Cause::FactDoesNotHold => "a required fact does not hold",
        Cause::NotAllowed => "not allowed",
        Cause::Locked => "a lock is held by another run",
        Cause::PersonNeeded => "a person is needed",
        Cause::StepFailed => "a step failed",
        Cause::HoldBroken => "a held fact broke",
        Cause::Interrupted => "interrupted",
        Cause::UndoFailed => "GOING BACK FAILED, a person is needed now",
    }
}

/// The first digits of a digest, enough to recognise it.
pub fn short(digest: &Digest) -> &str {
    &digest.as_str()[..12]
}

/// How many there are of something, in words.
pub fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A time of at least a microsecond's precision where it is short, and of a person's precision where it is long.
pub fn exact(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{}.{:03} ms", micros / 1000, micros % 1000),
        10_000..1_000_000 => format!("{} ms", micros / 1000),
        1_000_000..60_000_000 => format!("{}.{:02} s", micros / 1_000_000, micros / 10_000 % 100),
        _ => duration::show(Duration::from_secs(micros / 1_000_000)),
    }
}
