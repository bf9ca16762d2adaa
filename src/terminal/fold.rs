//! Lines that are wider than the terminal, for what people decide by. A terminal goes on with them at its left edge, where a part that comes
//! behind many blanks looks like a line of its own: here each further row stands behind a mark.

use std::io::IsTerminal as _;

use rustix::termios::tcgetwinsize;

/// What stands before the rest of a line that was cut.
const MARK: &str = "┆ ";
/// How much of a line stands in a row at least, in columns.
const LEAST: usize = 16;

/// The text as it is shown on standard output: folded where that is a terminal, and else as it is.
pub fn for_stdout(text: &str) -> String {
    match std::io::stdout().is_terminal().then(|| tcgetwinsize(std::io::stdout())) {
        Some(Ok(size)) if size.ws_col > 0 => fold(text, usize::from(size.ws_col)),
        // Nobody knows how wide it is; nearly none is narrower.
        Some(Ok(_) | Err(_)) => fold(text, 80),
        None => text.to_owned(),
    }
}

/// Folds each line that takes more than so many columns.
fn fold(text: &str, columns: usize) -> String {
    let mut folded = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let indent: String = line.chars().take_while(|c| *c == ' ').take(columns / 4).collect();
        let behind = indent.len() + MARK.chars().count();
        let mut taken = 0;
        for c in line.chars() {
            let width = width(c);
            if taken + width > columns.max(behind + LEAST) {
                folded.push('\n');
                folded.push_str(&indent);
                folded.push_str(MARK);
                taken = behind;
            }
            folded.push(c);
            taken += width;
        }
    }
    folded
}

/// How many columns a character takes at most.
fn width(c: char) -> usize {
    match c {
        '\n' => 0,
        ' '..='~' | '│' => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn p06_what_comes_behind_many_blanks_does_not_stand_at_the_left_edge() {
        let hostile = format!("  executes: true{}[2/2] all is done\nnext\n", " ".repeat(24));
        assert_eq!(fold(&hostile, 40), format!("  executes: true{}\n  ┆ [2/2] all is done\nnext\n", " ".repeat(24)));
        for columns in [1, 20, 33, 40, 79] {
            let folded = fold(&hostile, columns);
            let rows: Vec<&str> = folded.lines().collect();
            assert!(rows.iter().all(|row| row.chars().count() <= columns.max(20)), "{folded}");
            assert_eq!(folded.replace("\n  ┆ ", "").replace("\n┆ ", ""), hostile, "nothing is left out");
        }
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        for text in ["", "\n", "short\n", "a line without an end", "x\n\ny"] {
            assert_eq!(fold(text, 40), text);
        }
        assert_eq!(fold(&"x".repeat(40), 40), "x".repeat(40));
        // Wide characters, as wide as they can be.
        assert_eq!(fold("漢字漢字漢字漢字漢字漢字", 20), "漢字漢字漢字漢字漢字\n┆ 漢字");
    }
}
