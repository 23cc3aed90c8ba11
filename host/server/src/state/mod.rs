//! What survives a restart: waits, bans, kept state and totals, in a SQLite
//! file beside the memory that the gate works on.
//!
//! The memory is what holds; the file follows it. It must not know HTTP or
//! plugins, and nothing here is called on the way of a request but
//! [`Keeper::settled`] after a ban, and the [`Recorder`] that notes changes.

mod changes;
mod file;
mod load;
mod noted;
mod rewrite;
mod rows;
mod schema;
mod write;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use ipnet::IpNet;
use parking_lot::Mutex;
use portcullis_domain::{Ban, Clock, MemoryStore, Recorder, StateBytes, StateFormat, Subject, Timestamp, Wait};

use crate::seldom::Seldom;
use changes::{KeptKey, PlaceKey};
use file::StateFile;
use noted::Shared;
use write::Known;
use writer::{Paces, Writer};

/// How long a reply waits for the disk after a ban.
pub const SETTLE_TIME_MAX: Duration = Duration::from_millis(50);
/// How far the file may be behind the memory in all but bans.
pub const LAG_MAX: Duration = Duration::from_millis(100);
/// Longest wait of somebody who reads faster than can be written.
const FOLLOW_TIME_MAX: Duration = Duration::from_secs(1);
/// Longest wait for the writer at the end: a disk that hangs can't hold it up for ever.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);

/// Why there is no durable state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file can't be used.
    #[error("state.store: {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
}

/// How the file keeps up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateHealth {
    /// How far the file is behind the memory.
    pub lag: Duration,
    /// Why nothing can be written at the moment, if so.
    pub failing: Option<String>,
    /// So much waited that all of it is being written anew from the memory.
    pub rewriting: bool,
    /// Replies that left before the ban that they followed was durable.
    pub unsettled_replies: u64,
    /// Commits that came later than [`LAG_MAX`] after the first change in them.
    pub late_commits: u64,
    /// Changes that wait to be written.
    pub pending: u64,
    /// Commits so far.
    pub commits: u64,
    /// How long the last one took.
    pub last_commit: Duration,
    /// Size of the file, its log included, as of a moment ago.
    pub file_bytes: u64,
}

/// Keeps the file. Clones keep the same one; when the last is gone, it is closed.
#[derive(Clone)]
pub struct Keeper(Arc<Inner>);

struct Inner {
    path: PathBuf,
    latest: Timestamp,
    shared: Arc<Shared>,
    /// Until the writer has it.
    file: Mutex<Option<StateFile>>,
    /// Nothing is ever sent: it closes when the writer ends.
    ended: Mutex<Option<Receiver<()>>>,
    unsettled: Seldom,
}

/// A step: see [`Keeper::step`].
pub struct Step<'k> {
    shared: &'k Shared,
    _taking_waits: parking_lot::RwLockReadGuard<'k, ()>,
}

impl Step<'_> {
    /// How far a file of a watch has been read with this step; whether there is
    /// room to keep it.
    pub fn reached(&self, watch: &Arc<str>, file: &Arc<str>, place: Arc<str>) -> bool {
        self.shared.note_place(PlaceKey { watch: Arc::clone(watch), file: Arc::clone(file) }, place)
    }

    /// Forgets how far a file of a watch has been read.
    pub fn forget(&self, watch: &Arc<str>, file: &Arc<str>) {
        self.shared.forget_place(PlaceKey { watch: Arc::clone(watch), file: Arc::clone(file) });
    }
}

/// Numbers by name that are kept beside the state: totals.
pub type Totals = BTreeMap<String, u64>;

impl Keeper {
    /// Opens the file, or makes it, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StateError`] where it is damaged, too new, another process's or can't
    /// be written.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let file = StateFile::open(path)?;
        let latest = load::latest(&file)?;
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            latest,
            shared: Arc::new(Shared::new()),
            file: Mutex::new(Some(file)),
            ended: Mutex::default(),
            unsettled: Seldom::default(),
        })))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The latest time that the file knows of: the gate's clock must not begin earlier.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.0.latest
    }

    /// Fills the store with what the file holds, and the totals; from then on
    /// the file follows both. `totals` is asked now and then for what they are.
    ///
    /// # Errors
    /// [`StateError`] where what is in it can't be right.
    pub fn restore(
        &self,
        store: &Arc<MemoryStore>,
        clock: Arc<dyn Clock>,
        totals: impl Fn() -> Totals + Send + 'static,
    ) -> Result<Totals, StateError> {
        let Some(writer) = self.writer(store, clock, totals)? else { return Ok(Totals::new()) };
        let restored = writer.known.totals.clone();
        let (running, ended) = bounded(0);
        let run = move || {
            writer.run();
            drop(running);
        };
        let thread = std::thread::Builder::new().name("state".to_owned()).spawn(run);
        thread.map_err(|error| file::wrong(&self.0.path, format!("can't be kept: {error}")))?;
        *self.0.ended.lock() = Some(ended);
        Ok(restored)
    }

    /// Fills the store, and makes the one who lets the file follow it; none if
    /// that has been done before.
    fn writer(
        &self,
        store: &Arc<MemoryStore>,
        clock: Arc<dyn Clock>,
        totals: impl Fn() -> Totals + Send + 'static,
    ) -> Result<Option<Writer>, StateError> {
        let Some(file) = self.0.file.lock().take() else { return Ok(None) };
        let began = Instant::now();
        let mut loaded = load::load(&file, store, clock.now())?;
        self.0.shared.restore_places(std::mem::take(&mut loaded.places));
        tracing::info!(
            "state: {} holds {} bans, {} waits and {} kept states, taken over in {} ms",
            self.0.path.display(),
            loaded.bans,
            loaded.waits,
            loaded.kept,
            began.elapsed().as_millis()
        );
        Ok(Some(Writer {
            shared: Arc::clone(&self.0.shared),
            file,
            store: Arc::downgrade(store),
            clock,
            totals: Box::new(totals),
            known: Known { totals: loaded.totals, written: loaded.written, ..Known::default() },
            paces: Paces::default(),
            bans_owed: false,
            places_wait: false,
        }))
    }

    /// Until every ban and every lifted ban so far is durable, for
    /// [`SETTLE_TIME_MAX`] at most; whether they are. While the file can't be
    /// written it doesn't wait. A reply that leaves too early is counted.
    pub async fn settled(&self) -> bool {
        if self.settling().await {
            return true;
        }
        self.0.shared.count_unsettled();
        if let Some(replies) = self.0.unsettled.tell() {
            tracing::warn!(
                "state: a reply has left before its ban was on the disk ({replies} so far): {} is slow or can't be \
                 written; the ban is in force all the same",
                self.0.path.display()
            );
        }
        false
    }

    /// As [`Self::settled`], for those who tell of a ban that others have
    /// ordered, maybe long ago: nothing is counted.
    pub async fn settling(&self) -> bool {
        let shared = &self.0.shared;
        let (noted, durable) = shared.bans();
        durable >= noted
            || shared.can_settle() && tokio::time::timeout(SETTLE_TIME_MAX, shared.durable(noted)).await.is_ok()
    }

    /// Begins a step of somebody who reads what was written elsewhere. What
    /// changes while it lasts, and how far was read then, are in the file
    /// together or not at all. Nobody writes meanwhile, so it has to be short.
    #[must_use]
    pub fn step(&self) -> Step<'_> {
        Step { shared: &self.0.shared, _taking_waits: self.0.shared.step() }
    }

    /// How far the files of a watch have been read: each file with its place.
    #[must_use]
    pub fn places(&self, watch: &str) -> Vec<(Arc<str>, Arc<str>)> {
        self.0.shared.places(watch)
    }

    /// Before a step: where as much waits as is committed at once, waits until
    /// the writer has taken it. While the file can't be written, and after a
    /// second, it goes on all the same.
    pub fn let_follow(&self) {
        if self.0.shared.can_settle() {
            self.0.shared.let_follow(writer::PIECE, FOLLOW_TIME_MAX);
        }
    }

    /// How the file keeps up.
    #[must_use]
    pub fn health(&self) -> StateHealth {
        let shared = &self.0.shared;
        let (since, pending) = shared.waiting();
        let figures = shared.figures();
        StateHealth {
            lag: since.map(|since| since.elapsed()).unwrap_or_default(),
            failing: figures.failing,
            rewriting: figures.rewriting,
            unsettled_replies: shared.unsettled(),
            late_commits: figures.late_commits,
            pending: u64::try_from(pending).unwrap_or(u64::MAX),
            commits: figures.commits,
            last_commit: figures.last_commit,
            file_bytes: figures.file_bytes,
        }
    }

    /// Writes what is left and closes the file.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    fn close(&self) {
        self.shared.close();
        let ended = self.ended.lock().take();
        if let Some(ended) = ended
            && ended.recv_timeout(CLOSE_TIME_MAX).is_err_and(|error| error.is_timeout())
        {
            tracing::error!("state: {} isn't written to its end: the disk doesn't answer", self.path.display());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Recorder for Keeper {
    fn banned(&self, ban: &Ban) {
        self.0.shared.note_ban(|changes| changes.ban(ban.network, Some(ban.clone())));
    }

    fn unbanned(&self, network: IpNet) {
        self.0.shared.note_ban(|changes| changes.ban(network, None));
    }

    fn waits(&self, wait: &Wait) {
        self.0.shared.note(|changes| changes.wait(wait.subject.clone(), Some(wait.clone())));
    }

    fn waits_no_more(&self, subject: &Subject) {
        self.0.shared.note(|changes| changes.wait(subject.clone(), None));
    }

    fn kept(&self, policy: &Arc<str>, format: &StateFormat, subject: &Subject, data: &[u8], expires: Timestamp) {
        let key = KeptKey { policy: Arc::clone(policy), format: format.clone(), subject: subject.clone() };
        self.0.shared.note(|changes| changes.keep(key, Some((StateBytes::from_slice(data), expires))));
    }

    fn forgot(&self, policy: &Arc<str>, format: &StateFormat, subject: &Subject) {
        let key = KeptKey { policy: Arc::clone(policy), format: format.clone(), subject: subject.clone() };
        self.0.shared.note(|changes| changes.keep(key, None));
    }
}

#[cfg(test)]
mod tests;
