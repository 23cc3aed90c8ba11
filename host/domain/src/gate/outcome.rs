//! What becomes of a request, a login and a judgement, in types.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::event::{Attribute, ClientId, Outcome};
use crate::judge::Kind;
use crate::shadow::ShadowOrder;
use crate::source::Source;
use crate::store::{Placed, Subject};
use crate::turnstile::Turn;
use crate::verdict::Reason;
use crate::verified::Era;

/// What the client is told to wait when the queue is full (rule 12).
const BUSY_RETRY: Duration = Duration::from_secs(1);

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
    pub(super) source: Source,
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
    pub(super) source: Source,
    pub(super) client_id: ClientId,
}

/// An attempt whose turn it is: its secret may be checked, and it can be judged
/// once. Dropped without that, it was no attempt (rule 6).
#[derive(Debug)]
#[must_use = "an admission that is dropped lets the next attempt in, unjudged"]
pub struct Admission {
    pub(super) source: Source,
    pub(super) client_id: Option<ClientId>,
    pub(super) turn: Turn,
    pub(super) era: Era,
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
    /// The policy had been over its cap of bans and is trusted again with this one.
    pub trusted_again: bool,
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
    /// The policy has ordered more bans in a minute than its operator allows:
    /// nothing is enforced (rule 33).
    LogOnly {
        /// Which network it would have banned.
        network: IpNet,
        /// How long, after clamping.
        duration: Duration,
        /// It is the first one since the policy kept to the cap.
        tripped: bool,
    },
}

/// What the policies said about one event. It is in force already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Orders of all policies, in their order.
    pub orders: Vec<Order>,
    /// Orders of shadow policies: nothing came of them (rule 32).
    pub in_shadow: Vec<ShadowOrder>,
    /// Some policy couldn't judge and its operator wants that to be a 503 (rule 21).
    pub denied: bool,
    /// Policies that were asked.
    pub judged_by: u32,
}

impl Order {
    /// Whom it hits; nobody where the source is spared.
    pub(crate) fn subject(&self) -> Option<Subject> {
        match &self.enforced {
            Enforced::Wait { subject, .. } => Some(subject.clone()),
            Enforced::Ban { network, .. } | Enforced::LogOnly { network, .. } => Some(Subject::Source(*network)),
            Enforced::Spared => None,
        }
    }
}

impl Judged {
    /// Whether a ban was placed or made longer: what has to be durable before
    /// the reply leaves.
    #[must_use]
    pub fn has_banned(&self) -> bool {
        self.orders.iter().any(|order| match &order.enforced {
            Enforced::Ban { placed, .. } => placed.changed,
            Enforced::Wait { .. } | Enforced::Spared | Enforced::LogOnly { .. } => false,
        })
    }

    /// The longest wait that was ordered, zero if none.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        let waits = self.orders.iter().filter_map(|order| match &order.enforced {
            Enforced::Wait { duration, .. } => Some(*duration),
            Enforced::Ban { .. } | Enforced::Spared | Enforced::LogOnly { .. } => None,
        });
        waits.max().unwrap_or_default()
    }
}
