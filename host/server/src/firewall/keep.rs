//! The one thread that changes the table: what is noted is put in force at
//! once, together with what waits by then; what is in doubt is made anew from
//! the store, in one transaction that replaces the other.
//!
//! What the kernel refuses is tried again; the gate never hears of it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use portcullis_domain::{Clock, Store, Timestamp};
use rustix::io::Errno;

use super::batch::Batch;
use super::netlink::{Kernel, Refused};
use super::noted::{Changes, Mend, Shared, Wake};
use super::placed::Placed;
use super::table;
use crate::config::{Firewall, OnStop, printable};
use crate::seldom::Seldom;

/// Changes in one transaction: the kernel keeps 4 KiB for each until it is done,
/// and where it lets no more be sent than ordinary processes may (twice the
/// 212,992 bytes of `net.core.wmem_max`), they fit.
const CHANGES_MAX: usize = 2048;
/// Bans in one of the transactions that make the table anew where one has no room for all.
const PART: usize = 4096;
/// What the kernel says where a table of that name is there with another shape:
/// an older version's, or somebody's.
const ANOTHER_SHAPE: [Errno; 6] =
    [Errno::EXIST, Errno::BUSY, Errno::INVAL, Errno::NOENT, Errno::OPNOTSUPP, Errno::NFILE];
/// Bans that are read from the store at once, which holds up whoever bans.
const PAGE: usize = 4096;
/// How often the table is made anew when others change it meanwhile.
const WHOLE_TRIES: usize = 3;
/// How often a step is tried without those whom others have taken out.
const STEP_TRIES: usize = 3;
/// Between two times that the table is made anew: two that fight over it don't take all there is.
const WHOLE_INTERVAL: Duration = Duration::from_millis(500);
/// Until what the kernel has refused is tried again, at first and at most.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
const RETRY_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// How often what has ended is forgotten, and the like.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);

/// What the table follows.
pub struct Followed {
    /// Has the bans.
    pub store: Arc<dyn Store>,
    /// The clock that they go by.
    pub clock: Arc<dyn Clock>,
    /// Says which networks are never banned at the moment, even by a ban of a wider one.
    pub spared: Box<dyn Fn() -> Vec<IpNet> + Send>,
}

/// Keeps the table. Lives on a thread of its own.
pub(super) struct TableKeeper<K> {
    kernel: K,
    config: Firewall,
    shared: Arc<Shared>,
    followed: Followed,
    placed: Placed,
    /// As the table has them.
    spared: BTreeSet<IpNet>,
    /// Nobody knows what the table holds.
    in_doubt: bool,
    /// No sooner is it made anew.
    next_whole: Instant,
    /// When what has been refused is tried again, and how long after that.
    retry: Option<Instant>,
    patience: Duration,
    housekeeping: Instant,
    mended: Seldom,
    in_parts: Seldom,
}

impl<K: Kernel> TableKeeper<K> {
    pub(super) fn new(kernel: K, config: Firewall, shared: Arc<Shared>, followed: Followed) -> Self {
        let now = Instant::now();
        Self {
            kernel,
            config,
            shared,
            followed,
            placed: Placed::default(),
            spared: BTreeSet::new(),
            in_doubt: true,
            next_whole: now,
            retry: None,
            patience: RETRY_INTERVAL,
            housekeeping: now,
            mended: Seldom::default(),
            in_parts: Seldom::default(),
        }
    }

    /// Puts all bans in force that the store has; how many.
    pub(super) fn begin(&mut self) -> Result<usize, Refused> {
        self.shared.take();
        self.whole()?;
        self.shared.done();
        self.keep_house();
        Ok(self.placed.in_force())
    }

    /// Follows what is noted until it is told to end.
    pub(super) fn run(mut self) {
        loop {
            let until = self.retry.unwrap_or(self.housekeeping);
            let wake = self.shared.wait(until, self.retry.is_some());
            if wake == Wake::Close {
                // There is no later any more.
                (self.retry, self.next_whole) = (None, Instant::now());
            }
            self.turn();
            if wake == Wake::Close {
                return self.end();
            }
            if self.housekeeping <= Instant::now() {
                self.keep_house();
            }
        }
    }

    /// Puts in force what waits.
    pub(super) fn turn(&mut self) {
        let taken = self.shared.take();
        self.in_doubt |= taken.owed || self.spared != self.spared_now();
        if let Some(mend) = taken.mend {
            self.in_doubt = true;
            self.tell_of(&mend);
        }
        if !self.in_doubt {
            match self.follow(taken.changes) {
                Ok(()) => return self.shared.done(),
                // Whatever it was: what the table holds is in doubt now.
                Err(refused) => tracing::debug!("firewall: {refused}; the table is made anew"),
            }
            self.in_doubt = true;
        }
        let now = Instant::now();
        let due = self.retry.unwrap_or(self.next_whole).max(self.next_whole);
        if now < due {
            self.retry = Some(due);
            return;
        }
        self.next_whole = now + WHOLE_INTERVAL;
        match self.whole() {
            Ok(()) => self.succeeded(),
            Err(refused) => self.failed(&refused),
        }
    }

    fn follow(&mut self, changes: Changes) -> Result<(), Refused> {
        let changes: Vec<(IpNet, Option<Timestamp>)> = changes.into_iter().collect();
        for some in changes.chunks(CHANGES_MAX) {
            self.step(some)?;
        }
        Ok(())
    }

    fn step(&mut self, changes: &[(IpNet, Option<Timestamp>)]) -> Result<(), Refused> {
        let now = self.followed.clock.now();
        let step = self.placed.step(changes, now);
        let mut not_in = HashSet::new();
        let mut tries = 0;
        while let Some(stride) = self.placed.stride(&step, &not_in, now) {
            let began = Instant::now();
            let Err(refused) = self.kernel.commit(&stride.transaction) else {
                self.count(began);
                break;
            };
            // Elements end by themselves, maybe just now.
            let missing = stride.not_in(&refused);
            tries += 1;
            if missing.is_empty() || tries >= STEP_TRIES {
                return Err(refused);
            }
            not_in.extend(missing);
        }
        self.placed.took(step, now);
        self.tell_how_many();
        Ok(())
    }

    /// Makes the table anew from what the store holds.
    fn whole(&mut self) -> Result<(), Refused> {
        for _ in 0..WHOLE_TRIES {
            // What we do ourselves needn't be told: for 100,000 bans that is much.
            self.kernel.listen(false)?;
            let before = self.kernel.generation()?;
            let leftover = self.kernel.sets()?;
            let now = self.followed.clock.now();
            let (placed, spared) = (Placed::of(self.bans(now)), self.spared_now());
            let transactions = match self.replace(Batch::new(), &placed, &spared, &leftover, now) {
                Err(refused) if ANOTHER_SHAPE.contains(&refused.why) => {
                    tracing::debug!("firewall: {refused}; the table is removed and made again");
                    let mut batch = Batch::new();
                    table::remove(&mut batch);
                    self.replace(batch, &placed, &spared, &[], now)?
                }
                transactions => transactions?,
            };
            (self.placed, self.spared) = (placed, spared);
            self.tell_how_many();
            self.kernel.listen(true)?;
            // Whoever has changed something while we didn't listen may have changed our table.
            if self.kernel.generation()? == before.wrapping_add(transactions) {
                break;
            }
        }
        self.in_doubt = false;
        Ok(())
    }

    /// Does what is in the batch and makes the table hold those; in how many transactions.
    fn replace(
        &mut self,
        batch: Batch,
        placed: &Placed,
        spared: &BTreeSet<IpNet>,
        leftover: &[String],
        now: Timestamp,
    ) -> Result<u32, Refused> {
        let began = Instant::now();
        let mut all = batch.clone();
        placed.whole(&mut all, &self.config, spared, leftover, now);
        match self.kernel.commit(&all.finish()) {
            Err(refused) if refused.why == Errno::MSGSIZE => {}
            Err(refused) => return Err(refused),
            Ok(()) => {
                self.count(began);
                return Ok(1);
            }
        }
        if self.in_parts.tell().is_some() {
            tracing::warn!(
                "firewall: {} bans are more than net.core.wmem_max lets be sent at once, and CAP_NET_ADMIN of a user \
                 namespace isn't let send more: the table is made anew in parts, and bans in those to come are \
                 enforced by the gate alone for a moment; raise net.core.wmem_max on the host",
                placed.in_force()
            );
        }
        let parts = placed.whole_in_parts(batch, &self.config, spared, leftover, now, PART);
        for part in &parts {
            let began = Instant::now();
            self.kernel.commit(part)?;
            self.count(began);
        }
        Ok(u32::try_from(parts.len()).unwrap_or(u32::MAX))
    }

    fn spared_now(&self) -> BTreeSet<IpNet> {
        (self.followed.spared)().into_iter().map(|network| network.trunc()).collect()
    }

    /// Every ban in force.
    fn bans(&self, now: Timestamp) -> Vec<(IpNet, Timestamp)> {
        let mut bans = Vec::new();
        let mut after = None;
        loop {
            let page = self.followed.store.bans(after, PAGE, now);
            bans.extend(page.iter().map(|ban| (ban.network, ban.until)));
            match page.last().filter(|_| page.len() == PAGE) {
                Some(last) => after = Some((last.until, last.network)),
                None => return bans,
            }
        }
    }

    fn count(&self, began: Instant) {
        self.shared.tell(|figures| {
            figures.transactions += 1;
            figures.last_transaction = began.elapsed();
        });
    }

    fn succeeded(&mut self) {
        self.retry = None;
        self.patience = RETRY_INTERVAL;
        self.shared.done();
        let mut failed = None;
        self.shared.tell(|figures| failed = figures.failing.take());
        if failed.is_some() {
            tracing::info!("firewall: the table inet {} is kept again, with every ban in it", table::TABLE);
        }
    }

    fn failed(&mut self, refused: &Refused) {
        let mut first = false;
        self.shared.tell(|figures| first = figures.failing.replace(refused.to_string()).is_none());
        if first {
            tracing::error!(
                "firewall: {refused}; bans are enforced by the gate alone until that is over; it is tried again by \
                 itself"
            );
        }
        self.retry = Some(Instant::now() + self.patience);
        self.patience = (self.patience * 2).min(RETRY_INTERVAL_MAX);
    }

    fn tell_of(&self, mend: &Mend) {
        self.shared.tell(|figures| figures.mended += 1);
        let table = table::TABLE;
        match mend {
            Mend::Changed { name, pid } => {
                if let Some(times) = self.mended.tell() {
                    tracing::warn!(
                        "firewall: {} (process {pid}) has changed the table inet {table}, which is Portcullis' own; it \
                         is made anew ({times} times so far)",
                        printable(name)
                    );
                }
            }
            Mend::Missed => {
                tracing::debug!("firewall: more was changed than could be heard of; the table is made anew")
            }
            Mend::Deaf(error) => tracing::error!(
                "firewall: what others change in the table inet {table} isn't noticed any more: {error}; restart to \
                 have it noticed again"
            ),
        }
    }

    /// Lets no time pass before what has been refused is tried again.
    #[cfg(test)]
    pub(super) fn hurry(&mut self) {
        self.retry = None;
        self.next_whole = Instant::now();
    }

    /// What has to be done now and then.
    fn keep_house(&mut self) {
        self.housekeeping = Instant::now() + HOUSEKEEPING_INTERVAL;
        self.placed.sweep(self.followed.clock.now());
        self.tell_how_many();
        let stopped = self.kernel.stopped().ok().flatten();
        self.shared.tell(|figures| figures.stopped = stopped.unwrap_or(figures.stopped));
    }

    fn tell_how_many(&self) {
        let elements = u64::try_from(self.placed.in_force()).unwrap_or(u64::MAX);
        self.shared.tell(|figures| figures.elements = elements);
    }

    /// Leaves the table as it is to be left.
    fn end(mut self) {
        match self.config.on_stop {
            OnStop::Keep if self.in_doubt => tracing::error!(
                "firewall: the table inet {} stays as it was found, which may not be as the bans are",
                table::TABLE
            ),
            OnStop::Keep => {
                tracing::info!("firewall: the table inet {} stays, and each ban in it ends in its time", table::TABLE)
            }
            OnStop::Remove => {
                let mut batch = Batch::new();
                table::remove(&mut batch);
                match self.kernel.commit(&batch.finish()) {
                    Ok(()) => tracing::info!("firewall: the table inet {} is removed", table::TABLE),
                    Err(refused) => tracing::error!("firewall: the table inet {} stays: {refused}", table::TABLE),
                }
            }
        }
    }
}
