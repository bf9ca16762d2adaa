//! States of the built-in kinds, made the way a runbook makes them, and looked at.

use interlock::diagnostic::Source;
use interlock::exec::censor::Censor;
use interlock::history::event::Verdict;
use interlock::probe::{Look, View, look};
use interlock::runbook::check::check;
use interlock::runbook::model::{State, System};
use interlock::runbook::params::Given;

/// The system that a runbook gets with this entry, such as `monit: {control: /etc/monit/monitrc}`.
pub fn system(entry: &str) -> System {
    let text =
        format!("interlock: 1\nname: lab\nsystems:\n  it: {{{entry}}}\nsteps:\n  - id: nothing\n    run: [\"true\"]\n");
    let source = Source::new("lab", text);
    let checked = check(&source, &Given::nothing());
    let mut checked = checked.unwrap_or_else(|mistakes| panic!("{entry}: {mistakes:?}"));
    let name = "it".parse().expect("a name");
    checked.runbook.systems.remove(&name).expect("the runbook has the system")
}

/// One of its states.
pub fn state(system: &System, name: &str) -> State {
    system.states.get(&name.parse().expect("a name")).expect("the kind has the state").clone()
}

/// What a look before a step says of one of its states.
pub fn seen(system: &System, name: &str) -> Look {
    look(&state(system, name).before, &View::outside_steps(Censor::none()))
}

/// The system must be in this one of its states, and in no other.
#[track_caller]
pub fn assert_only(system: &System, name: &str) {
    for state in system.states.keys() {
        let look = seen(system, state.as_str());
        let expected = if state.as_str() == name { Verdict::Holds } else { Verdict::Broken };
        assert_eq!(look.verdict, expected, "it should be {name}; of {state} is seen: {}", look.evidence);
    }
}
