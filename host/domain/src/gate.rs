//! The gate: admits, lets attempts pass one by one, has them judged, and puts
//! what is ordered in force.
//!
//! The order of things is in the types. Only [`Gate::admit`] makes an
//! [`Admitted`], only [`Gate::pass`] turns one into a [`Passage`], and only the
//! [`Admission`] inside a passage can be judged as an attempt; a front end
//! can't skip a step, it can only forget to answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::event::{Attempt, Attribute, ClientId, Dated, Event, Outcome, Request};
use crate::judge::{Denied, Judgement, Kind};
use crate::ruleset::{Bound, Ruleset};
use crate::source::Source;
use crate::store::{Placed, Store, Subject};
use crate::sync::AtomicU64;
use crate::time::{Clock, Timestamp};
use crate::turnstile::{Turn, Turnstile};
use crate::verdict::{BanOrder, Reason, Verdict, WaitOrder};
use crate::verified::{Era, VerifiedPairs};

/// What the client is told to wait when the queue is full (rule 12).
const BUSY_RETRY: Duration = Duration::from_secs(1);
/// Widest network that a plugin's ban may cover (rule 4), in bits.
const BAN_PREFIX_MIN_V4: u8 = 16;
/// The same for IPv6.
const BAN_PREFIX_MIN_V6: u8 = 32;

/// Why a request is turned away. No policy is called for it and no counter of
/// theirs grows (rule 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The source is banned for that long: 423.
    Banned(Duration),
    /// The client auth id (or whom its wait policy goes by) waits that long: 429.
    Waiting(Duration),
    /// Too many attempts queue: 429.
    Busy,
}

impl Refusal {
    /// Seconds after which to come again, rounded up.
    #[must_use]
    pub fn retry_after_seconds(self) -> u64 {
        let left = match self {
            Self::Banned(left) | Self::Waiting(left) => left,
            Self::Busy => BUSY_RETRY,
        };
        u64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
    }
}

/// Proof that a request's source wasn't banned when it came.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    source: Source,
}

impl Admitted {
    /// From where.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }
}

/// How a login may go on.
#[derive(Debug)]
pub enum Passage {
    /// The pair succeeded from here a moment ago: no attempt (rule 8).
    Verified(Recognised),
    /// It is an attempt, and it is its turn.
    Turn(Admission),
}

/// Proof that a pair of id and secret succeeded from here a moment ago.
#[derive(Clone, Debug)]
pub struct Recognised {
    source: Source,
    client_id: ClientId,
}

/// An attempt whose turn it is: its secret may be checked, and it can be judged
/// once. Dropped without that, it was no attempt (rule 6).
#[derive(Debug)]
#[must_use = "an admission that is dropped lets the next attempt in, unjudged"]
pub struct Admission {
    source: Source,
    client_id: Option<ClientId>,
    turn: Turn,
    era: Era,
}

impl Admission {
    /// The check of the secret takes long: the next attempt of the same id gets
    /// its turn. To be called after
    /// [`TURN_TIME_MAX`](crate::turnstile::TURN_TIME_MAX); this one is judged
    /// all the same.
    pub fn yield_id(&mut self) {
        self.turn.yield_id();
    }
}

/// How the check of a secret ended.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// Right or wrong.
    pub outcome: Outcome,
    /// The secret that was checked, where the host saw it; never kept in clear.
    pub secret: Option<&'a [u8]>,
    /// Whether such an id exists, where the host can tell.
    pub client_known: Option<bool>,
    /// Failures only: a keyed hash of id and secret.
    pub secret_fingerprint: Option<u32>,
    /// What policies asked for ([`Ruleset::attempt_attributes`]).
    pub attributes: &'a [Attribute<'a>],
}

/// An order that a policy gave, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The policy's name.
    pub policy: Arc<str>,
    /// Its kind.
    pub kind: Kind,
    /// The plugin's reason.
    pub reason: Reason,
    /// What is in force now.
    pub enforced: Enforced,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enforced {
    /// The subject waits.
    Wait {
        /// Who.
        subject: Subject,
        /// How long by this order, after clamping.
        duration: Duration,
        /// Until when, all orders counted.
        placed: Placed,
    },
    /// The network is banned.
    Ban {
        /// Which.
        network: IpNet,
        /// How long by this order, after clamping.
        duration: Duration,
        /// Until when, all orders counted.
        placed: Placed,
        /// It is the first ban of a loopback or private address: a proxy may be
        /// missing from `trusted_proxies` (rule 4).
        first_private: bool,
    },
    /// The source is in `never_ban` or a trusted proxy: nothing is enforced (rule 4).
    Spared,
}

/// What the policies said about one event. It is in force already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Orders of all policies, in their order.
    pub orders: Vec<Order>,
    /// Some policy couldn't judge and its operator wants that to be a 503 (rule 21).
    pub denied: bool,
    /// Policies that were asked.
    pub judged_by: u32,
}

impl Judged {
    /// The longest wait that was ordered, zero if none.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        let waits = self.orders.iter().filter_map(|order| match &order.enforced {
            Enforced::Wait { duration, .. } => Some(*duration),
            Enforced::Ban { .. } | Enforced::Spared => None,
        });
        waits.max().unwrap_or_default()
    }
}

/// All rules as one state machine over judges, store and clock.
pub struct Gate {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ruleset: ArcSwap<Ruleset>,
    turnstile: Arc<Turnstile>,
    verified: VerifiedPairs,
    private_ban_seen: AtomicBool,
    /// Counts what can change how a login goes on: orders, and attempts judged.
    changes: AtomicU64,
}

impl Gate {
    /// A gate over `store` and `clock`; `key` is random and of this process alone.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, ruleset: Ruleset, key: [u8; 32]) -> Self {
        Self {
            turnstile: Arc::new(Turnstile::new(ruleset.limits.max_inflight_attempts)),
            store,
            clock,
            ruleset: ArcSwap::from_pointee(ruleset),
            verified: VerifiedPairs::new(key),
            private_ban_seen: AtomicBool::new(false),
            changes: AtomicU64::new(0),
        }
    }

    /// Puts another ruleset in force, for every event that begins to be judged from now on.
    pub fn swap(&self, ruleset: Ruleset) {
        self.turnstile.set_inflight_per_source_max(ruleset.limits.max_inflight_attempts);
        self.ruleset.store(Arc::new(ruleset));
    }

    /// What is in force.
    pub fn ruleset(&self) -> arc_swap::Guard<Arc<Ruleset>> {
        self.ruleset.load()
    }

    /// Where waits, bans and kept state live.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The gate's clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Gives back memory of what has expired; to be called now and then.
    pub fn sweep(&self) {
        self.store.sweep(self.clock.now());
    }

    /// First of all: is the source banned? (rule 11)
    ///
    /// # Errors
    /// [`Refusal::Banned`].
    pub fn admit(&self, source: Source) -> Result<Admitted, Refusal> {
        let now = self.clock.now();
        match self.store.banned_until(source.address(), now) {
            // Looked at second: most sources aren't banned.
            Some(until) if !self.ruleset().source.spares(source.address()) => Err(Refusal::Banned(until.since(now))),
            Some(_) | None => Ok(Admitted { source }),
        }
    }

    /// A login wants to pass: verified a moment ago, or waiting, or queueing for
    /// its turn and then once more from the start (rules 8, 11 and 12). Without
    /// a secret there is nothing that could be verified.
    ///
    /// The caller bounds the time of the whole by
    /// [`QUEUE_TIME_MAX`](crate::turnstile::QUEUE_TIME_MAX) and answers
    /// [`Refusal::Busy`] when it is over; dropping the future gives the place up.
    ///
    /// # Errors
    /// A [`Refusal`]; the secret wasn't looked at and nothing was counted.
    pub async fn pass(
        &self,
        admitted: &Admitted,
        id: Option<&ClientId>,
        secret: Option<&[u8]>,
    ) -> Result<Passage, Refusal> {
        let source = admitted.source;
        let changes = self.changes.load(Ordering::Acquire);
        if let Some(recognised) = self.recognise(source, id, secret)? {
            return Ok(Passage::Verified(recognised));
        }
        let entry = self.turnstile.enter(id, source.network()).map_err(|_full| Refusal::Busy)?;
        let at_once = entry.is_turn();
        let turn = entry.await;
        let era = self.verified.era();
        // An order or a success counts before its turn is given back: without
        // one, what was known a moment ago still holds.
        if (!at_once || self.changes.load(Ordering::Acquire) != changes)
            && let Some(recognised) = self.recognise(source, id, secret)?
        {
            return Ok(Passage::Verified(recognised));
        }
        Ok(Passage::Turn(Admission { source, client_id: id.cloned(), turn, era }))
    }

    /// Rule 11 from its start: banned, then verified, then waiting.
    fn recognise(
        &self,
        source: Source,
        id: Option<&ClientId>,
        secret: Option<&[u8]>,
    ) -> Result<Option<Recognised>, Refusal> {
        self.admit(source)?;
        let now = self.clock.now();
        if let (Some(id), Some(secret)) = (id, secret)
            && self.verified.recognises(id, source.network(), secret, now)
        {
            return Ok(Some(Recognised { source, client_id: id.clone() }));
        }
        match self.waits_until(source, id, now) {
            Some(until) => Err(Refusal::Waiting(until.since(now))),
            None => Ok(None),
        }
    }

    /// Whom a running wait was ordered for depends on the policy's subject at
    /// that time, so every kind of subject is looked up.
    fn waits_until(&self, source: Source, id: Option<&ClientId>, now: Timestamp) -> Option<Timestamp> {
        let network = source.network();
        let by_id = id.and_then(|id| self.store.waits_until(&Subject::Id(id.clone()), now));
        let by_pair = id.and_then(|id| self.store.waits_until(&Subject::Pair(id.clone(), network), now));
        let by_source = self.store.waits_until(&Subject::Source(network), now);
        by_id.max(by_pair).max(by_source)
    }

    /// The secret has been checked: have the attempt judged by every `wait` and
    /// `ban` policy. When this returns their orders are in force (rule 13), and
    /// the next attempt may come.
    pub fn judge_attempt(&self, admission: Admission, finished: &Finished<'_>) -> Judged {
        let Admission { source, client_id, turn, era } = admission;
        let judged = self.judge_finished(source, client_id.as_ref(), finished);
        if finished.outcome == Outcome::Success
            && !judged.denied
            && let (Some(id), Some(secret)) = (&client_id, finished.secret)
        {
            let lasting = self.ruleset().limits.verified_for;
            self.verified.remember(id, source.network(), secret, self.clock.now(), lasting, era);
        }
        self.changes.fetch_add(1, Ordering::Release);
        drop(turn);
        judged
    }

    /// A pair that was recognised has been refused all the same, by whoever
    /// checks each request: it is verified no longer, and this was a failed
    /// attempt. It had no turn, so it doesn't give one back.
    pub fn judge_refuted(&self, recognised: Recognised, finished: &Finished<'_>) -> Judged {
        let Recognised { source, client_id } = recognised;
        self.verified.forget(&client_id, source.network());
        self.judge_finished(source, Some(&client_id), &Finished { outcome: Outcome::Failure, ..*finished })
    }

    fn judge_finished(&self, source: Source, client_id: Option<&ClientId>, finished: &Finished<'_>) -> Judged {
        let ruleset = self.ruleset();
        let attempt = Attempt {
            source,
            client_id,
            outcome: finished.outcome,
            client_known: finished.client_known,
            secret_fingerprint: finished.secret_fingerprint,
            attributes: finished.attributes,
        };
        let mut judged = Judged::default();
        for policy in ruleset.policies.iter().filter(|policy| policy.kind != Kind::Scanner) {
            self.judge(&ruleset, policy, Event::Attempt(&attempt), &mut judged);
        }
        judged
    }

    /// The head of the reply is known: have the request judged by every
    /// `scanner` policy. When this returns their orders are in force (rule 14).
    pub fn judge_request(&self, admitted: &Admitted, request: &Request<'_>) -> Judged {
        debug_assert_eq!(admitted.source, request.source, "decided once (rule 1)");
        let ruleset = self.ruleset();
        let mut judged = Judged::default();
        for policy in ruleset.policies.iter().filter(|policy| policy.kind == Kind::Scanner) {
            if policy.judge.interest().wants_status(request.status) {
                self.judge(&ruleset, policy, Event::Request(request), &mut judged);
            }
        }
        judged
    }

    /// The credentials have changed: nothing is verified any longer (rule 8).
    pub fn unverify_all(&self) {
        self.verified.forget_all();
    }

    fn judge(&self, ruleset: &Ruleset, policy: &Bound, event: Event<'_>, judged: &mut Judged) {
        let subject = Subject::of(policy.subject, &event);
        judged.judged_by += 1;
        policy.table.hold(&subject, &*self.clock, &mut |at, held| match policy
            .judge
            .judge(&Dated { at, event }, held.as_kept())
        {
            Ok(Judgement { verdict, keep, format }) => {
                held.keep(format, keep);
                judged.orders.extend(self.enforce(ruleset, policy, &subject, event.source(), verdict, at));
            }
            Err(Denied) => judged.denied = true,
        });
    }

    fn enforce(
        &self,
        ruleset: &Ruleset,
        policy: &Bound,
        subject: &Subject,
        source: Source,
        verdict: Verdict,
        at: Timestamp,
    ) -> Option<Order> {
        let (reason, enforced) = match verdict {
            Verdict::Pass => return None,
            Verdict::Wait(WaitOrder { duration, reason }) => {
                let duration = duration.min(ruleset.limits.max_wait);
                if duration.is_zero() {
                    return None;
                }
                let placed = self.store.wait(subject, at.after(duration), at);
                self.changes.fetch_add(1, Ordering::Release);
                (reason, Enforced::Wait { subject: subject.clone(), duration, placed })
            }
            Verdict::Ban(BanOrder { duration, prefix_length, reason }) => {
                let duration = duration.min(ruleset.limits.max_ban);
                if duration.is_zero() {
                    return None;
                }
                if ruleset.source.spares(source.address()) {
                    (reason, Enforced::Spared)
                } else {
                    let network = banned_network(source, prefix_length);
                    let placed = self.store.ban(network, at.after(duration), at);
                    self.changes.fetch_add(1, Ordering::Release);
                    let first_private =
                        is_private(source.address()) && !self.private_ban_seen.swap(true, Ordering::Relaxed);
                    (reason, Enforced::Ban { network, duration, placed, first_private })
                }
            }
        };
        Some(Order { policy: Arc::clone(&policy.name), kind: policy.kind, reason, enforced })
    }
}

/// The network that a ban covers: the source's own unless the plugin named
/// another width, clamped (rule 4).
fn banned_network(source: Source, prefix_length: Option<u8>) -> IpNet {
    let (widest, narrowest) = match source.address() {
        IpAddr::V4(_) => (BAN_PREFIX_MIN_V4, 32),
        IpAddr::V6(_) => (BAN_PREFIX_MIN_V6, 128),
    };
    let prefix = prefix_length.unwrap_or(source.network().prefix_len()).clamp(widest, narrowest);
    IpNet::new(source.address(), prefix).map_or(source.network(), |network| network.trunc())
}

/// Loopback, private, link-local and unique local addresses: what a proxy
/// nearby would have.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
