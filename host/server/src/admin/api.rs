//! What goes over the wire, both ways: the server writes it, the command line
//! reads it, and the OpenAPI document is made from it.
//!
//! Wire types are not domain types. Times are RFC 3339 in UTC, durations whole
//! milliseconds with the unit in the name, networks in CIDR form. What is added
//! later is added as a field: a client passes over what it doesn't know.

mod shadow;
mod tls;

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_domain::{By, Cause, Enforced, Subject, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::counters::Fate;

pub use shadow::{Shadow, ShadowReset, ShadowSubject, Shadows, Trusted};
pub use tls::{Certificate, TlsStatus};

/// Entries of a page unless asked otherwise.
pub const PAGE_DEFAULT: usize = 100;
/// Entries of a page at most.
pub const PAGE_MAX: usize = 1000;

/// The server as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it began to serve.
    pub started: String,
    /// Its own time, which waits and bans go by.
    pub now: String,
    /// Since when the present configuration is in force.
    pub in_force_since: String,
    /// Where clients connect.
    pub listen: Vec<String>,
    /// Where other proxies ask, if anywhere.
    #[serde(default)]
    pub asked_on: Vec<String>,
    /// The service behind, if there is one.
    pub upstream: Option<String>,
    /// Who checks secrets: `file` or `upstream`.
    pub auth_mode: String,
    /// Whether it does all that it should; as `/readyz` says.
    pub ready: Readiness,
    /// Bans in force.
    pub bans: u64,
    /// Waits in force.
    pub waits: u64,
    /// What makes state durable.
    pub state: StateStatus,
    /// What keeps banned sources out in the kernel, if anything does.
    pub firewall: Option<FirewallStatus>,
    /// TLS, if a listener speaks it.
    #[serde(default)]
    pub tls: Option<TlsStatus>,
    /// The journal.
    pub journal: JournalStatus,
    /// The log.
    pub log: LogStatus,
    /// Everything the server counts, by name; CONFIG and METRICS say what each means.
    pub totals: BTreeMap<String, u64>,
    /// Its policies, in the order in which they judge.
    pub policies: Vec<Policy>,
    /// Logs that it watches, by name.
    #[serde(default)]
    pub watches: Vec<Watch>,
}

/// A watch over logs. Its counts are those since it was started or altered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Watch {
    /// Its name.
    pub name: String,
    /// What its lines look like.
    pub format: String,
    /// The paths that it looks for logs at; empty if it reads a command's output.
    pub paths: Vec<String>,
    /// The command whose output it reads, with its arguments.
    pub command: Option<Vec<String>>,
    /// Logs that it follows, or 1 while the command runs.
    pub sources: u64,
    /// Lines that were read.
    pub lines: u64,
    /// Of these, lines that tell of events.
    pub events: u64,
    /// Lines of no known kind.
    pub unknown: u64,
    /// Events that weren't judged because they were older than `watch.max_lateness`.
    pub late: u64,
    /// Events that weren't judged because they were ahead of the clock.
    pub ahead: u64,
    /// Events of sources that were banned when they happened.
    pub banned: u64,
    /// Times that something was gone before it was read.
    pub lost: u64,
    /// Times that a log couldn't be read or the command has ended.
    pub failures: u64,
    /// Bytes that are yet to be read.
    pub behind_bytes: u64,
    /// Age of the last event that was read, while there is more to read, in milliseconds.
    pub behind_ms: u64,
    /// Why it can't be read at the moment.
    pub failing: Option<String>,
}

/// Whether the server does all that it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// What it doesn't do, and why.
    pub reasons: Vec<String>,
}

/// What makes state durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateStatus {
    /// `memory`, or `sqlite:` and the file.
    pub store: String,
    /// How far the file is behind the memory.
    pub lag_ms: u64,
    /// Changes that wait to be written.
    pub pending: u64,
    /// Replies that left before the ban that they followed was durable.
    pub unsettled_replies: u64,
    /// Why nothing can be written at the moment, if so.
    pub failing: Option<String>,
}

/// What keeps banned sources out in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FirewallStatus {
    /// What does it: `nftables`.
    pub backend: String,
    /// Networks that are kept out.
    pub elements: u64,
    /// How far it is behind the bans.
    pub lag_ms: u64,
    /// Changes that wait to be in force.
    pub pending: u64,
    /// Packets that it has stopped since its table was made.
    pub stopped_packets: u64,
    /// How often somebody else's change of its table was mended.
    pub mended: u64,
    /// Why it isn't kept as it should be at the moment, if so.
    pub failing: Option<String>,
}

/// What became of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JournalStatus {
    /// Its folder; without one only the newest events are kept, in memory.
    pub dir: Option<String>,
    /// Events written or kept.
    pub written: u64,
    /// Events lost, because the queue was full or the disk failed.
    pub dropped: u64,
    /// Size of its segments.
    pub bytes: u64,
    /// Why nothing can be written at the moment, if so.
    pub failing: Option<String>,
}

/// The journal as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JournalDetail {
    /// How its writing does.
    pub journal: JournalStatus,
    /// Its segments, the oldest first.
    pub segments: Vec<JournalSegment>,
}

/// A file of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JournalSegment {
    /// Its name in the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was begun.
    pub began: String,
}

/// Some events, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    /// The events, as JOURNAL.md says. There may be fewer than asked for, or none, before the last page.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<serde_json::Value>,
    /// What to give as `cursor` for those before them; none: these were the oldest.
    pub next: Option<String>,
}

/// Why somebody is banned or has to wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Who was asked about.
    pub subject: String,
    /// Bans in force, 32 at most.
    pub bans: Vec<Ban>,
    /// Waits in force.
    pub waits: Vec<WaitUntil>,
    /// Orders, the newest first: those of what is in force, and some before them.
    pub orders: Vec<ExplainedOrder>,
    /// What was done by hand, the newest first, as JOURNAL.md says.
    #[schema(value_type = Vec<Object>)]
    pub acts: Vec<serde_json::Value>,
    /// Their newest events, the newest first, as far as had to be looked.
    #[schema(value_type = Vec<Object>)]
    pub newest: Vec<serde_json::Value>,
    /// Which of what is in force can't be explained: its events aren't in the journal (any more). Counted from 0
    /// through `bans` and on through `waits`.
    pub unexplained: Vec<usize>,
    /// Records that were read for it.
    pub records_read: u64,
    /// Whether the journal was read to its beginning.
    pub to_the_beginning: bool,
    /// Places where the journal is damaged.
    pub damaged: Vec<String>,
}

/// A wait and its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitUntil {
    /// The client auth id, if it goes by one.
    pub id: Option<String>,
    /// The source's network, if it goes by one.
    pub source: Option<String>,
    /// When it ends.
    pub until: String,
}

/// An order, and how it came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedOrder {
    /// Which of what is in force it explains, counted as in `unexplained`.
    pub explains: Option<usize>,
    /// The events of one policy about one subject, the oldest first, as JOURNAL.md says; with the last one the order
    /// came.
    #[schema(value_type = Vec<Object>)]
    pub chain: Vec<serde_json::Value>,
    /// Events in its middle that aren't shown.
    pub left_out: u64,
    /// Whether the first of them found no state: there was nothing before it.
    pub from_the_beginning: bool,
    /// Somewhere between them records are missing.
    pub gaps: bool,
}

/// What became of log lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogStatus {
    /// Lines that the queue had no room for.
    pub dropped: u64,
    /// Lines that couldn't be written.
    pub unwritten: u64,
    /// Refusals that the rate limit kept out.
    pub refusals_suppressed: u64,
}

/// One policy, and how it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// `wait`, `ban` or `scanner`.
    pub kind: String,
    /// `enforce` or `shadow`.
    pub mode: String,
    /// Whom it keeps state about: `id`, `source` or `pair`.
    pub subject: String,
    /// What runs.
    pub plugin: Plugin,
    /// Subjects that it keeps something about now, such as failures in a row.
    pub subjects: u64,
    /// Of these, the ones that had to go for others so far.
    pub subjects_evicted: u64,
    /// Failed logins and hits that it was asked about, so far.
    pub failed_total: u64,
    /// Bans in force that it ordered.
    pub banned: u64,
    /// Bans that it ordered and that were enforced, so far.
    pub bans_total: u64,
    /// Waits that it ordered, so far.
    pub waits_total: u64,
    /// How its plugin does.
    pub health: Health,
}

/// A plugin as it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plugin {
    /// Where it comes from: `bundle:NAME` or a file.
    pub origin: String,
    /// What it calls itself.
    pub name: String,
    /// Its version, by its own word.
    pub version: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// SHA-256 of its settings, those left out filled in.
    pub settings_sha256: String,
}

/// How a plugin does, since it was loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Events that were put to the policy.
    pub calls: u64,
    /// Failures by cause; causes that didn't occur are left out.
    pub failures: BTreeMap<String, u64>,
    /// Failures that a new instance made good.
    pub recovered: u64,
    /// Events that were left to `on_failure`.
    pub fallbacks: u64,
    /// Events that were denied.
    pub denied: u64,
    /// Quarantines so far.
    pub quarantines: u64,
    /// Until when it is in quarantine, if it is.
    pub quarantined_until: Option<String>,
    /// There if it has ordered more bans in a minute than `guard.max_bans_per_minute`
    /// allows: its bans aren't enforced.
    pub tripped: Option<Tripped>,
}

/// A policy whose bans aren't enforced, since there were too many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tripped {
    /// Since when.
    pub since: String,
    /// Bans not enforced since then.
    pub not_enforced: u64,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// Short and stable.
    pub code: String,
    /// One line, in the words of whoever ordered it.
    pub text: String,
}

impl From<&portcullis_domain::Reason> for Reason {
    fn from(reason: &portcullis_domain::Reason) -> Self {
        Self { code: reason.code().to_owned(), text: reason.text().to_owned() }
    }
}

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ban {
    /// What is banned.
    pub network: String,
    /// When the order came that decides its end.
    pub since: String,
    /// When it ends.
    pub until: String,
    /// How long it still lasts, rounded up.
    pub left_seconds: u64,
    /// The policy that ordered it; none: the operator, by hand.
    pub policy: Option<String>,
    /// Why.
    pub reason: Reason,
}

impl Ban {
    /// A ban as it is seen now.
    #[must_use]
    pub fn of(ban: &portcullis_domain::Ban, now: Timestamp) -> Self {
        Self {
            network: ban.network.to_string(),
            since: time(ban.since),
            until: time(ban.until),
            left_seconds: whole_seconds(ban.until.since(now)),
            policy: policy_of(&ban.cause),
            reason: (&ban.cause.reason).into(),
        }
    }
}

/// Some bans, those that end soonest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BanPage {
    /// The bans. There may be fewer than asked for, or none, before the last page.
    pub bans: Vec<Ban>,
    /// What to give as `cursor` for those after them; none: these were the last.
    pub next: Option<String>,
}

/// What to ban, by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BanRequest {
    /// A network such as `203.0.113.0/24`, or an address; a bare IPv6 address stands for its network of
    /// `source.ipv6_prefix` bits.
    #[schema(example = "203.0.113.7")]
    pub network: String,
    /// How long, such as `90s`, `1h` or `30d`; left out: an hour.
    #[schema(example = "1h")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration: Option<String>,
    /// One line for whoever asks later.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// What came of a ban by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Banned {
    /// What is banned.
    pub network: String,
    /// Until when: the later of what was asked and what was running.
    pub until: String,
    /// Whether it is this order that decides that; not where a longer ban was running.
    pub changed: bool,
    /// Whether a restart remembers it: it is in the file, or state is kept in memory alone and this is false.
    pub durable: bool,
}

/// What came of lifting bans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unbanned {
    /// How many were lifted.
    pub lifted: u64,
    /// The first of them, a hundred at most.
    pub bans: Vec<Ban>,
    /// Wider networks whose bans still hold for what was asked.
    pub still_banned_by: Vec<String>,
}

/// A wait in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wait {
    /// Who waits: the client auth id, if it goes by one.
    pub id: Option<String>,
    /// Who waits: the source's network, if it goes by one.
    pub source: Option<String>,
    /// When the order came that decides its end.
    pub since: String,
    /// When it ends.
    pub until: String,
    /// How long it still lasts, rounded up.
    pub left_seconds: u64,
    /// The policy that ordered it; none: the operator, by hand.
    pub policy: Option<String>,
    /// Why.
    pub reason: Reason,
}

impl Wait {
    /// A wait as it is seen now.
    #[must_use]
    pub fn of(wait: &portcullis_domain::Wait, now: Timestamp) -> Self {
        let (id, source) = match &wait.subject {
            Subject::Id(id) => (Some(id), None),
            Subject::Source(network) => (None, Some(network)),
            Subject::Pair(id, network) => (Some(id), Some(network)),
        };
        Self {
            id: id.map(|id| id.as_str().to_owned()),
            source: source.map(ToString::to_string),
            since: time(wait.since),
            until: time(wait.until),
            left_seconds: whole_seconds(wait.until.since(now)),
            policy: policy_of(&wait.cause),
            reason: (&wait.cause.reason).into(),
        }
    }
}

/// Some waits, those that end soonest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitPage {
    /// The waits.
    pub waits: Vec<Wait>,
    /// What to give as `cursor` for those after them; none: these were the last.
    pub next: Option<String>,
}

/// What came of ending waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unwaited {
    /// How many were ended.
    pub ended: u64,
    /// The first of them, a hundred at most.
    pub waits: Vec<Wait>,
}

/// All policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyList {
    /// In the order in which they judge.
    pub policies: Vec<Policy>,
}

/// One policy with all that was configured about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyDetail {
    /// How it does.
    pub policy: Policy,
    /// Its settings, those left out filled in.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// What happens when its plugin fails: `bundle`, `deny` or `allow`.
    pub on_failure: String,
    /// What its plugin may use.
    pub limits: PolicyLimits,
}

/// What a plugin may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyLimits {
    /// Time of one call.
    pub deadline_ms: u64,
    /// Memory of one instance.
    pub memory_bytes: u64,
    /// State kept for one subject.
    pub state_bytes: u64,
}

/// How to load everything anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Even if a changed policy would newly ban more sources than allowed.
    #[serde(default)]
    pub force: bool,
}

/// What is in force now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// From the end of loading to it being in force, in microseconds.
    pub took_us: u64,
    /// Names of the policies that run something else than before.
    pub changed: Vec<String>,
    /// What the operator should hear.
    pub warnings: Vec<String>,
}

fn policy_of(cause: &Cause) -> Option<String> {
    match &cause.by {
        By::Policy(name) => Some(name.to_string()),
        By::Operator => None,
    }
}

/// Rounded up, so that nothing ends early.
fn whole_seconds(left: Duration) -> u64 {
    u64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// Who was refused, banned and made to wait of late.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recent {
    /// The server's time.
    pub now: String,
    /// Sources that were refused, the last one first.
    pub refused: Vec<RefusedSource>,
    /// Bans that were ordered, the last one first.
    pub bans: Vec<RecentOrder>,
    /// Waits that were ordered, the last one first.
    pub waits: Vec<RecentOrder>,
}

/// A source that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedSource {
    /// Its address.
    pub source: String,
    /// Why the last time: `banned`, `waiting`, `busy`, `overloaded`, or what couldn't be read.
    pub why: String,
    /// How often since it is remembered.
    pub times: u64,
    /// When the last time.
    pub last: String,
}

/// What a policy ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecentOrder {
    /// When.
    pub at: String,
    /// Whom it hits: an address, a network, a client auth id, or an id and a network.
    pub whom: String,
    /// From where the event came.
    pub source: String,
    /// The policy.
    pub policy: String,
    /// The code of its reason.
    pub code: String,
    /// Its reason in words.
    pub reason: String,
    /// How long it lasts by this order, in milliseconds; 0 where it was spared.
    pub duration_ms: u64,
    /// `enforced`, `spared` (never banned) or `log-only` (over `guard.max_bans_per_minute`).
    pub fate: String,
}

impl Recent {
    /// As it is seen now.
    #[must_use]
    pub fn of(recent: &crate::recent::Recent, now: portcullis_domain::Timestamp) -> Self {
        let refused = recent.refused_sources().into_iter().map(|one| RefusedSource {
            source: one.source.to_string(),
            why: one.why.to_owned(),
            times: one.times,
            last: time(one.last),
        });
        let orders = |orders: Vec<crate::recent::RecentOrder>| orders.iter().map(RecentOrder::of).collect();
        Self { now: time(now), refused: refused.collect(), bans: orders(recent.bans()), waits: orders(recent.waits()) }
    }
}

impl RecentOrder {
    fn of(recent: &crate::recent::RecentOrder) -> Self {
        let order = &recent.order;
        let duration = match &order.enforced {
            Enforced::Wait { duration, .. } | Enforced::Ban { duration, .. } | Enforced::LogOnly { duration, .. } => {
                *duration
            }
            Enforced::Spared => Duration::ZERO,
        };
        Self {
            at: time(recent.at),
            whom: recent.whom(),
            source: recent.source.to_string(),
            policy: order.policy.to_string(),
            code: order.reason.code().to_owned(),
            reason: order.reason.text().to_owned(),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            fate: Fate::of(&order.enforced).name().to_owned(),
        }
    }
}

/// The gate's time as the wire has it.
#[must_use]
pub fn time(at: portcullis_domain::Timestamp) -> String {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    wall_time(jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX))
}

/// A wall time as the wire has it.
#[must_use]
pub fn wall_time(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}
