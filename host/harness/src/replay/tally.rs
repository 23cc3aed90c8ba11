//! What came of the events that a world was given.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use portcullis_domain::{Enforced, Order, Refusal, Subject, Timestamp};
use portcullis_runtime::{Mode, Report as PolicyReport, Reporter};

use super::play::{Came, Occurrence, Stage};
use super::report::{Ban, Outcome, PolicyFailures, RefusedCounts, Wait};
use crate::plan::Plan;
use crate::world::{OpenError, World};

/// Most networks, and most who wait, that are told apart.
const KEPT_MAX: usize = 1_000_000;

/// Counts failures of plugins, which would otherwise be silent where the
/// bundle steps in.
#[derive(Debug, Default)]
struct Failures(Mutex<Vec<PolicyFailures>>);

impl Reporter for Failures {
    fn report(&self, policy: &str, report: PolicyReport<'_>) {
        let PolicyReport::Failed { failure, .. } = report else { return };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|known| known.policy == policy) {
            Some(known) => known.times += 1,
            None => {
                all.push(PolicyFailures { policy: policy.to_owned(), times: 1, first: failure.to_string() });
            }
        }
    }
}

/// A network that was banned at least once.
#[derive(Clone, Debug)]
pub(super) struct Banned {
    pub(super) first: Ban,
    /// How long all of its bans are together, as they were ordered.
    pub(super) total: Duration,
    pub(super) logins_after: u64,
    pub(super) logins_while_banned: u64,
}

/// What came of the events that one world was given.
pub(super) struct Tally {
    failures: Arc<Failures>,
    shown_max: usize,
    /// Whether logins after bans are looked for.
    watches_logins: bool,
    outcome: Outcome,
    banned: HashMap<IpNet, Banned>,
    /// Prefix lengths of these, IPv4 and IPv6 apart.
    widths: BTreeSet<(bool, u8)>,
    waits: HashMap<Subject, Wait>,
}

impl Tally {
    /// A world as planned, and nothing that has come of it yet.
    pub(super) fn open(plan: Plan, shown_max: usize, watches_logins: bool) -> Result<(Stage, Self), OpenError> {
        let failures = Arc::new(Failures::default());
        // A log can be of any time, and the world's clock moves only forward.
        let plan = Plan { start: Timestamp::from_millis(0), ..plan };
        let world = World::open_reporting(plan, Mode::Pooled, Arc::clone(&failures) as _)?;
        let tally = Self {
            failures,
            shown_max,
            watches_logins,
            outcome: Outcome::default(),
            banned: HashMap::new(),
            widths: BTreeSet::new(),
            waits: HashMap::new(),
        };
        Ok((Stage::new(world), tally))
    }

    /// Whether a plugin has failed: then it counts in which order events come,
    /// whomever they concern (rule 22).
    pub(super) fn has_failures(&self) -> bool {
        !self.failures.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// This came of that event.
    pub(super) fn note(&mut self, occurrence: &Occurrence, came: Came) {
        let shows_login = occurrence.entry.shows_login();
        if let Some(refusal) = came.refused {
            self.refused(refusal, shows_login);
        }
        self.outcome.denied += came.denied;
        for order in came.orders {
            self.ordered(occurrence, order);
        }
        if self.watches_logins && shows_login {
            self.note_login(occurrence.entry.from, matches!(came.refused, Some(Refusal::Banned(_))));
        }
    }

    fn refused(&mut self, refusal: Refusal, success: bool) {
        let refused: &mut RefusedCounts = &mut self.outcome.refused;
        match refusal {
            Refusal::Banned(_) => {
                refused.banned += 1;
                refused.banned_successes += u64::from(success);
            }
            Refusal::Waiting(_) | Refusal::Busy => {
                refused.waiting += 1;
                refused.waiting_successes += u64::from(success);
            }
        }
    }

    fn ordered(&mut self, occurrence: &Occurrence, order: Order) {
        let (at, source) = (occurrence.entry.at, occurrence.entry.from.to_canonical());
        let Order { policy, reason, enforced, .. } = order;
        match enforced {
            Enforced::Ban { network, duration, placed, .. } if placed.changed => {
                self.outcome.bans_ordered += 1;
                let ban = Ban { at, source, network, policy, reason, duration };
                let room = self.banned.len() < KEPT_MAX;
                match self.banned.entry(network) {
                    Slot::Occupied(known) => {
                        let known = known.into_mut();
                        known.total = known.total.saturating_add(duration);
                    }
                    Slot::Vacant(free) if room => {
                        self.widths.insert((matches!(network, IpNet::V4(_)), network.prefix_len()));
                        let first = ban.clone();
                        free.insert(Banned { first, total: duration, logins_after: 0, logins_while_banned: 0 });
                    }
                    Slot::Vacant(_) => self.outcome.overflowed = true,
                }
                if self.outcome.bans.len() < self.shown_max.min(KEPT_MAX) {
                    self.outcome.bans.push(ban);
                }
            }
            // A longer one was running.
            Enforced::Ban { .. } => {}
            Enforced::Wait { subject, duration, .. } => {
                self.outcome.waits_ordered += 1;
                let room = self.waits.len() < KEPT_MAX;
                match self.waits.entry(subject) {
                    Slot::Occupied(known) => {
                        let known = known.into_mut();
                        (known.times, known.last) = (known.times + 1, at);
                        known.longest = known.longest.max(duration);
                    }
                    Slot::Vacant(free) if room => {
                        let subject = free.key().clone();
                        free.insert(Wait { subject, times: 1, first: at, last: at, longest: duration });
                    }
                    Slot::Vacant(_) => self.outcome.overflowed = true,
                }
            }
            Enforced::Spared | Enforced::LogOnly { .. } => self.outcome.spared += 1,
        }
    }

    /// Somebody who was banned once is at work after all.
    fn note_login(&mut self, from: IpAddr, while_banned: bool) {
        let from = from.to_canonical();
        for &(v4, prefix) in self.widths.iter().filter(|(v4, _)| *v4 == from.is_ipv4()) {
            debug_assert_eq!(v4, from.is_ipv4());
            let Ok(network) = IpNet::new(from, prefix) else { continue };
            if let Some(banned) = self.banned.get_mut(&network.trunc()) {
                banned.logins_after += 1;
                banned.logins_while_banned += u64::from(while_banned);
            }
        }
    }

    /// What came of it, and the networks that were banned.
    pub(super) fn finish(self) -> (Outcome, HashMap<IpNet, Banned>) {
        let mut outcome = self.outcome;
        outcome.networks = count(self.banned.len());
        outcome.waiting = count(self.waits.len());
        outcome.waits = self.waits.into_values().collect();
        outcome.waits.sort_by(|a, b| b.times.cmp(&a.times).then(a.first.cmp(&b.first)).then(a.subject.cmp(&b.subject)));
        outcome.waits.truncate(self.shown_max);
        outcome.failures = std::mem::take(&mut *self.failures.0.lock().unwrap_or_else(PoisonError::into_inner));
        (outcome, self.banned)
    }
}

pub(super) fn count(entries: usize) -> u64 {
    u64::try_from(entries).unwrap_or(u64::MAX)
}
