//! A map that holds so many entries and no more.
//!
//! When it is full, expired entries go first; if there are none, the least
//! recently touched of a sample goes (rule 20).

use std::hash::Hash;

use foldhash::quality::RandomState;
use indexmap::{Equivalent, IndexMap};

use crate::time::Timestamp;

/// Entries looked at to find one that hasn't been touched for long.
const SAMPLE: usize = 8;

#[derive(Debug)]
struct Entry<V> {
    value: V,
    /// Gone from this instant on; [`Timestamp::MAX`]: only when room is needed.
    expires: Timestamp,
    touched: Timestamp,
}

impl<V> Entry<V> {
    /// Written only where that says something new: another core may have the line.
    fn touch(&mut self, now: Timestamp) {
        if self.touched != now {
            self.touched = now;
        }
    }
}

/// A bounded map; not locked by itself.
#[derive(Debug)]
pub(crate) struct BoundedMap<K, V> {
    entries: IndexMap<K, Entry<V>, RandomState>,
    capacity: usize,
    /// No entry expires before this: a scan for expired ones is pointless until then.
    earliest_expiry: Timestamp,
    /// Where the next sample starts.
    hand: usize,
}

impl<K: Hash + Eq, V> BoundedMap<K, V> {
    /// An empty map for `capacity` entries, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: IndexMap::with_hasher(RandomState::default()),
            capacity: capacity.max(1),
            earliest_expiry: Timestamp::MAX,
            hand: 0,
        }
    }

    /// The value kept under `key` unless expired; it counts as touched.
    pub(crate) fn get<Q>(&mut self, key: &Q, now: Timestamp) -> Option<&mut V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let entry = self.entries.get_mut(key).filter(|entry| now < entry.expires)?;
        entry.touch(now);
        Some(&mut entry.value)
    }

    /// As [`Self::get`], at `now` or when `key` was last touched, whichever is
    /// later; that instant, too.
    pub(crate) fn get_not_before<Q>(&mut self, key: &Q, now: Timestamp) -> (Timestamp, Option<&mut V>)
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let Some(entry) = self.entries.get_mut(key) else { return (now, None) };
        let now = now.max(entry.touched);
        if now >= entry.expires {
            return (now, None);
        }
        entry.touch(now);
        (now, Some(&mut entry.value))
    }

    /// When `key` expires, unless it has.
    pub(crate) fn expiry<Q>(&self, key: &Q, now: Timestamp) -> Option<Timestamp>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.entries.get(key).map(|entry| entry.expires).filter(|&expires| now < expires)
    }

    /// Keeps `value` under `key` until `expires`, making room if there is none.
    /// Says what live entry had to go for it.
    pub(crate) fn insert(&mut self, key: K, value: V, expires: Timestamp, now: Timestamp) -> Option<K> {
        let full = self.entries.len() >= self.capacity && !self.entries.contains_key(&key);
        let evicted = if full { self.make_room(now) } else { None };
        self.earliest_expiry = self.earliest_expiry.min(expires);
        self.entries.insert(key, Entry { value, expires, touched: now });
        evicted
    }

    /// As [`Self::insert`], for what was kept elsewhere: it counts as never touched.
    pub(crate) fn restore(&mut self, key: K, value: V, expires: Timestamp, now: Timestamp) {
        let full = self.entries.len() >= self.capacity && !self.entries.contains_key(&key);
        if full {
            self.make_room(now);
        }
        self.earliest_expiry = self.earliest_expiry.min(expires);
        self.entries.insert(key, Entry { value, expires, touched: Timestamp::default() });
    }

    /// The value under `key`, made and kept without an end if there is none; it
    /// counts as touched. Says whether a live entry had to go for it.
    pub(crate) fn get_or_insert_with(&mut self, key: &K, make: impl FnOnce() -> V, now: Timestamp) -> (&mut V, bool)
    where
        K: Clone,
    {
        let full = self.entries.len() >= self.capacity && !self.entries.contains_key(key);
        let evicted = full && self.make_room(now).is_some();
        let entry = self.entries.entry(key.clone());
        let entry = entry.or_insert_with(|| Entry { value: make(), expires: Timestamp::MAX, touched: now });
        entry.touched = now;
        (&mut entry.value, evicted)
    }

    /// The value kept under `key`, without touching it.
    pub(crate) fn peek<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Forgets `key`.
    pub(crate) fn remove<Q>(&mut self, key: &Q)
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.entries.swap_remove(key);
    }

    /// Forgets `key`, and says what was kept there and until when, unless it had expired.
    pub(crate) fn take<Q>(&mut self, key: &Q, now: Timestamp) -> Option<(V, Timestamp)>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let entry = self.entries.swap_remove(key)?;
        (now < entry.expires).then_some((entry.value, entry.expires))
    }

    /// Room for so many more at once, within the capacity.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.entries.reserve(more.min(self.capacity.saturating_sub(self.entries.len())));
    }

    /// Every entry that hasn't expired, with its end.
    pub(crate) fn iter(&self, now: Timestamp) -> impl Iterator<Item = (&K, &V, Timestamp)> {
        let live = self.entries.iter().filter(move |(_, entry)| now < entry.expires);
        live.map(|(key, entry)| (key, &entry.value, entry.expires))
    }

    /// Every value, whether it has expired or not.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|entry| &entry.value)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.earliest_expiry = Timestamp::MAX;
    }

    /// Drops what has expired and gives memory back when much of it is unused.
    pub(crate) fn sweep(&mut self, now: Timestamp) {
        if now < self.earliest_expiry {
            return;
        }
        let mut earliest = Timestamp::MAX;
        self.entries.retain(|_, entry| {
            let keep = now < entry.expires;
            if keep {
                earliest = earliest.min(entry.expires);
            }
            keep
        });
        self.earliest_expiry = earliest;
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// How many entries there are, expired ones included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn make_room(&mut self, now: Timestamp) -> Option<K> {
        self.sweep(now);
        if self.entries.len() < self.capacity {
            return None;
        }
        // A walk with a large stride from where the last one ended: as good as
        // chance, since hashes decide nothing here and strangers see nothing of it.
        let len = self.entries.len();
        let stride = len / SAMPLE + 1;
        let oldest = (0..SAMPLE.min(len))
            .map(|step| (self.hand + step * stride) % len)
            .min_by_key(|&index| self.entries.get_index(index).map(|(_, entry)| entry.touched));
        self.hand = (self.hand + 1) % len;
        self.entries.swap_remove_index(oldest?).map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn rule_20_expired_entries_go_before_live_ones() {
        let mut map = BoundedMap::new(4);
        map.insert("live-1", 1, Timestamp::MAX, at(0));
        map.insert("live-2", 2, Timestamp::MAX, at(1));
        map.insert("short", 3, at(5), at(9));
        map.insert("live-3", 4, Timestamp::MAX, at(3));
        map.insert("new", 5, Timestamp::MAX, at(10));
        assert_eq!(map.get("short", at(10)), None);
        for key in ["live-1", "live-2", "live-3", "new"] {
            assert!(map.get(key, at(10)).is_some(), "{key} should be there");
        }
    }

    #[test]
    fn rule_20_without_expired_ones_the_least_recently_touched_goes() {
        let mut map = BoundedMap::new(3);
        for (key, second) in [("a", 0), ("b", 1), ("c", 2)] {
            map.insert(key, (), Timestamp::MAX, at(second));
        }
        map.get("a", at(5));
        map.insert("d", (), Timestamp::MAX, at(6));
        assert!(map.get("b", at(7)).is_none(), "b was touched least recently");
        assert!(map.get("a", at(7)).is_some());
        assert_eq!(map.len(), 3);
    }

    #[test]
    fn an_entry_is_gone_from_the_instant_it_expires() {
        let mut map = BoundedMap::new(3);
        map.insert("a", (), at(5), at(0));
        assert!(map.get("a", Timestamp::from_millis(4999)).is_some());
        assert!(map.get("a", at(5)).is_none());
    }

    #[test]
    fn a_sweep_gives_memory_back() {
        let mut map = BoundedMap::new(100_000);
        for key in 0..50_000u32 {
            map.insert(key, (), at(5), at(0));
        }
        let before = map.entries.capacity();
        map.sweep(at(6));
        assert_eq!(map.len(), 0);
        assert!(map.entries.capacity() < before / 4);
    }
}
