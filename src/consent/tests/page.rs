//! docs/policy.md says what the program does.

use super::policies::{read_with, shown};
use crate::history::deviation::DeviationKind;

const PAGE: &str = include_str!("../../../docs/policy.md");

#[test]
fn the_page_lists_every_code_key_and_deviation_and_its_example_passes() {
    let codes: Vec<&str> =
        include_str!("../code.rs").split('"').filter(|word| word.len() == 5 && word.starts_with(['E', 'W'])).collect();
    assert!(codes.len() > 10, "{codes:?}");
    for code in &codes {
        assert_eq!(PAGE.matches(&format!("| {code} |")).count(), 1, "{code}");
    }
    for (name, _) in DeviationKind::NAMES {
        assert!(PAGE.contains(&format!("| `{name}` |")), "{name}");
    }
    for list in [
        include_str!("../policy/read.rs"),
        include_str!("../policy/rules.rs"),
        include_str!("../policy/calendar_text.rs"),
    ] {
        for keys in list.split("known: &[").skip(1) {
            let keys = keys.split(']').next().unwrap();
            for key in keys.split('"').skip(1).step_by(2).filter(|key| *key != "interlock") {
                assert!(PAGE.contains(&format!("`{key}`")), "{key}");
            }
        }
    }
    let example = PAGE.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    match read_with(&example.replace("revoked:", "# revoked:"), super::policies::SIGNERS) {
        Ok(opened) => assert_eq!(shown(&opened.warnings), ""),
        Err(found) => panic!("{}", shown(&found)),
    }
}
