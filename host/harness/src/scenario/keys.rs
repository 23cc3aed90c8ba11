//! Every key of a scenario file, with its type, default, meaning and an example.
//!
//! The reader goes by this table: a key that isn't here is refused, and where a
//! default stands it is the one that is used. So the reference that is made
//! from it can't lie. It must not know how a key is read.

/// One key of a scenario file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The tables and the name; `NAME` stands for a policy's name.
    pub path: &'static str,
    /// What may be written there, in words.
    pub kind: &'static str,
    /// The default as TOML; `None` where leaving it out has a meaning of its own.
    pub default: Option<&'static str>,
    /// An example of a value, as TOML.
    pub example: &'static str,
    /// What it does, or what leaving it out means.
    pub doc: &'static str,
}

const fn key(
    path: &'static str,
    kind: &'static str,
    default: &'static str,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key { path, kind, default: Some(default), example, doc }
}

const fn open(path: &'static str, kind: &'static str, example: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default: None, example, doc }
}

const DURATION: &str = "duration";
const SIZE: &str = "size";
const NETWORKS: &str = "list of networks";
const COUNT: &str = "whole number";
const TEXT: &str = "text";
const TABLE: &str = "table";
const PLUGIN: &str = "bundle:NAME or file path";
const STATUS: &str = "HTTP status";

/// Every key there is, in the order in which documents list them.
pub const KEYS: &[Key] = &[
    open("name", TEXT, r#""five failures in a row ban the source""#, "What the scenario shows. Needed."),
    open("doc", TEXT, r#""A guesser gets five tries.""#, "Why it matters."),
    key("start", "time (RFC 3339, UTC)", r#""2026-01-05T12:00:00Z""#, r#""2026-03-29T00:59:00Z""#, "When it begins."),
    key("gate.ipv6_prefix", "1 to 128", "64", "56", "Bits of an IPv6 address that subjects and bans go by."),
    key("gate.never_ban", NETWORKS, "[]", r#"["192.0.2.0/24"]"#, "Networks that are never banned."),
    key("gate.trusted_proxies", NETWORKS, "[]", r#"["10.0.0.0/8"]"#, "Proxies, which are never banned either."),
    key("gate.max_inflight_attempts", COUNT, "4", "8", "Attempts of one source that may be under way at once."),
    key("gate.max_wait", DURATION, r#""1h""#, r#""5m""#, "Longest wait that is enforced."),
    key("gate.max_ban", DURATION, r#""365d""#, r#""1d""#, "Longest ban that is enforced."),
    key(
        "gate.verified_for",
        DURATION,
        r#""5m""#,
        r#""0s""#,
        "How long a pair of id and secret counts as verified for its source; 0s: never.",
    ),
    open(
        "policy.NAME.kind",
        r#""wait", "ban" or "scanner""#,
        r#""ban""#,
        "What it judges; given for policy.wait, policy.ban and policy.scanner, needed for others.",
    ),
    open(
        "policy.NAME.plugin",
        PLUGIN,
        r#""bundle:ban""#,
        "What runs; paths start at the file's folder. Left out: the plugin under test if it judges as that kind, else \
         the bundle's.",
    ),
    open(
        "policy.NAME.settings",
        TABLE,
        "{ max_failed_login = 3 }",
        "Settings of the plugin; what is left out has the plugin's default.",
    ),
    open(
        "policy.NAME.subject",
        r#""id", "source" or "pair""#,
        r#""pair""#,
        "Whom it keeps state about; left out: id for wait, source for ban and scanner.",
    ),
    key(
        "policy.NAME.on_failure",
        r#""deny", "allow" or "bundle""#,
        r#""deny""#,
        r#""bundle""#,
        "What happens when the plugin fails.",
    ),
    key("policy.NAME.limits.deadline", DURATION, r#""20ms""#, r#""50ms""#, "Time of one call."),
    key("policy.NAME.limits.memory", SIZE, r#""64MiB""#, r#""8MiB""#, "Memory of one instance."),
    key("policy.NAME.limits.state", SIZE, r#""1KiB""#, r#""64B""#, "State kept for one subject."),
    open("step.note", TEXT, r#""the owner comes back""#, "Said in the report."),
    open("step.after", DURATION, r#""3s""#, "Time that passes before the step."),
    open("step.at", DURATION, r#""10m""#, "When the step happens, counted from the start; instead of after."),
    open("step.attempt", TABLE, r#"{ from = "203.0.113.7", outcome = "failure" }"#, "A login attempt."),
    open("step.attempt.client", TEXT, r#""abc""#, "Who, with {n} counted; left out: a login without an id."),
    open("step.attempt.from", "address", r#""203.0.113.{n}""#, "From where, with {n} counted. Needed."),
    open(
        "step.attempt.outcome",
        r#""failure" or "success""#,
        r#""failure""#,
        "How the check of the secret ends, if it comes to that. Needed.",
    ),
    open(
        "step.attempt.secret",
        TEXT,
        r#""sesame""#,
        "The secret, with {n} counted; with it a success makes a verified pair and a failure carries a fingerprint.",
    ),
    open("step.attempt.known", "true or false", "true", "Whether such an id exists; left out: the host can't tell."),
    open("step.attempt.attributes", TABLE, r#"{ user-agent = "curl" }"#, "Facts for policies that ask for them."),
    open("step.request", TABLE, r#"{ from = "203.0.113.7", path = "/", status = 404 }"#, "An answered request."),
    open("step.request.from", "address", r#""2001:db8::{n}""#, "From where, with {n} counted. Needed."),
    open("step.request.path", TEXT, r#""/.env""#, "The path without query, with {n} counted. Needed."),
    open("step.request.status", STATUS, "404", "What it is answered with, if it comes to that. Needed."),
    key("step.request.method", TEXT, r#""GET""#, r#""POST""#, "The method."),
    open("step.request.client", TEXT, r#""abc""#, "Who, with {n} counted, if the request's own credentials are right."),
    open("step.request.attributes", TABLE, r#"{ user-agent = "curl" }"#, "Facts for policies that ask for them."),
    open(
        "step.restart",
        r#""keep" or "lose""#,
        r#""keep""#,
        "The host restarts: instances, queues and verified pairs are gone; with lose kept state, waits and bans too.",
    ),
    open("step.swap", TABLE, r#"{ policy = "ban", settings = {} }"#, "A policy's plugin or settings are replaced."),
    open("step.swap.policy", TEXT, r#""ban""#, "Which one. Needed."),
    open("step.swap.plugin", PLUGIN, r#""bundle:ban""#, "What runs from now on; left out: the same."),
    open("step.swap.settings", TABLE, "{ max_failed_login = 2 }", "All its settings from now on; left out: the same."),
    key("step.repeat", "1 to 100000", "1", "4", "How many times the event happens, one after the other."),
    key("step.every", DURATION, r#""0s""#, r#""3s""#, "Time between them."),
    open("step.parallel", "1 to 10000", "100", "So many attempts at the same instant, in that order; no repeat."),
    key("step.takes", DURATION, r#""0s""#, r#""100ms""#, "With parallel: how long the check of a secret takes."),
    open(
        "step.expect",
        "text, table or list of tables",
        r#"{ ban = "1h" }"#,
        "What each event comes to: `\"pass\"`, admitted and nothing ordered; `\"verified\"`, a verified pair and so no \
         attempt; `\"denied\"`, a plugin failed and on_failure is deny; `\"any\"`, even a failed plugin; or what the keys \
         of a table say. A list of tables: several orders. Left out: anything but a failed plugin.",
    ),
    open("step.expect.wait", DURATION, r#""2s""#, "A wait of that length is ordered, and nothing that isn't named."),
    open("step.expect.ban", DURATION, r#""1h""#, "A ban of that length is ordered, and nothing that isn't named."),
    open("step.expect.spared", "true", "true", "A ban is ordered, but the source may never be banned."),
    open("step.expect.by", TEXT, r#""ban""#, "The policy that orders; of a wait and a ban in one table, the ban's."),
    open("step.expect.reason", TEXT, r#""max-failed-login""#, "The code of the order's reason."),
    open(
        "step.expect.text",
        TEXT,
        r#""Maximum of 5 login attempts reached.""#,
        "The whole text of the order's reason.",
    ),
    open("step.expect.network", "network", r#""203.0.113.0/24""#, "What is banned."),
    open(
        "step.expect.refused",
        "423 or 429",
        "423",
        "No policy is asked: the source is banned, or somebody has to wait.",
    ),
    open("step.expect.retry_after", "duration of whole seconds", r#""3600s""#, "What a refusal's Retry-After says."),
    open(
        "step.expect.reply",
        STATUS,
        "401",
        "What the client is answered: 401 to a failure, 200 to a success, 503 when denied, 423 or 429 when refused, a \
         request its own status.",
    ),
    open(
        "step.failing",
        "text or list of texts",
        r#"["ban"]"#,
        "Policies whose plugin has to fail in this step; in any other step that doesn't expect \"denied\" or \"any\" a \
         failed plugin is a failed step.",
    ),
    open("step.total", TABLE, "{ checked = 1, refused = 99 }", "Sums over the step's events, those named."),
    open("step.total.checked", COUNT, "1", "Events that policies judged."),
    open("step.total.refused", COUNT, "99", "Events that were refused."),
    open("step.total.passed", COUNT, "0", "Events that policies judged without ordering anything."),
    open("step.total.waits", COUNT, "1", "Waits that were ordered."),
    open("step.total.bans", COUNT, "0", "Bans that were ordered."),
    open("step.total.spared", COUNT, "0", "Bans that were ordered and not enforced."),
    open("step.total.verified", COUNT, "0", "Logins of verified pairs."),
    open("step.total.denied", COUNT, "0", "Events that were denied since a plugin failed."),
    open(
        "step.kept.NAME",
        r#""nothing" or table"#,
        r#"{ hex = "01000000" }"#,
        "What the policy keeps after the step for the subject of its last event. A table says hex, text, bytes or nothing; with none of them something has to be kept.",
    ),
    open("step.kept.NAME.hex", "hexadecimal digits", r#""01000000""#, "These bytes; spaces don't count."),
    open("step.kept.NAME.text", TEXT, r#""{\"count\":1}""#, "These bytes, as text."),
    open("step.kept.NAME.bytes", COUNT, "4", "So many bytes, whichever."),
    open("step.kept.NAME.nothing", "true", "true", "As the word, beside of."),
    open("step.kept.NAME.ttl", "duration or \"none\"", r#""20s""#, "How long it is kept from now on."),
    open("step.kept.NAME.of", TABLE, r#"{ client = "abc" }"#, "Another subject; needed in a step without an event."),
    open("step.kept.NAME.of.client", TEXT, r#""abc""#, "The client auth id."),
    open("step.kept.NAME.of.from", "address", r#""203.0.113.7""#, "The source."),
];

/// The key at `path`.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The reference of all keys as a Markdown table, for the documents.
#[must_use]
pub fn reference() -> String {
    let mut table = String::from("| key | type | default | example | meaning |\n| --- | --- | --- | --- | --- |\n");
    for key in KEYS {
        let default = key.default.map(|default| format!("`{default}`")).unwrap_or_default();
        let line = format!("| `{}` | {} | {default} | `{}` | {} |\n", key.path, key.kind, key.example, key.doc);
        table.push_str(&line);
    }
    table
}
