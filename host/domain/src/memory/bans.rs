//! The ledger of bans: looked at for every request, written seldom.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use foldhash::quality::RandomState;
use ipnet::IpNet;
use papaya::{Guard as _, HashMap, ResizeMode};

use super::Recording;
use super::widths::Widths;
use crate::store::{Ban, By, Cause, Placed};
use crate::sync::Mutex;
use crate::time::Timestamp;

/// Causes that are shared: bans in the same words have one among them.
const CAUSES_SHARED_MAX: usize = 256;

/// A ban without its network.
#[derive(Clone, Debug)]
struct InForce {
    since: Timestamp,
    until: Timestamp,
    cause: Arc<Cause>,
}

impl InForce {
    fn of(self, network: IpNet) -> Ban {
        Ban { network, since: self.since, until: self.until, cause: self.cause }
    }
}

/// Bans by network. A look-up costs one probe per prefix length in use, and
/// nothing while nobody is banned.
pub(crate) struct Bans {
    capacity: usize,
    /// Read without a lock: who is refused by one core writes nothing that another
    /// has to wait for.
    by_network: HashMap<IpNet, InForce, RandomState>,
    widths: Widths,
    /// Writers hold this lock throughout, readers on the way of a request never take it.
    ledger: Mutex<Ledger>,
    recording: Recording,
}

#[derive(Default)]
struct Ledger {
    /// Every ban by its end.
    by_end: BTreeSet<(Timestamp, IpNet)>,
    /// How many there are by who ordered them.
    ordered: BTreeMap<By, usize>,
    causes: Causes,
}

impl Ledger {
    fn one_more(&mut self, by: &By) {
        if let Some(count) = self.ordered.get_mut(by) {
            *count += 1;
        } else {
            self.ordered.insert(by.clone(), 1);
        }
    }

    fn one_less(&mut self, by: &By) {
        if let Some(count) = self.ordered.get_mut(by) {
            *count -= 1;
            if *count == 0 {
                self.ordered.remove(by);
            }
        }
    }
}

/// Causes in use, so that a million bans in the same words keep them once.
#[derive(Default)]
pub(crate) struct Causes(HashSet<Arc<Cause>>);

impl Causes {
    pub(crate) fn share(&mut self, cause: &Cause) -> Arc<Cause> {
        if let Some(known) = self.0.get(cause) {
            return Arc::clone(known);
        }
        if self.0.len() >= CAUSES_SHARED_MAX {
            // Words that change all the time aren't worth keeping; bans have their own copies.
            self.0.clear();
        }
        let cause = Arc::new(cause.clone());
        self.0.insert(Arc::clone(&cause));
        cause
    }
}

impl Bans {
    pub(crate) fn new(capacity: usize, recording: Recording) -> Self {
        Self {
            capacity: capacity.max(1),
            // All at once: as long as it goes on each look-up would be in two maps.
            by_network: HashMap::builder().hasher(RandomState::default()).resize_mode(ResizeMode::Blocking).build(),
            widths: Widths::default(),
            ledger: Mutex::new(Ledger::default()),
            recording,
        }
    }

    /// Rule 17: an order never shortens a running ban, the later end wins.
    pub(crate) fn place(&self, network: IpNet, until: Timestamp, now: Timestamp, cause: &Cause) -> Placed {
        let mut ledger = self.ledger.lock();
        let cause = ledger.causes.share(cause);
        let ban = Ban { network: network.trunc(), since: now, until, cause };
        let placed = self.put(&mut ledger, ban.clone(), now);
        if let Some(recorder) = self.recording.as_ref().filter(|_| placed.changed) {
            if let Some((displaced, _)) = placed.displaced {
                recorder.unbanned(displaced);
            }
            recorder.banned(&ban);
        }
        placed
    }

    /// Takes over bans that were kept elsewhere; nothing is recorded.
    pub(crate) fn restore(&self, bans: impl IntoIterator<Item = Ban>, now: Timestamp) {
        let mut ledger = self.ledger.lock();
        let mut shared: Option<(Arc<Cause>, Arc<Cause>)> = None;
        // Into an empty ledger their order comes at the end, all at once: a million
        // ends sorted together take a fraction of what they take one by one.
        let mut places = Vec::new();
        let mut at_once = ledger.by_end.is_empty();
        let by_network = self.by_network.pin();
        for ban in bans.into_iter().filter(|ban| now < ban.until) {
            let cause = match &shared {
                Some((given, shared)) if Arc::ptr_eq(given, &ban.cause) => Arc::clone(shared),
                Some(_) | None => {
                    let ours = ledger.causes.share(&ban.cause);
                    shared = Some((Arc::clone(&ban.cause), Arc::clone(&ours)));
                    ours
                }
            };
            let ban = Ban { network: ban.network.trunc(), cause, ..ban };
            at_once = at_once && places.len() < self.capacity;
            if !at_once {
                ledger.by_end.extend(places.drain(..));
                self.put(&mut ledger, ban, now);
                continue;
            }
            let (network, place) = (ban.network, (ban.until, ban.network));
            let cause = Arc::clone(&ban.cause);
            let in_force = InForce { since: ban.since, until: ban.until, cause: Arc::clone(&cause) };
            match by_network.insert(network, in_force).cloned() {
                None => {
                    places.push(place);
                    if places.len().is_power_of_two() {
                        self.make_room(places.len());
                    }
                    self.widths.add(network);
                    ledger.one_more(&cause.by);
                }
                Some(first) => {
                    // Nobody keeps one network twice; whoever did is taken at his later word.
                    by_network.insert(network, first);
                    at_once = false;
                    ledger.by_end.extend(places.drain(..));
                    self.put(&mut ledger, ban, now);
                }
            }
        }
        if ledger.by_end.is_empty() {
            ledger.by_end = places.into_iter().collect();
        } else {
            ledger.by_end.extend(places);
        }
    }

    /// Makes places in the map for so many bans more, if there are none. In a map that
    /// is nearly full a look-up of who isn't banned, as nearly everybody, takes several
    /// times as long.
    fn make_room(&self, more: usize) {
        let guard = self.by_network.guard();
        self.by_network.reserve(more, &guard);
        // Else the map as it was would stay until this thread has replaced many.
        guard.flush();
    }

    fn put(&self, ledger: &mut Ledger, ban: Ban, now: Timestamp) -> Placed {
        let Ban { network, since, until, cause } = ban;
        let by_network = self.by_network.pin();
        let running = by_network.get(&network).map(|ban| ban.until);
        if let Some(end) = running {
            if now < end && end >= until {
                return Placed { until: end, changed: false, displaced: None };
            }
            ledger.by_end.remove(&(end, network));
        }
        let displaced = if running.is_none() && ledger.by_end.len() >= self.capacity {
            self.remove_first(ledger).filter(|&(_, end)| now < end)
        } else {
            None
        };
        ledger.by_end.insert((until, network));
        self.make_room(ledger.by_end.len());
        ledger.one_more(&cause.by);
        if let Some(before) = by_network.insert(network, InForce { since, until, cause }) {
            ledger.one_less(&before.cause.by);
        }
        if running.is_none() {
            self.widths.add(network);
        }
        Placed { until, changed: true, displaced }
    }

    /// When the last ban that holds for `address` ends.
    pub(crate) fn until(&self, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        let by_network = self.by_network.pin();
        self.networks_of(address)
            .filter_map(|network| by_network.get(&network).map(|ban| ban.until))
            .filter(|&end| now < end)
            .max()
    }

    /// The bans that hold for `address`.
    pub(crate) fn on(&self, address: IpAddr, now: Timestamp) -> Vec<Ban> {
        let by_network = self.by_network.pin();
        self.networks_of(address)
            .filter_map(|network| by_network.get(&network).map(|ban| ban.clone().of(network)))
            .filter(|ban| now < ban.until)
            .collect()
    }

    fn networks_of(&self, address: IpAddr) -> impl Iterator<Item = IpNet> + '_ {
        let networks = self.widths.in_use(address).filter_map(move |prefix| IpNet::new(address, prefix).ok());
        networks.map(|network| network.trunc())
    }

    /// Active bans by their end, after that place.
    pub(crate) fn page(&self, after: Option<(Timestamp, IpNet)>, count: usize, now: Timestamp) -> Vec<Ban> {
        let ledger = self.ledger.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let places = ledger.by_end.range((from, Bound::Unbounded)).filter(|(end, _)| now < *end);
        let by_network = self.by_network.pin();
        let bans = places.filter_map(|(_, network)| Some(by_network.get(network)?.clone().of(*network)));
        bans.take(count).collect()
    }

    /// Lifts every ban within one of `networks`; those that had ended aren't told of.
    pub(crate) fn lift_within(&self, networks: &[IpNet], now: Timestamp) -> Vec<Ban> {
        let is_one = |network: &&IpNet| network.prefix_len() == network.max_prefix_len();
        let (ones, wider): (Vec<&IpNet>, Vec<&IpNet>) = networks.iter().partition(is_one);
        let mut ledger = self.ledger.lock();
        let exact = ones.into_iter().filter_map(|one| Some((self.by_network.pin().get(one)?.until, *one)));
        let mut within: BTreeSet<(Timestamp, IpNet)> = exact.collect();
        if !wider.is_empty() {
            // One walk, however many they are: whoever bans waits meanwhile.
            let is_within = |banned: &IpNet| wider.iter().any(|network| network.contains(banned));
            within.extend(ledger.by_end.iter().filter(|(_, banned)| is_within(banned)));
        }
        let mut lifted = Vec::new();
        for place in within {
            ledger.by_end.remove(&place);
            let (end, banned) = place;
            self.widths.remove(banned);
            let by_network = self.by_network.pin();
            let Some(ban) = by_network.remove(&banned) else { continue };
            ledger.one_less(&ban.cause.by);
            if now < end {
                if let Some(recorder) = &self.recording {
                    recorder.unbanned(banned);
                }
                lifted.push(ban.clone().of(banned));
            }
        }
        lifted
    }

    /// How many there are, those included that have ended since the last sweep.
    pub(crate) fn len(&self) -> usize {
        self.ledger.lock().by_end.len()
    }

    /// Active ones by who ordered them.
    pub(crate) fn by_order(&self, now: Timestamp) -> Vec<(By, usize)> {
        let ledger = self.ledger.lock();
        let mut ordered = ledger.ordered.clone();
        // Few: what has ended since the last sweep.
        let by_network = self.by_network.pin();
        for (_, network) in ledger.by_end.iter().take_while(|(end, _)| *end <= now) {
            if let Some(ban) = by_network.get(network)
                && let Some(count) = ordered.get_mut(&ban.cause.by)
            {
                *count -= 1;
            }
        }
        drop(ledger);
        ordered.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// Drops what has ended.
    pub(crate) fn sweep(&self, now: Timestamp) {
        let mut ledger = self.ledger.lock();
        while ledger.by_end.first().is_some_and(|&(end, _)| end <= now) {
            self.remove_first(&mut ledger);
        }
    }

    /// Removes the ban that ends soonest: expired ones come first by nature.
    fn remove_first(&self, ledger: &mut Ledger) -> Option<(IpNet, Timestamp)> {
        let (end, network) = ledger.by_end.pop_first()?;
        if let Some(ban) = self.by_network.pin().remove(&network) {
            ledger.one_less(&ban.cause.by);
        }
        self.widths.remove(network);
        Some((network, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::By;
    use crate::verdict::Reason;

    fn cause() -> Cause {
        Cause { by: By::Operator, reason: Reason::new("test", "").unwrap() }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_width_of_both_families_is_found() {
        let bans = Bans::new(1000, None);
        for prefix in 0..=32 {
            bans.place(IpNet::new(ip("203.0.113.7"), prefix).unwrap(), at(100 + u64::from(prefix)), at(0), &cause());
        }
        for prefix in 0..=128 {
            bans.place(IpNet::new(ip("2001:db8::7"), prefix).unwrap(), at(1000 + u64::from(prefix)), at(0), &cause());
        }
        assert_eq!(bans.until(ip("203.0.113.7"), at(1)), Some(at(132)));
        assert_eq!(bans.until(ip("203.0.113.6"), at(1)), Some(at(131)));
        assert_eq!(bans.until(ip("2001:db8::7"), at(1)), Some(at(1128)));
        assert_eq!(bans.until(ip("2001:db8:0:0:8000::"), at(1)), Some(at(1064)), "the /64 is the narrowest that holds");
        bans.sweep(at(5000));
        assert_eq!(bans.widths.in_use(ip("::1")).count() + bans.widths.in_use(ip("1.1.1.1")).count(), 0);
    }

    #[test]
    fn rule_17_the_later_end_wins() {
        let bans = Bans::new(10, None);
        assert!(bans.place(net("203.0.113.7/32"), at(100), at(0), &cause()).changed);
        let shorter = bans.place(net("203.0.113.7/32"), at(50), at(1), &cause());
        assert_eq!((shorter.until, shorter.changed), (at(100), false));
        assert_eq!(bans.place(net("203.0.113.7/32"), at(200), at(2), &cause()).until, at(200));
        assert_eq!(bans.until(ip("203.0.113.7"), at(199)), Some(at(200)));
        assert_eq!(bans.until(ip("203.0.113.7"), at(200)), None);
    }

    #[test]
    fn rule_20_an_active_ban_goes_only_when_all_are_active_and_then_the_soonest() {
        let bans = Bans::new(3, None);
        bans.place(net("192.0.2.1/32"), at(10), at(0), &cause());
        bans.place(net("192.0.2.2/32"), at(300), at(0), &cause());
        bans.place(net("192.0.2.3/32"), at(200), at(0), &cause());
        let fourth = bans.place(net("192.0.2.4/32"), at(400), at(10), &cause());
        assert_eq!(fourth.displaced, None, "the first had ended at 10");
        let fifth = bans.place(net("192.0.2.5/32"), at(150), at(11), &cause());
        assert_eq!(fifth.displaced, Some((net("192.0.2.3/32"), at(200))));
        assert_eq!(bans.until(ip("192.0.2.2"), at(11)), Some(at(300)));
        assert_eq!(bans.until(ip("192.0.2.3"), at(11)), None);
    }

    #[test]
    fn bans_are_counted_by_who_ordered_them_whatever_becomes_of_them() {
        let bans = Bans::new(3, None);
        let by = |name: &str| Cause { by: By::Policy(name.into()), ..cause() };
        let counted =
            |now| bans.by_order(at(now)).into_iter().map(|(by, count)| (by == By::Operator, count)).collect::<Vec<_>>();
        bans.place(net("192.0.2.1/32"), at(10), at(0), &by("ban"));
        bans.place(net("192.0.2.2/32"), at(20), at(0), &by("ban"));
        bans.place(net("192.0.2.3/32"), at(30), at(0), &cause());
        assert_eq!(counted(0), [(false, 2), (true, 1)]);
        bans.place(net("192.0.2.1/32"), at(40), at(1), &cause());
        assert_eq!(counted(1), [(false, 1), (true, 2)], "a longer order takes it over");
        bans.place(net("192.0.2.1/32"), at(5), at(1), &by("ban"));
        assert_eq!(counted(1), [(false, 1), (true, 2)], "a shorter one doesn't");
        bans.place(net("192.0.2.4/32"), at(50), at(2), &cause());
        assert_eq!(counted(2), [(true, 3)], "one had to go");
        bans.lift_within(&[net("192.0.2.3/32")], at(3));
        assert_eq!(counted(3), [(true, 2)]);
        assert_eq!(counted(45), [(true, 1)], "what has ended isn't counted before it is swept");
        bans.sweep(at(45));
        assert_eq!(counted(45), [(true, 1)]);
        bans.restore(
            [Ban { network: net("192.0.2.9/32"), since: at(1), until: at(90), cause: by("ban").into() }],
            at(49),
        );
        assert_eq!(counted(49), [(false, 1), (true, 1)]);
        assert_eq!(counted(50), [(false, 1)]);
        // Into an empty ledger they come another way, and count as well.
        let bans = Bans::new(9, None);
        let ban =
            |network: &str, end| Ban { network: net(network), since: at(0), until: at(end), cause: by("ban").into() };
        let twice = ban("192.0.2.3/32", 30);
        bans.restore([ban("192.0.2.1/32", 10), ban("192.0.2.2/32", 20), twice.clone(), twice], at(1));
        let counted = |now| bans.by_order(at(now)).into_iter().map(|(_, count)| count).collect::<Vec<_>>();
        assert_eq!(counted(1), [3]);
        bans.place(net("192.0.2.4/32"), at(40), at(2), &by("ban"));
        assert_eq!((counted(2), counted(20), counted(30)), (vec![4], vec![2], vec![1]));
        bans.sweep(at(20));
        assert_eq!((counted(20), counted(30), counted(40)), (vec![2], vec![1], vec![]));
    }

    #[test]
    fn what_is_lifted_is_what_lies_within() {
        let bans = Bans::new(10, None);
        for network in ["192.0.2.1/32", "192.0.2.2/32", "192.0.3.1/32", "192.0.2.0/24"] {
            bans.place(net(network), at(100), at(0), &cause());
        }
        assert!(bans.lift_within(&[net("192.0.2.7/32")], at(1)).is_empty(), "a wider ban holds for it and stays");
        let one = bans.lift_within(&[net("192.0.2.1/32")], at(1));
        assert_eq!(one.iter().map(|ban| ban.network).collect::<Vec<_>>(), [net("192.0.2.1/32")]);
        assert_eq!(bans.until(ip("192.0.2.1"), at(1)), Some(at(100)), "by the /24");
        assert_eq!(bans.lift_within(&[net("192.0.2.0/24"), net("198.51.100.1/32")], at(1)).len(), 2);
        assert_eq!((bans.until(ip("192.0.2.1"), at(1)), bans.len()), (None, 1));
        assert_eq!(bans.until(ip("192.0.3.1"), at(1)), Some(at(100)));
    }

    #[test]
    fn what_is_restored_at_once_is_what_is_placed_one_by_one() {
        let ban = |network: &str, end| {
            let cause = Arc::new(cause());
            Ban { network: net(network), since: at(0), until: at(end), cause }
        };
        let kept = [
            ban("192.0.2.3/32", 30),
            ban("192.0.2.1/32", 10),
            ban("192.0.2.3/32", 20),
            ban("192.0.2.2/32", 5),
            ban("192.0.2.5/32", 50),
            ban("192.0.2.4/32", 40),
        ];
        let bans = Bans::new(3, None);
        bans.restore(kept, at(5));
        let networks: Vec<_> = bans.page(None, 9, at(5)).iter().map(|ban| ban.network.to_string()).collect();
        assert_eq!(networks, ["192.0.2.3/32", "192.0.2.4/32", "192.0.2.5/32"], "the one ending soonest made room");
        assert_eq!(bans.until(ip("192.0.2.3"), at(5)), Some(at(30)), "the later end of two");
        assert_eq!((bans.len(), bans.until(ip("192.0.2.1"), at(5))), (3, None));
    }

    #[test]
    fn pages_follow_one_another_by_end() {
        let bans = Bans::new(10, None);
        for (network, end) in [("192.0.2.3/32", 30), ("192.0.2.1/32", 10), ("192.0.2.2/32", 20), ("192.0.2.4/32", 30)] {
            bans.place(net(network), at(end), at(0), &cause());
        }
        let first = bans.page(None, 2, at(10));
        let networks = |page: &[Ban]| page.iter().map(|ban| ban.network.to_string()).collect::<Vec<_>>();
        assert_eq!(networks(&first), ["192.0.2.2/32", "192.0.2.3/32"], "the first has ended");
        let last = first.last().map(|ban| (ban.until, ban.network));
        assert_eq!(networks(&bans.page(last, 2, at(10))), ["192.0.2.4/32"]);
    }
}
