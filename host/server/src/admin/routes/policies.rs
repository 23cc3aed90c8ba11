//! `/v1/policies`: each policy with its plugin, and how it does.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::status;
use crate::admin::api::{PolicyDetail, PolicyLimits, PolicyList};
use crate::admin::extract::{NoQuery, PathPart};
use crate::admin::problem::Problem;
use crate::config::OnFailure;
use crate::running::Running;
use crate::setup::{LoadedPolicy, setting_as_json};

/// Every policy, in the order in which they judge
#[utoipa::path(get, path = "/v1/policies", tag = "policies", responses(
    (status = OK, body = PolicyList, description = "The policies"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A query parameter; there are none"),
))]
pub(super) async fn list(State(running): State<Arc<Running>>, _: NoQuery) -> Json<PolicyList> {
    Json(PolicyList { policies: status::policies(&running) })
}

/// One policy with all that was configured about it
#[utoipa::path(get, path = "/v1/policies/{name}", tag = "policies",
    params(("name" = String, Path, description = "Its name", example = "ban")),
    responses(
    (status = OK, body = PolicyDetail, description = "The policy"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A query parameter; there are none"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json", description = "There is no such policy"),
))]
pub(super) async fn one(
    State(running): State<Arc<Running>>,
    _: NoQuery,
    PathPart(name): PathPart<String>,
) -> Result<Json<PolicyDetail>, Problem> {
    let in_force = running.in_force.load_full();
    let loaded = in_force.policies.iter().find(|loaded| loaded.config.name == name);
    let policy = status::policies(&running).into_iter().find(|policy| policy.name == name);
    match (policy, loaded) {
        (Some(policy), Some(loaded)) => Ok(Json(PolicyDetail {
            policy,
            settings: settings(loaded),
            on_failure: on_failure(loaded.config.on_failure).to_owned(),
            limits: limits(loaded),
        })),
        _ => {
            let known: Vec<_> = in_force.policies.iter().map(|loaded| loaded.config.name.as_str()).collect();
            let shown: String = name.chars().take(80).collect();
            Err(Problem::not_found(format!("there is no policy {shown}; there are {}", known.join(", "))))
        }
    }
}

fn settings(loaded: &LoadedPolicy) -> serde_json::Map<String, serde_json::Value> {
    let settings = loaded.judge.primary().settings().iter();
    settings.map(|(name, value)| (name.clone(), setting_as_json(value))).collect()
}

const fn on_failure(on_failure: OnFailure) -> &'static str {
    match on_failure {
        OnFailure::Bundle => "bundle",
        OnFailure::Deny => "deny",
        OnFailure::Allow => "allow",
    }
}

fn limits(loaded: &LoadedPolicy) -> PolicyLimits {
    let limits = &loaded.config.limits;
    PolicyLimits {
        deadline_ms: u64::try_from(limits.deadline.as_millis()).unwrap_or(u64::MAX),
        memory_bytes: limits.memory_bytes,
        state_bytes: limits.state_bytes,
    }
}
