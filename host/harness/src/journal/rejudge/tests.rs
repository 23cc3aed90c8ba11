//! A gate with the bundle's policies is witnessed, and what it wrote is judged
//! again and explained.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use portcullis_domain::{
    Act, Clock as _, Finished, Gate, Limits as Bounds, MemoryStore, Origin, Outcome, Passage, Ruleset, SourceRules,
    Store, Subject, SubjectBy, Testimony, Timestamp, VirtualClock, Witness,
};
use portcullis_runtime::RuntimeConfig;

use super::super::explain::{Explanation, InForceNow, Whom, explain};
use super::super::record::{Attribute, Enforced};
use super::super::segment;
use super::super::value::Network;
use super::*;
use crate::shelf::Shelf;

#[derive(Default)]
struct Frames(Mutex<Vec<u8>>);

impl Frames {
    fn put(&self, record: &Record<'_>) {
        assert!(segment::append(&mut self.0.lock().unwrap(), record));
    }
}

impl Witness for Frames {
    fn judged(&self, testimony: &Testimony<'_>) {
        self.put(&Record::judged(testimony));
    }

    fn unjudged(&self, at: Timestamp, attempt: &Attempt<'_>, origin: Origin<'_>) {
        self.put(&Record::unjudged(at, attempt, origin));
    }

    fn acted(&self, at: Timestamp, act: &Act<'_>) {
        self.put(&Record::acted(at, act));
    }
}

struct Witnessed {
    gate: Gate,
    clock: Arc<VirtualClock>,
    frames: Arc<Frames>,
    shelf: Shelf,
}

impl Witnessed {
    fn new() -> Self {
        let (mut shelf, _) = Shelf::new(&RuntimeConfig::default()).unwrap();
        let judges: Vec<_> = domain::Kind::ALL
            .into_iter()
            .map(|kind| {
                let plugin = shelf.bundle(kind).unwrap();
                let configured = plugin.configure(kind, &Settings::new(), &Limits::default()).unwrap();
                let judge = PolicyJudge::new(kind.name(), configured, OnFailure::Deny, Arc::new(Silent)).unwrap();
                (kind, SubjectBy::default_of(kind), Arc::new(judge))
            })
            .collect();
        let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_767_614_400_000)));
        let frames = Arc::new(Frames::default());
        let in_force =
            judges.iter().map(|(kind, subject, judge)| Policy::new(*kind, PolicyMode::Enforce, *subject, judge));
        frames.put(&Record::in_force(clock.now(), in_force.collect(), false));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let policies = judges
            .iter()
            .map(|(kind, subject, judge)| domain::Policy::new(kind.name(), *kind, *subject, Arc::clone(judge) as _));
        let ruleset = Ruleset::new(SourceRules::default(), Bounds::default(), policies.collect(), &*store);
        let gate = Gate::new(store, Arc::clone(&clock) as _, ruleset, [7; 32]);
        let gate = gate.witnessed_by(Arc::clone(&frames) as _);
        Self { gate, clock, frames, shelf }
    }

    fn attempt(&self, from: &str, id: &str, outcome: Outcome) {
        self.clock.advance(Duration::from_secs(3));
        let Ok(admitted) = self.gate.admit(Source::new(from.parse().unwrap(), 64)) else { return };
        let id = ClientId::new(id).unwrap();
        let passing = pin!(self.gate.pass(&admitted, Some(&id), Some(b"secret")));
        let Poll::Ready(Ok(Passage::Turn(turn))) = passing.poll(&mut Context::from_waker(Waker::noop())) else {
            return;
        };
        let attributes = [domain::Attribute { name: "user-agent", value: "curl" }];
        let (secret, client_known, secret_fingerprint) = (None, Some(true), Some(9));
        self.gate.judge_attempt(
            turn,
            &Finished { outcome, secret, client_known, secret_fingerprint, attributes: &attributes },
        );
    }

    fn not_found(&self, from: &str) {
        self.clock.advance(Duration::from_secs(3));
        let Ok(admitted) = self.gate.admit(Source::new(from.parse().unwrap(), 64)) else { return };
        let (source, method, path) = (admitted.source(), "GET", "/wp-login.php");
        let request = Request { source, client_id: None, method, path, status: 404, attributes: &[] };
        self.gate.judge_request(&admitted, &request);
    }

    fn reader(&self) -> Reader {
        Reader::of_memory([(0, self.frames.0.lock().unwrap().as_slice().into())])
    }

    fn rejudge(&mut self, reader: &Reader) -> Rejudged {
        let plugins: Vec<_> = domain::Kind::ALL.into_iter().map(|kind| self.shelf.bundle(kind).unwrap()).collect();
        let mut find = |digest: Digest, _: &str| plugins.iter().find(|plugin| *plugin.digest() == digest.0).cloned();
        rejudge(reader, &mut find, 10)
    }

    fn explain(&self, whom: &str) -> Explanation {
        let in_force: Vec<_> = match Whom::parse(whom) {
            Whom::Address(address) => (self.gate.store().bans_on(address, self.clock.now()).iter())
                .map(|ban| InForceNow::Banned {
                    network: Network(ban.network),
                    since: Time(ban.since),
                    until: Time(ban.until),
                })
                .collect(),
            Whom::Client(id) => {
                let subject = Subject::Id(ClientId::new(&id).unwrap());
                let waits = self.gate.store().waits(None, 100, self.clock.now());
                let waits = waits.into_iter().filter(|wait| wait.subject == subject);
                let until = |wait: domain::Wait| Time(wait.until);
                waits
                    .map(|wait| InForceNow::Waits { client: Some(id.clone()), source: None, until: until(wait) })
                    .collect()
            }
            Whom::Network(_) => Vec::new(),
        };
        explain(&self.reader(), &Whom::parse(whom), &in_force)
    }

    /// Some bans by logins and by scanning, and others who do nothing of the kind.
    fn busy() -> Self {
        let witnessed = Self::new();
        for n in 0..5 {
            witnessed.attempt("203.0.113.7", &format!("a{n}"), Outcome::Failure);
            witnessed.attempt(
                "203.0.113.8",
                &format!("b{n}"),
                if n == 3 { Outcome::Success } else { Outcome::Failure },
            );
            witnessed.attempt("2001:db8::7", "c", Outcome::Failure);
        }
        witnessed.not_found("198.51.100.1");
        witnessed.not_found("198.51.100.2");
        witnessed.not_found("198.51.100.1");
        witnessed
    }
}

#[test]
fn every_judgement_comes_to_the_same_again() {
    let mut witnessed = Witnessed::busy();
    let reader = witnessed.reader();
    let again = witnessed.rejudge(&reader);
    // Each attempt was judged by two policies, each request by one.
    assert_eq!((again.judgements, again.equal), (33, 33), "{again:?}");
    assert_eq!((again.different, again.unavailable, again.not_reproducible.all()), (0, 0, 0));
}

/// The same journal with every judgement changed.
fn changed(reader: &Reader, change: impl Fn(&mut Judged<'_>)) -> Reader {
    let mut frames = Vec::new();
    reader.forward(|_, record| {
        let mut record = record.clone();
        if let What::Judged(judged) = &mut record.what {
            change(judged);
        }
        assert!(segment::append(&mut frames, &record));
        ControlFlow::Continue(())
    });
    Reader::of_memory([(0, frames.into())])
}

#[test]
fn another_verdict_or_another_state_is_a_difference() {
    let mut witnessed = Witnessed::busy();
    let reader = witnessed.reader();
    let passed = changed(&reader, |judged| judged.verdict = Some(Verdict::Pass));
    let again = witnessed.rejudge(&passed);
    // Fourteen waits and three bans were ordered.
    assert_eq!((again.different, again.equal), (17, 16), "{again:?}");
    assert_eq!(again.differences.len(), 10, "no more than are wanted");
    assert!(again.differences[0].now.verdict.as_ref().unwrap()["wait"].is_object());
    let kept = changed(&reader, |judged| {
        judged.keep = Some(Keep::Put { data: super::super::value::Bytes(&[9; 9]), ttl_ms: None })
    });
    assert_eq!(witnessed.rejudge(&kept).equal, 0);
}

#[test]
fn what_cannot_be_judged_again_is_counted_by_why() {
    let mut witnessed = Witnessed::busy();
    let reader = witnessed.reader();
    let foreign = changed(&reader, |judged| judged.plugin = Some(Digest([0; 32])));
    let again = witnessed.rejudge(&foreign);
    assert_eq!((again.equal, again.unavailable, again.missing.len()), (0, 33, 3));
    assert_eq!(again.missing[0].why, "the journal doesn't say with which settings it ran");
    let denied = changed(&reader, |judged| judged.answered = Answered::Denied);
    assert_eq!(witnessed.rejudge(&denied).not_reproducible.denied, 33);
    // The bundle's policies want no attributes: what is withheld makes no difference to them.
    let withheld = changed(&reader, |judged| judged.attributes = vec![Attribute { name: "query", value: None }]);
    assert_eq!(witnessed.rejudge(&withheld).equal, 33);
    let again = rejudge(&reader, &mut |_, _| None, 10);
    assert_eq!((again.unavailable, again.missing.len()), (33, 3));
    assert_eq!(again.missing[0].why, "no plugin of this digest is at hand");
}

#[test]
fn the_policies_in_force_last_are_a_plan() {
    let mut witnessed = Witnessed::busy();
    let reader = witnessed.reader();
    let plugins: Vec<_> = domain::Kind::ALL.into_iter().map(|kind| witnessed.shelf.bundle(kind).unwrap()).collect();
    let plan =
        last_plan(&reader, &mut |digest, _| plugins.iter().find(|it| *it.digest() == digest.0).cloned()).unwrap();
    assert_eq!(plan.policies.iter().map(|policy| policy.name.as_str()).collect::<Vec<_>>(), ["wait", "ban", "scanner"]);
    assert_eq!(plan.policies[1].settings["max_failed_login"], SettingValue::Integer(5));
    let error = last_plan(&reader, &mut |_, _| None).unwrap_err();
    assert!(error.starts_with("policy wait ran bundle"), "{error}");
}

/// The outcomes or statuses in a chain.
fn chain(explanation: &Explanation, nth: usize) -> Vec<String> {
    let shown = |stored: &Stored| match stored.record().unwrap().what {
        What::Judged(Judged { client, seen: Seen::Attempt { .. }, .. }) => client.unwrap().to_owned(),
        What::Judged(Judged { seen: Seen::Request { status, .. }, .. }) => status.to_string(),
        What::Unjudged(_) | What::Act(_) | What::InForce(_) | What::Process(_) => panic!("a judgement"),
    };
    explanation.orders[nth].chain.iter().map(shown).collect()
}

#[test]
fn a_ban_is_explained_by_the_events_that_led_to_it() {
    let witnessed = Witnessed::busy();
    let explained = witnessed.explain("203.0.113.7");
    assert_eq!(explained.unexplained, Vec::<usize>::new());
    let nth = explained.orders.iter().position(|order| order.explains == Some(0)).unwrap();
    assert_eq!(chain(&explained, nth), ["a0", "a1", "a2", "a3", "a4"]);
    let order = &explained.orders[nth];
    assert!(order.from_the_beginning && !order.gaps && order.left_out == 0);
    let last = order.chain.last().unwrap().record().unwrap();
    assert!(matches!(&last.what, What::Judged(Judged { enforced: Some(Enforced::Ban { decides: true, .. }), .. })));
    assert!(explained.newest.len() >= 9, "those of the chain, and of the other policy between them");
    assert_eq!(chain(&witnessed.explain("198.51.100.1"), 0), ["404", "404"]);
    // Another address of the same /64.
    let explained = witnessed.explain("2001:db8::99");
    assert_eq!(explained.orders.iter().filter(|order| order.explains == Some(0)).count(), 1);
    assert!(explained.newest.is_empty());
    // Nothing is in force there: a success began anew.
    let explained = witnessed.explain("203.0.113.8");
    assert!(explained.orders.iter().all(|order| order.explains.is_none()));
    assert_eq!(witnessed.explain("192.0.2.1").orders, []);
}

#[test]
fn a_wait_is_explained_by_its_client() {
    let witnessed = Witnessed::new();
    witnessed.attempt("203.0.113.7", "abc", Outcome::Failure);
    let explained = witnessed.explain("abc");
    assert_eq!((explained.orders[0].explains, chain(&explained, 0)), (Some(0), vec!["abc".to_owned()]));
    assert_eq!(explained.unexplained, Vec::<usize>::new());
}

#[test]
fn bans_by_hand_and_missing_records_are_told() {
    let witnessed = Witnessed::busy();
    let network = "192.0.2.0/24".parse().unwrap();
    witnessed.gate.ban(network, Duration::from_secs(60), "noise").unwrap();
    let explained = witnessed.explain("192.0.2.9");
    assert_eq!((explained.acts.len(), explained.unexplained.len()), (1, 0));
    // Without the third attempt the chain has a gap, and without the first it has no beginning.
    let without = |id: &str| {
        let mut frames = Vec::new();
        witnessed.reader().forward(|_, record| {
            if record.client() != Some(id) {
                assert!(segment::append(&mut frames, record));
            }
            ControlFlow::Continue(())
        });
        let reader = Reader::of_memory([(0, frames.into())]);
        explain(&reader, &Whom::parse("203.0.113.7"), &[])
    };
    let ban = |explained: &Explanation| {
        let is_ban = |order: &&super::super::explain::Explained| {
            let last = order.chain.last().unwrap().record().unwrap();
            matches!(&last.what, What::Judged(judged) if matches!(judged.verdict, Some(Verdict::Ban { .. })))
        };
        explained.orders.iter().find(is_ban).map(|order| (order.chain.len(), order.gaps, order.from_the_beginning))
    };
    assert_eq!(ban(&without("a2")), Some((4, true, true)));
    assert_eq!(ban(&without("a0")), Some((4, false, false)));
    assert_eq!(ban(&without("a4")), None);
}
