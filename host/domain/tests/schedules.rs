//! Schedules of the gate, the turnstile, kept state and verified pairs, explored by
//! loom up to a bound of preemptions. The ban ledger isn't among them.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p portcullis-domain --test schedules --profile loom`;
//! without that flag this file is empty.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a broken test stops")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

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

/// Every failure waits two seconds.
struct Waits([StateFormat; 1], Interest);

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
