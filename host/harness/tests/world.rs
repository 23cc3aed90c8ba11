//! Worlds over the bundle's plugins: the gate in virtual time as an author's test drives it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken test stops")]

use std::net::IpAddr;
use std::time::Duration;

use portcullis_harness::domain::{ClientId, Enforced, Kind, Refusal, Subject};
use portcullis_harness::runtime::{Mode, RuntimeConfig, SettingValue};
use portcullis_harness::{Login, Plan, PolicyPlan, Reaction, RestartKeeps, Shelf, Visit, World};

const HOUR: Duration = Duration::from_secs(3600);

fn bundle(kinds: &[Kind]) -> Plan {
    let (mut shelf, _) = Shelf::new(&RuntimeConfig::default()).unwrap();
    let policy = |kind: &Kind| PolicyPlan::new(kind.name(), *kind, shelf.bundle(*kind).unwrap());
    Plan { policies: kinds.iter().map(policy).collect(), ..Plan::default() }
}

fn world(kinds: &[Kind]) -> World {
    World::open(bundle(kinds), Mode::Pooled).unwrap()
}

fn client(id: &str) -> ClientId {
    ClientId::new(id).unwrap()
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn is_ban(reaction: &Reaction) -> bool {
    let Reaction::Judged(judged) = reaction else { return false };
    judged.orders.iter().any(|order| matches!(order.enforced, Enforced::Ban { .. }))
}

#[test]
fn five_failures_ban_and_every_call_is_noted() {
    let world = world(&[Kind::Ban]);
    let wrong = Login::failed(&client("abc"), ip("203.0.113.7"));
    let reactions: Vec<_> = (0..5).map(|_| world.login(&wrong)).collect();
    assert_eq!(reactions.iter().map(is_ban).collect::<Vec<_>>(), [false, false, false, false, true]);
    assert_eq!(world.login(&wrong), Reaction::Refused(Refusal::Banned(HOUR)));
    let calls = world.take_calls();
    assert_eq!(calls.len(), 5);
    assert_eq!((&calls[0].before, calls[1].before.is_some()), (&None, true));
    world.advance(HOUR);
    assert!(matches!(world.login(&wrong), Reaction::Judged(_)));
}

#[test]
fn a_thousand_guesses_at_once_get_one_look_at_the_secret() {
    let world = world(&[Kind::Wait]);
    let guess = |n: u16| Login::failed(&client("abc"), IpAddr::from([0x2001, 0xdb8, 0, n, 0, 0, 0, 1]));
    let guesses: Vec<_> = (0..1000).map(guess).collect();
    let reactions = world.logins_at_once(&guesses, Duration::from_millis(100));
    let judged = reactions.iter().filter(|reaction| matches!(reaction, Reaction::Judged(_))).count();
    let waiting =
        reactions.iter().filter(|reaction| matches!(reaction, Reaction::Refused(Refusal::Waiting(_)))).count();
    let busy = reactions.iter().filter(|reaction| matches!(reaction, Reaction::Refused(Refusal::Busy))).count();
    // One is under way, 16 queue for the id (rule 12) and then meet its wait, the rest comes to nothing.
    assert_eq!((judged, waiting, busy), (1, 16, 983));
}

#[test]
fn slow_checks_are_overtaken_and_judged_all_the_same() {
    let world = world(&[Kind::Ban]);
    let logins = [Login::failed(&client("abc"), ip("203.0.113.7")), Login::failed(&client("abc"), ip("203.0.113.8"))];
    let begin = world.now();
    let reactions = world.logins_at_once(&logins, Duration::from_secs(10));
    assert!(reactions.iter().all(|reaction| matches!(reaction, Reaction::Judged(_))), "{reactions:?}");
    // The second was let in after 4 s (rule 12), not after 10.
    assert_eq!(world.now().since(begin), Duration::from_secs(14));
}

#[test]
fn a_verified_pair_needs_its_secret_and_is_gone_after_a_restart() {
    let mut world = world(&[]);
    let right = Login { secret: Some("sesame".to_owned()), ..Login::succeeded(&client("abc"), ip("203.0.113.7")) };
    assert!(matches!(world.login(&right), Reaction::Judged(_)));
    assert_eq!(world.login(&right), Reaction::Verified);
    world.restart(RestartKeeps::State).unwrap();
    assert!(matches!(world.login(&right), Reaction::Judged(_)));
}

#[test]
fn state_survives_a_restart_that_keeps_it_and_a_swap_to_the_same_format() {
    let mut world = world(&[Kind::Ban]);
    let wrong = Login::failed(&client("abc"), ip("203.0.113.7"));
    let subject = Subject::Source(world.source(wrong.from).network());
    world.login(&wrong);
    let kept = world.kept("ban", &subject);
    assert!(kept.is_some());
    world.restart(RestartKeeps::State).unwrap();
    assert_eq!(world.kept("ban", &subject), kept);
    let mut policies = world.plan().policies.clone();
    policies[0] = policies[0].clone().setting("max_failed_login", SettingValue::Integer(2));
    world.swap(policies).unwrap();
    assert!(is_ban(&world.login(&wrong)), "the failure of before the swap counts");
    world.restart(RestartKeeps::Nothing).unwrap();
    assert!(matches!(world.login(&wrong), Reaction::Judged(_)), "the ban is gone with the state");
}

#[test]
fn replies_are_those_of_the_gate() {
    let world = world(&[Kind::Scanner]);
    let visit = Visit::new(ip("203.0.113.7"), "/.env", 404);
    let replies: Vec<_> = (0..3).map(|_| world.request(&visit).reply(visit.status)).collect();
    assert_eq!(replies, [404, 404, 423]);
}

#[test]
fn a_plugin_that_refuses_its_settings_opens_no_world() {
    let mut plan = bundle(&[Kind::Ban]);
    plan.policies[0] = plan.policies[0].clone().setting("max_failed_logins", SettingValue::Integer(2));
    let error = World::open(plan, Mode::Pooled).unwrap_err();
    assert!(error.to_string().starts_with("policy ban: settings: max_failed_logins"), "{error}");
}
