//! Bans in the kernel: what the gate has banned is dropped before it reaches
//! any service of this machine, in a table of nf_tables that is ours alone.
//!
//! The store's memory is what holds; the table follows it, a millisecond or two
//! behind. It hears of bans as the state's file does, by a [`Recorder`], and it
//! must not know HTTP, policies or who ordered a ban. FIREWALL.md beside this
//! crate's manifest is for operators.

mod batch;
mod keep;
mod netlink;
mod noted;
mod owner;
mod placed;
mod table;
mod watch;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use ipnet::IpNet;
use parking_lot::Mutex;
use portcullis_domain::{Ban, Recorder, StateFormat, Subject, Timestamp, Wait};
use rustix::io::Errno;

use crate::config;
pub use keep::Followed;
use keep::TableKeeper;
use netlink::{Kernel as _, Netlink};
use noted::Shared;

/// Longest wait for the thread at the end.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);

/// Why there is no firewall.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// The process may not.
    #[error(
        "firewall.backend: the capability CAP_NET_ADMIN is missing, without which nobody changes a firewall: start the \
         server as root with service.user, or give it the capability (systemd: AmbientCapabilities=CAP_NET_ADMIN; \
         containers: --cap-add NET_ADMIN)"
    )]
    NotAllowed,
    /// The process may not even ask.
    #[error(
        "firewall.backend: sockets to the kernel's firewall (AF_NETLINK) aren't allowed: {0}; with systemd, \
         RestrictAddressFamilies= has to have AF_NETLINK"
    )]
    NoSocket(Errno),
    /// The kernel has none.
    #[error("firewall.backend: this kernel has no nf_tables ({0}): load the module nf_tables")]
    NoTables(Errno),
    /// There is one keeper already.
    #[error(
        "firewall.backend: another server in this network namespace keeps the table inet portcullis, which one alone can \
         (it has the abstract socket @{name}; `ss -xap` shows which process that is): end it, or give this one no [firewall]",
        name = owner::NAME
    )]
    Taken,
    /// Nobody can tell whether there is one.
    #[error("firewall.backend: the abstract socket @{name}, which its keeper has, can't be made: {0}", name = owner::NAME)]
    NoClaim(Errno),
    /// The table can't be made.
    #[error("firewall: the table inet portcullis: {0}")]
    Table(String),
    /// There are no threads to be had.
    #[error("firewall: can't be kept: {0}")]
    Thread(std::io::Error),
    /// The thread is gone.
    #[error("firewall: its thread has ended")]
    Ended,
}

/// How the table keeps up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirewallHealth {
    /// Networks in the table.
    pub elements: u64,
    /// How far the table is behind the bans.
    pub lag: Duration,
    /// Changes that wait.
    pub pending: u64,
    /// Why the table isn't kept as it should be at the moment, if so.
    pub failing: Option<String>,
    /// Packets that the table has stopped since it was made.
    pub stopped_packets: u64,
    /// Transactions so far.
    pub transactions: u64,
    /// How long the last one took.
    pub last_transaction: Duration,
    /// How often somebody else's change was mended.
    pub mended: u64,
}

/// Keeps the table. Clones keep the same one; when the last is gone, it is left
/// as configured.
#[derive(Clone)]
pub struct Firewall(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// Until the thread has what it needs.
    starting: Mutex<Option<Sender<Start>>>,
    /// Nothing is ever sent: it closes when the thread ends.
    ended: Mutex<Option<Receiver<()>>>,
}

/// What the thread needs to keep the table.
struct Start {
    followed: Followed,
    began: Sender<Result<usize, FirewallError>>,
}

impl Firewall {
    /// Starts the thread that keeps the table, once it is seen that it may. It
    /// has the capabilities that the caller has now; whatever the caller gives
    /// up afterwards, it keeps.
    ///
    /// # Errors
    /// [`FirewallError`], above all without CAP_NET_ADMIN.
    pub fn open(config: &config::Firewall) -> Result<Self, FirewallError> {
        let shared = Arc::new(Shared::default());
        let (starting, start) = bounded(1);
        let (opened, opening) = bounded(1);
        let (running, ended) = bounded(0);
        let (config, its) = (config.clone(), Arc::clone(&shared));
        let run = move || {
            keep(config, its, &opened, &start);
            drop(running);
        };
        std::thread::Builder::new().name("firewall".to_owned()).spawn(run).map_err(FirewallError::Thread)?;
        opening.recv().map_err(|_| FirewallError::Ended)??;
        let (starting, ended) = (Mutex::new(Some(starting)), Mutex::new(Some(ended)));
        Ok(Self(Arc::new(Inner { shared, starting, ended })))
    }

    /// Whether this process might keep a table.
    ///
    /// # Errors
    /// [`FirewallError`] if not.
    pub fn probe() -> Result<(), FirewallError> {
        open().map(drop)
    }

    /// Puts all bans in force that the store has, in place of what the table
    /// held; from then on the table follows the store. How many there are.
    ///
    /// # Errors
    /// [`FirewallError`] if the kernel doesn't take them.
    pub fn start(&self, followed: Followed) -> Result<usize, FirewallError> {
        let starting = self.0.starting.lock().take().ok_or(FirewallError::Ended)?;
        let (began, beginning) = bounded(1);
        starting.send(Start { followed, began }).map_err(|_| FirewallError::Ended)?;
        beginning.recv().map_err(|_| FirewallError::Ended)?
    }

    /// Who hears of bans for it.
    #[must_use]
    pub fn recorder(&self) -> Arc<dyn Recorder> {
        Arc::new(Hearing(Arc::clone(&self.0.shared)))
    }

    /// How the table keeps up.
    #[must_use]
    pub fn health(&self) -> FirewallHealth {
        let (since, pending) = self.0.shared.waiting();
        let figures = self.0.shared.figures();
        let failing = if self.0.has_ended() {
            Some("its thread has ended: restart the server".to_owned())
        } else {
            figures.failing.or(figures.deaf)
        };
        FirewallHealth {
            elements: figures.elements,
            lag: since.map(|since| since.elapsed()).unwrap_or_default(),
            pending: u64::try_from(pending).unwrap_or(u64::MAX),
            failing,
            stopped_packets: figures.stopped,
            transactions: figures.transactions,
            last_transaction: figures.last_transaction,
            mended: figures.mended,
        }
    }

    /// Puts in force what is left, and leaves the table as configured.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    /// Whether the thread is gone though nobody has told it to end.
    fn has_ended(&self) -> bool {
        self.ended.lock().as_ref().is_some_and(|ended| ended.try_recv() == Err(TryRecvError::Disconnected))
    }

    fn close(&self) {
        self.shared.close();
        // Whoever hasn't started never will.
        drop(self.starting.lock().take());
        let ended = self.ended.lock().take();
        if let Some(ended) = ended
            && ended.recv_timeout(CLOSE_TIME_MAX).is_err_and(|error| error.is_timeout())
        {
            tracing::error!("firewall: the table isn't kept to its end: the kernel doesn't answer");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn open() -> Result<Netlink, FirewallError> {
    let mut netlink = Netlink::open().map_err(FirewallError::NoSocket)?;
    match netlink.generation() {
        Ok(_) => Ok(netlink),
        Err(Errno::PERM | Errno::ACCESS) => Err(FirewallError::NotAllowed),
        Err(error) => Err(FirewallError::NoTables(error)),
    }
}

fn claim() -> Result<OwnedFd, FirewallError> {
    owner::claim(owner::NAME).map_err(|error| match error {
        Errno::ADDRINUSE => FirewallError::Taken,
        error => FirewallError::NoClaim(error),
    })
}

/// The thread's life.
fn keep(
    config: config::Firewall,
    shared: Arc<Shared>,
    opened: &Sender<Result<(), FirewallError>>,
    start: &Receiver<Start>,
) {
    let (has, result) = match open().and_then(|netlink| Ok((netlink, claim()?))) {
        Ok(has) => (Some(has), Ok(())),
        Err(error) => (None, Err(error)),
    };
    let Ok(()) = opened.send(result) else { return };
    // The claim is held until the table is left as it is to be left.
    let Some((netlink, _claim)) = has else { return };
    let Ok(Start { followed, began }) = start.recv() else { return };
    let started = Instant::now();
    let (changes, ours) = netlink.changes();
    let mut keeper = TableKeeper::new(netlink, config, Arc::clone(&shared), followed);
    let bans = match keeper.begin() {
        Ok(bans) => bans,
        Err(refused) => return drop(began.send(Err(FirewallError::Table(refused.to_string())))),
    };
    let watching = Arc::clone(&shared);
    let watch = move || watch::watch(&changes, ours, &watching);
    if let Err(error) = std::thread::Builder::new().name("firewall-watch".to_owned()).spawn(watch) {
        return drop(began.send(Err(FirewallError::Thread(error))));
    }
    tracing::info!(
        "firewall: the table inet {} holds {bans} bans, put in force in {} ms",
        table::TABLE,
        started.elapsed().as_millis()
    );
    // Whoever asked waits for it.
    let _they_wait = began.send(Ok(bans));
    keeper.run();
}

/// Notes bans, and nothing else.
struct Hearing(Arc<Shared>);

impl Recorder for Hearing {
    fn banned(&self, ban: &Ban) {
        self.0.note(ban.network, Some(ban.until));
    }

    fn unbanned(&self, network: IpNet) {
        self.0.note(network, None);
    }

    fn waits(&self, _: &Wait) {}

    fn waits_no_more(&self, _: &Subject) {}

    fn kept(&self, _: &Arc<str>, _: &StateFormat, _: &Subject, _: &[u8], _: Timestamp) {}

    fn forgot(&self, _: &Arc<str>, _: &StateFormat, _: &Subject) {}
}

#[cfg(test)]
mod tests;
