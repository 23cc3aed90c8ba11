//! What is shown of a server: rates between two looks, and what happened of
//! late, in words. It must not know terminals.

use std::collections::VecDeque;
use std::time::Duration;

use super::look::Look;
use crate::admin::api::{Policy, RecentOrder};
use crate::cli::operate::short_duration;
use crate::config::printable;

/// Looks kept: percentiles are those of so many looks.
const LOOKS_MAX: usize = 60;

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// Who was refused last; policies in the order in which they judge.
    #[default]
    Latest,
    /// Who was refused most often; policies with most calls.
    Most,
}

/// A server, as it is shown.
#[derive(Debug)]
pub(super) struct View {
    /// The oldest first; never empty.
    looks: VecDeque<Look>,
    /// Why the server doesn't answer, if so.
    pub(super) lost: Option<String>,
    /// Nothing new is shown.
    pub(super) paused: bool,
    /// What comes first.
    pub(super) sort: Sort,
}

/// One number, how fast it grows and how large it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) name: &'static str,
    pub(super) per_second: f64,
    pub(super) total: f64,
}

/// One policy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PolicyRow {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) plugin: String,
    pub(super) calls: f64,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
    pub(super) orders_per_minute: f64,
    pub(super) failures: u64,
    pub(super) fallbacks: u64,
    pub(super) state: String,
    pub(super) well: bool,
}

/// A source that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusedRow {
    pub(super) source: String,
    pub(super) why: String,
    pub(super) times: u64,
    pub(super) ago: String,
}

/// A ban or a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrderRow {
    pub(super) whom: String,
    pub(super) policy: String,
    pub(super) why: String,
    pub(super) length: String,
    pub(super) ago: String,
}

impl View {
    pub(super) fn of(first: Look) -> Self {
        Self { looks: [first].into(), lost: None, paused: false, sort: Sort::default() }
    }

    /// The server was looked at once more.
    pub(super) fn next(&mut self, look: Look) {
        if self.paused {
            return;
        }
        self.lost = None;
        if self.now().status.started != look.status.started {
            // Another process: nothing that was counted before says anything about it.
            self.looks.clear();
        }
        if self.looks.len() >= LOOKS_MAX {
            self.looks.pop_front();
        }
        self.looks.push_back(look);
    }

    /// The server didn't answer.
    pub(super) fn lost(&mut self, why: &str) {
        let words: Vec<_> = why.split_whitespace().collect();
        self.lost = Some(printable(&words.join(" ")));
    }

    /// Stops to show anything new, or goes on.
    pub(super) fn pause(&mut self) {
        self.paused = !self.paused;
    }

    fn now(&self) -> &Look {
        &self.looks[self.looks.len() - 1]
    }

    fn before(&self) -> &Look {
        &self.looks[self.looks.len().saturating_sub(2)]
    }

    /// How much of a sample came in a second.
    fn per_second(&self, value: impl Fn(&Look) -> f64) -> f64 {
        ((value(self.now()) - value(self.before())) / self.now().seconds_since(self.before())).max(0.0)
    }

    /// Who the server is and how long it serves.
    pub(super) fn title(&self) -> String {
        let status = &self.now().status;
        let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap_or_default();
        let seconds = time(&status.now).duration_since(time(&status.started)).as_secs();
        let up = short_duration(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
        let behind = status.upstream.as_ref().map(|url| format!(" → {url}")).unwrap_or_default();
        let listen = status.listen.join(", ");
        printable(&format!("portcullis {} ({}) {listen}{behind}, up {up}", status.version, status.pid))
    }

    /// What isn't as it should be; nothing if all is well.
    pub(super) fn troubles(&self) -> Vec<String> {
        self.now().status.ready.reasons.iter().map(|reason| printable(reason)).collect()
    }

    /// What comes in and what becomes of it.
    pub(super) fn rates(&self) -> Vec<Rate> {
        let rate = |(name, sample): (&'static str, &str)| Rate {
            name,
            per_second: self.per_second(|look| look.metrics.get(sample)),
            total: self.now().metrics.get(sample),
        };
        [
            ("requests", "portcullis_requests_total"),
            ("logins failed", r#"portcullis_attempts_total{outcome="failure"}"#),
            ("logins succeeded", r#"portcullis_attempts_total{outcome="success"}"#),
            ("verified pairs", "portcullis_verified_requests_total"),
            ("refused: banned", r#"portcullis_refusals_total{why="banned"}"#),
            ("refused: waiting", r#"portcullis_refusals_total{why="waiting"}"#),
            ("refused: busy", r#"portcullis_refusals_total{why="busy"}"#),
            ("refused: malformed", r#"portcullis_refusals_total{why="malformed"}"#),
            ("refused: overload", r#"portcullis_refusals_total{why="overloaded"}"#),
            ("denied", "portcullis_denied_total"),
        ]
        .into_iter()
        .map(rate)
        .collect()
    }

    /// The policies in force.
    pub(super) fn policies(&self) -> Vec<PolicyRow> {
        let mut rows: Vec<_> = self.now().status.policies.iter().map(|policy| self.policy(policy)).collect();
        if self.sort == Sort::Most {
            rows.sort_by(|one, other| other.calls.total_cmp(&one.calls));
        }
        rows
    }

    fn policy(&self, policy: &Policy) -> PolicyRow {
        let labels = format!("policy=\"{}\",kind=\"{}\"", policy.name, policy.kind);
        let sample = |name: &str| format!("{name}{{{labels}}}");
        let times = |look: &Look| look.metrics.buckets("portcullis_policy_judge_seconds", &labels);
        let all = times(self.now());
        let of_late = all.since(&times(&self.looks[0]));
        let times = if of_late.count() > 0.0 { of_late } else { all };
        let calls = sample("portcullis_policy_calls_total");
        let orders = format!("portcullis_orders_total{{{labels},");
        let health = &policy.health;
        let (state, well) = match (&health.quarantined_until, &health.tripped, policy.mode.as_str()) {
            (Some(_), ..) => ("quarantine", false),
            (None, Some(_), _) => ("log only", false),
            (None, None, "shadow") => ("shadow", true),
            (None, None, _) => ("ok", true),
        };
        PolicyRow {
            name: printable(&policy.name),
            kind: printable(&policy.kind),
            plugin: printable(&format!("{} {}", policy.plugin.name, policy.plugin.version)),
            calls: self.per_second(|look| look.metrics.get(&calls)),
            p50: times.quantile(0.5),
            p99: times.quantile(0.99),
            orders_per_minute: self.per_second(|look| look.metrics.sum(&orders)) * 60.0,
            failures: health.failures.values().sum(),
            fallbacks: health.fallbacks,
            state: state.to_owned(),
            well,
        }
    }

    /// Who is being refused.
    pub(super) fn refused(&self) -> Vec<RefusedRow> {
        let recent = &self.now().recent;
        let mut refused: Vec<_> = recent.refused.iter().collect();
        if self.sort == Sort::Most {
            refused.sort_by_key(|one| std::cmp::Reverse(one.times));
        }
        let row = |one: &&crate::admin::api::RefusedSource| RefusedRow {
            source: printable(&one.source),
            why: printable(&one.why),
            times: one.times,
            ago: ago(&one.last, &recent.now),
        };
        refused.iter().map(row).collect()
    }

    /// The last bans that were ordered, and how many are in force.
    pub(super) fn bans(&self) -> (u64, Vec<OrderRow>) {
        (self.now().status.bans, self.orders(&self.now().recent.bans))
    }

    /// The last waits that were ordered, and how many are in force.
    pub(super) fn waits(&self) -> (u64, Vec<OrderRow>) {
        (self.now().status.waits, self.orders(&self.now().recent.waits))
    }

    fn orders(&self, orders: &[RecentOrder]) -> Vec<OrderRow> {
        let row = |order: &RecentOrder| OrderRow {
            whom: printable(&order.whom),
            policy: printable(&order.policy),
            why: printable(&order.reason),
            length: match order.fate.as_str() {
                "enforced" => short_duration(Duration::from_millis(order.duration_ms)),
                fate => printable(fate),
            },
            ago: ago(&order.at, &self.now().recent.now),
        };
        orders.iter().map(row).collect()
    }

    /// How everything around the policies does, a line each.
    pub(super) fn health(&self) -> Vec<(String, bool)> {
        let Look { metrics, status, .. } = self.now();
        let upstream = |look: &Look| look.metrics.buckets("portcullis_upstream_head_seconds", "");
        let heads = upstream(self.now());
        let of_late = heads.since(&upstream(&self.looks[0]));
        let heads = if of_late.count() > 0.0 { of_late } else { heads };
        let failed = self.per_second(|look| look.metrics.get("portcullis_upstream_failures_total"));
        let lost = metrics.sum("portcullis_log_lines_lost_total{why=\"dropped\"}")
            + metrics.sum("portcullis_log_lines_lost_total{why=\"unwritten\"}");
        let state = match &status.state {
            state if state.store == "memory" => "in memory alone".to_owned(),
            state => format!("{} ms behind, {} changes waiting", state.lag_ms, state.pending),
        };
        let journal = &status.journal;
        let cpu = self.per_second(|look| look.metrics.get("process_cpu_seconds_total")) * 100.0;
        vec![
            (
                format!(
                    "upstream   p50 {}, p99 {}, {failed:.1} failures/s",
                    time(heads.quantile(0.5)),
                    time(heads.quantile(0.99))
                ),
                failed == 0.0,
            ),
            (
                format!(
                    "server     {} of {} connections, {:.0} % CPU, {}",
                    metrics.get("portcullis_connections"),
                    metrics.get("portcullis_connections_max"),
                    cpu,
                    bytes(metrics.get("process_resident_memory_bytes"))
                ),
                true,
            ),
            (format!("state      {state}"), status.state.failing.is_none()),
            (
                format!(
                    "journal    {} events, {} lost, {}",
                    journal.written,
                    journal.dropped,
                    bytes(metrics.get("portcullis_journal_bytes"))
                ),
                journal.failing.is_none() && journal.dropped == 0,
            ),
            (format!("log        {lost} lines lost"), lost == 0.0),
        ]
    }
}

/// How long ago something was.
fn ago(at: &str, now: &str) -> String {
    let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap_or_default();
    let seconds = time(now).duration_since(time(at)).as_secs();
    short_duration(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

/// A short time with three digits at most, a dash where there is none.
pub(super) fn time(time: Option<Duration>) -> String {
    let Some(time) = time else { return "-".to_owned() };
    let seconds = time.as_secs_f64();
    let (number, unit) = match seconds {
        _ if seconds < 0.001 => (seconds * 1e6, "us"),
        _ if seconds < 1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    if number < 10.0 { format!("{number:.1} {unit}") } else { format!("{number:.0} {unit}") }
}

fn bytes(bytes: f64) -> String {
    if bytes < 1024.0 * 1024.0 {
        format!("{:.0} KiB", bytes / 1024.0)
    } else {
        format!("{:.0} MiB", bytes / 1024.0 / 1024.0)
    }
}
