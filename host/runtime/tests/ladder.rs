//! Rules 21 and 22: what happens when a plugin fails.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{START, Said, States, attempt, bans, configured, denying, passes, plugin, policy, stand_in};
use portcullis_domain::event::{Dated, Outcome};
use portcullis_domain::{Denied, Event, Judge as _, Keep, Kind, StateFormat};
use portcullis_runtime::{Cause, FellBack, JUDGE_TIMES_SAMPLED, KindsDiffer, OnFailure, PolicyJudge, Rung, Silent};

const TWICE: [Said; 2] = [Said::Failed(Rung::First, Cause::Trap), Said::Failed(Rung::Fresh, Cause::Trap)];

fn told(last: &[Said]) -> Vec<Said> {
    TWICE.iter().chain(last).cloned().collect()
}

#[test]
fn rule_21_a_new_instance_rescues_the_call() {
    let policy = denying("traps-every-third-call");
    for call in 1..=9 {
        assert!(passes(&policy.attempt(Outcome::Failure)), "call {call}");
    }
    // The first third call fails; its new instance has then made one call, and
    // fails at the second after that.
    let snapshot = policy.judge.snapshot();
    assert_eq!((snapshot.calls, snapshot.failed(Cause::Trap)), (9, 4));
    assert_eq!((snapshot.fresh_retries, snapshot.recovered, snapshot.fallbacks), (4, 4, 0));
    assert_eq!(policy.told.take()[..2], [Said::Failed(Rung::First, Cause::Trap), Said::Recovered]);
}

#[test]
fn rule_21_then_the_bundles_plugin_judges() {
    let policy = policy(configured("traps-always"), stand_in("always-bans"));
    assert!(bans(&policy.attempt(Outcome::Failure)));
    assert_eq!(policy.told.take(), told(&[Said::FellBack(FellBack::Bundle)]));
}

#[test]
fn rule_21_or_another_policy_that_runs_it_already() {
    let policy = policy(configured("traps-always"), OnFailure::BundleRunsAlready);
    let judgement = policy.attempt(Outcome::Failure);
    assert!(passes(&judgement));
    assert_eq!(judgement.unwrap().keep, Keep::Unchanged);
    assert_eq!(policy.told.take(), told(&[Said::FellBack(FellBack::BundleRunsAlready)]));
}

#[test]
fn rule_21_or_the_event_is_denied() {
    let policy = denying("traps-always");
    assert_eq!(policy.attempt(Outcome::Failure), Err(Denied));
    assert_eq!(policy.told.take(), told(&[Said::FellBack(FellBack::Deny)]));
}

#[test]
fn rule_21_or_allowed() {
    let policy = policy(configured("traps-always"), OnFailure::Allow);
    let judgement = policy.attempt(Outcome::Failure);
    assert!(passes(&judgement));
    assert_eq!(judgement.unwrap().keep, Keep::Unchanged);
}

#[test]
fn rule_21_the_bundle_failing_is_a_denial() {
    let policy = policy(configured("traps-always"), stand_in("answers-error"));
    assert_eq!(policy.attempt(Outcome::Failure), Err(Denied));
    let last = [Said::FellBack(FellBack::Bundle), Said::Failed(Rung::Bundle, Cause::Error)];
    assert_eq!(policy.told.take(), told(&last));
    let snapshot = policy.judge.snapshot();
    assert_eq!((snapshot.bundle_failures(), snapshot.denied), (1, 1));
}

#[test]
fn the_stand_in_keeps_its_state_under_its_own_format() {
    let policy = policy(configured("traps-always"), stand_in("counts-failures"));
    assert_eq!(policy.judge.formats(), [StateFormat::new("fixture/1"), StateFormat::new("counts-failures/1")]);
    let mut states = States::of(b"\xff what the plugin had kept");
    for expected in [false, false, true] {
        let judgement = policy.attempt_kept(Outcome::Failure, &states).unwrap();
        assert_eq!(judgement.format, 1);
        states.keep(&judgement);
        assert_eq!(bans(&Ok(judgement)), expected);
    }
    assert!(states.0[0].is_some(), "the plugin's own state is left alone");
}

#[test]
fn one_format_is_one_state() {
    let policy = policy(configured("traps-always"), stand_in("large-state"));
    assert_eq!(policy.judge.formats(), [StateFormat::new("fixture/1")]);
}

#[test]
fn only_its_own_kind_stands_in_for_a_plugin() {
    let built = PolicyJudge::new("policy", configured("traps-always"), stand_in("extreme-waits"), Arc::new(Silent));
    assert_eq!(built.unwrap_err(), KindsDiffer { kind: Kind::Ban, fallback: Kind::Wait });
}

#[test]
fn what_a_kind_does_not_judge_passes() {
    let policy = denying("always-bans");
    assert!(passes(&policy.request("203.0.113.7", START, "/")));
    assert_eq!(policy.told.take(), []);
}

#[test]
fn rule_22_many_failing_sources_bring_quarantine_and_trial() {
    let policy = policy(configured("traps-always"), stand_in("always-bans"));
    for n in 1..=5 {
        assert!(bans(&policy.attempt_from(&format!("203.0.113.{n}"), START, Outcome::Failure)));
    }
    let until = START.after(Duration::from_secs(30));
    let said = policy.told.take();
    assert!(said.contains(&Said::Quarantined(until)), "{said:?}");
    assert_eq!(policy.judge.snapshot().quarantined_until, Some(until));

    let inside = START.after(Duration::from_secs(29));
    assert!(bans(&policy.attempt_from("203.0.113.9", inside, Outcome::Failure)));
    assert_eq!(policy.told.take(), [], "the plugin isn't called");
    assert_eq!(policy.judge.snapshot().failed(Cause::Trap), 10);

    assert!(bans(&policy.attempt_from("203.0.113.9", until, Outcome::Failure)));
    let mut expected = vec![Said::TriedAgain];
    expected.extend(told(&[Said::FellBack(FellBack::Bundle)]));
    assert_eq!(policy.told.take(), expected);
    for n in 1..=4 {
        let _ = policy.attempt_from(&format!("203.0.113.{n}"), until, Outcome::Failure);
    }
    assert!(policy.told.take().contains(&Said::Quarantined(until.after(Duration::from_secs(60)))), "twice as long");
    assert_eq!(policy.judge.snapshot().quarantines, 2);
}

#[test]
fn rule_22_one_strangers_poisonous_path_switches_nothing_off() {
    let policy = denying("traps-on-one-path");
    for second in 0..100 {
        let at = START.after(Duration::from_secs(second));
        assert_eq!(policy.request("203.0.113.66", at, "/poison"), Err(Denied));
        for n in 1..=3 {
            assert!(passes(&policy.request(&format!("203.0.113.{n}"), at, "/")));
        }
    }
    assert_eq!(policy.judge.snapshot().quarantines, 0);
}

#[test]
fn rule_22_nor_does_it_cost_more_than_eight_failures_a_minute() {
    let policy = denying("traps-on-one-path");
    let stranger = "203.0.113.66";
    let until = START.after(Duration::from_secs(60));
    for call in 1..=1000 {
        assert_eq!(policy.request(stranger, START, "/poison"), Err(Denied), "call {call}");
    }
    let snapshot = policy.judge.snapshot();
    assert_eq!((snapshot.failed(Cause::Trap), snapshot.spared), (16, 992), "both rungs of eight calls");
    assert_eq!((snapshot.calls, snapshot.fallbacks, snapshot.denied), (1000, 1000, 1000));
    let told = policy.told.take();
    let spared = Said::Spared(stranger.parse().unwrap(), until);
    assert_eq!(told.iter().filter(|said| **said == spared).count(), 1, "once for the window: {told:?}");
    assert_eq!(told.len(), 8 * 3 + 1, "nothing of each event that is spared");

    let last = START.after(Duration::from_millis(59_999));
    assert_eq!(policy.request(stranger, last, "/"), Err(Denied), "whatever he asks for");
    assert!(passes(&policy.request("203.0.113.67", last, "/")), "others are judged as ever");
    assert_eq!(policy.request("203.0.113.67", last, "/poison"), Err(Denied));
    assert_eq!(policy.judge.snapshot().failed(Cause::Trap), 18, "the plugin was asked for them");
    assert!(passes(&policy.request(stranger, until, "/")), "it is over by itself");
    assert_eq!(policy.judge.snapshot().spared, 993);
}

#[test]
fn rule_22_a_spared_source_is_left_to_the_stand_in() {
    let policy = policy(configured("traps-always"), stand_in("counts-failures"));
    let mut states = States::default();
    for call in 1..=30 {
        let judgement = policy.attempt_kept(Outcome::Failure, &states).unwrap();
        states.keep(&judgement);
        assert_eq!(bans(&Ok(judgement)), call % 3 == 0, "call {call}: spared or not, the count goes on");
    }
    assert_eq!(policy.judge.snapshot().spared, 22);
}

#[test]
fn rule_22_failures_that_a_new_instance_rescues_count_too() {
    let policy = denying("traps-every-third-call");
    for n in 1..=50 {
        let _ = policy.attempt_from(&format!("203.0.113.{n}"), START, Outcome::Failure);
    }
    let snapshot = policy.judge.snapshot();
    assert_eq!((snapshot.recovered, snapshot.quarantines), (5, 1), "every other source met a failure: {snapshot:?}");
}

#[test]
fn policies_judge_on_many_threads_at_once() {
    let policy = Arc::new(denying("counts-failures"));
    std::thread::scope(|scope| {
        for n in 0..16 {
            let policy = Arc::clone(&policy);
            scope.spawn(move || {
                let mut states = States::default();
                for call in 1..=300 {
                    let event = attempt(&format!("203.0.113.{n}"), Outcome::Failure);
                    let dated = Dated { at: START, event: Event::Attempt(&event) };
                    let judgement = policy.judge.judge(&dated, &states).unwrap();
                    states.keep(&judgement);
                    assert_eq!(bans(&Ok(judgement)), call % 3 == 0);
                }
            });
        }
    });
    assert_eq!(policy.judge.snapshot().calls, 4800);
}

#[test]
fn nothing_keeps_a_plugin_alive_but_its_policies() {
    let plugin = plugin("always-bans");
    let configured = plugin.configure(Kind::Ban, &Default::default(), &Default::default()).unwrap();
    let policy = policy(configured, OnFailure::Deny);
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(bans(&policy.attempt(Outcome::Failure))));
    });
    assert!(bans(&policy.attempt(Outcome::Failure)));
    let weak = Arc::downgrade(&plugin);
    drop(plugin);
    assert!(weak.upgrade().is_some());
    drop(policy);
    assert!(weak.upgrade().is_none());
}

#[test]
fn one_call_in_eight_is_timed() {
    let policy = denying("traps-every-third-call");
    (0..32).for_each(|_| drop(policy.attempt(Outcome::Failure)));
    let times = policy.judge.times();
    assert_eq!(times.count(), 32 / JUDGE_TIMES_SAMPLED);
    assert!(times.sum > Duration::ZERO);
}
