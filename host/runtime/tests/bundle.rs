//! The default plugins under this host: their semantics end to end, and that
//! no state a store could ever hand them makes them fail.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up fails")]

mod common;

use std::time::Duration;

use common::{FRESH, Policy, RUNTIME, START, Said, States, policy, source};
use portcullis_domain::event::{Attempt, Dated, Outcome, Request};
use portcullis_domain::{ClientId, Denied, Event, Judge as _, Judgement, Kind, Timestamp, Verdict};
use portcullis_runtime::{Limits, Mode, OnFailure, SettingValue, Settings};
use proptest::prelude::*;

fn default_policy(kind: Kind, settings: &Settings, mode: Mode) -> Policy {
    let configured = RUNTIME.bundle(kind).unwrap().configure(kind, settings, &Limits::default()).unwrap();
    policy(configured.with_mode(mode), OnFailure::Deny)
}

fn defaults(kind: Kind) -> Policy {
    default_policy(kind, &Settings::new(), Mode::Pooled)
}

fn judge(policy: &Policy, at: Timestamp, outcome: Outcome, status: u16, states: &States) -> Result<Judgement, Denied> {
    let id = ClientId::new("someone").unwrap();
    let source = source("2001:db8::7");
    let attempt = Attempt {
        source,
        client_id: Some(&id),
        outcome,
        client_known: Some(true),
        secret_fingerprint: None,
        attributes: &[],
    };
    let request = Request { source, client_id: None, method: "GET", path: "/wp-login.php", status, attributes: &[] };
    let event = match policy.judge.primary().kind() {
        Kind::Wait | Kind::Ban => Event::Attempt(&attempt),
        Kind::Scanner => Event::Request(&request),
    };
    policy.judge.judge(&Dated { at, event }, states)
}

fn later(seconds: u64) -> Timestamp {
    START.after(Duration::from_secs(seconds))
}

#[test]
fn a_failure_waits_two_seconds() {
    let policy = defaults(Kind::Wait);
    let judgement = judge(&policy, START, Outcome::Failure, 401, &States::default()).unwrap();
    assert!(matches!(judgement.verdict, Verdict::Wait(order) if order.duration == Duration::from_secs(2)));
    let judgement = judge(&policy, START, Outcome::Success, 200, &States::default()).unwrap();
    assert_eq!(judgement.verdict, Verdict::Pass);
}

#[test]
fn the_fifth_failure_in_a_row_bans_for_an_hour() {
    let policy = defaults(Kind::Ban);
    let mut states = States::default();
    for n in 1..=10 {
        let judgement = judge(&policy, later(n), Outcome::Failure, 401, &states).unwrap();
        states.keep(&judgement);
        match judgement.verdict {
            Verdict::Ban(order) => {
                assert_eq!(n % 5, 0);
                assert_eq!(order.duration, Duration::from_secs(3600));
                assert_eq!(order.reason.text(), "Maximum of 5 login attempts reached.");
            }
            Verdict::Pass | Verdict::Wait(_) => assert_ne!(n % 5, 0),
        }
    }
}

#[test]
fn a_second_404_within_twenty_seconds_bans() {
    let policy = defaults(Kind::Scanner);
    for (gap, expected) in [(20, true), (21, false)] {
        let mut states = States::default();
        let first = judge(&policy, START, Outcome::Failure, 404, &states).unwrap();
        assert_eq!(first.verdict, Verdict::Pass);
        states.keep(&first);
        let second = judge(&policy, later(gap), Outcome::Failure, 404, &states).unwrap();
        assert_eq!(matches!(second.verdict, Verdict::Ban(_)), expected, "{gap} s apart");
    }
}

#[test]
fn the_scanner_is_asked_about_every_answer() {
    let policy = default_policy(Kind::Scanner, &Settings::new(), Mode::Pooled);
    assert!(policy.judge.interest().statuses.is_empty());
}

#[test]
fn settings_reach_the_plugin() {
    let settings = Settings::from([("max_failed_login".to_owned(), SettingValue::Integer(1))]);
    let policy = default_policy(Kind::Ban, &settings, Mode::Pooled);
    let judgement = judge(&policy, START, Outcome::Failure, 401, &States::default()).unwrap();
    assert!(matches!(judgement.verdict, Verdict::Ban(_)));
}

#[test]
fn a_default_plugin_is_part_of_the_program() {
    for kind in Kind::ALL {
        let plugin = RUNTIME.bundle(kind).unwrap();
        assert_eq!(plugin.kinds(), [kind]);
        assert_eq!(plugin.origin(), "bundle");
        assert_eq!(plugin.description().name, kind.name());
    }
}

thread_local! {
    static POLICIES: [[Policy; 2]; 3] = Kind::ALL
        .map(|kind| [Mode::Pooled, FRESH].map(|mode| default_policy(kind, &Settings::new(), mode)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_state_makes_a_default_plugin_fail(
        state in prop::collection::vec(any::<u8>(), 0..=1024),
        millis in 0u64..1 << 53,
        success: bool,
        status in 100u16..600,
    ) {
        let outcome = if success { Outcome::Success } else { Outcome::Failure };
        POLICIES.with(|policies| {
            for [pooled, fresh] in policies {
                let states = States::of(&state);
                let at = Timestamp::from_millis(millis);
                let one = judge(pooled, at, outcome, status, &states);
                let said = pooled.told.take();
                prop_assert!(one.is_ok(), "{said:?}");
                // It may say in the log that it starts anew, and that is all.
                prop_assert!(said.iter().all(|said| matches!(said, Said::Log(_))), "{said:?}");
                prop_assert_eq!(&one, &judge(pooled, at, outcome, status, &states));
                prop_assert_eq!(&one, &judge(fresh, at, outcome, status, &states));
                pooled.told.take();
                fresh.told.take();
            }
            Ok(())
        })?;
    }
}
