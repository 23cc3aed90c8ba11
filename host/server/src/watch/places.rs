//! Who keeps how far the files of a watch have been read.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::state::{Keeper, Step as KeptStep};

type Map = BTreeMap<(Arc<str>, Arc<str>), Arc<str>>;

/// The state's file, where there is one; else memory, which lasts over reloads.
#[derive(Clone)]
pub(super) enum Places {
    Kept(Keeper),
    Memory(Arc<Mutex<Map>>),
}

/// Lines whose effects and whose place are kept together.
pub(super) enum Step<'p> {
    Kept(KeptStep<'p>),
    Memory(&'p Mutex<Map>),
}

impl Places {
    pub(super) fn new(keeper: Option<Keeper>) -> Self {
        keeper.map_or_else(|| Self::Memory(Arc::default()), Self::Kept)
    }

    /// The files of a watch, each with its place.
    pub(super) fn of(&self, watch: &str) -> Vec<(Arc<str>, Arc<str>)> {
        match self {
            Self::Kept(keeper) => keeper.places(watch),
            Self::Memory(places) => {
                let places = places.lock();
                let of_watch = places.iter().filter(|((known, _), _)| **known == *watch);
                of_watch.map(|((_, file), place)| (Arc::clone(file), Arc::clone(place))).collect()
            }
        }
    }

    /// Begins a step.
    pub(super) fn step(&self) -> Step<'_> {
        match self {
            Self::Kept(keeper) => Step::Kept(keeper.step()),
            Self::Memory(places) => Step::Memory(places),
        }
    }

    /// Before a step: lets the file catch up.
    pub(super) fn let_follow(&self) {
        if let Self::Kept(keeper) = self {
            keeper.let_follow();
        }
    }
}

impl Step<'_> {
    /// How far a file of a watch has been read with this step; whether there is
    /// room to keep it.
    pub(super) fn reached(&self, watch: &Arc<str>, file: &Arc<str>, place: Arc<str>) -> bool {
        match self {
            Self::Kept(step) => step.reached(watch, file, place),
            Self::Memory(places) => {
                places.lock().insert((Arc::clone(watch), Arc::clone(file)), place);
                true
            }
        }
    }

    /// Forgets how far a file of a watch has been read.
    pub(super) fn forget(&self, watch: &Arc<str>, file: &Arc<str>) {
        match self {
            Self::Kept(step) => step.forget(watch, file),
            Self::Memory(places) => {
                places.lock().remove(&(Arc::clone(watch), Arc::clone(file)));
            }
        }
    }
}
