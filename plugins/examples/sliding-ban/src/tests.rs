//! The window, its ends, and what doesn't touch it.

use super::*;
use portcullis_sdk::SettingValue::{Integer, Number};
use portcullis_sdk::testing::{self, attempt, defaults, settings, try_settings};
use proptest::prelude::*;

const SOURCE: &str = "203.0.113.7";

#[test]
fn five_failures_in_ten_minutes_ban_for_an_hour_by_default() {
    let mut host = testing::ban(judge, defaults());
    for at in [0, 100, 200, 300] {
        assert!(host.judge(attempt(SOURCE).failed().at_secs(at)).is_pass());
    }
    let verdict = host.judge(attempt(SOURCE).failed().at_secs(600));
    let order = verdict.order().unwrap();
    assert_eq!(order.duration, Duration::from_secs(3600));
    assert_eq!(order.reason.text, "5 failed logins within 600s.");
    assert_eq!(host.state(SOURCE), None);
}

#[test]
fn a_failure_at_exactly_the_end_of_the_window_counts_and_one_later_does_not() {
    let two: Settings = settings(&[("max_failed_login", Integer(2))]);
    for (at, bans) in [(600_007, true), (600_008, false)] {
        let mut host = testing::ban(judge, two.clone());
        assert!(host.judge(attempt(SOURCE).failed().at_ms(7)).is_pass());
        assert_eq!(!host.judge(attempt(SOURCE).failed().at_ms(at)).is_pass(), bans, "{at}");
    }
}

#[test]
fn a_success_neither_resets_nor_keeps_alive() {
    let mut host = testing::ban(judge, defaults());
    for at in [0, 2, 4, 6] {
        assert!(host.judge(attempt(SOURCE).failed().at_secs(at)).is_pass());
        let before = host.state(SOURCE).map(<[u8]>::to_owned);
        let verdict = host.judge(attempt(SOURCE).succeeded().at_secs(at + 1));
        assert!(verdict.is_pass() && verdict.kept_for().is_none());
        assert_eq!(host.state(SOURCE).map(<[u8]>::to_owned), before);
    }
    assert!(!host.judge(attempt(SOURCE).failed().at_secs(8)).is_pass());
}

#[test]
fn zero_of_either_setting_turns_it_off() {
    for (name, value) in [("max_failed_login", Integer(0)), ("ban_time", Number(0.0))] {
        let mut host = testing::ban(judge, settings(&[(name, value)]));
        for _ in 0..10 {
            assert!(host.judge(attempt(SOURCE).failed()).is_pass());
        }
        assert_eq!(host.state(SOURCE), None);
    }
}

#[test]
fn a_limit_beyond_the_bound_of_the_state_is_refused_and_the_largest_fits() {
    let errors = try_settings::<Settings>(&[("max_failed_login", Integer(101))]).unwrap_err();
    assert_eq!(errors[0].message, "found 101, expected at most 100");
    let mut host = testing::ban(judge, settings(&[("max_failed_login", Integer(100))]));
    for _ in 0..99 {
        assert!(host.judge(attempt(SOURCE).failed()).is_pass());
    }
    assert!(host.state(SOURCE).unwrap().len() <= 1024);
    assert!(!host.judge(attempt(SOURCE).failed()).is_pass());
}

proptest! {
    /// The reference remembers every failure since the last ban.
    #[test]
    fn it_bans_as_a_naive_window_does(
        steps in prop::collection::vec((0_u64..30, prop::bool::weighted(0.3)), 1..200),
        limit in 1_usize..6,
        findtime_ms in 0_u32..60,
    ) {
        let mut host = testing::ban(judge, settings(&[
            ("max_failed_login", Integer(i64::try_from(limit).unwrap())),
            ("findtime", Number(f64::from(findtime_ms) / 1000.0)),
        ]));
        let mut all: Vec<u64> = Vec::new();
        let mut now = 0;
        for (passed, success) in steps {
            now += passed;
            let event = attempt(SOURCE).at_ms(now);
            let verdict = host.judge(if success { event.succeeded() } else { event.failed() });
            let mut banned = false;
            if !success {
                all.push(now);
                banned = all.iter().filter(|at| now - **at <= u64::from(findtime_ms)).count() >= limit;
                if banned {
                    all.clear();
                }
            }
            prop_assert_eq!(!verdict.is_pass(), banned);
        }
    }

    #[test]
    fn no_state_that_a_host_could_hand_over_stops_it(
        state in prop::collection::vec(any::<u8>(), 0..1024),
    ) {
        let mut host = testing::ban(judge, defaults());
        host.put_state(SOURCE, &state);
        prop_assert!(host.try_judge(attempt(SOURCE).failed()).is_ok());
    }
}
