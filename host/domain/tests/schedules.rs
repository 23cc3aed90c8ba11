//! Schedules of the gate, the turnstile, kept state, verified pairs and the ledger
//! of bans, explored by loom up to a bound of preemptions. The map inside that
//! ledger isn't loom's: each of its operations counts as one step.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p portcullis-domain --test schedules --profile loom`;
//! without that flag this file is empty.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a broken test stops")]

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ipnet::IpNet;
use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use portcullis_domain::*;

/// All schedules with up to three preemptions: where races of this size show.
fn explore(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

fn subject(id: &str) -> Subject {
    Subject::Id(ClientId::new(id).unwrap())
}

fn clock() -> VirtualClock {
    VirtualClock::new(Timestamp::from_millis(1))
}

fn count_once(table: &dyn Table, subject: &Subject, inside: Option<&AtomicUsize>) {
    table.hold(subject, &clock(), &mut |_, held| {
        if let Some(inside) = inside {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold one subject");
        }
        let count = held.as_kept().read(0).map_or(0, |bytes| bytes[0]);
        held.keep(0, Keep::Put(KeptState { data: StateBytes::from_slice(&[count + 1]), ttl: None }));
        if let Some(inside) = inside {
            inside.fetch_sub(1, Ordering::SeqCst);
        }
    });
}

#[test]
fn rule_16_read_judge_and_commit_are_one_step_per_subject() {
    explore(|| {
        let store = MemoryStore::new(Capacity { states: 8, waits: 8, bans: 8 });
        let table = store.table("ban", &[StateFormat::new("count/1")]);
        let inside = loom::sync::Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (table, inside) = (Arc::clone(&table), inside.clone());
                thread::spawn(move || count_once(&*table, &subject("abc"), Some(&inside)))
            })
            .collect();
        // Somebody else's state in the same shard is neither in the way nor touched.
        count_once(&*table, &subject("other"), None);
        for thread in threads {
            thread.join().unwrap();
        }
        let mut seen = (0, 0);
        table.hold(&subject("abc"), &clock(), &mut |_, held| seen.0 = held.as_kept().read(0).unwrap()[0]);
        table.hold(&subject("other"), &clock(), &mut |_, held| seen.1 = held.as_kept().read(0).unwrap()[0]);
        assert_eq!(seen, (2, 1));
    });
}

#[test]
fn rule_12_one_turn_per_id_and_nobody_is_forgotten() {
    explore(|| {
        let turnstile = Arc::new(Turnstile::new(4));
        let inside = loom::sync::Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (turnstile, inside) = (Arc::clone(&turnstile), inside.clone());
                thread::spawn(move || one_turn(&turnstile, &inside))
            })
            .collect();
        one_turn(&turnstile, &inside);
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(turnstile.is_idle());
    });
}

fn one_turn(turnstile: &Arc<Turnstile>, inside: &AtomicUsize) {
    let id = ClientId::new("abc").unwrap();
    let turn = block_on(turnstile.enter(Some(&id), "203.0.113.7/32".parse().unwrap()).unwrap());
    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two turns at one id");
    inside.fetch_sub(1, Ordering::SeqCst);
    drop(turn);
}

#[test]
fn rule_12_who_gives_up_while_being_let_in_passes_the_turn_on() {
    explore(|| {
        let turnstile = Arc::new(Turnstile::new(1));
        let id = ClientId::new("abc").unwrap();
        let source = "203.0.113.7/32".parse().unwrap();
        let Poll::Ready(turn) =
            pin!(turnstile.enter(Some(&id), source).unwrap()).as_mut().poll(&mut Context::from_waker(Waker::noop()))
        else {
            unreachable!("free")
        };
        let gives_up = turnstile.enter(Some(&id), source).unwrap();
        let stays = turnstile.enter(Some(&id), source).unwrap();
        let leaving = thread::spawn(move || drop(gives_up));
        let releasing = thread::spawn(move || drop(turn));
        drop(block_on(stays));
        leaving.join().unwrap();
        releasing.join().unwrap();
        assert!(turnstile.is_idle());
    });
}

#[test]
fn rule_8_what_was_checked_against_old_credentials_is_never_remembered() {
    explore(|| {
        let pairs = loom::sync::Arc::new(VerifiedPairs::with_capacity([7; 32], 8));
        let id = ClientId::new("abc").unwrap();
        let source = "203.0.113.7/32".parse().unwrap();
        let now = Timestamp::from_millis(1);
        let era = pairs.era();
        let reloading = {
            let pairs = pairs.clone();
            thread::spawn(move || pairs.forget_all())
        };
        pairs.remember(&id, source, b"old", now, Duration::from_secs(300), era);
        reloading.join().unwrap();
        assert!(!pairs.recognises(&id, source, b"old", now));
    });
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([203, 0, 113, last])
}

fn network(last: u8) -> IpNet {
    IpNet::from(address(last))
}

fn ban(store: &MemoryStore, last: u8, until: u64) {
    let cause = Cause { by: By::Operator, reason: Reason::new("test", "").unwrap() };
    store.ban(network(last), Timestamp::from_millis(until), Timestamp::from_millis(1), &cause);
}

fn banned_until(store: &MemoryStore, last: u8) -> Option<u64> {
    store.banned_until(address(last), Timestamp::from_millis(1)).map(Timestamp::as_millis)
}

#[test]
fn rule_15_a_ban_holds_while_others_of_its_width_come_and_go() {
    explore(|| {
        let store = Arc::new(MemoryStore::new(Capacity { states: 8, waits: 8, bans: 8 }));
        ban(&store, 7, 100);
        let changing = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                ban(&store, 8, 100);
                store.unban_within(&[network(8)], Timestamp::from_millis(1));
            })
        };
        assert_eq!(banned_until(&store, 7), Some(100));
        assert_eq!(banned_until(&store, 7), Some(100));
        changing.join().unwrap();
        assert_eq!((banned_until(&store, 7), banned_until(&store, 8)), (Some(100), None));
    });
}

#[test]
fn rule_17_of_two_bans_of_one_network_at_once_the_later_end_wins_and_it_is_never_free() {
    explore(|| {
        let store = Arc::new(MemoryStore::new(Capacity { states: 8, waits: 8, bans: 8 }));
        ban(&store, 7, 50);
        let other = {
            let store = Arc::clone(&store);
            thread::spawn(move || ban(&store, 7, 100))
        };
        let reading = {
            let store = Arc::clone(&store);
            thread::spawn(move || assert!(banned_until(&store, 7).is_some()))
        };
        ban(&store, 7, 200);
        other.join().unwrap();
        reading.join().unwrap();
        assert_eq!(banned_until(&store, 7), Some(200));
        assert_eq!(store.sizes().bans, 1);
    });
}

#[test]
fn rule_35_a_ban_and_its_lifting_at_once_leave_either_and_nothing_half() {
    explore(|| {
        let store = Arc::new(MemoryStore::new(Capacity { states: 8, waits: 8, bans: 8 }));
        let banning = {
            let store = Arc::clone(&store);
            thread::spawn(move || ban(&store, 7, 100))
        };
        let lifted = store.unban_within(&[network(7)], Timestamp::from_millis(1));
        banning.join().unwrap();
        let stands = banned_until(&store, 7).is_some();
        assert_eq!(lifted.len() + usize::from(stands), 1);
        assert_eq!(store.sizes().bans, usize::from(stands));
        ban(&store, 8, 100);
        assert!(banned_until(&store, 8).is_some(), "its width is looked up");
    });
}

#[test]
fn rule_35_a_ban_that_is_made_longer_while_it_is_lifted_stands_as_a_whole_or_not_at_all() {
    explore(|| {
        let store = Arc::new(MemoryStore::new(Capacity { states: 8, waits: 8, bans: 8 }));
        ban(&store, 7, 100);
        let banning = {
            let store = Arc::clone(&store);
            thread::spawn(move || ban(&store, 7, 200))
        };
        let lifted = store.unban_within(&[network(7)], Timestamp::from_millis(1));
        banning.join().unwrap();
        assert_eq!(lifted.len(), 1);
        assert!([None, Some(200)].contains(&banned_until(&store, 7)));
        assert_eq!(store.sizes().bans, usize::from(banned_until(&store, 7).is_some()));
    });
}

/// Every failure waits two seconds.
struct Waits([StateFormat; 1], Interest);

/// Every failure bans for an hour.
struct Bans([StateFormat; 1], Interest);

impl Judge for Waits {
    fn formats(&self) -> &[StateFormat] {
        &self.0
    }

    fn interest(&self) -> &Interest {
        &self.1
    }

    fn judge(&self, _: &event::Dated<'_>, _: &dyn Kept) -> Result<Judgement, Denied> {
        let reason = Reason::new("failed", "wrong").unwrap();
        let verdict = Verdict::Wait(WaitOrder { duration: Duration::from_secs(2), reason });
        Ok(Judgement { verdict, keep: Keep::Unchanged, format: 0, answered: Answered::Own })
    }
}

impl Judge for Bans {
    fn formats(&self) -> &[StateFormat] {
        &self.0
    }

    fn interest(&self) -> &Interest {
        &self.1
    }

    fn judge(&self, _: &event::Dated<'_>, _: &dyn Kept) -> Result<Judgement, Denied> {
        let (duration, reason) = (Duration::from_secs(3600), Reason::new("failed", "wrong").unwrap());
        let verdict = Verdict::Ban(BanOrder { duration, prefix_length: None, reason });
        Ok(Judgement { verdict, keep: Keep::Unchanged, format: 0, answered: Answered::Own })
    }
}

#[test]
fn rule_34_whatever_is_judged_while_a_network_comes_to_be_never_banned_leaves_no_ban() {
    explore(|| {
        let store = Arc::new(MemoryStore::new(Capacity { states: 8, waits: 8, bans: 8 }));
        let bans = Arc::new(Bans([StateFormat::new("none/1")], Interest::default()));
        let ruleset = |never_ban| {
            let policy = Policy::new("ban", Kind::Ban, SubjectBy::Source, Arc::clone(&bans) as _);
            let source = SourceRules { never_ban, ..SourceRules::default() };
            Ruleset::new(source, Limits::default(), vec![policy], &*store)
        };
        let gate = Gate::new(Arc::clone(&store) as _, Arc::new(clock()), ruleset(vec![]), [7; 32]);
        let swapped = ruleset(vec![network(7)]);
        let gate = Arc::new(gate);
        let judging = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || looks_at_the_secret(&gate))
        };
        gate.swap(swapped);
        assert_eq!(judging.join().unwrap(), 1);
        assert_eq!(store.sizes().bans, 0);
    });
}

fn looks_at_the_secret(gate: &Gate) -> usize {
    let source = Source::new("203.0.113.7".parse().unwrap(), 64);
    let id = ClientId::new("abc").unwrap();
    let admitted = gate.admit(source).unwrap();
    match block_on(gate.pass(&admitted, Some(&id), None)) {
        Ok(Passage::Turn(admission)) => {
            let outcome = Outcome::Failure;
            let finished =
                Finished { outcome, secret: None, client_known: None, secret_fingerprint: None, attributes: &[] };
            gate.judge_attempt(admission, &finished);
            1
        }
        Ok(Passage::Verified(_)) => unreachable!("nobody has a secret"),
        Err(refusal) => {
            assert!(matches!(refusal, Refusal::Waiting(_)), "{refusal:?}");
            0
        }
    }
}

#[test]
fn rule_12_of_two_guesses_at_once_one_is_looked_at() {
    explore(|| {
        let store = Arc::new(MemoryStore::new(Capacity { states: 8, waits: 8, bans: 8 }));
        let waits = Arc::new(Waits([StateFormat::new("none/1")], Interest::default()));
        let policy = Policy::new("wait", Kind::Wait, SubjectBy::Id, waits);
        let ruleset = Ruleset::new(SourceRules::default(), Limits::default(), vec![policy], &*store);
        let gate = Arc::new(Gate::new(store, Arc::new(clock()), ruleset, [7; 32]));
        let other = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || looks_at_the_secret(&gate))
        };
        let looks = looks_at_the_secret(&gate) + other.join().unwrap();
        assert_eq!(looks, 1);
    });
}
