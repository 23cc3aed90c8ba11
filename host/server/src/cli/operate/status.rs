//! `portcullis status`: how the server does, and each policy.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use super::{Common, lines, print_json, short_duration, short_time, table};
use crate::admin::api::{Policy, Status};
use crate::cli::{Failed, client, print};
use crate::config::printable;

#[derive(Args)]
pub(in crate::cli) struct StatusArgs {
    #[command(flatten)]
    common: Common,
}

pub(in crate::cli) fn status(args: &StatusArgs) -> Result<(), Failed> {
    let value = args.common.server.client()?.get("/v1/status")?;
    if args.common.json {
        return print_json(&value);
    }
    print(&as_text(&client::read(&value)?))
}

fn as_text(status: &Status) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10}{}", printable(value));
    };
    row("portcullis", &format!(" {}, process {}, serving for {}", status.version, status.pid, serving_for(status)));
    let behind = match &status.upstream {
        Some(url) => format!(", in front of {url}, which checks secrets"),
        None => ", answering by itself".to_owned(),
    };
    let behind = if status.auth_mode == "file" {
        behind.replace("which checks secrets", "secrets checked here")
    } else {
        behind
    };
    row("listens", &format!("{}{behind}", status.listen.join(", ")));
    row("in force", &format!("since {}", short_time(&status.in_force_since)));
    row("refuses", &format!("{} banned, {} waiting", status.bans, status.waits));
    row("ready", if status.ready.ready { "yes" } else { "NO" });
    for reason in &status.ready.reasons {
        row("", reason);
    }
    text.push('\n');
    let mut policies = table(&["POLICY", "KIND", "MODE", "PLUGIN", "COUNTED", "BANNED", "CALLS", "FAILED", "STATE"]);
    for policy in &status.policies {
        policies.add_row([
            policy.name.clone(),
            policy.kind.clone(),
            policy.mode.clone(),
            plugin(policy),
            policy.subjects.to_string(),
            policy.banned.to_string(),
            policy.health.calls.to_string(),
            policy.health.failures.values().sum::<u64>().to_string(),
            state(policy),
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

fn plugin(policy: &Policy) -> String {
    let plugin = &policy.plugin;
    printable(&format!("{} {} ({})", plugin.name, plugin.version, plugin.sha256.get(..12).unwrap_or_default()))
}

/// In a word or two how a policy does.
fn state(policy: &Policy) -> String {
    let health = &policy.health;
    match (&health.quarantined_until, &health.tripped) {
        (Some(until), _) => format!("quarantined until {}", short_time(until)),
        (None, Some(tripped)) => format!("log only since {}", short_time(&tripped.since)),
        (None, None) => "ok".to_owned(),
    }
}
