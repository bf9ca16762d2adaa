//! Durations as people write them: whole numbers with a unit (`ms`, `s`, `m`, `h`, `d`), the larger first: `90s`,
//! `1h30m`, `500ms`. A bare number is refused, because nobody can tell its unit.

use std::time::Duration;

use crate::diagnostic::quoted;

/// What a duration must look like, in words.
pub const RULE: &str = "a duration such as `500ms`, `90s`, `10m`, `1h30m` or `2d`";

/// What a duration that is no nothing must look like, in words.
pub const POSITIVE_RULE: &str = "a duration longer than nothing, such as `90s`";

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads a duration. The longest is 10,000 days.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{}` is not {RULE}", text.escape_debug());
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last_unit = u64::MAX;
    if text.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else { return Err(wrong()) };
        if *millis >= last_unit {
            return Err(wrong());
        }
        last_unit = *millis;
        total = number.checked_mul(*millis).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = tail;
    }
    if total > 10_000 * UNITS[0].1 {
        return Err(format!("`{text}` is longer than 10,000 days"));
    }
    Ok(Duration::from_millis(total))
}

/// Reads a duration longer than nothing.
pub fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err(format!("{} is no time at all", quoted(text))),
        some => Ok(some),
    }
}

/// Writes a duration so that [`parse`] reads it back; parts below a millisecond are cut.
pub fn show(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, millis) in UNITS {
        if left >= millis {
            text.push_str(&format!("{}{unit}", left / millis));
            left %= millis;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse, show};

    #[test]
    fn reads_what_people_write() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn refuses_what_has_two_readings() {
        for text in ["", "90", "1M", "1.5h", "30m1h", "1h 30m", "-1s", "1s1s", "99999999999999999999s", "20000d"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_is_read_back(millis in 0_u64..864_000_000_000) {
            let duration = Duration::from_millis(millis);
            proptest::prop_assert_eq!(parse(&show(duration)), Ok(duration));
        }
    }
}
