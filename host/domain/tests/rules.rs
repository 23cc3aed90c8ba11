//! The gate's rules in virtual time, one by one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a broken test stops")]

mod kit;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use kit::*;
use portcullis_domain::*;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn rule_1_one_source_for_check_count_and_ban() {
    let world = world(vec![bans_at(2, HOUR)]);
    // Two addresses of one /64 are one source; the neighbouring /64 is another.
    world.fail("2001:db8::1", "a");
    assert_eq!(banned_network(&world.fail("2001:db8::2", "b")), "2001:db8::/64");
    assert_eq!(world.login("2001:db8::3", "c", "right"), Ended::Refused(Refusal::Banned(HOUR)));
    assert!(world.request("2001:db8:0:1::1", 200).is_ok());
}

#[test]
fn rule_4_never_ban_and_trusted_proxies_are_never_banned() {
    let rules = SourceRules {
        never_ban: vec!["192.0.2.0/24".parse().unwrap()],
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        ..SourceRules::default()
    };
    let world = world_with(rules, Limits::default(), Capacity::default(), vec![bans_at(1, HOUR)]);
    for address in ["192.0.2.7", "10.1.1.1"] {
        assert_eq!(world.fail(address, "abc").orders[0].enforced, Enforced::Spared);
        assert!(world.request(address, 200).is_ok());
    }
}

#[test]
fn rule_4_a_wide_ban_doesnt_take_never_ban_with_it() {
    let rules = SourceRules { never_ban: vec!["203.0.113.7/32".parse().unwrap()], ..SourceRules::default() };
    let wide = judge("none/1", |_, _| Ok((ban_for(HOUR, Some(16)), Keep::Unchanged)));
    let policy = Policy::new("ban", Kind::Ban, SubjectBy::Source, wide);
    let world = world_with(rules, Limits::default(), Capacity::default(), vec![policy]);
    world.fail("203.0.113.8", "abc");
    assert!(world.request("203.0.113.9", 200).is_err());
    assert!(world.request("203.0.113.7", 200).is_ok());
}

#[test]
fn rule_4_a_plugins_order_is_clamped() {
    let endless = Duration::from_millis((1 << 53) - 1);
    for (address, asked, got) in [
        ("203.0.113.7", Some(0), "203.0.0.0/16"),
        ("203.0.113.7", Some(200), "203.0.113.7/32"),
        ("203.0.113.7", Some(24), "203.0.113.0/24"),
        ("203.0.113.7", None, "203.0.113.7/32"),
        ("2001:db8::7", Some(0), "2001:db8::/32"),
        ("2001:db8::7", Some(200), "2001:db8::7/128"),
        ("2001:db8::7", None, "2001:db8::/64"),
    ] {
        let order = judge("none/1", move |_, _| Ok((ban_for(endless, asked), Keep::Unchanged)));
        let world = world(vec![Policy::new("ban", Kind::Ban, SubjectBy::Source, order)]);
        assert_eq!(banned_network(&world.fail(address, "abc")), got, "{address} with {asked:?}");
        let Err(Refusal::Banned(left)) = world.request(address, 200) else { panic!("banned") };
        assert_eq!(left, Duration::from_secs(365 * 24 * 3600), "never longer than max_ban");
    }
    let world = world(vec![waits(endless)]);
    world.fail("203.0.113.7", "abc");
    assert_eq!(world.login("203.0.113.7", "abc", "x").refused(), Refusal::Waiting(HOUR), "never longer than max_wait");
}

#[test]
fn rule_4_orders_of_no_time_enforce_nothing() {
    let world = world(vec![waits(Duration::ZERO), bans_at(1, Duration::ZERO)]);
    assert!(world.fail("203.0.113.7", "abc").orders.is_empty());
    assert!(world.fail("203.0.113.7", "abc").orders.is_empty());
}

#[test]
fn rule_4_the_first_ban_of_a_private_address_is_pointed_out_once() {
    let world = world(vec![bans_at(1, HOUR)]);
    let first_private = |address: &str| match &world.fail(address, "abc").orders[0].enforced {
        Enforced::Ban { first_private, .. } => *first_private,
        other => panic!("{other:?}"),
    };
    assert!(!first_private("203.0.113.7"));
    assert!(first_private("192.168.1.1"));
    assert!(!first_private("127.0.0.1"));
}

#[test]
fn rule_8_a_verified_pair_passes_while_its_id_waits_and_calls_no_policy() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let counting = judge("none/1", move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok((Verdict::Pass, Keep::Unchanged))
    });
    let world = world(vec![waits(seconds(2)), Policy::new("ban", Kind::Ban, SubjectBy::Source, counting)]);
    world.succeed("192.0.2.1", "owner");
    world.fail("203.0.113.7", "owner");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(world.login("192.0.2.1", "owner", "right"), Ended::Verified);
    assert!(matches!(world.login("192.0.2.2", "owner", "right"), Ended::Refused(Refusal::Waiting(_))));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[test]
fn rule_8_another_secret_or_new_credentials_end_it() {
    let world = world(vec![]);
    let verified = || world.login("192.0.2.1", "owner", "right") == Ended::Verified;
    world.succeed("192.0.2.1", "owner");
    assert!(verified());
    world.fail("192.0.2.1", "owner");
    assert!(!verified(), "another secret from there dropped it; this login verified it anew");
    assert!(verified());
    world.gate.unverify_all();
    assert!(!verified());
    world.advance(seconds(300));
    assert!(!verified(), "five minutes are over");
}

#[test]
fn rule_8_a_verified_pair_that_is_refused_all_the_same_was_a_failed_attempt() {
    let world = world(vec![waits(seconds(2)), bans_at(1, HOUR)]);
    world.succeed("192.0.2.1", "owner");
    let admitted = world.gate.admit(world.source("192.0.2.1")).unwrap();
    let owner = client("owner");
    let Poll::Ready(Ok(Passage::Verified(recognised))) =
        poll_once(&mut pin!(world.gate.pass(&admitted, Some(&owner), Some(b"right"))))
    else {
        panic!("verified")
    };
    let judged = world.gate.judge_refuted(recognised, &checked("right"));
    assert_eq!(judged.longest_wait(), seconds(2));
    assert_eq!(banned_network(&judged), "192.0.2.1/32");
    world.advance(HOUR);
    assert!(matches!(world.login("192.0.2.1", "owner", "right"), Ended::Judged(_)), "verified no longer");
}

#[test]
fn rule_11_banned_comes_before_verified_and_verified_before_waiting() {
    let world = world(vec![waits(seconds(2)), bans_at(1, HOUR)]);
    world.succeed("192.0.2.1", "owner");
    world.fail("203.0.113.7", "owner");
    assert_eq!(world.login("192.0.2.1", "owner", "right"), Ended::Verified);
    world.fail("192.0.2.1", "someone-else");
    assert!(matches!(world.login("192.0.2.1", "owner", "right"), Ended::Refused(Refusal::Banned(_))));
}

#[test]
fn rule_11_a_refusal_isnt_judged_and_extends_nothing() {
    let world = world(vec![waits(seconds(2)), bans_at(2, HOUR)]);
    world.fail("203.0.113.7", "abc");
    for _ in 0..100 {
        world.advance(Duration::from_millis(19));
        assert!(matches!(world.login("203.0.113.7", "abc", "wrong"), Ended::Refused(Refusal::Waiting(_))));
    }
    world.advance(Duration::from_millis(100));
    assert_eq!(
        banned_network(&world.fail("203.0.113.7", "abc")),
        "203.0.113.7/32",
        "the second failure, not the 102nd"
    );
}

#[test]
fn rule_40_asking_is_rule_11_without_a_turn_and_changes_nothing() {
    let world = world(vec![waits(seconds(2)), waits_by(SubjectBy::Source, seconds(1)), bans_at(3, HOUR)]);
    let look = |address: &str, inquiry| world.gate.look(world.source(address), inquiry);
    let (abc, other) = (client("abc"), client("other"));
    world.fail("203.0.113.7", "abc");
    for _ in 0..100 {
        assert_eq!(look("203.0.113.7", Inquiry::Request), Ok(()), "who waits may ask for pages");
        assert_eq!(look("203.0.113.7", Inquiry::Login(Some(&abc))), Err(Refusal::Waiting(seconds(2))));
        assert_eq!(look("203.0.113.7", Inquiry::Login(None)), Err(Refusal::Waiting(seconds(1))));
        assert_eq!(look("203.0.113.7", Inquiry::Login(Some(&other))), Err(Refusal::Waiting(seconds(1))));
        assert_eq!(look("192.0.2.1", Inquiry::Login(Some(&abc))), Err(Refusal::Waiting(seconds(2))));
        assert_eq!(look("192.0.2.1", Inquiry::Login(None)), Ok(()));
    }
    world.advance(seconds(2));
    assert_eq!(look("203.0.113.7", Inquiry::Login(Some(&abc))), Ok(()));
    world.fail("203.0.113.7", "abc");
    world.advance(seconds(2));
    assert_eq!(banned_network(&world.fail("203.0.113.7", "abc")), "203.0.113.7/32", "asking counted for nothing");
    assert_eq!(look("203.0.113.7", Inquiry::Request), Err(Refusal::Banned(HOUR)));
    assert_eq!(look("192.0.2.1", Inquiry::Request), Ok(()));
}

#[test]
fn rule_11_retry_after_rounds_up() {
    let world = world(vec![waits(Duration::from_millis(2700))]);
    world.fail("203.0.113.7", "abc");
    let retry = || world.login("203.0.113.7", "abc", "x").refused().retry_after_seconds();
    assert_eq!(retry(), 3);
    world.advance(Duration::from_millis(1700));
    assert_eq!(retry(), 1);
    world.advance(Duration::from_millis(999));
    assert_eq!(retry(), 1);
    world.advance(Duration::from_millis(1));
    world.fail("203.0.113.7", "abc");
}

#[test]
fn rule_12_a_thousand_guesses_at_one_id_get_one_look_at_the_secret_per_wait() {
    let world = world(vec![waits(seconds(2))]);
    let id = client("abc");
    let mut looks = 0;
    for round in 0..5 {
        let sources: Vec<_> = (0..1000u32).map(|n| world.source(&format!("100.64.{}.{}", n / 250, n % 250))).collect();
        let admitted: Vec<_> = sources.iter().map(|&source| world.gate.admit(source).unwrap()).collect();
        let mut guesses: Vec<_> =
            admitted.iter().map(|one| Box::pin(world.gate.pass(one, Some(&id), Some(b"x")))).collect();
        // All at once, then again and again until everyone is answered.
        let mut answered = 0;
        let mut turns = Vec::new();
        while answered < 1000 {
            guesses.retain_mut(|guess| match poll_once(&mut guess.as_mut()) {
                Poll::Pending => true,
                Poll::Ready(answer) => {
                    answered += 1;
                    turns.extend(answer.ok());
                    false
                }
            });
            for turn in turns.drain(..) {
                let Passage::Turn(admission) = turn else { panic!("nobody is verified") };
                looks += 1;
                world.gate.judge_attempt(admission, &checked("wrong"));
            }
        }
        assert_eq!(looks, round + 1);
        world.advance(seconds(2));
    }
}

#[test]
fn rule_12_one_source_overshoots_a_ban_by_no_more_than_its_turns() {
    let world = world(vec![bans_at(5, HOUR)]);
    let source = world.source("203.0.113.7");
    let admitted = world.gate.admit(source).unwrap();
    let ids: Vec<_> = (0..1000).map(|n| client(&format!("id-{n}"))).collect();
    let mut guesses: Vec<_> = ids.iter().map(|id| Box::pin(world.gate.pass(&admitted, Some(id), Some(b"x")))).collect();
    let (mut looks, mut refused) = (0, 0);
    let mut under_way = Vec::new();
    while looks + refused < 1000 {
        guesses.retain_mut(|guess| match poll_once(&mut guess.as_mut()) {
            Poll::Pending => true,
            Poll::Ready(Err(_)) => {
                refused += 1;
                false
            }
            Poll::Ready(Ok(passage)) => {
                under_way.push(passage);
                false
            }
        });
        assert!(under_way.len() <= 4);
        if let Some(Passage::Turn(admission)) = under_way.pop() {
            looks += 1;
            world.gate.judge_attempt(admission, &checked("wrong"));
        }
    }
    assert!((5..=5 + 4).contains(&looks), "{looks} looks");
    assert!(matches!(world.gate.admit(source), Err(Refusal::Banned(_))));
}

#[test]
fn rule_12_queues_are_bounded_per_id_and_per_source() {
    let world = world(vec![]);
    let id = client("abc");
    let admitted: Vec<_> =
        (0..18).map(|n| world.gate.admit(world.source(&format!("203.0.113.{n}"))).unwrap()).collect();
    let mut same_id: Vec<_> =
        admitted.iter().map(|one| Box::pin(world.gate.pass(one, Some(&id), Some(b"x")))).collect();
    let answers: Vec<_> = same_id.iter_mut().map(|guess| poll_once(&mut guess.as_mut())).collect();
    assert!(matches!(answers[0], Poll::Ready(Ok(Passage::Turn(_)))));
    assert!(answers[1..17].iter().all(Poll::is_pending), "16 queue");
    assert!(matches!(answers[17], Poll::Ready(Err(Refusal::Busy))));
    drop((answers, same_id));

    let one = world.gate.admit(world.source("192.0.2.1")).unwrap();
    let ids: Vec<_> = (0..69).map(|n| client(&format!("id-{n}"))).collect();
    let mut same_source: Vec<_> = ids.iter().map(|id| Box::pin(world.gate.pass(&one, Some(id), Some(b"x")))).collect();
    let answers: Vec<_> = same_source.iter_mut().map(|guess| poll_once(&mut guess.as_mut())).collect();
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Poll::Ready(Ok(_)))).count(), 4);
    assert_eq!(answers.iter().filter(|answer| answer.is_pending()).count(), 64);
    assert!(matches!(answers[68], Poll::Ready(Err(Refusal::Busy))));
    assert_eq!(Refusal::Busy.retry_after_seconds(), 1);
}

#[test]
fn rule_12_on_its_turn_an_attempt_starts_again_at_rule_11() {
    let world = world(vec![waits(seconds(2)), bans_at(2, HOUR)]);
    let id = client("abc");
    let first = world.gate.admit(world.source("203.0.113.7")).unwrap();
    let second = world.gate.admit(world.source("203.0.113.8")).unwrap();
    let Poll::Ready(Ok(Passage::Turn(turn))) = poll_once(&mut pin!(world.gate.pass(&first, Some(&id), Some(b"x"))))
    else {
        panic!("free")
    };
    let mut queued = pin!(world.gate.pass(&second, Some(&id), Some(b"x")));
    assert!(poll_once(&mut queued).is_pending());
    world.gate.judge_attempt(turn, &checked("wrong"));
    assert!(matches!(poll_once(&mut queued), Poll::Ready(Err(Refusal::Waiting(_)))));
}

#[test]
fn rule_12_who_takes_long_keeps_nobody_of_the_same_id_out_and_is_judged_all_the_same() {
    let world = world(vec![waits(seconds(2))]);
    let id = client("abc");
    let slow = world.gate.admit(world.source("203.0.113.7")).unwrap();
    let owner = world.gate.admit(world.source("192.0.2.1")).unwrap();
    let Poll::Ready(Ok(Passage::Turn(mut held))) = poll_once(&mut pin!(world.gate.pass(&slow, Some(&id), None))) else {
        panic!("free")
    };
    let mut queued = pin!(world.gate.pass(&owner, Some(&id), Some(b"right")));
    assert!(poll_once(&mut queued).is_pending());
    held.yield_id();
    let Poll::Ready(Ok(Passage::Turn(turn))) = poll_once(&mut queued) else { panic!("its turn") };
    world.gate.judge_attempt(turn, &checked("right"));
    assert_eq!(world.gate.judge_attempt(held, &checked("wrong")).longest_wait(), seconds(2));
}

#[test]
fn rule_12_who_takes_long_still_counts_as_one_of_its_source() {
    let world = world(vec![]);
    let admitted = world.gate.admit(world.source("203.0.113.7")).unwrap();
    let mut held = Vec::new();
    for n in 0..4 {
        let id = client(&format!("id-{n}"));
        let Poll::Ready(Ok(Passage::Turn(mut turn))) =
            poll_once(&mut pin!(world.gate.pass(&admitted, Some(&id), None)))
        else {
            panic!("one of four")
        };
        turn.yield_id();
        held.push(turn);
    }
    let fifth = client("fifth");
    let mut queued = pin!(world.gate.pass(&admitted, Some(&fifth), None));
    assert!(poll_once(&mut queued).is_pending());
    drop(held.pop());
    assert!(poll_once(&mut queued).is_ready());
}

#[test]
fn rule_12_a_guess_that_hangs_up_in_the_queue_leaves_nothing_behind() {
    let turnstile = Arc::new(Turnstile::new(1));
    let source = world(vec![]).source("203.0.113.7").network();
    let id = client("abc");
    let mut held = pin!(turnstile.enter(Some(&id), source).unwrap());
    let Poll::Ready(turn) = poll_once(&mut held) else { panic!("free") };
    let waiting = turnstile.enter(Some(&id), source).unwrap();
    let mut next = Box::pin(turnstile.enter(Some(&id), source).unwrap());
    assert!(poll_once(&mut next.as_mut()).is_pending());
    drop(waiting);
    drop(turn);
    // Granted, and dropped without ever being polled again.
    drop(next);
    assert!(turnstile.is_idle());
}

#[test]
fn rule_13_an_order_is_in_force_when_the_judging_returns_and_not_before() {
    let world = world(vec![waits(seconds(2)), bans_at(5, HOUR)]);
    for n in 0..5 {
        assert!(world.request("203.0.113.7", 200).is_ok());
        let judged = world.fail("203.0.113.7", &format!("id-{n}"));
        assert_eq!(judged.longest_wait(), seconds(2));
    }
    assert_eq!(world.request("203.0.113.7", 200), Err(Refusal::Banned(HOUR)));
}

#[test]
fn rule_14_only_scanners_judge_requests_and_only_statuses_they_want() {
    let called = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&called);
    let interest = Interest { statuses: vec![400..=404, 500..=599], attributes: vec!["user-agent".into()] };
    let seen = judge_with("none/1", interest, move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok((Verdict::Pass, Keep::Unchanged))
    });
    let world = world(vec![waits(seconds(2)), Policy::new("scanner", Kind::Scanner, SubjectBy::Source, seen)]);
    assert_eq!(world.gate.ruleset().request_attributes(), ["user-agent"]);
    assert!(world.gate.ruleset().attempt_attributes().is_empty());
    for status in [200, 399, 400, 404, 405, 500, 599, 600] {
        let _judged = world.request("203.0.113.7", status).unwrap();
    }
    assert_eq!(called.load(Ordering::Relaxed), 4);
}

#[test]
fn rule_15_a_ban_holds_for_each_next_request() {
    let world = world(vec![bans_status(404, seconds(10))]);
    let admitted = world.gate.admit(world.source("203.0.113.7")).unwrap();
    let other = world.gate.admit(world.source("203.0.113.7")).unwrap();
    world.gate.judge_request(&admitted, &request(admitted.source(), 404));
    // Admitted before: it finishes (rule 14).
    assert_eq!(world.gate.judge_request(&other, &request(other.source(), 200)).judged_by, 1);
    for _ in 0..10 {
        assert!(matches!(world.request("203.0.113.7", 200), Err(Refusal::Banned(_))));
        world.advance(seconds(1));
    }
    assert!(world.request("203.0.113.7", 200).is_ok());
}

#[test]
fn rule_17_each_policy_keeps_its_own_state_and_the_later_end_wins() {
    let count = |name: &str, limit, duration| {
        Policy::new(name, Kind::Ban, SubjectBy::Source, counting("failures/1", limit, duration))
    };
    let world = world(vec![count("short", 1, seconds(10)), count("long", 2, seconds(100))]);
    world.fail("203.0.113.7", "abc");
    world.advance(seconds(10));
    let both = world.fail("203.0.113.7", "abc");
    assert_eq!(both.orders.len(), 2, "all policies of a kind judge");
    world.advance(seconds(50));
    assert_eq!(world.request("203.0.113.7", 200), Err(Refusal::Banned(seconds(50))));
}

#[test]
fn rule_17_a_shorter_wait_doesnt_shorten_a_running_one() {
    let short = Policy::new(
        "short",
        Kind::Wait,
        SubjectBy::Id,
        judge("none/1", |_, _| Ok((wait_for(seconds(2)), Keep::Unchanged))),
    );
    let world = world(vec![waits(seconds(10)), short]);
    assert_eq!(world.fail("203.0.113.7", "abc").orders.len(), 2);
    assert_eq!(world.login("203.0.113.7", "abc", "x").refused(), Refusal::Waiting(seconds(10)));
}

#[test]
fn rule_17_a_success_judged_during_a_ban_lifts_nothing() {
    let world = world(vec![bans_at(2, HOUR), bans_status(404, HOUR)]);
    world.fail("203.0.113.7", "a");
    let admitted = world.gate.admit(world.source("203.0.113.7")).unwrap();
    let Poll::Ready(Ok(Passage::Turn(turn))) =
        poll_once(&mut pin!(world.gate.pass(&admitted, Some(&client("a")), Some(b"right"))))
    else {
        panic!("free")
    };
    world.request("203.0.113.7", 404).unwrap();
    // Judged during the ban: it resets only the count.
    world.gate.judge_attempt(turn, &checked("right"));
    assert!(matches!(world.request("203.0.113.7", 200), Err(Refusal::Banned(_))));
    world.advance(HOUR);
    assert!(world.fail("203.0.113.7", "a").orders.is_empty(), "the first in a row again");
}

#[test]
fn rule_17_one_policy_that_cannot_judge_doesnt_stop_the_others() {
    let broken = Policy::new("broken", Kind::Ban, SubjectBy::Source, judge("none/1", |_, _| Err(Denied)));
    let world = world(vec![broken, bans_at(1, HOUR)]);
    let judged = world.fail("203.0.113.7", "abc");
    assert!(judged.denied);
    assert_eq!(banned_network(&judged), "203.0.113.7/32");
}

#[test]
fn rule_18_whom_a_wait_is_for_is_the_policys_subject() {
    let refused = |world: &World, address: &str, id: &str| {
        matches!(world.login(address, id, "wrong"), Ended::Refused(Refusal::Waiting(_)))
    };
    let by_id = world(vec![waits_by(SubjectBy::Id, seconds(2))]);
    by_id.fail("203.0.113.7", "abc");
    assert!(refused(&by_id, "192.0.2.1", "abc") && !refused(&by_id, "203.0.113.7", "def"));

    let by_source = world(vec![waits_by(SubjectBy::Source, seconds(2))]);
    by_source.fail("203.0.113.7", "abc");
    assert!(refused(&by_source, "203.0.113.7", "def") && !refused(&by_source, "192.0.2.1", "abc"));

    let by_pair = world(vec![waits_by(SubjectBy::Pair, seconds(2))]);
    by_pair.fail("203.0.113.7", "abc");
    assert!(refused(&by_pair, "203.0.113.7", "abc"));
    assert!(!refused(&by_pair, "203.0.113.7", "def") && !refused(&by_pair, "192.0.2.1", "abc"));

    let without_id = world(vec![waits_by(SubjectBy::Id, seconds(2))]);
    without_id.fail("203.0.113.7", "");
    assert!(refused(&without_id, "203.0.113.7", "") && !refused(&without_id, "192.0.2.1", ""));
}

#[test]
fn rule_18_a_ban_always_hits_the_events_source() {
    let policy = Policy::new("ban", Kind::Ban, SubjectBy::Id, counting("failures/1", 2, HOUR));
    let world = world(vec![policy]);
    world.fail("203.0.113.7", "abc");
    world.fail("203.0.113.8", "abc");
    assert!(world.request("203.0.113.7", 200).is_ok());
    assert!(world.request("203.0.113.8", 200).is_err());
}

/// A policy that reports what was kept by banning for so many seconds.
fn shows_state(format: &str, ttl: Option<Duration>, renew: bool) -> Policy {
    let show = move |_: &event::Dated<'_>, state: Option<&[u8]>| match state {
        Some(bytes) if !renew => Ok((wait_for(seconds(u64::from(bytes[0]))), Keep::Unchanged)),
        _ => Ok((Verdict::Pass, put(&[9], ttl))),
    };
    Policy::new("wait", Kind::Wait, SubjectBy::Source, judge(format, show))
}

#[test]
fn rule_19_ttl_counts_from_the_event_and_unchanged_doesnt_renew_it() {
    let world = world(vec![shows_state("a/1", Some(seconds(20)), false)]);
    let saw_state = |judged: Judged| !judged.orders.is_empty();
    assert!(!saw_state(world.fail("203.0.113.7", "abc")));
    world.advance(seconds(10));
    assert!(saw_state(world.fail("203.0.113.7", "abc")), "which left it unchanged");
    world.advance(seconds(9) + Duration::from_millis(999));
    assert!(saw_state(world.fail("203.0.113.7", "abc")));
    world.advance(seconds(9));
    assert!(!saw_state(world.fail("203.0.113.7", "abc")), "29 s after it was kept for 20");
}

#[test]
fn rule_19_state_of_another_format_is_set_aside_and_not_lost() {
    let world = world(vec![bans_at(3, HOUR)]);
    world.fail("203.0.113.7", "abc");
    world.fail("203.0.113.7", "abc");
    let other = || Policy::new("ban", Kind::Ban, SubjectBy::Source, counting("other/1", 3, HOUR));
    world.swap(vec![other()]);
    assert!(world.fail("203.0.113.7", "abc").orders.is_empty(), "the other format starts at none");
    world.swap(vec![bans_at(3, HOUR)]);
    assert_eq!(world.fail("203.0.113.7", "abc").orders.len(), 1, "the third in its own format");
}

#[test]
fn rule_20_strangers_cannot_fill_the_maps() {
    let capacity = Capacity { states: 100, waits: 100, bans: 10 };
    let world = world_with(SourceRules::default(), Limits::default(), capacity, vec![waits(HOUR), bans_at(1, HOUR)]);
    let mut displaced = 0;
    for n in 0..1000u32 {
        let judged = world.fail(&format!("100.64.{}.{}", n / 250, n % 250), &format!("id-{n}"));
        let is_displaced =
            |order: &Order| matches!(&order.enforced, Enforced::Ban { placed, .. } if placed.displaced.is_some());
        displaced += judged.orders.iter().filter(|order| is_displaced(order)).count();
        world.advance(Duration::from_millis(1));
    }
    assert_eq!(displaced, 990, "and each is told, to be counted and logged");
    assert!(world.request("100.64.3.249", 200).is_err(), "the newest ban stands");
}

#[test]
fn rule_23_ids_are_bounded() {
    assert!(ClientId::new(&"a".repeat(256)).is_ok());
    assert_eq!(ClientId::new(&"a".repeat(257)), Err(IdTooLong { bytes: 257 }));
    assert_eq!(event::cut("aé", 2), "a", "a cut ends on a character");
}

#[test]
fn rule_16_one_subject_is_judged_by_one_thread_at_a_time_and_its_time_never_goes_back() {
    let inside = Arc::new(AtomicUsize::new(0));
    let guard = Arc::clone(&inside);
    let exclusive = judge("count/1", move |dated, state| {
        assert_eq!(guard.fetch_add(1, Ordering::SeqCst), 0, "two at once");
        let (count, last) = state.map_or((0, 0), |bytes| {
            (u32::from_le_bytes(bytes[..4].try_into().unwrap()), u64::from_le_bytes(bytes[4..].try_into().unwrap()))
        });
        assert!(dated.at.as_millis() >= last, "time went back");
        let mut data = (count + 1).to_le_bytes().to_vec();
        data.extend(dated.at.as_millis().to_le_bytes());
        guard.fetch_sub(1, Ordering::SeqCst);
        Ok((if count == 799 { ban_for(HOUR, None) } else { Verdict::Pass }, put(&data, None)))
    });
    let world = world(vec![Policy::new("scanner", Kind::Scanner, SubjectBy::Source, exclusive)]);
    let admitted = world.gate.admit(world.source("203.0.113.7")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    world.clock.advance(Duration::from_millis(1));
                    let judged = world.gate.judge_request(&admitted, &request(admitted.source(), 404));
                    assert_eq!(judged.judged_by, 1);
                }
            });
        }
    });
    assert!(world.request("203.0.113.7", 200).is_err(), "no count was lost: the 800th banned");
}
