//! How far a request or a login has come, in types that only the gate makes.

use std::time::Duration;

use crate::event::{Attribute, ClientId, Outcome};
use crate::source::Source;
use crate::turnstile::Turn;
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
