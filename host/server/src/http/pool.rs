//! Connections to the upstream, kept per worker thread. It must not know what
//! is sent over them.
//!
//! A pool is only ever touched by its own thread, so that it needs no lock; a
//! lease holds no reference to it and finds it again by the upstream's id.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::body::Body;
use super::upstream::{Upstream, UpstreamError};

/// How long a connection whose response has been read may take to be ready for another.
const SETTLE: Duration = Duration::from_secs(1);

thread_local! {
    static POOLS: RefCell<Vec<Pool>> = const { RefCell::new(Vec::new()) };
}

struct Pool {
    upstream: u64,
    idle: VecDeque<Idle>,
    idle_timeout: Duration,
    /// One for each request or tunnel under way: a connection is only made when
    /// none is idle, so that there are never more of them than permits.
    permits: Arc<Semaphore>,
    waiting: usize,
}

struct Idle {
    sender: SendRequest<Body>,
    /// Whether [`prune`] has seen it here, and when first: a clock needn't be
    /// asked for each request.
    seen: Option<Instant>,
}

impl Pool {
    fn of(upstream: &Upstream) -> Self {
        Self {
            upstream: upstream.id(),
            idle: VecDeque::new(),
            idle_timeout: upstream.options().upstream_idle_timeout,
            permits: Arc::new(Semaphore::new(upstream.options().upstream_connections)),
            waiting: 0,
        }
    }

    /// The connection used last: the others may grow old and go.
    fn take(&mut self) -> Option<SendRequest<Body>> {
        while let Some(idle) = self.idle.pop_back() {
            if idle.sender.is_ready() {
                return Some(idle.sender);
            }
        }
        None
    }

    fn prune(&mut self, now: Instant) {
        let timeout = self.idle_timeout;
        self.idle.retain_mut(|idle| {
            let since = *idle.seen.get_or_insert(now);
            !idle.sender.is_closed() && now.duration_since(since) < timeout
        });
    }

    /// Whether anything refers to it: one that nothing does is made anew when it is needed.
    fn is_used(&self) -> bool {
        !self.idle.is_empty() || self.waiting > 0 || Arc::strong_count(&self.permits) > 1
    }
}

fn with_pool<T>(upstream: &Upstream, act: impl FnOnce(&mut Pool) -> T) -> T {
    POOLS.with_borrow_mut(|pools| {
        let at = pools.iter().position(|pool| pool.upstream == upstream.id()).unwrap_or_else(|| {
            pools.push(Pool::of(upstream));
            pools.len() - 1
        });
        act(&mut pools[at])
    })
}

/// Lets go of this thread's connections that have been idle for too long; to be
/// called now and then.
pub(super) fn prune() {
    POOLS.with_borrow_mut(|pools| {
        let now = Instant::now();
        pools.retain_mut(|pool| {
            pool.prune(now);
            pool.is_used()
        });
    });
}

/// A connection to the upstream, of one request at a time. Dropped before its
/// response has been read, the connection is closed.
pub(super) struct Lease {
    upstream: u64,
    sender: SendRequest<Body>,
    permit: OwnedSemaphorePermit,
    reused: bool,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl Lease {
    /// An idle connection or a fresh one, waiting for a place if there is none.
    pub(super) async fn take(upstream: &Upstream) -> Result<Self, UpstreamError> {
        let permit = permit(upstream).await?;
        match with_pool(upstream, Pool::take) {
            Some(sender) => Ok(Self { upstream: upstream.id(), sender, permit, reused: true }),
            // Apart: it happens seldom, and would take its room in every request.
            None => Box::pin(Self::fresh(upstream, permit)).await,
        }
    }

    /// The same place with a fresh connection.
    pub(super) async fn renew(self, upstream: &Upstream) -> Result<Self, UpstreamError> {
        Box::pin(Self::fresh(upstream, self.permit)).await
    }

    async fn fresh(upstream: &Upstream, permit: OwnedSemaphorePermit) -> Result<Self, UpstreamError> {
        let stream = upstream.connect().await?;
        let (sender, connection) =
            Builder::new().writev(false).handshake(TokioIo::new(stream)).await.map_err(UpstreamError::Closed)?;
        // Its errors are told to the request that they concern.
        tokio::spawn(connection.with_upgrades());
        Ok(Self { upstream: upstream.id(), sender, permit, reused: false })
    }

    /// Whether the connection has carried a request before, and may have been closed since.
    pub(super) const fn is_reused(&self) -> bool {
        self.reused
    }

    pub(super) const fn sender(&mut self) -> &mut SendRequest<Body> {
        &mut self.sender
    }

    /// The place under the bound, without the connection: for a tunnel, which has taken that over.
    pub(super) fn into_permit(self) -> OwnedSemaphorePermit {
        self.permit
    }

    /// Back to the pool: the response has been read to its end.
    pub(super) fn give_back(mut self) {
        if self.sender.is_ready() {
            self.put();
        } else if !self.sender.is_closed() {
            // The request's own body may still be on its way.
            tokio::spawn(async move {
                if let Ok(Ok(())) = tokio::time::timeout(SETTLE, self.sender.ready()).await {
                    self.put();
                }
            });
        }
    }

    fn put(self) {
        POOLS.with_borrow_mut(|pools| {
            if let Some(pool) = pools.iter_mut().find(|pool| pool.upstream == self.upstream) {
                pool.idle.push_back(Idle { sender: self.sender, seen: None });
            }
        });
    }
}

async fn permit(upstream: &Upstream) -> Result<OwnedSemaphorePermit, UpstreamError> {
    let permits = with_pool(upstream, |pool| Arc::clone(&pool.permits));
    if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
        return Ok(permit);
    }
    Box::pin(wait_for_permit(upstream, permits)).await
}

async fn wait_for_permit(upstream: &Upstream, permits: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, UpstreamError> {
    let _waiting = Waiting::begin(upstream).ok_or(UpstreamError::Overloaded)?;
    match tokio::time::timeout(upstream.options().upstream_wait_timeout, permits.acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(UpstreamError::Overloaded),
    }
}

/// One request in the queue for a connection.
struct Waiting<'a> {
    upstream: &'a Upstream,
}

impl<'a> Waiting<'a> {
    fn begin(upstream: &'a Upstream) -> Option<Self> {
        with_pool(upstream, |pool| {
            let room = pool.waiting < upstream.options().upstream_waiting;
            pool.waiting += usize::from(room);
            room.then_some(Self { upstream })
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        with_pool(self.upstream, |pool| pool.waiting = pool.waiting.saturating_sub(1));
    }
}
