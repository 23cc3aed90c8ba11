//! Who is banned, who is spared, and how long each is remembered.

use super::*;
use portcullis_sdk::SettingValue::{self, Integer, Number};
use portcullis_sdk::State as _;
use portcullis_sdk::testing::{AttemptBuilder, attempt, defaults, settings, try_settings};
use proptest::prelude::*;

const OWNER: &str = "198.51.100.1";

fn attacker(number: usize) -> AttemptBuilder {
    attempt(&format!("203.0.113.{number}")).id("abc").failed()
}

fn owner() -> AttemptBuilder {
    attempt(OWNER).id("abc")
}

fn three() -> Settings {
    settings(&[("max_sources", Integer(3))])
}

/// The state of one id; the SDK's test host goes by the source.
#[derive(Default)]
struct Subject(Option<Sources>);

impl Subject {
    fn judge(&mut self, settings: &Settings, attempt: impl Into<Attempt>) -> Verdict {
        judge(settings, &attempt.into(), &mut self.0)
    }
}

fn errors(values: &[(&str, SettingValue)]) -> Vec<String> {
    let errors = try_settings::<Settings>(values).unwrap_err();
    errors.into_iter().map(|error| format!("{}: {}", error.name, error.message)).collect()
}

#[test]
fn the_tenth_source_within_an_hour_is_banned_for_an_hour_and_so_are_those_after_it() {
    let mut abc = Subject::default();
    for number in 1..10 {
        assert!(abc.judge(&defaults(), attacker(number).at_secs(1)).is_pass());
    }
    for number in [10, 11, 1] {
        let verdict = abc.judge(&defaults(), attacker(number).at_secs(2));
        let order = verdict.order().unwrap();
        assert_eq!(order.duration, Duration::from_secs(3600));
        assert_eq!(order.prefix_length, Some(32));
        assert_eq!(order.reason.text, "10 sources failed for one id within 3600s.");
    }
}

#[test]
fn one_source_alone_is_another_policys_business() {
    let mut abc = Subject::default();
    for at in 0..100 {
        assert!(abc.judge(&three(), attacker(1).at_secs(at)).is_pass());
    }
}

#[test]
fn a_source_at_exactly_the_end_of_the_window_counts_and_one_later_does_not() {
    for (at, bans) in [(3_600_007, true), (3_600_008, false)] {
        let mut abc = Subject::default();
        for number in [1, 2] {
            assert!(abc.judge(&three(), attacker(number).at_ms(7)).is_pass());
        }
        assert_eq!(!abc.judge(&three(), attacker(3).at_ms(at)).is_pass(), bans, "{at}");
    }
}

#[test]
fn the_owner_is_spared_where_they_got_in_before_and_does_not_count() {
    let mut abc = Subject::default();
    assert!(abc.judge(&three(), owner().succeeded()).is_pass());
    for number in 1..9 {
        let banned = !abc.judge(&three(), attacker(number)).is_pass();
        assert_eq!(banned, number > 2);
        assert!(abc.judge(&three(), owner().failed()).is_pass());
    }
}

#[test]
fn who_gets_in_from_elsewhere_is_remembered_from_then_on() {
    let mut abc = Subject::default();
    assert!(abc.judge(&three(), owner().failed()).is_pass());
    assert!(abc.judge(&three(), owner().succeeded()).is_pass());
    assert!(abc.judge(&three(), attacker(1)).is_pass());
    // The owner's own failure was one of the three.
    assert!(!abc.judge(&three(), attacker(2)).is_pass());
    assert!(abc.judge(&three(), owner().failed()).is_pass());
}

#[test]
fn a_success_is_remembered_to_the_very_end_of_its_time() {
    const DAYS_30_MS: u64 = 30 * 86_400_000;
    for (at, spared) in [(DAYS_30_MS, true), (DAYS_30_MS + 1, false)] {
        let mut abc = Subject::default();
        let verdict = abc.judge(&three(), owner().succeeded().at_ms(0));
        assert_eq!(verdict.kept_for(), Some(Duration::from_millis(DAYS_30_MS + 1)));
        for number in [1, 2] {
            assert!(abc.judge(&three(), attacker(number).at_ms(DAYS_30_MS - 5)).is_pass());
        }
        assert_eq!(abc.judge(&three(), owner().failed().at_ms(at)).is_pass(), spared, "{at}");
    }
}

#[test]
fn where_nobody_is_to_be_remembered_nobody_is_spared() {
    let none: Settings = settings(&[("max_sources", Integer(1)), ("remember", Number(0.0))]);
    let mut abc = Subject::default();
    assert!(abc.judge(&none, owner().succeeded()).is_pass());
    assert_eq!(abc.0, None);
    assert!(!abc.judge(&none, owner().failed()).is_pass());
}

#[test]
fn strangers_can_not_push_the_owner_out() {
    let mut abc = Subject::default();
    assert!(abc.judge(&defaults(), owner().succeeded()).is_pass());
    for number in 1..250 {
        let _ = abc.judge(&defaults(), attacker(number));
    }
    assert!(abc.judge(&defaults(), owner().failed()).is_pass());
}

#[test]
fn a_network_counts_and_is_banned_and_spared_as_one() {
    let wide: Settings =
        settings(&[("max_sources", Integer(2)), ("ipv4_bits", Integer(24)), ("ipv6_bits", Integer(48))]);
    let mut abc = Subject::default();
    assert!(abc.judge(&wide, attempt("198.51.100.9").id("abc").succeeded()).is_pass());
    for number in 1..9 {
        assert!(abc.judge(&wide, attacker(number)).is_pass());
    }
    let verdict = abc.judge(&wide, attempt("2001:db8:1:2::3").id("abc").failed());
    assert_eq!(verdict.order().unwrap().prefix_length, Some(48));
    let verdict = abc.judge(&wide, attempt("192.0.2.1").id("abc").failed());
    assert_eq!(verdict.order().unwrap().prefix_length, Some(24));
    // The owner's own network: another address of it is the owner's as well.
    assert!(abc.judge(&wide, owner().failed()).is_pass());
}

#[test]
fn networks_are_told_apart_by_the_bits_that_are_set() {
    let number = |source: &str| defaults::<Settings>().network(source.parse().unwrap()).0;
    assert_ne!(number("203.0.113.1"), number("203.0.113.2"));
    assert_eq!(number("2001:db8::1"), number("2001:db8::ffff:1"));
    assert_ne!(number("2001:db8::1"), number("2001:db8:0:1::1"));
    let wide: Settings = settings(&[("ipv4_bits", Integer(16)), ("ipv6_bits", Integer(32))]);
    assert_eq!(wide.network([203, 0, 113, 1].into()), wide.network([203, 0, 0, 0].into()));
    assert_ne!(wide.network([203, 0, 113, 1].into()).0, wide.network([203, 1, 113, 1].into()).0);
}

#[test]
fn attempts_without_an_id_are_not_looked_at() {
    let mut none = Subject::default();
    for number in 1..9 {
        assert!(none.judge(&three(), attempt(&format!("203.0.113.{number}")).failed()).is_pass());
    }
    assert_eq!(none.0, None);
}

#[test]
fn a_state_of_another_id_is_none_of_this_one() {
    let mut source = Subject::default();
    for id in ["a", "b", "c", "d"] {
        assert!(source.judge(&three(), attempt(OWNER).id(id).failed()).is_pass());
    }
    assert_eq!(source.0.unwrap().failed.len(), 1);
}

#[test]
fn zero_of_either_setting_turns_it_off() {
    for (name, value) in [("max_sources", Integer(0)), ("ban_time", Number(0.0))] {
        let off: Settings = settings(&[(name, value)]);
        let mut abc = Subject::default();
        for number in 1..100 {
            assert!(abc.judge(&off, attacker(number)).is_pass());
        }
        assert_eq!(abc.0, None);
    }
}

#[test]
fn wrong_settings_are_refused_with_what_was_found_and_expected() {
    assert_eq!(errors(&[("max_sources", Integer(41))]), ["max_sources: found 41, expected at most 40"]);
    assert_eq!(errors(&[("ipv4_bits", Integer(8))]), ["ipv4_bits: found 8, expected 16 to 32"]);
    assert_eq!(errors(&[("ipv6_bits", Integer(128))]), ["ipv6_bits: found 128, expected 32 to 64"]);
}

#[test]
fn the_largest_state_fits_a_kibibyte() {
    let most: Settings = settings(&[("max_sources", Integer(40))]);
    let mut abc = Subject::default();
    for number in 1..100 {
        let _ = abc.judge(&most, attempt(&format!("192.0.2.{number}")).id("abc").succeeded());
        let _ = abc.judge(&most, attacker(number));
    }
    let mut bytes = Vec::new();
    abc.0.unwrap().encode(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 8 + 4 + 40 * 16 + 4 + 16 * 16);
}

proptest! {
    /// The reference remembers everything and looks through all of it.
    #[test]
    fn it_bans_as_a_naive_count_of_sources_does(
        steps in prop::collection::vec((0_u64..30, 0_usize..6, prop::bool::weighted(0.1)), 1..200),
        limit in 1_usize..5,
        findtime_ms in 0_u32..100,
        remember_ms in 1_u32..200,
    ) {
        let set: Settings = settings(&[
            ("max_sources", Integer(i64::try_from(limit).unwrap())),
            ("findtime", Number(f64::from(findtime_ms) / 1000.0)),
            ("remember", Number(f64::from(remember_ms) / 1000.0)),
        ]);
        let mut abc = Subject::default();
        let (mut failed, mut succeeded): (Vec<(u64, usize)>, [Option<u64>; 6]) = (Vec::new(), [None; 6]);
        let mut now = 0;
        for (passed, who, success) in steps {
            now += passed;
            let event = attacker(who).at_ms(now);
            let verdict = abc.judge(&set, if success { event.succeeded() } else { event.failed() });
            let mut banned = false;
            if success {
                succeeded[who] = Some(now);
            } else if succeeded[who].is_none_or(|at| now - at > u64::from(remember_ms)) {
                failed.push((now, who));
                let within = |source: usize| {
                    failed.iter().any(|(at, other)| *other == source && now - *at <= u64::from(findtime_ms))
                };
                banned = (0..6).filter(|source| within(*source)).count() >= limit;
            }
            prop_assert_eq!(!verdict.is_pass(), banned);
        }
    }

    #[test]
    fn no_state_that_a_host_could_hand_over_stops_it(
        at_ms in 0_u64..1 << 53,
        lists in prop::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 0..100),
        success: bool,
    ) {
        let mut sources = Sources { id_hash: hash("abc"), ..Sources::default() };
        for (network, at_ms, failed) in lists {
            let list = if failed { &mut sources.failed } else { &mut sources.succeeded };
            list.push(Source { network, at_ms });
        }
        let event = owner().at_ms(at_ms);
        let mut abc = Subject(Some(sources));
        let _ = abc.judge(&defaults(), if success { event.succeeded() } else { event.failed() });
        prop_assert!(abc.0.is_some());
    }
}
