//! How many ids, in which window, and what a success is good for.

use super::*;
use portcullis_sdk::SettingValue::{Integer, Number};
use portcullis_sdk::testing::{self, attempt, defaults, settings, try_settings};
use proptest::prelude::*;

const SOURCE: &str = "203.0.113.7";

#[test]
fn five_ids_within_an_hour_ban_for_a_day_by_default() {
    let mut host = testing::ban(judge, defaults());
    for (at, id) in (0..).zip(["a", "b", "c", "d"]) {
        assert!(host.judge(attempt(SOURCE).id(id).failed().at_secs(at)).is_pass());
    }
    let verdict = host.judge(attempt(SOURCE).id("e").failed().at_secs(3600));
    let order = verdict.order().unwrap();
    assert_eq!(order.duration, Duration::from_secs(86_400));
    assert_eq!(order.reason.text, "Failed with 5 ids within 3600s.");
    assert_eq!(host.state(SOURCE), None);
}

#[test]
fn the_same_id_again_and_again_is_one() {
    let mut host = testing::ban(judge, defaults());
    for at in 0..100 {
        assert!(host.judge(attempt(SOURCE).id("abc").failed().at_secs(at)).is_pass());
    }
    assert_eq!(host.state(SOURCE).unwrap().len(), 4 + 16);
}

#[test]
fn an_id_at_exactly_the_end_of_the_window_counts_and_one_later_does_not() {
    let two: Settings = settings(&[("max_ids", Integer(2))]);
    for (at, bans) in [(3_600_007, true), (3_600_008, false)] {
        let mut host = testing::ban(judge, two.clone());
        assert!(host.judge(attempt(SOURCE).id("a").failed().at_ms(7)).is_pass());
        assert_eq!(!host.judge(attempt(SOURCE).id("b").failed().at_ms(at)).is_pass(), bans, "{at}");
    }
}

#[test]
fn a_success_takes_its_own_id_off_and_no_other() {
    let three: Settings = settings(&[("max_ids", Integer(3))]);
    let mut host = testing::ban(judge, three);
    assert!(host.judge(attempt(SOURCE).id("a").failed()).is_pass());
    assert!(host.judge(attempt(SOURCE).id("b").failed()).is_pass());
    for _ in 0..5 {
        assert!(host.judge(attempt(SOURCE).id("mine").succeeded()).is_pass());
    }
    assert!(host.judge(attempt(SOURCE).id("a").succeeded()).is_pass());
    assert!(host.judge(attempt(SOURCE).id("c").failed()).is_pass());
    assert!(!host.judge(attempt(SOURCE).id("d").failed()).is_pass());
}

#[test]
fn what_a_success_leaves_lasts_as_long_as_it_did() {
    let mut host = testing::ban(judge, defaults());
    assert!(host.judge(attempt(SOURCE).id("a").failed().at_secs(0)).is_pass());
    assert!(host.judge(attempt(SOURCE).id("b").failed().at_secs(10)).is_pass());
    let verdict = host.judge(attempt(SOURCE).id("b").succeeded().at_secs(20));
    assert_eq!(verdict.kept_for(), Some(Duration::from_millis(3_580_001)));
    assert!(host.judge(attempt(SOURCE).id("a").succeeded().at_secs(30)).is_pass());
    assert_eq!(host.state(SOURCE), None);
}

#[test]
fn failures_without_an_id_are_not_looked_at() {
    let mut host = testing::ban(judge, defaults());
    for _ in 0..10 {
        assert!(host.judge(attempt(SOURCE).failed()).is_pass());
    }
    assert_eq!(host.state(SOURCE), None);
}

#[test]
fn zero_of_either_setting_turns_it_off() {
    for (name, value) in [("max_ids", Integer(0)), ("ban_time", Number(0.0))] {
        let mut host = testing::ban(judge, settings(&[(name, value)]));
        for number in 0..10 {
            assert!(host.judge(attempt(SOURCE).id(&number.to_string()).failed()).is_pass());
        }
        assert_eq!(host.state(SOURCE), None);
    }
}

#[test]
fn a_limit_beyond_the_bound_of_the_state_is_refused_and_the_largest_fits() {
    let errors = try_settings::<Settings>(&[("max_ids", Integer(61))]).unwrap_err();
    assert_eq!(errors[0].message, "found 61, expected at most 60");
    let mut host = testing::ban(judge, settings(&[("max_ids", Integer(60))]));
    for number in 0..59 {
        assert!(host.judge(attempt(SOURCE).id(&number.to_string()).failed()).is_pass());
    }
    assert!(host.state(SOURCE).unwrap().len() <= 1024);
    assert!(!host.judge(attempt(SOURCE).id("one more").failed()).is_pass());
}

#[test]
fn the_hash_is_fnv_1a() {
    assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
}

proptest! {
    /// The reference remembers every failure and looks through all of them.
    #[test]
    fn it_bans_as_a_naive_count_of_different_ids_does(
        steps in prop::collection::vec((0_u64..30, 0_usize..6, prop::bool::weighted(0.2)), 1..200),
        limit in 1_usize..5,
        findtime_ms in 0_u32..100,
    ) {
        let ids = ["a", "b", "c", "d", "e", "f"];
        let mut host = testing::ban(judge, settings(&[
            ("max_ids", Integer(i64::try_from(limit).unwrap())),
            ("findtime", Number(f64::from(findtime_ms) / 1000.0)),
        ]));
        let mut all: Vec<(u64, usize)> = Vec::new();
        let mut now = 0;
        for (passed, who, success) in steps {
            now += passed;
            let event = attempt(SOURCE).id(ids[who]).at_ms(now);
            let verdict = host.judge(if success { event.succeeded() } else { event.failed() });
            let mut banned = false;
            if success {
                all.retain(|(_, other)| *other != who);
            } else {
                all.push((now, who));
                let within = |id: usize| {
                    all.iter().any(|(at, other)| *other == id && now - *at <= u64::from(findtime_ms))
                };
                banned = (0..ids.len()).filter(|id| within(*id)).count() >= limit;
                if banned {
                    all.clear();
                }
            }
            prop_assert_eq!(!verdict.is_pass(), banned);
        }
    }

    #[test]
    fn no_state_that_a_host_could_hand_over_stops_it(
        state in prop::collection::vec(any::<u8>(), 0..1024), success: bool,
    ) {
        let mut host = testing::ban(judge, defaults());
        host.put_state(SOURCE, &state);
        let event = attempt(SOURCE).id("abc");
        let judged = host.try_judge(if success { event.succeeded() } else { event.failed() });
        prop_assert!(judged.is_ok());
    }
}
