//! The gate's clock: wall time at the start plus monotonic time (rule 16).

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use portcullis_domain::{Clock, Timestamp};

/// A clock that shows what the wall clock showed at its start, and from then on
/// runs evenly: a wall clock that is set back or forward ends no ban and moves none.
#[derive(Debug)]
pub struct HostClock {
    started: Instant,
    started_at_ms: u64,
}

impl HostClock {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_at_ms = u64::try_from(since_epoch.as_millis()).unwrap_or_default();
        Self { started: Instant::now(), started_at_ms }
    }
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(self.started_at_ms.saturating_add(elapsed_ms))
    }
}
