//! A report for machines; `LOGS.md` of the harness documents its shape.

use portcullis_domain::Subject;
use portcullis_harness::replay::{Against, Ban, BannedOtherwise, NewlyBanned, Outcome, Wait};
use serde_json::{Value, json};

use super::{Replayed, shown_time};

/// `error` is why the logs weren't read to their end.
pub(super) fn of(replayed: &Replayed, error: Option<&str>) -> Value {
    let report = &replayed.report;
    let (lines, events, back) = (&report.lines, &report.events, &report.times_back);
    json!({
        "error": error,
        "format": replayed.format,
        "seconds": replayed.took.as_secs_f64(),
        "first": report.span.map(|(first, _)| shown_time(first)),
        "last": report.span.map(|(_, last)| shown_time(last)),
        "lines": {
            "lines": lines.lines,
            "ignored": lines.ignored,
            "matched": lines.matched,
            "missed": lines.missed,
            "unknown": lines.unknown,
            "too_long": lines.too_long,
        },
        "events": {
            "requests": events.requests,
            "failed_logins": events.failed_logins,
            "successful_logins": events.successful_logins,
            "ids_too_long": events.ids_too_long,
        },
        "times_back": { "late": back.late, "left_out": back.left_out, "set_back": back.set_back },
        "far_ahead": report.far_ahead,
        "misplaced": report.misplaced.iter().map(|misplaced| json!({
            "log": &*misplaced.log,
            "begins": shown_time(misplaced.begins),
            "after": &*misplaced.after,
            "ended": shown_time(misplaced.ended),
        })).collect::<Vec<_>>(),
        "outcome": outcome(&report.outcome),
        "against": report.against.as_ref().map(|against| compared(replayed.other.as_deref(), against)),
        "unknown": report.unknown.iter().map(|unknown| json!({
            "log": &*unknown.log,
            "line": unknown.number,
            "text": String::from_utf8_lossy(&unknown.text),
        })).collect::<Vec<_>>(),
    })
}

fn outcome(outcome: &Outcome) -> Value {
    let refused = &outcome.refused;
    json!({
        "bans_ordered": outcome.bans_ordered,
        "networks": outcome.networks,
        "bans": outcome.bans.iter().map(ban).collect::<Vec<_>>(),
        "waits_ordered": outcome.waits_ordered,
        "waiting": outcome.waiting,
        "waits": outcome.waits.iter().map(wait).collect::<Vec<_>>(),
        "refused": {
            "banned": refused.banned,
            "banned_successes": refused.banned_successes,
            "waiting": refused.waiting,
            "waiting_successes": refused.waiting_successes,
        },
        "spared": outcome.spared,
        "denied": outcome.denied,
        "failures": outcome.failures.iter().map(|failures| json!({
            "policy": failures.policy,
            "times": failures.times,
            "first": failures.first,
        })).collect::<Vec<_>>(),
        "overflowed": outcome.overflowed,
    })
}

fn ban(ban: &Ban) -> Value {
    json!({
        "time": shown_time(ban.at),
        "source": ban.source.to_string(),
        "network": ban.network.to_string(),
        "policy": &*ban.policy,
        "code": ban.reason.code(),
        "reason": ban.reason.text(),
        "seconds": ban.duration.as_secs_f64(),
    })
}

fn wait(wait: &Wait) -> Value {
    let (client, network) = match &wait.subject {
        Subject::Id(id) => (Some(id.as_str()), None),
        Subject::Source(network) => (None, Some(network.to_string())),
        Subject::Pair(id, network) => (Some(id.as_str()), Some(network.to_string())),
    };
    json!({
        "client": client,
        "network": network,
        "times": wait.times,
        "first": shown_time(wait.first),
        "last": shown_time(wait.last),
        "longest_seconds": wait.longest.as_secs_f64(),
    })
}

fn compared(other: Option<&str>, against: &Against) -> Value {
    let newly = |newly: &NewlyBanned| {
        json!({
            "ban": ban(&newly.ban),
            "logins_after": newly.logins_after,
            "logins_while_banned": newly.logins_while_banned,
        })
    };
    let otherwise = |otherwise: &BannedOtherwise| {
        json!({
            "ban": ban(&otherwise.ban),
            "seconds": otherwise.total.as_secs_f64(),
            "seconds_against": otherwise.total_against.as_secs_f64(),
        })
    };
    json!({
        "with": other,
        "outcome": outcome(&against.outcome),
        "newly_banned_networks": against.newly_banned_networks,
        "newly_banned_logged_in": against.newly_banned_logged_in,
        "newly_banned": against.newly_banned.iter().map(newly).collect::<Vec<_>>(),
        "no_longer_banned_networks": against.no_longer_banned_networks,
        "no_longer_banned": against.no_longer_banned.iter().map(ban).collect::<Vec<_>>(),
        "banned_longer_networks": against.banned_longer_networks,
        "banned_longer": against.banned_longer.iter().map(otherwise).collect::<Vec<_>>(),
        "banned_shorter_networks": against.banned_shorter_networks,
        "banned_shorter": against.banned_shorter.iter().map(otherwise).collect::<Vec<_>>(),
    })
}
