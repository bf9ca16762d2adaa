//! The questions that a run asks: who operates, who must sign, what is possible, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keys::{AMY, BEA, Keys, keygen, persons, time};
use super::policies::{HEAD, SIGNERS, accepted, read_with};
use crate::consent::calendar::WindowState;
use crate::consent::operator::{Account, Acting};
use crate::consent::policy::{Need, Subject};
use crate::consent::question::{Counted, Operator, Permission, Policies, Quorum, Requirement, StepRule, quorum};
use crate::consent::signature::{Accepted, Namespace};
use crate::consent::sshsig::Presence;
use crate::history::deviation::DeviationKind;
use crate::history::entry::Who;
use crate::id::Digest;

const CY: &str = "cy@example.org";

fn account(name: &str) -> Acting {
    Acting::Own(Account { uid: None, name: Some(name.to_owned()) })
}

fn policies(rules: &str) -> Policies {
    Policies::new(vec![accepted(rules)])
}

fn operator(policies: &Policies, user: &str) -> Operator {
    policies.operator(&account(user)).unwrap()
}

/// A runbook named `restart`, with these labels.
fn about<T>(labels: &[(&str, &str)], ask: impl FnOnce(Subject<'_>) -> T) -> T {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ask(Subject { name: "restart", labels: &labels })
}

/// A signature of this person by a key of this name, under the first policy, over nothing.
fn signed(person: &str, key: &str) -> Counted {
    // Any key file has a fingerprint; these differ by one sign.
    let line =
        format!("{person} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA{key}BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\n");
    let key = super::keys::signers(&line).lines.remove(0).key.fingerprint;
    Counted {
        policy: 0,
        signature: Accepted {
            person: person.parse().unwrap(),
            key,
            algorithm: "ssh-ed25519".to_owned(),
            presence: Presence::Untold,
            certificate: None,
            namespace: Namespace::Plan,
            over: Digest::of(b""),
        },
    }
}

fn met(requirement: &Requirement, signatures: &[Counted]) -> bool {
    matches!(quorum(requirement, &Digest::of(b""), signatures), Quorum::Met(_))
}

fn the_one(rules: &str, user: &str) -> Requirement {
    let policies = policies(rules);
    let operator = operator(&policies, user);
    let mut needed = about(&[], |subject| policies.approvals_needed(subject, &operator)).unwrap();
    assert_eq!(needed.len(), 1);
    needed.remove(0)
}

#[test]
fn who_logged_in_decides_before_sudo_and_sudo_only_for_root() {
    let who = |uid, user: &str, login_uid, sudo_user: Option<&str>| Who {
        uid,
        user: Some(user.to_owned()),
        login_uid,
        sudo_user: sudo_user.map(str::to_owned),
        ..Who::default()
    };
    let name_of = |uid: u32| (uid == 1001).then(|| "amy".to_owned());
    let policy = accepted("");
    let person = |who: &Who| policy.operator(&Acting::of(who, name_of)).map(|person| person.to_string());
    let why = |who: &Who| person(who).unwrap_err().to_string();
    // Root, by sudo of amy, who logged in: amy.
    assert_eq!(person(&who(0, "root", Some(1001), Some("amy"))).unwrap(), AMY);
    // Who logged in cannot become another by setting the environment.
    assert_eq!(person(&who(0, "root", Some(1001), Some("bea"))).unwrap(), AMY);
    assert_eq!(
        why(&who(0, "root", Some(7), Some("bea"))),
        "the user number 7, who logged in, is not the user of any person in /etc/interlock/policy.yaml, so nobody may operate as it"
    );
    // Where the kernel does not know who logged in, sudo says it of a process of root, and of no other.
    assert_eq!(person(&who(0, "root", None, Some("bea"))).unwrap(), BEA);
    assert_eq!(person(&who(1003, "cy", None, Some("bea"))).unwrap(), CY);
    // Root alone is nobody, unless the policy says whose user it is.
    assert!(why(&who(0, "root", None, None)).contains("`root` is not the user of any person"));
    assert!(why(&who(0, "root", Some(0), None)).contains("`root`, who logged in, is not the user of any person"));
    // Another user's process after su: who logged in decides.
    assert_eq!(person(&who(1003, "cy", Some(1001), None)).unwrap(), AMY);
    // A user may be named by number, and then a name that is another's is no way around it.
    assert_eq!(person(&who(1002, "beatrice", None, None)).unwrap(), BEA);
    assert_eq!(
        why(&who(1002, "amy", None, None)),
        "the user `amy` is by its name the user of amy@example.org and by its number that of bea@example.org in /etc/interlock/policy.yaml"
    );
}

#[test]
fn only_those_who_are_listed_may_operate_and_under_every_policy() {
    let wide = accepted("");
    let narrow = accepted("operators: [ops]\n");
    assert_eq!(wide.operators, persons(&[AMY, BEA, CY]));
    assert_eq!(narrow.operators, persons(&[CY]));
    let both = Policies::new(vec![wide, narrow]);
    assert_eq!(
        both.operator(&account("amy")).unwrap_err().to_string(),
        "amy@example.org (the user `amy`) is not one of those who may operate under /etc/interlock/policy.yaml"
    );
    assert_eq!(both.operator(&account("cy")).unwrap().under(1).map(ToString::to_string), Some(CY.to_owned()));
    assert!(Policies::default().operator(&account("anybody")).is_ok());
}

#[test]
fn all_means_all_and_persons_are_counted_once() {
    let requirement = the_one("approvals: [{need: all, of: core}]\n", "cy");
    assert_eq!(requirement.rule, "all of `core`, the operator not counted (/etc/interlock/policy.yaml line 9)");
    assert_eq!((requirement.who.clone(), requirement.needed), (persons(&[AMY, BEA]), 2));
    assert!(met(&requirement, &[signed(AMY, "A"), signed(BEA, "B")]));
    // Two keys of one person are one person; the operator and strangers are nobody.
    for few in [
        vec![],
        vec![signed(AMY, "A")],
        vec![signed(AMY, "A"), signed(AMY, "A"), signed(AMY, "B")],
        vec![signed(AMY, "A"), signed(CY, "C")],
        vec![signed(AMY, "A"), signed("eve@example.org", "E")],
    ] {
        assert!(!met(&requirement, &few), "{few:?}");
    }
    let missing = quorum(&requirement, &Digest::of(b""), &[signed(AMY, "A"), signed(CY, "C")]);
    assert_eq!(missing, Quorum::Missing { signed: persons(&[AMY]), more: 1, of: persons(&[BEA]) });
}

#[test]
fn a_key_that_signed_for_two_persons_counts_for_neither() {
    let requirement = the_one("approvals: [{need: 1, of: core}]\n", "cy");
    assert!(met(&requirement, &[signed(AMY, "A")]));
    assert!(!met(&requirement, &[signed(AMY, "A"), signed(BEA, "A")]));
    // Amy's other key is hers alone.
    assert!(met(&requirement, &[signed(AMY, "A"), signed(BEA, "A"), signed(AMY, "B")]));
}

#[test]
fn a_signature_for_something_else_counts_for_nothing() {
    let requirement = the_one("approvals: [{need: 1, of: core}]\n", "cy");
    let mut other = signed(AMY, "A");
    other.policy = 1;
    assert!(!met(&requirement, &[other]));
    let mut other = signed(AMY, "A");
    other.signature.namespace = Namespace::Override;
    assert!(!met(&requirement, &[other]));
    let mut other = signed(AMY, "A");
    other.signature.over = Digest::of(b"another plan");
    assert!(!met(&requirement, &[other]));
}

#[test]
fn all_of_one_is_met_by_that_one_and_all_of_nobody_by_nothing() {
    let requirement = the_one("approvals: [{need: all, of: ops}]\n", "amy");
    assert_eq!((requirement.who.clone(), requirement.needed), (persons(&[CY]), 1));
    assert!(met(&requirement, &[signed(CY, "C")]) && !met(&requirement, &[]));
    // When cy operates, nobody is left, and that is a refusal.
    let policies = policies("approvals: [{need: all, of: ops}]\n");
    let cy = operator(&policies, "cy");
    let why = about(&[], |subject| policies.approvals_needed(subject, &cy)).unwrap_err().to_string();
    assert_eq!(
        why,
        "all of `ops`, the operator not counted (/etc/interlock/policy.yaml line 9) must sign, and only 0 could: nobody else can approve this"
    );
    let mut hollow = requirement;
    hollow.who.clear();
    hollow.needed = 0;
    assert!(!met(&hollow, &[]) && !met(&hollow, &[signed(CY, "C")]));
}

#[test]
fn a_number_that_the_rest_of_the_group_cannot_reach_is_refused() {
    let rules = "approvals: [{need: 3, of: core}]\n";
    let policies = policies(rules);
    let cy = operator(&policies, "cy");
    assert!(about(&[], |subject| policies.approvals_needed(subject, &cy)).is_err());
    let counting = the_one("approvals: [{need: 3, of: core, operator_counts: true}]\n", "cy");
    assert_eq!(counting.needed, 3);
    assert!(met(&counting, &[signed(AMY, "A"), signed(BEA, "B"), signed(CY, "C")]));
}

#[test]
fn every_rule_that_is_about_a_run_must_be_met_and_of_every_policy() {
    let first = accepted(
        "approvals:
- {match: {labels: {env: production}}, need: all, of: core}
- {match: {name: \"re*\"}, need: 1, of: ops, operator_counts: true, valid_for: 2h}
- {match: {name: other}, need: all, of: core}
- {match: {name: restart, labels: {env: staging}}, need: all, of: core}
",
    );
    let second = accepted("approvals: [{need: 1, of: core}]\n");
    let policies = Policies::new(vec![first, second]);
    let amy = operator(&policies, "amy");
    let needed =
        about(&[("env", "production"), ("more", "x")], |subject| policies.approvals_needed(subject, &amy)).unwrap();
    let rules: Vec<(usize, usize, usize)> =
        needed.iter().map(|requirement| (requirement.policy, requirement.quota.line, requirement.needed)).collect();
    assert_eq!(rules, [(0, 10, 2), (0, 11, 1), (1, 9, 1)]);
    assert_eq!(needed[1].quota.valid_for, Duration::from_secs(7200));
    assert_eq!(about(&[], |subject| policies.approvals_needed(subject, &amy)).unwrap().len(), 2);
    assert_eq!(about(&[], |subject| Policies::default().approvals_needed(subject, &amy)).unwrap(), []);
}

#[test]
fn an_approval_counts_from_when_its_plan_was_made_and_not_from_its_end_on() {
    let requirement = the_one("approvals: [{need: 1, of: core, valid_for: 1h}]\n", "cy");
    let made = time("2026-11-22T12:00:00Z");
    for (now, fresh) in [
        ("2026-11-22T11:59:59Z", false),
        ("2026-11-22T12:00:00Z", true),
        ("2026-11-22T12:59:59Z", true),
        ("2026-11-22T13:00:00Z", false),
    ] {
        assert_eq!(requirement.is_fresh(made, time(now)), fresh, "{now}");
    }
}

fn permission(policies: &Policies, deviation: DeviationKind, step: &StepRule) -> Permission {
    let amy = operator(policies, "amy");
    about(&[("env", "production")], |subject| policies.override_needed(deviation, step, subject, &amy))
}

fn forbidden(permission: Permission) -> String {
    match permission {
        Permission::Forbidden(why) => why,
        Permission::Allowed(needed) => panic!("allowed: {needed:?}"),
    }
}

fn allowed(permission: Permission) -> Vec<Requirement> {
    match permission {
        Permission::Allowed(needed) => needed,
        Permission::Forbidden(why) => panic!("forbidden: {why}"),
    }
}

#[test]
fn a_run_is_taken_over_by_signatures_where_a_rule_speaks_of_it_and_freely_where_none_does_or_not_at_all() {
    let take_over = |policies: &Policies| permission(policies, DeviationKind::TakeOver, &StepRule::Unsaid);
    assert!(allowed(take_over(&policies(""))).is_empty());
    let rule = |labels: &str| {
        policies(&format!("overrides: [{{deviations: [take_over], match: {{labels: {labels}}}, need: 1, of: core}}]\n"))
    };
    assert_eq!(allowed(take_over(&rule("{env: production}"))).len(), 1);
    assert!(allowed(take_over(&rule("{env: staging}"))).is_empty());
    let why = forbidden(take_over(&policies("forbid: [take_over]\n")));
    assert_eq!(why, "/etc/interlock/policy.yaml forbids every `take_over`");
}

#[test]
fn a_deviation_is_possible_only_if_every_policy_names_it_and_none_forbids_it() {
    let rules = "overrides:
- {deviations: [skip, waive], need: 1, of: core}
- {deviations: [skip], match: {labels: {env: production}}, need: all, of: core, valid_for: 10m}
- {deviations: [abandon], match: {labels: {env: staging}}, need: 1, of: core}
forbid: [stale_lock]
";
    let one = policies(rules);
    assert_eq!(allowed(permission(&one, DeviationKind::Waive, &StepRule::Unsaid)).len(), 1);
    let skip = allowed(permission(&one, DeviationKind::Skip, &StepRule::Unsaid));
    assert_eq!(
        skip.iter().map(|needed| (needed.needed, needed.namespace)).collect::<Vec<_>>(),
        [(1, Namespace::Override), (2, Namespace::Override)]
    );
    assert_eq!(
        forbidden(permission(&one, DeviationKind::Abandon, &StepRule::Unsaid)),
        "no rule of /etc/interlock/policy.yaml allows `abandon` for `restart`"
    );
    assert_eq!(
        forbidden(permission(&one, DeviationKind::StaleLock, &StepRule::Unsaid)),
        "/etc/interlock/policy.yaml forbids every `stale_lock`"
    );
    // A second policy can only take away.
    let both =
        Policies::new(vec![accepted(rules), accepted("overrides: [{deviations: [waive], need: 1, of: core}]\n")]);
    assert_eq!(allowed(permission(&both, DeviationKind::Waive, &StepRule::Unsaid)).len(), 2);
    forbidden(permission(&both, DeviationKind::Skip, &StepRule::Unsaid));
    let forbidding = Policies::new(vec![accepted(rules), accepted("forbid: [waive]\n")]);
    forbidden(permission(&forbidding, DeviationKind::Waive, &StepRule::Unsaid));
    // Without any policy it is the operator's own decision.
    assert_eq!(allowed(permission(&Policies::default(), DeviationKind::Skip, &StepRule::Unsaid)), []);
}

#[test]
fn a_runbook_can_ask_for_more_and_never_for_less() {
    let rules = "overrides: [{deviations: [skip], need: 1, of: core}]\n";
    let one = policies(rules);
    for policies in [&one, &Policies::default()] {
        assert_eq!(
            forbidden(permission(policies, DeviationKind::Skip, &StepRule::Never)),
            "the runbook says `override: never`, so no `skip` is possible"
        );
    }
    let of_ops = StepRule::Needs { need: Need::All, of: "ops".parse().unwrap() };
    let needed = allowed(permission(&one, DeviationKind::Skip, &of_ops));
    assert_eq!(
        needed.iter().map(|needed| needed.who.clone()).collect::<Vec<_>>(),
        [persons(&[BEA, CY]), persons(&[CY])]
    );
    let of_strangers = StepRule::Needs { need: Need::Number(1), of: "strangers".parse().unwrap() };
    assert_eq!(
        forbidden(permission(&Policies::default(), DeviationKind::Skip, &of_strangers)),
        "the runbook asks for signatures of the group `strangers`, and no policy is in force that says who that is"
    );
    assert_eq!(
        forbidden(permission(&one, DeviationKind::Skip, &of_strangers)),
        "the runbook asks for signatures of the group `strangers`, which /etc/interlock/policy.yaml does not have (expected `core`, \
         `ops`); correct `override` in the runbook, or add the group to the policy"
    );
    // What the runbook asks for does not stand in for a rule that the policy lacks.
    forbidden(permission(&one, DeviationKind::Waive, &of_ops));
}

#[test]
fn p05_who_is_in_a_group_that_a_runbook_names_is_for_the_first_policy_to_say() {
    let rules = "overrides: [{deviations: [skip], need: 1, of: core}]\n";
    let group = "ops: [cy@example.org]";
    let with = |own: &str| {
        let text = format!("{HEAD}{rules}");
        assert_eq!(text.matches(group).count(), 1);
        read_with(&text.replace(group, own), SIGNERS).unwrap().policy
    };
    let of_night = StepRule::Needs { need: Need::All, of: "night".parse().unwrap() };
    // One that only adds to the first cannot say who they are in its place.
    let own = Policies::new(vec![with(group), with("night: [bea@example.org]")]);
    let why = forbidden(permission(&own, DeviationKind::Skip, &of_night));
    assert!(why.contains("the group `night`, which /etc/interlock/policy.yaml does not have"), "{why}");
    assert_eq!(own.knows_group("night").unwrap_err().to_string(), why);
    // Where both know it both count, and one that does not know it takes nothing away.
    let both = Policies::new(vec![with("night: [bea@example.org]"), with("night: [cy@example.org]")]);
    let persons_of = |policies: &Policies| -> Vec<_> {
        let needed = allowed(permission(policies, DeviationKind::Skip, &of_night));
        needed.into_iter().skip(2).map(|needed| needed.who).collect()
    };
    assert_eq!(persons_of(&both), [persons(&[BEA]), persons(&[CY])]);
    let first = Policies::new(vec![with("night: [bea@example.org]"), with(group)]);
    assert_eq!(persons_of(&first), [persons(&[BEA])]);
}

fn window(policies: &Policies, at: &str) -> WindowState {
    about(&[("env", "production")], |subject| policies.window_state(subject, time(at)))
}

fn next(policies: &Policies, at: &str) -> Option<String> {
    match window(policies, at) {
        WindowState::Outside { next, .. } => Some(next.map_or("never".to_owned(), |next| next.to_rfc3339())),
        WindowState::Open => None,
        WindowState::Frozen { until, .. } => Some(format!("frozen until {}", until.to_rfc3339())),
    }
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
    // 2026-11-27 is a Friday.
    let policies = policies("windows: [{days: [fri], from: \"22:00\", to: \"04:00\", zone: +01:00}]\n");
    for (at, open) in [
        ("2026-11-27T21:59:59+01:00", false),
        ("2026-11-27T22:00:00+01:00", true),
        ("2026-11-27T23:59:59.999+01:00", true),
        ("2026-11-28T00:00:00+01:00", true),
        ("2026-11-28T03:59:59.999+01:00", true),
        ("2026-11-28T04:00:00+01:00", false),
        ("2026-11-28T22:30:00+01:00", false),
        // The small hours of Friday itself belong to Thursday's window, and there is none.
        ("2026-11-27T02:00:00+01:00", false),
        // The offset counts: this is Friday 22:00 there, and Saturday 02:30 far to the east.
        ("2026-11-27T21:00:00Z", true),
        ("2026-11-28T02:30:00+05:30", true),
        ("2026-11-27T22:00:00+05:30", false),
    ] {
        assert_eq!(window(&policies, at) == WindowState::Open, open, "{at}");
    }
    assert_eq!(next(&policies, "2026-11-27T20:59:59Z").as_deref(), Some("2026-11-27T21:00:00+00:00"));
    assert_eq!(next(&policies, "2026-11-28T03:00:00Z").as_deref(), Some("2026-12-04T21:00:00+00:00"));
    let WindowState::Outside { why, .. } = window(&policies, "2026-11-28T03:00:00Z") else { panic!("open") };
    assert_eq!(
        why,
        "2026-11-28 03:00:00 UTC is outside the change window of /etc/interlock/policy.yaml: fri 22:00 to 04:00 (+01:00) (line 9)"
    );
}

#[test]
fn a_window_within_a_day_begins_with_its_first_second_and_ends_before_its_last() {
    let day = policies("windows: [{days: [mon, tue], from: \"08:00\", to: \"24:00\", zone: UTC}]\n");
    assert_eq!(next(&day, "2026-11-23T07:59:59Z").as_deref(), Some("2026-11-23T08:00:00+00:00"));
    assert_eq!(next(&day, "2026-11-23T08:00:00Z"), None);
    assert_eq!(next(&day, "2026-11-23T23:59:59.9Z"), None);
    assert_eq!(next(&day, "2026-11-24T00:00:00Z").as_deref(), Some("2026-11-24T08:00:00+00:00"));
    let always = policies("windows: [{from: \"00:00\", to: \"24:00\", zone: -11:30}]\n");
    assert_eq!(next(&always, "2026-11-23T11:30:00Z"), None);
}

#[test]
fn one_window_of_a_policy_is_enough_and_each_policy_must_have_one_open() {
    let two = "windows:
- {days: [mon], from: \"08:00\", to: \"09:00\", zone: UTC}
- {match: {labels: {env: production}}, days: [mon], from: \"12:00\", to: \"14:00\", zone: UTC}
- {match: {labels: {env: staging}}, days: [tue], from: \"00:00\", to: \"24:00\", zone: UTC}
";
    let one = policies(two);
    assert_eq!(next(&one, "2026-11-23T12:30:00Z"), None);
    assert_eq!(next(&one, "2026-11-24T12:30:00Z").as_deref(), Some("2026-11-30T08:00:00+00:00"));
    let later = accepted("windows: [{days: [mon], from: \"13:00\", to: \"15:00\", zone: UTC}]\n");
    let both = Policies::new(vec![accepted(two), later]);
    assert_eq!(next(&both, "2026-11-23T12:30:00Z").as_deref(), Some("2026-11-23T13:00:00+00:00"));
    assert_eq!(next(&both, "2026-11-23T13:59:00Z"), None);
    // A run that no rule is about may go on at any time.
    let staging = policies("windows: [{match: {labels: {env: staging}}, from: \"00:00\", to: \"00:01\", zone: UTC}]\n");
    assert_eq!(next(&staging, "2026-11-23T12:30:00Z"), None);
    // Windows that never meet.
    let never = Policies::new(vec![
        accepted("windows: [{days: [mon], from: \"13:00\", to: \"15:00\", zone: UTC}]\n"),
        accepted("windows: [{days: [tue], from: \"13:00\", to: \"15:00\", zone: UTC}]\n"),
    ]);
    assert_eq!(next(&never, "2026-11-23T12:30:00Z").as_deref(), Some("never"));
}

#[test]
fn a_freeze_forbids_from_its_first_second_to_before_its_last_and_joins_the_next() {
    let rules = "freezes:
- {from: 2026-12-20T00:00:00+01:00, to: 2026-12-27T00:00:00+01:00, reason: Holidays}
- {from: 2026-12-26T00:00:00Z, to: 2027-01-04T00:00:00Z, reason: Year's end}
- {match: {labels: {env: staging}}, from: 2026-01-01T00:00:00Z, to: 2028-01-01T00:00:00Z, reason: Not ours}
";
    let one = policies(rules);
    assert_eq!(next(&one, "2026-12-19T22:59:59Z"), None);
    assert_eq!(next(&one, "2026-12-19T23:00:00Z").as_deref(), Some("frozen until 2027-01-04T00:00:00+00:00"));
    assert_eq!(next(&one, "2027-01-03T23:59:59Z").as_deref(), Some("frozen until 2027-01-04T00:00:00+00:00"));
    assert_eq!(next(&one, "2027-01-04T00:00:00Z"), None);
    let WindowState::Frozen { why, .. } = window(&one, "2026-12-21T00:00:00Z") else { panic!("open") };
    assert_eq!(why, "there is a freeze until 2026-12-26 23:00:00 UTC: Holidays (/etc/interlock/policy.yaml line 10)");
    // A freeze of any policy counts, and the next opening is after it.
    let daily = accepted("windows: [{from: \"08:00\", to: \"09:00\", zone: UTC}]\n");
    let both = Policies::new(vec![daily, accepted(rules)]);
    assert_eq!(next(&both, "2026-12-19T10:00:00Z").as_deref(), Some("2027-01-04T08:00:00+00:00"));
}

#[test]
fn p06_an_approval_of_all_by_real_keys_counts_persons_under_each_policy() {
    let keys = Keys::new();
    for name in ["amy", "amy2", "bea", "cy"] {
        keys.make(name, "ed25519", "");
    }
    let line = |person: &str, key: &str| format!("{person} {}\n", keys.public(key));
    let signers = line(AMY, "amy") + &line(AMY, "amy2") + &line(BEA, "bea") + &line(CY, "cy");
    let policy = |signers: &str| {
        read_with(&format!("{HEAD}approvals: [{{need: all, of: core}}]\n"), signers)
            .expect("the policy is right")
            .policy
    };
    // The second policy knows another key of bea's, so what she signed counts under the first alone.
    let policies = Policies::new(vec![
        policy(&signers),
        policy(&signers.replace(&keys.public("bea"), &{
            keys.make("bea2", "ed25519", "");
            keys.public("bea2")
        })),
    ]);
    let plan = b"interlock_plan: 1\n";
    let digest = Digest::of(plan);
    let cy = operator(&policies, "cy");
    let needed = about(&[], |subject| policies.approvals_needed(subject, &cy)).unwrap();
    let mut counted = Vec::new();
    let mut verdicts = |key: &str| {
        let signature = keys.sign(key, Namespace::Plan.as_str(), plan);
        let found = policies.check(&keygen(), plan, &signature, Namespace::Plan, time("2026-11-22T12:00:00Z"));
        counted.extend(found.into_iter().flatten());
        needed
            .iter()
            .map(|requirement| matches!(quorum(requirement, &digest, &counted), Quorum::Met(_)))
            .collect::<Vec<_>>()
    };
    assert_eq!(verdicts("amy"), [false, false]);
    assert_eq!(verdicts("amy2"), [false, false]);
    assert_eq!(verdicts("cy"), [false, false]);
    assert_eq!(verdicts("bea"), [true, false]);
    assert_eq!(verdicts("bea2"), [true, true]);
}

#[test]
fn p06_the_glass_is_broken_by_those_it_is_for_and_only_where_every_policy_that_asks_has_a_rule() {
    let asks = "approvals: [{need: all, of: core}]\n";
    let rule = "break_glass: [{match: {labels: {env: production}}, who: core, tell: core, by: [/bin/page, a], review_within: 2d}]\n";
    let one = policies(&format!("{asks}{rule}"));
    let now = time("2026-11-27T03:00:00Z");
    let ask = |policies: &Policies, user: &str, labels: &[(&str, &str)]| {
        let operator = operator(policies, user);
        about(labels, |subject| {
            let broken = policies.break_glass(subject, &operator, now)?;
            Ok::<_, String>(broken.iter().map(|one| (one.rule.by.join(" "), one.reviewers.clone())).collect::<Vec<_>>())
        })
    };
    let production = [("env", "production")];
    assert_eq!(ask(&one, "amy", &production).unwrap(), [("/bin/page a".to_owned(), persons(&[BEA, CY]))]);
    let why = |policies: &Policies, user, labels: &[(&str, &str)]| ask(policies, user, labels).unwrap_err();
    assert_eq!(why(&one, "amy", &[]), "/etc/interlock/policy.yaml has no rule to break the glass for `restart`");
    // One that asks for nothing stands in nobody's way.
    let both = Policies::new(vec![accepted(&format!("{asks}{rule}")), accepted("")]);
    assert_eq!(ask(&both, "amy", &production).unwrap().len(), 1);
    for also in [asks, "freezes: [{from: 2026-11-27T00:00:00Z, to: 2026-11-28T00:00:00Z, reason: no}]\n"] {
        let both = Policies::new(vec![accepted(&format!("{asks}{rule}")), accepted(also)]);
        assert!(why(&both, "amy", &production).contains("has no rule"));
    }
    let ops = policies(&format!("{asks}{}", rule.replace("who: core", "who: ops")));
    assert_eq!(
        why(&ops, "amy", &production),
        "only who is in `ops` may break the glass (/etc/interlock/policy.yaml line 10)"
    );
    assert!(why(&Policies::default(), "amy", &production).contains("no policy in force"));
}
