//! What is known of files beside one log: those that other logs of its watch
//! have open, and how far each has been read under whatever name.
//!
//! A file is judged once, though patterns may find it under one name today and
//! another tomorrow.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::Log;
use super::generation::Generation;
use super::place::{Place, Reached};
use super::places::Places;

/// The other logs of a watch.
pub(super) trait Others {
    /// Whether one of them has a file open.
    fn owns(&self, identity: (u64, u64)) -> bool;

    /// How far a file has been read, or what it is a copy of.
    fn reached(&self, generation: &Generation) -> Option<Reached>;
}

/// All logs of a watch but one.
pub(super) struct Known<'l> {
    watch: &'l str,
    logs: &'l BTreeMap<PathBuf, Log>,
    places: &'l Places,
    but: &'l str,
    kept: OnceCell<Vec<(Arc<str>, Reached)>>,
}

impl<'l> Known<'l> {
    /// All but the one whose place is kept under the name `but`.
    pub(super) const fn new(
        watch: &'l str,
        logs: &'l BTreeMap<PathBuf, Log>,
        places: &'l Places,
        but: &'l str,
    ) -> Self {
        Self { watch, logs, places, but, kept: OnceCell::new() }
    }

    fn others(&self) -> impl Iterator<Item = &Log> {
        self.logs.values().filter(|log| *log.key != *self.but)
    }

    /// Read once, and only when a file is opened.
    fn kept(&self) -> &[(Arc<str>, Reached)] {
        self.kept.get_or_init(|| {
            let places = self.places.of(self.watch).into_iter();
            let places = places.filter_map(|(key, text)| Some((key, Place::from_text(&text)?)));
            let one = |(key, place): (Arc<str>, Place)| {
                place.generations.into_iter().map(move |reached| (Arc::clone(&key), reached))
            };
            places.flat_map(one).collect()
        })
    }
}

impl Others for Known<'_> {
    fn owns(&self, identity: (u64, u64)) -> bool {
        self.others().any(|log| log.followed.owns(identity))
    }

    fn reached(&self, generation: &Generation) -> Option<Reached> {
        let open = self.others().flat_map(|log| log.followed.place().generations);
        // What is open knows better than what was kept of it.
        let is_closed = |key: &str| *key != *self.but && !self.logs.contains_key(Path::new(key));
        let closed = self.kept().iter().filter(|(key, _)| is_closed(key));
        // Nobody reads on in it.
        let closed = closed.map(|(_, reached)| Reached { done: true, ..reached.clone() });
        furthest(generation, open.chain(closed))
    }
}

/// Which of these a file is, or is a copy of: the one of which most was read.
pub(super) fn furthest(generation: &Generation, known: impl Iterator<Item = Reached>) -> Option<Reached> {
    let ranked = known.filter_map(|reached| Some((generation.holds(&reached)?, reached)));
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, reached)| reached)
}
