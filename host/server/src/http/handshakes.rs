//! Handshakes under way, of which there may be so many and of one source not all
//! of them: whoever opens connections and says nothing crowds out himself, and
//! the oldest of those who have said nothing go first. It must not know what is
//! shaken.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use ipnet::IpNet;
use parking_lot::Mutex;

use super::connection::Connection;

/// How many handshakes are under way over all workers; clones share the number.
#[derive(Clone, Debug, Default)]
pub struct HandshakeGauge(Arc<AtomicUsize>);

impl HandshakeGauge {
    /// At this moment.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The handshakes of one worker.
#[derive(Debug)]
pub(super) struct Handshakes {
    most: usize,
    most_of_a_source: usize,
    under_way: Mutex<UnderWay>,
    gauge: HandshakeGauge,
}

/// Its place among those that may have to go: whoever has said nothing yet
/// before whoever has begun, and of each the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    has_begun: bool,
    number: u64,
}

#[derive(Debug, Default)]
struct UnderWay {
    next: u64,
    all: BTreeMap<Place, (Option<IpNet>, Weak<Connection>)>,
    /// Never empty.
    by_source: HashMap<IpNet, BTreeSet<Place>>,
}

impl Handshakes {
    /// At most so many, and at most so many of them of one source; at least one each.
    pub(super) fn new(most: usize, most_of_a_source: usize, gauge: HandshakeGauge) -> Self {
        let (most, most_of_a_source) = (most.max(1), most_of_a_source.max(1));
        Self { most, most_of_a_source, under_way: Mutex::default(), gauge }
    }

    /// One more, of a source unless it comes through a proxy that many share.
    /// Where that makes too many, one of its source, or else one of all, is cut.
    pub(super) fn begin(self: &Arc<Self>, source: Option<IpNet>, connection: &Arc<Connection>) -> Handshake {
        let mut under_way = self.under_way.lock();
        let of_source = source.and_then(|source| under_way.by_source.get(&source));
        if let Some(first) = of_source.filter(|own| own.len() >= self.most_of_a_source).and_then(BTreeSet::first) {
            let first = *first;
            under_way.cut(first);
        } else if under_way.all.len() >= self.most
            && let Some((&first, _)) = under_way.all.first_key_value()
        {
            under_way.cut(first);
        }
        let place = Place { has_begun: false, number: under_way.next };
        under_way.next += 1;
        under_way.insert(place, source, Arc::downgrade(connection));
        self.gauge.0.fetch_add(1, Ordering::Relaxed);
        Handshake { place, of: Arc::clone(self) }
    }
}

impl UnderWay {
    fn insert(&mut self, place: Place, source: Option<IpNet>, connection: Weak<Connection>) {
        self.all.insert(place, (source, connection));
        if let Some(source) = source {
            self.by_source.entry(source).or_default().insert(place);
        }
    }

    fn cut(&mut self, place: Place) {
        if let Some(connection) = self.remove(place).and_then(|(_, connection)| connection.upgrade()) {
            connection.cut();
        }
    }

    fn remove(&mut self, place: Place) -> Option<(Option<IpNet>, Weak<Connection>)> {
        let (source, connection) = self.all.remove(&place)?;
        if let Some(Entry::Occupied(mut own)) = source.map(|source| self.by_source.entry(source)) {
            own.get_mut().remove(&place);
            if own.get().is_empty() {
                own.remove();
            }
        }
        Some((source, connection))
    }
}

/// A handshake under way; over when dropped.
#[derive(Debug)]
pub(super) struct Handshake {
    place: Place,
    of: Arc<Handshakes>,
}

impl Handshake {
    /// Whether it had to go for others.
    pub(super) fn was_crowded_out(&self) -> bool {
        !self.of.under_way.lock().all.contains_key(&self.place)
    }

    /// The other side has said what it wants: those who haven't go before it.
    pub(super) fn has_begun(&mut self) {
        let mut under_way = self.of.under_way.lock();
        if let Some((source, connection)) = under_way.remove(self.place) {
            self.place.has_begun = true;
            under_way.insert(self.place, source, connection);
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.of.under_way.lock().remove(self.place);
        self.of.gauge.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cap::ConnectionCap;
    use super::super::connection::Clock;
    use super::*;

    struct World {
        handshakes: Arc<Handshakes>,
        cap: ConnectionCap,
    }

    impl World {
        fn new(most: usize, most_of_a_source: usize) -> Self {
            let handshakes = Handshakes::new(most, most_of_a_source, HandshakeGauge::default());
            Self { handshakes: Arc::new(handshakes), cap: ConnectionCap::new(1000) }
        }

        fn begin(&self, source: Option<&str>) -> (Handshake, Arc<Connection>) {
            let address = "127.0.0.1:1".parse().unwrap();
            let slot = self.cap.try_acquire().unwrap();
            let connection = Arc::new(Connection::new(address, address, Arc::new(Clock::default()), slot));
            (self.handshakes.begin(source.map(|source| source.parse().unwrap()), &connection), connection)
        }
    }

    fn gone(handshakes: &[(Handshake, Arc<Connection>)]) -> Vec<usize> {
        let is_gone = |(handshake, connection): &(Handshake, Arc<Connection>)| {
            assert_eq!(handshake.was_crowded_out(), connection.is_cut());
            connection.is_cut()
        };
        (0..handshakes.len()).filter(|&number| is_gone(&handshakes[number])).collect()
    }

    #[test]
    fn a_source_crowds_out_itself_and_nobody_else() {
        let world = World::new(100, 3);
        let other = world.begin(Some("192.0.2.1/32"));
        let own: Vec<_> = (0..10).map(|_| world.begin(Some("203.0.113.7/32"))).collect();
        assert_eq!(gone(&own), [0, 1, 2, 3, 4, 5, 6]);
        assert!(!other.1.is_cut());
        assert_eq!(world.handshakes.under_way.lock().all.len(), 4);
    }

    #[test]
    fn whoever_has_said_nothing_goes_before_whoever_has_begun() {
        let world = World::new(3, 2);
        let (one, other) = (Some("192.0.2.1/32"), Some("192.0.2.2/32"));
        let mut all = vec![world.begin(one), world.begin(one)];
        all[0].0.has_begun();
        all.push(world.begin(one));
        assert_eq!(gone(&all), [1], "of the same source");
        all.extend([world.begin(other), world.begin(None)]);
        assert_eq!(gone(&all), [1, 2], "of all");
        all[3].0.has_begun();
        all[4].0.has_begun();
        all.push(world.begin(None));
        assert_eq!(gone(&all), [0, 1, 2], "the oldest of those who have begun");
        // Too late for one that is gone.
        all[0].0.has_begun();
        assert_eq!(gone(&all), [0, 1, 2]);
    }

    #[test]
    fn when_there_are_too_many_the_oldest_goes() {
        let world = World::new(3, 3);
        let mut all: Vec<_> = (0..3).map(|n| world.begin(Some(&format!("192.0.2.{n}/32")))).collect();
        // One that is over makes room.
        drop(all.remove(1));
        all.push(world.begin(None));
        assert!(gone(&all).is_empty());
        all.push(world.begin(None));
        assert_eq!(gone(&all), [0]);
        assert_eq!(world.handshakes.gauge.get(), 4, "who is cut is under way until it has heard");
        drop(all);
        let under_way = world.handshakes.under_way.lock();
        assert!(under_way.all.is_empty() && under_way.by_source.is_empty());
        assert_eq!(world.handshakes.gauge.get(), 0);
    }
}
