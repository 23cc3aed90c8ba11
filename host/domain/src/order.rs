//! What policies ordered about one event, and what became of it.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::judge::Kind;
use crate::shadow::ShadowOrder;
use crate::store::Placed;
use crate::subject::Subject;
use crate::verdict::Reason;

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
