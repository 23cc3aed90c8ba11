//! A gate with the bundle's policies, virtual time, and as many tracked sources
//! as wanted; and the events that are put to it.

use std::future::Future as _;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ipnet::IpNet;
use portcullis_domain::event::Dated;
use portcullis_domain::{
    Admission, Attempt, By, Capacity, Cause, ClientId, Clock as _, Event, Finished, Gate, Judge as _, Keep, Kept,
    KeptEntry, KeptState, Kind, MemoryStore, Outcome, Passage, Policy, Reason, Request, Ruleset, Source, SourceRules,
    StateBytes, Store, Subject, SubjectBy, Timestamp, VirtualClock,
};
use portcullis_runtime::{Limits, OnFailure, PolicyJudge, Runtime, RuntimeConfig, Settings, Silent};

/// When it all begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_767_614_400_000);
/// Virtual time between two rounds of events: no wait outlasts it.
pub(crate) const PAUSE: Duration = Duration::from_secs(3);

/// A gate, and what is needed to speak to it.
pub(crate) struct World {
    pub(crate) gate: Gate,
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) store: Arc<MemoryStore>,
}

pub(crate) fn runtime() -> Runtime {
    Runtime::new(&RuntimeConfig::default()).unwrap().0
}

pub(crate) fn judge(runtime: &Runtime, kind: Kind) -> PolicyJudge {
    let configured = runtime.bundle(kind).unwrap().configure(kind, &Settings::new(), &Limits::default()).unwrap();
    PolicyJudge::new(kind.name(), configured, OnFailure::Deny, Arc::new(Silent)).unwrap()
}

impl World {
    /// With a policy of each of these kinds, and room for so many sources.
    pub(crate) fn new(runtime: &Runtime, kinds: &[Kind], sources: u32) -> Self {
        let room = sources as usize + 100_000;
        let store = Arc::new(MemoryStore::new(Capacity { states: room, waits: room, bans: room }));
        let policy = |kind: &Kind| {
            Policy::new(kind.name(), *kind, SubjectBy::default_of(*kind), Arc::new(judge(runtime, *kind)))
        };
        let limits = portcullis_domain::Limits::default();
        let policies = kinds.iter().map(policy).collect();
        let ruleset = Ruleset::new(SourceRules::default(), limits, policies, &*store);
        let clock = Arc::new(VirtualClock::new(START));
        let gate = Gate::new(Arc::clone(&store) as _, Arc::clone(&clock) as _, ruleset, [7; 32]);
        Self { gate, clock, store }
    }

    /// A policy of that kind has a state of each of the sources: of one 404 that
    /// it drew, or of one login from it that failed.
    pub(crate) fn track(&self, runtime: &Runtime, kind: Kind, sources: u32) {
        let (judge, now) = (judge(runtime, kind), self.clock.now());
        let kept = kept(&judge, kind, now);
        let expires = kept.ttl.map_or(Timestamp::MAX, |ttl| now.after(ttl));
        let entry = |n| KeptEntry { subject: Subject::Source(source(n).network()), data: kept.data.clone(), expires };
        self.store.restore_kept(kind.name(), &judge.formats()[0], (0..sources).map(entry), now);
    }

    /// So many networks of 11.0.0.0/8 are banned, which no event comes from but [`banned`].
    pub(crate) fn ban(&self, networks: u32) {
        let cause = Cause { by: By::Operator, reason: Reason::new("test", "").unwrap() };
        let now = self.clock.now();
        for n in 0..networks {
            self.store.ban(IpNet::from(banned(n).address()), now.after(Duration::from_secs(86_400)), now, &cause);
        }
    }

    /// The turn of a login.
    pub(crate) fn pass(&self, source: Source, id: &ClientId) -> Admission {
        let admitted = self.gate.admit(source).unwrap();
        let passing = pin!(self.gate.pass(&admitted, Some(id), None));
        match passing.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(Passage::Turn(turn))) => turn,
            other @ (Poll::Ready(_) | Poll::Pending) => panic!("nobody else is there: {other:?}"),
        }
    }

    pub(crate) fn judge_request(&self, n: u32, status: u16) {
        let admitted = self.gate.admit(source(n)).unwrap();
        assert_eq!(self.gate.judge_request(&admitted, &request(n, status)).judged_by, 1);
    }
}

/// The n-th source, of 10.0.0.0/8.
pub(crate) fn source(n: u32) -> Source {
    Source::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | (n & 0x00ff_ffff))), 64)
}

/// The n-th source of those that can be banned, of 11.0.0.0/8.
pub(crate) fn banned(n: u32) -> Source {
    Source::new(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 | (n & 0x00ff_ffff))), 64)
}

pub(crate) fn request(n: u32, status: u16) -> Request<'static> {
    Request { source: source(n), client_id: None, method: "GET", path: "/api/v1/things", status, attributes: &[] }
}

pub(crate) fn attempt(n: u32, id: &ClientId, outcome: Outcome) -> Attempt<'_> {
    let secret_fingerprint = (outcome == Outcome::Failure).then_some(7);
    Attempt {
        source: source(n),
        client_id: Some(id),
        outcome,
        client_known: Some(true),
        secret_fingerprint,
        attributes: &[],
    }
}

pub(crate) fn finished(outcome: Outcome) -> Finished<'static> {
    let secret_fingerprint = (outcome == Outcome::Failure).then_some(7);
    Finished { outcome, secret: None, client_known: Some(true), secret_fingerprint, attributes: &[] }
}

/// How the n-th login ends, where each of so many sources has its turn before one
/// has it again: of four logins of a source one succeeds, so that none is banned.
pub(crate) fn outcome(n: u32, sources: u32) -> Outcome {
    if (n + n / sources) % 4 == 3 { Outcome::Success } else { Outcome::Failure }
}

/// What a policy keeps of a first 404, or of a first login that failed.
pub(crate) fn kept(judge: &PolicyJudge, kind: Kind, now: Timestamp) -> KeptState {
    let id = ClientId::new("someone").unwrap();
    let (attempt, request) = (attempt(0, &id, Outcome::Failure), request(0, 404));
    let event = if kind == Kind::Scanner { Event::Request(&request) } else { Event::Attempt(&attempt) };
    match judge.judge(&Dated { at: now, event }, &State(None)).unwrap().keep {
        Keep::Put(kept) => kept,
        Keep::Unchanged | Keep::Forget => panic!("{kind} keeps nothing"),
    }
}

pub(crate) fn ids(count: u32) -> Vec<ClientId> {
    (0..count).map(|n| ClientId::new(&format!("client-{n}")).unwrap()).collect()
}

/// A kept state that is at hand.
pub(crate) struct State(pub(crate) Option<StateBytes>);

impl Kept for State {
    fn read(&self, _: usize) -> Option<StateBytes> {
        self.0.clone()
    }
}
