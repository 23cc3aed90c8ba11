//! How often something took how long. Knows no clock: durations are handed in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts durations by bucket. Adding one costs two atomic additions.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for what is longer than all of them.
    counts: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

/// What a [`Histogram`] has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Up to and with each of these, in ascending order.
    pub bounds: &'static [Duration],
    /// Those up to each bound and over the one before; then those over the last.
    pub counts: Vec<u64>,
    /// All durations together.
    pub sum: Duration,
}

impl Histogram {
    /// Buckets up to each of `bounds`, which ascend.
    #[must_use]
    pub fn new(bounds: &'static [Duration]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum_ns: AtomicU64::new(0) }
    }

    /// One that took so long.
    pub fn add(&self, took: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < took);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What it has counted so far.
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        Distribution {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)),
        }
    }
}

impl Distribution {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[Duration] = &[Duration::from_micros(1), Duration::from_micros(10)];

    #[test]
    fn each_is_counted_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(BOUNDS);
        for ns in [0, 1_000, 1_001, 10_000, 10_001, 5_000_000] {
            histogram.add(Duration::from_nanos(ns));
        }
        let seen = histogram.distribution();
        assert_eq!(seen.counts, [2, 2, 2]);
        assert_eq!((seen.count(), seen.sum), (6, Duration::from_nanos(5_022_002)));
    }
}
