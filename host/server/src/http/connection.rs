//! One client connection: its addresses, what the sweep needs to see of its
//! life, and which of its requests can be read in two ways. It must not know
//! what is in requests, policies or the upstream.
//!
//! Timeouts toward clients are kept by a sweep over all connections of a worker
//! and not by a timer each: a timer costs some 3 % of a proxied request, a
//! clock that somebody else advances costs a load.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::cap::ConnectionSlot;
use super::door::{Door, Entrance, Redirect};
use super::options::HttpOptions;
use super::streams::Stream;
use crate::proxy_protocol::Announced;

/// "Not at present" in a field that holds a time.
const NEVER: u64 = u64::MAX;

/// The worker's clock in milliseconds, advanced by its sweep.
#[derive(Debug, Default)]
pub(super) struct Clock(AtomicU64);

impl Clock {
    pub(super) fn advance_to(&self, since_start: Duration) {
        self.0.store(millis(since_start), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was found out about a connection at an entrance, before its first request.
#[derive(Debug)]
pub(super) struct Arrived {
    /// What a proxy said of it.
    pub(super) announced: Option<Announced>,
    /// It is encrypted.
    pub(super) secure: bool,
    /// Whom the client's certificate names.
    pub(super) client: Option<Arc<str>>,
    /// Where it came in.
    pub(super) entrance: Arc<Entrance>,
    /// Through which door.
    pub(super) door: Arc<Door>,
}

/// Whom the client's certificate says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certified<'c> {
    /// Nobody: there is no certificate.
    Nobody,
    /// By a certificate that is believed.
    Client(&'c str),
    /// It was let in by what isn't in force any more: it has to come again.
    Outdated,
}

/// One client connection, shared by all its requests.
#[derive(Debug)]
pub struct Connection {
    peer: SocketAddr,
    /// Of one that came through an entrance.
    arrived: OnceLock<Box<Arrived>>,
    local: SocketAddr,
    clock: Arc<Clock>,
    /// Requests and replies whose bodies aren't at their end.
    exchanges: AtomicUsize,
    /// When something last moved: an exchange began or ended, or a piece of a body passed.
    moved_at: AtomicU64,
    /// When it came to an entrance, until PROXY header and TLS are done.
    handshake_since: AtomicU64,
    /// When the first byte of a head came that isn't complete yet.
    head_since: AtomicU64,
    /// When the socket stopped taking what we write.
    blocked_since: AtomicU64,
    /// When we began to read away what is left before closing.
    linger_since: AtomicU64,
    /// A request's body was left unread: closing at once would make the client's kernel drop our reply.
    unread: AtomicBool,
    /// Requests that have come to be vetted. Only the worker's own thread counts.
    requests: AtomicU64,
    /// The number of the first request with both a Content-Length and a Transfer-Encoding; 0 while there is none.
    two_lengths: AtomicU64,
    tunnel: AtomicBool,
    h2: AtomicBool,
    closing: AtomicBool,
    cut: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// Of HTTP/2, for the sweep; those gone are cleared away by it.
    streams: Mutex<Vec<Weak<Stream>>>,
    _slot: ConnectionSlot,
}

impl Connection {
    pub(super) fn new(peer: SocketAddr, local: SocketAddr, clock: Arc<Clock>, slot: ConnectionSlot) -> Self {
        let now = clock.now();
        Self {
            peer,
            arrived: OnceLock::new(),
            local,
            clock,
            exchanges: AtomicUsize::new(0),
            moved_at: AtomicU64::new(now),
            handshake_since: AtomicU64::new(NEVER),
            head_since: AtomicU64::new(now),
            blocked_since: AtomicU64::new(NEVER),
            linger_since: AtomicU64::new(NEVER),
            unread: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            two_lengths: AtomicU64::new(0),
            tunnel: AtomicBool::new(false),
            h2: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            waker: Mutex::new(None),
            streams: Mutex::default(),
            _slot: slot,
        }
    }

    /// The other end of the TCP connection, a client or a proxy before it; or the
    /// client that a proxy announced with the PROXY protocol.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        match self.arrived.get().and_then(|arrived| arrived.announced) {
            Some(Announced::Client { source, .. }) => source,
            Some(Announced::Itself) | None => self.peer,
        }
    }

    /// It is a proxy's own where proxies announce whose a connection is: what it
    /// says about clients is nobody's word.
    #[must_use]
    pub fn speaks_for_itself(&self) -> bool {
        self.arrived.get().is_some_and(|arrived| arrived.announced == Some(Announced::Itself))
    }

    /// Whether it is encrypted.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.arrived.get().is_some_and(|arrived| arrived.secure)
    }

    /// Whom the client's certificate says that it is.
    #[must_use]
    pub fn certified(&self) -> Certified<'_> {
        let Some(arrived) = self.arrived.get() else { return Certified::Nobody };
        let then = arrived.door.tls.as_ref().and_then(|tls| tls.clients());
        let door = arrived.entrance.door();
        let now = door.as_ref().and_then(|door| door.tls.as_ref()?.clients());
        match (then, now) {
            (None, None) => return Certified::Nobody,
            (Some(then), Some(now)) if Arc::ptr_eq(now, then) || now.same_as(then) => {}
            _ => return Certified::Outdated,
        }
        arrived.client.as_deref().map_or(Certified::Nobody, Certified::Client)
    }

    /// Where its requests are sent instead of being answered.
    pub(crate) fn redirect(&self) -> Option<&Redirect> {
        self.arrived.get()?.door.redirect.as_ref()
    }

    /// Tells what was found out at the entrance; once.
    pub(super) fn arrives(&self, arrived: Arrived) {
        let _once = self.arrived.set(Box::new(arrived));
    }

    /// What comes first isn't a head.
    pub(super) fn handshake_begins(&self) {
        self.head_since.store(NEVER, Ordering::Relaxed);
        self.handshake_since.store(self.clock.now(), Ordering::Relaxed);
    }

    /// From here on a head is waited for.
    pub(super) fn handshake_is_over(&self) {
        let now = self.clock.now();
        self.handshake_since.store(NEVER, Ordering::Relaxed);
        self.head_since.store(now, Ordering::Relaxed);
        self.moved_at.store(now, Ordering::Relaxed);
    }

    /// Our end of it.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Closes the connection as soon as its requests under way have been
    /// answered; an idle one at once.
    pub fn close_gracefully(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake();
    }

    /// Closes the connection at once, whatever it does.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Makes the task of `context` the one that is woken when the connection is to close.
    pub(super) fn watched_by(&self, context: &Context<'_>) {
        *self.waker.lock() = Some(context.waker().clone());
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.lock().as_ref() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn is_h2(&self) {
        self.h2.store(true, Ordering::Relaxed);
        self.head_since.store(NEVER, Ordering::Relaxed);
    }

    /// Bytes came: between two requests they are a head's.
    pub(super) fn saw_read(&self) {
        if self.exchanges.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == NEVER {
            self.head_since.store(self.clock.now(), Ordering::Relaxed);
        }
    }

    pub(super) fn saw_write(&self, blocked: bool) {
        let was_blocked = self.blocked_since.load(Ordering::Relaxed) != NEVER;
        if blocked != was_blocked {
            let since = if blocked { self.clock.now() } else { NEVER };
            self.blocked_since.store(since, Ordering::Relaxed);
        }
    }

    pub(super) fn saw_unread_body(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_unread_body(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    pub(super) fn lingers(&self) {
        if self.linger_since.load(Ordering::Relaxed) == NEVER {
            self.linger_since.store(self.clock.now(), Ordering::Relaxed);
        }
    }

    /// The head of that request, counted from 1, has both a Content-Length and a Transfer-Encoding.
    pub(super) fn saw_two_lengths(&self, request: u64) {
        self.two_lengths.store(request, Ordering::Relaxed);
    }

    /// Counts one more request, which is to be vetted, and says whether it came with two lengths.
    pub(super) fn next_request_has_two_lengths(&self) -> bool {
        let number = self.requests.load(Ordering::Relaxed) + 1;
        self.requests.store(number, Ordering::Relaxed);
        self.two_lengths.load(Ordering::Relaxed) == number
    }

    /// No more requests come: the client is about to be told that the protocol has changed.
    pub(super) fn becomes_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Relaxed)
    }

    /// Begins an exchange: a request has arrived.
    pub(super) fn begin(self: &Arc<Self>) -> Exchange {
        let stream = if self.h2.load(Ordering::Relaxed) { Stream::current() } else { None };
        if let Some(stream) = &stream {
            self.streams.lock().push(Arc::downgrade(stream));
        }
        self.head_since.store(NEVER, Ordering::Relaxed);
        self.part_of(stream)
    }

    fn part_of(self: &Arc<Self>, stream: Option<Arc<Stream>>) -> Exchange {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        let exchange = Exchange { connection: Arc::clone(self), stream };
        exchange.moved();
        exchange
    }

    /// The sweep's look at it: closes what has been slow or idle for too long.
    pub(super) fn sweep(&self, limits: &Limits) {
        let now = self.clock.now();
        // The clock may lag by one sweep when a time is taken: one more is waited for, so that nothing ends early.
        let over = |since: &AtomicU64, limit: u64| {
            let since = since.load(Ordering::Relaxed);
            since != NEVER && now.saturating_sub(since) > limit.saturating_add(limits.lag)
        };
        if self.handshake_since.load(Ordering::Relaxed) != NEVER {
            if over(&self.handshake_since, limits.handshake) {
                self.cut();
            }
            return;
        }
        if over(&self.blocked_since, limits.body_idle) || over(&self.linger_since, limits.linger) {
            return self.cut();
        }
        let h2 = self.h2.load(Ordering::Relaxed);
        if self.exchanges.load(Ordering::Relaxed) != 0 {
            // An HTTP/2 client may take nothing of any stream and still keep the socket moving. The upstream's
            // own timeouts would have moved something by now.
            if h2 && over(&self.moved_at, limits.stuck) {
                self.cut();
            } else if h2 {
                self.streams.lock().retain(|stream| {
                    let stream = stream.upgrade();
                    stream.as_ref().filter(|stream| over(&stream.moved_at, limits.stuck)).inspect(|stuck| stuck.cut());
                    stream.is_some()
                });
            }
            return;
        }
        let slow_head = !h2 && over(&self.head_since, limits.header);
        if slow_head || over(&self.moved_at, limits.idle.saturating_add(limits.linger)) {
            self.cut();
        } else if over(&self.moved_at, limits.idle) && !self.is_closing() {
            self.close_gracefully();
        }
    }
}

/// What the sweep goes by, in milliseconds.
#[derive(Debug)]
pub(super) struct Limits {
    handshake: u64,
    header: u64,
    idle: u64,
    body_idle: u64,
    linger: u64,
    stuck: u64,
    lag: u64,
}

impl Limits {
    pub(super) fn new(options: &HttpOptions) -> Self {
        let upstream = options.response_head_timeout.max(options.response_idle_timeout);
        let stuck = upstream + options.connect_timeout + options.upstream_wait_timeout + options.body_idle_timeout;
        Self {
            stuck: millis(stuck),
            handshake: millis(options.handshake_timeout),
            header: millis(options.header_timeout),
            idle: millis(options.idle_timeout),
            body_idle: millis(options.body_idle_timeout),
            linger: millis(options.linger_timeout),
            lag: millis(options.sweep_interval()),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER - 1)
}

/// Something of a request or of its reply is still under way; over when dropped.
#[derive(Debug)]
pub(super) struct Exchange {
    connection: Arc<Connection>,
    stream: Option<Arc<Stream>>,
}

impl Exchange {
    pub(super) const fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// A piece of a body has passed.
    pub(super) fn moved(&self) {
        let now = self.connection.clock.now();
        self.connection.moved_at.store(now, Ordering::Relaxed);
        if let Some(stream) = &self.stream {
            stream.moved_at.store(now, Ordering::Relaxed);
        }
    }

    /// Whether it is a stream of HTTP/2.
    pub(super) const fn is_stream(&self) -> bool {
        self.stream.is_some()
    }
}

impl Clone for Exchange {
    fn clone(&self) -> Self {
        self.connection.part_of(self.stream.clone())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let connection = &*self.connection;
        connection.moved_at.store(connection.clock.now(), Ordering::Relaxed);
        connection.exchanges.fetch_sub(1, Ordering::Relaxed);
    }
}
