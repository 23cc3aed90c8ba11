//! Rules 17 and 31: every failure makes the id wait, fractions of a second count.

use super::*;
use portcullis_sdk::SettingValue::Number;
use portcullis_sdk::testing::{self, attempt, defaults, settings, try_settings};
use proptest::prelude::*;

fn wait_of(secs: f64) -> Settings {
    settings(&[("client_login_wait", Number(secs))])
}

#[test]
fn a_failure_makes_the_id_wait_two_seconds_by_default() {
    let mut host = testing::wait(judge, defaults());
    let verdict = host.judge(attempt("203.0.113.7").id("abc").failed());
    let order = verdict.order().unwrap();
    assert_eq!(order.duration, Duration::from_secs(2));
    assert_eq!(order.reason.code, "failed-login");
    assert_eq!(host.state("abc"), None);
}

#[test]
fn fractions_of_a_second_count() {
    let verdict = judge(&wait_of(2.7), &attempt("203.0.113.7").failed().into());
    assert_eq!(verdict.order().unwrap().duration, Duration::from_millis(2700));
}

#[test]
fn zero_turns_it_off() {
    assert!(judge(&wait_of(0.0), &attempt("203.0.113.7").failed().into()).is_pass());
}

#[test]
fn what_is_no_length_of_time_is_refused() {
    for secs in [-1.0, f64::NAN, f64::INFINITY, 1e13] {
        let errors = try_settings::<Settings>(&[("client_login_wait", Number(secs))]).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].name, "client_login_wait");
    }
}

proptest! {
    #[test]
    fn exactly_the_failures_wait_and_always_as_long(
        history in prop::collection::vec(any::<bool>(), 0..40),
        wait_ms in 1_u32..1_000_000,
    ) {
        let mut host = testing::wait(judge, wait_of(f64::from(wait_ms) / 1000.0));
        for (at, success) in (0..).zip(history) {
            let event = attempt("2001:db8::1").id("abc").at_secs(at);
            let event = if success { event.succeeded() } else { event.failed() };
            let ordered = host.judge(event).order().map(|order| order.duration);
            let expected = (!success).then_some(Duration::from_millis(wait_ms.into()));
            prop_assert_eq!(ordered, expected);
        }
    }
}
