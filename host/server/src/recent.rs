//! The last refusals and orders, for whoever looks at the server while it runs.
//! Newest only, and few: a look at the present, no record.
//!
//! It must cost next to nothing on the way of a request: where another thread is
//! noting something at this moment, nothing is noted.

use std::collections::VecDeque;
use std::net::IpAddr;

use parking_lot::Mutex;
use portcullis_domain::{Enforced, Order, Subject, Timestamp};

/// Sources whose refusals are told apart; the one refused longest ago goes.
pub const SOURCES_MAX: usize = 64;
/// Bans, and waits, that are remembered.
pub const ORDERS_MAX: usize = 32;

/// A source that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedSource {
    /// Its address.
    pub source: IpAddr,
    /// Why the last time, in one word.
    pub why: &'static str,
    /// How often since it is remembered.
    pub times: u64,
    /// When the last time.
    pub last: Timestamp,
}

/// What a policy ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentOrder {
    /// When.
    pub at: Timestamp,
    /// From where the event came that was judged.
    pub source: IpAddr,
    /// What, and what became of it.
    pub order: Order,
}

/// Remembers them.
#[derive(Debug, Default)]
pub struct Recent {
    refused: Mutex<Vec<RefusedSource>>,
    bans: Mutex<VecDeque<RecentOrder>>,
    waits: Mutex<VecDeque<RecentOrder>>,
}

impl Recent {
    /// A request from there was refused.
    pub fn refused(&self, source: IpAddr, why: &'static str, now: impl FnOnce() -> Timestamp) {
        let Some(mut refused) = self.refused.try_lock() else { return };
        let last = now();
        if let Some(known) = refused.iter_mut().find(|known| known.source == source) {
            known.times += 1;
            (known.why, known.last) = (why, last);
            return;
        }
        let new = RefusedSource { source, why, times: 1, last };
        if refused.len() < SOURCES_MAX {
            refused.push(new);
        } else if let Some(oldest) = refused.iter_mut().min_by_key(|known| known.last) {
            *oldest = new;
        }
    }

    /// A policy gave an order about an event from there.
    pub fn ordered(&self, source: IpAddr, order: &Order, now: impl FnOnce() -> Timestamp) {
        let orders = match &order.enforced {
            Enforced::Wait { .. } => &self.waits,
            Enforced::Ban { .. } | Enforced::Spared | Enforced::LogOnly { .. } => &self.bans,
        };
        let Some(mut orders) = orders.try_lock() else { return };
        if orders.len() >= ORDERS_MAX {
            orders.pop_front();
        }
        orders.push_back(RecentOrder { at: now(), source, order: order.clone() });
    }

    /// The sources refused, the last one first.
    #[must_use]
    pub fn refused_sources(&self) -> Vec<RefusedSource> {
        let mut refused = self.refused.lock().clone();
        refused.sort_by_key(|one| std::cmp::Reverse((one.last, one.times)));
        refused
    }

    /// The bans ordered, the last one first.
    #[must_use]
    pub fn bans(&self) -> Vec<RecentOrder> {
        self.bans.lock().iter().rev().cloned().collect()
    }

    /// The waits ordered, the last one first.
    #[must_use]
    pub fn waits(&self) -> Vec<RecentOrder> {
        self.waits.lock().iter().rev().cloned().collect()
    }
}

impl RecentOrder {
    /// Whom it hits, for eyes.
    #[must_use]
    pub fn whom(&self) -> String {
        match &self.order.enforced {
            Enforced::Wait { subject: Subject::Id(id), .. } => id.as_str().to_owned(),
            Enforced::Wait { subject: Subject::Source(network), .. } => shown(*network),
            Enforced::Wait { subject: Subject::Pair(id, network), .. } => {
                format!("{} {}", id.as_str(), shown(*network))
            }
            Enforced::Ban { network, .. } | Enforced::LogOnly { network, .. } => shown(*network),
            Enforced::Spared => self.source.to_string(),
        }
    }
}

/// A network of one address is that address.
fn shown(network: ipnet::IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() { network.addr().to_string() } else { network.to_string() }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn address(number: u16) -> IpAddr {
        Ipv6Addr::from_bits(u128::from(number)).into()
    }

    #[test]
    fn the_last_refused_come_first_and_the_oldest_goes() {
        let recent = Recent::default();
        recent.refused(address(1), "banned", || at(1));
        recent.refused(address(2), "waiting", || at(2));
        recent.refused(address(1), "busy", || at(3));
        let seen: Vec<_> =
            recent.refused_sources().iter().map(|one| (one.source, one.why, one.times, one.last)).collect();
        assert_eq!(seen, [(address(1), "busy", 2, at(3)), (address(2), "waiting", 1, at(2))]);
        for number in 10..10 + u16::try_from(SOURCES_MAX).unwrap() {
            recent.refused(address(number), "banned", || at(u64::from(number)));
        }
        let sources: Vec<_> = recent.refused_sources().iter().map(|one| one.source).collect();
        assert_eq!(sources.len(), SOURCES_MAX);
        assert!(!sources.contains(&address(1)) && !sources.contains(&address(2)), "{sources:?}");
    }
}
