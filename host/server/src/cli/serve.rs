//! `portcullis serve`: everything put together, run, and ended in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use portcullis_domain::{Capacity, Gate, MemoryStore, Recorder, Recorders, Store, Timestamp};
use portcullis_runtime::{Runtime, RuntimeConfig, Snapshot};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{Failed, ServeArgs, overrides};
use crate::admin;
use crate::auth::{Fingerprints, HashPool, ProcessKey};
use crate::clock::HostClock;
use crate::config::{Config, Overrides, StoreKind};
use crate::counters::Counters;
use crate::decide::Decider;
use crate::firewall::{Firewall, Followed};
use crate::gatekeeper::Gatekeeper;
use crate::http::{self, ConnectionCap, Handle, Listening, ServeOptions, Tunnels};
use crate::journal::Journal;
use crate::log::{Log, Target};
use crate::noted::Noting;
use crate::running::{InForce, Running};
use crate::service::capability::{self, CapabilitySet};
use crate::service::{self, Manager, NewUser, Pulse, UserError};
use crate::setup::{LogReporter, Setup, Workshop, entrances, hang, http_options, workers};
use crate::state::{Keeper, StateError};
use crate::swap::{Stamps, SwapThread, Swapper, tell_lifted};
use crate::watch::Watches;

/// How often expired entries are dropped.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// How often the log is asked for what it holds back.
const LOG_TICK_INTERVAL: Duration = Duration::from_secs(1);
/// Reloads by signal that are waited for at once, to tell the service manager; more are one more reload.
const RELOADS_MAX: usize = 4;
/// Connections kept for other proxies, if there are four times as many.
const DECIDE_CONNECTIONS_MAX: usize = 2048;
/// Connections kept for the admin, whatever strangers do.
const ADMIN_SLOTS: usize = 1;

pub(super) fn serve(args: ServeArgs) -> Result<(), Failed> {
    let wrong = |error: UserError| Failed::Usage(error.to_string());
    service::no_new_privileges().map_err(wrong)?;
    let overrides = overrides(&args)?;
    // Before anything is read: what changes while the server comes up is noticed.
    let mut seen = Stamps::default();
    seen.take(&args.config);
    let config = Config::load(args.config.as_deref(), &overrides)?;
    seen.take(config.files());
    let (new_user, warning) = NewUser::find(config.service.user.as_deref()).map_err(wrong)?;
    let listening = match &new_user {
        // Some ports are root's to give. Otherwise nobody is kept waiting for a server that may not come up.
        Some(_) => Some(listen(&config).map_err(anyhow::Error::from)?),
        None => None,
    };
    if let Some(user) = &new_user {
        let kept = if config.firewall.is_some() { CapabilitySet::NET_ADMIN } else { CapabilitySet::empty() };
        user.become_for_good(args.config.as_deref(), kept).map_err(wrong)?;
    }
    let (firewall, weaker) = open_firewall(&config)?;
    let log = Log::start(config.log.level, config.log.format, Target::of(config.log.file.as_deref()))
        .map_err(|error| Failed::Usage(error.to_string()))?;
    tracing_subscriber::registry().with(log.layer()).try_init().context("can't log")?;
    for warning in warning.into_iter().chain(weaker) {
        tracing::warn!("{warning}");
    }
    if let Some(user) = new_user {
        tracing::info!("runs as user {}", user.name());
    }
    let ran = run(args, overrides, config, seen, Early { listening, firewall }, &log);
    // Whatever happened, the log has it before the process ends.
    let _ends_anyway = log.flush();
    ran
}

/// What is opened before anything else, with rights that go then.
struct Early {
    listening: Option<Listening>,
    firewall: Option<Firewall>,
}

/// The firewall's thread, which alone keeps the right to it; and what the
/// operator should hear.
fn open_firewall(config: &Config) -> Result<(Option<Firewall>, Option<String>), Failed> {
    let Some(config) = &config.firewall else { return Ok((None, None)) };
    let firewall = Firewall::open(config).map_err(|error| Failed::Usage(error.to_string()))?;
    let laid_down = capability::lay_down(CapabilitySet::NET_ADMIN);
    let weaker = laid_down.err().map(|error| {
        format!("CAP_NET_ADMIN can't be taken from threads that don't need it ({error}): SystemCallFilter= may have to have capset")
    });
    Ok((Some(firewall), weaker))
}

fn run(
    args: ServeArgs,
    overrides: Overrides,
    config: Config,
    seen: Stamps,
    early: Early,
    log: &Log,
) -> Result<(), Failed> {
    let Early { listening, firewall } = early;
    let manager = Manager::of_environment();
    let workshop = workshop(&config, log)?;
    let name = args.config.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
    let setup = Setup::prepare(config, &name, &workshop, None)?;
    for warning in &setup.warnings {
        tracing::warn!("{warning}");
    }
    let counters = Arc::new(Counters::default());
    let kept = Kept::open(&setup.config, &counters, firewall)?;
    let journal = Journal::start(&setup.config.journal, Arc::clone(&kept.clock) as _)
        .map_err(|error| Failed::Usage(error.to_string()))?;
    let gatekeeper = gatekeeper(&setup, &workshop, log, &counters, &kept, &journal)?;
    journal.in_force(gatekeeper.gate().clock().now(), &setup.policies);
    // What was kept may be older than the configuration.
    tell_lifted(&gatekeeper.gate().lift_never_banned());
    let admin = admin::Bound::open(&setup.config.admin).map_err(|error| Failed::Usage(error.to_string()))?;
    let drain_timeout = setup.config.listen.drain_timeout;
    // Signals are taken before anyone can connect: one that comes early isn't lost.
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build().context("can't start")?;
    let mut signals = waiting.block_on(async { Signals::new() }).context("can't take signals")?;
    let listening = listening.map_or_else(|| listen(&setup.config), Ok);
    let listening = listening.map_err(anyhow::Error::from)?;
    // Only now: a server that can't listen doesn't touch the table.
    if let Some(firewall) = &kept.firewall {
        let gate = Arc::clone(gatekeeper.gate());
        let spared = Box::new(move || gate.ruleset().source.spared().collect());
        let followed = Followed { store: Arc::clone(&kept.store) as _, clock: Arc::clone(&kept.clock) as _, spared };
        firewall.start(followed).map_err(|error| Failed::Usage(error.to_string()))?;
    }
    let entrances = listening.entrances().to_vec();
    hang(&setup.doors, &entrances);
    let handle = listening.serve(&Arc::new(gatekeeper.clone())).map_err(anyhow::Error::from)?;
    let deciding = decide(&setup.config, handle.cap(), &gatekeeper)?;
    announce(&handle, &setup);
    let watches = Watches::new(gatekeeper.clone(), kept.keeper.clone());
    watches.set(&setup.config.watches, setup.config.auth.id_case);
    let started = setup.config.clone();
    let (config_file, log_too) = (args.config, log.clone());
    let since = jiff::Timestamp::now();
    let in_force = InForce::of(&setup, since);
    let in_force = Arc::new(ArcSwap::from_pointee(in_force));
    let swapper = Swapper {
        config_file,
        overrides,
        workshop,
        setup,
        started,
        seen,
        gatekeeper: gatekeeper.clone(),
        entrances,
        log: log_too,
        in_force: Arc::clone(&in_force),
        journal: journal.clone(),
        watches: watches.clone(),
    };
    let gate = Arc::clone(gatekeeper.gate());
    let swapping = SwapThread::start(swapper).context("can't watch the configuration")?;
    let running = Running {
        started: since,
        addresses: handle.addresses(),
        decide_addresses: deciding.as_ref().map(|deciding| deciding.addresses()).unwrap_or_default(),
        ending: AtomicBool::new(false),
        gatekeeper,
        store: kept.store,
        counters: Arc::clone(&counters),
        connections: handle.cap().clone(),
        handshakes: handle.handshakes().clone(),
        log: log.clone(),
        journal: journal.clone(),
        keeper: kept.keeper.clone(),
        firewall: kept.firewall.clone(),
        in_force,
        swapping: swapping.requests(),
        watches: watches.clone(),
    };
    let running = Arc::new(running);
    let administration = admin.serve(Arc::clone(&running)).context("can't start the administration")?;
    manager.ready(&status(&[&handle]));
    let handles: Vec<&Handle> = [&handle].into_iter().chain(&deciding).collect();
    let house = House { gate: &gate, swapping: &swapping, log, handles: &handles, manager: &manager };
    waiting.block_on(house.keep(&mut signals));
    manager.stopping();
    running.ending.store(true, Ordering::Relaxed);
    tracing::info!("ending: requests under way have {} s", drain_timeout.as_secs());
    handle.drain(drain_timeout);
    if let Some(deciding) = &deciding {
        deciding.drain(drain_timeout);
    }
    // What isn't read by now is read at the next start.
    watches.close();
    let joined = deciding.map_or(Ok(()), Handle::join).and(handle.join());
    drop(administration);
    journal.close();
    if let Some(firewall) = &kept.firewall {
        firewall.close();
    }
    if let Some(keeper) = &kept.keeper {
        keeper.close();
    }
    if let Some(swapper) = swapping.stop() {
        for judge in swapper.setup.judges() {
            tracing::info!("policy {}: {}", judge.name(), totals(&judge.snapshot()));
        }
    }
    let lines = log.counts();
    tracing::info!(
        "totals: {counters} log_lines_dropped={} refusals_not_logged={}",
        lines.dropped,
        lines.refusals_suppressed
    );
    Ok(joined.map_err(anyhow::Error::from)?)
}

fn workshop(config: &Config, log: &Log) -> Result<Workshop, Failed> {
    let runtime_config = RuntimeConfig { cache: config.plugins.cache.clone(), ..RuntimeConfig::default() };
    let (runtime, notices) = Runtime::new(&runtime_config).map_err(anyhow::Error::from)?;
    for notice in notices {
        tracing::warn!("{notice}");
    }
    let key = ProcessKey::generate().map_err(anyhow::Error::from)?;
    let reporter = Arc::new(LogReporter::new(log.clone()));
    Ok(Workshop { runtime, reporter, key, workers: workers(config), tunnels: Tunnels::default() })
}

/// Waits, bans and kept state, what makes them durable, and what keeps bans in
/// force in the kernel too.
struct Kept {
    store: Arc<MemoryStore>,
    keeper: Option<Keeper>,
    firewall: Option<Firewall>,
    clock: Arc<HostClock>,
}

impl Kept {
    fn open(config: &Config, counters: &Arc<Counters>, firewall: Option<Firewall>) -> Result<Self, Failed> {
        let hears = firewall.as_ref().map(Firewall::recorder);
        let store = |recorder| Arc::new(MemoryStore::with_recorder(Capacity::default(), recorder));
        let StoreKind::Sqlite(path) = &config.state.store else {
            let clock = Arc::new(HostClock::start(Timestamp::default()));
            return Ok(Self { store: store(hears), keeper: None, firewall, clock });
        };
        let wrong = |error: StateError| Failed::Usage(error.to_string());
        let keeper = Keeper::open(path).map_err(wrong)?;
        let clock = Arc::new(HostClock::start(keeper.latest()));
        let recorder: Arc<dyn Recorder> = Arc::new(keeper.clone());
        let store = store(Recorders::of(hears.into_iter().chain([recorder])));
        let counted = Arc::clone(counters);
        let totals = move || counted.all().map(|(name, count)| (name.to_owned(), count)).collect();
        counters.resume(&keeper.restore(&store, Arc::clone(&clock) as _, totals).map_err(wrong)?);
        Ok(Self { store, keeper: Some(keeper), firewall, clock })
    }
}

fn gatekeeper(
    setup: &Setup,
    workshop: &Workshop,
    log: &Log,
    counters: &Arc<Counters>,
    kept: &Kept,
    journal: &Journal,
) -> Result<Gatekeeper, Failed> {
    let store: Arc<dyn Store> = Arc::clone(&kept.store) as _;
    let ruleset = setup.ruleset(&*store);
    let gate_key = ProcessKey::generate().map_err(anyhow::Error::from)?;
    let gate = Gate::new(store, Arc::clone(&kept.clock) as _, ruleset, gate_key.to_bytes());
    let noting = Noting { next: Arc::new(journal.clone()), counters: Arc::clone(counters) };
    let gate = gate.witnessed_by(Arc::new(noting));
    let hashing = HashPool::start(setup.config.auth.hashing_threads).map_err(anyhow::Error::from)?;
    let fingerprints = Fingerprints::new(workshop.key.clone());
    let (front, counters) = (setup.front(), Arc::clone(counters));
    Ok(Gatekeeper::new(Arc::new(gate), front, hashing, fingerprints, log.clone(), counters, kept.keeper.clone()))
}

fn serve_options(config: &Config) -> ServeOptions {
    let workers = workers(config);
    let mut options = ServeOptions::new(config.listen.address.clone(), http_options(config, workers));
    options.workers = workers;
    options.entrances = entrances(config);
    // What is reserved is the admin's; everyone else shares the rest.
    let _admin = options.cap.reserve(ADMIN_SLOTS);
    options
}

/// Without an address logs alone are watched.
fn listen(config: &Config) -> Result<Listening, http::ServeError> {
    let options = serve_options(config);
    if config.listens_nowhere() { Ok(Listening::nowhere(options)) } else { http::bind(options) }
}

fn announce(handle: &Handle, setup: &Setup) {
    for policy in &setup.policies {
        policy.announce("runs");
    }
    for place in handle.places() {
        let address = place.address;
        match place.entrance.as_ref().and_then(|entrance| entrance.door()) {
            None => tracing::info!("listening on {address}"),
            Some(door) => tracing::info!("listening on {address}, {door}"),
        }
    }
}

/// Where other proxies ask, if anywhere. A part of the connections is set aside for them.
fn decide(config: &Config, cap: &ConnectionCap, gatekeeper: &Gatekeeper) -> Result<Option<Handle>, Failed> {
    if config.decide.address.is_empty() {
        return Ok(None);
    }
    let workers = workers(config);
    let options = ServeOptions {
        workers,
        name: "decide".to_owned(),
        cap: cap.reserve(DECIDE_CONNECTIONS_MAX.min(cap.limit() / 4)),
        ..ServeOptions::new(config.decide.address.clone(), http_options(config, workers))
    };
    let handle = http::serve(options, Arc::new(Decider::new(gatekeeper.clone()))).map_err(anyhow::Error::from)?;
    for address in handle.addresses() {
        tracing::info!("other proxies ask on {address}");
    }
    Ok(Some(handle))
}

/// What each worker of all of these says of itself; nothing once one has ended.
fn sweeps(handles: &[&Handle]) -> Vec<u64> {
    let serving = handles.iter().filter(|handle| !handle.addresses().is_empty());
    let each: Vec<Vec<u64>> = serving.map(|handle| handle.sweeps()).collect();
    if each.iter().any(Vec::is_empty) { Vec::new() } else { each.concat() }
}

/// Logs alone are watched: there are no workers that could get stuck.
fn listens_nowhere(handles: &[&Handle]) -> bool {
    handles.iter().all(|handle| handle.addresses().is_empty())
}

/// For whoever asks the service manager.
fn status(handles: &[&Handle]) -> String {
    let addresses = handles.first().map(|handle| handle.addresses().to_vec()).unwrap_or_default();
    if addresses.is_empty() {
        return "watching logs, or asked by other proxies".to_owned();
    }
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    format!("serving {}", addresses.join(", "))
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    /// Taken, and not looked at: a file that may not grow any more (`ulimit -f`)
    /// is an error for whoever writes it and not the end of the server.
    _file_too_large: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            _file_too_large: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }
}

/// What is looked after while the server serves.
struct House<'a> {
    gate: &'a Gate,
    swapping: &'a SwapThread,
    log: &'a Log,
    /// The gateway's workers, and then others.
    handles: &'a [&'a Handle],
    manager: &'a Manager,
}

impl House<'_> {
    /// Keeps house until the server is told to end.
    async fn keep(&self, signals: &mut Signals) {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        let mut log_tick = tokio::time::interval(LOG_TICK_INTERVAL);
        let mut pulse = Pulse::default();
        let mut sign = self.manager.sign_interval().map(tokio::time::interval);
        let mut reloads = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return,
                _ = signals.interrupt.recv() => return,
                _ = signals.hang_up.recv() => {
                    if let Err(error) = self.log.reopen() {
                        tracing::error!("{error}");
                    }
                    if reloads.len() < RELOADS_MAX {
                        self.manager.reloading();
                        let requests = self.swapping.requests();
                        reloads.spawn(async move { requests.reload(false).await });
                    } else {
                        self.swapping.reload();
                    }
                }
                // What came of it the log has.
                Some(_) = reloads.join_next() => self.manager.ready(&status(self.handles)),
                _ = sweep.tick() => self.gate.sweep(),
                _ = log_tick.tick() => {
                    self.log.tick();
                    tell_mended(self.gate);
                }
                () = next(&mut sign) => {
                    // A worker that is stuck or gone is not alive, whatever else runs.
                    let beats = |pulse: &mut Pulse| pulse.beats(&sweeps(self.handles), Instant::now());
                    if listens_nowhere(self.handles) || beats(&mut pulse) {
                        self.manager.alive();
                    }
                }
            }
        }
    }
}

/// The next tick, if there is to be any.
async fn next(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// Policies that have kept to their cap for long enough are trusted again
/// whether they order anything or not.
fn tell_mended(gate: &Gate) {
    for mended in gate.mended() {
        tracing::warn!(
            "policy {}: keeps to guard.max_bans_per_minute again; its bans are enforced ({} weren't)",
            mended.policy,
            mended.not_enforced
        );
    }
}

fn totals(snapshot: &Snapshot) -> String {
    format!(
        "calls={} failures={} recovered={} fallbacks={} denied={} quarantines={} log_lines={} log_lines_dropped={}",
        snapshot.calls,
        snapshot.own_failures(),
        snapshot.recovered,
        snapshot.fallbacks,
        snapshot.denied,
        snapshot.quarantines,
        snapshot.log_lines,
        snapshot.log_lines_dropped
    )
}
