//! How bans grow and are forgotten, to the millisecond.

use super::*;
use portcullis_sdk::SettingValue::{self, Integer, Number};
use portcullis_sdk::testing::{self, attempt, defaults, settings, try_settings};
use proptest::prelude::*;

const SOURCE: &str = "203.0.113.7";

/// One failure bans: 10 s, 20 s, 40 s, 50 s; forgotten by the minute.
fn quick() -> Settings {
    settings(&[
        ("max_failed_login", Integer(1)),
        ("first_ban_time", Number(10.0)),
        ("longest_ban_time", Number(50.0)),
        ("forget_after", Number(60.0)),
    ])
}

fn banned_for(verdict: &Verdict) -> Option<u64> {
    verdict.order().map(|order| order.duration.as_secs())
}

fn errors(values: &[(&str, SettingValue)]) -> Vec<String> {
    let errors = try_settings::<Settings>(values).unwrap_err();
    errors.into_iter().map(|error| format!("{}: {}", error.name, error.message)).collect()
}

#[test]
fn each_ban_is_twice_as_long_as_the_one_before_up_to_the_longest() {
    let mut host = testing::ban(judge, quick());
    let mut at = 0;
    for expected in [10, 20, 40, 50, 50] {
        let verdict = host.judge(attempt(SOURCE).failed().at_secs(at));
        assert_eq!(banned_for(&verdict), Some(expected));
        at += expected;
    }
}

#[test]
fn by_default_five_failures_in_a_row_ban_and_a_success_sets_the_count_back() {
    let mut host = testing::ban(judge, defaults());
    for _ in 0..4 {
        assert!(host.judge(attempt(SOURCE).failed()).is_pass());
    }
    assert!(host.judge(attempt(SOURCE).succeeded()).is_pass());
    assert_eq!(host.state(SOURCE), None);
    for _ in 0..4 {
        assert!(host.judge(attempt(SOURCE).failed()).is_pass());
    }
    let verdict = host.judge(attempt(SOURCE).failed());
    let order = verdict.order().unwrap();
    assert_eq!(order.duration, Duration::from_secs(600));
    assert_eq!(order.reason.text, "Maximum of 5 login attempts reached, step 1.");
}

#[test]
fn one_ban_is_forgotten_at_exactly_the_end_of_the_time_and_none_before() {
    for (after_end_ms, expected) in [(59_999, 40), (60_000, 20), (119_999, 20), (120_000, 10)] {
        let mut host = testing::ban(judge, quick());
        assert_eq!(banned_for(&host.judge(attempt(SOURCE).at_ms(0))), Some(10));
        assert_eq!(banned_for(&host.judge(attempt(SOURCE).at_ms(10_000))), Some(20));
        let verdict = host.judge(attempt(SOURCE).at_ms(30_000 + after_end_ms));
        assert_eq!(banned_for(&verdict), Some(expected), "{after_end_ms}");
    }
}

#[test]
fn once_all_is_forgotten_the_host_keeps_nothing() {
    let mut host = testing::ban(judge, quick());
    let verdict = host.judge(attempt(SOURCE).at_ms(0));
    assert_eq!(verdict.kept_for(), Some(Duration::from_secs(10 + 60)));
    assert!(host.judge(attempt(SOURCE).succeeded().at_secs(70)).is_pass());
    assert_eq!(host.state(SOURCE), None);
}

#[test]
fn failures_below_the_limit_and_successes_neither_hold_up_nor_hasten_the_forgetting() {
    let two = Settings { max_failed_login: 2, ..quick() };
    for (at, expected) in [(89, 40), (90, 20)] {
        let mut host = testing::ban(judge, two.clone());
        for secs in [0, 0, 10, 10] {
            let _ = host.judge(attempt(SOURCE).at_secs(secs));
        }
        for secs in 30..80 {
            let event = attempt(SOURCE).at_secs(secs);
            assert!(host.judge(if secs % 2 == 0 { event.failed() } else { event.succeeded() }).is_pass());
        }
        assert!(host.judge(attempt(SOURCE).at_secs(at)).is_pass());
        assert_eq!(banned_for(&host.judge(attempt(SOURCE).at_secs(at))), Some(expected));
    }
}

#[test]
fn a_burst_at_one_instant_is_one_step() {
    let mut host = testing::ban(judge, quick());
    for _ in 0..4 {
        assert_eq!(banned_for(&host.judge(attempt(SOURCE).at_ms(5))), Some(10));
    }
    assert_eq!(banned_for(&host.judge(attempt(SOURCE).at_ms(10_005))), Some(20));
}

#[test]
fn no_more_is_remembered_than_it_takes_to_reach_the_longest() {
    let mut host = testing::ban(judge, quick());
    let mut at = 0;
    for _ in 0..100 {
        at += banned_for(&host.judge(attempt(SOURCE).at_secs(at))).unwrap();
    }
    // 10, 20, 40, 50: four are remembered, and after four minutes none is.
    assert_eq!(banned_for(&host.judge(attempt(SOURCE).at_secs(at + 4 * 60))), Some(10));
}

#[test]
fn zero_of_either_setting_turns_it_off() {
    for (name, value) in [("max_failed_login", Integer(0)), ("first_ban_time", Number(0.0))] {
        let mut host = testing::ban(judge, settings(&[(name, value)]));
        for _ in 0..10 {
            assert!(host.judge(attempt(SOURCE).failed()).is_pass());
        }
        assert_eq!(host.state(SOURCE), None);
    }
}

#[test]
fn wrong_settings_are_refused_with_what_was_found_and_expected() {
    assert_eq!(errors(&[("factor", Number(1.0))]), ["factor: found 1, expected a number from 1.1 to 100"]);
    assert_eq!(errors(&[("forget_after", Number(0.0))]), ["forget_after: found 0, expected more than 0 seconds"]);
    assert_eq!(
        errors(&[("longest_ban_time", Number(60.0))]),
        ["longest_ban_time: found 60s, expected at least first_ban_time, which is 600s"]
    );
}

#[test]
fn the_steepest_and_the_flattest_settings_end() {
    for (first, factor) in [(0.000_001, 1.1), (1e12, 100.0)] {
        let extreme: Settings = settings(&[
            ("first_ban_time", Number(first)),
            ("factor", Number(factor)),
            ("longest_ban_time", Number(9e12)),
        ]);
        let (steps, time) = extreme.ban_after(u32::MAX);
        assert!(steps < 1000, "{steps}");
        assert_eq!(time, extreme.longest_ban_time);
    }
}

proptest! {
    /// The reference keeps the list of bans and takes one away per whole time.
    #[test]
    fn it_bans_as_a_list_of_bans_does(
        steps in prop::collection::vec((0_u64..200, prop::bool::weighted(0.2)), 0..80),
        limit in 1_u32..4,
    ) {
        let mut host = testing::ban(judge, Settings { max_failed_login: limit, ..quick() });
        let (mut now, mut failures, mut bans, mut end) = (0, 0, 0, 0);
        for (passed, success) in steps {
            // Nobody attempts anything while banned.
            now = (now + passed).max(end);
            let event = attempt(SOURCE).at_secs(now);
            let verdict = host.judge(if success { event.succeeded() } else { event.failed() });
            failures = if success { 0 } else { failures + 1 };
            let mut expected = None;
            if failures == limit {
                let remembered = (0..(now - end) / 60).fold(bans, |left: u64, _| left.saturating_sub(1));
                let time = [10, 20, 40, 50][usize::try_from(remembered.min(3)).unwrap()];
                (failures, bans, end, expected) = (0, (remembered + 1).min(4), now + time, Some(time));
            }
            prop_assert_eq!(banned_for(&verdict), expected);
        }
    }

    #[test]
    fn no_state_that_a_host_could_hand_over_stops_it(
        failures: u32, bans: u32, ban_end_ms: u64, at_ms in 0_u64..1 << 53, success: bool,
    ) {
        let mut history = Some(History { failures, bans, ban_end_ms });
        let event = attempt(SOURCE).at_ms(at_ms);
        let event: Attempt = if success { event.succeeded() } else { event.failed() }.into();
        let verdict = judge(&defaults(), &event, &mut history);
        let longest = Duration::from_secs(604_800);
        prop_assert!(verdict.order().is_none_or(|order| order.duration <= longest));
    }
}
