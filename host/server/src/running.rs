//! The running server, as those see it who administer it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use portcullis_domain::MemoryStore;

use crate::config::Config;
use crate::counters::Counters;
use crate::firewall::Firewall;
use crate::gatekeeper::Gatekeeper;
use crate::http::{ConnectionCap, HandshakeGauge};
use crate::journal::Journal;
use crate::log::Log;
use crate::setup::{LoadedPolicy, PreparedDoor, Setup};
use crate::state::Keeper;
use crate::swap::SwapRequests;
use crate::tls::Certificate;
use crate::watch::Watches;

/// What is in force, swapped as a whole.
pub struct InForce {
    /// The configuration.
    pub config: Config,
    /// Its policies.
    pub policies: Vec<LoadedPolicy>,
    /// What its listeners do before the first request.
    pub doors: Vec<PreparedDoor>,
    /// Since when.
    pub since: jiff::Timestamp,
}

impl InForce {
    /// What that setup puts in force.
    #[must_use]
    pub fn of(setup: &Setup, since: jiff::Timestamp) -> Self {
        let (config, policies, doors) = (setup.config.clone(), setup.policies.clone(), setup.doors.clone());
        Self { config, policies, doors, since }
    }

    /// The certificates that its listeners show, each file once.
    #[must_use]
    pub fn certificates(&self) -> Vec<&Certificate> {
        let tls = self.doors.iter().filter_map(|door| door.door.tls.as_ref());
        let mut files = BTreeSet::new();
        tls.flat_map(|tls| tls.certificates())
            .map(|certificate| &**certificate)
            .filter(|certificate| files.insert(certificate.file()))
            .collect()
    }
}

/// Everything that can be asked or told to do something.
pub struct Running {
    /// When the process began to serve.
    pub started: jiff::Timestamp,
    /// Where clients connect, with the ports that port 0 became.
    pub addresses: Vec<SocketAddr>,
    /// Where other proxies ask.
    pub decide_addresses: Vec<SocketAddr>,
    /// The server is ending: requests under way are finished, and no more come.
    pub ending: AtomicBool,
    /// Answers requests; it has the gate.
    pub gatekeeper: Gatekeeper,
    /// Waits, bans and kept state.
    pub store: Arc<MemoryStore>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Connections of clients, and how many there may be.
    pub connections: ConnectionCap,
    /// Handshakes under way.
    pub handshakes: HandshakeGauge,
    /// The log.
    pub log: Log,
    /// The journal.
    pub journal: Journal,
    /// What makes state durable, if anything does.
    pub keeper: Option<Keeper>,
    /// What keeps bans in force in the kernel too, if anything does.
    pub firewall: Option<Firewall>,
    /// What is in force.
    pub in_force: Arc<ArcSwap<InForce>>,
    /// Has changes put in force.
    pub swapping: SwapRequests,
    /// Logs that are watched.
    pub watches: Watches,
}
