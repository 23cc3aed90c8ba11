//! Instances, a slot for each thread, made when first needed.
//!
//! The slots belong to the pool and not to the threads: when a policy is
//! dropped, all of its memory goes at once. Knows nothing of what is in a slot.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::available_parallelism;

use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};

/// Most slots of one pool.
const SLOTS_MAX: usize = 64;

thread_local! {
    static THREAD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// Slots for interchangeable things.
pub(crate) struct Pool<T> {
    /// Threads don't share a cache line.
    slots: Box<[CachePadded<Slot<T>>]>,
}

struct Slot<T> {
    calls: AtomicU64,
    thing: Mutex<Option<T>>,
}

/// A slot that no other thread can use meanwhile.
pub(crate) struct Held<'a, T>(MutexGuard<'a, Option<T>>);

impl<T> Pool<T> {
    pub(crate) fn new() -> Self {
        let threads = available_parallelism().map_or(4, usize::from);
        let slots = (threads * 2).next_power_of_two().min(SLOTS_MAX);
        let slot = |_| CachePadded::new(Slot { calls: AtomicU64::new(0), thing: Mutex::new(None) });
        Self { slots: (0..slots).map(slot).collect() }
    }

    /// Counts a call; how many this thread's slot has seen before.
    pub(crate) fn count(&self) -> u64 {
        self.slots[self.own()].calls.fetch_add(1, Ordering::Relaxed)
    }

    /// How many calls were counted in all slots.
    pub(crate) fn counted(&self) -> u64 {
        self.slots.iter().map(|slot| slot.calls.load(Ordering::Relaxed)).sum()
    }

    /// This thread's slot; another one if that is in use, `None` if all are.
    pub(crate) fn hold(&self) -> Option<Held<'_, T>> {
        let own = self.own();
        if let Some(thing) = self.slots[own].thing.try_lock() {
            return Some(Held(thing));
        }
        let (before, after) = self.slots.split_at(own);
        after.iter().chain(before).find_map(|slot| slot.thing.try_lock()).map(Held)
    }

    fn own(&self) -> usize {
        THREAD.with(|thread| *thread) & (self.slots.len() - 1)
    }
}

impl<T> Held<'_, T> {
    /// Takes out what is in the slot, so that nothing stays there should the
    /// caller not come back.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take()
    }

    pub(crate) fn put(&mut self, thing: T) {
        *self.0 = Some(thing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_thread_finds_what_it_left() {
        let pool = Pool::new();
        pool.hold().unwrap().put(7);
        assert_eq!(pool.hold().unwrap().take(), Some(7));
        assert_eq!(pool.hold().unwrap().take(), None, "what is taken is gone");
    }

    #[test]
    fn a_slot_in_use_is_left_alone() {
        let pool = Pool::new();
        let mut held: Vec<_> = (0..pool.slots.len()).map(|_| pool.hold().unwrap()).collect();
        assert!(pool.hold().is_none(), "every slot is in use");
        held.pop();
        held.pop().unwrap().put(1);
        assert!(pool.hold().is_some());
    }

    #[test]
    fn what_is_in_the_slots_goes_with_the_pool() {
        let thing = Arc::new(());
        let pool = Arc::new(Pool::new());
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (pool, thing) = (Arc::clone(&pool), Arc::clone(&thing));
                std::thread::spawn(move || pool.hold().unwrap().put(thing))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(Arc::strong_count(&thing) > 1);
        drop(pool);
        assert_eq!(Arc::strong_count(&thing), 1);
    }

    #[test]
    fn calls_of_all_threads_are_counted() {
        let pool: Arc<Pool<()>> = Arc::new(Pool::new());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let pool = Arc::clone(&pool);
                std::thread::spawn(move || (0..100).for_each(|_| assert!(pool.count() < 400)))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(pool.counted(), 400);
    }
}
