//! `portcullis explain`: why somebody is banned or has to wait.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::events::{line, verdict};
use super::{Common, print_json, query, short_time};
use crate::admin::api::{ExplainedOrder, Explanation};
use crate::cli::{Failed, client, print};
use crate::config::printable;

/// Events of a chain shown from its beginning and from its end.
const SHOWN_OF_CHAIN: usize = 10;
/// Orders shown that explain nothing that is in force.
const SHOWN_BEFORE: usize = 3;

#[derive(Args)]
pub(in crate::cli) struct ExplainArgs {
    #[command(flatten)]
    common: Common,
    /// An address, a network, or else a client auth id
    #[arg(value_name = "ADDRESS|NETWORK|ID")]
    subject: String,
}

pub(in crate::cli) fn explain(args: &ExplainArgs) -> Result<(), Failed> {
    let target = query("/v1/explain", &[("subject", Some(args.subject.as_str()))]);
    let value = args.common.server.client()?.get(&target)?;
    if args.common.json {
        return print_json(&value);
    }
    print(&as_text(&client::read(&value)?))
}

fn as_text(explanation: &Explanation) -> String {
    let mut text = String::new();
    let subject = printable(&explanation.subject);
    if explanation.bans.is_empty() && explanation.waits.is_empty() {
        say(&mut text, format_args!("Nothing is in force for {subject}."));
    }
    for (nth, ban) in explanation.bans.iter().enumerate() {
        let by = ban.policy.as_deref().map_or_else(|| "by hand".to_owned(), |policy| format!("by policy {policy}"));
        let (network, reason) = (ban.network.trim_end_matches("/32"), &ban.reason.text);
        say(&mut text, format_args!("{network} is banned until {}, {by}: {reason}", short_time(&ban.until)));
        in_force(&mut text, explanation, nth);
    }
    for (nth, wait) in explanation.waits.iter().enumerate() {
        let from = wait.source.as_ref().map(|source| format!("from {source} ")).unwrap_or_default();
        let who = wait.id.as_deref().unwrap_or("whoever comes");
        say(&mut text, format_args!("{who} {from}has to wait until {}", short_time(&wait.until)));
        in_force(&mut text, explanation, explanation.bans.len() + nth);
    }
    let mut before = explanation.orders.iter().filter(|order| order.explains.is_none());
    for order in before.by_ref().take(SHOWN_BEFORE) {
        say(&mut text, format_args!("\nBefore: {}", order.chain.last().map(verdict).unwrap_or_default()));
        chain(&mut text, order);
    }
    let more = before.count();
    if more > 0 {
        say(&mut text, format_args!("and {more} orders more (--json shows them)"));
    }
    if !explanation.acts.is_empty() {
        say(&mut text, format_args!("\nBy hand and by configuration, the newest first:"));
        explanation.acts.iter().for_each(|act| event(&mut text, act));
    }
    if explanation.orders.is_empty() && !explanation.newest.is_empty() {
        say(&mut text, format_args!("\nTheir newest events:"));
        explanation.newest.iter().for_each(|newest| event(&mut text, newest));
    }
    if explanation.orders.is_empty() && explanation.newest.is_empty() && explanation.acts.is_empty() {
        say(&mut text, format_args!("The journal knows nothing of them ({} records read).", explanation.records_read));
    }
    for damage in &explanation.damaged {
        say(&mut text, format_args!("The journal can't be read everywhere: {damage}"));
    }
    text
}

fn in_force(text: &mut String, explanation: &Explanation, nth: usize) {
    match explanation.orders.iter().find(|order| order.explains == Some(nth)) {
        Some(order) => chain(text, order),
        None if explanation.unexplained.contains(&nth) => {
            say(text, format_args!("  The events that led to it aren't in the journal (any more)."));
        }
        None => {}
    }
}

/// The events that led to an order.
fn chain(text: &mut String, order: &ExplainedOrder) {
    if !order.from_the_beginning {
        say(text, format_args!("  (what happened before isn't in the journal any more)"));
    }
    let events = &order.chain;
    let (first, last) = events.split_at(events.len().min(SHOWN_OF_CHAIN));
    let last = &last[last.len().saturating_sub(SHOWN_OF_CHAIN)..];
    let hidden = u64::try_from(events.len() - first.len() - last.len()).unwrap_or(u64::MAX);
    first.iter().for_each(|one| event(text, one));
    if hidden + order.left_out > 0 {
        say(text, format_args!("  ... {} events more", hidden.saturating_add(order.left_out)));
    }
    last.iter().for_each(|one| event(text, one));
    if order.gaps {
        say(text, format_args!("  (some events between these aren't in the journal: it had to drop them)"));
    }
}

fn event(text: &mut String, event: &Value) {
    say(text, format_args!("  {}", line(event)));
}

/// A line, with whatever came from a stranger or a plugin made printable.
fn say(text: &mut String, words: std::fmt::Arguments<'_>) {
    let words = words.to_string();
    let breaks = words.len() - words.trim_start_matches('\n').len();
    text.push_str(&words[..breaks]);
    // Writing to a String can't fail.
    let _ = writeln!(text, "{}", printable(&words[breaks..]));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::api::{Ban, Reason};

    fn failed(second: u8, verdict: Value) -> Value {
        json!({
            "time": format!("2026-01-05T12:00:{second:02}.000Z"), "kind": "judged", "source": "203.0.113.7",
            "client": "abc", "attempt": {"outcome": "failure"}, "policy": "ban", "mode": "enforce",
            "keep": {"put": {"data": "00"}}, "verdict": verdict,
            "enforced": {"ban": {"network": "203.0.113.7/32", "decides": true}},
        })
    }

    fn explanation(events: u8) -> Explanation {
        let reason = Reason { code: "max-failed-login".to_owned(), text: "Maximum of 3 reached.".to_owned() };
        let ordered =
            json!({"ban": {"duration_ms": 3_600_000, "reason": {"code": "c", "text": "Maximum of 3 reached."}}});
        let ban = Ban {
            network: "203.0.113.7/32".to_owned(),
            since: "2026-01-05T12:00:02.000Z".to_owned(),
            until: "2026-01-05T13:00:02.000Z".to_owned(),
            left_seconds: 1,
            policy: Some("ban".to_owned()),
            reason,
        };
        let chain = (0..events).map(|n| failed(n, if n + 1 == events { ordered.clone() } else { json!("pass") }));
        let order = ExplainedOrder {
            explains: Some(0),
            chain: chain.collect(),
            left_out: 0,
            from_the_beginning: true,
            gaps: false,
        };
        Explanation {
            subject: "203.0.113.7".to_owned(),
            bans: vec![ban],
            waits: Vec::new(),
            orders: vec![order],
            acts: Vec::new(),
            newest: Vec::new(),
            unexplained: Vec::new(),
            records_read: 3,
            to_the_beginning: false,
            damaged: Vec::new(),
        }
    }

    #[test]
    fn a_ban_is_told_with_the_events_that_led_to_it() {
        let wanted = "\
203.0.113.7 is banned until 2026-01-05 13:00:02, by policy ban: Maximum of 3 reached.
  2026-01-05 12:00:00  203.0.113.7 as abc  failed login  ban: pass, counted
  2026-01-05 12:00:01  203.0.113.7 as abc  failed login  ban: pass, counted
  2026-01-05 12:00:02  203.0.113.7 as abc  failed login  ban: ban for 1h of 203.0.113.7: Maximum of 3 reached.
";
        assert_eq!(as_text(&explanation(3)), wanted);
        assert!(as_text(&explanation(50)).contains("\n  ... 30 events more\n"));
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut lost = explanation(3);
        lost.orders.clear();
        lost.unexplained.push(0);
        assert!(as_text(&lost).contains("aren't in the journal (any more)."));
        let mut cut = explanation(3);
        (cut.orders[0].from_the_beginning, cut.orders[0].gaps) = (false, true);
        assert!(as_text(&cut).contains("isn't in the journal any more") && as_text(&cut).contains("had to drop them"));
        let mut nobody = explanation(3);
        (nobody.bans, nobody.orders) = (Vec::new(), Vec::new());
        assert_eq!(
            as_text(&nobody),
            "Nothing is in force for 203.0.113.7.\nThe journal knows nothing of them (3 records read).\n"
        );
    }
}
