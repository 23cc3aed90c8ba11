//! One map cut into several, each behind its own lock, so that cores seldom meet.

use std::hash::{BuildHasher, Hash};

use crossbeam_utils::CachePadded;
use foldhash::quality::RandomState;

use crate::sync::Mutex;

/// Shards of a full-sized map.
const SHARDS_MAX: usize = 64;
/// Below this many entries another shard isn't worth it.
const ENTRIES_PER_SHARD_MIN: usize = 1024;

/// Standard deviations of the number of keys that come to one shard: beyond six
/// there is nothing to expect, whatever the number of shards.
const SPREAD: usize = 6;

/// Values of `T`, one of which is responsible for any given key.
pub(crate) struct Shards<T> {
    /// Cores that are in neighbouring shards don't meet.
    shards: Box<[CachePadded<Mutex<T>>]>,
    hasher: RandomState,
}

impl<T> Shards<T> {
    /// As many shards as `capacity` entries deserve; `make` gets the capacity of each.
    ///
    /// Keys don't spread evenly: with an exact share some shards would be full,
    /// and drop what others have room for, before there are `capacity` entries
    /// in all. Each gets room for so much more than its share that this doesn't
    /// happen; in all that is some percent more than `capacity` at the most.
    pub(crate) fn new(capacity: usize, make: impl Fn(usize) -> T) -> Self {
        let count = (capacity / ENTRIES_PER_SHARD_MIN).clamp(1, SHARDS_MAX);
        let share = capacity.div_ceil(count).max(1);
        let room = if count == 1 { share } else { share + SPREAD * share.isqrt() };
        let shards = (0..count).map(|_| CachePadded::new(Mutex::new(make(room)))).collect();
        Self { shards, hasher: RandomState::default() }
    }

    /// By what a key's shard is found.
    pub(crate) fn hash(&self, key: &impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The index of the shard that a key of that hash belongs to.
    pub(crate) fn index(&self, hash: u64) -> usize {
        // The high half: the maps inside go by the low bits of a hash of their own.
        usize::try_from(hash >> 32).unwrap_or_default() % self.shards.len()
    }

    /// The shard that `key` belongs to.
    pub(crate) fn of(&self, key: &impl Hash) -> &Mutex<T> {
        self.at(self.index(self.hash(key)))
    }

    /// The shard of that index, as [`Self::index`] gives it.
    pub(crate) fn at(&self, index: usize) -> &Mutex<T> {
        &self.shards[index]
    }

    /// Every shard.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mutex<T>> {
        self.shards.iter().map(|shard| &**shard)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn as_many_as_were_asked_for_find_room_however_they_spread() {
        let shards = Shards::new(200_000, |room| (room, HashSet::new()));
        for key in 0..200_000_u32 {
            shards.of(&key).lock().1.insert(key);
        }
        assert!(shards.iter().count() > 1);
        let (mut most, mut rooms) = (0.0_f64, 0);
        for shard in shards.iter() {
            let shard = shard.lock();
            most = most.max(shard.1.len() as f64 / shard.0 as f64);
            rooms += shard.0;
        }
        assert!(most <= 1.0, "a shard would have had to drop something: {most}");
        assert!(rooms < 230_000, "{rooms}");
    }
}
