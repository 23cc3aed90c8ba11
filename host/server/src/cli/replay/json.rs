//! A report for machines; `LOGS.md` of the harness documents its shape.
//!
//! It is written out row by row: there can be hundreds of thousands, and a tree
//! of them would take several times the memory of the report itself.

use std::borrow::Cow;
use std::net::IpAddr;

use portcullis_domain::Subject;
use portcullis_harness::replay as report;
use serde::{Serialize, Serializer};

use super::{Replayed, shown_time};

/// Rows of a table, each turned into its shape when it is its turn.
struct Rows<'a, T, S>(&'a [T], fn(&'a T) -> S);

impl<T, S: Serialize> Serialize for Rows<'_, T, S> {
    fn serialize<W: Serializer>(&self, to: W) -> Result<W::Ok, W::Error> {
        to.collect_seq(self.0.iter().map(self.1))
    }
}

#[derive(Serialize)]
pub(super) struct Report<'a> {
    error: Option<&'a str>,
    format: Option<&'static str>,
    seconds: f64,
    first: Option<String>,
    last: Option<String>,
    lines: Lines,
    events: Events,
    times_back: TimesBack,
    far_ahead: u64,
    misplaced: Rows<'a, report::Misplaced, Misplaced<'a>>,
    outcome: Outcome<'a>,
    against: Option<Against<'a>>,
    unknown: Rows<'a, report::UnknownLine, Unknown<'a>>,
}

#[derive(Serialize)]
struct Lines {
    lines: u64,
    ignored: u64,
    matched: u64,
    missed: u64,
    unknown: u64,
    too_long: u64,
}

#[derive(Serialize)]
struct Events {
    requests: u64,
    failed_logins: u64,
    successful_logins: u64,
    ids_too_long: u64,
}

#[derive(Serialize)]
struct TimesBack {
    late: u64,
    left_out: u64,
    set_back: u64,
}

#[derive(Serialize)]
struct Misplaced<'a> {
    log: &'a str,
    begins: String,
    after: &'a str,
    ended: String,
}

#[derive(Serialize)]
struct Unknown<'a> {
    log: &'a str,
    line: u64,
    text: Cow<'a, str>,
}

#[derive(Serialize)]
struct Outcome<'a> {
    bans_ordered: u64,
    networks: u64,
    bans: Rows<'a, report::Ban, Ban<'a>>,
    waits_ordered: u64,
    waiting: u64,
    waits: Rows<'a, report::Wait, Wait<'a>>,
    refused: Refused,
    spared: u64,
    denied: u64,
    failures: Rows<'a, report::PolicyFailures, Failures<'a>>,
    overflowed: bool,
}

#[derive(Serialize)]
struct Refused {
    banned: u64,
    banned_successes: u64,
    waiting: u64,
    waiting_successes: u64,
}

#[derive(Serialize)]
struct Failures<'a> {
    policy: &'a str,
    times: u64,
    first: &'a str,
}

#[derive(Serialize)]
struct Ban<'a> {
    time: String,
    source: IpAddr,
    network: String,
    policy: &'a str,
    code: &'a str,
    reason: &'a str,
    seconds: f64,
}

#[derive(Serialize)]
struct Wait<'a> {
    client: Option<&'a str>,
    network: Option<String>,
    times: u64,
    first: String,
    last: String,
    longest_seconds: f64,
}

#[derive(Serialize)]
struct Against<'a> {
    with: Option<&'a str>,
    outcome: Outcome<'a>,
    newly_banned_networks: u64,
    newly_banned_logged_in: u64,
    newly_banned: Rows<'a, report::NewlyBanned, NewlyBanned<'a>>,
    no_longer_banned_networks: u64,
    no_longer_banned: Rows<'a, report::Ban, Ban<'a>>,
    banned_longer_networks: u64,
    banned_longer: Rows<'a, report::BannedOtherwise, BannedOtherwise<'a>>,
    banned_shorter_networks: u64,
    banned_shorter: Rows<'a, report::BannedOtherwise, BannedOtherwise<'a>>,
}

#[derive(Serialize)]
struct NewlyBanned<'a> {
    ban: Ban<'a>,
    logins_after: u64,
    logins_while_banned: u64,
}

#[derive(Serialize)]
struct BannedOtherwise<'a> {
    ban: Ban<'a>,
    seconds: f64,
    seconds_against: f64,
}

/// `error` is why the logs weren't read to their end.
pub(super) fn of<'a>(replayed: &'a Replayed, error: Option<&'a str>) -> Report<'a> {
    let report = &replayed.report;
    let report::LineCounts { lines, ignored, matched, missed, unknown, too_long } = report.lines;
    let report::EventCounts { requests, failed_logins, successful_logins, ids_too_long } = report.events;
    let report::TimesBack { late, left_out, set_back } = report.times_back;
    Report {
        error,
        format: replayed.format,
        seconds: replayed.took.as_secs_f64(),
        first: report.span.map(|(first, _)| shown_time(first)),
        last: report.span.map(|(_, last)| shown_time(last)),
        lines: Lines { lines, ignored, matched, missed, unknown, too_long },
        events: Events { requests, failed_logins, successful_logins, ids_too_long },
        times_back: TimesBack { late, left_out, set_back },
        far_ahead: report.far_ahead,
        misplaced: Rows(&report.misplaced, |misplaced| Misplaced {
            log: &misplaced.log,
            begins: shown_time(misplaced.begins),
            after: &misplaced.after,
            ended: shown_time(misplaced.ended),
        }),
        outcome: outcome(&report.outcome),
        against: report.against.as_ref().map(|against| compared(replayed.other.as_deref(), against)),
        unknown: Rows(&report.unknown, |unknown| Unknown {
            log: &unknown.log,
            line: unknown.number,
            text: String::from_utf8_lossy(&unknown.text),
        }),
    }
}

fn outcome(outcome: &report::Outcome) -> Outcome<'_> {
    let report::RefusedCounts { banned, banned_successes, waiting, waiting_successes } = outcome.refused;
    Outcome {
        bans_ordered: outcome.bans_ordered,
        networks: outcome.networks,
        bans: Rows(&outcome.bans, ban),
        waits_ordered: outcome.waits_ordered,
        waiting: outcome.waiting,
        waits: Rows(&outcome.waits, wait),
        refused: Refused { banned, banned_successes, waiting, waiting_successes },
        spared: outcome.spared,
        denied: outcome.denied,
        failures: Rows(&outcome.failures, |failures| Failures {
            policy: &failures.policy,
            times: failures.times,
            first: &failures.first,
        }),
        overflowed: outcome.overflowed,
    }
}

fn ban(ban: &report::Ban) -> Ban<'_> {
    Ban {
        time: shown_time(ban.at),
        source: ban.source,
        network: ban.network.to_string(),
        policy: &ban.policy,
        code: ban.reason.code(),
        reason: ban.reason.text(),
        seconds: ban.duration.as_secs_f64(),
    }
}

fn wait(wait: &report::Wait) -> Wait<'_> {
    let (client, network) = match &wait.subject {
        Subject::Id(id) => (Some(id.as_str()), None),
        Subject::Source(network) => (None, Some(network.to_string())),
        Subject::Pair(id, network) => (Some(id.as_str()), Some(network.to_string())),
    };
    Wait {
        client,
        network,
        times: wait.times,
        first: shown_time(wait.first),
        last: shown_time(wait.last),
        longest_seconds: wait.longest.as_secs_f64(),
    }
}

fn compared<'a>(other: Option<&'a str>, against: &'a report::Against) -> Against<'a> {
    Against {
        with: other,
        outcome: outcome(&against.outcome),
        newly_banned_networks: against.newly_banned_networks,
        newly_banned_logged_in: against.newly_banned_logged_in,
        newly_banned: Rows(&against.newly_banned, |newly| NewlyBanned {
            ban: ban(&newly.ban),
            logins_after: newly.logins_after,
            logins_while_banned: newly.logins_while_banned,
        }),
        no_longer_banned_networks: against.no_longer_banned_networks,
        no_longer_banned: Rows(&against.no_longer_banned, ban),
        banned_longer_networks: against.banned_longer_networks,
        banned_longer: Rows(&against.banned_longer, otherwise),
        banned_shorter_networks: against.banned_shorter_networks,
        banned_shorter: Rows(&against.banned_shorter, otherwise),
    }
}

fn otherwise(otherwise: &report::BannedOtherwise) -> BannedOtherwise<'_> {
    BannedOtherwise {
        ban: ban(&otherwise.ban),
        seconds: otherwise.total.as_secs_f64(),
        seconds_against: otherwise.total_against.as_secs_f64(),
    }
}
