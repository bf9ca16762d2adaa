//! What the author of a policy sees: every kind of mistake, whole.

use insta::assert_snapshot;

use super::policies::{HEAD, read_with, refused, refused_rules, shown, warned};

#[test]
fn an_empty_policy() {
    assert_snapshot!(refused("# nothing\n"), @"
    error[E0104]: the file is empty
     --> /etc/interlock/policy.yaml:1:1
      |
    1 | # nothing
      | ^ nothing here
      |
      = help: a policy begins with `interlock: 1`; docs/policy.md shows a whole one
    ");
}

#[test]
fn what_must_be_there() {
    assert_snapshot!(refused("interlock: 2\nnumber: -1\n"), @"
    error[E0202]: a policy needs the key `signers`
     --> /etc/interlock/policy.yaml:1:1
      |
    1 | interlock: 2
      | ^^^^^^^^^^^^ it is not here

    error[E0202]: a policy needs the key `persons`
     --> /etc/interlock/policy.yaml:1:1
      |
    1 | interlock: 2
      | ^^^^^^^^^^^^ it is not here

    error[E0211]: this program knows version 1 of the language, not `2`
     --> /etc/interlock/policy.yaml:1:12
      |
    1 | interlock: 2
      |            ^ expected `1`

    error[E0205]: `-1` is less than nought
     --> /etc/interlock/policy.yaml:2:9
      |
    2 | number: -1
      |         ^^ expected a number from 0 up
    ");
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    let rules = "
sigers: /x
approvals: [{match: {label: {a: b}}, need: all, of: core, valid_fro: 1h}]
overrides: [{deviations: [skip], kind: waive, need: 1, of: core}]
windows: [{from: 08:00, to: 09:00, zone: UTC, tz: UTC}]
freezes: [{from: 2026-12-20T00:00:00Z, to: 2027-01-04T00:00:00Z, reason: Holidays, why: x}]
limits: {timeut: 1h}
";
    assert_snapshot!(refused_rules(rules), @"
    error[E0201]: a policy has no key `sigers`
      --> /etc/interlock/policy.yaml:10:1
       |
    10 | sigers: /x
       | ^^^^^^ unknown key
       |
       = help: did you mean `signers`?

    error[E0201]: `match` has no key `label`
      --> /etc/interlock/policy.yaml:11:22
       |
    11 | approvals: [{match: {label: {a: b}}, need: all, of: core, valid_fro: 1h}]
       |                      ^^^^^ unknown key
       |
       = help: did you mean `labels`?

    error[E0201]: a rule of `approvals` has no key `valid_fro`
      --> /etc/interlock/policy.yaml:11:59
       |
    11 | approvals: [{match: {label: {a: b}}, need: all, of: core, valid_fro: 1h}]
       |                                                           ^^^^^^^^^ unknown key
       |
       = help: did you mean `valid_for`?

    error[E0201]: a rule of `overrides` has no key `kind`
      --> /etc/interlock/policy.yaml:12:34
       |
    12 | overrides: [{deviations: [skip], kind: waive, need: 1, of: core}]
       |                                  ^^^^ unknown key
       |
       = help: expected `deviations`, `match`, `need`, `of`, `operator_counts`, `valid_for`

    error[E0201]: a rule of `windows` has no key `tz`
      --> /etc/interlock/policy.yaml:13:47
       |
    13 | windows: [{from: 08:00, to: 09:00, zone: UTC, tz: UTC}]
       |                                               ^^ unknown key
       |
       = help: did you mean `to`?

    error[E0201]: a rule of `freezes` has no key `why`
      --> /etc/interlock/policy.yaml:14:84
       |
    14 | freezes: [{from: 2026-12-20T00:00:00Z, to: 2027-01-04T00:00:00Z, reason: Holidays, why: x}]
       |                                                                                    ^^^ unknown key
       |
       = help: expected `match`, `from`, `to`, `reason`

    error[E0201]: `limits` has no key `timeut`
      --> /etc/interlock/policy.yaml:15:10
       |
    15 | limits: {timeut: 1h}
       |          ^^^^^^ unknown key
       |
       = help: did you mean `timeout`?
    ");
}

#[test]
fn groups_and_persons() {
    let text = "interlock: 1
signers: /etc/interlock/allowed_signers
persons:
  amy@example.org: {users: [amy, amy]}
  bea@example.org: {users: [amy]}
  cy@*: {users: [cy]}
  di@example.org: {users: []}
  eve@example.org: {}
groups:
  none: []
  twice: [amy@example.org, amy@example.org]
  unknown: [zoe@example.org]
  Odd: [amy@example.org]
";
    assert_snapshot!(refused(text), @r#"
    error[E0705]: the user `amy` is named twice
     --> /etc/interlock/policy.yaml:4:34
      |
    4 |   amy@example.org: {users: [amy, amy]}
      |                             ---  ^^^ the second
      |                             |
      |                             the first
      |
      = help: a user tells who operates: give each person an account of their own

    error[E0705]: the user `amy` cannot be both amy@example.org and bea@example.org
     --> /etc/interlock/policy.yaml:5:29
      |
    4 |   amy@example.org: {users: [amy, amy]}
      |                             --- the first
    5 |   bea@example.org: {users: [amy]}
      |                             ^^^ the second
      |
      = help: a user tells who operates: give each person an account of their own

    error[E0709]: `cy@*` is not a person: expected a name as in allowed_signers, such as `amy@example.org`: visible ASCII without blanks, quotes and pattern signs
     --> /etc/interlock/policy.yaml:6:3
      |
    6 |   cy@*: {users: [cy]}
      |   ^^^^ not a person

    error[E0205]: di@example.org has no user
     --> /etc/interlock/policy.yaml:7:27
      |
    7 |   di@example.org: {users: []}
      |                           ^^
      |
      = help: name one, or leave the person out

    error[E0202]: a person needs the key `users`
     --> /etc/interlock/policy.yaml:8:20
      |
    8 |   eve@example.org: {}
      |                    ^^ it is not here

    error[E0703]: the group `none` is empty
      --> /etc/interlock/policy.yaml:10:9
       |
    10 |   none: []
       |         ^^ nobody is in it
       |
       = help: "all" of nobody would be met by nothing: name its members, or leave it out

    error[E0210]: amy@example.org is in the group `twice` twice
      --> /etc/interlock/policy.yaml:11:28
       |
    11 |   twice: [amy@example.org, amy@example.org]
       |           ---------------  ^^^^^^^^^^^^^^^ the second
       |           |
       |           the first

    error[E0704]: zoe@example.org is in the group `unknown` and has no key in `/etc/interlock/allowed_signers`
      --> /etc/interlock/policy.yaml:12:13
       |
    12 |   unknown: [zoe@example.org]
       |             ^^^^^^^^^^^^^^^ cannot sign
       |
       = help: add a line `zoe@example.org KEY` with the key from their .pub file, or take zoe@example.org out of the group

    error[E0212]: `Odd` is not a group name: expected lower-case letters, digits, `-` and `_`, beginning with a letter or digit, at most 63 characters
      --> /etc/interlock/policy.yaml:13:3
       |
    13 |   Odd: [amy@example.org]
       |   ^^^ not a name
    "#);
}

#[test]
fn operators() {
    assert_snapshot!(refused_rules("operators: [cor, core, zoe@example.org]\n"), @"
    error[E0702]: `cor` is neither a group nor a person with a user
     --> /etc/interlock/policy.yaml:9:13
      |
    9 | operators: [cor, core, zoe@example.org]
      |             ^^^ not known
      |
      = help: did you mean `core`?

    error[E0702]: `zoe@example.org` is neither a group nor a person with a user
     --> /etc/interlock/policy.yaml:9:24
      |
    9 | operators: [cor, core, zoe@example.org]
      |                        ^^^^^^^^^^^^^^^ not known
      |
      = help: did you mean `amy@example.org`?
    ");
    let text = "interlock: 1
signers: /etc/interlock/allowed_signers
persons: {amy@example.org: {users: [amy]}}
groups: {core: [bea@example.org]}
operators: [core]
";
    assert_snapshot!(refused(text), @"
    error[E0703]: nobody may operate under this policy
     --> /etc/interlock/policy.yaml:5:12
      |
    5 | operators: [core]
      |            ^^^^^^ nobody of these has a user
      |
      = help: give them users under `persons`
    ");
}

#[test]
fn rules_that_nobody_could_meet() {
    let rules = "approvals:
- {need: 4, of: core}
- {need: 0, of: core}
- {need: most, of: core}
- {need: all, of: cores}
- {of: core}
- {need: all}
- {need: all, of: core, operator_counts: yes, valid_for: 0s}
";
    assert_snapshot!(refused_rules(rules), @"
    error[E0703]: 4 of `core` must sign, and only 3 are in it
      --> /etc/interlock/policy.yaml:10:10
       |
    10 | - {need: 4, of: core}
       |          ^ can never be met
       |
       = help: write `all`, or at most 3

    error[E0205]: `0` signatures are none at all
      --> /etc/interlock/policy.yaml:11:10
       |
    11 | - {need: 0, of: core}
       |          ^ expected `all`, or how many

    error[E0205]: `most` is not a whole number in decimal, nor `all`
      --> /etc/interlock/policy.yaml:12:10
       |
    12 | - {need: most, of: core}
       |          ^^^^ expected `all`, or how many

    error[E0702]: there is no group `cores`
      --> /etc/interlock/policy.yaml:13:19
       |
    13 | - {need: all, of: cores}
       |                   ^^^^^ not a group of this policy
       |
       = help: did you mean `core`?

    error[E0202]: a rule of `approvals` needs the key `need`
      --> /etc/interlock/policy.yaml:14:3
       |
    14 | - {of: core}
       |   ^^^^^^^^^^ it is not here

    error[E0202]: a rule of `approvals` needs the key `of`
      --> /etc/interlock/policy.yaml:15:3
       |
    15 | - {need: all}
       |   ^^^^^^^^^^^ it is not here

    error[E0206]: `yes` is not a boolean
      --> /etc/interlock/policy.yaml:16:42
       |
    16 | - {need: all, of: core, operator_counts: yes, valid_for: 0s}
       |                                          ^^^ expected `true` or `false`
       |
       = help: write `true`

    error[E0205]: `0s` is no time at all
      --> /etc/interlock/policy.yaml:16:58
       |
    16 | - {need: all, of: core, operator_counts: yes, valid_for: 0s}
       |                                                          ^^ expected a duration longer than nothing, such as `90s`
    ");
}

#[test]
fn deviations_are_named_once_and_not_both_allowed_and_forbidden() {
    let rules = "overrides:
- {deviations: [skip, skp, skip], need: all, of: core}
- {deviations: [], need: all, of: core}
forbid: [skip, abandon]
";
    assert_snapshot!(refused_rules(rules), @"
    error[E0205]: expected `skip` or `waive` or `accept_failed` or `accept_in_doubt` or `outside_window` or `abandon` or `stale_lock` or `take_over`, found `skp`
      --> /etc/interlock/policy.yaml:10:23
       |
    10 | - {deviations: [skip, skp, skip], need: all, of: core}
       |                       ^^^ expected `skip` or `waive` or `accept_failed` or `accept_in_doubt` or `outside_window` or `abandon` or `stale_lock` or `take_over`
       |
       = help: did you mean `skip`?

    error[E0210]: `skip` stands in the list twice
      --> /etc/interlock/policy.yaml:10:28
       |
    10 | - {deviations: [skip, skp, skip], need: all, of: core}
       |                 ----       ^^^^ the second
       |                 |
       |                 the first

    error[E0205]: the list names no deviation
      --> /etc/interlock/policy.yaml:11:16
       |
    11 | - {deviations: [], need: all, of: core}
       |                ^^
       |
       = help: name one, or leave the rule out

    error[E0710]: `skip` is forbidden, and line 10 allows it
      --> /etc/interlock/policy.yaml:12:10
       |
    12 | forbid: [skip, abandon]
       |          ^^^^ forbidden here
       |
       = help: take it out of one of the two
    ");
    assert_snapshot!(refused_rules("forbid: []\n"), @"
    error[E0205]: the list names no deviation
     --> /etc/interlock/policy.yaml:9:9
      |
    9 | forbid: []
      |         ^^
      |
      = help: name one, or leave the rule out
    ");
}

#[test]
fn a_match_says_something_that_could_be_so() {
    let rules = "approvals:
- {match: {}, need: all, of: core}
- {match: {name: Restart}, need: all, of: core}
- {match: {labels: [env]}, need: all, of: core}
";
    assert_snapshot!(refused_rules(rules), @"
    error[E0205]: this `match` says nothing
      --> /etc/interlock/policy.yaml:10:11
       |
    10 | - {match: {}, need: all, of: core}
       |           ^^
       |
       = help: name what it is about, or leave `match` out: then it is about every run

    error[E0205]: `Restart` can be no runbook's name
      --> /etc/interlock/policy.yaml:11:18
       |
    11 | - {match: {name: Restart}, need: all, of: core}
       |                  ^^^^^^^ expected a runbook's name, or a pattern with `*` and `?`

    error[E0203]: expected a mapping from label names to texts, found a list
      --> /etc/interlock/policy.yaml:12:20
       |
    12 | - {match: {labels: [env]}, need: all, of: core}
       |                    ^^^^^ expected a mapping from label names to texts
    ");
}

#[test]
fn windows_and_freezes() {
    let rules = "windows:
- {days: [mon, monday, mon], from: \"22:00\", to: \"04:00\", zone: +01:00}
- {from: \"24:00\", to: \"24:01\", zone: Europe/Berlin}
- {from: \"9:00\", to: \"09:60\"}
- {from: \"09:00\", to: \"09:00\", zone: UTC}
freezes:
- {from: 2026-12-20, to: 2027-01-04T00:00:00, reason: Holidays}
- {from: 2026-12-20T00:00:00Z, to: 2026-12-20T00:00:00+00:00, reason: Holidays}
- {from: 2026-12-20T00:00:00Z, to: 2026-12-21T00:00:00Z, reason: \" \"}
";
    assert_snapshot!(refused_rules(rules), @r#"
    error[E0205]: expected `mon` or `tue` or `wed` or `thu` or `fri` or `sat` or `sun`, found `monday`
      --> /etc/interlock/policy.yaml:10:16
       |
    10 | - {days: [mon, monday, mon], from: "22:00", to: "04:00", zone: +01:00}
       |                ^^^^^^ expected `mon` or `tue` or `wed` or `thu` or `fri` or `sat` or `sun`
       |
       = help: expected `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`

    error[E0210]: the day stands in the list twice
      --> /etc/interlock/policy.yaml:10:24
       |
    10 | - {days: [mon, monday, mon], from: "22:00", to: "04:00", zone: +01:00}
       |           ---          ^^^ the second
       |           |
       |           the first

    error[E0205]: `24:00` is not a time of day such as 22:00
      --> /etc/interlock/policy.yaml:11:10
       |
    11 | - {from: "24:00", to: "24:01", zone: Europe/Berlin}
       |          ^^^^^^^ expected a time of day from 00:00 to 23:59

    error[E0205]: `24:01` is not a time of day such as 22:00
      --> /etc/interlock/policy.yaml:11:23
       |
    11 | - {from: "24:00", to: "24:01", zone: Europe/Berlin}
       |                       ^^^^^^^ expected a time of day from 00:00 to 24:00

    error[E0205]: `Europe/Berlin` is neither `UTC` nor a fixed offset: a place's own time has hours that come twice or never
      --> /etc/interlock/policy.yaml:11:38
       |
    11 | - {from: "24:00", to: "24:01", zone: Europe/Berlin}
       |                                      ^^^^^^^^^^^^^ expected `UTC`, or an offset such as `+01:00`

    error[E0202]: a rule of `windows` needs the key `zone`
      --> /etc/interlock/policy.yaml:12:3
       |
    12 | - {from: "9:00", to: "09:60"}
       |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^ it is not here

    error[E0205]: `9:00` is not a time of day such as 22:00
      --> /etc/interlock/policy.yaml:12:10
       |
    12 | - {from: "9:00", to: "09:60"}
       |          ^^^^^^ expected a time of day from 00:00 to 23:59

    error[E0205]: `09:60` is not a time of day such as 22:00
      --> /etc/interlock/policy.yaml:12:22
       |
    12 | - {from: "9:00", to: "09:60"}
       |                      ^^^^^^^ expected a time of day from 00:00 to 24:00

    error[E0710]: the window is over when it begins
      --> /etc/interlock/policy.yaml:13:23
       |
    13 | - {from: "09:00", to: "09:00", zone: UTC}
       |                       ^^^^^^^ the same time
       |
       = help: for a whole day write `from: "00:00", to: "24:00"`

    error[E0205]: `2026-12-20` is not a moment with its offset, such as 2026-12-20T00:00:00Z (RFC 3339)
      --> /etc/interlock/policy.yaml:15:10
       |
    15 | - {from: 2026-12-20, to: 2027-01-04T00:00:00, reason: Holidays}
       |          ^^^^^^^^^^ expected a moment such as `2026-12-20T00:00:00Z`

    error[E0205]: `2027-01-04T00:00:00` is not a moment with its offset, such as 2026-12-20T00:00:00Z (RFC 3339)
      --> /etc/interlock/policy.yaml:15:26
       |
    15 | - {from: 2026-12-20, to: 2027-01-04T00:00:00, reason: Holidays}
       |                          ^^^^^^^^^^^^^^^^^^^ expected a moment such as `2026-12-20T00:00:00Z`

    error[E0710]: the freeze is over before it begins
      --> /etc/interlock/policy.yaml:16:36
       |
    16 | - {from: 2026-12-20T00:00:00Z, to: 2026-12-20T00:00:00+00:00, reason: Holidays}
       |                                    ^^^^^^^^^^^^^^^^^^^^^^^^^ not after `from`
       |
       = help: exchange them, or mend the dates

    error[E0205]: expected a reason, found an empty text
      --> /etc/interlock/policy.yaml:17:66
       |
    17 | - {from: 2026-12-20T00:00:00Z, to: 2026-12-21T00:00:00Z, reason: " "}
       |                                                                  ^^^
    "#);
}

#[test]
fn a_policy_is_data() {
    assert_snapshot!(refused_rules("limits: {timeout: \"{{ timeout }}\"}\napprovals: &a [*a]\n"), @r#"
    error[E0303]: no template can stand here: expected a duration longer than nothing, such as `90s`
     --> /etc/interlock/policy.yaml:9:19
      |
    9 | limits: {timeout: "{{ timeout }}"}
      |                   ^^^^^^^^^^^^^^^ this is a template
      |
      = help: write it out; docs/language.md says which values are rendered

    error[E0107]: an anchor: a policy has no anchors, aliases or merge keys
      --> /etc/interlock/policy.yaml:10:12
       |
    10 | approvals: &a [*a]
       |            ^^^^ not allowed
       |
       = help: write the value out where it is used

    error[E0107]: an alias: a policy has no anchors, aliases or merge keys
      --> /etc/interlock/policy.yaml:10:16
       |
    10 | approvals: &a [*a]
       |                ^^ not allowed
       |
       = help: write the value out where it is used
    "#);
}

#[test]
fn files_that_are_not_there_and_mistakes_in_them() {
    let text = HEAD.replace("allowed_signers", "none") + "revoked: revoked\n";
    assert_snapshot!(refused(&text), @"
    error[E0101]: cannot read `/etc/interlock/none`: it is not there
     --> /etc/interlock/policy.yaml:3:10
      |
    3 | signers: /etc/interlock/none
      |          ^^^^^^^^^^^^^^^^^^^ named here

    error[E0101]: cannot read `/etc/interlock/revoked`: it is not there
     --> /etc/interlock/policy.yaml:9:10
      |
    9 | revoked: revoked
      |          ^^^^^^^ named here
    ");
    let found = read_with(HEAD, "amy@example.org ssh-ed25519 AAAA\n").unwrap_err();
    assert_snapshot!(shown(&found), @"
    error[E0707]: there are mistakes in `/etc/interlock/allowed_signers`
     --> /etc/interlock/policy.yaml:3:10
      |
    3 | signers: /etc/interlock/allowed_signers
      |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ named here

    error[E0707]: `/etc/interlock/allowed_signers` line 1: it ends within the kind of key
     --> /etc/interlock/allowed_signers:1:29
      |
    1 | amy@example.org ssh-ed25519 AAAA
      |                             ^^^^
      |
      = help: copy the key again from the .pub file
    ");
}

#[test]
fn a_key_is_one_persons() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
    let found = read_with(HEAD, &format!("amy@example.org {key}\nbea@example.org,cy@example.org {key}\n")).unwrap_err();
    assert_snapshot!(shown(&found), @"
    error[E0707]: there are mistakes in `/etc/interlock/allowed_signers`
     --> /etc/interlock/policy.yaml:3:10
      |
    3 | signers: /etc/interlock/allowed_signers
      |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ named here

    error[E0706]: the key SHA256:RXm/ruZ0eTzRXKwi1AQEDynB0VgHQ2ac9KPSFdf/YnA is listed for amy@example.org and for bea@example.org
     --> /etc/interlock/allowed_signers:2:1
      |
    1 | amy@example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB
      | ------------------------------------------------------------------------------------------------ the first
    2 | bea@example.org,cy@example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ one key for two persons
      |
      = help: persons are counted by their keys: each has their own, and shows it to nobody

    error[E0706]: the key SHA256:RXm/ruZ0eTzRXKwi1AQEDynB0VgHQ2ac9KPSFdf/YnA is listed for amy@example.org and for cy@example.org
     --> /etc/interlock/allowed_signers:2:1
      |
    1 | amy@example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB
      | ------------------------------------------------------------------------------------------------ the first
    2 | bea@example.org,cy@example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ one key for two persons
      |
      = help: persons are counted by their keys: each has their own, and shows it to nobody
    ");
}

#[test]
fn rules_that_some_operators_cannot_meet_are_warned_of() {
    assert_snapshot!(
        warned("approvals: [{need: 3, of: core}, {need: all, of: ops}, {need: all, of: core}, {need: 3, of: core, operator_counts: true}]\n"),
        @"
    warning[W0702]: when amy@example.org operates, 2 of `core` are left, and 3 must sign
     --> /etc/interlock/policy.yaml:9:13
      |
    9 | approvals: [{need: 3, of: core}, {need: all, of: ops}, {need: all, of: core}, {need: 3, of: core, operator_counts: true}]
      |             ^^^^^^^^^^^^^^^^^^^ refused then
      |
      = help: add persons to `core`, take the operators out of it, or say `operator_counts: true`

    warning[W0702]: when cy@example.org operates, 0 of `ops` are left, and 1 must sign
     --> /etc/interlock/policy.yaml:9:34
      |
    9 | approvals: [{need: 3, of: core}, {need: all, of: ops}, {need: all, of: core}, {need: 3, of: core, operator_counts: true}]
      |                                  ^^^^^^^^^^^^^^^^^^^^ refused then
      |
      = help: add persons to `ops`, take the operators out of it, or say `operator_counts: true`
    "
    );
}

#[test]
fn the_glass() {
    let rules = "operators: [amy@example.org]
break_glass:
- {who: ops, tell: core, by: [page], after: 1h}
- {who: core, tell: cores, by: []}
- {who: core, tell: core, by: [/bin/page], review_within: 0s}
- {}
";
    assert_snapshot!(refused_rules(rules), @"
    error[E0703]: nobody in `ops` may operate, so nobody could break this glass
      --> /etc/interlock/policy.yaml:11:9
       |
    11 | - {who: ops, tell: core, by: [page], after: 1h}
       |         ^^^ no operator in it
       |
       = help: give its members users under `persons`, and see that `operators` has them

    error[E0205]: `page` is not an absolute path
      --> /etc/interlock/policy.yaml:11:31
       |
    11 | - {who: ops, tell: core, by: [page], after: 1h}
       |                               ^^^^ expected the absolute path of a program

    error[E0201]: a rule of `break_glass` has no key `after`
      --> /etc/interlock/policy.yaml:11:38
       |
    11 | - {who: ops, tell: core, by: [page], after: 1h}
       |                                      ^^^^^ unknown key
       |
       = help: expected `match`, `who`, `tell`, `by`, `review_within`

    error[E0702]: there is no group `cores`
      --> /etc/interlock/policy.yaml:12:21
       |
    12 | - {who: core, tell: cores, by: []}
       |                     ^^^^^ not a group of this policy
       |
       = help: did you mean `core`?

    error[E0205]: the command is empty
      --> /etc/interlock/policy.yaml:12:32
       |
    12 | - {who: core, tell: cores, by: []}
       |                                ^^
       |
       = help: write `[program, argument, …]`

    error[E0205]: `0s` is no time at all
      --> /etc/interlock/policy.yaml:13:59
       |
    13 | - {who: core, tell: core, by: [/bin/page], review_within: 0s}
       |                                                           ^^ expected a duration longer than nothing, such as `90s`

    error[E0202]: a rule of `break_glass` needs the key `who`
      --> /etc/interlock/policy.yaml:14:3
       |
    14 | - {}
       |   ^^ it is not here

    error[E0202]: a rule of `break_glass` needs the key `tell`
      --> /etc/interlock/policy.yaml:14:3
       |
    14 | - {}
       |   ^^ it is not here

    error[E0202]: a rule of `break_glass` needs the key `by`
      --> /etc/interlock/policy.yaml:14:3
       |
    14 | - {}
       |   ^^ it is not here
    ");
}
