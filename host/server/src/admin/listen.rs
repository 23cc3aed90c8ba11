//! Connections of those who administer: accepted one by one, bounded in number
//! and in how long they may take. It must not know what is answered.
//!
//! It isn't the transport that strangers' requests go through: a client that
//! takes nothing of its answer, or a flood on the gateway, is no business of it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;

/// Connections open at once on one listener; more wait in the kernel.
const CONNECTIONS_MAX: usize = 64;
/// Of these, from one address; more are closed.
const CONNECTIONS_OF_ONE_MAX: usize = 16;
/// Connections that may wait for an accept.
const BACKLOG: i32 = 64;
/// From the accept, or from the last answer, to the end of the next head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a client may take nothing of its answer.
const STALL_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// After an accept that failed: descriptors are used up, and somebody has to give one back first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens there.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Where connections come from.
pub(super) trait Listener: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + 'static;
    /// Who it is.
    type Peer: Copy + Send + Sync + 'static;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;

    /// By what address its connections are counted, if by any.
    fn address(peer: Self::Peer) -> Option<IpAddr>;
}

impl Listener for tokio::net::UnixListener {
    type Stream = tokio::net::UnixStream;
    type Peer = ();

    async fn accept(&self) -> io::Result<(Self::Stream, ())> {
        Self::accept(self).await.map(|(stream, _)| (stream, ()))
    }

    fn address((): ()) -> Option<IpAddr> {
        None
    }
}

impl Listener for tokio::net::TcpListener {
    type Stream = tokio::net::TcpStream;
    type Peer = SocketAddr;

    async fn accept(&self) -> io::Result<(Self::Stream, SocketAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        let _only_slower = stream.set_nodelay(true);
        Ok((stream, peer))
    }

    fn address(peer: SocketAddr) -> Option<IpAddr> {
        Some(peer.ip())
    }
}

/// Accepts and serves until it is dropped, and its connections with it.
pub(super) async fn serve<L, F, A>(listener: L, answer: F)
where
    L: Listener,
    F: Fn(http::Request<Incoming>, L::Peer) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let cap = Arc::new(Cap::default());
    let mut failing = false;
    let reserve = Arc::new(Reserve::default());
    reserve.fill();
    loop {
        // Before the accept: over the cap the kernel keeps a few waiting until somebody has gone.
        let Ok(slot) = Arc::clone(&cap.all).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Somebody waits, and what is kept for that is given up for it.
            Err(error) if is_out_of_descriptors(&error) && reserve.give_up() => continue,
            Err(error) => {
                if !failing {
                    tracing::warn!("administration: can't accept connections: {error}");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        failing = false;
        let Some(place) = Place::of(&cap, L::address(peer), slot) else { continue };
        let (answer, reserve) = (answer.clone(), Arc::clone(&reserve));
        tokio::spawn(async move {
            converse(stream, peer, answer).await;
            reserve.fill();
            drop(place);
        });
    }
}

/// How many connections there may be.
struct Cap {
    all: Arc<Semaphore>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Default for Cap {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(CONNECTIONS_MAX)), by_address: Mutex::default() }
    }
}

/// One of the connections that there may be; given back when dropped.
struct Place {
    cap: Arc<Cap>,
    address: Option<IpAddr>,
    _slot: OwnedSemaphorePermit,
}

impl Place {
    /// None if that address has as many as it may.
    fn of(cap: &Arc<Cap>, address: Option<IpAddr>, slot: OwnedSemaphorePermit) -> Option<Self> {
        if let Some(address) = address {
            let mut by_address = cap.by_address.lock();
            let count = by_address.entry(address).or_default();
            if *count >= CONNECTIONS_OF_ONE_MAX {
                return None;
            }
            *count += 1;
        }
        Some(Self { cap: Arc::clone(cap), address, _slot: slot })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut by_address = self.cap.by_address.lock();
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

/// A descriptor that is kept for the moment when strangers have used up all
/// others: one who administers gets in all the same.
#[derive(Default)]
struct Reserve(Mutex<Option<File>>);

impl Reserve {
    /// Takes one if there is any.
    fn fill(&self) {
        let mut kept = self.0.lock();
        if kept.is_none() {
            *kept = File::open("/dev/null").ok();
        }
    }

    /// Whether there was one.
    fn give_up(&self) -> bool {
        self.0.lock().take().is_some()
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE))
}

/// One connection from its first request to its last.
async fn converse<S, P, F, A>(stream: S, peer: P, answer: F)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    P: Copy + Send + Sync + 'static,
    F: Fn(http::Request<Incoming>, P) -> A,
    A: Future<Output = Response> + Send + 'static,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STALL_TIME_MAX));
    let service = service_fn(|request| {
        let answer = answer(request, peer);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).max_buf_size(HEAD_BYTES_MAX);
    // How it ends is the client's affair: gone, too slow, or no HTTP.
    let _ended = builder.serve_connection(TokioIo::new(Box::pin(stream)), service).await;
}
