//! What a policy in shadow mode would have done, beside what was done (rule 32).
//!
//! A shadow policy judges live traffic with its own kept state and enforces
//! nothing. Whom it would have banned or made wait is noted here, so that it
//! isn't asked about events that it would have kept from happening, and so that
//! an operator can see the difference before it is put in force. Nothing here
//! changes what becomes of an event.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::judge::{Kind, Provenance};
use crate::maps::BoundedMap;
use crate::subject::Subject;
use crate::sync::Mutex;
use crate::time::Timestamp;
use crate::verdict::Reason;

/// Subjects that are compared at once; when more differ, those not touched for
/// longest go.
pub const SHADOW_SUBJECTS_MAX: usize = 100_000;

/// An order that a shadow policy gave: nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowOrder {
    /// The policy's name.
    pub policy: Arc<str>,
    /// Its kind.
    pub kind: Kind,
    /// Whom it would have hit: a network for bans, whoever waits for waits.
    pub subject: Subject,
    /// For how long, after clamping.
    pub duration: Duration,
    /// The plugin's reason.
    pub reason: Reason,
}

/// One subject's fate under both: a network for bans, whoever waits for waits.
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
    /// The last reason that these gave.
    pub enforced_reason: Option<Reason>,
    /// Successful logins from there after the shadow policy's first order.
    pub logins_after: u32,
    /// Of these, those that it would have kept out.
    pub logins_refused: u32,
}

/// All of it, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShadowCounts {
    /// Events that it judged.
    pub judged: u64,
    /// Events that it wasn't asked about, since it would have had them refused.
    pub refused: u64,
    /// Events that its own plugin couldn't judge.
    pub failed: u64,
    /// Orders that it gave.
    pub orders: u64,
    /// Events for which an enforcing policy of its kind gave an order, and it
    /// did too or would have had them refused.
    pub agreed: u64,
    /// Successful logins that it would have kept out.
    pub logins_refused: u64,
    /// Subjects that had to go for others and are in no list any more.
    pub left_out: u64,
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
    widths: Widths,
}

/// Widths of the networks that the shadow policy would have banned, a bit for
/// each: an address is looked up under these alone.
#[derive(Clone, Copy, Debug, Default)]
struct Widths {
    v4: u64,
    v6: [u128; 2],
}

/// Whom an event can be refused for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whom<'a> {
    /// By a wait: the policy's subject.
    Waiter(&'a Subject),
    /// By a ban: any network that holds the address.
    Address(IpAddr),
}

/// What a ledger has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShadowReport {
    /// When the comparison began; absent before the first event.
    pub since: Option<Timestamp>,
    /// Counts.
    pub counts: ShadowCounts,
    /// Subjects that only the shadow policy would have acted on, first ones
    /// first, as many as were wanted.
    pub newly: Vec<Compared>,
    /// How many there are.
    pub newly_subjects: usize,
    /// Of these, how many logged in afterwards.
    pub newly_logged_in: usize,
    /// Subjects that only enforcing policies acted on, as many as were wanted.
    pub no_longer: Vec<Compared>,
    /// How many there are.
    pub no_longer_subjects: usize,
    /// How many both acted on.
    pub both: usize,
}

impl Default for ShadowLedger {
    fn default() -> Self {
        Self(Mutex::new(Inner::new(None)))
    }
}

impl<'a> Whom<'a> {
    /// Whom an event of that source and subject concerns, for a policy of that kind.
    pub(crate) const fn of(kind: Kind, subject: &'a Subject, address: IpAddr) -> Self {
        match kind {
            Kind::Wait => Self::Waiter(subject),
            Kind::Ban | Kind::Scanner => Self::Address(address),
        }
    }
}

impl Widths {
    fn add(&mut self, network: IpNet) {
        let prefix = network.prefix_len();
        match network {
            IpNet::V4(_) => self.v4 |= 1 << prefix,
            IpNet::V6(_) => self.v6[usize::from(prefix / 128)] |= 1 << (prefix % 128),
        }
    }

    /// The networks of these widths that hold `network`, itself included.
    fn around(self, network: IpNet) -> impl Iterator<Item = IpNet> {
        let has = move |prefix: u8| match network {
            IpNet::V4(_) => self.v4 & (1 << prefix) != 0,
            IpNet::V6(_) => self.v6[usize::from(prefix / 128)] & (1 << (prefix % 128)) != 0,
        };
        let prefixes = (0..=network.prefix_len()).filter(move |&prefix| has(prefix));
        prefixes.filter_map(move |prefix| Some(IpNet::new(network.addr(), prefix).ok()?.trunc()))
    }
}

impl Inner {
    fn new(provenance: Option<Provenance>) -> Self {
        let subjects = BoundedMap::new(SHADOW_SUBJECTS_MAX);
        Self { provenance, since: None, counts: ShadowCounts::default(), subjects, widths: Widths::default() }
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
            enforced_reason: None,
            logins_after: 0,
            logins_refused: 0,
        };
        let (compared, evicted) = self.subjects.get_or_insert_with(subject, none, now);
        self.counts.left_out += u64::from(evicted);
        compared
    }

    /// Hands over everyone that the shadow policy ordered something about and
    /// that the event concerns.
    fn each(&mut self, whom: Whom<'_>, now: Timestamp, mut take: impl FnMut(&mut Compared)) {
        match whom {
            Whom::Waiter(subject) => {
                self.subjects.get(subject, now).filter(|known| known.shadow_first.is_some()).map(take);
            }
            Whom::Address(address) => {
                for network in self.widths.around(IpNet::from(address)) {
                    let known = self.subjects.get(&Subject::Source(network), now);
                    known.filter(|known| known.shadow_first.is_some()).map(&mut take);
                }
            }
        }
    }

    /// Whether the shadow policy would have banned nothing that covers that one.
    fn spares(&self, compared: &Compared) -> bool {
        let Subject::Source(network) = compared.subject else { return true };
        let banned = |around: IpNet| {
            self.subjects.peek(&Subject::Source(around)).is_some_and(|known| known.shadow_first.is_some())
        };
        !self.widths.around(network).any(banned)
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

    /// Begins the comparison anew. What the policy keeps stays.
    pub fn reset(&self) {
        let mut inner = self.0.lock();
        *inner = Inner::new(inner.provenance);
    }

    /// Whether it would have had an event refused; such events are counted.
    pub(crate) fn would_refuse(&self, whom: Whom<'_>, now: Timestamp) -> bool {
        let mut inner = self.0.lock();
        let mut held = false;
        inner.each(whom, now, |compared| held |= now < compared.shadow_until);
        inner.counts.refused += u64::from(held);
        held
    }

    /// A login succeeded; what it would have had to say about it.
    pub(crate) fn logged_in(&self, whom: Whom<'_>, now: Timestamp) {
        let mut inner = self.0.lock();
        let mut refused = false;
        inner.each(whom, now, |compared| {
            let held = now < compared.shadow_until;
            compared.logins_after = compared.logins_after.saturating_add(1);
            compared.logins_refused = compared.logins_refused.saturating_add(u32::from(held));
            refused |= held;
        });
        inner.counts.logins_refused += u64::from(refused);
    }

    /// It judged an event, or its own plugin couldn't.
    pub(crate) fn judged(&self, order: Option<&ShadowOrder>, failed: bool, now: Timestamp) {
        let mut inner = self.0.lock();
        inner.since.get_or_insert(now);
        inner.counts.judged += 1;
        inner.counts.failed += u64::from(failed);
        let Some(order) = order else { return };
        inner.counts.orders += 1;
        if let (Kind::Ban | Kind::Scanner, Subject::Source(network)) = (order.kind, &order.subject) {
            inner.widths.add(*network);
        }
        let compared = inner.compared(&order.subject, now);
        compared.shadow_first.get_or_insert(now);
        compared.shadow_orders = compared.shadow_orders.saturating_add(1);
        compared.shadow_until = compared.shadow_until.max(now.after(order.duration));
        compared.shadow_reason = Some(order.reason.clone());
    }

    /// An enforcing policy of the kind gave an order about an event; `agreed`
    /// if the shadow policy gave one too.
    pub(crate) fn enforced(&self, subject: &Subject, reason: &Reason, agreed: bool, now: Timestamp) {
        let mut inner = self.0.lock();
        inner.since.get_or_insert(now);
        inner.counts.agreed += u64::from(agreed);
        let compared = inner.compared(subject, now);
        compared.enforced_first.get_or_insert(now);
        compared.enforced_orders = compared.enforced_orders.saturating_add(1);
        compared.enforced_reason = Some(reason.clone());
    }

    /// The difference, at most `rows` of each sort.
    #[must_use]
    pub fn report(&self, rows: usize) -> ShadowReport {
        let inner = self.0.lock();
        let mut report = ShadowReport { since: inner.since, counts: inner.counts, ..ShadowReport::default() };
        let (mut newly, mut no_longer) = (Vec::new(), Vec::new());
        for compared in inner.subjects.values() {
            match (compared.shadow_first, compared.enforced_first) {
                (Some(first), None) => {
                    report.newly_logged_in += usize::from(compared.logins_after > 0);
                    newly.push((first, compared));
                }
                (None, Some(first)) if inner.spares(compared) => no_longer.push((first, compared)),
                (_, Some(_)) => report.both += 1,
                (None, None) => {}
            }
        }
        (report.newly_subjects, report.no_longer_subjects) = (newly.len(), no_longer.len());
        (report.newly, report.no_longer) = (first_of(newly, rows), first_of(no_longer, rows));
        report
    }
}

/// The first of them by time: only these are put in order and copied, since
/// judging waits meanwhile.
fn first_of(mut all: Vec<(Timestamp, &Compared)>, rows: usize) -> Vec<Compared> {
    let place = |&(first, compared): &(Timestamp, &Compared)| (first, compared.subject.clone());
    if rows > 0 && all.len() > rows {
        all.select_nth_unstable_by(rows - 1, |one, other| (one.0, &one.1.subject).cmp(&(other.0, &other.1.subject)));
    }
    all.truncate(rows);
    all.sort_by_cached_key(place);
    all.into_iter().map(|(_, compared)| compared.clone()).collect()
}

/// A ledger by the name of its policy.
pub type Shadows = HashMap<Box<str>, Arc<ShadowLedger>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn order(network: &str, seconds: u64) -> ShadowOrder {
        let (subject, reason) = (source(network), Reason::new("test", "").unwrap());
        ShadowOrder { policy: "new".into(), kind: Kind::Ban, subject, duration: Duration::from_secs(seconds), reason }
    }

    fn source(network: &str) -> Subject {
        Subject::Source(network.parse().unwrap())
    }

    fn from(address: &str) -> Whom<'static> {
        Whom::Address(address.parse().unwrap())
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(1000 * second)
    }

    #[test]
    fn rule_32_a_network_that_it_would_have_banned_covers_what_lies_within() {
        let ledger = ShadowLedger::default();
        ledger.judged(Some(&order("203.0.113.0/24", 10)), false, at(1));
        ledger.judged(Some(&order("2001:db8::/64", 10)), false, at(1));
        for covered in ["203.0.113.77", "2001:db8::77"] {
            assert!(ledger.would_refuse(from(covered), at(5)), "{covered}");
            assert!(!ledger.would_refuse(from(covered), at(11)), "{covered}: over");
        }
        assert!(!ledger.would_refuse(from("203.0.114.1"), at(5)));
        assert!(!ledger.would_refuse(from("2001:db8:0:1::1"), at(5)));
        let reason = Reason::new("test", "").unwrap();
        ledger.enforced(&source("203.0.113.7/32"), &reason, true, at(6));
        ledger.enforced(&source("192.0.2.1/32"), &reason, false, at(6));
        let report = ledger.report(10);
        assert_eq!((report.newly.len(), report.no_longer.len(), report.both), (2, 1, 1));
        assert_eq!(report.no_longer[0].subject, source("192.0.2.1/32"));
    }

    #[test]
    fn rule_32_every_width_is_found_again() {
        for (address, widest) in [("203.0.113.7", 32), ("2001:db8::7", 128)] {
            for prefix in 0..=widest {
                let ledger = ShadowLedger::default();
                let network = IpNet::new(address.parse().unwrap(), prefix).unwrap().trunc();
                ledger.judged(Some(&order(&network.to_string(), 10)), false, at(0));
                assert!(ledger.would_refuse(from(address), at(1)), "{network}");
            }
        }
    }

    #[test]
    fn rule_32_logins_after_count_and_so_do_those_it_would_have_refused() {
        let ledger = ShadowLedger::default();
        ledger.judged(Some(&order("203.0.113.7/32", 10)), false, at(0));
        ledger.logged_in(from("203.0.113.7"), at(5));
        ledger.logged_in(from("203.0.113.7"), at(15));
        ledger.logged_in(from("203.0.113.8"), at(5));
        let report = ledger.report(10);
        assert_eq!((report.newly_logged_in, report.counts.logins_refused), (1, 1));
        assert_eq!((report.newly[0].logins_after, report.newly[0].logins_refused), (2, 1));
    }

    #[test]
    fn rule_32_the_first_rows_are_the_earliest_and_all_are_counted() {
        let ledger = ShadowLedger::default();
        for last in (0..100_u64).rev() {
            ledger.judged(Some(&order(&format!("203.0.113.{last}/32"), 10)), false, at(last));
        }
        let report = ledger.report(3);
        let shown: Vec<_> = report.newly.iter().map(|compared| compared.shadow_first).collect();
        assert_eq!(shown, [Some(at(0)), Some(at(1)), Some(at(2))]);
        assert_eq!((report.newly_subjects, ledger.report(0).newly.len()), (100, 0));
    }

    #[test]
    fn rule_32_subjects_are_bounded_and_what_had_to_go_is_told() {
        let ledger = ShadowLedger::default();
        for n in 0..=SHADOW_SUBJECTS_MAX as u64 {
            let address = IpAddr::from(std::net::Ipv6Addr::from(u128::from(n) << 64));
            ledger.judged(Some(&order(&format!("{address}/64"), 10)), false, at(n));
        }
        let report = ledger.report(1);
        assert_eq!((report.newly_subjects, report.counts.left_out), (SHADOW_SUBJECTS_MAX, 1));
    }
}
