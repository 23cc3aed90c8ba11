//! One world and what came of the events that it was given.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use portcullis_domain::event::{ATTRIBUTE_BYTES_MAX, METHOD_BYTES_MAX, PATH_BYTES_MAX, cut};
use portcullis_domain::{
    Attribute, ClientId, Enforced, Judged, Order, Outcome as LoginOutcome, Refusal, Request, Source, Subject, Timestamp,
};
use portcullis_runtime::{Mode, Report as PolicyReport, Reporter};

use super::report::{Ban, Outcome, PolicyFailures, RefusedCounts, Wait};
use crate::logs::{Answered, Entry, What};
use crate::plan::Plan;
use crate::world::{Login, OpenError, Reaction, World};

/// Most networks, and most who wait, that are told apart.
const KEPT_MAX: usize = 1_000_000;
/// Events after which memory of what has expired is given back.
const EVENTS_PER_SWEEP: u64 = 1 << 16;

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

/// One world and what came of the events that it was given.
pub(super) struct Side {
    world: World,
    failures: Arc<Failures>,
    events: u64,
    shown_max: usize,
    /// Whether logins after bans are looked for.
    watches_logins: bool,
    wants_attempt_attributes: bool,
    wants_request_attributes: bool,
    outcome: Outcome,
    banned: HashMap<IpNet, Banned>,
    /// Prefix lengths of these, IPv4 and IPv6 apart.
    widths: BTreeSet<(bool, u8)>,
    waits: HashMap<Subject, Wait>,
}

/// What is the same for all worlds about one event.
pub(super) struct Occurrence<'l> {
    pub(super) entry: &'l Entry<'l>,
    pub(super) client: Option<ClientId>,
    /// The world's time.
    pub(super) at: Timestamp,
}

impl Side {
    pub(super) fn open(plan: Plan, shown_max: usize, watches_logins: bool) -> Result<Self, OpenError> {
        let failures = Arc::new(Failures::default());
        // A log can be of any time, and the world's clock moves only forward.
        let plan = Plan { start: Timestamp::from_millis(0), ..plan };
        let world = World::open_reporting(plan, Mode::Pooled, Arc::clone(&failures) as _)?;
        let ruleset = world.gate().ruleset();
        let wants_attempt_attributes = !ruleset.attempt_attributes().is_empty();
        let wants_request_attributes = !ruleset.request_attributes().is_empty();
        drop(ruleset);
        Ok(Self {
            world,
            failures,
            events: 0,
            shown_max,
            watches_logins,
            wants_attempt_attributes,
            wants_request_attributes,
            outcome: Outcome::default(),
            banned: HashMap::new(),
            widths: BTreeSet::new(),
            waits: HashMap::new(),
        })
    }

    /// Puts one event through the gate, as in service.
    pub(super) fn event(&mut self, occurrence: &Occurrence<'_>) {
        self.world.advance_to(occurrence.at);
        self.events += 1;
        if self.events.is_multiple_of(EVENTS_PER_SWEEP) {
            self.world.sweep();
        }
        let refused = match &occurrence.entry.what {
            What::Request(answered) => self.request(occurrence, answered),
            What::Login(outcome) => self.login(occurrence, *outcome, None),
            What::FailedRequest(answered) => self.login(occurrence, LoginOutcome::Failure, Some(answered)),
        };
        if self.watches_logins && occurrence.entry.shows_login() {
            self.note_login(occurrence.entry.from, matches!(refused, Some(Refusal::Banned(_))));
        }
    }

    fn request(&mut self, occurrence: &Occurrence<'_>, answered: &Answered<'_>) -> Option<Refusal> {
        let source = self.world.source(occurrence.entry.from);
        match self.world.gate().admit(source) {
            Ok(admitted) => {
                let judged = self.judge_request(&admitted, occurrence, answered);
                self.judged(occurrence, judged);
                None
            }
            Err(refusal) => {
                self.refused(refusal, occurrence.entry.shows_login());
                Some(refusal)
            }
        }
    }

    fn judge_request(
        &self,
        admitted: &portcullis_domain::Admitted,
        occurrence: &Occurrence<'_>,
        answered: &Answered<'_>,
    ) -> Judged {
        let (method, path) = (answered.method.decoded(), answered.path.decoded());
        let facts = if self.wants_request_attributes { facts(answered) } else { Vec::new() };
        let attributes: Vec<_> = facts.iter().map(|(name, value)| Attribute { name, value }).collect();
        // Of a request that failed to log in nobody knows whose it is.
        let verified = !matches!(occurrence.entry.what, What::FailedRequest(_));
        let request = Request {
            source: admitted.source(),
            client_id: occurrence.client.as_ref().filter(|_| verified),
            method: cut(&method, METHOD_BYTES_MAX),
            path: cut(&path, PATH_BYTES_MAX),
            status: answered.status,
            attributes: &attributes,
        };
        self.world.gate().judge_request(admitted, &request)
    }

    /// A login, and the request that it came with, if the log tells of it: what
    /// the login brings about doesn't keep that one from being judged (rule 14).
    fn login(
        &mut self,
        occurrence: &Occurrence<'_>,
        outcome: LoginOutcome,
        with: Option<&Answered<'_>>,
    ) -> Option<Refusal> {
        let login = Login {
            client: occurrence.client.clone(),
            from: occurrence.entry.from,
            outcome,
            secret: None,
            known: None,
            attributes: match with {
                Some(answered) if self.wants_attempt_attributes => facts(answered),
                Some(_) | None => Vec::new(),
            },
        };
        // The request is admitted before its login is judged; without one the
        // login's own admission is enough.
        let source: Source = self.world.source(occurrence.entry.from);
        let request = with.and_then(|answered| Some((self.world.gate().admit(source).ok()?, answered)));
        match self.world.login(&login) {
            Reaction::Refused(refusal) => {
                self.refused(refusal, outcome == LoginOutcome::Success);
                return Some(refusal);
            }
            Reaction::Judged(judged) => self.judged(occurrence, judged),
            Reaction::Verified => {}
        }
        if let Some((admitted, answered)) = request {
            let judged = self.judge_request(&admitted, occurrence, answered);
            self.judged(occurrence, judged);
        }
        None
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

    fn judged(&mut self, occurrence: &Occurrence<'_>, judged: Judged) {
        self.outcome.denied += u64::from(judged.denied);
        for order in judged.orders {
            self.ordered(occurrence, order);
        }
    }

    fn ordered(&mut self, occurrence: &Occurrence<'_>, order: Order) {
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

/// Attributes as the server names them.
fn facts(answered: &Answered<'_>) -> Vec<(String, String)> {
    let fields = [("referer", &answered.referer), ("user-agent", &answered.user_agent)];
    let known = fields.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?.decoded())));
    known.map(|(name, value)| (name.to_owned(), cut(&value, ATTRIBUTE_BYTES_MAX).to_owned())).collect()
}
