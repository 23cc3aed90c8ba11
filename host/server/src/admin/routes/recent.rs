//! `/v1/recent`: who was refused, banned and made to wait of late.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::admin::api::Recent;
use crate::admin::extract::NoQuery;
use crate::admin::problem::Problem;
use crate::running::Running;

/// Who was refused, banned and made to wait of late, the last first
///
/// Some dozens of each, in memory alone: a look at the present. `/v1/bans` and `/v1/waits` have all
/// that is in force.
#[utoipa::path(get, path = "/v1/recent", tag = "status", responses(
    (status = OK, body = Recent, description = "They"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A query parameter; there are none"),
))]
pub(super) async fn get_recent(State(running): State<Arc<Running>>, _: NoQuery) -> Json<Recent> {
    Json(Recent::of(&running.counters.recent, running.gatekeeper.gate().clock().now()))
}
