//! What a policy in shadow mode would have done, beside what was done.
//!
//! A shadow policy judges live traffic with its own kept state and enforces
//! nothing. Whom it would have banned or made wait is noted here, so that it
//! isn't asked about events that it would have kept from happening, and so that
//! an operator can see the difference before it is put in force.

use std::sync::Arc;

use crate::judge::{Kind, Provenance};
use crate::memory::BoundedMap;
use crate::store::Subject;
use crate::sync::Mutex;
use crate::time::Timestamp;
use crate::verdict::Reason;

/// Subjects that are compared at once; when more differ, those not touched for
/// longest go.
pub const SHADOW_SUBJECTS_MAX: usize = 100_000;

/// One subject's fate under both: a source's network for bans, whoever waits for waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Who.
    pub subject: Subject,
    /// When the shadow policy first ordered something.
    pub shadow_first: Option<Timestamp>,
    /// Orders of the shadow policy.
    pub shadow_orders: u32,
    /// Until when the last of these would have held.
    pub shadow_until: Timestamp,
    /// The last reason it gave.
    pub shadow_reason: Option<Reason>,
    /// When an enforcing policy of the kind first ordered something.
    pub enforced_first: Option<Timestamp>,
    /// Orders of enforcing policies of the kind.
    pub enforced_orders: u32,
    /// Successful logins from there while the shadow policy's order would have held.
    pub logins_after: u32,
}

/// All of it, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShadowCounts {
    /// Events that it judged.
    pub judged: u64,
    /// Events that it wasn't asked about, since it would have had them refused.
    pub refused: u64,
    /// Events that no plugin could judge.
    pub failed: u64,
    /// Orders that it gave.
    pub orders: u64,
    /// Events for which an enforcing policy of its kind gave an order and it did too.
    pub agreed: u64,
    /// Successful logins of subjects whom it would have kept out.
    pub logins_refused: u64,
}

/// What one shadow policy would have done.
#[derive(Debug)]
pub struct ShadowLedger(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    provenance: Option<Provenance>,
    since: Option<Timestamp>,
    counts: ShadowCounts,
    subjects: BoundedMap<Subject, Compared>,
}

/// An order of either side about one event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShadowOrder<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) until: Timestamp,
    pub(crate) reason: &'a Reason,
}

/// What a ledger has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShadowReport {
    /// When the comparison began; absent before the first event.
    pub since: Option<Timestamp>,
    /// Counts.
    pub counts: ShadowCounts,
    /// Subjects that only the shadow policy would have acted on, first ones first.
    pub newly: Vec<Compared>,
    /// Subjects that only enforcing policies acted on.
    pub no_longer: Vec<Compared>,
    /// How many both acted on.
    pub both: usize,
}

impl Default for ShadowLedger {
    fn default() -> Self {
        Self(Mutex::new(Inner::new(None)))
    }
}

impl Inner {
    fn new(provenance: Option<Provenance>) -> Self {
        let subjects = BoundedMap::new(SHADOW_SUBJECTS_MAX);
        Self { provenance, since: None, counts: ShadowCounts::default(), subjects }
    }

    fn compared(&mut self, subject: &Subject, now: Timestamp) -> &mut Compared {
        let none = || Compared {
            subject: subject.clone(),
            shadow_first: None,
            shadow_orders: 0,
            shadow_until: Timestamp::default(),
            shadow_reason: None,
            enforced_first: None,
            enforced_orders: 0,
            logins_after: 0,
        };
        self.subjects.get_or_insert_with(subject, none, now)
    }
}

impl ShadowLedger {
    /// The policy runs that from now on: if it ran something else before, the
    /// comparison begins anew.
    pub(crate) fn runs(&self, provenance: Option<Provenance>) {
        let mut inner = self.0.lock();
        if inner.provenance != provenance {
            *inner = Inner::new(provenance);
        }
    }

    /// Begins the comparison anew.
    pub fn reset(&self) {
        let mut inner = self.0.lock();
        *inner = Inner::new(inner.provenance);
    }

    /// Whether the subject is one whose events it would have had refused now;
    /// they are counted. A successful login among them is one that it would
    /// have kept out.
    pub(crate) fn would_refuse(&self, subject: &Subject, success: bool, now: Timestamp) -> bool {
        let mut inner = self.0.lock();
        let held = inner.subjects.get(subject, now).filter(|compared| now < compared.shadow_until).map(|compared| {
            compared.logins_after = compared.logins_after.saturating_add(u32::from(success));
        });
        if held.is_some() {
            inner.counts.refused += 1;
            inner.counts.logins_refused += u64::from(success);
        }
        held.is_some()
    }

    /// It judged an event, or nobody could.
    pub(crate) fn judged(&self, order: Option<ShadowOrder<'_>>, failed: bool, now: Timestamp) {
        let mut inner = self.0.lock();
        inner.since.get_or_insert(now);
        inner.counts.judged += 1;
        inner.counts.failed += u64::from(failed);
        if let Some(order) = order {
            inner.counts.orders += 1;
            let compared = inner.compared(order.subject, now);
            compared.shadow_first.get_or_insert(now);
            compared.shadow_orders = compared.shadow_orders.saturating_add(1);
            compared.shadow_until = compared.shadow_until.max(order.until);
            compared.shadow_reason = Some(order.reason.clone());
        }
    }

    /// An enforcing policy of the kind gave an order about an event; `agreed`
    /// if the shadow policy gave one too.
    pub(crate) fn enforced(&self, subject: &Subject, agreed: bool, now: Timestamp) {
        let mut inner = self.0.lock();
        inner.since.get_or_insert(now);
        inner.counts.agreed += u64::from(agreed);
        let compared = inner.compared(subject, now);
        compared.enforced_first.get_or_insert(now);
        compared.enforced_orders = compared.enforced_orders.saturating_add(1);
    }

    /// The difference, at most `rows` of each sort.
    #[must_use]
    pub fn report(&self, rows: usize) -> ShadowReport {
        let inner = self.0.lock();
        let mut report = ShadowReport { since: inner.since, counts: inner.counts, ..ShadowReport::default() };
        for compared in inner.subjects.values() {
            match (compared.shadow_first, compared.enforced_first) {
                (Some(_), None) => report.newly.push(compared.clone()),
                (None, Some(_)) => report.no_longer.push(compared.clone()),
                (Some(_), Some(_)) => report.both += 1,
                (None, None) => {}
            }
        }
        report.newly.sort_by(|one, other| (one.shadow_first, &one.subject).cmp(&(other.shadow_first, &other.subject)));
        report
            .no_longer
            .sort_by(|one, other| (one.enforced_first, &one.subject).cmp(&(other.enforced_first, &other.subject)));
        report.newly.truncate(rows);
        report.no_longer.truncate(rows);
        report
    }

    /// What it ran is of that kind: whom its orders hit.
    pub(crate) fn subject_of(kind: Kind, subject: &Subject, network: ipnet::IpNet) -> Subject {
        match kind {
            Kind::Wait => subject.clone(),
            Kind::Ban | Kind::Scanner => Subject::Source(network),
        }
    }
}

/// A ledger by the name of its policy.
pub type Shadows = std::collections::HashMap<Box<str>, Arc<ShadowLedger>>;
