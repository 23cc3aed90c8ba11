//! Who hears what was judged and done, so that it can be told, counted and
//! explained later.
//!
//! A witness changes nothing. It is called while the subject is held, so that
//! what it hears of one subject is in its order, and so must not block.

use ipnet::IpNet;

use crate::event::{Attempt, Dated};
use crate::judge::{Answered, Denied, Judgement, Kind, PolicyMode, Provenance, StateFormat};
use crate::order::Order;
use crate::sighting::Origin;
use crate::store::{Ban, Wait};
use crate::subject::Subject;
use crate::time::Timestamp;

/// One policy's judgement of one event, with all that led to it.
#[derive(Clone, Copy, Debug)]
pub struct Testimony<'a> {
    /// What was judged, and when.
    pub dated: &'a Dated<'a>,
    /// Where the gate knows of it from.
    pub origin: Origin<'a>,
    /// Number of the event: the same for all policies that judge it, and of no
    /// other event of this gate.
    pub event: u64,
    /// The policy's name.
    pub policy: &'a str,
    /// Its kind.
    pub kind: Kind,
    /// Whether its orders are put in force.
    pub mode: PolicyMode,
    /// Whom it keeps state about.
    pub subject: &'a Subject,
    /// Which code answered, if it can be named.
    pub provenance: Option<Provenance>,
    /// In which format `before` is, and what is kept.
    pub format: &'a StateFormat,
    /// What was kept for the subject before.
    pub before: Option<&'a [u8]>,
    /// What was answered.
    pub answer: Result<&'a Judgement, Denied>,
    /// What the verdict came to; absent for a pass and for shadow policies.
    pub order: Option<&'a Order>,
}

impl Testimony<'_> {
    /// Who answered; [`Answered::Nobody`] where the event was denied.
    #[must_use]
    pub fn answered(&self) -> Answered {
        self.answer.map_or(Answered::Nobody, |judgement| judgement.answered)
    }
}

/// Something that was done by hand, or by a change of the configuration.
#[derive(Clone, Copy, Debug)]
pub enum Act<'a> {
    /// A network was banned by hand.
    Ban(&'a Ban),
    /// Its ban was lifted by hand.
    Unban(&'a Ban),
    /// Its ban was lifted, since it is in `never_ban` now.
    NeverBan(&'a Ban),
    /// A subject's wait was ended by hand.
    Unwait(&'a Wait),
    /// A policy that had ordered too many bans is trusted again, by hand
    /// (rule 33).
    Trust {
        /// Its name.
        policy: &'a str,
    },
}

impl Act<'_> {
    /// The network it is about, if it is about one.
    #[must_use]
    pub fn network(&self) -> Option<IpNet> {
        match self {
            Self::Ban(ban) | Self::Unban(ban) | Self::NeverBan(ban) => Some(ban.network),
            Self::Unwait(wait) => match &wait.subject {
                Subject::Source(network) | Subject::Pair(_, network) => Some(*network),
                Subject::Id(_) => None,
            },
            Self::Trust { .. } => None,
        }
    }
}

/// Hears what was judged and done.
pub trait Witness: Send + Sync {
    /// A policy judged: every attempt; of requests those for which the verdict
    /// isn't pass, the state changed or nobody could judge.
    fn judged(&self, testimony: &Testimony<'_>);

    /// An attempt was finished while no policy was there to judge it.
    fn unjudged(&self, at: Timestamp, attempt: &Attempt<'_>, origin: Origin<'_>);

    /// Something was done by hand.
    fn acted(&self, at: Timestamp, act: &Act<'_>);
}
