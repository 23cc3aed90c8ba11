//! How wide the networks are that are banned. It must not know who is.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use ipnet::IpNet;

use crate::sync::AtomicU64;

/// Which prefix lengths have bans, so that a look-up tries no others.
pub(super) struct Widths {
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
    pub(super) fn add(&self, network: IpNet) {
        let (count, word, bit) = self.place_of(network);
        count.fetch_add(1, Ordering::Relaxed);
        word.fetch_or(bit, Ordering::Release);
    }

    /// Only called under the writers' lock.
    pub(super) fn remove(&self, network: IpNet) {
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
    pub(super) fn in_use(&self, address: IpAddr) -> impl Iterator<Item = u8> + '_ {
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
