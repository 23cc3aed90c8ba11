use super::*;
use portcullis_sdk::SettingValue::Number;
use portcullis_sdk::testing::{self, AttemptBuilder, attempt, defaults, settings};

fn failure(at_secs: u64) -> AttemptBuilder {
    attempt("203.0.113.7").id("abc").failed().at_secs(at_secs)
}

fn seconds(verdict: Verdict) -> u64 {
    verdict.order().unwrap().duration.as_secs()
}

#[test]
fn each_wait_is_twice_as_long_up_to_a_minute() {
    let mut host = testing::wait(judge, defaults());
    let waits: Vec<_> = (0..9).map(|n| seconds(host.judge(failure(n * 60)))).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    // However often.
    assert!((9..300).all(|n| seconds(host.judge(failure(n * 60))) == 60));
}

#[test]
fn a_success_sets_it_back() {
    let mut host = testing::wait(judge, defaults());
    assert_eq!(seconds(host.judge(failure(0))), 1);
    assert!(host.judge(attempt("203.0.113.7").id("abc").succeeded().at_secs(9)).is_pass());
    assert_eq!(seconds(host.judge(failure(20))), 1);
}

#[test]
fn a_quiet_quarter_of_an_hour_sets_it_back() {
    let mut host = testing::wait(judge, defaults());
    assert_eq!(seconds(host.judge(failure(0))), 1);
    assert_eq!(seconds(host.judge(failure(899))), 2);
    assert_eq!(seconds(host.judge(failure(899 + 900))), 1);
}

#[test]
fn no_first_wait_turns_it_off() {
    let mut host = testing::wait(judge, settings(&[("first_wait", Number(0.0))]));
    assert!(host.judge(failure(0)).is_pass());
    assert_eq!(host.state("abc"), None);
}
