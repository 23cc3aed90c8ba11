//! What counts as the same, and what doesn't.

use super::*;
use portcullis_sdk::SettingValue::{Integer, Number};
use portcullis_sdk::testing::{self, AttemptBuilder, attempt, defaults, settings, try_settings};
use proptest::prelude::*;

const SOURCE: &str = "203.0.113.7";

fn wrong(fingerprint: u32) -> AttemptBuilder {
    attempt(SOURCE).id("abc").failed().fingerprint(fingerprint)
}

#[test]
fn the_same_wrong_secret_counts_once_however_often_it_comes() {
    let mut host = testing::ban(judge, defaults());
    for at in 0..1000 {
        assert!(host.judge(wrong(1).at_secs(at)).is_pass());
    }
    for new in [2, 3, 4] {
        assert!(host.judge(wrong(new)).is_pass());
        assert!(host.judge(wrong(1)).is_pass());
    }
    let verdict = host.judge(wrong(5));
    let order = verdict.order().unwrap();
    assert_eq!(order.duration, Duration::from_secs(3600));
    assert_eq!(order.reason.text, "Maximum of 5 different login attempts reached.");
    assert_eq!(host.state(SOURCE), None);
}

#[test]
fn failures_without_a_fingerprint_always_count() {
    let mut host = testing::ban(judge, defaults());
    for _ in 0..2 {
        assert!(host.judge(attempt(SOURCE).failed()).is_pass());
        assert!(host.judge(wrong(1)).is_pass());
    }
    assert!(host.judge(attempt(SOURCE).failed()).is_pass());
    assert!(!host.judge(attempt(SOURCE).failed()).is_pass());
}

#[test]
fn a_success_sets_the_count_back() {
    let mut host = testing::ban(judge, defaults());
    for new in 1..5 {
        assert!(host.judge(wrong(new)).is_pass());
    }
    assert!(host.judge(attempt(SOURCE).succeeded()).is_pass());
    assert_eq!(host.state(SOURCE), None);
    for new in 1..5 {
        assert!(host.judge(wrong(new)).is_pass());
    }
    assert!(!host.judge(wrong(5)).is_pass());
}

#[test]
fn zero_of_either_setting_turns_it_off() {
    for (name, value) in [("max_failed_login", Integer(0)), ("ban_time", Number(0.0))] {
        let mut host = testing::ban(judge, settings(&[(name, value)]));
        for new in 0..10 {
            assert!(host.judge(wrong(new)).is_pass());
        }
        assert_eq!(host.state(SOURCE), None);
    }
}

#[test]
fn a_limit_beyond_the_bound_of_the_state_is_refused_and_the_largest_fits() {
    let errors = try_settings::<Settings>(&[("max_failed_login", Integer(201))]).unwrap_err();
    assert_eq!(errors[0].message, "found 201, expected at most 200");
    let mut host = testing::ban(judge, settings(&[("max_failed_login", Integer(200))]));
    for new in 0..199 {
        assert!(host.judge(wrong(new)).is_pass());
    }
    assert!(host.state(SOURCE).unwrap().len() <= 1024);
    assert!(!host.judge(wrong(199)).is_pass());
}

proptest! {
    #[test]
    fn it_bans_as_a_set_of_secrets_does(
        history in prop::collection::vec((prop::option::of(0_u32..6), prop::bool::weighted(0.1)), 0..120),
        limit in 1_usize..7,
    ) {
        let mut host =
            testing::ban(judge, settings(&[("max_failed_login", Integer(i64::try_from(limit).unwrap()))]));
        let (mut seen, mut unmarked) = (std::collections::BTreeSet::new(), 0);
        for (fingerprint, success) in history {
            let event = match fingerprint {
                _ if success => attempt(SOURCE).succeeded(),
                Some(fingerprint) => wrong(fingerprint),
                None => attempt(SOURCE).failed(),
            };
            match fingerprint {
                _ if success => (seen, unmarked) = Default::default(),
                Some(fingerprint) => {
                    seen.insert(fingerprint);
                }
                None => unmarked += 1,
            }
            let banned = seen.len() + unmarked >= limit;
            if banned {
                (seen, unmarked) = Default::default();
            }
            prop_assert_eq!(!host.judge(event).is_pass(), banned);
        }
    }

    #[test]
    fn no_state_that_a_host_could_hand_over_stops_it(
        state in prop::collection::vec(any::<u8>(), 0..1024), fingerprint: Option<u32>,
    ) {
        let mut host = testing::ban(judge, defaults());
        host.put_state(SOURCE, &state);
        let event = fingerprint.map_or(attempt(SOURCE).failed(), wrong);
        prop_assert!(host.try_judge(event).is_ok());
    }
}
