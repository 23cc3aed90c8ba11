//! The way from those who hear of things to the thread that writes: one buffer
//! of frames, bounded, that is handed over as a whole.
//!
//! Who writes encodes on its own thread, and copies under the lock. It wakes
//! nobody: the thread comes by itself, unless there is much to do.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use portcullis_harness::journal::record::Record;
use portcullis_harness::journal::segment;

/// Bytes that may wait to be written.
pub(super) const WAITING_BYTES_MAX: usize = 8 << 20;
/// With so many the thread is woken.
const WAKING_BYTES: usize = 1 << 20;
/// What waits is written this often.
pub(super) const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// Longest wait for the thread at the end.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for it in between.
const SETTLE_PATIENCE: Duration = Duration::from_secs(1);
/// A buffer that is larger isn't kept for the next frames.
const SPARE_BYTES_MAX: usize = 2 << 20;

/// What waits, and what is wanted of the thread.
#[derive(Default)]
struct Waiting {
    frames: Vec<u8>,
    records: u64,
    /// How a segment begins: with what is in force.
    opening: Arc<[u8]>,
    /// How often somebody has asked for everything to be written.
    asked: u64,
    /// Up to which of these it is.
    answered: u64,
    closed: bool,
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// The thread waits here.
    work: Condvar,
    /// Those who want everything to be written wait here.
    settled: Condvar,
}

/// What the thread takes at once.
pub(super) struct Taken {
    pub(super) frames: Vec<u8>,
    pub(super) records: u64,
    pub(super) opening: Arc<[u8]>,
    pub(super) closed: bool,
    asked: u64,
}

impl Queue {
    /// Queues a record; false if there is no room for it.
    pub(super) fn put(&self, record: &Record<'_>) -> bool {
        thread_local! {
            static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        SCRATCH.with_borrow_mut(|frame| {
            frame.clear();
            segment::append(frame, record) && self.put_frame(frame)
        })
    }

    fn put_frame(&self, frame: &[u8]) -> bool {
        let mut waiting = self.waiting.lock();
        let (before, after) = (waiting.frames.len(), waiting.frames.len() + frame.len());
        if after > WAITING_BYTES_MAX || waiting.closed {
            return false;
        }
        waiting.frames.extend_from_slice(frame);
        waiting.records += 1;
        drop(waiting);
        if before < WAKING_BYTES && after >= WAKING_BYTES {
            self.work.notify_one();
        }
        true
    }

    /// Queues what is in force, whether there is room or not, and has each
    /// segment that is begun from now on begin with it; false if it is too long.
    pub(super) fn in_force(&self, now: &Record<'_>, later: &Record<'_>) -> bool {
        let (mut frame, mut opening) = (Vec::new(), Vec::new());
        if !(segment::append(&mut frame, now) && segment::append(&mut opening, later)) {
            return false;
        }
        let mut waiting = self.waiting.lock();
        waiting.frames.extend_from_slice(&frame);
        waiting.records += 1;
        waiting.opening = opening.into();
        true
    }

    /// Waits until there is something to do.
    pub(super) fn wait(&self) {
        let idle = |waiting: &mut Waiting| {
            !waiting.closed && waiting.asked == waiting.answered && waiting.frames.len() < WAKING_BYTES
        };
        // When nothing happens that long, what there is is enough.
        let _timed_out = self.work.wait_while_for(&mut self.waiting.lock(), idle, FLUSH_INTERVAL);
    }

    /// Takes what there is to do. `spare` is a buffer to go on with.
    pub(super) fn take(&self, mut spare: Vec<u8>) -> Taken {
        spare.clear();
        if spare.capacity() > SPARE_BYTES_MAX {
            spare = Vec::new();
        }
        let mut waiting = self.waiting.lock();
        Taken {
            frames: std::mem::replace(&mut waiting.frames, spare),
            records: std::mem::take(&mut waiting.records),
            opening: Arc::clone(&waiting.opening),
            closed: waiting.closed,
            asked: waiting.asked,
        }
    }

    /// What was taken is where it belongs, or lost.
    pub(super) fn done(&self, taken: &Taken) {
        let mut waiting = self.waiting.lock();
        waiting.answered = waiting.answered.max(taken.asked);
        drop(waiting);
        self.settled.notify_all();
    }

    /// Has everything written that waits, and waits for it; false if that takes
    /// too long.
    pub(super) fn settle(&self) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.asked += 1;
        let ticket = waiting.asked;
        self.work.notify_one();
        let deadline = Instant::now() + SETTLE_PATIENCE;
        let unsettled = |waiting: &mut Waiting| waiting.answered < ticket && !waiting.closed;
        !self.settled.wait_while_until(&mut waiting, unsettled, deadline).timed_out()
    }

    /// A copy of what waits, if anything does.
    pub(super) fn waiting(&self) -> Option<Arc<[u8]>> {
        let waiting = self.waiting.lock();
        (!waiting.frames.is_empty()).then(|| waiting.frames.as_slice().into())
    }

    /// Nothing is queued any more, and the thread ends.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.work.notify_one();
        self.settled.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }
}
