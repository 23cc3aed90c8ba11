//! What each policy has seen against somebody so far: failed logins, and
//! requests that it counts.
//!
//! Told by the gate of what was judged; it must not know why a policy counts
//! what it counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use portcullis_domain::{Act, Attempt, Event, Keep, Origin, Outcome, Testimony, Timestamp, Verdict, Witness};

use crate::counters::{Counter, Counters};

/// Policies that are counted for; an operator has fewer at once, but may rename them for years.
const POLICIES_MAX: usize = 256;

/// Counts by the name of the policy.
#[derive(Debug, Default)]
pub struct Noted(RwLock<BTreeMap<Box<str>, Counter>>);

impl Noted {
    /// How many so far.
    #[must_use]
    pub fn of(&self, policy: &str) -> u64 {
        self.0.read().get(policy).map_or(0, Counter::get)
    }

    fn count(&self, policy: &str) {
        if let Some(counter) = self.0.read().get(policy) {
            return counter.bump();
        }
        let mut policies = self.0.write();
        if policies.len() < POLICIES_MAX || policies.contains_key(policy) {
            policies.entry(policy.into()).or_default().bump();
        }
    }
}

/// Counts what it hears, and lets `next` hear it.
pub struct Noting {
    /// Who hears it too.
    pub next: Arc<dyn Witness>,
    /// Where it is counted.
    pub counters: Arc<Counters>,
}

impl Witness for Noting {
    fn judged(&self, testimony: &Testimony<'_>) {
        if counts(testimony) {
            self.counters.noted.count(testimony.policy);
        }
        self.next.judged(testimony);
    }

    fn unjudged(&self, at: Timestamp, attempt: &Attempt<'_>, origin: Origin<'_>) {
        self.next.unjudged(at, attempt, origin);
    }

    fn acted(&self, at: Timestamp, act: &Act<'_>) {
        self.next.acted(at, act);
    }
}

/// A failed login, or a request after which the policy keeps more than before or
/// orders something.
fn counts(testimony: &Testimony<'_>) -> bool {
    match testimony.dated.event {
        Event::Attempt(attempt) => attempt.outcome == Outcome::Failure,
        Event::Request(_) => testimony
            .answer
            .is_ok_and(|judgement| judgement.verdict != Verdict::Pass || matches!(judgement.keep, Keep::Put(_))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_policies_are_counted_for_and_no_more() {
        let noted = Noted::default();
        for policy in 0..2 * POLICIES_MAX {
            noted.count(&policy.to_string());
            noted.count("0");
        }
        assert_eq!(noted.0.read().len(), POLICIES_MAX);
        assert_eq!(noted.of("0"), 1 + 2 * u64::try_from(POLICIES_MAX).unwrap());
        assert_eq!((noted.of("1"), noted.of("511"), noted.of("none")), (1, 0, 0));
    }
}
