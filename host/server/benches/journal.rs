//! What the journal costs whoever is judged: nanoseconds of an attempt that the
//! bundle's wait and ban policies judge, without a witness, with the newest
//! events in memory, and with a folder; and of one record alone.
//!
//! Rounds take turns, so that a busy machine is as unfair to each.

#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_precision_loss, reason = "a measurement")]

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use portcullis::clock::HostClock;
use portcullis::config;
use portcullis::journal::Journal;
use portcullis_domain::event::Dated;
use portcullis_domain::{
    Answered, Attempt, ClientId, Event, Finished, Gate, Judgement, Keep, KeptState, Kind, Limits, MemoryStore, Origin,
    Outcome, Passage, Policy, PolicyMode, Provenance, Ruleset, Source, SourceRules, StateBytes, StateFormat, Store,
    Subject, SubjectBy, Testimony, Timestamp, Verdict, Witness,
};
use portcullis_runtime::{OnFailure, PolicyJudge, Runtime, RuntimeConfig, Settings, Silent};

const ROUNDS: usize = 15;
const ATTEMPTS: u32 = 10_000;

fn gate(runtime: &Runtime, journal: Option<&Journal>) -> Gate {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let policies = [Kind::Wait, Kind::Ban].map(|kind| {
        let plugin = runtime.bundle(kind).unwrap();
        let configured = plugin.configure(kind, &Settings::new(), &portcullis_runtime::Limits::default()).unwrap();
        let judge = PolicyJudge::new(kind.name(), configured, OnFailure::Deny, Arc::new(Silent)).unwrap();
        Policy::new(kind.name(), kind, SubjectBy::default_of(kind), Arc::new(judge))
    });
    let ruleset = Ruleset::new(SourceRules::default(), Limits::default(), policies.into(), &*store);
    let gate = Gate::new(store, Arc::new(HostClock::start(Timestamp::default())), ruleset, [1; 32]);
    match journal {
        None => gate,
        Some(journal) => gate.witnessed_by(Arc::new(journal.clone())),
    }
}

fn journal(dir: Option<&std::path::Path>) -> Journal {
    let (max_size, max_age) = (256 << 20, Duration::from_secs(3600));
    let config = config::Journal { dir: dir.map(ToOwned::to_owned), max_size, max_age };
    Journal::start(&config, Arc::new(HostClock::start(Timestamp::default()))).unwrap()
}

/// Failed attempts, each of another id and source; nanoseconds of one.
fn attempts(gate: &Gate, round: usize) -> f64 {
    let base = u32::try_from(round).unwrap() * ATTEMPTS;
    let who: Vec<_> = (0..ATTEMPTS)
        .map(|n| {
            (
                ClientId::new(&format!("client-{}", base + n)).unwrap(),
                Source::new((0x0a00_0000 + base + n).to_be_bytes().into(), 64),
            )
        })
        .collect();
    let began = Instant::now();
    for (id, source) in &who {
        let admitted = gate.admit(*source).unwrap();
        let passing = pin!(gate.pass(&admitted, Some(id), None));
        let Poll::Ready(Ok(Passage::Turn(turn))) = passing.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("nobody else is there");
        };
        let (outcome, client_known, secret_fingerprint) = (Outcome::Failure, Some(true), Some(7));
        gate.judge_attempt(
            turn,
            &Finished { outcome, secret: None, client_known, secret_fingerprint, attributes: &[] },
        );
    }
    began.elapsed().as_nanos() as f64 / f64::from(ATTEMPTS)
}

/// One record alone.
fn records(journal: &Journal) -> f64 {
    let id = ClientId::new("client-12345").unwrap();
    let source = Source::new([203, 0, 113, 7].into(), 64);
    let attempt = Attempt {
        source,
        client_id: Some(&id),
        outcome: Outcome::Failure,
        client_known: Some(true),
        secret_fingerprint: Some(7),
        attributes: &[],
    };
    let dated = Dated { at: Timestamp::from_millis(1_767_614_400_000), event: Event::Attempt(&attempt) };
    let kept = KeptState { data: StateBytes::from_slice(&[3]), ttl: None };
    let (verdict, keep, answered) = (Verdict::Pass, Keep::Put(kept), Answered::Own);
    let judgement = Judgement { verdict, keep, format: 0, answered };
    let testimony = Testimony {
        origin: Origin::Gateway,
        dated: &dated,
        event: 1,
        policy: "ban",
        kind: Kind::Ban,
        mode: PolicyMode::Enforce,
        subject: &Subject::Source(source.network()),
        provenance: Some(Provenance { plugin: [1; 32], settings: [2; 32] }),
        format: &StateFormat::new("failures-in-a-row/1"),
        before: Some(&[2]),
        answer: Ok(&judgement),
        order: None,
    };
    let began = Instant::now();
    (0..ATTEMPTS).for_each(|_| journal.judged(&testimony));
    began.elapsed().as_nanos() as f64 / f64::from(ATTEMPTS)
}

fn main() {
    let (runtime, _) = Runtime::new(&RuntimeConfig::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (in_memory, on_disk) = (journal(None), journal(Some(&folder.path().join("journal"))));
    let gates = [gate(&runtime, None), gate(&runtime, Some(&in_memory)), gate(&runtime, Some(&on_disk))];
    let mut took: [Vec<f64>; 4] = Default::default();
    for round in 0..ROUNDS {
        for (gate, took) in gates.iter().zip(&mut took) {
            took.push(attempts(gate, round));
            // What was written is away before the next begins.
            drop((in_memory.reader(), on_disk.reader()));
        }
        took[3].push(records(&on_disk));
        drop(on_disk.reader());
    }
    let names =
        ["an attempt, no journal", "an attempt, journal in memory", "an attempt, journal on disk", "a record alone"];
    for (name, mut took) in names.into_iter().zip(took) {
        took.sort_by(f64::total_cmp);
        println!(
            "{name:30} {:7.0} ns (median of {ROUNDS}; {:.0} to {:.0})",
            took[ROUNDS / 2],
            took[0],
            took[ROUNDS - 1]
        );
    }
    let counts = on_disk.counts();
    println!("on disk: {} written, {} dropped, {} bytes", counts.written, counts.dropped, counts.bytes);
}
