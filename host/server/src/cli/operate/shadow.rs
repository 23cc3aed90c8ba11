//! `portcullis shadow`: what a policy that is tried would have done; and
//! `portcullis guard`: a policy that is trusted again.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use http::Method;

use super::{Common, lines, path_part, print_json, query, short_time, table};
use crate::admin::api::{PAGE_DEFAULT, PAGE_MAX, Shadow, ShadowReset, ShadowSubject, Shadows, Trusted};
use crate::cli::{Failed, client, print};
use crate::config::printable;

#[derive(Args)]
pub(in crate::cli) struct ShadowArgs {
    #[command(subcommand)]
    command: ShadowCommand,
}

#[derive(Subcommand)]
enum ShadowCommand {
    /// Show whom shadow policies would have acted on, and whom they would have spared
    ///
    /// Beside what policies of their kind that enforce did. A shadow policy sees what the gate
    /// lets through: what others had refused, it never saw.
    Report(ReportArgs),
    /// Begin the comparison of a shadow policy anew; what the policy keeps stays
    Reset(ResetArgs),
}

#[derive(Args)]
struct ReportArgs {
    /// Only this policy
    #[arg(value_name = "POLICY")]
    policy: Option<String>,
    /// Subjects of each sort at most
    #[arg(long, value_name = "COUNT", default_value_t = PAGE_DEFAULT, value_parser = limit)]
    limit: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct ResetArgs {
    /// The policy
    #[arg(value_name = "POLICY")]
    policy: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub(in crate::cli) struct GuardArgs {
    #[command(subcommand)]
    command: GuardCommand,
}

#[derive(Subcommand)]
enum GuardCommand {
    /// Trust a policy again that has ordered more bans than guard.max_bans_per_minute allows
    Reset(ResetArgs),
}

fn limit(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|limit| *limit <= PAGE_MAX).ok_or_else(|| format!("expected 0 to {PAGE_MAX}"))
}

pub(in crate::cli) fn shadow(args: &ShadowArgs) -> Result<(), Failed> {
    match &args.command {
        ShadowCommand::Report(args) => report(args),
        ShadowCommand::Reset(args) => reset(args),
    }
}

fn report(args: &ReportArgs) -> Result<(), Failed> {
    let limit = args.limit.to_string();
    let target = query("/v1/shadow", &[("limit", Some(limit.as_str())), ("policy", args.policy.as_deref())]);
    let value = args.common.server.client()?.get(&target)?;
    if args.common.json {
        return print_json(&value);
    }
    print(&as_text(&client::read(&value)?))
}

fn reset(args: &ResetArgs) -> Result<(), Failed> {
    let target = format!("/v1/shadow/{}", path_part(&args.policy));
    let value = args.common.server.client()?.call(Method::DELETE, &target, None::<&()>)?;
    if args.common.json {
        return print_json(&value);
    }
    let ShadowReset { policy } = client::read(&value)?;
    print(&format!("{}: the comparison begins anew\n", printable(&policy)))
}

pub(in crate::cli) fn guard(args: &GuardArgs) -> Result<(), Failed> {
    let GuardCommand::Reset(args) = &args.command;
    let target = format!("/v1/policies/{}/trust", path_part(&args.policy));
    let value = args.common.server.client()?.call(Method::POST, &target, None::<&()>)?;
    if args.common.json {
        return print_json(&value);
    }
    let Trusted { policy, had_tripped } = client::read(&value)?;
    let what = if had_tripped { "its bans are enforced again" } else { "its bans were enforced all along" };
    print(&format!("{}: {what}\n", printable(&policy)))
}

fn as_text(shadows: &Shadows) -> String {
    if shadows.policies.is_empty() {
        return "no policy is in shadow (mode = \"shadow\")\n".to_owned();
    }
    let each: Vec<_> = shadows.policies.iter().map(one).collect();
    each.join("\n")
}

fn one(shadow: &Shadow) -> String {
    let mut text = String::new();
    let since =
        shadow.since.as_deref().map_or("no event yet".to_owned(), |since| format!("since {}", short_time(since)));
    let acts = if shadow.kind == "wait" { ("make wait", "waits") } else { ("ban", "bans") };
    let mut row = |words: String| {
        let _ = writeln!(text, "{}", printable(&words));
    };
    row(format!("{}, a {} policy in shadow, {since}", shadow.policy, shadow.kind));
    row(format!(
        "  judged {} events, gave {} orders; {} more it would have had refused, {} of them logins that succeeded",
        shadow.judged, shadow.orders, shadow.refused, shadow.logins_refused
    ));
    if shadow.failed > 0 {
        row(format!("  its plugin failed on {} events", shadow.failed));
    }
    row(format!(
        "  would newly {}: {}, {} of which logged in afterwards",
        acts.0, shadow.newly_subjects, shadow.newly_logged_in
    ));
    row(format!("  would no longer {}: {}", acts.0, shadow.no_longer_subjects));
    row(format!("  same {}: {}", acts.1, shadow.both));
    if shadow.left_out > 0 {
        row(format!("  {} more differed and are no longer known", shadow.left_out));
    }
    for (heading, all, subjects) in [
        (format!("Would newly {}", acts.0), shadow.newly_subjects, &shadow.newly),
        (format!("Would no longer {}", acts.0), shadow.no_longer_subjects, &shadow.no_longer),
    ] {
        if subjects.is_empty() {
            continue;
        }
        text.push('\n');
        let mut rows = table(&[heading.as_str(), "FIRST", "ORDERS", "LOGINS AFTER", "REASON"]);
        for subject in subjects {
            rows.add_row(cells(subject));
        }
        text.push_str(&lines(&rows));
        let more = all.saturating_sub(u64::try_from(subjects.len()).unwrap_or(u64::MAX));
        if more > 0 {
            let _ = writeln!(text, "  and {more} more");
        }
    }
    text
}

fn cells(subject: &ShadowSubject) -> [String; 5] {
    let reason = subject.reason.as_ref().map(|reason| printable(&reason.text)).unwrap_or_default();
    let logins = subject.logins_after.to_string();
    [whom(subject), short_time(&subject.first), subject.orders.to_string(), logins, reason]
}

fn whom(subject: &ShadowSubject) -> String {
    let both = [subject.id.as_deref(), subject.source.as_deref()];
    printable(&both.into_iter().flatten().collect::<Vec<_>>().join(" from "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_first_what_would_hurt() {
        let subject = |source: &str, logins_after| ShadowSubject {
            id: None,
            source: Some(source.to_owned()),
            first: "2026-11-25T14:16:34.178Z".to_owned(),
            orders: 1,
            reason: Some(crate::admin::api::Reason { code: "c".to_owned(), text: "2 \u{1b}failures".to_owned() }),
            until: None,
            logins_after,
            logins_refused: logins_after,
        };
        let shadow = Shadow {
            policy: "strict".to_owned(),
            kind: "ban".to_owned(),
            since: Some("2026-11-25T13:00:00.000Z".to_owned()),
            judged: 90,
            refused: 7,
            failed: 0,
            orders: 4,
            agreed: 1,
            logins_refused: 2,
            newly_subjects: 3,
            newly_logged_in: 1,
            newly: vec![subject("203.0.113.7/32", 2), subject("203.0.113.8/32", 0)],
            no_longer_subjects: 0,
            no_longer: Vec::new(),
            both: 1,
            left_out: 0,
        };
        let text = as_text(&Shadows { policies: vec![shadow] });
        let expected = "strict, a ban policy in shadow, since 2026-11-25 13:00:00
  judged 90 events, gave 4 orders; 7 more it would have had refused, 2 of them logins that succeeded
  would newly ban: 3, 1 of which logged in afterwards
  would no longer ban: 0
  same bans: 1

Would newly ban  FIRST                ORDERS  LOGINS AFTER  REASON
203.0.113.7/32   2026-11-25 14:16:34  1       2             2 \u{fffd}failures
203.0.113.8/32   2026-11-25 14:16:34  1       0             2 \u{fffd}failures
  and 1 more
";
        assert_eq!(text, expected);
        assert!(as_text(&Shadows { policies: Vec::new() }).contains("mode = \"shadow\""));
    }
}
