//! Where waits, bans and kept state live.
//!
//! The gate speaks to a [`Store`]; this crate brings the one in memory
//! ([`crate::MemoryStore`]). A store never judges, and time comes to it from outside.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::event::{ClientId, Event};
use crate::judge::{Kept, StateFormat, SubjectBy};
use crate::time::{Clock, Timestamp};
use crate::verdict::Keep;

/// Whom state is kept about, and who waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A client auth id, from wherever.
    Id(ClientId),
    /// A source, whoever.
    Source(IpNet),
    /// A client auth id from one source.
    Pair(ClientId, IpNet),
}

impl Subject {
    /// The subject of an event (rule 18): without an id it is the source.
    #[must_use]
    pub fn of(by: SubjectBy, event: &Event<'_>) -> Self {
        let network = event.source().network();
        match (by, event.client_id()) {
            (SubjectBy::Id, Some(id)) => Self::Id(id.clone()),
            (SubjectBy::Pair, Some(id)) => Self::Pair(id.clone(), network),
            (SubjectBy::Source, _) | (SubjectBy::Id | SubjectBy::Pair, None) => Self::Source(network),
        }
    }
}

/// What placing an order came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// When it ends now: the later of what was asked and what was running (rule 17).
    pub until: Timestamp,
    /// Whether this order is the one that decides that: nothing later was running.
    pub changed: bool,
    /// An active ban that had to go for this one, the map being full of active
    /// bans (rule 20).
    pub displaced: Option<(IpNet, Timestamp)>,
}

/// Waits, bans and kept state. Every map in it has a capacity (rule 20).
pub trait Store: Send + Sync {
    /// The kept state of the policy of that name, the same table for the same
    /// name for ever; `formats` are those of its judge, in the judge's order.
    fn table(&self, policy: &str, formats: &[StateFormat]) -> Arc<dyn Table>;

    /// Bans a network until then, or longer if it is already.
    fn ban(&self, network: IpNet, until: Timestamp, now: Timestamp) -> Placed;

    /// When the last of the bans that hold for `address` ends.
    fn banned_until(&self, address: IpAddr, now: Timestamp) -> Option<Timestamp>;

    /// Lets a subject wait until then, or longer if it does already.
    fn wait(&self, subject: &Subject, until: Timestamp, now: Timestamp) -> Placed;

    /// When the subject's wait ends.
    fn waits_until(&self, subject: &Subject, now: Timestamp) -> Option<Timestamp>;

    /// Drops some of what has expired, to give memory back; called now and then.
    fn sweep(&self, now: Timestamp);
}

/// The kept state of one policy.
pub trait Table: Send + Sync {
    /// Runs `judge` while nobody else holds that subject in this table: read,
    /// judge and commit are one step (rule 16). It blocks only callers with the
    /// same subject, and no lock of the map is held while `judge` runs. The
    /// time is taken from `clock` once the subject is held, so that a subject's
    /// time never goes back.
    fn hold(&self, subject: &Subject, clock: &dyn Clock, judge: &mut dyn FnMut(Timestamp, &mut dyn Held));
}

/// A subject that is held: its state can be read and changed.
pub trait Held: Kept {
    /// Keeps, forgets or leaves what is kept under `format`, an index into the
    /// formats that the table was asked for with. It counts when the subject is
    /// let go; of several calls the last one holds.
    fn keep(&mut self, format: usize, keep: Keep);

    /// The held state as a judge may see it.
    fn as_kept(&self) -> &dyn Kept;
}
