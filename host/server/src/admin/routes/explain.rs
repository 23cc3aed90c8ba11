//! `/v1/explain`: why somebody is banned or has to wait.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ipnet::IpNet;
use portcullis_domain::{Ban as BanInForce, ClientId, Source, Store as _, Subject, Timestamp};
use portcullis_harness::journal::explain::{Explained, Explanation as Found, InForceNow, Whom, explain};
use portcullis_harness::journal::value::{Network, Time};
use serde::Deserialize;
use utoipa::IntoParams;

use super::events::blocking;
use crate::admin::api::{Ban, ExplainedOrder, Explanation, WaitUntil, time};
use crate::admin::extract::Query;
use crate::admin::problem::Problem;
use crate::running::Running;

/// Bans and waits that are explained.
const IN_FORCE_MAX: usize = 32;
/// Bans taken at once from the store, and as many times that at most.
const TAKEN_AT_ONCE: usize = 1000;
const TAKEN_TIMES_MAX: usize = 20;

/// Who is meant.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainQuery {
    /// An address, a network, or else a client auth id.
    #[param(example = "203.0.113.7")]
    subject: String,
}

/// Why somebody is banned or has to wait
///
/// What is in force for them, and from the journal the events that led to it: those that one policy judged about one
/// subject, from the first that found no state to the one that the order came with. Where nothing is in force, their
/// last orders.
#[utoipa::path(get, path = "/v1/explain", tag = "journal", params(ExplainQuery), responses(
    (status = OK, body = Explanation, description = "As far as the journal reaches"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A wrong query"),
))]
pub(super) async fn get(
    State(running): State<Arc<Running>>,
    Query(query): Query<ExplainQuery>,
) -> Result<Json<Explanation>, Problem> {
    let subject = query.subject;
    if subject.is_empty() || subject.len() > portcullis_domain::event::CLIENT_ID_BYTES_MAX {
        return Err(Problem::bad_request("subject: expected an address, a network or a client auth id"));
    }
    blocking(move || explained(&running, &subject)).await.map(Json)
}

fn explained(running: &Running, subject: &str) -> Explanation {
    let whom = Whom::parse(subject);
    let now = running.gatekeeper.gate().clock().now();
    let bans = bans(running, &whom, now);
    let waits = waits(running, &whom, now);
    let banned = |ban: &BanInForce| InForceNow::Banned {
        network: Network(ban.network),
        since: Time(ban.since),
        until: Time(ban.until),
    };
    let waiting = |(subject, until): &(Subject, Timestamp)| {
        let (client, source) = parts(subject);
        InForceNow::Waits { client, source: source.map(Network), until: Time(*until) }
    };
    let in_force: Vec<_> = bans.iter().map(banned).chain(waits.iter().map(waiting)).collect();
    let found: Found = explain(&running.journal.reader(), &whom, &in_force);
    let shown = |(subject, until): &(Subject, Timestamp)| {
        let (id, source) = parts(subject);
        WaitUntil { id, source: source.map(|source| source.to_string()), until: time(*until) }
    };
    let json = |stored: &portcullis_harness::journal::Stored| serde_json::to_value(stored).unwrap_or_default();
    let order = |order: &Explained| ExplainedOrder {
        explains: order.explains,
        chain: order.chain.iter().map(json).collect(),
        left_out: order.left_out,
        from_the_beginning: order.from_the_beginning,
        gaps: order.gaps,
    };
    Explanation {
        subject: subject.to_owned(),
        bans: bans.iter().map(|ban| Ban::of(ban, now)).collect(),
        waits: waits.iter().map(shown).collect(),
        orders: found.orders.iter().map(order).collect(),
        acts: found.acts.iter().map(json).collect(),
        newest: found.newest.iter().map(json).collect(),
        unexplained: found.unexplained,
        records_read: found.findings.records,
        to_the_beginning: found.findings.to_the_end,
        damaged: found.findings.damages.iter().map(ToString::to_string).collect(),
    }
}

fn parts(subject: &Subject) -> (Option<String>, Option<IpNet>) {
    match subject {
        Subject::Id(id) => (Some(id.as_str().to_owned()), None),
        Subject::Source(network) => (None, Some(*network)),
        Subject::Pair(id, network) => (Some(id.as_str().to_owned()), Some(*network)),
    }
}

fn bans(running: &Running, whom: &Whom, now: Timestamp) -> Vec<BanInForce> {
    let mut bans = match whom {
        Whom::Address(address) => running.store.bans_on(*address, now),
        Whom::Network(network) => overlapping(running, *network, now),
        Whom::Client(_) => Vec::new(),
    };
    bans.truncate(IN_FORCE_MAX);
    bans
}

fn overlapping(running: &Running, network: IpNet, now: Timestamp) -> Vec<BanInForce> {
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..TAKEN_TIMES_MAX {
        let taken = running.store.bans(after, TAKEN_AT_ONCE, now);
        let Some(last) = taken.last() else { break };
        after = Some((last.until, last.network));
        found.extend(taken.into_iter().filter(|ban| network.contains(&ban.network) || ban.network.contains(&network)));
        if found.len() >= IN_FORCE_MAX {
            break;
        }
    }
    found
}

fn waits(running: &Running, whom: &Whom, now: Timestamp) -> Vec<(Subject, Timestamp)> {
    let prefix = running.gatekeeper.gate().ruleset().source.ipv6_prefix;
    let of = |address: IpAddr| Source::new(address, prefix).network();
    let subjects = match whom {
        Whom::Address(address) => running.store.waiting_within(of(*address), now),
        Whom::Network(network) => running.store.waiting_within(*network, now),
        // A longer one never was anybody's.
        Whom::Client(id) => ClientId::new(id).map(|id| running.store.waiting_as(&id, now)).unwrap_or_default(),
    };
    let until = |subject: Subject| running.store.waits_until(&subject, now).map(|until| (subject, until));
    subjects.into_iter().filter_map(until).take(IN_FORCE_MAX).collect()
}
