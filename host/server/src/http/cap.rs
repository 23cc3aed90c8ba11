//! How many connections there may be at once, over all workers; it must not know what they carry.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A count of connections that can't pass its limit; clones share the count.
#[derive(Clone, Debug)]
pub struct ConnectionCap {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: AtomicUsize,
    used: AtomicUsize,
}

impl ConnectionCap {
    /// A cap of `limit` connections.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { shared: Arc::new(Shared { limit: AtomicUsize::new(limit), used: AtomicUsize::new(0) }) }
    }

    /// Sets `slots` of this cap aside under a cap of their own, so that a full
    /// house can't lock the administrator out. No more than there are.
    #[must_use]
    pub fn reserve(&self, slots: usize) -> Self {
        let mut moved = 0;
        let _ = self.shared.limit.fetch_update(Ordering::AcqRel, Ordering::Acquire, |limit| {
            moved = slots.min(limit);
            Some(limit - moved)
        });
        Self::new(moved)
    }

    /// A slot, unless all are taken.
    #[must_use]
    pub fn try_acquire(&self) -> Option<ConnectionSlot> {
        let limit = self.shared.limit.load(Ordering::Acquire);
        self.shared
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| (used < limit).then(|| used + 1))
            .ok()?;
        Some(ConnectionSlot { shared: Arc::clone(&self.shared) })
    }

    /// Connections at this moment.
    #[must_use]
    pub fn used(&self) -> usize {
        self.shared.used.load(Ordering::Acquire)
    }

    /// The most there may be.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.shared.limit.load(Ordering::Acquire)
    }
}

/// One connection's place under a [`ConnectionCap`]; given back when dropped.
#[derive(Debug)]
pub struct ConnectionSlot {
    shared: Arc<Shared>,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.shared.used.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectionCap;

    #[test]
    fn a_cap_gives_out_no_more_than_its_limit_and_takes_slots_back() {
        let cap = ConnectionCap::new(2);
        let first = cap.try_acquire();
        let second = cap.try_acquire();
        assert!(first.is_some() && second.is_some());
        assert!(cap.try_acquire().is_none());
        drop(first);
        assert_eq!(cap.used(), 1);
        assert!(cap.try_acquire().is_some());
    }

    #[test]
    fn reserved_slots_stay_free_when_the_rest_are_taken() {
        let cap = ConnectionCap::new(3);
        let admin = cap.reserve(1);
        let taken: Vec<_> = std::iter::from_fn(|| cap.try_acquire()).collect();
        assert_eq!(taken.len(), 2);
        assert!(admin.try_acquire().is_some());
        assert_eq!(ConnectionCap::new(1).reserve(5).limit(), 1);
    }
}
