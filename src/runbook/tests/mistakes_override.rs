//! Mistakes in `override`, as an author sees them.

use insta::assert_snapshot;

use super::refused;

#[test]
fn an_override_rule_says_never_or_who_must_sign() {
    let text = "interlock: 1\nname: r\noverride: nobody\nsteps:\n  - {id: a, run: [x], override: {need: 0, of: Core}}\n  - {id: b, run: [x], override: {need: all}}\n";
    assert_snapshot!(refused(text, &[]), @r#"
    error[E0205]: expected `never`, or who must sign: `{need: all, of: core}`, found `nobody`
     --> runbook.yaml:3:11
      |
    3 | override: nobody
      |           ^^^^^^
      |
      = help: leave `override` out where the policy alone is to say

    error[E0205]: expected `all` or a number from 1 to 1000, found `0`
     --> runbook.yaml:5:40
      |
    5 |   - {id: a, run: [x], override: {need: 0, of: Core}}
      |                                        ^

    error[E0205]: expected the name of a group of the policy, found `Core`
     --> runbook.yaml:5:47
      |
    5 |   - {id: a, run: [x], override: {need: 0, of: Core}}
      |                                               ^^^^

    error[E0202]: an override rule needs the key `of`
     --> runbook.yaml:6:33
      |
    6 |   - {id: b, run: [x], override: {need: all}}
      |                                 ^^^^^^^^^^^ it is not here
    "#);
}
