//! A gate in virtual time with judges made of closures: tests read as what happened.
#![allow(dead_code, unreachable_pub, reason = "a kit: each test file uses its own part of it")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a broken test stops")]

use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis_domain::event::Dated;
use portcullis_domain::*;

pub type JudgeFn = dyn Fn(&Dated<'_>, Option<&[u8]>) -> Result<(Verdict, Keep), Denied> + Send + Sync;

/// A judge that is a closure over event and state.
pub struct Closure {
    formats: Vec<StateFormat>,
    interest: Interest,
    provenance: Option<Provenance>,
    judge: Box<JudgeFn>,
}

impl Judge for Closure {
    fn provenance(&self, _: Answered) -> Option<Provenance> {
        self.provenance
    }

    fn formats(&self) -> &[StateFormat] {
        &self.formats
    }

    fn interest(&self) -> &Interest {
        &self.interest
    }

    fn judge(&self, dated: &Dated<'_>, kept: &dyn Kept) -> Result<Judgement, Denied> {
        let state = kept.read(0);
        let (verdict, keep) = (self.judge)(dated, state.as_deref())?;
        Ok(Judgement { verdict, keep, format: 0, answered: Answered::Own })
    }
}

pub fn judge(
    format: &str,
    judge: impl Fn(&Dated<'_>, Option<&[u8]>) -> Result<(Verdict, Keep), Denied> + Send + Sync + 'static,
) -> Arc<dyn Judge> {
    judge_with(format, Interest::default(), judge)
}

pub fn judge_with(
    format: &str,
    interest: Interest,
    judge: impl Fn(&Dated<'_>, Option<&[u8]>) -> Result<(Verdict, Keep), Denied> + Send + Sync + 'static,
) -> Arc<dyn Judge> {
    Arc::new(Closure { formats: vec![StateFormat::new(format)], interest, provenance: None, judge: Box::new(judge) })
}

/// The code of that number, with the settings of that number.
pub fn judge_of(
    (plugin, settings): (u8, u8),
    judge: impl Fn(&Dated<'_>, Option<&[u8]>) -> Result<(Verdict, Keep), Denied> + Send + Sync + 'static,
) -> Arc<dyn Judge> {
    let provenance = Some(Provenance { plugin: [plugin; 32], settings: [settings; 32] });
    let formats = vec![StateFormat::new("failures/1")];
    Arc::new(Closure { formats, interest: Interest::default(), provenance, judge: Box::new(judge) })
}

pub fn reason() -> Reason {
    Reason::new("test", "as the test wants").unwrap()
}

pub fn wait_for(duration: Duration) -> Verdict {
    Verdict::Wait(WaitOrder { duration, reason: reason() })
}

pub fn ban_for(duration: Duration, prefix_length: Option<u8>) -> Verdict {
    Verdict::Ban(BanOrder { duration, prefix_length, reason: reason() })
}

pub fn put(data: &[u8], ttl: Option<Duration>) -> Keep {
    Keep::Put(KeptState { data: StateBytes::from_slice(data), ttl })
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn failed(dated: &Dated<'_>) -> bool {
    matches!(dated.event, Event::Attempt(Attempt { outcome: Outcome::Failure, .. }))
}

/// Every failure waits so long.
pub fn waits(duration: Duration) -> Policy {
    waits_by(SubjectBy::Id, duration)
}

pub fn waits_by(subject: SubjectBy, duration: Duration) -> Policy {
    let verdict = move |dated: &Dated<'_>, _: Option<&[u8]>| {
        Ok((if failed(dated) { wait_for(duration) } else { Verdict::Pass }, Keep::Unchanged))
    };
    Policy::new("wait", Kind::Wait, subject, judge("none/1", verdict))
}

/// So many failures in a row ban for that long.
pub fn bans_at(limit: u8, duration: Duration) -> Policy {
    Policy::new("ban", Kind::Ban, SubjectBy::Source, counting("failures/1", limit, duration))
}

pub fn counting(format: &str, limit: u8, duration: Duration) -> Arc<dyn Judge> {
    judge(format, count_to(limit, duration))
}

/// So many failures in a row ban for that long.
pub fn count_to(
    limit: u8,
    duration: Duration,
) -> impl Fn(&Dated<'_>, Option<&[u8]>) -> Result<(Verdict, Keep), Denied> + Send + Sync + 'static {
    move |dated, state| {
        if !failed(dated) {
            return Ok((Verdict::Pass, Keep::Forget));
        }
        let count = state.map_or(0, |bytes| bytes[0]) + 1;
        if count < limit {
            Ok((Verdict::Pass, put(&[count], None)))
        } else {
            Ok((ban_for(duration, None), Keep::Forget))
        }
    }
}

/// Every request with that status bans for that long.
pub fn bans_status(status: u16, duration: Duration) -> Policy {
    let verdict = move |dated: &Dated<'_>, _: Option<&[u8]>| {
        let hit = matches!(dated.event, Event::Request(request) if request.status == status);
        Ok((if hit { ban_for(duration, None) } else { Verdict::Pass }, Keep::Unchanged))
    };
    Policy::new("scanner", Kind::Scanner, SubjectBy::Source, judge("none/1", verdict))
}

pub struct World {
    pub gate: Gate,
    pub clock: Arc<VirtualClock>,
    pub store: Arc<MemoryStore>,
    pub rules: SourceRules,
    pub limits: Limits,
}

pub fn world(policies: Vec<Policy>) -> World {
    world_with(SourceRules::default(), Limits::default(), Capacity::default(), policies)
}

pub fn world_with(rules: SourceRules, limits: Limits, capacity: Capacity, policies: Vec<Policy>) -> World {
    let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_700_000_000_000)));
    let store = Arc::new(MemoryStore::new(capacity));
    let ruleset = Ruleset::new(rules.clone(), limits.clone(), policies, &*store);
    let gate = Gate::new(Arc::clone(&store) as _, Arc::clone(&clock) as _, ruleset, [7; 32]);
    World { gate, clock, store, rules, limits }
}

/// At most so many bans a minute.
pub fn capped(max_bans_per_minute: u32, policies: Vec<Policy>) -> World {
    let limits = Limits { max_bans_per_minute: Some(max_bans_per_minute), ..Limits::default() };
    world_with(SourceRules::default(), limits, Capacity::default(), policies)
}

/// How one login ended.
#[derive(Debug, PartialEq)]
pub enum Ended {
    Refused(Refusal),
    Verified,
    Judged(Judged),
}

impl Ended {
    pub fn judged(self) -> Judged {
        match self {
            Self::Judged(judged) => judged,
            other => panic!("the secret should have been checked, but: {other:?}"),
        }
    }

    pub fn refused(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            other => panic!("should have been refused, but: {other:?}"),
        }
    }
}

impl World {
    /// The same world, with somebody who hears of it.
    pub fn witnessed_by(self, witness: Arc<dyn Witness>) -> Self {
        Self { gate: self.gate.witnessed_by(witness), ..self }
    }

    pub fn source(&self, address: &str) -> Source {
        Source::new(ip(address), self.rules.ipv6_prefix)
    }

    pub fn swap(&self, policies: Vec<Policy>) {
        self.gate.swap(Ruleset::new(self.rules.clone(), self.limits.clone(), policies, &*self.store));
    }

    pub fn advance(&self, step: Duration) {
        self.clock.advance(step);
    }

    /// One whole login: `secret` "right" succeeds, any other fails.
    pub fn login(&self, address: &str, id: &str, secret: &str) -> Ended {
        let admitted = match self.gate.admit(self.source(address)) {
            Ok(admitted) => admitted,
            Err(refusal) => return Ended::Refused(refusal),
        };
        let id = (!id.is_empty()).then(|| client(id));
        match poll_once(&mut pin!(self.gate.pass(&admitted, id.as_ref(), Some(secret.as_bytes())))) {
            Poll::Pending => panic!("nobody else is under way"),
            Poll::Ready(Err(refusal)) => Ended::Refused(refusal),
            Poll::Ready(Ok(Passage::Verified(_))) => Ended::Verified,
            Poll::Ready(Ok(Passage::Turn(admission))) => {
                Ended::Judged(self.gate.judge_attempt(admission, &checked(secret)))
            }
        }
    }

    pub fn fail(&self, address: &str, id: &str) -> Judged {
        self.login(address, id, "wrong").judged()
    }

    pub fn succeed(&self, address: &str, id: &str) -> Judged {
        self.login(address, id, "right").judged()
    }

    pub fn request(&self, address: &str, status: u16) -> Result<Judged, Refusal> {
        let admitted = self.gate.admit(self.source(address))?;
        Ok(self.gate.judge_request(&admitted, &request(admitted.source(), status)))
    }
}

pub fn request(source: Source, status: u16) -> Request<'static> {
    Request { source, client_id: None, method: "GET", path: "/", status, attributes: &[] }
}

pub fn checked(secret: &str) -> Finished<'_> {
    Finished {
        outcome: if secret == "right" { Outcome::Success } else { Outcome::Failure },
        secret: Some(secret.as_bytes()),
        client_known: None,
        secret_fingerprint: None,
        attributes: &[],
    }
}

pub fn client(id: &str) -> ClientId {
    ClientId::new(id).unwrap()
}

pub fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

pub fn poll_once<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// The network of the ban that was ordered.
pub fn banned_network(judged: &Judged) -> String {
    judged
        .orders
        .iter()
        .find_map(|order| match &order.enforced {
            Enforced::Ban { network, .. } => Some(network.to_string()),
            Enforced::Wait { .. } | Enforced::Spared | Enforced::LogOnly { .. } => None,
        })
        .unwrap_or_else(|| panic!("no ban in {judged:?}"))
}
