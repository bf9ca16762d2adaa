//! What is known of the policies of the past by looking at the last openings is what the whole log says, also where several programs open
//! runs at the same moment under different policies.

use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

use super::common::{Scratch, event, open, run_id, scratch};
use crate::audit::{Draft, LogError, numbers_beside, read};
use crate::history::approval::PolicyInForce;
use crate::history::event::Event;
use crate::history::numbers::Numbers;
use crate::id::Digest;

pub(super) fn opened(policies: Vec<PolicyInForce>) -> Event {
    Event::RunOpened {
        runbook: "r".to_owned(),
        title: None,
        labels: [].into(),
        source: "r.yaml".to_owned(),
        plan: Digest::of(b"plan"),
        steps: 1,
        locks: Vec::new(),
        policies,
        containment: String::new(),
        watching: "x".repeat(10_000),
        program: String::new(),
    }
}

fn resumed(policies: Vec<PolicyInForce>) -> Event {
    Event::RunResumed {
        policies,
        containment: String::new(),
        watching: String::new(),
        program: String::new(),
        taken_over: None,
        ended: Vec::new(),
    }
}

/// Files `a`, `b` and `c`, each under the number that is given, if one is.
fn policies(numbers: [Option<u64>; 3]) -> Vec<PolicyInForce> {
    let policy = |(file, number): (&str, Option<u64>)| {
        Some(PolicyInForce {
            file: file.to_owned(),
            digest: Digest::of(file.as_bytes()),
            number: number?,
            signers: Digest::of(b"signers"),
            revoked: None,
            operator: None,
        })
    };
    ["a", "b", "c"].into_iter().zip(numbers).filter_map(policy).collect()
}

/// All that the log says of the past, by reading it from the first entry.
fn whole(scratch: &Scratch) -> Numbers {
    let mut past = Numbers::default();
    for found in read(&scratch.home).unwrap() {
        past.note(&found.unwrap().recorded.entry.event);
    }
    past
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Three programs, each with its view of the log, open runs and take them up under whatever; some of them have looked before, and
    /// some have not.
    #[test]
    fn the_last_openings_say_what_the_whole_log_says(
        dice in proptest::collection::vec(
            (0_usize..3, 0_usize..4, proptest::array::uniform3(proptest::option::weighted(0.6, 0_u64..4))), 0..120),
        asked in proptest::collection::vec(proptest::array::uniform3(proptest::option::of(0_u64..5)), 8),
    ) {
        let scratch = scratch();
        let mut logs: Vec<_> = (0..3).map(|_| open(&scratch.home).unwrap()).collect();
        // The first runs of a home often go under nothing.
        for (at, (by, what, numbers)) in dice.iter().enumerate() {
            let under = policies(if at < 3 { [None; 3] } else { *numbers });
            let what = match what {
                0 => resumed(under),
                1 => event(&"x".repeat(30_000)),
                _ => opened(under),
            };
            match logs[*by].append(&[Draft { run: Some(&run_id(at as u64)), event: &what }]) {
                Ok(_) | Err(LogError::Weaker { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let whole = whole(&scratch);
        // One that knows all it knows from opening the log.
        logs.push(open(&scratch.home).unwrap());
        for numbers in asked {
            let under = policies(numbers);
            let quick = numbers_beside(&scratch.home, None, &under).unwrap();
            prop_assert_eq!(quick.more_than(&under), whole.more_than(&under));
            for log in &logs {
                let known = numbers_beside(&scratch.home, Some(log), &under).unwrap();
                prop_assert_eq!(known.more_than(&under), whole.more_than(&under));
            }
        }
    }
}

#[test]
fn p06_of_two_runs_that_open_at_the_same_moment_the_one_under_less_is_not_the_second() {
    let scratch = scratch();
    let (mut one, mut other) = (open(&scratch.home).unwrap(), open(&scratch.home).unwrap());
    let (old, new) = (policies([Some(1), None, None]), policies([Some(2), None, None]));
    // Both have looked, and nothing speaks against either.
    assert_eq!(numbers_beside(&scratch.home, None, &old).unwrap().more_than(&old), None);
    assert_eq!(numbers_beside(&scratch.home, None, &new).unwrap().more_than(&new), None);
    other.append(&[Draft { run: Some(&run_id(2)), event: &opened(new.clone()) }]).unwrap();
    for late in [opened(old.clone()), resumed(old.clone()), opened(Vec::new())] {
        let refused = one.append(&[Draft { run: Some(&run_id(1)), event: &late }]).unwrap_err();
        assert!(matches!(refused, LogError::Weaker { .. }), "{refused}");
    }
    one.append(&[Draft { run: Some(&run_id(1)), event: &opened(new) }]).unwrap();
    assert!(numbers_beside(&scratch.home, None, &old).unwrap().more_than(&old).is_some());
}

#[test]
fn no_log_says_nothing_of_the_past() {
    let scratch = scratch();
    let under = policies([Some(0), None, None]);
    assert_eq!(numbers_beside(&scratch.home, None, &under).unwrap(), Numbers::default());
}
