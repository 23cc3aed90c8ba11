//! The one body type of requests and replies: nothing, bytes, or a stream with
//! an idle timeout and trailers. It must not know what it carries.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::connection::Exchange;
use super::headers;
use super::pool::Lease;

/// To HTTP/2 a whole piece counts as taken only once all of it is: in large ones
/// a client that is merely slow would look like one that takes nothing.
const PIECE_BYTES: usize = 16 * 1024;

/// The body of a request or of a reply.
#[derive(Debug)]
pub struct Body {
    content: Content,
    /// Keeps the connection from counting as idle.
    exchange: Option<Exchange>,
}

#[derive(Debug)]
enum Content {
    Empty,
    Full(Bytes),
    /// Apart, since a body is moved from hand to hand a dozen times.
    Stream(Box<Stream>),
}

/// Why a body didn't come to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Nothing came for as long as is allowed.
    #[error("the body stalled")]
    Stalled,
    /// The other side broke off, or what it sent isn't a body.
    #[error("the body broke off: {0}")]
    Broken(#[source] hyper::Error),
}

impl Body {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self { content: Content::Empty, exchange: None }
    }

    /// The body of a request as its client sends it.
    pub(super) fn from_client(incoming: Incoming, idle: Duration, exchange: &Exchange) -> Self {
        if http_body::Body::is_end_stream(&incoming) {
            return Self::empty();
        }
        let stream = Stream { from_client: true, ..Stream::new(incoming, idle) };
        Self { content: Content::Stream(Box::new(stream)), exchange: Some(exchange.clone()) }
    }

    /// The body of a response as the upstream sends it; the connection is
    /// given back to its pool at the end.
    pub(super) fn from_upstream(incoming: Incoming, idle: Duration, lease: Lease) -> Self {
        if http_body::Body::is_end_stream(&incoming) {
            lease.give_back();
            return Self::empty();
        }
        let stream = Stream { lease: Some(lease), ..Stream::new(incoming, idle) };
        Self { content: Content::Stream(Box::new(stream)), exchange: None }
    }

    /// Counts as part of this exchange until its end.
    pub(super) fn during(mut self, exchange: Exchange) -> Self {
        if let Content::Stream(stream) = &mut self.content {
            stream.in_pieces = exchange.is_stream();
        }
        self.exchange = Some(exchange);
        self
    }

    /// Whether it is known that nothing (more) will come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        http_body::Body::is_end_stream(self)
    }

    /// How far a stream has come, to be looked at while somebody else reads it.
    pub(super) fn progress(&mut self) -> Option<Arc<Progress>> {
        let Content::Stream(stream) = &mut self.content else { return None };
        let progress = stream.progress.get_or_insert_with(|| Arc::new(Progress::new()));
        Some(Arc::clone(progress))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let content = if bytes.is_empty() { Content::Empty } else { Content::Full(bytes) };
        Self { content, exchange: None }
    }
}

impl Drop for Body {
    /// A client's body that nobody read to its end is news to its connection.
    fn drop(&mut self) {
        if let (Content::Stream(stream), Some(exchange)) = (&self.content, &self.exchange)
            && stream.from_client
            && !stream.ended
        {
            exchange.connection().saw_unread_body();
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match &mut this.content {
            Content::Empty => Poll::Ready(None),
            Content::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                this.content = Content::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Stream(stream) => {
                let frame = stream.poll_frame(cx);
                if let (Poll::Ready(_), Some(exchange)) = (&frame, &this.exchange) {
                    exchange.moved();
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Full(bytes) => bytes.is_empty(),
            Content::Stream(stream) => stream.ended && stream.rest.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(stream) => stream.size_hint(),
        }
    }
}

struct Stream {
    incoming: Incoming,
    idle: Duration,
    /// Made when something had to be waited for, and then kept: it is moved on
    /// when it fires and not at each frame, so that a busy body pays nothing.
    timer: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    ended: bool,
    progress: Option<Arc<Progress>>,
    lease: Option<Lease>,
    from_client: bool,
    /// Given on in pieces of at most [`PIECE_BYTES`].
    in_pieces: bool,
    /// What of the last frame hasn't been given on yet.
    rest: Bytes,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Stream {
    const fn new(incoming: Incoming, idle: Duration) -> Self {
        Self {
            incoming,
            idle,
            timer: None,
            waiting_since: None,
            ended: false,
            progress: None,
            lease: None,
            from_client: false,
            in_pieces: false,
            rest: Bytes::new(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = http_body::Body::size_hint(&self.incoming);
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }

    /// What of this frame goes on now; the rest is kept.
    fn piece_of(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(mut data) if self.in_pieces && data.len() > PIECE_BYTES => {
                self.rest = data.split_off(PIECE_BYTES);
                Frame::data(data)
            }
            Ok(data) => Frame::data(data),
            Err(frame) => frame,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.rest.is_empty() {
            let rest = Frame::data(std::mem::take(&mut self.rest));
            return Poll::Ready(Some(Ok(self.piece_of(rest))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match http_body::Body::poll_frame(Pin::new(&mut self.incoming), cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                self.waiting_since = None;
                if self.from_client
                    && let Some(trailers) = frame.trailers_mut()
                {
                    headers::trailers_to_upstream(trailers);
                }
                if frame.is_trailers() || http_body::Body::is_end_stream(&self.incoming) {
                    self.end(Outcome::Complete);
                } else if let Some(progress) = &self.progress {
                    progress.moved();
                }
                Poll::Ready(Some(Ok(self.piece_of(frame))))
            }
            Poll::Ready(Some(Err(error))) => {
                self.end(Outcome::Broken);
                Poll::Ready(Some(Err(BodyError::Broken(error))))
            }
            Poll::Ready(None) => {
                self.end(Outcome::Complete);
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_stalled(cx),
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let deadline = *self.waiting_since.get_or_insert_with(Instant::now) + self.idle;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= deadline {
                self.end(Outcome::Stalled);
                return Poll::Ready(Some(Err(BodyError::Stalled)));
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    fn end(&mut self, outcome: Outcome) {
        self.ended = !matches!(outcome, Outcome::Stalled);
        self.timer = None;
        if let Some(progress) = &self.progress {
            progress.end(outcome);
        }
        if let Some(lease) = self.lease.take()
            && matches!(outcome, Outcome::Complete)
        {
            lease.give_back();
        }
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Complete,
    Stalled,
    Broken,
}

/// How far a client's body has come, seen from outside while the upstream's connection reads it.
#[derive(Debug)]
pub(super) struct Progress {
    start: Instant,
    moved_ms: AtomicU64,
    state: AtomicU8,
}

impl Progress {
    const STALLED: u8 = 1;
    const BROKEN: u8 = 2;

    fn new() -> Self {
        Self { start: Instant::now(), moved_ms: AtomicU64::new(0), state: AtomicU8::new(0) }
    }

    fn moved(&self) {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(ms, Ordering::Relaxed);
    }

    fn end(&self, outcome: Outcome) {
        self.moved();
        let state = match outcome {
            Outcome::Complete => 0,
            Outcome::Stalled => Self::STALLED,
            Outcome::Broken => Self::BROKEN,
        };
        self.state.store(state, Ordering::Relaxed);
    }

    /// When the last piece was taken.
    pub(super) fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed))
    }

    /// How it failed, if it did.
    pub(super) fn failure(&self) -> Option<Outcome> {
        match self.state.load(Ordering::Relaxed) {
            Self::STALLED => Some(Outcome::Stalled),
            Self::BROKEN => Some(Outcome::Broken),
            _ => None,
        }
    }
}
