//! What happened, written down: every attempt, every verdict other than pass,
//! every act. A queue, a thread, and the newest events in memory.
//!
//! It must not block whoever it hears of things from: what doesn't fit is
//! dropped and counted. What a journal looks like on disk, and what can be read
//! from one, is [`portcullis_harness::journal`].

mod following;
mod queue;
mod recent;
mod thread;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Receiver;
use parking_lot::Mutex;
use portcullis_domain::{Act, Attempt, Clock, Origin, Testimony, Timestamp, Witness};
use portcullis_harness::journal::record::{Life, Policy, Record};
use portcullis_harness::journal::writer::{Bounds, FolderError};
use portcullis_harness::journal::{Reader, Writer, newest_entries, segment};
use portcullis_harness::logs::Entry;

use crate::config;
use crate::setup::LoadedPolicy;

pub use following::{Followed, Following, TooManyFollow};

use following::Followers;
use queue::Queue;
use recent::Recent;
use thread::Scribe;

/// The version that records name.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Its folder can't be used.
    #[error("journal.dir: {0}")]
    Folder(#[from] FolderError),
    /// The system gives no thread.
    #[error("the journal's thread: {0}")]
    Thread(std::io::Error),
}

/// What became of events so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalCounts {
    /// Written or kept in memory.
    pub written: u64,
    /// Not, because the queue was full or the disk failed.
    pub dropped: u64,
    /// Size of all segments, in bytes.
    pub bytes: u64,
    /// Why nothing can be written at the moment, if so.
    pub failing: Option<String>,
}

/// A handle to the journal; clones write to the same one, and with the last of
/// them it ends.
#[derive(Clone)]
pub struct Journal(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    /// Nothing is ever sent: it closes when the thread has ended.
    ended: Receiver<()>,
}

/// What the thread and those who hear of things have in common.
struct Shared {
    queue: Queue,
    clock: Arc<dyn Clock>,
    folder: Option<PathBuf>,
    recent: Mutex<Recent>,
    followers: Followers,
    written: AtomicU64,
    dropped: AtomicU64,
    bytes: AtomicU64,
    failing: Mutex<Option<String>>,
}

impl Journal {
    /// Opens the folder if there is one, heals what a crash left behind, and
    /// starts the thread that writes.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn start(config: &config::Journal, clock: Arc<dyn Clock>) -> Result<Self, JournalError> {
        let bounds = Bounds { bytes_max: config.max_size, age_max: config.max_age };
        let writer = match &config.dir {
            None => None,
            Some(folder) => {
                let (writer, healed) = Writer::open(folder, bounds)?;
                for healed in healed {
                    tracing::warn!("journal: {healed}");
                }
                Some(writer)
            }
        };
        let shared = Arc::new(Shared {
            queue: Queue::default(),
            clock,
            folder: config.dir.clone(),
            recent: Mutex::default(),
            followers: Followers::default(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            bytes: AtomicU64::new(writer.as_ref().map_or(0, Writer::bytes)),
            failing: Mutex::default(),
        });
        let ended = Scribe::start(Arc::clone(&shared), writer).map_err(JournalError::Thread)?;
        let journal = Self(Arc::new(Handle { shared, ended }));
        journal.0.shared.write(&Record::process(journal.0.shared.clock.now(), Life::Started, VERSION));
        Ok(journal)
    }

    /// These policies are in force from now on. To be told before they are:
    /// who reads on knows then what judges.
    pub fn in_force(&self, at: Timestamp, policies: &[LoadedPolicy]) {
        let of = |policy: &'_ LoadedPolicy| {
            (policy.config.kind, policy.config.mode, policy.config.subject, Arc::clone(&policy.judge))
        };
        let policies: Vec<_> = policies.iter().map(of).collect();
        let policies =
            || policies.iter().map(|(kind, mode, subject, judge)| Policy::new(*kind, *mode, *subject, judge)).collect();
        let (now, later) = (Record::in_force(at, policies(), false), Record::in_force(at, policies(), true));
        if !self.0.shared.queue.in_force(&now, &later) {
            self.0.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What became of events so far.
    #[must_use]
    pub fn counts(&self) -> JournalCounts {
        let shared = &self.0.shared;
        JournalCounts {
            written: shared.written.load(Ordering::Relaxed),
            dropped: shared.dropped.load(Ordering::Relaxed),
            bytes: shared.bytes.load(Ordering::Relaxed),
            failing: shared.failing.lock().clone(),
        }
    }

    /// Its folder, if it has one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.0.shared.folder.as_deref()
    }

    /// Name, size and beginning of each segment, the oldest first. Reads the disk.
    #[must_use]
    pub fn segments(&self) -> Vec<(String, u64, Timestamp)> {
        let listed = self.folder().and_then(|folder| segment::list(folder).ok()).unwrap_or_default();
        let told = |(_, path): (u64, PathBuf)| {
            let header = segment::header(&path).ok()?;
            let name = path.file_name()?.to_str()?.to_owned();
            Some((name, path.metadata().ok()?.len(), header.began))
        };
        listed.into_iter().filter_map(told).collect()
    }

    /// Everything that can be read now: the folder, or the newest events in
    /// memory where there is none or nothing can be written to it. May wait for
    /// the disk, for a second at most.
    #[must_use]
    pub fn reader(&self) -> Reader {
        let shared = &self.0.shared;
        if let Some(folder) = &shared.folder
            && shared.queue.settle()
            && shared.failing.lock().is_none()
            && let Ok(reader) = Reader::open(folder)
        {
            return reader;
        }
        shared.in_memory()
    }

    /// The newest events, at most so many and none before `since`, the oldest
    /// first, as a replay takes them. May wait for the disk, and reads it.
    #[must_use]
    pub fn entries(&self, since: Timestamp, entries_max: usize) -> Vec<Entry<'static>> {
        newest_entries(&self.reader(), since, entries_max)
    }

    /// Everything that is written from now on, as far as its reader keeps up.
    ///
    /// # Errors
    /// [`TooManyFollow`].
    pub fn subscribe(&self) -> Result<Following, TooManyFollow> {
        self.0.shared.followers.subscribe()
    }

    /// Writes what is left and ends the thread.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Handle {
    fn close(&self) {
        if self.shared.queue.is_closed() {
            return;
        }
        self.shared.write(&Record::process(self.shared.clock.now(), Life::Ended, VERSION));
        self.shared.queue.close();
        // A disk that hangs can't hold up the end.
        let _either_way = self.ended.recv_timeout(queue::PATIENCE);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn write(&self, record: &Record<'_>) {
        if !self.queue.put(record) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn in_memory(&self) -> Reader {
        // In this order: the thread takes from the one with the other locked.
        let recent = self.recent.lock();
        let mut frames: Vec<(u64, Arc<[u8]>)> = recent.frames().collect();
        frames.extend(self.queue.waiting().map(|frames| (recent.end(), frames)));
        Reader::of_memory(frames)
    }
}

impl Witness for Journal {
    fn judged(&self, testimony: &Testimony<'_>) {
        self.0.shared.write(&Record::judged(testimony));
    }

    fn unjudged(&self, at: Timestamp, attempt: &Attempt<'_>, origin: Origin<'_>) {
        self.0.shared.write(&Record::unjudged(at, attempt, origin));
    }

    fn acted(&self, at: Timestamp, act: &Act<'_>) {
        self.0.shared.write(&Record::acted(at, act));
    }
}
