//! What the file looks like, by version, and the way from each version to the next.

use rusqlite::{Connection, TransactionBehavior};

/// Marks a SQLite file as one of these.
pub(super) const APPLICATION_ID: u32 = u32::from_be_bytes(*b"Prtc");

/// What makes a file of version `n` one of version `n + 1`; the first makes an
/// empty one. What has been released is never changed.
const MIGRATIONS: [&str; 2] = [include_str!("version-1.sql"), include_str!("version-2.sql")];

/// The newest version, which is written.
pub(super) const VERSION: usize = MIGRATIONS.len();

/// A file is of a version that isn't known here.
#[derive(Debug)]
pub(super) struct TooNew {
    /// Its version.
    pub(super) version: i64,
}

/// Settings that have to be made before there is anything in the file.
pub(super) fn prepare_empty(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)
}

/// Brings the file up to date in one step: all of it or nothing.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<Result<(), TooNew>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let Some(missing) = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..)) else {
        return Ok(Err(TooNew { version }));
    };
    if missing.is_empty() {
        return Ok(Ok(()));
    }
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", i64::try_from(VERSION).unwrap_or(i64::MAX))?;
    transaction.commit()?;
    if version > 0 {
        tracing::info!("state: the file is of version {VERSION} now; it was of version {version}");
    }
    Ok(Ok(()))
}
