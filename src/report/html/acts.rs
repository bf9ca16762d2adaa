//! What happened to a step, as HTML: each attempt with what was seen before and after, and what it wrote.

use super::markup::{Markup, Value};
use super::{MOST, class, pair, some};
use crate::history::event::{AnsweredBy, DecidedBy, Ending, Sight, StopDecision, Verdict, Way};
use crate::id::{Fingerprint, StepId};
use crate::report::account::{Account, Act, Agreed, Attempt, Excerpt, Proof, StepAccount, many};
use crate::report::provenance::Provenance;
use crate::report::story::{ending_in_words, exact};
use crate::report::waits::Stamp;

/// Everything that happened to a step, in order.
pub(super) fn list(page: &mut Markup, account: &Account, provenance: &Provenance, step: &StepAccount) {
    if let Some(script) = &step.script {
        page.element("details", &[class("output")], |page| {
            page.leaf("summary", &[], &format!("Its script, {}", many(script.lines().count(), "line")));
            page.element("pre", &[("tabindex", Value::Fixed("0"))], |page| page.lines(script));
        });
    }
    for act in some(&step.acts) {
        match act {
            Some((stamp, act)) => show(page, account, provenance, &step.id, (*stamp, act)),
            None => page.element("p", &[class("gap")], |page| {
                let count = step.acts.len().saturating_sub(2 * MOST);
                page.text(&format!("{count} more in between are left out here; all of them: "));
                page.leaf("code", &[], &provenance.show(&account.run));
            }),
        }
    }
}

fn show(page: &mut Markup, account: &Account, provenance: &Provenance, step: &StepId, (stamp, act): (Stamp, &Act)) {
    match act {
        Act::Attempt(one) => {
            attempt(page, stamp, one, |page| output(page, account, provenance, step, one));
        }
        Act::Said { question: _, ask, answer, by, agreed } => note(page, stamp, |page| {
            let how = match by {
                AnsweredBy::Terminal => "at the terminal",
                AnsweredBy::CommandLine => "on the command line",
            };
            page.text("Asked: “");
            page.prose(ask);
            page.text("” ");
            match (answer.is_empty(), agreed) {
                (true, _) => page.text("No answer."),
                (false, Agreed::Yes) => page.text(&format!("Answered {how}: “{answer}”.")),
                (false, Agreed::No) => page.text(&format!("Not agreed to, {how}: “{answer}”.")),
            }
        }),
        Act::Stopping { ask, answer, decision } => note(page, stamp, |page| {
            let what = match decision {
                StopDecision::Stop => "it is stopped at once",
                StopDecision::Finish => "it may finish, and then the run halts",
                StopDecision::Continue => "it goes on",
            };
            page.text(&format!("Interrupted. Asked: “{ask}” Answered: “{answer}”: {what}."));
        }),
        Act::Already(seen) => {
            note(page, stamp, |page| page.text("Already so: nothing was done."));
            sights(page, seen);
        }
        Act::NotApplicable { expression, values } => note(page, stamp, |page| {
            page.text("Not applicable: ");
            page.leaf("code", &[], expression);
            let values: Vec<String> = values.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            page.text(&format!(" is not met ({}).", values.join(", ")));
        }),
        Act::Skipped => note(page, stamp, |page| page.leaf("strong", &[], "Skipped, by an override.")),
        Act::Accepted => note(page, stamp, |page| {
            page.leaf("strong", &[], "Counts as done, by an override, though it did not end well.");
        }),
        Act::Waived(sight) => {
            note(page, stamp, |page| page.text("What a waived fact showed:"));
            sights(page, std::slice::from_ref(sight));
        }
        Act::Broke { sight, told } => {
            note(page, stamp, |page| {
                page.leaf("strong", &[], "A fact that it needs broke while it ran");
                page.text(&format!(" ({told}):"));
            });
            sights(page, std::slice::from_ref(sight));
        }
        Act::Retried { by, pause_millis } => note(page, stamp, |page| {
            let by = match by {
                DecidedBy::Rule => "as the runbook says",
                DecidedBy::Person => "as a person decided",
            };
            let pause = match pause_millis {
                0 => String::new(),
                millis => format!(" after {}", exact(millis.saturating_mul(1000))),
            };
            page.text(&format!("Attempted again{pause}, {by}."));
        }),
        Act::RunAgain(seen) => {
            note(page, stamp, |page| page.text("Run again, because what it had ensured does not hold:"));
            sights(page, seen);
        }
        Act::NotRunAgain(seen) => {
            note(page, stamp, |page| page.text("Not run again: what it was the last to ensure holds."));
            sights(page, seen);
        }
    }
}

fn note(page: &mut Markup, stamp: Stamp, inside: impl FnOnce(&mut Markup)) {
    page.element("p", &[class("said")], |page| {
        page.leaf("time", &[], &stamp.exactly());
        page.text(" ");
        inside(page);
    });
}

fn attempt(page: &mut Markup, stamp: Stamp, attempt: &Attempt, output: impl FnOnce(&mut Markup)) {
    page.element("div", &[class("attempt")], |page| {
        page.element("h3", &[], |page| {
            let what = match attempt.way {
                Way::Forward => "Attempt",
                Way::Back => "Taking it back, attempt",
                Way::Again => "Run again, attempt",
            };
            page.text(&format!("{what} {}", attempt.number));
            page.text(" ");
            page.leaf("time", &[], &format!("{}, entry {}", stamp.exactly(), stamp.seq));
        });
        page.element("dl", &[], |page| {
            if !attempt.requires.is_empty() {
                pair(page, "Seen before", |page| sights(page, &attempt.requires));
            }
            if !attempt.waived.is_empty() {
                let facts: Vec<String> = attempt.waived.iter().map(ToString::to_string).collect();
                pair(page, "Waived", |page| page.leaf("strong", &[], &facts.join(", ")));
            }
            pair(page, "Did", |page| page.element("pre", &[class("action")], |page| page.lines(&attempt.action)));
            if let Some(program) = &attempt.program {
                pair(page, "Executed", |page| {
                    let interpreter = program.interpreter.as_ref().map(|file| (&file.path, &file.digest));
                    for (path, digest) in [(&program.path, &program.digest)].into_iter().chain(interpreter) {
                        page.element("p", &[], |page| {
                            page.leaf("code", &[], path);
                            page.text(" SHA-256 ");
                            page.leaf("code", &[class("digest")], digest.as_str());
                        });
                    }
                });
            }
            pair(page, "Ended", |page| page.prose(&ended(attempt)));
            if !attempt.leftovers.is_empty() {
                pair(page, "Left running", |page| page.text(&attempt.leftovers.join(", ")));
            }
            if !attempt.ensures.is_empty() {
                pair(page, "Seen after", |page| sights(page, &attempt.ensures));
            }
            for (path, now) in &attempt.replaced {
                pair(page, "Replaced", |page| {
                    page.leaf("code", &[], path);
                    match now {
                        Fingerprint::Bytes(digest) => {
                            page.text(" SHA-256 ");
                            page.leaf("code", &[class("digest")], digest.as_str());
                        }
                        Fingerprint::Absent | Fingerprint::Unreadable | Fingerprint::Unusable => {
                            page.text(&format!(": {now}"));
                        }
                    }
                });
            }
        });
        output(page);
    });
}

/// How an attempt ended, in words.
pub(crate) fn ended(attempt: &Attempt) -> String {
    let Some((ending, micros)) = &attempt.ending else {
        return "Its end is not recorded.".to_owned();
    };
    let how = match ending {
        Ending::Attested => "a person said that it is done".to_owned(),
        Ending::NothingToDo => "there was only to wait".to_owned(),
        Ending::NotStarted { .. } => ending_in_words(ending),
        Ending::Exited { .. } | Ending::Signalled { .. } | Ending::TimedOut | Ending::Stopped | Ending::Interrupted => {
            format!("{} after {}", ending_in_words(ending), exact(*micros))
        }
    };
    let settled = match &attempt.settled {
        Some((stamp, Ok(()))) => format!("; done at {}", stamp.exactly()),
        Some((_, Err(reason))) => format!("; failed: {reason}"),
        None => String::new(),
    };
    format!("{how}{settled}")
}

/// What was seen, a line each.
pub(super) fn sights(page: &mut Markup, seen: &[Sight]) {
    if seen.is_empty() {
        return;
    }
    page.element("ul", &[class("sights")], |page| {
        for sight in seen {
            let mark = match sight.verdict {
                Verdict::Holds => "holds",
                Verdict::Broken | Verdict::Unknown => "broken",
            };
            page.element("li", &[class(mark)], |page| {
                page.leaf("code", &[], &sight.fact.to_string());
                page.text(" ");
                page.leaf("b", &[], &sight.verdict.to_string());
                page.text(&format!(": {}", sight.evidence));
            });
        }
    });
}

fn output(page: &mut Markup, account: &Account, provenance: &Provenance, step: &StepId, attempt: &Attempt) {
    let Some(output) = &attempt.output else { return };
    page.element("details", &[class("output")], |page| {
        page.element("summary", &[], |page| page.text(&format!("Output, {}", size(output.bytes))));
        page.element("p", &[class("digest-of")], |page| {
            page.text("Salted SHA-256 ");
            page.leaf("code", &[class("digest")], output.digest.as_str());
            page.text(", kept in ");
            page.leaf("code", &[], &output.transcript);
        });
        if let Some(trouble) = &output.trouble {
            page.leaf("p", &[class("bad")], &format!("What was kept is not complete: {trouble}"));
        }
        match &attempt.excerpt {
            None => page.leaf("p", &[class("gap")], "It is not shown here."),
            Some(Excerpt::Missing(why)) => page.leaf("p", &[class("bad")], &format!("It cannot be shown: {why}")),
            Some(Excerpt::Read { first, left_out, last, proof }) => {
                let said = proof_in_words(*proof);
                page.leaf("p", &[class(if *proof == Proof::Differs { "bad" } else { "proof" })], said);
                let pre = [("tabindex", Value::Fixed("0")), ("aria-label", Value::Fixed("Output"))];
                page.element("pre", &pre, |page| page.lines(first));
                if *left_out > 0 {
                    page.element("p", &[class("gap")], |page| {
                        page.text(&format!("{} are left out here; all that was kept: ", many_bytes(*left_out)));
                        page.leaf("code", &[], &provenance.output(&account.run, step, attempt));
                    });
                    if !last.is_empty() {
                        page.element("pre", &pre, |page| page.lines(last));
                    }
                }
            }
        }
    });
}

/// Whether an output is the recorded one, in words.
pub(crate) fn proof_in_words(proof: Proof) -> &'static str {
    match proof {
        Proof::AsRecorded => "It is what was recorded: its digest is the one in the log.",
        Proof::Differs => "IT IS NOT WHAT WAS RECORDED: its digest is not the one in the log.",
        Proof::Incomplete => "Whether it is what was recorded cannot be told, because not all of it was kept.",
    }
}

/// A number of bytes, as people say it.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => many_bytes(bytes),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// `1 byte`, `20 bytes`.
pub(crate) fn many_bytes(bytes: u64) -> String {
    many(usize::try_from(bytes).unwrap_or(usize::MAX), "byte")
}
