//! `/v1/waits`: who waits, and ending that by hand.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use portcullis_domain::{ClientId, Store as _, Subject};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::admin::api::{Unwaited, Wait, WaitPage};
use crate::admin::extract::Query;
use crate::admin::page::{limit, network, wait_cursor, wait_place};
use crate::admin::problem::Problem;
use crate::gatekeeper::Authentication;
use crate::running::Running;

/// Waits shown of those that were ended.
const SHOWN_MAX: usize = 100;

/// Which waits.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitsQuery {
    /// How many at most; left out: 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// Who waits, those first whose wait ends soonest
#[utoipa::path(get, path = "/v1/waits", tag = "waits", params(WaitsQuery), responses(
    (status = OK, body = WaitPage, description = "A page of them"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A wrong query"),
))]
pub(super) async fn list(
    State(running): State<Arc<Running>>,
    Query(query): Query<WaitsQuery>,
) -> Result<Json<WaitPage>, Problem> {
    let limit = limit(query.limit)?;
    let after = query.cursor.as_deref().map(wait_place).transpose()?;
    let now = running.gatekeeper.gate().clock().now();
    // One more shows whether there are any after them.
    let mut waits = running.store.waits(after.as_ref(), limit + 1, now);
    let more = waits.len() > limit;
    waits.truncate(limit);
    let last = waits.last().filter(|_| more).map(|wait| (wait.until, wait.subject.clone()));
    let waits = waits.iter().map(|wait| Wait::of(wait, now)).collect();
    Ok(Json(WaitPage { waits, next: last.as_ref().map(wait_cursor) }))
}

/// Whose waits.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct UnwaitQuery {
    /// A client auth id: its wait, and those that it has from single sources.
    id: Option<String>,
    /// A network or an address: its wait, and those that single ids have from there; with `id` only that id's.
    #[param(example = "203.0.113.7")]
    source: Option<String>,
}

/// Ends waits by hand, of an id, of a source, or of an id from a source
#[utoipa::path(delete, path = "/v1/waits", tag = "waits", params(UnwaitQuery), responses(
    (status = OK, body = Unwaited, description = "What was ended"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "Neither id nor source, or a wrong one"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json", description = "It doesn't wait"),
))]
pub(super) async fn unwait(
    State(running): State<Arc<Running>>,
    Query(query): Query<UnwaitQuery>,
) -> Result<Json<Unwaited>, Problem> {
    let gate = running.gatekeeper.gate();
    let (prefix, now) = (gate.ruleset().source.ipv6_prefix, gate.clock().now());
    let id = query.id.as_deref().map(|id| client_id(&running, id)).transpose()?;
    let source = query.source.as_deref().map(|text| network(text, prefix)).transpose()?;
    let subjects = match (&id, &source) {
        (Some(id), None) => running.store.waiting_as(id, now),
        (None, Some(network)) => running.store.waiting_within(*network, now),
        (Some(id), Some(network)) => {
            let from_there = running.store.waiting_within(*network, now).into_iter();
            from_there.filter(|subject| matches!(subject, Subject::Pair(known, _) if known == id)).collect()
        }
        (None, None) => return Err(Problem::bad_request("expected id=ID, source=NETWORK, or both")),
    };
    let ended: Vec<_> = subjects.iter().filter_map(|subject| gate.unwait(subject)).collect();
    if ended.is_empty() {
        return Err(Problem::not_found("nobody like that waits"));
    }
    tracing::info!(id = query.id.as_deref(), source = query.source.as_deref(), "by hand: {} waits ended", ended.len());
    let waits = ended.iter().take(SHOWN_MAX).map(|wait| Wait::of(wait, now)).collect();
    Ok(Json(Unwaited { ended: u64::try_from(ended.len()).unwrap_or(u64::MAX), waits }))
}

/// The id as the gate knows it: where Abc and abc are one, they are one here.
fn client_id(running: &Running, id: &str) -> Result<ClientId, Problem> {
    let id_case = match &running.gatekeeper.front().authentication {
        Authentication::File(file) => file.id_case,
        Authentication::Upstream(by_upstream) => by_upstream.id_case,
    };
    id_case.client_id(id).map_err(|error| Problem::bad_request(format!("id: {error}")))
}
