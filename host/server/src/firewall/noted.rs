//! Where bans are noted and the firewall's thread finds them, and what is known
//! of how the firewall keeps up.
//!
//! Whoever notes holds a lock of the store: a note is an entry in a map and
//! nothing more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use ipnet::IpNet;
use parking_lot::{Condvar, Mutex};
use portcullis_domain::Timestamp;
use rustix::io::Errno;

/// Changes that may wait; with more the whole table is made anew from the store.
const CHANGES_MAX: usize = 100_000;

/// Of each network the latest: until when it is banned, or that it isn't.
pub(super) type Changes = HashMap<IpNet, Option<Timestamp>, RandomState>;

/// Why the table has to be made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mend {
    /// Somebody else has changed it.
    Changed {
        /// The program's name.
        name: String,
        /// Its process.
        pid: u32,
    },
    /// So much was changed at once that nobody knows what.
    Missed,
    /// What others change isn't heard of any more.
    Deaf(Errno),
}

#[derive(Default)]
struct Noted {
    changes: Changes,
    /// Too many changes waited: the store has them all.
    owed: bool,
    mend: Option<Mend>,
    /// Since when something waits to be taken.
    since: Option<Instant>,
    /// Since when the first of what is being done has waited.
    in_flight_since: Option<Instant>,
    in_flight: usize,
    closing: bool,
}

/// What the firewall's thread has taken.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) changes: Changes,
    /// The whole table has to be made anew.
    pub(super) owed: bool,
    /// Somebody has had a hand in it.
    pub(super) mend: Option<Mend>,
}

/// What the thread is woken for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// Something waits, or it is time to look.
    Look,
    /// The end.
    Close,
}

/// How it goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) failing: Option<String>,
    /// Why changes by others go unnoticed from now on, if so.
    pub(super) deaf: Option<String>,
    pub(super) elements: u64,
    pub(super) stopped: u64,
    pub(super) transactions: u64,
    pub(super) last_transaction: Duration,
    pub(super) mended: u64,
}

/// What the recorder, the threads and those who ask share.
#[derive(Default)]
pub(super) struct Shared {
    noted: Mutex<Noted>,
    wake: Condvar,
    figures: Mutex<Figures>,
}

impl Shared {
    /// Notes until when a network is banned, or that it isn't any more.
    pub(super) fn note(&self, network: IpNet, until: Option<Timestamp>) {
        let mut noted = self.noted.lock();
        if noted.closing {
            return;
        }
        noted.since.get_or_insert_with(Instant::now);
        if noted.owed {
            // The whole table is made anew, and this with it.
            return;
        }
        let first = noted.changes.is_empty();
        noted.changes.insert(network, until);
        if noted.changes.len() > CHANGES_MAX {
            noted.changes = Changes::default();
            noted.owed = true;
        }
        drop(noted);
        if first {
            self.wake.notify_one();
        }
    }

    /// The table has to be mended.
    pub(super) fn mend(&self, mend: Mend) {
        let mut noted = self.noted.lock();
        noted.since.get_or_insert_with(Instant::now);
        noted.mend.get_or_insert(mend);
        drop(noted);
        self.wake.notify_one();
    }

    /// Waits until something is noted, until then, or until the end. What is to
    /// be mended doesn't wake while it is `calm`.
    pub(super) fn wait(&self, until: Instant, calm: bool) -> Wake {
        let mut noted = self.noted.lock();
        loop {
            if noted.closing {
                return Wake::Close;
            }
            let something = !calm && (!noted.changes.is_empty() || noted.owed || noted.mend.is_some());
            if something || self.wake.wait_until(&mut noted, until).timed_out() {
                return Wake::Look;
            }
        }
    }

    /// Hands over what waits.
    pub(super) fn take(&self) -> Taken {
        let mut noted = self.noted.lock();
        let changes = std::mem::take(&mut noted.changes);
        noted.in_flight = changes.len();
        noted.in_flight_since = noted.in_flight_since.into_iter().chain(noted.since.take()).min();
        let (owed, mend) = (std::mem::take(&mut noted.owed), noted.mend.take());
        Taken { changes, owed, mend }
    }

    /// What was taken is in force.
    pub(super) fn done(&self) {
        let mut noted = self.noted.lock();
        noted.in_flight_since = None;
        noted.in_flight = 0;
    }

    /// As if too much had waited.
    #[cfg(test)]
    pub(super) fn owe(&self) {
        let mut noted = self.noted.lock();
        noted.owed = true;
        noted.changes = Changes::default();
    }

    /// Since when something waits, and how much.
    pub(super) fn waiting(&self) -> (Option<Instant>, usize) {
        let noted = self.noted.lock();
        (noted.in_flight_since.into_iter().chain(noted.since).min(), noted.changes.len() + noted.in_flight)
    }

    pub(super) fn figures(&self) -> Figures {
        self.figures.lock().clone()
    }

    pub(super) fn tell(&self, tell: impl FnOnce(&mut Figures)) {
        tell(&mut self.figures.lock());
    }

    /// Tells the threads to end.
    pub(super) fn close(&self) {
        self.noted.lock().closing = true;
        self.wake.notify_all();
    }

    /// Whether they are to end.
    pub(super) fn is_closed(&self) -> bool {
        self.noted.lock().closing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(n: u32) -> IpNet {
        IpNet::new(std::net::Ipv4Addr::from(n).into(), 32).unwrap()
    }

    #[test]
    fn of_one_network_only_the_latest_waits() {
        let shared = Shared::default();
        shared.note(network(1), Some(Timestamp::from_millis(5)));
        shared.note(network(1), None);
        let taken = shared.take();
        assert_eq!(taken.changes.into_iter().collect::<Vec<_>>(), [(network(1), None)]);
        assert!(shared.waiting().0.is_some(), "it isn't in force before it is done");
        shared.done();
        assert_eq!(shared.waiting(), (None, 0));
    }

    #[test]
    fn with_too_many_the_whole_table_is_made_anew_and_none_is_kept() {
        let shared = Shared::default();
        (0..u32::try_from(CHANGES_MAX).unwrap() + 5).for_each(|n| shared.note(network(n), None));
        let taken = shared.take();
        assert!(taken.owed && taken.changes.is_empty());
        shared.note(network(1), None);
        assert_eq!(shared.take().changes.len(), 1, "what comes later is noted again");
    }

    #[test]
    fn nothing_is_noted_after_the_end() {
        let shared = Shared::default();
        shared.close();
        shared.note(network(1), None);
        assert_eq!(shared.waiting(), (None, 0));
        assert_eq!(shared.wait(Instant::now(), false), Wake::Close);
    }
}
