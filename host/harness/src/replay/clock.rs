//! Times of a log as times of a world, which never go back.

use portcullis_domain::Timestamp;

/// A line that is earlier by no more than this came late: servers write a line
/// when a request is over.
pub(super) const LATE_MS_MAX: u64 = 60_000;
/// A line that is later than the latest by more than this may be from a clock
/// that was wrong, and would end all bans.
const JUMP_MS_MIN: u64 = 24 * 3600 * 1000;
/// So many lines in a row after such a jump, none of them back from it, are believed.
pub(super) const JUMP_LINES: usize = 3;
/// So many lines in a row that are earlier by more mean that the clock was set
/// back, as at the end of summer time, or that an older log follows.
const SET_BACK_LINES: u32 = 16;

/// Lines whose times went back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimesBack {
    /// Earlier by a minute at most: judged as if they came at the time of the
    /// latest before them.
    pub late: u64,
    /// Earlier by more: not judged, since what was hours apart would count as
    /// one moment.
    pub left_out: u64,
    /// How often so many of these followed each other that the log's clock must
    /// have been set back; from there on time goes on from where it was.
    pub set_back: u64,
}

/// Turns one into the other.
#[derive(Debug, Default)]
pub(super) struct LogClock {
    now: u64,
    /// Added to the log's times since its clock was set back.
    offset: u64,
    /// Lines in a row that were too early, and the time of the first of them.
    behind: u32,
    behind_since: u64,
    pub(super) back: TimesBack,
}

impl LogClock {
    /// Whether a line of that time is to wait for others that agree with it.
    /// Before the first line any is.
    pub(super) const fn is_jump(&self, recorded: Timestamp) -> bool {
        recorded.as_millis().saturating_add(self.offset) > self.now.saturating_add(JUMP_MS_MIN)
    }

    /// The world's time for a line of that time; none if the line is to be left out.
    pub(super) fn at(&mut self, recorded: Timestamp) -> Option<Timestamp> {
        let shifted = recorded.as_millis().saturating_add(self.offset);
        if shifted.saturating_add(LATE_MS_MAX) >= self.now {
            self.back.late += u64::from(shifted < self.now);
            self.behind = 0;
            self.now = self.now.max(shifted);
            return Some(Timestamp::from_millis(self.now));
        }
        if self.behind == 0 {
            self.behind_since = shifted;
        }
        self.behind += 1;
        if self.behind < SET_BACK_LINES {
            self.back.left_out += 1;
            return None;
        }
        self.behind = 0;
        self.back.set_back += 1;
        // What has passed since the first of them has passed since the latest before, too.
        let now = self.now.saturating_add(shifted.saturating_sub(self.behind_since));
        self.offset = self.offset.saturating_add(now - shifted);
        self.now = now;
        Some(Timestamp::from_millis(self.now))
    }
}

/// Whether a line is so much earlier than one that waits that this one was wrong.
pub(super) const fn is_back_from(recorded: Timestamp, waiting: Timestamp) -> bool {
    recorded.as_millis().saturating_add(JUMP_MS_MIN) < waiting.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> (LogClock, impl Fn(&mut LogClock, u64) -> Option<u64>) {
        let at = |clock: &mut LogClock, second: u64| {
            clock.at(Timestamp::from_millis(second * 1000)).map(|at| at.as_millis() / 1000)
        };
        (LogClock::default(), at)
    }

    #[test]
    fn a_line_that_came_late_counts_as_of_now() {
        let (mut clock, at) = clock();
        assert_eq!([1000, 990, 940, 1001].map(|second| at(&mut clock, second)), [1000, 1000, 1000, 1001].map(Some));
        assert_eq!(clock.back, TimesBack { late: 2, ..TimesBack::default() });
    }

    #[test]
    fn a_line_from_long_ago_is_left_out() {
        let (mut clock, at) = clock();
        assert_eq!([10_000, 9_939, 10_001].map(|second| at(&mut clock, second)), [Some(10_000), None, Some(10_001)]);
        assert_eq!(clock.back, TimesBack { left_out: 1, ..TimesBack::default() });
    }

    #[test]
    fn a_clock_that_was_set_back_goes_on_from_where_it_was() {
        let (mut clock, at) = clock();
        at(&mut clock, 10_000);
        let left_out = (0..15).all(|step| at(&mut clock, 6_400 + step).is_none());
        assert!(left_out);
        assert_eq!([6_415, 6_420, 6_440].map(|second| at(&mut clock, second)), [10_015, 10_020, 10_040].map(Some));
        assert_eq!(clock.back, TimesBack { left_out: 15, set_back: 1, late: 0 });
    }
}
