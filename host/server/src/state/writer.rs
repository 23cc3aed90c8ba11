//! The one thread that writes: a ban at once, together with what waits by then;
//! everything else at the next look.
//!
//! What can't be written stays noted and is tried again; the gate never hears
//! of it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use portcullis_domain::{Clock, MemoryStore, Timestamp};
use rusqlite::{TransactionBehavior, params};

use crate::seldom::Seldom;

use super::changes::Changes;
use super::file::{Place, StateFile};
use super::noted::{Owed, Shared, Taken, Wake};
use super::rows::write_time;
use super::write::{self, Known};
use super::{LAG_MAX, Totals};

/// How long changes other than bans wait for more of their kind: the rest of
/// [`LAG_MAX`] is for the disk.
const LOOK_INTERVAL: Duration = Duration::from_millis(40);
/// Until a write that has failed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How often what has ended is removed, and the like.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);
/// Changes other than bans that are committed at once, so that a ban never has
/// to wait for more of them.
pub(super) const PIECE: usize = 4096;
/// Rows that are removed at once because they have ended.
const SWEEP_PIECE: usize = 2048;
/// Size of SQLite's log from which it is moved into the file.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// So many times that, and it is moved though bans wait: they would come for ever.
const LOG_TIMES_MAX: u64 = 4;
/// Free pages that are given back at once.
const VACUUM_PIECE: i64 = 512;

/// Writes. Lives on a thread of its own.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) file: StateFile,
    pub(super) store: Weak<MemoryStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) totals: Box<dyn Fn() -> Totals + Send>,
    pub(super) known: Known,
    pub(super) paces: Paces,
    /// Bans are being written anew: until that is done none counts as durable.
    pub(super) bans_owed: bool,
    /// The memory is being written anew, piece by piece: what was read of logs
    /// is told of when all is there that came of it.
    pub(super) places_wait: bool,
}

/// What happens now and then.
pub(super) struct Paces {
    housekeeping: Instant,
    /// Log that somebody who reads keeps from being moved is looked at again
    /// only when it is larger than that.
    pub(super) log_bytes_max: u64,
    late: Seldom,
    retry: Option<Instant>,
}

impl Default for Paces {
    fn default() -> Self {
        Self { housekeeping: Instant::now(), log_bytes_max: LOG_BYTES_MAX, late: Seldom::default(), retry: None }
    }
}

impl Writer {
    /// Until it is told to end.
    pub(super) fn run(mut self) {
        loop {
            let until = self.paces.retry.unwrap_or_else(|| Instant::now() + LOOK_INTERVAL);
            let wake = self.shared.wait(until, self.paces.retry.is_some());
            self.turn();
            if wake == Wake::Close {
                return self.end();
            }
            self.keep_house();
        }
    }

    /// Writes what there is to write.
    pub(super) fn turn(&mut self) {
        let result = match self.shared.take_owed() {
            owed if owed.any() => self.rewrite(owed),
            _ => self.follow(Changes::default()),
        };
        match result {
            Ok(()) => self.succeeded(),
            Err(error) => self.failed(&error),
        }
    }

    /// Writes rows of the memory, if any, and what is noted, in as many steps as
    /// that takes.
    pub(super) fn follow(&mut self, memory: Changes) -> rusqlite::Result<()> {
        let mut taken = self.shared.take(!self.places_wait, &self.totals);
        if taken.changes.is_empty() && memory.is_empty() && taken.totals == self.known.totals {
            self.shared.written(0, self.durable(&taken));
            return Ok(());
        }
        let mut memory = Some(memory);
        loop {
            let piece = taken.changes.split_off(PIECE);
            let began = Instant::now();
            // The memory's rows first: what is noted is as new or newer.
            let from_memory = memory.take().unwrap_or_default();
            if let Err(error) = self.commit(&[&from_memory, &piece], &taken.totals) {
                // Formats may have got their numbers in it.
                self.known.formats.clear();
                let mut unwritten = piece;
                unwritten.absorb(taken.changes);
                self.shared.put_back(unwritten);
                return Err(error);
            }
            self.known.totals.clone_from(&taken.totals);
            self.committed(&taken, &piece, began);
            if self.file.bytes().1 >= LOG_TIMES_MAX * self.paces.log_bytes_max
                && let Err(error) = self.move_log()
            {
                self.shared.put_back(taken.changes);
                return Err(error);
            }
            if self.shared.is_urgent() {
                let newer = self.shared.take(!self.places_wait, &self.totals);
                (taken.bans, taken.totals) = (newer.bans, newer.totals);
                taken.changes.absorb(newer.changes);
            }
            if taken.changes.is_empty() {
                return Ok(());
            }
        }
    }

    /// The changes of bans that are durable once what was taken is.
    fn durable(&self, taken: &Taken) -> Option<u64> {
        (!self.bans_owed).then_some(taken.bans)
    }

    fn committed(&self, taken: &Taken, piece: &Changes, began: Instant) {
        let lag = taken.since.map(|since| since.elapsed()).unwrap_or_default();
        let late = lag > LAG_MAX && taken.changes.is_empty();
        let took = began.elapsed();
        self.shared.tell(|figures| {
            figures.commits += 1;
            figures.last_commit = took;
            figures.late_commits += u64::from(late);
        });
        self.shared.written(piece.len(), self.durable(taken));
        if late && let Some(times) = self.paces.late.tell() {
            tracing::warn!(
                "state: {} was {} ms behind, where {} is the most that it should be; the disk is slow or busy ({times} times so far)",
                self.file.path.display(),
                lag.as_millis(),
                LAG_MAX.as_millis()
            );
        }
    }

    /// One transaction: when it returns, everything in it is on the disk.
    fn commit(&mut self, changes: &[&Changes], totals: &Totals) -> rusqlite::Result<()> {
        let now = self.clock.now();
        let transaction = self.file.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for changes in changes {
            write::changes(&transaction, changes, &mut self.known)?;
        }
        write::totals(&transaction, totals, &self.known.totals)?;
        transaction.execute(
            "UPDATE file SET latest = max(latest, ?1), written = ?2",
            params![write_time(now), self.known.written],
        )?;
        transaction.commit()
    }

    fn succeeded(&mut self) {
        if self.paces.retry.take().is_some() {
            self.shared.tell(|figures| figures.failing = None);
            tracing::info!("state: {} is written again; nothing is lost", self.file.path.display());
        }
    }

    fn failed(&mut self, error: &rusqlite::Error) {
        if self.paces.retry.is_none() {
            tracing::error!(
                "state: {} can't be written ({error}); everything goes on in memory, and a restart would lose what \
                 changes from now on; writing is tried again by itself",
                self.file.path.display()
            );
        }
        self.paces.retry = Some(Instant::now() + RETRY_INTERVAL);
        self.shared.tell(|figures| figures.failing = Some(error.to_string()));
    }

    /// What has to be done now and then, and never while a ban waits.
    fn keep_house(&mut self) {
        let due = self.paces.housekeeping <= Instant::now();
        if due {
            self.paces.housekeeping = Instant::now() + HOUSEKEEPING_INTERVAL;
            let (file, log) = self.file.bytes();
            self.shared.tell(|figures| figures.file_bytes = file + log);
            self.look_for_file();
        }
        if self.paces.retry.is_some() || self.shared.is_urgent() {
            return;
        }
        let kept = self.move_log().and_then(|()| if due { self.sweep(self.clock.now()) } else { Ok(()) });
        if let Err(error) = kept {
            self.failed(&error);
        }
    }

    /// Moves SQLite's log into the file when it has grown.
    pub(super) fn move_log(&mut self) -> rusqlite::Result<()> {
        if self.file.bytes().1 < self.paces.log_bytes_max {
            return Ok(());
        }
        // Who reads is not waited for.
        self.file.connection.busy_timeout(Duration::ZERO)?;
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy: rusqlite::Result<bool> = self.file.connection.query_row(checkpoint, [], |row| row.get(0));
        self.file.restore_patience()?;
        self.paces.log_bytes_max = if busy? { self.paces.log_bytes_max * 2 } else { LOG_BYTES_MAX };
        Ok(())
    }

    /// Removes some of what has ended, and gives some room back.
    pub(super) fn sweep(&self, now: Timestamp) -> rusqlite::Result<()> {
        const ENDED: [&str; 3] = [
            "DELETE FROM bans WHERE network IN (SELECT network FROM bans WHERE until <= ?1 LIMIT ?2)",
            "DELETE FROM waits WHERE subject IN (SELECT subject FROM waits WHERE until <= ?1 LIMIT ?2)",
            "DELETE FROM kept WHERE (format, subject) IN (SELECT format, subject FROM kept
             WHERE until <= ?1 AND until < 9007199254740991 LIMIT ?2)",
        ];
        let connection = &self.file.connection;
        for remove in ENDED {
            let (now, most) = (write_time(now), i64::try_from(SWEEP_PIECE).unwrap_or(i64::MAX));
            while connection.prepare(remove)?.execute(params![now, most])? == SWEEP_PIECE {
                if self.shared.is_urgent() {
                    return Ok(());
                }
            }
        }
        let count = |what: &str| connection.pragma_query_value(None, what, |row| row.get::<_, i64>(0));
        let free = count("freelist_count")?;
        if free > VACUUM_PIECE && free > count("page_count")? / 2 {
            let vacuum = format!("PRAGMA incremental_vacuum({VACUUM_PIECE})");
            let mut vacuum = connection.prepare(&vacuum)?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
        }
        Ok(())
    }

    /// A file that somebody has moved away is made anew, with all that is in memory.
    pub(super) fn look_for_file(&mut self) {
        let path = self.file.path.clone();
        let made = match self.file.place() {
            Ok(Place::Own) => return,
            Ok(Place::Nothing) => {
                tracing::warn!(
                    "state: {} isn't there any more; it is made anew from what is in memory",
                    path.display()
                );
                self.file.make_anew().map_err(|error| error.to_string())
            }
            Ok(Place::Another) => Err(format!("another file is at {}: restart to use it", path.display())),
            Err(error) => Err(error.to_string()),
        };
        match made {
            Ok(()) => {
                self.known = Known::default();
                self.shared.owe(Owed::ALL);
            }
            Err(why) => {
                let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
                self.failed(&rusqlite::Error::SqliteFailure(code, Some(why)));
            }
        }
    }

    /// Closes the file, all of it in one piece.
    fn end(self) {
        self.shared.closed();
        let (_, left) = self.shared.waiting();
        if let Some(why) = self.shared.figures().failing {
            tracing::error!("state: {left} changes are lost: {} can't be written ({why})", self.file.path.display());
        }
        if let Err((_, error)) = self.file.connection.close() {
            tracing::error!("state: {} isn't closed well ({error})", self.file.path.display());
        }
    }
}
