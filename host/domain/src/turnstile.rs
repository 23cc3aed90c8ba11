//! Attempts one at a time per client auth id, a few at a time per source (rule 12).
//!
//! A thousand parallel guesses at one id get one look at the secret per wait,
//! and a ban is overshot by no more than the few of one source. Runtime
//! neutral: an [`Entry`] is a plain future; who polls it, and how long it may
//! take, is the caller's affair.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::quality::RandomState;
use ipnet::IpNet;

use crate::event::ClientId;
use crate::sync::Mutex;

/// Attempts that may queue for one client auth id.
pub const QUEUE_PER_ID_MAX: usize = 16;
/// Attempts that may queue for one source.
pub const QUEUE_PER_SOURCE_MAX: usize = 64;
/// How long an attempt may queue; after that it is over the bound.
pub const QUEUE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long an attempt may keep others of its id from their turn. Shorter than
/// [`QUEUE_TIME_MAX`], so that nobody can lock an owner out by sending slowly.
pub const TURN_TIME_MAX: Duration = Duration::from_secs(4);

/// The queue for this id or this source is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts are waiting for their turn")]
pub struct QueueFull;

/// Hands out turns.
#[derive(Debug, Default)]
pub struct Turnstile {
    lanes: Mutex<Lanes>,
}

type Ticket = u64;

#[derive(Debug, Default)]
struct Lanes {
    ids: HashMap<ClientId, Lane, RandomState>,
    sources: HashMap<IpNet, Lane, RandomState>,
    waiters: HashMap<Ticket, Waiter, RandomState>,
    next_ticket: Ticket,
    inflight_per_source_max: usize,
}

/// What goes on for one id or one source; gone when nothing does.
#[derive(Debug, Default)]
struct Lane {
    inflight: usize,
    /// In the order of arrival.
    queue: VecDeque<Ticket>,
}

#[derive(Debug)]
struct Waiter {
    place: Place,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    Waiting(Option<Waker>),
    Granted,
}

/// What a turn occupies.
#[derive(Clone, Debug)]
struct Place {
    id: Option<ClientId>,
    source: IpNet,
}

/// Proof that its attempt is the only one under way for its id and one of the
/// few of its source. Dropping it lets the next one in.
#[derive(Debug)]
#[must_use = "a turn that is dropped lets the next attempt in"]
pub struct Turn {
    turnstile: Arc<Turnstile>,
    place: Place,
}

impl Turn {
    /// Lets the next attempt of the same id in while this one goes on; it still
    /// counts as one of its source's.
    pub fn yield_id(&mut self) {
        if let Some(id) = self.place.id.take() {
            self.turnstile.release_id(id, self.place.source);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turnstile.release(&self.place);
    }
}

/// A place in the queue, or a turn at once. Dropping it gives the place up.
#[derive(Debug)]
#[must_use = "an entry does nothing unless polled"]
pub struct Entry {
    turnstile: Arc<Turnstile>,
    stand: Stand,
}

/// Where an entry stands.
#[derive(Debug)]
enum Stand {
    /// Nobody was in its way: it never was in the queue.
    Turn(Turn),
    Queued(Ticket),
    /// The turn has been handed out.
    Over,
}

impl Turnstile {
    /// A turnstile that lets in `inflight_per_source_max` attempts of one source at once.
    #[must_use]
    pub fn new(inflight_per_source_max: usize) -> Self {
        let turnstile = Self::default();
        turnstile.set_inflight_per_source_max(inflight_per_source_max);
        turnstile
    }

    /// Changes how many attempts of one source may be under way at once; at
    /// least one. Whoever queues goes on by it from the next turn given back.
    pub fn set_inflight_per_source_max(&self, inflight: usize) {
        self.lanes.lock().inflight_per_source_max = inflight.max(1);
    }

    /// Queues for a turn.
    ///
    /// # Errors
    /// [`QueueFull`] if [`QUEUE_PER_ID_MAX`] or [`QUEUE_PER_SOURCE_MAX`] are waiting already.
    pub fn enter(self: &Arc<Self>, id: Option<&ClientId>, source: IpNet) -> Result<Entry, QueueFull> {
        let place = Place { id: id.cloned(), source };
        let mut lanes = self.lanes.lock();
        // Whoever waits can't go now, since every release lets in all who can:
        // an attempt that can go overtakes nobody.
        let stand = if lanes.is_free(&place) {
            lanes.occupy(&place);
            Stand::Turn(Turn { turnstile: Arc::clone(self), place })
        } else {
            let ticket = lanes.next_ticket;
            lanes.next_ticket += 1;
            lanes.queue(&place, ticket)?;
            lanes.waiters.insert(ticket, Waiter { place, progress: Progress::Waiting(None) });
            Stand::Queued(ticket)
        };
        drop(lanes);
        Ok(Entry { turnstile: Arc::clone(self), stand })
    }

    fn release(&self, place: &Place) {
        let mut lanes = self.lanes.lock();
        lanes.vacate(place);
        let wakers = lanes.let_in(place);
        drop(lanes);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn release_id(&self, id: ClientId, source: IpNet) {
        let mut lanes = self.lanes.lock();
        lanes.vacate_id(&id);
        let wakers = lanes.let_in(&Place { id: Some(id), source });
        drop(lanes);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether nothing is under way or waiting: for tests of leaks.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let lanes = self.lanes.lock();
        lanes.ids.is_empty() && lanes.sources.is_empty() && lanes.waiters.is_empty()
    }
}

impl Lanes {
    fn is_free(&self, place: &Place) -> bool {
        let id_free = place.id.as_ref().is_none_or(|id| self.ids.get(id).is_none_or(|lane| lane.inflight == 0));
        let source_free =
            self.sources.get(&place.source).is_none_or(|lane| lane.inflight < self.inflight_per_source_max);
        id_free && source_free
    }

    fn occupy(&mut self, place: &Place) {
        self.sources.entry(place.source).or_default().inflight += 1;
        if let Some(id) = &place.id {
            self.ids.entry(id.clone()).or_default().inflight += 1;
        }
    }

    fn vacate(&mut self, place: &Place) {
        self.change_source(place.source, Lane::vacate);
        if let Some(id) = &place.id {
            self.vacate_id(id);
        }
    }

    fn vacate_id(&mut self, id: &ClientId) {
        self.change_id(id, Lane::vacate);
    }

    fn queue(&mut self, place: &Place, ticket: Ticket) -> Result<(), QueueFull> {
        let queued = |lane: Option<&Lane>| lane.map_or(0, |lane| lane.queue.len());
        if queued(self.sources.get(&place.source)) >= QUEUE_PER_SOURCE_MAX {
            return Err(QueueFull);
        }
        if let Some(id) = &place.id {
            if queued(self.ids.get(id)) >= QUEUE_PER_ID_MAX {
                return Err(QueueFull);
            }
            self.ids.entry(id.clone()).or_default().queue.push_back(ticket);
        }
        self.sources.entry(place.source).or_default().queue.push_back(ticket);
        Ok(())
    }

    fn leave_queue(&mut self, place: &Place, ticket: Ticket) {
        let leave = |lane: &mut Lane| lane.queue.retain(|&queued| queued != ticket);
        self.change_source(place.source, leave);
        if let Some(id) = &place.id {
            self.change_id(id, leave);
        }
    }

    /// Lets in everyone who can go now that `place` has become free, the
    /// longest waiting first; gives the wakers to call once the lock is gone.
    fn let_in(&mut self, place: &Place) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some(ticket) = self.next_in(place) {
            let Some(waiter) = self.waiters.get_mut(&ticket) else { break };
            if let Progress::Waiting(Some(waker)) = std::mem::replace(&mut waiter.progress, Progress::Granted) {
                wakers.push(waker);
            }
            let place = waiter.place.clone();
            self.leave_queue(&place, ticket);
            self.occupy(&place);
        }
        wakers
    }

    fn next_in(&self, place: &Place) -> Option<Ticket> {
        let same_source = self.sources.get(&place.source).into_iter();
        let same_id = place.id.as_ref().and_then(|id| self.ids.get(id)).into_iter();
        same_source
            .chain(same_id)
            .flat_map(|lane| lane.queue.iter().copied())
            .filter(|ticket| self.waiters.get(ticket).is_some_and(|waiter| self.is_free(&waiter.place)))
            .min()
    }

    fn change_source(&mut self, source: IpNet, change: impl FnOnce(&mut Lane)) {
        let Some(lane) = self.sources.get_mut(&source) else { return };
        change(lane);
        if lane.is_over() {
            self.sources.remove(&source);
        }
    }

    fn change_id(&mut self, id: &ClientId, change: impl FnOnce(&mut Lane)) {
        let Some(lane) = self.ids.get_mut(id) else { return };
        change(lane);
        if lane.is_over() {
            self.ids.remove(id);
        }
    }
}

impl Lane {
    fn vacate(&mut self) {
        self.inflight = self.inflight.saturating_sub(1);
    }

    fn is_over(&self) -> bool {
        self.inflight == 0 && self.queue.is_empty()
    }
}

impl Entry {
    /// Whether nobody was in its way: it is ready without any waiting.
    #[must_use]
    pub const fn is_turn(&self) -> bool {
        matches!(self.stand, Stand::Turn(_))
    }
}

impl Future for Entry {
    type Output = Turn;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Turn> {
        let ticket = match std::mem::replace(&mut self.stand, Stand::Over) {
            Stand::Turn(turn) => return Poll::Ready(turn),
            Stand::Queued(ticket) => ticket,
            // Polled after it was ready, which the contract of futures forbids.
            Stand::Over => return Poll::Pending,
        };
        let mut lanes = self.turnstile.lanes.lock();
        if let Some(Waiter { progress: Progress::Waiting(waker), .. }) = lanes.waiters.get_mut(&ticket) {
            *waker = Some(context.waker().clone());
            drop(lanes);
            self.stand = Stand::Queued(ticket);
            return Poll::Pending;
        }
        let granted = lanes.waiters.remove(&ticket);
        drop(lanes);
        match granted {
            Some(Waiter { place, .. }) => Poll::Ready(Turn { turnstile: Arc::clone(&self.turnstile), place }),
            None => Poll::Pending,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // A turn gives itself back.
        let Stand::Queued(ticket) = self.stand else { return };
        let mut lanes = self.turnstile.lanes.lock();
        let Some(waiter) = lanes.waiters.remove(&ticket) else { return };
        match waiter.progress {
            Progress::Waiting(_) => {
                lanes.leave_queue(&waiter.place, ticket);
            }
            Progress::Granted => {
                drop(lanes);
                self.turnstile.release(&waiter.place);
            }
        }
    }
}
