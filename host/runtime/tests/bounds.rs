//! What a guest does while it judges, and which bound it meets.

mod common;

use std::time::Duration;

use common::{FRESH, Said, States, bans, configured, denying, passes, policy};
use portcullis_domain::event::{ATTRIBUTE_BYTES_MAX, Attribute, Outcome};
use portcullis_domain::{Denied, Keep, Timestamp, Verdict};
use portcullis_runtime::{Cause, FellBack, LOG_MESSAGE_BYTES_MAX, Limits, OnFailure, Rung, Settings};

/// Both instances of a fixture fail for that cause, and the event is denied.
fn fails_twice(fixture: &str, outcome: Outcome, cause: Cause) {
    let policy = denying(fixture);
    assert_eq!(policy.attempt(outcome), Err(Denied), "{fixture}");
    assert_eq!(
        policy.told.take(),
        [Said::Failed(Rung::First, cause), Said::Failed(Rung::Fresh, cause), Said::FellBack(FellBack::Deny)],
        "{fixture}"
    );
    let snapshot = policy.judge.snapshot();
    assert_eq!((snapshot.calls, snapshot.failed(cause), snapshot.denied), (1, 2, 1), "{fixture}");
}

#[test]
fn a_guest_that_never_answers_runs_into_its_deadline() {
    fails_twice("spins-in-judge", Outcome::Failure, Cause::Deadline);
}

#[test]
fn a_guest_that_never_takes_an_event_in_runs_into_its_deadline() {
    fails_twice("spins-in-realloc", Outcome::Failure, Cause::Deadline);
}

#[test]
fn a_deadline_is_the_policys_own() {
    let plugin = common::plugin("spins-in-judge");
    let limits = Limits { deadline: Duration::from_millis(1), ..Limits::default() };
    let configured = plugin.configure(plugin.kinds()[0], &Settings::new(), &limits).unwrap();
    let policy = policy(configured, OnFailure::Allow);
    assert!(passes(&policy.attempt(Outcome::Failure)));
    assert_eq!(policy.judge.snapshot().failed(Cause::Deadline), 2);
}

#[test]
fn a_guest_that_takes_all_memory_meets_its_bound() {
    fails_twice("grows-memory", Outcome::Failure, Cause::Memory);
}

#[test]
fn memory_is_summed_over_all_memories() {
    fails_twice("two-memories", Outcome::Failure, Cause::Memory);
    let plugin = common::plugin("two-memories");
    let limits = Limits { memory_bytes: 80 << 20, ..Limits::default() };
    let configured = plugin.configure(plugin.kinds()[0], &Settings::new(), &limits).unwrap();
    assert!(passes(&policy(configured, OnFailure::Deny).attempt(Outcome::Failure)), "80 MiB are enough for both");
}

#[test]
fn tables_are_memory() {
    fails_twice("huge-tables", Outcome::Failure, Cause::Memory);
}

#[test]
fn a_trap_is_a_failure() {
    fails_twice("traps-always", Outcome::Failure, Cause::Trap);
}

#[test]
fn a_recursion_ends_with_the_guests_stack() {
    fails_twice("recurses-without-end", Outcome::Failure, Cause::Trap);
}

#[test]
fn megabytes_are_not_copied() {
    fails_twice("returns-megabytes", Outcome::Failure, Cause::Unreadable);
    fails_twice("returns-megabytes", Outcome::Success, Cause::Unreadable);
}

#[test]
fn a_state_over_its_bound_is_a_failure() {
    fails_twice("large-state", Outcome::Failure, Cause::Nonsense);
    let plugin = common::plugin("large-state");
    let limits = Limits { state_bytes: 1025, ..Limits::default() };
    let configured = plugin.configure(plugin.kinds()[0], &Settings::new(), &limits).unwrap();
    let judgement = policy(configured, OnFailure::Deny).attempt(Outcome::Failure).unwrap();
    assert!(matches!(judgement.keep, Keep::Put(kept) if kept.data.len() == 1025));
}

#[test]
fn a_reason_without_a_code_makes_no_sense() {
    fails_twice("odd-reason-code", Outcome::Failure, Cause::Nonsense);
}

#[test]
fn a_reason_that_is_no_text_can_not_be_read() {
    fails_twice("no-text", Outcome::Failure, Cause::Unreadable);
}

#[test]
fn a_guest_that_answers_with_an_error_has_failed() {
    fails_twice("answers-error", Outcome::Failure, Cause::Error);
}

#[test]
fn a_clock_is_there_and_can_not_be_asked() {
    fails_twice("calls-a-clock", Outcome::Failure, Cause::Import);
}

#[test]
fn a_standard_output_is_there_and_can_not_be_had() {
    fails_twice("writes-to-stdout", Outcome::Failure, Cause::Import);
    assert!(passes(&denying("writes-to-stdout").attempt(Outcome::Success)), "what isn't called does no harm");
}

#[test]
fn a_flood_of_log_lines_is_bounded_and_counted() {
    let policy = denying("floods-log");
    assert!(passes(&policy.attempt(Outcome::Failure)));
    let said = policy.told.take();
    let lines_max = Limits::default().log_lines as usize;
    assert_eq!(said.len(), lines_max + 1);
    for line in &said[..lines_max] {
        assert!(matches!(line, Said::Log(message) if message.len() == LOG_MESSAGE_BYTES_MAX), "{line:?}");
    }
    assert_eq!(said[lines_max], Said::LogDropped(5000 - lines_max as u64));
    let snapshot = policy.judge.snapshot();
    assert_eq!((snapshot.log_lines, snapshot.log_lines_dropped), (16, 4984));
    assert!(passes(&policy.attempt(Outcome::Failure)));
    assert_eq!(policy.judge.snapshot().log_lines, 32, "each call has its own budget");
}

#[test]
fn numbers_out_of_range_are_cut_and_left_to_the_gate() {
    let most = Duration::from_millis(Timestamp::MAX.as_millis());
    for (outcome, duration, prefix) in [(Outcome::Failure, most, 200), (Outcome::Success, Duration::ZERO, 0)] {
        let judgement = denying("extreme-bans").attempt(outcome).unwrap();
        let Verdict::Ban(order) = judgement.verdict else { unreachable!("{judgement:?}") };
        assert_eq!((order.duration, order.prefix_length), (duration, Some(prefix)));
        let judgement = denying("extreme-waits").attempt(outcome).unwrap();
        let Verdict::Wait(order) = judgement.verdict else { unreachable!("{judgement:?}") };
        assert_eq!(order.duration, duration);
    }
}

#[test]
fn a_reason_is_one_line() {
    let judgement = denying("always-bans").attempt(Outcome::Failure).unwrap();
    let Verdict::Ban(order) = judgement.verdict else { unreachable!("{judgement:?}") };
    assert_eq!(order.reason.text(), "x 404 1s (8.8.8.8)");
    assert_eq!(order.reason.code(), "fixture");
}

#[test]
fn a_guest_gets_the_attributes_that_it_asked_for_and_no_more_of_them_than_allowed() {
    let long = "é".repeat(ATTRIBUTE_BYTES_MAX);
    let (agent, host) = (Attribute { name: "user-agent", value: "curl/8" }, Attribute { name: "host", value: "h" });
    let heard =
        |attributes: &[Attribute<'_>]| match denying("echoes-attribute").attempt_with(attributes).unwrap().verdict {
            Verdict::Ban(order) => Some(order.reason.text().to_owned()),
            Verdict::Pass | Verdict::Wait(_) => None,
        };
    assert_eq!(heard(&[agent, host]).as_deref(), Some("curl/8"));
    assert_eq!(heard(&[host]), None);
    assert_eq!(heard(&[Attribute { name: "user-agent", value: &long }]).unwrap(), "é".repeat(100));
}

#[test]
fn state_comes_back_as_it_was_kept() {
    for mode in [portcullis_runtime::Mode::Pooled, FRESH] {
        let policy = policy(configured("counts-failures").with_mode(mode), OnFailure::Deny);
        let mut states = States::default();
        for expected in [false, false, true, false, false, true] {
            let judgement = policy.attempt_kept(Outcome::Failure, &states);
            assert_eq!(bans(&judgement), expected);
            states.keep(&judgement.unwrap());
        }
        let success = policy.attempt_kept(Outcome::Success, &States::of(&[2])).unwrap();
        assert_eq!(success.keep, Keep::Forget);
    }
}
