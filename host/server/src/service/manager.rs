//! What the service manager is told: that the server is ready, that it loads
//! its configuration anew, that it ends, and that it lives. Without a manager
//! nobody is told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Of the time that the manager waits for a sign of life, one is given in each such part.
const SIGNS_PER_WAIT: u32 = 3;

/// The service manager, if one started this process and wants to know.
#[derive(Debug, Default)]
pub struct Manager {
    watchdog: Option<Duration>,
    /// It couldn't be told, and the log says so.
    deaf: AtomicBool,
}

impl Manager {
    /// As the environment says.
    #[must_use]
    pub fn of_environment() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled(), deaf: AtomicBool::new(false) }
    }

    /// How often it wants a sign of life, with time to spare.
    #[must_use]
    pub fn sign_interval(&self) -> Option<Duration> {
        self.watchdog.map(|wait| (wait / SIGNS_PER_WAIT).max(Duration::from_millis(1)))
    }

    /// Everything is open and in force.
    pub fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The configuration is being loaded anew; [`Manager::ready`] ends that.
    pub fn reloading(&self) {
        let state = [NotifyState::Reloading, NotifyState::Status("loading the configuration anew")];
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[&state[..], &[now]].concat()),
            Err(_) => self.tell(&state),
        }
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("ending: requests under way are finished")]);
    }

    /// A sign of life.
    pub fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state)
            && !self.deaf.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("the service manager can't be told how the server does: {error}");
        }
    }
}

/// Whether something goes on, by numbers that grow as long as it does.
#[derive(Debug, Default)]
pub struct Pulse(Vec<(u64, Instant)>);

impl Pulse {
    /// How long a number may stay the same.
    pub const STILL_MAX: Duration = Duration::from_secs(5);

    /// Whether each number has changed a moment ago; without any there is no pulse.
    pub fn beats(&mut self, numbers: &[u64], now: Instant) -> bool {
        self.0.resize(numbers.len(), (u64::MAX, now));
        for (known, number) in self.0.iter_mut().zip(numbers) {
            if known.0 != *number {
                *known = (*number, now);
            }
        }
        !numbers.is_empty() && self.0.iter().all(|(_, since)| now.duration_since(*since) <= Self::STILL_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_stands_still_is_enough() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut pulse = Pulse::default();
        assert!(pulse.beats(&[0, 0], at(0)));
        assert!(pulse.beats(&[3, 1], at(4)));
        assert!(pulse.beats(&[4, 1], at(9)), "the second may have just begun to stand still");
        assert!(!pulse.beats(&[5, 1], at(10)), "it stands still");
        assert!(pulse.beats(&[6, 2], at(11)));
        assert!(!pulse.beats(&[], at(12)), "a worker has ended");
    }
}
