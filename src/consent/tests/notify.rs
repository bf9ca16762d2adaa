//! The rules of `notify`, as they are read.

use std::time::Duration;

use insta::assert_snapshot;

use super::policies::{accepted, refused_rules};
use crate::consent::policy::Duty;

#[test]
fn a_rule_says_which_command_is_told_of_what_and_what_it_leaves_out_is_usual() {
    let policy = accepted(
        "notify:\n  - {on: [run_halted, hold_broken], command: [/usr/local/bin/page, core]}\n  - {on: [run_opened], command: [/bin/tell], timeout: 1m, required: true}\n",
    );
    let [first, second] = policy.notify.as_slice() else { panic!("{:?}", policy.notify) };
    assert_eq!(first.on.iter().copied().collect::<Vec<_>>(), ["hold_broken", "run_halted"]);
    assert_eq!(first.command, ["/usr/local/bin/page", "core"]);
    assert_eq!((first.timeout, first.duty), (Duration::from_secs(10), Duty::Wanted));
    assert_eq!((second.timeout, second.duty), (Duration::from_secs(60), Duty::Required));
}

#[test]
fn mistakes_in_a_rule() {
    assert_snapshot!(refused_rules("notify:\n  - {on: [run_halt, notify_failed], command: [page]}\n  - {on: [], command: [], timeout: 1h}\n  - {on: [run_opened, run_opened], command: [/bin/x], required: yes, to: amy}\n  - {}\n"), @"
    error[E0205]: others cannot be told of `run_halt`
      --> /etc/interlock/policy.yaml:10:11
       |
    10 |   - {on: [run_halt, notify_failed], command: [page]}
       |           ^^^^^^^^ no event of a run
       |
       = help: did you mean `run_halted`?

    error[E0205]: others cannot be told of `notify_failed`
      --> /etc/interlock/policy.yaml:10:21
       |
    10 |   - {on: [run_halt, notify_failed], command: [page]}
       |                     ^^^^^^^^^^^^^ no event of a run
       |
       = help: docs/policy.md says of which events others can be told

    error[E0205]: `page` is not an absolute path
      --> /etc/interlock/policy.yaml:10:47
       |
    10 |   - {on: [run_halt, notify_failed], command: [page]}
       |                                               ^^^^ expected the absolute path of a program

    error[E0205]: the list names no event
      --> /etc/interlock/policy.yaml:11:10
       |
    11 |   - {on: [], command: [], timeout: 1h}
       |          ^^
       |
       = help: name one, or leave the rule out

    error[E0205]: the command is empty
      --> /etc/interlock/policy.yaml:11:23
       |
    11 |   - {on: [], command: [], timeout: 1h}
       |                       ^^
       |
       = help: write `[program, argument, …]`

    error[E0205]: longer than 10 minutes
      --> /etc/interlock/policy.yaml:11:36
       |
    11 |   - {on: [], command: [], timeout: 1h}
       |                                    ^^
       |
       = help: a command that tells others is quick; 10s is usual

    error[E0210]: `run_opened` stands in the list twice
      --> /etc/interlock/policy.yaml:12:23
       |
    12 |   - {on: [run_opened, run_opened], command: [/bin/x], required: yes, to: amy}
       |                       ^^^^^^^^^^ the second

    error[E0206]: `yes` is not a boolean
      --> /etc/interlock/policy.yaml:12:65
       |
    12 |   - {on: [run_opened, run_opened], command: [/bin/x], required: yes, to: amy}
       |                                                                 ^^^ expected `true` or `false`
       |
       = help: write `true`

    error[E0201]: a rule of `notify` has no key `to`
      --> /etc/interlock/policy.yaml:12:70
       |
    12 |   - {on: [run_opened, run_opened], command: [/bin/x], required: yes, to: amy}
       |                                                                      ^^ unknown key
       |
       = help: expected `on`, `command`, `timeout`, `required`

    error[E0202]: a rule of `notify` needs the key `on`
      --> /etc/interlock/policy.yaml:13:5
       |
    13 |   - {}
       |     ^^ it is not here

    error[E0202]: a rule of `notify` needs the key `command`
      --> /etc/interlock/policy.yaml:13:5
       |
    13 |   - {}
       |     ^^ it is not here
    ");
}
