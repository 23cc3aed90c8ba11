//! Every path there is, a file per group, and the OpenAPI document that is made
//! from them.

mod bans;
mod document;
mod events;
mod explain;
mod health;
mod policies;
mod recent;
mod reload;
mod shadow;
mod status;
mod waits;

use std::sync::Arc;

use axum::Router;
use http::{Method, StatusCode, Uri};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Problem;
use crate::running::Running;

pub use health::readiness;
pub use status::status;

fn routes() -> OpenApiRouter<Arc<Running>> {
    OpenApiRouter::with_openapi(document::empty())
        .routes(routes!(status::get_status))
        .routes(routes!(recent::get_recent))
        .routes(routes!(policies::list))
        .routes(routes!(policies::one))
        .routes(routes!(bans::list, bans::ban, bans::unban_all))
        .routes(routes!(bans::unban))
        .routes(routes!(bans::unban_network))
        .routes(routes!(waits::list, waits::unwait))
        .routes(routes!(reload::reload))
        .routes(routes!(shadow::get_shadow))
        .routes(routes!(shadow::delete_shadow))
        .routes(routes!(shadow::trust))
        .routes(routes!(events::list))
        .routes(routes!(events::follow))
        .routes(routes!(explain::get))
        .routes(routes!(events::journal))
        .routes(routes!(events::records))
        .routes(routes!(openapi_json))
        .merge(health_routes())
}

fn health_routes() -> OpenApiRouter<Arc<Running>> {
    OpenApiRouter::new()
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

/// This document
#[utoipa::path(get, path = "/v1/openapi.json", tag = "status", responses(
    (status = OK, body = serde_json::Value, content_type = "application/json", description = "OpenAPI 3.1"),
))]
async fn openapi_json() -> axum::Json<OpenApi> {
    axum::Json(openapi())
}

/// Everything.
pub(super) fn all(running: Arc<Running>) -> Router {
    let (router, _) = routes().split_for_parts();
    whole(router).with_state(running)
}

/// Health and metrics alone.
pub(super) fn health_alone(running: Arc<Running>) -> Router {
    let (router, _) = health_routes().split_for_parts();
    whole(router).with_state(running)
}

/// The OpenAPI document of [`all`].
#[must_use]
pub fn openapi() -> OpenApi {
    document::complete(routes().into_openapi())
}

/// With what answers where there is nothing.
fn whole(router: Router<Arc<Running>>) -> Router<Arc<Running>> {
    router.fallback(no_such_path).method_not_allowed_fallback(no_such_method)
}

async fn no_such_path(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::not_found(format!("there is no {path} here; /v1/openapi.json lists what there is"))
}

async fn no_such_method(method: Method) -> Problem {
    let method: String = method.as_str().chars().take(40).collect();
    Problem::new(StatusCode::METHOD_NOT_ALLOWED).detail(format!("{method} isn't possible here; Allow lists what is"))
}
