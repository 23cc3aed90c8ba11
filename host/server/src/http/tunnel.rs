//! WebSockets: which requests ask for one, and the bytes both ways once the
//! upstream has agreed. It must not know what the bytes say.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Method, Request, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use portcullis_domain::source::Source;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::Instant;

const BUFFER_BYTES: usize = 8 * 1024;

/// Whether a request opens a WebSocket over HTTP/1.1 (RFC 6455 4.1). Any other
/// upgrade is none: it is taken off, and the request goes on as an ordinary one.
pub(super) fn opens_websocket<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && request.headers().contains_key(UPGRADE)
        && says_websocket(request.headers())
}

/// Whether these headers say that the protocol changes to WebSocket, and to nothing else.
pub(super) fn says_websocket(headers: &HeaderMap) -> bool {
    let mut upgrades = headers.get_all(UPGRADE).iter();
    let websocket = upgrades.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    websocket && upgrades.next().is_none() && super::headers::lists(headers, &CONNECTION, "upgrade")
}

/// The tunnels that are open, so that those of a source can be closed. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tunnels {
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_number: HashMap<u64, (Source, oneshot::Sender<()>)>,
}

impl Tunnels {
    /// Closes the tunnels whose source is `chosen`; says how many.
    pub fn close_tunnels(&self, chosen: impl Fn(&Source) -> bool) -> usize {
        let mut open = self.open.lock();
        let before = open.by_number.len();
        // Dropping the sender is the signal.
        open.by_number.retain(|_, (source, _)| !chosen(source));
        before - open.by_number.len()
    }

    /// How many are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.lock().by_number.len()
    }

    fn register(&self, source: Source) -> (Registered, oneshot::Receiver<()>) {
        let (sender, closed) = oneshot::channel();
        let mut open = self.open.lock();
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, (source, sender));
        (Registered { number, open: Arc::clone(&self.open) }, closed)
    }
}

struct Registered {
    number: u64,
    open: Arc<Mutex<Open>>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.open.lock().by_number.remove(&self.number);
    }
}

/// Carries bytes between the two sides once both have changed protocols, until
/// one of them ends it, the tunnel is closed, or nothing moves for `idle`.
/// `held` is kept for as long.
pub(super) fn open<H: Send + 'static>(
    tunnels: &Tunnels,
    source: Source,
    client: OnUpgrade,
    upstream: OnUpgrade,
    idle: Duration,
    held: H,
) {
    let (registered, closed) = tunnels.register(source);
    tokio::spawn(async move {
        let carried = async {
            let (client, upstream) = tokio::try_join!(client, upstream).ok()?;
            carry(TokioIo::new(client), TokioIo::new(upstream), idle).await.ok()
        };
        tokio::select! {
            _ = carried => {}
            _ = closed => {}
        }
        drop((registered, held));
    });
}

async fn carry<A, B>(client: A, upstream: B, idle: Duration) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let activity = Activity { start: Instant::now(), last_ms: AtomicU64::new(0) };
    let (from_client, to_client) = tokio::io::split(client);
    let (from_upstream, to_upstream) = tokio::io::split(upstream);
    let both = async {
        tokio::try_join!(pump(from_client, to_upstream, &activity), pump(from_upstream, to_client, &activity)).map(drop)
    };
    tokio::select! {
        ended = both => ended,
        () = activity.idle_for(idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// One direction, to its end; the other may go on.
async fn pump<R, W>(mut from: R, mut to: W, activity: &Activity) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        activity.moved();
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        activity.moved();
    }
}

struct Activity {
    start: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    fn moved(&self) {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    async fn idle_for(&self, idle: Duration) {
        loop {
            let deadline = self.start + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)) + idle;
            if deadline <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }
}
