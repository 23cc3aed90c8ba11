//! Where waits, bans and kept state live.
//!
//! The gate speaks to a [`Store`]; this crate brings the one in memory
//! ([`crate::MemoryStore`]). A store never judges, and time comes to it from
//! outside. Whoever makes what it holds durable is a [`Recorder`].

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::judge::{Kept, StateFormat};
use crate::shadow::ShadowLedger;
use crate::subject::Subject;
use crate::time::{Clock, Timestamp};
use crate::verdict::{Keep, Reason};

/// Who ordered a wait or a ban.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// The policy of that name.
    Policy(Arc<str>),
    /// The operator, by hand.
    Operator,
}

/// Why something is in force, for operators. Shared by all that were ordered
/// in the same words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cause {
    /// Who ordered it.
    pub by: By,
    /// What they said.
    pub reason: Reason,
}

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Which network, its host bits zero.
    pub network: IpNet,
    /// When the order came that decides its end.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Why.
    pub cause: Arc<Cause>,
}

/// A wait in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Who waits.
    pub subject: Subject,
    /// When the order came that decides its end.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Why.
    pub cause: Arc<Cause>,
}

/// How much a policy keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSize {
    /// The policy's name.
    pub policy: Arc<str>,
    /// States kept, expired ones that nobody has met yet included.
    pub states: usize,
    /// States that were live and had to go for others, so far (rule 20).
    pub evicted: u64,
}

/// How much is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bans, those that have just ended included.
    pub bans: usize,
    /// Waits, those that have just ended included.
    pub waits: usize,
    /// Active waits that had to go for others, so far (rule 20).
    pub waits_evicted: u64,
    /// By policy, in the order of their names.
    pub tables: Vec<TableSize>,
}

/// Hears of every change of what a store holds, so that it can be made durable.
///
/// Called while what changes is locked, so that changes of one thing arrive in
/// their order: it must not block and must not call the store. What has merely
/// expired is not told.
pub trait Recorder: Send + Sync {
    /// A network is banned, or for longer than it was.
    fn banned(&self, ban: &Ban);
    /// It is so no longer, before its time.
    fn unbanned(&self, network: IpNet);
    /// A subject waits, or for longer than it did.
    fn waits(&self, wait: &Wait);
    /// It does so no longer, before its time.
    fn waits_no_more(&self, subject: &Subject);
    /// A policy keeps these bytes for a subject, until then.
    fn kept(&self, policy: &Arc<str>, format: &StateFormat, subject: &Subject, data: &[u8], expires: Timestamp);
    /// A policy keeps nothing for a subject any more, under that format.
    fn forgot(&self, policy: &Arc<str>, format: &StateFormat, subject: &Subject);
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

    /// What the shadow policy of that name would have done, the same ledger for
    /// the same name for ever.
    fn shadow(&self, policy: &str) -> Arc<ShadowLedger>;

    /// Bans a network until then, or longer if it is already.
    fn ban(&self, network: IpNet, until: Timestamp, now: Timestamp, cause: &Cause) -> Placed;

    /// Lifts every ban of a network that is one of those or lies within one, and says which.
    fn unban_within(&self, networks: &[IpNet], now: Timestamp) -> Vec<Ban>;

    /// When the last of the bans that hold for `address` ends.
    fn banned_until(&self, address: IpAddr, now: Timestamp) -> Option<Timestamp>;

    /// The bans that hold for `address`.
    fn bans_on(&self, address: IpAddr, now: Timestamp) -> Vec<Ban>;

    /// The first `count` active bans that end after `after`, by their end and network.
    fn bans(&self, after: Option<(Timestamp, IpNet)>, count: usize, now: Timestamp) -> Vec<Ban>;

    /// Lets a subject wait until then, or longer if it does already.
    fn wait(&self, subject: &Subject, until: Timestamp, now: Timestamp, cause: &Cause) -> Placed;

    /// Ends a subject's wait, if it waits.
    fn unwait(&self, subject: &Subject, now: Timestamp) -> Option<Wait>;

    /// When the subject's wait ends.
    fn waits_until(&self, subject: &Subject, now: Timestamp) -> Option<Timestamp>;

    /// The first `count` active waits after `after`, by their end and subject.
    fn waits(&self, after: Option<&(Timestamp, Subject)>, count: usize, now: Timestamp) -> Vec<Wait>;

    /// How much is kept.
    fn sizes(&self) -> Sizes;

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
