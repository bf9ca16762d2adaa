//! The overview as tables, and as text, Markdown, HTML and JSON.

use serde_json::{Value as Json, json};

use super::{DeviationMade, Made, Overview, Sum};
use crate::report::account::{many, on_whose_word};
use crate::report::html::markup::{Markup, Value};
use crate::report::html::{class, document, section};
use crate::report::markdown::Markdown;
use crate::report::story::exact;
use crate::report::table::Table;
use crate::report::waits::moment;

/// How many rows a table of what presses has.
const TOP: usize = 15;
/// What presses no more than this, which is no second of waiting, does not press.
const NOTHING: (u64, u64, u64) = (0, 0, 999_999);
/// How many deviations are listed.
const LISTED: usize = 500;

impl Overview {
    /// The time that is looked at, in words.
    fn period_in_words(&self) -> String {
        let form = "%Y-%m-%d %H:%M:%S";
        format!("{} to {} UTC", moment(self.period.since, form), moment(self.period.until, form))
    }

    /// All of it in a sentence.
    fn in_a_sentence(&self) -> String {
        let runs: u64 = self.runbooks.values().map(super::Outcomes::runs).sum();
        let made = self.deviations.iter().filter(|deviation| deviation.made == Made::Yes).count();
        format!(
            "{} of {}, {} made.",
            many(usize::try_from(runs).unwrap_or(usize::MAX), "run"),
            many(self.runbooks.len(), "runbook"),
            many(made + self.more_deviations, "deviation")
        )
    }

    fn tables(&self) -> [Table; 5] {
        [self.outcomes(), self.deviations(), self.lost(), self.steps(), self.facts()]
    }

    fn outcomes(&self) -> Table {
        let rows = self.runbooks.iter().map(|(name, outcomes)| {
            let mut row = vec![format!("`{name}`"), outcomes.runs().to_string()];
            let counts = [
                outcomes.completed,
                outcomes.deviating,
                outcomes.undone,
                outcomes.abandoned,
                outcomes.refused,
                outcomes.halted,
                outcomes.open,
                outcomes.halts,
            ];
            row.extend(counts.map(number));
            row
        });
        Table {
            heading: "Runbooks: how often they ran, and how it ended",
            none: "Nothing ran.",
            columns: vec![
                "runbook",
                "runs",
                "as written",
                "deviating",
                "undone",
                "abandoned",
                "refused",
                "halted still",
                "open",
                "halts",
            ],
            rows: rows.collect(),
            more: 0,
        }
    }

    fn deviations(&self) -> Table {
        let row = |made: &DeviationMade| {
            let permitted = if made.made == Made::Yes { "" } else { " (permitted, not made)" };
            vec![
                made.at.to_the_second(),
                format!("`{}`", made.runbook),
                format!("{}{permitted}", made.given.deviation),
                match made.given.self_approved {
                    Some(_) => format!("{}, on their own word", made.given.asked_by),
                    None => format!("{}, {}", made.given.asked_by, on_whose_word(&made.given)),
                },
                made.given.reason.clone(),
                made.run.as_ref().map_or_else(|| "–".to_owned(), |run| format!("`{run}`")),
            ]
        };
        // The newest are what one looks for; they stay in their order.
        let first = self.deviations.len().saturating_sub(LISTED);
        Table {
            heading: "Deviations: what was done otherwise than it is written, by whom, and why",
            none: "None was permitted.",
            columns: vec!["when", "runbook", "what", "who", "why", "run"],
            rows: self.deviations[first..].iter().map(row).collect(),
            more: first + self.more_deviations,
        }
    }

    fn lost(&self) -> Table {
        let mut rows: Vec<(&&str, &Sum)> = self.lost.iter().collect();
        rows.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.total));
        let row = |(what, sum): (&&str, &Sum)| {
            let average = sum.total.checked_div(sum.count).unwrap_or_default();
            vec![(*what).to_owned(), number(sum.count), exact(sum.total), exact(average), exact(sum.longest)]
        };
        Table {
            heading: "Waiting: where time was lost",
            none: "Nothing was waited for.",
            columns: vec!["for what", "times", "in all", "on average", "at most"],
            rows: rows.into_iter().map(row).collect(),
            more: 0,
        }
    }

    fn steps(&self) -> Table {
        let mut pressed: Vec<_> = self.steps.iter().filter(|(_, pressure)| pressure.weight() > NOTHING).collect();
        pressed.sort_by_key(|(name, pressure)| (std::cmp::Reverse(pressure.weight()), *name));
        let more = pressed.len().saturating_sub(TOP);
        let rows = pressed.into_iter().take(TOP).map(|((runbook, step), pressure)| {
            vec![
                format!("`{step}` of `{runbook}`"),
                number(pressure.attempts),
                number(pressure.skipped),
                number(pressure.waived),
                number(pressure.accepted),
                number(pressure.refused),
                number(pressure.failed),
                time(&pressure.people),
                time(&pressure.waited),
            ]
        });
        Table {
            heading: "Pressure: the steps that are left out, fail or are waited for most",
            none: "No step was left out, failed or was waited for.",
            columns: vec![
                "step",
                "attempts",
                "skipped",
                "waived for",
                "accepted",
                "asked, refused",
                "failed",
                "people waited",
                "facts waited",
            ],
            rows: rows.collect(),
            more,
        }
    }

    fn facts(&self) -> Table {
        let mut pressed: Vec<_> = self.facts.iter().filter(|(_, pressure)| pressure.weight() > NOTHING).collect();
        pressed.sort_by_key(|(name, pressure)| (std::cmp::Reverse(pressure.weight()), *name));
        let more = pressed.len().saturating_sub(TOP);
        let rows = pressed.into_iter().take(TOP).map(|((runbook, fact), pressure)| {
            vec![
                format!("`{fact}` in `{runbook}`"),
                number(pressure.waived),
                number(pressure.asked),
                number(pressure.refused),
                number(pressure.broke),
                time(&pressure.waited),
            ]
        });
        Table {
            heading: "Pressure: the facts that are waived, do not hold or are waited for most",
            none: "No fact was waived, missing or waited for.",
            columns: vec!["fact", "waived", "asked, refused", "did not hold", "broke", "waited for"],
            rows: rows.collect(),
            more,
        }
    }

    /// As lines for a terminal.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n{}\n\n", self.period_in_words(), self.in_a_sentence());
        for table in self.tables() {
            text.push_str(&table.text());
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut page = Markdown::default();
        page.heading(1, "Report over many runs");
        page.paragraph(&self.period_in_words());
        page.paragraph(&self.in_a_sentence());
        for table in self.tables() {
            page.heading(2, table.heading);
            if table.rows.is_empty() {
                page.paragraph(table.none);
            } else {
                page.table(&table);
            }
        }
        page.finish()
    }

    /// As a page.
    pub fn html(&self) -> String {
        document(&format!("Report over many runs · {}", self.period_in_words()), |page| {
            page.element("header", &[], |page| {
                page.leaf("p", &[class("kind")], "Report over many runs");
                page.leaf("h1", &[], &self.period_in_words());
                page.leaf("p", &[class("verdict")], &self.in_a_sentence());
            });
            page.element("main", &[], |page| {
                let names = ["runbooks", "deviations", "waiting", "steps", "facts"];
                for (name, table) in names.into_iter().zip(self.tables()) {
                    section(page, name, table.heading, |page| rows(page, &table));
                }
            });
        })
    }

    /// As objects, each with what it is about in `about`.
    pub fn json(&self) -> Vec<Json> {
        let sum = |sum: &Sum| json!({"count": sum.count, "total_micros": sum.total, "longest_micros": sum.longest});
        let mut all = vec![json!({
            "about": "period", "since": moment(self.period.since, "%Y-%m-%dT%H:%M:%SZ"),
            "until": moment(self.period.until, "%Y-%m-%dT%H:%M:%SZ"),
        })];
        all.extend(self.runbooks.iter().map(|(name, outcomes)| {
            json!({
                "about": "runbook", "runbook": name, "runs": outcomes.runs(), "completed": outcomes.completed,
                "completed_with_deviations": outcomes.deviating, "undone": outcomes.undone, "abandoned": outcomes.abandoned,
                "refused": outcomes.refused, "halted": outcomes.halted, "open": outcomes.open, "halts": outcomes.halts,
            })
        }));
        all.extend(self.deviations.iter().map(|deviation| {
            let given = &deviation.given;
            json!({
                "about": "deviation", "time": deviation.at.rfc3339(), "run": deviation.run, "runbook": deviation.runbook,
                "deviation": given.deviation, "reason": given.reason, "asked_by": given.asked_by,
                "self_approved": given.self_approved, "approved_by": given.approved_by, "made": deviation.made == Made::Yes,
            })
        }));
        all.extend(self.lost.iter().map(|(what, lost)| json!({"about": "waiting", "for": what, "waited": sum(lost)})));
        all.extend(self.steps.iter().map(|((runbook, step), pressure)| {
            json!({
                "about": "step", "runbook": runbook, "step": step, "attempts": pressure.attempts, "skipped": pressure.skipped,
                "waived": pressure.waived, "accepted": pressure.accepted, "refused": pressure.refused, "failed": pressure.failed,
                "people": sum(&pressure.people), "waited": sum(&pressure.waited),
            })
        }));
        all.extend(self.facts.iter().map(|((runbook, fact), pressure)| {
            json!({
                "about": "fact", "runbook": runbook, "fact": fact, "did_not_hold": pressure.refused, "broke": pressure.broke,
                "waived": pressure.waived, "refused": pressure.asked, "waited": sum(&pressure.waited),
            })
        }));
        if self.more_deviations > 0 {
            all.push(json!({"about": "left_out", "deviations": self.more_deviations}));
        }
        all
    }
}

fn rows(page: &mut Markup, table: &Table) {
    if table.rows.is_empty() {
        page.leaf("p", &[class("none")], table.none);
        return;
    }
    let kind = |at: usize| class(if table.is_of_numbers(at) { "number" } else { "words" });
    page.element("table", &[("aria-label", Value::Text(table.heading))], |page| {
        page.element("thead", &[], |page| {
            page.element("tr", &[], |page| {
                for (at, column) in table.columns.iter().enumerate() {
                    page.leaf("th", &[("scope", Value::Fixed("col")), kind(at)], column);
                }
            });
        });
        page.element("tbody", &[], |page| {
            for row in &table.rows {
                page.element("tr", &[], |page| {
                    for (at, (cell, column)) in row.iter().zip(&table.columns).enumerate() {
                        page.element("td", &[kind(at), ("data-name", Value::Text(column))], |page| page.prose(cell));
                    }
                });
            }
        });
    });
    if let Some(more) = table.more_in_words() {
        page.leaf("p", &[class("gap")], &more);
    }
}

fn number(count: u64) -> String {
    if count == 0 { "–".to_owned() } else { count.to_string() }
}

fn time(sum: &Sum) -> String {
    if sum.count == 0 { "–".to_owned() } else { exact(sum.total) }
}
