//! A cap on how many bans of one policy are enforced in a minute.
//!
//! A policy that suddenly bans everyone is more often wrong than right. Over
//! the cap its bans are told and not enforced, until the last minute holds no
//! more of them than the cap (rule 33).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;
use crate::time::Timestamp;

/// Over how long bans are counted.
pub const GUARD_WINDOW: Duration = Duration::from_secs(60);

/// What a guard says of one more ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// It is enforced.
    Enforce {
        /// The policy had been over the cap and is trusted again.
        back: bool,
    },
    /// It is not enforced.
    LogOnly {
        /// It is the first: until now the policy kept to the cap.
        tripped: bool,
    },
}

/// A policy that is over its cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tripped {
    /// The policy's name.
    pub policy: Arc<str>,
    /// Since when.
    pub since: Timestamp,
    /// Bans that weren't enforced since then.
    pub not_enforced: u64,
}

#[derive(Debug, Default)]
struct Fuse {
    /// The newest bans of the last minute: one more than the cap says all there is to know.
    newest: VecDeque<Timestamp>,
    tripped_since: Option<Timestamp>,
    not_enforced: u64,
}

impl Fuse {
    /// Bans within the minute that ends now; more than `max` are as good as one more.
    fn within(&mut self, max: usize, now: Timestamp) -> usize {
        while self.newest.front().is_some_and(|&at| now.since(at) >= GUARD_WINDOW) || self.newest.len() > max + 1 {
            self.newest.pop_front();
        }
        self.newest.len()
    }

    /// Whether it had tripped.
    fn mend(&mut self) -> bool {
        self.not_enforced = 0;
        self.tripped_since.take().is_some()
    }

    fn tripped(&self, policy: &Arc<str>) -> Option<Tripped> {
        let since = self.tripped_since?;
        Some(Tripped { policy: Arc::clone(policy), since, not_enforced: self.not_enforced })
    }
}

/// Counts bans by policy name: as many as the operator configures.
#[derive(Debug, Default)]
pub(crate) struct Guard(Mutex<HashMap<Arc<str>, Fuse>>);

impl Guard {
    /// One more ban by that policy, at most `max` of which are enforced in any minute.
    pub(crate) fn ban(&self, policy: &Arc<str>, max: Option<u32>, now: Timestamp) -> Guarded {
        let mut fuses = self.0.lock();
        let Some(max) = max else {
            let back = fuses.remove(policy).is_some_and(|mut fuse| fuse.mend());
            return Guarded::Enforce { back };
        };
        let max = usize::try_from(max).unwrap_or(usize::MAX - 1);
        let fuse = fuses.entry(Arc::clone(policy)).or_default();
        fuse.newest.push_back(now);
        if fuse.within(max, now) <= max {
            return Guarded::Enforce { back: fuse.mend() };
        }
        let tripped = fuse.tripped_since.is_none();
        fuse.tripped_since.get_or_insert(now);
        fuse.not_enforced += 1;
        Guarded::LogOnly { tripped }
    }

    /// Policies that are over their cap.
    pub(crate) fn tripped(&self) -> Vec<Tripped> {
        let fuses = self.0.lock();
        let mut tripped: Vec<_> = fuses.iter().filter_map(|(policy, fuse)| fuse.tripped(policy)).collect();
        tripped.sort_by(|one, other| one.policy.cmp(&other.policy));
        tripped
    }

    /// Policies that were over the cap and whose next ban would be enforced:
    /// they are trusted again from now on.
    pub(crate) fn mended(&self, max: Option<u32>, now: Timestamp) -> Vec<Tripped> {
        let max = max.map_or(usize::MAX - 1, |max| usize::try_from(max).unwrap_or(usize::MAX - 1));
        let mut fuses = self.0.lock();
        let over = fuses.iter_mut().filter(|(_, fuse)| fuse.tripped_since.is_some());
        let mut mended: Vec<_> = over
            .filter_map(|(policy, fuse)| {
                let tripped = fuse.tripped(policy)?;
                (fuse.within(max, now) < max.max(1) && fuse.mend()).then_some(tripped)
            })
            .collect();
        mended.sort_by(|one, other| one.policy.cmp(&other.policy));
        mended
    }

    /// The operator trusts that policy again; whether it had been over the cap.
    pub(crate) fn reset(&self, policy: &str) -> bool {
        self.0.lock().remove(policy).is_some_and(|mut fuse| fuse.mend())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACK: Guarded = Guarded::Enforce { back: true };
    const ENFORCED: Guarded = Guarded::Enforce { back: false };
    const TRIPPED: Guarded = Guarded::LogOnly { tripped: true };
    const LOG_ONLY: Guarded = Guarded::LogOnly { tripped: false };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1000)
    }

    #[test]
    fn rule_33_over_the_cap_bans_are_only_told_until_a_minute_keeps_to_it() {
        let guard = Guard::default();
        let ban: Arc<str> = "ban".into();
        let said = |seconds| guard.ban(&ban, Some(2), at(seconds));
        assert_eq!([0, 1, 2, 3].map(said), [ENFORCED, ENFORCED, TRIPPED, LOG_ONLY]);
        // What wasn't enforced counts too: the policy keeps wanting more than it may.
        assert_eq!([61, 62].map(said), [LOG_ONLY, LOG_ONLY]);
        assert_eq!(said(122), BACK);
        assert_eq!([123, 124].map(said), [ENFORCED, TRIPPED]);
    }

    #[test]
    fn rule_33_any_minute_counts_and_not_only_whole_ones() {
        let guard = Guard::default();
        let ban: Arc<str> = "ban".into();
        let said = |seconds| guard.ban(&ban, Some(3), at(seconds));
        assert_eq!([58, 59, 61, 62].map(said), [ENFORCED, ENFORCED, ENFORCED, TRIPPED]);
    }

    #[test]
    fn rule_33_a_minute_without_any_ban_ends_it_and_so_does_the_operator() {
        let guard = Guard::default();
        let (ban, other): (Arc<str>, Arc<str>) = ("ban".into(), "other".into());
        for second in 0..4 {
            guard.ban(&ban, Some(1), at(second));
        }
        assert_eq!(guard.ban(&other, Some(1), at(4)), ENFORCED, "each has its own cap");
        let tripped = guard.tripped();
        assert_eq!(tripped.len(), 1);
        assert_eq!((&*tripped[0].policy, tripped[0].since, tripped[0].not_enforced), ("ban", at(1), 3));
        assert!(guard.mended(Some(1), at(62)).is_empty(), "one of the last minute is as many as there may be");
        assert_eq!(guard.mended(Some(1), at(63)), tripped);
        assert!(guard.tripped().is_empty() && guard.mended(Some(1), at(64)).is_empty(), "once");
        assert_eq!([64, 65].map(|second| guard.ban(&ban, Some(1), at(second))), [ENFORCED, TRIPPED]);
        assert!(guard.reset("ban") && !guard.reset("ban"));
        assert_eq!(guard.ban(&ban, Some(1), at(66)), ENFORCED);
    }

    #[test]
    fn rule_33_a_cap_that_is_lifted_or_raised_ends_it() {
        let guard = Guard::default();
        let ban: Arc<str> = "ban".into();
        for second in 0..4 {
            guard.ban(&ban, Some(1), at(second));
        }
        assert_eq!(guard.mended(Some(5), at(4)).len(), 1);
        guard.ban(&ban, Some(1), at(4));
        assert_eq!(guard.ban(&ban, None, at(5)), BACK);
        assert!((0..100).all(|second| guard.ban(&ban, None, at(second)) == ENFORCED));
    }

    #[test]
    fn rule_33_a_flood_takes_no_more_memory_than_the_cap() {
        let guard = Guard::default();
        let ban: Arc<str> = "ban".into();
        (0..100_000).for_each(|_| {
            guard.ban(&ban, Some(10), at(0));
        });
        assert!(guard.0.lock()["ban"].newest.capacity() <= 32);
    }
}
