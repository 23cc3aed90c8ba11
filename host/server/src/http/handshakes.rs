//! Handshakes under way, of which there may be so many and of one source not all
//! of them: whoever opens connections and says nothing crowds out himself, and
//! the oldest go first. It must not know what is shaken.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
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

#[derive(Debug, Default)]
struct UnderWay {
    next: u64,
    by_age: BTreeMap<u64, (Option<IpNet>, Weak<Connection>)>,
    /// Numbers in order of age; never empty.
    by_source: HashMap<IpNet, VecDeque<u64>>,
}

impl Handshakes {
    /// At most so many, and at most so many of them of one source; at least one each.
    pub(super) fn new(most: usize, most_of_a_source: usize, gauge: HandshakeGauge) -> Self {
        let (most, most_of_a_source) = (most.max(1), most_of_a_source.max(1));
        Self { most, most_of_a_source, under_way: Mutex::default(), gauge }
    }

    /// One more, of a source unless it comes through a proxy that many share.
    /// Where that makes too many, the oldest of its source, or else the oldest
    /// of all, is cut.
    pub(super) fn begin(self: &Arc<Self>, source: Option<IpNet>, connection: &Arc<Connection>) -> Handshake {
        let mut under_way = self.under_way.lock();
        let of_source = source.and_then(|source| under_way.by_source.get(&source));
        if let Some(oldest) = of_source.filter(|own| own.len() >= self.most_of_a_source).and_then(|own| own.front()) {
            let oldest = *oldest;
            under_way.cut(oldest);
        } else if under_way.by_age.len() >= self.most
            && let Some((&oldest, _)) = under_way.by_age.first_key_value()
        {
            under_way.cut(oldest);
        }
        let number = under_way.next;
        under_way.next += 1;
        under_way.by_age.insert(number, (source, Arc::downgrade(connection)));
        if let Some(source) = source {
            under_way.by_source.entry(source).or_default().push_back(number);
        }
        self.gauge.0.fetch_add(1, Ordering::Relaxed);
        Handshake { number, of: Arc::clone(self) }
    }
}

impl UnderWay {
    fn cut(&mut self, number: u64) {
        if let Some(connection) = self.remove(number).and_then(|connection| connection.upgrade()) {
            connection.cut();
        }
    }

    fn remove(&mut self, number: u64) -> Option<Weak<Connection>> {
        let (source, connection) = self.by_age.remove(&number)?;
        if let Some(Entry::Occupied(mut own)) = source.map(|source| self.by_source.entry(source)) {
            own.get_mut().retain(|other| *other != number);
            if own.get().is_empty() {
                own.remove();
            }
        }
        Some(connection)
    }
}

/// A handshake under way; over when dropped.
#[derive(Debug)]
pub(super) struct Handshake {
    number: u64,
    of: Arc<Handshakes>,
}

impl Handshake {
    /// Whether it had to go for others.
    pub(super) fn was_crowded_out(&self) -> bool {
        !self.of.under_way.lock().by_age.contains_key(&self.number)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.of.under_way.lock().remove(self.number);
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
        assert_eq!(world.handshakes.under_way.lock().by_age.len(), 4);
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
        assert!(under_way.by_age.is_empty() && under_way.by_source.is_empty());
        assert_eq!(world.handshakes.gauge.get(), 0);
    }
}
