//! For services behind another proxy: it asks whether a request may pass
//! (`/check`, `/auth_request`), and reports what came of it (`/report`).
//!
//! It has listeners and workers of its own, on the transport that the gateway
//! runs on. It decides nothing: what is asked goes to the gate, and so does what
//! is reported. It must not know policies. `DECIDE.md` is for those who ask.

mod api;
mod asked;
mod report;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use portcullis_domain::Source;

use crate::gatekeeper::{Asked, Front, Gatekeeper};
use crate::http::{Body, Connection, Form, Refusal, RefusedRequest, Service};

pub use api::{LineError, Report, Taken, openapi};
pub use report::{ERRORS_MAX, EVENTS_MAX, LINE_BYTES_MAX};

use asked::Head;

/// The address that was decided on, in the answer to whoever asked.
const X_PORTCULLIS_SOURCE: HeaderName = HeaderName::from_static("x-portcullis-source");
/// What is to be answered, for a proxy that takes nothing but 403 for a refusal.
const X_PORTCULLIS_STATUS: HeaderName = HeaderName::from_static("x-portcullis-status");

/// Answers other proxies.
pub struct Decider {
    gatekeeper: Gatekeeper,
}

impl Decider {
    /// One that asks this gatekeeper.
    #[must_use]
    pub const fn new(gatekeeper: Gatekeeper) -> Self {
        Self { gatekeeper }
    }

    async fn answer(&self, request: Request<Body>, connection: &Connection) -> Response<Body> {
        let front = self.gatekeeper.front();
        let peer = connection.peer().ip().to_canonical();
        if !front.asking.trusts(peer) {
            return self.turn_away(&request, peer);
        }
        match request.uri().path() {
            "/report" if *request.method() == Method::POST => self.report(&front, request, peer).await,
            "/report" => not_allowed(),
            "/auth_request" => as_403(self.check(&front, &request, &Head::original(&request), peer).await),
            path if path == "/check" || path.starts_with("/check/") => {
                self.check(&front, &request, &Head::forwarded(&request), peer).await
            }
            _ => said(
                StatusCode::NOT_FOUND,
                "404 Not Found: there are /check, /auth_request and /report; DECIDE.md says who asks which\n",
            ),
        }
    }

    async fn check(
        &self,
        front: &Front,
        request: &Request<Body>,
        head: &Head<'_>,
        peer: std::net::IpAddr,
    ) -> Response<Body> {
        let Some(source) = head.source(&self.gatekeeper.gate().ruleset().source) else {
            self.gatekeeper.counters().checks_malformed.bump();
            self.gatekeeper.note_refused(peer, StatusCode::BAD_REQUEST, "no-client-named");
            return said(StatusCode::BAD_REQUEST, head.family.names_nobody());
        };
        let form = Form::of(request.method(), request.headers());
        let asked = Asked { source, method: head.method(), path: head.path(), headers: request.headers(), form };
        match self.gatekeeper.look(front, &asked).await {
            Ok(()) => passes(source),
            Err(refusal) => refusal,
        }
    }

    fn turn_away(&self, request: &Request<Body>, peer: std::net::IpAddr) -> Response<Body> {
        self.gatekeeper.counters().askers_untrusted.bump();
        self.gatekeeper.note_refused(peer, StatusCode::FORBIDDEN, "not-in-decide.trusted");
        let mut response = said(StatusCode::FORBIDDEN, "403 Forbidden\n");
        if !request.body().is_empty() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Service for Decider {
    async fn call(&self, request: Request<Body>, connection: &Arc<Connection>) -> Response<Body> {
        self.answer(request, connection).await
    }

    fn refused(&self, refused: &RefusedRequest<'_>) {
        let counters = self.gatekeeper.counters();
        if refused.refusal == Refusal::TooManyConnections {
            counters.connections_refused.bump();
        } else {
            counters.checks_malformed.bump();
        }
    }
}

/// 200, and who it was taken to be.
fn passes(source: Source) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    if let Ok(value) = HeaderValue::try_from(source.address().to_string()) {
        response.headers_mut().insert(X_PORTCULLIS_SOURCE, value);
    }
    response
}

/// A refusal as 403, its own status in a header: nginx's `auth_request` makes a
/// 500 and a line in its log of errors of whatever else it is told.
fn as_403(mut response: Response<Body>) -> Response<Body> {
    let status = response.status();
    if !status.is_success() {
        response.headers_mut().insert(X_PORTCULLIS_STATUS, status.as_u16().into());
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    response
}

fn not_allowed() -> Response<Body> {
    let mut response = said(StatusCode::METHOD_NOT_ALLOWED, "405 Method Not Allowed: events are POSTed\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// A few words to somebody trusted.
fn said(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
