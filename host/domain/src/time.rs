//! Time as a parameter: instants on the host's clock, and where they come from.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Milliseconds since the Unix epoch on the host's clock; below 2^53, so that
/// every guest language holds it exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last instant there is: 2^53 - 1 ms.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// An instant from milliseconds since the Unix epoch; later than [`Self::MAX`] is cut to it.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// `self` later by `duration`, in whole milliseconds rounded up so that
    /// nothing ends early, and cut to [`Self::MAX`].
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self::from_millis(self.0.saturating_add(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// Where the gate learns what time it is.
///
/// Rule 16: the server's clock is the wall time at its start plus monotonic
/// time, so that it never goes back.
pub trait Clock: Send + Sync {
    /// Now. Never earlier than an instant returned before, on any thread.
    fn now(&self) -> Timestamp;
}

/// A clock that moves only when told to: for tests, scenarios and replay.
#[derive(Debug, Default)]
pub struct VirtualClock(AtomicU64);

impl VirtualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub const fn new(start: Timestamp) -> Self {
        Self(AtomicU64::new(start.0))
    }

    /// Moves the clock on by `step`.
    pub fn advance(&self, step: Duration) {
        self.set(self.now().after(step));
    }

    /// Moves the clock on to `instant`; an earlier one leaves it where it is.
    pub fn set(&self, instant: Timestamp) {
        self.0.fetch_max(instant.0, Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}
