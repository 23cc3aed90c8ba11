//! One map cut into several, each behind its own lock, so that cores seldom meet.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::RandomState;

use crate::sync::Mutex;

/// Shards of a full-sized map.
const SHARDS_MAX: usize = 64;
/// Below this many entries another shard isn't worth it.
const ENTRIES_PER_SHARD_MIN: usize = 1024;

/// Values of `T`, one of which is responsible for any given key.
pub(crate) struct Shards<T> {
    shards: Box<[Mutex<T>]>,
    hasher: RandomState,
}

impl<T> Shards<T> {
    /// As many shards as `capacity` entries deserve; `make` gets the capacity of each.
    pub(crate) fn new(capacity: usize, make: impl Fn(usize) -> T) -> Self {
        let count = (capacity / ENTRIES_PER_SHARD_MIN).clamp(1, SHARDS_MAX);
        let shards = (0..count).map(|_| Mutex::new(make(capacity.div_ceil(count).max(1)))).collect();
        Self { shards, hasher: RandomState::default() }
    }

    /// The index of the shard that `key` belongs to.
    pub(crate) fn index(&self, key: &impl Hash) -> usize {
        // The high half: the maps inside go by the low bits of a hash of their own.
        let hash = self.hasher.hash_one(key) >> 32;
        usize::try_from(hash).unwrap_or_default() % self.shards.len()
    }

    /// The shard that `key` belongs to.
    pub(crate) fn of(&self, key: &impl Hash) -> &Mutex<T> {
        &self.shards[self.index(key)]
    }

    /// The shard of that index, as [`Self::index`] gives it.
    pub(crate) fn at(&self, index: usize) -> &Mutex<T> {
        &self.shards[index]
    }

    /// Every shard.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mutex<T>> {
        self.shards.iter()
    }
}
