//! A report for eyes. Whatever comes from a log or a plugin is made printable.

use std::fmt::Write as _;
use std::time::Duration;

use portcullis_domain::Subject;
use portcullis_harness::replay::{Against, Ban, BannedOtherwise, NewlyBanned, Outcome, Report, Wait};

use super::{Replayed, shown_bytes, shown_time};
use crate::config::printable;

pub(super) fn of(replayed: &Replayed) -> String {
    let report = &replayed.report;
    let mut text = String::new();
    if replayed.format != Some(super::journal::FORMAT) {
        lines(&mut text, replayed);
    }
    input(&mut text, replayed);
    match &report.against {
        None => outcome(&mut text, &report.outcome),
        Some(against) => {
            outcome(&mut text, &report.outcome);
            compared(&mut text, replayed.other.as_deref().unwrap_or_default(), against);
        }
    }
    unknown(&mut text, report);
    text
}

fn lines(text: &mut String, replayed: &Replayed) {
    // The first line is fail2ban-regex's own, so that the two can be compared.
    let lines = &replayed.report.lines;
    line(
        text,
        format_args!(
            "Lines: {} lines, {} ignored, {} matched, {} missed [processed in {:.2} sec]",
            lines.lines,
            lines.ignored,
            lines.matched,
            lines.missed,
            replayed.took.as_secs_f64()
        ),
    );
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = writeln!(text, "{words}");
}

fn input(text: &mut String, replayed: &Replayed) {
    let report = &replayed.report;
    let (lines, events, back) = (&report.lines, &report.events, &report.times_back);
    if let (Some(format), Some((first, last))) = (replayed.format, report.span) {
        line(text, format_args!("Format {format}, events from {} to {}", shown_time(first), shown_time(last)));
    }
    line(
        text,
        format_args!(
            "Events: {} requests, {} failed logins, {} successful logins",
            events.requests, events.failed_logins, events.successful_logins
        ),
    );
    if events.successful_logins == 0 && events.failed_logins > 0 {
        line(
            text,
            format_args!(
                "        The log tells of no successful logins: nothing sets back a count that they would, so more may be \
                 banned here than in service"
            ),
        );
    }
    let rows = [
        (lines.unknown - lines.too_long, "lines of no known kind (--missed shows them)"),
        (lines.too_long, "lines longer than 64 KiB, skipped"),
        (events.ids_too_long, "events with a client auth id of more than 256 bytes, not judged"),
        (back.late, "lines up to a minute earlier than one before them, judged as of that one's time"),
        (back.left_out, "lines still earlier, not judged (the oldest log comes first)"),
        (report.far_ahead, "lines more than a day later than those around them, not judged"),
        (back.set_back, "times the log's clock was set back; its time went on from there"),
    ];
    for (count, what) in rows.into_iter().filter(|(count, _)| *count > 0) {
        line(text, format_args!("        {count} {what}"));
    }
}

fn outcome(text: &mut String, outcome: &Outcome) {
    let at_least = if outcome.overflowed { "at least " } else { "" };
    line(text, format_args!("\nBanned: {} bans of {at_least}{} networks", outcome.bans_ordered, outcome.networks));
    for ban in &outcome.bans {
        line(text, format_args!("  {}", row(ban)));
    }
    more(text, outcome.bans_ordered, outcome.bans.len());
    line(text, format_args!("\nMade to wait: {} waits of {at_least}{}", outcome.waits_ordered, outcome.waiting));
    for wait in &outcome.waits {
        line(text, format_args!("  {}", wait_row(wait)));
    }
    more(text, outcome.waiting, outcome.waits.len());
    let refused = &outcome.refused;
    line(
        text,
        format_args!(
            "\nRefused: {} events of banned sources ({} of clients that were logged in), {} of clients made to wait ({} of \
             clients that were logged in)",
            refused.banned, refused.banned_successes, refused.waiting, refused.waiting_successes
        ),
    );
    if outcome.spared > 0 {
        line(text, format_args!("Spared: {} bans of sources that are never banned", outcome.spared));
    }
    if outcome.denied > 0 {
        line(text, format_args!("Denied: {} events that no policy could judge", outcome.denied));
    }
    for failures in &outcome.failures {
        let (policy, first) = (printable(&failures.policy), printable(&failures.first));
        line(text, format_args!("Policy {policy}: its plugin failed {} times, first: {first}", failures.times));
    }
}

fn compared(text: &mut String, other: &str, against: &Against) {
    line(text, format_args!("\n== The same with {} ==", printable(other)));
    outcome(text, &against.outcome);
    line(
        text,
        format_args!(
            "\nNewly banned: {} networks, {} of which logged in afterwards",
            against.newly_banned_networks, against.newly_banned_logged_in
        ),
    );
    for newly in &against.newly_banned {
        let NewlyBanned { ban, logins_after, logins_while_banned } = newly;
        let logins = match logins_after {
            0 => String::new(),
            _ => format!("  logged in {logins_after} times afterwards, {logins_while_banned} while banned"),
        };
        line(text, format_args!("  {}{logins}", row(ban)));
    }
    more(text, against.newly_banned_networks, against.newly_banned.len());
    line(text, format_args!("\nNo longer banned: {} networks", against.no_longer_banned_networks));
    for ban in &against.no_longer_banned {
        line(text, format_args!("  {}", row(ban)));
    }
    more(text, against.no_longer_banned_networks, against.no_longer_banned.len());
    line(text, format_args!("\nBanned longer: {} networks", against.banned_longer_networks));
    otherwise(text, &against.banned_longer, against.banned_longer_networks);
    line(text, format_args!("\nBanned for less time: {} networks", against.banned_shorter_networks));
    otherwise(text, &against.banned_shorter, against.banned_shorter_networks);
}

fn otherwise(text: &mut String, rows: &[BannedOtherwise], all: u64) {
    for BannedOtherwise { ban, total, total_against } in rows {
        let (who, before, after) = (who(ban), shown(*total), shown(*total_against));
        line(text, format_args!("  {}  {who:<15}  {after} in all, before {before}", shown_time(ban.at)));
    }
    more(text, all, rows.len());
}

fn who(ban: &Ban) -> String {
    let single = ban.network.prefix_len() == ban.network.max_prefix_len();
    if single { ban.source.to_string() } else { format!("{} ({})", ban.network, ban.source) }
}

fn row(ban: &Ban) -> String {
    let who = who(ban);
    format!(
        "{}  {who:<15}  {}  for {}  {}",
        shown_time(ban.at),
        printable(&ban.policy),
        shown(ban.duration),
        printable(ban.reason.text())
    )
}

fn wait_row(wait: &Wait) -> String {
    let who = match &wait.subject {
        Subject::Id(id) => format!("client {}", printable(id.as_str())),
        Subject::Source(network) => network.to_string(),
        Subject::Pair(id, network) => format!("client {} from {network}", printable(id.as_str())),
    };
    format!(
        "{} times  {who}  for {} at most, first {}, last {}",
        wait.times,
        shown(wait.longest),
        shown_time(wait.first),
        shown_time(wait.last)
    )
}

fn shown(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(duration)
}

fn more(text: &mut String, all: u64, shown: usize) {
    let left = all.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
    if left > 0 {
        line(text, format_args!("  and {left} more (--limit 0 shows all)"));
    }
}

fn unknown(text: &mut String, report: &Report) {
    if report.unknown.is_empty() {
        return;
    }
    let lines = &report.lines;
    line(text, format_args!("\nLines of no known kind: {} of {} missed", lines.unknown, lines.missed));
    for unknown in &report.unknown {
        let words = if unknown.text.is_empty() { "(too long)".to_owned() } else { shown_bytes(&unknown.text) };
        line(text, format_args!("  {}:{}: {words}", printable(&unknown.log), unknown.number));
    }
    more(text, report.lines.unknown, report.unknown.len());
}
