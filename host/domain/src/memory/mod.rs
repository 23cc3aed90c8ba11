//! The store in memory: kept state, waits and bans, each with a capacity (rule 20).

mod bans;
mod bounded;
mod shards;
mod states;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ipnet::IpNet;

use crate::judge::StateFormat;
use crate::store::{Placed, Store, Subject, Table};
use crate::sync::{AtomicU64, Mutex};
use crate::time::Timestamp;

use bans::Bans;
pub(crate) use bounded::BoundedMap;
pub(crate) use shards::Shards;
use states::{States, StatesTable};

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
    states: Mutex<HashMap<Box<str>, Arc<States>>>,
    waits: Shards<BoundedMap<Subject, ()>>,
    /// The latest end that any wait ever had: after it nobody waits, and
    /// nothing needs to be looked up.
    last_wait_ends: AtomicU64,
    bans: Bans,
}

impl MemoryStore {
    /// An empty store of that capacity.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            states: Mutex::new(HashMap::new()),
            waits: Shards::new(capacity.waits, BoundedMap::new),
            last_wait_ends: AtomicU64::new(0),
            bans: Bans::new(capacity.bans),
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Capacity::default())
    }
}

impl Store for MemoryStore {
    fn table(&self, policy: &str, formats: &[StateFormat]) -> Arc<dyn Table> {
        let mut tables = self.states.lock();
        let states = tables.entry(policy.into()).or_insert_with(|| Arc::new(States::new(self.capacity.states)));
        Arc::new(StatesTable::new(Arc::clone(states), formats))
    }

    fn ban(&self, network: IpNet, until: Timestamp, now: Timestamp) -> Placed {
        self.bans.place(network, until, now)
    }

    fn banned_until(&self, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        self.bans.until(address, now)
    }

    fn wait(&self, subject: &Subject, until: Timestamp, now: Timestamp) -> Placed {
        let mut waits = self.waits.of(subject).lock();
        if let Some(running) = waits.expiry(subject, now)
            && running >= until
        {
            return Placed { until: running, changed: false, displaced: None };
        }
        waits.insert(subject.clone(), (), until, now);
        self.last_wait_ends.fetch_max(until.as_millis(), Ordering::Release);
        Placed { until, changed: true, displaced: None }
    }

    fn waits_until(&self, subject: &Subject, now: Timestamp) -> Option<Timestamp> {
        if self.last_wait_ends.load(Ordering::Acquire) <= now.as_millis() {
            return None;
        }
        self.waits.of(subject).lock().expiry(subject, now)
    }

    fn sweep(&self, now: Timestamp) {
        self.bans.sweep(now);
        for shard in self.waits.iter() {
            shard.lock().sweep(now);
        }
        let tables: Vec<_> = self.states.lock().values().cloned().collect();
        for table in tables {
            table.sweep(now);
        }
    }
}
