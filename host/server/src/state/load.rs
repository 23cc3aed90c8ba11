//! What the file holds goes into the memory, once, before anything is served.
//!
//! Two connections read at once: a million bans and a million kept states are
//! there within a second. What has ended is left where it is; the writer
//! removes it later.

use std::path::Path;
use std::sync::Arc;

use portcullis_domain::{Ban, KeptEntry, MemoryStore, StateBytes, StateFormat, Timestamp, Wait};
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, Row};

use super::changes::PlaceKey;
use super::file::{self, StateFile};
use super::rows::{Causes, read_network, read_subject, read_time};
use super::{StateError, Totals};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) bans: usize,
    pub(super) waits: usize,
    pub(super) kept: usize,
    pub(super) totals: Totals,
    /// How far logs have been read.
    pub(super) places: Vec<(PlaceKey, Arc<str>)>,
    /// The latest pass over the memory that has written.
    pub(super) written: i64,
}

/// Why it can't be taken over.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Value(#[from] FromSqlError),
    #[error("a row of {0} that nobody has written so")]
    Row(&'static str),
    #[error("{0} holds {1} rows, and its index {2}")]
    Index(&'static str, usize, usize),
}

type Result<T> = std::result::Result<T, LoadError>;

/// The latest time that the file knows of.
pub(super) fn latest(file: &StateFile) -> std::result::Result<Timestamp, StateError> {
    let latest = file.connection.query_row("SELECT latest FROM file", [], |row| row.get(0));
    let latest = latest.map_err(|error| file::refused(&file.path, &error))?;
    read_time(latest).ok_or_else(|| file::damaged(&file.path, "its latest time is none"))
}

/// Fills the store.
pub(super) fn load(file: &StateFile, store: &MemoryStore, now: Timestamp) -> std::result::Result<Loaded, StateError> {
    let path = &file.path;
    let (bans, others) = std::thread::scope(|scope| {
        let reading = std::thread::Builder::new().name("state-load".to_owned());
        let apart = reading.spawn_scoped(scope, || bans(path, store, now));
        let others = || -> Result<(usize, usize, usize)> {
            let connection = StateFile::reader(path)?;
            let (kept, waits) = (kept(&connection, store, now)?, waits(&connection, store, now)?);
            // Here, since bans take longer than all else.
            Ok((kept, waits, indexed(&connection, "bans", "bans_by_end")?))
        };
        let others = others();
        let bans = match apart {
            Ok(thread) => thread.join().unwrap_or(Err(LoadError::Row("bans"))),
            // The system gives no thread: one after the other, then.
            Err(_) => bans(path, store, now),
        };
        (bans, others)
    });
    let read = || -> Result<Loaded> {
        let ((bans, rows), (kept, waits, indexed)) = (bans?, others?);
        agree("bans", rows, indexed)?;
        let written = file.connection.query_row("SELECT written FROM file", [], |row| row.get(0))?;
        let (totals, places) = (totals(&file.connection)?, places(&file.connection)?);
        Ok(Loaded { bans, waits, kept, totals, places, written })
    };
    read().map_err(|error| match error {
        LoadError::Sqlite(error) => file::refused(path, &error),
        LoadError::Value(error) => file::damaged(path, &error.to_string()),
        LoadError::Row(_) | LoadError::Index(..) => file::damaged(path, &error.to_string()),
    })
}

/// How many are in force, and how many rows there were.
fn bans(path: &Path, store: &MemoryStore, now: Timestamp) -> Result<(usize, usize)> {
    let connection = StateFile::reader(path)?;
    let mut statement = connection.prepare("SELECT network, until, since, policy, code, reason FROM bans")?;
    let mut causes = Causes::default();
    let mut live = 0;
    let rows = Reading::new(statement.query([])?, |row| {
        let Some(until) = read_time(row.get_ref(1)?.as_i64()?).filter(|until| now < *until) else {
            return Ok(None);
        };
        let network = read_network(row.get_ref(0)?.as_str()?).ok_or(LoadError::Row("bans"))?;
        let since = read_time(row.get_ref(2)?.as_i64()?).ok_or(LoadError::Row("bans"))?;
        let cause =
            causes.read(row.get_ref(3)?.as_str_or_null()?, row.get_ref(4)?.as_str()?, row.get_ref(5)?.as_str()?);
        live += 1;
        Ok(Some(Ban { network, since, until, cause: cause.ok_or(LoadError::Row("bans"))? }))
    });
    let seen = rows.all(|rows| store.restore_bans(rows, now))?;
    Ok((live, seen))
}

fn waits(connection: &Connection, store: &MemoryStore, now: Timestamp) -> Result<usize> {
    let mut statement = connection.prepare("SELECT subject, until, since, policy, code, reason FROM waits")?;
    let mut causes = Causes::default();
    let mut live = 0;
    let rows = Reading::new(statement.query([])?, |row| {
        let Some(until) = read_time(row.get_ref(1)?.as_i64()?).filter(|until| now < *until) else {
            return Ok(None);
        };
        let subject = read_subject(row.get_ref(0)?.as_str()?).ok_or(LoadError::Row("waits"))?;
        let since = read_time(row.get_ref(2)?.as_i64()?).ok_or(LoadError::Row("waits"))?;
        let cause =
            causes.read(row.get_ref(3)?.as_str_or_null()?, row.get_ref(4)?.as_str()?, row.get_ref(5)?.as_str()?);
        live += 1;
        Ok(Some(Wait { subject, since, until, cause: cause.ok_or(LoadError::Row("waits"))? }))
    });
    let seen = rows.all(|rows| store.restore_waits(rows, now))?;
    agree("waits", seen, indexed(connection, "waits", "waits_by_end")?)?;
    Ok(live)
}

fn kept(connection: &Connection, store: &MemoryStore, now: Timestamp) -> Result<usize> {
    let mut formats = connection.prepare("SELECT id, policy, format FROM formats")?;
    let formats = formats.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let formats: Vec<(i64, String, String)> = formats.collect::<rusqlite::Result<_>>()?;
    let (mut ending, mut live) = (0, 0);
    for (id, policy, format) in formats {
        let count: i64 = connection.query_row("SELECT count(*) FROM kept WHERE format = ?", [id], |row| row.get(0))?;
        let mut statement = connection.prepare("SELECT subject, until, data FROM kept WHERE format = ?")?;
        let rows = Reading::new(statement.query([id])?, |row| {
            let expires = read_time(row.get_ref(1)?.as_i64()?).ok_or(LoadError::Row("kept"))?;
            ending += usize::from(expires < Timestamp::MAX);
            if expires <= now {
                return Ok(None);
            }
            let subject = read_subject(row.get_ref(0)?.as_str()?).ok_or(LoadError::Row("kept"))?;
            live += 1;
            Ok(Some(KeptEntry { subject, data: StateBytes::from_slice(row.get_ref(2)?.as_blob()?), expires }))
        });
        let rows = rows.of_about(usize::try_from(count).unwrap_or_default());
        rows.all(|rows| store.restore_kept(&policy, &StateFormat::new(&format), rows, now))?;
    }
    agree("kept", ending, indexed(connection, "kept", "kept_by_end WHERE until < 9007199254740991")?)?;
    Ok(live)
}

fn totals(connection: &Connection) -> Result<Totals> {
    let mut statement = connection.prepare("SELECT name, number FROM totals")?;
    let mut rows = statement.query([])?;
    let mut totals = Totals::new();
    while let Some(row) = rows.next()? {
        let number = u64::try_from(row.get_ref(1)?.as_i64()?).map_err(|_| LoadError::Row("totals"))?;
        totals.insert(row.get_ref(0)?.as_str()?.to_owned(), number);
    }
    Ok(totals)
}

fn places(connection: &Connection) -> Result<Vec<(PlaceKey, Arc<str>)>> {
    let mut statement = connection.prepare("SELECT watch, file, place FROM watched")?;
    let mut rows = statement.query([])?;
    let mut places = Vec::new();
    while let Some(row) = rows.next()? {
        let text = |column| -> Result<Arc<str>> { Ok(row.get_ref(column)?.as_str()?.into()) };
        places.push((PlaceKey { watch: text(0)?, file: text(1)? }, text(2)?));
    }
    Ok(places)
}

/// An index is read as well: one that is damaged would be found out only when
/// something is written, long after the start.
fn indexed(connection: &Connection, table: &'static str, index: &str) -> Result<usize> {
    let count = format!("SELECT count(*) FROM {table} INDEXED BY {index}");
    let count: i64 = connection.query_row(&count, [], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

fn agree(table: &'static str, rows: usize, indexed: usize) -> Result<()> {
    if indexed == rows { Ok(()) } else { Err(LoadError::Index(table, rows, indexed)) }
}

/// Rows as an iterator that stops at the first one that is wrong and keeps why.
struct Reading<'s, F> {
    rows: rusqlite::Rows<'s>,
    read: F,
    about: usize,
    seen: usize,
    failed: Option<LoadError>,
}

impl<'s, T, F: FnMut(&Row<'_>) -> Result<Option<T>>> Reading<'s, F> {
    fn new(rows: rusqlite::Rows<'s>, read: F) -> Self {
        Self { rows, read, about: 0, seen: 0, failed: None }
    }

    /// There are about so many.
    fn of_about(self, about: usize) -> Self {
        Self { about, ..self }
    }

    /// Lets them be taken, and says how many rows there were, those included
    /// that are nothing any more.
    fn all(mut self, take: impl FnOnce(&mut Self)) -> Result<usize> {
        take(&mut self);
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.seen),
        }
    }

    fn step(&mut self) -> Result<Option<T>> {
        while let Some(row) = self.rows.next()? {
            self.seen += 1;
            if let Some(item) = (self.read)(row)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }
}

impl<T, F: FnMut(&Row<'_>) -> Result<Option<T>>> Iterator for Reading<'_, F> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.failed.is_some() {
            return None;
        }
        self.step().unwrap_or_else(|error| {
            self.failed = Some(error);
            None
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.about.saturating_sub(self.seen), None)
    }
}
