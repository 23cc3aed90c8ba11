//! Something that may happen all the time and is told once a minute.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two lines about the same thing.
const INTERVAL: Duration = Duration::from_secs(60);

/// Counts, and says when it is time to tell.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<(u64, Option<Instant>)>);

impl Seldom {
    /// It has happened again. How often so far, if that is to be told now.
    pub(crate) fn tell(&self) -> Option<u64> {
        self.tell_at(Instant::now())
    }

    fn tell_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        let (times, told) = &mut *state;
        *times += 1;
        if told.is_some_and(|told| now.duration_since(told) < INTERVAL) {
            return None;
        }
        *told = Some(now);
        Some(*times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_then_once_a_minute_with_all_that_were() {
        let seldom = Seldom::default();
        let began = Instant::now();
        assert_eq!(seldom.tell_at(began), Some(1));
        assert!((1..60).all(|second| seldom.tell_at(began + Duration::from_secs(second)).is_none()));
        assert_eq!(seldom.tell_at(began + INTERVAL), Some(61));
    }
}
