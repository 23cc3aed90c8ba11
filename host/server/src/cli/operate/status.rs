//! `portcullis status`: how the server does, or one policy.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::bans::{ban_table, fetch};
use super::{Common, lines, path_part, print_json, short_duration, short_time, table, width};
use crate::admin::api::{Ban, FirewallStatus, Policy, PolicyDetail, Status, TlsStatus, Watch};
use crate::cli::{Failed, client, print};
use crate::config::printable;
use crate::tls::HandshakeFailure;

/// Bans of one policy that are listed.
const BANS_SHOWN: usize = 50;

/// Width of the names of a policy's facts, where its settings' names aren't longer.
const LEAF_NAME_WIDTH: usize = 17;

#[derive(Args)]
pub(in crate::cli) struct StatusArgs {
    #[command(flatten)]
    common: Common,
    /// One policy: how it does, and whom it has banned
    #[arg(value_name = "POLICY")]
    policy: Option<String>,
}

pub(in crate::cli) fn status(args: &StatusArgs) -> Result<(), Failed> {
    let Some(name) = &args.policy else {
        let value = args.common.server.client()?.get("/v1/status")?;
        if args.common.json {
            return print_json(&value);
        }
        return print(&whole(&client::read(&value)?));
    };
    let value = args.common.server.client()?.get(&format!("/v1/policies/{}", path_part(name)))?;
    let (bans, _) = fetch(&args.common, &[("policy", Some(name))], BANS_SHOWN)?;
    if args.common.json {
        let Value::Object(mut detail) = value else { return print_json(&value) };
        detail.insert("bans".to_owned(), Value::Array(bans));
        return print_json(&Value::Object(detail));
    }
    let bans: Vec<Ban> = bans.iter().map(client::read).collect::<Result<_, _>>()?;
    print(&one(&client::read(&value)?, &bans))
}

fn handshakes(tls: &TlsStatus, total: impl Fn(&str) -> u64) -> String {
    let failed = |failure: &HandshakeFailure| total(&format!("handshakes_{}", failure.name().replace('-', "_")));
    format!(
        "{} handshakes, {} sessions resumed, {} failed, {} under way",
        total("handshakes_full"),
        total("handshakes_resumed"),
        HandshakeFailure::ALL.iter().map(failed).sum::<u64>(),
        tls.handshakes_under_way
    )
}

fn whole(status: &Status) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<12}{}", printable(value));
    };
    row("portcullis", &format!("{}, process {}, serving for {}", status.version, status.pid, serving_for(status)));
    match status.listen.as_slice() {
        [] => row("listens", "nowhere"),
        listen => row("listens", &format!("{}, {}", listen.join(", "), behind(status))),
    }
    let total = |name: &str| status.totals.get(name).copied().unwrap_or_default();
    if !status.asked_on.is_empty() {
        let checks = ["checks_passed", "checks_banned", "checks_waiting", "checks_malformed"].map(total);
        let reports = ["reported_judged", "reported_banned", "reported_rejected"].map(total);
        let (checks, reports): (u64, u64) = (checks.iter().sum(), reports.iter().sum());
        row("asked", &format!("on {}: {checks} checks, {reports} reported events", status.asked_on.join(", ")));
    }
    row("in force", &format!("since {} UTC", short_time(&status.in_force_since)));
    row(
        "attempts",
        &format!(
            "{} failed, {} succeeded, {} verified a moment before",
            total("attempts_failed"),
            total("attempts_succeeded"),
            total("verified")
        ),
    );
    row("banned", &format!("{} now; refused so far: {}", status.bans, total("refused_banned")));
    row("waiting", &format!("{} now; refused so far: {}", status.waits, total("refused_waiting")));
    row("state", &state(status));
    if let Some(firewall) = &status.firewall {
        row("firewall", &in_the_kernel(firewall));
    }
    for watch in &status.watches {
        row("watches", &watches(watch));
    }
    if let Some(tls) = &status.tls {
        row("tls", &handshakes(tls, total));
        for certificate in &tls.certificates {
            row("", &format!("{} until {} UTC", certificate.file, short_time(&certificate.expires)));
        }
    }
    row("ready", if status.ready.ready { "yes" } else { "NO" });
    for reason in &status.ready.reasons {
        row("", reason);
    }
    text.push('\n');
    let mut policies = table(&["POLICY", "KIND", "FAILED", "IN ALL", "BANNED", "IN ALL", "WAITS", "PLUGIN", "STATE"]);
    let unless = |left_out: bool, count: u64| if left_out { String::new() } else { count.to_string() };
    for policy in &status.policies {
        let is_wait = policy.kind == "wait";
        policies.add_row([
            policy.name.clone(),
            policy.kind.clone(),
            policy.subjects.to_string(),
            policy.failed_total.to_string(),
            unless(is_wait, policy.banned),
            unless(is_wait, policy.bans_total),
            unless(!is_wait, policy.waits_total),
            plugin(policy),
            in_a_word(policy),
        ]);
    }
    text.push_str(&lines(&policies));
    text
}

fn serving_for(status: &Status) -> String {
    let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap_or_default();
    let passed = time(&status.now).duration_since(time(&status.started));
    short_duration(Duration::from_secs(u64::try_from(passed.as_secs()).unwrap_or_default()))
}

fn watches(watch: &Watch) -> String {
    let what = match &watch.command {
        Some(command) => command.join(" "),
        None => watch.paths.join(", "),
    };
    let unknown = if watch.unknown > 0 { format!(", {} of no known kind", watch.unknown) } else { String::new() };
    let behind = if watch.behind_bytes > 0 { format!(", {} bytes behind", watch.behind_bytes) } else { String::new() };
    format!("{what} ({}): {} lines, {} events{unknown}{behind}", watch.format, watch.lines, watch.events)
}

fn behind(status: &Status) -> String {
    match (&status.upstream, status.auth_mode.as_str()) {
        (None, _) => "answering by itself".to_owned(),
        (Some(url), "file") => format!("checking secrets for {url}"),
        (Some(url), _) => format!("in front of {url}, which checks secrets"),
    }
}

fn state(status: &Status) -> String {
    let state = &status.state;
    if state.store == "memory" {
        return "in memory: a restart forgets it".to_owned();
    }
    format!("{}, {} behind", state.store, short_duration(Duration::from_millis(state.lag_ms)))
}

fn in_the_kernel(firewall: &FirewallStatus) -> String {
    let FirewallStatus { backend, elements, lag_ms, stopped_packets, .. } = firewall;
    let lag = short_duration(Duration::from_millis(*lag_ms));
    format!("{backend}, {elements} networks kept out, {lag} behind; packets stopped so far: {stopped_packets}")
}

fn plugin(policy: &Policy) -> String {
    let plugin = &policy.plugin;
    printable(&format!("{} {} ({})", plugin.name, plugin.version, plugin.sha256.get(..12).unwrap_or_default()))
}

/// In a word or two how a policy does.
fn in_a_word(policy: &Policy) -> String {
    let health = &policy.health;
    let failures: u64 = health.failures.values().sum();
    let mut words = Vec::new();
    if policy.mode == "shadow" {
        words.push("shadow".to_owned());
    }
    if health.quarantined_until.is_some() {
        words.push("QUARANTINED".to_owned());
    }
    if health.tripped.is_some() {
        words.push("LOG ONLY".to_owned());
    }
    if failures > 0 {
        words.push(format!("{failures} failures"));
    }
    if words.is_empty() { "ok".to_owned() } else { words.join(", ") }
}

/// As fail2ban-client shows a jail.
fn one(detail: &PolicyDetail, bans: &[Ban]) -> String {
    let PolicyDetail { policy, settings, on_failure, limits } = detail;
    let longest = settings.keys().map(|name| name.chars().count() + "Setting :".len()).max();
    let width = longest.unwrap_or_default().clamp(LEAF_NAME_WIDTH, 2 * LEAF_NAME_WIDTH);
    let mut tree = Tree { width, ..Tree::default() };
    tree.line("", &format!("Status for the policy: {} ({}, {})", policy.name, policy.kind, policy.mode));
    tree.branch("Filter");
    tree.leaf("Currently failed", &policy.subjects.to_string(), false);
    tree.leaf("Total failed", &policy.failed_total.to_string(), false);
    tree.leaf("Counts by", &policy.subject, true);
    tree.branch("Plugin");
    let plugin = &policy.plugin;
    tree.leaf("Runs", &format!("{} {}, {}", plugin.name, plugin.version, plugin.origin), false);
    tree.leaf("SHA-256", &plugin.sha256, false);
    for (name, value) in settings {
        tree.leaf(&format!("Setting {name}"), &value.to_string(), false);
    }
    let bounds =
        format!("{} ms, {} MiB, {} B of state", limits.deadline_ms, limits.memory_bytes >> 20, limits.state_bytes);
    tree.leaf("Bounds", &bounds, false);
    let health = &policy.health;
    let by_cause: Vec<_> = health.failures.iter().map(|(cause, times)| format!("{times} {cause}")).collect();
    let failures = if by_cause.is_empty() { "none".to_owned() } else { by_cause.join(", ") };
    tree.leaf("Calls", &health.calls.to_string(), false);
    tree.leaf("Failures", &failures, false);
    tree.leaf(
        "When it fails",
        &format!(
            "{} made good by a new instance, {} left to \"{on_failure}\", {} denied",
            health.recovered, health.fallbacks, health.denied
        ),
        false,
    );
    let quarantine = match &health.quarantined_until {
        Some(until) => format!("until {} UTC", short_time(until)),
        None => format!("no; {} so far", health.quarantines),
    };
    tree.leaf("Quarantine", &quarantine, true);
    tree.last_branch("Actions");
    if let Some(tripped) = &health.tripped {
        let since = short_time(&tripped.since);
        let over =
            format!("over guard.max_bans_per_minute since {since} UTC, {} bans not enforced", tripped.not_enforced);
        tree.leaf("LOG ONLY", &over, false);
    }
    if policy.kind == "wait" {
        tree.leaf("Total waits", &policy.waits_total.to_string(), true);
        return tree.text;
    }
    tree.leaf("Currently banned", &policy.banned.to_string(), false);
    tree.leaf("Total banned", &policy.bans_total.to_string(), bans.is_empty());
    if bans.is_empty() {
        return tree.text;
    }
    tree.leaf("Banned", "", true);
    for line in lines(&ban_table(bans)).lines() {
        let _ = writeln!(tree.text, "     {line}");
    }
    let shown = u64::try_from(bans.len()).unwrap_or(u64::MAX);
    if policy.banned > shown {
        let more = policy.banned - shown;
        let _ = writeln!(tree.text, "      and {more} more (portcullis bans --policy {})", printable(&policy.name));
    }
    tree.text
}

/// Lines with branches before them.
#[derive(Default)]
struct Tree {
    text: String,
    /// What stands before the leaves of the present branch.
    trunk: &'static str,
    /// How wide the names of its leaves are.
    width: usize,
}

impl Tree {
    fn line(&mut self, before: &str, words: &str) {
        let _ = writeln!(self.text, "{}", format!("{before}{}", printable(words)).trim_end());
    }

    fn branch(&mut self, name: &str) {
        self.line("|- ", name);
        self.trunk = "|  ";
    }

    fn last_branch(&mut self, name: &str) {
        self.line("`- ", name);
        self.trunk = "   ";
    }

    /// A value that doesn't fit goes on below, where it began.
    fn leaf(&mut self, name: &str, value: &str, last: bool) {
        let before = format!(
            "{}{}{:<width$} ",
            self.trunk,
            if last { "`- " } else { "|- " },
            format!("{name}:"),
            width = self.width
        );
        let below = format!("{}{:width$} ", self.trunk, if last { "" } else { "|" }, width = self.width + 3);
        let room = width().map_or(usize::MAX, |columns| usize::from(columns).saturating_sub(before.chars().count()));
        for (number, piece) in pieces(&printable(value), room.max(8)).iter().enumerate() {
            let before = if number == 0 { &before } else { &below };
            self.line(before, piece);
        }
    }
}

/// A text in pieces of at most so many characters, between words where that can be.
fn pieces(text: &str, room: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let piece = pieces.last_mut().map(|piece| (piece.chars().count(), piece));
            let Some((taken, piece)) = piece else { break };
            let space = usize::from(taken > 0);
            if taken + space + word.len() <= room {
                piece.extend([' '].iter().take(space).chain(&word));
                break;
            }
            if taken == 0 {
                piece.extend(word.drain(..room));
            }
            pieces.push(String::new());
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_words_where_that_can_be() {
        for (text, cut) in [
            ("", &[""][..]),
            ("one two", &["one two"]),
            ("one two three", &["one two", "three"]),
            ("123456789012 a", &["12345678", "9012 a"]),
            ("ab 1234567890", &["ab", "12345678", "90"]),
        ] {
            assert_eq!(pieces(text, 8), cut, "{text}");
        }
    }
}
