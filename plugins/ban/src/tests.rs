//! Rule 31: failures in a row, however far apart; a success resets; at the limit the
//! count starts again.

use super::*;
use portcullis_sdk::SettingValue::{Integer, Number};
use portcullis_sdk::testing::{self, attempt, defaults, settings};
use proptest::prelude::*;

const SOURCE: &str = "203.0.113.7";

#[test]
fn the_fifth_failure_bans_for_an_hour_and_the_count_starts_again() {
    let mut host = testing::ban(judge, defaults());
    for at in [0, 1, 100_000, 200_000] {
        assert!(host.judge(attempt(SOURCE).failed().at_secs(at)).is_pass());
    }
    let verdict = host.judge(attempt(SOURCE).failed().at_secs(300_000));
    let order = verdict.order().unwrap();
    assert_eq!(order.duration, Duration::from_secs(3600));
    assert_eq!(order.prefix_length, None);
    assert_eq!(order.reason.text, "Maximum of 5 login attempts reached.");
    assert_eq!(host.state(SOURCE), None);
    assert!(host.judge(attempt(SOURCE).failed().at_secs(300_001)).is_pass());
}

#[test]
fn a_success_sets_the_count_back() {
    let mut host = testing::ban(judge, defaults());
    for _ in 0..4 {
        assert!(host.judge(attempt(SOURCE).failed()).is_pass());
    }
    assert!(host.judge(attempt(SOURCE).succeeded()).is_pass());
    assert_eq!(host.state(SOURCE), None);
    assert!(host.judge(attempt(SOURCE).failed()).is_pass());
}

#[test]
fn the_reason_names_the_limit_that_is_set() {
    let mut host = testing::ban(judge, settings(&[("max_failed_login", Integer(1))]));
    let verdict = host.judge(attempt(SOURCE).failed());
    assert_eq!(verdict.order().unwrap().reason.text, "Maximum of 1 login attempts reached.");
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
fn a_count_as_high_as_it_gets_bans_instead_of_overflowing() {
    let mut host = testing::ban(judge, defaults());
    host.put_state(SOURCE, &u32::MAX.to_le_bytes());
    assert!(!host.judge(attempt(SOURCE).failed()).is_pass());
}

proptest! {
    #[test]
    fn it_bans_as_a_plain_count_does(
        history in prop::collection::vec((0_usize..3, prop::bool::weighted(0.2)), 0..120),
        limit in 1_u32..7,
    ) {
        let sources = ["203.0.113.7", "203.0.113.8", "2001:db8::1"];
        let mut counts = [0; 3];
        let mut host =
            testing::ban(judge, settings(&[("max_failed_login", Integer(limit.into()))]));
        for (who, success) in history {
            counts[who] = if success { 0 } else { counts[who] + 1 };
            let banned = counts[who] == limit;
            if banned {
                counts[who] = 0;
            }
            let event = attempt(sources[who]);
            let event = if success { event.succeeded() } else { event.failed() };
            prop_assert_eq!(!host.judge(event).is_pass(), banned);
        }
    }

    #[test]
    fn no_state_that_a_host_could_hand_over_stops_it(
        state in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut host = testing::ban(judge, defaults());
        host.put_state(SOURCE, &state);
        prop_assert!(host.try_judge(attempt(SOURCE).failed()).is_ok());
    }
}
