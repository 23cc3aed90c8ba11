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
/// What the thread of the first lane does beside judging, for so many events, is
/// worth judging one.
const OWN_SHARE: usize = 4;
/// Fewer events aren't worth waking anyone.
const EVENTS_MIN: usize = 256;
/// Bits of an IPv4 address that events are told apart by: the widest ban (rule 4).
const V4_PREFIX: u32 = 16;
/// The same for IPv6.
const V6_PREFIX: u32 = 32;

/// Events of one batch, each with the lane that judges it.
struct Batch {
    events: Vec<Occurrence>,
    /// Empty where all are in the first.
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

/// Events that are cut into groups and not yet judged.
pub(super) struct Prepared(Batch);

/// Events that are being judged.
pub(super) struct Flying {
    batch: Arc<Batch>,
    own: Vec<Done>,
}

/// Events that have been judged.
pub(super) struct Landed {
    batch: Arc<Batch>,
    done: Vec<std::vec::IntoIter<Done>>,
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

    /// Cuts events into groups; `alone` keeps them in one lane. Others may be
    /// judged meanwhile.
    pub(super) fn prepare(&self, events: Vec<Occurrence>, alone: bool) -> Prepared {
        let cut = !self.workers.is_empty() && events.len() >= EVENTS_MIN && !alone;
        let lanes = cut.then(|| assign(&events, self.workers.len() + 1)).flatten();
        Prepared(Batch { events, lanes: lanes.unwrap_or_default() })
    }

    /// Has events judged, while nothing else is being judged: the caller's part
    /// is done when this returns.
    pub(super) fn begin(&self, player: &Player, Prepared(batch): Prepared) -> Flying {
        let batch = Arc::new(batch);
        if batch.is_cut() {
            self.workers.iter().for_each(|worker| worker.begin(&batch));
        }
        let own = batch.of(0).map(|event| player.play(event)).collect();
        Flying { batch, own }
    }

    /// Waits until all are judged.
    pub(super) fn land(&self, Flying { batch, own }: Flying) -> Landed {
        let mut done = vec![own.into_iter()];
        if batch.is_cut() {
            done.extend(self.workers.iter().map(Worker::finish));
        }
        Landed { batch, done }
    }
}

impl Landed {
    /// What came of each event, in their order.
    pub(super) fn each(mut self, mut note: impl FnMut(&Occurrence, Done)) {
        for (index, event) in self.batch.events.iter().enumerate() {
            let lane = self.batch.lanes.get(index).copied().unwrap_or_default();
            if let Some(done) = self.done.get_mut(usize::from(lane)).and_then(Iterator::next) {
                note(event, done);
            }
        }
    }
}

impl Batch {
    fn is_cut(&self) -> bool {
        !self.lanes.is_empty()
    }

    fn of(&self, lane: u8) -> impl Iterator<Item = &Occurrence> {
        let lanes = self.lanes.iter().copied().chain(std::iter::repeat(0));
        self.events.iter().zip(lanes).filter(move |(_, of)| *of == lane).map(|(event, _)| event)
    }
}

impl Worker {
    fn start(lane: u8, player: Player) -> std::io::Result<Self> {
        let (work, batches) = sync_channel::<Arc<Batch>>(1);
        let (answer, done) = sync_channel(1);
        let judge = move || {
            for batch in batches {
                if answer.send(batch.of(lane).map(|event| player.play(event)).collect()).is_err() {
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
    // The first lane's thread does all the rest as well.
    load[0] = u32::try_from(events.len() / OWN_SHARE).unwrap_or(u32::MAX);
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
    assigned.iter().any(|lane| *lane != assigned[0]).then_some(assigned)
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
        assert_eq!(lanes, [1, 0, 1, 1, 0, 0, 1]);
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
        let share = |lane: u8| lanes.iter().filter(|of| **of == lane).count();
        assert!((50..=80).contains(&share(0)), "the first has more to do: {}", share(0));
        for lane in 1..4 {
            assert!((300..=325).contains(&share(lane)), "lane {lane} has {}", share(lane));
        }
    }
}
