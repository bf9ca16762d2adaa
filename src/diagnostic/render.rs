//! Diagnostics as text for people, like a compiler's: code, message, place, excerpt, related places, help.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::escape::{escape_line, escape_text, is_unfit};
use super::{Diagnostic, Label, Severity, Source, Span};

/// Lines further apart than this are shown as two excerpts.
const NEAR: usize = 40;
/// Longer lines are not shown as an excerpt, only their place.
const LONGEST_LINE: usize = 2000;

/// Whether the text carries colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI escape sequences of ours; none of the author's.
    Always,
}

/// One diagnostic, with a newline at its end.
pub fn render(diagnostic: &Diagnostic, source: &Source, colour: Colour) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(escape_line(&diagnostic.message).into_owned()).id(diagnostic.code);
    let mut group = Group::with_title(title);
    for excerpt in excerpts(diagnostic, source) {
        group = match excerpt.text {
            Some(text) => group.element(
                Snippet::source(text)
                    .path(escape_line(source.name()).into_owned())
                    .line_start(excerpt.first_line)
                    .annotations(excerpt.marks.into_iter().map(|mark| {
                        let label = (!mark.label.is_empty()).then_some(mark.label);
                        mark.kind.span(mark.span.start..mark.span.end).label(label)
                    })),
            ),
            None => group.element(
                Origin::path(escape_line(source.name()).into_owned())
                    .line(excerpt.first_line)
                    .char_column(excerpt.first_column),
            ),
        };
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(escape_text(help).into_owned()));
    }
    let renderer = match colour {
        Colour::Never => Renderer::plain(),
        Colour::Always => Renderer::styled(),
    };
    let mut shown = renderer.decor_style(DecorStyle::Ascii).render(&[group]);
    shown.push('\n');
    shown
}

/// All of them, an empty line between two.
pub fn render_all(diagnostics: &[Diagnostic], source: &Source, colour: Colour) -> String {
    let shown: Vec<String> = diagnostics.iter().map(|diagnostic| render(diagnostic, source, colour)).collect();
    shown.join("\n")
}

/// Some lines of a source with marks in them.
struct Excerpt {
    /// The lines, made harmless; `None` where they are too long to show.
    text: Option<String>,
    first_line: usize,
    first_column: usize,
    marks: Vec<Mark>,
}

struct Mark {
    kind: AnnotationKind,
    span: Span,
    label: String,
}

/// A label with the lines it stands on, as byte ranges and numbers.
struct Placed<'a> {
    label: &'a Label,
    kind: AnnotationKind,
    lines: Span,
    first_line: usize,
}

fn excerpts(diagnostic: &Diagnostic, source: &Source) -> Vec<Excerpt> {
    let primary = diagnostic.primary.iter().map(|label| (label, AnnotationKind::Primary));
    let related = diagnostic.related.iter().map(|label| (label, AnnotationKind::Context));
    let mut groups: Vec<Vec<Placed<'_>>> = Vec::new();
    for (label, kind) in primary.chain(related) {
        let placed = place(label, kind, source);
        let near = groups.iter_mut().find(|group| {
            group.iter().any(|other| {
                other.first_line.abs_diff(placed.first_line) <= NEAR
                    && other.lines.end - other.lines.start <= LONGEST_LINE
                    && placed.lines.end - placed.lines.start <= LONGEST_LINE
            })
        });
        match near {
            Some(group) => group.push(placed),
            None => groups.push(vec![placed]),
        }
    }
    groups.iter().map(|group| excerpt(group, source)).collect()
}

fn place<'a>(label: &'a Label, kind: AnnotationKind, source: &Source) -> Placed<'a> {
    let text = source.text();
    let start = floor(text, label.span.start);
    let end = floor(text, label.span.end.max(start));
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[end..].find('\n').map_or(text.len(), |newline| end + newline);
    let (first_line, _) = source.position(start);
    Placed { label, kind, lines: Span::new(line_start, line_end), first_line }
}

fn excerpt(group: &[Placed<'_>], source: &Source) -> Excerpt {
    let text = source.text();
    let start = group.iter().map(|placed| placed.lines.start).min().unwrap_or_default();
    let end = group.iter().map(|placed| placed.lines.end).max().unwrap_or_default();
    let first_line = group.iter().map(|placed| placed.first_line).min().unwrap_or(1);
    let lines = &text[start..end];
    if lines.lines().any(|line| line.len() > LONGEST_LINE) || lines.len() > 40 * LONGEST_LINE {
        let (first_line, first_column) = source.position(group[0].label.span.start);
        return Excerpt { text: None, first_line, first_column, marks: Vec::new() };
    }
    let marks = group
        .iter()
        .map(|placed| {
            let from = floor(text, placed.label.span.start);
            let to = floor(text, placed.label.span.end.max(from));
            // A mark over several lines hides more than it shows: it ends with its first line.
            let to = text[from..to].find('\n').map_or(to, |newline| from + newline);
            Mark {
                kind: placed.kind,
                span: Span::new(from - start, to - start),
                label: escape_line(&placed.label.text).into_owned(),
            }
        })
        .collect();
    Excerpt { text: Some(harmless(lines)), first_line, first_column: 1, marks }
}

/// The same text with every unfit character replaced by visible ones that take as many bytes, so that places stay true.
fn harmless(text: &str) -> String {
    if !text.contains(is_unfit) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        match (is_unfit(c), c.len_utf8()) {
            // A carriage return before a line feed is how some editors end a line.
            (true, 1) => shown.push(if c == '\r' { ' ' } else { '?' }),
            (true, 2) => shown.push_str("??"),
            (true, 3) => shown.push('\u{fffd}'),
            (true, _) => shown.push_str("\u{fffd}?"),
            (false, _) => shown.push(c),
        }
        shown
    })
}

/// The nearest character boundary at or before this byte.
fn floor(text: &str, byte: usize) -> usize {
    let mut at = byte.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
