//! A table, before it is a text, Markdown or HTML.

use crate::diagnostic::escape::escape_line;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What it shows, in a few words.
    pub heading: &'static str,
    /// What is said where it has no rows.
    pub none: &'static str,
    /// The names of its columns.
    pub columns: Vec<&'static str>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
    /// How many more rows there are, which are not shown.
    pub more: usize,
}

impl Table {
    /// That there are more rows, if there are.
    pub fn more_in_words(&self) -> Option<String> {
        (self.more > 0).then(|| format!("{} more are left out here; --format json has all.", self.more))
    }

    /// Whether a column is better read from its right end.
    pub fn is_of_numbers(&self, column: usize) -> bool {
        let is_number =
            |cell: &String| cell == "–" || (cell.starts_with(|c: char| c.is_ascii_digit()) && !cell.contains(':'));
        column > 0 && self.rows.iter().all(|row| row.get(column).is_some_and(is_number))
    }

    /// As lines for a terminal, in columns that are as wide as what is in them.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.heading);
        if self.rows.is_empty() {
            text.push_str(&format!("  {}\n\n", self.none));
            return text;
        }
        let shown: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| escape_line(&cell.replace('`', "")).into_owned()).collect())
            .collect();
        let heads: Vec<String> = self.columns.iter().map(|column| (*column).to_owned()).collect();
        let width = |at: usize| {
            shown.iter().chain([&heads]).filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max()
        };
        for row in [&heads].into_iter().chain(&shown) {
            let mut line = String::new();
            for (at, cell) in row.iter().enumerate() {
                let room = width(at).unwrap_or_default();
                let fill = " ".repeat(room.saturating_sub(cell.chars().count()));
                let cell = if self.is_of_numbers(at) { format!("{fill}{cell}") } else { format!("{cell}{fill}") };
                line.push_str(&format!("  {cell}"));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        if let Some(more) = self.more_in_words() {
            text.push_str(&format!("  {more}\n"));
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let table = Table {
            heading: "Runs",
            none: "none",
            columns: vec!["runbook", "runs"],
            rows: vec![vec!["a".to_owned(), "10".to_owned()], vec!["b\u{1b}c".to_owned(), "9".to_owned()]],
            more: 0,
        };
        assert_eq!(table.text(), "Runs\n  runbook  runs\n  a          10\n  b\\x1bc      9\n\n");
    }
}
