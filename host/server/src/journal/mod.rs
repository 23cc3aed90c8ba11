//! What happened, written down: every attempt, every verdict other than pass,
//! every act. A queue, a thread, and the newest events in memory.
//!
//! It must not block whoever it hears of things from: what doesn't fit is
//! dropped and counted.

use std::sync::Arc;

use portcullis_domain::{Act, Attempt, Testimony, Timestamp, Witness};
use portcullis_harness::logs::Entry;

use crate::config;
use crate::setup::LoadedPolicy;

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Its folder can't be used.
    #[error("journal.dir: {0}")]
    Folder(String),
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

/// A handle to the journal; clones write to the same one.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner;

impl Journal {
    /// Opens the folder if there is one, heals what a crash left behind, and
    /// starts the thread that writes.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn start(config: &config::Journal) -> Result<Self, JournalError> {
        let _ = config;
        Ok(Self(Arc::new(Inner)))
    }

    /// These policies are in force from now on.
    pub fn in_force(&self, at: Timestamp, policies: &[LoadedPolicy]) {
        let _ = (&self.0, at, policies);
    }

    /// What became of events so far.
    #[must_use]
    pub fn counts(&self) -> JournalCounts {
        JournalCounts::default()
    }

    /// The newest events, at most so many and none before `since`, the oldest
    /// first, as a replay takes them. May wait for the disk, and reads it.
    #[must_use]
    pub fn entries(&self, since: Timestamp, entries_max: usize) -> Vec<Entry<'static>> {
        let _ = (&self.0, since, entries_max);
        Vec::new()
    }

    /// Writes what is left and ends the thread.
    pub fn close(&self) {}
}

impl Witness for Journal {
    fn judged(&self, _: &Testimony<'_>) {}
    fn unjudged(&self, _: Timestamp, _: &Attempt<'_>) {}
    fn acted(&self, _: Timestamp, _: &Act<'_>) {}
}
