//! The gate's clock: wall time at the start plus monotonic time (rule 16).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portcullis_domain::{Clock, Timestamp};

/// By how much the wall clock may be behind what is kept before that is told.
const CLOCK_BEHIND_TOLD: Duration = Duration::from_secs(1);

/// A clock that shows what the wall clock showed at its start, and from then on
/// runs evenly: a wall clock that is set back or forward ends no ban and moves none.
#[derive(Debug)]
pub struct HostClock {
    started: Instant,
    started_at_ms: u64,
}

impl HostClock {
    /// Starts now, but not before `floor`: what was kept by an earlier process
    /// has seen that time already, and no subject's time goes back (rule 16).
    #[must_use]
    pub fn start(floor: Timestamp) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = u64::try_from(since_epoch.as_millis()).unwrap_or_default();
        let behind = Duration::from_millis(floor.as_millis().saturating_sub(wall_ms));
        if behind > CLOCK_BEHIND_TOLD {
            tracing::warn!(
                "the clock shows a time {} s before what is kept in the state; time goes on from there",
                behind.as_secs()
            );
        }
        Self { started: Instant::now(), started_at_ms: wall_ms.max(floor.as_millis()) }
    }
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(self.started_at_ms.saturating_add(elapsed_ms))
    }
}
