//! The whole memory written anew, in pieces, after more had to be dropped than
//! may wait: the disk was full or slow for long, or the file was moved away.
//!
//! Each row that is written carries the number of this pass; what carries an
//! older one at the end is in memory no longer. What changes meanwhile is
//! written with the pieces, bans first.

use portcullis_domain::{KeptEntry, StateFormat, Store as _, Wait};
use rusqlite::params;

use super::changes::{Changes, KeptKey};
use super::noted::Owed;
use super::writer::{PIECE, Writer};

impl Writer {
    /// Writes anew what is owed. If it fails, all of it is owed again.
    pub(super) fn rewrite(&mut self, owed: Owed) -> rusqlite::Result<()> {
        self.shared.tell(|figures| (figures.rewriting, figures.rewriting_bans) = (true, owed.bans));
        self.bans_owed |= owed.bans;
        let result = self.write_anew(owed);
        self.places_wait = false;
        self.shared.tell(|figures| (figures.rewriting, figures.rewriting_bans) = (false, false));
        if result.is_err() {
            self.shared.owe(owed);
        }
        result
    }

    fn write_anew(&mut self, owed: Owed) -> rusqlite::Result<()> {
        tracing::warn!(
            "state: more has changed than could be written; {} is written anew from what is in memory",
            self.file.path.display()
        );
        self.known.written += 1;
        self.places_wait = owed.any();
        if owed.bans {
            self.write_bans()?;
            self.bans_owed = false;
            self.shared.tell(|figures| figures.rewriting_bans = false);
        }
        if owed.others {
            self.write_waits()?;
            self.write_kept()?;
        }
        self.places_wait = false;
        self.follow(Changes::default())?;
        if owed.bans {
            self.remove_older("bans", "network")?;
        }
        if owed.others {
            self.remove_older("waits", "subject")?;
            self.remove_older("kept", "format, subject")?;
        }
        tracing::info!("state: {} is whole again", self.file.path.display());
        Ok(())
    }

    fn write_bans(&mut self) -> rusqlite::Result<()> {
        let mut after = None;
        loop {
            let Some(store) = self.store.upgrade() else { return Ok(()) };
            let page = store.bans(after, PIECE, self.clock.now());
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.until, last.network));
            let mut piece = Changes::default();
            page.into_iter().for_each(|ban| piece.ban(ban.network, Some(ban)));
            self.piece(piece)?;
        }
    }

    fn write_waits(&mut self) -> rusqlite::Result<()> {
        let Some(store) = self.store.upgrade() else { return Ok(()) };
        let mut result = Ok(());
        store.each_wait(self.clock.now(), |waits: Vec<Wait>| {
            for waits in waits.chunks(PIECE) {
                let mut piece = Changes::default();
                waits.iter().for_each(|wait| piece.wait(wait.subject.clone(), Some(wait.clone())));
                if result.is_ok() {
                    result = self.piece(piece);
                }
            }
        });
        result
    }

    fn write_kept(&mut self) -> rusqlite::Result<()> {
        let Some(store) = self.store.upgrade() else { return Ok(()) };
        let mut result = Ok(());
        store.each_kept(self.clock.now(), |policy, format: &StateFormat, entries: Vec<KeptEntry>| {
            for entries in entries.chunks(PIECE) {
                let mut piece = Changes::default();
                for KeptEntry { subject, data, expires } in entries.iter().cloned() {
                    let key = KeptKey { policy: policy.clone(), format: format.clone(), subject };
                    piece.keep(key, Some((data, expires)));
                }
                if result.is_ok() {
                    result = self.piece(piece);
                }
            }
        });
        result
    }

    fn piece(&mut self, piece: Changes) -> rusqlite::Result<()> {
        self.follow(piece)?;
        self.move_log()
    }

    /// Removes what only older passes have seen, piece by piece.
    fn remove_older(&mut self, table: &str, key: &str) -> rusqlite::Result<()> {
        let remove =
            format!("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE written < ?1 LIMIT ?2)");
        let most = i64::try_from(PIECE).unwrap_or(i64::MAX);
        while self.file.connection.execute(&remove, params![self.known.written, most])? > 0 {
            self.follow(Changes::default())?;
            self.move_log()?;
        }
        Ok(())
    }
}
