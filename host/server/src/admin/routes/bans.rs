//! `/v1/bans`: who is banned, and banning and lifting by hand.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use ipnet::IpNet;
use portcullis_domain::{ActError, Ban as BanInForce, By, Placed, Source, Store as _, Timestamp};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use crate::admin::api::{Ban, BanPage, BanRequest, Banned, Unbanned, time};
use crate::admin::extract::{self, NoQuery, PathPart, Query};
use crate::admin::page::{BanPlace, ban_cursor, ban_place, limit, network};
use crate::admin::problem::Problem;
use crate::config::parse_duration;
use crate::running::Running;

/// How long a ban by hand lasts unless it says.
const DURATION_DEFAULT: Duration = Duration::from_secs(3600);
/// Bans looked at for one page: a filter that few of many pass ends with a short page.
const LOOKED_AT_MAX: usize = 20_000;
/// Bans taken at once from the store.
const TAKEN_AT_ONCE: usize = 1000;
/// Bans shown of those that were lifted.
const SHOWN_MAX: usize = 100;

/// Which bans.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct BansQuery {
    /// How many at most; left out: 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    #[param(min_length = 1)]
    cursor: Option<String>,
    /// Only those that hold for something in this network, or for this address.
    #[param(example = "203.0.113.0/24")]
    network: Option<String>,
    /// Only those that this policy ordered.
    policy: Option<String>,
}

/// Who is banned, those first whose ban ends soonest
#[utoipa::path(get, path = "/v1/bans", tag = "bans", params(BansQuery), responses(
    (status = OK, body = BanPage, description = "A page of them"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A wrong query"),
))]
pub(super) async fn list(
    State(running): State<Arc<Running>>,
    Query(query): Query<BansQuery>,
) -> Result<Json<BanPage>, Problem> {
    let limit = limit(query.limit)?;
    let mut after = query.cursor.as_deref().map(ban_place).transpose()?;
    let within = query.network.as_deref().map(|text| network(text, prefix(&running))).transpose()?;
    let now = running.gatekeeper.gate().clock().now();
    let wanted = |ban: &BanInForce| {
        let by = query.policy.as_deref().is_none_or(|name| matches!(&ban.cause.by, By::Policy(by) if **by == *name));
        let overlaps = |network: IpNet| network.contains(&ban.network) || ban.network.contains(&network);
        by && within.is_none_or(overlaps)
    };
    let mut bans = Vec::new();
    let mut looked_at = 0;
    loop {
        // A filter may leave out all of them; without one the page is what is taken.
        let count = if query.policy.is_none() && within.is_none() { limit + 1 } else { TAKEN_AT_ONCE };
        let taken = running.store.bans(after, count, now);
        let was_last = taken.len() < count;
        looked_at += taken.len();
        for ban in taken {
            if bans.len() == limit && wanted(&ban) {
                return Ok(page(&bans, after, now));
            }
            after = Some((ban.until, ban.network));
            if wanted(&ban) {
                bans.push(ban);
            }
        }
        if was_last {
            return Ok(page(&bans, None, now));
        }
        if looked_at >= LOOKED_AT_MAX {
            return Ok(page(&bans, after, now));
        }
        // Others on this thread have their turn.
        tokio::task::yield_now().await;
    }
}

fn page(bans: &[BanInForce], last: Option<BanPlace>, now: Timestamp) -> Json<BanPage> {
    let bans = bans.iter().map(|ban| Ban::of(ban, now)).collect();
    Json(BanPage { bans, next: last.as_ref().map(ban_cursor) })
}

/// Bans a network by hand
///
/// A longer ban that is running stays as it is. When the answer is there the ban is in force, and
/// durable if state is.
#[utoipa::path(post, path = "/v1/bans", tag = "bans", request_body = BanRequest, responses(
    (status = OK, body = Banned, description = "It is banned"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "Not such a body"),
    (status = CONFLICT, body = Problem, content_type = "application/problem+json", description = "It is never banned"),
    (status = PAYLOAD_TOO_LARGE, body = Problem, content_type = "application/problem+json", description = "More than 64 KiB"),
    (status = UNSUPPORTED_MEDIA_TYPE, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
))]
pub(super) async fn ban(
    State(running): State<Arc<Running>>,
    _: NoQuery,
    extract::Json(request): extract::Json<BanRequest>,
) -> Result<Json<Banned>, Problem> {
    let network = network(&request.network, prefix(&running))?;
    let duration = match &request.duration {
        None => DURATION_DEFAULT,
        Some(text) => parse_duration(text).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            Problem::bad_request(format!("duration: {shown}: expected a duration such as 90s, 1h or 30d"))
        })?,
    };
    let why = request.reason.as_deref().unwrap_or_default();
    let placed = running.gatekeeper.gate().ban(network, duration, why).map_err(|error| refused(&error))?;
    let durable = settled(&running).await;
    tell(&running, network, &placed, why);
    Ok(Json(Banned { network: network.to_string(), until: time(placed.until), changed: placed.changed, durable }))
}

fn refused(error: &ActError) -> Problem {
    match error {
        ActError::Spared { .. } => Problem::conflict(error.to_string()),
        ActError::TooWide { .. } | ActError::NoTime => Problem::bad_request(error.to_string()),
    }
}

/// What is done about a ban by hand beside placing it.
fn tell(running: &Running, network: IpNet, placed: &Placed, why: &str) {
    let until = time(placed.until);
    match placed.changed {
        true => tracing::info!(reason = (!why.is_empty()).then_some(why), "by hand: {network} is banned until {until}"),
        false => tracing::info!("by hand: {network} was banned already, until {until}"),
    }
    if let Some((displaced, _)) = placed.displaced {
        running.counters.bans_displaced.bump();
        tracing::warn!(network = %displaced, "the ban that would have ended soonest was lifted: as many are banned as can be");
    }
    if let Some(tunnels) = &running.gatekeeper.front().tunnels_to_close {
        let ruleset = running.gatekeeper.gate().ruleset();
        let is_hit = |open: &Source| network.contains(&open.address()) && !ruleset.source.spares(open.address());
        tunnels.close_tunnels(is_hit);
    }
}

/// Lifts the ban of an address or a network
///
/// With all bans of networks within it. A bare IPv6 address stands for its network of
/// `source.ipv6_prefix` bits. The slash of a network may be written as it is or as %2F.
#[utoipa::path(delete, path = "/v1/bans/{network}", tag = "bans",
    params(("network" = String, Path, description = "An address, or a network with its slash as %2F", example = "203.0.113.7")),
    responses(
    (status = OK, body = Unbanned, description = "What was lifted"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "Neither address nor network"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json", description = "It isn't banned"),
    (status = CONFLICT, body = Problem, content_type = "application/problem+json", description = "It isn't banned by itself, and the ban of a wider network holds for it"),
))]
pub(super) async fn unban(
    State(running): State<Arc<Running>>,
    _: NoQuery,
    PathPart(text): PathPart<String>,
) -> Result<Json<Unbanned>, Problem> {
    lift(&running, network(&text, prefix(&running))?).await
}

/// Lifts the ban of a network
///
/// As above, with the slash in the path.
#[utoipa::path(delete, path = "/v1/bans/{address}/{prefix}", tag = "bans",
    params(
        ("address" = String, Path, description = "The network's address", example = "203.0.113.0"),
        ("prefix" = u8, Path, description = "Its bits", example = 24, maximum = 128),
    ),
    responses(
    (status = OK, body = Unbanned, description = "What was lifted"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "No such network"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json", description = "It isn't banned"),
    (status = CONFLICT, body = Problem, content_type = "application/problem+json", description = "It isn't banned by itself, and the ban of a wider network holds for it"),
))]
pub(super) async fn unban_network(
    State(running): State<Arc<Running>>,
    _: NoQuery,
    PathPart((address, bits)): PathPart<(String, String)>,
) -> Result<Json<Unbanned>, Problem> {
    lift(&running, network(&format!("{address}/{bits}"), prefix(&running))?).await
}

async fn lift(running: &Running, network: IpNet) -> Result<Json<Unbanned>, Problem> {
    let gate = running.gatekeeper.gate();
    let lifted = gate.unban(network);
    let now = gate.clock().now();
    let holders = running.store.bans_on(network.addr(), now).into_iter().map(|ban| ban.network);
    let still_banned_by: Vec<_> = holders.filter(|holder| holder.contains(&network)).map(|it| it.to_string()).collect();
    if lifted.is_empty() {
        return Err(match still_banned_by.as_slice() {
            [] => Problem::not_found(format!("{network} isn't banned")),
            holders => Problem::conflict(format!(
                "{network} isn't banned by itself: the ban of {} holds for it, and can only be lifted as a whole",
                holders.join(" and ")
            )),
        });
    }
    settled(running).await;
    tracing::info!("by hand: {} of {network} lifted", bans(lifted.len()));
    Ok(Json(unbanned(&lifted, still_banned_by, now)))
}

fn bans(count: usize) -> String {
    if count == 1 { "the ban".to_owned() } else { format!("{count} bans") }
}

fn unbanned(lifted: &[BanInForce], still_banned_by: Vec<String>, now: Timestamp) -> Unbanned {
    let shown = lifted.iter().take(SHOWN_MAX).map(|ban| Ban::of(ban, now)).collect();
    Unbanned { lifted: u64::try_from(lifted.len()).unwrap_or(u64::MAX), bans: shown, still_banned_by }
}

/// Which bans to lift.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct UnbanQuery {
    /// Has to be `true`: every ban is lifted.
    #[serde(default)]
    #[param(required = true, schema_with = only_true)]
    all: Option<bool>,
}

fn only_true() -> Schema {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).build().into()
}

/// Lifts every ban
#[utoipa::path(delete, path = "/v1/bans", tag = "bans", params(UnbanQuery), responses(
    (status = OK, body = Unbanned, description = "What was lifted"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "Without ?all=true nothing is lifted"),
))]
pub(super) async fn unban_all(
    State(running): State<Arc<Running>>,
    Query(query): Query<UnbanQuery>,
) -> Result<Json<Unbanned>, Problem> {
    if query.all != Some(true) {
        let say = "all=true lifts every ban; DELETE /v1/bans/NETWORK lifts one";
        return Err(Problem::bad_request(say));
    }
    let gate = running.gatekeeper.gate();
    let began = gate.clock().now();
    let mut shown = Vec::new();
    let mut lifted: usize = 0;
    let mut after = None;
    loop {
        // Piece by piece: whoever is to be banned meanwhile needn't wait for all of it.
        let page = running.store.bans(after, TAKEN_AT_ONCE, gate.clock().now());
        let Some(last) = page.last() else { break };
        after = Some((last.until, last.network));
        for ban in page.iter().filter(|ban| ban.since <= began) {
            let mut gone = gate.unban(ban.network);
            lifted += gone.len();
            gone.truncate(SHOWN_MAX.saturating_sub(shown.len()));
            shown.append(&mut gone);
        }
        tokio::task::yield_now().await;
    }
    settled(&running).await;
    tracing::info!("by hand: every ban lifted, {lifted} in all");
    let unbanned = unbanned(&shown, Vec::new(), gate.clock().now());
    Ok(Json(Unbanned { lifted: u64::try_from(lifted).unwrap_or(u64::MAX), ..unbanned }))
}

/// Waits until the file, if there is one, holds what was done; whether it does.
async fn settled(running: &Running) -> bool {
    match &running.keeper {
        Some(keeper) => keeper.settled().await,
        None => false,
    }
}

/// Bits that an IPv6 address counts by.
fn prefix(running: &Running) -> u8 {
    running.gatekeeper.gate().ruleset().source.ipv6_prefix
}
