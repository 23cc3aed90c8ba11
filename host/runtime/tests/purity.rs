//! A policy is a pure function: pooled and new instances give the same
//! answers, whatever state they are handed.

mod common;

use common::{FRESH, Policy, States, bans, configured, policy};
use portcullis_domain::event::Outcome;
use portcullis_runtime::OnFailure;
use proptest::prelude::*;

fn in_both_modes(fixture: &str) -> [Policy; 2] {
    let fresh = configured(fixture).with_mode(FRESH);
    [policy(configured(fixture), OnFailure::Deny), policy(fresh, OnFailure::Deny)]
}

#[test]
fn a_guest_that_remembers_by_itself_is_found_out() {
    let [pooled, fresh] = in_both_modes("hidden-state");
    let verdicts = |policy: &Policy| (0..4).map(|_| bans(&policy.attempt(Outcome::Failure))).collect::<Vec<_>>();
    assert_eq!(verdicts(&pooled), [false, false, true, true]);
    assert_eq!(verdicts(&fresh), [false; 4]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_inputs_give_equal_outputs(state in prop::collection::vec(any::<u8>(), 0..64), success: bool) {
        thread_local! {
            static BOTH: [Policy; 2] = in_both_modes("counts-failures");
        }
        let outcome = if success { Outcome::Success } else { Outcome::Failure };
        BOTH.with(|[pooled, fresh]| {
            let states = States::of(&state);
            let one = pooled.attempt_kept(outcome, &states).unwrap();
            assert_eq!(one, pooled.attempt_kept(outcome, &states).unwrap());
            assert_eq!(one, fresh.attempt_kept(outcome, &states).unwrap());
        });
    }
}
