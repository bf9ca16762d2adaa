//! Mistakes in `replaces`, as an author sees them.

use insta::assert_snapshot;

use super::{accepted, refused};
use crate::diagnostic::Source;
use crate::diagnostic::render::{Colour, render_all};
use crate::runbook::code::NOT_EXECUTED;

fn steps(body: &str) -> String {
    format!("interlock: 1\nname: r\nparams: {{tool: {{type: path, required: false}}}}\nsteps:\n{body}")
}

#[test]
fn replaces_with_mistakes() {
    let text = steps(
        "- {id: a, run: [x], replaces: /bin/x}\n- {id: b, run: [x], replaces: [bin/x, /bin/x, /bin/./x]}\n- {id: c, wait: 5s, replaces: []}\n",
    );
    assert_snapshot!(refused(&text, &[]), @r#"
    error[E0203]: expected a list of program files, such as `[/usr/local/sbin/change]`, found a text
     --> runbook.yaml:5:31
      |
    5 | - {id: a, run: [x], replaces: /bin/x}
      |                               ^^^^^^ expected a list of program files, such as `[/usr/local/sbin/change]`

    error[E0205]: `bin/x` is not an absolute path
     --> runbook.yaml:6:32
      |
    6 | - {id: b, run: [x], replaces: [bin/x, /bin/x, /bin/./x]}
      |                                ^^^^^
      |
      = help: write the path as a later step's `run` has it, or as `PATH` leads to it

    warning[W0505]: no later step executes `/bin/x`
     --> runbook.yaml:6:39
      |
    6 | - {id: b, run: [x], replaces: [bin/x, /bin/x, /bin/./x]}
      |                                       ^^^^^^ nothing is checked against what it becomes
      |
      = help: write the path as the later step's `run` has it; leave it if it is the interpreter of a later script

    error[E0210]: the program `/bin/./x` is named twice
     --> runbook.yaml:6:47
      |
    6 | - {id: b, run: [x], replaces: [bin/x, /bin/x, /bin/./x]}
      |                                       ------  ^^^^^^^^ the second
      |                                       |
      |                                       the first

    error[E0202]: a `wait` needs the key `ensures`
     --> runbook.yaml:7:11
      |
    7 | - {id: c, wait: 5s, replaces: []}
      |           ^^^^ for what?
      |
      = help: say which facts it waits for: `ensures: [database up]`

    error[E0208]: `replaces` says nothing in a `wait` step: it changes nothing
     --> runbook.yaml:7:21
      |
    7 | - {id: c, wait: 5s, replaces: []}
      |                     ^^^^^^^^ remove it
    "#);
}

#[test]
fn w0505_a_program_that_nothing_executes() {
    let text = steps(
        "- {id: a, run: [x], replaces: [/opt/never, /opt/later, /usr/bin/named, /bin/sh, /opt/undo]}\n- {id: b, run: [/opt/later]}\n- {id: c, run: [named]}\n- {id: d, script: id, undo: {run: [/opt/undo]}}\n",
    );
    let mut warnings = accepted(&text, &[]).warnings;
    warnings.retain(|warning| warning.code == NOT_EXECUTED);
    assert_snapshot!(render_all(&warnings, &Source::new("runbook.yaml", &*text), Colour::Never), @r#"
    warning[W0505]: no later step executes `/opt/never`
     --> runbook.yaml:5:32
      |
    5 | - {id: a, run: [x], replaces: [/opt/never, /opt/later, /usr/bin/named, /bin/sh, /opt/undo]}
      |                                ^^^^^^^^^^ nothing is checked against what it becomes
      |
      = help: write the path as the later step's `run` has it; leave it if it is the interpreter of a later script
    "#);
}
