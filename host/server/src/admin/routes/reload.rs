//! `/v1/reload`: everything loaded anew, and what came of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::admin::api::{ReloadRequest, Reloaded};
use crate::admin::extract::{JsonOrNothing, NoQuery};
use crate::admin::problem::Problem;
use crate::running::Running;

/// Loads configuration, plugins and credentials anew and puts them in force
///
/// Whether they look changed or not, as at SIGHUP. If anything is wrong, what ran goes on running.
/// The answer comes when the change is in force.
#[utoipa::path(post, path = "/v1/reload", tag = "reload", request_body = Option<ReloadRequest>, responses(
    (status = OK, body = Reloaded, description = "It is in force"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "Not such a body"),
    (status = CONFLICT, body = Problem, content_type = "application/problem+json", description = "Not put in force, and why, line by line"),
    (status = PAYLOAD_TOO_LARGE, body = Problem, content_type = "application/problem+json", description = "More than 64 KiB"),
    (status = UNSUPPORTED_MEDIA_TYPE, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
))]
pub(super) async fn reload(
    State(running): State<Arc<Running>>,
    _: NoQuery,
    JsonOrNothing(request): JsonOrNothing<ReloadRequest>,
) -> Result<Json<Reloaded>, Problem> {
    tracing::info!(force = request.force, "by hand: everything is loaded anew");
    let swapped = running.swapping.reload(request.force).await.map_err(|why| {
        let why = why.why.lines().map(str::to_owned).collect();
        Problem::conflict("not put in force; what ran before goes on running").errors(why)
    })?;
    Ok(Json(Reloaded {
        took_us: u64::try_from(swapped.took.as_micros()).unwrap_or(u64::MAX),
        changed: swapped.changed,
        warnings: swapped.warnings,
    }))
}
