//! `portcullis waits` and `unwait`: who waits, and ending that by hand.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::{Common, lines, print_json, query, short_duration, short_time, table};
use crate::admin::api::{PAGE_MAX, Unwaited, Wait, WaitPage};
use crate::cli::{Failed, client, print};
use crate::config::printable;

/// Waits shown for eyes unless asked otherwise.
const LIMIT: usize = 1000;

#[derive(Args)]
pub(in crate::cli) struct WaitsArgs {
    #[command(flatten)]
    common: Common,
    /// How many at most; 0 shows all
    #[arg(long, default_value_t = LIMIT, value_name = "COUNT")]
    limit: usize,
}

#[derive(Args)]
pub(in crate::cli) struct UnwaitArgs {
    #[command(flatten)]
    common: Common,
    /// The client auth id that shall wait no longer, from wherever
    #[arg(value_name = "ID", required_unless_present = "source")]
    id: Option<String>,
    /// A network or an address that shall wait no longer; with ID, that id from there
    #[arg(long, value_name = "NETWORK")]
    source: Option<String>,
}

pub(in crate::cli) fn waits(args: &WaitsArgs) -> Result<(), Failed> {
    let client = args.common.server.client()?;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let mut waits = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let count = PAGE_MAX.min(limit - waits.len()).to_string();
        let value = client.get(&query("/v1/waits", &[("limit", Some(&*count)), ("cursor", next.as_deref())]))?;
        let page: WaitPage = client::read(&value)?;
        next = page.next;
        if let Some(Value::Array(list)) = value.get("waits") {
            waits.extend_from_slice(list);
        }
        if next.is_none() || waits.len() >= limit {
            break;
        }
    }
    if args.common.json {
        return print_json(&Value::Array(waits));
    }
    let waits: Vec<Wait> = waits.iter().map(client::read).collect::<Result<_, _>>()?;
    print(&as_text(&waits, next.is_some()))
}

fn as_text(waits: &[Wait], more: bool) -> String {
    if waits.is_empty() && !more {
        return "Nobody waits.\n".to_owned();
    }
    let mut rows = table(&["CLIENT AUTH ID", "SOURCE", "SINCE", "LEFT", "BY", "REASON"]);
    for wait in waits {
        rows.add_row([
            wait.id.as_deref().map_or_else(|| "any".to_owned(), printable),
            wait.source.as_deref().map_or_else(|| "anywhere".to_owned(), printable),
            short_time(&wait.since),
            short_duration(Duration::from_secs(wait.left_seconds)),
            wait.policy.as_deref().map_or_else(|| "by hand".to_owned(), printable),
            printable(&wait.reason.text),
        ]);
    }
    let mut text = lines(&rows);
    if more {
        text.push_str("and more (--limit 0 shows all)\n");
    }
    text
}

pub(in crate::cli) fn unwait(args: &UnwaitArgs) -> Result<(), Failed> {
    let target = query("/v1/waits", &[("id", args.id.as_deref()), ("source", args.source.as_deref())]);
    let value = args.common.server.client()?.call(Method::DELETE, &target, None::<&()>)?;
    if args.common.json {
        return print_json(&value);
    }
    let unwaited: Unwaited = client::read(&value)?;
    print(&match unwaited.ended {
        1 => "One wait is ended.\n".to_owned(),
        ended => format!("{ended} waits are ended.\n"),
    })
}
