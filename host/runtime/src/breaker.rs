//! When one source's events are kept from a plugin that fails for them (rule 22).
//!
//! Quarantine overlooks a single source on purpose, and each failure can cost
//! two deadlines of CPU: without this, one stranger who knows a poisonous path
//! could spend as much of it as he can send requests. A pure state machine,
//! one for each source.

use std::time::Duration;

use portcullis_domain::Timestamp;

/// Failures within a window that open it.
const FAILURES_MAX: u32 = 8;

/// One source's calls since the window's first failure.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Breaker {
    /// Until when the window lasts; none before the first failure.
    until: Option<Timestamp>,
    calls: u32,
    failures: u32,
    open: bool,
}

impl Breaker {
    /// Whether the source's events are to be kept from the plugin.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        self.open && self.until.is_some_and(|until| now < until)
    }

    /// Records one call; until when it is open if this call has opened it.
    pub(crate) fn record(&mut self, now: Timestamp, window: Duration, failed: bool) -> Option<Timestamp> {
        let until = match self.until {
            Some(until) if now < until => until,
            _ if failed => {
                let until = now.after(window);
                *self = Self { until: Some(until), ..Self::default() };
                until
            }
            _ => return None,
        };
        self.calls = self.calls.saturating_add(1);
        self.failures = self.failures.saturating_add(u32::from(failed));
        // A source of many people is spared only if most of what it does fails.
        let opens = !self.open && self.failures >= FAILURES_MAX && self.failures >= self.calls.div_ceil(2);
        self.open |= opens;
        opens.then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const WINDOW: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        START.after(Duration::from_secs(seconds))
    }

    /// One call at each of these seconds; when it said that it opened.
    fn opened(breaker: &mut Breaker, seconds: impl IntoIterator<Item = u64>, failed: bool) -> Vec<Timestamp> {
        seconds.into_iter().filter_map(|second| breaker.record(at(second), WINDOW, failed)).collect()
    }

    #[test]
    fn rule_22_the_eighth_failure_opens_it_for_the_rest_of_the_window() {
        let mut breaker = Breaker::default();
        assert_eq!(opened(&mut breaker, 10..17, true), []);
        assert!(!breaker.is_open(at(17)));
        assert_eq!(opened(&mut breaker, [17], true), [at(70)]);
        assert!(breaker.is_open(at(17)) && breaker.is_open(at(69)));
        assert!(!breaker.is_open(at(70)), "it ends by itself");
    }

    #[test]
    fn a_new_window_counts_anew() {
        let mut breaker = Breaker::default();
        assert_eq!(opened(&mut breaker, 0..8, true), [at(60)]);
        assert_eq!(opened(&mut breaker, 60..67, true), []);
        assert_eq!(opened(&mut breaker, [67], true), [at(120)]);
    }

    #[test]
    fn failures_of_two_windows_do_not_add_up() {
        let mut breaker = Breaker::default();
        assert_eq!(opened(&mut breaker, (0..100).map(|n| n * 10), true), [], "six a minute");
    }

    #[test]
    fn a_source_that_mostly_succeeds_is_not_spared() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            assert_eq!(opened(&mut breaker, [1], true), []);
            assert_eq!(opened(&mut breaker, [1, 1], false), []);
        }
        assert!(!breaker.is_open(at(1)));
    }

    #[test]
    fn half_of_the_calls_are_enough() {
        let mut breaker = Breaker::default();
        for second in 0..8 {
            assert_eq!(opened(&mut breaker, [second], false), []);
            let expected: &[_] = if second == 7 { &[at(60)] } else { &[] };
            assert_eq!(opened(&mut breaker, [second], true), expected, "second {second}");
        }
    }

    #[test]
    fn successes_before_the_first_failure_do_not_count() {
        let mut breaker = Breaker::default();
        assert_eq!(opened(&mut breaker, 0..1000, false), []);
        assert_eq!(opened(&mut breaker, 1000..1008, true), [at(1060)]);
    }

    #[test]
    fn calls_that_were_under_way_neither_close_nor_open_it_again() {
        let mut breaker = Breaker::default();
        assert_eq!(opened(&mut breaker, [0; 8], true), [at(60)]);
        assert_eq!(opened(&mut breaker, [1; 8], true), []);
        assert_eq!(opened(&mut breaker, [1; 100], false), []);
        assert!(breaker.is_open(at(2)));
    }

    #[test]
    fn times_that_go_back_do_no_harm() {
        let mut breaker = Breaker::default();
        assert_eq!(opened(&mut breaker, [100; 7], true), []);
        assert_eq!(opened(&mut breaker, [1], true), [at(160)]);
        assert!(breaker.is_open(START));
        assert_eq!(breaker.record(Timestamp::MAX, WINDOW, true), None);
        assert!(!breaker.is_open(Timestamp::MAX));
    }
}
