//! Rule 30: the sliding window, and what is no hit.

use super::*;
use portcullis_sdk::SettingValue::{self, Integer, Integers, Number, Texts};
use portcullis_sdk::State as _;
use portcullis_sdk::testing::{self, RequestBuilder, defaults, request, settings, try_settings};
use proptest::prelude::*;

const SOURCE: &str = "203.0.113.7";

fn hit(at_ms: u64) -> RequestBuilder {
    request(SOURCE).path("/wp-login.php").status(404).at_ms(at_ms)
}

fn errors(name: &str, value: SettingValue) -> Vec<String> {
    let errors = try_settings::<Settings>(&[(name, value)]).unwrap_err();
    errors.into_iter().map(|error| format!("{}: {}", error.name, error.message)).collect()
}

#[test]
fn a_second_hit_within_the_window_bans_for_an_hour() {
    let mut host = testing::scanner(judge, defaults());
    assert!(host.judge(hit(0)).is_pass());
    let verdict = host.judge(hit(500));
    let order = verdict.order().unwrap();
    assert_eq!(order.duration, Duration::from_secs(3600));
    assert_eq!(order.reason.code, "scanner");
    assert_eq!(order.reason.text, "2 hits within 20s.");
}

#[test]
fn a_hit_at_exactly_the_end_of_the_window_counts_and_one_later_does_not() {
    let mut host = testing::scanner(judge, defaults());
    assert!(host.judge(hit(7)).is_pass());
    assert!(!host.judge(hit(20_007)).is_pass());

    let mut host = testing::scanner(judge, defaults());
    assert!(host.judge(hit(7)).is_pass());
    assert!(host.judge(hit(20_008)).is_pass());
    // That one opened a window of its own.
    assert!(!host.judge(hit(40_008)).is_pass());
}

#[test]
fn after_a_ban_the_window_starts_anew() {
    let mut host = testing::scanner(judge, defaults());
    assert!(host.judge(hit(0)).is_pass());
    assert!(!host.judge(hit(1)).is_pass());
    assert_eq!(host.state(SOURCE), None);
    assert!(host.judge(hit(2)).is_pass());
}

#[test]
fn a_verified_clients_requests_are_no_hits() {
    let mut host = testing::scanner(judge, defaults());
    for at in 0..9 {
        assert!(host.judge(hit(at).id("abc")).is_pass());
    }
    assert_eq!(host.state(SOURCE), None);
}

#[test]
fn what_is_no_hit_leaves_the_window_as_it_is() {
    let mut host = testing::scanner(judge, defaults());
    assert!(host.judge(hit(0)).is_pass());
    let before = host.state(SOURCE).map(<[u8]>::to_owned);
    assert!(host.judge(request(SOURCE).status(200).at_ms(1)).is_pass());
    assert_eq!(host.state(SOURCE).map(<[u8]>::to_owned), before);
    assert!(!host.judge(hit(2)).is_pass());
}

#[test]
fn ignored_paths_are_that_path_or_what_starts_like_it() {
    let list = ["/favicon.ico", "/icons/*"].map(str::to_owned).to_vec();
    let ignoring: Settings = settings(&[("ignore_paths", Texts(list))]);
    for path in ["/favicon.ico", "/icons/", "/icons/a/b"] {
        assert!(!ignoring.is_hit(&hit(0).path(path).into()), "{path}");
    }
    for path in ["/favicon.icon", "/FAVICON.ICO", "/icons", "/x/favicon.ico", ""] {
        assert!(ignoring.is_hit(&hit(0).path(path).into()), "{path}");
    }
}

#[test]
fn one_hit_is_enough_where_maxretry_is_one() {
    let mut host = testing::scanner(judge, settings(&[("maxretry", Integer(1))]));
    assert!(!host.judge(hit(0)).is_pass());
    assert_eq!(host.state(SOURCE), None);
}

#[test]
fn it_can_be_turned_off_in_three_ways() {
    for (name, value) in [("maxretry", Integer(0)), ("bantime", Number(0.0)), ("statuses", Integers(vec![]))] {
        let mut host = testing::scanner(judge, settings(&[(name, value)]));
        for _ in 0..9 {
            assert!(host.judge(hit(0)).is_pass(), "{name}");
        }
        assert_eq!(host.state(SOURCE), None);
    }
}

#[test]
fn wrong_settings_are_refused_with_what_was_found_and_expected() {
    assert_eq!(errors("maxretry", Integer(101)), ["maxretry: found 101, expected at most 100"]);
    assert_eq!(
        errors("statuses", Integers(vec![404, 4040])),
        ["statuses: found [404, 4040], expected HTTP statuses from 100 to 599"]
    );
    for path in ["favicon.ico", "", "*", "/a*b", "/a?b=c"] {
        assert_eq!(errors("ignore_paths", Texts(vec![path.to_owned()])).len(), 1, "{path:?}");
    }
}

#[test]
fn the_largest_state_fits_a_kibibyte() {
    let mut host = testing::scanner(judge, settings(&[("maxretry", Integer(100))]));
    for at in 0..99 {
        assert!(host.judge(hit(at)).is_pass());
    }
    assert_eq!(host.state(SOURCE).unwrap().len(), 4 + 99 * 8);
    assert!(!host.judge(hit(99)).is_pass());
}

#[test]
fn the_layout_of_the_state_is_borsh() {
    let mut bytes = Vec::new();
    Hits { at_ms: vec![1, 256] }.encode(&mut bytes).unwrap();
    assert_eq!(bytes, [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
}

proptest! {
    /// The reference remembers every hit since the last ban and counts those in the
    /// window anew each time.
    #[test]
    fn it_bans_as_a_naive_window_does(
        steps in prop::collection::vec((0_u64..30, 0_u8..4), 1..200),
        maxretry in 1_usize..6,
        findtime_ms in 0_u32..60,
    ) {
        let limit = i64::try_from(maxretry).unwrap();
        let mut host = testing::scanner(judge, settings(&[
            ("maxretry", Integer(limit)),
            ("findtime", Number(f64::from(findtime_ms) / 1000.0)),
        ]));
        let mut all: Vec<u64> = Vec::new();
        let mut now = 0;
        for (passed, what) in steps {
            now += passed;
            let event = match what {
                0 => request(SOURCE).status(200).at_ms(now),
                1 => hit(now).id("abc"),
                _ => hit(now),
            };
            let mut banned = false;
            if what > 1 {
                all.push(now);
                let inside =
                    all.iter().filter(|at| now - **at <= u64::from(findtime_ms)).count();
                banned = inside >= maxretry;
                if banned {
                    all.clear();
                }
            }
            prop_assert_eq!(!host.judge(event).is_pass(), banned);
        }
    }

    #[test]
    fn no_state_that_a_host_could_hand_over_stops_it(
        state in prop::collection::vec(any::<u8>(), 0..1024),
    ) {
        let mut host = testing::scanner(judge, defaults());
        host.put_state(SOURCE, &state);
        prop_assert!(host.try_judge(hit(5)).is_ok());
    }
}
