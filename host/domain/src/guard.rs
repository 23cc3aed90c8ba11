//! A cap on how many bans a policy may order in a minute.
//!
//! A policy that suddenly bans everyone is more often wrong than right. Over
//! the cap its bans are told and not enforced, until it has kept to the cap for
//! a whole minute.

use std::collections::HashMap;
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

#[derive(Debug)]
struct Fuse {
    window_began: Timestamp,
    in_window: u32,
    tripped_since: Option<Timestamp>,
    not_enforced: u64,
}

/// Counts bans by policy name: as many as the operator configures.
#[derive(Debug, Default)]
pub(crate) struct Guard(Mutex<HashMap<Arc<str>, Fuse>>);

impl Guard {
    /// One more ban by that policy, at most `max` of which are enforced in a window.
    pub(crate) fn ban(&self, policy: &Arc<str>, max: Option<u32>, now: Timestamp) -> Guarded {
        let mut fuses = self.0.lock();
        let Some(max) = max else {
            let back = fuses.remove(policy).is_some_and(|fuse| fuse.tripped_since.is_some());
            return Guarded::Enforce { back };
        };
        let fuse = fuses.entry(Arc::clone(policy)).or_insert(Fuse {
            window_began: now,
            in_window: 0,
            tripped_since: None,
            not_enforced: 0,
        });
        let mut back = false;
        let passed = now.since(fuse.window_began);
        if passed >= GUARD_WINDOW {
            // A window that kept to the cap ends it, and so does one without any ban.
            if fuse.tripped_since.is_some() && (fuse.in_window <= max || passed >= GUARD_WINDOW * 2) {
                back = true;
                fuse.tripped_since = None;
                fuse.not_enforced = 0;
            }
            fuse.window_began = now;
            fuse.in_window = 0;
        }
        fuse.in_window = fuse.in_window.saturating_add(1);
        if fuse.tripped_since.is_none() && fuse.in_window <= max {
            return Guarded::Enforce { back };
        }
        let tripped = fuse.tripped_since.is_none();
        fuse.tripped_since.get_or_insert(now);
        fuse.not_enforced += 1;
        Guarded::LogOnly { tripped }
    }

    /// Policies that are over their cap.
    pub(crate) fn tripped(&self) -> Vec<Tripped> {
        let fuses = self.0.lock();
        let tripped = fuses.iter().filter_map(|(policy, fuse)| {
            let since = fuse.tripped_since?;
            Some(Tripped { policy: Arc::clone(policy), since, not_enforced: fuse.not_enforced })
        });
        let mut tripped: Vec<_> = tripped.collect();
        tripped.sort_by(|one, other| one.policy.cmp(&other.policy));
        tripped
    }

    /// The operator trusts that policy again.
    pub(crate) fn reset(&self, policy: &str) -> bool {
        self.0.lock().remove(policy).is_some_and(|fuse| fuse.tripped_since.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1000)
    }

    #[test]
    fn over_the_cap_bans_are_only_told_until_a_minute_keeps_to_it() {
        let guard = Guard::default();
        let ban: Arc<str> = "ban".into();
        let said = |seconds| guard.ban(&ban, Some(2), at(seconds));
        assert_eq!(said(0), Guarded::Enforce { back: false });
        assert_eq!(said(1), Guarded::Enforce { back: false });
        assert_eq!(said(2), Guarded::LogOnly { tripped: true });
        assert_eq!(said(3), Guarded::LogOnly { tripped: false });
        // The window that tripped was over the cap; the next one keeps to it.
        assert_eq!(said(60), Guarded::LogOnly { tripped: false });
        assert_eq!(said(61), Guarded::LogOnly { tripped: false });
        assert_eq!(said(120), Guarded::Enforce { back: true });
    }

    #[test]
    fn a_minute_without_any_ban_ends_it_and_so_does_the_operator() {
        let guard = Guard::default();
        let (ban, other): (Arc<str>, Arc<str>) = ("ban".into(), "other".into());
        for second in 0..4 {
            guard.ban(&ban, Some(1), at(second));
        }
        assert_eq!(guard.ban(&other, Some(1), at(4)), Guarded::Enforce { back: false }, "each has its own cap");
        let tripped = guard.tripped();
        assert_eq!(tripped.len(), 1);
        assert_eq!((&*tripped[0].policy, tripped[0].since, tripped[0].not_enforced), ("ban", at(1), 3));
        assert_eq!(guard.ban(&ban, Some(1), at(121)), Guarded::Enforce { back: true });
        guard.ban(&ban, Some(1), at(122));
        assert!(guard.reset("ban") && !guard.reset("ban"));
        assert_eq!(guard.ban(&ban, Some(1), at(123)), Guarded::Enforce { back: false });
    }

    #[test]
    fn without_a_cap_everything_is_enforced() {
        let guard = Guard::default();
        let ban: Arc<str> = "ban".into();
        for second in 0..100 {
            assert_eq!(guard.ban(&ban, None, at(second)), Guarded::Enforce { back: false });
        }
    }
}
