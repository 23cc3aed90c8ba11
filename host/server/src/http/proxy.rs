//! One request to the upstream and its response's head back, with nothing sent
//! to the client yet: the caller looks at the head and decides. It must not
//! know by what it decides.

use std::pin::pin;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use portcullis_domain::source::Decided;
use tokio::time::Instant;

use super::body::{Body, Outcome, Progress};
use super::connection::Connection;
use super::headers::{self, Hop};
use super::patience::Patience;
use super::pool::Lease;
use super::tunnel;
use super::upstream::{ClientBodyFault, Upstream, UpstreamError};

/// What goes with a request to the upstream.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'a> {
    /// Who the source is, and whether the peer's word about it counts.
    pub decided: Decided,
    /// Who the client is, if that is known: X-Forwarded-User.
    pub user: Option<&'a str>,
    /// Whether Authorization ends here.
    pub strip_authorization: bool,
}

/// Forwards a request and returns the response once its head is known. Nothing
/// has left for the client by then: the response may be returned from
/// [`Service::call`](super::Service::call), or dropped for a reply of one's own.
///
/// # Errors
/// As [`UpstreamError`] says; its `reply` is what to tell the client.
pub async fn forward(
    upstream: &Upstream,
    mut request: Request<Body>,
    connection: &Arc<Connection>,
    forwarding: Forwarding<'_>,
) -> Result<Response<Body>, UpstreamError> {
    let websocket = tunnel::opens_websocket(&request);
    let client_side = websocket.then(|| hyper::upgrade::on(&mut request));
    prepare(upstream, &mut request, connection, &forwarding, websocket);
    let progress = request.body_mut().progress();

    let mut lease = Lease::take(upstream).await?;
    let response = loop {
        match send(upstream, &mut lease, request, progress.as_deref()).await {
            Ok(response) => break response,
            // The upstream had closed an idle connection, and nothing of the request has left.
            Err(Failure::Unsent(unsent)) if lease.is_reused() => {
                request = *unsent;
                lease = lease.renew(upstream).await?;
            }
            Err(Failure::Unsent(_)) => return Err(UpstreamError::Refused),
            Err(Failure::Sent(error)) => return Err(explain(error, progress.as_deref())),
            Err(Failure::Slow) => return Err(UpstreamError::HeadTimeout),
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client_side = client_side.ok_or(UpstreamError::BadReply)?;
        return switch(upstream, response, lease, client_side, connection, forwarding.decided);
    }
    answer(upstream, response, lease)
}

/// Makes the request the upstream's: target, headers, and one length, that of the body itself.
fn prepare(
    upstream: &Upstream,
    request: &mut Request<Body>,
    connection: &Connection,
    forwarding: &Forwarding<'_>,
    websocket: bool,
) {
    if let Some(target) = upstream.target(request.uri()) {
        *request.uri_mut() = target;
    }
    *request.version_mut() = Version::HTTP_11;
    let length = request.body().size_hint().exact();
    let headers = request.headers_mut();
    let hop = Hop {
        peer: connection.peer().ip(),
        secure: connection.is_secure(),
        peer_trusted: forwarding.decided.peer_trusted,
        user: forwarding.user,
        strip_authorization: forwarding.strip_authorization,
        websocket,
    };
    headers::to_upstream(headers, &hop);
    let announced = headers.remove(CONTENT_LENGTH).is_some();
    match length {
        Some(0) if !announced => {}
        Some(length) => {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        None => {}
    }
    // HTTP/1.0 needs none; what we speak onward does.
    if !headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(upstream.authority())
    {
        headers.insert(HOST, host);
    }
}

/// How sending came to nothing.
enum Failure {
    /// The request is as it was: nothing of it has left.
    Unsent(Box<Request<Body>>),
    /// Something may have left.
    Sent(hyper::Error),
    /// No head came in time.
    Slow,
}

/// Sends a request and waits for the response's head. The wait begins anew with
/// each piece of the body that the upstream takes.
async fn send(
    upstream: &Upstream,
    lease: &mut Lease,
    request: Request<Body>,
    progress: Option<&Progress>,
) -> Result<Response<Incoming>, Failure> {
    let patience = upstream.options().response_head_timeout;
    let mut response = pin!(lease.sender().try_send_request(request));
    let mut slow = Patience::new(patience);
    loop {
        tokio::select! {
            biased;
            sent = &mut response => {
                return sent.map_err(|mut failed| match failed.take_message() {
                    Some(request) => Failure::Unsent(Box::new(request)),
                    None => Failure::Sent(failed.into_error()),
                });
            }
            () = &mut slow => {
                let left = progress.map(|progress| (progress.last() + patience).duration_since(Instant::now()));
                match left {
                    Some(left) if !left.is_zero() => slow = Patience::new(left),
                    _ => return Err(Failure::Slow),
                }
            }
        }
    }
}

fn explain(error: hyper::Error, progress: Option<&Progress>) -> UpstreamError {
    match progress.and_then(Progress::failure) {
        Some(Outcome::Stalled) => UpstreamError::ClientBody(ClientBodyFault::Stalled),
        Some(Outcome::Broken) => UpstreamError::ClientBody(ClientBodyFault::Broken),
        Some(Outcome::Complete) | None if error.is_parse() => UpstreamError::BadReply,
        Some(Outcome::Complete) | None => UpstreamError::Closed(error),
    }
}

fn answer(upstream: &Upstream, response: Response<Incoming>, lease: Lease) -> Result<Response<Body>, UpstreamError> {
    let (mut parts, incoming) = response.into_parts();
    if !codings_are_understood(&parts.headers) {
        return Err(UpstreamError::BadReply);
    }
    headers::to_client(&mut parts.headers, false);
    parts.version = Version::HTTP_11;
    let body = Body::from_upstream(incoming, upstream.options().response_idle_timeout, lease);
    Ok(Response::from_parts(parts, body))
}

/// A transfer coding that isn't chunked would reach the client with its label removed.
fn codings_are_understood(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|first| first.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none())
}

/// The upstream has agreed to a WebSocket: the client is told, and from then on bytes go both ways.
fn switch(
    upstream: &Upstream,
    mut response: Response<Incoming>,
    lease: Lease,
    client_side: OnUpgrade,
    connection: &Arc<Connection>,
    decided: Decided,
) -> Result<Response<Body>, UpstreamError> {
    if !tunnel::says_websocket(response.headers()) {
        return Err(UpstreamError::BadReply);
    }
    let upstream_side = hyper::upgrade::on(&mut response);
    let held = (connection.begin(), lease.into_permit());
    let idle = upstream.options().tunnel_idle_timeout;
    tunnel::open(upstream.tunnels(), decided.source, client_side, upstream_side, idle, held);
    let (mut parts, _) = response.into_parts();
    headers::to_client(&mut parts.headers, true);
    parts.version = Version::HTTP_11;
    Ok(Response::from_parts(parts, Body::empty()))
}
