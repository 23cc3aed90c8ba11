//! What is counted of a watch, and told now and then.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counters of one watch since the start; it alone adds to them.
#[derive(Debug, Default)]
pub struct Counts {
    /// Lines that tell of an event.
    pub events: Count,
    /// Lines of the format that tell of nothing that policies judge, and empty ones.
    pub others: Count,
    /// Lines of no known kind, those that are too long included.
    pub unknown: Count,
    /// Answered requests among the events.
    pub requests: Count,
    /// Failed logins.
    pub failed_logins: Count,
    /// Successful logins.
    pub successful_logins: Count,
    /// Events older than `max_lateness`: not judged.
    pub late: Count,
    /// Events from the future: not judged.
    pub ahead: Count,
    /// Events of sources that were banned at that time: nothing new came of them.
    pub banned: Count,
    /// Times that a log couldn't be read or the command has ended.
    pub failures: Count,
    /// Times that something that hadn't been read was gone.
    pub lost: Count,
    /// Logs that are followed, or 1 while the command runs.
    pub sources: Count,
    /// Bytes that haven't been read.
    pub behind_bytes: Count,
    /// Age of the last line that was read, in milliseconds, while there is more to read.
    pub behind_ms: Count,
    /// Why it can't be read at the moment.
    failing: Mutex<Option<String>>,
}

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn bump(&self) {
        self.0.store(self.get().wrapping_add(1), Ordering::Relaxed);
    }

    /// It is so much.
    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// How much it is.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counts {
    /// Lines so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.events.get() + self.others.get() + self.unknown.get()
    }

    /// Why it can't be read at the moment, if so.
    #[must_use]
    pub fn failing(&self) -> Option<String> {
        self.failing.lock().clone()
    }

    pub(super) fn set_failing(&self, why: Option<String>) {
        *self.failing.lock() = why;
    }
}
