//! Changes that wait to be written: the latest of each thing, and no more than
//! so many.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;
use ipnet::IpNet;
use portcullis_domain::{Ban, StateBytes, StateFormat, Subject, Timestamp, Wait};

/// Bans and lifted bans that may wait: as many as are kept in memory at all.
const BANS_MAX: usize = 1_000_000;
/// Waits and kept states, changed or gone, that may wait.
const OTHERS_MAX: usize = 250_000;
/// Bytes of kept states that may wait.
const BYTES_MAX: usize = 64 << 20;

type Map<K, V> = HashMap<K, V, RandomState>;

/// Whose state, of which policy, in which format.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeptKey {
    pub(super) policy: Arc<str>,
    pub(super) format: StateFormat,
    pub(super) subject: Subject,
}

/// Which file of which watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PlaceKey {
    pub(super) watch: Arc<str>,
    pub(super) file: Arc<str>,
}

/// A kept state and when it expires.
pub(super) type KeptValue = (StateBytes, Timestamp);

/// What is to be written: of each thing as it is now, or that it is gone.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) bans: Map<IpNet, Option<Ban>>,
    pub(super) waits: Map<Subject, Option<Wait>>,
    pub(super) kept: Map<KeptKey, Option<KeptValue>>,
    /// How far logs have been read, with all that came of it among the rest.
    pub(super) places: Map<PlaceKey, Option<Arc<str>>>,
    /// Of kept states.
    bytes: usize,
}

impl Changes {
    pub(super) fn ban(&mut self, network: IpNet, ban: Option<Ban>) {
        self.bans.insert(network, ban);
    }

    pub(super) fn wait(&mut self, subject: Subject, wait: Option<Wait>) {
        self.waits.insert(subject, wait);
    }

    pub(super) fn keep(&mut self, key: KeptKey, value: Option<KeptValue>) {
        let length = |value: &Option<KeptValue>| value.as_ref().map_or(0, |(data, _)| data.len());
        self.bytes += length(&value);
        if let Some(old) = self.kept.insert(key, value) {
            self.bytes -= length(&old);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.bans.len() + self.others() + self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn others(&self) -> usize {
        self.waits.len() + self.kept.len()
    }

    /// Whether there are more bans than may wait.
    pub(super) fn has_too_many_bans(&self) -> bool {
        self.bans.len() > BANS_MAX
    }

    /// Whether there is more of everything else than may wait.
    pub(super) fn has_too_many_others(&self) -> bool {
        self.others() > OTHERS_MAX || self.bytes > BYTES_MAX
    }

    /// Drops the bans and gives their memory back.
    pub(super) fn drop_bans(&mut self) {
        self.bans = Map::default();
    }

    /// Drops everything else and gives its memory back.
    pub(super) fn drop_others(&mut self) {
        self.waits = Map::default();
        self.kept = Map::default();
        self.bytes = 0;
    }

    /// Takes in later changes: of each thing the later one holds.
    pub(super) fn absorb(&mut self, later: Self) {
        if self.is_empty() {
            *self = later;
            return;
        }
        self.bans.extend(later.bans);
        self.waits.extend(later.waits);
        self.places.extend(later.places);
        for (key, value) in later.kept {
            self.keep(key, value);
        }
    }

    /// Hands over every ban and `others` of the rest; all of it where places are
    /// among it: these and what came of the lines before them belong together.
    pub(super) fn split_off(&mut self, others: usize) -> Self {
        if self.others() <= others || !self.places.is_empty() {
            return std::mem::take(self);
        }
        let bans = std::mem::take(&mut self.bans);
        let waits: Map<_, _> = self.waits.extract_if(|_, _| true).take(others).collect();
        let mut piece = Self { bans, waits, ..Self::default() };
        let left = others - piece.waits.len();
        let kept: Vec<_> = self.kept.extract_if(|_, _| true).take(left).collect();
        for (key, value) in kept {
            self.bytes -= value.as_ref().map_or(0, |(data, _)| data.len());
            piece.keep(key, value);
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> KeptKey {
        let subject = Subject::Source(IpNet::new(id.to_be_bytes().into(), 32).unwrap());
        KeptKey { policy: "ban".into(), format: StateFormat::new("f/1"), subject }
    }

    fn value(bytes: usize) -> Option<KeptValue> {
        Some((StateBytes::from_elem(7, bytes), Timestamp::MAX))
    }

    #[test]
    fn of_one_thing_only_the_latest_waits() {
        let mut changes = Changes::default();
        (0..1000).for_each(|n| changes.keep(key(1), value(n)));
        changes.keep(key(1), None);
        assert_eq!((changes.len(), changes.bytes), (1, 0));
        let mut later = Changes::default();
        later.keep(key(1), value(5));
        changes.absorb(later);
        assert_eq!((changes.len(), changes.bytes, &changes.kept[&key(1)]), (1, 5, &value(5)));
    }

    #[test]
    fn large_states_fill_it_before_many_do() {
        let mut changes = Changes::default();
        (0..64).for_each(|n| changes.keep(key(n), value(1 << 20)));
        assert!(!changes.has_too_many_others());
        changes.keep(key(64), value(1));
        assert!(changes.has_too_many_others());
        changes.drop_others();
        assert_eq!((changes.len(), changes.bytes), (0, 0));
    }

    #[test]
    fn pieces_hold_every_ban_and_so_much_of_the_rest_and_lose_nothing() {
        let mut changes = Changes::default();
        (0..10).for_each(|n| changes.keep(key(n), value(3)));
        (0..5).for_each(|n| changes.wait(key(n).subject, None));
        (0..7).for_each(|n| changes.ban(IpNet::new([0, 0, 0, n].into(), 32).unwrap(), None));
        let first = changes.split_off(8);
        assert_eq!((first.bans.len(), first.others(), first.bytes), (7, 8, 9));
        assert_eq!((changes.bans.len(), changes.others(), changes.bytes), (0, 7, 21));
        let second = changes.split_off(8);
        assert_eq!((second.others(), second.bytes, changes.len(), changes.bytes), (7, 21, 0, 0));
    }

    #[test]
    fn a_place_is_never_parted_from_what_came_before_it() {
        let mut changes = Changes::default();
        (0..10).for_each(|n| changes.keep(key(n), value(3)));
        let place = PlaceKey { watch: "rportd".into(), file: "/x".into() };
        changes.places.insert(place.clone(), Some("one".into()));
        let mut later = Changes::default();
        later.places.insert(place.clone(), Some("two".into()));
        changes.absorb(later);
        assert_eq!(changes.len(), 11);
        let all = changes.split_off(2);
        assert_eq!((all.others(), all.places[&place].as_deref(), changes.is_empty()), (10, Some("two"), true));
    }
}
