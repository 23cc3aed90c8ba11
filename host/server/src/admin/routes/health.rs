//! `/healthz`, `/readyz` and `/metrics`: for whoever watches over servers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::admin::api::Readiness;
use crate::metrics;
use crate::running::Running;

/// Whether the process lives: it does if it answers
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = OK, body = String, content_type = "text/plain", description = "It does")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the server does all that it should
///
/// It doesn't when state, journal or firewall can't be written, when a watched log can't be read, or when it is
/// ending.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = OK, body = Readiness, description = "It does"),
    (status = SERVICE_UNAVAILABLE, body = Readiness, description = "It doesn't; the reasons say what"),
))]
pub(super) async fn readyz(State(running): State<Arc<Running>>) -> Response {
    let readiness = readiness(&running);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// Everything that is measured, as Prometheus reads it
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = OK, body = String, content_type = "text/plain", description = "The metrics")))]
pub(super) async fn metrics(State(running): State<Arc<Running>>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render(&running)).into_response()
}

/// Whether the server does all that it should, and if not, what.
#[must_use]
pub fn readiness(running: &Running) -> Readiness {
    let mut reasons = Vec::new();
    if running.ending.load(Ordering::Relaxed) {
        reasons.push("the server is ending".to_owned());
    }
    if let Some(why) = running.keeper.as_ref().and_then(|keeper| keeper.health().failing) {
        reasons.push(format!("state isn't durable: {why}"));
    }
    if let Some(why) = running.firewall.as_ref().and_then(|firewall| firewall.health().failing) {
        reasons.push(format!("the firewall isn't kept: {why}"));
    }
    if let Some(why) = running.journal.counts().failing {
        reasons.push(format!("the journal isn't written: {why}"));
    }
    for watch in running.watches.status() {
        if let Some(why) = watch.counts.failing() {
            reasons.push(format!("watch {}: {why}", watch.config.name));
        }
    }
    Readiness { ready: reasons.is_empty(), reasons }
}
