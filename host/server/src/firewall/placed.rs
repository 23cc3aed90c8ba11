//! What the table holds as far as we know, and what has to be done for it to
//! hold something else. It must not know sockets or threads.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use foldhash::quality::RandomState;
use ipnet::IpNet;
use portcullis_domain::Timestamp;

use super::batch::{Batch, Transaction};
use super::table::{self, Width};
use crate::config::Firewall;

/// How much longer than a ban its element lasts: the kernel counts in ticks of
/// up to 10 ms and rounds down, and a ban mustn't end early.
const SLACK: Duration = Duration::from_millis(20);
/// How long after its end an element may still be there, whatever held the
/// transaction up that put it in.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// Networks in the table and until when, and which widths have sets.
#[derive(Default)]
pub(super) struct Placed {
    ends: HashMap<IpNet, Timestamp, RandomState>,
    widths: BTreeSet<Width>,
    /// How many there are whose end hasn't come, as far as anybody has looked.
    in_force: usize,
}

/// Networks to take out and networks to put in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    take_out: Vec<IpNet>,
    put_in: Vec<(IpNet, Timestamp)>,
}

/// A step as a transaction.
pub(super) struct Stride {
    pub(super) transaction: Transaction,
    /// By the number of its message, whom it takes out.
    taken_out: BTreeMap<u32, IpNet>,
}

impl Stride {
    /// Those of them that weren't in; nobody if anything else was refused.
    pub(super) fn not_in(&self, refused: &super::netlink::Refused) -> Vec<IpNet> {
        let missing = |(number, why): &(u32, rustix::io::Errno)| {
            self.taken_out.get(number).filter(|_| *why == rustix::io::Errno::NOENT).copied()
        };
        refused.messages.iter().map(missing).collect::<Option<_>>().unwrap_or_default()
    }
}

impl Placed {
    /// What a table holds that has all of these.
    pub(super) fn of(bans: impl IntoIterator<Item = (IpNet, Timestamp)>) -> Self {
        let ends: HashMap<_, _, _> = bans.into_iter().collect();
        let widths = ends.keys().map(Width::of).collect();
        let in_force = ends.len();
        Self { ends, widths, in_force }
    }

    /// Makes the table so, whatever it holds; the names of the sets it has are `leftover`.
    pub(super) fn whole(
        &self,
        batch: &mut Batch,
        config: &Firewall,
        spared: &BTreeSet<IpNet>,
        leftover: &[String],
        now: Timestamp,
    ) {
        table::whole(batch, config, spared, &self.widths, leftover);
        put_in(batch, self.ends.iter().map(|(network, until)| (*network, *until)), now);
    }

    /// The same in several transactions, the first of which has all but the bans
    /// and the others so many of them each.
    pub(super) fn whole_in_parts(
        &self,
        mut batch: Batch,
        config: &Firewall,
        spared: &BTreeSet<IpNet>,
        leftover: &[String],
        now: Timestamp,
        many: usize,
    ) -> Vec<Transaction> {
        table::whole(&mut batch, config, spared, &self.widths, leftover);
        let ends: Vec<_> = self.ends.iter().map(|(network, until)| (*network, *until)).collect();
        let parts = ends.chunks(many).map(|some| {
            let mut batch = Batch::new();
            put_in(&mut batch, some.iter().copied(), now);
            batch.finish()
        });
        [batch.finish()].into_iter().chain(parts).collect()
    }

    /// What has to be done for those changes.
    pub(super) fn step(&self, changes: &[(IpNet, Option<Timestamp>)], now: Timestamp) -> Step {
        let mut step = Step::default();
        for &(network, until) in changes {
            if self.ends.get(&network).is_some_and(|end| now < end.after(SLACK + GONE_AFTER)) {
                step.take_out.push(network);
            }
            if let Some(until) = until.filter(|until| now < *until) {
                step.put_in.push((network, until));
            }
        }
        step
    }

    /// The step as a transaction, without taking out those who aren't in; none
    /// if there is nothing to do.
    pub(super) fn stride(&self, step: &Step, not_in: &HashSet<IpNet>, now: Timestamp) -> Option<Stride> {
        let mut batch = Batch::new();
        let mut taken_out = BTreeMap::new();
        for network in step.take_out.iter().filter(|network| !not_in.contains(network)) {
            taken_out.insert(table::take_out(&mut batch, network), *network);
        }
        let widths: BTreeSet<Width> = step.put_in.iter().map(|(network, _)| Width::of(network)).collect();
        for (number, width) in (1..).zip(widths.difference(&self.widths)) {
            table::add_width(&mut batch, *width, number);
        }
        put_in(&mut batch, step.put_in.iter().copied(), now);
        (!batch.is_empty()).then(|| Stride { transaction: batch.finish(), taken_out })
    }

    /// It has been done.
    pub(super) fn took(&mut self, step: Step, now: Timestamp) {
        for network in step.take_out {
            let end = self.ends.remove(&network);
            self.in_force -= usize::from(end.is_some_and(|end| now < end)).min(self.in_force);
        }
        for (network, until) in step.put_in {
            self.widths.insert(Width::of(&network));
            self.ends.insert(network, until);
            self.in_force += 1;
        }
    }

    /// Forgets what the kernel has let go.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        let mut in_force = 0;
        self.ends.retain(|_, end| {
            in_force += usize::from(now < *end);
            now < end.after(SLACK + GONE_AFTER)
        });
        self.in_force = in_force;
    }

    /// How many are in force, those included that have ended since the last sweep.
    pub(super) const fn in_force(&self) -> usize {
        self.in_force
    }
}

fn put_in(batch: &mut Batch, bans: impl Iterator<Item = (IpNet, Timestamp)>, now: Timestamp) {
    let mut by_width: BTreeMap<Width, Vec<(IpNet, Duration)>> = BTreeMap::new();
    for (network, until) in bans {
        by_width.entry(Width::of(&network)).or_default().push((network, until.since(now) + SLACK));
    }
    for (width, networks) in by_width {
        table::add(batch, width, &networks);
    }
}
