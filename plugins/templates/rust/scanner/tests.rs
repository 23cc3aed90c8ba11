use super::*;
use portcullis_sdk::SettingValue::{Integer, Integers};
use portcullis_sdk::testing::{self, RequestBuilder, defaults, request, settings, try_settings};

const SOURCE: &str = "203.0.113.7";

fn hit(at_secs: u64) -> RequestBuilder {
    request(SOURCE).path("/wp-login.php").status(404).at_secs(at_secs)
}

#[test]
fn the_fifth_hit_bans_for_an_hour() {
    let mut host = testing::scanner(judge, defaults());
    for at in 0..4 {
        assert!(host.judge(hit(at)).is_pass());
    }
    let verdict = host.judge(hit(4));
    let order = verdict.order().unwrap();
    assert_eq!(order.duration, Duration::from_secs(3600));
    assert_eq!(order.reason.text, "5 hits within 60s.");
    assert_eq!(host.state(SOURCE), None, "a window of its own begins");
}

#[test]
fn a_window_ends_a_minute_after_its_first_hit() {
    let mut host = testing::scanner(judge, settings(&[("max_hits", Integer(2))]));
    assert!(host.judge(hit(0)).is_pass());
    assert!(host.judge(hit(60)).is_pass());
    assert!(!host.judge(hit(119)).is_pass());
}

#[test]
fn other_statuses_and_authenticated_clients_are_no_hits() {
    let mut host = testing::scanner(judge, settings(&[("max_hits", Integer(1))]));
    assert!(host.judge(request(SOURCE).status(200)).is_pass());
    assert!(host.judge(hit(0).id("abc")).is_pass());
    assert!(!host.judge(hit(0)).is_pass());
}

#[test]
fn at_least_one_status_has_to_be_a_hit() {
    let errors = try_settings::<Settings>(&[("statuses", Integers(Vec::new()))]).unwrap_err();
    assert_eq!(errors[0].name, "statuses");
}
