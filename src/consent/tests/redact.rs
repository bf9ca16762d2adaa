//! The rules of `redact`, as they are read.

use insta::assert_snapshot;

use super::policies::{accepted, refused_rules};

#[test]
fn a_rule_has_a_name_and_a_pattern_that_is_about_lines_and_ascii() {
    let policy = accepted(
        "redact: [{name: card-number, pattern: '\\b\\d{13,16}\\b'}, {name: token, pattern: 'eyJ[\\w-]+\\.[\\w-]+\\.[\\w-]+'}, {name: all, pattern: '(?i)^pin .$'}, {name: word, pattern: '(?u)gr\\w+'}, {name: eszett, pattern: 'Maß'}]\n",
    );
    let [card, token, all, word, eszett] = policy.redact.as_slice() else { panic!("{:?}", policy.redact) };
    assert_eq!((card.name.as_str(), token.name.as_str()), ("card-number", "token"));
    assert_eq!(card.pattern.find(b"\xff4111111111111111\xfe").unwrap().range(), 1..17);
    assert!(!card.pattern.is_match("٤١١١١١١١١١١١١١١١".as_bytes()));
    assert_eq!(all.pattern.find(b"a\nPIN \xff\nb").unwrap().range(), 2..7);
    assert_eq!(word.pattern.find("größer.".as_bytes()).unwrap().as_bytes(), "größer".as_bytes());
    assert!(eszett.pattern.is_match("Maß".as_bytes()));
}

#[test]
fn mistakes_in_a_rule_of_redact() {
    assert_snapshot!(refused_rules("redact:\n  - {name: Card_1, pattern: '[0-9'}\n  - {name: a, pattern: '\\d*'}\n  - {name: a, pattern: '\\Ax|y'}\n  - {name: b, pattern: '(?:\\w{1000}){1000}'}\n  - {name: c, pattern: '[äö]'}\n  - {name: d, pattern: ''}\n  - {name: e, pattern: '\\b'}\n  - {name: f, pattern: '[^\\x00-\\xff]'}\n  - {name: g, pattern: [x]}\n  - {patern: x}\n"), @r#"
    error[E0212]: `Card_1` cannot be the name of a rule
      --> /etc/interlock/policy.yaml:10:12
       |
    10 |   - {name: Card_1, pattern: '[0-9'}
       |            ^^^^^^ not a name
       |
       = help: a name has 1 to 64 of the characters `a` to `z`, `0` to `9` and `-`

    error[E0205]: the pattern is not a regular expression: unclosed character class, at its character 1
      --> /etc/interlock/policy.yaml:10:29
       |
    10 |   - {name: Card_1, pattern: '[0-9'}
       |                             ^^^^^^
       |
       = help: docs/policy.md says what can be written; `(?u)` in front allows what is beyond ASCII

    error[E0205]: the pattern also matches nothing at all
      --> /etc/interlock/policy.yaml:11:24
       |
    11 |   - {name: a, pattern: '\d*'}
       |                        ^^^^^
       |
       = help: say what has to be there: `+` for `*`, `{1,9}` for `{0,9}`

    error[E0210]: two rules of `redact` are called `a`
      --> /etc/interlock/policy.yaml:12:12
       |
    11 |   - {name: a, pattern: '\d*'}
       |            - the first
    12 |   - {name: a, pattern: '\Ax|y'}
       |            ^ the second

    error[E0205]: the pattern speaks of the beginning or the end of all output, and each line is looked at by itself
      --> /etc/interlock/policy.yaml:12:24
       |
    12 |   - {name: a, pattern: '\Ax|y'}
       |                        ^^^^^^^
       |
       = help: write `^` and `$` for those of a line, without `\A`, `\z`, `(?-m)` and `(?R)`

    error[E0205]: the pattern takes more than 1048576 bytes when it is compiled
      --> /etc/interlock/policy.yaml:13:24
       |
    13 |   - {name: b, pattern: '(?:\w{1000}){1000}'}
       |                        ^^^^^^^^^^^^^^^^^^^^
       |
       = help: take large repetitions out of it, or make rules of its parts

    error[E0205]: the pattern is not a regular expression: Unicode not allowed here, at its character 2
      --> /etc/interlock/policy.yaml:14:24
       |
    14 |   - {name: c, pattern: '[äö]'}
       |                        ^^^^^^
       |
       = help: docs/policy.md says what can be written; `(?u)` in front allows what is beyond ASCII

    error[E0205]: expected a regular expression, found an empty text
      --> /etc/interlock/policy.yaml:15:24
       |
    15 |   - {name: d, pattern: ''}
       |                        ^^

    error[E0205]: the pattern also matches nothing at all
      --> /etc/interlock/policy.yaml:16:24
       |
    16 |   - {name: e, pattern: '\b'}
       |                        ^^^^
       |
       = help: say what has to be there: `+` for `*`, `{1,9}` for `{0,9}`

    error[E0205]: the pattern can never match
      --> /etc/interlock/policy.yaml:17:24
       |
    17 |   - {name: f, pattern: '[^\x00-\xff]'}
       |                        ^^^^^^^^^^^^^^
       |
       = help: correct it, or leave the rule out

    error[E0203]: expected a regular expression, found a list
      --> /etc/interlock/policy.yaml:18:24
       |
    18 |   - {name: g, pattern: [x]}
       |                        ^^^ expected a regular expression

    error[E0202]: a rule of `redact` needs the key `name`
      --> /etc/interlock/policy.yaml:19:5
       |
    19 |   - {patern: x}
       |     ^^^^^^^^^^^ it is not here

    error[E0202]: a rule of `redact` needs the key `pattern`
      --> /etc/interlock/policy.yaml:19:5
       |
    19 |   - {patern: x}
       |     ^^^^^^^^^^^ it is not here

    error[E0201]: a rule of `redact` has no key `patern`
      --> /etc/interlock/policy.yaml:19:6
       |
    19 |   - {patern: x}
       |      ^^^^^^ unknown key
       |
       = help: did you mean `pattern`?
    "#);
}

#[test]
fn a_policy_has_at_most_64_rules_of_redact() {
    let rules = |count: usize| -> String {
        let all: Vec<String> = (0..count).map(|number| format!("{{name: r{number}, pattern: x{number}}}")).collect();
        format!("redact: [{}]\n", all.join(", "))
    };
    assert_eq!(accepted(&rules(64)).redact.len(), 64);
    assert!(refused_rules(&rules(65)).contains("a policy has at most 64 rules of `redact`"));
}
