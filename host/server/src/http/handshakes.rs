//! Handshakes under way, of which there may be so many and of one source not all
//! of them: whoever opens connections and goes no further crowds out himself, and
//! the oldest go first. Those who have said nothing and those who have begun
//! keep half of the room each, or else either would keep the other out: who
//! connects has yet to speak, and whoever has spoken may stall. It must not know
//! what is shaken.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
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
/// and whoever has begun apart, and of each the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    has_begun: bool,
    number: u64,
}

/// Places in their order.
#[derive(Debug, Default)]
struct Places {
    all: BTreeSet<Place>,
    /// How many of them have begun.
    begun: usize,
}

#[derive(Debug, Default)]
struct UnderWay {
    next: u64,
    connections: HashMap<Place, (Option<IpNet>, Weak<Connection>)>,
    all: Places,
    /// Never empty.
    by_source: HashMap<IpNet, Places>,
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
        let of_source = of_source.and_then(|own| own.first_to_go(self.most_of_a_source));
        if let Some(first) = of_source.or_else(|| under_way.all.first_to_go(self.most)) {
            under_way.cut(first);
        }
        let place = Place { has_begun: false, number: under_way.next };
        under_way.next += 1;
        under_way.insert(place, source, Arc::downgrade(connection));
        self.gauge.0.fetch_add(1, Ordering::Relaxed);
        Handshake { place, of: Arc::clone(self) }
    }
}

impl Places {
    /// Who makes room for one more, where there may be `most`.
    fn first_to_go(&self, most: usize) -> Option<Place> {
        if self.all.len() < most {
            return None;
        }
        let first_begun = Place { has_begun: true, number: 0 };
        let first = if self.begun * 2 >= most { self.all.range(first_begun..).next() } else { self.all.first() };
        first.copied()
    }

    fn insert(&mut self, place: Place) {
        if self.all.insert(place) {
            self.begun += usize::from(place.has_begun);
        }
    }

    fn remove(&mut self, place: Place) {
        if self.all.remove(&place) {
            self.begun -= usize::from(place.has_begun);
        }
    }
}

impl UnderWay {
    fn insert(&mut self, place: Place, source: Option<IpNet>, connection: Weak<Connection>) {
        self.connections.insert(place, (source, connection));
        self.all.insert(place);
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
        let (source, connection) = self.connections.remove(&place)?;
        self.all.remove(place);
        if let Some(Entry::Occupied(mut own)) = source.map(|source| self.by_source.entry(source)) {
            own.get_mut().remove(place);
            if own.get().all.is_empty() {
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
        !self.of.under_way.lock().connections.contains_key(&self.place)
    }

    /// The other side has said what it wants: those who haven't leave it its half of the room.
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
        assert_eq!(world.handshakes.under_way.lock().connections.len(), 4);
    }

    #[test]
    fn whoever_has_said_nothing_goes_before_whoever_has_begun() {
        let world = World::new(5, 4);
        let (one, other) = (Some("192.0.2.1/32"), Some("192.0.2.2/32"));
        let mut all: Vec<_> = (0..4).map(|_| world.begin(one)).collect();
        all[0].0.has_begun();
        all.push(world.begin(one));
        assert_eq!(gone(&all), [1], "of the same source");
        all.extend([world.begin(other), world.begin(None)]);
        assert_eq!(gone(&all), [1, 2], "of all");
        all[3].0.has_begun();
        all.push(world.begin(other));
        assert_eq!(gone(&all), [1, 2, 4], "while those who have begun have less than half");
        // Too late for one that is gone.
        all[1].0.has_begun();
        assert_eq!(gone(&all), [1, 2, 4]);
    }

    #[test]
    fn whoever_begins_and_stalls_keeps_no_newcomer_out() {
        for source in [None, Some("192.0.2.1/32")] {
            // Of one source it is the source's bound that is met, else that of all.
            let world = if source.is_some() { World::new(100, 8) } else { World::new(8, 1) };
            let begun = || {
                let mut one = world.begin(source);
                one.0.has_begun();
                one
            };
            let stalled: Vec<_> = (0..20).map(|_| begun()).collect();
            // One that takes its time, while others go on to come and say nothing.
            let mut slow = world.begin(source);
            let silent: Vec<_> = (0..4).map(|_| world.begin(source)).collect();
            assert!(!slow.1.is_cut(), "{source:?}: there is room for newcomers");
            slow.0.has_begun();
            let more: Vec<_> = (0..3).map(|_| begun()).collect();
            assert!(!slow.1.is_cut(), "{source:?}: the oldest of those who have begun go");
            assert!(gone(&stalled).len() >= 17 && gone(&more).is_empty());
            // Those who say nothing leave the others their half.
            let _silent_too: Vec<_> = (0..100).map(|_| world.begin(source)).collect();
            let left = world.handshakes.under_way.lock().all.begun;
            assert_eq!((left, gone(&silent).len()), (3, 4));
            assert!(gone(&more).is_empty());
        }
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
        assert!(under_way.connections.is_empty() && under_way.by_source.is_empty());
        assert!(under_way.all.all.is_empty() && under_way.all.begun == 0);
        assert_eq!(world.handshakes.gauge.get(), 0);
    }
}
