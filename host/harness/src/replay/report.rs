//! What came of a replay.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use portcullis_domain::{Reason, Subject, Timestamp};

pub use super::clock::TimesBack;

/// What came of a replay.
#[derive(Clone, Debug)]
pub struct Report {
    /// Lines by what they are.
    pub lines: LineCounts,
    /// Events by what they are.
    pub events: EventCounts,
    /// Lines whose times went back.
    pub times_back: TimesBack,
    /// Events more than a day later than those before and after them, not judged.
    pub far_ahead: u64,
    /// Logs that began before the one that was read before them ended.
    pub misplaced: Vec<Misplaced>,
    /// Times of the earliest and the latest event that was judged.
    pub span: Option<(Timestamp, Timestamp)>,
    /// What the policies made of it.
    pub outcome: Outcome,
    /// What others would have made of it, if others were asked.
    pub against: Option<Against>,
    /// Lines that were of no known kind, the first of them, as many as were wanted.
    pub unknown: Vec<UnknownLine>,
}

/// A log that began before the one that was read before it ended, by more than
/// a line can come late: its events aren't judged until it is taken for one
/// whose clock was set back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misplaced {
    /// Its name.
    pub log: Arc<str>,
    /// Time of its first event.
    pub begins: Timestamp,
    /// The log that was read before it.
    pub after: Arc<str>,
    /// Time of that one's last event.
    pub ended: Timestamp,
}

/// Lines by what they are: all of them are either ignored, matched or missed,
/// as fail2ban-regex counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// All.
    pub lines: u64,
    /// Empty ones.
    pub ignored: u64,
    /// Those that the format marks as offences.
    pub matched: u64,
    /// All others.
    pub missed: u64,
    /// Of the missed: no lines of the format.
    pub unknown: u64,
    /// Of the unknown: longer than [`LINE_BYTES_MAX`](crate::logs::LINE_BYTES_MAX).
    pub too_long: u64,
}

impl LineCounts {
    pub(super) const fn add(&mut self, other: &Self) {
        let Self { lines, ignored, matched, missed, unknown, too_long } = other;
        self.lines += *lines;
        self.ignored += *ignored;
        self.matched += *matched;
        self.missed += *missed;
        self.unknown += *unknown;
        self.too_long += *too_long;
    }
}

/// Events by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Answered requests.
    pub requests: u64,
    /// Login attempts that failed.
    pub failed_logins: u64,
    /// Login attempts that succeeded.
    pub successful_logins: u64,
    /// Of these, not judged since the id is longer than the host takes (rule 23).
    pub ids_too_long: u64,
}

/// A line of no known kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLine {
    /// The log's name.
    pub log: Arc<str>,
    /// Its number, from 1.
    pub number: u64,
    /// Its beginning; empty if it was too long to be looked at. Anybody's words.
    pub text: Vec<u8>,
}

/// What policies made of the events.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Bans in the order of time, the first of them, as many as were wanted.
    pub bans: Vec<Ban>,
    /// Bans in all.
    pub bans_ordered: u64,
    /// Networks that were banned at least once.
    pub networks: u64,
    /// Who had to wait, most often first, as many as were wanted.
    pub waits: Vec<Wait>,
    /// Waits in all.
    pub waits_ordered: u64,
    /// How many had to wait at least once.
    pub waiting: u64,
    /// Bans that weren't enforced, the source being never banned (rule 4).
    pub spared: u64,
    /// Events that were turned away.
    pub refused: RefusedCounts,
    /// Events that no policy could judge, and so were denied (rule 21).
    pub denied: u64,
    /// Calls of policies' plugins that failed (rule 21), by policy.
    pub failures: Vec<PolicyFailures>,
    /// More was told of than is kept: counts of networks and of those who
    /// waited are at least.
    pub overflowed: bool,
}

/// Events that were turned away before any policy saw them (rule 11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusedCounts {
    /// The source was banned.
    pub banned: u64,
    /// Of these, logins that had succeeded.
    pub banned_successes: u64,
    /// The client auth id, or whom its policy goes by, had to wait.
    pub waiting: u64,
    /// Of these, logins that had succeeded.
    pub waiting_successes: u64,
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// When, as the line has it.
    pub at: Timestamp,
    /// Whose event brought it about.
    pub source: IpAddr,
    /// Who is banned.
    pub network: IpNet,
    /// The policy.
    pub policy: Arc<str>,
    /// The plugin's reason: anybody's words.
    pub reason: Reason,
    /// How long.
    pub duration: Duration,
}

/// Somebody who had to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Who.
    pub subject: Subject,
    /// How often.
    pub times: u64,
    /// When first, as the line has it.
    pub first: Timestamp,
    /// When last.
    pub last: Timestamp,
    /// The longest.
    pub longest: Duration,
}

/// A policy whose plugin failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFailures {
    /// The policy's name.
    pub policy: String,
    /// How often.
    pub times: u64,
    /// The first failure: possibly in the plugin's words.
    pub first: String,
}

/// The same traffic through other policies.
#[derive(Clone, Debug)]
pub struct Against {
    /// What those made of it.
    pub outcome: Outcome,
    /// Networks that only those banned, by the time of the first ban, as many as were wanted.
    pub newly_banned: Vec<NewlyBanned>,
    /// How many there are.
    pub newly_banned_networks: u64,
    /// Of these, how many logged in afterwards.
    pub newly_banned_logged_in: u64,
    /// Networks that those never banned, by the time of the first ban, as many as were wanted.
    pub no_longer_banned: Vec<Ban>,
    /// How many there are.
    pub no_longer_banned_networks: u64,
    /// Networks that both banned and those for longer in all, by the time of the first ban, as many as were wanted.
    pub banned_longer: Vec<BannedOtherwise>,
    /// How many there are.
    pub banned_longer_networks: u64,
    /// Networks that both banned and those for less time in all, by the time of the first ban, as many as were wanted.
    pub banned_shorter: Vec<BannedOtherwise>,
    /// How many there are.
    pub banned_shorter_networks: u64,
}

/// A network that both banned, but not for as long. The totals are those of
/// the bans as they were ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BannedOtherwise {
    /// The first ban without the others.
    pub ban: Ban,
    /// How long all bans together are without the others.
    pub total: Duration,
    /// How long they are with the others.
    pub total_against: Duration,
}

/// A network that only the other policies banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewlyBanned {
    /// Its first ban.
    pub ban: Ban,
    /// Lines after it that show a login from there ([`Entry::shows_login`](crate::logs::Entry::shows_login)).
    pub logins_after: u64,
    /// Of these, those while the ban was in force.
    pub logins_while_banned: u64,
}
