//! One worker: a thread with a runtime, listeners and upstream connections of
//! its own, that shares nothing with the others on a request's way. It must not
//! know what is answered.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::body::Body;
use super::cap::ConnectionCap;
use super::connection::{Clock, Connection, Limits};
use super::door::Entrance;
use super::handshakes::{HandshakeGauge, Handshakes};
use super::listen;
use super::options::HttpOptions;
use super::patience;
use super::pool;
use super::reply::{Form, Status};
use super::service::{Refusal, RefusedRequest, Service};
use super::streams::Streams;
use super::vet::vet;
use super::wire::{Protocol, Stream, Wire};

/// What a connection over the cap is told, if its socket takes that at once.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 24\r\n\r\n503 Service Unavailable\n";

/// Resets that an HTTP/2 client may have outstanding before its connection is closed (rapid reset).
const H2_PENDING_RESETS_MAX: usize = 20;
const H2_LOCAL_RESETS_MAX: usize = 256;
/// What an HTTP/2 client may send ahead of being read, in all and of one body: a
/// connection may not hold more of our memory, and 64 KiB under way at once is
/// enough for a body of 1 MB to come in a second or two from anywhere.
const H2_CONNECTION_WINDOW: u32 = 256 * 1024;
const H2_STREAM_WINDOW: u32 = 64 * 1024;
/// What of a reply may wait for an HTTP/2 client to take it.
const H2_SEND_BUFFER: usize = 64 * 1024;
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What hyper keeps room for on the stack; any other number costs an allocation per request.
const HYPERS_OWN_MAX_HEADERS: usize = 100;

/// How long a failing accept waits before the next: without descriptors it would spin.
const ACCEPT_BACKOFF_MIN: Duration = Duration::from_millis(5);
const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What a drain leaves for connections that have been told to go.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// All that a worker and its connections share.
pub(super) struct Worker<S> {
    pub(super) service: Arc<S>,
    options: HttpOptions,
    cap: ConnectionCap,
    h1: http1::Builder,
    h2: http2::Builder<Streams>,
    clock: Arc<Clock>,
    /// Connections in conversation, for the sweep; those gone are cleared away by it.
    connections: Mutex<Vec<Weak<Connection>>>,
    pub(super) handshakes: Arc<Handshakes>,
    live: AtomicUsize,
    emptied: Notify,
    /// Grows with each sweep: the worker isn't stuck.
    pub(super) sweeps: Arc<AtomicU64>,
}

impl<S: Service> Worker<S> {
    pub(super) fn new(service: Arc<S>, options: HttpOptions, cap: ConnectionCap, gauge: HandshakeGauge) -> Self {
        let mut h1 = http1::Builder::new();
        h1.writev(false)
            .half_close(false)
            .max_header_size(options.max_header_bytes)
            // Room for one head; hyper wants 8 KiB at least.
            .max_buf_size(options.max_header_bytes.max(8 * 1024))
            // The sweep keeps the time, at no cost per request.
            .header_read_timeout(None);
        if options.max_headers != HYPERS_OWN_MAX_HEADERS {
            h1.max_headers(options.max_headers);
        }
        let mut h2 = http2::Builder::new(Streams);
        h2.timer(TokioTimer::new())
            .max_concurrent_streams(options.h2_max_streams)
            .max_header_list_size(u32::try_from(options.max_header_bytes).unwrap_or(u32::MAX))
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .initial_stream_window_size(H2_STREAM_WINDOW)
            .max_send_buf_size(H2_SEND_BUFFER)
            .max_pending_accept_reset_streams(H2_PENDING_RESETS_MAX)
            .max_local_error_reset_streams(H2_LOCAL_RESETS_MAX)
            .keep_alive_interval(H2_PING_INTERVAL)
            .keep_alive_timeout(H2_PING_TIMEOUT);
        let handshakes = Arc::new(Handshakes::new(options.handshakes, options.handshakes_of_a_source, gauge));
        Self {
            service,
            options,
            cap,
            h1,
            h2,
            clock: Arc::default(),
            connections: Mutex::default(),
            handshakes,
            live: AtomicUsize::new(0),
            emptied: Notify::new(),
            sweeps: Arc::default(),
        }
    }

    /// Serves until told to drain, or until nobody is left who could tell.
    pub(super) async fn run(
        self: Arc<Self>,
        listeners: Vec<(StdListener, Option<Arc<Entrance>>)>,
        mut drain: watch::Receiver<Option<Duration>>,
    ) {
        let start = Instant::now();
        let mut accepting = Vec::new();
        for (listener, entrance) in listeners {
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    accepting.push(tokio::spawn(Arc::clone(&self).accept(listener, entrance, drain.clone())));
                }
                Err(error) => tracing::error!(%error, "a listener can't be used"),
            }
        }
        let mut ticks = tokio::time::interval(self.options.sweep_interval());
        patience::begin(self.options.sweep_interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let limits = Limits::new(&self.options);
        let timeout = loop {
            tokio::select! {
                _ = ticks.tick() => self.sweep(start, &limits),
                told = drain.wait_for(Option::is_some) => break told.ok().and_then(|timeout| *timeout),
            }
        };
        for accept in accepting {
            let _ = accept.await;
        }
        let Some(timeout) = timeout else { return };
        self.each(Connection::close_gracefully);
        let last_answer = tokio::time::sleep(timeout);
        tokio::pin!(last_answer);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.sweep(start, &limits),
                () = self.empty() => return,
                () = &mut last_answer => break,
            }
        }
        self.each(Connection::cut);
        let _ = tokio::time::timeout(LAST_MOMENT, self.empty()).await;
        // What is left, tunnels among it, ends with the runtime.
    }

    fn sweep(&self, start: Instant, limits: &Limits) {
        self.sweeps.fetch_add(1, Ordering::Relaxed);
        self.clock.advance_to(start.elapsed());
        self.each(|connection| connection.sweep(limits));
        pool::prune();
        patience::sweep();
    }

    fn each(&self, act: impl Fn(&Connection)) {
        self.connections.lock().retain(|connection| {
            let connection = connection.upgrade();
            connection.as_deref().map(&act).is_some()
        });
    }

    async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.live.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }

    async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        entrance: Option<Arc<Entrance>>,
        mut drain: watch::Receiver<Option<Duration>>,
    ) {
        let mut backoff = ACCEPT_BACKOFF_MIN;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = drain.wait_for(Option::is_some) => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    backoff = ACCEPT_BACKOFF_MIN;
                    self.welcome(stream, peer, entrance.as_ref());
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "can't accept connections, trying again in {backoff:?}");
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(ACCEPT_BACKOFF_MAX);
                }
            }
        }
        // Connections that the kernel has already made would be reset with the
        // listener. The kernel is asked itself: what the runtime knows of it is
        // as old as its last look.
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..listen::BACKLOG {
            let Ok((stream, peer)) = listener.accept() else { break };
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                self.welcome(stream, peer, entrance.as_ref());
            }
        }
    }

    fn welcome(self: &Arc<Self>, stream: TcpStream, peer: std::net::SocketAddr, entrance: Option<&Arc<Entrance>>) {
        let Some(slot) = self.cap.try_acquire() else {
            // Where TLS is spoken it would be noise.
            if entrance.is_none() {
                let _ = stream.try_write(NO_ROOM);
            }
            let refusal = Refusal::TooManyConnections;
            self.service.refused(&RefusedRequest { refusal, peer, connection: None, request: None });
            return;
        };
        // Both fail only on a socket that is already gone.
        let (Ok(local), Ok(())) = (stream.local_addr(), stream.set_nodelay(true)) else { return };
        let connection = Arc::new(Connection::new(peer, local, Arc::clone(&self.clock), slot));
        self.connections.lock().push(Arc::downgrade(&connection));
        let live = Live::new(self);
        match entrance {
            None => tokio::spawn(async move {
                live.worker.converse(stream, None, connection).await;
            }),
            Some(entrance) => {
                let entrance = Arc::clone(entrance);
                tokio::spawn(async move {
                    Arc::clone(&live.worker).receive(stream, connection, entrance).await;
                })
            }
        };
    }

    /// Serves requests, in the protocol that was agreed upon or that the first bytes speak.
    pub(super) async fn converse<T: Stream>(
        self: &Arc<Self>,
        stream: T,
        agreed: Option<Protocol>,
        connection: Arc<Connection>,
    ) {
        let (protocol, wire) = match agreed {
            Some(protocol) => (protocol, Wire::speaking(stream, protocol, Arc::clone(&connection))),
            None => {
                let detected = Wire::detect(stream, Arc::clone(&connection));
                let Some(Ok(Some(detected))) = until_told(detected, &connection, None).await else { return };
                detected
            }
        };
        let wire = TokioIo::new(wire);
        match protocol {
            Protocol::Http1 => {
                let handler = service_fn(|request| answer(self, &connection, request));
                let conversation = self.h1.serve_connection(wire, handler).with_upgrades();
                let _ = until_told(conversation, &connection, Some(|c| c.graceful_shutdown())).await;
            }
            Protocol::Http2 => {
                connection.is_h2();
                // Its requests are tasks of their own, which may outlive this one.
                let shared = (Arc::clone(self), Arc::clone(&connection));
                let handler = service_fn(move |request| {
                    let (worker, connection) = shared.clone();
                    async move { answer(&worker, &connection, request).await }
                });
                let conversation = self.h2.serve_connection(wire, handler);
                let _ = until_told(conversation, &connection, Some(|c| c.graceful_shutdown())).await;
            }
        }
    }
}

async fn answer<S: Service>(
    worker: &Worker<S>,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let exchange = connection.begin();
    let two_lengths = connection.next_request_has_two_lengths();
    let (parts, incoming) = request.into_parts();
    let body = Body::from_client(incoming, worker.options.body_idle_timeout, &exchange);
    let mut request = Request::from_parts(parts, body);
    let response = match vet(&mut request, two_lengths) {
        Ok(()) => worker.service.call(request, connection).await,
        Err(reply) => {
            let connect = reply.status() == Status::MethodNotAllowed;
            let refusal = if connect { Refusal::MethodNotAllowed } else { Refusal::BadRequest };
            let (peer, connection) = (connection.peer(), Some(&**connection));
            worker.service.refused(&RefusedRequest { refusal, peer, connection, request: Some(&request) });
            reply.into_response(Form::of(request.method(), request.headers()))
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        connection.becomes_tunnel();
    }
    Ok(response.map(|body| body.during(exchange)))
}

/// Runs a conversation until it ends, or the connection is to be cut. If it is
/// to close gracefully, the conversation is told how; one that doesn't know how
/// ends there.
pub(super) async fn until_told<F: Future>(
    conversation: F,
    connection: &Connection,
    close: Option<fn(Pin<&mut F>)>,
) -> Option<F::Output> {
    let mut conversation = std::pin::pin!(conversation);
    let mut watched = false;
    let mut told = false;
    std::future::poll_fn(|cx| {
        if !watched {
            // A task's waker stays the same.
            connection.watched_by(cx);
            watched = true;
        }
        if connection.is_cut() {
            return std::task::Poll::Ready(None);
        }
        if connection.is_closing() && !told {
            told = true;
            match close {
                Some(close) => close(conversation.as_mut()),
                None => return std::task::Poll::Ready(None),
            }
        }
        conversation.as_mut().poll(cx).map(Some)
    })
    .await
}

/// A connection in conversation: a drain waits for it.
struct Live<S> {
    worker: Arc<Worker<S>>,
}

impl<S> Live<S> {
    fn new(worker: &Arc<Worker<S>>) -> Self {
        worker.live.fetch_add(1, Ordering::AcqRel);
        Self { worker: Arc::clone(worker) }
    }
}

impl<S> Drop for Live<S> {
    fn drop(&mut self) {
        if self.worker.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.worker.emptied.notify_waiters();
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Changes the protocol where that is asked for by the path.
    struct Changes;

    impl Service for Changes {
        async fn call(&self, request: Request<Body>, _: &Arc<Connection>) -> Response<Body> {
            let mut response = Response::new(Body::empty());
            if request.uri().path() == "/101" {
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            }
            response
        }
    }

    /// While requests come they are looked at; in a tunnel that is for nothing.
    #[tokio::test]
    async fn a_connection_is_a_tunnel_once_the_reply_is_101_and_not_before() {
        let worker = Arc::new(Worker::new(
            Arc::new(Changes),
            HttpOptions::default(),
            ConnectionCap::new(1),
            HandshakeGauge::default(),
        ));
        for (path, tunnel) in [("/200", false), ("/101", true)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut client = TcpStream::connect(address).await.unwrap();
            let (stream, peer) = listener.accept().await.unwrap();
            let slot = worker.cap.try_acquire().unwrap();
            let connection = Arc::new(Connection::new(peer, address, Arc::clone(&worker.clock), slot));
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            let mut said = String::new();
            let (_, read) = tokio::join!(worker.converse(stream, None, Arc::clone(&connection)), async {
                client.read_to_string(&mut said).await
            });
            read.unwrap();
            assert!(said.starts_with(&format!("HTTP/1.1 {}", &path[1..])), "{said}");
            assert_eq!(connection.is_tunnel(), tunnel);
        }
    }
}
