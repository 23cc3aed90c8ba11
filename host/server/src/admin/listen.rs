//! Connections of those who administer: accepted one by one, bounded in number
//! and in how long they may take. It must not know what is answered.
//!
//! It isn't the transport that strangers' requests go through: a client that
//! takes nothing of its answer, or a flood on the gateway, is no business of it.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

/// Connections open at once on one listener.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// From the accept, or from the last answer, to the end of the next head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a client may take nothing of its answer.
const STALL_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// After an accept that failed: descriptors are used up, and somebody has to give one back first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub(super) trait Listener: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// Who it is.
    type Peer: Copy + Send + Sync + 'static;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

impl Listener for tokio::net::UnixListener {
    type Stream = tokio::net::UnixStream;
    type Peer = ();

    async fn accept(&self) -> io::Result<(Self::Stream, ())> {
        Self::accept(self).await.map(|(stream, _)| (stream, ()))
    }
}

impl Listener for tokio::net::TcpListener {
    type Stream = tokio::net::TcpStream;
    type Peer = std::net::SocketAddr;

    async fn accept(&self) -> io::Result<(Self::Stream, Self::Peer)> {
        let (stream, peer) = Self::accept(self).await?;
        let _only_slower = stream.set_nodelay(true);
        Ok((stream, peer))
    }
}

/// Accepts and serves until it is dropped. Over the cap nobody is accepted: the
/// kernel keeps a few waiting until somebody has gone.
pub(super) async fn serve<L, F, A>(listener: L, answer: F)
where
    L: Listener,
    F: Fn(http::Request<Incoming>, L::Peer) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("administration: can't accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            converse(stream, peer, answer).await;
            drop(slot);
        });
    }
}

/// One connection from its first request to its last.
async fn converse<S, P, F, A>(stream: S, peer: P, answer: F)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
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
