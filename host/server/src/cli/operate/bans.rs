//! `portcullis bans`, `ban` and `unban`: who is banned, and doing so by hand.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::{Common, lines, print_json, query, short_duration, short_time, table};
use crate::admin::api::{Ban, BanPage, BanRequest, Banned, PAGE_MAX, Unbanned};
use crate::cli::{Failed, client, print};
use crate::config::{parse_duration, printable};

/// Bans shown for eyes unless asked otherwise.
const LIMIT: usize = 1000;

#[derive(Args)]
pub(in crate::cli) struct BansArgs {
    #[command(flatten)]
    common: Common,
    /// Only bans that hold for something in this network, or for this address
    #[arg(value_name = "NETWORK")]
    network: Option<String>,
    /// Only bans that this policy ordered
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// How many at most; 0 shows all
    #[arg(long, default_value_t = LIMIT, value_name = "COUNT")]
    limit: usize,
}

#[derive(Args)]
pub(in crate::cli) struct BanArgs {
    #[command(flatten)]
    common: Common,
    /// A network such as 203.0.113.0/24, or an address; an IPv6 address stands for its network of source.ipv6_prefix bits
    #[arg(value_name = "NETWORK")]
    network: String,
    /// How long, such as 90s, 1h or 30d
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = duration)]
    duration: String,
    /// One line for whoever asks later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Args)]
pub(in crate::cli) struct UnbanArgs {
    #[command(flatten)]
    common: Common,
    /// A network or an address; bans of networks within it are lifted too
    #[arg(value_name = "NETWORK", required_unless_present = "all", conflicts_with = "all")]
    network: Option<String>,
    /// Lift every ban
    #[arg(long)]
    all: bool,
}

/// Known to be one before it is sent; the server reads it again.
fn duration(text: &str) -> Result<String, String> {
    let read = parse_duration(text).ok_or("expected a duration such as 90s, 1h or 30d")?;
    if read.is_zero() { Err("a ban of no time at all".to_owned()) } else { Ok(text.to_owned()) }
}

pub(in crate::cli) fn bans(args: &BansArgs) -> Result<(), Failed> {
    let filter = [("network", args.network.as_deref()), ("policy", args.policy.as_deref())];
    let (bans, more) = fetch(&args.common, &filter, args.limit)?;
    if args.common.json {
        return print_json(&Value::Array(bans));
    }
    let bans: Vec<Ban> = bans.iter().map(client::read).collect::<Result<_, _>>()?;
    print(&as_text(&bans, more))
}

/// So many bans as the server says them, page by page, and whether there are more.
pub(super) fn fetch(
    common: &Common,
    filter: &[(&str, Option<&str>)],
    limit: usize,
) -> Result<(Vec<Value>, bool), Failed> {
    let client = common.server.client()?;
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut bans = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let count = PAGE_MAX.min(limit - bans.len()).to_string();
        let page = [("limit", Some(count.as_str())), ("cursor", next.as_deref())];
        let value = client.get(&query("/v1/bans", filter.iter().chain(&page)))?;
        let page: BanPage = client::read(&value)?;
        next = page.next;
        if let Some(Value::Array(list)) = value.get("bans") {
            bans.extend_from_slice(list);
        }
        if next.is_none() || bans.len() >= limit {
            return Ok((bans, next.is_some()));
        }
    }
}

fn as_text(bans: &[Ban], more: bool) -> String {
    if bans.is_empty() && !more {
        return "Nobody is banned.\n".to_owned();
    }
    let mut text = lines(&ban_table(bans));
    if more {
        text.push_str("and more (--limit 0 shows all)\n");
    }
    text
}

pub(super) fn ban_table(bans: &[Ban]) -> comfy_table::Table {
    let mut rows = table(&["NETWORK", "SINCE", "LEFT", "BY", "REASON"]);
    for ban in bans {
        rows.add_row([
            shown(&ban.network),
            short_time(&ban.since),
            short_duration(Duration::from_secs(ban.left_seconds)),
            ban.policy.as_deref().map_or_else(|| "by hand".to_owned(), printable),
            printable(&ban.reason.text),
        ]);
    }
    rows
}

/// A network, a single address without its width.
fn shown(network: &str) -> String {
    let single = match network.split_once('/') {
        Some((address, "32")) if !address.contains(':') => Some(address),
        Some((address, "128")) => Some(address),
        _ => None,
    };
    printable(single.unwrap_or(network))
}

pub(in crate::cli) fn ban(args: &BanArgs) -> Result<(), Failed> {
    let request = BanRequest {
        network: args.network.clone(),
        duration: Some(args.duration.clone()),
        reason: args.reason.clone(),
    };
    let value = args.common.server.client()?.call(Method::POST, "/v1/bans", Some(&request))?;
    if args.common.json {
        return print_json(&value);
    }
    let banned: Banned = client::read(&value)?;
    let (network, until) = (shown(&banned.network), short_time(&banned.until));
    print(&match banned.changed {
        true => format!("{network} is banned until {until} UTC.\n"),
        false => format!("{network} was banned already, and for longer: until {until} UTC.\n"),
    })
}

pub(in crate::cli) fn unban(args: &UnbanArgs) -> Result<(), Failed> {
    let target = match &args.network {
        Some(network) => format!("/v1/bans/{}", super::path_part(network)),
        None => "/v1/bans?all=true".to_owned(),
    };
    let value = args.common.server.client()?.call(Method::DELETE, &target, None::<&()>)?;
    if args.common.json {
        return print_json(&value);
    }
    let unbanned: Unbanned = client::read(&value)?;
    let mut text = match (unbanned.lifted, &unbanned.bans[..]) {
        (1, [ban]) => format!("The ban of {} is lifted.\n", shown(&ban.network)),
        (lifted, _) => format!("{lifted} bans are lifted.\n"),
    };
    for holder in &unbanned.still_banned_by {
        text.push_str(&format!("It is still banned: {} holds for it.\n", shown(holder)));
    }
    print(&text)
}
