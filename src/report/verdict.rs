//! How a run came out, in words, before anything else is told of it: what was done, by whom, when, how long it took, how it ended, and what
//! was left out on whose word.

use crate::history::deviation::Deviation;
use crate::history::state::{Phase, Verdict as Outcome};
use crate::report::account::{Account, Departure, Fate, SittingEnd, Times, Tone, many, on_whose_word};
use crate::report::story::{by_whom, cause_in_words, exact};

/// How a run came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How good or bad that is.
    pub tone: Tone,
    /// One word for programs: `completed`, `undone`, `abandoned`, `halted`, `refused`, `open` or `illegal`.
    pub word: &'static str,
    /// In a few words.
    pub headline: String,
    /// In sentences.
    pub sentences: Vec<String>,
    /// What was done otherwise than it is written, each with on whose word.
    pub left_out: Vec<String>,
}

impl Verdict {
    /// Of this run.
    pub fn of(account: &Account) -> Self {
        let made = account.made().count();
        let (tone, word, headline) = outcome(account, made);
        let mut sentences = vec![what(account)];
        if let (Some((first, _)), Some(last)) = (&account.first, &account.end) {
            let ended = if account.is_over() { "ended" } else { "is recorded up to" };
            sentences.push(format!(
                "It began at {} and {ended} {}, {} later.",
                first.to_the_second(),
                last.to_the_second(),
                exact(last.at)
            ));
        }
        sentences.extend(hands(account));
        sentences.extend(broke(account));
        sentences.extend(counts(account));
        sentences.extend(review(account));
        let left_out = account.made().map(departure_in_words).collect();
        Self { tone, word, headline, sentences, left_out }
    }
}

fn outcome(account: &Account, made: usize) -> (Tone, &'static str, String) {
    if let Some(illegal) = &account.illegal {
        return (Tone::Bad, "illegal", format!("THIS RECORD CANNOT BE TRUE: {illegal}"));
    }
    let with = if made == 0 { String::new() } else { format!(" with {}", many(made, "deviation")) };
    let at = |account: &Account| {
        let open = account.steps.iter().rfind(|step| {
            matches!(step.fate, Fate::Open | Fate::InDoubt | Fate::Failed)
                || matches!(step.back, Some(Fate::Open | Fate::InDoubt | Fate::Failed))
        });
        open.map(|step| format!(" at step `{}`", step.id)).unwrap_or_default()
    };
    let halts = account.sittings.iter().filter(|sitting| matches!(sitting.end, SittingEnd::Halted(_))).count();
    let after = if halts == 0 { String::new() } else { format!(", after {}", many(halts, "halt")) };
    match account.state.phase {
        Phase::Over(Outcome::Completed) if made == 0 => {
            (Tone::Good, "completed", format!("Completed as written{after}"))
        }
        Phase::Over(Outcome::Completed) => (Tone::Warning, "completed", format!("Completed{with}{after}")),
        Phase::Over(Outcome::Undone) => (Tone::Warning, "undone", format!("Undone{}", with.replace(" with", ", with"))),
        Phase::Over(Outcome::Abandoned) => (Tone::Bad, "abandoned", format!("Abandoned{}", at(account))),
        Phase::Over(Outcome::Halted(cause)) => {
            (Tone::Bad, "halted", format!("Halted{}, and not over: {}", at(account), cause_in_words(cause)))
        }
        Phase::Over(Outcome::Refused(cause)) => {
            (Tone::Bad, "refused", format!("Refused, nothing was started: {}", cause_in_words(cause)))
        }
        Phase::New | Phase::Ready { .. } | Phase::Acting { .. } | Phase::Verifying { .. } | Phase::Failed { .. } => {
            (Tone::Warning, "open", format!("Not over: it goes on, or its program died{}", at(account)))
        }
    }
}

fn what(account: &Account) -> String {
    let runbook = &account.runbook;
    let Some(sitting) = account.sittings.first() else { return format!("A run of the runbook `{runbook}`.") };
    let who = by_whom(&sitting.who);
    let on = &sitting.who.host;
    match &account.opening {
        Some(opening) => {
            format!("{who} ran the runbook `{runbook}`, of {}, on the machine {on}.", many(opening.steps, "step"))
        }
        None => format!("{who} wanted to run the runbook `{runbook}` on the machine {on}."),
    }
}

/// How often it changed hands or was taken up.
fn hands(account: &Account) -> Option<String> {
    let again = account.sittings.len().checked_sub(1).filter(|count| *count > 0)?;
    let times = account.times();
    let mut others: Vec<String> = account.sittings.iter().skip(1).map(|sitting| by_whom(&sitting.who)).collect();
    others.sort();
    others.dedup();
    let more = if others.len() > 4 { format!(" and {} more", others.len() - 4) } else { String::new() };
    others.truncate(4);
    let often = if again == 1 { "once".to_owned() } else { format!("{again} times") };
    Some(format!(
        "It stood still for {} in all, and was taken up again {often}, by {}{more}.",
        exact(times.still),
        others.join(", ")
    ))
}

/// Which held facts broke.
fn broke(account: &Account) -> Option<String> {
    let broken: Vec<String> =
        account.holds.iter().filter(|hold| !hold.breaks.is_empty()).map(|hold| format!("`{}`", hold.fact)).collect();
    let more = broken.len().saturating_sub(5);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let shown = broken.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    (!broken.is_empty()).then(|| format!("A fact that was held broke: {shown}{more}."))
}

/// Who is still to review it, because the glass was broken.
fn review(account: &Account) -> Option<String> {
    let due = account.state.to_review.iter().map(|rule| {
        let people: Vec<&str> = rule.reviewers.iter().map(|person| person.as_str()).collect();
        format!("by one of {} until {}", people.join(", "), rule.review_until)
    });
    let due: Vec<String> = due.collect();
    (!due.is_empty()).then(|| format!("STILL TO BE REVIEWED {}.", due.join(", and ")))
}

/// What became of the steps.
fn counts(account: &Account) -> Option<String> {
    account.opening.as_ref()?;
    let all = [
        Fate::Done,
        Fate::Already,
        Fate::NotApplicable,
        Fate::Skipped,
        Fate::Accepted,
        Fate::Failed,
        Fate::InDoubt,
        Fate::Open,
        Fate::NotBegun,
    ];
    let mut parts = Vec::new();
    for fate in all {
        let count = account.count(fate);
        if count > 0 {
            parts.push(format!("{count} {}", fate.in_words()));
        }
    }
    let back = account.steps.iter().filter(|step| step.back == Some(Fate::Done)).count();
    if back > 0 {
        parts.push(format!("{back} of them taken back"));
    }
    let kept = match account.kept {
        0 => String::new(),
        kept => format!(
            " Left as they are, because the runbook does not say how to take them back: {}.",
            many(kept, "step")
        ),
    };
    if parts.is_empty() { None } else { Some(format!("Steps: {}.{kept}", parts.join(", "))) }
}

/// A deviation, with on whose word it was made and why.
pub fn departure_in_words(departure: &Departure) -> String {
    let given = &departure.given;
    let what = match &given.deviation {
        Deviation::Skip { step } => format!("Step `{step}` was not done"),
        Deviation::Waive { step, fact } => format!("Step `{step}` was done though `{fact}` need not hold"),
        Deviation::AcceptFailed { step } => format!("Step `{step}` failed, and counts as done"),
        Deviation::AcceptInDoubt { step } => format!("Step `{step}` was in doubt, and counts as done"),
        Deviation::OutsideWindow {} => "It ran outside the change window or in a freeze".to_owned(),
        Deviation::Abandon {} => "The run was given up as it stood".to_owned(),
        Deviation::StaleLock { lock } => format!("The lock `{lock}` was removed"),
        Deviation::TakeOver {} => "It was taken over from another person".to_owned(),
        Deviation::BreakGlass {} => "THE GLASS WAS BROKEN: it went on without the approvals".to_owned(),
    };
    format!("{what}, {}: {}", on_whose_word(given), given.reason)
}

/// Where the time went: what, how long, and what part of all, for what there was of.
pub fn times_in_words(times: &Times) -> Vec<(&'static str, String, String)> {
    let known = times.working + times.facts + times.people + times.pauses + times.still;
    let rows = [
        ("steps at work", times.working),
        ("waiting for what a step ensures", times.facts),
        ("waiting for people", times.people),
        ("pauses before another attempt", times.pauses),
        ("standing still, carried out by nobody", times.still),
        ("looking at facts, starting, recording", times.all.saturating_sub(known)),
    ];
    let share = |micros: u64| match times.all {
        0 => String::new(),
        all => format!("{} %", micros.saturating_mul(100).saturating_add(all / 2) / all),
    };
    rows.iter().filter(|row| row.1 > 0).map(|(what, micros)| (*what, exact(*micros), share(*micros))).collect()
}
