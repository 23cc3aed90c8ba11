//! Starting and ending the workers. It must not know what they serve.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::cap::ConnectionCap;
use super::door::Entrance;
use super::handshakes::HandshakeGauge;
use super::listen;
use super::options::HttpOptions;
use super::service::Service;
use super::worker::Worker;

/// Where and how to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Addresses to listen on for HTTP in clear text; port 0 takes a free one.
    pub addresses: Vec<SocketAddr>,
    /// Others, each with a door: TLS, the PROXY protocol, a redirect.
    pub entrances: Vec<Arc<Entrance>>,
    /// Threads, each with a runtime of its own; 0 is one per core.
    pub workers: usize,
    /// What its threads are called, a number appended.
    pub name: String,
    /// Timeouts and bounds.
    pub http: HttpOptions,
    /// How many connections there may be. [`listen::fit_open_files`] says what the system allows.
    pub cap: ConnectionCap,
}

impl ServeOptions {
    /// One worker per core on `addresses`, with a cap fitted to what the system allows.
    #[must_use]
    pub fn new(addresses: Vec<SocketAddr>, http: HttpOptions) -> Self {
        let cap = ConnectionCap::new(listen::fit_open_files(http.max_connections));
        Self { addresses, entrances: Vec::new(), workers: 0, name: "http".to_owned(), http, cap }
    }
}

/// Why serving couldn't begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is nothing to listen on.
    #[error("no address to listen on")]
    NoAddress,
    /// An address can't be listened on.
    #[error("can't listen on {addresses:?}")]
    Listen {
        /// All that were asked for.
        addresses: Vec<SocketAddr>,
        /// What the system says.
        source: io::Error,
    },
    /// A worker can't be started.
    #[error("can't start a worker: {0}")]
    Worker(#[source] io::Error),
}

/// Sockets that are listened on and not yet served: connections wait.
#[must_use = "dropping it closes them"]
pub struct Listening {
    options: ServeOptions,
    places: Vec<Place>,
    per_worker: Vec<Vec<TcpListener>>,
}

/// Somewhere that clients can connect.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address, with the port that port 0 became.
    pub address: SocketAddr,
    /// The entrance there; none where HTTP is spoken at once.
    pub entrance: Option<Arc<Entrance>>,
}

/// Listens on all addresses.
///
/// # Errors
/// If one can't be bound.
pub fn bind(options: ServeOptions) -> Result<Listening, ServeError> {
    let plain = options.addresses.iter().map(|address| (*address, None));
    let through = |entrance: &Arc<Entrance>| {
        let entrance = Arc::clone(entrance);
        entrance.addresses().to_vec().into_iter().map(move |address| (address, Some(Arc::clone(&entrance))))
    };
    let (addresses, entrances): (Vec<_>, Vec<_>) = plain.chain(options.entrances.iter().flat_map(through)).unzip();
    if addresses.is_empty() {
        return Err(ServeError::NoAddress);
    }
    let workers = match options.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        asked => asked,
    };
    let (bound, per_worker) = listen::bind(&addresses, workers)
        .map_err(|source| ServeError::Listen { addresses: addresses.clone(), source })?;
    let place = |(address, entrance)| Place { address, entrance };
    Ok(Listening { options, places: bound.into_iter().zip(entrances).map(place).collect(), per_worker })
}

/// Serves in the background until the handle is drained or dropped. All
/// addresses are bound when this returns.
///
/// # Errors
/// If an address can't be bound or a thread not started; nothing is served then.
pub fn serve<S: Service>(options: ServeOptions, service: Arc<S>) -> Result<Handle, ServeError> {
    bind(options)?.serve(&service)
}

impl Listening {
    /// Listens nowhere: there are no workers, and nothing is served.
    pub fn nowhere(options: ServeOptions) -> Self {
        Self { options, places: Vec::new(), per_worker: Vec::new() }
    }

    /// The entrances listened at: each needs a door before anybody comes in.
    #[must_use]
    pub fn entrances(&self) -> &[Arc<Entrance>] {
        &self.options.entrances
    }

    /// Serves in the background until the handle is drained or dropped.
    ///
    /// # Errors
    /// If a thread can't be started; nothing is served then.
    pub fn serve<S: Service>(self, service: &Arc<S>) -> Result<Handle, ServeError> {
        let Self { options: ServeOptions { name, http, cap, .. }, places, per_worker } = self;
        let handshakes = HandshakeGauge::default();
        let (drain, drained) = watch::channel(None);
        let mut threads = Vec::with_capacity(per_worker.len());
        let mut sweeps = Vec::with_capacity(per_worker.len());
        for (number, listeners) in per_worker.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()
                .map_err(ServeError::Worker)?;
            let worker = Worker::new(Arc::clone(service), http.clone(), cap.clone(), handshakes.clone());
            let worker = Arc::new(worker);
            let entrances = places.iter().map(|place| place.entrance.clone());
            let listeners = listeners.into_iter().zip(entrances).collect();
            sweeps.push(Arc::clone(&worker.sweeps));
            let drained = drained.clone();
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || runtime.block_on(worker.run(listeners, drained)))
                .map_err(ServeError::Worker)?;
            threads.push(thread);
        }
        Ok(Handle { places, cap, handshakes, drain, threads, sweeps })
    }
}

/// The workers at work. Dropped, they stop at once.
#[derive(Debug)]
#[must_use = "dropping it stops the workers"]
pub struct Handle {
    places: Vec<Place>,
    cap: ConnectionCap,
    handshakes: HandshakeGauge,
    drain: watch::Sender<Option<Duration>>,
    threads: Vec<JoinHandle<()>>,
    sweeps: Vec<Arc<AtomicU64>>,
}

impl Handle {
    /// What is listened on, with the ports that port 0 became.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.places.iter().map(|place| place.address).collect()
    }

    /// The same with the entrance at each.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Handshakes under way.
    #[must_use]
    pub const fn handshakes(&self) -> &HandshakeGauge {
        &self.handshakes
    }

    /// Client connections, and how many there may be.
    #[must_use]
    pub const fn cap(&self) -> &ConnectionCap {
        &self.cap
    }

    /// Client connections at this moment, tunnels included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.cap.used()
    }

    /// A number of each worker that grows as long as it isn't stuck: at least
    /// once a second.
    #[must_use]
    pub fn sweeps(&self) -> Vec<u64> {
        let ended = self.threads.iter().any(JoinHandle::is_finished);
        if ended { Vec::new() } else { self.sweeps.iter().map(|sweeps| sweeps.load(Ordering::Relaxed)).collect() }
    }

    /// Begins the end: no new connections, kept-alive ones closed, requests
    /// under way finished within `timeout` and then cut, tunnels closed last.
    /// Returns at once; [`Handle::join`] waits.
    pub fn drain(&self, timeout: Duration) {
        self.drain.send_if_modified(|told| told.replace(timeout).is_none());
    }

    /// Waits for the workers to end.
    ///
    /// # Errors
    /// If one panicked; the others have ended too.
    pub fn join(mut self) -> Result<(), WorkerPanicked> {
        let mut panicked = false;
        for thread in self.threads.drain(..) {
            panicked |= thread.join().is_err();
        }
        if panicked { Err(WorkerPanicked) } else { Ok(()) }
    }
}

/// A worker ended by a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a worker panicked")]
pub struct WorkerPanicked;
