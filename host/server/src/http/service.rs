//! What the transport asks of whoever answers requests. It must not know who that is.

use std::sync::Arc;

use http::{Request, Response};

use super::body::Body;
use super::connection::Connection;

/// Answers requests. Called on the worker's own thread: what it waits for must
/// not block, and what it computes holds up that worker's other requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. The head has been checked: the target is a path (or
    /// `*` of OPTIONS), and there is one Host unless it is HTTP/1.0. Nothing of
    /// the response leaves before the future is done; if the client goes away
    /// the future is dropped.
    fn call(&self, request: Request<Body>, connection: &Arc<Connection>)
    -> impl Future<Output = Response<Body>> + Send;

    /// A head was refused with this response, or a connection for want of room,
    /// and [`Service::call`] wasn't asked: to count and to log.
    fn refused(&self, _refusal: Refusal, _connection: Option<&Connection>) {}
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
}
