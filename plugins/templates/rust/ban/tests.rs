use super::*;
use portcullis_sdk::SettingValue::Integer;
use portcullis_sdk::testing::{self, attempt, defaults, settings, try_settings};

const SOURCE: &str = "203.0.113.7";

#[test]
fn the_fifth_failure_bans_for_an_hour() {
    let mut host = testing::ban(judge, defaults());
    for at in 0..4 {
        assert!(host.judge(attempt(SOURCE).failed().at_secs(at)).is_pass());
    }
    let verdict = host.judge(attempt(SOURCE).failed().at_secs(4));
    let order = verdict.order().unwrap();
    assert_eq!(order.duration, Duration::from_secs(3600));
    assert_eq!(order.reason.text, "5 failed logins in a row.");
    assert_eq!(host.state(SOURCE), None, "the count starts again");
}

#[test]
fn a_success_sets_the_count_back() {
    let mut host = testing::ban(judge, settings(&[("max_failed_login", Integer(2))]));
    assert!(host.judge(attempt(SOURCE).failed()).is_pass());
    assert!(host.judge(attempt(SOURCE).succeeded()).is_pass());
    assert!(host.judge(attempt(SOURCE).failed()).is_pass());
    assert!(!host.judge(attempt(SOURCE).failed()).is_pass());
}

#[test]
fn no_failures_at_all_is_no_limit() {
    let errors = try_settings::<Settings>(&[("max_failed_login", Integer(0))]).unwrap_err();
    assert_eq!(errors[0].name, "max_failed_login");
}
