//! Events judged on several threads at once, to the same end as one after another.
//!
//! Two events can only concern each other if they have a source or a client
//! auth id in common, directly or through others between them. A batch is cut
//! into such groups, and each lane judges some of the groups, in their order.
//! Sources count by the widest network that a ban may cover, so that no ban
//! reaches into another lane.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::play::{Done, Occurrence, Player};

/// Most threads that judge: what lies between batches isn't cut, so more wouldn't pay.
const LANES_MAX: usize = 8;
/// Fewer events aren't worth waking anyone.
const EVENTS_MIN: usize = 256;
/// Bits of an IPv4 address that events are told apart by: the widest ban (rule 4).
const V4_PREFIX: u32 = 16;
/// The same for IPv6.
const V6_PREFIX: u32 = 32;

/// Events of one batch, each with the lane that judges it.
struct Batch {
    events: Vec<Occurrence>,
    lanes: Vec<u8>,
}

/// Threads that judge beside the one that reads out what came of it.
pub(super) struct Lanes {
    workers: Vec<Worker>,
}

struct Worker {
    work: Option<SyncSender<Arc<Batch>>>,
    done: Receiver<Vec<Done>>,
    thread: Option<JoinHandle<()>>,
}

impl Lanes {
    /// As many as there are cores. Without a second core, or a thread to be
    /// had, there are none, and everything is judged in turn.
    pub(super) fn start(player: &Player) -> Self {
        Self::of(thread::available_parallelism().map_or(1, NonZeroUsize::get), player)
    }

    /// So many in all, the caller's own thread among them.
    pub(super) fn of(lanes: usize, player: &Player) -> Self {
        let workers =
            (1..lanes.min(LANES_MAX)).map_while(|lane| Worker::start(u8::try_from(lane).ok()?, player.beside()).ok());
        Self { workers: workers.collect() }
    }

    /// Has all events judged; what came of each, in their order. `alone` keeps
    /// them in one lane.
    pub(super) fn play(&self, player: &Player, events: Vec<Occurrence>, alone: bool) -> Vec<(Occurrence, Done)> {
        if self.workers.is_empty() || events.len() < EVENTS_MIN || alone {
            return in_turn(player, events);
        }
        let Some(lanes) = assign(&events, self.workers.len() + 1) else { return in_turn(player, events) };
        let batch = Arc::new(Batch { events, lanes });
        for worker in &self.workers {
            worker.begin(&batch);
        }
        let own = batch.of(0).map(|event| player.play(event)).collect::<Vec<_>>().into_iter();
        let mut all: Vec<_> = std::iter::once(own).chain(self.workers.iter().map(Worker::finish)).collect();
        let Batch { events, lanes } = Arc::try_unwrap(batch).unwrap_or_else(|shared| shared.copy());
        let pairs = events.into_iter().zip(lanes);
        pairs.filter_map(|(event, lane)| Some((event, all.get_mut(usize::from(lane))?.next()?))).collect()
    }
}

fn in_turn(player: &Player, events: Vec<Occurrence>) -> Vec<(Occurrence, Done)> {
    let play = |event: Occurrence| {
        let done = player.play(&event);
        (event, done)
    };
    events.into_iter().map(play).collect()
}

impl Batch {
    fn of(&self, lane: u8) -> impl Iterator<Item = &Occurrence> {
        self.events.iter().zip(&self.lanes).filter(move |(_, of)| **of == lane).map(|(event, _)| event)
    }

    /// Only where a worker that has answered hasn't let go yet.
    fn copy(&self) -> Self {
        Self { events: self.events.clone(), lanes: self.lanes.clone() }
    }
}

impl Worker {
    fn start(lane: u8, player: Player) -> std::io::Result<Self> {
        let (work, batches) = sync_channel::<Arc<Batch>>(1);
        let (answer, done) = sync_channel(1);
        let judge = move || {
            for batch in batches {
                let played = batch.of(lane).map(|event| player.play(event)).collect();
                drop(batch);
                if answer.send(played).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name(format!("replay-{lane}")).spawn(judge)?;
        Ok(Self { work: Some(work), done, thread: Some(thread) })
    }

    fn begin(&self, batch: &Arc<Batch>) {
        if let Some(work) = &self.work {
            // Whoever panicked is met when its answer is waited for.
            let _ = work.send(Arc::clone(batch));
        }
    }

    fn finish(&self) -> std::vec::IntoIter<Done> {
        // Without an answer its events would be lost without a word.
        self.done.recv().expect("a thread that judges has panicked").into_iter()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _its_panic_has_been_told = thread.join();
        }
    }
}

/// The lane of each event; none if they all belong together.
fn assign(events: &[Occurrence], lanes: usize) -> Option<Vec<u8>> {
    let mut groups = Groups((0..events.len()).collect());
    let mut first_of: HashMap<Key<'_>, usize, foldhash::fast::RandomState> = HashMap::default();
    for (index, event) in events.iter().enumerate() {
        let client = event.client.as_ref().map(|client| Key::Client(client.as_str()));
        for key in [Some(Key::of(event.entry.from)), client].into_iter().flatten() {
            let first = *first_of.entry(key).or_insert(index);
            groups.join(first, index);
        }
    }
    let mut sizes = vec![0_u32; events.len()];
    let roots: Vec<usize> = (0..events.len()).map(|index| groups.root(index)).collect();
    roots.iter().for_each(|&root| sizes[root] += 1);
    // Each group goes to whoever has least to do yet, in the order of their first events.
    let mut load = vec![0_u32; lanes];
    let mut lane_of: Vec<Option<u8>> = vec![None; events.len()];
    let mut assigned = Vec::with_capacity(events.len());
    for root in roots {
        let lane = match lane_of[root] {
            Some(lane) => lane,
            None => {
                let (lane, least) = load.iter_mut().enumerate().min_by_key(|(_, load)| **load)?;
                *least += sizes[root];
                let lane = u8::try_from(lane).ok()?;
                lane_of[root] = Some(lane);
                lane
            }
        };
        assigned.push(lane);
    }
    (load.iter().filter(|load| **load > 0).count() > 1).then_some(assigned)
}

/// What two events can have in common.
#[derive(PartialEq, Eq, Hash)]
enum Key<'e> {
    V4(u32),
    V6(u128),
    Client(&'e str),
}

impl Key<'_> {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits() >> (32 - V4_PREFIX)),
            IpAddr::V6(v6) => Self::V6(v6.to_bits() >> (128 - V6_PREFIX)),
        }
    }
}

/// Disjoint sets of events: each names another of its set, the root itself.
struct Groups(Vec<usize>);

impl Groups {
    fn root(&mut self, mut index: usize) -> usize {
        while self.0[index] != index {
            // Halves the way for whoever comes next.
            self.0[index] = self.0[self.0[index]];
            index = self.0[index];
        }
        index
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other)] = one.min(other);
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use portcullis_domain::{ClientId, Outcome, Timestamp};

    use super::*;
    use crate::logs::{Entry, What};

    fn event(from: &str, client: &str) -> Occurrence {
        let at = Timestamp::from_millis(0);
        let entry = Entry {
            at,
            from: from.parse().unwrap(),
            client: None,
            what: What::Login(Outcome::Failure),
            offence: true,
            facts: None,
        };
        Occurrence { entry, client: (!client.is_empty()).then(|| ClientId::new(client).unwrap()), at }
    }

    #[test]
    fn what_can_concern_each_other_is_in_one_lane() {
        let events = [
            event("203.0.113.7", "abc"),
            event("198.51.100.7", "xyz"),
            event("203.0.200.1", ""),
            event("192.0.2.1", "abc"),
            event("2001:db8:1::1", "xyz"),
            event("2001:db8:ffff::1", ""),
            event("::ffff:192.0.77.77", ""),
        ];
        let lanes = assign(&events, 2).unwrap();
        // 203.0/16, abc, 192.0/16; and 198.51/16, xyz, 2001:db8/32.
        assert_eq!(lanes, [0, 1, 0, 0, 1, 1, 0]);
    }

    #[test]
    fn one_group_is_no_work_for_two() {
        let events = [event("203.0.113.7", "abc"), event("198.51.100.7", "abc")];
        assert_eq!(assign(&events, 2), None);
    }

    #[test]
    fn lanes_are_filled_evenly() {
        let names: Vec<Cow<'_, str>> = (0..1000_u32).map(|n| format!("10.{}.0.1", n % 250).into()).collect();
        let events: Vec<_> = names.iter().map(|from| event(from, "")).collect();
        let lanes = assign(&events, 4).unwrap();
        for lane in 0..4_u8 {
            let share = lanes.iter().filter(|of| **of == lane).count();
            assert!((200..=300).contains(&share), "lane {lane} has {share}");
        }
    }
}
