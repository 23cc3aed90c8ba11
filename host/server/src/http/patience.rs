//! How long something is waited for, kept by the worker's sweep where that is
//! exact enough: a timer of its own costs some 3 % of a proxied request. It
//! must not know what is waited for.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::time::Sleep;

/// A wait is left to the sweep if that looks so many times in it.
const LOOKS_MIN: u32 = 4;

thread_local! {
    static SWEEP: RefCell<Sweep> = RefCell::default();
}

/// The sweep of this thread, and who waits for it.
#[derive(Default)]
struct Sweep {
    /// Zero where nobody sweeps.
    interval: Duration,
    /// How often it has been by.
    count: u64,
    waiting: Slab<Waiting>,
}

struct Waiting {
    /// Woken at that count.
    until: u64,
    waker: Waker,
}

/// This thread is swept that often from now on.
pub(super) fn begin(interval: Duration) {
    SWEEP.with_borrow_mut(|sweep| sweep.interval = interval);
}

/// Wakes those whose patience is at its end; to be called once an interval.
pub(super) fn sweep() {
    let woken: Vec<Waker> = SWEEP.with_borrow_mut(|sweep| {
        sweep.count += 1;
        let due = sweep.waiting.iter().filter(|(_, waiting)| waiting.until <= sweep.count);
        due.map(|(_, waiting)| waiting.waker.clone()).collect()
    });
    woken.into_iter().for_each(Waker::wake);
}

/// Completes so long after it was first polled; by the sweep, up to half as late again.
pub(super) struct Patience {
    duration: Duration,
    begun: Option<Begun>,
}

enum Begun {
    /// Its place among those who wait, on the thread that it was first polled on.
    Swept(usize),
    Timed(Pin<Box<Sleep>>),
}

impl Patience {
    pub(super) const fn new(duration: Duration) -> Self {
        Self { duration, begun: None }
    }

    fn begin(&self, context: &Context<'_>) -> Begun {
        SWEEP.with_borrow_mut(|sweep| {
            if sweep.interval.is_zero() || sweep.interval * LOOKS_MIN > self.duration {
                return Begun::Timed(Box::pin(tokio::time::sleep(self.duration)));
            }
            // The first of these may come at once.
            let sweeps = self.duration.as_nanos().div_ceil(sweep.interval.as_nanos()) + 1;
            let until = sweep.count.saturating_add(u64::try_from(sweeps).unwrap_or(u64::MAX));
            Begun::Swept(sweep.waiting.insert(Waiting { until, waker: context.waker().clone() }))
        })
    }
}

impl Future for Patience {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.begun.is_none() {
            self.begun = Some(self.begin(context));
        }
        match &mut self.begun {
            Some(Begun::Timed(timer)) => timer.as_mut().poll(context),
            Some(Begun::Swept(place)) => SWEEP.with_borrow_mut(|sweep| {
                let Some(waiting) = sweep.waiting.get_mut(*place) else { return Poll::Pending };
                if waiting.until <= sweep.count {
                    return Poll::Ready(());
                }
                waiting.waker.clone_from(context.waker());
                Poll::Pending
            }),
            None => Poll::Pending,
        }
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if let Some(Begun::Swept(place)) = self.begun {
            SWEEP.with_borrow_mut(|sweep| drop(sweep.waiting.try_remove(place)));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long a wait takes on a thread that is swept every second.
    async fn takes(duration: Duration) -> Duration {
        begin(SECOND);
        let began = Instant::now();
        let mut patience = std::pin::pin!(Patience::new(duration));
        let mut ticks = tokio::time::interval_at(began + SECOND / 3, SECOND);
        loop {
            tokio::select! {
                biased;
                () = &mut patience => return began.elapsed(),
                _ = ticks.tick() => sweep(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_is_the_sweeps_and_never_too_short() {
        let took = takes(10 * SECOND).await;
        assert!((10 * SECOND..12 * SECOND).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_wait_is_exact() {
        assert_eq!(takes(SECOND / 5).await, SECOND / 5);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_sweeps_every_wait_is_exact() {
        let began = Instant::now();
        Patience::new(10 * SECOND).await;
        assert_eq!(began.elapsed(), 10 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_nothing_behind() {
        begin(SECOND);
        for _ in 0..3 {
            let mut patience = Box::pin(Patience::new(10 * SECOND));
            assert!(patience.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            drop(patience);
        }
        SWEEP.with_borrow(|sweep| assert!(sweep.waiting.is_empty() && sweep.waiting.capacity() <= 4));
    }
}
