//! `/v1/status`: the server as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use portcullis_domain::store::{Sizes, TableSize};
use portcullis_domain::{By, Kind, PolicyMode, Store as _, SubjectBy};
use portcullis_runtime::Cause;

use super::health::readiness;
use crate::admin::api::{
    Certificate, FirewallStatus, Health, JournalStatus, LogStatus, Plugin, Policy, StateStatus, Status, TlsStatus,
    Tripped, Watch, time, wall_time,
};
use crate::admin::extract::NoQuery;
use crate::admin::problem::Problem;
use crate::config::{Mode, StoreKind, Watched};
use crate::counters::Fate;
use crate::firewall::FirewallHealth;
use crate::running::{InForce, Running};
use crate::setup::LoadedPolicy;
use crate::tls;
use crate::watch::WatchStatus;

/// The server as a whole: what is in force, and how it does
#[utoipa::path(get, path = "/v1/status", tag = "status", responses(
    (status = OK, body = Status, description = "How it does"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A query parameter; there are none"),
))]
pub(super) async fn get_status(State(running): State<Arc<Running>>, _: NoQuery) -> Json<Status> {
    Json(status(&running))
}

/// How the server does.
#[must_use]
pub fn status(running: &Running) -> Status {
    let in_force = running.in_force.load();
    let config = &in_force.config;
    let (sizes, bans) = (running.store.sizes(), bans(running));
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: wall_time(running.started),
        now: time(running.gatekeeper.gate().clock().now()),
        in_force_since: wall_time(in_force.since),
        listen: running.addresses.iter().map(ToString::to_string).collect(),
        asked_on: running.decide_addresses.iter().map(ToString::to_string).collect(),
        upstream: config
            .upstream
            .as_ref()
            .map(|upstream| format!("http://{}{}", upstream.url.authority(), upstream.url.prefix())),
        auth_mode: match config.auth.mode {
            Mode::File => "file",
            Mode::Upstream => "upstream",
        }
        .to_owned(),
        ready: readiness(running),
        bans: count(bans.iter().map(|(_, bans)| bans).sum()),
        waits: count(sizes.waits),
        state: state(running, &config.state.store),
        firewall: running.firewall.as_ref().map(|firewall| firewall_status(firewall.health())),
        tls: tls(running, &in_force),
        journal: journal(running, &in_force),
        log: log(running),
        totals: running.counters.all().map(|(name, count)| (name.to_owned(), count)).collect(),
        policies: all_policies(running, &in_force, &sizes, &bans),
        watches: running.watches.status().iter().map(watch).collect(),
    }
}

fn watch(watch: &WatchStatus) -> Watch {
    let WatchStatus { config, counts } = watch;
    let (paths, command) = match &config.watched {
        Watched::Logs(paths) => (paths.clone(), None),
        Watched::Command(command) => (Vec::new(), Some(command.clone())),
    };
    Watch {
        name: config.name.clone(),
        format: config.format.name().to_owned(),
        paths,
        command,
        sources: counts.sources.get(),
        lines: counts.lines(),
        events: counts.events.get(),
        unknown: counts.unknown.get(),
        late: counts.late.get(),
        ahead: counts.ahead.get(),
        banned: counts.banned.get(),
        lost: counts.lost.get(),
        failures: counts.failures.get(),
        behind_bytes: counts.behind_bytes.get(),
        behind_ms: counts.behind_ms.get(),
        failing: counts.failing(),
    }
}

/// Every policy, in the order in which they judge.
#[must_use]
pub(super) fn policies(running: &Running) -> Vec<Policy> {
    all_policies(running, &running.in_force.load(), &running.store.sizes(), &bans(running))
}

/// Bans in force by who ordered them.
fn bans(running: &Running) -> Vec<(By, usize)> {
    running.store.bans_by(running.gatekeeper.gate().clock().now())
}

fn all_policies(running: &Running, in_force: &InForce, sizes: &Sizes, bans: &[(By, usize)]) -> Vec<Policy> {
    let tripped: BTreeMap<_, _> = (running.gatekeeper.gate().tripped().into_iter())
        .map(|tripped| (tripped.policy, Tripped { since: time(tripped.since), not_enforced: tripped.not_enforced }))
        .collect();
    let orders = running.counters.orders.counted();
    let shown = |loaded: &LoadedPolicy| {
        let name = loaded.config.name.as_str();
        let table = sizes.tables.iter().find(|table| &*table.policy == name);
        let ordered = bans.iter().find(|(by, _)| matches!(by, By::Policy(by) if **by == *name));
        let enforced = orders.iter().filter(|order| *order.policy == *name && order.fate == Fate::Enforced);
        let (banned, orders) = (ordered.map_or(0, |(_, bans)| *bans), enforced.map(|order| order.count).sum());
        let counted = Counted { banned, orders, failed_total: running.counters.noted.of(name) };
        policy(loaded, table, counted, tripped.get(name).cloned())
    };
    in_force.policies.iter().map(shown).collect()
}

/// What is counted about a policy outside of its plugin.
struct Counted {
    banned: usize,
    orders: u64,
    failed_total: u64,
}

fn policy(loaded: &LoadedPolicy, table: Option<&TableSize>, counted: Counted, tripped: Option<Tripped>) -> Policy {
    let Counted { banned, orders, failed_total } = counted;
    let config = &loaded.config;
    let is_wait = config.kind == Kind::Wait;
    Policy {
        name: config.name.clone(),
        kind: config.kind.name().to_owned(),
        mode: mode_name(config.mode).to_owned(),
        subject: subject_name(config.subject).to_owned(),
        plugin: plugin(loaded),
        subjects: count(table.map_or(0, |table| table.states)),
        subjects_evicted: table.map_or(0, |table| table.evicted),
        failed_total,
        banned: count(banned),
        bans_total: if is_wait { 0 } else { orders },
        waits_total: if is_wait { orders } else { 0 },
        health: health(loaded, tripped),
    }
}

fn plugin(loaded: &LoadedPolicy) -> Plugin {
    let primary = loaded.judge.primary();
    let plugin = primary.plugin();
    let description = plugin.description();
    Plugin {
        origin: loaded.config.plugin.to_string(),
        name: description.name.clone(),
        version: description.version.clone(),
        sha256: plugin.digest_hex(),
        settings_sha256: hex(&primary.provenance().settings),
    }
}

fn health(loaded: &LoadedPolicy, tripped: Option<Tripped>) -> Health {
    let snapshot = loaded.judge.snapshot();
    let failures = Cause::ALL.iter().map(|&cause| (cause.name().to_owned(), snapshot.failed(cause)));
    Health {
        calls: snapshot.calls,
        failures: failures.filter(|(_, times)| *times > 0).collect(),
        recovered: snapshot.recovered,
        fallbacks: snapshot.fallbacks,
        denied: snapshot.denied,
        quarantines: snapshot.quarantines,
        quarantined_until: snapshot.quarantined_until.map(time),
        tripped,
    }
}

fn state(running: &Running, store: &StoreKind) -> StateStatus {
    let health = running.keeper.as_ref().map(|keeper| keeper.health()).unwrap_or_default();
    StateStatus {
        store: match store {
            StoreKind::Memory => "memory".to_owned(),
            StoreKind::Sqlite(path) => format!("sqlite:{}", path.display()),
        },
        lag_ms: u64::try_from(health.lag.as_millis()).unwrap_or(u64::MAX),
        pending: health.pending,
        unsettled_replies: health.unsettled_replies,
        failing: health.failing,
    }
}

fn firewall_status(health: FirewallHealth) -> FirewallStatus {
    FirewallStatus {
        backend: "nftables".to_owned(),
        elements: health.elements,
        lag_ms: u64::try_from(health.lag.as_millis()).unwrap_or(u64::MAX),
        pending: health.pending,
        stopped_packets: health.stopped_packets,
        mended: health.mended,
        failing: health.failing,
    }
}

fn tls(running: &Running, in_force: &InForce) -> Option<TlsStatus> {
    let certificates = in_force.certificates();
    let shown = |certificate: &&tls::Certificate| Certificate {
        file: certificate.file().display().to_string(),
        names: certificate.names().to_vec(),
        expires: wall_time(certificate.not_after()),
    };
    (!certificates.is_empty()).then(|| TlsStatus {
        handshakes_under_way: count(running.handshakes.get()),
        certificates: certificates.iter().map(shown).collect(),
    })
}

fn journal(running: &Running, in_force: &InForce) -> JournalStatus {
    let counts = running.journal.counts();
    JournalStatus {
        dir: in_force.config.journal.dir.as_ref().map(|dir| dir.display().to_string()),
        written: counts.written,
        dropped: counts.dropped,
        bytes: counts.bytes,
        failing: counts.failing,
    }
}

fn log(running: &Running) -> LogStatus {
    let counts = running.log.counts();
    LogStatus { dropped: counts.dropped, unwritten: counts.unwritten, refusals_suppressed: counts.refusals_suppressed }
}

fn count(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const fn mode_name(mode: PolicyMode) -> &'static str {
    match mode {
        PolicyMode::Enforce => "enforce",
        PolicyMode::Shadow => "shadow",
    }
}

const fn subject_name(subject: SubjectBy) -> &'static str {
    match subject {
        SubjectBy::Id => "id",
        SubjectBy::Source => "source",
        SubjectBy::Pair => "pair",
    }
}
