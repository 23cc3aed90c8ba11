//! `portcullis events`: what happened, and what happens.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{Common, print_json, query, short_duration, short_time};
use crate::admin::api::{EventPage, PAGE_MAX};
use crate::cli::{Failed, client, print};
use crate::config::printable;

/// Events shown unless asked otherwise.
const LIMIT: usize = 50;

#[derive(Args)]
pub(in crate::cli) struct EventsArgs {
    #[command(flatten)]
    common: Common,
    /// Show what happens from now on, until interrupted; with --json a line for each event
    #[arg(long, short, conflicts_with_all = ["limit", "since"])]
    follow: bool,
    /// Only events from this address or network, or about it
    #[arg(long, value_name = "NETWORK")]
    source: Option<String>,
    /// Only events of this client auth id
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Only judgements of this policy
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Only these: judged, unjudged, act, in-force or process; or what wait, ban or scanner policies judged
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only events since then: 2026-11-22T14:16:34Z, or a duration before now such as 1h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// How many at most, the newest; 0 shows all
    #[arg(long, default_value_t = LIMIT, value_name = "COUNT")]
    limit: usize,
}

pub(in crate::cli) fn events(args: &EventsArgs) -> Result<(), Failed> {
    let filter = [
        ("source", args.source.as_deref()),
        ("client", args.client.as_deref()),
        ("policy", args.policy.as_deref()),
        ("kind", args.kind.as_deref()),
        ("since", args.since.as_deref()),
    ];
    if args.follow {
        return follow(args, &filter[..4]);
    }
    let (events, more) = fetch(args, &filter)?;
    if args.common.json {
        return print_json(&Value::Array(events));
    }
    let mut text: String = events.iter().map(|event| line(event) + "\n").collect();
    if more {
        text.push_str("and more (--limit 0 shows all)\n");
    }
    print(if text.is_empty() { "Nothing of the kind has happened.\n" } else { &text })
}

/// The newest first, as the server says them, and whether there are more.
fn fetch(args: &EventsArgs, filter: &[(&str, Option<&str>)]) -> Result<(Vec<Value>, bool), Failed> {
    let client = args.common.server.client()?;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let (mut events, mut next) = (Vec::new(), None::<String>);
    loop {
        let count = PAGE_MAX.min(limit - events.len()).to_string();
        let page = [("limit", Some(count.as_str())), ("cursor", next.as_deref())];
        let page: EventPage = client::read(&client.get(&query("/v1/events", filter.iter().chain(&page)))?)?;
        next = page.next;
        events.extend(page.events);
        if next.is_none() || events.len() >= limit {
            return Ok((events, next.is_some()));
        }
    }
}

fn follow(args: &EventsArgs, filter: &[(&str, Option<&str>)]) -> Result<(), Failed> {
    let client = args.common.server.client()?;
    client.lines(&query("/v1/events/follow", filter), |bytes| {
        if args.common.json {
            let text = String::from_utf8_lossy(bytes);
            print(&format!("{text}\n"))?;
        } else if let Ok(event) = serde_json::from_slice::<Value>(bytes) {
            print(&(line(&event) + "\n"))?;
        }
        Ok(true)
    })
}

/// One event for eyes. Whatever comes from a stranger or a plugin is made printable.
pub(super) fn line(event: &Value) -> String {
    let time = short_time(text(&event["time"]));
    let words = match text(&event["kind"]) {
        "judged" => format!("{}  {}{}", who(event), judged(event), origin(event)),
        "unjudged" => {
            format!("{}  {}, and no policy was there to judge it{}", who(event), seen(event), origin(event))
        }
        "act" => act(event),
        "in-force" => in_force(event),
        "process" => format!("portcullis {} {}", text(&event["version"]), text(&event["process"])),
        "missed" => return format!("({} events are missing here: this reader didn't keep up)", event["records"]),
        other => format!("something of a later version: {other}"),
    };
    printable(&format!("{time}  {words}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn who(event: &Value) -> String {
    match event["client"].as_str() {
        Some(client) => format!("{} as {client}", text(&event["source"])),
        None => text(&event["source"]).to_owned(),
    }
}

/// Who saw it, unless the gateway did.
fn origin(event: &Value) -> String {
    let (log, report) = (&event["origin"]["log"], &event["origin"]["report"]);
    match (log["name"].as_str(), report["by"].as_str()) {
        (Some(name), _) => format!("  ({name}:{})", log["line"]),
        (_, Some(by)) => format!("  (reported by {by})"),
        (None, None) => String::new(),
    }
}

/// What was judged.
fn seen(event: &Value) -> String {
    let request = &event["request"];
    if request.is_object() {
        return format!("{} {} {}", text(&request["method"]), text(&request["path"]), request["status"]);
    }
    match text(&event["attempt"]["outcome"]) {
        "success" => "login",
        _ => "failed login",
    }
    .to_owned()
}

fn judged(event: &Value) -> String {
    let policy = text(&event["policy"]);
    let shadow = if text(&event["mode"]) == "shadow" { " (shadow)" } else { "" };
    format!("{}  {policy}{shadow}: {}", seen(event), verdict(event))
}

/// What a policy said, and what it came to.
pub(super) fn verdict(event: &Value) -> String {
    let verdict = &event["verdict"];
    let (word, order) = match (verdict.get("wait"), verdict.get("ban")) {
        (Some(order), _) => ("wait", order),
        (_, Some(order)) => ("ban", order),
        (None, None) if verdict.is_null() => return "nobody could judge, denied".to_owned(),
        (None, None) => return pass(event),
    };
    let duration = short_duration(Duration::from_millis(order["duration_ms"].as_u64().unwrap_or_default()));
    let enforced = &event["enforced"];
    let came = match (enforced.get("ban"), enforced.as_str()) {
        (Some(ban), _) if ban["decides"] == false => ", already banned for longer".to_owned(),
        (Some(ban), _) => format!(" of {}", text(&ban["network"]).trim_end_matches("/32")),
        (None, Some("spared")) => ", not enforced: it is never banned".to_owned(),
        (None, _) if enforced.get("log_only").is_some() => ", not enforced: too many bans in a minute".to_owned(),
        (None, _) => String::new(),
    };
    let reason = text(&order["reason"]["text"]);
    let reason = if reason.is_empty() { text(&order["reason"]["code"]) } else { reason };
    format!("{word} for {duration}{came}: {reason}")
}

fn pass(event: &Value) -> String {
    let keep = &event["keep"];
    if keep.get("put").is_some() {
        "pass, counted"
    } else if keep == "forget" && event["before"].is_string() {
        "pass, count forgotten"
    } else {
        "pass"
    }
    .to_owned()
}

fn act(event: &Value) -> String {
    let subject = subject(&event["subject"]);
    let reason = text(&event["reason"]["text"]);
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    match text(&event["act"]) {
        "ban" => format!("by hand: {subject} banned until {}{reason}", short_time(text(&event["until"]))),
        "unban" => format!("by hand: ban of {subject} lifted"),
        "never-ban" => format!("ban of {subject} lifted: it is never banned now"),
        "unwait" => format!("by hand: wait of {subject} ended"),
        "trust" => format!("by hand: policy {} is trusted again", text(&event["policy"])),
        other => other.to_owned(),
    }
}

fn subject(subject: &Value) -> String {
    let pair = &subject["pair"];
    match (subject["client"].as_str(), subject["source"].as_str(), pair["client"].as_str()) {
        (Some(client), ..) => client.to_owned(),
        (_, Some(source), _) => source.to_owned(),
        (.., Some(client)) => format!("{client} from {}", text(&pair["source"])),
        (None, None, None) => String::new(),
    }
}

fn in_force(event: &Value) -> String {
    let policies = event["policies"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = |policy: &Value| {
        let (name, runs) = (text(&policy["name"]), &policy["runs"]);
        let digest = text(&runs["digest"]).get(..12).unwrap_or_default();
        format!("{name} runs {} {} ({digest})", text(&runs["plugin"]), text(&runs["version"]))
    };
    let list = policies.iter().map(shown).collect::<Vec<_>>().join(", ");
    if list.is_empty() { "no policy is in force".to_owned() } else { format!("in force: {list}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_lines_for_eyes() {
        let reason = json!({"code": "max-failed-login", "text": "Maximum of 5\u{1b}[2J reached."});
        let event = json!({
            "time": "2026-01-05T12:00:00.000Z", "kind": "judged", "source": "203.0.113.7", "client": "abc",
            "attempt": {"outcome": "failure"}, "policy": "ban", "mode": "enforce", "before": "04", "keep": "forget",
            "verdict": {"ban": {"duration_ms": 3_600_000, "reason": reason}},
            "enforced": {"ban": {"network": "203.0.113.7/32", "until": "2026-01-05T13:00:00.000Z", "decides": true}},
        });
        assert_eq!(
            line(&event),
            "2026-01-05 12:00:00  203.0.113.7 as abc  failed login  ban: ban for 1h of 203.0.113.7: Maximum of 5\u{fffd}[2J reached."
        );
        let event = json!({
            "time": "2026-01-05T12:00:00.000Z", "kind": "judged", "source": "2001:db8::1",
            "request": {"method": "GET", "path": "/x", "status": 404}, "policy": "scanner", "mode": "shadow",
            "keep": {"put": {"data": "00"}}, "verdict": "pass",
        });
        assert_eq!(line(&event), "2026-01-05 12:00:00  2001:db8::1  GET /x 404  scanner (shadow): pass, counted");
        let event = |origin| {
            json!({
                "time": "2026-01-05T12:00:00.000Z", "kind": "unjudged", "source": "2001:db8::1",
                "attempt": {"outcome": "failure"}, "origin": origin,
            })
        };
        let words = "2026-01-05 12:00:00  2001:db8::1  failed login, and no policy was there to judge it";
        let log = json!({"log": {"name": "/var/log/rport/rportd.log", "line": 12}});
        assert_eq!(line(&event(log)), format!("{words}  (/var/log/rport/rportd.log:12)"));
        let report = json!({"report": {"by": "10.0.0.2"}});
        assert_eq!(line(&event(report)), format!("{words}  (reported by 10.0.0.2)"));
        let event = json!({"time": "2026-01-05T12:00:00.000Z", "kind": "act", "act": "unwait", "subject": {"pair": {"client": "a", "source": "10.0.0.1/32"}}});
        assert_eq!(line(&event), "2026-01-05 12:00:00  by hand: wait of a from 10.0.0.1/32 ended");
        assert_eq!(
            line(&json!({"kind": "missed", "records": 3})),
            "(3 events are missing here: this reader didn't keep up)"
        );
    }
}
