//! How many refusals are written: the first of each window, then only their
//! number (rule 29).
//!
//! It must not know clocks; time is a parameter.

use parking_lot::Mutex;

use super::line::Suppressed;

/// So many refusals per window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalLimit {
    /// Written for themselves in each window.
    pub lines: u64,
    /// Length of a window.
    pub window_ms: i64,
}

impl Default for RefusalLimit {
    fn default() -> Self {
        Self { lines: 20, window_ms: 10_000 }
    }
}

pub(super) struct Refusals {
    limit: RefusalLimit,
    window: Mutex<Window>,
}

struct Window {
    start_ms: i64,
    seen: u64,
}

impl Refusals {
    pub(super) fn new(limit: RefusalLimit) -> Self {
        Self { limit, window: Mutex::new(Window { start_ms: i64::MIN, seen: 0 }) }
    }

    /// Whether a refusal at that time is written, and what to say first about
    /// those before it that weren't.
    pub(super) fn admit(&self, now_ms: i64) -> (bool, Option<Suppressed>) {
        let mut window = self.window.lock();
        // A clock that was set back begins a new window too.
        let over = self.is_over(&window, now_ms);
        let summary = if over { self.summary(&window) } else { None };
        if over {
            *window = Window { start_ms: now_ms, seen: 0 };
        }
        window.seen += 1;
        (window.seen <= self.limit.lines, summary)
    }

    /// What to say about a window that is over, once.
    pub(super) fn due(&self, now_ms: i64) -> Option<Suppressed> {
        let mut window = self.window.lock();
        self.is_over(&window, now_ms).then(|| self.end(&mut window))?
    }

    /// What to say about the window under way, once.
    pub(super) fn take(&self) -> Option<Suppressed> {
        self.end(&mut self.window.lock())
    }

    fn is_over(&self, window: &Window, now_ms: i64) -> bool {
        now_ms < window.start_ms || now_ms.saturating_sub(window.start_ms) >= self.limit.window_ms
    }

    fn end(&self, window: &mut Window) -> Option<Suppressed> {
        let summary = self.summary(window);
        window.seen = window.seen.min(self.limit.lines);
        summary
    }

    fn summary(&self, window: &Window) -> Option<Suppressed> {
        let count = window.seen.saturating_sub(self.limit.lines);
        let seconds = u64::try_from(self.limit.window_ms / 1000).unwrap_or(0);
        (count > 0).then_some(Suppressed { count, seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals() -> Refusals {
        Refusals::new(RefusalLimit { lines: 2, window_ms: 10_000 })
    }

    fn summary(count: u64) -> Option<Suppressed> {
        Some(Suppressed { count, seconds: 10 })
    }

    #[test]
    fn the_first_are_written_and_the_rest_is_summed_up_with_the_next_window() {
        let refusals = refusals();
        let seen: Vec<_> = [0, 1, 2, 3, 9_999].into_iter().map(|at| refusals.admit(at)).collect();
        assert_eq!(seen, [(true, None), (true, None), (false, None), (false, None), (false, None)]);
        assert_eq!(refusals.admit(10_000), (true, summary(3)));
        assert_eq!(refusals.admit(20_000), (true, None));
    }

    #[test]
    fn a_window_that_is_over_is_summed_up_once() {
        let refusals = refusals();
        (0..5).for_each(|at| assert_eq!(refusals.admit(at).1, None));
        assert_eq!(refusals.due(9_999), None);
        assert_eq!(refusals.due(10_000), summary(3));
        assert_eq!(refusals.due(10_001), None);
        assert_eq!(refusals.admit(10_002), (true, None));
    }

    #[test]
    fn what_is_under_way_can_be_summed_up_at_the_end() {
        let refusals = refusals();
        (0..3).for_each(|at| assert_eq!(refusals.admit(at).1, None));
        assert_eq!(refusals.take(), summary(1));
        assert_eq!(refusals.take(), None);
    }

    #[test]
    fn a_clock_set_back_silences_nothing() {
        let refusals = refusals();
        (0..3).for_each(|_| assert_eq!(refusals.admit(1_000_000).1, None));
        assert_eq!(refusals.admit(5), (true, summary(1)));
    }
}
