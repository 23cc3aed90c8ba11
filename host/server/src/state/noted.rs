//! Where changes are noted and the writer finds them, and what is known of how
//! the file keeps up. It must not know SQLite.
//!
//! Whoever notes holds a lock of the store: a note is an entry in a map and
//! nothing more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard};
use tokio::sync::watch;

use super::Totals;
use super::changes::{Changes, PlaceKey};

/// Places of files that are kept at all.
const PLACES_MAX: usize = 16_384;

/// What has to be written anew from the memory: too much of it waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Owed {
    /// Every ban.
    pub(super) bans: bool,
    /// Every wait and kept state.
    pub(super) others: bool,
}

impl Owed {
    pub(super) const ALL: Self = Self { bans: true, others: true };

    pub(super) const fn any(self) -> bool {
        self.bans || self.others
    }
}

/// How far the writer has come with ending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// The writer is to write what is left and end.
    Closing,
    /// Nothing is noted any more.
    Closed,
}

#[derive(Default)]
struct Noted {
    changes: Changes,
    owed: Owed,
    /// Changes of bans so far.
    bans: u64,
    /// One of them hasn't been taken.
    urgent: bool,
    /// Somebody waits for what is noted to be taken.
    wanted: bool,
    /// Since when something waits to be taken.
    since: Option<Instant>,
    /// Changes that are being written.
    in_flight: usize,
    /// When the first of those was noted.
    in_flight_since: Option<Instant>,
    phase: Phase,
    /// All places, as they are now.
    places: BTreeMap<PlaceKey, Arc<str>>,
}

/// Changes that the writer has taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) changes: Changes,
    /// Changes of bans that are among them or were before them.
    pub(super) bans: u64,
    /// When the first of them was noted.
    pub(super) since: Option<Instant>,
    /// The totals of that moment.
    pub(super) totals: Totals,
}

/// What a writer is woken for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// It is time to look, or a ban waits.
    Look,
    /// The end.
    Close,
}

/// What recorders, the writer and those who wait for it share.
pub(super) struct Shared {
    noted: Mutex<Noted>,
    wake: Condvar,
    /// Rung when changes have been taken.
    taken: Condvar,
    /// Shared by those who take steps, of which each is noted whole or not at
    /// all; whoever takes what is noted has it alone.
    steps: RwLock<()>,
    /// As in [`Noted`], to be read without its lock.
    bans_noted: AtomicU64,
    /// Changes of bans that are durable.
    bans_durable: watch::Sender<u64>,
    /// Replies that left before that.
    unsettled: AtomicU64,
    figures: Mutex<Figures>,
}

/// How writing goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) failing: Option<String>,
    pub(super) rewriting: bool,
    /// Bans are part of that, and none is durable until they have been written.
    pub(super) rewriting_bans: bool,
    pub(super) commits: u64,
    pub(super) last_commit: Duration,
    pub(super) late_commits: u64,
    pub(super) file_bytes: u64,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            noted: Mutex::default(),
            wake: Condvar::new(),
            taken: Condvar::new(),
            steps: RwLock::new(()),
            bans_noted: AtomicU64::new(0),
            bans_durable: watch::Sender::new(0),
            unsettled: AtomicU64::new(0),
            figures: Mutex::default(),
        }
    }

    /// Notes a change of a ban, which is urgent.
    pub(super) fn note_ban(&self, note: impl FnOnce(&mut Changes)) {
        let mut noted = self.noted.lock();
        if noted.phase == Phase::Closed {
            return;
        }
        noted.bans += 1;
        self.bans_noted.store(noted.bans, Ordering::Release);
        noted.since.get_or_insert_with(Instant::now);
        if noted.owed.bans {
            // The memory is written anew, and with it this.
            return;
        }
        note(&mut noted.changes);
        if noted.changes.has_too_many_bans() {
            noted.changes.drop_bans();
            noted.owed.bans = true;
        }
        if !noted.urgent {
            noted.urgent = true;
            drop(noted);
            self.wake.notify_one();
        }
    }

    /// Notes another change.
    pub(super) fn note(&self, note: impl FnOnce(&mut Changes)) {
        let mut noted = self.noted.lock();
        if noted.phase == Phase::Closed {
            return;
        }
        noted.since.get_or_insert_with(Instant::now);
        if noted.owed.others {
            return;
        }
        note(&mut noted.changes);
        if noted.changes.has_too_many_others() {
            noted.changes.drop_others();
            noted.owed.others = true;
        }
    }

    /// Waits until a ban is noted or somebody waits for room, until then, or until
    /// the end; while writing fails (`calm`), neither wakes.
    pub(super) fn wait(&self, until: Instant, calm: bool) -> Wake {
        let mut noted = self.noted.lock();
        loop {
            if noted.phase != Phase::Open {
                return Wake::Close;
            }
            if (noted.urgent || noted.wanted) && !calm || self.wake.wait_until(&mut noted, until).timed_out() {
                return Wake::Look;
            }
        }
    }

    /// Whether a ban waits to be taken.
    pub(super) fn is_urgent(&self) -> bool {
        self.noted.lock().urgent
    }

    /// Begins a step: nothing of what is noted while it lasts is taken without the rest.
    pub(super) fn step(&self) -> RwLockReadGuard<'_, ()> {
        self.steps.read()
    }

    /// Notes how far a file has been read; whether there is room for it.
    pub(super) fn note_place(&self, key: PlaceKey, place: Arc<str>) -> bool {
        let mut noted = self.noted.lock();
        if noted.places.len() >= PLACES_MAX && !noted.places.contains_key(&key) {
            return false;
        }
        noted.places.insert(key.clone(), Arc::clone(&place));
        if noted.phase != Phase::Closed {
            noted.since.get_or_insert_with(Instant::now);
            noted.changes.places.insert(key, Some(place));
        }
        true
    }

    /// Forgets how far a file has been read.
    pub(super) fn forget_place(&self, key: PlaceKey) {
        let mut noted = self.noted.lock();
        if noted.places.remove(&key).is_some() && noted.phase != Phase::Closed {
            noted.since.get_or_insert_with(Instant::now);
            noted.changes.places.insert(key, None);
        }
    }

    /// Takes over places that were kept.
    pub(super) fn restore_places(&self, places: impl IntoIterator<Item = (PlaceKey, Arc<str>)>) {
        self.noted.lock().places.extend(places.into_iter().take(PLACES_MAX));
    }

    /// The places of a watch's files, as they are now.
    pub(super) fn places(&self, watch: &str) -> Vec<(Arc<str>, Arc<str>)> {
        let noted = self.noted.lock();
        let of_watch = noted.places.iter().filter(|(key, _)| *key.watch == *watch);
        of_watch.map(|(key, place)| (Arc::clone(&key.file), Arc::clone(place))).collect()
    }

    /// Where more than so many changes wait, has them written and waits until
    /// they are taken, for so long at most.
    pub(super) fn let_follow(&self, changes_max: usize, patience: Duration) {
        let too_many = |noted: &mut Noted| noted.changes.len() > changes_max && noted.phase == Phase::Open;
        let mut noted = self.noted.lock();
        if too_many(&mut noted) {
            noted.wanted = true;
            self.wake.notify_one();
            let _timed_out = self.taken.wait_while_for(&mut noted, too_many, patience);
        }
    }

    /// Hands over what waits, between two steps, and the totals as they are then.
    /// Places stay where they are unless they are wanted.
    pub(super) fn take(&self, places: bool, totals: impl FnOnce() -> Totals) -> Taken {
        let _no_step = self.steps.write();
        let totals = totals();
        let mut noted = self.noted.lock();
        (noted.urgent, noted.wanted) = (false, false);
        let mut changes = std::mem::take(&mut noted.changes);
        let since = noted.since.take();
        // What is owed came of lines, too.
        if !places || noted.owed.any() {
            noted.changes.places = std::mem::take(&mut changes.places);
            noted.since = since.filter(|_| !noted.changes.is_empty());
        }
        noted.in_flight += changes.len();
        noted.in_flight_since = earlier(noted.in_flight_since, since);
        self.taken.notify_all();
        Taken { changes, bans: noted.bans, since: noted.in_flight_since, totals }
    }

    /// Says what has to be written anew from the memory. From now on its changes
    /// are noted again.
    pub(super) fn take_owed(&self) -> Owed {
        std::mem::take(&mut self.noted.lock().owed)
    }

    /// It has to be written anew after all.
    pub(super) fn owe(&self, owed: Owed) {
        let mut noted = self.noted.lock();
        noted.since.get_or_insert_with(Instant::now);
        if owed.bans {
            noted.owed.bans = true;
            noted.changes.drop_bans();
        }
        if owed.others {
            noted.owed.others = true;
            noted.changes.drop_others();
            let Noted { places, changes, .. } = &mut *noted;
            changes.places.extend(places.iter().map(|(key, place)| (key.clone(), Some(Arc::clone(place)))));
        }
    }

    /// So many of the taken changes have been written; with bans up to that number.
    pub(super) fn written(&self, changes: usize, bans: Option<u64>) {
        let mut noted = self.noted.lock();
        noted.in_flight = noted.in_flight.saturating_sub(changes);
        if noted.in_flight == 0 {
            noted.in_flight_since = None;
        }
        // Bans that are owed are not among what was written.
        let bans = bans.filter(|_| !noted.owed.bans);
        drop(noted);
        if let Some(bans) = bans {
            self.bans_durable.send_if_modified(|durable| std::mem::replace(durable, bans) != bans);
        }
    }

    /// They couldn't be written and wait again; what has come since holds.
    pub(super) fn put_back(&self, mut changes: Changes) {
        let mut noted = self.noted.lock();
        noted.in_flight = 0;
        noted.since = earlier(noted.since, noted.in_flight_since.take());
        changes.absorb(std::mem::take(&mut noted.changes));
        noted.changes = changes;
        if noted.owed.bans || noted.changes.has_too_many_bans() {
            noted.owed.bans = true;
            noted.changes.drop_bans();
        }
        if noted.owed.others || noted.changes.has_too_many_others() {
            noted.owed.others = true;
            noted.changes.drop_others();
        }
        noted.urgent |= !noted.changes.bans.is_empty();
    }

    /// Changes of bans that are noted so far, and those of them that are durable.
    pub(super) fn bans(&self) -> (u64, u64) {
        (self.bans_noted.load(Ordering::Acquire), *self.bans_durable.borrow())
    }

    /// Until so many changes of bans are durable.
    pub(super) async fn durable(&self, bans: u64) {
        let mut durable = self.bans_durable.subscribe();
        let _the_sender_is_ours = durable.wait_for(|&durable| durable >= bans).await;
    }

    /// Whether it makes sense to wait for the disk at all.
    pub(super) fn can_settle(&self) -> bool {
        let figures = self.figures.lock();
        figures.failing.is_none() && !figures.rewriting_bans
    }

    /// A reply leaves before its ban is durable.
    pub(super) fn count_unsettled(&self) {
        self.unsettled.fetch_add(1, Ordering::Relaxed);
    }

    /// Replies that did so.
    pub(super) fn unsettled(&self) -> u64 {
        self.unsettled.load(Ordering::Relaxed)
    }

    /// Since when something waits, and how much.
    pub(super) fn waiting(&self) -> (Option<Instant>, usize) {
        let noted = self.noted.lock();
        (earlier(noted.since, noted.in_flight_since), noted.changes.len() + noted.in_flight)
    }

    pub(super) fn figures(&self) -> Figures {
        self.figures.lock().clone()
    }

    pub(super) fn tell(&self, tell: impl FnOnce(&mut Figures)) {
        tell(&mut self.figures.lock());
    }

    /// Tells the writer to write what is left and end; whether somebody has
    /// done so before.
    pub(super) fn close(&self) -> bool {
        let mut noted = self.noted.lock();
        let first = noted.phase == Phase::Open;
        if first {
            noted.phase = Phase::Closing;
        }
        drop(noted);
        self.wake.notify_all();
        !first
    }

    /// The writer has ended.
    pub(super) fn closed(&self) {
        self.noted.lock().phase = Phase::Closed;
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
