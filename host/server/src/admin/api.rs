//! What goes over the wire, both ways: the server writes it, the command line
//! reads it, and the OpenAPI document is made from it.
//!
//! Wire types are not domain types. Times are RFC 3339 in UTC, durations whole
//! milliseconds with the unit in the name, networks in CIDR form. What is added
//! later is added as a field: a client passes over what it doesn't know.

use std::collections::BTreeMap;

use portcullis_domain::{By, Subject};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Entries of a page unless asked otherwise.
pub const PAGE_DEFAULT: usize = 100;
/// Entries of a page at most.
pub const PAGE_MAX: usize = 1000;
/// Longest cursor, client auth id or other text in a query, in bytes.
pub const QUERY_TEXT_BYTES_MAX: usize = 1024;

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
    /// The journal.
    pub journal: JournalStatus,
    /// The log.
    pub log: LogStatus,
    /// Everything the server counts, by name; CONFIG and METRICS say what each means.
    pub totals: BTreeMap<String, u64>,
    /// Its policies, in the order in which they judge.
    pub policies: Vec<Policy>,
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
    /// Bans in force that it ordered.
    pub banned: u64,
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

/// Who ordered something: a policy, or the operator by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", tag = "by")]
pub enum OrderedBy {
    /// A policy.
    Policy {
        /// Its name.
        policy: String,
    },
    /// The operator, by hand.
    Operator,
}

impl From<&By> for OrderedBy {
    fn from(by: &By) -> Self {
        match by {
            By::Policy(name) => Self::Policy { policy: name.to_string() },
            By::Operator => Self::Operator,
        }
    }
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

/// Whom something is about: a client auth id, a source, or both together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whom {
    /// The client auth id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// The source's network.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
}

impl From<&Subject> for Whom {
    fn from(subject: &Subject) -> Self {
        let (id, source) = match subject {
            Subject::Id(id) => (Some(id), None),
            Subject::Source(network) => (None, Some(network)),
            Subject::Pair(id, network) => (Some(id), Some(network)),
        };
        Self { id: id.map(|id| id.as_str().to_owned()), source: source.map(ToString::to_string) }
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
