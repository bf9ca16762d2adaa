//! The report of one run as Markdown, in the order of the HTML one, and the only way to Markdown: every text that is not the program's own is
//! escaped as everywhere, and then what Markdown would understand, or it stands in a fence that it cannot close.

use crate::diagnostic::escape::{escape_line, escape_text};
use crate::history::event::{Sight, Verdict as Seen, Way};
use crate::report::account::{Account, Act, Agreed, Attempt, Excerpt, SpanKind, StepAccount};
use crate::report::html::{ended, left_out_of, many_bytes, proof_in_words, rough, signed_what, size, some};
use crate::report::provenance::Provenance;
use crate::report::story::by_whom;
use crate::report::table::Table;
use crate::report::timeline::{Drawn, picture};
use crate::report::verdict::{Verdict, departure_in_words, times_in_words};
use crate::report::waits::Stamp;

/// A piece of Markdown in the making.
#[derive(Debug, Default)]
pub struct Markdown {
    text: String,
}

impl Markdown {
    /// A heading of this level.
    pub fn heading(&mut self, level: usize, text: &str) {
        self.gap();
        self.text.push_str(&format!("{} {}\n\n", "#".repeat(level), prose(text)));
    }

    /// A paragraph, in which names stand between backticks.
    pub fn paragraph(&mut self, text: &str) {
        self.gap();
        self.text.push_str(&format!("{}\n\n", at_start(&prose(text))));
    }

    /// An item of a list, so many levels in.
    pub fn item(&mut self, level: usize, text: &str) {
        self.text.push_str(&format!("{}- {}\n", "  ".repeat(level), at_start(&prose(text))));
    }

    /// An item of a list that ends with a code.
    pub fn item_of_code(&mut self, level: usize, text: &str, end: &str) {
        self.text.push_str(&format!("{}- {} {}\n", "  ".repeat(level), at_start(&prose(text)), code(end)));
    }

    /// An item of a list that ends with a text in which backticks mean nothing.
    pub fn item_of_text(&mut self, level: usize, text: &str, end: &str) {
        self.text.push_str(&format!("{}- {} {}\n", "  ".repeat(level), at_start(&prose(text)), escaped(end)));
    }

    /// A text as it is, in a fence.
    pub fn fence<T: AsRef<[u8]> + ?Sized>(&mut self, text: &T) {
        self.gap();
        let shown = escape_text(text);
        let fence = "`".repeat(longest_run(&shown).max(2) + 1);
        self.text.push_str(&format!("{fence}text\n{}\n{fence}\n\n", shown.trim_end_matches('\n')));
    }

    /// A table; names stand between backticks in its cells.
    pub fn table(&mut self, table: &Table) {
        self.gap();
        let row = |cells: &mut dyn Iterator<Item = String>| {
            // In a table, code ends at a bar all the same.
            let shown = cells.map(|cell| if cell.contains('|') { escaped(&cell) } else { prose(&cell) });
            format!("| {} |\n", shown.collect::<Vec<_>>().join(" | "))
        };
        self.text.push_str(&row(&mut table.columns.iter().map(|column| (*column).to_owned())));
        self.text.push_str(&row(&mut table.columns.iter().map(|_| "---".to_owned())));
        for cells in &table.rows {
            self.text.push_str(&row(&mut cells.iter().cloned()));
        }
        self.text.push('\n');
        if let Some(more) = table.more_in_words() {
            self.paragraph(&more);
        }
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.text
    }

    /// What follows stands by itself.
    fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }
}

/// A text of one line, with `names` between backticks as code.
fn prose(text: &str) -> String {
    if text.matches('`').count() % 2 == 1 {
        return escaped(text);
    }
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { code(part) } else { escaped(part) }).collect()
}

/// A text of one line, as nothing but text.
fn escaped(text: &str) -> String {
    let mut shown = String::new();
    for c in escape_line(text).chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '@' | '#' | '!') {
            shown.push('\\');
        }
        shown.push(c);
    }
    shown
}

/// At the beginning of a line more means something.
fn at_start(text: &str) -> String {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match text.as_bytes().get(digits) {
        Some(b'.' | b')') if digits > 0 => format!("{}\\{}", &text[..digits], &text[digits..]),
        Some(b'-' | b'+' | b'=') if digits == 0 => format!("\\{text}"),
        Some(_) | None => text.trim_start().to_owned(),
    }
}

/// A text of one line as code, in a fence that it cannot close.
fn code(text: &str) -> String {
    let shown = escape_line(text);
    let fence = "`".repeat(longest_run(&shown) + 1);
    match shown.trim().is_empty() {
        true => escaped(text),
        false if shown.starts_with('`') || shown.ends_with('`') => format!("{fence} {shown} {fence}"),
        false => format!("{fence}{shown}{fence}"),
    }
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

/// The report of a run.
pub fn markdown(account: &Account, provenance: &Provenance) -> String {
    let verdict = Verdict::of(account);
    let mut page = Markdown::default();
    let title = account.opening.as_ref().and_then(|opening| opening.title.as_deref());
    page.heading(1, title.unwrap_or(&account.runbook));
    page.paragraph(&format!("Verdict: {}", verdict.headline));
    for sentence in &verdict.sentences {
        page.item(0, sentence);
    }
    for line in &verdict.left_out {
        page.item(0, line);
    }
    particulars(&mut page, account);
    departures(&mut page, account);
    timeline(&mut page, account);
    approvals(&mut page, account);
    page.heading(2, "Steps");
    for (at, step) in account.steps.iter().enumerate() {
        steps(&mut page, account, provenance, at, step);
    }
    refusals(&mut page, account);
    proof(&mut page, account, provenance);
    page.finish()
}

fn particulars(page: &mut Markdown, account: &Account) {
    page.item(0, &format!("Run: `{}`", account.run));
    let Some(opening) = &account.opening else { return };
    page.item(0, &format!("Runbook: `{}` from `{}`, plan SHA-256 `{}`", account.runbook, opening.source, opening.plan));
    for sitting in some(&account.sittings) {
        let Some(sitting) = sitting else { continue };
        let (from, until) = (sitting.from.to_the_second(), sitting.until.to_the_second());
        page.item(
            0,
            &format!("Carried out by {} on {}, from {from} to {until}", by_whom(&sitting.who), sitting.who.host),
        );
    }
    for policy in &opening.policies {
        page.item(0, &format!("Under the policy `{}`, number {}", policy.file, policy.number));
    }
    page.item(0, &format!("Contained by {}; watched by {}", opening.containment, opening.watching));
    if let Some(why) = &account.without_plan {
        page.item(0, &format!("Without the plan: {why}"));
    }
}

fn departures(page: &mut Markdown, account: &Account) {
    page.heading(2, "Deviations");
    if account.made().next().is_none() {
        page.paragraph("None was made.");
    }
    for departure in account.made() {
        let used = departure.used.unwrap_or(departure.at);
        page.item(0, &format!("{}: {}", used.to_the_second(), departure_in_words(departure)));
    }
    for departure in account.departures.iter().filter(|departure| departure.used.is_none()) {
        page.item(0, &format!("permitted, and not made use of: {}", departure_in_words(departure)));
    }
}

/// How many columns the line of time has.
const COLUMNS: usize = 64;
/// How many parts of the width a column is.
const PARTS: f64 = 10.0;

fn timeline(page: &mut Markdown, account: &Account) {
    page.heading(2, "Timeline");
    let picture = picture(account, COLUMNS as f64 * PARTS, 120.0);
    let mut drawn = String::new();
    let mut axis = vec![' '; COLUMNS + 12];
    for tick in &picture.ticks {
        let at = column(tick.x);
        for (to, c) in axis[at..].iter_mut().zip(format!("|{}", tick.label).chars()) {
            *to = c;
        }
    }
    drawn.push_str(&format!("{:28}{}\n", "", String::from_iter(axis).trim_end()));
    let ground = || {
        let mut line = vec![' '; COLUMNS];
        for piece in picture.scale.pieces().iter().filter(|piece| piece.drawn == Drawn::Folded) {
            fill(&mut line, piece.left, piece.right, '/');
        }
        line
    };
    for hold in &picture.holds {
        let mut line = ground();
        hold.bars.iter().for_each(|bar| fill(&mut line, bar.left, bar.right, '-'));
        hold.breaks.iter().for_each(|x| fill(&mut line, *x, *x, 'X'));
        drawn.push_str(&format!("{:28}{}\n", cut(&hold.label), String::from_iter(line).trim_end()));
    }
    for lane in &picture.lanes {
        let mut line = ground();
        for bar in &lane.bars {
            let sign = match bar.kind {
                SpanKind::Pause => '.',
                SpanKind::Facts => 'w',
                SpanKind::Work => '#',
                SpanKind::Undo => '<',
                SpanKind::Person => 'p',
                SpanKind::Bad => '!',
            };
            fill(&mut line, bar.left, bar.right, sign);
        }
        lane.departures.iter().for_each(|x| fill(&mut line, *x, *x, 'D'));
        let name = format!("{} {}", lane.steps.0 + 1, lane.label);
        drawn.push_str(&format!("{:28}{}\n", cut(&name), String::from_iter(line).trim_end()));
    }
    page.fence(&drawn);
    page.paragraph(
        "To scale, times in UTC: - a fact held, X it broke, # at work, w waits for what it ensures, p waits for a person, . pause, ! did \
         not end well, < being taken back, D a deviation, / nobody carried it out (not to scale).",
    );
    for piece in picture.scale.pieces().iter().filter(|piece| piece.drawn == Drawn::Folded).take(20) {
        page.item(0, &format!("stood still for {}", rough(piece.until - piece.from)));
    }
    for (what, long, share) in times_in_words(&account.times()) {
        page.item(0, &format!("{what}: {long} {share}"));
    }
    page.heading(3, "What turned its course");
    for turn in some(&account.turns) {
        match turn {
            Some(turn) => page.item(0, &format!("{} {}", turn.at.exactly(), turn.words)),
            None => page.item(0, &left_out_of(account.turns.len())),
        }
    }
}

fn column(x: f64) -> usize {
    ((x / PARTS) as usize).min(COLUMNS - 1)
}

fn fill(line: &mut [char], left: f64, right: f64, sign: char) {
    let last = column((right - 0.01).max(left));
    line[column(left)..=last].fill(sign);
}

fn cut(name: &str) -> String {
    if name.chars().count() <= 26 {
        name.to_owned()
    } else {
        format!("{}…", name.chars().take(25).collect::<String>())
    }
}

fn approvals(page: &mut Markdown, account: &Account) {
    page.heading(2, "Approvals");
    if account.approvals.is_empty() {
        page.paragraph("None is recorded.");
    }
    for approval in some(&account.approvals) {
        match approval {
            Some((stamp, approval)) => page.item(
                0,
                &format!(
                    "{} signed {}, `{}`, with `{}` ({}), recorded at {} in entry {}",
                    approval.person,
                    signed_what(approval),
                    approval.document,
                    approval.key,
                    approval.algorithm,
                    stamp.to_the_second(),
                    stamp.seq
                ),
            ),
            None => page.item(0, &left_out_of(account.approvals.len())),
        }
    }
}

fn steps(page: &mut Markdown, account: &Account, provenance: &Provenance, at: usize, step: &StepAccount) {
    let title = step.title.as_ref().map(|title| format!(" {title}")).unwrap_or_default();
    page.heading(3, &format!("{} `{}`{title}: {}", at + 1, step.id, step.fate_in_words()));
    for act in some(&step.acts) {
        match act {
            Some((stamp, act)) => {
                let command = |attempt: &Attempt| provenance.output(&account.run, &step.id, attempt);
                show(page, *stamp, act, &command);
            }
            None => page.item(0, &left_out_of(step.acts.len())),
        }
    }
}

fn show(page: &mut Markdown, stamp: Stamp, act: &Act, command: &dyn Fn(&Attempt) -> String) {
    let time = stamp.exactly();
    let (words, seen) = match act {
        Act::Attempt(one) => return attempt(page, &time, one, command),
        Act::Said { ask, answer, agreed, .. } => {
            let said = match agreed {
                Agreed::Yes => "answered",
                Agreed::No => "not agreed to",
            };
            (format!("{time}: asked “{ask}”, {said}: “{answer}”"), [].as_slice())
        }
        Act::Stopping { ask, answer, .. } => {
            (format!("{time}: interrupted; asked “{ask}”, answered “{answer}”"), [].as_slice())
        }
        Act::Already(seen) => (format!("{time}: already so, nothing was done"), seen.as_slice()),
        Act::NotApplicable { expression, .. } => (format!("{time}: not applicable: `{expression}`"), [].as_slice()),
        Act::Skipped => (format!("{time}: SKIPPED, by an override"), [].as_slice()),
        Act::Accepted => (format!("{time}: counts as done, by an override"), [].as_slice()),
        Act::Waived(sight) => (format!("{time}: what a waived fact showed"), std::slice::from_ref(sight)),
        Act::Broke { sight, told } => {
            (format!("{time}: a fact that it needs broke while it ran ({told})"), std::slice::from_ref(sight))
        }
        Act::Retried { .. } => (format!("{time}: attempted again"), [].as_slice()),
        Act::RunAgain(seen) => (format!("{time}: run again: what it had ensured does not hold"), seen.as_slice()),
        Act::NotRunAgain(seen) => (format!("{time}: not run again: what it had ensured holds"), seen.as_slice()),
    };
    page.item(0, &words);
    sights(page, seen);
}

fn attempt(page: &mut Markdown, time: &str, attempt: &Attempt, command: &dyn Fn(&Attempt) -> String) {
    let what = match attempt.way {
        Way::Forward => "attempt",
        Way::Back => "taking it back, attempt",
        Way::Again => "run again, attempt",
    };
    page.item(0, &format!("{time}: {what} {}", attempt.number));
    sights(page, &attempt.requires);
    for fact in &attempt.waived {
        page.item(1, &format!("WAIVED: `{fact}`"));
    }
    page.item_of_code(1, "did:", &attempt.action);
    if let Some(program) = &attempt.program {
        page.item(1, &format!("executed `{}`, SHA-256 `{}`", program.path, program.digest));
    }
    page.item(1, &ended(attempt));
    sights(page, &attempt.ensures);
    if !attempt.leftovers.is_empty() {
        page.item(1, &format!("left running: {}", attempt.leftovers.join(", ")));
    }
    let Some(output) = &attempt.output else { return };
    page.item(1, &format!("output: {}, kept in `{}`", size(output.bytes), output.transcript));
    match &attempt.excerpt {
        None => {}
        Some(Excerpt::Missing(why)) => page.item(1, &format!("it cannot be shown: {why}")),
        Some(Excerpt::Read { first, left_out, last, proof }) => {
            page.item(1, proof_in_words(*proof));
            page.fence(first);
            if *left_out > 0 {
                let command = command(attempt);
                page.item_of_code(
                    0,
                    &format!("{} are left out here; all that was kept:", many_bytes(*left_out)),
                    &command,
                );
                page.fence(last);
            }
        }
    }
}

fn sights(page: &mut Markdown, seen: &[Sight]) {
    for sight in seen {
        let mark = match sight.verdict {
            Seen::Holds => "✓",
            Seen::Broken | Seen::Unknown => "✗",
        };
        page.item_of_text(1, &format!("{mark} `{}` {}:", sight.fact, sight.verdict), &sight.evidence);
    }
}

fn refusals(page: &mut Markdown, account: &Account) {
    page.heading(2, "Refused attempts");
    if account.refusals.is_empty() {
        page.paragraph("None is recorded.");
    }
    for refusal in some(&account.refusals) {
        let Some(refusal) = refusal else {
            page.item(0, &left_out_of(account.refusals.len()));
            continue;
        };
        let reason = refusal.reason.as_ref().map(|reason| format!(", because: {reason}")).unwrap_or_default();
        let time = refusal.at.to_the_second();
        page.item(
            0,
            &format!("{time}: {} wanted to {}{reason}; refused: {}", refusal.who, refusal.wanted, refusal.why),
        );
        sights(page, &refusal.seen);
    }
}

fn proof(page: &mut Markdown, account: &Account, provenance: &Provenance) {
    page.heading(2, "What proves it");
    page.paragraph("This text proves nothing by itself. The audit log does.");
    page.item(0, &format!("log: `{}`", provenance.log));
    if let Some(key) = &provenance.key {
        page.item(0, &format!("its key: `{key}`"));
    }
    for (name, end) in [("first", &account.first), ("last", &account.last)] {
        if let Some((stamp, digest)) = end {
            page.item(0, &format!("{name} entry: {}, {}, SHA-256 `{digest}`", stamp.seq, stamp.exactly()));
        }
    }
    page.item(0, &format!("end of the log then: entry {}, SHA-256 `{}`", provenance.head.0, provenance.head.1));
    page.item_of_code(0, "whether the log is whole says:", &provenance.verify());
    page.item_of_code(0, "the digest of the last entry gives:", &provenance.last_digest(&account.run));
    match &provenance.checkpoint {
        Some(anchor) => {
            page.paragraph(&format!(
                "This checkpoint speaks of the log's first {} entries. Save it, and give it to `interlock audit verify --checkpoint FILE`.",
                anchor.size
            ));
            page.fence(&anchor.note);
        }
        None => page
            .paragraph("No checkpoint beside the log speaks of the whole run; `interlock audit checkpoint` makes one."),
    }
    page.paragraph(&format!(
        "Made by interlock {} at {} from the audit log alone.",
        provenance.program, provenance.made
    ));
}

#[cfg(test)]
mod tests {
    use super::{Markdown, code, prose};

    #[test]
    fn what_markdown_would_understand_is_escaped() {
        assert_eq!(prose("<b> *x* [a](b) `code` & @all #1"), "\\<b\\> \\*x\\* \\[a\\](b) `code` \\& \\@all \\#1");
        assert_eq!(prose("one ` alone\n# no"), "one \\` alone\\\\n\\# no");
        assert_eq!(code("a``b"), "```a``b```");
    }

    #[test]
    fn an_output_cannot_close_its_fence() {
        let mut page = Markdown::default();
        page.fence("text\n`````\n# not a heading\u{1b}[2J");
        assert_eq!(page.finish(), "``````text\ntext\n`````\n# not a heading\\x1b[2J\n``````\n\n");
    }

    #[test]
    fn a_list_or_a_rule_cannot_begin_inside_of_an_item() {
        let mut page = Markdown::default();
        page.item(0, "- no list");
        page.item(0, "1. no list");
        page.paragraph("--- no rule");
        assert_eq!(page.finish(), "- \\- no list\n- 1\\. no list\n\n\\--- no rule\n\n");
    }
}
