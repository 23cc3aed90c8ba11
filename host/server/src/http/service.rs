//! What the transport asks of whoever answers requests. It must not know who that is.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::uri::Authority;
use http::{Method, Request, Response};

use super::body::Body;
use super::connection::Connection;
use super::door::Standing;
use crate::tls::HandshakeFailure;

/// Answers requests. Called on the worker's own thread: what it waits for must
/// not block, and what it computes holds up that worker's other requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. The head has been checked: the target is a path (or
    /// `*` of OPTIONS), and there is one Host unless it is HTTP/1.0. Nothing of
    /// the response leaves before the future is done; if the client goes away
    /// the future is dropped.
    fn call(&self, request: Request<Body>, connection: &Arc<Connection>)
    -> impl Future<Output = Response<Body>> + Send;

    /// A request was refused, or a connection before it could make one, and
    /// [`Service::call`] wasn't asked: to count and to log.
    fn refused(&self, _refused: &RefusedRequest<'_>) {}

    /// What is known of a peer, or of whom a proxy announces, before anything
    /// else of the connection is looked at. Only asked at an
    /// [`Entrance`](super::Entrance).
    fn standing(&self, peer: IpAddr) -> Standing {
        Standing::unknown(peer)
    }

    /// A TLS handshake succeeded, a session resumed or not: to count.
    fn shook_hands(&self, _resumed: bool) {}
}

/// What is known of a request, or of a connection, that the transport refuses.
#[derive(Clone, Copy, Debug)]
pub struct RefusedRequest<'a> {
    /// Why.
    pub refusal: Refusal,
    /// The TCP peer, or the client that a proxy announced as such.
    pub peer: SocketAddr,
    /// Its connection, unless there was no room for it.
    pub connection: Option<&'a Connection>,
    /// The request as it came, unless there was none yet. Nothing of it has been
    /// checked: its target may be any, and its headers too.
    pub request: Option<&'a Request<Body>>,
}

impl<'a> RefusedRequest<'a> {
    /// The method, if a request had been read.
    #[must_use]
    pub fn method(&self) -> Option<&'a Method> {
        self.request.map(Request::method)
    }

    /// What was asked for, if a request had been read: the path without its
    /// query, or where there is none, as with CONNECT, the authority.
    #[must_use]
    pub fn path(&self) -> Option<&'a str> {
        let uri = self.request?.uri();
        match uri.path() {
            "" => Some(uri.authority().map_or("", Authority::as_str)),
            path => Some(path),
        }
    }
}

/// What the transport refuses by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// 400: the head isn't what it must be. (Heads that can't even be parsed
    /// are answered 400, 414 or 431 below this and not told here.)
    BadRequest,
    /// 405: CONNECT.
    MethodNotAllowed,
    /// 503: every connection that may be is.
    TooManyConnections,
    /// Closed: the source is banned, and its entrance doesn't tell so.
    Banned,
    /// Closed: a peer that isn't a trusted proxy, where only these may come.
    NotAProxy,
    /// Closed: what came isn't a PROXY header.
    NoProxyHeader,
    /// Closed: the PROXY header took too long.
    SlowProxyHeader,
    /// Closed: no TLS session.
    Handshake(HandshakeFailure),
}
