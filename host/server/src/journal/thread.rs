//! The thread that writes: to the folder if there is one, to the newest events
//! in memory, and to those who follow.
//!
//! It alone waits for the disk. What the disk doesn't take is counted as
//! dropped, and it goes on trying.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use portcullis_harness::journal::Writer;
use portcullis_harness::journal::segment::frame_bytes;

use super::Shared;
use super::queue::Taken;

/// Frames are handed on in chunks of about that many bytes.
pub(super) const CHUNK_BYTES_MAX: usize = 256 << 10;
/// How often the folder is looked at, and what is too old goes.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the thread holds.
pub(super) struct Scribe {
    shared: Arc<Shared>,
    writer: Option<Writer>,
    looked: Instant,
    /// Records that are missing since the disk began to fail.
    missing: u64,
}

impl Scribe {
    /// Starts the thread; what is returned closes when it has ended.
    pub(super) fn start(shared: Arc<Shared>, writer: Option<Writer>) -> std::io::Result<Receiver<()>> {
        let (running, ended) = bounded(0);
        let mut scribe = Self { shared, writer, looked: Instant::now(), missing: 0 };
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            scribe.run();
            // The folder is free when it is said that this has ended.
            drop(scribe);
            drop(running);
        })?;
        Ok(ended)
    }

    fn run(&mut self) {
        let mut spare = Vec::new();
        loop {
            self.shared.queue.wait();
            let taken = self.take(spare);
            self.look();
            self.write(&taken);
            self.shared.queue.done(&taken);
            if taken.closed {
                self.shared.followers.end();
                return;
            }
            spare = taken.frames;
        }
    }

    /// To the disk, if there is a folder.
    fn write(&mut self, taken: &Taken) {
        let Some(writer) = &mut self.writer else {
            self.shared.written.fetch_add(taken.records, Ordering::Relaxed);
            return;
        };
        if taken.frames.is_empty() {
            return;
        }
        let now = self.shared.clock.now();
        let ended = writer.append(&taken.frames, &taken.opening, now);
        self.shared.bytes.store(writer.bytes(), Ordering::Relaxed);
        match ended {
            Ok(()) => {
                self.shared.written.fetch_add(taken.records, Ordering::Relaxed);
                self.writes_again();
            }
            Err(incomplete) => {
                let written = count(&taken.frames[..incomplete.written]);
                self.shared.written.fetch_add(written, Ordering::Relaxed);
                self.fails(&incomplete.to_string(), taken.records.saturating_sub(written));
            }
        }
    }

    fn fails(&mut self, why: &str, lost: u64) {
        self.missing += lost;
        self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
        let mut failing = self.shared.failing.lock();
        if failing.is_none() {
            tracing::error!("journal: {why}: events are kept in memory alone until it can be written to again");
        }
        *failing = Some(why.to_owned());
    }

    fn writes_again(&mut self) {
        if self.shared.failing.lock().take().is_some() {
            tracing::warn!("journal: it can be written to again; {} events are missing from it", self.missing);
            self.missing = 0;
        }
    }

    /// Sees to the folder now and then: it can be gone while its files are open.
    fn look(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        if self.looked.elapsed() < LOOK_INTERVAL {
            return;
        }
        self.looked = Instant::now();
        if writer.is_there() {
            writer.tick(self.shared.clock.now());
            self.shared.bytes.store(writer.bytes(), Ordering::Relaxed);
            return;
        }
        match writer.take_anew() {
            Ok(healed) => {
                tracing::warn!("journal: its folder or a file of it was removed; it goes on in a new segment");
                for healed in healed {
                    tracing::warn!("journal: {healed}");
                }
                self.writes_again();
            }
            Err(error) => self.fails(&error.to_string(), 0),
        }
    }

    /// From the queue to memory and to those who follow, in one step for whoever
    /// reads: what has left the one is in the other.
    fn take(&self, spare: Vec<u8>) -> Taken {
        let mut recent = self.shared.recent.lock();
        let taken = self.shared.queue.take(spare);
        for chunk in chunks(&taken.frames) {
            let (frames, records): (Arc<[u8]>, u64) = (chunk.into(), count(chunk));
            self.shared.followers.tell(&frames, records);
            recent.push(frames, records);
        }
        taken
    }
}

/// Whole frames, in chunks of about [`CHUNK_BYTES_MAX`].
fn chunks(mut frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let mut end = 0;
        while let Some(bytes) = frame_bytes(&frames[end..]) {
            if end > 0 && end + bytes > CHUNK_BYTES_MAX {
                break;
            }
            end += bytes;
        }
        let (chunk, rest) = frames.split_at(end);
        frames = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// How many frames these are.
fn count(mut frames: &[u8]) -> u64 {
    let mut count = 0;
    while let Some(bytes) = frame_bytes(frames) {
        frames = &frames[bytes..];
        count += 1;
    }
    count
}
