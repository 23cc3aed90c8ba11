//! The ledger of bans: looked at for every request, written seldom.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use foldhash::quality::RandomState;
use ipnet::IpNet;

use crate::store::Placed;
use crate::sync::Mutex;
use crate::time::Timestamp;

/// Bans by network. A look-up costs one probe per prefix length in use, and
/// nothing while nobody is banned.
pub(crate) struct Bans {
    capacity: usize,
    by_network: DashMap<IpNet, Timestamp, RandomState>,
    widths: Widths,
    /// Every ban by its end. Writers hold this lock throughout, readers never take it.
    by_end: Mutex<BTreeSet<(Timestamp, IpNet)>>,
}

impl Bans {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            by_network: DashMap::with_hasher(RandomState::default()),
            widths: Widths::default(),
            by_end: Mutex::new(BTreeSet::new()),
        }
    }

    /// Rule 17: an order never shortens a running ban, the later end wins.
    pub(crate) fn place(&self, network: IpNet, until: Timestamp, now: Timestamp) -> Placed {
        let network = network.trunc();
        let mut by_end = self.by_end.lock();
        let running = self.by_network.get(&network).map(|end| *end);
        if let Some(end) = running {
            if now < end && end >= until {
                return Placed { until: end, changed: false, displaced: None };
            }
            by_end.remove(&(end, network));
        }
        let displaced = if running.is_none() && by_end.len() >= self.capacity {
            self.remove_first(&mut by_end).filter(|&(_, end)| now < end)
        } else {
            None
        };
        by_end.insert((until, network));
        self.by_network.insert(network, until);
        if running.is_none() {
            self.widths.add(network);
        }
        Placed { until, changed: true, displaced }
    }

    /// When the last ban that holds for `address` ends.
    pub(crate) fn until(&self, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        self.widths
            .in_use(address)
            .filter_map(|prefix| IpNet::new(address, prefix).ok())
            .filter_map(|network| self.by_network.get(&network.trunc()).map(|end| *end))
            .filter(|&end| now < end)
            .max()
    }

    /// Drops what has ended.
    pub(crate) fn sweep(&self, now: Timestamp) {
        let mut by_end = self.by_end.lock();
        while by_end.first().is_some_and(|&(end, _)| end <= now) {
            self.remove_first(&mut by_end);
        }
    }

    /// Removes the ban that ends soonest: expired ones come first by nature.
    fn remove_first(&self, by_end: &mut BTreeSet<(Timestamp, IpNet)>) -> Option<(IpNet, Timestamp)> {
        let (end, network) = by_end.pop_first()?;
        self.by_network.remove(&network);
        self.widths.remove(network);
        Some((network, end))
    }
}

/// Which prefix lengths have bans, so that a look-up tries no others.
struct Widths {
    v4: [AtomicU64; 33],
    v6: [AtomicU64; 129],
    /// A bit for each of the above that isn't zero: v4 in the first word.
    set: [AtomicU64; 4],
}

impl Default for Widths {
    fn default() -> Self {
        Self {
            v4: std::array::from_fn(|_| AtomicU64::new(0)),
            v6: std::array::from_fn(|_| AtomicU64::new(0)),
            set: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Widths {
    /// Only called under the writers' lock.
    fn add(&self, network: IpNet) {
        let (count, word, bit) = self.place_of(network);
        count.fetch_add(1, Ordering::Relaxed);
        word.fetch_or(bit, Ordering::Release);
    }

    /// Only called under the writers' lock.
    fn remove(&self, network: IpNet) {
        let (count, word, bit) = self.place_of(network);
        if count.fetch_sub(1, Ordering::Relaxed) == 1 {
            word.fetch_and(!bit, Ordering::Release);
        }
    }

    fn place_of(&self, network: IpNet) -> (&AtomicU64, &AtomicU64, u64) {
        let prefix = usize::from(network.prefix_len());
        match network {
            IpNet::V4(_) => (&self.v4[prefix], &self.set[0], 1 << prefix),
            IpNet::V6(_) => (&self.v6[prefix], &self.set[1 + prefix / 64], 1 << (prefix % 64)),
        }
    }

    /// Prefix lengths that have bans of the address's family.
    fn in_use(&self, address: IpAddr) -> impl Iterator<Item = u8> + '_ {
        let words: std::ops::Range<usize> = if address.is_ipv4() { 0..1 } else { 1..4 };
        let first = words.start;
        words.flat_map(move |index| {
            let mut bits = self.set[index].load(Ordering::Acquire);
            let base = (index - first) * 64;
            std::iter::from_fn(move || {
                (bits != 0).then(|| {
                    let bit = bits.trailing_zeros();
                    bits &= bits - 1;
                    u8::try_from(base + bit as usize).unwrap_or(u8::MAX)
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_width_of_both_families_is_found() {
        let bans = Bans::new(1000);
        for prefix in 0..=32 {
            bans.place(IpNet::new(ip("203.0.113.7"), prefix).unwrap(), at(100 + u64::from(prefix)), at(0));
        }
        for prefix in 0..=128 {
            bans.place(IpNet::new(ip("2001:db8::7"), prefix).unwrap(), at(1000 + u64::from(prefix)), at(0));
        }
        assert_eq!(bans.until(ip("203.0.113.7"), at(1)), Some(at(132)));
        assert_eq!(bans.until(ip("203.0.113.6"), at(1)), Some(at(131)));
        assert_eq!(bans.until(ip("2001:db8::7"), at(1)), Some(at(1128)));
        assert_eq!(bans.until(ip("2001:db8:0:0:8000::"), at(1)), Some(at(1064)), "the /64 is the narrowest that holds");
        bans.sweep(at(5000));
        assert_eq!(bans.widths.in_use(ip("::1")).count() + bans.widths.in_use(ip("1.1.1.1")).count(), 0);
    }

    #[test]
    fn rule_17_the_later_end_wins() {
        let bans = Bans::new(10);
        assert!(bans.place(net("203.0.113.7/32"), at(100), at(0)).changed);
        let shorter = bans.place(net("203.0.113.7/32"), at(50), at(1));
        assert_eq!((shorter.until, shorter.changed), (at(100), false));
        assert_eq!(bans.place(net("203.0.113.7/32"), at(200), at(2)).until, at(200));
        assert_eq!(bans.until(ip("203.0.113.7"), at(199)), Some(at(200)));
        assert_eq!(bans.until(ip("203.0.113.7"), at(200)), None);
    }

    #[test]
    fn rule_20_an_active_ban_goes_only_when_all_are_active_and_then_the_soonest() {
        let bans = Bans::new(3);
        bans.place(net("192.0.2.1/32"), at(10), at(0));
        bans.place(net("192.0.2.2/32"), at(300), at(0));
        bans.place(net("192.0.2.3/32"), at(200), at(0));
        let fourth = bans.place(net("192.0.2.4/32"), at(400), at(10));
        assert_eq!(fourth.displaced, None, "the first had ended at 10");
        let fifth = bans.place(net("192.0.2.5/32"), at(150), at(11));
        assert_eq!(fifth.displaced, Some((net("192.0.2.3/32"), at(200))));
        assert_eq!(bans.until(ip("192.0.2.2"), at(11)), Some(at(300)));
        assert_eq!(bans.until(ip("192.0.2.3"), at(11)), None);
    }
}
