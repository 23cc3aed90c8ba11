//! What an operator does by hand.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipnet::IpNet;

use super::Gate;
use crate::store::{Ban, By, Cause, Placed, Wait};
use crate::subject::Subject;
use crate::verdict::Reason;
use crate::witness::Act;

/// Widest network that may be banned by hand, in bits, of either family: what
/// is wider is a slip of the finger.
pub const BAN_BY_HAND_PREFIX_MIN: u8 = 8;

/// Code of the reason of what was done by hand.
const BY_HAND: &str = "by-hand";

/// Why something can't be done by hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActError {
    /// It would ban too many.
    #[error("{network} is wider than /{BAN_BY_HAND_PREFIX_MIN}")]
    TooWide {
        /// What was to be banned.
        network: IpNet,
    },
    /// It lies in a network that is never banned, or such a one lies in it.
    #[error("{network} overlaps {spared}, which source.never_ban or source.trusted_proxies spares")]
    Spared {
        /// What was to be banned.
        network: IpNet,
        /// What is spared.
        spared: IpNet,
    },
    /// It would end at once.
    #[error("a ban of no time at all")]
    NoTime,
}

impl Gate {
    /// Bans a network by hand, for at most the operator's own `max_ban`; a
    /// longer ban that is running already stays as it is.
    ///
    /// # Errors
    /// [`ActError`]; nothing has changed then.
    pub fn ban(&self, network: IpNet, duration: Duration, why: &str) -> Result<Placed, ActError> {
        let network = network.trunc();
        let ruleset = self.ruleset();
        if network.prefix_len() < BAN_BY_HAND_PREFIX_MIN {
            return Err(ActError::TooWide { network });
        }
        let overlaps = |spared: &IpNet| spared.contains(&network) || network.contains(spared);
        if let Some(spared) = ruleset.source.spared().find(overlaps) {
            return Err(ActError::Spared { network, spared });
        }
        let duration = duration.min(ruleset.limits.max_ban);
        let reason = Reason::new(BY_HAND, why).filter(|_| !duration.is_zero()).ok_or(ActError::NoTime)?;
        let cause = Cause { by: By::Operator, reason };
        let now = self.clock.now();
        let until = now.after(duration);
        let placed = self.store.ban(network, until, now, &cause);
        self.changes.fetch_add(1, Ordering::Release);
        if let Some(witness) = self.witness.as_ref().filter(|_| placed.changed) {
            witness.acted(now, &Act::Ban(&Ban { network, since: now, until, cause: Arc::new(cause) }));
        }
        Ok(placed)
    }

    /// Lifts every ban of a network within that one, itself included.
    pub fn unban(&self, network: IpNet) -> Vec<Ban> {
        let now = self.clock.now();
        let lifted = self.store.unban_within(&[network], now);
        self.changes.fetch_add(1, Ordering::Release);
        if let Some(witness) = &self.witness {
            lifted.iter().for_each(|ban| witness.acted(now, &Act::Unban(ban)));
        }
        lifted
    }

    /// Ends a subject's wait.
    pub fn unwait(&self, subject: &Subject) -> Option<Wait> {
        let now = self.clock.now();
        let wait = self.store.unwait(subject, now)?;
        self.changes.fetch_add(1, Ordering::Release);
        if let Some(witness) = &self.witness {
            witness.acted(now, &Act::Unwait(&wait));
        }
        Some(wait)
    }

    /// Trusts a policy again that has ordered too many bans; whether it had (rule 33).
    pub fn trust(&self, policy: &str) -> bool {
        let had_tripped = self.guard.reset(policy);
        if let Some(witness) = self.witness.as_ref().filter(|_| had_tripped) {
            witness.acted(self.clock.now(), &Act::Trust { policy });
        }
        had_tripped
    }

    /// Lifts the bans of networks that are never banned, and says which. A wider
    /// ban stays and spares them (rule 34). To be called once a store has been
    /// filled with what was kept elsewhere; [`Gate::swap`] does it by itself.
    pub fn lift_never_banned(&self) -> Vec<Ban> {
        let spared: Vec<IpNet> = self.ruleset().source.spared().collect();
        self.lift_spared(&spared)
    }

    pub(super) fn lift_spared(&self, spared: &[IpNet]) -> Vec<Ban> {
        if spared.is_empty() {
            return Vec::new();
        }
        let now = self.clock.now();
        let lifted = self.store.unban_within(spared, now);
        if let Some(witness) = &self.witness {
            lifted.iter().for_each(|ban| witness.acted(now, &Act::NeverBan(ban)));
        }
        lifted
    }
}
