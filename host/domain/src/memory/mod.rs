//! The store in memory: kept state, waits and bans, each with a capacity (rule 20).

mod bans;
mod entry;
mod states;
mod widths;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ipnet::IpNet;

use crate::event::ClientId;
use crate::judge::StateFormat;
use crate::maps::{BoundedMap, Shards};
use crate::shadow::{ShadowLedger, Shadows};
use crate::store::{Ban, By, Cause, Placed, Recorder, Sizes, Store, Table, Wait};
use crate::subject::Subject;
use crate::sync::{AtomicU64, Mutex};
use crate::time::Timestamp;
use crate::verdict::StateBytes;

use bans::{Bans, Causes};
use states::{States, StatesTable};

/// Who hears of changes, if anyone does.
pub(crate) type Recording = Option<Arc<dyn Recorder>>;

/// A kept state, as it is handed over when a store is filled or read as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEntry {
    /// Whom it is about.
    pub subject: Subject,
    /// The policy's bytes.
    pub data: StateBytes,
    /// When it expires; [`Timestamp::MAX`]: when room is needed.
    pub expires: Timestamp,
}

/// How much is kept at most, in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// States of one policy, over all subjects.
    pub states: usize,
    /// Waits in force.
    pub waits: usize,
    /// Bans in force.
    pub bans: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { states: 1_000_000, waits: 1_000_000, bans: 1_000_000 }
    }
}

/// Waits, bans and kept state in this process's memory.
pub struct MemoryStore {
    capacity: Capacity,
    /// By policy name. Never shrinks: a policy that comes back finds its state.
    states: Mutex<HashMap<Arc<str>, Arc<States>>>,
    waits: Shards<Waits>,
    /// The latest end that any wait ever had: after it nobody waits, and
    /// nothing needs to be looked up.
    last_wait_ends: AtomicU64,
    bans: Bans,
    shadows: Mutex<Shadows>,
    recording: Recording,
}

struct Waits {
    subjects: BoundedMap<Subject, Waiting>,
    causes: Causes,
    evicted: u64,
}

struct Waiting {
    since: Timestamp,
    cause: Arc<Cause>,
}

impl MemoryStore {
    /// An empty store of that capacity.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self::with_recorder(capacity, None)
    }

    /// An empty store of that capacity, whose changes are told to `recorder`.
    #[must_use]
    pub fn with_recorder(capacity: Capacity, recorder: Option<Arc<dyn Recorder>>) -> Self {
        let waits = |capacity| Waits { subjects: BoundedMap::new(capacity), causes: Causes::default(), evicted: 0 };
        Self {
            capacity,
            states: Mutex::new(HashMap::new()),
            waits: Shards::new(capacity.waits, waits),
            last_wait_ends: AtomicU64::new(0),
            bans: Bans::new(capacity.bans, recorder.clone()),
            shadows: Mutex::default(),
            recording: recorder,
        }
    }

    fn states(&self, policy: &str) -> Arc<States> {
        let mut tables = self.states.lock();
        if let Some(known) = tables.get(policy) {
            return Arc::clone(known);
        }
        let policy: Arc<str> = policy.into();
        let states = States::new(Arc::clone(&policy), self.capacity.states, self.recording.clone());
        Arc::clone(tables.entry(policy).or_insert_with(|| Arc::new(states)))
    }

    /// Takes over bans that were kept elsewhere, those that have ended left
    /// out. No recorder hears of it.
    pub fn restore_bans(&self, bans: impl IntoIterator<Item = Ban>, now: Timestamp) {
        self.bans.restore(bans, now);
    }

    /// Takes over waits that were kept elsewhere, those that have ended left
    /// out. No recorder hears of it.
    pub fn restore_waits(&self, waits: impl IntoIterator<Item = Wait>, now: Timestamp) {
        for wait in waits.into_iter().filter(|wait| now < wait.until) {
            self.place_wait(&wait, now, &None);
        }
    }

    /// Takes over what a policy kept elsewhere under one format, what has
    /// expired left out. No recorder hears of it.
    pub fn restore_kept(
        &self,
        policy: &str,
        format: &StateFormat,
        entries: impl IntoIterator<Item = KeptEntry>,
        now: Timestamp,
    ) {
        self.states(policy).restore(format, entries, now);
    }

    /// Hands over every wait in force, piece by piece. What changes meanwhile
    /// may or may not be in it.
    pub fn each_wait(&self, now: Timestamp, mut take: impl FnMut(Vec<Wait>)) {
        for shard in self.waits.iter() {
            let waits = shard.lock();
            let wait = |(subject, waiting, until): (&Subject, &Waiting, _)| {
                let (subject, since, cause) = (subject.clone(), waiting.since, Arc::clone(&waiting.cause));
                Wait { subject, since, until, cause }
            };
            let piece: Vec<_> = waits.subjects.iter(now).map(wait).collect();
            drop(waits);
            take(piece);
        }
    }

    /// How many bans are in force by who ordered them.
    #[must_use]
    pub fn bans_by(&self, now: Timestamp) -> Vec<(By, usize)> {
        self.bans.by_order(now)
    }

    /// Who of those that wait does so under that client auth id, from whatever
    /// source. A walk over all waits: for an operator, not for a request.
    #[must_use]
    pub fn waiting_as(&self, id: &ClientId, now: Timestamp) -> Vec<Subject> {
        self.waiting(now, |subject| match subject {
            Subject::Id(known) | Subject::Pair(known, _) => known == id,
            Subject::Source(_) => false,
        })
    }

    /// Who of those that wait does so in that network, under whatever id.
    #[must_use]
    pub fn waiting_within(&self, network: IpNet, now: Timestamp) -> Vec<Subject> {
        self.waiting(now, |subject| match subject {
            Subject::Source(source) | Subject::Pair(_, source) => network.contains(source),
            Subject::Id(_) => false,
        })
    }

    fn waiting(&self, now: Timestamp, meant: impl Fn(&Subject) -> bool) -> Vec<Subject> {
        let mut found = Vec::new();
        for shard in self.waits.iter() {
            found
                .extend(shard.lock().subjects.iter(now).map(|(subject, ..)| subject).filter(|who| meant(who)).cloned());
        }
        found
    }

    /// Hands over everything that policies keep, piece by piece: policy, format
    /// and some entries. What changes meanwhile may or may not be in it.
    pub fn each_kept(&self, now: Timestamp, mut take: impl FnMut(&Arc<str>, &StateFormat, Vec<KeptEntry>)) {
        let tables: BTreeMap<_, _> =
            self.states.lock().iter().map(|(name, table)| (name.clone(), table.clone())).collect();
        for (policy, table) in tables {
            table.each(now, |format, entries| take(&policy, format, entries));
        }
    }

    fn place_wait(&self, wait: &Wait, now: Timestamp, recording: &Recording) -> Placed {
        let Wait { subject, since, until, cause } = wait;
        let mut waits = self.waits.of(subject).lock();
        if let Some(running) = waits.subjects.expiry(subject, now)
            && running >= *until
        {
            return Placed { until: running, changed: false, displaced: None };
        }
        let waiting = Waiting { since: *since, cause: waits.causes.share(cause) };
        let evicted = waits.subjects.insert(subject.clone(), waiting, *until, now);
        self.last_wait_ends.fetch_max(until.as_millis(), Ordering::Release);
        waits.evicted += u64::from(evicted.is_some());
        if let Some(recorder) = recording {
            if let Some(evicted) = &evicted {
                recorder.waits_no_more(evicted);
            }
            recorder.waits(wait);
        }
        Placed { until: *until, changed: true, displaced: None }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Capacity::default())
    }
}

impl Store for MemoryStore {
    fn table(&self, policy: &str, formats: &[StateFormat]) -> Arc<dyn Table> {
        Arc::new(StatesTable::new(self.states(policy), formats))
    }

    fn shadow(&self, policy: &str) -> Arc<ShadowLedger> {
        Arc::clone(self.shadows.lock().entry(policy.into()).or_default())
    }

    fn ban(&self, network: IpNet, until: Timestamp, now: Timestamp, cause: &Cause) -> Placed {
        self.bans.place(network, until, now, cause)
    }

    fn unban_within(&self, networks: &[IpNet], now: Timestamp) -> Vec<Ban> {
        self.bans.lift_within(networks, now)
    }

    fn banned_until(&self, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        self.bans.until(address, now)
    }

    fn bans_on(&self, address: IpAddr, now: Timestamp) -> Vec<Ban> {
        self.bans.on(address, now)
    }

    fn bans(&self, after: Option<(Timestamp, IpNet)>, count: usize, now: Timestamp) -> Vec<Ban> {
        self.bans.page(after, count, now)
    }

    fn wait(&self, subject: &Subject, until: Timestamp, now: Timestamp, cause: &Cause) -> Placed {
        let wait = Wait { subject: subject.clone(), since: now, until, cause: Arc::new(cause.clone()) };
        self.place_wait(&wait, now, &self.recording)
    }

    fn unwait(&self, subject: &Subject, now: Timestamp) -> Option<Wait> {
        let mut waits = self.waits.of(subject).lock();
        let (waiting, until) = waits.subjects.take(subject, now)?;
        if let Some(recorder) = &self.recording {
            recorder.waits_no_more(subject);
        }
        Some(Wait { subject: subject.clone(), since: waiting.since, until, cause: waiting.cause })
    }

    fn waits_until(&self, subject: &Subject, now: Timestamp) -> Option<Timestamp> {
        if self.last_wait_ends.load(Ordering::Acquire) <= now.as_millis() {
            return None;
        }
        self.waits.of(subject).lock().subjects.expiry(subject, now)
    }

    fn waits(&self, after: Option<&(Timestamp, Subject)>, count: usize, now: Timestamp) -> Vec<Wait> {
        // A page at a time of what has no order: each look costs a walk over all.
        let mut page: BTreeMap<(Timestamp, Subject), Wait> = BTreeMap::new();
        for shard in self.waits.iter() {
            for (subject, waiting, until) in shard.lock().subjects.iter(now) {
                let place = (until, subject.clone());
                let is_last = page.len() >= count && page.last_key_value().is_none_or(|(last, _)| *last < place);
                if is_last || after.is_some_and(|after| place <= *after) {
                    continue;
                }
                let (since, cause) = (waiting.since, Arc::clone(&waiting.cause));
                page.insert(place, Wait { subject: subject.clone(), since, until, cause });
                if page.len() > count {
                    page.pop_last();
                }
            }
        }
        page.into_values().collect()
    }

    fn sizes(&self) -> Sizes {
        let mut sizes = Sizes { bans: self.bans.len(), ..Sizes::default() };
        for shard in self.waits.iter() {
            let waits = shard.lock();
            sizes.waits += waits.subjects.len();
            sizes.waits_evicted += waits.evicted;
        }
        let tables: Vec<_> = self.states.lock().values().cloned().collect();
        sizes.tables = tables.iter().map(|table| table.size()).collect();
        sizes.tables.sort_by(|one, other| one.policy.cmp(&other.policy));
        sizes
    }

    fn sweep(&self, now: Timestamp) {
        self.bans.sweep(now);
        for shard in self.waits.iter() {
            shard.lock().subjects.sweep(now);
        }
        let tables: Vec<_> = self.states.lock().values().cloned().collect();
        for table in tables {
            table.sweep(now);
        }
    }
}
