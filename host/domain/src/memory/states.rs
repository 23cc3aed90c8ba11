//! Kept state, and the one place that makes "read, judge, commit" one step.

use std::sync::Arc;

use smallvec::SmallVec;

use super::entry::{Data, FormatNumber, Key, KeyRef};
use super::{KeptEntry, Recording};
use crate::judge::{Kept, StateFormat};
use crate::maps::{BoundedMap, Shards};
use crate::store::{Held, Table, TableSize};
use crate::subject::Subject;
use crate::sync::{Condvar, Mutex};
use crate::time::{Clock, Timestamp};
use crate::verdict::{Keep, StateBytes};

struct Shard {
    kept: BoundedMap<Key, Data>,
    /// Hashes of the subjects that are held now: at most one per calling thread. Two
    /// that share one wait for each other, as if they were the same.
    held: SmallVec<[u64; 4]>,
    /// Callers that wait for one of them.
    waiting: usize,
    /// Live states that had to go for others, so far.
    evicted: u64,
}

/// The states of one policy, under every format it ever had.
pub(crate) struct States {
    policy: Arc<str>,
    shards: Shards<Shard>,
    /// Rung once for whoever waits in a shard; as many as there are shards.
    released: Box<[Condvar]>,
    formats: Mutex<Vec<StateFormat>>,
    recording: Recording,
}

impl States {
    pub(crate) fn new(policy: Arc<str>, capacity: usize, recording: Recording) -> Self {
        let make = |capacity| Shard { kept: BoundedMap::new(capacity), held: SmallVec::new(), waiting: 0, evicted: 0 };
        let shards = Shards::new(capacity, make);
        let released = shards.iter().map(|_| Condvar::new()).collect();
        Self { policy, shards, released, formats: Mutex::new(Vec::new()), recording }
    }

    pub(crate) fn sweep(&self, now: Timestamp) {
        for shard in self.shards.iter() {
            shard.lock().kept.sweep(now);
        }
    }

    pub(crate) fn size(&self) -> TableSize {
        let mut size = TableSize { policy: Arc::clone(&self.policy), states: 0, evicted: 0 };
        for shard in self.shards.iter() {
            let shard = shard.lock();
            size.states += shard.kept.len();
            size.evicted += shard.evicted;
        }
        size
    }

    /// Takes over what was kept elsewhere; nothing is recorded.
    pub(crate) fn restore(&self, format: &StateFormat, entries: impl IntoIterator<Item = KeptEntry>, now: Timestamp) {
        let format = self.number(format);
        let entries = entries.into_iter();
        let each = entries.size_hint().0 / self.released.len();
        if each > 0 {
            self.shards.iter().for_each(|shard| shard.lock().kept.reserve(each));
        }
        for KeptEntry { subject, data, expires } in entries.filter(|entry| now < entry.expires) {
            let shard = self.shards.of(&subject);
            shard.lock().kept.restore(Key::new(&subject, format), Data::new(&data), expires, now);
        }
    }

    /// Hands over what is kept, shard by shard and format by format.
    pub(crate) fn each(&self, now: Timestamp, mut take: impl FnMut(&StateFormat, Vec<KeptEntry>)) {
        for shard in self.shards.iter() {
            let mut by_format: SmallVec<[(FormatNumber, Vec<KeptEntry>); 2]> = SmallVec::new();
            for (key, data, expires) in shard.lock().kept.iter(now) {
                let entry = KeptEntry { subject: key.subject(), data: data.to_bytes(), expires };
                match by_format.iter_mut().find(|(format, _)| *format == key.format()) {
                    Some((_, entries)) => entries.push(entry),
                    None => by_format.push((key.format(), vec![entry])),
                }
            }
            for (number, entries) in by_format {
                if let Some(format) = self.format(number) {
                    take(&format, entries);
                }
            }
        }
    }

    fn format(&self, number: FormatNumber) -> Option<StateFormat> {
        self.formats.lock().get(usize::from(number)).cloned()
    }

    fn number(&self, format: &StateFormat) -> FormatNumber {
        let mut formats = self.formats.lock();
        let index = formats.iter().position(|known| known == format).unwrap_or_else(|| {
            formats.push(format.clone());
            formats.len() - 1
        });
        // Only an operator adds formats, one per swap: the number never runs out.
        FormatNumber::try_from(index).unwrap_or(FormatNumber::MAX)
    }
}

/// A policy's states together with the formats that its judge speaks.
pub(crate) struct StatesTable {
    states: Arc<States>,
    formats: SmallVec<[FormatNumber; 2]>,
}

impl StatesTable {
    pub(crate) fn new(states: Arc<States>, formats: &[StateFormat]) -> Self {
        let formats = formats.iter().map(|format| states.number(format)).collect();
        Self { states, formats }
    }
}

impl Table for StatesTable {
    fn hold(&self, subject: &Subject, clock: &dyn Clock, judge: &mut dyn FnMut(Timestamp, &mut dyn Held)) {
        let hash = self.states.shards.hash(subject);
        let index = self.states.shards.index(hash);
        let released = &self.states.released[index];
        let lock = self.states.shards.at(index);
        let mut shard = lock.lock();
        while shard.held.contains(&hash) {
            shard.waiting += 1;
            shard = released.wait(shard);
            shard.waiting -= 1;
        }
        // What was seen elsewhere may come later than what happened after it.
        let (now, own) = match self.formats.first() {
            Some(&format) => shard.kept.get_not_before(&KeyRef { subject, format }, clock.now()),
            None => (clock.now(), None),
        };
        let own = own.map(|data| data.to_bytes());
        shard.held.push(hash);
        drop(shard);
        // Its drop commits and releases, whatever happens inside.
        let states = &*self.states;
        let mut holding =
            Holding { states, lock, released, subject, hash, formats: &self.formats, now, own, pending: None };
        judge(now, &mut holding);
    }
}

impl Shard {
    fn read(&mut self, subject: &Subject, format: FormatNumber, now: Timestamp) -> Option<StateBytes> {
        self.kept.get(&KeyRef { subject, format }, now).map(|data| data.to_bytes())
    }

    fn commit(&mut self, states: &States, subject: &Subject, format: FormatNumber, keep: Keep, now: Timestamp) {
        if keep == Keep::Unchanged {
            return;
        }
        let recorder = states.recording.as_ref().and_then(|recorder| Some((recorder, states.format(format)?)));
        match keep {
            Keep::Unchanged => {}
            Keep::Forget => {
                let had = self.kept.take(&KeyRef { subject, format }, now).is_some();
                if let Some((recorder, format)) = recorder.filter(|_| had) {
                    recorder.forgot(&states.policy, &format, subject);
                }
            }
            Keep::Put(kept) => {
                let expires = kept.ttl.map_or(Timestamp::MAX, |ttl| now.after(ttl));
                if let Some((recorder, format)) = &recorder {
                    recorder.kept(&states.policy, format, subject, &kept.data, expires);
                }
                let evicted = self.kept.insert(Key::new(subject, format), Data::new(&kept.data), expires, now);
                let Some(evicted) = evicted else { return };
                self.evicted += 1;
                if let Some(((recorder, _), format)) = recorder.zip(states.format(evicted.format())) {
                    recorder.forgot(&states.policy, &format, &evicted.subject());
                }
            }
        }
    }
}

struct Holding<'a> {
    states: &'a States,
    lock: &'a Mutex<Shard>,
    released: &'a Condvar,
    subject: &'a Subject,
    hash: u64,
    formats: &'a [FormatNumber],
    now: Timestamp,
    /// What is kept under the judge's own format, read when the subject was taken.
    own: Option<StateBytes>,
    pending: Option<(FormatNumber, Keep)>,
}

impl Kept for Holding<'_> {
    fn read(&self, format: usize) -> Option<StateBytes> {
        match format {
            // A clone of a small vector goes byte by byte.
            0 => self.own.as_deref().map(StateBytes::from_slice),
            other => self.lock.lock().read(self.subject, *self.formats.get(other)?, self.now),
        }
    }
}

impl Held for Holding<'_> {
    fn keep(&mut self, format: usize, keep: Keep) {
        self.pending = self.formats.get(format).map(|&number| (number, keep));
    }

    fn as_kept(&self) -> &dyn Kept {
        self
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        let mut shard = self.lock.lock();
        if let Some((format, keep)) = self.pending.take() {
            shard.commit(self.states, self.subject, format, keep, self.now);
        }
        if let Some(index) = shard.held.iter().position(|held| *held == self.hash) {
            shard.held.swap_remove(index);
        }
        let someone_waits = shard.waiting > 0;
        drop(shard);
        if someone_waits {
            self.released.notify_all();
        }
    }
}
