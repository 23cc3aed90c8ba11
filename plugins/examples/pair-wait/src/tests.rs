//! How waits grow, and when they start anew.

use super::*;
use portcullis_sdk::SettingValue::{self, Integer, Number};
use portcullis_sdk::testing::{self, attempt, defaults, settings, try_settings};
use proptest::prelude::*;

const SOURCE: &str = "203.0.113.7";

fn waits_for(verdict: &Verdict) -> Option<u64> {
    verdict.order().map(|order| order.duration.as_secs())
}

fn errors(name: &str, value: SettingValue) -> Vec<String> {
    let errors = try_settings::<Settings>(&[(name, value)]).unwrap_err();
    errors.into_iter().map(|error| format!("{}: {}", error.name, error.message)).collect()
}

#[test]
fn each_wait_is_twice_as_long_as_the_one_before_up_to_the_longest() {
    let mut host = testing::wait(judge, defaults());
    let mut at = 0;
    for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        let verdict = host.judge(attempt(SOURCE).id("abc").failed().at_secs(at));
        assert_eq!(waits_for(&verdict), Some(expected));
        at += expected;
    }
}

#[test]
fn a_success_starts_anew() {
    let mut host = testing::wait(judge, defaults());
    for (at, expected) in [(0, 1), (1, 2)] {
        assert_eq!(waits_for(&host.judge(attempt(SOURCE).id("abc").failed().at_secs(at))), Some(expected));
    }
    assert!(host.judge(attempt(SOURCE).id("abc").succeeded().at_secs(3)).is_pass());
    assert_eq!(host.state("abc"), None);
    assert_eq!(waits_for(&host.judge(attempt(SOURCE).id("abc").failed().at_secs(4))), Some(1));
}

#[test]
fn a_failure_at_exactly_the_end_of_the_time_is_a_further_one_and_one_later_the_first() {
    for (at, expected) in [(1_000 + 3_600_000, 2), (1_000 + 3_600_001, 1)] {
        let mut host = testing::wait(judge, defaults());
        assert_eq!(waits_for(&host.judge(attempt(SOURCE).id("abc").failed().at_ms(0))), Some(1));
        assert_eq!(waits_for(&host.judge(attempt(SOURCE).id("abc").failed().at_ms(at))), Some(expected));
    }
}

#[test]
fn fractions_of_a_second_count() {
    let mut host = testing::wait(judge, settings(&[("first_wait", Number(0.5)), ("factor", Number(1.5))]));
    for (at, expected_ms) in [(0, 500), (1, 750), (2, 1125)] {
        let verdict = host.judge(attempt(SOURCE).id("abc").failed().at_secs(at));
        assert_eq!(verdict.order().unwrap().duration, Duration::from_millis(expected_ms));
    }
}

#[test]
fn zero_turns_it_off() {
    let mut host = testing::wait(judge, settings(&[("first_wait", Number(0.0))]));
    assert!(host.judge(attempt(SOURCE).id("abc").failed()).is_pass());
    assert_eq!(host.state("abc"), None);
}

#[test]
fn wrong_settings_are_refused_with_what_was_found_and_expected() {
    assert_eq!(errors("factor", Number(0.5)), ["factor: found 0.5, expected a number from 1.1 to 100"]);
    assert_eq!(
        errors("longest_wait", Number(0.5)),
        ["longest_wait: found 0.5s, expected at least first_wait, which is 1s"]
    );
    assert_eq!(errors("forget_after", Integer(1)).len(), 1);
}

proptest! {
    #[test]
    fn it_waits_as_a_plain_count_does(
        history in prop::collection::vec((0_u64..100, prop::bool::weighted(0.2)), 0..60),
    ) {
        let set: Settings = settings(&[("longest_wait", Number(10.0)), ("forget_after", Number(50.0))]);
        let mut host = testing::wait(judge, set);
        let (mut now, mut end, mut count) = (0, 0, 0);
        for (passed, success) in history {
            now = (now + passed).max(end);
            if success || now - end > 50 {
                count = 0;
            }
            let event = attempt(SOURCE).id("abc").at_secs(now);
            let verdict = host.judge(if success { event.succeeded() } else { event.failed() });
            let expected = (!success).then(|| [1, 2, 4, 8, 10][count.min(4)]);
            prop_assert_eq!(waits_for(&verdict), expected);
            if let Some(time) = expected {
                (count, end) = (count + 1, now + time);
            }
        }
    }

    #[test]
    fn no_state_that_a_host_could_hand_over_stops_it(
        count: u32, end_ms: u64, at_ms in 0_u64..1 << 53,
    ) {
        let mut waits = Some(Waits { count, end_ms });
        let verdict = judge(&defaults(), &attempt(SOURCE).at_ms(at_ms).into(), &mut waits);
        prop_assert!(verdict.order().is_some_and(|order| order.duration <= Duration::from_secs(300)));
    }
}
