//! Changes as statements, for whoever has a transaction.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;
use portcullis_domain::{Ban, Cause, StateFormat, Timestamp, Wait};
use rusqlite::{Connection, Statement, params};

use super::Totals;
use super::changes::{Changes, KeptKey};
use super::rows::{policy_of, write_subject, write_time};

/// What is in the file, as far as the writer has to know.
#[derive(Default)]
pub(super) struct Known {
    pub(super) totals: Totals,
    /// Numbers of formats by policy and format.
    pub(super) formats: HashMap<(Arc<str>, StateFormat), i64, RandomState>,
    /// The present pass over the whole memory.
    pub(super) written: i64,
}

/// Writes every change.
pub(super) fn changes(connection: &Connection, changes: &Changes, known: &mut Known) -> rusqlite::Result<()> {
    let mut text = String::new();
    bans(connection, changes, known.written)?;
    waits(connection, changes, known.written, &mut text)?;
    places(connection, changes)?;
    kept(connection, changes, known, &mut text)
}

/// Writes the totals that differ from those that are `known`.
pub(super) fn totals(connection: &Connection, totals: &Totals, known: &Totals) -> rusqlite::Result<()> {
    let put = "INSERT INTO totals VALUES (?1, ?2) ON CONFLICT DO UPDATE SET number = ?2";
    for (name, number) in totals.iter().filter(|(name, number)| known.get(*name) != Some(number)) {
        connection.execute(put, params![name, i64::try_from(*number).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

fn bans(connection: &Connection, changes: &Changes, written: i64) -> rusqlite::Result<()> {
    if changes.bans.is_empty() {
        return Ok(());
    }
    let mut put = connection.prepare(
        "INSERT INTO bans VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE
         SET since = ?2, until = ?3, policy = ?4, code = ?5, reason = ?6, written = ?7",
    )?;
    let mut remove = connection.prepare("DELETE FROM bans WHERE network = ?1")?;
    for (network, ban) in &changes.bans {
        let network = network.to_string();
        match ban {
            None => remove.execute([network])?,
            Some(Ban { since, until, cause, .. }) => order(&mut put, &network, *since, *until, cause, written)?,
        };
    }
    Ok(())
}

fn waits(connection: &Connection, changes: &Changes, written: i64, text: &mut String) -> rusqlite::Result<()> {
    if changes.waits.is_empty() {
        return Ok(());
    }
    let mut put = connection.prepare(
        "INSERT INTO waits VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE
         SET since = ?2, until = ?3, policy = ?4, code = ?5, reason = ?6, written = ?7",
    )?;
    let mut remove = connection.prepare("DELETE FROM waits WHERE subject = ?1")?;
    for (subject, wait) in &changes.waits {
        write_subject(subject, text);
        match wait {
            None => remove.execute([text.as_str()])?,
            Some(Wait { since, until, cause, .. }) => order(&mut put, text, *since, *until, cause, written)?,
        };
    }
    Ok(())
}

fn places(connection: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    if changes.places.is_empty() {
        return Ok(());
    }
    let mut put = connection.prepare("INSERT INTO watched VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET place = ?3")?;
    let mut forget = connection.prepare("DELETE FROM watched WHERE watch = ?1 AND file = ?2")?;
    for (key, place) in &changes.places {
        match place {
            Some(place) => put.execute(params![&*key.watch, &*key.file, &**place])?,
            None => forget.execute(params![&*key.watch, &*key.file])?,
        };
    }
    Ok(())
}

fn order(
    put: &mut Statement<'_>,
    whom: &str,
    since: Timestamp,
    until: Timestamp,
    cause: &Cause,
    written: i64,
) -> rusqlite::Result<usize> {
    let (since, until, reason) = (write_time(since), write_time(until), &cause.reason);
    put.execute(params![whom, since, until, policy_of(cause), reason.code(), reason.text(), written])
}

fn kept(connection: &Connection, changes: &Changes, known: &mut Known, text: &mut String) -> rusqlite::Result<()> {
    if changes.kept.is_empty() {
        return Ok(());
    }
    let mut put = connection.prepare(
        "INSERT INTO kept VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET data = ?3, until = ?4, written = ?5",
    )?;
    let mut remove = connection.prepare("DELETE FROM kept WHERE format = ?1 AND subject = ?2")?;
    for (key, value) in &changes.kept {
        let format = known.format(connection, key)?;
        write_subject(&key.subject, text);
        match value {
            None => remove.execute(params![format, text.as_str()])?,
            Some((data, until)) => {
                put.execute(params![format, text.as_str(), data.as_slice(), write_time(*until), known.written])?
            }
        };
    }
    Ok(())
}

impl Known {
    /// The number of a policy's format.
    fn format(&mut self, connection: &Connection, key: &KeptKey) -> rusqlite::Result<i64> {
        let name = (Arc::clone(&key.policy), key.format.clone());
        if let Some(&number) = self.formats.get(&name) {
            return Ok(number);
        }
        let (policy, format) = (&*key.policy, key.format.as_str());
        connection.execute("INSERT OR IGNORE INTO formats (policy, format) VALUES (?1, ?2)", [policy, format])?;
        let find = "SELECT id FROM formats WHERE policy = ?1 AND format = ?2";
        let number = connection.query_row(find, [policy, format], |row| row.get(0))?;
        self.formats.insert(name, number);
        Ok(number)
    }
}
