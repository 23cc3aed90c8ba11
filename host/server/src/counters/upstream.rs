//! How long the service behind takes for the heads of its answers, measured on
//! a part of them: a clock read costs more than an addition.

use std::cell::Cell;
use std::time::{Duration, Instant};

use portcullis_runtime::{Distribution, Histogram};

/// Of the answers that a thread waits for, one in so many is timed, the first included.
pub const UPSTREAM_TIMES_SAMPLED: u32 = 8;

const TIMES: &[Duration] = &[
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// Counts them.
#[derive(Debug)]
pub struct UpstreamTimes(Histogram);

/// When the wait for an answer began, if it is one that is timed.
#[derive(Clone, Copy, Debug)]
pub struct Began(Option<Instant>);

impl UpstreamTimes {
    /// A request is about to be sent on.
    #[must_use]
    pub fn begin(&self) -> Began {
        thread_local! {
            static NTH: Cell<u32> = const { Cell::new(0) };
        }
        let nth = NTH.get();
        NTH.set(nth.wrapping_add(1));
        Began(nth.is_multiple_of(UPSTREAM_TIMES_SAMPLED).then(Instant::now))
    }

    /// The head of its answer is there.
    pub fn end(&self, began: Began) {
        if let Began(Some(began)) = began {
            self.0.add(began.elapsed());
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        self.0.distribution()
    }
}

impl Default for UpstreamTimes {
    fn default() -> Self {
        Self(Histogram::new(TIMES))
    }
}
