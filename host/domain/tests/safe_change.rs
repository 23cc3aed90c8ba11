//! Shadow policies, the cap on bans, acts by hand and who hears of what, in
//! virtual time (rules 32 to 37).
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a broken test stops")]

mod kit;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::*;
use portcullis_domain::event::Dated;
use portcullis_domain::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A policy called `new` that is tried in shadow.
fn in_shadow(kind: Kind, judge: Arc<dyn Judge>) -> Policy {
    Policy::new("new", kind, SubjectBy::default_of(kind), judge).mode(PolicyMode::Shadow)
}

fn report(world: &World) -> ShadowReport {
    world.store.shadow("new").report(100)
}

fn subjects(compared: &[Compared]) -> Vec<String> {
    let name = |compared: &Compared| match &compared.subject {
        Subject::Id(id) => id.as_str().to_owned(),
        Subject::Source(network) | Subject::Pair(_, network) => network.to_string(),
    };
    compared.iter().map(name).collect()
}

#[test]
fn rule_32_a_shadow_policy_enforces_nothing_and_says_what_it_would_have_done() {
    let world = world(vec![bans_at(4, HOUR), in_shadow(Kind::Ban, counting("failures/1", 2, HOUR))]);
    assert!(world.fail("203.0.113.7", "abc").in_shadow.is_empty());
    let judged = world.fail("203.0.113.7", "abc");
    assert!(judged.orders.is_empty() && !judged.has_banned());
    assert_eq!(judged.in_shadow[0].subject, Subject::Source("203.0.113.7/32".parse().unwrap()));
    assert_eq!((judged.in_shadow[0].duration, judged.judged_by), (HOUR, 2));
    assert!(world.request("203.0.113.7", 200).is_ok(), "it goes on");
    assert!(world.store.bans_on(ip("203.0.113.7"), world.clock.now()).is_empty());
}

#[test]
fn rule_32_the_difference_is_listed_both_ways_with_reasons_and_logins() {
    let world = world(vec![bans_at(3, HOUR), in_shadow(Kind::Ban, counting("failures/1", 2, HOUR))]);
    for address in ["203.0.113.1", "203.0.113.2"] {
        world.fail(address, address);
        world.fail(address, address);
    }
    world.fail("203.0.113.2", "2");
    world.succeed("203.0.113.1", "203.0.113.1");
    let seen = report(&world);
    assert_eq!(subjects(&seen.newly), ["203.0.113.1/32"]);
    assert_eq!((seen.newly[0].logins_after, seen.newly[0].logins_refused, seen.newly_logged_in), (1, 1, 1));
    assert_eq!(seen.newly[0].shadow_reason, Some(reason()));
    assert_eq!((seen.both, seen.no_longer_subjects), (1, 0));
    assert_eq!((seen.counts.orders, seen.counts.agreed, seen.counts.refused), (2, 1, 2));

    // The other way around: the new one is milder.
    world.swap(vec![bans_at(3, HOUR), in_shadow(Kind::Ban, judge_of((2, 0), count_to(9, HOUR)))]);
    for _ in 0..3 {
        world.fail("203.0.113.3", "3");
    }
    let seen = report(&world);
    assert_eq!((subjects(&seen.newly).len(), subjects(&seen.no_longer)), (0, vec!["203.0.113.3/32".to_owned()]));
    assert_eq!(seen.no_longer[0].enforced_reason, Some(reason()));
}

#[test]
fn rule_32_a_shadow_wait_is_compared_by_who_waits() {
    let longer = judge("none/1", |dated, _| {
        Ok((if failed(dated) { wait_for(seconds(10)) } else { Verdict::Pass }, Keep::Unchanged))
    });
    let world = world(vec![in_shadow(Kind::Wait, longer)]);
    world.fail("203.0.113.7", "abc");
    world.advance(seconds(3));
    assert!(matches!(world.login("203.0.113.7", "abc", "right"), Ended::Judged(_)), "nobody waits");
    let seen = report(&world);
    assert_eq!((subjects(&seen.newly), seen.newly[0].logins_refused), (vec!["abc".to_owned()], 1));
}

#[test]
fn rule_32_it_isnt_asked_about_what_it_would_have_had_refused_and_keeps_no_state_of_it() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let once = judge("none/1", move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok((ban_for(seconds(10), Some(24)), Keep::Unchanged))
    });
    let world = world(vec![in_shadow(Kind::Ban, once)]);
    world.fail("203.0.113.7", "abc");
    world.fail("203.0.113.7", "abc");
    world.fail("203.0.113.8", "def");
    assert_eq!(calls.load(Ordering::Relaxed), 1, "the /24 would have been banned");
    world.advance(seconds(10));
    world.fail("203.0.113.8", "def");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(report(&world).counts.refused, 2);
}

#[test]
fn rule_32_a_shadow_scanner_hears_of_logins_it_would_have_kept_out() {
    let world =
        world(vec![in_shadow(Kind::Scanner, judge("none/1", |_, _| Ok((ban_for(HOUR, None), Keep::Unchanged))))]);
    world.request("203.0.113.7", 404).unwrap();
    world.succeed("203.0.113.7", "owner");
    let seen = report(&world);
    assert_eq!((seen.newly_logged_in, seen.counts.logins_refused), (1, 1));
}

#[test]
fn rule_32_a_shadow_policy_that_fails_denies_nobody() {
    let broken = in_shadow(Kind::Ban, judge("none/1", |_, _| Err(Denied)));
    let world = world(vec![broken, bans_at(1, HOUR)]);
    let judged = world.succeed("203.0.113.7", "abc");
    assert!(!judged.denied);
    assert_eq!(world.login("203.0.113.7", "abc", "right"), Ended::Verified, "the login counted");
    assert_eq!(report(&world).counts.failed, 1);
}

#[test]
fn rule_32_bans_of_a_spared_source_are_no_difference() {
    let rules = SourceRules { never_ban: vec!["192.0.2.0/24".parse().unwrap()], ..SourceRules::default() };
    let policies = vec![bans_at(1, HOUR), in_shadow(Kind::Ban, counting("failures/1", 1, HOUR))];
    let world = world_with(rules, Limits::default(), Capacity::default(), policies);
    assert_eq!(world.fail("192.0.2.7", "abc").orders[0].enforced, Enforced::Spared);
    let seen = report(&world);
    assert_eq!((seen.newly_subjects, seen.no_longer_subjects, seen.both), (0, 0, 0));
}

#[test]
fn rule_32_it_has_no_place_under_the_cap() {
    let world = capped(1, vec![in_shadow(Kind::Ban, counting("failures/1", 1, HOUR))]);
    for n in 0..5 {
        assert_eq!(world.fail(&format!("203.0.113.{n}"), "abc").in_shadow.len(), 1);
    }
    assert!(world.gate.tripped().is_empty());
}

#[test]
fn rule_32_a_change_of_mode_loses_no_count_and_other_code_begins_the_comparison_anew() {
    let version = |of: (u8, u8)| Policy::new("new", Kind::Ban, SubjectBy::Source, judge_of(of, count_to(3, HOUR)));
    let shadow = |of| version(of).mode(PolicyMode::Shadow);
    let world = world(vec![shadow((1, 1))]);
    world.fail("203.0.113.7", "abc");
    world.fail("203.0.113.7", "abc");
    world.swap(vec![version((1, 1))]);
    assert_eq!(banned_network(&world.fail("203.0.113.7", "abc")), "203.0.113.7/32", "the third failure");

    world.swap(vec![shadow((1, 1))]);
    for _ in 0..3 {
        world.fail("203.0.113.8", "abc");
    }
    world.swap(vec![shadow((1, 1))]);
    assert_eq!(report(&world).newly_subjects, 1, "the same code goes on");
    for other in [(1, 2), (2, 2)] {
        world.swap(vec![shadow(other)]);
        assert_eq!(report(&world), ShadowReport::default(), "other settings, another plugin");
        (0..3).for_each(|_| drop(world.fail("203.0.113.9", "abc")));
    }
    world.store.shadow("new").reset();
    assert_eq!(report(&world), ShadowReport::default());
}

#[test]
fn rule_33_over_the_cap_bans_are_told_and_not_enforced_and_in_time_they_are_again() {
    let world = capped(2, vec![bans_at(1, HOUR)]);
    let ban = |n: u32| world.fail(&format!("203.0.113.{n}"), "abc").orders.swap_remove(0);
    assert!((1..=2).all(|n| matches!(ban(n).enforced, Enforced::Ban { .. })));
    let third = ban(3);
    assert!(matches!(third.enforced, Enforced::LogOnly { tripped: true, duration: HOUR, .. }), "{third:?}");
    assert!(world.request("203.0.113.3", 200).is_ok());
    assert!(matches!(ban(4).enforced, Enforced::LogOnly { tripped: false, .. }));
    assert_eq!(world.gate.tripped()[0].not_enforced, 2);
    world.advance(seconds(60));
    let mended = world.gate.mended();
    assert_eq!((mended.len(), world.gate.tripped().len()), (1, 0));
    assert!(matches!(ban(5).enforced, Enforced::Ban { .. }));
}

#[test]
fn rule_33_a_trusted_policy_says_so_with_its_next_ban() {
    let world = capped(1, vec![bans_at(1, HOUR)]);
    let ban = |n: u32| world.fail(&format!("203.0.113.{n}"), "abc").orders.swap_remove(0);
    (1..=2).for_each(|n| drop(ban(n)));
    world.advance(seconds(60));
    assert!(ban(3).trusted_again);
    assert!(!ban(4).trusted_again);
}

#[test]
fn rule_33_a_source_that_is_banned_already_neither_counts_nor_is_held_back() {
    let world = capped(1, vec![bans_status(404, HOUR)]);
    let source = world.source("203.0.113.7");
    // A scanner's many requests at once: all admitted, and each of them a hit.
    let admitted: Vec<_> = (0..50).map(|_| world.gate.admit(source).unwrap()).collect();
    for one in &admitted {
        let judged = world.gate.judge_request(one, &request(source, 404));
        assert!(matches!(judged.orders[0].enforced, Enforced::Ban { .. }));
    }
    assert!(world.gate.tripped().is_empty());
}

#[test]
fn rule_33_acts_by_hand_and_waits_have_no_cap() {
    let world = capped(1, vec![waits(seconds(2))]);
    for n in 0..9 {
        assert_eq!(world.fail(&format!("203.0.113.{n}"), &format!("id-{n}")).longest_wait(), seconds(2));
        assert!(world.gate.ban(format!("198.51.100.{n}/32").parse().unwrap(), HOUR, "").unwrap().changed);
    }
    assert!(world.gate.tripped().is_empty());
}

/// The same rules, and never that network.
fn never(world: &World, network: &str, policies: Vec<Policy>) -> Vec<String> {
    let rules = SourceRules { never_ban: vec![network.parse().unwrap()], ..world.rules.clone() };
    let ruleset = Ruleset::new(rules, world.limits.clone(), policies, &*world.store);
    world.gate.swap(ruleset).iter().map(|ban| ban.network.to_string()).collect()
}

#[test]
fn rule_34_what_comes_to_be_never_banned_is_lifted_and_wider_bans_stay() {
    let world = world(vec![bans_at(1, HOUR)]);
    for address in ["203.0.113.7", "203.0.113.8", "198.51.100.1"] {
        world.fail(address, "abc");
    }
    world.gate.ban("203.0.0.0/16".parse().unwrap(), HOUR, "").unwrap();
    assert_eq!(never(&world, "203.0.113.0/24", vec![bans_at(1, HOUR)]), ["203.0.113.7/32", "203.0.113.8/32"]);
    assert!(world.request("203.0.113.7", 200).is_ok(), "the /16 spares it");
    assert!(world.request("203.0.112.7", 200).is_err());
    assert!(world.request("198.51.100.1", 200).is_err());
    assert_eq!(world.store.bans(None, 10, world.clock.now()).len(), 2);
    assert!(never(&world, "203.0.113.0/25", vec![]).is_empty(), "lifted already");
}

#[test]
fn rule_34_what_was_restored_is_lifted_at_the_start() {
    let rules = SourceRules { never_ban: vec!["203.0.113.0/24".parse().unwrap()], ..SourceRules::default() };
    let world = world_with(rules, Limits::default(), Capacity::default(), vec![]);
    let now = world.clock.now();
    let cause = Arc::new(Cause { by: By::Operator, reason: reason() });
    let ban = |network: &str| Ban {
        network: network.parse().unwrap(),
        since: now,
        until: now.after(HOUR),
        cause: cause.clone(),
    };
    world.store.restore_bans([ban("203.0.113.7/32"), ban("198.51.100.1/32")], now);
    assert_eq!(world.gate.lift_never_banned().len(), 1);
    assert_eq!(world.store.sizes().bans, 1);
}

#[test]
fn rule_34_a_ban_that_was_being_judged_meanwhile_is_lifted_too() {
    type Swap = Box<dyn FnOnce() + Send>;
    let swap: Arc<Mutex<Option<Swap>>> = Arc::default();
    let meanwhile = Arc::clone(&swap);
    let slow = judge("none/1", move |_, _| {
        if let Some(swap) = meanwhile.lock().unwrap().take() {
            swap();
        }
        Ok((ban_for(HOUR, None), Keep::Unchanged))
    });
    let world = Arc::new(world(vec![Policy::new("ban", Kind::Ban, SubjectBy::Source, slow)]));
    let its_own = Arc::clone(&world);
    *swap.lock().unwrap() = Some(Box::new(move || assert!(never(&its_own, "203.0.113.0/24", vec![]).is_empty())));
    assert_eq!(world.fail("203.0.113.7", "abc").orders[0].enforced, Enforced::Spared);
    assert_eq!(world.store.sizes().bans, 0);
}

#[test]
fn rule_35_by_hand_nobody_bans_too_much_or_whom_nobody_may() {
    let rules = SourceRules { never_ban: vec!["192.0.2.0/24".parse().unwrap()], ..SourceRules::default() };
    let world = world_with(rules, Limits::default(), Capacity::default(), vec![]);
    let ban = |network: &str, duration| world.gate.ban(network.parse().unwrap(), duration, "as the test wants");
    assert!(matches!(ban("203.0.0.0/7", HOUR), Err(ActError::TooWide { .. })));
    for network in ["192.0.2.7/32", "192.0.0.0/16"] {
        assert!(matches!(ban(network, HOUR), Err(ActError::Spared { .. })), "{network}");
    }
    assert_eq!(ban("203.0.113.7/32", Duration::ZERO), Err(ActError::NoTime));
    assert_eq!(world.store.sizes().bans, 0, "nothing came of these");
    let placed = ban("203.0.113.77/24", Duration::MAX).unwrap();
    assert_eq!(placed.until, world.clock.now().after(world.limits.max_ban));
    assert!(world.request("203.0.113.1", 200).is_err());
}

#[test]
fn rule_35_a_longer_ban_stays_and_lifting_lifts_what_lies_within() {
    let world = world(vec![bans_at(1, HOUR)]);
    world.fail("203.0.113.7", "abc");
    let shorter = world.gate.ban("203.0.113.7/32".parse().unwrap(), seconds(1), "").unwrap();
    assert!(!shorter.changed);
    world.gate.ban("203.0.113.0/24".parse().unwrap(), HOUR, "").unwrap();
    assert_eq!(world.gate.unban("203.0.113.7/32".parse().unwrap()).len(), 1);
    assert!(world.request("203.0.113.7", 200).is_err(), "by the /24");
    assert_eq!(world.gate.unban("203.0.0.0/16".parse().unwrap()).len(), 1);
    assert!(world.request("203.0.113.7", 200).is_ok());
}

#[test]
fn rule_35_ending_a_wait_ends_that_of_one_subject_and_leaves_what_is_kept() {
    let world = world(vec![waits(seconds(60)), bans_at(2, HOUR)]);
    world.fail("203.0.113.7", "abc");
    world.fail("203.0.113.8", "def");
    assert!(world.gate.unwait(&Subject::Id(client("abc"))).is_some());
    assert!(world.gate.unwait(&Subject::Id(client("abc"))).is_none());
    assert!(matches!(world.login("203.0.113.9", "def", "x"), Ended::Refused(Refusal::Waiting(_))));
    assert_eq!(banned_network(&world.fail("203.0.113.7", "abc")), "203.0.113.7/32", "the second failure");
}

/// Notes what it hears, in words.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn note(&self, words: String) {
        self.0.lock().unwrap().push(words);
    }
}

impl Witness for Notes {
    fn judged(&self, testimony: &Testimony<'_>) {
        let said = match testimony.answer {
            Ok(Judgement { verdict: Verdict::Pass, .. }) => "pass",
            Ok(_) => "order",
            Err(Denied) => "denied",
        };
        let became = match testimony.order.map(|order| &order.enforced) {
            None => "nothing",
            Some(Enforced::Wait { .. }) => "wait",
            Some(Enforced::Ban { .. }) => "ban",
            Some(Enforced::Spared) => "spared",
            Some(Enforced::LogOnly { .. }) => "log only",
        };
        let (policy, before) = (testimony.policy, testimony.before);
        self.note(format!("{policy} {:?}: {before:?} {said} {became}", testimony.mode));
    }

    fn unjudged(&self, _: Timestamp, attempt: &Attempt<'_>, _: Origin<'_>) {
        self.note(format!("unjudged {:?}", attempt.outcome));
    }

    fn acted(&self, _: Timestamp, act: &Act<'_>) {
        self.note(match act {
            Act::Ban(ban) => format!("ban {}", ban.network),
            Act::Unban(ban) => format!("unban {}", ban.network),
            Act::NeverBan(ban) => format!("never {}", ban.network),
            Act::Unwait(wait) => format!("unwait {:?}", wait.subject),
            Act::Trust { policy } => format!("trust {policy}"),
        });
    }
}

fn witnessed(world: World) -> (World, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    (world.witnessed_by(Arc::clone(&notes) as _), notes)
}

#[test]
fn rule_37_every_judgement_of_an_attempt_is_heard_with_what_was_before() {
    let shadow = in_shadow(Kind::Ban, counting("failures/1", 2, HOUR));
    let (world, notes) = witnessed(world(vec![shadow, bans_at(2, HOUR)]));
    world.fail("203.0.113.7", "abc");
    assert_eq!(notes.take(), ["ban Enforce: None pass nothing", "new Shadow: None pass nothing"]);
    world.fail("203.0.113.7", "abc");
    let heard = notes.take();
    assert_eq!(heard, ["ban Enforce: Some([1]) order ban", "new Shadow: Some([1]) order nothing"]);
    world.login("203.0.113.7", "abc", "x").refused();
    assert!(notes.take().is_empty(), "of refusals nothing");
}

#[test]
fn rule_37_an_order_is_in_force_and_the_subject_held_when_it_is_heard() {
    struct Looks(Arc<MemoryStore>, Mutex<Vec<bool>>);
    impl Witness for Looks {
        fn judged(&self, testimony: &Testimony<'_>) {
            let (at, source) = (testimony.dated.at, testimony.dated.event.source());
            self.1.lock().unwrap().push(self.0.banned_until(source.address(), at).is_some());
        }
        fn unjudged(&self, _: Timestamp, _: &Attempt<'_>, _: Origin<'_>) {}
        fn acted(&self, _: Timestamp, _: &Act<'_>) {}
    }
    let world = world(vec![bans_at(1, HOUR)]);
    let looks = Arc::new(Looks(Arc::clone(&world.store), Mutex::default()));
    let world = world.witnessed_by(Arc::clone(&looks) as _);
    world.fail("203.0.113.7", "abc");
    assert_eq!(*looks.1.lock().unwrap(), [true]);
}

#[test]
fn rule_37_of_requests_what_isnt_simply_passed_is_heard() {
    let state = |dated: &Dated<'_>, _: Option<&[u8]>| match dated.event {
        Event::Request(request) if request.status == 404 => Ok((Verdict::Pass, put(&[1], None))),
        Event::Request(request) if request.status == 503 => Err(Denied),
        _ => Ok((Verdict::Pass, Keep::Unchanged)),
    };
    let (world, notes) =
        witnessed(world(vec![Policy::new("scanner", Kind::Scanner, SubjectBy::Source, judge("a/1", state))]));
    for status in [200, 404, 503] {
        world.request("203.0.113.7", status).unwrap();
    }
    assert_eq!(notes.take(), ["scanner Enforce: None pass nothing", "scanner Enforce: Some([1]) denied nothing"]);
}

#[test]
fn rule_37_an_attempt_without_policies_and_every_act_is_heard() {
    let (world, notes) = witnessed(capped(1, vec![]));
    world.fail("203.0.113.7", "abc");
    world.succeed("203.0.113.7", "abc");
    assert_eq!(notes.take(), ["unjudged Failure", "unjudged Success"]);

    let network = "203.0.113.7/32".parse().unwrap();
    world.gate.ban(network, HOUR, "").unwrap();
    world.gate.ban(network, seconds(1), "").unwrap();
    world.gate.unban(network);
    world.gate.unban(network);
    assert_eq!(notes.take(), ["ban 203.0.113.7/32", "unban 203.0.113.7/32"], "what changes nothing isn't an act");

    world.swap(vec![bans_at(1, HOUR), waits(seconds(2))]);
    for n in 1..=2 {
        world.fail(&format!("203.0.113.{n}"), &format!("id-{n}"));
    }
    assert!(notes.take().contains(&"ban Enforce: None order log only".to_owned()));
    assert!(world.gate.trust("ban") && !world.gate.trust("ban"));
    world.gate.unwait(&Subject::Id(client("id-1")));
    never(&world, "203.0.113.0/24", vec![]);
    assert_eq!(notes.take(), ["trust ban", "unwait Id(ClientId(\"id-1\"))", "never 203.0.113.1/32"]);
}
