//! Cutting texts, so that an entry keeps within 60 KiB.

/// The text, cut so that it takes at most `limit` bytes as it stands in the log (JSON escapes included, the quotes
/// around it not). A cut text ends with how many of its bytes were left out, so that nobody takes it for the whole.
///
/// Whoever makes an event clips the texts that the world has a say in: evidence, reasons, answers, command lines. A
/// limit too small for the mark itself gives the mark alone.
///
/// ```
/// assert_eq!(interlock::history::clip::clip("all of it", 100), "all of it");
/// assert_eq!(interlock::history::clip::clip(&"x".repeat(100), 50), format!("{} [cut: 76 bytes left out]", "x".repeat(24)));
/// ```
pub fn clip(text: &str, limit: usize) -> String {
    if text.chars().map(width).sum::<usize>() <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub(mark(text.len()).len());
    let mut used = 0;
    let kept = text.char_indices().find(|(_, c)| {
        used += width(*c);
        used > room
    });
    let end = kept.map_or(text.len(), |(at, _)| at);
    format!("{}{}", &text[..end], mark(text.len() - end))
}

fn mark(left_out: usize) -> String {
    format!(" [cut: {left_out} bytes left out]")
}

/// How many bytes serde_json writes for this character inside a string.
fn width(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::clip;

    #[test]
    fn a_clipped_text_never_takes_more_than_its_limit_in_json() {
        for text in ["\u{1b}[2J".repeat(600), "é".repeat(600), "\"\\\n".repeat(600), "🦀".repeat(600)] {
            for limit in [40, 41, 42, 43, 44, 99, 1000] {
                let cut = clip(&text, limit);
                let written = serde_json::to_string(&cut).unwrap().len() - 2;
                assert!(written <= limit, "{written} > {limit}");
                assert!(cut.ends_with(" bytes left out]"), "{cut}");
            }
        }
    }

    #[test]
    fn a_text_that_fits_is_left_alone() {
        assert_eq!(clip("\u{1b}", 6), "\u{1b}");
        assert_eq!(clip("\u{1b}", 5), " [cut: 1 bytes left out]");
    }
}
