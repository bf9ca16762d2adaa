//! The report of one run as one HTML file: no script, nothing from elsewhere, one style that the file's own policy names by its digest. The
//! verdict comes first, what proves it last.

mod acts;
mod drawing;
pub mod markup;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::history::approval::{Approval, OVERRIDE, PLAN};
use crate::history::glass::REVIEW;
use crate::report::account::{Account, Departure, Fate, StepAccount, Tone, fates, many};
use crate::report::provenance::Provenance;
use crate::report::story::{by_whom, exact};
use crate::report::timeline::picture;
use crate::report::verdict::{Verdict, departure_in_words, times_in_words};
pub(crate) use acts::{ended, many_bytes, proof_in_words, size};
pub(crate) use drawing::rough;
use markup::{Attribute, Markup, Value};

/// The style, whose digest is in the policy.
pub const STYLE: &str = include_str!("html/style.css");
/// How many steps are listed in one go; where there are more, they are folded by so many.
const STEPS_AT_ONCE: usize = 100;
/// How many things are listed where a list has no other bound: so many from its beginning and from its end.
const MOST: usize = 100;

/// The report of a run.
pub fn html(account: &Account, provenance: &Provenance) -> String {
    let verdict = Verdict::of(account);
    let title = format!("{} · {} · {}", verdict.headline, account.runbook, account.run);
    document(&title, |page| {
        page.leaf("a", &[("class", Value::Fixed("skip")), ("href", Value::Fixed("#steps"))], "Skip to the steps");
        head(page, account, &verdict);
        page.element("main", &[], |page| {
            departures(page, account);
            timeline(page, account);
            approvals(page, account);
            steps(page, account, provenance);
            refusals(page, account);
            proof(page, account, provenance);
        });
        page.element("footer", &[], |page| {
            page.element("p", &[], |page| {
                page.text(&format!(
                    "Made by interlock {} at {} from the audit log alone. All times are UTC.",
                    provenance.program, provenance.made
                ));
            });
        });
    })
}

/// A whole document with this title.
pub(crate) fn document(title: &str, inside: impl FnOnce(&mut Markup)) -> String {
    let digest = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!("default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'");
    let mut page = Markup::default();
    page.element("html", &[("lang", Value::Fixed("en"))], |page| {
        page.element("head", &[], |page| {
            let meta = |page: &mut Markup, attributes: &[Attribute<'_>]| page.single("meta", attributes);
            meta(page, &[("charset", Value::Fixed("utf-8"))]);
            meta(page, &[("http-equiv", Value::Fixed("Content-Security-Policy")), ("content", Value::Text(&policy))]);
            meta(
                page,
                &[("name", Value::Fixed("viewport")), ("content", Value::Fixed("width=device-width, initial-scale=1"))],
            );
            meta(page, &[("name", Value::Fixed("color-scheme")), ("content", Value::Fixed("light dark"))]);
            meta(page, &[("name", Value::Fixed("referrer")), ("content", Value::Fixed("no-referrer"))]);
            page.leaf("title", &[], title);
            page.style(STYLE);
        });
        page.element("body", &[], inside);
    });
    page.page()
}

pub(crate) fn class(name: &'static str) -> Attribute<'static> {
    ("class", Value::Fixed(name))
}

fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Warning => "warning",
        Tone::Bad => "bad",
    }
}

/// A part of the page with a heading that names it.
pub(crate) fn section(page: &mut Markup, name: &'static str, heading: &str, inside: impl FnOnce(&mut Markup)) {
    page.element("section", &[("id", Value::Fixed(name)), ("aria-label", Value::Text(heading))], |page| {
        page.leaf("h2", &[], heading);
        inside(page);
    });
}

fn head(page: &mut Markup, account: &Account, verdict: &Verdict) {
    page.element("header", &[class(tone_class(verdict.tone))], |page| {
        page.leaf("p", &[class("kind")], "Report of a run");
        let title = account.opening.as_ref().and_then(|opening| opening.title.as_deref());
        page.leaf("h1", &[], title.unwrap_or(&account.runbook));
        page.element("p", &[class("verdict")], |page| page.prose(&verdict.headline));
        page.element("div", &[class("lead")], |page| {
            for sentence in &verdict.sentences {
                page.element("p", &[], |page| page.prose(sentence));
            }
        });
        if !verdict.left_out.is_empty() {
            page.element("ul", &[class("left-out")], |page| {
                for line in verdict.left_out.iter().take(MOST) {
                    page.element("li", &[], |page| page.prose(line));
                }
                let more = verdict.left_out.len().saturating_sub(MOST);
                if more > 0 {
                    page.leaf("li", &[], &format!("and {more} more, below"));
                }
            });
        }
        page.element("dl", &[class("facts")], |page| particulars(page, account));
    });
}

fn pair(page: &mut Markup, name: &str, value: impl FnOnce(&mut Markup)) {
    page.element("div", &[], |page| {
        page.leaf("dt", &[], name);
        page.element("dd", &[], value);
    });
}

fn particulars(page: &mut Markup, account: &Account) {
    pair(page, "Run", |page| page.leaf("code", &[], account.run.as_str()));
    let Some(opening) = &account.opening else { return };
    pair(page, "Runbook", |page| {
        page.leaf("code", &[], &account.runbook);
        page.text(" from ");
        page.leaf("code", &[], &opening.source);
    });
    pair(page, "Plan", |page| page.leaf("code", &[class("digest")], opening.plan.as_str()));
    if !opening.labels.is_empty() {
        let labels: Vec<String> = opening.labels.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        pair(page, "Labels", |page| page.text(&labels.join(", ")));
    }
    pair(page, "Carried out", |page| {
        for sitting in some(&account.sittings) {
            let Some(sitting) = sitting else {
                page.leaf("p", &[class("gap")], &left_out_of(account.sittings.len()));
                continue;
            };
            let until = sitting.until.time_of_day();
            let over = sitting.taken_over.as_ref().map(|why| format!(" (taken over: {why})")).unwrap_or_default();
            let words = format!(
                "by {} on {}, from {} to {until}{over}",
                by_whom(&sitting.who),
                sitting.who.host,
                sitting.from.to_the_second().trim_end_matches(" UTC")
            );
            page.leaf("p", &[], &words);
        }
    });
    for policy in &opening.policies {
        pair(page, "Under the policy", |page| {
            page.leaf("code", &[], &policy.file);
            let operator = policy.operator.as_ref().map(|person| format!(", operated by {person}")).unwrap_or_default();
            page.text(&format!(", number {}{operator}", policy.number));
        });
    }
    if !opening.locks.is_empty() {
        pair(page, "Locks", |page| page.text(&opening.locks.join(", ")));
    }
    pair(page, "Contained by", |page| page.text(&opening.containment));
    pair(page, "Watched by", |page| page.text(&opening.watching));
    if let Some(why) = &account.without_plan {
        pair(page, "Without the plan", |page| page.text(why));
    }
}

fn departures(page: &mut Markup, account: &Account) {
    section(page, "deviations", "Deviations", |page| {
        let made: Vec<&Departure> = account.made().collect();
        if made.is_empty() {
            page.leaf("p", &[class("none")], "None was made.");
        } else {
            table(
                page,
                "What was done otherwise than it is written",
                &["When", "What", "On whose word", "Why"],
                |page| {
                    for departure in some(&made) {
                        let Some(departure) = departure else { continue };
                        let used = departure.used.unwrap_or(departure.at);
                        page.element("tr", &[class("warning")], |page| {
                            cell(page, "When", |page| page.text(&used.to_the_second()));
                            cell(page, "What", |page| page.prose(&capital(&departure.given.deviation.to_string())));
                            cell(page, "On whose word", |page| page.text(&word_of(departure)));
                            cell(page, "Why", |page| page.text(&departure.given.reason));
                        });
                    }
                },
            );
            said_if_more(page, made.len(), "deviations");
        }
        let unused: Vec<&Departure> = account.departures.iter().filter(|departure| departure.used.is_none()).collect();
        if !unused.is_empty() {
            page.leaf("p", &[], "Permitted, and not made use of:");
            page.element("ul", &[], |page| {
                for departure in unused.iter().take(MOST) {
                    let words = departure_in_words(departure);
                    page.element("li", &[], |page| page.prose(&format!("{} (permitted only)", words)));
                }
            });
        }
    });
}

fn word_of(departure: &Departure) -> String {
    let given = &departure.given;
    match given.self_approved {
        Some(_) => format!("{}, on their own word", given.asked_by),
        None => format!("asked for by {}, signed by {}", given.asked_by, given.approved_by.join(", ")),
    }
}

fn timeline(page: &mut Markup, account: &Account) {
    section(page, "timeline", "Timeline", |page| {
        let picture = picture(account, drawing::WIDTH, 86.0);
        drawing::draw(page, account, &picture);
        let times = times_in_words(&account.times());
        page.element("div", &[class("columns")], |page| {
            if !times.is_empty() {
                table(page, "Where the time went", &["What", "How long", "Share"], |page| {
                    for (what, long, share) in &times {
                        page.element("tr", &[], |page| {
                            cell(page, "What", |page| page.text(what));
                            page.leaf("td", &[class("number"), ("data-name", Value::Fixed("How long"))], long);
                            page.leaf("td", &[class("number"), ("data-name", Value::Fixed("Share"))], share);
                        });
                    }
                });
            }
            page.element("div", &[class("turns")], |page| {
                page.leaf("h3", &[], "What turned its course");
                page.element("ol", &[], |page| {
                    for turn in some(&account.turns) {
                        let Some(turn) = turn else {
                            page.leaf("li", &[class("gap")], &left_out_of(account.turns.len()));
                            continue;
                        };
                        page.element("li", &[class(tone_class(turn.tone))], |page| {
                            page.leaf("time", &[], &turn.at.time_of_day());
                            page.text(" ");
                            page.element("span", &[], |page| page.prose(&turn.words));
                        });
                    }
                });
            });
        });
    });
}

fn approvals(page: &mut Markup, account: &Account) {
    section(page, "approvals", "Approvals", |page| {
        if account.approvals.is_empty() {
            let why = match &account.opening {
                Some(opening) if !opening.policies.is_empty() => "None is recorded.",
                Some(_) => "None: no policy was in force that asks for any.",
                None => "None: the run was refused before it was opened.",
            };
            page.leaf("p", &[class("none")], why);
            return;
        }
        let headings = ["Who", "Signed what", "With which key", "Recorded"];
        table(page, "Signatures that counted, checked by ssh-keygen when they were taken", &headings, |page| {
            for approval in some(&account.approvals) {
                let Some((stamp, approval)) = approval else { continue };
                let what = signed_what(approval);
                page.element("tr", &[], |page| {
                    cell(page, "Who", |page| page.leaf("strong", &[], approval.person.as_str()));
                    cell(page, "Signed what", |page| {
                        page.text(&format!("{what}, "));
                        page.leaf("code", &[class("digest")], approval.document.as_str());
                    });
                    cell(page, "With which key", |page| {
                        page.leaf("code", &[class("digest")], &approval.key);
                        let presence = approval.presence.as_ref().map(|how| format!(", {how}")).unwrap_or_default();
                        let by = approval.certificate.as_ref();
                        let by =
                            by.map(|by| format!(", certified as {} by {}", by.id, by.authority)).unwrap_or_default();
                        page.text(&format!(" ({}{presence}{by})", approval.algorithm));
                    });
                    cell(page, "Recorded", |page| {
                        page.text(&format!("{}, entry {}", stamp.to_the_second(), stamp.seq));
                    });
                });
            }
        });
        said_if_more(page, account.approvals.len(), "approvals");
    });
}

/// What a signature is over, by what it was made for.
pub(crate) fn signed_what(approval: &Approval) -> &'static str {
    match approval.namespace.as_str() {
        PLAN => "the plan",
        OVERRIDE => "a request for a deviation",
        REVIEW => "a review of the run",
        _ => "a document",
    }
}

fn steps(page: &mut Markup, account: &Account, provenance: &Provenance) {
    section(page, "steps", "Steps", |page| {
        if account.steps.is_empty() {
            page.leaf("p", &[class("none")], "Nothing is recorded of any step.");
        }
        let all = account.steps.len();
        let at_once = if all > STEPS_AT_ONCE { STEPS_AT_ONCE } else { all.max(1) };
        for (part, steps) in account.steps.chunks(at_once).enumerate() {
            let first = part * at_once;
            if all <= STEPS_AT_ONCE {
                list_steps(page, account, provenance, first, steps);
                continue;
            }
            page.element("details", &[class("many")], |page| {
                page.element("summary", &[], |page| {
                    page.text(&format!("Steps {} to {}: {}", first + 1, first + steps.len(), fates(steps)));
                });
                list_steps(page, account, provenance, first, steps);
            });
        }
    });
}

fn list_steps(page: &mut Markup, account: &Account, provenance: &Provenance, first: usize, steps: &[StepAccount]) {
    for (at, step) in steps.iter().enumerate() {
        let number = first + at + 1;
        let tone = step.tone();
        let mut attributes = vec![class(match tone {
            Tone::Plain => "step plain",
            Tone::Good => "step good",
            Tone::Warning => "step warning",
            Tone::Bad => "step bad",
        })];
        // What went wrong is what somebody looks for.
        if tone == Tone::Bad {
            attributes.push(("open", Value::Fixed("")));
        }
        page.element("details", &attributes, |page| {
            page.element("summary", &[], |page| {
                page.leaf("span", &[class("position")], &number.to_string());
                page.element("span", &[class("name")], |page| {
                    page.leaf("code", &[], step.id.as_str());
                    if let Some(title) = &step.title {
                        page.text(" ");
                        page.leaf("span", &[class("title")], title);
                    }
                });
                let attempts = step.attempts();
                let mut words = step.fate_in_words();
                if attempts > 1 && step.back.is_none() {
                    words = format!("{words}, {}", many(attempts, "attempt"));
                }
                page.leaf("span", &[class("fate")], &words);
                if attempts > 0 {
                    page.leaf("span", &[class("took")], &exact(step.took()));
                }
            });
            // A link to it opens what it is in.
            let id = ("id", Value::Anchor("step", number));
            page.element("div", &[class("acts"), id], |page| {
                if step.fate == Fate::NotBegun && step.acts.is_empty() {
                    page.leaf("p", &[class("none")], "Nothing is recorded of it.");
                }
                acts::list(page, account, provenance, step);
            });
        });
    }
}

fn refusals(page: &mut Markup, account: &Account) {
    section(page, "refused", "Refused attempts", |page| {
        if account.refusals.is_empty() {
            page.leaf("p", &[class("none")], "None is recorded.");
            return;
        }
        let headings = ["When", "Who", "Wanted to", "Why it was refused"];
        table(page, "What somebody wanted, and was not allowed", &headings, |page| {
            for refusal in some(&account.refusals) {
                let Some(refusal) = refusal else { continue };
                page.element("tr", &[], |page| {
                    cell(page, "When", |page| page.text(&refusal.at.to_the_second()));
                    cell(page, "Who", |page| page.text(&refusal.who));
                    cell(page, "Wanted to", |page| {
                        page.prose(&refusal.wanted);
                        if let Some(reason) = &refusal.reason {
                            page.text(&format!(", because: {reason}"));
                        }
                    });
                    cell(page, "Why it was refused", |page| {
                        page.prose(&refusal.why);
                        acts::sights(page, &refusal.seen);
                    });
                });
            }
        });
        said_if_more(page, account.refusals.len(), "refusals");
    });
}

fn proof(page: &mut Markup, account: &Account, provenance: &Provenance) {
    section(page, "proof", "What proves it", |page| {
        page.leaf(
            "p",
            &[],
            "This page proves nothing by itself. The audit log does, in which each entry names the digest of the one before it:",
        );
        page.element("dl", &[class("facts")], |page| {
            pair(page, "Log", |page| page.leaf("code", &[], &provenance.log));
            if let Some(key) = &provenance.key {
                pair(page, "Its key", |page| page.leaf("code", &[class("digest")], key));
            }
            for (name, end) in [("First entry", &account.first), ("Last entry", &account.last)] {
                let Some((stamp, digest)) = end else { continue };
                pair(page, name, |page| {
                    page.text(&format!("{}, {}, SHA-256 ", stamp.seq, stamp.exactly()));
                    page.leaf("code", &[class("digest")], digest.as_str());
                });
            }
            pair(page, "Entries", |page| page.text(&account.entries.to_string()));
            pair(page, "End of the log", |page| {
                page.text(&format!("when this page was made: entry {}, SHA-256 ", provenance.head.0));
                page.leaf("code", &[class("digest")], provenance.head.1.as_str());
            });
            pair(page, "To check it", |page| {
                page.leaf("code", &[], &provenance.verify());
                page.text(" says whether the log is whole");
            });
            pair(page, "", |page| {
                page.leaf("code", &[], &provenance.last_digest(&account.run));
                page.text(" gives the digest of the last entry again");
            });
        });
        match &provenance.checkpoint {
            Some(anchor) => {
                page.element("p", &[], |page| {
                    page.text(&format!(
                        "This checkpoint, signed with the log's key, speaks of its first {} entries and so of the whole run. Kept here, it \
                         is out of reach of whoever changes the log: save it, and give it to ",
                        anchor.size
                    ));
                    page.leaf("code", &[], "interlock audit verify --checkpoint FILE");
                    page.text(".");
                });
                page.element("pre", &[class("note"), ("tabindex", Value::Fixed("0"))], |page| page.lines(&anchor.note));
            }
            None => page.element("p", &[class("warning")], |page| {
                page.text("No checkpoint beside the log speaks of the whole run. ");
                page.leaf("code", &[], "interlock audit checkpoint");
                page.text(" makes one.");
            }),
        }
    });
}

/// A table with a caption; each cell names its column, so that it can be read where there is no room for columns.
fn table(page: &mut Markup, caption: &str, headings: &[&str], rows: impl FnOnce(&mut Markup)) {
    page.element("table", &[], |page| {
        page.leaf("caption", &[], caption);
        page.element("thead", &[], |page| {
            page.element("tr", &[], |page| {
                for heading in headings {
                    page.leaf("th", &[("scope", Value::Fixed("col"))], heading);
                }
            });
        });
        page.element("tbody", &[], rows);
    });
}

/// A cell of the column with this name.
fn cell(page: &mut Markup, column: &str, inside: impl FnOnce(&mut Markup)) {
    page.element("td", &[("data-name", Value::Text(column))], inside);
}

/// The first and the last of many; none in between where some are left out.
pub(crate) fn some<T>(all: &[T]) -> Vec<Option<&T>> {
    if all.len() <= 2 * MOST {
        return all.iter().map(Some).collect();
    }
    let (first, last) = (all[..MOST].iter(), all[all.len() - MOST..].iter());
    first.map(Some).chain([None]).chain(last.map(Some)).collect()
}

pub(crate) fn left_out_of(count: usize) -> String {
    format!("{} more in between are left out here", count.saturating_sub(2 * MOST))
}

fn said_if_more(page: &mut Markup, count: usize, what: &str) {
    if count > 2 * MOST {
        page.leaf("p", &[class("gap")], &format!("Of {count} {what} the first and the last {MOST} are shown."));
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
