//! `/v1/shadow`, what shadow policies would have done; and a policy that is
//! trusted again although it has ordered many bans.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use portcullis_domain::{PolicyMode, Store as _};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::admin::api::{PAGE_DEFAULT, PAGE_MAX, Shadow, ShadowReset, ShadowSubject, Shadows, Trusted, time};
use crate::admin::extract::{NoQuery, PathPart, Query};
use crate::admin::problem::Problem;
use crate::running::Running;
use crate::setup::LoadedPolicy;

/// What to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ShadowQuery {
    /// Only this policy
    #[param(max_length = 32)]
    policy: Option<String>,
    /// Subjects of each sort at most; 100 unless given
    #[param(minimum = 0, maximum = 1000)]
    limit: Option<usize>,
}

/// What shadow policies would have done, beside what was done
#[utoipa::path(get, path = "/v1/shadow", tag = "shadow", params(ShadowQuery), responses(
    (status = OK, body = Shadows, description = "Each shadow policy"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A parameter is wrong"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json", description = "No such policy is in shadow"),
))]
pub(super) async fn get_shadow(
    State(running): State<Arc<Running>>,
    Query(query): Query<ShadowQuery>,
) -> Result<Json<Shadows>, Problem> {
    let rows = query.limit.unwrap_or(PAGE_DEFAULT);
    if rows > PAGE_MAX {
        return Err(Problem::bad_request(format!("limit: {rows} is more than {PAGE_MAX}")));
    }
    let in_force = running.in_force.load();
    if let Some(policy) = &query.policy {
        find(&in_force.policies, policy)?;
    }
    let wanted = |policy: &&LoadedPolicy| query.policy.as_ref().is_none_or(|name| *name == policy.config.name);
    let policies = in_force.policies.iter().filter(in_shadow).filter(wanted);
    Ok(Json(Shadows { policies: policies.map(|policy| shadow(&running, policy, rows)).collect() }))
}

/// Begins the comparison of a shadow policy anew; what the policy keeps stays
#[utoipa::path(delete, path = "/v1/shadow/{policy}", tag = "shadow",
    params(("policy" = String, Path, description = "The policy's name", max_length = 32)),
    responses(
        (status = OK, body = ShadowReset, description = "It begins anew"),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "The path can't be read"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json", description = "No such policy is in shadow"),
    ))]
pub(super) async fn delete_shadow(
    State(running): State<Arc<Running>>,
    PathPart(policy): PathPart<String>,
    _: NoQuery,
) -> Result<Json<ShadowReset>, Problem> {
    find(&running.in_force.load().policies, &policy)?;
    running.store.shadow(&policy).reset();
    tracing::info!("policy {policy}: the comparison in shadow begins anew, by hand");
    Ok(Json(ShadowReset { policy }))
}

/// Trusts a policy again that has ordered more bans than guard.max_bans_per_minute allows
#[utoipa::path(post, path = "/v1/policies/{name}/trust", tag = "policies",
    params(("name" = String, Path, description = "The policy's name", max_length = 32)),
    responses(
        (status = OK, body = Trusted, description = "Its bans are enforced"),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "The path can't be read"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json", description = "There is no such policy"),
    ))]
pub(super) async fn trust(
    State(running): State<Arc<Running>>,
    PathPart(policy): PathPart<String>,
    _: NoQuery,
) -> Result<Json<Trusted>, Problem> {
    let in_force = running.in_force.load();
    if !in_force.policies.iter().any(|known| known.config.name == policy) {
        return Err(no_policy(in_force.policies.iter()));
    }
    let had_tripped = running.gatekeeper.gate().trust(&policy);
    if had_tripped {
        tracing::warn!("policy {policy}: trusted again, by hand; its bans are enforced");
    }
    Ok(Json(Trusted { policy, had_tripped }))
}

fn in_shadow(policy: &&LoadedPolicy) -> bool {
    policy.config.mode == PolicyMode::Shadow
}

/// That there is such a policy and it is in shadow.
fn find(policies: &[LoadedPolicy], name: &str) -> Result<(), Problem> {
    match policies.iter().find(|policy| policy.config.name == name) {
        Some(policy) if in_shadow(&policy) => Ok(()),
        Some(_) => Err(Problem::not_found("that policy isn't in shadow: what it orders is enforced")),
        None => Err(no_policy(policies.iter().filter(in_shadow))),
    }
}

fn no_policy<'p>(known: impl Iterator<Item = &'p LoadedPolicy>) -> Problem {
    let known: Vec<_> = known.map(|policy| policy.config.name.as_str()).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Problem::not_found(format!("there is no such policy; there are: {known}"))
}

fn shadow(running: &Running, policy: &LoadedPolicy, rows: usize) -> Shadow {
    let name = policy.config.name.clone();
    let report = running.store.shadow(&name).report(rows);
    let counts = report.counts;
    let count = |entries: usize| u64::try_from(entries).unwrap_or(u64::MAX);
    Shadow {
        policy: name,
        kind: policy.config.kind.name().to_owned(),
        since: report.since.map(time),
        judged: counts.judged,
        refused: counts.refused,
        failed: counts.failed,
        orders: counts.orders,
        agreed: counts.agreed,
        logins_refused: counts.logins_refused,
        newly_subjects: count(report.newly_subjects),
        newly_logged_in: count(report.newly_logged_in),
        newly: report.newly.iter().map(ShadowSubject::from).collect(),
        no_longer_subjects: count(report.no_longer_subjects),
        no_longer: report.no_longer.iter().map(ShadowSubject::from).collect(),
        both: count(report.both),
        left_out: counts.left_out,
    }
}
